"""Theorem: a statement with its hypotheses, its bound and its source, in a form that can be evaluated on a run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.simulator.support.checks import check_choice
from quadsim.theory.running.values import canonical_name, same_rule

if TYPE_CHECKING:  # of a theorem on runs (`on_runs`) numbers alone are asked, and SymPy takes a second to import
    import sympy as sp
    from sympy.core.relational import Relational

    from quadsim.theory.statements.proving import Step

__all__ = ["DIRECTIONS", "KINDS", "Hypothesis", "Theorem"]

BY_RULE_BLOCKS = frozenset({"Lambda_G", "block_gap", "block_gradient_norm"})
"""Observables that a run records by the blocks of rules."""

_MOST_SIZES = 12

KINDS = ("per step", "horizon", "complexity", "identity", "existence", "expectation")
DIRECTIONS = ("upper", "lower", "equal")


@dataclass(frozen=True)
class Hypothesis:
    """A condition of a theorem.

    Attributes:
        text: the condition in words.
        holds: function from a run to whether the condition holds, (M, K) or broadcastable.
        relation: the condition as a SymPy relation, if it is one; exact arithmetic evaluates it again.
        seen: function from a run to the numbers that the condition is about, by name, each (M, K) or broadcastable; by default
            both sides of the relation are shown.
        exactly: function from a problem in rationals (with `blocks`, `initial_error`, `first_gradient`) and the settings to
            whether the condition holds, or None where that is not known; for a condition that is no relation. A condition with
            neither is assumed, and no violation can then refute the theorem.
    """

    text: str
    holds: Callable[[Trajectory], NDArray[np.bool_]]
    relation: "Relational | None" = None
    seen: Callable[[Trajectory], Mapping[str, NDArray[Any]]] | None = None
    exactly: Callable[[Any, Mapping[str, float]], bool | None] | None = None

    def failure(self, trajectory: Trajectory) -> NDArray[np.object_]:
        """Return the message where the condition does not hold, with its numbers, (M, K) of text."""
        shape = trajectory.status.shape
        if self.seen is not None:
            numbers = self.seen(trajectory)
        elif self.relation is not None:
            sides = (self.relation.lhs, self.relation.rhs)
            names = ("on the left", "on the right")
            from quadsim.theory.statements.quantities import evaluate

            numbers = {n: evaluate(side, trajectory) for n, side in zip(names, sides, strict=True)}
        else:
            numbers = {}
        arrays = [np.broadcast_to(values, shape) for values in numbers.values()]
        out = np.empty(shape, dtype=object)
        for at in np.ndindex(*shape):
            values = [array[at] for array in arrays]
            digits = next(d for d in (6, 17) if d == 17 or len({f"{v:.6g}" for v in values}) == len(set(values)))
            shown = ", ".join(f"{v:.{digits}g} {name}" for v, name in zip(values, numbers, strict=True))
            out[at] = f"hypothesis fails: {self.text}" + (f" (here {shown})" if shown else "")
        return out

    @classmethod
    def of(cls, relation: "Relational", text: str = "") -> "Hypothesis":
        """Return a condition from a SymPy relation between symbols that do not change along the run.

        In floating point `<=`, `>=` and `==` hold up to eight units in the last place of each side, the rounding of a side with
        a few operations; in exact arithmetic there is no allowance.

        Raises:
            ValueError: a symbol without a meaning, or one that changes along the run.
        """
        import sympy as sp

        from quadsim.theory.statements.quantities import MEANINGS, evaluate, misplaced

        by_name = {str(symbol): symbol for symbol in MEANINGS}
        relation = relation.func(
            *(
                side.xreplace({s: by_name[str(s)] for s in side.free_symbols if str(s) in by_name})
                for side in (relation.lhs, relation.rhs)
            ),
            evaluate=False,
        )
        if wrong := misplaced(relation.lhs) or misplaced(relation.rhs):
            raise ValueError(
                f"a hypothesis must reduce symbols with an index, got {wrong}; "
                "mu_l is per block: use MaxOver(s.mu_l), MinOver or SumOver."
            )
        strange = sorted(str(s) for s in relation.free_symbols if s not in MEANINGS or MEANINGS[s].of_state)
        if strange:
            raise ValueError(
                f"a hypothesis may use {', '.join(str(s) for s, m in MEANINGS.items() if not m.of_state)}, got "
                f"{', '.join(strange)}; write it with these or give Hypothesis(text, holds)."
            )

        def holds(trajectory: Trajectory) -> NDArray[np.bool_]:
            left, right = evaluate(relation.lhs, trajectory), evaluate(relation.rhs, trajectory)
            slack = 8 * np.finfo(float).eps * (np.abs(left) + np.abs(right))
            compare: dict[type, Callable[[], NDArray[np.bool_]]] = {
                sp.Le: lambda: left <= right + slack,
                sp.Ge: lambda: left >= right - slack,
                sp.Eq: lambda: np.abs(left - right) <= slack,
                sp.Lt: lambda: left < right,
                sp.Gt: lambda: left > right,
                sp.Ne: lambda: left != right,
            }
            return np.asarray(compare[relation.func]())

        return cls(text or str(relation), holds, relation)


@dataclass(frozen=True, eq=False, kw_only=True)
class Theorem:
    """A statement about runs of a rule.

    Your own theorem needs a name, a bound and hypotheses; `check` and `assert_bound` then work with it.

    Attributes:
        name: its name; for a theorem of this project the name in THEOREMS.
        bound: SymPy expression in the symbols of `quadsim.theory.symbols`.
        rules: names of built-in optimizers it applies to. A run fits if its rule has the expressions of one of them. Without
            rules and own_rules it applies to all.
        own_rules: rules of your own it applies to.
        hypotheses: the conditions under which it applies, as Hypothesis objects or SymPy relations.
        kind: `per step` (the bound is the factor from one gap to the next; a bound that depends on the state is compared only
            between consecutive steps that are both recorded), `horizon` (of the quantity at step t, by default gap_t/gap_0),
            `complexity` (of the number of steps t), `identity` (of the quantity, by default gap_t), `existence` (a factor,
            claimed at a witness) or `expectation` (the mean of the quantity over the noise; needs `variance`).
        direction: `upper`, `lower` or `equal`.
        quantity: the quantity that is bounded; by default that of the kind.
        variance: variance of the quantity, for an expectation.
        oracle: name of the gradient oracle that it is about (`quadsim.simulator.problems.oracles`).
        any_schedule: whether it holds for every schedule of the rate; by default the rate must be constant.
        any_partition: whether it holds where the blocks of the rule are not those of H (coupling, partition). By default it
            does so only for a rule and a bound to which the blocks of rules make no difference.
        statement: the statement in LaTeX; by default it is derived from the bound.
        tight: where the bound is attained; empty if this is not known.
        argument: function that returns the steps of the proof, which start from the Rule itself; see `proof`.
        conclusion: function from the bound to the last step of the proof: the bound equals what was proved. Without it, a bound
            that is changed by mistake would keep its proof.
        rounding: function from a run to the relative error of its recorded gaps, (M, K, R); needed if the general budget does
            not fit the recursion.
        derivation: function that returns the labelled steps from definitions and hypotheses to the statement; see
            `quadsim.theory.statements.derived`. Without it a proof shows its lemmas only.
        source: paper and version, with "in the form derived here" if the form differs.

    Raises:
        ValueError: an unknown kind or direction, a symbol without a meaning on a run, a symbol with an index outside a reduction,
            or a quantity or variance that the kind does not allow.

    Examples:
        >>> from quadsim.theory import Theorem
        >>> from quadsim.theory.symbols import Symbol as s
        >>> mine = Theorem(name="mine", rules=("gd",), bound=(1 - s.eta * s.mu) ** 2, hypotheses=(s.eta * s.L <= 1,))
    """

    name: str
    bound: "sp.Expr"
    rules: tuple[str, ...] = ()
    own_rules: tuple[Rule, ...] = ()
    hypotheses: "tuple[Hypothesis | Relational, ...]" = ()
    kind: str = "per step"
    direction: str = "upper"
    quantity: "sp.Expr | None" = None
    variance: "sp.Expr | None" = None
    oracle: str = "full"
    any_schedule: bool = False
    any_partition: bool = False
    statement: str = ""
    tight: str = ""
    argument: "Callable[[], tuple[Step, ...]]" = tuple
    conclusion: "Callable[[sp.Expr], Step] | None" = None
    rounding: Callable[[Trajectory], NDArray[np.float64]] | None = None
    derivation: "Callable[[], tuple[Step, ...]] | None" = None
    source: str = ""

    def __post_init__(self) -> None:
        from quadsim.theory.running.model_meanings import OFF_RUNS
        from quadsim.theory.statements.wording import in_latex
        from quadsim.theory.symbols import Symbol

        check_choice("kind", self.kind, KINDS)
        check_choice("direction", self.direction, DIRECTIONS)
        self._check_rules()
        set_ = object.__setattr__
        set_(self, "bound", self._checked("bound", self.bound))
        set_(self, "hypotheses", tuple(h for given in self._listed() for h in _conditions(given)))
        if self.is_factor and self.quantity not in (None, Symbol.gap_next / Symbol.gap):
            raise ValueError(
                f"quantity of {self.name} must be left out for a {self.kind} bound, which is of the factor from gap to gap, got "
                f"{self.quantity}; choose another kind."
            )
        if self.is_factor and Symbol.t in self.bound.free_symbols:
            raise ValueError(f"the factor of {self.name} must not depend on t, got {self.bound}; use kind horizon.")
        of_run = self.quantity not in OFF_RUNS  # else there is no run to take a variance from
        if of_run and (self.kind == "expectation") != (self.variance is not None):
            raise ValueError(
                f"variance of {self.name} must be given for the kind expectation and left out for all others; see gd-noise."
            )
        default = {"horizon": Symbol.gap / Symbol.gap_0, "complexity": Symbol.t}
        if self.is_factor:
            set_(self, "quantity", Symbol.gap_next / Symbol.gap)
        else:
            quantity = default.get(self.kind, Symbol.gap) if self.quantity is None else self.quantity
            set_(self, "quantity", self._checked("quantity", quantity))
        if not self.statement:
            set_(self, "statement", in_latex(self))

    def _check_rules(self) -> None:
        """Check that `rules` are names and `own_rules` rules.

        Raises:
            ValueError: anything else, or no tuple.
        """
        own = "names of built-in optimizers are for rules=('gd',), a rule of your own is for own_rules=(rule,)"
        for field, given, kind in (("rules", self.rules, str), ("own_rules", self.own_rules, Rule)):
            wrong = [x for x in given if not isinstance(x, kind)] if isinstance(given, tuple) else [given]
            if wrong:
                raise ValueError(
                    f"{field} of {self.name} must be a tuple of {kind.__name__}, got {wrong[0]!r:.80}; {own}."
                )

    def _listed(self) -> tuple[Any, ...]:
        return tuple(self.hypotheses) if isinstance(self.hypotheses, tuple | list) else (self.hypotheses,)

    def _checked(self, what: str, expression: Any) -> "sp.Expr":
        """Return a real expression in symbols that have a meaning; a symbol with the name of one of ours is replaced by it.

        Raises:
            ValueError: any other expression.
        """
        import sympy as sp

        from quadsim.theory.statements.quantities import MEANINGS, misplaced

        expression = sp.sympify(expression) if isinstance(expression, int | float) else expression
        if not isinstance(expression, sp.Expr) or expression.has(sp.I, sp.zoo, sp.nan, sp.oo):
            raise ValueError(
                f"the {what} of {self.name} must be a real SymPy expression, got {expression!r}; write it with "
                "quadsim.theory.symbols.Symbol."
            )
        by_name = {str(symbol): symbol for symbol in MEANINGS}
        expression = expression.xreplace({
            s: by_name[str(s)] for s in expression.free_symbols if s not in MEANINGS and str(s) in by_name
        })
        strange = sorted(map(str, expression.free_symbols - set(MEANINGS)))
        if strange:
            raise ValueError(
                f"the {what} of {self.name} may use {', '.join(map(str, MEANINGS))}, got {', '.join(strange)}; write it with "
                "these (quadsim.theory.symbols.Symbol)."
            )
        if wrong := misplaced(expression):
            raise ValueError(
                f"the {what} of {self.name} must reduce symbols with an index, got {wrong}; "
                "mu_l is per block: use MaxOver(s.mu_l), MinOver or SumOver."
            )
        return expression

    @property
    def conditions(self) -> tuple[Hypothesis, ...]:
        """The hypotheses, all as Hypothesis objects."""
        return tuple(h for h in self.hypotheses if isinstance(h, Hypothesis))

    @property
    def texts(self) -> tuple[str, ...]:
        """The hypotheses in words."""
        return tuple(hypothesis.text for hypothesis in self.conditions)

    @property
    def is_factor(self) -> bool:
        """Whether the bound is the factor from one gap to the next."""
        return self.kind in ("per step", "existence")

    @cached_property
    def is_local(self) -> bool:
        """Whether that factor depends on the state, so that it cannot be applied across several steps."""
        return self.is_factor and self.of_state

    @property
    def of_gap(self) -> bool:
        """Whether it bounds gap_t or gap_t/gap_0 by values that are known at the start."""
        from quadsim.theory.symbols import Symbol

        return self.quantity in (Symbol.gap, Symbol.gap / Symbol.gap_0) and not self.of_state

    @property
    def relation(self) -> "Relational":
        """The statement as a SymPy relation."""
        import sympy as sp

        sides = sp.Function("E")(self.quantity) if self.kind == "expectation" else self.quantity, self.bound
        return {"upper": sp.Le, "lower": sp.Ge, "equal": sp.Eq}[self.direction](*sides, evaluate=False)

    @property
    def relation_of_values(self) -> "Relational":
        """The statement between the values themselves; for an expectation that of the mean."""
        import sympy as sp

        assert self.quantity is not None
        relation = {"upper": sp.Le, "lower": sp.Ge, "equal": sp.Eq}[self.direction]
        return relation(self.quantity, self.bound, evaluate=False)

    @property
    def of_state(self) -> bool:
        """Whether the bound depends on the state of the run, so that it may be undefined at some of its states."""
        from quadsim.theory.statements.quantities import is_of_state

        return is_of_state(self.bound)

    @cached_property
    def log_of_bound(self) -> "sp.Expr":
        """The logarithm of the bound, in which powers are factors of logarithms; see `logarithm`."""
        from quadsim.theory.statements.quantities import logarithm

        return logarithm(self.bound)

    @cached_property
    def decrease(self) -> "sp.Expr":
        """1 - bound, in a form without cancellation where a factor is close to 1."""
        return _one_minus(self.bound)

    @cached_property
    def proof(self) -> "tuple[Step, ...]":
        """The steps of the proof, which `quadsim.theory.statements.proving.prove` checks."""
        return self.argument() + (() if self.conclusion is None else (self.conclusion(self.bound),))

    @property
    def symbols(self) -> "dict[sp.Symbol, str]":
        """Every symbol of the statement, its meaning and its range."""
        from quadsim.theory.statements.quantities import MEANINGS
        from quadsim.theory.symbols import Symbol

        assert self.quantity is not None
        used = (self.quantity.free_symbols | self.bound.free_symbols) - {Symbol.gap_next}
        return {symbol: MEANINGS[symbol].text for symbol in sorted(used, key=str)}

    def why_not(self, trajectory: Trajectory, *, explain: bool = True) -> NDArray[np.object_]:
        """Return the reason why the theorem does not apply, (M, K) of text; empty where it applies.

        Args:
            trajectory: the run.
            explain: whether the reason includes the numbers of a failed hypothesis; this takes time with many runs.
        """
        import sympy as sp

        from quadsim.theory.statements.quantities import unmet_needs

        shape = trajectory.status.shape
        names = dict.fromkeys((*self.rules, *(own.name for own in self.own_rules)))
        if names and not self._speaks_of(trajectory.rule):
            return np.full(shape, self._other_rule(trajectory, list(names)), dtype=object)
        scheduled = not trajectory.schedule.is_constant and not self.any_schedule
        if scheduled or trajectory.oracle.name != self.oracle:
            found = f"got the schedule {trajectory.schedule} and the oracle {trajectory.oracle}"
            return np.full(
                shape,
                f"the rate must be constant and the gradient that of the oracle {self.oracle}, {found}",
                dtype=object,
            )
        assert self.quantity is not None
        settings = sum(
            (sp.Add(h.relation.lhs, h.relation.rhs) for h in self.conditions if h.relation is not None), sp.S.Zero
        )
        if other := self._other_blocks(trajectory):
            return np.full(shape, other, dtype=object)
        missing = unmet_needs(self.bound + self.quantity + settings, trajectory)
        if not missing and self.is_local and not np.any(np.diff(trajectory.steps) == 1):
            missing = 'the run must record steps that follow each other: simulate(..., record="all")'
        if missing:
            return np.full(shape, missing, dtype=object)
        out = np.full(shape, "", dtype=object)
        # The proofs take H as positive definite, and the rounding budgets need |e|^2 <= e'He / mu, which a null space breaks.
        null = trajectory.problem.null_dimensions.sum(axis=1)
        for m in np.flatnonzero(null):
            out[m] = f"H must be positive definite, got a null space of dimension {null[m]} (singular)"
        for hypothesis in self.conditions:
            fails = np.broadcast_to(~hypothesis.holds(trajectory), shape) & (out == "")
            if fails.any():
                out[fails] = hypothesis.failure(trajectory)[fails] if explain else hypothesis.text
        return out

    def _other_blocks(self, trajectory: Trajectory) -> str:
        """Return why blocks of rules that are not those of H are in the way; "" where they are not."""
        assert self.quantity is not None
        problem = trajectory.problem
        if problem.partition is None or self.any_partition:
            return ""
        from quadsim.theory.statements.quantities import MEANINGS

        needs = {name for s in (self.bound + self.quantity).free_symbols if s in MEANINGS for name in MEANINGS[s].needs}
        replayed = "iterate" in needs  # from the rule itself, with its own blocks
        if needs & BY_RULE_BLOCKS or (trajectory.rule is not None and trajectory.rule.uses_blocks and not replayed):
            sizes = problem.rule_blocks.block_sizes
            shown = "+".join(map(str, sizes)) if len(sizes) <= _MOST_SIZES else f"{len(sizes)} blocks"
            return f"the blocks of rules must be those of H, got {shown}, which H couples (c up to {problem.coupling.max():.3g})"
        return ""

    def _other_rule(self, trajectory: Trajectory, names: list[str]) -> str:
        """Return why a theorem with `rules` or `own_rules` does not speak of this optimizer."""
        rule, listed = trajectory.rule, " or ".join(names)
        if rule is None:
            return (
                f"the optimizer is the class {trajectory.optimizer}, without a rule, not {listed} "
                "(a theorem without rules speaks of every optimizer)"
            )
        if rule.name in names:
            return f"the rule is a {rule.name} of your own, not that of the theorem (own_rules=(rule,) names one of your own)"
        return f"the rule is {rule.name}, not {listed}"

    def _speaks_of(self, rule: Rule | None) -> bool:
        """Whether a rule is one of the theorem's, by its expressions: a rule of one's own may have the name of another."""
        if rule is None:
            return False
        return canonical_name(rule) in self.rules or any(same_rule(rule, own) for own in self.own_rules)

    def applies(self, trajectory: Trajectory) -> NDArray[np.bool_]:
        """Return whether the rule and the hypotheses fit, (M, K)."""
        return np.asarray(self.why_not(trajectory, explain=False) == "")

    def decrease_on(self, trajectory: Trajectory) -> NDArray[np.float64]:
        """Return 1 - factor, for a per-step theorem whose factor does not depend on the state, (M, K)."""
        from quadsim.theory.statements.quantities import evaluate

        return evaluate(self.decrease, trajectory)

    def log_bound(self, trajectory: Trajectory, t: int) -> NDArray[np.float64]:
        """Return the logarithm of the bound at step t relative to gap_0 (of an identity: of the gap itself), (M, K).

        Powers of t become factors of logarithms, so that a bound far below the smallest float keeps its digits.
        """
        if self.is_factor:
            with np.errstate(divide="ignore", invalid="ignore"):
                return t * np.log1p(-self.decrease_on(trajectory)) if t else np.zeros(trajectory.status.shape)
        from quadsim.theory.statements.quantities import evaluate, logarithm
        from quadsim.theory.symbols import Symbol

        return evaluate(logarithm(self.bound.subs(Symbol.t, t)), trajectory)

    def steps_on(self, trajectory: Trajectory) -> NDArray[np.float64]:
        """Return the steps after which an upper bound is at most the tolerance, (M, K); `inf` if this is beyond the run."""
        last = float(trajectory.steps[-1])
        if self.is_factor:
            # u relative error in each of log, log1p and the quotient: two units cover them, always towards more steps.
            with np.errstate(divide="ignore", invalid="ignore"):
                decrease = self.decrease_on(trajectory)
                steps = np.log(trajectory.tolerance) / np.log1p(-np.minimum(decrease, 1.0))
            steps = np.ceil(np.maximum(steps, 1.0) * (1.0 + 4.0 * np.finfo(float).eps))
            steps = np.where(decrease > 0.0, np.where(decrease >= 1.0, 1.0, steps), np.inf)
            return np.asarray(np.where(steps <= last, steps, np.inf))
        return self._first_below(trajectory)

    def _first_below(self, trajectory: Trajectory) -> NDArray[np.float64]:
        """Return the same for a horizon bound by bisection: it may rise at first, and then it only falls."""
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


def _conditions(given: Any) -> tuple[Hypothesis, ...]:
    """Return the conditions of a hypothesis in any of its forms; a relation that SymPy evaluates to true is dropped.

    Raises:
        ValueError: an object of another kind, or a relation that SymPy evaluates to false.
    """
    import sympy as sp
    from sympy.core.relational import Relational

    if isinstance(given, Hypothesis):
        return (given,)
    if given in (sp.true, True):
        return ()
    if isinstance(given, sp.And):
        return tuple(h for part in given.args for h in _conditions(part))
    if not isinstance(given, Relational):
        raise ValueError(
            f"a hypothesis must be a Hypothesis or a SymPy relation, got {given!r}; write it as s.eta * s.L <= 1."
        )
    return (Hypothesis.of(given),)


def _one_minus(expression: "sp.Expr") -> "sp.Expr":
    """Return 1 - expression without cancellation: Max and Min are exchanged, and 1 - (1-x)^2 becomes x (2-x)."""
    import sympy as sp

    from quadsim.theory.symbols import MaxOver, MinOver

    turned = {sp.Max: sp.Min, sp.Min: sp.Max, MaxOver: MinOver, MinOver: MaxOver}
    if expression.func in turned:
        return turned[expression.func](*(_one_minus(argument) for argument in expression.args))
    if expression.is_Pow and expression.exp == 2:
        x = 1 - expression.base
        return x * (2 - x)
    return 1 - expression
