"""Sweeps that are killed, run out of room, are damaged or meet another process: each ends in a clear state and goes on."""

import errno
import importlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import xarray as xr
from cases import with_defaults
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.simulator import SweepConfig, load_results, sweep
from quadsim.simulator.support import store
from quadsim.simulator.sweeps.backends import Serial
from quadsim.simulator.sweeps.run.driver import UnfinishedError
from quadsim.theory import judge

work = importlib.import_module("quadsim.simulator.sweeps.work.quadratics")

GRID = {"heterogeneity": (1, 10), "seeds": 5, "steps": 300, "block_size": 3, "blocks": 2, "lr": (0.01, 0.1, 1.0)}
GRID["optimizers"] = ("gd", "heavy-ball")  # neither needs a kernel
CONFIG = SweepConfig(**GRID)
FLAGS = [
    "--heterogeneity", "1,10", "--seeds", "5", "--steps", "300", "--block-size", "3", "--blocks", "2", "--lr", "0.01,0.1,1",
    "--optimizers", "gd,heavy-ball",
]  # fmt: skip
FILES = {"config.json", "manifest.json", "summary.parquet", "trajectories.nc", "figures"}
CHUNKS = 12  # two points, two optimizers, two, two and one of the five problems


def unit_bytes():
    return 2 * work.QuadraticWork(CONFIG).problem_bytes(CONFIG.points[0], 3)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(work, "UNIT_BYTES", unit_bytes())
    assert len(work.QuadraticWork(CONFIG).firsts(CONFIG.points[0], CONFIG.specs[0], 3)) == 3


@pytest.fixture(autouse=True, scope="module")
def no_figures():
    """Drawing takes most of the time of a small sweep."""
    patch = pytest.MonkeyPatch()
    patch.setattr("quadsim.simulator.figures.sweep_figures.save_figures", drawn)
    yield
    patch.undo()


def drawn(results, folder, **_):
    folder.mkdir(exist_ok=True)
    store.write_whole(folder / "steps.png", lambda path: path.write_bytes(bytes(100)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The undisturbed run."""
    return sweep(CONFIG, judge, out=tmp_path_factory.mktemp("resume") / "whole").folder


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command with FLAGS, of which those that are given again are left out: an option may be given only once."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        options = with_defaults(FLAGS, list(map(str, arguments)))
        return CliRunner().invoke(app, ["sweep", *options], catch_exceptions=False)

    return command


@pytest.fixture(scope="module")
def zygote():
    """Gives a function that starts a sweep in a process of its own and returns its number, and one that says how it ended."""
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("zygote.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"

    def start(folder, **options):
        order = {"folder": str(folder), "config": GRID, "unit_bytes": unit_bytes()} | options
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    yield start, lambda: int(process.stdout.readline())
    process.stdin.close()
    process.wait(30)
    process.stdout.close()


def assert_same(folder, whole):
    assert (folder / "summary.parquet").read_bytes() == (whole / "summary.parquet").read_bytes()
    found, expected = (xr.load_dataset(f / "trajectories.nc", engine="h5netcdf") for f in (folder, whole))
    assert found.identical(expected)
    assert found["gap"].values.tobytes() == expected["gap"].values.tobytes()
    added = {"report.html", "table.json", "guarantees.parquet"}  # by the command line
    assert {path.name for path in folder.iterdir()} - added == FILES
    assert load_results(folder).answers == load_results(whole).answers


class Stopped(Serial):
    """Stops after so many chunks, and counts them."""

    def __init__(self, after=None):
        self.after, self.ran = after, []

    def run(self, function, chunks, *, alone=False):
        for chunk, found in super().run(function, chunks, alone=alone):
            self.ran.append(chunk.key)
            yield chunk, found
            if len(self.ran) == self.after:
                raise KeyboardInterrupt


def stopped(folder, after):
    with pytest.raises(KeyboardInterrupt):
        sweep(CONFIG, judge, out=folder, backend=Stopped(after))
    return sorted((folder / "units").iterdir())


STREAM = {
    **GRID, "batch": ("2", "full"), "label_noise": (0.1,), "noise_law": ("student-5",), "engine": "reference", "steps": 60,
    "heterogeneity": (10,), "tolerance": 0.1, "until": "mean",
}  # fmt: skip


@pytest.mark.parametrize("wanted", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments(zygote, whole, tmp_path, wanted):
    killed_at_random(zygote, whole, tmp_path, wanted)


@pytest.mark.slow
def test_a_stochastic_sweep_killed_at_random_moments(zygote, tmp_path):
    """Twelve steps are enough, as every step draws; a sweep is then mostly files, which is where a kill can do harm."""
    config = {**STREAM, "batch": ("2",), "lr": (0.01, 0.1), "steps": 12}
    whole = sweep(SweepConfig(**config), judge, out=tmp_path / "whole").folder
    killed_at_random(zygote, whole, tmp_path, 20, each=4, config=config)


def test_a_stochastic_sweep_that_is_stopped_goes_on_to_the_same_bits(tmp_path):
    config = SweepConfig(**{**STREAM, "steps": 20})
    whole = sweep(config, judge, out=tmp_path / "whole").folder
    counted = Stopped()
    for after in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            sweep(config, judge, out=tmp_path / "it", backend=Stopped(after))
    sweep(config, judge, out=tmp_path / "it", backend=counted)
    assert len(counted.ran) == 12 - 1 - 2
    assert_same(tmp_path / "it", whole)


def killed_at_random(zygote, whole, tmp_path, wanted, each=2, **options):
    """Kill sweeps so many times, `each` times a folder at most, resume each, and compare all bits with those of the whole."""
    start, ended = zygote
    for name in ("first", "second"):  # the first reads what a process reads once
        begin = time.perf_counter()
        start(tmp_path / name, **options)
        assert ended() == 0
        seconds = time.perf_counter() - begin
        assert_same(tmp_path / name, whole)
    moments, kills, trials = random.Random(0), 0, 0
    while kills < wanted:
        folder, trials = tmp_path / str(trials), trials + 1
        assert trials < 60
        for _ in range(each):
            start(folder, after=moments.uniform(0.0, seconds), **options)
            how = ended()
            assert how in (0, -signal.SIGKILL)
            kills += how != 0
        start(folder, **options)
        assert ended() == 0
        assert_same(folder, whole)


def killed_at(zygote, whole, folder, moment):
    start, ended = zygote
    start(folder, moment=moment)
    how = ended()
    if how == -signal.SIGKILL:
        start(folder)
        assert ended() == 0
    else:
        assert how == 0
    assert_same(folder, whole)
    return how != 0


@pytest.mark.parametrize("share", [0.0, 0.02, 0.04, 0.06, 0.2, 0.5, 0.75, 0.85, 0.95, 1.0])
def test_killed_as_a_file_is_touched(zygote, whole, tmp_path, share, touches):
    assert killed_at(zygote, whole, tmp_path / "a", 1 + round(share * (touches - 1)))


@pytest.mark.slow
def test_killed_at_every_touch_of_a_file(zygote, whole, tmp_path, touches):
    for moment in range(1, touches + 1):
        assert killed_at(zygote, whole, tmp_path / str(moment), moment), moment


@pytest.fixture(scope="module")
def touches(zygote, tmp_path_factory):
    """How often an undisturbed sweep opens, renames, makes or removes something in its folder."""
    start, ended = zygote
    folder = tmp_path_factory.mktemp("touches")
    start(folder / "a", count=str(folder / "count"))
    assert ended() == 0
    return int((folder / "count").read_text())


def test_an_unfinished_sweep_goes_on_where_it_stopped(whole, tmp_path):
    units = stopped(tmp_path / "a", 5)
    assert len(units) == 5
    rest = Stopped()
    sweep(CONFIG, judge, out=tmp_path / "a", backend=rest)
    assert len(rest.ran) == CHUNKS - 5
    assert {unit.name.partition(".")[0] for unit in units}.isdisjoint(rest.ran)
    assert_same(tmp_path / "a", whole)


def test_a_finished_sweep_says_so_and_runs_nothing(run, whole, monkeypatch):
    monkeypatch.setattr(work, "simulate_optimizer", None)
    result = run("--out", whole)
    assert result.exit_code == 0
    assert result.stderr == f"Already finished; this is the stored result in {whole}.\n"
    again = Stopped()
    assert sweep(CONFIG, judge, out=whole, backend=again).answers == load_results(whole).answers
    assert again.ran == []


@pytest.mark.parametrize("finished", [True, False])
def test_another_configuration_is_refused_with_the_difference(run, whole, tmp_path, finished):
    folder = whole
    if not finished:
        folder = tmp_path / "a"
        stopped(folder, 2)
    before = sorted(path.name for path in folder.rglob("*"))
    result = run("--out", folder, "--seed", "1", "--steps", "200")
    assert result.exit_code == 2
    assert f"got {folder} with another one (steps: 300 there, 200 asked; seed: 0 there, 1 asked)" in " ".join(
        result.stderr.split()
    ) or "(seed: 0 there, 1 asked; steps: 300 there, 200 asked)" in " ".join(result.stderr.split())
    assert result.stderr.count("\n") == 1
    assert sorted(path.name for path in folder.rglob("*")) == before


def change(path, how):
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            "truncated": content[:-30],
            "altered": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "empty": b"",
        }[how]
    )


@pytest.mark.parametrize("how", ["truncated", "altered", "empty"])
def test_a_damaged_chunk_is_run_again(whole, tmp_path, how):
    units = stopped(tmp_path / "a", 4)
    change(units[1], how)
    rest = Stopped()
    sweep(CONFIG, judge, out=tmp_path / "a", backend=rest)
    assert len(rest.ran) == CHUNKS - 3
    assert units[1].name.partition(".")[0] in rest.ran
    assert_same(tmp_path / "a", whole)


def test_chunks_of_another_judge_are_run_again(whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        sweep(CONFIG, out=tmp_path / "a", backend=Stopped(4))
    rest = Stopped()
    sweep(CONFIG, judge, out=tmp_path / "a", backend=rest)
    assert len(rest.ran) == CHUNKS
    assert_same(tmp_path / "a", whole)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("summary.parquet", "truncated"),
        ("summary.parquet", "altered"),
        ("trajectories.nc", "altered"),
        ("config.json", "altered"),
        ("manifest.json", "truncated"),
    ],
)
def test_a_damaged_result_is_found_and_made_anew(run, whole, tmp_path, name, how):
    import shutil

    folder = tmp_path / "a"
    shutil.copytree(whole, folder)
    change(folder / name, how)
    with pytest.raises(
        ValueError, match=rf"results must be as they were written, got .*/a, where {name} changed since"
    ):
        load_results(folder)
    result = run("--out", "a")
    assert result.exit_code == 0
    assert re.search(f"{name} in .*/a ", result.stderr)
    assert_same(folder, whole)


def test_a_damaged_configuration_is_not_taken_for_another(run, whole, tmp_path):
    import shutil

    shutil.copytree(whole, tmp_path / "a")
    (tmp_path / "a/config.json").write_text((whole / "config.json").read_text().replace('"seed": 0', '"seed": 1'))
    result = run("--out", "a", "--seed", "1")
    assert result.exit_code == 2
    assert "/a with another one, whose config.json was altered" in result.stderr


def test_two_processes_on_one_folder(zygote, run, whole, tmp_path):
    start, ended = zygote
    holder = start(tmp_path / "a", hold=True)
    while not list((tmp_path / "a/units").glob("*.rows")) if (tmp_path / "a/units").is_dir() else True:
        time.sleep(0.01)
    result = run("--out", "a")
    assert result.exit_code == 2
    assert (
        f"out must be free, got {Path.cwd()}/a, on which process {holder} on {os.uname().nodename} works; wait for it"
        in result.stderr
    )
    assert result.stderr.count("\n") == 1
    os.kill(holder, signal.SIGKILL)
    assert ended() == -signal.SIGKILL
    assert run("--out", "a").exit_code == 0  # the lock went with the process
    assert_same(tmp_path / "a", whole)


def test_a_full_disk_while_chunks_are_written(zygote, whole, tmp_path, capfd):
    """Files of more than 3 kB cannot be written: the first chunk is larger."""
    start, ended = zygote
    start(tmp_path / "a", largest=3000)
    assert ended() == 2
    start(tmp_path / "a")
    assert ended() == 0
    assert_same(tmp_path / "a", whole)


@pytest.mark.parametrize("name", [".rows", "summary", "trajectories", "steps", "manifest"])
def test_a_full_disk_at_any_file(run, whole, tmp_path, monkeypatch, name):
    """A file that is cut off where the disk is full is never taken for a whole one, and nothing else is lost."""
    full = [3 if name == ".rows" else 1]

    def write(path, write, *, durable=True):
        def cut(temporary):
            write(temporary)
            if name in path.name and full[0]:
                full[0] -= 1
                if not full[0]:
                    temporary.write_bytes(temporary.read_bytes()[:-40])
                    raise OSError(errno.ENOSPC, "No space left on device")

        return whole_file(path, cut, durable=durable)

    whole_file = store.write_whole
    monkeypatch.setattr(store, "write_whole", write)
    result = run("--out", "a")
    assert "[Errno 28] No space left on device" in result.stderr
    if name == "steps":  # a figure, which is drawn when the results are finished
        assert result.exit_code == 1
        assert store.is_finished(tmp_path / "a")
        assert run("--out", "a").exit_code == 0
        assert_same(tmp_path / "a", whole)
        return
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "make room and give the same command again" in result.stderr
    kept = len(list((tmp_path / "a/units").iterdir()))
    assert kept == (2 if name == ".rows" else CHUNKS)
    assert not store.is_finished(tmp_path / "a")
    assert run("--out", "a").exit_code == 0
    assert_same(tmp_path / "a", whole)


@pytest.mark.parametrize("begun", [True, False])
def test_a_read_only_folder(zygote, whole, tmp_path, begun):
    start, ended = zygote
    folder = tmp_path / "a"
    stopped(folder, 3) if begun else folder.mkdir()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    for path in (folder, folder / "units"):
        if path.is_dir():
            path.chmod(0o555)
    start(folder, user=65534)
    assert ended() == 2
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    for path in (folder, folder / "units"):
        if path.is_dir():
            path.chmod(0o755)
    start(folder)
    assert ended() == 0
    assert_same(folder, whole)


def test_a_failing_chunk_is_tried_three_times_and_named_and_the_rest_finished(run, whole, tmp_path, monkeypatch):
    real, tries = work.simulate_optimizer, []

    def failing(problem, rule, **options):
        if rule.label == "heavy-ball" and problem.index[0] == 2 and problem.dials["heterogeneity"] == 10:
            tries.append(1)
            raise ArithmeticError("as planned")
        return real(problem, rule, **options)

    monkeypatch.setattr(work, "simulate_optimizer", failing)
    result = run("--out", "a")
    assert result.exit_code == 1
    assert len(tries) == 3
    assert result.stderr.count("\n") == 1
    key = "1_1_0_2_2_2"
    assert f"1 of {CHUNKS} chunks failed 3 times: {key} (tracebacks in {Path.cwd()}/a/failures)" in result.stderr
    assert "ArithmeticError: as planned" in result.stderr
    assert 'raise ArithmeticError("as planned")' in (tmp_path / f"a/failures/{key}.txt").read_text()
    assert len(list((tmp_path / "a/units").iterdir())) == CHUNKS - 1
    assert not store.is_finished(tmp_path / "a")
    monkeypatch.setattr(work, "simulate_optimizer", real)
    assert run("--out", "a").exit_code == 0
    assert_same(tmp_path / "a", whole)


def test_a_chunk_that_fails_twice_is_no_failure(whole, tmp_path, monkeypatch):
    real, tries = work.simulate_optimizer, []

    def failing(problem, rule, **options):
        if rule.label == "gd" and problem.index[0] == 0 and len(tries) < 2:
            tries.append(1)
            raise ArithmeticError("as planned")
        return real(problem, rule, **options)

    monkeypatch.setattr(work, "simulate_optimizer", failing)
    assert_same(sweep(CONFIG, judge, out=tmp_path / "a").folder, whole)
    assert len(tries) == 2


def test_without_a_folder_a_failure_says_what_went_wrong(monkeypatch):
    monkeypatch.setattr(work, "simulate_optimizer", None)
    with pytest.raises(
        UnfinishedError, match=r"12 of 12 chunks failed 3 times: .*; the first with: TypeError: 'NoneType'"
    ):
        sweep(CONFIG)


def test_without_a_folder_results_are_the_same_and_leave_nothing(whole, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    results = sweep(CONFIG, judge)
    stored = load_results(whole)
    pd.testing.assert_frame_equal(results.summary, stored.summary, check_exact=True)
    assert results.curves.equals(stored.curves)
    assert results.folder is None
    assert list(tmp_path.iterdir())
    del results
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="counts what the kernel has mapped")
def test_many_small_chunks_do_not_stay_mapped(whole, tmp_path, monkeypatch):
    """A process may map some 65,000 files, and a grid of one seed has more batches than that among the rows written at once."""
    rows = importlib.import_module("quadsim.simulator.sweeps.run.rows")
    widened, mapped = rows._widened, []

    def counted(*arguments):
        mapped.append(sum(str(tmp_path) in line for line in Path("/proc/self/maps").read_text().splitlines()))
        return widened(*arguments)

    monkeypatch.setattr(rows, "_MOST_MAPPED", 5)
    monkeypatch.setattr(rows, "_widened", counted)
    found = sweep(CONFIG, judge, out=tmp_path / "many").summary
    assert len(mapped) == 3 * CHUNKS
    assert 1 < max(mapped) <= 5
    pd.testing.assert_frame_equal(found, load_results(whole).summary)
