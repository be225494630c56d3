"""What several claims about networks share: values at the learning rate that is best on other seeds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.models import ToyProblem
from quadsim.simulator.support.statistics import chosen_half
from quadsim.theory.claims.judging import best_column

__all__ = [
    "CENTRES",
    "CHOOSING",
    "BestRate",
    "at_best_rate",
    "best_rate",
    "choosing_seeds",
    "judged_seeds",
    "seeds_for",
]

Array = NDArray[np.float64]
Measure = Callable[[ToyProblem, list[float]], Mapping[str, Array]]

CENTRES = {"gd": 0.5, "heavy-ball": 0.1, "adam": 0.05}
"""Centre of the first grid of learning rates of each rule; grids are extended, so no result depends on it."""

CHOOSING = 20
"""Largest number of seeds on which a rate is chosen. Each is trained at all rates, a judged seed at the best one alone: more
judged seeds cost little, and they decide the power."""

MOST_EXTENSIONS = 4


def choosing_seeds(seeds: int) -> list[int]:
    """Return the places of the seeds on which rates are chosen: the even-numbered ones, at most the first CHOOSING of them."""
    return chosen_half(seeds)[:CHOOSING]


def judged_seeds(seeds: int) -> list[int]:
    """Return the places of the seeds that are judged at a rate chosen on the others: all but `choosing_seeds`."""
    return sorted(set(range(seeds)) - set(choosing_seeds(seeds)))


def seeds_for(judged: int) -> int:
    """Return the number of seeds of which so many are judged (20 or more)."""
    return CHOOSING + judged


@dataclass(frozen=True)
class BestRate:
    """A learning rate that was chosen.

    Attributes:
        lr: the rate.
        edge: whether it is the first or the last that was tried, after all extensions of the grid.
    """

    lr: float
    edge: bool


def best_rate(measure: Measure, problem: ToyProblem, centre: float, density: int, decades: float = 1.0) -> BestRate:
    """Return the learning rate that is best over all seeds of a problem; its grid grows by a decade while it lies at an edge.

    Args:
        measure: function of a problem and learning rates to arrays (seeds, rates). The first is to be small; the second, where
            there is one, decides between rates with equal medians.
        problem: the seeds that choose.
        centre: centre of the first grid.
        density: learning rates per decade.
        decades: the first grid reaches so far to both sides.
    """
    tried: dict[int, list[Array]] = {}
    reach = round(density * decades)
    new = list(range(-reach, reach + 1))
    for _ in range(MOST_EXTENSIONS + 1):
        found = list(measure(problem, [centre * 10 ** (k / density) for k in new]).values())[:2]
        tried |= {k: [values[:, i] for values in found] for i, k in enumerate(new)}
        low, high = min(tried), max(tried)
        order = sorted(tried)
        at = order[best_column(*(np.stack([tried[k][n] for k in order], axis=1) for n in range(len(found))))]
        new = [low - 1 - i for i in range(density)] if at == low else []
        new += [high + 1 + i for i in range(density)] if at == high else []
        if not new:
            break
    return BestRate(centre * 10 ** (at / density), at in (low, high))


def at_best_rate(
    measure: Measure, problem: ToyProblem, centre: float, density: int, decades: float = 1.0
) -> dict[str, Any]:
    """Return what the judged seeds give at the learning rate that is best on the others; see `best_rate` for the arguments.

    Returns:
        The arrays at that rate, for the judged seeds alone (`judged_seeds`), with `lr` and `edge`. In the first one a seed
        without a value is infinite.
    """
    best = best_rate(measure, problem.select(choosing_seeds(problem.problems)), centre, density, decades)
    judged = {
        name: values[:, 0]
        for name, values in measure(problem.select(judged_seeds(problem.problems)), [best.lr]).items()
    }
    first = next(iter(judged))
    known = np.where(np.isnan(judged[first]), np.inf, judged[first])
    return judged | {first: known, "lr": best.lr, "edge": best.edge}
