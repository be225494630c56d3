"""The adversary as a gate: changes of statements, rules, records and the judge show, or are argued to be none."""

import json
from collections import Counter

import pytest
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.theory.verifying import mutants as module
from quadsim.theory.verifying.mutants import KINDS, Mutant, mutants, try_mutants


@pytest.mark.parametrize("every", [400, 150])
def test_a_sample_of_every_kind_is_caught_or_argued(every):
    found = try_mutants(every=every, seed=7)
    assert set(found.tried) == set(KINDS)
    assert found.holes == ()
    assert sum(found.caught.values()) > 0.6 * sum(found.tried.values())


def test_there_are_enough_of_them():
    counts = Counter(mutant.kind for mutant in mutants())
    assert sum(counts.values()) > 2000
    assert counts["bound"] > 1000
    assert min(counts[kind] for kind in KINDS) >= 10


@pytest.mark.slow
def test_every_change_of_the_judge_shows():
    for mutant in mutants():
        if mutant.kind in ("budget", "prover", "hypothesis"):
            assert mutant.survives() != module.HOLE, mutant.change


def test_the_command_lists_survivors_and_fails(monkeypatch):
    three = (
        Mutant("bound", "x", "caught", lambda: ""),
        Mutant("rule", "y", "the same", lambda: "it changes nothing"),
        Mutant("record", "z", "missed", lambda: module.HOLE),
    )
    monkeypatch.setattr(module, "mutants", lambda: three)
    monkeypatch.setattr(module, "KINDS", ("bound", "rule", "record"))
    found = CliRunner().invoke(app, ["verify", "--mutants", "--json"])
    assert found.exit_code == 1
    document = json.loads(found.stdout)
    assert document["survived"] == ["record of z: missed: nothing shows it"]
    assert document["argued"] == ["rule of y: the same: it changes nothing"]
    assert "1 survive without one" in CliRunner().invoke(app, ["verify", "--mutants"]).stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["gd-upper", "--mutants"],
            "--mutants must stand alone, apart from --every, --workers and --seed, got names of theorems",
        ),
        (["--mutants", "--exact"], "got --exact; leave one out"),
        (["--every", "3"], "--every must come with --mutants, got 3"),
        (["--mutants", "--every", "0"], "every must be a whole number of at least 1, got 0"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    found = CliRunner().invoke(app, ["verify", *options])
    assert found.exit_code == 2
    assert message in " ".join(found.stderr.split())
