"""What a user's surroundings do to a command: paths, settings of plots, and failures after the work."""

import importlib
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.simulator import BlockQuadratic, SweepConfig, Trajectory, load_results, simulate, sweep
from quadsim.simulator.figures import sweep_figures as drawn_figures
from quadsim.simulator.support import store
from quadsim.simulator.support.paths import local_path
from quadsim.simulator.sweeps.backends import processes, resolve_backend
from quadsim.theory.claims import reproduce

ROOT = Path(__file__).parents[2]
SMALL = ["--heterogeneity", "2", "--optimizers", "gd", "--seeds", "2", "--steps", "50", "--lr", "0.1"]
CONFIG = SweepConfig(heterogeneity=(2,), optimizers=("gd",), seeds=2, steps=50, lr=(0.1,))
FIGURES = ["gap.csv", "gap.pdf", "gap.png", "steps.csv", "steps.pdf", "steps.png"]
PLAIN = drawn_figures.save_figure


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()

    def call(*arguments):
        return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)

    return call


@pytest.fixture
def full_disk(monkeypatch):
    """No figure can be written."""

    def save_figure(*arguments, **options):
        raise OSError(28, "No space left on device")

    names = (
        "simulator.figures.panels",
        "simulator.figures.sweep_figures",
        "simulator.figures.inspection_figures",
        "cli.pages.claims_figures",
        "cli.pages.verify_figure",
    )
    # All of them are imported first: a module that is imported after the first was patched would keep what was patched.
    for module in [importlib.import_module(f"quadsim.{name}") for name in names]:
        monkeypatch.setattr(module, "save_figure", save_figure)
    return monkeypatch


# Paths.


def test_paths_are_expanded_and_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert local_path("out", "~/runs/x") == Path("/home/me/runs/x")
    assert local_path("out", Path("~")) == Path("/home/me")
    assert local_path("out", "run:1/a::b") == tmp_path / "run:1/a::b"
    assert local_path("out", "./~/x") == tmp_path / "~/x"
    for given, message in [
        ("~nouser/x", "out must begin with a home folder that is known here, got ~nouser/x; write the folder in full"),
        ("", "out must be the name of a file or folder, in Unicode, got ''; give one."),
        ("a\0b", "out must be the name of a file or folder, in Unicode, got 'a"),
        ("a\udcff", "out must be the name of a file or folder, in Unicode, got 'a"),
        (None, "out must be a path, as text or pathlib.Path, got None; "),
        (b"a", "out must be a path, as text or pathlib.Path, got b'a'; "),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            local_path("out", given)


@pytest.mark.parametrize("out", ["run:1", "~/exp:adam/a::b#c?d%20e"])
def test_a_name_that_looks_like_an_address_is_a_folder(run, tmp_path, out):
    first = run("sweep", *SMALL, "--out", out)
    assert first.exit_code == 0, first.output
    folder = tmp_path / out.replace("~", "home").replace("//", "/")
    assert sorted(p.name for p in (folder / "figures").iterdir()) == FIGURES
    second = run("sweep", "--config", f"{out}/config.json", "--out", out)
    assert second.exit_code == 0, second.output
    assert "Already finished" in second.stderr
    assert run("report", out, "--quiet").exit_code == 0
    assert load_results(out).folder == folder
    assert not (tmp_path / "~").exists()


def test_trajectories_and_results_of_the_library(run, tmp_path):
    trajectory = simulate(BlockQuadratic.generate(blocks=1, block_size=2), "gd", lr=0.1, steps=3)
    for name in ("~/t.nc", "a::b.nc", "run:1.nc"):
        trajectory.save(name)
        assert Trajectory.load(name).gap.shape == trajectory.gap.shape
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a::b.nc", "home", "run:1.nc"]
    with pytest.raises(ValueError, match="path must begin with a home folder that is known here"):
        trajectory.save("~nouser/t.nc")
    with pytest.raises(ValueError, match="out must begin with a home folder that is known here"):
        sweep(CONFIG, out="~nouser/x")
    for command in ("sweep", "verify", "reproduce", "bench", "inspect"):
        result = run(command, "--out", "~nouser/x")
        assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1), result.output
        assert "out must begin with a home folder that is known here, got ~nouser/x" in result.stderr
    result = run("sweep", *SMALL, "--out", "")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "DIR must begin with a home folder" in run("report", "~nouser/x").stderr


def test_only_the_store_hands_paths_to_libraries_that_know_addresses():
    calls = re.compile(
        r"to_parquet|read_parquet\(|to_netcdf|open_dataset\(|load_dataset|ParquetWriter|ParquetFile|read_metadata|to_csv"
    )
    for folder in ("simulator", "theory", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            found = [
                line
                for line in path.read_text().splitlines()
                if calls.search(line) and "store.open_dataset" not in line
            ]
            assert not found or path.name == "store.py", f"{path}: {found}"


# Settings of plots.


def test_figures_do_not_depend_on_the_users_settings(tmp_path):
    ours = sweep(CONFIG, out=tmp_path / "ours").folder
    with mpl.rc_context({"text.usetex": True, "font.size": 30, "axes.grid": True, "savefig.bbox": "tight"}):
        before = dict(mpl.rcParams)
        theirs = sweep(CONFIG, out=tmp_path / "theirs").folder
        assert dict(mpl.rcParams) == before
    for name in FIGURES:
        assert (ours / "figures" / name).read_bytes() == (theirs / "figures" / name).read_bytes()


def test_the_users_style_on_request(run, tmp_path):
    with mpl.rc_context({"font.size": 5}):
        assert run("sweep", *SMALL, "--out", "a").exit_code == 0
        ours = (tmp_path / "a/figures/gap.png").read_bytes()
        assert run("report", "a", "--style", "user").exit_code == 0
        assert (tmp_path / "a/figures/gap.png").read_bytes() != ours
        assert run("report", "a").exit_code == 0
        assert (tmp_path / "a/figures/gap.png").read_bytes() == ours
    result = run("report", "a", "--style", "mine")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "style must be one of quadsim, paper, user, got 'mine'" in result.stderr


# Failures after the work.


def test_a_sweep_whose_figures_fail_is_finished(run, tmp_path, full_disk):
    result = run("sweep", *SMALL, "--out", "a")
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error")]
    assert re.fullmatch(
        r"Error: figures and report could not be written \(OSError: .*No space left on device\); the results in .*/a are "
        r"finished, and quadsim report .*/a makes the rest\.", line
    )  # fmt: skip
    assert "median" in result.stdout
    assert "trajectories.nc" in result.stdout
    assert len(load_results("a").summary) == 2
    assert {p.name for p in (tmp_path / "a").iterdir()} == {
        "config.json", "manifest.json", "summary.parquet", "trajectories.nc", "guarantees.parquet", "table.json",
    }  # fmt: skip
    full_disk.setattr(drawn_figures, "save_figure", PLAIN)
    again = run("sweep", *SMALL, "--out", "a")
    assert again.exit_code == 0
    assert "Already finished" in again.stderr
    assert sorted(p.name for p in (tmp_path / "a/figures").iterdir()) == FIGURES
    assert "data:image/png" in (tmp_path / "a/report.html").read_text()


def test_the_library_returns_what_is_finished(tmp_path, full_disk, caplog):
    assert len(sweep(CONFIG, out=tmp_path / "a").summary) == 2
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "could not be made (OSError: [Errno 28] No space left on device); the results are finished" in record.message
    full_disk.setattr(drawn_figures, "save_figure", PLAIN)
    assert sweep(CONFIG, out=tmp_path / "a").has_figures


def test_a_claim_whose_figure_fails_is_judged(run, tmp_path, full_disk, caplog):
    assert run("reproduce", "gd-lower", "--out", "a", "--quiet").exit_code == 1
    assert "the figures of gd-lower could not be drawn (OSError: [Errno 28] No space left on device)" in caplog.text
    (entry,) = json.loads((tmp_path / "a/claims.json").read_text())["claims"]
    assert entry["verdict"] == "proved"
    full_disk.setattr("quadsim.cli.pages.claims_figures.save_figure", PLAIN)
    assert run("report", "a").exit_code == 0
    assert (tmp_path / "a/gd-lower/figure.png").is_file()


def test_an_inspection_whose_figures_fail_is_stored_and_made_again(run, tmp_path, full_disk):
    options = [
        "inspect",
        "--model",
        "mlp",
        "--layers",
        "2",
        "--width",
        "4",
        "--seeds",
        "1",
        "--no-curvature",
        "--out",
        "a",
    ]
    result = run(*options)
    assert result.exit_code == 1
    assert "Error: the figures could not be written" in result.stderr
    assert "Files: a/" in result.stdout
    assert {"config.json", "manifest.json", "summary.parquet"} <= {p.name for p in (tmp_path / "a").iterdir()}
    full_disk.setattr("quadsim.simulator.figures.inspection_figures.save_figure", PLAIN)
    assert run(*options).exit_code == 0
    assert (tmp_path / "a/figures/gradients.png").is_file()
    assert run(*options, "--seed", "1").exit_code == 2


def test_a_verification_whose_report_fails_is_stored(run, tmp_path, full_disk):
    result = run("verify", "gd-upper", "gd-lower", "--problems", "4", "--search", "0", "--out", "a", "--quiet")
    assert result.exit_code == 1
    assert "gd-upper" in result.stdout
    assert "figure and report could not be written" in result.stderr
    full_disk.setattr("quadsim.cli.pages.verify_figure.save_figure", PLAIN)
    assert run("report", "a").exit_code == 0
    assert (tmp_path / "a/report.html").is_file()


def quadsim(arguments, where, **environment):
    line = f"{sys.executable} -m quadsim.cli {arguments}"
    return subprocess.run(
        ["bash", "-c", line], cwd=where, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is of Linux")
def test_output_that_cannot_be_written(tmp_path):
    (tmp_path / "rc").write_text("text.usetex: True\nfont.size: 30\n")
    found = quadsim(
        f"sweep {' '.join(SMALL)} --json --quiet --out a::b > /dev/full", tmp_path,
        MPLBACKEND="module://nosuch.backend", MATPLOTLIBRC=str(tmp_path / "rc"),
    )  # fmt: skip
    assert found.returncode == 1
    assert (
        found.stderr
        == "Error: the output could not be written (No space left on device); make room, or send it elsewhere.\n"
    )
    assert sorted(p.name for p in (tmp_path / "a::b/figures").iterdir()) == FIGURES
    assert (tmp_path / "a::b/report.html").is_file()
    for arguments in ("--version > /dev/full", "sweep --help > /dev/full"):
        found = quadsim(arguments, tmp_path, MPLBACKEND="nosuch")
        assert (found.returncode, len(found.stderr.splitlines())) == (1, 1), found.stderr
    found = quadsim("sweep --help | head -1", tmp_path)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("further", ["--no-figures", ""], ids=["table", "figures"])
def test_a_reader_that_has_enough_leaves_the_results(further, tmp_path):
    """The code is that of a program which SIGPIPE ends."""
    found = quadsim(f"sweep {' '.join(SMALL)} {further} --out a | head -1; exit ${{PIPESTATUS[0]}}", tmp_path)
    assert (found.returncode, found.stderr, len(found.stdout.splitlines())) == (141, "", 1)
    assert (tmp_path / "a" / store.SUMMARY).is_file()
    assert (tmp_path / "a" / store.REPORT).is_file() == (not further)
    again = quadsim(f"sweep {' '.join(SMALL)} {further} --out a", tmp_path)
    assert (again.returncode, again.stderr.startswith("Already finished")) == (0, True)


def test_processes_where_nothing_can_be_shared(tmp_path, monkeypatch, caplog):
    class Context:
        def Lock(self):
            raise OSError(30, "Read-only file system")

    monkeypatch.setattr(processes.multiprocessing, "get_context", lambda name: Context())
    with pytest.raises(ValueError, match=r"/dev/shm that can be written, got none \(OSError: .* use backend serial"):
        sweep(CONFIG, out=tmp_path / "a", backend=resolve_backend("processes", workers=2))
    pytest.importorskip("distributed")
    with (
        pytest.raises(
            ValueError, match=r"backend dask must have semaphores, .* got none \(OSError: .* use backend serial"
        ),
        resolve_backend("dask", workers=2).started(tmp_path),
    ):
        pass
    outcomes = reproduce(("gd-lower", "rearranged"), size="tiny", workers=2)
    assert len(outcomes) == 2
    assert "worker processes cannot be started here (OSError: [Errno 30] Read-only file system)" in caplog.text
