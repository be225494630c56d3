"""Values of the symbols of preconditioned rules on a run: spectra, energies and their ratios, of the step from t to t + 1."""

from collections.abc import Callable
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.running.certificates import certificates_for
from quadsim.theory.running.energy import (
    certificate_energies,
    certificate_factors,
    certificate_gaps,
    energies,
    span_gaps,
)
from quadsim.theory.running.from_state import from_state_gaps
from quadsim.theory.running.preconditioner import Replay, preconditioned_form, replay

__all__ = [
    "FROM",
    "STATE",
    "certificate_bounds",
    "certified_ratios",
    "energy_ratios",
    "epsilon",
    "from_state_bounds",
    "memory_of",
    "next_tau",
    "replay_of",
    "span_bounds",
]

Array = NDArray[np.float64]

FROM = 1
"""Step from whose state the theorem adam-certificate-gap is checked."""

STATE = 5
"""Step whose state alone the theorem adam-from-state is checked with."""

_KEPT: WeakKeyDictionary[Trajectory, Replay] = WeakKeyDictionary()


def replay_of(trajectory: Trajectory) -> Replay:
    """Return the replay of a run, computed once for all symbols of a statement."""
    if trajectory not in _KEPT:
        _KEPT[trajectory] = replay(trajectory)
    return _KEPT[trajectory]


def memory_of(trajectory: Trajectory) -> Array:
    """Return beta of every setting, (K,): 0 where the step is a preconditioner times the gradient; NaN without such a form."""
    form = None if trajectory.rule is None else preconditioned_form(trajectory.rule)
    settings = trajectory.settings
    if form is None:
        return np.full(settings["lr"].size, np.nan)
    names = sorted(map(str, form.beta.free_symbols))
    if not names:
        return np.full(settings["lr"].size, float(form.beta))
    (name,) = names
    return settings[name]


def epsilon(trajectory: Trajectory) -> Array:
    """Return (1 - beta)/(1 + beta), (1, K)."""
    beta = memory_of(trajectory)
    return np.asarray((1.0 - beta) / (1.0 + beta))[None]


def _ahead(values: Array) -> Array:
    """Return the values of the step after every step, (M, K, T + 1, ...), NaN at the last."""
    return np.concatenate([values[:, :, 1:], np.full_like(values[:, :, :1], np.nan)], axis=2)


def next_tau(position: int) -> Callable[[Trajectory], Array]:
    """Return the function from a run to the smallest (0) or largest (-1) tau of the step from t to t + 1, (M, K, T + 1, B)."""

    def value(trajectory: Trajectory) -> Array:
        seen = replay_of(trajectory)
        return _ahead(seen.largest_tau if position else seen.smallest_tau)

    return value


def energy_ratios(trajectory: Trajectory) -> Array:
    """Return E_(t+1)/E_t of every block, (M, K, T + 1, B); NaN at the last step."""
    seen = replay_of(trajectory)
    found = np.stack([energies(seen, k) for k in range(seen.beta.size)], axis=1)
    with np.errstate(all="ignore"):
        return np.asarray(_ahead(found) / found)


def certified_ratios(trajectory: Trajectory) -> Array:
    """Return the largest V_(t+1)/(theta V_t) over the certificates, of every block, (M, K, T + 1, B).

    -inf where no certificate has a positive energy, beyond rounding, and a factor; NaN with beta = 0 or where nothing is known.
    """
    seen = replay_of(trajectory)
    out = np.full(seen.smallest_tau.shape, np.nan)
    for k, beta in enumerate(seen.beta.tolist()):
        if not 0.0 < beta < 1.0:
            continue
        certificate = certificates_for(beta)
        value, moduli = certificate_energies(seen, certificate, k)
        factor = certificate_factors(seen, certificate, k)
        with np.errstate(all="ignore"):
            ratio = value[:, 1:] / (factor[:, 1:] * value[:, :-1])
            certain = (value[:, :-1] > 1e-4 * moduli[:, :-1]) & np.isfinite(factor[:, 1:]) & (factor[:, 1:] > 1e-3)
        out[:, k, :-1] = np.max(np.where(certain & np.isfinite(ratio), ratio, -np.inf), axis=-1)
    return out


def _bounds(gaps: Callable[..., Array], start: int) -> Callable[[Trajectory], Array]:
    def value(trajectory: Trajectory) -> Array:
        seen = replay_of(trajectory)
        out = np.full(seen.smallest_tau.shape, np.nan)
        for k, beta in enumerate(seen.beta.tolist()):
            if 0.0 < beta < 1.0 or start == 0:
                found = gaps(seen, k, start)
                found[:, : start + 1] = np.nan  # at its own step it says nothing
                out[:, k] = found
        return out

    return value


certificate_bounds = _bounds(certificate_gaps, FROM)
"""Bounds of adam-certificate-gap on the gaps of blocks, (M, K, T + 1, B); `inf` where it says nothing."""

span_bounds = _bounds(span_gaps, 0)
"""Bounds of adam-span on the gaps of blocks, (M, K, T + 1, B); `inf` where it says nothing."""


def from_state_bounds(trajectory: Trajectory) -> Array:
    """Return the bounds of adam-from-state on the gaps of blocks from the state at step STATE, (M, K, T + 1, B); NaN up to it."""
    seen, settings = replay_of(trajectory), trajectory.settings
    out = np.full(seen.smallest_tau.shape, np.nan)
    last = int(trajectory.steps[-1])
    for k in range(trajectory.number_of_settings) if last > STATE else ():
        beta1, beta2, eps, lr = (float(settings[name][k]) for name in ("beta1", "beta2", "eps", "lr"))
        if not 0.0 < beta1 < 1.0 or beta2 == 0.0:
            continue
        second = np.zeros_like(seen.gradient[:, k, 0])
        for t in range(STATE):
            second = beta2 * second + (1.0 - beta2) * seen.gradient[:, k, t] ** 2
        state = (seen.error[:, k, STATE], seen.mean[:, k, STATE], second)
        with np.errstate(all="ignore"):
            found = from_state_gaps(trajectory.problem, state, STATE, last, lr=lr, beta1=beta1, beta2=beta2, eps=eps)
        out[:, k, STATE + 1 :] = found[:, 1:]
    return out
