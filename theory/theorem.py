"""Theorem: a statement with its hypotheses, its bound and its source, in a form that can be evaluated on a run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from quadsim.simulator.trajectory import Trajectory
from quadsim.theory.proving import Step
from quadsim.theory.symbols import MEANINGS, Symbol, evaluate

__all__ = ["Hypothesis", "Theorem"]


@dataclass(frozen=True)
class Hypothesis:
    """A condition of a theorem.

    Attributes:
        text: the condition in words.
        holds: whether it holds, for every problem and setting: (M, K) or broadcastable.
    """

    text: str
    holds: Callable[[Trajectory], NDArray[np.bool_]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Theorem:
    """A statement about the suboptimality gap of a rule.

    Attributes:
        name: in THEOREMS.
        rules: names of the rules it speaks of.
        statement: LaTeX.
        hypotheses: when it applies, beside the rule's name.
        kind: `per step` (bound is the factor from one gap to the next), `horizon` (bound is the factor from gap_0 to gap_t, in
            t), `identity` (bound is gap_t itself) or `existence` (claimed at a witness).
        direction: `upper`, `lower` or `equal`.
        bound: SymPy expression in the symbols of `quadsim.theory.symbols`.
        decrease: 1 - bound of a `per step` theorem, in a form that keeps its digits where the bound is close to 1.
        tight: where it is attained; empty if it is not known to be.
        argument: makes the steps of the proof, which start from the Rule itself; see `proof`.
        source: paper and version, `in the form derived here` where it was.

    Raises:
        ValueError: a per-step theorem whose decrease is not 1 - bound.
    """

    name: str
    rules: tuple[str, ...]
    statement: str
    hypotheses: tuple[Hypothesis, ...]
    kind: str
    direction: str
    bound: sp.Expr
    source: str
    decrease: sp.Expr | None = None
    tight: str = ""
    argument: Callable[[], tuple[Step, ...]] = tuple

    @cached_property
    def proof(self) -> tuple[Step, ...]:
        """The steps that `quadsim.theory.proving.prove` discharges."""
        return self.argument()

    @property
    def symbols(self) -> dict[sp.Symbol, str]:
        """Every symbol of the bound and its meaning."""
        meanings = {symbol: meaning.text for symbol, meaning in MEANINGS.items()} | {Symbol.t: "step"}
        return {symbol: meanings[symbol] for symbol in sorted(self.bound.free_symbols, key=str)}

    def applies(self, trajectory: Trajectory) -> NDArray[np.bool_]:
        """Whether rule and hypotheses fit, (M, K)."""
        out = np.ones(trajectory.steps_to_tolerance.shape, dtype=bool)
        if trajectory.rule is None or trajectory.rule.name not in self.rules:
            return ~out
        if not trajectory.schedule.is_constant or trajectory.gradient_noise_std != 0.0:
            return ~out
        for hypothesis in self.hypotheses:
            out = out & hypothesis.holds(trajectory)
        return out

    def decrease_on(self, trajectory: Trajectory) -> NDArray[np.float64]:
        """1 - factor of a per-step theorem, (M, K)."""
        assert self.decrease is not None, self.name
        return evaluate(self.decrease, trajectory)

    def log_bound(self, trajectory: Trajectory, t: int) -> NDArray[np.float64]:
        """Logarithm of the bound at step t relative to gap_0 (of an identity: of the gap itself), (M, K).

        Powers of t are taken out of the logarithm, so that a bound far below the smallest float keeps its digits.
        """
        if self.decrease is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                return t * np.log1p(-self.decrease_on(trajectory)) if t else np.zeros(trajectory.status.shape)
        return evaluate(sp.expand_log(sp.log(self.bound.subs(Symbol.t, t)), force=True), trajectory)

    def steps_on(self, trajectory: Trajectory) -> NDArray[np.float64]:
        """Steps after which an upper bound has fallen to the tolerance, (M, K); `inf` where not within the run."""
        last = float(trajectory.steps[-1])
        if self.kind == "per step":
            # u relative error in each of log, log1p and the quotient: two units cover them, always towards more steps.
            with np.errstate(divide="ignore", invalid="ignore"):
                decrease = self.decrease_on(trajectory)
                steps = np.log(trajectory.tolerance) / np.log1p(-np.minimum(decrease, 1.0))
            steps = np.ceil(np.maximum(steps, 1.0) * (1.0 + 4.0 * np.finfo(float).eps))
            steps = np.where(decrease > 0.0, np.where(decrease >= 1.0, 1.0, steps), np.inf)
            return np.asarray(np.where(steps <= last, steps, np.inf))
        return self._first_below(trajectory)

    def _first_below(self, trajectory: Trajectory) -> NDArray[np.float64]:
        """Bisection for a horizon bound, which rises at first, at most, and then falls for ever."""
        target = np.log(trajectory.tolerance)
        shape = trajectory.status.shape
        low, high = np.zeros(shape), np.full(shape, float(trajectory.steps[-1]))
        reached = self.log_bound(trajectory, int(trajectory.steps[-1])) <= target
        while np.any(high - low > 1.0):
            middle = np.floor((low + high) / 2)
            below = np.zeros(shape, dtype=bool)
            for t in np.unique(middle):
                below |= (middle == t) & (self.log_bound(trajectory, int(t)) <= target)
            low, high = np.where(below, low, middle), np.where(below, middle, high)
        return np.where(reached, high, np.inf)

    def __repr__(self) -> str:
        return f"Theorem({self.name}: {self.direction} {self.kind}, {self.bound})"
