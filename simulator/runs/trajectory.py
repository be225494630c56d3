"""The result of a simulation (`Trajectory`): gaps, statuses, settings and the problem."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.oracles import FULL, Additive, Oracle, resolve_oracle
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.rules.schedules import Schedule, resolve_schedule
from quadsim.simulator.runs.status import STATUSES, current_names
from quadsim.simulator.support import store
from quadsim.simulator.support.checks import check_choice, check_count
from quadsim.simulator.support.paths import local_path

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = [
    "DIVERGED_ABOVE",
    "MEAN_WINDOW",
    "OBSERVABLES",
    "Trajectory",
    "divergence_limit",
    "recorded_or_nan",
    "recorded_steps",
]

DIVERGED_ABOVE = 1e12
"""A run has diverged when its gap is not finite or above this many times the gap at the start."""

MEAN_WINDOW = 10
"""Steps of a window over which the gap is averaged for `Trajectory.steps_to_mean`."""

OBSERVABLES: Mapping[str, tuple[str, ...]] = {
    "gap": (),
    "gradient_norm": (),
    "gradient_norm_1": (),
    "Lambda_G": (),
    "step_sign_cosine": (),
    "step_sign_stride": (),
    "block_gap": ("block",),
    "block_gradient_norm": ("block",),
    "iterate": ("coordinate",),
}
"""Names of the observables, and the axes of each after (problem, setting, step)."""

_STEPS_TO = ("steps_to_tolerance", "steps_to_stay", "steps_to_mean")
_FORMAT = 1
_LOG_PER_DECADE = 20


@dataclass(frozen=True, eq=False)
class Trajectory:
    """M problems times K settings, recorded at R steps.

    Attributes:
        problem: the batch that was run.
        optimizer: name of the rule, or of the torch class for a baseline.
        rule: the rule; None for a baseline from torch.
        settings: name to values, each (K,); the learning rate is `lr`.
        schedule: the schedule of the learning rate.
        steps: recorded steps, ascending, (R,); the first is 0 and the last is the end of the run.
        gap: suboptimality gap f(w_t) - f*, (M, K, R); `inf` after a run has diverged.
        observed: further quantities by name, (M, K, R, ...), NaN where undefined; see OBSERVABLES.
        steps_to_tolerance: first step with gap_t <= tolerance * gap_0, (M, K), followed at every step; `inf` if none.
        steps_to_stay: first step from which on gap_t <= tolerance * gap_0 at every step up to the last, (M, K): the last step
            above the tolerance, plus one. 0 if the gap never was above it, `inf` if it is at the last step or the run
            diverged; never below `steps_to_tolerance`. NaN = not recorded (a file of an older version).
        steps_to_mean: last step of the first window of MEAN_WINDOW steps (steps k W + 1 to (k + 1) W) over which the mean of the
            gap is at most tolerance * gap_0, (M, K); `inf` if there is none. NaN = not recorded (the fused engine on a GPU, or
            a file of an older version), and then named in `not_recorded`.
        status: (M, K) of `converged` (reached the tolerance and did not diverge), `not_reached`, `diverged`.
        tolerance: relative to the gap at the start.
        oracle: what gradient the rule was given.
        engine: name of the engine.
        dtype: number type of the run, as `float64`.
        device: device of the run, as `cpu`.
    """

    problem: BlockQuadratic
    optimizer: str
    rule: Rule | None
    settings: Mapping[str, NDArray[np.float64]]
    schedule: Schedule
    steps: NDArray[np.int64]
    gap: NDArray[np.float64]
    steps_to_tolerance: NDArray[np.float64]
    steps_to_stay: NDArray[np.float64]
    steps_to_mean: NDArray[np.float64]
    status: NDArray[np.str_]
    tolerance: float
    observed: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    oracle: Oracle = FULL
    engine: str = "reference"
    dtype: str = "float64"
    device: str = "cpu"

    @property
    def problems(self) -> int:
        """M, the number of problems."""
        return int(self.gap.shape[0])

    @property
    def gradient_noise_std(self) -> float:
        """Standard deviation of noise of the covariance s^2 I on the gradient; 0 under another oracle."""
        oracle = self.oracle
        return oracle.std if isinstance(oracle, Additive) and oracle.law == "isotropic" else 0.0

    @property
    def number_of_settings(self) -> int:
        """K, the number of settings."""
        return int(self.gap.shape[1])

    @property
    def not_recorded(self) -> tuple[str, ...]:
        """Names of the numbers of steps that this run does not have, and that are NaN; see the attributes."""
        return tuple(name for name in _STEPS_TO if np.isnan(getattr(self, name)).any())

    def to_dataset(self) -> "xr.Dataset":
        """Return the run as an xarray Dataset with the axes problem, setting, step (and block or coordinate)."""
        import xarray as xr

        axes = ("problem", "setting", "step")
        data: dict[str, Any] = {"gap": (axes, self.gap)}
        data |= {name: ((*axes, *OBSERVABLES[name]), values) for name, values in self.observed.items()}
        for name in _STEPS_TO:
            data[name] = (axes[:2], getattr(self, name))
        data["status"] = (axes[:2], self.status.astype(object))
        coordinates: dict[str, Any] = {"problem": self.problem.index, "step": self.steps}
        coordinates |= {name: ("setting", values) for name, values in self.settings.items()}
        attributes = {
            "optimizer": self.optimizer,
            "schedule": str(self.schedule),
            "tolerance": self.tolerance,
            "oracle": str(self.oracle),
            "engine": self.engine,
            "dtype": self.dtype,
            "device": self.device,
            "formula": "" if self.rule is None else self.rule.formula(),
        }
        return xr.Dataset(data, coords=coordinates, attrs=attributes)

    def to_frame(self) -> "pd.DataFrame":
        """Return a table with one row per problem, setting and recorded step, without observables that have further axes."""
        dataset = self.to_dataset()
        wide = [name for name, axes in OBSERVABLES.items() if axes and name in dataset]
        frame = dataset.drop_vars(wide).to_dataframe().reset_index()
        return frame.assign(optimizer=self.optimizer)

    def save(self, path: str | Path) -> None:
        """Write the run and its problem to one NetCDF file.

        A generated problem is stored as its dials and generated again by `load`; a problem from `from_blocks` is stored whole.
        """
        path = local_path("path", path)
        dataset = self.to_dataset()
        dataset.attrs |= {"quadsim_format": _FORMAT, "rule": self.rule.name if self.rule else ""}
        dataset.attrs["problem"] = json.dumps(_problem_record(self.problem), default=lambda number: number.item())
        if self.problem.dials.get("blocks") == "given":
            dataset = dataset.assign(_problem_arrays(self.problem))
        store.write_dataset(path, dataset)

    @classmethod
    def load(cls, path: str | Path, rule: Rule | None = None) -> "Trajectory":
        """Read what `save` wrote.

        Args:
            path: the file.
            rule: the rule, if it is your own (a file contains its name and formula, not its code).

        Raises:
            ValueError: a file of another kind, or an unknown rule that was not given.
        """
        path = local_path("path", path)
        try:
            with store.open_dataset(path) as opened:
                dataset = opened.load()
        except (OSError, ValueError) as error:
            raise ValueError(
                f"trajectory file must be NetCDF written by Trajectory.save, got {path} ({error})."
            ) from error
        if dataset.attrs.get("quadsim_format") != _FORMAT:
            found = dataset.attrs.get("quadsim_format")
            raise ValueError(f"trajectory file must have format {_FORMAT}, got {found!r} in {path}; write it again.")
        name = dataset.attrs["rule"]
        if rule is None and name:
            if name not in RULES:
                raise ValueError(f"rule must be given for {name!r}, which is not in RULES, got None; pass rule=...")
            rule = RULES[name]
            if rule.formula() != dataset.attrs["formula"]:
                raise ValueError(
                    f"rule must be given for {name!r}, as its formula is not the one in RULES, got None; pass rule=..."
                )
        settings = {n: c.values for n, c in dataset.coords.items() if c.dims == ("setting",) and n != "setting"}
        return cls(
            problem=_problem_from_record(json.loads(dataset.attrs["problem"]), dataset),
            optimizer=dataset.attrs["optimizer"],
            rule=rule,
            settings={str(name): np.asarray(values) for name, values in settings.items()},
            schedule=resolve_schedule(dataset.attrs["schedule"]),
            steps=dataset["step"].values,
            gap=dataset["gap"].values,
            **{name: recorded_or_nan(dataset, name) for name in _STEPS_TO},
            status=current_names(dataset["status"].values),
            tolerance=float(dataset.attrs["tolerance"]),
            observed={n: dataset[n].values for n in OBSERVABLES if n != "gap" and n in dataset},
            oracle=_recorded_oracle(dataset.attrs),
            engine=dataset.attrs["engine"],
            dtype=dataset.attrs["dtype"],
            device=dataset.attrs["device"],
        )

    def __repr__(self) -> str:
        counts = ", ".join(f"{int(np.sum(self.status == status))} {status}" for status in STATUSES)
        return (
            f"Trajectory({self.optimizer} on {self.problems} problems x {self.number_of_settings} settings, "
            f"{self.steps[-1]} steps, {counts})"
        )


def divergence_limit(initial_gap: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the gap above which a run has diverged; for a start at the solution it is the largest float64."""
    largest = np.finfo(float).max
    scale = np.minimum(initial_gap, np.nextafter(largest / DIVERGED_ABOVE, 0.0))  # the limit is never inf
    return np.where(initial_gap > 0.0, DIVERGED_ABOVE * scale, largest)


def recorded_or_nan(dataset: "xr.Dataset", name: str) -> NDArray[np.float64]:
    """A number of every run in a file, (M, K); NaN where the file is of a version that did not record it."""
    if name in dataset:
        return np.asarray(dataset[name].values)
    return np.full(dataset["steps_to_tolerance"].shape, np.nan)


def _recorded_oracle(attributes: Mapping[str, Any]) -> Oracle:
    """The oracle of a file; a file of an older version holds the standard deviation of isotropic noise."""
    if "oracle" in attributes:
        return resolve_oracle(attributes["oracle"])
    std = float(attributes["gradient_noise_std"])
    return Additive(std) if std else FULL


def recorded_steps(steps: int, record: str | int) -> NDArray[np.int64]:
    """Return the steps to record, (R,): 0 and the last, and between them all, log-spaced (20 per decade) or every n-th.

    Raises:
        ValueError: a `record` that is not "all", "log" or a whole number of at least 1.
    """
    if isinstance(record, str):
        check_choice("record", record, ("all", "log"))
        if record == "all":
            return np.arange(steps + 1)
        exponents = np.arange(np.floor(_LOG_PER_DECADE * np.log10(steps)) + 1) / _LOG_PER_DECADE
        chosen = np.round(10.0**exponents).astype(np.int64)
    else:
        chosen = np.arange(0, steps + 1, check_count("record", record, fix='give "all", "log" or every how many steps'))
    # Not by `np.unique`, which imports the masked arrays of NumPy: a twentieth of the time until a sweep has its answer.
    return np.array(sorted({0, steps, *chosen[chosen < steps].tolist()}), dtype=np.int64)


def _problem_record(problem: BlockQuadratic) -> dict[str, Any]:
    exact = problem.exact
    return {
        "dials": dict(problem.dials),
        "seed": problem.seed,
        "index": problem.index.tolist(),
        "block_sizes": list(problem.block_sizes),
        "rule_blocks": list(problem.rule_blocks.block_sizes),
        "exact": None
        if exact is None
        else [
            [[[str(x) for x in row] for row in block] for block in exact.blocks],
            [str(x) for x in exact.initial_error],
        ],
    }


def _problem_arrays(problem: BlockQuadratic) -> dict[str, Any]:
    dense = np.stack([problem.dense(m)[0] for m in range(problem.problems)])
    return {
        "problem_hessian": (("problem", "coordinate_", "coordinate__"), dense),
        "problem_initial_error": (("problem", "coordinate_"), problem.layout.flatten(problem.initial_error)),
        "problem_minimizer": (("problem", "coordinate_"), problem.layout.flatten(problem.minimizer)),
    }


def _problem_from_record(record: dict[str, Any], dataset: "xr.Dataset") -> BlockQuadratic:
    dials, index = dict(record["dials"]), np.asarray(record["index"])
    rule_blocks = record.get("rule_blocks", record["block_sizes"])  # files of older versions have no others
    if dials.get("blocks") == "given":
        ends = np.cumsum(record["block_sizes"])
        dense = dataset["problem_hessian"].values
        blocks: list[Any] = [
            dense[:, end - size : end, end - size : end] for end, size in zip(ends, record["block_sizes"], strict=True)
        ]
        start: Any = dataset["problem_initial_error"].values
        if record["exact"] is not None:
            from fractions import Fraction

            texts, start_texts = record["exact"]
            blocks = [[[Fraction(x) for x in row] for row in block] for block in texts]
            start = [Fraction(x) for x in start_texts]
        whole = BlockQuadratic.from_blocks(
            blocks,
            initial_error=start,
            minimizer=dataset["problem_minimizer"].values,
            seed=record["seed"],
            partition=rule_blocks,
        )
        return replace(whole, index=index, dials=dials)  # the noise on the gradient is drawn by index
    dials |= {"first": int(index.min()), "problems": int(index.max() - index.min() + 1)}
    dials.pop("partition", None)
    if isinstance(dials.get("block_size"), list):
        dials["block_size"] = tuple(dials["block_size"])
    if "case" in dials:
        whole = BlockQuadratic.case(dials.pop("case"), **dials)
    elif "spectra" in dials:
        whole = BlockQuadratic.from_spectra(dials.pop("spectra"), **dials)
    else:
        whole = BlockQuadratic.generate(**dials)
    whole = whole.with_partition(rule_blocks)
    return whole if np.array_equal(whole.index, index) else whole.select((index - index.min()).tolist())
