"""Setting: the size and the seed of an experiment, and the halves of its seeds."""

from dataclasses import dataclass
from typing import TypeVar

__all__ = ["SIZES", "Setting"]

SIZES = ("tiny", "quick", "full")
"""Sizes of an experiment: `tiny` only shows that it runs (for tests), `quick` takes seconds, `full` takes minutes."""

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """The size and the seed of an experiment.

    Attributes:
        size: one of SIZES.
        seed: added to the seed of every draw.
    """

    size: str = "quick"
    seed: int = 0

    def pick(self, *, tiny: T, quick: T, full: T) -> T:
        """Return the value for this size."""
        return {"tiny": tiny, "quick": quick, "full": full}[self.size]
