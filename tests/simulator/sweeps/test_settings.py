"""Settings of which the best is chosen, what counts as solved, and choosing on half of the seeds."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from quadsim.simulator import SweepConfig, load_results, sweep
from quadsim.simulator.sweeps.config.families import config_from_json
from quadsim.simulator.sweeps.results.quadratics import notes
from quadsim.theory import judge

SMALL = {
    "heterogeneity": (1, 30),
    "blocks": 2,
    "block_size": 2,
    "seeds": 8,
    "steps": 200,
    "tolerance": 1e-3,
    "lr_density": 2,
}
LISTED = ("heavy-ball:momentum=0|0.5|0.9", "gd", "heavy-ball")


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    return sweep(SweepConfig(optimizers=LISTED, **SMALL), out=tmp_path_factory.mktemp("s") / "s", present=None)


def test_every_setting_is_run_and_the_best_one_is_chosen(listed):
    summary = listed.summary
    assert dict(summary.groupby("optimizer")["setting"].nunique()) == {LISTED[0]: 3, "gd": 1, "heavy-ball": 1}
    assert len(summary) == 2 * 8 * 5 * summary["lr_exponent"].nunique()
    for key, runs in summary.groupby(["point", "optimizer"]):
        medians = runs.groupby(["setting", "lr"])["steps_to_tolerance"].median()
        best = listed.best.set_index(["point", "optimizer"]).loc[key]
        assert best["steps_median"] == medians.min() == medians[best["setting"], best["lr"]]
        chosen = runs[runs["best_lr"]]
        assert set(zip(chosen["setting"], chosen["lr"], strict=True)) == {(best["setting"], best["lr"])}
    assert listed.best["setting"].tolist()[:3] == ["heavy-ball:momentum=0.5", "gd", "heavy-ball"]
    assert listed.best["family"].tolist() == ["momentum", "plain", "momentum"] * 2


def test_a_listed_setting_runs_as_it_does_alone(listed):
    keys = ["heterogeneity", "lr", "seed"]
    same = listed.summary[listed.summary["optimizer"] == LISTED[0]]
    for setting, other in (("heavy-ball:momentum=0.9", "heavy-ball"), ("heavy-ball:momentum=0", "gd")):
        a = same[same["setting"] == setting].sort_values(keys)
        b = listed.summary[listed.summary["optimizer"] == other].sort_values(keys)
        np.testing.assert_allclose(a["final_gap"], b["final_gap"], rtol=1e-9)


def test_budgets_and_edges_of_settings_are_said_and_curves_are_those_of_the_chosen_setting(listed):
    notes = " ".join(listed.notes)
    assert "Budgets differ (settings x rates): heavy-ball (best of 3) 3 x " in notes
    assert "momentum of heavy-ball (best of 3) at 1 is" not in notes  # 0 is the end of the range: no edge
    assert listed.curves["setting"].values[:, 0].tolist() == listed.best["setting"].tolist()[::3]
    for p in (0, 1):
        row = listed.summary.query("point == @p and optimizer == @LISTED[0] and best_lr").sort_values("seed")
        np.testing.assert_array_equal(listed.curves["gap"].values[p, 0, :, -1], row["final_gap"])
    again = load_results(listed.folder)
    pd.testing.assert_frame_equal(again.best, listed.best, check_exact=True)
    assert again.answers == listed.answers


def test_the_best_rate_is_that_of_the_criterion_asked_for():
    options = SMALL | {"optimizers": ("adam",), "lr": (0.1, 0.3), "tolerance": 1e-6, "steps": 600}
    found = {until: sweep(SweepConfig(until=until, **options)) for until in ("first", "stays", "mean")}
    for until, column in (("first", "steps_to_tolerance"), ("stays", "steps_to_stay"), ("mean", "steps_to_mean")):
        results = found[until]
        pd.testing.assert_series_equal(results.summary[column], found["first"].summary[column])  # always recorded
        for row in results.best.to_dict("records"):
            runs = results.summary[results.summary["point"] == row["point"]]
            medians = runs.groupby("lr")[column].median()
            assert row["steps_median"] == medians.min() == medians[row["lr"]]
            assert row["steps_first_median"] == runs.groupby("lr")["steps_to_tolerance"].median()[row["lr"]]
            assert row["steps_stay_median"] == runs.groupby("lr")["steps_to_stay"].median()[row["lr"]]
    assert found["first"].best["lr"].tolist() != found["stays"].best["lr"].tolist()


def test_histograms_hold_both_criteria():
    options = SMALL | {"optimizers": ("adam",), "lr": (0.1, 0.3), "keep": "quantiles"}
    for until, column in (("first", "steps_to_tolerance"), ("stays", "steps_to_stay")):
        counted, rows = (sweep(SweepConfig(until=until, **options | {"keep": keep})) for keep in ("quantiles", "rows"))
        steps = rows.summary.groupby(["point", "lr"])[column]
        assert counted.summary["solved"].tolist() == steps.apply(lambda each: np.isfinite(each).sum()).tolist()
        assert (counted.best["steps_median"] >= rows.best["steps_median"]).all()
        assert (counted.best["steps_median"] <= 1.13 * rows.best["steps_median"]).all()


def test_chosen_on_half_of_the_seeds_and_reported_on_the_other():
    options = SMALL | {"optimizers": ("gd", "signsgd"), "heterogeneity": (10,), "steps": 400}
    half, whole = (sweep(SweepConfig(select_on=how, **options)) for how in ("half", "all"))
    pd.testing.assert_frame_equal(
        half.summary.drop(columns="best_lr"), whole.summary.drop(columns="best_lr"), check_dtype=False
    )
    for row in half.best.to_dict("records"):
        runs = half.summary[half.summary["optimizer"] == row["optimizer"]]
        even, odd = (runs[runs["seed"] % 2 == k].groupby("lr")["steps_to_tolerance"].median() for k in (0, 1))
        assert even[row["lr"]] == even.min()
        assert row["steps_median"] == odd[row["lr"]]
    assert (half.config.chosen_on, half.config.reported) == ([0, 2, 4, 6], [1, 3, 5, 7])  # intervals are of these
    assert "chosen on the 4 even-numbered seeds" in half.notes[0]
    assert "Medians over 4 problems, at rates chosen on 4 others" in half.answers[-1]


def test_a_folder_of_a_version_without_settings_and_criteria_is_the_same_sweep(tmp_path):
    options = SMALL | {"optimizers": ("gd", "heavy-ball"), "lr": (0.05, 0.1)}
    results = sweep(SweepConfig(**options), out=tmp_path / "s", present=None)
    stored = json.loads((tmp_path / "s/config.json").read_text())
    assert not {"until", "select_on"} & set(stored)
    assert config_from_json(stored) == results.config
    assert config_from_json(stored | {"until": "stays"}).until == "stays"
    old = results.summary.drop(columns=["setting", "family", "steps_to_stay", "steps_to_mean"])
    old.to_parquet(tmp_path / "s/summary.parquet")
    manifest = json.loads((tmp_path / "s/manifest.json").read_text())
    from quadsim.simulator.sweeps.results.integrity import checksums

    (tmp_path / "s/manifest.json").write_text(json.dumps(manifest | {"files": checksums(tmp_path / "s")}))
    again = load_results(tmp_path / "s")
    assert again.answers == results.answers
    kept = [name for name in results.best if name != "steps_stay_median"]
    pd.testing.assert_frame_equal(again.best[kept], results.best[kept], check_exact=True)
    assert again.best["steps_stay_median"].isna().all()


@pytest.mark.parametrize(("mean", "said"), [(np.nan, 1), (20.0, 0)])
def test_a_mean_that_a_gpu_does_not_record_is_said(mean, said):
    config = SimpleNamespace(
        device="cuda", problem=None, points=(), specs=(), until="stays", tolerance=1e-6, partition="hessian"
    )
    best = [{"final_gap_median": 0.0, "reached": 1.0, "bound_median": np.nan}]
    summary = pd.DataFrame({"steps_to_mean": [mean]})
    found = notes(SimpleNamespace(config=config, best_rows=best, histogram=None, summary=summary))
    assert len([note for note in found if "a steps_to_mean of NaN means not recorded" in note]) == said


def test_bounds_beside_another_criterion_are_said_to_be_on_first_crossings():
    """The table shows the steps of the criterion that was asked for, and their ratio to a bound would be another one."""
    said = "Bounds are on first crossings"
    for until in ("first", "stays", "mean"):
        for optimizer in ("gd", "adam"):  # a theorem bounds the steps of gd alone
            results = sweep(SweepConfig(until=until, **SMALL | {"optimizers": (optimizer,)}), judge)
            expected = until != "first" and optimizer == "gd"
            assert any(said in note for note in results.notes) == expected
