"""Positive semi-definite blocks: the null space is reported, and moving along it changes no gap; starts by law."""

import numpy as np
import pytest
import torch

from quadsim.simulator import BlockQuadratic, Trajectory, simulate, simulate_torch
from quadsim.theory import THEOREMS, check

RNG = np.random.default_rng(5)
SPECTRA = ((0.0, 0.3, 2.0), (3.0,), (0.0, 0.0, 0.5, 1.0, 7.0), (0.5, 1.0, 4.0))  # of the sizes of `mixed_problem`
SIZES = tuple(map(len, SPECTRA))


def _bases(rotated):
    return [np.linalg.qr(RNG.standard_normal((n, n)))[0] if rotated else np.eye(n) for n in SIZES]


def _blocks(bases):
    matrices = [basis * spectrum @ basis.T for basis, spectrum in zip(bases, SPECTRA, strict=True)]
    return [(matrix + matrix.T) / 2 for matrix in matrices]


def _along_null_space(bases):
    """A vector of the null space of all blocks together, (P,)."""
    parts = [b[:, np.array(s) == 0.0].sum(axis=1) for b, s in zip(bases, SPECTRA, strict=True)]
    return np.concatenate(parts)


@pytest.fixture(params=[False, True], ids=["diagonal", "rotated"])
def both(request):
    """A problem, and the same one with its start moved along the null space; on the axes rounding has no part in it."""
    bases = _bases(request.param)
    start = np.random.default_rng(1).standard_normal(sum(SIZES))
    moved = start + 3.0 * _along_null_space(bases)
    blocks = _blocks(bases)
    problems = [BlockQuadratic.from_blocks(blocks, initial_error=e) for e in (start, moved)]
    return *problems, 1e-9 if request.param else 0.0


def test_the_null_space_is_reported_and_condition_numbers_are_of_the_range(both):
    problem = both[0]
    assert problem.null_dimensions.tolist() == [[1, 0, 2, 0]]
    np.testing.assert_array_equal(problem.eigenvalues[5][0, 0, :2], 0.0)
    np.testing.assert_allclose(problem.block_strong_convexity[0], [0.3, 3.0, 0.5, 0.5])
    np.testing.assert_allclose(problem.achieved["block_condition_number"][0], [2 / 0.3, 1.0, 14.0, 8.0])
    np.testing.assert_allclose(problem.achieved["condition_number"], [7 / 0.3])
    np.testing.assert_allclose(problem.achieved["heterogeneity"], [7 / 2])


def test_the_gap_is_the_one_of_the_range(both):
    problem = both[1]
    matrix, error = problem.dense(0)
    np.testing.assert_allclose(problem.initial_gap, error @ matrix @ error / 2, rtol=1e-12)


@pytest.mark.parametrize(("rule", "rates"), [("heavy-ball", [0.02, 0.1]), ("block-gd", [0.3, 1.0])])
@pytest.mark.parametrize("engine", ["closed-form", "fused", "reference"])
def test_moving_along_the_null_space_changes_no_gap(both, rule, rates, engine):
    one, other, rounding = both
    runs = [simulate(p, rule, lr=rates, steps=60, engine=engine, tolerance=1e-3) for p in (one, other)]
    # Rounding of H n is added at every step, relative to the gap at the start.
    slack = np.broadcast_to(rounding * runs[0].gap[:, :, :1], runs[0].gap.shape)
    assert np.all(np.abs(runs[0].gap - runs[1].gap) <= slack)
    np.testing.assert_array_equal(runs[0].steps_to_tolerance, runs[1].steps_to_tolerance)
    assert (runs[0].status == "converged").any()


@pytest.mark.parametrize("rule", ["heavy-ball", "block-gd", "adam"])
def test_the_engines_agree_on_singular_blocks(both, rule):
    problem = both[1]
    names = ["reference", "fused"] + (["closed-form"] if rule != "adam" else [])
    runs = [simulate(problem, rule, lr=0.02, steps=50, engine=name) for name in names]
    for run in runs[1:]:
        np.testing.assert_allclose(run.gap, runs[0].gap, rtol=1e-7, atol=1e-13)


def test_torch_optimizers_run_on_singular_blocks(both):
    ours = simulate(both[1], "gd", lr=0.1, steps=30)
    theirs = simulate_torch(both[1], torch.optim.SGD, lr=0.1, steps=30)
    np.testing.assert_allclose(theirs.gap, ours.gap, rtol=1e-9)


def test_a_frozen_preconditioner_keeps_the_null_space(both):
    """`adam-frozen` scales the blocks by the first gradient, which has to have no entry of 0: one rotated block."""
    ones = np.ones((3, 3))
    problem = BlockQuadratic.from_blocks([ones, [[2.0]]], initial_error=[1.0, 0.5, -0.2, 1.0])
    closed, stepped = (
        simulate(problem, "adam-frozen", lr=0.1, steps=40, engine=e) for e in ("closed-form", "reference")
    )
    np.testing.assert_allclose(closed.gap, stepped.gap, rtol=1e-9, atol=1e-14)
    assert closed.steps_to_tolerance.tolist() == stepped.steps_to_tolerance.tolist()


def test_no_theorem_applies_to_a_singular_problem_but_to_its_definite_neighbour():
    definite = BlockQuadratic.from_blocks([np.diag([1.0, 2.0])], initial_error=[1.0, 1.0])
    singular = BlockQuadratic.from_blocks([np.diag([0.0, 2.0])], initial_error=[0.0, 1.0])
    for name, theorem in THEOREMS.items():
        rule = theorem.rules[0] if theorem.rules else "gd"
        if theorem.kind == "expectation" or rule not in ("gd", "block-gd", "signsgd"):
            continue
        run = simulate(singular, rule, lr=0.1, steps=5)
        found = check(name, run)
        assert found.verdict.tolist() == [["not applicable"]], name
    reason = check("gd-upper", simulate(singular, "gd", lr=0.1, steps=5)).reason[0, 0]
    assert reason == "H must be positive definite, got a null space of dimension 1 (singular)"
    assert check("gd-upper", simulate(definite, "gd", lr=0.1, steps=5)).verdict[0, 0] == "holds"


def test_a_start_that_rounding_would_drown_is_refused():
    blocks = [np.ones((2, 2))]
    far = BlockQuadratic.from_blocks(blocks, initial_error=[1e6 + 1e-3, -1e6])
    with pytest.raises(ValueError, match=r"initial_error must have a small part in the null space .* project initial"):
        simulate(far, "gd", lr=0.1, steps=5)
    inside = BlockQuadratic.from_blocks(blocks, initial_error=[1.0, -1.0])
    with pytest.raises(ValueError, match=r"initial_error must have a small part in the null space"):
        simulate(inside, "gd", lr=0.1, steps=5)
    near = BlockQuadratic.from_blocks(blocks, initial_error=[1.0, 0.5])
    assert simulate(near, "gd", lr=0.5, steps=5).status[0, 0] == "converged"


# Starts by law


def test_draws_of_a_start_do_not_depend_on_the_batch(both):
    blocks = _blocks(_bases(True))
    for law in ("normal", "sphere"):
        whole = BlockQuadratic.from_blocks(blocks, initial_error=law, problems=6, seed=3)
        part = BlockQuadratic.from_blocks(blocks, initial_error=law, problems=2, seed=3, first=3)
        assert part.index.tolist() == [3, 4]
        for size, error in part.initial_error.items():
            np.testing.assert_array_equal(error, whole.initial_error[size][3:5])
        other = BlockQuadratic.from_blocks(blocks, initial_error=law, problems=6, seed=4)
        assert not np.array_equal(other.initial_error[5], whole.initial_error[5])


def test_starts_have_their_law_on_the_range():
    blocks = _blocks(_bases(True))
    normal = BlockQuadratic.from_blocks(blocks, initial_error="normal", problems=4000)
    inside = {s: normal.initial_coefficients[s][normal.eigenvalues[s] > 0.0] for s in normal.hessian}
    values = np.concatenate([x.ravel() for x in inside.values()])
    assert values.size == 4000 * 9
    assert abs(values.mean()) < 4 / np.sqrt(values.size)
    assert abs(values.var() - 1.0) < 4 * np.sqrt(2 / values.size)
    for size, c in normal.initial_coefficients.items():
        assert np.abs(c[normal.eigenvalues[size] == 0.0]).max(initial=0.0) < 1e-14
    sphere = BlockQuadratic.from_blocks(blocks, initial_error="sphere", problems=50)
    squares = np.sum(sphere.layout.flatten(sphere.initial_error) ** 2, axis=1)
    np.testing.assert_allclose(squares, 9.0)


def test_zero_start_begins_at_w_0():
    problem = BlockQuadratic.from_blocks([np.eye(2)], initial_error="zero-start", minimizer=[1.0, -2.0])
    run = simulate(problem, "gd", lr=0.1, steps=3, observe="iterate")
    np.testing.assert_array_equal(run.observed["iterate"][0, 0, 0], [0.0, 0.0])


def test_a_saved_run_on_singular_blocks_is_restored(tmp_path):
    problem = BlockQuadratic.from_blocks(_blocks(_bases(True)), initial_error="normal", problems=3, seed=2, first=5)
    run = simulate(problem, "gd", lr=0.1, steps=4)
    run.save(tmp_path / "run.nc")
    found = Trajectory.load(tmp_path / "run.nc").problem
    assert found.null_dimensions.tolist() == [[1, 0, 2, 0]] * 3
    assert found.dials == problem.dials
    np.testing.assert_array_equal(found.index, problem.index)
