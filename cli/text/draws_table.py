"""The table and the document of `quadsim verify --draws`: exact means on streams of samples against very many runs."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quadsim.theory.verifying.streams.monte_carlo import CaseFound

__all__ = ["draws_document", "draws_table"]


def draws_document(one: "CaseFound") -> dict[str, object]:
    """Return what one case found, as a document of JSON."""
    means = one.means
    return {
        "case": one.case.label,
        "runs": means.runs,
        "comparisons": len(means.errors),
        "verdicts": {word: int((means.verdict == word).sum()) for word in ("holds", "undecided", "refuted")},
        "worst_standard_errors": one.worst,
        "allowed_standard_errors": means.allowed,
        "worst_relative": one.relative,
        "would_be_noticed": means.noticed.tolist(),
        "radius": None if math.isnan(one.radius) else one.radius,
        "beyond_one_standard_errors": None if math.isnan(one.beyond) else one.beyond,
    }


def draws_table(found: "list[CaseFound]", error_rate: float) -> str:
    """Return the table of cases and a sentence on what it would have shown."""
    from quadsim.cli.text.narrow import aligned

    rows: list[tuple[str, ...]] = [("case", "runs", "holds", "undecided", "refuted", "off by", "in SE", "would show")]
    for one in found:
        verdicts = one.means.verdict
        counts = (str(int((verdicts == word).sum())) for word in ("holds", "undecided", "refuted"))
        shown = f"{float(one.means.noticed.max()):.2%}"
        rows.append((one.case.label, f"{one.means.runs:,}", *counts, f"{one.relative:.2%}", f"{one.worst:.1f}", shown))
    number = sum(one.means.errors.size for one in found)
    edges = [one.beyond for one in found if not math.isnan(one.beyond)]
    lines = [*aligned(rows, (0,)), ""]
    lines.append(
        f"{number} means; up to {found[0].means.allowed:.1f} standard errors are allowed, at which a true one among all is "
        f"refuted with a chance of {error_rate:g} at most. 'would show' is the relative error that 95 of 100 runs of this size "
        "notice; undecided are means of too few runs for their tails."
    )
    if edges:
        lines.append(
            f"On both sides of the limit the factor of a step lies at least {min(edges):.1f} standard errors beyond 1."
        )
    return "\n".join(lines)
