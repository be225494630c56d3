"""Read optimizers with hyperparameters from their text on the command line (`OptimizerSpec`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import sympy as sp

from quadsim.simulator.rules.catalogue import resolve_rule
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.support.checks import check_interval, named_options

__all__ = ["OptimizerSpec"]


@dataclass(frozen=True)
class OptimizerSpec:
    """An optimizer with hyperparameters, as in `adam:beta1=0:beta2=0.95`; that text is its label."""

    label: str
    rule: Rule
    hyperparameters: Mapping[str, float]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the OptimizerSpec of a text.

        Raises:
            ValueError: an unknown optimizer or hyperparameter, or a value out of range.
        """
        name, options = named_options("optimizer", text)
        rule = resolve_rule(name)
        values: dict[str, float] = {}
        for key, value in options.items():
            if key == "lr":
                raise ValueError(f"lr must be given for all optimizers alike, got {text!r}; use --lr for fixed rates.")
            values[key] = check_interval(f"{key} of {name}", value)
        rule.settings(1.0, **values)
        return cls(text.strip(), rule, values)

    def natural_lr(self, values: Mapping[sp.Symbol, float]) -> float:
        """Return `Rule.natural_lr` for these values of its symbols, with the hyperparameters of the text."""
        own = {s: self.hyperparameters.get(str(s), h.default) for s, h in self.rule.hyperparameters.items()}
        return float(sp.N(self.rule.natural_lr.subs({**values, **own})))
