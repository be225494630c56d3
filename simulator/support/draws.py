"""Counter-based random numbers: every draw is a function of (seed, problem index, purpose) alone.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw, *Parallel random numbers: as easy as 1, 2, 3*, SC 2011) keyed by the seed; the
counter holds the problem index, the purpose of the draw, and its number. So problem 7 gets the same bits in a batch of 8, in a
batch of 1000, in any chunk and in any worker. For the same reason everything after the uniforms is elementwise, or one LAPACK
call per matrix.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_PAIRS", "Purpose", "haar_rotations", "normals", "philox4x32", "rotation_power", "uniforms"]

MOST_PAIRS = 1 << 28
"""Fewer pairs of draws than this has a problem for each purpose and index: the other four bits of the word are the purpose."""

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
_CHUNK = 1 << 14  # counters worked on at once: ten arrays of this length stay in cache
_QR_FROM = 17  # block size from which one LAPACK call per matrix beats vectorised reflections


class Purpose(IntEnum):
    """The purpose of a draw: the top four bits of the first counter word. Draws with different purposes are independent."""

    START = 0
    ROTATION = 1
    ALIGNMENT = 2
    DIRECTION = 3
    NOISE = 4
    DATA = 5
    BATCH = 6
    SCALE = 7
    COUPLING = 8
    SAMPLE = 9
    LABEL = 10


def philox4x32(
    counter: tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]],
    key: tuple[int, int],
    rounds: int = 10,
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]:
    """Philox4x32 on arrays of counters; every word is 32 bits wide and held in a uint64.

    Shapes: four counter arrays of one shape in, four arrays of that shape out.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        a = _MULTIPLIERS[0] * c0
        b = _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (b >> _SHIFT) ^ c1 ^ np.uint64(k0),
            b & _LOW,
            (a >> _SHIFT) ^ c3 ^ np.uint64(k1),
            a & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniforms(seed: int, problems: NDArray[np.int64], purpose: Purpose, index: int, count: int) -> NDArray[np.float64]:
    """Draw uniform numbers in (0, 1] with 53 bits.

    Args:
        seed: 64-bit key.
        problems: problem indices, shape (M,).
        purpose: purpose of the draws.
        index: the block or step to which they belong.
        count: draws per problem.

    Returns:
        Array (M, count).

    Raises:
        ValueError: more draws per problem than a counter holds.
    """
    pairs = (count + 1) // 2
    if pairs >= MOST_PAIRS:
        raise ValueError(f"draws per problem must be below 2^29, got {count}; use smaller blocks.")
    out = np.empty((problems.size, pairs, 2))
    flat = out.reshape(-1, 2)
    key = (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)
    for begin in range(0, flat.shape[0], _CHUNK):
        position = np.arange(begin, min(begin + _CHUNK, flat.shape[0]), dtype=np.uint64)
        problem = problems[(position // np.uint64(pairs)).astype(np.int64)].astype(np.uint64)
        draw = position % np.uint64(pairs) | np.uint64(int(purpose) << 28)
        words = philox4x32((draw, np.full_like(position, index), problem & _LOW, problem >> _SHIFT), key)
        flat[begin : begin + position.size, 0] = _to_unit(words[0], words[1])
        flat[begin : begin + position.size, 1] = _to_unit(words[2], words[3])
    return out.reshape(problems.size, 2 * pairs)[:, :count]


def normals(seed: int, problems: NDArray[np.int64], purpose: Purpose, index: int, count: int) -> NDArray[np.float64]:
    """Draw standard normals by the method of Box and Muller (1958); arguments and shape as in `uniforms`."""
    even = count + count % 2
    pairs = uniforms(seed, problems, purpose, index, even).reshape(problems.size, even // 2, 2)
    # Contiguous copies: numpy's vectorised and strided loops for log and cos need not round alike.
    radius = np.sqrt(-2.0 * np.log(np.ascontiguousarray(pairs[:, :, 0])))
    angle = 2.0 * np.pi * np.ascontiguousarray(pairs[:, :, 1])
    out = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return np.ascontiguousarray(out.reshape(problems.size, even)[:, :count])


def haar_rotations(seed: int, problems: NDArray[np.int64], block: int, size: int) -> NDArray[np.float64]:
    """Draw rotations from the Haar measure on SO(size), one per problem, (M, size, size).

    Products of Householder reflections of random vectors (Stewart 1980), the determinant made 1 by the last sign; from
    block size 17 on, the QR factor of a normal matrix with R's diagonal made positive (Mezzadri 2007).
    """
    number = problems.size
    if size >= _QR_FROM:
        draws = normals(seed, problems, Purpose.ROTATION, block, size * size).reshape(number, size, size)
        factor, upper = np.linalg.qr(draws)
        factor = factor * np.sign(np.diagonal(upper, axis1=1, axis2=2))[:, None, :]
        factor[:, :, 0] *= np.sign(np.linalg.det(factor))[:, None]
        return np.asarray(factor)
    draws = normals(seed, problems, Purpose.ROTATION, block, size * (size + 1) // 2 - 1)
    rotation = np.zeros((number, size, size))
    rotation[:, range(size), range(size)] = 1.0
    signs = np.ones((number, size))
    begin = 0
    for n in range(size - 1):
        vector = draws[:, begin : begin + size - n].copy()
        begin += size - n
        signs[:, n] = np.where(vector[:, 0] < 0.0, -1.0, 1.0)
        vector[:, 0] += signs[:, n] * np.sqrt(_dot(vector, vector))
        scaled = vector * (2.0 / _dot(vector, vector))[:, None]
        trailing = rotation[:, :, n:]
        trailing -= np.matmul(trailing, scaled[:, :, None]) * vector[:, None, :]
    signs[:, -1] = (-1.0) ** (size - 1) * np.prod(signs[:, :-1], axis=1)
    return rotation * signs[:, :, None]


def rotation_power(rotation: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """Return the geodesic power Q^s of rotations (..., P, P): every rotation angle is multiplied by s.

    (Q + Q')/2 has the cosines of the angles as eigenvalues, each twice (and one 1 where P is odd); on each such plane Q is
    a plane rotation, whose angle is scaled. Q^0 = I, Q^1 = Q, and Q^s Q^t = Q^(s+t). The angles have to differ, as those
    of a Haar draw do almost surely: where two planes share a cosine, `eigh` returns any basis of the two together.
    """
    size = rotation.shape[-1]
    if power == 1.0:
        return rotation
    if power == 0.0 or size == 1:
        return np.broadcast_to(np.eye(size), rotation.shape)
    transpose = np.swapaxes(rotation, -1, -2)
    _, basis = np.linalg.eigh((rotation + transpose) / 2)
    inside = np.swapaxes(basis, -1, -2) @ rotation @ basis
    middle = np.zeros_like(rotation)
    if size % 2:  # the eigenvalue 1 is the largest cosine, so it comes last
        middle[..., -1, -1] = 1.0
    for i in range(0, size - 1, 2):
        j = i + 1
        angle = power * np.arctan2(inside[..., j, i] - inside[..., i, j], inside[..., i, i] + inside[..., j, j])
        middle[..., i, i] = middle[..., j, j] = np.cos(angle)
        middle[..., j, i] = np.sin(angle)
        middle[..., i, j] = -middle[..., j, i]
    return np.asarray(basis @ middle @ np.swapaxes(basis, -1, -2))


def _dot(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scalar products of rows, one term after the other, so that a sum does not depend on the number of rows."""
    total = a[:, 0] * b[:, 0]
    for j in range(1, a.shape[1]):
        total = total + a[:, j] * b[:, j]
    return total


def _to_unit(high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Convert two words to a number in (0, 1] with 53 bits (27 and 26); it is never 0, so its logarithm is finite."""
    bits = (high >> np.uint64(5)) * np.uint64(1 << 26) + (low >> np.uint64(6))
    return 1.0 - bits.astype(np.float64) * 2.0**-53
