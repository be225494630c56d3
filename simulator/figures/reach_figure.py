"""Figure of how far a claim reaches: curves over the variable that decides, with onsets and a law; or a map with its onsets."""

from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from quadsim.simulator.figures.panels import finish, panels, styles_of
from quadsim.simulator.figures.table_figures import draw_medians, scale, ticks_of_values
from quadsim.simulator.support.statistics import quantile

__all__ = ["reach_figure"]

_GREY = "0.4"


def reach_figure(
    curves: pd.DataFrame,
    onsets: pd.DataFrame | None,
    *,
    variable: str,
    quantity: str,
    null: float | None,
    onset: float | None,
    null_means: str = "no effect",
    onset_means: str = "threshold of the onset",
    across: str = "",
    law: pd.DataFrame | None = None,
    law_label: str = "",
    log: str = "xy",
) -> Figure:
    """Draw an effect over the variable that decides.

    Without `across`: a line per curve through the medians over the seeds, with bars from 10% to 90%; onsets with their 95%
    intervals at the height of the onset; the law as a dashed line of the same colour. With `across`: on the left a map of the
    medians, on the right the onset over the second variable. The legend names what is drawn, and nothing else.

    Args:
        curves: `curve`, `x`, `seed`, `value`; `inf` is drawn as a caret at the top.
        onsets: `curve`, `onset`, `low`, `high`; an infinite end is drawn at the edge of the axis. None: there are none.
        variable: label of the x axis.
        quantity: label of the y axis.
        null: a value to compare with, a dotted line; None: no line.
        onset: height from which on the effect counts as there, a line of dots and dashes unless it is the null; None: no line.
        null_means: what the null is.
        onset_means: what the height of the onset is.
        across: what the names of the curves are values of; empty: nothing.
        law: `curve`, `x`, `value`.
        law_label: its formula.
        log: axes that are logarithmic, among `x` and `y`.
    """
    if across and onsets is not None and onset is not None:
        return _map_figure(curves, onsets, variable, quantity, across, log, onset)
    styles = styles_of([str(name) for name in dict.fromkeys(curves["curve"])])
    figure, (axis,) = panels(1)
    scale(axis, log)
    top = _top(curves["value"], law, "y" in log)
    unknown = False
    for name, style in styles.items():
        measured = curves[curves["curve"].astype(str) == name].groupby("x")["value"]
        unknown |= draw_medians(axis, measured, top, joined=True, style=style)
        if law is not None:
            of_curve = law[law["curve"].astype(str) == name]
            axis.plot(
                of_curve["x"], of_curve["value"].clip(upper=top), linestyle="--", color=style["color"], linewidth=1
            )
    x = np.unique(curves["x"].to_numpy(dtype=float))
    if "x" in log:
        ticks_of_values(axis, x)
    crossed: list[dict[Any, Any]] = []
    if onsets is not None and onset is not None:
        crossed = onsets[np.isfinite(onsets["onset"])].to_dict("records")
        for row in crossed:
            ends = [float(np.clip(row[end], x[0], x[-1])) for end in ("low", "high")]
            color = styles[str(row["curve"])]["color"]
            axis.plot(ends, [onset, onset], color=color, linewidth=4, alpha=0.35, solid_capstyle="butt")
            axis.plot([row["onset"]], [onset], marker="D", markersize=5, color=color, markeredgecolor="white")
    heights = _heights(null, null_means, onset, onset_means)
    for height, (_, line) in heights.items():
        axis.axhline(height, color=_GREY, linestyle=line, linewidth=1)
    axis.set(xlabel=variable, ylabel=quantity)
    handles = [Line2D([], [], label=name, markersize=5, **style) for name, style in styles.items()]
    handles = handles if len(handles) > 1 else []
    handles += [Line2D([], [], label=text, color=_GREY, linestyle=line) for text, line in heights.values()]
    if crossed:
        text = "onset, 95% interval"
        handles += [Line2D([], [], label=text, linestyle="none", marker="D", markersize=5, color=_GREY)]
    if unknown:
        text = "some seeds without a value"
        handles += [Line2D([], [], label=text, linestyle="none", marker="$?$", markersize=6, color=_GREY)]
    handles += [Line2D([], [], label=law_label, linestyle="--", color=_GREY)] if law is not None else []
    finish(figure, [axis], handles, "")
    return figure


def _heights(
    null: float | None, null_means: str, onset: float | None, onset_means: str
) -> dict[float, tuple[str, Literal[":", "-."]]]:
    """The lines across, by height: the entry of the legend and the style of the line; that of the null where both are one."""
    lines: dict[float, tuple[str, Literal[":", "-."]]] = {}
    if onset is not None:
        lines[onset] = (f"{onset:.3g}: {onset_means}", "-.")
    if null is not None:
        lines[null] = (f"{null:.3g}: {null_means}", ":")
    return dict(reversed(lines.items()))


def _top(values: pd.Series, law: pd.DataFrame | None, log: bool) -> float:
    """The height at which what lies above all finite values is drawn."""
    shown = values if law is None else pd.concat([values, law["value"]])
    finite = shown[shown.abs() < np.inf]
    if finite.empty:
        return 1.0
    return float(finite.max()) * 1.3 if log else float(finite.max() + 0.1 * np.ptp(finite))


def _map_figure(
    curves: pd.DataFrame,
    onsets: pd.DataFrame,
    variable: str,
    quantity: str,
    across: str,
    log: str,
    onset: float,
) -> Figure:
    """A map of medians with numbers in its cells, and the onset over the second variable."""
    middle = curves.groupby(["curve", "x"], sort=False)["value"].agg(lambda values: float(quantile(values, 0.5)))
    cells = middle.unstack("x")
    logs = np.log10(cells.to_numpy(dtype=float)) if "y" in log else cells.to_numpy(dtype=float)
    finite = logs[np.isfinite(logs)]
    most = max(float(np.abs(finite).max()), 1e-9) if finite.size else 1.0
    figure, (left, right) = panels(2)
    left.imshow(np.clip(logs, -most, most), cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", origin="lower")
    for (row, column), value in np.ndenumerate(cells.to_numpy(dtype=float)):
        shade = "white" if abs(np.clip(logs[row, column], -most, most)) > 0.6 * most else "black"
        left.text(column, row, _cell(value), ha="center", va="center", color=shade, fontsize=8)
    left.set_xticks(range(cells.shape[1]), [f"{x:g}" for x in cells.columns])
    left.set_yticks(range(cells.shape[0]), [str(curve) for curve in cells.index])
    left.grid(visible=False)
    left.set(xlabel=variable, ylabel=across, title=quantity)
    _onset_panel(right, onsets, np.array(cells.columns, dtype=float), log)
    right.set_yticks(range(len(onsets)), [str(curve) for curve in onsets["curve"]])
    title = f"Where the median crosses {onset:.3g}, with its 95% interval"
    right.set(xlabel=variable, title=title, ylim=(-0.5, len(onsets) - 0.5))
    finish(figure, [left, right], _ends(onsets), "")
    return figure


def _ends(onsets: pd.DataFrame) -> list[Line2D]:
    """The entries of the legend for what the panel of onsets holds."""
    style: dict[str, Any] = {"color": "C0", "linestyle": "none"}
    entries = (
        (np.isfinite(onsets["onset"]).any(), "D", "onset"),
        ((onsets["low"] == -np.inf).any(), "<", "at or before the first value"),
        ((onsets["high"] == np.inf).any(), ">", "beyond the last value"),
    )
    return [Line2D([], [], marker=mark, markersize=6, label=text, **style) for held, mark, text in entries if held]


def _cell(value: float) -> str:
    return "∞" if value == np.inf else "?" if np.isnan(value) else f"{value:.2g}" if value < 100 else f"{value:.0f}"


def _onset_panel(axis: Axes, onsets: pd.DataFrame, x: np.ndarray[Any, Any], log: str) -> None:
    """A bar per curve over the 95% interval of its onset; an arrow where an end lies beyond the values that were tried."""
    if "x" in log:
        axis.set_xscale("log")
        axis.set_xlim(x[0] / 1.5, x[-1] * 1.5)
        ticks_of_values(axis, x)
    for row, found in enumerate(onsets.to_dict("records")):
        low, middle, high = (float(np.clip(found[key], x[0], x[-1])) for key in ("low", "onset", "high"))
        axis.plot([low, high], [row, row], color="C0", linewidth=3, alpha=0.5, solid_capstyle="butt")
        if np.isfinite(found["onset"]):
            axis.plot([middle], [row], marker="D", markersize=5, color="C0")
        if found["high"] == np.inf:
            axis.plot([x[-1]], [row], marker=">", markersize=7, color="C0")
        if found["low"] == -np.inf:
            axis.plot([x[0]], [row], marker="<", markersize=7, color="C0")
