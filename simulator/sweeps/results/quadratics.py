"""What a sweep over quadratics says beside what every sweep says."""

from typing import TYPE_CHECKING, cast

import numpy as np

from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.sweeps.config.given import GivenProblem
from quadsim.simulator.sweeps.results.notes import text_of_value

if TYPE_CHECKING:
    from quadsim.simulator.sweeps.config.quadratics import SweepConfig
    from quadsim.simulator.sweeps.results.results import Results

__all__ = ["notes"]

_MOST_SIZES = 12


def notes(results: "Results") -> list[str]:
    """The problem of a user's own, the alignment of gradients, which gaps left the tolerance again, and weight decay."""
    config, best = cast("SweepConfig", results.config), results.best_rows
    out: list[str] = []
    if config.problem is not None:
        out.append(_on_problem(config.problem, str(config.start)))
    out += _on_alignment(config)
    if config.partition != "hessian":
        out.append(
            f"Rules and theorems use the partition {config.partition}, not the blocks of the problem; a bound for it needs a "
            "coupling c of its own below 1 (docs/theory.md section 10)."
        )
    means = None if config.device == "cpu" or results.histogram is not None else results.summary.get("steps_to_mean")
    if means is not None and means.isna().any():
        out.append(
            "The fused engine on a GPU does not follow means of the gap: a steps_to_mean of NaN means not recorded."
        )
    if config.until != "first" and any(np.isfinite(row["bound_median"]) for row in best):
        out.append("Bounds are on first crossings, and steps / bound is that of first crossings, too.")
    left = [row for row in best if row["final_gap_median"] > config.tolerance and row["reached"] >= 0.5]
    if config.until == "first" and left:
        texts = list(dict.fromkeys(row["optimizer"] for row in left))
        *others, last = (config.names[text] for text in texts)
        names, verb = (f"{', '.join(others)} and {last}", "are") if others else (last, "is")
        where = ", ".join(dict.fromkeys(text_of_value(results, row) for row in left))
        where = f"on {where}" if config.is_categorical else f"at {config.axis_short} {where}"
        out.append(
            f"Steps are first crossings: at the best rate {names} {verb} above the tolerance again in the end ({where}); "
            "--until stays chooses rates at which this does not happen."
        )
    for spec in config.specs:
        decay = spec.hyperparameters.get("weight_decay", _default_decay(spec))
        if decay > 0.0 and (config.problem is None or not config.problem.minimizer.any()):
            out.append(f"The minimiser is 0 here, so the weight decay of {spec.label} pulls towards the solution.")
    return out


def _on_alignment(config: "SweepConfig") -> list[str]:
    """How gradients spread where only their alignment is asked for, and where an alignment has no effect."""
    asked = [point for point in config.points if point.dials.get("alignment") is not None]
    out = []
    if any(point.dials["gradient_heterogeneity"] is None for point in asked):
        out.append("Gradients spread over the blocks as the curvatures L_l do (no --gradient-heterogeneity given).")
    where = dict.fromkeys(point.label for point in asked if point.ignores_alignment)
    if where:
        alike = "equal blocks or gradients have nothing to align, so the rows of all alignments show the same problems"
        out.append(f"Alignment has no effect at {', '.join(where)}: {alike}.")
    return out


def _on_problem(given: GivenProblem, start: str) -> str:
    """How the problem was divided, its null space, and how it starts."""
    words = {"normal": "drawn, normal", "sphere": "drawn, on a sphere", "zero-start": "w = 0", "given": "as given"}
    sizes = f"sizes {', '.join(map(str, given.block_sizes))}" if len(given.block_sizes) <= _MOST_SIZES else "many sizes"
    null = sum(given.null_dimensions)
    singular = f"; its null space has dimension {null}, where no gap changes and no theorem applies" if null else ""
    return f"{given.name}: {given.partition} ({sizes}){singular}. Starts: {words[start]}."


def _default_decay(spec: OptimizerSpec) -> float:
    if isinstance(spec.optimizer, Rule):
        decay = spec.optimizer.ranges.get("weight_decay")
        return 0.0 if decay is None else decay.default
    return spec.optimizer.hyperparameters.get("weight_decay", 0.0)
