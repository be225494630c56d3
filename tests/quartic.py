"""Gradient descent on f(e) = a e^4 / 4 + e^2 / 2, as a family of problems for sweeps."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.runs.status import statuses_of
from quadsim.simulator.runs.trajectory import recorded_steps
from quadsim.simulator.sweeps.config.families import Family
from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.config.options import SHARED, Option, above_zero, fraction
from quadsim.simulator.sweeps.work.work import PROCESS_BYTES, Columns, Work

OPTIONS = {
    "sharpness": Option((1.0, 10.0), "a of a quartic instead of quadratics", "numbers", check=above_zero),
    "steps": replace(SHARED["steps"], default=300),
    "tolerance": Option(1e-2, "height to reach, relative to the start", "number", "NUMBER", check=fraction),
    "optimizers": replace(SHARED["optimizers"], default=("gd", "signsgd")),
}
STEPS = {"gd": lambda gradient: gradient, "signsgd": np.sign}


@dataclass(frozen=True)
class QuarticPoint:
    """One sharpness a."""

    sharpness: float

    @property
    def columns(self) -> dict[str, Any]:
        return {"sharpness": self.sharpness}

    @property
    def label(self) -> str:
        return f"sharpness {self.sharpness:g}"

    def natural_lr(self, spec: OptimizerSpec, tolerance: float) -> float:
        return 1.0 / (1.0 + 3.0 * self.sharpness) if spec.rule.name == "gd" else 0.01


@dataclass(frozen=True)
class QuarticConfig(SweepGrid):
    """Values of a x seeds x optimizers x learning rates."""

    kind: ClassVar[str] = "quartic"
    dials: ClassVar[tuple[str, ...]] = ("sharpness",)

    steps: int = OPTIONS["steps"].field()
    tolerance: float = OPTIONS["tolerance"].field()
    optimizers: tuple[str, ...] = OPTIONS["optimizers"].field()
    sharpness: tuple[float, ...] = OPTIONS["sharpness"].field()

    axis = "sharpness"
    point_columns = ("sharpness",)
    facets: ClassVar[list[str]] = []

    def __post_init__(self) -> None:
        self._check_grid()
        object.__setattr__(self, "sharpness", tuple(sorted(self.sharpness)))

    @cached_property
    def points(self) -> tuple[QuarticPoint, ...]:
        return tuple(QuarticPoint(a) for a in self.sharpness)

    @property
    def criterion(self) -> str:
        return f"the height is {self.tolerance:g} of the start"


class QuarticWork(Work[QuarticConfig, QuarticPoint, Any]):
    """Units of four problems."""

    curves = ("height",)

    def check(self) -> None:
        for spec in self.config.specs:
            if spec.rule.name not in STEPS or spec.hyperparameters:
                raise ValueError(f"optimizer on a quartic must be gd or signsgd, got {spec.label}; drop it.")
        if self.config.schedule != "constant":
            raise ValueError(f"schedule on a quartic must be constant, got {self.config.schedule}; leave it out.")
        self.check_memory("fewer seeds or steps")

    def run(
        self, point: QuarticPoint, spec: OptimizerSpec, rates: list[float], seeds: tuple[int, int], steps: int
    ) -> Any:
        index = np.arange(seeds[0], seeds[0] + seeds[1])
        start = [np.random.default_rng((self.config.seed, int(i))).normal() for i in index]
        e = np.repeat(np.array(start)[:, None], len(rates), axis=1)
        height = np.empty((*e.shape, steps + 1))
        with np.errstate(over="ignore", invalid="ignore"):
            for t in range(steps + 1):
                height[..., t] = np.nan_to_num(point.sharpness * e**4 / 4 + e**2 / 2, nan=np.inf)
                e = e - np.array(rates) * STEPS[spec.rule.name](point.sharpness * e**3 + e)
        solved = height <= self.config.tolerance * height[..., :1]
        reached = np.where(solved.any(axis=2), solved.argmax(axis=2), np.inf)
        return SimpleNamespace(
            problem=SimpleNamespace(index=index),
            steps_to_tolerance=reached,
            status=statuses_of(np.isfinite(reached), np.isinf(height[..., -1])),
            engine="numpy",
            height=height,
        )

    def columns(self, run: Any) -> Columns:
        return {"initial_height": run.height[..., 0], "final_height": run.height[..., -1]}

    def recorded(self, run: Any) -> Mapping[str, Any]:
        return {"height": run.height[..., recorded_steps(run.height.shape[2] - 1, "log")]}

    def firsts(self, point: QuarticPoint, spec: OptimizerSpec, rates: int) -> range:
        return range(0, self.config.seeds, min(self.config.seeds, 4))

    def memory(self) -> float:
        return PROCESS_BYTES + self.rows_memory(recorded_steps(self.config.steps, "log").size)


QUARTIC = Family(
    kind="quartic",
    config="quartic:QuarticConfig",
    work="quartic:QuarticWork",
    options=OPTIONS,
    value="height",
    problems="quartics",
    curve_caption="Height over the height at the start",
    figure="height",
    option="sharpness",
    purpose="descends on a quartic",
)
