"""What a sweep over toy models says beside what every sweep says."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from quadsim.simulator.sweeps.results.answers import optimised_answer
from quadsim.simulator.sweeps.results.notes import text_of_point

if TYPE_CHECKING:
    from quadsim.simulator.sweeps.results.results import Results

__all__ = ["notes", "on_optimised_loss"]


def on_optimised_loss(results: "Results", best: pd.DataFrame) -> str:
    """The sentence on the loss that is optimised, for these rows of `best`; see `optimised_answer`."""
    whole = results.summary[results.summary["point"].isin(best["point"])]
    return optimised_answer(whole, best, results.config.axis, results.config.steps)


def notes(results: "Results") -> list[str]:
    """Edges of the rates on the optimised loss, and losses that left the target again."""
    config, best, out = results.config, results.best, []
    for row in best[best["at_edge_weighted"] != ""].to_dict("records"):
        end = {"low": "smallest", "high": "largest"}[row["at_edge_weighted"]]
        out.append(
            f"On the optimised loss the best rate of {row['optimizer']} at {text_of_point(results, row)} is the {end} "
            "one tried: a better one may exist."
        )
    left = best[best["loss_median"].gt(config.tolerance * np.log(best["classes"])) & best["reached"].ge(0.5)]
    for row in left.to_dict("records"):
        out.append(
            f"Steps are first crossings: at its best rate {row['optimizer']} is above the target again at the end "
            f"({text_of_point(results, row)})."
        )
    return out
