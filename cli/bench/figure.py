"""Draw the figure of quadsim bench: the time of every way over that of quadsim."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from quadsim.cli.bench import WAYS, Comparison
from quadsim.simulator.figures.panels import save_figure as save
from quadsim.simulator.figures.style import drawing

__all__ = ["save_figure"]


def save_figure(found: Sequence[Comparison], folder: Path) -> None:
    """Write bench.png and bench.pdf: one row per work, one mark with its spread per way, on a logarithmic axis."""
    own = sns.axes_style("whitegrid") | {"font.size": 9}
    with drawing(own):
        figure = _draw(found)
    save(figure, folder, "bench", own)


def _draw(found: Sequence[Comparison]) -> Figure:
    ways = [name for name in WAYS if name != "ours" and any(name in one.seconds for one in found)]
    figure = Figure(figsize=(7.0, 1.3 + 0.42 * len(found)), layout="constrained")
    axis = figure.subplots()
    colours, markers = sns.color_palette("colorblind", len(ways)), "osD^v"
    for number, name in enumerate(ways):
        rows = [(row, one.ratios(name)) for row, one in enumerate(found) if name in one.seconds]
        median = np.array([np.median(ratios) for _, ratios in rows])
        ends = np.array([[m - r.min(), r.max() - m] for m, (_, r) in zip(median, rows, strict=True)]).T
        place = [row + 0.12 * (number - (len(ways) - 1) / 2) for row, _ in rows]
        axis.errorbar(
            median,
            place,
            xerr=ends,
            fmt=markers[number % len(markers)],
            color=colours[number],
            label=name,
            capsize=2,
            ms=5,
        )
    axis.axvline(1.0, color="0.3", lw=1)
    axis.set_xscale("log")
    axis.set_yticks(range(len(found)), [_label(one) for one in found])
    axis.set_ylim(len(found) - 0.5, -0.5)
    axis.set_xlabel("time over ours (1: as fast as ours), median and range of the rounds")
    axis.grid(axis="y", visible=False)
    device = found[0].work.device
    figure.legend(loc="outside upper center", ncols=len(ways), frameon=False, title=f"{found[0].work.dtype}, {device}")
    return figure


def _label(one: Comparison) -> str:
    work = one.work
    return f"{work.rule}, {work.blocks} blocks of {work.block_size}"
