"""quadsim inspect: what is shown block by block, along training, and the two studies."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from cases import with_defaults
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.simulator import ModelSweepConfig, ToyProblem
from quadsim.simulator.curvature.block_spectra import block_hessians
from quadsim.simulator.curvature.inspection import inspect_model, inspect_trained, place_of_block
from quadsim.simulator.figures.inspection_figures import distance_figure, spectra_figure
from quadsim.simulator.problems.files import read_blocks
from quadsim.theory.claims.gradients.studies import head_growth, norm_placement

SMALL = ["--task", "token-map:vocabulary=6", "--width", "4", "--layers", "1", "--seeds", "2"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


def small(**options):
    return ToyProblem.generate("transformer", width=4, layers=1, problems=2, **options)


def test_every_block_has_a_row_and_the_whole_a_column():
    problem = small()
    found = inspect_model(problem, "unit")
    blocks, summary = found.blocks, found.summary
    assert blocks["size"].sum() == 2 * problem.dimension
    assert {"embed[63]", "pos[1]", "head[0]", "layer0.k"} <= set(blocks["block"])
    g = problem.stack().gradient(problem.stack().start())[0].numpy()
    np.testing.assert_allclose(
        blocks["gradient_norm"].to_numpy().reshape(2, -1)[:, 0], np.sqrt(np.mean(g[:, :4] ** 2, axis=1)), rtol=1e-12
    )
    assert (summary["Lambda_G"] - summary["Lambda_P"]).to_numpy() == pytest.approx(
        summary["covariance"].to_numpy(), abs=1e-10
    )
    assert (summary["gradient_ratio"] > 1).all()
    assert summary["off_block_spectral"].between(0.1, 1.5).all()
    assert (summary["whole_over_block"] >= 1).all()
    weights = blocks["smoothness"] * blocks["size"]
    np.testing.assert_allclose(weights.to_numpy().reshape(2, -1).sum(axis=1) / problem.dimension, summary["Lambda_P"])


def test_without_curvature_only_gradients_are_taken():
    found = inspect_model(small(), curvature=False)
    assert found.spectra is None
    assert "Lambda_G" not in found.summary
    assert "smoothness" not in found.blocks
    for draw in (spectra_figure, distance_figure):
        with pytest.raises(ValueError, match="inspection must hold curvature"):
            draw(found)


def test_every_number_of_the_whole_is_what_its_name_says():
    problem = small(dial="frequency", heterogeneity=100.0)
    found = inspect_model(problem, "module")
    stack = problem.stack()
    weighted, unweighted = (x.numpy() for x in stack.losses(stack.start()))
    summary = found.summary
    assert (np.abs(weighted - unweighted) > 1e-3).all()
    np.testing.assert_array_equal(summary["loss"], unweighted)
    np.testing.assert_array_equal(summary["loss_weighted"], weighted)
    head = problem.start[:, -256:].reshape(2, 64, 4)
    common = 8 * np.linalg.norm(head.mean(axis=1), axis=1)
    np.testing.assert_allclose(summary["head_common"], common, rtol=1e-12)
    centred = np.linalg.norm((head - head.mean(axis=1, keepdims=True)).reshape(2, -1), axis=1)
    np.testing.assert_allclose(summary["head_centred"], centred, rtol=1e-12)
    np.testing.assert_allclose(summary["Lambda_ratio"], summary["Lambda_G"] / summary["Lambda_P"], rtol=1e-12)
    pairs = found.distances[:, *np.triu_indices(found.distances.shape[1], 1)]
    np.testing.assert_allclose(summary["JS0"], pairs.mean(axis=1), rtol=1e-12)
    blocks = found.blocks.set_index(["index", "block"])
    matrices = block_hessians(stack, problem.start, "module").blocks
    for number, label in enumerate(found.partition.labels):
        values = np.linalg.eigvalsh(matrices[number])
        for m in range(2):
            row = blocks.loc[(m, label)]
            assert row["smoothness"] == pytest.approx(max(values[m, -1], 0.0), abs=1e-10), label
            assert row["smallest"] == pytest.approx(values[m, 0], abs=1e-10), label
    assert found.blocks["exact"].all()


@pytest.mark.slow
def test_small_limits_leave_out_the_whole_and_estimate_large_blocks():
    problem = small()
    at_the_limit = inspect_model(problem, "module", largest_whole=problem.dimension)
    assert "whole_over_block" in at_the_limit.summary
    pytest.importorskip("hessian_eigenthings")
    found = inspect_model(problem, "layer", largest_whole=problem.dimension - 1, largest_block=250)
    assert "whole_over_block" not in found.summary
    by_block = found.blocks.set_index(["index", "block"])["exact"]
    assert by_block[:, "layer0"].tolist() == [True, True]
    assert by_block[:, "head"].tolist() == [False, False]


def test_those_that_diverged_are_left_out_and_the_others_keep_their_own_start():
    problem = small(dial="init-scale", heterogeneity=[1e12, 1.0], norm="none")
    found, run = inspect_trained(problem, "gd", lr=0.01, at=(0, 2), curvature=False)
    assert run.status[:2, 0].tolist() == ["diverged", "diverged"]
    assert found.problem.heterogeneity.tolist() == [1.0, 1.0]
    assert found.step == 2
    np.testing.assert_array_equal(found.whole["loss_weighted"], run.loss_weighted[2:, 0, -1])


def test_where_a_block_stands():
    layers = ["embedding", "layer0", "layer1", "head"]
    assert place_of_block("layer1.q", layers) == (2, "q")
    assert place_of_block("embed[3]", layers) == (0, "embed")
    assert place_of_block("copy2.layer0.w1", layers) == (1, "w1")
    assert place_of_block("head[5]", layers) == (3, "head")
    assert place_of_block("norm", layers) == (3, "norm")
    assert place_of_block("layer0", layers) == (1, "layer")


@pytest.mark.parametrize("partition", ["layer", "module", "unit"])
def test_the_command_writes_tables_and_three_figures(run, tmp_path, partition):
    result = run("inspect", *SMALL, "--norm", "post", "--partition", partition, "--out", "here")
    assert result.exit_code == 0, result.stderr
    for text in ("eigenvalue", "Lambda_G / Lambda_P", "JS0", "|H - blocks| / |H|, spectral", "Files: here/"):
        assert text in result.stdout, text
    for name in ("gradients", "spectra", "distances"):
        assert (tmp_path / f"here/figures/{name}.png").stat().st_size > 10_000
    frame = pd.read_parquet(tmp_path / "here/blocks.parquet")
    assert frame["index"].nunique() == 2
    again = run("inspect", *SMALL, "--out", "here")
    assert again.exit_code == 2
    assert "out must hold the same configuration, got" in again.stderr
    assert '(norm: "post" there, null asked' in again.stderr


def test_json_is_one_document(run):
    result = run("inspect", *SMALL, "--no-curvature", "--json")
    document = json.loads(result.stdout)
    assert {row["block"] for row in document["blocks"]} >= {"embed", "layer0.q", "head"}
    assert document["summary"][0]["gradient_ratio"] > 1


def test_along_training_every_step_is_held_against_its_local_models(run, tmp_path):
    result = run("inspect", *SMALL, "--optimizer", "gd", "--lr", "0.002", "--at", "0,3,10", "--json", "--out", "here")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "here/figures/local.png").stat().st_size > 10_000
    assert len(pd.read_parquet(tmp_path / "here/local.parquet")) == 6
    document = json.loads(result.stdout)
    assert document["step"] == 10
    steps = document["local"]["steps"]
    assert [row["step"] for row in steps] == [0, 3, 10, 0, 3, 10]
    for row in steps:
        assert row["whole_model"] == pytest.approx(row["observed"], rel=0.05)  # at small steps second order is close
        assert row["state"] in ("holds", "violated")
    assert any("gradient-descent-lemma" in line for line in document["local"]["text"])
    start = json.loads(run("inspect", *SMALL, "--json").stdout)
    assert document["summary"][0]["loss"] < start["summary"][0]["loss"]


BAD = [
    (["--model", "gpt"], "model must be one of transformer, mlp, .*, got 'gpt'"),
    (["--partition", "rows"], "partition must be one of layer, module, unit, got 'rows'"),
    (["--init", "gpt"], "init must be one of fan-in, gpt2 or a number above 0, got 'gpt'"),
    (["--model", "resnet", "--norm", "pre"], "norm must be one of batch, none, got 'pre'"),
    (["--layers", "two"], "layers must be a whole number of at least 1, got 'two'"),
    (["--heterogeneity", "x"], "heterogeneity"),
    (["--seeds", "0"], "seeds must be a whole number of at least 1, got 0"),
    (["--seeds", "1000000000"], "problems must fit in memory .*, got 1,000,000,000 of "),
    (["--width", "100000"], "problems must fit in memory .* parameters on token-map, which need about "),
    (["--task", "text-char:sequences=100000000000"], "problems must fit in memory .* on text"),
    (
        ["--optimizer", "gd", "--lr", "0.1", "--at", "1000000000000"],
        "training must fit in memory .* 1,000,000,000,000 steps",
    ),
    (["--optimizer", "gd", "--lr", "0.1", "--at", ","], "at must hold at least one step"),
    (["--lr", "0.1"], "--lr and --at must come with an optimizer"),
    (["--optimizer", "gd"], "optimizer must come with a learning rate and the steps"),
    (["--optimizer", "gd", "--lr", "0.1", "--at", "a"], "at must be a whole number of at least 0, got 'a'"),
    (["--optimizer", "gd", "--lr", "1e9", "--at", "50"], "lr must be small enough that a run reaches step 50"),
    (["--optimizer", "block-gd", "--lr", "1", "--at", "5"], "must not need the curvature of blocks, got block-gd"),
    (
        ["--study", "norm-placement", "--model", "mlp"],
        "--task cannot be combined with --study|--model cannot be combined with --study",
    ),
    (["--mode", "gradient"], "mode gradient must go with the dial reparametrisation, got frequency"),
    (["--dial", "init-scale", "--heterogeneity", "1e200"], r"heterogeneity \(dial init-scale\) must be a number in"),
    (["--study", "depth"], "study must be one of norm-placement, head-growth, got 'depth'"),
    (
        ["--study", "norm-placement", "--norm", "side"],
        "--task cannot be combined with --study|norm must be one of pre, post, none, got 'side'",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_bad_input_is_one_line_and_exit_code_2_and_leaves_nothing(run, tmp_path, arguments, message):
    arguments = with_defaults(SMALL, arguments)
    result = run("inspect", *arguments)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.strip().splitlines()) == 1
    assert re.search(message, result.stderr), result.stderr
    assert ";" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_post_norm_spreads_gradients_more_than_pre_norm_in_deep_models():
    found = norm_placement(layers=(2, 12), seeds=10)
    quotient = found.post_over_pre.set_index("layers")
    # Prototype: 359 against 52 at 12 layers; 7 and more of 10 seeds have probability 0.17 if neither is larger, 9 of 10 0.011.
    assert quotient.loc[12, "post_larger"] >= 9
    assert quotient.loc[12, "post_over_pre"] > 1.5
    ratio = found.table.set_index(["norm", "layers"])["ratio"]
    assert ratio["post", 12] > 5 * ratio["post", 2]
    by_point = found.runs.groupby(["norm", "layers"], sort=False)["ratio"]
    for column, wanted in (("ratio", by_point.median()), ("ratio_min", by_point.min()), ("ratio_max", by_point.max())):
        np.testing.assert_allclose(found.table[column], wanted, rtol=1e-12)
    ratios = found.runs.pivot(index="index", columns=["norm", "layers"], values="ratio")
    pairs = ratios["post", 12] / ratios["pre", 12]
    wanted = [pairs.median(), pairs.min(), pairs.max(), (pairs > 1).sum()]
    assert quotient.loc[12, ["post_over_pre", "smallest", "largest", "post_larger"]].tolist() == pytest.approx(wanted)
    assert len(found.figure().axes) == 1


def test_without_momentum_the_common_part_of_the_head_grows_with_the_number_of_classes():
    found = head_growth(classes=(4, 128), optimizers=("signsgd", "signum"), steps=60, seeds=2)
    last = found.table[found.table["step"] == 60].set_index(["classes", "optimizer"])
    few, many = (
        last.loc[(number, "signsgd"), "common"] / last.loc[(number, "signum"), "common"] for number in (4, 128)
    )
    assert many > 2.5
    assert few < 2.0
    # No coordinate of the head can have moved further than the sum of the rates.
    assert (found.runs["common"] <= 60 * 1e-3 * np.sqrt(found.runs["classes"] * 16) + 1e-9).all()
    assert found.batch == 32
    start = found.runs[found.runs["step"] == 0]
    assert (start[["common", "centred"]] == 0).all(axis=None)
    assert start["loss"].between(0.9, 1.6).all()  # of a guess, over ln(classes)
    assert not found.runs["loss"].isna().any()
    moved = found.runs[found.runs["step"] == 60]
    assert (np.abs(moved["centred"] / moved["common"] - 1) > 0.1).all()
    few_steps = head_growth(classes=(4,), optimizers=("signsgd", "signsgd"), steps=1, lr=0.5, seeds=1)
    one = few_steps.table[few_steps.table["step"] == 1]
    assert len(one) == 1
    # Both parts of one step of SignSGD: all coordinates of the head move by lr.
    assert np.hypot(one["common"], one["centred"]).tolist() == pytest.approx([0.5 * np.sqrt(4 * 16)], rel=1e-5)
    assert found.tables["table"]["step"].unique().tolist() == [60]
    assert len(found.figure().axes) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: norm_placement(layers=()), "layers must hold at least one value"),
        (lambda: norm_placement(norms=()), "norms must hold at least one value"),
        (lambda: head_growth(classes=()), "classes must hold at least one value"),
        (lambda: head_growth(optimizers=()), "optimizers must hold at least one value"),
        (lambda: head_growth(seeds=0), "seeds must be a whole number of at least 1, got 0"),
        (lambda: head_growth(lr=0.0), "lr must be a number above 0, got 0"),
    ],
)
def test_bad_arguments_of_a_study_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_command_runs_a_study(run, tmp_path):
    result = run(
        "inspect", "--study", "norm-placement", "--layers", "1,2", "--seeds", "2", "--width", "4", "--out", "here"
    )
    assert result.exit_code == 0, result.stderr
    assert "post_over_pre" in result.stdout
    assert (tmp_path / "here/figures/norm-placement.png").stat().st_size > 10_000
    assert len(pd.read_parquet(tmp_path / "here/summary.parquet")) == 8


def test_save_blocks_writes_the_hessian_blocks(run, tmp_path):
    found = run("inspect", *SMALL, "--optimizer", "gd", "--lr", "0.1", "--at", "2", "--save-blocks", "own/blocks.npz")
    assert found.exit_code == 0
    assert re.search(
        r"\d+ of \d+ Hessian blocks in .*blocks\.npz are indefinite, and a sweep refuses them", found.stderr
    )
    config = ModelSweepConfig(task="token-map:vocabulary=6", width=4, layers=1, heterogeneity=1)
    inspected, _ = inspect_trained(config.points[0].problem(2, 0), "gd", lr=0.1, at=[2])
    expected = block_hessians(inspected.problem.stack(), inspected.theta, "module")
    blocks = read_blocks(tmp_path / "own/blocks.npz").blocks
    assert len(blocks) == len(expected.partition.sizes)
    for ours, theirs in zip(blocks, expected.blocks, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_array_file_of_something_else_is_not_replaced(run, tmp_path):
    np.savez(tmp_path / "thesis.npz", results=[1, 2])
    (tmp_path / "notes.npz").write_text("my notes")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name in before:
        found = run("inspect", *SMALL, "--save-blocks", name)
        assert (found.exit_code, found.stdout) == (2, "")
        assert re.search(
            rf"save blocks must be a new file or a file of blocks, got .*{name}, which is some", found.stderr
        )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--save-blocks", "blocks.csv"], r"save blocks must be a file that ends in \.npz, got blocks\.csv"),
        (["--save-blocks", "b.npz", "--no-curvature"], r"--save-blocks cannot be combined with --no-curvature"),
        (["--save-blocks", "b.npz", "--study", "head-growth"], r"--save-blocks cannot be combined with --study"),
    ],
)
def test_bad_files_for_blocks_are_refused(run, tmp_path, options, message):
    found = run("inspect", *SMALL, *options)
    assert found.exit_code == 2
    assert re.search(message, found.stderr)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [
        ["--lr", "0.1"],
        ["--partition", "planet"],
        ["--optimizer", "gd", "--lr", "0.1"],
        ["--optimizer", "gd", "--lr", "0", "--at", "1"],
        ["--optimizer", "gd", "--lr", "1", "--at", "-5"],
        ["--optimizer", "adam:nope=1", "--lr", "1", "--at", "1"],
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_also_where_the_hessian_takes_long(run, tmp_path, options):
    """What will take long is said of work that is done, not before a refusal."""
    found = run("inspect", *options)  # the default model, whose Hessian has many columns
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr.startswith("Error: ")
    assert found.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
