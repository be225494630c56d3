"""What is made of finished results: figures and a report, which rooms above this one know how to make."""

from collections.abc import Callable
from importlib.metadata import entry_points

from quadsim.simulator.sweeps.results.results import Results

__all__ = ["Presenter", "present_as_installed"]

Presenter = Callable[[Results], object]
"""Adds to the folder of a stored sweep what it does not hold yet."""


def present_as_installed(results: Results) -> None:
    """Call everything that is installed under the entry points `quadsim.presenters`: this package's figures and report.

    The sweep knows neither figures nor pages, and is given what makes them, as it is given a judge. The entry point is the
    default, so that `sweep(config, out=...)` leaves the same folder as the command.
    """
    for point in entry_points(group="quadsim.presenters"):
        point.load()(results)
