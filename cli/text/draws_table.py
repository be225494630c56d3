"""The table and the files of `quadsim verify --draws`: exact means on streams of samples against very many runs.

`quadsim verify --draws 100000 --out FOLDER` writes FOLDER/draws.csv, a row for each case. A page holds them as a table between
two markers, which is written again by

    python -m quadsim.cli.text.draws_table docs/draws.csv docs/streams.md
"""

import csv
import io
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quadsim.theory.verifying.streams.monte_carlo import CaseFound

__all__ = ["DRAWS", "draws_csv", "draws_document", "draws_markdown", "draws_row", "draws_table", "placed"]

DRAWS = "draws.csv"
MARKERS = ("<!-- draws: begin -->", "<!-- draws: end -->")

_HEADINGS = {
    "case": "case", "runs": "runs", "means": "means", "worst_standard_errors": "in SE", "worst_relative": "off by",
    "would_be_noticed": "would show", "deviation_over_mean": "sd / mean", "fourth_moments": "4th moments", "state": "state",
}  # fmt: skip
"""Columns of the file to headings of the tables."""


def draws_row(one: "CaseFound") -> dict[str, str]:
    """Return the row of the file for one case: numbers in full, empty where a number is not defined."""
    values: dict[str, float] = {
        "worst_standard_errors": one.worst,
        "worst_relative": one.relative,
        "would_be_noticed": float(one.means.noticed.max()),
        "deviation_over_mean": one.deviation,
        "fourth_moments": one.fourth,
        "radius": one.radius,
        "beyond_one_standard_errors": one.beyond,
    }
    texts = {name: "" if math.isnan(value) else f"{value:.6g}" for name, value in values.items()}
    counts = {word: str(int((one.means.verdict == word).sum())) for word in ("holds", "undecided", "refuted")}
    size = {"case": one.case.label, "runs": str(one.means.runs), "means": str(one.means.errors.size)}
    return {**size, **counts, **texts, "state": one.state}


def draws_csv(rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows as the text of a file of comma-separated values."""
    content = io.StringIO()
    writer = csv.DictWriter(content, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return content.getvalue()


def draws_document(one: "CaseFound") -> dict[str, object]:
    """Return what one case found, as a document of JSON."""
    means = one.means
    return {
        "case": one.case.label,
        "runs": means.runs,
        "comparisons": len(means.errors),
        "verdicts": {word: int((means.verdict == word).sum()) for word in ("holds", "undecided", "refuted")},
        "state": one.state,
        "worst_standard_errors": one.worst,
        "allowed_standard_errors": means.allowed,
        "worst_relative": one.relative,
        "would_be_noticed": means.noticed.tolist(),
        "radius": _defined(one.radius),
        "beyond_one_standard_errors": _defined(one.beyond),
        "deviation_over_mean": _defined(one.deviation),
        "fourth_moments_radius": _defined(one.fourth),
    }


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def _cells(row: Mapping[str, str]) -> tuple[str, ...]:
    """Return the cells of a row of the file, as a reader wants them."""
    forms = {
        "runs": lambda text: f"{int(text):,}",
        "worst_standard_errors": lambda text: f"{float(text):.1f}",
        "worst_relative": lambda text: f"{float(text):.2%}",
        "would_be_noticed": lambda text: f"{float(text):.2%}",
        "deviation_over_mean": lambda text: f"{float(text):.2g}",
        "fourth_moments": lambda text: f"{float(text):.4f}",
    }
    return tuple(forms.get(name, str)(row[name]) if row[name] else "" for name in _HEADINGS)


def draws_table(found: "list[CaseFound]", error_rate: float) -> str:
    """Return the table of cases and a sentence on what it would have shown."""
    from quadsim.cli.text.narrow import aligned

    rows = [tuple(_HEADINGS.values()), *(_cells(draws_row(one)) for one in found)]
    number = sum(one.means.errors.size for one in found)
    within = sum(one.worst <= 4.0 for one in found)
    edges = [one.beyond for one in found if not math.isnan(one.beyond)]
    lines = [*aligned(rows, (0, len(_HEADINGS) - 1)), ""]
    lines.append(
        f"{number} means; up to {found[0].means.allowed:.1f} standard errors are allowed, at which a true one among all is "
        f"refuted with a chance of {error_rate:g} at most; in {within} of {len(found)} cases all means lie within 4. "
        "'would show' is the relative error that 95 of 100 runs of this size notice; 'sd / mean', exact, is the largest relative "
        "standard deviation of one run; '4th moments' is the factor of a step of the fourth moments of the error, below 1 where "
        "the variance of the gap stays bounded; undecided are means of too few runs for their tails."
    )
    if edges:
        lines.append(
            f"On both sides of the limit the factor of a step lies at least {min(edges):.1f} standard errors beyond 1."
        )
    return "\n".join(lines)


def draws_markdown(rows: Iterable[Mapping[str, str]]) -> str:
    """Return the rows of a file as a table of Markdown."""
    lines = [tuple(_HEADINGS.values()), ("---",) * len(_HEADINGS), *map(_cells, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def placed(page: str, content: str) -> str:
    """Return a page with the table of a file between its markers.

    Args:
        page: text of the page.
        content: text of the file.

    Raises:
        ValueError: the page has no markers.
    """
    begin, end = MARKERS
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"page must hold the markers {begin} and {end}, got neither or one; add both.")
    return f"{before}{begin}\n\n{draws_markdown(csv.DictReader(io.StringIO(content)))}\n\n{end}{after}"


if __name__ == "__main__":
    stored, page = map(Path, sys.argv[1:3])
    page.write_text(placed(page.read_text(encoding="utf-8"), stored.read_text(encoding="utf-8")), encoding="utf-8")
