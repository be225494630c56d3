"""quadsim verify: everything proved, tried and refuted; mutants of rules and of bounds are caught."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import proofs
import pytest
import sympy as sp
import torch
from cases import LEMMAS_ONLY
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.simulator import BlockQuadratic, Rule, simulate, simulate_torch
from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.rule import Ratio, symbols
from quadsim.theory import THEOREMS, Theorem, assert_bound, check
from quadsim.theory.checking import exact_run, floats
from quadsim.theory.checking.heads import check_head
from quadsim.theory.exporting.independent import Answer
from quadsim.theory.statements import registry
from quadsim.theory.statements.adam_cycle import adam_on_orbit
from quadsim.theory.statements.models import head
from quadsim.theory.statements.models.head import drift, moments_of_walk, step_distribution
from quadsim.theory.statements.quantities import evaluate, evaluate_along
from quadsim.theory.symbols import MaxOver, SumOver, Symbol
from quadsim.theory.verifying import tightness, verification
from quadsim.theory.verifying import trials as instances
from quadsim.theory.verifying.false_claims import FALSE_CLAIMS
from quadsim.theory.verifying.frozen_ratios import frozen_ratios
from quadsim.theory.verifying.tightness import closeness, search_tightest
from quadsim.theory.verifying.trials import rationals, signs
from quadsim.theory.verifying.verification import verify, verify_theorem

s = Symbol
g, lr = symbols.g, symbols.lr


WITHOUT_EXACT_RUNS = {
    "gd-noise",  # a mean
    # Products of factors along the run, and enclosures; single factors are exact (adam-certificate, test_preconditioned.py).
    *("adam-certificate-gap", "adam-from-state", "adam-span"),
}
"""Theorems that are checked on float runs alone."""


COMPILED_FOR_NOTHING_ELSE = {"lion-gap", "signum-gap"}
"""Theorems whose runs need kernels, one a block size, of which no other test has a use: here they run in the reference."""


@pytest.mark.parametrize("name", THEOREMS)
def test_every_theorem_is_proved_and_borne_out(name, monkeypatch):
    if name in COMPILED_FOR_NOTHING_ELSE:
        for module in (signs, rationals, tightness):
            monkeypatch.setattr(module, "simulate", partial(simulate, engine="reference"))
    # The independent checker takes as long again: tests/theory/test_proof_checker.py has it check every proof, most as slow tests.
    monkeypatch.setattr(verification, "answer_to", lambda *_: Answer())
    monkeypatch.setattr(verification, "prove", proofs.prove)
    monkeypatch.setattr(verification, "derive", lambda theorem: proofs.derived(theorem.name))
    report = verify_theorem(THEOREMS[name], problems=50, search=50)
    assert report.verdict == ("lemmas proved" if name in LEMMAS_ONLY else "proved"), report.complaints
    assert report.instances >= 50
    assert report.verdicts["refuted"] == report.verdicts["undecided"] == 0
    trial = instances.TRIALS[name]
    assert (trial.rational is None and trial.instance is None) == (name in WITHOUT_EXACT_RUNS)
    assert report.verdicts["verified"] >= (0 if name in WITHOUT_EXACT_RUNS else 10)
    assert report.worst_margin <= 1 + 1e-6
    assert report.tightness <= 1 + 1e-6 or np.isnan(report.tightness)


def test_every_false_claim_is_refuted_with_its_numbers():
    found = {claim.name: claim.refute() for claim in FALSE_CLAIMS}
    assert {r.verdict for r in found.values()} == {"refuted"}
    assert len(found) == len(FALSE_CLAIMS) == 25
    numbers = [
        "3/2, at least 3",
        "3/2, at most 749997/500000",
        "9/2, at most 17/8",
        "64, at most 1296/25",
        "7/24, at most -1/12",
    ]
    for number, text in zip(numbers, found.values(), strict=False):
        assert number in text.counter_example
    assert "-1/2 eta, 1/2 eta claimed" in found["head-drift upwards"].counter_example


def test_a_true_claim_among_the_false_ones_would_survive():
    from quadsim.theory.verifying.false_claims import _by_run, _witness

    found = _by_run(lambda: THEOREMS["gd-upper"], _witness, "a true one")()
    assert found.verdict == "survived"


# Mutants. Each is caught by a proof, by an instance, or by both; here: by what `verify` says.


def rule_mutant(name, **changes):
    return lambda patch: patch.setitem(RULES, name, replace(RULES[name], **changes))


m, v = RULES["adam"].states
(d,) = RULES["adam-frozen"].states
p1, p2 = RULES["adam"].clocks
beta1, beta2, eps = RULES["adam"].hyperparameters
RULE_MUTANTS = {
    "gd with 1.01 lr": (rule_mutant("gd", step=-sp.Rational(101, 100) * lr * g), "gd-upper"),
    "gd with 1.01 lr, exactly": (rule_mutant("gd", step=-sp.Rational(101, 100) * lr * g), "gd-exact"),
    "gd with a flipped sign": (rule_mutant("gd", step=lr * g), "gd-upper"),
    "adam without its root": (
        rule_mutant("adam", step=-lr * Ratio(m / (1 - p1), v / (1 - p2) + eps)),
        "adam-is-sign",
    ),
    "adam without bias correction": (rule_mutant("adam", step=-lr * m / (sp.sqrt(v) + eps)), "adam-cycle"),
    "adam with a flipped sign": (rule_mutant("adam", step=-RULES["adam"].step), "adam-cycle"),
    "adam with beta2 for beta1": (
        rule_mutant("adam", update={m: beta2 * m + (1 - beta2) * g, v: beta2 * v + (1 - beta2) * g**2}),
        "adam-cycle",
    ),
    "frozen Adam with v for its root": (rule_mutant("adam-frozen", start={d: g**2}), "adam-frozen"),
    "signsgd with a flipped sign": (rule_mutant("signsgd", step=lr * sp.sign(g)), "sign-constant"),
    "signsgd that does not move": (rule_mutant("signsgd", step=sp.S.Zero), "sign-descent-lemma"),
    "signsgd on a head": (rule_mutant("signsgd", step=-lr * g), "head-drift"),
    "gd-lambda with twice its rate": (rule_mutant("gd-lambda", step=2 * RULES["gd-lambda"].step), "gradient-rate"),
    "sign-lambda with 1.5 its rate": (
        rule_mutant("sign-lambda", step=sp.Rational(3, 2) * RULES["sign-lambda"].step),
        "sign-rate",
    ),
}


@pytest.mark.parametrize("name", RULE_MUTANTS)
def test_a_mutant_rule_is_caught(name, monkeypatch):
    mutate, theorem = RULE_MUTANTS[name]
    mutate(monkeypatch)
    fresh = {n: replace(t) for n, t in THEOREMS.items()}  # proofs are made once for each object
    monkeypatch.setattr(registry, "THEOREMS", fresh)
    report = verify_theorem(fresh[theorem], problems=50, search=0)
    assert report.verdict in ("refuted", "unproved"), report
    assert any(found.status == "refuted" for _, found in report.steps)


thousandth = sp.Rational(1, 1000)
BOUND_MUTANTS = {
    "gd-upper by a thousandth": ("gd-upper", lambda b: b - thousandth),
    "gd-upper with L alone": ("gd-upper", lambda b: (1 - s.eta * s.L) ** 2),
    "gd-lower without its square": ("gd-lower", lambda b: sp.sqrt(b)),
    "gd-exact with t for 2t": ("gd-exact", lambda b: b.subs(s.t, s.t / 2)),
    "gd-noise with half the noise": ("gd-noise", lambda b: b.subs(s.noise_std, s.noise_std / 2)),
    "block-gd by a thousandth": ("block-gd", lambda b: b - thousandth),
    "heavy-ball without its polynomial": ("heavy-ball", lambda b: b.subs(s.t, s.t) / (1 + s.t) ** 2),
    "adam-frozen with half r": ("adam-frozen", lambda b: b.subs(s.eta, 2 * s.eta)),
    "adam-frozen-exact by a thousandth": ("adam-frozen-exact", lambda b: b - thousandth),
    "adam-cycle of twice the width": ("adam-cycle", lambda b: 4 * b),
    "gradient-descent-lemma with Lambda_P": ("gradient-descent-lemma", lambda b: b.subs(s.Lambda_G, s.Lambda_P)),
    "sign-descent-lemma with half of P Lambda_P": ("sign-descent-lemma", lambda b: b.subs(s.Lambda_P, s.Lambda_P / 2)),
    "gradient-complexity by half": ("gradient-complexity", lambda b: b / 2),
    "sign-complexity by half": ("sign-complexity", lambda b: b / 2),
    "covariance with the sign turned": ("covariance-identity", lambda b: -b),
    "gradient-rate with L for mu": ("gradient-rate", lambda b: b.subs(s.mu, s.L)),
    "sign-rate with 3 nu": ("sign-rate", lambda b: b.subs(s.nu, 3 * s.nu)),
    "sign-rate-inf with 3 nu": ("sign-rate-inf", lambda b: b.subs(s.nu, 3 * s.nu)),
    "sign-constant by half": ("sign-constant", lambda b: b / 2),
    "head-drift without ties": ("head-drift", lambda b: b.subs(s.tie, 0)),
}


@pytest.mark.parametrize("name", BOUND_MUTANTS)
def test_a_mutant_bound_is_caught(name):
    theorem, change = BOUND_MUTANTS[name]
    true = THEOREMS[theorem]
    mutant = replace(true, bound=change(true.bound), statement="", quantity=true.quantity)
    report = verify_theorem(mutant, problems={"gd-noise": 150, "block-gd": 12}.get(theorem, 50), search=0)
    # A mean over noise cannot be refuted in exact arithmetic: it stays flagged, which fails too.
    assert report.verdict == ("unproved" if theorem == "gd-noise" else "refuted"), report
    assert report.verdicts["undecided" if theorem == "gd-noise" else "refuted"] > 0
    assert report.complaints
    assert report.steps[-1][1].status in ("refuted", "unknown")  # the proof does not conclude with another bound either


def test_the_command_prints_one_document_and_says_so_by_its_exit_code(monkeypatch):
    runner = CliRunner()
    found = runner.invoke(app, ["verify", "gd-upper", "head-drift", "--problems", "60", "--search", "70", "--json"])
    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert set(document) == {"theorems", "false_claims"}
    first = document["theorems"][0]
    assert {"name", "verdict", "steps", "instances", "verdicts", "worst_margin", "tightness"} <= set(first)
    assert {"claim", "status", "by"} <= set(first["steps"][0])
    assert first["verdict"] == "proved"
    monkeypatch.setitem(THEOREMS, "gd-upper", replace(THEOREMS["gd-upper"], bound=s.mu * 0 + thousandth))
    found = runner.invoke(app, ["verify", "gd-upper", "--problems", "20", "--search", "0"])
    assert found.exit_code == 1
    assert "gd-upper: refuted on problem" in found.stdout
    found = runner.invoke(app, ["verify", "gd-uper"])
    assert found.exit_code == 2
    assert "did you mean 'gd-upper'?" in found.stderr


def test_exact_instances_are_verified():
    reports, _ = verify(
        ("gd-upper", "gd-exact", "sign-rate", "adam-frozen-exact", "heavy-ball"), problems=2, exact=True
    )
    for report in reports:
        assert report.verdicts["verified"] == report.instances == 2, report


def test_frozen_ratios_against_the_published_share():
    found = frozen_ratios(trials=1000)
    # Two runs of 4000 trials gave .6475 and .6425 (s.e. .0076), medians 413 and 394; five standard errors of 1000 trials.
    assert found.share_r_pub == pytest.approx(0.645, abs=5 * 0.0151)
    assert found.median_r == pytest.approx(np.sqrt(found.median_r_pub), rel=0.02)
    assert 300 < found.median_r_pub < 550
    assert found.ordered == 1000


def test_frozen_bounds_are_ordered_over_the_dial_space():
    names = ("adam-frozen-exact", "adam-frozen", "adam-frozen-published")
    compared = 0
    for run in instances.TRIALS["adam-frozen"].runs("adam-frozen", 500, 5):
        both = THEOREMS["adam-frozen-published"].applies(run) & THEOREMS["adam-frozen"].applies(run)
        exact, sharp, published = (evaluate(THEOREMS[name].decrease, run)[both] for name in names)
        slack = 1 - 1e-9
        assert (exact >= sharp * slack).all()
        assert (sharp >= published * slack).all()
        compared += int(both.sum())
    assert compared > 500


def test_the_search_finds_that_the_published_bound_is_loose():
    found = {
        name: search_tightest(THEOREMS[name], instances.TRIALS[name].searched).margin
        for name in ("gd-upper", "adam-frozen", "adam-frozen-published")
    }
    assert found["gd-upper"] > 0.999
    assert found["adam-frozen"] > 0.99
    assert found["adam-frozen-published"] < 0.7


def test_every_theorem_has_a_trial_and_every_upper_bound_of_a_step_is_searched():
    assert set(instances.TRIALS) == set(THEOREMS)
    searched = {name for name, trial in instances.TRIALS.items() if trial.searched is not None}
    of_runs = {name for name, trial in instances.TRIALS.items() if trial.instance is None}
    assert searched == {name for name in of_runs if THEOREMS[name].direction == "upper"}


def test_a_theorem_without_a_trial_is_one_line_and_may_bring_its_own():
    own = replace(THEOREMS["gd-upper"], name="gd-mine")
    with pytest.raises(ValueError, match=r"must have a Trial in quadsim.theory.verifying.trials.TRIALS, got gd-mine"):
        verify_theorem(own, problems=10)
    assert verify_theorem(own, trial=instances.TRIALS["gd-upper"], problems=10, search=0).verdict == "proved"


def test_closeness_is_the_share_of_the_decrease():
    # H = diag(3, 1) at lr = 1/3: e_L is gone at once, e_mu keeps (2/3)^2: the decrease of later steps is 5/9, as guaranteed.
    run = simulate(BlockQuadratic.from_blocks([[[3]], [[1]]], initial_error=[1, 3]), "gd", lr=1 / 3, steps=3)
    assert closeness(THEOREMS["gd-upper"], run).item() == pytest.approx(1.0, abs=1e-12)
    slow = replace(THEOREMS["gd-upper"], bound=1 - THEOREMS["gd-upper"].decrease / 4)
    assert closeness(slow, run).item() == pytest.approx(0.25, abs=1e-9)


# Statements of a user's own.


def test_a_user_s_own_statement_is_checked():
    problem = BlockQuadratic.generate(heterogeneity=10, problems=20)
    mine = Theorem(name="mine", rules=("gd",), bound=(1 - s.eta * s.mu) ** 2, hypotheses=(s.eta * s.L <= 1,))
    found = check(mine, simulate(problem, "gd", lr=[0.05, 0.1, 0.15], steps=100))
    assert found.counts()["holds"] == 40
    assert all(x.startswith("hypothesis fails: L*eta <= 1 (here ") for x in found.reason[:, 2])
    wrong = Theorem(name="hopeful", rules=("gd",), bound=(1 - s.eta * s.mu) ** 4, hypotheses=(s.eta * s.L <= 1,))
    small = BlockQuadratic.generate(blocks=2, block_size=2, condition_number=2, heterogeneity=2, problems=5)
    with pytest.raises(AssertionError, match=r"hopeful: refuted on problem 0(.|\n)*gap_next = .*, at most .* claimed"):
        assert_bound(wrong, simulate(small, "gd", lr=0.25, steps=40))


def test_a_user_s_own_statement_may_speak_of_the_state():
    problem = BlockQuadratic.generate(heterogeneity=10, problems=10)
    mine = Theorem(name="bounded", kind="horizon", quantity=s.Lambda_G, bound=s.L)
    assert_bound(mine, simulate(problem, "adam", lr=0.1, steps=50, observe=["Lambda_G"]))
    with pytest.raises(AssertionError, match=r"the run must record Lambda_G: simulate\(..., observe=\['Lambda_G'\]\)"):
        assert_bound(mine, simulate(problem, "adam", lr=0.1, steps=50))
    too_much = replace(mine, bound=s.Lambda_P, statement="")
    with pytest.raises(AssertionError, match=r"Lambda_G is .*, where at most"):
        assert_bound(too_much, simulate(problem, "adam", lr=0.1, steps=50, observe=["Lambda_G"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bound": sp.Symbol("mystery")}, r"the bound of x may use .* got mystery"),
        ({"bound": s.L, "kind": "per stap"}, "kind must be one of per step"),
        ({"bound": s.L, "direction": "up"}, "direction must be one of upper"),
        ({"bound": s.L, "hypotheses": (s.Lambda_G <= 1,)}, "a hypothesis may use .* got Lambda_G"),
    ],
)
def test_a_statement_that_cannot_be_checked_is_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        Theorem(name="x", **options)


def test_a_complexity_bound_needs_every_step():
    problem = BlockQuadratic.generate(problems=3)
    run = simulate(problem, "gd-lambda", lr=1, steps=100, record=10, observe=["gradient_norm", "Lambda_G"])
    found = check(THEOREMS["gradient-complexity"], run)
    assert set(found.reason.ravel()) == {'the run must record every step: simulate(..., record="all")'}
    found = check(THEOREMS["gradient-rate"], run)
    assert set(found.reason.ravel()) == {
        'the run must record steps that follow each other: simulate(..., record="all")'
    }


# Numbers against arithmetic done by hand or from other sources.


def test_heads_against_the_values_of_the_paper_s_setting():
    assert float(drift(64, 16)[0]) == pytest.approx(0.5545, abs=1e-4)
    assert float(drift(512, 16)[0]) == pytest.approx(0.9384, abs=1e-4)
    assert drift(4, 1) == (sp.Rational(1, 2), 0)
    assert drift(2, 2)[1] == sp.Rational(1, 2)  # one of each: a tie
    mean, second = moments_of_walk(step_distribution(4, 1), 3)
    assert (mean, second) == (-sp.Rational(3, 2), 9 * sp.Rational(1, 4) + 3 * sp.Rational(3, 4))
    assert check_head(16, 48, 200, runs=500, seed=3).verdict == "holds"
    assert check_head(2, 1, 20, runs=50).verdict == "holds"  # the mean row does not move at all


def test_a_wrong_drift_of_a_head_is_flagged_by_simulation_too():
    wrong = replace(head.THEOREM, bound=head.THEOREM.bound * sp.Rational(13, 10))
    assert check_head(64, 16, 100, runs=500, theorem=wrong).verdict == "undecided"


def test_the_orbit_of_adam_is_exact_and_repels_at_the_default():
    orbit = adam_on_orbit()
    problem = BlockQuadratic.from_blocks([[[2]], [[5]]], initial_error=[sp.Rational(1, 76), -sp.Rational(1, 76)])
    options = {"lr": 0.5, "beta1": 0.9, "beta2": 0.75, "eps": 0.0}
    # beta1 = 0.9 is not 9/10 as a float, so that the start is off by a rounding: then it is no orbit in exact arithmetic.
    found = check(THEOREMS["adam-cycle"], simulate(problem, orbit, steps=3, **options))
    assert found.verdict.item() == "holds"
    run = simulate(problem, orbit, steps=400, **options)
    assert run.gap[0, 0, -1] > 1.5 * run.gap[0, 0, 0] or run.gap[0, 0, -1] < 0.5 * run.gap[0, 0, 0]
    tame = simulate(
        BlockQuadratic.from_blocks([[[2]], [[5]]], initial_error=[0.25, -0.25]), "adam",
        lr=0.5, beta1=0.0, beta2=0.75, eps=0.0, steps=400,
    )  # fmt: skip
    np.testing.assert_allclose(tame.gap, 7 * 0.25**2 / 2, rtol=1e-12)


def test_symbols_of_the_state_against_plain_numpy():
    problem = BlockQuadratic.generate(block_size=(2, 3), heterogeneity=7, problems=2, seed=9)
    seen = ["gradient_norm", "gradient_norm_1", "Lambda_G", "block_gradient_norm", "iterate"]
    run = simulate(problem, "signsgd", lr=[0.02, 0.1], steps=6, observe=seen)
    for index in range(2):
        matrix, _ = problem.dense(index)
        gradient = run.observed["iterate"][index, 1] @ matrix
        L = problem.block_smoothness[index]
        norm1, norm2 = np.abs(gradient).sum(axis=1), (gradient**2).sum(axis=1)
        blocks = np.stack([(gradient[:, :2] ** 2).sum(axis=1), (gradient[:, 2:] ** 2).sum(axis=1)], axis=1)
        expected = {
            s.norm1: norm1,
            s.norm2_squared: norm2,
            s.Lambda_G: blocks @ L / norm2,
            MaxOver(s.norm2_squared_l): blocks.max(axis=1),
            s.least_norm1: np.concatenate([[np.nan], np.minimum.accumulate(norm1)[:-1]]),
            s.largest_Lambda_G: np.concatenate([[np.nan], np.maximum.accumulate(blocks @ L / norm2)[:-1]]),
        }
        for expression, values in expected.items():
            np.testing.assert_allclose(evaluate_along(expression, run)[index, 1], values, rtol=1e-10)
        inverse = np.linalg.inv(matrix)
        assert evaluate(s.nu, run)[index, 0] == pytest.approx(1 / np.diag(inverse).max(), rel=1e-10)
        assert evaluate(s.Lambda_P, run)[index, 0] == pytest.approx((2 * L[0] + 3 * L[1]) / 5, rel=1e-12)
        signs = np.array(np.meshgrid(*[[-1, 1]] * 5)).reshape(5, -1)
        largest = np.max(np.einsum("is,ij,js->s", signs, matrix, signs))
        assert evaluate(s.L_inf, run)[index, 0] == pytest.approx(largest, rel=1e-10)


def test_noise_floor_and_its_spread_against_many_draws():
    one = BlockQuadratic.from_blocks([np.array([[[2.0]]] * 4000)], initial_error=np.full((4000, 1), 0.01))
    run = simulate(one, "gd", lr=0.25, steps=40, gradient_noise_std=3.0, record=40)
    theorem = THEOREMS["gd-noise"]
    expected = evaluate(theorem.bound.subs(s.t, 40), run)[0, 0]
    assert expected == pytest.approx(0.25 * 9 / (2 * 1.5), rel=1e-6)
    spread = evaluate(theorem.variance.subs(s.t, 40), run)[0, 0]
    assert run.gap[:, 0, -1].mean() == pytest.approx(expected, abs=4 * np.sqrt(spread / 4000))
    assert run.gap[:, 0, -1].var() == pytest.approx(spread, rel=0.2)
    assert check(theorem, run).counts()["holds"] == 4000
    # With 4000 gaps of one mode, variance 2 mean^2, an error of 12% is 5.4 standard errors.
    for factor in (0.88, 1.12):
        assert floats.compare_floats(replace(theorem, bound=theorem.bound * factor), run).flagged.all()
    # The mean is right and the spread is none, or that of a noise with another law: the second moment shows it.
    for law in (np.zeros(4000), np.tile([-1.0, 1.0], 2000) * np.sqrt(spread) / 2):
        alike = run.gap.copy()
        alike[:, 0, -1] = expected + law
        assert floats.compare_floats(theorem, replace(run, gap=alike)).flagged.all()
    assert check(replace(theorem, bound=theorem.bound * 1.2), run).counts()["undecided"] == 4000


def test_exact_runs_of_rules_with_sums_and_roots_are_those_of_the_reference():
    draw = np.random.default_rng(3)
    for rule, options in (("sign-lambda", {}), ("gd-lambda", {}), ("adam", {"beta1": 0, "beta2": 0, "eps": 0})):
        problem = instances.rational_problem(draw)
        run = simulate(problem, rule, lr=0.5, steps=5, **options)
        settings = {name: float(values[0]) for name, values in run.settings.items()}
        from quadsim.theory.checking.exact import as_exact

        states = exact_run.run_exactly(as_exact(problem, 0), run.rule, settings, 5)
        np.testing.assert_allclose([int(x.gap.p) / int(x.gap.q) for x in states], run.gap[0, 0], rtol=1e-10)


# A check that could not have failed must not pass.

UNIT = BlockQuadratic.from_blocks([np.eye(2)], initial_error=[1.0, 1.0])
STIFF = BlockQuadratic.generate(blocks=2, block_size=2, condition_number=10, heterogeneity=10, problems=2)
GD_TO_0 = {"rule": "gd", "lr": 1.0, "steps": 5}
half = sp.Rational(1, 2)
EMPTY = {
    "a lower bound and a gap that becomes 0": (UNIT, GD_TO_0, {"bound": half, "direction": "lower"}, "refuted"),
    "an identity and a gap that becomes 0": (
        UNIT, GD_TO_0, {"kind": "identity", "direction": "equal", "bound": s.gap_0}, "refuted",
    ),
    "a bound of 0": (STIFF, {"rule": "gd", "lr": 0.05, "steps": 5}, {"bound": 0}, "refuted"),
    "a gap beyond overflow": (STIFF, {"rule": "gd", "lr": 1e200, "steps": 5}, {"bound": 1 - s.mu / s.L}, "undecided"),
    "an identity beyond overflow": (
        STIFF, {"rule": "gd", "lr": 1e200, "steps": 5}, {"kind": "identity", "direction": "equal", "bound": s.gap_0}, "undecided",
    ),
    "a factor that allows a divergence in between": (
        STIFF, {"rule": "gd", "lr": 0.5, "steps": 3000, "record": 3000}, {"bound": 3 * half}, "undecided",
    ),
    "a bound that is not a number": (
        STIFF, {"rule": "gd", "lr": 0.01, "steps": 5}, {"kind": "horizon", "bound": sp.log(s.mu - 2 * s.L)}, "undecided",
    ),
    "a claim that the start refutes": (
        STIFF, {"rule": "gd", "lr": 0.01, "steps": 5}, {"kind": "horizon", "bound": half}, "refuted",
    ),
    "a gap, not its ratio": (STIFF, {"rule": "gd", "lr": 1e-5, "steps": 5}, {"kind": "horizon", "quantity": s.gap, "bound": 1e-3}, "refuted"),
    "a decrease within rounding": (
        BlockQuadratic.generate(blocks=1, block_size=8, condition_number=1e8),
        {"rule": "gd", "lr": 1.0, "steps": 50, "dtype": "float32"}, {"bound": half / 5}, "undecided",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_what_could_not_have_failed_does_not_hold(name):
    problem, options, claim, verdict = EMPTY[name]
    found = check(Theorem(name="empty", **claim), simulate(problem, **options))
    assert set(found.verdict.ravel()) == {verdict}, (found.verdict, found.reason)


def test_multiplicities_count_in_exact_arithmetic():
    one = BlockQuadratic.from_blocks([[[1, 0], [0, 1]]], initial_error=[1, 1])
    run = simulate(one, "gd", lr=0.5, steps=3, observe=["Lambda_G"])
    wrong = Theorem(name="q", kind="horizon", direction="lower", quantity=s.Lambda_G, bound=SumOver(s.sigma_i))
    assert check(wrong, run).verdict.item() == "refuted"
    assert check(replace(wrong, bound=SumOver(s.sigma_i) / 2, statement=""), run).verdict.item() == "verified"


def test_a_sign_run_that_is_not_its_rule_s_is_not_verified():
    run = simulate(BlockQuadratic.from_blocks([[[3]], [[1]]], initial_error=[1, 3]), "sign-lambda", lr=1.0, steps=6)
    assert check("sign-rate", run).verdict.item() == "verified"
    found = check("sign-rate", replace(run, gap=run.gap * 4.0 ** np.arange(7)))
    assert found.verdict.item() == "not the rule's run"


def test_a_rate_that_is_right_up_to_a_rounding_is_neither_refuted_nor_verified():
    problem = BlockQuadratic.from_blocks([[[16]], [[1]]], initial_error=[1, 0])
    found = check("heavy-ball", simulate(problem, "heavy-ball", lr=4 / 25, momentum=(3 / 5) ** 2, steps=12))
    assert found.verdict.item() == "holds"
    assert "a hypothesis fails by a rounding: lr = 4/(sqrt L + sqrt mu)^2" in found.reason.item()


@pytest.mark.parametrize(
    ("error", "rule", "options"),
    [([1], "signsgd", {"lr": 1.0}), ([0], "signsgd", {"lr": 1.0}), ([1], "sign-lambda", {"lr": 1.0})],
)
def test_at_the_solution_nothing_divides_by_0(error, rule, options):
    one = BlockQuadratic.from_blocks([[[1]]], initial_error=error)
    run = simulate(one, rule, steps=3, observe=["gradient_norm_1"], **options)
    assert check("sign-descent-lemma", run).verdict.item() == "verified"


def test_rules_and_baselines_without_an_exact_run_say_so():
    one = BlockQuadratic.from_blocks([[[3]], [[1]]], initial_error=[1, 3])
    tanh = Rule(name="mine", step=-symbols.lr * sp.tanh(g))
    found = check(Theorem(name="q", bound=1), simulate(one, tanh, lr=0.01, steps=5))
    assert (found.verdict.item(), "with irrational values" in found.reason.item()) == ("holds", True)
    found = check(Theorem(name="q", bound=1), simulate_torch(one, torch.optim.SGD, lr=0.01, steps=5))
    assert (found.verdict.item(), "SGD is a class" in found.reason.item()) == ("holds", True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bound": s.L_l}, "must reduce symbols with an index, got L_l outside"),
        ({"bound": MaxOver(s.lambda_i / s.L_l)}, "one index"),
        ({"bound": 1 - 1 / (s.t + 1)}, "must not depend on t"),
        ({"bound": sp.I}, "must be a real SymPy expression"),
        ({"bound": s.eta <= 1}, "must be a real SymPy expression"),
        ({"kind": "expectation", "bound": s.L}, "variance of x must be given"),
        ({"bound": s.L, "hypotheses": ("x",)}, "must be a Hypothesis or a SymPy relation"),
        ({"bound": s.L, "rules": "gd-lambda"}, "must be a tuple of str, got 'gd-lambda'; names of"),
        ({"bound": s.L, "quantity": s.gap}, "must be left out for a per step bound"),
    ],
)
def test_a_statement_that_makes_no_sense_is_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        Theorem(name="x", **options)


def test_symbols_are_known_by_name_and_by_rule():
    named = Theorem(
        name="q", bound=(1 - sp.Symbol("eta") * sp.Symbol("mu")) ** 2, hypotheses=sp.Symbol("eta") * s.L <= 1
    )
    assert named.bound.free_symbols == {s.eta, s.mu}
    assert_bound(named, simulate(STIFF, "gd", lr=0.01, steps=5))
    found = check(Theorem(name="q", bound=s.momentum), simulate(STIFF, "gd", lr=0.01, steps=5))
    assert set(found.reason.ravel()) == {"the rule gd has no setting momentum"}


def test_the_search_s_counter_examples_count():
    loose = replace(THEOREMS["sign-constant"], bound=THEOREMS["sign-constant"].bound * sp.Rational(9, 10))
    assert search_tightest(loose, instances.TRIALS["sign-constant"].searched).suspects
    # The random instances leave a tenth of slack; the search does not.
    assert verify_theorem(loose, problems=100, search=0).verdicts["refuted"] == 0
    assert verify_theorem(loose, problems=100).verdict == "refuted"


def test_an_interrupt_keeps_the_table(monkeypatch):
    from quadsim.theory.verifying import verification as module

    def stop(theorem, **options):
        if theorem.name == "gd-upper":
            raise KeyboardInterrupt
        return verify_theorem(theorem, problems=10, search=0)

    monkeypatch.setattr(module, "verify_theorem", stop)
    found = CliRunner().invoke(app, ["verify"])
    assert found.exit_code == 130
    assert "gd-exact" in found.stdout
    assert "Interrupted" in found.stderr
