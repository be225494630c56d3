"""What the figures of a sweep share: the place of runs that miss, log axes, hollow markers, entries of the legend."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from quadsim.simulator.figures.panels import power_text, text_width
from quadsim.simulator.sweeps.config.families import family_of
from quadsim.simulator.sweeps.config.grid import SweepGrid

__all__ = [
    "MISSED",
    "draw_band",
    "hollow",
    "log_ticks",
    "mark_end",
    "mark_size",
    "missed_band",
    "optimizer_handles",
    "places",
    "problems_text",
    "shift",
    "steps_label",
]

_BAND = 0.14
"""Share of the height of a log axis that is added for runs that miss."""

MISSED = {"linestyle": "none", "clip_on": False}

_MOST_TICKS = 8
_WIDEST_SHIFT = 0.045  # on a log axis, each way
_SLOT = 0.5  # of the place of a name that its optimizers share


def mark_size(factor: float) -> float:
    """Return a size of markers, as a multiple of that of the current style."""
    return factor * float(mpl.rcParams["lines.markersize"])


def hollow(style: Mapping[str, Any]) -> dict[str, Any]:
    """Return a style with a marker that is not filled."""
    return {**style, "fillstyle": "full", "markerfacecolor": "none"}


def missed_band(steps: int, lowest: float, share: float = _BAND) -> tuple[float, float]:
    """Return the height at which runs that do not reach the tolerance are drawn, and the top of their band.

    Args:
        steps: length of the runs, where the band begins.
        lowest: smallest number of steps that is drawn.
        share: height of the band over that of the rest.
    """
    factor = max((steps / max(lowest, 1.0)) ** share, 1.3)
    return steps * factor**0.35, steps * factor  # below the words of the band, which stand over the first points


def draw_band(axes: Sequence[Axes], steps: int, top: float, words: float = 0.8) -> None:
    """Shade the place of runs that miss, in panels of steps, which get a log axis that ends with it.

    Args:
        axes: the panels.
        steps: length of the runs, where the band begins.
        top: where it ends.
        words: height of its words within it, from 0 to 1.
    """
    for axis in axes:
        axis.set_yscale("log")  # before the limits, which on a linear axis may lie below 0
        axis.set_ylim(top=top)
        axis.axhspan(steps, top, color="0.93", linewidth=0, zorder=0)
        axis.text(
            0.015,
            steps * (top / steps) ** words,
            f"not within {steps} steps",
            transform=axis.get_yaxis_transform(),
            va="center",
            color="0.35",
            fontsize="x-small",
            zorder=1,
        )


def mark_end(axis: Axes, style: dict[str, Any], hit: float, level: float, last: tuple[float, float]) -> None:
    """Mark where a curve was solved; where the median run was not, a hollow marker stands at its end.

    Args:
        axis: the panel.
        style: colour, marker and line of the optimizer.
        hit: median steps until solved; `inf` where they are not reached.
        level: height of the criterion.
        last: the last point of the curve.
    """
    if np.isfinite(hit):
        edge = {"markeredgecolor": "0.15", "linestyle": "none", "zorder": 5, "clip_on": False}
        axis.plot(max(hit, 1.0), level, **{**style, **edge}, markersize=mark_size(1.4))
    else:
        axis.plot(*last, **{**hollow(style), **MISSED}, markersize=mark_size(1.2))


def log_ticks(axis: Axes) -> None:
    """A log axis of steps; where it spans little, with labels also between powers of ten, which alone would leave one or none."""
    axis.set_yscale("log")
    bottom, top = axis.get_ylim()
    if top < 300 * bottom:
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())


def places(axis: Axes, values: Sequence[Any], *, names: bool) -> np.ndarray:
    """X of every point, with a tick at each: on a log axis, or one after the other for names."""
    if names:
        labels = [str(value) for value in values]
        width, _ = axis.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
        room = 0.8 * width / axis.get_subplotspec().get_gridspec().ncols / len(values)  # type: ignore[union-attr]
        crowded = max(text_width(label, 9) for label in labels) > room
        turned: dict[str, Any] = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
        axis.set_xticks(range(len(values)), labels, **turned)
        axis.set_xlim(-0.5, len(values) - 0.5)
        return np.arange(len(values), dtype=float)
    x = np.asarray(values, dtype=float)
    axis.set_xscale("log")
    if len(set(values)) == 1:
        axis.set_xlim(x[0] / 2, x[0] * 2)
    if len(values) <= _MOST_TICKS:
        axis.xaxis.set_major_locator(FixedLocator(x.tolist()))
        axis.xaxis.set_major_formatter(FixedFormatter([f"{value:g}" for value in values]))
        axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_minor_formatter(NullFormatter())
    return x


def shift(x: np.ndarray, position: int, number: int, *, names: bool) -> np.ndarray:
    """A small step aside, so that error bars of several optimizers do not hide each other.

    On a log axis by less than 5% of the value; names have their optimizers side by side, nearer to their own name than to the
    next.

    Args:
        x: of the points.
        position: of the optimizer among those of the panel.
        number: of them.
        names: whether the axis holds names.
    """
    offset = (position - (number - 1) / 2) / max(number - 1, 1)  # from -1/2 to 1/2
    return x + _SLOT * offset if names else x * (1.0 + min(_WIDEST_SHIFT, 0.0225 * (number - 1))) ** (2 * offset)


def optimizer_handles(config: SweepGrid, styles: Mapping[str, Mapping[str, Any]], **look: Any) -> list[Line2D]:
    """Entries of the legend for the optimizers."""
    return [Line2D([], [], **{**style, **look}, label=config.names[text]) for text, style in styles.items()]


def problems_text(config: SweepGrid, *, bars: bool = True) -> str:
    """Return what is drawn of how many problems, as a part of a title."""
    number = len(config.reported)
    if number == 1:
        return "one problem"
    return f"median {'and 10-90% ' if bars else ''}of {number} problems"


def steps_label(config: SweepGrid) -> str:
    """Return the label of the axis of steps, with the criterion."""
    label, power = family_of(config).steps_label, _power(config.tolerance)
    asked = {name: f"{name} " if config.until == name else "" for name in ("stays", "mean")}
    return label.format(tolerance=config.tolerance, power=power, criterion=config.criterion, **asked)


def _power(value: float) -> str:
    exponent = math.log10(value)
    return power_text(round(exponent)) if abs(exponent - round(exponent)) < 1e-9 else f"{value:g}"
