"""Measure gradients, curvature and the head at the snapshots of a training run, as one table (`measure`)."""

from collections.abc import Iterator
from typing import Any, TypedDict

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray

from quadsim.simulator.curvature.block_spectra import LARGEST_BLOCK, LARGEST_WHOLE, block_spectra
from quadsim.simulator.curvature.columns import of_curvature, of_delta, of_gradient_norms, of_head, of_off_block
from quadsim.simulator.curvature.off_block import spectra_and_off_block
from quadsim.simulator.curvature.spectral_distance import jensen_shannon, mean_over_pairs
from quadsim.simulator.models.partitions import Partition
from quadsim.simulator.models.stack import Stack
from quadsim.simulator.problems import heterogeneity as het
from quadsim.simulator.runs.training_run import Snapshots, TrainingRun
from quadsim.simulator.support.torch_modes import own_modes

__all__ = ["Present", "coupling_along", "measure", "snapshots_of", "stacks_at_snapshots"]

Array = NDArray[np.float64]

_Columns = dict[str, tuple[tuple[str, ...], Array]]


class _Distance(TypedDict):
    """Arguments of `jensen_shannon`."""

    bins: int
    normalise: str
    base: float


@own_modes()
def measure(
    run: TrainingRun,
    *,
    partition: str | Partition = "module",
    curvature: bool = True,
    off_blocks: bool = False,
    largest: int = LARGEST_BLOCK,
    largest_whole: int = LARGEST_WHOLE,
    bins: int = 100,
    normalise: str = "none",
    base: float = 2.0,
    **quadrature: Any,
) -> xr.Dataset:
    """Compute all metrics of every instance at every snapshot; NaN where an instance had diverged before.

    The gradient is the one that the rule got in training: that of the mini-batch, if there are mini-batches, and scaled in the
    mode `gradient` of the dial `reparametrisation`. The curvature is that of the optimised loss on all data, in float64, by the
    stored parameters (`quadsim.simulator.curvature.block_spectra` explains this and the smoothness).

    Args:
        run: a run of `train(..., snapshots=(...))`.
        partition: blocks, or their name in PARTITIONS.
        curvature: whether spectra of blocks are computed. This needs P products with the Hessian per instance and snapshot.
        off_blocks: whether the whole Hessian is computed, for the part outside the blocks and exact spectra of large blocks.
        largest: largest number of parameters of a block with exact eigenvalues; see `block_spectra`.
        largest_whole: largest number of parameters for a whole Hessian.
        bins: number of bins, as in `jensen_shannon`.
        normalise: as in `jensen_shannon`.
        base: as in `jensen_shannon`.
        **quadrature: nodes, runs and seed of the quadrature of larger blocks, as in `block_spectra`.

    Returns:
        Dataset with the axes problem, setting, step (the snapshots) and, where noted, block. Its variables are

        - `loss_weighted`, optimised loss on all data;
        - `gradient_norm` (block), |g_l|/sqrt(P_l), and over blocks `gradient_ratio`, `gradient_log_std`, `gradient_gini`,
          `gradient_variation` (see `Spread`: NaN for the first two with a zero block);
        - `step_sign_cosine`, of the rule's step with -sign(g);
        - `head_common`, `head_centred`, norms of the two parts of the head, and `head_common_growth`, `head_centred_growth`,
          norms of the parts of its change since the start;
        - `smoothness`, `spectral_norm`, `smallest_eigenvalue` (block); `Lambda_G`, `Lambda_P`, `Lambda_ratio` (G over P),
          `covariance` (their difference); `js0`; `asymmetry`;
        - `off_block_spectral`, `off_block_frobenius`, `whole_over_block`, `delta`, `coupling`, `positive_share` (see `OffBlock`),
          and with curvature `delta_over_Lambda_G`, `delta_over_Lambda_P`.

    Raises:
        ValueError: a run without snapshots, or a value out of range.
    """
    cut = run.problem.partition(partition) if isinstance(partition, str) else partition
    distance: _Distance = {"bins": bins, "normalise": normalise, "base": base}
    exact = {"largest": largest_whole} if off_blocks else {"largest": largest, **quadrature}
    columns = _columns(run, cut, distance, exact, curvature=curvature, off_blocks=off_blocks)
    return _dataset(run, cut, columns, {**distance, "largest_exact_block": max(cut.sizes) if off_blocks else largest})


@own_modes()
def coupling_along(
    run: TrainingRun, partition: str | Partition = "module", *, largest_whole: int = LARGEST_WHOLE
) -> pd.DataFrame:
    """Return how far the Hessian is from its diagonal blocks at every snapshot: a row per problem, setting and snapshot.

    Args:
        run: a run of `train(..., snapshots=(...))`.
        partition: blocks, or their name in PARTITIONS.
        largest_whole: largest number of parameters for a whole Hessian.

    Returns:
        Table with index, setting, step, `coupling` (smallest c, see `coupling_of`), `delta`, `delta_over_Lambda_G` and
        `delta_over_Lambda_P`; NaN where an instance had diverged.
    """
    found = measure(run, partition=partition, off_blocks=True, largest_whole=largest_whole)
    problems, settings, steps = found["coupling"].shape
    at = np.indices((problems, settings, steps)).reshape(3, -1)
    columns: dict[str, Any] = {
        "index": run.problem.index[at[0]],
        "setting": at[1],
        "step": snapshots_of(run).steps[at[2]],
    }
    names = ("coupling", "delta", "delta_over_Lambda_G", "delta_over_Lambda_P")
    return pd.DataFrame(columns | {name: found[name].values.ravel() for name in names})


def _columns(
    run: TrainingRun, cut: Partition, distance: _Distance, exact: dict[str, Any], *, curvature: bool, off_blocks: bool
) -> _Columns:
    """Snapshot by snapshot, what `measure` computes of the instances that had not diverged.

    Args:
        run: trained with snapshots=(...).
        cut: blocks.
        distance: arguments of `jensen_shannon`.
        exact: how the spectra are computed, arguments of `block_spectra` or, with `off_blocks`, of `spectra_and_off_block`.
        curvature: as in `measure`.
        off_blocks: as in `measure`.
    """
    table = _Table(run, len(cut.sizes))
    for here in stacks_at_snapshots(run):
        table.add(here, _at_hand(here, cut.sizes))
        spectra = rest = None
        if off_blocks:
            # Both from the whole Hessian, at the cost of one.
            spectra, rest = spectra_and_off_block(here.stack, here.theta, cut, spectra=curvature, **exact)
            table.add(here, of_off_block(rest))
        elif curvature:
            spectra = block_spectra(here.stack, here.theta, cut, **exact)
        if spectra is not None:
            distances = jensen_shannon(spectra, **distance)
            curved = of_curvature(here.gradient, cut.sizes, spectra)
            table.add(here, curved | {"js0": mean_over_pairs(distances)})
            if rest is not None:
                table.add(here, of_delta(rest, curved))
            table.add(here, {"smoothness": spectra.smoothness, "spectral_norm": spectra.spectral_norm})
            table.add(here, {"smallest_eigenvalue": spectra.smallest, "asymmetry": spectra.asymmetry})
    return table.columns()


def _dataset(run: TrainingRun, cut: Partition, columns: _Columns, settings: dict[str, Any]) -> xr.Dataset:
    """The columns with what each problem, setting, step and block is."""
    source = run.to_dataset()
    coordinates: dict[str, Any] = {str(n): values for n, values in source.coords.items() if "step" not in values.dims}
    coordinates |= {
        "step": snapshots_of(run).steps,
        "block": list(cut.labels),
        "block_size": ("block", np.array(cut.sizes)),
    }
    return xr.Dataset(columns, coords=coordinates, attrs=source.attrs | {"partition": cut.name} | settings)


class Present:
    """The instances at one snapshot that had not diverged.

    Attributes:
        step: index of the snapshot in the run's list.
        at: their positions in the flat list of (problem, setting), the setting varying fastest, (E,).
        stack: the instances in float64, with all data.
        theta: parameters before the step, (E, P).
        start: parameters at the start of training, rounded to the number type of the run, (E, P).
        gradient: the gradient that the rule got, (E, P).
        update: the step that the rule added, (E, P).
    """

    def __init__(self, run: TrainingRun, step: int) -> None:
        kept = snapshots_of(run)
        flat = [x[:, :, step].reshape(-1, x.shape[-1]) for x in (kept.theta, kept.gradient, kept.update)]
        self.step = step
        self.at = np.flatnonzero(np.all([np.isfinite(x).all(axis=1) for x in flat], axis=0))
        self.theta, self.gradient, self.update = (x[self.at] for x in flat)
        which = self.at // kept.theta.shape[1]
        self.start = run.problem.start[which].astype(run.dtype).astype(np.float64)
        self.stack: Stack = run.problem.stack(which)

    @own_modes()
    def losses(self, theta: Array) -> Array:
        """Optimised loss on all data, (E,)."""
        with torch.no_grad():
            return np.asarray(self.stack.losses(torch.from_numpy(theta))[0].numpy())


def stacks_at_snapshots(run: TrainingRun) -> Iterator[Present]:
    """Yield the instances at each snapshot; a snapshot at which all have diverged is skipped.

    Raises:
        ValueError: a run without snapshots.
    """
    for step in range(snapshots_of(run).steps.size):
        here = Present(run, step)
        if here.at.size:
            yield here


def snapshots_of(run: TrainingRun) -> Snapshots:
    """Return the snapshots of a run.

    Raises:
        ValueError: a run without snapshots.
    """
    if run.snapshots is None:
        raise ValueError("run must have snapshots, got one without; train with snapshots=(0, 10, ...).")
    return run.snapshots


class _Table:
    """Columns (M, K, S) or (M, K, S, B) of the table; entries are NaN until they are added."""

    def __init__(self, run: TrainingRun, blocks: int) -> None:
        self._shape = snapshots_of(run).theta.shape[:3]
        self._blocks = blocks
        self._values: dict[str, Array] = {}

    def add(self, here: Present, values: dict[str, Array]) -> None:
        problems, settings, steps = self._shape
        for name, found in values.items():
            shape = (problems * settings, steps, *found.shape[1:])
            column = self._values.setdefault(name, np.full(shape, np.nan))
            column[here.at, here.step] = found

    def columns(self) -> _Columns:
        axes = ("problem", "setting", "step", "block")
        shaped = {name: values.reshape(*self._shape, *values.shape[2:]) for name, values in self._values.items()}
        return {name: (axes[: values.ndim], values) for name, values in shaped.items()}


def _at_hand(here: Present, sizes: tuple[int, ...]) -> dict[str, Array]:
    """Return the metrics that need no Hessian."""
    problem, which = here.stack.problem, here.stack.which
    norms = het.block_gradient_norms(here.gradient, sizes)
    growth = of_head(problem, here.theta - here.start, which)
    return {
        "loss_weighted": here.losses(here.theta),
        "gradient_norm": norms,
        "step_sign_cosine": het.sign_cosine(here.update, here.gradient),
        **of_gradient_norms(norms),
        **of_head(problem, here.theta, which),
        **{f"{name}_growth": values for name, values in growth.items()},
    }
