"""Changed records, which are not the run of the rule any more."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.checking.comparison import check
from quadsim.theory.verifying.mutants.mutant import HOLE, Mutant
from quadsim.theory.verifying.mutants.runs import ANY, OTHERS, THEOREM_OF, run_of

__all__ = ["of_records"]


def _gaps(change: Callable[[np.ndarray], Any]) -> Callable[[Trajectory], Trajectory]:
    def altered(run: Trajectory) -> Trajectory:
        gap = run.gap.copy()
        change(gap)
        return replace(run, gap=gap)

    return altered


def _scaled(step: int, factor: float) -> Callable[[np.ndarray], None]:
    def change(gap: np.ndarray) -> None:
        gap[..., step] *= factor

    return change


def _all_times(factor: float) -> Callable[[np.ndarray], None]:
    def change(gap: np.ndarray) -> None:
        gap *= factor

    return change


def _record_changes() -> Iterator[tuple[str, Callable[[Trajectory], Trajectory]]]:
    for step in (0, 1, 2, 5, 12):
        for factor in (np.nan, -1.0, 0.0, np.inf, 1e6, 1e-3, 1.01, 0.99, 1 + 1e-6, 1 - 1e-6):
            if not (step == 12 and factor == np.inf):
                yield f"gap {step} times {factor}", _gaps(_scaled(step, factor))
    for factor in (1e-3, 1e3, -1.0, 1 + 1e-6):
        yield f"all gaps times {factor}", _gaps(_all_times(factor))
    yield "all gaps NaN", _gaps(lambda gap: gap.fill(np.nan))
    yield "gaps in reverse", lambda run: replace(run, gap=run.gap[..., ::-1])
    yield "steps doubled", lambda run: replace(run, steps=2 * run.steps)
    yield "steps from 1", lambda run: replace(run, steps=run.steps + 1)
    yield "a step left out", lambda run: replace(run, steps=run.steps[:-1])
    yield (
        "settings of the next problem",
        lambda run: replace(run, settings={name: 1.1 * values for name, values in run.settings.items()}),
    )
    yield "tolerance 2", lambda run: replace(run, tolerance=2.0)
    yield "status diverged", lambda run: replace(run, status=np.full(run.status.shape, "diverged"))
    yield "status converged", lambda run: replace(run, status=np.full(run.status.shape, "converged"))
    yield "an unknown status", lambda run: replace(run, status=np.full(run.status.shape, "fine"))
    yield "hit at 0", lambda run: replace(run, steps_to_tolerance=np.zeros(run.status.shape))
    yield "hit at 3", lambda run: replace(run, steps_to_tolerance=np.full(run.status.shape, 3.0))
    yield "hit beyond the run", lambda run: replace(run, steps_to_tolerance=np.full(run.status.shape, 1e9))
    yield "stays from 0", lambda run: replace(run, steps_to_stay=np.zeros(run.status.shape))
    yield "the problems exchanged", lambda run: replace(run, gap=run.gap[::-1])


def of_records() -> Iterator[Mutant]:
    """Yield changes of records."""
    for name in (*THEOREM_OF, *OTHERS):
        for change, alter in _record_changes():
            yield _record(name, change, alter)


def _record(name: str, change: str, alter: Callable[[Trajectory], Trajectory]) -> Mutant:
    def survives() -> str:
        run = _honest(name)
        verdict = check(ANY, alter(run)).verdict
        return "" if np.all(verdict == "not the rule's run") else HOLE

    return Mutant("record", name, change, survives)


@lru_cache(maxsize=32)
def _honest(name: str) -> Trajectory:
    return run_of(name, RULES[name])
