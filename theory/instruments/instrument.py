"""Instrument: a measure of a claim, with a positive control (a dial that is turned) and a null (a dial that must not matter).

A measure that does not move when the thing it is named for is dialled up, or that moves when something else is, judges
nothing. The criterion is the same for all instruments and fixed here:

- positive control: the measure moves in the stated direction from every level of the dial to the next one, in the median over the
  seeds, and Page's test for a monotone trend over the seeds gives p at most 0.001;
- null: over the levels of a dial that leaves the thing unchanged, the median moves by at most a tenth of what it moves in the
  positive control.

A value that is not finite fails a control: an instrument that says nothing there cannot be used there.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

__all__ = ["LARGEST_NULL", "LARGEST_P", "Control", "Controls", "Instrument", "show"]

Array = NDArray[np.float64]

LARGEST_P = 1e-3
"""Largest p of Page's trend test with which a positive control passes."""
LARGEST_NULL = 0.1
"""Largest movement in a null, as a share of the movement in the positive control."""

_SEEDS = 8


@dataclass(frozen=True, kw_only=True)
class Control:
    """A dial with its levels, and the measure at each.

    Attributes:
        dial: what is turned, in words.
        levels: values of the dial, in the order in which the thing that is measured increases.
        measure: function of the levels and the number of seeds to values, (seeds, levels).
    """

    dial: str
    levels: tuple[float, ...]
    measure: Callable[[Sequence[float], int], Array]


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """A measure with its controls.

    Attributes:
        name: its name, to which claims refer.
        measures: what it measures, in one sentence.
        direction: how the measure must move along the positive control.
        positive: the known effect.
        null: a change that leaves the thing that is measured as it is.
        known_fault: what is known to be wrong with it; an instrument with a known fault must fail its controls.
    """

    name: str
    measures: str
    direction: Literal["rises", "falls"]
    positive: Control
    null: Control
    known_fault: str = ""


@dataclass(frozen=True, eq=False)
class Controls:
    """What the controls of an instrument showed.

    Attributes:
        instrument: the instrument.
        table: `control` (positive or null), `dial`, `level`, `index` of the seed, `value`.
        p: p-value of Page's trend test in the stated direction.
        moved: how far the median moved over the positive control, in the stated direction.
        null_moved: how far it moved over the null, in either direction.
        complaint: why it does not pass; empty if it does.
    """

    instrument: Instrument
    table: pd.DataFrame
    p: float
    moved: float
    null_moved: float
    complaint: str

    @property
    def passes(self) -> bool:
        """Whether the instrument may judge."""
        return not self.complaint

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain data, with the medians over the seeds in place of the table."""
        one = self.instrument
        return {
            "name": one.name,
            "measures": one.measures,
            "direction": one.direction,
            "passes": self.passes,
            "complaint": self.complaint,
            "known_fault": one.known_fault,
            "p": self.p,
            **{
                kind: {"dial": control.dial, "levels": list(control.levels), "medians": self.medians(kind)}
                for kind, control in (("positive", one.positive), ("null", one.null))
            },
        }

    def medians(self, control: str) -> list[float]:
        """Median over the seeds at every level of `positive` or `null`."""
        kept = self.table[self.table["control"] == control]
        return [float(value) for value in kept.groupby("level", sort=False)["value"].median()]

    def __str__(self) -> str:
        one = self.instrument
        lines = [f"{one.name}: {'passes' if self.passes else 'FAILS, ' + self.complaint}"]
        lines += [f"  {one.measures}"]
        for kind, control in (("known effect", one.positive), ("null", one.null)):
            values = self.medians("null" if kind == "null" else "positive")
            levels = ", ".join(f"{x:g}" for x in control.levels)
            lines.append(f"  {kind}: {control.dial} {levels} -> {', '.join(f'{value:.3g}' for value in values)}")
        if one.known_fault:
            lines.append(f"  known fault, kept for comparison: {one.known_fault}")
        return "\n".join(lines)


def show(instrument: Instrument, *, seeds: int = _SEEDS) -> Controls:
    """Show an instrument its known effect and its null.

    Args:
        instrument: the instrument.
        seeds: number of seeds, at least 3.

    Raises:
        ValueError: fewer seeds, or a control that does not return an array (seeds, levels).
    """
    if seeds < 3:
        raise ValueError(f"seeds must be at least 3 for a trend over seeds, got {seeds}; give more.")
    found = {kind: _values(instrument, getattr(instrument, kind), seeds) for kind in ("positive", "null")}
    frames = [
        pd.DataFrame({
            "control": kind,
            "dial": getattr(instrument, kind).dial,
            "level": np.tile(getattr(instrument, kind).levels, seeds),
            "index": np.repeat(np.arange(seeds), values.shape[1]),
            "value": values.ravel(),
        })
        for kind, values in found.items()
    ]
    sign = 1.0 if instrument.direction == "rises" else -1.0
    medians, still = (np.median(values, axis=0) for values in found.values())
    finite = all(np.isfinite(values).all() for values in found.values())
    p = float(stats.page_trend_test(sign * found["positive"], method="asymptotic").pvalue) if finite else np.nan
    moved = float(sign * (medians[-1] - medians[0]))
    null_moved = float(np.ptp(still))
    complaint = ""
    if not finite:
        complaint = "a value is not finite"
    elif not (np.diff(sign * medians) > 0).all():
        where = int(np.argmin(np.diff(sign * medians)))
        levels = instrument.positive.levels
        other = "falls" if instrument.direction == "rises" else "rises"
        complaint = (
            f"it {other} or stays from {medians[where]:.3g} to {medians[where + 1]:.3g} as {instrument.positive.dial} goes "
            f"from {levels[where]:g} to {levels[where + 1]:g}"
        )
    elif p > LARGEST_P:
        complaint = f"no trend along {instrument.positive.dial} (p = {p:.2g})"
    elif null_moved > LARGEST_NULL * moved:
        complaint = (
            f"it moves by {null_moved:.3g} along {instrument.null.dial}, which is more than a tenth of {moved:.3g} along "
            f"{instrument.positive.dial}"
        )
    return Controls(instrument, pd.concat(frames, ignore_index=True), p, moved, null_moved, complaint)


def _values(instrument: Instrument, control: Control, seeds: int) -> Array:
    values = np.asarray(control.measure(control.levels, seeds), dtype=float)
    if values.shape != (seeds, len(control.levels)):
        raise ValueError(
            f"the control of {instrument.name} along {control.dial} must have the shape {(seeds, len(control.levels))}, got "
            f"{values.shape}; correct its measure."
        )
    return values
