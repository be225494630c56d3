"""The figures of a sweep, readable in print: colour-blind-safe colours, a marker for every optimizer, labels with units."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETUP
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from quadsim.simulator.figures.panels import finish, legend_rows, panels, point_title, save_figure, styles_of
from quadsim.simulator.figures.style import drawn
from quadsim.simulator.rules.momentum import FAMILY_WORDS
from quadsim.simulator.support.statistics import quantile
from quadsim.simulator.sweeps.config.families import family_of, imported
from quadsim.simulator.sweeps.config.grid import SweepGrid

if TYPE_CHECKING:
    from quadsim.simulator.sweeps.results.results import Results

__all__ = ["gap_figure", "save_figures", "steps_figure"]

_CARET: Any = CARETUP
_BELOW_TOLERANCE = 1e-3  # how far below the tolerance the gap is drawn


def save_figures(results: "Results", folder: Path) -> None:
    """Write both figures as PNG and PDF; without curves, the steps alone."""
    family = family_of(results.config)
    draws: dict[str, Callable[[Results], Figure]] = {"steps": steps_figure, family.figure: imported(family.draw)}
    for name in results.figures:
        save_figure(draws[name](results), folder, name)


@drawn
def steps_figure(results: "Results") -> Figure:
    """Steps to tolerance against heterogeneity, a line per optimizer, the bound dashed; log-log.

    Optimizers without and with momentum have a panel each, on the same scale.
    """
    config, groups = results.config, results.groups()
    styles, families = styles_of(config.optimizers), config.families
    columns = len(families) if len(families) > 1 and len(groups) > 1 else None
    figure, axes = panels(len(groups) * len(families), legend_rows(config.optimizers), columns)
    marks: set[str] = set()
    each = [(label, best, name, texts) for label, _, best in groups for name, texts in families.items()]
    for axis, (label, best, name, texts) in zip(axes, each, strict=True):
        x = _positions(axis, best.drop_duplicates("point")[config.axis].tolist(), names=config.is_categorical)
        points = list(dict.fromkeys(best["point"]))
        for place, text in enumerate(texts):
            rows = best[best["optimizer"] == text].set_index("point").loc[points]
            shift = _shift(place, len(texts), log=not config.is_categorical)
            at = x + shift if config.is_categorical else x * shift
            marks |= _draw_steps(axis, at, rows, styles[text], config)
        words = FAMILY_WORDS[name] if len(families) > 1 else ""
        axis.set_title(", ".join(filter(None, (words, label))), fontsize=9)
        axis.set_ylabel(_steps_label(config))
        axis.set_xlabel(config.axis_label)
    for axis in axes:
        _log_ticks(axis)
    handles = _optimizer_handles(config, styles, linestyle="-", markersize=5)
    how = "" if results.histogram is None else " (upper ends of bins)"
    title = f"Best rate of each optimizer; median and 10-90% of {len(config.reported)} problems{how}"
    finish(figure, axes, [*handles, *_mark_handles(marks, config.steps)], title)
    return figure


def _draw_steps(axis: Axes, at: np.ndarray, rows: pd.DataFrame, style: dict[str, Any], config: SweepGrid) -> set[str]:
    """One optimizer in a panel.

    Args:
        axis: the panel.
        at: x of every point.
        rows: of `Results.best`, one a point.
        style: colour and marker.
        config: the grid.

    Returns:
        Which marks, of _MARKS, were drawn beside medians and bars.
    """
    marks = set()
    early, median, late = (rows[name].to_numpy() for name in ("steps_q10", "steps_median", "steps_q90"))
    reached = np.isfinite(median)
    high = np.where(np.isfinite(late), late, config.steps)
    axis.errorbar(
        at[reached],
        median[reached],
        yerr=[median[reached] - early[reached], np.maximum(high[reached] - median[reached], 0.0)],
        capsize=2,
        markersize=5,
        linewidth=1.4,
        elinewidth=0.9,
        linestyle="none" if config.is_categorical else "-",
        **style,
    )
    beyond = reached & np.isinf(late)
    if beyond.any():
        marks.add("some missed")
    axis.plot(at[beyond], high[beyond], linestyle="none", marker=_CARET, color=style["color"], markersize=6)
    for position in at[~reached]:  # an unclipped line without points would upset the layout
        marks.add("median missed")
        hollow: dict[str, Any] = {"linestyle": "none", "markerfacecolor": "none", "markersize": 7, "clip_on": False}
        axis.plot(position, config.steps, **hollow, **style)
    if "steps_weighted_median" in rows:
        marks.add("weighted")
        weighted = rows["steps_weighted_median"].to_numpy()
        axis.plot(at[np.isfinite(weighted)], weighted[np.isfinite(weighted)], ":", color=style["color"], linewidth=1.2)
    bound = rows["bound_median"].to_numpy()
    shown = np.isfinite(bound)
    if shown.any():
        marks.add("bound")
        line = "--" if shown.sum() > 1 and not config.is_categorical else "none"
        marker = "" if line == "--" else "_"
        axis.plot(at[shown], bound[shown], line, marker=marker, markersize=14, color=style["color"], linewidth=1.2)
    return marks


_MARKS: dict[str, tuple[str, dict[str, Any]]] = {
    "weighted": ("on the optimised loss, at its own best rate", {"linestyle": ":"}),
    "bound": ("theorem: at most this many", {"linestyle": "--"}),
    "median missed": (
        "median not within {steps} steps",
        {"marker": "o", "linestyle": "none", "markerfacecolor": "none"},
    ),
    "some missed": ("10% or more not within {steps} steps", {"marker": _CARET, "linestyle": "none"}),
}
"""What a mark in the figure of steps means, and how it looks."""


def _mark_handles(marks: set[str], steps: int) -> list[Line2D]:
    """Entries of the legend for the marks that occur."""
    return [
        Line2D([], [], color="0.35", label=text.format(steps=steps), **look)
        for name, (text, look) in _MARKS.items()
        if name in marks
    ]


def _optimizer_handles(config: SweepGrid, styles: dict[str, dict[str, Any]], **look: Any) -> list[Line2D]:
    """Entries of the legend for the optimizers."""
    return [Line2D([], [], **look, **style, label=config.names[text]) for text, style in styles.items()]


def _log_ticks(axis: Axes) -> None:
    """A log axis of steps; where it spans little, with labels also between powers of ten, which alone would leave one or none."""
    axis.set_yscale("log")
    bottom, top = axis.get_ylim()
    if top < 30 * bottom:
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())


@drawn
def gap_figure(results: "Results") -> Figure:
    """What the optimizers decrease (of quadratics the gap) against step at every point, at each optimizer's best rate.

    A line for the median over the problems and a band from the 10% to the 90% quantile.

    Raises:
        ValueError: results without curves.
    """
    config, curves = results.config, results.curves
    if curves is None:
        raise ValueError("results must hold curves, got those of a sweep that kept quantiles; use --keep rows.")
    styles, value = styles_of(config.optimizers), family_of(config).value
    figure, axes = panels(curves.sizes["point"], rows_of_legend=legend_rows(config.optimizers))
    steps = curves["step"].values
    bottom = config.tolerance * _BELOW_TOLERANCE
    for p, axis in enumerate(axes):
        top = 1.0
        for o, style in enumerate(styles.values()):
            gap = curves[value][p, o].values[config.reported]
            with np.errstate(over="ignore"):  # a run that diverges late is not infinite yet; the axis ends far below
                relative = gap / np.where(gap[:, :1] > 0.0, gap[:, :1], 1.0)
            low, middle, high = (np.clip(quantile(relative, q, axis=0), bottom / 10, 1e12) for q in (0.1, 0.5, 0.9))
            top = max(top, float(np.max(high[1:], initial=1.0)))
            color = style["color"]
            axis.plot(steps[1:], middle[1:], linewidth=1.5, markevery=0.2, markersize=5, **style)
            axis.fill_between(steps[1:], low[1:], high[1:], color=color, alpha=0.18, linewidth=0)
        axis.axhline(config.tolerance, color="0.35", linewidth=1.0, linestyle=":")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(1, max(steps[-1], 2))
        axis.set_ylim(bottom, min(top * 2, 1e4))
        axis.set_xlabel("step")
        axis.set_ylabel(f"{value} / initial {value}")
        axis.set_title(point_title(results, curves, p), fontsize=9)
    handles = _optimizer_handles(config, styles, markersize=5, linewidth=1.5)
    handles.append(Line2D([], [], color="0.35", linestyle=":", label="tolerance"))
    finish(figure, axes, handles, f"Best rate of each optimizer; median and 10-90% of {len(config.reported)} problems")
    return figure


def _positions(axis: Axes, values: list[Any], *, names: bool) -> np.ndarray:
    """X of every point, with a tick at each: on a log axis, or one after the other for names."""
    if names:
        axis.set_xticks(range(len(values)), [str(value) for value in values])
        axis.set_xlim(-0.5, len(values) - 0.5)
        return np.arange(len(values), dtype=float)
    x = np.asarray(values, dtype=float)
    axis.set_xscale("log")
    if len(set(values)) == 1:
        axis.set_xlim(x[0] / 2, x[0] * 2)
    if len(values) <= 8:
        axis.xaxis.set_major_locator(FixedLocator(x.tolist()))
        axis.xaxis.set_major_formatter(FixedFormatter([f"{value:g}" for value in values]))
        axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_minor_formatter(NullFormatter())
    return x


def _shift(position: int, number: int, *, log: bool) -> float:
    """A small step aside, so that error bars of several optimizers do not hide each other; of less than 5% on a log axis."""
    offset = position - (number - 1) / 2
    return float((1.0 + min(0.04, 0.09 / max(number - 1, 1))) ** offset) if log else 0.12 * offset


def _steps_label(config: SweepGrid) -> str:
    label, power = family_of(config).steps_label, _power(config.tolerance)
    asked = {name: f"{name} " if config.until == name else "" for name in ("stays", "mean")}
    return label.format(tolerance=config.tolerance, power=power, criterion=config.criterion, **asked)


def _power(value: float) -> str:
    exponent = math.log10(value)
    return f"$10^{{{round(exponent)}}}$" if abs(exponent - round(exponent)) < 1e-9 else f"{value:g}"
