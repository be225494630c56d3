"""What a reader of a sweep's answer has to know besides."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from quadsim.simulator.sweeps.config.families import family_of, imported
from quadsim.simulator.sweeps.config.grid import ROWS_UP_TO, option_name, value_text
from quadsim.simulator.sweeps.results.comparison import ENOUGH_SEEDS, TIE

if TYPE_CHECKING:
    from quadsim.simulator.sweeps.results.results import Results

__all__ = ["notes_on", "text_of_point", "text_of_value"]


def notes_on(results: "Results") -> list[str]:
    """How rates were chosen, edges, runs that left the tolerance again, weight decay, what counts leave out."""
    config, tried = results.config, max(row["rates_tried"] for row in results.best_rows)
    if config.select_on == "all":
        how = "Best rates are chosen with hindsight over all seeds, for all optimizers alike"
    else:
        how = (
            f"Best rates are chosen on the {len(config.chosen_on)} even-numbered seeds, for all optimizers alike, and all "
            f"numbers are those of the {len(config.reported)} odd-numbered ones"
        )
    if config.lr is not None:
        out = [f"{how}, from the {len(config.lr)} given."]
    else:
        out = [f"{how}, from grids of {tried} rates around each rule's natural rate."]
    out += _on_settings(results)
    if results.histogram is not None:
        out += _on_counts(results)
    for row in (row for row in results.best_rows if row["at_edge"]):
        end = {"low": "smallest", "high": "largest"}[row["at_edge"]]
        out.append(
            f"The best rate of {row['setting']} at {text_of_point(results, row)} is the {end} one tried: a better "
            "one may exist."
        )
    family = family_of(config)
    if family.notes is not None:
        out += imported(family.notes)(results)
    if (seeds := len(config.reported)) < ENOUGH_SEEDS:
        out.append(
            f"From {seeds} seed{'s' * (seeds > 1)} no intervals are given: they would cover much less than 95%. "
            f"From {ENOUGH_SEEDS} on they are."
        )
    else:
        out.append("Intervals are 95% bootstrap intervals of ratios of medians.")
    out.append(f"Optimizers tie where their medians differ by less than {TIE - 1:.0%}.")
    return out


def _on_settings(results: "Results") -> list[str]:
    """Where optimizers list settings: how many combinations each had, and settings at an end of what was listed."""
    config, best = results.config, results.best_rows
    numbers = {config.names[one.text]: len(one.settings) for one in config.swept}
    if set(numbers.values()) == {1}:
        return []
    rates = max(row["rates_tried"] for row in best)
    if len(set(numbers.values())) == 1:
        out = [f"Every optimizer had {next(iter(numbers.values()))} settings x {rates} rates."]
    else:
        said = ", ".join(f"{name} {number} x {rates}" for name, number in numbers.items())
        out = [f"Budgets differ (settings x rates): {said}; the best of more combinations is better by chance alone."]
    settings = {spec.label: spec for spec in config.specs}
    swept = {one.text: one for one in config.swept}
    ends: dict[tuple[str, str, str], list[str]] = {}
    for row in best:
        for name, end in swept[row["optimizer"]].values_at_edge(settings[row["setting"]]):
            ends.setdefault((row["optimizer"], name, end), []).append(text_of_point(results, row))
    for (text, name, end), where in ends.items():
        out.append(
            f"The best {name} of {config.names[text]} at {', '.join(dict.fromkeys(where))} is the {end} one listed: a better one "
            "may exist."
        )
    return out


def _on_counts(results: "Results") -> list[str]:
    """What a reader of counts has to know besides."""
    config, settings = results.config, results.summary
    asked = "" if not config.kept_by_size else f"more than {ROWS_UP_TO:,} runs; --keep rows for a row each: "
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
    missed = [row for row in results.best_rows if row["reached"] < 0.5]
    if missed:
        where = ", ".join(f"{row['setting']} at {text_of_point(results, row)}" for row in missed)
        out.append(
            f"Where no rate reaches the tolerance in half of the runs ({where}), the best is the one that reaches it most "
            "often, and of equals the one nearest to the natural rate, as gaps at the end are not kept."
        )
    return out


def text_of_value(results: "Results", row: Mapping[Any, Any]) -> str:
    """The value of a row of `best` on the axis of comparison."""
    value = row[results.config.axis]
    return str(value) if results.config.is_categorical else f"{value:g}"


def text_of_point(results: "Results", row: Mapping[Any, Any]) -> str:
    """The point of a row of `best`: its value on the axis of comparison, and those of the other dials that take several."""
    others = [f"{option_name(facet)} {value_text(row[facet])}" for facet in results.config.facets]
    return ", ".join([text_of_value(results, row), *others])
