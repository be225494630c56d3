"""What strangers send: a short run of the fuzzer, sizes before allocation, and nothing that is unpickled."""

import re
from pathlib import Path

import fuzz
import pytest
from typer.testing import CliRunner

from quadsim.cli.app import app

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return fuzz.Corpus(tmp_path_factory.mktemp("corpus"))


@pytest.mark.parametrize(
    ("target", "inputs"), [("config", 40), ("config", 250), ("options", 250), ("folder", 25), ("documents", 25)]
)
def test_whatever_comes_is_accepted_or_refused_in_one_line(corpus, tmp_path, target, inputs):
    with fuzz.limits():
        found = [fuzz.try_one(target, number, 1, corpus, tmp_path) for number in range(inputs)]
    assert set(found) <= {"accepted", "refused"}
    assert {"accepted", "refused"} <= set(found)  # it reaches beyond the first check, and some inputs are hostile


def test_the_fuzzer_sees_a_crash(corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(fuzz.TARGETS, "config", lambda *_: {}["x"])
    assert fuzz.try_one("config", 0, 1, corpus, tmp_path).startswith("KeyError")
    monkeypatch.setitem(fuzz.TARGETS, "config", lambda *_: "\ud800".encode())
    assert fuzz.try_one("config", 0, 1, corpus, tmp_path).startswith("no sentence: UnicodeEncodeError")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seeds", "1e15", "--heterogeneity", "1", "--optimizers", "gd"], "must be at most 1e+14 without --however-long, got"),
        (["--blocks", "1e15"], "blocks must be a whole number of at most 10000000, got 1000000000000000"),
        (["--block-size", "1e15"], "block size must fit in memory"),
        (["--steps", "1e30"], "steps must be a whole number of at most 9007199254740992, got 1e+30"),
        (["--heterogeneity", "1e308"], "heterogeneity must be a number of at most 1e+100, got 1e+308"),
        (["--seed", "1e30"], "seed must be below 2^64"),
        (["--lr-density", "1e6"], "lr density must be a whole number of at most 1000, got 1000000"),
        (["--backend", "processes", "--workers", "1e6"], "workers must be a whole number of at most 10000, got 1000000"),
        (["--model", "mlp", "--task", "token-map:vocabulary=1e12"], "problems must fit in memory"),
        (["--out", "a" * 300, "--seeds", "1"], "out must be the name of a file or folder, each part of at most 255 bytes, got aaa"),
    ],
)  # fmt: skip
def test_sizes_are_checked_before_anything_is_made(tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["sweep", *options])
    assert result.exit_code == 2, result.exception
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_nothing_is_unpickled():
    unsafe = re.compile(
        r"\bpickle\b|allow_pickle=True|torch\.load|joblib\.load|read_pickle|(?<!def )\beval\(|yaml\.load\b"
    )
    for folder in ("simulator", "theory", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            if (
                path.name == "cache.py"
            ):  # compiled kernels are Numba's pickles, in a folder that only its owner writes to
                continue
            lines = [
                line for line in path.read_text().splitlines() if unsafe.search(line) and "model.eval(" not in line
            ]  # Z3's
            assert not lines, f"{path}: {lines}"
