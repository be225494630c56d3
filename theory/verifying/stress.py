"""Check that no true theorem is refuted or undecided (`stress`): random instances over all dials, scales, dtypes and edges.

Every run of a theorem's trial is repeated at another scale of H and of the start, in single precision, and at the edge of
stability of its rule. The draws of a batch depend on the theorem, its number and the seed alone, not on the number of processes.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.engines.number_range import NumberRangeError
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.simulator.support.checks import check_choice, check_count
from quadsim.theory.checking.comparison import CONTRADICTION, FOREIGN, Check, check
from quadsim.theory.checking.floats import HIDDEN, OBSTACLES
from quadsim.theory.statements.quantities import canonical_name, evaluate, frozen_spectrum
from quadsim.theory.statements.registry import THEOREMS
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import MinOver, Symbol
from quadsim.theory.verifying.processes import in_processes
from quadsim.theory.verifying.reruns import again
from quadsim.theory.verifying.trials import BATCH, trial_of

__all__ = ["VARIANTS", "Stressed", "stress"]

VARIANTS = ("as drawn", "scaled", "float32", "at the edge", "in rationals")
"""How an instance was made."""

_AT_ONCE = 4
"""Batches of a theorem that are handed out before its instances are counted."""

_MOST_BATCHES = 400
"""Batches of a theorem at most: one whose instances hardly ever test anything ends here."""

_LARGEST_SCALE = 332  # of powers of two: 1e100
_LARGEST_SINGLE = 30  # the same for single precision, whose squares end at 1e38: 1e9
_EFFORT = 50.0

_STANDARD_ERRORS = 7.0
"""Standard errors of a mean over draws: beyond them once in 10^12, so that 10^6 means of true statements raise one false alarm in
10^6 such gates."""

_EXACTLY = 200
"""Instances of a run at most that exact arithmetic decides because rounding hides the claim."""

_FEW = 6
"""Steps of such an instance: the digits of an exact run grow with every step."""

Array = NDArray[np.float64]
Draw = np.random.Generator


@dataclass
class Stressed:
    """What became of the instances of a theorem.

    Attributes:
        name: name of the theorem.
        tested: variant to number of instances (problem and setting) that met the hypotheses and tested the claim.
        against: verdict that speaks against the theorem or the judge (`refuted`, `undecided` after a flag, `contradiction`,
            `not the rule's run`) to number of instances.
        untested: (variant, reason) to number of instances that met the hypotheses and tested nothing.
        complaints: messages about the first instances of `against`.
    """

    name: str
    tested: Counter[str] = field(default_factory=Counter)
    against: Counter[str] = field(default_factory=Counter)
    untested: Counter[tuple[str, str]] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    @property
    def instances(self) -> int:
        """Number of instances that met the hypotheses and tested the claim."""
        return sum(self.tested.values())

    def add(self, other: "Stressed") -> None:
        """Add the instances of another batch."""
        self.tested += other.tested
        self.against += other.against
        self.untested += other.untested
        self.complaints = (self.complaints + other.complaints)[:5]


def stress(
    instances: int = 100_000,
    *,
    names: tuple[str, ...] = (),
    workers: int = 1,
    seed: int = 0,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> list[Stressed]:
    """Check true theorems on many random instances; none may be refuted, undecided or contradicted.

    Args:
        instances: number of instances that must have tested a theorem, over all theorems, at least; each gets its share.
        names: names of theorems; none: all.
        workers: number of processes; it does not change the result.
        seed: seed of the draws.
        progress: called with (instances so far, instances, theorem).

    Returns:
        What became of the instances, for every theorem. A theorem whose instances test nothing ends after 400 batches.

    Raises:
        ValueError: an unknown name, or a number out of range.
    """
    check_count("instances", instances)
    check_count("seed", seed, 0)
    chosen = [check_choice("theorem", name, THEOREMS) for name in dict.fromkeys(names)] or list(THEOREMS)
    found = {name: Stressed(name) for name in chosen}
    share = math.ceil(instances / len(chosen))
    begun = 0
    while short := [name for name in chosen if found[name].instances < share]:
        if begun >= _MOST_BATCHES:
            break
        tasks = [(name, number, seed) for number in range(begun, begun + _AT_ONCE) for name in short]
        begun += _AT_ONCE
        for batch in in_processes(stress_batch, tasks, workers):
            found[batch.name].add(batch)
            progress(min(sum(one.instances for one in found.values()), instances), instances, batch.name)
    return list(found.values())


def stress_batch(name: str, number: int, seed: int) -> Stressed:
    """Check one batch of instances of a theorem.

    Args:
        name: name of the theorem.
        number: number of the batch.
        seed: seed of the draws.
    """
    theorem, out = THEOREMS[name], Stressed(name)
    draw = np.random.default_rng([seed, 2, number, *name.encode()])
    if (instance := trial_of(theorem).instance) is not None:
        for place in range(BATCH):
            one = instance(theorem, draw, place, True)
            out.tested["in rationals"] += 1
            if one.verdict != "verified":
                out.against[one.verdict] += 1
                out.complaints.append(one.reason)
        return out
    for variant, run in _variants(theorem, draw):
        nothing = _count(check(theorem, run, effort=_EFFORT, errors=_STANDARD_ERRORS), variant, out)
        left = _EXACTLY
        for m, k, reason in nothing:
            if OBSTACLES[HIDDEN] in reason and run.dtype == "float64" and left:
                left -= 1
                rerun = again(
                    run,
                    run.problem.select([m]),
                    {name: values[[k]] for name, values in run.settings.items()},
                    steps=_FEW,
                )
                rest = _count(check(theorem, rerun, effort=_EFFORT, exactly=True), variant, out)
                out.untested.update((variant, _kind_of(reason)) for _, _, reason in rest)
            else:
                out.untested[variant, _kind_of(reason)] += 1
    return out


def _count(found: Check, variant: str, out: Stressed) -> list[tuple[int, int, str]]:
    """Add a check to the counts; return problem, setting and reason of the instances that tested nothing."""
    flagged = (found.verdict == "undecided") & (found.step >= 0)
    bad = flagged | np.isin(found.verdict.astype(str), ("refuted", FOREIGN, CONTRADICTION))
    nothing = (found.verdict == "undecided") & ~flagged
    out.tested[variant] += int(np.sum((found.verdict != "not applicable") & ~nothing))
    out.against.update(found.verdict[bad].tolist())
    out.complaints += [f"{variant}: {found.complaint(int(m), int(k))}" for m, k in np.argwhere(bad)[:1]]
    return [(int(m), int(k), str(found.reason[m, k])) for m, k in np.argwhere(nothing)]


def _kind_of(reason: str) -> str:
    """Return a reason without the counts in its brackets and the number of a step."""
    return reason.split(" (")[0].split(" at step")[0]


def _variants(theorem: Theorem, draw: Draw) -> Iterator[tuple[str, Trajectory]]:
    """Yield the runs of one batch, each with its variant."""
    trial = trial_of(theorem)
    if trial.sampled is not None:
        for run in trial.sampled(draw, BATCH):
            yield "as drawn", run
            yield "scaled", _scaled(run, *_scales(draw, _LARGEST_SCALE))
            scales = _scales(draw, _LARGEST_SINGLE)
            if (single := _in_single(run, *scales)) is not None:
                yield "float32", single
            if (edge := _edge(run)) is not None:
                units = draw.integers(-4, 5, size=edge.shape) * np.finfo(float).eps
                yield "at the edge", again(run, run.problem, {"lr": edge * (1.0 + units)})
    if trial.rational is not None:
        yield "in rationals", trial.rational(draw)


# Scales. Powers of two multiply every number without rounding.

_UNITS: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(("gd", "sgd", "heavy-ball", "nesterov"), (-1, 0)),
    **dict.fromkeys(("gd-lambda", "sign-lambda", "block-gd"), (0, 0)),
}
"""Rule to the powers of the scale of H and of the scale of the start in its rate; all others step as far as the start is."""


def _scales(draw: Draw, largest: int) -> tuple[float, float]:
    """Draw scales of H and of the start, such that gradients and gaps are between 2^-largest and 2^largest, too."""
    while True:
        curvature = int(draw.integers(-largest, largest + 1))
        start = int(draw.integers(-largest // 2, largest // 2 + 1)) if draw.random() < 0.5 else 0
        if abs(curvature + 2 * start) <= largest and abs(curvature + start) <= largest:
            return 2.0**curvature, 2.0**start


def _in_single(run: Trajectory, curvature: float, start: float) -> Trajectory | None:
    """Return the scaled run in float32; None where float32 does not hold its numbers, or the squares that the rule adds up."""
    try:
        return _scaled(run, curvature, start, dtype="float32")
    except NumberRangeError:
        return None


def _scaled(run: Trajectory, curvature: float, start: float, dtype: str = "float64") -> Trajectory:
    """Return the run of the same rule with H and e_0 multiplied, and with rates and eps that do the same as before."""
    problem, rule = run.problem, run.rule
    assert rule is not None

    def times(groups: Mapping[int, Array], factor: float) -> dict[int, Array]:
        return {size: factor * values for size, values in groups.items()}

    scaled = replace(
        problem,
        hessian=times(problem.hessian, curvature),
        eigenvalues=times(problem.eigenvalues, curvature),
        initial_error=times(problem.initial_error, start),
        initial_coefficients=times(problem.initial_coefficients, start),
        minimizer=times(problem.minimizer, start),
        exact=None,
    )
    of_curvature, of_start = _UNITS.get(rule.name, (0, 1))
    settings = {"lr": run.settings["lr"] * curvature**of_curvature * start**of_start}
    if "eps" in run.settings:
        settings["eps"] = run.settings["eps"] * curvature * start
    return again(run, scaled, settings, dtype=dtype, noise=run.gradient_noise_std * curvature * start)


# Edges of stability.


def _edge(run: Trajectory) -> Array | None:
    """Return rates at the edge of stability of the rule on problems of the batch, (K,); None for a rule without one.

    For Adam and its relatives it is the edge at the preconditioner of the first step.
    """
    name = canonical_name(run.rule)
    find = _EDGES.get(name)
    if find is None:
        return None
    rates = np.ravel(find(run))
    rates = rates[np.isfinite(rates) & (rates > 0.0)]
    k = run.number_of_settings
    if not rates.size:
        return None
    return np.asarray(np.resize(rates, k))


def _largest(run: Trajectory) -> Array:
    return np.asarray(run.problem.block_smoothness.max(axis=1))


def _preconditioned(run: Trajectory) -> Array:
    beta = float(run.settings["beta1"][0]) if "beta1" in run.settings else 0.0
    return np.asarray(2.0 * (1.0 + beta) / (1.0 - beta) / frozen_spectrum(run).max(axis=-1))


def _momentum(run: Trajectory, nesterov: int) -> Array:
    beta = float(run.settings["momentum"][0])
    return np.asarray(2.0 * (1.0 + beta) / (1.0 + 2.0 * beta * nesterov) / _largest(run))


def _frozen(run: Trajectory) -> Array:
    """Return 2/max sigma, where the stiffest mode neither grows nor shrinks, and min_l C1_l, the limit of the theorems."""
    stable = 2.0 / frozen_spectrum(run).max(axis=-1)[:, 0]
    limit = evaluate(MinOver(Symbol.C1_l), run)[:, 0]
    return np.ravel(np.column_stack([stable, limit]))


_EDGES: Mapping[str, Callable[[Trajectory], Array]] = {
    "gd": lambda run: 2.0 / _largest(run),
    "sgd": lambda run: 2.0 / _largest(run),
    "heavy-ball": lambda run: _momentum(run, 0),
    "nesterov": lambda run: _momentum(run, 1),
    "block-gd": lambda run: 1.0 + (run.problem.block_strong_convexity / run.problem.block_smoothness).min(axis=1),
    "adam-frozen": _frozen,
    "gd-lambda": lambda run: np.array([2.0]),
    "sign-lambda": lambda run: np.array([2.0]),
    **dict.fromkeys(("adam", "adamw", "amsgrad", "rmsprop"), _preconditioned),
}
"""Rule to the largest stable rates on the problems of a run, (M,) or fewer."""
