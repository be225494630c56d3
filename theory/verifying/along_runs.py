"""Bounds along the runs of optimizers with a preconditioner, of one optimizer at several points of a sweep at once.

A run is repeated in NumPy, step by step, and so is the bound from a state. What a step takes hangs on the number of operations
more than on that of the problems, so the problems of all points take these steps together. Every operation is one of single
problems: the bounds are, to the bit, those of every point alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.engines import simulate
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.schedules import resolve_schedule
from quadsim.simulator.runs.guaranteed import ALONG, FALLING, STATE, Asked, Guarantee
from quadsim.theory.running.certificates import Certificate, certificates_for
from quadsim.theory.running.energy import certificate_gaps, energy_gaps, span_gaps, span_rounding
from quadsim.theory.running.from_state import from_state_gaps
from quadsim.theory.running.preconditioner import Replay, memory_of, rehearse
from quadsim.theory.running.values import canonical_name

__all__ = [
    "LONGEST_ALONG",
    "START",
    "along",
    "at_recorded",
    "first_within",
    "nothing",
    "settings_of",
    "steps_at",
    "why_infinite",
]

Array = NDArray[np.float64]

START = 12
"""Step from whose state the bound of adam-certificate is computed: before it bias correction changes B_t by over 1% a step."""

_LATER = 50
"""Step from whose state alone the bound of adam-from-state is computed: from step 25 it is finite on half as many problems."""

_ENERGIES = (3, 4, 12)
"""Certificates that are tried then: of all sixteen these give the smallest bounds from a state, on all default problems."""

_BEYOND_STATE = 1.4
"""Length of the run that such a bound is looked for, relative to the median of the measured steps."""

LONGEST_ALONG = 4000
"""Steps of a run along which bounds are computed, at most."""

_MOST_WORK = 4e8
"""Problems times steps times the sum of P_l^3 along a run."""

_BEYOND = 1.6
_BEYOND_MEMORYLESS = 1.3
"""Length of the run along which a bound is looked for, relative to the median of the measured steps."""


_FALLS = (200, 800)
"""Steps in which the rate falls to 0 where a memoryless rule has no bound at its best rate: the first that serve half of the
problems. A thousand steps of 16 default problems take .4 s of CPU time, almost all of it for eigenvalues."""


def nothing(asked: Asked, why: str, kind: str) -> Guarantee:
    """Return the guarantee that says nothing, and why."""
    number = asked.problem.problems
    none, unknown = np.full(number, np.inf), np.full(number, np.nan)
    return Guarantee(kind, "", asked.lr, 0, none, unknown, unknown, np.full((number, asked.recorded.size), np.nan), why)


def settings_of(asked: Asked) -> dict[str, float]:
    """Return the settings of the optimizer at its best rate, name to value."""
    return {name: float(values[0]) for name, values in asked.spec.settings(asked.lr).items()}


def steps_at(asked: Asked, rate: float, steps: int, schedule: str = "constant") -> Array:
    """Return the steps until the tolerance at another rate, (M,)."""
    hyperparameters: dict[str, Any] = dict(asked.spec.hyperparameters)
    run = simulate(
        asked.problem, asked.spec.rule, lr=rate, steps=max(steps, 1), record="log", tolerance=asked.tolerance,
        schedule=schedule, **hyperparameters,
    )  # fmt: skip
    return np.asarray(run.steps_to_tolerance[:, 0])


def first_within(values: Array, goals: Array) -> Array:
    """Return the first step at which values (M, T + 1) are at most the goals (M,), (M,); `inf` if there is none."""
    within = values <= goals[:, None]
    return np.where(within.any(axis=1), within.argmax(axis=1).astype(np.float64), np.inf)


def at_recorded(values: Array, asked: Asked) -> Array:
    """Return values (M, T + 1) at the recorded steps, NaN where they are infinite or beyond, (M, R)."""
    out = np.full((values.shape[0], asked.recorded.size), np.nan)
    inside = asked.recorded < values.shape[1]
    out[:, inside] = values[:, asked.recorded[inside]]
    return np.where(np.isfinite(out), out, np.nan)


def why_infinite(bound: Array, reason: str) -> str:
    """Return the reason why a bound says nothing of some problems; empty if it speaks of all."""
    return reason if bool(np.isinf(bound).any()) else ""


def along(asked: Sequence[Asked]) -> list[list[Guarantee]]:
    """Return the bounds along the runs of a preconditioned rule at its best rates, or else under falling rates.

    Where those along the run say nothing of some problems, those under a falling rate follow them.

    Args:
        asked: one optimizer at several points, whose problems have the same blocks; only its rate differs between them.
    """
    memory = memory_of(asked[0].spec.rule, settings_of(asked[0]))
    lengths = [_length(one, memory) for one in asked]
    known = [i for i, length in enumerate(lengths) if isinstance(length, int)]
    out = [
        [nothing(one, length, ALONG)] if isinstance(length, str) else []
        for one, length in zip(asked, lengths, strict=True)
    ]
    some = [asked[i] for i in known]
    steps = [length for length in lengths if isinstance(length, int)]
    seen = _rehearsed(some, [one.lr for one in some], steps, asked[0].schedule)
    with np.errstate(over="ignore", invalid="ignore"):
        states = _from_state(some, seen) if memory else []
        for i, (one, own) in enumerate(zip(some, seen, strict=True)):
            if memory:
                first = _guarantee(one, "adam-certificate", START, certificate_gaps(own, 0, START), _NOT_POSITIVE)
                out[known[i]] = [first, _span(one, own), *states[i]]
            else:
                out[known[i]] = [_guarantee(one, "adam-local", 0, energy_gaps(own), _TAU_ABOVE_TWO)]
    if not memory:
        open_ = [i for i, found in enumerate(out) if found[0].why_not]
        for i, found in zip(open_, _falling([asked[i] for i in open_]), strict=True):
            out[i] += found
    return out


def _length(asked: Asked, memory: float) -> int | str:
    """Return the length of the run along which bounds are computed, or why there are none."""
    finite = asked.measured[np.isfinite(asked.measured)]
    if 2 * finite.size < asked.measured.size:
        return "fewer than half of the runs reach the tolerance"
    length = int((_BEYOND if memory else _BEYOND_MEMORYLESS) * np.median(finite)) + 2 * START
    if length > LONGEST_ALONG or _work(asked, length) > _MOST_WORK:
        return f"bounds along a run are computed for runs of at most {LONGEST_ALONG} steps and small blocks"
    return length


def _work(asked: Asked, steps: int) -> float:
    """Return what the eigenvalues along a run cost: problems times steps times the sum of P_l^3."""
    return float(steps * asked.problem.problems * sum(size**3 for size in asked.problem.block_sizes))


def _joined(problems: Iterable[BlockQuadratic]) -> BlockQuadratic:
    """Return the problems of several batches with the same blocks as one batch, which no longer says how they were drawn."""
    every = list(problems)
    arrays = ("hessian", "eigenvalues", "eigenvectors", "initial_coefficients", "initial_error", "minimizer")
    whole: dict[str, Any] = {
        name: {size: np.concatenate([getattr(one, name)[size] for one in every]) for size in every[0].hessian}
        for name in arrays
    }
    return replace(every[0], **whole, index=np.concatenate([one.index for one in every]), dials={}, exact=None)


def _of_each(asked: Sequence[Asked], values: Iterable[float]) -> Array:
    """Return the value of every point for each of its problems, (M,), M of all points together."""
    return np.repeat(np.array(list(values)), [one.problem.problems for one in asked])


def _parts(asked: Sequence[Asked]) -> list[slice]:
    """Return where the problems of each point lie among those of all."""
    ends = np.cumsum([one.problem.problems for one in asked]).tolist()
    return [slice(end - one.problem.problems, end) for one, end in zip(asked, ends, strict=True)]


def _rehearsed(asked: Sequence[Asked], rates: Sequence[float], steps: Sequence[int], schedule: str) -> list[Replay]:
    """Return the replays of runs at rates of one's own for every point, each of so many steps."""
    if not asked:
        return []
    problem, spec = _joined(one.problem for one in asked), asked[0].spec
    settings = dict(spec.settings(rates[0])) | {"lr": _of_each(asked, rates)[:, None]}
    whole = rehearse(problem, spec.rule, settings, max(steps), resolve_schedule(schedule))
    out = []
    for one, part, last in zip(asked, _parts(asked), steps, strict=True):
        arrays: dict[str, Any] = {
            name: np.ascontiguousarray(getattr(whole, name)[part, :, : last + 1])
            for name in ("error", "gradient", "mean", "preconditioner")
        }
        own: Mapping[str, Any] = {
            name: getattr(one.problem, name) for name in ("hessian", "eigenvalues", "eigenvectors")
        }
        out.append(replace(whole, **own, **arrays))
    return out


def _falling(asked: Sequence[Asked]) -> list[list[Guarantee]]:
    """Return the bounds of adam-local while the rate falls linearly to 0; none where a rule has no first step to scale it by.

    At a constant rate a mode with tau > 2 grows near the end, however small the rate is: D follows the gradient down, so that
    tau = rate/D comes back. Under a rate that falls faster than D forgets its first gradients, tau passes 2 once and for all.
    The rate at the start is the one whose first step is as long as the error, at the median of the problems.
    """
    out: list[list[Guarantee]] = [[] for _ in asked]
    if not asked or asked[0].schedule != "constant":
        return out
    rates = []
    for seen in _rehearsed(asked, [1.0] * len(asked), [1] * len(asked), "constant"):
        error = seen.error[:, 0]
        with np.errstate(all="ignore"):
            scale = np.linalg.norm(error[:, 0], axis=-1) / np.linalg.norm(error[:, 1] - error[:, 0], axis=-1)
        rates.append(float(f"{np.median(scale):.3g}"))  # as it is printed, so that a user can repeat the run
    left = [i for i, rate in enumerate(rates) if 0.0 < rate < np.inf]
    for steps in _FALLS:
        left = [i for i in left if steps <= asked[i].steps and _work(asked[i], steps) <= _MOST_WORK]
        some = [asked[i] for i in left]
        replays = _rehearsed(some, [rates[i] for i in left], [steps] * len(left), "linear")
        again = []
        for i, seen in zip(left, replays, strict=True):
            there = replace(asked[i], lr=rates[i], measured=steps_at(asked[i], rates[i], steps, "linear"))
            with np.errstate(over="ignore", invalid="ignore"):
                found = _guarantee(there, "adam-local", START, energy_gaps(seen, 0, START), _TAU_FALLING, FALLING)
            out[i] = [replace(found, falls=steps)]
            if 2 * np.isfinite(found.bound).sum() < found.bound.size:
                again.append(i)
        left = again
    return out


def _from_state(asked: Sequence[Asked], seen: Sequence[Replay]) -> list[list[Guarantee]]:
    """Return the bounds from the state of Adam at one step, which read nothing of the run after it; none for other rules."""
    out: list[list[Guarantee]] = [[] for _ in asked]
    if not asked:
        return out
    rule, settings = asked[0].spec.rule, settings_of(asked[0])
    if not (canonical_name(rule) == "adam" and asked[0].schedule == "constant" and settings["beta2"] > 0.0):
        return out
    lasts = []
    for one, own in zip(asked, seen, strict=True):
        median = float(np.median(one.measured[np.isfinite(one.measured)]))
        lasts.append(min(own.error.shape[2] - 1, int(_BEYOND_STATE * median)))
    early = [i for i, last in enumerate(lasts) if last <= _LATER]
    for i in early:
        out[i] = [
            nothing(asked[i], f"the bound from the state at step {_LATER} alone: the runs are over before", STATE)
        ]
    chosen = [i for i in range(len(asked)) if i not in early]
    if not chosen:
        return out
    some = [asked[i] for i in chosen]
    every = certificates_for(settings["beta1"])
    states = [_state(seen[i], settings["beta2"]) for i in chosen]
    found = from_state_gaps(
        _joined(one.problem for one in some),
        (np.concatenate([s[0] for s in states]), np.concatenate([s[1] for s in states]), np.concatenate([s[2] for s in states])),
        _LATER, max(lasts[i] for i in chosen), lr=_of_each(some, (one.lr for one in some)),
        certificate=Certificate(*(x[list(_ENERGIES)] for x in every)),
        **{name: settings[name] for name in ("beta1", "beta2", "eps")},
    )  # fmt: skip
    for i, part in zip(chosen, _parts(some), strict=True):
        gaps = np.full((asked[i].problem.problems, lasts[i] + 1, len(asked[i].problem.block_sizes)), np.inf)
        gaps[:, _LATER + 1 :] = found[part, 1 : lasts[i] + 1 - _LATER]  # not the gap of the state itself
        out[i] = [_guarantee(asked[i], "adam-from-state", _LATER, gaps, _ENCLOSED, STATE)]
    return out


def _state(seen: Replay, beta2: float) -> tuple[Array, Array, Array]:
    """Return the error, the mean gradient and the second moment of Adam at the step from which it is bounded, (M, P) each."""
    second = np.zeros_like(seen.gradient[:, 0, 0])
    for t in range(_LATER):
        second = beta2 * second + (1.0 - beta2) * seen.gradient[:, 0, t] ** 2
    return seen.error[:, 0, _LATER], seen.mean[:, 0, _LATER], second


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
    bound = first_within(total, asked.tolerance * initial)
    why = why_infinite(bound, reason)
    unknown = np.full(bound.size, np.nan)
    curve = at_recorded(total / initial[:, None], asked)
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
    why = why_infinite(bound, _PRODUCT)
    return Guarantee(ALONG, found.theorem, asked.lr, 0, bound, asked.measured, found.at_least, found.curve, why)
