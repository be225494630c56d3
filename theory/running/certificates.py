"""Certificates of adam-certificate (docs/theory.md section 9): forms R, N, the factor theta and the floor c, as functions of tau.

A certificate is four numbers (s, xi, a, b) for a beta1 > 0. With it the energy of a block is V = (1-s) e'He + s (g-m)'H^-1(g-m)
- xi m'H^-1 m + (a/(2 eps1)) z'Bz - b g'Bg, eps1 = (1-beta1)/(1+beta1), z = eps1 g + (1-eps1) m. On an eigenvector of
H^(1/2) B H^(1/2) with eigenvalue tau a step takes the quadratic form R(tau), which bounds the old V from below, to N(tau), the
new V, in the coordinates u = H^(-1/2) m_(t+1) and d = H^(-1/2) (g_t - m_t). `coefficients` writes both as polynomials in tau; all
functions work on arrays, on Fractions and on symbols alike.

Where R(tau) is not positive definite a factor does not exist: the answer is `inf`, never a large number.
"""

import itertools
from collections.abc import Sequence
from fractions import Fraction
from math import comb
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Certificate",
    "Polynomial",
    "bernstein",
    "certificates_for",
    "certified",
    "coefficients",
    "factor_at",
    "factor_near",
    "factor_on",
    "floor_at",
    "floor_on",
    "pieces_of",
]

Array = NDArray[np.float64]
Polynomial = Sequence[Any]
"""Coefficients of a polynomial in tau, the constant first."""

_SHAPES = (
    (0.42, 0.147, 1.04, 0.9),
    (0.5, 0.35, 1.04, 0.9),
    (0.5, 0.475, 1.04, 0.9),
    (0.42, 0.294, 1.04, 0.9),
    (0.3, 0.105, 1.04, 0.9),
    (0.3, 0.21, 0.95, 0.9),
    (0.3, 0.09, 1.14, 0.45),
    (0.47, 0.14, 1.14, 0.0),
    (0.3, 0.0, 0.95, 0.9),
    (0.47, 0.0, 1.14, 0.9),
    (0.5, 0.6, 1.04, 0.9),
    (0.5, 0.35, 1.1, 0.9),
    (0.45, 0.2, 1.1, 0.9),
    (0.4, 0.1, 1.1, 0.9),
)
"""(s, xi, a/A, b/B) near the conserved form of frozen Adam, s = xi = 1/2, a = A = (1+beta1)/(2 beta1) and
b = B = (1-beta1)/(4 beta1), with slack: the conserved form itself is singular at two values of tau."""

_POINTS = 8  # pieces of an interval of tau
_MARGIN = 0.02  # of 1 - theta, between the values at which a factor is guessed
_ROUNDING = (
    64 * np.finfo(float).eps
)  # relative to the sum of the moduli of the terms of a Bernstein coefficient, or of an entry


class Certificate(NamedTuple):
    """The four numbers of an energy: s, xi, a and b, each a number or an array."""

    s: Any
    xi: Any
    a: Any
    b: Any


def certificates_for(beta1: float) -> Certificate:
    """Return the certificates that are tried for a memory beta1 in (0, 1), as arrays (C,).

    The first two are (beta1/(1+beta1), 0, 0, 0), the energy of adam-energy, and the same with a = 1.
    """
    a, b = (1.0 + beta1) / (2.0 * beta1), (1.0 - beta1) / (4.0 * beta1)
    own = beta1 / (1.0 + beta1)
    near = [(s, xi, x * a, y * b) for s, xi, x, y in _SHAPES]
    return Certificate(*np.array([(own, 0.0, 0.0, 0.0), (own, 0.0, 1.0, 0.0), *near]).T)


def coefficients(
    beta1: Any, certificate: Certificate, rho: Any, omega: Any
) -> tuple[list[Polynomial], list[Polynomial]]:
    """Return R and N as polynomials in tau: for each the entries (u,u), (u,d) and (d,d).

    Args:
        beta1: memory, in (0, 1).
        certificate: the energy.
        rho: at least the largest ratio of a coordinate of the preconditioner to what it was.
        omega: at least the largest ratio of a coordinate of the preconditioner to what it becomes.
    """
    s, xi, a, b = certificate
    eps1 = (1 - beta1) / (1 + beta1)
    k, lag = a / (2 * eps1), 1 - beta1
    old: list[Polynomial] = [
        (1 - s - xi, k / rho - b * omega),
        ((1 - s) * beta1 + xi * lag, -beta1 * (k * eps1 / rho + b * omega)),
        ((1 - s) * beta1**2 + s - xi * lag**2, beta1**2 * (k * eps1**2 / rho - b * omega)),
    ]
    new: list[Polynomial] = [
        (1 - s - xi, k - b - 2 * (1 - s), 1 - 2 * eps1 * k + 2 * b, k * eps1**2 - b),
        ((1 - s) * beta1, beta1 * (k * eps1 - 1 - b), beta1 * (b - k * eps1**2)),
        (beta1**2, beta1**2 * (k * eps1**2 - b)),
    ]
    return old, new


def _moduli(beta1: Any, certificate: Certificate, rho: Any, omega: Any) -> tuple[list[Polynomial], list[Polynomial]]:
    """Return what `coefficients` returns with the moduli of all terms added up: rounding is relative to these."""
    s, xi, a, b = certificate
    eps1 = (1 - beta1) / (1 + beta1)
    k, lag = a / (2 * eps1), 1 - beta1
    old: list[Polynomial] = [
        (1 + s + xi, k / rho + b * omega),
        ((1 + s) * beta1 + xi * lag, beta1 * (k * eps1 / rho + b * omega)),
        ((1 + s) * beta1**2 + s + xi * lag**2, beta1**2 * (k * eps1**2 / rho + b * omega)),
    ]
    new: list[Polynomial] = [
        (1 + s + xi, k + b + 2 * (1 + s), 1 + 2 * eps1 * k + 2 * b, k * eps1**2 + b),
        ((1 + s) * beta1, beta1 * (k * eps1 + 1 + b), beta1 * (b + k * eps1**2)),
        (beta1**2, beta1**2 * (k * eps1**2 + b)),
    ]
    return old, new


def _slope(polynomial: Polynomial, tau: Any) -> Any:
    return _value([i * x for i, x in enumerate(polynomial)][1:], tau) if len(polynomial) > 1 else 0.0


def _value(polynomial: Polynomial, tau: Any) -> Any:
    out = polynomial[-1]
    for coefficient in reversed(polynomial[:-1]):
        out = out * tau + coefficient
    return out


def factor_at(tau: Array, beta1: Any, certificate: Certificate, rho: Any, omega: Any) -> Array:
    """Return the smallest theta with theta R(tau) - N(tau) >= 0, the larger eigenvalue of R^-1 N; `inf` unless R is positive."""
    return _factor(*_entries(tau, coefficients(beta1, certificate, rho, omega)))[0]


_Forms = tuple[list[Polynomial], list[Polynomial]]


def _entries(tau: Array, forms: _Forms) -> tuple[list[Any], list[Any]]:
    """Return the three entries of R and of N at tau."""
    return [_value(p, tau) for p in forms[0]], [_value(p, tau) for p in forms[1]]


def _factor(r: Sequence[Any], n: Sequence[Any]) -> tuple[Array, Array]:
    """Return the larger eigenvalue of R^-1 N, `inf` unless R is positive, and a lower bound of R's eigenvalues."""
    with np.errstate(all="ignore"):
        volume = r[0] * r[2] - r[1] ** 2
        half = (n[0] * r[2] - 2 * n[1] * r[1] + n[2] * r[0]) / volume / 2
        other = (n[0] * n[2] - n[1] ** 2) / volume
        theta = half + np.sqrt(np.maximum(half**2 - other, 0.0))
        positive = (r[0] > 0.0) & (volume > 1e-12 * (r[0] * r[2] + r[1] ** 2))
        least = np.where(positive, volume / (r[0] + r[2]), 0.0)
    return np.asarray(np.where(positive & np.isfinite(theta), theta, np.inf)), np.asarray(least)


def factor_near(
    taus: Sequence[Array], spread: Array, beta1: Any, certificate: Certificate, rho: Any, omega: Any
) -> Array:
    """Return a factor theta that is valid for all numbers within `spread` of one of the taus; `inf` where none was certified.

    The largest factor at the taus is raised by what a change of tau by `spread`, and rounding, can do to theta R - N. Then the
    certificate is checked with these errors: both diagonal entries and the determinant of theta R - N, and of R, are positive at
    every tau with each entry moved the wrong way. An entry changes by at most `spread` times the sum of the moduli of the terms
    of its derivative, at the largest tau, and its rounding is a few units of the sum of the moduli of its own terms.

    Args:
        taus: eigenvalues, one array for each.
        spread: how far they may be from the exact ones.
        beta1: memory, in (0, 1).
        certificate: the energy.
        rho: see `coefficients`.
        omega: see `coefficients`.
    """
    forms = coefficients(beta1, certificate, rho, omega)
    each = [_entries(tau, forms) for tau in taus]
    with np.errstate(all="ignore"):
        theta, least = _factor(*each[0])
        for r, n in each[1:]:
            other, floor = _factor(r, n)
            theta, least = np.maximum(theta, other), np.minimum(least, floor)
        top = taus[-1] + spread
        of_old, of_new = (
            sum(spread * _slope(p, top) + _ROUNDING * _value(p, top) for p in form)
            for form in _moduli(beta1, certificate, rho, omega)
        )
        error = theta * of_old + of_new
        theta = theta * (1.0 + 1e-12) + 4.0 * error / least
        error = theta * of_old + of_new
        sound = np.isfinite(theta)
        for r, n in each:
            sound &= _positive([theta * x - y for x, y in zip(r, n, strict=True)], error) & _positive(r, of_old)
    return np.asarray(np.where(sound, theta, np.inf))


def _positive(entries: Sequence[Any], error: Any) -> Any:
    """Whether a symmetric 2x2 matrix is positive although each of its entries may be off by an error."""
    a, b, c = entries
    return (a > error) & ((a - error) * (c - error) > (np.abs(b) + error) ** 2) & (c > error)


def floor_at(tau: Any, beta1: Any, certificate: Certificate) -> Any:
    """Return c(tau) with V >= c |H^(1/2) e|^2 on an eigenvector with eigenvalue tau; -1 where there is none.

    It is the Schur complement of a form that is affine in tau, hence concave: on an interval it is least at an end.
    """
    s, xi, a, b = certificate
    eps1 = (1 - beta1) / (1 + beta1)
    k = a * tau / (2 * eps1)
    below, mixed = s - xi + k * (1 - eps1) ** 2, xi - k * (1 - eps1)
    with np.errstate(all="ignore"):
        found = 1 - s - xi + k - b * tau - mixed**2 / np.where(below > 0.0, below, 1.0)
    return np.where((below > 0.0) & np.isfinite(found), found, -1.0)


def floor_on(low: Array, high: Array, beta1: Any, certificate: Certificate) -> Array:
    """Return c for all tau in [low, high]: the smaller of the values at the ends; not positive: no statement."""
    return np.asarray(np.minimum(floor_at(low, beta1, certificate), floor_at(high, beta1, certificate)))


def pieces_of(low: Any, high: Any, number: int = _POINTS) -> list[Any]:
    """Return the ends of pieces of [low, high] of equal ratio, from low to high, as floats or arrays."""
    inner = [low ** (1 - i / number) * high ** (i / number) for i in range(1, number)]
    return [low, *inner, high]


def bernstein(polynomial: Polynomial, low: Any, high: Any) -> list[Any]:
    """Return the Bernstein coefficients of a polynomial on [low, high], between whose extremes all its values there lie.

    With tau = low + w x, w = high - low, the polynomial is sum_k q_k x^k; its j-th coefficient is sum_(k<=j) C(j,k)/C(n,k) q_k.
    In Fractions the result is exact.
    """
    return _bernstein(polynomial, *_powers_on(low, high, len(polynomial) - 1))


def _powers_on(low: Any, high: Any, degree: int) -> tuple[list[Any], list[Any]]:
    """Return the powers of `low` and of the width of [low, high], from the power 0 on."""
    width = high - low
    return [low**k for k in range(degree + 1)], [width**k for k in range(degree + 1)]


def _bernstein(polynomial: Polynomial, lows: Sequence[Any], widths: Sequence[Any]) -> list[Any]:
    """Do what `bernstein` does with powers that several polynomials share.

    Powers of 0 and factors of 1 are left out: they would change no bit, and of arrays as small as these it is the number of
    operations that takes time.
    """
    degree = len(polynomial) - 1
    shifted = []
    for k in range(degree + 1):
        total = polynomial[k]
        for j in range(k + 1, degree + 1):
            own = polynomial[j] if k == 0 else comb(j, k) * polynomial[j]
            total = total + own * lows[j - k]
        shifted.append(total * widths[k] if k else total)
    out = []
    for j in range(degree + 1):
        total = shifted[0]
        for k in range(1, j + 1):
            total = total + _share(comb(j, k), comb(degree, k), shifted[k])
        out.append(total)
    return out


def _share(above: int, below: int, value: Any) -> Any:
    """Return above/below times a value, exactly where it is a Fraction."""
    if above == below:
        return value
    return (Fraction(above, below) if isinstance(value, Fraction) else above / below) * value


def _product(p: Polynomial, q: Polynomial) -> list[Any]:
    out: list[Any] = [0] * (len(p) + len(q) - 1)
    for (i, x), (j, y) in itertools.product(enumerate(p), enumerate(q)):
        out[i + j] = out[i + j] + x * y
    return out


def _minus(p: Polynomial, q: Polynomial) -> list[Any]:
    return [x - y for x, y in itertools.zip_longest(p, q, fillvalue=0)]


def _differences(theta: Any, old: Sequence[Polynomial], new: Sequence[Polynomial]) -> list[list[Any]]:
    """Return the polynomials that must not be negative: the diagonal of theta R - N, its determinant, and R's own."""
    f = [_minus([theta * x for x in r], n) for r, n in zip(old, new, strict=True)]
    own = _minus(_product(old[0], old[2]), _product(old[1], old[1]))
    return [f[0], f[2], _minus(_product(f[0], f[2]), _product(f[1], f[1])), list(old[0]), own]


def certified(
    theta: Fraction, beta1: Fraction, certificate: Certificate, rho: Fraction, omega: Fraction, ends: Sequence[Fraction]
) -> bool:
    """Whether theta R(tau) - N(tau) >= 0 and R(tau) > 0 for all tau from the first to the last of `ends`, proved in rationals.

    On each piece the Bernstein coefficients of the diagonal entries and of the determinant must not be negative, those of R
    (one entry and the determinant) positive. False means only that this does not prove it.

    Args:
        theta: the factor.
        beta1: memory.
        certificate: four Fractions.
        rho: see `coefficients`.
        omega: see `coefficients`.
        ends: ends of the pieces, ascending.
    """
    old, new = coefficients(beta1, certificate, rho, omega)
    *claimed, entry, volume = _differences(theta, old, new)
    for low, high in itertools.pairwise(ends):
        if any(value < 0 for p in claimed for value in bernstein(p, low, high)):
            return False
        if any(value <= 0 for p in (entry, volume) for value in bernstein(p, low, high)):
            return False
    return True


def factor_on(low: Array, high: Array, beta1: float, certificate: Certificate, rho: Array, omega: Array) -> Array:
    """Return a factor theta that is valid for all tau in [low, high]; `inf` where none was certified.

    The largest factor at a few points and a margin are the guess; the certificate is that of `certified`, in floating point with
    each coefficient above what rounding can do to it.
    """
    ends = np.stack(np.broadcast_arrays(*pieces_of(low, high)))
    guess = np.max(factor_at(ends, beta1, certificate, rho, omega), axis=0)
    theta = np.where(np.isfinite(guess), guess + _MARGIN * np.abs(1.0 - guess) + 1e-9, 1.0)
    old, new = coefficients(beta1, certificate, rho, omega)
    sound = np.isfinite(guess)
    sizes = _sizes(theta, *_moduli(beta1, certificate, rho, omega))
    differences = _differences(theta, old, new)
    powers = _powers_on(ends[:-1], ends[1:], max(map(len, differences)) - 1)
    for polynomial, size in zip(differences, sizes, strict=True):
        allowed = _ROUNDING * _value(size, ends[1:])
        above = np.ones(ends[1:].shape, dtype=bool)
        for value in _bernstein(polynomial, *powers):
            above &= value > allowed
        sound = sound & above.all(axis=0)
    return np.asarray(np.where(sound, theta, np.inf))


def _sizes(theta: Array, old: Sequence[Polynomial], new: Sequence[Polynomial]) -> list[list[Any]]:
    """Return polynomials whose values bound the sums of the moduli of the terms of `_differences`."""
    f = [_minus([theta * x for x in r], [-y for y in n]) for r, n in zip(old, new, strict=True)]
    plus = [x + y for x, y in itertools.zip_longest(_product(f[0], f[2]), _product(f[1], f[1]), fillvalue=0)]
    own = [x + y for x, y in itertools.zip_longest(_product(old[0], old[2]), _product(old[1], old[1]), fillvalue=0)]
    return [f[0], f[2], plus, list(old[0]), own]
