"""The report of quadsim verify."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from quadsim.cli.pages import VERIFIED
from quadsim.cli.pages.formulas import claims_of
from quadsim.cli.pages.page import (
    Block,
    Card,
    Cell,
    Code,
    Column,
    Details,
    Facts,
    Formula,
    Items,
    Page,
    Section,
    Table,
    Text,
    Verdict,
)
from quadsim.cli.pages.pictures import picture_of
from quadsim.cli.pages.provenance_section import again_section, provenance_section
from quadsim.cli.pages.reading import document_of, listed, mapping, number, shown_command, text, texts
from quadsim.cli.pages.theorem_card import anchor, theorem_card
from quadsim.cli.pages.verify_figure import FIGURE, save_tightness
from quadsim.cli.pages.words import listing, margin_text
from quadsim.theory import THEOREMS

__all__ = ["verify_page"]

_TONES = {
    "proved": "good",
    "lemmas proved": "good",
    "unproved": "bad",
    "refuted": "bad",
    "contradiction": "bad",
    "undecided": "open",
    "untested": "open",
}
_STEP_TONES = {"proved": "good", "cited": "none", "refuted": "bad", "unknown": "open"}
_WORDS = (
    "Proved: every step of the proof is discharged by SymPy (identities) or Z3 (inequalities) or rests on a named fact, the "
    "bound is the one that was proved, and no instance spoke against it.",
    "Instances: problems times settings that meet the hypotheses and tested the claim. Verified: of these in exact arithmetic; "
    "the others in floating point, within a derived budget for rounding.",
    "Worst margin: the largest that was seen over the bound. Tightness: how close a search for the worst instance came (1: "
    "attained).",
)


def verify_page(folder: Path) -> Page:
    """Return the report page of a finished verify, from its document; the figure is drawn again.

    Raises:
        ValueError: no document of verify, or one that cannot be read.
    """
    document = document_of(folder / VERIFIED)
    if not isinstance(document.get("theorems"), list):
        raise ValueError(
            f"{VERIFIED} must list theorems, got none in {folder / VERIFIED}; write it with quadsim verify --out."
        )
    reports = [one for one in map(mapping, listed(document["theorems"])) if text(one.get("name"))]
    claims = [one for one in map(mapping, listed(document.get("false_claims"))) if text(one.get("name"))]
    asked = mapping(document.get("asked"))
    manifest = mapping(document.get("manifest"))
    blocks: list[Block] = [_table(reports), Items(_WORDS)]
    if save_tightness(reports, folder):
        alt = "Worst margin and tightness of every theorem, from 0 to 1, where 1 is the bound itself. The table has the numbers."
        found = picture_of(
            folder, f"figures/{FIGURE}.png", alt, "How close runs come to the bounds; 1 is the bound itself."
        )
        blocks.insert(0, Text(found) if isinstance(found, str) else found)
    lead = _lead(reports, claims, interrupted=document.get("interrupted") is True)
    return Page(
        title=_title(reports, texts(asked.get("names"))),
        kicker="quadsim verify",
        lead=lead,
        sections=(
            *((Section("Theorems", tuple(blocks)),) if reports else ()),
            *((Section("Claims that are known to be false", (_claims_table(claims),)),) if claims else ()),
            *((Section("One by one", tuple(_card(report) for report in reports)),) if reports else ()),
            provenance_section(manifest, {key: value for key, value in asked.items() if key != "names"}),
            again_section(
                (shown_command(manifest) or "quadsim verify --out again", "quadsim report ."),
                (f"{VERIFIED}: all that is shown here, as JSON", "figures/: the figure as PNG and PDF"),
                "The first command proves and tries again (name another folder); the second, in this folder, makes the figure "
                "and this page again from what is stored.",
            ),
        ),
        foot="Made by quadsim from the files of this folder. It needs no network and no other file.",
    )


def _title(reports: list[dict[str, Any]], names: list[str]) -> str:
    found = [text(report["name"], 80) for report in reports]
    if not names:
        return "Do all theorems hold, and are the false claims refuted?"
    return f"{'Does' if len(found) == 1 else 'Do'} {listing(found if len(found) <= 5 else [f'{len(found)} theorems'])} hold?"


def _lead(reports: list[dict[str, Any]], claims: list[dict[str, Any]], *, interrupted: bool) -> tuple[str, ...]:
    counts = Counter(text(report.get("verdict"), 40) or "without a verdict" for report in reports)
    instances = sum(int(value) for value in (number(report.get("instances")) for report in reports) if value == value)
    said = []
    if interrupted:
        said.append("It was interrupted: what follows is what was finished.")
    if counts and set(counts) == {"proved"}:
        which = "The theorem is" if len(reports) == 1 else f"All {len(reports)} theorems are"
        said.append(
            f"{which} proved, every step by machine or from a named fact, and none of {instances:,} instances speaks against."
        )
    elif counts:
        rest = [
            f"{text(r['name'], 80)} is {text(r.get('verdict'), 40)}" for r in reports if r.get("verdict") != "proved"
        ]
        more = f" and {len(rest) - 8} more are not proved" if len(rest) > 8 else ""
        said.append(f"Of {len(reports)} theorems {counts['proved']} are proved; {listing(rest[:8])}{more}.")
    if claims:
        survived = [text(claim["name"], 80) for claim in claims if claim.get("verdict") != "refuted"]
        of = f"{len(claims)} claims that are known to be false"
        said.append(
            f"Of {of}, these survived: {listing(survived)}."
            if survived
            else f"All {of} are refuted, each by an instance."
        )
    return tuple(said)


def _table(reports: list[dict[str, Any]]) -> Table:
    names = ("steps proved", "cited", "instances", "verified", "worst margin", "tightness")
    columns = (Column("theorem"), Column("verdict"), *(Column(name, True) for name in names), Column("why", wide=True))
    return Table("What became of every theorem", columns, tuple(_row(report) for report in reports))


def _row(report: dict[str, Any]) -> tuple[Cell, ...]:
    name = text(report["name"], 80)
    steps = [text(mapping(step).get("status"), 20) for step in listed(report.get("steps"))]
    proved, cited = steps.count("proved"), steps.count("cited")
    verified = number(mapping(report.get("verdicts")).get("verified"))
    counts = [_count(number(report.get("instances"))), _count(verified)]
    ratios = (number(report.get(key)) for key in ("worst_margin", "tightness"))
    word = text(report.get("verdict"), 40)
    return (
        Cell(links=((name, anchor(name)),)),
        Cell(word, verdict=_verdict(report)),
        Cell(f"{proved} of {len(steps) - cited}", float(proved)),
        Cell(str(cited), float(cited)),
        *counts,
        *(Cell("" if math.isnan(ratio) else margin_text(ratio), ratio) for ratio in ratios),
        Cell(_why(report)),
    )


def _count(value: float) -> Cell:
    return Cell("" if math.isnan(value) else f"{value:,.0f}", value)


def _verdict(report: dict[str, Any]) -> Verdict:
    word = text(report.get("verdict"), 40)
    return Verdict(word or "none", _TONES.get(word, "open"))


def _why(report: dict[str, Any]) -> str:
    word = text(report.get("verdict"), 40)
    against = texts(report.get("complaints"))
    limit = text(report.get("not_checked_independently"), 300)
    beside = f"; not checked independently: {limit}" if limit else ""
    if word == "proved":
        return f"every step discharged, no instance against it{beside}"
    if word == "lemmas proved":
        return f"every lemma discharged; the statement does not follow from them by machine{beside}"
    if word == "unproved":
        steps = [mapping(step) for name in ("steps", "derivation") for step in listed(report.get(name))]
        still = [text(s.get("because"), 300) for s in steps if text(s.get("status"), 20) not in ("proved", "cited")]
        return f"a step is not proved: {still[0]}" if still else next(iter(against), "it has no proof")
    if word == "untested":
        return "no instance met the hypotheses in a way that tests it"
    return against[0] if against else ""


def _card(report: dict[str, Any]) -> Card:
    name = text(report["name"], 80)
    theorem = THEOREMS.get(name)
    claims = {} if theorem is None else claims_of(theorem)
    blocks: list[Block] = []
    against = texts(report.get("complaints"))
    if against:
        blocks += [Text("Instances that speak against it:"), Items(tuple(against))]
    blocks += [Text(note) for note in texts(report.get("notes"))]
    counts = mapping(report.get("verdicts"))
    said = [f"{number(count):,.0f} {text(word, 40)}" for word, count in counts.items() if number(count) > 0]
    facts = [("Instances", ", ".join(said)), ("Tightest found", text(report.get("tightest")))]
    blocks.append(Facts(tuple((key, value) for key, value in facts if value)))
    steps = [mapping(step) for step in listed(report.get("steps"))]
    derivation = [mapping(step) for step in listed(report.get("derivation"))]
    proof = Details(
        f"The proof: {len(steps)} lemmas, and the statement from them and the definitions in {len(derivation)} steps"
        if derivation
        else f"The proof, in {len(steps)} steps",
        tuple(_step(n, step, claims) for n, step in enumerate((*steps, *derivation), 1)),
    )
    if theorem is None:
        missing = Text("This version of quadsim has no theorem of that name, so its statement cannot be shown.")
        return Card(name, (missing, *blocks, proof), id=anchor(name), verdict=_verdict(report))
    return theorem_card(theorem, tuple(blocks), _verdict(report), (proof,))


def _step(position: int, step: dict[str, Any], claims: dict[str, Any]) -> Card:
    """Return a formula if the claim is, word for word, one of the theorem's; else the text of the folder."""
    claim, status = text(step.get("claim")), text(step.get("status"), 20)
    cited = status == "cited"
    blocks: list[Block] = [Text(claim) if cited else Formula(claims[claim]) if claim in claims else Code(claim)]
    example = ", ".join(
        f"{text(key, 40)} = {text(value, 80)}" for key, value in mapping(step.get("counter_example")).items()
    )
    blocks += [Text(f"It fails for {example}.")] if example else []
    by = text(step.get("by"), 80)
    return Card(
        f"{position}. {by if cited else text(step.get('because'))}",
        tuple(blocks),
        verdict=Verdict(f"{status} by {by}" if by and not cited else status, _STEP_TONES.get(status, "open")),
    )


def _claims_table(claims: list[dict[str, Any]]) -> Table:
    columns = (Column("claim", wide=True), Column("verdict"), Column("counter-example", wide=True))
    rows = tuple(
        (
            Cell(f"{text(claim['name'], 80)}: {text(claim.get('claim'))}"),
            Cell(text(claim.get("verdict"), 40), verdict=_claim_verdict(claim)),
            Cell(text(claim.get("counter_example"))),
        )
        for claim in claims
    )
    return Table("Each must be refuted, by an instance in exact arithmetic", columns, rows)


def _claim_verdict(claim: dict[str, Any]) -> Verdict:
    """Return the verdict on a false claim, for which `refuted` is the good result."""
    word = text(claim.get("verdict"), 40)
    return Verdict(
        f"{word}, as it should be" if word == "refuted" else word or "none", "good" if word == "refuted" else "bad"
    )
