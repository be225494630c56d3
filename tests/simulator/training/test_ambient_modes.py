"""A result depends on its arguments alone: every public entry under every mode a program may have switched on around it."""

import random
import warnings
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
import sympy as sp
import torch

from quadsim.simulator import BlockQuadratic, ToyProblem, measure, simulate, simulate_torch, train
from quadsim.simulator.curvature.block_spectra import block_spectra
from quadsim.simulator.curvature.hessian import gradient, hessian_products
from quadsim.simulator.curvature.inspection import inspect_model
from quadsim.simulator.models.tasks.catalogue import resolve_task
from quadsim.theory import check, local_steps

TASK = resolve_task("token-map", vocabulary=8)


def quadratic():
    return BlockQuadratic.generate(2, 3, heterogeneity=10)


def toy(**dials):
    return ToyProblem.generate("transformer", TASK, problems=1, layers=1, width=4, heads=1, **dials)


@cache
def trained(rule):
    return train(toy(), rule, lr=0.01, steps=4, snapshots=(0, 3))


def of_training(rule):
    run = train(toy(), rule, lr=0.01, steps=4, snapshots=(0, 3))
    return run.loss, run.loss_weighted, run.snapshots.theta, run.snapshots.gradient, run.snapshots.update


def of_stack():
    """Everything is made within the mode: of inference mode come tensors that cannot be differentiated at."""
    problem = toy()
    stack = problem.stack()
    part = stack.select(torch.tensor([0], device="cpu"))
    theta = torch.tensor(problem.start, device="cpu")
    along = torch.ones(1, 1, problem.dimension, device="cpu")
    found = [gradient(s, theta) for s in (stack, part)] + [s.gradient(theta)[0].numpy() for s in (stack, part)]
    return [*found, hessian_products(stack, theta, along)]


def of_lanczos():
    problem = toy()
    return block_spectra(problem.stack(), problem.start, largest=40, nodes=4, runs=1).nodes


def of_local_steps():
    found = local_steps(trained("gd"))
    return found.observed, found.bound, found.quadratic_whole


ENTRIES = {
    "simulate, reference": lambda: [
        simulate(quadratic(), "adam", lr=[0.01, 0.1], steps=40, engine="reference", dtype="float32").gap
    ],
    "simulate, fused": lambda: [simulate(quadratic(), "adam", lr=[0.01, 0.1], steps=40).gap],
    "simulate, noise": lambda: [simulate(quadratic(), "gd-lambda", steps=10, gradient_noise_std=0.1).gap],
    "simulate_torch": lambda: [simulate_torch(quadratic(), torch.optim.Adam, lr=0.01, steps=8, dtype="float32").gap],
    "train, fused": lambda: of_training("adam"),
    "train, torch": lambda: of_training("adam-mini"),
    "train, diverging": lambda: [train(toy(), "gd", lr=1e6, steps=8, stop=False).loss],
    "measure": lambda: [column.values for column in measure(trained("adam")).values()],
    "local_steps": of_local_steps,
    "inspect_model": lambda: list(inspect_model(toy()).whole.values()),
    "stack": of_stack,
    "lanczos": of_lanczos,
    "check": lambda: [check("gd-upper", simulate(quadratic(), "gd", lr=[0.01, 0.1], steps=40)).margin],
}


@contextmanager
def setting(switch, on, off):
    switch(on)
    try:
        yield
    finally:
        switch(off)


@contextmanager
def anomalies():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detecting = torch.autograd.set_detect_anomaly(True)
    with detecting:
        yield


def matmul_of_cpu(precision):
    torch.backends.mkldnn.matmul.fp32_precision = precision


MODES = {
    "no_grad": torch.no_grad,
    "set_grad_enabled": lambda: setting(torch.set_grad_enabled, False, True),
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "default device": lambda: setting(torch.set_default_device, "meta", None),
    "device context": lambda: torch.device("meta"),
    "default dtype float64": lambda: setting(torch.set_default_dtype, torch.float64, torch.float32),
    "default dtype float16": lambda: setting(torch.set_default_dtype, torch.float16, torch.float32),
    "deterministic": lambda: setting(torch.use_deterministic_algorithms, True, False),
    "matmul precision": lambda: setting(torch.set_float32_matmul_precision, "medium", "highest"),
    "matmul precision of a backend": lambda: setting(matmul_of_cpu, "bf16", "none"),
    "flush denormal": lambda: setting(torch.set_flush_denormal, True, False),
    "anomaly": anomalies,
    "seterr": lambda: np.errstate(all="raise"),
    "sympy evaluate": lambda: sp.evaluate(False),
}


@cache
def usual():
    return {name: [np.array(x) for x in entry()] for name, entry in ENTRIES.items()}


def same(found, wanted):
    return len(found) == len(wanted) and all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(found, wanted, strict=True)
    )


# Each mode runs every entry once, some two seconds; the first ones are those that people meet.
@pytest.mark.parametrize(
    "mode", [mode if number < 6 else pytest.param(mode, marks=pytest.mark.slow) for number, mode in enumerate(MODES)]
)
def test_every_entry_gives_the_same_bits_under_a_mode(mode):
    wanted = usual()
    differing = []
    with MODES[mode]():
        for name, entry in ENTRIES.items():
            if not same([np.array(x) for x in entry()], wanted[name]):
                differing.append(name)
    assert not differing


def test_modes_are_as_they_were_afterwards():
    with torch.no_grad(), torch.autocast("cpu"), torch.device("meta"), np.errstate(all="raise"):
        torch.set_float32_matmul_precision("medium")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            simulate(quadratic(), "adam", lr=0.1, steps=5, engine="reference")
            assert not torch.is_grad_enabled()
            assert torch.is_autocast_enabled("cpu")
            assert torch.get_default_device().type == "meta"
            assert torch.get_float32_matmul_precision() == "medium"
            assert torch.is_deterministic_algorithms_warn_only_enabled()
            assert np.geterr()["under"] == "raise"
        finally:
            torch.set_float32_matmul_precision("highest")
            torch.use_deterministic_algorithms(False)


def test_no_entry_touches_the_random_generators_of_the_program():
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        before = torch.get_rng_state().clone(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
        for name, entry in ENTRIES.items():
            assert same([np.array(x) for x in entry()], usual()[name]), name
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
        assert random.getstate() == before[2]


def test_a_call_within_a_transformation_says_to_move_it_out():
    def inner(x):
        for entry in (ENTRIES["train, fused"], ENTRIES["simulate, reference"], ENTRIES["inspect_model"]):
            with pytest.raises(ValueError, match=r"outside of the functions that torch\.func transforms"):
                entry()
        return x.sum()

    torch.func.grad(inner)(torch.ones(2))
    torch.func.vmap(inner)(torch.ones(1, 2))
