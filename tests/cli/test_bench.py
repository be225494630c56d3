"""quadsim bench: all ways do the same work, and the numbers say what they are. No times are asserted."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.cli.bench import (
    MODEL_WAYS,
    WAYS,
    Comparison,
    ModelWork,
    Work,
    ceilings,
    compare,
    compare_closed_form,
    main_job,
    measure,
    measure_slope,
    why_not,
    why_not_model,
)

SMALL = Work("adam", 2, 3, problems=2, settings=3, steps=50)


@pytest.mark.parametrize("rule", ["adam", "signsgd", "gd"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_all_ways_end_at_the_same_gaps(rule, dtype):
    work = replace(SMALL, rule=rule, dtype=dtype)
    ends = {name: way(work)() for name, way in WAYS.items() if why_not(name, work) is None}
    assert len(ends) >= 2
    for name, gaps in ends.items():
        expected = ends["ours"][: gaps.shape[0], : gaps.shape[1]]
        np.testing.assert_allclose(gaps, expected, rtol=1e-9 if dtype == "float64" else 2e-3, err_msg=name)
        assert gaps.shape == ((1, 2) if name == "torch.optim loop" else (2, 3))


@pytest.mark.parametrize("rule", ["adam", "gd"])
def test_all_ways_agree_in_law_on_a_stream(rule):
    """Generators differ: over 400 problems the means of the logarithms of the gaps do not, at every rate."""
    work = replace(SMALL, rule=rule, problems=400, batch=2)
    ends = {name: np.log(way(work)()) for name, way in WAYS.items() if why_not(name, work) is None}
    assert {"ours", "torch batched"} <= set(ends)
    for name, gaps in ends.items():
        paired = (
            gaps - ends["ours"]
        )  # problem by problem: the starts are the same, so that little but the draws is left
        np.testing.assert_array_less(
            np.abs(paired.mean(axis=0)), 4 * paired.std(axis=0) / 400**0.5 + 1e-9, err_msg=name
        )


def test_a_way_is_prepared_once_and_run_often():
    for name, way in WAYS.items():
        if why_not(name, SMALL) is None:
            run = way(SMALL)
            np.testing.assert_array_equal(run(), run(), err_msg=name)


@pytest.fixture
def fixed_ceiling(monkeypatch):
    monkeypatch.setattr(measure, "measure_ceiling", lambda dtype, device: ceilings.Ceiling(1e9, 1e9))


def test_what_cannot_run_is_named(fixed_ceiling):
    found = compare(replace(SMALL, rule="signsgd"), rounds=2)
    assert found.left_out["torch CUDA graph"] == "needs a GPU"
    assert found.left_out["torch.optim loop"] == "torch.optim has no SignSGD"
    assert found.seconds["ours"].shape == (2,)
    assert (found.ratios("ours") == 1.0).all()
    assert all(difference < 1e-9 for difference in found.difference.values())


def test_on_a_stream_the_medians_over_problems_are_compared(fixed_ceiling, monkeypatch):
    """Problem by problem these gaps agree nowhere; their medians differ by a tenth."""
    gaps = np.array([[1.0, 20.0], [2.0, 30.0], [4.0, 70.0]])
    ends = {"torch batched": 1.1 * gaps[[1, 2, 0]], "ours": gaps}
    monkeypatch.setattr(measure, "WAYS", {name: lambda work, end=end: lambda: end for name, end in ends.items()})
    found = compare(replace(SMALL, batch=2), rounds=1)
    assert found.difference == {"torch batched": pytest.approx(0.1)}


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr("quadsim.cli.bench.ways.find_spec", lambda name: None)
    assert "extra bench" in why_not("jax scan", SMALL)
    monkeypatch.setattr("quadsim.cli.bench.model_ways.find_spec", lambda name: None)
    assert "extra bench" in why_not_model("jax", ModelWork())


def test_the_share_is_of_the_ceiling_that_the_rule_has():
    ceiling = ceilings.Ceiling(product_flops=6e9, roots=1e9)
    assert ceiling.coordinate_steps("gd", 3) == pytest.approx(1e9)
    assert ceiling.coordinate_steps("adam", 3) == pytest.approx(0.5e9)
    seconds = {"ours": np.array([2.0, 4.0]), "torch batched": np.array([6.0, 4.0])}
    found = Comparison(SMALL, seconds, {}, {}, (ceiling, ceiling), {})
    np.testing.assert_allclose(found.ratios("torch batched"), [3.0, 1.0])
    np.testing.assert_allclose(found.shares, 2 * 3 * 6 * 50 / np.array([2.0, 4.0]) / 0.5e9)
    assert found.run_steps == pytest.approx(2 * 3 * 50 * (0.5 + 0.25) / 2)


def test_ceilings_are_rates():
    for dtype in ("float64", "float32"):
        found = ceilings.measure_ceiling(dtype, "cpu")
        assert found.product_flops > 1e8
        assert found.roots > 1e6


def test_slopes_and_the_closed_form():
    slope = measure_slope(SMALL, "problems", doublings=1, rounds=1)
    assert slope.values == (2, 4)
    assert np.isfinite(slope.slope)
    assert compare_closed_form(rounds=2, problems=1, settings=2).shape == (2,)


def test_the_command(tmp_path, fixed_ceiling):
    options = [
        "--rules",
        "adam,gd",
        "--block-sizes",
        "2",
        "--problems",
        "2",
        "--settings",
        "2",
        "--rounds",
        "1",
        "--steps",
        "50",
    ]
    found = CliRunner().invoke(app, ["bench", *options, "--json", "--out", str(tmp_path)])
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert [w["work"]["rule"] for w in document["works"]] == ["adam", "gd"]
    assert document["works"][0]["ratios"]["ours"] == [1.0]
    assert json.loads((tmp_path / "bench.json").read_text()) == document
    assert (tmp_path / "bench.png").stat().st_size > 3_000
    found = CliRunner().invoke(app, ["bench", *options, "--quiet"])
    assert "adam 4x2 float64" in found.stdout
    assert "torch CUDA graph: needs a GPU" in found.stdout


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("rule", "tokens"), [("adam", 64), ("gd", 512)])
def test_all_ways_train_alike(rule, tokens, one_thread):
    work = ModelWork(rule, tokens, instances=3, steps=4, dtype="float64")
    assert work.problem.tokens_per_step == tokens
    start = work.problem.start.copy()
    ways = {name for name in MODEL_WAYS if name != "ours compiled" and why_not_model(name, work) is None}
    ends = {name: MODEL_WAYS[name](work)() for name in ways}
    for name, losses in ends.items():
        assert losses.shape == ((2, 4) if name == "module loop" else (3, 4))
        np.testing.assert_allclose(losses, ends["ours"][: len(losses)], rtol=1e-9, err_msg=name)
    np.testing.assert_array_equal(work.problem.start, start)


def test_a_model_on_the_command_line(tmp_path, monkeypatch, one_thread):
    monkeypatch.setattr("quadsim.cli.bench.model_measure._own_process_peak", lambda name, work: 5e6)
    options = [
        "bench",
        "--model",
        "transformer",
        "--instances",
        "4",
        "--steps",
        "2",
        "--rounds",
        "2",
        "--rules",
        "adam",
    ]
    found = CliRunner().invoke(app, [*options, "--json", "--out", str(tmp_path)])
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert document["times_the_module_loop"]["module loop"] == [1.0, 1.0]
    assert set(document["seconds"]) | set(document["left_out"]) == {
        "module loop",
        "vmap(grad)",
        "jax",
        "ours",
        "ours unfused",
    }
    assert document["difference"]["module loop"] < 1e-5
    assert document["peak_memory_bytes"]["ours"] == 5e6
    assert json.loads((tmp_path / "bench-model.json").read_text()) == document
    found = CliRunner().invoke(app, [*options, "--quiet", "--ways", "ours"])
    assert "8304 parameters" in found.stdout
    assert "vmap" not in found.stdout


def test_peak_memory_of_a_way_is_a_size():
    from quadsim.cli.bench.model_measure import _own_process_peak

    assert 1e6 < _own_process_peak("ours", ModelWork(instances=2, steps=1)) < 1e10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rules", "adamw"], "rules must be one of adam, signsgd, gd, got 'adamw'"),
        (["--steps", "60"], "steps must be a multiple of 50, got 60; use 100."),
        (["--ways", "numpy"], "ways must be one of torch.optim loop, torch batched"),
        (["--rules", ""], "must hold at least one item"),
        (["--device", "tpu"], "device must be cpu, cuda or cuda:N"),
        (["--main-job", "--rounds", "0"], "rounds must be"),
        (["--main-job", "--model", "transformer"], "--model must be left out with --main-job"),
        (["--block-sizes", "0"], "block size must be"),
        (["--model", "mlp"], "model must be one of transformer, got 'mlp'"),
        (["--model", "transformer", "--tokens", "65"], "tokens must be one of 64, 512, got 65; use 64."),
        (["--model", "transformer", "--rules", "signsgd"], "rules must be one of adam, gd, got 'signsgd'"),
        (["--model", "transformer", "--ways", "numpy"], "ways must be one of module loop, vmap(grad)"),
        (["--model", "transformer", "--instances", "-1"], "instances must be"),
        (["--model", "transformer", "--steps", "0"], "steps must be a whole number of at least 1, got 0"),
        (["--model", "transformer", "--batch", "3"], "--batch must be left out with --model, got 3; it has no effect"),
        (["--model", "transformer", "--memory"], "--memory must be left out with --model, got True"),
        (["--main-job", "--rules", "gd"], "--rules must be left out with --main-job, got 'gd'"),
        (["--compile"], "--compile must come with --model, got True without it; add --model transformer."),
        (["--tokens", "512"], "--tokens must come with --model, got 512 without it"),
        (["--rounds", ""], "Invalid value for '--rounds': must be a whole number in digits, got ''; see quadsim bench"),
    ],
)
def test_bad_input_is_one_line(options, message):
    found = CliRunner().invoke(app, ["bench", *options])
    assert found.exit_code == 2
    assert message in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1


TIMES = {"answer_seconds": 0.5, "seconds": 0.75, "wall_seconds": 1.0}


def test_a_run_of_the_main_job_has_its_times(monkeypatch, tmp_path):
    """The main job is replaced by a sweep that needs no kernel."""
    monkeypatch.setattr(main_job, "MAIN_JOB", ("sweep", "--optimizers", "gd", "--seeds", "2", "--steps", "50"))
    (tmp_path / "cache").mkdir(mode=0o700)
    one = main_job._run(tmp_path, 0, figures=False, first=True)
    assert 0.0 < one.answer_seconds < one.seconds


def test_the_main_job_is_measured_in_a_new_cache_and_then_in_that(monkeypatch, tmp_path):
    monkeypatch.setattr(main_job, "_run", lambda *_, **kind: main_job.MainJob(**kind, **TIMES))
    progress = []
    found = main_job.measure_main_job(1, progress.append)
    assert [(run.figures, run.first) for run in found] == [(True, True), (True, False), (False, False)]
    assert progress[0] == "main job, first run"
    done = CliRunner().invoke(app, ["bench", "--main-job", "--rounds", "1", "--json", "--out", str(tmp_path / "a")])
    document = json.loads(done.stdout)
    assert [run["first"] for run in document["runs"]] == [True, False, False]
    assert json.loads((tmp_path / "a/bench-main-job.json").read_text()) == document
    done = CliRunner().invoke(app, ["bench", "--main-job", "--quiet"])
    assert "later run without figures: the answer after" in done.stdout


def test_a_main_job_that_fails_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(main_job, "MAIN_JOB", ("sweep", "--heterogeneity", "none"))
    (tmp_path / "cache").mkdir(mode=0o700)
    with pytest.raises(RuntimeError, match=r"exit code 2: .*heterogeneity"):
        main_job._run(tmp_path, 0, figures=False, first=True)
