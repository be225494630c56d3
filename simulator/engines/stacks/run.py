"""Run the fused kernels of stacks: the steps of many instances, with parameters, states and data on the device throughout."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.simulator.engines.kernels.gpu_blocks import on_its_way
from quadsim.simulator.engines.kernels.lowering import program
from quadsim.simulator.engines.kernels.update_source import why_no_update
from quadsim.simulator.engines.stacks.nvrtc import GpuKernel, why_no_compiler
from quadsim.simulator.engines.stacks.source import Form, Layout, lanes_of, shared_bytes, slots_of, stack_source
from quadsim.simulator.models.base import DataShape, Model
from quadsim.simulator.models.mlp import MLP
from quadsim.simulator.models.on_device import on_device
from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.models.transformer import Transformer
from quadsim.simulator.rules.rule import Rule

__all__ = ["FusedSteps", "form_of", "instances_that_fit", "why_not"]

Tensor = torch.Tensor
Kernel = Callable[[int, Sequence[Any]], None]

_WIDEST = 32
_MOST_TOKENS = 16  # of a sequence: a thread keeps its scores in registers
_MOST_SHARED = 227 * 1024  # bytes of a block on an H100, which the tests on a CPU assume
# Operations of a launch: some twenty milliseconds of an H100. The host judges one while the next one runs, and what it does after
# the last one is not hidden.
_WORK_AT_ONCE = 4e11
_UPDATE_IN_TOKENS = 10  # the update of a parameter takes about as long as its products with this many tokens
_STEPS_AT_ONCE = 256
_SHARE = 0.8  # share of the free memory of a GPU that is used
_THREADS = (256, 128, 64)  # of a block, where a row has one thread
_MOST_GRADIENTS = 3  # of an instance in memory
_WARPS = (512, 256, 128, 64)  # the same, where a row has four


def form_of(problem: ToyProblem) -> Form:
    """Return what the kernel of a problem depends on."""
    return Form(
        model=problem.model,
        shape=problem.task.shape,
        features=problem.data.inputs.dtype.kind == "f",
        scaled=problem.mode if problem.dial == "reparametrisation" else "",
        tempered=problem.dial == "temperature",
        batched=problem.task.batch is not None,
        copies=problem.copies,
    )


def why_not(problem: ToyProblem, rule: Rule, dtype: torch.dtype, device: str) -> str | None:
    """Return the reason why this engine cannot train a problem by a rule, as a clause for an error message; None if it can."""
    if device == "cpu":
        return "it needs a GPU"
    if dtype != torch.float32:
        return "it takes float32 alone"
    if problem.loss != "cross-entropy":
        return f"it has no kernel for the loss {problem.loss}"
    reason = why_no_update(rule) or why_no_compiler()
    return reason or _why_no_kernel(problem.model, problem.task.shape, _most_shared(torch.device(device)))


def _most_shared(device: torch.device) -> int:
    if device.type != "cuda":
        return _MOST_SHARED
    properties: Any = torch.cuda.get_device_properties(device)
    return int(properties.shared_memory_per_block_optin)


def _multiprocessors(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).multi_processor_count) if device.type == "cuda" else 1


def _why_no_kernel(model: Model, shape: DataShape, most_shared: int) -> str | None:
    if not isinstance(model, Transformer | MLP):
        return f"it has no kernel for the model {model.name}"
    if isinstance(model, MLP) and (model.activation != "gelu" or not model.embedded):
        return "it has no kernel for an MLP without GELU or embedding"
    if isinstance(model, MLP) and shape.readout != "every":
        return "it has no kernel for an MLP that answers once a sequence"
    if model.width % 4 or model.width > _WIDEST:
        return f"it takes a width that is a multiple of 4 up to {_WIDEST}, not {model.width}"
    if shape.tokens > _MOST_TOKENS:
        return f"it takes at most {_MOST_TOKENS} tokens in a sequence, not {shape.tokens}"
    if layout_of(Form(model, shape), shape.tokens, most_shared) is None:
        return "its parameters and their gradients do not fit in the shared memory of a GPU"
    return None


def layout_of(form: Form, tokens: int, most_shared: int, *, few: bool = False) -> Layout | None:
    """Return how chunks are spread over threads; None if no layout has room.

    Args:
        form: what the kernel depends on.
        tokens: number of tokens of an instance in a step.
        most_shared: bytes of shared memory that a block may have.
        few: whether there are fewer blocks than multiprocessors; then a block has as many threads as there are rows.
    """
    rows = tokens // form.shape.tokens * slots_of(form.shape)
    layouts = [Layout(threads, 1) for threads in _THREADS if threads == _THREADS[-1] or (few and threads <= rows)]
    if lanes_of(form) == 4:
        each = 2 if slots_of(form.shape) <= 16 and getattr(form.model, "heads", 1) % 2 == 0 else 4
        wanted = [
            threads for threads in _WARPS if threads <= (512 if few else 256) and threads // 4 * each <= max(rows, 32)
        ]
        two = 2 if not few else 1
        # Teams that take several chunks each join one gradient; else barriers take longer than a second gradient.
        joined = {n: n // 32 if rows > n // 4 * each else 1 for n in wanted}
        layouts = [Layout(n, each, two, 4, joined[n]) for n in wanted] + layouts
        whole = [n for n in reversed(_WARPS) if n <= (512 if few else 256) and rows <= n // 4 * each][:1]
        layouts = [Layout(n, each, two, 4, whole=True) for n in whole] + layouts
    return next((each for each in layouts if shared_bytes(form, each) <= most_shared), None)


@lru_cache(maxsize=256)
def gpu_kernel(form: Form, rule: Rule, layout: Layout, device: torch.device) -> Kernel:
    """Return the compiled kernel of a form under a rule."""
    return GpuKernel(stack_source(form, rule, layout), device, layout.threads, shared_bytes(form, layout))


def instances_that_fit(problem: ToyProblem, states: int, device: str) -> int:
    """Return how many instances fit in the free memory of a GPU."""
    with torch.cuda.device(device):
        free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    each = (
        4.0 * problem.dimension * (2 + _MOST_GRADIENTS + states) + 8.0 * problem.tokens_per_step + 8.0 * _STEPS_AT_ONCE
    )
    return max(1, int(_SHARE * free / each))


class _Data:
    """Starts and data of the problems of a batch on the device."""

    def __init__(self, problem: ToyProblem, device: torch.device) -> None:
        def whole(name: str) -> Tensor:
            return on_device(problem, name, torch.int32, device)

        def real(name: str) -> Tensor:
            return on_device(problem, name, torch.float32, device)

        self.inputs = real("inputs") if problem.data.inputs.dtype.kind == "f" else whole("inputs")
        self.targets, self.shares, self.weights = whole("targets"), real("share"), real("weights")
        self.start, self.temperature = real("start"), real("heterogeneity")
        self.scale = self.start if problem.block_scales is None else real("block_scales")


class FusedSteps:
    """Parameters, states and clocks of E instances, and the steps that change them, many in one launch.

    Args:
        problem: the batch of problems.
        which: index of the problem of every instance, (E,).
        rule: the rule that updates the parameters.
        settings: name to values, (K,).
        setting: index of the setting of every instance, (E,).
        device: a torch device.
        kernel: the kernel to launch; None compiles it for the device.
    """

    def __init__(
        self,
        problem: ToyProblem,
        which: NDArray[np.int64],
        rule: Rule,
        settings: Mapping[str, NDArray[np.float64]],
        setting: NDArray[np.int64],
        device: str,
        kernel: Kernel | None = None,
    ) -> None:
        self._problem, self._which = problem, which
        self._form, self._program = form_of(problem), program(rule)
        self._device = torch.device(device)
        few = which.size * problem.copies <= _multiprocessors(self._device)
        tokens = problem.tokens_per_step // problem.copies
        layout = layout_of(self._form, tokens, _most_shared(self._device), few=few)
        assert layout is not None  # of a problem for which `why_not` is None
        self._kernel = kernel or gpu_kernel(self._form, rule, layout, self._device)
        self._data = _Data(problem, self._device)
        instances, copies = which.size, problem.copies
        self._settings = self._tensor(np.stack([settings[name] for name in rule.names]), torch.float64)
        clocks = len(self._program.clocks)
        self._clocks = torch.ones((instances * copies, clocks), dtype=torch.float64, device=self._device)
        self._problem_of = self._tensor(which, torch.int32)
        self._setting_of = self._tensor(setting, torch.int32)
        at = self._problem_of.long()
        self.theta = self._data.start[at].view(instances * copies, -1)
        self.states = torch.zeros((len(self._program.states), *self.theta.shape), device=self._device)
        if self._program.starts_at_numbers:
            for kept, state in zip(self.states, self._program.states, strict=True):
                kept.fill_(float(self._program.started[state]))
        sequences = problem.sequences[which]
        batch = problem.task.batch
        self._all_sequences = self._tensor(sequences, torch.int32)
        self._sequences = self._all_sequences if batch is None else torch.full_like(self._all_sequences, batch)
        weights = (problem.copy_weights[which] / copies).reshape(-1)
        self._all_factors = self._tensor(np.stack([weights, np.ones_like(weights)], axis=1), torch.float32)
        share = np.ones(instances) if batch is None else sequences / batch
        self._factors = self._all_factors * self._tensor(np.repeat(share, copies), torch.float32)[:, None]
        self._temperature = self._data.temperature[at]
        self._gradients = layout.gradients
        self._gradient: Tensor | None = None  # where steps add up gradients in memory
        if self._gradients:
            self._gradient = self._new_gradient()
        self._alive = torch.arange(instances * copies, dtype=torch.int32, device=self._device)

    def _tensor(self, array: NDArray[np.float64] | NDArray[np.int64], dtype: torch.dtype) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(dtype)
        if self._device.type == "cpu":
            return tensor
        # From pageable memory a copy would wait until the launch before it has ended, and the host with it.
        return tensor.pin_memory().to(self._device, non_blocking=True)

    @property
    def instances(self) -> int:
        """How many instances are left."""
        return self._alive.shape[0] // self._problem.copies

    @property
    def longest(self) -> int:
        """Number of steps that are worth one launch."""
        tokens = self._problem.tokens_per_step + _UPDATE_IN_TOKENS
        return int(np.clip(_WORK_AT_ONCE // (6.0 * self.theta.numel() * tokens), 1, _STEPS_AT_ONCE))

    def look(self) -> Callable[[], NDArray[np.float64]]:
        """Evaluate both losses (unweighted, optimised) on all data; return what waits for them, (2, E). No step is taken."""
        return on_its_way(self._evaluate().double())

    def gradient(self) -> tuple[Tensor, Tensor]:
        """Return the gradient on all data that a rule gets, (slots, P), and the unweighted and the optimised loss, (2, E)."""
        self._gradient = self._new_gradient() if self._gradient is None else self._gradient
        losses = self._evaluate()
        return self._gradient[:, 0].contiguous(), losses

    def _new_gradient(self) -> Tensor:
        return torch.empty((*self.theta.shape[:1], max(1, self._gradients), self.theta.shape[1]), device=self._device)

    def _evaluate(self) -> Tensor:
        """Evaluate losses on all data without a step, (2, E), and the gradient where there is memory for it."""
        rows = self._sequences  # read where steps take mini-batches alone
        if self._form.batched:
            number = int(self._all_sequences.max())
            rows = torch.arange(number, dtype=torch.int32, device=self._device).repeat(self._which.size, 1)
        return self._launch(0, np.ones(1), rows, self._all_sequences, self._all_factors, learns=False)[0]

    def stretch(self, t: int, factors: NDArray[np.float64]) -> Callable[[], NDArray[np.float64]]:
        """Start steps t, t + 1, ..., one for every factor.

        Args:
            t: the first step.
            factors: the schedule's factors of these steps.

        Returns:
            Function that waits for the steps and returns the unweighted and optimised loss before each, on the data of that
            step (its mini-batch), (steps, 2, E).
        """
        rows = self._sequences
        if self._form.batched:
            drawn = [self._problem.batch(t + i) for i in range(factors.size)]
            rows = self._tensor(np.stack([each[self._which] for each in drawn if each is not None]), torch.int32)
        losses = self._launch(t, factors, rows, self._sequences, self._factors)
        # On the host the losses of an instance follow one after the other, as in what they are recorded in.
        arrives = on_its_way(losses.permute(1, 2, 0).double())
        return lambda: arrives().transpose(2, 0, 1)

    def _launch(
        self,
        t: int,
        factors: NDArray[np.float64],
        rows: Tensor,
        sequences: Tensor,
        weights: Tensor,
        *,
        learns: bool = True,
    ) -> Tensor:
        """Take steps, or evaluate the gradient; return the losses, (steps, 2, E)."""
        data, programs = self._data, self._alive.shape[0]
        losses = torch.empty((factors.size, 2, programs), device=self._device)
        scheduled = self._tensor(factors, torch.float64)
        arrays = (
            self.theta, self.states, self._gradient, data.scale, data.inputs, data.targets,
            data.weights, data.shares, rows, self._problem_of, self._setting_of, sequences, weights, self._temperature,
            self._alive, self._settings, scheduled, self._clocks, losses,
        )  # fmt: skip
        numbers = (
            t, factors.size, self._settings.shape[1], programs, self._which.size, data.targets.shape[1], rows.shape[-1],
            int(learns),
        )  # fmt: skip
        arguments = [ctypes.c_void_p(None if array is None else array.data_ptr()) for array in arrays]
        self._kernel(
            programs, [*arguments, ctypes.c_longlong(self.theta.numel()), *(ctypes.c_int(number) for number in numbers)]
        )
        if self._problem.copies == 1:
            return losses
        each = losses.view(factors.size, 2, -1, self._problem.copies)
        return torch.stack([each[:, 0].amax(dim=-1), each[:, 1].sum(dim=-1)], dim=1)

    def select(self, chosen: NDArray[np.int64]) -> None:
        """Keep the instances with the indices `chosen` and drop all others; nothing moves in memory."""
        alive = self._alive.view(-1, self._problem.copies)
        self._alive = alive[self._tensor(chosen, torch.int64)].reshape(-1).contiguous()

    def worth_dropping(self, left: int) -> bool:
        """Whether it is worth dropping finished instances when `left` remain: always, as it costs nothing."""
        return left < self.instances
