"""What the folder of a sweep holds, read when it is first asked for, and no more of it than is asked for."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.runs.status import STATUSES, current_frame, current_names
from quadsim.simulator.support import store
from quadsim.simulator.support.records import records_of
from quadsim.simulator.sweeps.config.grid import SweepGrid
from quadsim.simulator.sweeps.results.comparison import Key
from quadsim.simulator.sweeps.results.histogram import mark_best, settings_frame
from quadsim.simulator.sweeps.results.integrity import place_of
from quadsim.simulator.sweeps.results.statistics import (
    KEYS,
    BestSteps,
    RateStatistics,
    Reading,
    best_counted_of,
    best_of,
    rate_statistics,
    steps_by_seed,
)

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["Tables"]

_IN_MEMORY = 1 << 28
"""Bytes of curves that are read at once; of larger ones each part when it is used."""


class Tables:
    """The tables and curves of one sweep.

    Args:
        folder: that holds them.
        config: the sweep.
        best: the rows of the best rates, where the sweep that has just finished knows them; else they are computed again.
        steps: of the runs at these rates, likewise; else they are read.
    """

    def __init__(
        self,
        folder: Path,
        config: SweepGrid,
        best: Sequence[dict[str, Any]] | None = None,
        steps: BestSteps | None = None,
    ) -> None:
        self._folder, self._config, self._best, self._steps = folder, config, best, steps

    @property
    def folder(self) -> Path:
        """Where the files are now: an extension that is finished may move from a folder inside into the folder itself."""
        return place_of(self._folder)

    @property
    def has_rows(self) -> bool:
        """Whether there is a row a run; else there are counts."""
        return not (self.folder / store.HISTOGRAM).is_file()

    @cached_property
    def histogram(self) -> "pd.DataFrame | None":
        """See `Results`."""
        return None if self.has_rows else self._read(store.HISTOGRAM)

    @cached_property
    def summary(self) -> "pd.DataFrame":
        """See `Results`."""
        if self.histogram is None:
            return self._read(store.SUMMARY)
        return mark_best(settings_frame(self.histogram.drop(columns="best_lr"), self._config.until), self.best)

    @cached_property
    def best(self) -> "pd.DataFrame":
        """See `Results`."""
        import pandas as pd

        return pd.DataFrame(self.best_rows)

    @cached_property
    def best_rows(self) -> Sequence[dict[str, Any]]:
        """The rows of `best` without pandas."""
        if self._best is not None:
            return self._best
        if self.histogram is None:
            return best_of(self._config, self._tried)
        settings = settings_frame(self.histogram.drop(columns="best_lr"), self._config.until)
        return records_of(best_counted_of(self._config, settings))

    def steps(self, column: str, best: Mapping[Key, tuple[str, float]]) -> dict[Key, NDArray[np.float64]]:
        """Effective steps of the reported seeds at the best setting and rate of every point and optimizer.

        Args:
            column: the steps.
            best: for every point and optimizer the setting and the rate; without a rate there is no entry.
        """
        known = {key: chosen for key, chosen in best.items() if np.isfinite(chosen[1])}
        if self._steps is not None:
            return {key: self._steps[*key, *chosen, column] for key, chosen in known.items()}
        marked = {(row["point"], row["optimizer"]): (row["setting"], row["lr"]) for row in self.best_rows}
        runs = self.best_runs if known.items() <= marked.items() else self.summary
        if "setting" not in runs:  # a table of a version in which an optimizer was one setting
            runs = runs.assign(setting=runs["optimizer"])
        runs = runs[runs["point"].isin({point for point, _ in known})]
        found = {}
        for (point, optimizer, *chosen), same in runs.groupby(KEYS, sort=False):
            key = int(str(point)), str(optimizer)
            if known.get(key) == tuple(chosen):
                columns = {name: same[name].to_numpy() for name in ("seed", "status", column)}
                found[key] = steps_by_seed(columns, column, self._config.reported)
        return found

    @cached_property
    def rates(self) -> "pd.DataFrame":
        """A row per point, optimizer, setting and rate.

        Columns `lr`, the median and quantiles of the steps (`steps_median`, `steps_q10`, `steps_q90`), and `reached` and
        `diverged` (fractions of the runs).
        """
        import pandas as pd

        names = ["steps_median", "steps_q10", "steps_q90", "reached", "diverged"]
        if self.histogram is not None:
            found = self.summary
            runs = found[list(STATUSES)].sum(axis=1)
            found = found.assign(reached=found["solved"] / runs, diverged=found["diverged"] / runs)
            return found[[*KEYS, *names]].reset_index(drop=True)
        rows = [
            {"point": p, "optimizer": self._config.swept[o].text, "setting": one.setting, "lr": one.lr}
            | {name: one.columns[name] for name in names}
            for (p, o), tried in sorted(self._tried.items())
            for one in tried
        ]
        return pd.DataFrame(rows)

    @cached_property
    def _tried(self) -> dict[tuple[int, int], list[RateStatistics]]:
        """Statistics of every setting and rate, by point and optimizer."""
        positions = {optimizer.text: o for o, optimizer in enumerate(self._config.swept)}
        found: dict[tuple[int, int], list[RateStatistics]] = {}
        reading = Reading.of(self._config)
        for runs in self._rates():
            point, optimizer, setting, lr, exponent = (runs[name][0] for name in (*KEYS, "lr_exponent"))
            tried = found.setdefault((int(point), positions[optimizer]), [])
            tried.append(rate_statistics(setting, float(lr), exponent, runs, reading))
        return found

    @cached_property
    def guarantees(self) -> "pd.DataFrame | None":
        """See `Results`."""
        if not (self.folder / store.GUARANTEES).is_file():
            return None
        return self._read(store.GUARANTEES)

    @cached_property
    def best_runs(self) -> "pd.DataFrame":
        """Rows or bins at the best rates."""
        if self.histogram is not None:
            return self.histogram[self.histogram["best_lr"]]
        return self._read(store.SUMMARY, filters=[("best_lr", "==", True)])

    def rows(self, only: Mapping[str, Sequence[str]], columns: Sequence[str] | None = None) -> "pd.DataFrame":
        """Some rows of the summary, of which no more is read.

        Args:
            only: column to the values that are wanted.
            columns: that are wanted; None: all.
        """
        if self.histogram is None:
            filters = [(name, "in", list(values)) for name, values in only.items()]
            wanted = None if columns is None else list(columns)
            return self._read(store.SUMMARY, columns=wanted, filters=filters)
        found = self.summary
        for name, values in only.items():
            found = found[found[name].isin(values)]
        return found if columns is None else found[list(columns)]

    @cached_property
    def setting_column(self) -> str:
        """The column with the label of the setting; `optimizer` in a table of a version in which that was one setting."""
        if self.histogram is not None:
            return "setting" if "setting" in self.histogram else "optimizer"
        path = self.folder / store.SUMMARY
        with _readable(path), store.parquet_reader(path) as file:
            return "setting" if "setting" in file.schema_arrow.names else "optimizer"

    @cached_property
    def curves(self) -> "xr.Dataset | None":
        """See `Results`."""
        if not self.has_rows:
            return None
        dataset = store.open_dataset(self.folder / store.CURVES)
        if dataset.nbytes > _IN_MEMORY:
            return dataset
        with dataset:
            return dataset.load()

    @cached_property
    def runs(self) -> int:
        """How many were made."""
        if self.histogram is None:
            path = self.folder / store.SUMMARY
            with _readable(path), store.parquet_reader(path) as file:
                return int(file.metadata.num_rows)
        return int(self.summary[list(STATUSES)].to_numpy().sum())

    def _read(self, name: str, **options: Any) -> "pd.DataFrame":
        """A table, or a part of it, that a stranger may have damaged."""
        with _readable(self.folder / name):
            return current_frame(store.read_frame(self.folder / name, **options))

    def _rates(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Columns of the summary that statistics need, rate by rate: its rows lie together.

        A table without settings was written before there were any: its optimizers are settings.
        """
        path = self.folder / store.SUMMARY
        needed = Reading.of(self._config).columns
        with _readable(path), store.parquet_reader(path) as file:
            names = file.schema_arrow.names
            columns = [name for name in (*KEYS, "lr_exponent", *needed) if name in names]
            rest: dict[str, NDArray[Any]] = {}
            for batch in file.iter_batches(columns=columns):
                own = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in batch.schema.names}
                own["status"] = current_names(own["status"])
                own.setdefault("setting", own["optimizer"])
                whole = {name: np.concatenate([rest[name], own[name]]) for name in own} if rest else own
                changed = np.any([whole[name][1:] != whole[name][:-1] for name in KEYS], axis=0)
                ends = [0, *(np.flatnonzero(changed) + 1).tolist()]
                for begin, end in pairwise(ends):
                    yield {name: values[begin:end] for name, values in whole.items()}
                rest = {name: values[ends[-1] :] for name, values in whole.items()}
            if rest:
                yield rest


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say in one line that a table cannot be read.

    Raises:
        ValueError: what pyarrow says of it.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"results must be readable, got {path} ({error}); run the sweep again elsewhere.") from error
