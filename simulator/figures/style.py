"""How figures look: as this project has them, whatever the user's matplotlibrc says; on request as a paper or the user has them.

Figures are made as `matplotlib.figure.Figure` and saved through Agg and the PDF writer. Nothing goes through pyplot, so that the
user's backend is neither needed nor changed.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from quadsim.simulator.support.checks import check_choice

__all__ = ["COLUMN", "STYLES", "chosen_style", "current_style", "drawing", "drawn", "figure_style"]

STYLES = ("quadsim", "paper", "user")
"""`quadsim`: Matplotlib's defaults and our settings. `paper`: a column of a two-column paper, with its fonts. `user`: the
settings (rcParams) of whoever runs this."""

COLUMN = 3.3
"""Width of a column of a two-column paper, in inches."""

_NOT_LOOKS = ("backend", "interactive")  # settings that are no part of how a figure looks

_style: ContextVar[str] = ContextVar("style", default="quadsim")

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def chosen_style(name: str) -> Iterator[None]:
    """Within it, figures are drawn in this style.

    Raises:
        ValueError: a name that is not in STYLES.
    """
    token = _style.set(check_choice("style", name, STYLES))
    try:
        yield
    finally:
        _style.reset(token)


def current_style() -> str:
    """Return the name of the style in which figures are drawn now."""
    return _style.get()


@contextmanager
def drawing(own: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Within it, Matplotlib has the settings of the chosen style; afterwards it has those that it had before.

    A figure is both made and saved within it, as Matplotlib reads settings at either time.

    Args:
        own: settings on top of Matplotlib's defaults; None: those of most figures here.
    """
    import matplotlib as mpl

    if _style.get() == "user":
        with mpl.rc_context():
            yield
        return
    defaults: dict[Any, Any] = {name: value for name, value in mpl.rcParamsDefault.items() if name not in _NOT_LOOKS}
    paper = _PAPER if _style.get() == "paper" else {}
    with mpl.rc_context(defaults | dict(figure_style() if own is None else own) | paper):
        yield


def drawn(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function that draws a figure do so in the chosen style."""

    @wraps(function)
    def within(*args: P.args, **kwargs: P.kwargs) -> T:
        with drawing():
            return function(*args, **kwargs)

    return within


def figure_style() -> dict[str, Any]:
    """The plain style, with fonts that journals accept (TrueType in PDF)."""
    return {**_PLAIN, **_SIZES, "pdf.fonttype": 42}


_PLAIN: dict[str, Any] = {
    # The style "ticks" in the context "paper" of seaborn 0.13, written out: seaborn imports scipy.stats, which takes longer
    # than all figures. Its colour map is left out: every image names its own.
    "axes.axisbelow": True,
    "axes.edgecolor": ".15",
    "axes.facecolor": "white",
    "axes.grid": False,
    "axes.labelcolor": ".15",
    "axes.linewidth": 1.0,
    **{f"axes.spines.{side}": True for side in ("bottom", "left", "right", "top")},
    "figure.facecolor": "white",
    "font.family": ["sans-serif"],
    "font.sans-serif": ["Arial", "DejaVu Sans", "Liberation Sans", "Bitstream Vera Sans", "sans-serif"],
    **dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize", "legend.title_fontsize"), 9.6),
    **dict.fromkeys(("legend.fontsize", "xtick.labelsize", "ytick.labelsize"), 8.8),
    "grid.color": ".8",
    "grid.linestyle": "-",
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.8,
    "lines.solid_capstyle": "round",
    "patch.edgecolor": "w",
    "patch.force_edgecolor": True,
    "patch.linewidth": 0.8,
    "text.color": ".15",
    **{
        f"{side}tick.{what}": value
        for side in "xy"
        for what, value in (
            ("color", ".15"),
            ("direction", "out"),
            ("major.size", 4.8),
            ("major.width", 1.0),
            ("minor.size", 3.2),
            ("minor.width", 0.8),
        )
    },
    **{"xtick.bottom": True, "xtick.top": False, "ytick.left": True, "ytick.right": False},
}

_SIZES: dict[str, Any] = {
    "axes.titlesize": 9,
    "figure.titlesize": 9,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
}

_PAPER: dict[str, Any] = {
    # STIX has the forms of Times, which most two-column templates have, comes with Matplotlib, and needs no LaTeX. Matplotlib's
    # Computer Modern lacks signs that the labels use, such as that of "at most".
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    **dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize", "figure.titlesize"), 8),
    **dict.fromkeys(("legend.fontsize", "xtick.labelsize", "ytick.labelsize"), 7),
    **{
        f"{side}tick.{kind}.{what}": size
        for side in "xy"
        for kind, what, size in (
            ("major", "size", 3.0),
            ("minor", "size", 1.8),
            ("major", "width", 0.6),
            ("minor", "width", 0.4),
        )
    },
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,
}
