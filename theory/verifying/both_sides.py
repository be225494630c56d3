"""Hypotheses of a theorem on both sides: how many instances meet each one, and one that violates the statement without it.

The runs of a theorem's trial are repeated with each setting changed, on another problem, from another start, and under a related
rule; a trial may name runs that lie beyond a hypothesis. An instance at which exactly one hypothesis fails shows what the
statement is without it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.checking.comparison import check
from quadsim.theory.statements.quantities import evaluate_along
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.verifying.reruns import again
from quadsim.theory.verifying.trials import Trial, random_problems

__all__ = ["Sides", "on_both_sides"]

_PROBLEMS = 6
_EFFORT = 1.0
_LEAST, _MOST = 24, 60
"""Runs: as soon as it is known of every hypothesis what happens without it, and else."""

_EXAMPLES = 4
"""Runs at most in which an instance that fails without a hypothesis is looked for."""

NEEDED, UNDEFINED, NOT_SEEN = "needed", "without it there is no claim", "no instance fails without it"
NOT_NEEDED, TOGETHER = "not needed", "it fails only together with others"

Draw = np.random.Generator
Array = NDArray[np.float64]


@dataclass
class Sides:
    """A hypothesis as instances met it.

    Attributes:
        text: the hypothesis in words.
        holding: number of instances (problem and setting) that meet it.
        failing: number of instances that do not.
        alone: of these, instances that meet all other hypotheses.
        without: `needed` (an instance violates the statement where this hypothesis alone fails), `without it there is no claim`
            (a value in it does not exist there), `not needed` (its proof does not use it), `it fails only together with others`
            (no instance meets all others) or `no instance fails without it`.
        instance: the instance, or why there is no claim.
    """

    text: str
    holding: int = 0
    failing: int = 0
    alone: int = 0
    without: str = NOT_SEEN
    instance: str = ""


def on_both_sides(theorem: Theorem, trial: Trial, seed: int = 0, unused: tuple[str, ...] = ()) -> tuple[Sides, ...]:
    """Return how instances meet each hypothesis of a theorem, and what happens without it.

    Args:
        theorem: the theorem.
        trial: the runs on which it is checked; their changed forms are on the other sides.
        seed: seed of the draws.
        unused: hypotheses that the proof does not use.
    """
    found = tuple(Sides(hypothesis.text) for hypothesis in theorem.conditions)
    if not found or trial.sampled is None:
        return found
    bare = replace(theorem, hypotheses=(), statement="without hypotheses")
    draw = np.random.default_rng([seed, 3, *theorem.name.encode()])
    tried = dict.fromkeys(range(len(found)), 0)
    for number, run in enumerate(_runs(trial, draw, theorem.rules)):
        settled = all(one.without == NEEDED or (one.without == UNDEFINED and one.alone) for one in found)
        if number >= (_LEAST if settled else _MOST):
            break
        shape = run.status.shape
        spoken = bare.applies(run)
        with np.errstate(invalid="ignore"):  # of constants of a gradient with an entry of 0
            met = [np.broadcast_to(hypothesis.holds(run), shape) for hypothesis in theorem.conditions]
        for i, one in enumerate(found):
            one.holding += int(np.sum(spoken & met[i]))
            one.failing += int(np.sum(spoken & ~met[i]))
            others = np.logical_and.reduce([m for j, m in enumerate(met) if j != i] or [np.ones(shape, dtype=bool)])
            alone = spoken & ~met[i] & others
            one.alone += int(alone.sum())
            if alone.any() and one.without != NEEDED and tried[i] < _EXAMPLES:
                tried[i] += 1
                _look(theorem, i, run, alone, one)
            elif one.without == NOT_SEEN and (fails := spoken & ~met[i]).any() and tried[i] < _EXAMPLES:
                tried[i] += 1
                _has_no_value(bare, run, fails, one)
    for one in found:
        if one.without == NOT_SEEN and one.text in unused:
            one.without = NOT_NEEDED
        elif one.without == NOT_SEEN and one.failing and not one.alone:
            one.without = TOGETHER
    return found


def _look(theorem: Theorem, i: int, run: Trajectory, alone: NDArray[np.bool_], one: Sides) -> None:
    """Check the theorem without hypothesis i on a run, and note the first instance of those `alone` that violates it."""
    rest = tuple(h for j, h in enumerate(theorem.conditions) if j != i)
    weaker = replace(theorem, hypotheses=rest, statement="without a hypothesis")
    try:
        with np.errstate(all="ignore"):
            result = check(weaker, run, effort=_EFFORT)
    except ValueError as error:  # a symbol has no value on such a run, as the preconditioner of a step with decay
        one.without, one.instance = UNDEFINED, str(error)
        return
    against = (result.verdict == "refuted") | ((result.verdict == "undecided") & (result.step >= 0))
    order = np.argwhere(alone & against)
    if order.size:
        exact = [(m, k) for m, k in order if result.verdict[m, k] == "refuted"]
        m, k = (int(x) for x in (exact or order)[0])
        one.without, one.instance = NEEDED, _words(run, m, k, int(result.step[m, k]), str(result.verdict[m, k]))
    elif one.without == NOT_SEEN and np.isnan(result.margin[alone]).all():
        one.without, one.instance = UNDEFINED, str(result.reason[alone][0])


def _has_no_value(bare: Theorem, run: Trajectory, fails: NDArray[np.bool_], one: Sides) -> None:
    """Note if the bound has no value where a hypothesis fails, together with others."""
    try:
        with np.errstate(all="ignore"):
            bound = evaluate_along(bare.bound, run)
    except ValueError as error:  # as of the preconditioner of a step with decay
        one.without, one.instance = UNDEFINED, str(error)
        return
    if np.isnan(bound[fails]).all():
        one.without, one.instance = UNDEFINED, "the bound has no value on such instances"


def _words(run: Trajectory, m: int, k: int, step: int, verdict: str) -> str:
    settings = ", ".join(f"{name}={values[k]:.4g}" for name, values in run.settings.items())
    by = "exact arithmetic" if verdict == "refuted" else "floats, beyond rounding"
    sizes = ", ".join(map(str, run.problem.block_sizes))
    return f"{run.optimizer} with {settings} on blocks of {sizes}: violated at step {step} ({by})"


def _runs(trial: Trial, draw: Draw, rules: tuple[str, ...]) -> Iterator[Trajectory]:
    """Yield the runs of the trial that fail without a hypothesis, then runs of it, each changed in every way, without end."""
    assert trial.sampled is not None
    yield from trial.without()
    decaying = _with_decay(rules)
    while True:
        for run in trial.sampled(draw, _PROBLEMS):
            yield run
            away = {size: draw.standard_normal(e.shape) for size, e in run.problem.initial_error.items()}
            for changed in _settings(run):
                yield again(run, _decayed(run, changed, away) if "weight_decay" in changed else run.problem, changed)
            for problem in _problems(run, draw):
                yield again(run, problem, {})
            if run.gradient_noise_std > 0.0:
                yield again(run, run.problem, {}, noise=0.0)
            if run.optimizer == "adam-on-orbit":
                yield again(run, run.problem, {}, rule=RULES["adam"])
            if "weight_decay" not in run.settings:
                for rule in decaying:  # away from the solution, and, where it is at 0, towards it faster than by signs
                    pulled = {"weight_decay": np.full_like(run.settings["lr"], 3.0)}
                    yield again(run, _decayed(run, pulled, away), pulled, rule=rule)
                    yield again(run, run.problem, {"weight_decay": 0.9 / run.settings["lr"]}, rule=rule)


def _with_decay(rules: tuple[str, ...]) -> list[Rule]:
    """Return those of the rules with these names that decay weights; a rule of a statement alone (adam-on-orbit) has no decay."""
    return [RULES[name] for name in rules if name in RULES and "weight_decay" in RULES[name].names]


def _decayed(run: Trajectory, changed: Mapping[str, Any], away: Mapping[int, Array]) -> BlockQuadratic:
    """Return the problem with a solution so far from 0 that weight decay pulls away from it by more than the error."""
    largest = max(float(np.abs(e).max()) for e in run.problem.initial_error.values())
    far = 10.0 * largest / float(np.min(run.settings["lr"] * changed["weight_decay"]))
    return replace(run.problem, minimizer={size: far * x for size, x in away.items()}, exact=None)


def _settings(run: Trajectory) -> Iterator[Mapping[str, Any]]:
    """Yield changes of every setting: rates by factors, memories to other ones, eps and weight decay to sizes that matter."""
    lr, problem = run.settings["lr"], run.problem
    yield from ({"lr": factor * lr} for factor in (0.01, 0.5, 1.3, 4.0))
    for name in {"momentum", "beta1", "beta2"} & set(run.settings):
        yield from ({name: np.full_like(lr, value)} for value in (0.0, 0.5, 0.9))
    if "eps" in run.settings:
        gradient = max(float(np.abs(h @ e[..., None]).max()) for h, e in _pairs(problem))
        yield {"eps": np.full_like(lr, gradient / 3.0)}
    if "weight_decay" in run.settings:
        yield from ({"weight_decay": np.full_like(lr, value)} for value in (0.3, 3.0))


def _pairs(problem: BlockQuadratic) -> Iterator[tuple[Array, Array]]:
    return ((problem.hessian[size], problem.initial_error[size]) for size in problem.hessian)


def _problems(run: Trajectory, draw: Draw) -> Iterator[BlockQuadratic]:
    """Yield other problems: any, the same H from another start or with a gradient entry of 0, one scale, and a large block."""
    problem = run.problem
    number = problem.problems
    yield random_problems(draw, number)
    normal = {size: draw.standard_normal(e.shape) for size, e in problem.initial_error.items()}
    yield _from(problem, normal)
    zeros: dict[int, Array] = {}
    for size, (h, e) in zip(problem.hessian, _pairs(problem), strict=True):
        gradient = (h @ e[..., None])[..., 0]
        gradient[..., 0] = 0.0
        zeros[size] = np.asarray(np.linalg.solve(h, gradient[..., None])[..., 0], dtype=np.float64)
    yield _from(problem, zeros)
    start = {size: e.copy() for size, e in problem.initial_error.items()}
    for e in start.values():
        e[..., 0] = 0.0  # on a diagonal H a gradient entry is then exactly 0
    yield _from(problem, start)
    sizes = problem.block_sizes if max(problem.block_sizes) > 1 else (problem.dimension,)
    turned = BlockQuadratic.generate(
        len(sizes),
        sizes,
        heterogeneity=3.0 if len(sizes) > 1 else 1.0,
        problems=number,
        seed=5,
        condition_number=3.0 if max(sizes) > 1 else 1.0,
    )
    yield _from(turned, turned.layout.split(problem.layout.flatten(problem.initial_error)))
    size = max(problem.block_sizes)
    yield BlockQuadratic.from_blocks(
        [np.broadcast_to(np.eye(size), (number, size, size))] * 2, initial_error="normal", problems=number
    )
    yield BlockQuadratic.generate(2, (13, 2), condition_number=3.0, problems=number, seed=int(draw.integers(2**32)))


def _from(problem: BlockQuadratic, errors: Mapping[int, Array]) -> BlockQuadratic:
    """Return the problem from another start."""
    coefficients = {
        size: (np.swapaxes(problem.eigenvectors[size], -1, -2) @ e[..., None])[..., 0] for size, e in errors.items()
    }
    return replace(problem, initial_error=dict(errors), initial_coefficients=coefficients, exact=None)
