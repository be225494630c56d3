"""Sweeps over streams of samples: dials of the oracle, what is stored, and the exact mean beside the runs."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from quadsim.cli.text.guarantee_table import guarantee_tables
from quadsim.cli.text.sweep_columns import extra_columns
from quadsim.simulator import SweepConfig, load_results, sweep
from quadsim.simulator.figures.sweep_figures import gap_table
from quadsim.simulator.problems.oracles import FULL, Stream
from quadsim.theory import guarantees, judge

CONFIG = SweepConfig(
    heterogeneity=(1.0, 100.0), batch=("4", "full"), label_noise=0.1, seeds=4, steps=150, tolerance=0.1, lr_density=2,
    optimizers=("gd", "adam"), engine="reference",
)  # fmt: skip


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    return sweep(CONFIG, judge, out=tmp_path_factory.mktemp("sweep") / "it", guarantor=guarantees, figures=False)


def test_dials_of_the_oracle_are_crossed_and_the_full_batch_stands_once():
    config = SweepConfig(
        heterogeneity=1.0, batch=(1, 8, "full"), label_noise=(0.0, 0.1), noise_law=("normal", "student-5")
    )
    assert len(config.points) == 2 * 2 * 2 + 1
    assert [point.oracle for point in config.points][::4] == [Stream(1), Stream(8), FULL]
    assert config.facets == ["batch", "label_noise", "noise_law"]
    assert SweepConfig.from_json(config.to_json()) == config
    assert "batch" not in SweepConfig().to_json()


def test_a_stream_stands_in_the_table_with_its_samples_and_the_mean(swept):
    best = swept.best.set_index(["heterogeneity", "batch", "optimizer"])
    assert (best.loc[(100.0, "4", "gd"), "steps_median"] > best.loc[(100.0, "full", "gd"), "steps_median"]).all()
    (samples,) = (column for column in extra_columns(swept) if column.heading == "samples")
    for row in swept.best.to_dict("records"):
        stream = row["batch"] == "4"
        assert samples.text(row, 150) == (f"{4 * row['steps_median']:g}" if stream else "")
    means = swept.guarantees[swept.guarantees["kind"] == "in the mean"]
    assert set(means["theorem"]) == {"sgd-moments", ""}
    of_gd = means[means["theorem"] == "sgd-moments"]
    ratio = of_gd["bound_steps"] / of_gd["steps"]
    assert np.isfinite(ratio).all()
    assert 0.3 < ratio.median() < 3.0
    text = str(guarantee_tables(swept)[0].rows)
    assert "100, batch 4" in text
    assert "the mean over draws, exactly" in text


def test_floor_and_critical_batch_are_columns_and_the_exact_mean_is_drawn(swept):
    floor, critical = (c for c in extra_columns(swept) if c.heading in ("mean floor", "critical batch"))
    for row in swept.best.to_dict("records"):
        known = (row["batch"], row["optimizer"]) == ("4", "gd")
        assert (floor.text(row, 150) != "", critical.text(row, 150) != "") == (known, known)
        if not known:
            continue
        problem = CONFIG.points[row["point"]].problem(4, CONFIG.seed)
        x = float(row["lr"]) * np.concatenate([v.reshape(4, -1) for v in problem.eigenvalues.values()], axis=1)
        c = (x / (8.0 - 5.0 * x)).sum(axis=1)
        expected = np.median(0.1**2 * c / (2.0 * (1.0 - c)) / problem.initial_gap)
        assert floor.number(row) == pytest.approx(expected, rel=1e-9)
        smallest = next(
            b
            for b in range(1, 10**6)
            if (x[0] / (2 * b - x[0] * (b + 1))).sum() <= 0.5 and 2 * b > x[0].max() * (b + 1)
        )
        assert critical.number(row) == smallest
    drawn = gap_table(swept)
    of_gd = drawn[(drawn["panel"].str.contains("batch 4")) & (drawn["optimizer"] == "gd")]
    assert of_gd["bound"].notna().all()
    assert (of_gd["floor"] > 0.0).all()
    assert drawn[drawn["optimizer"] == "adam"]["floor"].isna().all()


def test_the_momentum_that_optimizers_list_is_swept_on_a_stream():
    swept = sweep(replace(CONFIG, heterogeneity=(1.0,), batch=("4",), optimizers=("heavy-ball:momentum=0.5|0.9",)))
    assert set(swept.best["setting"]) <= {"heavy-ball:momentum=0.5", "heavy-ball:momentum=0.9"}
    assert (swept.best["settings_tried"] == 2).all()
    assert "heavy-ball" in SweepConfig().optimizers


def test_no_bound_of_the_full_gradient_stands_at_a_stream(swept):
    points = set(swept.best[swept.best["batch"] == "4"]["point"])
    told = swept.guarantees[swept.guarantees["point"].isin(points)]
    assert set(told["kind"]) == {"in the mean"}
    assert swept.best[swept.best["batch"] == "4"]["bound_median"].isna().all()


def test_a_stored_stream_is_read_again(swept):
    again = load_results(swept.folder)
    assert again.config == CONFIG
    assert list(again.best["batch"]) == list(swept.best["batch"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch": 0}, "batch must be a whole number of at least 1, got 0; give the samples in a step, as 8, or full"),
        ({"batch": "2.5"}, "batch must be a whole number of at least 1, got '2.5'"),
        ({"batch": 8, "label_noise": -0.1}, "label noise must be a number of at least 0, got -0.1"),
        ({"batch": 8, "label_noise": float("nan")}, "label noise must be a number of at least 0, got nan"),
        ({"batch": 8, "noise_law": "student-2"}, "noise law must be normal or student-NU with NU > 2 degrees of freedom"),
        ({"label_noise": 0.1}, "label noise must come with a batch of samples, got (0.1,) with the full batch"),
        ({"batch": "full", "noise_law": "student-3"}, "noise law must come with a batch of samples"),
        ({"batch": 8, "engine": "closed-form"}, "engine for gd must be one of"),
        ({"batch": 8, "optimizers": (torch.optim.NAdam,)}, "batch must be full for a class of torch, got 8 with"),
    ],
)  # fmt: skip
def test_a_wrong_stream_is_refused_in_one_line(values, message, tmp_path):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as caught:
        sweep(SweepConfig(seeds=2, steps=5, **values), out=tmp_path / "it")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "it").exists()


def test_tails_of_the_steps_are_counted_in_bounded_memory():
    """Against all runs kept as rows: quantiles at 1 - delta are upper ends of bins, and no chance is told that ten runs do not exceed."""
    values = {
        "heterogeneity": 10.0,
        "blocks": 1,
        "block_size": 2,
        "batch": ("2",),
        "label_noise": 0.2,
        "noise_law": ("student-3",),
    }
    values |= {"heterogeneity": 1.0, "seeds": 1200, "steps": 60, "lr": (0.1,), "tolerance": 0.3, "optimizers": ("gd",)}
    values |= {"engine": "reference"}
    tails = sweep(SweepConfig(**values, keep="quantiles")).tails
    rows = sweep(SweepConfig(**values, keep="rows"))
    assert rows.tails is None
    assert tails["chance"].tolist() == pytest.approx([0.1, 0.01])
    steps = rows.summary["steps_to_tolerance"].to_numpy()
    assert np.isfinite(tails["steps"]).any()
    for row in tails.to_dict("records"):
        share = row["chance"] * row["runs"]
        assert np.isinf(row["steps"]) or np.sum(steps > row["steps"]) <= share
        below = 60.0 if np.isinf(row["steps"]) else row["steps"] / 1.13 - 1.0  # bins are 12% wide
        assert np.sum(steps > below) > share or row["steps"] == 1.0
        assert row["steps_low"] <= row["steps"] <= row["steps_high"]
    assert (tails["runs"] == 1200).all()
