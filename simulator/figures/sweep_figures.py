"""The figures of a sweep, readable in print: colour-blind-safe colours, a marker for every optimizer, labels with units."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETUP
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from quadsim.simulator.figures.panels import finish, legend_rows, panels, point_title, save_figure, styles_of
from quadsim.simulator.figures.style import drawn
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
    """Steps to tolerance against heterogeneity, a line per optimizer, the bound dashed; log-log."""
    config, groups = results.config, results.groups()
    styles = styles_of(config.optimizers)
    figure, axes = panels(len(groups), rows_of_legend=legend_rows(config.optimizers))
    has_bound = any_missed = some_missed = False
    for axis, (label, _, best) in zip(axes, groups, strict=True):
        points = list(dict.fromkeys(best["point"]))
        x = _positions(axis, best.drop_duplicates("point")[config.axis].tolist(), names=config.is_categorical)
        for name, style in styles.items():
            rows = best[best["optimizer"] == name].set_index("point").loc[points]
            median = rows["steps_median"].to_numpy()
            reached = np.isfinite(median)
            low = rows["steps_q10"].to_numpy()
            high = np.where(np.isfinite(rows["steps_q90"]), rows["steps_q90"], config.steps)
            shift = _shift(list(styles).index(name), len(styles), log=not config.is_categorical)
            at = x * shift if not config.is_categorical else x + shift
            axis.errorbar(
                at[reached],
                median[reached],
                yerr=[(median[reached] - low[reached]), np.maximum(high[reached] - median[reached], 0.0)],
                capsize=2,
                markersize=5,
                linewidth=1.4,
                elinewidth=0.9,
                linestyle="-" if not config.is_categorical else "none",
                **style,
            )
            beyond = reached & np.isinf(rows["steps_q90"].to_numpy())
            some_missed |= bool(beyond.any())
            axis.plot(at[beyond], high[beyond], linestyle="none", marker=_CARET, color=style["color"], markersize=6)
            missed = ~reached
            any_missed |= bool(missed.any())
            for position in at[missed]:  # an unclipped line without points would upset the layout
                axis.plot(
                    position,
                    config.steps,
                    linestyle="none",
                    markerfacecolor="none",
                    markersize=7,
                    clip_on=False,
                    **style,
                )
            if "steps_weighted_median" in rows:
                weighted = rows["steps_weighted_median"].to_numpy()
                shown = np.isfinite(weighted)
                axis.plot(at[shown], weighted[shown], ":", color=style["color"], linewidth=1.2)
            bound = rows["bound_median"].to_numpy()
            if np.isfinite(bound).any():
                has_bound = True
                shown = np.isfinite(bound)
                line = "--" if shown.sum() > 1 and not config.is_categorical else "none"
                marker = "" if line == "--" else "_"
                axis.plot(
                    at[shown], bound[shown], line, marker=marker, markersize=14, color=style["color"], linewidth=1.2
                )
        axis.set_yscale("log")
        bottom, top = axis.get_ylim()
        if top < 30 * bottom:  # powers of ten alone would leave one label or none
            axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_ylabel(_steps_label(config))
        axis.set_xlabel(config.axis_label)
        axis.set_title(label, fontsize=9)
    handles = [Line2D([], [], linestyle="-", markersize=5, **style, label=name) for name, style in styles.items()]
    if "steps_weighted_median" in results.best:
        handles.append(Line2D([], [], color="0.35", linestyle=":", label="on the optimised loss, at its own best rate"))
    if has_bound:
        handles.append(Line2D([], [], color="0.35", linestyle="--", label="theorem: at most this many"))
    if any_missed:
        handles.append(
            Line2D(
                [],
                [],
                color="0.35",
                marker="o",
                linestyle="none",
                markerfacecolor="none",
                label=f"median not within {config.steps} steps",
            )
        )
    if some_missed:
        handles.append(
            Line2D(
                [],
                [],
                color="0.35",
                marker=_CARET,
                linestyle="none",
                label=f"10% or more not within {config.steps} steps",
            )
        )
    how = "" if results.histogram is None else " (upper ends of bins)"
    finish(figure, axes, handles, f"Best rate of each optimizer; median and 10-90% of {config.seeds} problems{how}")
    return figure


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
            gap = curves[value][p, o].values
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
    handles = [Line2D([], [], markersize=5, linewidth=1.5, **style, label=name) for name, style in styles.items()]
    handles.append(Line2D([], [], color="0.35", linestyle=":", label="tolerance"))
    finish(figure, axes, handles, f"Best rate of each optimizer; median and 10-90% of {config.seeds} problems")
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
    """A small step aside, so that error bars of several optimizers do not hide each other."""
    offset = position - (number - 1) / 2
    return float(1.04**offset) if log else 0.12 * offset


def _steps_label(config: SweepGrid) -> str:
    label, power = family_of(config).steps_label, _power(config.tolerance)
    return label.format(tolerance=config.tolerance, power=power, criterion=config.criterion)


def _power(value: float) -> str:
    exponent = math.log10(value)
    return f"$10^{{{round(exponent)}}}$" if abs(exponent - round(exponent)) < 1e-9 else f"{value:g}"
