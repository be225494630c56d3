"""Define the columns of a sweep that a judge (a theory) fills in, with their values for runs that were not judged."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Judge", "Judged", "judged", "unjudged"]

Judged = Mapping[str, NDArray[Any]]
"""Column name to values, (M, K) each."""

Judge = Callable[[Any], Judged]
"""A function of a run that returns its columns: `theorem`, `bound_steps`, `bound_rate`, `margin`, `verdict` and others."""

_DEFAULTS: Mapping[str, Any] = {
    "theorem": "",
    "bound_steps": np.nan,
    "bound_rate": np.nan,
    "margin": np.nan,
    "verdict": "not applicable",
}


def unjudged(shape: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    """Return the columns of runs to which no theorem applies.

    Args:
        shape: shape of each column, (M, K) for M problems and K settings.

    Returns:
        `theorem` (name; empty where none applies), `bound_steps` (steps after which the bound has fallen to the tolerance),
        `bound_rate` (the bound's factor per step), `margin` (see `quadsim.theory.Check`) and `verdict`.
    """
    return {
        name: np.full(shape, value, dtype=object if isinstance(value, str) else np.float64)
        for name, value in _DEFAULTS.items()
    }


def judged(judge: Judge | None, run: Any) -> dict[str, NDArray[Any]]:
    """Return the columns of a run, (M, K) each: those of the judge, and the values of `unjudged` for all others.

    Args:
        judge: the judge; None: the run is not judged.
        run: a Trajectory or a TrainingRun.
    """
    found = {} if judge is None else judge(run)
    shape = run.status.shape
    return unjudged(shape) | {name: np.broadcast_to(np.asarray(values), shape) for name, values in found.items()}
