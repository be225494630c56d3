"""Compute the columns of a sweep that theory fills in (`judge`): bound, margin and verdict."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.runs.judged import unjudged
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.simulator.support.torch_modes import own_modes
from quadsim.theory.checking.comparison import check
from quadsim.theory.checking.effort import EFFORT
from quadsim.theory.statements.registry import theorem_on_runs

__all__ = ["BOUND_OF_RULE", "judge"]

BOUND_OF_RULE = {
    "gd": ("gd-upper",),
    "sgd": ("gd-upper",),
    "block-gd": ("block-gd", "block-gd-coupled"),
    "heavy-ball": ("heavy-ball",),
    "adam-frozen": ("adam-frozen", "adam-frozen-exact", "adam-frozen-coupled"),
    "gd-lambda": ("gradient-rate-uniform",),
    "sign-lambda": ("sign-rate", "sign-rate-inf"),
}
"""Rule to upper bounds; a sweep reports the first one whose hypotheses hold on the run. Where the blocks of rules are not those
of H, those that hold for any partition come first."""


@own_modes()
def judge(trajectory: Trajectory, *, effort: float = EFFORT) -> Mapping[str, NDArray[Any]]:
    """Return the columns of theory in the summary of a sweep, each (M, K).

    Args:
        trajectory: the run.
        effort: limit of exact arithmetic, per theorem; see `check`. It is used for flagged runs.

    Returns:
        `theorem` (name, empty where none applies), `bound_steps` (steps after which the bound has fallen to the tolerance; NaN
        without a theorem, `inf` beyond the run), `bound_rate` (the bound's factor per step; NaN for a horizon bound), `margin`
        (see `Check`) and `verdict`.
    """
    out = unjudged(trajectory.status.shape)
    names = BOUND_OF_RULE.get(trajectory.rule.name, ()) if trajectory.rule is not None else ()
    other_blocks = trajectory.problem.partition is not None
    for name in sorted(names, key=lambda name: theorem_on_runs(name).any_partition != other_blocks):
        theorem = theorem_on_runs(name)
        chosen = theorem.applies(trajectory) & (out["theorem"] == "")
        if not chosen.any():
            continue
        found = check(theorem, trajectory, effort=effort)
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
