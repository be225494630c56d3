"""The command `quadsim compare`: finished sweeps side by side."""

import hashlib
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quadsim.cli.console import Ends, JsonOption, StyleOption, given_path, path_option, print_json, usage_errors

if TYPE_CHECKING:
    from quadsim.cli.pages.page import Page
    from quadsim.simulator.sweeps.results.side_by_side import SideBySide

__all__ = ["compare"]

_MARKER, _FIGURE = "compare.json", "compare"


def compare(
    folders: Annotated[
        list[str], typer.Argument(metavar="A B [C]", help="Result folders of sweeps; B and C are compared with A.")
    ],
    out: Annotated[
        Path | None, path_option("--out", "Folder for the results [runs/compare-<hash of the results>]")
    ] = None,
    style: StyleOption = "quadsim",
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the answer alone, without the table.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare finished sweeps by the ratios of their steps.

    Ratios are those of median steps, at every point and optimizer that the sweeps share. Intervals are 95% bootstrap
    intervals, in pairs where the seeds are the same problems. Nothing is run.

    Example: quadsim compare runs/without-decay runs/with-decay
    """
    from quadsim.simulator.support.paths import local_path, shown
    from quadsim.simulator.sweeps.results.results import load_results
    from quadsim.simulator.sweeps.results.side_by_side import side_by_side
    from quadsim.simulator.sweeps.run.folder import make_folder

    ends, began = Ends(), time.perf_counter()
    with usage_errors():
        chosen = given_path("out", out)
        compared = side_by_side([load_results(local_path("folder", folder)) for folder in folders])
        place = local_path("out", Path("runs") / f"compare-{_digest(compared)}") if chosen is None else chosen
        make_folder(place, "an earlier comparison", _MARKER)
    with ends.attempt("figure and report", "the table is all there is; make room and run the command again"):
        _write(compared, place, time.perf_counter() - began)
    if as_json:
        print_json(_document(compared) | {"folder": str(place)})
    elif quiet:
        typer.echo(compared.answer)
    else:
        from quadsim.cli.text.ratios import print_ratios

        print_ratios(compared)
        typer.echo(f"Files: {shown(place)}/ (report.html, {_MARKER}, figures/)")
    ends.exit()


def _digest(compared: "SideBySide") -> str:
    """Ten hexadecimal digits that name the results that are compared, in their order."""
    from quadsim.simulator.support import store

    texts = [store.json_text([each.config.to_json(), each.manifest.get("files")]) for each in compared.sweeps]
    return hashlib.sha256("".join(texts).encode()).hexdigest()[:10]


def _document(compared: "SideBySide") -> dict[str, Any]:
    from quadsim.simulator.support.records import plain_records

    return {
        "answer": compared.answer,
        "notes": compared.notes,
        "sweeps": [str(each.folder) for each in compared.sweeps],
        "differences": [{name: list(both) for name, both in found.items()} for found in compared.differences],
        "ratios": plain_records(compared.table),
    }


def _write(compared: "SideBySide", folder: Path, seconds: float) -> None:
    """Write the document, the figure with its numbers, and the report."""
    from quadsim.cli.pages.page import write_page
    from quadsim.simulator.figures.panels import save_figure
    from quadsim.simulator.figures.ratio_figure import ratio_figure
    from quadsim.simulator.support import store
    from quadsim.simulator.support.provenance import provenance

    manifest = provenance(seconds)
    store.write_json(folder / _MARKER, _document(compared) | {"manifest": manifest})
    save_figure(ratio_figure(compared), folder / store.FIGURES, _FIGURE)
    store.write_csv(folder / store.FIGURES / f"{_FIGURE}.csv", compared.table)
    write_page(_page(compared, folder, manifest), folder)


def _page(compared: "SideBySide", folder: Path, manifest: dict[str, Any]) -> "Page":
    """Return the report page of a comparison, whose figure lies in its folder."""
    from quadsim.cli.pages.page import Cell, Column, Items, Page, Section, Table, Text
    from quadsim.cli.pages.pictures import picture_of
    from quadsim.cli.pages.provenance_section import again_section, provenance_section
    from quadsim.cli.text.ratios import difference_lines, ratio_headings, ratio_rows
    from quadsim.simulator.support import store
    from quadsim.simulator.sweeps.results.side_by_side import NAMES

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
    picture = picture_of(folder, f"{store.FIGURES}/{_FIGURE}.png", f"{caption} {compared.answer}", caption)
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
