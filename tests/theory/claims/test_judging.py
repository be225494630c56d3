"""Judging: the exact tests, power, Holm's correction, contrasts, the verdict, the history; and planted faults that must be caught."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from claims_cases import condition, made_up
from scipy import stats

from quadsim.theory.claims import (
    CLAIMS,
    Claim,
    Condition,
    Fixed,
    Found,
    Measured,
    Proved,
    Setting,
    at_best_of_half,
    identity,
    measured_median,
    measured_share,
    reproduce,
)
from quadsim.theory.claims.judging.conditions import STATES, judge_conditions
from quadsim.theory.claims.judging.measured import holm, one_sided, power, seeds_needed

FULL = Setting("full")


def sample(median, n=40, spread=0.2, seed=0):
    """Lognormal values whose sample median is exact."""
    values = np.random.default_rng(seed).lognormal(0, spread, n)
    return median * values / np.median(values)


def judged(values, **changes):
    (one,) = judge_conditions([condition(**changes)], [measured_median("it", values)])
    return one


# One condition.


@pytest.mark.parametrize(
    ("median", "spread", "state"),
    [
        (3.0, 0.2, "shown"),
        (1.6, 0.8, "shown"),  # more than 1, and 2 is not excluded
        (1.3, 0.2, "not shown"),  # more than 1, but 2 is excluded
        (1.0, 0.2, "not shown"),
        (0.3, 0.2, "opposite shown"),
        (0.7, 0.2, "not shown"),  # less than 1, but the half is excluded as well
        (1.5, 2.0, "inconclusive"),
        (3000.0, 3.0, "inconclusive"),  # the whole interval lies beyond 2, but the power for 2 is small
        (math.inf, 0.2, "inconclusive"),  # no spread is known, so no power
    ],
)
def test_states(median, spread, state):
    one = judged(sample(median, n=40 if spread < 0.5 else 24, spread=spread))
    assert one.state == state, str(one)
    assert one.state in STATES
    # The same claim the other way round, on inverse values.
    mirrored = judged(1 / sample(median, n=40 if spread < 0.5 else 24, spread=spread), effect=0.5)
    assert mirrored.state == state
    assert mirrored.power == one.power or math.isnan(one.power)


def test_absence_is_shown_only_where_the_effect_is_excluded():
    assert judged(sample(1.1), absent=True).state == "shown"
    assert judged(sample(0.2), absent=True).state == "shown"
    assert judged(sample(4.0), absent=True).state == "opposite shown"
    assert judged(sample(1.9), absent=True).state == "inconclusive"
    assert judged(sample(1.1, n=8, spread=1.0), absent=True).state == "inconclusive"


@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("beyond", [1.05, 2.05, 100.0, 0.01])
def test_without_power_nothing_is_shown_however_large_the_effect(beyond, absent):
    """Planted fault: all six seeds lie on one side of 1, and even of the named effect; with one condition p = 1/32."""
    weak = judged(beyond * np.array([1.0, 1.05, 1.5, 3, 9, 30]), absent=absent)
    assert weak.power < 0.8
    assert weak.state == "inconclusive"
    assert weak.why.startswith(f"power {weak.power:.2f} for the named effect with 6 seeds; at this spread 0.8 needs ")
    if not absent:
        assert weak.p == pytest.approx(1 / 32)
    claim = made_up(beyond * np.array([1.0, 1.05, 1.5, 3, 9, 30]), conditions=(condition(absent=absent),))
    assert claim.judge(claim.experiment(Setting())).verdict == "inconclusive"


def test_a_full_run_needs_twenty_seeds():
    few, enough = (sample(4.0, n=n) for n in (19, 20))
    for values, verdict in ((few, "inconclusive"), (enough, "shown")):
        claim = made_up(values)
        assert claim.judge(claim.experiment(FULL), FULL).verdict == verdict
        assert claim.judge(claim.experiment(FULL)).verdict == "shown"


def test_seeds_that_cannot_be_compared():
    values = sample(4.0, n=40)
    values[:10] = np.nan
    found = judged(values)
    assert found.state == "shown"  # a quarter: they count as no effect, and 30 of 40 are above 1
    assert (found.measured.seeds, found.p) == (40, pytest.approx(2 * stats.binom.sf(29, 40, 0.5)))
    values[10] = np.nan
    assert judged(values).state == "not comparable"


def test_the_sign_test_agrees_with_the_interval_and_with_scipy():
    draw = np.random.default_rng(1)
    for n in (6, 9, 20, 33):
        values = draw.normal(0.4, 1, n)
        figure = measured_median("m", values)
        for at in draw.normal(0, 1, 5):
            above, below = one_sided(figure, at)
            assert above == pytest.approx(stats.binomtest(int((values > at).sum()), n, alternative="greater").pvalue)
            assert (2 * min(above, below) <= 0.05) == (not figure.low <= at <= figure.high)
    share = measured_share("s", [True] * 9 + [False])
    assert one_sided(share, 0.5)[0] == pytest.approx(11 / 1024)
    assert one_sided(measured_median("m", [1.0, 1.0, 2.0]), 1.0) == (0.875, 1.0)  # a tie counts against both


def rejections(values, level):
    """Whether the sign test rejects 1 from above, for every row of seeds."""
    above = (values > 1).sum(axis=1)
    return 2 * stats.binom.sf(above - 1, values.shape[1], 0.5) <= level


@pytest.mark.parametrize(("n", "spread", "level"), [(20, 0.5, 0.05), (40, 0.4, 0.05 / 12), (60, 0.8, 0.01)])
def test_power_is_how_often_the_test_rejects(n, spread, level):
    """Simulated: seeds whose median is the named effect 1.5; the power from a large sample of another median, 0.2 or 60."""
    draw, trials = np.random.default_rng(2), 20_000
    rejected = rejections(1.5 * draw.lognormal(0, spread, (trials, n)), level).mean()
    error = math.sqrt(rejected * (1 - rejected) / trials)
    assert 0.05 < rejected < 0.99
    one = measured_median("m", draw.lognormal(0, spread, 200_000))
    # The share beyond 1 of the moved sample is what a run of n seeds has: its power follows without a sample of n seeds.
    beyond = float((np.array(one.sample) * 1.5 / one.value > 1).mean())
    needed = next(k for k in range(n + 1) if 2 * stats.binom.sf(k - 1, n, 0.5) <= level)
    assert abs(rejected - stats.binom.sf(needed - 1, n, beyond)) < 4 * error
    # What a run states of itself, from n seeds about a median of its own: the same at 0.2 and at 60, and true in the middle.
    samples = draw.lognormal(0, spread, (200, n))
    stated = [
        [
            power(measured_median("m", at * row), boundary=1.0, target=1.5, scale="ratio", level=level)
            for row in samples[: 200 if at == 60 else 20]
        ]
        for at in (60.0, 0.2)
    ]
    assert stated[0][:20] == stated[1]
    assert abs(np.median(stated[0]) - rejected) < 0.1
    assert np.mean(stated[0]) < rejected + 0.05  # it errs to the careful side, but for small powers
    if rejected < 0.5:
        assert np.mean(np.array(stated[0]) >= 0.8) < 0.1


@pytest.mark.parametrize(
    ("n", "beyond", "level"), [(24, 16, 0.025), (20, 14, 0.0125), (40, 27, 0.0125), (12, 11, 0.01)]
)
def test_the_number_of_seeds_that_too_little_power_needs(n, beyond, level):
    """Held against trying every number; the same sample repeated that often has the power, and one seed less has not."""
    values = np.concatenate([np.full(beyond, 1.3), np.full(n - beyond, 0.8)]) * 1.5 / 1.3
    strength = power(measured_median("m", values), boundary=1.0, target=1.5, scale="ratio", level=level)
    q = (beyond + 0.5) / (n + 1)

    def has(number):
        least = next((k for k in range(number + 1) if 2 * stats.binom.sf(k - 1, number, 0.5) <= level), number + 1)
        return stats.binom.sf(least - 1, number, q)

    assert strength == pytest.approx(has(n))
    needed = seeds_needed(strength, seeds=n, level=level, wanted=0.8)
    assert needed == next(number for number in range(n, 1000) if has(number) >= 0.8)
    assert seeds_needed(0.02, seeds=40, level=0.05, wanted=0.8) is None  # fewer beyond than on the wrong side
    assert seeds_needed(0.0, seeds=3, level=0.05, wanted=0.8) is None


def test_power_of_a_share_is_exact():
    share = measured_share("s", [True, False] * 20)
    exact = power(share, boundary=0.5, target=0.75, scale="difference", level=0.05)
    found = np.mean(2 * stats.binom.sf(np.random.default_rng(2).binomial(40, 0.75, 20_000) - 1, 40, 0.5) <= 0.05)
    assert exact == pytest.approx(found, abs=0.01)
    assert math.isnan(power(measured_median("m", [math.inf] * 9), boundary=1.0, target=2.0, scale="ratio", level=0.05))


# Several conditions.


def test_holm_adjusts_as_in_its_paper():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_twenty_null_conditions_are_shown_at_most_at_the_stated_error_rate():
    """Planted fault: without Holm's correction 20 true nulls at 0.05 would give a false condition in 46% of the claims."""
    draw, trials, false, uncorrected = np.random.default_rng(3), 150, 0, 0
    conditions = [condition(f"it {k}", effect=1.0001) for k in range(20)]  # no effect of interest can be excluded
    for _ in range(trials):
        figures = [measured_median(f"it {k}", draw.lognormal(0, 1, 30)) for k in range(20)]
        found = judge_conditions(conditions, figures)
        significant = [one.holm <= 0.05 for one in found]
        false += any(significant)
        uncorrected += any(one.p <= 0.05 for one in found)
        assert not any(one.state == "shown" and not late for one, late in zip(found, significant, strict=True))
    assert false <= 0.05 * trials + 2 * math.sqrt(0.05 * 0.95 * trials)
    assert uncorrected > 0.3 * trials


def test_the_contrast_with_the_control_is_judged_and_not_the_level():
    """Planted fault: the control has the same level, or more of it."""
    figures = [measured_median("it", sample(4, seed=1)), measured_median("control", sample(6, seed=2))]
    level = condition()
    contrast = condition(control="control", level="")
    found = judge_conditions([level, contrast], figures)
    assert [one.state for one in found] == ["shown", "not shown"]
    assert found[1].measured.name == "(it) over (control)"
    assert found[1].measured.value == pytest.approx(np.median(sample(4, seed=1) / sample(6, seed=2)))
    difference = condition(control="control", level="", null=0, effect=1, scale="difference")
    assert judge_conditions([difference], figures)[0].state == "opposite shown"
    assert difference.name == "(it) less (control)"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level": ""}, "must have a control, or a reason .level. why it needs none, got neither"),
        ({"control": "that"}, "got both; give one"),
        ({"effect": 1}, "effect of 'it' must differ from null, got 1 for both"),
        ({"null": 0}, "must be positive on the scale ratio, got 0 and 2; use scale='difference'"),
    ],
)
def test_a_condition_that_says_nothing_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        condition(**changes)


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ([], "an experiment must measure 'it', got"),
        (
            [Measured("it", 0.0)],
            "a proof or an identity stands among the proofs of a claim, never among its conditions",
        ),
        ([Measured("it", 2.0, 1.5, 2.5, 9)], "must be judged from a sample over seeds"),
    ],
)
def test_a_proof_counts_as_no_condition(figures, message):
    """Planted fault: the number of violations of an identity, which nothing random decides, as a condition."""
    with pytest.raises(ValueError, match=message):
        judge_conditions([condition()], figures)


def test_a_control_of_other_seeds_is_refused():
    other = [measured_median("it", [1.0, 2.0]), measured_median("control", [1.0])]
    with pytest.raises(ValueError, match="must be medians over the same seeds, got median of 2 and median of 1"):
        judge_conditions([condition(control="control", level="")], other)


# A claim.

SAMPLES = {"shown": sample(4), "not shown": sample(1.05), "opposite shown": sample(0.2), "inconclusive": [1.0, 3.0]}


@pytest.mark.parametrize(("first", "second"), list(product(SAMPLES, SAMPLES)))
def test_a_claim_says_that_all_of_its_conditions_hold(first, second):
    claim = made_up(
        SAMPLES[first], measured_median("that", SAMPLES[second]), conditions=(condition(), condition("that"))
    )
    found = claim.judge(claim.experiment(Setting()))
    assert found.states == (first, second)
    expected = (
        first
        if first == second
        else "not shown"
        if {first, second} & {"not shown", "opposite shown"}
        else "inconclusive"
    )
    assert found.verdict == expected
    partly = (first == "shown") != (second == "shown")
    assert found.told == (f"{expected} (1 of 2 shown)" if partly else expected)


def proving(*proofs, conditions=(), values=()):
    return made_up(
        conditions=conditions,
        proofs=("one", "two"),
        experiment=lambda setting: Found([measured_median("it", values)], {}, proofs=proofs),
    )


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        (("proved", "proved"), "proved"),
        (("proved", "open"), "inconclusive"),
        (("counter-example", "open"), "counter-example"),
    ],
)
def test_theorems_are_proved_or_refuted(states, verdict):
    claim = proving(*(Proved(name, state, "") for name, state in zip(("one", "two"), states, strict=True)))
    assert claim.judge(claim.experiment(Setting())).verdict == verdict


def test_proofs_beside_an_inference_decide_nothing_unless_one_is_refuted():
    proofs = [identity("one", 0, 5), Proved("two", "open", "")]
    claim = proving(*proofs, conditions=(condition(),), values=sample(1.05))
    assert claim.judge(claim.experiment(Setting())).verdict == "not shown"
    claim = proving(identity("one", 1, 5), proofs[1], conditions=(condition(),), values=sample(4))
    found = claim.judge(claim.experiment(Setting()))
    assert (found.verdict, found.states) == ("counter-example", ("shown",))
    assert "one: counter-example (1 of 5 runs contradict it)" in found.reason
    with pytest.raises(ValueError, match=r"experiment made-up must try the proofs \['one', 'two'\], got \['one'\]"):
        claim.judge(Found([], {}, proofs=proofs[:1]))


@pytest.mark.parametrize("verdict", ["withdrawn", "estimate"])
def test_conditions_that_decide_nothing_give_no_verdict(verdict):
    claim = made_up(sample(4), unjudged="its instrument fails its control", unjudged_as=verdict)
    found = claim.judge(claim.experiment(Setting()))
    assert (found.verdict, found.reason, found.states) == (verdict, "its instrument fails its control", ("shown",))


def test_a_claim_needs_conditions_or_proofs():
    with pytest.raises(ValueError, match="claim made-up must have conditions or proofs, got neither"):
        made_up(conditions=())
    with pytest.raises(ValueError, match="must judge every effect once, got 'it' three times"):
        made_up(conditions=(condition(),) * 3)


# The history of a criterion.

REWORDED = {
    "claim": "It is larger than one.",
    "group": "somebody",
    "source": "somewhere",
    "method": "some",
    "caption": "what is drawn",
    "fidelity": ("another width",),
    "conditions": (condition(because="another reason", level="another"),),
}
OTHERWISE: dict[str, dict] = {
    "id": {"id": "another"},
    "effect": {"conditions": (condition(effect=1.9),)},
    "null": {"conditions": (condition(null=1.1),)},
    "absent": {"conditions": (condition(absent=True),)},
    "scale": {"conditions": (condition(scale="difference"),)},
    "measure": {"conditions": (condition("that"),)},
    "control": {"conditions": (condition(control="that", level=""),)},
    "one more": {"conditions": (condition(), condition("that"))},
    "a proof": {"proofs": ("gd-lower",)},
    "design": {"design": "100 seeds"},
}


@pytest.mark.parametrize("name", REWORDED)
def test_rewording_leaves_the_fingerprint_of_a_claim(name):
    assert made_up(**{name: REWORDED[name]}).digest() == made_up([1]).digest()  # nor is the result a part of it


@pytest.mark.parametrize("name", OTHERWISE)
def test_another_criterion_has_another_fingerprint(name):
    assert made_up(**OTHERWISE[name]).digest() != made_up().digest()


def test_another_size_or_seed_has_another_fingerprint():
    assert len({made_up().digest(setting) for setting in (FULL, Setting("quick"), Setting("full", 1))}) == 3
    assert len({claim.digest() for claim in CLAIMS.values()}) == len(CLAIMS)


def test_no_full_run_before_the_criterion_is_fixed(monkeypatch):
    """Planted fault: an effect that is made smaller after the criterion was dated."""
    fixed = made_up(sample(4))
    later = replace(fixed, conditions=(condition(effect=1.1),))
    assert fixed.is_fixed
    assert not later.is_fixed
    monkeypatch.setitem(CLAIMS, "made-up", later)
    with pytest.raises(ValueError, match=rf"history must end with Fixed.date, '{later.digest()}'.* add that entry"):
        reproduce(["made-up"], size="full")
    with pytest.raises(ValueError, match="date must be like 2026-11-26, got 'today'"):
        Fixed("today", "", "nothing")


# Intervals, halves.


def test_intervals_cover_as_often_as_they_say():
    draw = np.random.default_rng(0)
    figures = [measured_median("m", row) for row in draw.standard_cauchy((4000, 9))]
    covered = np.mean([figure.low <= 0 <= figure.high for figure in figures])
    # Ends are the second smallest and second largest of nine: 1 - 2 (1 + 9)/2^9 = 0.9609, within four standard errors.
    assert abs(covered - 0.9609) < 4 * math.sqrt(0.9609 * 0.0391 / 4000)
    few = measured_median("m", [1.0, 2.0, np.inf])
    assert (few.value, few.low, few.high) == (2.0, -math.inf, math.inf)
    share = measured_share("s", [True] * 5 + [False] * 5)
    # Clopper and Pearson, 5 of 10: 0.1871 and 0.8129 in their table.
    assert (round(share.low, 4), round(share.high, 4)) == (0.1871, 0.8129)


def test_the_rate_is_chosen_on_half_of_the_seeds_and_judged_on_the_others():
    losses = np.array([[1.0, 2.0, 9.0], [9.0, 0.5, 0.1], [1.0, 3.0, 9.0], [7.0, 0.5, 0.1]])
    best = at_best_of_half(losses)  # the odd ones would choose the last rate
    assert (best.column, best.values.tolist(), best.edge) == (0, [9.0, 7.0], True)
    never = np.full((4, 2), np.inf)
    assert at_best_of_half(never, [[2.0, 1.0]] * 4).column == 1
    assert at_best_of_half([[np.nan, 1.0]] * 4).column == 1
    with pytest.raises(ValueError, match="seeds must be at least 2 to choose on half of them, got 1"):
        at_best_of_half(losses[:1])


def test_a_condition_is_data():
    found = condition(control="that", level="").to_json()
    assert found["name"] == "(it) over (that)"
    assert found["wanted"] == "above 1; smallest effect 2"
    assert isinstance(CLAIMS["four-cases"], Claim)
    assert isinstance(CLAIMS["four-cases"].conditions[0], Condition)


def test_a_number_without_values_says_so():
    measured = measured_median("gd over adam", [math.nan] * 9 + [2.0])
    assert str(measured) == "gd over adam: too few of 10 seeds have a value"


def test_a_value_at_a_boundary_up_to_rounding_lies_on_neither_side():
    """SciPy gives a rank correlation of 1/2 over five values as 0.49999999999999994."""
    sample = measured_median("it", [np.nextafter(0.5, 0)] * 5 + [0.9] * 5)
    assert one_sided(sample, 0.5) == (pytest.approx(0.623046875), 1.0)
