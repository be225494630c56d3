"""Compare a theorem with a run (`check`, `assert_bound`): verdict, margin and first violation per problem and setting."""

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
"""The verdicts (docs/theory.md section 7), in order: exact arithmetic confirms it; a float run stays within its rounding
budget; exact arithmetic has a counter-example; a flag in floating point that exact arithmetic could not settle; a hypothesis
fails."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Check:
    """The result of comparing a theorem with a run; arrays are (M, K).

    Attributes:
        theorem: the statement.
        trajectory: the run.
        verdict: one of VERDICTS.
        margin: largest ratio of the observed quantity to the bound (for a lower bound the inverse); see `compare_floats`. At most
            1, up to rounding, if the statement is true; NaN where it is not applicable.
        step: first recorded step that violates the statement; -1 if none does.
        reason: the hypothesis that fails, both sides of a refuted statement, or the reason why it is undecided; else empty.
    """

    theorem: Theorem
    trajectory: Trajectory
    verdict: NDArray[np.object_]
    margin: Array
    step: NDArray[np.int64]
    reason: NDArray[np.object_]

    def counts(self) -> dict[str, int]:
        """Verdict to the number of instances (problem and setting) with it."""
        return {word: int(np.sum(self.verdict == word)) for word in VERDICTS}

    @property
    def tightness(self) -> tuple[float, float]:
        """Worst and median margin over the instances to which the theorem applies; NaN if there are none."""
        margin = self.margin[~np.isnan(self.margin)]
        return (float(margin.max()), float(np.median(margin))) if margin.size else (np.nan, np.nan)

    def complaint(self, m: int, k: int, number: int = 1) -> str:
        """Return the message for problem m under setting k, one of `number` that failed, and the code that runs it alone."""
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
        """Return the observed value and the claimed value at a step, as text."""
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
    """Compare a theorem with a run, for every problem and setting.

    A per-step bound is compared between recorded steps s < t as factor^(t-s), so that a slow step is not hidden by an earlier
    step that was faster than the bound. In floating point a statement `holds` within the rounding budget of
    `quadsim.theory.checking.budget`. A flagged run, and a run on a problem given in rationals, is repeated in exact
    arithmetic, which alone gives the verdicts `verified` and `refuted` (float64 only: a float32 run refutes nothing).

    Args:
        theorem: the statement, or its name in THEOREMS.
        trajectory: the run.
        seconds: time limit for exact arithmetic, in total.

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
    """Assert that every problem and setting of a run satisfies a theorem; for users' tests.

    Args:
        theorem: the statement, or its name in THEOREMS.
        trajectory: any result of `simulate`.
        allow: verdicts that pass. By default `not applicable` does not: a check that tested nothing must not pass.
        seconds: time limit for exact arithmetic, in total.

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
