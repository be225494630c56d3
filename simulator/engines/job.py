"""The interface of the engines: a Job is what an engine gets, an Outcome is what it returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.oracles import FULL, Oracle
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.rules.schedules import Schedule
from quadsim.simulator.support.devices import resolve_dtype

if TYPE_CHECKING:
    import torch

__all__ = ["Job", "Outcome", "step_after"]


@dataclass(frozen=True, eq=False)
class Job:
    """A checked request: M problems times K settings. An engine may rely on every value being valid (`prepare` checks).

    Attributes:
        problem: M problems.
        rule: the rule to run.
        settings: name (`lr` and the hyperparameters) to values, each (K,).
        steps: number of steps.
        schedule: factors of the learning rate.
        record: recorded steps, ascending, from 0 to `steps`, (R,).
        observe: names of observables; the gap is always recorded.
        tolerance: fraction of the gap at the start at which a run has converged.
        dtype_name: number type of errors, states and gradients, "float64" or "float32".
        device: "cpu", "cuda" or "cuda:N".
        oracle: what gradient the rule is given.
    """

    problem: BlockQuadratic
    rule: Rule
    settings: Mapping[str, NDArray[np.float64]]
    steps: int
    schedule: Schedule
    record: NDArray[np.int64]
    observe: tuple[str, ...]
    tolerance: float
    dtype_name: str = "float64"
    device: str = "cpu"
    oracle: Oracle = FULL

    @property
    def number_of_settings(self) -> int:
        """K, the number of settings."""
        return int(self.settings["lr"].size)

    @property
    def dtype(self) -> "torch.dtype":
        """The number type of tensors, for engines that use torch."""
        return resolve_dtype(self.dtype_name)


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of an engine, before statuses are assigned (`as_trajectory`).

    Not to be confused with the Outcome of a claim (`theory.claims`) or of a sweep's chunk.

    Attributes:
        gap: gap at the recorded steps, (M, K, R); values after a divergence are still in it.
        hit: first step at which the gap is within the tolerance, (M, K); `inf` if there is none.
        stay: first step from which on every gap up to the last step is within the tolerance, (M, K); `inf` if the last gap is
            not. A gap that is NaN is not.
        mean: last step of the first window of MEAN_WINDOW steps (1 to W, W + 1 to 2 W, ...) over which the mean of the gap is
            within the tolerance, (M, K); `inf` if there is none, NaN if the engine does not follow it.
        diverged: first step at which the run is known to have diverged, (M, K); `inf` if there is none.
        observed: name of an observable to its values, (M, K, R, ...).
    """

    gap: NDArray[np.float64]
    hit: NDArray[np.float64]
    stay: NDArray[np.float64]
    mean: NDArray[np.float64]
    diverged: NDArray[np.float64]
    observed: dict[str, NDArray[np.float64]] = field(default_factory=dict)


def step_after(last_above: NDArray[Any], steps: int) -> NDArray[np.float64]:
    """The `stay` of an outcome from the last step at which the gap was above the tolerance (-1 if it never was)."""
    return np.where(last_above >= steps, np.inf, last_above + 1.0)
