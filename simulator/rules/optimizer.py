"""OptimizerSpec: an optimizer with hyperparameters, as it is written on the command line, given in Python, or stored."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.rules.catalogue import OTHER_NAMES, RULES
from quadsim.simulator.rules.optimizer_file import check_own_name
from quadsim.simulator.rules.rule import LEARNING_RATE, Rule
from quadsim.simulator.rules.schedules import Schedule, resolve_schedule
from quadsim.simulator.rules.settings_first import check_settings
from quadsim.simulator.rules.torch_classes import TorchOptimizer, check_optimizer
from quadsim.simulator.support.checks import check_choice, check_interval, check_known, named_options

__all__ = ["OptimizerSpec", "resolve_optimizer"]


@dataclass(frozen=True)
class OptimizerSpec:
    """An optimizer with hyperparameters, as in `adam:beta1=0:beta2=0.95`; that text is its label.

    Attributes:
        label: NAME or NAME:key=value.
        optimizer: a rule, or a class of torch.optim's shape.
        hyperparameters: those that differ from the defaults.
        schedule: the schedule of this optimizer alone; None: that of the run. In the text, `+` stands before its options, as in
            `gd:schedule=wsd+warmup=100+decay=0.3`.
        beta2_samples: half-life of the mean squared gradient in samples, N: with b samples a step beta2 = 2^(-b/N) (Marek et al.,
            arXiv 2507.07101). None: beta2 is a hyperparameter like others.
    """

    label: str
    optimizer: Rule | TorchOptimizer
    hyperparameters: Mapping[str, float]
    schedule: Schedule | None = None
    beta2_samples: float | None = None

    @classmethod
    def parse(cls, text: str, own: Iterable[Rule | TorchOptimizer] = ()) -> Self:
        """Return the OptimizerSpec of a text.

        Args:
            text: NAME or NAME:key=value:key=value.
            own: optimizers of the user's, which have names beside those of RULES.

        Raises:
            ValueError: an unknown optimizer or hyperparameter, or a value out of range.
        """
        name, options = named_options("optimizer", text)
        known: dict[str, Rule | TorchOptimizer] = {**RULES, **{optimizer.name: optimizer for optimizer in own}}
        optimizer = known[check_choice("optimizer", name, known, OTHER_NAMES)]
        values: dict[str, float] = {}
        schedule = options.pop("schedule", None)
        half_life = options.pop("beta2_samples", None)
        for key, value in options.items():
            if key == "lr":
                raise ValueError(f"lr must be given for all optimizers alike, got {text!r}; use --lr for fixed rates.")
            values[key] = check_interval(f"{key} of {name}", value)
        spec = cls(
            text.strip(),
            optimizer,
            values,
            None if schedule is None else resolve_schedule(str(schedule).replace("+", ":")),
            None if half_life is None else _half_life(optimizer, values, half_life),
        )
        spec.settings(1.0)
        return spec

    @property
    def is_torch(self) -> bool:
        """Whether it is a class of torch.optim's shape, which has no rule."""
        return isinstance(self.optimizer, TorchOptimizer)

    @property
    def chosen(self) -> dict[str, Any]:
        """All that the text gives: the hyperparameters, and `schedule` (as text) and `beta2_samples` where it has them."""
        own = {"schedule": self.schedule and str(self.schedule), "beta2_samples": self.beta2_samples}
        return {**self.hyperparameters, **{name: value for name, value in own.items() if value is not None}}

    def at_batch(self, batch: int | None) -> "OptimizerSpec":
        """Return the spec with the beta2 of a batch: itself where beta2 is not kept by its half-life in samples.

        Args:
            batch: samples a step; None: every step sees all data, so that there are no samples to count.

        Raises:
            ValueError: a half-life in samples without a batch.
        """
        if self.beta2_samples is None:
            return self
        if batch is None:
            raise ValueError(
                f"beta2_samples must come with a batch of samples, got {self.label} with the full batch; add --batch 8, or give "
                "beta2."
            )
        beta2 = 2.0 ** (-batch / self.beta2_samples)
        return replace(self, hyperparameters={**self.hyperparameters, "beta2": beta2}, beta2_samples=None)

    @property
    def can_run(self) -> bool:
        """Whether it is a rule or a class that is loaded, and not the record of a class alone."""
        return isinstance(self.optimizer, Rule) or self.optimizer.loaded is not None

    @property
    def rule(self) -> Rule:
        """The rule that this spec names, not a torch class.

        Raises:
            ValueError: it is a torch class.
        """
        if isinstance(self.optimizer, TorchOptimizer):
            raise ValueError(
                f"optimizer must be a rule here, got the torch class {self.optimizer.name}, which has no formula; leave it out."
            )
        return self.optimizer

    def settings(self, lr: ArrayLike) -> dict[str, NDArray[np.float64]]:
        """The settings axis, as `Rule.settings`; of a torch class the learning rates alone.

        Raises:
            ValueError: a hyperparameter that is unknown or out of range.
        """
        if isinstance(self.optimizer, Rule):
            return self.optimizer.settings(lr, **self.hyperparameters)
        check_known(f"hyperparameter of {self.optimizer.name}", self.hyperparameters, self.optimizer.hyperparameters)
        if self.optimizer.loaded is not None:
            self.optimizer.options(self.hyperparameters)
        return {"lr": LEARNING_RATE.check("lr", lr)}

    def check(self, lr: ArrayLike, dtype: str) -> None:
        """Check that it can run at these rates in a number type (see `check_settings`); a torch class takes one step.

        Raises:
            ValueError: a value out of range or that the type rounds to an end of its range, or a class that takes no step.
        """
        settings = self.settings(lr)
        if isinstance(self.optimizer, Rule):
            check_settings(self.optimizer, settings, dtype)
        else:
            options = self.optimizer.options(self.hyperparameters)
            check_optimizer(self.optimizer.check_loaded(), float(settings["lr"][0]), options)

    def natural_lr(self, values: Mapping[str, float]) -> float:
        """Return `Rule.natural_lr` for these values of its symbols, by name, and the hyperparameters of the text.

        For a torch class it is the natural rate of Adam: the grid of a sweep widens where the best rate lies at its edge.
        """
        rule = RULES["adam"] if isinstance(self.optimizer, TorchOptimizer) else self.optimizer
        own = {} if rule is not self.optimizer else self.hyperparameters
        read = rule.fact("natural_lr reads", lambda: sorted(map(str, rule.natural_lr.free_symbols)))
        known = {**values, **{name: own.get(name, one.default) for name, one in rule.ranges.items()}}
        used = {name: value for name, value in known.items() if name in read}
        return float(rule.fact(f"natural_lr at {used}", partial(_natural_lr, rule, used)))

    def to_document(self) -> str | dict[str, Any]:
        """What is stored: the label of a built-in rule, else the label with the rule as text or the record of the class.

        Raises:
            ValueError: a rule that has no text (see `rule_to_document`).
        """
        if isinstance(self.optimizer, TorchOptimizer):
            return {"label": self.label, "class": self.optimizer.to_document()}
        if RULES.get(self.optimizer.name) is self.optimizer:
            return self.label
        from quadsim.simulator.rules.rule_text import rule_to_document

        return {"label": self.label, "rule": rule_to_document(self.optimizer)}

    @classmethod
    def from_document(cls, document: Any, own: Iterable[Rule | TorchOptimizer] = ()) -> Self:
        """What `to_document` stored. Runs no code: a class that torch.optim does not have is taken from `own`, or is a record.

        Args:
            document: a label, or a mapping with `label` and `rule` or `class`; it may come from anybody.
            own: what `load_optimizer_file` returned.

        Raises:
            ValueError: another document, or a class in `own` whose source is not the one that was stored.
        """
        if isinstance(document, str):
            return cls.parse(document, own)
        if isinstance(document, dict) and isinstance(document.get("label"), str):
            if set(document) == {"label", "rule"}:
                from quadsim.simulator.rules.rule_text import rule_from_document

                stored = rule_from_document(document["rule"])
                check_own_name(stored)
                return cls.parse(document["label"], [stored])
            if set(document) == {"label", "class"}:
                return cls.parse(document["label"], [_with_class(TorchOptimizer.from_document(document["class"]), own)])
        raise ValueError(
            f"stored optimizer must be a label, or a mapping of label and rule or class, got {document!r:.80}; "
            "write it with OptimizerSpec.to_document."
        )


def _half_life(optimizer: Rule | TorchOptimizer, values: Mapping[str, float], samples: Any) -> float:
    """Return the half-life, checked.

    Raises:
        ValueError: a number that is not above 0, beta2 beside it, or an optimizer without beta2.
    """
    known = optimizer.hyperparameters if isinstance(optimizer, TorchOptimizer) else map(str, optimizer.hyperparameters)
    if "beta2" not in known:
        raise ValueError(
            f"beta2_samples must be given to an optimizer with beta2, got {optimizer.name}, which has none; leave it out."
        )
    if "beta2" in values:
        raise ValueError(
            f"beta2_samples of {optimizer.name} must not be given beside beta2, got {values['beta2']:g} too; give one of them."
        )
    return check_interval(f"beta2_samples of {optimizer.name}", samples, 0.0, low_open=True)


def _natural_lr(rule: Rule, values: Mapping[str, float]) -> float:
    import sympy as sp

    return float(sp.N(rule.natural_lr.subs({s: values[str(s)] for s in rule.natural_lr.free_symbols})))


def _with_class(stored: TorchOptimizer, own: Iterable[Rule | TorchOptimizer]) -> TorchOptimizer:
    """The class of that name among the user's, or the record alone where there is none.

    Raises:
        ValueError: one of that name with another source.
    """
    given = [o for o in own if isinstance(o, TorchOptimizer) and o.name == stored.name]
    if not given or stored.loaded is not None:
        return stored
    if given[0].source_hash != stored.source_hash:
        raise ValueError(
            f"optimizer {stored.name} must have the source that was stored ({stored.source_hash[:12]}), got "
            f"{given[0].qualified_name} with {given[0].source_hash[:12]}; give the file as it was, or a new folder."
        )
    return given[0]


def resolve_optimizer(value: Any, own: Iterable[Rule | TorchOptimizer] = ()) -> OptimizerSpec:
    """The spec of anything that names an optimizer.

    Args:
        value: text as `adam:beta1=0`, a Rule, a class derived from torch.optim.Optimizer, a TorchOptimizer, a spec or what
            `OptimizerSpec.to_document` stored.
        own: optimizers of the user's that text may name.

    Raises:
        ValueError: anything else, or a name that is taken.
    """
    if isinstance(value, OptimizerSpec):
        return value
    if isinstance(value, str | dict):
        return OptimizerSpec.from_document(value, own)
    optimizer = value if isinstance(value, Rule | TorchOptimizer) else TorchOptimizer.of(value)
    check_own_name(optimizer)
    return OptimizerSpec.parse(optimizer.name, [optimizer])
