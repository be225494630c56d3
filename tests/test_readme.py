"""What the README and the pages beside it show in Python runs, and their tables are made from results."""

import json
import re
from pathlib import Path

import pytest

from quadsim.cli.claims_table import markdown, placed
from quadsim.theory.claims import CLAIMS

ROOT = Path(__file__).parent.parent
PAGES = {name: (ROOT / name).read_text() for name in ("README.md", "docs/toy-models.md", "docs/bounds.md")}
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


def test_python_of_the_page_on_bounds_runs():
    found = run_blocks("docs/bounds.md")["found"]
    assert found.verdict[0].tolist() == ["refuted", "refuted", "not applicable"]
    assert str(found.step[0, 1]) in PAGES["docs/bounds.md"]
    assert found.reason[0, 1] in PAGES["docs/bounds.md"]


def test_links_between_the_pages_lead_somewhere():
    assert "](docs/bounds.md)" in README
    for name, text in PAGES.items():
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
            assert (ROOT / name).parent.joinpath(target).is_file(), f"{name}: {target}"


def test_the_table_of_claims_is_made_from_a_full_run():
    """Of these very claims: a claim or criterion that has changed since shows in its hash."""
    document = json.loads((ROOT / "docs/claims.json").read_text())
    assert placed(README, markdown(document)) == README
    assert {entry["id"]: entry["criterion"]["hash"] for entry in document["claims"]} == {
        name: claim.digest for name, claim in CLAIMS.items()
    }
    assert {entry["size"] for entry in document["claims"]} == {"full"}
    assert {entry["verdict"] for entry in document["claims"]} > {"reproduced", "refuted", "partly"}


def test_the_three_line_test_passes_in_a_strangers_folder(pytester):
    (test,) = (block for block in BLOCKS["README.md"] if "def test_" in block)
    pytester.makepyfile(test)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


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
