"""The stored table of claims: merging one result, what is refused, and what a test says where a result is missing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.cli.claims_markdown import MARKERS, placed
from quadsim.cli.claims_table import merge, pending, program, stale, stored_table
from quadsim.theory.claims import CLAIMS, Condition, Setting

IDS = ("gd-lower", "gd-lower-unsquared", "adam-bound")
MARKED = f"<!-- claims: begin {' '.join(IDS)} -->\n{MARKERS[1]}"


def row(name: str, size: str = "full", **changes) -> dict:
    made = {"date": "2026-01-02", "commit": "abc", "command": "quadsim reproduce --full"}
    return {
        "id": name,
        "claim": f"An earlier sentence of {name}.",
        "group": "nobody",
        "criterion": {"hash": CLAIMS[name].digest(Setting(size))},
        "verdict": "proved",
        "told": "proved",
        "reason": "it was",
        "measured": [],
        "conditions": [],
        "proofs": [{"statement": "it", "state": "proved", "detail": "in two steps"}],
        "reach": None,
        "size": size,
        "seed": 0,
        "made": made,
    } | changes


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Of three claims, which are all that there are, with one page."""
    everything = dict(CLAIMS)
    for name in set(CLAIMS) - set(IDS):
        del CLAIMS[name]
    (tmp_path / "page.md").write_text("\n".join(("before", MARKED, "after")))
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"claims": [row(name) for name in IDS], "pages": ["page.md"]}))
    merge(path, [])
    yield path
    CLAIMS.clear()
    CLAIMS.update(everything)  # in their order


def lines(path: Path) -> dict[str, bytes]:
    return {text[8 : text.index(b'"', 8)].decode(): text.rstrip(b",") for text in path.read_bytes().split(b"\n")[1:-3]}


def test_merging_one_result_leaves_the_other_rows(table):
    before, page = lines(table), (table.parent / "page.md").read_text()
    assert list(before) == list(IDS)
    merge(
        table,
        [
            row(
                "gd-lower-unsquared",
                verdict="counter-example",
                told="counter-example",
                made={"date": "2026-03-04", "commit": "unknown"},
            )
        ],
    )
    after = lines(table)
    assert list(after) == list(IDS)  # in the same order
    assert [name for name in IDS if after[name] != before[name]] == ["gd-lower-unsquared"]
    changed = (table.parent / "page.md").read_text()
    assert [old for old, new in zip(page.split("\n"), changed.split("\n"), strict=True) if old != new] == [
        line for line in page.split("\n") if "Of all 3 claims" in line or "`gd-lower-unsquared`" in line
    ]
    assert "| 2026-03-04 |" in changed
    assert "| 2026-01-02 |" in changed
    assert changed.startswith("before\n")
    assert stale(table) == []


def test_a_table_has_the_sentences_of_the_code(table, monkeypatch):
    monkeypatch.setitem(CLAIMS, "gd-lower", replace(CLAIMS["gd-lower"], claim="In other words."))
    (complaint,) = stale(table)
    assert "page.md are not made of" in complaint
    assert f"run `python -m quadsim.cli.claims_table {table}`" in complaint
    before = table.read_bytes()
    merge(table, [])
    assert "| In other words. (`gd-lower`)" in (table.parent / "page.md").read_text()
    assert (table.read_bytes(), stale(table)) == (before, [])


def test_a_claim_that_was_not_run_and_one_of_an_earlier_criterion_say_so(table):
    content = json.loads(table.read_text())
    content["claims"][2]["criterion"]["hash"] = "of another criterion"
    table.write_text(json.dumps(content | {"claims": content["claims"][1:]}))
    assert "holds verdicts on adam-bound of an earlier criterion" in stale(table)[0]
    merge(table, [])
    assert stale(table) == []
    page = (table.parent / "page.md").read_text()
    assert "(`gd-lower`) | Zhang et al. | **not run** | no full run yet | none |" in page
    assert "(`adam-bound`) | Zhang et al. | **not run** | the run of 2026-01-02 was judged by an earlier" in page
    assert "(`gd-lower-unsquared`) | Zhang et al. | **proved** | it: proved |" in page
    assert "Of all 3 claims: 2 not run, 1 proved." in page
    assert pending(table) == ["gd-lower", "adam-bound"]
    shown = CliRunner().invoke(program, [str(table), "--pending"])
    assert shown.stdout == f"quadsim reproduce gd-lower adam-bound --full --merge {table}\n"
    content = json.loads(table.read_text())
    content["claims"][1] |= {"id": "of-another-version"}
    table.write_text(json.dumps(content))
    assert "of-another-version, no claim of the code; delete" in stale(table)[0]


def judged(**changes):
    return {
        "name": "it over that",
        "state": "shown",
        "text": "it over that 3 [2, 4], n = 20",
        "wanted": "above 1; smallest effect 2",
        "null": 1.0,
        "effect": 2.0,
        "absent": False,
        "value": 3.0,
        "holm": 0.001,
        "power": 0.93,
        "seeds": 20,
        "statistic": "median",
    } | changes


def test_the_page_of_all_claims_has_a_section_for_each(table, monkeypatch):
    claim = replace(CLAIMS["gd-lower"], fidelity=("another *width*",))
    monkeypatch.setitem(CLAIMS, "gd-lower", claim)
    reach = {
        "figure": "gd-lower/reach.png",
        "caption": "how far",
        "law": "1/C (Theorem 2)",
        "onsets": [{"curve": "share", "text": "above 2 from 12 [10, beyond 1000] on"}],
    }
    two = [judged(), judged(state="inconclusive", power=None)]
    new = row("gd-lower", verdict="inconclusive", told="inconclusive (1 of 2 shown)", conditions=two, reach=reach)
    results = table.parent / "results"
    (results / "gd-lower").mkdir(parents=True)
    with pytest.raises(
        ValueError, match=r"results must hold the figure reach.png of every reach, got none at \S+; run again"
    ):
        merge(table, [new], results)
    (results / "gd-lower/reach.png").write_bytes(b"picture")
    (table.parent / "page.md").write_text("\n".join(MARKERS))
    merge(table, [new], results)
    assert (table.parent / "table/gd-lower.png").read_bytes() == b"picture"
    page = (table.parent / "page.md").read_text()
    assert "| [`gd-lower`](#gd-lower) | Zhang et al. | **inconclusive (1 of 2 shown)** |" in page
    section = page[page.index("### gd-lower\n") : page.index("### gd-lower-unsquared")]
    for said in (
        claim.claim,
        "**inconclusive (1 of 2 shown).**\n",
        "![how far](table/gd-lower.png)",
        "- proof: it: proved (in two steps)",
        "- shown: it over that 3 [2, 4], n = 20 (must be above 1; smallest effect 2; p = 0.001 against 1 after Holm, power 0.93)",
        "- inconclusive (too little power): it over that",
        "power unknown",
        "- reach, share: above 2 from 12 [10, beyond 1000] on",
        "- law: 1/C (Theorem 2)",
        r"- differs from the paper: another \*width\*",
        f"({claim.digest()}), when this had been run: the full run of 2026-11-22; changed:",
        "- run: 2026-01-02, abc",
    ):
        assert said in section, said
    assert "([`gd-lower`](docs/claims.md#gd-lower))" in placed(MARKED, stored_table(table), whole="docs/claims.md")
    short = placed(MARKED, stored_table(table))
    assert "**inconclusive (1 of 2 shown)** | inconclusive: it over that 3 [2, 4], n = 20 |" in short


def test_a_section_says_what_must_be_shown_and_why_and_then_every_number(table, monkeypatch):
    it = Condition(measure="it", null=1, effect=2, because="a factor of two counts", level="it has a scale")
    monkeypatch.setitem(CLAIMS, "adam-bound", replace(CLAIMS["adam-bound"], conditions=(it,)))
    (table.parent / "page.md").write_text("\n".join(MARKERS))
    merge(table, [])
    page = (table.parent / "page.md").read_text()
    section = page[page.index("### adam-bound\n") :]
    for said in (
        "- must be shown: it: above 1; smallest effect 2",
        "- smallest effect, 2: a factor of two counts",
        "- without a control: it has a scale",
    ):
        assert said in section, said
    measured = [{"text": "it over that 3 [2, 4], n = 20"}, {"text": "that at x < 3 is 5"}]
    merge(table, [row("adam-bound", conditions=[judged()], measured=measured, notes=["the rate lies at the edge"])])
    page = (table.parent / "page.md").read_text()
    section = page[page.index("### adam-bound\n") :]
    assert "must be shown" not in section
    assert "- note: the rate lies at the edge" in section
    assert "<summary>The other measured numbers (1)</summary>that at x &lt; 3 is 5</details>" in section


def test_the_page_says_what_decides_a_proof_and_how_a_verdict_is_read(table, monkeypatch):
    claim = replace(CLAIMS["gd-lower"], reading="Of *one* factor.", reach=None)
    monkeypatch.setitem(CLAIMS, "gd-lower", claim)
    theorem, identity = claim.proofs
    (table.parent / "page.md").write_text("\n".join(MARKERS))
    proofs = [
        {"statement": theorem, "state": "proved", "detail": "7 steps proved; 9 instances, 0 against it"},
        {"statement": identity, "state": "proved", "detail": "0 of 3 runs contradict it"},
    ]
    merge(table, [row("gd-lower", proofs=proofs)])
    page = (table.parent / "page.md").read_text()
    for said in (
        r"How to read it: Of \*one\* factor.",
        "- theorem gd-lower: proved (7 steps proved); tried beside the proof: 9 instances, 0 against it",
        f"proved, because {claim.arguments[identity]}; tried beside it: 0 of 3 runs contradict it",
    ):
        assert said in page, said
    with pytest.raises(ValueError, match=r"arguments of gd-lower must be of its proofs .* got one of 'that'"):
        replace(claim, arguments={"that": "so it is"})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"value": 1.2, "holm": 0.01}, "not shown (an effect of 2 is excluded; a smaller one is there): it over that"),
        ({"value": 0.8, "holm": 0.01}, "excluded; a smaller one on the other side is there): it over that"),
        ({"value": 1.2, "holm": 0.4}, "not shown (an effect of 2 is excluded): it over that"),
        ({"state": "inconclusive"}, "inconclusive (neither side is excluded): it over that"),
        ({"state": "shown", "absent": True}, "p = 0.001 against 2 after Holm"),
    ],
)
def test_a_small_p_value_of_a_condition_that_is_not_shown_is_explained(table, changes, said):
    (table.parent / "page.md").write_text("\n".join(MARKERS))
    merge(table, [row("adam-bound", conditions=[judged(**({"state": "not shown"} | changes))])])
    assert said in (table.parent / "page.md").read_text()


def test_an_estimate_shows_its_numbers(table, monkeypatch):
    claim = replace(CLAIMS["adam-bound"], unjudged="the law is open", unjudged_as="estimate")
    monkeypatch.setitem(CLAIMS, "adam-bound", claim)
    (table.parent / "page.md").write_text("\n".join(MARKERS))
    merge(
        table,
        [row("adam-bound", measured=[{"text": "share 0.63 [0.62, 0.64], n = 9"}], verdict="estimate", told="estimate")],
    )
    page = (table.parent / "page.md").read_text()
    section = page[page.index("### adam-bound\n") :]
    assert "**estimate.** The law is open." in section
    assert "- estimate: share 0.63 [0.62, 0.64], n = 9" in section


def test_merging_tells_the_reach_as_the_claim_has_it_now(table, monkeypatch):
    import pandas as pd

    from quadsim.theory.claims import Reach

    reach = Reach(
        variable="C",
        values=(1.0, 10.0),
        measure=lambda value, setting: {"share": [value]},
        quantity="share",
        null=None,
        onset=2.0,
        caption="in other words",
    )
    monkeypatch.setitem(CLAIMS, "gd-lower", replace(CLAIMS["gd-lower"], reach=reach))
    old = {
        "figure": "gd-lower/reach.png",
        "caption": "how far",
        "law": "",
        "onsets": [{"curve": "share", "text": "old"}],
    }
    results = table.parent / "results/gd-lower"
    results.mkdir(parents=True)
    (results / "reach.png").write_bytes(b"picture")
    with pytest.raises(
        ValueError, match=r"results must hold the curves of every reach, got \S+reach.parquet \(.*run again"
    ):
        merge(table, [row("gd-lower", reach=old)], results.parent)
    pd.DataFrame({"curve": "share", "x": [1.0, 10.0], "seed": 0, "value": [1.0, 4.0]}).to_parquet(
        results / "reach.parquet"
    )
    merge(table, [row("gd-lower", reach=old)], results.parent)
    (stored, *_) = stored_table(table)["claims"]
    assert stored["reach"]["onsets"][0]["text"] == "above 2 from 3.16 on"
    assert (stored["reach"]["caption"], stored["reach"]["seeds"]) == ("in other words", 1)


@pytest.mark.parametrize("state", ["shown", "not shown", "opposite shown"])
@pytest.mark.parametrize("power", [0.79, None])
def test_a_stored_condition_without_power_is_inconclusive(table, state, power):
    """Planted fault: a row of before the rule, or written by hand, that decides with a power of less than .8."""
    weak = judged(state=state, power=power, why="by an earlier rule")
    content = json.loads(table.read_text())
    content["claims"][0] |= {"verdict": state, "told": state, "conditions": [judged(why="power 0.93"), weak]}
    table.write_text(json.dumps(content))
    assert "holds verdicts on gd-lower of an earlier criterion" in stale(table)[0]
    merge(table, [])
    assert stale(table) == []
    (first, *_) = stored_table(table)["claims"]
    assert [one["state"] for one in first["conditions"]] == ["shown", "inconclusive"]
    assert first["told"] == "inconclusive (1 of 2 shown)"
    assert "1 of 2 conditions shown; inconclusive: it over that 3" in first["reason"]
    short = "power 0.79 for the named effect with 20 seeds; at this spread 0.8 needs 22 seeds"
    assert (short if power else "the power is not known") in first["reason"]
    assert "**inconclusive (1 of 2 shown)**" in (table.parent / "page.md").read_text()


def test_no_condition_of_the_table_of_this_repository_decides_without_power():
    rows = stored_table(Path(__file__).parents[2] / "docs/claims.json")["claims"]
    for one in (one for row in rows for one in row["conditions"]):
        assert one["state"] in ("inconclusive", "not comparable", "missing") or one["power"] >= 0.8, one["name"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "quick"}, r"size must be full, as in \S+, to merge a result into it, got quick; add --full"),
        ({"seed": 3}, r"seed must be 0, as in \S+, to merge a result into it, got 3"),
        ({"verdict": "not run", "reason": "needs an extra"}, "got gd-lower, which needs an extra"),
    ],
)
def test_what_does_not_belong_into_the_table_is_refused(table, changes, message):
    before = table.read_bytes()
    with pytest.raises(ValueError, match=message):
        merge(table, [row("adam-bound"), row("gd-lower", **changes)])
    assert table.read_bytes() == before


@pytest.mark.parametrize("content", ["[]", '{"claims": []}', '{"claims": [{"id": "a"}], "pages": []}'])
def test_another_document_is_no_stored_table(tmp_path, content):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(ValueError, match="merge must be a stored table"):
        stored_table(tmp_path / "t.json")


def test_a_page_without_markers_or_that_is_not_there_changes_nothing(table):
    before = table.read_bytes()
    (table.parent / "page.md").write_text("no markers")
    with pytest.raises(ValueError, match="the page must hold"):
        merge(table, [row("gd-lower", verdict="counter-example")])
    (table.parent / "page.md").unlink()
    with pytest.raises(ValueError, match=r"the pages of \S+ must be files that can be read, got page.md"):
        merge(table, [row("gd-lower", verdict="counter-example")])
    assert table.read_bytes() == before


def test_the_command_merges_what_it_ran(table):
    result = CliRunner().invoke(app, ["reproduce", "gd-lower", "--merge", str(table)])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "got quick; add --full" in result.stderr
    assert CliRunner().invoke(app, ["reproduce", "--merge", str(table.parent / "none.json")]).exit_code == 2
    table.write_text(json.dumps({"claims": [row(name, "quick") for name in IDS], "pages": ["page.md"]}))
    merge(table, [])
    before, out = lines(table), table.parent / "out"
    result = CliRunner().invoke(
        app, ["reproduce", "gd-lower-unsquared", "--merge", str(table), "--out", str(out), "--quiet"]
    )
    assert result.exit_code == 0, result.stderr
    assert f"Merged into {table}" in result.stdout
    after = lines(table)
    assert [name for name in IDS if after[name] != before[name]] == ["gd-lower-unsquared"]
    assert json.loads(after["gd-lower-unsquared"])["verdict"] == "counter-example"
    assert "**counter-example**" in (table.parent / "page.md").read_text()


def test_the_module_makes_the_pages_again(table):
    before = (table.parent / "page.md").read_text()
    (table.parent / "page.md").write_text("\n".join(("before", MARKED, "after")))
    assert CliRunner().invoke(program, [str(table)]).exit_code == 0
    assert (table.parent / "page.md").read_text() == before
    for arguments in ([], [str(table), str(table.parent)], ["a", "b", "c"]):
        result = CliRunner().invoke(program, arguments)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.stderr
