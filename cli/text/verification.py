"""What `quadsim verify` found: as plain data, and as the table in the terminal."""

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quadsim.theory.statements.proving import Discharge, Step
    from quadsim.theory.verifying.both_sides import Sides
    from quadsim.theory.verifying.verification import ClaimReport, TheoremReport

__all__ = ["verification_document", "verification_table"]


def verification_document(reports: "list[TheoremReport]", claims: "list[ClaimReport]") -> dict[str, Any]:
    """Return the results as plain data."""
    return {
        "theorems": [
            {
                "name": report.name,
                "verdict": report.verdict,
                "steps": [_step_record(step, found) for step, found in report.steps],
                "derivation": [
                    _step_record(step, found) | {"label": step.label, "uses": list(step.uses), "follows": step.by}
                    for step, found in report.derivation or ()
                ],
                "unused_hypotheses": list(report.unused),
                "hypotheses": [asdict(sides) for sides in report.hypotheses],
                "instances": report.instances,
                "verdicts": dict(report.verdicts),
                "worst_margin": _number(report.worst_margin),
                "tightness": _number(report.tightness),
                "tightest": report.tightest,
                "complaints": list(report.complaints),
                "not_checked_independently": report.unchecked,
                "notes": list(report.notes),
            }
            for report in reports
        ],
        "false_claims": [
            {
                "name": report.claim.name,
                "claim": report.claim.claim,
                "verdict": report.refutation.verdict,
                "counter_example": report.refutation.counter_example,
            }
            for report in claims
        ],
    }


_EXPLAINED = (
    "proved: steps discharged by SymPy or Z3; cited: steps that rest on a named fact. instances: problems times settings",
    "that meet the hypotheses; verified: of these in exact arithmetic, the others in floating point within a derived budget.",
    "A verdict of proved: every step is discharged, from definitions and hypotheses to the statement with its quantifiers, and",
    "no instance spoke against it; lemmas proved: the same, but the statement is not derived from the lemmas by machine.",
    "margin: what was seen over the bound; tightness: how close a search for the worst instance came (1: attained).",
)


def verification_table(reports: "list[TheoremReport]", claims: "list[ClaimReport]") -> str:
    """Return the table, the messages against theorems, the remarks, and the false claims, as text."""
    from quadsim.cli.text.narrow import aligned, wrapped

    soft = "\N{SOFT HYPHEN}"
    headings = ("proved", "cited", f"in{soft}stances", f"veri{soft}fied", "worst margin", f"tight{soft}ness", "verdict")
    rows = [("theorem", *headings)]
    rows += [
        (
            report.name,
            f"{report.proved}/{len(report.steps) - report.cited}",
            str(report.cited),
            str(report.instances),
            str(report.verdicts["verified"]),
            _digits(report.worst_margin),
            _digits(report.tightness),
            f"{report.verdict}, not checked independently" if report.unchecked else report.verdict,
        )
        for report in reports
    ]
    lines = aligned(rows, (0, len(rows[0]) - 1))
    lines += ["", *map(wrapped, _EXPLAINED)]
    if unchecked := sum(bool(report.unchecked) for report in reports):
        lines.append(f"\n{unchecked} of {len(reports)} theorems: not checked independently, for the reason below.")
    for report in reports:
        lines += [f"\n{report.name}: {note}" for note in report.notes]
        lines += [f"\n{report.name}: {_sides(sides)}" for sides in report.hypotheses]
        for step, found in (*report.steps, *(report.derivation or ())):
            if found.status not in ("proved", "cited"):
                against = f", for {found.counter_example}" if found.counter_example else ""
                lines.append(f"\n{report.name}: step {found.status}: {step.because}\n  {step.claim}{against}")
        lines += [f"\n{complaint}" for complaint in report.complaints]
    if claims:
        lines += ["", "Claims known to be false:"]
        lines += [
            f"  {r.refutation.verdict:8}  {r.claim.name}: {r.claim.claim}\n            {r.refutation.counter_example}"
            for r in claims
        ]
    return "\n".join(lines)


def _sides(sides: "Sides") -> str:
    """Return how instances met a hypothesis, and what happens without it, as text."""
    instance = f": {sides.instance}" if sides.instance else ""
    return (
        f"hypothesis {sides.text}: {sides.holding:,} instances meet it, {sides.failing:,} do not; "
        f"{sides.without}{instance}"
    )


def _step_record(step: "Step", found: "Discharge") -> dict[str, Any]:
    """Return a step of a proof with the result of its check as plain data."""
    record: dict[str, Any] = {
        "claim": str(step.claim),
        "because": step.because,
        "status": found.status,
        "by": found.by,
    }
    return record | ({"counter_example": found.counter_example} if found.counter_example else {})


def _digits(value: float) -> str:
    """Return a ratio as text: "1" if it is 1 up to rounding; one just below 1 is not rounded up to it."""
    if math.isnan(value):
        return "-"
    if abs(value - 1) < 1e-9:
        return "1"
    return f"{value:.6f}" if 0.999 < value < 1.001 else f"{value:.4g}"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
