"""ModelSweepConfig: everything that determines a sweep over toy models, checked before anything runs."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from quadsim.simulator.models.problem import ToyProblem, resolve_model
from quadsim.simulator.models.tasks.catalogue import resolve_task
from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.support.checks import named_options
from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.config.options import TOY_MODELS
from quadsim.simulator.training.request import check_trainable

__all__ = ["MODEL_OPTIONS", "ModelPoint", "ModelSweepConfig"]

MODEL_OPTIONS = ("norm", "layers", "width", "heads", "kernel")
"""Fields of models that a sweep can set; a model has some of them."""

_ONLY_INIT = TOY_MODELS["init"].default[0]
_COLUMNS = ("model", *MODEL_OPTIONS, "task", "dial", "mode", "heterogeneity")

_DIAL_LABELS = {
    "frequency": "frequency: largest over smallest class weight",
    "zipf": "zipf: most over least frequent token",
    "separable": "separable: largest over smallest weight of a copy",
    "reparametrisation": "reparametrisation: max s² / min s² over blocks",
    "init-scale": "factor on the initial weights",
    "temperature": "temperature of the attention",
}

_TYPICAL = {"L": 2.0, "mu": 0.02, "trace": 200.0, "error_scale": 0.1}
"""Of the tiny models here; only to centre the grids of learning rates, which are extended where this is wrong."""


@dataclass(frozen=True)
class ModelPoint:
    """One combination of model, task and dial.

    Attributes:
        dials: model, its options (None: its own default), task, dial, mode and heterogeneity; the law of the start (`init`) where
            it is not fan-in throughout the sweep, and the batch where the sweep gives one.
    """

    dials: Mapping[str, Any]

    def problem(self, problems: int, seed: int, first: int = 0) -> ToyProblem:
        """Problems `first` to `first + problems - 1` of this point."""
        dials = dict(self.dials)
        name, options = named_options("task", dials["task"])
        task = resolve_task(name, **options)
        if (batch := dials.get("batch")) is not None:
            task = replace(task, batch=None if batch == "full" else int(batch))
        return ToyProblem.generate(
            resolve_model(dials["model"], **{k: dials[k] for k in MODEL_OPTIONS if dials[k] is not None}),
            task,
            dial=dials["dial"],
            heterogeneity=dials["heterogeneity"],
            problems=problems,
            seed=seed,
            first=first,
            mode=dials["mode"],
            init=dials.get("init", _ONLY_INIT),
        )

    @cached_property
    def example(self) -> ToyProblem:
        """One problem, for questions about sizes."""
        return self.problem(1, 0)

    @property
    def columns(self) -> dict[str, Any]:
        """The dials as columns of the summary, with the model's defaults filled in and its number of parameters."""
        model = self.example.model
        own = {name: getattr(model, name, None) for name in MODEL_OPTIONS}
        dials = {**self.dials, **own}
        if "init" in dials:  # names and numbers are one column, of text
            dials["init"] = str(dials["init"])
        if "batch" in dials:
            dials["batch"] = str(self.example.task.batch or "full")
        return {**dials, "parameters": self.example.dimension, "classes": self.example.classes}

    @property
    def label(self) -> str:
        """What the point is called on the axis of comparison."""
        return f"{self.dials['dial']} {self.dials['heterogeneity']:g}"

    def natural_lr(self, spec: OptimizerSpec, tolerance: float) -> float:
        """The rate a rule's grid is centred on: `Rule.natural_lr` at values typical of these models."""
        return spec.natural_lr({**_TYPICAL, "tolerance": tolerance, "dimension": self.example.dimension})


@dataclass(frozen=True)
class ModelSweepConfig(SweepGrid):
    """A grid of toy models x seeds x optimizers x learning rates. With the same configuration a sweep gives the same results.

    Beside what every sweep has (`SweepGrid`; the target is a loss of tolerance times ln(classes)):

    Attributes:
        model: `transformer`, `mlp`, `conv`, `mixer` or `resnet`; like every dial here one value or several, which are crossed.
        norm: `pre`, `post`, `batch` or `none`; None, here and in the next four: the model's own default.
        layers: L.
        width: d.
        heads: of a transformer.
        kernel: of a conv or resnet.
        init: law of the start: `fan-in`, `gpt2` or a standard deviation.
        clip: largest norm of a gradient, or None.
        task: a name in TASKS with options, as `token-map:vocabulary=32`.
        batch: sequences in a step, as text, or `full`; None: what the task has.
        dial: what heterogeneity turns, one of DIALS_OF_MODELS.
        mode: of the reparametrisation, `parameter` or `gradient`.
        heterogeneity: the value of the dial.
        evaluate_every: steps between two looks at the losses, where steps see mini-batches.
        partition: blocks of a rule that averages over its block (adam-mini, lamb).
        compile: whether torch.compile fuses the operations of a step.

    Raises:
        ValueError: any value or combination that cannot run.
    """

    kind: ClassVar[str] = "model"
    dials: ClassVar[tuple[str, ...]] = (*_COLUMNS, "init", "batch")
    added_fields: ClassVar[tuple[str, ...]] = (*SweepGrid.added_fields, "init", "clip", "batch")

    seeds: int = TOY_MODELS["seeds"].field()
    steps: int = TOY_MODELS["steps"].field()
    tolerance: float = TOY_MODELS["tolerance"].field()
    until: str = TOY_MODELS["until"].field()
    dtype: str = TOY_MODELS["dtype"].field()
    model: tuple[str, ...] = TOY_MODELS["model"].field()
    norm: tuple[str | None, ...] = TOY_MODELS["norm"].field()
    layers: tuple[int | None, ...] = TOY_MODELS["layers"].field()
    width: tuple[int | None, ...] = TOY_MODELS["width"].field()
    heads: tuple[int | None, ...] = TOY_MODELS["heads"].field()
    kernel: tuple[int | None, ...] = TOY_MODELS["kernel"].field()
    init: tuple[str | float, ...] = TOY_MODELS["init"].field()
    clip: float | None = TOY_MODELS["clip"].field()
    task: tuple[str, ...] = TOY_MODELS["task"].field()
    batch: tuple[str | None, ...] = TOY_MODELS["batch"].field()
    dial: tuple[str, ...] = TOY_MODELS["dial"].field()
    mode: tuple[str, ...] = TOY_MODELS["mode"].field()
    heterogeneity: tuple[float, ...] = TOY_MODELS["heterogeneity"].field()
    evaluate_every: int = TOY_MODELS["evaluate_every"].field()
    partition: str = TOY_MODELS["partition"].field()
    compile: bool = TOY_MODELS["compile"].field()

    def __post_init__(self) -> None:
        self._check_grid()
        object.__setattr__(self, "heterogeneity", tuple(sorted(set(self.heterogeneity))))
        object.__setattr__(self, "compile", bool(self.compile))
        for spec in self.specs:
            check_trainable(spec.rule)
        for name, options in (named_options("task", task) for task in self.task):
            if self.batch != (None,) and "batch" in options:
                raise ValueError(
                    f"batch must be given once, got {', '.join(map(str, self.batch))} beside {name}:batch={options['batch']}; "
                    "leave one of them out."
                )
        for point in self.points:
            for spec in self.specs:
                spec.at_batch(point.example.task.batch)

    @cached_property
    def points(self) -> tuple[ModelPoint, ...]:
        """All combinations of the dials, heterogeneity varying fastest."""
        names = self._columns
        axes = [getattr(self, name) for name in names]
        return tuple(ModelPoint(dict(zip(names, values, strict=True))) for values in itertools.product(*axes))

    @property
    def _columns(self) -> tuple[str, ...]:
        """The dials that a point has; tables of older versions do not have `init` and `batch`, which stand only where needed."""
        with_init = _COLUMNS if self.init == (_ONLY_INIT,) else ("init", *_COLUMNS)
        return with_init if self.batch == (None,) else ("batch", *with_init)

    @property
    def criterion(self) -> str:
        """When a run counts as solved, in words."""
        classes = {point.example.classes for point in self.points}
        loss = "the largest unweighted loss of a copy" if self.dial == ("separable",) else "the unweighted loss"
        number = (
            f" {min(classes)} ({self.tolerance * math.log(min(classes)):.3g})" if len(classes) == 1 else "(classes)"
        )
        words = {"first": "is", "stays": "stays within"}
        return f"{loss} {words[self.until]} {self.tolerance:g} ln{number}, dial {', '.join(self.dial)}"

    @property
    def axis(self) -> str:
        """The column along which results are compared."""
        return "heterogeneity"

    @property
    def compared(self) -> tuple[str, ...]:
        """See `SweepGrid.compared`: the dials."""
        return self.dial

    @property
    def axis_label(self) -> str:
        """See `SweepGrid.axis_label`."""
        return _DIAL_LABELS[self.dial[0]] if len(self.dial) == 1 else "value of the dial"

    @property
    def axis_words(self) -> str:
        """See `SweepGrid.axis_words`."""
        return "the dial"

    @property
    def place(self) -> str:
        """See `SweepGrid.place`."""
        return "on {model}, {dial} {heterogeneity}"

    @property
    def point_columns(self) -> tuple[str, ...]:
        """Columns that say what a point of the grid is."""
        return (*self._columns, "parameters", "classes")

    @property
    def facets(self) -> list[str]:
        """The dials beside the heterogeneity that take several values."""
        return [name for name in self._columns if name != "heterogeneity" and len(getattr(self, name)) > 1]
