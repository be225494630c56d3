"""Answer a sweep about optimizers that no theorem bounds at their best rates: at which rate one does, or along the run."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.engines import simulate
from quadsim.simulator.problems.oracles import Stream
from quadsim.simulator.rules.schedules import resolve_schedule
from quadsim.simulator.runs.guaranteed import A_PRIORI, ALONG, BELOW, FALLING, STATE, Asked, Guarantee
from quadsim.simulator.support.torch_modes import own_modes
from quadsim.theory.running.certificates import Certificate, certificates_for
from quadsim.theory.running.energy import certificate_gaps, energy_gaps, span_gaps, span_rounding
from quadsim.theory.running.from_state import from_state_gaps
from quadsim.theory.running.gd_start import gd_least_steps
from quadsim.theory.running.modes import has_modes, mode_factors
from quadsim.theory.running.preconditioner import Replay, has_form, memory_of, rehearse
from quadsim.theory.running.sign_bounds import (
    DescentForm,
    curve,
    distance_steps,
    gap_form,
    guaranteed_rate,
    midpoint_form,
)
from quadsim.theory.running.values import canonical_name

__all__ = ["START", "guarantees"]

Array = NDArray[np.float64]

START = 12
"""Step from whose state the bound of adam-certificate is computed: before it bias correction changes B_t by over 1% a step."""

_LONGEST_SIGNS = 100_000
"""Steps of a run at a guaranteed rate, at most, unless those of the sweep are longer; else sign-distance only brackets it.
A hundred thousand steps of 16 default problems take .3 s of CPU time; Signum's half a million at three points would take 4 s."""

_LATER = 50
"""Step from whose state alone the bound of adam-from-state is computed: from step 25 it is finite on half as many problems."""

_ENERGIES = (3, 4, 12)
"""Certificates that are tried then: of all sixteen these give the smallest bounds from a state, on all default problems."""

_BEYOND_STATE = 1.4
"""Length of the run that such a bound is looked for, relative to the median of the measured steps."""

_LONGEST_ALONG = 4000
_MOST_WORK = 4e8
"""Problems times steps times the sum of P_l^3 along a run."""

_BEYOND = 1.6
_BEYOND_MEMORYLESS = 1.3
"""Length of the run along which a bound is looked for, relative to the median of the measured steps."""


_FALLS = (200, 800)
"""Steps in which the rate falls to 0 where a memoryless rule has no bound at its best rate: the first that serve half of the
problems. A thousand steps of 16 default problems take .4 s of CPU time, almost all of it for eigenvalues."""


@own_modes()
def guarantees(asked: Asked) -> Sequence[Guarantee]:
    """Return what theorems say of an optimizer at a rate of theirs, or along the run at its best rate; see `Guarantee`.

    Rules of signs get an a-priori bound at the rate that makes the largest bound of the problems smallest, and a run at that
    rate. GD, which has a bound from above, gets one from below. Linear rules with momentum get the exact worst case of their
    modes, at the best rate. Rules with a preconditioner get bounds along the run at the best rate, which is repeated in NumPy
    from the rule's expressions: that takes a tenth of the time of an engine that records every iterate. Of those without a
    memory of gradients that bound is mostly infinite; they get one along a run whose rate falls to 0, too.

    Args:
        asked: the optimizer, its problems and its best rate.
    """
    if isinstance(asked.oracle, Stream):
        from quadsim.theory.verifying.stream_guarantees import in_the_mean  # imports SymPy

        return in_the_mean(asked, asked.oracle)
    if asked.bounded:
        return _from_below(asked)
    if asked.spec.is_torch:
        return [_nothing(asked, "a class of torch has no formula, so no theorem speaks of it")]
    rule = asked.spec.rule
    if asked.problem.null_dimensions.any():
        return [_nothing(asked, "H is singular, and every theorem takes it for positive definite")]
    if rule.name in ("signsgd", "signum", "lion"):
        return [_of_signs(asked)]
    if has_modes(rule):
        return [_of_modes(asked)]
    if not has_form(rule):
        return [_nothing(asked, f"no theorem here speaks of {rule.name}")]
    if _settings(asked).get("weight_decay", 0.0) != 0.0:
        return [_nothing(asked, "the theorems on preconditioned steps need a weight decay of 0", ALONG)]
    found = _along(asked)
    return [*found, *_falling(asked)] if _memory(asked) == 0.0 and found[0].why_not else found


def _from_below(asked: Asked) -> list[Guarantee]:
    """Return what GD needs at every constant rate from these starts, beside its bound from above."""
    if asked.spec.is_torch or asked.spec.rule.name not in ("gd", "sgd") or asked.schedule != "constant":
        return []
    least = gd_least_steps(asked.problem, asked.tolerance)
    nothing = np.full((least.size, asked.recorded.size), np.nan)
    return [Guarantee(BELOW, "gd-lower-start", asked.lr, 0, least, asked.measured, least, nothing)]


def _nothing(asked: Asked, why: str, kind: str = A_PRIORI) -> Guarantee:
    number = asked.problem.problems
    none, unknown = np.full(number, np.inf), np.full(number, np.nan)
    return Guarantee(kind, "", asked.lr, 0, none, unknown, unknown, np.full((number, asked.recorded.size), np.nan), why)


def _settings(asked: Asked) -> dict[str, float]:
    return {name: float(values[0]) for name, values in asked.spec.settings(asked.lr).items()}


def _of_signs(asked: Asked) -> Guarantee:
    """Return the best a-priori bound of a rule of signs, its rate, and a run at that rate."""
    problem, settings, name = asked.problem, _settings(asked), asked.spec.rule.name
    if asked.schedule != "constant":
        return _nothing(
            asked, f"guaranteed rates are searched among constant ones, and the schedule is {asked.schedule}"
        )
    if settings.get("weight_decay", 0.0) != 0.0:
        return _nothing(asked, "the theorems on signs need a weight decay of 0")
    forms: dict[str, DescentForm] = {}
    if name == "signsgd":
        forms = {
            "sign-constant-steps": gap_form(problem, asked.tolerance),
            "sign-midpoint": midpoint_form(problem, asked.tolerance),
        }
    else:
        own, memory = ("momentum", "momentum") if name == "signum" else ("beta1", "beta2")
        forms = {f"{name}-gap": gap_form(problem, asked.tolerance, settings[own] / (1.0 - settings[memory]))}
    rates = {theorem: guaranteed_rate(form) for theorem, form in forms.items()}
    bounds = {theorem: form.steps(np.array([rates[theorem]]))[:, 0] for theorem, form in forms.items()}
    theorem = min(bounds, key=lambda key: float(bounds[key].max()))
    rate, bound = rates[theorem], bounds[theorem]
    steps, why = np.full(problem.problems, np.nan), ""
    longest = float(bound.max())
    limit = max(_LONGEST_SIGNS, asked.steps)
    if longest <= limit:
        steps = _steps_at(asked, rate, int(longest))
        late = int(np.sum(steps > bound))
        why = f"on {late} problems a run took more steps than the bound: one of the two is wrong" if late else ""
    elif np.isfinite(longest):
        why = (
            f"its runs would be longer than {limit:,} steps and were not made (a larger --steps makes them); at least the "
            "given steps are needed (sign-distance)"
        )
    at_least = np.ceil(distance_steps(problem, np.array([rate]), asked.tolerance)[:, 0])
    shown = curve(forms[theorem], rate, asked.recorded) / problem.initial_gap[:, None]
    return Guarantee(A_PRIORI, theorem, rate, 0, bound, steps, at_least, shown, why)


def _steps_at(asked: Asked, rate: float, steps: int, schedule: str = "constant") -> Array:
    """Return the steps until the tolerance at another rate, (M,)."""
    hyperparameters: dict[str, Any] = dict(asked.spec.hyperparameters)
    run = simulate(
        asked.problem, asked.spec.rule, lr=rate, steps=max(steps, 1), record="log", tolerance=asked.tolerance,
        schedule=schedule, **hyperparameters,
    )  # fmt: skip
    return np.asarray(run.steps_to_tolerance[:, 0])


def _of_modes(asked: Asked) -> Guarantee:
    """Return the worst case over starts of a linear rule, which is known for any rate: max_i p_t(lambda_i)^2."""
    problem = asked.problem
    if asked.schedule != "constant":
        return _nothing(
            asked, f"the polynomials of the modes are those of constant rates, and the schedule is {asked.schedule}"
        )
    settings = _settings(asked)
    if settings.get("weight_decay", 0.0) != 0.0:
        return _nothing(asked, "with weight decay the error is not a polynomial of H times the start")
    finite = asked.measured[np.isfinite(asked.measured)]
    length = min(asked.steps, int(4 * np.median(finite)) + 100) if finite.size else asked.steps
    length = min(length, _LONGEST_ALONG)
    spectrum = problem.layout.flatten(problem.eigenvalues)
    with np.errstate(over="ignore"):  # at a rate at which the rule diverges
        worst = np.max(mode_factors(asked.spec.rule, settings, spectrum, length) ** 2, axis=1) * (1.0 + 1e-9)
    bound = _first_within(worst, np.full(problem.problems, asked.tolerance))
    why = _why_infinite(bound, "the worst start does not reach the tolerance within the steps that are looked at")
    unknown = np.full(problem.problems, np.nan)
    return Guarantee(A_PRIORI, "linear-modes", asked.lr, 0, bound, asked.measured, unknown, _at(worst, asked), why)


def _first_within(values: Array, goals: Array) -> Array:
    """Return the first step at which values (M, T + 1) are at most the goals (M,), (M,); `inf` if there is none."""
    within = values <= goals[:, None]
    return np.where(within.any(axis=1), within.argmax(axis=1).astype(np.float64), np.inf)


def _at(values: Array, asked: Asked) -> Array:
    """Return values (M, T + 1) at the recorded steps, NaN where they are infinite or beyond, (M, R)."""
    out = np.full((values.shape[0], asked.recorded.size), np.nan)
    inside = asked.recorded < values.shape[1]
    out[:, inside] = values[:, asked.recorded[inside]]
    return np.where(np.isfinite(out), out, np.nan)


def _why_infinite(bound: Array, reason: str) -> str:
    """Return the reason why a bound says nothing of some problems; empty if it speaks of all."""
    return reason if bool(np.isinf(bound).any()) else ""


def _along(asked: Asked) -> list[Guarantee]:
    """Return the bounds along the run of a preconditioned rule at its best rate."""
    problem = asked.problem
    finite = asked.measured[np.isfinite(asked.measured)]
    if 2 * finite.size < asked.measured.size:
        return [_nothing(asked, "fewer than half of the runs reach the tolerance", ALONG)]
    beta = _memory(asked)
    length = int((_BEYOND if beta else _BEYOND_MEMORYLESS) * np.median(finite)) + 2 * START
    if length > _LONGEST_ALONG or _work(asked, length) > _MOST_WORK:
        return [
            _nothing(
                asked,
                f"bounds along a run are computed for runs of at most {_LONGEST_ALONG} steps and small blocks",
                ALONG,
            )
        ]
    schedule = resolve_schedule(asked.schedule)
    seen = rehearse(problem, asked.spec.rule, asked.spec.settings(asked.lr), length, schedule)
    with np.errstate(over="ignore", invalid="ignore"):
        if beta:
            own = _guarantee(asked, "adam-certificate", START, certificate_gaps(seen, 0, START), _NOT_POSITIVE)
            return [own, _span(asked, seen), *_from_state(asked, seen, length)]
        return [_guarantee(asked, "adam-local", 0, energy_gaps(seen), _TAU_ABOVE_TWO)]


def _memory(asked: Asked) -> float:
    """Return beta, the memory of the mean gradient of a rule with a preconditioner."""
    return memory_of(asked.spec.rule, _settings(asked))


def _work(asked: Asked, steps: int) -> float:
    """Return what the eigenvalues along a run cost: problems times steps times the sum of P_l^3."""
    return float(steps * asked.problem.problems * sum(size**3 for size in asked.problem.block_sizes))


def _falling(asked: Asked) -> list[Guarantee]:
    """Return the bound of adam-local while the rate falls linearly to 0; none where the rule has no first step to scale it by.

    At a constant rate a mode with tau > 2 grows near the end, however small the rate is: D follows the gradient down, so that
    tau = rate/D comes back. Under a rate that falls faster than D forgets its first gradients, tau passes 2 once and for all.
    The rate at the start is the one whose first step is as long as the error, at the median of the problems.
    """
    problem, rule = asked.problem, asked.spec.rule
    if asked.schedule != "constant":
        return []
    error = rehearse(problem, rule, asked.spec.settings(1.0), 1, resolve_schedule("constant")).error[:, 0]
    with np.errstate(all="ignore"):
        scale = np.linalg.norm(error[:, 0], axis=-1) / np.linalg.norm(error[:, 1] - error[:, 0], axis=-1)
    rate = float(f"{np.median(scale):.3g}")  # as it is printed, so that a user can repeat the run
    out: list[Guarantee] = []
    for steps in _FALLS:
        if not 0.0 < rate < np.inf or steps > asked.steps or _work(asked, steps) > _MOST_WORK:
            break
        seen = rehearse(problem, rule, asked.spec.settings(rate), steps, resolve_schedule("linear"))
        there = replace(asked, lr=rate, measured=_steps_at(asked, rate, steps, "linear"))
        with np.errstate(over="ignore", invalid="ignore"):
            found = _guarantee(there, "adam-local", START, energy_gaps(seen, 0, START), _TAU_FALLING, FALLING)
        out = [replace(found, falls=steps)]
        if 2 * np.isfinite(found.bound).sum() >= found.bound.size:
            break
    return out


def _from_state(asked: Asked, seen: Replay, length: int) -> list[Guarantee]:
    """Return the bound from the state of Adam at one step, which reads nothing of the run after it; none for other rules."""
    settings = _settings(asked)
    if not (canonical_name(asked.spec.rule) == "adam" and asked.schedule == "constant" and settings["beta2"] > 0.0):
        return []
    median = float(np.median(asked.measured[np.isfinite(asked.measured)]))
    last = min(length, int(_BEYOND_STATE * median))
    if last <= _LATER:
        return [_nothing(asked, f"the bound from the state at step {_LATER} alone: the runs are over before", STATE)]
    beta2 = settings["beta2"]
    second = np.zeros_like(seen.gradient[:, 0, 0])
    for t in range(_LATER):
        second = beta2 * second + (1.0 - beta2) * seen.gradient[:, 0, t] ** 2
    state = (seen.error[:, 0, _LATER], seen.mean[:, 0, _LATER], second)
    every = certificates_for(settings["beta1"])
    gaps = np.full((*seen.smallest_tau[:, 0, : last + 1].shape,), np.inf)
    gaps[:, _LATER:] = from_state_gaps(
        asked.problem, state, _LATER, last, certificate=Certificate(*(x[list(_ENERGIES)] for x in every)),
        **{name: settings[name] for name in ("lr", "beta1", "beta2", "eps")},
    )  # fmt: skip
    gaps[:, _LATER] = np.inf  # the gap of the state itself
    return [_guarantee(asked, "adam-from-state", _LATER, gaps, _ENCLOSED, STATE)]


_ENCLOSED = "what the state says of later preconditioners is too wide for every energy"
_NOT_POSITIVE = "no energy stays positive in every step and falls far enough"
_TAU_ABOVE_TWO = (
    "without momentum a mode with tau > 2 grows, as happens now and then at useful rates; runs arrive all the same "
    "(tau: the rate times an eigenvalue of D^-1 H, for the denominator D of the step)"
)
_TAU_FALLING = "a mode with tau > 2 grows: D forgets its first gradients faster than the rate falls"
_PRODUCT = "the steps together do not shrink the worst start far enough, or only up to what rounding may add"
_ALLOWED = 1.0 + 1e-6  # left for rounding on the way


def _guarantee(asked: Asked, theorem: str, start: int, gaps: Array, reason: str, kind: str = ALONG) -> Guarantee:
    """Return the guarantee of bounds on the gaps of blocks (M, T + 1, B)."""
    total = np.where(np.isfinite(gaps).all(axis=-1), gaps.sum(axis=-1), np.inf)
    initial = asked.problem.initial_gap
    bound = _first_within(total, asked.tolerance * initial)
    why = _why_infinite(bound, reason)
    unknown = np.full(bound.size, np.nan)
    curve = _at(total / initial[:, None], asked)
    return Guarantee(kind, theorem, asked.lr, start, bound, asked.measured, unknown, curve, why)


def _span(asked: Asked, seen: Replay) -> Guarantee:
    """Return the guarantee of adam-span, where rounding on the way leaves it standing."""
    gaps = span_gaps(seen)
    found = _guarantee(asked, "adam-span", 0, gaps * _ALLOWED, _PRODUCT)
    ends = np.where(np.isfinite(found.bound), found.bound, 0).astype(np.int64)
    rounding = span_rounding(seen, ends)
    there = np.take_along_axis(gaps, ends[:, None, None], axis=1)[:, 0]
    total = np.sum((np.sqrt(there) + rounding / np.sqrt(2.0)) ** 2, axis=-1)
    sound = total <= asked.tolerance * asked.problem.initial_gap
    bound = np.where(sound, found.bound, np.inf)
    why = _why_infinite(bound, _PRODUCT)
    return Guarantee(ALONG, found.theorem, asked.lr, 0, bound, asked.measured, found.at_least, found.curve, why)
