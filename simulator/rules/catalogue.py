"""RULES: every optimizer by name. Their expressions are in `formulas`, which is imported where one is first read.

SymPy takes a second to import and another to build and to compare the expressions of all rules. A run needs numbers alone: names,
ranges, and facts as the source of a kernel, which the cache keeps with the hash of the sources that they were derived from.
"""

from functools import partial
from typing import Any

from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.support.checks import check_choice
from quadsim.simulator.support.kept import KeptFacts, kept_document
from quadsim.simulator.support.provenance import source_digest

__all__ = ["OTHER_NAMES", "RULES", "resolve_rule"]


def _headers() -> list[dict[str, Any]]:
    from quadsim.simulator.rules.formulas import FORMULAS

    return [rule.header for rule in FORMULAS.values()]


def _formula(name: str) -> Rule:
    from quadsim.simulator.rules.formulas import FORMULAS

    return FORMULAS[name]


def _built_in(header: dict[str, Any]) -> Rule:
    name = str(header["name"])
    return Rule.built_in(header, KeptFacts(f"rule-{name}", source_digest()), partial(_formula, name))


RULES: dict[str, Rule] = {
    header["name"]: _built_in(header) for header in kept_document("rules", source_digest(), _headers)
}
"""All optimizers by name."""


OTHER_NAMES = {
    "momentum": "heavy-ball",
    "gd-momentum": "heavy-ball",
    "sgd-momentum": "heavy-ball",
    "sgdm": "heavy-ball",
    "msgd": "heavy-ball",
    "polyak": "heavy-ball",
    "hb": "heavy-ball",
    "nag": "nesterov",
    "nesterov-momentum": "nesterov",
    "accelerated-gd": "nesterov",
    "gradient-descent": "gd",
    "steepest-descent": "gd",
    "ngd": "normalized-gd",
    "normalised-gd": "normalized-gd",
    "sign": "signsgd",
    "sign-sgd": "signsgd",
    "signgd": "signsgd",
    "sign-descent": "signsgd",
    "signsgd-momentum": "signum",
    "sign-momentum": "signum",
    "adamax": "adam",
    "radam": "adam",
    "adam-amsgrad": "amsgrad",
    "nesterov-adam": "nadam",
    "adam-w": "adamw",
    "adadelta": "rmsprop",
    "rmsprop-centred": "rmsprop-centered",
    "centered-rmsprop": "rmsprop-centered",
    "gradient-clipping": "clipped-gd",
    "gd-clipped": "clipped-gd",
    "clipped-sgd": "clipped-gd",
    "sgd-w": "sgdw",
    "lars": "lamb",
    "rms": "rmsprop",
    "evolved-sign-momentum": "lion",
    "adam-frozen-v": "adam-frozen",
}
"""Other names of the optimizers in the field, or the nearest optimizer here; used only for suggestions in error messages."""


def resolve_rule(rule: Rule | str) -> Rule:
    """Return the rule with this name; a Rule is returned as it is.

    Raises:
        ValueError: an unknown name; the message suggests the nearest.
    """
    return rule if isinstance(rule, Rule) else RULES[check_choice("optimizer", rule, RULES, OTHER_NAMES)]
