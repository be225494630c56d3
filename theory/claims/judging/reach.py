"""Reach: how far a claim reaches, as a curve or a map over the variable that decides, with its onset and a law."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.support.statistics import BOOTSTRAP, middle_95, quantile
from quadsim.theory.claims.judging.setting import Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CURVES", "ONSETS", "Law", "Reach", "Side", "onset_of", "onsets"]

Array = NDArray[np.float64]
Side = Literal["above", "below"]

CURVES, ONSETS = "reach", "onsets"
"""Names of the stored tables: `curve`, `x`, `seed`, `value`; and `curve`, `onset`, `low`, `high`."""


@dataclass(frozen=True)
class Law:
    """A law that is drawn over the curves.

    Attributes:
        label: its formula, for the legend.
        value: the height at the values of the variable, (K,) to (K,); of `x` and of the name of the curve.
        source: theorem or paper.
    """

    label: str
    value: Callable[[Array, str], Array]
    source: str


@dataclass(frozen=True, kw_only=True)
class Reach:
    """The second arm of a claim: the effect over the variable that decides.

    Attributes:
        variable: what is varied, for the axis.
        values: its values at full size, ascending; at quick size every second one, at tiny size the first and the last.
        measure: function of a value and a setting to the effect of every seed, by the name of a curve; the values are tried apart
            from each other, so that processes can share them.
        quantity: what is measured, for the axis.
        null: a value to compare with, drawn as a line; that of no effect unless `null_means` says otherwise. None: no such value.
        onset: the height from which on the effect counts as there; the onset is the value of the variable where the median over
            the seeds crosses it. None: the effect has no onset, as where a law is followed everywhere.
        side: on which side of that height the effect is there. It is part of what is said, never read off the curves.
        null_means: what the null is, for the legend.
        onset_means: what the height of the onset is, for the legend.
        from_first: whether the effect is the difference of every seed to its own value at the first value of the variable.
        across: what the names of the curves are values of, as "beta1"; with it the figure is a map with numbers in its cells and
            the onset over this second variable. Empty: a curve for each name.
        law: drawn over the curves, and judged by nobody.
        log: the axes that are logarithmic, among `x` and `y`.
        caption: what the figure shows and what it says, in one or two sentences.
    """

    variable: str
    values: tuple[float, ...]
    measure: Callable[[float, Setting], Mapping[str, ArrayLike]]
    quantity: str
    null: float | None
    onset: float | None
    side: Side = "above"
    null_means: str = "no effect"
    onset_means: str = "threshold of the onset"
    from_first: bool = False
    across: str = ""
    law: Law | None = None
    log: str = "xy"
    caption: str = ""

    def __post_init__(self) -> None:
        if len(self.values) < 2 or list(self.values) != sorted(set(self.values)):
            raise ValueError(
                f"values of the reach over {self.variable} must be two or more, ascending, got {self.values}; sort them."
            )
        if self.across and self.onset is None:
            raise ValueError(
                f"reach over {self.variable} must have an onset to be drawn as a map across {self.across}, got None; name one."
            )

    def at(self, setting: Setting) -> tuple[float, ...]:
        """Return the values that are tried at the size of a setting."""
        return setting.pick(tiny=(self.values[0], self.values[-1]), quick=self.values[::2], full=self.values)

    def frame(self, value: float, setting: Setting) -> pd.DataFrame:
        """Return the rows of one value: `curve`, `x`, `seed`, `value`."""
        curves = self.measure(value, setting)
        frames = []
        for curve, values in curves.items():
            sample = np.asarray(values, dtype=float).ravel()
            frames.append(
                pd.DataFrame({"curve": curve, "x": float(value), "seed": np.arange(sample.size), "value": sample})
            )
        return pd.concat(frames, ignore_index=True)

    def tables(self, rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Return the stored tables, of the rows of all values: the rows, and the onsets where the effect has one.

        Rows of stored tables give the same tables again.
        """
        if self.from_first:
            first = rows[rows["x"] == rows["x"].min()].set_index(["curve", "seed"])["value"]
            start = first.reindex(pd.MultiIndex.from_frame(rows[["curve", "seed"]])).to_numpy()
            rows = rows.assign(value=rows["value"] - start)
        if self.onset is None:
            return {CURVES: rows}
        return {CURVES: rows, ONSETS: onsets(rows, self.onset, side=self.side, log=self.log)}

    def draw(self, tables: Mapping[str, pd.DataFrame]) -> "Figure":
        """Draw curves or map from the stored tables alone."""
        from quadsim.simulator.figures.reach_figure import reach_figure

        x = np.unique(tables[CURVES]["x"].to_numpy(dtype=float))
        law = None
        if self.law is not None:
            fine = np.geomspace(x[0], x[-1], 200) if "x" in self.log else np.linspace(x[0], x[-1], 200)
            law = pd.concat(
                [
                    pd.DataFrame({"curve": curve, "x": fine, "value": self.law.value(fine, str(curve))})
                    for curve in dict.fromkeys(tables[CURVES]["curve"])
                ],
                ignore_index=True,
            )
        return reach_figure(
            tables[CURVES],
            tables.get(ONSETS),
            variable=self.variable,
            quantity=self.quantity,
            null=self.null,
            onset=self.onset,
            null_means=self.null_means,
            onset_means=self.onset_means,
            across=self.across,
            law=law,
            law_label="" if self.law is None else self.law.label,
            log=self.log,
        )

    def to_json(self, tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
        """Return words and onsets as plain data; an end of an interval beyond the values is None."""
        rows = tables[ONSETS].to_dict("records") if ONSETS in tables else []
        return {
            "variable": self.variable,
            "quantity": self.quantity,
            "values": sorted({float(x) for x in tables[CURVES]["x"]}),
            "seeds": int(tables[CURVES]["seed"].max()) + 1,
            "onset_at": self.onset,
            "law": "" if self.law is None else f"{self.law.label} ({self.law.source})",
            "caption": self.caption,
            "onsets": [
                {"curve": row["curve"], "text": row["text"]}
                | {key: row[key] if np.isfinite(row[key]) else None for key in ("onset", "low", "high")}
                for row in rows
            ],
        }


def onsets(rows: pd.DataFrame, height: float, *, side: Side, log: str) -> pd.DataFrame:
    """Return from where on, or up to where, the effect of every curve is there, with a 95% bootstrap interval over the seeds.

    The place is the last crossing. Where the last median is on the side of the effect, the effect is there from the crossing on;
    where only earlier ones are, it is there up to the crossing; where none is, it begins beyond the last value, if anywhere.

    Args:
        rows: `curve`, `x`, `seed`, `value`.
        height: of the crossing.
        side: on which side of the height the effect is there.
        log: the axes among `x` and `y` on whose logarithms a crossing is interpolated.

    Returns:
        A row per curve, with `curve`, `onset`, `low`, `high` (-inf is at or below the first value, inf beyond the last one) and
        `text`.
    """
    found = []
    for curve, part in rows.groupby("curve", sort=False):
        wide = part.pivot(index="seed", columns="x", values="value")
        x, values = wide.columns.to_numpy(dtype=float), wide.to_numpy(dtype=float)
        place = np.log(x) if "x" in log else x
        draws = np.random.default_rng(0).integers(0, len(values), size=(BOOTSTRAP, len(values)))
        medians = np.stack([quantile(values[draws, k], 0.5) for k in range(x.size)], axis=1)
        whole = quantile(values, 0.5, axis=0)
        there = whole >= height if side == "above" else whole <= height  # False for NaN
        begins = bool(there[-1] or not there.any())
        up = begins == (side == "above")
        with np.errstate(all="ignore"):  # a height of 0, or below it, has no finite logarithm
            level = np.log(height) if "y" in log else height
            heights = np.log([whole, *medians]) if "y" in log else np.array([whole, *medians])
        middle, *ends = (onset_of(place, row, float(level), up=up) for row in heights)
        low, high = middle_95(ends)
        middle, low, high = (
            float(np.exp(v)) if "x" in log and np.isfinite(v) else float(v) for v in (middle, low, high)
        )
        words = _words(middle, low, high, x, begins=begins)
        row = {"curve": curve, "onset": middle, "low": low, "high": high}
        found.append(row | {"text": f"{side} {height:.3g} {words}"})
    return pd.DataFrame(found)


def onset_of(x: Array, medians: Array, height: float, *, up: bool) -> float:
    """Return where a curve crosses a height for the last time and stays beyond it, by linear interpolation.

    Args:
        x: places, ascending, (K,).
        medians: heights, (K,), may hold `inf`; NaN counts as not beyond.
        height: to cross.
        up: whether beyond means above.

    Returns:
        The place; -inf where all heights are beyond it, inf where the last one is not.
    """
    beyond = medians >= height if up else medians <= height
    if beyond.all():
        return -np.inf
    if not beyond[-1]:
        return np.inf
    k = int(np.flatnonzero(~beyond)[-1])  # the last one that is not beyond; k + 1 exists
    below, above = medians[k], medians[k + 1]
    if not (np.isfinite(below) and np.isfinite(above)):
        return float(x[k + 1])
    return float(x[k] + (height - below) / (above - below) * (x[k + 1] - x[k]))


def _words(onset: float, low: float, high: float, x: Array, *, begins: bool) -> str:
    """Return where the effect is there, from the onset on or up to it, with the interval of the onset unless it is one point."""

    def end(value: float) -> str:
        return f"below {x[0]:g}" if value == -np.inf else f"beyond {x[-1]:g}" if value == np.inf else f"{value:.3g}"

    interval = "" if onset == low == high else f" [{end(low)}, {end(high)}]"
    if np.isfinite(onset):
        return f"from {end(onset)}{interval} on" if begins else f"up to {end(onset)}{interval}"
    # An effect that ends before the first value only touches the height there: it is nowhere.
    tried = f"{'all' if begins and onset < 0 else 'none'} of the values tried, {x[0]:g} to {x[-1]:g}"
    return f"at {tried}{f' (onset{interval})' if interval else ''}"
