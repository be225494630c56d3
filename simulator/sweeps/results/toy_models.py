"""What a sweep over toy models says beside what every sweep says."""

from typing import TYPE_CHECKING

import numpy as np

from quadsim.simulator.sweeps.results.answers.growth import growth_sentence
from quadsim.simulator.sweeps.results.comparison import Comparison, Group, draws_of_rows
from quadsim.simulator.sweeps.results.notes import text_of_point
from quadsim.simulator.sweeps.results.statistics import Reading

if TYPE_CHECKING:
    from quadsim.simulator.sweeps.results.results import Results

__all__ = ["notes", "on_optimised_loss"]


def on_optimised_loss(results: "Results") -> str:
    """How the steps grow on the loss that is optimised, every optimizer at the setting and rate that are best for it."""
    config = results.config
    best = {
        (row["point"], row["optimizer"]): (row["setting_weighted"], row["lr_weighted"]) for row in results.best_rows
    }
    draw = draws_of_rows(results.tables.steps(Reading.of(config).weighted, best))
    groups = [
        Group(label, Comparison(rows, config.axis, len(config.reported), config.steps, draw, "steps_weighted_median"))
        for label, rows in results.grouped_rows
    ]
    if len(groups[0].comparison.points) < 2:
        return ""
    text = growth_sentence(config, groups, list(config.names))
    return f"On the loss that is optimised: {text[:1].lower()}{text[1:]}" if text else ""


def notes(results: "Results") -> list[str]:
    """Edges of the rates on the optimised loss, and losses that left the target again."""
    config, best, out = results.config, results.best_rows, []
    for row in (row for row in best if row["at_edge_weighted"]):
        end = {"low": "smallest", "high": "largest"}[row["at_edge_weighted"]]
        out.append(
            f"On the optimised loss the best rate of {row['setting_weighted']} at {text_of_point(results, row)} is the {end} "
            "one tried: a better one may exist."
        )
    left = [
        row for row in best if row["loss_median"] > config.tolerance * np.log(row["classes"]) and row["reached"] >= 0.5
    ]
    if config.until == "first" and left:
        where = ", ".join(f"{row['setting']} at {text_of_point(results, row)}" for row in left)
        out.append(
            f"Steps are first crossings: at the best rate the loss is above the target again in the end ({where})."
        )
    return out
