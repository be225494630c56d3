"""How figures look: as this project has them, whatever the user's matplotlibrc says, or as the user has them, on request.

Figures are made as `matplotlib.figure.Figure` and saved through Agg and the PDF writer. Nothing goes through pyplot, so that the
user's backend is neither needed nor changed.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from quadsim.simulator.checks import check_choice

__all__ = ["STYLES", "chosen_style", "drawing", "drawn", "figure_style"]

STYLES = ("quadsim", "user")
"""`quadsim`: Matplotlib's defaults and our settings. `user`: the settings (rcParams) of whoever runs this."""

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
    with mpl.rc_context(defaults | dict(figure_style() if own is None else own)):
        yield


def drawn(function: Callable[P, T]) -> Callable[P, T]:
    """Make a function that draws a figure do so in the chosen style."""

    @wraps(function)
    def within(*args: P.args, **kwargs: P.kwargs) -> T:
        with drawing():
            return function(*args, **kwargs)

    return within


def figure_style() -> dict[str, Any]:
    """Seaborn's plain style, with fonts that journals accept (TrueType in PDF)."""
    import seaborn as sns

    return {**sns.axes_style("ticks"), **sns.plotting_context("paper"), "pdf.fonttype": 42}
