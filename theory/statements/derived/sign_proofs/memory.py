"""Derivations of signum-gap and lion-gap: how far a mean of gradients is behind the gradient."""

import sympy as sp

from quadsim.theory.statements.derived.graph import CONSTANT_RATE
from quadsim.theory.statements.derived.sign_proofs.descent import along_step, hull, largest_form, norm_against_gap
from quadsim.theory.statements.derived.signs.definitions import Signs
from quadsim.theory.statements.derived.words import Steps, definitions, ge, le, rule, step
from quadsim.theory.statements.named import age, gap_l, rate
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import SumOver, Symbol

__all__ = ["with_mean"]

eta, gap = Symbol.eta, Symbol.gap
S_l, nu_l = Symbol.S_l, Symbol.nu_l
d, g, n1 = Signs.move_i, Signs.gradient_i, Signs.norm1_l


def _turned() -> Steps:
    """Return the steps to |Hd|_1 <= S_l."""
    other, turned = Signs.other_i, Signs.turned_i
    return (
        *definitions("signs of the turned step", "1-norm of the turned step", "product of both", "Cauchy-Schwarz in H"),
        *largest_form(Signs.other_form_l, "signs of the turned step", "other form"),
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
        *definitions("lag", "lag a step later", "lag of the mix"),
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


def with_mean(name: str, own: sp.Symbol, keep: sp.Symbol) -> Steps:
    """Return the derivation for the sign of a mix of g and its mean; `own` is the memory of the mean, `keep` that of the mix."""
    label, C, A = f"rule {name} with its mean", Signs.mix_weight, age
    size, v_l = S_l * (1 + 4 * A), Symbol.v_l
    return (
        rule(f"{name} with its mean"),
        step("moves", equal(d, sp.sign(Signs.mix_i)), label),
        *along_step(label),
        *definitions("direction along the gradient"),
        *largest_form(),
        *norm_against_gap(),
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
            "direction along the gradient",
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
        step("hull", hull(v_l, size, eta)),
        step("every block", le(gap_l, v_l), "fall", "hull", by="induction"),
        *definitions("gap by blocks"),
        step("the gap", le(gap, SumOver(v_l)), "every block", "gap by blocks", by="sum"),
    )
