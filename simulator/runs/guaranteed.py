"""Define what a theory is asked about an optimizer at one point of a sweep, once its best rate is known, and what it answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.oracles import Oracle
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.optimizer import OptimizerSpec

__all__ = ["ALONG", "A_PRIORI", "BELOW", "FALLING", "IN_THE_MEAN", "STATE", "Asked", "Guarantee", "Guarantor"]

Array = NDArray[np.float64]

A_PRIORI = "a priori"
ALONG = "along the run"
BELOW = "from below"
FALLING = "under a falling rate"
IN_THE_MEAN = "in the mean"
STATE = "from a state"


@dataclass(frozen=True, eq=False)
class Asked:
    """An optimizer on the problems of one point, at its best rate.

    Attributes:
        problem: M problems.
        spec: the optimizer with its best setting.
        lr: its best rate.
        measured: steps until the tolerance at that rate, (M,); `inf` where it was not reached.
        steps: length of the runs of the sweep.
        recorded: steps at which a curve is wanted, (R,).
        tolerance: relative to the gap at the start.
        schedule: of the rate.
        oracle: what gradient the rule was given.
        bounded: whether a theorem bounds all these runs at the best rate already.
    """

    problem: BlockQuadratic
    spec: OptimizerSpec
    lr: float
    measured: Array
    steps: int
    recorded: NDArray[np.int64]
    tolerance: float
    schedule: str
    oracle: Oracle
    bounded: bool


@dataclass(frozen=True, eq=False)
class Guarantee:
    """A bound on the steps of an optimizer, at a rate that the theory chooses or along the run at the best rate.

    Attributes:
        kind: `a priori` (known before the run), `along the run` (the bound reads the run's preconditioner), `from a state` (it
            reads one state of the run, and nothing after it), `under a falling rate` (as along the run, of a run whose rate the
            theory chooses and lowers to 0), `from below` (the steps that are needed at any constant rate) or `in the mean` (over
            the draws of a stream; exact, and no bound).
        theorem: its name; empty where there is none.
        lr: the rate that it speaks of.
        start: the step from whose state it is computed; 0 is the start.
        bound: steps after which the tolerance is reached at the latest, from below: at the earliest, (M,); `inf`: nothing said.
        steps: steps that a run at this rate took, (M,); NaN where there was no run.
        at_least: steps that any run at this rate takes at least, (M,); NaN where nothing is known.
        curve: the bound on the gap over the gap at the start, (M, R); NaN where it says nothing.
        why_not: in one line, where there is no bound or it does not speak of all problems; else empty.
        floor: limit of the curve of a mean, (M,); None for all others.
        falls: number of steps in which the rate falls linearly from `lr` to 0; 0: it follows the schedule of the sweep.
    """

    kind: str
    theorem: str
    lr: float
    start: int
    bound: Array
    steps: Array
    at_least: Array
    curve: Array
    why_not: str = ""
    floor: Array | None = None
    falls: int = 0


Guarantor = Callable[[Sequence[Asked]], Sequence[Sequence[Guarantee]]]
"""A function that answers about several: of each kind at most one guarantee, the first the one whose curve a figure shows."""
