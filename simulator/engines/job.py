"""What an engine is given and what it returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.rules.schedules import Schedule

__all__ = ["Job", "Outcome", "step_after"]


@dataclass(frozen=True, eq=False)
class Job:
    """A checked request: M problems times K settings, `steps` steps, recorded at `record` (R,)."""

    problem: BlockQuadratic
    rule: Rule
    settings: Mapping[str, NDArray[np.float64]]
    steps: int
    schedule: Schedule
    record: NDArray[np.int64]
    observe: tuple[str, ...]
    tolerance: float
    dtype: torch.dtype = torch.float64
    device: str = "cpu"
    gradient_noise_std: float = 0.0

    @property
    def number_of_settings(self) -> int:
        """K."""
        return int(self.settings["lr"].size)

    @property
    def dtype_name(self) -> str:
        """The number type as `float64` or `float32`."""
        return str(self.dtype).removeprefix("torch.")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an engine found.

    Attributes:
        gap: (M, K, R), not yet cut off after divergence.
        hit: first step within the tolerance, (M, K), `inf` if none.
        stay: first step from which on every gap up to the last step is within the tolerance, (M, K); `inf` if the last gap is
            not. A gap that is NaN is not.
        mean: last step of the first window of MEAN_WINDOW steps (1 to W, W + 1 to 2 W, ...) over which the mean of the gap is
            within the tolerance, (M, K); `inf` if none, NaN if the engine does not follow it.
        diverged: first step known to be diverged, (M, K), `inf` if none.
        observed: further quantities, (M, K, R, ...).
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
