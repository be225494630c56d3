"""A small MLP-Mixer: residual branches as in a Transformer, with a network over positions instead of attention."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

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
    matrix,
    network,
    normalise,
    read,
)

__all__ = ["HIDDEN", "Mixer"]

HIDDEN = 4
"""Hidden width of both networks, as a multiple of their input width."""


@dataclass(frozen=True)
class Mixer(Model):
    """An MLP-Mixer (Tolstikhin et al., arXiv 2105.01601): embedding, L layers, head.

    A layer has a GELU network over the tokens and one over the channels.

    The hidden width of both networks is four times their input width. The network over tokens is the same for every channel. In a
    causal task each of its hidden units belongs to a token and reads this token and earlier ones; each output token reads the
    hidden units of itself and of earlier tokens. Masked entries of its matrices have the gradient 0. No biases.

    Attributes:
        width: d, number of channels.
        layers: L, number of layers.
        norm: `pre` (norm inside each branch, and one before the head, as published), `post` (after each residual sum) or `none`.

    Raises:
        ValueError: a value out of range.
    """

    name: ClassVar[str] = "mixer"

    width: int = 16
    layers: int = 2
    norm: str = "pre"

    def __post_init__(self) -> None:
        check_sizes(self, "width", "layers")

    def parameters(self, shape: DataShape) -> tuple[Parameter, ...]:
        """Return embedding, t1, t2 (over tokens), w1, w2 (over channels) of every layer, gains and head."""
        return tuple(self._parameters(shape))

    def _parameters(self, shape: DataShape) -> Iterator[Parameter]:
        yield from embedding(shape, self.width)
        for i in range(self.layers):
            layer = f"layer{i}"
            for name, size in (("t", shape.tokens), ("w", self.width)):
                yield matrix(f"{layer}.{name}1", HIDDEN * size, size, layer)
                yield matrix(f"{layer}.{name}2", size, HIDDEN * size, layer, ends_branch=True)
            if self.norm != "none":
                yield gain(f"{layer}.norm1", self.width, layer)
                yield gain(f"{layer}.norm2", self.width, layer)
        if self.norm == "pre":
            yield gain("norm", self.width, "head")
        yield head(shape, self.width)

    def logits(self, weights: Weights, inputs: Tensor, shape: DataShape, temperature: Tensor | None = None) -> Tensor:
        """See `Model.logits`."""
        x = embed(weights, inputs)
        for i in range(self.layers):
            for branch, norm in ((self._over_tokens, f"layer{i}.norm1"), (self._over_channels, f"layer{i}.norm2")):
                into = normalise(x, weights[norm]) if self.norm == "pre" else x
                x = x + branch(into, weights, f"layer{i}", shape)
                if self.norm == "post":
                    x = normalise(x, weights[norm])
        if self.norm == "pre":
            x = normalise(x, weights["norm"])
        return read(x, weights, shape)

    def _over_tokens(self, x: Tensor, weights: Weights, layer: str, shape: DataShape) -> Tensor:
        """Apply the network over positions to all channels of all sequences: rows of T numbers."""
        instances, tokens, width = x.shape
        first, second = weights[f"{layer}.t1"], weights[f"{layer}.t2"]
        if shape.causal:
            place = torch.arange(shape.tokens, device=x.device)
            seen = place.repeat_interleave(HIDDEN)[:, None] >= place  # (4 T, T): hidden number, token
            known = place[:, None] >= place.repeat_interleave(HIDDEN)  # (T, 4 T): token, hidden number
            first, second = first * seen, second * known
        rows = x.view(instances, -1, shape.tokens, width).transpose(2, 3).reshape(instances, -1, shape.tokens)
        mixed = network(rows, first, second)
        return mixed.view(instances, -1, width, shape.tokens).transpose(2, 3).reshape(instances, tokens, width)

    def _over_channels(self, x: Tensor, weights: Weights, layer: str, shape: DataShape) -> Tensor:
        return network(x, weights[f"{layer}.w1"], weights[f"{layer}.w2"])
