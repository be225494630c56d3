"""Convolution networks, plain and with residual sums: controls without attention, but with weights shared over positions."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from quadsim.simulator.models.base import (
    DataShape,
    Model,
    Parameter,
    Tensor,
    Weights,
    activate,
    check_sizes,
    embed,
    embedding,
    gain,
    head,
    linear,
    matrix,
    normalise,
    normalise_batch,
    read,
)

__all__ = ["Conv", "ResNet"]


class _Convolutions(Model):
    """What both networks share: the convolution, in one dimension or two, and where a norm stands."""

    width: int
    layers: int
    kernel: int
    norm: str
    activation: str
    dimensions: int

    def __post_init__(self) -> None:
        check_sizes(self, "width", "layers", "kernel")
        if self.dimensions not in (1, 2):
            raise ValueError(f"dimensions must be 1 or 2, got {self.dimensions!r}; give one of these.")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}; give {self.kernel + 1}.")

    @property
    def reads_batch(self) -> bool:
        """See `Model`: with batch norm."""
        return self.norm == "batch"

    def parameters(self, shape: DataShape) -> tuple[Parameter, ...]:
        """Return embedding, one kernel per convolution as a matrix (width, kernel^dimensions width), gains and head.

        Raises:
            ValueError: two dimensions for tokens that form no square image, or in a causal task.
        """
        if self.dimensions == 2 and (shape.causal or math.isqrt(shape.tokens) ** 2 != shape.tokens):
            raise ValueError(
                "dimensions of a convolution network must be 1 unless the tokens of the task form a square image, got 2 for "
                f"{shape.tokens} tokens; use digits, or one dimension."
            )
        return (*embedding(shape, self.width), *self._layers(), head(shape, self.width))

    @abstractmethod
    def _layers(self) -> Iterator[Parameter]:
        """Yield the parameters of all layers."""

    def _convolution(self, name: str, layer: str, *, ends_branch: bool = False) -> Iterator[Parameter]:
        """Yield a kernel and the gain of its norm, if there is one; `name` is empty in a layer of one convolution."""
        into = self.kernel**self.dimensions * self.width
        yield matrix(f"{layer}.w{name}", self.width, into, layer, ends_branch=ends_branch)
        if self.norm != "none":
            yield gain(f"{layer}.norm{name}", self.width, layer)

    def _convolve(self, x: Tensor, weight: Tensor, shape: DataShape) -> Tensor:
        """Return the convolution of activations (E, B T, width); beyond the ends are zeros."""
        return linear(self._windows(x, shape), weight)

    def _windows(self, x: Tensor, shape: DataShape) -> Tensor:
        """Return each token together with its neighbours, in the order of positions: (E, B T, kernel^dimensions width)."""
        instances, tokens, width = x.shape
        if self.dimensions == 2:
            side, reach = math.isqrt(shape.tokens), self.kernel // 2
            image = F.pad(x.view(instances, -1, side, side, width), (0, 0, reach, reach, reach, reach))
            places = [(i, j) for i in range(self.kernel) for j in range(self.kernel)]
            shifted = [image[:, :, i : i + side, j : j + side] for i, j in places]
        else:
            before = self.kernel - 1 if shape.causal else self.kernel // 2
            padded = F.pad(x.view(instances, -1, shape.tokens, width), (0, 0, before, self.kernel - 1 - before))
            shifted = [padded[:, :, i : i + shape.tokens] for i in range(self.kernel)]
        return torch.cat(shifted, dim=-1).view(instances, tokens, len(shifted) * width)


@dataclass(frozen=True)
class Conv(_Convolutions):
    """A convolution network: embedding, L layers (a convolution and an activation each), head; no residuals, no biases.

    The output at a token depends on the token and its neighbours (zeros beyond the ends); in a causal task on itself and
    earlier tokens.

    Attributes:
        width: d, number of channels of every layer.
        layers: L, number of layers.
        kernel: number of tokens that a convolution covers, in each dimension; odd.
        norm: `pre` (a layer norm over the channels before each convolution), `post` (after each activation), `batch` (a batch
            norm between convolution and activation, as in VGG; an answer then depends on all sequences of the batch) or `none`.
        activation: `gelu` or `relu`.
        dimensions: 1 (the tokens are a sequence) or 2 (they are the patches of a square image, row by row).

    Raises:
        ValueError: a value out of range, or two dimensions for tokens that form no square image.
    """

    name: ClassVar[str] = "conv"
    norms: ClassVar[tuple[str, ...]] = ("pre", "post", "batch", "none")

    width: int = 16
    layers: int = 2
    kernel: int = 3
    norm: str = "none"
    activation: str = "gelu"
    dimensions: int = 1

    def _layers(self) -> Iterator[Parameter]:
        for i in range(self.layers):
            yield from self._convolution("", f"layer{i}")

    def logits(
        self,
        weights: Weights,
        inputs: Tensor,
        shape: DataShape,
        temperature: Tensor | None = None,
        counted: Tensor | None = None,
    ) -> Tensor:
        """See `Model.logits`."""
        x = embed(weights, inputs)
        for i in range(self.layers):
            if self.norm == "pre":
                x = normalise(x, weights[f"layer{i}.norm"])
            x = self._convolve(x, weights[f"layer{i}.w"], shape)
            if counted is not None:
                x = normalise_batch(x, weights[f"layer{i}.norm"], counted)
            x = activate(x, self.activation)
            if self.norm == "post":
                x = normalise(x, weights[f"layer{i}.norm"])
        return read(x, weights, shape)


@dataclass(frozen=True)
class ResNet(_Convolutions):
    """A small ResNet (He et al., arXiv 1512.03385): embedding, L basic blocks, head; no biases.

    A basic block has a convolution, a norm and an activation, and a second convolution and norm, whose output is added to the
    input of the block; the activation of the sum is the output of the block. Width and image size are the same everywhere.

    Attributes:
        width: d, number of channels.
        layers: L, number of basic blocks, of two convolutions each.
        kernel: as in Conv.
        norm: `batch` (an answer then depends on all sequences of the batch) or `none`.
        activation: `gelu` or `relu`.
        dimensions: as in Conv.

    Raises:
        ValueError: a value out of range, or two dimensions for tokens that form no square image.
    """

    name: ClassVar[str] = "resnet"
    norms: ClassVar[tuple[str, ...]] = ("batch", "none")

    width: int = 16
    layers: int = 2
    kernel: int = 3
    norm: str = "batch"
    activation: str = "relu"
    dimensions: int = 1

    def _layers(self) -> Iterator[Parameter]:
        for i in range(self.layers):
            yield from self._convolution("1", f"layer{i}")
            yield from self._convolution("2", f"layer{i}", ends_branch=True)

    def logits(
        self,
        weights: Weights,
        inputs: Tensor,
        shape: DataShape,
        temperature: Tensor | None = None,
        counted: Tensor | None = None,
    ) -> Tensor:
        """See `Model.logits`."""
        x = embed(weights, inputs)
        for i in range(self.layers):
            branch = x
            for name in "12":
                branch = self._convolve(branch, weights[f"layer{i}.w{name}"], shape)
                if counted is not None:
                    branch = normalise_batch(branch, weights[f"layer{i}.norm{name}"], counted)
                if name == "1":
                    branch = activate(branch, self.activation)
            x = activate(x + branch, self.activation)
        return read(x, weights, shape)
