"""Metrics of unequal blocks: against plain loops over instances, and the covariance identity to rounding."""

import numpy as np
import pytest
import sympy as sp
import torch
import torch.nn.functional as F

from quadsim.simulator import BlockQuadratic, ToyProblem, simulate, train
from quadsim.simulator.curvature.along_training import measure
from quadsim.simulator.curvature.block_spectra import block_spectra
from quadsim.simulator.curvature.head_norms import head_norms
from quadsim.simulator.curvature.off_block import off_block
from quadsim.simulator.curvature.spectral_distance import jensen_shannon, mean_over_pairs
from quadsim.simulator.models import MLP, TokenMap, Transformer
from quadsim.simulator.problems.heterogeneity import (
    block_gradient_norms,
    cosine,
    gradient_weighted_smoothness,
    norm,
    sign_cosine,
    size_weighted_smoothness,
    smoothness_covariance,
    spread,
)
from quadsim.theory import THEOREMS
from quadsim.theory.statements.quantities import _REDUCTIONS
from quadsim.theory.symbols import Symbol

SIZES = (3, 1, 4, 2)
TINY = TokenMap(vocabulary=4, tokens=2)


def draws(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# Norms and spreads


def test_block_norms_against_a_loop():
    g = draws(2, 3, 10)
    found = block_gradient_norms(g, SIZES)
    for m in range(2):
        for k in range(3):
            begin = 0
            for b, size in enumerate(SIZES):
                wanted = np.sqrt(sum(x * x for x in g[m, k, begin : begin + size]) / size)
                np.testing.assert_allclose(found[m, k, b], wanted, rtol=1e-14)
                begin += size


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_no_square_overflows_or_vanishes(scale):
    g = draws(10)
    np.testing.assert_allclose(
        block_gradient_norms(scale * g, SIZES) / scale, block_gradient_norms(g, SIZES), rtol=1e-14
    )
    np.testing.assert_allclose(norm(scale * g) / scale, np.linalg.norm(g), rtol=1e-14)
    L = np.array([1.0, 2.0, 3.0, 4.0])
    for f in (gradient_weighted_smoothness, smoothness_covariance):
        np.testing.assert_allclose(f(scale * g, SIZES, L), f(g, SIZES, L), rtol=1e-13)


def test_spread_against_a_loop():
    values = np.abs(draws(5, 4)) + 0.01
    found = spread(values)
    for row, ratio, log_std, gini, variation in zip(
        values, found.ratio, found.log_std, found.gini, found.variation, strict=True
    ):
        np.testing.assert_allclose(ratio, max(row) / min(row))
        np.testing.assert_allclose(log_std, np.sqrt(np.mean((np.log(row) - np.mean(np.log(row))) ** 2)))
        np.testing.assert_allclose(gini, sum(abs(x - y) for x in row for y in row) / (2 * 16 * np.mean(row)))
        np.testing.assert_allclose(variation, np.sqrt(np.mean((row - row.mean()) ** 2)) / row.mean())


def test_spread_at_its_ends():
    equal, one, zero, broken = (
        spread(np.array([[2.0, 2, 2, 2], [0, 0, 5.0, 0], [0, 0, 0, 0], [1, np.inf, 1, 1]])),
        1,
        2,
        3,
    )
    assert (equal.ratio[0], equal.log_std[0], equal.gini[0], equal.variation[0]) == (1.0, 0.0, 0.0, 0.0)
    assert np.isnan(equal.ratio[one])
    assert np.isnan(equal.log_std[one])
    np.testing.assert_allclose([equal.gini[one], equal.variation[one]], [0.75, np.sqrt(3.0)])
    for row in (zero, broken):
        assert np.all(np.isnan([equal.ratio[row], equal.log_std[row], equal.gini[row], equal.variation[row]]))


def test_cosines():
    assert cosine(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(np.sqrt(0.5), rel=1e-15)
    g = np.array([1e-3, -5.0, 0.0])
    assert sign_cosine(-np.sign(g), g) == pytest.approx(1.0, rel=1e-15)
    assert sign_cosine(-g, g) == pytest.approx((1e-3 + 5.0) / np.sqrt(2 * (1e-6 + 25.0)), rel=1e-14)
    assert np.isnan(sign_cosine(np.zeros(3), g))


# Weighted smoothness


@pytest.mark.parametrize("seed", range(5))
def test_the_covariance_identity(seed):
    g, L = draws(7, 10, seed=seed) * 10.0 ** draws(7, 10, seed=seed + 50), np.exp(3 * draws(7, 4, seed=seed + 100))
    by_gradient, by_size = gradient_weighted_smoothness(g, SIZES, L), size_weighted_smoothness(SIZES, L)
    covariance = smoothness_covariance(g, SIZES, L)
    np.testing.assert_allclose(by_gradient - by_size, covariance, rtol=0, atol=1e-14 * L.max())
    for m in range(7):
        pi = np.array(SIZES) / 10
        u = np.array([np.mean(b**2) for b in np.split(g[m], np.cumsum(SIZES)[:-1])]) / np.mean(g[m] ** 2)
        np.testing.assert_allclose(pi @ u, 1.0)
        np.testing.assert_allclose(covariance[m], pi @ (u * L[m]) - (pi @ u) * (pi @ L[m]), atol=1e-13 * L.max())


def test_the_covariance_is_that_of_the_theorem():
    g, L = draws(10), np.exp(draws(4))
    values = {
        Symbol.P_l: np.array(SIZES, dtype=float),
        Symbol.L_l: L,
        Symbol.norm2_squared_l: block_gradient_norms(g, SIZES) ** 2 * SIZES,
        Symbol.P: np.array([10.0]),
        Symbol.norm2_squared: np.array([np.sum(g**2)]),
        Symbol.Lambda_P: size_weighted_smoothness(SIZES, L)[None],
    }
    bound = THEOREMS["covariance-identity"].bound
    names = sorted(bound.free_symbols, key=str)
    found = sp.lambdify(names, bound, modules=[_REDUCTIONS, "numpy"])(*(values[s] for s in names))
    np.testing.assert_allclose(smoothness_covariance(g, SIZES, L), found[0], rtol=1e-13)


def test_a_quadratic_has_the_same_Lambda_G():
    """Runs on quadratics and on models share one definition; here against the formula written out."""
    problem = BlockQuadratic.generate(heterogeneity=30.0, blocks=3, block_size=[3, 1, 2], problems=2)
    run = simulate(problem, "gd", lr=0.1, steps=1, observe=["Lambda_G"])
    matrix, e = problem.dense(0)
    g = matrix @ e
    begin, total = 0, 0.0
    for size, top in zip(problem.block_sizes, problem.block_smoothness[0], strict=True):
        total += top * np.sum(g[begin : begin + size] ** 2)
        begin += size
    np.testing.assert_allclose(run.observed["Lambda_G"][0, 0, 0], total / np.sum(g**2), rtol=1e-13)


def test_a_zero_gradient_has_no_weights():
    assert np.isnan(gradient_weighted_smoothness(np.zeros(10), SIZES, np.ones(4)))
    assert np.isnan(smoothness_covariance(np.zeros(10), SIZES, np.ones(4)))


def test_sizes_must_fit():
    with pytest.raises(ValueError, match=r"add up to the number of coordinates \(9\), got 10; use the partition"):
        block_gradient_norms(draws(9), SIZES)


# The head


def problem_of(**options):
    return ToyProblem.generate(Transformer(width=4, layers=1, heads=2), TINY, **options)


def head_of(problem, theta):
    """The head of one copy, as the model computes with it."""
    stack = problem.stack()
    at = [p.name for p in problem.parameters].index("head")
    begin = sum(p.size for p in problem.parameters[:at])
    head = problem.parameters[at]
    scale = stack.scale if problem.mode == "parameter" and stack.scale is not None else torch.ones_like(theta)
    return (theta * scale)[:, begin : begin + head.size].view(-1, *head.shape)


@pytest.mark.parametrize("options", [{}, {"dial": "reparametrisation", "heterogeneity": 100.0}])
def test_the_common_part_of_the_head_cancels_in_the_softmax(options):
    problem = problem_of(problems=2, **options)
    theta = torch.from_numpy(problem.start)
    found = head_norms(problem, theta)
    rows = head_of(problem, theta).numpy()
    np.testing.assert_allclose(found.common, 2.0 * np.linalg.norm(rows.mean(axis=1), axis=1), rtol=1e-13)
    np.testing.assert_allclose(found.common**2 + found.centred**2, np.sum(rows**2, axis=(1, 2)), rtol=1e-13)
    # Shifting all rows alike moves the common part only, and no probability.
    moved = theta.clone()
    head = moved[:, -rows[0].size :].view(2, 4, 4)
    head += torch.arange(4.0, dtype=torch.float64)
    after = head_norms(problem, moved)
    np.testing.assert_allclose(after.centred, found.centred, rtol=1e-12)
    assert np.all(np.abs(after.common - found.common) > 0.1)
    stack = problem.stack()
    np.testing.assert_allclose(F.softmax(stack.logits(moved), -1), F.softmax(stack.logits(theta), -1), atol=1e-12)


def test_the_heads_of_copies_are_taken_together():
    problem = problem_of(problems=1, dial="separable", heterogeneity=10.0)
    found = head_norms(problem, problem.start)
    each = problem.start.reshape(4, -1)[:, -16:].reshape(4, 4, 4)
    np.testing.assert_allclose(found.common, np.sqrt(np.sum((2 * np.linalg.norm(each.mean(axis=1), axis=1)) ** 2)))
    np.testing.assert_allclose(found.centred, np.linalg.norm(each - each.mean(axis=1, keepdims=True)))


def test_theta_must_fit_the_problem():
    with pytest.raises(
        ValueError, match=r"theta must have the shape \(2, \d+\), got \(1, 3\); give one row per instance"
    ):
        head_norms(problem_of(problems=2), np.zeros((1, 3)))


# Along a run


@pytest.fixture(scope="module")
def trained():
    problem = ToyProblem.generate(MLP(width=4, layers=1), TINY, problems=2, heterogeneity=[1.0, 20.0])
    return train(problem, "gd", lr=[0.1, 1e6, 0.5], steps=6, snapshots=[0, 5], dtype="float64")


def test_every_metric_against_one_instance_at_a_time(trained):
    found = measure(trained, partition="unit", off_blocks=True, bins=30)
    kept, problem = trained.snapshots, trained.problem
    sizes = problem.partition("unit").sizes
    assert found["smoothness"].dims == ("problem", "setting", "step", "block")
    assert found.attrs["partition"] == "unit"
    assert found["block"].values[0] == "embed[0]"
    np.testing.assert_array_equal(found["step"], [0, 5])
    for m, k, s in np.ndindex(4, 3, 2):
        here = found.isel(problem=m, setting=k, step=s)
        if k == 1 and s == 1:
            assert all(np.all(np.isnan(here[name])) for name in found.data_vars)  # diverged
            continue
        theta, g, u = (x[m, k, s] for x in (kept.theta, kept.gradient, kept.update))
        one = problem.stack(np.array([m]))
        spectra = block_spectra(one, theta[None], "unit")
        L = spectra.smoothness[0]
        np.testing.assert_array_equal(here["smoothness"], L)
        np.testing.assert_array_equal(here["spectral_norm"], spectra.spectral_norm[0])
        weights = np.array([np.sum(b**2) for b in np.split(g, np.cumsum(sizes)[:-1])])
        np.testing.assert_allclose(here["gradient_norm"], np.sqrt(weights / sizes), rtol=1e-13)
        np.testing.assert_allclose(here["Lambda_G"], weights @ L / weights.sum(), rtol=1e-12)
        np.testing.assert_allclose(here["Lambda_P"], np.array(sizes) @ L / len(g), rtol=1e-12)
        np.testing.assert_allclose(here["covariance"], here["Lambda_G"] - here["Lambda_P"], atol=1e-12)
        np.testing.assert_allclose(here["Lambda_ratio"], here["Lambda_G"] / here["Lambda_P"])
        wanted = -u @ np.sign(g) / np.linalg.norm(u) / np.linalg.norm(np.sign(g))
        np.testing.assert_allclose(here["step_sign_cosine"], wanted, rtol=1e-12)
        np.testing.assert_allclose(here["js0"], mean_over_pairs(jensen_shannon(spectra, bins=30))[0])
        np.testing.assert_allclose(here["off_block_spectral"], off_block(one, theta[None], "unit").spectral[0])
        np.testing.assert_allclose(here["gradient_gini"], spread(np.sqrt(weights / sizes)).gini, rtol=1e-12)
        np.testing.assert_allclose(here["head_common"], head_norms(one.problem.select([m]), theta[None]).common[0])
        change = head_norms(one.problem.select([m]), theta[None] - problem.start[[m]])
        np.testing.assert_allclose(
            [here["head_common_growth"], here["head_centred_growth"]], [change.common[0], change.centred[0]]
        )
        np.testing.assert_allclose(here["loss_weighted"], one.losses(torch.from_numpy(theta[None]))[0][0], rtol=1e-13)
    at_start = found.isel(step=0)
    assert np.all(at_start["head_common_growth"] == 0.0)


def test_the_loss_is_that_of_the_run(trained):
    found = measure(trained, curvature=False)
    assert "smoothness" not in found
    at = np.flatnonzero(trained.steps == 0)[0]
    np.testing.assert_allclose(found["loss_weighted"][:, :, 0], trained.loss_weighted[:, :, at], rtol=1e-13)


def test_signsgd_is_along_the_sign_step():
    problem = ToyProblem.generate(MLP(width=4, layers=1), TINY, problems=1)
    run = train(problem, "signsgd", lr=0.01, steps=2, snapshots=[1])
    np.testing.assert_allclose(measure(run, curvature=False)["step_sign_cosine"], 1.0, rtol=1e-6)


def test_a_run_without_snapshots():
    problem = ToyProblem.generate(MLP(width=4, layers=1), TINY, problems=1)
    with pytest.raises(ValueError, match=r"run must have snapshots, got one without; train with snapshots=\("):
        measure(train(problem, "gd", lr=0.1, steps=1))
