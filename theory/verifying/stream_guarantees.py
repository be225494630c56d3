"""Answer a sweep about runs on a stream of samples: the exact mean of the gap over the draws, where there is one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.oracles import Stream
from quadsim.simulator.runs.guaranteed import IN_THE_MEAN, Asked, Guarantee
from quadsim.theory.running.stream_moments import Moments, critical_batch

__all__ = ["in_the_mean"]

Array = NDArray[np.float64]


def in_the_mean(asked: Asked, oracle: Stream) -> Sequence[Guarantee]:
    """Return the exact curve of E gap of a linear rule on a stream, and the first step at which it is within the tolerance.

    A single run may arrive earlier or later: it is a statement about the mean over draws, and no bound.

    Args:
        asked: the optimizer, its problems and its best rate.
        oracle: the stream.
    """
    problem, shape = asked.problem, (asked.problem.problems, asked.recorded.size)
    unknown = np.full(shape[0], np.nan)
    why = _why_none(asked)
    if why:
        nothing = np.full(shape, np.nan)
        return [Guarantee(IN_THE_MEAN, "", asked.lr, 0, np.full(shape[0], np.inf), unknown, unknown, nothing, why)]
    settings = {name: float(values[0]) for name, values in asked.spec.settings(asked.lr).items()}
    curves, steps, floors, batches = np.empty(shape), np.empty(shape[0]), np.empty(shape[0]), []
    for m in range(shape[0]):
        eigenvalues = np.concatenate([values[m].ravel() for values in problem.eigenvalues.values()])
        squares = np.concatenate([c[m].ravel() for c in problem.initial_coefficients.values()]) ** 2
        moments = Moments(asked.spec.rule, settings, eigenvalues, oracle)
        target = float(problem.initial_gap[m])
        curves[m] = moments.gaps(squares, asked.recorded) / target
        steps[m] = _first_within(moments, squares, asked, curves[m], target)
        floors[m] = moments.floor / target
        batches.append(critical_batch(eigenvalues, asked.lr))
    text = (
        f"the mean gap ends at {np.median(floors):.2g} of the start (median over the problems)"
        if np.isfinite(np.median(floors))
        else "the mean gap is not stable at this rate on most problems"
    )
    if asked.spec.rule.name in ("gd", "sgd"):
        text += f"; at this rate the noise of the samples adds less than the labels' own from batch {_text(batches)} on"
    return [Guarantee(IN_THE_MEAN, "sgd-moments", asked.lr, 0, steps, asked.measured, unknown, curves, text)]


def _text(batches: list[float]) -> str:
    """The median of critical batches in words."""
    middle = float(np.median(batches))
    return f"{middle:.0f}" if np.isfinite(middle) else "(none: the rate is too large for every batch)"


def _why_none(asked: Asked) -> str:
    """Why no exact mean is known, in one line; empty where it is."""
    if asked.spec.is_torch:
        return "a class of torch has no formula, so no theorem speaks of it"
    rule = asked.spec.rule
    if rule.linear_form is None or rule.linear_form.preconditioner is not None or rule.start:
        return f"the mean gap on a stream is known for linear rules, and {rule.name} is none"
    if asked.schedule != "constant":
        return f"the mean gap on a stream is known at constant rates, and the schedule is {asked.schedule}"
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
