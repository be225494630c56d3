"""Advice from a finished sweep: at a point that was run, and nowhere else."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from quadsim.simulator.support.statistics import quantile
from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.results.comparison import TIE, Comparison
from quadsim.simulator.sweeps.results.guaranteed import guarantee_rows
from quadsim.simulator.sweeps.results.results import Results
from quadsim.theory.advising.advice import Advice

__all__ = ["advise_on_sweep"]

_A_PRIORI = "a priori"


def advise_on_sweep(results: Results, at: Mapping[str, str]) -> list[Advice]:
    """Return advice for every point of a sweep that lies at given values of its dials.

    Args:
        results: the sweep.
        at: dial to its value, as text. Dials that are left out may have any value.

    Returns:
        One answer for each point; a single one without a recommendation where nothing was run at these values.

    Raises:
        ValueError: a name that is no dial of the sweep, or a text that is no value of its kind.
    """
    best, config = results.best, results.config
    dials = [name for name in config.point_columns if name in best and best[name].notna().any()]
    chosen = best
    for name, text in at.items():
        column = name.replace("-", "_")
        if column not in dials:
            raise ValueError(
                f"at must name a dial of the sweep ({', '.join(dials)}), got {name!r}; choose one of them."
            )
        found, why = _rows_at(chosen, column, text)
        if why:
            return [Advice(f"{column.replace('_', ' ')} {text}", why, rests_on=(_source(results),))]
        chosen = found
    points = list(dict.fromkeys(chosen["point"]))
    varying = [n for n in dials if best[n].astype(str).nunique() > 1 and not n.endswith("_achieved")]
    of_point = {point: group.comparison for group in results.compared for point in group.comparison.points}
    guarantees = guarantee_rows(results)
    return [_at_point(results, point, varying, of_point[point], guarantees) for point in points]


def _rows_at(best: pd.DataFrame, column: str, text: str) -> tuple[pd.DataFrame, str]:
    """Return the rows at a value of a dial, or why there are none.

    Raises:
        ValueError: a text that is no number, for a dial that is one.
    """
    values = best[column]
    if not pd.api.types.is_numeric_dtype(values):
        found = best[values.astype(str) == text]
        there = ", ".join(dict.fromkeys(values.astype(str)))
        return found, "" if len(found) else f"There is no answer: it was run at {there} alone, not at {text}."
    try:
        wanted = float(text)
    except ValueError:
        wanted = math.nan
    if not math.isfinite(wanted):
        raise ValueError(f"{column} of at must be a number, got {text!r}; write for example {column}=10.")
    ran = np.unique(values.to_numpy(dtype=np.float64))
    found = best[np.isclose(values.to_numpy(dtype=np.float64), wanted, rtol=1e-9, atol=0.0)]
    if len(found):
        return found, ""
    if wanted < ran[0] or wanted > ran[-1]:
        return found, (
            f"There is no answer: {wanted:g} lies beyond what was run, which is {', '.join(f'{v:g}' for v in ran)}. "
            "Add it with quadsim sweep --extend."
        )
    low, high = ran[ran < wanted][-1], ran[ran > wanted][0]
    return found, (
        f"There is no answer: nothing was run at {wanted:g}, which lies between {low:g} and {high:g}. Ask for one of these, "
        "or add it with quadsim sweep --extend."
    )


def _source(results: Results) -> str:
    where = "a sweep made now" if results.folder is None else f"the sweep in {results.folder.name}"
    return f"{where} ({len(results.config.reported)} problems a point)"


def _at_point(
    results: Results, point: int, varying: list[str], compared: Comparison, guarantees: pd.DataFrame
) -> Advice:
    config, rows = results.config, results.best[results.best["point"] == point]
    first = rows.iloc[0]
    at = ", ".join(f"{name.replace('_', ' ')} {_value(first[name])}" for name in varying)
    lead = compared.lead(point, list(rows["optimizer"]))
    experiment = _source(results)
    if not lead.ahead:
        return Advice(
            at,
            f"There is no answer: no optimizer gets there within {config.steps} steps on half of the problems (steps are counted "
            f"until {config.criterion}).",
            rests_on=(experiment,),
        )
    medians = rows.set_index("optimizer")["steps_median"]
    name = min(lead.ahead, key=lambda one: float(medians[one]))
    row = rows[rows["optimizer"] == name].iloc[0]
    tied = [other for other in lead.ahead if other != name]
    answer = f"Take {row['setting']} at the learning rate {row['lr']:.3g}: {_steps(row)} until {config.criterion}"
    answer += f"; {' and '.join(tied)} tie{'s' if len(tied) == 1 else ''} with it (within {TIE:g}x)" if tied else ""
    guarantee, theorem = _guarantee(results, row, guarantees)
    return Advice(
        at,
        f"{answer}.",
        str(row["setting"]),
        float(row["lr"]),
        _certainty(config, compared, lead.next, name, row, point),
        guarantee,
        (experiment, *([theorem] if theorem else [])),
    )


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _steps(row: pd.Series) -> str:
    return f"a median of {row['steps_median']:g} steps"


def _certainty(config: SweepGrid, compared: Comparison, other: str, name: str, row: pd.Series, point: int) -> str:
    """Return how sure the lead is: its interval, the problems that were not solved, and a rate at the edge of the grid."""
    parts = []
    if other:
        ratio = compared.ratio((point, other), (point, name))
        needs = f"{other} needs {_times(ratio.value)} as many steps"
        if not np.isfinite(ratio.value):
            needs = f"{other} does not get there within {config.steps} steps on half of the problems"
        if np.isnan(ratio.low):
            parts.append(f"Not sure: {needs}, and there are too few problems for an interval")
        else:
            word, span = "Sure" if ratio.low > 1.0 else "Not sure", f"{_times(ratio.low)} to {_times(ratio.high)}"
            parts.append(f"{word}: {needs} (95% interval {span})")
    else:
        parts.append("Not sure: no other optimizer needs more steps by over 10%")
    if row["reached"] < 1.0:
        parts.append(f"it reaches the tolerance on {row['reached']:.0%} of the problems")
    if row["at_edge"]:
        parts.append("its rate lies at the edge of those tried, so that a better one may exist")
    own = "the other half of the problems" if config.select_on == "half" else "these problems"
    return f"{'; '.join(parts)}. The rates were those of a grid, chosen on {own}."


def _times(value: float) -> str:
    return f"{value:.3g} times" if np.isfinite(value) else "beyond the runs"


def _guarantee(results: Results, row: pd.Series, guarantees: pd.DataFrame) -> tuple[str, str]:
    """Return what theorems say of an optimizer at a point, and the name of the theorem."""
    key = (row["point"], row["optimizer"])
    runs = results.tables.best_runs
    own = runs[(runs["point"] == key[0]) & (runs["optimizer"] == key[1])] if "theorem" in runs else runs[:0]
    named = own[own["theorem"].astype(str) != ""] if "bound_steps" in own else own[:0]
    spoken = named[np.isfinite(named["bound_steps"].to_numpy(dtype=np.float64))] if len(named) else named
    if len(spoken):
        bound = float(quantile(spoken["bound_steps"].to_numpy(dtype=np.float64), 0.5))
        theorem = str(spoken["theorem"].iloc[0])
        return f"Guaranteed at this rate: at most {bound:g} steps in the median ({theorem}).", f"theorem {theorem}"
    if len(guarantees):
        same = guarantees[(guarantees["point"] == key[0]) & (guarantees["optimizer"] == key[1])]
        same = same[(same["problems"] > 0) & (same["kind"] != "from below")]
        if len(same):
            first = same.sort_values("kind", key=lambda kinds: kinds != _A_PRIORI, kind="stable").iloc[0]
            where = f"of {first['problems']} of {first['of']} problems"
            text = f"{first['bound_steps']:g} steps in the median {where} ({first['theorem']})"
            if first["kind"] == _A_PRIORI:
                same_rate = math.isclose(first["guaranteed_lr"], row["lr"])
                rate = "this rate" if same_rate else f"the rate {first['guaranteed_lr']:.3g}, not at this one"
                return f"Guaranteed at {rate}: at most {text}.", f"theorem {first['theorem']}"
            return f"Bounded {first['kind']}, which needs the run itself: {text}.", f"theorem {first['theorem']}"
    return "No theorem here guarantees it at this rate.", ""
