"""Answer a sweep about optimizers that no theorem bounds at their best rates: at which rate one does, or along the run."""

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.oracles import Stream
from quadsim.simulator.runs.guaranteed import A_PRIORI, ALONG, BELOW, Asked, Guarantee
from quadsim.simulator.support.torch_modes import own_modes
from quadsim.theory.running.gd_start import gd_least_steps
from quadsim.theory.running.modes import has_modes, mode_factors
from quadsim.theory.running.preconditioner import has_form
from quadsim.theory.running.sign_bounds import (
    DescentForm,
    curve,
    distance_steps,
    gap_form,
    guaranteed_rate,
    midpoint_form,
)
from quadsim.theory.verifying.along_runs import (
    LONGEST_ALONG,
    along,
    at_recorded,
    first_within,
    nothing,
    settings_of,
    steps_at,
    why_infinite,
)

__all__ = ["guarantees"]

Array = NDArray[np.float64]

_LONGEST_SIGNS = 100_000
"""Steps of a run at a guaranteed rate, at most, unless those of the sweep are longer; else sign-distance only brackets it.
A hundred thousand steps of 16 default problems take .3 s of CPU time; Signum's half a million at three points would take 4 s."""


@overload
def guarantees(asked: Asked) -> Sequence[Guarantee]: ...
@overload
def guarantees(asked: Sequence[Asked]) -> Sequence[Sequence[Guarantee]]: ...
@own_modes()
def guarantees(asked: Asked | Sequence[Asked]) -> Sequence[Guarantee] | Sequence[Sequence[Guarantee]]:
    """Return what theorems say of an optimizer at a rate of theirs, or along the run at its best rate; see `Guarantee`.

    Rules of signs get an a-priori bound at the rate that makes the largest bound of the problems smallest, and a run at that
    rate. GD, which has a bound from above, gets one from below. Linear rules with momentum get the exact worst case of their
    modes, at the best rate. Rules with a preconditioner get bounds along the run at the best rate, which is repeated in NumPy
    from the rule's expressions: that takes a tenth of the time of an engine that records every iterate. Of those without a
    memory of gradients that bound is mostly infinite; they get one along a run whose rate falls to 0, too.

    Args:
        asked: an optimizer, its problems and its best rate; or several, which get the same bounds together in less time.

    Returns:
        The guarantees of the optimizer, or those of each of several.
    """
    if isinstance(asked, Asked):
        return _of_several([asked])[0]
    return _of_several(asked)


def _of_several(asked: Sequence[Asked]) -> list[Sequence[Guarantee]]:
    """Return the guarantees of every optimizer: those along runs of one optimizer at several points are computed together."""
    out = [_of_one(one) for one in asked]
    together: dict[object, list[int]] = {}
    for i, one in enumerate(asked):
        if out[i] is None:
            settings = frozenset((name, value) for name, value in settings_of(one).items() if name != "lr")
            alike = (one.spec.rule, settings, one.schedule, one.problem.layout, one.problem.rule_blocks)
            together.setdefault(alike, []).append(i)
    for places in together.values():
        for i, found in zip(places, along([asked[i] for i in places]), strict=True):
            out[i] = found
    return [found for found in out if found is not None]


def _of_one(asked: Asked) -> Sequence[Guarantee] | None:
    """Return the guarantees that are computed for every point alone; None where they are those along its runs."""
    if isinstance(asked.oracle, Stream):
        from quadsim.theory.verifying.stream_guarantees import in_the_mean  # imports SymPy

        return in_the_mean(asked, asked.oracle)
    if asked.bounded:
        return _from_below(asked)
    if asked.spec.is_torch:
        return [nothing(asked, "a class of torch has no formula, so no theorem speaks of it", A_PRIORI)]
    rule = asked.spec.rule
    if asked.problem.null_dimensions.any():
        return [nothing(asked, "H is singular, and every theorem takes it for positive definite", A_PRIORI)]
    if rule.name in ("signsgd", "signum", "lion"):
        return [_of_signs(asked)]
    if has_modes(rule):
        return [_of_modes(asked)]
    if not has_form(rule):
        return [nothing(asked, f"no theorem here speaks of {rule.name}", A_PRIORI)]
    if settings_of(asked).get("weight_decay", 0.0) != 0.0:
        return [nothing(asked, "the theorems on preconditioned steps need a weight decay of 0", ALONG)]
    return None


def _from_below(asked: Asked) -> list[Guarantee]:
    """Return what GD needs at every constant rate from these starts, beside its bound from above."""
    if asked.spec.is_torch or asked.spec.rule.name not in ("gd", "sgd") or asked.schedule != "constant":
        return []
    least = gd_least_steps(asked.problem, asked.tolerance)
    none = np.full((least.size, asked.recorded.size), np.nan)
    return [Guarantee(BELOW, "gd-lower-start", asked.lr, 0, least, asked.measured, least, none)]


def _of_signs(asked: Asked) -> Guarantee:
    """Return the best a-priori bound of a rule of signs, its rate, and a run at that rate."""
    problem, settings, name = asked.problem, settings_of(asked), asked.spec.rule.name
    if asked.schedule != "constant":
        why = f"guaranteed rates are searched among constant ones, and the schedule is {asked.schedule}"
        return nothing(asked, why, A_PRIORI)
    if settings.get("weight_decay", 0.0) != 0.0:
        return nothing(asked, "the theorems on signs need a weight decay of 0", A_PRIORI)
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
        steps = steps_at(asked, rate, int(longest))
        late = int(np.sum(steps > bound))
        why = f"on {late} problems a run took more steps than the bound: one of the two is wrong" if late else ""
    elif np.isfinite(longest):
        why = (
            f"its runs would be longer than {limit} steps and were not made (a larger --steps makes them); at least the "
            "given steps are needed (sign-distance)"
        )
    at_least = np.ceil(distance_steps(problem, np.array([rate]), asked.tolerance)[:, 0])
    shown = curve(forms[theorem], rate, asked.recorded) / problem.initial_gap[:, None]
    return Guarantee(A_PRIORI, theorem, rate, 0, bound, steps, at_least, shown, why)


def _of_modes(asked: Asked) -> Guarantee:
    """Return the worst case over starts of a linear rule, which is known for any rate: max_i p_t(lambda_i)^2."""
    problem = asked.problem
    if asked.schedule != "constant":
        why = f"the polynomials of the modes are those of constant rates, and the schedule is {asked.schedule}"
        return nothing(asked, why, A_PRIORI)
    settings = settings_of(asked)
    if settings.get("weight_decay", 0.0) != 0.0:
        return nothing(asked, "with weight decay the error is not a polynomial of H times the start", A_PRIORI)
    finite = asked.measured[np.isfinite(asked.measured)]
    length = min(asked.steps, int(4 * np.median(finite)) + 100) if finite.size else asked.steps
    length = min(length, LONGEST_ALONG)
    spectrum = problem.layout.flatten(problem.eigenvalues)
    with np.errstate(over="ignore"):  # at a rate at which the rule diverges
        worst = np.max(mode_factors(asked.spec.rule, settings, spectrum, length) ** 2, axis=1) * (1.0 + 1e-9)
    bound = first_within(worst, np.full(problem.problems, asked.tolerance))
    why = why_infinite(bound, "the worst start does not reach the tolerance within the steps that are looked at")
    unknown = np.full(problem.problems, np.nan)
    return Guarantee(
        A_PRIORI, "linear-modes", asked.lr, 0, bound, asked.measured, unknown, at_recorded(worst, asked), why
    )
