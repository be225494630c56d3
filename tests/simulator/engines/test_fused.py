"""The fused engine against the reference, and what only it promises: the same bits whatever runs beside."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numba
import numpy as np
import pytest
import sympy as sp
from cases import OPTIMIZERS
from numba.core import event
from odd_rules import ODD, SEPARABLE
from problems import diagonal_problem, mixed_problem

from quadsim.simulator import RULES, BlockQuadratic, Rule, simulate, symbols
from quadsim.simulator.engines import as_trajectory, prepare, reference
from quadsim.simulator.engines.kernels import cache as kernel_cache
from quadsim.simulator.engines.kernels import cpu_run as fused_cpu
from quadsim.simulator.support import kept

SIZES = (3, 9, 3)  # rows of a block all at once, and four at a time with one left over


def both(problem, rule, **arguments):
    return [simulate(problem, rule, engine=engine, **arguments) for engine in ("fused", "reference")]


def assert_same_bits(one, other):
    for attribute in ("gap", "steps_to_tolerance", "steps_to_stay", "steps_to_mean", "status"):
        assert np.array_equal(getattr(one, attribute), getattr(other, attribute)), attribute


def pick(trajectory, problems, settings):
    rows = np.ix_(problems, settings)
    return replace(
        trajectory,
        gap=trajectory.gap[rows],
        steps_to_tolerance=trajectory.steps_to_tolerance[rows],
        steps_to_stay=trajectory.steps_to_stay[rows],
        steps_to_mean=trajectory.steps_to_mean[rows],
        status=trajectory.status[rows],
    )


def assert_agree(fused, expected, rtol=1e-10):
    np.testing.assert_allclose(fused.gap, expected.gap, rtol=rtol)
    assert np.array_equal(fused.steps_to_tolerance, expected.steps_to_tolerance)
    assert np.array_equal(fused.steps_to_stay, expected.steps_to_stay)
    assert np.array_equal(fused.steps_to_mean, expected.steps_to_mean)
    assert np.array_equal(fused.status, expected.status)


# Agreement.


@pytest.mark.parametrize("name", SEPARABLE)
def test_every_rule_agrees_with_the_reference(name):
    case = OPTIMIZERS[name]
    problem = mixed_problem(seed=6, sizes=SIZES)  # with 5, AdamW is chaotic before step 50 already
    for schedule, record in (("constant", "all"), ("cosine:warmup=7", "log"), ("inverse-sqrt:warmup=10", 7)):
        arguments = {"steps": case.steps, "schedule": schedule, "record": record, "tolerance": 0.1}
        assert_agree(*both(problem, name, **case.settings, **arguments))


@pytest.mark.parametrize(("name", "settings"), [
    ("heavy-ball", {"lr": [0.03, 0.5, 1.5, 1.5], "momentum": [0.9, 0.9, 0.9, 0.99]}), ("adam", {"lr": [0.1, 0.3]}),
])  # fmt: skip
def test_runs_that_leave_the_tolerance_again(name, settings):
    fused, expected = both(mixed_problem(seed=6, sizes=SIZES), name, steps=140, tolerance=0.05, **settings)
    for steps in ("steps_to_tolerance", "steps_to_stay", "steps_to_mean"):
        assert np.array_equal(getattr(fused, steps), getattr(expected, steps))
    assert np.any(np.isfinite(fused.steps_to_stay) & (fused.steps_to_stay > fused.steps_to_tolerance))
    assert np.any(np.isfinite(fused.steps_to_mean))


def reordered(problem, seed=0):
    """The same problem with the coordinates of every block in another order, and so with other orders of summation."""
    order = {size: np.random.default_rng(seed).permutation(size) for size in problem.hessian}
    where = [(size, int(np.sum(np.equal(problem.block_sizes[:b], size)))) for b, size in enumerate(problem.block_sizes)]
    blocks = [problem.hessian[size][:, i][:, order[size]][:, :, order[size]] for size, i in where]
    error, minimizer = (
        np.concatenate([part[size][:, i][:, order[size]] for size, i in where], axis=1)
        for part in (problem.initial_error, problem.minimizer)
    )
    return BlockQuadratic.from_blocks(blocks, initial_error=error, minimizer=minimizer)


@pytest.mark.parametrize("name", ["adam", "rmsprop", "adamw", "adam-mini"])
def test_later_on_it_agrees_as_far_as_the_reference_does_with_itself(name):
    problem = mixed_problem(seed=6, sizes=SIZES)
    arguments = {"steps": 200, **OPTIMIZERS[name].settings}
    fused, expected = both(problem, name, **arguments)
    spread = np.zeros(expected.gap.shape)
    for seed in range(3):
        other = simulate(reordered(problem, seed), name, engine="reference", **arguments)
        spread = np.maximum(spread, np.abs(other.gap - expected.gap))
    spread = np.maximum.accumulate(spread / expected.gap, axis=2)
    assert np.all(np.abs(fused.gap / expected.gap - 1) <= np.maximum(1e-10, 100 * spread))


def test_every_block_size_agrees_with_the_reference():
    sizes = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 64)  # one of every kind of code, and one that is large
    problem = mixed_problem(seed=1, sizes=sizes)
    assert_agree(*both(problem, "gd", lr=[0.3, 1.0], steps=300, tolerance=1e-3, schedule="linear"))
    for size in (12, 33):
        problem = mixed_problem(seed=size, sizes=(size, *sizes))
        fused, expected = both(problem, "gd", lr=0.5, steps=3)
        np.testing.assert_allclose(fused.gap, expected.gap, rtol=1e-14)


@pytest.mark.parametrize("dials", [
    {"heterogeneity": 1000.0, "gradient_heterogeneity": 30.0, "alignment": 1.0},
    {"heterogeneity": 20.0, "mode": "arrange", "rotation": 0.0},
    {"rotation": 0.4, "heterogeneity": 5.0},
], ids=str)  # fmt: skip
def test_all_dials_agree_with_the_reference(dials):
    problem = BlockQuadratic.generate(problems=3, block_size=SIZES, **dials)
    for name in ("adam", "signsgd"):
        lr = float(np.sqrt(problem.initial_gap.mean() / problem.dimension)) * np.array([1e-3, 1e-2])
        assert_agree(*both(problem, name, lr=lr, steps=50, tolerance=0.5))


def test_a_users_own_rule_agrees_with_the_reference():
    arguments = {"lr": [0.01, 0.1, 0.02], "beta_1": [0.0, 0.9, 0.5], "steps": 50}
    assert_agree(*both(mixed_problem(sizes=SIZES), ODD, **arguments), rtol=1e-9)


def test_a_state_may_start_at_the_first_gradient():
    m = sp.Symbol("m", real=True)
    rule = Rule(name="warm", update={m: (m + symbols.g) / 2}, start={m: symbols.g}, step=-symbols.lr * m)
    assert_agree(*both(mixed_problem(sizes=SIZES), rule, lr=[0.3, 1.0], steps=300))


@pytest.mark.parametrize("name", ["gd", "adam-mini"])
def test_float32_agrees_with_the_reference_in_float32(name):
    problem = mixed_problem(sizes=SIZES)
    fused, expected = both(problem, name, lr=[0.01, 0.1], steps=40, dtype="float32")
    np.testing.assert_allclose(fused.gap, expected.gap, rtol=1e-3)
    assert fused.gap.dtype == np.float64
    assert np.array_equal(fused.gap[..., 0], np.float32(2 * fused.gap[..., 0]) / 2.0)  # it was not summed in float64
    double = simulate(problem, name, lr=[0.01, 0.1], steps=40, engine="fused")
    assert np.max(np.abs(fused.gap / double.gap - 1)) > 1e-8


# Status.


@pytest.mark.parametrize(("name", "dtype"), [("gd", "float64"), ("gd", "float32"), ("adam", "float64")])
def test_divergence_and_hits_are_those_of_the_reference(name, dtype):
    problem = mixed_problem(sizes=SIZES)
    lr = [1e-3, 0.05, 1.5, 4.5, 9.0, 1e3, 1e30 if dtype == "float32" else 1e160]
    fused, expected = both(problem, name, lr=lr, steps=400, tolerance=0.3, dtype=dtype)
    assert np.array_equal(fused.status, expected.status)
    assert np.array_equal(np.isinf(fused.gap), np.isinf(expected.gap))
    assert len(np.unique(fused.status)) == 3 if name == "gd" else "converged" in fused.status
    early = expected.steps_to_tolerance <= 50
    assert early.any()
    assert np.array_equal(fused.steps_to_tolerance[early], expected.steps_to_tolerance[early])


def test_a_gap_that_is_not_a_number_has_diverged():
    problem = diagonal_problem([1.0, 2.0], [[-1.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    rule = Rule(name="logarithm", step=symbols.lr * sp.log(symbols.g))  # NaN below 0, -inf at 0
    fused, expected = both(problem, rule, lr=[0.5, -np.log(0.5)], steps=30)
    assert_agree(fused, expected)
    assert fused.status[:, 0].tolist() == ["diverged", "diverged", "not_reached"]


def test_the_sign_of_zero_is_zero():
    problem = diagonal_problem([1.0, 1.0], [[0.0, 1.0]])
    for name in ("signsgd", "signum", "lion", "adam-frozen"):
        fused, expected = both(problem, name, lr=0.25, steps=3)
        assert_agree(fused, expected)
        assert fused.gap[0, 0, 0] == 0.5
        assert fused.gap[0, 0, -1] < 0.5


def test_starts_at_the_solution_and_far_away():
    for start in (0.0, 1e150):
        problem = BlockQuadratic.from_blocks([np.eye(3)], initial_error=[start, start / 10, 0.0])
        fused, expected = both(problem, "gd", lr=[0.5, 3.0], steps=200, tolerance=1e-3)
        assert_agree(fused, expected)
    assert fused.status.tolist() == [["converged", "diverged"]]


def test_stopping_early_changes_nothing():
    # In a tile with a run that lives, the others go on after they diverged; alone, they stop.
    problem = mixed_problem(sizes=SIZES)
    settings = {"steps": 700, "record": 50, "engine": "fused", "tolerance": 0.5}
    beside = simulate(problem, "gd", lr=[9.0, 0.1], **settings)
    alone = simulate(problem, "gd", lr=[9.0], **settings)
    assert_same_bits(alone, pick(beside, range(3), [0]))
    job = prepare(problem, "gd", lr=[9.0], steps=700, record=50)
    assert np.all(np.isinf(fused_cpu.run(job).gap[..., -10:]))  # not a number that nobody wrote
    assert np.all(np.isfinite(fused_cpu.run(job).diverged))


# The same bits.


@pytest.mark.parametrize("name", ["adam", "adam-mini"])
def test_a_run_has_the_same_bits_whatever_runs_beside(name):
    problem = mixed_problem(problems=9, sizes=SIZES)
    lr = np.geomspace(1e-3, 0.5, 33)
    arguments = {"steps": 300, "record": 10, "tolerance": 0.3, "engine": "fused"}
    whole = simulate(problem, name, lr=lr, **arguments)
    assert len(np.unique(whole.steps_to_tolerance)) > 10
    for problems in ([0], [7], [8, 2, 3], range(4, 9)):
        assert_same_bits(simulate(problem.select(problems), name, lr=lr, **arguments), pick(whole, problems, range(33)))
    for settings in ([0], [32], range(3), range(1, 9), range(9), range(16), range(10, 27), range(32)):
        assert_same_bits(simulate(problem, name, lr=lr[settings], **arguments), pick(whole, range(9), settings))


def test_packed_lanes_give_the_same_bits_as_tiles(monkeypatch):
    """Of a rule that reads what belongs to a problem, with runs that diverge beside others."""
    rule = Rule(name="small", update={}, step=-symbols.lr * (symbols.g / symbols.L_l + symbols.w / 100))
    problem = mixed_problem(problems=5, sizes=(3, 2, 3))
    packed = []
    runs = []
    for answer in (True, False):

        def is_packed(*_, answer=answer):
            packed.append(answer)
            return answer

        monkeypatch.setattr(fused_cpu, "_is_packed", is_packed)
        lr = np.geomspace(1e-6, 1e3, 9)
        runs.append(simulate(problem, rule, lr=lr, steps=300, record="log", engine="fused"))
    assert packed == [True, False]
    assert {"diverged", "not_reached"} <= set(runs[0].status.ravel())
    for field in ("gap", "steps_to_tolerance", "steps_to_stay", "steps_to_mean", "status"):
        np.testing.assert_array_equal(getattr(runs[0], field), getattr(runs[1], field))


def test_small_blocks_are_packed_where_no_thread_is_left_without_work(monkeypatch):
    def is_packed(problems, settings, block_size=3):
        problem = BlockQuadratic.generate(heterogeneity=10, blocks=3, block_size=block_size, problems=problems)
        return fused_cpu._is_packed(
            prepare(problem, "gd", lr=np.linspace(0.1, 1, settings), steps=9), np.dtype(float), 4
        )

    monkeypatch.setattr(fused_cpu, "number_of_threads", lambda: 2)
    assert is_packed(16, 9)
    assert is_packed(16, 4)
    assert is_packed(16, 1)
    assert not is_packed(1, 4)
    assert not is_packed(16, 9, block_size=12)
    monkeypatch.setattr(fused_cpu, "number_of_threads", lambda: 64)
    assert not is_packed(16, 9)


def test_a_run_has_the_same_bits_for_any_number_of_threads_and_in_any_portions(monkeypatch):
    problem = mixed_problem(problems=9, sizes=SIZES)
    arguments = {"lr": np.geomspace(1e-3, 0.5, 20), "steps": 701, "record": 10, "tolerance": 0.3, "engine": "fused"}
    whole = simulate(problem, "adam", **arguments)
    before = numba.get_num_threads()
    try:
        for threads in range(1, numba.config.NUMBA_NUM_THREADS + 1):
            numba.set_num_threads(threads)
            assert_same_bits(simulate(problem, "adam", **arguments), whole)
    finally:
        numba.set_num_threads(before)
    monkeypatch.setattr(fused_cpu, "_PRODUCTS_AT_ONCE", 1)  # a stretch of steps at a time
    assert_same_bits(simulate(problem, "adam", **arguments), whole)
    assert_agree(pick(whole, [0], [0]), simulate(problem.select([0]), "adam", **arguments | {"lr": 1e-3}), rtol=0.0)


@pytest.mark.parametrize("steps", [1, 126, 127, 128, 129, 255, 256, 257])
def test_the_ends_of_stretches(steps):
    problem = diagonal_problem([1.0], [1.0])
    times = np.array([1.0, 127.0, 128.0, 129.0, 256.0])
    arguments = {"lr": 1 - 0.5 ** (1 / times), "steps": steps, "tolerance": 0.25 * (1 + 1e-9), "engine": "fused"}
    result = simulate(problem, "gd", record="all", **arguments)
    assert np.array_equal(result.steps_to_tolerance[0], np.where(times <= steps, times, np.inf))
    for record in ("log", 1, 64, 128, 10**6):
        part = simulate(problem, "gd", record=record, **arguments)
        assert np.array_equal(part.gap, result.gap[:, :, part.steps])
        assert np.array_equal(part.steps_to_tolerance, result.steps_to_tolerance)


def test_several_runs_at_once_from_several_threads():
    problem, found = mixed_problem(problems=8, sizes=SIZES), []
    arguments = {"lr": [0.01, 0.1], "steps": 400, "engine": "fused"}
    expected = simulate(problem, "adam", **arguments)
    threads = [threading.Thread(target=lambda: found.append(simulate(problem, "adam", **arguments))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    for run in found:
        assert_same_bits(run, expected)


def test_an_error_in_a_thread_is_raised_and_the_rest_is_left():
    main, seen = threading.current_thread(), []

    def work(number, failing):
        seen.append(number)
        time.sleep(0.02)
        if (threading.current_thread() is main) == failing:
            raise IndexError(number)

    for failing in (True, False):
        seen.clear()
        with fused_cpu._Workers(2) as workers, pytest.raises(IndexError):
            workers.all(work, [(number, failing) for number in range(20)])
        if failing:  # as after Ctrl-C
            assert len(seen) < 6


def test_as_trajectory_cuts_off_the_diverged_runs_alone():
    job = prepare(mixed_problem(), "gd", lr=[0.1, 9.0], steps=100)
    ours, theirs = (as_trajectory(job, engine.run(job), "gd", None, "") for engine in (fused_cpu, reference))
    assert_agree(ours, theirs)
    assert np.all(np.isfinite(ours.gap[:, 0]))


# The cache.

AGAIN = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stderr)
from quadsim.simulator import BlockQuadratic, simulate
run = simulate(BlockQuadratic.generate(blocks=1, block_size=3), "signum", lr=[0.01, 0.1], steps=20, engine="fused")
print("numba" in sys.modules, run.gap[0, 1, -1].hex())
"""


def test_a_second_process_does_not_compile_again(tmp_path, monkeypatch, caplog):
    folder = tmp_path / "kernels"
    monkeypatch.setenv("QUADSIM_CACHE", str(folder))
    problem = BlockQuadratic.generate(blocks=1, block_size=3)
    with caplog.at_level("INFO", logger="quadsim"):
        for _ in range(2):
            run = simulate(problem, "signum", lr=[0.01, 0.1], steps=20, engine="fused")
    assert [record.message.partition(" for ")[0] for record in caplog.records] == ["compiling signum"]
    other = subprocess.run([sys.executable, "-c", AGAIN], capture_output=True, text=True, check=True)
    assert other.stdout.split() == ["False", run.gap[0, 1, -1].hex()]
    assert other.stderr == ""
    assert folder.stat().st_mode & 0o777 == 0o700
    assert sorted(p.suffix for p in folder.iterdir()) == [".kernel", ".kernel", ".py"]


def test_source_that_was_changed_on_disk_is_written_again(tmp_path, monkeypatch):
    monkeypatch.setenv("QUADSIM_CACHE", str(tmp_path / "kernels"))
    module = kernel_cache.import_source("x = 1\n", "test")
    path = tmp_path / "kernels" / f"{module.__name__}.py"
    path.write_text("x = 2\n")
    del sys.modules[module.__name__]
    assert kernel_cache.import_source("x = 1\n", "test").x == 1
    assert path.read_text() == "x = 1\n"


def test_threads_that_import_the_same_source_wait_until_it_is_executed(tmp_path, monkeypatch):
    monkeypatch.setenv("QUADSIM_CACHE", str(tmp_path / "kernels"))
    source = "import time\ntime.sleep(0.1)\nx = 1\n"
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(lambda _: kernel_cache.import_source(source, "test").x, range(3))) == [1, 1, 1]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_a_folder_that_others_may_write_to_is_not_used(tmp_path, monkeypatch, caplog):
    kept.warn_once.cache_clear()
    monkeypatch.setenv("QUADSIM_CACHE", str(tmp_path))
    tmp_path.chmod(0o777)
    assert kept.cache_directory() is None
    assert re.search(r"QUADSIM_CACHE must be a folder .* \(others may write to it\); .* chmod 700", caplog.text)
    tmp_path.chmod(0o700)
    assert kept.cache_directory() == tmp_path


def run_anew():
    """As in a new process: nothing of the kernel is in memory."""
    fused_cpu._kernel.cache_clear()
    kept.warn_once.cache_clear()
    for name in [name for name in sys.modules if name.startswith("quadsim_cpu_")]:
        del sys.modules[name]
    problem = BlockQuadratic.generate(blocks=1, block_size=3)
    with event.install_recorder("numba:compile") as compiled:
        run = simulate(problem, "signsgd", lr=[0.01, 0.1], steps=20, engine="fused")
    return run.gap, len(compiled.buffer) > 0


def truncated(path):
    path.write_bytes(path.read_bytes()[:100])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def foreign(path):
    """Whole, but nothing that can be used: machine code for another processor, or no machine code at all."""
    head, _, code = kept.read_kept(path).partition(b"\n") if path.stat().st_size > 100 else (b"{}", b"", b"")
    other = {"key": "another"} if "run_" in path.name else json.loads(head) | {"function": "another"}
    kept.write_kept(path, json.dumps(other).encode() + b"\n" + code)


def a_folder(path):
    path.unlink()
    path.mkdir()


def test_a_damaged_cache_heals(tmp_path, monkeypatch):
    monkeypatch.setenv("QUADSIM_CACHE", str(tmp_path))
    gap, _ = run_anew()
    source, first, second = sorted(tmp_path.iterdir(), key=lambda path: (path.suffix == ".kernel", path.name))
    for damages in ((flipped, truncated, flipped), (truncated, foreign, foreign), (flipped, a_folder, truncated)):
        for path, damage in zip((source, first, second), damages, strict=True):
            damage(path)
        again, compiled = run_anew()
        np.testing.assert_array_equal(again, gap)
        assert compiled
    first.rmdir()
    for compiles in (True, False):
        again, compiled = run_anew()
        np.testing.assert_array_equal(again, gap)
        assert compiled == compiles


@pytest.mark.slow
def test_a_full_disk_and_no_home_cost_time_only(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("QUADSIM_CACHE", str(tmp_path / "a"))
    gap, _ = run_anew()

    def full(path, content):
        raise OSError(28, "No space left on device")

    def unknown(*arguments, **options):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setenv("QUADSIM_CACHE", str(tmp_path / "b"))
    with monkeypatch.context() as patch:
        patch.setattr(kept.store, "write_bytes", full)
        np.testing.assert_array_equal(run_anew()[0], gap)
    assert "the cache cannot be written ([Errno 28] No space left on device)" in caplog.text
    assert list((tmp_path / "b").iterdir()) == []
    monkeypatch.setenv("QUADSIM_CACHE", "~nouser/x")
    np.testing.assert_array_equal(run_anew()[0], gap)
    assert "QUADSIM_CACHE must begin with a home folder that is known here, got ~nouser/x" in caplog.text
    monkeypatch.delenv("QUADSIM_CACHE")
    monkeypatch.setattr(kept.platformdirs, "user_cache_path", unknown)
    assert kept.cache_directory() is None
    assert [record.levelname for record in caplog.records if "home directory" in record.message] == ["WARNING"]


NO_JIT = """
from quadsim.simulator import BlockQuadratic, simulate
problem = BlockQuadratic.generate(blocks=1, block_size=3)
run = simulate(problem, "signsgd", lr=[0.01, 0.1], steps=20)
print(run.engine, run.gap[0, 1, -1].hex())
try:
    simulate(problem, "adam", lr=0.1, steps=5, engine="fused")
except ValueError as error:
    print(error)
"""


def test_without_numbas_compiler_the_reference_engine_runs():
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    found = subprocess.run([sys.executable, "-c", NO_JIT], capture_output=True, text=True, check=True, env=environment)
    first, message = found.stdout.splitlines()
    engine, number = first.split()
    assert engine == "reference"
    assert float.fromhex(number) == pytest.approx(run_anew()[0][0, 1, -1], rel=1e-10)
    assert "got 'fused' (Numba's compiler is switched off by NUMBA_DISABLE_JIT); use engine reference" in message


FEWER_FEATURES = """
import hashlib
from quadsim.simulator import BlockQuadratic, simulate
from quadsim.simulator.engines.kernels.machine import native_lanes
run = simulate(
    BlockQuadratic.generate(blocks=1, block_size=3), "adam", lr=[0.01, 0.1], steps=20, engine="fused", oracle="stream:batch=2"
)
print(native_lanes("float64"), hashlib.sha256(run.gap.tobytes()).hexdigest())
"""


def test_numbas_settings_may_take_vectors_away():
    # LLVM ends the process where a kernel has an instruction of AVX-512 that Numba is told not to compile for. Samples are made
    # in vectors of eight numbers on every processor.
    found = subprocess.run(
        [sys.executable, "-c", FEWER_FEATURES],
        capture_output=True, text=True, check=True, env={**os.environ, "NUMBA_ENABLE_AVX": "0"},
    )  # fmt: skip
    problem = BlockQuadratic.generate(blocks=1, block_size=3)
    here = simulate(problem, "adam", lr=[0.01, 0.1], steps=20, engine="fused", oracle="stream:batch=2")
    assert found.stdout.split() == ["2", hashlib.sha256(here.gap.tobytes()).hexdigest()]


@pytest.mark.slow
@pytest.mark.parametrize("state", ["empty", "damaged"])
def test_several_processes_at_once(tmp_path, monkeypatch, state):
    monkeypatch.setenv("QUADSIM_CACHE", str(tmp_path))
    if state == "damaged":
        subprocess.run([sys.executable, "-c", AGAIN], capture_output=True, check=True)
        for path in tmp_path.iterdir():
            truncated(path)
    many = [subprocess.Popen([sys.executable, "-c", AGAIN], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({process.communicate()[0].split()[1] for process in many}) == 1
    last = subprocess.run([sys.executable, "-c", AGAIN], capture_output=True, text=True, check=True)
    assert last.stdout.split()[0] == "0"
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


def test_every_separable_rule_has_a_kernel_that_can_be_read():
    for name in SEPARABLE:
        source = fused_cpu.kernel_source(RULES[name], (3, 30))
        assert source.startswith(f'"""Fused kernel of {name} on a CPU, float64, ')
        compile(source, name, "exec")
