"""How far heavy ball falls behind Adam: the gap of their losses, each at the learning rate that is best on other seeds."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.models import ToyProblem
from quadsim.simulator.support.statistics import quantile
from quadsim.simulator.training.loop import train
from quadsim.theory.claims.judging import Setting
from quadsim.theory.claims.networks.racing import at_best_rate, best_rate, choosing_seeds, judged_seeds

__all__ = [
    "GAP_AT_HALF",
    "GAP_CENTRES",
    "STEPS_TO_HALF",
    "edge_notes",
    "gap_at_best",
    "gap_at_half",
    "most_steps",
]

Array = NDArray[np.float64]

GAP_AT_HALF = "loss of heavy ball less Adam's, over ln C, at the step where Adam's is half of ln C"
"""The name of what `gap_at_half` measures."""

STEPS_TO_HALF = "steps of Adam to half of ln C, median of the seeds that choose"
"""The name of the step at which it is measured."""

GAP_CENTRES = {"heavy-ball": 0.1, "adam": 0.02}
"""Centre of the first grid of learning rates of each rule in the races to half of ln C."""

_HALF = 0.5
"""The loss over ln C at which the race of `gap_at_half` ends."""


def gap_at_best(
    problem: ToyProblem, centres: Mapping[str, float], steps: int, setting: Setting
) -> tuple[Array, list[str]]:
    """Return the final loss of heavy ball less that of Adam, over ln C, of the judged seeds, and the rules without a best rate.

    Each rule has the rate that is best on other seeds (`choosing_seeds`); its grid grows by a decade while the best rate lies at
    its edge. A rule is named if it still does at the end.
    """
    found, edges = {}, []
    for rule, centre in centres.items():

        def measure(seeds: ToyProblem, rates: list[float], rule: str = rule) -> dict[str, Array]:
            run = train(seeds, rule, lr=rates, steps=steps, stop=False, record=steps)
            return {"loss": np.where(run.status == "diverged", np.inf, run.final_loss)}

        best = at_best_rate(measure, problem, centre, setting.pick(tiny=1, quick=1, full=2))
        found[rule] = best["loss"] / np.log(problem.classes)
        edges += [rule] if best["edge"] else []
    return found["heavy-ball"] - found["adam"], edges


def gap_at_half(
    problem: ToyProblem, centres: Mapping[str, float], most: int, setting: Setting
) -> tuple[Array, list[str], float]:
    """Return `gap_at_best` at the step at which Adam's loss is half of ln C, the rules without a best rate, and that step.

    A race of a fixed number of steps says nothing once both rules are done: their gap is 0 in every network that is easy. Here
    every network has as many steps as Adam needs for half of ln C, in the median over the seeds that choose, at the rate that
    needs the fewest. Then each rule has the rate with the smallest loss after so many steps.

    Args:
        problem: the seeds; those that choose and those that are judged, see `racing`.
        centres: centre of the first grid of rates of each rule.
        most: largest number of steps of Adam. Where it needs more the step is `inf`, and no seed has a gap (NaN).
        setting: size of the run.
    """

    def reaching(seeds: ToyProblem, rates: list[float]) -> dict[str, Array]:
        run = train(seeds, "adam", lr=rates, steps=most, tolerance=_HALF, record=most)
        return {"steps": run.steps_to_tolerance, "loss": run.final_loss}

    choosing, density = problem.select(choosing_seeds(problem.problems)), setting.pick(tiny=1, quick=1, full=2)
    fastest = best_rate(reaching, choosing, centres["adam"], density)
    half = float(quantile(reaching(choosing, [fastest.lr])["steps"][:, 0], 0.5))
    if not np.isfinite(half):
        return np.full(len(judged_seeds(problem.problems)), np.nan), [], half
    half = float(np.ceil(half))
    return *gap_at_best(problem, centres, int(half), setting), half


def edge_notes(edges: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a remark for every problem with a rule whose best rate is the last that was tried."""
    return [
        f"The best rate lies at the edge of the grid: {name}, {' and '.join(rules)}."
        for name, rules in edges.items()
        if rules
    ]


def most_steps(setting: Setting) -> int:
    """Return the largest number of steps in which Adam must reach half of ln C."""
    return setting.pick(tiny=60, quick=100, full=400)
