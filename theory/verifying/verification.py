"""Verify all theorems (`verify`): prove every step, check every theorem on new problems, and refute the false claims."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.simulator.support.checks import check_choice, check_count
from quadsim.simulator.support.torch_modes import own_modes
from quadsim.theory.checking.comparison import CONTRADICTION, FOREIGN, VERDICTS, check
from quadsim.theory.checking.effort import EFFORT
from quadsim.theory.checking.instance import InstanceCheck
from quadsim.theory.exporting.independent import answer_to
from quadsim.theory.statements.derived.graph import Derived, derive
from quadsim.theory.statements.proving import Discharge, Step, prove
from quadsim.theory.statements.registry import THEOREMS
from quadsim.theory.statements.steps import NEVER
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.verifying.both_sides import Sides, on_both_sides
from quadsim.theory.verifying.false_claims import FALSE_CLAIMS, FalseClaim, Refutation
from quadsim.theory.verifying.tightness import search_tightest
from quadsim.theory.verifying.trials import Trial, trial_of

__all__ = [
    "ClaimReport",
    "TheoremReport",
    "verify",
    "verify_theorem",
]

Progress = Callable[[int, int, str], None]

_RATIONAL_BESIDE = 10
"""Number of rational instances per theorem, in addition to the float ones."""


@dataclass(frozen=True)
class TheoremReport:
    """The result of verifying a theorem.

    Attributes:
        name: name of the theorem.
        verdict: `proved` (every step is proved or cited, up to the statement itself, and no instance violates it),
            `lemmas proved` (the same, but the statement is not derived from the lemmas), `unproved` (a step is not proved),
            `refuted` (an instance violates it in exact arithmetic), `undecided` (an instance is flagged and not decided, or is
            not the rule's run), `contradiction` (floats and exact arithmetic differ by more than rounding) or `untested`.
        steps: each step with the result of its check.
        instances: number of instances (problem and setting) that met the hypotheses and tested the claim.
        verdicts: verdict to the number of instances, `not applicable` and `untested` (nothing left beyond rounding) included.
        worst_margin: largest margin over the instances; NaN if there are none.
        tightness: closeness of the best instance to the bound (see `tightness.closeness`); NaN without a search.
        tightest: that instance, in words.
        complaints: messages about the first instances that violate it.
        notes: remarks, as measurements beside a published claim.
        derivation: the steps from definitions and hypotheses to the statement; None if it has no derivation.
        unused: hypotheses on which the statement does not rest, by its derivation.
        hypotheses: of each hypothesis the instances on both sides, and one that fails without it; empty unless asked for.
        objection: why the independent checker (`quadsim.theory.proof_checker`) rejects the exported proof; empty if it accepts
            it, or if the proof is not complete anyway.
        unchecked: why the independent checker did not check it: a function that the format does not have, or a limit of Z3.
    """

    name: str
    verdict: str
    steps: tuple[tuple[Step, Discharge], ...]
    instances: int
    verdicts: Mapping[str, int]
    worst_margin: float
    tightness: float
    tightest: str = ""
    complaints: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    derivation: tuple[tuple[Step, Discharge], ...] | None = None
    unused: tuple[str, ...] = ()
    hypotheses: tuple[Sides, ...] = ()
    objection: str = ""
    unchecked: str = ""

    @property
    def proved(self) -> int:
        """Number of steps that were proved by machine."""
        return sum(found.status == "proved" for _, found in self.steps)

    @property
    def cited(self) -> int:
        """Number of steps that cite a named fact."""
        return sum(found.status == "cited" for _, found in self.steps)


@dataclass(frozen=True)
class ClaimReport:
    """The result for a false claim: `refuted`, as it should be, or `survived`."""

    claim: FalseClaim
    refutation: Refutation


@dataclass
class _Tally:
    verdicts: Counter[str] = field(default_factory=Counter)
    worst: float = -math.inf
    complaints: list[str] = field(default_factory=list)
    checks: int = 5  # in exact arithmetic, once something speaks against the theorem

    def add(self, theorem: Theorem, run: Trajectory) -> None:
        found = check(theorem, run, effort=EFFORT / 2 if self.checks > 0 else 0.0)
        self.checks -= bool(self.complaints)
        self.verdicts.update({word: count for word, count in found.counts().items() if count})
        untested = int(np.sum((found.verdict == "undecided") & (found.step < 0)))  # nothing spoke against it either
        self.verdicts.update({"undecided": -untested, "untested": untested})
        margins = found.margin[
            np.isfinite(found.margin) & ~np.isin(found.verdict.astype(str), ("not applicable", FOREIGN))
        ]
        self.worst = max(self.worst, float(margins.max()) if margins.size else -math.inf)
        against = np.isin(found.verdict.astype(str), ("refuted", FOREIGN, CONTRADICTION))
        against |= (found.verdict == "undecided") & (found.step >= 0)
        for m, k in np.argwhere(against)[:1]:
            self.complaints.append(found.complaint(int(m), int(k)))

    def add_instance(self, found: InstanceCheck) -> None:
        self.verdicts[found.verdict] += 1
        self.worst = max(self.worst, found.margin)
        if found.reason:
            self.complaints.append(found.reason)


@own_modes()
def verify(
    names: tuple[str, ...] = (),
    *,
    problems: int | None = None,
    seed: int = 0,
    exact: bool = False,
    search: int = 3000,
    sides: bool = False,
    progress: Progress = lambda done, total, text: None,
    into: tuple[list[TheoremReport], list[ClaimReport]] | None = None,
) -> tuple[list[TheoremReport], list[ClaimReport]]:
    """Prove theorems, check them on new problems, and refute the false claims.

    Args:
        names: names of theorems; None: all theorems and the false claims.
        problems: number of new problems per theorem (default 1000, or 50 with `exact`).
        seed: seed of the problems.
        exact: whether all problems are rational, so that every verdict is by exact arithmetic.
        search: number of instances in the search for the tightest one, for each upper bound; 0: no search.
        sides: whether instances are drawn on both sides of every hypothesis; see `both_sides`. Not with `exact`.
        progress: called before every part with (done, total, name).
        into: lists to which results are appended, so that finished ones are available after an interrupt.

    Returns:
        One report per theorem and per false claim.

    Raises:
        ValueError: an unknown name or a number out of range.
    """
    chosen = [THEOREMS[check_choice("theorem", name, THEOREMS)] for name in dict.fromkeys(names)] or list(
        THEOREMS.values()
    )
    claims = () if names else FALSE_CLAIMS
    number = check_count("problems", (50 if exact else 1000) if problems is None else problems)
    check_count("seed", seed, 0)
    check_count("search", search, 0)
    total = len(chosen) + len(claims)
    reports: list[TheoremReport] = [] if into is None else into[0]
    refuted: list[ClaimReport] = [] if into is None else into[1]
    for done, theorem in enumerate(chosen):
        progress(done, total, theorem.name)
        reports.append(verify_theorem(theorem, problems=number, seed=seed, exact=exact, search=search, sides=sides))
    for done, claim in enumerate(claims, len(chosen)):
        progress(done, total, claim.name)
        refuted.append(ClaimReport(claim, claim.refute()))
    progress(total, total, "done")
    return reports, refuted


def verify_theorem(
    theorem: Theorem,
    *,
    trial: Trial | None = None,
    problems: int = 1000,
    seed: int = 0,
    exact: bool = False,
    search: int = 3000,
    sides: bool = False,
) -> TheoremReport:
    """Verify one theorem: its proof, its instances, and the search for the tightest instance; see `verify`.

    Args:
        theorem: the theorem, one of THEOREMS or your own.
        trial: the runs on which it is checked; None: the trial with its name in TRIALS.
        problems: number of new random problems.
        seed: seed of the draws.
        exact: whether only runs in rationals are used, if the trial has them.
        search: number of instances in the search for the tightest one; 0: no search.
        sides: whether instances are drawn on both sides of every hypothesis.

    Raises:
        ValueError: a theorem without a trial.
    """
    trial = trial_of(theorem) if trial is None else trial
    try:
        steps = tuple((step, prove(step)) for step in theorem.proof)
    except ValueError as error:  # the rule is not even of the kind that the proof speaks of
        steps = ((Step(NEVER, str(error)), Discharge("refuted", "the rule itself", 0.0)),)
    derived = derive(theorem)
    unused = () if derived is None else derived.unused
    objection, unchecked = answer_to(theorem, steps, derived)
    tally = _Tally()
    if trial.instance is not None:
        draw = np.random.default_rng([seed, *theorem.name.encode()])
        for number in range(problems):
            tally.add_instance(trial.instance(theorem, draw, number, exact))
    else:
        for run in trial.runs(theorem.name, problems, seed, exact=exact, beside=_RATIONAL_BESIDE):
            tally.add(theorem, run)
    tightness, tightest = math.nan, ""
    if search and not exact and trial.searched is not None:
        found = search_tightest(theorem, trial.searched, evaluations=search, seed=seed)
        for run in found.suspects:
            tally.add(theorem, run)
        tightness, tightest = found.margin, f"{found.instance} ({found.evaluations} instances tried)"
    counts = {word: tally.verdicts.get(word, 0) for word in (*VERDICTS, "untested")}
    instances = sum(counts.values()) - counts["not applicable"] - counts["untested"]
    return TheoremReport(
        name=theorem.name,
        verdict=_verdict(steps, derived, counts, instances, objection),
        steps=steps,
        instances=instances,
        verdicts=counts,
        worst_margin=tally.worst if tally.worst > -math.inf else math.nan,
        tightness=tightness,
        tightest=tightest,
        complaints=(
            *([f"{theorem.name}: the checker rejects the proof: {objection}"] if objection else []),
            *tally.complaints[:3],
        ),
        notes=(*([f"not checked independently: {unchecked}"] if unchecked else []), *trial.notes(problems, seed)),
        derivation=None if derived is None else derived.steps,
        unused=unused,
        hypotheses=()
        if exact or not sides or trial.instance is not None
        else on_both_sides(theorem, trial, seed, unused),
        objection=objection,
        unchecked=unchecked,
    )


def _verdict(
    steps: tuple[tuple[Step, Discharge], ...],
    derived: Derived | None,
    counts: Mapping[str, int],
    instances: int,
    objection: str,
) -> str:
    if counts["refuted"]:
        return "refuted"
    if counts[CONTRADICTION]:
        return CONTRADICTION
    if not steps or any(found.status not in ("proved", "cited") for _, found in steps):
        return "unproved"
    if (derived is not None and not derived.holds) or objection:
        return "unproved"
    if counts["undecided"] or counts[FOREIGN]:
        return "undecided"
    if not instances:
        return "untested"
    return "lemmas proved" if derived is None else "proved"
