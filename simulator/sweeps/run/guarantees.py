"""Bounds at rates that a theory guarantees, and along runs at the best rates: asked once the best rates of a sweep are known."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quadsim.simulator.problems.oracles import batch_of
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.runs.guaranteed import Asked, Guarantee, Guarantor
from quadsim.simulator.runs.trajectory import recorded_steps
from quadsim.simulator.support import store
from quadsim.simulator.sweeps.config.grid import UNTIL, SweepGrid
from quadsim.simulator.sweeps.results.statistics import KEYS

__all__ = ["MOST_PROBLEMS", "together", "write_guarantees"]

MOST_PROBLEMS = 64
"""Problems of a point that a theory is asked about: the first of those that are reported. It is asked about points with fewer
together, so that their arrays are about as large."""

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
    for rows in together(config, best.to_dict("records")):
        every = [(row, reported[: _most_problems(config.points[row["point"]])]) for row in rows]
        problems = {row["point"]: _problem(config, row["point"], seeds) for row, seeds in every}
        asked = []
        for row, seeds in every:
            steps = measured[row["point"], row["optimizer"]].reindex(seeds).to_numpy(dtype=np.float64)
            asked.append(_asked(config, row, specs[str(row["setting"])], problems[row["point"]], steps))
        for (row, seeds), answers in zip(every, guarantor(asked), strict=True):
            frames += [_frame(row, seeds, found) for found in answers]
    if frames:
        store.write_frame(folder / store.GUARANTEES, pd.concat(frames, ignore_index=True))


def together(config: SweepGrid, rows: list[dict[Any, Any]]) -> Iterator[list[dict[Any, Any]]]:
    """Yield the best rates of as many points as have few problems together: a theory takes less time for all of them at once."""
    batch: list[dict[Any, Any]] = []
    problems, last = 0, None
    for row in rows:
        if row["point"] != last:
            last, own = row["point"], min(_most_problems(config.points[row["point"]]), len(config.reported))
            if batch and problems + own > MOST_PROBLEMS:
                yield batch
                batch, problems = [], 0
            problems += own
        batch.append(row)
    if batch:
        yield batch


def _frame(row: dict[Any, Any], seeds: NDArray[Any], found: Guarantee) -> pd.DataFrame:
    """Return the rows of one guarantee, one a problem."""
    columns: dict[str, Any] = {name: row[name] for name in KEYS}
    columns |= {"seed": seeds, "kind": found.kind, "theorem": found.theorem, "guaranteed_lr": found.lr}
    columns |= {"falls": found.falls, "start": found.start, "bound_steps": found.bound, "steps": found.steps}
    columns |= {"at_least_steps": found.at_least, "why_not": found.why_not, "curve": list(found.curve)}
    if found.floor is not None:
        columns["floor"] = found.floor
    return pd.DataFrame(columns)


def _most_problems(point: Any) -> int:
    if batch_of(point.oracle) is None:
        return MOST_PROBLEMS
    each: int = (3 * point.problem(1, 0).dimension) ** 3
    return min(max(_MEAN_WORK // each, MOST_PROBLEMS), _MOST_IN_THE_MEAN)


def _problem(config: Any, point: int, seeds: NDArray[Any]) -> BlockQuadratic:
    """Return the problems of a point that the theory is asked about."""
    number = int(seeds[-1]) + 1
    drawn: BlockQuadratic = config.points[point].problem(number, config.seed)
    return drawn.select([int(seed) for seed in seeds])


def _asked(
    config: Any, row: dict[Any, Any], spec: Any, problem: BlockQuadratic, measured: NDArray[np.float64]
) -> Asked:
    point = config.points[row["point"]]
    return Asked(
        problem=problem,
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
