"""The installed package in other people's environments: their test suites, their folders, their Python."""

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import quadsim

HEAVY = ("torch", "sympy", "numpy", "pandas", "scipy", "z3", "numba", "matplotlib")

FOREIGN = [plugin.name for plugin in entry_points(group="pytest11") if plugin.name != "quadsim"]
"""Other plugins that are installed here, which may load heavy libraries themselves."""
PYTEST = ("-m", "pytest", "-p", "no:cacheprovider", *(part for name in FOREIGN for part in ("-p", f"no:{name}")))


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    own = os.environ | {"PYTEST_ADDOPTS": ""} | environment
    return subprocess.run([sys.executable, *command], cwd=cwd, env=own, capture_output=True, text=True, timeout=120)


@pytest.fixture
def foreign_suite(tmp_path):
    """A suite that has nothing to do with quadsim and lists the heavy modules that were loaded for it."""
    (tmp_path / "conftest.py").write_text(
        f"import sys\ndef pytest_unconfigure():\n    print('loaded', [m for m in {HEAVY} if m in sys.modules])\n"
    )
    (tmp_path / "test_trivial.py").write_text("def test_trivial():\n    pass\n")
    return tmp_path


def test_a_foreign_suite_pays_nothing_for_the_plugin(foreign_suite):
    done = run(*PYTEST, "-s", "--trace-config", cwd=foreign_suite)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "quadsim.theory.pytest_plugin" in done.stdout  # it was there
    assert "loaded []" in done.stdout


def test_a_broken_library_stops_no_foreign_suite(foreign_suite, tmp_path_factory):
    broken = tmp_path_factory.mktemp("broken")
    for name in HEAVY:
        (broken / f"{name}.py").write_text(f"raise OSError('{name} is broken')\n")
    done = run(*PYTEST, cwd=foreign_suite, PYTHONPATH=str(broken))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


@pytest.mark.parametrize("contents", [(), ("simulator",), ("results.txt",)])
def test_a_folder_of_our_name_in_the_working_directory_hides_nothing(tmp_path, contents):
    """A folder without `__init__.py` is no package, so a regular package elsewhere on the path comes before it.

    The package is copied, as it is installed by a user. An editable installation is found by a hook of setuptools that Python
    asks after its own path, so in such a folder it finds the parts but not the version.
    """
    site = tmp_path / "site-packages"
    (site / "quadsim").mkdir(parents=True)
    for path in Path(quadsim.__file__).parent.glob("*.py"):
        (site / "quadsim" / path.name).write_bytes(path.read_bytes())
    (site / "quadsim" / "simulator").mkdir()
    (site / "quadsim" / "simulator" / "__init__.py").write_text("installed = True\n")
    (tmp_path / "quadsim").mkdir()
    for name in contents:
        folder = tmp_path / "quadsim" / name
        folder.write_text("") if folder.suffix else folder.mkdir()
    code = "import quadsim, quadsim.simulator as s; print(quadsim.__file__, quadsim.__version__, s.installed)"
    done = run("-c", code, cwd=tmp_path, PYTHONPATH=str(site))
    assert done.stdout.split() == [str(site / "quadsim" / "__init__.py"), quadsim.__version__, "True"], done.stderr


def test_python_m_quadsim_is_the_command(tmp_path):
    assert run("-m", "quadsim", "--version", cwd=tmp_path).stdout == f"quadsim {quadsim.__version__}\n"


def test_parts_are_there_as_attributes():
    done = run("-c", "import quadsim, sys; print(quadsim.theory.check.__name__, dir(quadsim))", cwd=Path.cwd())
    assert done.stdout.startswith("check ["), done.stderr
    with pytest.raises(AttributeError, match=r"no attribute 'sweep'; it has __version__, cli, simulator, theory"):
        _ = quadsim.sweep
