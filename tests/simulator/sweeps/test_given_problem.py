"""A sweep over a problem of a user's own: blocks of a logistic regression, from file to report, also on another machine."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.cli.commands.sweep_options import config_from_texts
from quadsim.simulator import BlockQuadratic, SweepConfig, load_problem, load_results, simulate, sweep
from quadsim.simulator.support import store
from quadsim.simulator.sweeps.config.families import config_from_json
from quadsim.simulator.sweeps.config.given import GivenProblem
from quadsim.theory import judge

PAGE = (Path(__file__).parents[3] / "docs/own-problems.md").read_text()
SHORT = {"seeds": 3, "steps": 200, "lr_density": 1, "optimizers": ("gd", "adam:beta1=0")}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


def test_the_page_on_own_problems_runs(run, tmp_path):
    """Blocks of a logistic regression on the breast cancer data: simulated, and swept from a file."""
    pytest.importorskip("sklearn")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(compile(code, "own-problems.md", "exec"), names)
    x = names["x"].numpy()
    for block, mine in zip(names["blocks"], (x[:, :10], x[:, 10:20], x[:, 20:]), strict=True):
        np.testing.assert_allclose(block, mine.T @ mine / 569 / 4, rtol=1e-12)  # p (1 - p) = 1/4 at w = 0
    assert names["run"].gap.shape[0] == 16
    problem = names["problem"]
    gd = simulate(problem, "gd", lr=1 / problem.block_smoothness.max(), steps=10**6, record="log")
    assert (gd.status == "converged").all()
    commands = re.findall(r"^quadsim (sweep .*?) *(?:#.*)?$", PAGE, re.MULTILINE)
    assert len(commands) == 2
    for number, command in enumerate(commands):
        config = config_from_texts(
            dict(zip([w[2:].replace("-", "_") for w in command.split()[1::2]], command.split()[2::2], strict=True))
        )
        config = replace(config, **SHORT)
        results = sweep(config, out=tmp_path / str(number), present=None)
        assert results.best["case"].unique().tolist() == ["blocks.npz"]
        assert results.best["block_size"].unique().tolist() == ["10+10+10"]
        row = results.summary.query("optimizer == 'gd'").iloc[0]
        own = load_problem("blocks.npz", problems=3, initial_error=config.start)
        alone = simulate(own, "gd", lr=row["lr"], steps=200, record="log")
        assert row["final_gap"] == alone.gap[int(row["seed"]), 0, -1]
        assert row["heterogeneity"] == pytest.approx(problem.achieved["heterogeneity"][0])
        assert results.notes
        assert any(note.startswith("blocks.npz: 3 given blocks (sizes 10, 10, 10)") for note in results.notes)
    text = json.loads((tmp_path / "0/config.json").read_text())
    assert set(text["problem"]) == {"name", "partition", "start", "sha256"}
    assert "heterogeneity" not in text


def test_a_folder_reports_and_repeats_without_the_file(run, tmp_path):
    np.savez(tmp_path / "mine.npz", a=np.diag([1.0, 4.0]), b=[[9.0]])
    sweep(SweepConfig(problem_file="mine.npz", **SHORT), out="first", present=None)
    (tmp_path / "mine.npz").unlink()
    shutil.move(tmp_path / "first", tmp_path / "elsewhere")
    assert run("report", "elsewhere", "--quiet").exit_code == 0
    stored = config_from_json(json.loads((tmp_path / "elsewhere/config.json").read_text()), tmp_path / "elsewhere")
    sweep(stored, out="second", present=None)
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


def test_a_problem_made_in_python_sweeps(tmp_path):
    problem = BlockQuadratic.from_blocks([np.diag([1.0, 4.0]), [[9.0]]], initial_error="sphere", problems=3)
    config = SweepConfig(problem=problem, **SHORT)
    assert config.start == "sphere"
    summary = sweep(config, out=tmp_path / "one", present=None).summary
    rows = summary.query("optimizer == 'gd'").drop_duplicates("seed").sort_values("seed")
    np.testing.assert_allclose(rows["initial_gap"], problem.initial_gap, rtol=1e-12)
    assert config_from_json(config.to_json(), tmp_path / "one") == config
    assert replace(config, steps=100).problem == config.problem


def test_a_singular_problem_sweeps_and_no_theorem_applies(run, tmp_path):
    (tmp_path / "own.json").write_text(json.dumps({"blocks": [[[1, 1], [1, 1]], [[5]]]}))
    config = SweepConfig(problem_file="own.json", **SHORT)
    results = sweep(config, judge, out="own", present=None)
    assert set(results.summary["verdict"]) == {"not applicable"}
    assert results.best["condition_number"].tolist() == pytest.approx([2.5, 2.5])
    assert any("its null space has dimension 1, where no gap changes" in note for note in results.notes)
    assert results.best.query("optimizer == 'gd'")["reached"].item() == 1.0


def test_an_indefinite_problem_is_refused_in_one_line(run, tmp_path):
    (tmp_path / "own.json").write_text(json.dumps({"blocks": [[[1, 2], [2, 1]]]}))
    found = run("sweep", "--problem-file", "own.json")
    assert found.exit_code == 2
    assert re.fullmatch(
        r"Error: blocks\[0\] must be positive semi-definite, got an indefinite matrix: .*\n", found.stderr
    )
    assert [path.name for path in tmp_path.iterdir()] == ["own.json"]


def test_a_matrix_is_divided_by_its_sizes_or_its_components(tmp_path):
    matrix = np.diag([1.0, 2.0, 3.0])
    np.savez(tmp_path / "whole.npz", matrix=matrix)
    path = str(tmp_path / "whole.npz")
    assert SweepConfig(problem_file=path, block_size=((1, 2),)).points[0].block_sizes == (1, 2)
    found = SweepConfig(problem_file=path)
    assert found.points[0].block_sizes == (1, 1, 1)
    assert found.problem.partition == "3 connected components of the sparsity pattern"
    np.savez(tmp_path / "one.npz", a=matrix)
    assert SweepConfig(problem=load_problem(tmp_path / "one.npz")).points[0].block_sizes == (3,)


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
        (
            {"problem": BlockQuadratic.generate(problems=2)},
            r"problem must be one problem.*got 2 of them; give problem\.select",
        ),
        (
            {"problem": BlockQuadratic.generate(), "seeds": 1, "heterogeneity": 5},
            r"heterogeneity must be left out with a prob",
        ),
        ({"problem": BlockQuadratic.generate()}, r"seeds must be 1 where the start is not drawn \(given\), got 16"),
        ({"start": "normal"}, r"start must come with a problem of your own, got 'normal' without one"),
        (
            {"problem": BlockQuadratic.generate(), "problem_file": "x.npz"},
            r"problem must be left out with problem_file",
        ),
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
    GivenProblem.of(BlockQuadratic.from_blocks([2 * np.eye(2)], initial_error="normal")).write(tmp_path)
    with pytest.raises(ValueError, match=r"problem\.npz must be the one of its config, got one with other numbers"):
        config_from_json(config.to_json(), tmp_path)
    config.write_files(tmp_path)
    assert config_from_json(config.to_json(), tmp_path) == config
    assert re.match(r"GivenProblem\(given: 1 given blocks, sizes 2\)", repr(GivenProblem.of(config.problem)))
