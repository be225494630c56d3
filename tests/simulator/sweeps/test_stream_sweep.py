"""Sweeps over streams of samples: dials of the oracle, what is stored, and the exact mean beside the runs."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sympy as sp
import torch
import xarray as xr
from scipy.stats import t as student

from quadsim.cli.pages.sweep_bounds import bounds_section
from quadsim.cli.text.guarantee_table import guarantee_tables
from quadsim.cli.text.means_table import means_notes, means_tables
from quadsim.cli.text.sweep_columns import extra_columns, steps_text
from quadsim.cli.text.sweep_table import printed_of
from quadsim.simulator import ModelSweepConfig, Rule, SweepConfig, load_results, sweep, symbols
from quadsim.simulator.figures.sweep_figures import gap_table
from quadsim.simulator.problems.oracles import FULL, Stream
from quadsim.simulator.runs.guaranteed import IN_THE_MEAN
from quadsim.simulator.sweeps.work.chunk import work_of
from quadsim.theory import guarantees, judge
from quadsim.theory.verifying.streams.sweep_means import sweep_means

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
    assert SweepConfig(batch=(8, "08", "8", "full")).batch == ("8", "full")


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


def test_the_mean_of_any_linear_rule_is_known_and_a_theorem_is_named_where_it_states_it():
    """Rules that no theorem names: one of a user, nesterov, and block-gd, which is linear with a rate for every block."""
    g, (m, n) = symbols.g, sp.symbols("m n", real=True)
    own = Rule(name="two-memories", update={m: (g + m) / 2, n: 9 * n / 10 + g}, step=-symbols.lr * (m + n))
    config = replace(
        CONFIG, heterogeneity=(1.0,), batch=("4",), steps=40, lr=(1e-3, 1e-2), optimizers=(own, "nesterov", "block-gd")
    )
    found = sweep(config, judge, guarantor=guarantees)
    known = found.guarantees.groupby("optimizer")["why_not"].first()
    assert known.to_dict() == {
        "two-memories": "", "nesterov": "", "block-gd": "no mean gap on a stream is known, as it treats blocks differently"
    }  # fmt: skip
    assert set(found.guarantees["theorem"]) == {""}
    assert set(sweep_means(found)["optimizer"]) == {"two-memories", "nesterov"}
    assert "derived from the rule" in str(means_tables(found)[0].rows)
    floors = next(c for c in extra_columns(found) if c.heading == "mean floor")
    assert [floors.text(row, 40) != "" for row in found.best_rows] == [True, True, False]
    assert "derived from the rule" in str(bounds_section(found))


def test_the_runs_of_a_sweep_are_judged_by_their_mean(swept):
    (row,) = sweep_means(swept)[lambda found: found["point"] == 0].to_dict("records")
    assert (row["optimizer"], row["theorem"], row["runs"], row["means"]) == ("gd", "sgd-moments", 4, 8)
    assert row["verdict"] == "undecided"  # four runs
    tables = means_tables(swept)
    assert "100, batch 4" in str(tables[0].rows)
    assert "refuted with a chance of 1e-06 at most (as the best rate was chosen on these runs" in means_notes(swept)[0]
    assert "exact mean on a stream" in str(bounds_section(swept))


@pytest.mark.parametrize(("off", "verdict"), [(1.0, "holds"), (1.2, "refuted"), (0.8, "refuted")])
@pytest.mark.parametrize("select_on", ["all", "half"])
def test_a_mean_that_the_runs_do_not_have_is_refuted_with_the_rate_of_error_of_the_sweep(off, verdict, select_on):
    """Runs of 400 problems of different heights, each a few percent around its own mean."""
    draw = np.random.default_rng(0)
    means = np.array([1.0, 0.5, 0.2]) * draw.uniform(0.5, 1.5, size=(400, 1))
    means /= means[:, :1]
    gaps = means * np.append(np.ones((400, 1)), 1.0 + 0.3 * draw.uniform(-1.0, 1.0, size=(400, 2)), axis=1) * 7.0
    key = {"point": 0, "optimizer": "gd", "setting": "gd", "lr": 0.1}
    known = pd.DataFrame({
        **key,
        "theorem": "sgd-moments",
        "kind": IN_THE_MEAN,
        "seed": np.arange(400),
        "curve": list(off * means),
    })
    curves = xr.Dataset(
        {"gap": (("point", "optimizer", "seed", "step"), gaps[None, None])},
        {"optimizer": ["gd"], "seed": np.arange(400)},
    )
    best = pd.DataFrame([key | {"rates_tried": 1000}])
    results = SimpleNamespace(guarantees=known, curves=curves, best=best, config=SimpleNamespace(select_on=select_on))
    (row,) = sweep_means(results).to_dict("records")
    assert row["verdict"] == verdict
    assert row["means"] == 2
    assert row["noticed"] == pytest.approx((row["allowed"] + 1.65) * 0.3 / 3**0.5 / 400**0.5 / off, rel=0.15)
    tried = 1000 if select_on == "all" else 1
    assert row["allowed"] == pytest.approx(student.isf(1e-6 / (8 * tried) / 4, 399))


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


def test_samples_of_toy_models_count_every_sequence_of_the_full_batch():
    config = ModelSweepConfig(model=("transformer",), batch=("4", "full"), heterogeneity=(1.0,))
    rows = [
        {"point": p, "batch": b, "steps_median": s}
        for p, (b, s) in enumerate([("4", 30.0), ("full", 10.0), ("4", np.inf)])
    ]
    results = SimpleNamespace(config=config, best_rows=rows, awaits_bounds=False, guarantees=None)
    samples = extra_columns(results)[0]
    assert samples.heading == "samples"
    size = config.points[1].example.task.size
    assert [samples.text(row, 100) for row in rows] == ["120", str(10 * size), "> 400"]
    assert "critical batch" not in [column.heading for column in extra_columns(results)]


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
        ({"batch": 10**14}, "batch must be at most 16,777,215 in dimension 32 (2^29 numbers a step), got 100000000000000"),
    ],
)  # fmt: skip
def test_a_wrong_stream_is_refused_in_one_line(values, message, tmp_path):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as caught:
        sweep(SweepConfig(seeds=2, steps=5, **values), out=tmp_path / "it")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "it").exists()


def test_samples_of_a_large_batch_count_as_memory():
    few, many = (work_of(SweepConfig(batch=batch, seeds=1)).memory() for batch in (1, 10**7))
    assert many - few > 10 * 8 * 32 * 10**7  # ten times the numbers of one step; measured: 12 to 16 times


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
    counted = sweep(SweepConfig(**values, keep="quantiles"))
    tails = counted.tails
    table = printed_of(counted).tables[-1]
    assert table.headings[-3:] == ["delta", "steps (at most)", "95%"]
    assert [row[2:4] for row in table.rows] == [["1,200", "0.1"], ["", "0.01"]]
    assert [row[4] for row in table.rows] == [steps_text(value, 60) for value in tails["steps"]]
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


def test_the_mean_gap_is_asked_of_a_gpu_on_streams_alone(monkeypatch):
    monkeypatch.setattr(
        "quadsim.simulator.sweeps.config.grid.check_device", lambda device: None
    )  # as where there is one
    asked = {"heterogeneity": 1.0, "until": "mean", "device": "cuda"}
    assert SweepConfig(**asked, batch=("4", "8"), label_noise=0.1).until == "mean"
    with pytest.raises(
        ValueError, match=r"^until must be first or stays where the device is cuda and the batch full, got"
    ):
        SweepConfig(**asked, batch=("4", "full"), label_noise=0.1)
