"""Meanings of the symbols for rules as they are run, by symbol: the keywords of `statements.quantities.Meaning`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.running.constants import inverse_diagonal, midpoint_smoothness, one_norm_convexity, sign_smoothness
from quadsim.theory.running.gd_start import gd_least_ratio
from quadsim.theory.running.modes import mode_factors
from quadsim.theory.running.run_values import (
    FROM,
    STATE,
    certificate_bounds,
    certified_ratios,
    energy_ratios,
    epsilon,
    from_state_bounds,
    next_tau,
    span_bounds,
)
from quadsim.theory.running.sign_bounds import Start, block_gaps, recursion
from quadsim.theory.symbols import Symbol

__all__ = ["RUN_MEANINGS", "memory_age", "rates_of"]

Array = NDArray[np.float64]


def rates_of(trajectory: Trajectory) -> Array:
    """Return the rate of every step, (K, T)."""
    factors = trajectory.schedule.factors(int(trajectory.steps[-1]))
    return np.asarray(trajectory.settings["lr"][:, None] * factors)


def memory_age(trajectory: Trajectory) -> Array:
    """Return a bound on the mean age of the gradients in the memory of a sign rule, (K,): 0 without a memory."""
    settings = trajectory.settings
    if "momentum" in settings:
        return np.asarray(settings["momentum"] / (1.0 - settings["momentum"]))
    if "beta1" in settings:
        return np.asarray(settings["beta1"] / (1.0 - settings["beta2"]))
    return np.zeros_like(settings["lr"])


def _recursion(size: Callable[[Trajectory], Array], *, midpoint: bool = False) -> Callable[[Trajectory], Array]:
    """Return the function from a run to the recursion at the recorded steps, (M, K, R, B), for a size (M, K, B)."""

    def value(trajectory: Trajectory) -> Array:
        problem, rates = trajectory.problem, rates_of(trajectory)
        start = Start(problem, midpoint=midpoint)(rates[:, 0])
        nu = one_norm_convexity(problem)[:, None]
        found = recursion(start, nu, size(trajectory), rates[None, :, None])
        if not midpoint:
            found[..., 0] = np.nan  # at the start it is the gap itself, and says nothing
        return np.moveaxis(found[..., trajectory.steps], -1, 2)

    return value


def _sizes(trajectory: Trajectory) -> Array:
    return sign_smoothness(trajectory.problem)[:, None]


def _aged(trajectory: Trajectory) -> Array:
    return np.asarray(_sizes(trajectory) * (1.0 + 4.0 * memory_age(trajectory)[None, :, None]))


def _midpoint(trajectory: Trajectory) -> Array:
    return midpoint_smoothness(trajectory.problem)[:, None]


def _target(trajectory: Trajectory) -> Array:
    """Return sqrt(min over s < t of gap_s) of every block, (M, K, R, B), where sign-constant-steps speaks of it; else NaN."""
    gaps = trajectory.observed["block_gap"]
    least = np.minimum.accumulate(gaps, axis=2)
    before = np.concatenate([np.full_like(least[:, :, :1], np.nan), least[:, :, :-1]], axis=2)
    before[:, :, :2] = np.nan  # x_T = x_0 at t = 1, which says nothing
    rate = trajectory.settings["lr"][None, :, None, None]
    size, nu = _sizes(trajectory)[:, :, None], one_norm_convexity(trajectory.problem)[:, None, None]
    plateau = rate**2 * np.maximum(size**2 / (8.0 * nu), size / 2.0)
    with np.errstate(invalid="ignore"):
        return np.where(before > plateau * (1.0 + 1e-9), np.sqrt(before), np.nan)


def _smaller(trajectory: Trajectory) -> Array:
    gap = trajectory.gap
    following = np.concatenate([gap[:, :, 1:], np.full_like(gap[:, :, :1], np.nan)], axis=2)
    return np.asarray(np.minimum(gap, following))


def _travelled(trajectory: Trajectory) -> Array:
    way = np.cumsum(rates_of(trajectory), axis=1)
    return np.concatenate([np.full_like(way[:, :1], np.nan), way], axis=1)[None][:, :, trajectory.steps]


def _block_ratio(reduce: Callable[..., Array]) -> Callable[[Trajectory], Array]:
    """Return the function from a run to the extreme of gap_l,t/gap_l,0 over the blocks, (M, K, R)."""

    def value(trajectory: Trajectory) -> Array:
        gaps = trajectory.observed["block_gap"]
        with np.errstate(all="ignore"):
            return np.asarray(reduce(gaps / gaps[:, :, :1], axis=-1))

    return value


def _start(trajectory: Trajectory) -> Array:
    problem = trajectory.problem
    return np.asarray(np.abs(problem.layout.flatten(problem.initial_error))[:, None])


def _diagonal(trajectory: Trajectory) -> Array:
    problem = trajectory.problem
    parts = {size: np.einsum("...ii->...i", matrices) for size, matrices in problem.hessian.items()}
    return problem.layout.flatten(parts)[:, None]


def _modes(trajectory: Trajectory) -> Array:
    """Return |p_t(lambda_i)| of every eigenvalue, (M, K, R, P)."""
    problem, rule = trajectory.problem, trajectory.rule
    assert rule is not None
    spectrum = problem.layout.flatten(problem.eigenvalues)
    out = np.empty((*trajectory.status.shape, trajectory.steps.size, problem.dimension))
    for k in range(trajectory.number_of_settings):
        settings = {name: float(values[k]) for name, values in trajectory.settings.items()}
        found = mode_factors(rule, settings, spectrum, int(trajectory.steps[-1]))
        out[:, k] = np.abs(np.moveaxis(found[..., trajectory.steps], -1, 1))
    out[:, :, 0] = np.nan  # 1 at the start, which says nothing
    return out


_ALONG: dict[str, Any] = {"of_state": True, "every_step": True}
_ITERATES: dict[str, Any] = {"needs": ("iterate",), **_ALONG}

RUN_MEANINGS: Mapping[sp.Symbol, Mapping[str, Any]] = {
    Symbol.S_l: {
        "text": "max over sign vectors s of s'H_l s (an upper bound of it for blocks of more than 12), positive",
        "value": _sizes,
    },
    Symbol.nu_l: {
        "text": "1 / max_i (H_l^-1)_ii, positive",
        "value": lambda run: one_norm_convexity(run.problem)[:, None],
    },
    Symbol.M_l: {
        "text": "max over sign vectors s of sqrt(nu_l) R_s + Q_s, see sign-midpoint in docs/theory.md section 8",
        "value": _midpoint,
    },
    Symbol.gap_0_l: {"text": "gap of block l at the start", "value": lambda run: block_gaps(run.problem)[:, None]},
    Symbol.target_l: {
        "text": (
            "for t >= 2: sqrt(min over s < t of gap_l,s), where it is above eta sqrt(S_l/2) and eta S_l/(2 sqrt(2 nu_l)); else"
            " undefined"
        ),
        "value": _target,
        "needs": ("block_gap",),
        **_ALONG,
    },
    Symbol.u_l: {
        "text": "for t >= 1: u_0 = gap_l,0, u_(t+1) = max(0, u_t - eta_t sqrt(2 nu_l u_t)) + eta_t^2 S_l/2",
        "value": _recursion(_sizes),
        "of_state": True,
    },
    Symbol.v_l: {
        "text": "as u_l, with S_l (1 + 4 A) for S_l; A is momentum/(1-momentum) for signum, beta1/(1-beta2) for lion",
        "value": _recursion(_aged),
        "of_state": True,
    },
    Symbol.w_l: {
        "text": "w_0 = gap of block l at e_0 - (eta/2) sign(g_0), w_(t+1) = max(0, w_t - eta sqrt(2 nu_l w_t)) + eta^2 M_l/2",
        "value": _recursion(_midpoint, midpoint=True),
        "of_state": True,
    },
    Symbol.smaller_gap: {
        "text": "the smaller one of gap_t and gap_(t+1)",
        "value": _smaller,
        "needs": ("iterate",),  # of which the hypothesis on the gradients is read
        **_ALONG,
    },
    Symbol.travelled: {"text": "sum of the rates of the steps before t, t >= 1", "value": _travelled, "of_state": True},
    Symbol.start_i: {"text": "|e_0,i|", "value": _start},
    Symbol.inverse_i: {
        "text": "(H^-1)_ii, positive",
        "value": lambda run: inverse_diagonal(run.problem)[:, None],
    },
    Symbol.curvature_i: {"text": "H_ii, positive", "value": _diagonal},
    Symbol.ratio_high: {
        "text": "max over l of gap_l,t/gap_l,0",
        "value": _block_ratio(np.max),
        "needs": ("block_gap",),
        "of_state": True,
    },
    Symbol.ratio_low: {
        "text": "min over l of gap_l,t/gap_l,0",
        "value": _block_ratio(np.min),
        "needs": ("block_gap",),
        "of_state": True,
    },
    Symbol.least_ratio: {
        "text": "for t >= 1: max over pairs of eigenvalues of min(q_i, q_j) ((k-1)/(k+1))^(2t), k their ratio, q shares of gap_0",
        "value": lambda run: gd_least_ratio(run.problem, run.steps)[:, None],
        "of_state": True,
    },
    Symbol.mode_i: {
        "text": "for t >= 1: |p_t(lambda_i)|, by which t steps of the rule multiply the error on eigenvector i",
        "value": _modes,
        "of_state": True,
    },
    Symbol.eps1: {"text": "(1-beta)/(1+beta), beta the memory of the mean gradient; 1 without one", "value": epsilon},
    Symbol.tau_low_l: {
        "text": "smallest eigenvalue of B^(1/2) H_l B^(1/2), B the preconditioner of the step from t to t+1",
        "value": next_tau(0),
        **_ITERATES,
    },
    Symbol.tau_high_l: {
        "text": "largest eigenvalue of B^(1/2) H_l B^(1/2), B the preconditioner of the step from t to t+1",
        "value": next_tau(-1),
        **_ITERATES,
    },
    Symbol.energy_ratio_l: {
        "text": "E_(t+1)/E_t of block l, E = e'He + beta (g-m)'H^-1(g-m)",
        "value": energy_ratios,
        **_ITERATES,
    },
    Symbol.certified_ratio_l: {
        "text": (
            "largest V_(t+1)/(theta V_t) of block l over the certificates (s, xi, a, b) that are tried; V and the least theta "
            "with theta R >= N are those of docs/theory.md section 9; only where V and R are positive"
        ),
        "value": certified_ratios,
        **_ITERATES,
    },
    Symbol.certified_l: {
        "text": (
            f"V_l at step {FROM} times the thetas up to t, over 2 c_t; the smallest over the certificates, infinite if none is "
            "left"
        ),
        "value": certificate_bounds,
        **_ITERATES,
    },
    Symbol.from_state_l: {
        "text": f"for t > {STATE}: the bound on gap_l,t from the state (e, m, v) at step {STATE} alone; infinite without one",
        "value": from_state_bounds,
        **_ITERATES,
    },
    Symbol.span_l: {
        "text": (
            "gap of block l at the start times the squared spectral norm of Phi_t, with H^(1/2) e_t = Phi_t H^(1/2) e_0 under "
            "the preconditioners of the run and m_0 = 0"
        ),
        "value": span_bounds,
        **_ITERATES,
    },
}
