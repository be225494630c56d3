"""The table of bounds of the optimizers that no theorem bounds at their best rates, and the name of a point in a table."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from quadsim.cli.text.stored_table import PrintedTable
from quadsim.cli.text.sweep_columns import steps_text
from quadsim.simulator.runs.guaranteed import ALONG, BELOW, FALLING, IN_THE_MEAN, STATE
from quadsim.simulator.sweeps.config.grid import SweepGrid, option_name, value_text
from quadsim.simulator.sweeps.results.guaranteed import guarantee_rows
from quadsim.simulator.sweeps.results.results import Results

__all__ = [
    "DERIVED",
    "GUARANTEES_TITLE",
    "guarantee_cells",
    "guarantee_headings",
    "guarantee_tables",
    "place_text",
    "point_text",
]

DERIVED = "derived from the rule"
"""What stands in place of a theorem where a mean is known that none states."""

GUARANTEES_TITLE = "Bounds at the rate that a theorem guarantees, or along the runs at the best rate (medians)"


def guarantee_headings(results: Results) -> list[str]:
    """Return the headings of the table."""
    return [
        " / ".join(results.config.compared),
        "optimizer",
        "theorem",
        "speaks of",
        "lr",
        "steps",
        "bound",
        "bound / steps",
    ]


def guarantee_tables(results: Results) -> list[PrintedTable]:
    """Return the table of all points, or none where no theory was asked."""
    found = guarantee_rows(results)
    if not len(found):
        return []
    points = results.best.drop_duplicates("point").set_index("point").to_dict("index")
    rows: list[list[str] | None] = []
    last = None
    for row in found.to_dict("records"):
        if last is not None and row["point"] != last:
            rows.append(None)
        name = ""
        if row["point"] != last:
            name = place_text(results.config, points[row["point"]])
        rows.append([name, *guarantee_cells(row, results.config.steps)])
        last = row["point"]
    return [PrintedTable(GUARANTEES_TITLE, guarantee_headings(results), rows, left=[0, 1, 2, 3])]


def guarantee_cells(row: dict[Any, Any], most: int) -> list[str]:
    """Return the cells of a row of `guarantee_rows` after its point, where the runs at the best rate have `most` steps."""
    if not row["problems"]:
        return [
            str(row["setting"]),
            str(row["theorem"]) or "no theorem",
            f"0 of {row['of']} problems",
            "",
            "",
            "none",
            "",
        ]
    ran, reached = not np.isnan(row["steps"]), not np.isinf(row["steps"])
    at_best_rate = row["kind"] in (ALONG, STATE, BELOW)  # the others have runs of their own, of other lengths
    if not ran:
        steps = f">= {_count(row['at_least_steps'])}"
    elif reached:
        steps = _count(row["steps"])
    else:
        steps = steps_text(row["steps"], most) if at_best_rate else "not reached"
    begin = {
        ALONG: f"along the run from step {row['start']}",
        FALLING: f"falling rate, from step {row['start']}",
        STATE: f"from the state at step {row['start']}",
        IN_THE_MEAN: "the mean over draws, exactly",
        BELOW: "every constant rate, from below",
    }.get(row["kind"], "from the start")
    share = "" if row["problems"] == row["of"] else f", {row['problems']} of {row['of']}"
    return [
        str(row["setting"]),
        str(row["theorem"]) or DERIVED,
        f"{begin}{share}",
        f"{row['guaranteed_lr']:.3g}{' to 0 in ' + str(row['falls']) if row['falls'] else ''}",
        steps,
        f"{'>= ' if row['kind'] == BELOW else ''}{_count(row['bound_steps'])}",
        f"{'' if ran else '<= '}{row['ratio']:.2f}" if reached else "",
    ]


def _count(steps: float) -> str:
    """A number of steps; from a million on with three digits."""
    return f"{steps:g}" if steps < 1e6 else f"{steps:.3g}"


def place_text(config: SweepGrid, row: Mapping[Any, Any]) -> str:
    """A point with its values of all dials that take several, the compared one first as `point_text` gives it."""
    others = [f"{option_name(facet)} {value_text(row[facet])}" for facet in config.facets]
    return ", ".join([point_text(row, config.axis), *others])


def point_text(row: Mapping[Any, Any], name: str) -> str:
    """A point on the axis of comparison, with what was achieved where that is not what was asked."""
    asked = row[name]
    if isinstance(asked, str):
        return (
            f"{asked} (heterogeneity {row['heterogeneity_achieved']:.4g})" if "heterogeneity_achieved" in row else asked
        )
    achieved = row.get(f"{name}_achieved", asked)
    return f"{asked:g}" if abs(achieved / asked - 1.0) < 1e-9 else f"{asked:g} (got {achieved:.4g})"
