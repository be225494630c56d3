"""Rules against torch.optim and the numpy reference, their algebra against hand-derived results, their errors."""

import functools
import inspect
import pickle
import re
from dataclasses import replace

import matplotlib.mathtext
import numpy as np
import pytest
import sympy as sp
import torch
from cases import OPTIMIZERS
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from reference import RULES as ORACLE
from reference import block_extremes, hessian_times, run, run_on_gradients

from quadsim.simulator.engines.torch_rule import TorchRule, compile_torch
from quadsim.simulator.rules import rule as rule_module
from quadsim.simulator.rules.catalogue import RULES, resolve_rule
from quadsim.simulator.rules.rule import BlockMean, Hyperparameter, Norm, Ratio, Rule, Total, symbols
from quadsim.simulator.rules.schedules import Schedule

g, w, lr, L_l, mu_l = symbols.g, symbols.w, symbols.lr, symbols.L_l, symbols.mu_l
m, c, n = sp.symbols("m c n", real=True)
d, r = sp.symbols("d r", positive=True)
k, t = sp.symbols("k t", positive=True)

PROBLEMS, SIZES = 2, {1: 2, 3: 2, 5: 1}  # block size: how many
BLOCK_SIZES = [size for size, number in SIZES.items() for _ in range(number)]
DIMENSION = sum(BLOCK_SIZES)

STRATEGIES = {
    "lr": st.floats(1e-4, 0.3),
    "momentum": st.floats(0.01, 0.99),  # torch refuses nesterov with 0
    "beta1": st.just(0.0) | st.floats(0.01, 0.99),  # the square of 1e-300, in the norm of LAMB, is 0
    "beta2": st.floats(0.01, 0.999),  # v may not vanish while m does not; beta2 = 0 has a test of its own
    "eps": st.sampled_from([1e-12, 1e-8, 1e-3, 0.1]),
    "weight_decay": st.just(0.0) | st.floats(1e-3, 0.5),
    "momentum_decay": st.floats(0.0, 1.0),
    "max_norm": st.floats(0.01, 100.0),
}


def bounded(examples):
    # No shrinking: most of an example is a seed, which has no simpler form.
    return hypothesis_settings(max_examples=examples, derandomize=True, deadline=None, phases=[Phase.generate])


def draw_settings(data, name, number=3, **instead):
    """A list of `number` values for lr and every hyperparameter of the rule."""
    strategies = STRATEGIES | instead
    return {key: data.draw(st.lists(strategies[key], min_size=number, max_size=number)) for key in RULES[name].names}


def one_setting(values, index):
    return {key: float(value[index]) for key, value in values.items()}


# Arrays are (..., problem, setting, coordinate) here, and parts (M, B_size, P_l, K) for the compiled rule.


def split(flat):
    """(M, K, P) to the parts of the compiled rule."""
    flat, parts, start = torch.as_tensor(flat), [], 0
    for size, number in SIZES.items():
        piece = flat[..., start : start + size * number]
        parts.append(piece.reshape(*flat.shape[:2], number, size).permute(0, 2, 3, 1))
        start += size * number
    return parts


def join(parts):
    """Back to (M, K, P)."""
    flat = [part.permute(0, 3, 1, 2).reshape(part.shape[0], part.shape[3], -1) for part in parts]
    return torch.cat(flat, dim=-1)


def random_blocks(rng):
    """For every problem its dense blocks, positive definite, of sizes BLOCK_SIZES."""

    def block(size):
        factor = rng.normal(size=(size, size))
        return factor @ factor.T + np.diag(rng.uniform(0.1, 2.0, size))

    return [[block(size) for size in BLOCK_SIZES] for _ in range(PROBLEMS)]


def extremes(blocks):
    """L_l and mu_l as lists of (M, B_size, 1, 1)."""
    both = [np.stack(values) for values in zip(*(block_extremes(problem) for problem in blocks), strict=True)]
    ends = np.cumsum(list(SIZES.values()))[:-1]
    return [[torch.from_numpy(x)[..., None, None] for x in np.split(values, ends, axis=1)] for values in both]


class Driver:
    """One compiled rule under K settings, from a start (M, P)."""

    def __init__(self, rule, blocks, start, values):
        self.rule, self.compiled = rule, compile_torch(rule)
        arrays = rule.settings(**values)
        self.settings = {key: torch.from_numpy(array) for key, array in arrays.items()}
        self.iterate = np.repeat(start[:, None, :], arrays["lr"].size, axis=1)
        self.smoothness, self.convexity = extremes(blocks)
        self.states = None
        self.clocks = self.compiled.start_clocks(self.settings)

    def advance(self, gradient, shift=0.0, factor=1.0):
        rows = zip(split(gradient), split(self.iterate + shift), self.smoothness, self.convexity, strict=True)
        parts = [dict(zip(("g", "w", "L_l", "mu_l"), row, strict=True)) for row in rows]
        if self.states is None:
            self.states = self.compiled.start(parts, self.settings)
        scaled = self.settings | {"lr": self.settings["lr"] * factor}
        steps, self.states, self.clocks = self.compiled.advance(parts, self.states, self.clocks, scaled)
        self.iterate = self.iterate + join(steps).numpy()
        return self.iterate


def follow(rule, blocks, gradients, start, values):
    """Iterates (T+1, M, K, P) on given gradients (T, M, K, P)."""
    driver = Driver(rule, blocks, start, values)
    return np.stack([driver.iterate, *(driver.advance(gradient) for gradient in gradients)])


def assert_same(ours, theirs, tolerance=1e-12):
    """Equal to rounding, relative to the largest entry of that trajectory."""
    assert ours.shape == theirs.shape
    scale = np.abs(theirs).max(axis=(0, 3), keepdims=True)
    assert np.isfinite(theirs).all()
    np.testing.assert_allclose((ours - theirs) / scale, 0.0, atol=tolerance)


def random_run(seed, steps, settings, zeros, keep_first=False):
    """Blocks, gradients and a start; some coordinates and (with `zeros`) some whole gradients are exactly 0."""
    rng = np.random.default_rng(seed)
    gradients = rng.normal(size=(steps, PROBLEMS, settings, DIMENSION)) * 10.0 ** rng.uniform(-3, 3, DIMENSION)
    if zeros:
        gradients[..., rng.random(DIMENSION) < 0.3] = 0.0
        silent = rng.random(steps) < 0.2
        silent[0] = silent[0] and not keep_first
        gradients[silent] = 0.0
    return random_blocks(rng), gradients, rng.normal(size=(PROBLEMS, DIMENSION))


# Against torch.optim


def in_torch(name, value):
    """The optimizer class and its arguments."""
    if name in ("gd", "sgd"):
        return torch.optim.SGD, value
    if name in ("heavy-ball", "nesterov"):
        return torch.optim.SGD, value | {"nesterov": name == "nesterov"}
    if name == "rmsprop":
        return torch.optim.RMSprop, {"lr": value["lr"], "alpha": value["beta2"], "eps": value["eps"]}
    if name == "rmsprop-centered":
        return torch.optim.RMSprop, in_torch("rmsprop", value)[1] | {"centered": True}
    if name == "adagrad":
        return torch.optim.Adagrad, value
    if name == "sgdw":
        return DecoupledSGD, {key: x for key, x in value.items() if key != "weight_decay"} | {
            "decay": value["weight_decay"]
        }
    if name == "amsgrad":
        return torch.optim.Adam, in_torch("adam", value)[1] | {"amsgrad": True}
    betas = {key: x for key, x in value.items() if key not in ("beta1", "beta2")}
    betas["betas"] = (value["beta1"], value["beta2"])
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "nadam": torch.optim.NAdam}[name], betas


class DecoupledSGD(torch.optim.SGD):
    """torch's SGD with momentum, after the parameters are multiplied by 1 - lr decay, as in torch.optim.AdamW."""

    def __init__(self, params, *, decay=0.0, **arguments):
        super().__init__(params, **arguments)
        self.defaults["decay"] = decay
        for group in self.param_groups:
            group.setdefault("decay", decay)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.mul_(1 - group["lr"] * group["decay"])
        return super().step(closure)


def follow_torch(name, gradients, start, values):
    number = gradients.shape[2]
    parameters = [torch.nn.Parameter(torch.from_numpy(start.copy())) for _ in range(number)]
    groups = []
    for index, parameter in enumerate(parameters):
        kind, arguments = in_torch(name, one_setting(values, index))
        groups.append({"params": [parameter], **arguments})
    optimizer, iterates = kind(groups), []
    for gradient in [None, *gradients]:
        if gradient is not None:
            for index, parameter in enumerate(parameters):
                parameter.grad = torch.from_numpy(gradient[:, index].copy())
            optimizer.step()
        iterates.append(torch.stack([p.detach().clone() for p in parameters], dim=1).numpy())
    return np.stack(iterates)


IN_TORCH = ["gd", "sgd", "heavy-ball", "nesterov", "rmsprop", "adam", "adamw"]
IN_TORCH += ["adagrad", "rmsprop-centered", "amsgrad", "nadam", "sgdw"]


@pytest.mark.parametrize("name", IN_TORCH)
@bounded(examples=20)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), zeros=st.booleans())
def test_200_steps_equal_torch(name, data, seed, zeros):
    # A short memory leaves little of the variance v - m^2 but rounding.
    instead = {"beta2": st.floats(0.5, 0.999)} if name == "rmsprop-centered" else {}
    values = draw_settings(data, name, **instead)
    blocks, gradients, start = random_run(seed, 200, 3, zeros)
    ours = follow(RULES[name], blocks, gradients, start, values)
    # NAdam keeps its product of momenta in torch's default type, float32, whatever the type of the parameters.
    torch.set_default_dtype(torch.float64)
    try:
        theirs = follow_torch(name, gradients, start, values)
    finally:
        torch.set_default_dtype(torch.float32)
    assert_same(ours, theirs)


@pytest.mark.parametrize("max_norm", [1e-2, 1.0, 1e4])
def test_clipped_gd_is_torchs_clipping_and_sgd(max_norm):
    blocks, gradients, start = random_run(7, 60, 2, zeros=True)
    theirs = np.empty((61, PROBLEMS, 2, DIMENSION))
    for problem, index in np.ndindex(PROBLEMS, 2):
        ends = np.cumsum(BLOCK_SIZES)[:-1]
        parameters = [torch.nn.Parameter(torch.from_numpy(part.copy())) for part in np.split(start[problem], ends)]
        optimizer = torch.optim.SGD(parameters, lr=[0.1, 0.3][index])
        for t in range(61):
            theirs[t, problem, index] = torch.cat(parameters).detach().numpy()
            if t < 60:
                for parameter, part in zip(parameters, np.split(gradients[t, problem, index], ends), strict=True):
                    parameter.grad = torch.from_numpy(part.copy())
                torch.nn.utils.clip_grad_norm_(parameters, max_norm)
                optimizer.step()
    ours = follow(RULES["clipped-gd"], blocks, gradients, start, {"lr": [0.1, 0.3], "max_norm": max_norm})
    assert_same(ours, theirs)


@pytest.mark.parametrize("name", ["rmsprop", "adam", "adamw", "adagrad", "rmsprop-centered", "amsgrad", "nadam"])
def test_defaults_are_torchs(name):
    rule = RULES[name]
    defaults = {str(key): value.default for key, value in rule.hyperparameters.items()}
    kind, arguments = in_torch(name, {"lr": 1.0, **defaults})
    theirs = kind([torch.nn.Parameter(torch.zeros(1))]).defaults
    assert arguments.keys() - {"lr"}
    variant = ("lr", "centered", "amsgrad")
    assert {k: theirs[k] for k in arguments if k not in variant} == {
        k: v for k, v in arguments.items() if k not in variant
    }


# Against the numpy reference


def oracle(name):
    return "gd" if name == "sgd" else name


def test_every_rule_has_a_reference_with_the_same_defaults():
    missing = sorted({oracle(name) for name in RULES} - set(ORACLE))
    assert not missing, (
        f"tests/reference.py lacks {', '.join(missing)}; write the step of each and add it to _DIRECTIONS"
    )
    assert set(ORACLE) <= set(RULES)
    for name, rule in RULES.items():
        direction = ORACLE[oracle(name)].args[0]
        parameters = list(inspect.signature(direction).parameters.values())[3:]  # after the state, g and w
        ours = {str(key): value.default for key, value in rule.hyperparameters.items()}
        assert ours == {parameter.name: parameter.default for parameter in parameters}, name


@pytest.mark.parametrize("name", RULES)
@bounded(examples=20)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), zeros=st.booleans())
def test_60_steps_equal_the_reference(name, data, seed, zeros):
    values = draw_settings(data, name, eps=st.sampled_from([0.0, 1e-8, 0.1]))
    blocks, gradients, start = random_run(seed, 60, 3, zeros, keep_first=name == "adam-frozen")
    theirs = np.empty((61, PROBLEMS, 3, DIMENSION))
    for problem in range(PROBLEMS):
        for index in range(3):
            theirs[:, problem, index] = run_on_gradients(
                oracle(name),
                blocks[problem],
                gradients[:, problem, index],
                start[problem],
                **one_setting(values, index),
            )
    assert_same(follow(RULES[name], blocks, gradients, start, values), theirs)


@pytest.mark.parametrize("name", RULES)
def test_on_a_quadratic_with_a_minimizer_and_a_schedule(name):
    rng, steps = np.random.default_rng(3), 30
    blocks = random_blocks(rng)
    start, minimizer = rng.normal(size=(2, PROBLEMS, DIMENSION))
    factors = Schedule("cosine", 5).factors(steps)
    values = {"lr": [0.01, 0.03]}
    if "weight_decay" in RULES[name].names:
        values["weight_decay"] = [0.1, 0.3]
    driver, ours = Driver(RULES[name], blocks, start, values), []
    for factor in factors:
        gradient = [[hessian_times(blocks[p], e) for e in driver.iterate[p]] for p in range(PROBLEMS)]
        ours.append(driver.advance(np.array(gradient), shift=minimizer[:, None, :], factor=float(factor)))
    theirs = np.array([
        [
            run(
                oracle(name),
                blocks[problem],
                start[problem],
                steps,
                minimizer=minimizer[problem],
                lr_factors=factors,
                **one_setting(values, index),
            )[0][1:]
            for index in range(2)
        ]
        for problem in range(PROBLEMS)
    ])
    assert_same(np.stack(ours), theirs.transpose(2, 0, 1, 3), tolerance=1e-10)  # H e is summed in another order
    assert RULES[name].uses_iterate == ("weight_decay" in RULES[name].names)


# Small semantics


def first_step(rule, gradient, *, blocks=None, values=None):
    """The first step (M, K, P) on a gradient (M, K, P)."""
    blocks = blocks or random_blocks(np.random.default_rng(0))
    driver = Driver(rule, blocks, np.zeros((PROBLEMS, DIMENSION)), values or {"lr": [1.0] * gradient.shape[1]})
    return driver.advance(gradient)


@pytest.fixture
def gradient():
    return np.random.default_rng(5).normal(size=(PROBLEMS, 3, DIMENSION))


@pytest.mark.parametrize("name", RULES)
def test_no_gradient_no_step(name):
    values = {"lr": 0.1} | ({"eps": 0.0} if "eps" in RULES[name].names else {})
    for zero in (0.0, -0.0):
        assert not first_step(RULES[name], np.full((PROBLEMS, 1, DIMENSION), zero), values=values).any()


@pytest.mark.parametrize("name", ["signsgd", "signum", "lion", "sign-lambda"])
def test_the_sign_of_zero_is_zero(name, gradient):
    gradient[..., ::2] = 0.0
    step = first_step(RULES[name], gradient)
    assert not step[..., ::2].any()
    np.testing.assert_array_equal(np.sign(step[..., 1::2]), -np.sign(gradient[..., 1::2]))


@bounded(examples=15)
@given(seed=st.integers(0, 2**32 - 1), zeros=st.booleans())
def test_adam_without_memory_is_signsgd_bitwise(seed, zeros):
    blocks, gradients, start = random_run(seed, 10, 2, zeros)
    memoryless = {"lr": [0.1, 0.3], "beta1": 0.0, "beta2": 0.0, "eps": 0.0}
    adam = follow(RULES["adam"], blocks, gradients, start, memoryless)
    np.testing.assert_array_equal(adam, follow(RULES["signsgd"], blocks, gradients, start, {"lr": [0.1, 0.3]}))


def test_ratio_is_zero_where_its_numerator_is():
    assert Ratio(0, g) == 0
    assert Ratio(0, 0) == 0
    assert Ratio(sp.Rational(3, 2), 3) == sp.Rational(1, 2)
    assert isinstance(Ratio(1, 0), Ratio)  # kept: infinite, but only the run says so
    assert Ratio(g, lr).doit() == g / lr
    assert (Ratio(g, Ratio(lr, w)) + 1).doit() == g * w / lr + 1
    gradient = np.zeros((PROBLEMS, 1, DIMENSION))
    gradient[0, 0, :3] = [2.0, -3.0, 0.0]
    step = first_step(Rule(name="mine", step=Ratio(g, sp.Abs(g) * Total(sp.Abs(g)))), gradient)
    np.testing.assert_array_equal(step[0, 0, :4], [0.2, -0.2, 0.0, 0.0])
    assert not step[1].any()  # 0/0 through a whole problem


def block_means(x):
    ends = np.cumsum(BLOCK_SIZES)[:-1]
    means = [np.repeat(part.mean(axis=-1, keepdims=True), part.shape[-1], -1) for part in np.split(x, ends, axis=-1)]
    return np.concatenate(means, axis=-1)


def per_coordinate(blocks, which):
    values = np.stack([block_extremes(problem)[which] for problem in blocks])
    return np.repeat(values, BLOCK_SIZES, axis=1)[:, None, :]


RATES = np.array([0.5, 1.0, 2.0])
SEMANTICS = {
    "mean of a block": (BlockMean(g**2), lambda x, L: block_means(x**2)),
    "mean of a product": (g * BlockMean(g * sp.sign(g)), lambda x, L: x * block_means(np.abs(x))),
    "mean of a mean": (BlockMean(g + BlockMean(g)), lambda x, L: 2 * block_means(x)),
    "mean of a number": (BlockMean(sp.Integer(3)), lambda x, L: 3 + 0 * x),
    "mean of a setting": (BlockMean(lr), lambda x, L: RATES[:, None] + 0 * x),
    "mean of a block's constant": (BlockMean(L_l), lambda x, L: L + 0 * x),
    "total": (Total(g), lambda x, L: x.sum(-1, keepdims=True) + 0 * x),
    "total of a number": (Total(1), lambda x, L: DIMENSION + 0 * x),
    "total of a setting": (Total(lr), lambda x, L: DIMENSION * RATES[:, None] + 0 * x),
    "total of a block's constant": (Total(L_l), lambda x, L: L.sum(-1, keepdims=True) + 0 * x),
    "total of means": (Total(BlockMean(g)), lambda x, L: x.sum(-1, keepdims=True) + 0 * x),
    "mean of a total": (BlockMean(g * Total(g)), lambda x, L: block_means(x) * x.sum(-1, keepdims=True)),
    "norm": (Norm(g), lambda x, L: np.linalg.norm(x, axis=-1, keepdims=True) + 0 * x),
    "two totals": (
        g * Total(g**2) / Total(L_l * g**2),
        lambda x, L: x * (x**2).sum(-1, keepdims=True) / (L * x**2).sum(-1, keepdims=True),
    ),
    # Functions of plain numbers keep float64 and may stand beside tensors in either order.
    "sqrt of a number": (sp.sqrt(2) * g, lambda x, L: np.sqrt(2) * x),
    "exp of a number": (sp.exp(sp.Rational(1, 3)) * g, lambda x, L: np.exp(1 / 3) * x),
    "tanh of a number": (sp.tanh(sp.Rational(1, 3)) * g, lambda x, L: np.tanh(1 / 3) * x),
    "log of a number": (sp.log(3) * g, lambda x, L: np.log(3) * x),
    "e and pi": (sp.E * sp.pi * g, lambda x, L: np.e * np.pi * x),
    "clip": (sp.Max(-1, sp.Min(g, sp.Rational(1, 3))), lambda x, L: np.clip(x, -1, 1 / 3)),
    "max with a root": (sp.Max(g, sp.sqrt(2) / 3), lambda x, L: np.maximum(x, np.sqrt(2) / 3)),
    "min with a setting": (sp.Min(g, lr), lambda x, L: np.minimum(x, RATES[:, None])),
    "max of a total and a number": (
        sp.Max(Total(g), 1),
        lambda x, L: np.maximum(x.sum(-1, keepdims=True), 1) + 0 * x,
    ),
    "max of three": (sp.Max(g, lr / 10, -g / 2), lambda x, L: np.maximum(np.maximum(x, RATES[:, None] / 10), -x / 2)),
    "ratio of a number": (Ratio(sp.Rational(1, 3), 1 + g**2), lambda x, L: 1 / 3 / (1 + x**2)),
    "ratio by a number": (Ratio(g, sp.sqrt(3)), lambda x, L: x / np.sqrt(3)),
    "power of a ratio": (Ratio(g, 1 + g**2) ** 2 / Ratio(lr, L_l), lambda x, L: (x / (1 + x**2)) ** 2 * L / RATES[:, None]),
    "broken powers": (
        sp.Abs(g) ** sp.Rational(1, 3) / sp.sqrt(1 + g**2) + (1 + g**2) ** sp.Rational(-3, 2),
        lambda x, L: np.cbrt(np.abs(x)) / np.sqrt(1 + x**2) + (1 + x**2) ** -1.5,
    ),
    "exp, log, tanh": (sp.exp(g) * sp.log(1 + g**2) * sp.tanh(g), lambda x, L: np.exp(x) * np.log(1 + x**2) * np.tanh(x)),
    "a number alone": (sp.Integer(-1), lambda x, L: -1 + 0 * x),
    "a setting alone": (-lr, lambda x, L: -RATES[:, None] + 0 * x),
}  # fmt: skip


@pytest.mark.parametrize("case", SEMANTICS)
def test_semantics_of_an_expression(case, gradient):
    expression, expected = SEMANTICS[case]
    blocks = random_blocks(np.random.default_rng(1))
    step = first_step(Rule(name="mine", step=expression), gradient, blocks=blocks, values={"lr": RATES})
    np.testing.assert_allclose(step, expected(gradient, per_coordinate(blocks, 0)), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_dtype_is_kept(dtype):
    odd = Rule(
        name="odd",
        update={m: sp.sqrt(2) * m + g, d: d, n: sp.Max(n, 1)},
        start={d: Norm(g)},
        step=-lr * sp.tanh(1) * sp.Max(g, sp.Rational(1, 3)) * m / d - n,
    )
    parts = [{name: torch.ones(1, 2, 3, 2, dtype=dtype) for name in ("g", "w", "L_l", "mu_l")}]
    for rule in (*RULES.values(), odd):
        compiled = compile_torch(rule)
        settings = {name: torch.from_numpy(x).to(dtype) for name, x in rule.settings([0.1, 0.2]).items()}
        states, clocks = compiled.start(parts, settings), compiled.start_clocks(settings)
        for _ in range(2):
            steps, states, clocks = compiled.advance(parts, states, clocks, settings)
            assert {x.dtype for x in (*steps, *states[0])} == {dtype}, rule.name
            assert {x.dtype for x in clocks} <= {torch.float64}, (
                rule.name
            )  # 1 - beta^t is not rounded before it is formed
            assert steps[0].shape == (1, 2, 3, 2)


def test_parts_may_be_the_parameters_of_a_model():
    """The caller says what a block and the whole are; settings are then single numbers."""
    rng, hyper = np.random.default_rng(2), {"beta1": 0.5, "beta2": 0.7, "eps": 1e-3}
    compiled = TorchRule(RULES["adam-mini"], torch.mean, lambda parts: torch.stack([x.sum() for x in parts]).sum())
    settings = {name: torch.tensor(value, dtype=torch.float64) for name, value in {"lr": 0.1, **hyper}.items()}
    gradients, one = rng.normal(size=(5, 10)), torch.ones((), dtype=torch.float64)
    states, clocks, total = None, compiled.start_clocks(settings), np.zeros(10)
    for row in torch.from_numpy(gradients):
        shaped = (row[:6].reshape(2, 3), row[6:])
        parts = [{"g": x, "w": torch.zeros_like(x), "L_l": one, "mu_l": one} for x in shaped]
        states = compiled.start(parts, settings) if states is None else states
        steps, states, clocks = compiled.advance(parts, states, clocks, settings)
        assert [step.shape for step in steps] == [(2, 3), (4,)]
        total += torch.cat([step.flatten() for step in steps]).numpy()
    theirs = run_on_gradients("adam-mini", [np.eye(6), np.eye(4)], gradients, np.zeros(10), lr=0.1, **hyper)
    np.testing.assert_allclose(total, theirs[-1], rtol=1e-12)


# A user's own rule

CLIPPED = Rule(name="clipped", step=-lr * sp.Max(-1, sp.Min(1, g)))
OWN = Rule(
    name="own",
    start={m: g / 2, d: Norm(g) + BlockMean(sp.Abs(g))},
    clocks={t: t + 1, k: sp.Max(k * sp.tanh(sp.Rational(1, 2)), sp.exp(-1))},
    update={m: r * m + (1 - r) * g, d: sp.Max(r * d, sp.sqrt(BlockMean(g**2)) / sp.sqrt(2)), c: sp.Min(m * Total(g), k)},
    step=-lr * k * Ratio(m + c, d * sp.sqrt(t)) / (1 + Total(m**2)),
    hyperparameters={r: Hyperparameter(0.75, 0.0, 1.0, high_open=True)},
)  # fmt: skip


def own_by_hand(gradients, rate, decay):
    """OWN on (T, P) gradients in plain numpy: old states on the right of an update, new ones in the step."""
    x, clock, shrink = np.zeros(DIMENSION), 1.0, 1.0
    first = gradients[0]
    memory, scale = first / 2, np.linalg.norm(first) + block_means(np.abs(first))
    for gradient in gradients:
        clock, shrink = clock + 1, max(shrink * np.tanh(0.5), np.exp(-1))
        mix = np.minimum(memory * gradient.sum(), shrink)
        memory, scale = (
            decay * memory + (1 - decay) * gradient,
            np.maximum(decay * scale, np.sqrt(block_means(gradient**2) / 2)),
        )
        x = x - rate * shrink * (memory + mix) / (scale * np.sqrt(clock)) / (1 + (memory**2).sum())
    return x


def test_an_own_rule_runs():
    blocks, gradients, _ = random_run(4, 20, 2, zeros=False)
    values = {"lr": [0.1, 0.2], "r": [0.75, 0.3]}
    ours = follow(OWN, blocks, gradients, np.zeros((PROBLEMS, DIMENSION)), values)
    for problem in range(PROBLEMS):
        for index in range(2):
            theirs = own_by_hand(gradients[:, problem, index], values["lr"][index], values["r"][index])
            np.testing.assert_allclose(ours[-1, problem, index], theirs, rtol=1e-11)
    assert OWN.states == (m, d)  # c is a name for a part of the step
    assert OWN.kind == "global"
    assert CLIPPED.kind == "separable"


def test_a_temporary_and_a_state_are_told_apart():
    assert RULES["lion"].states == (sp.Symbol("m", real=True),)
    assert [str(state) for state in RULES["adam"].states] == ["m", "v"]
    assert RULES["signsgd"].states == ()
    delayed = Rule(name="delayed", update={m: g, n: m}, step=-lr * n)  # on the right stands the old m
    gradients = np.random.default_rng(0).normal(size=(3, PROBLEMS, 1, DIMENSION))
    start = np.zeros((PROBLEMS, DIMENSION))
    iterates = follow(delayed, random_blocks(np.random.default_rng(0)), gradients, start, {"lr": 1.0})
    assert not iterates[1].any()
    np.testing.assert_array_equal(iterates[3] - iterates[2], iterates[2] - gradients[1] - iterates[2])


def test_totals_see_old_states_in_an_update_and_new_ones_in_the_step(gradient):
    rule = Rule(name="mine", update={m: m / 2 + g, n: n + Total(m + g)}, start={m: 4 * g}, step=-Total(m) - 10 * n)
    total = gradient.sum(axis=-1, keepdims=True)
    expected = -3 * total - 10 * 5 * total + 0 * gradient  # new m is 3 g, n sums the old m and g
    np.testing.assert_allclose(first_step(rule, gradient), expected, rtol=1e-13)


# What a rule refuses

REFUSED = {
    "unknown symbol in the step": (
        {"step": -lr * sp.Symbol("z")},
        r"^step of rule mine may use L_l, g, lr, mu_l, w, got z; declare it as a state, clock or hyperparameter",
    ),
    "a lookalike of g": ({"step": -lr * sp.Symbol("g")}, r"step of rule mine .* got g; .*rule\.symbols for g"),
    "unknown symbol in an update": (
        {"step": -lr * m, "update": {m: m + c + n}},
        r"update of m of rule mine may use L_l, g, lr, m, mu_l, w, got c, n; declare",
    ),
    "coordinate in a clock": ({"step": -lr * t, "clocks": {t: t * g}}, r"clock t of rule mine may use t, got g"),
    "state in a start": (
        {"step": -lr * m, "update": {m: m}, "start": {m: m}},
        r"start of m of rule mine may use L_l, g, mu_l, got m",
    ),
    "lr in a start": ({"step": m, "update": {m: m}, "start": {m: lr * g}}, r"start of m of rule mine .* got lr;"),
    "gradient in natural_lr": ({"step": -lr * g, "natural_lr": 1 / g}, r"natural_lr of rule mine .* got g; declare"),
    "unknown function": (
        {"step": -lr * sp.cos(g)},
        r"^step of rule mine may use sqrt, BlockMean, Total, Ratio, Abs, .* Max, Min, got \{cos\(g\)\}; write it with these",
    ),
    "undefined function": ({"step": sp.Function("f")(g)}, r"got \{f\(g\)\}"),
    "function in an update": (
        {"step": -m, "update": {m: m + sp.floor(g)}},
        r"update of m of rule mine .* got \{floor\(g\)\}",
    ),
    "piecewise": ({"step": sp.Piecewise((g, g > 0), (0, True))}, r"got \{Piecewise"),
    "total in a clock": (
        {"step": -g * t, "clocks": {t: Total(t)}},
        r"clock t of rule mine may use sqrt, Ratio, .*, got \{Total\(t\)\}",
    ),
    "mean in a clock": ({"step": -g * t, "clocks": {t: BlockMean(t)}}, r"clock t .* got \{BlockMean\(t\)\}"),
    "total in natural_lr": ({"step": -lr * g, "natural_lr": Total(symbols.L)}, r"natural_lr .* got \{Total\(L\)\}"),
    "a name twice": (
        {"step": -lr * m, "update": {m: m + g}, "hyperparameters": {sp.Symbol("m"): 1}},
        r"states, clocks and hyperparameters of rule mine must differ in name .* got m twice; rename one",
    ),
    "a name that is taken": ({"step": -lr * g, "hyperparameters": {sp.Symbol("w"): 1}}, r"got w twice"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_rule_refuses(case):
    fields, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        Rule(name="mine", **fields)


@pytest.mark.parametrize("where", ["step", "update", "start"])
def test_a_total_within_a_total_is_refused(where):
    nested = Total(g * Total(sp.Abs(g)))
    fields = {"step": {"step": nested}, "update": {"update": {m: m + nested}}, "start": {"start": {m: nested}}}[where]
    fields = {"step": -lr * m, "update": {m: m}} | fields
    with pytest.raises(
        ValueError, match=r"must not hold another Total, got Total\(g\*Total\(Abs\(g\)\)\); write the sums"
    ):
        Rule(name="mine", **fields)


def test_a_rule_is_found_by_name():
    assert resolve_rule("adam") is RULES["adam"]
    assert resolve_rule(CLIPPED) is CLIPPED
    with pytest.raises(ValueError, match=r"optimizer must be one of gd, .*, got 'adma'; did you mean 'adam'\?"):
        resolve_rule("adma")


# Settings


def test_settings_are_zipped():
    values = RULES["adam"].settings(np.array([0.1, 0.2]), beta1=[0.5, 0.6], eps=0)
    assert list(values) == ["lr", "beta1", "beta2", "eps"]
    expected = {"lr": [0.1, 0.2], "beta1": [0.5, 0.6], "beta2": [0.999, 0.999], "eps": [0.0, 0.0]}
    assert {name: array.tolist() for name, array in values.items()} == expected
    assert all(array.dtype == np.float64 and array.flags.writeable for array in values.values())


@pytest.mark.parametrize(
    "rates", [0.25, [0.25], (0.25,), np.float32(0.25), np.array(0.25), np.array([0.25]), sp.Rational(1, 4)]
)
def test_settings_of_length_one(rates):
    values = RULES["heavy-ball"].settings(rates, momentum=np.linspace(0, 0.9, 4))
    assert values["lr"].tolist() == [0.25] * 4
    assert values["momentum"].tolist() == np.linspace(0, 0.9, 4).tolist()


@pytest.mark.parametrize("name", RULES)
def test_default_learning_rate(name):
    rule = RULES[name]
    if name in ("block-gd", "gd-lambda", "sign-lambda"):
        assert rule.settings(None)["lr"].tolist() == [1.0]
    else:
        with pytest.raises(ValueError, match=rf"lr must be given for {name}, got None; pass lr="):
            rule.settings(None)


BAD_SETTINGS = [
    ("adam", {"lr": [0.1, 0.2], "beta1": [0.1, 0.2, 0.3]}, r"one common length, got \{'lr': 2, 'beta1': 3\}; .*grid\("),
    ("adam", {"lr": 0.1, "beta1": [0.1, 0.2], "eps": [1, 2, 3]}, r"got \{'beta1': 2, 'eps': 3\}"),
    ("adam", {"lr": 0}, r"lr must be a number above 0, got 0; give a value in that range"),
    ("adam", {"lr": [0.1, -1.5]}, r"lr must be a number above 0, got -1\.5"),
    ("gd", {"lr": np.inf}, r"lr must be a number above 0, got inf"),
    ("gd", {"lr": np.array([1.0, np.nan])}, r"lr must be a number above 0, got nan"),
    ("gd", {"lr": "fast"}, r"lr must be a number above 0, got 'fast'"),
    ("gd", {"lr": True}, r"lr must be a number above 0, got True"),
    ("gd", {"lr": []}, r"lr must be a number or a sequence of numbers, got shape \(0,\); give one axis"),
    ("gd", {"lr": [[0.1]]}, r"lr must be a number or a sequence of numbers, got shape \(1, 1\)"),
    ("adam", {"lr": 0.1, "beta1": 1}, r"beta1 must be a number in \[0, 1\), got 1;"),
    ("adam", {"lr": 0.1, "beta2": [0.9, -0.1]}, r"beta2 must be a number in \[0, 1\), got -0\.1"),
    ("adam", {"lr": 0.1, "eps": -1e-8}, r"eps must be a number of at least 0, got -1e-08"),
    ("heavy-ball", {"lr": 0.1, "momentum": 1.0}, r"momentum must be a number in \[0, 1\), got 1\.0"),
    ("adamw", {"lr": 0.1, "weight_decay": -1}, r"weight_decay must be a number of at least 0, got -1"),
    ("adam", {"lr": 0.1, "beta_1": 0.5}, r"hyperparameter of adam must be one of .*, got 'beta_1'; did you mean 'beta1'\?"),
    ("adam", {"lr": 0.1, "betas": 0.5}, r"got 'betas'; did you mean 'beta[12]'\?"),
    ("adam", {"lr": 0.1, "zzz": 0.5}, r"got 'zzz'; choose one of these"),
    ("gd", {"lr": 0.1, "momentum": 0.5}, r"hyperparameter of gd must not be given, as there is none, got 'momentum'; leave it out"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "values", "message"), BAD_SETTINGS, ids=lambda x: x if isinstance(x, str) else str(x))
def test_bad_settings(name, values, message):
    with pytest.raises(ValueError, match=message):
        RULES[name].settings(**values)


def test_a_plain_number_is_a_default_without_a_range():
    rule = Rule(name="mine", step=-lr * r * g, hyperparameters={r: 3})
    assert rule.settings(0.1)["r"].tolist() == [3.0]
    assert rule.settings(0.1, r=-7)["r"].tolist() == [-7.0]
    with pytest.raises(ValueError, match="r must be a number that is finite, got inf"):
        rule.settings(0.1, r=np.inf)


def test_natural_rates():
    s, tolerance, L, mu, trace, dimension = 2.0, 1e-6, 50.0, 0.5, 200.0, 16
    values = dict(
        zip(
            ("error_scale", "tolerance", "L", "mu", "trace", "dimension"),
            (s, tolerance, L, mu, trace, dimension),
            strict=True,
        )
    )
    found = {}
    for name, rule in RULES.items():
        defaults = {key: value.default for key, value in rule.hyperparameters.items()}
        found[name] = float(
            rule.natural_lr.subs(defaults).subs({getattr(symbols, key): x for key, x in values.items()})
        )
    jitter = s * np.sqrt(tolerance)
    expected = {
        "gd": np.sqrt(2) / L,
        "sgd": np.sqrt(2) / L,
        "heavy-ball": np.sqrt(2) * 1.9 / L,
        "nesterov": np.sqrt(2) * 1.9 / 2.8 / L,
        "normalized-gd": jitter * np.sqrt(trace / L),
        "signsgd": jitter,
        "rmsprop": jitter,
        "signum": jitter * 0.1,
        "lion": jitter * 0.1,
        "adam": s / 10,
        "adamw": s / 10,
        "adam-mini": s / 10,
        "adam-frozen": s / 10,
        "gd-lambda": 1.0,
        "sign-lambda": 1.0,
        "block-gd": 1.0,
        "adagrad": s,
        "rmsprop-centered": jitter,
        "amsgrad": s / 10,
        "nadam": s / 10,
        "clipped-gd": np.sqrt(2) / L,
        "sgdw": np.sqrt(2) * 1.9 / L,
        "lamb": 1.0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-12)
    assert all(np.isfinite(rate) and rate > 0 for rate in found.values())
    # Below what a memoryless, heavy-ball and nesterov step can take without diverging on the stiffest direction.
    assert found["gd"] * L < 2
    assert found["heavy-ball"] * L < 2 * 1.9
    assert found["nesterov"] * L < 2 * 1.9 / 2.8


# Kinds and linear forms


def test_the_kind_of_every_rule():
    assert {name: rule.kind for name, rule in RULES.items()} == {name: case.kind for name, case in OPTIMIZERS.items()}


def by_hand(name):
    """Matrix on (e, memory) along an eigenvector of eigenvalue lambda, and the preconditioner."""
    lam = sp.Symbol("lambda", positive=True)
    beta = next(iter(RULES[name].hyperparameters), None)
    if name in ("gd", "sgd"):
        return sp.Matrix([[1 - lr * lam]]), None
    if name == "block-gd":
        return sp.Matrix([[1 - 2 * lr * lam / (L_l + mu_l)]]), None
    if name == "adam-frozen":
        return sp.Matrix([[1 - lr * lam]]), 1 / next(iter(RULES[name].update))
    if name == "heavy-ball":  # m' = beta m + lambda e, e' = e - lr m'
        return sp.Matrix([[1 - lr * lam, -lr * beta], [lam, beta]]), None
    assert name == "nesterov"  # m' = beta m + lambda e, e' = e - lr (lambda e + beta m')
    return sp.Matrix([[1 - lr * lam * (1 + beta), -lr * beta**2], [lam, beta]]), None


def test_coefficients_that_are_not_simplified_would_stay_as_they_are(monkeypatch):
    fresh = {name: replace(RULES[name]).linear_form for name, case in OPTIMIZERS.items() if case.kind == "linear"}
    monkeypatch.setattr(rule_module, "_simplified", sp.simplify)
    assert fresh == {name: replace(RULES[name]).linear_form for name in fresh}
    assert None not in fresh.values()


@pytest.mark.parametrize("name", RULES)
def test_linear_form(name):
    form = RULES[name].linear_form
    if OPTIMIZERS[name].kind != "linear":
        assert form is None
        return
    matrix, preconditioner = by_hand(name)
    assert sp.simplify(form.matrix - matrix) == sp.zeros(*matrix.shape)
    first = sp.Matrix([[1] + [0] * (matrix.shape[0] - 1)])
    assert sp.simplify(form.increment - (matrix[0, :] - first)) == sp.zeros(1, matrix.shape[0])
    assert form.preconditioner == preconditioner
    if preconditioner is not None:
        assert RULES[name].start == {preconditioner**-1: sp.Abs(g)}


LOOKALIKES = {
    "absolute": {"step": -lr * sp.Abs(g)},
    "sign times size": {"step": -lr * sp.sign(g) * g**2},
    "affine": {"step": -lr * (g + 1)},
    "half": {"step": -lr * sp.Max(g, 0)},
    "square": {"step": -lr * g**2},
    "product of g and memory": {"step": -lr * g * m, "update": {m: m / 2 + g}},
    "nonlinear memory": {"step": -lr * m, "update": {m: m / 2 + sp.tanh(g)}},
    "sees the iterate": {"step": -lr * (g + w / 100)},
    "times the iterate": {"step": -lr * g * w},
    "over the block": {"step": -lr * BlockMean(g)},
    "over the whole": {"step": -lr * g / Total(1)},
    "clock": {"step": -lr * g / t, "clocks": {t: t + 1}},
    "starts moving": {"step": -lr * m, "update": {m: m / 2 + g}, "start": {m: g}},
    "frozen scale on the memory alone": {"step": -lr * m / d, "update": {m: m / 2 + g, d: d}, "start": {d: sp.Abs(g)}},
    "two frozen scales": {
        "step": -lr * (m + g / d),
        "update": {m: m / 2 + g / d**2, d: d},
        "start": {d: sp.Abs(g)},
    },
    "frozen decay": {"step": -lr * m, "update": {m: m * d + g / d, d: d}, "start": {d: sp.Abs(g)}},
    "frozen shift": {"step": -lr * g - d, "update": {d: d}, "start": {d: sp.Abs(g)}},
    "scale that needs the block": {"step": -lr * g / d, "update": {d: d}, "start": {d: BlockMean(sp.Abs(g))}},
    "scale that needs the whole": {"step": -lr * g / d, "update": {d: d}, "start": {d: Norm(g)}},
}


@pytest.mark.parametrize("case", LOOKALIKES)
def test_a_lookalike_has_no_linear_form(case):
    rule = Rule(name="mine", **LOOKALIKES[case])
    assert rule.linear_form is None
    assert rule.kind == ("global" if "whole" in case else "separable")


def test_linear_rules_of_a_user():
    lam = sp.Symbol("lambda", positive=True)
    hidden = Rule(name="mine", step=-lr * (g + Ratio(g**2, g) * sp.tanh(1)), update={n: n * g})  # n is not in the step
    assert hidden.linear_form is None  # but it is a state, and not a linear one
    plain = Rule(name="mine", step=-lr * (g + Ratio(g**2, g) * sp.tanh(1)))
    assert sp.simplify(plain.linear_form.increment[0] + lr * lam * (1 + sp.tanh(1))) == 0
    mean = Rule(name="mine", step=-lr * m, update={m: r * m + (1 - r) * g, c: m + g}, hyperparameters={r: 0.9})
    expected = sp.Matrix([[1 - lr * (1 - r) * lam, -lr * r], [(1 - r) * lam, r]])
    assert sp.simplify(mean.linear_form.matrix - expected) == sp.zeros(2, 2)
    frozen = Rule(name="mine", step=-lr * m, update={d: d, m: m / 2 + g / d}, start={d: sp.Abs(g) + 1})
    expected = sp.Matrix([[1 - lr * lam, -lr / 2], [lam, sp.Rational(1, 2)]])
    assert sp.simplify(frozen.linear_form.matrix - expected) == sp.zeros(2, 2)
    assert frozen.linear_form.preconditioner == 1 / d


@pytest.mark.parametrize("name", [name for name, case in OPTIMIZERS.items() if case.kind == "linear"])
def test_the_linear_form_is_the_code_that_runs(name):
    rng = np.random.default_rng(7)
    spectrum = rng.uniform(0.5, 4.0, (PROBLEMS, DIMENSION))
    blocks = [[np.diag(part) for part in np.split(row, np.cumsum(BLOCK_SIZES)[:-1])] for row in spectrum]
    start = rng.normal(size=(PROBLEMS, DIMENSION))
    values = {"lr": 0.1} | {str(key): 0.6 for key in RULES[name].hyperparameters}
    driver = Driver(RULES[name], blocks, start, values)
    for _ in range(6):
        driver.advance(spectrum[:, None, :] * driver.iterate)
    form = RULES[name].linear_form
    # With H diagonal the coordinates are the eigenvectors, and phi^(1/2) H phi^(1/2) = phi lambda.
    phi = 1.0 if form.preconditioner is None else 1 / np.abs(spectrum * start)
    symbols_in_order = (form.eigenvalue, L_l, mu_l, lr, *RULES[name].hyperparameters)
    function = sp.lambdify(symbols_in_order, form.matrix)
    smoothness, convexity = (per_coordinate(blocks, which)[:, 0, :] for which in (0, 1))
    scaled = np.broadcast_to(phi * spectrum, spectrum.shape)
    for p, i in np.ndindex(PROBLEMS, DIMENSION):
        matrix = np.array(function(scaled[p, i], smoothness[p, i], convexity[p, i], *values.values()), dtype=float)
        expected = np.linalg.matrix_power(matrix, 6)[0, 0] * start[p, i]
        assert driver.iterate[p, 0, i] == pytest.approx(expected, rel=1e-10, abs=1e-14)


# Stages


def test_stages_cut_at_the_sums():
    for rule in (*RULES.values(), OWN):
        stages = rule.stages
        found = (*stages.updates.values(), *stages.starts.values(), stages.step)
        assert not any(expression.has(Total) for expression in found), rule.name
        whole = {
            symbol: Total(inner)
            for symbol, inner in (stages.update_totals | stages.step_totals | stages.start_totals).items()
        }
        assert stages.step.subs(whole) == rule.step
        assert {state: value.subs(whole) for state, value in stages.updates.items()} == dict(rule.update)
        assert {s: v.subs(whole) for s, v in stages.starts.items()} == {s: rule.start.get(s, 0) for s in rule.states}
        assert bool(stages.update_totals or stages.step_totals or stages.start_totals) == rule.is_global
    stages = RULES["gd-lambda"].stages
    assert set(stages.step_totals.values()) == {g**2, L_l * g**2}
    assert not stages.update_totals


def test_an_equal_sum_is_taken_once():
    rule = Rule(name="mine", step=-lr * (m + n), update={m: m + Total(g), n: n - 2 * Total(g) + Total(g * m)})
    stages = rule.stages
    assert sorted(map(str, stages.update_totals.values())) == ["g", "g*m"]
    assert rule.is_global
    assert rule.kind == "global"


# What is printed

CONTENTS = {
    "gd": (["w <- w + (-g*lr)"], [r"g \eta"]),
    "sgd": (["w <- w + (-g*lr)"], [r"g \eta"]),
    "heavy-ball": (["m <- g + m*momentum", "(-lr*m)"], [r"m \leftarrow g + m \,\text{momentum}", r"\eta m"]),
    "nesterov": (["m <- g + m*momentum", "-lr*(g + m*momentum)"], [r"\left(g + m \,\text{momentum}\,\right)"]),
    "normalized-gd": (["sqrt(Total(g**2))"], [r"\frac{g}{\sqrt{", "Total"]),
    "gd-lambda": (["Total(g**2)", "Total(L_l*g**2)"], ["L_{l} g^{2}"]),
    "signsgd": (["-lr*sign(g)"], [r"\operatorname{sign}"]),
    "sign-lambda": (["Total(Abs(g))", "Total(L_l)", "sign(g)"], [r"\left|{g}\right|", "L_{l}"]),
    "signum": (["m <- g*(1 - momentum) + m*momentum", "sign(m)"], [r"m \leftarrow g \left(1 - \,\text{momentum}"]),
    "rmsprop": (["v <- beta2*v + g**2*(1 - beta2)", "g/(eps + sqrt(v))"], [r"\beta_{2} v", r"\varepsilon + \sqrt{v}"]),
    "adam": (
        ["p1 <- beta1*p1", "p2 <- beta2*p2", "m <- beta1*m", "v <- beta2*v", "eps +"],
        [r"p_{1} \leftarrow \beta_{1} p_{1}", r"\varepsilon"],
    ),
    "adam-frozen": (["d = Abs(g) at the start", "d <- d", "g/d"], [r"\text{ at the start}", r"\frac{g}{d}"]),
    "adamw": (["p1 <- beta1*p1", "weight_decay", "eps +"], [r"\text{weight decay}", r"\varepsilon"]),
    "lion": (
        ["c <- beta1*m + g*(1 - beta1)", "m <- beta2*m + g*(1 - beta2)", "w*weight_decay + sign(c)"],
        [r"\operatorname{sign}{\left(c \right)}"],
    ),
    "block-gd": (["2*g*lr/(L_l + mu_l)"], [r"L_{l} + \mu_{l}"]),
    "adam-mini": (["(1 - beta2)*BlockMean(g**2)"], ["BlockMean", r"\beta_{2}"]),
}  # fmt: skip

AWKWARD = Rule(
    name="awkward",
    step=-lr * Ratio(g, 1 + w) ** 2 + lr / Ratio(g, Ratio(m, L_l * lr)) - Ratio(Ratio(g, L_l), mu_l) * sp.sqrt(Ratio(d, r)),
    update={m: m * Ratio(g, d + r) ** 3, d: d},
    start={d: Ratio(sp.Abs(g), L_l + mu_l)},
    hyperparameters={r: 1},
)  # fmt: skip


@pytest.mark.parametrize("name", CONTENTS)
def test_formula_and_latex_hold_what_they_should(name):
    plain, latex = CONTENTS[name]
    for snippet in plain:
        assert snippet in RULES[name].formula()
    for snippet in latex:
        assert snippet in RULES[name].latex()


@pytest.mark.parametrize("rule", [*RULES.values(), OWN, CLIPPED, AWKWARD], ids=lambda rule: rule.name)
def test_the_formula_can_be_read_back(rule):
    def read(text):
        names = [g, w, lr, L_l, mu_l, *rule.update, *rule.clocks, *rule.hyperparameters]
        return sp.sympify(text, {str(symbol): symbol for symbol in names} | {"BlockMean": BlockMean, "Total": Total})

    *lines, last = rule.formula().splitlines()
    starts = dict(re.fullmatch(r"(\w+) = (.*) at the start", line).groups() for line in lines if " = " in line)
    arrows = dict(line.split(" <- ") for line in lines if " <- " in line)
    assert len(starts) + len(arrows) == len(lines)
    read_back = [(starts, rule.start), (arrows, {**rule.clocks, **rule.update})]
    read_back.append(({"w": last.removeprefix("w <- w + ")}, {w: rule.step}))
    for texts, expressions in read_back:
        assert list(texts) == [str(symbol) for symbol in expressions]
        for text, expression in zip(texts.values(), expressions.values(), strict=True):
            assert sp.simplify(read(text) - expression.doit()) == 0, text


@pytest.mark.parametrize("rule", [*RULES.values(), OWN, CLIPPED, AWKWARD], ids=lambda rule: rule.name)
def test_no_sum_in_latex_adds_a_minus(rule):
    assert not re.search(r"\+ *(\\left\()? *-", rule.latex())


def test_the_latex_of_sums_has_what_is_taken_away_last():
    def step(expression):
        return (
            Rule(name="mine", step=expression, update={m: m, d: d, r: r})
            .latex()
            .splitlines()[-1]
            .removeprefix(r"w \leftarrow ")
        )

    assert step(-lr * g) == r"w - g \eta"
    assert step(-lr * g - lr * m) == r"w - g \eta - \eta m"
    assert step(lr * m - lr * g) == r"w + \eta m - g \eta"
    assert step(-lr * (m - d**2)) == r"w - \eta \left(m - d^{2}\right)"
    assert r"1 - \frac{" in RULES["nadam"].latex()


@pytest.mark.parametrize("rule", [*RULES.values(), OWN, CLIPPED, AWKWARD], ids=lambda rule: rule.name)
def test_the_latex_is_well_formed(rule):
    latex = rule.latex()
    assert latex.count("{") == latex.count("}")
    assert latex.count(r"\left") - latex.count(r"\leftarrow") == latex.count(r"\right")
    assert latex.count(r"\leftarrow") == len(rule.clocks) + len(rule.update) + 1
    assert latex.count(r"\text{ at the start}") == len(rule.start)
    assert r"\eta" in latex
    assert not re.search(r"\blr\b|\beps\b", latex)
    parser = matplotlib.mathtext.MathTextParser("path")
    for line in latex.split(" \\\\\n"):
        depth = 0
        for character in line:
            depth += {"{": 1, "}": -1}.get(character, 0)
            assert depth >= 0
        assert depth == 0
        parser.parse(f"${line}$")  # raises on anything that is not LaTeX


def test_powers_of_a_ratio_are_printed():
    assert sp.latex(Ratio(g, w) ** 2) == r"\left(\frac{g}{w}\right)^{2}"
    assert sp.latex(Ratio(g, w)) == r"\frac{g}{w}"
    assert r"\right)^{3}" in AWKWARD.latex()
    assert str(Ratio(g, w) ** 2) == "(g/w)**2"
    assert str(lr / Ratio(g, w + 1)) == "lr/(g/(w + 1))"


def test_repr_names_the_rule():
    assert repr(RULES["gd"]) == "Rule(gd: -g*lr)"


def test_every_rule_says_what_it_is():
    for name, rule in RULES.items():
        assert rule.name == name
        assert rule.summary.endswith(".")
        assert rule.source
        assert all(value.meaning for value in rule.hyperparameters.values())


# Pickling


@pytest.mark.parametrize("rule", [*RULES.values(), OWN], ids=lambda rule: rule.name)
@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
def test_a_rule_can_be_pickled(rule, used):
    if used:
        assert rule.kind
        assert rule.stages.step is not None
        compile_torch(rule)
    again = pickle.loads(pickle.dumps(rule))
    assert again is not rule
    assert (again.formula(), again.latex(), again.kind) == (rule.formula(), rule.latex(), rule.kind)
    assert (again.name, again.names, again.states) == (rule.name, rule.names, rule.states)
    assert (again.default_lr, again.natural_lr, again.source) == (rule.default_lr, rule.natural_lr, rule.source)
    assert again.hyperparameters == rule.hyperparameters
    assert (again.step, again.update, again.clocks, again.start) == (rule.step, rule.update, rule.clocks, rule.start)
    blocks, gradients, start = random_run(1, 4, 1, zeros=False)
    steps = functools.partial(follow, blocks=blocks, gradients=gradients, start=start, values={"lr": 0.1})
    np.testing.assert_array_equal(steps(again), steps(rule))
