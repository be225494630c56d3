"""Inspect gradients and curvature of a toy model, block by block, at the start or along training (`inspect_model`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from quadsim.simulator.curvature.block_spectra import LARGEST_BLOCK, BlockSpectra, block_spectra
from quadsim.simulator.curvature.columns import of_curvature, of_delta, of_gradient_norms, of_head, of_off_block
from quadsim.simulator.curvature.hessian import Progress, gradient, no_progress
from quadsim.simulator.curvature.off_block import spectra_and_off_block
from quadsim.simulator.curvature.spectral_distance import jensen_shannon, mean_over_pairs
from quadsim.simulator.models.partitions import Partition
from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.problems.heterogeneity import block_gradient_norms
from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.runs.training_run import TrainingRun
from quadsim.simulator.support.checks import check_count
from quadsim.simulator.support.records import plain_records
from quadsim.simulator.support.torch_modes import own_modes
from quadsim.simulator.training.gradient_noise import gradient_noise
from quadsim.simulator.training.loop import train

__all__ = ["JS_BINS", "Inspection", "inspect_model", "inspect_trained", "place_of_block"]

JS_BINS = 100
"""Number of bins of the Jensen-Shannon distances, of equal width over the range of all blocks; logarithm to base 2."""


@dataclass(frozen=True, eq=False)
class Inspection:
    """Gradients and curvature of M problems (seeds) at one step of training.

    Attributes:
        problem: the problems.
        partition: the blocks, B of them.
        step: number of training steps before; 0 is the start.
        gradient_norms: |g_l|/sqrt(P_l), (M, B).
        spectra: spectra of the Hessian's blocks; None without curvature.
        distances: Jensen-Shannon distances between them, (M, B, B), or None.
        whole: name to one number per problem, (M,) (see `summary`).
        theta: the parameters, (M, P).
    """

    problem: ToyProblem
    partition: Partition
    step: int
    gradient_norms: NDArray[np.float64]
    spectra: BlockSpectra | None
    distances: NDArray[np.float64] | None
    whole: dict[str, NDArray[np.float64]]
    theta: NDArray[np.float64]

    @property
    def blocks(self) -> pd.DataFrame:
        """Return one row per problem and block: index, block, size, gradient_norm; with curvature smoothness, smallest, exact."""
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
        """Return one row per problem: its index and the metrics of the whole problem.

        `gradient_ratio`, `gradient_log_std`, `gradient_gini`, `gradient_variation` over blocks; `loss`, `loss_weighted`;
        `head_common`, `head_centred`; without batch norm `noise_trace`, `noise_scale`, `noise_l1`, `noise_scale_l1` of the
        gradient of one sequence (see `GradientNoise`); with curvature `Lambda_G`, `Lambda_P`, `Lambda_ratio`, `covariance`,
        `JS0`, and if the whole Hessian was computed `off_block_spectral`, `off_block_frobenius`, `whole_over_block`, `delta`,
        `coupling`, `positive_share` (see `OffBlock`), `delta_over_Lambda_G`, `delta_over_Lambda_P`.
        """
        return pd.DataFrame({"index": self.problem.index, **self.whole})

    def to_json(self) -> dict[str, Any]:
        """Return both tables as plain data for JSON; a number that is not finite becomes None."""
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
    """Compute gradients and curvature of all problems of a batch, at the start or at given parameters.

    The gradient is the one that a rule would get on all data, scaled in the mode `gradient` of the dial `reparametrisation`.

    Args:
        problem: M problems.
        partition: `layer`, `module` or `unit`.
        theta: parameters, (M, P); None: the start.
        step: number of training steps after which `theta` was reached; reported only.
        curvature: whether Hessian blocks are computed.
        largest_block: largest number of parameters of a block with an exact spectrum; see `block_spectra`.
        largest_whole: largest number of parameters with which the part outside the blocks is computed.
        progress: called with the number of Hessian columns that were just finished; M P in total.

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
    if (noise := gradient_noise(problem, at)) is not None:
        whole |= noise.columns
    if not curvature:
        return Inspection(problem, cut, step, norms, None, None, whole, np.asarray(at))
    rest = None
    if problem.dimension <= largest_whole:
        spectra, rest = spectra_and_off_block(stack, at, cut, largest=largest_whole, progress=progress)
        whole |= of_off_block(rest)
    else:
        spectra = block_spectra(stack, at, cut, largest=largest_block, progress=progress)
    assert spectra is not None
    distances = jensen_shannon(spectra, bins=JS_BINS)
    curved = of_curvature(g, cut.sizes, spectra)
    whole |= curved | {"JS0": mean_over_pairs(distances)} | ({} if rest is None else of_delta(rest, curved))
    return Inspection(problem, cut, step, norms, spectra, distances, whole, np.asarray(at))


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
    """Train in float64, and inspect the problems that have not diverged at the last of the steps `at`.

    Args:
        problem: M problems.
        optimizer: as on the command line, `adam:beta1=0`.
        partition: `layer`, `module` or `unit`.
        lr: learning rate.
        at: steps at which the run stores snapshots.
        curvature: whether Hessian blocks are computed.
        progress: called with the number of Hessian columns that were just finished; P per inspected problem in total.

    Returns:
        Inspection of the problems that have not diverged (`found.problem`), and the run of all problems.

    Raises:
        ValueError: a value out of range, no steps, or a run in which all had diverged by then.
    """
    spec = OptimizerSpec.parse(optimizer)
    steps = [check_count("at", t, 0) for t in at]
    if not steps:
        raise ValueError("at must hold at least one step, got an empty list; give one, as 0,10.")
    last = max(steps)
    options: dict[str, Any] = dict(spec.at_batch(problem.task.batch).hyperparameters)
    options |= {"schedule": spec.schedule, "partition": partition, "dtype": "float64"}
    run = train(problem, spec.rule, lr=lr, steps=max(last, 1), snapshots=steps, **options)
    assert run.snapshots is not None
    theta = run.snapshots.theta[:, 0, -1]
    alive = np.flatnonzero(np.all(np.isfinite(theta), axis=1))
    if not alive.size:
        raise ValueError(
            f"lr must be small enough that a run reaches step {last}, got {lr}, with which all diverge; use a smaller one."
        )
    found = inspect_model(
        problem.select(alive.tolist()), partition, theta=theta[alive], step=last, curvature=curvature, progress=progress
    )
    return found, run


def place_of_block(label: str, layers: Sequence[str]) -> tuple[int, str]:
    """Return the depth and the kind of a block: (4, "q") for `layer3.q`, (0, "embed") for `embed[7]`; `head` is deepest."""
    plain = label.partition("[")[0]
    if plain.startswith("copy"):
        plain = plain.partition(".")[2]
    layer, dot, kind = plain.partition(".")
    if dot:
        return layers.index(layer), kind
    if plain in layers:
        return layers.index(plain), plain if plain in ("embedding", "head") else "layer"
    return (0 if plain in ("embed", "pos") else len(layers) - 1), plain
