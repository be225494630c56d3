"""Corrupted runs and false claims that an adversary with the source once made the judge accept, each with the right word."""

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from quadsim.simulator import RULES, BlockQuadratic, simulate
from quadsim.theory import THEOREMS, Theorem, check
from quadsim.theory.symbols import Symbol as s

FOREIGN = "not the rule's run"
WITNESS = BlockQuadratic.from_blocks([[[3]], [[1]]], initial_error=[1, 3])
DIAGONAL = BlockQuadratic.from_blocks([[[3.0]], [[1.0]]], initial_error=[1.0, 3.0])
PLAIN = BlockQuadratic.generate(blocks=2, block_size=3, heterogeneity=5, problems=3, seed=4)


def words(theorem, run):
    return set(check(theorem, run).verdict.ravel())


def altered(run, **changes):
    """The run with some of its records changed; `gap` is a function of the gaps."""
    if "gap" in changes:
        changes["gap"] = changes["gap"](run.gap.copy())
    return replace(run, **changes)


def at(position, value):
    def change(gap):
        gap[..., position] = value(gap[..., position])
        return gap

    return change


# A1: the last gap is below what float64 holds, so it says nothing about a factor.
@pytest.mark.parametrize("factor", [sp.S.Zero, sp.Rational(1, 10**30), sp.Rational(1, 100), (1 - s.eta * s.mu) ** 40])
def test_a_censored_gap_proves_no_factor(factor):
    run = simulate(DIAGONAL, "gd", lr=0.06, steps=6000, record=6000)
    assert run.gap[0, 0, -1] < 1e-280
    found = check(Theorem(name="fast", rules=("gd",), bound=factor), run)
    assert found.verdict.item() == "undecided"
    assert "0 of 1" in found.reason.item()


def test_a_censored_gap_bears_out_a_claim_above_it():
    run = simulate(DIAGONAL, "gd", lr=0.06, steps=6000, record=6000)
    slow = Theorem(name="slow", rules=("gd",), bound=sp.Rational(999, 1000))
    assert words(slow, run) == {"holds"}


# A5 and A6: records that are not those of the rule on this problem.
RECORDS = {
    "gaps a thousandth": {"gap": lambda gap: gap / 1000},
    "the first gap times a million": {"gap": at(0, lambda g: g * 1e6)},
    "a NaN": {"gap": at(7, lambda g: np.nan * g)},
    "all NaN": {"gap": lambda gap: np.nan * gap},
    "a negative gap": {"gap": at(9, lambda g: -g)},
    "a gap a little off": {"gap": at(5, lambda g: g * (1 + 1e-6))},
    "every second step relabelled": {"steps": 2 * np.arange(31)},
    "steps in another order": {"steps": np.r_[0, np.arange(30, 0, -1)]},
    "no start": {"steps": 1 + np.arange(31)},
    "a wrong tolerance": {"tolerance": 1e-1},
    "a tolerance of 2": {"tolerance": 2.0},
    "a wrong status": {"status": np.full((1, 1), "diverged")},
    "an unknown status": {"status": np.full((1, 1), "fine")},
    "a hitting time too early": {"steps_to_tolerance": np.full((1, 1), 2.0), "status": np.full((1, 1), "converged")},
    "a hitting time beyond the run": {"steps_to_tolerance": np.full((1, 1), 1e6)},
    "a last passage too early": {"steps_to_stay": np.full((1, 1), 2.0)},
    "other settings": {"settings": {"lr": np.array([0.4])}},
}
RULES_RUN = {"gd": ("gd-upper", 0.2), "sign-lambda": ("sign-rate", 1.0)}


@pytest.mark.parametrize("rule", RULES_RUN)
@pytest.mark.parametrize("name", RECORDS)
def test_records_that_are_not_the_rule_s(name, rule):
    theorem, rate = RULES_RUN[rule]
    for problem in (WITNESS, PLAIN.select([0])):
        run = simulate(problem, rule, lr=rate, steps=30, tolerance=1e-5, engine="reference")
        assert words(theorem, run) <= {"holds", "verified"}
        found = check(theorem, altered(run, **RECORDS[name]))
        assert set(found.verdict.ravel()) == {FOREIGN}, (problem, found.verdict, found.reason)
        assert found.reason.item()


def test_only_the_corrupted_run_of_a_batch_is_named():
    run = simulate(PLAIN, "gd", lr=[0.1, 0.2], steps=30)
    gap = run.gap.copy()
    gap[1, 0, 3] = np.nan
    verdict = check("gd-upper", replace(run, gap=gap)).verdict
    assert verdict[1, 0] == FOREIGN
    assert (np.delete(verdict.ravel(), 2) == "holds").all()


def test_a_run_under_another_name_is_not_that_rule_s():
    run = simulate(PLAIN, "adam", lr=0.1, steps=20)
    assert words(Theorem(name="any", bound=2), replace(run, rule=simulate(PLAIN, "gd", lr=0.1, steps=1).rule)) == {
        FOREIGN
    }


def test_settings_out_of_range_are_not_the_rule_s():
    run = simulate(PLAIN, "adam", lr=0.1, steps=20, engine="reference")
    assert words(Theorem(name="any", kind="horizon", bound=10**9), run) == {"holds"}
    for name, value in (("beta2", 1.0989), ("beta1", -0.1), ("lr", -0.1), ("beta1", np.nan)):
        settings = {**run.settings, name: np.array([value])}
        found = check(Theorem(name="any", kind="horizon", bound=10**9), replace(run, settings=settings))
        assert set(found.verdict.ravel()) == {FOREIGN}, name
        assert "settings are none of the rule's" in found.reason[0, 0]


@pytest.mark.parametrize(
    "rule", ["adam", "signum", "lion", "rmsprop", "adam-mini", "normalized-gd", "nesterov", "adamw"]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_honest_runs_of_every_rule_are_the_rule_s(rule, dtype):
    run = simulate(PLAIN, rule, lr=[0.003, 0.1, 3.0], steps=200, dtype=dtype, record="log", engine="reference")
    assert FOREIGN not in words(Theorem(name="any", bound=10**9), run)


def test_verified_needs_the_recorded_gaps_far_down_too():
    run = simulate(WITNESS, "gd", lr=0.5, steps=465)
    assert 1e-290 < run.gap[0, 0, -1] < 1e-278
    assert words("gd-upper", run) == {"verified"}
    assert words("gd-upper", altered(run, gap=at(-1, lambda g: g / 3))) != {"verified"}


def test_a_bound_that_stops_having_a_value_does_not_hold():
    bound = 2 * sp.sqrt(1 - 2 * s.t / 7)
    run = simulate(PLAIN, "gd", lr=0.1, steps=300)
    found = check(Theorem(name="ends", kind="horizon", bound=bound), run)
    assert set(found.verdict.ravel()) == {"undecided"}
    assert "of 301" in found.reason[0, 0]


# A7: a budget that is as large as the claim proves nothing.
def test_a_claim_beyond_what_is_seen_is_never_held_by_its_budget():
    problem = BlockQuadratic.generate(blocks=1, block_size=100, condition_number=3e4, problems=2, seed=1)
    run = simulate(problem, "gd-lambda", lr=1.0, steps=30, observe=["gradient_norm", "Lambda_G"])
    seen = 1 - run.gap[:, :, 1:] / run.gap[:, :, :-1]
    claimed = sp.Float(1.5 * seen.min())
    assert "holds" not in words(Theorem(name="more", rules=("gd-lambda",), bound=1 - claimed), run)
    state = 1 - claimed * s.Lambda_G / s.Lambda_G * s.gap / s.gap - 0 * s.Lambda_G
    assert "holds" not in words(Theorem(name="more", rules=("gd-lambda",), bound=state), run)


def test_the_evidence_says_how_much_was_compared_and_what_would_have_been_noticed():
    run = simulate(PLAIN, "gd", lr=0.1, steps=30)
    evidence = check("gd-exact", run).evidence
    assert (evidence.compared == 30).all()
    assert evidence.recorded == 31
    assert (evidence.slack < 1e-10).all()
    assert (evidence.detectable < 1e-10).all()
    upper = check("gd-upper", run).evidence
    assert (upper.compared == 30).all()
    assert (upper.slack <= 0.1).all()
    size = upper.detectable[0, 0] * 1.01
    for step in (3, 17, 30):
        corrupted = altered(run, gap=at(step, lambda g, size=size: g * (1 + size)))
        assert check("gd-upper", corrupted).verdict[0, 0] != "holds"


def test_adam_is_sign_is_held_against_the_length_of_a_step_too(monkeypatch):
    """A rule that steps along the sign, twice as far, has every cosine right."""
    true, problem = THEOREMS["adam-is-sign"], BlockQuadratic.generate(2, 2)
    settings = {"lr": [0.01, 0.3], "beta1": 0, "beta2": 0, "eps": 0, "steps": 10, "record": "all"}
    settings["observe"] = ["step_sign_cosine", "step_sign_stride"]
    assert np.all(check(true, simulate(problem, "adam", **settings)).verdict != "refuted")
    monkeypatch.setitem(RULES, "adam", replace(RULES["adam"], step=2 * RULES["adam"].step))
    run = simulate(problem, "adam", **settings)
    assert np.all(check(replace(true, quantity=s.cosine), run).verdict != "refuted")
    found = check(true, run)
    assert np.all(found.verdict == "refuted")
    assert "cosine - Abs(1 - stride/eta) = 0, equal to 1 claimed" in found.reason[0, 0]


# Records after the first steps, hitting times, observables and words that were once believed.
def tail(begin, change):
    def of(gap):
        gap[..., begin:] = change(gap[..., begin - 1 :])
        return gap

    return of


def exchanged(gap):
    gap[..., [120, 121]] = gap[..., [121, 120]]
    return gap


LATER = {
    "a late gap": {"gap": at(150, lambda g: g * 1.001)},
    "the last gap": {"gap": at(-1, lambda g: g * 1.05)},
    "the end of the curve": {"gap": tail(100, lambda g: 1.08 * g[..., 1:])},
    "shifted by one": {"gap": tail(100, lambda g: g[..., :-1])},
    "flat": {"gap": tail(100, lambda g: g[..., :1] + 0 * g[..., 1:])},
    "two exchanged": {"gap": exchanged},
    "single precision": {"gap": tail(70, lambda g: g[..., 1:].astype(np.float32))},
    "a window of the mean": {"steps_to_mean": np.full((1, 1), 10.0)},
    "no window of the mean": {"steps_to_mean": np.full((1, 1), 7.0)},
    "another name": {"optimizer": "nesterov"},
    "observed at other steps": {"observed": {"gradient_norm": np.ones((1, 1, 2))}},
    "problems that are not there": {"problem": PLAIN},
}


@pytest.mark.parametrize("rule", ["gd", "adam", "signsgd"])
def test_records_that_are_not_the_rule_s_later_on(rule):
    run = simulate(PLAIN.select([0]), rule, lr=0.02, steps=200, tolerance=1e-9, engine="reference")
    anything = Theorem(name="any", kind="horizon", bound=10**9)
    assert words(anything, run) == {"holds"}
    for name, changes in LATER.items():
        assert words(anything, altered(run, **changes)) == {FOREIGN}, name


@pytest.mark.parametrize(
    "name",
    ["gradient_norm", "gradient_norm_1", "Lambda_G", "block_gap", "iterate", "step_sign_cosine", "step_sign_stride"],
)
def test_observables_are_made_again_too(name):
    run = simulate(PLAIN, "adam", lr=0.02, steps=40, engine="reference", observe=[name])
    anything = Theorem(name="any", kind="horizon", bound=10**9)
    assert words(anything, run) == {"holds"}
    values = run.observed[name].copy()
    values[1, 0, 30] *= 1 + 1e-6
    found = check(anything, replace(run, observed={name: values})).verdict
    assert found.ravel().tolist() == ["holds", FOREIGN, "holds"]


def unequal(rate):
    """A run in single precision on two coordinates, one of which decays much faster than the other."""
    problem = BlockQuadratic.from_blocks([np.diag([1.0, 20.0])], initial_error=[1.0, 1.0])
    observe = ["step_sign_cosine", "step_sign_stride"]
    return simulate(problem, "gd", lr=rate, steps=60, dtype="float32", engine="reference", observe=observe)


# The fast coordinate underflows; or it is 0 after the first step, and in float64 it is not.
@pytest.mark.parametrize("rate", [0.045, 0.05 * (1 + 1e-9)])
def test_what_is_observed_of_a_step_jumps_where_a_coordinate_of_the_gradient_is_lost(rate):
    run = unequal(rate)
    anything = Theorem(name="any", kind="horizon", bound=10**9)
    assert words(anything, run) == {"holds"}
    for name, values in run.observed.items():
        moved = values.copy()
        moved[..., 0] *= 1.01
        assert words(anything, replace(run, observed=run.observed | {name: moved})) == {FOREIGN}


def test_a_hitting_time_between_records_is_made_again():
    run = simulate(PLAIN.select([0]), "gd", lr=0.1, steps=200, tolerance=1e-3, record=100, engine="reference")
    hit = run.steps_to_tolerance
    assert np.isfinite(hit).all()
    assert not np.isin(hit, run.steps).any()
    for moved in (hit - 1, hit + 1):
        other = replace(run, steps_to_tolerance=moved, steps_to_stay=np.full_like(hit, np.nan))
        assert words(Theorem(name="any", kind="horizon", bound=10**9), other) == {FOREIGN}


# A run under the label of another number type.
@pytest.mark.parametrize(("rule", "lr", "name"), [("gd", 0.05, "gd-upper"), ("adam", 0.05, "adam-energy")])
def test_a_run_under_the_label_of_another_number_type_is_not_the_rule_s(rule, lr, name):
    problem = BlockQuadratic.generate(problems=3, heterogeneity=10)
    seen = ["iterate"] if rule == "adam" else []
    wide, narrow = (
        simulate(problem, rule, lr=lr, steps=20, record="all", observe=seen, dtype=dtype)
        for dtype in ("float64", "float32")
    )
    for run in (wide, narrow):
        assert set(check(name, run).verdict.ravel()) == {"holds"}
    said_narrow, said_wide = check(name, replace(wide, dtype="float32")), check(name, replace(narrow, dtype="float64"))
    for found in (said_narrow, said_wide):
        assert set(found.verdict.ravel()) == {"not the rule's run"}
    assert set(said_narrow.reason.ravel()) == {
        "its gaps have more digits than float32 gives: they are those of float64"
    }
    assert all("it may be a run in float32" in reason for reason in said_wide.reason.ravel())


def test_a_run_without_a_rounding_is_of_any_number_type():
    """Where both types give the same gaps, as with powers of two, the label decides nothing."""
    even = BlockQuadratic.from_blocks([[[1]], [[0.5]]], initial_error=[1.0, 2.0])
    for label in ("float32", "float64"):
        for dtype in ("float32", "float64"):
            run = simulate(even, "gd", lr=0.5, steps=5, record="all", dtype=dtype, engine="reference")
            assert set(check("gd-upper", replace(run, dtype=label)).verdict.ravel()) <= {"holds", "verified"}
