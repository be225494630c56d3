"""Repeat runs with some of their parts changed: problem, settings, number type, noise, length or rule."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.engines import simulate
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.runs.trajectory import Trajectory

__all__ = ["again"]

Array = NDArray[np.float64]


def again(
    run: Trajectory,
    problem: BlockQuadratic,
    changed: Mapping[str, Array],
    *,
    dtype: str = "float64",
    noise: float | None = None,
    steps: int | None = None,
    rule: Rule | None = None,
) -> Trajectory:
    """Return the run with the same records, some of its parts changed.

    Args:
        run: the run.
        problem: the problems.
        changed: names of settings to new values; rates may be more or fewer.
        dtype: number type.
        noise: standard deviation of the noise; None: as before.
        steps: number of steps; None: as before.
        rule: the rule; None: as before.
    """
    assert run.rule is not None
    used = run.rule if rule is None else rule
    settings: dict[str, Any] = {
        name: values for name, values in {**run.settings, **changed}.items() if name in used.names
    }
    last = int(run.steps[-1])
    every = run.steps.size == last + 1
    length = last if steps is None else steps
    return simulate(
        problem,
        used,
        steps=length,
        schedule=run.schedule,
        record="all" if every else length,
        observe=sorted({"gap", *run.observed}),
        engine="reference" if run.engine == "reference" else "auto",
        dtype=dtype,
        gradient_noise_std=run.gradient_noise_std if noise is None else noise,
        **settings,
    )
