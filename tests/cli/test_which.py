"""`quadsim which`: answers at points that were run, from the stored tables; none beyond them; bad input in one line."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from cases import BAD_QUESTIONS
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.simulator import SweepConfig, sweep
from quadsim.simulator.problems.files import write_blocks
from quadsim.simulator.support import store
from quadsim.theory import THEOREMS, judge
from quadsim.theory.advising.models import advise_on_inspection

GRID = {"heterogeneity": (1, 100), "seeds": 8, "steps": 400, "block_size": 2, "blocks": 2, "lr": (0.01, 0.1, 1.0)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("which")
    sweep(SweepConfig(**GRID, optimizers=("gd", "block-gd")), judge, out=folder / "a", present=None, figures=False)
    slow = {"heterogeneity": 1000, "seeds": 8, "steps": 3, "optimizers": "gd", "lr": 1e-6}
    sweep(SweepConfig(**slow), judge, out=folder / "slow", present=None, figures=False)
    for name in ("empty", "study", "inspection"):
        (folder / name).mkdir()
    (folder / "blocks.npz").write_text("no blocks")
    for name in ("study", "inspection"):
        store.write_json(folder / name / store.CONFIG, {"kind": "inspect", "model": "mlp"})
    summary = pd.DataFrame({"Lambda_G": [2.0, 2.2], "Lambda_P": [4.0, 4.4], "delta_over_Lambda_G": 0.2})
    store.write_frame(folder / "inspection" / store.SUMMARY, summary.assign(delta_over_Lambda_P=0.1))
    return folder


@pytest.fixture
def ask(made, monkeypatch):
    monkeypatch.chdir(made)
    return lambda *arguments: CliRunner().invoke(app, ["which", *arguments])


@pytest.mark.parametrize(("arguments", "message"), BAD_QUESTIONS)
def test_bad_questions_are_refused_in_one_line(ask, arguments, message):
    found = ask(*arguments)
    assert found.exit_code == 2, found.output
    assert found.output.count("\n") == 1
    assert re.match(f"Error: {message}", found.output), found.output


def test_the_answer_is_that_of_the_stored_rows(ask, made):
    found = json.loads(ask("a", "--at", "heterogeneity=100", "--json").stdout)
    (one,) = found
    rows = pd.read_parquet(made / "a" / "summary.parquet").query("heterogeneity == 100 and best_lr")
    medians = rows.groupby("optimizer")["steps_to_tolerance"].median()
    assert one["optimizer"] == medians.idxmin()
    own = rows[rows["optimizer"] == one["optimizer"]]
    assert one["lr"] == own["lr"].iloc[0]
    assert f"a median of {medians.min():g} steps" in one["answer"]
    named = [text.removeprefix("theorem ") for text in one["rests_on"] if text.startswith("theorem ")]
    assert set(named) <= set(THEOREMS)
    assert named == [own["theorem"].iloc[0]]
    assert "the sweep in a (8 problems a point)" in one["rests_on"]
    assert one["certainty"].startswith("Sure: gd does not get there within 400 steps")


def test_every_point_is_answered_where_none_is_named(ask):
    found = ask("a")
    assert found.exit_code == 0
    assert [line for line in found.output.splitlines() if line.startswith("heterogeneity")] == [
        "heterogeneity 1:",
        "heterogeneity 100:",
    ]


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("heterogeneity=1000", "1000 lies beyond what was run, which is 1, 100"),
        ("heterogeneity=10", "nothing was run at 10, which lies between 1 and 100"),
        ("mode=arrange", "it was run at scale alone, not at arrange"),
    ],
)
def test_beyond_what_was_run_there_is_no_answer(ask, at, words):
    found = ask("a", "--at", at)
    assert found.exit_code == 1
    assert f"There is no answer: {words}" in found.output
    assert "Take" not in found.output


def test_where_nothing_was_solved_there_is_no_answer(ask):
    found = ask("slow")
    assert found.exit_code == 1
    assert "no optimizer gets there within" in " ".join(found.output.split())
    assert "(steps are counted until the gap is" in " ".join(found.output.split())


def test_dials_are_run_now(ask):
    options = (
        "optimizers=gd,block-gd",
        "block_size=2",
        "blocks=2",
        "steps=400",
        "seeds=6",
        "lr=0.1,1",
        "heterogeneity=10",
    )
    found = ask(*(part for option in options for part in ("--at", option)), "--json")
    (one,) = json.loads(found.stdout)
    assert one["optimizer"] == "block-gd"
    assert one["rests_on"][0] == "a sweep made now (6 problems a point)"


def test_a_file_of_blocks_is_answered_from_a_sweep_made_now(ask, made):
    write_blocks(made / "own.npz", [np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[300.0]])])
    options = ("optimizers=gd,block-gd", "steps=2000", "seeds=6", "lr=0.006,1")
    found = ask("own.npz", *(part for option in options for part in ("--at", option)), "--json")
    assert found.exit_code == 0, found.output
    (one,) = json.loads(found.stdout)
    assert one["optimizer"] == "block-gd"  # its step is divided by the largest eigenvalue of each block
    assert one["rests_on"][0] == "a sweep made now (6 problems a point)"


def test_an_inspection_answers_by_the_bounds_on_steps(ask):
    found = ask("inspection", "--json")
    (one,) = json.loads(found.stdout)
    assert (one["optimizer"], one["lr"]) == ("gd", pytest.approx(1 / 2.1))
    assert "theorem gradient-complexity-general" in one["rests_on"]
    assert "2 times smaller" in one["answer"]


@pytest.mark.parametrize(
    ("changed", "optimizer", "words"),
    [
        ({"Lambda_G": 8.0}, "signsgd", "Take signsgd"),
        ({"delta_over_Lambda_P": 0.4}, "", "delta_over_Lambda_P 0.4"),
        ({"delta_over_Lambda_G": np.nan}, "", "delta_over_Lambda_G not computed"),
        ({"Lambda_G": np.nan}, "", "holds no curvature"),
    ],
)
def test_the_theorems_do_not_speak_of_every_model(changed, optimizer, words):
    columns = {"Lambda_G": 2.0, "Lambda_P": 4.0, "delta_over_Lambda_G": 0.2, "delta_over_Lambda_P": 0.1}
    found = advise_on_inspection(columns | changed, "an inspection")
    assert found.optimizer == optimizer
    assert found.is_answer == bool(optimizer)
    assert words in found.answer
    assert "theorem bounds-rank-methods" not in found.rests_on
