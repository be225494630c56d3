"""The coupling dial and partitions: what the problem is, and that every engine gives a rule the blocks it asks for."""

import numpy as np
import pytest
import scipy.linalg
import torch

from quadsim.simulator import BlockQuadratic, SweepConfig, extend, simulate, sweep
from quadsim.simulator.engines import ENGINES, choose_engine, prepare
from quadsim.simulator.engines.baseline import simulate_torch
from quadsim.simulator.problems.coupling import partition_sizes
from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.runs.trajectory import Trajectory

DIALS = {"block_size": [3, 8, 1, 5], "heterogeneity": 30.0, "seed": 7}
BLOCK_RULES = [name for name, rule in RULES.items() if rule.uses_blocks]


def generated(coupling=0.0, partition="hessian", problems=3, first=0, **dials):
    return BlockQuadratic.generate(
        **DIALS | dials, problems=problems, first=first, coupling=coupling, partition=partition
    )


@pytest.mark.parametrize("gradient", [{}, {"gradient_heterogeneity": 10.0, "alignment": -0.5}])
def test_H_lies_between_multiples_of_D_that_it_attains_and_keeps_its_diagonal_blocks(gradient):
    separate, coupled = generated(**gradient), generated(0.6, **gradient)
    assert coupled.rule_blocks == separate.layout
    for m in range(3):
        (D, _), (H, _) = separate.dense(m), coupled.dense(m)
        values = scipy.linalg.eigh(H - D, D, eigvals_only=True)
        assert np.abs(values).max() == pytest.approx(0.6, abs=1e-12)
        for block in coupled.rule_blocks.positions.values():
            for own in block:
                np.testing.assert_array_equal(H[np.ix_(own, own)], D[np.ix_(own, own)])
        assert np.linalg.matrix_rank(H - D) > 3
    np.testing.assert_allclose(coupled.coupling, 0.6, rtol=1e-10)
    assert np.all(coupled.coupling >= 0.6 * (1 - 1e-12))
    for name in ("heterogeneity", *([] if not gradient else ["gradient_heterogeneity", "alignment"])):
        np.testing.assert_allclose(coupled.achieved[name], separate.achieved[name], rtol=1e-9)


def test_a_problem_is_the_same_in_every_batch_and_without_coupling_as_it_always_was():
    alone, among = generated(0.3, problems=1, first=2), generated(0.3, problems=4)
    np.testing.assert_array_equal(alone.hessian[17], among.hessian[17][2:3])
    np.testing.assert_array_equal(alone.initial_error[17], among.initial_error[17][2:3])
    plain, none = BlockQuadratic.generate(**DIALS), BlockQuadratic.generate(**DIALS, coupling=0.0)
    assert none.partition is None
    assert dict(none.dials) == dict(plain.dials)
    assert repr(none) == repr(plain)
    assert all(np.array_equal(none.hessian[size], plain.hessian[size]) for size in plain.hessian)
    assert none.coupling.tolist() == [0.0]


@pytest.mark.parametrize(
    ("name", "sizes", "wanted"),
    [
        ("hessian", (3, 4), (3, 4)),
        ("finer", (3, 1, 4), (2, 1, 1, 2, 2)),
        ("coarser", (3, 1, 4), (4, 4)),
        ("shifted", (8, 8, 8, 8), (12, 8, 8, 4)),
        ("shifted", (1, 3), (2, 2)),
    ],
)
def test_partitions(name, sizes, wanted):
    assert partition_sizes(name, sizes) == wanted


def test_a_partition_changes_neither_H_nor_the_start():
    plain = generated()
    for name, sizes, product in (
        ("finer", (2, 1, 4, 4, 1, 3, 2), (3, 8, 1, 5)),
        ("coarser", (11, 6), (11, 6)),
        ("shifted", (7, 4, 3, 3), (11, 6)),
    ):
        other = generated(partition=name)
        assert other.rule_blocks.block_sizes == sizes
        assert other.block_sizes == product
        for m in range(3):
            for mine, theirs in zip(other.dense(m), plain.dense(m), strict=True):
                np.testing.assert_array_equal(mine, theirs)
        np.testing.assert_allclose(other.initial_gap, plain.initial_gap, rtol=1e-14)
    with pytest.raises(ValueError, match=r"partition must hold block sizes that add up to .* \(17\), got 3"):
        plain.with_partition([1, 2])


def reference_run(problem, rule, steps, **options):
    return simulate(problem, rule, steps=steps, engine="reference", record=10, **options)


@pytest.mark.parametrize(
    ("rule", "sizes", "coupling", "partition"),
    [
        ("adam-mini", (2, 9), 0.5, "hessian"),
        ("block-gd", (4, 4), 0.0, "finer"),
        ("block-gd", (3, 8, 1, 5), 0.5, "hessian"),
        ("lamb", (3, 8, 1, 5), 0.4, "shifted"),
        ("adam-mini", (3, 8, 1, 5), 0.3, "finer"),
    ],
)
def test_the_fused_engine_gives_a_rule_its_own_blocks(rule, sizes, coupling, partition):
    problem = generated(coupling, partition, problems=2, block_size=list(sizes))
    lr = {"adam-mini": [0.01, 0.5], "lamb": [0.01, 0.5]}.get(rule, [0.5, 0.9])
    fused, slow = simulate(problem, rule, lr=lr, steps=150, record=10), reference_run(problem, rule, 150, lr=lr)
    assert fused.engine == "fused"
    np.testing.assert_allclose(fused.gap, slow.gap, rtol=1e-7)
    whole = reference_run(problem.with_partition([sum(sizes)]), rule, 150, lr=lr)
    assert not np.allclose(fused.gap, whole.gap, rtol=1e-3)


@pytest.mark.parametrize("rule", [name for name in BLOCK_RULES if RULES[name].is_global])
def test_rules_that_need_the_whole_gradient_see_the_blocks_of_rules_too(rule):
    problem = generated(0.5, problems=2)
    assert prepared_engine(problem, rule) == "reference"
    runs = [reference_run(p, rule, 20, lr=1.0).gap for p in (problem, problem.with_partition([17]))]
    assert not np.allclose(*runs, rtol=1e-3)


def prepared_engine(problem, rule, **options):
    return choose_engine("auto", prepare(problem, rule, lr=0.01, steps=5, **options))


def test_rules_without_blocks_see_one_block_and_engines_say_why_not():
    problem = generated(0.5)
    assert prepared_engine(problem, "gd") == "closed-form"
    assert prepared_engine(problem, "adam") == "fused"
    one = problem.with_partition([17])
    for rule in ("gd", "adam", "signsgd"):
        runs = [simulate(p, rule, lr=0.01, steps=40).gap for p in (problem, one)]
        np.testing.assert_array_equal(*runs)
    job = prepare(problem, "block-gd", lr=1.0, steps=5)
    assert "the blocks of block-gd are not those of the Hessian" in ENGINES["closed-form"].why_not(job)


def test_frozen_rates_and_means_are_those_of_the_diagonal_blocks():
    problem = generated(0.5, problems=1)
    H, start = problem.dense(0)
    ends = np.cumsum(DIALS["block_size"])
    rate = np.concatenate([
        np.full(size, 2 / np.linalg.eigvalsh(H[end - size : end, end - size : end])[[0, -1]].sum())
        for end, size in zip(ends, DIALS["block_size"], strict=True)
    ])
    error = start - 0.7 * rate * (H @ start)
    after = error @ H @ error / 2
    assert simulate(problem, "block-gd", lr=0.7, steps=1).gap[0, 0, 1] == pytest.approx(after, rel=1e-12)


def test_observables_are_by_the_blocks_of_rules():
    problem = generated(0.5, problems=2)
    run = simulate(problem, "gd", lr=0.01, steps=3, observe=["Lambda_G", "block_gradient_norm", "gradient_norm"])
    assert run.observed["block_gradient_norm"].shape == (2, 1, 4, 4)
    share = run.observed["block_gradient_norm"] ** 2 / run.observed["gradient_norm"][..., None] ** 2
    weighted = np.sum(share * problem.rule_smoothness[:, None, None], axis=-1)
    np.testing.assert_allclose(run.observed["Lambda_G"], weighted, rtol=1e-12)


def test_a_class_of_torch_gets_one_tensor_for_every_block_of_rules():
    separate = generated(problems=2)
    joined = separate.with_partition([17]).with_partition(DIALS["block_size"])
    assert joined.block_sizes == (17,)
    assert joined.rule_blocks == separate.layout
    runs = [
        simulate_torch(problem, torch.optim.Adafactor, lr=0.01, steps=10).gap
        for problem in (separate, joined, separate.with_partition([17]))
    ]
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-10)
    assert not np.allclose(runs[0], runs[2], rtol=1e-3)


@pytest.mark.parametrize("make", [lambda: generated(0.4, "finer"), lambda: generated(partition="coarser")])
def test_saved_runs_keep_coupling_and_partition(tmp_path, make):
    run = simulate(make(), "adam-mini", lr=0.01, steps=5)
    run.save(tmp_path / "run.nc")
    again = Trajectory.load(tmp_path / "run.nc").problem
    assert again.rule_blocks == run.problem.rule_blocks
    np.testing.assert_array_equal(again.dense(1)[0], run.problem.dense(1)[0])
    given = BlockQuadratic.from_blocks([[[2, 1], [1, 2]]], initial_error=[1, 2], partition=[1, 1])
    simulate(given, "gd", lr=0.1, steps=2).save(tmp_path / "given.nc")
    assert Trajectory.load(tmp_path / "given.nc").problem.rule_blocks.block_sizes == (1, 1)


def test_a_sweep_crosses_couplings_shows_surviving_bounds_and_is_extended(tmp_path):
    small = SweepConfig(
        heterogeneity=(10.0,), coupling=(0.0, 0.3), blocks=(2,), block_size=(2,), condition_number=(3.0,),
        optimizers=("block-gd", "gd"), seeds=2, steps=200, engine="reference",
    )  # fmt: skip
    found = sweep(small, out=tmp_path / "a", judge=judge(), figures=False)
    assert found.facets == ["coupling"]
    theorems = found.summary.groupby(["optimizer", "coupling"])["theorem"].agg(lambda names: max(names))
    assert theorems["block-gd", 0.0] == "block-gd"
    assert theorems["block-gd", 0.3] == "block-gd-coupled"
    assert theorems["gd", 0.3] == "gd-upper"
    assert set(found.summary["verdict"]) <= {"holds", "not applicable"}
    more = extend(tmp_path / "a", judge=judge(), figures=False, coupling=(0.6,))
    assert sorted(set(more.summary["coupling"])) == [0.0, 0.3, 0.6]
    assert "coupling" not in SweepConfig().to_json()
    assert SweepConfig.from_json(small.to_json()) == small


def judge():
    from quadsim.theory import judge

    return judge


def test_a_partition_of_a_problem_of_ones_own(tmp_path):
    given = BlockQuadratic.from_blocks([[[2.0, 0.5], [0.5, 1.0]], [[3.0]]], initial_error="normal")
    config = SweepConfig(problem=given, partition="coarser", optimizers=("adam-mini",), seeds=2, steps=20)
    assert config.points[0].problem(2, 0).rule_blocks.block_sizes == (3,)
