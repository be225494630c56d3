"""The stored table of claims (docs/claims.json) and the tables that the README and docs/claims.md make of it.

`quadsim reproduce NAME --full --merge docs/claims.json` runs a claim, puts its row into the stored table and writes the tables of
the pages again. A result folder is merged without a run, and the pages alone are written again, by

    python -m quadsim.cli.claims_table docs/claims.json [RESULTS]

A row holds the result of one run with its date, commit and command; the sentences of a table come from the claims of the code, so
that they can be reworded. The stored table names its pages, relative to itself. In a page the table stands between two markers.
The first marker may list the claims that the table shows, in that order; without a list the table shows all claims:

    <!-- claims: begin gd-lower four-cases -->
    <!-- claims: end -->
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from quadsim.cli.console import given_path, usage_errors
from quadsim.cli.strict import StrictCommand
from quadsim.simulator.support import store
from quadsim.simulator.support.checks import check_known
from quadsim.simulator.support.paths import local_path, shown
from quadsim.theory.claims import CLAIMS, load_claims
from quadsim.theory.claims.running import in_reading_order

__all__ = ["MARKERS", "check_mergeable", "markdown", "merge", "placed", "program", "stale", "stored_table"]

MARKERS = ("<!-- claims: begin -->", "<!-- claims: end -->")
_BETWEEN = re.compile(
    r"(?P<begin><!-- claims: begin(?P<ids>(?: [\w-]+)*) -->).*?(?P<end><!-- claims: end -->)", re.DOTALL
)
_MOST_FIGURES = 2
_STORED = "docs/claims.json"


def stored_table(path: Path) -> dict[str, Any]:
    """Return the stored table: its rows (`claims`) and the paths of its pages (`pages`), relative to its folder.

    Raises:
        ValueError: no such file, or another document.
    """
    content = store.read_json(path, "merge", f"name a stored table, as {_STORED}")
    table = content if isinstance(content, dict) else {}
    rows, pages = table.get("claims"), table.get("pages")
    if not (isinstance(rows, list) and all(_is_row(row) for row in rows)) or not (
        isinstance(pages, list) and all(isinstance(page, str) for page in pages)
    ):
        raise ValueError(
            f"merge must be a stored table, with rows under claims and paths under pages, got {path}; name one, as {_STORED}."
        )
    return table


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and {"id", "size", "seed", "criterion", "verdict", "made"} <= row.keys()


def check_mergeable(path: Path, size: str, seed: int) -> None:
    """Refuse results of another size or seed than those of the stored table, before any time is spent on them.

    Raises:
        ValueError: another size or seed, or no stored table.
    """
    for row in stored_table(path)["claims"]:
        if row["size"] != size:
            raise ValueError(
                f"size must be {row['size']}, as in {shown(path)}, to merge a result into it, got {size}; "
                f"{'add' if row['size'] != 'quick' else 'leave out --full or add'} --{row['size']}."
            )
        if row["seed"] != seed:
            raise ValueError(
                f"seed must be {row['seed']}, as in {shown(path)}, to merge a result into it, got {seed}; give that seed."
            )


def merge(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put rows of results into the stored table, each in place of the earlier row of its claim, and write its pages again.

    The numbers of other claims stay as they are, byte for byte; a claim that was withdrawn since its run gets that verdict.

    Args:
        path: of the stored table.
        rows: what `Outcome.to_json` returns; none: the pages alone are written.

    Raises:
        ValueError: a claim that was not run, another size or seed, or a page that cannot hold a table.
    """
    for row in rows:
        check_mergeable(path, row["size"], row["seed"])
        if row["verdict"] == "not run":
            raise ValueError(
                f"a row must be the result of a run, got {row['id']}, which {row['reason']}; run it again."
            )
    table = stored_table(path)
    # A line of its own for every row, so that a change of one claim changes one line.
    lines = {row["id"]: json.dumps(_as_judged_today(row)) for row in (*table["claims"], *rows)}
    merged = table | {"claims": [json.loads(line) for line in in_reading_order(lines).values()]}
    pages = _pages(path, merged)
    rest = {key: value for key, value in table.items() if key != "claims"}
    text = ",\n".join(in_reading_order(lines).values())
    _write(path, f'{{"claims": [\n{text}\n],\n{json.dumps(rest)[1:]}\n')
    for page, content in pages.items():
        _write(page, content)


def _as_judged_today(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as it is, but with the verdict of a claim whose conditions were found to decide nothing after its run."""
    claim = CLAIMS.get(row["id"])
    if claim is None or not claim.unjudged:
        return dict(row)
    return dict(row) | {"verdict": claim.unjudged_as, "reason": claim.unjudged}


def _pages(path: Path, table: dict[str, Any]) -> dict[Path, str]:
    """Every page of the stored table as it must be.

    Raises:
        ValueError: a page that cannot be read, or has no markers.
    """
    written = {}
    for name in table["pages"]:
        page = local_path("pages", path.parent / name).resolve()
        try:
            written[page] = placed(page.read_text(encoding="utf-8"), table)
        except OSError as error:
            raise ValueError(
                f"the pages of {shown(path)} must be files that can be read, got {name} ({error.strerror}); correct its list."
            ) from error
    return written


def _write(path: Path, text: str) -> None:
    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    store.write_whole(path, write)


def stale(path: Path) -> list[str]:
    """Return what the stored table and its pages lack, each with the command that makes it; nothing where they are complete.

    Raises:
        ValueError: no stored table, or a page that cannot hold a table.
    """
    table, name = stored_table(path), shown(path)
    stored = {row["id"]: row["criterion"]["hash"] for row in table["claims"]}
    wanting = [claim.id for claim in CLAIMS.values() if stored.get(claim.id) != claim.digest()]
    unknown = [row for row in stored if row not in CLAIMS]
    again = f"run `python -m quadsim.cli.claims_table {name}`"
    complaints = []
    if wanting:
        complaints.append(
            f"{name} holds no full result of {', '.join(wanting)} under the present criterion; run "
            f"`quadsim reproduce {' '.join(wanting)} --full --merge {name}`"
        )
    if unknown:
        complaints.append(
            f"{name} holds results of {', '.join(unknown)}, no claim of the code; delete these lines and {again}"
        )
    old = [shown(page) for page, text in _pages(path, table).items() if page.read_text(encoding="utf-8") != text]
    if old and not complaints:
        complaints.append(f"the tables of {' and '.join(old)} are not made of {name} and today's sentences; {again}")
    return complaints


def markdown(document: dict[str, Any], chosen: Sequence[str] = ()) -> str:
    """Return a table with one row per claim: the claim, its source, the verdict, the figures it rests on, and the run.

    Args:
        document: a stored table.
        chosen: ids of the claims to show, in this order; all claims where it is empty.

    Raises:
        ValueError: an id that is not in the document.
    """
    entries = {entry["id"]: entry for entry in document["claims"]}
    check_known("claim", chosen, entries)
    sizes = " and ".join(dict.fromkeys(entry["size"] for entry in document["claims"]))
    lines = [
        f"Results at {sizes} size. {_counts(document['claims'])}",
        "",
        "| claim | of | verdict | measured: median or share [95% interval], n seeds | run |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in chosen or entries:
        entry, claim = entries[name], CLAIMS.get(name)
        words, group = (claim.claim, claim.group) if claim else (entry["claim"], entry["group"])
        lines.append(
            f"| {_cell(words)} (`{name}`) | {_cell(group)} | **{entry['verdict']}** | {_figures(entry)} | {_run(entry)} |"
        )
    return "\n".join(lines)


def _run(entry: dict[str, Any]) -> str:
    """Date of the run and its commit, where it is known."""
    made = entry["made"]
    return made["date"] if made["commit"] == "unknown" else f"{made['date']}, {made['commit']}"


def _counts(entries: Sequence[dict[str, Any]]) -> str:
    """The number of claims with each verdict, most frequent first."""
    verdicts = [entry["verdict"] for entry in entries]
    distinct = sorted(dict.fromkeys(verdicts), key=lambda verdict: -verdicts.count(verdict))
    return f"Of all {len(verdicts)} claims: {', '.join(f'{verdicts.count(v)} {v}' for v in distinct)}."


def _figures(entry: dict[str, Any]) -> str:
    """Return the numbers that contradict the claim or leave it open; if there are none, the first ones with an interval.

    A withdrawn claim has its reason in their place: numbers of an instrument that is not valid would be taken for evidence.
    """
    figures = {figure["name"]: figure for figure in entry["measured"]}
    conditions = entry["conditions"]
    if entry["verdict"] == "withdrawn" or not figures:
        return _cell(entry["reason"])
    if entry["verdict"] == "estimate":
        return _cell("; ".join([*(figures[c["measure"]]["text"] for c in conditions), entry["reason"]]))
    against = [c for c in conditions if c["state"] != "holds"]
    told = against or sorted(conditions, key=lambda c: figures[c["measure"]]["seeds"] == 0)
    said = dict.fromkeys(
        (f"{c['state']}: " if against else "") + figures[c["measure"]]["text"] for c in told[:_MOST_FIGURES]
    )
    return _cell("; ".join([f"{len(conditions) - len(against)} of {len(conditions)} hold", *said]))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def placed(page: str, document: dict[str, Any]) -> str:
    """Return the page with a table between its markers: of the claims that the first marker lists, or of all.

    Args:
        page: Markdown.
        document: a stored table.

    Raises:
        ValueError: a page without the markers, or a marker that lists an unknown claim.
    """
    if not _BETWEEN.search(page):
        begin, end = MARKERS
        raise ValueError(
            f"the page must hold {begin} and {end}, got a text without them; put them where the table belongs."
        )
    return _BETWEEN.sub(
        lambda found: f"{found['begin']}\n{markdown(document, found['ids'].split())}\n{found['end']}", page
    )


program = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@program.command(cls=StrictCommand)
def _main(
    stored: Annotated[Path, typer.Argument(parser=str, metavar="STORED", help="Stored table, as docs/claims.json.")],
    results: Annotated[
        Path | None, typer.Argument(parser=str, metavar="RESULTS", help="Folder of quadsim reproduce to merge.")
    ] = None,
) -> None:
    """Write the tables of the pages again, after merging the results of a folder if one is given."""
    with usage_errors():
        folder = given_path("results", results)
        merge(local_path("stored", stored), [] if folder is None else load_claims(folder)["claims"])


if __name__ == "__main__":
    program()
