"""Finished sweeps side by side, and a part of one: numbers from the stored tables, files, and bad input in one line."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cases import BAD_COMPARISONS, BAD_PARTS
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.cli.text.ratios import ratio_rows
from quadsim.simulator import RULES, ModelSweepConfig, SweepConfig, load_results, sweep
from quadsim.simulator.figures.ratio_figure import ratio_figure
from quadsim.simulator.support.statistics import quantile
from quadsim.simulator.sweeps.config.extending import narrowed
from quadsim.simulator.sweeps.results.part import write_part
from quadsim.simulator.sweeps.results.side_by_side import side_by_side

GRID = {"heterogeneity": (1, 10), "seeds": 8, "steps": 500, "block_size": 3, "blocks": 2}
GRID |= {"optimizers": ("gd", "heavy-ball"), "lr": (0.05, 0.1, 1.0)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A sweep, the same at another tolerance, seed and size, and what cannot be compared with it."""
    folder = tmp_path_factory.mktemp("compare")
    for name, changes in {
        "a": {},
        "loose": {"tolerance": 1e-2, "heterogeneity": (10, 1, 30)},
        "seeds": {"seed": 1},
        "few": {"seeds": 3},
        "counts": {"keep": "quantiles"},
        "other": {"optimizers": "gd", "heterogeneity": 3},
    }.items():
        sweep(SweepConfig(**GRID | changes), out=folder / name, present=None)
    model = {"model": "mlp", "heterogeneity": 1, "steps": 2, "optimizers": "gd", "lr": 0.1, "seeds": 1}
    sweep(ModelSweepConfig(**model), out=folder / "model", present=None)
    shutil.copytree(folder / "a", folder / "damaged")
    with (folder / "damaged" / "summary.parquet").open("ab") as file:
        file.write(b"x")
    shutil.copytree(folder / "a", folder / "unfinished")
    (folder / "unfinished" / "manifest.json").unlink()
    (folder / "b").mkdir()
    (folder / "b" / "mine.txt").write_text("mine")
    return folder


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def medians(folder):
    """From the stored rows alone."""
    rows = pd.read_parquet(folder / "summary.parquet").query("best_lr")
    return rows.groupby(["heterogeneity", "optimizer"])["steps_to_tolerance"].agg(
        lambda values: float(quantile(values, 0.5))
    )


def test_ratios_are_those_of_the_stored_medians(made):
    a, loose = load_results(made / "a"), load_results(made / "loose")
    found = side_by_side([a, loose])
    expected = (medians(made / "loose") / medians(made / "a")).dropna()
    ratios = found.table.set_index(["heterogeneity", "optimizer"])["ratio"].dropna()
    pd.testing.assert_series_equal(ratios.sort_index(), expected.sort_index(), check_names=False)
    assert len(ratios) >= 3
    assert (found.table["low"].dropna() <= ratios.to_numpy()).all()
    assert set(found.differences[0]) == {"tolerance", "heterogeneity"}
    assert f"B needs more steps than A at 0 and fewer at {len(ratios)}" in found.answer


def test_the_same_problems_are_resampled_in_pairs_and_others_are_not(made):
    a, again, seeds, counts = (load_results(made / name) for name in ("a", "a", "seeds", "counts"))
    found = side_by_side([a, again, seeds])
    assert found.paired == (True, False)
    assert found.answer.startswith("B needs as many steps as A at all 4 shared points and optimizers. ")
    assert " at 0 and fewer at 0" not in found.answer
    same, other = (found.table[found.table["sweep"] == name].dropna() for name in "BC")
    assert (same[["ratio", "low", "high"]] == 1.0).all(axis=None)
    assert (other["low"] < other["high"]).any()
    counted = side_by_side([counts, load_results(made / "counts")])
    assert counted.paired == (False,)
    assert (counted.table["low"] < counted.table["high"]).any()


def test_optimizers_that_are_not_built_in_differ_by_name(made, tmp_path):
    rules = [replace(RULES["gd"], name=name) for name in ("mine", "yours")]
    a, b = (sweep(SweepConfig(**GRID | {"optimizers": ("gd", rule), "seeds": 2}), present=None) for rule in rules)
    assert side_by_side([a, b]).differences[0]["own"] == ('["mine"]', '["yours"]')


def test_too_few_seeds_have_no_intervals(made):
    found = side_by_side([load_results(made / "a"), load_results(made / "few")])
    assert np.isnan(found.table[["low", "high"]]).all(axis=None)
    assert "Below 6 seeds there are no intervals (3 here)." in found.notes


def test_the_command_writes_figure_table_and_report(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = times(made)
    done = call("compare", made / "a", made / "loose", made / "seeds")
    assert done.exit_code == 0, done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    names = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    figures = {f"figures/compare.{suffix}" for suffix in ("png", "pdf", "csv")}
    assert names == {"report.html", "compare.json", "figures"} | figures
    table = pd.read_csv(folder / "figures" / "compare.csv")
    assert set(table["sweep"]) == {"B", "C"}
    assert "A and B differ in" in done.stdout
    page = (folder / "report.html").read_text()
    assert "tolerance: A 1e-06, B 0.01" in page
    assert "data:image/png" in page
    again = call("compare", made / "a", made / "loose", made / "seeds", "--json")
    document = json.loads(again.stdout)
    assert len(document["ratios"]) == len(table)
    assert document["folder"] == str(folder)
    assert times(made) == before


@pytest.mark.parametrize(("name", "cases"), [("compare", BAD_COMPARISONS), ("report", BAD_PARTS)])
def test_bad_input_is_one_line_and_leaves_nothing(made, monkeypatch, name, cases):
    monkeypatch.chdir(made)
    before = times(made)
    for arguments, message in cases:
        result = call(name, *arguments)
        assert (result.exit_code, result.stdout) == (2, ""), arguments
        assert len(result.stderr.strip().splitlines()) == 1
        assert re.search(message, result.stderr), result.stderr
        assert ";" in result.stderr
        assert times(made) == before, arguments


@pytest.mark.parametrize("name", ["a", "counts"])
def test_a_part_has_the_rows_of_the_whole(made, tmp_path, name):
    whole, only = load_results(made / name), {"optimizer": ("heavy-ball",), "heterogeneity": ("1e1",)}
    part = write_part(whole, narrowed(whole.config, only), only, tmp_path)
    assert part.config.optimizers == ("heavy-ball",)
    best = whole.best.query("optimizer == 'heavy-ball' and heterogeneity == 10").assign(point=0)
    pd.testing.assert_frame_equal(part.best, best.reset_index(drop=True))
    rows = whole.summary.query("optimizer == 'heavy-ball' and heterogeneity == 10").assign(point=0)
    pd.testing.assert_frame_equal(part.summary, rows.reset_index(drop=True))
    if whole.curves is not None:
        assert part.curves["gap"].values.tobytes() == whole.curves["gap"].values[1:, 1:].tobytes()


def test_the_command_reports_a_part_and_changes_nothing_else(made, tmp_path):
    folder = shutil.copytree(made / "a", tmp_path / "a")
    before = times(folder)
    done = call("report", folder, "--only", "optimizer=gd")
    assert done.exit_code == 0, done.stderr
    assert "heavy-ball" not in done.stdout
    (part,) = folder.glob("only-*")
    assert (part / "report.html").is_file()
    assert (part / "figures" / "steps.png").is_file()
    assert {path: when for path, when in times(folder).items() if part not in (path, *path.parents)} == before
    again = call("report", folder, "--only", "optimizer=gd", "--quiet")
    assert again.stdout == f"{part / 'report.html'}\n"
    assert load_results(folder).answers == load_results(made / "a").answers


def test_ratios_of_medians_that_are_not_reached_are_words_and_no_inf(made):
    """An interval from 0 to inf says nothing, and no reader should have to know what inf stands for."""
    found = side_by_side([load_results(made / "a"), load_results(made / "loose")])
    ends = [(np.nan, 0.0, np.inf), (np.inf, 2.0, np.inf), (0.0, 0.0, 0.5), (1.5, 1.0, 2.0)]
    steps = [(np.inf, np.inf), (10.0, np.inf), (np.inf, 10.0), (10.0, 15.0)]
    table = found.table.iloc[:4].reset_index(drop=True)
    table[["ratio", "low", "high"]], table[["steps_A", "steps"]] = ends, steps
    most = found.sweeps[0].config.steps
    told = [row[-2:] for row in ratio_rows(replace(found, table=table))]
    times = f"{most / 10.0:.3g}", f"{10.0 / most:.3g}"
    assert told == [
        ("", "not known"),
        (f"over {times[0]}", "above 2"),
        (f"below {times[1]}", "below 0.5"),
        ("1.5", "1 - 2"),
    ]


def test_an_entry_that_is_left_out_is_told_by_its_default(made):
    half = sweep(SweepConfig(**GRID | {"select_on": "half"}), present=None)
    assert side_by_side([load_results(made / "a"), half]).differences[0] == {"select_on": ('"all"', '"half"')}


@pytest.mark.parametrize("spread", [1.05, 3.0, 40.0])
def test_the_axis_of_ratios_has_several_labels(made, spread):
    found = side_by_side([load_results(made / "a"), load_results(made / "loose")])
    table = found.table.assign(ratio=np.geomspace(1 / spread, spread, len(found.table)), low=np.nan, high=np.nan)
    figure = ratio_figure(replace(found, table=table))
    for axis in figure.axes:
        low, high = axis.get_ylim()
        shown = [
            t.get_text() for t, at in zip(axis.get_yticklabels(), axis.get_yticks(), strict=True) if low <= at <= high
        ]
        assert len([text for text in shown if text]) >= 3, shown
