"""Instances of the gate of 10^5 (`quadsim verify --instances`) that once spoke against a true theorem, a short run of each kind."""

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from quadsim.simulator import BlockQuadratic, simulate
from quadsim.theory import THEOREMS, check
from quadsim.theory.checking.replay import replay
from quadsim.theory.statements.adam_cycle import adam_on_orbit
from quadsim.theory.verifying.stress import _scaled, stress_batch

GOOD = {"holds", "verified"}


def scalars(values, start):
    return BlockQuadratic.from_blocks([[[float(v)]] for v in values], initial_error=[float(x) for x in start])


def words(theorem, run, **options):
    return set(check(theorem, run, **options).verdict.ravel())


def test_a_coupled_theorem_in_exact_arithmetic_where_nothing_is_coupled():
    problem = BlockQuadratic.from_blocks([[[2, 1], [1, 2]], [[3]]], initial_error=[1, 1, 1])
    run = simulate(problem, "gd", lr=0.25, steps=4, observe=["gradient_norm", "Lambda_G"])
    assert words("gradient-descent-lemma-coupled", run) == {"verified"}


def test_a_small_factor_keeps_its_digits():
    # All rates that bring the factor near 0: 1 - factor is 1 up to rounding there.
    problem = scalars([1.0], [0.3])
    rates = 1.0 - np.geomspace(1e-6, 1e-2, 40) * (1.0 + 1e-9 * np.sqrt(2.0))
    assert words("gd-upper", simulate(problem, "gd", lr=rates, steps=3, engine="reference")) <= GOOD


@pytest.mark.parametrize("curvature", [2.0**-300, 1.0, 2.0**300])
def test_the_orbit_of_adam_at_any_scale(curvature):
    values, rate = np.geomspace(0.01, 7.0, 5), 0.37
    run = simulate(scalars(values, [rate / 2] * 5), "adam", lr=rate, beta1=0.0, beta2=0.53, eps=0.0, steps=6)
    found = check("adam-cycle", _scaled(run, curvature, curvature**-0.5))
    assert set(found.verdict.ravel()) <= GOOD


def test_a_hypothesis_that_fails_by_a_rounding_leaves_the_run_untested():
    beta = 0.7404009202009234
    start = 0.37 * (1 - beta) / (2 * (1 + beta))
    run = simulate(scalars([1.0], [start]), adam_on_orbit(), lr=0.37, beta1=beta, beta2=0.9, eps=0.0, steps=2)
    lower = replace(
        THEOREMS["adam-cycle"], bound=THEOREMS["adam-cycle"].bound * (1 + sp.Rational(1, 10**6)), statement=""
    )
    found = check(lower, run)
    assert found.verdict.ravel().tolist() == ["undecided"]
    assert "a hypothesis fails by a rounding" in found.reason[0, 0]
    assert found.step.max() == -1  # no flag against the theorem


def test_the_variance_of_noise_at_small_scales():
    problem = BlockQuadratic.generate(2, 2, heterogeneity=5.0, problems=300, seed=3)
    run = simulate(problem, "gd", lr=0.5 / problem.block_smoothness.max(), steps=6, gradient_noise_std=0.3, record=3)
    assert words("gd-noise", run) == {"holds"}
    assert words("gd-noise", _scaled(run, 2.0**-300, 1.0)) == {"holds"}


def test_a_run_that_has_diverged_stays_so_under_a_falling_rate():
    problem = scalars([1.0, 2.0], [1.0, 1.0])
    run = simulate(
        problem, "adam-frozen", lr=9.0, steps=30, schedule="linear", engine="reference", observe=["block_gap"]
    )
    assert np.isinf(run.gap).any()
    assert words("block-scale-invariance", run) != {"not the rule's run"}
    gap = run.gap.copy()
    gap[..., 2:] = np.inf  # before it has diverged
    assert words("block-scale-invariance", replace(run, gap=gap)) == {"not the rule's run"}


def test_sign_steps_whose_roundings_add_up():
    problem = scalars([1.0, 3.0], [1.0, 1.0])
    for dtype in ("float64", "float32"):
        run = simulate(problem, "signsgd", lr=[0.1, 0.033], steps=30, dtype=dtype)
        assert words("sign-constant-gap", run) <= GOOD
        assert words("sign-distance", run) <= GOOD
    sharper = replace(
        THEOREMS["sign-constant-gap"],
        bound=THEOREMS["sign-constant-gap"].bound * sp.Rational(99, 100),
        statement="",
    )
    assert "refuted" in words(sharper, simulate(problem, "signsgd", lr=0.1, steps=30))


@pytest.mark.parametrize("rule", ["heavy-ball", "nesterov"])
def test_modes_at_a_zero_of_their_polynomial(rule):
    # One mode: the bound is attained, also where p_t is nearly 0.
    for dtype in ("float64", "float32"):
        run = simulate(
            scalars([1.0], [0.7]),
            rule,
            lr=np.linspace(0.1, 3.0, 60),
            momentum=0.65,
            steps=30,
            dtype=dtype,
            engine="reference",
        )
        assert words("linear-modes", run) <= GOOD
    below = replace(
        THEOREMS["linear-modes"], bound=THEOREMS["linear-modes"].bound * sp.Rational(999, 1000), statement=""
    )
    assert words(below, simulate(scalars([1.0], [0.7]), rule, lr=0.3, momentum=0.65, steps=30)) == {"refuted"}


@pytest.mark.parametrize("rule", ["rmsprop", "rmsprop-centered", "adagrad"])
def test_energies_where_a_step_lands_next_to_the_solution(rule):
    own = {} if rule == "adagrad" else {"beta2": 0.99}
    for dtype in ("float64", "float32"):
        run = simulate(
            scalars([1.0], [0.7]), rule, lr=np.geomspace(0.01, 2.0, 80), eps=1e-3, steps=20, observe=["iterate"],
            engine="reference", dtype=dtype, **own,
        )  # fmt: skip
        for theorem in ("adam-energy", "adam-span"):
            found = check(theorem, run)
            good = np.isin(found.verdict, list(GOOD))
            assert good.mean() > 0.95
            assert all("nothing could be compared" in reason for reason in found.reason[~good])


def test_adam_without_curvature_in_rationals():
    problem = BlockQuadratic.from_blocks([[[3]], [[5]], [[7]]], initial_error=[1, 1, -1])
    for rate in (0.278597354888916, 0.32651805877685547, 0.4824838638305664, 0.49329423904418945):
        run = simulate(problem, "adam", lr=rate, beta1=0.5, beta2=0.0, eps=0.0, steps=6, observe=["block_gap"])
        assert words("adam-diagonal", run) == {"verified"}


def test_a_number_type_that_loses_the_squares_of_gradients_is_no_other_run():
    problem = BlockQuadratic.generate(2, 3, heterogeneity=3.0, condition_number=5.0, problems=4, seed=1)
    small = replace(
        problem, hessian={n: h * 2.0**-29 for n, h in problem.hessian.items()},
        eigenvalues={n: h * 2.0**-29 for n, h in problem.eigenvalues.items()}, exact=None,
    )  # fmt: skip
    run = simulate(
        small, "gd-lambda", lr=1.0, steps=60, observe=["Lambda_G", "gradient_norm"], dtype="float32", engine="reference"
    )
    assert "not the rule's run" not in words("gradient-rate", run)
    followed = np.isfinite(replay(run, np.full(run.status.shape, 1e-5)).allowed)
    assert followed[..., 0].all()
    assert not followed[..., -1].all()


def test_a_sign_within_rounding_of_0_ends_the_comparison():
    problem = BlockQuadratic.from_blocks([np.array([[2.0, 1.0], [1.0, 2.0]])], initial_error=[1.0, -2.0 * (1 + 1e-9)])
    run = simulate(problem, "signsgd", lr=0.1, steps=3, dtype="float32")
    followed = np.isfinite(replay(run, np.full(run.status.shape, 1e-5)).allowed)
    assert followed[0, 0].tolist() == [True, False, False, False]
    plain = simulate(problem, "signsgd", lr=0.1, steps=3)
    assert np.isfinite(replay(plain, np.full(plain.status.shape, 1e-12)).allowed).all()


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        ("gradient-rate-uniform", 5011),  # float32 loses the squares that gd-lambda adds up
        ("gradient-rate-uniform", 5042),  # which float32 does not hold from the start
        ("gd-lower-start", 5005),  # a gap that float32 rounds to 0
        ("block-scale-invariance", 5017),  # a gradient whose terms cancel
    ],
)
def test_batches_that_once_spoke_against_a_true_theorem(name, seed):
    found = stress_batch(name, 0, seed)
    assert found.complaints == []
    assert not +found.against
    assert found.instances > 100
