"""Instances of the statements about gradient descent on a stream of samples."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import product

import numpy as np
import sympy as sp

from quadsim.simulator.problems.oracles import Stream
from quadsim.theory.checking.floats import STANDARD_ERRORS
from quadsim.theory.checking.instance import InstanceCheck
from quadsim.theory.running.stream_moments import stream_trace
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import Symbol
from quadsim.theory.verifying.draws import Draw, fraction
from quadsim.theory.verifying.instances.toy_models import compared, value

__all__ = ["check_moments", "of_floor", "of_moments"]

_DRAWN = 10  # one instance in so many is checked by Monte Carlo, on the simulator's own samples
_SAMPLES = 20_000


def check_moments(
    theorem: Theorem, roots: Sequence[Fraction], errors: Sequence[Fraction], batch: int, noise: Fraction, lr: Fraction
) -> InstanceCheck:
    """Check sgd-moments for the first coordinate, exactly, by enumeration of all samples.

    Normal variables are replaced by sqrt(3) w, w = 0, 1, -1 at 2/3, 1/6, 1/6, which have the same moments up to the fifth; each
    enters with the fourth power at most, and in products of two, so that the numbers are rational.

    Args:
        theorem: the statement.
        roots: square roots of the eigenvalues.
        errors: e_0, in the eigenbasis.
        batch: b.
        noise: v.
        lr: eta.
    """
    single: list[tuple[Fraction, Fraction]] = []
    for *w, omega in product((0, 1, -1), repeat=len(roots) + 1):
        chance = Fraction(1)
        for x in (*w, omega):
            chance *= Fraction(1, 6) if x else Fraction(2, 3)
        along = sum((r * x * e for r, x, e in zip(roots, w, errors, strict=True)), Fraction(0)) - noise * omega
        single.append((chance, 3 * roots[0] * w[0] * along))
    mean = Fraction(0)
    for drawn in product(single, repeat=batch):
        chance = Fraction(1)
        for own, _ in drawn:
            chance *= own
        mean += chance * (errors[0] - lr * sum((g for _, g in drawn), Fraction(0)) / batch) ** 2
    twice = sum(((r * e) ** 2 for r, e in zip(roots, errors, strict=True)), Fraction(0))
    values = _values(roots[0] ** 2, errors[0] ** 2, twice / 2, batch, noise, lr)
    words = f"sqrt(lambda) = {', '.join(map(str, roots))}, e = {', '.join(map(str, errors))}, b = {batch}, v = {noise}, lr = {lr}"
    return compared(theorem, sp.Rational(mean), value(theorem, values), words)


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
    """Check one or two modes exactly, or by 20,000 steps on the simulator's samples, within four standard errors.

    Four standard errors let a true statement fail in 6 of 100,000 instances.
    """
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
    off = abs(float(squares.mean()) - expected) / float(squares.std(ddof=1) / np.sqrt(squares.size))
    holds = off <= STANDARD_ERRORS
    why = "" if holds else f"b = {batch}, v = {noise}, lr = {lr}: {off:.1f} standard errors off"
    return InstanceCheck("holds" if holds else "undecided", off / STANDARD_ERRORS, why)


def of_floor(theorem: Theorem, draw: Draw, number: int, exact: bool) -> InstanceCheck:
    """Check the floor exactly: the fixed point of sgd-moments on 1 to 4 modes, from a linear solve in rationals."""
    modes, batch = int(draw.integers(1, 5)), int(draw.integers(1, 9))
    eigenvalues = [sp.Rational(fraction(draw)) for _ in range(modes)]
    noise = sp.Rational(int(draw.integers(1, 5)), 2)
    lr = sp.Rational(2 * batch, (batch + 1)) / max(eigenvalues) / 2
    while float(stream_trace(np.array(eigenvalues, dtype=float), float(lr), batch)) >= 0.99:
        lr /= 2
    c = sum(lr * lam / (2 * batch - lr * lam * (batch + 1)) for lam in eigenvalues)
    factors = [(1 - lr * lam) ** 2 + lr**2 * lam**2 / batch for lam in eigenvalues]
    vector = sp.Matrix(eigenvalues)
    matrix = sp.eye(modes) - sp.diag(*factors) - lr**2 / batch * vector * vector.T
    limit = matrix.LUsolve(lr**2 / batch * noise**2 * vector)
    bound = value(theorem, {Symbol.trace_rate: c, Symbol.label_noise: noise})
    return compared(
        theorem, (vector.T * limit)[0] / 2, bound, f"lambda = {eigenvalues}, b = {batch}, v = {noise}, lr = {lr}"
    )
