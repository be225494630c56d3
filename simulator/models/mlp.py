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
    activate,
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
    """An MLP: embedding, L layers (a matrix and an activation each), head. It has no residual sums and no biases.

    If the task wants an answer at every token, each token is an input of its own; else the concatenated embeddings of a
    sequence are one input.

    Attributes:
        width: d, width of the embedding and of every layer.
        layers: L, number of layers.
        norm: `pre` (a layer norm before each matrix), `post` (after each activation) or `none`.
        activation: `gelu` or `relu`.
        embedded: whether inputs are embedded. Otherwise the first layer reads the features (or the one-hot vectors of token ids)
            of a sequence directly: `MLP(64, 3, activation="relu", embedded=False)` on `Digits(patch=8)` is 64-64-64-64-10.

    Raises:
        ValueError: a value out of range.
    """

    name: ClassVar[str] = "mlp"

    width: int = 16
    layers: int = 2
    norm: str = "none"
    activation: str = "gelu"
    embedded: bool = True

    def __post_init__(self) -> None:
        check_sizes(self, "width", "layers")

    def parameters(self, shape: DataShape) -> tuple[Parameter, ...]:
        """Return embedding, one matrix per layer, gains and head."""
        return tuple(self._parameters(shape))

    def _parameters(self, shape: DataShape) -> Iterator[Parameter]:
        if self.embedded:
            yield from embedding(shape, self.width)
        into = self.width if self.embedded else shape.inputs
        into *= 1 if shape.readout == "every" else shape.tokens
        for i in range(self.layers):
            layer = f"layer{i}"
            yield matrix(f"{layer}.w", self.width, into, layer)
            if self.norm != "none":
                yield gain(f"{layer}.norm", into if self.norm == "pre" else self.width, layer)
            into = self.width
        yield head(shape, self.width)

    def logits(self, weights: Weights, inputs: Tensor, shape: DataShape, temperature: Tensor | None = None) -> Tensor:
        """See `Model.logits`."""
        if self.embedded:
            x = embed(weights, inputs)
        else:
            like = weights["head"].dtype
            x = inputs if inputs.is_floating_point() else F.one_hot(inputs, shape.inputs).to(like)
            x = x.reshape(x.shape[0], -1, x.shape[-1])
        answers = shape.tokens
        if shape.readout != "every":
            x, answers = x.reshape(x.shape[0], -1, shape.tokens * x.shape[-1]), 1
        for i in range(self.layers):
            if self.norm == "pre":
                x = normalise(x, weights[f"layer{i}.norm"])
            x = activate(linear(x, weights[f"layer{i}.w"]), self.activation)
            if self.norm == "post":
                x = normalise(x, weights[f"layer{i}.norm"])
        return linear(x, weights["head"]).view(x.shape[0], -1, answers, shape.classes)
