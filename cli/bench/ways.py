"""Ways to run one optimizer on many small quadratics: with quadsim, and with torch or JAX.

All ways start from the same numbers, take the same steps and compute the gap of every step of every run. Each is written for
speed: in place, batched, and compiled where the library can compile.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.cli.bench.streams import LABEL_NOISE, TorchStream, jax_stream
from quadsim.cli.bench.torch_update import TorchUpdate
from quadsim.simulator.engines import simulate
from quadsim.simulator.engines.baseline import simulate_torch
from quadsim.simulator.problems.oracles import Stream
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.support.devices import resolve_dtype

__all__ = ["RULES_BENCHED", "WAYS", "Work", "why_not"]

RULES_BENCHED = ("adam", "signsgd", "gd")
LOOPED_RUNS = 2
"""Number of runs of the Python loop over instances; its time is proportional to their number, and is scaled up."""

_AT_ONCE = 50  # steps in one CUDA graph

Final = NDArray[np.float64]


@dataclass(frozen=True)
class Work:
    """A benchmark work.

    Attributes:
        rule: one of RULES_BENCHED.
        blocks: B, number of blocks.
        block_size: P_l, size of every block.
        problems: M, number of problems.
        settings: K, number of learning rates.
        steps: number of steps, a multiple of 50.
        dtype: `float64` or `float32`.
        device: `cpu` or `cuda`.
        batch: samples of a stream in every step; 0: the gradient H e of the full batch.
    """

    rule: str
    blocks: int
    block_size: int
    problems: int = 32
    settings: int = 64
    steps: int = 500
    dtype: str = "float64"
    device: str = "cpu"
    batch: int = 0

    @cached_property
    def problem(self) -> BlockQuadratic:
        """Return the problems, with heterogeneity 10 and seed 1."""
        heterogeneity = 10 if self.blocks > 1 else 1
        return BlockQuadratic.generate(
            blocks=self.blocks,
            block_size=self.block_size,
            heterogeneity=heterogeneity,
            condition_number=None if self.block_size > 1 else 1.0,
            problems=self.problems,
            seed=1,
        )

    @property
    def rates(self) -> NDArray[np.float64]:
        """Learning rates, (K,), of which none diverges, as a way may drop diverged runs early."""
        return np.geomspace(1e-3, 1e-1, self.settings)

    @property
    def runs(self) -> int:
        """Number of runs, M K."""
        return self.problems * self.settings

    @property
    def coordinate_steps(self) -> float:
        """Number of coordinate-steps: coordinates times steps, over all runs."""
        return float(self.runs) * self.blocks * self.block_size * self.steps

    @property
    def name(self) -> str:
        """A short name, as `adam 3x3 float64`."""
        return f"{self.rule} {self.blocks}x{self.block_size} {self.dtype}" + (f" b={self.batch}" if self.batch else "")


def ours(work: Work) -> Callable[[], Final]:
    """Run `simulate` with the fused engine; everything is timed except the first compilation."""

    def run() -> Final:
        found = simulate(
            work.problem,
            work.rule,
            lr=work.rates,
            steps=work.steps,
            record="log",
            dtype=work.dtype,
            device=work.device,
            engine="fused",
            oracle=Stream(work.batch, LABEL_NOISE) if work.batch else None,
        )
        return found.gap[:, :, -1]

    return run


def torch_loop(work: Work) -> Callable[[], Final]:
    """Run LOOPED_RUNS instances in a Python loop, each with a torch.optim object of its own."""
    kind = torch.optim.Adam if work.rule == "adam" else torch.optim.SGD
    few = replace(work, problems=1)

    def run() -> Final:
        found = simulate_torch(
            few.problem,
            kind,
            lr=few.rates[:LOOPED_RUNS],
            steps=few.steps,
            record="log",
            dtype=few.dtype,
            device=few.device,
        )
        return found.gap[:, :, -1]

    return run


def torch_batched(work: Work, *, graph: bool = False) -> Callable[[], Final]:
    """All runs in one tensor, in place; with `graph`, 50 steps captured in a CUDA graph."""
    batch = TorchStream(work, _AT_ONCE) if work.batch else _Batch(work)
    advance = _captured(batch) if graph else batch.advance

    def run() -> Final:
        batch.start()
        for _ in range(work.steps // _AT_ONCE):
            advance()
        return batch.gaps[-1].double().cpu().numpy() / 2

    return run


class _Batch:
    """The tensors of `torch_batched` (M B, P_l, K), allocated once: a CUDA graph repeats what it saw at the same addresses.

    Attributes:
        gaps: twice the gaps after each of the last _AT_ONCE steps, (_AT_ONCE, M, K).
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        dtype, shape = resolve_dtype(work.dtype), (work.problems * work.blocks, work.block_size)

        def tensor(array: Any) -> torch.Tensor:
            return torch.from_numpy(np.array(array)).to(device=work.device, dtype=dtype)

        self._h = tensor(work.problem.hessian[work.block_size]).reshape(*shape, work.block_size)
        e0 = tensor(work.problem.initial_error[work.block_size]).reshape(*shape, 1)
        self._e0 = e0.expand(-1, -1, work.settings).contiguous()
        self._update = TorchUpdate(work.rule, self._e0, tensor(work.rates))
        self._e, self._g = self._e0.clone(), torch.empty_like(self._e0)
        self.gaps = torch.zeros((_AT_ONCE, work.problems, work.settings), dtype=dtype, device=work.device)

    def start(self) -> None:
        """Go back to the start."""
        self._e.copy_(self._e0)
        self._update.start()
        torch.bmm(self._h, self._e, out=self._g)

    def advance(self) -> None:
        """Take _AT_ONCE steps."""
        for t in range(_AT_ONCE):
            self._update.step(self._e, self._g)
            torch.bmm(self._h, self._e, out=self._g)
            self.gaps[t] = (self._e * self._g).view(self._work.problems, -1, self._work.settings).sum(1)


def _captured(batch: _Batch | TorchStream) -> Callable[[], None]:
    """The steps of a batch as a CUDA graph, after a first run on a stream of its own, as torch wants it."""
    batch.start()
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):
        batch.advance()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        batch.advance()
    return graph.replay


def jax_scan(work: Work) -> Callable[[], Final]:
    """Run jax.lax.scan of an optax optimizer under vmap over problems and settings, compiled as a whole."""
    import jax
    import jax.numpy as jnp
    import optax

    jax.config.update("jax_enable_x64", True)
    dtype = jnp.dtype(work.dtype)
    make: Callable[[Any], Any] = {"adam": optax.adam, "gd": optax.sgd, "signsgd": optax.sign_sgd}[work.rule]
    h = jnp.asarray(work.problem.hessian[work.block_size], dtype)
    e0 = jnp.asarray(work.problem.initial_error[work.block_size], dtype)

    def one(h: Any, e: Any, lr: Any) -> Any:
        optimizer: Any = make(lr)

        def step(carry: Any, _: Any) -> Any:
            e, state = carry
            g = jnp.einsum("bij,bj->bi", h, e, precision="highest")
            updates, state = optimizer.update(g, state)
            return (optax.apply_updates(e, updates), state), jnp.sum(e * g) / 2

        (e, _), gaps = jax.lax.scan(step, (e, optimizer.init(e)), None, length=work.steps)
        return gaps, jnp.sum(e * jnp.einsum("bij,bj->bi", h, e, precision="highest")) / 2

    every = jax.jit(jax.vmap(jax.vmap(one, (None, None, 0)), (0, 0, None)))
    rates = jnp.asarray(work.rates, dtype)
    return lambda: np.asarray(every(h, e0, rates)[1], dtype=np.float64)


WAYS: Mapping[str, Callable[[Work], Callable[[], Final]]] = {
    "torch.optim loop": torch_loop,
    "torch batched": torch_batched,
    "torch CUDA graph": lambda work: torch_batched(work, graph=True),
    "jax scan": lambda work: jax_stream(work) if work.batch else jax_scan(work),
    "ours": ours,
}
"""A function of the work that prepares it and returns the function that is timed; that one returns the last gaps, (M, K)."""


def why_not(way: str, work: Work) -> str | None:
    """Return the reason why a way cannot do a work on this machine; None if it can."""
    if way == "torch CUDA graph" and work.device == "cpu":
        return "needs a GPU"
    if way == "jax scan" and (find_spec("jax") is None or find_spec("optax") is None):
        return "jax and optax are not installed (extra bench)"
    if work.batch and way == "torch.optim loop":
        return "has no samples of a stream"
    if way == "torch.optim loop" and work.rule == "signsgd":
        return "torch.optim has no SignSGD"
    return None
