"""Sessions, hooks and workflows name files, tools and versions that exist."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOX = ast.parse((ROOT / "noxfile.py").read_text())
SESSIONS = {
    f.name: f for f in NOX.body if isinstance(f, ast.FunctionDef) and "session" in ast.unparse(f.decorator_list[0])
}
WORKFLOWS = {path.stem: path.read_text() for path in (ROOT / ".github/workflows").glob("*.yml")}


def extras_named_in(text: str) -> set[str]:
    return {name for group in re.findall(r"\.\[([\w,]+)\]", text) for name in group.split(",")}


def test_the_sessions_of_nox():
    assert set(SESSIONS) == {"quick", "tests", "lint", "docs", "wheel", "bench"}
    assert all(ast.get_docstring(function) for function in SESSIONS.values())
    assert extras_named_in(ast.unparse(NOX)) <= PROJECT["optional-dependencies"].keys()


def test_nox_and_workflows_run_the_same_pythons():
    (versions,) = (
        ast.literal_eval(node.value)
        for node in NOX.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PYTHONS"
    )
    assert yaml.safe_load(WORKFLOWS["tests"])["jobs"]["linux"]["strategy"]["matrix"]["python"] == versions
    assert PROJECT["requires-python"] == f">={versions[0]}"


def test_lint_of_nox_is_that_of_ci():
    for command in ("ruff check .", "ruff format --check .", "mypy --config-file"):
        assert command in (ROOT / ".ci/run").read_text()
        assert repr(command.split())[1:-1] in ast.unparse(SESSIONS["lint"])


def test_hooks_run_tools_of_the_extra_dev():
    """Hooks are local: nothing is fetched, and the versions are those of the constraints."""
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    groups = PROJECT["optional-dependencies"]
    tools = {re.split(r"[>=]", requirement)[0] for group in ("dev", "test") for requirement in groups[group]} | {"git"}
    assert {hook["id"] for hook in repository["hooks"]} == {"ruff-check", "ruff-format", "nbstripout", "whitespace"}
    assert {hook["entry"].split()[0] for hook in repository["hooks"]} <= tools
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow(name):
    """It reads, holds no secret, has the least rights, and its commands name extras and files of this repository."""
    text = WORKFLOWS[name]
    workflow = yaml.safe_load(text)
    assert "secrets." not in text
    assert workflow["permissions"] == {"contents": "read"}
    assert extras_named_in(text) <= PROJECT["optional-dependencies"].keys()
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        assert set(job.get("permissions", {})) <= {"id-token", "pages"}  # trusted publishing; the pages of the site
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)


def test_ci_runs_in_a_workflow_and_publishing_waits_for_a_tag():
    assert "run: .ci/run" in WORKFLOWS["tests"]
    release = yaml.safe_load(WORKFLOWS["release"])
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML reads `on` as true
    assert release["jobs"]["publish"]["needs"] == "build"


def test_templates_read():
    forms = [yaml.safe_load(path.read_text()) for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")]
    assert sum("body" in form for form in forms) == 2
    assert ".ci/run" in (ROOT / ".github/pull_request_template.md").read_text()


def test_result_folders_alone_are_ignored():
    """A folder of the product that .gitignore hides is missing from every clone, and no tool looks into it."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout of git")
    hidden = subprocess.run(
        ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "simulator", "theory", "cli", "package"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert [name for name in hidden if not name.endswith((".pyc", ".pyo")) and "cache" not in name] == []


def test_the_list_of_slow_tests_names_tests_that_are_there():
    names = (ROOT / "tests/slow.txt").read_text(encoding="utf-8").splitlines()[2:]
    assert names
    assert len(set(names)) == len(names)
    for path, _, function in (name.partition("[")[0].partition("::") for name in names):
        assert f"def {function}(" in (ROOT / path).read_text(encoding="utf-8"), (path, function)
