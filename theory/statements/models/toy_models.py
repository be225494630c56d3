"""Layer norm, softmax and a layer of many classes: exact statements about the parts of the toy models."""

import numpy as np
import sympy as sp

from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.steps import concludes, equal
from quadsim.theory.statements.theorem import Hypothesis, Theorem
from quadsim.theory.symbols import Symbol

__all__ = ["TOY_MODELS"]

_q, _eps, _across, _along = Symbol.variance, Symbol.eps_model, Symbol.part_across, Symbol.part_along
_C = Symbol.classes


def of_part(text: str) -> Hypothesis:
    """Return a condition on a part of a model, which no run on a quadratic meets."""
    return Hypothesis(text, lambda run: np.zeros((1, 1), dtype=bool))


def _layer_norm() -> tuple[Step, ...]:
    x, v, c, r, tau, mean = sp.symbols("x_centred v_centred c r tau mean", real=True)
    total_x, total_v = sp.symbols("sum_x_centred sum_v_centred", real=True)
    d, s = sp.symbols("d s", positive=True)
    moved = (x + tau * v) / sp.sqrt(_q + 2 * tau * c / d + tau**2 * r + _eps)
    root = sp.sqrt(_q + _eps)
    return (
        Step(
            equal((x + tau) - (mean + tau), x - mean),
            "a multiple tau of 1 moves an entry and the mean alike: layer norm does not see it, J1 = 0",
        ),
        Step(
            equal(moved.diff(tau).subs(tau, 0), v / root - x * c / (d * root**3)),
            "derivative of an entry x~/sqrt(|x~|^2/d + epsilon) along v, with c = x~'v~ and v~ = v - mean(v)",
        ),
        Step(
            equal(total_v / s - total_x * c / (d * s**3), 0),
            "the derivatives of all entries add up to 0, so that v'Jv = v~'Jv",
            (equal(total_v, 0), equal(total_x, 0)),
        ),
        Step(
            equal(
                (_across + _along) / root - (_along * d * _q) / (d * root**3),
                (_across + _along * _eps / (_q + _eps)) / root,
            ),
            "v~'Jv = |v~|^2/s - c^2/(d s^3), with |v~|^2 = across + along and c^2 = along |x~|^2 = along d q",
        ),
    )


def _softmax() -> tuple[Step, ...]:
    a, x, most, part, square = sp.symbols("a_i v_i M part_i square_i", nonnegative=True)
    first, second, third = sp.symbols("p r s", real=True)
    u, w = sp.symbols("u w", real=True)
    n1, n2 = sp.symbols("a_1 a_2", nonnegative=True)
    three = 1 - n1 - n2
    mean = n1 * first + n2 * second + three * third
    pairs = n1 * n2 * (first - second) ** 2 + n1 * three * (first - third) ** 2 + n2 * three * (second - third) ** 2
    weight, moment, more, squared = sp.symbols("A m_2 B k_2", nonnegative=True)
    centre, added = sp.symbols("m_1 k_1", real=True)
    return (
        Step(
            equal(n1 * first**2 + n2 * second**2 + three * third**2 - mean**2, pairs),
            "v'(diag(a) - aa')v = sum_(i<j) a_i a_j (v_i - v_j)^2, shown for three entries",
        ),
        Step(
            equal(
                (weight + more) * (moment + squared) - (centre + added) ** 2,
                (weight * moment - centre**2)
                + (more * squared - added**2)
                + (weight * squared + more * moment - 2 * centre * added),
            ),
            "induction on groups: A = sum a_i, m_1 = sum a_i v_i, m_2 = sum a_i v_i^2 of one, B, k_1, k_2 of another: "
            "A m_2 - m_1^2 grows by the pairs across, sum a_i a_j (v_i - v_j)^2 = A k_2 + B m_2 - 2 m_1 k_1",
        ),
        Step(sp.Le((u - w) ** 2, 2 * u**2 + 2 * w**2), "the square of u + w is not negative"),
        Step(
            equal(2 * a * (1 - a) * x**2, 2 * a * x**2 - 2 * a**2 * x**2),
            "sum over j != i of a_j is 1 - a_i: the pairs are at most sum_i 2 a_i (1 - a_i) v_i^2",
        ),
        Step(
            sp.Le(2 * part * square, 2 * most * square),
            "so that v'(diag(a) - aa')v <= 2 max_i a_i (1 - a_i) |v|^2, and it is never negative",
            (sp.Le(part, most),),
        ),
        Step(sp.Le(2 * a * (1 - a), sp.Rational(1, 2)), "which is 1/2 at most, and 0 where every a_i is 0 or 1"),
    )


def _rows() -> tuple[Step, ...]:
    size = sp.Symbol("S", positive=True)
    rest = sp.Symbol("R", positive=True)
    own, other = (1 / _C) * (1 - 1 / _C), -1 / _C**2
    z, zj = sp.symbols("z z_j", real=True)
    lse, mixed = sp.log(sp.exp(z) + rest), sp.log(sp.exp(z) + sp.exp(zj) + rest)
    total = sp.exp(z) + sp.exp(zj) + rest
    return (
        Step(
            equal(lse.diff(z, 2), (sp.exp(z) / (sp.exp(z) + rest)) * (1 - sp.exp(z) / (sp.exp(z) + rest))),
            "cross-entropy in a score of its own: p_i (1 - p_i), whatever the label",
        ),
        Step(
            equal(mixed.diff(z, zj), -(sp.exp(z) / total) * (sp.exp(zj) / total)),
            "and in two scores: -p_i p_j; scores are linear in the rows: H_ij = (p_i [i = j] - p_i p_j) S, S the mean of hh'",
        ),
        Step(
            equal(
                _C * (_C * (_C - 1) * other**2 * size),
                _C * (_C - 1) * other**2 * size + _C * own**2 * size,
            ),
            "with p = 1/C and |S|_F^2 in place of S: C times the C (C-1) blocks off the rows are those and the C blocks on them",
        ),
    )


def _hidden() -> tuple[Step, ...]:
    std, x, z = sp.Symbol("s", positive=True), sp.Symbol("x", real=True), sp.Symbol("z", real=True)
    rank = sp.Symbol("r", positive=True)
    law = sp.exp(-(x**2) / (2 * std**2)) / (std * sp.sqrt(2 * sp.pi))
    second, fourth = (sp.integrate(x**k * law, (x, -sp.oo, sp.oo)) for k in (2, 4))
    return (
        Step(
            equal(_C * (1 - 1 / _C), _C - 1),
            "M = I - 11'/C has C diagonal entries 1 - 1/C: its trace, which is the rank of a projection, is C - 1",
        ),
        Step(
            equal(-2 * z / _C + _C * z / _C**2, -z / _C),
            "MM = I - 2 11'/C + 1(1'1)1'/C^2 = I - 11'/C as 1'1 = C: M is a projection",
        ),
        Step(equal(second, std**2), "E x^2 = s^2 for x ~ N(0, s^2), by integration"),
        Step(equal(fourth, 3 * std**4), "E x^4 = 3 s^4, by integration"),
        Step(
            equal(rank * second**2, rank * std**4),
            "in a basis with r = C - 1 axes in the range of M, v_i'Mv_j is a sum of r products x_k y_k of independent entries, "
            "so that E (v_i'Mv_j)^2 = r s^4",
        ),
        Step(
            equal(rank * fourth + rank * (rank - 1) * second**2, (rank**2 + 2 * rank) * std**4),
            "and v_i'Mv_i is a sum of r squares: E (v_i'Mv_i)^2 = r 3 s^4 + r (r-1) s^4",
        ),
        Step(
            equal((_C + 1) * (_C - 1) * std**4, ((_C - 1) ** 2 + 2 * (_C - 1)) * std**4),
            "with r = C - 1, C + 1 times the first mean is the second, which is above 0 for C >= 2",
        ),
    )


TOY_MODELS = (
    Theorem(
        name="layer-norm-jacobian",
        rules=("layer norm",),
        kind="identity",
        direction="equal",
        quantity=Symbol.along_layer_norm,
        bound=(_across + _along * _eps / (_q + _eps)) / sp.sqrt(_q + _eps),
        statement=(
            r"v'J_{LN}(x)\,v = \frac{1}{\sqrt{q + \epsilon}} \Big(|v_\perp|^2 + \frac{\epsilon}{q + \epsilon} v_\parallel^2\Big),"
            r"\quad q = |\tilde x|^2/d: \text{ the symmetric } J_{LN} \text{ kills } 1, \text{ shrinks } \tilde x \text{ to }"
            r" \epsilon/(q+\epsilon) \text{ (0 without } \epsilon \text{) of its factor } 1/\sqrt{q+\epsilon} \text{ on the rest}"
        ),
        tight="always",
        argument=_layer_norm,
        conclusion=lambda bound: concludes(bound, (_across + _along * _eps / (_q + _eps)) / sp.sqrt(_q + _eps)),
        hypotheses=(
            of_part("J_LN is the Jacobian of layer norm with gain 1, at an x whose entries are not all equal"),
        ),
        source="Ba, Kiros, Hinton, arXiv 1607.06450; in the form derived here.",
    ),
    Theorem(
        name="softmax-jacobian",
        rules=("softmax",),
        kind="identity",
        direction="upper",
        quantity=Symbol.softmax_norm,
        bound=2 * Symbol.most_mixed,
        statement=(
            r"|\mathrm{diag}(a) - aa'|_2 \le 2 \max_i a_i (1 - a_i) \le \tfrac12"
            r"\quad (a_i \ge 0,\ \textstyle\sum_i a_i = 1; \text{ so } 0 \text{ at one-hot } a)"
        ),
        tight="at (1/2, 1/2, 0, ...), where it is 1/2, and at one-hot vectors, where it is 0",
        argument=_softmax,
        conclusion=lambda bound: concludes(bound, 2 * Symbol.most_mixed),
        hypotheses=(of_part("a is a probability vector, as the output of softmax"),),
        source="Derived here.",
    ),
    Theorem(
        name="output-row-share",
        rules=("linear layer under cross-entropy",),
        kind="identity",
        direction="equal",
        quantity=Symbol.row_share,
        bound=1 / _C,
        statement=(
            r"\frac{\sum_{i \ne j} |H_{ij}|_F^2}{\sum_{i,j} |H_{ij}|_F^2} = \frac1C,"
            r"\quad H_{ij} \text{ the block of rows } i, j \text{ of } V,\ f = V\sigma(Wx)"
        ),
        tight="always, for uniform predictions",
        argument=_rows,
        conclusion=lambda bound: concludes(bound, 1 / _C),
        hypotheses=(of_part("predictions are uniform, the loss is cross-entropy and there is no bias"),),
        source="After Dong, Zhang, Yao, Sun, arXiv 2505.02809, in the form derived here.",
    ),
    Theorem(
        name="hidden-row-ratio",
        rules=("hidden layer under cross-entropy",),
        kind="identity",
        direction="equal",
        quantity=Symbol.row_ratio,
        bound=1 / (_C + 1),
        statement=(
            r"\frac{\mathbb E (v_i'Mv_j)^2}{\mathbb E (v_i'Mv_i)^2} = \frac{1}{C+1}\ (i \ne j),"
            r"\quad M = I - 11'/C,\ v_i \text{ the columns of } V,\ H_{ij} = \tfrac1C (v_i'Mv_j)\,"
            r"\mathbb E_x[\sigma'_i \sigma'_j xx'] \text{ for ReLU}"
        ),
        tight="always, for uniform predictions and Gaussian V",
        argument=_hidden,
        conclusion=lambda bound: concludes(bound, 1 / (_C + 1)),
        hypotheses=(
            of_part("predictions are uniform; the entries of V are independent, normal, of mean 0 and of one variance"),
        ),
        source="After Dong, Zhang, Yao, Sun, arXiv 2505.02809, in the form derived here.",
    ),
)
"""Statements about parts of the toy models."""
