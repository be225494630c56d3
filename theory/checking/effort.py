"""The limit of exact arithmetic."""

from dataclasses import dataclass

__all__ = ["EFFORT", "Effort"]

EFFORT = 100.0
"""Default limit of exact arithmetic, in millions of operations on words of 64 bits: some ten seconds."""


@dataclass
class Effort:
    """Operations that are left for exact arithmetic, in millions of operations on 64-bit numbers.

    A limit in operations gives the same verdict on every machine, however slow or busy it is.
    """

    left: float = EFFORT

    def spend(self, operations: float) -> bool:
        """Take a number of operations off; return whether any were left."""
        self.left -= operations / 1e6
        return self.left > 0.0
