"""The definitions from which derivations start: formulas between named quantities, each true of every run on a quadratic.

They carry the linear algebra that is not algebra in one variable: the eigenbasis of H and of M = D^(-1/2) H D^(-1/2), extreme
eigenvalues, norms as sums, Rayleigh quotients, the expansion of a quadratic along a step. Every formula holds for any mode i of
any block l; a derivation may use them as they stand and no others.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import Total
from quadsim.simulator.rules.functions import symbols as rule_symbols
from quadsim.theory.statements.named import AT_WITNESS, POLYAK_MOMENTUM
from quadsim.theory.statements.recursion import advance, along_eigenvector
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import MaxOver, MinOver, SumOver, Symbol

__all__ = [
    "AMPLITUDE",
    "CONSTANT",
    "DEFINITIONS",
    "LEVELS",
    "NEEDS",
    "NEXT",
    "PREMISES",
    "RELATIONS",
    "SPEAKS_OF",
    "START",
    "STEPS",
    "Q",
]


class Q:
    """Quantities of derivations that no bound reads from a run; an index `_i` or `_l` as in `Symbol`."""

    error_i, error_next_i, start_i = sp.symbols("e_i e_next_i c_i", real=True)
    """e_t, e_{t+1} and e_0 on eigenvector i of H."""
    scaled_i, scaled_next_i = sp.symbols("x_i x_next_i", real=True)
    """D^(1/2) e_t and D^(1/2) e_{t+1} on eigenvector i of M = D^(-1/2) H D^(-1/2), D = diag|g_0|."""
    form_l = sp.Symbol("sHs_l", nonnegative=True)
    """s_l'H_l s_l for s = sign(g)."""
    gHg_l = sp.Symbol("gHg_l", nonnegative=True)
    """g_l'H_l g_l."""
    signs_l = sp.Symbol("ss_l", nonnegative=True)
    """|s_l|^2 for s = sign(g)."""
    step_i, sign_i = sp.symbols("p_i s_i", real=True)
    """Coordinate i of the step that the rule adds at t, and of sign(g_t)."""
    inner, square, signs = sp.symbols("p_s p_p s_s", positive=True)
    """-p's, p'p and s's for that step p and s = sign(g_t) != 0."""
    mean_square_i, mean_square_next_i = sp.symbols("v_i v_next_i", nonnegative=True)
    """E e_t^2 and E e_{t+1}^2 on eigenvector i of H."""
    mean, mean_next, second, second_next = sp.symbols("m m_next w w_next", real=True)
    """Mean and second moment of a row's weight along a shared feature of a head, in units of eta, at t and t + 1."""
    gap_1, gap_after = sp.symbols("gap_1 gap_after", nonnegative=True)
    """The gap at step 1, and at step t + 2."""
    on_L, on_mu, ratio_L, ratio_mu = sp.symbols("gap_L gap_mu r_L r_mu", nonnegative=True)
    """Parts of the gap on an eigenvector of L and of mu, and the factors of both from step to step."""
    previous_i, previous_next_i, U_i, V_i, angle_i = sp.symbols("bp_i bp_next_i U_i V_i angle_i", real=True)
    """b e_{t-1} and b e_t of heavy-ball on eigenvector i; U_t(x) and U_{t-1}(x) of Chebyshev; 2 b x = 1 + beta - eta lambda."""
    root = sp.Symbol("b", nonnegative=True)
    """(sqrt L - sqrt mu)/(sqrt L + sqrt mu)."""
    scale = sp.Symbol("k", positive=True)
    """mu L times half the squared scale of the start of gd-lower."""


START: Mapping[Any, Any] = {
    Symbol.gap: Symbol.gap_0,
    Symbol.gap_next: Q.gap_1,
    Symbol.t: 0,
    Q.error_i: Q.start_i,
    Q.mean_square_i: Q.start_i**2,
    Q.mean: 0,
    Q.second: 0,
    Q.previous_i: Q.root * Q.start_i,  # from rest
    Q.U_i: 1,
    Q.V_i: 0,
}
"""What a quantity at step t is at step 0."""

NEXT: Mapping[Any, Any] = {
    Symbol.gap: Symbol.gap_next,
    Symbol.gap_next: Q.gap_after,
    Symbol.t: Symbol.t + 1,
    Q.error_i: Q.error_next_i,
    Q.mean_square_i: Q.mean_square_next_i,
    Q.mean: Q.mean_next,
    Q.second: Q.second_next,
    Q.previous_i: Q.previous_next_i,
    Q.U_i: 2 * Q.angle_i * Q.U_i - Q.V_i,
    Q.V_i: Q.U_i,
}
"""What a quantity at step t is at step t + 1."""

_s = Symbol
AMPLITUDE = _s.eta * (1 - _s.beta1) / (2 * (1 + _s.beta1))
"""|e| on the orbit of period 2 of Adam without bias correction."""


def _le(*chain: sp.Expr) -> Any:
    return sp.And(*(sp.Le(a, b, evaluate=False) for a, b in itertools.pairwise(chain)))


DEFINITIONS: Mapping[str, Any] = {
    # The spectral theorem for H, block by block.
    "gap": equal(_s.gap, SumOver(_s.lambda_i * Q.error_i**2 / 2)),
    "next gap": equal(_s.gap_next, SumOver(_s.lambda_i * Q.error_next_i**2 / 2)),
    "parts": equal(_s.part_i, _s.lambda_i * Q.start_i**2 / 2),
    "eigenvalues": _le(_s.mu, _s.lambda_i, _s.L),
    "eigenvalues of a block": _le(_s.mu_l, _s.lambda_i, _s.L_l),
    "blocks": _le(_s.L_l, _s.L),
    "condition": equal(_s.kappa, _s.L / _s.mu),
    "condition of a block": equal(_s.kappa_l, _s.L_l / _s.mu_l),
    "largest above smallest": _le(_s.mu, _s.L),
    "positive gap": sp.Gt(_s.gap, 0, evaluate=False),
    # Norms and weights as sums over modes and blocks.
    "norm": equal(_s.norm2_squared, SumOver((_s.lambda_i * Q.error_i) ** 2)),
    "norm by blocks": equal(_s.norm2_squared, SumOver(_s.norm2_squared_l)),
    "sizes": equal(_s.P, SumOver(_s.P_l)),
    "weighted smoothness": equal(_s.Lambda_G * _s.norm2_squared, SumOver(_s.L_l * _s.norm2_squared_l)),
    "mean smoothness": equal(_s.P * _s.Lambda_P, SumOver(_s.P_l * _s.L_l)),
    # A quadratic along its step, Rayleigh quotients, and norms against the gap.
    "gradient step": equal(_s.gap_next, _s.gap - _s.length * _s.norm2_squared + _s.length**2 / 2 * SumOver(Q.gHg_l)),
    "sign step": equal(_s.gap_next, _s.gap - _s.length * _s.norm1 + _s.length**2 / 2 * SumOver(Q.form_l)),
    "Rayleigh of the gradient": _le(Q.gHg_l, _s.L_l * _s.norm2_squared_l),
    "Rayleigh of the signs": _le(Q.form_l, _s.L_l * Q.signs_l),
    "signs": _le(Q.signs_l, _s.P_l),
    "largest form of signs": _le(SumOver(Q.form_l), _s.L_inf),
    "norm against gap": sp.Ge(_s.norm1**2, 2 * _s.nu * _s.gap, evaluate=False),
    # Frozen Adam: M = D^(-1/2) H D^(-1/2), whose eigenvectors lie in the blocks.
    "gap in scaled modes": equal(_s.gap, SumOver(_s.sigma_i * Q.scaled_i**2 / 2)),
    "next gap in scaled modes": equal(_s.gap_next, SumOver(_s.sigma_i * Q.scaled_next_i**2 / 2)),
    "scaled eigenvalues": sp.And(
        sp.Le(_s.sigma_i * MinOver(_s.C1_l), 1, evaluate=False),
        sp.Ge(_s.sigma_i * _s.C2_l * _s.kappa_l, 1, evaluate=False),
    ),
    "squares of constants": sp.And(
        equal(MinOver(_s.C1_l**2), MinOver(_s.C1_l) ** 2), equal(MaxOver(_s.C2_l**2), MaxOver(_s.C2_l) ** 2)
    ),
    # What is remembered of the steps before t.
    "least 1-norm": _le(_s.least_norm1, _s.norm1),
    "least norm": _le(_s.least_norm2_squared, _s.norm2_squared),
    "largest weighted smoothness": _le(_s.Lambda_G, _s.largest_Lambda_G),
    "no gap is negative": sp.Ge(_s.gap, 0, evaluate=False),
    # gd-lower: the error on one eigenvector of L and one of mu, in the proportion mu : L.
    "both ends": sp.And(
        equal(_s.gap, Q.on_L + Q.on_mu),
        equal(_s.gap_next, Q.ratio_L * Q.on_L + Q.ratio_mu * Q.on_mu),
        equal(Q.gap_after, Q.ratio_L**2 * Q.on_L + Q.ratio_mu**2 * Q.on_mu),
    ),
    "witness": sp.And(
        equal(_s.gap_0, Q.scale * (_s.mu + _s.L)),
        equal(Q.gap_1, Q.scale * (_s.mu * Q.ratio_L + _s.L * Q.ratio_mu)),
    ),
    # heavy-ball, on Chebyshev polynomials of the second kind.
    "gap at the start": equal(_s.gap_0, SumOver(_s.part_i)),
    "root of beta": equal(Q.root, (sp.sqrt(_s.L) - sp.sqrt(_s.mu)) / (sp.sqrt(_s.L) + sp.sqrt(_s.mu))),
    "angle of a mode": sp.And(
        equal(2 * Q.root * Q.angle_i, 1 + Q.root**2 - _s.eta * _s.lambda_i), _le(-1, Q.angle_i, sp.S.One)
    ),
    "Chebyshev": sp.And(_le(-_s.t - 1, Q.U_i, _s.t + 1), _le(-_s.t, Q.V_i, _s.t)),
    # Means over noise that is independent of the iterate, and over mini-batches of a head.
    "mean gap": equal(_s.gap, SumOver(_s.lambda_i * Q.mean_square_i / 2)),
    "walk": sp.And(
        equal(Q.mean_next, Q.mean - _s.drift),
        equal(Q.second_next, Q.second - 2 * Q.mean * _s.drift + 1 - _s.tie),
    ),
    "growth": equal(_s.growth, _s.classes * _s.features * _s.eta**2 * Q.second),
    # Adam on its orbit, and the angle between a step and the signs.
    "start on the orbit": equal(Q.start_i**2, AMPLITUDE**2),
    "cosine": equal(_s.cosine, Q.inner / (sp.sqrt(Q.square) * sp.sqrt(Q.signs))),
    "stride": equal(_s.stride, sp.sqrt(Q.square) / sp.sqrt(Q.signs)),
    "inner product": equal(Q.inner, SumOver(-Q.step_i * Q.sign_i)),
    "square of the step": equal(Q.square, SumOver(Q.step_i**2)),
    "square of the signs": equal(Q.signs, SumOver(Q.sign_i**2)),
    "a step was made": sp.Ge(_s.t, 1, evaluate=False),
}
"""Label to formula."""

_NO_ZERO = ("no entry of g_0 is 0",)
_UNIFORM = ("predictions are uniform, labels equally frequent and drawn independently",)

NEEDS: Mapping[str, tuple[str, ...]] = {
    "gap in scaled modes": _NO_ZERO,
    "next gap in scaled modes": _NO_ZERO,
    "scaled eigenvalues": _NO_ZERO,
    "largest form of signs": ("blocks of at most 12 coordinates, whose signs are enumerated",),
    "both ends": ("the error sits on one eigenvector of L and one of mu, in the proportion mu : L",),
    "witness": ("the error sits on one eigenvector of L and one of mu, in the proportion mu : L",),
    "rule heavy-ball": ("momentum = ((sqrt L - sqrt mu)/(sqrt L + sqrt mu))^2",),
    "walk": _UNIFORM,
    "growth": _UNIFORM,
    "start on the orbit": ("every |e_0,i| is lr (1-beta1)/(2 (1+beta1))",),
    "rule adam on its orbit": (
        "eps = 0",
        "H is diagonal",
        "every |e_0,i| is lr (1-beta1)/(2 (1+beta1))",
        "no bias correction and memories on the orbit (adam-on-orbit), or beta1 = 0",
    ),
    "rule adam without memory": ("eps = 0", "beta1 = 0", "beta2 = 0"),
}
"""Label of a definition, or of the step of a rule, to the hypotheses without which it says nothing."""

RELATIONS: Mapping[str, Any] = {
    "the error sits on one eigenvector of L and one of mu, in the proportion mu : L": AT_WITNESS,
    "momentum = ((sqrt L - sqrt mu)/(sqrt L + sqrt mu))^2": equal(_s.momentum, POLYAK_MOMENTUM),
    "beta1 = 0": equal(_s.beta1, sp.S.Zero),
    "beta2 = 0": equal(_s.beta2, sp.S.Zero),
}
"""Text of a hypothesis in NEEDS to its relation, for those that have one: under its text no other may stand in its place."""


def _gradient_rule(name: str) -> Any:
    """Return the length of a rule's step along -g, as an equation for `Symbol.length`, from the Rule."""
    g, values = rule_symbols.g, {Total(rule_symbols.g**2): _s.norm2_squared}
    values[Total(rule_symbols.L_l * rule_symbols.g**2)] = _s.Lambda_G * _s.norm2_squared
    step = RULES[name].step.subs(values).subs(rule_symbols.lr, _s.eta).doit()
    return equal(_s.length, sp.simplify(-step / g))


def _sign_rule(name: str) -> Any:
    g, values = rule_symbols.g, {Total(sp.Abs(rule_symbols.g)): _s.norm1, Total(rule_symbols.L_l): _s.P * _s.Lambda_P}
    step = RULES[name].step.subs(values).subs(rule_symbols.lr, _s.eta).doit()
    return equal(_s.length, sp.simplify(-step / sp.sign(g)))


def _mode_rule(name: str) -> Any:
    values = {rule_symbols.lr: _s.eta, rule_symbols.L_l: _s.L_l, rule_symbols.mu_l: _s.mu_l}
    factor = along_eigenvector(RULES[name], values).subs(sp.Symbol("lambda", positive=True), _s.lambda_i)
    return equal(Q.error_next_i, factor * Q.error_i)


def _frozen_rule(name: str) -> Any:
    """Return the step of frozen Adam on x = D^(1/2) e along an eigenvector of M: there g = D^(1/2) sigma x.

    Raises:
        ValueError: the rule does not keep |g_0|.
    """
    rule = RULES[name]
    (memory,) = rule.states
    d = sp.Symbol("d", positive=True)
    start = rule.start[memory].subs(rule_symbols.g, sp.Symbol("g_0", real=True))
    if start != sp.Abs(sp.Symbol("g_0", real=True)) or rule.update[memory] != memory:
        raise ValueError(f"rule must keep |g_0|, got {name} with another memory; derive it otherwise.")
    e = Q.scaled_i / sp.sqrt(d)
    after, _ = advance(rule, e, sp.sqrt(d) * _s.sigma_i * Q.scaled_i, {memory: d}, {rule_symbols.lr: _s.eta})
    return equal(Q.scaled_next_i, sp.expand(sp.simplify(sp.sqrt(d) * after)))


def _both_ends(_: str) -> Any:
    factor, eigenvalue = along_eigenvector(RULES["gd"], {rule_symbols.lr: _s.eta}), sp.Symbol("lambda", positive=True)
    at_L, at_mu = (factor.subs(eigenvalue, end) ** 2 for end in (_s.L, _s.mu))
    return sp.And(equal(Q.ratio_L, at_L), equal(Q.ratio_mu, at_mu))


def _with_noise(_: str) -> Any:
    """Return the step of E e^2 for gd with noise of mean 0 and variance s^2 that is independent of e."""
    e, noise = sp.Symbol("e", real=True), sp.Symbol("xi", real=True)
    after, _states = advance(RULES["gd"], e, _s.lambda_i * e + noise, values={rule_symbols.lr: _s.eta})
    powers = sp.Poly(sp.expand(after**2), e, noise)
    means = {(2, 0): Q.mean_square_i, (1, 1): 0, (0, 2): _s.noise_std**2, (1, 0): None, (0, 1): 0, (0, 0): 1}
    return equal(Q.mean_square_next_i, sp.factor_terms(sum(c * means[m] for m, c in powers.terms())))


def _on_orbit(_: str) -> Any:
    """Return that a step on the orbit turns the error round, for the rule with and without bias correction.

    Raises:
        ValueError: the rule leaves the orbit.
    """
    rule = RULES["adam"]
    m, v = rule.states
    p1, p2 = rule.clocks
    b1, b2, eps = rule.hyperparameters
    c = sp.Symbol("c", positive=True)  # (1-beta1)/(1+beta1)
    last, rest = sp.Symbol("p", nonnegative=True), sp.Symbol("h", positive=True)  # beta2^(t-1), and 1 - beta2^t
    a, lam, beta2 = _s.eta * c / 2, _s.lambda_i, _s.beta2
    memory = (1 - c) / (1 + c)
    plain = {rule_symbols.lr: _s.eta, b1: memory, b2: beta2, eps: sp.S.Zero, p1: sp.S.Zero, p2: sp.S.Zero}
    after, states = advance(rule, a, lam * a, {m: -c * lam * a, v: (lam * a) ** 2}, plain)
    a0 = _s.eta / 2
    here = {rule_symbols.lr: _s.eta, b1: sp.S.Zero, b2: beta2, eps: sp.S.Zero, p1: sp.S.Zero, p2: 1 - rest}
    _after, corrected = advance(
        rule,
        a0,
        lam * a0,
        {m: sp.Symbol("m", real=True), v: (lam * a0) ** 2 * (1 - last)},
        {**here, p2: beta2 * last},
    )
    turned = a0 + rule.step.subs({**here, m: lam * a0, v: (lam * a0) ** 2 * rest}).doit()
    wanted = (
        (after, -a),
        (states[m], c * lam * a),
        (states[v], (lam * a) ** 2),
        (turned, -a0),
        (corrected[m], lam * a0),
        (corrected[v], (lam * a0) ** 2 * (1 - beta2 * last)),
    )
    if any(sp.simplify(found - expected) != 0 for found, expected in wanted):
        raise ValueError("rule must stay on the orbit of period 2, got adam with another step; derive it otherwise.")
    return equal(Q.error_next_i, -Q.error_i)


def _with_momentum(_: str) -> Any:
    """Return the step of heavy-ball with m = (e_{t-1} - e_t)/eta, which keeps that form, in b e_{t-1} and beta = b^2.

    Raises:
        ValueError: the memory takes another form.
    """
    rule, previous = RULES["heavy-ball"], sp.Symbol("e_previous", real=True)
    (memory,), (beta,) = rule.states, rule.hyperparameters
    values = {rule_symbols.lr: _s.eta, beta: Q.root**2}
    before = {memory: (previous - Q.error_i) / _s.eta}
    after, memories = advance(rule, Q.error_i, _s.lambda_i * Q.error_i, before, values)
    if sp.simplify(memories[memory] - (Q.error_i - after) / _s.eta) != 0 or rule.start.get(memory, 0) != 0:
        raise ValueError("rule must keep m = (e_previous - e)/lr from rest, got heavy-ball with another memory.")
    after = sp.expand(after).subs(Q.root**2 * previous, Q.root * Q.previous_i)
    return sp.And(equal(Q.error_next_i, sp.collect(after, Q.error_i)), equal(Q.previous_next_i, Q.root * Q.error_i))


def _without_memory(_: str) -> Any:
    """Return the step of adam with beta1 = beta2 = eps = 0: that of signsgd, where g is not 0 and where it is.

    Raises:
        ValueError: the rule has another step.
    """
    adam, g = RULES["adam"], sp.Symbol("g", positive=True)
    values = {rule_symbols.lr: _s.eta} | dict.fromkeys(adam.hyperparameters, sp.S.Zero)
    m, _v = adam.states
    for gradient in (g, -g):
        after, _states = advance(adam, sp.S.Zero, gradient, values=values)
        other, _states = advance(RULES["signsgd"], sp.S.Zero, gradient, values={rule_symbols.lr: _s.eta})
        if sp.simplify(after - other) != 0 or sp.simplify(after + _s.eta * sp.sign(gradient)) != 0:
            raise ValueError("rule must step along the sign, got adam with another step; derive it otherwise.")
    if adam.step.subs({m: 0, list(adam.hyperparameters)[2]: 0}) != 0:
        raise ValueError("rule must not move where g is 0, got adam that does; derive it otherwise.")
    return equal(Q.step_i, -_s.eta * Q.sign_i)


STEPS: Mapping[str, Callable[[str], Any]] = {
    "gd": _mode_rule,
    "block-gd": _mode_rule,
    "gd along the gradient": lambda _: _gradient_rule("gd"),
    "gd-lambda": _gradient_rule,
    "signsgd": _sign_rule,
    "sign-lambda": _sign_rule,
    "adam-frozen": _frozen_rule,
    "gd at both ends": _both_ends,
    "gd with noise": _with_noise,
    "heavy-ball": _with_momentum,
    "adam on its orbit": _on_orbit,
    "adam without memory": _without_memory,
}
"""What the step of a rule is called, to the function that works it out; of most, the name of the rule itself."""

_GD = ("gd", "sgd")

SPEAKS_OF: Mapping[str, tuple[str, ...]] = {
    "rule gd": _GD,
    "rule block-gd": ("block-gd",),
    "rule gd along the gradient": _GD,
    "rule gd-lambda": ("gd-lambda",),
    "rule signsgd": ("signsgd",),
    "rule sign-lambda": ("sign-lambda",),
    "rule adam-frozen": ("adam-frozen",),
    "rule gd at both ends": _GD,
    "rule gd with noise": _GD,
    "rule heavy-ball": ("heavy-ball",),
    "rule adam on its orbit": ("adam", "adam-on-orbit"),
    "rule adam without memory": ("adam",),
    "gradient step": (*_GD, "gd-lambda"),
    "sign step": ("signsgd", "sign-lambda"),
    "walk": ("signsgd on a softmax head",),
}
"""Label of a rule's step, or of a definition that holds of some rules only, to the names of these rules."""

PREMISES: Mapping[str, tuple[Any, ...]] = {
    "angle of a mode": (_le((1 + Q.root**2 - _s.eta * _s.lambda_i) ** 2, 4 * Q.root**2),),
    "Chebyshev": (DEFINITIONS["angle of a mode"],),
}
"""Label of a definition that holds only under a condition, to the claims that it does; see `graph`."""

ORACLES: Mapping[str, str] = {"rule gd with noise": "additive"}
"""Label to the oracle of gradients that it speaks of; all others speak of the full gradient."""

MEANS = frozenset(["rule gd with noise", "mean gap", "walk", "growth"])
"""Labels that speak of means over noise or mini-batches, not of single runs."""

LEVELS: Mapping[str, int] = {"least 1-norm": 1, "least norm": 1, "largest weighted smoothness": 1}
"""Label of a definition to 1 if it holds at the steps before t alone, 2 if at those before t - 1; see `graph`."""

CONSTANT = frozenset([
    Q.start_i,
    Q.gap_1,
    Q.root,
    Q.angle_i,
    Q.scale,
    _s.least_norm1,
    _s.least_norm2_squared,
    _s.largest_Lambda_G,
])
"""Quantities that do not change along a run, beside those that a run is asked for; of memories, those of one last step t."""
