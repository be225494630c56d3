"""Ways to train many instances of one small Transformer: a Python loop over modules, torch.func, JAX, and quadsim."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.attention import SDPBackend, sdpa_kernel

from quadsim.cli.bench.model_jax import jax_training
from quadsim.cli.bench.modules import ToyModule, train_modules
from quadsim.simulator.models import TokenMap, ToyProblem, Transformer
from quadsim.simulator.support.devices import resolve_dtype
from quadsim.simulator.training.loop import train

__all__ = ["MODEL_RULES", "MODEL_SIZES", "MODEL_WAYS", "ModelWork", "why_not_model"]

OPTIMIZERS: dict[str, Any] = {"adam": torch.optim.Adam, "gd": torch.optim.SGD}
MODEL_RULES = tuple(OPTIMIZERS)
MODEL_SIZES: Mapping[int, tuple[Transformer, TokenMap]] = {
    64: (Transformer(), TokenMap()),
    512: (Transformer(layers=1), TokenMap(vocabulary=32, tokens=8, repeats=16)),  # 64 sequences
}
"""Number of tokens per step of one instance to the model and its task."""

LOOPED_INSTANCES = 2
"""Number of instances that the Python loop trains; its time is proportional to their number, and is scaled up."""

_LR = 1e-3

Losses = NDArray[np.float64]


@dataclass(frozen=True)
class ModelWork:
    """A training work: every instance has its own start and data, and every step uses all its data.

    Attributes:
        rule: one of MODEL_RULES.
        tokens: number of tokens per step of one instance, a key of MODEL_SIZES.
        instances: E, number of instances.
        steps: number of steps of every instance.
        dtype: `float64` or `float32`.
        device: `cpu` or `cuda`.
    """

    rule: str = "adam"
    tokens: int = 64
    instances: int = 64
    steps: int = 50
    dtype: str = "float32"
    device: str = "cpu"

    @cached_property
    def problem(self) -> ToyProblem:
        """Return the problem of every instance, with its data drawn."""
        model, task = MODEL_SIZES[self.tokens]
        problem = ToyProblem.generate(model, task, problems=self.instances, seed=1)
        _ = problem.start, problem.weights
        return problem

    @property
    def name(self) -> str:
        """A short name for tables."""
        return f"{self.rule} {self.tokens} tokens {self.dtype}"


def ours(work: ModelWork, *, compile: bool | None = None, engine: str = "auto") -> Callable[[], Losses]:
    """Run `train`; everything is timed except the first compilation."""

    def run() -> Losses:
        found = train(
            work.problem,
            work.rule,
            lr=_LR,
            steps=work.steps,
            record="all",
            stop=False,
            dtype=work.dtype,
            device=work.device,
            compile=compile,
            engine=engine,
        )
        return found.loss_weighted[:, 0, :-1]

    return run


def module_loop(work: ModelWork) -> Callable[[], Losses]:
    """Train LOOPED_INSTANCES torch.nn modules in a Python loop, each with a torch.optim object of its own."""
    few, dtype = work.problem.select(range(min(LOOPED_INSTANCES, work.instances))), resolve_dtype(work.dtype)
    _ = few.start, few.weights

    def run() -> Losses:
        found = train_modules(few, OPTIMIZERS[work.rule], _LR, work.steps, dtype=dtype, device=work.device)
        return found.loss_weighted[:, :-1]

    return run


def vmap_grad(work: ModelWork) -> Callable[[], Losses]:
    """Train the same modules with torch.func: vmap of grad over stacked parameters, and one optimizer for all of them."""
    dtype = resolve_dtype(work.dtype)
    stack = work.problem.stack(None, dtype, work.device)
    module = ToyModule(work.problem.select([0]), 0, dtype).to(work.device).copies[0]
    shapes = {name: p.shape for name, p in module.named_parameters()}

    def loss(parameters: dict[str, torch.Tensor], *data: torch.Tensor) -> torch.Tensor:
        logits = torch.func.functional_call(module, parameters, (data[0],))
        each = torch.nn.functional.cross_entropy(logits.flatten(0, -2), data[1].flatten(), reduction="none")
        return (each * data[2].flatten()).sum()

    every = torch.func.vmap(torch.func.grad_and_value(loss))

    def gradients(*arguments: Any) -> Any:
        with sdpa_kernel(SDPBackend.MATH):  # vmap runs the fused kernels one instance at a time
            return every(*arguments)

    def run() -> Losses:
        flat = torch.split(stack.start(), [shape.numel() for shape in shapes.values()], dim=1)
        pairs = zip(shapes.items(), flat, strict=True)
        parameters = {name: part.reshape(-1, *shape).requires_grad_() for (name, shape), part in pairs}
        optimizer = OPTIMIZERS[work.rule](parameters.values(), lr=_LR)
        losses = []
        for _ in range(work.steps):
            found, values = gradients(
                {name: p.detach() for name, p in parameters.items()}, stack.inputs, stack.targets, stack.weights
            )
            for name, parameter in parameters.items():
                parameter.grad = found[name]
            optimizer.step()
            losses.append(values.detach())
        return torch.stack(losses, dim=1).double().cpu().numpy()

    return run


MODEL_WAYS: Mapping[str, Callable[[ModelWork], Callable[[], Losses]]] = {
    "module loop": module_loop,
    "vmap(grad)": vmap_grad,
    "jax": lambda work: jax_training(work, _LR),
    "ours compiled": lambda work: ours(work, compile=True),
    "ours unfused": lambda work: ours(work, engine="stack"),
    "ours": ours,
}
"""A function of the work that prepares it and returns the function that is timed; that one returns losses (instances, steps)."""


def why_not_model(way: str, work: ModelWork) -> str | None:
    """Return the reason why a way cannot do a work on this machine; None if it can."""
    if way == "jax" and (find_spec("jax") is None or find_spec("optax") is None):
        return "jax and optax are not installed (extra bench)"
    if way == "ours unfused" and work.device == "cpu" and work.dtype == "float64":
        return "is the same as ours on a CPU in float64"
    if way == "ours compiled":
        from quadsim.simulator.training.stepping import check_compile

        try:
            check_compile(work.device)
        except ValueError as error:
            return str(error)
    return None
