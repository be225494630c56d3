"""Write the tables of claims in the README and in docs/claims.md from stored results of `quadsim reproduce`.

`python -m quadsim.cli.claims_table RESULTS STORED PAGE...` keeps RESULTS/claims.json as STORED, from which the tests make the
tables again, and writes a table between the markers of every PAGE. The first marker may list the claims that the table
shows, in that order:

    <!-- claims: begin gd-lower four-cases -->
    <!-- claims: end -->

Without a list the table shows all claims.
"""

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from quadsim.simulator.support.checks import check_known
from quadsim.simulator.support.paths import local_path

__all__ = ["MARKERS", "markdown", "placed"]

MARKERS = ("<!-- claims: begin -->", "<!-- claims: end -->")
_BETWEEN = re.compile(
    r"(?P<begin><!-- claims: begin(?P<ids>(?: [\w-]+)*) -->).*?(?P<end><!-- claims: end -->)", re.DOTALL
)
_MOST_FIGURES = 2


def markdown(document: dict[str, Any], chosen: Sequence[str] = ()) -> str:
    """Return a table with one row per claim: the claim, its source, the verdict, and the figures that the verdict rests on.

    Args:
        document: a stored claims.json.
        chosen: ids of the claims to show, in this order; all claims where it is empty.

    Raises:
        ValueError: an id that is not in the document.
    """
    entries = {entry["id"]: entry for entry in document["claims"]}
    check_known("claim", chosen, entries)
    manifest = document["manifest"]
    command = " ".join(str(part) for part in manifest["command"])
    lines = [
        f"From `{command}` on {str(manifest['finished'])[:10]} ({document['size']} size). {_counts(document['claims'])}",
        "",
        "| claim | of | verdict | measured: median or share [95% interval], n seeds |",
        "| --- | --- | --- | --- |",
    ]
    for entry in (entries[name] for name in chosen or entries):
        lines.append(
            f"| {_cell(entry['claim'])} (`{entry['id']}`) | {entry['group']} | **{entry['verdict']}** | {_figures(entry)} |"
        )
    return "\n".join(lines)


def _counts(entries: Sequence[dict[str, Any]]) -> str:
    """The number of claims with each verdict, most frequent first."""
    verdicts = [entry["verdict"] for entry in entries]
    distinct = sorted(dict.fromkeys(verdicts), key=lambda verdict: -verdicts.count(verdict))
    return f"Of all {len(verdicts)} claims: {', '.join(f'{verdicts.count(v)} {v}' for v in distinct)}."


def _figures(entry: dict[str, Any]) -> str:
    """Return the numbers that contradict the claim or leave it open; if there are none, the first ones with an interval."""
    figures = {figure["name"]: figure for figure in entry["measured"]}
    conditions = entry["conditions"]
    if not figures:
        return _cell(entry["reason"])
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
        document: a stored claims.json.

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


def _main(results: str, stored: str, *pages: str) -> None:
    document = json.loads((local_path("results", results) / "claims.json").read_text(encoding="utf-8"))
    written = {
        path: placed(path.read_text(encoding="utf-8"), document)
        for path in (local_path("page", page) for page in pages)
    }
    local_path("stored", stored).write_text(json.dumps(document) + "\n", encoding="utf-8")
    for page, text in written.items():
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _main(*sys.argv[1:])
