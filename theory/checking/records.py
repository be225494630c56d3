"""Examine whether a trajectory is what its rule does on its problem, before anything is concluded from it (`examine`).

A verdict on a theorem is about the rule's run. A record with a NaN, a negative gap, a status or a hitting time that its own
gaps contradict, or gaps that the rule does not produce from this problem, is evidence of nothing: it is named instead.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.oracles import FULL
from quadsim.simulator.runs.status import CONVERGED, DIVERGED, STATUSES
from quadsim.simulator.runs.trajectory import Trajectory, divergence_limit
from quadsim.theory.checking.budget import evaluation_budget, growth_budget
from quadsim.theory.checking.replay import replay

__all__ = ["Records", "censored_below", "examine"]

Array = NDArray[np.float64]
Texts = NDArray[np.object_]


@dataclass(frozen=True, eq=False)
class Records:
    """What an examination found; arrays are (M, K).

    Attributes:
        reason: what contradicts the rule, the problem or another record; empty where nothing does.
        recomputed: number of recorded gaps that were computed again from the rule and the problem.
        noticed: relative size of an error that would have been noticed at each record, (M, K, R); infinite where the record was
            not computed again.
    """

    reason: Texts
    recomputed: NDArray[np.int64]
    noticed: Array


def censored_below(trajectory: Trajectory) -> float:
    """Return the gap below which the run's number type has lost its relative precision: such a gap is only known to be small."""
    kind = np.finfo(trajectory.dtype)
    return float(kind.tiny) / float(kind.eps)


def examine(trajectory: Trajectory) -> Records:
    """Examine the records of a run: their form, their agreement with each other, and with the rule on the problem."""
    shape = trajectory.status.shape
    nothing = np.zeros(shape, dtype=np.int64), np.full(trajectory.gap.shape, np.inf)
    wrong = _form(trajectory)
    if wrong:
        return Records(np.full(shape, wrong, dtype=object), *nothing)
    reason = np.full(shape, "", dtype=object)
    for found in (_values(trajectory), _stale(trajectory), _status(trajectory), _passages(trajectory)):
        reason = np.where(reason == "", found, reason)
    known, recomputed, noticed = _recomputed(trajectory)
    return Records(np.where(reason == "", known, reason), recomputed, noticed)


def _form(trajectory: Trajectory) -> str:
    """Return what is wrong with the shape of the record as a whole; "" if nothing is."""
    steps, gap = np.asarray(trajectory.steps), trajectory.gap
    if gap.shape != (*trajectory.status.shape, steps.size):
        return f"gaps must have the shape (M, K, R) = {(*trajectory.status.shape, steps.size)}, got {gap.shape}"
    if steps.size == 0 or steps[0] != 0 or np.any(np.diff(steps) <= 0) or np.any(steps != np.floor(steps)):
        return "recorded steps must start at 0 and ascend"
    if trajectory.rule is not None:
        rate, others = trajectory.settings.get("lr"), {n: v for n, v in trajectory.settings.items() if n != "lr"}
        try:
            trajectory.rule.settings(rate, **others)
        except ValueError as error:
            return f"its settings are none of the rule's: {error}"
    if not 0.0 < trajectory.tolerance < 1.0:
        return f"the tolerance must be in (0, 1), got {trajectory.tolerance:g}"
    return ""


def _texts(trajectory: Trajectory, wrong: NDArray[np.bool_], text: str) -> Texts:
    return np.where(np.broadcast_to(wrong, trajectory.status.shape), text, "").astype(object)


def _values(trajectory: Trajectory) -> Texts:
    """A NaN, a negative gap, a finite gap after the end, and a gap at the start that is not the problem's."""
    gap = trajectory.gap
    nan, negative = np.asarray(np.isnan(gap).any(axis=-1)), np.asarray((gap < 0.0).any(axis=-1))
    returned = (np.isinf(gap[..., :-1]) & np.isfinite(gap[..., 1:])).any(axis=-1)
    out = _texts(trajectory, nan, "a recorded gap is NaN")
    # Where the conditioning leaves a gap no digit, e'He may come out negative by rounding.
    out[(out == "") & negative & (evaluation_budget(trajectory) < 1.0)] = "a recorded gap is negative"
    out[(out == "") & returned] = "a finite gap follows one beyond overflow"
    return out


def _stale(trajectory: Trajectory) -> Texts:
    """Eigenvalues or coefficients that are not those of the problem's own matrices, as after `dataclasses.replace`."""
    problem, unit = trajectory.problem, np.finfo(float).eps
    wrong = np.zeros(problem.problems, dtype=bool)
    with np.errstate(all="ignore"):
        for size, h in problem.hessian.items():
            values, vectors = problem.eigenvalues[size], problem.eigenvectors[size]
            largest = np.abs(values).max(axis=-1)
            off = np.abs(np.matmul(h, vectors) - vectors * values[..., None, :]).max(axis=(-1, -2))
            allowed = 64.0 * size**1.5 * unit * largest
            back = np.matmul(vectors, problem.initial_coefficients[size][..., None])[..., 0]
            start = problem.initial_error[size]
            scale = np.abs(start).max(axis=-1)
            apart = np.abs(back - start).max(axis=-1)
            # A start from `from_blocks` has its part in a null space taken out.
            null = np.any(values == 0.0, axis=-1)
            wrong |= np.any((off > allowed) | (~null & (apart > 64.0 * size**1.5 * unit * scale)), axis=1)
    return _texts(trajectory, wrong[:, None], "the problem's eigenvalues or its start are not those of its matrices")


def _status(trajectory: Trajectory) -> Texts:
    """A status that is none, or that the gaps or the hitting time contradict."""
    gap, status = trajectory.gap, trajectory.status.astype(str)
    limit = divergence_limit(gap[..., 0])
    with np.errstate(invalid="ignore", over="ignore"):
        diverged = (gap > limit[..., None] * (1.0 + 1e-6)).any(axis=-1)
        ends_low = (gap[..., -1] < limit * (1.0 - 1e-6)) & (status == DIVERGED)
    hit = np.isfinite(trajectory.steps_to_tolerance)
    out = _texts(trajectory, ~np.isin(status, STATUSES), f"the status must be one of {', '.join(STATUSES)}")
    for wrong, text in (
        (diverged & (status != DIVERGED), "its gaps have diverged, its status has not"),
        (ends_low, "its status is diverged, its last gap is not"),
        ((status == CONVERGED) & ~hit, "its status is converged, but no step reached the tolerance"),
        (
            (status != CONVERGED) & (status != DIVERGED) & hit,
            "a step reached the tolerance, but its status is not converged",
        ),
    ):
        out[(out == "") & wrong] = text
    return out


def _passages(trajectory: Trajectory) -> Texts:
    """Hitting times of the tolerance that recorded gaps contradict."""
    gap, steps = trajectory.gap, np.asarray(trajectory.steps, dtype=np.float64)
    unit = 4.0 * float(np.finfo(trajectory.dtype).eps)
    with np.errstate(all="ignore"):
        target = trajectory.tolerance * gap[..., :1]
        low, high = gap <= target * (1.0 - unit), ~(gap <= target * (1.0 + unit))
    first, stay = trajectory.steps_to_tolerance[..., None], trajectory.steps_to_stay[..., None]
    out = np.full(trajectory.status.shape, "", dtype=object)
    known = ~np.isnan(stay)
    with np.errstate(invalid="ignore"):
        faults = (
            (np.isnan(first), "the step that reached the tolerance is NaN"),
            (np.isfinite(first) & ((first != np.floor(first)) | (first < 0) | (first > steps[-1])), "the step that reached "
             "the tolerance is not a step of the run"),
            ((low & (steps < first)).any(axis=-1, keepdims=True), "a gap is within the tolerance before the step said to be "
             "the first"),
            ((high & (steps == first)).any(axis=-1, keepdims=True), "at the step said to reach the tolerance the gap is above"),
            (known & (high & (steps >= stay)).any(axis=-1, keepdims=True), "a gap is above the tolerance after the step from "
             "which on it is said to stay within"),
            (known & (low & (steps == stay - 1)).any(axis=-1, keepdims=True), "the gap is within the tolerance before the step "
             "from which on it is said to stay"),
            (known & (stay < first), "it is said to stay within the tolerance before it has reached it"),
        )  # fmt: skip
    for wrong, text in faults:
        out[(out == "") & np.asarray(wrong)[..., 0]] = text
    return out


def _of_closed_form(trajectory: Trajectory, gaps: Array, steps: NDArray[np.int64]) -> Array:
    """Return the relative error of gaps that a closed form evaluates, each from the start, (M, K, R); 0 for other engines.

    The factor of a mode is off by the growth of `growth_budget`, or by some times that where the frozen preconditioner comes from
    the eigenvectors. By Minkowski's inequality the root of the gap after t steps is
    then off by the same amount of its mean factor per step, (gap_t/gap_0)^(1/2t).
    """
    if trajectory.engine != "closed-form":
        return np.zeros_like(gaps)
    growth = np.broadcast_to(growth_budget(trajectory), trajectory.status.shape)[..., None]
    with np.errstate(all="ignore"):
        root = (gaps / gaps[..., :1]) ** (0.5 / np.maximum(steps, 1))
        added = np.expm1(2.0 * steps * np.log1p(16.0 * growth / root))
    return np.asarray(np.where(steps == 0, 0.0, np.where(np.isnan(added) | (added > 0.01), np.inf, added)))


def _recomputed(trajectory: Trajectory) -> tuple[Texts, NDArray[np.int64], Array]:
    """Compare the records with the rule's run on the problem, made again; see `replay`."""
    shape = trajectory.status.shape
    noticed = np.full(trajectory.gap.shape, np.inf)
    evaluation = 4.0 * evaluation_budget(trajectory) + 64.0 * float(np.finfo(trajectory.dtype).eps)
    reason = np.full(shape, "", dtype=object)
    if trajectory.rule is None or trajectory.oracle != FULL or trajectory.steps.size == 1:
        start = np.broadcast_to(trajectory.problem.initial_gap[:, None, None], (*shape, 1))
        gaps, allowed = start, np.broadcast_to(evaluation[..., None], start.shape)
    else:
        again = replay(trajectory, evaluation)
        gaps, allowed = again.gap, again.allowed
    count = int(np.searchsorted(trajectory.steps, gaps.shape[-1]))  # records among the recomputed steps
    chosen = trajectory.steps[:count]
    expected, allowed = gaps[..., chosen], allowed[..., chosen] + _of_closed_form(trajectory, gaps[..., chosen], chosen)
    seen = trajectory.gap[..., :count]
    limit = divergence_limit(trajectory.gap[..., 0])[..., None]
    floor = censored_below(trajectory)
    with np.errstate(all="ignore"):
        # A run that has diverged is recorded as infinite from then on, also where a falling rate would bring it back.
        ended, furthest = np.isinf(seen), np.fmax.accumulate(gaps, axis=-1)[..., chosen]
        off = np.where(
            ended, furthest < limit * (1.0 - allowed), np.abs(seen - expected) > allowed * np.abs(expected) + floor
        )
        followed = np.isfinite(allowed) & (np.isfinite(expected) | ~ended)
        wrong = (followed & off) | (np.isnan(expected) & np.isfinite(seen))
    noticed[..., :count] = np.where(followed & (expected > floor), allowed, np.inf)
    for m, k in np.argwhere(wrong.any(axis=-1)):
        r = int(np.argmax(wrong[m, k]))
        reason[m, k] = (
            f"the run is not its rule's: at step {int(chosen[r])} its gap is {seen[m, k, r]:.17g}, made again from the rule "
            f"{expected[m, k, r]:.17g}"
        )
    return reason, np.asarray(np.sum(followed, axis=-1)), noticed
