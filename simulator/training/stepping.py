"""Take training steps of a stack of instances: directly, compiled, or captured in a CUDA graph.

The three ways run the same operations. A small model's step takes less time than its launches from Python, so on a GPU a
step is captured in a CUDA graph and launched as a whole. This fixes the memory: within a step everything is updated in place, and
the schedule's factors and the rows of the mini-batches are copied to fixed tensors before (`Stepper._fill`).

As single operations of torch a step moves every activation through memory some twenty times; torch.compile fuses them into few
kernels, in two graphs (the losses with their gradient, and the update). They are compiled once for any number of instances, so
that dropping instances compiles nothing, and are kept in the cache folder for later processes.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.simulator.engines.kernels.gpu_blocks import on_its_way
from quadsim.simulator.engines.kernels.machine import jit_is_off
from quadsim.simulator.engines.kernels.update_source import FusedUpdate, why_no_update
from quadsim.simulator.engines.stacks.cpu_run import FusedGradient
from quadsim.simulator.engines.torch_rule import TorchRule
from quadsim.simulator.models.on_device import on_device
from quadsim.simulator.models.partitions import Partition
from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.models.stack import Losses, Stack
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.support.kept import cache_directory

__all__ = ["Stepper", "check_compile", "instances_that_fit", "together", "why_not_compiled"]

Tensor = torch.Tensor

_LONGEST = 16  # steps in one stretch, at most

_PROBED = 32  # number of instances whose memory is measured
_SHARE = 0.8  # share of the free memory of a GPU that is used

_RESERVED_TIMES = 4  # memory that torch has reserved stays so while it is at most this part of what is free

_SHAPES = 1000  # number of models, tasks and rules that one process may compile

Replay = Callable[[], None]
Gradient = Tensor | list[Tensor]
"""A gradient, (E, P), or its parts by parameter, (E, P_i) each."""


def together(every: int) -> int:
    """Return the length of a stretch: the largest divisor of `every` that is at most 16.

    A stretch runs without a check for finished instances; on a GPU it is launched as a whole. A divisor, so that evaluations
    every `every` steps fall on the end of a stretch.

    Examples:
        >>> together(10), together(24), together(17)
        (10, 12, 1)
    """
    return max(n for n in range(1, _LONGEST + 1) if every % n == 0)


class Stepper:
    """Parameters, states and clocks of E instances, and the steps that change them.

    Args:
        problem: the batch of problems.
        which: index of the problem of every instance, (E,).
        rule: the rule that updates the parameters.
        settings: name to the value of every instance, (E,).
        blocks: blocks, for a rule that averages over its block.
        stretch: largest number of steps in one call of `stretch`.
        dtype: number type of the parameters.
        device: device of all tensors.
        compile: whether torch.compile fuses the operations of loss and update.
        clip: largest norm of the gradient of an instance; None: any.
        fused: whether one kernel computes gradients and losses, on a CPU; torch computes those on test data in any case.
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
        clip: float | None = None,
        fused: bool = False,
    ) -> None:
        self._fused = FusedGradient(problem, dtype) if fused else None
        self._problem, self._device, self.longest, self._clip = problem, device, stretch, clip
        self._captures = device != "cpu"
        self._losses = _compiled_losses() if compile else Stack.losses
        self._calm: Callable[[], AbstractContextManager[None]] = _quiet if compile and self._captures else nullcontext
        self._stack = problem.stack(which, dtype, device)
        # Compiled, the update reads the gradient of every parameter where the backward pass has left it.
        self._splits = compile and self._captures and clip is None and self._stack.splits
        self._test_stack = None if problem.test_data is None else problem.test_stack(which, dtype, device)
        self.theta = self._stack.start() if device == "cpu" else self._start()
        values = torch.from_numpy(np.stack([settings[name] for name in rule.names], axis=1))
        values = values.to(device)  # in float64: rounding comes after 1 - beta and the like
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
        self._rehearsed = False
        self._key: tuple[Any, ...] | None = None  # under which it is kept for a later run

    @classmethod
    def of(
        cls,
        problem: ToyProblem,
        which: NDArray[np.int64],
        rule: Rule,
        settings: Mapping[str, NDArray[np.float64]],
        blocks: Partition,
        **options: Any,
    ) -> "Stepper":
        """Return a stepper at the start: the one that an earlier run left (see `keep`), or a new one."""
        key = (problem, which.tobytes(), rule, blocks, *sorted(options.items()))
        kept = _IDLE.pop(key, None)
        if kept is not None:
            kept._restart(settings)
            return kept
        _IDLE.clear()
        made = cls(problem, which, rule, settings, blocks, **options)
        made._key = key
        return made

    def keep(self) -> None:
        """Keep this stepper for a later run of the same rule on the same problem, with its data on a GPU and its CUDA graph.

        Making both can take as long as 15 steps. One stepper is kept at most, and none that has dropped instances or takes much
        memory. Its data stay valid because the arrays of the problem are made read-only.
        """
        if self._key is None or self._replay is None:
            return
        free, whole = torch.cuda.mem_get_info(self._device)
        each = _MEASURED.get(self._problem, {}).get((self.theta.dtype, self._device), float("inf"))
        if each * self.instances > min(_KEPT_SHARE * whole, free):
            return
        data = self._problem.data
        for array in (data.inputs, data.targets, data.share, self._problem.weights, self._problem.start):
            array.flags.writeable = False
        _IDLE[self._key] = self

    def _restart(self, settings: Mapping[str, NDArray[np.float64]]) -> None:
        """Go back to the start, with other settings, in the memory that the CUDA graph uses."""
        self.theta.copy_(self._start())
        assert isinstance(self._update, _TorchUpdate)
        self._rehearsed = self._update.restart(settings)

    def _start(self) -> Tensor:
        """Return the parameters at the start on a GPU, (E, P)."""
        whole = on_device(self._problem, "start", self._stack.weights.dtype, self._device)
        return whole[torch.from_numpy(self._stack.which).to(self._device)]

    @property
    def instances(self) -> int:
        """E, the number of instances."""
        return self.theta.shape[0]

    def look(self) -> Callable[[], NDArray[np.float64]]:
        """Evaluate both losses (unweighted, optimised) on all data; return what waits for them, (2, E). No step is taken."""
        if self._fused is not None:
            losses = self._fused.losses(self._stack, self.theta)
        else:
            # With mini-batches this runs often; else once a run, which is not worth a compiled function of its own.
            function = Stack.losses if self._problem.task.batch is None else self._losses
            with torch.no_grad(), self._calm():
                losses = function(self._stack, self.theta)
        return on_its_way(torch.stack(losses[::-1]).double())

    def test(self) -> NDArray[np.float64]:
        """Evaluate loss and accuracy on the test data, (2, E); no step is taken.

        Raises:
            ValueError: a task without test data.
        """
        stack = self._test_stack
        if stack is None:
            raise ValueError("a stepper can only test with test data, got a task without; give the task test=.")
        with torch.no_grad():
            found = torch.stack([stack.losses(self.theta)[1], stack.accuracy(self.theta)])
        return found.double().cpu().numpy()

    def kept_step(self, t: int, factor: float) -> tuple[Tensor, Tensor, Tensor]:
        """Take step t and return the parameters before it, the gradient and the update, (E, P) each."""
        self._fill(t, np.array([factor]))
        before, update = self.theta.clone(), torch.empty_like(self.theta)
        with self._calm():
            gradient = _whole(self._gradient(0)[0])
            self._update(self.theta, gradient, self._factor(0), update)
        return before, gradient, update

    def stretch(self, t: int, factors: NDArray[np.float64]) -> Callable[[], NDArray[np.float64]]:
        """Take steps t, t + 1, ..., one for every factor. On a GPU they may still run when this returns.

        Args:
            t: the first step.
            factors: the schedule's factors of these steps, at most `stretch` of them.

        Returns:
            Function that waits for the steps and returns the unweighted and optimised loss before each, on the data of that
            step (its mini-batch), (steps, 2, E).
        """
        self._fill(t, factors)
        if not self._captures:
            for i in range(factors.size):
                self._step(i)
            seen = self._seen[: factors.size]
        else:
            seen = torch.stack([self._captured_step(i) for i in range(factors.size)])
        # On the host the losses of an instance follow one after the other, as in what they are recorded in.
        arrives = on_its_way(seen.permute(1, 2, 0).double())
        return lambda: arrives().transpose(2, 0, 1)

    def _captured_step(self, i: int) -> Tensor:
        """Take step i of the stretch by the CUDA graph of step 0, and return its losses, (2, E)."""
        if i > 0:
            self._factors[0].copy_(self._factors[i])
            if self._rows is not None:
                self._rows[0].copy_(self._rows[i])
        if self._rehearsed:
            if self._replay is None:
                self._replay = self._capture()
            self._replay()
        else:  # the first step runs directly: libraries allocate memory at their first call, which must not be captured
            with self._calm():
                self._step(0)
            self._rehearsed = True
        return self._seen[0].clone()

    def select(self, chosen: NDArray[np.int64]) -> None:
        """Keep the instances with the indices `chosen` and drop all others."""
        at = torch.from_numpy(chosen).to(self._device)
        if self._replay is not None:
            torch.cuda.synchronize(
                self._device
            )  # the last stretch may still run in the graph that goes here, with its memory
        self._replay, self._rehearsed, self._key = None, False, None
        self._stack = self._stack.select(at)
        self._test_stack = None if self._test_stack is None else self._test_stack.select(at)
        self.theta, self._seen = self.theta[at], self._seen[:, :, at]
        self._rows = None if self._rows is None else self._rows[:, at]
        self._update.select(at)

    def worth_dropping(self, left: int) -> bool:
        """Whether it is worth dropping finished instances when `left` remain.

        On a GPU dropping needs a new CUDA graph, which costs more than a few idle instances: at least half must have finished.
        """
        return left < self.instances and (2 * left <= self.instances or not self._captures)

    # Steps. They read nothing from the host and change tensors in place, so that a CUDA graph can capture them.

    def _fill(self, t: int, factors: NDArray[np.float64]) -> None:
        """Copy what steps t, t + 1, ... need from the host: factors and rows of mini-batches."""
        self._host_factors = factors
        host = torch.from_numpy(factors)
        # From pinned memory the copy waits for its turn on the GPU, and Python goes on.
        self._factors[: factors.size].copy_(host.pin_memory() if self._factors.is_cuda else host, non_blocking=True)
        for i in range(factors.size):
            drawn = self._problem.batch(t + i)
            if drawn is None:
                return
            rows = torch.from_numpy(drawn[self._stack.which])
            if self._rows is None:
                self._rows = torch.zeros((self.longest, *rows.shape), dtype=rows.dtype, device=self._device)
            self._rows[i] = rows

    def _factor(self, i: int) -> "float | Tensor":
        return float(self._host_factors[i]) if isinstance(self._update, FusedUpdate) else self._factors[i]

    def _gradient(self, i: int) -> "tuple[Gradient, Tensor, Tensor]":
        """Return the gradient of step i of the stretch, with the optimised and the unweighted loss, (E,) each."""
        rows = None if self._rows is None else self._rows[i]
        if self._fused is not None:
            gradient, weighted, unweighted = self._fused.gradient(self._stack, self.theta, rows)
        else:
            stack = self._stack if rows is None else self._stack.rows(rows)
            if self._splits:
                return stack.gradients(self.theta, self._losses)
            gradient, weighted, unweighted = stack.gradient(self.theta, self._losses)
        if self._clip is not None:
            norm = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
            # The 1e-6 is that of torch.nn.utils.clip_grad_norm_.
            gradient = gradient * (self._clip / (norm + 1e-6)).clamp(max=1.0)
        return gradient, weighted, unweighted

    def _step(self, i: int) -> None:
        gradient, weighted, unweighted = self._gradient(i)
        self._seen[i, 0], self._seen[i, 1] = unweighted, weighted
        if isinstance(self._update, FusedUpdate):
            self._update(self.theta, _whole(gradient), self._factor(i))
        else:
            self._update(self.theta, gradient, self._factor(i))

    def _capture(self) -> Replay:
        """Return a function that runs step 0 of a stretch as a CUDA graph; nothing runs yet.

        The context `torch.cuda.graph` would collect Python's garbage and empty the cache of memory first, which takes as long as
        ten steps.
        """
        with torch.cuda.device(self._device), _quiet():
            if _RESERVED_TIMES * torch.cuda.memory_reserved() > torch.cuda.mem_get_info()[0]:
                torch.cuda.empty_cache()  # a graph has memory of its own, and that of earlier graphs is free
            graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                graph.capture_begin()
                try:
                    self._step(0)
                finally:
                    graph.capture_end()
        return graph.replay


class _TorchUpdate:
    """The update by the torch function of the rule: in place, as FusedUpdate, but for every rule and device."""

    def __init__(self, rule: Rule, settings: Tensor, blocks: Partition, *, compile: bool) -> None:
        self._settings = {name: settings[:, i : i + 1].contiguous() for i, name in enumerate(rule.names)}
        self._rule, self._advance = _flat_rule(rule, blocks, compile)
        self._clocks = self._rule.start_clocks(self._settings)
        self._states: list[Tensor] | None = None
        self._old: list[Tensor] = []  # memory of the states of an earlier run

    def restart(self, settings: Mapping[str, NDArray[np.float64]]) -> bool:
        """Go back to the time before the first step, with other settings, in the same memory.

        Returns:
            Whether the CUDA graph can take the first step: not where the rule forms states from the first gradient.
        """
        for name, kept in self._settings.items():
            kept.copy_(torch.from_numpy(settings[name])[:, None])
        for clock in self._clocks:
            clock.fill_(1.0)
        if self._states is not None and not self._rule.rule.start:
            for state in self._states:
                state.zero_()
            return True
        self._old, self._states = self._states or self._old, None
        return False

    def __call__(
        self, theta: Tensor, gradient: "Gradient", factor: "float | Tensor", increment: Tensor | None = None
    ) -> None:
        """Take one step in place; see `FusedUpdate`."""
        if self._states is None:
            (self._states,) = self._rule.start(_part(theta, _whole(gradient)), self._settings)
            if self._old:
                self._states = [old.copy_(state) for old, state in zip(self._old, self._states, strict=True)]
        settings = {**self._settings, "lr": self._settings["lr"] * factor}
        self._advance(theta, gradient, self._states, self._clocks, settings, increment)

    def select(self, at: Tensor) -> None:
        """Keep the instances with the indices `at` and drop all others."""
        self._settings = {name: values[at] for name, values in self._settings.items()}
        self._clocks = [clock[at] for clock in self._clocks]
        self._states = None if self._states is None else [state[at] for state in self._states]


def _whole(gradient: "Gradient") -> Tensor:
    return gradient if isinstance(gradient, Tensor) else torch.cat(gradient, dim=1)


def _part(theta: Tensor, g: Tensor) -> list[dict[str, Tensor]]:
    return [{"g": g, "w": theta, "L_l": g, "mu_l": g}]  # no rule here reads the last two


@lru_cache(maxsize=64)
def _flat_rule(rule: Rule, blocks: Partition, compile: bool) -> tuple[TorchRule, Callable[..., None]]:
    """Return the rule on one part (E, P), with settings (E, 1), and its step in place, compiled if wanted.

    Cached, because torch keeps compiled code with the function object.
    """

    def block_mean(x: Tensor) -> Tensor:
        if x.shape[-1] == 1:
            return x  # a setting or clock
        means = [part.mean(dim=1, keepdim=True).expand_as(part) for part in torch.split(x, list(blocks.sizes), dim=1)]
        return torch.cat(means, dim=1)

    flat = TorchRule(rule, block_mean, lambda parts: parts[0].sum(dim=1, keepdim=True))
    changed = [rule.clocks[clock] != clock for clock in rule.clocks]
    changed += [rule.update[state] != state for state in rule.states]

    def advance(
        theta: Tensor,
        gradient: Gradient,
        states: list[Tensor],
        clocks: list[Tensor],
        settings: dict[str, Tensor],
        increment: Tensor | None,
    ) -> None:
        # In place within the compiled function as well: then one kernel reads and writes every array once.
        (update,), (new,), later = flat.advance(_part(theta, _whole(gradient)), [states], clocks, settings)
        if increment is not None:
            increment.copy_(update)
        theta.add_(update)
        for tensor, value, changes in zip([*clocks, *states], [*later, *new], changed, strict=True):
            if changes:
                tensor.copy_(value)

    if not compile:
        return flat, advance
    fast = _compiled(advance)

    def advance_compiled(theta: Tensor, gradient: Gradient, states: list[Tensor], clocks: list[Tensor],
                         settings: dict[str, Tensor], increment: Tensor | None) -> None:  # fmt: skip
        _let_vary((
            theta,
            *([gradient] if isinstance(gradient, Tensor) else gradient),
            *states,
            *clocks,
            *settings.values(),
        ))
        if increment is not None:
            _let_vary((increment,))
        fast(theta, gradient, states, clocks, settings, increment)

    return flat, advance_compiled


# Compiling.


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the warnings of torch.compile: they recommend lower precision or concern torch's own code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function compiled by torch, which keeps its code in the cache folder (torch checks what the code depends on)."""
    folder = cache_directory()
    if folder is not None:
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder / "torch"))
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _SHAPES)
    # Attention has sums over the tokens of a sequence and over the coordinates of a head: up to 8 are written out.
    # The parts of a gradient are read where they are, also where there are more than 8.
    return torch.compile(function, options={"unroll_reductions_threshold": 9, "max_pointwise_cat_inputs": 64})


def _let_vary(tensors: Iterable[Tensor]) -> None:
    """Have code compiled for any length of the first axis of these tensors, the number of instances."""
    for tensor in tensors:
        torch._dynamo.maybe_mark_dynamic(tensor, 0)


@cache
def _compiled_losses() -> Losses:
    """Return the compiled losses, one function for all stacks, so that stacks of the same shapes share compiled code."""
    fast = _compiled(Stack.losses)

    def losses(stack: Stack, theta: Tensor | Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        _let_vary((*([theta] if isinstance(theta, Tensor) else theta), *stack.tensors.values()))
        found: tuple[Tensor, Tensor] = fast(stack, theta)
        return found

    return losses


@cache
def why_not_compiled(device: str) -> str | None:
    """Return the reason why torch.compile does not work on a device, by compiling a small function; None if it does."""
    try:
        with _quiet():
            _compiled(lambda x: torch.sin(x) + 1.0)(torch.ones(4, device=device))
    except Exception as error:  # of torch, of its compilers, of a missing library: of any type
        return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
    return None


def check_compile(device: str) -> None:
    """Check that torch.compile works.

    Raises:
        ValueError: torch.compile fails on this device.
    """
    reason = why_not_compiled(device)
    if reason is not None:
        raise ValueError(
            f"compile must find a compiler (g++ on a CPU, Triton on a GPU), got {reason}; install one or leave it out."
        )


# Memory.

_MEASURED: WeakKeyDictionary[ToyProblem, dict[Any, float]] = WeakKeyDictionary()  # bytes of an instance
_IDLE: dict[tuple[Any, ...], Stepper] = {}  # one at most
_KEPT_SHARE = 1 / 16  # of the memory of a GPU, that a kept stepper may take


def instances_that_fit(problem: ToyProblem, dtype: torch.dtype, device: str, states: int) -> int:
    """Return how many instances fit in the free memory of a GPU, from the measured memory of 32 instances.

    Args:
        problem: the batch of problems.
        dtype: number type of the parameters.
        device: "cuda" or "cuda:N".
        states: number of states of the rule, each of the size of the parameters.
    """
    measured = _MEASURED.setdefault(problem, {})
    with torch.cuda.device(device):
        if (dtype, device) not in measured:
            torch.cuda.empty_cache()
            torch.cuda.current_blas_handle()  # type: ignore[no-untyped-call]  # comes with memory of its own
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            stack = problem.stack(np.arange(_PROBED) % problem.problems, dtype, device)
            stack.gradient(stack.start())
            measured[dtype, device] = (torch.cuda.max_memory_allocated() - before) / _PROBED
        free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return _fitting(free, measured[dtype, device] + (states + 3) * problem.dimension * dtype.itemsize)


def _fitting(free: float, each: float) -> int:
    return max(1, int(_SHARE * free / each))
