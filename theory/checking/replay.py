"""Run a Rule again in float64 from its own expressions, to see whether a recorded run is that rule's run.

No engine is used: a record that an engine (or a file, or a hand) made must agree with the formula. Beside the run itself some
copies are run whose numbers are disturbed by rounding-sized amounts at every step: how far they part is what rounding may do,
so that a run which is sensitive to rounding (a sign of a coordinate near 0, Adam after some steps) is compared only as long as
rounding leaves its gaps in place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.layout import BlockLayout
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.numeric import function_of, source_of
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.runs.trajectory import Trajectory

__all__ = ["Replay", "replay"]

Array = NDArray[np.float64]

_COPIES = 3  # disturbed runs beside the plain one
_SHARE = 100.0  # how many times the spread of the copies a record may be off
_OPERATIONS = 20_000_000  # multiply-adds of a replay, over all problems, settings and copies
_MOST_STEPS = 64


@dataclass(frozen=True, eq=False)
class Replay:
    """The gaps of a run made again.

    Attributes:
        gap: gap at steps 0, 1, ..., (M, K, S).
        allowed: relative difference that rounding may explain, (M, K, S); infinite where the run is not followed any more.
    """

    gap: Array
    allowed: Array


def replay(trajectory: Trajectory, relative: Array) -> Replay:
    """Run the rule of a trajectory again for its first steps.

    The number of steps is limited by the number of operations: at most 64, fewer for a large batch, at least 2.

    Args:
        trajectory: a run with a rule and without noise.
        relative: relative error of a gap that is evaluated at a given state, (M, K).
    """
    assert trajectory.rule is not None
    problem = trajectory.problem
    per_step = trajectory.status.size * (_COPIES + 1) * sum(size**2 for size in problem.block_sizes)
    steps = int(min(trajectory.steps[-1], max(2, min(_MOST_STEPS, _OPERATIONS // per_step))))
    gap = np.empty((_COPIES + 1, *trajectory.status.shape, steps + 1))
    at_once = max(1, _OPERATIONS // (2 * max(1, per_step // problem.problems)))
    for begin in range(0, problem.problems, at_once):
        part = slice(begin, min(begin + at_once, problem.problems))
        gap[:, part] = _gaps(trajectory, part, steps)
    with np.errstate(all="ignore"):
        spread = np.nanmax(np.abs(gap[1:] - gap[:1]) / np.abs(gap[:1]), axis=0, initial=0.0)
        spread = np.where(np.isfinite(gap).all(axis=0), spread, np.inf)
    allowed = np.maximum.accumulate(_SHARE * spread, axis=-1) + relative[..., None]
    # Once rounding moves the gap by a hundredth the record may be any of many runs.
    allowed = np.where(np.maximum.accumulate(allowed > 0.01 + relative[..., None], axis=-1), np.inf, allowed)
    return Replay(gap[0], allowed)


def _gaps(trajectory: Trajectory, part: slice, steps: int) -> Array:
    """Return the gaps of the plain run and of the disturbed ones, (copies, M, K, S)."""
    assert trajectory.rule is not None
    stages = _compile(trajectory.rule)
    problem = trajectory.problem
    chosen = np.arange(problem.problems)[part]
    blocks = _Blocks(problem, chosen)
    settings = [np.asarray(trajectory.settings[name])[None, :, None] for name in trajectory.rule.names]
    factors = trajectory.schedule.factors(int(trajectory.steps[-1]))
    draw = np.random.default_rng(0)
    unit = float(np.finfo(trajectory.dtype).eps)
    number = trajectory.number_of_settings
    start = problem.layout.flatten(problem.initial_error)[chosen][None, :, None, :]
    error = np.broadcast_to(start, (_COPIES + 1, chosen.size, number, start.shape[-1])).copy()
    state: Any = None
    clocks: Sequence[Any] = [np.ones((1, number, 1))] * stages.clocks
    out = np.empty((_COPIES + 1, chosen.size, number, steps + 1))

    def disturbed(values: Array) -> Array:
        noise = unit * draw.uniform(-1.0, 1.0, size=values.shape)
        noise[0] = 0.0
        return np.asarray(values * (1.0 + noise))

    with np.errstate(all="ignore"):
        for t in range(steps + 1):
            error = disturbed(error)
            gradient = disturbed(blocks.times(error))
            out[..., t] = np.sum(error * gradient, axis=-1) / 2.0
            if t < steps:
                rate = [settings[0] * factors[t], *settings[1:]]
                fixed = (gradient, error + blocks.minimizer, blocks.high, blocks.low, *rate)
                step, state, clocks = stages(fixed, state, clocks, blocks.mean)
                error = error + step
    return out


class _Blocks:
    """The matrices of some problems of a batch, and what a rule asks of a block; arrays are (..., M, K, P)."""

    def __init__(self, problem: BlockQuadratic, chosen: NDArray[np.int64]) -> None:
        sizes = problem.block_sizes
        self._places = _places(problem.layout)
        members = {size: blocks.tolist() for size, blocks in problem.layout.groups.items()}
        self._matrices = [problem.hessian[size][chosen, members[size].index(b)] for b, size in enumerate(sizes)]
        self._means, repeat = _places(problem.rule_blocks), np.array(problem.rule_blocks.block_sizes)
        self._dimension = problem.dimension
        self.high = np.repeat(problem.rule_smoothness[chosen], repeat, axis=1)[:, None]
        self.low = np.repeat(problem.rule_convexity[chosen], repeat, axis=1)[:, None]
        self.minimizer = problem.layout.flatten(problem.minimizer)[chosen][:, None]

    def times(self, error: Array) -> Array:
        """Return H e."""
        out = np.empty_like(error)
        for place, matrix in zip(self._places, self._matrices, strict=True):
            out[..., place] = np.matmul(error[..., place], matrix)
        return out

    def mean(self, values: Array) -> Array:
        """Return the mean over the coordinates of each block, at every coordinate."""
        wide = np.broadcast_to(values, np.broadcast_shapes(np.shape(values), (1, 1, self._dimension)))
        out = np.empty(wide.shape)
        for place in self._means:
            out[..., place] = wide[..., place].mean(axis=-1, keepdims=True)
        return out


def _places(layout: BlockLayout) -> list[slice]:
    sizes = layout.block_sizes
    return [slice(end - size, end) for end, size in zip(np.cumsum(sizes), sizes, strict=True)]


def _sources(rule: Rule) -> dict[str, Any]:
    """Return the stages of a rule (`Rule.stages`) as sources of functions of arrays, and which updates are states."""
    from quadsim.simulator.rules.functions import symbols

    stages = rule.stages
    first = (symbols.g, symbols.w, symbols.L_l, symbols.mu_l, symbols.lr, *rule.hyperparameters)
    settings, clocks = (symbols.lr, *rule.hyperparameters), tuple(rule.clocks)
    old, new = (*first, *clocks, *rule.states), (*first, *clocks, *rule.update)
    functions = {
        "start_totals": (first, stages.start_totals.values()),
        "start": ((*first, *stages.start_totals), stages.starts.values()),
        "clocks": ((*settings, *clocks), rule.clocks.values()),
        "update_totals": (old, stages.update_totals.values()),
        "update": ((*old, *stages.update_totals), stages.updates.values()),
        "step_totals": (new, stages.step_totals.values()),
        "step": ((*new, *stages.step_totals), [stages.step]),
    }
    known = {"BlockMean": np.asarray, "Ratio": _ratio}
    return {
        "clocks": len(clocks),
        "keep": [list(rule.update).index(state) for state in rule.states],
        "functions": {
            name: source_of(names, list(expressions), cse=False, others=known)
            for name, (names, expressions) in functions.items()
        },
    }


class _Stages:
    """The stages of a rule as functions of arrays.

    Attributes:
        clocks: number of clocks.
    """

    def __init__(self, rule: Rule) -> None:
        found = rule.fact("stages of arrays", partial(_sources, rule))
        self.clocks = int(found["clocks"])
        self._mean: Callable[[Array], Array] = lambda values: values
        self._keep = tuple(found["keep"])
        known = {"BlockMean": lambda values: self._mean(values), "Ratio": _ratio}
        each = {name: function_of(source, known) for name, source in found["functions"].items()}
        self._start_totals, self._start, self._clocks = each["start_totals"], each["start"], each["clocks"]
        self._update_totals, self._update = each["update_totals"], each["update"]
        self._step_totals, self._step = each["step_totals"], each["step"]

    def __call__(
        self, fixed: Sequence[Array], state: Any, clocks: Sequence[Any], mean: Callable[[Array], Array]
    ) -> tuple[Array, Any, Sequence[Any]]:
        """Return the step, the new states and the new clocks, from (g, w, L_l, mu_l, lr, hyperparameters)."""
        self._mean = mean
        shape = np.shape(fixed[0])
        if state is None:
            state = self._start(*fixed, *_sums(self._start_totals(*fixed), shape))
        clocks = self._clocks(*fixed[4:], *clocks)
        before = (*fixed, *clocks, *state)
        updated = self._update(*before, *_sums(self._update_totals(*before), shape))
        after = (*fixed, *clocks, *updated)
        (step,) = self._step(*after, *_sums(self._step_totals(*after), shape))
        return np.asarray(step), [updated[i] for i in self._keep], clocks


def _ratio(a: Array, b: Array) -> Array:
    """Return a/b, and 0 where a is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(a) == 0.0, 0.0, np.divide(a, b))


def _sums(values: Sequence[Array], shape: tuple[int, ...]) -> list[Array]:
    """Return the sums over all coordinates, each with an axis of length 1 for the coordinate."""
    return [np.sum(np.broadcast_to(value, shape), axis=-1, keepdims=True) for value in values]


@lru_cache(maxsize=64)
def _compile(rule: Rule) -> _Stages:
    return _Stages(rule)
