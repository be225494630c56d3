"""Counter-based draws: the stream itself, its distribution, and rotations made from it.

Seeds are fixed, so a distribution either passes for ever or never: moments within 5 standard errors (5.5 where hundreds of
entries are looked at together), distribution functions within the bound of Dvoretzky, Kiefer, Wolfowitz and Massart.
"""

import math
import random

import numpy as np
import pytest
import torch
from reference import PHILOX_KAT
from reference import philox4x32 as philox_oracle

from quadsim.simulator.support import draws
from quadsim.simulator.support.draws import Purpose, haar_rotations, normals, rotation_power, uniforms

SIZES = (2, 3, 4, 5, 8, 9, 16, 17, 20)


def oracle_uniform(seed, problem, purpose, index, number):
    """Draw `number` of a stream, with Python's integers alone."""
    counter = (number // 2 + (int(purpose) << 28), index, problem % 2**32, problem >> 32)
    words = philox_oracle(counter, (seed % 2**32, seed >> 32))
    high, low = words[:2] if number % 2 == 0 else words[2:]
    return 1.0 - ((high >> 5) * 2**26 + (low >> 6)) / 2**53


def assert_distributed(sample, cdf):
    """Compare with a distribution function: P(sup |F_n - F| > d) <= 2 exp(-2 n d^2) = 1e-6 at the d allowed here."""
    values = np.sort(np.ravel(sample))
    count = values.size
    expected = cdf(values)
    above, below = np.arange(1, count + 1) / count - expected, expected - np.arange(count) / count
    assert max(above.max(), below.max()) <= math.sqrt(math.log(2e6) / (2 * count))


def assert_mean(sample, mean, variance, axis=None, errors=5.0):
    count = sample.size if axis is None else sample.shape[axis]
    assert np.abs(sample.mean(axis=axis) - mean).max() <= errors * math.sqrt(variance / count)


def normal_cdf(x):
    return torch.special.ndtr(torch.from_numpy(x)).numpy()


def test_assert_distributed_tells_a_shift_of_one_percent():
    sample = (np.arange(100_000) + 0.5) / 100_000
    assert_distributed(sample, lambda x: x)
    with pytest.raises(AssertionError):
        assert_distributed(sample, lambda x: np.minimum(1.0, x + 0.01))


# Philox and uniforms


@pytest.mark.parametrize(("counter", "key", "expected"), PHILOX_KAT)
def test_philox_known_answers(counter, key, expected):
    arrays = tuple(np.full(3, word, dtype=np.uint64) for word in counter)
    for word, array in zip(expected, draws.philox4x32(arrays, key), strict=True):
        np.testing.assert_array_equal(array, np.full(3, word, dtype=np.uint64))


@pytest.mark.parametrize("rounds", [1, 7, 10])
def test_philox_equals_the_oracle_on_random_counters(rounds):
    words = random.Random(1)
    key = (words.getrandbits(32), words.getrandbits(32))
    counters = [tuple(words.getrandbits(32) for _ in range(4)) for _ in range(300)]
    ours = draws.philox4x32(tuple(np.array(counters, dtype=np.uint64).T), key, rounds)
    assert [tuple(map(int, row)) for row in np.array(ours).T] == [philox_oracle(c, key, rounds) for c in counters]


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize("seed", [0, 5, 0x0123456789ABCDEF, 2**64 - 1])
def test_uniforms_are_the_documented_words_of_philox(seed, purpose):
    problems = np.array([0, 7, 2**32 - 1, 2**32 + 7, 2**62])
    for index, count in ((0, 1), (3, 4), (2**31, 7)):
        expected = [[oracle_uniform(seed, int(m), purpose, index, i) for i in range(count)] for m in problems]
        np.testing.assert_array_equal(uniforms(seed, problems, purpose, index, count), expected)


def test_uniforms_are_right_across_the_internal_chunks():
    count = 2 * draws._CHUNK + 5  # two problems: the cuts fall inside the rows
    ours = uniforms(9, np.array([4, 6]), Purpose.NOISE, 2, count)
    for row, problem in enumerate((4, 6)):
        for i in (0, 2 * draws._CHUNK - 1, 2 * draws._CHUNK, 2 * draws._CHUNK - 6, count - 1):
            assert ours[row, i] == oracle_uniform(9, problem, Purpose.NOISE, 2, i)


def test_uniforms_lie_above_0_and_up_to_1_also_at_the_ends_of_the_words():
    zeros, ones = np.zeros(1, dtype=np.uint64), np.full(1, 2**32 - 1, dtype=np.uint64)
    assert draws._to_unit(zeros, zeros) == 1.0
    assert draws._to_unit(ones, ones) == 2.0**-53
    assert draws._to_unit(zeros, ones) == 1.0 - (2**26 - 1) * 2.0**-53
    sample = uniforms(3, np.arange(1000), Purpose.START, 0, 200)
    assert sample.min() > 0.0
    assert sample.max() <= 1.0
    assert_distributed(sample, lambda x: x)


def test_more_draws_than_the_counter_holds_are_refused():
    with pytest.raises(ValueError, match=r"draws per problem must be below 2\^29, got 536870912; use smaller blocks"):
        uniforms(0, np.arange(1), Purpose.START, 0, 2**29)


# Normals


@pytest.mark.parametrize("count", [1, 2, 7])
def test_normals_are_box_and_muller_of_the_uniforms(count):
    ours = normals(11, np.array([3, 5]), Purpose.DIRECTION, 4, count)
    assert ours.shape == (2, count)
    for row, problem in enumerate((3, 5)):
        for i in range(count):
            u, v = (oracle_uniform(11, problem, Purpose.DIRECTION, 4, 2 * (i // 2) + k) for k in (0, 1))
            wave = math.sin if i % 2 else math.cos
            assert ours[row, i] == pytest.approx(
                math.sqrt(-2 * math.log(u)) * wave(2 * math.pi * v), rel=1e-13, abs=1e-14
            )


@pytest.mark.parametrize("axis", ["draws", "problems", "blocks", "seeds"])
def test_normals_are_standard_normal_and_uncorrelated_along_every_axis_of_the_counter(axis):
    number = 100_000
    if axis == "draws":
        sample = normals(1, np.arange(2), Purpose.START, 0, number // 2).ravel()
    elif axis == "problems":
        sample = normals(1, np.arange(number), Purpose.START, 0, 1).ravel()
    elif axis == "blocks":
        sample = np.concatenate([normals(1, np.arange(1000), Purpose.START, i, 1).ravel() for i in range(100)])
    else:
        sample = np.concatenate([normals(s, np.arange(1000), Purpose.START, 0, 1).ravel() for s in range(100)])
    assert sample.size == number
    assert_distributed(sample, normal_cdf)
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):  # E z^2k = (2k-1)!!
        assert_mean(sample**power, mean, variance)
    for lag in (1, 2, 1000):
        assert_mean(sample[lag:] * sample[:-lag], 0, 1)
        assert_mean((sample[lag:] ** 2 - 1) * (sample[:-lag] ** 2 - 1), 0, 4)


def test_streams_of_different_purposes_and_seeds_share_nothing():
    problems = np.arange(50)
    streams = [normals(seed, problems, purpose, 0, 20) for seed in (0, 1, 2**32) for purpose in Purpose]
    assert np.unique(np.array(streams)).size == len(streams) * 1000


@pytest.mark.parametrize("count", [1, 2, 5, 33, 300])
def test_draws_of_a_problem_do_not_depend_on_the_batch(count):
    many = normals(2, np.arange(1000), Purpose.START, 1, count)
    np.testing.assert_array_equal(normals(2, np.arange(8), Purpose.START, 1, count), many[:8])
    np.testing.assert_array_equal(normals(2, np.array([7]), Purpose.START, 1, count), many[[7]])
    np.testing.assert_array_equal(normals(2, np.array([999, 7, 7]), Purpose.START, 1, count), many[[999, 7, 7]])


# Rotations


@pytest.mark.parametrize("size", [1, *SIZES])
def test_haar_rotations_are_rotations(size):
    rotations = haar_rotations(4, np.arange(50), 0, size)
    assert rotations.shape == (50, size, size)
    identity = np.broadcast_to(np.eye(size), rotations.shape)
    np.testing.assert_allclose(rotations @ np.swapaxes(rotations, 1, 2), identity, rtol=0, atol=1e-14 * size)
    np.testing.assert_allclose(np.linalg.det(rotations), np.ones(50), rtol=1e-13)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 16, 17, 20])
def test_haar_rotations_have_the_moments_of_the_haar_measure(size):
    number = 20_000 if size < 10 else 4_000
    rotations = haar_rotations(5, np.arange(number), 0, size)
    assert_mean(rotations, 0, 1 / size, axis=0, errors=5.5)
    square_variance = 2 * (size - 1) / (size**2 * (size + 2))  # E q^4 = 3 / (P (P + 2))
    assert_mean(rotations**2, 1 / size, square_variance, axis=0, errors=5.5)
    if size >= 3:  # second moments of the trace; in SO(2) the plane itself is a second invariant
        trace = np.trace(rotations, axis1=1, axis2=2)
        assert_mean(trace, 0, 1)
        assert_mean(trace**2, 1, 3)
        assert_mean(np.trace(rotations @ rotations, axis1=1, axis2=2), 1, 3)


def test_haar_rotations_of_the_plane_have_a_uniform_angle():
    rotations = haar_rotations(6, np.arange(20_000), 0, 2)
    angle = np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0])
    assert_distributed(angle, lambda x: (x + math.pi) / (2 * math.pi))


def test_haar_rotations_of_space_have_uniform_entries_and_the_known_angle():
    rotations = haar_rotations(7, np.arange(20_000), 0, 3)
    for i in range(3):
        for j in range(3):
            assert_distributed(
                rotations[:, i, j], lambda x: (x + 1) / 2
            )  # Archimedes: any column is uniform on the sphere
    angle = np.arccos(np.clip((np.trace(rotations, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert_distributed(angle, lambda x: (x - np.sin(x)) / math.pi)


def test_both_ways_to_draw_a_rotation_agree_in_law(monkeypatch):
    monkeypatch.setattr(draws, "_QR_FROM", 3)
    rotations = haar_rotations(8, np.arange(20_000), 0, 3)
    angle = np.arccos(np.clip((np.trace(rotations, axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert_distributed(angle, lambda x: (x - np.sin(x)) / math.pi)
    assert_distributed(rotations[:, 0, 0], lambda x: (x + 1) / 2)


def test_rotations_of_different_blocks_and_problems_differ():
    a, b = haar_rotations(4, np.arange(10), 0, 3), haar_rotations(4, np.arange(10), 1, 3)
    assert np.unique(np.concatenate([a, b])[:, 0, 0]).size == 20


@pytest.mark.parametrize("size", SIZES)
def test_powers_of_a_rotation_add_up(size):
    rotations = haar_rotations(9, np.arange(40), 0, size)
    for s, t in ((0.3, 0.7), (0.5, 0.5), (0.25, 0.35), (-0.4, 1.4), (1.0, -1.0), (0.9, 0.6)):
        product = rotation_power(rotations, s) @ rotation_power(rotations, t)
        np.testing.assert_allclose(product, rotation_power(rotations, s + t), rtol=0, atol=1e-12)
    nested = rotation_power(rotation_power(rotations, 0.5), 0.6)
    np.testing.assert_allclose(nested, rotation_power(rotations, 0.3), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [1, *SIZES])
def test_powers_of_a_rotation_at_the_ends(size):
    rotations = haar_rotations(9, np.arange(40), 0, size)
    identity = np.broadcast_to(np.eye(size), rotations.shape)
    np.testing.assert_array_equal(rotation_power(rotations, 1.0), rotations)
    np.testing.assert_array_equal(rotation_power(rotations, 0.0), identity)
    np.testing.assert_allclose(rotation_power(rotations, 1.0 - 1e-13), rotations, rtol=0, atol=2e-12)
    np.testing.assert_allclose(rotation_power(rotations, 1e-13), identity, rtol=0, atol=2e-12)
    np.testing.assert_allclose(rotation_power(rotations, -1.0), np.swapaxes(rotations, 1, 2), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_powers_of_a_rotation_scale_its_angles_and_stay_rotations(size):
    rotations = haar_rotations(10, np.arange(20), 0, size)
    power = rotation_power(rotations.reshape(4, 5, size, size), 0.3).reshape(20, size, size)
    identity = np.broadcast_to(np.eye(size), power.shape)
    np.testing.assert_allclose(power @ np.swapaxes(power, 1, 2), identity, rtol=0, atol=1e-13)
    np.testing.assert_allclose(np.linalg.det(power), np.ones(20), rtol=1e-12)
    angles, scaled = (np.sort(np.angle(np.linalg.eigvals(q)), axis=1) for q in (rotations, power))
    # A single real eigenvalue 1 (odd sizes) is a simple root: its angle comes out as 0 to rounding.
    np.testing.assert_allclose(scaled, 0.3 * angles, rtol=0, atol=1e-12)
