"""Gradient descent and its relatives on quadratics (theory.md section 2)."""

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from quadsim.simulator.trajectory import Trajectory
from quadsim.theory.symbols import MaxOver, MinOver, SumOver, Symbol, evaluate
from quadsim.theory.theorem import Hypothesis, Theorem

__all__ = ["DESCENT"]

eta, L, mu, kappa, t = Symbol.eta, Symbol.L, Symbol.mu, Symbol.kappa, Symbol.t
L_l, mu_l, lambda_i, c_i = Symbol.L_l, Symbol.mu_l, Symbol.lambda_i, Symbol.c_i

_ALPHA = 4 / (sp.sqrt(L) + sp.sqrt(mu)) ** 2
_ROOT_BETA = (sp.sqrt(L) - sp.sqrt(mu)) / (sp.sqrt(L) + sp.sqrt(mu))


def _close(value: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Equal up to the rounding of the formula: a dozen operations, each within half a unit in the last place."""
    return np.abs(value - wanted) <= 12 * np.finfo(float).eps * np.abs(wanted)


def _at_witness(trajectory: Trajectory) -> NDArray[np.bool_]:
    """Whether the error sits on one eigenvector of L and one of mu, in the proportion mu : L."""
    problem = trajectory.problem
    values = problem.layout.flatten(problem.eigenvalues)
    start = np.abs(problem.layout.flatten(problem.initial_coefficients))
    out = np.zeros(problem.problems, dtype=bool)
    for m in range(problem.problems):
        used = np.flatnonzero(start[m])
        if used.size == 2:
            high, low = sorted(used, key=lambda i: -values[m, i])
            ends = values[m, high] == values[m].max() and values[m, low] == values[m].min()
            out[m] = ends and bool(_close(start[m, high] * values[m, high], start[m, low] * values[m, low]))
    return out[:, None]


DESCENT = (
    Theorem(
        name="gd-exact",
        rules=("gd", "sgd"),
        statement=r"f(w_t) - f^* = \tfrac12 \sum_i \lambda_i (1 - \eta\lambda_i)^{2t} c_i^2",
        hypotheses=(),
        kind="identity",
        direction="equal",
        bound=SumOver(lambda_i * (1 - eta * lambda_i) ** (2 * t) * c_i**2) / 2,
        tight="always",
        source="Classical; for example Nesterov, Lectures on Convex Optimization (2018), in the form derived here.",
    ),
    Theorem(
        name="gd-upper",
        rules=("gd", "sgd"),
        statement=r"f(w_{t+1}) - f^* \le \max\{(1-\eta\mu)^2, (1-\eta L)^2\}\,(f(w_t) - f^*)",
        hypotheses=(),
        kind="per step",
        direction="upper",
        bound=sp.Max((1 - eta * mu) ** 2, (1 - eta * L) ** 2),
        decrease=sp.Min(eta * mu * (2 - eta * mu), eta * L * (2 - eta * L)),
        tight="at eta = 2/(L+mu), for errors in the eigenspaces of mu and L",
        source="Classical, in the form derived here (theory.md section 2).",
    ),
    Theorem(
        name="gd-lower",
        rules=("gd", "sgd"),
        statement=r"\exists H, e_0\ \forall \eta, t:\ f(w_{t+1}) - f^* \ge \Big(1 - \frac{2}{\kappa+1}\Big)^2 (f(w_t) - f^*)",
        hypotheses=(
            Hypothesis("the error sits on one eigenvector of L and one of mu, in the proportion mu : L", _at_witness),
        ),
        kind="existence",
        direction="lower",
        bound=(1 - 2 / (kappa + 1)) ** 2,
        decrease=4 * kappa / (kappa + 1) ** 2,
        tight="at eta = 2/(L+mu), at every step",
        source="After Zhang et al., arXiv 2402.16788, Proposition 1, in the squared form derived here.",
    ),
    Theorem(
        name="block-gd",
        rules=("block-gd",),
        statement=(
            r"f(w_{t+1}) - f^* \le \max_l \max\{(1-\eta_l\mu_l)^2, (1-\eta_l L_l)^2\}\,(f(w_t) - f^*),\quad"
            r" \eta_l = \frac{2\eta}{L_l+\mu_l}"
        ),
        hypotheses=(),
        kind="per step",
        direction="upper",
        bound=MaxOver(sp.Max((1 - 2 * eta * mu_l / (L_l + mu_l)) ** 2, (1 - 2 * eta * L_l / (L_l + mu_l)) ** 2)),
        decrease=MinOver(
            sp.Min(
                4 * eta * mu_l / (L_l + mu_l) * (1 - eta * mu_l / (L_l + mu_l)),
                4 * eta * L_l / (L_l + mu_l) * (1 - eta * L_l / (L_l + mu_l)),
            )
        ),
        tight="at eta = 1, for errors in the extreme eigenspaces of the block with the largest kappa_l",
        source="gd-upper block by block, in the form derived here; at eta = 1 the factor is max_l ((kappa_l-1)/(kappa_l+1))^2.",
    ),
    Theorem(
        name="heavy-ball",
        rules=("heavy-ball",),
        statement=(
            r"f(w_t) - f^* \le \beta^t\,(1 + t(1+b))^2\,(f(w_0) - f^*),\quad \alpha = \frac{4}{(\sqrt L+\sqrt\mu)^2},"
            r"\ b = \sqrt\beta = \frac{\sqrt L-\sqrt\mu}{\sqrt L+\sqrt\mu}"
        ),
        hypotheses=(
            Hypothesis("lr = 4/(sqrt L + sqrt mu)^2", lambda run: _close(run.settings["lr"], evaluate(_ALPHA, run))),
            Hypothesis(
                "momentum = ((sqrt L - sqrt mu)/(sqrt L + sqrt mu))^2",
                lambda run: _close(run.settings["momentum"], evaluate(_ROOT_BETA**2, run)),
            ),
        ),
        kind="horizon",
        direction="upper",
        bound=_ROOT_BETA ** (2 * t) * (1 + t * (1 + _ROOT_BETA)) ** 2,
        tight="for errors in the eigenspace of L",
        source="After Polyak (1964), in the finite-time form derived here (Chebyshev polynomials of the second kind).",
    ),
)
