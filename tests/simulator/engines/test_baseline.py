"""torch.optim on a problem: against our rules, against numpy, and with classes that we have no rule for."""

import numpy as np
import pytest
import torch
from reference import block_slices

from quadsim.simulator import BlockQuadratic, simulate, simulate_torch
from quadsim.simulator.runs.trajectory import OBSERVABLES

SIZES = (3, 1, 2, 3)


def mixed_problem(problems=2, start=1.0):
    rng = np.random.default_rng(3)
    blocks = []
    for size in SIZES:
        basis = np.linalg.qr(rng.standard_normal((problems, size, size)))[0]
        matrix = basis * 20.0 ** -rng.random((problems, 1, size)) @ np.swapaxes(basis, 1, 2)
        blocks.append((matrix + np.swapaxes(matrix, 1, 2)) / 2)
    error, minimizer = rng.standard_normal((2, problems, sum(SIZES)))
    return BlockQuadratic.from_blocks(blocks, initial_error=start * error, minimizer=minimizer)


PAIRS = {  # torch class, its options, our rule, its hyperparameters
    "sgd": (torch.optim.SGD, {}, "gd", {}),
    "heavy-ball": (torch.optim.SGD, {"momentum": 0.8}, "heavy-ball", {"momentum": 0.8}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.8, "nesterov": True}, "nesterov", {"momentum": 0.8}),
    "adam": (torch.optim.Adam, {}, "adam", {}),
    "adam with betas": (
        torch.optim.Adam, {"betas": (0.5, 0.9), "eps": 1e-3}, "adam", {"beta1": 0.5, "beta2": 0.9, "eps": 1e-3},
    ),
    "amsgrad": (torch.optim.Adam, {"amsgrad": True}, "amsgrad", {}),
    "adagrad": (torch.optim.Adagrad, {}, "adagrad", {}),
    "rmsprop-centered": (torch.optim.RMSprop, {"centered": True}, "rmsprop-centered", {}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.3}, "adamw", {"weight_decay": 0.3}),
    "rmsprop": (torch.optim.RMSprop, {"alpha": 0.9, "eps": 1e-2}, "rmsprop", {"beta2": 0.9, "eps": 1e-2}),
}  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS)
def test_simulate_torch_is_simulate_for_the_same_optimizer(pair):
    optimizer, options, name, hyperparameters = PAIRS[pair]
    problem, lr = mixed_problem(), [0.003, 0.02]
    observe = [observable for observable in OBSERVABLES if not observable.startswith("step_")]
    arguments = {"steps": 50, "record": 7, "observe": observe, "tolerance": 0.5}
    theirs = simulate_torch(problem, optimizer, lr=lr, **arguments, **options)
    ours = simulate(problem, name, lr=lr, engine="reference", **arguments, **hyperparameters)
    np.testing.assert_allclose(theirs.gap, ours.gap, rtol=1e-10)
    assert set(theirs.observed) == set(ours.observed) == set(observe) - {"gap"}
    for observable, values in ours.observed.items():
        assert theirs.observed[observable].shape == values.shape, observable
        np.testing.assert_allclose(theirs.observed[observable], values, rtol=1e-9, atol=1e-12, err_msg=observable)
    assert np.array_equal(theirs.steps, ours.steps)
    assert np.array_equal(theirs.steps_to_tolerance, ours.steps_to_tolerance)
    assert np.array_equal(theirs.steps_to_stay, ours.steps_to_stay)
    assert np.array_equal(theirs.steps_to_mean, ours.steps_to_mean)
    assert np.array_equal(theirs.status, ours.status)
    assert theirs.optimizer == optimizer.__name__
    assert theirs.rule is None
    assert theirs.settings["lr"].tolist() == lr


@pytest.mark.parametrize(("optimizer", "lr"), [
    (torch.optim.NAdam, 0.05), (torch.optim.RAdam, 0.05), (torch.optim.Adagrad, 0.3), (torch.optim.Adamax, 0.05),
    (torch.optim.Adadelta, 3.0), (torch.optim.Rprop, 0.01), (torch.optim.ASGD, 0.3),
])  # fmt: skip
def test_classes_without_a_rule_here_run(optimizer, lr):
    run = simulate_torch(mixed_problem(), optimizer, lr=[lr, 2 * lr], steps=200, tolerance=0.5)
    assert run.optimizer == optimizer.__name__
    assert run.gap.shape == (2, 2, 201)
    assert np.all(run.gap[..., -1] < 0.9 * run.gap[..., 0])
    assert np.all(np.isfinite(run.gap))
    # A plain loop on w = e + w*, as a user would write it.
    problem = mixed_problem()
    H, e = problem.dense(1)
    center = problem.layout.flatten(problem.minimizer)[1]
    parameters = [torch.tensor((e + center)[part], requires_grad=True) for part in block_slices(SIZES)]
    stepper = optimizer(parameters, lr=2 * lr)
    for _ in range(30):
        w = np.concatenate([p.detach().numpy() for p in parameters])
        for p, g in zip(parameters, np.split(H @ (w - center), np.cumsum(SIZES)[:-1]), strict=True):
            p.grad = torch.tensor(g)
        stepper.step()
    error = np.concatenate([p.detach().numpy() for p in parameters]) - center
    np.testing.assert_allclose(run.gap[1, 1, 30], error @ H @ error / 2, rtol=1e-9)


class Normalized(torch.optim.Optimizer):
    """A step of length lr * (1 + number of the parameter) along each parameter's own gradient."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter -= group["lr"] * parameter.numel() * parameter.grad / parameter.grad.norm()


class Clipped(torch.optim.SGD):
    """A step along the gradient of all parameters, whose norm is at most 0.1."""

    def step(self, closure=None):
        torch.nn.utils.clip_grad_norm_([p for group in self.param_groups for p in group["params"]], 0.1)
        super().step()


class OwnRate(torch.optim.SGD):
    """A class that looks at the rate it was made with, not at that of its groups."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, lr=lr)
        self.own = lr

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter -= self.own * parameter.grad


class Replacing(OwnRate):
    """A class that puts new tensors in the place of its parameters' data."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data = parameter - group["lr"] * parameter.grad


class Ungrouped(OwnRate):
    """A class that takes tensors alone."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, lr)
        assert len(self.param_groups) == 1


class Stepping(Normalized):
    """Coupled at its 8th step alone."""

    @torch.no_grad()
    def step(self, closure=None):
        self.t = getattr(self, "t", 0) + 1
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] * (p.grad / p.grad.norm() if self.t == 8 else p.grad)


ARRANGED = {
    "elementwise": [
        torch.optim.SGD,
        torch.optim.Adam,
        torch.optim.NAdam,
        torch.optim.Adagrad,
        torch.optim.Rprop,
        Replacing,
    ],
    "block by block": [Normalized, Stepping, torch.optim.Adafactor],
    "run by run": [Clipped, OwnRate, Ungrouped],
}


@pytest.mark.parametrize(("arrangement", "optimizer"), [(key, value) for key in ARRANGED for value in ARRANGED[key]])
def test_runs_share_an_object_where_the_class_allows_it(arrangement, optimizer):
    problem, rates = mixed_problem(problems=3), [0.01, 0.02, 0.03]
    arguments = {"steps": 12, "schedule": "cosine:warmup=3"}
    together = simulate_torch(problem, optimizer, lr=rates, **arguments)
    assert together.engine == f"torch, {arrangement}"
    assert together.status.shape == (3, 3)
    for m in range(3):
        for k, rate in enumerate(rates):
            alone = simulate_torch(problem.select([m]), optimizer, lr=rate, **arguments)
            assert alone.engine == "torch, run by run"
            np.testing.assert_allclose(together.gap[m, k], alone.gap[0, 0], rtol=1e-12)


def test_a_schedule_is_that_of_simulate():
    arguments = {"lr": [0.01, 0.03], "steps": 60, "schedule": "cosine:warmup=10", "tolerance": 0.5}
    theirs = simulate_torch(mixed_problem(), torch.optim.Adam, **arguments)
    ours = simulate(mixed_problem(), "adam", engine="reference", **arguments)
    np.testing.assert_allclose(theirs.gap, ours.gap, rtol=1e-9)
    assert str(theirs.schedule) == "cosine:warmup=10"


def test_every_block_is_a_parameter_of_its_own():
    problem = mixed_problem()
    run = simulate_torch(problem, Normalized, lr=0.01, steps=10, observe="iterate")
    for m in range(problem.problems):
        H, e = problem.dense(m)
        center = problem.layout.flatten(problem.minimizer)[m]
        for t in range(11):
            np.testing.assert_allclose(run.observed["iterate"][m, 0, t], e + center, rtol=1e-12, atol=1e-13)
            g = H @ e
            for part in block_slices(SIZES):
                e[part] -= 0.01 * g[part].size * g[part] / np.linalg.norm(g[part])


def test_gap_0_and_records():
    problem = mixed_problem()
    run = simulate_torch(problem, torch.optim.SGD, lr=0.5, steps=30, record=8)
    assert run.steps.tolist() == [0, 8, 16, 24, 30]
    np.testing.assert_allclose(run.gap[:, 0, 0], problem.initial_gap, rtol=1e-12)
    assert simulate_torch(problem, torch.optim.SGD, lr=0.5, steps=3).gap.shape == (2, 1, 4)


def test_divergence_is_a_status():
    run = simulate_torch(
        mixed_problem(),
        torch.optim.SGD,
        lr=[0.7, 100.0, 1e200],
        steps=250,
        observe=("block_gap", "Lambda_G"),
        momentum=0.5,
    )
    assert np.all(run.status[:, 0] == "converged")
    assert np.all(run.status[:, 1:] == "diverged")
    assert np.all(np.isinf(run.gap[:, 1:, -1]))
    assert np.all(np.isinf(run.steps_to_tolerance[:, 1:]))
    assert not np.any(np.isnan(run.gap))


def test_float32():
    problem = mixed_problem()
    single, double = (
        simulate_torch(problem, torch.optim.Adam, lr=0.01, steps=20, dtype=d) for d in ("float32", "float64")
    )
    assert single.dtype == "float32"
    np.testing.assert_allclose(single.gap, double.gap, rtol=1e-4)
    assert np.abs(single.gap / double.gap - 1).max() > 1e-9


def test_observe_takes_one_name():
    run = simulate_torch(mixed_problem(), torch.optim.SGD, lr=0.1, steps=2, observe="gradient_norm")
    assert list(run.observed) == ["gradient_norm"]


BAD = {
    "steps": ({"steps": 0}, "steps must be a whole number of at least 1, got 0"),
    "lr": ({"lr": [0.1, 0.0]}, "lr must be a number above 0, got 0.0"),
    "record": ({"record": "some"}, "record must be one of all, log, got 'some'"),
    "an observable without a meaning here": (
        {"observe": ["step_sign_cosine"]}, "observe must be one of gap, .*, got 'step_sign_cosine'",
    ),
    "tolerance": ({"tolerance": 1.5}, r"tolerance must be a number in \(0, 1\), got 1.5"),
    "dtype": ({"dtype": "float16"}, "dtype must be one of float32, float64, got 'float16'"),
    "device": ({"device": "tpu"}, "device must be cpu, cuda or cuda:N, got 'tpu'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named(case):
    arguments, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        simulate_torch(mixed_problem(), torch.optim.SGD, **({"lr": 0.1, "steps": 3} | arguments))
