"""What a reader of a sweep's answer has to know besides."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.sweeps.config.grid import ROWS_UP_TO
from quadsim.simulator.sweeps.config.quadratics import SweepConfig

if TYPE_CHECKING:
    from quadsim.simulator.sweeps.results.results import Results

__all__ = ["notes_on"]

_ENOUGH_SEEDS = 6  # below, the ends of a 95% interval are the extremes of the resamples


def notes_on(results: "Results") -> list[str]:
    """How rates were chosen, edges, runs that left the tolerance again, weight decay, what counts leave out."""
    config = results.config
    how = "Best rates are chosen with hindsight over all seeds, for all optimizers alike"
    if config.lr is not None:
        out = [f"{how}, from the {len(config.lr)} given."]
    else:
        out = [f"{how}, from grids of {int(results.best['rates_tried'].max())} rates around each rule's natural rate."]
    if results.histogram is not None:
        out += _on_counts(results)
    for row in results.at_edge.to_dict("records"):
        end = {"low": "smallest", "high": "largest"}[row["at_edge"]]
        out.append(
            f"The best rate of {row['optimizer']} at {_at(results, row)} is the {end} one tried: a better one may exist."
        )
    if isinstance(config, SweepConfig):
        out += _on_quadratics(results)
    else:
        out += _on_models(results)
    if config.seeds < _ENOUGH_SEEDS:
        out.append(
            f"Bootstrap intervals from {config.seeds} seeds cover less than they say; {_ENOUGH_SEEDS} seeds are enough."
        )
    return out


def _on_models(results: "Results") -> list[str]:
    config, best, out = results.config, results.best, []
    for row in best[best["at_edge_weighted"] != ""].to_dict("records"):
        end = {"low": "smallest", "high": "largest"}[row["at_edge_weighted"]]
        out.append(
            f"On the optimised loss the best rate of {row['optimizer']} at {_at(results, row)} is the {end} one tried: a better "
            "one may exist."
        )
    left = best[best["loss_median"].gt(config.tolerance * np.log(best["classes"])) & best["reached"].ge(0.5)]
    for row in left.to_dict("records"):
        out.append(
            f"Steps are first crossings: at its best rate {row['optimizer']} is above the target again at the end "
            f"({_at(results, row)})."
        )
    return out


def _on_quadratics(results: "Results") -> list[str]:
    config, out = results.config, []
    left = results.best[results.best["final_gap_median"].gt(config.tolerance) & results.best["reached"].ge(0.5)]
    for name, rows in left.groupby("optimizer", sort=False):
        where = ", ".join(dict.fromkeys(_at(results, row) for row in rows.to_dict("records")))
        out.append(
            f"Steps are first crossings: at its best rate {name} is above the tolerance again at the end ({where})."
        )
    for spec in config.specs:
        decay = spec.hyperparameters.get("weight_decay", _default_decay(spec.rule))
        if decay > 0.0:
            out.append(f"The minimiser is 0 here, so the weight decay of {spec.label} pulls towards the solution.")
    return out


def _on_counts(results: "Results") -> list[str]:
    """What a reader of counts has to know besides."""
    config, settings = results.config, results.summary
    assert isinstance(config, SweepConfig)
    asked = "" if config.keep else f"more than {ROWS_UP_TO:,} runs; --keep rows for a row each: "
    out = [
        f"Of {results.runs:,} runs, counts by status and histograms are kept ({asked}no row a run, no curves), so steps are the "
        "upper ends of bins, each 12% wide, and bootstrap intervals are not paired by problem."
    ]
    verdicts = {
        n.removeprefix("verdict_"): int(settings[n].sum()) for n in settings.columns if n.startswith("verdict_")
    }
    if not verdicts:
        out.append("Bounds were not checked on these runs.")
    elif set(verdicts) != {"not_applicable"}:
        said = ", ".join(f"{number:,} {word.replace('_', ' ')}" for word, number in verdicts.items())
        out.append(f"Bounds on these runs: {said}; worst margin {settings['margin_worst'].max():.6g}.")
        if int(sum(verdicts.values())) < results.runs:
            out.append(f"On {results.runs - sum(verdicts.values()):,} runs bounds were not checked.")
    missed = results.best[results.best["reached"].lt(0.5)]
    if len(missed):
        where = ", ".join(f"{row['optimizer']} at {_at(results, row)}" for row in missed.to_dict("records"))
        out.append(
            f"Where no rate reaches the tolerance in half of the runs ({where}), the best is the one that reaches it most "
            "often, and of equals the one nearest to the natural rate, as gaps at the end are not kept."
        )
    return out


def _at(results: "Results", row: Mapping[Any, Any]) -> str:
    return str(row["case"]) if results.config.axis == "case" else f"{row['heterogeneity']:g}"


def _default_decay(rule: Rule) -> float:
    return next((h.default for key, h in rule.hyperparameters.items() if str(key) == "weight_decay"), 0.0)
