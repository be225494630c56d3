"""Optimizers of the user's own in a sweep: from a file, from Python, and in a folder that is read without them."""

import json
import pickle
import re
import shutil
import subprocess
import sys

import cloudpickle
import pytest
import torch
from cases import own_file
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.simulator import Rule, SweepConfig, load_optimizer_file, load_results, sweep, symbols
from quadsim.simulator.figures import sweep_figures
from quadsim.simulator.rules import torch_classes
from quadsim.simulator.support.store import checksum
from quadsim.simulator.sweeps.backends import resolve_backend
from quadsim.simulator.sweeps.backends.processes import why_no_processes
from quadsim.simulator.sweeps.config.families import config_from_json
from quadsim.simulator.sweeps.run.runner import ChunkRunner
from quadsim.simulator.sweeps.work import chunk
from quadsim.simulator.sweeps.work.units import units_of

SMALL = {
    "heterogeneity": (1, 10),
    "blocks": 2,
    "block_size": 2,
    "seeds": 2,
    "steps": 150,
    "tolerance": 1e-2,
    "lr": (0.03, 0.3),
    "engine": "reference",
}
OPTIONS = [
    word
    for name, value in SMALL.items()
    for word in (
        f"--{name.replace('_', '-')}",
        ",".join(map(str, value)) if isinstance(value, tuple) else str(value),
    )
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(own_file("mine.py"), tmp_path)

    def call(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)

    return call


@pytest.fixture
def no_figures(monkeypatch):
    """Drawing takes most of the time of a small sweep."""
    monkeypatch.setattr(
        "quadsim.simulator.figures.sweep_figures.save_figures", lambda results, folder, **_: folder.mkdir(exist_ok=True)
    )


def forget(monkeypatch):
    """Make this process like one in which nobody gave a class."""
    monkeypatch.setattr(torch_classes, "_GIVEN", {})
    chunk._config.cache_clear()


def steps(results, optimizer):
    runs = results.summary
    return runs.loc[runs["optimizer"] == optimizer, "steps_to_tolerance"].tolist()


def test_a_rule_and_a_class_stand_in_one_table_with_the_built_in_ones(run, tmp_path):
    """AMSGrad as a rule in a file and NAdam as a class of torch: the same steps as our rules of these names."""
    (rule,) = load_optimizer_file("mine.py:AMSGRAD")
    optimizers = ("gd", "adam", rule, torch.optim.NAdam, "amsgrad", "nadam")
    results = sweep(SweepConfig(optimizers=optimizers, **SMALL), out=tmp_path / "a", present=None)
    config = results.config
    assert config.optimizers == ("gd", "adam", "my-amsgrad", "NAdam", "amsgrad", "nadam")
    assert [json.loads(text)["label"] for text in config.own] == ["my-amsgrad", "NAdam"]
    assert results.best["optimizer"].tolist() == [*config.optimizers] * 2
    assert results.best["family"].tolist() == ["plain", *["momentum"] * 5] * 2
    assert steps(results, "my-amsgrad") == steps(results, "amsgrad")
    assert steps(results, "NAdam") == steps(results, "nadam")
    assert set(results.summary["engine"]) == {"reference", "torch, elementwise"}
    assert hash(config) == hash(config_from_json(json.loads(json.dumps(config.to_json()))))
    assert "own" not in SweepConfig().to_json()  # so that digests of older folders stay


def test_the_file_of_the_command_adds_to_the_default_optimizers_or_to_the_named_ones(run, tmp_path, monkeypatch):
    assert run("sweep", *OPTIONS, "--optimizer-file", "mine.py", "--dry-run", "--json").exit_code == 0
    named = "gd,adam,my-amsgrad:beta1=0|0.9,MyNAdam:beta1=0,MyNAdam"
    found = run("sweep", *OPTIONS, "--optimizer-file", "mine.py", "--optimizers", named, "--out", "a", "--json")
    assert found.exit_code == 0, found.stderr
    best = json.loads(found.stdout)["best"]
    assert [row["optimizer"] for row in best[:5]] == [*named.split(",")]
    families = ["plain", "momentum", "momentum", "plain", "momentum"]
    assert [row["family"] for row in best[:5]] == families
    page = (tmp_path / "a/report.html").read_text()
    assert "MyNAdam (mine.py:MyNAdam, source " in page
    assert "my-amsgrad (a rule, stored in config.json)" in page
    both = run("sweep", *OPTIONS, "--optimizer-file", "mine.py:AMSGRAD", "--dry-run", "--json")
    assert json.loads(both.stdout)["config"]["optimizers"] == [*SweepConfig().optimizers, "my-amsgrad"]


def test_a_class_that_a_file_imports_runs_where_it_is_named(run, tmp_path):
    (tmp_path / "imports.py").write_text("from torch.optim import NAdam\n")
    found = run(
        "sweep", *OPTIONS, "--optimizer-file", "imports.py", "--optimizers", "gd,NAdam:beta1=0", "--dry-run", "--json"
    )
    assert found.exit_code == 0, found.stderr
    assert json.loads(found.stdout)["config"]["optimizers"] == ["gd", "NAdam:beta1=0"]
    (stored,) = json.loads(found.stdout)["config"]["own"]  # found in torch on any machine, without the file
    assert stored["class"]["qualified_name"] == "torch.optim.NAdam"


FRESH = """
import sys
from pathlib import Path
from typer.testing import CliRunner
from quadsim.cli.app import app
from quadsim.simulator import load_results
from quadsim.simulator.figures import sweep_figures

sweep_figures.save_figures = lambda results, folder, **_: folder.mkdir(exist_ok=True)
results = load_results(sys.argv[1])
assert not results.config.specs[-1].can_run
print(results.best[["optimizer", "family", "steps_median"]].to_csv())
said = CliRunner().invoke(app, ["report", sys.argv[1]], catch_exceptions=False)
assert said.exit_code == 0, said.stderr
assert "MyNAdam" in said.stdout and "MyNAdam (mine.py:MyNAdam" in (Path(sys.argv[1]) / "report.html").read_text()
"""


def in_a_fresh_process(folder, monkeypatch, capsys):
    done = subprocess.run([sys.executable, "-c", FRESH, "a"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_this_process(folder, monkeypatch, capsys):
    """The quick form: what it knows of the class is forgotten."""
    forget(monkeypatch)
    monkeypatch.setattr(sys, "argv", ["fresh", "a"])
    monkeypatch.setattr(sweep_figures, "save_figures", sweep_figures.save_figures)  # to be restored
    exec(FRESH, {})
    return capsys.readouterr().out


@pytest.mark.parametrize("read", [in_this_process, in_a_fresh_process])
def test_a_folder_is_read_and_reported_where_the_file_is_gone(run, tmp_path, monkeypatch, capsys, read):
    optimizers = ("gd", "my-amsgrad", "MyNAdam:beta1=0", "MyNAdam")
    config = SweepConfig(optimizers=optimizers, own=load_optimizer_file("mine.py"), **SMALL)
    results = sweep(config, out=tmp_path / "a", present=None)
    (tmp_path / "mine.py").unlink()
    expected = results.best[["optimizer", "family", "steps_median"]].to_csv()
    assert read(tmp_path, monkeypatch, capsys).strip() == expected.strip()


def test_an_unfinished_sweep_of_a_class_asks_for_its_file_in_one_line(run, tmp_path, monkeypatch, no_figures):
    config = SweepConfig(optimizers=("gd", "MyNAdam"), own=load_optimizer_file("mine.py"), **SMALL)
    (tmp_path / "config.json").write_text(json.dumps(config.to_json()))
    forget(monkeypatch)
    again = ("sweep", "--config", "config.json", "--out", "a")
    asked = run(*again)
    assert asked.exit_code == 2
    assert "MyNAdam must be loaded to be run, got its record alone (mine.py:MyNAdam" in asked.stderr
    assert "give its file as it was, with --optimizer-file" in asked.stderr
    assert len(asked.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "a").exists()
    source = (tmp_path / "mine.py").read_text()
    (tmp_path / "mine.py").write_text(source + "\n# changed\n")
    changed = run(*again, "--optimizer-file", "mine.py")
    assert changed.exit_code == 2
    assert "optimizer MyNAdam must have the source that was stored" in changed.stderr
    (tmp_path / "mine.py").write_text(source)
    found = run(*again, "--optimizer-file", "mine.py", "--quiet")
    assert found.exit_code == 0, found.stderr
    assert load_results(tmp_path / "a").config == config


def test_a_stored_rule_runs_without_its_file(run, tmp_path):
    config = SweepConfig(optimizers=("gd", "my-amsgrad"), own=load_optimizer_file("mine.py"), **SMALL)
    (tmp_path / "config.json").write_text(json.dumps(config.to_json()))
    (tmp_path / "mine.py").unlink()
    again = sweep(config_from_json(json.loads((tmp_path / "config.json").read_text())))
    assert again.config.to_json() == config.to_json()
    assert steps(again, "my-amsgrad") == steps(sweep(config), "my-amsgrad")


HOSTILE = {
    "an expression that calls": (
        lambda own: own[0]["rule"].update(step="__import__('os').system('touch pwned')"), "document of a rule must have step with",
    ),
    "a class that is none": (
        lambda own: own[1].update({"class": own[1]["class"] | {"qualified_name": "os.system"}}), "",
    ),
    "another record": (lambda own: own[1].update({"class": {"name": "os"}}), "document of a torch class must have the keys"),
    "labels that are none": (lambda own: own[1].update(with_momentum=[{}]), "with_momentum of a stored optimizer must be a list"),
    "a name of ours": (lambda own: own[0].update(label="adam"), "optimizer"),
    "no documents": (lambda own: own.__setitem__(0, 3), "own must hold the stored optimizers"),
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / "a"
    config = SweepConfig(
        optimizers=("my-amsgrad", "MyNAdam"),
        own=load_optimizer_file(own_file("mine.py")),
        **SMALL | {"heterogeneity": 1},
    )
    return sweep(config, out=folder, present=None).folder


@pytest.mark.parametrize("case", HOSTILE)
def test_reporting_a_hostile_configuration_runs_no_code(case, run, tmp_path, finished, monkeypatch, no_figures):
    folder = shutil.copytree(finished, tmp_path / "a")
    config, manifest = (json.loads((folder / name).read_text()) for name in ("config.json", "manifest.json"))
    change, message = HOSTILE[case]
    change(config["own"])
    (folder / "config.json").write_text(json.dumps(config))
    manifest["files"]["config.json"] = checksum(folder / "config.json")  # whoever alters the one alters the other
    (folder / "manifest.json").write_text(json.dumps(manifest))
    forget(monkeypatch)
    found = run("report", "a", "--quiet")
    assert not (tmp_path / "pwned").exists()
    if message:
        assert found.exit_code == 2, found.output
        assert len(found.stderr.strip().splitlines()) == 1
    else:
        assert found.exit_code == 0, found.stderr
    assert re.search(message, found.stderr), found.stderr


def test_a_worker_that_imports_no_file_loads_it(run, tmp_path, monkeypatch):
    """What a backend pickles holds the path of the file; the class itself no other process can import."""
    config = SweepConfig(optimizers="MyNAdam", own=load_optimizer_file("mine.py"), **SMALL)
    (tmp_path / "units").mkdir()
    function = ChunkRunner(config, None, tmp_path, None, resolve_backend(), None)._function
    sent = cloudpickle.dumps(function)
    forget(monkeypatch)
    assert b"quadsim_optimizers_" not in sent
    received = pickle.loads(sent)
    unit = next(iter(units_of(chunk.work_of(config), (0, 1))))
    assert received(unit).path is not None, received(unit).error
    forget(monkeypatch)
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text() + "\n# changed\n")
    assert "MyNAdam must be loaded to be run" in received(unit).error


@pytest.mark.slow
@pytest.mark.skipif(why_no_processes() is not None, reason="no semaphores")
def test_worker_processes_run_classes_of_a_file_and_of_torch(run, tmp_path):
    own = load_optimizer_file("mine.py")
    config = SweepConfig(optimizers=("gd", "my-amsgrad", "MyNAdam", torch.optim.NAdam), own=own, **SMALL)
    beside = sweep(config, backend=resolve_backend("processes", workers=2))
    assert beside.summary.equals(sweep(config).summary)


def test_two_optimizers_of_one_name_are_refused_and_one_twice_is_one():
    rule, other = (Rule(name="mine", step=-k * symbols.lr * symbols.g) for k in (1, 2))
    same = Rule(name="mine", step=-symbols.lr * symbols.g)
    assert SweepConfig(optimizers=("gd", rule, same, "mine")).optimizers == ("gd", "mine")
    with pytest.raises(ValueError, match="optimizers must differ in name, got two that are called 'mine'; rename one"):
        SweepConfig(optimizers=(rule, other))
    assert SweepConfig(optimizers=rule).own == SweepConfig(optimizers="mine", own=rule).own
    assert SweepConfig(optimizers="gd", own=rule).own == ()
    with pytest.raises(ValueError, match=r"own must hold rules, classes or stored optimizers, got the text 'mine.py'"):
        SweepConfig(own="mine.py")


def test_values_listed_for_a_class_have_edges_where_torch_has_no_end():
    config = SweepConfig(optimizers="NAdam:beta1=0|0.5|0.9:decoupled_weight_decay=0|1", own=torch.optim.NAdam)
    (swept,) = config.swept
    edges = {spec.label: swept.values_at_edge(spec) for spec in swept.settings}
    assert edges["NAdam:beta1=0:decoupled_weight_decay=0"] == []
    assert edges["NAdam:beta1=0.9:decoupled_weight_decay=1"] == [("beta1", "largest")]
    (stored,) = config.to_json()["own"]
    assert stored["with_momentum"] == [
        f"NAdam:beta1={b}:decoupled_weight_decay={d}" for b in ("0.5", "0.9") for d in ("0", "1")
    ]
