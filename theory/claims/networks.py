"""What several claims about networks measure: distances between spectra, and steps of rules at rates chosen with hindsight."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.curvature.block_spectra import BlockSpectra, block_spectra
from quadsim.simulator.curvature.spectral_distance import jensen_shannon, mean_over_pairs
from quadsim.simulator.models.partitions import Partition
from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.training.loop import train

__all__ = ["CENTRES", "RACE", "distance", "gaps", "groups", "js0", "quotient", "race", "race_notes"]

Array = NDArray[np.float64]

CENTRES = {"gd": 0.5, "heavy-ball": 0.1, "adam": 0.05}
"""Rates about which grids begin; they are extended, so that no result depends on them."""

MOST_EXTENSIONS = 4
_MOST_NAMED = 4  # configurations in a note

RACE = (
    "Steps to an unweighted loss of a tenth of ln(classes), full batch, constant rates; the rate is the best of a grid with "
    "hindsight for each seed, alike for all rules, and the grid grows by a decade while a best rate lies at its edge."
)


def js0(
    problem: ToyProblem,
    theta: Array | None = None,
    partition: str = "module",
    *,
    normalise: str = "none",
    bins: int = 100,
) -> Array:
    """Mean Jensen-Shannon distance over pairs of blocks, exact spectra, base 2, (M,); at the start without theta."""
    spectra = block_spectra(problem.stack(), problem.start if theta is None else theta, partition, largest=10_000)
    return mean_over_pairs(jensen_shannon(spectra, bins=bins, normalise=normalise))


def distance(first: Array, second: Array, *, normalise: str, bins: int = 100) -> float:
    """Jensen-Shannon distance, base 2, of two spectra (P,) and (Q,) as if they were two blocks."""
    pair = Partition("two", ("first", "second"), (first.size, second.size))
    spectra = BlockSpectra.exactly(pair, [first[None], second[None]], np.zeros(1))
    return float(jensen_shannon(spectra, bins=bins, normalise=normalise)[0, 0, 1])


def race(
    problems: Mapping[str, ToyProblem],
    rules: Sequence[str] = ("gd", "adam"),
    *,
    steps: int,
    density: int = 4,
    tolerance: float = 0.1,
) -> pd.DataFrame:
    """Steps to the target of every rule on every problem at the best rate of a grid.

    The best rate is that of the seed alone: the fewest steps, then the smallest loss at the end. One rate for all seeds leaves
    some of them beyond the edge of stability, and a figure per seed would then tell how far rates of seeds are apart.

    Args:
        problems: by what they are called.
        rules: names among CENTRES.
        steps: at most so many.
        density: rates a decade.
        tolerance: the target is this times ln(classes).

    Returns:
        A row per configuration, heterogeneity, rule and seed: `configuration`, `heterogeneity`, `rule`, `index`, `steps` (`inf`
        where the target was not reached), `loss` (the last), `lr`, `edge` (whether that is the last rate tried) and `limit`.
    """
    frames = []
    for name, problem in problems.items():
        for rule in rules:
            for c in np.unique(problem.heterogeneity).tolist():
                same = problem.select(np.flatnonzero(problem.heterogeneity == c).tolist())
                found = _best(same, rule, steps, density, tolerance)
                given = {"configuration": name, "heterogeneity": c, "rule": rule, "index": same.index, "limit": steps}
                frames.append(pd.DataFrame(given | found))
    return pd.concat(frames, ignore_index=True)


def _best(problem: ToyProblem, rule: str, steps: int, density: int, tolerance: float) -> dict[str, Any]:
    tried: dict[int, tuple[Array, Array]] = {}
    new = list(range(-density, density + 1))
    for _ in range(MOST_EXTENSIONS + 1):
        rates = [CENTRES[rule] * 10 ** (k / density) for k in new]
        run = train(problem, rule, lr=rates, steps=steps, tolerance=tolerance, record=steps)
        reached = np.where(run.status == "diverged", np.inf, run.steps_to_tolerance)
        tried |= {k: (reached[:, i], run.final_loss[:, i]) for i, k in enumerate(new)}
        low, high = min(tried), max(tried)
        best = [min(tried, key=lambda k: (tried[k][0][m], tried[k][1][m])) for m in range(problem.problems)]
        new = [low - 1 - i for i in range(density)] if low in best else []
        new += [high + 1 + i for i in range(density)] if high in best else []
        if not new:
            break
    return {
        "steps": np.array([tried[k][0][m] for m, k in enumerate(best)]),
        "loss": np.array([tried[k][1][m] for m, k in enumerate(best)]),
        "lr": CENTRES[rule] * 10 ** (np.array(best) / density),
        "edge": np.isin(best, (min(tried), max(tried))),
    }


def groups(table: pd.DataFrame, *columns: str) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """The rows that agree in some columns, in the order in which they come."""
    for key, same in table.groupby(list(columns), sort=False):
        values: Any = key
        yield tuple(values), same


def gaps(runs: pd.DataFrame, slow: str = "gd", fast: str = "adam") -> pd.DataFrame:
    """Steps of one rule over those of another, seed by seed: `configuration`, `heterogeneity`, `index` and `gap`.

    `inf` where only the slow one does not arrive; 0 where the fast one does not, so that a run that failed never speaks for it.
    """
    wide = runs.pivot(index=["configuration", "heterogeneity", "index"], columns="rule", values="steps")
    wide = wide.loc[list(dict.fromkeys(wide.index))]
    with np.errstate(invalid="ignore"):
        gap = np.where(np.isinf(wide[fast]), 0.0, wide[slow] / wide[fast])
    return wide.reset_index()[["configuration", "heterogeneity", "index"]].assign(gap=gap)


def quotient(of: ArrayLike, over: ArrayLike) -> Array:
    """Of steps or gaps, seed by seed; 1 where neither is finite or both are 0, which says nothing."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.asarray(of, dtype=float) / np.asarray(over, dtype=float)
    return np.where(np.isnan(found), 1.0, found)


def race_notes(runs: pd.DataFrame) -> tuple[str, ...]:
    """What a reader has to know of a race: runs that did not arrive, and best rates at an edge."""
    notes = []
    for rule, same in runs.groupby("rule", sort=False):
        late = same[np.isinf(same["steps"])]
        if len(late):
            which = late[["configuration", "heterogeneity"]].drop_duplicates()
            places = "; ".join(
                f"{row.configuration}, dial {row.heterogeneity:g}" for row in which.head(_MOST_NAMED).itertuples()
            )
            more = f" and {len(which) - _MOST_NAMED} more" if len(which) > _MOST_NAMED else ""
            limit = int(same["limit"].max())
            notes.append(f"{rule}: {len(late)} of {len(same)} runs did not arrive in {limit} steps ({places}{more}).")
    edge = runs[runs["edge"]][["configuration", "heterogeneity", "rule"]].drop_duplicates()
    if len(edge):
        text = "; ".join(f"{row.configuration}, dial {row.heterogeneity:g}: {row.rule}" for row in edge.itertuples())
        notes.append(f"The best rate lies at the edge of the grid, so that a better one may exist: {text}.")
    return tuple(notes)
