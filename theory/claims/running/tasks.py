"""The work of claims as tasks that do not depend on each other, run here or in processes: the same bits either way."""

import importlib.util
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from quadsim.simulator.support.threads import own_threads
from quadsim.simulator.sweeps.backends.processes import why_no_processes
from quadsim.theory.claims.judging.claim import Cells, Claim, Found, Judgement
from quadsim.theory.claims.judging.setting import Setting
from quadsim.theory.claims.registry import CLAIMS
from quadsim.theory.claims.running.outcome import Outcome
from quadsim.theory.instruments import INSTRUMENTS, Controls, show

__all__ = ["outcomes"]

_log = logging.getLogger("quadsim")


@dataclass(frozen=True)
class _Task:
    """A part of a claim.

    Attributes:
        claim: its id; a claim contains functions, which cannot be pickled.
        kind: `whole` (its experiment), `cell` (a part of its experiment) or `reach` (a value of the variable of its reach).
        part: the place of the cell, or of the value.
    """

    claim: str
    kind: str
    part: int = 0


def _tasks(claim: Claim, setting: Setting) -> list[_Task]:
    """The tasks of a claim, in the order in which their results are gathered."""
    split = isinstance(claim.experiment, Cells)
    cells = len(claim.experiment.names(setting)) if isinstance(claim.experiment, Cells) else 1
    tasks = [_Task(claim.id, "cell" if split else "whole", part) for part in range(cells)]
    values = () if claim.reach is None else claim.reach.at(setting)
    return tasks + [_Task(claim.id, "reach", part) for part in range(len(values))]


def _work(task: _Task, setting: Setting) -> tuple[Any, float]:
    """Return the result of a task, and the seconds that it took."""
    claim = CLAIMS[task.claim]
    began = time.perf_counter()
    result: Found | pd.DataFrame
    with np.errstate(all="ignore"), own_threads():  # divergence is a state of a run, not a warning
        if task.kind == "reach":
            assert claim.reach is not None
            result = claim.reach.frame(claim.reach.at(setting)[task.part], setting)
        elif isinstance(claim.experiment, Cells):
            result = claim.experiment.run(claim.experiment.names(setting)[task.part], setting)
        else:
            result = claim.experiment(setting)
    return result, time.perf_counter() - began


def outcomes(claims: Sequence[Claim], setting: Setting, workers: int) -> Iterator[Outcome]:
    """Yield outcomes in the order in which they finish.

    Args:
        claims: to run.
        setting: size and seed.
        workers: number of processes; 1: this process.
    """
    waiting: dict[str, dict[_Task, tuple[Any, float]]] = {}
    runnable, tasks = [], []
    for claim in claims:
        missing = [extra for module, extra in claim.modules.items() if importlib.util.find_spec(module) is None]
        if missing:
            reason = f"needs the extra {', '.join(missing)} (pip install 'quadsim[{','.join(missing)}]')"
            yield Outcome(claim, Judgement("not run", reason), None, setting, 0.0)
            continue
        runnable.append(claim)
        tasks += _tasks(claim, setting)
        waiting[claim.id] = {}
    needed = {claim.id: len(_tasks(claim, setting)) for claim in runnable}
    by_id = {claim.id: claim for claim in runnable}
    for task, result, seconds in _results(tasks, setting, workers):
        waiting[task.claim][task] = result, seconds
        if len(waiting[task.claim]) == needed[task.claim]:
            yield _outcome(by_id[task.claim], waiting.pop(task.claim), setting)


def _results(tasks: Sequence[_Task], setting: Setting, workers: int) -> Iterator[tuple[_Task, Any, float]]:
    """Yield the tasks with their results and seconds, in the order in which they finish."""
    alone = workers == 1 or len(tasks) == 1
    if not alone and (reason := why_no_processes()) is not None:
        _log.warning("worker processes cannot be started here (%s); the claims run one after the other.", reason)
        alone = True
    if alone:
        for task in tasks:
            yield task, *_work(task, setting)
        return
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A worker stopped")  # it is replaced where its memory has grown
        yield from Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1, pre_dispatch=workers)(
            delayed(_named)(task, setting) for task in tasks
        )


def _named(task: _Task, setting: Setting) -> tuple[_Task, Any, float]:
    return task, *_work(task, setting)


def _outcome(claim: Claim, done: dict[_Task, tuple[Any, float]], setting: Setting) -> Outcome:
    """Gather the results of a claim and judge it, unless one of its instruments fails a control.

    Raises:
        ValueError: a table of the experiment with the name of one of the reach; or see `Claim.judge`.
    """
    began = time.perf_counter()
    in_order = {task: done[task] for task in _tasks(claim, setting)}
    parts = {kind: [r for task, (r, _) in in_order.items() if task.kind == kind] for kind in ("whole", "cell", "reach")}
    found: Found = (
        claim.experiment.gather(parts["cell"], setting) if isinstance(claim.experiment, Cells) else parts["whole"][0]
    )
    if claim.reach is not None:
        reach = claim.reach.tables(pd.concat(parts["reach"], ignore_index=True))
        if twice := set(found.tables) & set(reach):
            raise ValueError(
                f"tables of {claim.id} must not be named {sorted(twice)}, as those of its reach; rename them."
            )
        found = replace(found, tables={**found.tables, **reach})
    complaints = (
        []
        if claim.unjudged
        else [f"{c.instrument.name} {c.complaint}" for c in map(_shown, claim.instruments) if not c.passes]
    )
    if complaints:
        claim = replace(claim, unjudged=f"an instrument fails its control: {'; '.join(complaints)}")
    judgement = claim.judge(found, setting)
    seconds = sum(seconds for _, seconds in in_order.values()) + time.perf_counter() - began
    return Outcome(claim, judgement, found, setting, seconds)


@cache
def _shown(instrument: str) -> Controls:
    """The controls of an instrument, once in a process."""
    return show(INSTRUMENTS[instrument])
