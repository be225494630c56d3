"""The house: packages, the direction of the arrows, examples in docstrings."""

import ast
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


@pytest.mark.parametrize(
    ("folder", "forbidden"), [("simulator", {"quadsim.theory", "quadsim.cli"}), ("theory", {"quadsim.cli"})]
)
def test_arrows_point_one_way(folder, forbidden):
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert ".".join(name.split(".")[:2]) not in forbidden, f"{path} imports {name}"


def test_theory_uses_no_engine():
    """Statements and checks use data types and symbolic rules only, never an engine's arithmetic."""
    experiments = {"verify.py", "instances.py", "tightness.py", "false_claims.py"}  # they simulate, as any user does
    for path in (ROOT / "theory").rglob("*.py"):
        if path.name in experiments or path.parent.name == "claims":
            continue
        assert "quadsim.simulator.engines" not in path.read_text(), path


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert result.failed == 0


def test_the_public_names():

    from quadsim.theory import THEOREMS, Theorem

    assert all(isinstance(theorem, Theorem) for theorem in THEOREMS.values())


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
