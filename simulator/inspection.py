"""inspect_model: gradients and curvature of a toy model, block by block, at the start or along training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from quadsim.simulator.checks import check_count
from quadsim.simulator.curvature import LARGEST_BLOCK, BlockSpectra, block_spectra
from quadsim.simulator.hessian import Progress, gradient, no_progress
from quadsim.simulator.heterogeneity import block_gradient_norms
from quadsim.simulator.metrics import of_curvature, of_gradient_norms, of_head, of_off_block
from quadsim.simulator.models.partitions import Partition
from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.off_block import spectra_and_off_block
from quadsim.simulator.records import plain_records
from quadsim.simulator.spectral_distance import jensen_shannon, mean_over_pairs
from quadsim.simulator.sweep_grid import OptimizerSpec
from quadsim.simulator.torch_modes import own_modes
from quadsim.simulator.training import train
from quadsim.simulator.training_run import TrainingRun

__all__ = ["JS_BINS", "Inspection", "inspect_model", "inspect_trained", "place_of_block"]

JS_BINS = 100
"""Bins of the Jensen-Shannon distances shown here, of equal width over the range of all blocks; logarithm to base 2."""


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was seen of M problems, each a seed.

    Attributes:
        problem: the problems.
        partition: the blocks, B of them.
        step: after how many steps of training.
        gradient_norms: |g_l|/sqrt(P_l), (M, B).
        spectra: of the Hessian's blocks; None where curvature was left out.
        distances: Jensen-Shannon distances between them, (M, B, B), or None.
        whole: per problem one number each, by name (see `summary`).
    """

    problem: ToyProblem
    partition: Partition
    step: int
    gradient_norms: NDArray[np.float64]
    spectra: BlockSpectra | None
    distances: NDArray[np.float64] | None
    whole: dict[str, NDArray[np.float64]]

    @property
    def blocks(self) -> pd.DataFrame:
        """A row per problem and block: index, block, size, gradient_norm and, with curvature, smoothness, smallest, exact."""
        problems, blocks = self.gradient_norms.shape
        columns: dict[str, Any] = {
            "index": np.repeat(self.problem.index, blocks),
            "block": np.tile(self.partition.labels, problems),
            "size": np.tile(self.partition.sizes, problems),
            "gradient_norm": self.gradient_norms.ravel(),
        }
        if self.spectra is not None:
            columns |= {
                "smoothness": self.spectra.smoothness.ravel(),
                "smallest": self.spectra.smallest.ravel(),
                "exact": np.tile(self.spectra.exact, problems),
            }
        return pd.DataFrame(columns)

    @property
    def summary(self) -> pd.DataFrame:
        """A row per problem: its index and what is known of it as a whole.

        `gradient_ratio`, `gradient_log_std`, `gradient_gini`, `gradient_variation` over blocks; `loss`, `loss_weighted`;
        `head_common`, `head_centred`; with curvature `Lambda_G`, `Lambda_P`, `Lambda_ratio`, `covariance`, `JS0`, and where the
        whole Hessian can be written out `off_block_spectral`, `off_block_frobenius`, `whole_over_block`.
        """
        return pd.DataFrame({"index": self.problem.index, **self.whole})

    def to_json(self) -> dict[str, Any]:
        """Both tables as plain data; a number that is not finite becomes null."""
        return {
            "partition": self.partition.name,
            "parameters": self.problem.dimension,
            "step": self.step,
            "blocks": plain_records(self.blocks),
            "summary": plain_records(self.summary),
        }


@own_modes()
def inspect_model(
    problem: ToyProblem,
    partition: str = "module",
    *,
    theta: NDArray[np.float64] | None = None,
    step: int = 0,
    curvature: bool = True,
    largest_block: int = LARGEST_BLOCK,
    largest_whole: int = 3000,
    progress: Progress = no_progress,
) -> Inspection:
    """Look at all problems of a batch.

    The gradient is what a rule sees of the optimised loss on all data: scaled in the mode `gradient` of the reparametrisation.

    Args:
        problem: M problems.
        partition: `layer`, `module` or `unit`.
        theta: parameters, (M, P); None: the start.
        step: after how many steps of training they were reached; 0 at the start.
        curvature: whether to take Hessian blocks too.
        largest_block: blocks of up to so many parameters have exact spectra; see `block_spectra`.
        largest_whole: with up to so many parameters the mass off the blocks is computed.
        progress: told of columns of Hessians that are done, M P in all.

    Raises:
        ValueError: an unknown partition, a shape that does not fit, or a larger block without the extra `curvature`.
    """
    cut = problem.partition(partition)
    stack = problem.stack()
    at = problem.start if theta is None else theta
    g = gradient(stack, at)
    if problem.block_scales is not None and problem.mode == "gradient":
        g = g * problem.block_scales**2
    norms = block_gradient_norms(g, cut.sizes)
    weighted, unweighted = stack.losses(torch.from_numpy(np.array(at)))
    whole = {"loss": unweighted.numpy(), "loss_weighted": weighted.numpy()}
    whole |= of_gradient_norms(norms) | of_head(problem, at)
    if not curvature:
        return Inspection(problem, cut, step, norms, None, None, whole)
    if problem.dimension <= largest_whole:
        spectra, rest = spectra_and_off_block(stack, at, cut, largest=largest_whole, progress=progress)
        whole |= of_off_block(rest)
    else:
        spectra = block_spectra(stack, at, cut, largest=largest_block, progress=progress)
    assert spectra is not None
    distances = jensen_shannon(spectra, bins=JS_BINS)
    whole |= of_curvature(g, cut.sizes, spectra) | {"JS0": mean_over_pairs(distances)}
    return Inspection(problem, cut, step, norms, spectra, distances, whole)


@own_modes()
def inspect_trained(
    problem: ToyProblem,
    optimizer: str,
    partition: str = "module",
    *,
    lr: float,
    at: Sequence[int],
    curvature: bool = True,
    progress: Progress = no_progress,
) -> tuple[Inspection, TrainingRun]:
    """Train in float64, and look at what lives at the last of the steps `at`.

    Args:
        problem: M problems.
        optimizer: as on the command line, `adam:beta1=0`.
        partition: `layer`, `module` or `unit`.
        lr: learning rate.
        at: steps of which the run keeps snapshots.
        curvature: whether to take Hessian blocks too.
        progress: told of columns of Hessians that are done, P for each problem that lives.

    Returns:
        Inspection of the problems that live (`found.problem`), and the run of all.

    Raises:
        ValueError: a value out of range, no steps, or a run in which all had diverged by then.
    """
    spec = OptimizerSpec.parse(optimizer)
    steps = [check_count("at", t, 0) for t in at]
    if not steps:
        raise ValueError("at must hold at least one step, got an empty list; give one, as 0,10.")
    last = max(steps)
    options: dict[str, Any] = dict(spec.hyperparameters)
    run = train(
        problem, spec.rule, lr=lr, steps=max(last, 1), snapshots=steps, dtype="float64", partition=partition, **options
    )
    assert run.snapshots is not None
    theta = run.snapshots.theta[:, 0, -1]
    alive = np.flatnonzero(np.all(np.isfinite(theta), axis=1))
    if not alive.size:
        raise ValueError(
            f"lr must let a run live until step {last}, got {lr}, at which all diverge; use a smaller one."
        )
    found = inspect_model(
        problem.select(alive.tolist()), partition, theta=theta[alive], step=last, curvature=curvature, progress=progress
    )
    return found, run


def place_of_block(label: str, layers: Sequence[str]) -> tuple[int, str]:
    """Where a block stands in the model and what it is: `layer3.q` to (4, "q"), `embed[7]` to (0, "embed"), `head` to the end."""
    plain = label.partition("[")[0]
    if plain.startswith("copy"):
        plain = plain.partition(".")[2]
    layer, dot, kind = plain.partition(".")
    if dot:
        return layers.index(layer), kind
    if plain in layers:
        return layers.index(plain), plain if plain in ("embedding", "head") else "layer"
    return (0 if plain in ("embed", "pos") else len(layers) - 1), plain
