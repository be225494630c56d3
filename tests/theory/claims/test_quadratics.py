"""The measurements of the claims on quadratics and theorems: races, matched problems, laws over the reach."""

import numpy as np
import pytest

from quadsim.simulator import BlockQuadratic, simulate
from quadsim.simulator.sweeps.config.quadratics import SweepConfig
from quadsim.theory.claims import CLAIMS, Setting
from quadsim.theory.claims.quadratics import limits, racing
from quadsim.theory.claims.theorems import bounds
from quadsim.theory.verifying.frozen_ratios import frozen_ratios


def test_a_race_grows_its_grid_until_the_best_rate_lies_inside():
    problem = BlockQuadratic.generate(heterogeneity=10, problems=8, seed=1)
    rate = 2**0.5 / problem.block_smoothness.max()
    centres = (None, 0.01 * rate, 100.0 * rate)  # None: the natural rate of gd, which is `rate`
    found = [racing.raced(problem, "gd", centre=centre, steps=500, tolerance=1e-2) for centre in centres]
    rates = rate * 10 ** (np.arange(-8, 9) / 4)
    steps = simulate(problem, "gd", lr=rates, steps=500, tolerance=1e-2).steps_to_tolerance
    best = steps[1::2, steps[::2].max(axis=0).argmin()]  # the 90% quantile of four
    for race in found:
        np.testing.assert_array_equal(race, best)


def test_the_best_rate_lets_nine_of_ten_seeds_arrive():
    """Planted fault: by the median the best rate is one with which four of ten seeds never arrive."""
    slow, half = np.full(10, 50.0), np.array([5.0] * 6 + [np.inf] * 4)
    most = np.array([20.0] * 8 + [np.inf] * 2)
    assert np.median(half) < np.median(slow)
    assert racing.best_rate(np.stack([slow, half], axis=1)) == 0
    assert racing.best_rate(np.stack([half, most], axis=1)) == 1  # with none of both nine arrive: the one with most
    assert racing.best_rate(np.stack([slow, slow / 2, slow], axis=1)) == 1
    eleven = np.append(np.full(11, 4.0), np.inf)  # of twelve arrive
    assert racing.best_rate(np.stack([np.full(12, 50.0), eleven], axis=1)) == 1


def test_a_race_by_a_sweep_grows_its_grid_where_the_best_rate_lies_at_an_edge():
    shared = {"heterogeneity": (10.0,), "rotation": (0.0, 1.0), "seeds": 8, "seed": 1, "steps": 500, "tolerance": 1e-2}
    natural = SweepConfig(optimizers=("gd",), select_on="half", **shared)
    found = racing.best_steps(natural, "rotation")
    assert found.groupby("rotation")["seed"].apply(list).tolist() == [[1, 3, 5, 7]] * 2
    low = found["lr"].iloc[0] * 10 ** (-np.arange(1, 6)[::-1] / 4)  # all below the best one
    at_edge = SweepConfig(optimizers=("gd",), select_on="half", lr=tuple(low.tolist()), **shared)
    again = racing.best_steps(at_edge, "rotation")
    np.testing.assert_allclose(again["lr"], found["lr"])
    np.testing.assert_array_equal(again["steps"], found["steps"])


def test_the_edge_of_frozen_adam_with_momentum():
    problem = BlockQuadratic.generate(heterogeneity=10, problems=3)
    for beta1, edge in ((0.0, 2.0), (0.9, 38.0)):  # 2 (1 + beta1)/(1 - beta1)
        growth = limits.frozen_growth(problem, beta1, [0.98, 1.02])
        assert (growth[:, 0] < 1).all()
        assert (growth[:, 1] > 1).all()
        law = CLAIMS["momentum-edge"].reach.law
        np.testing.assert_allclose(law.value(np.array([beta1]), ""), edge)


def test_wishart_problems_differ_in_their_eigenvectors_alone():
    dense, axes = (limits.wishart(0.5, 4, 0, dense=dense) for dense in (True, False))
    rates = [0.3, 0.5]
    one, other = (simulate(problem, "gd", lr=rates, steps=20) for problem in (dense, axes))
    np.testing.assert_allclose(one.gap, other.gap, rtol=1e-9)
    assert dense.block_sizes == (32,)
    assert axes.block_sizes == (1,) * 32
    mean = np.mean([limits.wishart(0.1, 20, 3, dense=True).hessian[32].trace(axis1=2, axis2=3) / 32])
    assert mean == pytest.approx(1, abs=0.02)  # E X'X/n = I


def test_the_ratios_of_blocks_of_three_are_those_of_the_case():
    np.testing.assert_allclose(
        bounds.ratios(3, bounds.R_LAWS[0], 40, 0), frozen_ratios(trials=40, seed=0).ratios, rtol=1e-9
    )
    uniform = bounds.ratios(3, bounds.R_LAWS[1], 400, 0)
    assert np.mean(uniform**2 <= 1000) == pytest.approx(
        0.743, abs=0.07
    )  # three standard errors; a normal start has .639


def test_merged_blocks_have_the_condition_number_of_the_law():
    law = CLAIMS["wrong-partitions"].reach.law
    for c in (1.0, 30.0, 1000.0):
        merged = BlockQuadratic.generate(heterogeneity=c, condition_number=10, problems=2, partition="coarser")
        kappa = merged.rule_smoothness / merged.rule_convexity
        np.testing.assert_allclose(kappa, 10 * law.value(np.array([c]), "")[0])


def test_no_run_needs_more_than_the_constant_of_the_law():
    reach = CLAIMS["complexities"].reach
    for c in (0.0, 0.6):
        for needed in reach.measure(c, Setting("tiny")).values():
            assert (needed > 0).all()
            assert (needed <= reach.law.value(np.array([c]), "")[0]).all()
