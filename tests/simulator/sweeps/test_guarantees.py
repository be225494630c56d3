"""Bounds that a theory gives once the best rates of a sweep are known: at guaranteed rates, along runs, from below."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.cli.pages.sweep_bounds import _guaranteed
from quadsim.cli.text.guarantee_table import guarantee_cells, guarantee_tables
from quadsim.simulator import BlockQuadratic, SweepConfig, load_results, simulate, sweep
from quadsim.simulator.figures.sweep_figures import gap_table
from quadsim.simulator.problems.oracles import FULL
from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.runs.guaranteed import ALONG, BELOW, FALLING, Asked
from quadsim.simulator.runs.trajectory import recorded_steps
from quadsim.simulator.sweeps.results.guaranteed import certified_comparison, guarantee_notes, guarantee_rows
from quadsim.simulator.sweeps.results.results import Results
from quadsim.simulator.sweeps.run.guarantees import together
from quadsim.theory import THEOREMS, guarantees, judge

SMALL = SweepConfig(
    seeds=4, steps=300, heterogeneity=(1.0, 100.0), lr_density=2, tolerance=1e-2, engine="reference",
    optimizers=("gd", "signsgd", "signum", "adam:beta1=0", "heavy-ball", "adam", "nadam"),
)  # fmt: skip


FEW = replace(SMALL, heterogeneity=(100.0,), optimizers=("gd", "signsgd"))


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return sweep(FEW, judge, out=tmp_path_factory.mktemp("few") / "it", guarantor=guarantees, figures=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sweep") / "it"


@pytest.fixture(scope="module")
def swept(folder):
    return sweep(SMALL, judge, out=folder, guarantor=guarantees, figures=False)


def asked(label, lr, heterogeneity, problems=16, measured=None, **options):
    problem = BlockQuadratic.generate(heterogeneity=heterogeneity, problems=problems, seed=0)
    steps = np.full(problems, 150.0) if measured is None else measured
    told = {"steps": 10_000, "recorded": recorded_steps(10_000, "log"), "tolerance": 1e-6, "schedule": "constant"}
    told["oracle"] = FULL
    return Asked(
        problem=problem, spec=OptimizerSpec.parse(label), lr=lr, measured=steps, bounded=False, **(told | options)
    )


def test_every_row_has_a_bound_or_a_line_why_not(swept):
    told = swept.guarantees
    for row in swept.best.to_dict("records"):
        if np.isnan(row["bound_median"]):
            found = told[(told["point"] == row["point"]) & (told["optimizer"] == row["optimizer"])]
            assert len(found), row["optimizer"]
            assert np.isfinite(found["bound_steps"]).any() or (found["why_not"] != "").all(), row["optimizer"]
    lines = guarantee_notes(swept)
    assert any("no theorem here speaks of nadam" in line for line in lines)
    reasons = [line.partition(": ")[2] for line in lines]
    assert len(set(reasons)) == len(reasons), "each reason once, with all whom it stops"
    assert set(swept.guarantees["theorem"]) - {""} <= set(THEOREMS)


def test_no_run_needs_more_than_its_bound_nor_less_than_its_bracket(swept):
    told = swept.guarantees
    known = told[np.isfinite(told["bound_steps"]) & told["steps"].notna() & (told["kind"] != "from below")]
    assert len(known) >= 16
    assert (known["steps"] <= known["bound_steps"]).all()
    assert (known["at_least_steps"].isna() | (known["at_least_steps"] <= known["steps"])).all()
    below = told[told["kind"] == "from below"]
    assert set(below["optimizer"]) == {"gd"}
    assert (below["bound_steps"] <= below["steps"]).all()


@pytest.mark.parametrize("label", ["adam", "adam:beta1=0", "signum"])
def test_points_that_are_asked_about_together_get_the_bounds_of_each_alone(label):
    points = [(0.2, 1.0, 2), (0.25, 30.0, 3), (0.3, 100.0, 1)]
    several = [
        asked(label, lr, heterogeneity, problems, np.full(problems, 60.0 + 30 * problems))
        for lr, heterogeneity, problems in points
    ]
    several.append(replace(several[0], measured=np.full(2, np.inf)))  # no run of this one is long enough to be bounded
    for one, shared in zip(several, guarantees(several), strict=True):
        alone = guarantees(one)
        assert [found.theorem for found in shared] == [found.theorem for found in alone]
        for found, own in zip(shared, alone, strict=True):
            assert (found.kind, found.lr, found.falls, found.start, found.why_not) == (
                own.kind, own.lr, own.falls, own.start, own.why_not
            )  # fmt: skip
            for name in ("bound", "steps", "at_least", "curve"):
                np.testing.assert_array_equal(getattr(found, name), getattr(own, name))


@pytest.mark.parametrize(("seeds", "points"), [(16, [3]), (30, [2, 1]), (64, [1, 1, 1])])
def test_a_theory_is_asked_about_points_with_few_problems_together(seeds, points):
    config = SweepConfig(seeds=seeds, heterogeneity=(1.0, 10.0, 100.0))
    rows = [{"point": point, "optimizer": name} for point in range(3) for name in ("gd", "adam")]
    batches = list(together(config, rows))
    assert [len(batch) // 2 for batch in batches] == points
    assert [row for batch in batches for row in batch] == rows


def test_the_other_files_are_those_of_a_sweep_without_it(few, tmp_path):
    plain = sweep(FEW, judge, out=tmp_path / "plain", figures=False)
    assert plain.guarantees is None
    assert guarantee_rows(plain).empty
    assert certified_comparison(plain) == ""
    assert (few.folder / "summary.parquet").read_bytes() == (tmp_path / "plain/summary.parquet").read_bytes()


def test_table_and_answer_are_known_before_the_theory_is_asked(few, tmp_path):
    order, early = [], []
    place = tmp_path / "it"

    def on_table(results):
        order.append("table")
        early.append((results.answers, results.notes, results.awaits_bounds, (place / "manifest.json").exists()))
        (place / "figures").mkdir()
        (place / "figures/steps.png").touch()
        pd.testing.assert_frame_equal(Results.unfinished(place).best, few.best)

    def asked_later(question):
        order.append("bounds")
        assert [(one.spec.label, one.lr) for one in question] == list(
            zip(few.best["setting"], few.best["lr"], strict=True)
        )
        return guarantees(question)

    found = sweep(FEW, judge, out=place, guarantor=asked_later, on_table=on_table, figures=False)
    assert order == ["table", "bounds"]
    assert early == [(found.answers, found.notes, True, False)]
    assert [path.name for path in (place / "figures").iterdir()] == ["steps.png"]
    pd.testing.assert_frame_equal(found.guarantees, few.guarantees)


def test_a_sweep_that_ends_among_its_bounds_goes_on_with_what_it_has(few, tmp_path):
    place, ran = tmp_path / "it", []

    def stop(question):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(
            FEW, judge, out=place, guarantor=stop, on_table=lambda results: (place / "figures").mkdir(), figures=False
        )
    (place / "guarantees.parquet").write_bytes(b"of an earlier run")
    assert not (place / "manifest.json").exists()
    begun = lambda done, total, text: ran.append(done)  # noqa: E731
    found = sweep(FEW, judge, out=place, guarantor=guarantees, progress=begun, figures=False)
    assert min(ran) > 0  # no chunk was run again
    assert not (place / "figures").exists()
    pd.testing.assert_frame_equal(found.guarantees, few.guarantees)


def test_the_folder_keeps_it_and_notices_its_damage(swept, folder):
    pd.testing.assert_frame_equal(load_results(folder).guarantees, swept.guarantees)
    assert "guarantees.parquet" in swept.manifest["files"]


def test_the_figure_draws_the_curve_of_the_guaranteed_rate(swept):
    drawn = gap_table(swept).groupby("optimizer")["bound"]
    assert drawn.apply(lambda bound: bound.notna().any()).loc[["gd", "signsgd", "signum", "heavy-ball", "adam"]].all()
    assert (drawn.max().dropna() <= 1.0 + 1e-9).all()


def test_rows_are_medians_over_the_problems_that_a_bound_speaks_of(swept):
    rows = guarantee_rows(swept)
    told = swept.guarantees
    for row in rows[rows["problems"] > 0].to_dict("records"):
        same = told[
            (told["point"] == row["point"])
            & (told["optimizer"] == row["optimizer"])
            & (told["theorem"] == row["theorem"])
        ]
        spoken = same[np.isfinite(same["bound_steps"])]
        assert (row["problems"], row["of"]) == (len(spoken), 4)
        assert row["bound_steps"] == np.median(spoken["bound_steps"])


@pytest.mark.parametrize("heterogeneity", [1.0, 100.0])
def test_adam_has_a_bound_along_its_run_at_its_best_rate(heterogeneity):
    """At most 12 steps in: finite on three of four problems at least, at most 1.5 times the steps at the median; and from the start."""
    problem = BlockQuadratic.generate(heterogeneity=heterogeneity, problems=16, seed=0)
    measured = simulate(problem, "adam", lr=0.31622776601683794, steps=400, record="log").steps_to_tolerance[:, 0]
    certificate, span, state = guarantees(asked("adam", 0.31622776601683794, heterogeneity, measured=measured))
    assert (certificate.theorem, certificate.start) == ("adam-certificate", 12)
    for found in (certificate, span):
        known = np.isfinite(found.bound)
        assert known.mean() >= 0.75
        assert np.median(found.bound[known] / measured[known]) <= 1.5
        assert (found.bound[known] >= measured[known]).all()
    assert (state.theorem, state.kind, state.start) == ("adam-from-state", "from a state", 50)
    known = np.isfinite(state.bound)
    assert known.mean() >= 0.6
    assert (state.bound[known] >= measured[known]).all()
    assert np.median(state.bound[known] / measured[known]) <= 1.3


@pytest.mark.parametrize("heterogeneity", [1.0, 10.0, 100.0])
def test_adam_without_momentum_has_its_local_bound_while_the_rate_falls(heterogeneity):
    best, falling = guarantees(asked("adam:beta1=0", 0.01, heterogeneity, measured=np.full(16, 300.0)))
    assert best.kind == "along the run"
    assert "a mode with tau > 2 grows, as happens now and then at useful rates" in best.why_not
    assert (falling.kind, falling.theorem, falling.start, falling.falls) == (FALLING, "adam-local", 12, 200)
    assert np.isfinite(falling.bound).all()
    assert not falling.why_not
    problem = BlockQuadratic.generate(heterogeneity=heterogeneity, problems=16, seed=0)
    run = simulate(problem, "adam", beta1=0, lr=falling.lr, schedule="linear", steps=200, record="log")
    np.testing.assert_array_equal(falling.steps, run.steps_to_tolerance[:, 0])
    assert (falling.bound >= falling.steps).all()
    assert np.median(falling.bound / falling.steps) <= 1.5


def test_a_falling_rate_is_no_help_where_the_preconditioner_forgets_faster():
    _, falling = guarantees(asked("adam:beta1=0:beta2=0.9", 0.01, 10.0, problems=2))
    assert falling.falls == 800
    assert np.isinf(falling.bound).all()
    assert "forgets its first gradients faster than the rate falls" in falling.why_not


@pytest.mark.parametrize(
    ("label", "options"),
    [("adam:beta1=0", {"schedule": "cosine"}), ("adam:beta1=0", {"steps": 199}), ("adamw:beta1=0", {})],
)
def test_no_bound_under_a_falling_rate(label, options):
    """Under the sweep's own schedule, in a sweep of shorter runs, or with weight decay."""
    assert FALLING not in [found.kind for found in guarantees(asked(label, 0.01, 10.0, problems=2, **options))]


def test_a_falling_rate_in_table_and_figure(swept):
    rows = guarantee_rows(swept)
    (cells,) = [
        guarantee_cells(row, 300) for row in rows.to_dict("records") if (row["kind"], row["point"]) == (FALLING, 1)
    ]
    assert cells[:4] == ["adam:beta1=0", "adam-local", "falling rate, from step 12", "1.06 to 0 in 200"]
    curves = gap_table(swept).groupby(["optimizer", "panel"])["bound"].apply(lambda bound: bound.notna().any())
    assert curves["adam:beta1=0"].all()


@pytest.mark.parametrize(
    ("value", "dials", "said"),
    [
        ("homogeneous", {}, "4 of 4 problems on homogeneous:"),
        (9.0, {}, "problems at 9:"),
        (9.0, {"alignment": -1.0}, "problems at 9, alignment -1:"),
    ],
)
def test_a_certified_comparison_is_at_a_value_and_on_a_case(value, dials, said):
    rows = {"point": 0, "seed": range(4), "optimizer": "adam", "theorem": "adam-span", "start": 0}
    both = [pd.DataFrame(rows | {"kind": kind, "bound_steps": steps}) for kind, steps in ((BELOW, 9.0), (ALONG, 5.0))]
    config = SimpleNamespace(axis="axis", facets=tuple(dials), is_categorical=isinstance(value, str))
    found = SimpleNamespace(guarantees=pd.concat(both), best_rows=[{"point": 0, "axis": value, **dials}], config=config)
    assert said in certified_comparison(found)


def test_cells_of_a_run_that_does_not_reach_the_tolerance_are_no_inf_and_no_ratio():
    row = {"setting": "gd", "theorem": "gd-lower-start", "kind": BELOW, "problems": 4, "of": 4, "start": 0, "falls": 0}
    row |= {"guaranteed_lr": 0.01, "steps": np.inf, "bound_steps": 1234567.0, "ratio": 0.0}
    assert guarantee_cells(row, 300)[3:] == ["0.01", "> 300", ">= 1.23e+06", ""]
    assert guarantee_cells({**row, "kind": FALLING}, 300)[4] == "not reached"
    assert guarantee_cells({**row, "steps": 100000.0, "ratio": 12.3}, 300)[4:] == ["100000", ">= 1.23e+06", "12.30"]


def test_a_folder_of_an_earlier_version_has_no_falling_rate(swept, folder, tmp_path):
    old = swept.guarantees[swept.guarantees["kind"] != FALLING].drop(columns="falls")
    rows = guarantee_rows(SimpleNamespace(guarantees=old))
    assert len(rows) == len(guarantee_rows(swept)) - 2
    assert (rows["falls"] == 0).all()


def test_signs_have_a_bound_from_the_start_at_their_guaranteed_rates():
    (found,) = guarantees(asked("signsgd", 1e-3, 100.0))
    assert found.theorem == "sign-midpoint"
    assert np.isfinite(found.bound).all()
    assert np.median(found.bound / found.steps) <= 3.5
    (memory,) = guarantees(asked("signum", 1e-3, 100.0))
    assert np.isfinite(memory.bound).all()
    assert np.isnan(memory.steps).all()
    assert (memory.at_least < memory.bound).all()
    assert "its runs would be longer than 100000 steps" in memory.why_not


@pytest.mark.parametrize(
    ("label", "options", "why"),
    [
        ("signsgd", {"schedule": "cosine"}, "searched among constant ones"),
        ("lion:weight_decay=0.1", {}, "weight decay of 0"),
        ("adamw", {}, "weight decay of 0"),
        ("heavy-ball", {"schedule": "linear"}, "constant rates"),
        ("adam", {"measured": np.full(16, np.inf)}, "fewer than half of the runs"),
        ("adam", {"measured": np.full(16, 9e5)}, "at most 4000 steps"),
        ("normalized-gd", {}, "no theorem here speaks of normalized-gd"),
    ],
)
def test_where_there_is_none_one_line_says_why(label, options, why):
    (found,) = guarantees(asked(label, 0.01, 10.0, **options))
    assert why in found.why_not
    assert np.isinf(found.bound).all()


@pytest.mark.filterwarnings("error")
def test_a_rate_at_which_the_modes_overflow_is_no_warning_on_the_terminal():
    (found,) = guarantees(asked("heavy-ball", 10.0, 100.0, measured=np.full(16, np.inf)))
    assert np.isinf(found.bound).all()
    assert "the worst start does not reach the tolerance" in found.why_not


def test_theorems_for_a_rule():
    run = CliRunner()
    text = run.invoke(app, ["theorems", "--for", "adam"]).stdout
    assert "adam-certificate (upper bound" in text
    assert "Open:" in text
    assert "sign-midpoint" not in text
    assert "covariance-identity holds along every run" in run.invoke(app, ["theorems", "--for", "normalized-gd"]).stdout
    bad = run.invoke(app, ["theorems", "gd-upper", "--for", "gd"])
    assert (bad.exit_code, "drop one" in bad.stderr) == (2, True)
    assert run.invoke(app, ["theorems", "--for", "adman"]).exit_code == 2
    assert run.invoke(app, ["theorems", "--for", "adam:beta1=0"]).stdout == text  # as a table of a sweep names it
    unknown = run.invoke(app, ["theorems", "--for", "adam:beta3=0"])
    assert (unknown.exit_code, "did you mean 'beta2'?" in unknown.stderr) == (2, True)


def test_every_table_and_note_names_the_values_of_all_dials(tmp_path):
    """Two points of one heterogeneity are told apart, in the terminal, in the report and in the notes."""
    config = replace(
        FEW, gradient_heterogeneity=(3.0,), alignment=(-1.0, 1.0), optimizers=("gd", "adam"), lr=(0.01, 0.02)
    )
    results = sweep(config, judge, out=tmp_path / "it", guarantor=guarantees, figures=False)
    (terminal,) = guarantee_tables(results)
    for rows in (
        terminal.rows,
        [[str(cell.text) for cell in row] for row in _guaranteed(results, guarantee_rows(results))[0].rows],
    ):
        names = {row[0] for row in rows if row is not None} - {""}
        assert names == {"100, alignment -1", "100, alignment 1"}
    edges = [note for note in results.notes if "one tried" in note]
    assert edges
    assert all("at 100, alignment " in note for note in edges)
