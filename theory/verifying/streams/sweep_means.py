"""Judge the runs of a sweep over streams by the theorems of kind expectation: their mean over problems and draws is known.

The gap of a run over its own exact mean has the mean 1, whatever its problem. So the problems of a point, each with samples of
its own, are independent runs of one comparison at every step. The best rate was chosen on these runs, unless the sweep chose on
half of its seeds: then every rate that was tried counts as a comparison, as any of them might have been the best.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from quadsim.simulator.runs.guaranteed import IN_THE_MEAN
from quadsim.simulator.sweeps.results.results import Results
from quadsim.theory.verifying.streams.means import ERROR_RATE, JudgedMeans, MeanSums

__all__ = ["STEPS", "sweep_means"]

STEPS = 8
"""Steps at which a mean is judged: of the recorded ones, evenly spaced, as every comparison lets each say less."""

_KEYS = ["point", "optimizer", "setting", "lr", "theorem"]


def sweep_means(results: Results, error_rate: float = ERROR_RATE) -> pd.DataFrame:
    """Return a row per point and optimizer whose mean gap on a stream is known exactly, at its best rate.

    Args:
        results: a sweep with its guarantees.
        error_rate: largest chance that any true mean of the whole sweep is refuted.

    Returns:
        Columns point, optimizer, setting, lr, theorem, runs, means (steps judged), holds, undecided and refuted (how many of
        these), verdict (the worst of them), worst_standard_errors, allowed (standard errors), worst_relative (largest distance
        from the mean, relative), noticed (largest relative error that 95 of 100 sweeps of this size would refute) and wanted
        (number of runs from which on the skewness that was seen leaves a verdict). Empty where nothing is known.
    """
    every = list(_sums(results))
    if results.config.select_on == "all":
        best = results.best.set_index(["point", "optimizer"])
        tried = int(sum(best.loc[(key["point"], key["optimizer"]), "rates_tried"] for key, _ in every))
    else:
        tried = len(every)
    return pd.DataFrame([key | _row(sums.judge(max(tried, 1) * STEPS, error_rate)) for key, sums in every])


def _row(means: JudgedMeans) -> dict[str, Any]:
    counts = {word: int((means.verdict == word).sum()) for word in ("holds", "undecided", "refuted")}
    return {
        "runs": means.runs,
        "means": means.errors.size,
        **counts,
        "verdict": next(word for word in ("refuted", "undecided", "holds") if counts[word]),
        "worst_standard_errors": float(np.max(np.abs(means.errors))),
        "allowed": means.allowed,
        "worst_relative": float(np.max(np.abs(means.errors * means.relative_error))),
        "noticed": float(np.max(means.noticed)),
        "wanted": float(np.max(means.wanted)),
    }


def _sums(results: Results) -> Iterator[tuple[dict[str, Any], MeanSums]]:
    """Yield the point, optimizer, setting, rate and theorem, and the gaps over their means at the judged steps."""
    found, curves = results.guarantees, results.curves
    if found is None or curves is None:
        return
    known = found[found["kind"] == IN_THE_MEAN]  # where no mean is known, the curve is not finite
    for values, same in known.groupby(_KEYS, sort=False):
        key = dict(zip(_KEYS, values, strict=True))
        means = np.stack(same["curve"].to_list())
        gaps = (
            curves["gap"]
            .sel(optimizer=key["optimizer"], seed=same["seed"].to_numpy())
            .isel(point=key["point"])
            .to_numpy()
        )
        recorded = gaps.shape[1] - 1
        places = np.unique(np.linspace(1, recorded, min(STEPS, recorded)).astype(int))
        if len(same) > 1 and np.all(np.isfinite(means[:, places])):
            relative = gaps[:, places] / gaps[:, :1] / means[:, places]
            yield key, MeanSums(np.ones(places.size)).add(relative)
