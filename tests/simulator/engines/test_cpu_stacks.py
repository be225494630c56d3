"""The fused engine of stacks on a CPU: most tests run the text of its kernel in Python, with arrays of NumPy as vectors.

So a fault of a block can be planted without compiling the kernel again, and only few tests compile it.
"""

import math
import types
from functools import lru_cache

import numpy as np
import pytest
import torch

from quadsim.simulator.engines.stacks import cpu_run
from quadsim.simulator.engines.stacks.cpu_blocks.kernel import blocks_source
from quadsim.simulator.models import MLP, Conv, Digits, Induction, Text, TokenMap, ToyProblem, Transformer
from quadsim.simulator.training.loop import train

LANES = 8
SMALL = Transformer(width=4, layers=1)
PAIRS = TokenMap(vocabulary=6)

FORMS = {
    "pre": (Transformer(width=4, layers=2), TokenMap(vocabulary=5, tokens=3), {}),
    "post": (Transformer(width=8, layers=1, norm="post", heads=1), TokenMap(vocabulary=5), {}),
    "causal": (
        Transformer(width=4, layers=1, norm="none", heads=2),
        Text(vocabulary=7, tokens=4, sequences=9, batch=None),
        {},
    ),
    "last": (SMALL, Induction(vocabulary=6, tokens=5, sequences=7), {}),
    "features, mean": (SMALL, Digits(patch=4, sequences=5, batch=3), {"dial": "temperature", "heterogeneity": [2, 5]}),
    "copies": (MLP(width=4), PAIRS, {"dial": "separable", "heterogeneity": [3, 5]}),
    "zipf": (MLP(width=4, norm="pre"), PAIRS, {"dial": "zipf", "heterogeneity": [5, 20]}),
    "frequency": (MLP(width=4, norm="post"), PAIRS, {"dial": "frequency", "heterogeneity": [3, 5]}),
    "parameter": (MLP(width=4), PAIRS, {"dial": "reparametrisation", "heterogeneity": [3, 5], "mode": "parameter"}),
    "gradient": (MLP(width=4), PAIRS, {"dial": "reparametrisation", "heterogeneity": [3, 5], "mode": "gradient"}),
    "init-scale": (MLP(width=4), PAIRS, {"dial": "init-scale", "heterogeneity": [0.5, 2]}),
    "mse": (MLP(width=4), PAIRS, {"loss": "mse"}),
    "relu": (MLP(width=4, activation="relu"), PAIRS, {}),
    "joined": (MLP(width=4), Induction(vocabulary=6, tokens=3, sequences=7), {}),
    "joined features": (MLP(width=4, norm="pre"), Digits(patch=4, sequences=5, batch=None), {}),
    "not embedded": (MLP(width=4, embedded=False), Digits(patch=4, sequences=5, batch=None), {}),
}
"""Every norm, readout, kind of input, mask, activation, loss and dial, in few numbers."""


def interpreted(dtype="float32", mutation=None):
    """The kernel as Python: a vector is an array of NumPy."""
    source = blocks_source(dtype, LANES)
    if mutation is not None:
        assert source.count(mutation[0]) == 1, mutation
        source = source.replace(*mutation)
    lines = [line for line in source.splitlines() if not line.startswith(("import ", "from "))]
    real = np.dtype(dtype).type

    def store(array, at, vector):
        array[at : at + LANES] = vector

    def add_four(array, at, *four):
        array[at : at + 4] += [vector.sum() for vector in four]

    def power(n):
        return np.where(n < np.finfo(real).minexp, real(0.0), np.exp2(n))  # the bits of the exponent are then 0

    names = {
        "np": np, "math": math, "njit": lambda **_: lambda function: function, "absolute": np.abs, "sqrt": np.sqrt,
        "fma": lambda a, b, c: a * b + c, "pick": lambda array, at: array[at], "store": store, "add_four": add_four,
        "larger": lambda a, b: np.where(a > b, a, b), "unless_negative": lambda a, other, negative: np.where(a < 0, negative, other),
        "power_of_two": lambda a: power(a - real({"float32": 1.5 * 2**23, "float64": 1.5 * 2**52}[dtype])),
        "vectors": types.SimpleNamespace(
            vectors_of=lambda lanes, kind: (
                lambda array, at: array[at : at + LANES].copy(),
                lambda scalar: np.full(LANES, scalar),
                lambda value: np.full(LANES, value, dtype=dtype),
            )
        ),
    }  # fmt: skip
    exec("\n".join(lines), names)
    return types.SimpleNamespace(gradient_=names["gradient_"])


def problem_of(form):
    model, task, dials = FORMS[form]
    return ToyProblem.generate(model, task, problems=2, seed=3, **dials)


@lru_cache
def exact_of(form):
    """The gradient and the losses of the model in float64, in the first step."""
    problem = problem_of(form)
    stack, rows = problem.stack(), problem.batch(0)
    return (stack if rows is None else stack.rows(torch.from_numpy(rows))).gradient(stack.start())


def difference(form, kernel=None, dtype=torch.float32):
    """The largest relative error of a gradient and of a loss, against the model in float64, in the first step."""
    problem, expected = problem_of(form), exact_of(form)
    stack, drawn = problem.stack(dtype=dtype), problem.batch(0)
    rows = None if drawn is None else torch.from_numpy(drawn)
    engine = cpu_run.FusedGradient(problem, dtype, kernel)
    engine._room = np.ones(
        1 << 20, dtype=str(dtype).removeprefix("torch.")
    )  # what an array held before must not matter
    found = engine.gradient(stack, stack.start(), rows)
    gradients, *losses = zip(found, expected, strict=True)
    errors = [
        torch.linalg.vector_norm(a.double() - b, dim=1) / torch.linalg.vector_norm(b, dim=1) for a, b in [gradients]
    ]
    return max(float(error.abs().max()) for error in (*errors, *(a.double() / b - 1.0 for a, b in losses)))


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_the_model(form, one_lane_less):
    assert difference(form, interpreted()) < 1e-5


def test_squares_that_overflow_in_a_norm_diverge(one_lane_less):
    problem = problem_of("post")
    stack, engine = problem.stack(dtype=torch.float32), cpu_run.FusedGradient(problem, torch.float32, interpreted())
    with np.errstate(all="ignore"):
        losses = engine.losses(stack, torch.full_like(stack.start(), 1e25) * stack.start().sign())
    assert all(bool(torch.isnan(each).all()) for each in losses)


OVERFLOWING = {
    "pre": (Transformer(width=8, layers=1), PAIRS, 1e6),
    "batch": (Conv(width=8, layers=2, norm="batch"), Digits(patch=4, sequences=9, batch=None), 1e9),
}


@pytest.mark.parametrize("norm", OVERFLOWING)
def test_squares_that_overflow_in_a_norm_of_the_stack_diverge(norm):
    """Activations are numbers whose squares are none: divided by the root of infinity they would be 0, the logits of a guess."""
    model, task, size = OVERFLOWING[norm]
    stack = ToyProblem.generate(model, task, problems=2, seed=3).stack(dtype=torch.float32)
    losses = stack.losses(size * stack.start().sign())
    assert all(bool(torch.isnan(each).all()) for each in losses)


def test_shares_that_vanish_give_no_gradient(one_lane_less):
    problem = problem_of("relu")
    stack = problem.stack(dtype=torch.float32)
    theta = 1e3 * stack.start()
    found = cpu_run.FusedGradient(problem, torch.float32, interpreted()).gradient(stack, theta)[0]
    expected = stack.gradient(theta)[0]
    assert bool((expected == 0.0).any())
    assert bool(((found == 0.0) | (expected != 0.0)).all())


def test_in_float64_too(one_lane_less):
    assert difference("post", interpreted("float64"), torch.float64) < 1e-13


@pytest.fixture
def one_lane_less(monkeypatch):
    """The interpreted kernel has the same lanes on every machine, and small chunks: most data are in several."""
    monkeypatch.setattr(cpu_run, "_lanes", lambda dtype: LANES)
    monkeypatch.setattr(cpu_run, "_CHUNK_BYTES", 1 << 10)
    cpu_run._chunk.cache_clear()
    yield
    cpu_run._chunk.cache_clear()


MUTATIONS = {
    "table": ("post", "g[row + f] += a[d", "g[row + f] += real(0.9) * a[d"),
    "positions": ("post", "s1 = s1 + load(a, at + pitch)", "s1 = s1 + load(a, at)"),
    "product": ("post", "    w1 = at + (o + 1) * over_o", "    w1 = at + o * over_o"),
    "matrix": ("post", "s12 = fma(d1, v, s12)", "s12 = fma(d0, v, s12)"),
    "residual sum": ("post", "load(a, y + i) + load(a, x + i)", "load(a, y + i) + load(a, y + i)"),
    "product with a slope": ("post", "load(a, y + i) * load(a, x + i)", "load(a, y + i)"),
    "clear": ("last", "store(a, y + i, number(0.0))", "store(a, y + i, number(1.0))"),
    "norm": ("post", "load(a, normed + f * columns + c) * slope) * by", "load(a, normed + f * columns + c)) * by"),
    "gain": ("post", "s2 = fma(load(a, d + at + 2 * columns)", "s2 = fma(load(a, d + at)"),
    "gelu": ("post", "fma(x * number(0.3989422804014327)", "fma(x * number(0.4)"),
    "relu": ("relu", "unless_negative(-x, number(0.0), number(1.0))", "unless_negative(x, number(0.0), number(1.0))"),
    "attention, queries": ("post", "(load(a, slopes + at) - mean)", "load(a, slopes + at)"),
    "attention, keys": ("post", "key = fma(load(a, slopes + at)", "key = fma(load(a, shares + at)"),
    "attention, values": ("post", "value = fma(load(a, shares + at)", "value = fma(load(a, slopes + at)"),
    "causal": ("causal", "asked = p + 1 if causal else tokens", "asked = tokens"),
    "mean": ("features, mean", "v = load(a, d + f * sequences + s) * over", "v = load(a, d + f * sequences + s)"),
    "features": ("features, mean", "value = given[((data + row)", "value = real(0.9) * given[((data + row)"),
    "mini-batch": (
        "features, mean",
        "row = chosen[chosen_at + row]\n        if given",
        "row = chosen[row]\n        if given",
    ),
    "cross-entropy": ("post", "by = load(a, answers + c) / sum", "by = load(a, answers + c)"),
    "loss": ("post", "loss = math.log(np.float64(a[sums + c]))", "loss = 0.9 * math.log(np.float64(a[sums + c]))"),
    "square error": ("mse", "a[logits + o * columns + c] = v * a[answers + c]", "a[logits + o * columns + c] = v"),
}


@pytest.mark.parametrize("block", MUTATIONS)
def test_a_broken_block_is_found(block, one_lane_less):
    form, *mutation = MUTATIONS[block]
    with np.errstate(all="ignore"):
        assert not difference(form, interpreted(mutation=tuple(mutation))) < 1e-4


def test_the_compiled_kernel_is_the_same():
    for form in ("pre", "causal", "features, mean", "joined features", "copies"):
        assert difference(form) < 1e-5, form


def check_trajectory(problem, rule, **options):
    """The losses of 50 steps, as near to float64 as those of the engine `stack` in float32 but for a factor."""
    options = {"lr": [0.003, 0.01], "steps": 50, "record": "all", "stop": False, **options}
    fused = train(problem, rule, **options)
    single = train(problem, rule, **options, engine="stack")
    double = train(problem, rule, **options, dtype="float64")
    assert (fused.engine, single.engine, double.engine) == ("fused", "stack", "stack")
    for name in ("loss", "loss_weighted"):
        exact = getattr(double, name)
        off, allowed = (np.abs(getattr(found, name) / exact - 1.0).max() for found in (fused, single))
        assert off <= 20.0 * allowed + 1e-5, (name, off, allowed)


@pytest.mark.parametrize("rule", ["adam", "signsgd", "adam-mini"])
def test_trajectories_are_those_of_the_stack(rule):
    check_trajectory(problem_of("post"), rule)


def test_mini_batches_schedules_and_clipping_train_alike():
    check_trajectory(problem_of("features, mean"), "adam", schedule="cosine:warmup=5", evaluate_every=7, clip=0.5)


def test_snapshots_and_tests_are_those_of_the_stack():
    problem = ToyProblem.generate(SMALL, Digits(patch=4, sequences=9, batch=3, test=20), seed=3)
    fused, stack = (
        train(problem, "adam", lr=0.01, steps=20, snapshots=[0, 10], engine=engine) for engine in ("fused", "stack")
    )
    np.testing.assert_allclose(fused.snapshots.gradient, stack.snapshots.gradient, atol=1e-5)
    np.testing.assert_allclose(fused.test_loss, stack.test_loss, rtol=1e-4)


def test_an_instance_has_the_same_bits_beside_any_others():
    problem = ToyProblem.generate(SMALL, TokenMap(vocabulary=6), dial="zipf", heterogeneity=[5, 20], problems=2, seed=3)
    options = {"lr": [0.003, 0.1], "steps": 30, "tolerance": 0.5}
    whole = train(problem, "adam", **options)
    for m in range(problem.problems):
        alone = train(problem.select([m]), "adam", **options)
        np.testing.assert_array_equal(whole.loss[m], alone.loss[0])
        np.testing.assert_array_equal(whole.stopped[m], alone.stopped[0])


def test_what_it_cannot_run_has_a_reason(monkeypatch):
    def reason(model, task=PAIRS):
        return cpu_run.why_not(ToyProblem.generate(model, task))

    assert reason(SMALL) is None
    assert reason(Conv(width=4)) == "it has no kernel for the model conv"
    assert "multiple of 4 columns, not 6" in reason(Transformer(width=6))
    assert "without an embedding" in reason(MLP(embedded=False))
    monkeypatch.setattr(cpu_run, "jit_is_off", lambda: True)
    assert "compiler is off" in reason(SMALL)


def test_auto_takes_it_in_float32_alone():
    problem = problem_of("relu")
    for dtype, engine, used in (
        ("float32", "auto", "fused"),
        ("float64", "auto", "stack"),
        ("float32", "stack", "stack"),
    ):
        assert train(problem, "adam", lr=0.01, steps=1, dtype=dtype, engine=engine).engine == used
