"""The arrows between rooms: the contracts of pyproject.toml, the size of rooms and files, and what is checked by them."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("simulator", "theory", "cli")
FILES = sorted(path for part in PARTS for path in (ROOT / part).rglob("*.py"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The package as it is imported, which the folders of the checkout are not: quadsim/ with links of the parts."""
    folder = tmp_path_factory.mktemp("tree")
    (folder / "quadsim").mkdir()
    for path in (*(ROOT / "package").glob("*.py"), *(ROOT / part for part in PARTS)):
        (folder / "quadsim" / path.name).symlink_to(path, target_is_directory=path.is_dir())
    return folder


def lint_imports(tree: Path, configuration: str) -> subprocess.CompletedProcess[str]:
    (tree / "contracts.toml").write_text(configuration, encoding="utf-8")
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    return subprocess.run(
        [*command, "contracts.toml"],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree), "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
    )


def test_every_contract_is_kept(tree):
    done = lint_imports(tree, (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert done.returncode == 0, done.stdout + done.stderr
    (files,) = re.findall(r"Analyzed (\d+) files", done.stdout)
    assert int(files) == len(FILES) + len(list((ROOT / "package").glob("*.py")))
    assert "0 broken" in done.stdout


def test_an_arrow_that_points_back_is_seen(tree):
    """Also one inside a function: the contract of layers is turned round, and must break."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    turned = text.replace(
        '["quadsim.cli", "quadsim.theory", "quadsim.simulator"]',
        '["quadsim.simulator", "quadsim.theory", "quadsim.cli"]',
    )
    assert turned != text
    done = lint_imports(tree, turned)
    assert done.returncode == 1
    assert "quadsim.theory is not allowed to import quadsim.simulator" in done.stdout


def test_no_room_is_crowded():
    """At most 14 modules a folder, and none in simulator/ itself: what is added there belongs to a room."""
    for part in PARTS:
        for folder in (ROOT / part, *(path.parent for path in (ROOT / part).rglob("__init__.py"))):
            modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
            assert len(modules) <= 14, f"{folder.relative_to(ROOT)} holds {len(modules)} modules"
    assert [path.name for path in (ROOT / "simulator").glob("*.py")] == ["__init__.py"]


def lines_of_code(function):
    """Lines of a function, its signature included and its docstring left out."""
    first = function.body[0]
    own = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return function.end_lineno - function.lineno + 1 - (first.end_lineno - first.lineno + 1 if own else 0)


def test_no_function_has_sixty_lines():
    """A function that a reader cannot see whole is divided into named steps of its work."""
    for path in (*FILES, *(ROOT / "package").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert lines_of_code(node) < 60, f"{path.relative_to(ROOT)}: divide {node.name} into named steps"


def test_a_package_hands_on_nothing_that_is_named_like_its_module():
    """Else `import quadsim.simulator.sweep as m` gives a function, or the name a module, by the order of imports."""
    for init in (path for path in FILES if path.name == "__init__.py"):
        inside = {
            path.stem for path in init.parent.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
        }
        for source in (init, init.with_suffix(".pyi")):
            if not source.is_file():
                continue
            for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    handed = {alias.asname or alias.name for alias in node.names} & inside
                    own = f"quadsim.{'.'.join(init.parent.relative_to(ROOT).parts)}"
                    assert not handed or node.module == own, f"{source.relative_to(ROOT)} hands on {handed}"


def test_the_settings_of_the_contracts_are_read():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    assert {contract["id"] for contract in contracts} >= {"parts", "simulator", "theory", "cycles", "arithmetic"}
