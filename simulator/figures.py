"""The figures of a sweep, readable in print: colour-blind-safe colours, a marker for every optimizer, labels with units."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETUP
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from quadsim.simulator import store
from quadsim.simulator.model_sweep import ModelSweepConfig
from quadsim.simulator.plot_style import drawing, drawn, figure_style
from quadsim.simulator.statistics import quantile
from quadsim.simulator.sweep_grid import SweepGrid

if TYPE_CHECKING:
    from quadsim.simulator.results import Results

__all__ = [
    "figure_style",
    "finish",
    "gap_figure",
    "legend_rows",
    "panels",
    "point_title",
    "save_figure",
    "save_figures",
    "steps_figure",
    "styles_of",
]

DPI = 200  # of PNG files
_MARKERS = "osD^vPX*<"  # nine against ten colours: ninety different pairs
_CARET: Any = CARETUP
_PANEL = (4.2, 3.3)  # inches
_MOST_COLUMNS = 3
_WIDE = 8.0  # inches, from which six entries of a legend stand side by side
_DIAL_LABELS = {
    "frequency": "frequency: largest over smallest class weight",
    "zipf": "zipf: most over least frequent token",
    "separable": "separable: largest over smallest weight of a copy",
    "reparametrisation": "reparametrisation: max s² / min s² over blocks",
    "init-scale": "factor on the initial weights",
    "temperature": "temperature of the attention",
}
_BELOW_TOLERANCE = 1e-3  # how far below the tolerance the gap is drawn


def save_figures(results: "Results", folder: Path) -> None:
    """Write both figures as PNG and PDF; without curves, the steps alone."""
    from quadsim.simulator.model_figures import loss_figure

    draws: dict[str, Callable[[Results], Figure]] = {"steps": steps_figure, "gap": gap_figure, "loss": loss_figure}
    folder.mkdir(exist_ok=True)
    for name in results.figures:
        save_figure(draws[name](results), folder, name)


def save_figure(figure: Figure, folder: Path, name: str, own: Mapping[str, Any] | None = None) -> None:
    """Write a figure as PNG and PDF; without dates, so that the same results give the same file."""
    for suffix, backend in (("png", "agg"), ("pdf", "pdf")):
        metadata = {"CreationDate": None, "ModDate": None} if suffix == "pdf" else {}

        def write(path: Path, metadata: dict[str, None] = metadata, backend: str = backend) -> None:
            with drawing(own):
                figure.savefig(path, dpi=DPI, metadata=metadata, backend=backend)

        store.write_whole(folder / f"{name}.{suffix}", write)


@drawn
def steps_figure(results: "Results") -> Figure:
    """Steps to tolerance against heterogeneity, a line per optimizer, the bound dashed; log-log."""
    config, groups = results.config, results.groups()
    styles = styles_of(config.optimizers)
    figure, axes = panels(len(groups), rows_of_legend=legend_rows(config.optimizers))
    has_bound = any_missed = some_missed = False
    for axis, (label, _, best) in zip(axes, groups, strict=True):
        points = list(dict.fromkeys(best["point"]))
        x = _positions(axis, config.axis, best.drop_duplicates("point")[config.axis].tolist())
        for name, style in styles.items():
            rows = best[best["optimizer"] == name].set_index("point").loc[points]
            median = rows["steps_median"].to_numpy()
            reached = np.isfinite(median)
            low = rows["steps_q10"].to_numpy()
            high = np.where(np.isfinite(rows["steps_q90"]), rows["steps_q90"], config.steps)
            shift = _shift(list(styles).index(name), len(styles), log=config.axis != "case")
            at = x * shift if config.axis != "case" else x + shift
            axis.errorbar(
                at[reached],
                median[reached],
                yerr=[(median[reached] - low[reached]), np.maximum(high[reached] - median[reached], 0.0)],
                capsize=2,
                markersize=5,
                linewidth=1.4,
                elinewidth=0.9,
                linestyle="-" if config.axis != "case" else "none",
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
                line = "--" if shown.sum() > 1 and config.axis != "case" else "none"
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
        axis.set_xlabel(_axis_label(config))
        axis.set_title(label, fontsize=9)
    handles = [Line2D([], [], linestyle="-", markersize=5, **style, label=name) for name, style in styles.items()]
    if config.kind == "model":
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
    """Gap against step at every point, at each optimizer's best rate: median line and 10-90% band.

    Raises:
        ValueError: results without curves.
    """
    config, curves = results.config, results.curves
    if curves is None:
        raise ValueError("results must hold curves, got those of a sweep that kept quantiles; use --keep rows.")
    styles = styles_of(config.optimizers)
    figure, axes = panels(curves.sizes["point"], rows_of_legend=legend_rows(config.optimizers))
    steps = curves["step"].values
    bottom = config.tolerance * _BELOW_TOLERANCE
    for p, axis in enumerate(axes):
        top = 1.0
        for o, style in enumerate(styles.values()):
            gap = curves["gap"][p, o].values
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
        axis.set_ylabel("gap / initial gap")
        axis.set_title(point_title(results, curves, p), fontsize=9)
    handles = [Line2D([], [], markersize=5, linewidth=1.5, **style, label=name) for name, style in styles.items()]
    handles.append(Line2D([], [], color="0.35", linestyle=":", label="tolerance"))
    finish(figure, axes, handles, f"Best rate of each optimizer; median and 10-90% of {config.seeds} problems")
    return figure


def styles_of(optimizers: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of every optimizer, the same in every figure."""
    colors = sns.color_palette("colorblind", min(len(optimizers), 10))
    return {name: {"color": colors[i % 10], "marker": _MARKERS[i % len(_MARKERS)]} for i, name in enumerate(optimizers)}


def legend_rows(optimizers: Sequence[str]) -> int:
    """Rows that a legend of so many and three more takes."""
    return math.ceil((len(optimizers) + 3) / 4)


@drawn
def panels(number: int, rows_of_legend: int) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels that share their y axis, and room for a legend below."""
    columns = 2 if number == 4 else min(number, _MOST_COLUMNS)  # three and one leave two places empty
    rows = math.ceil(number / columns)
    width = max(_PANEL[0] * columns, 6.4)
    figure = Figure(figsize=(width, _PANEL[1] * rows + 0.3 + 0.2 * rows_of_legend), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    axes: list[Axes] = list(grid.ravel())
    for axis in axes[number:]:
        axis.remove()
    for axis in axes[:number]:
        axis.grid(True, which="major", color="0.88", linewidth=0.6)
        axis.set_axisbelow(True)
    return figure, axes[:number]


def _positions(axis: Axes, name: str, values: list[Any]) -> np.ndarray:
    """X of every point, with a tick at each: on a log axis, or one after the other for cases."""
    if name == "case":
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
    if isinstance(config, ModelSweepConfig):
        return f"steps until unweighted loss ≤ {config.tolerance:g} ln(classes)"
    return f"steps until gap ≤ {_power(config.tolerance)} of the initial gap"


def _axis_label(config: SweepGrid) -> str:
    if isinstance(config, ModelSweepConfig):
        return _DIAL_LABELS[config.dial[0]] if len(config.dial) == 1 else "value of the dial"
    return "case" if config.axis == "case" else "Hessian heterogeneity (max L / min L over blocks)"


def _power(value: float) -> str:
    exponent = math.log10(value)
    return f"$10^{{{round(exponent)}}}$" if abs(exponent - round(exponent)) < 1e-9 else f"{value:g}"


def point_title(results: "Results", curves: xr.Dataset, point: int) -> str:
    """What a panel shows."""
    if results.config.axis == "case":
        parts = [str(curves["case"].values[point])]
    else:
        parts = [results.config.points[point].label]
        asked = float(curves["heterogeneity"].values[point])
        achieved = (
            float(curves["heterogeneity_achieved"].values[point]) if "heterogeneity_achieved" in curves else asked
        )
        if abs(achieved / asked - 1.0) > 1e-3:
            parts[0] += f" (achieved {achieved:.3g})"
    parts += [f"{name.replace('_', ' ')} {curves[name].values[point]}" for name in results.facets if name != "dial"]
    return ", ".join(parts)


def _legend_columns(figure: Figure, handles: list[Line2D]) -> int:
    """As many as fit side by side: six in a wide figure, four in others, fewer with long names (13 letters an inch)."""
    longest = (
        max((len(str(handle.get_label())) for handle in handles), default=1) + 7
    )  # the line and the space beside it
    most = 4 if figure.get_figwidth() < _WIDE else 6
    return max(1, min(len(handles), most, int(13 * figure.get_figwidth() / longest)))


def finish(figure: Figure, axes: list[Axes], handles: list[Line2D], title: str) -> None:
    """Title, legend, and no frame but the axes."""
    for axis in axes:
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        if not axis.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            axis.set_ylabel("")
    figure.suptitle(title, fontsize=9)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=_legend_columns(figure, handles),
        frameon=False,
        fontsize=8,
    )
