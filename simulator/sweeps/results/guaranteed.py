"""The bounds that a theory gave for the optimizers that no theorem bounds at their best rates, as rows of a table."""

from typing import TYPE_CHECKING, Any

import numpy as np

from quadsim.simulator.runs.guaranteed import ALONG, BELOW
from quadsim.simulator.support.statistics import quantile
from quadsim.simulator.sweeps.results.notes import text_of_point
from quadsim.simulator.sweeps.results.results import Results

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["certified_comparison", "guarantee_notes", "guarantee_rows"]

_NUMBERS = ("bound_steps", "steps", "at_least_steps")


def guarantee_rows(results: Results) -> "pd.DataFrame":
    """Return a row per point, optimizer and bound that speaks of at least one problem.

    Returns:
        Columns point, optimizer, setting, lr (the best rate), kind, theorem, guaranteed_lr, falls (steps in which that rate falls
        to 0; 0: it does not), start, problems and of (how many of how many it speaks of), and over these problems the medians
        bound_steps, steps (NaN without a run), at_least_steps and
        ratio: of bound over steps, or over at_least_steps where there was no run.
    """
    import pandas as pd

    found = results.guarantees
    if found is None:
        return pd.DataFrame()
    rows = []
    keys = ["point", "optimizer", "setting", "lr", "kind", "theorem", "guaranteed_lr", "falls", "start"]
    found = found.assign(falls=found.get("falls", 0))  # a folder of an earlier version has no such bounds
    for values, same in found.groupby(keys, sort=False):
        spoken = same[np.isfinite(same["bound_steps"].to_numpy())]
        row: dict[str, Any] = dict(zip(keys, values, strict=True)) | {"problems": len(spoken), "of": len(same)}
        if len(spoken):
            row |= {name: float(quantile(spoken[name].to_numpy(dtype=np.float64), 0.5)) for name in _NUMBERS}
            divisor = spoken["steps"].where(spoken["steps"].notna(), spoken["at_least_steps"])
            row["ratio"] = float(quantile((spoken["bound_steps"] / divisor).to_numpy(dtype=np.float64), 0.5))
        rows.append(row)
    return pd.DataFrame(rows)


def guarantee_notes(results: Results) -> list[str]:
    """Return a line for every reason why bounds do not speak of all problems, with the optimizers and bounds that it stops."""
    found = results.guarantees
    if found is None:
        return []
    reasons: dict[str, list[str]] = {}
    for (optimizer, theorem, why), _ in found[found["why_not"] != ""].groupby(
        ["optimizer", "theorem", "why_not"], sort=False
    ):
        reasons.setdefault(str(why), []).append(f"{optimizer} ({theorem})" if theorem else str(optimizer))
    return [f"{', '.join(whose)}: {why}." for why, whose in reasons.items()]


def certified_comparison(results: Results) -> str:
    """Return a sentence on where a bound of one optimizer lies below what GD needs at every constant rate, problem by problem.

    Of the points at which it does so on at least half of the problems, the one with the most is named; else the text is empty.
    """
    import pandas as pd

    found = results.guarantees
    if found is None:
        return ""
    below = found[found["kind"] == BELOW].set_index(["point", "seed"])["bound_steps"]
    best: tuple[float, str] = (0.5, "")
    for (point, optimizer, theorem, start), same in found[found["kind"] == ALONG].groupby(
        ["point", "optimizer", "theorem", "start"], sort=False
    ):
        needed = below.reindex(pd.MultiIndex.from_frame(same[["point", "seed"]])).to_numpy(dtype=np.float64)
        won = same["bound_steps"].to_numpy(dtype=np.float64) < needed
        if float(won.mean()) >= best[0] and won.mean() > 0.0:
            row = next(row for row in results.best_rows if row["point"] == point)
            where = f"{'on' if results.config.is_categorical else 'at'} {text_of_point(results, row)}"
            text = (
                f"Certified on {int(won.sum())} of {len(won)} problems {where}: the bound of {optimizer} along the run "
                f"({theorem}, from step {start}) lies below what gd needs at every constant rate (gd-lower-start)."
            )
            best = (np.nextafter(float(won.mean()), 2.0), text)
    return best[1]
