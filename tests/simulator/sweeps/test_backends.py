"""Where chunks run: the same bits everywhere, workers that die, chunks that fail, devices, and what cannot be."""

import os
import random
import signal
import sys
import threading
import time
import types

import distributed
import psutil
import pytest
import xarray as xr
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.simulator import BlockQuadratic, ModelSweepConfig, SweepConfig, Trajectory, simulate, sweep
from quadsim.simulator.sweeps.backends import Lost, Serial, resolve_backend
from quadsim.simulator.sweeps.backends.processes import Processes
from quadsim.simulator.sweeps.run.driver import UnfinishedError
from quadsim.theory import judge

CONFIG = SweepConfig(
    heterogeneity=(1, 10), seeds=3, steps=200, block_size=3, blocks=2, lr=(0.1, 1.0), optimizers=("gd", "adam")
)
BACKENDS = {
    "processes": {"workers": 2},
    "dask": {"workers": 2},
    "slurm": {"slurm": {"cluster": "local"}, "workers": 2},
}
# What dask and submitit leave to the collector when their workers die is none of ours.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True, scope="module")
def no_figures():
    """Drawing takes most of the time of a small sweep."""
    patch = pytest.MonkeyPatch()
    patch.setattr(
        "quadsim.simulator.figures.sweep_figures.save_figures", lambda results, folder, **_: folder.mkdir(exist_ok=True)
    )
    yield
    patch.undo()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return sweep(CONFIG, judge, out=tmp_path_factory.mktemp("backends") / "whole", present=None).folder


def assert_same(folder, whole):
    assert (folder / "summary.parquet").read_bytes() == (whole / "summary.parquet").read_bytes()
    found, expected = (xr.load_dataset(f / "trajectories.nc", engine="h5netcdf") for f in (folder, whole))
    assert found["gap"].values.tobytes() == expected["gap"].values.tobytes()
    own = {"table.json", "guarantees.parquet", "figures", "report.html"}  # of the command alone
    assert {path.name for path in folder.iterdir()} - own == {path.name for path in whole.iterdir()} - own


def unlucky(folder):
    """A judge that kills its process once, and fails at one chunk for as long as a file is there."""

    def unlucky_judge(run):
        name, first = run.rule.name, run.problem.dials["heterogeneity"] == 1
        if name == "gd" and first:
            try:
                (folder / "kill").unlink()
            except FileNotFoundError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        if name == "adam" and first and (folder / "fail").exists():
            with (folder / "tries").open("a") as file:
                file.write("x")
            raise ArithmeticError("as planned")
        return judge(run)

    return unlucky_judge


@pytest.mark.parametrize("name", ["processes", *(pytest.param(n, marks=pytest.mark.slow) for n in ("dask", "slurm"))])
def test_a_killed_worker_and_a_failing_chunk_cost_no_more_than_that(whole, tmp_path, name):
    for flag in ("kill", "fail"):
        (tmp_path / flag).touch()
    out, backend = tmp_path / "out", resolve_backend(name, **BACKENDS[name])
    with pytest.raises(
        UnfinishedError, match=r"1 of 4 chunks failed 3 times: 0_1_0_1_0_3 \(tracebacks in .*as planned"
    ):
        sweep(CONFIG, unlucky(tmp_path), out=out, backend=backend, present=None)
    assert not (tmp_path / "kill").exists()
    # Of joblib's pool all workers go with one, so that a chunk beside the killed one may lose an attempt.
    assert (tmp_path / "tries").read_text().count("x") == 3 or name == "processes"
    assert "as planned" in (out / "failures/0_1_0_1_0_3.txt").read_text()
    assert len(list((out / "units").iterdir())) == 3
    (tmp_path / "fail").unlink()
    sweep(CONFIG, unlucky(tmp_path), out=out, present=None)
    assert_same(out, whole)


MODEL = {"width": (4,), "layers": (1,), "heterogeneity": (1,), "seeds": 2, "steps": 30, "optimizers": ("gd",)}
OTHERS = {
    "extended": SweepConfig(heterogeneity=(10,), optimizers=("gd", "lion"), seeds=3, steps=400, tolerance=0.01),
    "counts": SweepConfig(
        heterogeneity=(10,), optimizers=("gd", "adam"), seeds=3, steps=400, lr=(0.1,), keep="quantiles"
    ),
    "stream": SweepConfig(
        heterogeneity=(10,),
        batch=("2", "full"),
        label_noise=0.1,
        optimizers=("gd", "adam"),
        seeds=3,
        steps=100,
        lr=(0.01,),
    ),
    "model": ModelSweepConfig(task=("token-map:vocabulary=8",), lr_density=1, **MODEL),
}


@pytest.mark.parametrize(
    ("name", "what"),
    [("processes", "extended")]
    + [
        pytest.param(n, w, marks=pytest.mark.slow) for n in ("processes", "dask") for w in ("counts", "model", "stream")
    ],
)
def test_other_sweeps_are_the_same_bits(tmp_path, name, what):
    folders = [tmp_path / kind for kind in ("serial", name)]
    sweep(OTHERS[what], out=folders[0], present=None)
    sweep(OTHERS[what], out=folders[1], backend=resolve_backend(name, workers=2), present=None)
    file = "histogram.parquet" if what == "counts" else "summary.parquet"
    first, second = ((folder / file).read_bytes() for folder in folders)
    assert first == second


def test_slurm_in_this_process_is_the_same_bits(whole, tmp_path):
    backend = resolve_backend("slurm", slurm={"cluster": "debug"})
    assert_same(sweep(CONFIG, judge, out=tmp_path / "a", backend=backend, present=None).folder, whole)


def test_one_process_for_each_device_cores_are_shared_and_chunks_are_taken_as_workers_become_free(tmp_path):
    taken = []

    def chunks():  # a list of all would fill the memory
        for number in range(10**12):
            taken.append(number)
            yield number

    def place(chunk, device):
        import numba
        import torch

        time.sleep(0.2)
        return device, os.getpid(), torch.get_num_threads(), numba.get_num_threads()

    backend = resolve_backend("processes", devices=("cpu", "cpu:0"))
    with backend.started(tmp_path):
        running = backend.run(place, chunks())
        found = [next(running)[1] for _ in range(12)]
        running.close()
    assert len(taken) < 20
    assert len({device for device, *_ in found}) == len({tuple(each[:2]) for each in found}) == 2
    share = max(1, (os.cpu_count() or 1) // 2)
    assert max(max(each[2:]) for each in found) <= share


def test_one_device_takes_every_chunk(tmp_path):
    """There are more workers than devices; none may keep a device that another waits for."""

    def place(chunk, device):
        return device, os.getpid()

    backend = resolve_backend("processes", devices=("cpu",))
    with backend.started(tmp_path):
        found = dict(backend.run(place, range(8)))
    assert sorted(found) == list(range(8))
    assert {device for device, _ in found.values()} == {"cpu"}


def test_a_function_that_workers_cannot_import_is_said(tmp_path, monkeypatch):
    """Its module is known here alone."""
    nowhere = types.ModuleType("quadsim_of_nowhere")
    exec("def function(chunk, device): return chunk", nowhere.__dict__)
    monkeypatch.setitem(sys.modules, nowhere.__name__, nowhere)
    backend = Processes(2)
    with (
        backend.started(tmp_path),
        pytest.raises(ValueError, match="judge and classes of optimizers must be such that worker processes can"),
    ):
        list(backend.run(nowhere.function, range(3)))


def test_results_do_not_depend_on_the_number_of_threads(tmp_path):
    import numba
    import torch

    config = SweepConfig(
        heterogeneity=(1, 10),
        seeds=5,
        steps=300,
        optimizers=("adam", "gd-lambda", "gd"),
        block_size=(8, 70),
        blocks=2,
        lr=(0.01, 0.1),
    )
    before, found = (torch.get_num_threads(), numba.get_num_threads()), []
    try:
        for threads in (1, numba.config.NUMBA_NUM_THREADS):
            torch.set_num_threads(threads)
            numba.set_num_threads(threads)
            swept = sweep(config, judge, out=tmp_path / str(threads), present=None)
            found.append((swept.folder / "summary.parquet").read_bytes())
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])
    assert found[0] == found[-1]


class Forgetful(Serial):
    """Loses some chunks."""

    def __init__(self, times):
        self.times, self.alone = times, []

    def run(self, function, chunks, *, alone=False):
        self.alone.append(alone)
        for chunk in chunks:
            if chunk.point == 0 and self.times > 0:
                self.times -= 1
                yield chunk, Lost("the worker is gone")
            else:
                yield chunk, function(chunk, None)


def test_a_lost_chunk_is_run_again_and_the_last_time_alone(whole, tmp_path):
    backend = Forgetful(3)
    assert_same(sweep(CONFIG, judge, out=tmp_path / "a", backend=backend, present=None).folder, whole)
    assert backend.alone == [False, False, True]
    with pytest.raises(UnfinishedError, match=r"2 of 4 chunks failed 3 times: .* the first with: the worker is gone"):
        sweep(CONFIG, judge, out=tmp_path / "b", backend=Forgetful(9), present=None)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, ["sweep", *map(str, arguments)], catch_exceptions=False)


def test_the_command_line_names_a_backend(run, whole, tmp_path):
    result = run("--config", whole / "config.json", "--backend", "slurm", "--slurm", "cluster=debug", "--out", "a")
    assert result.exit_code == 0, result.stderr
    assert_same(tmp_path / "a", whole)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--backend", "dsk"], "backend must be one of serial, processes, slurm, dask, got 'dsk'; did you mean 'dask'?"),
    (["--workers", "2"], "workers must go with backend processes or slurm or dask, got it with serial"),
    (["--backend", "processes", "--workers", "0"], "workers must be a whole number of at least 1, got 0"),
    (["--backend", "dask", "--devices", "cpu"], "devices must go with backend processes, got it with dask"),
    (["--backend", "processes", "--devices", "cuda:77"], "device cuda.* must exist, got a machine"),
    (["--backend", "processes", "--devices", "cpu,cpu", "--workers", "3"], "workers must be left out with devices"),
    (["--backend", "processes", "--scheduler", "tcp://a:1"], "scheduler must go with backend dask"),
    (["--backend", "slurm", "--slurm", "cluster"], "slurm must be key=value,key=value, got 'cluster'"),
    (["--backend", "slurm", "--slurm", "cluster=local,colour=3"], "slurm must hold parameters that submitit knows"),
    (["--backend", "slurm", "--slurm", "cluster=far"], "slurm cluster must be one of slurm, local, debug, got 'far'"),
])  # fmt: skip
def test_bad_input_is_one_line(run, tmp_path, arguments, message):
    import re

    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert re.search(message, result.stderr), result.stderr
    assert result.stderr.count("\n") == 1
    assert ";" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "package"), [("dask", "distributed"), ("slurm", "submitit")])
def test_a_missing_extra_is_named(run, monkeypatch, name, package):
    monkeypatch.setattr("importlib.util.find_spec", lambda wanted: None if wanted == package else True)
    result = run("--backend", name)
    assert result.exit_code == 2
    assert f"got an installation without it; pip install 'quadsim[{name}]'" in result.stderr


def test_a_scheduler_that_does_not_answer(run):
    result = run("--backend", "dask", "--scheduler", "nonsense://1")
    assert result.exit_code == 2
    assert "scheduler must be the address of a Dask scheduler with workers" in result.stderr
    with pytest.raises(ValueError, match="No clients found"):  # it was refused before there was one
        distributed.default_client()


def test_no_cluster_is_asked_when_a_file_is_written(tmp_path, monkeypatch):
    """xarray takes a lock from the default client of Dask, which a notebook may hold, and whose cluster may be gone."""

    def asked(*_, **__):
        raise AssertionError("the cluster was asked for a lock")

    monkeypatch.setattr("distributed.Lock.acquire", asked)
    run = simulate(BlockQuadratic.generate(), "gd", lr=0.1, steps=3)
    with distributed.Client(processes=False, dashboard_address=None):
        run.save(tmp_path / "run.nc")
    assert Trajectory.load(tmp_path / "run.nc").gap.shape == run.gap.shape


def is_worker(process):
    try:
        line = " ".join(process.cmdline())
    except psutil.Error:  # it has ended meanwhile
        return False
    return "popen_loky" in line or "submitit.core._submit" in line or "spawn_main" in line


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKENDS)
def test_workers_killed_at_twenty_random_moments(whole, tmp_path, name):
    moments, kills, seconds = random.Random(2), 0, 8.0
    while kills < 20:
        out, stop = tmp_path / str(kills), threading.Event()

        def kill(moment, stop=stop):
            nonlocal kills
            time.sleep(moment)
            while not stop.is_set():
                workers = [p for p in psutil.Process().children(recursive=True) if is_worker(p)]
                if workers:
                    moments.choice(workers).kill()
                    kills += 1
                    return
                time.sleep(0.01)

        killer = threading.Thread(target=kill, args=(moments.uniform(0.0, seconds),))
        begin = time.perf_counter()
        killer.start()
        sweep(CONFIG, judge, out=out, backend=resolve_backend(name, **BACKENDS[name]), present=None)
        stop.set()
        killer.join()
        seconds = (seconds + time.perf_counter() - begin) / 2
        assert_same(out, whole)
        import shutil

        shutil.rmtree(out)
