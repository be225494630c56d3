"""What became of a run, in one word: the names of the states, and how files of earlier versions name them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CONVERGED", "DIVERGED", "NOT_REACHED", "STATUSES", "current_frame", "current_names", "statuses_of"]

CONVERGED, NOT_REACHED, DIVERGED = "converged", "not_reached", "diverged"

STATUSES = (CONVERGED, NOT_REACHED, DIVERGED)
"""The run reached the tolerance and did not diverge; it ended without reaching the tolerance; it diverged."""

_EARLIER: Mapping[str, str] = {"running": NOT_REACHED}
"""Names in files of version 0.1 to the names of today."""


def statuses_of(converged: ArrayLike, diverged: ArrayLike) -> NDArray[np.str_]:
    """The status of every run.

    Args:
        converged: whether it reached the tolerance.
        diverged: whether it diverged; of the same shape. A run that did both has diverged.
    """
    return np.where(diverged, DIVERGED, np.where(converged, CONVERGED, NOT_REACHED))


def current_names(stored: ArrayLike) -> NDArray[np.str_]:
    """Statuses from a file, where those of an earlier version get their names of today."""
    found = np.asarray(stored).astype(str)
    for earlier, name in _EARLIER.items():
        found = np.where(found == earlier, name, found)
    return found


def current_frame(stored: "pd.DataFrame") -> "pd.DataFrame":
    """A table of a sweep, where statuses and the columns that count them get their names of today."""
    if CONVERGED in stored:  # a row is a rate or a bin, and runs are counted by status
        return stored.rename(columns=_EARLIER)
    if "status" in stored and stored["status"].isin(list(_EARLIER)).any():
        return stored.assign(status=stored["status"].replace(_EARLIER))
    return stored
