"""Sweeps over toy models: the grid, the dials, resuming, words, figures, and the effects themselves."""

import importlib
import json
import re

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.simulator import ModelSweepConfig, ToyProblem, load_results, sweep, train
from quadsim.simulator.models import TokenMap
from quadsim.simulator.sweeps.config.families import config_from_json
from quadsim.simulator.sweeps.run.driver import estimate

work = importlib.import_module("quadsim.simulator.sweeps.work.toy_models")

SMALL = {
    "task": ("token-map:vocabulary=8",), "width": (4,), "layers": (1,), "heterogeneity": (1, 100), "seeds": 2, "steps": 150,
    "lr_density": 2, "optimizers": ("gd", "signsgd", "adam"),
}  # fmt: skip
FLAGS = [
    "--model", "transformer", "--task", "token-map:vocabulary=8", "--width", "4", "--layers", "1", "--heterogeneity", "1,100",
    "--seeds", "2", "--steps", "150", "--lr-density", "2", "--optimizers", "gd,signsgd,adam",
]  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return sweep(ModelSweepConfig(**SMALL), out=tmp_path_factory.mktemp("models") / "small")


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


def medians(results, optimizer, column="steps_median"):
    rows = results.best[results.best["optimizer"] == optimizer].sort_values("heterogeneity")
    return rows[column].to_numpy()


def test_the_frequency_dial_slows_gd_on_the_unweighted_loss_only():
    config = ModelSweepConfig(heterogeneity=(1, 100), optimizers=("gd", "signsgd"), seeds=3, steps=300)
    results = sweep(config)
    gd, sign = medians(results, "gd"), medians(results, "signsgd")
    # Prototype, c = 1 to 1000: GD 22 to 286, SignSGD 10 to 19; on the weighted loss GD 22 to 17.
    assert 2.0 < gd[1] / gd[0] < 6.0
    assert sign[1] / sign[0] < 1.7
    assert (sign < gd).all()
    weighted = medians(results, "gd", "steps_weighted_median")
    assert weighted[1] <= 1.1 * weighted[0]
    assert gd[0] == weighted[0]  # equal weights: one loss


@pytest.mark.slow
def test_separable_copies_are_the_exact_control():
    config = ModelSweepConfig(
        dial=("separable",), task=("token-map:vocabulary=16",), layers=(1,), norm=("none",), heterogeneity=(1, 10, 100),
        seeds=2, steps=1500, lr_density=2,
    )  # fmt: skip
    results = sweep(config)
    gd, sign, adam = (medians(results, name) for name in ("gd", "signsgd", "adam"))
    assert np.ptp(sign) == 0  # the sign of a scaled gradient is the same to the bit
    assert np.ptp(adam) <= 1
    assert gd[1] / gd[0] > 2.0
    assert gd[2] / gd[1] > 2.0
    assert gd[2] / gd[0] < 300


def test_a_row_for_every_run_with_both_losses(small):
    summary = small.summary
    wanted = {
        "model", "task", "dial", "heterogeneity", "parameters", "classes", "seed", "optimizer", "lr", "status", "stopped",
        "steps_to_tolerance", "steps_to_tolerance_weighted", "initial_loss", "final_loss", "final_loss_weighted", "best_lr",
    }  # fmt: skip
    assert wanted <= set(summary.columns)
    assert not summary.duplicated(["heterogeneity", "seed", "optimizer", "lr"]).any()
    assert not summary["steps_to_tolerance"].isna().any()
    assert set(summary["norm"]) == {"pre"}  # the model's own default, filled in
    target = 0.1 * np.log(8)
    solved = summary[summary["status"] == "converged"]
    assert len(solved) > 10
    both = np.isfinite(solved["steps_to_tolerance_weighted"])
    assert (
        solved.loc[both, "stopped"]
        == solved.loc[both, ["steps_to_tolerance", "steps_to_tolerance_weighted"]].max(axis=1)
    ).all()
    assert (solved.loc[both, "final_loss_weighted"] < 3 * target).all()
    assert (summary.loc[summary["status"] == "diverged", "final_loss"] == np.inf).all()


def test_stored_results_are_the_results(small):
    again = load_results(small.folder)
    pd.testing.assert_frame_equal(again.summary, small.summary, check_exact=True)
    assert again.answers == small.answers
    np.testing.assert_array_equal(again.curves["loss"], small.curves["loss"])
    assert config_from_json(json.loads((small.folder / "config.json").read_text())) == small.config
    for name in ("steps", "loss"):
        assert (small.folder / f"figures/{name}.png").stat().st_size > 10_000
    assert not (small.folder / "units").exists()


def test_the_words_name_the_dial_and_the_loss(small):
    text = " ".join(small.answers)
    assert text.startswith("Steps until the unweighted loss is 0.1 ln 8 (0.208), dial frequency. ")
    assert "On the loss that is optimised: " in text
    assert "chosen with hindsight" in small.notes[0]


def test_an_interrupted_sweep_goes_on_and_damaged_units_are_not_even_opened(small, tmp_path, monkeypatch):
    real, calls = work.train, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(work, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(small.config, out=tmp_path / "a", present=None)
    units = sorted((tmp_path / "a/units").iterdir())
    assert len(units) == 4
    content = bytearray(units[0].read_bytes())
    content[len(content) // 2] ^= 1
    units[0].write_bytes(content)
    units[1].write_bytes(units[1].read_bytes()[:-200])
    units[2].write_bytes(b"")
    rows = importlib.import_module("quadsim.simulator.sweeps.run.rows")
    damaged = {path: path.read_bytes() for path in units[:3]}
    opened = []

    class Watched(rows.RowsFile):
        def __init__(self, path):
            assert damaged.get(path) != path.read_bytes()
            opened.append(path)
            super().__init__(path)

    monkeypatch.setattr(rows, "RowsFile", Watched)
    results = sweep(small.config, out=tmp_path / "a", present=None)
    pd.testing.assert_frame_equal(results.summary, small.summary, check_exact=True)
    assert set(units) < set(opened)
    assert len(calls) == 5 + len(small.summary.groupby(["point", "optimizer"])) - 1 + extensions(small)


def extensions(results):
    rates = results.summary.groupby(["point", "optimizer"])["lr"].nunique()
    return len(rates) * (int(rates.iloc[0]) - 5) // 2  # a decade holds two


def test_units_do_not_change_the_results(small, monkeypatch):
    monkeypatch.setattr(work, "_INSTANCES", 1)
    pd.testing.assert_frame_equal(sweep(small.config).summary, small.summary, check_exact=True)


def test_several_models_norms_and_tasks_are_facets():
    config = ModelSweepConfig(
        model=("mlp", "conv"), norm=("none", "post"), task=("token-map:vocabulary=6", "modular-addition:p=3"), width=(4,),
        layers=(1,), heterogeneity=(1, 3), seeds=1, steps=5, optimizers=("signsgd",), lr=(0.1,),
    )  # fmt: skip
    results = sweep(config)
    assert results.facets == ["model", "norm", "task"]
    assert len(results.groups()) == 8
    assert results.answers[0].startswith("Steps until the unweighted loss is 0.1 ln(classes), dial frequency. ")
    assert len(results.answers) <= 5


def test_an_estimate_says_what_it_would_cost():
    found = estimate(ModelSweepConfig(**SMALL))
    assert found.runs == 2 * 3 * 2 * 5
    assert 0.0 < found.seconds < 600.0
    assert 0.6e9 < found.memory_bytes < 2e9


BAD = [
    (["--model", "gpt"], "model must be one of transformer, mlp, .*, got 'gpt'"),
    (["--model", "transformer", "--blocks", "3"], "--blocks must be left out with --model"),
    (["--norm", "post"], "--norm must be left out without --model"),
    (["--model", "mlp", "--init", "0"], "init must be a number above 0, got '0'"),
    (["--model", "mlp", "--clip", "-1"], "clip must be a number above 0, got -1"),
    (["--model", "mlp", "--heads", "2"], "option of mlp must be one of width, layers, norm, .* got 'heads'"),
    (["--model", "transformer", "--norm", "layer"], "norm must be one of pre, post, none, got 'layer'"),
    (["--model", "transformer", "--heads", "3"], r"heads must divide the width \(16\), got 3"),
    (["--model", "transformer", "--task", "tokens"], "task must be one of .*, got 'tokens'"),
    (["--model", "transformer", "--task", "token-map:vocabulary"], "task must be NAME or NAME:key=value"),
    (["--model", "transformer", "--task", "token-map:vocabulary=1"], "vocabulary must be a whole number of at least 2, got 1"),
    (["--model", "transformer", "--task", "token-map:size=3"], "option of token-map must be one of .*, got 'size'"),
    (["--model", "transformer", "--dial", "speed"], "dial must be one of frequency, zipf, .*, got 'speed'"),
    (["--model", "transformer", "--heterogeneity", "0.5"], r"heterogeneity \(dial frequency\) must be a number in \[1, 1e\+12\], got 0.5"),
    (["--model", "transformer", "--dial", "temperature", "--heterogeneity", "0"], "heterogeneity must be a number above 0"),
    (["--model", "mlp", "--dial", "temperature"], "dial temperature must go with a transformer, got mlp"),
    (["--model", "transformer", "--task", "digits", "--dial", "zipf"], "dial zipf must go with the task token-map"),
    (["--model", "transformer", "--optimizers", "gd,block-gd"], "optimizer for a model must not need the curvature of blocks, got block-gd"),
    (["--model", "transformer", "--tolerance", "2"], "tolerance must be a number in .*, got 2"),
    (["--model", "transformer", "--mode", "scale"], "mode must be one of parameter, gradient, got 'scale'"),
    (["--model", "transformer", "--partition", "head"], "partition must be one of layer, module, unit, got 'head'"),
    (["--model", "", "--seeds", "1"], "model must hold at least one value"),
    (["--model", "transformer", "--seeds", "1000000000"], "grid must fit in memory"),
    (["--model", "transformer", "--steps", "1000000000000"], "grid must fit in memory"),
    (["--model", "transformer", "--width", "100000"], "problems must fit in memory .* 240,013,500,000 parameters"),
    (["--model", "transformer", "--layers", "1000000000"], "layers must be a whole number of at most 10000, got 1000000000"),
    (["--model", "transformer", "--task", "text-char:sequences=100000000000"], "problems must fit in memory .* on text"),
    (["--model", "transformer", "--task", "token-map:vocabulary=1000000000"], "problems must fit in memory"),
    (["--model", "transformer", "--dial", "zipf", "--heterogeneity", "1e12"], "problems must fit in memory"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_bad_input_is_one_line_and_exit_code_2_and_leaves_nothing(run, tmp_path, arguments, message):
    result = run("sweep", *arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert re.search(message, result.stderr), result.stderr
    assert ";" in result.stderr, "the line must say what to do"
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_both_losses_and_its_config_repeats_it(run, tmp_path, small):
    result = run("sweep", *FLAGS, "--out", "here")
    assert result.exit_code == 0, result.stderr
    for text in (
        "frequency",
        "on optimised loss",
        "median steps",
        "Files: here/ (report.html, summary.parquet, trajectories.nc",
    ):
        assert text in result.stdout, text
    again = run("sweep", "--config", "here/config.json", "--out", "there", "--json")
    document = json.loads(again.stdout)
    assert document["answer"] == small.answers
    assert document["config"] == small.config.to_json()
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "there/summary.parquet"), small.summary, check_exact=True, check_dtype=False
    )
    assert run("sweep", *FLAGS, "--out", "here").stderr.startswith("Already finished")


def test_dry_run_runs_nothing(run, tmp_path):
    result = run("sweep", *FLAGS, "--dry-run")
    assert "60 runs of 150 steps: about" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_where_nobody_arrives_the_words_say_who_came_furthest():
    config = ModelSweepConfig(**SMALL | {"steps": 3, "heterogeneity": (1,), "lr": (1e-4, 1e-2)})
    results = sweep(config)
    (text,) = results.answers
    best = results.best.sort_values("loss_median").iloc[0]
    assert "No optimizer reaches the tolerance within 3 steps" in text
    assert "the lowest loss at the end is that of " in text
    assert f"that of {best['optimizer']} (" in text
    assert (results.best["loss_median"] > 0.1).all()


def test_words_and_notes_where_the_start_is_good_enough_or_a_rate_is_at_the_edge():
    config = ModelSweepConfig(
        **SMALL | {"tolerance": 0.99, "steps": 5, "dial": ("init-scale",), "heterogeneity": (0.1, 1)}
    )
    text = " ".join(sweep(config).answers)
    assert "the start is within the tolerance already" in text
    assert "inf" not in text
    assert "nan" not in text
    config = ModelSweepConfig(**SMALL | {"optimizers": ("adam",), "lr": (0.001, 0.01)})
    notes = " ".join(sweep(config).notes)
    assert "On the optimised loss the best rate of adam at 1 is the largest one tried" in notes
    assert "From 2 seeds no intervals are given" in notes


def test_the_law_of_the_start_and_clipping_are_options_of_a_sweep(run):
    """At their defaults they leave no trace, so that a folder of an older version holds the same configuration."""
    shared = {
        "model": ("mlp",),
        "task": ("token-map:vocabulary=5",),
        "heterogeneity": (1.0,),
        "width": (4,),
        "layers": (1,),
    }
    shared |= {"optimizers": ("gd",), "lr": (0.1,), "seeds": 2, "steps": 3, "tolerance": 0.01}
    plain, other = ModelSweepConfig(**shared), ModelSweepConfig(**shared, init=("gpt2", "0.5"), clip=0.25)
    assert not {"init", "clip"} & plain.to_json().keys()
    assert "init" not in plain.point_columns
    assert ModelSweepConfig.from_json(other.to_json()) == other
    assert other.init == ("gpt2", 0.5)
    found = sweep(other).summary
    for init, rows in found.groupby("init", sort=False):
        problem = ToyProblem.generate("mlp", TokenMap(5), width=4, layers=1, problems=2, init=init)
        expected = train(problem, "gd", lr=0.1, steps=3, tolerance=0.01, clip=0.25)
        np.testing.assert_array_equal(rows.sort_values("seed")["final_loss"], expected.final_loss[:, 0])
