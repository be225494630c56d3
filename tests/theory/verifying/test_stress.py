"""True theorems on random instances over scales, number types and edges of stability; false neighbours are seen."""

import json
from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.simulator import simulate
from quadsim.theory import THEOREMS
from quadsim.theory.verifying import stress as module
from quadsim.theory.verifying.stress import VARIANTS, stress, stress_batch
from quadsim.theory.verifying.trials import random_problems


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(module, "BATCH", 4)
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    monkeypatch.setattr(module, "_MOST_BATCHES", 2)


@pytest.mark.parametrize("name", ["gradient-descent-lemma", "adam-is-sign"])
def test_every_variant_of_a_true_theorem_is_tested(name):
    found = stress_batch(name, 0, 0)
    assert not found.against, found.complaints
    assert all(found.tested[variant] for variant in VARIANTS)


def test_a_false_neighbour_is_seen_in_every_variant(monkeypatch):
    lemma = THEOREMS["gradient-descent-lemma"]
    false = replace(lemma, bound=lemma.bound - sp.Rational(1, 100), statement="")
    monkeypatch.setitem(THEOREMS, lemma.name, false)
    found = stress_batch(lemma.name, 0, 0)
    seen = {complaint.split(":")[0] for complaint in found.complaints}
    assert {"as drawn", "scaled", "float32"} <= seen
    assert found.against["refuted"]


@pytest.mark.parametrize(
    "rule", ["gd", "heavy-ball", "gd-lambda", "sign-lambda", "block-gd", "signsgd", "adam", "adam-frozen"]
)
def test_a_scaled_run_is_the_same_run(rule):
    problem = random_problems(np.random.default_rng(3), 3)
    run = simulate(problem, rule, lr=0.01, steps=5, engine="reference", **({"eps": 1e-3} if rule == "adam" else {}))
    scaled = module._scaled(run, 2.0**120, 2.0**-50)
    np.testing.assert_array_equal(scaled.gap, run.gap * 2.0**20)


def test_the_edge_is_where_the_stiffest_mode_keeps_its_size():
    problem = random_problems(np.random.default_rng(4), 3)
    for rule, setting in (("gd", {}), ("heavy-ball", {"momentum": 0.5}), ("nesterov", {"momentum": 0.5})):
        run = simulate(problem, rule, lr=[0.01] * 3, steps=2, **setting)
        edge = module._edge(run)
        L = problem.block_smoothness.max(axis=1)
        below, above = (
            np.array([_radius(rule, factor * edge[m] * L[m], setting.get("momentum", 0.0)) for m in range(3)])
            for factor in (0.999, 1.001)
        )
        assert (below < 1).all()
        assert (above > 1).all()


def _radius(rule, x, beta):
    """The spectral radius of a mode with lr lambda = x, by hand."""
    if rule == "gd":
        return abs(1 - x)
    matrix = (
        [[1 + beta - x, -beta], [1, 0]] if rule == "heavy-ball" else [[(1 + beta) * (1 - x), -beta * (1 - x)], [1, 0]]
    )
    return max(abs(np.linalg.eigvals(np.array(matrix))))


def test_the_command_counts_and_fails(monkeypatch):
    found = CliRunner().invoke(app, ["verify", "--instances", "10", "gradient-rate", "--json"])
    assert found.exit_code == 0
    document = json.loads(found.stdout)
    assert document["instances"] >= 10
    assert document["against"] == {}
    rate = THEOREMS["gradient-rate"]
    monkeypatch.setitem(THEOREMS, rate.name, replace(rate, bound=rate.bound / 2, statement=""))
    found = CliRunner().invoke(app, ["verify", "--instances", "10", "gradient-rate"])
    assert found.exit_code == 1
    assert "refuted" in found.stdout


@pytest.mark.slow
def test_processes_change_nothing():
    one, two = (stress(40, names=("gradient-rate", "adam-is-sign"), workers=workers) for workers in (1, 2))
    assert [(x.name, x.against) for x in one] == [(x.name, x.against) for x in two]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--instances", "0"], "instances must be a whole number of at least 1, got 0"),
        (["--instances", "9", "--exact"], "--instances must stand alone, apart from names of theorems"),
        (["--instances", "9", "--mutants"], "got --instances; leave one out"),
        (["--workers", "2"], "--workers must come with --mutants, --instances or --draws, got 2"),
        (["--instances", "9", "no-such"], "no-such"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    found = CliRunner().invoke(app, ["verify", *options])
    assert found.exit_code == 2
    assert message in " ".join(found.stderr.split())
