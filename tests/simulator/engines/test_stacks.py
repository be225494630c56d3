"""The fused engine of stacks: in ordinary runs its CUDA C++ compiled for a CPU (a block of one thread), with `-m gpu` on a device."""

import ctypes
import re
import shutil
import subprocess
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from quadsim.simulator.engines.kernels.update_source import why_no_update
from quadsim.simulator.engines.stacks import run
from quadsim.simulator.engines.stacks.nvrtc import GpuKernel
from quadsim.simulator.engines.stacks.source import Form, Layout, shared_bytes, stack_source
from quadsim.simulator.models import MLP, Conv, DataShape, Digits, Induction, Text, TokenMap, ToyProblem, Transformer
from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.training import loop, request
from quadsim.simulator.training.loop import train

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ compiles the kernels for a CPU")

TRAINABLE = [name for name, rule in RULES.items() if why_no_update(rule) is None]
SMALL = Transformer(width=4, layers=1)
PAIRS = TokenMap(vocabulary=6)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """A function from (form, rule, mutation) to the kernel on a CPU."""
    folder = tmp_path_factory.mktemp("stacks")

    @cache
    def kernel(form, rule, mutation=None):
        source = stack_source(form, rule, Layout(1, 16))
        if mutation is not None:
            source = mutated(source, mutation)
        path = folder / f"{kernel.cache_info().misses}.cpp"
        path.write_text(source, encoding="utf-8")
        library = path.with_suffix(".so")
        subprocess.run(["g++", "-O0", "-w", "-shared", "-fPIC", "-o", str(library), str(path)], check=True)
        function = ctypes.CDLL(str(library)).train_
        function.restype = None

        def launch(blocks, arguments):
            for block in range(blocks):
                function(ctypes.c_int(block), *arguments)

        return launch

    return kernel


def mutated(source, mutation):
    """The source with one text, which it has once, replaced; or without the last line in which a pattern is found."""
    if isinstance(mutation, tuple):
        assert source.count(mutation[0]) == 1, mutation
        return source.replace(*mutation)
    lines = source.splitlines()
    found = [i for i, line in enumerate(lines) if re.search(mutation, line)]
    assert len(found) > 1, mutation  # the last one is of the backward pass
    return "\n".join(line for i, line in enumerate(lines) if i != found[-1])


def steps_of(problem, rule="adam", lr=(0.01, 0.02), *, device="cpu", kernel=None):
    """FusedSteps with an instance for every problem; every other one has the second learning rate."""
    which = np.arange(problem.problems)
    settings = RULES[rule].settings(list(lr))
    return run.FusedSteps(problem, which, RULES[rule], settings, which % len(lr), device, kernel)


def difference(problem, steps):
    """The largest relative error of a gradient and of a loss, against the model in float64."""
    stack = problem.stack(dtype=torch.float64)
    gradient, weighted, unweighted = stack.gradient(stack.start())
    found, losses = steps.gradient()
    found, losses = found.view(gradient.shape).double().cpu(), losses.double().cpu()
    errors = torch.linalg.vector_norm(found - gradient, dim=1) / torch.linalg.vector_norm(gradient, dim=1)
    expected = torch.stack([unweighted, weighted])
    return max(float(errors.max()), float(((losses - expected) / expected).abs().max()))


FORMS = [
    (Transformer(width=8, layers=2), TokenMap(vocabulary=10, tokens=3), {}),
    (Transformer(width=8, layers=1, norm="post", heads=1), TokenMap(vocabulary=5), {}),
    (Transformer(width=20, layers=1, norm="none", heads=5), Text(vocabulary=17, tokens=4, sequences=9, batch=None), {}),
    (SMALL, Induction(vocabulary=6, tokens=5, sequences=7), {}),
    (SMALL, Digits(patch=4, sequences=5, batch=3), {"dial": "temperature", "heterogeneity": [2, 5]}),
    (MLP(width=4), PAIRS, {"dial": "separable", "heterogeneity": [3, 5]}),
    (MLP(width=4, norm="pre"), PAIRS, {"dial": "zipf", "heterogeneity": [5, 20]}),
    (MLP(width=4, norm="post"), PAIRS, {"dial": "frequency", "heterogeneity": [3, 5]}),
    (MLP(width=4), PAIRS, {"dial": "reparametrisation", "heterogeneity": [3, 5], "mode": "parameter"}),
    (MLP(width=4), PAIRS, {"dial": "reparametrisation", "heterogeneity": [3, 5], "mode": "gradient"}),
    (MLP(width=4), PAIRS, {"dial": "init-scale", "heterogeneity": [0.5, 2]}),
]
"""Every norm, readout, kind of input, mask, head count and dial, in few numbers."""


@needs_compiler
@pytest.mark.parametrize(("model", "task", "dials"), FORMS)
def test_gradients_are_those_of_the_model(model, task, dials, compiled):
    problem = ToyProblem.generate(model, task, problems=2, seed=3, **dials)
    kernel = compiled(run.form_of(problem), RULES["adam"])
    assert difference(problem, steps_of(problem, kernel=kernel)) < 1e-5


MUTATIONS = {
    "attention, queries": ("float by = share[j] * (slope[j] - mean)", "float by = share[j] * slope[j]"),
    "attention, keys": ("fmaf(slope, other[e], in_key", "fmaf(share, other[e], in_key"),
    "attention, values": ("fmaf(share, answer[e], in_value", "fmaf(slope, answer[e], in_value"),
    "attention, divisor": r"\*= sharpness_;",
    "norm": ("mean - normed[r][i] * slope)", "mean)"),
    "gain": ("sum += region[place(row) + i]", "sum += 0.9f * region[place(row) + i]"),
    "gelu": ("fmaf(x * 0.39894228f", "fmaf(x * 0.4f"),
    "network": ("dh[r][i] *= slope;", ""),
    "linear": (
        "back[r][i + 3] = fmaf(v.w, d[r][o], back[r][i + 3])",
        "back[r][i + 3] = fmaf(v.z, d[r][o], back[r][i + 3])",
    ),
    "matrix": ("sum[k].z = fmaf(a, b.z, sum[k].z)", "sum[k].z = fmaf(a, b.w, sum[k].z)"),
    "residual": r"EACH_ROW EACH_OWN v\d+_\[r\]\[i\] \+= v\d+_",
    "table": ("whiches[row] == row_of_table)", "whiches[row] == row_of_table + 1)"),
    "positions": ("one_, position_,", "two_, position_,"),
    "features": ("INPUTS - first_);", "1);"),
    "chunks": ("fresh_ = chunks_ == 0;", "fresh_ = true;"),
    "cross-entropy": (
        "(first + column_of(c) == target[r] ? 1.0f : 0.0f)",
        "(first + column_of(c) == target[r] ? 0.9f : 0.0f)",
    ),
    "loss": ("loss[r] = sum[r] - sum_of_lanes", "loss[r] = sum[r] - 0.9f * sum_of_lanes"),
    "causal": ("if (own >= TOKENS || (CAUSAL && own > j)) share = 0.0f", "if (own >= TOKENS) share = 0.0f"),
    "mean": ("y[r][i] = real ? sum * (1.0f / TOKENS)", "y[r][i] = real ? sum * (0.9f / TOKENS)"),
}
"""A fault in the backward pass of every block (`mutated`)."""

FORM_OF_MUTATION = {"causal": 2, "chunks": 2, "features": 4, "mean": 4, "residual": 3, "attention, divisor": 3}


@needs_compiler
@pytest.mark.parametrize("block", MUTATIONS)
def test_a_broken_block_is_found(block, compiled):
    model, task, dials = FORMS[FORM_OF_MUTATION.get(block, 1)]
    problem = ToyProblem.generate(model, task, problems=2, seed=3, **dials)
    kernel = compiled(run.form_of(problem), RULES["adam"], MUTATIONS[block])
    assert not difference(problem, steps_of(problem, kernel=kernel)) <= 1e-4  # it may be NaN


@pytest.fixture
def fused_on_a_cpu(compiled, monkeypatch):
    """`train` runs the fused engine on a CPU."""
    usual = loop._stepper

    def stepper(job, which, setting, length):
        if job.engine == "stack":
            return usual(job, which, setting, length)
        return run.FusedSteps(job.problem, which, job.rule, job.settings, setting, job.device)

    monkeypatch.setattr(request, "_choose_engine", lambda engine, job: "stack" if engine == "stack" else "fused")
    monkeypatch.setattr(loop, "_stepper", stepper)
    monkeypatch.setattr(run, "gpu_kernel", lambda form, rule, layout, device: compiled(form, rule))
    monkeypatch.setattr(run, "_STEPS_AT_ONCE", 20)


def check_trajectory(problem, rule, *, factor=20.0, **options):
    """The losses of 50 steps, as near to float64 as those of the engine `stack` in float32 but for a factor."""
    options = {"lr": [0.003, 0.01], "steps": 50, "record": "all", "stop": False, **options}
    fused = train(problem, rule, **options)
    device = {"device": "cpu"}
    single = train(problem, rule, **{**options, **device}, engine="stack")
    double = train(problem, rule, **{**options, **device}, engine="stack", dtype="float64")
    assert fused.engine == "fused"
    for name in ("loss", "loss_weighted"):
        exact = getattr(double, name)
        off, allowed = (np.abs(getattr(found, name) / exact - 1.0).max() for found in (fused, single))
        assert off <= factor * allowed + 1e-5, (name, off, allowed)


@needs_compiler
@pytest.mark.parametrize("rule", TRAINABLE)
def test_trajectories_are_those_of_the_stack(rule, fused_on_a_cpu):
    check_trajectory(ToyProblem.generate(MLP(width=4), PAIRS, problems=2, seed=3), rule)


@needs_compiler
def test_mini_batches_schedules_and_dials_train_alike(fused_on_a_cpu):
    batched = ToyProblem.generate(SMALL, Digits(patch=4, sequences=9, batch=3), problems=2, seed=3)
    check_trajectory(batched, "adam", schedule="cosine:warmup=5", evaluate_every=7)
    for mode in ("parameter", "gradient"):
        scaled = ToyProblem.generate(
            MLP(width=4), PAIRS, dial="reparametrisation", heterogeneity=[3, 5], mode=mode, seed=3
        )
        check_trajectory(scaled, "adam")


@needs_compiler
def test_runs_end_where_those_of_the_stack_end(fused_on_a_cpu):
    """Instances that have finished leave the launches, and the losses after their end do not count."""
    problem = ToyProblem.generate(MLP(width=4), PAIRS, problems=3, seed=3)
    fused, stack = (
        train(problem, "adam", lr=[0.003, 0.1, 1e4], steps=120, tolerance=0.5, engine=engine)
        for engine in ("fused", "stack")
    )
    assert {"converged", "not_reached"} <= set(fused.status.ravel())
    np.testing.assert_array_equal(fused.status, stack.status)
    np.testing.assert_allclose(fused.stopped, stack.stopped, atol=1)
    np.testing.assert_array_equal(np.isnan(fused.loss), np.isnan(stack.loss))


def test_what_it_cannot_run_has_a_reason():
    def reason(model, task, rule="adam", dtype=torch.float32, device="cuda"):
        return run.why_not(ToyProblem.generate(model, task), RULES[rule], dtype, device)

    assert reason(SMALL, PAIRS, device="cpu") == "it needs a GPU"
    assert reason(SMALL, PAIRS, dtype=torch.float64) == "it takes float32 alone"
    assert reason(SMALL, PAIRS, "adam-mini") == "adam-mini averages over blocks"
    pairs, most = PAIRS.shape, 99 * 1024
    assert run._why_no_kernel(SMALL, pairs, most) is None
    for model, shape, words in (
        (Conv(width=4), pairs, "no kernel for the model conv"),
        (Transformer(width=6), pairs, "a width that is a multiple of 4"),
        (Transformer(width=36), pairs, "up to 32, not 36"),
        (SMALL, DataShape(6, 17, 6), "at most 16 tokens"),
        (MLP(width=4), DataShape(6, 2, 6, readout="last"), "answers once a sequence"),
        (Transformer(width=32, layers=9), pairs, "shared memory"),
        (SMALL, DataShape(100, 2, 100_000), "shared memory"),
    ):
        assert words in run._why_no_kernel(model, shape, most)


def test_the_engine_is_checked():
    problem = ToyProblem.generate(Conv(width=4), PAIRS)
    with pytest.raises(
        ValueError, match=r"engine must be auto or stack here, got 'fused' \(it has no kernel for the model conv"
    ):
        train(problem, "adam", lr=0.01, steps=1, engine="fused")
    with pytest.raises(ValueError, match="engine must be one of auto, fused, stack, got 'fussed'"):
        train(problem, "adam", lr=0.01, steps=1, engine="fussed")
    assert train(problem, "adam", lr=0.01, steps=1).engine == "stack"


def test_a_kernel_is_made_for_its_form():
    form = Form(SMALL, PAIRS.shape)
    assert stack_source(form, RULES["adam"], Layout(64, 1)) != stack_source(form, RULES["gd"], Layout(64, 1))


def test_matrix_units_take_widths_of_sixteen():
    def layout(model, task, tokens, *, few=False, most=99 * 1024):
        return run.layout_of(Form(model, task.shape), tokens, most, few=few)

    wide = Transformer(width=16)
    assert layout(wide, TokenMap(), 64) == Layout(128, 2, 2, lanes=4, whole=True)
    assert layout(wide, TokenMap(), 512, most=200_000) == Layout(256, 2, 2, lanes=4, joined=8)
    assert layout(wide, TokenMap(), 512, few=True, most=200_000) == Layout(512, 2, lanes=4, joined=16)
    assert layout(Transformer(width=16, heads=1), TokenMap(), 64).rows == 4  # a thread has whole tasks of attention
    for plain in (
        layout(Transformer(width=8), TokenMap(), 64),
        layout(wide, Digits(patch=4), 64),
        layout(wide, TokenMap(), 64, most=60_000),
    ):
        assert plain.lanes == 1


# On a device.

UNITS = [
    (Transformer(width=16, layers=2), TokenMap(vocabulary=10, tokens=3), {}),
    (Transformer(width=16, layers=1, norm="post", heads=1), TokenMap(vocabulary=5), {}),
    (
        Transformer(width=32, layers=1, norm="none", heads=4),
        Text(vocabulary=17, tokens=4, sequences=150, batch=None),
        {},
    ),
    (
        Transformer(width=16, layers=1),
        Induction(vocabulary=6, tokens=5, sequences=7),
        {"dial": "temperature", "heterogeneity": [2, 5]},
    ),
    (MLP(width=16, norm="pre"), PAIRS, {"dial": "separable", "heterogeneity": [3, 5]}),
    (MLP(width=32, norm="post"), PAIRS, {"dial": "zipf", "heterogeneity": [5, 200]}),
    (Transformer(width=16, layers=3, norm="post"), TokenMap(vocabulary=20), {}),
    (Transformer(width=32, layers=2, norm="none"), Text(vocabulary=17, tokens=4, sequences=50, batch=6), {}),
]
"""Forms of which the products run on the matrix units."""

MUTATIONS_OF_UNITS = {
    "low parts": ("multiply_parts(small, a[0].low, a[1].low, a[2].low, a[3].low, b[0].high, b[1].high);", ""),
    "linear": ("load2(from + o * padded(stride) + padded(i))", "load2(from + o * padded(stride))"),
    "linear, back": ("float2{v[0], v[padded(stride)]}", "float2{v[0], v[0]}"),
    "matrix": ("b[2] = {parts(x[k][i][0]), parts(x[k][i][1])}", "b[2] = {parts(x[k][i][0]), parts(x[k][i][0])}"),
    "table": ("j % 2 * 8 ? 0x3f800000u", "j % 2 * 8 ? 0x3f000000u"),
    "gain": ("fresh ? sum : total[column_of(i)] + sum", "0.9f * sum"),
    "clubs": ("others + (club - 1) * DIMENSION", "others"),
    "joined tiles": ("team < JOINED; ++team) {", "team < 1; ++team) {"),
    "joined gains": ("team < JOINED; ++team) sum += region", "team < 1; ++team) sum += region"),
    "lanes": ("x += across(x, 1); x += across(x, 2);", "x += across(x, 1);"),
    "whole: matrix": ("a[2 * j + 1] = parts(d.y);", "a[2 * j + 1] = parts(d.x);"),
    "whole: attention": (r"m == 3 ? 5 : 4", "4"),
    "whole: network": ("put(one + (4 + half) * WIDTH, dh);", "put(one + (4 + half) * WIDTH, h);"),
    "whole: head": ("put(one + 5 * WIDTH, x);", ""),
    "whole: table": ("high = which == 1 ?", "high = which == 2 ?"),
    "whole: gain": ("sums + team * WIDTH + i", "sums + i"),
}


@pytest.mark.gpu
@pytest.mark.parametrize("block", MUTATIONS_OF_UNITS)
def test_a_broken_block_is_found_on_a_gpu(block, monkeypatch):
    task = TokenMap(vocabulary=32, tokens=8, repeats=16) if block.startswith("joined") else TokenMap()
    problem = ToyProblem.generate(Transformer(width=16, layers=1), task, problems=2, seed=3)
    form, device = run.form_of(problem), torch.device("cuda:0")
    layout = run.layout_of(form, problem.tokens_per_step, run._most_shared(device), few=True)
    layout = replace(layout, whole=block.startswith("whole"))
    monkeypatch.setattr(run, "layout_of", lambda *_, **__: layout)
    source = mutated(stack_source(form, RULES["adam"], layout), MUTATIONS_OF_UNITS[block])
    kernel = GpuKernel(source, device, layout.threads, shared_bytes(form, layout))
    assert (layout.lanes, layout.joined > 1) == (4, block.startswith("joined"))
    assert difference(problem, steps_of(problem, device="cuda", kernel=kernel)) > 1e-5


@pytest.mark.gpu
@pytest.mark.parametrize(("model", "task", "dials"), FORMS + UNITS)
def test_gradients_on_a_gpu(model, task, dials):
    problem = ToyProblem.generate(model, task, problems=2, seed=3, **dials)
    assert difference(problem, steps_of(problem, device="cuda")) < 1e-5


@pytest.mark.gpu
@pytest.mark.parametrize("rule", TRAINABLE)
def test_trajectories_on_a_gpu(rule):
    problem = ToyProblem.generate(Transformer(), TokenMap(), problems=2, seed=3)
    # The first step of adagrad is a sign: a gradient near 0 that is rounded otherwise changes it by 2 lr. With adam-frozen such a
    # gradient stays the divisor, and with a usual rate every run diverges, in float64 as well.
    options = {"adagrad": {"factor": 100.0}, "adam-frozen": {"lr": [1e-7, 1e-6]}}.get(rule, {})
    check_trajectory(problem, rule, device="cuda", **options)


@pytest.mark.gpu
def test_a_result_on_a_gpu_is_the_same_bits_again():
    problem = ToyProblem.generate(Transformer(), TokenMap(), problems=300, seed=3)
    first, second = (train(problem, "adam", lr=0.01, steps=100, device="cuda", stop=False) for _ in range(2))
    assert first.engine == "fused"
    np.testing.assert_array_equal(first.loss, second.loss)
