"""Counts and histograms in place of a row per run: against rows, in chunks, stored, and as the command line says it."""

import importlib
import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.simulator import BlockQuadratic, SweepConfig, load_results, simulate, sweep
from quadsim.simulator.engines.counting import bin_edges, count_runs, count_steps
from quadsim.simulator.figures.sweep_figures import gap_figure
from quadsim.simulator.support.statistics import counted_quantile, middle_95, quantile, resampled_counted_medians
from quadsim.simulator.sweeps.config.grid import ROWS_UP_TO
from quadsim.simulator.sweeps.results.statistics import best_counted_rates
from quadsim.simulator.sweeps.run.driver import work_of
from quadsim.theory import judge

work = importlib.import_module("quadsim.simulator.sweeps.work.quadratics")
QuadraticWork = work.QuadraticWork
KEYS = ["point", "optimizer", "lr"]
GRID = {"heterogeneity": (1, 10), "seeds": 7, "steps": 600, "block_size": 3, "blocks": 2}
GRID["optimizers"] = (
    "gd",
    "signsgd",
    "adam",
)  # with those that often miss the tolerance, rows and counts may extend differently


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The same sweep, with rows and with quantiles."""
    folder = tmp_path_factory.mktemp("keep")
    return tuple(sweep(SweepConfig(**GRID, keep=keep), judge, out=folder / keep) for keep in ("rows", "quantiles"))


def next_edge(values, steps):
    """The upper end of the bin each value lies in."""
    edges = np.append(bin_edges(steps), np.inf)
    return edges[np.searchsorted(edges, values)]


def test_status_counts_are_those_of_the_rows(both):
    rows, counts = both
    expected = rows.summary.groupby([*KEYS, "status"]).size().unstack(fill_value=0)
    found = counts.summary.set_index(KEYS)
    for status in ("converged", "not_reached", "diverged"):
        assert expected[status].sum() > 0
        pd.testing.assert_series_equal(found[status], expected[status].reindex(found.index), check_names=False)
    assert counts.runs == rows.runs == len(rows.summary)


def test_every_bin_holds_the_runs_that_belong_there(both):
    rows, counts = both
    reached = rows.summary[rows.summary["status"] == "converged"]
    upper = next_edge(reached["steps_to_tolerance"], 600)
    expected = reached.assign(up_to=upper.astype(int)).groupby([*KEYS, "up_to"]).size()
    found = counts.histogram.set_index([*KEYS, "up_to"])["runs"]
    pd.testing.assert_series_equal(found[found > 0].sort_index(), expected.sort_index(), check_names=False)


def test_quantiles_are_the_upper_ends_of_the_bins_of_those_of_the_rows(both):
    rows, counts = both
    for key, group in rows.summary.groupby(KEYS):
        found = counts.summary.set_index(KEYS).loc[key]
        steps = np.where(group["status"] == "converged", group["steps_to_tolerance"], np.inf)
        for q, name in ((0.1, "steps_q10"), (0.5, "steps_median"), (0.9, "steps_q90")):
            assert found[name] == next_edge(quantile(steps, q), 600), (key, name)  # of 7 runs: one order statistic


def test_best_rates_are_those_of_the_rows_where_a_histogram_can_tell(both):
    rows, counts = both
    told = 0
    for row, found in zip(rows.best.to_dict("records"), counts.best.to_dict("records"), strict=True):
        assert (row["point"], row["optimizer"], row["rates_tried"]) == tuple(
            found[name] for name in ("point", "optimizer", "rates_tried")
        )
        others = counts.summary.query("point == @row['point'] and optimizer == @row['optimizer']")
        best = others["steps_median"].min()
        assert found["steps_median"] == best == next_edge(row["steps_median"], 600)
        if np.isfinite(best) and (others["steps_median"] == best).sum() == 1:
            told += 1
            assert found["lr"] == row["lr"]
            assert found["reached"] == row["reached"]
    assert told >= 2


def test_bounds_are_checked_and_counted(both):
    rows, counts = both
    expected = rows.summary.groupby([*KEYS, "verdict"]).size().unstack(fill_value=0)
    found = counts.summary.set_index(KEYS)
    for word in ("holds", "not applicable"):
        counted = found[f"verdict_{word.replace(' ', '_')}"]
        pd.testing.assert_series_equal(counted, expected[word].reindex(found.index), check_names=False)
    worst = rows.summary.groupby(KEYS)["margin"].max().reindex(found.index)
    pd.testing.assert_series_equal(found["margin_worst"], worst, check_names=False)
    gd = [results.best[results.best["optimizer"] == "gd"]["bound_median"].to_numpy() for results in both]
    assert np.isfinite(gd[0]).all()
    np.testing.assert_array_equal(gd[1], next_edge(gd[0], 600))
    assert f"Bounds on these runs: {expected['holds'].sum()} holds" in " ".join(counts.notes)
    assert "Bounds were not checked" in " ".join(sweep(SweepConfig(**GRID | {"steps": 5}, keep="quantiles")).notes)


def test_chunks_do_not_change_a_bit(both, monkeypatch):
    config = both[1].config
    monkeypatch.setattr(work, "UNIT_BYTES", 2 * QuadraticWork(config).problem_bytes(config.points[0], 9))
    assert len(QuadraticWork(config).firsts(config.points[0], config.specs[0], 9)) == 4
    pd.testing.assert_frame_equal(sweep(config, judge).histogram, both[1].histogram, check_exact=True)


def test_stored_results_are_what_was_computed(both):
    counts = both[1]
    stored = load_results(counts.folder)
    for name in ("histogram", "summary", "best"):
        pd.testing.assert_frame_equal(getattr(stored, name), getattr(counts, name), check_exact=True)
    assert (stored.answers, stored.notes, stored.config) == (counts.answers, counts.notes, counts.config)
    assert stored.curves is None
    assert {p.name for p in counts.folder.iterdir()} == {
        "config.json",
        "manifest.json",
        "histogram.parquet",
        "figures",
        "report.html",
    }
    assert {p.name for p in (counts.folder / "figures").iterdir()} == {
        f"{name}.{suffix}" for name in counts.figures for suffix in ("png", "pdf", "csv")
    }
    assert "gap" not in counts.figures
    with pytest.raises(
        ValueError, match="results must hold curves, got those of a sweep that kept quantiles; use --keep"
    ):
        gap_figure(stored)


def test_a_histogram_with_a_row_missing_is_refused(both, tmp_path):
    import shutil

    folder = tmp_path / "a"
    shutil.copytree(both[1].folder, folder)
    pd.read_parquet(folder / "histogram.parquet").iloc[1:].to_parquet(folder / "histogram.parquet")
    with pytest.raises(ValueError, match=r"must be as they were written, got .*, where histogram.parquet changed"):
        load_results(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]  # as in folders of before there were checksums
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"results must be readable, got .* must hold all bins of every rate"):
        load_results(folder)


@pytest.mark.parametrize("damaged", [False, True])
def test_an_interrupted_sweep_goes_on_chunk_by_chunk(both, tmp_path, monkeypatch, damaged):
    config = both[1].config
    monkeypatch.setattr(work, "UNIT_BYTES", 4 * QuadraticWork(config).problem_bytes(config.points[0], 9))
    real, calls = work.simulate_optimizer, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(work, "simulate_optimizer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(config, judge, out=tmp_path / "a", present=None)
    units = sorted((tmp_path / "a/units").iterdir())
    assert len(units) == 3
    assert sum(unit.stat().st_size for unit in units) < 100_000
    if damaged:
        units[0].write_bytes(units[0].read_bytes()[:-40])
    calls[:] = [1] * 4
    again = sweep(config, judge, out=tmp_path / "a", present=None)
    fresh = len(calls) - 4
    calls[:] = [1] * 4
    sweep(config, judge)
    assert fresh == len(calls) - 4 - 3 + damaged
    assert not (tmp_path / "a/units").exists()
    pd.testing.assert_frame_equal(again.histogram, both[1].histogram, check_exact=True)


def test_what_is_kept_depends_on_the_number_of_runs(monkeypatch):
    assert ROWS_UP_TO == 10**7
    config = SweepConfig(lr=(0.1,), optimizers=("gd",), heterogeneity=(1,), seeds=10**7)
    assert config.runs == 10**7
    assert config.kept == "rows"
    assert SweepConfig(lr=(0.1,), optimizers=("gd",), heterogeneity=(1,), seeds=10**7 + 1).kept == "quantiles"
    monkeypatch.setattr("quadsim.simulator.sweeps.config.quadratics.ROWS_UP_TO", 300)
    assert SweepConfig(**GRID).kept == "quantiles"  # 2 points, 3 optimizers, 7 problems, 9 rates: 378
    assert SweepConfig(**GRID, keep="rows").kept == "rows"


def test_memory_stated_does_not_grow_with_seeds():
    few, many = (SweepConfig(**GRID | {"seeds": seeds}, keep="quantiles") for seeds in (10**6, 10**9))
    assert QuadraticWork(few).memory() == QuadraticWork(many).memory()
    assert QuadraticWork(many).memory() < 2e9


def test_rows_beyond_memory_are_refused_with_the_way_out(monkeypatch):
    monkeypatch.setattr("quadsim.simulator.sweeps.work.work.physical_memory", lambda: 1.5e9)
    with pytest.raises(ValueError, match=r"got one that needs about .* runs; use --keep quantiles, which keeps counts"):
        work_of(SweepConfig(seeds=100_000, keep="rows")).check()
    work_of(SweepConfig(seeds=100_000, keep="quantiles")).check()


def test_counted_quantiles_are_quantiles_of_upper_ends():
    rng = np.random.default_rng(0)
    edges = np.array([1, 2, 5, 10])
    for number in (1, 2, 7, 10, 40):
        values = rng.choice([1.0, 2.0, 5.0, 10.0, np.inf], size=number)
        counts = [(values == edge).sum() for edge in edges]
        for q in (0.1, 0.5, 0.9):
            assert counted_quantile(edges, counts, number, q) == quantile(values, q)


def test_bootstrap_of_counts_resamples_each_histogram():
    edges = np.arange(1, 101)
    counts = np.ones(100, dtype=int)
    above, below = (resampled_counted_medians(counts, edges, 100, seed) for seed in (0, 1))
    low, high = middle_95(above / below)
    # The median of 100 uniform values has standard error 0.1; of the log ratio of two such, 0.14.
    assert 0.65 < low < 0.85 < 1.2 < high < 1.55
    assert np.isinf(resampled_counted_medians(counts, edges, 1000, 0)).all()


def test_where_no_rate_reaches_the_tolerance_the_middle_one_is_named():
    def rate(lr, exponent, converged, diverged=0):
        steps = dict.fromkeys(("steps_median", "steps_q10", "steps_q90"), np.inf)
        counts = {"converged": converged, "not_reached": 10 - converged - diverged, "diverged": diverged}
        return (
            {"point": 0, "optimizer": "gd", "lr": lr, "lr_exponent": exponent, "bound_median": np.nan}
            | {"solved": converged, "steps_first_median": np.inf, "steps_stay_median": np.inf}
            | steps
            | counts
        )

    def best(*rows):
        found = best_counted_rates(pd.DataFrame(rows), []).iloc[0]
        return found["lr"], found["at_edge"]

    assert best(rate(0.1, "-1", 0), rate(1.0, "0", 0), rate(10.0, "1", 0)) == (1.0, "")
    assert best(rate(0.1, "-1", 0), rate(1.0, "0", 0, 1), rate(10.0, "1", 0, 1)) == (0.1, "")
    assert best(rate(0.1, "-1", 0), rate(1.0, "0", 0), rate(10.0, "1", 2)) == (10.0, "high")


def test_one_function_counts_trajectories_and_bounds():
    run = simulate(
        BlockQuadratic.generate(problems=9, heterogeneity=3), "gd", lr=[0.05, 0.2, 3.0], steps=90, record="log"
    )
    counted = count_runs(run)
    assert {name: counts.tolist() for name, counts in counted.status.items()} == {
        name: (run.status == name).sum(axis=0).tolist() for name in ("converged", "not_reached", "diverged")
    }
    assert counted.status["diverged"][2] == 9
    reached = np.where(run.status == "converged", run.steps_to_tolerance, np.inf)
    np.testing.assert_array_equal(counted.hits, count_steps(reached, 90))
    np.testing.assert_array_equal(counted.stays, count_steps(run.steps_to_stay, 90))
    np.testing.assert_array_equal(count_steps([[0.0], [1.5], [90.0], [91.0], [np.nan]], 90).sum(), 3)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["--heterogeneity", "1,4", "--seeds", "3", "--steps", "400", "--block-size", "3", "--blocks", "2"]

    def call(*arguments):
        return CliRunner().invoke(app, ["sweep", *small, *arguments], catch_exceptions=False)

    return call


def test_the_table_says_what_it_shows(run):
    result = run("--keep", "quantiles", "--out", "a")
    assert result.exit_code == 0, result.stderr
    for text in (
        "median steps (at most)",
        "10-90% (at most)",
        "is ahead",
        "upper ends of bins",
        "not paired",
        "Bounds on",
    ):
        assert text in result.stdout, text
    assert "Files: a/ (report.html, histogram.parquet, figures/, config.json, manifest.json)" in result.stdout
    assert run("--keep", "quantiles", "--out", "a").stdout == result.stdout


def test_json_and_dry_run_say_what_is_kept(run, tmp_path, monkeypatch):
    document = json.loads(run("--keep", "quantiles", "--json", "--out", "a").stdout)
    assert (document["runs"], document["kept"]) == (324, "quantiles")
    assert {row["optimizer"] for row in document["best"]} == {
        "gd",
        "signsgd",
        "adam:beta1=0",
        "heavy-ball",
        "signum",
        "adam",
    }
    assert "quantiles kept" in run("--keep", "quantiles", "--dry-run").stdout
    assert "rows kept" in run("--dry-run").stdout
    monkeypatch.setattr("quadsim.simulator.sweeps.config.quadratics.ROWS_UP_TO", 100)
    automatic = run("--out", "b")
    assert "324 runs: counts and histograms are kept, no row a run (--keep rows for those)." in automatic.stderr
    assert (tmp_path / "b/histogram.parquet").is_file()


def test_a_wrong_choice_is_one_line(run, tmp_path):
    result = run("--keep", "row")
    assert result.exit_code == 2
    assert "keep must be one of rows, quantiles, got 'row'; did you mean 'rows'?" in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
