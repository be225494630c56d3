"""A theorem against a run: verdict, margin and first violation of every problem and setting; assert_bound."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.simulator.support.checks import check_choice
from quadsim.simulator.support.torch_modes import own_modes
from quadsim.theory.checking.floats import STANDARD_ERRORS, compare_floats
from quadsim.theory.checking.rationals import compare_exactly
from quadsim.theory.statements.quantities import evaluate_along
from quadsim.theory.statements.registry import THEOREMS
from quadsim.theory.statements.theorem import Theorem

__all__ = ["VERDICTS", "Check", "assert_bound", "check"]

_CLAIMED = {"upper": "at most", "lower": "at least", "equal": "exactly"}

VERDICTS = ("verified", "holds", "refuted", "undecided", "not applicable")
"""Words of docs/theory.md section 7: exact arithmetic says so; a float run stays within its rounding budget; exact arithmetic
has a counter-example; a flag in floating point that exact arithmetic could not settle; a hypothesis fails."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Check:
    """What a theorem's comparison with a run found; arrays are (M, K).

    Attributes:
        theorem: the statement.
        trajectory: the run.
        verdict: words of VERDICTS.
        margin: largest ratio of what was seen to the bound (of a lower bound the inverse); see `compare_floats`. NaN where
            not applicable. At most 1 up to rounding where the statement is true.
        step: first recorded step that violates the statement, -1 where none does.
        reason: the hypothesis that fails, both sides where exact arithmetic refutes, or what it could not do; else empty.
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

    def complaint(self, m: int, k: int, number: int = 1) -> str:
        """What to say of problem m under setting k, one of `number` that failed, and how to run it alone."""
        trajectory, theorem = self.trajectory, self.theorem
        settings = ", ".join(f"{name}={float(values[k])!r}" for name, values in trajectory.settings.items())
        total = self.verdict.size
        lines = [
            f"{theorem.name}: {self.verdict[m, k]} on problem {int(trajectory.problem.index[m])}, setting {k} ({settings}); "
            f"{number} of {total} instances and settings failed"
        ]
        if self.reason[m, k]:
            lines.append(f"  because {self.reason[m, k]}")
        step = int(self.step[m, k])
        if (
            step in self.trajectory.steps
        ):  # exact arithmetic may name one that was not recorded; its reason has the numbers
            lines.append(f"  step {step}: {self._sides(m, k, step)}")
        rule = repr(trajectory.optimizer) if trajectory.optimizer in RULES else f"<{trajectory.optimizer}>"
        options = f", observe={sorted(trajectory.observed)}" if trajectory.observed else ""
        options += f", dtype={trajectory.dtype!r}" if trajectory.dtype != "float64" else ""
        noise = trajectory.gradient_noise_std
        options += f", gradient_noise_std={noise!r}" if noise else ""
        lines.append(
            f"  alone: simulate(problem.select([{m}]), {rule}, {settings}, steps={int(trajectory.steps[-1])}, "
            f"engine={trajectory.engine!r}{options})"
        )
        return "\n".join(lines)

    def _sides(self, m: int, k: int, step: int) -> str:
        """What was seen at a step and what is claimed of it."""
        theorem, one = self.theorem, self.trajectory
        position = min(int(np.searchsorted(one.steps, step)), one.steps.size - 1)
        before, since = max(position - 1, 0), int(one.steps[max(position - 1, 0)])
        if theorem.is_factor:
            factor = float(evaluate_along(theorem.bound, one)[m, k, before])
            return (
                f"gap {one.gap[m, k, position]:.17g} after {one.gap[m, k, before]:.17g} at step {since}, where "
                f"{_CLAIMED[theorem.direction]} {factor:.17g}^{step - since} times that is claimed"
            )
        assert theorem.quantity is not None
        if theorem.kind == "expectation":
            return f"the mean of {theorem.quantity} is {STANDARD_ERRORS * self.margin[m, k]:.2f} standard errors off"
        seen, bound = (float(evaluate_along(x, one)[m, k, position]) for x in (theorem.quantity, theorem.bound))
        return f"{theorem.quantity} is {seen:.17g}, where {_CLAIMED[theorem.direction]} {bound:.17g} is claimed"


_UNTESTED = "nothing could be compared: gaps of 0 or beyond overflow, or a claim within what rounding can do"


@own_modes()
def check(theorem: Theorem | str, trajectory: Trajectory, *, seconds: float = 10.0) -> Check:
    """Compare a theorem with a run.

    A per-step bound is compared between recorded steps s < t as factor^(t-s), so that no step can hide behind an earlier
    one that did better than it had to. In floating point a statement `holds` within the rounding budget of
    `quadsim.theory.checking.budget`. A run that is flagged, and one on a problem given in rationals, is run again in exact
    arithmetic (float64 only: a float32 run refutes nothing), which alone can say `verified` or `refuted`.

    Args:
        theorem: the statement, or its name in THEOREMS.
        trajectory: the run.
        seconds: most that exact arithmetic may take in all.

    Raises:
        ValueError: an unknown name.
    """
    if isinstance(theorem, str):
        theorem = THEOREMS[check_choice("theorem", theorem, THEOREMS)]
    reason = theorem.why_not(trajectory)
    applies = np.asarray(reason == "")
    if not applies.any():
        nothing = np.full(applies.shape, np.nan)
        verdict = np.full(applies.shape, "not applicable", dtype=object)
        return Check(theorem, trajectory, verdict, nothing, np.full(applies.shape, -1), reason)
    found_in_floats = compare_floats(theorem, trajectory)
    flagged, tested = applies & found_in_floats.flagged, found_in_floats.tested
    verdict = np.where(applies, np.where(flagged | ~tested, "undecided", "holds"), "not applicable").astype(object)
    reason = np.where(applies & ~tested, _UNTESTED, reason).astype(object)
    margin = np.where(applies & tested, found_in_floats.margin, np.nan)
    step = np.where(flagged, found_in_floats.step, -1)
    if trajectory.dtype == "float64":
        deadline = time.monotonic() + seconds
        for m, k in np.argwhere(applies & (flagged | (trajectory.problem.exact is not None))):
            found = compare_exactly(theorem, trajectory, int(m), int(k), deadline - time.monotonic())
            if (
                found.verdict == "verified"
                and flagged[m, k]
                and trajectory.rule is not None
                and not trajectory.rule.is_linear
            ):
                # For a linear rule the runs were compared. Here only the rule's exact run is known to bear the statement out.
                reason[m, k] = (
                    "the rule's exact run bears it out, the recorded one does not: another run, or more rounding"
                )
                continue
            reason[m, k] = found.reason or reason[m, k] * (found.verdict == "undecided")
            if found.verdict != "undecided":
                verdict[m, k], step[m, k] = found.verdict, found.step
    else:
        reason = np.where(flagged, "float32 refutes nothing; run it in float64", reason)
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
    allow = (allow,) if isinstance(allow, str) else allow
    for word in allow:
        check_choice("allow", word, VERDICTS)
    found = check(theorem, trajectory, seconds=seconds)
    bad = np.argwhere(~np.isin(found.verdict.astype(str), list(allow)))
    if bad.size:
        raise AssertionError(found.complaint(int(bad[0][0]), int(bad[0][1]), len(bad)))
    return found
