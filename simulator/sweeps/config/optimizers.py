"""The optimizers of a sweep: each is one setting, or several settings of which the best is chosen as the learning rate is."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from quadsim.simulator.rules.momentum import MomentumFamily, has_momentum, without_momentum
from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.sweeps.config.own_optimizers import OwnOptimizer

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
        own: what is known of it where it is not built in.
    """

    text: str
    settings: tuple[OptimizerSpec, ...]
    listed: dict[str, tuple[float | str, ...]]
    own: OwnOptimizer | None = None

    @classmethod
    def parse(cls, text: str, own: Iterable[OwnOptimizer] = ()) -> "SweptOptimizer":
        """Read the text.

        Args:
            text: NAME:key=value|value:key=value.
            own: optimizers of the user's, which have names beside the built-in ones.

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
        known = {one.optimizer.name: one for one in own}
        optimizers = [one.optimizer for one in known.values()]
        texts = (":".join((name, *chosen)) for chosen in itertools.product(*choices))
        settings = tuple(OptimizerSpec.parse(one, optimizers) for one in texts)
        keys = [part.partition("=")[0] for part, several in zip(parts, choices, strict=True) if len(several) > 1]
        listed = {key: tuple(dict.fromkeys(spec.chosen[key] for spec in settings)) for key in keys}
        return cls(text, settings, listed, known.get(settings[0].optimizer.name))

    @cached_property
    def family(self) -> MomentumFamily:
        """The family within which it is compared: `momentum` where any of its settings has momentum, else `plain`."""
        return "momentum" if self.settings_with_momentum else "plain"

    @cached_property
    def settings_with_momentum(self) -> tuple[str, ...]:
        """Labels of its settings that have momentum."""
        if self.own is not None:
            return tuple(spec.label for spec in self.settings if self.own.has_momentum(spec))
        return tuple(spec.label for spec in self.settings if has_momentum(spec.rule, spec.hyperparameters))

    def adds_momentum_to(self, plain: "SweptOptimizer") -> bool:
        """Whether it differs from another optimizer, which has no momentum, by momentum alone."""
        if (plain.family, self.family) != ("plain", "momentum"):
            return False
        if any(spec.is_torch for spec in (*plain.settings, *self.settings)):  # a class has no formula to compare
            return False
        forms = [{without_momentum(s.rule, s.hyperparameters) for s in one.settings} for one in (plain, self)]
        return forms[0] == forms[1]

    def values_at_edge(self, setting: OptimizerSpec) -> list[tuple[str, str]]:
        """Hyperparameters at an end of the values listed that is no end of the range, with `smallest` or `largest`."""
        out = []
        for name, values in self.listed.items():
            if name == "schedule":  # schedules have no order
                continue
            value, (low, high) = setting.chosen[name], _range(setting, name)
            if value == min(values) != low:
                out.append((name, "smallest"))
            elif value == max(values) != high:
                out.append((name, "largest"))
        return out


def _range(setting: OptimizerSpec, name: str) -> tuple[float, float]:
    """Ends of the range of a hyperparameter; a class does not say its ranges: those of torch.optim begin at 0."""
    if name == "beta2_samples":
        return 0.0, math.inf
    if isinstance(setting.optimizer, Rule):
        own = setting.optimizer.ranges[name]
        return own.low, own.high
    return 0.0, 1.0 if isinstance(setting.optimizer.hyperparameters[name], bool) else math.inf


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
