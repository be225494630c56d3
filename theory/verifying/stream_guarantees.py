"""Answer a sweep about runs on a stream of samples: the exact mean of the gap over the draws, where there is one."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.oracles import Stream
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.runs.guaranteed import IN_THE_MEAN, Asked, Guarantee
from quadsim.theory.running.stream_moments import Moments, critical_batch, why_no_moments

__all__ = ["in_the_mean", "stream_limits"]

Array = NDArray[np.float64]


def in_the_mean(asked: Asked, oracle: Stream) -> Sequence[Guarantee]:
    """Return the exact curve of E gap of a linear rule on a stream, and the first step at which it is within the tolerance.

    A single run may arrive earlier or later: it is a statement about the mean over draws, and no bound.

    Args:
        asked: the optimizer, its problems and its best rate.
        oracle: the stream.
    """
    shape = (asked.problem.problems, asked.recorded.size)
    unknown = np.full(shape[0], np.nan)
    why = _why_none(asked.spec, asked.schedule)
    if why:
        nothing = np.full(shape, np.nan)
        return [Guarantee(IN_THE_MEAN, "", asked.lr, 0, np.full(shape[0], np.inf), unknown, unknown, nothing, why)]
    problem = asked.problem
    curves, steps, floors = np.empty(shape), np.empty(shape[0]), np.empty(shape[0])
    for m, moments in enumerate(_moments(problem, asked.spec, asked.lr, oracle)):
        squares = np.concatenate([c[m].ravel() for c in problem.initial_coefficients.values()]) ** 2
        target = float(problem.initial_gap[m])
        curves[m] = moments.gaps(squares, asked.recorded) / target
        steps[m] = _first_within(moments, squares, asked, curves[m], target)
        floors[m] = moments.floor / target
    text = "" if np.isfinite(np.median(floors)) else "the mean gap is not stable at this rate on most problems"
    return [
        Guarantee(
            IN_THE_MEAN,
            _THEOREMS.get(asked.spec.rule.name, ""),
            asked.lr,
            0,
            steps,
            asked.measured,
            unknown,
            curves,
            text,
            floors,
        )
    ]


_THEOREMS = {"gd": "sgd-moments", "sgd": "sgd-moments", "heavy-ball": "heavy-ball-moments"}
"""Rule to the theorem that states its recursion; that of any other linear rule is derived from the rule in the same way."""


def _moments(problem: BlockQuadratic, spec: OptimizerSpec, lr: float, oracle: Stream) -> Iterator[Moments]:
    """Yield the moments of an optimizer on every problem."""
    settings = {name: float(values[0]) for name, values in spec.settings(lr).items()}
    for m in range(problem.problems):
        eigenvalues = np.concatenate([values[m].ravel() for values in problem.eigenvalues.values()])
        yield Moments(spec.rule, settings, eigenvalues, oracle)


def stream_limits(
    problem: BlockQuadratic, spec: OptimizerSpec, lr: float, oracle: Stream, schedule: str
) -> tuple[float, float]:
    """Return the floor of the mean gap over the gap at the start, and the batch from which on samples matter less than labels.

    Both are medians over the problems: the limit of E gap (infinite where the rate is not stable) and `critical_batch` at this
    rate, of gd and heavy-ball. NaN where they are not known.

    Args:
        problem: M problems.
        spec: the optimizer.
        lr: its rate.
        oracle: the stream.
        schedule: of the rate.
    """
    if _why_none(spec, schedule):
        return np.nan, np.nan
    floors, batches = [], []
    for moments, start in zip(_moments(problem, spec, lr, oracle), problem.initial_gap, strict=True):
        floors.append(moments.floor / float(start))
        momentum = moments.settings.get("momentum", 0.0)
        known = spec.rule.name in ("gd", "sgd", "heavy-ball")
        batches.append(critical_batch(moments.eigenvalues, lr, momentum=momentum) if known else np.nan)
    return float(np.median(floors)), float(np.median(batches))


def _why_none(spec: OptimizerSpec, schedule: str) -> str:
    """Why no exact mean is known, in one line; empty where it is."""
    if spec.is_torch:
        return "a class of torch has no formula, so no theorem speaks of it"
    why = why_no_moments(spec.rule)
    if why:
        return f"no mean gap on a stream is known, as {why}"
    if schedule != "constant":
        return f"the mean gap on a stream is known at constant rates, and the schedule is {schedule}"
    return ""


def _first_within(moments: Moments, squares: Array, asked: Asked, curve: Array, start: float) -> float:
    """The first step at which the mean gap is within the tolerance; infinite if none of the recorded steps is."""
    within = np.flatnonzero(curve <= asked.tolerance)
    if not within.size:
        return np.inf
    if within[0] == 0:
        return 0.0
    between = np.arange(asked.recorded[within[0] - 1] + 1, asked.recorded[within[0]] + 1)
    inside = moments.gaps(squares, between) <= asked.tolerance * start
    return float(between[np.argmax(inside)])
