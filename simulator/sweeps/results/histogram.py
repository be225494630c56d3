"""What a sweep keeps in place of its runs: counts and histograms per point, optimizer and rate, and tables made of them."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.engines.counting import Tally, count_runs, count_steps
from quadsim.simulator.runs.judged import Judge, judged
from quadsim.simulator.runs.status import STATUSES
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.simulator.support.statistics import counted_quantile

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COUNTED", "Counted", "bins_frame", "mark_best", "settings_frame"]

Counts = NDArray[np.int64]

_VERDICT = "verdict_"

COUNTED = {"first": "runs", "stays": "stay_runs"}
"""The column of a histogram with the runs that meet a criterion, by the values of `SweepGrid.until`."""

_STEP_COUNTS = (*COUNTED.values(), "bound_runs")


@dataclass(frozen=True, eq=False)
class Counted:
    """Some problems under K rates; the counts of further problems are added with `+`.

    Attributes:
        hits: runs by rate and bin of the step at which the tolerance was reached, (K, bins).
        stays: runs by rate and bin of the step from which on they stay within the tolerance, (K, bins).
        status: (K, 3), in the order of STATUSES.
        bounds: runs by rate and bin of the steps that a theorem allows, (K, bins).
        bounded: runs that a bound speaks of, (K,); those it allows more steps than were taken are in no bin.
        verdicts: word of the judge to the runs it was said of, (K,); empty where nothing was judged.
        margin: the worst, (K,); NaN where there is none.
        theorem: what the judge held runs against, (K,).
        engine: what ran, (K,).
    """

    hits: Counts
    stays: Counts
    status: Counts
    bounds: Counts
    bounded: Counts
    verdicts: Mapping[str, Counts]
    margin: NDArray[np.float64]
    theorem: NDArray[np.str_]
    engine: NDArray[np.str_]

    @classmethod
    def of_tally(cls, tally: Tally, engine: str) -> Self:
        """Counts from a device, which nothing has judged."""
        settings = tally.hits.shape[0]
        return cls(
            hits=tally.hits,
            stays=tally.stays,
            status=np.stack([tally.status[name] for name in STATUSES], axis=1),
            bounds=np.zeros_like(tally.hits),
            bounded=np.zeros(settings, dtype=np.int64),
            verdicts={},
            margin=np.full(settings, np.nan),
            theorem=np.full(settings, ""),
            engine=np.full(settings, engine),
        )

    @classmethod
    def of_trajectory(cls, trajectory: Trajectory, judge: Judge | None) -> Self:
        """Counts of a trajectory and of what a judge says of it."""
        counted = cls.of_tally(count_runs(trajectory), trajectory.engine)
        if judge is None:
            return counted
        columns = judged(judge, trajectory)
        bound, margin = columns["bound_steps"], columns["margin"]
        words, theorems = columns["verdict"].astype(str), columns["theorem"].astype(str)
        return cls(
            hits=counted.hits,
            stays=counted.stays,
            status=counted.status,
            bounds=count_steps(bound, int(trajectory.steps[-1])),
            bounded=np.sum(~np.isnan(bound), axis=0),
            verdicts={str(word): np.sum(words == word, axis=0) for word in np.unique(words) if word},
            margin=np.fmax.reduce(margin, axis=0),
            theorem=np.array([_joined(theorems[:, k]) for k in range(theorems.shape[1])]),
            engine=counted.engine,
        )

    def __add__(self, other: Self) -> Self:
        """Of both."""
        none = np.zeros_like(self.bounded)
        words = sorted({*self.verdicts, *other.verdicts})
        return type(self)(
            hits=self.hits + other.hits,
            stays=self.stays + other.stays,
            status=self.status + other.status,
            bounds=self.bounds + other.bounds,
            bounded=self.bounded + other.bounded,
            verdicts={w: self.verdicts.get(w, none) + other.verdicts.get(w, none) for w in words},
            margin=np.fmax(self.margin, other.margin),
            theorem=np.array([_joined(both) for both in zip(self.theorem, other.theorem, strict=True)]),
            engine=np.array([_joined(both) for both in zip(self.engine, other.engine, strict=True)]),
        )

    def at(self, rate: int) -> Self:
        """Of one of the rates, by its place among them."""
        part = slice(rate, rate + 1)
        verdicts = {word: counts[part] for word, counts in self.verdicts.items()}
        return type(self)(verdicts=verdicts, **{name: getattr(self, name)[part] for name in _ARRAYS})

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The same problems under the rates of all parts."""
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
        words = sorted({word for part in parts for word in part.verdicts})
        verdicts = {
            word: np.concatenate([part.verdicts.get(word, np.zeros_like(part.bounded)) for part in parts])
            for word in words
        }
        return cls(verdicts=verdicts, **arrays)

    @classmethod
    def of_bins(cls, bins: "pd.DataFrame") -> Self:
        """Read back what `bins_frame` made of one Counted: all bins of its rates."""
        number = bins["up_to"].nunique()
        each, prefix = bins.iloc[::number], _VERDICT
        names = [str(name) for name in each.columns if str(name).startswith(prefix)]
        return cls(
            hits=bins["runs"].to_numpy().reshape(-1, number),
            stays=bins["stay_runs"].to_numpy().reshape(-1, number),
            status=each[list(STATUSES)].to_numpy(),
            bounds=bins["bound_runs"].to_numpy().reshape(-1, number),
            bounded=each["bounded"].to_numpy(),
            verdicts={n.removeprefix(prefix).replace("_", " "): each[n].to_numpy() for n in names if each[n].any()},
            margin=each["margin_worst"].to_numpy(),
            theorem=each["theorem"].to_numpy().astype(str),
            engine=each["engine"].to_numpy().astype(str),
        )

    def to_bytes(self) -> bytes:
        """Everything as the content of one NPZ file."""
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {_VERDICT + word: counts for word, counts in self.verdicts.items()}
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)
        return content.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read what `to_bytes` made."""
        with np.load(io.BytesIO(content), allow_pickle=False) as opened:
            arrays = {name: opened[name] for name in opened.files}
        verdicts = {n.removeprefix(_VERDICT): a for n, a in arrays.items() if n.startswith(_VERDICT)}
        return cls(verdicts=verdicts, **{name: arrays[name] for name in _ARRAYS})


_ARRAYS = ("hits", "stays", "status", "bounds", "bounded", "margin", "theorem", "engine")


def _joined(names: Iterable[str]) -> str:
    """Different names that are not empty, in order."""
    return " ".join(dict.fromkeys(word for name in dict.fromkeys(names) for word in str(name).split()))


def bins_frame(parts: Iterable[tuple[Mapping[str, Any], Counted]], edges: Counts) -> "pd.DataFrame":
    """A row per rate and bin: `runs` that reached the tolerance after more steps than the bin before and `up_to` so many.

    Args:
        parts: columns (one value, or one a rate) that say what was run, and its counts.
        edges: upper ends of the bins.
    """
    import pandas as pd

    every = list(parts)
    words = sorted({word for _, counted in every for word in counted.verdicts})
    frames = []
    for columns, counted in every:
        rates, bins = counted.hits.shape
        none = np.zeros(rates, dtype=np.int64)
        own: dict[str, Any] = {name: np.broadcast_to(values, rates) for name, values in columns.items()}
        own |= {name: counted.status[:, i] for i, name in enumerate(STATUSES)}
        own |= {"theorem": counted.theorem, "bounded": counted.bounded, "margin_worst": counted.margin}
        own |= {_column(word): counted.verdicts.get(word, none) for word in words}
        own["engine"] = counted.engine
        frame = pd.DataFrame({name: np.repeat(values, bins) for name, values in own.items()})
        hits, stays, bounds = (each.ravel() for each in (counted.hits, counted.stays, counted.bounds))
        frames.append(frame.assign(up_to=np.tile(edges, rates), runs=hits, stay_runs=stays, bound_runs=bounds))
    return pd.concat(frames, ignore_index=True)


def _column(word: str) -> str:
    return _VERDICT + word.replace(" ", "_")


def settings_frame(bins: "pd.DataFrame", until: str = "first") -> "pd.DataFrame":
    """A row per point, optimizer and rate: the counts, and quantiles of the steps (upper ends of bins).

    Args:
        bins: see `bins_frame`; a table of an older version has no `stay_runs`.
        until: the criterion of the quantiles, see `SweepGrid.until`; `solved` are the runs that meet it.

    Raises:
        ValueError: a table of another shape.
    """
    edges = np.unique(bins["up_to"].to_numpy())
    if len(bins) % edges.size or not (bins["up_to"].to_numpy().reshape(-1, edges.size) == edges).all():
        raise ValueError("a histogram must hold all bins of every rate in order, got a table that does not")
    out = (
        bins
        .iloc[:: edges.size]
        .drop(columns=["up_to", "runs", "stay_runs", "bound_runs"], errors="ignore")
        .reset_index(drop=True)
    )
    total = out[list(STATUSES)].sum(axis=1).to_numpy()
    counts = {name: bins[name].to_numpy().reshape(-1, edges.size) for name in _STEP_COUNTS if name in bins}
    hits, bounds = counts[COUNTED[until]], counts["bound_runs"]

    def quantiles(counts: Counts, q: float) -> list[float]:
        return [float(counted_quantile(edges, row, int(n), q)) for row, n in zip(counts, total, strict=True)]

    return out.assign(
        steps_median=quantiles(hits, 0.5),
        steps_q10=quantiles(hits, 0.1),
        steps_q90=quantiles(hits, 0.9),
        steps_first_median=quantiles(counts["runs"], 0.5),
        steps_stay_median=quantiles(counts["stay_runs"], 0.5) if "stay_runs" in counts else np.nan,
        solved=hits.sum(axis=1),
        bound_median=np.where(out["bounded"].to_numpy() == total, quantiles(bounds, 0.5), np.nan),
    )


def tail_frame(bins: "pd.DataFrame", until: str = "first") -> "pd.DataFrame":
    """A row per point, optimizer, rate and chance delta = 1/10, 1/100, ...: how the 1 - delta quantile of the steps grows.

    The smallest chance is that which ten runs exceed. Quantiles are upper ends of bins (20 a decade).

    Args:
        bins: see `bins_frame`.
        until: the criterion, see `SweepGrid.until`.

    Returns:
        The columns that say what was run, runs (their number), chance, steps (the smallest bin's end that at most a share delta
        of the runs exceeds; `inf` where more of them have not arrived) and steps_low, steps_high: its 95% interval, from the
        binomial law of the number of runs beyond.
    """
    import pandas as pd
    from scipy.stats import binom

    edges = np.unique(bins["up_to"].to_numpy())
    rows = settings_frame(bins, until)
    total = rows[list(STATUSES)].sum(axis=1).to_numpy()
    beyond = total[:, None] - np.cumsum(bins[COUNTED[until]].to_numpy().reshape(-1, edges.size), axis=1)
    ends = np.append(edges.astype(np.float64), np.inf)
    named = ("point", "heterogeneity", "batch", "label_noise", "noise_law", "optimizer", "setting", "lr", "best_lr")
    out = []
    for place in range(int(np.log10(max(int(total.max()) // 10, 1)))):
        chance = 10.0 ** -(place + 1)

        def first(allowed: Any) -> Any:
            return ends[np.sum(beyond > np.asarray(allowed)[:, None], axis=1)]

        columns: dict[str, Any] = {"runs": total, "chance": chance, "steps": first(chance * total)}
        columns |= {
            "steps_low": first(binom.ppf(0.975, total, chance)),
            "steps_high": first(binom.ppf(0.025, total, chance)),
        }
        out.append(rows[[name for name in named if name in rows]].assign(**columns))
    return pd.concat(out, ignore_index=True) if out else rows.iloc[:0]


def mark_best(frame: "pd.DataFrame", best: "pd.DataFrame") -> "pd.DataFrame":
    """With a column `best_lr` that is true at the best rate of an optimizer at a point."""
    keys = [name for name in ("point", "optimizer", "setting", "lr") if name in frame]
    marked = frame.merge(best[keys].assign(best_lr=True), on=keys, how="left", validate="many_to_one")
    return marked.assign(best_lr=marked["best_lr"].eq(True))
