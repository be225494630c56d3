"""Trajectory: its axes, its tables, and that a file gives back what was saved."""

import json
from dataclasses import replace
from fractions import Fraction

import h5py
import numpy as np
import pandas as pd
import pytest
import sympy as sp
import torch
import xarray as xr

from quadsim.simulator import RULES, BlockQuadratic, Rule, Schedule, Trajectory, simulate, simulate_torch, symbols
from quadsim.simulator.runs.trajectory import OBSERVABLES

SIZES = (3, 1, 2)
TWICE = Rule(name="twice", step=-2 * symbols.lr * symbols.g, summary="My own rule.")


def random_blocks(problems=3):
    rng = np.random.default_rng(7)
    blocks = []
    for size in SIZES:
        root = rng.standard_normal((problems, size, size))
        blocks.append(root @ np.swapaxes(root, 1, 2) + np.eye(size))
    start, minimizer = rng.standard_normal((2, problems, sum(SIZES)))
    return BlockQuadratic.from_blocks(blocks, initial_error=start, minimizer=minimizer, seed=11)


def exact_problem():
    blocks = [[[Fraction(2, 3), Fraction(1, 7)], [Fraction(1, 7), 1]], [[sp.Rational(5, 9)]]]
    return BlockQuadratic.from_blocks(blocks, initial_error=[1, Fraction(-1, 3), 2], minimizer=[0.5, 0.25, 0.0])


PROBLEMS = {
    "generated": lambda: BlockQuadratic.generate(heterogeneity=10.0, problems=3, seed=4),
    "generated with every dial": lambda: BlockQuadratic.generate(
        block_size=SIZES, heterogeneity=20.0, mode="arrange", condition_number=200.0, gradient_heterogeneity=5.0,
        alignment=-0.5, rotation=0.25, problems=2, seed=9, first=70,
    ),
    "generated with dials from numpy": lambda: BlockQuadratic.generate(
        block_size=np.array([2, 3]), heterogeneity=np.float32(7.0), condition_number=np.int64(12), seed=np.int64(3)
    ),
    "selected": lambda: BlockQuadratic.generate(problems=9, seed=4).select([7, 2, 2]),
    "case": lambda: BlockQuadratic.case("homogeneous", problems=2, seed=1),
    "case, selected": lambda: BlockQuadratic.case("heterogeneous", rotation=0.5, problems=4, first=2).select([3]),
    "spectra": lambda: BlockQuadratic.from_spectra([[1.0, 2.0], [3.0]], problems=2, seed=5, first=1),
    "blocks": random_blocks,
    "blocks, selected": lambda: random_blocks().select([2, 0]),
    "blocks, one of them": lambda: random_blocks().select([1]),
    "exact blocks": exact_problem,
}  # fmt: skip


def assert_same_problem(a, b):
    assert a.block_sizes == b.block_sizes
    assert a.seed == b.seed
    assert np.array_equal(a.index, b.index)
    assert a.exact == b.exact
    for attribute in ("hessian", "eigenvalues", "initial_error", "initial_coefficients", "minimizer"):
        for size, array in getattr(a, attribute).items():
            assert np.array_equal(array, getattr(b, attribute)[size]), attribute


def assert_same_trajectory(a, b):
    assert a.optimizer == b.optimizer
    assert a.rule is b.rule
    assert a.schedule == b.schedule
    for attribute in ("tolerance", "gradient_noise_std", "engine", "dtype", "device"):
        assert getattr(a, attribute) == getattr(b, attribute), attribute
        assert type(getattr(a, attribute)) is type(getattr(b, attribute)), attribute
    for attribute in ("steps", "gap", "steps_to_tolerance", "steps_to_stay", "steps_to_mean", "status"):
        assert np.array_equal(getattr(a, attribute), getattr(b, attribute)), attribute
    assert a.steps.dtype == b.steps.dtype
    assert list(a.settings) == list(b.settings)
    assert set(a.observed) == set(b.observed)
    for name, values in {**a.settings, **a.observed}.items():
        assert np.array_equal(values, {**b.settings, **b.observed}[name], equal_nan=True), name
    assert_same_problem(a.problem, b.problem)


# Round trips.


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_file_gives_back_what_was_saved(name, tmp_path):
    problem = PROBLEMS[name]()
    arguments = {"lr": [0.001, 0.02, 1e200], "steps": 25, "record": 4, "observe": list(OBSERVABLES), "tolerance": 0.01}
    run = simulate(
        problem, "adamw", beta1=[0.0, 0.9, 0.5], gradient_noise_std=0.01, schedule="linear:warmup=3", **arguments
    )
    path = tmp_path / "run.nc"
    run.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["run.nc"]
    loaded = Trajectory.load(path)
    assert_same_trajectory(run, loaded)
    assert loaded.schedule == Schedule("linear", 3)
    # The loaded problem is the same to an engine too, noise included: the same run has the same bits.
    again = simulate(
        loaded.problem,
        loaded.rule,
        schedule=loaded.schedule,
        gradient_noise_std=0.01,
        **{**arguments, **loaded.settings},
    )
    assert_same_trajectory(run, again)


def test_a_closed_form_run_comes_back_too(tmp_path):
    run = simulate(random_blocks(), "gd", lr=0.1, steps=10**9, record="log", observe="Lambda_G")
    run.save(tmp_path / "run.nc")
    loaded = Trajectory.load(tmp_path / "run.nc")
    assert loaded.engine == "closed-form"
    assert_same_trajectory(run, loaded)


def test_a_file_of_an_older_version_does_not_know_what_it_did_not_record(tmp_path):
    run = simulate(random_blocks(), "gd", lr=[0.1, 0.2], steps=10)
    run.save(tmp_path / "run.nc")
    xr.load_dataset(tmp_path / "run.nc", engine="h5netcdf").drop_vars(["steps_to_stay", "steps_to_mean"]).to_netcdf(
        tmp_path / "older.nc", engine="h5netcdf"
    )
    loaded = Trajectory.load(tmp_path / "older.nc")
    assert np.isnan(loaded.steps_to_stay).all()
    assert np.isnan(loaded.steps_to_mean).all()
    assert_same_trajectory(replace(loaded, steps_to_stay=run.steps_to_stay, steps_to_mean=run.steps_to_mean), run)


def test_a_second_save_replaces_the_first(tmp_path):
    path = tmp_path / "run.nc"
    simulate(random_blocks(), "gd", lr=0.1, steps=5).save(str(path))
    second = simulate(random_blocks(), "gd", lr=0.2, steps=9)
    second.save(str(path))
    assert_same_trajectory(second, Trajectory.load(str(path)))


def test_a_file_of_an_own_rule_needs_the_rule(tmp_path):
    run = simulate(random_blocks(), TWICE, lr=0.01, steps=5)
    run.save(tmp_path / "run.nc")
    with pytest.raises(
        ValueError, match=r"rule must be given for 'twice', which is not in RULES, got None; pass rule="
    ):
        Trajectory.load(tmp_path / "run.nc")
    loaded = Trajectory.load(tmp_path / "run.nc", rule=TWICE)
    assert_same_trajectory(run, loaded)


def test_an_own_rule_is_not_taken_for_the_one_whose_name_it_has(tmp_path):
    mine = replace(TWICE, name="gd")
    run = simulate(random_blocks(), mine, lr=0.01, steps=5)
    run.save(tmp_path / "run.nc")
    with pytest.raises(ValueError, match=r"rule must be given for 'gd', as its formula is not the one in RULES"):
        Trajectory.load(tmp_path / "run.nc")
    assert Trajectory.load(tmp_path / "run.nc", rule=mine).rule is mine


def test_a_baseline_comes_back_without_a_rule(tmp_path):
    run = simulate_torch(random_blocks(), torch.optim.Adagrad, lr=[0.1, 0.2], steps=5, observe=("block_gap",))
    run.save(tmp_path / "run.nc")
    loaded = Trajectory.load(tmp_path / "run.nc")
    assert loaded.rule is None
    assert loaded.optimizer == "Adagrad"
    assert_same_trajectory(run, loaded)


# Files that are none.


def test_files_that_are_not_a_trajectory(tmp_path):
    run = simulate(random_blocks(), "gd", lr=0.1, steps=5)
    run.save(tmp_path / "good.nc")
    whole = (tmp_path / "good.nc").read_bytes()
    (tmp_path / "junk.nc").write_bytes(b"junk" * 1000)
    (tmp_path / "empty.nc").write_bytes(b"")
    (tmp_path / "half.nc").write_bytes(whole[: len(whole) // 2])
    for name in ("junk.nc", "empty.nc", "half.nc", "missing.nc"):
        with pytest.raises(
            ValueError, match=rf"trajectory file must be NetCDF written by Trajectory.save, got .*{name}"
        ):
            Trajectory.load(tmp_path / name)
    xr.Dataset({"gap": ("step", [1.0])}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"trajectory file must have format 1, got None in .*other.nc; write it again"):
        Trajectory.load(tmp_path / "other.nc")
    with h5py.File(tmp_path / "good.nc", "a") as file:
        file.attrs["quadsim_format"] = 99
    with pytest.raises(ValueError, match=r"trajectory file must have format 1, got .*99"):
        Trajectory.load(tmp_path / "good.nc")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.nc"
    run = simulate(random_blocks(), "gd", lr=0.1, steps=5)
    run.save(path)

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(xr.Dataset, "to_netcdf", fail)
    with pytest.raises(OSError, match="disk full"):
        simulate(random_blocks(), "gd", lr=0.2, steps=9).save(path)
    monkeypatch.undo()
    assert_same_trajectory(run, Trajectory.load(path))


# Tables.


def test_to_dataset_names_every_axis():
    problem = random_blocks().select([2, 0])
    run = simulate(
        problem, "adam", lr=[0.1, 0.2, 0.3], beta1=0.5, steps=7, record=3, observe=list(OBSERVABLES), tolerance=0.1
    )
    dataset = run.to_dataset()
    assert dict(dataset.sizes) == {"problem": 2, "setting": 3, "step": 4, "block": 3, "coordinate": 6}
    assert dataset["problem"].values.tolist() == [2, 0]
    assert dataset["step"].values.tolist() == [0, 3, 6, 7]
    assert dataset["lr"].dims == ("setting",)
    assert dataset["beta1"].values.tolist() == [0.5] * 3
    assert set(dataset.data_vars) == {*OBSERVABLES, "steps_to_tolerance", "steps_to_stay", "steps_to_mean", "status"}
    for name, axes in OBSERVABLES.items():
        assert dataset[name].dims == ("problem", "setting", "step", *axes)
        expected = run.gap if name == "gap" else run.observed[name]
        assert np.array_equal(dataset[name].values, expected, equal_nan=True)
    assert dataset["status"].dims == dataset["steps_to_tolerance"].dims == ("problem", "setting")
    assert dataset.attrs == {
        "optimizer": "adam", "schedule": "constant", "tolerance": 0.1, "oracle": "full", "engine": "reference",
        "dtype": "float64", "device": "cpu", "formula": RULES["adam"].formula(),
    }  # fmt: skip
    assert float(dataset["gap"].sel(problem=0, step=6).isel(setting=1)) == run.gap[1, 1, 2]


def test_to_frame_has_a_row_for_every_problem_setting_and_step():
    run = simulate(
        random_blocks(), "heavy-ball", lr=[0.01, 10.0], momentum=[0.5, 0.9], steps=40, record=20,
        observe=("Lambda_G", "block_gap", "iterate"),
    )  # fmt: skip
    frame = run.to_frame()
    assert len(frame) == 3 * 2 * 3
    assert set(frame.columns) == {
        "problem", "setting", "step", "lr", "momentum", "gap", "Lambda_G", "steps_to_tolerance", "steps_to_stay",
        "steps_to_mean", "status", "optimizer",
    }  # fmt: skip
    row = frame[(frame["problem"] == 1) & (frame["lr"] == 10.0) & (frame["step"] == 20)].iloc[0]
    assert row["gap"] == run.gap[1, 1, 1] == np.inf
    assert row["status"] == "diverged"
    assert row["momentum"] == 0.9
    assert np.isinf(row["steps_to_tolerance"])
    row = frame[(frame["problem"] == 2) & (frame["lr"] == 0.01) & (frame["step"] == 40)].iloc[0]
    assert row["gap"] == run.gap[2, 0, 2]
    assert row["Lambda_G"] == run.observed["Lambda_G"][2, 0, 2]
    assert row["optimizer"] == "heavy-ball"
    assert pd.api.types.is_float_dtype(frame["gap"])


def test_three_axes_always():
    run = simulate(BlockQuadratic.generate(), "gd", lr=0.1, steps=1)
    assert run.gap.shape == (1, 1, 2)
    assert run.steps_to_tolerance.shape == run.status.shape == (1, 1)
    assert (run.problems, run.number_of_settings) == (1, 1)


def test_it_carries_what_it_was_made_from():
    problem = random_blocks()
    run = simulate(
        problem, RULES["adam"], lr=[0.1, 0.2], steps=3, schedule="cosine", gradient_noise_std=0.5, tolerance=0.2
    )
    assert run.problem is problem
    assert run.rule is RULES["adam"]
    assert list(run.settings) == ["lr", "beta1", "beta2", "eps"]
    assert run.schedule == Schedule("cosine")
    assert (run.gradient_noise_std, run.tolerance, run.dtype, run.device) == (0.5, 0.2, "float64", "cpu")


def test_repr_counts_the_states():
    run = simulate(random_blocks(), "gd", lr=[1e-6, 1e6], steps=30)
    assert repr(run) == "Trajectory(gd on 3 problems x 2 settings, 30 steps, 0 converged, 3 not_reached, 3 diverged)"


def test_the_record_of_a_problem_is_json(tmp_path):
    PROBLEMS["exact blocks"]().dense(0)
    simulate(exact_problem(), "gd", lr=0.1, steps=2).save(tmp_path / "run.nc")
    with xr.open_dataset(tmp_path / "run.nc", engine="h5netcdf") as dataset:
        record = json.loads(dataset.attrs["problem"])
    assert record["exact"][0][0] == [["2/3", "1/7"], ["1/7", "1"]]
    assert record["exact"][1] == ["1", "-1/3", "2"]
