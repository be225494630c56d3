"""The report of a sweep."""

import math
import re
from typing import Any

from quadsim.cli.pages.page import Block, Cell, Column, Page, Section, Table, Text
from quadsim.cli.pages.pictures import picture_of
from quadsim.cli.pages.provenance_section import again_section, provenance_section
from quadsim.cli.pages.reading import mapping
from quadsim.cli.pages.sweep_bounds import bounds_section, theorem_cell, theorems_at
from quadsim.cli.pages.sweep_settings import settings_section
from quadsim.cli.pages.words import listing
from quadsim.cli.text.sweep_table import point_text, steps_text
from quadsim.simulator.support import store
from quadsim.simulator.sweeps.config.toy_models import ModelSweepConfig
from quadsim.simulator.sweeps.results.results import Results

__all__ = ["sweep_page"]

_MOST_ROWS = 1000


def sweep_page(results: Results) -> Page:
    """Everything about a sweep, from what its folder holds.

    Raises:
        ValueError: results that are in no folder.
    """
    if results.folder is None:
        raise ValueError("results must lie in a folder to have a report, got some that are not stored; pass out=.")
    config = results.config
    what = "toy models" if config.kind == "model" else "quadratics"
    first, *others = _figures(results)
    lead, more = _answers(results)
    sections = [
        Section("Steps by optimizer", (first, _best_table(results), *_edges(results))),
        Section("Along the runs", tuple(others)) if others else None,
        bounds_section(results) if config.kind == "quadratic" else None,
        Section("What to know about these numbers", tuple(Text(note) for note in results.notes)),
        settings_section(results),
        provenance_section(mapping(results.manifest)),
        again_section(
            ("quadsim sweep --config config.json --out again", "quadsim report ."),
            _files(results),
            "In the folder of this report. The first command runs the same grid again, with the same results; the second makes "
            "the figures and this page again from what is stored.",
        ),
    ]
    return Page(
        title=_title(results),
        kicker=f"quadsim sweep on {what}",
        lead=lead,
        more=more,
        sections=tuple(section for section in sections if section is not None),
        foot="Made by quadsim from the files of this folder. It needs no network and no other file.",
    )


def _answers(results: Results) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The answer; of a single one, the sentences about growth first and those about each point below."""
    answers = tuple(results.answers)
    if len(answers) != 1:
        return answers, ()
    sentences = re.split(r"(?<=\.) (?=At |On the loss)", answers[0])
    first = [one for one in sentences if not one.startswith("At ")]
    return tuple(first or sentences), tuple(one for one in sentences if first and one.startswith("At "))


def _title(results: Results) -> str:
    config = results.config
    values: list[Any] = list(getattr(config, config.axis))
    where = listing([f"{value:g}" if isinstance(value, float) else str(value) for value in values])
    if isinstance(config, ModelSweepConfig):
        on = f"on {listing(list(config.model))}, {listing(list(config.dial))} {where}"
    else:
        on = f"on the cases {where}" if config.axis == "case" else f"at heterogeneity {where}"
    by = [name.replace("_", " ") for name in results.facets if name not in ("model", "dial")]
    return f"How many steps {listing(list(config.optimizers))} need {on}" + (f", by {listing(by)}" if by else "")


def _figures(results: Results) -> list[Block]:
    """The steps first, then the curves, where they were kept."""
    config, folder = results.config, results.folder
    assert folder is not None
    axis = "case" if config.axis == "case" else "the dial" if config.kind == "model" else "Hessian heterogeneity"
    medians = "; ".join(
        f"{name}: " + ", ".join(steps_text(value, config.steps) for value in rows["steps_median"].head(30))
        for name, rows in results.best.groupby("optimizer", sort=False)
    )
    alt = (
        f"Median steps until {config.criterion} against {axis}, a line for each optimizer, bars from 10% to 90%; "
        f"from left to right {medians}."
    )
    caption = (
        f"Steps until {config.criterion}, against {axis}. Every optimizer at its best rate; bars: 10 to 90% of {config.seeds} "
        "problems."
    )
    found = [picture_of(folder, f"{store.FIGURES}/steps.png", alt, caption)]
    if results.curves is not None:
        what = "Loss" if config.kind == "model" else "Gap over the gap at the start"
        name = "loss" if config.kind == "model" else "gap"
        about = f"{what} against the step, a panel for each point, a line for each optimizer at its best rate"
        found.append(
            picture_of(
                folder,
                f"{store.FIGURES}/{name}.png",
                f"{about}, with a band from the 10% to the 90% quantile. The table above says when each reaches the target.",
                f"{about}; median and 10 to 90% of {config.seeds} problems.",
            )
        )
    return [Text(one) if isinstance(one, str) else one for one in found]


def _best_table(results: Results) -> Table:
    config, model = results.config, results.config.kind == "model"
    most = "" if results.histogram is None else " (at most)"
    facets = [name for name in results.facets if name in results.best]
    numbers = ["last loss", "on optimised loss", "at lr"] if model else ["bound", "steps / bound"]
    asked = listing(list(config.dial)) if isinstance(config, ModelSweepConfig) else config.axis
    columns = [Column(asked, numeric=config.axis != "case"), *(Column(name.replace("_", " ")) for name in facets)]
    columns += [Column("optimizer")]
    columns += [Column(name, True) for name in (f"median steps{most}", f"10%{most}", f"90%{most}", "best lr", *numbers)]
    columns += [] if model else [Column("theorem")]
    theorems = {} if model else theorems_at(results)
    rows = [_row(results, row, facets, theorems) for row in results.best.head(_MOST_ROWS).to_dict("records")]
    kept = store.SUMMARY if results.histogram is None else store.HISTOGRAM
    left = f" The first {_MOST_ROWS} of {len(results.best)} rows." if len(results.best) > _MOST_ROWS else ""
    every = f"All {results.runs:,} runs at all rates: {kept}, with pandas.read_parquet."
    bound = "" if model else "Bound: the steps after which the theorem says that the target is reached, at most. "
    runs = f"{config.seeds} problems a row, at most {config.steps:,} steps"
    return Table(f"Steps until {config.criterion} ({runs})", tuple(columns), tuple(rows), f"{bound}{every}{left}")


def _row(
    results: Results, row: dict[Any, Any], facets: list[str], theorems: dict[tuple[int, str], list[str]]
) -> tuple[Cell, ...]:
    config, most = results.config, results.config.steps
    point = Cell(point_text(row, config.axis), math.nan if config.axis == "case" else float(row["heterogeneity"]))
    cells = [
        point,
        *(Cell("" if row[name] is None else str(row[name])) for name in facets),
        Cell(str(row["optimizer"])),
    ]
    cells += [_steps(row[name], most) for name in ("steps_median", "steps_q10", "steps_q90")]
    cells.append(Cell(f"{row['lr']:.3g}" + (" (edge)" if row["at_edge"] else ""), float(row["lr"])))
    if config.kind == "model":
        lr = float(row["lr_weighted"])
        cells.append(Cell(f"{row['loss_median']:.3g}", float(row["loss_median"])))
        return (*cells, _steps(row["steps_weighted_median"], most), Cell("" if math.isnan(lr) else f"{lr:.3g}", lr))
    bound, margin = float(row["bound_median"]), float(row["margin_median"])
    said = not (math.isnan(margin) or math.isinf(bound))
    cells += [_steps(bound, most), Cell(f"{margin:.2f}" if said else "", margin if said else math.nan)]
    names = theorems.get((int(row["point"]), str(row["optimizer"])), [])
    return (*cells, theorem_cell(names) if names else Cell("no theorem"))


def _steps(value: Any, most: int) -> Cell:
    value = float(value)
    return Cell("" if math.isnan(value) else steps_text(value, most), value)


def _edges(results: Results) -> list[Block]:
    edges = results.at_edge
    said = "(edge): the best rate is the smallest or the largest that was tried, so that a better one may exist."
    return [Text(said)] if len(edges) else []


def _files(results: Results) -> tuple[str, ...]:
    tables: tuple[str, ...]
    if results.histogram is None:
        tables = (
            f"{store.SUMMARY}: a row for every run (pandas.read_parquet)",
            f"{store.CURVES}: the curves at the best rates (xarray.open_dataset, engine h5netcdf)",
        )
    else:
        tables = (f"{store.HISTOGRAM}: counts by status and histograms of steps (pandas.read_parquet)",)
    return (
        *tables,
        f"{store.FIGURES}/: the figures as PNG and PDF",
        f"{store.CONFIG}: the whole grid",
        f"{store.MANIFEST}: versions, machine, command",
    )
