"""The figure of sweeps that are compared: the ratio of their steps along the axis, with intervals."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from quadsim.simulator.figures.marks import log_ticks
from quadsim.simulator.figures.palette import optimizer_styles
from quadsim.simulator.figures.panels import finish, panels
from quadsim.simulator.figures.style import drawn
from quadsim.simulator.sweeps.config.grid import value_text

if TYPE_CHECKING:
    from quadsim.simulator.sweeps.results.side_by_side import SideBySide

__all__ = ["ratio_figure"]

_NARROW = 4.0


@drawn
def ratio_figure(compared: "SideBySide") -> Figure:
    """Steps of B (and C) over those of A against the axis, a line per optimizer, bars for 95% intervals; log-log.

    A panel per sweep and combination of the facets. Ratios of which one side did not reach its tolerance are not drawn.
    """
    first = compared.sweeps[0]
    config, table = first.config, compared.table
    names = list(dict.fromkeys(table["optimizer"]))
    styles = optimizer_styles(names)
    facets = [name for name in first.facets if name in table]
    groups = list(table.groupby(["sweep", *facets], sort=False, dropna=False))
    figure, axes = panels(len(groups))
    for axis, (values, rows) in zip(axes, groups, strict=True):
        sweep, *others = values
        at = _places(axis, rows[config.axis].tolist(), names=config.is_categorical)
        for name in names:
            own = rows[rows["optimizer"] == name]
            _draw(axis, np.array([at[value] for value in own[config.axis]]), own, styles[name], config.is_categorical)
        axis.axhline(1.0, color="0.35", linewidth=1.0, linestyle=":")
        label = ", ".join(f"{n.replace('_', ' ')} {value_text(v)}" for n, v in zip(facets, others, strict=True))
        axis.set_title(", ".join(filter(None, (f"{sweep} over A", label))), fontsize=9)
        axis.set_xlabel(config.axis_label)
        axis.set_ylabel("ratio of median steps")
        log_ticks(axis)
        low, high = axis.get_ylim()
        if high < _NARROW * low:  # powers of ten and their halves would leave one label
            axis.yaxis.set_major_locator(MaxNLocator(5))
    handles = [Line2D([], [], label=name, markersize=5, **style) for name, style in styles.items()]
    finish(
        figure, axes, handles, "Above 1: more steps than A. Best rate of each optimizer; bars: 95% bootstrap intervals"
    )
    return figure


def _places(axis: Axes, values: Sequence[object], *, names: bool) -> dict[object, float]:
    """The place of every value along the axis, with a tick at each."""
    found = list(dict.fromkeys(values))
    places = {value: float(number) if names else float(str(value)) for number, value in enumerate(found)}
    if not names:
        axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(list(places.values())))
    axis.xaxis.set_major_formatter(FixedFormatter([str(v) if names else f"{float(str(v)):g}" for v in found]))
    axis.xaxis.set_minor_locator(NullLocator())
    return places


def _draw(axis: Axes, at: np.ndarray, rows: pd.DataFrame, style: dict[str, Any], categorical: bool) -> None:
    """One optimizer in a panel; an end of an interval that is not known, or not finite, is not drawn."""
    ratio, low, high = (rows[name].to_numpy() for name in ("ratio", "low", "high"))
    shown = np.isfinite(ratio) & (ratio > 0)
    below = np.where(np.isfinite(low) & (low > 0), ratio - low, 0.0)
    above = np.where(np.isfinite(high), high - ratio, 0.0)
    axis.errorbar(
        at[shown],
        ratio[shown],
        yerr=np.maximum([below[shown], above[shown]], 0.0),
        capsize=2,
        markersize=5,
        linewidth=1.4,
        elinewidth=0.9,
        **style | ({"linestyle": "none"} if categorical else {}),
    )
