"""A theorem against a run: verdict, margin and first violation of every problem and setting; assert_bound; judge."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from flint import arb, fmpq
from numpy.typing import NDArray

from quadsim.simulator.checks import check_choice
from quadsim.simulator.trajectory import Trajectory, divergence_limit
from quadsim.theory.budget import evaluation_budget, growth_budget
from quadsim.theory.exact import NotExact, as_exact, evaluate_exactly, gaps_of_run, values_of, with_doubling
from quadsim.theory.registry import THEOREMS
from quadsim.theory.theorem import Theorem

__all__ = ["VERDICTS", "Check", "assert_bound", "check", "judge"]

VERDICTS = ("verified", "holds", "refuted", "undecided", "not applicable")
"""Words of theory.md section 7: exact arithmetic says so; a float run stays within its rounding budget; exact arithmetic has a
counter-example; a flag in floating point that exact arithmetic could not settle; a hypothesis fails."""

BOUND_OF_RULE = {
    "gd": ("gd-upper",),
    "sgd": ("gd-upper",),
    "block-gd": ("block-gd",),
    "heavy-ball": ("heavy-ball",),
    "adam-frozen": ("adam-frozen", "adam-frozen-exact"),
}
"""The upper bounds that a sweep reports for a rule: the first whose hypotheses hold on the run."""

Array = NDArray[np.float64]
_TINY = 1e-280  # below, float64 loses digits


@dataclass(frozen=True, eq=False)
class Check:
    """What a theorem's comparison with a run found; arrays are (M, K).

    Attributes:
        theorem: the statement.
        trajectory: the run.
        verdict: words of VERDICTS.
        margin: largest ratio of gap to bound between recorded steps (for a lower bound of bound to gap); NaN where not
            applicable. At most 1 up to rounding where the statement is true.
        step: first recorded step that violates the statement, -1 where none does.
        reason: the hypothesis that fails, or what exact arithmetic could not do; empty where neither.
    """

    theorem: Theorem
    trajectory: Trajectory
    verdict: NDArray[np.object_]
    margin: Array
    step: NDArray[np.int64]
    reason: NDArray[np.object_]

    def counts(self) -> dict[str, int]:
        """How many instances and settings have each verdict."""
        return {word: int(np.sum(self.verdict == word)) for word in VERDICTS}

    @property
    def tightness(self) -> tuple[float, float]:
        """Worst and median margin over what the theorem applies to; NaN where it applies to nothing."""
        margin = self.margin[~np.isnan(self.margin)]
        return (float(margin.max()), float(np.median(margin))) if margin.size else (np.nan, np.nan)


def check(theorem: Theorem, trajectory: Trajectory, *, seconds: float = 10.0) -> Check:
    """Compare a theorem with a run.

    A per-step bound is compared between recorded steps s < t as factor^(t-s), so that no step can hide behind an earlier
    one that did better than it had to. In floating point a statement `holds` within the rounding budget of
    `quadsim.theory.budget`. A run that is flagged, and one on a problem given in rationals, is run again in exact arithmetic
    (float64 only: a float32 run refutes nothing), which alone can say `verified` or `refuted`.

    Args:
        theorem: the statement.
        trajectory: the run.
        seconds: most that exact arithmetic may take in all.
    """
    applies = theorem.applies(trajectory)
    if not applies.any():
        flagged, margin, step = applies, np.full(applies.shape, np.nan), np.full(applies.shape, -1)
    else:
        flagged, margin, step = _in_floats(theorem, trajectory)
    verdict = np.where(applies, np.where(flagged, "undecided", "holds"), "not applicable").astype(object)
    reason = np.where(applies, "", _failing(theorem, trajectory)).astype(object)
    margin, step = np.where(applies, margin, np.nan), np.where(applies & flagged, step, -1)
    if trajectory.dtype == "float64":
        deadline = time.monotonic() + seconds
        wanted = applies & (flagged | (trajectory.problem.exact is not None))
        for m, k in np.argwhere(wanted):
            found = _in_rationals(theorem, trajectory, int(m), int(k), deadline - time.monotonic())
            verdict[m, k] = found.verdict if found.verdict != "undecided" or flagged[m, k] else "holds"
            reason[m, k] = found.reason
            step[m, k] = (
                found.step if found.verdict == "refuted" else (-1 if found.verdict == "verified" else step[m, k])
            )
    elif flagged.any():
        reason = np.where(applies & flagged, "float32 refutes nothing; run it in float64", reason)
    return Check(theorem, trajectory, verdict, margin, step, reason)


def assert_bound(
    theorem: Theorem | str,
    trajectory: Trajectory,
    allow: Sequence[str] = ("verified", "holds"),
    *,
    seconds: float = 10.0,
) -> Check:
    """Assert that a theorem is borne out by every problem and setting of a run; for users' tests.

    Args:
        theorem: the statement, or its name in THEOREMS.
        trajectory: any result of `simulate`.
        allow: verdicts that pass. `not applicable` is not among them by default: a check that tested nothing must not pass.
        seconds: most that exact arithmetic may take.

    Returns:
        The check.

    Raises:
        AssertionError: a verdict that is not allowed; it names theorem, step or hypothesis, instance, and how to run it alone.
        ValueError: an unknown theorem or verdict.
    """
    if isinstance(theorem, str):
        theorem = THEOREMS[check_choice("theorem", theorem, THEOREMS)]
    for word in allow:
        check_choice("allow", word, VERDICTS)
    found = check(theorem, trajectory, seconds=seconds)
    bad = np.argwhere(~np.isin(found.verdict.astype(str), list(allow)))
    if bad.size:
        raise AssertionError(_complaint(found, int(bad[0][0]), int(bad[0][1]), len(bad)))
    return found


def judge(trajectory: Trajectory, *, seconds: float = 10.0) -> Mapping[str, NDArray[Any]]:
    """Columns of a sweep's summary, each (M, K).

    Args:
        trajectory: the run.
        seconds: most that exact arithmetic may take for each theorem, where a run is flagged.

    Returns:
        `theorem` (name, empty where none applies), `bound_steps` (steps after which the bound has fallen to the tolerance; NaN
        without a theorem, `inf` beyond the run), `bound_rate` (the bound's factor per step; NaN for a horizon bound), `margin`
        (see `Check`) and `verdict`.
    """
    shape = trajectory.status.shape
    out: dict[str, NDArray[Any]] = {
        "theorem": np.full(shape, "", dtype=object),
        "bound_steps": np.full(shape, np.nan),
        "bound_rate": np.full(shape, np.nan),
        "margin": np.full(shape, np.nan),
        "verdict": np.full(shape, "not applicable", dtype=object),
    }
    names = BOUND_OF_RULE.get(trajectory.rule.name, ()) if trajectory.rule is not None else ()
    for name in names:
        theorem = THEOREMS[name]
        chosen = theorem.applies(trajectory) & (out["theorem"] == "")
        if not chosen.any():
            continue
        found = check(theorem, trajectory, seconds=seconds)
        columns: dict[str, Any] = {
            "theorem": name,
            "bound_steps": theorem.steps_on(trajectory),
            "margin": found.margin,
            "verdict": found.verdict,
        }
        if theorem.decrease is not None:
            columns["bound_rate"] = 1.0 - theorem.decrease_on(trajectory)
        for column, values in columns.items():
            out[column] = np.where(chosen, values, out[column])
    return out


def _failing(theorem: Theorem, trajectory: Trajectory) -> NDArray[np.object_]:
    """The first hypothesis that fails, (M, K)."""
    shape = trajectory.status.shape
    rule = "none (a baseline)" if trajectory.rule is None else trajectory.rule.name
    if trajectory.rule is None or trajectory.rule.name not in theorem.rules:
        return np.full(shape, f"the rule is {rule}, not {' or '.join(theorem.rules)}", dtype=object)
    if not trajectory.schedule.is_constant or trajectory.gradient_noise_std > 0.0:
        return np.full(shape, "the rate must be constant and the gradient without noise", dtype=object)
    out = np.full(shape, "", dtype=object)
    for hypothesis in theorem.hypotheses:
        fails = np.broadcast_to(~hypothesis.holds(trajectory), shape)
        out = np.where((out == "") & fails, f"hypothesis fails: {hypothesis.text}", out)
    return out


def _in_floats(theorem: Theorem, trajectory: Trajectory) -> tuple[NDArray[np.bool_], Array, NDArray[np.int64]]:
    """Flag, margin and first flagged step, (M, K) each.

    Compared are logarithms of gap_t / gap_s for consecutive recorded steps (per step), of gap_t / gap_0 (horizon) or of
    gap_t itself (identity), with the sign turned for a lower bound. Gaps below 1e-280 are left out, and what follows a
    divergence too, unless the bound never allowed the gap to grow so far.
    """
    steps, gap = trajectory.steps, trajectory.gap
    growth, evaluation = growth_budget(theorem, trajectory)[:, :, None], evaluation_budget(trajectory)[:, :, None]
    usable = (gap[:, :, 1:] > _TINY) & np.isfinite(gap[:, :, 1:])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if theorem.kind in ("per step", "existence"):
            apart = np.diff(steps).astype(np.float64)
            per_step = np.log1p(-theorem.decrease_on(trajectory))[:, :, None]
            sign = -1.0 if theorem.direction == "lower" else 1.0
            # A factor f allows sqrt(f) + growth for the root of the gap in one step (for a lower bound less growth).
            shifted = 2.0 * np.log(np.exp(per_step / 2.0) + sign * growth)
            bound, slack = per_step * apart, np.abs(shifted - per_step) * apart + evaluation
            seen = np.log(gap[:, :, 1:]) - np.log(gap[:, :, :-1])
            usable &= gap[:, :, :-1] > _TINY
            allowed = per_step[:, :, 0] * float(steps[-1])
        else:
            sign = 1.0
            bound = np.stack([theorem.log_bound(trajectory, int(t)) for t in steps[1:]], axis=-1)
            slack = np.log1p(2.0 * growth * steps[1:]) + evaluation
            start = 0.0 if theorem.kind == "identity" else np.log(gap[:, :, :1])
            seen = np.log(gap[:, :, 1:]) - start
            allowed = np.max(bound, axis=-1)
        excess = sign * (seen - bound)
        if theorem.direction == "equal":
            excess = np.abs(excess)
        violates = usable & ~(excess <= slack)
    flagged = violates.any(axis=-1)
    first = np.where(flagged, steps[1:][violates.argmax(axis=-1)], -1)
    margin = np.exp(np.max(np.where(usable, excess, -np.inf), axis=-1))
    if theorem.direction == "upper":
        with np.errstate(divide="ignore"):
            factor = np.log(divergence_limit(gap[:, :, 0]) / gap[:, :, 0])
        escaped = (trajectory.status == "diverged") & (allowed < factor)
        first = np.where(escaped & ~flagged, steps[np.isinf(gap).argmax(axis=-1)], first)
        flagged, margin = flagged | escaped, np.where(escaped, np.inf, margin)
    return np.asarray(flagged), margin, first


@dataclass(frozen=True)
class _Exact:
    verdict: str
    step: int = -1
    reason: str = ""


def _in_rationals(theorem: Theorem, trajectory: Trajectory, m: int, k: int, seconds: float) -> _Exact:
    """One instance again in exact arithmetic: every step between, from the Rule's own expressions."""
    if seconds <= 0.0:
        return _Exact("undecided", reason="no time was left for exact arithmetic")
    if theorem.kind not in ("per step", "existence"):
        return _Exact("undecided", reason=f"a {theorem.kind} bound has no exact check here")
    assert trajectory.rule is not None
    settings = {name: float(values[k]) for name, values in trajectory.settings.items()}
    problem, steps = as_exact(trajectory.problem, m), int(trajectory.steps[-1])
    try:
        gaps = gaps_of_run(problem, trajectory.rule, settings, steps, seconds)
        differs = _differs(theorem, trajectory, m, k, gaps)
        if differs:
            return _Exact("undecided", reason=differs)
        return _compare(theorem, problem, settings, gaps, steps)
    except NotExact as error:
        return _Exact("undecided", reason=str(error))


def _differs(theorem: Theorem, trajectory: Trajectory, m: int, k: int, gaps: list[fmpq]) -> str:
    """What is wrong where the float run is not the exact one up to rounding: then the exact verdict is not about that run."""
    growth = float(np.broadcast_to(growth_budget(theorem, trajectory), trajectory.status.shape)[m, k])
    start = _as_float(gaps[0])
    for step, seen in zip(trajectory.steps.tolist(), trajectory.gap[m, k].tolist(), strict=True):
        if step >= len(gaps):
            break
        exact = _as_float(gaps[step])
        # An error of the size `growth` |e| a step, undamped, against what is left of the gap (or has grown).
        allowed = 2.0 * growth * step * np.sqrt(max(start, exact) * exact)
        allowed += evaluation_budget(trajectory)[m, k] * exact + (growth * step) ** 2 * start
        if np.isfinite(seen) and abs(seen - exact) > allowed + _TINY:
            return f"the run is not its rule's: at step {step} its gap is {seen:.17g}, in exact arithmetic {exact:.17g}"
        if not np.isfinite(seen) and exact < float(divergence_limit(trajectory.gap[m, k, 0])):
            return f"the run is not its rule's: at step {step} it has diverged, in exact arithmetic its gap is {exact:.17g}"
    return ""


def _as_float(value: fmpq) -> float:
    try:
        return int(value.p) / int(value.q)
    except OverflowError:
        return float("inf")


def _compare(theorem: Theorem, problem: Any, settings: Mapping[str, float], gaps: list[fmpq], steps: int) -> _Exact:
    """Every step of an exact run against the bound, a rational or a ball that gets more bits until it decides."""
    upper = theorem.direction == "upper"

    def sides(a: fmpq, b: fmpq, factor: Any) -> tuple[bool, bool]:
        """Whether gap_(t+1) = b satisfies the claim, and whether it violates it; neither where a ball overlaps."""
        if isinstance(factor, arb):
            product, value = factor * arb(a), arb(b)
            return (
                (bool(value <= product), bool(value > product))
                if upper
                else (bool(value >= product), bool(value < product))
            )
        product = factor * a
        return (b <= product, b > product) if upper else (b >= product, b < product)

    def first_open(factor: Any) -> tuple[str, int]:
        state = "verified"
        for t, (a, b) in enumerate(pairwise(gaps)):
            satisfied, violated = sides(a, b, factor)
            if violated:
                return "refuted", t + 1
            if not satisfied:
                state = "undecided"
        return state, -1

    state, step = with_doubling(
        lambda: first_open(evaluate_exactly(theorem.bound, values_of(problem, settings))),
        lambda found: found[0] != "undecided",
    )
    if state == "verified" and len(gaps) <= steps:
        return _Exact("undecided", reason=f"exact arithmetic got to step {len(gaps) - 1} of {steps} in the time given")
    if state == "undecided":
        return _Exact(state, reason="balls of 2048 bits still overlap the bound (equality is never decided by balls)")
    return _Exact(state, step)


def _complaint(found: Check, m: int, k: int, number: int) -> str:
    """What an AssertionError says of the first instance that failed."""
    trajectory, theorem = found.trajectory, found.theorem
    settings = ", ".join(f"{name}={float(values[k])!r}" for name, values in trajectory.settings.items())
    total = found.verdict.size
    lines = [
        f"{theorem.name} is {found.verdict[m, k]} on problem {int(trajectory.problem.index[m])}, setting {k} ({settings}); "
        f"{number} of {total} instances and settings failed"
    ]
    if found.reason[m, k]:
        lines.append(f"  because {found.reason[m, k]}")
    step = int(found.step[m, k])
    if step >= 0 and theorem.decrease is not None:
        position = int(np.searchsorted(trajectory.steps, step))
        before, after = (
            trajectory.gap[m, k, max(position - 1, 0)],
            trajectory.gap[m, k, min(position, trajectory.steps.size - 1)],
        )
        factor = float(1.0 - theorem.decrease_on(trajectory)[m, k])
        since = int(trajectory.steps[max(position - 1, 0)])
        lines.append(
            f"  step {step}: gap {after:.17g} after {before:.17g} at step {since}, where the bound is {theorem.direction} "
            f"{factor:.17g}^{step - since} times that"
        )
    lines.append(
        f"  alone: simulate(problem.select([{m}]), {trajectory.optimizer!r}, {settings}, steps={int(trajectory.steps[-1])})"
    )
    return "\n".join(lines)
