"""The house: packages, the direction of the arrows, examples in docstrings."""

import doctest
import importlib
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
