"""Figures that several claims share: one or more panels of lines or points over a table."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from quadsim.simulator.figures.panels import finish, panels, styles_of
from quadsim.simulator.support.statistics import quantile
from quadsim.simulator.sweeps.results.answers.words import number_text

__all__ = [
    "dots_figure",
    "draw_medians",
    "heat_figure",
    "lines_figure",
    "points_figure",
    "scale",
    "shares_figure",
    "ticks_at",
    "ticks_of_values",
]

_MOST_TICKS = 10  # values on an axis that are labelled themselves
_TICK_APART = 0.08  # of the width of the axis, so that two labels do not touch

if TYPE_CHECKING:
    from pandas.core.groupby.generic import SeriesGroupBy as Grouped


def lines_figure(
    table: pd.DataFrame,
    *,
    x: str,
    y: str,
    by: str,
    xlabel: str,
    ylabel: str,
    title: str,
    panel: str | None = None,
    log: str = "xy",
    reference: float | None = None,
    joined: bool = True,
) -> Figure:
    """A line per value of `by` through the medians at every x, with bars from 10% to 90%; a panel per value of `panel`.

    Args:
        table: a row per measurement.
        x: column along the axis.
        y: column of what was measured; `inf` is drawn as a caret at the top.
        by: column that tells the lines apart.
        xlabel: with its unit.
        ylabel: with its unit.
        title: what the figure says.
        panel: column that tells the panels apart.
        log: axes that are logarithmic, among `x` and `y`.
        reference: a dotted line at this height.
        joined: whether the medians are joined; they are not where x only numbers things.
    """
    names = [str(name) for name in dict.fromkeys(table[by])]
    styles = styles_of(names)
    groups = [("", table)] if panel is None else [(str(key), part) for key, part in table.groupby(panel, sort=False)]
    figure, axes = panels(len(groups))
    for axis, (label, part) in zip(axes, groups, strict=True):
        scale(axis, log)
        finite = part[y][part[y].abs() < float("inf")]
        top = float(finite.max()) * 1.3 if len(finite) else 1.0
        for name, style in styles.items():
            kept = part[part[by].astype(str) == name]
            if kept.empty:
                continue
            draw_medians(axis, kept.groupby(x)[y], top, joined=joined, style=style)
        places = part[x].unique().astype(float)
        if "x" in log and 1 <= len(places) <= _MOST_TICKS and np.all(places > 0.0):
            ticks_of_values(axis, places)
        if reference is not None:
            axis.axhline(reference, color="0.4", linestyle=":", linewidth=1)
        axis.set(xlabel=xlabel, ylabel=ylabel, title=label)
    finish(figure, axes, _handles(styles), title)
    return figure


def draw_medians(axis: Axes, measured: "Grouped[Any, Any]", top: float, *, joined: bool, style: dict[str, Any]) -> bool:
    """Draw medians with bars from 10% to 90%.

    Where so many seeds have no value (NaN, which ranks last) that the 90% quantile has none either, the bar ends at the median
    and a question mark stands above it.

    Args:
        axis: that is drawn on.
        measured: what was measured, grouped by the place along the axis.
        top: height at which what lies above it is drawn; a caret there tells that the 90% quantile is `inf`.
        joined: whether the medians are joined.
        style: colour and marker.

    Returns:
        Whether there is a question mark.
    """
    cells = pd.DataFrame(measured.agg(low=_quantile(0.1), median=_quantile(0.5), high=_quantile(0.9)))
    shown = cells.clip(upper=top)
    axis.errorbar(
        cells.index.to_numpy(dtype=float),
        shown["median"],
        yerr=[shown["median"] - shown["low"], (shown["high"] - shown["median"]).fillna(0.0)],
        capsize=2,
        markersize=5,
        linewidth=1.4,
        elinewidth=0.9,
        linestyle="-" if joined else "none",
        **style,
    )
    beyond = cells.index[np.isinf(cells["high"])]
    axis.plot(beyond, [top] * len(beyond), linestyle="none", marker="^", markersize=6, color=style["color"])
    open_ended = shown[cells["high"].isna() & cells["median"].notna()]
    for number, height in open_ended["median"].items():
        at = (float(cast("float", number)), float(height))
        axis.annotate("?", at, xytext=(0, 5), textcoords="offset points", ha="center", color=style["color"])
    return not open_ended.empty


def points_figure(
    table: pd.DataFrame,
    *,
    x: str,
    y: str,
    by: str,
    xlabel: str,
    ylabel: str,
    title: str,
    panel: str | None = None,
    log: str = "xy",
    reference: tuple[float | None, float | None] = (None, None),
    diagonal: bool = False,
) -> Figure:
    """A point per row, with a marker per value of `by`; a panel per value of `panel`; dotted lines at `reference`, or y = x."""
    names = [str(name) for name in dict.fromkeys(table[by])]
    styles = styles_of(names)
    groups = [("", table)] if panel is None else [(str(key), part) for key, part in table.groupby(panel, sort=False)]
    figure, axes = panels(len(groups))
    for axis, (label, part) in zip(axes, groups, strict=True):
        scale(axis, log)
        for name, style in styles.items():
            kept = part[part[by].astype(str) == name]
            axis.plot(kept[x], kept[y], linestyle="none", markersize=5, alpha=0.8, **style)
        for line, at in ((axis.axvline, reference[0]), (axis.axhline, reference[1])):
            if at is not None:
                line(at, color="0.4", linestyle=":", linewidth=1)
        if diagonal:
            ends = [max(part[x].min(), part[y].min()), min(part[x].max(), part[y].max())]
            axis.plot(ends, ends, color="0.4", linestyle=":", linewidth=1)
        axis.set(xlabel=xlabel, ylabel=ylabel, title=label)
    finish(figure, axes, _handles(styles), title)
    return figure


def shares_figure(
    samples: Mapping[str, pd.Series], *, xlabel: str, ylabel: str, title: str, at: tuple[float, float] | None = None
) -> Figure:
    """Distribution functions of samples on a log axis; `at` marks a claimed point."""
    styles = styles_of(list(samples))
    figure, (axis,) = panels(1)
    axis.set_xscale("log")
    for name, style in styles.items():
        axis.ecdf(samples[name], color=style["color"])
    handles = [Line2D([], [], label=name, color=style["color"]) for name, style in styles.items()]
    if at is not None:
        axis.axvline(at[0], color="0.4", linestyle=":", linewidth=1)
        axis.axhline(at[1], color="0.4", linestyle=":", linewidth=1)
        axis.plot(*at, linestyle="none", marker="x", color="0.2")
        handles.append(Line2D([], [], label="claimed", linestyle="none", marker="x", color="0.2"))
    axis.set(xlabel=xlabel, ylabel=ylabel)
    finish(figure, [axis], handles, title)
    return figure


def heat_figure(
    table: pd.DataFrame,
    *,
    x: str,
    y: str,
    value: str,
    panel: str,
    xlabel: str,
    ylabel: str,
    label: str,
    title: str,
) -> Figure:
    """Medians of `value` over x and y as numbers in cells, coloured by their log (blue below 1, red above); a panel per value."""
    groups = [(str(key), part) for key, part in table.groupby(panel, sort=False)]
    figure, axes = panels(len(groups))
    cells = [part.pivot_table(index=y, columns=x, values=value, aggfunc="median") for _, part in groups]
    most = max(float(np.abs(np.log10(cell.to_numpy())).max()) for cell in cells)
    for axis, (name, _), cell in zip(axes, groups, cells, strict=True):
        logs = np.log10(cell.to_numpy())
        image = axis.imshow(logs, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", origin="lower")
        for (row, column), log in np.ndenumerate(logs):
            shade = "white" if abs(log) > 0.6 * most else "black"
            axis.text(column, row, number_text(10**log), ha="center", va="center", color=shade, fontsize=8)
        axis.set_xticks(range(cell.shape[1]), [f"{v:g}" for v in cell.columns])
        axis.set_yticks(range(cell.shape[0]), [f"{v:g}" for v in cell.index])
        axis.grid(visible=False)
        axis.set(xlabel=xlabel, ylabel=ylabel, title=name)
    bar = figure.colorbar(image, ax=axes, label=label)
    bar.ax.yaxis.set_major_formatter(lambda log, _: number_text(10**log))
    figure.suptitle(title, fontsize=9)
    return figure


def dots_figure(
    table: pd.DataFrame,
    *,
    x: str,
    y: str,
    ylabel: str,
    title: str,
    by: str | None = None,
    panel: str | None = None,
    log: bool = False,
    reference: float | None = None,
) -> Figure:
    """A dot per row over named places, with a bar at the median of each place; a colour per value of `by`.

    Args:
        table: a row per measurement.
        x: column of the names along the axis, in the order in which they come.
        y: column of what was measured; `inf` is drawn at the top.
        ylabel: with its unit.
        title: what the figure says.
        by: column that tells the colours apart, side by side at each place.
        panel: column that tells the panels apart.
        log: whether heights are logarithmic.
        reference: a dotted line at this height.
    """
    names = [""] if by is None else [str(name) for name in dict.fromkeys(table[by])]
    styles = styles_of(names)
    groups = [("", table)] if panel is None else [(str(key), part) for key, part in table.groupby(panel, sort=False)]
    figure, axes = panels(len(groups))
    finite = table[y][table[y].abs() < float("inf")]
    top = float(finite.max()) * 1.3 if len(finite) else 1.0
    for axis, (label, part) in zip(axes, groups, strict=True):
        scale(axis, "y" if log else "")
        places = list(dict.fromkeys(part[x]))
        for number, name in enumerate(names):
            kept = part if by is None else part[part[by].astype(str) == name]
            shift = 0.7 * ((number + 0.5) / len(names) - 0.5)
            for place, same in kept.groupby(x, sort=False):
                at, values = places.index(place) + shift, same[y].clip(upper=top)
                axis.plot(
                    [at] * len(values), values, linestyle="none", markersize=4, alpha=0.5, **_only_marks(styles[name])
                )
                middle, half = values.median(), 0.3 / len(names)
                axis.plot([at - half, at + half], [middle, middle], linewidth=2, color=styles[name]["color"])
        if reference is not None:
            axis.axhline(reference, color="0.4", linestyle=":", linewidth=1)
        axis.set_xticks(range(len(places)), [str(place) for place in places], rotation=20, ha="right", fontsize=8)
        axis.set(xlim=(-0.6, len(places) - 0.4), ylabel=ylabel, title=label)
    finish(figure, axes, _handles(styles), title)
    return figure


def _only_marks(style: dict[str, object]) -> dict[str, Any]:
    return {name: value for name, value in style.items() if name != "linestyle"}


def ticks_at(figure: Figure, values: Iterable[float]) -> Figure:
    """The same figure with the x axes labelled at these values, and nowhere else."""
    at = sorted(set(values))
    for axis in figure.axes:
        _label_at(axis, at)
    return figure


def _label_at(axis: Axes, values: Sequence[float]) -> None:
    axis.xaxis.set_major_locator(FixedLocator(values))
    axis.xaxis.set_major_formatter(FixedFormatter([f"{value:g}" for value in values]))
    axis.xaxis.set_minor_locator(NullLocator())


def ticks_of_values(axis: Axes, values: Iterable[float]) -> None:
    """Label a logarithmic x axis at the values that were tried, as plain numbers, as many of them as fit side by side."""
    at = sorted(set(values))
    span = np.log10(at[-1] / at[0])
    kept = [at[0]]
    for value in at[1:]:
        if np.log10(value / kept[-1]) >= _TICK_APART * span:
            kept.append(value)
    _label_at(axis, kept)


def _quantile(q: float) -> Callable[[pd.Series], float]:
    return lambda values: float(quantile(values, q))


def scale(axis: Axes, log: str) -> None:
    """Make axes logarithmic: those among `x` and `y` that `log` holds."""
    if "x" in log:
        axis.set_xscale("log")
    if "y" in log:
        axis.set_yscale("log")


def _handles(styles: dict[str, dict[str, object]]) -> list[Line2D]:
    if len(styles) < 2:
        return []
    return [Line2D([], [], label=name, markersize=5, **style) for name, style in styles.items()]  # type: ignore[arg-type]
