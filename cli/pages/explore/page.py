"""Write the page of `quadsim explore`: one self-contained HTML file that runs optimizers on quadratics in the browser.

The optimizers are printed from their rules and the bounds from their theorems. The other scripts of this folder hold what has no
such source: draws and problems (as in `quadsim.simulator.problems`), runs, drawing and controls.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.markers import MarkerStyle

import quadsim
from quadsim.cli.pages.explore.bounds import bounds_of, bounds_source
from quadsim.cli.pages.page import file_text, rendered
from quadsim.simulator.engines.javascript import HEADER, javascript_source, quoted
from quadsim.simulator.figures.palette import optimizer_styles
from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.runs.trajectory import DIVERGED_ABOVE

__all__ = ["MOST", "explore_html", "numeric_source"]

MOST = 4
"""Number of optimizers that the page compares at most."""

TOLERANCE = 1e-6

_NUMERIC = ("draws.js", "problem.js", "run.js", "bounds.js")
_ON_PAGE = ("state.js", "compute.js", "view.js", "app.js")

_DASHES: tuple[list[float], ...] = ([], [5, 2, 1, 2], [7, 3], [3, 1.5, 1, 1.5, 1, 1.5])
"""Lines of the settings of one optimizer, as in figures, in units of the line's width."""


def explore_html(chosen: Sequence[OptimizerSpec], own: Sequence[Rule] = (), file: str = "") -> str:
    """Return the page.

    Args:
        chosen: the optimizers that the page begins with, 1 to MOST of them.
        own: rules of the user's own, beside the built-in ones.
        file: name of the file of `own`, for the Python text that the page shows.
    """
    script = numeric_source(chosen, own, file) + "\n".join(file_text(f"explore/{name}") for name in _ON_PAGE)
    style = f"{file_text('page.css')}\n{file_text('explore/explore.css')}"
    foot = f"Made by quadsim {quadsim.__version__}. It needs no network and no other file."
    return rendered("explore/explore.html", style, script, foot=foot)


def numeric_source(chosen: Sequence[OptimizerSpec] = (), own: Sequence[Rule] = (), file: str = "") -> str:
    """Return the scripts that compute: data, optimizers, bounds, draws, problems and runs. Arguments are those of `explore_html`.

    They need no page, so that they also run outside a browser.
    """
    rules = {**RULES, **{rule.name: rule for rule in own}}
    page = {
        "tolerance": TOLERANCE,
        "divergedAbove": DIVERGED_ABOVE,
        "settledBelow": 1e-40,
        "most": MOST,
        "dashes": _DASHES,
        "chosen": [{"name": one.rule.name, "rate": 0, "settings": dict(one.hyperparameters)} for one in chosen],
        "file": file,
        "optimizers": _optimizers(rules),
    }
    parts = [f'"use strict";\nconst PAGE = {quoted(page)};', HEADER, javascript_source(rules.values())]
    parts += [bounds_source(list(rules.values())), *(file_text(f"explore/{name}") for name in _NUMERIC)]
    return "\n".join(parts) + "\n"


def _optimizers(rules: Mapping[str, Rule]) -> dict[str, dict[str, Any]]:
    styles = optimizer_styles(list(rules))
    return {
        name: {
            "summary": rule.summary,
            "own": name not in RULES,
            "color": "#" + "".join(f"{round(255 * part):02x}" for part in styles[name]["color"]),
            "marker": _polygons(styles[name]["marker"]),
            "hyperparameters": [
                {
                    "name": str(symbol),
                    "default": h.default,
                    "low": float(h.low) if np.isfinite(h.low) else None,
                    "high": float(h.high) if np.isfinite(h.high) else None,
                    "lowOpen": h.low_open,
                    "highOpen": h.high_open,
                    "meaning": h.meaning,
                }
                for symbol, h in rule.hyperparameters.items()
            ],
            "bounds": bounds_of(rule),
        }
        for name, rule in rules.items()
    }


def _polygons(marker: str) -> list[list[list[float]]]:
    """Return the outline of a marker of Matplotlib, as polygons in a square of width 2 around 0."""
    style = MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform())
    polygons = [np.asarray(polygon) for polygon in path.to_polygons(closed_only=True)]
    scale = max(float(np.abs(polygon).max()) for polygon in polygons)
    return [[[round(float(x) / scale, 3), round(float(y) / scale, 3)] for x, y in polygon] for polygon in polygons]
