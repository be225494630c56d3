"""A sign step on one sample of a stream: the mean of the gap after it, in closed form, from any given iterate."""

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.rule import symbols as rule_symbols
from quadsim.theory.statements.models.toy_models import of_part
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.steps import concludes, e, equal
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import SumOver, Symbol

__all__ = ["ONE_SAMPLE", "SIGNS", "STREAM_SIGNS"]

SIGNS = "signsgd on a stream"
ONE_SAMPLE = "x ~ N(0, H), one sample; normal noise of the labels of variance v^2, independent of x"

_eta, _g_i, _rho_i, _form = Symbol.eta, Symbol.mean_gradient_i, Symbol.alignment_i, Symbol.arcsine_form
_BOUND = Symbol.gap - 2 * _eta / sp.pi * SumOver(_g_i * sp.asin(_rho_i)) + _eta**2 / sp.pi * _form


def _proof() -> tuple[Step, ...]:
    g, mean, form = sp.Symbol("g", real=True), sp.Symbol("g's", real=True), sp.Symbol("s'Hs", real=True)
    corr, size, scale = sp.symbols("cov size scale", positive=True)
    after, _ = advance(RULES["signsgd"], e, g, values={rule_symbols.lr: _eta})
    sign_x, sign_y, sign_r = (sp.sign(sp.Symbol(name, real=True, nonzero=True)) for name in ("x_i", "x_j", "r"))
    return (
        Step(equal(after, e - _eta * sp.sign(g)), "a step of the rule signsgd"),
        Step(
            equal((e - _eta * form) ** 2 / 2, e**2 / 2 - _eta * e * form + _eta**2 * form**2 / 2),
            "the gap is a quadratic: f(e - eta s) = f(e) - eta (He)'s + (eta^2/2) s'Hs, "
            "shown for one coordinate of unit curvature",
        ),
        Step(
            "E sign(x) sign(y) = (2/pi) arcsin(rho) for jointly normal x and y of mean 0 and correlation rho",
            "Sheppard's formula",
        ),
        Step(
            equal(corr / (sp.sqrt(scale) * sp.sqrt(size)), corr / sp.sqrt(scale * size)),
            "g_i = x_i r with the residual r = x'e - v xi: sign(g_i) = sign(x_i) sign(r), E x_i r = (He)_i, E r^2 = e'He + v^2, "
            "so that E sign(g_i) = (2/pi) arcsin(rho_i)",
        ),
        Step(
            equal((sign_x * sign_r) * (sign_y * sign_r), sign_x * sign_y),
            "the residual drops out of a product of two signs, so that E sign(g_i) sign(g_j) = "
            "(2/pi) arcsin(H_ij/sqrt(H_ii H_jj))",
        ),
        Step(
            equal(-_eta * mean + _eta**2 / 2 * (2 / sp.pi * _form), -_eta * mean + _eta**2 / sp.pi * _form),
            "with E s'Hs = (2/pi) sum_ij H_ij arcsin(H_ij/sqrt(H_ii H_jj))",
        ),
    )  # fmt: skip


STREAM_SIGNS = (
    Theorem(
        name="sign-one-step",
        rules=(SIGNS,),
        kind="expectation",
        direction="equal",
        quantity=Symbol.signed_next,
        bound=_BOUND,
        oracle="stream",
        tight="always, in the mean, for one sample a step; for larger batches it is a comparison, no theorem",
        argument=_proof,
        conclusion=lambda bound: concludes(
            bound,
            Symbol.gap - _eta * (2 / sp.pi * SumOver(_g_i * sp.asin(_rho_i))) + _eta**2 / 2 * (2 / sp.pi * _form),
        ),
        hypotheses=(of_part(ONE_SAMPLE),),
        source="After Xiao, Marshall, Agarwala, Paquette, arXiv 2411.12135, in the exact form for finite P derived here.",
    ),
)
"""Statements about sign steps on a stream."""
