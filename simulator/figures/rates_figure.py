"""The figure of steps against the learning rate: how much hangs on the choice of the rate, and whether the grid ends too soon."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from quadsim.simulator.figures.marks import (
    MISSED,
    draw_band,
    hollow,
    log_ticks,
    mark_size,
    missed_band,
    optimizer_handles,
    problems_text,
    steps_label,
)
from quadsim.simulator.figures.palette import optimizer_styles
from quadsim.simulator.figures.panels import columns_of, figure_from, finish, panels, parts_of
from quadsim.simulator.figures.style import current_style
from quadsim.simulator.sweeps.config.grid import value_text

if TYPE_CHECKING:
    from quadsim.simulator.sweeps.results.results import Results

__all__ = ["rates_figure", "rates_table"]

_LANES, _PAPER_LANES = 0.3, 0.4  # of the height of the axis, for rates that miss
_WORDS, _PAPER_WORDS = 1.8, 2.5  # lanes that the words of the band take: the rows of a paper are low


def rates_table(results: "Results") -> pd.DataFrame:
    """What the figure of rates shows: every rate that was tried with the setting that is best at the point.

    Returns:
        A row per panel, optimizer and rate, with panel, the dials, optimizer, setting, lr, steps_median (`inf`: not within the
        length of the runs), reached and diverged (fractions of the runs), end (whether the rate is the smallest or the largest
        that was tried) and best.
    """
    config, best = results.config, results.best.set_index(["point", "optimizer"])
    rates = {
        key: rows.sort_values("lr")
        for key, rows in results.tables.rates.groupby(["point", "optimizer", "setting"], sort=False)
    }
    out = []
    for p, point in enumerate(config.points):
        for words, texts in parts_of(config):
            for text in texts:
                chosen: Any = best.loc[(p, text)]
                rows = rates[p, text, chosen["setting"]]
                facets = [f"{name.replace('_', ' ')} {value_text(chosen[name])}" for name in results.facets]
                lr = rows["lr"].to_numpy()
                columns = {
                    "panel": ", ".join(filter(None, (words, point.label, *facets))),
                    **{name: chosen[name] for name in (config.axis, *results.facets)},
                    "optimizer": text,
                    **{
                        name: rows[name].to_numpy() for name in ("setting", "lr", "steps_median", "reached", "diverged")
                    },
                    "end": (lr == lr.min()) | (lr == lr.max()),
                    "best": lr == chosen["lr"],
                }
                out.append(pd.DataFrame(columns))
    return pd.concat(out, ignore_index=True)


@figure_from(rates_table)
def rates_figure(results: "Results", table: pd.DataFrame) -> Figure:
    """Median steps against the learning rate, a panel per point, a line per optimizer.

    The smallest and the largest rate that were tried have open markers, the best rate has a black edge. Rates at which the
    median run does not reach the tolerance lie in a band at the top.
    """
    config, styles = results.config, optimizer_styles(results.config.optimizers)
    groups = [rows for _, rows in table.groupby("panel", sort=False)]
    figure, axes = panels(len(groups), columns_of(results.config))
    steps = table["steps_median"].to_numpy()
    lanes, words = (_PAPER_LANES, _PAPER_WORDS) if current_style() == "paper" else (_LANES, _WORDS)
    _, top = missed_band(config.steps, float(np.min(steps, initial=config.steps, where=steps > 0.0)), lanes)
    for axis, rows in zip(axes, groups, strict=True):
        axis.set_xscale("log")
        texts = list(dict.fromkeys(rows["optimizer"]))
        for lane, text in enumerate(texts):  # each has a lane of its own in the band, below its words
            share = (len(texts) - lane - 0.5) / (len(texts) + words)
            height = config.steps * (top / config.steps) ** share
            _draw_rates(axis, rows[rows["optimizer"] == text], styles[text], height)
        axis.set_title(rows["panel"].iloc[0])
        axis.set_xlabel("learning rate")
        axis.set_ylabel(steps_label(config))
    if np.isinf(steps).any():
        draw_band(axes, config.steps, top, words=0.91)
    for axis in axes:
        log_ticks(axis)
    plain: dict[str, Any] = {"linestyle": "none", "marker": "o", "color": "0.5"}
    handles = [
        *optimizer_handles(config, styles),
        Line2D([], [], **plain, markeredgecolor="black", label="best rate"),
        Line2D([], [], **plain, markerfacecolor="none", label="end of the rates tried"),
    ]
    finish(figure, axes, handles, f"Every rate that was tried; {problems_text(config, bars=False)}")
    return figure


def _draw_rates(axis: Axes, rows: pd.DataFrame, style: dict[str, Any], height: float) -> None:
    """One optimizer in a panel.

    Args:
        axis: the panel.
        rows: of `rates_table`.
        style: colour, marker and line.
        height: at which rates are drawn that miss.
    """
    lr, steps = rows["lr"].to_numpy(), rows["steps_median"].to_numpy()
    end, best = rows["end"].to_numpy(), rows["best"].to_numpy()
    missed = ~np.isfinite(steps)
    y = np.where(missed, height, steps)
    axis.plot(lr, np.where(missed, np.nan, steps), **{**style, "marker": ""}, alpha=0.85)
    chosen_look = {
        **(hollow(style) if end[best].any() else style),
        "markeredgecolor": "black",
        "markersize": mark_size(1.6),
        "zorder": 5,
    }
    for where, look in ((~end & ~best, style), (end & ~best, hollow(style)), (best, chosen_look)):
        for some, size in (
            (where & ~missed, {}),
            (where & missed, {"markersize": mark_size(1.0 if look is chosen_look else 0.6)}),
        ):
            if some.any():  # an unclipped line without points would upset the layout
                axis.plot(lr[some], y[some], **{**look, **MISSED, **size})
