"""What figures share: panels, a colour and a marker for every optimizer, the legend below, and files without dates."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from quadsim.simulator.figures.style import drawing, drawn
from quadsim.simulator.support import store
from quadsim.simulator.sweeps.config.families import family_of

if TYPE_CHECKING:
    from quadsim.simulator.sweeps.results.results import Results

__all__ = ["finish", "legend_rows", "panels", "point_title", "save_figure", "styles_of"]


DPI = 200  # of PNG files


_MARKERS = "osD^vPX*<"  # nine against ten colours: ninety different pairs


_PANEL = (4.2, 3.3)  # inches


_MOST_COLUMNS = 3


_WIDE = 8.0  # inches, from which six entries of a legend stand side by side


def save_figure(figure: Figure, folder: Path, name: str, own: Mapping[str, Any] | None = None) -> None:
    """Write a figure as PNG and PDF into a folder, which is made; without dates, so that the same results give the same file."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix, backend in (("png", "agg"), ("pdf", "pdf")):
        metadata = {"CreationDate": None, "ModDate": None} if suffix == "pdf" else {}

        def write(path: Path, metadata: dict[str, None] = metadata, backend: str = backend) -> None:
            with drawing(own):
                figure.savefig(path, dpi=DPI, metadata=metadata, backend=backend)

        store.write_whole(folder / f"{name}.{suffix}", write)


def styles_of(optimizers: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker of every optimizer, the same in every figure."""
    colors = sns.color_palette("colorblind", min(len(optimizers), 10))
    return {name: {"color": colors[i % 10], "marker": _MARKERS[i % len(_MARKERS)]} for i, name in enumerate(optimizers)}


def legend_rows(optimizers: Sequence[str]) -> int:
    """Rows that a legend of so many and three more takes."""
    return math.ceil((len(optimizers) + 3) / 4)


@drawn
def panels(number: int, rows_of_legend: int, columns: int | None = None) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels that share their y axis, and room for a legend below.

    Args:
        number: of the panels.
        rows_of_legend: of the legend below.
        columns: panels side by side; None: as many as fit.
    """
    if columns is None:
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


def point_title(results: "Results", curves: xr.Dataset, point: int) -> str:
    """What a panel shows."""
    config = results.config
    parts = [config.points[point].label]
    if not config.is_categorical:
        asked, name = float(curves[config.axis].values[point]), f"{config.axis}_achieved"
        achieved = float(curves[name].values[point]) if name in curves else asked
        if abs(achieved / asked - 1.0) > 1e-3:
            parts[0] += f" (achieved {achieved:.3g})"
    facets = [name for name in results.facets if name not in family_of(config).named_dials]
    parts += [f"{name.replace('_', ' ')} {curves[name].values[point]}" for name in facets]
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
