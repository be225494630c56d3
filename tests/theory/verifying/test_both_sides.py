"""Hypotheses on both sides: instances that meet them and that do not, and one that fails without each that is needed."""

from dataclasses import replace

import numpy as np
import sympy as sp

from quadsim.theory import THEOREMS, Hypothesis
from quadsim.theory.checking.comparison import check
from quadsim.theory.symbols import Symbol as s
from quadsim.theory.verifying import both_sides
from quadsim.theory.verifying.both_sides import on_both_sides
from quadsim.theory.verifying.trials import TRIALS


def sides(name, **changes):
    theorem = replace(THEOREMS[name], statement="", **changes) if changes else THEOREMS[name]
    return {one.text: one for one in on_both_sides(theorem, TRIALS[name])}


def test_a_needed_hypothesis_has_an_instance_that_fails_without_it():
    (rate,) = sides("gradient-rate").values()
    assert rate.holding > 50
    assert rate.alone > 10
    assert rate.without == "needed"
    assert "gd-lambda with lr=4" in rate.instance


def test_a_hypothesis_that_nothing_needs_is_not_called_needed():
    lemma = THEOREMS["gradient-descent-lemma"]
    idle = Hypothesis.of(sp.Le(s.eta * s.L, sp.Rational(1, 2)))
    odd = Hypothesis("the moon is full", lambda run: np.zeros((1, 1), dtype=bool))
    (first, second) = sides(lemma.name, hypotheses=(idle, odd)).values()
    assert first.without == "it fails only together with others"
    assert second.without == "no instance fails without it"


def test_the_midpoint_of_signs_needs_gradients_without_a_zero():
    (never,) = sides("sign-midpoint").values()
    assert never.without == "needed"
    assert never.instance == "signsgd with lr=1 on blocks of 3: violated at step 1 (exact arithmetic)"
    (run,) = TRIALS["sign-midpoint"].without()
    assert run.gap[0, 0, 1:3].min() > 193
    assert check(THEOREMS["sign-midpoint"], run).verdict[0, 0] == "not applicable"


def test_rules_of_statements_alone_have_no_decay():
    found = {name: [rule.name for rule in both_sides._with_decay(theorem.rules)] for name, theorem in THEOREMS.items()}
    assert "adam-on-orbit" in THEOREMS["adam-cycle"].rules
    assert found["adam-cycle"] == []
    assert any(found.values())


def test_settings_of_a_rule_are_tried_on_both_sides():
    for text, one in sides("adam-is-sign").items():
        assert (one.without, one.holding > 0, one.failing > 0) == ("needed", True, True), text
