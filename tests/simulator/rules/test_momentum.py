"""Momentum as it is derived from a rule, against the steps of independent implementations."""

import numpy as np
import pytest
from cases import OPTIMIZERS
from reference import run_on_gradients

from quadsim.simulator import SweepConfig
from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.momentum import has_momentum
from quadsim.simulator.sweeps.config.optimizers import SweptOptimizer


@pytest.mark.parametrize("name", RULES)
def test_a_rule_has_momentum_where_its_reference_moves_at_a_zero_gradient(name):
    settings = OPTIMIZERS[name].settings
    number = max(map(len, settings.values()))
    blocks = [np.diag([1.0, 2.0]), np.diag([3.0])]
    gradients = np.array([[1.0, -2.0, 3.0], [0.5, 1.0, -1.0], [0.0, 0.0, 0.0]])
    for k in range(number):
        values = {key: each[k % len(each)] for key, each in settings.items()} | {"lr": 0.1}
        own = {key: value for key, value in values.items() if key not in ("lr", "weight_decay")}
        decay = {"weight_decay": 0.0} if "weight_decay" in settings else {}
        iterates = run_on_gradients(
            "gd" if name == "sgd" else name, blocks, gradients, np.array([1.0, -2.0, 0.5]), lr=0.1, **own, **decay
        )
        moved = bool(np.any(iterates[-1] != iterates[-2]))
        assert has_momentum(RULES[name], {**own, "weight_decay": 0.3} if decay else own) == moved, own


def pairs(*texts):
    swept = [SweptOptimizer.parse(text) for text in texts]
    return {(a.text, b.text) for a in swept for b in swept if b.adds_momentum_to(a)}


def test_what_differs_by_momentum_alone_is_found():
    assert pairs("gd", "signsgd", "adam:beta1=0", "heavy-ball", "signum", "adam") == {
        ("gd", "heavy-ball"), ("signsgd", "signum"), ("adam:beta1=0", "adam"),
    }  # fmt: skip
    assert pairs("gd", "nesterov", "heavy-ball:momentum=0|0.5|0.9") == {
        ("gd", "nesterov"), ("gd", "heavy-ball:momentum=0|0.5|0.9"),
    }  # fmt: skip
    assert pairs("signsgd", "lion", "lion:weight_decay=0.1") == {("signsgd", "lion")}
    assert pairs("adam:beta1=0", "adam:beta2=0.9", "adamw", "rmsprop", "adam-mini") == set()


def test_families_are_those_of_any_setting():
    config = SweepConfig(optimizers=("heavy-ball:momentum=0", "heavy-ball:momentum=0|0.9", "lion:beta1=0", "nesterov"))
    assert config.families == {
        "plain": ["heavy-ball:momentum=0", "lion:beta1=0"],
        "momentum": ["heavy-ball:momentum=0|0.9", "nesterov"],
    }
