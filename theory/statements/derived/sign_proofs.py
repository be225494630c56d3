"""The derivations of the theorems about sign steps at a rate that is given (`quadsim.theory.statements.as_run.signs`)."""

from collections.abc import Callable, Mapping

import sympy as sp

from quadsim.theory.statements.derived.graph import CONSTANT_RATE
from quadsim.theory.statements.derived.library import BOXED
from quadsim.theory.statements.derived.pairs import Pairs
from quadsim.theory.statements.derived.scales import Scales
from quadsim.theory.statements.derived.signs import Signs
from quadsim.theory.statements.derived.words import Steps, definitions, ge, le, rule, step
from quadsim.theory.statements.named import age, fall, gap_l, rate
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import MaxOver, MinOver, SumOver, Symbol

__all__ = ["SIGN_DERIVATIONS"]

eta, t, gap = Symbol.eta, Symbol.t, Symbol.gap
S_l, nu_l, u_l = Symbol.S_l, Symbol.nu_l, Symbol.u_l
_CONCLUSIVE = "for the conclusion"
d, g = Signs.move_i, Signs.gradient_i
n1 = Signs.norm1_l


def _largest_form(form_l: sp.Symbol = Signs.form_l, moves: str = "moves", name: str = "form") -> Steps:
    """Return the steps to d'Hd <= S_l, for a d whose entries are signs or 0 by the step `moves`."""
    _, z, form = BOXED[form_l]
    box, convex = f"box of the {name}", f"convex {name}"
    return (
        *definitions("largest on signs", "positive definite"),
        step(box, sp.And(le(-1, z), le(z, 1)), moves),
        step(convex, le(form, sp.Max(form.subs(z, 1), form.subs(z, -1))), box, "positive definite"),
        step(name, le(form_l, S_l), "largest on signs", convex, box, by="vertices"),
    )


def _norm_against_gap() -> Steps:
    """Return the steps to |g|_1^2 >= 2 nu gap in a block."""
    two_gap = 2 * gap_l
    bound = sp.sqrt(2 * gap_l / nu_l)
    e = Signs.error_i
    return (
        *definitions("gap of a block by the gradient", "error against gap", "smallest inverse", "1-norm of a block"),
        step("error of a coordinate", le(nu_l * e**2, two_gap), "error against gap", "smallest inverse"),
        step("root of it", le(sp.Abs(e), bound), "error of a coordinate"),
        step("part", le(g * e / 2, sp.Abs(g) * bound / 2), "root of it"),
        step(
            "Hoelder",
            le(gap_l, n1 * bound / 2),
            "part",
            "gap of a block by the gradient",
            "1-norm of a block",
            by="sum in a block",
        ),
        step("norm against the gap", ge(n1**2, 2 * nu_l * gap_l), "Hoelder"),
    )


def _along_signs() -> Steps:
    return (
        rule("signsgd at a given rate"),
        step("moves", equal(d, sp.sign(g)), "rule signsgd at a given rate"),
        *definitions("direction along the gradient", "block along its step"),
        step("coordinate", equal(d * g, sp.Abs(g)), "moves"),
    )


def _descent() -> Steps:
    """Return the steps to gap_next <= gap - eta sqrt(2 nu gap) + eta^2 S/2 in a block, for SignSGD."""
    return (
        *_along_signs(),
        *_largest_form(),
        *_norm_against_gap(),
        step(
            "steepest",
            equal(Signs.along_l, n1),
            "coordinate",
            "direction along the gradient",
            "1-norm of a block",
            by="sum in a block",
        ),
        step(
            "descent",
            le(Signs.gap_next_l, gap_l - rate * n1 + rate**2 * S_l / 2),
            "block along its step",
            "steepest",
            "form",
        ),
        step("1-norm", ge(n1, sp.sqrt(2 * nu_l * gap_l)), "norm against the gap"),
        step(
            "fall",
            le(Signs.gap_next_l, gap_l - rate * sp.sqrt(2 * nu_l * gap_l) + rate**2 * S_l / 2),
            "descent",
            "1-norm",
        ),
    )


def _hull(u: sp.Symbol, size: sp.Expr, r: sp.Symbol) -> sp.Implies:
    lower = gap_l - r * sp.sqrt(2 * nu_l * gap_l) + r**2 * size / 2
    return sp.Implies(le(gap_l, u), le(lower, fall(u, size, r)))


def _constant_gap() -> Steps:
    return (
        *_descent(),
        step("hull", _hull(u_l, S_l, rate), because="u -> max(0, u - k sqrt(u)) bounds x - k sqrt(x) for every x <= u"),
        step("every block", le(gap_l, u_l), "fall", "hull", by="induction"),
        *definitions("gap by blocks"),
        step("the gap", le(gap, SumOver(u_l)), "every block", "gap by blocks", by="sum"),
    )


def _turned() -> Steps:
    """Return the steps to |Hd|_1 <= S_l."""
    other, turned = Signs.other_i, Signs.turned_i
    return (
        *definitions("signs of the turned step", "1-norm of the turned step", "product of both", "Cauchy-Schwarz in H"),
        *_largest_form(Signs.other_form_l, "signs of the turned step", "other form"),
        step("its coordinate", equal(other * turned, sp.Abs(turned)), "signs of the turned step"),
        step(
            "its norm",
            equal(Signs.cross_l, Signs.turned_l),
            "its coordinate",
            "product of both",
            "1-norm of the turned step",
            by="sum in a block",
        ),
        step("turned", le(Signs.turned_l, S_l), "its norm", "Cauchy-Schwarz in H", "form", "other form"),
    )


def _lag(rule_label: str, own: sp.Symbol, keep: sp.Symbol) -> Steps:
    """Return the steps to |C g - c|_1 <= eta S A C: how far the mix is behind the gradient."""
    W, after, C = Signs.weight, Signs.weight_next, Signs.mix_weight
    behind = sp.Abs(W * g - Signs.mean_i)
    later = sp.Abs(after * Signs.gradient_next_i - Signs.mean_next_i)
    return (
        *definitions("gradient along its step", "lag", "lag a step later", "lag of the mix"),
        step("weights", sp.And(ge(W, 0), le(W, 1)), rule_label, by="induction"),
        step("weight a step later", sp.And(ge(after, 0), ge(after, W)), "weights", rule_label),
        step(
            "coordinate later",
            le(later, own * behind + rate * after * sp.Abs(Signs.turned_i)),
            rule_label,
            "gradient along its step",
            "weight a step later",
        ),
        step(
            "block later",
            le(Signs.lag_next_l, own * Signs.lag_l + rate * after * Signs.turned_l),
            "coordinate later",
            "lag",
            "lag a step later",
            "1-norm of the turned step",
            by="sum in a block",
        ),
        step(
            "age of the memory",
            le(Signs.lag_l, eta * S_l * W / (1 - own)),
            "block later",
            "turned",
            "weight a step later",
            rule_label,
            CONSTANT_RATE,
            by="induction",
        ),
        step("coordinate of the mix", equal(sp.Abs(C * g - Signs.mix_i), keep * behind), rule_label),
        step(
            "block of the mix",
            equal(Signs.mix_lag_l, keep * Signs.lag_l),
            "coordinate of the mix",
            "lag",
            "lag of the mix",
            by="sum in a block",
        ),
        step("weight of the mix", sp.And(sp.Gt(C, 0, evaluate=False), ge(C, W)), "weights", rule_label),
        step(
            "age of the mix",
            le(Signs.mix_lag_l, eta * S_l * keep / (1 - own) * C),
            "block of the mix",
            "age of the memory",
            "weight of the mix",
            "weights",
            rule_label,
        ),
    )


def _with_mean(name: str, own: sp.Symbol, keep: sp.Symbol) -> Steps:
    label, C, A = f"rule {name} with its mean", Signs.mix_weight, age
    size, v_l = S_l * (1 + 4 * A), Symbol.v_l
    return (
        rule(f"{name} with its mean"),
        step("moves", equal(d, sp.sign(Signs.mix_i)), label),
        *definitions("direction along the gradient", "block along its step"),
        *_largest_form(),
        *_norm_against_gap(),
        *_turned(),
        *_lag(label, own, keep),
        *definitions(f"age of {name}"),
        step(
            "coordinate",
            ge(C * (d * g), C * sp.Abs(g) - 2 * sp.Abs(C * g - Signs.mix_i)),
            "moves",
            "weight of the mix",
        ),
        step(
            "steepest but for the lag",
            ge(C * Signs.along_l, C * n1 - 2 * Signs.mix_lag_l),
            "coordinate",
            "direction along the gradient",
            "1-norm of a block",
            "lag of the mix",
            by="sum in a block",
        ),
        step(
            "along",
            ge(Signs.along_l, n1 - 2 * eta * S_l * A),
            "steepest but for the lag",
            "age of the mix",
            "weight of the mix",
            f"age of {name}",
            label,
        ),
        step(
            "descent",
            le(Signs.gap_next_l, gap_l - eta * n1 + eta**2 * size / 2),
            "block along its step",
            "along",
            "form",
            CONSTANT_RATE,
        ),
        step("1-norm", ge(n1, sp.sqrt(2 * nu_l * gap_l)), "norm against the gap"),
        step(
            "fall",
            le(Signs.gap_next_l, gap_l - eta * sp.sqrt(2 * nu_l * gap_l) + eta**2 * size / 2),
            "descent",
            "1-norm",
        ),
        step("hull", _hull(v_l, size, eta)),
        step("every block", le(gap_l, v_l), "fall", "hull", by="induction"),
        *definitions("gap by blocks"),
        step("the gap", le(gap, SumOver(v_l)), "every block", "gap by blocks", by="sum"),
    )


def _constant_steps() -> Steps:
    x, after, first, target = Signs.root_l, Signs.root_next_l, Signs.root_0_l, Symbol.target_l
    pole, a = Signs.pole_l, Signs.speed_l
    ratio = (after - pole) / (x - pole)
    x_star, x_0 = eta * S_l / (2 * sp.sqrt(2 * nu_l)), sp.sqrt(Symbol.gap_0_l)
    time = x_0 - target + x_star * sp.log((x_0 - x_star) / (target - x_star))
    written = 1 + time / (eta * sp.sqrt(nu_l / 2))

    def psi(y: sp.Expr) -> sp.Expr:
        return y + pole * sp.log(y - pole)

    return (
        *_descent(),
        *definitions(
            "root of the gap", "start of the root", "constants of the steps", "target", "target above the plateau"
        ),
        *definitions("target a step later"),
        *definitions(
            "a step was made", because=f"{_CONCLUSIVE}: a statement about the steps before t speaks of t >= 1"
        ),
        step(
            "recursion",
            le(after**2, x**2 - 2 * a * (x - pole)),
            "fall",
            "root of the gap",
            "constants of the steps",
            CONSTANT_RATE,
        ),
        step("above the pole", sp.Lt(pole, x, evaluate=False), "target", "target above the plateau"),
        step(
            "and after",
            sp.Lt(pole, after, evaluate=False),
            "target a step later",
            "target above the plateau",
        ),
        step("step", le(after, x - a * (x - pole) / x), "recursion", "above the pole"),
        step("ratio", le((after - x) / (x - pole), -a / x), "step", "above the pole"),
        step(
            "logarithm",
            le(sp.log(ratio), ratio - 1),
            "above the pole",
            "and after",
            by="fact: tangent of the logarithm",
        ),
        step(
            "difference",
            equal(sp.log(ratio), sp.log(after - pole) - sp.log(x - pole)),
            "above the pole",
            "and after",
            by="fact: logarithm of a quotient",
        ),
        step(
            "Psi falls",
            le(a, psi(x) - psi(after)),
            "logarithm",
            "difference",
            "step",
            "above the pole",
            "and after",
        ),
        step(
            "start above the pole", sp.Lt(pole, first, evaluate=False), "above the pole", "a step was made", by="start"
        ),
        step(
            "sum of the falls",
            le(a * t, psi(first) - psi(x)),
            "Psi falls",
            "above the pole",
            "and after",
            "start above the pole",
            by="induction",
        ),
        step(
            "monotone",
            le(sp.log(target - pole), sp.log(x - pole)),
            "target",
            "target above the plateau",
            by="fact: the logarithm rises",
        ),
        step(
            "until the target",
            le(a * t, psi(first) - psi(target)),
            "sum of the falls",
            "monotone",
            "target",
            "target above the plateau",
            "start above the pole",
            "above the pole",
            because="as long as the block is not within its target",
        ),
        step(
            "the step before",
            le(a * (t - 1), psi(first) - psi(target)),
            "until the target",
            "a step was made",
            by="last",
        ),
        step(
            "quotient",
            equal(sp.log((first - pole) / (target - pole)), sp.log(first - pole) - sp.log(target - pole)),
            "start above the pole",
            "target above the plateau",
            by="fact: logarithm of a quotient",
        ),
        step(
            "steps",
            le(t, 1 + (first - target + pole * sp.log((first - pole) / (target - pole))) / a),
            "the step before",
            "quotient",
            "start above the pole",
            "target above the plateau",
        ),
        step(
            "defined",
            sp.And(sp.Lt(x_star, target, evaluate=False), sp.Lt(x_star, x_0, evaluate=False)),
            "target above the plateau",
            "start above the pole",
            "constants of the steps",
            "start of the root",
            because=f"{_CONCLUSIVE}: the logarithm is that of a positive number",
        ),
        step("in a block", le(t, written), "steps", "constants of the steps", "start of the root", "defined"),
        step("every block", le(t, MinOver(written)), "in a block", by="every"),
    )


def _distance() -> Steps:
    e, far = Signs.error_i, Symbol.start_i - Symbol.travelled
    least = sp.Max(far, 0) ** 2
    return (
        rule("signs"),
        *definitions("start of a coordinate", "error against gap", "gap by blocks"),
        step("way", ge(sp.Abs(e), far), "rule signs", "start of a coordinate", by="induction"),
        step("far", ge(e**2, least), "way"),
        step("block", le(gap_l, SumOver(gap_l)), by="part"),
        step(
            "of a coordinate",
            ge(gap, least / (2 * Symbol.inverse_i)),
            "far",
            "error against gap",
            "block",
            "gap by blocks",
        ),
        step("every coordinate", ge(gap, MaxOver(least / (2 * Symbol.inverse_i))), "of a coordinate", by="every"),
    )


def _diagonal() -> Steps:
    e, h = Signs.error_i, Symbol.curvature_i
    most = sp.Max(Symbol.start_i - Symbol.travelled, eta)
    return (
        rule("signsgd at a given rate"),
        *definitions("gradient on a diagonal", "gap on a diagonal", "positive definite", "start of a coordinate"),
        step(
            "moves",
            equal(Signs.error_next_i, e - rate * sp.sign(e)),
            "rule signsgd at a given rate",
            "gradient on a diagonal",
            "positive definite",
        ),
        step("way", le(sp.Abs(e), most), "moves", "start of a coordinate", CONSTANT_RATE, by="induction"),
        step("part", le(h * e**2 / 2, h * most**2 / 2), "way"),
        step("the gap", le(gap, SumOver(h * most**2) / 2), "part", "gap on a diagonal", by="sum"),
    )


def _on_cycle() -> Steps:
    c, k, z = Signs.multiple, Signs.times, Signs.cycle_i
    half = sp.Rational(1, 2)
    way_back = sp.And(equal(c, k + half - t), le(t, k))
    return (
        rule("signsgd at a given rate"),
        *definitions("maximal signs", "positive definite", "start on the cycle"),
        *definitions("gap of a block by the gradient", "form of the maximal signs", "maximal form", "gap by blocks"),
        step("signs of Hz", sp.Gt(z * Signs.turned_cycle_i, 0, evaluate=False), "maximal signs", "positive definite"),
        step(
            "on the line",
            equal(Signs.error_i, c * eta * z),
            "rule signsgd at a given rate",
            "signs of Hz",
            "maximal signs",
            "start on the cycle",
            CONSTANT_RATE,
            by="induction",
        ),
        step("gradient", equal(g, c * eta * Signs.turned_cycle_i), "on the line", by="linear"),
        step("integers", sp.Or(le(t, k - 1), ge(t, k)), by="fact: integers"),
        step("where", sp.Or(way_back, equal(c**2, half**2)), "integers", by="induction"),
        step("never nearer", ge(c**2, half**2), "where"),
        step(
            "product",
            equal(g * Signs.error_i / 2, c**2 * eta**2 * z * Signs.turned_cycle_i / 2),
            "gradient",
            "on the line",
        ),
        step(
            "block",
            equal(gap_l, c**2 * eta**2 * Signs.cycle_form_l / 2),
            "product",
            "gap of a block by the gradient",
            "form of the maximal signs",
            by="sum in a block",
        ),
        step(
            "blocks", equal(gap, c**2 * eta**2 * Symbol.L_inf / 2), "block", "gap by blocks", "maximal form", by="sum"
        ),
        step("the gap", ge(gap, eta**2 * Symbol.L_inf / 8), "blocks", "never nearer"),
    )


def _invariance() -> Steps:
    q = Scales
    ratio, same = gap_l / Symbol.gap_0_l, q.twin_gap / q.twin_gap_0
    return (
        rule("without a scale"),
        *definitions("same start", "how far from the first", "multiple of the first", "gap of the first"),
        *definitions("gap of a block by the gradient", "largest ratio", "smallest ratio"),
        step("never apart", equal(q.apart_l, 0), "rule without a scale", "same start", by="induction"),
        step("same error", equal(Signs.error_i, q.twin_i), "never apart", "how far from the first"),
        step("its gradient", equal(g, q.twin_turned_i), "same error", by="linear"),
        step(
            "product",
            equal(g * Signs.error_i / 2, q.scale_l * q.twin_gradient_i * q.twin_i / 2),
            "its gradient",
            "same error",
            "multiple of the first",
        ),
        step(
            "block",
            equal(gap_l, q.scale_l * q.twin_gap),
            "product",
            "gap of a block by the gradient",
            "gap of the first",
            by="sum in a block",
        ),
        step("block at the start", equal(Symbol.gap_0_l, q.scale_l * q.twin_gap_0), "block", by="start"),
        step("ratio", equal(ratio, same), "block", "block at the start"),
        step("largest", equal(MaxOver(ratio), same), "ratio", by="every"),
        step("smallest", equal(MinOver(ratio), same), "ratio", by="every"),
        step(
            "both",
            equal(Symbol.ratio_high, Symbol.ratio_low),
            "largest",
            "smallest",
            "largest ratio",
            "smallest ratio",
        ),
    )


def _from_start() -> Steps:
    q = Pairs
    high, low = (1 - eta * q.high_p) ** 2, (1 - eta * q.low_p) ** 2
    moved = "rule gd on two eigenvalues"
    least = sp.Min(q.share_high_p, q.share_low_p)
    ratio = (q.high_p - q.low_p) / (q.high_p + q.low_p)
    return (
        rule("gd on two eigenvalues"),
        *definitions("pair", "how far apart", "parts on two eigenvalues", "shares", "least ratio"),
        step(
            "one of both",
            sp.Or(ge(high, q.apart_p**2), ge(low, q.apart_p**2)),
            "pair",
            "how far apart",
            because="for every rate one of both modes is slow",
        ),
        step(
            "on the larger",
            sp.Implies(ge(high, q.apart_p**2), ge(q.on_high_p, q.power_p * q.first_high_p)),
            moved,
            by="induction",
        ),
        step(
            "on the smaller",
            sp.Implies(ge(low, q.apart_p**2), ge(q.on_low_p, q.power_p * q.first_low_p)),
            moved,
            by="induction",
        ),
        step(
            "the slow one",
            ge(gap, q.power_p * sp.Min(q.first_high_p, q.first_low_p)),
            "one of both",
            "on the larger",
            "on the smaller",
            "parts on two eigenvalues",
        ),
        step("relative", ge(gap / Symbol.gap_0, least * q.power_p), "the slow one", "shares"),
        step("power", equal(q.power_p, q.apart_p ** (2 * t)), by="induction"),
        step("of a pair", ge(gap / Symbol.gap_0, least * ratio ** (2 * t)), "relative", "power", "how far apart"),
        step("every pair", ge(gap / Symbol.gap_0, MaxOver(least * ratio ** (2 * t))), "of a pair", by="every"),
        step("least", ge(gap / Symbol.gap_0, Symbol.least_ratio), "every pair", "least ratio"),
    )


SIGN_DERIVATIONS: Mapping[str, Callable[[], Steps]] = {
    "sign-constant-gap": _constant_gap,
    "sign-constant-steps": _constant_steps,
    "gd-lower-start": _from_start,
    "block-scale-invariance": _invariance,
    "sign-distance": _distance,
    "sign-diagonal": _diagonal,
    "sign-cycle": _on_cycle,
    "signum-gap": lambda: _with_mean("signum", Symbol.momentum, Symbol.momentum),
    "lion-gap": lambda: _with_mean("lion", Symbol.beta2, Symbol.beta1),
}
"""Name of a theorem to its derivation."""
