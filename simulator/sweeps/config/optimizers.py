"""The optimizers of a sweep: each is one setting, or several settings of which the best is chosen as the learning rate is."""

import itertools
from dataclasses import dataclass
from functools import cached_property

from quadsim.simulator.rules.momentum import MomentumFamily, momentum_family, without_momentum
from quadsim.simulator.rules.optimizer import OptimizerSpec

__all__ = ["BETWEEN_VALUES", "SweptOptimizer", "display_names"]

BETWEEN_VALUES = "|"
"""Between the values of a hyperparameter, as in `heavy-ball:momentum=0|0.9`."""


@dataclass(frozen=True)
class SweptOptimizer:
    """One optimizer as it was asked for, with all combinations of the values that it lists.

    Attributes:
        text: as it was asked for, `adam:beta1=0|0.9:beta2=0.99|0.999`; the column `optimizer` of tables.
        settings: the combinations, the last hyperparameter varying fastest; their labels are the column `setting`.
        listed: the hyperparameters of which several values are listed, with these values.
    """

    text: str
    settings: tuple[OptimizerSpec, ...]
    listed: dict[str, tuple[float, ...]]

    @classmethod
    def parse(cls, text: str) -> "SweptOptimizer":
        """Read the text.

        Raises:
            ValueError: an unknown optimizer or hyperparameter, a value out of range, or no value between two bars.
        """
        text = text.strip()
        name, *parts = text.split(":")
        if BETWEEN_VALUES in name:
            raise ValueError(
                f"optimizer must be NAME:key=value{BETWEEN_VALUES}value, got {text!r}; put a comma between optimizers."
            )
        choices: list[list[str]] = []
        for part in parts:
            key, _, values = part.partition("=")
            several = list(dict.fromkeys([value.strip() for value in values.split(BETWEEN_VALUES)]))
            if len(several) > 1 and "" in several:
                raise ValueError(
                    f"{key} of {name} must be value{BETWEEN_VALUES}value, got {values!r}; give a value on both sides of every "
                    f"{BETWEEN_VALUES}."
                )
            choices.append([f"{key}={value}" for value in several] if BETWEEN_VALUES in values else [part])
        settings = tuple(OptimizerSpec.parse(":".join((name, *chosen))) for chosen in itertools.product(*choices))
        keys = [part.partition("=")[0] for part, several in zip(parts, choices, strict=True) if len(several) > 1]
        listed = {key: tuple(dict.fromkeys(spec.hyperparameters[key] for spec in settings)) for key in keys}
        return cls(text, settings, listed)

    @cached_property
    def family(self) -> MomentumFamily:
        """The family within which it is compared: `momentum` where any of its settings has momentum, else `plain`."""
        families = [momentum_family(spec.rule, spec.hyperparameters) for spec in self.settings]
        return "momentum" if "momentum" in families else "plain"

    def adds_momentum_to(self, plain: "SweptOptimizer") -> bool:
        """Whether it differs from another optimizer, which has no momentum, by momentum alone."""
        if (plain.family, self.family) != ("plain", "momentum"):
            return False
        forms = [{without_momentum(s.rule, s.hyperparameters) for s in one.settings} for one in (plain, self)]
        return forms[0] == forms[1]

    def values_at_edge(self, setting: OptimizerSpec) -> list[tuple[str, str]]:
        """Hyperparameters at an end of the values listed that is no end of the range, with `smallest` or `largest`."""
        out = []
        ranges = {str(symbol): known for symbol, known in setting.rule.hyperparameters.items()}
        for name, values in self.listed.items():
            value = setting.hyperparameters[name]
            if value == min(values) != ranges[name].low:
                out.append((name, "smallest"))
            elif value == max(values) != ranges[name].high:
                out.append((name, "largest"))
        return out


def display_names(optimizers: tuple[SweptOptimizer, ...]) -> dict[str, str]:
    """What each optimizer is called in figures and sentences, by its text: short, and different for each."""
    short = {}
    for one in optimizers:
        if len(one.settings) == 1:
            short[one.text] = one.text
            continue
        fixed = [part for part in one.text.split(":") if BETWEEN_VALUES not in part]
        short[one.text] = f"{':'.join(fixed)} (best of {len(one.settings)})"
    taken = list(short.values())
    return {text: name if taken.count(name) == 1 else text for text, name in short.items()}
