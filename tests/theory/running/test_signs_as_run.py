"""Bounds for sign steps at a given rate: constants against enumeration, rates, brackets, and false neighbours."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from flint import fmpq

from quadsim.simulator import BlockQuadratic, simulate
from quadsim.theory import THEOREMS, check
from quadsim.theory.checking import exact_recursions
from quadsim.theory.running.constants import (
    inverse_diagonal,
    midpoint_smoothness,
    one_norm_convexity,
    sign_smoothness,
    worst_signs,
)
from quadsim.theory.running.sign_bounds import (
    block_gaps,
    curve,
    distance_steps,
    gap_form,
    guaranteed_rate,
    midpoint_form,
    recursion,
)
from quadsim.theory.symbols import MaxOver, SumOver, Symbol


@pytest.fixture(scope="module")
def problem():
    return BlockQuadratic.generate(2, 4, condition_number=5, heterogeneity=10, problems=6, seed=3)


def every(values, size):
    return [np.array(v, dtype=float) for v in itertools.product(values, repeat=size)]


def test_the_constants_are_those_of_an_enumeration_by_hand(problem):
    h = problem.hessian[4][2, 1]
    inverse = np.linalg.inv(h)
    signs, subsets = every((-1, 1), 4), every((0, 1), 4)
    nu = 1 / np.diag(inverse).max()
    middle = max(
        np.sqrt(nu * max((z * abs(h @ s)) @ inverse @ (z * abs(h @ s)) for z in signs))
        + max((a * s) @ h @ (a * s) - a @ abs(h @ s) for a in subsets)
        for s in signs
    )
    assert sign_smoothness(problem)[2, 1] == pytest.approx(max(s @ h @ s for s in signs), rel=1e-12)
    assert one_norm_convexity(problem)[2, 1] == pytest.approx(nu, rel=1e-12)
    assert midpoint_smoothness(problem)[2, 1] == pytest.approx(middle, rel=1e-12)
    np.testing.assert_allclose(inverse_diagonal(problem)[2, 4:], np.diag(inverse), rtol=1e-12)


def test_a_gradient_attains_nu(problem):
    """nu is the largest constant: a gradient along one coordinate has |g|_1^2 = 2 nu gap there."""
    inverse = np.linalg.inv(problem.hessian[4][0, 0])
    g = np.eye(4)[np.diag(inverse).argmax()]
    assert np.abs(g).sum() ** 2 == pytest.approx(2 * one_norm_convexity(problem)[0, 0] * (g @ inverse @ g / 2))


@pytest.mark.parametrize(("size", "constant"), [(13, sign_smoothness), (9, midpoint_smoothness)])
def test_constants_of_larger_blocks_are_above_what_signs_reach(size, constant):
    large = BlockQuadratic.generate(1, size, condition_number=20, problems=2, seed=1)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(500, size))
    forms = np.einsum("si,mij,sj->ms", signs, large.hessian[size][:, 0], signs)
    share = 1.0 if constant is sign_smoothness else 0.25
    assert (constant(large)[:, 0] >= share * forms.max(axis=1)).all()
    assert (constant(large)[:, 0] <= 4 * forms.max(axis=1)).all()


@pytest.mark.parametrize("form_of", [gap_form, midpoint_form])
def test_at_the_guaranteed_rate_every_run_arrives_in_time(problem, form_of):
    form = form_of(problem, 1e-4)
    rate = guaranteed_rate(form)
    bound = form.steps(np.array([rate]))[:, 0]
    run = simulate(problem, "signsgd", lr=rate, steps=int(bound.max()), record="log", tolerance=1e-4)
    steps = run.steps_to_tolerance[:, 0]
    assert (steps <= bound).all()
    assert (distance_steps(problem, np.array([rate]), 1e-4)[:, 0] <= steps).all()
    assert np.median(bound / steps) < 3.5
    other = form.steps(rate * np.array([0.8, 1.02]))
    assert (other.max(axis=0) > bound.max()).all()  # one at a smaller rate, none at a larger


def test_no_rate_above_the_plateau_is_guaranteed(problem):
    form = gap_form(problem, 1e-4)
    assert np.isinf(form.steps(form.largest_rate * 1.001)).diagonal().all()


def test_the_closed_form_lies_above_the_recursion(problem):
    form, rate, steps = gap_form(problem, 1e-4), 1e-3, np.array([0, 1, 10, 100, 400])
    nu, size = form.nu, form.size
    exact = recursion(block_gaps(problem), nu, size, np.full((*nu.shape, 400), rate)).sum(axis=1)[:, steps]
    found = curve(form, rate, steps)
    assert (found >= exact * (1 - 1e-9)).all()
    assert (found <= exact * 1.1).all()


def test_the_recursion_follows_a_schedule(problem):
    rates = 0.05 * np.linspace(1, 0.1, 40)
    run = simulate(problem, "signsgd", lr=0.05, steps=40, schedule="linear")
    assert check("sign-constant-gap", run).counts()["holds"] == 6
    u = recursion(
        block_gaps(problem), one_norm_convexity(problem), sign_smoothness(problem), np.broadcast_to(rates, (6, 2, 40))
    )
    assert u.shape == (6, 2, 41)


def test_sign_constant_says_nothing_of_a_schedule_where_the_rate_is_constant(problem):
    run = simulate(problem, "signsgd", lr=0.05, steps=10, schedule="linear", observe=["block_gap"])
    assert "rate must be constant" in THEOREMS["sign-constant-steps"].why_not(run)[0, 0]


# False neighbours, each refuted by a run --------------------------------------------------------------------------------------


def violated(theorem, run):
    found = check(theorem, run)
    against = np.isin(found.verdict, ("refuted", "contradiction"))
    return bool((against | ((found.verdict == "undecided") & (found.step >= 0))).any())


def neighbour(name, bound):
    return replace(THEOREMS[name], name="neighbour", bound=bound, statement="")


def jittering():
    """A run at a large rate: it falls to the jitter of its rate and stays there."""
    two = BlockQuadratic.from_blocks([[[1.0]], [[3.0]]], initial_error=[1.3, 0.9])
    return simulate(two, "signsgd", lr=0.2, steps=40, observe=["block_gap", "iterate"])


def test_without_the_plateau_the_bound_is_violated(monkeypatch):
    from quadsim.theory.running import meanings

    run = jittering()
    assert not violated("sign-constant-gap", run)
    monkeypatch.setattr(meanings, "sign_smoothness", lambda problem: np.full((1, 2), 1e-9))
    monkeypatch.setitem(exact_recursions.CONSTANTS, Symbol.S_l, lambda problem: [fmpq(1, 10**9)] * len(problem.blocks))
    monkeypatch.setattr(exact_recursions, "_KEPT", {})
    assert violated("sign-constant-gap", run)


def test_with_the_largest_inverse_entry_of_the_whole_in_place_of_nu_it_is_violated(monkeypatch):
    """nu replaced by mu, upside down: L in place of nu is too good a constant."""
    from quadsim.theory.running import meanings

    slow = BlockQuadratic.generate(1, 4, condition_number=100, problems=20, seed=0)
    run = simulate(slow, "signsgd", lr=1e-3, steps=300)
    assert not violated("sign-constant-gap", run)
    monkeypatch.setattr(meanings, "one_norm_convexity", lambda problem: 4.0 * problem.block_smoothness)
    stiffest = fmpq(round(4 * slow.block_smoothness.max() * 10**6), 10**6)
    monkeypatch.setitem(exact_recursions.CONSTANTS, Symbol.nu_l, lambda problem: [stiffest] * len(problem.blocks))
    monkeypatch.setattr(exact_recursions, "_KEPT", {})
    assert violated("sign-constant-gap", run)


def test_mu_in_place_of_nu_is_true_and_looser(problem):
    """nu >= mu, so that mu is a weaker bound and not a false one: the rate that it guarantees is smaller."""
    form = gap_form(problem, 1e-4)
    looser = replace(form, nu=problem.block_strong_convexity)
    assert (form.nu >= looser.nu * (1 - 1e-12)).all()
    assert guaranteed_rate(looser) < guaranteed_rate(form)


def test_the_constants_of_a_block_do_not_know_the_others(problem):
    """With the condition number of the whole in place of the blocks' a bound would depend on the heterogeneity; it does not."""
    rates = [guaranteed_rate(gap_form(BlockQuadratic.generate(2, 4, condition_number=5, heterogeneity=c, problems=4, seed=3), 1e-4))
             for c in (1.0, 2.0**10)]  # fmt: skip
    assert 0.3 < rates[0] / rates[1] < 3.0
    run = simulate(problem, "signsgd", lr=1e-3, steps=60)
    whole = SumOver(Symbol.u_l) * Symbol.mu / Symbol.L
    assert violated(neighbour("sign-constant-gap", whole), run)


def test_a_distance_that_counts_half_of_the_rate_is_violated(problem):
    run = simulate(problem, "signsgd", lr=0.02, steps=30)
    import sympy as sp

    faster = MaxOver(sp.Max(Symbol.start_i - Symbol.travelled / 2, 0) ** 2 / (2 * Symbol.inverse_i))
    assert not violated("sign-distance", run)
    assert violated(neighbour("sign-distance", faster), run)


def test_the_memory_of_signum_needs_its_factor(monkeypatch):
    from quadsim.theory.running import meanings

    one = BlockQuadratic.from_blocks([[[1.0]]], initial_error=[1.0])
    run = simulate(one, "signum", lr=0.05, momentum=0.9, steps=60)
    assert not violated("signum-gap", run)
    monkeypatch.setattr(meanings, "memory_age", lambda run: np.zeros(1))
    assert violated("signum-gap", run)


def test_the_cycle_is_kept_for_ever():
    block = [[2, 1], [1, 3]]
    signs = worst_signs(np.array(block, dtype=float))
    start = [Fraction(7, 4) * int(s) for s in signs]  # (3 + 1/2) lr
    run = simulate(BlockQuadratic.from_blocks([block], initial_error=start), "signsgd", lr=0.5, steps=50)
    found = check("sign-cycle", run)
    assert found.verdict[0, 0] == "verified"
    assert run.gap[0, 0, -1] == pytest.approx(run.gap[0, 0, 0] / 49)
    off = simulate(BlockQuadratic.from_blocks([block], initial_error=[1.7, 1.8]), "signsgd", lr=0.5, steps=50)
    assert check("sign-cycle", off).verdict[0, 0] == "not applicable"
