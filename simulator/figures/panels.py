"""What figures share: panels, texts that fit, the legend below, and files without dates."""

import math
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import LogFormatterSciNotation

from quadsim.simulator.figures.files.fixed_axes import lay_out
from quadsim.simulator.figures.files.pdf_fonts import small_fonts
from quadsim.simulator.figures.palette import styles_of
from quadsim.simulator.figures.style import COLUMN, current_style, drawing, drawn
from quadsim.simulator.rules.momentum import FAMILY_WORDS
from quadsim.simulator.support import store
from quadsim.simulator.sweeps.config.families import family_of
from quadsim.simulator.sweeps.config.grid import SweepGrid

if TYPE_CHECKING:
    from quadsim.simulator.sweeps.results.results import Results

__all__ = [
    "MOST_TOGETHER",
    "SweepFigure",
    "balanced",
    "columns_of",
    "figure_from",
    "finish",
    "panels",
    "parts_of",
    "point_title",
    "power_text",
    "save_figure",
    "styles_of",
    "text_width",
    "wrapped",
]


DPI = 200  # of PNG files


MOST_TOGETHER = 8
"""Optimizers that one panel shows; of more, every family has panels of its own."""


_PANEL = (4.2, 3.3)  # inches


_NARROWEST = 6.4  # inches


_MOST_COLUMNS = 3
_MOST_VALUES = 4  # of a dial, side by side


_WIDE = 8.0  # inches, from which six entries of a legend stand side by side


_LINE = 1.45  # height of a line of text, in font sizes


_NO_LAYOUT: dict[Any, Any] = {"figure.autolayout": False, "figure.constrained_layout.use": False}
"""Settings with which a figure whose layout engine is None keeps none, also where those of the user name one."""


_PAPER_SPACING = 1.0  # lines of a label; of these fonts a unit of Matplotlib is 1.5 font sizes
_PAPER_SPACING_OF_FORMULAS = 1.25  # a relation sign reaches below its line


@dataclass(frozen=True)
class SweepFigure:
    """A figure of a sweep with the table of the numbers that it shows.

    Calling it with `Results` returns the `Figure`.

    Attributes:
        table: returns the numbers, as they are drawn.
        draw: draws the figure from the results' configuration and these numbers alone.
    """

    table: "Callable[[Results], pd.DataFrame]"
    draw: "Callable[[Results, pd.DataFrame], Figure]"

    def __call__(self, results: "Results") -> Figure:
        """Return the figure."""
        return self.draw(results, self.table(results))


def figure_from(
    table: "Callable[[Results], pd.DataFrame]",
) -> "Callable[[Callable[[Results, pd.DataFrame], Figure]], SweepFigure]":
    """Make a function that draws a table into a `SweepFigure`, drawn in the chosen style.

    Args:
        table: returns the numbers that the function draws.
    """

    def decorate(draw: "Callable[[Results, pd.DataFrame], Figure]") -> SweepFigure:
        return SweepFigure(table, drawn(draw))

    return decorate


def save_figure(
    figure: Figure, folder: Path, name: str, own: Mapping[str, Any] | None = None, table: pd.DataFrame | None = None
) -> None:
    """Write a figure as PNG and PDF into a folder, which is made; without dates, so that the same results give the same file.

    In the style `paper` it is written as PGF as well, where the LaTeX that measures its texts is installed.

    Args:
        figure: the figure.
        folder: the folder.
        name: of the files, without suffix.
        own: see `drawing`.
        table: the numbers that the figure shows, written as CSV beside it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    formats = [("png", None), ("pdf", "pdf")]  # PNG by the canvas that the layout has used
    with drawing(own):
        user = current_style() == "user" and mpl.rcParams["savefig.dpi"] != "figure"
        dpi = mpl.rcParams["savefig.dpi"] if user else DPI
        if current_style() == "paper" and shutil.which(mpl.rcParams["pgf.texsystem"]) is not None:
            formats.append(("pgf", "pgf"))
        _lay_out(figure, dpi)
    for suffix, backend in formats:
        metadata = {"CreationDate": None, "ModDate": None} if suffix == "pdf" else {}

        def write(path: Path, metadata: dict[str, None] = metadata, backend: str | None = backend) -> None:
            with drawing(own), mpl.rc_context(_NO_LAYOUT), small_fonts():
                figure.savefig(path, dpi=dpi, metadata=metadata, backend=backend)

        store.write_whole(folder / f"{name}.{suffix}", write)
    if table is not None:
        store.write_csv(folder / f"{name}.csv", table)


def _lay_out(figure: Figure, dpi: float) -> None:
    """Compute the layout of a figure once for all its files, as it is at the resolution of the PNG file.

    A figure without a layout engine is drawn once a file. With one, also with that which only holds the place of another
    ("none"), Matplotlib draws it twice: the first time for the layout alone.
    """
    own = figure.dpi
    figure.dpi = dpi
    lay_out(figure)
    figure.dpi = own
    if figure.get_layout_engine() is not None:
        with mpl.rc_context(_NO_LAYOUT):
            figure.set_layout_engine(None)


def parts_of(config: SweepGrid, *, by_family: bool = False) -> list[tuple[str, list[str]]]:
    """Return the optimizers that share a panel, with the words of their panel's title.

    Args:
        config: the grid.
        by_family: whether optimizers without and with momentum are apart even where all of them fit into one panel.

    Returns:
        (words, texts of optimizers); the words are empty where there is one part.
    """
    if not by_family and len(config.optimizers) <= MOST_TOGETHER:
        return [("", list(config.optimizers))]
    out = []
    for family, texts in config.families.items():
        number = math.ceil(len(texts) / MOST_TOGETHER)
        size = math.ceil(len(texts) / number)
        for i in range(number):
            words = FAMILY_WORDS[family] if len(config.families) > 1 else ""
            several = f"{i + 1} of {number}" if number > 1 else ""
            out.append((", ".join(filter(None, (words, several))), texts[i * size : (i + 1) * size]))
    return out


def columns_of(config: SweepGrid) -> int | None:
    """Return how many panels a figure with a panel for every point has side by side; None: as many as fit.

    Parts of the optimizers are side by side, or, where several dials are crossed, the values of the dial that varies fastest, if
    there are at most four: then a row of panels is one value of the other dials.
    """
    parts = len(parts_of(config))
    if parts > 1:
        return parts
    points = pd.DataFrame([point.columns for point in config.points], columns=list(config.point_columns))
    varied = [name for name in points if len(points) > 1 and not _same(points[name][0], points[name][1])]
    again = [i for i in range(2, len(points)) if varied and _same(points[varied[0]][i], points[varied[0]][0])]
    return again[0] if again and again[0] <= _MOST_VALUES else None


def _same(one: object, other: object) -> bool:
    return bool(one == other) or bool(pd.isna([one, other]).all())


@drawn
def panels(number: int, columns: int | None = None) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels that share their y axis; `finish` makes room for a legend.

    Args:
        number: of the panels.
        columns: panels side by side; None: as many as fit.
    """
    paper = current_style() == "paper"
    if columns is None or paper:
        most = 2 if paper or number == 4 else _MOST_COLUMNS  # three and one leave two places empty
        columns = min(number, most)
    rows = math.ceil(number / columns)
    default = tuple(mpl.rcParamsDefault["figure.figsize"])
    asked = tuple(mpl.rcParams["figure.figsize"])
    width, height = asked if current_style() == "user" and asked != default else _PANEL
    size = (max(width * columns, _NARROWEST), height * rows)
    if paper:
        size = (COLUMN, (2.2 if columns == 1 else 1.7) * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    axes: list[Axes] = list(grid.ravel())
    for axis in axes[number:]:
        axis.remove()
    if current_style() != "user":
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
    parts += [f"{name.replace('_', ' ')} {_plain(curves[name].values[point])}" for name in facets]
    return ", ".join(parts)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def text_width(text: str, size: Any) -> float:
    """Return the width of the widest line of a text in inches, in the font of the current style.

    Args:
        text: may hold mathtext.
        size: in points, or relative as `small`.
    """
    font = FontProperties(size=size)
    lines = text.split("\n")
    return float(max(_renderer().get_text_width_height_descent(line, font, "$" in line)[0] for line in lines) / 72)


@cache
def _renderer() -> Any:
    """What measures texts; it keeps the formulas that it has parsed."""
    return RendererAgg(1, 1, 72)  # type: ignore[no-untyped-call]


def wrapped(text: str, width: float, size: Any) -> str:
    """Return a text with line breaks, so that it is at most so many inches wide where its words allow that.

    Lines break at blanks, and, where a word alone is too wide, after a colon, a comma, an equals sign or a bar.
    """
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if text_width(longer, size) <= width:
            lines[-1] = longer
            continue
        pieces = [word] if text_width(word, size) <= width or "$" in word else _pieces(word)
        if lines[-1]:
            lines.append("")
        for piece in pieces:
            if lines[-1] and text_width(lines[-1] + piece, size) > width:
                lines.append("")
            lines[-1] += piece
    return "\n".join(lines)


def balanced(text: str, width: float, size: Any) -> str:
    """Return `wrapped` text with as many lines, but of about equal length, so that no word stands alone on the last one.

    Of two lines the second is what stands in brackets, where the text ends with them, or after the only comma.
    """
    best = wrapped(text, width, size)
    lines = best.count("\n")
    at_comma, at_bracket = text.replace(", ", ",\n"), text.replace(" (", "\n(")
    for apart in (at_bracket if text.endswith(")") else "", at_comma):
        if lines == 1 and apart.count("\n") == 1 and text_width(apart, size) <= width:
            return apart
    while lines:
        narrower = wrapped(text, width := 0.95 * width, size)
        if narrower.count("\n") > lines:
            break
        best = narrower
    return best


def _pieces(word: str) -> list[str]:
    out = [""]
    for letter in word:
        out[-1] += letter
        if letter in ":,=|":
            out.append("")
    return [piece for piece in out if piece]


def finish(figure: Figure, axes: Sequence[Axes], handles: Sequence[Any], title: str) -> None:
    """Add title and legend, for which the figure grows, break texts that are too long, and leave no frame but the axes.

    A figure for a paper has no title, as its caption stands in the text.
    """
    with drawing():
        _finish(figure, axes, handles, title)


def _finish(figure: Figure, axes: Sequence[Axes], handles: Sequence[Any], title: str) -> None:
    width, height = figure.get_size_inches()
    grid = axes[0].get_subplotspec().get_gridspec() if axes else None  # type: ignore[union-attr]
    panel = (width / grid.ncols, height / grid.nrows) if grid is not None else (width, height)
    paper = current_style() == "paper"
    for axis in axes:
        _widen(axis)
        if current_style() != "user":
            for side in ("top", "right"):
                axis.spines[side].set_visible(False)
            if _powers_are_text():
                _write_powers(axis)
        if not axis.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            axis.set_ylabel("")
        for text, room in (
            (axis.title, 0.75 * panel[0]),
            (axis.xaxis.label, (0.85 if paper else 0.75) * panel[0]),
            (axis.yaxis.label, 0.8 * panel[1]),
        ):
            text.set_text(balanced(text.get_text(), room, text.get_fontsize()))
            if paper:
                text.set_linespacing(_PAPER_SPACING_OF_FORMULAS if "$" in text.get_text() else _PAPER_SPACING)
    if paper:
        _label_last_row(axes)
    added = 0.0
    if title and current_style() != "paper":
        shown = figure.suptitle(title)
        shown.set_text(balanced(title, 0.95 * width, shown.get_fontsize()))
        added += _LINE * float(shown.get_fontsize()) * (shown.get_text().count("\n") + 1) / 72
    if handles:
        added += _add_legend(figure, handles, width)
    figure.set_size_inches(width, height + added)


def _widen(axis: Axes) -> None:
    """Show from half to twice the value on a logarithmic axis on which all data have one value.

    Matplotlib finds room for a single value itself, but not where error bars have rounded the limits of the data: such an axis
    spans 1e-15 of the value, and nothing on it is drawn.
    """
    for scale, ends, limit in (
        (axis.get_xscale(), axis.get_xlim(), axis.set_xlim),
        (axis.get_yscale(), axis.get_ylim(), axis.set_ylim),
    ):
        if scale == "log" and max(ends) < (1.0 + 1e-9) * min(ends):
            limit(min(ends) / 2, max(ends) * 2)


_TIMES, _MINUS = "\u00d7", "\u2212"
_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


class _Powers(LogFormatterSciNotation):
    """Labels of a log axis as text with raised digits, as 10⁻³.

    Matplotlib writes them as formulas, and parses each of them for every size of its files: a tenth of the time of a figure.
    """

    def __call__(self, x: float, pos: int | None = None) -> str:
        """Return the label of a place."""
        found = super().__call__(x, pos)
        power = _POWER.fullmatch(found)
        if power is None:
            return str(found)
        base, raised = power.groups(default="")
        return base.replace(r"\times", _TIMES).replace("-", _MINUS) + raised.translate(_RAISED)


_POWER = re.compile(r"\$\\mathdefault\{([^{}^]*)(?:\^\{(-?\d+)\})?\}\$")
"""A label of Matplotlib: a number, or a power with an integer as exponent."""


def power_text(exponent: int) -> str:
    """Return a power of ten, as the labels of log axes have it in the current style."""
    return f"10{str(exponent).translate(_RAISED)}" if _powers_are_text() else f"$10^{{{exponent}}}$"


def _powers_are_text() -> bool:
    """Whether powers are text with raised digits: not in styles with fonts of the user's or of a paper."""
    return current_style() == "quadsim" and _has_raised_digits()


@cache
def _has_raised_digits() -> bool:
    """Whether the font of the style "quadsim" has all signs of such labels."""
    with drawing():
        font = get_font(findfont(FontProperties()))
    return all(font.get_char_index(sign) for sign in (*_RAISED.values(), ord(_TIMES), ord(_MINUS)))


def _write_powers(axes: Axes) -> None:
    """Write the labels of log axes as text, where Matplotlib's own are to be written."""
    for axis in (axes.xaxis, axes.yaxis):
        if type(axis.get_major_formatter()) is LogFormatterSciNotation:
            axis.set_major_formatter(_Powers())
        if type(axis.get_minor_formatter()) is LogFormatterSciNotation:
            axis.set_minor_formatter(_Powers())


def _label_last_row(axes: Sequence[Axes]) -> None:
    """Leave the x label only to the lowest panel of a column, where all have the same: rows of a column of a paper are low."""
    if len({axis.get_xlabel() for axis in axes}) > 1:
        return
    columns = [axis.get_subplotspec().colspan.start for axis in axes]  # type: ignore[union-attr]
    for i, axis in enumerate(axes):
        if columns[i] in columns[i + 1 :]:
            axis.set_xlabel("")


def _add_legend(figure: Figure, handles: Sequence[Any], width: float) -> float:
    """Add the legend below, with as many columns as fit; returns its height in inches."""
    size = FontProperties(size=mpl.rcParams["legend.fontsize"]).get_size_in_points()
    beside = (mpl.rcParams["legend.handlelength"] + 1.0 + 1.2) * size / 72  # the line, and the spaces beside it
    labels = [wrapped(str(handle.get_label()), 0.95 * width - beside, size) for handle in handles]
    most = 4 if width < _WIDE else 6
    columns = min(len(labels), most)
    while columns > 1:  # a column is as wide as its widest entry; Matplotlib deals entries out as array_split does
        each = np.array_split(np.array(labels, dtype=object), columns)
        if sum(max(text_width(label, size) for label in column) + beside for column in each) <= 0.97 * width:
            break
        columns -= 1
    rows = math.ceil(len(labels) / columns)
    lines = max(label.count("\n") + 1 for label in labels)
    figure.legend(
        handles=list(handles),
        labels=labels,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=size,
        columnspacing=1.2,
    )
    return rows * lines * _LINE * size / 72 + 0.15
