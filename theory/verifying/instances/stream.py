"""Instances of the statements about linear rules and sign steps on a stream of samples."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from quadsim.simulator.problems.oracles import Stream
from quadsim.theory.checking.instance import InstanceCheck
from quadsim.theory.running.stream_moments import sign_step_gap
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import SumOver, Symbol
from quadsim.theory.verifying.draws import Draw, fraction
from quadsim.theory.verifying.instances.toy_models import compared, value
from quadsim.theory.verifying.streams.means import MeanSums

__all__ = ["check_moments", "of_end", "of_memory", "of_moments", "of_signs"]

_DRAWN = 10  # one instance in so many is checked by Monte Carlo, on the simulator's own samples
_SAMPLES = 20_000


def check_moments(
    theorem: Theorem,
    roots: Sequence[Fraction],
    errors: Sequence[Fraction],
    batch: int,
    noise: Fraction,
    lr: Fraction,
    memory: tuple[Fraction, Fraction, Fraction] = (Fraction(0), Fraction(0), Fraction(0)),
) -> InstanceCheck:
    """Check sgd-moments or heavy-ball-moments for the first coordinate, exactly, by enumeration of all samples.

    Normal variables are replaced by sqrt(3) w, w = 0, 1, -1 at 2/3, 1/6, 1/6, which have the same moments up to the fifth; each
    enters with the fourth power at most, and in products of two, so that the numbers are rational.

    Args:
        theorem: the statement.
        roots: square roots of the eigenvalues.
        errors: e_0, in the eigenbasis.
        batch: b.
        noise: v.
        lr: eta.
        memory: m, beta and k of heavy-ball.
    """
    single: list[tuple[Fraction, Fraction]] = []
    for *w, omega in product((0, 1, -1), repeat=len(roots) + 1):
        chance = Fraction(1)
        for x in (*w, omega):
            chance *= Fraction(1, 6) if x else Fraction(2, 3)
        along = sum((r * x * e for r, x, e in zip(roots, w, errors, strict=True)), Fraction(0)) - noise * omega
        single.append((chance, 3 * roots[0] * w[0] * along))
    mean = Fraction(0)
    m, beta, k = memory
    for drawn in product(single, repeat=batch):
        chance = Fraction(1)
        for own, _ in drawn:
            chance *= own
        kept = beta * m + sum((g for _, g in drawn), Fraction(0)) / batch
        mean += chance * (errors[0] - lr * kept + k * kept) ** 2
    twice = sum(((r * e) ** 2 for r, e in zip(roots, errors, strict=True)), Fraction(0))
    values = _values(roots[0] ** 2, errors[0] ** 2, twice / 2, batch, noise, lr)
    values |= {Symbol.momentum: beta, Symbol.along: k}
    values |= {Symbol.memory_cross: errors[0] * m, Symbol.memory_square: m**2}
    words = f"sqrt(lambda) = {', '.join(map(str, roots))}, e = {', '.join(map(str, errors))}, b = {batch}, v = {noise}, lr = {lr}"
    return compared(
        theorem, sp.Rational(mean), value(theorem, values), f"{words}, m, beta, k = {', '.join(map(str, memory))}"
    )


def _values(
    eigenvalue: Fraction, square: Fraction, gap: Fraction, batch: int, noise: Fraction, lr: Fraction
) -> dict[sp.Symbol, Fraction | int]:
    return {
        Symbol.eigenvalue: eigenvalue,
        Symbol.square: square,
        Symbol.mean_gap: gap,
        Symbol.samples: batch,
        Symbol.label_noise: noise,
        Symbol.eta: lr,
    }


def of_moments(theorem: Theorem, draw: Draw, number: int, exact: bool) -> InstanceCheck:
    """Check one or two modes exactly, or by 20,000 steps on the simulator's samples, at a chance of error of one in a million."""
    modes, batch = int(draw.integers(1, 3)), int(draw.integers(1, 3))
    roots = [fraction(draw, 5) for _ in range(modes)]
    errors = [fraction(draw, 5) * int(draw.choice([-1, 1])) for _ in range(modes)]
    noise, lr = Fraction(int(draw.integers(0, 5)), 2), fraction(draw, 5)
    if exact or number % _DRAWN:
        return check_moments(theorem, roots, errors, 1 if modes == 2 else batch, noise, lr)
    batch *= 4
    oracle, problems = Stream(batch=batch, label_noise=float(noise)), np.arange(_SAMPLES)
    seed = int(draw.integers(2**31))
    x = oracle.features(seed, problems, 0, modes) * np.array(roots, dtype=float)
    rest = x @ np.array(errors, dtype=float) - oracle.label_errors(seed, problems, 0)
    squares = (float(errors[0]) - float(lr) * (x[:, :, 0] * rest).mean(axis=1)) ** 2
    twice = sum(((r * e) ** 2 for r, e in zip(roots, errors, strict=True)), Fraction(0))
    expected = float(value(theorem, _values(roots[0] ** 2, errors[0] ** 2, twice / 2, batch, noise, lr)))
    return _in_the_mean(squares, expected, f"b = {batch}, v = {noise}, lr = {lr}")


def _in_the_mean(values: NDArray[np.float64], expected: float, words: str) -> InstanceCheck:
    """Judge the mean of independent values; more of them are needed where it is undecided."""
    means = MeanSums(np.array([expected])).add(values[:, None]).judge()
    margin = abs(float(means.errors[0])) / means.allowed
    if margin <= 1.0:
        return InstanceCheck("holds", margin)
    return InstanceCheck("undecided", margin, f"{words}: {means.errors[0]:.1f} standard errors off")


def of_memory(theorem: Theorem, draw: Draw, number: int, exact: bool) -> InstanceCheck:
    """Check heavy-ball-moments on one mode with two samples, or on two with one, exactly."""
    modes = int(draw.integers(1, 3))
    roots = [fraction(draw, 5) for _ in range(modes)]
    errors = [fraction(draw, 5) * int(draw.choice([-1, 1])) for _ in range(modes)]
    memory = (fraction(draw, 5), Fraction(int(draw.integers(0, 8)), 8), fraction(draw, 5) * int(draw.choice([-1, 1])))
    noise, lr = Fraction(int(draw.integers(0, 5)), 2), fraction(draw, 5)
    return check_moments(theorem, roots, errors, 1 if modes == 2 else int(draw.integers(1, 3)), noise, lr, memory)


def of_end(theorem: Theorem, draw: Draw, number: int, exact: bool) -> InstanceCheck:
    """Check floor or sum of the mean gap, and on which side of the limit of stability the rate lies, in rationals.

    The moments of (e, m) of 1 to 3 modes are computed from the recursion of e' = e - eta m', m' = beta m + g, without the algebra
    of the statement. They are stable if and only if some start with positive definite moments has a finite sum, with positive
    definite moments, over all steps: the recursion keeps the cone of such moments.
    """
    modes, batch = int(draw.integers(1, 4)), int(draw.integers(1, 9))
    of_gd = "gd on a stream" in theorem.rules
    beta = sp.S.Zero if of_gd else sp.Rational(int(draw.integers(0, 8)), 8)
    lam = [sp.Rational(fraction(draw)) for _ in range(modes)]
    noise, start = sp.Rational(int(draw.integers(1, 5)), 2), [sp.Rational(fraction(draw)) for _ in range(modes)]
    edge = 2 * batch * (1 - beta**2) / ((batch * (1 - beta) + 1 + beta) * max(lam))
    lr = edge * sp.Rational(int(draw.integers(1, 13)), 12 * int(draw.choice([1, modes, 2 * modes])))
    matrix, kick = _recursion(lam, lr, batch, beta)
    left = [batch * (1 - beta) * (2 * (1 + beta) - lr * x) - lr * x * (1 + beta) for x in lam]
    below = all(x > 0 for x in left)
    c = sum(lr * x * (1 + beta) / d for x, d in zip(lam, left, strict=True)) if below else sp.oo
    words = f"lambda = {lam}, b = {batch}, beta = {beta}, lr = {lr}"
    stable = _is_stable(matrix)
    if stable != (below and c < 1):
        return InstanceCheck("refuted", np.inf, f"{words}: stable is {stable}, while c = {c} and D = {left}")
    if not stable:
        return InstanceCheck("verified", 1.0)
    trace = Symbol.trace_rate if of_gd else Symbol.trace_momentum
    away = sp.eye(matrix.rows) - matrix
    if theorem.quantity == Symbol.floor:
        found = away.LUsolve(noise**2 * kick)
        bound = value(theorem, {trace: c, Symbol.label_noise: noise})
    else:
        begin = sp.zeros(matrix.rows, 1)
        for place, square in enumerate(start):
            begin[3 * place] = square
        found = away.LUsolve(begin)
        inner = theorem.bound.atoms(SumOver)
        shared = {trace: c, Symbol.samples: batch, Symbol.eta: lr, Symbol.momentum: beta}
        sums = {
            over: sum(
                over.args[0].subs({**shared, Symbol.lambda_i: x, Symbol.part_i: x * square / 2})
                for x, square in zip(lam, start, strict=True)
            )
            for over in inner
        }
        bound = theorem.bound.xreplace(sums).subs(shared)
    gap = sum((x * found[3 * place] for place, x in enumerate(lam)), sp.S.Zero) / 2
    return compared(theorem, gap, bound, words)


def _recursion(
    lam: Sequence[sp.Rational], lr: sp.Rational, batch: int, beta: sp.Rational
) -> tuple[sp.Matrix, sp.Matrix]:
    """Return matrix and constant (for v = 1) of the moments (e^2, em, m^2) of all modes under heavy-ball."""
    size = 3 * len(lam)
    matrix, kick = sp.zeros(size, size), sp.zeros(size, 1)
    into = sp.Matrix([lr**2, -lr, 1])  # of g^2: e' has -eta g, m' has g
    for i, x in enumerate(lam):
        (a, b), (c, d) = (1 - lr * x, -lr * beta), (x, beta)
        rows = [[a**2, 2 * a * b, b**2], [a * c, a * d + b * c, b * d], [c**2, 2 * c * d, d**2]]
        matrix[3 * i : 3 * i + 3, 3 * i : 3 * i + 3] = sp.Matrix(rows)
        kick[3 * i : 3 * i + 3, 0] = into * x / batch
        for j, y in enumerate(lam):
            matrix[3 * i : 3 * i + 3, 3 * j] += into * (x * y + (x**2 if i == j else 0)) / batch
    return matrix, kick


def _is_stable(matrix: sp.Matrix) -> bool:
    """Whether the sum over all steps from moments (1, 0, 1) of every mode exists in the cone of moments, exactly."""
    away, begin = sp.eye(matrix.rows) - matrix, sp.Matrix([1, 0, 1] * (matrix.rows // 3))
    if away.det() == 0:
        return False
    found = away.LUsolve(begin)
    return all(
        found[k] > 0 and found[k + 2] > 0 and found[k] * found[k + 2] > found[k + 1] ** 2
        for k in range(0, matrix.rows, 3)
    )


_TURN = 12  # directions lie at multiples of pi/_TURN, where cosines and arcsines are known in roots
_SIGNS = 40_000


def of_signs(theorem: Theorem, draw: Draw, number: int, exact: bool) -> InstanceCheck:
    """Check sign-one-step exactly, by counting directions, or on the simulator's samples with any H and label noise.

    Coordinates x_i = a_i <u_i, z> of a normal z in the plane, with directions u_i at multiples of pi/12, change their signs at
    24 angles only: every sector between them has the chance 1/24, and the mean is that over sectors. The error lies on one
    coordinate, so that the residual changes its sign there too.
    """
    size = int(draw.integers(1, 4))
    turns = [int(k) for k in draw.integers(0, _TURN, size=size)]
    scales = [sp.Rational(fraction(draw, 4)) for _ in range(size)]
    error, lr = sp.Rational(fraction(draw, 4)) * int(draw.choice([-1, 1])), sp.Rational(fraction(draw, 4))
    if not exact and not number % _DRAWN:
        return _drawn_signs(theorem, draw)
    place = int(draw.integers(size))
    cosine = {k: sp.cos(sp.pi * k / _TURN) for k in range(-_TURN, _TURN + 1)}
    hessian = [
        [a * b * cosine[k - j] for b, j in zip(scales, turns, strict=True)] for a, k in zip(scales, turns, strict=True)
    ]
    gradient = [row[place] * error for row in hessian]
    gap = hessian[place][place] * error**2 / 2
    total = sp.S.Zero
    for sector in range(2 * _TURN):
        at = (sector + 0.5) / _TURN * np.pi
        signs = [int(np.sign(np.cos(at - k * np.pi / _TURN))) for k in turns]
        residual = signs[place] * int(np.sign(error))
        total += sum(
            (lr**2 / 2 * hessian[i][j] * signs[i] * signs[j] for i in range(size) for j in range(size)), sp.S.Zero
        )
        total -= sum((lr * gradient[i] * signs[i] * residual for i in range(size)), sp.S.Zero)
    found = gap + total / (2 * _TURN)
    along = sum(
        (g * sp.asin(sp.sign(error) * cosine[k - turns[place]]) for g, k in zip(gradient, turns, strict=True)),
        sp.S.Zero,
    )
    form = sum(
        (hessian[i][j] * sp.asin(cosine[turns[i] - turns[j]]) for i in range(size) for j in range(size)), sp.S.Zero
    )
    (over,) = theorem.bound.atoms(SumOver)
    bound = theorem.bound.xreplace({over: along}).subs({Symbol.gap: gap, Symbol.eta: lr, Symbol.arcsine_form: form})
    words = f"directions {turns} of {_TURN}, scales {scales}, e = {error} on coordinate {place}, lr = {lr}"
    off = sp.simplify(sp.expand(found - bound))
    if off == 0:
        return InstanceCheck("verified", 1.0)
    return InstanceCheck("refuted", float(found / bound), f"{words}: {float(found):.6g}, not {float(bound):.6g}")


def _drawn_signs(theorem: Theorem, draw: Draw) -> InstanceCheck:
    size, noise, lr = int(draw.integers(1, 5)), float(draw.uniform(0.0, 2.0)), float(draw.uniform(0.05, 1.0))
    roots, errors = draw.normal(size=(size, size)), draw.normal(size=size)
    hessian = roots @ roots.T
    oracle, problems, seed = Stream(1, noise), np.arange(_SIGNS), int(draw.integers(2**31))
    x = oracle.features(seed, problems, 0, size)[:, 0] @ roots.T
    residual = x @ errors - oracle.label_errors(seed, problems, 0)[:, 0]
    after = errors - lr * np.sign(x * residual[:, None])
    gaps = np.einsum("ni,ij,nj->n", after, hessian, after) / 2.0
    true = sign_step_gap(hessian, errors, lr, noise)
    gradient, scale = hessian @ errors, np.sqrt(np.diag(hessian))
    along = float(gradient @ np.arcsin(gradient / (scale * np.sqrt(errors @ gradient + noise**2))))
    form = float(np.sum(hessian * np.arcsin(np.clip(hessian / np.outer(scale, scale), -1.0, 1.0))))
    (over,) = theorem.bound.atoms(SumOver)
    values = {Symbol.gap: errors @ gradient / 2.0, Symbol.eta: lr, Symbol.arcsine_form: form}
    expected = float(theorem.bound.xreplace({over: sp.Float(along)}).subs(values))
    if abs(expected - true) > 1e-9 * abs(true):
        return InstanceCheck("undecided", np.inf, f"the bound is {expected:.12g}, and sign_step_gap {true:.12g}")
    return _in_the_mean(gaps, expected, f"{size} coordinates, v = {noise:.3g}, lr = {lr:.3g}")
