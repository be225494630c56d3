"""Measure the steps and the head of a training run from its snapshots (`step_measures`, `head_at_loss`)."""

from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from quadsim.simulator.curvature.along_training import snapshots_of, stacks_at_snapshots
from quadsim.simulator.curvature.head_norms import head_norms
from quadsim.simulator.problems.heterogeneity import block_gradient_norms, sign_cosine, spread
from quadsim.simulator.runs.training_run import TrainingRun
from quadsim.simulator.support.arrays import numbers_of
from quadsim.simulator.support.checks import check_interval
from quadsim.simulator.support.torch_modes import own_modes

__all__ = ["head_at_loss", "step_measures"]

Array = NDArray[np.float64]

_AXES = ("problem", "setting", "step")


@own_modes()
def step_measures(run: TrainingRun, *, beta1: float = 0.9, partition: str = "module") -> xr.Dataset:
    """Compare every step of a run with the sign of the memory of its gradients, and its size between blocks.

    The memory is m_t = beta1 m_(t-1) + (1 - beta1) g_t with m_(-1) = 0, computed from the gradients of the snapshots; for
    beta1 = 0 it is the current gradient. Its sign is that of Adam's first moment, with or without the correction of the bias,
    and of Signum's memory. Not to be confused with `step_sign_cosine` of `measure`, against the sign of the *current* gradient.

    Args:
        run: a run of `train(..., snapshots=range(n))`: a snapshot at every step from 0 on.
        beta1: memory of the mean gradient, in [0, 1).
        partition: `layer`, `module` or `unit`.

    Returns:
        Dataset with the axes problem, setting, step, NaN from divergence on. Its variables are `cosine_sign_memory`, the cosine
        of the step with -sign(m); `cosine_sign_gradient`, with -sign(g); over the blocks of |step_l|/sqrt(P_l) `step_decades` =
        log10 of the largest over the smallest and `step_log_std` (NaN with a block that does not move); `gradient_decades`,
        likewise of the gradient.

    Raises:
        ValueError: beta1 out of range, or a run without a snapshot at every step.
    """
    kept, beta1 = snapshots_of(run), check_interval("beta1", beta1, 0.0, 1.0, high_open=True)
    if not np.array_equal(kept.steps, np.arange(kept.steps.size)):
        raise ValueError(
            f"snapshots must be at every step from 0 on, got {kept.steps.tolist()[:5]}; train with snapshots=range(n)."
        )
    sizes = run.problem.partition(partition).sizes
    names = ("cosine_sign_memory", "cosine_sign_gradient", "step_decades", "step_log_std", "gradient_decades")
    out = {name: np.full(kept.theta.shape[:3], np.nan) for name in names}
    memory = np.zeros(kept.gradient.shape[:2] + kept.gradient.shape[3:])
    for s in range(kept.steps.size):
        gradient, update = kept.gradient[:, :, s], kept.update[:, :, s]
        memory = beta1 * memory + (1.0 - beta1) * gradient
        alive = np.isfinite(memory).all(axis=2) & np.isfinite(update).all(axis=2)
        steps, slopes = (spread(block_gradient_norms(x[alive], sizes)) for x in (update, gradient))
        values = (
            sign_cosine(update[alive], memory[alive]),
            sign_cosine(update[alive], gradient[alive]),
            np.log10(steps.ratio),
            steps.log_std,
            np.log10(slopes.ratio),
        )
        for name, found in zip(names, values, strict=True):
            out[name][:, :, s][alive] = found
    coordinates = {str(n): c for n, c in run.to_dataset().coords.items() if "step" not in c.dims} | {"step": kept.steps}
    attributes = {"optimizer": run.optimizer, "beta1": beta1, "partition": partition}
    return xr.Dataset({name: (_AXES, values) for name, values in out.items()}, coords=coordinates, attrs=attributes)


@own_modes()
def head_at_loss(run: TrainingRun, levels: Sequence[float]) -> xr.Dataset:
    """Compute how far the two parts of the head have moved when the loss first reaches given levels.

    Rules that are compared at the same step compare how fast they fit; at the same loss they do not. Between two snapshots,
    growth and step are interpolated linearly in the loss.

    Args:
        run: a run of `train(..., snapshots=...)` from step 0 on.
        levels: losses, as fractions of that of a uniform guess (`ToyProblem.guess_loss`), between 0 and 1.

    Returns:
        Dataset with the axes problem, setting, level. Its variables are `common` (growth of sqrt(C) times the mean class row
        since the start, which cancels in the softmax), `centred` (growth of the rest), `common_over_centred`, and `step`. NaN
        where the unweighted loss on all data is above the level at every snapshot.

    Raises:
        ValueError: a level out of range, or a run without a snapshot at step 0.
    """
    kept = snapshots_of(run)
    if kept.steps[0] != 0:
        raise ValueError(f"snapshots must begin at step 0, got {kept.steps[0]}; train with snapshots=(0, 10, ...).")
    values = np.atleast_1d(numbers_of("levels", levels))
    for level in values.tolist():
        check_interval("levels", level, 0.0, 1.0, low_open=True, high_open=True)
    shape = (*kept.theta.shape[:2], kept.steps.size)
    loss, common, centred = (np.full((shape[0] * shape[1], shape[2]), np.nan) for _ in range(3))
    for here in stacks_at_snapshots(run):
        with torch.no_grad():
            unweighted = here.stack.losses(torch.from_numpy(here.theta))[1].numpy()
        grown = head_norms(run.problem, here.theta - here.start, here.stack.which)
        for column, found in ((loss, unweighted), (common, grown.common), (centred, grown.centred)):
            column[here.at, here.step] = found
    columns = {"common": common, "centred": centred, "step": np.tile(kept.steps.astype(float), (len(loss), 1))}
    wanted = values * run.problem.guess_loss
    at_level = {
        name: np.array([[_at_level(loss[i], column[i], level) for level in wanted] for i in range(len(loss))])
        for name, column in columns.items()
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        at_level["common_over_centred"] = at_level["common"] / at_level["centred"]
    axes = ("problem", "setting", "level")
    data = {name: (axes, array.reshape(*shape[:2], values.size)) for name, array in at_level.items()}
    coordinates = {str(n): c for n, c in run.to_dataset().coords.items() if "step" not in c.dims} | {"level": values}
    return xr.Dataset(data, coords=coordinates, attrs={"optimizer": run.optimizer})


def _at_level(loss: Array, column: Array, level: float) -> float:
    """Return the column where the loss first is at most the level; NaN if it never is."""
    below = np.flatnonzero(loss <= level)
    if not below.size:
        return float("nan")
    s = int(below[0])
    if s == 0:
        return float(column[0])
    share = (loss[s - 1] - level) / (loss[s - 1] - loss[s])
    return float(column[s - 1] + share * (column[s] - column[s - 1]))
