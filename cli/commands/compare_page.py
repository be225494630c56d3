"""The report of sweeps that are compared."""

import math
from pathlib import Path
from typing import Any

from quadsim.cli.pages.page import Cell, Column, Items, Page, Section, Table, Text
from quadsim.cli.pages.pictures import picture_of
from quadsim.cli.pages.provenance_section import again_section, provenance_section
from quadsim.cli.text.ratios import difference_lines, ratio_headings, ratio_rows
from quadsim.simulator.support import store
from quadsim.simulator.sweeps.results.side_by_side import NAMES, SideBySide

__all__ = ["FIGURE", "compare_page"]

FIGURE = "compare"


def compare_page(compared: SideBySide, folder: Path, manifest: dict[str, Any]) -> Page:
    """Return the report page of a comparison, whose figure lies in its folder."""
    headings, config = ratio_headings(compared), compared.sweeps[0].config
    numeric = headings.index("sweep")
    columns = tuple(Column(name, number > numeric) for number, name in enumerate(headings))
    sorts = [
        (math.nan,) * (numeric + 1) + tuple(row[name] for name in ("steps_A", "steps", "ratio", "low"))
        for row in compared.table.to_dict("records")
    ]
    rows = tuple(
        tuple(Cell(text, float(value)) for text, value in zip(texts, values, strict=True))
        for texts, values in zip(ratio_rows(compared), sorts, strict=True)
    )
    caption = (
        "Median steps of a sweep over those of A at every point and optimizer that both have; bars: 95% intervals."
    )
    picture = picture_of(folder, f"{store.FIGURES}/{FIGURE}.png", f"{caption} {compared.answer}", caption)
    figure = Text(picture) if isinstance(picture, str) else picture
    names = NAMES[: len(compared.sweeps)]
    folders = tuple(f"{name}: {each.folder}" for name, each in zip(names, compared.sweeps, strict=True))
    return Page(
        title=f"How {' and '.join(names[1:])} compare with A in steps until {config.criterion}",
        kicker="quadsim compare",
        lead=(compared.answer,),
        sections=(
            Section(
                "Ratios of steps",
                (figure, Table("Each optimizer at its best rate", columns, rows), *map(Text, compared.notes)),
            ),
            Section("What was compared", (Items(folders), *map(Text, difference_lines(compared)))),
            provenance_section(manifest),
            again_section(
                (f"quadsim compare {' '.join(names)}",),
                (
                    f"{store.FIGURES}/: the figure as PNG and PDF, its numbers as CSV",
                    "compare.json: the same as a document",
                ),
                "With the folders in place of the letters.",
            ),
        ),
        foot="Made by quadsim from the files of these folders. It needs no network and no other file.",
    )
