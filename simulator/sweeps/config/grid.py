"""What every sweep has: seeds, optimizers, learning rates, and how its configuration is stored."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeAlias

import numpy as np

from quadsim.simulator.rules.momentum import FAMILY_WORDS, MomentumFamily
from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.rules.schedules import resolve_schedule
from quadsim.simulator.rules.torch_classes import TorchOptimizer
from quadsim.simulator.support.arrays import array_of, is_masked_array, is_tensor
from quadsim.simulator.support.checks import check_known
from quadsim.simulator.support.devices import check_device
from quadsim.simulator.support.statistics import chosen_half, judged_half
from quadsim.simulator.sweeps.config.optimizers import SweptOptimizer, display_names
from quadsim.simulator.sweeps.config.options import SHARED, Options, checked
from quadsim.simulator.sweeps.config.own_optimizers import OwnOptimizer, named_optimizers

__all__ = [
    "FIRST_DECADES",
    "MOST_DECADES",
    "ROWS_UP_TO",
    "UNTIL",
    "SweepGrid",
    "SweepPoint",
    "option_name",
    "unique_values",
    "value_text",
]

FIRST_DECADES = 1
"""The grid of learning rates spans this many decades on each side of the natural rate to begin with."""

MOST_DECADES = 4
"""The grid of learning rates is extended up to this many decades on each side of the natural rate."""

ROWS_UP_TO = 10**7
"""Runs up to which rows are kept where nothing else is asked for."""

AnyOptimizer: TypeAlias = Any
"""An optimizer as a configuration takes it: text, a Rule, or a class derived from torch.optim.Optimizer.

What a configuration then holds is text alone. A dataclass field has one type for both, and a union would oblige everyone who
reads a configuration to rule out what is never there.
"""

UNTIL = {"first": "steps_to_tolerance", "stays": "steps_to_stay", "mean": "steps_to_mean"}
"""What counts as solved, with the column of its steps: the first step within the tolerance; the step from which on a run is
within it up to its last step; the end of the first window of ten steps whose mean is within it."""

_FORMAT = 1


class SweepPoint(Protocol):
    """One combination of dials."""

    @property
    def columns(self) -> dict[str, Any]:
        """What the point is, as columns of the summary."""

    @property
    def label(self) -> str:
        """What the point is called on the axis of comparison."""

    def natural_lr(self, spec: OptimizerSpec, tolerance: float) -> float:
        """The rate an optimizer's grid is centred on."""


@dataclass(frozen=True)
class SweepGrid:
    """Points x seeds x optimizers x learning rates.

    Attributes:
        seeds: problems at every point.
        seed: key of all draws.
        steps: length of every run.
        tolerance: what counts as solved, relative to the start or to the loss of a guess.
        until: what counts as solved, see UNTIL.
        select_on: seeds on which the best settings and rates are chosen: `all`, of which the statistics are as well (hindsight),
            or `half`: chosen on the even-numbered ones, statistics of the odd-numbered ones.
        schedule: as `cosine:warmup=100`.
        optimizers: as `adam:beta1=0`, or `adam:beta1=0|0.9` for several settings of which the best is chosen. A Rule or a class
            derived from torch.optim.Optimizer may stand among them; the field then holds its name.
        lr: fixed learning rates for all optimizers; None: a grid around each rule's natural rate.
        lr_density: rates a decade in that grid.
        dtype: `float64` or `float32`.
        device: `cpu` or `cuda`.
        own: optimizers that are not built in and that texts in `optimizers` may name: rules, classes, or what
            `load_optimizer_file` returned. The field then holds those that are named, each as a line of JSON (see
            `OwnOptimizer`).

    Raises:
        ValueError: any value or combination that cannot run.
    """

    kind: ClassVar[str]
    """Name of the family in the registry (see `families`)."""
    stores_kind: ClassVar[bool] = True
    """Whether `config.json` names the kind; that of quadratics does not, as in the first format there was no other."""
    dials: ClassVar[tuple[str, ...]]
    """Fields that hold several values, which are crossed."""
    added_fields: ClassVar[tuple[str, ...]] = ("until", "select_on")
    """Fields that the format did not have from the beginning."""

    seeds: int = SHARED["seeds"].field()
    seed: int = SHARED["seed"].field()
    steps: int = SHARED["steps"].field()
    tolerance: float = SHARED["tolerance"].field()
    until: str = SHARED["until"].field()
    select_on: str = SHARED["select_on"].field()
    schedule: str = SHARED["schedule"].field()
    optimizers: tuple[AnyOptimizer, ...] = SHARED["optimizers"].field()
    lr: tuple[float, ...] | None = SHARED["lr"].field()
    lr_density: int = SHARED["lr_density"].field()
    dtype: str = SHARED["dtype"].field()
    device: str = SHARED["device"].field()
    own: tuple[AnyOptimizer, ...] = ()

    def _check_grid(self) -> None:
        """Check what every sweep has and put it in one form.

        Raises:
            ValueError: a value that cannot run.
        """
        texts, own = named_optimizers(self.optimizers, self.own)
        object.__setattr__(self, "optimizers", texts)
        object.__setattr__(self, "own", tuple(one.text for one in own))
        object.__setattr__(self, "dtype", str(self.dtype).removeprefix("torch."))
        for name, value in checked(self.options(), self._values()).items():
            # Once more without repetitions: 8, "8" and "08" are one batch.
            has_several = self.options()[name].has_several and isinstance(value, tuple)
            object.__setattr__(self, name, unique_values(value) if has_several else value)
        if self.lr is not None:
            object.__setattr__(self, "lr", tuple(sorted(set(self.lr))))
        if self.select_on == "half" and self.seeds < 2:
            raise ValueError(
                f"seeds must be at least 2 to choose on half of them, got {self.seeds}; give more, or --select-on all."
            )
        if self.select_on == "half" and self.kept != "rows":
            raise ValueError(
                "select on must be all where counts are kept, which do not tell seeds apart, got 'half'; use --keep rows."
            )
        schedule = resolve_schedule(None if self.schedule is None else str(self.schedule))
        schedule.check(self.steps)
        object.__setattr__(self, "schedule", str(schedule))
        check_device(self.device)
        for spec in self.specs:  # reading the optimizers checks them, too
            if spec.schedule is not None:
                spec.schedule.check(self.steps)
            if spec.can_run:
                spec.check(1.0 if self.lr is None else self.lr, self.dtype)
        object.__setattr__(self, "own", tuple(self._with_momentum(one).text for one in own))

    @classmethod
    def options(cls) -> Options:
        """The options of this configuration: those of its fields that have one."""
        return {f.name: f.metadata["option"] for f in fields(cls) if "option" in f.metadata}

    def _values(self) -> dict[str, Any]:
        """The values of the options; a tuple, without repetitions, where an option has several."""
        found = {name: getattr(self, name) for name in self.options()}
        for name, option in self.options().items():
            if option.has_several and not (found[name] is None and option.default is None):
                found[name] = unique_values(found[name])
        return found

    def _with_momentum(self, own: OwnOptimizer) -> OwnOptimizer:
        """An optimizer of the user's with what its class answers about momentum, which without the class nobody can."""
        if not isinstance(own.optimizer, TorchOptimizer):
            return own
        swept = [one for one in self.swept if one.own is not None and one.own.optimizer.name == own.optimizer.name]
        labels = dict.fromkeys(label for one in swept for label in one.settings_with_momentum)
        return replace(own, with_momentum=tuple(labels))

    @cached_property
    def own_optimizers(self) -> tuple[OwnOptimizer, ...]:
        """The optimizers that are not built in, read."""
        return tuple(OwnOptimizer.read(text) for text in self.own)

    @cached_property
    def swept(self) -> tuple[SweptOptimizer, ...]:
        """The optimizers, read."""
        return tuple(SweptOptimizer.parse(text, self.own_optimizers) for text in self.optimizers)

    @cached_property
    def specs(self) -> tuple[OptimizerSpec, ...]:
        """All settings of all optimizers: what is run."""
        return tuple(spec for optimizer in self.swept for spec in optimizer.settings)

    @cached_property
    def optimizer_of(self) -> tuple[int, ...]:
        """For every one of `specs`, the position of its optimizer in `swept`."""
        return tuple(o for o, optimizer in enumerate(self.swept) for _ in optimizer.settings)

    @cached_property
    def families(self) -> dict[MomentumFamily, list[str]]:
        """The families that occur, `plain` first, with the texts of their optimizers."""
        found = {name: [one.text for one in self.swept if one.family == name] for name in FAMILY_WORDS}
        return {name: texts for name, texts in found.items() if texts}

    @cached_property
    def names(self) -> dict[str, str]:
        """What every optimizer is called in figures and sentences, by its text."""
        return display_names(self.swept)

    @property
    @abstractmethod
    def points(self) -> Sequence[SweepPoint]:
        """All combinations of the dials."""

    @property
    @abstractmethod
    def criterion(self) -> str:
        """When a run counts as solved, in words."""

    @property
    @abstractmethod
    def axis(self) -> str:
        """The column along which results are compared."""

    @property
    @abstractmethod
    def point_columns(self) -> tuple[str, ...]:
        """Columns that say what a point of the grid is."""

    @property
    @abstractmethod
    def facets(self) -> list[str]:
        """The dials beside the compared one that take several values."""

    @property
    def is_categorical(self) -> bool:
        """Whether the values along the axis are names, which have no order, and not numbers."""
        return False

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of what varies along the axis, as the heading of a column."""
        return (option_name(self.axis),)

    @property
    def axis_label(self) -> str:
        """Label of the axis of comparison in figures."""
        return option_name(self.axis)

    @property
    def axis_words(self) -> str:
        """What the axis of comparison is called within a sentence."""
        return option_name(self.axis)

    @property
    def axis_short(self) -> str:
        """What a value of the axis is called, as in "heterogeneity 10"."""
        return self.compared[0] if len(self.compared) == 1 else option_name(self.axis)

    @property
    def place(self) -> str:
        """The end of "How many steps gd and adam need": a template with the fields whose values it lists in braces."""
        return f"at {option_name(self.axis)} {{{self.axis}}}"

    @property
    def runs(self) -> int:
        """Number of runs before any extension of the grid."""
        return self._runs_up_to(FIRST_DECADES)

    @property
    def runs_at_most(self) -> int:
        """Number of runs where the grid is extended to its ends."""
        return self._runs_up_to(MOST_DECADES)

    def _runs_up_to(self, decades: int) -> int:
        rates = len(self.lr) if self.lr is not None else 2 * decades * self.lr_density + 1
        return len(self.points) * len(self.specs) * self.seeds * rates

    @property
    def criteria(self) -> tuple[str, ...]:
        """The values of `until` that the runs of this family record."""
        return self.options()["until"].choices

    @property
    def chosen_on(self) -> list[int]:
        """The seeds on which the best settings and rates are chosen."""
        return list(range(self.seeds)) if self.select_on == "all" else chosen_half(self.seeds)

    @property
    def reported(self) -> list[int]:
        """The seeds of which statistics are given."""
        return list(range(self.seeds)) if self.select_on == "all" else judged_half(self.seeds)

    @property
    def kept(self) -> str:
        """What is kept: a row a run, or counts."""
        return "rows"

    @property
    def kept_by_size(self) -> bool:
        """Whether `kept` follows from the number of runs, because the user did not ask for either."""
        return False

    @classmethod
    def check_options(cls, given: Mapping[str, Any]) -> None:
        """Check options that were given on the command line for combinations that contradict each other.

        A configuration cannot tell a default from the same value given by the user; here they can be told apart.

        Args:
            given: the values by the names of their fields.

        Raises:
            ValueError: two options of which one must be left out.
        """

    def exponent(self, k: int) -> Fraction:
        """The k-th exponent of the grid of learning rates, exactly."""
        return Fraction(k, self.lr_density)

    def rates(self, natural: float, exponents: Iterable[int]) -> list[float]:
        """Learning rates of a grid around a natural rate: natural * 10^(k/density) for every k of `exponents`."""
        return [natural * 10.0 ** float(self.exponent(k)) for k in exponents]

    def to_json(self) -> dict[str, Any]:
        """The configuration as it is stored.

        Fields that the format did not have from the beginning are left out at their defaults, so that a folder of an older
        version holds the same configuration.
        """
        added = {name: self.options()[name].default for name in self.added_fields}
        out = {name: _plain(value) for name, value in asdict(self).items() if name not in added or value != added[name]}
        del out["own"]
        out |= {"own": [json.loads(text) for text in self.own]} if self.own else {}
        return {"quadsim_format": _FORMAT, **({"kind": self.kind} if self.stores_kind else {}), **out}

    def write_files(self, folder: Path) -> None:
        """Write what belongs to the configuration and is too large for `config.json` into a result folder."""

    @classmethod
    def read_files(cls, values: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
        """Return the fields that `write_files` wrote.

        Args:
            values: the entries of `config.json`.
            folder: where it lies; None where it is in no folder.

        Raises:
            ValueError: files that are missing or are not those of the configuration.
        """
        return {}

    @classmethod
    def from_json(cls, content: Any, folder: Path | None = None) -> Self:
        """Read what `to_json` made.

        Args:
            content: the document.
            folder: where it lies, with what `write_files` wrote.

        Raises:
            ValueError: something that is not a configuration of this kind.
        """
        right = isinstance(content, dict) and content.get("quadsim_format") == _FORMAT
        if not right or content.get("kind", None if cls.stores_kind else cls.kind) != cls.kind:
            raise ValueError(
                f"config must be a document with quadsim_format {_FORMAT}, got {str(content)[:80]!r}; give a config.json that a "
                "sweep wrote."
            )
        values = {key: value for key, value in content.items() if key not in ("quadsim_format", "kind")}
        check_known("config entry", values, [f.name for f in fields(cls)])
        try:
            arguments: dict[str, Any] = {k: _frozen(v) for k, v in values.items() if k != "own"}
            return cls(**arguments | cls.read_files(values, folder), own=_documents(values.get("own", [])))
        except TypeError as error:
            raise ValueError(
                f"config must hold the entries of a sweep, got one that does not fit ({error})."
            ) from error

    @property
    def digest(self) -> str:
        """Ten hexadecimal digits that name the configuration."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:10]


def unique_values(values: Any) -> tuple[Any, ...]:
    """One value or several as a tuple, repeated ones dropped."""
    if is_tensor(values) or is_masked_array(values):
        values = np.atleast_1d(array_of("the values of a dial", values)).tolist()
    if isinstance(values, str) or not isinstance(values, Iterable):
        values = (values,)
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    return tuple(dict.fromkeys(tuple(v) if isinstance(v, list) else v for v in plain))


def option_name(name: str) -> str:
    """A field as a user knows it."""
    return name.replace("_", " ")


def value_text(value: Any) -> str:
    """A value of a dial as a user writes it: 1 also where a column holds 1.0, as it does beside 0.5. No digit is lost."""
    return repr(float(value)).removesuffix(".0") if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _documents(value: Any) -> tuple[str, ...]:
    """The texts of stored optimizers.

    Raises:
        ValueError: no list.
    """
    if not isinstance(value, list):
        raise ValueError(
            f"own must be a list of stored optimizers, got {value!r:.80}; give a config.json that a sweep wrote."
        )
    return tuple(json.dumps(document) for document in value)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
