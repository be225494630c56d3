"""The benchmark's Transformer in JAX, as thirty lines that a user of JAX would write."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.models import DataShape, ToyProblem, Transformer

if TYPE_CHECKING:
    from quadsim.cli.bench.model_ways import ModelWork

__all__ = ["jax_training"]


def jax_training(work: "ModelWork", lr: float) -> Callable[[], NDArray[np.float64]]:
    """Prepare `vmap(value_and_grad)` of one instance's loss in `lax.scan` over the steps, all under one `jit`.

    Data and starts are on the device before the function that is timed begins.

    Returns:
        A function that runs the work and returns the losses before every step, (instances, steps).
    """
    # By default JAX takes three quarters of a GPU's memory at its first use, and the other ways run in the same process.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax
    import jax.numpy as jnp
    import optax

    if work.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    problem, place = work.problem, jax.devices("cpu" if work.device == "cpu" else "gpu")[0]
    optimizer: Any = {"adam": optax.adam, "gd": optax.sgd}[work.rule](lr)

    def on_device(array: NDArray[Any]) -> Any:
        return jax.device_put(array.astype(work.dtype if array.dtype.kind == "f" else np.int32), place)

    start = {name: on_device(values) for name, values in _named(problem).items()}
    data = [on_device(array) for array in (problem.data.inputs, problem.data.targets, problem.weights)]
    gradients = jax.vmap(jax.value_and_grad(_loss_of(problem.model, problem.task.shape)))

    def train(parameters: Any, data: Any) -> Any:
        def step(carry: Any, _: Any) -> Any:
            parameters, state = carry
            loss, gradient = gradients(parameters, *data)
            update, state = optimizer.update(gradient, state)
            return (optax.apply_updates(parameters, update), state), loss

        return jax.lax.scan(step, (parameters, optimizer.init(parameters)), None, length=work.steps)[1]

    compiled = jax.jit(train)

    def run() -> NDArray[np.float64]:
        with jax.default_matmul_precision("highest"):
            return np.asarray(jnp.transpose(compiled(start, data)), dtype=np.float64)

    return run


def _named(problem: ToyProblem) -> Mapping[str, NDArray[np.float64]]:
    """Return name to values of every parameter at the start, (E, *shape)."""
    ends = np.cumsum([p.size for p in problem.parameters])[:-1]
    parts = np.split(problem.start, ends, axis=1)
    return {p.name: part.reshape(-1, *p.shape) for p, part in zip(problem.parameters, parts, strict=True)}


def _loss_of(model: Any, shape: DataShape) -> Callable[..., Any]:
    """Return the loss of one instance as a function of its parameters and data."""
    import jax
    import jax.numpy as jnp

    assert isinstance(model, Transformer)
    assert model.norm == "pre"
    assert shape.readout == "every"
    assert not shape.causal
    each = model.width // model.heads

    def normed(x: Any, gain: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * gain

    def loss(w: Mapping[str, Any], inputs: Any, targets: Any, weights: Any) -> Any:
        x = w["embed"][inputs] + w["pos"]
        for i in range(model.layers):
            split = normed(x, w[f"layer{i}.norm1"]) @ w[f"layer{i}.qkv"].T
            q, k, v = jnp.moveaxis(split.reshape(*x.shape[:2], 3, model.heads, each), 2, 0)
            scores = jax.nn.softmax(jnp.einsum("bshe,bthe->bhst", q, k) * each**-0.5, axis=-1)
            x = x + jnp.einsum("bhst,bthe->bshe", scores, v).reshape(x.shape) @ w[f"layer{i}.o"].T
            hidden = jax.nn.gelu(normed(x, w[f"layer{i}.norm2"]) @ w[f"layer{i}.w1"].T, approximate=False)
            x = x + hidden @ w[f"layer{i}.w2"].T
        logits = jax.nn.log_softmax(normed(x, w["norm"]) @ w["head"].T)
        return -(jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0] * weights).sum()

    return loss
