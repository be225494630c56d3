"""What a sweep imports before its table is printed, once everything that it compiles and derives is in the cache."""

import os
import subprocess
import sys

import pytest

UNTIL_THE_TABLE = """
import sys
import quadsim.cli.text.stored_table as text

def stop(printed, **how):
    print(*(name for name in ("sympy", "numba", "torch", "xarray", "matplotlib", "scipy", "z3") if name in sys.modules))
    print(printed.tables, printed.answers)
    raise SystemExit(0)

text.print_answer = stop
from quadsim.cli.app import main
main()
"""


@pytest.mark.slow
def test_a_sweep_on_a_warm_cache_imports_neither_sympy_nor_numba_before_its_table(tmp_path):
    """The first process fills the cache, and both print the same numbers."""
    (tmp_path / "cache").mkdir(mode=0o700)
    options = ["--optimizers", "gd,heavy-ball,adam", "--heterogeneity", "10", "--seeds", "2", "--steps", "50"]
    found = []
    for name in ("cold", "warm"):
        done = subprocess.run(
            [sys.executable, "-c", UNTIL_THE_TABLE, "sweep", *options, "--no-figures", "--out", name],
            cwd=tmp_path,
            env={**os.environ, "QUADSIM_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.split("\n", 1))
    (cold, first), (warm, second) = found
    assert "sympy" in cold
    assert "numba" in cold
    assert warm == ""
    assert first == second
