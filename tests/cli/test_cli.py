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
import typer
from cases import BAD_SWEEPS
from typer.testing import CliRunner

import quadsim
from quadsim.cli.app import app
from quadsim.cli.commands import sweep as sweep_command
from quadsim.cli.commands.early_checks import check_early
from quadsim.cli.commands.sweep_options import config_from_texts, read_options
from quadsim.cli.console import duration_text, library_messages
from quadsim.cli.text import environment
from quadsim.cli.text.stored_table import read_printed
from quadsim.simulator import RULES, extend, load_results, sweep
from quadsim.simulator.engines import ENGINES
from quadsim.simulator.models.partitions import PARTITIONS
from quadsim.simulator.models.problem import DIALS_OF_MODELS, MODELS, MODES
from quadsim.simulator.problems import coupling, spectra
from quadsim.simulator.support.devices import DTYPES
from quadsim.simulator.sweeps.config.families import FAMILIES
from quadsim.simulator.sweeps.config.grid import UNTIL
from quadsim.simulator.sweeps.config.quadratics import SweepConfig
from quadsim.simulator.sweeps.run import driver, extension
from quadsim.theory import judge

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
    result = run("sweep", *SMALL, "--no-figures", "--json", "--out", "here")
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
    for text in ("median steps", "10-90%", "see below", "fewer steps", "chosen with hindsight", "Files: runs/sweep-"):
        assert text in result.stdout, text
    (folder,) = (tmp_path / "runs").iterdir()
    assert {p.name for p in folder.iterdir()} == {
        "config.json",
        "manifest.json",
        "summary.parquet",
        "trajectories.nc",
        "guarantees.parquet",
        "figures",
        "report.html",
        "table.json",
    }
    assert {p.name for p in (folder / "figures").iterdir()} >= {
        f"{name}.{suffix}" for name in ("steps", "gap") for suffix in ("png", "pdf", "csv")
    }


def test_quiet_prints_the_answer_alone(run):
    result = run("sweep", *SMALL, "--no-figures", "--quiet")
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
    one = [*SMALL, "--optimizers", "gd", "--lr", "0.1", "--no-figures", "--out", "a"]
    assert run("sweep", *one).exit_code == 0
    result = run("sweep", *one, "--seed", "1")
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
    "bench --main-job": [],
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
        r"out must be (empty or hold|a folder|the name of a (file or )?folder).* got .*a.*; .*(choose another|shorten it)",
        result.stderr,
    )
    left = [p.read_text() for p in tmp_path.rglob("*") if p.is_file()]
    assert left == ([] if make == "long name" else ["mine"])


def test_a_folder_that_cannot_be_made_is_refused(run):
    result = run("sweep", *SMALL, "--out", "/proc/quadsim")
    assert result.exit_code == 2
    assert "out must be a folder that can be written, got /proc/quadsim" in result.stderr


def test_config_repeats_a_sweep_bit_by_bit(run, tmp_path):
    options = ["--block-size", "3,1+4", "--blocks", "2", "--optimizers", "gd,adam:beta1=0", "--lr", "0.1,0.3"]
    run("sweep", "--heterogeneity", "2", "--seeds", "2", "--steps", "300", *options, "--no-figures", "--out", "a")
    result = run("sweep", "--config", "a/config.json", "--no-figures", "--out", "b")
    assert result.exit_code == 0, result.stderr
    first, second = (pd.read_parquet(tmp_path / name / "summary.parquet") for name in "ab")
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert set(first["optimizer"]) == {"gd", "adam:beta1=0"}
    assert set(first["block_size"]) == {"3", "1+4"}


def test_config_refuses_further_options(run, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(SweepConfig().to_json()))
    result = run("sweep", "--config", "config.json", "--steps", "10")
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
    assert re.search(r"324 runs of 400 steps: about \S+ \w+ and \S+ \w+ .*; up to \S+ \w+ if the grid", result.stdout)
    assert list(tmp_path.iterdir()) == []
    document = json.loads(run("sweep", *SMALL, "--dry-run", "--json").stdout)
    assert document["runs"] == 324
    assert document["runs_at_most"] == 324 * 33 / 9  # 4 rates a decade, of 2 and of 8 decades
    assert document["seconds"] > 0


def test_a_diverging_rate_is_a_status(run, tmp_path):
    dials = ["--heterogeneity", "2", "--lr", "100", "--optimizers", "gd", "--seeds", "2"]
    result = run("sweep", *dials, "--no-figures", "--out", "a")
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
    small = [*SMALL, "--optimizers", "gd,adam", "--no-figures"]
    stopped = run("sweep", *small, "--out", "a")
    assert stopped.exit_code == 130
    assert "what was finished is kept in a" in stopped.stderr
    assert len(list((tmp_path / "a/units").iterdir())) == 2
    assert run("sweep", *small, "--out", "a").exit_code == 0
    resumed = len(calls) - 3
    assert run("sweep", *small, "--out", "b").exit_code == 0
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
    "a finished sweep": ("sweep", *SMALL, "--optimizers", "gd,adam", "--no-figures", "--out", "here"),
    "its JSON": ("sweep", *SMALL, "--optimizers", "gd,adam", "--no-figures", "--out", "here", "--json"),
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


@pytest.mark.parametrize(
    ("build", "driver", "asked"),
    [("2.13.0+cpu", True, False), ("2.15.0", False, False), ("2.15.0+cu132", False, False), ("2.15.0", True, True)],
)
def test_torch_is_asked_for_gpus_only_where_it_could_see_one(monkeypatch, build, driver, asked):
    monkeypatch.setattr(environment, "version", lambda name: build)
    monkeypatch.setattr(environment, "_nvidia_driver", lambda: driver)
    monkeypatch.setitem(sys.modules, "torch", None)  # an import raises ModuleNotFoundError
    if asked:
        with pytest.raises(ModuleNotFoundError, match="torch"):
            environment.environment()
    else:
        assert environment.environment()["gpus"] == []


@pytest.mark.parametrize("name", LIGHT)
def test_what_is_shown_a_second_time_loads_no_heavy_library(run, name, tmp_path, monkeypatch):
    monkeypatch.setenv("QUADSIM_CACHE", str(tmp_path))
    tmp_path.chmod(0o700)
    monkeypatch.setenv("COLUMNS", "80")
    first = run(*LIGHT[name])  # keeps the texts of SymPy, and the table of the sweep
    code = LOADED.replace("HEAVY", repr(HEAVY))
    second = subprocess.run([sys.executable, "-c", code, *LIGHT[name]], capture_output=True, text=True, check=True)
    needed = ["torch"] if name == "info" and environment.may_see_gpus() else []  # only torch knows the names of GPUs
    assert second.stderr.splitlines()[-1] == f"loaded {needed}"
    assert second.stdout.split() == first.stdout.split()  # lines may break one column apart


MISTYPED = [
    ("--optimizers", "gd,adm"),
    ("--optimizers", "gd,adam:beta=0"),
    ("--optimizers", "adam:beta1=0|2"),
    ("--optimizers", "adam:beta1=x"),
    ("--until", "frist"),
    ("--engine", "fussed"),
    ("--mode", "scale,arange"),
    ("--case", "cnn"),
    ("--keep", "row"),
    ("--dtype", "float16"),
    ("--select-on", "none"),
    ("--seeds", "0"),
    ("--steps", "1.5"),
    ("--tolerance", "1"),
    ("--lr-density", "2000"),
    ("--seed", "-1"),
    ("--lr", "0.1,0"),
    ("--heterogeneity", "0.5"),
    ("--heterogeneity", ""),
    ("--model", "mlpp"),
    ("--model", "mlp", "--dial", "zip"),
    ("--model", "mlp", "--until", "mean"),
    ("--model", "mlp", "--partition", "all"),
    ("--model", "mlp", "--heterogeneity", "0"),
]


@pytest.mark.parametrize("arguments", MISTYPED, ids=" ".join)
def test_what_is_mistyped_is_refused_by_the_early_check_in_the_words_of_the_library(arguments):
    """What the early check repeats are the optimizers; ranges and choices come from one table, but so must the names."""
    texts = {
        flag.removeprefix("--").replace("-", "_"): text
        for flag, text in zip(arguments[::2], arguments[1::2], strict=True)
    }
    given = read_options(texts)
    with pytest.raises(ValueError, match=r"must (be|hold)") as early:
        check_early(given)
    with pytest.raises(ValueError, match=r"must (be|hold)") as late:
        config_from_texts(texts)
    assert str(early.value) == str(late.value)


def test_the_early_check_loads_no_library(tmp_path, monkeypatch):
    monkeypatch.setenv("QUADSIM_CACHE", str(tmp_path))
    tmp_path.chmod(0o700)
    check_early({"optimizers": ("adam",)})  # keeps the names
    code = LOADED.replace("HEAVY", repr(HEAVY))
    for arguments in (MISTYPED[0], MISTYPED[4]):
        command = [sys.executable, "-c", code, "sweep", *arguments]
        out = subprocess.run(command, capture_output=True, text=True, check=False)
        assert out.returncode == 2
        assert out.stderr.splitlines()[-1] == "loaded []"


def test_options_have_the_choices_of_the_library():
    """The tables of options are written without imports."""
    owners = {"quadratic": {"mode": spectra.MODES, "case": spectra.CASES, "engine": ("auto", *ENGINES)}}
    owners["quadratic"]["partition"] = coupling.PARTITIONS
    owners["model"] = {"model": tuple(MODELS), "dial": DIALS_OF_MODELS, "partition": PARTITIONS, "mode": MODES}
    for kind, family in FAMILIES.items():
        options = family.all_options
        expected = owners.get(kind, {}) | {"dtype": tuple(DTYPES)}
        assert {name: options[name].choices for name in expected} == expected
        assert set(options["until"].choices) <= UNTIL.keys()
        own = {"until", "select_on", "keep"}  # these names are of sweeps: the table of options alone lists them
        assert {name for name, option in options.items() if option.choices} - own == set(expected)


@pytest.fixture
def finished(run, tmp_path):
    """A finished sweep without figures, with the command."""
    command = ("sweep", *SMALL, "--optimizers", "gd,adam", "--no-figures")
    first = run(*command, "--out", "here")
    assert first.exit_code == 0, first.stderr
    return command, first.stdout, tmp_path / "here"


def test_a_sweep_without_figures_is_finished_and_says_so(run, finished):
    command, stdout, folder = finished
    assert not (folder / "figures").exists()
    assert not (folder / "report.html").exists()
    assert "left out" in json.loads((folder / "manifest.json").read_text())["figures"]
    assert "report.html" not in stdout
    assert run("report", folder).exit_code == 0
    assert (folder / "report.html").is_file()
    assert run(*command[:-1], "--out", folder).exit_code == 0


def test_the_stored_table_is_printed_only_where_it_is_that_of_the_folder(run, finished, monkeypatch):
    command, stdout, folder = finished
    monkeypatch.setattr(sweep_command, "_results", lambda *_, **__: pytest.fail("the results were read"))
    again = run(*command, "--out", folder)
    assert again.stdout == stdout
    assert again.stderr.startswith("Already finished")
    assert run("sweep", "--config", folder / "config.json", "--out", folder, "--no-figures").stdout == stdout
    table, summary = folder / "table.json", folder / "summary.parquet"
    kept = table.read_text(), summary.read_bytes()

    def is_read(*arguments):
        with pytest.raises(pytest.fail.Exception, match="the results were read"):
            run(*(arguments or (*command, "--out", folder)))

    table.write_text(kept[0].replace("optimizer", "optimiser", 1))
    is_read()
    table.write_text("[1]")
    is_read()
    table.write_text(kept[0])
    summary.write_bytes(kept[1][:-1] + bytes([kept[1][-1] ^ 1]))
    is_read()
    summary.write_bytes(kept[1])
    is_read(*command[:-1], "--out", folder)  # with figures, which are not there
    assert run(*command, "--out", folder).stdout == stdout


def test_an_extension_takes_the_stored_table_with_it(run, finished, monkeypatch):
    *_, folder = finished
    grown = run("sweep", "--extend", folder, "--seeds", "4", "--no-figures")
    assert grown.exit_code == 0, grown.stderr
    assert "4 problems a row" in " ".join(grown.stdout.split())
    assert "left out" in json.loads((folder / "manifest.json").read_text())["figures"]
    assert not (folder / "figures").exists()
    again = run("sweep", "--config", folder / "config.json", "--out", folder, "--no-figures")
    assert (again.stdout, again.stderr.startswith("Already finished")) == (grown.stdout, True)
    assert read_printed(folder, None, figures=False) is not None
    with monkeypatch.context() as patch:  # the process ends before the files take their place
        patch.setattr(extension, "settle", lambda folder: None)
        extend(folder, judge, present=None, seeds=5)
    assert (folder / "table.json").is_file()
    assert read_printed(folder, None, figures=False) is None
    extend(folder, judge, present=None, seeds=6)
    assert not (folder / "table.json").exists()


def test_no_stored_table_answers_for_a_file_of_the_users(run, tmp_path):
    """Options name the file alone, and its content may change; the same options without it ask for another sweep."""
    text = "from quadsim.simulator import Rule, symbols\n\nMINE = Rule(name='mine', step=-FACTOR * symbols.lr * symbols.g)\n"
    (tmp_path / "mine.py").write_text(text.replace("FACTOR", "1"))
    command = ["sweep", "--heterogeneity", "1", "--seeds", "2", "--steps", "50", "--lr", "0.1", "--engine", "reference"]
    command += ["--no-figures", "--out", "here"]
    first = run(*command, "--optimizer-file", "mine.py")
    assert first.exit_code == 0, first.stderr
    again = run(*command, "--optimizer-file", "mine.py")
    assert (again.exit_code, again.stdout) == (0, first.stdout)
    without = run(*command)
    assert (without.exit_code, without.stdout) == (2, "")
    assert "the same configuration" in without.stderr
    (tmp_path / "mine.py").write_text(text.replace("FACTOR", "2"))
    changed = run(*command, "--optimizer-file", "mine.py")
    assert (changed.exit_code, changed.stdout) == (2, "")
    assert "the same configuration" in changed.stderr


def test_the_best_rates_of_a_sweep_are_those_read_again(finished):
    *_, folder = finished
    config = SweepConfig(heterogeneity=(1, 4), seeds=3, steps=400, block_size=3, blocks=2, optimizers=("gd", "adam"))
    pd.testing.assert_frame_equal(sweep(config, judge).best, load_results(folder).best)


def test_a_long_sweep_states_its_time_before_it_runs(monkeypatch, capsys):
    monkeypatch.setattr(driver, "estimate", lambda config: driver.Estimate(config.runs, 95.0, 0.0, 0.0))
    config = SweepConfig(steps=10**6, lr=(1.0,))
    sweep_command._state_time(config)
    assert capsys.readouterr().err.startswith(f"{config.runs} runs of 1000000 steps: about 95 s. Ctrl-C")
    sweep_command._state_time(SweepConfig(steps=10**6))
    assert "steps: about 95 s; up to 6 min if the grid of rates has to be extended. Ctrl-C" in capsys.readouterr().err
    sweep_command._state_time(SweepConfig(steps=100, lr=(1.0,)))
    assert capsys.readouterr().err == ""


def test_the_help_of_sweep_is_in_groups(run):
    lines = run("sweep", "--help").stdout.splitlines()
    headings = [line.rstrip(":") for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert {"Every sweep", "Only on quadratics", "Only with --model", "Where it runs", "What comes out"} <= set(
        headings
    )
    assert lines.index("Only with --model:") < next(i for i, line in enumerate(lines) if line.startswith("  --kernel"))


def test_every_option_of_every_command_is_explained():
    """A noun phrase or a sentence: at least three words that begin with a capital letter, no list of values alone."""
    commands = typer.main.get_command(app).commands
    helps = {
        f"{name} {parameter.name}": (getattr(parameter, "help", None) or "").partition(" [")[0]
        for name, command in commands.items()
        for parameter in command.params
        if parameter.name != "help"
    }
    assert len(helps) > 80
    short = {name: text for name, text in helps.items() if not text[:1].isupper() or len(text.split()) < 3}
    assert short == {}


def test_texts_are_kept_for_each_width_and_form(run, tmp_path, monkeypatch):
    monkeypatch.setenv("QUADSIM_CACHE", str(tmp_path))
    tmp_path.chmod(0o700)
    texts = []
    for width in ("40", "70", "40"):
        monkeypatch.setenv("COLUMNS", width)
        texts.append(run("rules").stdout)
    assert texts[0] == texts[2] != texts[1]
    assert json.loads(run("rules", "--json").stdout)[0]["name"] == "gd"
    kept = list(tmp_path.glob("rules.*"))  # beside them stand facts of the rules that no earlier test asked for
    assert len(kept) == 2
    for path in kept:
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
