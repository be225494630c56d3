"""Spectra from the dials: scales, arrangements and the named cases; and the checks whose sentences they speak in."""

import itertools
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quadsim.simulator.problems.spectra import (
    CASES,
    arranged_spectra,
    case_spectra,
    extreme_eigenvalues,
    geometric,
    heterogeneity_of,
    scaled_spectra,
    spectra_from_dials,
)
from quadsim.simulator.support.checks import check_choice, check_count, check_interval, check_known, check_ratio

LAW = settings(derandomize=True, deadline=None, max_examples=150, database=None)
LAYOUTS = [(1, 1), (2, 2), (8, 8, 8, 8), (1, 4, 9), (9, 4, 1), (3, 1, 1, 7), (5,), (2, 3, 2, 3, 2)]


def slot_keys(sizes, t):
    """Keys of the slots at t, as (key, block): written from theory.md section 1's family, in rationals."""
    total = sum(sizes)
    return [
        ((1 - t) * Fraction(j, size) + t * Fraction(sum(sizes[:block]) + j, total), block)
        for block, size in enumerate(sizes)
        for j in range(1, size + 1)
    ]


def owners_at(sizes, t):
    return [block for _, block in sorted(slot_keys(sizes, t))]


def all_arrangements(sizes):
    """Every arrangement of the family: order changes only where two keys are equal, and each key is linear in t."""
    starts, ends = slot_keys(sizes, Fraction(0)), slot_keys(sizes, Fraction(1))
    ties = {Fraction(0), Fraction(1)}
    for a, b in itertools.combinations(range(len(starts)), 2):
        at_0, at_1 = starts[a][0] - starts[b][0], ends[a][0] - ends[b][0]
        if at_0 * at_1 < 0:
            ties.add(at_0 / (at_0 - at_1))
    edges = sorted(ties)
    positions = edges + [(left + right) / 2 for left, right in itertools.pairwise(edges)]
    return [owners_at(sizes, t) for t in sorted(positions)]


def heterogeneity_of_owners(owners, eigenvalues):
    tops = [max(e for e, o in zip(eigenvalues, owners, strict=True) if o == block) for block in set(owners)]
    return max(tops) / min(tops)


def ends_of(sizes, kappa):
    """Achieved heterogeneity of the interleaved and of the sorted arrangement."""
    eigenvalues = geometric(kappa, sum(sizes))
    return [heterogeneity_of_owners(owners_at(sizes, Fraction(t)), eigenvalues) for t in (0, 1)]


# Geometric and scaled


@pytest.mark.parametrize(("ratio", "count"), [(10.0, 8), (5000.0, 120), (1.0, 3), (7.0, 2), (10.0, 1)])
def test_geometric_runs_from_one_over_the_ratio_to_one_with_equal_quotients(ratio, count):
    values = geometric(ratio, count)
    assert values.shape == (count,)
    assert values[-1] == 1.0
    if count > 1:
        assert values[0] == pytest.approx(1 / ratio, rel=1e-15)
        np.testing.assert_allclose(values[1:] / values[:-1], ratio ** (1 / (count - 1)), rtol=1e-12)


@pytest.mark.parametrize("sizes", LAYOUTS, ids=str)
def test_scaled_blocks_share_a_shape_and_their_scales_run_geometrically_to_c(sizes):
    c, kappa = (100.0 if len(sizes) > 1 else 1.0), (10.0 if max(sizes) > 1 else 1.0)
    spectra = scaled_spectra(sizes, c, kappa)
    assert [len(s) for s in spectra] == list(sizes)
    scales = np.array([s[-1] for s in spectra])
    np.testing.assert_allclose(scales, np.geomspace(1.0, c, len(sizes)), rtol=1e-14)
    assert heterogeneity_of(spectra) == c
    for scale, spectrum in zip(scales, spectra, strict=True):
        shape = np.geomspace(1 / kappa, 1.0, len(spectrum)) if len(spectrum) > 1 else np.ones(1)
        np.testing.assert_allclose(spectrum / scale, shape, rtol=1e-13)


def test_in_scale_the_whole_condition_number_is_the_product():
    largest, smallest = extreme_eigenvalues(spectra_from_dials((8, 8, 8), 50.0, "scale", 20.0))
    assert largest / smallest == pytest.approx(1000.0, rel=1e-14)


def test_default_condition_numbers():
    assert [s[-1] / s[0] for s in spectra_from_dials((4, 6), 3.0, "scale", None)] == pytest.approx([10, 10], rel=1e-14)
    largest, smallest = extreme_eigenvalues(spectra_from_dials((4, 6), 3.0, "arrange", None))
    assert largest / smallest == pytest.approx(5000.0, rel=1e-14)
    assert [s.tolist() for s in spectra_from_dials((1, 1), 3.0, "scale", None)] == [[1.0], [3.0]]
    assert [s.tolist() for s in spectra_from_dials((1,), 1.0, "arrange", None)] == [[1.0]]


# Arranged


@pytest.mark.parametrize("sizes", LAYOUTS, ids=str)
@pytest.mark.parametrize("position", [0.0, 0.3, 0.7, 1.0])
def test_arranging_keeps_every_eigenvalue_bit_for_bit(sizes, position):
    low, high = ends_of(sizes, 5000.0)
    spectra = arranged_spectra(sizes, low * (high / low) ** position, 5000.0)
    assert [len(s) for s in spectra] == list(sizes)
    assert all(np.all(np.diff(s) > 0) for s in spectra)
    np.testing.assert_array_equal(np.sort(np.concatenate(spectra)), geometric(5000.0, sum(sizes)))


@pytest.mark.parametrize("sizes", LAYOUTS, ids=str)
def test_1_is_interleaved_and_the_largest_is_sorted(sizes):
    eigenvalues = geometric(300.0, sum(sizes))
    interleaved = arranged_spectra(sizes, 1.0, 300.0)
    low, high = ends_of(sizes, 300.0)
    assert heterogeneity_of(interleaved) == low
    for spectrum, block in zip(interleaved, range(len(sizes)), strict=True):
        expected = [e for e, o in zip(eigenvalues, owners_at(sizes, Fraction(0)), strict=True) if o == block]
        np.testing.assert_array_equal(spectrum, expected)
    pieces = np.split(eigenvalues, np.cumsum(sizes)[:-1])
    for spectrum, piece in zip(arranged_spectra(sizes, high, 300.0), pieces, strict=True):
        np.testing.assert_array_equal(spectrum, piece)
    reachable = [heterogeneity_of_owners(owners, eigenvalues) for owners in all_arrangements(sizes)]
    assert (low, high) == (min(reachable), max(reachable))


@pytest.mark.parametrize("sizes", [*LAYOUTS, (30, 3), (2, 19, 5, 11), (40, 40, 40)], ids=str)
def test_interleaved_blocks_span_the_range(sizes):
    # Slot j of a block of P_l has ceil(x P_k) - 1 to floor(x P_k) slots of block k before it, x = j/P_l: so its rank
    # among the P eigenvalues is within B - 1 below x P.
    eigenvalues, total = geometric(5000.0, sum(sizes)), sum(sizes)
    for spectrum in arranged_spectra(sizes, 1.0, 5000.0):
        ranks = np.searchsorted(eigenvalues, spectrum) + 1
        distance = np.arange(1, len(spectrum) + 1) / len(spectrum) * total - ranks
        assert distance.min() > -1e-9
        assert distance.max() < len(sizes) - 1 + 1e-9


layouts = st.lists(st.integers(1, 5), min_size=2, max_size=4).map(tuple)


@pytest.mark.parametrize("sizes", [(1, 3, 3), (2, 3, 3), (5, 3, 3), (4, 3, 3, 3)], ids=str)
def test_only_what_is_reachable_counts_where_two_slots_cross_together(sizes):
    # Slot 2 of the second block of 3 and slot 1 of the third pass the first block's top at the same t.
    eigenvalues = geometric(100.0, sum(sizes))
    reachable = np.array([heterogeneity_of_owners(owners, eigenvalues) for owners in all_arrangements(sizes)])
    assert np.unique(reachable).size < sum(sizes) - sizes[0] - len(sizes) + 2, "the case to test"
    for asked in np.geomspace(1.0, reachable.max(), 200):
        achieved = heterogeneity_of(arranged_spectra(sizes, asked, 100.0))
        assert abs(math.log(achieved / asked)) <= np.abs(np.log(reachable / asked)).min() + 1e-12


@LAW
@given(sizes=layouts, kappa=st.floats(1.5, 1e4), position=st.floats(0, 1))
def test_the_nearest_reachable_heterogeneity_is_taken(sizes, kappa, position):
    low, high = ends_of(sizes, kappa)
    asked = float(np.clip(high**position, 1.0, high))
    achieved = heterogeneity_of(arranged_spectra(sizes, asked, kappa))
    eigenvalues = geometric(kappa, sum(sizes))
    reachable = np.array([heterogeneity_of_owners(owners, eigenvalues) for owners in all_arrangements(sizes)])
    assert achieved in reachable
    assert low <= achieved <= high
    distances = np.abs(np.log(reachable) - math.log(asked))
    assert abs(math.log(achieved) - math.log(asked)) <= distances.min() + 1e-12  # 1e-12: two may be as near


@LAW
@given(sizes=layouts, kappa=st.floats(1.5, 1e4))
def test_what_is_achieved_grows_with_what_is_asked_and_can_be_asked_again(sizes, kappa):
    high = ends_of(sizes, kappa)[1]
    achieved = [heterogeneity_of(arranged_spectra(sizes, c, kappa)) for c in np.geomspace(1.0, high, 15)]
    assert all(a <= b for a, b in itertools.pairwise(achieved))
    assert [heterogeneity_of(arranged_spectra(sizes, c, kappa)) for c in achieved] == achieved


def test_arranged_spectra_by_hand():
    # Eigenvalues 1/16, 1/8, .., 1 in blocks of 2 and 3 (keys 1/2 1 | 1/3 2/3 1 at t = 0), and sorted at t = 1.
    two, three = arranged_spectra((2, 3), 1.0, 16.0)
    np.testing.assert_allclose(two, [1 / 8, 1 / 2], rtol=1e-15)
    np.testing.assert_allclose(three, [1 / 16, 1 / 4, 1], rtol=1e-15)
    two, three = arranged_spectra((2, 3), 8.0, 16.0)
    np.testing.assert_allclose(two, [1 / 16, 1 / 8], rtol=1e-15)
    np.testing.assert_allclose(three, [1 / 4, 1 / 2, 1], rtol=1e-15)
    assert heterogeneity_of(arranged_spectra((2, 3), 4.0, 16.0)) == pytest.approx(4.0, rel=1e-15)
    assert heterogeneity_of(arranged_spectra((2, 3), 2.8, 16.0)) == pytest.approx(2.0, rel=1e-15)  # 2.8 < 2 sqrt 2
    assert heterogeneity_of(arranged_spectra((2, 3), 2.9, 16.0)) == pytest.approx(4.0, rel=1e-15)


def test_more_than_sorted_is_refused_with_both_ends():
    low, high = ends_of((8, 8, 8, 8), 5000.0)
    message = (
        rf"heterogeneity in mode arrange must be from {low:.4g} \(interleaved; 1 also means this\) to {high:.4g} "
        r"\(sorted\).*, got 800; lower it, or raise the condition number"
    )
    with pytest.raises(ValueError, match=message):
        spectra_from_dials((8, 8, 8, 8), 800.0, "arrange", None)
    with pytest.raises(ValueError, match=r"heterogeneity in mode arrange"):
        arranged_spectra((8, 8, 8, 8), high * (1 + 1e-13), 5000.0)
    arranged_spectra((8, 8, 8, 8), float(f"{high:.17g}"), 5000.0)


# The named cases


def test_case_studies_hold_the_eigenvalues_of_the_paper():
    heterogeneous = [s.tolist() for s in case_spectra("heterogeneous")]
    homogeneous = [s.tolist() for s in case_spectra("homogeneous")]
    assert heterogeneous == [[1, 2, 3], [99, 100, 101], [4998, 4999, 5000]]
    assert homogeneous == [[1, 99, 4998], [2, 100, 4999], [3, 101, 5000]]
    assert CASES == ("heterogeneous", "homogeneous", "transformer-like", "cnn-like")


def test_network_like_cases_share_their_eigenvalues_and_differ_in_who_has_which():
    transformer, cnn = case_spectra("transformer-like"), case_spectra("cnn-like")
    for spectra in (transformer, cnn):
        assert [s.shape for s in spectra] == [(30,)] * 4
        assert extreme_eigenvalues(spectra) == (5000.0, 1.0)
    np.testing.assert_array_equal(np.sort(np.concatenate(transformer)), np.sort(np.concatenate(cnn)))
    assert all(a[-1] < b[0] for a, b in itertools.pairwise(transformer))  # very different: disjoint ranges
    ratio = np.array(cnn)[1:] / np.array(cnn)[:-1]  # similar: neighbours on the same grid
    np.testing.assert_allclose(ratio, np.full((3, 30), 5000.0 ** (1 / 119)), rtol=1e-12)


# Bad input


@pytest.mark.parametrize(
    ("sizes", "heterogeneity", "mode", "condition_number", "message"),
    [
        (
            (4, 4),
            0.5,
            "scale",
            None,
            r"heterogeneity must be a number of at least 1, got 0.5; give a value in that range",
        ),
        ((4, 4), math.inf, "scale", None, r"heterogeneity must be .* at least 1, got inf"),
        ((4, 4), math.nan, "scale", None, r"heterogeneity must be .* at least 1, got nan"),
        ((4, 4), "ten", "scale", None, r"heterogeneity must be .* at least 1, got 'ten'"),
        ((4, 4), True, "scale", None, r"heterogeneity must be .* at least 1, got True"),
        ((4, 4), None, "scale", None, r"heterogeneity must be .* at least 1, got None"),
        ((4, 4), 10**400, "scale", None, r"heterogeneity must be .* at least 1, got 1000"),
        ((4, 4), 2.0, "scale", 0.99, r"condition number must be a number of at least 1, got 0.99"),
        ((4, 4), 2.0, "arrange", math.nan, r"condition number must be a number of at least 1, got nan"),
        ((4, 4), 2.0, "scaled", None, r"mode must be one of scale, arrange, got 'scaled'; did you mean 'scale'\?"),
        ((4, 4), 2.0, "xyz", None, r"mode must be one of scale, arrange, got 'xyz'; choose one of these"),
        ((4,), 2.0, "scale", None, r"heterogeneity must be 1 with one block, got 2; use 2 blocks or more"),
        ((4,), 2.0, "arrange", None, r"heterogeneity must be 1 with one block, got 2; use 2 blocks or more"),
        ((1, 1), 2.0, "scale", 3.0, r"condition number of a block must be 1 .* size 1, got 3; use larger blocks or"),
        ((1,), 1.0, "arrange", 3.0, r"condition number must be 1 with one coordinate, got 3; use larger blocks or 1"),
    ],
)
def test_dials_that_cannot_be_had_are_refused(sizes, heterogeneity, mode, condition_number, message):
    with pytest.raises(ValueError, match=message):
        spectra_from_dials(sizes, heterogeneity, mode, condition_number)


def test_an_unknown_case_suggests_the_nearest():
    with pytest.raises(
        ValueError, match=r"case must be one of heterogeneous, .*, got 'homo'; did you mean 'homogeneous'\?"
    ):
        case_spectra("homo")


# checks.py


@pytest.mark.parametrize(
    ("value", "arguments", "allowed"),
    [
        (0.0, {"low": 0.0, "low_open": True}, "above 0"),
        (-1, {"low": 0.0}, "of at least 0"),
        (2, {"high": 1.0}, "of at most 1"),
        (1, {"high": 1.0, "high_open": True}, "below 1"),
        (1.5, {"low": 0.0, "high": 1.0}, "in [0, 1]"),
        (1.0, {"low": 0.0, "high": 1.0, "high_open": True}, "in [0, 1)"),
        (0.0, {"low": 0.0, "high": 1.0, "low_open": True}, "in (0, 1]"),
        (math.inf, {}, "that is finite"),
    ],
)
def test_check_interval_names_the_range_the_value_and_the_fix(value, arguments, allowed):
    for fix in ("", "lower it"):
        sentence = f"x must be a number {allowed}, got {value!r}; {fix or 'give a value in that range'}."
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            check_interval("x", value, **arguments, fix=fix)


def test_check_interval_returns_a_float_and_admits_closed_ends():
    for value in (0, 1, np.float32(0.5), Fraction(1, 4), "0.5", np.int64(1)):
        checked = check_interval("x", value, 0.0, 1.0)
        assert type(checked) is float
        assert checked == float(value)


@pytest.mark.parametrize("value", [0, -3, 2.5, "3", True, None, math.nan, math.inf, [1, 2], 1j])
def test_check_count_refuses_what_is_no_count(value):
    with pytest.raises(
        ValueError, match=re.escape(f"n must be a whole number of at least 1, got {value!r}; give 1 or more.")
    ):
        check_count("n", value)
    with pytest.raises(ValueError, match=r"at least 5, got .*; take five\.$"):
        check_count("n", value, 5, fix="take five")


def test_check_count_returns_an_int():
    for value in (1, 3.0, np.int32(7), np.float64(2.0), 2**70):
        checked = check_count("n", value, high=None)
        assert type(checked) is int
        assert checked == value
    assert check_count("n", 0, 0) == 0
    assert check_count("n", 2**53) == 2**53
    with pytest.raises(
        ValueError, match=r"^n must be a whole number of at most 9007199254740992, got 1e\+30; give a smaller"
    ):
        check_count("n", 1e30)


def test_ratios_stay_far_from_overflow():
    assert check_ratio("c", 1e100) == 1e100
    with pytest.raises(ValueError, match=r"^c must be a number of at most 1e\+100, got 1e\+101; give a smaller one"):
        check_ratio("c", 1e101)


def test_check_choice_and_check_known():
    assert check_choice("rule", "gd", ["gd", "adam"]) == "gd"
    with pytest.raises(ValueError, match=r"^rule must be one of gd, adam, got 'adma'; did you mean 'adam'\?$"):
        check_choice("rule", "adma", iter(["gd", "adam"]))
    with pytest.raises(ValueError, match=r"^rule must be one of gd, adam, got 7; choose one of these\.$"):
        check_choice("rule", 7, ["gd", "adam"])
    check_known("setting", ["beta1"], ["beta1", "beta2"])
    check_known("setting", [], [])
    with pytest.raises(
        ValueError, match=r"^setting must be one of beta1, beta2, got 'beta3'; did you mean 'beta[12]'\?$"
    ):
        check_known("setting", ["beta1", "beta3"], ["beta1", "beta2"])
    with pytest.raises(ValueError, match=r"^setting must not be given, as there is none, got 'beta1'; leave it out\.$"):
        check_known("setting", ["beta1"], [])
