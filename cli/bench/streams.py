"""Ways to run one optimizer on least squares from a stream of samples, with torch and with JAX.

Every way draws z ~ N(0, I) and normal errors of the labels anew in each step, the same for all learning rates of a problem, and
computes the gap of every step; the generators differ, so that the gaps agree in law alone. As in quadsim the residuals are
those of z and d = R'e, R = V sqrt(lambda), so that no sample is multiplied by a matrix.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.cli.bench.torch_update import TorchUpdate
from quadsim.simulator.support.devices import resolve_dtype

if TYPE_CHECKING:
    from quadsim.cli.bench.ways import Work

__all__ = ["LABEL_NOISE", "TorchStream", "jax_stream", "roots"]

LABEL_NOISE = 0.1

Final = NDArray[np.float64]


def roots(work: "Work") -> NDArray[np.float64]:
    """Return R = V sqrt(lambda) of every block, (M, B, P_l, P_l)."""
    eigenvalues, vectors = np.linalg.eigh(work.problem.hessian[work.block_size])
    return np.asarray(vectors * np.sqrt(eigenvalues)[..., None, :])


class TorchStream:
    """All runs in tensors (M, P, K), in place, allocated once: a CUDA graph repeats what it saw at the same addresses.

    Args:
        work: the work, with a batch.
        at_once: number of steps that `advance` takes.

    Attributes:
        gaps: twice the gaps after each of the last steps, (at_once, M, K).
    """

    def __init__(self, work: "Work", at_once: int) -> None:
        self._work, self._at_once = work, at_once
        dtype, problems, settings = resolve_dtype(work.dtype), work.problems, work.settings
        dimension, batch = work.blocks * work.block_size, work.batch
        self._root = torch.from_numpy(roots(work)).to(work.device, dtype).reshape(-1, work.block_size, work.block_size)
        self._turned = self._root.transpose(1, 2).contiguous()
        e0 = torch.from_numpy(np.array(work.problem.initial_error[work.block_size])).to(work.device, dtype)
        self._e0 = e0.reshape(problems, dimension, 1).expand(-1, -1, settings).contiguous()
        self._update = TorchUpdate(work.rule, self._e0, torch.from_numpy(work.rates).to(work.device, dtype))
        # A CUDA graph moves the default generator of the device forward by itself, and no other one.
        self._generator = torch.Generator() if work.device == "cpu" else None
        self._e, self._d, self._s, self._g = (torch.empty_like(self._e0) for _ in range(4))
        self._r = torch.empty((problems, batch, settings), dtype=dtype, device=work.device)
        self._z = torch.empty((problems, batch, dimension), dtype=dtype, device=work.device)
        self._xi = torch.empty((problems, batch, 1), dtype=dtype, device=work.device)
        self._of_blocks = (-1, work.block_size, settings)
        self.gaps = torch.zeros((at_once, problems, settings), dtype=dtype, device=work.device)

    def start(self) -> None:
        """Go back to the start."""
        if self._generator is not None:
            self._generator.manual_seed(0)
        self._e.copy_(self._e0)
        self._update.start()
        self._to_coordinates()

    def advance(self) -> None:
        """Take `at_once` steps, the draws of a step by torch's generator."""
        for t in range(self._at_once):
            self._step()
            self._to_coordinates()
            torch.sum(self._d * self._d, dim=1, out=self.gaps[t])

    def _to_coordinates(self) -> None:
        torch.bmm(self._turned, self._e.view(self._of_blocks), out=self._d.view(self._of_blocks))

    def _step(self) -> None:
        g = self._g
        self._z.normal_(generator=self._generator)
        self._xi.normal_(generator=self._generator)
        torch.bmm(self._z, self._d, out=self._r)
        self._r.sub_(self._xi, alpha=LABEL_NOISE)
        torch.bmm(self._z.transpose(1, 2), self._r, out=self._s)
        torch.bmm(self._root, self._s.view(self._of_blocks), out=g.view(self._of_blocks))
        g.div_(self._work.batch)
        self._update.step(self._e, g)


def jax_stream(work: "Work") -> Callable[[], Final]:
    """One lax.scan over the steps for all problems and settings, compiled as a whole; draws by JAX's generator."""
    import jax
    import jax.numpy as jnp
    import optax

    jax.config.update("jax_enable_x64", True)
    dtype, batch, settings = jnp.dtype(work.dtype), work.batch, work.settings
    make: Callable[[Any], Any] = {"adam": optax.adam, "gd": optax.sgd, "signsgd": optax.sign_sgd}[work.rule]
    root = jnp.asarray(roots(work), dtype)
    e0 = jnp.asarray(work.problem.initial_error[work.block_size], dtype)
    e0 = jnp.broadcast_to(e0.reshape(*root.shape[:3], 1), (*root.shape[:3], settings))

    def coordinates(e: Any) -> Any:
        return jnp.einsum("mbij,mbik->mbjk", root, e, precision="highest")

    def all_runs(e: Any, rates: Any) -> Any:
        optimizer = make(rates)  # one rate for each entry of the last axis

        def step(carry: Any, key: Any) -> Any:
            e, state = carry
            d = coordinates(e)
            one, two = jax.random.split(key)
            z = jax.random.normal(one, (work.problems, batch, work.blocks, work.block_size), dtype)
            xi = jax.random.normal(two, (work.problems, batch, 1), dtype)
            r = jnp.einsum("mnbj,mbjk->mnk", z, d, precision="highest") - LABEL_NOISE * xi
            s = jnp.einsum("mnbj,mnk->mbjk", z, r, precision="highest") / batch
            g = jnp.einsum("mbij,mbjk->mbik", root, s, precision="highest")
            updates, state = optimizer.update(g, state)
            return (optax.apply_updates(e, updates), state), jnp.sum(d * d, axis=(1, 2)) / 2

        keys = jax.random.split(jax.random.key(0), work.steps)
        (e, _), gaps = jax.lax.scan(step, (e, optimizer.init(e)), keys)
        return gaps, jnp.sum(coordinates(e) ** 2, axis=(1, 2)) / 2

    every, rates = jax.jit(all_runs), jnp.asarray(work.rates, dtype)
    return lambda: np.asarray(every(e0, rates)[1], dtype=np.float64)
