"""The command line: bad input, one JSON document, stored configurations."""

import importlib
import json
import logging
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from cases import BAD_SWEEPS
from typer.testing import CliRunner

import quadsim
from quadsim.cli.app import app
from quadsim.cli.console import duration_text, library_messages
from quadsim.simulator import RULES
from quadsim.simulator.sweeps.config.quadratics import SweepConfig

SMALL = ["--heterogeneity", "1,4", "--seeds", "3", "--steps", "400", "--block-size", "3", "--blocks", "2"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)

    return call


@pytest.mark.parametrize(("arguments", "message"), BAD_SWEEPS, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_bad_input_is_one_line_and_exit_code_2_and_leaves_nothing(run, tmp_path, arguments, message):
    result = run("sweep", *arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.strip().splitlines()) == 1
    assert re.search(message, result.stderr), result.stderr
    assert ";" in result.stderr, "the line must say what to do"
    assert list(tmp_path.iterdir()) == []


def test_sweep_json_is_one_document(run, tmp_path):
    result = run("sweep", *SMALL, "--json", "--out", "here")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["runs"] == len(pd.read_parquet(tmp_path / "here/summary.parquet"))
    assert document["folder"] == str(tmp_path / "here")
    assert {row["optimizer"] for row in document["best"]} == {
        "gd",
        "signsgd",
        "adam:beta1=0",
        "heavy-ball",
        "signum",
        "adam",
    }
    assert any("gd is ahead" in text for text in document["answer"])


def test_sweep_prints_table_answer_choice_and_files(run, tmp_path):
    result = run("sweep", *SMALL)
    assert result.exit_code == 0, result.stderr
    for text in ("median steps", "10-90%", "no theorem", "fewer steps", "chosen with hindsight", "Files: runs/sweep-"):
        assert text in result.stdout, text
    (folder,) = (tmp_path / "runs").iterdir()
    assert {p.name for p in folder.iterdir()} == {
        "config.json",
        "manifest.json",
        "summary.parquet",
        "trajectories.nc",
        "figures",
        "report.html",
    }
    assert {p.name for p in (folder / "figures").iterdir()} >= {
        f"{name}.{suffix}" for name in ("steps", "gap") for suffix in ("png", "pdf", "csv")
    }


def test_quiet_prints_the_answer_alone(run):
    result = run("sweep", *SMALL, "--quiet")
    assert len(result.stdout.strip().splitlines()) == 5
    assert "is ahead" in result.stdout


def test_a_finished_sweep_is_shown_again_not_run_again(run, tmp_path):
    first = run("sweep", *SMALL, "--out", "a")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*")}
    second = run("sweep", *SMALL, "--out", "a")
    assert second.exit_code == 0
    assert "Already finished" in second.stderr
    assert second.stdout.split() == first.stdout.split()  # lines may break one column apart
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "a").rglob("*")}


def test_another_configuration_in_that_folder_is_refused(run):
    run("sweep", *SMALL, "--out", "a")
    result = run("sweep", *SMALL, "--seed", "1", "--out", "a")
    assert result.exit_code == 2
    assert re.search("out must hold the same configuration, got .*/a with another one", result.stderr)


WRITERS = {
    "sweep": SMALL,
    "inspect": ["--no-curvature"],
    "inspect --study norm-placement": [],
    "verify": ["gd-upper"],
    "reproduce": ["gd-lower"],
    "bench": [],
    "bench --model transformer": [],
}


@pytest.mark.parametrize("make", ["folder", "file", "long name"])
@pytest.mark.parametrize("command", WRITERS)
def test_a_folder_that_is_not_ours_is_refused(run, tmp_path, command, make):
    name = "a" * 300 if make == "long name" else "a"
    if make == "folder":
        (tmp_path / "a").mkdir()
        (tmp_path / "a/thesis.tex").write_text("mine")
    elif make == "file":
        (tmp_path / "a").write_text("mine")
    result = run(*command.split(), *WRITERS[command], "--out", name)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1), result.stderr
    assert re.search(
        r"out must be (empty or hold|a folder|the name of a folder).* got .*a.*; .*choose another", result.stderr
    )
    assert [p.read_text() for p in tmp_path.rglob("*") if p.is_file()] == [] if make == "long name" else ["mine"]


def test_a_folder_that_cannot_be_made_is_refused(run):
    result = run("sweep", *SMALL, "--out", "/proc/quadsim")
    assert result.exit_code == 2
    assert "out must be a folder that can be written, got /proc/quadsim" in result.stderr


def test_config_repeats_a_sweep_bit_by_bit(run, tmp_path):
    options = ["--block-size", "3,1+4", "--blocks", "2", "--optimizers", "gd,adam:beta1=0", "--lr", "0.1,0.3"]
    run("sweep", "--heterogeneity", "2", "--seeds", "2", "--steps", "300", *options, "--out", "a")
    result = run("sweep", "--config", "a/config.json", "--out", "b")
    assert result.exit_code == 0, result.stderr
    first, second = (pd.read_parquet(tmp_path / name / "summary.parquet") for name in "ab")
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert set(first["optimizer"]) == {"gd", "adam:beta1=0"}
    assert set(first["block_size"]) == {"3", "1+4"}


def test_config_refuses_further_options(run):
    run("sweep", *SMALL, "--out", "a")
    result = run("sweep", "--config", "a/config.json", "--steps", "10")
    assert result.exit_code == 2
    assert "--steps must be left out with --config" in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "config must be JSON"),
        ("[]", "config must be a document with quadsim_format 1"),
        ('{"quadsim_format": 1, "stepz": 3}', "config entry must be one of .* did you mean 'steps'"),
        ('{"quadsim_format": 1, "steps": "many"}', "steps must be a whole number"),
        ('{"quadsim_format": 1, "steps": [1]}', "steps must be a whole number"),
        ('{"quadsim_format": 1, "heterogeneity": {"a": 1}}', "heterogeneity must be a number"),
        ('{"quadsim_format": 1, "heterogeneity": null}', "heterogeneity must be a number"),
        ('{"quadsim_format": 1, "optimizers": 3}', "optimizer must be"),
        ('{"quadsim_format": 1, "lr": [[1]]}', "lr must be a number"),
        ('{"quadsim_format": 1, "schedule": 3}', "schedule must be"),
        ('{"quadsim_format": 1, "block_size": "8"}', "block size must be a whole number"),
    ],
)
def test_corrupt_config(run, tmp_path, text, message):
    (tmp_path / "c.json").write_text(text)
    result = run("sweep", "--config", "c.json")
    assert result.exit_code == 2
    assert re.search(message, result.stderr), result.stderr
    assert not (tmp_path / "runs").exists()


def test_dry_run_estimates_and_writes_nothing(run, tmp_path):
    result = run("sweep", *SMALL, "--dry-run")
    assert result.exit_code == 0
    assert re.search(r"324 runs of 400 steps: about \S+ \w+ and \S+ \w+", result.stdout)
    assert list(tmp_path.iterdir()) == []
    document = json.loads(run("sweep", *SMALL, "--dry-run", "--json").stdout)
    assert document["runs"] == 324
    assert document["seconds"] > 0


def test_a_diverging_rate_is_a_status(run, tmp_path):
    result = run("sweep", "--heterogeneity", "2", "--lr", "100", "--optimizers", "gd", "--seeds", "2", "--out", "a")
    assert result.exit_code == 0, result.stderr
    summary = pd.read_parquet(tmp_path / "a/summary.parquet")
    assert set(summary["status"]) == {"diverged"}
    assert "> 10000" in result.stdout
    assert "No optimizer reaches the tolerance within 10000 steps" in result.stdout


def test_interrupt_keeps_what_is_finished_and_the_same_command_goes_on(run, tmp_path, monkeypatch):
    work = importlib.import_module("quadsim.simulator.sweeps.work.quadratics")
    calls = []
    real = work.simulate_optimizer

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(work, "simulate_optimizer", interrupted)
    stopped = run("sweep", *SMALL, "--out", "a")
    assert stopped.exit_code == 130
    assert "what was finished is kept in a" in stopped.stderr
    assert len(list((tmp_path / "a/units").iterdir())) == 2
    assert run("sweep", *SMALL, "--out", "a").exit_code == 0
    resumed = len(calls) - 3
    assert run("sweep", *SMALL, "--out", "b").exit_code == 0
    whole = len(calls) - 3 - resumed
    assert resumed == whole - 2
    first, second = (pd.read_parquet(tmp_path / name / "summary.parquet") for name in "ab")
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert not (tmp_path / "a/units").exists()


def test_rules_lists_and_shows_one(run):
    assert "adam-mini" in run("rules").stdout
    text = run("rules", "adam").stdout
    assert "v <- beta2*v + g**2*(1 - beta2)" in text
    assert r"\leftarrow" in text
    record = json.loads(run("rules", "adam", "--json").stdout)
    assert record["hyperparameters"]["beta2"]["default"] == 0.999
    assert [rule["name"] for rule in json.loads(run("rules", "--json").stdout)] == list(RULES)
    bad = run("rules", "adan")
    assert bad.exit_code == 2
    assert "did you mean 'adam'" in bad.stderr


def test_rules_shows_the_generated_kernel(run):
    text = run("rules", "adam", "--source", "cpu").stdout
    assert "m_new__0 = fma_(" in text
    compile(text, "adam", "exec")
    assert json.loads(run("rules", "adam", "--source", "cpu", "--json").stdout) == {"rule": "adam", "kernel": text[:-1]}


@pytest.mark.parametrize(("arguments", "message"), [
    (["adam", "--source", "tpu"], "source must be one of cpu, gpu, got 'tpu'"),
    (["--source", "cpu"], "optimizer must be named with --source cpu, got none; as in quadsim rules adam --source cpu."),
    (["gd-lambda", "--source", "cpu"], "must act within blocks, got gd-lambda (gd-lambda needs the whole gradient at once)"),
])  # fmt: skip
def test_a_kernel_that_cannot_be_shown(run, arguments, message):
    bad = run("rules", *arguments)
    assert bad.exit_code == 2
    assert message in bad.stderr
    assert bad.stderr.count("\n") == 1


def test_messages_of_the_library_go_to_stderr_unless_quiet(capsys):
    for quiet in (False, True):
        with library_messages(quiet=quiet):
            logging.getLogger("quadsim").info("compiling %s", "adam")
        logging.getLogger("quadsim").info("after")
        out, err = capsys.readouterr()
        assert (out, err) == ("", "" if quiet else "compiling adam\n")


def test_info(run):
    record = json.loads(run("info", "--json").stdout)
    assert {"closed-form", "fused", "reference"} == set(record["engines"])
    assert "torch" in record["versions"]
    assert "engines" in run("info").stdout


def test_version_and_module_entry():
    out = subprocess.run([sys.executable, "-m", "quadsim.cli", "--version"], capture_output=True, text=True, check=True)
    assert out.stdout == f"quadsim {quadsim.__version__}\n"
    assert re.match(r"quadsim \d+\.\d+", out.stdout)


@pytest.mark.parametrize("command", [[], ["sweep"], ["rules"], ["info"]], ids=str)
def test_help_has_an_example(run, command):
    assert "Example: quadsim" in run(*command, "--help").stdout


def test_help_imports_nothing_heavy():
    code = "import sys, quadsim.cli.app; print([m for m in ('torch', 'numpy', 'sympy', 'numba', 'pandas', 'rich') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_help_shows_the_summary_of_every_command_whole(run):
    summaries = [line for line in run("--help").stdout.partition("Commands:")[2].splitlines() if line.strip()]
    assert len(summaries) >= 9
    assert max(map(len, summaries)) <= 80
    assert [line for line in summaries if not line.endswith(".") or line.endswith("...")] == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.0123, "0.012 s"),
        (9.96, "10 s"),
        (4.66, "4.7 s"),
        (99.4, "99 s"),
        (119.0, "120 s"),
        (580, "10 min"),
        (6000, "100 min"),
        (7200, "2 h"),
        (2e5, "2.3 days"),
        (1e9, "32 years"),
        (1e15, "32,000,000 years"),
    ],
)
def test_an_estimate_is_told_in_the_unit_that_one_would_choose(seconds, text):
    assert duration_text(seconds) == text


LIGHT = {
    "help": ("--help",),
    "rules": ("rules", "adam"),
    "theorems": ("theorems",),
    "info": ("info",),
}
HEAVY = ("torch", "sympy", "numba", "scipy", "pandas", "seaborn", "matplotlib", "xarray", "z3")
LOADED = """
import sys
sys.argv = ["quadsim", *sys.argv[1:]]
from quadsim.cli import main
try:
    main()
finally:
    print("loaded", sorted(set(HEAVY) & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize("name", LIGHT)
def test_what_is_shown_a_second_time_loads_no_heavy_library(run, name, tmp_path, monkeypatch):
    monkeypatch.setenv("QUADSIM_CACHE", str(tmp_path))
    tmp_path.chmod(0o700)
    monkeypatch.setenv("COLUMNS", "80")
    first = run(*LIGHT[name])  # keeps the texts of SymPy
    code = LOADED.replace("HEAVY", repr(HEAVY))
    second = subprocess.run([sys.executable, "-c", code, *LIGHT[name]], capture_output=True, text=True, check=True)
    assert second.stderr.strip() == "loaded []"
    assert second.stdout.split() == first.stdout.split()  # lines may break one column apart


def test_texts_are_kept_for_each_width_and_form(run, tmp_path, monkeypatch):
    monkeypatch.setenv("QUADSIM_CACHE", str(tmp_path))
    tmp_path.chmod(0o700)
    texts = []
    for width in ("40", "70", "40"):
        monkeypatch.setenv("COLUMNS", width)
        texts.append(run("rules").stdout)
    assert texts[0] == texts[2] != texts[1]
    assert json.loads(run("rules", "--json").stdout)[0]["name"] == "gd"
    assert len(list(tmp_path.iterdir())) == 2
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:-9])  # damaged
    assert run("rules").stdout == texts[2]


def test_readme_sweeps_are_valid():
    """Every sweep the README and its page on toy models show is accepted (its configuration, not its run)."""
    from quadsim.cli.commands import sweep as module

    root = Path(__file__).parents[2]
    shown = (root / "README.md").read_text() + (root / "docs/toy-models.md").read_text()
    commands = {line.split("#")[0].strip() for line in shown.splitlines() if line.startswith("quadsim sweep")}
    assert len(commands) >= 8
    for command in (shlex.split(text) for text in sorted(commands)):
        result = CliRunner().invoke(app, [*command[1:], *([] if "--dry-run" in command else ["--dry-run"])])
        assert result.exit_code == 0, (command, result.stderr)
    assert module.sweep_command.__doc__
    assert SweepConfig().heterogeneity == (1.0, 10.0, 100.0)
