"""BlockQuadratic: the dials measured on dense matrices, draws that ignore the batch, and a user's own matrices.

Dials are recomputed from `problem.dense(m)` with numpy alone. The allowance of 1e-10 is that of the issue; rounding is
about `P_l kappa_l u` (1e-12 at the sizes and condition numbers here) over the range of the logarithms (at least .05).
"""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import block_extremes, block_slices, gradient_metrics

from quadsim.simulator.problems.layout import BlockLayout
from quadsim.simulator.problems.quadratic import BlockQuadratic, block_sizes_from
from quadsim.simulator.problems.spectra import case_spectra, extreme_eigenvalues, heterogeneity_of, spectra_from_dials
from quadsim.simulator.support.draws import haar_rotations, rotation_power

LAW = settings(derandomize=True, deadline=None, max_examples=200, database=None)
ARRAYS = ("hessian", "eigenvalues", "eigenvectors", "initial_coefficients", "initial_error", "minimizer")
THIRD = Fraction(1, 3)


def measured(problem, m):
    """Every dial of theory.md section 1, from the dense matrix and the start of problem m."""
    hessian, error = problem.dense(m)
    parts = block_slices(problem.block_sizes)
    outside = np.ones(hessian.shape, dtype=bool)
    for part in parts:
        outside[part, part] = False
    assert not hessian[outside].any()
    np.testing.assert_array_equal(hessian, hessian.T)
    largest, smallest = block_extremes([hessian[part, part] for part in parts])
    metrics = gradient_metrics(hessian, problem.block_sizes, hessian @ error)
    return {
        "heterogeneity": largest.max() / largest.min(),
        "condition_number": largest.max() / smallest.min(),
        "block_condition_number": largest / smallest,
        "gradient_heterogeneity": metrics["heterogeneity"],
        "alignment": metrics["alignment"],
    }


def assert_same_bits(a, i, b, j):
    for name in ARRAYS:
        for size, array in getattr(a, name).items():
            assert array[i].tobytes() == getattr(b, name)[size][j].tobytes(), (name, size)


# Layout


def test_layout_puts_every_block_where_it_belongs():
    layout = BlockLayout((2, 3, 2, 1, 3))
    assert layout.dimension == 11
    assert {size: blocks.tolist() for size, blocks in layout.groups.items()} == {2: [0, 2], 3: [1, 4], 1: [3]}
    expected = {2: [[0, 1], [5, 6]], 3: [[2, 3, 4], [8, 9, 10]], 1: [[7]]}
    assert {size: positions.tolist() for size, positions in layout.positions.items()} == expected
    flat = np.arange(4 * 11 * 2).reshape(4, 11, 2)
    split = layout.split(flat)
    assert {size: array.shape for size, array in split.items()} == {2: (4, 2, 2, 2), 3: (4, 2, 3, 2), 1: (4, 1, 1, 2)}
    np.testing.assert_array_equal(split[3][:, 1], flat[:, 8:11])
    np.testing.assert_array_equal(layout.flatten(split), flat)
    blocks = [np.full((4, size), b) for b, size in enumerate(layout.block_sizes)]
    joined = layout.join_blocks({size: group[..., 0] for size, group in layout.group(blocks).items()})
    np.testing.assert_array_equal(joined, np.tile(np.arange(5), (4, 1)))


# Independence of the batch


GRADIENT_DIALS = [{}, {"gradient_heterogeneity": 7.0}, {"gradient_heterogeneity": 7.0, "alignment": 0.5}]


@pytest.mark.parametrize("gradient", GRADIENT_DIALS, ids=lambda x: "-".join(map(str, x.values())) or "rank")
@pytest.mark.parametrize("rotation", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("mode", ["scale", "arrange"])
def test_problem_7_of_8_is_problem_7_of_1000(mode, rotation, gradient):
    dials = {"mode": mode, "rotation": rotation, "heterogeneity": 9.0, "seed": 5, **gradient}
    for sizes in [(3, 3, 3), (1, 2, 5, 7, 11), (1,) * 9, (4, 17, 1)]:
        many = BlockQuadratic.generate(block_size=sizes, blocks=len(sizes), problems=1000, **dials)
        for problems, first in ((8, 0), (1, 7), (5, 4), (1, 999)):
            few = BlockQuadratic.generate(block_size=sizes, blocks=len(sizes), problems=problems, first=first, **dials)
            np.testing.assert_array_equal(few.index, first + np.arange(problems))
            for m in {0, problems - 1}:
                assert_same_bits(few, m, many, first + m)


@pytest.mark.parametrize("size", [*range(1, 21), 30])
def test_problem_7_is_the_same_bits_for_every_block_size(size):
    dials = {"block_size": size, "rotation": 0.3, "heterogeneity": 9.0, "seed": 6, "gradient_heterogeneity": 3.0}
    assert_same_bits(BlockQuadratic.generate(problems=8, **dials), 7, BlockQuadratic.generate(problems=77, **dials), 7)
    if size == 8:
        assert_same_bits(
            BlockQuadratic.generate(problems=8, **dials), 7, BlockQuadratic.generate(problems=1000, **dials), 7
        )


def test_index_beyond_32_bits_and_the_largest_seed():
    dials = {"block_size": 2, "seed": 2**64 - 1}
    far = BlockQuadratic.generate(first=2**32 + 7, problems=2, **dials)
    assert_same_bits(far, 1, BlockQuadratic.generate(first=2**32 + 8, **dials), 0)
    near = BlockQuadratic.generate(first=7, **dials)
    assert not np.any(far.initial_error[2][0] == near.initial_error[2][0])
    last = BlockQuadratic.generate(first=2**63 - 1, **dials)
    assert last.index.tolist() == [2**63 - 1]
    assert np.all(np.isfinite(last.initial_error[2]))


def test_problems_and_seeds_and_blocks_differ():
    problem = BlockQuadratic.generate(problems=5, seed=1)
    other = BlockQuadratic.generate(problems=5, seed=2)
    errors = np.concatenate([problem.initial_error[8].ravel(), other.initial_error[8].ravel()])
    assert np.unique(errors).size == errors.size
    entries = np.concatenate([problem.eigenvectors[8][..., 0, 0].ravel(), other.eigenvectors[8][..., 0, 0].ravel()])
    assert np.unique(entries).size == entries.size


# Dials


def sizes_and_alignment(minimum):
    return st.lists(st.integers(1, 6), min_size=minimum, max_size=5).filter(lambda sizes: max(sizes) > 1)


@st.composite
def all_dials(draw, mode):
    sizes = tuple(draw(sizes_and_alignment(2)))
    alignments = st.sampled_from([-1.0, 1.0])
    if len(sizes) > 2:
        alignments = st.one_of(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), st.floats(-1, 1))
    dials = {
        "blocks": len(sizes),
        "block_size": sizes,
        "mode": mode,
        "heterogeneity": draw(st.floats(1.05, 1e4)),
        "condition_number": draw(st.floats(1.0, 1e3)),
        "gradient_heterogeneity": draw(st.floats(1.05, 1e3)),
        "alignment": draw(st.one_of(st.none(), alignments)),
        "rotation": draw(st.sampled_from([0.0, 0.3, 1.0])),
        "seed": draw(st.integers(0, 2**64 - 1)),
    }
    if mode == "arrange":
        dials["condition_number"] = draw(st.floats(10.0, 5e3))
        largest = dials["condition_number"] ** (1 - (sizes[0] - 1) / (sum(sizes) - 1))  # sorted: theory.md section 1
        dials["heterogeneity"] = min(largest, max(1.0, largest ** draw(st.floats(0, 1))))
    return dials


def assert_achieved_is_measured(problem):
    for m in range(problem.problems):
        for name, value in measured(problem, m).items():
            achieved = problem.achieved[name][m]
            np.testing.assert_allclose(achieved, value, rtol=1e-10, atol=1e-10 * (name == "alignment"), err_msg=name)


@LAW
@given(dials=all_dials("scale"))
def test_in_scale_every_dial_is_as_asked(dials):
    problem = BlockQuadratic.generate(problems=2, **dials)
    kappas = np.array([dials["condition_number"] if size > 1 else 1.0 for size in dials["block_size"]])
    scales = np.geomspace(1.0, dials["heterogeneity"], len(kappas))
    for m in range(2):
        found = measured(problem, m)
        assert found["heterogeneity"] == pytest.approx(dials["heterogeneity"], rel=1e-10)
        np.testing.assert_allclose(found["block_condition_number"], kappas, rtol=1e-10)
        assert found["condition_number"] == pytest.approx(scales[-1] / np.min(scales / kappas), rel=1e-10)
        assert found["gradient_heterogeneity"] == pytest.approx(dials["gradient_heterogeneity"], rel=1e-10)
        if dials["alignment"] is not None:
            assert found["alignment"] == pytest.approx(dials["alignment"], abs=1e-10)
    assert_achieved_is_measured(problem)


@LAW
@given(dials=all_dials("arrange"))
def test_in_arrange_every_dial_but_heterogeneity_is_as_asked(dials):
    problem = BlockQuadratic.generate(problems=2, **dials)
    spectra = spectra_from_dials(dials["block_size"], dials["heterogeneity"], "arrange", dials["condition_number"])
    for m in range(2):
        found = measured(problem, m)
        assert found["heterogeneity"] == pytest.approx(heterogeneity_of(spectra), rel=1e-10)
        assert found["condition_number"] == pytest.approx(dials["condition_number"], rel=1e-10)
        assert found["gradient_heterogeneity"] == pytest.approx(dials["gradient_heterogeneity"], rel=1e-10)
        if dials["alignment"] is not None:
            assert found["alignment"] == pytest.approx(dials["alignment"], abs=1e-10)
    assert_achieved_is_measured(problem)


@pytest.mark.parametrize("alignment", [-1.0, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("heterogeneity", [10.0, 1e3])
def test_alignment_and_gradient_heterogeneity_of_four_blocks(heterogeneity, alignment):
    dials = {"heterogeneity": heterogeneity, "gradient_heterogeneity": 30.0, "alignment": alignment}
    problem = BlockQuadratic.generate(problems=20, **dials)
    for m in range(20):
        found = measured(problem, m)
        for name, value in dials.items():
            assert found[name] == pytest.approx(value, rel=1e-10, abs=1e-10), name
        assert found["condition_number"] == pytest.approx(10 * heterogeneity, rel=1e-10)


def test_an_alignment_alone_spreads_the_gradients_as_the_blocks_curvatures():
    alone = BlockQuadratic.generate(heterogeneity=20.0, alignment=-0.5, problems=3)
    both = BlockQuadratic.generate(heterogeneity=20.0, alignment=-0.5, gradient_heterogeneity=20.0, problems=3)
    np.testing.assert_array_equal(alone.initial_error[8], both.initial_error[8])
    np.testing.assert_allclose(alone.achieved["gradient_heterogeneity"], 20.0, rtol=1e-10)


@pytest.mark.parametrize("alignment", [-1.0, 1.0])
def test_two_blocks_can_be_aligned_fully(alignment):
    problem = BlockQuadratic.generate(
        blocks=2, heterogeneity=5.0, gradient_heterogeneity=3.0, alignment=alignment, problems=3
    )
    for m in range(3):
        assert measured(problem, m)["alignment"] == pytest.approx(alignment, abs=1e-10)
        assert measured(problem, m)["gradient_heterogeneity"] == pytest.approx(3.0, rel=1e-10)


def test_without_alignment_either_block_may_have_the_larger_gradient():
    problem = BlockQuadratic.generate(blocks=2, heterogeneity=5.0, gradient_heterogeneity=3.0, problems=400)
    signs = np.round(problem.achieved["alignment"])
    assert set(signs) == {-1.0, 1.0}
    assert abs(signs.mean()) < 4 / math.sqrt(400)


def test_alignment_keeps_its_digits_where_the_random_part_is_almost_aligned():
    dials = {"blocks": 3, "block_size": 1, "condition_number": 1.0, "heterogeneity": 7.0, "gradient_heterogeneity": 3.0}
    problem = BlockQuadratic.generate(alignment=0.5, problems=50_000, **dials)
    np.testing.assert_allclose(problem.achieved["alignment"], 0.5, rtol=1e-13)


@pytest.mark.parametrize("alignment", [None, 0.5, 1.0])
def test_gradient_norms_have_a_geometric_mean_of_1(alignment):
    problem = BlockQuadratic.generate(heterogeneity=5.0, gradient_heterogeneity=30.0, alignment=alignment, problems=5)
    for m in range(5):
        hessian, error = problem.dense(m)
        norms = gradient_metrics(hessian, problem.block_sizes, hessian @ error)["norms"]
        assert np.log(norms).mean() == pytest.approx(0.0, abs=1e-12)


def test_gradient_heterogeneity_1_makes_all_blocks_alike():
    problem = BlockQuadratic.generate(block_size=(3, 1, 4), blocks=3, heterogeneity=5.0, gradient_heterogeneity=1)
    assert measured(problem, 0)["gradient_heterogeneity"] == pytest.approx(1.0, rel=1e-12)
    assert BlockQuadratic.generate(blocks=1, gradient_heterogeneity=1.0).achieved["gradient_heterogeneity"] == [1.0]


def test_direction_of_the_gradient_in_a_block_is_uniform():
    problem = BlockQuadratic.generate(
        blocks=3,
        block_size=2,
        heterogeneity=5.0,
        gradient_heterogeneity=4.0,
        alignment=0.5,
        rotation=1.0,
        problems=2000,
    )
    gradient = np.matmul(problem.hessian[2], problem.initial_error[2][..., None])[..., 0]
    angles = np.sort(np.arctan2(gradient[..., 1], gradient[..., 0]).ravel())
    distance = np.abs((angles + math.pi) / (2 * math.pi) - (np.arange(6000) + 0.5) / 6000).max()
    assert distance < math.sqrt(math.log(2e6) / (2 * 6000)) + 1 / 6000  # as in test_draws.py: probability 1e-6


@pytest.mark.parametrize("rotation", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("sizes", [(1, 2, 5), (17, 3)], ids=str)
def test_matrices_are_made_of_the_asked_spectra_and_rotations(sizes, rotation):
    problem = BlockQuadratic.generate(
        block_size=sizes, blocks=len(sizes), heterogeneity=3.0, rotation=rotation, problems=3, seed=8
    )
    spectra = spectra_from_dials(sizes, 3.0, "scale", None)
    for m in range(3):
        hessian, error = problem.dense(m)
        assert hessian.dtype == error.dtype == np.float64
        assert hessian.shape == (sum(sizes), sum(sizes))
        assert error.shape == (sum(sizes),)
        for block, part in enumerate(block_slices(sizes)):
            basis = rotation_power(haar_rotations(8, np.array([m]), block, sizes[block]), rotation)[0]
            np.testing.assert_allclose(
                hessian[part, part], basis @ np.diag(spectra[block]) @ basis.T, rtol=0, atol=1e-13
            )
        gap = np.sum(
            problem.layout.flatten(problem.eigenvalues)[m]
            * problem.layout.flatten(problem.initial_coefficients)[m] ** 2
        )
        assert problem.initial_gap[m] == pytest.approx(gap / 2, rel=1e-14)
        assert problem.initial_gap[m] == pytest.approx(error @ hessian @ error / 2, rel=1e-12)
    for size in set(sizes):
        coefficients = np.einsum("mbij,mbi->mbj", problem.eigenvectors[size], problem.initial_error[size])
        np.testing.assert_allclose(coefficients, problem.initial_coefficients[size], rtol=0, atol=1e-13)
        assert not problem.minimizer[size].any()


def test_without_rotation_the_matrices_are_diagonal_and_their_eigenvectors_the_axes():
    problem = BlockQuadratic.generate(rotation=0.0, heterogeneity=3.0)
    hessian, error = problem.dense(0)
    np.testing.assert_array_equal(hessian, np.diag(problem.layout.flatten(problem.eigenvalues)[0]))
    np.testing.assert_array_equal(error, problem.layout.flatten(problem.initial_coefficients)[0])


# The start


def coefficients_by_rank(problem):
    eigenvalues = problem.layout.flatten(problem.eigenvalues)
    coefficients = problem.layout.flatten(problem.initial_coefficients)
    order = np.argsort(eigenvalues, axis=1, kind="stable")
    return np.take_along_axis(eigenvalues, order, 1), np.take_along_axis(coefficients, order, 1)


@pytest.mark.parametrize("sizes", [(8, 8, 8, 8), (2, 9, 1, 4)], ids=str)
def test_the_start_belongs_to_the_eigenvalues_whoever_has_them(sizes):
    dials = {"block_size": sizes, "mode": "arrange", "problems": 6, "seed": 3}
    interleaved = BlockQuadratic.generate(heterogeneity=1.0, **dials)
    eigenvalues, coefficients = coefficients_by_rank(interleaved)
    seen = set()
    for heterogeneity in (4.0, 30.0, 300.0):
        arranged = BlockQuadratic.generate(heterogeneity=heterogeneity, rotation=0.5, **dials)
        seen.add(float(arranged.achieved["heterogeneity"][0]))
        for ours, theirs in zip(coefficients_by_rank(arranged), (eigenvalues, coefficients), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert len(seen) == 3
    assert np.abs(coefficients.mean()) < 5 / math.sqrt(coefficients.size)
    assert np.unique(coefficients).size == coefficients.size


def test_ties_between_eigenvalues_are_broken_by_position():
    problem = BlockQuadratic.from_spectra([[1.0, 2.0], [2.0, 1.0], [3.0]], seed=4)
    distinct = BlockQuadratic.from_spectra([[1.0, 2.0], [1.5, 2.5], [3.0]], seed=4)
    for size in (1, 2):
        np.testing.assert_array_equal(problem.initial_coefficients[size], distinct.initial_coefficients[size])


def test_gradient_descent_does_not_notice_an_arrangement():
    gaps = []
    for heterogeneity in (1.0, 30.0, 300.0):
        problem = BlockQuadratic.generate(mode="arrange", heterogeneity=heterogeneity, seed=2)
        hessian, error = problem.dense(0)
        run = []
        for step in range(40):
            run.append(error @ hessian @ error / 2)
            error -= (1.5 if step % 3 else 0.7) * (hessian @ error)
        gaps.append(run)
    np.testing.assert_allclose(gaps[1], gaps[0], rtol=1e-9)
    np.testing.assert_allclose(gaps[2], gaps[0], rtol=1e-9)


# What was achieved


def test_achieved_has_an_entry_per_problem_and_per_block():
    problem = BlockQuadratic.generate(blocks=3, block_size=(4, 1, 2), heterogeneity=20.0, problems=5)
    shapes = {name: values.shape for name, values in problem.achieved.items()}
    names = ("heterogeneity", "condition_number", "gradient_heterogeneity", "alignment")
    assert shapes == {**dict.fromkeys(names, (5,)), "block_condition_number": (5, 3)}
    np.testing.assert_array_equal(problem.block_smoothness, np.tile([1.0, math.sqrt(20.0), 20.0], (5, 1)))
    assert problem.block_strong_convexity[0].tolist() == [
        s[0] for s in spectra_from_dials((4, 1, 2), 20.0, "scale", None)
    ]
    assert_achieved_is_measured(problem)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BlockQuadratic.generate(heterogeneity=1.0, problems=3),
        lambda: BlockQuadratic.generate(heterogeneity=10.0, gradient_heterogeneity=1.0, problems=3),
        lambda: BlockQuadratic.generate(blocks=1, problems=3),
        lambda: BlockQuadratic.from_blocks([np.eye(2) * 0.1] * 3, initial_error=np.arange(1.0, 7.0)),
        lambda: BlockQuadratic.from_blocks([np.eye(2), 2 * np.eye(2)], initial_error=np.zeros(4)),
        lambda: BlockQuadratic.from_blocks([np.eye(2), 2 * np.eye(2)], initial_error=[0.0, 0, 1, 2]),
    ],
    ids=["equal L", "equal gradients", "one block", "equal up to rounding", "no gradient", "no gradient in one block"],
)
def test_alignment_is_nan_where_it_is_undefined(make):
    assert np.all(np.isnan(make().achieved["alignment"]))


def test_gradient_heterogeneity_of_a_block_without_gradient_is_infinite():
    problem = BlockQuadratic.from_blocks([np.eye(2), 2 * np.eye(2)], initial_error=[0.0, 0, 1, 2])
    assert problem.achieved["gradient_heterogeneity"].tolist() == [math.inf]


# Cases and given spectra


@pytest.mark.parametrize("name", ["heterogeneous", "homogeneous", "transformer-like", "cnn-like"])
def test_cases_have_the_spectra_of_their_name(name):
    problem = BlockQuadratic.case(name, problems=3, seed=1, rotation=0.5)
    for m in range(3):
        hessian, _ = problem.dense(m)
        for part, spectrum in zip(block_slices(problem.block_sizes), case_spectra(name), strict=True):
            found = np.linalg.eigvalsh(hessian[part, part])
            np.testing.assert_allclose(found, spectrum, rtol=0, atol=1e-13 * spectrum[-1])
    assert problem.achieved["condition_number"] == pytest.approx([5000.0] * 3, rel=1e-15)
    assert problem.dials["case"] == name
    assert problem.problems == 3


def test_case_takes_the_gradient_dials():
    problem = BlockQuadratic.case("heterogeneous", gradient_heterogeneity=5.0, alignment=-0.5, problems=2)
    for m in range(2):
        assert measured(problem, m)["gradient_heterogeneity"] == pytest.approx(5.0, rel=1e-10)
        assert measured(problem, m)["alignment"] == pytest.approx(-0.5, abs=1e-10)
    with pytest.raises(ValueError, match=r"case must be one of .*, got 'cnn'; did you mean 'cnn-like'\?"):
        BlockQuadratic.case("cnn")


def test_from_spectra_keeps_the_blocks_in_order_and_sorts_within():
    problem = BlockQuadratic.from_spectra([[5, 1, 3], np.array([0.5]), (2, 2)], problems=2, seed=9)
    assert problem.block_sizes == (3, 1, 2)
    assert problem.layout.flatten(problem.eigenvalues).tolist() == [[1, 3, 5, 0.5, 2, 2]] * 2
    assert problem.dials["spectra"] == ((1.0, 3.0, 5.0), (0.5,), (2.0, 2.0))
    np.testing.assert_allclose(np.linalg.eigvalsh(problem.dense(1)[0]), [0.5, 1, 2, 2, 3, 5], rtol=1e-13)
    dialled = BlockQuadratic.generate(heterogeneity=7.0, seed=9, problems=2)
    assert_same_bits(
        BlockQuadratic.from_spectra(spectra_from_dials((8,) * 4, 7.0, "scale", None), seed=9), 0, dialled, 0
    )


@pytest.mark.parametrize(
    ("spectra", "message"),
    [
        (
            [[1.0], [2.0, 0.0]],
            r"spectra\[1\] must hold positive finite eigenvalues, got \[0.0, 2.0\]; raise the smallest",
        ),
        ([[1.0, -1.0]], r"spectra\[0\] must hold positive finite eigenvalues, got \[-1.0, 1.0\]"),
        ([[1.0, math.nan]], r"spectra\[0\] must hold positive finite eigenvalues, got \[1.0, nan\]"),
        ([[1.0, math.inf]], r"spectra\[0\] must hold positive finite eigenvalues, got \[1.0, inf\]"),
        ([[1.0], []], r"spectra\[1\] must hold positive finite eigenvalues, got \[\]; .* or drop the block"),
        ([["a"]], r"spectra\[0\] must hold numbers, got \['a'\]"),
        ([], r"spectra must hold at least one block, got none; give the eigenvalues of every block"),
    ],
)
def test_spectra_that_are_none_are_refused(spectra, message):
    with pytest.raises(ValueError, match=message):
        BlockQuadratic.from_spectra(spectra)


# Given matrices


def test_from_blocks_keeps_integers_and_fractions_exactly():
    blocks = [[[2, THIRD], [THIRD, 1]], [[10**17 + 1]]]
    problem = BlockQuadratic.from_blocks(blocks, initial_error=[1, Fraction(2, 7), -3], seed=4)
    assert problem.exact.blocks == (((Fraction(2), THIRD), (THIRD, Fraction(1))), ((Fraction(10**17 + 1),),))
    assert problem.exact.initial_error == (Fraction(1), Fraction(2, 7), Fraction(-3))
    entries = [x for block in problem.exact.blocks for row in block for x in row] + list(problem.exact.initial_error)
    assert {type(x) for x in entries} == {Fraction}
    hessian, error = problem.dense(0)
    np.testing.assert_array_equal(hessian, [[2, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1e17]])
    np.testing.assert_array_equal(error, [1, 2 / 7, -3])
    assert (problem.problems, problem.seed, problem.block_sizes) == (1, 4, (2, 1))


@pytest.mark.parametrize(
    "block",
    [
        sp.Matrix([[2, sp.Rational(1, 3)], [sp.Rational(1, 3), 1]]),
        [[sp.Integer(2), sp.Rational(1, 3)], [sp.Rational(1, 3), 1]],
        np.array([[2, THIRD], [THIRD, np.int64(1)]], dtype=object),
    ],
    ids=["sympy matrix", "sympy numbers", "object array"],
)
def test_rationals_of_any_kind_become_fractions(block):
    problem = BlockQuadratic.from_blocks([block], initial_error=np.array([3, 4]))
    assert problem.exact.blocks == (((Fraction(2), THIRD), (THIRD, Fraction(1))),)
    assert problem.exact.initial_error == (Fraction(3), Fraction(4))
    assert {type(x) for row in problem.exact.blocks[0] for x in row} == {Fraction}


def test_integer_arrays_and_tensors_are_exact_and_floats_are_not():
    for whole in (np.array([[2, 1], [1, 3]], dtype=np.int32), torch.tensor([[2, 1], [1, 3]])):
        problem = BlockQuadratic.from_blocks([whole], initial_error=[1, 1])
        assert problem.exact.blocks == (((Fraction(2), Fraction(1)), (Fraction(1), Fraction(3))),)
    whole = [[2, 1], [1, 3]]
    for blocks, error in (
        ([np.array(whole, dtype=float)], [1, 1]),
        ([whole], [1.0, 1.0]),
        ([[[2, THIRD], [1 / 3, 1]]], [1, 1]),
        ([sp.Matrix([[2, sp.sqrt(2)], [sp.sqrt(2), 3]])], [1, 1]),
        ([np.array([whole, whole])], [1, 1]),
        ([whole], [[1, 1], [1, 2]]),
    ):
        assert BlockQuadratic.from_blocks(blocks, initial_error=error).exact is None


def test_from_blocks_finds_eigenvalues_and_coefficients():
    generator = np.random.default_rng(0)
    factors = [generator.normal(size=(2, size, size + 2)) for size in (3, 1, 3)]
    blocks = [a @ np.swapaxes(a, 1, 2) for a in factors]
    error, center = generator.normal(size=(2, 7)), generator.normal(size=7)
    problem = BlockQuadratic.from_blocks(blocks, initial_error=error, minimizer=center)
    assert (problem.problems, problem.dimension, problem.index.tolist()) == (2, 7, [0, 1])
    np.testing.assert_array_equal(problem.layout.flatten(problem.minimizer), np.tile(center, (2, 1)))
    np.testing.assert_array_equal(problem.layout.flatten(problem.initial_error), error)
    for m in range(2):
        hessian, start = problem.dense(m)
        np.testing.assert_array_equal(start, error[m])
        for block, part in enumerate(block_slices((3, 1, 3))):
            np.testing.assert_allclose(hessian[part, part], blocks[block][m], rtol=1e-14)
            assert problem.block_smoothness[m, block] == pytest.approx(np.linalg.norm(blocks[block][m], 2), rel=1e-12)
            inverse = np.linalg.norm(np.linalg.inv(blocks[block][m]), 2)
            assert problem.block_strong_convexity[m, block] == pytest.approx(1 / inverse, rel=1e-9)
        assert problem.initial_gap[m] == pytest.approx(start @ hessian @ start / 2, rel=1e-12)
    assert_achieved_is_measured(problem)


def test_batches_of_one_are_repeated():
    stack = np.array([np.eye(2), 2 * np.eye(2), 3 * np.eye(2)])
    problem = BlockQuadratic.from_blocks([stack, [[5.0]]], initial_error=[1, 2, 3], minimizer=np.ones((3, 3)))
    assert problem.problems == 3
    assert [problem.dense(m)[0].diagonal().tolist() for m in range(3)] == [[1, 1, 5], [2, 2, 5], [3, 3, 5]]
    assert problem.layout.flatten(problem.initial_error).tolist() == [[1, 2, 3]] * 3
    assert problem.exact is None
    alone = BlockQuadratic.from_blocks([[[5.0]]], initial_error=[1.0])
    assert alone.layout.flatten(alone.minimizer).tolist() == [[0.0]]


def test_a_float_matrix_may_be_symmetric_up_to_rounding():
    basis = haar_rotations(0, np.arange(1), 0, 8)[0]
    matrix = basis @ np.diag(np.geomspace(1e-3, 1, 8)) @ basis.T
    assert not np.array_equal(matrix, matrix.T), "the case to test"
    problem = BlockQuadratic.from_blocks([matrix], initial_error=np.ones(8))
    np.testing.assert_array_equal(problem.dense(0)[0], problem.dense(0)[0].T)
    np.testing.assert_allclose(problem.dense(0)[0], matrix, rtol=0, atol=1e-15)


EYE = np.eye(2)


@pytest.mark.parametrize(
    ("blocks", "arguments", "message"),
    [
        ([], {}, r"blocks must hold at least one matrix, got none; give a list of matrices"),
        (EYE, {}, r"blocks must be a list with one matrix per block, got a single ndarray; put it in a list"),
        ([EYE, np.ones((2, 3))], {}, r"blocks\[1\] must be a square matrix .*, got shape \(2, 3\)"),
        ([np.ones((1, 1, 2, 2))], {}, r"blocks\[0\] must be a square matrix .*, got shape \(1, 1, 2, 2\)"),
        ([np.zeros((0, 2, 2))], {}, r"blocks\[0\] must be a square matrix .*, got shape \(0, 2, 2\)"),
        ([np.zeros((0, 0))], {}, r"blocks\[0\] must be a square matrix .*, got shape \(0, 0\)"),
        ([[[1, 2], [3]]], {}, r"blocks\[0\] must hold numbers, got \[\[1, 2\], \[3\]\]; give a rectangular array"),
        ([[EYE, np.ones((2, 3))]], {}, r"blocks\[0\] must hold numbers, got .*; give a rectangular array"),
        ([[["a", 0], [0, 1]]], {}, r"blocks\[0\] must hold numbers, got .*'a'"),
        ([EYE * (1 + 0j)], {}, r"blocks\[0\] must hold numbers, got .*; .*real numbers only"),
        ([[[10**400, 0], [0, 1]]], {}, r"blocks\[0\] must hold numbers, got .*; .*too large"),
        ([[[1, math.nan], [math.nan, 1]]], {}, r"blocks\[0\] must be finite, got NaN or inf; remove them"),
        ([[[1, 0], [0, math.inf]]], {}, r"blocks\[0\] must be finite, got NaN or inf"),
        (
            [EYE, [[1, 0.5], [0.25, 1]]],
            {},
            r"blocks\[1\] must be symmetric, .* by up to 0.25; that is more than rounding",
        ),
        ([[[1, THIRD], [0.333, 1]]], {}, r"blocks\[0\] must be symmetric, .* by up to 0.000333; use \(H"),
        (
            [[[1, 2], [2, 1]]],
            {},
            r"blocks\[0\] must be positive semi-definite, got an indefinite matrix: its smallest eigenvalue is -1, -0.333 times "
            r"the largest in size; for a model use the Gauss-Newton matrix .* else add a multiple of the identity",
        ),
        (
            [[[1, 0], [0, -1e-7]]],
            {},
            r"blocks\[0\] must be positive semi-definite, .* is -1e-07, -1e-07 times .*; if that is rounding, compute the matrix",
        ),
        (
            [[[1, 0], [0, Fraction(-1, 10**30)]]],
            {},
            r"blocks\[0\] must be positive semi-definite, got an indefinite matrix",
        ),
        (
            [[[1, 0], [0, Fraction(1, 10**30)]]],
            {},
            r"blocks\[0\] must have eigenvalues that float64 can tell from 0, got 1 of at most 1.78e-15, which are not 0",
        ),
        ([EYE, np.zeros((2, 2))], {}, r"blocks\[1\] must have an eigenvalue above 0, got a matrix of zeros.*leave the"),
        ([np.array([EYE, -EYE])], {}, r"blocks\[0\] must be positive semi-definite, .* eigenvalue is -1, -1 times"),
        ([EYE], {"initial_error": "gauss"}, r"initial_error must be one of normal, sphere, zero-start, got 'gauss'"),
        ([EYE], {"initial_error": "zero-start"}, r"initial_error zero-start needs a minimizer other than 0, got none"),
        (
            [EYE],
            {"initial_error": "zero-start", "minimizer": [0, 0]},
            r"initial_error zero-start needs a minimizer other than 0, got zeros; give minimizer, or draw",
        ),
        (
            [EYE],
            {"initial_error": "zero-start", "minimizer": [0, 1], "problems": 2},
            r"problems must be 1 where every start is w = 0, got 2 equal ones; give one problem, or draw",
        ),
        ([EYE], {"problems": 2}, r"problems must be the number of problems that is given \(1\), got 2; leave it out"),
        (
            [np.array([EYE] * 3)],
            {"initial_error": "normal", "problems": 2},
            r"problems must be the number of problems that is given \(3\), got 2",
        ),
        ([EYE], {"initial_error": "normal", "problems": 0}, r"problems must be a whole number of at least 1, got 0"),
        (
            [EYE],
            {"initial_error": [1, 2, 3]},
            r"initial_error must have shape \(2,\) or \(M, 2\), got \(3,\); give one",
        ),
        ([EYE], {"initial_error": 1.0}, r"initial_error must have shape \(2,\) or \(M, 2\), got \(\)"),
        ([EYE], {"initial_error": np.ones((1, 1, 2))}, r"initial_error must have shape .*, got \(1, 1, 2\)"),
        ([EYE], {"initial_error": np.ones((0, 2))}, r"initial_error must have shape .*, got \(0, 2\)"),
        ([EYE], {"initial_error": [1, math.nan]}, r"initial_error must be finite, got NaN or inf; remove them"),
        ([EYE], {"initial_error": ["x", 1]}, r"initial_error must hold numbers, got \['x', 1\]"),
        ([EYE], {"minimizer": [1]}, r"minimizer must have shape \(2,\) or \(M, 2\), got \(1,\)"),
        ([EYE], {"minimizer": [1, math.inf]}, r"minimizer must be finite"),
        ([EYE], {"seed": -1}, r"seed must be a whole number of at least 0, got -1"),
        ([EYE], {"seed": 2**64}, r"seed must be below 2\^64, got 18446744073709551616; give a smaller one"),
        (
            [np.array([EYE] * 3)],
            {"initial_error": np.ones((2, 2))},
            r"blocks, initial_error and minimizer must have one batch size or 1, got \[2, 3\]; make them equal",
        ),
    ],
)
def test_matrices_that_make_no_problem_are_refused(blocks, arguments, message):
    with pytest.raises(ValueError, match=message):
        BlockQuadratic.from_blocks(blocks, **{"initial_error": [1.0, 1.0] * len(blocks), **arguments})


def test_exact_matrices_must_be_symmetric_exactly():
    almost = THIRD + Fraction(1, 10**20)  # one float64 with 1/3
    assert float(almost) == float(THIRD)
    message = (
        rf"blocks\[1\] must be symmetric, got {re.escape(str(almost))} at \(1, 0\) and 1/3 at \(0, 1\); .* the same"
    )
    with pytest.raises(ValueError, match=message):
        BlockQuadratic.from_blocks([[[1]], [[1, THIRD], [almost, 1]]], initial_error=[1, 1, 1])
    with pytest.raises(
        ValueError, match=r"must be symmetric, got 9007199254740993 at \(1, 0\) and 9007199254740992 at"
    ):
        BlockQuadratic.from_blocks([[[10**17, 2**53], [2**53 + 1, 10**17]]], initial_error=[1, 1])
    given_in_floats = BlockQuadratic.from_blocks([[[1, THIRD], [almost, 1]]], initial_error=[1.0, 1.0])
    assert given_in_floats.exact is None


@pytest.mark.parametrize(
    "block",
    [
        [[10933, -1160, -9135], [-1160, 7853, -4054], [-9135, -4054, 10897]],
        [[1040, 368, -652], [368, 937, 30], [-652, 30, 493]],
        [[91, -22, 6, -40], [-22, 74, -87, 14], [6, -87, 126, 39], [-40, 14, 39, 134]],
    ],
)
def test_the_rank_of_integer_matrices_is_decided_exactly(block):
    assert sp.Matrix(block).det() == 0  # and `eigvalsh` finds a smallest eigenvalue of 1.3 to 1.8 P_l u L
    problem = BlockQuadratic.from_blocks([block], initial_error=[1] * len(block))
    assert problem.null_dimensions.tolist() == [[1]]
    assert problem.eigenvalues[len(block)][0, 0, 0] == 0.0


# Bad dials


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"blocks": 0}, r"blocks must be a whole number of at least 1, got 0; give 1 or more"),
        ({"blocks": 2.5}, r"blocks must be a whole number of at least 1, got 2.5"),
        ({"block_size": 0}, r"block size must be a whole number of at least 1, got 0"),
        ({"block_size": (3, 0)}, r"block size must be a whole number of at least 1, got 0"),
        ({"block_size": "3"}, r"block size must be a whole number of at least 1, got '3'"),
        ({"block_size": ()}, r"block size must hold at least one size, got none; give a size for every block"),
        (
            {"blocks": 3, "block_size": (2, 2)},
            r"blocks must equal the number of block sizes \(2\), got 3; leave blocks out or make them equal",
        ),
        ({"problems": 0}, r"problems must be a whole number of at least 1, got 0"),
        ({"seed": -1}, r"seed must be a whole number of at least 0, got -1; give 0 or more"),
        ({"seed": 1.5}, r"seed must be a whole number of at least 0, got 1.5"),
        ({"seed": 2**64}, r"seed must be below 2\^64, got 18446744073709551616; give a smaller one"),
        ({"first": -1}, r"first must be a whole number of at least 0, got -1"),
        (
            {"first": 2**63},
            r"first \+ problems must be at most 2\^63, got 9223372036854775808 \+ 1; give a smaller first",
        ),
        (
            {"heterogeneity": 0.99},
            r"heterogeneity must be a number of at least 1, got 0.99; give a value in that range",
        ),
        ({"heterogeneity": math.nan}, r"heterogeneity must be a number of at least 1, got nan"),
        ({"heterogeneity": 2.0, "blocks": 1}, r"heterogeneity must be 1 with one block, got 2; use 2 blocks or more"),
        (
            {"heterogeneity": 1e4, "mode": "arrange"},
            r"heterogeneity in mode arrange must be from .* to .*, got 10000; low",
        ),
        ({"mode": "arange"}, r"mode must be one of scale, arrange, got 'arange'; did you mean 'arrange'\?"),
        ({"condition_number": 0.5}, r"condition number must be a number of at least 1, got 0.5"),
        (
            {"condition_number": 2, "block_size": 1},
            r"condition number of a block must be 1 where every block has size 1",
        ),
        ({"rotation": 1.5}, r"rotation must be a number in \[0, 1\], got 1.5; give a value in that range"),
        ({"rotation": -0.1}, r"rotation must be a number in \[0, 1\], got -0.1"),
        ({"rotation": math.nan}, r"rotation must be a number in \[0, 1\], got nan"),
        ({"gradient_heterogeneity": 0.5}, r"gradient heterogeneity must be a number of at least 1, got 0.5"),
        ({"gradient_heterogeneity": math.inf}, r"gradient heterogeneity must be a number of at least 1, got inf"),
        ({"gradient_heterogeneity": [2, 3]}, r"gradient heterogeneity must be a number of at least 1, got \[2, 3\]"),
        (
            {"gradient_heterogeneity": 2.0, "blocks": 1},
            r"gradient heterogeneity must be 1 with one block, got 2; use 2 blocks or more",
        ),
        (
            {"heterogeneity": 2.0, "gradient_heterogeneity": 2.0, "alignment": 1.01},
            r"alignment must be a number in \[-1, 1\], got 1.01; give a value in that range",
        ),
        (
            {"heterogeneity": 2.0, "gradient_heterogeneity": 2.0, "alignment": math.nan},
            r"alignment must be a number in \[-1, 1\], got nan",
        ),
        (
            {"alignment": 0.5},
            r"alignment needs a heterogeneity above 1, got 1; raise it or leave alignment out",
        ),
        (
            {"heterogeneity": 2.0, "gradient_heterogeneity": 1.0, "alignment": 0.5},
            r"alignment needs a gradient heterogeneity above 1, got 1; raise it or leave alignment out",
        ),
        (
            {"gradient_heterogeneity": 2.0, "alignment": 0.5},
            r"alignment needs a heterogeneity above 1, got 1; raise it or leave alignment out",
        ),
        (
            {"blocks": 2, "heterogeneity": 2.0, "gradient_heterogeneity": 2.0, "alignment": 0.5},
            r"alignment must be -1 or 1 with two blocks, got 0.5; use 3 blocks or more",
        ),
    ],
    ids=lambda x: "-".join(f"{k}={v}" for k, v in x.items()) if isinstance(x, dict) else "",
)
def test_dials_that_cannot_be_had_are_refused(dials, message):
    with pytest.raises(ValueError, match=message):
        BlockQuadratic.generate(**dials)


def test_block_sizes_from_a_number_or_a_size_each():
    assert block_sizes_from(3, 5) == (5, 5, 5)
    assert block_sizes_from(4, [1, 4, 9]) == (1, 4, 9)  # the default number of blocks gives way
    assert block_sizes_from(2, np.array([6, 7])) == (6, 7)
    assert {type(size) for size in block_sizes_from(2, np.array([6, 7]))} == {int}


def test_dials_may_be_any_kind_of_number():
    plain = BlockQuadratic.generate(heterogeneity=4.0, gradient_heterogeneity=2.0, alignment=1.0, problems=2)
    kinds = BlockQuadratic.generate(
        heterogeneity="4", gradient_heterogeneity=Fraction(2), alignment=np.float32(1), rotation=1, problems=2.0
    )
    text = BlockQuadratic.generate(heterogeneity=4, gradient_heterogeneity="2", alignment="1", problems=np.int64(2))
    for other in (kinds, text):
        assert other.dials == plain.dials
        assert_same_bits(other, 1, plain, 1)


# Batches


def test_select_keeps_the_chosen_problems_and_their_draws():
    problem = BlockQuadratic.generate(block_size=(2, 3, 2), problems=6, first=10, seed=7, heterogeneity=4.0)
    chosen = problem.select([4, 0])
    assert chosen.problems == 2
    assert chosen.index.tolist() == [14, 10]
    assert (chosen.seed, chosen.block_sizes) == (7, (2, 3, 2))
    assert_same_bits(chosen, 0, problem, 4)
    assert_same_bits(chosen, 1, problem, 0)
    np.testing.assert_array_equal(chosen.dense(0)[0], problem.dense(4)[0])
    for name, values in chosen.achieved.items():
        np.testing.assert_array_equal(values, problem.achieved[name][[4, 0]])
    centred = BlockQuadratic.from_blocks([[[2.0]]], initial_error=[1.0], minimizer=[[3.0], [4.0]])
    assert centred.select([1]).minimizer[1].tolist() == [[[4.0]]]
    exact = BlockQuadratic.from_blocks([[[2]]], initial_error=[1])
    assert exact.select([0]).exact == exact.exact


def test_repr_says_what_it_was_made_from():
    text = repr(BlockQuadratic.generate(problems=3, heterogeneity=5.0, seed=2))
    assert text.startswith("BlockQuadratic(3 problems of 32 coordinates; ")
    assert "heterogeneity=5.0, mode='scale'" in text
    assert "alignment" not in text


@pytest.mark.slow
def test_a_hundred_thousand_problems_are_made_in_one_go():
    dials = {"blocks": 3, "block_size": 3, "heterogeneity": 10.0, "gradient_heterogeneity": 4.0, "alignment": 0.5}
    many = BlockQuadratic.generate(problems=100_000, **dials)
    np.testing.assert_allclose(many.achieved["alignment"], 0.5, rtol=1e-10)
    np.testing.assert_allclose(many.achieved["gradient_heterogeneity"], 4.0, rtol=1e-10)
    assert extreme_eigenvalues(tuple(many.eigenvalues[3][0])) == (10.0, 0.1)
    assert_same_bits(BlockQuadratic.generate(first=99_999, **dials), 0, many, 99_999)
