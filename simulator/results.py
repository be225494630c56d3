"""Results of a sweep: its table, its curves, its answer, and the folder they are stored in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd
import xarray as xr

from quadsim.simulator import store
from quadsim.simulator.histogram import settings_frame
from quadsim.simulator.rule import Rule
from quadsim.simulator.statistics import answer, best_counted_rates, best_rates, counted_answer
from quadsim.simulator.sweep_config import DIALS, FIXED_BY_CASE, POINT_COLUMNS, ROWS_UP_TO, SweepConfig
from quadsim.simulator.trajectory import STATUSES

__all__ = ["Results", "load_results"]


@dataclass(frozen=True, eq=False)
class Results:
    """What a sweep found.

    Attributes:
        config: the grid.
        summary: a row per run; where quantiles were kept, a row per point, optimizer and rate with its counts. `best_lr` marks
            the best rate of its optimizer and point.
        best: a row per point and optimizer, statistics over the seeds at the best rate.
        curves: gap at log-spaced steps at the best rates, (point, optimizer, seed, step); None where quantiles were kept.
        manifest: versions, device, command, wall time.
        folder: where it is stored, if it is.
        histogram: where quantiles were kept, a row per point, optimizer, rate and bin of steps: `runs` that reached the
            tolerance within `up_to` steps and not within those of the bin before, `bound_runs` that a theorem allows so
            many; beside them, the same for all bins of a rate, what `summary` holds.
    """

    config: SweepConfig
    summary: pd.DataFrame
    best: pd.DataFrame
    curves: xr.Dataset | None
    manifest: dict[str, Any]
    folder: Path | None = None
    histogram: pd.DataFrame | None = None

    @classmethod
    def of_histogram(
        cls, config: SweepConfig, histogram: pd.DataFrame, manifest: dict[str, Any], folder: Path | None
    ) -> Self:
        """Everything that can be told from counts.

        Raises:
            ValueError: a table that is not a histogram.
        """
        keys = ["point", "optimizer", "lr"]
        settings = settings_frame(histogram)
        best = best_counted_rates(settings, POINT_COLUMNS)
        mark = best[keys].assign(best_lr=True)
        marked = [frame.merge(mark, on=keys, how="left", validate="many_to_one") for frame in (settings, histogram)]
        summary, bins = (frame.assign(best_lr=frame["best_lr"].eq(True)) for frame in marked)
        return cls(config, summary, best, None, manifest, folder, bins)

    @property
    def runs(self) -> int:
        """How many were made."""
        if self.histogram is None:
            return len(self.summary)
        return int(self.summary[list(STATUSES)].to_numpy().sum())

    @property
    def files(self) -> list[str]:
        """Names of what a folder holds."""
        tables = [store.SUMMARY, store.CURVES] if self.histogram is None else [store.HISTOGRAM]
        return [*tables, f"{store.FIGURES}/", store.CONFIG, store.MANIFEST]

    @property
    def facets(self) -> list[str]:
        """The dials beside the compared one that take several values."""
        free = [name for name in DIALS if not (self.config.case and name in FIXED_BY_CASE)]
        return [name for name in free if name != self.config.axis and len(getattr(self.config, name)) > 1]

    def groups(self) -> list[tuple[str, pd.DataFrame, pd.DataFrame]]:
        """(label, runs or bins at the best rates, rows of `best`) for every combination of the facets."""
        kept = self.summary if self.histogram is None else self.histogram
        runs = kept[kept["best_lr"]]
        if not self.facets:
            return [("", runs, self.best)]
        out = []
        for values, same in self.best.groupby(self.facets, sort=False, dropna=False):
            label = ", ".join(f"{n.replace('_', ' ')} {v}" for n, v in zip(self.facets, values, strict=True))
            out.append((label, runs[runs["point"].isin(same["point"])], same))
        return out

    @property
    def answers(self) -> list[str]:
        """The result in words, one text per combination of the facets."""
        out = []
        for label, runs, best in self.groups():
            words = answer if self.histogram is None else counted_answer
            text = words(runs, best, self.config.axis, self.config.steps)
            out.append(f"{label}: {text}" if label else text)
        return out

    @property
    def at_edge(self) -> pd.DataFrame:
        """Rows of `best` whose rate lies at the edge of what was tried, so that a better one may exist."""
        return self.best[self.best["at_edge"] != ""]

    @property
    def notes(self) -> list[str]:
        """What a reader of the answer has to know: how rates were chosen, edges, runs that left again, weight decay."""
        config = self.config
        how = "Best rates are chosen with hindsight over all seeds, for all optimizers alike"
        if config.lr is not None:
            out = [f"{how}, from the {len(config.lr)} given."]
        else:
            out = [f"{how}, from grids of {int(self.best['rates_tried'].max())} rates around each rule's natural rate."]
        if self.histogram is not None:
            out += self._notes_on_counts(self.summary)
        for row in self.at_edge.to_dict("records"):
            end = {"low": "smallest", "high": "largest"}[row["at_edge"]]
            out.append(
                f"The best rate of {row['optimizer']} at {self._at(row)} is the {end} one tried: a better one may exist."
            )
        left = self.best[self.best["final_gap_median"].gt(config.tolerance) & self.best["reached"].ge(0.5)]
        for name, rows in left.groupby("optimizer", sort=False):
            where = ", ".join(dict.fromkeys(self._at(row) for row in rows.to_dict("records")))
            out.append(
                f"Steps are first crossings: at its best rate {name} is above the tolerance again at the end ({where})."
            )
        for spec in config.specs:
            decay = spec.hyperparameters.get("weight_decay", _default_decay(spec.rule))
            if decay > 0.0:
                out.append(f"The minimiser is 0 here, so the weight decay of {spec.label} pulls towards the solution.")
        return out

    def _notes_on_counts(self, settings: pd.DataFrame) -> list[str]:
        """What a reader of counts has to know besides."""
        asked = "" if self.config.keep else f"more than {ROWS_UP_TO:,} runs; --keep rows for a row each: "
        out = [
            f"Of {self.runs:,} runs, counts by status and histograms are kept ({asked}no row a run, no curves), so steps are the "
            "upper ends of bins, each 12% wide, and bootstrap intervals are not paired by problem."
        ]
        verdicts = {
            n.removeprefix("verdict_"): int(settings[n].sum()) for n in settings.columns if n.startswith("verdict_")
        }
        if not verdicts:
            out.append("Bounds were not checked on these runs.")
        elif set(verdicts) != {"not_applicable"}:
            said = ", ".join(f"{number:,} {word.replace('_', ' ')}" for word, number in verdicts.items())
            out.append(f"Bounds on these runs: {said}; worst margin {settings['margin_worst'].max():.6g}.")
            if int(sum(verdicts.values())) < self.runs:
                out.append(f"On {self.runs - sum(verdicts.values()):,} runs bounds were not checked.")
        missed = self.best[self.best["reached"].lt(0.5)]
        if len(missed):
            where = ", ".join(f"{row['optimizer']} at {self._at(row)}" for row in missed.to_dict("records"))
            out.append(
                f"Where no rate reaches the tolerance in half of the runs ({where}), the best is the one that reaches it most "
                "often, and of equals the one nearest to the natural rate, as gaps at the end are not kept."
            )
        return out

    def _at(self, row: Mapping[Any, Any]) -> str:
        return str(row["case"]) if self.config.axis == "case" else f"{row['heterogeneity']:g}"

    def save(self, folder: Path) -> None:
        """Write everything but the figures' source; the manifest comes last and marks the folder as finished."""
        from quadsim.simulator.figures import save_figures

        if self.histogram is not None:
            store.write_frame(folder / store.HISTOGRAM, self.histogram)
        else:
            assert self.curves is not None
            store.write_frame(folder / store.SUMMARY, self.summary)
            store.write_dataset(folder / store.CURVES, self.curves)
        save_figures(self, folder / store.FIGURES)
        store.write_json(folder / store.MANIFEST, self.manifest)

    def to_json(self) -> dict[str, Any]:
        """The answer and the table of best rates as plain data; a step count that is `inf` becomes null."""
        return {
            "answer": self.answers,
            "notes": self.notes,
            "best": [{k: v if _is_plain(v) else None for k, v in row.items()} for row in self.best.to_dict("records")],
            "runs": self.runs,
            "kept": self.config.kept,
            "folder": None if self.folder is None else str(self.folder),
            "config": self.config.to_json(),
        }

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a finished sweep.

        Raises:
            ValueError: a folder without one.
        """
        folder = Path(folder)
        if not store.is_finished(folder):
            raise ValueError(
                f"results must be a folder with a finished sweep, got {folder}; run the sweep again to finish it."
            )
        config = SweepConfig.from_json(store.read_json(folder / store.CONFIG, "config"))
        manifest = store.read_json(folder / store.MANIFEST, "manifest")
        try:
            if (folder / store.HISTOGRAM).is_file():
                bins = pd.read_parquet(folder / store.HISTOGRAM).drop(columns="best_lr")
                return cls.of_histogram(config, bins, manifest, folder)
            summary = pd.read_parquet(folder / store.SUMMARY)
            with xr.open_dataset(folder / store.CURVES, engine="h5netcdf") as opened:
                curves = opened.load()
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"results must be readable, got {folder} ({error}); delete the folder, or run the sweep again elsewhere."
            ) from error
        best = best_rates(summary, POINT_COLUMNS)
        return cls(config, summary, best, curves, manifest, folder)


def load_results(folder: str | Path) -> Results:
    """Read what `sweep` wrote to a folder.

    Raises:
        ValueError: a folder without a finished sweep.
    """
    return Results.load(Path(folder))


def _default_decay(rule: Rule) -> float:
    return next((h.default for key, h in rule.hyperparameters.items() if str(key) == "weight_decay"), 0.0)


def _is_plain(value: Any) -> bool:
    """Whether JSON can hold the value (not NaN or infinite)."""
    return not isinstance(value, float) or (value == value and abs(value) != float("inf"))
