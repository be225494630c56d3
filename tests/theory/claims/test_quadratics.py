"""The measurements of the claims on quadratics and theorems: races, matched problems, laws over the reach."""

import numpy as np
import pytest

from quadsim.simulator import BlockQuadratic, simulate
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
    best = steps[1::2, np.median(steps[::2], axis=0).argmin()]
    for race in found:
        np.testing.assert_array_equal(race, best)


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
