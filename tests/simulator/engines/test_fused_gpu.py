"""The fused GPU engine: in ordinary runs under Triton's interpreter on a CPU, with `-m gpu` on a CUDA device."""

import numpy as np
import pytest
import sympy as sp
import torch

from quadsim.simulator import BlockQuadratic, simulate
from quadsim.simulator.engines import prepare, reference
from quadsim.simulator.engines.kernels.gpu_source import gpu_source, units_of
from quadsim.simulator.engines.kernels.lowering import program
from quadsim.simulator.engines.kernels.streams.gpu_source import stream_source
from quadsim.simulator.problems.oracles import FULL, Stream
from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.rule import BlockMean, Hyperparameter, Ratio, Rule, symbols

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # 0/0 in the interpreter's own division

SEPARABLE = [name for name, rule in RULES.items() if not rule.is_global and name != "sgd"]
SIZES = [(3, 3, 3), (5, 3, 1, 17), (16,), (9, 20)]


def problem(sizes, problems=2, **dials):
    heterogeneity = 1 if len(sizes) == 1 else 10
    return BlockQuadratic.generate(
        blocks=len(sizes), block_size=sizes, heterogeneity=heterogeneity, problems=problems, seed=1, **dials
    )


def job(sizes, rule, device, *, steps=6, lr=(0.05, 0.1, 0.02), **arguments):
    return prepare(problem(sizes), rule, lr=list(lr), steps=steps, device=device, **arguments)


def agrees(one, *, rtol=1e-10, runner=None):
    """Hold a job against the reference on a CPU; returns what the GPU engine found."""
    from quadsim.simulator.engines.kernels import gpu_run as fused_gpu

    got = (runner or fused_gpu.run)(one)
    want = reference.run(
        prepare(
            one.problem,
            one.rule,
            steps=one.steps,
            schedule=one.schedule,
            tolerance=one.tolerance,
            dtype=one.dtype,
            record="all",
            oracle=one.oracle,
            **one.settings,
        )
    )
    np.testing.assert_allclose(got.gap, want.gap[:, :, one.record], rtol=rtol, atol=0.0)
    np.testing.assert_array_equal(got.hit, want.hit)
    np.testing.assert_array_equal(got.stay, want.stay)
    np.testing.assert_array_equal(got.diverged, want.diverged)
    if one.oracle != FULL:
        np.testing.assert_array_equal(got.mean, want.mean)
    return got


def stream_job(sizes, rule, device, oracle, *, problems=1, **arguments):
    arguments = {"lr": [0.01, 0.002], "steps": 3, "device": device, "oracle": oracle} | arguments
    return prepare(problem(sizes, problems), rule, **arguments)


def check_rules(device):
    for name in SEPARABLE:
        for sizes in ((3, 1), (5, 3, 1, 17)):
            agrees(job(sizes, name, device, steps=4))


def check_sizes(device):
    for sizes in SIZES:
        agrees(job(sizes, "adam", device, lr=np.geomspace(0.01, 0.1, 19)))


def check_float32(device):
    for sizes in SIZES:
        agrees(job(sizes, "gd", device, dtype="float32", steps=3), rtol=1e-5)
        agrees(job(sizes, "adam", device, dtype="float32", steps=3), rtol=1e-3)


def check_settings_in_float32(device):
    """What is made of settings alone is formed in float64: rounded to float32, each of these memories is 1."""
    near_one = {"beta1": 1 - 1e-8, "beta2": 1 - 1e-8, "momentum": 1 - 1e-8}
    for name in ("adam", "adam-mini", "rmsprop", "signum", "lion"):
        own = {key: near_one[key] for key in RULES[name].names if key in near_one}
        for sizes in ((3, 1), (5, 17)):
            got = agrees(job(sizes, name, device, steps=6, lr=(0.003, 0.01), dtype="float32", **own), rtol=1e-3)
            wide = reference.run(job(sizes, name, "cpu", steps=6, lr=(0.003, 0.01), **own))
            np.testing.assert_allclose(got.gap, wide.gap, rtol=1e-3)


def check_records_and_schedules(device):
    for record, schedule in (("log", "cosine:warmup=2"), (3, "linear"), ("all", "inverse-sqrt")):
        for sizes in ((3, 3), (5, 9)):
            agrees(job(sizes, "adamw", device, steps=11, record=record, schedule=schedule))


def check_hits_and_divergence(device):
    for sizes in ((3, 3), (3, 9)):
        stiff = float(problem(sizes).block_smoothness.max())
        one = job(
            sizes, "gd", device, steps=40, lr=[0.01 / stiff, 1.5 / stiff, 40.0 / stiff], tolerance=0.2, record="log"
        )
        got = agrees(one, rtol=1e-9)
        assert np.isfinite(got.hit).any()
        assert np.isinf(got.hit).any()
        assert np.isfinite(got.diverged).any()


def check_stays(device):
    """Runs that leave the tolerance again, and come back or not; the two forms of the kernel, in one launch and in many."""
    for sizes in ((3, 3), (3, 9)):
        stiff = float(problem(sizes).block_smoothness.max())
        one = job(sizes, "heavy-ball", device, steps=50, lr=[1.0 / stiff, 0.3 / stiff], momentum=0.9, tolerance=0.3)
        got = agrees(one, rtol=1e-9)
        assert (np.isfinite(got.stay) & (got.stay > got.hit)).any()
        longer = agrees(prepare(one.problem, "heavy-ball", lr=one.settings["lr"], steps=50, momentum=0.99, tolerance=0.3,
                                device=device), rtol=1e-9)  # fmt: skip
        assert (np.isinf(longer.stay) & np.isfinite(longer.hit)).any()


def check_minimizer(device):
    blocks = [np.diag([1.0, 2.0, 5.0]), np.eye(9) + 0.1 * np.ones((9, 9))]
    given = BlockQuadratic.from_blocks(blocks, initial_error=np.linspace(1, 2, 12), minimizer=np.linspace(-1, 1, 12))
    for name in ("adamw", "lion"):
        agrees(prepare(given, name, lr=[0.1], steps=4, device=device, weight_decay=[0.3]))


def check_own_rule(device):
    """A rule that moves padded coordinates, has a start, a state per block, and functions of numbers."""
    s, u, a = sp.Symbol("s", real=True), sp.Symbol("u", positive=True), sp.Symbol("a", positive=True)
    g, lr = symbols.g, symbols.lr
    rule = Rule(
        name="own",
        update={s: sp.Rational(1, 3) * s + g, u: u / 2 + BlockMean(sp.Abs(g))},
        start={s: 1 + BlockMean(g), u: BlockMean(g**2) + 1},
        step=-lr
        * (Ratio(s, u) + sp.tanh(g) / 3 + sp.Max(g, 0.1) * a + sp.exp(-(g**2)) + sp.Min(g, -1))
        / symbols.L_l**0.3,
        hyperparameters={a: Hyperparameter(0.5)},
    )
    agrees(job((3, 9), rule, device, steps=4, a=[0.1, 0.2, 0.3]), rtol=1e-9)
    agrees(job((2, 2), rule, device, steps=4, a=[0.1, 0.2, 0.3]), rtol=1e-9)


def check_again(device):
    """A problem that stays on the device is as it was: one setting, whose errors would be the problem's own."""
    from quadsim.simulator.engines.kernels import gpu_run as fused_gpu

    for sizes in ((3, 3), (3, 9)):
        one = job(sizes, "gd", device, lr=[0.05])
        np.testing.assert_array_equal(agrees(one).gap, fused_gpu.run(one).gap)
        with pytest.raises(ValueError, match="read-only"):
            one.problem.hessian[3][0] = 0.0


def check_signs(device):
    """Also of coordinates that are 0."""
    start = [0.0, -0.0, 1.0, *np.linspace(-1, 1, 9)]
    given = BlockQuadratic.from_blocks([np.eye(3), np.eye(9)], initial_error=start)
    agrees(prepare(given, "signsgd", lr=[0.1, 0.25], steps=5, device=device))


def check_launches(device, monkeypatch):
    """Cut into many launches, tables, records and parts, a run gives the same bits."""
    from quadsim.simulator.engines.kernels import gpu_run as fused_gpu

    for sizes in ((3, 3), (3, 9)):
        one = job(sizes, "adam", device, steps=9, tolerance=0.8)
        whole = fused_gpu.run(one)
        with monkeypatch.context() as patch:
            patch.setattr(fused_gpu, "_COORDINATE_STEPS_AT_ONCE", 2 * one.problem.dimension * 100)
            patch.setattr(fused_gpu, "_TABLE_BYTES", 3 * 3 * 2 * 8)
            patch.setattr(fused_gpu, "_free_memory", lambda *_: 2000)
            cut = fused_gpu.run(one)
        assert np.isfinite(whole.stay).any()
        for name in ("gap", "hit", "stay", "diverged"):
            np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name))


def check_batch_mates(device):
    """A run is the same bits beside other problems and settings."""
    from quadsim.simulator.engines.kernels import gpu_run as fused_gpu

    for sizes in ((3, 3), (3, 9)):
        all_of_them = fused_gpu.run(job(sizes, "adam", device))
        alone = fused_gpu.run(prepare(problem(sizes).select([1]), "adam", lr=[0.1], steps=6, device=device))
        np.testing.assert_array_equal(alone.gap[0, 0], all_of_them.gap[1, 1])


def check_tally(device):
    """Counts of runs on problems drawn on the device are those of the reference on the same problems."""
    from quadsim.simulator.engines import tally

    for blocks, size in ((2, 3), (5, 3)):
        dials = {"blocks": blocks, "block_size": size, "heterogeneity": 5, "problems": 6, "seed": 3, "first": 2}
        how = {"lr": [0.5, 0.02, 4.0], "momentum": 0.8, "steps": 40, "tolerance": 0.1, "device": device}
        counted = tally.tally("heavy-ball", **dials, **how)
        run = simulate(BlockQuadratic.generate(**dials), "heavy-ball", **how | {"device": "cpu"}, engine="reference")
        assert (np.isfinite(run.steps_to_stay) & (run.steps_to_stay > run.steps_to_tolerance)).any()
        for name, counts in counted.status.items():
            np.testing.assert_array_equal(counts, (run.status == name).sum(axis=0))
        assert len([name for name, counts in counted.status.items() if counts.any()]) > 1
        reached = np.where(run.status == "converged", run.steps_to_tolerance, np.inf)
        upto = (reached[:, :, None] <= counted.edges).sum(axis=0)
        np.testing.assert_array_equal(np.cumsum(counted.hits, axis=1), upto)
        upto = (run.steps_to_stay[:, :, None] <= counted.edges).sum(axis=0)
        np.testing.assert_array_equal(np.cumsum(counted.stays, axis=1), upto)


def check_sweep_that_keeps_quantiles(device, monkeypatch):
    """A sweep counts the same on problems drawn on the device, part by part, as from trajectories on a CPU."""
    from dataclasses import replace

    from quadsim.simulator import SweepConfig, sweep
    from quadsim.simulator.sweeps.work import quadratics as module

    config = SweepConfig(
        heterogeneity=(1, 5), optimizers=("gd", "adam:beta1=0.5"), lr=(0.02, 0.5, 4.0), blocks=2, block_size=3, seeds=5,
        steps=12, tolerance=0.1, keep="quantiles",
    )  # fmt: skip
    expected = sweep(config).histogram
    monkeypatch.setattr(module.QuadraticWork, "_is_tallied", lambda *_: True) if device == "cpu" else None
    monkeypatch.setattr(module, "_TALLIED_RUNS", 6)
    counted = sweep(replace(config, device=device))
    columns = ["point", "optimizer", "lr", "up_to", "runs", "converged", "not_reached", "diverged"]
    assert counted.histogram[columns].equals(expected[columns])
    assert set(counted.histogram["engine"]) == {"fused"}
    assert (expected[["converged", "not_reached", "diverged"]].sum() > 0).all()
    assert "Bounds were not checked on these runs." in counted.notes


def check_stream_rules(device, names=SEPARABLE):
    for name in names:
        agrees(stream_job((3, 1, 2), name, device, "stream:batch=2:label_noise=0.5"))


def check_stream_sizes(device):
    """Few samples and several parts of a batch, an odd number of coordinates, tiles of 16, 32 and 64, the last one in halves."""
    for sizes, batch in (((1,), 1), ((5, 3, 1, 17), 18), ((32, 9), 5)):
        agrees(stream_job(sizes, "adam", device, Stream(batch, 0.1), problems=2, lr=np.geomspace(1e-3, 1e-2, 19)))
        agrees(stream_job(sizes, "adam-mini", device, Stream(batch, 0.1), dtype="float32"), rtol=1e-3)


def check_stream_laws(device):
    """Also with 64-bit seeds and numbers of problems."""
    far = BlockQuadratic.generate(blocks=2, block_size=2, seed=2**64 - 3, first=2**40 + 1, problems=2)
    for oracle in (Stream(3), Stream(3, 0.5), Stream(3, 0.5, "student-4.5")):
        agrees(prepare(far, "heavy-ball", lr=[0.01], steps=4, device=device, oracle=oracle))
        agrees(prepare(far, "gd", lr=[0.01], steps=2, device=device, oracle=oracle, dtype="float32"), rtol=1e-4)


def check_stream_records(device):
    """Schedules, records, hits, stays, means over windows, and divergence."""
    one = stream_job(
        (2, 2), "gd", device, "stream:batch=1:label_noise=0.5", lr=[0.02, 0.2, 0.5], steps=41, record="log", tolerance=0.5,
        schedule="inverse-time:half=30", problems=2,
    )  # fmt: skip
    got = agrees(one, rtol=1e-9)
    assert (np.isfinite(got.mean) & (got.mean > got.hit)).any()
    assert (np.isinf(got.mean)).any()
    assert (np.isinf(got.stay) & np.isfinite(got.hit)).any()
    assert np.isfinite(got.diverged).any()


def check_stream_launches(device, monkeypatch):
    """Cut into many launches, parts and records, a run gives the same bits; beside others, too."""
    from quadsim.simulator.engines.kernels import gpu_run as fused_gpu
    from quadsim.simulator.engines.kernels.streams import gpu_draws

    oracle = Stream(3, 0.5)
    one = stream_job((3, 2), "adam", device, oracle, steps=12, problems=2)
    whole = fused_gpu.run(one)
    with monkeypatch.context() as patch:
        patch.setattr(gpu_draws, "_DRAWN_BYTES", 5 * gpu_draws.bytes_per_step(oracle, 5))
        patch.setattr(fused_gpu, "_free_memory", lambda *_: 2000)
        cut = fused_gpu.run(one)
    for name in ("gap", "hit", "stay", "mean", "diverged"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(whole, name))
    alone = prepare(one.problem.select([1]), "adam", lr=[0.002], steps=12, device=device, oracle=oracle)
    np.testing.assert_array_equal(fused_gpu.run(alone).gap[0, 0], whole.gap[1, 1])


def check_stream_blocks(device):
    """A rule with blocks that are not those of H."""
    coupled = BlockQuadratic.generate(blocks=2, block_size=3, heterogeneity=10, coupling=0.5, seed=1)
    assert coupled.partition is not None
    for name in ("adam-mini", "block-gd"):
        agrees(prepare(coupled, name, lr=[0.05], steps=3, device=device, oracle="stream:batch=2:label_noise=0.1"))


def check_stream_draws(device):
    """x = R z and v xi of a part of the problems, at steps after the first one."""
    from quadsim.simulator.engines.kernels.gpu_blocks import blocks_of
    from quadsim.simulator.engines.kernels.gpu_run import _units
    from quadsim.simulator.engines.kernels.streams.gpu_draws import Draws

    one = stream_job((3, 2), "gd", device, Stream(3, 0.5), problems=4, steps=400)
    place = torch.device(device)
    draws = Draws(one, blocks_of(one.problem, slice(1, 4), _units(one)[0], one.dtype, place), place)
    draws.draw(300, 2)
    problem, own = one.problem, one.problem.index[1:]
    z = one.oracle.features(problem.seed, own, 301, 5)
    x = np.concatenate(
        [z[..., :3] @ problem.roots[3][1:, 0].swapaxes(1, 2), z[..., 3:] @ problem.roots[2][1:, 0].swapaxes(1, 2)],
        axis=2,
    ) / np.sqrt(3)
    samples = draws.samples[: 3 * 2 * 3 * 5].cpu().numpy().reshape(3, 2, 3, 5)
    np.testing.assert_allclose(samples[:, 1], x, rtol=1e-12, atol=1e-14)
    labels = draws.labels[: 3 * 2 * 3].cpu().numpy().reshape(3, 2, 3)
    made = one.oracle.label_errors(problem.seed, own, 301) / np.sqrt(3)
    np.testing.assert_allclose(labels[:, 1], made, rtol=1e-13, atol=1e-15)


CHECKS = [
    check_rules,
    check_sizes,
    check_float32,
    check_settings_in_float32,
    check_records_and_schedules,
    check_hits_and_divergence,
    check_stays,
    check_minimizer,
    check_own_rule,
    check_again,
    check_signs,
    check_launches,
    check_batch_mates,
    check_tally,
    check_sweep_that_keeps_quantiles,
    check_stream_rules,
    check_stream_sizes,
    check_stream_laws,
    check_stream_records,
    check_stream_launches,
    check_stream_blocks,
    check_stream_draws,
]


def test_kernels_agree_under_the_interpreter():
    from interpreter import names_run  # here, as this file is run as a program, too

    assert names_run(__file__) == [check.__name__ for check in CHECKS]


@pytest.mark.gpu
@pytest.mark.parametrize("check", [c for c in CHECKS if c is not check_stream_rules], ids=lambda check: check.__name__)
def test_kernels_agree_on_a_gpu(check, monkeypatch):
    check(*_arguments(check, "cuda", monkeypatch))


@pytest.mark.gpu
@pytest.mark.parametrize("name", SEPARABLE)  # one by one, as each is compiled
def test_rules_agree_on_a_stream_on_a_gpu(name):
    check_stream_rules("cuda", [name])


@pytest.mark.gpu
def test_large_blocks_agree_on_a_gpu():
    for name in ("adam", "signsgd", "adam-mini"):
        agrees(job((30, 64, 100, 128), name, "cuda", steps=50))


@pytest.mark.gpu
def test_a_result_on_a_gpu_is_the_same_bits_again():
    first, second = (simulate(problem((30, 3)), "adam", lr=[0.1], steps=200, device="cuda") for _ in range(2))
    assert first.engine == "fused"
    np.testing.assert_array_equal(first.gap, second.gap)


def test_blocks_drawn_by_torch_are_those_of_generate():
    from quadsim.simulator.engines.tally import draw_blocks

    generated = BlockQuadratic.generate(
        blocks=3, block_size=(4, 1, 3), heterogeneity=3, problems=5, seed=2**40 + 7, first=9
    )
    spectra = [generated.eigenvalues[size][0, 0] for size in (4, 1, 3)]
    drawn = draw_blocks(generated.seed, torch.arange(9, 14), spectra)
    for size, (hessian, error) in zip((4, 1, 3), drawn, strict=True):
        np.testing.assert_allclose(hessian.numpy(), generated.hessian[size][:, 0], rtol=0, atol=1e-13)
        np.testing.assert_allclose(error.numpy(), generated.initial_error[size][:, 0], rtol=0, atol=1e-13)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["normalized-gd", "sign-lambda", "adamw", "adam-frozen"])
def test_the_reference_as_a_cuda_graph_gives_the_bits_of_its_steps(name, monkeypatch):
    one = job((3, 9, 3), name, "cuda", steps=100, schedule="cosine", record="log")
    captured = reference.run(one)
    monkeypatch.setattr(reference, "_can_be_captured", lambda job: False)
    stepped = reference.run(one)
    for key in ("gap", "hit", "diverged"):
        np.testing.assert_array_equal(getattr(captured, key), getattr(stepped, key))


@pytest.mark.gpu
def test_measured_layouts_are_kept(tmp_path, monkeypatch):
    from quadsim.simulator.engines.kernels import gpu_run as fused_gpu
    from quadsim.simulator.engines.kernels import gpu_shapes

    monkeypatch.setenv("QUADSIM_CACHE", str(tmp_path))
    gpu_shapes.stored_shapes.cache_clear()
    one = job((9, 3, 3, 3), "adam", "cuda", steps=50)
    best = fused_gpu.tune(one)
    assert len(best) == 1
    assert set(best.values()) <= set(gpu_shapes.CANDIDATES[16])
    assert gpu_shapes.stored_shapes() == best
    agrees(one)
    monkeypatch.undo()
    gpu_shapes.stored_shapes.cache_clear()


@pytest.mark.parametrize(
    ("sizes", "names"),
    [
        ((3, 3, 3), ["whole_3_3_3"]),
        ((3,) * 5, ["lanes_3"]),
        ((5, 3, 1, 17), ["lanes_5", "lanes_3", "lanes_1", "tile"]),
        ((30, 64), ["tile", "tile"]),
    ],
)
def test_small_problems_run_whole_and_other_blocks_by_size(sizes, names):
    assert [unit.name for unit in units_of(sizes)] == names


@pytest.mark.parametrize("name", SEPARABLE)
def test_source_is_python_with_one_kernel_of_a_kind(name):
    source = gpu_source(RULES[name], (3, 30, 64))
    compile(source, "kernel", "exec")
    for kernel in ("steps_", "advance_lanes_3_", "advance_tile_", "start_tile_"):
        assert source.count(f"def {kernel}(") == 1
    assert "bfloat16" not in source
    assert "first_bits_(e_)" in gpu_source(RULES[name], (30,), dtype="float32")


@pytest.mark.parametrize("name", SEPARABLE)
def test_source_for_streams_is_python_with_the_products_of_a_step(name):
    for dtype in ("float64", "float32"):
        source = stream_source(RULES[name], dtype)
        compile(source, "kernel", "exec")
        body = source[source.index("def advance_stream_(") :]
        parts = 1 if dtype == "float64" else 6
        assert [body.count(f"{name}_ = tl.dot(".replace("g_", "g")) for name in "dfug"] == [2 * parts, *[parts] * 3]
        assert ("means_of_(" in body) == any(phase.means for phase in program(RULES[name]).advance)


@pytest.mark.gpu
def test_streams_agree_on_a_gpu():
    for sizes, rule in (((8,) * 4, "adam"), ((30,) * 4, "adam-mini"), ((128,), "signsgd"), ((3, 40), "lion")):
        one = stream_job(sizes, rule, "cuda", Stream(8, 0.1), problems=5, steps=40, lr=np.geomspace(1e-4, 1e-3, 64))
        agrees(one, rtol=1e-9)
    run = simulate(one.problem, "lion", lr=[1e-4], steps=40, device="cuda", oracle=one.oracle)
    assert run.engine == "fused"


def test_padding_is_masked_where_a_rule_would_move_it():
    moving = Rule(name="moving", step=-symbols.lr * (symbols.g + 1))
    assert "tl.where(real_, increment, 0.0)" in gpu_source(moving, (30,))
    assert "tl.where(real_, increment, 0.0)" not in gpu_source(RULES["adamw"], (30,))


def _arguments(check, device, monkeypatch):
    patched = (check_launches, check_sweep_that_keeps_quantiles, check_stream_launches)
    return (device, monkeypatch) if check in patched else (device,)


if __name__ == "__main__":
    assert not torch.cuda.is_initialized()
    for each in CHECKS:
        each(*_arguments(each, "cpu", pytest.MonkeyPatch()))
        print(each.__name__)
