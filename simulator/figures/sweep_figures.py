"""The figures of a sweep, readable in print: steps against the dial, and curves against the step."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path as Path2D

from quadsim.simulator.figures.marks import (
    MISSED,
    draw_band,
    hollow,
    log_ticks,
    mark_end,
    mark_size,
    missed_band,
    optimizer_handles,
    places,
    problems_text,
    shift,
    steps_label,
)
from quadsim.simulator.figures.palette import optimizer_styles
from quadsim.simulator.figures.panels import (
    SweepFigure,
    columns_of,
    figure_from,
    finish,
    panels,
    parts_of,
    point_title,
    save_figure,
)
from quadsim.simulator.figures.rates_figure import rates_figure
from quadsim.simulator.figures.winner_figure import winner_figure
from quadsim.simulator.runs.guaranteed import IN_THE_MEAN
from quadsim.simulator.support import store
from quadsim.simulator.support.statistics import quantile
from quadsim.simulator.sweeps.config.families import family_of, imported
from quadsim.simulator.sweeps.config.grid import SweepGrid

if TYPE_CHECKING:
    from quadsim.simulator.sweeps.results.results import Results

__all__ = ["gap_figure", "gap_table", "save_figures", "save_first_figures", "steps_figure", "steps_table"]

_UP = Path2D(
    [(-1, 17), (1, 17), (10, 8), (7, 5), (2, 11), (2, -17), (-2, -17), (-2, 11), (-7, 5), (-10, 8), (-1, 17)],
    closed=True,
)
"""An arrow, which as the formula of one would be set anew for each of its marks."""
_ARROW: dict[str, Any] = {"marker": _UP, "markersize": 8, "markeredgewidth": 0.0, "linestyle": "none"}
"""No marker of an optimizer looks like it."""
_DASHES = Path2D([(-1, 0), (-0.25, 0), (0.25, 0), (1, 0)], [Path2D.MOVETO, Path2D.LINETO, Path2D.MOVETO, Path2D.LINETO])
"""A bound of one point alone, which no line reaches: two dashes, as the legend shows a bound."""
_FLOOR: dict[str, Any] = {"linestyle": (0, (1, 4)), "linewidth": 1.1}
_BELOW_TOLERANCE = 1e-3  # how far below the tolerance the gap is drawn
_HIGHEST = 1e12


def save_first_figures(results: "Results") -> list[str]:
    """Write the figures of a sweep that do not show its bounds, and return their names: all but the figure of curves.

    Args:
        results: in a folder; their bounds may still be computed.
    """
    assert results.folder is not None
    last = family_of(results.config).figure
    save_figures(results, results.folder / store.FIGURES, but=(last,))
    return [name for name in results.figures if name != last]


def save_figures(results: "Results", folder: Path, but: Collection[str] = ()) -> None:
    """Write the figures that the results have (`Results.figures`) as PNG and PDF, each with its numbers as CSV.

    Args:
        results: what they show.
        folder: for their files.
        but: names of figures that are left out.
    """
    family = family_of(results.config)
    known: dict[str, SweepFigure] = {
        "steps": steps_figure,
        "rates": rates_figure,
        "winner": winner_figure,
        family.figure: imported(family.draw),
    }
    for name in results.figures:
        if name in but:
            continue
        figure = known[name]
        table = figure.table(results)
        save_figure(figure.draw(results, table), folder, name, table=table)


def steps_table(results: "Results") -> pd.DataFrame:
    """What the figure of steps shows.

    Returns:
        A row per panel, optimizer and point, with panel, the dials, optimizer, setting, lr, drawn_at (its place along the axis),
        steps_median, steps_q10, steps_q90 (`inf`: not within the length of the runs), steps_weighted_median (of toy models) and
        bound_median.
    """
    config = results.config
    kept = ["setting", "lr", "steps_median", "steps_q10", "steps_q90", "steps_weighted_median", "bound_median"]
    out = []
    for label, _, best in results.groups():
        points = list(dict.fromkeys(best["point"]))
        values = best.drop_duplicates("point")[config.axis].tolist()
        x = np.arange(len(values), dtype=float) if config.is_categorical else np.asarray(values, dtype=float)
        for words, texts in parts_of(config, by_family=True):
            for position, text in enumerate(texts):
                rows = best[best["optimizer"] == text].set_index("point").loc[points]
                at = shift(x, position, len(texts), names=config.is_categorical)
                known = {name: rows[name].to_numpy() for name in kept if name in rows}
                dials = {name: rows[name].to_numpy() for name in (config.axis, *results.facets)}
                panel = ", ".join(filter(None, (words, label)))
                out.append(pd.DataFrame({"panel": panel, **dials, "optimizer": text, "drawn_at": at, **known}))
    return pd.concat(out, ignore_index=True)


@figure_from(steps_table)
def steps_figure(results: "Results", table: pd.DataFrame) -> Figure:
    """Steps to tolerance against heterogeneity, a line per optimizer, the bound dashed; log-log.

    Optimizers without and with momentum have a panel each, on the same scale. Medians that are not reached within the length of
    the runs lie in a band above it.
    """
    config, styles = results.config, optimizer_styles(results.config.optimizers)
    groups = [rows for _, rows in table.groupby("panel", sort=False)]
    parts = len(parts_of(config, by_family=True))
    columns = parts if parts > 1 and len(groups) > parts else None
    figure, axes = panels(len(groups), columns)
    marks: set[str] = set()
    missed = bool(np.isinf(table["steps_median"]).any())
    early = table["steps_q10"].to_numpy()
    low = float(np.min(early, initial=config.steps, where=early > 0.0))
    height, top = missed_band(config.steps, low)
    for axis, rows in zip(axes, groups, strict=True):
        places(axis, rows.drop_duplicates(config.axis)[config.axis].tolist(), names=config.is_categorical)
        for text, own in rows.groupby("optimizer", sort=False):
            marks |= _draw_steps(axis, own, styles[str(text)], config, height)
        axis.set_title(rows["panel"].iloc[0])
        axis.set_ylabel(steps_label(config))
        axis.set_xlabel(config.axis_label)
    if missed:
        draw_band(axes, config.steps, top)
    for axis in axes:
        log_ticks(axis)
    look = {"linestyle": "none"} if config.is_categorical else {}
    handles = [*optimizer_handles(config, styles, **look), *_mark_handles(marks, config.steps)]
    how = "" if results.histogram is None else " (upper ends of bins)"
    finish(figure, axes, handles, f"Best rate of each optimizer; {problems_text(config)}{how}")
    return figure


def _draw_steps(axis: Axes, rows: pd.DataFrame, style: dict[str, Any], config: SweepGrid, height: float) -> set[str]:
    """One optimizer in a panel.

    Args:
        axis: the panel.
        rows: of `steps_table`, one a point.
        style: colour, marker and line.
        config: the grid.
        height: at which medians are drawn that are not reached.

    Returns:
        Which marks, of _MARKS, were drawn beside medians and bars.
    """
    marks, at = set(), rows["drawn_at"].to_numpy()
    early, median, late = (rows[name].to_numpy() for name in ("steps_q10", "steps_median", "steps_q90"))
    reached = np.isfinite(median)
    high = np.where(np.isfinite(late), late, config.steps)
    bars = [median[reached] - early[reached], np.maximum(high[reached] - median[reached], 0.0)]
    line = {"linestyle": "none"} if config.is_categorical else {}
    axis.errorbar(at[reached], median[reached], yerr=bars, capsize=2, elinewidth=0.9, **{**style, **line})
    beyond = reached & np.isinf(late)
    if beyond.any():
        marks.add("some missed")
        axis.plot(at[beyond], high[beyond], color=style["color"], **_ARROW)
    for position in at[~reached]:  # an unclipped line without points would upset the layout
        axis.plot(position, height, **{**hollow(style), **MISSED}, markersize=mark_size(1.2))
    if "steps_weighted_median" in rows:
        marks.add("weighted")
        weighted = rows["steps_weighted_median"].to_numpy()
        axis.plot(at[np.isfinite(weighted)], weighted[np.isfinite(weighted)], ":", color=style["color"], linewidth=1.2)
    bound = rows["bound_median"].to_numpy()
    shown = np.isfinite(bound)
    if shown.any():
        marks.add("bound")
        dashes = "--" if shown.sum() > 1 and not config.is_categorical else "none"
        marker: Any = "" if dashes == "--" else _DASHES
        axis.plot(
            at[shown],
            bound[shown],
            linestyle=dashes,
            marker=marker,
            markersize=mark_size(4.5),
            markeredgewidth=1.2,
            color=style["color"],
            linewidth=1.2,
        )
    return marks


_MARKS: dict[str, tuple[str, dict[str, Any]]] = {
    "weighted": ("on the optimised loss, at its own best rate", {"linestyle": ":"}),
    "bound": ("theorem: at most this many", {"linestyle": "--"}),
    "some missed": ("10% or more not within {steps} steps", _ARROW),
}
"""What a mark in the figure of steps means, and how it looks."""


def _mark_handles(marks: set[str], steps: int) -> list[Line2D]:
    """Entries of the legend for the marks that occur."""
    return [
        Line2D([], [], color="0.35", label=text.format(steps=steps), **look)
        for name, (text, look) in _MARKS.items()
        if name in marks
    ]


def gap_table(results: "Results") -> pd.DataFrame:
    """What the figure of curves shows.

    Returns:
        A row per panel, optimizer and recorded step, with panel, optimizer, step, median, q10 and q90 of the gap over the initial
        gap (limited to what the axis can show), bound (the median of the guaranteed values: of a theorem that bounds every run by
        a factor per step, else of the first guarantee, at its own rate or along the run; of a stream the exact mean; NaN where
        there is none), and, the same in all rows of a curve, floor (the limit of that mean) and steps_median: the median of the
        steps until the criterion.

    Raises:
        ValueError: results without curves.
    """
    config, curves = results.config, results.curves
    if curves is None:
        raise ValueError("results must hold curves, got those of a sweep that kept quantiles; use --keep rows.")
    value, steps = family_of(config).value, curves["step"].values
    bottom = config.tolerance * _BELOW_TOLERANCE
    medians = results.best.set_index(["point", "optimizer"])["steps_median"]
    rates, guaranteed, floors = _bound_rates(results), _guaranteed_curves(results), _floors(results)
    out = []
    for p in range(curves.sizes["point"]):
        for words, texts in parts_of(config):
            panel = ", ".join(filter(None, (words, point_title(results, curves, p))))
            for text in texts:
                gap = curves[value][p, config.optimizers.index(text)].values[config.reported]
                with np.errstate(
                    over="ignore"
                ):  # a run that diverges late is not infinite yet; the axis ends far below
                    relative = gap / np.where(gap[:, :1] > 0.0, gap[:, :1], 1.0)
                low, middle, high = (
                    np.clip(quantile(relative, q, axis=0), bottom / 10, _HIGHEST) for q in (0.1, 0.5, 0.9)
                )
                drawn = {"step": steps, "median": middle, "q10": low, "q90": high, "bound": np.nan}
                if (p, text) in guaranteed:
                    drawn["bound"] = guaranteed[p, text]
                drawn["floor"] = floors.get((p, text), np.nan)
                if (p, text) in rates:
                    with np.errstate(over="ignore"):  # at a rate that diverges the factor is above 1
                        drawn["bound"] = quantile(rates[p, text][:, None] ** steps, 0.5, axis=0)
                out.append(pd.DataFrame({"panel": panel, "optimizer": text, **drawn, "steps_median": medians[p, text]}))
    return pd.concat(out, ignore_index=True)


def _bound_rates(results: "Results") -> dict[tuple[int, str], np.ndarray]:
    """The guaranteed factor per step of every run at the best rate, by point and optimizer, where all runs have one."""
    runs = results.tables.best_runs
    runs = runs[runs["seed"].isin(results.config.reported)]
    found = {}
    for (point, text), same in runs.groupby(["point", "optimizer"], sort=False):
        rates = same["bound_rate"].to_numpy(dtype=np.float64)
        if not np.isnan(rates).any():
            found[int(str(point)), str(text)] = rates
    return found


def _guaranteed_curves(results: "Results") -> dict[tuple[int, str], np.ndarray]:
    """The median curve of every point and optimizer, of the first guarantee that says something of half of the problems."""
    found = results.guarantees
    if found is None:
        return {}
    curves = {}
    for (point, text), same in found.groupby(["point", "optimizer"], sort=False):
        for (kind, _), own in same.groupby(["kind", "theorem"], sort=False):
            every = np.array(own["curve"].tolist(), dtype=np.float64)
            middle = quantile(np.where(np.isnan(every), np.inf, every), 0.5, axis=0)
            said = (middle <= 1.0) | (kind == IN_THE_MEAN)  # a bound above the start says nothing, a mean does
            curve = np.where(said & np.isfinite(middle), middle, np.nan)
            if np.isfinite(curve).any():
                curves[int(str(point)), str(text)] = curve
                break
    return curves


def _floors(results: "Results") -> dict[tuple[int, str], float]:
    """The median limit of the mean gap over the start, by point and optimizer on a stream."""
    found = results.guarantees
    if found is None or "floor" not in found:
        return {}
    known = found[found["floor"].notna()]
    medians = {
        (int(str(point)), str(text)): float(quantile(same["floor"].to_numpy(dtype=np.float64), 0.5))
        for (point, text), same in known.groupby(["point", "optimizer"], sort=False)
    }
    return {key: value for key, value in medians.items() if np.isfinite(value) and value > 0.0}


@figure_from(gap_table)
def gap_figure(results: "Results", table: pd.DataFrame) -> Figure:
    """What the optimizers decrease (of quadratics the gap) against step at every point, at each optimizer's best rate.

    A line for the median over the problems and a band from the 10% to the 90% quantile; dashed the curve that a theorem
    guarantees at this rate, at a rate of its own, or along the run. The markers on the tolerance are the medians of the
    steps until the criterion.

    Raises:
        ValueError: results without curves.
    """
    config, value = results.config, family_of(results.config).value
    styles = optimizer_styles(config.optimizers)
    groups = [rows for _, rows in table.groupby("panel", sort=False)]
    figure, axes = panels(len(groups), columns_of(results.config))
    bottom, bounded = config.tolerance * _BELOW_TOLERANCE, False
    for axis, rows in zip(axes, groups, strict=True):
        axis.axhline(config.tolerance, color="0.35", linewidth=1.0, linestyle=":")
        for text, own in rows.groupby("optimizer", sort=False):
            bounded |= _draw_curve(axis, own[own["step"] > 0], styles[str(text)], config)
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(1, max(config.steps, 2))
        axis.set_ylim(bottom, min(max(1.0, float(rows["q90"][rows["step"] > 0].max())) * 2, 1e4))
        axis.set_xlabel("step")
        axis.set_ylabel(f"{value} / initial {value}")
        axis.set_title(rows["panel"].iloc[0])
    handles = optimizer_handles(config, styles)
    handles.append(Line2D([], [], color="0.35", linestyle=":", label="tolerance; on it, median steps until solved"))
    kinds = set() if results.guarantees is None else set(results.guarantees["kind"])
    if bounded and kinds != {IN_THE_MEAN}:
        handles.append(
            Line2D(
                [], [], color="0.35", linestyle="--", label="guaranteed by a theorem, at its own rate or along the run"
            )
        )
    if bounded and IN_THE_MEAN in kinds:
        handles.append(Line2D([], [], color="0.35", linestyle="--", label="exact mean over the draws (on a stream)"))
    if table["floor"].notna().any():
        handles.append(Line2D([], [], color="0.35", label="its floor", **_FLOOR))
    finish(figure, axes, handles, f"Best rate of each optimizer; {problems_text(config)}")
    return figure


def _draw_curve(axis: Axes, rows: pd.DataFrame, style: dict[str, Any], config: SweepGrid) -> bool:
    """One optimizer in a panel of curves; whether a bound was drawn.

    Args:
        axis: the panel.
        rows: of `gap_table`, one a step.
        style: colour, marker and line.
        config: the grid.
    """
    x, color = rows["step"].to_numpy(), style["color"]
    axis.plot(x, rows["median"], linewidth=1.5, **{**style, "marker": ""})
    axis.fill_between(x, rows["q10"], rows["q90"], color=color, alpha=0.12, linewidth=0)
    last = float(x[-1]), float(rows["median"].iloc[-1])
    mark_end(axis, style, float(rows["steps_median"].iloc[0]), config.tolerance, last)
    bounded = bool(rows["bound"].notna().any())
    if bounded:
        axis.plot(x, rows["bound"], "--", color=color, linewidth=1.1)
    floor = float(rows["floor"].iloc[0])
    if np.isfinite(floor):
        axis.axhline(floor, color=color, **_FLOOR)
    return bounded
