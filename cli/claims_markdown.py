"""The tables and sections of claims on pages, in Markdown, made of the rows of a stored table (`claims_table`).

In a page the claims stand between two markers. The first marker may list claims, which gives a table with a row for each; without
a list it gives a table of all claims and a section for each:

    <!-- claims: begin gd-lower four-cases -->
    <!-- claims: end -->
"""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from quadsim.cli.claims_rows import entries_of, is_told
from quadsim.simulator.support.checks import check_known
from quadsim.theory.claims import CLAIMS, Claim, Fixed
from quadsim.theory.claims.judging.conditions import ALPHA, has_power
from quadsim.theory.claims.judging.measured import shown_number
from quadsim.theory.statements.registry import THEOREMS

__all__ = ["MARKERS", "markdown", "placed", "sections"]

MARKERS = ("<!-- claims: begin -->", "<!-- claims: end -->")
_BETWEEN = re.compile(
    r"(?P<begin><!-- claims: begin(?P<ids>(?: [\w-]+)*) -->).*?(?P<end><!-- claims: end -->)", re.DOTALL
)
_MOST_FIGURES = 2
_RULE = "| --- "


def placed(page: str, document: dict[str, Any], pictures: Mapping[str, str] | None = None, whole: str = "") -> str:
    """Return the page with what belongs between its markers: rows of the claims that the first marker lists, or all claims.

    Args:
        page: Markdown.
        document: a stored table.
        pictures: the figure of the reach of a claim, as the page refers to it.
        whole: the page with a section for each claim, as this page refers to it; empty: there is none.

    Raises:
        ValueError: a page without the markers, or a marker that lists an unknown claim.
    """
    if not _BETWEEN.search(page):
        begin, end = MARKERS
        raise ValueError(
            f"the page must hold {begin} and {end}, got a text without them; put them where the table belongs."
        )

    def between(found: re.Match[str]) -> str:
        chosen = found["ids"].split()
        content = markdown(document, chosen, whole) if chosen else sections(document, pictures or {})
        return f"{found['begin']}\n{content}\n{found['end']}"

    return _BETWEEN.sub(between, page)


def markdown(document: dict[str, Any], chosen: Sequence[str], whole: str = "") -> str:
    """Return a table with one row per claim: the claim, its source, the verdict, the figures it rests on, and the run.

    Args:
        document: a stored table.
        chosen: ids of the claims to show, in this order.
        whole: the page with a section for each claim, to which the names are linked; empty: no links.

    Raises:
        ValueError: an id that is no claim of the code or the document.
    """
    entries = entries_of(document)
    check_known("claim", chosen, entries)
    lines = [
        _counts(entries.values()),
        "",
        "| claim | of | verdict | effect [95% interval], n seeds | run |",
        _RULE * 5 + "|",
    ]
    for name in chosen:
        entry, claim = entries[name], CLAIMS.get(name)
        words, group = (claim.claim, claim.group) if claim else (entry["claim"], entry["group"])
        date = entry["made"]["date"] if entry["made"] else "none"
        linked = f"[`{name}`]({whole}#{name})" if whole else f"`{name}`"
        lines.append(
            f"| {_cell(words)} ({linked}) | {_cell(group)} | **{_told(entry)}** | {_figures(entry)} | {date} |"
        )
    return "\n".join(lines)


def sections(document: dict[str, Any], pictures: Mapping[str, str]) -> str:
    """Return a table of all claims, and a section for each: sentence, verdict, figure of its reach, numbers, fidelity, history.

    Args:
        document: a stored table.
        pictures: the figure of the reach of a claim, as the page refers to it.
    """
    entries = entries_of(document)
    lines = [_counts(entries.values()), "", "| claim | of | verdict |", _RULE * 3 + "|"]
    for name, entry in entries.items():
        group = CLAIMS[name].group if name in CLAIMS else entry["group"]
        lines.append(f"| [`{name}`](#{name}) | {_cell(group)} | **{_told(entry)}** |")
    for name, entry in entries.items():
        if name in CLAIMS:
            lines += ["", *_section(CLAIMS[name], entry, pictures.get(name))]
    return "\n".join(lines)


def _section(claim: Claim, entry: Mapping[str, Any], picture: str | None) -> list[str]:
    """The lines of the section of a claim; one without a run of its present criterion says what it must show."""
    told_now = is_told(entry)
    reason = f" {_sentence(entry['reason'])}" if claim.unjudged or not told_now else ""
    lines = [
        f"### {claim.id}",
        "",
        f"{claim.claim} *{claim.group}; {claim.source}.*",
        "",
        f"**{_told(entry)}.**{reason}",
    ]
    lines += ["", f"How to read it: {_plain(claim.reading)}"] if claim.reading and told_now else []
    reach = entry.get("reach") if told_now else None
    if picture is not None and reach:
        caption = claim.reach.caption if claim.reach else reach["caption"]
        lines += ["", f"![{_cell(caption)}]({picture})"]
    items = [_proof(claim, proof) for proof in entry.get("proofs", ())]
    if told_now:
        items += [_said(condition) for condition in entry["conditions"]]
        items += [f"note: {note}" for note in entry.get("notes", ())]
    else:
        items += [f"must be shown: {condition}" for condition in claim.conditions]
    items += _reasons(claim)
    items += _how_far(claim, reach) if reach else []
    items += [
        f"experiment: {claim.method}",
        *([f"design: {claim.design}"] if claim.design else []),
        f"differs from the paper: {'; '.join(claim.fidelity) or 'in nothing known'}",
        *(f"criterion {_fixed(fixed)}" for fixed in claim.history),
        f"run: {_run(entry)}",
    ]
    return [*lines, "", *(f"- {_plain(item)}" for item in items), *_numbers(claim, entry)]


def _proof(claim: Claim, proof: Mapping[str, str]) -> str:
    """What decides a theorem or an identity, apart from the instances that were tried beside it and decide nothing."""
    name, state, detail = proof["statement"], proof["state"], proof["detail"]
    if name in THEOREMS:
        steps, _, instances = detail.partition("; ")
        return f"theorem {name}: {state} ({steps}); tried beside the proof: {instances}"
    if name in claim.arguments:
        return f"identity: {name}: {state}, because {claim.arguments[name]}; tried beside it: {detail}"
    return f"proof: {name}: {state} ({detail})"


def _how_far(claim: Claim, reach: Mapping[str, Any]) -> list[str]:
    """The number of seeds of the figure, where the effect of every curve is there, and the law."""
    seeds = f" ({reach['seeds']} seeds at each value)" if "seeds" in reach else ""
    over, across = (claim.reach.variable, claim.reach.across) if claim.reach else ("", "")
    items = [f"reach over {over}{seeds}"] if over else []
    if claim.reach is None or claim.reach.onset is not None:
        items += [
            f"reach, {f'{across} = ' if across else ''}{onset['curve']}: {onset['text']}" for onset in reach["onsets"]
        ]
    return items + ([f"law: {reach['law']}"] if reach["law"] else [])


def _reasons(claim: Claim) -> list[str]:
    """Why the effects of a claim are as large as they are named, and why some need no control; each reason once."""
    because = dict.fromkeys(f"{shown_number(c.effect)}: {c.because}" for c in claim.conditions)
    level = dict.fromkeys(c.level for c in claim.conditions if c.level)
    return [
        *([f"smallest effect, {'; '.join(because)}"] if because else []),
        *([f"without a control: {'; '.join(level)}"] if level else []),
    ]


def _numbers(claim: Claim, entry: Mapping[str, Any]) -> list[str]:
    """A folded list of all measured numbers that no condition has shown already: sides of contrasts, and numbers beside.

    The numbers of an estimate are what the claim comes to, and stand open.
    """
    if not is_told(entry):
        return []
    said = {condition["text"] for condition in entry["conditions"]}
    rest = [figure["text"] for figure in entry["measured"] if figure["text"] not in said]
    if not rest:
        return []
    if claim.unjudged:
        return [f"- estimate: {_plain(text)}" for text in rest]
    shown_rest = "<br>".join(html.escape(text, quote=False) for text in rest)
    return ["", f"<details><summary>The other measured numbers ({len(rest)})</summary>{shown_rest}</details>"]


def _fixed(entry: Fixed) -> str:
    changed = f"; changed: {entry.change}" if entry.change else ""
    return f"fixed on {entry.date} ({entry.criterion}), when this had been run: {entry.before}{changed}"


def _said(condition: Mapping[str, Any]) -> str:
    """One condition with its numbers: what its p-value speaks against, and why it is not shown where it is not."""
    power = "unknown" if condition["power"] is None else f"{condition['power']:.2f}"
    boundary = shown_number(condition["effect" if condition["absent"] else "null"])
    return (
        f"{condition['state']}{_why_not(condition)}: {condition['text']} (must be {condition['wanted']}; "
        f"p = {condition['holm']:.2g} against {boundary} after Holm, power {power})"
    )


def _why_not(condition: Mapping[str, Any]) -> str:
    """Why a condition is not shown, although its p-value may be small: that speaks against no effect, not for one that counts."""
    if condition["state"] == "inconclusive":
        return " (too little power)" if not has_power(condition["power"]) else " (neither side is excluded)"
    if condition["state"] != "not shown":
        return ""
    named = f" (an effect of {shown_number(condition['effect'])} is excluded"
    value, null, effect = (condition[key] for key in ("value", "null", "effect"))
    if condition["holm"] > ALPHA or value is None:
        return f"{named})"
    side = "" if (value > null) == (effect > null) else " on the other side"
    return f"{named}; a smaller one{side} is there)"


def _told(entry: Mapping[str, Any]) -> str:
    return str(entry.get("told") or entry["verdict"])


def _run(entry: Mapping[str, Any]) -> str:
    """Date of the run and its commit, where it is known."""
    made = entry["made"]
    if made is None:
        return "none"
    return str(made["date"] if made["commit"] == "unknown" else f"{made['date']}, {made['commit']}")


def _counts(entries: Iterable[Mapping[str, Any]]) -> str:
    """The number of claims with each verdict, most frequent first."""
    verdicts = [entry["verdict"] for entry in entries]
    distinct = sorted(dict.fromkeys(verdicts), key=lambda verdict: -verdicts.count(verdict))
    return f"Of all {len(verdicts)} claims: {', '.join(f'{verdicts.count(v)} {v}' for v in distinct)}."


def _figures(entry: Mapping[str, Any]) -> str:
    """Return the numbers that speak against the claim or leave it open; if there are none, the first ones, or the proofs."""
    if not is_told(entry):
        return _cell(entry["reason"])
    if CLAIMS[entry["id"]].unjudged:
        return _cell("; ".join([*(figure["text"] for figure in entry["measured"][:1]), entry["reason"]]))
    if not entry["conditions"]:
        return _cell("; ".join(f"{proof['statement']}: {proof['state']}" for proof in entry["proofs"]))
    against = [c for c in entry["conditions"] if c["state"] != "shown"]
    said = [
        f"{c['state']}: {c['text']}" if against else c["text"] for c in (against or entry["conditions"])[:_MOST_FIGURES]
    ]
    return _cell("; ".join(said))


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    return text.replace("\n", " ").replace("*", "\\*")


def _sentence(text: str) -> str:
    return _plain(text[:1].upper() + text[1:]) + ("" if text.endswith(".") else ".")
