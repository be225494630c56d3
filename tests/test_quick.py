"""One short test for every room, for whoever has just changed something: `pytest -m quick`, some ten seconds on one core."""

import subprocess
import sys

import numpy as np
import pytest
import sympy as sp
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.simulator import (
    BlockQuadratic,
    Rule,
    SweepConfig,
    ToyProblem,
    Trajectory,
    load_results,
    simulate,
    sweep,
    symbols,
    train,
)
from quadsim.simulator.curvature.inspection import inspect_model
from quadsim.simulator.models import TokenMap
from quadsim.simulator.support.checks import check_interval
from quadsim.theory import THEOREMS, assert_bound, check, judge, prove

pytestmark = pytest.mark.quick

GRID = SweepConfig(heterogeneity=(1, 10), optimizers=("gd", "heavy-ball"), seeds=2, steps=200, lr=(0.01, 0.1))


@pytest.fixture(scope="module")
def problem():
    return BlockQuadratic.generate(blocks=3, block_size=3, heterogeneity=10, problems=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return sweep(GRID, judge, out=tmp_path_factory.mktemp("quick") / "sweep").folder


def test_support_refuses_in_one_line():
    with pytest.raises(ValueError, match=r"lr must be a number above 0, got -1; give a value in that range"):
        check_interval("lr", -1, 0.0, low_open=True)


def test_rules_and_engines_agree(problem):
    runs = [
        simulate(problem, "heavy-ball", lr=0.05, steps=50, engine=engine) for engine in ("closed-form", "reference")
    ]
    np.testing.assert_allclose(runs[0].gap, runs[1].gap, rtol=1e-10)


def test_a_rule_of_ones_own_runs(problem):
    mine = Rule(name="mine", step=-symbols.lr * sp.tanh(symbols.g))
    run = simulate(problem, mine, lr=0.05, steps=50, engine="reference")
    assert (run.gap[:, :, -1] < run.gap[:, :, 0]).all()


def test_a_run_is_stored(problem, tmp_path):
    run = simulate(problem, "gd", lr=0.05, steps=20)
    run.save(tmp_path / "run.nc")
    np.testing.assert_array_equal(Trajectory.load(tmp_path / "run.nc").gap, run.gap)


def test_a_model_is_trained_and_inspected():
    small = ToyProblem.generate("mlp", TokenMap(6), width=4, layers=1, problems=1)
    assert (train(small, "gd", lr=[0.5], steps=20).final_loss < np.log(6)).all()
    assert set(inspect_model(small, "layer", curvature=False).blocks["block"]) >= {"head"}


def test_a_theorem_is_proved_and_a_run_is_held_against_it(problem):
    assert {prove(step).status for step in THEOREMS["gd-upper"].proof} <= {"proved", "cited"}
    run = simulate(problem, "gd", lr=0.05, steps=50)
    assert_bound("gd-upper", run)
    assert check("adam-cycle", run).verdict.ravel()[0] == "not applicable"


def test_a_sweep_leaves_results_figures_and_a_report(folder):
    results = load_results(folder)
    assert len(results.summary) == 2 * 2 * 2 * 2
    assert results.has_figures
    assert "<table" in (folder / "report.html").read_text(encoding="utf-8")


def test_the_commands_answer(folder):
    for arguments, text in (
        (["rules", "adam"], "beta1"),
        (["theorems", "gd-upper"], "proved"),
        (["report", folder], "gd"),
    ):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == 0, result.output
        assert text in result.output


def test_help_needs_no_heavy_library():
    code = (
        "import sys, quadsim.cli.app; print(sorted({'torch', 'sympy', 'numpy', 'pandas', 'numba'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
