"""The README's table of claims, made from what `quadsim reproduce` stored; nothing in it is typed.

`python -m quadsim.cli.claims_table RESULTS README STORED` writes the table between the README's markers
and keeps RESULTS/claims.json as STORED, from which the tests make the table again.
"""

import json
import sys
from typing import Any

from quadsim.simulator.paths import local_path

__all__ = ["MARKERS", "markdown", "placed"]

MARKERS = ("<!-- claims: begin -->", "<!-- claims: end -->")
_MOST_FIGURES = 2


def markdown(document: dict[str, Any]) -> str:
    """A row per claim: the sentence, whose it is, the verdict, and the figures that it rests on."""
    manifest = document["manifest"]
    command = " ".join(str(part) for part in manifest["command"])
    lines = [
        f"From `{command}` on {str(manifest['finished'])[:10]} ({document['size']} size):",
        "",
        "| claim | of | verdict | measured: median or share [95% interval], n seeds |",
        "| --- | --- | --- | --- |",
    ]
    for entry in document["claims"]:
        lines.append(
            f"| {_cell(entry['claim'])} (`{entry['id']}`) | {entry['group']} | **{entry['verdict']}** | {_figures(entry)} |"
        )
    return "\n".join(lines)


def _figures(entry: dict[str, Any]) -> str:
    """What speaks against the claim or leaves it open; where nothing does, the first figures with an interval."""
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


def placed(readme: str, table: str) -> str:
    """The README with the table between its markers.

    Raises:
        ValueError: a text without the markers.
    """
    begin, end = MARKERS
    before, found, rest = readme.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise ValueError(
            f"README must hold {begin} and {end}, got a text without them; put them where the table belongs."
        )
    return f"{before}{begin}\n{table}\n{end}{after}"


def _main(results: str, readme: str, stored: str) -> None:
    document = json.loads((local_path("results", results) / "claims.json").read_text(encoding="utf-8"))
    page = local_path("readme", readme)
    page.write_text(placed(page.read_text(encoding="utf-8"), markdown(document)), encoding="utf-8")
    local_path("stored", stored).write_text(json.dumps(document) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _main(*sys.argv[1:4])
