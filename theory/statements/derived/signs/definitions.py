"""Definitions, recursions and steps of rules for derivations about sign steps and rates that are given, block by block.

Of a step e <- e - rate d with the directions d: a block's gap is a quadratic along it, the gradient moves by -rate H d, and
Cauchy-Schwarz holds in the forms of H and H^-1. What a sign is comes from the expressions of the Rule.
"""

from collections.abc import Callable, Mapping
from typing import Any

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.statements.named import AGES, RECURSIONS, VALUES, age, gap_l, middle_0_l, rate
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import SumIn, SumOver, Symbol

__all__ = [
    "BOXED",
    "CONSTANT",
    "DEFINITIONS",
    "ENERGIES",
    "FORMS",
    "LEVELS",
    "NEEDS",
    "NEXT",
    "PREMISES",
    "SPEAKS_OF",
    "START",
    "STEPS",
    "TURNED",
    "Signs",
]


class Signs:
    """Quantities of blocks and coordinates along sign steps; an index `_i` or `_l` as in `Symbol`."""

    gap_next_l = sp.Symbol("gap_next_l", nonnegative=True)
    """Gap of block l at step t + 1."""
    error_i, error_next_i, first_i = sp.symbols("y_i y_next_i y_0_i", real=True)
    """Coordinate i of e_t, e_{t+1} and e_0."""
    gradient_i, gradient_next_i = sp.symbols("g_i g_next_i", real=True)
    """Coordinate i of g_t and g_{t+1}."""
    move_i = sp.Symbol("d_i", real=True)
    """Coordinate i of d in the step e <- e - rate d at t."""
    turned_i = sp.Symbol("Hd_i", real=True)
    """Coordinate i of H d."""
    rest_i, others_i = sp.symbols("dr_i do_i", real=True)
    """What d'Hd of the block is made of besides coordinate i of d: H_ii d_i^2 + 2 dr_i d_i + do_i."""
    form_l = sp.Symbol("dHd_l", nonnegative=True)
    """d'H d of block l."""
    vertex_l = sp.Symbol("zHz_l", nonnegative=True)
    """z'H z of block l at a vector z of signs +-1, any."""
    other_form_l = sp.Symbol("rHr_l", nonnegative=True)
    """r'H r of block l at r = sign(Hd), whose entries may be 0."""
    along_l = sp.Symbol("dg_l", real=True)
    """d'g of block l."""
    norm1_l = sp.Symbol("norm1_g_l", nonnegative=True)
    """|g_t|_1 of block l."""
    cross_l = sp.Symbol("rHd_l", real=True)
    """r'H d of block l for that r."""
    turned_l = sp.Symbol("norm1_Hd_l", nonnegative=True)
    """|H d|_1 of block l."""
    root_l, root_next_l, root_0_l = sp.symbols("x_l x_next_l x_0_l", nonnegative=True)
    """Root of the gap of block l at steps t, t + 1 and 0."""
    other_i, other_rest_i, other_others_i = sp.symbols("r_i rr_i ro_i", real=True)
    """Coordinate i of r = sign(Hd), and what r'Hr is made of besides it: H_ii r_i^2 + 2 rr_i r_i + ro_i."""
    mean_i, mean_next_i, mix_i = sp.symbols("m_i m_next_i mix_i", real=True)
    """Coordinate i of the mean of gradients that a rule remembers, before and after step t, and of that whose sign it takes."""
    weight, weight_next, mix_weight = sp.symbols("W W_next C", real=True)
    """Sum of the weights of the gradients in each of them."""
    lag_l, lag_next_l, mix_lag_l = sp.symbols("lag_l lag_next_l mix_lag_l", nonnegative=True)
    """|W_t g_t - m_t|_1 of block l, the same at t + 1, and |C g_t - c|_1."""
    next_move_i, mean_move_i = sp.symbols("d_next_i u_i", real=True)
    """Coordinate i of d at t + 1, and of u = (d_t + d_(t+1))/2."""
    turned_mean_i = sp.Symbol("Hu_i", real=True)
    """Coordinate i of H u."""
    middle_i, middle_next_i, middle_gradient_i = sp.symbols("mid_i mid_next_i Hmid_i", real=True)
    """Coordinate i of the midpoint m = e - (eta/2) d of a step and of the next, and of z = Hm."""
    middle_l, middle_next_l = sp.symbols("middle_l middle_next_l", nonnegative=True)
    """Gap of block l at the midpoints."""
    mean_form_l = sp.Symbol("uHu_l", nonnegative=True)
    """u'H u of block l."""
    box_i, beyond_i, lifted_i = sp.symbols("box_i beyond_i lifted_i", real=True)
    """Coordinate i of x in [-1, 1]^P, of the part of z beyond (eta/2)|h| x, and of H^-1 times that part."""
    box_rest_i, box_others_i = sp.symbols("br_i bo_i", real=True)
    """What the form below is made of besides coordinate i of x."""
    box_form_l, box_vertex_l = sp.symbols("box_form_l box_vertex_l", nonnegative=True)
    """(|h| x)'H^-1 (|h| x) of block l, entrywise products, and the same at any vector of signs x."""
    beyond_form_l, beyond_l = sp.symbols("beyond_form_l beyond_l", nonnegative=True)
    """y'H^-1 y and |y|_1 of block l for the part y beyond the box."""
    parts_l = sp.Symbol("parts_l", real=True)
    """Product of both parts in H^-1, of block l."""
    kept_l, radius_l = sp.symbols("kept_l R_l", nonnegative=True)
    """Sum of |h_i| where the sign is kept, and the R of the signs d, of block l."""
    subset_l = sp.Symbol("Q_l", real=True)
    """Q of the signs d, of block l."""
    cycle_i, turned_cycle_i = sp.symbols("z_i Hz_i", real=True)
    """Coordinate i of the signs z on which a cycle lies, and of H z."""
    cycle_form_l = sp.Symbol("zHz_max_l", nonnegative=True)
    """z'H z of block l for them."""
    multiple = sp.Symbol("c", real=True)
    """e_t in units of eta z: k + 1/2, and c - sign(c) a step later."""
    times = sp.Symbol("k", integer=True, nonnegative=True)
    """The integer k of a start (k + 1/2) eta z."""
    pole_l, speed_l = sp.symbols("pole_l speed_l", positive=True)
    """x* = eta S/(2 sqrt(2 nu)) and a = eta sqrt(nu/2) of block l."""


_s, _q = Symbol, Signs


def _le(left: sp.Expr, right: sp.Expr) -> sp.Le:
    return sp.Le(left, right, evaluate=False)


START: Mapping[Any, Any] = {
    gap_l: _s.gap_0_l,
    _q.error_i: _q.first_i,
    _q.root_l: _q.root_0_l,
    _q.middle_l: middle_0_l,
    _q.multiple: _q.times + sp.Rational(1, 2),
    _q.mean_i: 0,
    _q.weight: 0,
    _q.lag_l: 0,
    **{symbol: start for symbol, (start, _) in RECURSIONS.items()},
}
"""What a quantity at step t is at step 0."""

NEXT: Mapping[Any, Any] = {
    gap_l: _q.gap_next_l,
    _q.error_i: _q.error_next_i,
    _q.gradient_i: _q.gradient_next_i,
    _q.root_l: _q.root_next_l,
    _q.move_i: _q.next_move_i,
    _q.middle_i: _q.middle_next_i,
    _q.middle_l: _q.middle_next_l,
    _q.multiple: _q.multiple - sp.sign(_q.multiple),
    _q.mean_i: _q.mean_next_i,
    _q.weight: _q.weight_next,
    _q.lag_l: _q.lag_next_l,
    **{symbol: after for symbol, (_, after) in RECURSIONS.items()},
}
"""What a quantity at step t is at step t + 1."""

CONSTANT = frozenset([
    _q.first_i,
    _q.root_0_l,
    _q.pole_l,
    _q.speed_l,
    _s.target_l,
    _q.cycle_i,
    _q.turned_cycle_i,
    _q.times,
    age,
])
"""Quantities that do not change along a run, beside those that a run is asked for."""

DEFINITIONS: Mapping[str, Any] = {
    "gap by blocks": equal(_s.gap, SumOver(gap_l)),
    "gap of a block by the gradient": equal(gap_l, SumIn(_q.gradient_i * _q.error_i) / 2),
    "1-norm of a block": equal(_q.norm1_l, SumIn(sp.Abs(_q.gradient_i))),
    "direction along the gradient": equal(_q.along_l, SumIn(_q.move_i * _q.gradient_i)),
    "error against gap": _le(_q.error_i**2, 2 * gap_l * _s.inverse_i),  # Cauchy-Schwarz
    "smallest inverse": _le(_s.nu_l * _s.inverse_i, 1),
    "start of a coordinate": equal(_s.start_i, sp.Abs(_q.first_i)),
    "gap on a diagonal": equal(_s.gap, SumOver(_s.curvature_i * _q.error_i**2) / 2),
    "gradient on a diagonal": equal(_q.gradient_i, _s.curvature_i * _q.error_i),
    # Signs z that maximise z'Hz in every block: flipping one of them does not raise the form.
    "maximal signs": sp.And(_le(4 * _s.curvature_i - 4 * _q.cycle_i * _q.turned_cycle_i, 0), equal(_q.cycle_i**2, 1)),
    "form of the maximal signs": equal(_q.cycle_form_l, SumIn(_q.cycle_i * _q.turned_cycle_i)),
    "maximal form": equal(_s.L_inf, SumOver(_q.cycle_form_l)),
    "start on the cycle": equal(_q.first_i, (_q.times + sp.Rational(1, 2)) * _s.eta * _q.cycle_i),
    "largest on signs": _le(_q.vertex_l, _s.S_l),
    "positive definite": sp.Gt(_s.curvature_i, 0, evaluate=False),
    # How far a mean of gradients is behind the gradient.
    "1-norm of the turned step": equal(_q.turned_l, SumIn(sp.Abs(_q.turned_i))),
    "signs of the turned step": equal(_q.other_i, sp.sign(_q.turned_i)),
    "product of both": equal(_q.cross_l, SumIn(_q.other_i * _q.turned_i)),
    "Cauchy-Schwarz in H": _le(_q.cross_l**2, _q.other_form_l * _q.form_l),
    "lag": equal(_q.lag_l, SumIn(sp.Abs(_q.weight * _q.gradient_i - _q.mean_i))),
    "lag a step later": equal(_q.lag_next_l, SumIn(sp.Abs(_q.weight_next * _q.gradient_next_i - _q.mean_next_i))),
    "lag of the mix": equal(_q.mix_lag_l, SumIn(sp.Abs(_q.mix_weight * _q.gradient_i - _q.mix_i))),
    **{f"age of {name}": equal(age, value) for name, value in AGES.items()},
    # sign-constant-steps
    "root of the gap": sp.And(equal(gap_l, _q.root_l**2), equal(_q.gap_next_l, _q.root_next_l**2)),
    "start of the root": equal(_q.root_0_l, sp.sqrt(_s.gap_0_l)),
    "constants of the steps": sp.And(
        equal(_q.pole_l, _s.eta * _s.S_l / (2 * sp.sqrt(2 * _s.nu_l))),
        equal(_q.speed_l, _s.eta * sp.sqrt(_s.nu_l / 2)),
    ),
    "target above the plateau": sp.Lt(_q.pole_l, _s.target_l, evaluate=False),
    "target": _le(_s.target_l, _q.root_l),
    # sign-midpoint: z = Hm at m = e - (eta/2) d, divided into (eta/2)|h| x with x in the box [-1, 1]^P and the rest.
    "midpoint": equal(_q.middle_i, _q.error_i - _s.eta / 2 * _q.move_i),
    "mean of two moves": equal(_q.mean_move_i, (_q.move_i + _q.next_move_i) / 2),
    "no zero": sp.Ne(_q.gradient_i, 0, evaluate=False),
    "part in the box": sp.And(
        sp.Implies(_q.gradient_i * _q.gradient_next_i > 0, equal(_q.box_i, sp.sign(_q.middle_gradient_i))),
        sp.Implies(
            _q.gradient_i * _q.gradient_next_i < 0,
            equal(_s.eta / 2 * sp.Abs(_q.turned_i) * _q.box_i, _q.middle_gradient_i),
        ),
    ),
    "part beyond it": equal(_q.beyond_i, _q.middle_gradient_i - _s.eta / 2 * sp.Abs(_q.turned_i) * _q.box_i),
    "1-norm beyond it": equal(_q.beyond_l, SumIn(sp.Abs(_q.beyond_i))),
    "kept coordinates": equal(_q.kept_l, SumIn(sp.Abs(_q.mean_move_i) * sp.Abs(_q.turned_i))),
    "midpoint in two parts": sp.And(  # of z'H^-1 z, and Cauchy-Schwarz in H^-1
        equal(2 * _q.middle_l, _s.eta**2 / 4 * _q.box_form_l + 2 * _q.parts_l + _q.beyond_form_l),
        _le(_q.parts_l**2, _s.eta**2 / 4 * _q.box_form_l * _q.beyond_form_l),
    ),
    "form beyond it": equal(_q.beyond_form_l, SumIn(_q.beyond_i * _q.lifted_i)),
    "lifted against form": _le(_q.lifted_i**2, _q.beyond_form_l * _s.inverse_i),  # Cauchy-Schwarz
    "largest in the box": _le(_q.box_vertex_l, _q.radius_l**2),
    "largest on subsets": _le(_q.mean_form_l - _q.kept_l, _q.subset_l),
    "midpoint constant": _le(sp.sqrt(_s.nu_l) * _q.radius_l + _q.subset_l, _s.M_l),
    "smaller gap": equal(_s.smaller_gap, VALUES[_s.smaller_gap]),
}
"""Label to formula."""

LEVELS: Mapping[str, int] = {"target": 1}

_ARE_SIGNS = sp.Or(equal(_q.move_i, 1), equal(_q.move_i, -1))
_ARE_PART = sp.Or(equal(_q.mean_move_i, _q.move_i), equal(_q.mean_move_i, 0))
PREMISES: Mapping[str, tuple[Any, ...]] = {
    "largest on subsets": (_ARE_SIGNS, _ARE_PART),
    "midpoint constant": (_ARE_SIGNS,),
}
"""Label of a definition that holds only where a vector has a property, to the claims that it has."""
_DIAGONAL = ("H is diagonal",)
_CYCLE = (
    "blocks of at most 12 coordinates, whose signs are enumerated",
    "e_0 = (k + 1/2) lr s in every block, s a maximiser of s'H_l s, k >= 0 an integer",
)
NEEDS: Mapping[str, tuple[str, ...]] = {
    "rule lion with its mean": ("no weight decay",),
    "rule signs": ("no weight decay",),
    "no zero": ("no entry of a gradient is exactly 0 along the run",),
    "gap on a diagonal": _DIAGONAL,
    "gradient on a diagonal": _DIAGONAL,
    "maximal signs": _CYCLE,
    "maximal form": _CYCLE,
    "start on the cycle": _CYCLE[1:],
}
SPEAKS_OF: Mapping[str, tuple[str, ...]] = {
    "rule signsgd at a given rate": ("signsgd",),
    "rule signs": ("signsgd", *AGES),
    **{f"rule {name} with its mean": (name,) for name in AGES},
    **{f"age of {name}": (name,) for name in AGES},
}

BOXED: Mapping[sp.Symbol, tuple[sp.Symbol, sp.Symbol, sp.Expr, frozenset[sp.Symbol]]] = {
    _q.form_l: (
        _q.vertex_l,
        _q.move_i,
        _s.curvature_i * _q.move_i**2 + 2 * _q.rest_i * _q.move_i + _q.others_i,
        frozenset(),
    ),
    _q.box_form_l: (
        _q.box_vertex_l,
        _q.box_i,
        _s.inverse_i * _q.turned_i**2 * _q.box_i**2 + 2 * _q.box_rest_i * _q.box_i + _q.box_others_i,
        frozenset([_q.radius_l]),
    ),
    _q.other_form_l: (
        _q.vertex_l,
        _q.other_i,
        _s.curvature_i * _q.other_i**2 + 2 * _q.other_rest_i * _q.other_i + _q.other_others_i,
        frozenset(),
    ),
}
"""A form of a vector to the same form at a vector of signs, a coordinate of the vector, the form as its function, and symbols
that change along a run but do not depend on the vector."""


TURNED: Mapping[sp.Symbol, sp.Symbol] = {
    _q.error_i: _q.gradient_i,
    _q.error_next_i: _q.gradient_next_i,
    _q.middle_i: _q.middle_gradient_i,
    _q.move_i: _q.turned_i,
    _q.mean_move_i: _q.turned_mean_i,
    _q.cycle_i: _q.turned_cycle_i,
}
"""A coordinate of a vector x to that of H x."""

ENERGIES: Mapping[sp.Symbol, sp.Symbol] = {
    _q.error_i: gap_l,
    _q.error_next_i: _q.gap_next_l,
    _q.middle_i: _q.middle_l,
    _q.middle_next_i: _q.middle_next_l,
}
"""A coordinate of a vector x to x'Hx/2 in its block."""

FORMS: Mapping[sp.Symbol, sp.Symbol] = {_q.move_i: _q.form_l, _q.mean_move_i: _q.mean_form_l}
"""A coordinate of a vector p to p'Hp in its block."""


def _sign_of(name: str) -> sp.Expr:
    """Return the direction of a rule's step, as a function of the gradient of the coordinate."""
    after, _ = advance(RULES[name], _q.error_i, _q.gradient_i, values={rule_symbols.lr: rate})
    return sp.simplify((_q.error_i - after) / rate)


def _sign_rule(_: str) -> Any:
    move = _sign_of("signsgd")
    return sp.And(equal(_q.error_next_i, _q.error_i - rate * _q.move_i), equal(_q.move_i, move))


def _rule_with_mean(label: str) -> Any:
    """Return the step along the sign of a mean of gradients, with the sums of the weights by the same expressions at g = 1.

    Raises:
        ValueError: the rule is of another kind.
    """
    rule = RULES[label.removesuffix(" with its mean")]
    own = {"momentum": _s.momentum, "beta1": _s.beta1, "beta2": _s.beta2, "weight_decay": sp.S.Zero}
    values = {symbol: own[str(symbol)] for symbol in rule.hyperparameters} | {rule_symbols.lr: rate}
    (memory,) = rule.states
    after, states = advance(rule, _q.error_i, _q.gradient_i, {memory: _q.mean_i}, values)
    signs = after.atoms(sp.sign)
    if len(signs) != 1 or rule.start.get(memory, 0) != 0 or sp.simplify(_q.error_i - after - rate * min(signs)) != 0:
        raise ValueError(
            f"rule must step along the sign of a mean that starts at 0, got {rule.name} with another step."
        )
    (mix,) = min(signs).args
    at_one = {_q.gradient_i: 1, _q.mean_i: _q.weight}
    below_one = [
        sp.Lt(values[x], 1, evaluate=False) for x, r in rule.hyperparameters.items() if r.high == 1 and r.high_open
    ]
    return sp.And(
        equal(_q.error_next_i, _q.error_i - rate * _q.move_i),
        equal(_q.move_i, sp.sign(_q.mix_i)),
        equal(_q.mix_i, mix),
        equal(_q.mix_weight, mix.subs(at_one)),
        equal(_q.mean_next_i, states[memory]),
        equal(_q.weight_next, states[memory].subs(at_one)),
        *below_one,
    )


def _along_signs(_: str) -> Any:
    """Return that a coordinate moves by the rate at most: the step of each of these rules is the rate times a sign.

    Raises:
        ValueError: one of them has another step.
    """
    for name in ("signsgd", *AGES):
        rule = RULES[name]
        decay = {symbol: sp.S.Zero for symbol in rule.hyperparameters if str(symbol) == "weight_decay"}
        step = rule.step.subs(decay).doit()
        signs = step.atoms(sp.sign)
        if len(signs) != 1 or sp.simplify(step + rule_symbols.lr * min(signs)) != 0:
            raise ValueError(f"rule must step by lr times a sign, got {name} with another step.")
    return _le(sp.Abs(_q.error_next_i - _q.error_i), rate)


STEPS: Mapping[str, Callable[[str], Any]] = {
    "signs": _along_signs,
    "signsgd at a given rate": _sign_rule,
    **{f"{name} with its mean": _rule_with_mean for name in AGES},
}
