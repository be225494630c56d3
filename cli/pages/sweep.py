"""The report of a sweep."""

import math
from collections.abc import Callable, Sequence
from string import Formatter
from typing import Any

from quadsim.cli.pages.page import Block, Cell, Column, Page, Section, Table, Text
from quadsim.cli.pages.pictures import picture_of
from quadsim.cli.pages.provenance_section import again_section, provenance_section
from quadsim.cli.pages.reading import mapping
from quadsim.cli.pages.sweep_settings import settings_section
from quadsim.cli.pages.words import listing
from quadsim.cli.text.guarantee_table import point_text
from quadsim.cli.text.sweep_columns import (
    ExtraColumn,
    choice_columns,
    criterion_columns,
    extra_columns,
    size_text,
    steps_text,
)
from quadsim.simulator.rules.momentum import FAMILY_WORDS
from quadsim.simulator.support import store
from quadsim.simulator.sweeps.config.families import family_of, imported
from quadsim.simulator.sweeps.config.grid import value_text
from quadsim.simulator.sweeps.results.results import Results

__all__ = ["sweep_page"]

_MOST_ROWS = 1000


def sweep_page(results: Results) -> Page:
    """Return the report page of a sweep, from the files of its folder.

    Raises:
        ValueError: results that are not in a folder.
    """
    if results.folder is None:
        raise ValueError("results must be stored in a folder to have a report, got results that are not; pass out=.")
    family = family_of(results.config)
    first, *others = _figures(results)
    lead, *more = results.answers
    certified = results.certified
    sections = [
        Section("Steps by optimizer", (first, _best_table(results), *_edges(results))),
        Section("Along the runs", tuple(others)) if others else None,
        *(imported(path)(results) for path in family.sections),
        Section("What to know about these numbers", tuple(Text(note) for note in results.notes)),
        settings_section(results),
        provenance_section(mapping(results.manifest)),
        again_section(
            ("quadsim sweep --config config.json --out again", "quadsim report ."),
            _files(results),
            _again(results),
        ),
    ]
    return Page(
        title=_title(results),
        kicker=f"quadsim sweep on {family.problems}",
        lead=(lead,),
        more=(*more, *([certified] if certified else [])),
        sections=tuple(section for section in sections if section is not None),
        foot="Made by quadsim from the files of this folder. It needs no network and no other file.",
    )


def _again(results: Results) -> str:
    runs = "runs the same grid again, with the same results"
    if "part_of" in results.manifest:
        runs = "runs this part alone, whose grid of learning rates may be smaller, as it is widened for all optimizers together"
    return (
        f"In the folder of this report. The first command {runs}; the second makes the figures and this page again from what is "
        "stored."
    )


def _title(results: Results) -> str:
    config = results.config
    listed = [name for _, name, _, _ in Formatter().parse(config.place) if name]
    values = {name: listing([_plain(value) for value in getattr(config, name)]) for name in listed}
    by = [name.replace("_", " ") for name in results.facets if name not in listed]
    needed = f"How many steps {listing(list(config.names.values()))} need {config.place.format(**values)}"
    return needed + (f", by {listing(by)}" if by else "")


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _figures(results: Results) -> list[Block]:
    """Return the figures: first the steps, then the curves if they were stored."""
    config, folder, family = results.config, results.folder, family_of(results.config)
    assert folder is not None
    medians = "; ".join(
        f"{config.names[str(name)]}: "
        + ", ".join(steps_text(value, config.steps) for value in rows["steps_median"].head(30))
        for name, rows in results.best.groupby("optimizer", sort=False)
    )
    panels = ", optimizers without and with momentum in a panel each" if len(config.families) > 1 else ""
    alt = (
        f"Median steps until {config.criterion} against {config.axis_words}, a line for each optimizer, bars from 10% to 90%"
        f"{panels}; "
        f"from left to right {medians}."
    )
    several = len(config.reported) > 1
    shown = f"bars: 10 to 90% of {len(config.reported)} problems" if several else "one problem at every point"
    caption = f"Steps until {config.criterion}, against {config.axis_words}. Every optimizer at its best rate{panels}; {shown}."
    found = [picture_of(folder, f"{store.FIGURES}/steps.png", alt, caption)]
    if results.tables.has_rows:  # then there are curves, which are not read for this
        about = f"{family.curve_caption} against the step, a panel for each point, a line for each optimizer at its best rate"
        found.append(
            picture_of(
                folder,
                f"{store.FIGURES}/{family.figure}.png",
                f"{about}, with a band from the 10% to the 90% quantile. The table above says when each reaches the target.",
                f"{about}; {f'median and 10 to 90% of {len(config.reported)} problems' if several else 'one problem'}.",
            )
        )
    found += [
        picture_of(folder, f"{store.FIGURES}/{name}.png", *_words_of(results, name))
        for name in results.figures
        if name in _WORDS
    ]
    return [Text(one) if isinstance(one, str) else one for one in found]


_WORDS = {
    "rates": (
        "Median steps until {criterion} against the learning rate, a panel for each point, a line for each optimizer.",
        "Every learning rate that was tried. Black edge: the best rate; open: the smallest and the largest that were tried; "
        "above {steps} steps: rates at which the median run does not reach the target.",
    ),
    "winner": (
        "Who needs the fewest steps at every point: {winners}.",
        "Who needs the fewest steps until {criterion}, and how many times fewer than the next one. Hatched: within 10%, or the "
        "95% interval of its ratio to another optimizer contains 1.",
    ),
}
"""Figure to its description in words and its caption."""


def _words_of(results: Results, name: str) -> tuple[str, str]:
    """Return the description and the caption of a figure."""
    config, winners = results.config, ""
    if name == "winner":
        from quadsim.simulator.figures.winner_figure import winner_table

        cells = winner_table(results)
        said = [
            f"{cell['winner'] or 'nobody'} (factor {cell['factor']:.2g})"
            if cell["distinguishable"]
            else "not distinguishable"
            for cell in cells.head(30).to_dict("records")
        ]
        winners = ", ".join(said)
    values = {"criterion": config.criterion, "steps": config.steps, "winners": winners}
    about, caption = _WORDS[name]
    return about.format(**values), caption.format(**values)


def _best_table(results: Results) -> Table:
    config, family = results.config, family_of(results.config)
    most = "" if results.histogram is None else " (at most)"
    facets = [name for name in results.facets if name in results.best]
    own = _own_columns(results)
    numbers = [column.heading for column in own]
    families = [Column("family")] if len(config.families) > 1 else []
    columns = [Column(listing(list(config.compared)), numeric=not config.is_categorical)]
    columns += [*(Column(name.replace("_", " ")) for name in facets)]
    columns += [*families, Column("optimizer")]
    columns += [Column(name, True) for name in (f"median steps{most}", f"10%{most}", f"90%{most}", "best lr", *numbers)]
    more: list[tuple[Column, Callable[[Any], Cell]]] = []
    if family.page_columns is not None:
        more = imported(family.page_columns)(results)
    columns += [column for column, _ in more]
    best = results.best.head(_MOST_ROWS).to_dict("records")
    rows = [(*_row(results, row, facets, own), *(cell(row) for _, cell in more)) for row in best]
    kept = store.SUMMARY if results.histogram is None else store.HISTOGRAM
    left = f" The first {_MOST_ROWS} of {len(results.best)} rows." if len(results.best) > _MOST_ROWS else ""
    every = f"All {results.runs:,} runs at all rates: {kept}, with pandas.read_parquet."
    return Table(
        f"Steps until {config.criterion} ({size_text(config)})",
        tuple(columns),
        tuple(rows),
        f"{family.table_note}{every}{left}",
    )


def _own_columns(results: Results) -> tuple[ExtraColumn, ...]:
    config = results.config
    return (*criterion_columns(config, results.best_rows), *choice_columns(config), *extra_columns(results))


def _row(results: Results, row: dict[Any, Any], facets: list[str], own: Sequence[ExtraColumn]) -> tuple[Cell, ...]:
    config, most = results.config, results.config.steps
    point = Cell(point_text(row, config.axis), math.nan if config.is_categorical else float(row[config.axis]))
    cells = [
        point,
        *(Cell("" if row[name] is None else value_text(row[name])) for name in facets),
        *([Cell(FAMILY_WORDS[row["family"]])] if len(config.families) > 1 else []),
        Cell(str(row["setting"])),
    ]
    cells += [_steps(row[name], most) for name in ("steps_median", "steps_q10", "steps_q90")]
    cells.append(Cell(f"{row['lr']:.3g}" + (" (edge)" if row["at_edge"] else ""), float(row["lr"])))
    for column in own:
        value = column.number(row)
        cells.append(Cell("" if math.isnan(value) else column.text(row, most), value))
    return tuple(cells)


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
            *(
                [f"{store.GUARANTEES}: bounds at guaranteed rates and along runs (pandas.read_parquet)"]
                if results.guarantees is not None
                else []
            ),
        )
    else:
        tables = (f"{store.HISTOGRAM}: counts by status and histograms of steps (pandas.read_parquet)",)
    return (
        *tables,
        f"{store.FIGURES}/: the figures as PNG and PDF, their numbers as CSV",
        f"{store.CONFIG}: the whole grid",
        f"{store.MANIFEST}: versions, machine, command",
    )
