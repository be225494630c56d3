"""Bounds at rates that a theory guarantees, and along runs at the best rates: asked once the best rates of a sweep are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quadsim.simulator.problems.oracles import batch_of
from quadsim.simulator.runs.guaranteed import Asked, Guarantor
from quadsim.simulator.runs.trajectory import recorded_steps
from quadsim.simulator.support import store
from quadsim.simulator.sweeps.config.grid import UNTIL, SweepGrid
from quadsim.simulator.sweeps.results.statistics import KEYS

__all__ = ["MOST_PROBLEMS", "write_guarantees"]

MOST_PROBLEMS = 64
"""Problems of a point that a theory is asked about: the first of those that are reported."""

_MOST_IN_THE_MEAN = 4096
_MEAN_WORK = 2_000_000_000
"""On a stream more problems are asked about, as their runs are judged by their mean; so many times (3 P)^3 at most."""


def write_guarantees(folder: Path, config: SweepGrid, best: pd.DataFrame, guarantor: Guarantor) -> None:
    """Write a row for every problem and guarantee of an optimizer, mostly where no theorem bounds its best rate.

    Columns: those of `KEYS` (the best rate is `lr`), seed, kind, theorem, guaranteed_lr, falls, start, bound_steps, steps,
    at_least_steps, why_not, curve (a list, at the recorded steps of the sweep) and, of means over the draws of a stream, floor.
    Other runs of the sweep are not touched.

    Args:
        folder: that holds the summary.
        config: the grid.
        best: the best rates, see `Results.best`.
        guarantor: the theory.
    """
    specs = {spec.label: spec for spec in config.specs}
    reported = np.asarray(config.reported)
    frames = []
    runs = store.read_frame(
        folder / store.SUMMARY,
        columns=["point", "optimizer", "seed", UNTIL["first"]],
        filters=[("best_lr", "==", True)],
    )
    measured = {key: own.set_index("seed")[UNTIL["first"]] for key, own in runs.groupby(["point", "optimizer"])}
    for row in best.to_dict("records"):
        seeds = reported[: _most_problems(config.points[row["point"]])]
        steps = measured[row["point"], row["optimizer"]].reindex(seeds).to_numpy(dtype=np.float64)
        asked = _asked(config, row, specs[str(row["setting"])], seeds, steps)
        for found in guarantor(asked):
            columns: dict[str, Any] = {name: row[name] for name in KEYS}
            columns |= {"seed": seeds, "kind": found.kind, "theorem": found.theorem, "guaranteed_lr": found.lr}
            columns |= {"falls": found.falls, "start": found.start, "bound_steps": found.bound, "steps": found.steps}
            columns |= {"at_least_steps": found.at_least, "why_not": found.why_not, "curve": list(found.curve)}
            if found.floor is not None:
                columns["floor"] = found.floor
            frames.append(pd.DataFrame(columns))
    if frames:
        store.write_frame(folder / store.GUARANTEES, pd.concat(frames, ignore_index=True))


def _most_problems(point: Any) -> int:
    if batch_of(point.oracle) is None:
        return MOST_PROBLEMS
    each: int = (3 * point.problem(1, 0).dimension) ** 3
    return min(max(_MEAN_WORK // each, MOST_PROBLEMS), _MOST_IN_THE_MEAN)


def _asked(config: Any, row: dict[Any, Any], spec: Any, seeds: NDArray[Any], measured: NDArray[np.float64]) -> Asked:
    point = config.points[row["point"]]
    number = int(seeds[-1]) + 1
    return Asked(
        problem=point.problem(number, config.seed).select([int(seed) for seed in seeds]),
        spec=spec.at_batch(batch_of(point.oracle)),
        lr=float(row["lr"]),
        measured=measured,
        steps=config.steps,
        recorded=recorded_steps(config.steps, "log"),
        tolerance=config.tolerance,
        schedule=str(spec.schedule or config.schedule),
        oracle=point.oracle,
        bounded=not np.isnan(row["bound_median"]),
    )
