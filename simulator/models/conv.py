"""A one-dimensional convolution network: the control without attention, but with weights shared over positions."""

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
    check_sizes,
    embed,
    embedding,
    gain,
    head,
    linear,
    matrix,
    normalise,
    read,
)

__all__ = ["Conv"]


@dataclass(frozen=True)
class Conv(Model):
    """A convolution network: embedding, L layers (a convolution over the tokens and a GELU each), head; no residuals, no biases.

    The output at a token depends on the token and its neighbours (zeros beyond the ends); in a causal task on itself and
    earlier tokens.

    Attributes:
        width: d, number of channels of every layer.
        layers: L, number of layers.
        kernel: number of tokens that a convolution covers; odd.
        norm: `pre` (a layer norm over the channels before each convolution), `post` (after each GELU) or `none`.

    Raises:
        ValueError: a value out of range.
    """

    name: ClassVar[str] = "conv"

    width: int = 16
    layers: int = 2
    kernel: int = 3
    norm: str = "none"

    def __post_init__(self) -> None:
        check_sizes(self, "width", "layers", "kernel")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}; give {self.kernel + 1}.")

    def parameters(self, shape: DataShape) -> tuple[Parameter, ...]:
        """Return embedding, one kernel per layer as a matrix (width, kernel * width), gains and head."""
        return tuple(self._parameters(shape))

    def _parameters(self, shape: DataShape) -> Iterator[Parameter]:
        yield from embedding(shape, self.width)
        for i in range(self.layers):
            layer = f"layer{i}"
            yield matrix(f"{layer}.w", self.width, self.kernel * self.width, layer)
            if self.norm != "none":
                yield gain(f"{layer}.norm", self.width, layer)
        yield head(shape, self.width)

    def logits(self, weights: Weights, inputs: Tensor, shape: DataShape, temperature: Tensor | None = None) -> Tensor:
        """See `Model.logits`."""
        x = embed(weights, inputs)
        for i in range(self.layers):
            if self.norm == "pre":
                x = normalise(x, weights[f"layer{i}.norm"])
            x = F.gelu(linear(self._windows(x, shape), weights[f"layer{i}.w"]))
            if self.norm == "post":
                x = normalise(x, weights[f"layer{i}.norm"])
        return read(x, weights, shape)

    def _windows(self, x: Tensor, shape: DataShape) -> Tensor:
        """Return each token together with its neighbours, in the order of positions: (E, B T, kernel * width)."""
        instances, tokens, width = x.shape
        before = self.kernel - 1 if shape.causal else self.kernel // 2
        padded = F.pad(x.view(instances, -1, shape.tokens, width), (0, 0, before, self.kernel - 1 - before))
        shifted = [padded[:, :, i : i + shape.tokens] for i in range(self.kernel)]
        return torch.cat(shifted, dim=-1).view(instances, tokens, self.kernel * width)
