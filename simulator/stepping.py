"""Steps of a stack: eager, compiled, or several of them captured in a CUDA graph; the same operations in all three."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.simulator.engines.fused_update import FusedUpdate, why_no_update
from quadsim.simulator.engines.kernel_cache import jit_is_off
from quadsim.simulator.engines.torch_rule import TorchRule
from quadsim.simulator.models.partitions import Partition
from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.models.stack import Stack
from quadsim.simulator.rule import Rule, symbols

__all__ = ["Stepper", "check_compile", "instances_that_fit", "together"]

Tensor = torch.Tensor

_LONGEST = 16  # steps together

_PROBED = 32  # instances whose memory is measured
_SHARE = 0.8  # of the free memory of a GPU that is used

_SHAPES = 1000  # of stacks in one process, each of which is compiled

Replay = Callable[[], None]


def together(every: int) -> int:
    """Steps taken together, in a CUDA graph and between two looks for instances that are done: a divisor of `every`."""
    return max(n for n in range(1, _LONGEST + 1) if every % n == 0)


class Stepper:
    """Parameters, states and clocks of E instances, and steps of them.

    Args:
        problem: what they are instances of.
        which: the problem of every instance, (E,).
        rule: what updates them.
        settings: name to the value of every instance, (E,).
        blocks: of a rule that averages over its block.
        stretch: steps taken together, at most.
        dtype: of all numbers.
        device: of all tensors.
        compile: whether torch.compile fuses loss and gradient.
    """

    def __init__(
        self,
        problem: ToyProblem,
        which: NDArray[np.int64],
        rule: Rule,
        settings: Mapping[str, NDArray[np.float64]],
        blocks: Partition,
        *,
        stretch: int,
        dtype: torch.dtype,
        device: str,
        compile: bool = False,
    ) -> None:
        self._problem, self._device, self._longest = problem, device, stretch
        self._captures = device != "cpu"
        self._losses = _compiled_losses() if compile else Stack.losses
        self._calm: Callable[[], AbstractContextManager[None]] = _quiet if compile and self._captures else nullcontext
        self._stack = problem.stack(which, dtype, device)
        self.theta = self._stack.start().contiguous()
        values = torch.from_numpy(np.stack([settings[name] for name in rule.names], axis=1))
        values = values.to(device)  # in float64: a rule forms 1 - beta and the like before it rounds them
        self._update: FusedUpdate | _TorchUpdate
        if device == "cpu" and why_no_update(rule) is None and not jit_is_off():
            self._update = FusedUpdate(rule, values, self.theta)
        else:
            self._update = _TorchUpdate(rule, values, blocks, compile=compile)
        self._rows: Tensor | None = None  # sequences of the steps of a stretch, (stretch, E, b)
        self._host_factors = np.ones(stretch)
        self._factors = torch.ones(stretch, dtype=torch.float64, device=device)
        self._seen = self.theta.new_empty((stretch, 2, self.theta.shape[0]))
        self._replay: Replay | None = None

    @property
    def instances(self) -> int:
        """E."""
        return self.theta.shape[0]

    def look(self) -> NDArray[np.float64]:
        """Unweighted and optimised loss on all data, (2, E)."""
        with torch.no_grad(), self._calm():
            losses = self._losses(self._stack, self.theta)
        return torch.stack(losses[::-1]).double().cpu().numpy()

    def kept_step(self, t: int, factor: float) -> tuple[Tensor, Tensor, Tensor]:
        """Take step t; parameters before it, gradient and update, (E, P) each."""
        self._fill(t, np.array([factor]))
        before, update = self.theta.clone(), torch.empty_like(self.theta)
        with self._calm():
            gradient = self._gradient(0)[0]
            self._update(self.theta, gradient, self._factor(0), update)
        return before, gradient, update

    def stretch(self, t: int, factors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take steps t, t + 1, ..., one for every factor of the learning rates, at most as many as go together.

        Returns:
            Unweighted and optimised loss before every step, on what it saw, (steps, 2, E).
        """
        self._fill(t, factors)
        if self._captures and factors.size == self._longest:
            if self._replay is None:
                self._replay = self._capture()
            self._replay()
        else:
            with self._calm():
                self._steps(factors.size)
        return self._seen[: factors.size].double().cpu().numpy().copy()

    def select(self, chosen: NDArray[np.int64]) -> None:
        """Go on with some of the instances."""
        at = torch.from_numpy(chosen).to(self._device)
        self._replay = None  # and with it the memory of the graph
        self._stack = self._stack.select(at)
        self.theta, self._seen = self.theta[at], self._seen[:, :, at]
        self._rows = None if self._rows is None else self._rows[:, at]
        self._update.select(at)

    def worth_dropping(self, left: int) -> bool:
        """Whether to go on with so many instances: a new graph costs more than a few idle ones."""
        return left < self.instances and (2 * left <= self.instances or not self._captures)

    # Steps. Nothing in them comes from the host, and what they change stays where it is: they can be captured.

    def _fill(self, t: int, factors: NDArray[np.float64]) -> None:
        """What steps t, t + 1, ... need from the host."""
        self._host_factors = factors
        self._factors[: factors.size] = torch.from_numpy(factors)
        for i in range(factors.size):
            drawn = self._problem.batch(t + i)
            if drawn is None:
                return
            rows = torch.from_numpy(drawn[self._stack.which])
            if self._rows is None:
                self._rows = torch.zeros((self._longest, *rows.shape), dtype=rows.dtype, device=self._device)
            self._rows[i] = rows

    def _factor(self, i: int) -> "float | Tensor":
        return float(self._host_factors[i]) if isinstance(self._update, FusedUpdate) else self._factors[i]

    def _gradient(self, i: int) -> tuple[Tensor, Tensor, Tensor]:
        """What the rule sees, (E, P), with both losses, (E,) each."""
        stack = self._stack if self._rows is None else self._stack.rows(self._rows[i])
        return stack.gradient(self.theta, self._losses)

    def _steps(self, number: int) -> None:
        for i in range(number):
            gradient, weighted, unweighted = self._gradient(i)
            self._seen[i, 0], self._seen[i, 1] = unweighted, weighted
            self._update(self.theta, gradient, self._factor(i))

    def _capture(self) -> Replay:
        assert isinstance(self._update, _TorchUpdate)
        with torch.cuda.device(self._device), _quiet():
            own = [self.theta, *self._update.start(self.theta, lambda: self._gradient(0)[0])]
            first = [tensor.clone() for tensor in own]
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # libraries set themselves up in a first call, which a capture must not see
                self._steps(2)
            torch.cuda.current_stream().wait_stream(side)
            torch.cuda.empty_cache()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._steps(self._longest)
            for tensor, value in zip(own, first, strict=True):
                tensor.copy_(value)
        return graph.replay


class _TorchUpdate:
    """The update by the readable torch function of the rule, in place as FusedUpdate's, for any rule and device."""

    def __init__(self, rule: Rule, settings: Tensor, blocks: Partition, *, compile: bool) -> None:
        self._settings = {name: settings[:, i : i + 1] for i, name in enumerate(rule.names)}
        self._rule, self._advance = _flat_rule(rule, blocks, compile)
        self._looks_at_first = any(symbols.g in e.free_symbols for e in rule.start.values())
        self._clocks = self._rule.start_clocks(self._settings)
        self._states: list[Tensor] | None = None

    def start(self, theta: Tensor, gradient: Callable[[], Tensor]) -> list[Tensor]:
        """Give the states their first values, which may need the first gradient; everything that a step changes."""
        if self._states is None:
            g = gradient() if self._looks_at_first else torch.zeros_like(theta)
            (self._states,) = self._rule.start(self._part(theta, g), self._settings)
        return [*self._clocks, *self._states]

    def __call__(
        self, theta: Tensor, gradient: Tensor, factor: "float | Tensor", increment: Tensor | None = None
    ) -> None:
        """See `FusedUpdate`."""
        own = self.start(theta, lambda: gradient)
        assert self._states is not None
        settings = {**self._settings, "lr": self._settings["lr"] * factor}
        (update,), (states,), clocks = self._advance(
            self._part(theta, gradient), [self._states], self._clocks, settings
        )
        if increment is not None:
            increment.copy_(update)
        theta += update
        for tensor, value in zip(own, [*clocks, *states], strict=True):
            if value is not tensor:
                tensor.copy_(value)

    def select(self, at: Tensor) -> None:
        """Go on with some of the instances."""
        self._settings = {name: values[at] for name, values in self._settings.items()}
        self._clocks = [clock[at] for clock in self._clocks]
        self._states = None if self._states is None else [state[at] for state in self._states]

    def _part(self, theta: Tensor, g: Tensor) -> list[dict[str, Tensor]]:
        return [{"g": g, "w": theta, "L_l": g, "mu_l": g}]  # no rule here reads the last two


@lru_cache(maxsize=64)
def _flat_rule(rule: Rule, blocks: Partition, compile: bool) -> tuple[TorchRule, Callable[..., Any]]:
    """The rule on one part (E, P), with settings (E, 1), and its `advance`; kept, as what is compiled is kept with it."""

    def block_mean(x: Tensor) -> Tensor:
        if x.shape[-1] == 1:
            return x  # a setting or clock
        means = [part.mean(dim=1, keepdim=True).expand_as(part) for part in torch.split(x, list(blocks.sizes), dim=1)]
        return torch.cat(means, dim=1)

    flat = TorchRule(rule, block_mean, lambda parts: parts[0].sum(dim=1, keepdim=True))
    return flat, torch.compile(flat.advance) if compile else flat.advance


# Compiling.


@contextmanager
def _quiet() -> Iterator[None]:
    """Compiling warns of what it would rather have (lower precision) and of its own parts; a user can change neither."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@cache
def _compiled_losses() -> Callable[[Stack, Tensor], tuple[Tensor, Tensor]]:
    """One for all stacks: what was compiled for one serves any other of the same shapes."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _SHAPES)
    return torch.compile(Stack.losses)


@cache
def check_compile(device: str) -> None:
    """Compile something small.

    Raises:
        ValueError: torch.compile does not work here.
    """
    try:
        with _quiet():
            torch.compile(lambda x: torch.sin(x) + 1.0)(torch.ones(4, device=device))
    except Exception as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(
            f"compile must find a compiler (g++ on a CPU, Triton on a GPU), got {reason[:200]}; install one or leave it out."
        ) from error


# Memory.


def instances_that_fit(problem: ToyProblem, dtype: torch.dtype, device: str, states: int) -> int:
    """How many instances fit into the free memory of a GPU, by what a few of them take."""
    with torch.cuda.device(device):
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        stack = problem.stack(np.arange(_PROBED) % problem.problems, dtype, device)
        stack.gradient(stack.start())
        used = torch.cuda.max_memory_allocated() - before
    return _fitting(free, used / _PROBED + (states + 3) * problem.dimension * dtype.itemsize)


def _fitting(free: float, each: float) -> int:
    return max(1, int(_SHARE * free / each))
