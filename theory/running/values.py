"""What can be said of a run, and of its rule, without an expression: a sweep judges its runs with these, and needs no SymPy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.numeric import function_of, source_of
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.runs.trajectory import Trajectory

if TYPE_CHECKING:
    import sympy as sp

__all__ = ["VALUES", "Formula", "canonical_name", "largest_eigenvalue", "same_rule", "setting", "smallest_eigenvalue"]

Array = NDArray[np.float64]


def same_rule(rule: Rule, other: Rule) -> bool:
    """Whether two rules are the same optimizer: the same expressions for step, updates, clocks, starts and settings."""
    parts = ("step", "update", "clocks", "start")
    return rule.names == other.names and all(getattr(rule, part) == getattr(other, part) for part in parts)


def canonical_name(rule: Rule | None) -> str:
    """Return the name in RULES of the optimizer that a rule is, by its expressions; "" if it is none of them.

    The rule's own name counts only where several entries are the same optimizer, as gd and sgd.
    """
    if rule is None:
        return ""
    if RULES.get(rule.name) is rule:
        return rule.name
    names = [name for name, known in RULES.items() if known is rule or same_rule(rule, known)]
    return rule.name if rule.name in names else (names or [""])[0]


def largest_eigenvalue(trajectory: Trajectory) -> Array:
    """Return L of every problem, (M, 1)."""
    return np.asarray(np.max(trajectory.problem.block_smoothness, axis=1)[:, None])


def smallest_eigenvalue(trajectory: Trajectory) -> Array:
    """Return mu of every problem, (M, 1)."""
    return np.asarray(np.min(trajectory.problem.block_strong_convexity, axis=1)[:, None])


def setting(name: str) -> Callable[[Trajectory], Array]:
    """Return the function from a run to the values of a setting, (1, K)."""

    def value(trajectory: Trajectory) -> Array:
        return trajectory.settings[name][None, :]

    return value


VALUES: Mapping[str, Callable[[Trajectory], Array]] = {
    "eta": setting("lr"),
    "momentum": setting("momentum"),
    "L": largest_eigenvalue,
    "mu": smallest_eigenvalue,
}
"""Symbols of statements, by name, that a `Formula` may use."""


@dataclass(frozen=True)
class Formula:
    """An expression that does not change along a run, as the source of a NumPy function.

    Attributes:
        names: of its symbols, all in VALUES.
        source: see `source_of`.
    """

    names: tuple[str, ...]
    source: str

    @classmethod
    def of(cls, expression: "sp.Expr") -> "Formula | None":
        """Return the formula of an expression; None if it has a symbol that is not in VALUES."""
        symbols = sorted(expression.free_symbols, key=str)
        if any(str(symbol) not in VALUES for symbol in symbols):
            return None
        return cls(tuple(map(str, symbols)), source_of(symbols, (expression,), cse=False))

    def __call__(self, trajectory: Trajectory) -> Array:
        """Return its values, (M, K)."""
        with np.errstate(all="ignore"):
            (value,) = _function(self.source)(*(VALUES[name](trajectory) for name in self.names))
        return np.broadcast_to(value, trajectory.status.shape).astype(np.float64)


@lru_cache(maxsize=256)
def _function(source: str) -> Callable[..., tuple[Any, ...]]:
    return function_of(source)
