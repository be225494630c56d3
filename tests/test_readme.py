"""What the README and the pages beside it show in Python runs, and their tables are made from results."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from quadsim.cli.app import app
from quadsim.cli.claims_markdown import markdown, placed
from quadsim.cli.claims_table import stale, stored_table
from quadsim.theory.claims import CLAIMS, VERDICTS

ROOT = Path(__file__).parent.parent
FILES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md")))
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in FILES}
README = PAGES["README.md"]
BLOCKS = {name: re.findall(r"```python\n(.*?)```", text, re.DOTALL) for name, text in PAGES.items()}


def run_blocks(name: str) -> dict:
    names: dict = {}
    for block in BLOCKS[name]:
        exec(block, names)
    return names


def test_python_of_the_readme_runs():
    assert len(BLOCKS["README.md"]) == 3
    assert run_blocks("README.md")["run"].gap.shape == (16, 3, 1001)


def test_python_of_the_page_on_toy_models_runs():
    trained = run_blocks("docs/toy-models.md")["trained"]
    assert trained.steps_to_tolerance.shape == (4, 3)
    assert (trained.status == "converged").any()


COMMANDS = sorted({
    re.split(" #| > ", line)[0].strip()
    for text in PAGES.values()
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for line in re.split(r"\n|&&", block)
    if line.strip().startswith("quadsim ")
})


def test_commands_of_the_pages_have_options_that_exist():
    group = typer.main.get_command(app)
    assert len(COMMANDS) > 20
    for line in COMMANDS:
        name, *arguments = shlex.split(line)[1:]
        with group.commands[name].make_context(name, arguments):  # parses; nothing runs
            pass


def test_the_readme_is_short_and_leads_to_the_list_of_pages():
    assert len(README.encode()) < 12_000
    assert "](docs/contents.md)" in README


def test_the_list_of_pages_and_the_menu_of_the_site_have_every_page():
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    linked = set(re.findall(r"\]\(([^)#]+\.md)", PAGES["docs/contents.md"]))
    assert there - linked == {"contents.md"}, "add a line to docs/contents.md"
    menu = set(re.findall(r"^ +- (?:[^:\n]+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    notebooks = {
        f"notebooks/{path.stem}.md" for path in (ROOT / "notebooks").glob("*.ipynb")
    }  # made while the site is built
    assert menu == there | notebooks, "add a line to nav in mkdocs.yml"


def test_links_between_the_pages_lead_somewhere():
    for name, text in PAGES.items():
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            made = target == "explorer.html" or target.startswith(
                "notebooks/"
            )  # by the hooks of mkdocs, which checks links to them
            assert made or (ROOT / name).parent.joinpath(target).is_file(), f"{name}: {target}"


def anchors(text: str) -> set[str]:
    """The anchors that a page gets from its headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_anchors_of_links_exist():
    for name, text in PAGES.items():
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", text):
            page = (ROOT / name).parent / target if target else ROOT / name
            assert anchor in anchors(page.read_text(encoding="utf-8")), f"{name}: {target}#{anchor}"


def test_the_tables_of_claims_are_made_from_full_runs():
    """Of these very claims; one whose criterion has changed since, or that was not run in full, is on the pages as such."""
    complaints = stale(ROOT / "docs/claims.json")
    assert not complaints, "\n".join(complaints)
    for name, rows in {
        "README.md": r"\(\[`[\w-]+`\]\(docs/claims.md#[\w-]+\)\) \| ",
        "docs/claims.md": r"\[`[\w-]+`\]\(",
    }.items():
        expected = 6 if name == "README.md" else len(CLAIMS)
        assert len(re.findall(rf"^\| .*{rows}.*\*\* \|", PAGES[name], re.MULTILINE)) == expected, name
    for claim in CLAIMS:
        assert f"\n### {claim}\n" in PAGES["docs/claims.md"]
    rows = stored_table(ROOT / "docs/claims.json")["claims"]
    assert {(row["size"], row["seed"]) for row in rows} == {("full", 0)}
    assert {row["verdict"] for row in rows} <= set(VERDICTS) - {"not run"}
    unjudged = {row["id"]: row["verdict"] for row in rows if row["verdict"] in ("withdrawn", "estimate")}
    assert unjudged == {row["id"]: CLAIMS[row["id"]].unjudged_as for row in rows if CLAIMS[row["id"]].unjudged}
    assert {tuple(row["made"]) for row in rows} == {("date", "commit", "command")}


def test_a_table_shows_the_claims_that_its_marker_lists():
    document = json.loads((ROOT / "docs/claims.json").read_text())
    text = placed("a\n<!-- claims: begin soft-sign gd-lower -->an earlier table<!-- claims: end -->\nb", document)
    assert re.findall(r"\(`([\w-]+)`\)", text) == ["soft-sign", "gd-lower"]
    assert "an earlier table" not in text
    assert placed(text, document) == text
    with pytest.raises(ValueError, match=r"claim must be one of .* got 'gd-lwer'; did you mean 'gd-lower'\?"):
        markdown(document, ["gd-lwer"])
    with pytest.raises(ValueError, match="the page must hold <!-- claims: begin -->"):
        placed("no markers", document)


def test_the_three_line_test_passes_in_a_strangers_folder(pytester):
    (test,) = (block for block in BLOCKS["README.md"] if "def test_" in block)
    pytester.makepyfile(test)
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_a_false_claim_fails_in_a_strangers_folder(pytester):
    (test,) = (block for block in BLOCKS["README.md"] if "def test_" in block)
    pytester.makepyfile(test.replace('"gd", lr=', '"adam", lr='))
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*gd-upper: not applicable on problem 0*"])


@pytest.mark.parametrize("command", re.findall(r"```sh\n(pip install.*?)\n```", README))
def test_the_two_commands_are_what_ci_calls(command):
    ci = (ROOT / ".ci/run").read_text()
    if "pytest" in command:
        assert command.replace("pip install", "pip install -q") in ci
    else:
        assert command == "pip install -c constraints.txt . && quadsim sweep --heterogeneity 1,10,100"
