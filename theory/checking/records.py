"""Examine whether a trajectory is what its rule does on its problem, before anything is concluded from it (`examine`).

A verdict on a theorem is about the rule's run. A record with a NaN, a negative gap, a status or a hitting time that its own
gaps contradict, or gaps that the rule does not produce from this problem, is evidence of nothing: it is named instead.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.oracles import FULL
from quadsim.simulator.runs.observables import OF_STEPS
from quadsim.simulator.runs.status import CONVERGED, DIVERGED, STATUSES
from quadsim.simulator.runs.trajectory import MEAN_WINDOW, Trajectory, divergence_limit
from quadsim.theory.checking.budget import evaluation_budget, growth_budget
from quadsim.theory.checking.replay import Replay, replay

__all__ = ["Records", "censored_below", "examine", "form"]

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


_SHOWING, _CLOSER, _STEPS_SHOWING = 100.0, 1000.0, 3  # see `_finer`


def censored_below(trajectory: Trajectory) -> float:
    """Return the gap below which the run's number type has lost its relative precision: such a gap is only known to be small."""
    kind = np.finfo(trajectory.dtype)
    return float(kind.tiny) / float(kind.eps)


def examine(trajectory: Trajectory) -> Records:
    """Examine the records of a run: their form, their agreement with each other, and with the rule on the problem."""
    shape = trajectory.status.shape
    nothing = np.zeros(shape, dtype=np.int64), np.full(trajectory.gap.shape, np.inf)
    wrong = form(trajectory)
    if wrong:
        return Records(np.full(shape, wrong, dtype=object), *nothing)
    reason = np.full(shape, "", dtype=object)
    for found in (_values(trajectory), _stale(trajectory), _status(trajectory), _passages(trajectory)):
        reason = np.where(reason == "", found, reason)
    known, recomputed, noticed = _recomputed(trajectory)
    return Records(np.where(reason == "", known, reason), recomputed, noticed)


def form(trajectory: Trajectory) -> str:
    """Return what is wrong with the shape of the record as a whole; "" if nothing is."""
    steps, gap = np.asarray(trajectory.steps), trajectory.gap
    if trajectory.problem.problems != trajectory.status.shape[0]:
        return f"it must be of M = {trajectory.problem.problems} problems, got {trajectory.status.shape[0]}"
    if gap.shape != (*trajectory.status.shape, steps.size):
        return f"gaps must have the shape (M, K, R) = {(*trajectory.status.shape, steps.size)}, got {gap.shape}"
    if steps.size == 0 or steps[0] != 0 or np.any(np.diff(steps) <= 0) or np.any(steps != np.floor(steps)):
        return "recorded steps must start at 0 and ascend"
    for name, values in trajectory.observed.items():
        if values.shape[:3] != gap.shape:
            return f"{name} must be recorded with every gap, (M, K, R, ...) = {gap.shape}, got {values.shape[:3]}"
    if trajectory.rule is not None:
        if trajectory.optimizer != trajectory.rule.name:
            return f"its optimizer is {trajectory.optimizer}, its rule {trajectory.rule.name}"
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
    for wrong, text in (*faults, *_means(trajectory, target, unit)):
        out[(out == "") & np.asarray(wrong)[..., 0]] = text
    return out


def _means(trajectory: Trajectory, target: Array, unit: float) -> tuple[tuple[Array, str], ...]:
    """What contradicts the window over which the mean gap is said to be within the tolerance; see `Trajectory`."""
    mean, steps = trajectory.steps_to_mean[..., None], trajectory.steps
    # Positions of the ends of windows of which every step is recorded.
    places = np.flatnonzero((steps > 0) & (steps % MEAN_WINDOW == 0) & (np.arange(steps.size) >= MEAN_WINDOW))
    places = places[steps[places - MEAN_WINDOW + 1] == steps[places] - MEAN_WINDOW + 1]
    ends = steps[places]
    with np.errstate(all="ignore"):
        seen = sum((trajectory.gap[..., places - back] for back in range(MEAN_WINDOW)), np.zeros(())) / MEAN_WINDOW
        low, high = seen <= target * (1.0 - 16 * unit), ~(seen <= target * (1.0 + 16 * unit))
        return (
            (np.isfinite(mean) & ((mean % MEAN_WINDOW != 0) | (mean < MEAN_WINDOW) | (mean > steps[-1])), "the window whose "
             "mean is said to be within the tolerance is none of the run"),
            ((~np.isnan(mean) & low & (ends < mean)).any(axis=-1, keepdims=True), "the mean gap is within the tolerance before "
             "the window said to be the first"),
            ((high & (ends == mean)).any(axis=-1, keepdims=True), "in the window said to be within the tolerance the mean gap is "
             "above"),
        )  # fmt: skip


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
    if trajectory.rule is None or trajectory.oracle != FULL or trajectory.steps.size == 1:
        start = np.broadcast_to(trajectory.problem.initial_gap[:, None, None], (*shape, 1))
        allowed = np.broadcast_to(evaluation[..., None], start.shape)
        again = Replay(start, allowed, {}, np.zeros(start.shape, dtype=bool))
    else:
        again = replay(trajectory, evaluation)
    every = np.arange(again.gap.shape[-1])
    again = replace(again, allowed=again.allowed + _of_closed_form(trajectory, again.gap, every))
    count = int(np.searchsorted(trajectory.steps, every.size))  # records among the recomputed steps
    chosen = trajectory.steps[:count]
    expected, allowed = again.gap[..., chosen], again.allowed[..., chosen]
    seen = trajectory.gap[..., :count]
    limit = divergence_limit(trajectory.gap[..., 0])[..., None]
    floor = censored_below(trajectory)
    with np.errstate(all="ignore"):
        # A run that has diverged is recorded as infinite from then on, also where a falling rate would bring it back.
        ended, furthest = np.isinf(seen), np.fmax.accumulate(again.gap, axis=-1)[..., chosen]
        off = np.where(
            ended, furthest < limit * (1.0 - allowed), np.abs(seen - expected) > allowed * np.abs(expected) + floor
        )
        followed = np.isfinite(allowed) & (np.isfinite(expected) | ~ended)
        wrong = (followed & off) | (np.isnan(expected) & np.isfinite(seen))
    noticed[..., :count] = np.where(followed & (expected > floor), allowed, np.inf)
    reason = _texts(trajectory, np.zeros(shape, dtype=bool), "")
    narrow = trajectory.dtype == "float64" and np.isfinite(seen).any() and np.array_equal(seen, _rounded(seen))
    for m, k in np.argwhere(wrong.any(axis=-1)):
        r = int(np.argmax(wrong[m, k]))
        reason[m, k] = (
            f"the run is not its rule's: at step {int(chosen[r])} its gap is {seen[m, k, r]:.17g}, made again from the rule "
            f"{expected[m, k, r]:.17g}"
        ) + ("; all its gaps are numbers of float32, so that it may be a run in float32" if narrow else "")
    for found in (
        _finer(trajectory, again, chosen, followed & ~ended & (expected > floor)),
        _passed(trajectory, again),
        _observed(trajectory, again, chosen, followed & ~ended & (expected > floor)),
    ):
        reason = np.where(reason == "", found, reason)
    return reason, np.asarray(np.sum(followed, axis=-1)), noticed


def _rounded(values: Array) -> Array:
    with np.errstate(over="ignore"):
        return values.astype(np.float32).astype(np.float64)


def _finer(trajectory: Trajectory, again: Replay, chosen: NDArray[np.int64], followed: NDArray[np.bool_]) -> Texts:
    """Gaps with more digits than the run's number type gives them, as of a run in float64 that is said to be in float32.

    A run in the type itself is off by its rounding, at one step more and at another less. A record that is a thousand times
    closer to the run in float64 at every step where that rounding shows, three at least, was not computed in it.
    """
    if again.own is None:
        return _texts(trajectory, np.zeros(trajectory.status.shape, dtype=bool), "")
    expected, own = again.gap[..., chosen], again.own[..., chosen]
    with np.errstate(invalid="ignore"):
        apart = np.abs(own - expected)
        shows = followed & (apart > float(np.finfo(trajectory.dtype).eps) / _SHOWING * expected)
        close = np.abs(trajectory.gap[..., : chosen.size] - expected) <= apart / _CLOSER
    finer = (shows.sum(axis=-1) >= _STEPS_SHOWING) & (close | ~shows).all(axis=-1)
    return _texts(
        trajectory, finer, f"its gaps have more digits than {trajectory.dtype} gives: they are those of float64"
    )


def _passed(trajectory: Trajectory, again: Replay) -> Texts:
    """The step said to reach the tolerance, against the gaps made again, which include steps that are not recorded."""
    first, target = trajectory.steps_to_tolerance[..., None], trajectory.tolerance * again.gap[..., :1]
    every = np.arange(again.gap.shape[-1])
    with np.errstate(all="ignore"):
        clearly = np.isfinite(again.allowed) & (target > censored_below(trajectory))
        low = clearly & (again.gap < target * (1.0 - 2.0 * again.allowed))
        high = clearly & (again.gap > target * (1.0 + 2.0 * again.allowed))
        wrong = ((low & (every < first)) | (high & (every == first))).any(axis=-1)
    # A run that has diverged is over, and may come back unseen.
    over = trajectory.status.astype(str) == DIVERGED
    return _texts(trajectory, wrong & ~over, "made again from the rule, it reaches the tolerance at another step")


def _observed(trajectory: Trajectory, again: Replay, chosen: NDArray[np.int64], followed: NDArray[np.bool_]) -> Texts:
    """Observables that are not those of the run made again."""
    out = _texts(trajectory, np.zeros(trajectory.status.shape, dtype=bool), "")
    for name, values in again.observed.items():
        plain, copies = values[0][:, :, chosen], values[1:][:, :, :, chosen]
        seen = trajectory.observed[name][:, :, : chosen.size]
        part = tuple(range(3, plain.ndim))
        with np.errstate(all="ignore"):
            # Blocks and coordinates may be 0: they are compared with the largest of them.
            scale = np.abs(plain).max(axis=part, keepdims=True) if part else np.abs(plain)
            apart = np.abs(copies - plain).max(axis=0) / scale
            allowed = again.allowed[..., chosen].reshape(*plain.shape[:3], *(1 for _ in part))
            allowed = allowed + 100.0 * np.maximum.accumulate(apart, axis=2)
            off = np.abs(seen - plain) > allowed * scale
            off |= np.isfinite(plain) & np.isnan(seen)
        wrong = (off.any(axis=part) if part else off) & followed
        if name in OF_STEPS:
            wrong &= ~again.unclear[..., chosen]
            wrong[..., chosen == trajectory.steps[-1]] = False  # of a step that is not taken
        out[(out == "") & wrong.any(axis=-1)] = f"its {name} is not that of the run made again from the rule"
    return out
