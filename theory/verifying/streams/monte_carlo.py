"""Hold the exact means on a stream of samples against very many runs: curves, floors, both sides of stability, and sign steps.

Each case is one problem and one start, whose runs differ in their samples alone; their number is counted in parts of bounded
memory, which processes may share. The draws depend on the case and on the number of the run, and not on the parts.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.engines import simulate
from quadsim.simulator.problems.oracles import Stream
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.support.checks import check_count
from quadsim.theory.running.stream_moments import Moments, largest_stable_rate, sign_step_gap
from quadsim.theory.verifying.processes import in_processes
from quadsim.theory.verifying.streams.fourth_moments import FourthMoments
from quadsim.theory.verifying.streams.means import ERROR_RATE, JudgedMeans, MeanSums

__all__ = ["CASES", "Case", "CaseFound", "monte_carlo", "run_part"]

Array = NDArray[np.float64]

_PART = 2500  # runs of one task
_NOISE = 0.5
_STEPS = {1: 64, 4: 64, 64: 32}
# One run in so many, by momentum and batch: of 100,000 runs, those that are left notice an error of a floor of 1%.
_FLOOR_RUNS = {(0.0, 1): 2, (0.0, 4): 4, (0.0, 64): 8, (0.9, 1): 2, (0.9, 4): 1, (0.9, 64): 2}
_EDGE_RUNS = {1: 5, 4: 1, 64: 1}  # at b = 1 the factors of a step have the longest tails, and a run costs least
_RELAXED = 1e-3
_EDGE = 32


@dataclass(frozen=True)
class Case:
    """One comparison of means with runs.

    Attributes:
        what: `curve` (the gap at every recorded step), `edge` (the factor of every step beside the limit of stability),
            `floor` (the gap averaged over the steps after which the exact curve has reached its limit) or `signs` (the gap after
            one step of signsgd).
        rule: name of the rule.
        momentum: its momentum; 0 for the others.
        batch: b.
        noise_law: of the noise of the labels, see `Stream`.
        heterogeneity: of the problem.
        share: the rate over the largest stable one; of a sign step the rate itself.
        state: number of the start.
    """

    what: str
    rule: str
    momentum: float
    batch: int
    noise_law: str
    heterogeneity: float
    share: float
    state: int = 0

    @property
    def label(self) -> str:
        """The case in words."""
        noise = "" if self.noise_law == "normal" else f", {self.noise_law} noise"
        if self.what == "signs":
            return f"signsgd, one step from state {self.state}, heterogeneity {self.heterogeneity:g}"
        words = {"curve": "curve", "edge": f"factor of a step at {self.share:g} of the limit", "floor": "floor"}[
            self.what
        ]
        share = f", {self.share:g} of the limit" if self.what == "curve" else ""
        return f"{words} of {self.rule}, b = {self.batch}, heterogeneity {self.heterogeneity:g}{noise}{share}"

    @property
    def oracle(self) -> Stream:
        """The stream."""
        return Stream(self.batch, 0.0 if self.what == "edge" else _NOISE, self.noise_law)

    @property
    def seed(self) -> int:
        """Seed of the samples: one for each case."""
        return CASES.index(self) if self in CASES else len(CASES)


_RULES = (("gd", 0.0), ("heavy-ball", 0.9))
_BATCHES = (1, 4, 64)
_LAWS = ("normal", "student-5")
_HETEROGENEITIES = (1.0, 10.0, 100.0)

CASES: tuple[Case, ...] = (
    *(
        Case("curve", rule, momentum, batch, law, heterogeneity, 0.3)
        for law, (rule, momentum), batch, heterogeneity in product(_LAWS, _RULES, _BATCHES, _HETEROGENEITIES)
    ),
    *(
        Case("edge", rule, momentum, batch, "normal", 10.0, share)
        for (rule, momentum), batch, share in product(_RULES, _BATCHES, (0.99, 1.01))
    ),
    *(
        Case("floor", rule, momentum, batch, "normal", heterogeneity, 0.5)
        for (rule, momentum), batch, heterogeneity in product(_RULES, _BATCHES, (1.0, 10.0))
    ),
    *(Case("signs", "signsgd", 0.0, 1, "normal", 10.0, 0.05 * 2.0**state, state) for state in range(5)),
    # At b = 1 and 0.3 of the limit few runs carry a mean; at 0.1 of it 20,000 runs are enough for their skewness.
    *(
        Case("curve", rule, momentum, 1, law, heterogeneity, 0.1)
        for law, (rule, momentum), heterogeneity in product(_LAWS, _RULES, _HETEROGENEITIES)
    ),
    *(
        Case("floor", rule, momentum, batch, "normal", 100.0, 0.5) for (rule, momentum), batch in product(_RULES, _BATCHES)
    ),
)  # fmt: skip
"""All cases; a case is added at the end, as its place is the seed of its samples."""


@dataclass(frozen=True, eq=False)
class CaseFound:
    """What the runs of a case say.

    Attributes:
        case: the case.
        radius: spectral radius of the exact recursion; NaN for a sign step.
        means: the judged means, one for each recorded step.
        expected: what is expected of each, relative to the gap at the start.
        deviation: of a curve, the largest standard deviation of one run's gap over the mean, from its exact fourth moments; NaN
            for the other cases.
        fourth: spectral radius of the recursion of the fourth moments of the error: the variance of the gap stays bounded if
            and only if it is below 1. NaN for factors of a step, which have light tails, and for sign steps.
    """

    case: Case
    radius: float
    means: JudgedMeans
    expected: Array
    deviation: float = np.nan
    fourth: float = np.nan

    @property
    def worst(self) -> float:
        """Largest distance of a mean, in standard errors."""
        return float(np.abs(self.means.errors).max())

    @property
    def relative(self) -> float:
        """Largest relative distance of a mean from its expectation."""
        return float(np.abs(self.means.errors * self.means.relative_error).max())

    @property
    def beyond(self) -> float:
        """Of a factor of a step, how many standard errors it lies beyond 1, on the side on which it is expected; else NaN."""
        if self.case.what != "edge":
            return np.nan
        measured = self.radius * (1.0 + self.means.errors[0] * self.means.relative_error[0])
        return float((measured - 1.0) * np.sign(self.radius - 1.0) / (self.radius * self.means.relative_error[0]))

    @property
    def state(self) -> str:
        """The verdict, and of `undecided` the reason.

        `undecided: no variance` where E gap^2 grows without end, so that no standard error is one at every step; else
        `undecided: wants N runs`: the skewness that was seen leaves a verdict from N runs on. Skewness needs the sixth moments
        of the error, which the noise of Student's law with 5 degrees of freedom does not have: there N grows with the runs.
        """
        if self.verdict != "undecided":
            return self.verdict
        if self.fourth >= 1.0:
            return "undecided: no variance"
        wanted = float(np.max(self.means.wanted))
        return "undecided: not finite" if np.isnan(wanted) else f"undecided: wants {wanted:.2g} runs"

    @property
    def verdict(self) -> str:
        """The worst of the verdicts."""
        return next(word for word in ("refuted", "undecided", "holds") if (self.means.verdict == word).any())


def monte_carlo(
    runs: int,
    *,
    cases: Sequence[Case] = CASES,
    workers: int = 1,
    error_rate: float = ERROR_RATE,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> Iterator[CaseFound]:
    """Yield what the runs of every case say, with one error rate over all of their comparisons.

    Args:
        runs: number of runs of a curve and of a sign step; floors, which average over steps, take a part of it, and factors of a
            step at b = 1 five times as many.
        cases: which.
        workers: number of processes; the draws are the same.
        error_rate: largest chance that any true mean among all is refuted.
        progress: called with (parts so far, parts, case).

    Raises:
        ValueError: a number out of range.
    """
    check_count("runs", runs, 2)
    tasks = [(case, first, last) for case in cases for first, last in _parts(case, runs)]
    comparisons = sum(_exact(case).expected.size for case in cases)
    sums: MeanSums | None = None
    for done, (task, part) in enumerate(zip(tasks, in_processes(run_part, tasks, workers), strict=True), start=1):
        case, _, last = task
        sums = part if sums is None else sums + part
        progress(done, len(tasks), case.label)
        if last == _parts(case, runs)[-1][1]:
            exact = _exact(case)
            judged = sums.judge(comparisons, error_rate)
            yield CaseFound(case, exact.radius, judged, exact.expected / exact.start, *_spread(case, exact))
            sums = None


def run_part(case: Case, first: int, last: int) -> MeanSums:
    """Run the numbers `first` to `last` - 1 of a case and return their sums."""
    exact = _exact(case)
    one, start = exact.problem, exact.error
    many = BlockQuadratic.from_blocks(
        list(one.hessian[3][0]), initial_error=np.tile(start, (last - first, 1)), seed=case.seed, first=first
    )
    settings: dict[str, Any] = {"momentum": case.momentum} if case.momentum else {}
    run = simulate(
        many, case.rule, lr=exact.lr, steps=int(exact.steps[-1]), record=exact.record, oracle=case.oracle,
        observe="iterate" if case.what == "edge" else "gap", **settings,
    )  # fmt: skip
    if case.what == "edge":
        return MeanSums(exact.expected).add(_factors(run.observed["iterate"][:, 0], exact))
    gaps = run.gap[:, 0, 1:]
    if case.what == "floor":
        gaps = gaps[:, run.steps[1:] >= exact.steps[0]].mean(axis=1, keepdims=True)
    return MeanSums(exact.expected).add(gaps)


def _factors(iterates: Array, exact: "_Exact") -> Array:
    """Return the mean over the steps of w'y(t + 1)/w'y(t), (runs, 1), whose mean over the draws is the spectral radius.

    y are the products of the error and the memory along every eigenvector, and w is the left eigenvector of their recursion.
    Given the state, E w'y(t + 1) is the radius times w'y(t) exactly, so that every step is a sample of it; its tails are
    light, while those of the gap itself grow with every step.

    Args:
        iterates: errors, (runs, steps + 1, P); the memory before the first step is 0.
        exact: the case.
    """
    one = exact.problem
    size = one.eigenvectors[3].shape[-1]
    modes = np.einsum("bij,rtbi->rtbj", one.eigenvectors[3][0], iterates.reshape(*iterates.shape[:2], -1, size))
    errors = modes.reshape(iterates.shape)
    y = [errors**2]
    if exact.left.shape[1] == 3:
        memory = np.zeros_like(errors)
        memory[:, 1:] = (errors[:, :-1] - errors[:, 1:]) / exact.lr
        y += [errors * memory, memory**2]
    weighted = sum(values @ exact.left[:, place] for place, values in enumerate(y))
    return np.asarray(np.mean(weighted[:, 1:] / weighted[:, :-1], axis=1, keepdims=True))


@dataclass(frozen=True, eq=False)
class _Exact:
    """What is known of a case before any run."""

    problem: BlockQuadratic
    error: Array
    start: float
    lr: float
    steps: NDArray[np.int64]
    record: str | int
    expected: Array
    radius: float
    left: Array


@lru_cache(maxsize=128)
def _exact(case: Case) -> _Exact:
    one = BlockQuadratic.generate(blocks=2, block_size=3, heterogeneity=case.heterogeneity, problems=1, seed=case.state)
    start, gap = one.layout.flatten(one.initial_error)[0], float(one.initial_gap[0])
    if case.what == "signs":
        expected = np.array([sign_step_gap(one.dense(0)[0], start, case.share, _NOISE)])
        return _Exact(one, start, gap, case.share, np.array([1]), 1, expected, np.nan, np.empty(0))
    eigenvalues, squares = one.eigenvalues[3][0].ravel(), one.initial_coefficients[3][0].ravel() ** 2
    lr = case.share * largest_stable_rate(eigenvalues, case.batch, case.momentum)
    settings = {"lr": lr} | ({"momentum": case.momentum} if case.momentum else {})
    moments = Moments(RULES[case.rule], settings, eigenvalues, case.oracle)
    left: Array = np.empty(0)
    if case.what == "edge":
        values, vectors = np.linalg.eig(moments.recursion[0].T)
        left = np.real(vectors[:, np.argmax(np.abs(values))]).reshape(eigenvalues.size, -1)
        left = left * np.sign(left[:, 0].sum())
        return _Exact(one, start, gap, lr, np.array([_EDGE]), 1, np.array([moments.radius]), moments.radius, left)
    if case.what == "floor":
        scale = moments.floor / gap  # from a start of the height of the floor it is reached soonest
        relaxed = 16
        while abs(moments.gaps(squares * scale, np.array([relaxed]))[0] / moments.floor - 1.0) > _RELAXED:
            relaxed *= 2
        steps = np.array([relaxed, 4 * relaxed])
        record = max(1, relaxed // 64)
        return _Exact(
            one, start * np.sqrt(scale), gap * scale, lr, steps, record, np.array([moments.floor]), moments.radius, left
        )
    last = _STEPS[case.batch]
    record = last // 16
    steps = np.arange(record, last + 1, record)
    return _Exact(one, start, gap, lr, steps, record, moments.gaps(squares, steps), moments.radius, left)


def _spread(case: Case, exact: "_Exact") -> tuple[float, float]:
    """Return `deviation` and `fourth` of a case."""
    if case.what not in ("curve", "floor"):
        return np.nan, np.nan
    one = exact.problem
    eigenvalues = one.eigenvalues[3][0].ravel()
    fourth = FourthMoments(exact.lr, case.momentum or None, eigenvalues, case.oracle)
    if case.what == "floor":
        return np.nan, fourth.radius
    errors = np.einsum("bij,bi->bj", one.eigenvectors[3][0], exact.error.reshape(-1, 3)).ravel()
    deviations = fourth.deviations(errors, int(exact.steps[-1]))[exact.steps]
    return float(np.max(deviations / exact.expected)), fourth.radius


def _parts(case: Case, runs: int) -> list[tuple[int, int]]:
    """Return the first and last number of the runs of every part."""
    number = runs
    if case.what == "floor":
        number = max(2, runs // _FLOOR_RUNS[case.momentum, case.batch])
    elif case.what == "edge":
        number = runs * _EDGE_RUNS.get(case.batch, 1)
    return [(first, min(first + _PART, number)) for first in range(0, number, _PART)]
