"""Everything at once: prove every step, try every theorem on fresh problems, refute the false claims."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.checks import check_choice, check_count
from quadsim.simulator.engines import simulate
from quadsim.simulator.quadratic import BlockQuadratic
from quadsim.simulator.torch_modes import own_modes
from quadsim.simulator.trajectory import Trajectory
from quadsim.theory.checking import VERDICTS, check
from quadsim.theory.false_claims import FALSE_CLAIMS, FalseClaim, Refutation
from quadsim.theory.head import check_head
from quadsim.theory.instances import RATIONAL, rational_run, sample_runs
from quadsim.theory.proving import Discharge, Step, prove
from quadsim.theory.quantities import MEANINGS, evaluate
from quadsim.theory.registry import THEOREMS
from quadsim.theory.symbols import Symbol
from quadsim.theory.theorem import Theorem
from quadsim.theory.tightness import SEARCHED, search_tightest

__all__ = [
    "ClaimReport",
    "FrozenRatios",
    "TheoremReport",
    "frozen_ratios",
    "rates_and_ratios",
    "verify",
    "verify_theorem",
]

Progress = Callable[[int, int, str], None]

_RATIONAL_BESIDE = 10
"""Instances in rationals that every theorem gets beside the float ones."""


@dataclass(frozen=True)
class TheoremReport:
    """What became of a theorem.

    Attributes:
        name: of the theorem.
        verdict: `proved` (every step discharged, and no instance against it), `unproved` (a step is open or wrong), `refuted` (an
            instance is, in exact arithmetic), `undecided` (an instance is flagged and not settled) or `untested`.
        steps: each step with what became of it.
        instances: problems times settings that met the hypotheses and tested the claim.
        verdicts: word to count; also of those that are not applicable, and `untested`, where rounding left nothing to compare.
        worst_margin: largest margin over the instances; NaN without any.
        tightness: how close the best instance known comes to the bound (see `tightness.closeness`); NaN where not searched.
        tightest: that instance, in words.
        complaints: the first instances that speak against it.
        notes: measured beside the published claim.
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

    @property
    def proved(self) -> int:
        """Steps proved by machine."""
        return sum(found.status == "proved" for _, found in self.steps)

    @property
    def cited(self) -> int:
        """Steps that rest on a named fact."""
        return sum(found.status == "cited" for _, found in self.steps)


@dataclass(frozen=True)
class ClaimReport:
    """A false claim and what became of it: `refuted`, as it should be, or `survived`."""

    claim: FalseClaim
    refutation: Refutation


@dataclass
class _Tally:
    verdicts: Counter[str] = field(default_factory=Counter)
    worst: float = -math.inf
    complaints: list[str] = field(default_factory=list)
    seconds: float = 3.0  # for exact arithmetic, once something speaks against the theorem

    def add(self, theorem: Theorem, run: Trajectory) -> None:
        begin = time.monotonic()
        found = check(theorem, run, seconds=max(0.0, min(5.0, self.seconds)))
        self.seconds -= time.monotonic() - begin if self.complaints else 0.0
        self.verdicts.update({word: count for word, count in found.counts().items() if count})
        untested = int(np.sum((found.verdict == "undecided") & (found.step < 0)))  # nothing spoke against it either
        self.verdicts.update({"undecided": -untested, "untested": untested})
        margins = found.margin[np.isfinite(found.margin) & (found.verdict != "not applicable")]
        self.worst = max(self.worst, float(margins.max()) if margins.size else -math.inf)
        against = (found.verdict == "refuted") | ((found.verdict == "undecided") & (found.step >= 0))
        for m, k in np.argwhere(against)[:1]:
            self.complaints.append(found.complaint(int(m), int(k)))


@own_modes()
def verify(
    names: tuple[str, ...] = (),
    *,
    problems: int | None = None,
    seed: int = 0,
    exact: bool = False,
    search: int = 3000,
    progress: Progress = lambda done, total, text: None,
    into: tuple[list[TheoremReport], list[ClaimReport]] | None = None,
) -> tuple[list[TheoremReport], list[ClaimReport]]:
    """Prove, try and refute.

    Args:
        names: of theorems; all of them, and the false claims, if left out.
        problems: fresh problems for each theorem (default 1000, or 50 with `exact`).
        seed: of the problems.
        exact: problems built in rationals throughout, every verdict in exact arithmetic.
        search: instances that the search for the tightest one may try, for each upper bound; 0: no search.
        progress: told before every piece (done, total, what).
        into: lists that are filled as it goes, so that an interrupt leaves what is finished.

    Returns:
        A report for every theorem and every false claim.

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
        reports.append(verify_theorem(theorem, problems=number, seed=seed, exact=exact, search=search))
    for done, claim in enumerate(claims, len(chosen)):
        progress(done, total, claim.name)
        refuted.append(ClaimReport(claim, claim.refute()))
    progress(total, total, "done")
    return reports, refuted


def verify_theorem(
    theorem: Theorem, *, problems: int = 1000, seed: int = 0, exact: bool = False, search: int = 3000
) -> TheoremReport:
    """One theorem: its proof, its instances, and the search for the tightest; see `verify`."""
    try:
        steps = tuple((step, prove(step)) for step in theorem.proof)
    except ValueError as error:  # the rule is not even of the kind that the proof speaks of
        steps = ((Step(False, str(error)), Discharge("refuted", "the rule itself", 0.0)),)
    tally = _Tally()
    if theorem.name == "head-drift":
        _try_heads(theorem, tally, problems, seed, exact)
    else:
        for run in _runs(theorem.name, problems, seed, exact):
            tally.add(theorem, run)
    tightness, tightest = math.nan, ""
    if search and not exact and theorem.name in SEARCHED:
        found = search_tightest(theorem, evaluations=search, seed=seed)
        for run in found.suspects:
            tally.add(theorem, run)
        tightness, tightest = found.margin, f"{found.instance} ({found.evaluations} instances tried)"
    counts = {word: tally.verdicts.get(word, 0) for word in (*VERDICTS, "untested")}
    instances = sum(counts.values()) - counts["not applicable"] - counts["untested"]
    return TheoremReport(
        name=theorem.name,
        verdict=_verdict(steps, counts, instances),
        steps=steps,
        instances=instances,
        verdicts=counts,
        worst_margin=tally.worst if tally.worst > -math.inf else math.nan,
        tightness=tightness,
        tightest=tightest,
        complaints=tuple(tally.complaints[:3]),
        notes=_notes(theorem.name, problems, seed),
    )


def _verdict(steps: tuple[tuple[Step, Discharge], ...], counts: Mapping[str, int], instances: int) -> str:
    if counts["refuted"]:
        return "refuted"
    if not steps or any(found.status not in ("proved", "cited") for _, found in steps):
        return "unproved"
    if counts["undecided"]:
        return "undecided"
    return "proved" if instances else "untested"


def _runs(name: str, problems: int, seed: int, exact: bool) -> Iterator[Trajectory]:
    if not exact or name not in RATIONAL:
        yield from sample_runs(name, seed, problems)
    if name in RATIONAL:
        draw = np.random.default_rng([seed, 1, *name.encode()])
        for _ in range(problems if exact else _RATIONAL_BESIDE):
            yield rational_run(name, draw)


def _try_heads(theorem: Theorem, tally: _Tally, problems: int, seed: int, exact: bool) -> None:
    """Heads of random size: exactly, for short walks; and simulated, for a few long ones."""
    draw = np.random.default_rng([seed, *b"head"])
    for number in range(problems):
        classes, batch, steps = int(draw.integers(2, 65)), int(draw.integers(1, 65)), int(draw.integers(1, 5))
        simulated = not exact and number % 50 == 0
        runs = 400 if simulated else 0
        found = check_head(classes, batch, 20 if simulated else steps, runs=runs, seed=seed + number, theorem=theorem)
        tally.verdicts[found.verdict] += 1
        tally.worst = max(tally.worst, found.margin)
        if found.reason:
            tally.complaints.append(f"C = {classes}, b = {batch}: {found.reason}")


@dataclass(frozen=True)
class FrozenRatios:
    """r and r_pub of frozen Adam on the paper's heterogeneous example.

    Attributes:
        trials: how many.
        median_r: of max_l C2_l / min_l C1_l.
        median_r_pub: of its square.
        share_r: with r <= 1000.
        share_r_pub: with r_pub <= 1000.
        error: standard error of `share_r_pub`.
        ordered: trials with exact <= sharpened <= published factor at lr = min_l C1_l.
        ratios: r of every trial.
    """

    trials: int
    median_r: float
    median_r_pub: float
    share_r: float
    share_r_pub: float
    error: float
    ordered: int
    ratios: NDArray[np.float64] = field(repr=False, compare=False)


def rates_and_ratios(problem: BlockQuadratic) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """min_l C1_l, the rate of frozen Adam's bounds, and r of every problem, (M,) each."""
    probe = simulate(problem, "adam-frozen", lr=1e-300, steps=1)
    low, high = (MEANINGS[s].value(probe)[:, 0] for s in (Symbol.C1_l, Symbol.C2_l))
    rates = low.min(axis=1)
    return rates, high.max(axis=1) / rates


def frozen_ratios(*, trials: int = 4000, seed: int = 0) -> FrozenRatios:
    """Measure r and r_pub on the heterogeneous case with Haar blocks (Zhang et al. report r_pub <= 1000 in at least 2/3)."""
    problem = BlockQuadratic.case("heterogeneous", problems=trials, seed=seed)
    rates, r = rates_and_ratios(problem)
    share = float(np.mean(r**2 <= 1000))
    ordered = 0
    for begin in range(0, trials, 200):  # a rate of its own for every problem: the diagonal of problems x settings
        part = problem.select(range(begin, min(begin + 200, trials)))
        run = simulate(part, "adam-frozen", lr=rates[begin : begin + 200], steps=1)
        exact, sharp, published = (
            np.diagonal(evaluate(THEOREMS[name].decrease, run))
            for name in ("adam-frozen-exact", "adam-frozen", "adam-frozen-published")
        )
        # Each decrease is a quotient of eigenvalues that are known to a few units times the condition number of a block.
        slack = 1 - 1e4 * np.finfo(float).eps
        ordered += int(np.sum((exact >= sharp * slack) & (sharp >= published * slack)))
    return FrozenRatios(
        trials=trials,
        median_r=float(np.median(r)),
        median_r_pub=float(np.median(r**2)),
        share_r=float(np.mean(r <= 1000)),
        share_r_pub=share,
        error=math.sqrt(share * (1 - share) / trials),
        ordered=ordered,
        ratios=r,
    )


def _notes(name: str, problems: int, seed: int) -> tuple[str, ...]:
    if name != "adam-frozen-published":
        return ()
    found = frozen_ratios(trials=4 * problems, seed=seed)
    return (
        f"on the paper's heterogeneous example ({found.trials} Haar draws): P(r_pub <= 1000) = {found.share_r_pub:.3f} "
        f"(s.e. {found.error:.4f}), where at least 2/3 is published; median r_pub {found.median_r_pub:.0f}, median r "
        f"{found.median_r:.1f}, P(r <= 1000) = {found.share_r:.3f}; exact <= sharpened <= published factor in {found.ordered} of "
        f"{found.trials}",
    )
