"""The stored table of claims (docs/claims.json) and what the README and docs/claims.md make of it.

`quadsim reproduce NAME --full --merge docs/claims.json` runs a claim, puts its row into the stored table, copies the figure of
its reach beside it and writes the tables of the pages again. A result folder is merged without a run, and the pages alone are
written again, by

    python -m quadsim.cli.claims_table docs/claims.json [RESULTS]

and `--pending` prints the command that runs the claims without a result under their present criterion. Until then such a claim
is `not run`, and its section names what it must show.

A row holds the result of one run with its date, commit and command; the sentences (claim, fidelity, history) come from the claims
of the code, so that they can be reworded. The stored table names its pages, relative to itself; `claims_markdown` says where in a
page its claims stand.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from quadsim.cli.claims_markdown import MARKERS, placed
from quadsim.cli.claims_rows import as_judged_today
from quadsim.cli.console import given_path, usage_errors
from quadsim.cli.strict import StrictCommand
from quadsim.simulator.support import store
from quadsim.simulator.support.paths import local_path, shown
from quadsim.theory.claims import CLAIMS, Setting, load_claims
from quadsim.theory.claims.judging.reach import CURVES
from quadsim.theory.claims.running.reproducing import in_reading_order

__all__ = ["check_mergeable", "merge", "pending", "program", "stale", "stored_table"]

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


def merge(path: Path, rows: Sequence[Mapping[str, Any]], folder: Path | None = None) -> None:
    """Put rows of results into the stored table, each in place of the earlier row of its claim, and write its pages again.

    The numbers of other claims stay as they are, byte for byte; a claim that was withdrawn since its run, or whose criterion was
    changed, gets that verdict, and a condition with too little power is inconclusive, whatever it was stored as.

    Args:
        path: of the stored table.
        rows: what `Outcome.to_json` returns; none: the pages alone are written.
        folder: the result folder, from which the figures of reaches are copied to `<claim>.png` in a folder named like the table.

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
    rows = [dict(row) if folder is None else _reach_of_today(row, folder) for row in rows]
    # A line of its own for every row, so that a change of one claim changes one line.
    lines = {row["id"]: json.dumps(as_judged_today(row)) for row in (*table["claims"], *rows)}
    merged = table | {"claims": [json.loads(line) for line in in_reading_order(lines).values()]}
    for row in rows:
        if folder is not None and row.get("reach"):
            _copy(folder / row["reach"]["figure"], _picture(path, row["id"]))
    pages = _pages(path, merged)
    rest = {key: value for key, value in table.items() if key != "claims"}
    text = ",\n".join(in_reading_order(lines).values())
    _write(path, f'{{"claims": [\n{text}\n],\n{json.dumps(rest)[1:]}\n')
    for page, content in pages.items():
        _write(page, content)


def _reach_of_today(row: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The row with onsets and words of its reach as the claim has them now, from the stored table of the curves.

    Raises:
        ValueError: a result folder whose table of the curves cannot be read.
    """
    reach = CLAIMS[row["id"]].reach if row["id"] in CLAIMS else None
    if reach is None or not row.get("reach"):
        return dict(row)
    curves = folder / row["id"] / f"{CURVES}.parquet"
    try:
        tables = reach.tables(store.read_frame(curves))
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"results must hold the curves of every reach, got {shown(curves)} ({type(error).__name__}: {error}); run again."
        ) from error
    return {**row, "reach": row["reach"] | reach.to_json(tables)}


def _picture(path: Path, claim: str) -> Path:
    """Where the figure of the reach of a claim lies beside the stored table."""
    return path.parent / path.stem / f"{claim}.png"


def _copy(source: Path, target: Path) -> None:
    """Copy a figure, whose folder is made.

    Raises:
        ValueError: no such figure.
    """
    if not source.is_file():
        raise ValueError(
            f"results must hold the figure {source.name} of every reach, got none at {shown(source)}; run again."
        )
    target.parent.mkdir(exist_ok=True)
    store.write_bytes(target, source.read_bytes())


def _pages(path: Path, table: dict[str, Any]) -> dict[Path, str]:
    """Every page of the stored table as it must be.

    Raises:
        ValueError: a page that cannot be read, or has no markers.
    """
    texts = {}
    for name in table["pages"]:
        page = local_path("pages", path.parent / name).resolve()
        try:
            texts[page] = page.read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(
                f"the pages of {shown(path)} must be files that can be read, got {name} ({error.strerror}); correct its list."
            ) from error
    whole = next((page for page, text in texts.items() if MARKERS[0] in text), None)
    return {
        page: placed(text, table, _pictures(path, page), "" if whole in (None, page) else _seen_from(page, whole))
        for page, text in texts.items()
    }


def _seen_from(page: Path, target: Path | None) -> str:
    """How a page refers to a file."""
    return Path(os.path.relpath(str(target), page.parent)).as_posix()


def _pictures(path: Path, page: Path) -> dict[str, str]:
    """The figures of reaches that lie beside the stored table, by claim, as a page refers to them."""
    names = {claim: _picture(path, claim) for claim in CLAIMS}
    return {claim: _seen_from(page, name.resolve()) for claim, name in names.items() if name.is_file()}


def _write(path: Path, text: str) -> None:
    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    store.write_whole(path, write)


def stale(path: Path) -> list[str]:
    """Return what is wrong with the stored table and its pages, each with the command that mends it; nothing where all is well.

    Raises:
        ValueError: no stored table, or a page that cannot hold a table.
    """
    table, name = stored_table(path), shown(path)
    again = f"run `python -m quadsim.cli.claims_table {name}`"
    complaints = []
    if unknown := [row["id"] for row in table["claims"] if row["id"] not in CLAIMS]:
        complaints.append(
            f"{name} holds results of {', '.join(unknown)}, no claim of the code; delete these lines and {again}"
        )
    if old := [row["id"] for row in table["claims"] if row != as_judged_today(row)]:
        complaints.append(f"{name} holds verdicts on {', '.join(old)} of an earlier criterion; {again}")
    pages = [shown(page) for page, text in _pages(path, table).items() if page.read_text(encoding="utf-8") != text]
    if pages and not complaints:
        complaints.append(f"the tables of {' and '.join(pages)} are not made of {name} and today's sentences; {again}")
    return complaints


def pending(path: Path) -> list[str]:
    """Return the claims of which the stored table holds no result under their present criterion.

    Raises:
        ValueError: no stored table.
    """
    stored = {row["id"]: (row["criterion"]["hash"], row["size"], row["seed"]) for row in stored_table(path)["claims"]}
    return [
        claim.id
        for claim in CLAIMS.values()
        if claim.id not in stored or stored[claim.id][0] != claim.digest(Setting(*stored[claim.id][1:]))
    ]


program = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@program.command(cls=StrictCommand)
def _main(
    stored: Annotated[Path, typer.Argument(parser=str, metavar="STORED", help="Stored table, as docs/claims.json.")],
    results: Annotated[
        Path | None, typer.Argument(parser=str, metavar="RESULTS", help="Folder of quadsim reproduce to merge.")
    ] = None,
    waiting: Annotated[
        bool, typer.Option("--pending", help="Print the command that runs what has no result yet, and write nothing.")
    ] = False,
) -> None:
    """Write the tables of the pages again, after merging the results of a folder if one is given."""
    with usage_errors():
        path, folder = local_path("stored", stored), given_path("results", results)
        if waiting:
            ids = " ".join(pending(path))
            typer.echo(f"quadsim reproduce {ids} --full --merge {shown(path)}" if ids else "Nothing is to be run.")
            return
        merge(path, [] if folder is None else load_claims(folder)["claims"], folder)


if __name__ == "__main__":
    program()
