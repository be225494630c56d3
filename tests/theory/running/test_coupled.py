"""Theorems of this project on coupled problems: those that hold do, and those that are about separate blocks do not apply."""

import numpy as np
import pytest

from quadsim.simulator import BlockQuadratic, simulate
from quadsim.simulator.rules.catalogue import RULES
from quadsim.theory import THEOREMS, check

SEEN = [
    "gradient_norm",
    "gradient_norm_1",
    "Lambda_G",
    "block_gradient_norm",
    "block_gap",
    "iterate",
    "step_sign_cosine",
]
RATES = {"block-gd": 1.0, "gd-lambda": 0.9, "sign-lambda": 0.9, "gd": 0.02, "heavy-ball": 0.02, "adam-frozen": 1e-3}


def run_of(rule, coupling=0.5, partition="hessian"):
    problem = BlockQuadratic.generate(
        block_size=[2, 3, 3], heterogeneity=20.0, problems=4, seed=5, coupling=coupling, partition=partition
    )
    return simulate(problem, rule, lr=RATES.get(rule, 0.1), steps=20, observe=SEEN)


@pytest.mark.parametrize(
    "rule", ["gd", "block-gd", "gd-lambda", "sign-lambda", "signsgd", "adam-frozen", "adam", "adam-mini"]
)
def test_no_theorem_is_violated_by_a_coupled_run(rule):
    run = run_of(rule)
    verdicts = {t.name: set(check(t, run, effort=0.0).verdict.ravel()) for t in THEOREMS.values() if rule in t.rules}
    assert verdicts, rule
    assert set().union(*verdicts.values()) <= {"holds", "not applicable"}, verdicts
    assert any("holds" in found for found in verdicts.values()), verdicts


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("block-gd", "block-gd"),
        ("gd-lambda", "gradient-rate-uniform"),
        ("sign-lambda", "sign-rate"),
        ("gd", "gradient-descent-lemma"),
        ("adam", "covariance-identity"),
    ],
)
def test_a_theorem_about_separate_blocks_says_why_it_does_not_apply(rule, name):
    reason = THEOREMS[name].why_not(run_of(rule)).ravel()
    assert set(reason) == {"the blocks of rules must be those of H, got 2+3+3, which H couples (c up to 0.5)"}
    assert THEOREMS[name].applies(run_of(rule, coupling=0.0)).all()


def test_a_replay_gives_a_rule_its_own_blocks():
    from quadsim.theory.running.preconditioner import rehearse, replay

    run = run_of("adam-mini")
    settings = RULES["adam-mini"].settings(0.1)
    again = rehearse(run.problem, RULES["adam-mini"], settings, 20, run.schedule)
    np.testing.assert_allclose(again.error, run.observed["iterate"], rtol=1e-9, atol=1e-12)
    assert [len(set(row)) for row in replay(run).preconditioner[:, 0, 1].round(14)] == [3] * 4


def test_a_wrong_partition_has_a_large_c_and_no_bound():
    run = run_of("block-gd", coupling=0.9, partition="shifted")
    assert (run.problem.coupling > 1).any()
    reason = THEOREMS["block-gd-coupled"].why_not(run)[run.problem.coupling > 1].ravel()
    assert all(text.startswith("hypothesis fails: c < 1 (here 1.") for text in reason)
