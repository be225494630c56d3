"""Verdicts that floats cannot give: exact arithmetic, and assert_bound for users' tests."""

import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp
import torch
from flint import arb, fmpq, fmpq_mat
from reference import frozen_adam_bounds
from reference import run as reference_run

from quadsim.simulator import BlockQuadratic, Rule, simulate, simulate_torch, symbols
from quadsim.theory import THEOREMS, Theorem, assert_bound, check
from quadsim.theory.checking.exact import NotExact, as_exact, evaluate_exactly, extremes, values_of
from quadsim.theory.checking.exact_run import run_exactly
from quadsim.theory.symbols import MaxOver, MinOver, Symbol
from quadsim.theory.symbols import Symbol as s

WITNESS = BlockQuadratic.from_blocks([[[3]], [[1]]], initial_error=[1, 3])
THIRD = Fraction(1, 3)
COUPLED = BlockQuadratic.from_blocks([[[2, 1], [1, 3]], [[Fraction(5, 2)]]], initial_error=[THIRD, -1, Fraction(2, 7)])


@pytest.mark.parametrize("name", ["gd-upper", "gd-lower"])
def test_gd_on_the_rational_witness_is_verified_with_equality(name):
    found = check(THEOREMS[name], simulate(WITNESS, "gd", lr=0.5, steps=60))
    assert found.verdict.item() == "verified"
    assert found.margin.item() == pytest.approx(1.0, abs=1e-13)


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.6, 0.66])
def test_gd_lower_is_verified_at_its_witness_for_other_rates(rate):
    assert_bound("gd-lower", simulate(WITNESS, "gd", lr=rate, steps=40), allow=("verified",))


def test_the_false_gd_lower_without_the_square_is_refuted():
    root = THEOREMS["gd-lower"]
    kappa = Symbol.kappa
    false = replace(root, bound=1 - 2 / (kappa + 1))
    found = check(false, simulate(WITNESS, "gd", lr=0.5, steps=10))
    assert found.verdict.item() == "refuted"
    assert found.step.item() == 1


def test_the_false_gd_upper_by_a_millionth_is_refuted():
    true = THEOREMS["gd-upper"]
    million = sp.Rational(1, 10**6)
    false = replace(true, bound=true.bound - million)
    found = check(false, simulate(WITNESS, "gd", lr=0.5, steps=10))
    assert (found.verdict.item(), found.step.item()) == ("refuted", 1)
    with pytest.raises(AssertionError, match=r"gd-upper: refuted on problem 0, setting 0 \(lr=0.5\)") as caught:
        assert_bound(false, simulate(WITNESS, "gd", lr=0.5, steps=10))
    text = str(caught.value)
    assert re.search(r"step 1: gap 1\.[45]\d* after [56][.\d]* at step 0", text)
    assert "simulate(problem.select([0]), 'gd', lr=0.5, steps=10, engine='closed-form')" in text


def test_the_false_frozen_adam_with_half_the_ratio_is_refuted():
    # H = I in blocks of one, e_0 = (1, 4): r = 4, ratio 9/16 at t = 1 against (1 - 2/4)^2 = 1/4.
    problem = BlockQuadratic.from_blocks([[[1]], [[1]]], initial_error=[1, 4])
    run = simulate(problem, "adam-frozen", lr=1, steps=10)
    true = THEOREMS["adam-frozen"]
    assert check(true, run).verdict.item() == "verified"
    twice = 2 * MinOver(Symbol.C1_l) / (MaxOver(Symbol.C2_l) * Symbol.kappa_l)
    false = replace(true, bound=MaxOver((1 - twice) ** 2))
    found = check(false, run)
    assert (found.verdict.item(), found.step.item()) == ("refuted", 1)
    states = run_exactly(as_exact(problem, 0), run.rule, {"lr": 1.0}, 2)
    assert states[2].gap / states[1].gap == fmpq(9, 16)


def test_exact_gaps_are_those_of_the_reference():
    matrix, start = COUPLED.dense(0)
    blocks = [matrix[:2, :2], matrix[2:, 2:]]
    for rule in ("gd", "block-gd", "signsgd", "heavy-ball"):
        run = simulate(COUPLED, rule, lr=0.125, steps=12)
        settings = {name: float(values[0]) for name, values in run.settings.items()}
        if rule == "block-gd":
            continue  # its rates need eigenvalues, which are irrational here
        exact = [state.gap for state in run_exactly(as_exact(COUPLED, 0), run.rule, settings, 12)]
        _, expected = reference_run(rule, blocks, start, 12, lr=0.125)
        np.testing.assert_allclose([int(g.p) / int(g.q) for g in exact], expected, rtol=1e-12)


def test_a_rule_with_a_mean_over_a_block_is_not_exact():
    run = simulate(COUPLED, "adam-mini", lr=0.1, steps=2, engine="reference")
    with pytest.raises(NotExact):
        run_exactly(as_exact(COUPLED, 0), run.rule, {n: float(v[0]) for n, v in run.settings.items()}, 2)


def test_eigenvalues_rational_where_they_are_and_certified_balls_elsewhere():
    low, high = extremes(fmpq_mat(2, 2, [fmpq(2), fmpq(1), fmpq(1), fmpq(2)]))
    assert (low, high) == (fmpq(1), fmpq(3))
    low, high = extremes(fmpq_mat(2, 2, [fmpq(2), fmpq(1), fmpq(1), fmpq(3)]))
    assert isinstance(low, arb)
    golden = (arb(5) - arb(5).sqrt()) / 2
    assert low.overlaps(golden)
    assert float(low.rad()) < 1e-12


def test_a_bound_with_irrational_eigenvalues_is_decided_by_balls_but_not_a_tie():
    run = simulate(COUPLED, "gd", lr=0.25, steps=15)
    assert check(THEOREMS["gd-upper"], run).verdict.item() == "verified"
    bound = THEOREMS["gd-upper"].bound
    values = values_of(as_exact(COUPLED, 0), {"lr": 0.25}, bound.free_symbols)
    assert isinstance(evaluate_exactly(bound, values), arb)
    # One irrational block along its own eigenvector attains the bound: balls cannot decide, so the float verdict stands.
    root = np.sqrt(5.0)
    tie = BlockQuadratic.from_blocks([[[2, 1], [1, 3]]], initial_error=[1.0, (1 + root) / 2])
    assert check(THEOREMS["gd-upper"], simulate(tie, "gd", lr=0.1, steps=5)).verdict.item() in ("holds", "verified")


def test_a_float_problem_that_is_flagged_is_read_as_its_own_rationals():
    problem = BlockQuadratic.generate(blocks=2, block_size=3, heterogeneity=5, problems=3, seed=4)
    true = THEOREMS["gd-upper"]
    tenth = sp.Rational(1, 10)
    false = replace(true, bound=true.bound - tenth)
    found = check(false, simulate(problem, "gd", lr=0.05, steps=30))
    assert set(found.verdict.ravel()) == {"refuted"}
    assert (found.step > 0).all()


def test_a_run_that_is_not_its_rule_is_not_verified():
    run = simulate(WITNESS, "gd", lr=0.5, steps=20)
    gap = run.gap.copy()
    gap[0, 0, 7] *= 1 + 1e-9
    found = check(THEOREMS["gd-upper"], replace(run, gap=gap))
    assert found.verdict.item() == "not the rule's run"
    assert "the run is not its rule's: at step 7" in found.reason.item()


def test_float32_is_never_refuted_nor_verified():
    run = simulate(WITNESS, "gd", lr=0.5, steps=10, dtype="float32")
    true = THEOREMS["gd-upper"]
    assert check(true, run).verdict.item() == "holds"
    tenth = sp.Rational(1, 10)
    false = replace(true, bound=true.bound - tenth)
    found = check(false, run)
    assert found.verdict.item() == "undecided"
    assert "float32 refutes nothing" in found.reason.item()


def test_frozen_adam_bounds_are_ordered_and_verified_on_rationals():
    run = simulate(COUPLED, "adam-frozen", lr=0.05, steps=12)
    for name in ("adam-frozen-published", "adam-frozen"):
        theorem = THEOREMS[name]
        found = check(theorem, run)
        assert found.verdict.item() in ("verified", "not applicable"), found.reason.item()
    matrix, start = COUPLED.dense(0)
    expected = frozen_adam_bounds([matrix[:2, :2], matrix[2:, 2:]], start)
    assert check(
        THEOREMS["adam-frozen"], simulate(COUPLED, "adam-frozen", lr=float(expected["eta"]), steps=12)
    ).reason.item() in (
        "",
        "in exact arithmetic a hypothesis fails by a rounding: lr <= min_l C1_l",
    )
    run = simulate(COUPLED, "adam-frozen", lr=float(expected["eta"]) * (1 - 2.0**-40), steps=12)
    assert check(THEOREMS["adam-frozen"], run).verdict.item() in ("verified", "holds")


def test_assert_bound_passes_and_returns_the_check():
    problem = BlockQuadratic.generate(problems=5)
    found = assert_bound("gd-upper", simulate(problem, "gd", lr=[0.1, 1.5], steps=100))
    assert {word: count for word, count in found.counts().items() if count} == {"holds": 10}
    worst, median = found.tightness
    assert median <= worst <= 1 + 1e-9


def test_assert_bound_refuses_what_tested_nothing():
    run = simulate(WITNESS, "adam", lr=0.5, steps=5)
    with pytest.raises(AssertionError, match=r"gd-upper: not applicable .*\n  because the rule is adam, not gd or sgd"):
        assert_bound("gd-upper", run)
    assert_bound("gd-upper", run, allow=("not applicable",))
    elsewhere = simulate(COUPLED, "gd", lr=0.1, steps=5)
    with pytest.raises(AssertionError, match="hypothesis fails: the error sits on one eigenvector of L and one of mu"):
        assert_bound("gd-lower", elsewhere)
    noisy = simulate(WITNESS, "gd", lr=0.1, steps=5, gradient_noise_std=0.1)
    with pytest.raises(AssertionError, match="that of the oracle full"):
        assert_bound("gd-upper", noisy)


def test_the_call_that_runs_the_failing_instance_alone_is_the_one_that_ran_it():
    problem = BlockQuadratic.generate(blocks=2, block_size=2, problems=2)
    never = Theorem(name="never", bound=sp.Integer(0))

    def call(run):
        with pytest.raises(AssertionError) as caught:
            assert_bound(never, run)
        text = str(caught.value)
        assert "^1" not in text
        return text, re.search(r"  alone: (.*)", text)[1]

    text, said = call(simulate_torch(problem, torch.optim.SGD, lr=0.1, steps=3))
    assert said == "simulate_torch(problem.select([0]), <SGD>, lr=0.1, steps=3)"
    assert "undecided" in text
    assert "SGD is a class, with no rule whose steps exact arithmetic could repeat" in text
    _, said = call(simulate(problem, "adam", lr=0.1, steps=3, schedule="cosine", engine="reference"))
    assert said.startswith("simulate(problem.select([0]), 'adam', lr=0.1, beta1=0.9")
    assert said.endswith("steps=3, engine='reference', schedule='cosine')")
    own = Rule(name="gd", step=-symbols.lr * symbols.g / 2)  # under the name of ours
    assert "<gd>" in call(simulate(problem, own, lr=0.1, steps=3))[1]


def test_a_class_and_a_rule_of_ones_own_are_told_why_a_theorem_does_not_speak_of_them():
    problem = BlockQuadratic.generate(blocks=2, block_size=2)
    with pytest.raises(AssertionError, match=r"the class SGD, without a rule, not gd or sgd \(a theorem without rules"):
        assert_bound("gd-upper", simulate_torch(problem, torch.optim.SGD, lr=0.1, steps=3))
    own = Rule(name="mine", step=-symbols.lr * symbols.g / 2)
    for given in ({"rules": (own,)}, {"own_rules": ("mine",)}, {"own_rules": own}, {"rules": [own]}):
        with pytest.raises(ValueError, match=r"rules of x must be a tuple of (str|Rule), got .*; names of built-in"):
            Theorem(name="x", bound=s.L, **given)


def test_assert_bound_checks_its_arguments():
    run = simulate(WITNESS, "gd", lr=0.5, steps=5)
    with pytest.raises(ValueError, match=r"theorem must be one of .* got 'gd-uper'; did you mean 'gd-upper'\?"):
        assert_bound("gd-uper", run)
    with pytest.raises(ValueError, match="allow must be one of verified, holds"):
        assert_bound("gd-upper", run, allow=("true",))


def test_gd_exact_and_heavy_ball_are_checked_too():
    problem = BlockQuadratic.generate(heterogeneity=4, problems=3)
    for engine in ("closed-form", "reference"):
        run = simulate(problem, "gd", lr=[0.1, 0.3, 0.6], steps=300, engine=engine)
        assert_bound("gd-exact", run)
        wrong = replace(run, gap=run.gap * (1 + 1e-6 * (run.steps == 40)))
        assert check(THEOREMS["gd-exact"], wrong).counts()["not the rule's run"] > 0


def test_the_fixture_is_found_by_pytest(assert_bound):
    assert_bound("gd-upper", simulate(WITNESS, "gd", lr=0.25, steps=5))


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.6, 0.75, 0.9, 3.0])
def test_gd_upper_is_verified_at_every_rate_also_where_it_diverges(rate):
    assert check(THEOREMS["gd-upper"], simulate(WITNESS, "gd", lr=rate, steps=20)).verdict.item() == "verified"


# Statements about rules as they are run: exact values of their symbols, in rationals, or in balls where a rule takes a root.
def _false_neighbours():
    s = Symbol
    adam = {"beta1": 0.0, "beta2": 0.75, "eps": 0.125}
    memory = adam | {"beta1": 0.5}
    low, high = (sp.Max(x, y) for x, y in (((1 - s.tau_low_l) ** 2, 0), ((1 - s.tau_high_l) ** 2, 0)))
    plain = {"observe": ["iterate"], "steps": 5}
    return {
        "adam-local": ("adam", adam | plain, sp.Min(MaxOver(low), MaxOver(high)) * sp.Rational(9, 10)),
        "adam-energy": ("adam", memory | plain, sp.Rational(1, 2) * THEOREMS["adam-energy"].bound),
        "adam-certificate": ("adam", memory | plain, sp.Rational(3, 4)),
        "sign-midpoint": ("signsgd", {"observe": ["iterate"], "steps": 40}, THEOREMS["sign-midpoint"].bound / 50),
        "signum-gap": ("signum", {"momentum": 0.5, "steps": 8}, THEOREMS["signum-gap"].bound / 4),
        "linear-modes": ("heavy-ball", {"momentum": 0.25, "steps": 8}, THEOREMS["linear-modes"].bound / 100),
        "gd-lower-start": ("gd", {"steps": 8}, 50 * THEOREMS["gd-lower-start"].bound),
    }


@pytest.mark.parametrize("name", list(_false_neighbours()))
def test_statements_of_runs_are_verified_and_false_neighbours_are_not(name):
    rule, options, bound = _false_neighbours()[name]
    problem = COUPLED if rule != "gd" else BlockQuadratic.from_blocks([[[3]], [[1]]], initial_error=[1, -2])
    run = simulate(problem, rule, lr=0.0625, **options)
    true = check(name, run)
    assert true.verdict.item() == "verified", true.reason
    false = check(replace(THEOREMS[name], bound=bound, statement=""), run)
    assert false.verdict.item() in ("refuted", "undecided"), false.verdict
    assert false.verdict.item() == "refuted" or "it would be violated" in false.reason.item(), false.reason


# Under a schedule: the rate of every step is the product of rate and factor, rounded, as engines have it.
_FALLING = {
    "sign-constant-gap": ("signsgd", {}, 0.02),
    "sign-distance": ("lion", {"beta1": 0.5, "beta2": 0.75}, 1.5),
    "adam-local": ("adam", {"beta1": 0.0, "beta2": 0.75, "eps": 0.125, "observe": ["iterate"]}, 0.5),
    "adam-energy": ("adam", {"beta1": 0.5, "beta2": 0.75, "eps": 0.125, "observe": ["iterate"]}, 0.5),
    "adam-certificate": ("adam", {"beta1": 0.5, "beta2": 0.75, "eps": 0.125, "observe": ["iterate"]}, 0.75),
}


@pytest.mark.parametrize("schedule", ["linear", "cosine:warmup=2", "inverse-time:half=3"])
@pytest.mark.parametrize("name", list(_FALLING))
def test_statements_under_a_schedule_are_verified_and_false_neighbours_are_not(name, schedule):
    rule, options, factor = _FALLING[name]
    run = simulate(COUPLED, rule, lr=0.0625, steps=5, schedule=schedule, **options)
    true, theorem = check(name, run), THEOREMS[name]
    assert true.verdict.item() == "verified", true.reason
    assert true.evidence.assumed.item() in ("", "; ".join(theorem.texts))
    found = check(replace(theorem, bound=theorem.bound * factor, statement=""), run)
    assert found.verdict.item() in ("refuted", "undecided"), found.verdict
    assert found.verdict.item() == "refuted" or "it would be violated" in found.reason.item(), found.reason


def test_the_exact_run_takes_the_rate_of_every_step():
    """SignSGD and heavy-ball from their formulas, at rates that are powers of two."""
    rates = [fmpq(1, 4), fmpq(1, 8), fmpq(1, 16)]
    two = BlockQuadratic.from_blocks([[[2]], [[1]]], initial_error=[1, -3])
    states = run_exactly(as_exact(two, 0), simulate(two, "signsgd", lr=1.0, steps=1).rule, {"lr": 1.0}, 3, rates=rates)
    assert [state.error for state in states] == [
        ((fmpq(1),), (fmpq(-3),)),
        ((fmpq(3, 4),), (fmpq(-11, 4),)),
        ((fmpq(5, 8),), (fmpq(-21, 8),)),
        ((fmpq(9, 16),), (fmpq(-41, 16),)),
    ]
    ball = simulate(two, "heavy-ball", lr=1.0, steps=1).rule
    states = run_exactly(as_exact(two, 0), ball, {"lr": 1.0, "momentum": 0.5}, 2, rates=rates)
    # m_1 = 2, e_1 = 1 - 2/4 = 1/2; m_2 = 1 + 1 = 2, e_2 = 1/2 - 2/8 = 1/4.
    assert [state.error[0][0] for state in states] == [fmpq(1), fmpq(1, 2), fmpq(1, 4)]


def test_a_ball_around_0_has_no_sign_and_divides_nothing():
    from quadsim.theory.checking import exact_run

    around = arb(0, 1)
    with pytest.raises(NotExact, match="sign of a ball around 0"):
        exact_run.sign_of(around)
    with pytest.raises(NotExact, match="divisor is a ball around 0"):
        exact_run._ratio(fmpq(1), around)
    assert (exact_run.sign_of(fmpq(0)), exact_run.sign_of(arb(-2)), exact_run._ratio(fmpq(0), around)) == (0, -1, 0)


def test_roots_of_adam_are_enclosed():
    """The balls contain a run with 50 digits."""
    import mpmath

    run = simulate(COUPLED, "adam", lr=0.0625, steps=4, beta1=0.5, beta2=0.75, eps=0.125)
    settings = {name: float(values[0]) for name, values in run.settings.items()}
    states = run_exactly(as_exact(COUPLED, 0), run.rule, settings, 4)
    with mpmath.workdps(50):
        matrix = mpmath.matrix([[2, 1, 0], [1, 3, 0], [0, 0, mpmath.mpf(5) / 2]])
        e = mpmath.matrix([mpmath.mpf(1) / 3, -1, mpmath.mpf(2) / 7])
        m, v = mpmath.zeros(3, 1), mpmath.zeros(3, 1)
        for t in range(1, 5):
            g = matrix * e
            for i in range(3):
                m[i], v[i] = m[i] / 2 + g[i] / 2, 3 * v[i] / 4 + g[i] ** 2 / 4
                step = m[i] / (1 - mpmath.mpf(1) / 2**t)
                root = mpmath.sqrt(v[i] / (1 - (mpmath.mpf(3) / 4) ** t))
                e[i] -= step / 16 / (root + mpmath.mpf(1) / 8)
        gap = (e.T * matrix * e)[0] / 2
        assert abs(mpmath.mpf(states[4].gap.str(60, radius=False)) - gap) < mpmath.mpf(10) ** -45
    assert states[4].gap.rad() < 1e-280


def test_a_statement_that_says_nothing_is_not_verified():
    run = simulate(COUPLED, "signsgd", lr=4.0, steps=6, observe=["block_gap"])  # the gaps never leave the plateau
    found = check("sign-constant-steps", run)
    assert found.verdict.item() == "undecided"
    assert "says nothing" in found.reason.item()
