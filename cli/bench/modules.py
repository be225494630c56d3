"""The toy models as torch.nn.Module objects, one per instance, trained one after the other.

They share no code with the stacks, so the tests compare the stacks with them. They are also a way of the benchmark.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils import parametrize

from quadsim.simulator.models import MLP, Conv, DataShape, Mixer, ResNet, ToyProblem, Transformer
from quadsim.simulator.support.checks import check_count

__all__ = ["ModuleRun", "ToyModule", "flat_gradient", "flat_parameters", "set_parameters", "train_modules"]

Tensor = torch.Tensor


class Features(nn.Linear):
    """The embedding of a vector of numbers; stored transposed, (width, features)."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__(features, width, bias=False)


class Embedding(nn.Module):
    """Token (or feature) plus position embedding: (B, T) or (B, T, F) to (B, T, width)."""

    def __init__(self, shape: DataShape, width: int, features: bool) -> None:
        super().__init__()
        self.embed = Features(shape.inputs, width) if features else nn.Embedding(shape.inputs, width)
        self.pos = nn.Embedding(shape.tokens, width)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return token plus position embedding."""
        out: Tensor = self.embed(inputs) + self.pos.weight
        return out


class TransformerLayer(nn.Module):
    """Attention and a network four times as wide, each with a residual sum."""

    def __init__(self, model: Transformer, causal: bool, temperature: float) -> None:
        super().__init__()
        width = model.width
        self.heads, self.norm, self.causal = model.heads, model.norm, causal
        self.scale = 1.0 / ((width // model.heads) ** 0.5 * temperature)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.o = nn.Linear(width, width, bias=False)
        self.w1 = nn.Linear(width, 4 * width, bias=False)
        self.w2 = nn.Linear(4 * width, width, bias=False)
        if model.norm != "none":
            self.norm1, self.norm2 = (nn.LayerNorm(width, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) to the same."""
        if self.norm == "pre":
            x = x + self.attend(self.norm1(x))
            x = x + self.w2(F.gelu(self.w1(self.norm2(x))))
        elif self.norm == "post":
            x = self.norm1(x + self.attend(x))
            x = self.norm2(x + self.w2(F.gelu(self.w1(x))))
        else:
            x = x + self.attend(x)
            x = x + self.w2(F.gelu(self.w1(x)))
        return x

    def attend(self, x: Tensor) -> Tensor:
        """(B, T, width) to the same."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal, scale=self.scale)
        out: Tensor = self.o(mixed.transpose(1, 2).flatten(2))
        return out


class MixerLayer(nn.Module):
    """A network over the tokens and one over the channels, each four times as wide and with a residual sum."""

    mask: Tensor
    mask_back: Tensor

    def __init__(self, model: Mixer, shape: DataShape) -> None:
        super().__init__()
        width, tokens = model.width, shape.tokens
        self.norm = model.norm
        ahead = torch.ones(tokens, tokens).tril() if shape.causal else torch.ones(tokens, tokens)
        self.register_buffer("mask", torch.kron(ahead, torch.ones(4, 1)))  # of hidden numbers (4 T) and tokens
        self.register_buffer("mask_back", torch.kron(ahead, torch.ones(1, 4)))
        self.t1 = nn.Linear(tokens, 4 * tokens, bias=False)
        self.t2 = nn.Linear(4 * tokens, tokens, bias=False)
        self.w1 = nn.Linear(width, 4 * width, bias=False)
        self.w2 = nn.Linear(4 * width, width, bias=False)
        if model.norm != "none":
            self.norm1, self.norm2 = (nn.LayerNorm(width, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) to the same."""
        if self.norm == "pre":
            x = x + self.mix(self.norm1(x))
            x = x + self.w2(F.gelu(self.w1(self.norm2(x))))
        elif self.norm == "post":
            x = self.norm1(x + self.mix(x))
            x = self.norm2(x + self.w2(F.gelu(self.w1(x))))
        else:
            x = x + self.mix(x)
            x = x + self.w2(F.gelu(self.w1(x)))
        return x

    def mix(self, x: Tensor) -> Tensor:
        """(B, T, width) to the same, position by position."""
        hidden = F.gelu(torch.einsum("ht,btc->bhc", self.t1.weight * self.mask, x))
        return torch.einsum("th,bhc->btc", self.t2.weight * self.mask_back, hidden)


class ResidualModule(nn.Module):
    """The body of a Transformer or of a Mixer."""

    def __init__(self, model: Transformer | Mixer, shape: DataShape, features: bool, temperature: float) -> None:
        super().__init__()
        self.readout = shape.readout
        self.embedding = Embedding(shape, model.width, features)
        layers: list[nn.Module]
        if isinstance(model, Mixer):
            layers = [MixerLayer(model, shape) for _ in range(model.layers)]
        else:
            layers = [TransformerLayer(model, shape.causal, temperature) for _ in range(model.layers)]
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(model.width, bias=False) if model.norm == "pre" else nn.Identity()
        self.head = nn.Linear(model.width, shape.classes, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Token ids (B, T), or features (B, T, F), to logits (B, R, C)."""
        out: Tensor = self.head(read_out(self.norm(self.layers(self.embedding(inputs))), self.readout))
        return out

    def in_order(self) -> Iterator[nn.Module]:
        """Return all layers with a weight, in the order in which a stack stores the weights."""
        return (layer for layer in self.modules() if isinstance(layer, nn.Embedding | nn.Linear | nn.LayerNorm))


class PlainModule(nn.Module):
    """The body of an MLP or of a convolution network: layers without residual sums."""

    def __init__(self, model: MLP | Conv, shape: DataShape, features: bool) -> None:
        super().__init__()
        self.norm, self.readout, width = model.norm, shape.readout, model.width
        self.activation = {"gelu": nn.GELU(), "relu": nn.ReLU()}[model.activation]
        embedded = isinstance(model, Conv) or model.embedded
        self.embedding = Embedding(shape, width, features) if embedded else None
        self.one_hot = 0 if features or embedded else shape.inputs
        into = [width] * model.layers  # of every layer
        layers: list[nn.Module]
        if isinstance(model, Conv):
            layers = [Convolution(model, shape) for _ in into]
        else:
            into[0] = width if embedded else shape.inputs
            if shape.readout != "every":  # the tokens of a sequence, end to end, are one input
                into[0], self.readout = into[0] * shape.tokens, "flat"
            layers = [nn.Linear(n, width, bias=False) for n in into]
        norms = {"none": [], "pre": into}.get(model.norm, [width] * model.layers)
        self.layers = nn.ModuleList(layers)
        make = BatchNorm if model.norm == "batch" else partial(nn.LayerNorm, bias=False)
        self.norms = nn.ModuleList(make(n) for n in norms)
        self.head = nn.Linear(width, shape.classes, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """See ResidualModule."""
        x = F.one_hot(inputs, self.one_hot).to(self.head.weight.dtype) if self.one_hot else inputs
        if self.embedding is not None:
            x = self.embedding(inputs)
        if self.readout == "flat":
            x = x.flatten(1)[:, None]
        for i, layer in enumerate(self.layers):
            if self.norm == "pre":
                x = self.norms[i](x)
            x = layer(x)
            if self.norm == "batch":
                x = self.norms[i](x)
            x = self.activation(x)
            if self.norm == "post":
                x = self.norms[i](x)
        out: Tensor = self.head(read_out(x, self.readout))
        return out

    def in_order(self) -> Iterator[nn.Module]:
        """See ResidualModule."""
        if self.embedding is not None:
            yield from (self.embedding.embed, self.embedding.pos)
        for i, layer in enumerate(self.layers):
            yield from (getattr(layer, "kernel", layer), *self.norms[i : i + 1])
        yield self.head


class Convolution(nn.Module):
    """A convolution over tokens (B, T, width), or over the square image that they form, with zeros beyond the ends."""

    def __init__(self, model: Conv | ResNet, shape: DataShape) -> None:
        super().__init__()
        width, kernel = model.width, model.kernel
        before = kernel - 1 if shape.causal else kernel // 2
        self.padding = (before, kernel - 1 - before) * model.dimensions
        self.sides = (math.isqrt(shape.tokens),) * 2 if model.dimensions == 2 else (shape.tokens,)
        self.kernel = (nn.Conv2d if model.dimensions == 2 else nn.Conv1d)(width, width, kernel, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) to the same."""
        image = x.mT.reshape(x.shape[0], x.shape[2], *self.sides)
        out: Tensor = self.kernel(F.pad(image, self.padding)).flatten(2).mT
        return out


class BatchNorm(nn.BatchNorm1d):
    """Torch's batch norm of the channels of (B, T, width) by the statistics of the batch, whose bias stays 0."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) to the same."""
        return super().forward(x.mT).mT


class ResNetModule(nn.Module):
    """Basic blocks of two convolutions with residual sums."""

    def __init__(self, model: ResNet, shape: DataShape, features: bool) -> None:
        super().__init__()
        self.readout, number = shape.readout, 2 * model.layers
        self.activation = {"gelu": nn.GELU(), "relu": nn.ReLU()}[model.activation]
        self.embedding = Embedding(shape, model.width, features)
        self.layers = nn.ModuleList(Convolution(model, shape) for _ in range(number))
        norms = number if model.norm == "batch" else 0
        self.norms = nn.ModuleList(BatchNorm(model.width) for _ in range(norms))
        self.head = nn.Linear(model.width, shape.classes, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """See ResidualModule."""
        x = self.embedding(inputs)
        for i in range(0, len(self.layers), 2):
            x = self.activation(x + self._convolve(i + 1, self.activation(self._convolve(i, x))))
        out: Tensor = self.head(read_out(x, self.readout))
        return out

    def _convolve(self, i: int, x: Tensor) -> Tensor:
        out: Tensor = self.layers[i](x)
        return self.norms[i](out) if self.norms else out

    def in_order(self) -> Iterator[nn.Module]:
        """See ResidualModule."""
        yield from (self.embedding.embed, self.embedding.pos)
        for i, layer in enumerate(self.layers):
            yield from (layer.kernel, *self.norms[i : i + 1])
        yield self.head


def read_out(x: Tensor, readout: str) -> Tensor:
    """(B, T, width) to (B, R, width)."""
    if readout == "last":
        return x[:, -1:]
    return x.mean(dim=1, keepdim=True) if readout == "mean" else x


class ToyModule(nn.Module):
    """One problem of a batch: its copies of the model at the start, its data (as buffers), and both its losses.

    Args:
        problem: the batch.
        number: index of the problem in the batch.
        dtype: number type.
    """

    inputs: Tensor
    targets: Tensor
    weights: Tensor
    share: Tensor
    copy_weights: Tensor

    def __init__(self, problem: ToyProblem, number: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        data, n = problem.data, int(problem.sequences[number])

        def keep(name: str, array: NDArray[Any]) -> None:
            values = torch.tensor(array)
            self.register_buffer(name, values.to(dtype) if values.is_floating_point() else values)

        for name, array in (("inputs", data.inputs), ("targets", data.targets), ("share", data.share)):
            keep(name, array[number, :n])
        keep("weights", problem.weights[number, :n])
        keep("copy_weights", problem.copy_weights[number])
        temperature = float(problem.heterogeneity[number]) if problem.dial == "temperature" else 1.0
        model, shape, features = problem.model, problem.task.shape, self.inputs.is_floating_point()

        def body() -> nn.Module:
            if isinstance(model, Transformer | Mixer):
                return ResidualModule(model, shape, features, temperature)
            if isinstance(model, MLP | Conv):
                return PlainModule(model, shape, features)
            if isinstance(model, ResNet):
                return ResNetModule(model, shape, features)
            raise ValueError(
                f"model must have torch modules in cli/bench/modules.py, got {model.name}; write them and name them in ToyModule."
            )

        self.loss = problem.loss
        self.copies = nn.ModuleList(body() for _ in range(problem.copies)).to(dtype)
        if problem.block_scales is not None:
            at = 0
            for layer in _layers(self):
                size = _weight(layer).numel()
                _reparametrise(
                    layer, torch.tensor(problem.block_scales[number, at : at + size], dtype=dtype), problem.mode
                )
                at += size
        set_parameters(self, problem.start[number])

    def losses(self, sequences: NDArray[np.int64] | None = None) -> tuple[Tensor, Tensor]:
        """Return the optimised and the unweighted loss, on all sequences or on those with the given indices, (b,)."""
        at = slice(None) if sequences is None else torch.from_numpy(sequences).to(self.inputs.device)
        inputs, targets, weights, share = (x[at] for x in (self.inputs, self.targets, self.weights, self.share))
        factor = self.inputs.shape[0] / inputs.shape[0]
        weighted, unweighted = [], []
        for copy in self.copies:
            logits = copy(inputs).flatten(0, 1)
            if self.loss == "mse":
                wanted = torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device)[targets.flatten()]
                each = F.mse_loss(logits, wanted, reduction="none").sum(dim=1).view(targets.shape) / 2
            else:
                each = F.cross_entropy(logits, targets.flatten(), reduction="none").view(targets.shape)
            weighted.append((each * weights).sum() * factor)
            unweighted.append((each * share).sum() * factor)
        return (torch.stack(weighted) * self.copy_weights).mean(), torch.stack(unweighted).max()

    def values(self) -> Tensor:
        """Return both losses on all sequences, (2,), without a graph of derivatives."""
        with torch.no_grad():
            return torch.stack(self.losses())


class _Scaled(nn.Module):
    scale: Tensor

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)

    def forward(self, phi: Tensor) -> Tensor:
        return self.scale * phi


def _reparametrise(layer: nn.Module, scales: Tensor, mode: str) -> None:
    """Reparametrise a layer by the scales of its coordinates, which are in the order of a stack."""
    weight = _weight(layer)
    scale = torch.empty_like(weight.detach())
    place = _as_stacked(layer, scale)
    place.copy_(scales.view(place.shape))
    if mode == "parameter":
        parametrize.register_parametrization(layer, "weight", _Scaled(scale))
    else:
        _weight(layer).register_hook(lambda gradient: gradient * scale**2)  # type: ignore[no-untyped-call]


def _layers(module: ToyModule) -> list[nn.Module]:
    """Return all layers with a weight, copy by copy, in the order of a stack."""
    return [layer for copy in module.copies for layer in copy.in_order()]  # type: ignore[operator]


def _weight(layer: nn.Module) -> nn.Parameter:
    """Return the parameter that is trained; for a reparametrised layer it is phi."""
    weight: Any = layer.parametrizations["weight"] if parametrize.is_parametrized(layer) else layer  # type: ignore[index]
    weight = weight.original if isinstance(weight, parametrize.ParametrizationList) else weight.weight
    assert isinstance(weight, nn.Parameter)
    return weight


def _as_stacked(layer: nn.Module, values: Tensor) -> Tensor:
    """Return a view of a tensor that is shaped as the weight of a layer, with its axes in the order of a stack."""
    if isinstance(layer, nn.Conv1d | nn.Conv2d):  # (out, channel, places) to (out, places, channel)
        return values.movedim(1, -1)
    return values.T if isinstance(layer, Features) else values


def set_parameters(module: ToyModule, theta: NDArray[np.float64]) -> None:
    """Copy the parameters of one instance, (P,), into its module."""
    at = 0
    with torch.no_grad():
        for layer in _layers(module):
            place = _as_stacked(layer, _weight(layer))
            place.copy_(torch.from_numpy(theta[at : at + place.numel()]).view(place.shape))
            at += place.numel()


def flat_parameters(module: ToyModule) -> NDArray[np.float64]:
    """Return the parameters in the order of a stack, (P,)."""
    parts = [_as_stacked(layer, _weight(layer).detach()).reshape(-1) for layer in _layers(module)]
    return torch.cat(parts).double().cpu().numpy()


def flat_gradient(module: ToyModule) -> NDArray[np.float64]:
    """Return the gradient that `backward` stored in the parameters, (P,)."""
    parts = []
    for layer in _layers(module):
        gradient = _weight(layer).grad
        assert gradient is not None
        parts.append(_as_stacked(layer, gradient).reshape(-1))
    return torch.cat(parts).double().cpu().numpy()


@dataclass(frozen=True, eq=False)
class ModuleRun:
    """The result of training M problems one by one.

    Attributes:
        steps: steps at which the losses were evaluated, ascending, (R,).
        loss: the unweighted loss on all data, (M, R).
        loss_weighted: the loss that was optimised, likewise.
        theta: the parameters after the last step, (M, P).
    """

    steps: NDArray[np.int64]
    loss: NDArray[np.float64]
    loss_weighted: NDArray[np.float64]
    theta: NDArray[np.float64]


def train_modules(
    problem: ToyProblem,
    optimizer_class: type[torch.optim.Optimizer],
    lr: float,
    steps: int,
    *,
    evaluate_every: int = 10,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    **options: Any,
) -> ModuleRun:
    """Train every problem with an optimizer of torch: a Python loop over problems, and one over steps within.

    Without mini-batches every step uses all data, and its losses are recorded. With mini-batches the steps use those of
    `problem.batch`, and the losses on all data are evaluated every `evaluate_every` steps and after the last step.

    Args:
        problem: M problems.
        optimizer_class: a class of torch.optim, as torch.optim.Adam.
        lr: learning rate.
        steps: number of steps.
        evaluate_every: with mini-batches, number of steps between two evaluations on all data.
        dtype: torch.float32 or torch.float64.
        device: device of all tensors.
        **options: further arguments of the optimizer, as `betas`.

    Raises:
        ValueError: a number of steps below 1.
    """
    steps, every = check_count("steps", steps), check_count("evaluate_every", evaluate_every)
    every = 1 if problem.task.batch is None else every
    looks = [t for t in range(steps + 1) if t % every == 0 or t == steps]
    losses: list[list[Tensor]] = []  # read at the end: to wait for a GPU after every step would slow it down
    theta = np.empty((problem.problems, problem.dimension))
    for number in range(problem.problems):
        module = ToyModule(problem, number, dtype).to(device)
        alone = problem if problem.task.batch is None else problem.select([number])
        optimizer = optimizer_class(module.parameters(), lr=lr, **options)  # type: ignore[call-arg]
        seen = []
        for t in range(steps):
            sequences = alone.batch(t)
            if sequences is not None and t % every == 0:
                seen.append(module.values())
            optimizer.zero_grad()
            weighted, unweighted = module.losses(None if sequences is None else sequences[0])
            weighted.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if sequences is None:
                seen.append(torch.stack([weighted.detach(), unweighted.detach()]))
        losses.append([*seen, module.values()])
        theta[number] = flat_parameters(module)
    found = torch.stack([torch.stack(seen, dim=1) for seen in losses]).double().cpu().numpy()
    return ModuleRun(np.array(looks), found[:, 1], found[:, 0], theta)
