"""Definitions and derivations of linear-modes and adam-diagonal: runs that fall apart into coordinates, each by itself."""

from collections.abc import Callable, Mapping
from typing import Any

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import Ratio
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.statements.derived.definitions import Q
from quadsim.theory.statements.derived.signs.definitions import Signs
from quadsim.theory.statements.named import gap_l
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import Symbol

__all__ = ["CONSTANT", "DEFINITIONS", "LEVELS", "NEEDS", "NEXT", "SPEAKS_OF", "START", "STEPS", "Alone"]


class Alone:
    """Quantities of one mode or coordinate."""

    memory_i, memory_next_i = sp.symbols("mode_m_i mode_m_next_i", real=True)
    """The memory of a linear rule on eigenvector i, before and after the step from t to t + 1."""
    from_error_i, memory_from_error_i = sp.symbols("M_ee_i M_me_i", real=True)
    from_memory_i, memory_from_memory_i = sp.symbols("M_em_i M_mm_i", real=True)
    """The entries of the matrix by which a step multiplies (e, m) on eigenvector i."""
    power_i, memory_power_i = sp.symbols("power_e_i power_m_i", real=True)
    """The first column of its t-th power: what a start e = 1, m = 0 becomes."""
    mean_i, square_i, mean_next_i, square_next_i = sp.symbols(
        "adam_m_i adam_v_i adam_m_next_i adam_v_next_i", real=True
    )
    """Both memories of Adam of a coordinate, before and after the step from t to t + 1."""
    X, X_mean, X_square, X_next, X_mean_next, X_square_next = sp.symbols(
        "X X_m X_v X_next X_m_next X_v_next", real=True
    )
    """e, m and v of Adam on the coordinate with eigenvalue 1 and start 1, at the rate over |e_0|; no index: one for all."""
    size = sp.Symbol("size_0", positive=True)
    """|e_0,i|, which all coordinates have."""


_s, _q = Symbol, Alone

START: Mapping[Any, Any] = {
    _q.memory_i: 0,
    _q.power_i: 1,
    _q.memory_power_i: 0,
    _q.mean_i: 0,
    _q.square_i: 0,
    _q.X: 1,
    _q.X_mean: 0,
    _q.X_square: 0,
}
NEXT: Mapping[Any, Any] = {
    _q.memory_i: _q.memory_next_i,
    _q.power_i: _q.from_error_i * _q.power_i + _q.from_memory_i * _q.memory_power_i,
    _q.memory_power_i: _q.memory_from_error_i * _q.power_i + _q.memory_from_memory_i * _q.memory_power_i,
    _q.mean_i: _q.mean_next_i,
    _q.square_i: _q.square_next_i,
    _q.X: _q.X_next,
    _q.X_mean: _q.X_mean_next,
    _q.X_square: _q.X_square_next,
}
CONSTANT = frozenset([_q.size])

_SCALARS = ("H is diagonal, in blocks of one, with one |e_0,i| for all coordinates",)

DEFINITIONS: Mapping[str, Any] = {
    "modulus of a power": equal(_s.mode_i, sp.Abs(_q.power_i)),
    "blocks of one": sp.And(
        equal(gap_l, _s.lambda_i * Signs.error_i**2 / 2), equal(_s.gap_0_l, _s.lambda_i * Signs.first_i**2 / 2)
    ),
    "one size": equal(Signs.first_i**2, _q.size**2),
}
NEEDS: Mapping[str, tuple[str, ...]] = {
    "blocks of one": _SCALARS,
    "one size": _SCALARS,
    "rule linear along an eigenvector": ("lr is constant",),
    "rule adam on a coordinate": (*_SCALARS, "eps = 0 and no weight decay"),
}
LEVELS: Mapping[str, int] = {}
SPEAKS_OF: Mapping[str, tuple[str, ...]] = {
    "rule linear along an eigenvector": ("heavy-ball", "nesterov"),
    "rule adam on a coordinate": ("adam",),
}


def _linear(label: str) -> Any:
    """Return that a step multiplies (e, m) on an eigenvector by a matrix that does not change from step to step.

    Raises:
        ValueError: a rule without one.
    """
    e, m, lam = Q.error_i, _q.memory_i, sp.Symbol("lambda", positive=True)
    for name in SPEAKS_OF[f"rule {label}"]:
        rule = RULES[name]
        (memory,) = rule.states
        after, states = advance(rule, e, lam * e, {memory: m})
        form = rule.linear_form
        assert form is not None
        rows = form.matrix.subs(form.eigenvalue, lam) * sp.Matrix([e, m])
        wrong = [sp.expand(found - row) for found, row in zip((after, states[memory]), rows, strict=True)]
        if any(x != 0 for x in wrong) or rule.start.get(memory, 0) != 0 or rule.clocks:
            raise ValueError(
                f"rule must be linear in the error and one memory from 0, got {name}; derive it otherwise."
            )
    return sp.And(
        equal(Q.error_next_i, _q.from_error_i * e + _q.from_memory_i * m),
        equal(_q.memory_next_i, _q.memory_from_error_i * e + _q.memory_from_memory_i * m),
    )


def _on_a_coordinate(_: str) -> Any:
    """Return that Adam keeps e = e_0 X, m = lambda e_0 X_m and v = (lambda e_0)^2 X_v, for e_0 = +-size.

    Its step is -rate Ratio(a, b), which does not change if a and b are both multiplied by a positive number, also where it is
    0/0; and it changes its sign with a.

    Raises:
        ValueError: the rule has another step.
    """
    rule = RULES["adam"]
    m, v = rule.states
    eps = next(x for x in rule.hyperparameters if str(x) == "eps")
    lam, size, sign = sp.Symbol("lambda", positive=True), _q.size, sp.Symbol("sign", real=True)
    scale = lam * size * sign

    def step(g: sp.Expr, states: Mapping[sp.Symbol, sp.Expr]) -> tuple[sp.Expr, ...]:
        here = {rule_symbols.g: g, eps: sp.S.Zero}
        new = {x: rule.update[x].subs({**here, **states}, simultaneous=True) for x in (m, v)}
        moved = rule.step.subs({**here, **new}, simultaneous=True) / rule_symbols.lr
        (quotient,) = moved.atoms(Ratio)
        return new[m], new[v], *quotient.args, moved / quotient

    one = step(_q.X, {m: _q.X_mean, v: _q.X_square})
    other = step(scale * _q.X, {m: scale * _q.X_mean, v: scale**2 * _q.X_square})
    # of b, which is a root, the square: both are not negative
    wanted = (
        (other[0], scale * one[0]),
        (other[1], scale**2 * one[1]),
        (other[2], scale * one[2]),
        (other[3] ** 2, scale**2 * one[3] ** 2),
        (other[4], one[4]),
        (one[4], sp.S.NegativeOne),
    )
    free = {rule_symbols.g, m, v, rule_symbols.lr} & set().union(*(x.free_symbols for x in one))
    is_root = all(x.is_Pow and x.exp == sp.S.Half for x in sp.Mul.make_args(one[3]))
    if any(sp.simplify(sp.expand(a - b)) != 0 for a, b in wanted) or not is_root or free or rule.start:
        raise ValueError("rule must keep its scale on a coordinate, got adam with another step; derive it otherwise.")
    now = ((Signs.error_i, 1, _q.X), (_q.mean_i, _s.lambda_i, _q.X_mean), (_q.square_i, 0, _q.X_square))
    after = (
        (Signs.error_next_i, 1, _q.X_next),
        (_q.mean_next_i, _s.lambda_i, _q.X_mean_next),
        (_q.square_next_i, 0, _q.X_square_next),
    )
    return sp.Implies(*(sp.And(*(equal(x, _scaled(by, of)) for x, by, of in part)) for part in (now, after)))


def _scaled(by: Any, of: sp.Symbol) -> sp.Expr:
    """Return a value of the coordinate with eigenvalue 1 and start 1 in the units of coordinate i; by 0: those of v."""
    return by * Signs.first_i * of if by else (_s.lambda_i * Signs.first_i) ** 2 * of


STEPS: Mapping[str, Callable[[str], Any]] = {
    "linear along an eigenvector": _linear,
    "adam on a coordinate": _on_a_coordinate,
}
