"""Run a Rule again in float64 from its own expressions, to see whether a recorded run is that rule's run.

No engine is used: a record that an engine (or a file, or a hand) made must agree with the formula. Beside the run itself some
copies are run whose numbers are disturbed by rounding-sized amounts at every step: how far they part is what rounding may do,
so that a run which is sensitive to rounding (Adam after some steps) is compared only as long as rounding leaves its gaps in
place. Two more things end the comparison. A step that takes a sign jumps where its coordinate is within rounding of 0, and a
few disturbed copies need not show it: there the coordinates themselves are examined. The same coordinates decide what is
recorded of a step: its angle with the sign step jumps where a coordinate of the gradient is 0, in one run or in the other. And
a number type with a small range loses squares of gradients to 0 or to overflow: a run in a type other than float64 has one more
copy, in its own type.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.layout import BlockLayout
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.numeric import function_of, source_of
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.runs.observables import OF_STEPS, observe
from quadsim.simulator.runs.trajectory import Trajectory

__all__ = ["Replay", "replay"]

Array = NDArray[np.float64]

_COPIES = 3  # disturbed runs beside the plain one
_SHARE = 100.0  # how many times the spread of the copies a record may be off
_OPERATIONS = 20_000_000  # multiply-adds of a replay, over all problems, settings and copies
_MOST_STEPS = 2000  # a tenth of a second
_NUMBERS = 5_000_000  # values of observables that are kept


@dataclass(frozen=True, eq=False)
class Replay:
    """The gaps of a run made again.

    Attributes:
        gap: gap at steps 0, 1, ..., (M, K, S).
        allowed: relative difference that rounding may explain, (M, K, S); infinite where the run is not followed any more.
        observed: for the observables of the run, name to the values of the plain run and of the disturbed ones,
            (copies, M, K, S, ...); not those of which there would be too many.
        unclear: whether the observables of the step after a state jump within rounding of that state, (M, K, S).
        own: gap of the run in its own number type, (M, K, S); None for float64.
    """

    gap: Array
    allowed: Array
    observed: Mapping[str, Array]
    unclear: NDArray[np.bool_]
    own: Array | None = None


def replay(trajectory: Trajectory, relative: Array) -> Replay:
    """Run the rule of a trajectory again for its first steps.

    The number of steps is limited by the number of operations: at most 2000, fewer for a large batch, at least 2.

    Args:
        trajectory: a run with a rule and without noise.
        relative: relative error of a gap that is evaluated at a given state, (M, K).
    """
    assert trajectory.rule is not None
    problem = trajectory.problem
    per_step = trajectory.status.size * (_COPIES + 1) * sum(size**2 for size in problem.block_sizes)
    steps = int(min(trajectory.steps[-1], max(2, min(_MOST_STEPS, _OPERATIONS // per_step))))
    own_type = trajectory.dtype != "float64"
    gap = np.empty((_COPIES + 1 + own_type, *trajectory.status.shape, steps + 1))
    lost, unclear = np.zeros((2, *gap.shape[1:]), dtype=bool)
    observed: dict[str, list[Array]] = {
        name: []
        for name, values in trajectory.observed.items()
        if (_COPIES + 1) * (steps + 1) * values[:, :, 0].size <= _NUMBERS
    }
    at_once = max(1, _OPERATIONS // (2 * max(1, per_step // problem.problems)))
    for begin in range(0, problem.problems, at_once):
        part = slice(begin, min(begin + at_once, problem.problems))
        gap[: _COPIES + 1, part], lost[part], unclear[part], seen = _run(trajectory, part, steps, tuple(observed))
        for name, values in seen.items():
            observed[name].append(values)
        if own_type:
            gap[-1, part] = _in_own_type(trajectory, part, steps)
    with np.errstate(all="ignore"):
        spread = np.nanmax(np.abs(gap[1:] - gap[:1]) / np.abs(gap[:1]), axis=0, initial=0.0)
        spread = np.where(np.isfinite(gap).all(axis=0), spread, np.inf)
    allowed = np.maximum.accumulate(_SHARE * spread, axis=-1) + relative[..., None]
    # Once rounding moves the gap by a hundredth the record may be any of many runs.
    lost |= allowed > 0.01 + relative[..., None]
    allowed = np.where(np.maximum.accumulate(lost, axis=-1), np.inf, allowed)
    seen_again = {name: np.concatenate(values, axis=1) for name, values in observed.items()}
    return Replay(gap[0], allowed, seen_again, unclear, gap[-1] if own_type else None)


def _run(
    trajectory: Trajectory, part: slice, steps: int, names: tuple[str, ...]
) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_], Mapping[str, Array]]:
    """Return gaps of the plain run and the disturbed ones, (copies, M, K, S), and three more things.

    They are: whether a step before a state jumps, whether what is observed of the step after it does, (M, K, S), and observables.
    """
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
    jumps, unclear = np.zeros((2, *out.shape[1:]), dtype=bool)
    takes_signs = trajectory.rule.fact("takes a sign", partial(_takes_a_sign, trajectory.rule))
    observed: dict[str, list[Array]] = {name: [] for name in names}
    looked_at = problem.select(chosen.tolist()) if names else problem
    ahead = any(name in OF_STEPS for name in names)

    # Numbers to disturb with are drawn once, and every step takes a stretch of them that begins anywhere: drawing new ones for
    # every step would take half of the time.
    pool = unit * draw.uniform(-1.0, 1.0, size=2 * error[1:].size)

    def noise() -> Array:
        begin = int(draw.integers(error[1:].size))
        return pool[begin : begin + error[1:].size].reshape(error[1:].shape)

    with np.errstate(all="ignore"):
        for t in range(steps + 1):
            error[1:] *= 1.0 + noise()
            # The product rounds by units of |H||e|, which are many of H e where its terms cancel.
            largest = blocks.moduli_times(np.abs(error[:1]))
            gradient = blocks.times(error)
            gradient[1:] += largest * noise()
            out[..., t] = np.einsum("cmkp,cmkp->cmk", error, gradient) / 2.0
            step = None
            if t < steps or ahead:
                rate = [settings[0] * factors[min(t, len(factors) - 1)], *settings[1:]]
                fixed = (gradient, error + blocks.minimizer, blocks.high, blocks.low, *rate)
                if takes_signs or ahead:
                    around = _rounding(trajectory.dtype, blocks, largest, gradient)
                    unclear[..., t] = (np.abs(gradient[0]) < around[0]).any(axis=-1)
                    if takes_signs:
                        jumping = _may_jump(stages, fixed, state, clocks, blocks.mean, around)
                        jumps[..., t + 1 : t + 2] = jumping[..., None]  # nothing follows the last step
                        unclear[..., t] |= jumping
                step, state, clocks = stages(fixed, state, clocks, blocks.mean)
            for name, values in observed.items():
                values.append(observe(name, looked_at, error, gradient, step))
            if step is not None:
                error = error + step
    return out, jumps, unclear, {name: np.stack(values, axis=3) for name, values in observed.items()}


def _rounding(dtype: str, blocks: "_Blocks", largest: Array, gradient: Array) -> Array:
    """Return how much the plain run's gradient may be off at every coordinate, (1, M, K, P).

    It is off by as much as a record: by what the copies are apart; by the rounding of the product, units of |H||e| (`largest`);
    and by |H| times the smallest normal number of the type, as a smaller coordinate may be lost.
    """
    kind = np.finfo(dtype)
    lost = float(kind.tiny) * (1.0 + blocks.row_sums)
    apart = np.abs(gradient[1:] - gradient[:1]).max(axis=0, keepdims=True)
    # A coordinate to which nothing contributes is exactly 0 in every number type.
    return np.asarray(_SHARE * np.where(largest == 0.0, 0.0, apart + float(kind.eps) * largest + lost))


def _may_jump(
    stages: "_Stages",
    fixed: Sequence[Array],
    state: Any,
    clocks: Sequence[Any],
    mean: Callable[[Array], Array],
    around: Array,
) -> NDArray[np.bool_]:
    """Return whether a coordinate of the plain run's step has another sign within rounding of its gradient, (M, K).

    A mean of gradients is off by no more than a gradient (`_rounding`), to within the same factor.
    """
    gradient = fixed[0]
    near = np.concatenate([gradient[:1], gradient[:1] + around, gradient[:1] - around])
    one = None if state is None else [np.asarray(s)[:1] for s in state]
    step, _, _ = stages((near, fixed[1][:1], *fixed[2:]), one, clocks, mean)
    return np.asarray((np.sign(step[1:]) != np.sign(step[:1])).any(axis=(0, -1)))


def _in_own_type(trajectory: Trajectory, part: slice, steps: int) -> Array:
    """Return the gaps of the run in its own number type, (M, K, S)."""
    assert trajectory.rule is not None
    problem, kind = trajectory.problem, np.dtype(trajectory.dtype).type
    chosen = np.arange(problem.problems)[part]
    blocks, stages = _Blocks(problem, chosen, kind), _compile(trajectory.rule)
    settings = [np.asarray(trajectory.settings[name])[None, :, None] for name in trajectory.rule.names]
    factors = trajectory.schedule.factors(int(trajectory.steps[-1]))
    shape = (1, chosen.size, trajectory.number_of_settings, problem.dimension)
    start = problem.layout.flatten(problem.initial_error)[chosen][None, :, None, :]
    error = np.broadcast_to(start, shape).astype(kind)
    state: Any = None
    clocks: Sequence[Any] = [np.ones((1, shape[2], 1), dtype=kind)] * stages.clocks
    out = np.empty((*shape[1:3], steps + 1))
    with np.errstate(all="ignore"):
        for t in range(steps + 1):
            gradient = blocks.times(error)
            out[..., t] = np.sum(error * gradient, axis=-1)[0] / kind(2.0)
            if t < steps:
                rate = [(settings[0] * factors[t]).astype(kind), *(x.astype(kind) for x in settings[1:])]
                fixed = (gradient, error + blocks.minimizer, blocks.high, blocks.low, *rate)
                step, state, clocks = stages(fixed, state, clocks, blocks.mean)
                error = (error + step).astype(kind)
    return out


class _Blocks:
    """The matrices of some problems of a batch, and what a rule asks of a block; arrays are (..., M, K, P)."""

    def __init__(
        self, problem: BlockQuadratic, chosen: NDArray[np.int64], kind: type[np.floating[Any]] = np.float64
    ) -> None:
        sizes = problem.block_sizes
        self._places = _places(problem.layout)
        members = {size: blocks.tolist() for size, blocks in problem.layout.groups.items()}
        self._matrices = [
            problem.hessian[size][chosen, members[size].index(b)].astype(kind) for b, size in enumerate(sizes)
        ]
        self._moduli = [np.abs(matrix) for matrix in self._matrices]
        self._means, repeat = _places(problem.rule_blocks), np.array(problem.rule_blocks.block_sizes)
        self._dimension = problem.dimension
        self.high = np.repeat(problem.rule_smoothness[chosen], repeat, axis=1)[:, None].astype(kind)
        self.low = np.repeat(problem.rule_convexity[chosen], repeat, axis=1)[:, None].astype(kind)
        self.minimizer = problem.layout.flatten(problem.minimizer)[chosen][:, None].astype(kind)
        self.row_sums = self.moduli_times(np.ones_like(self.minimizer))

    def times(self, error: Array) -> Array:
        """Return H e."""
        return self._product(self._matrices, error)

    def moduli_times(self, moduli: Array) -> Array:
        """Return |H| times these."""
        return self._product(self._moduli, moduli)

    def _product(self, matrices: Sequence[Array], values: Array) -> Array:
        out = np.empty_like(values)
        for place, matrix in zip(self._places, matrices, strict=True):
            out[..., place] = np.matmul(values[..., place], matrix)
        return out

    def mean(self, values: Array) -> Array:
        """Return the mean over the coordinates of each block, at every coordinate."""
        wide = np.broadcast_to(values, np.broadcast_shapes(np.shape(values), (1, 1, self._dimension)))
        out = np.empty_like(wide)
        for place in self._means:
            out[..., place] = wide[..., place].mean(axis=-1, keepdims=True)
        return out


def _places(layout: BlockLayout) -> list[slice]:
    sizes = layout.block_sizes
    return [slice(end - size, end) for end, size in zip(np.cumsum(sizes), sizes, strict=True)]


def _takes_a_sign(rule: Rule) -> bool:
    import sympy as sp

    return bool(rule.step.has(sp.sign))


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
    known: dict[str, Callable[..., Any]] = {"BlockMean": np.asarray, "Ratio": _ratio}
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
        known: dict[str, Callable[..., Any]] = {"BlockMean": lambda values: self._mean(values), "Ratio": _ratio}
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
