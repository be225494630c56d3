"""The result of training (`TrainingRun`): losses, statuses, settings and the problem."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.rules.schedules import Schedule, resolve_schedule
from quadsim.simulator.runs.status import STATUSES, current_names
from quadsim.simulator.runs.trajectory import recorded_or_nan
from quadsim.simulator.support import store
from quadsim.simulator.support.paths import local_path

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["DIVERGED_ABOVE", "Snapshots", "TrainingRun"]

DIVERGED_ABOVE = 100.0
"""Training has diverged when a loss is not finite or above this many times the larger of its start and ln(classes)."""

_FORMAT = 1
_DRAWN = "drawn"
_ONLY_IN_OLDER_FILES = {"start": _DRAWN, "init": "fan-in", "loss_of": "cross-entropy", "order": "drawn"}
"""Attributes that older files lack, with the only value that they had."""
_PER_RUN = (
    "steps_to_tolerance",
    "steps_to_tolerance_weighted",
    "steps_to_stay",
    "steps_to_stay_weighted",
    "stopped",
    "final_loss",
    "final_loss_weighted",
)
_TESTS = ("test_loss", "test_accuracy")
_NOT_IN_OLDER_FILES = ("steps_to_stay", "steps_to_stay_weighted")


@dataclass(frozen=True, eq=False)
class Snapshots:
    """Parameters, gradients and updates at S chosen steps; NaN where an instance had diverged before.

    Attributes:
        steps: the chosen steps, (S,).
        theta: parameters before the step, (M, K, S, P).
        gradient: the gradient that the rule got, (M, K, S, P).
        update: the step that the rule added, (M, K, S, P).
    """

    steps: NDArray[np.int64]
    theta: NDArray[np.float64]
    gradient: NDArray[np.float64]
    update: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """M problems times K settings, recorded at R steps.

    Attributes:
        problem: the batch that was run.
        optimizer: name of the rule.
        rule: the rule.
        settings: name to values, each (K,); the learning rate is `lr`.
        schedule: the schedule of the learning rate.
        steps: recorded steps, ascending, (R,); the first is 0 and the last is the end of a run that was not stopped.
        loss: the unweighted loss, (M, K, R); `inf` from divergence on, NaN after a run was stopped at its target.
        loss_weighted: the loss that was optimised, likewise.
        steps_to_tolerance: first step with unweighted loss <= target, (M, K); `inf` if none.
        steps_to_tolerance_weighted: first step with optimised loss <= target; `inf` if none.
        steps_to_stay: first evaluated step from which on the unweighted loss is <= target at every evaluated step up to the
            last, (M, K); `inf` if the loss is above it at the last step or the run diverged. NaN = not known: the run was
            stopped at its target (`train(stop=True)`), or the file is of a version that did not record it.
        steps_to_stay_weighted: likewise for the optimised loss.
        status: (M, K) of `converged` (the unweighted loss reached the target and did not diverge), `not_reached`,
            `diverged`.
        stopped: the last step that was looked at, (M, K).
        final_loss: the unweighted loss there, (M, K); `inf` after divergence.
        final_loss_weighted: the optimised loss there.
        tolerance: the target is this times the loss of a uniform guess (`ToyProblem.guess_loss`), which is ln(classes).
        test_loss: the loss on the test data, (M, K, R); NaN from divergence on and after a run was stopped at its target. None
            for a task without test data.
        test_accuracy: the share of right answers on the test data, likewise.
        clip: the largest norm of a gradient, or None.
        evaluated_every: number of steps between two evaluations of the losses on all data; 1 without mini-batches.
        snapshots: parameters at chosen steps, or None.
        dtype: number type of the run, as `float32`.
        device: device of the run, as `cpu`.
        engine: name of the engine.
    """

    problem: ToyProblem
    optimizer: str
    rule: Rule
    settings: Mapping[str, NDArray[np.float64]]
    schedule: Schedule
    steps: NDArray[np.int64]
    loss: NDArray[np.float64]
    loss_weighted: NDArray[np.float64]
    steps_to_tolerance: NDArray[np.float64]
    steps_to_tolerance_weighted: NDArray[np.float64]
    steps_to_stay: NDArray[np.float64]
    steps_to_stay_weighted: NDArray[np.float64]
    status: NDArray[np.str_]
    stopped: NDArray[np.int64]
    final_loss: NDArray[np.float64]
    final_loss_weighted: NDArray[np.float64]
    tolerance: float
    test_loss: NDArray[np.float64] | None = None
    test_accuracy: NDArray[np.float64] | None = None
    clip: float | None = None
    evaluated_every: int = 1
    snapshots: Snapshots | None = field(default=None, repr=False)
    dtype: str = "float32"
    device: str = "cpu"
    engine: str = "stack"

    @property
    def target(self) -> float:
        """The loss at which a run has converged: tolerance times the loss of a uniform guess, ln(classes)."""
        return self.tolerance * self.problem.guess_loss

    @property
    def best_test_accuracy(self) -> NDArray[np.float64]:
        """The largest recorded test accuracy before a run diverged or was stopped, (M, K).

        Raises:
            ValueError: a task without test data.
        """
        if self.test_accuracy is None:
            raise ValueError(
                f"task must have test data, got {self.problem.task} with test=0; give test=, as Digits(test=500)."
            )
        return np.asarray(np.fmax.reduce(self.test_accuracy, axis=2))

    def to_dataset(self) -> "xr.Dataset":
        """Return the run as an xarray Dataset with the axes problem, setting and step, without the snapshots."""
        import xarray as xr

        axes = ("problem", "setting", "step")
        data: dict[str, Any] = {"loss": (axes, self.loss), "loss_weighted": (axes, self.loss_weighted)}
        for name in _PER_RUN:
            data[name] = (axes[:2], getattr(self, name))
        for name in _TESTS:
            if getattr(self, name) is not None:
                data[name] = (axes, getattr(self, name))
        data["status"] = (axes[:2], self.status.astype(object))
        coordinates: dict[str, Any] = {
            "problem": np.arange(self.problem.problems),
            "index": ("problem", self.problem.index),
            "heterogeneity": ("problem", self.problem.heterogeneity),
            "step": self.steps,
        }
        coordinates |= {name: ("setting", values) for name, values in self.settings.items()}
        attributes = {
            "model": str(self.problem.model),
            "task": str(self.problem.task),
            "dial": self.problem.dial,
            "mode": self.problem.mode,
            "seed": self.problem.seed,
            "start": _start_of(self.problem),
            **_laws_of(self.problem),
            "clip": "none" if self.clip is None else self.clip,
            "optimizer": self.optimizer,
            "formula": self.rule.formula(),
            "schedule": str(self.schedule),
            "tolerance": self.tolerance,
            "target": self.target,
            "evaluated_every": self.evaluated_every,
            "engine": self.engine,
            "dtype": self.dtype,
            "device": self.device,
        }
        return xr.Dataset(data, coords=coordinates, attrs=attributes)

    def to_frame(self) -> "pd.DataFrame":
        """Return a table with one row per problem, setting and recorded step."""
        return self.to_dataset().to_dataframe().reset_index().assign(optimizer=self.optimizer)

    def save(self, path: str | Path) -> None:
        """Write the run to one NetCDF file, without problem, rule and snapshots."""
        dataset = self.to_dataset()
        dataset.attrs["quadsim_format"] = _FORMAT
        store.write_dataset(local_path("path", path), dataset)

    @classmethod
    def load(cls, path: str | Path, problem: ToyProblem, rule: Rule) -> Self:
        """Read what `save` wrote.

        Args:
            path: the file.
            problem: the problem that was run; the file contains only its description.
            rule: the rule that was run.

        Raises:
            ValueError: a file of another kind, or of another problem or rule.
        """
        path = local_path("path", path)
        try:
            with store.open_dataset(path) as opened:
                dataset = opened.load()
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise ValueError(
                f"training file must be NetCDF written by TrainingRun.save, got {path} ({error})."
            ) from error
        asked = {
            "model": str(problem.model),
            "task": str(problem.task),
            "dial": problem.dial,
            "mode": problem.mode,
            "seed": problem.seed,
            "start": _start_of(problem),
            **_laws_of(problem),
            "formula": rule.formula(),
        }
        found = {name: dataset.attrs.get(name) for name in asked}
        for name, only in _ONLY_IN_OLDER_FILES.items():
            found[name] = found[name] or only
        same = found == asked and dataset.attrs.get("quadsim_format") == _FORMAT
        for name in ("index", "heterogeneity"):
            same = same and name in dataset and np.array_equal(dataset[name], getattr(problem, name))
        if not same:
            raise ValueError(
                f"training file must be of {problem!r} and {rule.name}, got {path} with {found}; run it again."
            )
        settings = {n: c.values for n, c in dataset.coords.items() if c.dims == ("setting",) and n != "setting"}
        names = ("loss", "loss_weighted", *(name for name in _PER_RUN if name not in _NOT_IN_OLDER_FILES))
        arrays: dict[str, Any] = {name: dataset[name].values for name in names}
        arrays |= {name: recorded_or_nan(dataset, name) for name in _NOT_IN_OLDER_FILES}
        arrays |= {name: dataset[name].values for name in _TESTS if name in dataset}
        return cls(
            problem=problem,
            optimizer=dataset.attrs["optimizer"],
            rule=rule,
            settings={str(name): np.asarray(values) for name, values in settings.items()},
            schedule=resolve_schedule(dataset.attrs["schedule"]),
            steps=dataset["step"].values,
            status=current_names(dataset["status"].values),
            tolerance=float(dataset.attrs["tolerance"]),
            clip=None if dataset.attrs.get("clip", "none") == "none" else float(dataset.attrs["clip"]),
            evaluated_every=int(dataset.attrs["evaluated_every"]),
            dtype=dataset.attrs["dtype"],
            device=dataset.attrs["device"],
            engine=dataset.attrs["engine"],
            **arrays,
        )

    def __repr__(self) -> str:
        counts = ", ".join(f"{int(np.sum(self.status == status))} {status}" for status in STATUSES)
        return f"TrainingRun({self.optimizer} on {self.problem.problems} problems x {self.loss.shape[1]} settings, {counts})"


def _laws_of(problem: ToyProblem) -> dict[str, str]:
    """Return the laws of the start, the loss and the order of scales, as attributes."""
    return {"init": str(problem.init), "loss_of": problem.loss, "order": problem.order}


def _start_of(problem: ToyProblem) -> str:
    """Return "drawn", or the fingerprint of a given start."""
    if problem.given_start is None:
        return _DRAWN
    return hashlib.sha256(np.ascontiguousarray(problem.given_start).tobytes()).hexdigest()[:16]
