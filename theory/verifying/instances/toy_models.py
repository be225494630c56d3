"""Instances of the statements about layer norm, softmax and many classes: in exact arithmetic, and on the models' own code."""

import inspect
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import product
from typing import Any

import lazy_loader
import numpy as np
import sympy as sp

from quadsim.simulator.models.base import normalise
from quadsim.theory.checking.floats import STANDARD_ERRORS
from quadsim.theory.checking.instance import InstanceCheck
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import Symbol
from quadsim.theory.verifying.draws import Draw, fraction

torch: Any = lazy_loader.load("torch")

__all__ = [
    "check_layer_norm", "check_output_rows", "check_row_ratio", "check_softmax", "compared", "hidden_products",
    "of_hidden_rows", "of_layer_norm", "of_output_rows", "of_softmax", "value",
]  # fmt: skip

_ROUNDING = 1e-9
_ON_STACKS = 50  # one instance in so many is checked on a stack of the models, which takes seconds
_NETWORKS = 16


def value(theorem: Theorem, values: Mapping[sp.Symbol, Any]) -> sp.Expr:
    """Return the bound of a statement at rational values, exactly."""
    return theorem.bound.subs({symbol: sp.Rational(number) for symbol, number in values.items()})


def compared(theorem: Theorem, found: sp.Expr, bound: sp.Expr, words: str) -> InstanceCheck:
    """Compare the quantity with its bound in exact arithmetic, in the direction of the statement."""
    holds = {"equal": found == bound, "upper": found <= bound, "lower": found >= bound}[theorem.direction]
    margin = float(found / bound) if bound else 1.0
    return InstanceCheck("verified" if holds else "refuted", margin, "" if holds else f"{words}: {found}, not {bound}")


def _rounded(found: float, bound: float, scale: float, words: str, allowed: float = _ROUNDING) -> InstanceCheck:
    """Compare in floats: the difference may be `allowed` times a scale."""
    margin = abs(found - bound) / (allowed * scale) if found != bound else 0.0
    if margin <= 1.0:
        return InstanceCheck("holds", margin)
    return InstanceCheck("undecided", margin, f"{words}: {found:.12g} against {bound:.12g}")


# Layer norm.


def _parts(x: Sequence[Fraction], v: Sequence[Fraction]) -> dict[sp.Symbol, Fraction]:
    """Return variance and the squared parts of v across and along x~, exactly."""
    centred, moved = ([a - sum(y, Fraction(0)) / len(y) for a in y] for y in (x, v))
    squared = sum((a * a for a in centred), Fraction(0))
    along = sum((a * b for a, b in zip(centred, moved, strict=True)), Fraction(0)) ** 2 / squared
    whole = sum((b * b for b in moved), Fraction(0))
    return {Symbol.variance: squared / len(x), Symbol.part_along: along, Symbol.part_across: whole - along}


def check_layer_norm(theorem: Theorem, x: Sequence[Fraction], v: Sequence[Fraction], eps: Fraction) -> InstanceCheck:
    """Check layer-norm-jacobian at rational x and v, exactly, from differences of the variance, which is a quadratic.

    Both sides are compared after multiplication by sqrt(q + eps): with s^2 = q + eps, s v'Jv = v'(v~ - x~ ds^2/(2 s^2)).
    """

    def variance(y: Sequence[Fraction]) -> Fraction:
        mean = sum(y, Fraction(0)) / len(y)
        return sum(((a - mean) ** 2 for a in y), Fraction(0)) / len(y)

    parts = _parts(x, v)
    change = (
        variance([a + b for a, b in zip(x, v, strict=True)]) - variance([a - b for a, b in zip(x, v, strict=True)])
    ) / 2
    square = parts[Symbol.variance] + eps
    mean_x, mean_v = (sum(y, Fraction(0)) / len(y) for y in (x, v))
    found = sum(
        (b * (b - mean_v - (a - mean_x) * change / (2 * square)) for a, b in zip(x, v, strict=True)), Fraction(0)
    )
    bound = value(theorem, {**parts, Symbol.eps_model: eps})
    words = f"x = ({', '.join(map(str, x))}), v = ({', '.join(map(str, v))}), epsilon = {eps}, squared and times q + epsilon"
    return compared(theorem, sp.Rational(found) ** 2, sp.expand(bound**2 * sp.Rational(square)), words)


def of_layer_norm(theorem: Theorem, draw: Draw, number: int, exact: bool) -> InstanceCheck:
    """Check a random x and v: exactly, or by automatic differentiation of the models' own layer norm with its epsilon."""
    width = int(draw.integers(2, 9))
    x, v = ([fraction(draw) * int(draw.choice([-1, 1])) for _ in range(width)] for _ in range(2))
    if len(set(x)) == 1:
        x[0] += 1
    if exact or number % 2:
        return check_layer_norm(theorem, x, v, Fraction(int(draw.integers(0, 5)), 8))
    scale = 10.0 ** draw.uniform(-3, 2)  # at small scales epsilon is what counts
    at, along = (torch.tensor([float(a) for a in y], dtype=torch.float64) for y in (x, v))
    gain = torch.ones((1, width), dtype=torch.float64)
    at = at * scale
    _, moved = torch.autograd.functional.jvp(lambda y: normalise(y[None, None], gain)[0, 0], at, along)
    parts = _parts([Fraction(float(a)) for a in at], v)
    eps = Fraction(str(inspect.signature(torch.nn.functional.layer_norm).parameters["eps"].default))
    bound = float(value(theorem, {**parts, Symbol.eps_model: eps}))
    size = float(along @ along) / float(np.sqrt(float(parts[Symbol.variance] + eps)))
    return _rounded(float(along @ moved), bound, size, f"width {width}, scale {scale:.3g}, on the model's layer norm")


# Softmax.


def check_softmax(theorem: Theorem, a: Sequence[Fraction]) -> InstanceCheck:
    """Check softmax-jacobian at a rational probability vector: bound I - (diag(a) - aa') is positive semi-definite, exactly."""
    mixed = max(x * (1 - x) for x in a)
    bound = value(theorem, {Symbol.most_mixed: mixed})
    rest = [[(bound - x if i == j else sp.S.Zero) + x * y for j, y in enumerate(a)] for i, x in enumerate(a)]
    floats = np.array([float(x) for x in a])
    norm = float(np.linalg.eigvalsh(np.diag(floats) - np.outer(floats, floats)).max())
    margin = norm / float(bound) if bound else 1.0
    if _is_semidefinite([[Fraction(int(x.p), int(x.q)) for x in map(sp.Rational, row)] for row in rest]):
        return InstanceCheck("verified", margin)
    return InstanceCheck("refuted", margin, f"a = ({', '.join(map(str, a))}): the norm {norm:.6g} is above {bound}")


def _is_semidefinite(matrix: list[list[Fraction]]) -> bool:
    """Whether a symmetric rational matrix is positive semi-definite, by elimination."""
    while matrix:
        (pivot, *row), rest = matrix[0], matrix[1:]
        if pivot < 0 or (pivot == 0 and any(row)):
            return False
        factors = [x / pivot if pivot else Fraction(0) for x in row]
        matrix = [
            [x - f * y for x, y in zip(line[1:], row, strict=True)] for f, line in zip(factors, rest, strict=True)
        ]
    return True


def of_softmax(theorem: Theorem, draw: Draw, number: int, exact: bool) -> InstanceCheck:
    """Check a random vector exactly, one-hot and two-valued ones among them, or the Jacobian of torch's softmax."""
    size = int(draw.integers(2, 7))
    if exact or number % 2:
        weights = draw.integers(0, [1, 2, 9][int(draw.integers(3))] + 1, size=size)
        weights[int(draw.integers(size))] += 1
        return check_softmax(theorem, [Fraction(int(w), int(weights.sum())) for w in weights])
    scores = torch.tensor(draw.normal(size=size) * 10.0 ** draw.uniform(-2, 2), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda z: torch.softmax(z, dim=0), scores).numpy()
    a = torch.softmax(scores, dim=0).numpy()
    bound = float(theorem.bound.subs(Symbol.most_mixed, sp.Float(float(np.max(a * (1 - a))))))
    norm = float(np.linalg.norm(jacobian, 2))
    verdict = "holds" if norm <= bound + _ROUNDING else "undecided"
    return InstanceCheck(
        verdict, norm / bound if bound > 1e-12 else 0.0, "" if verdict == "holds" else f"{norm} above {bound}"
    )


# Rows of many classes.


def check_output_rows(theorem: Theorem, inputs: Sequence[Sequence[int]], classes: int) -> InstanceCheck:
    """Check output-row-share on the Hessian at uniform predictions, exactly, with whole-number inputs (N, F).

    The Hessian is that of the mean over samples of h h' times the matrix of second derivatives in the scores.
    """
    h = [list(map(int, row)) for row in inputs]
    moment = sp.Matrix(h).T * sp.Matrix(h) / len(h)
    scores = sp.eye(classes) / classes - sp.ones(classes, classes) / classes**2
    hessian = sp.kronecker_product(scores, moment)
    size = moment.shape[0]
    whole = sum(x**2 for x in hessian)
    own = sum(x**2 for c in range(classes) for x in hessian[c * size : (c + 1) * size, c * size : (c + 1) * size])
    words = f"{classes} classes, {len(h)} samples of {size} features"
    return compared(theorem, 1 - own / whole, value(theorem, {Symbol.classes: classes}), words)


def _network(classes: int, problems: int, seed: int, head: float) -> Any:
    """Return a stack of networks with one hidden layer, its parameters with the head's multiplied, and the head's weights."""
    from quadsim.simulator.models import MLP, Gaussians, ToyProblem

    task = Gaussians(features=4, classes=classes, sequences=4 * classes)
    model = MLP(8, 1, activation="relu", embedded=False)
    problem = ToyProblem.generate(model, task, problems=problems, seed=seed)
    theta = problem.start.copy()
    names = [p.name for p in problem.parameters]
    sizes = [p.size for p in problem.parameters]
    begin = sum(sizes[: names.index("head")])
    theta[:, begin : begin + classes * 8] *= head
    return problem, theta, theta[:, begin : begin + classes * 8].reshape(problems, classes, 8)


def of_output_rows(theorem: Theorem, draw: Draw, number: int, exact: bool) -> InstanceCheck:
    """Check random inputs and classes exactly, or the head of a network with one hidden layer and a head of zeros."""
    classes = int(draw.integers(2, 8))
    if exact or number % _ON_STACKS:
        inputs = draw.integers(-3, 4, size=(4, int(draw.integers(1, 4))))
        inputs[0] = np.abs(inputs[0]) + 1
        return check_output_rows(theorem, inputs.tolist(), classes)
    from quadsim.simulator.curvature.tensors import row_shares

    problem, theta, _ = _network(classes, 1, int(draw.integers(2**31)), 0.0)
    shares = row_shares(problem.stack(), theta)
    found = float(shares.within[0, shares.tensors.index("head")])
    return _rounded(found, float(value(theorem, {Symbol.classes: classes})), 1.0, f"a network of {classes} classes")


@lru_cache(maxsize=8)
def _mean_squares(classes: int) -> tuple[int, int]:
    """Return E (v_i'Mv_j)^2 and E (v_i'Mv_i)^2 up to one factor, exactly.

    Entries sqrt(3) w with w = 0, 1, -1 at 2/3, 1/6, 1/6 have the moments of a normal variable up to the fifth, and each entry
    enters with the fourth power at most. Times C, M is a matrix of whole numbers.
    """
    points = np.array(list(product((0, 1, -1), repeat=classes)))
    weights = np.where(points == 0, 4, 1).prod(axis=1)
    turned = points @ (classes * np.eye(classes, dtype=np.int64) - 1)
    crossed = (points @ turned.T) ** 2
    other = int(weights @ crossed @ weights)
    own = int(weights @ (points * turned).sum(axis=1) ** 2) * 6**classes
    return other, own


def check_row_ratio(theorem: Theorem, classes: int) -> InstanceCheck:
    """Check hidden-row-ratio for C classes, exactly, from a law of three points with the moments of the normal one."""
    other, own = _mean_squares(classes)
    return compared(theorem, sp.Rational(other, own), value(theorem, {Symbol.classes: classes}), f"{classes} classes")


def hidden_products(classes: int, problems: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return v_i'Mv_j read off the Hessians of hidden rows of networks, and from their heads themselves, each (M, 8, 8).

    The heads are a thousandth of their start, so that predictions are uniform up to a thousandth; their own scale is 1 again in
    what is returned. A block of hidden rows is v_i'Mv_j/C times the mean of xx' over the samples at which both units are active.
    """
    from quadsim.simulator.curvature.hessian import OneInstance, as_points

    small = 1e-3
    problem, theta, heads = _network(classes, problems, seed, small)
    stack = problem.stack()
    points = as_points(stack, theta)
    size = 8 * 4
    names = [p.name for p in problem.parameters]
    begin = sum(p.size for p in problem.parameters[: names.index("layer0.w")])
    found = np.empty((problems, 8, 8))
    for e in range(problems):
        tangents = torch.zeros((size, theta.shape[1]), dtype=torch.float64)
        tangents[range(size), range(begin, begin + size)] = 1.0
        hessian = OneInstance.of(stack, points, e).products(tangents)[:, begin : begin + size].reshape(8, 4, 8, 4)
        x = np.asarray(stack.inputs[e], dtype=np.float64).reshape(-1, 4)[: problem.task.size]  # padded behind
        active = (x @ theta[e, begin : begin + size].reshape(8, 4).T > 0.0).astype(float)
        gates = np.einsum("ni,nj,nf,ng->ifjg", active, active, x, x) / (classes * x.shape[0])
        over = np.einsum("ifjg,ifjg->ij", gates, gates)
        found[e] = np.einsum("ifjg,ifjg->ij", hessian, gates) / np.where(over > 0.0, over, np.nan)
    centred = heads - heads.mean(axis=1, keepdims=True)
    return found / small**2, np.einsum("eci,ecj->eij", centred, centred) / small**2


def of_hidden_rows(theorem: Theorem, draw: Draw, number: int, exact: bool) -> InstanceCheck:
    """Check 2 to 5 classes exactly, or the ratio over the hidden rows of networks, within four standard errors."""
    classes = int(draw.integers(2, 6))
    if exact or number % _ON_STACKS:
        return check_row_ratio(theorem, classes)
    products, _ = hidden_products(classes, _NETWORKS, int(draw.integers(2**31)))
    own = products[:, range(8), range(8)] ** 2
    rest = np.where(np.eye(8, dtype=bool), np.nan, products) ** 2
    bound = float(value(theorem, {Symbol.classes: classes}))
    excess = np.nanmean(rest, axis=(1, 2)) - bound * np.nanmean(
        own, axis=1
    )  # networks are independent, their rows are not
    error = float(excess.std(ddof=1) / np.sqrt(excess.size))
    errors = abs(float(excess.mean())) / error
    verdict = "holds" if errors <= STANDARD_ERRORS else "undecided"
    why = (
        "" if verdict == "holds" else f"{classes} classes: {errors:.1f} standard errors off, over {_NETWORKS} networks"
    )
    return InstanceCheck(verdict, errors / STANDARD_ERRORS, why)
