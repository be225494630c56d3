"""First passages of runs with memory: the first step at which the gap is within the tolerance, or beyond divergence.

The search leaps over many steps at once where it is proved that no run reaches its tolerance on the way.
"""

import numpy as np

from quadsim.simulator.engines.closed_form.matrices import Array, Matrix, Powers, Weights, apply

__all__ = ["first_passages", "may_leap"]

_SMALLEST_LEAP = 4  # a leap over fewer than 2^4 steps costs more to justify than it saves


def first_passages(
    matrix: Matrix, start: Array, whole: Weights, threshold: Array, limit: Array, steps: int
) -> tuple[Array, Array]:
    """Return the first step at which the gap is at most `threshold`, and the first at which it is above `limit`.

    The gap may oscillate, so bisection could miss a passage: every step must be excluded by evaluation or by proof. All runs
    advance together. They leap over 2^j steps where no run can reach its threshold on the way. The proof: sqrt(2 gap) is the
    H-norm of the error, so it falls by at most the sum of the H-norms of the moves (the changes of the error from step to step).

    Even and odd steps are bounded separately: a mode with a root near -1 changes its sign at every step and has large moves, but
    moves slowly from one even step to the next. The moves u_k of one mode over two steps obey the recursion of A^2. With its
    roots r1 >= r2 >= 0, or rho e^(+-i phi) if they are complex, induction on k gives

        |u_k| <= max(1, |r1|)^k (|u_0| + min(k, 1/(r1 - r2)) |u_1 - r1 u_0|),
        |u_k| <= max(1, rho)^k (|u_0| + min(k, 1/sin phi) |u_1/rho - u_0 cos phi|).

    A run that has reached its threshold or its limit leaves the batch. A leap may pass over a divergence unseen between two
    evaluations only if the gap has returned below the limit at its end; the caller adds the divergences at recorded steps.

    Args:
        matrix: A(lambda), entries (M, K, P).
        start: coefficients of e_0, (M, K, P).
        whole: eigenvalues, (M, K, P).
        threshold: gap to reach, (M, K).
        limit: gap above which a run has diverged, (M, K).
        steps: largest step.

    Returns:
        Hit and divergence, each (M, K); `inf` where it never happens. A run stops at whichever is first.
    """
    shape = threshold.shape
    rows = np.arange(threshold.size)
    hit, diverged = np.full(threshold.size, np.inf), np.full(threshold.size, np.inf)

    def flat(array: Array) -> Array:
        return np.ascontiguousarray(array.reshape(-1, array.shape[-1]))

    low, high = threshold.ravel(), limit.ravel()
    weights, states = whole.map(flat), [flat(start), *(np.zeros_like(flat(start)) for _ in matrix[1:])]
    powers = Powers([[flat(entry) for entry in row] for row in matrix])

    t, leap = 0, 0
    while rows.size:
        gap = weights.gap(states[0])
        is_low, is_high = gap <= low, ~(gap <= high)
        hit[rows[is_low]], diverged[rows[is_high & ~is_low]] = t, t
        stay = ~(is_low | is_high)
        if not stay.all():
            rows, low, high, weights = rows[stay], low[stay], high[stay], weights.select(stay)
            states, powers = [x[stay] for x in states], powers.select(stay)
        if t >= steps or not rows.size:
            break
        leap = min(leap, int(np.log2(steps - t)))
        while leap >= _SMALLEST_LEAP and not may_leap(powers, states, weights, low, 1 << (leap - 1)):
            leap = leap - 2 if leap > _SMALLEST_LEAP + 1 else 0
        if leap >= _SMALLEST_LEAP:
            states, t = apply(powers.of(1 << leap), states), t + (1 << leap)
            leap += 1
        else:
            states, t = apply(powers.of(1), states), t + 1
            leap = _SMALLEST_LEAP if t % (1 << _SMALLEST_LEAP) == 0 else 0
    return hit.reshape(shape), diverged.reshape(shape)


def may_leap(powers: Powers, states: list[Array], weights: Weights, threshold: Array, moves: int) -> bool:
    """Whether it is proved that no run reaches its threshold within 2 * `moves` steps; see `first_passages`.

    NaN (0/0 in a bound, an overflow) makes the last comparison false: then no leap is taken, which is slow but never wrong.
    """
    two = powers.of(2)
    trace, determinant = two[0][0] + two[1][1], two[0][0] * two[1][1] - two[0][1] * two[1][0]
    discriminant = trace**2 - 4.0 * determinant
    # Real roots of A^2 are squares of real roots of A, so r1 = (trace + root)/2 >= r2 >= 0.
    root = np.sqrt(np.maximum(discriminant, 0.0))
    real = discriminant >= 0.0
    modulus = np.where(real, (trace + root) / 2.0, np.sqrt(np.maximum(determinant, 0.0)))
    sine = np.sqrt(np.maximum(1.0 - (trace / (2.0 * modulus)) ** 2, 0.0))
    amplification = np.minimum(float(moves), np.where(real, 1.0 / root, 1.0 / sine))
    growth = np.maximum(1.0, modulus) ** moves
    for parity in (0, 1):
        y0 = states if parity == 0 else apply(powers.of(1), states)
        y1 = apply(two, y0)
        y2 = apply(two, y1)
        first, second = y1[0] - y0[0], y2[0] - y1[0]
        change = np.where(real, second - modulus * first, second / modulus - first * trace / (2.0 * modulus))
        move = growth * (np.abs(first) + amplification * np.abs(change))
        # The bound must hold in floating point too: each difference above carries at most 8 units of rounding of the three
        # positions that it is made from. Without this term a mode that has nearly stopped would seem to move less than it does.
        rounding = np.finfo(float).eps * 4.0 * (np.abs(y0[0]) + np.abs(y1[0]) + np.abs(y2[0])) * (1.0 + amplification)
        move = np.where(y0[0] == 0.0, np.where(move > 0.0, move, 0.0), move + growth * rounding)
        longest = moves * np.sqrt(2.0 * weights.gap(move))
        if not np.all(np.sqrt(2.0 * weights.gap(y0[0])) - longest > np.sqrt(2.0 * threshold)):
            return False
    return True
