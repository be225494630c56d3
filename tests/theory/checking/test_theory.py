"""The bounds: their algebra, their numbers against an independent reference, and the judge."""

import numpy as np
import pytest
import sympy as sp
from cases import LEMMAS_ONLY
from reference import frozen_adam_bounds

from quadsim.simulator import BlockQuadratic, simulate
from quadsim.theory import THEOREMS, check, judge
from quadsim.theory.statements.quantities import evaluate
from quadsim.theory.symbols import MaxOver, MinOver, Symbol

PER_STEP = [theorem for theorem in THEOREMS.values() if theorem.is_factor]


def strip(expression):
    """One block, one coordinate: reductions over an index drop out."""
    return expression.replace(lambda e: isinstance(e, MaxOver | MinOver), lambda e: strip(e.args[0]))


def test_the_names_of_the_issue():
    assert set(THEOREMS) == {
        *("gd-exact", "gd-upper", "gd-lower", "gd-noise", "block-gd", "heavy-ball"),
        *("adam-frozen-published", "adam-frozen", "adam-frozen-exact", "adam-vs-gd", "adam-cycle", "adam-is-sign"),
        *("gradient-descent-lemma", "sign-descent-lemma", "gradient-complexity", "sign-complexity"),
        *(
            "covariance-identity",
            "gradient-rate",
            "gradient-rate-uniform",
            "sign-rate",
            "sign-rate-inf",
            "sign-constant",
        ),
        "head-drift",
        *("sign-constant-gap", "sign-constant-steps", "sign-midpoint", "sign-diagonal", "sign-distance", "sign-cycle"),
        *("signum-gap", "lion-gap", "linear-modes", "block-scale-invariance", "gd-lower-start"),
        *("adam-local", "adam-energy", "adam-certificate", "adam-certificate-gap", "adam-from-state", "adam-span"),
        "adam-diagonal",
        *("sgd-moments", "sgd-stability", "sgd-floor", "sign-one-step"),
        *("heavy-ball-moments", "heavy-ball-stability", "heavy-ball-floor"),
        *LEMMAS_ONLY,
    }
    for theorem in THEOREMS.values():
        assert theorem.source
        assert theorem.bound.free_symbols <= set(theorem.symbols)
        assert all(theorem.symbols.values())
        assert theorem.statement.count("{") == theorem.statement.count("}")


@pytest.mark.parametrize("theorem", PER_STEP, ids=lambda t: t.name)
def test_decrease_is_one_minus_bound(theorem):
    bound, decrease = strip(theorem.bound), strip(theorem.decrease)
    if bound.func is sp.Max:
        # max(a, b) and min(1 - a, 1 - b): the same pairs, in some order.
        left = sorted((sp.expand(1 - a) for a in bound.args), key=str)
        right = sorted((sp.expand(sp.together(d)) for d in decrease.args), key=str)
        pairs = [min(sp.simplify(x - y) == 0 for y in right if sp.simplify(x - y) == 0) for x in left]
        assert pairs == [True, True]
    else:
        assert sp.simplify(1 - bound - decrease) == 0


@pytest.fixture(scope="module")
def problem():
    return BlockQuadratic.generate(block_size=(3, 5, 2), heterogeneity=20, problems=6, seed=3)


def test_frozen_adam_against_the_reference(problem):
    for m in range(problem.problems):
        one = problem.select([m])
        matrix, start = one.dense(0)
        ends = np.cumsum(one.block_sizes)
        blocks = [matrix[e - s : e, e - s : e] for e, s in zip(ends, one.block_sizes, strict=True)]
        expected = frozen_adam_bounds(blocks, start)
        run = simulate(one, "adam-frozen", lr=float(expected["eta"]), steps=50)
        for name, key in (("-published", "published"), ("", "sharpened"), ("-exact", "exact")):
            theorem = THEOREMS[f"adam-frozen{name}"]
            assert theorem.applies(run).all(), theorem.name
            assert 1.0 - theorem.decrease_on(run)[0, 0] == pytest.approx(expected[key], rel=1e-10)
            assert evaluate(theorem.bound, run)[0, 0] == pytest.approx(expected[key], rel=1e-10)
        assert expected["exact"] <= expected["sharpened"] <= expected["published"]


def test_gd_exact_is_the_run(problem):
    run = simulate(problem, "gd", lr=[0.01, 0.08], steps=40, engine="reference")
    for t in (0, 1, 7, 40):
        exact = evaluate(THEOREMS["gd-exact"].bound.subs(Symbol.t, t), run)
        np.testing.assert_allclose(run.gap[:, :, t], exact, rtol=1e-12)


def test_gd_upper_is_tight_where_it_says():
    # Errors on the two extreme eigenvectors only, at 2/(L+mu): every step attains the bound.
    one = BlockQuadratic.from_blocks([[[5, 0], [0, 2]], [[1]]], initial_error=[3, 0, 7])
    run = simulate(one, "gd", lr=2 / 6, steps=30)
    theorem = THEOREMS["gd-upper"]
    np.testing.assert_allclose(run.gap[0, 0, 1:] / run.gap[0, 0, :-1], 4 / 9, rtol=1e-13)
    assert 1 - theorem.decrease_on(run)[0, 0] == pytest.approx(4 / 9, rel=1e-15)
    found = check(theorem, run)
    assert found.verdict[0, 0] == "verified"
    assert found.margin[0, 0] == pytest.approx(1.0, abs=1e-12)


def test_gd_lower_applies_at_its_witness_only(problem):
    theorem = THEOREMS["gd-lower"]
    witness = BlockQuadratic.from_blocks([[[3]], [[1]]], initial_error=[1, 3])
    rates = np.linspace(-0.5, 1.5, 21)
    rates = rates[rates > 0]
    run = simulate(witness, "gd", lr=rates, steps=20)
    assert theorem.applies(run).all()
    ratios = run.gap[0, :, 1:6] / run.gap[0, :, :5]
    assert (ratios >= (1 - theorem.decrease_on(run)[0, :, None]) * (1 - 1e-12)).all()
    assert not theorem.applies(simulate(problem, "gd", lr=0.01, steps=2)).any()


def test_heavy_ball_at_its_own_settings(problem):
    L, mu = problem.block_smoothness.max(), problem.block_strong_convexity.min()
    root = (np.sqrt(L) - np.sqrt(mu)) / (np.sqrt(L) + np.sqrt(mu))
    lr = 4 / (np.sqrt(L) + np.sqrt(mu)) ** 2
    run = simulate(problem, "heavy-ball", lr=lr, momentum=root**2, steps=400, record="log")
    columns = judge(run)
    assert (columns["theorem"] == "heavy-ball").all()
    assert (columns["verdict"] == "holds").all()
    assert (run.steps_to_tolerance <= columns["bound_steps"]).all()
    # The step before is not yet enough: the number is the first one, not just a large one.
    theorem, steps = THEOREMS["heavy-ball"], int(columns["bound_steps"][0, 0])
    assert theorem.log_bound(run, steps)[0, 0] <= np.log(1e-6) < theorem.log_bound(run, steps - 1)[0, 0]
    other = simulate(problem, "heavy-ball", lr=lr * 1.001, momentum=root**2, steps=10)
    assert (judge(other)["verdict"] == "not applicable").all()


@pytest.mark.parametrize("engine", ["closed-form", "reference"])
@pytest.mark.parametrize(
    ("rule", "rates"),
    [("gd", [0.001, 0.05, 2 / 20.1, 0.11]), ("block-gd", [0.3, 1.0, 1.05]), ("adam-frozen", [1e-4, 1e-3, 1e-2, 1.0])],
)
def test_bounds_are_never_on_the_wrong_side(rule, rates, engine):
    many = BlockQuadratic.generate(block_size=5, heterogeneity=20, problems=40, seed=1)
    run = simulate(many, rule, lr=rates, steps=3000, record="log", engine=engine)
    columns = judge(run)
    assert set(columns["verdict"].ravel()) == {"holds"}
    assert (run.steps_to_tolerance <= columns["bound_steps"]).all()
    assert (columns["margin"] <= 1 + 1e-6).all()
    assert np.isinf(columns["bound_steps"][columns["bound_rate"] >= 1]).all()


def test_gd_upper_at_the_best_rate_holds_on_200_haar_instances():
    many = BlockQuadratic.generate(heterogeneity=10, problems=200)
    for engine in ("closed-form", "reference"):
        columns = judge(simulate(many, "gd", lr=2 / 10.1, steps=3000, record=50, engine=engine))
        assert set(columns["verdict"].ravel()) == {"holds"}


def test_a_bound_that_is_too_good_is_refuted(problem):
    from dataclasses import replace

    run = simulate(problem, "gd", lr=0.05, steps=2000, record="log")
    gd_upper = THEOREMS["gd-upper"]
    wrong = replace(gd_upper, bound=gd_upper.bound - sp.Rational(1, 10**5))
    found = check(wrong, run)
    assert set(found.verdict.ravel()) <= {"refuted", "undecided"}
    assert "refuted" in found.verdict
    assert (found.margin > 1).all()


def test_the_rate_the_judge_is_given_matters(problem):
    """A run whose settings lie about its rate is flagged: the check depends on the gaps, not on the settings alone."""
    from dataclasses import replace

    run = simulate(problem, "gd", lr=0.05, steps=500)
    lying = replace(run, settings={"lr": np.array([0.09])})
    assert set(judge(lying)["verdict"].ravel()) == {"not the rule's run"}


def test_a_run_that_diverges_against_its_bound_is_flagged(problem):
    from dataclasses import replace

    run = simulate(problem, "gd", lr=10.0, steps=100)
    lying = replace(run, settings={"lr": np.array([0.01])})
    columns = judge(lying)
    assert set(columns["verdict"].ravel()) == {"not the rule's run"}
    assert set(judge(run)["verdict"].ravel()) == {"holds"}


@pytest.mark.parametrize(
    "options",
    [
        {"rule": "adam", "lr": 0.1},
        {"rule": "gd", "lr": 0.01, "schedule": "cosine"},
        {"rule": "gd", "lr": 0.01, "gradient_noise_std": 0.1},
    ],
    ids=str,
)
def test_not_applicable(problem, options):
    columns = judge(simulate(problem, steps=20, **options))
    assert set(columns["verdict"].ravel()) == {"not applicable"}
    assert np.isnan(columns["bound_steps"]).all()


def test_frozen_adam_needs_a_gradient_without_zeros():
    one = BlockQuadratic.from_blocks([[[2, 0], [0, 1]]], initial_error=[1, 0])
    run = simulate(one, "adam-frozen", lr=0.1, steps=5)
    assert set(judge(run)["verdict"].ravel()) == {"not applicable"}


def test_bound_steps_count():
    # factor ((k-1)/(k+1))^2 = 1/4 at k = 3: 4^-T <= 1e-6 from T = 10 on (4^10 = 1048576).
    one = BlockQuadratic.from_blocks([[[3, 0], [0, 1]]], initial_error=[1, 3])
    run = simulate(one, "gd", lr=0.5, steps=50)
    assert judge(run)["bound_steps"].item() == 10
    assert run.steps_to_tolerance.item() == 10
    assert np.isinf(judge(simulate(one, "gd", lr=0.5, steps=9))["bound_steps"].item())
