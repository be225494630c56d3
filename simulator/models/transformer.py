"""A tiny Transformer: no biases (the key's bias has an exactly zero gradient, which sign steps would amplify), no dropout."""

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
    compiled_on_gpu,
    embed,
    embedding,
    gain,
    head,
    linear,
    matrix,
    network,
    normalise,
    read,
)

__all__ = ["Transformer"]

FEW_TOKENS = (4, 16)
"""Largest number of tokens with which attention is sums of products; else, and under torch.compile, it is matrix products."""


@dataclass(frozen=True)
class Transformer(Model):
    """A Transformer (Vaswani et al., arXiv 1706.03762): embedding, L layers, head.

    A layer has attention and a GELU network of four times the width.

    Attributes:
        width: d, width of the embedding and of every layer.
        layers: L, number of layers.
        heads: number of attention heads; it must divide the width.
        norm: `pre` (norm inside each branch, and one before the head; Xiong et al., arXiv 2002.04745), `post` (after each
            residual sum, as first published) or `none`.

    Raises:
        ValueError: a value out of range.
    """

    name: ClassVar[str] = "transformer"

    width: int = 16
    layers: int = 2
    heads: int = 2
    norm: str = "pre"

    def __post_init__(self) -> None:
        check_sizes(self, "width", "layers", "heads")
        if self.width % self.heads:
            raise ValueError(
                f"heads must divide the width ({self.width}), got {self.heads}; give a divisor, such as 1."
            )

    def parameters(self, shape: DataShape) -> tuple[Parameter, ...]:
        """Return embedding, q, k, v, o, w1, w2 of every layer, gains and head."""
        return tuple(self._parameters(shape))

    def _parameters(self, shape: DataShape) -> Iterator[Parameter]:
        width = self.width
        yield from embedding(shape, width)
        for i in range(self.layers):
            layer = f"layer{i}"
            parts = tuple(f"{layer}.{name}" for name in "qkv")
            yield Parameter(f"{layer}.qkv", (3 * width, width), width**-0.5, layer, parts=parts)
            yield matrix(f"{layer}.o", width, width, layer, ends_branch=True)
            yield matrix(f"{layer}.w1", 4 * width, width, layer)
            yield matrix(f"{layer}.w2", width, 4 * width, layer, ends_branch=True)
            if self.norm != "none":
                yield gain(f"{layer}.norm1", width, layer)
                yield gain(f"{layer}.norm2", width, layer)
        if self.norm == "pre":
            yield gain("norm", width, "head")
        yield head(shape, width)

    def logits(self, weights: Weights, inputs: Tensor, shape: DataShape, temperature: Tensor | None = None) -> Tensor:
        """See `Model.logits`."""
        x = embed(weights, inputs)
        for i in range(self.layers):
            for branch, norm in ((self._attention, f"layer{i}.norm1"), (self._network, f"layer{i}.norm2")):
                into = normalise(x, weights[norm]) if self.norm == "pre" else x
                x = x + branch(into, weights, f"layer{i}", shape, temperature)
                if self.norm == "post":
                    x = normalise(x, weights[norm])
        if self.norm == "pre":
            x = normalise(x, weights["norm"])
        return read(x, weights, shape)

    def _attention(
        self, x: Tensor, weights: Weights, layer: str, shape: DataShape, temperature: Tensor | None
    ) -> Tensor:
        """Return attention in single operations, as torch's fused attention has no second derivative on a CPU."""
        instances, tokens, width = x.shape
        each = width // self.heads
        split = linear(x, weights[f"{layer}.qkv"]).view(instances, -1, shape.tokens, 3, self.heads, each)
        if temperature is not None:
            temperature = temperature.view(-1, 1, 1, 1, 1)
        few, few_compiled = FEW_TOKENS  # an index that is a bool would divide the compiled graph
        if torch.compiler.is_compiling():
            few = few_compiled
        mix = _mix_few if shape.tokens <= few else _mix
        ahead = None
        if shape.causal:
            ahead = torch.ones(shape.tokens, shape.tokens, dtype=torch.bool, device=x.device).triu(1)
        mixed = mix(split, temperature, ahead)
        return linear(mixed.reshape(instances, tokens, width), weights[f"{layer}.o"])

    def _network(self, x: Tensor, weights: Weights, layer: str, *_: object) -> Tensor:
        return network(x, weights[f"{layer}.w1"], weights[f"{layer}.w2"])


def _mix(split: Tensor, temperature: Tensor | None, ahead: Tensor | None) -> Tensor:
    """Return the attention of q, k, v (E, B, T, 3, heads, each) by matrix products: (E, B, T, heads, each)."""
    q, k, v = split.permute(3, 0, 1, 4, 2, 5).unbind(0)  # (E, B, heads, T, each)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if temperature is not None:
        scores = scores / temperature
    if ahead is not None:
        scores = scores.masked_fill(ahead, -torch.inf)
    return (torch.softmax(scores, dim=-1) @ v).transpose(2, 3)


def _mix_few(split: Tensor, temperature: Tensor | None, ahead: Tensor | None, last: bool | None = None) -> Tensor:
    """Return the same for few tokens by sums of products: a call for 2 x 2 matrices takes longer than their product.

    With the sequences as the last axis (`last`) each operation runs along all of them; a fused GPU kernel needs no such copy.
    """
    if last is None:
        last = not compiled_on_gpu(split)
    axis = 1 if last else 2  # of the tokens in q, k, v: (E, T, heads, each, B) or (E, B, T, heads, each)
    # Unbinding the axis where it is leaves the gradients of q, k and v in the order of memory, and nothing is copied.
    q, k, v = split.permute(3, 0, 2, 4, 5, 1).contiguous().unbind(0) if last else split.unbind(3)
    scores = ((q * q.shape[axis + 2] ** -0.5).unsqueeze(axis + 1) * k.unsqueeze(axis)).sum(dim=axis + 3)
    if temperature is not None:
        scores = scores / temperature
    if ahead is not None:
        scores = scores.masked_fill(ahead.view(*ahead.shape, *(1,) * (3 - axis)), -torch.inf)
    weights = torch.softmax(scores, dim=axis + 1)
    mixed = (weights.unsqueeze(axis + 3) * v.unsqueeze(axis)).sum(dim=axis + 1)
    return mixed.permute(0, 4, 1, 2, 3) if last else mixed
