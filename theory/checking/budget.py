"""Derive rounding budgets: the largest amount by which a true statement may seem to fail in floating point.

Throughout u is the unit roundoff of the run's dtype and n the size of the largest block.
"""

from collections.abc import Mapping, Set
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.running.values import canonical_name, largest_eigenvalue, smallest_eigenvalue

if TYPE_CHECKING:
    import sympy as sp

    from quadsim.simulator.rules.rule import Rule

__all__ = [
    "evaluation_budget",
    "growth_budget",
    "is_over_Lambda_G",
    "one_step_budget",
    "path_budget",
    "spectral_radius",
    "symbol_budgets",
]

Array = NDArray[np.float64]
_LINEAR = ("gd", "sgd", "heavy-ball", "block-gd", "adam-frozen")


def _unit(trajectory: Trajectory) -> float:
    return float(np.finfo(trajectory.dtype).eps) / 2.0


def _conditioning(trajectory: Trajectory) -> tuple[Array, Array]:
    """Return the largest eigenvalue and the worst block condition number of the recursion's matrix, (M, K) or (M, 1)."""
    name = canonical_name(trajectory.rule)
    if name == "adam-frozen":
        from quadsim.theory.statements.quantities import frozen_spectrum

        sigma = frozen_spectrum(trajectory)
        return sigma.max(axis=-1), np.asarray(sigma.max(axis=-1) / sigma.min(axis=-1))
    if name == "block-gd":
        # In units of each block's own rate the largest eigenvalue is 2 L_l/(L_l+mu_l) <= 2, and a coupling adds its share.
        return 2.0 * (1.0 + trajectory.problem.coupling[:, None]), _kappa(trajectory)
    return largest_eigenvalue(trajectory), _kappa(trajectory)


def _kappa(trajectory: Trajectory) -> Array:
    """Return the worst condition number of a block, (M, 1): blocks do not mix, so errors grow within a block only."""
    problem = trajectory.problem
    return np.asarray((problem.block_smoothness / problem.block_strong_convexity).max(axis=1)[:, None])


def growth_budget(trajectory: Trajectory, root: Array | float = 1.0) -> Array:
    """Return what rounding can add to the factor sqrt(gap_{t+1}/gap_t) in one step, (M, K); `root` is the factor itself.

    With u the unit roundoff and n the largest block: the stored matrix differs from one with the exact eigenvalues by at
    most gamma L, gamma = 8 n^(3/2) u (product of three matrices, the outer two orthogonal to n^(3/2) u; Higham, Accuracy
    and Stability, 2002, section 3.5), which moves 1 - eta lambda by eta L gamma. The step itself is computed with an error
    of at most u (1 + (n+3) sqrt(n) eta L) |e|, as | |H||e| | <= sqrt(n) L |e|, and in the H-norm an error counts up to
    sqrt(kappa_l) times its share of |e|. A frozen preconditioner is known to n u (|H||e_0|)_i/|g_0,i|. The steps of a
    horizon bound, and the powers of a closed form, are counted the same way.

    For a rule that is not linear see `one_step_budget`: its error of c = (n+8) u sqrt(kappa) times |e_t| + |e_{t+1}| in the
    H-norm adds at most 2 c max(1, root) for c <= 1/2, and a step whose length is known to e adds 4 e.
    """
    name = canonical_name(trajectory.rule)
    if name not in _LINEAR:
        c = (max(trajectory.problem.block_sizes) + 8) * _unit(trajectory) * np.sqrt(_kappa(trajectory))
        return np.asarray((2.0 * c + 4.0 * _length_budget(trajectory)) * np.maximum(1.0, root))
    unit, n = _unit(trajectory), max(trajectory.problem.block_sizes)
    largest, kappa = _conditioning(trajectory)
    curvature = np.abs(trajectory.settings["lr"])[None, :] * largest
    matrix = 8.0 * n**1.5 * unit
    if name == "adam-frozen":
        from quadsim.theory.statements.quantities import gradient_condition

        matrix = matrix + n * unit * gradient_condition(trajectory)
    if name == "heavy-ball":
        curvature = curvature + 2.0  # e_{t+1} also holds beta (e_t - e_{t-1}), two more products of about |e|
        # The rate and the momentum are rounded too: the trace 2 b cos of the recursion is known to 4 u, its discriminant, 0 at a
        # double root, therefore to 16 b u + 16 u^2, and a modulus to half the root of that.
        b = np.sqrt(trajectory.settings["momentum"])[None, :]
        matrix = matrix + np.sqrt(16.0 * unit * b + 16.0 * unit**2) / 2.0 / np.maximum(curvature, 1.0)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(curvature * matrix + np.sqrt(kappa) * unit * (1.0 + (n + 3) * np.sqrt(n) * curvature))


def evaluation_budget(trajectory: Trajectory) -> Array:
    """Return the relative error of a measured gap_t / gap_s: each gap has the error n u |e||H||e| <= n^(3/2) u kappa_l 2 gap.

    The closed form of a frozen preconditioner evaluates gaps in the eigenbasis of D^(-1/2) H D^(-1/2), whose condition counts.
    """
    n, number = max(trajectory.problem.block_sizes), len(trajectory.problem.block_sizes)
    size, kappa = 2.0 * (2.0 * n**1.5 + number) * _unit(trajectory), _kappa(trajectory)
    if trajectory.engine == "closed-form" and canonical_name(trajectory.rule) == "adam-frozen":
        kappa = np.maximum(kappa, _conditioning(trajectory)[1])
    return np.asarray(size * kappa * np.ones(trajectory.status.shape))


def spectral_radius(trajectory: Trajectory) -> Array | None:
    """Return the largest modulus of a root of the rule's recursion over the eigenvalues, (M, K); None if it is not known here."""
    name = canonical_name(trajectory.rule)
    rate = trajectory.settings["lr"][None, :]
    if name in ("gd", "sgd"):
        return np.asarray(
            np.maximum(*(np.abs(1.0 - rate * end(trajectory)) for end in (largest_eigenvalue, smallest_eigenvalue)))
        )
    if name == "heavy-ball":
        return np.broadcast_to(np.sqrt(trajectory.settings["momentum"])[None, :], trajectory.status.shape)
    return None


def symbol_budgets(trajectory: Trajectory) -> "Mapping[sp.Symbol, Array]":
    """Return the relative error with which each symbol of a statement is known on a run, (M, 1).

    Every symbol pays for itself only. With n the largest block, kappa the worst block condition number, P and B the numbers of
    coordinates and blocks, and s = 4 (P + B) u for its sums:

    - settings and sizes are exact up to the rounding of their product;
    - the stored matrix differs by 8 n^(3/2) u L_l from one with the exact eigenvalues, so L_l is known to 8 n^(3/2) u, mu_l to
      kappa times that, and the largest diagonal entry of the inverse, at least a share 1/n of its norm, to n times that again;
    - a form s'H s of signs is known to n^(5/2) u of L_l, which its largest value exceeds;
    - a gradient is computed with an error of n^(3/2) u L_l |e_l| <= n^(3/2) u kappa |g_l| in 2-norm and sqrt(n) times that in
      1-norm; a square has twice its relative error, Lambda_G two squares and L_l;
    - gaps: see `evaluation_budget`. All others, sums over modes above all, get the largest of these.
    """
    from quadsim.theory.statements.quantities import LENGTHS
    from quadsim.theory.symbols import Symbol

    exact = (Symbol.t, Symbol.eta, Symbol.momentum, Symbol.beta1, Symbol.beta2, Symbol.noise_std, Symbol.P, Symbol.P_l)
    sizes = trajectory.problem.block_sizes
    n, unit, kappa = max(sizes), _unit(trajectory), _kappa(trajectory)
    sums = 4.0 * (trajectory.problem.dimension + len(sizes)) * unit
    large, one = 8.0 * n**1.5 * unit, np.ones_like(kappa)
    small, gradient = large * kappa, n**1.5 * unit * kappa
    norm1, weighted = np.sqrt(n) * gradient + sums, 4.0 * gradient + (large + sums) * one
    gap = np.max(evaluation_budget(trajectory), axis=1, keepdims=True)
    out: dict[sp.Symbol, Array] = dict.fromkeys(exact, 2.0 * unit * one)
    out |= dict.fromkeys((Symbol.L, Symbol.L_l, Symbol.L_D_l), large * one)
    out |= dict.fromkeys((Symbol.mu, Symbol.mu_l, Symbol.mu_D_l), small)
    out |= dict.fromkeys((Symbol.kappa, Symbol.kappa_l, Symbol.kappa_D_l), small + large)
    out |= dict.fromkeys((Symbol.norm1, Symbol.least_norm1, Symbol.cosine, Symbol.stride), norm1)
    out |= dict.fromkeys(
        (Symbol.norm2_squared, Symbol.norm2_squared_l, Symbol.least_norm2_squared), 2.0 * gradient + sums
    )
    out |= dict.fromkeys((Symbol.Lambda_G, Symbol.largest_Lambda_G), weighted)
    out |= dict.fromkeys((Symbol.gap, Symbol.gap_0, Symbol.gap_next), gap)
    out |= {
        Symbol.Lambda_P: (large + sums) * one,
        Symbol.Lambda_D: (large + sums) * one,
        Symbol.L_inf: (n**2.5 * unit + large + sums) * one,
        Symbol.nu: n * small,
    }
    length = LENGTHS.get(canonical_name(trajectory.rule), Symbol.eta)
    out[Symbol.length] = np.asarray(sum(out[s] for s in length.free_symbols))
    rest = np.asarray((16.0 * n**2.5 * kappa * unit) + sums)
    return _WithDefault(out, rest)


class _WithDefault(dict["sp.Symbol", Array]):
    """A table in which every other symbol has one value."""

    def __init__(self, known: "Mapping[sp.Symbol, Array]", rest: Array) -> None:
        super().__init__(known)
        self._rest = rest

    def __missing__(self, symbol: "sp.Symbol") -> Array:
        return self._rest


def _length_budget(trajectory: Trajectory) -> Array:
    from quadsim.theory.symbols import Symbol

    return symbol_budgets(trajectory)[Symbol.length]


def is_over_Lambda_G(rule: "Rule | None") -> bool:
    """Return whether a step is the gradient times lr/Lambda_G, whose sums of squares are divided by each other."""
    return rule is not None and bool(rule.fact("step over Lambda_G", partial(_over_Lambda_G, rule)))


def _over_Lambda_G(rule: "Rule") -> bool:
    from quadsim.simulator.rules.functions import Ratio, Total, symbols

    square = symbols.g**2
    inverse = Ratio(Total(square), Total(symbols.L_l * square))
    return bool(rule.step == -symbols.lr * symbols.g * inverse)


def _steps_along_gradient(rule: "Rule") -> bool:
    """Return whether a step has a part along the gradient itself, beside what the rule remembers; see `_of_modes`."""
    from quadsim.simulator.rules.functions import symbols

    return bool(rule.step.has(symbols.g))


def one_step_budget(trajectory: Trajectory, before: Array, after: Array) -> Array:
    """Return what rounding can add to gap_{t+1} in one step from a given state, (M, K, R), for gaps before and after.

    Every rule here adds to each coordinate a step that is known to (n+8) units of itself, and rounds the sum: an error of at
    most (n+8) u (|e_t| + |e_{t+1}|), coordinate by coordinate, as the step is their difference. In the H-norm it counts up to
    sqrt(kappa_l) times, and the gap is half the square of that norm. A sign taken of a coordinate that is itself rounding is
    in the error of |g|_1.
    """
    with np.errstate(all="ignore"):
        error = _step_error(trajectory, before, after)
        return np.asarray(error * (2.0 * np.sqrt(after) + error))


def _step_error(trajectory: Trajectory, before: Array, after: Array) -> Array:
    """Return what rounding can add to the root of gap_{t+1} in one step, (M, K, R); see `one_step_budget`.

    A gradient is known to units of L_l |e_l|, which a step of length lr/Lambda_G multiplies by up to L/mu.
    """
    units = (max(trajectory.problem.block_sizes) + 8) * _unit(trajectory)
    around = np.sqrt(before) + np.sqrt(after)
    if is_over_Lambda_G(trajectory.rule):
        from quadsim.theory.statements.quantities import evaluate_along
        from quadsim.theory.symbols import Symbol

        longest = evaluate_along(Symbol.length * Symbol.L, trajectory)[:, :, : before.shape[2]]
        around = around + np.where(np.isfinite(longest), longest, 1.0) * np.sqrt(before)
    return np.asarray(units * np.sqrt(_kappa(trajectory))[:, :, None] * around)


def path_budget(trajectory: Trajectory, symbols: "Set[sp.Basic]") -> Array:
    """Return what rounding on the way adds to the root of gap_t, (M, K, R), where a bound with these symbols is of a start.

    Sign steps: the recursion of the bound, a -> (a^2 - k a + c)^(1/2) for the root a of the gap of a block, with
    k = eta sqrt(2 nu) and c = eta^2 S/2, moves apart no two values, as c >= k^2/4 (S >= nu) makes its derivative at most 1. Nor
    do the steps themselves, which are the same wherever the signs are. So the errors of the steps add up.

    Modes of a linear rule: see `_of_modes`; the run's own preconditioners: see `span_path`.
    """
    from quadsim.theory.symbols import Symbol

    if Symbol.mode_i in symbols:
        return _of_modes(trajectory)
    if Symbol.span_l in symbols:
        from quadsim.theory.running.run_rounding import span_path

        return span_path(trajectory)
    sign_steps = {Symbol.u_l, Symbol.v_l, Symbol.w_l, Symbol.travelled}
    return _of_sign_steps(trajectory) if symbols & sign_steps else np.zeros(trajectory.gap.shape)


def _of_sign_steps(trajectory: Trajectory) -> Array:
    """Return the sum of the errors of the steps; see `path_budget`."""
    from quadsim.theory.running.constants import sign_smoothness

    out = np.zeros(trajectory.gap.shape)
    gap, apart = trajectory.gap, np.diff(trajectory.steps)
    with np.errstate(all="ignore"):
        # Between two records the root of the gap rises by at most eta (S/2)^(1/2) a step.
        sizes = np.sqrt(sign_smoothness(trajectory.problem).sum(axis=1) / 2.0)[:, None, None]
        way = np.abs(trajectory.settings["lr"])[None, :, None] * sizes * (apart - 1)
        between = _step_error(trajectory, (np.sqrt(gap[:, :, :-1]) + way) ** 2, (np.sqrt(gap[:, :, 1:]) + way) ** 2)
        out[:, :, 1:] = np.cumsum(apart * between, axis=2)
    return out


def _of_modes(trajectory: Trajectory) -> Array:
    """Return what rounding on the way adds to the root of gap_t of a linear rule with a memory, (M, K, R).

    A step rounds the error by some units of it, and the memory m = sum of beta^j g by some units of m and by the error of a
    gradient: (8 n^(3/2) + (n+3) n^(1/2)) u L |e|, of the stored matrix and of the product, which counts kappa^(1/2) times in the
    H-norm. With P_t and Q_t the largest moduli over the modes of what an error of 1 and a memory of 1 become after t steps, such
    errors at step s arrive as P_(t-1-s) and Q_(t-1-s) times themselves, and |e_s| is at most P_s |e_0| in the H-norm. The
    computed P_t of the bound are off by no more, which makes it twice that.
    """
    from quadsim.theory.running.modes import mode_factors

    problem, rule = trajectory.problem, trajectory.rule
    assert rule is not None
    unit, n, last = _unit(trajectory), max(problem.block_sizes), int(trajectory.steps[-1])
    spectrum = problem.layout.flatten(problem.eigenvalues)
    largest, kappa = spectrum.max(axis=1)[:, None], _kappa(trajectory)
    out = np.empty(trajectory.gap.shape)
    for k in range(trajectory.number_of_settings):
        settings = {name: float(values[k]) for name, values in trajectory.settings.items()}
        p, q = (
            np.abs(mode_factors(rule, settings, spectrum, last, of_memory=which)).max(axis=1) for which in (False, True)
        )
        memory = np.zeros_like(p)
        with np.errstate(all="ignore"):
            for t in range(last):
                memory[:, t + 1] = settings["momentum"] * memory[:, t] + largest[:, 0] * p[:, t]
            product = (8.0 * n**1.5 + (n + 3) * np.sqrt(n)) * unit * np.sqrt(kappa) * largest * p[:, :-1]
            of_memory = product + 4.0 * unit * memory[:, 1:]
            of_error = 4.0 * unit * (p[:, :-1] + p[:, 1:])
            if rule.fact("a step along the gradient", partial(_steps_along_gradient, rule)):  # as that of nesterov
                of_error += settings["lr"] * product
            error = np.zeros_like(p)
            for s in range(last):
                error[:, s + 1 :] += p[:, : last - s] * of_error[:, s, None] + q[:, : last - s] * of_memory[:, s, None]
        out[:, k] = 2.0 * error[:, trajectory.steps]
    return np.asarray(out * np.sqrt(trajectory.gap[:, :, :1]))
