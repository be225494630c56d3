"""Compare a theorem with a run (`check`, `assert_bound`): verdict, margin and first violation per problem and setting."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.oracles import FULL
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.simulator.support.checks import check_choice
from quadsim.simulator.support.torch_modes import own_modes
from quadsim.theory.checking.effort import EFFORT, Effort
from quadsim.theory.checking.floats import HIDDEN, OBSTACLES, STANDARD_ERRORS, Compared, compare_floats
from quadsim.theory.checking.records import Records, examine, form
from quadsim.theory.running.values import canonical_name
from quadsim.theory.statements.registry import THEOREMS
from quadsim.theory.statements.theorem import Theorem

if TYPE_CHECKING:
    from quadsim.theory.checking.rationals import Exact

__all__ = ["CONTRADICTION", "FOREIGN", "VERDICTS", "Check", "Evidence", "assert_bound", "check"]

_CLAIMED = {"upper": "at most", "lower": "at least", "equal": "exactly"}

FOREIGN = "not the rule's run"

CONTRADICTION = "contradiction"

_ANOTHER_RUN = "the rule's exact run bears it out, the recorded one does not: another run, or more rounding"

VERDICTS = ("verified", "holds", "refuted", "undecided", "not applicable", FOREIGN, CONTRADICTION)
"""The verdicts (docs/theory.md section 7), in order: exact arithmetic confirms it; a float run stays within its rounding
budget; exact arithmetic has a counter-example; a flag in floating point that exact arithmetic could not settle, or nothing that
could have failed; a hypothesis fails; the records contradict each other, the rule or the problem; exact arithmetic and floating
point contradict each other by more than the rounding budget, so that a constant, a budget or the judge itself is wrong."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a verdict rests on; arrays are (M, K).

    Attributes:
        recorded: number of comparisons that the records allow: every recorded step, or every pair of neighbours.
        compared: number of these that could have failed.
        recomputed: number of recorded gaps that were made again from the rule and the problem, and agreed.
        slack: largest share of the claim that rounding may take up, over the comparisons that could have failed; at most 0.1.
        detectable: relative error that would have been noticed in *every* gap that was compared, by the comparison or by
            making it again; NaN where nothing was compared.
        assumed: hypotheses that exact arithmetic has not certified, separated by "; ".
    """

    recorded: int
    compared: NDArray[np.int64]
    recomputed: NDArray[np.int64]
    slack: Array
    detectable: Array
    assumed: NDArray[np.object_]

    def text(self, m: int, k: int) -> str:
        """Return the evidence on problem m under setting k in one line."""
        assumed = self.assumed[m, k]
        return (
            f"{self.compared[m, k]} of {self.recorded} comparisons could have failed, {self.recomputed[m, k]} gaps were made "
            f"again; rounding takes up to {self.slack[m, k]:.2g} of the claim; a gap that is {self.detectable[m, k]:.2g} off "
            f"would have been noticed" + (f"; assumed: {assumed}" if assumed else "")
        )


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
        reason: the hypothesis that fails, what contradicts the rule, both sides of a refuted statement, or the reason why it is
            undecided; else empty.
        evidence: what the verdict rests on.
    """

    theorem: Theorem
    trajectory: Trajectory
    verdict: NDArray[np.object_]
    margin: Array
    step: NDArray[np.int64]
    reason: NDArray[np.object_]
    evidence: Evidence

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
        lines.append(f"  alone: {_call(trajectory, m, settings)}")
        return "\n".join(lines)

    def _sides(self, m: int, k: int, step: int) -> str:
        """Return the observed value and the claimed value at a step, as text."""
        theorem, one = self.theorem, self.trajectory
        position = min(int(np.searchsorted(one.steps, step)), one.steps.size - 1)
        from quadsim.theory.statements.quantities import evaluate_along

        before, since = max(position - 1, 0), int(one.steps[max(position - 1, 0)])
        if theorem.is_factor:
            factor = float(evaluate_along(theorem.bound, one)[m, k, before])
            power = "" if step - since == 1 else f"^{step - since}"
            return (
                f"gap {one.gap[m, k, position]:.17g} after {one.gap[m, k, before]:.17g} at step {since}, where "
                f"{_CLAIMED[theorem.direction]} {factor!r}{power} times that is claimed"
            )
        assert theorem.quantity is not None
        if theorem.kind == "expectation":
            return f"mean or second moment of {theorem.quantity} are off by {self.margin[m, k]:.2f} times what may be"
        seen, bound = (float(evaluate_along(x, one)[m, k, position]) for x in (theorem.quantity, theorem.bound))
        return f"{theorem.quantity} is {seen:.17g}, where {_CLAIMED[theorem.direction]} {bound:.17g} is claimed"


def _call(trajectory: Trajectory, m: int, settings: str) -> str:
    """Return the Python that runs problem m of a trajectory alone; a rule of one's own, or a class, is in <>."""
    of_class = trajectory.rule is None
    known = canonical_name(trajectory.rule) == trajectory.optimizer
    options = [
        repr(trajectory.optimizer) if known else f"<{trajectory.optimizer}>",
        settings,
        f"steps={int(trajectory.steps[-1])}",
    ]
    options += [] if of_class else [f"engine={trajectory.engine!r}"]  # a class has one engine, which chooses by itself
    options += [f"observe={sorted(trajectory.observed)}"] if trajectory.observed else []
    options += [] if trajectory.schedule.is_constant else [f"schedule={str(trajectory.schedule)!r}"]
    options += [f"dtype={trajectory.dtype!r}"] if trajectory.dtype != "float64" else []
    options += [f"device={trajectory.device!r}"] if trajectory.device != "cpu" else []
    options += [f"oracle={str(trajectory.oracle)!r}"] if trajectory.oracle != FULL else []
    return f"{'simulate_torch' if of_class else 'simulate'}(problem.select([{m}]), {', '.join(options)})"


_UNTESTED = "nothing could be compared: "


def _gathered(found: Compared, records: Records, assumed: NDArray[np.object_]) -> Evidence:
    """Return the evidence of a comparison in floats and of an examination of the records."""
    noticed = np.minimum(found.noticed, records.noticed[..., -found.noticed.shape[-1] :])
    counted = np.isfinite(found.noticed)
    with np.errstate(invalid="ignore"):
        largest = np.max(np.where(counted, noticed, -np.inf), axis=-1, initial=-np.inf)
    return Evidence(
        recorded=found.recorded,
        compared=found.compared,
        recomputed=records.recomputed,
        slack=found.slack,
        detectable=np.where(counted.any(axis=-1), largest, np.nan),
        assumed=assumed,
    )


def _nothing(theorem: Theorem, trajectory: Trajectory, reason: NDArray[np.object_]) -> Check:
    """Return the check of a theorem that speaks of no problem and setting of the run."""
    shape = trajectory.status.shape
    nan, zero = np.full(shape, np.nan), np.zeros(shape, dtype=np.int64)
    evidence = Evidence(0, zero, zero, nan, nan, np.full(shape, "", dtype=object))
    verdict = np.full(shape, "not applicable", dtype=object)
    return Check(theorem, trajectory, verdict, nan, np.full(shape, -1), reason, evidence)


def _untested(found: Compared, shape: tuple[int, ...]) -> NDArray[np.object_]:
    """Return the reason why floats decide nothing, (M, K) of text; empty where they do."""
    out = np.full(shape, "", dtype=object)
    for m, k in np.argwhere(~found.tested | (found.undefined >= 0)):
        share = f" ({found.compared[m, k]} of {found.recorded})"
        undefined = int(found.undefined[m, k])
        nothing = _UNTESTED + OBSTACLES[found.obstacle[m, k]]
        out[m, k] = (f"the bound has no value at step {undefined}" if undefined >= 0 else nothing) + share
    return out


def _contradiction(found: Compared, m: int, k: int, exact: "Exact") -> str:
    """Return how floats and exact arithmetic contradict each other; "" if they do not, or one of them decides nothing.

    The recorded gaps are those of the exact run here, up to rounding. A flag in floats is then a violation by more than rounding,
    and a comparison that holds by more than its budget cannot fail in exact arithmetic.
    """
    if exact.verdict == "verified" and found.flagged[m, k]:
        return (
            f"exact arithmetic verifies it, and in floating point it fails at step {found.step[m, k]} by more than the rounding "
            "budget: a constant, a budget or the judge is wrong"
        )
    if exact.verdict == "refuted" and not exact.unlike and bool(found.clear[m, k][found.steps == exact.step].any()):
        return (
            f"exact arithmetic refutes it ({exact.reason}), and in floating point it holds there by more than the rounding "
            "budget: a constant, a budget or the judge is wrong"
        )
    return ""


def _given_exactly(trajectory: Trajectory) -> NDArray[np.bool_]:
    """Return which problems are given in rationals, (M, 1)."""
    if trajectory.problem.exact is None:
        return np.zeros((trajectory.problems, 1), dtype=bool)
    from quadsim.theory.checking.exact import is_given_exactly

    return np.array([is_given_exactly(trajectory.problem, m) for m in range(trajectory.problems)])[:, None]


@own_modes()
def check(
    theorem: Theorem | str,
    trajectory: Trajectory,
    *,
    effort: float = EFFORT,
    exactly: bool = False,
    errors: float = STANDARD_ERRORS,
) -> Check:
    """Compare a theorem with a run, for every problem and setting.

    The records are examined first (`quadsim.theory.checking.records`): a run that is not its rule's on its problem says nothing
    about a theorem. A per-step bound is compared between recorded steps s < t as factor^(t-s), so that a slow step is not
    hidden by an earlier step that was faster than the bound. In floating point a statement `holds` within the rounding budget
    of `quadsim.theory.checking.budget`, if something could have failed and the bound has a value at every step. A flagged run,
    and a run on a problem given in rationals, is repeated in exact arithmetic, which alone gives the verdicts `verified` and
    `refuted` (float64 only: a float32 run refutes nothing). Where the two differ by more than rounding the verdict is
    `contradiction`.

    Args:
        theorem: the statement, or its name in THEOREMS.
        trajectory: the run.
        effort: limit of exact arithmetic over all problems and settings, in millions of operations on 64-bit numbers; the
            verdicts do not depend on the speed of the machine.
        exactly: whether a run of which rounding hides the claim is repeated in exact arithmetic, too, within the effort.
        errors: number of standard errors beyond which a mean over draws of the noise is flagged.

    Raises:
        ValueError: an unknown name.
    """
    if isinstance(theorem, str):
        theorem = THEOREMS[check_choice("theorem", theorem, THEOREMS)]
    if wrong := form(trajectory):
        found = _nothing(theorem, trajectory, np.full(trajectory.status.shape, wrong, dtype=object))
        return replace(found, verdict=np.full(trajectory.status.shape, FOREIGN, dtype=object))
    reason = theorem.why_not(trajectory)
    if not np.any(reason == ""):
        return _nothing(theorem, trajectory, reason)
    records = examine(trajectory)
    foreign = (reason == "") & (records.reason != "")
    applies = (reason == "") & ~foreign
    reason = np.where(foreign, records.reason, reason)
    if not applies.any():
        found = _nothing(theorem, trajectory, reason)
        return replace(found, verdict=np.where(foreign, FOREIGN, found.verdict).astype(object))
    in_floats = compare_floats(theorem, trajectory, records.noticed, errors=errors)
    flagged, open_ = applies & in_floats.flagged, _untested(in_floats, applies.shape)
    undecided = flagged | (open_ != "")
    verdict = np.where(applies, np.where(undecided, "undecided", "holds"), "not applicable").astype(object)
    verdict[foreign] = FOREIGN
    reason = np.where(applies & (open_ != ""), open_, reason).astype(object)
    margin = np.where(applies & in_floats.tested, in_floats.margin, np.nan)
    step = np.where(flagged, in_floats.step, -1)
    texts = "; ".join(theorem.texts)
    assumed = np.where(applies, texts, "").astype(object)
    if trajectory.dtype == "float64":
        left = Effort(effort)
        given = _given_exactly(trajectory)
        hidden = (in_floats.obstacle == HIDDEN) & exactly
        for m, k in np.argwhere(applies & (flagged | given | hidden)):
            from quadsim.theory.checking.rationals import compare_exactly  # it needs the expressions

            exact = compare_exactly(theorem, trajectory, int(m), int(k), left)
            assumed[m, k] = exact.assumed
            if exact.verdict == "verified" and exact.unlike:
                # The rule's exact run bears the statement out. That says nothing about a record that is not that run.
                reason[m, k] = _ANOTHER_RUN if flagged[m, k] else reason[m, k] or exact.unlike
                continue
            if contradicts := _contradiction(in_floats, int(m), int(k), exact):
                verdict[m, k], reason[m, k] = CONTRADICTION, contradicts
                step[m, k] = exact.step if exact.verdict == "refuted" else in_floats.step[m, k]
                continue
            if exact.outside:  # what the floats show is no violation of a theorem that says nothing here
                step[m, k] = -1
            reason[m, k] = exact.reason or reason[m, k] * (exact.verdict == "undecided")
            if exact.verdict != "undecided":
                verdict[m, k], step[m, k] = exact.verdict, exact.step
    else:
        reason = np.where(flagged, "float32 refutes nothing; run it in float64", reason)
    return Check(theorem, trajectory, verdict, margin, step, reason, _gathered(in_floats, records, assumed))


def assert_bound(
    theorem: Theorem | str,
    trajectory: Trajectory,
    allow: Sequence[str] = ("verified", "holds"),
    *,
    effort: float = EFFORT,
) -> Check:
    """Assert that every problem and setting of a run satisfies a theorem; for users' tests.

    Args:
        theorem: the statement, or its name in THEOREMS.
        trajectory: any result of `simulate`.
        allow: verdicts that pass. By default `not applicable` does not: a check that tested nothing must not pass.
        effort: limit of exact arithmetic; see `check`.

    Returns:
        The check.

    Raises:
        AssertionError: a verdict that is not allowed; it names theorem, step or hypothesis, instance, and how to run it alone.
        ValueError: an unknown theorem or verdict.
    """
    allow = (allow,) if isinstance(allow, str) else allow
    for word in allow:
        check_choice("allow", word, VERDICTS)
    found = check(theorem, trajectory, effort=effort)
    bad = np.argwhere(~np.isin(found.verdict.astype(str), list(allow)))
    if bad.size:
        raise AssertionError(found.complaint(int(bad[0][0]), int(bad[0][1]), len(bad)))
    return found
