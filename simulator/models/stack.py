"""Stack: instances of a toy problem as tensors, with their losses and gradients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from quadsim.simulator.models.base import ALIGNED, Tensor
from quadsim.simulator.support.torch_modes import own_modes

if TYPE_CHECKING:
    from quadsim.simulator.models.problem import ToyProblem

__all__ = ["Losses", "Stack"]


@dataclass(frozen=True, eq=False)
class Stack:
    """E instances of a problem: data, and the losses at any parameters theta, (E, P).

    N is a multiple of ALIGNED: the data are padded with sequences of weight 0.

    Attributes:
        problem: the batch of problems.
        which: index of the problem of every instance, (E,).
        inputs: token ids (E, N, T), or features (E, N, T, F).
        targets: classes, (E, N, R).
        weights: weight of every answer in the optimised loss, (E, N, R).
        share: weight of every answer in the unweighted loss, (E, N, R).
        sequences: number of sequences without the padding, (E,).
        counted: 1 for a sequence that counts in means over the batch (batch norm), 0 for padding, (E, N).
        copy_weights: weight of every copy in the optimised loss, (E, copies).
        temperature: divisor of the attention scores, (E,), or None.
        scale: s_b of every coordinate, (E, P), or None.
    """

    problem: "ToyProblem"
    which: NDArray[np.int64]
    inputs: Tensor
    targets: Tensor
    weights: Tensor
    share: Tensor
    sequences: Tensor
    counted: Tensor
    copy_weights: Tensor
    temperature: Tensor | None
    scale: Tensor | None

    @classmethod
    @own_modes()
    def of(cls, problem: "ToyProblem", which: NDArray[np.int64], dtype: torch.dtype, device: str) -> "Stack":
        """See `ToyProblem.stack`."""
        sequences = problem.sequences[which]
        row = np.arange(-(-sequences.max(initial=1) // ALIGNED) * ALIGNED)
        counted = row < sequences[:, None]
        at = which[:, None], np.where(counted, row, 0)
        data = problem.data
        weights = problem.weights[at] * counted[:, :, None]
        share = data.share[at] * counted[:, :, None]
        return cls._on(
            problem, which, (data.inputs[at], data.targets[at], weights, share, sequences, counted), dtype, device
        )

    @classmethod
    @own_modes()
    def of_test(cls, problem: "ToyProblem", which: NDArray[np.int64], dtype: torch.dtype, device: str) -> "Stack":
        """See `ToyProblem.test_stack`.

        With batch norm the training data are in the stack too, with the weight 0: they alone give mean and variance, as running
        means do in a network that is tested.
        """
        test = problem.test_data
        assert test is not None
        inputs, targets, share = (getattr(test, name)[which] for name in ("inputs", "targets", "share"))
        counted = np.ones(targets.shape[:2])
        if problem.model.reads_batch:
            data = problem.data
            inputs = np.concatenate([data.inputs[which], inputs], axis=1)
            targets = np.concatenate([data.targets[which], targets], axis=1)
            share = np.concatenate([0.0 * data.share[which], share], axis=1)
            counted = np.concatenate([data.share[which][:, :, 0] > 0.0, 0.0 * counted], axis=1)
        more = -targets.shape[1] % ALIGNED
        sequences = np.full(which.size, targets.shape[1])
        inputs, targets, share, counted = (_longer(x, more) for x in (inputs, targets, share, counted))
        share[:, targets.shape[1] - more :] = 0.0
        counted[:, targets.shape[1] - more :] = 0.0
        return cls._on(problem, which, (inputs, targets, share, share, sequences, counted), dtype, device)

    @classmethod
    def _on(
        cls,
        problem: "ToyProblem",
        which: NDArray[np.int64],
        arrays: tuple[NDArray[Any], ...],
        dtype: torch.dtype,
        device: str,
    ) -> "Stack":
        """Return a stack with inputs, targets, weights, share, sequences and counted from these arrays, (E, ...) each."""

        def tensor(array: NDArray[Any]) -> Tensor:
            # A copy: torch's memory begins at a multiple of 64 bytes, numpy's need not.
            return torch.tensor(array, device=device, dtype=dtype if array.dtype.kind == "f" else torch.int64)

        inputs, targets, weights, share, sequences, counted = arrays
        return cls(
            problem=problem,
            which=which,
            inputs=tensor(inputs),
            targets=tensor(targets),
            weights=tensor(weights),
            share=tensor(share),
            sequences=tensor(sequences.astype(np.float64)),
            counted=tensor(counted.astype(np.float64)),
            copy_weights=tensor(problem.copy_weights[which]),
            temperature=tensor(problem.heterogeneity[which]) if problem.dial == "temperature" else None,
            scale=None if problem.block_scales is None else tensor(problem.block_scales[which]),
        )

    @property
    def instances(self) -> int:
        """E, the number of instances."""
        return self.targets.shape[0]  # of a tensor: torch.compile takes a number of NumPy for a constant

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Name to tensor of every attribute that is one, (E, ...) each."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}

    @own_modes()
    def start(self) -> Tensor:
        """Return the parameters at the start, (E, P)."""
        return torch.tensor(self.problem.start[self.which], device=self.weights.device, dtype=self.weights.dtype)

    @own_modes()
    def rows(self, sequences: Tensor) -> "Stack":
        """Return the same instances with some of their sequences, (E, b); the optimised loss is unbiased for that on all data."""
        number = sequences.shape[1]
        sequences = F.pad(sequences, (0, -number % ALIGNED))
        at = torch.arange(self.instances, device=sequences.device)[:, None], sequences
        factor = (self.sequences / number)[:, None, None].expand(-1, number, -1)
        factor = F.pad(factor, (0, 0, 0, -number % ALIGNED))  # those filled up with are not counted
        return replace(
            self,
            inputs=self.inputs[at],
            targets=self.targets[at],
            weights=self.weights[at] * factor,
            share=self.share[at] * factor,
            counted=self.counted[at] * (factor[:, :, 0] > 0.0),
        )

    @own_modes()
    def select(self, instances: Tensor) -> "Stack":
        """Return the stack of the instances at these positions."""
        chosen: dict[str, Any] = {name: tensor[instances] for name, tensor in self.tensors.items()}
        return replace(self, which=self.which[instances.cpu().numpy()], **chosen)

    def losses(self, theta: "Tensor | Sequence[Tensor]") -> tuple[Tensor, Tensor]:
        """Return the optimised and the unweighted loss of every instance, (E,) each; differentiable in theta, see `logits`.

        With several copies the unweighted loss is the largest of theirs: a problem is solved when every copy is.
        """
        each = self.answer_losses(theta)
        weighted = ((each * self.weights[:, None]).sum(dim=(2, 3)) * self.copy_weights).sum(dim=1) / each.shape[1]
        return weighted, (each * self.share[:, None]).sum(dim=(2, 3)).amax(dim=1)

    def answer_losses(self, theta: "Tensor | Sequence[Tensor]") -> Tensor:
        """Return the loss of every answer, (E, copies, N, R): see `problem.LOSSES`."""
        logits = self.logits(theta)
        instances, copies, batch, answers, classes = logits.shape
        targets = self.targets[:, None].expand(-1, copies, -1, -1).reshape(-1)
        flat = logits.reshape(-1, classes)
        if self.problem.loss == "mse":
            each = (flat - F.one_hot(targets, classes)).square().sum(dim=1) / 2
        else:
            each = F.cross_entropy(flat, targets, reduction="none")
        return each.view(instances, copies, batch, answers)

    def accuracy(self, theta: Tensor) -> Tensor:
        """Return the share of the answers that are right, of the worst copy, (E,); answers count as in the unweighted loss."""
        right = self.logits(theta).argmax(dim=-1) == self.targets[:, None]
        return (right * self.share[:, None]).sum(dim=(2, 3)).amin(dim=1)

    def logits(self, theta: "Tensor | Sequence[Tensor]") -> Tensor:
        """Return the logits, (E, copies, N, R, C).

        Args:
            theta: parameters, (E, P); or, of a model in one copy, its tensors, (E, P_i) each in the order of
                `problem.parameters`: of those that need no gradient none is then computed.
        """
        problem, copies, instances = self.problem, self.problem.copies, self.instances
        sizes = [p.size for p in problem.parameters]
        scale = self.scale if problem.mode == "parameter" else None
        values: Sequence[Tensor]
        if isinstance(theta, Tensor):
            flat = theta if scale is None else theta * scale
            values = torch.split(flat.reshape(instances * copies, -1), sizes, dim=1)
            if any(size % ALIGNED for size in sizes):
                values = tuple(v.clone() for v in values)
        else:
            values = (
                theta
                if scale is None
                else [v * s for v, s in zip(theta, torch.split(scale, sizes, dim=1), strict=True)]
            )
        named = {p.name: v.reshape(-1, *p.shape) for p, v in zip(problem.parameters, values, strict=True)}
        inputs, temperature = self.inputs, self.temperature
        if copies > 1:
            inputs = inputs.repeat_interleave(copies, dim=0)
            temperature = None if temperature is None else temperature.repeat_interleave(copies)
        extra = {}
        if problem.model.reads_batch:
            extra["counted"] = self.counted if copies == 1 else self.counted.repeat_interleave(copies, dim=0)
        logits = problem.model.logits(named, inputs, problem.task.shape, temperature, **extra)
        return logits.view(instances, copies, *logits.shape[1:])

    @own_modes()
    def gradient(self, theta: Tensor, losses: "Losses | None" = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradient that a rule gets, (E, P), with the optimised and the unweighted loss, (E,) each.

        One call of autograd on the sum over instances gives every instance its own gradient, as instances share no parameter.

        Args:
            theta: parameters, (E, P).
            losses: function with the result of `Stack.losses`, for example its compiled form.
        """
        # A tensor of inference mode can never be differentiated at, a copy of it can.
        theta = (theta.clone() if theta.is_inference() else theta.detach()).requires_grad_()
        weighted, unweighted = self.losses(theta) if losses is None else losses(self, theta)
        (gradient,) = torch.autograd.grad(weighted.sum(), theta)
        if self.scale is not None and self.problem.mode == "gradient":
            gradient = gradient * self.scale**2
        return gradient, weighted.detach(), unweighted.detach()

    @property
    def splits(self) -> bool:
        """Whether `gradients` can be called: one copy, no dial on scales, and parameters that begin at aligned addresses."""
        aligned = all(p.size % ALIGNED == 0 for p in self.problem.parameters)
        return aligned and self.problem.copies == 1 and self.scale is None

    @own_modes()
    def gradients(self, theta: Tensor, losses: "Losses") -> tuple[list[Tensor], Tensor, Tensor]:
        """Return the same as `gradient`, but the gradient by parameter, (E, P_i) each: nothing is copied into one array."""
        parts = torch.split(theta.detach(), [p.size for p in self.problem.parameters], dim=1)
        leaves = [part.detach().requires_grad_() for part in parts]
        weighted, unweighted = losses(self, leaves)
        found = torch.autograd.grad(weighted.sum(), leaves, materialize_grads=True)
        return list(found), weighted.detach(), unweighted.detach()


Losses = Callable[[Stack, "Tensor | Sequence[Tensor]"], tuple[Tensor, Tensor]]


def _longer(array: NDArray[Any], more: int) -> NDArray[Any]:
    """Repeat the first sequence of every instance `more` times at the end, (E, N, ...) to (E, N + more, ...)."""
    return np.concatenate([array, np.repeat(array[:, :1], more, axis=1)], axis=1)
