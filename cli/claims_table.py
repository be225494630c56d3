"""The stored table of claims (docs/claims.json) and what the README and docs/claims.md make of it.

`quadsim reproduce NAME --full --merge docs/claims.json` runs a claim, puts its row into the stored table, copies the figure of
its reach beside it and writes the tables of the pages again. A result folder is merged without a run, and the pages alone are
written again, by

    python -m quadsim.cli.claims_table docs/claims.json [RESULTS]

and `--pending` prints the command that runs the claims without a result under their present criterion. Until then such a claim
is `not run`, and its section names what it must show.

A row holds the result of one run with its date, commit and command; the sentences (claim, fidelity, history) come from the claims
of the code, so that they can be reworded. The stored table names its pages, relative to itself. In a page the claims stand
between two markers. The first marker may list claims, which gives a table with a row for each; without a list it gives a table of
all claims and a section for each:

    <!-- claims: begin gd-lower four-cases -->
    <!-- claims: end -->
"""

import html
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from quadsim.cli.console import given_path, usage_errors
from quadsim.cli.strict import StrictCommand
from quadsim.simulator.support import store
from quadsim.simulator.support.checks import check_known
from quadsim.simulator.support.paths import local_path, shown
from quadsim.theory.claims import CLAIMS, Claim, Fixed, Setting, load_claims
from quadsim.theory.claims.judging.claim import inference_verdict, inferred_reason, told
from quadsim.theory.claims.judging.conditions import ALPHA, DECISIVE, STATES, has_power, power_in_words
from quadsim.theory.claims.judging.measured import shown_number
from quadsim.theory.claims.judging.reach import CURVES
from quadsim.theory.claims.running.reproducing import in_reading_order
from quadsim.theory.statements.registry import THEOREMS

__all__ = [
    "MARKERS",
    "check_mergeable",
    "markdown",
    "merge",
    "pending",
    "placed",
    "program",
    "sections",
    "stale",
    "stored_table",
]

MARKERS = ("<!-- claims: begin -->", "<!-- claims: end -->")
_BETWEEN = re.compile(
    r"(?P<begin><!-- claims: begin(?P<ids>(?: [\w-]+)*) -->).*?(?P<end><!-- claims: end -->)", re.DOTALL
)
_MOST_FIGURES = 2
_RULE = "| --- "
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
    lines = {row["id"]: json.dumps(_as_judged_today(row)) for row in (*table["claims"], *rows)}
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


def _as_judged_today(given: Mapping[str, Any]) -> dict[str, Any]:
    """The row as it is, but with the verdict of a claim that is judged otherwise since its run, or not judged any more."""
    row = _without_power_inconclusive(given)
    claim = CLAIMS.get(row["id"])
    if claim is None:
        return row
    if claim.unjudged:
        return row | {"verdict": claim.unjudged_as, "told": claim.unjudged_as, "reason": claim.unjudged}
    if row["criterion"]["hash"] != claim.digest(Setting(row["size"], row["seed"])):
        reason = f"the run of {row['made']['date']} was judged by an earlier criterion; it is to be run again"
        return row | {"verdict": "not run", "told": "not run", "reason": reason}
    return row


def _without_power_inconclusive(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with every condition inconclusive whose power is too small for the state that it was stored with."""
    conditions = [
        one
        if one["state"] not in DECISIVE or has_power(one["power"])
        else one
        | {
            "state": "inconclusive",
            "why": power_in_words(one["power"], one["seeds"], len(row["conditions"]), one["statistic"]),
        }
        for one in row["conditions"]
    ]
    if conditions == row["conditions"] or row["verdict"] not in STATES:  # the verdict of a proof stands
        return {**row, "conditions": conditions}
    states = [one["state"] for one in conditions]
    verdict = inference_verdict(states)
    texts = [f"{one['state']}: {one['text']} ({one['wanted']}; {one['why']})" for one in conditions]
    return {
        **row,
        "conditions": conditions,
        "verdict": verdict,
        "told": told(verdict, states),
        "reason": inferred_reason(states, texts),
    }


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
    if old := [row["id"] for row in table["claims"] if row != _as_judged_today(row)]:
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


def _entries(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of all claims by id: those of the document, and for the others that they have not been run."""
    rows = {entry["id"]: _as_judged_today(entry) for entry in document["claims"]}
    missing: dict[str, Any] = {
        "verdict": "not run",
        "reason": "no full run yet",
        "conditions": [],
        "measured": [],
        "made": None,
    }
    return in_reading_order(rows | {name: missing | {"id": name} for name in CLAIMS if name not in rows})


def markdown(document: dict[str, Any], chosen: Sequence[str], whole: str = "") -> str:
    """Return a table with one row per claim: the claim, its source, the verdict, the figures it rests on, and the run.

    Args:
        document: a stored table.
        chosen: ids of the claims to show, in this order.
        whole: the page with a section for each claim, to which the names are linked; empty: no links.

    Raises:
        ValueError: an id that is no claim of the code or the document.
    """
    entries = _entries(document)
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
    entries = _entries(document)
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
    told_now = _is_told(entry)
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
    if not _is_told(entry):
        return []
    said = {condition["text"] for condition in entry["conditions"]}
    rest = [figure["text"] for figure in entry["measured"] if figure["text"] not in said]
    if not rest:
        return []
    if claim.unjudged:
        return [f"- estimate: {_plain(text)}" for text in rest]
    shown_rest = "<br>".join(html.escape(text, quote=False) for text in rest)
    return ["", f"<details><summary>The other measured numbers ({len(rest)})</summary>{shown_rest}</details>"]


def _is_told(entry: Mapping[str, Any]) -> bool:
    """Whether the row has numbers that the page tells: of the present criterion, and of an instrument that is valid."""
    claim = CLAIMS.get(entry["id"])
    if claim is None or entry["verdict"] in ("not run", "withdrawn"):
        return False
    return bool(entry["criterion"]["hash"] == claim.digest(Setting(entry["size"], entry["seed"])))


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
    if not _is_told(entry):
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
