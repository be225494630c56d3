"""Optimizers of the user's own in a sweep: a configuration names them by text and holds what builds them again."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.momentum import has_momentum
from quadsim.simulator.rules.optimizer import OptimizerSpec, resolve_optimizer
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.rules.torch_classes import TorchOptimizer

__all__ = ["OwnOptimizer", "named_optimizers"]

_WITH_MOMENTUM = "with_momentum"


@dataclass(frozen=True)
class OwnOptimizer:
    """An optimizer that is not built in.

    Attributes:
        optimizer: a rule or a class.
        with_momentum: of a class, the labels of those settings of the sweep that have momentum. Only the loaded class can be
            asked for it, so the answer is stored.
    """

    optimizer: Rule | TorchOptimizer
    with_momentum: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> "OwnOptimizer":
        """Read what `text` returned. It runs no code.

        Raises:
            ValueError: another text.
        """
        try:
            document = json.loads(text)
        except ValueError as error:
            raise ValueError(
                f"own must hold rules, classes or stored optimizers, got the text {text!r:.80}; of a file give what "
                "load_optimizer_file returns."
            ) from error
        labels = document.pop(_WITH_MOMENTUM, []) if isinstance(document, dict) else []
        if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
            raise ValueError(
                f"{_WITH_MOMENTUM} of a stored optimizer must be a list of labels, got {labels!r:.80}; give a config.json that "
                "a sweep wrote."
            )
        if not isinstance(document, dict):
            raise ValueError(
                f"own must hold the stored optimizers of a sweep, got {document!r:.80}; give a config.json that a sweep wrote."
            )
        return cls(OptimizerSpec.from_document(document).optimizer, tuple(labels))

    @property
    def document(self) -> Any:
        """What `OptimizerSpec.to_document` stores of it, at its default hyperparameters."""
        return OptimizerSpec.parse(self.optimizer.name, [self.optimizer]).to_document()

    @property
    def text(self) -> str:
        """What a configuration holds: one line of JSON."""
        momentum = {_WITH_MOMENTUM: list(self.with_momentum)} if self.with_momentum else {}
        return json.dumps(self.document | momentum)

    @property
    def words(self) -> str:
        """What it is, for a reader of results: "NAdam (torch.optim.NAdam of torch 2.9, source 0123456789ab)"."""
        if isinstance(self.optimizer, Rule):
            return f"{self.optimizer.name} (a rule, stored in config.json)"
        one = self.optimizer
        package = f" of {one.package} {one.version}".rstrip() if one.package else ""
        return f"{one.name} ({one.qualified_name}{package}, source {one.source_hash[:12]})"

    def has_momentum(self, spec: OptimizerSpec) -> bool:
        """Whether a setting of it has momentum (see `rules.momentum.has_momentum`)."""
        if isinstance(self.optimizer, Rule):
            return has_momentum(self.optimizer, spec.hyperparameters)
        if self.optimizer.loaded is None:
            return spec.label in self.with_momentum
        return self.optimizer.has_momentum(spec.hyperparameters)


def named_optimizers(optimizers: Any, own: Any) -> tuple[tuple[str, ...], tuple[OwnOptimizer, ...]]:
    """The texts of optimizers, and those of them that are not built in.

    Args:
        optimizers: one or several; text, or what `resolve_optimizer` takes.
        own: one or several that texts may name; the text of an `OwnOptimizer`, or what `resolve_optimizer` takes.

    Returns:
        Texts without repetitions, and the optimizers that they name, in the order of the texts.

    Raises:
        ValueError: a value that is no optimizer, or two optimizers of one name.
    """
    known: dict[str, OwnOptimizer] = {}
    for value in _several(own):
        _add(known, OwnOptimizer.read(value) if isinstance(value, str) else OwnOptimizer(_resolved(value).optimizer))
    texts = []
    for value in _several(optimizers):
        if isinstance(value, str):
            texts.append(value.strip())
            continue
        spec = _resolved(value)
        texts.append(spec.label)
        if RULES.get(spec.optimizer.name) is not spec.optimizer:
            _add(known, OwnOptimizer(spec.optimizer))
    names = dict.fromkeys(text.partition(":")[0].strip() for text in texts)
    return tuple(dict.fromkeys(texts)), tuple(known[name] for name in names if name in known)


def _resolved(value: Any) -> OptimizerSpec:
    """The spec; a rule as it is read again from its text, which is what runs, here and on another machine."""
    spec = resolve_optimizer(value)
    return spec if spec.is_torch else OptimizerSpec.from_document(spec.to_document())


def _add(known: dict[str, OwnOptimizer], one: OwnOptimizer) -> None:
    """Add an optimizer under its name.

    Raises:
        ValueError: another one has that name.
    """
    name = one.optimizer.name
    if (
        name in known and known[name].document != one.document
    ):  # two rules are never equal, what is stored of them may be
        raise ValueError(f"optimizers must differ in name, got two that are called {name!r}; rename one.")
    known.setdefault(name, one)


def _several(values: Any) -> Sequence[Any]:
    """One value or several."""
    alone = isinstance(values, str | Mapping) or not isinstance(values, Iterable)
    return [values] if alone else list(values)
