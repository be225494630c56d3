"""The section of a sweep's report with its settings."""

import math
from typing import Any

from quadsim.cli.pages.page import Facts, Section, Text
from quadsim.simulator.sweeps.results.results import Results

__all__ = ["settings_section"]

_MOST_VALUES = 40
_SKIPPED = ("quadsim_format", "kind")
_LABELS = {
    "heterogeneity_achieved": "heterogeneity, achieved",
    "lr": "learning rates",
    "lr_density": "learning rates per factor of 10",
    "seeds": "problems at every point",
    "seed": "seed of all random draws",
    "steps": "steps at most",
    "keep": "kept",
    "own": "optimizers that are not built in",
}


def settings_section(results: Results) -> Section:
    """Return the section with all dials and the values that were used, defaults included."""
    config = results.config
    used = {name: list(dict.fromkeys(results.best[name])) for name in config.point_columns if name in results.best}
    if not config.is_categorical and used.get("heterogeneity_achieved") == used.get("heterogeneity"):
        used.pop("heterogeneity_achieved", None)
    rest = {name: value for name, value in config.to_json().items() if name not in (*_SKIPPED, *used)}
    rest["keep"] = config.kept
    rest["own"] = [one.words for one in config.own_optimizers]
    if rest.get("lr") is None:
        tried = int(results.best["rates_tried"].max())
        rest["lr"] = f"{tried} around each rule's natural rate"
    facts = [(_LABELS.get(name, name.replace("_", " ")), _said(value)) for name, value in (used | rest).items()]
    shown = tuple((name.capitalize(), said) for name, said in facts if said)
    runs = f"{results.runs:,} runs: every optimizer at every rate on every problem of every point."
    return Section("What was run", (Text(runs), Facts(shown)))


def _said(value: Any) -> str:
    values = value if isinstance(value, list) else [value]
    known = [one for one in values if one is not None and not (isinstance(one, float) and math.isnan(one))]
    if not known:
        return ""
    words = [
        f"{one:g}" if isinstance(one, float) else "yes" if one is True else "no" if one is False else str(one)
        for one in known
    ]
    more = f" and {len(words) - _MOST_VALUES} more" if len(words) > _MOST_VALUES else ""
    return ", ".join(words[:_MOST_VALUES]) + more
