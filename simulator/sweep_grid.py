"""What every sweep has: seeds, optimizers, learning rates, and how its configuration is stored."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from functools import cached_property
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import sympy as sp
import torch

from quadsim.simulator.checks import check_count, check_interval, check_known, check_seed, named_options
from quadsim.simulator.engines import check_device, resolve_dtype
from quadsim.simulator.engines.settings_first import check_settings
from quadsim.simulator.given import array_of
from quadsim.simulator.rule import Rule
from quadsim.simulator.rules import resolve_rule
from quadsim.simulator.schedules import resolve_schedule

__all__ = ["FIRST_DECADES", "ROWS_UP_TO", "OptimizerSpec", "SweepGrid", "SweepPoint", "option_name", "unique_values"]

MOST_LR_DENSITY = 1000  # rates a decade
FIRST_DECADES = 1
"""The grid of learning rates spans this many decades on each side of the natural rate to begin with."""

ROWS_UP_TO = 10**7
"""Runs up to which rows are kept where nothing else is asked for."""

_FORMAT = 1


@dataclass(frozen=True)
class OptimizerSpec:
    """An optimizer with hyperparameters, as in `adam:beta1=0:beta2=0.95`; that text is its label."""

    label: str
    rule: Rule
    hyperparameters: Mapping[str, float]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text.

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
        """`Rule.natural_lr` at these values of its symbols and the hyperparameters asked for."""
        own = {s: self.hyperparameters.get(str(s), h.default) for s, h in self.rule.hyperparameters.items()}
        return float(sp.N(self.rule.natural_lr.subs({**values, **own})))


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
        schedule: as `cosine:warmup=100`.
        optimizers: as `adam:beta1=0`.
        lr: fixed learning rates for all optimizers; None: a grid around each rule's natural rate.
        lr_density: rates a decade in that grid.
        dtype: `float64` or `float32`.
        device: `cpu` or `cuda`.

    Raises:
        ValueError: any value or combination that cannot run.
    """

    kind: ClassVar[str]
    dials: ClassVar[tuple[str, ...]]
    """Fields that hold several values, which are crossed."""

    seeds: int = 16
    seed: int = 0
    steps: int = 10_000
    tolerance: float = 1e-6
    schedule: str = "constant"
    optimizers: tuple[str, ...] = ("gd", "signsgd", "adam")
    lr: tuple[float, ...] | None = None
    lr_density: int = 4
    dtype: str = "float64"
    device: str = "cpu"

    def _check_grid(self) -> None:
        """Check what every sweep has and put it in one form.

        Raises:
            ValueError: a value that cannot run.
        """
        for name in (*self.dials, "optimizers"):
            object.__setattr__(self, name, unique_values(getattr(self, name)))
            if not getattr(self, name):
                raise ValueError(
                    f"{option_name(name)} must hold at least one value, got an empty list; give one or leave it out."
                )
        if self.lr is not None:
            rates = sorted({check_interval("lr", lr, 0.0, low_open=True) for lr in unique_values(self.lr)})
            if not rates:
                raise ValueError("lr must hold at least one value, got an empty list; give one or leave it out.")
            object.__setattr__(self, "lr", tuple(rates))
        for name in ("seeds", "steps"):
            object.__setattr__(self, name, check_count(option_name(name), getattr(self, name)))
        object.__setattr__(self, "lr_density", check_count("lr density", self.lr_density, high=MOST_LR_DENSITY))
        object.__setattr__(self, "seed", check_seed(self.seed))
        tolerance = check_interval("tolerance", self.tolerance, 0.0, 1.0, low_open=True, high_open=True)
        object.__setattr__(self, "tolerance", tolerance)
        schedule = resolve_schedule(None if self.schedule is None else str(self.schedule))
        schedule.check(self.steps)
        object.__setattr__(self, "schedule", str(schedule))
        dtype = str(resolve_dtype(self.dtype)).removeprefix("torch.")
        check_device(self.device)
        for spec in self.specs:  # reading the optimizers checks them, too
            tried = 1.0 if self.lr is None else self.lr
            check_settings(spec.rule, spec.rule.settings(tried, **spec.hyperparameters), dtype)

    @cached_property
    def specs(self) -> tuple[OptimizerSpec, ...]:
        """The optimizers, read."""
        return tuple(OptimizerSpec.parse(str(text)) for text in self.optimizers)

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
    def runs(self) -> int:
        """Number of runs before any extension of the grid."""
        rates = len(self.lr) if self.lr is not None else 2 * FIRST_DECADES * self.lr_density + 1
        return len(self.points) * len(self.specs) * self.seeds * rates

    @property
    def kept(self) -> str:
        """What is kept: a row a run, or counts."""
        return "rows"

    def exponent(self, k: int) -> Fraction:
        """The k-th exponent of the grid of learning rates, exactly."""
        return Fraction(k, self.lr_density)

    def to_json(self) -> dict[str, Any]:
        """The configuration as it is stored."""
        out = {name: _plain(value) for name, value in asdict(self).items()}
        return {"quadsim_format": _FORMAT, **({} if self.kind == "quadratic" else {"kind": self.kind}), **out}

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Read what `to_json` made.

        Raises:
            ValueError: something that is not a configuration of this kind.
        """
        right = isinstance(content, dict) and content.get("quadsim_format") == _FORMAT
        if not right or content.get("kind", "quadratic") != cls.kind:
            raise ValueError(
                f"config must be a document with quadsim_format {_FORMAT}, got {str(content)[:80]!r}; give a config.json that a "
                "sweep wrote."
            )
        values = {key: value for key, value in content.items() if key not in ("quadsim_format", "kind")}
        check_known("config entry", values, [f.name for f in fields(cls)])
        try:
            arguments: dict[str, Any] = {k: _frozen(v) for k, v in values.items()}
            return cls(**arguments)
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
    if isinstance(values, torch.Tensor | np.ma.MaskedArray):
        values = np.atleast_1d(array_of("the values of a dial", values)).tolist()
    if isinstance(values, str) or not isinstance(values, Iterable):
        values = (values,)
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    return tuple(dict.fromkeys(tuple(v) if isinstance(v, list) else v for v in plain))


def option_name(name: str) -> str:
    """A field as a user knows it."""
    return name.replace("_", " ")


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
