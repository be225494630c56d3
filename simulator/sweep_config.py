"""SweepConfig: everything that determines a sweep, checked before anything runs."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from functools import cached_property
from typing import Any, Self

import numpy as np
import sympy as sp

from quadsim.simulator.checks import check_choice, check_count, check_interval, check_known
from quadsim.simulator.engines import ENGINES, check_device, resolve_dtype
from quadsim.simulator.memory import memory_text, physical_memory
from quadsim.simulator.quadratic import BlockQuadratic, block_sizes_from
from quadsim.simulator.rule import Rule, symbols
from quadsim.simulator.rules import resolve_rule
from quadsim.simulator.schedules import resolve_schedule
from quadsim.simulator.spectra import (
    DEFAULT_CONDITION_NUMBER,
    Spectra,
    case_spectra,
    extreme_eigenvalues,
    heterogeneity_of,
    spectra_from_dials,
)
from quadsim.simulator.starts import check_gradient_dials

__all__ = [
    "DIALS",
    "FIRST_DECADES",
    "FIXED_BY_CASE",
    "KEEP",
    "POINT_COLUMNS",
    "ROWS_UP_TO",
    "OptimizerSpec",
    "Point",
    "SweepConfig",
    "memory_text",
    "physical_memory",
]

DIALS = (
    "heterogeneity",
    "mode",
    "blocks",
    "block_size",
    "condition_number",
    "gradient_heterogeneity",
    "alignment",
    "rotation",
)
"""Dials of `BlockQuadratic.generate`; each may hold several values, which are crossed."""

POINT_COLUMNS = ("case", *DIALS, "heterogeneity_achieved")
"""Columns that say what a point of the grid is."""

FIXED_BY_CASE = ("heterogeneity", "mode", "blocks", "block_size", "condition_number")

FIRST_DECADES = 1
"""The grid of learning rates spans this many decades on each side of the natural rate to begin with."""

KEEP = ("rows", "quantiles")
"""A row per run and curves, or counts by status and a histogram of hitting times per point, optimizer and rate."""

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
        name, *options = text.strip().split(":")
        rule = resolve_rule(name)
        values: dict[str, float] = {}
        for option in options:
            key, equals, value = option.partition("=")
            if not equals:
                raise ValueError(
                    f"optimizer must be NAME or NAME:hyperparameter=value, got {text!r}; for example adam:beta1=0."
                )
            if key == "lr":
                raise ValueError(f"lr must be given for all optimizers alike, got {text!r}; use --lr for fixed rates.")
            values[key] = check_interval(f"{key} of {name}", value)
        rule.settings(1.0, **values)
        return cls(text.strip(), rule, values)


@dataclass(frozen=True)
class Point:
    """One combination of dials (or a case), as arguments that make its problems.

    Attributes:
        dials: arguments of `BlockQuadratic.generate`, or `case` and the dials a case leaves free.
    """

    dials: Mapping[str, Any]

    def problem(self, problems: int, seed: int, first: int = 0) -> BlockQuadratic:
        """Problems `first` to `first + problems - 1` of this point."""
        arguments = dict(self.dials) | {"problems": problems, "seed": seed, "first": first}
        if "case" in arguments:
            return BlockQuadratic.case(arguments.pop("case"), **arguments)
        return BlockQuadratic.generate(**arguments)

    @cached_property
    def block_sizes(self) -> tuple[int, ...]:
        """P_l of every block."""
        if "case" in self.dials:
            return tuple(spectrum.size for spectrum in self.spectra)
        return block_sizes_from(self.dials["blocks"], self.dials["block_size"])

    @cached_property
    def spectra(self) -> Spectra:
        """The eigenvalues of every block: all that does not depend on a draw."""
        if "case" in self.dials:
            return case_spectra(self.dials["case"])
        dials = self.dials
        return spectra_from_dials(self.block_sizes, dials["heterogeneity"], dials["mode"], dials["condition_number"])

    def check(self) -> None:
        """Check all dials without making a problem.

        Raises:
            ValueError: a dial out of range, or dials that contradict each other.
        """
        check_interval("rotation", self.dials["rotation"], 0.0, 1.0)
        check_gradient_dials(self.spectra, self.dials["gradient_heterogeneity"], self.dials["alignment"])

    @property
    def columns(self) -> dict[str, Any]:
        """The dials as columns of the summary; a case has the values of its spectra."""
        achieved = heterogeneity_of(self.spectra)
        out: dict[str, Any] = {"case": self.dials.get("case")} | {name: self.dials.get(name) for name in DIALS}
        size = out["block_size"]
        out["block_size"] = "+".join(map(str, size)) if isinstance(size, tuple) else str(size)
        out["blocks"] = len(self.block_sizes)
        if out["case"] is not None:
            largest, smallest = extreme_eigenvalues(self.spectra)
            out |= {"heterogeneity": achieved, "mode": "case", "condition_number": largest / smallest}
            out["block_size"] = "+".join(map(str, self.block_sizes))
        elif out["condition_number"] is None:
            out["condition_number"] = DEFAULT_CONDITION_NUMBER[out["mode"]]
        return out | {"heterogeneity_achieved": achieved}

    def natural_lr(self, spec: OptimizerSpec, tolerance: float) -> float:
        """The rate a rule's grid is centred on: `Rule.natural_lr` at this point's spectra.

        The typical size of a coordinate of e_0 is 1 where coefficients are standard normal; with the gradient dial it is that
        of H^-1 g for |g_i| of 1. No draw enters, so all seeds share the rate bit by bit.
        """
        eigenvalues = np.sort(np.concatenate(self.spectra))
        has_gradient_dial = self.dials.get("gradient_heterogeneity") is not None
        values = {
            symbols.L: float(eigenvalues[-1]),
            symbols.mu: float(eigenvalues[0]),
            symbols.trace: float(np.sum(eigenvalues)),
            symbols.dimension: float(eigenvalues.size),
            symbols.error_scale: float(np.sqrt(np.mean(eigenvalues**-2.0))) if has_gradient_dial else 1.0,
            symbols.tolerance: tolerance,
        }
        for symbol, hyperparameter in spec.rule.hyperparameters.items():
            values[symbol] = spec.hyperparameters.get(str(symbol), hyperparameter.default)
        return float(sp.N(spec.rule.natural_lr.subs(values)))

    @property
    def label(self) -> str:
        """What the point is called on the axis of comparison."""
        return str(self.dials["case"]) if "case" in self.dials else f"heterogeneity {self.dials['heterogeneity']:g}"


@dataclass(frozen=True)
class SweepConfig:
    """A grid of problems x seeds x optimizers x learning rates. With the same configuration a sweep gives the same results.

    Attributes:
        heterogeneity: c = max L_l / min L_l; like every dial here one value or several, which are crossed.
        mode: `scale` or `arrange`.
        blocks: B.
        block_size: P_l; a tuple inside the tuple holds the sizes of one problem, as `((1, 4, 9),)`.
        condition_number: of a block in `scale` (None: 10), of the whole in `arrange` (None: 5000).
        gradient_heterogeneity: see `BlockQuadratic.generate`.
        alignment: see there.
        rotation: see there.
        case: named cases instead of the first five dials.
        seeds: problems at every point.
        seed: key of all draws.
        steps: length of every run.
        tolerance: relative to the gap at the start.
        schedule: as `cosine:warmup=100`.
        optimizers: as `adam:beta1=0`.
        lr: fixed learning rates for all optimizers; None: a grid around each rule's natural rate.
        lr_density: rates a decade in that grid.
        dtype: `float64` or `float32`.
        device: `cpu` or `cuda`.
        engine: `auto` or an engine's name.
        keep: `rows` or `quantiles`, see KEEP; None: rows up to ROWS_UP_TO runs (see `kept`).

    Raises:
        ValueError: any value or combination that cannot run.
    """

    heterogeneity: tuple[float, ...] = (1.0, 10.0, 100.0)
    mode: tuple[str, ...] = ("scale",)
    blocks: tuple[int, ...] = (4,)
    block_size: tuple[int | tuple[int, ...], ...] = (8,)
    condition_number: tuple[float | None, ...] = (None,)
    gradient_heterogeneity: tuple[float | None, ...] = (None,)
    alignment: tuple[float | None, ...] = (None,)
    rotation: tuple[float, ...] = (1.0,)
    case: tuple[str, ...] = ()
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
    engine: str = "auto"
    keep: str | None = None

    def __post_init__(self) -> None:
        for name in (*DIALS, "case", "optimizers"):
            object.__setattr__(self, name, _unique(name, getattr(self, name)))
        for name in (*DIALS, "optimizers"):
            if not getattr(self, name):
                raise ValueError(
                    f"{_option(name)} must hold at least one value, got an empty list; give one or leave it out."
                )
        if self.lr is not None:
            rates = sorted(check_interval("lr", lr, 0.0, low_open=True) for lr in _unique("lr", self.lr))
            if not rates:
                raise ValueError("lr must hold at least one value, got an empty list; give one or leave it out.")
            object.__setattr__(self, "lr", tuple(rates))
        for name in ("seeds", "steps", "lr_density"):
            object.__setattr__(self, name, check_count(_option(name), getattr(self, name)))
        object.__setattr__(self, "seed", check_count("seed", self.seed, 0))
        tolerance = check_interval("tolerance", self.tolerance, 0.0, 1.0, low_open=True, high_open=True)
        object.__setattr__(self, "tolerance", tolerance)
        schedule = resolve_schedule(None if self.schedule is None else str(self.schedule))
        schedule.check(self.steps)
        object.__setattr__(self, "schedule", str(schedule))
        resolve_dtype(self.dtype)
        check_device(self.device)
        check_choice("engine", self.engine, ("auto", *ENGINES))
        if self.keep is not None:
            check_choice("keep", self.keep, KEEP)
        self.specs  # noqa: B018 - reading the optimizers checks them
        if self.case:
            for name in FIXED_BY_CASE:
                if getattr(self, name) != _DEFAULTS[name]:
                    raise ValueError(
                        f"{_option(name)} must be left out with a case, which fixes it, got {getattr(self, name)}; drop one "
                        "of the two."
                    )
        else:
            numbers = tuple(check_interval("heterogeneity", c, 1.0) for c in self.heterogeneity)
            object.__setattr__(self, "heterogeneity", tuple(sorted(numbers)))
        for point in self.points:
            largest = max(point.block_sizes) if not self.case else 1
            if 8.0 * largest**2 > physical_memory():
                raise ValueError(
                    f"block size must fit in memory ({memory_text(physical_memory())} here), got {largest}, whose matrix alone "
                    f"needs {memory_text(8.0 * largest**2)}; use smaller blocks."
                )
            point.check()

    @cached_property
    def specs(self) -> tuple[OptimizerSpec, ...]:
        """The optimizers, read."""
        return tuple(OptimizerSpec.parse(str(text)) for text in self.optimizers)

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """All combinations of the dials, heterogeneity varying fastest."""
        free = {name: getattr(self, name) for name in ("gradient_heterogeneity", "alignment", "rotation")}
        if self.case:
            names = (*free, "case")
            axes = [*free.values(), self.case]
        else:
            names = (*DIALS[1:], DIALS[0])
            axes = [getattr(self, name) for name in names]
        out = []
        for values in itertools.product(*axes):
            dials = dict(zip(names, values, strict=True))
            out.append(Point(dials))
        return tuple(out)

    @property
    def runs(self) -> int:
        """Number of runs before any extension of the grid."""
        rates = len(self.lr) if self.lr is not None else 2 * FIRST_DECADES * self.lr_density + 1
        return len(self.points) * len(self.specs) * self.seeds * rates

    @property
    def kept(self) -> str:
        """What is kept, of KEEP."""
        return self.keep or ("rows" if self.runs <= ROWS_UP_TO else "quantiles")

    @property
    def axis(self) -> str:
        """The column along which results are compared."""
        return "case" if self.case else "heterogeneity"

    def exponent(self, k: int) -> Fraction:
        """The k-th exponent of the grid of learning rates, exactly."""
        return Fraction(k, self.lr_density)

    def to_json(self) -> dict[str, Any]:
        """The configuration as it is stored."""
        out = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        out["block_size"] = [list(size) if isinstance(size, tuple) else size for size in self.block_size]
        return {"quadsim_format": _FORMAT, **out}

    @classmethod
    def from_json(cls, content: Any) -> Self:
        """Read what `to_json` made.

        Raises:
            ValueError: something that is not a configuration.
        """
        if not isinstance(content, dict) or content.get("quadsim_format") != _FORMAT:
            raise ValueError(
                f"config must be a document with quadsim_format {_FORMAT}, got {str(content)[:80]!r}; give a config.json that a "
                "sweep wrote."
            )
        values = {key: value for key, value in content.items() if key != "quadsim_format"}
        check_known("config entry", values, [f.name for f in fields(cls)])
        try:
            if "block_size" in values:
                values["block_size"] = tuple(tuple(s) if isinstance(s, list) else s for s in values["block_size"])
            arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
            return cls(**arguments)
        except TypeError as error:
            raise ValueError(
                f"config must hold the entries of a sweep, got one that does not fit ({error})."
            ) from error

    @property
    def digest(self) -> str:
        """Ten hexadecimal digits that name the configuration."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:10]


_DEFAULTS = {f.name: f.default for f in fields(SweepConfig)}


def _unique(name: str, values: Any) -> tuple[Any, ...]:
    """One value or several as a tuple, repeated ones dropped."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        values = (values,)
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    return tuple(dict.fromkeys(tuple(v) if isinstance(v, list) else v for v in plain))


def _option(name: str) -> str:
    return name.replace("_", " ")
