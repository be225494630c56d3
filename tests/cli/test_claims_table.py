"""The stored table of claims: merging one result, what is refused, and what a test says where a result is missing."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.cli.claims_table import MARKERS, merge, program, stale, stored_table
from quadsim.theory.claims import CLAIMS, Setting

IDS = ("gd-lower", "gd-lower-unsquared", "adam-bound")


def row(name: str, size: str = "full", **changes) -> dict:
    made = {"date": "2026-01-02", "commit": "abc", "command": "quadsim reproduce --full"}
    return {
        "id": name,
        "claim": f"An earlier sentence of {name}.",
        "group": "nobody",
        "criterion": {"hash": CLAIMS[name].digest(Setting(size))},
        "verdict": "reproduced",
        "reason": "it was",
        "measured": [{"name": "m", "text": "m 0.1", "value": 0.1, "seeds": 0}],
        "conditions": [{"measure": "m", "state": "holds"}],
        "size": size,
        "seed": 0,
        "made": made,
    } | changes


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Of three claims, which are all that there are, with one page."""
    from quadsim.theory.claims import running

    for claims in (running.CLAIMS, sys.modules["quadsim.cli.claims_table"].CLAIMS):
        for name in set(claims) - set(IDS):
            monkeypatch.delitem(claims, name)
    (tmp_path / "page.md").write_text("\n".join(("before", *MARKERS, "after")))
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"claims": [row(name) for name in IDS], "pages": ["page.md"]}))
    merge(path, [])
    return path


def lines(path: Path) -> dict[str, bytes]:
    return {text[8 : text.index(b'"', 8)].decode(): text.rstrip(b",") for text in path.read_bytes().split(b"\n")[1:-3]}


def test_merging_one_result_leaves_the_other_rows(table):
    before, page = lines(table), (table.parent / "page.md").read_text()
    assert list(before) == list(IDS)
    merge(table, [row("gd-lower-unsquared", verdict="refuted", made={"date": "2026-03-04", "commit": "unknown"})])
    after = lines(table)
    assert list(after) == list(IDS)  # in the same order
    assert [name for name in IDS if after[name] != before[name]] == ["gd-lower-unsquared"]
    changed = (table.parent / "page.md").read_text()
    assert [old for old, new in zip(page.split("\n"), changed.split("\n"), strict=True) if old != new] == [
        line for line in page.split("\n") if "Of all 3 claims" in line or "`gd-lower-unsquared`" in line
    ]
    assert "| 2026-03-04 |" in changed
    assert "| 2026-01-02, abc |" in changed
    assert changed.startswith("before\n")
    assert stale(table) == []


def test_a_table_has_the_sentences_of_the_code(table, monkeypatch):
    claims = sys.modules["quadsim.cli.claims_table"].CLAIMS
    monkeypatch.setitem(claims, "gd-lower", replace(claims["gd-lower"], claim="In other words."))
    (complaint,) = stale(table)
    assert "page.md are not made of" in complaint
    assert f"run `python -m quadsim.cli.claims_table {table}`" in complaint
    before = table.read_bytes()
    merge(table, [])
    assert "| In other words. (`gd-lower`)" in (table.parent / "page.md").read_text()
    assert (table.read_bytes(), stale(table)) == (before, [])


def test_a_claim_without_a_result_is_one_line_with_its_command(table):
    content = json.loads(table.read_text())
    content["claims"][2]["criterion"]["hash"] = "of another criterion"
    table.write_text(json.dumps(content | {"claims": content["claims"][1:]}))
    (complaint,) = stale(table)
    assert complaint.endswith(f"run `quadsim reproduce gd-lower adam-bound --full --merge {table}`")
    content["claims"][1] |= {"id": "of-another-version"}
    table.write_text(json.dumps(content))
    assert "of-another-version, no claim of the code; delete" in stale(table)[1]


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
        merge(table, [row("gd-lower", verdict="refuted")])
    (table.parent / "page.md").unlink()
    with pytest.raises(ValueError, match=r"the pages of \S+ must be files that can be read, got page.md"):
        merge(table, [row("gd-lower", verdict="refuted")])
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
    assert json.loads(after["gd-lower-unsquared"])["verdict"] == "refuted"
    assert "**refuted**" in (table.parent / "page.md").read_text()


def test_the_module_makes_the_pages_again(table):
    before = (table.parent / "page.md").read_text()
    (table.parent / "page.md").write_text("\n".join(("before", *MARKERS, "after")))
    assert CliRunner().invoke(program, [str(table)]).exit_code == 0
    assert (table.parent / "page.md").read_text() == before
    for arguments in ([], [str(table), str(table.parent)], ["a", "b", "c"]):
        result = CliRunner().invoke(program, arguments)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.stderr
