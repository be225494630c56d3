"""Claim: a sentence of a paper, with an experiment and a criterion, fixed before the run, that decide about it."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from quadsim.simulator.support.statistics import median_interval, quantile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "SIZES",
    "VERDICTS",
    "Claim",
    "Condition",
    "Found",
    "Judgement",
    "Measured",
    "Setting",
    "measured_median",
    "measured_share",
]

SIZES = ("tiny", "quick", "full")
"""Sizes of an experiment: `tiny` only shows that it runs (for tests), `quick` takes seconds, `full` takes minutes."""

VERDICTS = ("reproduced", "partly", "not at this scale", "refuted", "estimate", "withdrawn", "not run")
"""The verdicts on a claim; see `Claim.judge`."""

T = TypeVar("T")

_MOST_REASONS = 3  # number of conditions that a reason names; all are in the list of conditions


@dataclass(frozen=True)
class Setting:
    """The size and the seed of an experiment.

    Attributes:
        size: one of SIZES.
        seed: added to the seed of every draw.
    """

    size: str = "quick"
    seed: int = 0

    def pick(self, *, tiny: T, quick: T, full: T) -> T:
        """Return the value for this size."""
        return {"tiny": tiny, "quick": quick, "full": full}[self.size]


@dataclass(frozen=True)
class Measured:
    """A measured number with its uncertainty.

    Attributes:
        name: its name, to which conditions refer.
        value: the number; `inf` for a median of runs that did not reach the target.
        low: lower end of a 95% interval; equal to `value` if nothing is random.
        high: upper end of that interval.
        seeds: number of independent draws; 0 if nothing is random.
        unit: its unit, as "steps"; empty for a pure number.
    """

    name: str
    value: float
    low: float = math.nan
    high: float = math.nan
    seeds: int = 0
    unit: str = ""

    def __post_init__(self) -> None:
        for end in ("low", "high"):
            if math.isnan(getattr(self, end)):
                object.__setattr__(
                    self, end, self.value if self.seeds == 0 else {"low": -math.inf, "high": math.inf}[end]
                )

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        seeds = f" [{_digits(self.low)}, {_digits(self.high)}], n = {self.seeds}" if self.seeds else ""
        return f"{self.name} {_digits(self.value)}{unit}{seeds}"


def measured_median(name: str, values: ArrayLike, unit: str = "") -> Measured:
    """Return the median over independent seeds with its distribution-free 95% interval (infinite below six values)."""
    array = np.asarray(values, dtype=float).ravel()
    low, high = (
        (-np.inf, np.inf) if np.isnan(array).any() else median_interval(array)
    )  # what is unknown decides nothing
    return Measured(name, float(quantile(array, 0.5)), low, high, array.size, unit)


def measured_share(name: str, happened: ArrayLike) -> Measured:
    """Return the share of independent trials with an event, with the exact (Clopper-Pearson) 95% interval."""
    array = np.asarray(happened, dtype=bool).ravel()
    interval = stats.binomtest(int(array.sum()), array.size).proportion_ci(0.95, method="exact")
    return Measured(name, float(array.mean()), float(interval.low), float(interval.high), array.size)


@dataclass(frozen=True)
class Condition:
    """A condition on a measured number, which decides a part of the claim.

    Attributes:
        measure: name of the measured number.
        comparison: the comparison with the threshold, as ">=".
        threshold: the threshold, fixed before the run.
        because: the reason for the threshold.
    """

    measure: str
    comparison: Literal[">=", "<="]
    threshold: float
    because: str

    def state(self, figure: Measured) -> str:
        """Return `holds` or `fails` if the whole interval agrees, else `open`."""
        if self.comparison == ">=":
            return "holds" if figure.low >= self.threshold else "fails" if figure.high < self.threshold else "open"
        return "holds" if figure.high <= self.threshold else "fails" if figure.low > self.threshold else "open"

    @property
    def wanted(self) -> str:
        """The comparison and the threshold, as text."""
        return f"{ {'>=': 'at least', '<=': 'at most'}[self.comparison] } {_digits(self.threshold)}"

    def __str__(self) -> str:
        return f"{self.measure} {self.wanted}"


@dataclass(frozen=True, eq=False)
class Found:
    """The results of an experiment.

    Attributes:
        measured: the measured numbers.
        tables: name to data; the figure is drawn from these tables alone, so it can be drawn again from stored results.
        notes: remarks for the reader.
    """

    measured: Sequence[Measured]
    tables: Mapping[str, pd.DataFrame]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Judgement:
    """A verdict of VERDICTS, its reason, and the state of every condition."""

    verdict: str
    reason: str
    states: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim that can be tried at this scale.

    Attributes:
        id: its name on the command line.
        claim: the claim in one sentence.
        group: the paper or authors of the claim.
        source: paper, version and place.
        anywhere: whether the claim is about every problem of the kind that is run here, so that a failure refutes it. A claim
            about large models can only be `not at this scale`.
        conditions: the criterion: all conditions on measured numbers.
        method: the experiment in one or two sentences.
        experiment: function from a Setting to the results.
        draw: function from the tables to the figure.
        caption: the caption of the figure.
        modules: name of an extra to the modules that the experiment imports from it.
        instruments: names in `theory.instruments.INSTRUMENTS` of what its conditions measure; each must pass its controls before
            the claim is judged.
        unjudged: why the conditions decide nothing, in one sentence; empty for a claim that they decide.
        unjudged_as: the verdict of such a claim: `withdrawn` if its instrument is not valid, `estimate` if its number depends on
            a choice that the source leaves open.
    """

    id: str
    claim: str
    group: str
    source: str
    anywhere: bool
    conditions: tuple[Condition, ...]
    method: str
    experiment: Callable[[Setting], Found] = field(compare=False)
    draw: "Callable[[Mapping[str, pd.DataFrame]], Figure]" = field(compare=False)
    caption: str
    modules: Mapping[str, str] = field(default_factory=dict)
    instruments: tuple[str, ...] = ()
    unjudged: str = ""
    unjudged_as: Literal["withdrawn", "estimate"] = "withdrawn"

    @property
    def criterion(self) -> dict[str, Any]:
        """The conditions as plain data, and in words."""
        return {
            "text": "; ".join(map(str, self.conditions)),
            "conditions": [vars(condition) for condition in self.conditions],
        }

    def digest(self, setting: Setting = Setting("full")) -> str:
        """Return the fingerprint of what decides the verdict of a run: a result made under another criterion has another one.

        It covers the id, the size and seed of the run, what each condition measures, compares and demands, and `anywhere`. It
        does not cover prose (claim, source, method, caption, reasons of thresholds), so that a sentence can be corrected without
        running the experiment again. It cannot cover the code of the experiment: whoever changes what is measured changes the
        name of the measure, or runs the claim again.

        Args:
            setting: size and seed of the run; those of the published table by default.

        Returns:
            16 hexadecimal digits.
        """
        conditions = sorted([c.measure, c.comparison, float(c.threshold)] for c in self.conditions)
        decides = [self.id, setting.size, setting.seed, self.anywhere, conditions]
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]

    def judge(self, measured: Sequence[Measured]) -> Judgement:
        """Return the verdict, by the same rule for every claim.

        All conditions hold: `reproduced`. Some hold: `partly`. None holds: `refuted` if one fails and the claim is about every
        such problem, else `not at this scale` (a failure in small models, or intervals that leave it open). A claim whose
        conditions decide nothing (`unjudged`) is `withdrawn` or an `estimate`, whatever was measured.

        Raises:
            ValueError: the number of a condition is missing, or is NaN.
        """
        figures = {figure.name: figure for figure in measured}
        for condition in self.conditions:
            if condition.measure not in figures or math.isnan(figures[condition.measure].value):
                raise ValueError(
                    f"experiment {self.id} must measure {condition.measure!r}, got {sorted(figures)}; correct the experiment."
                )
        states = tuple(condition.state(figures[condition.measure]) for condition in self.conditions)
        if self.unjudged:
            return Judgement(self.unjudged_as, self.unjudged, states)
        if all(state == "holds" for state in states):
            verdict = "reproduced"
        elif "holds" in states:
            verdict = "partly"
        else:
            verdict = "refuted" if self.anywhere and "fails" in states else "not at this scale"
        parts = [f"{states.count('holds')} of {len(states)} conditions hold"]
        parts += [
            f"{state}: {figures[condition.measure]} (wanted: {condition.wanted})"
            for condition, state in zip(self.conditions, states, strict=True)
            if state != "holds"
        ]
        more = len(parts) - 1 - _MOST_REASONS
        parts = parts[: _MOST_REASONS + 1] + ([f"and {more} more"] if more > 0 else [])
        return Judgement(verdict, "; ".join(parts), states)


def _digits(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1e5 else f"{value:.3g}"
