"""The heat map of a sweep over crossed dials: who needs the fewest steps where, and by what factor."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Patch, Rectangle

from quadsim.simulator.figures.marks import problems_text
from quadsim.simulator.figures.palette import optimizer_styles
from quadsim.simulator.figures.panels import figure_from, finish, panels, text_width, wrapped
from quadsim.simulator.rules.momentum import FAMILY_WORDS
from quadsim.simulator.sweeps.config.grid import SweepGrid, option_name
from quadsim.simulator.sweeps.results.answers.words import number_text

if TYPE_CHECKING:
    from quadsim.simulator.sweeps.results.comparison import Comparison
    from quadsim.simulator.sweeps.results.results import Results

__all__ = ["winner_figure", "winner_table"]

_STRONGEST = 100.0
"""Factor from which a winner has the full colour."""

_FAINTEST = 0.3
_SPACING = 1.35  # between lines of a cell, in font sizes
_NOBODY = "none"
_HATCH = "////"


def winner_table(results: "Results") -> pd.DataFrame:
    """What the heat map shows.

    Returns:
        A row per family and point: panel, the dials, column and row (of the cell, from the left and from the bottom), winner (the
        optimizers within 10% of the fewest steps, joined by a comma; empty where none reaches the tolerance), next (the best of
        the others), factor (of the median steps, next over winner; of a next one that does not reach the tolerance the length of
        the runs over the winner's steps, and at_least is true), low and high (95% interval; NaN where not known) and
        distinguishable (whether there is one winner and the interval lies above 1).
    """
    config = results.config
    first, *others = _crossed(config)
    ranks = {name: _ranks(list(results.best[name].unique())) for name in (first, *others)}
    out = []
    for words, texts in _compared(config):
        for group in results.compared:
            for point in group.comparison.points:
                own = results.best[results.best["point"] == point].iloc[0]
                dials = {name: own[name] for name in (first, *others)}
                place = tuple(ranks[name][value] for name, value in dials.items())
                cell = {"column": place[0], "row": place[1:]}
                out.append({"panel": words, **dials, **cell, **_winner(group.comparison, point, texts)})
    heights = {place: row for row, place in enumerate(sorted({cell["row"] for cell in out}))}
    return pd.DataFrame([cell | {"row": heights[cell["row"]]} for cell in out])


def _ranks(values: list[Any]) -> dict[Any, int]:
    """The place of every value on its side of the map: numbers ascend, also after an extension; words are in the order given."""
    numbers = all(isinstance(value, float | int | np.integer) for value in values)
    return {value: place for place, value in enumerate(sorted(values) if numbers else values)}


def _winner(comparison: "Comparison", point: int, texts: Sequence[str]) -> dict[str, Any]:
    """Who is ahead at a point, and by how much."""
    lead = comparison.lead(point, texts)
    out = {"winner": ", ".join(lead.ahead), "next": lead.next, "factor": np.nan, "low": np.nan, "high": np.nan}
    alone = len(lead.ahead) == 1
    out |= {"at_least": False, "distinguishable": alone and lead.is_certain, "unsure": ", ".join(lead.unsure)}
    if lead.ahead and lead.next:
        ahead = min(lead.ahead, key=lambda text: comparison.medians[point, text])
        ratio = comparison.ratio((point, lead.next), (point, ahead))
        out |= {"factor": ratio.value, "low": ratio.low, "high": ratio.high}
        if math.isinf(ratio.value):
            steps = max(comparison.medians[point, ahead], 1.0)
            out |= {"factor": comparison.steps / steps, "at_least": True}
    return out


def _crossed(config: SweepGrid) -> list[str]:
    """The dials that take several values, the compared one first."""
    values = {point.columns[config.axis] for point in config.points}
    return [*([config.axis] if len(values) > 1 else []), *config.facets]


def _compared(config: SweepGrid) -> list[tuple[str, list[str]]]:
    """The optimizers that are compared with each other: within a family; all where every one is alone in its family."""
    several = {name: texts for name, texts in config.families.items() if len(texts) > 1}
    if not several:
        return [("", list(config.optimizers))]
    return [(FAMILY_WORDS[name] if len(config.families) > 1 else "", texts) for name, texts in several.items()]


@figure_from(winner_table)
def winner_figure(results: "Results", table: pd.DataFrame) -> Figure:
    """Who needs the fewest steps at every point of two crossed dials, and how many times fewer than the next one.

    A panel per family. The colour is that of the winner, the stronger the larger the factor; cells are hatched where the winner
    cannot be told from the next one (within 10%, or the 95% interval of the ratio holds 1).
    """
    config, styles = results.config, optimizer_styles(results.config.optimizers)
    first, *others = _crossed(config)
    groups = [rows for _, rows in table.groupby("panel", sort=False)]
    figure, axes = panels(len(groups))
    for axis, cells in zip(axes, groups, strict=True):
        across, up = (cells.drop_duplicates(side).sort_values(side) for side in ("column", "row"))
        axis.set_xlim(-0.5, len(across) - 0.5)
        axis.set_ylim(-0.5, len(up) - 0.5)
        axis.grid(visible=False)
        axis.set_xticks(range(len(across)), [_value(value) for value in across[first]])
        axis.set_yticks(range(len(up)), [", ".join(_value(row[name]) for name in others) for _, row in up.iterrows()])
        axis.tick_params(length=0)
        axis.set_xlabel(config.axis_label if first == config.axis else option_name(first))
        axis.set_ylabel(", ".join(map(option_name, others)))
        axis.set_title(cells["panel"].iloc[0])
        columns = axis.get_subplotspec().get_gridspec().ncols  # type: ignore[union-attr]
        width = 0.8 * figure.get_figwidth() / columns / len(across)
        height = 0.6 * figure.get_figheight() / math.ceil(len(axes) / columns) / len(up)
        for _, cell in cells.iterrows():
            _draw_cell(axis, cell, config, styles, (width, height))
    shown = [text for text in config.optimizers if table["winner"].eq(text).any()]  # a tie has no colour
    handles = [Patch(color=styles[text]["color"], label=config.names[text]) for text in shown]
    if not table["distinguishable"].all():
        handles.append(Patch(facecolor="white", edgecolor="0.35", hatch=_HATCH, label="not distinguishable"))
    title = f"Who needs the fewest steps, and how many times fewer than the next; {problems_text(config, bars=False)}"
    finish(figure, axes, handles, title)
    return figure


def _draw_cell(
    axis: Axes, cell: pd.Series, config: SweepGrid, styles: dict[str, dict[str, Any]], room: tuple[float, float]
) -> None:
    """One cell of the heat map.

    Args:
        axis: the panel.
        cell: a row of `winner_table`.
        config: the grid.
        styles: of the optimizers.
        room: width and height of the cell, in inches.
    """
    ahead = [text for text in cell["winner"].split(", ") if text]
    color: Any = "white"
    look: dict[str, Any] = {}
    if len(ahead) == 1 and np.isfinite(cell["factor"]):
        strength = min(math.log(max(cell["factor"], 1.0)) / math.log(_STRONGEST), 1.0)
        strength = _FAINTEST + (1.0 - _FAINTEST) * strength
        color = tuple(1.0 - strength * (1.0 - part) for part in to_rgb(styles[ahead[0]]["color"]))
    if ahead and not cell["distinguishable"]:
        look = {"hatch": _HATCH}
    corner = (cell["column"] - 0.5, cell["row"] - 0.5)
    axis.add_patch(Rectangle(corner, 1, 1, facecolor=color, edgecolor="0.6", linewidth=0.6, **look))
    names = " = ".join(config.names[text] for text in ahead) or _NOBODY
    factor = (
        f"{'over ' if cell['at_least'] else ''}{number_text(cell['factor'])}x"
        if np.isfinite(cell["factor"]) and len(ahead) == 1
        else ""
    )
    size = FontProperties(size=mpl.rcParams["legend.fontsize"]).get_size_in_points()
    text = "\n".join(filter(None, (wrapped(names, room[0], size), factor)))
    spaced = _SPACING * size * (text.count("\n") + 1) / 72
    size *= min(1.0, room[0] / max(text_width(text, size), 1e-6), room[1] / spaced)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85}
    axis.text(cell["column"], cell["row"], text, ha="center", va="center", fontsize=size, linespacing=0.9, bbox=box)


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float | int) else str(value)
