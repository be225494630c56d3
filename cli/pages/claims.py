"""The report of quadsim reproduce: the papers' claims, each with its criterion, its measured numbers and its verdict."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from quadsim.cli.pages import CLAIMS
from quadsim.cli.pages.page import Block, Card, Cell, Column, Details, Facts, Items, Page, Section, Table, Text, Verdict
from quadsim.cli.pages.pictures import picture_of
from quadsim.cli.pages.provenance_section import again_section, provenance_section
from quadsim.cli.pages.reading import document_of, listed, mapping, number, shown_command, text, texts
from quadsim.cli.pages.words import listing

__all__ = ["claims_page"]

_TONES = {
    "proved": "good",
    "shown": "good",
    "counter-example": "bad",
    "opposite shown": "bad",
    "not shown": "bad",
    "inconclusive": "open",
} | dict.fromkeys(("not comparable", "estimate", "withdrawn", "not run"), "none")
_PROOFS = {"proved": "good", "counter-example": "bad", "open": "open"}
_FAVOURABLE = ("proved", "shown")
_MOST_NAMED = 12  # claims that are neither proved nor shown, at the head of the page
_WIDEST = 1300  # pixels of a figure: there may be twenty on the page
_ROOM = 1_400_000  # bytes for all figures: beyond, the page names them


def claims_page(folder: Path) -> Page:
    """Return the report page of a finished reproduce, from its document and figures.

    Raises:
        ValueError: no document of reproduce, or one that cannot be read.
    """
    document = document_of(folder / CLAIMS)
    if not isinstance(document.get("claims"), list):
        raise ValueError(f"{CLAIMS} must list claims, got none in {folder / CLAIMS}; write it with quadsim reproduce.")
    claims = [mapping(claim) for claim in listed(document["claims"], 300)]
    manifest = mapping(document.get("manifest"))
    size = text(document.get("size"), 40)
    lead, more = _lead(claims, size)
    groups: dict[str, list[Card]] = {}
    room = _ROOM
    for position, claim in enumerate(claims):
        card, taken = _card(folder, claim, position, room)
        room -= taken
        groups.setdefault(text(claim.get("group"), 120) or "Claims", []).append(card)
    command = shown_command(manifest) or f"quadsim reproduce{f' --{size}' if size in ('quick', 'full') else ''}"
    return Page(
        title=_title(claims),
        kicker=f"quadsim reproduce{f', size {size}' if size else ''}",
        lead=lead,
        more=more,
        sections=(
            *((Section("All at a glance", (_overview(claims),)),) if claims else ()),
            *(Section(name, tuple(cards)) for name, cards in groups.items()),
            provenance_section(manifest, {"size": size}),
            again_section(
                (command, "quadsim report ."),
                (f"{CLAIMS}: all that is shown here, as JSON", "a folder for each claim: its figure and tables"),
                "The first command runs the experiments again (name another folder); the second, in this folder, makes this page "
                "again from what is stored.",
            ),
        ),
        foot="Made by quadsim from the files of this folder. It needs no network and no other file.",
    )


def _title(claims: list[dict[str, Any]]) -> str:
    groups = list(dict.fromkeys(text(claim.get("group"), 120) for claim in claims if claim.get("group")))
    whose = f" of {listing(groups)}" if 0 < len(groups) <= 3 else ""
    if len(claims) == 1:
        return f"Can a claim{whose} be reproduced?"
    return f"Can {len(claims)} claims{whose} be reproduced?"


def _lead(claims: list[dict[str, Any]], size: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    counts = Counter(_verdict(claim).word for claim in claims)
    order = [*(word for word in _TONES if counts[word]), *sorted(word for word in counts if word not in _TONES)]
    said = listing([f"{counts[word]} {word}" for word in order])
    at = f", at the size {size}" if size else ""
    of = f"Of {len(claims)} claims" if len(claims) != 1 else "Of one claim"
    rest = [
        f"{_name(claim)}: {_verdict(claim).word}{'; ' if claim.get('reason') else ''}{text(claim.get('reason'))}"
        for claim in claims
        if claim.get("verdict") not in _FAVOURABLE
    ]
    more = len(rest) - _MOST_NAMED
    shown = (*rest[:_MOST_NAMED], *((f"and {more} more, in the table below",) if more > 0 else ()))
    return ((f"{of}{at}: {said}." if claims else "No claim was run.",), shown)


def _verdict(claim: dict[str, Any]) -> Verdict:
    word = text(claim.get("verdict"), 40)
    return Verdict(word or "without a verdict", _TONES.get(word, "open"))


def _told(claim: dict[str, Any]) -> Verdict:
    """The verdict, with the number of conditions that are shown where some are and some are not."""
    found = _verdict(claim)
    return Verdict(text(claim.get("told"), 80) or found.word, found.tone)


def _name(claim: dict[str, Any]) -> str:
    return text(claim.get("id"), 80) or "without a name"


def _anchor(position: int) -> str:
    """Return the id of a claim on the page. It is a counter, as untrusted names may be invalid as an id or not unique."""
    return f"claim-{position + 1}"


def _overview(claims: list[dict[str, Any]]) -> Table:
    columns = (
        Column("claim"),
        Column("verdict"),
        Column("what it says", wide=True),
        Column("why this verdict", wide=True),
        Column("seconds", True),
    )
    rows = tuple(
        (
            Cell(links=((_name(claim), _anchor(position)),)),
            Cell(_verdict(claim).word, verdict=_told(claim)),
            Cell(text(claim.get("claim"))),
            Cell(text(claim.get("reason"))),
            _number_cell(claim.get("seconds")),
        )
        for position, claim in enumerate(claims)
    )
    return Table("Claims and verdicts", columns, rows)


def _card(folder: Path, claim: dict[str, Any], position: int, room: int) -> tuple[Card, int]:
    """Return the card of a claim, and the number of bytes of its figure, which count towards the limit of the page."""
    criterion = mapping(claim.get("criterion"))
    blocks: list[Block] = [Text(text(claim.get("claim")))]
    blocks += [Text(f"Why: {text(claim.get('reason'))}")] if text(claim.get("reason")) else []
    blocks += [Text(f"How to read it: {text(claim.get('reading'))}")] if text(claim.get("reading")) else []
    said = f"{_name(claim)}: {text(claim.get('claim'), 500)}. The table below has what was measured."
    reach = mapping(claim.get("reach"))
    pictures = (
        (text(reach.get("figure"), 300), f"How far the claim reaches, {said}", text(reach.get("caption"))),
        (text(claim.get("figure"), 300), f"Figure of the claim {said}", text(claim.get("caption"))),
    )
    taken = 0
    for name, alt, caption in pictures:
        if name:
            block, size = _picture(folder, name, alt, caption, room - taken)
            blocks.append(block)
            taken += size
    blocks += _onsets(reach)
    blocks += _proofs(claim)
    blocks += _measured(claim)
    blocks += _conditions(claim, criterion)
    blocks += [Items(tuple(texts(claim.get("notes"), 50)))] if texts(claim.get("notes")) else []
    facts = [(key.capitalize(), text(claim.get(key))) for key in ("method", "source")]
    facts += [("Differs from the paper", "; ".join(texts(claim.get("fidelity"), 50)) or "in nothing known")]
    facts += [("Size", text(claim.get("size")))]
    made = mapping(claim.get("made"))
    facts += [
        (words, text(made.get(key)))
        for words, key in (("Run on", "date"), ("Commit", "commit"), ("Command", "command"))
    ]
    facts.append(("Tables", ", ".join(texts(claim.get("tables"), 50))))
    blocks.append(Facts(tuple((key, said) for key, said in facts if said)))
    blocks += _history(claim)
    return Card(_name(claim), tuple(blocks), id=_anchor(position), verdict=_told(claim)), taken


def _picture(folder: Path, name: str, alt: str, caption: str, room: int) -> tuple[Block, int]:
    """Return a figure, or a text in its place, and the number of its bytes."""
    found = picture_of(folder, name, alt, caption, widest=_WIDEST)
    if isinstance(found, str):
        return Text(found), 0
    if len(found.data) > room:
        return Text(f"The figure {name} is in the folder; this page has no room left for it."), 0
    return found, len(found.data)


def _onsets(reach: dict[str, Any]) -> list[Block]:
    """Return from where on, or up to where, the effect is there, a row for every curve of the reach."""
    rows = tuple(
        (Cell(text(one.get("curve"), 200)), Cell(text(one.get("text"), 200)))
        for one in map(mapping, listed(reach.get("onsets"), 100))
    )
    columns = (Column("curve"), Column(f"over {text(reach.get('variable'), 200)}, the median is [95% interval]"))
    law = text(reach.get("law"))
    blocks: list[Block] = [Table("How far it reaches", columns, rows)] if rows else []
    return [*blocks, Text(f"Law: {law}")] if law else blocks


def _proofs(claim: dict[str, Any]) -> list[Block]:
    """Return the column of proofs and identities, which count as no conditions: what decides each, and what was tried beside."""
    arguments = mapping(claim.get("arguments"))
    rows = tuple(
        (
            Cell(text(one.get("statement"), 300)),
            Cell(text(one.get("state"), 40), verdict=_of(one, _PROOFS)),
            Cell(
                text(arguments.get(text(one.get("statement"), 300)), 1000)
                or "its proof, which `quadsim theorems` prints"
            ),
            Cell(text(one.get("detail"), 1000)),
        )
        for one in map(mapping, listed(claim.get("proofs"), 100))
    )
    columns = (
        Column("theorem or identity", wide=True),
        Column("came out"),
        Column("because of", wide=True),
        Column("steps of the proof, and instances tried beside it", wide=True),
    )
    return [Table("Proofs, which count as no conditions", columns, rows)] if rows else []


def _history(claim: dict[str, Any]) -> list[Block]:
    """Return when the criterion was fixed, what was run before, and what was changed."""
    rows = tuple(
        tuple(Cell(text(one.get(key), 1000)) for key in ("date", "before", "change", "criterion"))
        for one in map(mapping, listed(claim.get("history"), 100))
    )
    columns = (Column("fixed on"), Column("run before", wide=True), Column("changed", wide=True), Column("criterion"))
    return [Table("History of the criterion", columns, rows)] if rows else []


def _measured(claim: dict[str, Any]) -> list[Block]:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            Cell(text(one.get("name"), 200)),
            _number_cell(one.get("value")),
            _number_cell(one.get("low")),
            _number_cell(one.get("high")),
            Cell(text(one.get("unit"), 40)),
            _number_cell(one.get("seeds")),
            Cell(_in_words(one)),
        )
        for one in map(mapping, listed(claim.get("measured"), 200))
    )
    columns = [Column("measured"), *(Column(name, True) for name in ("value", "low", "high")), Column("unit")]
    columns += [Column("seeds", True), Column("in words", wide=True)]
    if not any(row[-1].text for row in rows):
        columns, rows = columns[:-1], tuple(row[:-1] for row in rows)
    return [Table("What was measured", tuple(columns), rows)] if rows else []


def _conditions(claim: dict[str, Any], criterion: dict[str, Any]) -> list[Block]:
    """Return the table of the conditions and their outcomes; conditions without an outcome are listed too."""
    outcomes = listed(claim.get("conditions"), 100)
    rows = tuple(
        (
            Cell(text(one.get("name"), 300) or text(one.get("measure"), 200)),
            Cell(text(one.get("wanted"), 200)),
            Cell(text(one.get("state"), 40), verdict=_of(one, _TONES)),
            *(_number_cell(one.get(key)) for key in ("value", "low", "high", "seeds", "holm", "power")),
            Cell(text(one.get("because"))),
        )
        for one in map(mapping, outcomes or listed(criterion.get("conditions"), 100))
    )
    columns = (
        Column("effect", wide=True),
        Column("must be"),
        Column("came out"),
        *(Column(name, True) for name in ("value", "low", "high", "seeds", "p (Holm)", "power")),
        Column("because", wide=True),
    )
    blocks: list[Block] = [Table("The criterion, condition by condition", columns, rows)] if rows else []
    facts = [("Criterion", text(criterion.get("text"))), ("Its hash", text(criterion.get("hash"), 200))]
    shown = tuple((key, said) for key, said in facts if said)
    return [*blocks, Details("The criterion as it was fixed before the run", (Facts(shown),))] if shown else blocks


def _in_words(figure: dict[str, Any]) -> str:
    """Return the text of a measured number if it says more than the number: an infinite value is null in JSON."""
    said, name = text(figure.get("text")), text(figure.get("name"), 200)
    return "" if said.startswith(name) and not math.isnan(number(figure.get("value"))) else said


def _of(entry: dict[str, Any], tones: dict[str, str]) -> Verdict:
    """The state of a condition or a proof."""
    word = text(entry.get("state"), 40)
    return Verdict(word or "not known", tones.get(word, "none" if not word else "open"))


def _number_cell(value: Any) -> Cell:
    found = number(value)
    return Cell("" if math.isnan(found) else f"{found:.4g}", found)
