"""Draw the figure of verify: how close runs come to the bounds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from quadsim.cli.pages.reading import number
from quadsim.simulator.figures.panels import save_figure
from quadsim.simulator.figures.style import drawn
from quadsim.simulator.support import store
from quadsim.theory import THEOREMS

__all__ = ["FIGURE", "save_tightness"]

FIGURE = "tightness"
_SHOWN = 1.05  # position of a refuted theorem, beyond the bound


def save_tightness(reports: Sequence[Mapping[str, Any]], folder: Path) -> bool:
    """Draw the closeness for all known theorems, as PNG and PDF, if at least two of them have a value."""
    known = {report["name"]: report for report in reports if report["name"] in THEOREMS}
    rows = [
        (name, number(report.get("worst_margin")), number(report.get("tightness"))) for name, report in known.items()
    ]
    rows = [row for row in rows if np.isfinite(row[1:]).any()][::-1]
    if len(rows) < 2:
        return False
    save_figure(_draw(rows), folder / store.FIGURES, FIGURE)
    return True


@drawn
def _draw(rows: Sequence[tuple[str, float, float]]) -> Figure:
    figure = Figure(figsize=(6.4, 1.2 + 0.24 * len(rows)), layout="constrained")
    axis = figure.subplots()
    at = np.arange(len(rows))
    margins, tightness = (np.clip([row[k] for row in rows], -0.05, _SHOWN) for k in (1, 2))
    axis.axvline(1.0, color="0.35", linewidth=1.0, linestyle="--")
    axis.plot(margins, at, "o", markerfacecolor="none", color="#0173b2", label="worst margin over random instances")
    axis.plot(tightness, at, "D", markersize=4, color="#de8f05", label="tightness: the closest that the search found")
    axis.set_yticks(at, [row[0] for row in rows])
    axis.set_xlim(-0.06, _SHOWN + 0.01)
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.set_xlabel("seen / bound (dashed: the bound itself)")
    axis.grid(True, axis="y", color="0.88", linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure
