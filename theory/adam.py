"""Adam (theory.md section 3)."""

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.trajectory import Trajectory
from quadsim.theory.symbols import MaxOver, MinOver, Symbol, evaluate, first_gradient
from quadsim.theory.theorem import Hypothesis, Theorem

__all__ = ["ADAM"]

eta, kappa_l, C1_l, C2_l, sigma_i = Symbol.eta, Symbol.kappa_l, Symbol.C1_l, Symbol.C2_l, Symbol.sigma_i

_SMALLEST_C1 = MinOver(C1_l)
_SQUARED_RATIO = MaxOver(C2_l**2) / MinOver(C1_l**2)
_SHARP = eta / (C2_l * kappa_l)


def _no_zero(trajectory: Trajectory) -> NDArray[np.bool_]:
    return np.all(first_gradient(trajectory) != 0.0, axis=1)[:, None]


def _at_most_smallest(trajectory: Trajectory) -> NDArray[np.bool_]:
    return trajectory.settings["lr"][None, :] <= evaluate(_SMALLEST_C1, trajectory)


def _is_smallest(trajectory: Trajectory) -> NDArray[np.bool_]:
    smallest = evaluate(_SMALLEST_C1, trajectory)
    # The quotient of a gradient entry by L_l is rounded once, and so is the user's own.
    return np.abs(trajectory.settings["lr"][None, :] - smallest) <= 2 * np.finfo(float).eps * smallest


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
        hypotheses=(_NO_ZERO, Hypothesis("lr = min_l C1_l", _is_smallest)),
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
