"""Condition: what must be shown about a measured effect; and Judged: what was."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quadsim.theory.claims.judging.measured import (
    MOST_UNKNOWN,
    Measured,
    Scale,
    holm,
    one_sided,
    paired,
    power,
    seeds_needed,
    shown_number,
)

__all__ = [
    "ALPHA",
    "DECISIVE",
    "LEAST_POWER",
    "LEAST_SEEDS",
    "RULE",
    "STATES",
    "Condition",
    "Judged",
    "has_power",
    "judge_conditions",
    "power_in_words",
]

ALPHA = 0.05
"""Familywise error of a claim: with no effect anywhere, the probability that any condition is shown or its opposite is."""
LEAST_POWER = 0.8
"""Power for the named effect below which a condition decides nothing: it is inconclusive, whatever was measured."""
LEAST_SEEDS = 20
"""Independent seeds of a condition in a full run."""

RULE = (ALPHA, LEAST_POWER, LEAST_SEEDS, MOST_UNKNOWN)
"""The constants of the rule, a part of the fingerprint of every criterion."""

STATES = ("shown", "not shown", "opposite shown", "inconclusive", "not comparable")
"""The states of a condition; see `judge_conditions`."""
DECISIVE = STATES[:3]
"""The states that need power."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """An effect that must be shown for a claim to hold.

    The condition says that the measured effect lies beyond `null` in the direction of `effect`. With `absent` it says the
    contrary: that an effect as large as `effect` is excluded (one optimizer keeps up with another).

    Attributes:
        measure: name of the measured number: a median or a share over independent seeds.
        null: the value of no effect, as 1 for a quotient and 0 for a difference.
        effect: the smallest effect that counts, on the side that is claimed; the power is stated for it.
        because: why this is the smallest effect that counts.
        control: name of the same measured number at the control; what is judged is then the contrast with it, seed by seed.
        level: why the number is judged without a control, as "a quotient of two optimizers on the same problem". Exactly one
            of `control` and `level` is given: a level that the control has as well shows nothing.
        scale: whether effects are quotients (a contrast with the control is a quotient too) or differences.
        absent: whether the claim is that no effect of that size is there.
    """

    measure: str
    null: float
    effect: float
    because: str
    control: str = ""
    level: str = ""
    scale: Scale = "ratio"
    absent: bool = False

    def __post_init__(self) -> None:
        if bool(self.control) == bool(self.level):
            raise ValueError(
                f"condition on {self.measure!r} must have a control, or a reason (level) why it needs none, got "
                f"{'both' if self.control else 'neither'}; give one."
            )
        if self.null == self.effect:
            raise ValueError(
                f"effect of {self.measure!r} must differ from null, got {self.effect:g} for both; name the smallest effect."
            )
        if self.scale == "ratio" and min(self.null, self.effect) <= 0:
            raise ValueError(
                f"null and effect of {self.measure!r} must be positive on the scale ratio, got {self.null:g} and "
                f"{self.effect:g}; use scale='difference'."
            )

    @property
    def name(self) -> str:
        """What is judged: the measured number, or its contrast with the control."""
        if not self.control:
            return self.measure
        return f"({self.measure}) {'over' if self.scale == 'ratio' else 'less'} ({self.control})"

    @property
    def boundary(self) -> float:
        """The value that the interval must exclude."""
        return self.effect if self.absent else self.null

    @property
    def target(self) -> float:
        """The value for which the power is stated: the named effect, or no effect where its absence is claimed."""
        return self.null if self.absent else self.effect

    @property
    def mirrored(self) -> float:
        """The effect of the same size on the other side of the boundary."""
        if self.scale == "ratio":
            return self.boundary**2 / self.target
        return 2 * self.boundary - self.target

    @property
    def up(self) -> bool:
        """Whether larger is claimed."""
        return self.target > self.boundary

    @property
    def wanted(self) -> str:
        """The condition in words."""
        side = "above" if self.up else "below"
        if self.absent:
            return f"{side} {shown_number(self.effect)}, so that no such effect is there"
        return f"{side} {shown_number(self.null)}; smallest effect {shown_number(self.effect)}"

    def __str__(self) -> str:
        return f"{self.name}: {self.wanted}"

    def to_json(self) -> dict[str, Any]:
        """Return the condition as plain data."""
        return {**vars(self), "name": self.name, "wanted": self.wanted}

    def contrast(self, figures: Mapping[str, Measured]) -> Measured:
        """Return what is judged, from the measured numbers by name.

        Raises:
            ValueError: a number that is missing, or in which nothing is random, or that has no sample over seeds.
        """
        found = []
        for name in (self.measure, self.control) if self.control else (self.measure,):
            if name not in figures:
                raise ValueError(f"an experiment must measure {name!r}, got {sorted(figures)}; correct the experiment.")
            if figures[name].statistic == "exact" or not figures[name].sample:
                raise ValueError(
                    f"condition on {name!r} must be judged from a sample over seeds, got a number in which nothing is random; "
                    "a proof or an identity stands among the proofs of a claim, never among its conditions."
                )
            found.append(figures[name])
        return paired(self.name, found[0], found[1], self.scale) if self.control else found[0]


@dataclass(frozen=True, eq=False)
class Judged:
    """What was found about a condition.

    Attributes:
        condition: the condition.
        measured: the effect that was judged, with its interval and number of seeds.
        state: one of STATES.
        p: two-sided p-value against the boundary.
        holm: the p-value adjusted by Holm over the conditions of the claim.
        power: for the named effect at the level that the condition must pass whatever the others give, 0.05 over their number.
        why: the reason of the state in a few words.
    """

    condition: Condition
    measured: Measured
    state: str
    p: float
    holm: float
    power: float
    why: str

    def __str__(self) -> str:
        return f"{self.state}: {self.measured} ({self.condition.wanted}; {self.why})"


def judge_conditions(
    conditions: Sequence[Condition], measured: Sequence[Measured], *, least_seeds: int = 0
) -> tuple[Judged, ...]:
    """Judge all conditions of a claim together.

    The power decides first: below LEAST_POWER for the named effect, or where it is not known, a condition is `inconclusive`
    whatever was measured. It is that of a run of this size whose median is the named effect, with the spread of the sample at
    hand; the observed effect does not enter (see `power`). With enough power:

    `shown`: the boundary is rejected on the claimed side (exact two-sided test, corrected by Holm over the conditions at ALPHA)
    and an effect of the named size is not excluded. `opposite shown`: the same on the other side. `not shown`: an effect of the
    named size is excluded by the same test. `not comparable`: more than MOST_UNKNOWN of the seeds have no value, whatever the
    power. Else `inconclusive`.

    Args:
        conditions: of one claim.
        measured: the numbers of its experiment.
        least_seeds: fewer seeds are inconclusive.

    Raises:
        ValueError: see `Condition.contrast`.
    """
    figures = {figure.name: figure for figure in measured}
    found = [condition.contrast(figures) for condition in conditions]
    tails = [one_sided(m, c.boundary) for c, m in zip(conditions, found, strict=True)]
    two_sided = [min(1.0, 2 * min(pair)) for pair in tails]
    corrected = holm(two_sided)
    excluded = _excluded(conditions, found, "target", above=False)
    excluded_opposite = _excluded(conditions, found, "mirrored", above=True)
    judged = []
    for i, (condition, effect) in enumerate(zip(conditions, found, strict=True)):
        strength = power(
            effect,
            boundary=condition.boundary,
            target=condition.target,
            scale=condition.scale,
            level=ALPHA / len(conditions),
        )
        claimed = tails[i][0] < tails[i][1] if condition.up else tails[i][1] < tails[i][0]
        gone = not condition.absent and (excluded if claimed or corrected[i] > ALPHA else excluded_opposite)[i] <= ALPHA
        short = power_in_words(strength, effect.seeds, len(conditions), effect.statistic)
        state, why = _state(condition, effect, strength, short, least_seeds, corrected[i] <= ALPHA, claimed, gone)
        judged.append(Judged(condition, effect, state, two_sided[i], corrected[i], strength, why))
    return tuple(judged)


def _excluded(conditions: Sequence[Condition], found: Sequence[Measured], value: str, *, above: bool) -> list[float]:
    """Return Holm's p-values against an effect as large as a value of the condition, on the claimed side or on the other."""
    tails = [
        one_sided(effect, getattr(condition, value))[int(condition.up != above)]
        for condition, effect in zip(conditions, found, strict=True)
    ]
    return holm([min(1.0, 2 * p) for p in tails])


def _state(
    condition: Condition,
    effect: Measured,
    strength: float,
    short: str,
    least_seeds: int,
    significant: bool,
    claimed: bool,
    excluded: bool,
) -> tuple[str, str]:
    """Return the state of a condition and its reason.

    Args:
        condition: the condition.
        effect: what is judged.
        strength: power for the named effect; NaN where it is not known.
        short: the power in words.
        least_seeds: fewer are inconclusive.
        significant: whether the boundary is rejected.
        claimed: whether the effect lies on the claimed side of it.
        excluded: whether an effect of the named size is excluded, on the side on which the effect lies.
    """
    other = f"an effect of {shown_number(condition.effect)} is excluded"
    if effect.unknown > MOST_UNKNOWN:
        return "not comparable", f"{effect.unknown:.0%} of the seeds have no value"
    if effect.seeds < least_seeds:
        return "inconclusive", f"{effect.seeds} seeds, fewer than {least_seeds}"
    if not has_power(strength):
        return "inconclusive", short
    if significant and not excluded:
        return ("shown" if claimed else "opposite shown"), short
    if excluded:
        return "not shown", f"{other}, {short}"
    return "inconclusive", short


def has_power(strength: float | None) -> bool:
    """Return whether a condition may decide anything; not where its power is NaN or None, which is not known."""
    return strength is not None and strength >= LEAST_POWER  # false for NaN


def power_in_words(strength: float | None, seeds: int, conditions: int, statistic: str) -> str:
    """Return the power of a condition in words; where it is too small, with the number of seeds that would be needed.

    Args:
        strength: the power; NaN or None where it is not known.
        seeds: number of seeds that were judged.
        conditions: number of conditions of the claim, which share ALPHA.
        statistic: what was judged, see `Measured`. The number is told for medians.
    """
    if strength is None or math.isnan(strength):
        return "the power is not known"
    words = f"power {strength:.2f} for the named effect"
    if has_power(strength) or statistic != "median":
        return words
    needed = seeds_needed(strength, seeds=seeds, level=ALPHA / conditions, wanted=LEAST_POWER)
    more = (
        f"at this spread {LEAST_POWER:g} needs {needed} seeds"
        if needed
        else "at this spread more seeds do not raise it"
    )
    return f"{words} with {seeds} seeds; {more}"
