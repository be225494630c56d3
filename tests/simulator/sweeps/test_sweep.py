"""Sweeps: grids, extension, chunks, stored results, figures, and the effect itself."""

import importlib
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from quadsim.simulator import RULES, SweepConfig, load_results, simulate, sweep
from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.theory import judge

work = importlib.import_module("quadsim.simulator.sweeps.work.quadratics")
QuadraticWork = work.QuadraticWork


@pytest.fixture(scope="module")
def default(tmp_path_factory):
    return sweep(SweepConfig(), judge, out=tmp_path_factory.mktemp("sweep") / "default", present=None)


def medians(results, optimizer):
    rows = results.best[results.best["optimizer"] == optimizer]
    return rows["steps_median"].to_numpy()


def test_the_default_shows_the_effect(default):
    gd, adam, sign = (medians(default, name) for name in ("gd", "adam", "signsgd"))
    # Prototype, median of 5 seeds: GD 35/251/1943, Adam 122/123/122, within 15% as the grid's anchor moves them.
    np.testing.assert_allclose(gd, [35, 251, 1943], rtol=0.15)
    np.testing.assert_allclose(adam, [122, 123, 122], rtol=0.15)
    assert sign.max() / sign.min() < 1.3
    assert 2000 < sign.mean() < 4000
    assert (default.best["at_edge"] == "").all()


def test_a_row_for_every_run_with_all_columns(default):
    summary = default.summary
    assert {
        "heterogeneity", "heterogeneity_achieved", "seed", "optimizer", "setting", "family", "lr", "lr_exponent", "status",
        "steps_to_tolerance", "final_gap", "empirical_rate", "bound_steps", "margin", "verdict",
    } <= set(summary.columns)  # fmt: skip
    keys = ["heterogeneity", "seed", "optimizer", "setting", "lr"]
    assert not summary.duplicated(keys).any()
    assert len(summary) == 3 * 16 * 6 * summary.groupby("optimizer")["lr_exponent"].nunique().iloc[0]
    assert not summary["steps_to_tolerance"].isna().any()
    np.testing.assert_allclose(summary["heterogeneity_achieved"], summary["heterogeneity"], rtol=1e-12)


def test_the_bound_is_never_on_the_wrong_side(default):
    gd = default.summary[default.summary["optimizer"] == "gd"]
    assert set(gd["verdict"]) == {"holds"}
    assert (gd["steps_to_tolerance"] <= gd["bound_steps"]).all()
    others = default.summary[default.summary["optimizer"] != "gd"]
    assert set(others["verdict"]) == {"not applicable"}
    assert others["bound_steps"].isna().all()


def test_rates_are_shared_by_all_seeds_and_are_exact_exponents(default):
    summary = default.summary
    assert (summary.groupby(["heterogeneity", "optimizer", "lr_exponent"])["lr"].nunique() == 1).all()
    point, spec = default.config.points[2], default.config.specs[0]
    natural = point.natural_lr(spec, 1e-6)
    assert natural == pytest.approx(np.sqrt(2) / 100)
    gd = summary[(summary["optimizer"] == "gd") & (summary["heterogeneity"] == 100)]
    for text, lr in zip(gd["lr_exponent"], gd["lr"], strict=True):
        assert lr == natural * 10.0 ** float(Fraction(text))


def test_every_rule_has_a_natural_rate_from_the_dials():
    config = SweepConfig(heterogeneity=(3,), gradient_heterogeneity=(None, 5), optimizers=tuple(RULES))
    for point in config.points:
        for spec in config.specs:
            assert 0 < point.natural_lr(spec, 1e-6) < np.inf


def test_natural_rate_scales_as_the_rule_does():
    # GD's rate has units 1/curvature, a sign rate the units of the error.
    spec = OptimizerSpec.parse("gd")
    low, high = SweepConfig(heterogeneity=(1, 100)).points
    assert high.natural_lr(spec, 1e-6) == pytest.approx(low.natural_lr(spec, 1e-6) / 100)
    spec = OptimizerSpec.parse("signsgd")
    assert high.natural_lr(spec, 1e-4) == pytest.approx(10 * low.natural_lr(spec, 1e-6))


def test_arrange_leaves_gd_alone_and_changes_adam():
    config = SweepConfig(mode="arrange", heterogeneity=(3, 30, 300), optimizers=("gd", "adam"), seeds=6, steps=15000)
    results = sweep(config, judge)
    gd = results.summary[(results.summary["optimizer"] == "gd")].pivot_table(
        index=["seed", "lr"], columns="heterogeneity", values="steps_to_tolerance"
    )
    assert gd.nunique(axis=1).max() == 1
    adam = medians(results, "adam")
    assert adam[0] > 2 * adam[2]
    achieved = results.best.drop_duplicates("point")["heterogeneity_achieved"].to_numpy()
    assert achieved == pytest.approx([3, 30, 300], rel=0.15)


def test_engines_give_gd_the_same_hitting_times():
    found = []
    for engine in ("reference", "closed-form"):
        config = SweepConfig(heterogeneity=(1, 30), optimizers=("gd", "heavy-ball"), seeds=4, steps=1500, engine=engine)
        found.append(sweep(config).summary["steps_to_tolerance"].to_numpy())
    reached = np.isfinite(found[0])
    assert reached.any()
    assert (reached == np.isfinite(found[1])).all()
    assert np.abs(found[0][reached] - found[1][reached]).max() <= 1


def test_the_grid_is_extended_for_all_optimizers_together():
    # At a loose tolerance the best rate of lion is a decade above its natural one.
    config = SweepConfig(heterogeneity=(10,), optimizers=("gd", "lion"), seeds=3, steps=400, tolerance=0.01)
    results = sweep(config)
    counts = results.summary.groupby("optimizer")["lr"].nunique()
    assert counts.nunique() == 1
    assert counts.iloc[0] > 9
    assert (results.best["at_edge"] == "").all()


def test_an_edge_that_cannot_be_moved_is_said():
    config = SweepConfig(heterogeneity=(10,), optimizers=("gd",), seeds=2, steps=300, lr=(1e-4, 1e-3))
    results = sweep(config)
    assert results.best["at_edge"].tolist() == ["high"]
    assert set(results.summary["lr_exponent"]) == {""}
    assert set(results.summary["lr"]) == {1e-4, 1e-3}


def test_chunks_do_not_change_the_results(monkeypatch):
    config = SweepConfig(heterogeneity=(10,), optimizers=("gd", "signsgd", "adam"), seeds=5, steps=300)
    whole = sweep(config).summary
    monkeypatch.setattr(work, "UNIT_BYTES", 2 * QuadraticWork(config).problem_bytes(config.points[0], 9))
    assert len(QuadraticWork(config).firsts(config.points[0], config.specs[0], 9)) == 3
    pd.testing.assert_frame_equal(whole, sweep(config).summary, check_exact=True)


def test_stored_results_are_what_was_computed(default):
    stored = load_results(default.folder)
    pd.testing.assert_frame_equal(stored.summary, default.summary, check_exact=True)
    pd.testing.assert_frame_equal(stored.best, default.best, check_exact=True)
    assert stored.answers == default.answers
    assert stored.config == default.config
    assert stored.curves.equals(default.curves)


def test_the_same_configuration_twice_is_bitwise_equal(default, tmp_path):
    again = sweep(SweepConfig(), judge, out=tmp_path / "again", present=None)
    a, b = (pd.read_parquet(r.folder / "summary.parquet") for r in (default, again))
    pd.testing.assert_frame_equal(a, b, check_exact=True)


def test_curves_are_the_best_runs(default):
    curves = default.curves
    for p in range(3):
        for o, name in enumerate(default.config.optimizers):
            lr = float(curves["lr"].values[p, o])
            best = default.best[(default.best["point"] == p) & (default.best["optimizer"] == name)]
            assert lr == best["lr"].item()
    run = simulate(
        default.config.points[1].problem(16, 0), "adam", lr=float(curves["lr"].values[1, 5]), steps=10_000, record="log"
    )
    np.testing.assert_allclose(curves["gap"].values[1, 5][:, :30], run.gap[:, 0, :30], rtol=1e-9)


def test_load_results_needs_a_finished_sweep(tmp_path):
    with pytest.raises(
        ValueError, match=r"results must be a folder with a finished sweep, got .*, which holds no sweep; name one"
    ):
        load_results(tmp_path)


def test_cases_and_sizes_within_a_problem():
    config = SweepConfig(case=("heterogeneous", "cnn-like"), optimizers=("gd",), seeds=2, steps=50)
    results = sweep(config)
    assert results.best["case"].tolist() == ["heterogeneous", "cnn-like"]
    assert results.best["heterogeneity_achieved"].iloc[0] == pytest.approx(5000 / 3)
    assert results.best["block_size"].tolist() == ["3+3+3", "30+30+30+30"]
    sizes = sweep(SweepConfig(heterogeneity=(2,), block_size=((1, 4, 9), 3), optimizers=("gd",), seeds=2, steps=50))
    assert sizes.best["block_size"].tolist() == ["1+4+9", "3"]
    assert sizes.best["blocks"].tolist() == [3, 4]
    assert "over 50 steps at heterogeneity 2, block size 3" in sizes.answers[0]


def test_hyperparameters_reach_the_rule():
    config = SweepConfig(
        heterogeneity=(5,), optimizers=("adam", "adam:beta1=0:eps=0.001"), seeds=2, steps=60, lr=(0.1,)
    )
    summary = sweep(config).summary
    direct = simulate(config.points[0].problem(2, 0), "adam", lr=0.1, steps=60, beta1=0.0, eps=1e-3)
    other = summary[summary["optimizer"] == "adam:beta1=0:eps=0.001"]
    np.testing.assert_array_equal(other["final_gap"], direct.gap[:, 0, -1])
    assert not np.array_equal(other["final_gap"], summary[summary["optimizer"] == "adam"]["final_gap"])


def test_diverged_runs_stay_in_the_table():
    summary = sweep(SweepConfig(heterogeneity=(3,), optimizers=("gd",), seeds=3, steps=900, lr=(0.1, 10.0))).summary
    assert summary["status"].value_counts().to_dict() == {"diverged": 3, "converged": 3}
    diverged = summary[summary["status"] == "diverged"]
    assert np.isinf(diverged["steps_to_tolerance"]).all()
    assert np.isinf(diverged["final_gap"]).all()


def test_config_round_trips_and_its_digest_names_it():
    config = SweepConfig(
        heterogeneity=[1, 2.5], block_size=[3, (1, 4)], blocks=2, alignment=None, lr=np.array([0.1, 0.01])
    )
    import json

    again = SweepConfig.from_json(json.loads(json.dumps(config.to_json())))
    assert again == config
    assert again.digest == config.digest
    assert config.lr == (0.01, 0.1)
    assert SweepConfig(seed=1).digest != SweepConfig().digest


def test_notes_say_what_a_reader_must_know():
    config = SweepConfig(heterogeneity=(1, 10), optimizers=("adam", "adamw"), seeds=3, steps=3000, lr=(0.3,))
    notes = " ".join(sweep(config).notes)
    assert "adam and adamw are above the tolerance again in the end (at heterogeneity 1" in notes
    assert "at the best rate adam is above" in " ".join(sweep(replace(config, optimizers=("adam",))).notes)
    assert "the weight decay of adamw pulls towards the solution" in notes
    assert "of adam pulls" not in notes
    assert "is the smallest one tried" in notes


def test_a_damaged_unit_is_run_again(tmp_path, monkeypatch):
    config = SweepConfig(heterogeneity=(2,), optimizers=("gd", "adam"), seeds=2, steps=100, lr=(0.1,))
    whole = sweep(config).summary
    real, calls = work.simulate_optimizer, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(work, "simulate_optimizer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(config, out=tmp_path / "a", present=None)
    (unit,) = (tmp_path / "a/units").iterdir()
    unit.write_bytes(b"junk")
    again = sweep(config, out=tmp_path / "a", present=None)
    pd.testing.assert_frame_equal(whole, again.summary, check_exact=True)


def test_a_run_of_one_step_and_twelve_optimizers_can_be_drawn(tmp_path):
    config = SweepConfig(heterogeneity=(1, 10), optimizers=tuple(RULES)[:12], seeds=2, steps=1)
    results = sweep(config, judge, out=tmp_path / "a")
    assert (results.folder / "figures/gap.png").stat().st_size > 10_000
    from quadsim.simulator.figures.panels import styles_of

    styles = styles_of(tuple(RULES))
    assert len({(tuple(style["color"]), style["marker"]) for style in styles.values()}) == len(RULES)


def test_an_alignment_beside_equal_blocks_runs_there_without_effect(tmp_path):
    config = SweepConfig(
        heterogeneity=(1, 9), alignment=(-1, 1), optimizers=("gd",), seeds=2, steps=30, blocks=(3,), block_size=(2,)
    )
    equal, aligned = ([p for p in config.points if p.dials["heterogeneity"] == c] for c in (1, 9))
    first, second = (point.problem(2, 0).initial_error[2] for point in equal)
    np.testing.assert_array_equal(first, second)
    assert [point.problem(2, 0).achieved["alignment"][0] for point in aligned] == pytest.approx([-1, 1])
    assert [point.columns["gradient_heterogeneity"] for point in config.points] == pytest.approx([1, 9, 1, 9])
    notes = " ".join(sweep(config, out=tmp_path / "a", present=None).notes)
    assert "Alignment has no effect at heterogeneity 1: " in notes
    assert "Gradients spread over the blocks as the curvatures L_l do" in notes
