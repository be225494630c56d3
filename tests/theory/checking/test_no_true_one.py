"""True theorems on runs at which the judge once called them refuted or undecided."""

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import sympy as sp

from quadsim.simulator import BlockQuadratic, Rule, simulate
from quadsim.simulator.rules.rule import symbols
from quadsim.theory import THEOREMS, Hypothesis, Theorem, check
from quadsim.theory.statements.adam_cycle import adam_on_orbit
from quadsim.theory.symbols import Symbol as s
from quadsim.theory.verifying.trials import adam, descent, signs

GOOD = {"holds", "verified"}


def words(theorem, run):
    return set(check(theorem, run).verdict.ravel())


# B1: differences of logarithms lose |log gap| u.
def test_gd_upper_in_two_blocks_of_one_over_a_thousand_steps():
    two = BlockQuadratic.from_blocks([[[1.0]], [[0.3]]], initial_error=[1.0, 1.0])
    assert words("gd-upper", simulate(two, "gd", lr=0.7, steps=1000, engine="reference")) <= GOOD
    four = BlockQuadratic.generate(blocks=4, block_size=1, heterogeneity=30, problems=40, seed=2)
    assert words("gd-upper", simulate(four, "gd", lr=2 / 31, steps=1000, engine="reference")) <= GOOD


def test_block_gd_in_blocks_of_any_size():
    some = BlockQuadratic.generate(block_size=(1, 3, 2), heterogeneity=30, problems=8, seed=2)
    assert words("block-gd", simulate(some, "block-gd", lr=1.0, steps=1000, engine="reference")) <= GOOD


# B3: budgets that assume a root near 1.
@pytest.mark.parametrize("engine", ["closed-form", "reference"])
def test_gd_exact_near_the_identity(engine):
    near = BlockQuadratic.generate(
        blocks=2, block_size=3, heterogeneity=1 + 1e-9, condition_number=1 + 1e-9, problems=30
    )
    run = simulate(near, "gd", lr=1.0, steps=12, engine=engine)
    assert "undecided" not in words("gd-exact", run)
    assert words("gd-exact", run) == {"holds"}


@pytest.mark.parametrize("apart", [1e-9, 1e-12, 0.0])
def test_heavy_ball_on_a_condition_number_near_1(apart):
    near = BlockQuadratic.generate(blocks=1, block_size=3, condition_number=1 + apart, problems=10)
    L, mu = near.block_smoothness.max(), near.block_strong_convexity.min()
    root = (np.sqrt(L) - np.sqrt(mu)) / (np.sqrt(L) + np.sqrt(mu))
    run = simulate(near, "heavy-ball", lr=4 / (np.sqrt(L) + np.sqrt(mu)) ** 2, momentum=root**2, steps=12)
    assert words("heavy-ball", run) <= {"holds", "not applicable"}


# B2: refuted needs every hypothesis certified, the rule's own expressions, and the problem's own data.
def test_an_undecidable_hypothesis_is_not_taken_as_true():
    irrational = BlockQuadratic.from_blocks([[[2, 1], [1, 3]]], initial_error=[Fraction(1, 3), Fraction(-1, 5)])
    unknown = Hypothesis("the moon is full", lambda run: np.ones((1, 1), dtype=bool))
    false = Theorem(name="f", rules=("gd",), bound=s.mu / (100 * s.L), hypotheses=(unknown,))
    found = check(false, simulate(irrational, "gd", lr=0.1, steps=5))
    assert found.verdict.item() == "undecided"
    assert "the moon is full" in found.reason.item()
    assert found.evidence.assumed.item() == "the moon is full"
    known = replace(false, hypotheses=(s.eta * s.L <= 1,), statement="")
    assert words(known, simulate(irrational, "gd", lr=0.1, steps=5)) == {"refuted"}


def test_gd_lower_near_an_irrational_witness():
    for seed in range(6):
        a, b, c = np.random.default_rng(seed).integers(1, 6, size=3)
        matrix = [[int(a + b), int(b)], [int(b), int(b + c)]]
        values, vectors = np.linalg.eigh(np.array(matrix, dtype=float))
        start = vectors @ np.array([values[1], values[0]])
        given = BlockQuadratic.from_blocks([matrix], initial_error=[Fraction(float(x)) for x in start])
        assert "refuted" not in words("gd-lower", simulate(given, "gd", lr=2 / values.sum(), steps=8))


def test_adam_cycle_from_a_twentieth():
    one = BlockQuadratic.from_blocks([[[1]]], initial_error=[Fraction(1, 20)])
    run = simulate(one, adam_on_orbit(), lr=0.1, beta1=0, beta2=0.5, eps=0, steps=1, engine="reference")
    assert "refuted" not in words("adam-cycle", run)


def test_decay_pulls_to_the_minimiser():
    decay = Rule(name="decayed", step=-symbols.lr * (symbols.g + symbols.w / 2))
    one = BlockQuadratic.from_blocks([[[3]], [[1]]], initial_error=[1, 3], minimizer=[2.0, 4.0])
    run = simulate(one, decay, lr=0.25, steps=6, engine="reference")
    # e <- (1 - lr (h + 1/2)) e - lr w*/2 for each coordinate, by hand.
    e, gaps = np.array([1.0, 3.0]), []
    for _ in range(7):
        gaps.append(float(e @ (np.array([3.0, 1.0]) * e) / 2))
        e = e - 0.25 * (np.array([3.0, 1.0]) * e + (e + np.array([2.0, 4.0])) / 2)
    np.testing.assert_allclose(run.gap[0, 0], gaps, rtol=1e-13)
    # Towards w = 0 the gap stays above this; towards the solution it would not.
    least = sp.Rational(min(gaps) / gaps[0]) * sp.Rational(999, 1000)
    assert words(Theorem(name="d", kind="horizon", direction="lower", bound=least), run) == {"verified"}


def test_a_rule_of_one_s_own_is_not_ours_by_its_name():
    own = Rule(name="gd", step=symbols.lr * symbols.g)
    run = simulate(BlockQuadratic.from_blocks([[[3]], [[1]]], initial_error=[1, 3]), own, lr=0.1, steps=5)
    found = check("gd-upper", run)
    assert found.verdict.item() == "not applicable"
    assert found.reason.item().startswith("the rule is a gd of your own, not that of the theorem (own_rules=(rule,)")


def test_a_theorem_about_a_rule_of_ones_own_speaks_of_that_rule_alone():
    own = Rule(name="half", step=-symbols.lr * symbols.g / 2)
    claim = Theorem(name="half falls", own_rules=(own,), bound=sp.Integer(1), hypotheses=(s.eta * s.L <= 4,))
    problem = BlockQuadratic.from_blocks([[[1.0]]], initial_error=[1.0])
    assert check(claim, simulate(problem, own, lr=0.5, steps=5)).verdict.item() in ("verified", "holds")
    found = check(claim, simulate(problem, "gd", lr=0.5, steps=5))
    assert found.verdict.item() == "not applicable"
    assert "the rule is gd, not half" in found.reason.item()
    same = Rule(name="mine", step=-symbols.lr * symbols.g)
    assert words("gd-upper", simulate(BlockQuadratic.generate(problems=2), same, lr=0.1, steps=5)) == {"holds"}


def test_rationals_that_are_not_the_problem_s_own_are_not_used():
    given = BlockQuadratic.from_blocks([[[3]], [[1]]], initial_error=[1, 3])
    other = BlockQuadratic.from_blocks([[[2.0]], [[1.0]]], initial_error=[1.0, 3.0])
    stale = replace(other, exact=given.exact)
    assert words("gd-upper", simulate(stale, "gd", lr=0.5, steps=8)) == {"holds"}
    moved = replace(given, hessian=other.hessian)
    found = check("gd-upper", simulate(moved, "gd", lr=0.5, steps=8, engine="reference"))
    assert found.verdict.item() == "not the rule's run"
    assert "not those of its matrices" in found.reason.item()


# B4: a logarithm of a power of a negative number; a limit in operations.
def test_a_power_of_a_negative_number_has_a_logarithm():
    bound = (1 - s.eta * s.L) ** (2 * s.t)
    one = BlockQuadratic.from_blocks([[[1.0]]], initial_error=[1.0])
    assert words(Theorem(name="p", kind="horizon", bound=bound), simulate(one, "gd", lr=1.5, steps=50)) == {"holds"}
    odd = Theorem(name="p", kind="horizon", bound=(1 - s.eta * s.L) ** s.t)
    assert words(odd, simulate(one, "gd", lr=1.5, steps=50)) <= {"undecided", "refuted"}


def test_the_limit_of_exact_arithmetic_counts_operations():
    run = simulate(BlockQuadratic.from_blocks([[[3]], [[1]]], initial_error=[1, 3]), "gd", lr=0.5, steps=60)
    assert words("gd-upper", run) == {"verified"}
    short = check("gd-upper", run, effort=1e-4)
    assert short.verdict.item() == "holds"
    assert "exact arithmetic got to step" in short.reason.item()
    assert check("gd-upper", run, effort=0.0).reason.item() == "no effort was left for exact arithmetic"


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_scales_do_not_matter(scale):
    draw = np.random.default_rng(1)
    values = scale * 10.0 ** draw.uniform(-1, 0, size=(5, 3))
    scaled = BlockQuadratic.from_blocks(
        [values[:, i, None, None] for i in range(3)], initial_error=draw.normal(size=(5, 3))
    )
    seen = ["gradient_norm", "gradient_norm_1", "Lambda_G", "block_gradient_norm"]
    gd = simulate(scaled, "gd", lr=1.0 / scale, steps=20, observe=seen)
    for name in ("gd-upper", "gd-exact", "gradient-descent-lemma", "covariance-identity"):
        assert words(name, gd) == {"holds"}, name
    sign = simulate(scaled, "sign-lambda", lr=1.0, steps=20, observe=seen, engine="reference")
    for name in ("sign-rate", "sign-complexity", "sign-descent-lemma"):
        assert words(name, sign) == {"holds"}, name


@pytest.mark.parametrize("name", ["linear-modes", "sign-constant-gap", "adam-energy"])
def test_bounds_from_the_start_allow_for_the_rounding_of_every_step(name, monkeypatch):
    """On one coordinate they are attained, and after some steps the gap is rounding of the start."""

    def of_one_coordinate(problem, *arguments, **options):
        """The others are drawn, but not run: a kernel would be compiled for each size."""
        return simulate(problem, *arguments, **options) if problem.dimension == 1 else SimpleNamespace(problem=problem)

    for module in (adam, descent, signs):
        monkeypatch.setattr(module, "simulate", of_one_coordinate)
    from quadsim.theory.verifying.trials import trial_of

    single = [run for run in trial_of(THEOREMS[name]).runs(name, 1000, 0) if run.problem.dimension == 1]
    assert single
    for run in single:
        assert set(check(name, run).verdict.ravel()) <= {"holds", "verified"}
