"""judge: the columns of a sweep that theory fills in."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.torch_modes import own_modes
from quadsim.simulator.trajectory import Trajectory
from quadsim.theory.checking import check
from quadsim.theory.registry import THEOREMS

__all__ = ["BOUND_OF_RULE", "judge"]

BOUND_OF_RULE = {
    "gd": ("gd-upper",),
    "sgd": ("gd-upper",),
    "block-gd": ("block-gd",),
    "heavy-ball": ("heavy-ball",),
    "adam-frozen": ("adam-frozen", "adam-frozen-exact"),
    "gd-lambda": ("gradient-rate-uniform",),
    "sign-lambda": ("sign-rate", "sign-rate-inf"),
}
"""The upper bounds that a sweep reports for a rule: the first whose hypotheses hold on the run."""


@own_modes()
def judge(trajectory: Trajectory, *, seconds: float = 10.0) -> Mapping[str, NDArray[Any]]:
    """Columns of a sweep's summary, each (M, K).

    Args:
        trajectory: the run.
        seconds: most that exact arithmetic may take for each theorem, where a run is flagged.

    Returns:
        `theorem` (name, empty where none applies), `bound_steps` (steps after which the bound has fallen to the tolerance; NaN
        without a theorem, `inf` beyond the run), `bound_rate` (the bound's factor per step; NaN for a horizon bound), `margin`
        (see `Check`) and `verdict`.
    """
    shape = trajectory.status.shape
    out: dict[str, NDArray[Any]] = {
        "theorem": np.full(shape, "", dtype=object),
        "bound_steps": np.full(shape, np.nan),
        "bound_rate": np.full(shape, np.nan),
        "margin": np.full(shape, np.nan),
        "verdict": np.full(shape, "not applicable", dtype=object),
    }
    names = BOUND_OF_RULE.get(trajectory.rule.name, ()) if trajectory.rule is not None else ()
    for name in names:
        theorem = THEOREMS[name]
        chosen = theorem.applies(trajectory) & (out["theorem"] == "")
        if not chosen.any():
            continue
        found = check(theorem, trajectory, seconds=seconds)
        columns: dict[str, Any] = {
            "theorem": name,
            "bound_steps": theorem.steps_on(trajectory),
            "margin": found.margin,
            "verdict": found.verdict,
        }
        if theorem.is_factor:
            columns["bound_rate"] = 1.0 - theorem.decrease_on(trajectory)
        for column, values in columns.items():
            out[column] = np.where(chosen, values, out[column])
    return out
