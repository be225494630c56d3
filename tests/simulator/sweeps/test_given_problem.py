"""A sweep over a problem of a user's own: blocks of a logistic regression, from file to report, also on another machine."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.simulator import BlockQuadratic, SweepConfig, blocks_of, load_problem, load_results, simulate, sweep
from quadsim.simulator.problems.files import write_blocks
from quadsim.simulator.support import store
from quadsim.simulator.sweeps.config.families import config_from_json
from quadsim.simulator.sweeps.config.given import GivenProblem

SHORT = {"seeds": 3, "steps": 200, "lr_density": 1, "optimizers": ("gd", "adam:beta1=0")}
OPTIONS = ["--seeds", 3, "--steps", 200, "--lr-density", 1, "--optimizers", "gd,adam:beta1=0", "--quiet"]


@pytest.fixture(scope="module")
def breast_cancer():
    """Hessian blocks at w = 0 of a logistic regression on 569 x 30 standardised features: mean, se and worst of ten."""
    data = pytest.importorskip("sklearn.datasets").load_breast_cancer()
    x = torch.tensor((data.data - data.data.mean(axis=0)) / data.data.std(axis=0))
    y = torch.tensor(data.target, dtype=torch.float64)
    model = torch.nn.Linear(30, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    return blocks_of(model, lambda z, y: loss(z[:, 0], y), (x, y), partition=[10, 10, 10])


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


def test_blocks_of_a_logistic_regression_run_and_sweep_from_a_file(breast_cancer, run, tmp_path):
    write_blocks(tmp_path / "blocks.npz", breast_cancer)
    problem = load_problem("blocks.npz", problems=3)
    gd = simulate(problem, "gd", lr=1 / problem.block_smoothness.max(), steps=10_000, record="log")
    assert (gd.status == "converged").any() or gd.gap[..., -1].max() < gd.gap[..., 0].min()
    found = run("sweep", "--problem-file", "blocks.npz", *OPTIONS, "--out", "own")
    assert found.exit_code == 0, found.stderr
    results = load_results(tmp_path / "own")
    assert results.best["case"].unique().tolist() == ["blocks.npz"]
    assert results.best["block_size"].unique().tolist() == ["10+10+10"]
    row = results.summary.query("optimizer == 'gd'").iloc[0]
    alone = simulate(load_problem("blocks.npz", problems=3), "gd", lr=row["lr"], steps=200)
    assert row["final_gap"] == alone.gap[int(row["seed"]), 0, -1]
    assert row["heterogeneity"] == pytest.approx(problem.achieved["heterogeneity"][0])
    assert any(note.startswith("blocks.npz: 3 given blocks (sizes 10, 10, 10). Starts: drawn") for note in results.notes)
    text = json.loads((tmp_path / "own/config.json").read_text())
    assert set(text["problem"]) == {"name", "partition", "start", "sha256"}
    assert "heterogeneity" not in text


def test_a_folder_reports_and_repeats_without_the_file(run, tmp_path):
    np.savez(tmp_path / "mine.npz", a=np.diag([1.0, 4.0]), b=[[9.0]])
    assert run("sweep", "--problem-file", "mine.npz", *OPTIONS, "--out", "first").exit_code == 0
    (tmp_path / "mine.npz").unlink()
    shutil.move(tmp_path / "first", tmp_path / "elsewhere")
    assert run("report", "elsewhere").exit_code == 0
    again = run("sweep", "--config", "elsewhere/config.json", "--quiet", "--out", "second")
    assert again.exit_code == 0, again.stderr
    one, two = (load_results(tmp_path / name) for name in ("elsewhere", "second"))
    pd.testing.assert_frame_equal(one.summary, two.summary, check_exact=True)
    finished = run("sweep", "--config", "elsewhere/config.json", "--quiet", "--out", "elsewhere")
    assert "Already finished" in finished.stderr
    (tmp_path / "elsewhere" / store.PROBLEM).unlink()
    lost = run("sweep", "--config", "elsewhere/config.json", "--quiet", "--out", "third")
    assert lost.exit_code == 2
    assert "must lie beside its problem.npz" in lost.stderr
    shutil.copy(tmp_path / "second" / store.PROBLEM, tmp_path / "elsewhere")
    np.savez(tmp_path / "elsewhere" / store.PROBLEM, block_0=np.diag([1.0, 5.0]), block_1=[[9.0]])
    other = run("sweep", "--config", "elsewhere/config.json", "--quiet", "--out", "third")
    assert "problem.npz must be the one of its config, got one with other numbers" in other.stderr


def test_a_problem_made_in_python_sweeps_in_workers_too(tmp_path):
    from quadsim.simulator.sweeps.backends import resolve_backend

    problem = BlockQuadratic.from_blocks([np.diag([1.0, 4.0]), [[9.0]]], initial_error="sphere", problems=3)
    config = SweepConfig(problem=problem, **SHORT)
    assert config.start == "sphere"
    serial = sweep(config, out=tmp_path / "one", present=None)
    parallel = sweep(config, out=tmp_path / "two", backend=resolve_backend("processes", workers=2), present=None)
    pd.testing.assert_frame_equal(serial.summary, parallel.summary, check_exact=True)
    assert config_from_json(config.to_json(), tmp_path / "one") == config
    assert replace(config, steps=100).problem == config.problem
    gap = problem.initial_gap
    rows = serial.summary.query("optimizer == 'gd'").drop_duplicates("seed").sort_values("seed")
    np.testing.assert_allclose(rows["initial_gap"], gap, rtol=1e-12)


def test_a_singular_problem_sweeps_and_no_theorem_applies(run, tmp_path):
    (tmp_path / "own.json").write_text(json.dumps({"blocks": [[[1, 1], [1, 1]], [[5]]]}))
    found = run("sweep", "--problem-file", "own.json", *OPTIONS, "--out", "own")
    assert found.exit_code == 0, found.stderr
    results = load_results(tmp_path / "own")
    assert set(results.summary["verdict"]) == {"not applicable"}
    assert results.best["condition_number"].tolist() == pytest.approx([2.5, 2.5])
    assert any("its null space has dimension 1, where no gap changes" in note for note in results.notes)
    assert results.best.query("optimizer == 'gd'")["reached"].item() == 1.0


def test_a_matrix_is_divided_by_its_sizes_or_its_components(tmp_path):
    matrix = np.diag([1.0, 2.0, 3.0])
    np.savez(tmp_path / "whole.npz", matrix=matrix)
    path = str(tmp_path / "whole.npz")
    assert SweepConfig(problem_file=path, block_size=((1, 2),)).points[0].block_sizes == (1, 2)
    config = SweepConfig(problem=load_problem(tmp_path / "whole.npz"))
    assert config.points[0].block_sizes == (3,)


def test_the_start_of_a_file_needs_one_seed(tmp_path):
    np.savez(tmp_path / "own.npz", a=np.diag([1.0, 2.0]), initial_error=[3.0, -4.0], minimizer=[1.0, 1.0])
    path = str(tmp_path / "own.npz")
    config = SweepConfig(problem_file=path, seeds=1)
    assert config.start == "given"
    np.testing.assert_array_equal(config.points[0].problem(1, 7).dense(0)[1], [3.0, -4.0])
    zero = SweepConfig(problem_file=path, seeds=1, start="zero-start")
    np.testing.assert_array_equal(zero.points[0].problem(1, 7).dense(0)[1], [-1.0, -1.0])
    assert zero.points[0].error_scale == 1.0
    assert SweepConfig(problem_file=path, start="normal").points[0].problem(4, 7).problems == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"problem": 3}, r"problem must be a BlockQuadratic, got a int"),
        ({"problem": BlockQuadratic.generate(problems=2)}, r"problem must be one problem.*got 2 of them; give problem\.select"),
        ({"problem": BlockQuadratic.generate(), "seeds": 1, "heterogeneity": 5}, r"heterogeneity must be left out with a prob"),
        ({"problem": BlockQuadratic.generate()}, r"seeds must be 1 where the start is not drawn \(given\), got 16"),
        ({"start": "normal"}, r"start must come with a problem of your own, got 'normal' without one"),
        ({"problem": BlockQuadratic.generate(), "problem_file": "x.npz"}, r"problem must be left out with problem_file"),
        ({"problem": BlockQuadratic.generate(), "seeds": 1, "block_size": 3}, r"block size must be sizes that divide"),
    ],
)
def test_problems_that_cannot_be_swept_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SweepConfig(**arguments)


def test_a_stored_problem_must_be_whole(tmp_path):
    config = SweepConfig(problem=BlockQuadratic.from_blocks([np.eye(2)], initial_error="normal"))
    with pytest.raises(ValueError, match=r"must lie beside its problem\.npz, got none in no folder"):
        config_from_json(config.to_json())
    with pytest.raises(ValueError, match=r"problem of a config must hold name, partition, start, sha256, got"):
        config_from_json(config.to_json() | {"problem": {"name": 3}}, tmp_path)
    assert re.match(r"GivenProblem\(given: 1 given blocks, sizes 2\)", repr(GivenProblem.of(config.problem)))
