"""What every command does alike: options once, errors in one line, output that can be written, tables that fit."""

import functools
import io
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cases import LEMMAS_ONLY
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from rich.console import Console
from typer.testing import CliRunner

from quadsim.cli import console, progress
from quadsim.cli.app import app
from quadsim.cli.commands import inspect
from quadsim.cli.text import narrow
from quadsim.cli.text.verification import verification_table
from quadsim.simulator import BlockQuadratic, simulate, simulate_torch
from quadsim.simulator.figures.rates_figure import rates_figure
from quadsim.simulator.figures.sweep_figures import gap_figure, steps_figure
from quadsim.simulator.rules.catalogue import OTHER_NAMES, RULES, resolve_rule
from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.rules.schedules import resolve_schedule
from quadsim.simulator.sweeps.results.results import load_results
from quadsim.theory import THEOREMS

LONG = "adam:beta1=0.875:beta2=0.96875:eps=1e-12"


def run(*arguments):
    return CliRunner().invoke(app, list(arguments), prog_name="quadsim")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("sweep --seeds 2 --seeds 3", "--seeds must be given once, got it 2 times; leave one out."),
        (
            "sweep --lr 1 --steps 5 --lr=2",
            "--lr must be given once, got it 2 times; put all values into one, with commas.",
        ),
        ("sweep --compile --compile", "--compile must be given once"),
        ("inspect --curvature --no-curvature", "--curvature must be given once, got it 2 times"),
        ("inspect --model mlp --model conv", "--model must be given once"),
        ("verify gd-upper --problems 2 --problems 3", "--problems must be given once"),
        ("reproduce --list --seed 1 --seed 2", "--seed must be given once"),
        ("report . --json --json", "--json must be given once"),
        ("bench --rounds 1 --rounds 1", "--rounds must be given once"),
        ("rules --source cpu gd --source gpu", "--source must be given once"),
        ("theorems --json --json", "--json must be given once"),
        ("info --json --json", "--json must be given once"),
        ("sweep --sed 3", "No such option: --sed"),
        ("sweep --seeds", "Option '--seeds' requires an argument; see quadsim sweep --help."),
        ("swep", "No such command 'swep'"),
        ("--bogus", "No such option: --bogus"),
        ("report", "Missing argument 'DIR'; see quadsim report --help."),
        ("rules gd adam", "Got unexpected extra argument"),
        ("verify --problems x", "Invalid value for '--problems'"),
        ("sweep 1 10", "Got unexpected extra argument(s) (1 10); see quadsim sweep --help."),
        ("sweep --no-figures gd", "Got unexpected extra argument(s) (gd)"),
        ("sweep --seeds 3 4", "Got unexpected extra argument(s) (4)"),
        ("sweep --heterogeneity 1 gd", "heterogeneity must be a number of at least 1, got 'gd'"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(arguments, message):
    found = run(*arguments.split())
    assert found.exit_code == 2
    assert found.output.startswith(f"Error: {message}")
    assert found.output.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        [
            "--heterogeneity",
            "1",
            "10",
            "--optimizers",
            "heavy-ball:momentum=0|0.5",
            "adam:beta1=0|0.9,beta2=0.99|0.999",
        ],
        ["--heterogeneity=1,", "10", "--optimizers", "heavy-ball:momentum=0|0.5,", "adam:beta1=0|0.9,beta2=0.99|0.999"],
    ],
)
def test_a_list_may_stand_in_several_words(words):
    commas = ["--heterogeneity", "1,10", "--optimizers", "heavy-ball:momentum=0|0.5,adam:beta1=0|0.9,beta2=0.99|0.999"]
    expected, found = (run("sweep", *arguments, "--dry-run", "--json") for arguments in (commas, words))
    assert found.exit_code == 0, found.stderr
    assert json.loads(found.stdout)["config"] == json.loads(expected.stdout)["config"]


def test_arguments_may_be_several_and_no_arguments_are_help():
    assert run("theorems", "gd-upper").exit_code == 0
    assert "--once" not in run("verify", "nothing", "nothing").output
    assert "Usage: quadsim" in run().output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("beta2=0.5", "put a : before every option, and no comma"),
        ("adam:beta1=0.9,beta2=0.5", "put a : between options, no comma"),
        ("adam,beta1=0.9", "put a : before every option"),
    ],
)
def test_a_comma_between_options_is_told_of_the_colon(text, message):
    with pytest.raises(ValueError, match=message):
        OptimizerSpec.parse(text)


def test_the_command_line_tells_of_the_colon():
    found = run("sweep", "--optimizers", "beta2=0.5,adam", "--dry-run")
    assert "optimizer must be NAME or NAME:key=value:key=value, got 'beta2=0.5'" in found.output
    assert run("sweep", "--optimizers", "adam:beta1=0.9,beta2=0.5", "--dry-run").exit_code == 0  # a comma goes on, too
    with pytest.raises(ValueError, match="schedule must be NAME or NAME:warmup=STEPS"):
        resolve_schedule("cosine,warmup=10")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("momentum", "heavy-ball"),
        ("sgd_momentum", "heavy-ball"),
        ("SGDM", "heavy-ball"),
        ("Heavy Ball", "heavy-ball"),
        ("nag", "nesterov"),
        ("Adamax", "adam"),
        ("GD", "gd"),
        ("RMSProp", "rmsprop"),
        ("sign-momentum", "signum"),
    ],
)
def test_other_names_of_an_optimizer_are_suggested_but_not_taken(name, meant):
    with pytest.raises(ValueError, match=rf"did you mean '{meant}'\?"):
        resolve_rule(name)


def test_other_names_are_of_rules_and_none_is_one_itself():
    assert set(OTHER_NAMES.values()) <= set(RULES)
    assert not set(OTHER_NAMES) & set(RULES)


def why_not(theorem, rule, **arguments):
    problem = arguments.pop("problem", BlockQuadratic.generate(2, 3, heterogeneity=10))
    return THEOREMS[theorem].why_not(simulate(problem, rule, steps=3, **arguments)).ravel().tolist()


def test_a_hypothesis_that_fails_gives_what_there_is_and_what_is_needed():
    (reason,) = why_not("heavy-ball", "heavy-ball", lr=0.1)
    L, mu = 10.0, 0.1
    rate, momentum = 4 / (L**0.5 + mu**0.5) ** 2, ((L**0.5 - mu**0.5) / (L**0.5 + mu**0.5)) ** 2
    run = simulate(BlockQuadratic.generate(2, 3, heterogeneity=10), "heavy-ball", lr=0.1, steps=1)
    L, mu = run.problem.block_smoothness.max(), run.problem.block_strong_convexity.min()
    rate, momentum = 4 / (L**0.5 + mu**0.5) ** 2, ((L**0.5 - mu**0.5) / (L**0.5 + mu**0.5)) ** 2
    assert f"0.1 for lr, {rate:.6g} needed for lr, 0.9 for momentum, {momentum:.6g} needed for momentum" in reason
    (reason,) = why_not("heavy-ball", "heavy-ball", lr=rate)
    assert reason.startswith("hypothesis fails: momentum = ")
    assert "9 eigenvectors" not in why_not("gd-lower", "gd", lr=0.1)[0]
    assert "(here 6 eigenvectors in the error)" in why_not("gd-lower", "gd", lr=0.1)[0]
    assert "(here 1e-08 for eps)" in why_not("adam-cycle", "adam", lr=0.1)[0]
    assert re.search(
        r"lr <= min_l C1_l \(here 9 on the left, [\d.]+ on the right\)",
        why_not("adam-frozen", "adam-frozen", lr=9.0)[0],
    )
    assert (
        "got the schedule cosine and noise of standard deviation 0.5"
        in why_not("gd-upper", "gd", lr=0.1, schedule="cosine", gradient_noise_std=0.5)[0]
    )


def test_every_hypothesis_can_say_its_numbers():
    silent = [
        (theorem.name, h.text)
        for theorem in THEOREMS.values()
        for h in theorem.conditions
        if h.seen is None and h.relation is None and theorem.name not in LEMMAS_ONLY and theorem.oracle != "stream"
    ]
    assert silent == [("head-drift", "predictions are uniform, labels equally frequent and drawn independently")]


def test_callables_make_optimizers():
    problem = BlockQuadratic.generate(2, 2)
    wanted = simulate_torch(problem, torch.optim.SGD, lr=0.01, steps=5, momentum=0.9)
    found = simulate_torch(problem, functools.partial(torch.optim.SGD, momentum=0.9), lr=0.01, steps=5)
    made = simulate_torch(
        problem, lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9), lr=0.01, steps=5
    )
    assert found.optimizer == made.optimizer == "SGD"
    assert np.array_equal(found.gap, wanted.gap)
    assert np.array_equal(made.gap, wanted.gap)


@pytest.mark.parametrize(
    ("optimizer", "options", "message"),
    [
        ("Adam", {}, r"the name 'Adam'; give its class, as torch\.optim\.Adam"),
        (torch.optim.SGD([torch.zeros(1)], lr=1.0), {}, r"an object of the class SGD; give its class"),
        (torch.optim.LBFGS, {}, "LBFGS, whose step needs closure"),
        (torch.optim.Adam, {"beta1": 0.9}, "unexpected keyword argument 'beta1'"),
        (functools.partial(torch.optim.Adam, [1]), {}, "multiple values"),
        (torch.optim.SparseAdam, {}, "SparseAdam does not support dense gradients"),
        (None, {}, "an object of the class NoneType"),
    ],
)
def test_what_makes_no_optimizer_is_refused_before_the_run(optimizer, options, message):
    with pytest.raises(ValueError, match=message):
        simulate_torch(BlockQuadratic.generate(2, 2), optimizer, lr=0.01, steps=1000, **options)


@pytest.mark.slow
def test_output_is_written_under_any_encoding():
    code = "from quadsim.cli.app import main; main()"
    for encoding in ("cp932", "ascii"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
        found = subprocess.run(
            [sys.executable, "-c", code, "reproduce", "--list"], capture_output=True, env=environment
        )
        assert found.returncode == 0, found.stderr
        assert found.stdout.count(b"\n") > 100
        assert b"\\u" not in found.stdout  # a substitute that can be read, for every sign we print


@pytest.mark.parametrize(
    ("character", "plain"),
    [("\u2264", "<="), ("\u03bb", "lambda"), ("\u0394", "Delta"), ("\u00e9", "e"), ("\u00b2", "2"), ("\u2212", "-"), ("\u2603", r"\u2603"), ("\udcff", r"\udcff"), ("\u00bd", "1/2")],
)  # fmt: skip
def test_substitutes_can_be_read(character, plain, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    console.encodable_output()
    print(character, end="", flush=True)
    assert stream.buffer.getvalue().decode("ascii") == plain


def test_without_a_terminal_a_line_now_and_then_says_how_far_it_is(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.05)
    with progress.progress_bar(quiet=False) as move:
        move(3, 16, "adam at heterogeneity 10")
        time.sleep(0.2)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert re.fullmatch(r"Running for 0:00:00: 3 of 16, adam at heterogeneity 10", lines[0])
    with progress.progress_bar(quiet=True) as move:
        move(3, 16, "adam")
        time.sleep(0.15)
    assert capsys.readouterr().err == ""


def test_the_bar_of_a_terminal_is_away_while_a_table_is_printed(capsys):
    """A bar on stderr takes what is printed to stdout for lines of its own."""
    with progress._bar(Console(file=io.StringIO(), force_terminal=True)) as shown:
        shown(1, 2, "bounds")
        assert shown._bar.live.is_started
        with shown.hidden():
            assert not shown._bar.live.is_started
            print("table")
        assert shown._bar.live.is_started
    assert capsys.readouterr().out == "table\n"


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept") / "run"
    options = [
        "--seeds",
        "2",
        "--steps",
        "100000",
        "--lr",
        "0.00123,0.0123",
        "--optimizers",
        f"gd,{LONG}",
        "--blocks",
        "2",
    ]
    assert run("sweep", *options, "--block-size", "2", "--out", str(folder)).exit_code == 0
    return folder


def test_a_table_fits_eighty_columns_with_every_name_and_rate(swept, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = run("report", str(swept)).output
    table = shown[: shown.index("\nFrom ", shown.rindex("\n100 "))]
    assert max(map(len, table.splitlines())) <= 80
    assert "\u2026" not in shown
    assert all(part in table for part in ("adam:", "beta1=0.875:", "beta2=0.96875:", "eps=1e-12", "(edge)"))
    assert "heterogeneity" in shown
    assert "0.0123" in shown


def test_steps_and_dials_are_written_as_they_are_typed(tmp_path):
    """No 10,000 stands beside a 10000: in the table, the words, the figures or the report."""
    folder = tmp_path / "out"
    options = ("--heterogeneity", "1,10000", "--seeds", "2", "--lr", "0.0001,0.1", "--steps", "10000")
    shown = run("sweep", *options, "--optimizers", "gd,signsgd,signum", "--out", str(folder))
    report = re.sub(r"<script.*?</script>|<style.*?</style>", "", (folder / "report.html").read_text(), flags=re.DOTALL)
    results = load_results(folder)
    drawn = [steps_figure(results), rates_figure(results), gap_figure(results)]
    for figure in drawn:
        FigureCanvasAgg(figure).draw()
    texts = {text.get_text() for figure in drawn for text in figure.findobj(Text)}
    counted = {
        name: text.count("10000") for name, text in (("shown", shown.output), ("report", report), ("drawn", str(texts)))
    }
    assert min(counted.values()) >= 2, counted
    found = [
        found for text in (shown.output, report, *texts) for found in re.findall(r".{0,20}\b100?,000\b.{0,9}", text)
    ]
    assert not found


DEFAULT_ROW = ["10000", "adam:beta1=0", "0.000141", "> 10000", "6917 - > 10000", "> 10000", "see below", "0.47"]


def printed_lines(capsys, headings, rows, columns):
    title = "Steps until the gap is 1e-06 of the start (16 problems a row, at most 10000 steps)"
    narrow.print_table(narrow.output(), narrow.TextTable(title, headings, (0, 1), rows))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    return lines


def test_the_widest_row_of_the_default_table_takes_one_line_of_eighty_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    headings = ["heterogeneity", "optimizer", "best lr", "median steps", "10-90%", "to stay", "bound", "steps / bound"]
    rows = [["without momentum", *[""] * 7], None, DEFAULT_ROW, None, ["with momentum", *[""] * 7], None, DEFAULT_ROW]
    lines = printed_lines(capsys, headings, rows, 80)
    assert [line.split() for line in lines].count(" ".join(DEFAULT_ROW).split()) == 2
    assert {"without momentum", "with momentum"} <= set(lines)


BOUND_ROWS = [
    ["10000", "adam:beta1=0", "adam-local", "falling rate, from step 12", "1.01 to 0 in 200", "105.5", "128", "1.20"],
    ["", "adam", "adam-from-state", "from the state at step 50, 14 of 16", "0.316", ">= 500263", "1.17e+06", "<= 2.60"],
]


def test_the_table_of_bounds_breaks_no_word_at_eighty_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    headings = ["heterogeneity", "optimizer", "theorem", "speaks of", "lr", "steps", "bound", "bound / steps"]
    lines = printed_lines(capsys, headings, BOUND_ROWS, 80)
    cells = {word for row in BOUND_ROWS for cell in row for word in re.split(r"[ :]|(?<=[a-z]{2}-)", cell)} - {"adam"}
    shown = {part for word in " ".join(lines).split() for part in re.split(r":|(?<=[a-z]{2}-)", word)}
    assert cells <= shown


@pytest.mark.parametrize("columns", [24, 40, 60])
def test_tables_fit_any_terminal(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    rows = [["1", "a" * 9, "2 - > 3"], ["", "b", "7"]]
    lines = printed_lines(capsys, ["heterogeneity", "optimizer", "10-90%"], rows, columns)
    assert any("> 3" in line for line in lines)


def test_a_file_gets_a_row_a_line(swept, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    rows = [line for line in run("report", str(swept)).output.splitlines() if line.startswith("\u2502")]
    assert sum(LONG in row for row in rows) == 3


@pytest.mark.parametrize("columns", [80, 60])
def test_columns_of_text_fit_by_splitting_headings_then_gaps_then_rows(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    report = SimpleNamespace(
        name="gradient-descent-lemma", proved=19, steps=[("", SimpleNamespace(status="proved"))] * 19, cited=0,
        instances=1234567, verdicts=Counter(verified=12345), worst_margin=0.999999, tightness=0.999991,
        verdict="undecided", notes=(), complaints=(), unchecked="", unused=(), derivation=None, hypotheses=(),
    )  # fmt: skip
    lines = verification_table([report], []).splitlines()
    assert max(map(len, lines)) <= columns
    shown = "\n".join(lines)
    assert all(word in shown for word in ("gradient-descent-lemma", "1234567", "0.999991", "undecided"))


def test_listings_fit_eighty_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command in ("rules", "theorems"):
        assert max(map(len, run(command).output.splitlines())) <= 80


def test_a_file_is_as_wide_as_its_text(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert narrow.text_width() is None
    assert narrow.wrapped("word " * 100) == "word " * 100


def test_inspect_says_before_it_starts_what_takes_long_and_what_is_cheaper(capsys):
    inspect._state_columns(SimpleNamespace(problems=3, dimension=9_000))
    said = capsys.readouterr().err
    assert said.startswith("The Hessian of each of 3 seeds has 9,000 columns")
    assert "--no-curvature leaves them out, --seeds 1 takes 3 times less." in said
    inspect._state_columns(SimpleNamespace(problems=1, dimension=100))
    assert capsys.readouterr().err == ""
