"""Axes whose ticks are computed once, for all files that are written from one layout.

Matplotlib computes the ticks of an axis again whenever it measures or draws the axis: their places, their labels, and a `Tick` of
five artists for each of them. On a log axis most of them are short marks without a label. This takes longer than all the rest.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axis import Axis, Tick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import Locator, NullLocator
from matplotlib.transforms import blended_transform_factory

__all__ = ["lay_out"]


class _FixedAxis(Artist):
    """What an axis draws, as it was when the layout was computed."""

    def __init__(self, parts: Sequence[Artist], zorder: float) -> None:
        super().__init__()
        self._parts = parts
        self.set_zorder(zorder)

    def draw(self, renderer: Any) -> None:
        """Draw lines, marks and labels."""
        for part in self._parts:
            part.draw(renderer)


def lay_out(figure: Figure) -> None:
    """Compute the layout of a figure at its present resolution, and replace its axes by what they then draw.

    Neither limits nor scales of the figure may change afterwards; its resolution may. The figure gets a canvas of Agg with one
    renderer, which keeps the formulas that it has parsed, 10 ms each: a PNG file of the same resolution finds them there.
    """
    canvas: Any = FigureCanvasAgg(figure)  # its methods have no types
    renderer = canvas.get_renderer()
    shown = [
        axis
        for axes in figure.axes
        if axes.name == "rectilinear" and axes.axison
        for axis in (axes.xaxis, axes.yaxis)
        if axis.get_visible()
    ]
    # Marks that are shorter than those of major ticks change no layout. Panels share locators: all are read before any is set.
    marks = {axis: axis.get_minor_locator() for axis in shown if _has_marks_alone(axis)}
    for axis in marks:
        axis.set_minor_locator(NullLocator())
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    for axis in shown:
        _fix(axis, marks.get(axis), renderer)


def _has_marks_alone(axis: Axis) -> bool:
    """Whether there are minor ticks, none of which has a label or a line of a grid, beside major ones."""
    minor = axis.get_minorticklocs()
    if not len(minor) or not len(axis.get_majorticklocs()) or axis.get_tick_params(which="minor").get("gridOn"):
        return False
    return not any(axis.get_minor_formatter().format_ticks(list(minor)))


def _fix(axis: Axis, marks: Locator | None, renderer: Any) -> None:
    """Replace an axis by what it draws; one whose labels share an offset or a factor stays as it is.

    Args:
        axis: of a figure whose layout is computed.
        marks: the locator of minor ticks that were taken away.
        renderer: measures texts.
    """
    figure, axes = axis.get_figure(root=True), axis.axes
    assert figure is not None
    assert axes is not None
    axis.get_tightbbox(renderer)  # computes the ticks, and moves the label beside them
    if axis.get_offset_text().get_text():
        if marks is not None:
            axis.set_minor_locator(marks)
        return
    parts: list[Artist] = []
    for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
        if _is_within(axis, tick.get_loc()):
            parts += [part for part in _parts_of(tick) if part.get_visible()]
    if marks is not None:
        parts += _marks(axis, marks)
    # The place of the label is in pixels across the axis, and in the axes' coordinates along it.
    x, y = axis.label.get_position()
    inches = figure.dpi_scale_trans
    if axis.axis_name == "x":  # type: ignore[attr-defined]
        axis.set_label_coords(x, y / figure.dpi, blended_transform_factory(axes.transAxes, inches))
    else:
        axis.set_label_coords(x / figure.dpi, y, blended_transform_factory(inches, axes.transAxes))
    axes.add_artist(_FixedAxis([*parts, axis.label], axis.get_zorder()))
    axis.set_visible(False)


def _is_within(axis: Axis, place: Any) -> Any:
    """Whether places lie on the part of an axis that is shown, up to rounding."""
    low, high = sorted(axis.get_transform().transform(np.array(axis.get_view_interval())))
    rounding = 1e-10 * (high - low)
    at = axis.get_transform().transform(np.asarray(place, dtype=float))
    return (at >= low - rounding) & (at <= high + rounding)


def _parts_of(tick: Tick) -> tuple[Artist, ...]:
    return tick.gridline, tick.tick1line, tick.tick2line, tick.label1, tick.label2


def _marks(axis: Axis, locator: Locator) -> list[Artist]:
    """Return all marks of minor ticks, as one line of markers a side."""
    axis.set_minor_locator(locator)
    places = axis.get_minorticklocs()
    axis.set_minor_locator(NullLocator())
    places = places[_is_within(axis, places)]
    (tick,) = axis.get_minor_ticks(1)
    figure = axis.get_figure(root=True)
    assert figure is not None
    lines: list[Artist] = []
    for one in (tick.tick1line, tick.tick2line):
        if one.get_visible():
            line = Line2D([], [])
            line.update_from(one)
            across = np.full(len(places), np.ravel(one.get_ydata() if axis.axis_name == "x" else one.get_xdata())[0])  # type: ignore[attr-defined]
            line.set_data(*((places, across) if axis.axis_name == "x" else (across, places)))  # type: ignore[attr-defined]
            line.set_figure(figure)
            lines.append(line)
    return lines
