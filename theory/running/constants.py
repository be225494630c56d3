"""Constants of blocks for sign steps (docs/theory.md section 8): S_l, nu_l and M_l, each of one block alone.

All are exact, by enumeration of sign vectors, for blocks up to a size, and certain upper bounds beyond it.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.quadratic import BlockQuadratic

__all__ = [
    "LARGEST_ENUMERATED",
    "LARGEST_MIDPOINT",
    "inverse_diagonal",
    "largest_on_signs",
    "midpoint_smoothness",
    "one_norm_convexity",
    "sign_smoothness",
    "sign_vectors",
    "worst_signs",
]

Array = NDArray[np.float64]

LARGEST_ENUMERATED = 12
"""Largest block size for which sign vectors are enumerated: 2^11 vectors, as s and -s give the same value."""

LARGEST_MIDPOINT = 8
"""Largest block size for which M_l is enumerated: 2^(P-1) sign vectors, and for each 2^(P-1) others and 2^P subsets."""

_AT_ONCE = 1 << 21
"""Numbers of an enumeration that are in memory at once."""


def sign_vectors(size: int) -> Array:
    """Return the sign vectors that begin with 1, (2^(size-1), size); all others are the negatives of these."""
    return np.array([(1, *rest) for rest in itertools.product((1, -1), repeat=size - 1)], dtype=np.float64)


def _forms(matrices: Array) -> Array:
    """Return s'Hs of every matrix (..., P, P) and every row s of `sign_vectors`, (..., 2^(P-1))."""
    signs = sign_vectors(matrices.shape[-1])
    return np.asarray(np.einsum("...ij,sj,si->...s", matrices, signs, signs, optimize=True))


def largest_on_signs(matrices: Array) -> Array:
    """Return max over sign vectors s of s'Hs for matrices (..., P, P), by enumeration."""
    return np.asarray(_forms(matrices).max(axis=-1))


def worst_signs(matrices: Array) -> Array:
    """Return a sign vector at which s'Hs is largest, (..., P)."""
    return np.asarray(sign_vectors(matrices.shape[-1])[_forms(matrices).argmax(axis=-1)])


def _above_signs(matrices: Array) -> Array:
    """Return an upper bound of max s'Hs without enumeration: the least of three.

    P L, sum_ij |H_ij|, and tr(H) times the largest eigenvalue of the correlation matrix diag(H)^(-1/2) H diag(H)^(-1/2): with
    x = diag(H)^(1/2) s the last is the Rayleigh quotient, as |x|^2 = tr(H).
    """
    diagonal = np.einsum("...ii->...i", matrices)
    scale = np.sqrt(diagonal)
    correlation = matrices / scale[..., :, None] / scale[..., None, :]
    first = matrices.shape[-1] * np.linalg.eigvalsh(matrices)[..., -1]
    third = diagonal.sum(axis=-1) * np.linalg.eigvalsh(correlation)[..., -1]
    return np.asarray(np.minimum(np.minimum(first, np.abs(matrices).sum(axis=(-2, -1))), third))


def sign_smoothness(problem: BlockQuadratic) -> Array:
    """Return S_l = max over sign vectors s of s'H_l s, (M, B); an upper bound of it for blocks beyond LARGEST_ENUMERATED."""
    return problem.layout.join_blocks({
        size: (largest_on_signs if size <= LARGEST_ENUMERATED else _above_signs)(matrices)
        for size, matrices in problem.hessian.items()
    })


def inverse_diagonal(problem: BlockQuadratic) -> Array:
    """Return (H^-1)_ii of every coordinate, (M, P), from the eigenvectors; NaN for a problem with a singular block."""
    with np.errstate(divide="ignore", invalid="ignore"):
        diagonals = {
            size: np.einsum("mbij,mbj->mbi", problem.eigenvectors[size] ** 2, 1.0 / problem.eigenvalues[size])
            for size in problem.hessian
        }
    found = problem.layout.flatten(diagonals)
    singular = np.asarray(problem.null_dimensions.any(axis=1))
    return np.asarray(np.where(singular[:, None], np.nan, found))


def one_norm_convexity(problem: BlockQuadratic) -> Array:
    """Return nu_l = 1 / max_i (H_l^-1)_ii, (M, B): the largest constant with |g_l|_1^2 >= 2 nu_l gap_l for every gradient."""
    parts = problem.layout.split(inverse_diagonal(problem))
    return problem.layout.join_blocks({size: 1.0 / values.max(axis=-1) for size, values in parts.items()})


def midpoint_smoothness(problem: BlockQuadratic) -> Array:
    """Return M_l of the theorem sign-midpoint, (M, B): max over sign vectors s of sqrt(nu) R_s + Q_s.

    R_s^2 = max over sign vectors z of (z|Hs|)'H^-1(z|Hs|), entrywise product; Q_s = max over subsets A of the coordinates of
    s_A'H s_A - sum_(i in A) |(Hs)_i|, where s_A is s with zeros outside A. For blocks beyond LARGEST_MIDPOINT it is the upper
    bound sqrt(nu kappa S) + S/4.
    """
    return problem.layout.join_blocks({
        size: _midpoint(matrices) if size <= LARGEST_MIDPOINT else _above_midpoint(matrices)
        for size, matrices in problem.hessian.items()
    })


def _nu(matrices: Array) -> tuple[Array, Array]:
    """Return the inverses of matrices (..., P, P) and nu of each."""
    inverse = np.linalg.inv(matrices)
    return np.asarray(inverse), np.asarray(1.0 / np.einsum("...ii->...i", inverse).max(axis=-1))


def _outer(vectors: Array) -> Array:
    """Return the outer products of the rows with themselves, (N, P^2): forms of many matrices are then one matrix product."""
    return np.asarray((vectors[:, :, None] * vectors[:, None, :]).reshape(len(vectors), -1))


def _midpoint(matrices: Array) -> Array:
    """Return M for matrices (..., P, P) by enumeration, a few matrices at a time."""
    size = matrices.shape[-1]
    flat = matrices.reshape(-1, size, size)
    signs, subsets = sign_vectors(size), np.array(list(itertools.product((0.0, 1.0), repeat=size)))
    squares = _outer(signs).T
    # s_A for every s and A; most occur several times, and all but a tenth are another one's negative, with the same form.
    every = (signs[:, None] * subsets).reshape(-1, size)
    first = np.argmax(every != 0.0, axis=-1)
    turned = every * np.where(np.take_along_axis(every, first[:, None], axis=-1) < 0.0, -1.0, 1.0)
    _, places, which = np.unique((turned + 1.0) @ 3.0 ** np.arange(size), return_index=True, return_inverse=True)
    parts = _outer(turned[places]).T
    at_once = max(1, _AT_ONCE // (signs.shape[0] * subsets.shape[0]))
    found = []
    for begin in range(0, len(flat), at_once):
        some = flat[begin : begin + at_once]
        inverse, nu = _nu(some)
        h = np.abs(some @ signs.T).transpose(0, 2, 1)
        weighted = inverse[:, None] * h[..., :, None] * h[..., None, :]
        r = np.sqrt((weighted.reshape(-1, size**2) @ squares).max(axis=-1)).reshape(len(some), -1)
        forms = some.reshape(-1, size**2) @ parts
        q = np.empty(r.shape)
        for i in range(len(some)):  # one at a time, so that what is compared stays in the cache of the processor
            q[i] = (forms[i][which].reshape(len(signs), -1) - h[i] @ subsets.T).max(axis=-1)
        found.append((np.sqrt(nu)[:, None] * r + q).max(axis=-1))
    return np.concatenate(found).reshape(matrices.shape[:-2])


def _above_midpoint(matrices: Array) -> Array:
    _, nu = _nu(matrices)
    values = np.linalg.eigvalsh(matrices)
    above = largest_on_signs(matrices) if matrices.shape[-1] <= LARGEST_ENUMERATED else _above_signs(matrices)
    return np.asarray(np.sqrt(nu * values[..., -1] / values[..., 0] * above) + above / 4.0)
