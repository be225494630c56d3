"""A multi-layer perceptron: the control without attention."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

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
)

__all__ = ["MLP"]


@dataclass(frozen=True)
class MLP(Model):
    """An MLP: embedding, L layers (a matrix and a GELU each), head. It has no residual sums and no biases.

    If the task wants an answer at every token, each token is an input of its own; else the concatenated embeddings of a
    sequence are one input.

    Attributes:
        width: d, width of the embedding and of every layer.
        layers: L, number of layers.
        norm: `pre` (a layer norm before each matrix), `post` (after each GELU) or `none`.

    Raises:
        ValueError: a value out of range.
    """

    name: ClassVar[str] = "mlp"

    width: int = 16
    layers: int = 2
    norm: str = "none"

    def __post_init__(self) -> None:
        check_sizes(self, "width", "layers")

    def parameters(self, shape: DataShape) -> tuple[Parameter, ...]:
        """Return embedding, one matrix per layer, gains and head."""
        return tuple(self._parameters(shape))

    def _parameters(self, shape: DataShape) -> Iterator[Parameter]:
        yield from embedding(shape, self.width)
        into = self.width if shape.readout == "every" else self.width * shape.tokens
        for i in range(self.layers):
            layer = f"layer{i}"
            yield matrix(f"{layer}.w", self.width, into, layer)
            if self.norm != "none":
                yield gain(f"{layer}.norm", into if self.norm == "pre" else self.width, layer)
            into = self.width
        yield head(shape, self.width)

    def logits(self, weights: Weights, inputs: Tensor, shape: DataShape, temperature: Tensor | None = None) -> Tensor:
        """See `Model.logits`."""
        x = embed(weights, inputs)
        answers = shape.tokens
        if shape.readout != "every":
            x, answers = x.reshape(x.shape[0], -1, shape.tokens * self.width), 1
        for i in range(self.layers):
            if self.norm == "pre":
                x = normalise(x, weights[f"layer{i}.norm"])
            x = F.gelu(linear(x, weights[f"layer{i}.w"]))
            if self.norm == "post":
                x = normalise(x, weights[f"layer{i}.norm"])
        return linear(x, weights["head"]).view(x.shape[0], -1, answers, shape.classes)
