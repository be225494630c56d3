"""Run the fused kernels of stacks: the steps of many instances, with parameters, states and data on the device throughout."""

import importlib.util
from collections.abc import Mapping
from functools import lru_cache
from types import ModuleType
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.simulator.engines.kernels.cache import import_source
from quadsim.simulator.engines.kernels.gpu_blocks import on_host
from quadsim.simulator.engines.kernels.gpu_run import step_table
from quadsim.simulator.engines.kernels.lowering import program
from quadsim.simulator.engines.kernels.update_source import why_no_update
from quadsim.simulator.engines.stacks.source import Form, padded, stack_source
from quadsim.simulator.models.base import DataShape, Model
from quadsim.simulator.models.mlp import MLP
from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.models.transformer import Transformer
from quadsim.simulator.rules.rule import Rule

__all__ = ["FusedSteps", "form_of", "stack_kernels", "why_not"]

Tensor = torch.Tensor

_WIDEST = 32
_MOST_TOKENS = 16  # of a sequence
_MOST_CLASSES = 64
_MOST_GRADIENTS = 16_384  # numbers that a program adds up in registers
_TILES, _WARPS, _PRECISION, _MAXREG = 4, 4, "three", None
_TOKENS_AT_ONCE = 1 << 26  # tokens times steps of a launch: tenths of a second, so that Ctrl-C works
_STEPS_AT_ONCE = 256


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
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if dtype != torch.float32:
        return "it takes float32 alone"
    return why_no_update(rule) or _why_no_kernel(problem.model, problem.task.shape)


def _why_no_kernel(model: Model, shape: DataShape) -> str | None:
    if not isinstance(model, Transformer | MLP):
        return f"it has no kernel for the model {model.name}"
    if isinstance(model, MLP) and shape.readout != "every":
        return f"it has no kernel for an MLP that answers once a sequence ({shape.readout})"
    sizes = {
        "a width": (model.width, _WIDEST),
        "tokens in a sequence": (shape.tokens, _MOST_TOKENS),
        "classes": (shape.classes, _MOST_CLASSES),
        "inputs": (shape.inputs, _MOST_CLASSES),
        "numbers in its padded gradient": (_padded_size(model, shape), _MOST_GRADIENTS),
    }
    for name, (size, most) in sizes.items():
        if size > most:
            return f"it takes {name} of at most {most}, not {size}"
    return None


def _padded_size(model: Model, shape: DataShape) -> int:
    shapes = [p.shape for p in model.parameters(shape) if len(p.shape) > 1]
    return sum(padded(rows) * padded(columns) for rows, columns in shapes)


@lru_cache(maxsize=256)
def stack_kernels(form: Form, rule: Rule) -> ModuleType:
    """Return the module of kernels for a form under a rule; Triton compiles a kernel at its first launch."""
    return import_source(stack_source(form, rule), "gpu_stack")


class _Data:
    """Starts and data of the problems of a batch on the device."""

    def __init__(self, problem: ToyProblem, device: torch.device) -> None:
        def whole(array: NDArray[np.int64]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(torch.int32).to(device)

        def real(array: NDArray[np.float64]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(torch.float32).to(device)

        data = problem.data
        self.inputs = real(data.inputs) if data.inputs.dtype.kind == "f" else whole(data.inputs)
        self.targets, self.shares, self.weights = whole(data.targets), real(data.share), real(problem.weights)
        self.start = real(problem.start)
        self.scale = self.start if problem.block_scales is None else real(problem.block_scales)
        self.temperature = real(problem.heterogeneity)


_KEPT: WeakKeyDictionary[ToyProblem, dict[torch.device, _Data]] = WeakKeyDictionary()  # one problem at most


def _data_of(problem: ToyProblem, device: torch.device) -> _Data:
    """Return the data of a problem on the device, copied there or kept from the last run: a copy can take longer than a run."""
    kept = _KEPT.get(problem, {})
    if device not in kept:
        _KEPT.clear()
        _KEPT[problem] = {device: _Data(problem, device)}
    return _KEPT[problem][device]


class FusedSteps:
    """Parameters, states and clocks of E instances, and the steps that change them, many in one launch.

    Args:
        problem: the batch of problems.
        which: index of the problem of every instance, (E,).
        rule: the rule that updates the parameters.
        settings: name to values, (K,).
        setting: index of the setting of every instance, (E,).
        device: a torch device.
    """

    def __init__(
        self,
        problem: ToyProblem,
        which: NDArray[np.int64],
        rule: Rule,
        settings: Mapping[str, NDArray[np.float64]],
        setting: NDArray[np.int64],
        device: str,
    ) -> None:
        self._problem, self._rule, self._which = problem, rule, which
        self._form, self._program = form_of(problem), program(rule)
        self._device = torch.device(device)
        self._kernels = stack_kernels(self._form, rule)
        self._data = _data_of(problem, self._device)
        instances, copies = which.size, problem.copies
        self._settings = self._tensor(np.stack([settings[name] for name in rule.names]), torch.float64)
        self._clocks = torch.ones(
            (len(self._program.clocks), self._settings.shape[1]), dtype=torch.float64, device=self._device
        )
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
        self._alive = torch.arange(instances * copies, dtype=torch.int32, device=self._device)

    def _tensor(self, array: NDArray[np.float64] | NDArray[np.int64], dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device, dtype)

    @property
    def instances(self) -> int:
        """How many instances are left."""
        return self._alive.shape[0] // self._problem.copies

    @property
    def longest(self) -> int:
        """Number of steps that are worth one launch."""
        tokens = self.instances * self._problem.tokens_per_step
        return int(min(_STEPS_AT_ONCE, max(1, _TOKENS_AT_ONCE // max(tokens, 1))))

    def look(self) -> NDArray[np.float64]:
        """Evaluate the unweighted and the optimised loss on all data, (2, E); no step is taken."""
        return on_host(self.gradient()[1]).astype(np.float64)

    def gradient(self) -> tuple[Tensor, Tensor]:
        """Return the gradient on all data that a rule gets, (slots, P), and the unweighted and the optimised loss, (2, E)."""
        rows = self._sequences  # read where steps take mini-batches alone
        if self._form.batched:
            number = int(self._all_sequences.max())
            rows = torch.arange(number, dtype=torch.int32, device=self._device).repeat(self._which.size, 1)
        factors = np.ones(1)
        gradient = torch.empty_like(self.theta)
        clocks = self._clocks.clone()
        losses = self._launch(0, factors, rows, self._all_sequences, self._all_factors, gradient)
        self._clocks = clocks
        return gradient, losses[0]

    def stretch(self, t: int, factors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take steps t, t + 1, ..., one for every factor.

        Args:
            t: the first step.
            factors: the schedule's factors of these steps.

        Returns:
            Unweighted and optimised loss before every step, on the data of that step (its mini-batch), (steps, 2, E).
        """
        rows = self._sequences
        if self._form.batched:
            drawn = [self._problem.batch(t + i) for i in range(factors.size)]
            rows = self._tensor(np.stack([each[self._which] for each in drawn if each is not None]), torch.int32)
        losses = self._launch(t, factors, rows, self._sequences, self._factors, None)
        return on_host(losses).astype(np.float64)

    def _launch(
        self, t: int, factors: NDArray[np.float64], rows: Tensor, sequences: Tensor, weights: Tensor, gradient: Tensor | None
    ) -> Tensor:
        """Take steps, or evaluate one gradient where there is an array for it; return the losses, (steps, 2, E)."""
        table = step_table(
            self._rule, self._kernels, self._settings, self._clocks, self._tensor(factors, torch.float64), torch.float32
        )
        data, programs = self._data, self._alive.shape[0]
        losses = torch.empty((factors.size, 2, programs), device=self._device)
        self._kernels.train_[(programs,)](
            self.theta, self.states, self.theta if gradient is None else gradient, data.scale, data.inputs, data.targets,
            data.weights, data.shares, rows, self._problem_of, self._setting_of, sequences, weights, self._temperature(),
            self._alive, self._settings, table, losses, t, factors.size, self._settings.shape[1], programs,
            self._which.size, data.targets.shape[1], rows.shape[-1], self.theta.numel(), int(gradient is None), 0,
            TILES_=_TILES, PRECISION_=_PRECISION, num_warps=_WARPS, maxnreg=_MAXREG, num_stages=1,
        )  # fmt: skip
        if self._problem.copies == 1:
            return losses
        each = losses.view(factors.size, 2, -1, self._problem.copies)
        return torch.stack([each[:, 0].amax(dim=-1), each[:, 1].sum(dim=-1)], dim=1)

    def _temperature(self) -> Tensor:
        return self._data.temperature[self._problem_of.long()]

    def select(self, chosen: NDArray[np.int64]) -> None:
        """Keep the instances with the indices `chosen` and drop all others; nothing moves in memory."""
        alive = self._alive.view(-1, self._problem.copies)
        self._alive = alive[self._tensor(chosen, torch.int64)].reshape(-1).contiguous()

    def worth_dropping(self, left: int) -> bool:
        """Whether it is worth dropping finished instances when `left` remain: always, as it costs nothing."""
        return left < self.instances
