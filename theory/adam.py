"""Adam (theory.md section 3)."""

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.trajectory import Trajectory
from quadsim.theory.symbols import MaxOver, MinOver, Symbol, evaluate, first_gradient, gradient_condition
from quadsim.theory.theorem import Hypothesis, Theorem

__all__ = ["ADAM"]

eta, kappa_l, C1_l, C2_l, sigma_i = Symbol.eta, Symbol.kappa_l, Symbol.C1_l, Symbol.C2_l, Symbol.sigma_i

_SMALLEST_C1 = MinOver(C1_l)
_SQUARED_RATIO = MaxOver(C2_l**2) / MinOver(C1_l**2)
_SHARP = eta / (C2_l * kappa_l)


def _no_zero(trajectory: Trajectory) -> NDArray[np.bool_]:
    return np.asarray(np.all(first_gradient(trajectory) != 0.0, axis=1)[:, None])


def _rounding(trajectory: Trajectory) -> NDArray[np.float64]:
    """Relative error with which min_l C1_l is known: of L_l (8 n^(3/2) u, see checking) and of the entry of g_0."""
    n, unit = max(trajectory.problem.block_sizes), np.finfo(float).eps / 2
    return np.asarray(8.0 * n**1.5 * unit + n * unit * gradient_condition(trajectory))


def _at_most_smallest(trajectory: Trajectory) -> NDArray[np.bool_]:
    smallest = evaluate(_SMALLEST_C1, trajectory)
    return trajectory.settings["lr"][None, :] <= smallest * (1.0 + _rounding(trajectory))


def _not_too_small(trajectory: Trajectory) -> NDArray[np.bool_]:
    least = evaluate(_SMALLEST_C1**2 / MaxOver(C2_l), trajectory)
    return trajectory.settings["lr"][None, :] >= least * (1.0 - 2.0 * _rounding(trajectory))


_NO_ZERO = Hypothesis("no entry of g_0 is 0", _no_zero)
_FROM_Z = "After Zhang et al., arXiv 2402.16788, Theorem 1"

ADAM = (
    Theorem(
        name="adam-frozen-published",
        rules=("adam-frozen",),
        statement=(
            r"f(w_{t+1}) - f^* \le \max_l\Big(1 - \frac{1}{r_{pub}\kappa_l}\Big)(f(w_t) - f^*),\quad"
            r" r_{pub} = \frac{\max_l C_{2,l}^2}{\min_l C_{1,l}^2}"
        ),
        hypotheses=(
            _NO_ZERO,
            Hypothesis("lr <= min_l C1_l", _at_most_smallest),
            # The published step is min_l C1_l; the bound holds as long as eta/(C2_l kappa_l) >= 1/(r_pub kappa_l).
            Hypothesis("lr >= min_l C1_l^2 / max_l C2_l", _not_too_small),
        ),
        kind="per step",
        direction="upper",
        bound=MaxOver(1 - 1 / (_SQUARED_RATIO * kappa_l)),
        decrease=MinOver(1 / (_SQUARED_RATIO * kappa_l)),
        source=f"{_FROM_Z}, in the form derived here.",
    ),
    Theorem(
        name="adam-frozen",
        rules=("adam-frozen",),
        statement=r"f(w_{t+1}) - f^* \le \max_l\Big(1 - \frac{\eta}{C_{2,l}\kappa_l}\Big)^2 (f(w_t) - f^*)",
        hypotheses=(_NO_ZERO, Hypothesis("lr <= min_l C1_l", _at_most_smallest)),
        kind="per step",
        direction="upper",
        bound=MaxOver((1 - _SHARP) ** 2),
        decrease=MinOver(_SHARP * (2 - _SHARP)),
        tight="where all |g_0,i| are equal and H is a multiple of the identity",
        source=f"{_FROM_Z}, sharpened here.",
    ),
    Theorem(
        name="adam-frozen-exact",
        rules=("adam-frozen",),
        statement=r"f(w_{t+1}) - f^* \le \max_i (1 - \eta\sigma_i)^2 (f(w_t) - f^*)",
        hypotheses=(_NO_ZERO,),
        kind="per step",
        direction="upper",
        bound=MaxOver((1 - eta * sigma_i) ** 2),
        decrease=MinOver(eta * sigma_i * (2 - eta * sigma_i)),
        tight="asymptotically: the worst case for this D = diag|g_0|",
        source=f"{_FROM_Z}; the worst-case factor, derived here.",
    ),
)
