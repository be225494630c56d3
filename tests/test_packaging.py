"""The house: packages, the direction of the arrows, examples in docstrings."""

import doctest
import importlib
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {"package": "quadsim"} | {name: f"quadsim.{name}" for name in ("simulator", "theory", "cli")}


def dotted(path: Path) -> str:
    """The name under which a file, or a folder with an `__init__.py`, is imported."""
    folder, *rest = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([FOLDERS[folder], *rest]).removesuffix(".__init__")


MODULES = sorted(
    dotted(path) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if path.name != "__main__.py"
)


def test_every_package_is_listed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = [dotted(path.parent) for folder in FOLDERS for path in (ROOT / folder).rglob("__init__.py")]
    assert sorted(settings["packages"]) == sorted(found)
    assert settings["package-dir"].items() >= {name: folder for folder, name in FOLDERS.items()}.items()


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert result.failed == 0


def test_the_public_names():
    """A name that is dropped or renamed breaks somebody's script: change this list together with the changelog."""
    import quadsim.simulator
    import quadsim.theory

    assert sorted(quadsim.simulator.__all__) == sorted([
        "BlockMean",
        "BlockQuadratic",
        "Hyperparameter",
        "ModelSweepConfig",
        "Norm",
        "RULES",
        "Ratio",
        "Results",
        "Rule",
        "Schedule",
        "SweepConfig",
        "Total",
        "ToyProblem",
        "TrainingRun",
        "Trajectory",
        "blocks_of",
        "extend",
        "grid",
        "load_optimizer_file",
        "load_problem",
        "load_results",
        "measure",
        "rule_from_document",
        "rule_to_document",
        "simulate",
        "simulate_torch",
        "sweep",
        "symbols",
        "train",
    ])
    assert sorted(quadsim.theory.__all__) == sorted([
        "Check",
        "Discharge",
        "Hypothesis",
        "LocalSteps",
        "Step",
        "THEOREMS",
        "Theorem",
        "VERDICTS",
        "assert_bound",
        "check",
        "guarantees",
        "judge",
        "local_steps",
        "prove",
    ])
    for package in (quadsim.simulator, quadsim.theory):
        assert all(getattr(package, name) is not None for name in package.__all__)


def test_constraints_pin_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    wanted = {
        requirement.split(">=")[0].split("==")[0]
        for group in (project["dependencies"], *project["optional-dependencies"].values())
        for requirement in group
        if not requirement.startswith("quadsim")
    }
    assert wanted <= pinned


def test_what_a_published_package_says():
    """Every link of the project, every supported Python, and types of all four packages; the open placeholder is in the checklist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"Documentation", "Source", "Issues", "Changelog"} <= project["urls"].keys()
    if any("OWNER" in url for url in project["urls"].values()):
        assert "`OWNER`" in (ROOT / "RELEASING.md").read_text()
    versions = {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13, 14)}
    assert versions <= set(project["classifiers"])
    assert all((ROOT / folder / "py.typed").is_file() for folder in FOLDERS)


def test_the_checklist_of_a_release_names_files_and_sessions_that_exist():
    text = (ROOT / "RELEASING.md").read_text()
    sessions = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE))
    assert set(re.findall(r"nox -s (\w+)", text)) <= sessions
    named = set(re.findall(r"`((?:\.ci|tests)/[\w./]+|[A-Z]+\.(?:md|cff)|\w+\.(?:toml|yml))`", text))
    known = {path.name for path in (ROOT / ".github/workflows").iterdir()}
    assert {name for name in named if not (ROOT / name).is_file()} <= known
    assert {"`pyproject.toml`", "`CITATION.cff`", "`CHANGELOG.md`"} <= {f"`{name}`" for name in named}
