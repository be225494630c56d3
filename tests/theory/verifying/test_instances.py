"""Theorems that are about no run: instances against the models themselves, and wrong statements that floats flag."""

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from quadsim.simulator.models import base
from quadsim.theory import THEOREMS
from quadsim.theory.symbols import Symbol as s
from quadsim.theory.verifying.instances import memories, stream, toy_models

pytestmark = pytest.mark.usefixtures("one_thread")


def test_hidden_rows_of_a_network_are_products_of_the_head():
    """A block of the Hessian is v_i'Mv_j/C times a matrix of gates, up to the predictions' distance from uniform."""
    found, expected = toy_models.hidden_products(5, problems=2, seed=1)
    both = np.isfinite(found)  # two units without a common active sample have no block
    assert both.mean() > 0.9
    np.testing.assert_allclose(found[both], expected[both], rtol=0.02, atol=0.01 * np.abs(expected).max())


WRONG = {
    "epsilon dropped": ("layer-norm-jacobian", toy_models.of_layer_norm, lambda b: b.subs(s.eps_model, 0), 0),
    "half the norm": ("softmax-jacobian", toy_models.of_softmax, lambda b: b / 2, 0),
    "C - 1 for C": ("output-row-share", toy_models.of_output_rows, lambda b: b.subs(s.classes, s.classes - 1), 0),
    "one and a half times": ("sgd-moments", stream.of_moments, lambda b: sp.Rational(3, 2) * b, 0),
    "a floor without 1/2": ("sgd-floor", stream.of_end, lambda b: 2 * b, 1),
    "a sum without 1/2": ("sgd-stability", stream.of_end, lambda b: 2 * b, 1),
    "an eleventh more": ("heavy-ball-moments", stream.of_memory, lambda b: b * sp.Rational(11, 10), 1),
    "a floor of the full momentum": ("heavy-ball-floor", stream.of_end, lambda b: b * (1 + s.trace_momentum), 1),
    "a tenth less": ("heavy-ball-stability", stream.of_end, lambda b: b * sp.Rational(9, 10), 1),
    "half the drift": ("sign-one-step", stream.of_signs, lambda b: (b + s.gap) / 2, 0),
    "a factor": ("adam-equal-betas", memories.of_memories, lambda b: b * s.beta1, 1),
    "a hundredth less": ("frozen-momentum-edge", memories.of_edge, lambda b: b * sp.Rational(99, 100), 1),
}


@pytest.mark.parametrize("change", WRONG)
def test_wrong_statements_are_flagged_on_the_models_and_refuted_exactly(change):
    name, instance, changed, number = WRONG[change]
    theorem = THEOREMS[name]
    wrong = replace(theorem, bound=changed(theorem.bound))
    draw = np.random.default_rng(3)
    assert instance(theorem, np.random.default_rng(3), number, False).verdict in ("holds", "verified")
    verdicts = {instance(wrong, draw, number, False).verdict for _ in range(4)}
    assert verdicts & {"undecided", "refuted"}
    assert "refuted" in {instance(wrong, draw, 1, True).verdict for _ in range(8)}


def test_another_layer_norm_of_the_models_is_flagged(monkeypatch):
    theorem = THEOREMS["layer-norm-jacobian"]
    monkeypatch.setattr(toy_models, "normalise", lambda x, gain: base.normalise(x, gain) * 1.001)
    verdicts = [toy_models.of_layer_norm(theorem, np.random.default_rng(i), 0, False).verdict for i in range(3)]
    assert verdicts == ["undecided"] * 3
