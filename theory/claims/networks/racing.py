"""Measurements that several claims about networks share: distances between spectra, and steps at the best learning rates."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.curvature.block_spectra import BlockSpectra, block_spectra
from quadsim.simulator.curvature.spectral_distance import jensen_shannon, mean_over_pairs
from quadsim.simulator.models.partitions import Partition
from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.training.loop import train
from quadsim.theory.claims.judging import at_best_of_half, judged_half

__all__ = ["CENTRES", "RACE", "at_best_rate", "distance", "gaps", "groups", "js0", "quotient", "race", "race_notes"]

Array = NDArray[np.float64]

CENTRES = {"gd": 0.5, "heavy-ball": 0.1, "adam": 0.05}
"""Centre of the first grid of learning rates of each rule; grids are extended, so no result depends on it."""

MOST_EXTENSIONS = 4
_MOST_NAMED = 4  # configurations in a note

RACE = (
    "Steps to an unweighted loss of a tenth of ln(classes), full batch, constant rates; the rate is the best of a grid on half "
    "of the seeds, alike for all rules, and the other half is judged; the grid grows by a decade while a best rate lies at its "
    "edge."
)


def js0(
    problem: ToyProblem,
    theta: Array | None = None,
    partition: str = "module",
    *,
    normalise: str = "none",
    bins: int = 100,
) -> Array:
    """Return the mean Jensen-Shannon distance (base 2) over pairs of blocks with exact spectra, (M,); by default at the start."""
    spectra = block_spectra(problem.stack(), problem.start if theta is None else theta, partition, largest=10_000)
    return mean_over_pairs(jensen_shannon(spectra, bins=bins, normalise=normalise))


def distance(first: Array, second: Array, *, normalise: str, bins: int = 100) -> float:
    """Return the Jensen-Shannon distance (base 2) of two spectra, (P,) and (Q,), as if they were two blocks."""
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
    """Return the steps to the target of every rule on every problem, at the learning rate that is best on half of the seeds.

    The best rate has the fewest steps in the median over the even-numbered seeds, then the smallest median final loss; the rows
    are of the odd-numbered seeds.

    Args:
        problems: name to problems.
        rules: names in CENTRES.
        steps: largest number of steps.
        density: learning rates per decade.
        tolerance: the target is this times ln(classes).

    Returns:
        One row per configuration, heterogeneity, rule and judged seed: `configuration`, `heterogeneity`, `rule`, `index`, `steps`
        (`inf` if the target was not reached), `loss` (final), `lr`, `edge` (whether it is the last rate tried) and `limit`.
    """
    frames = []
    for name, problem in problems.items():
        for rule in rules:
            for c in np.unique(problem.heterogeneity).tolist():
                same = problem.select(np.flatnonzero(problem.heterogeneity == c).tolist())
                found = _best(same, rule, steps, density, tolerance)
                index = same.index[judged_half(same.problems)]
                given = {"configuration": name, "heterogeneity": c, "rule": rule, "index": index, "limit": steps}
                frames.append(pd.DataFrame(given | found))
    return pd.concat(frames, ignore_index=True)


def _best(problem: ToyProblem, rule: str, steps: int, density: int, tolerance: float) -> dict[str, Any]:
    def measure(rates: list[float]) -> dict[str, Array]:
        run = train(problem, rule, lr=rates, steps=steps, tolerance=tolerance, record=steps)
        return {
            "steps": np.where(run.status == "diverged", np.inf, run.steps_to_tolerance),
            "loss": run.final_loss,
        }

    return at_best_rate(measure, CENTRES[rule], density)


def at_best_rate(
    measure: Callable[[list[float]], Mapping[str, Array]], centre: float, density: int, decades: float = 1.0
) -> dict[str, Any]:
    """Return what the judged seeds give at the learning rate that is best on the other half.

    The grid grows by a decade while its best rate lies at an edge.

    Args:
        measure: function of learning rates to arrays (seeds, rates). The first is to be small; the second, where there is one,
            decides between rates with equal medians; the others are only returned.
        centre: centre of the first grid.
        density: learning rates per decade.
        decades: the first grid reaches so far to both sides.

    Returns:
        The arrays at the best rate, for the judged seeds alone, with `lr` and `edge` (whether it is the last rate tried).
    """
    tried: dict[int, dict[str, Array]] = {}
    reach = round(density * decades)
    new = list(range(-reach, reach + 1))
    for _ in range(MOST_EXTENSIONS + 1):
        found = measure([centre * 10 ** (k / density) for k in new])
        tried |= {k: {name: values[:, i] for name, values in found.items()} for i, k in enumerate(new)}
        low, high = min(tried), max(tried)
        order = sorted(tried)
        names = list(found)
        best = at_best_of_half(*(np.stack([tried[k][name] for k in order], axis=1) for name in names[:2]))
        at = order[best.column]
        new = [low - 1 - i for i in range(density)] if at == low else []
        new += [high + 1 + i for i in range(density)] if at == high else []
        if not new:
            break
    judged = judged_half(len(next(iter(tried[at].values()))))
    kept = {name: values[judged] for name, values in tried[at].items()}
    return kept | {names[0]: best.values, "lr": centre * 10 ** (at / density), "edge": best.edge}


def groups(table: pd.DataFrame, *columns: str) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Yield the groups of rows that agree in some columns, in the order of their first rows."""
    for key, same in table.groupby(list(columns), sort=False):
        values: Any = key
        yield tuple(values), same


def gaps(runs: pd.DataFrame, slow: str = "gd", fast: str = "adam") -> pd.DataFrame:
    """Return steps of one rule over those of another, seed by seed: `configuration`, `heterogeneity`, `index` and `gap`.

    The gap is `inf` where only the slow rule does not reach the target, and 0 where the fast rule does not: a failed run is never
    evidence for the fast rule.
    """
    wide = runs.pivot(index=["configuration", "heterogeneity", "index"], columns="rule", values="steps")
    wide = wide.loc[list(dict.fromkeys(wide.index))]
    with np.errstate(invalid="ignore"):
        gap = np.where(np.isinf(wide[fast]), 0.0, wide[slow] / wide[fast])
    return wide.reset_index()[["configuration", "heterogeneity", "index"]].assign(gap=gap)


def quotient(of: ArrayLike, over: ArrayLike) -> Array:
    """Return quotients of steps or gaps, seed by seed; NaN where neither is finite or both are 0: nothing can be compared."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.asarray(of, dtype=float) / np.asarray(over, dtype=float))


def race_notes(runs: pd.DataFrame) -> tuple[str, ...]:
    """Return the remarks on a race: runs that did not reach the target, and best rates at an edge of the grid."""
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
