"""Results of a sweep: its table, its curves, its answer, and the folder they are stored in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from quadsim.simulator.support import store
from quadsim.simulator.support.paths import local_path
from quadsim.simulator.support.records import plain_records
from quadsim.simulator.sweeps.config.families import config_from_json, family_of, imported
from quadsim.simulator.sweeps.config.grid import UNTIL, SweepGrid, value_text
from quadsim.simulator.sweeps.results.answers.answer import answer
from quadsim.simulator.sweeps.results.comparison import Comparison, Draw, Group, draws_of_bins, draws_of_rows
from quadsim.simulator.sweeps.results.histogram import COUNTED, tail_frame
from quadsim.simulator.sweeps.results.integrity import damaged_files, has_figures, place_of
from quadsim.simulator.sweeps.results.notes import notes_on
from quadsim.simulator.sweeps.results.tables import Tables

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["Results", "load_results"]


@dataclass(frozen=True, eq=False)
class Results:
    """What a sweep found; tables are read when they are first asked for.

    Attributes:
        config: the grid.
        tables: where the following are read from.
        summary: a row per run; where quantiles were kept, a row per point, optimizer and rate with its counts. `best_lr` marks
            the best rate of its optimizer and point.
        best: a row per point and optimizer, statistics over the seeds at the best rate.
        curves: gap (of models: loss and loss_weighted) at log-spaced steps at the best rates, (point, optimizer, seed, step);
            None where quantiles were kept.
        manifest: versions, device, command, wall time.
        folder: where it is stored, if it is.
        histogram: where quantiles were kept, a row per point, optimizer, rate and bin of steps: `runs` that reached the
            tolerance within `up_to` steps and not within those of the bin before, `bound_runs` that a theorem allows so
            many; beside them, the same for all bins of a rate, what `summary` holds.
        guarantees: a row per problem and bound of the optimizers that no theorem bounds at their best rates, see
            `sweeps.run.guarantees`; None where no theory was asked, or there are none.
        awaits_bounds: whether `guarantees` are still being computed: the sweep is not finished, but its table and answer are.
    """

    config: SweepGrid
    tables: Tables
    manifest: dict[str, Any]
    folder: Path | None = None
    awaits_bounds: bool = False

    @property
    def summary(self) -> "pd.DataFrame":
        """See the class."""
        return self.tables.summary

    @property
    def best(self) -> "pd.DataFrame":
        """See the class."""
        return self.tables.best

    @property
    def curves(self) -> "xr.Dataset | None":
        """See the class."""
        return self.tables.curves

    @property
    def tails(self) -> "pd.DataFrame | None":
        """How the 1 - delta quantile of the steps grows as delta falls, see `tail_frame`; None where rows were kept."""
        return None if self.histogram is None else tail_frame(self.histogram, self.config.until)

    @property
    def histogram(self) -> "pd.DataFrame | None":
        """See the class."""
        return self.tables.histogram

    @property
    def guarantees(self) -> "pd.DataFrame | None":
        """See the class."""
        return self.tables.guarantees

    @property
    def runs(self) -> int:
        """How many were made."""
        return self.tables.runs

    @property
    def files(self) -> list[str]:
        """Names of what a folder holds."""
        tables = [store.SUMMARY, store.CURVES, store.GUARANTEES] if self.histogram is None else [store.HISTOGRAM]
        return [*tables, f"{store.FIGURES}/", store.CONFIG, store.MANIFEST]

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures of the folder.

        The steps; the curves where they were kept; the rates where several were tried; who wins where dials are crossed and
        optimizers are compared.
        """
        config, best = self.config, self.best
        known = {
            "steps": True,
            family_of(config).figure: self.tables.has_rows,
            "rates": bool((best["rates_tried"] > 1).any()),
            "winner": len(self.facets) + (best[config.axis].nunique() > 1) > 1 and len(config.optimizers) > 1,
        }
        return tuple(name for name, drawn in known.items() if drawn)

    @property
    def has_figures(self) -> bool:
        """Whether the folder holds all of them; they are drawn once the results are finished, and that may fail."""
        return self.folder is not None and has_figures(self.folder, self.figures)

    @property
    def facets(self) -> list[str]:
        """The dials beside the compared one that take several values."""
        return self.config.facets

    def groups(self) -> "list[tuple[str, pd.DataFrame, pd.DataFrame]]":
        """(label, runs or bins at the best rates, rows of `best`) for every combination of the facets.

        The runs are those of the seeds of which statistics are given.
        """
        runs, best = self.tables.best_runs, self.best
        if self.histogram is None:
            runs = runs[runs["seed"].isin(self.config.reported)]
        out = []
        for label, rows in self.grouped_rows:
            points = {row["point"] for row in rows}
            out.append((label, runs[runs["point"].isin(points)], best[best["point"].isin(points)]))
        return out

    @property
    def best_rows(self) -> Sequence[dict[str, Any]]:
        """The rows of `best` without pandas."""
        return self.tables.best_rows

    @property
    def grouped_rows(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """(label, rows of `best`) for every combination of the facets."""
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self.best_rows:
            label = ", ".join(f"{name.replace('_', ' ')} {value_text(row[name])}" for name in self.facets)
            found.setdefault(label, []).append(row)
        return list(found.items())

    def draws(self, rows: Sequence[Mapping[str, Any]], sample: int = 0) -> Draw:
        """What resamples the medians of runs or bins at the best rates.

        Args:
            rows: of `best_rows`, those that are compared.
            sample: see `draws_of_rows`.
        """
        best = {(row["point"], row["optimizer"]): (row["setting"], row["lr"]) for row in rows}
        if self.histogram is None:
            return draws_of_rows(self.tables.steps(UNTIL[self.config.until], best), sample)
        return draws_of_bins(self.tables.best_runs, list(best), COUNTED[self.config.until], sample)

    @property
    def compared(self) -> list[Group]:
        """The optimizers, compared with each other at every combination of the facets."""
        config, value = self.config, family_of(self.config).value
        found = []
        for label, rows in self.grouped_rows:
            draw = self.draws(rows)
            found.append(
                Group(label, Comparison(rows, config.axis, len(config.reported), config.steps, draw, value=value))
            )
        return found

    @cached_property
    def answers(self) -> list[str]:
        """The result in words: at most five sentences."""
        config, family = self.config, family_of(self.config)
        further = "" if family.answer is None else imported(family.answer)(self)
        begin = f"Steps until {config.criterion}. " if family.states_criterion else ""
        first, *others = answer(config, self.compared, further)
        return [f"{begin}{first}", *others]

    @cached_property
    def certified(self) -> str:
        """A sentence on what the guarantees prove, which are known after the answer; empty where there is none."""
        path = family_of(self.config).certified
        return "" if path is None else str(imported(path)(self))

    @property
    def at_edge(self) -> "pd.DataFrame":
        """Rows of `best` whose rate lies at the edge of what was tried, so that a better one may exist."""
        return self.best[self.best["at_edge"] != ""]

    @property
    def notes(self) -> list[str]:
        """What a reader of the answer has to know: how rates were chosen, edges, and what the answer leaves out."""
        return notes_on(self)

    def to_json(self) -> dict[str, Any]:
        """The answer and the table of best rates as plain data; a step count that is `inf` becomes null."""
        return {
            "answer": self.answers,
            "certified": self.certified,
            "notes": self.notes,
            "best": plain_records(self.best),
            "runs": self.runs,
            "kept": self.config.kept,
            "folder": None if self.folder is None else str(self.folder),
            "config": self.config.to_json(),
        }

    @classmethod
    def load(cls, folder: str | Path, before: "Results | None" = None) -> Self:
        """Read a finished sweep.

        Args:
            folder: that holds it.
            before: what `unfinished` read there, whose best rates are not computed again.

        Raises:
            ValueError: a folder without one.
        """
        folder = local_path("folder", folder)
        if not store.is_finished(folder):
            if (folder / store.CONFIG).is_file():
                found = "whose sweep is not finished; run the sweep again to finish it"
            else:
                found = f"which {'holds no sweep' if folder.is_dir() else 'is not a folder'}; name one that quadsim sweep wrote"
            raise ValueError(f"results must be a folder with a finished sweep, got {folder}, {found}.")
        place = place_of(folder)
        damaged = damaged_files(place)
        if damaged:
            raise ValueError(
                f"results must be as they were written, got {folder}, where {' and '.join(damaged)} changed since; run the "
                "sweep again with this folder as out, which makes them anew."
            )
        config = config_from_json(store.read_json(place / store.CONFIG, "config"), place)
        manifest = store.read_json(place / store.MANIFEST, "manifest")
        results = cls(config, Tables(folder, config, None if before is None else before.best_rows), manifest, folder)
        try:
            results._check_rows()
            if not (place / store.HISTOGRAM).is_file():
                results.curves  # noqa: B018 - reading it shows whether it can be read
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(
                f"results must be readable, got {folder} ({reason}); delete the folder, or run the sweep again elsewhere."
            ) from error
        return results

    @classmethod
    def unfinished(cls, folder: Path) -> Self:
        """Read a sweep whose table and answer are known and whose bounds are still being computed.

        Args:
            folder: of the sweep that runs; nobody else writes to it.
        """
        config = config_from_json(store.read_json(folder / store.CONFIG, "config"), folder)
        return cls(config, Tables(folder, config), {}, folder, awaits_bounds=True)

    def _check_rows(self) -> None:
        """Check that the tables hold every point and optimizer of the grid, and nothing else.

        Raises:
            ValueError: they do not, so that they are of another grid or were changed.
        """
        wanted = {(point, one.text) for point in range(len(self.config.points)) for one in self.config.swept}
        if set(zip(self.best["point"], self.best["optimizer"], strict=True)) != wanted:
            raise ValueError(f"the tables do not hold the {len(wanted)} points and optimizers of the configuration")


def load_results(folder: str | Path) -> Results:
    """Read what `sweep` wrote to a folder.

    Raises:
        ValueError: a folder without a finished sweep.
    """
    return Results.load(folder)
