"""What all models share: parameters with their blocks, and layers written for stacks of instances.

A *stack* is E instances of one model with a leading axis: parameters are (E, ...), activations (E, N, width) with N tokens
per instance. A model is a frozen configuration; it keeps no tensors.

On a CPU the last bits of a matrix product depend on where in memory a matrix begins, and those of a GELU on whether a number
is among the last of its tensor. So every matrix of every instance begins at a multiple of ALIGNED numbers here: N is one (see
`Stack`), and `linear` fills up the matrices of which it is not the size. Then an instance has the same bits in any stack.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from quadsim.simulator.support.checks import check_choice, check_count

__all__ = [
    "ALIGNED",
    "NORMS",
    "READOUTS",
    "DataShape",
    "Model",
    "Parameter",
    "Weights",
    "embed",
    "linear",
    "normalise",
    "read",
]

Tensor = torch.Tensor

ALIGNED = 16
"""Numbers in 64 bytes, a cache line and the longest vector, in float32."""

Weights = Mapping[str, Tensor]
"""Name to the parameter of every instance, (E, *shape)."""

NORMS = ("pre", "post", "none")
MOST_LAYERS = 10_000  # each is a Python object or more
READOUTS = ("every", "last", "mean")
"""Where a model answers: at every token, at the last one, or once from the mean over tokens."""


@dataclass(frozen=True)
class Parameter:
    """One parameter tensor of a model.

    Attributes:
        name: as `layer0.o`; also its block in the partition `module`.
        shape: matrices are (out, in), as in torch.nn.Linear.
        std: of the normal draw at the start; None: ones (a norm's gain).
        layer: block in the partition `layer`.
        by_row: whether each row is a block in the partition `unit` (one token, position or class).
        parts: blocks in the partition `module` where it holds several of them, equally many rows each.
    """

    name: str
    shape: tuple[int, ...]
    std: float | None
    layer: str
    by_row: bool = False
    parts: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class DataShape:
    """What a model has to know of its task.

    Attributes:
        inputs: number of tokens of the vocabulary, or of features where an input is a vector of numbers.
        tokens: T, tokens in a sequence.
        classes: C.
        readout: one of READOUTS.
        causal: whether a token may only see those before it and itself.
    """

    inputs: int
    tokens: int
    classes: int
    readout: str = "every"
    causal: bool = False

    def __post_init__(self) -> None:
        check_choice("readout", self.readout, READOUTS)


class Model(ABC):
    """A frozen configuration that says which parameters there are and computes logits from them."""

    name: ClassVar[str]

    @abstractmethod
    def parameters(self, shape: DataShape) -> tuple[Parameter, ...]:
        """All parameters, in the order in which they are stored."""

    @abstractmethod
    def logits(self, weights: Weights, inputs: Tensor, shape: DataShape, temperature: Tensor | None = None) -> Tensor:
        """Logits of every instance.

        Args:
            weights: name to (E, *shape).
            inputs: token ids (E, B, T), or features (E, B, T, F).
            shape: of the data.
            temperature: (E,), divides the attention scores; None is 1. A model without attention ignores it.

        Returns:
            (E, B, R, C): R = T answers a sequence where the readout is `every`, else 1.
        """


def check_sizes(model: Model, *names: str) -> None:
    """Check counts of a model, `layers` among them, and its norm, and put them in one form.

    Raises:
        ValueError: a value out of range.
    """
    for name in names:
        object.__setattr__(model, name, check_count(name, getattr(model, name)))
    layers = getattr(model, "layers", 1)
    if layers > MOST_LAYERS:
        raise ValueError(f"layers must be a whole number of at most {MOST_LAYERS}, got {layers}; use fewer.")
    check_choice("norm", getattr(model, "norm", "none"), NORMS)


def matrix(name: str, out: int, fan_in: int, layer: str) -> Parameter:
    """A matrix with the variance 1/fan_in, which keeps the size of activations."""
    return Parameter(name, (out, fan_in), fan_in**-0.5, layer)


def embedding(shape: DataShape, width: int) -> Iterator[Parameter]:
    """Token (or feature) and position embedding."""
    yield Parameter("embed", (shape.inputs, width), width**-0.5, "embedding", by_row=True)
    yield Parameter("pos", (shape.tokens, width), width**-0.5, "embedding", by_row=True)


def head(shape: DataShape, width: int) -> Parameter:
    """The untied head; a row is a class."""
    return Parameter("head", (shape.classes, width), width**-0.5, "head", by_row=True)


def gain(name: str, width: int, layer: str) -> Parameter:
    """The gain of a norm."""
    return Parameter(name, (width,), None, layer)


def embed(weights: Weights, inputs: Tensor) -> Tensor:
    """Token plus position embedding, (E, B T, width)."""
    table, position = weights["embed"], weights["pos"]
    instances, batch, tokens = inputs.shape[:3]
    if inputs.is_floating_point():
        x = linear(inputs.reshape(instances, batch * tokens, -1), table.transpose(1, 2))
    else:
        # One lookup in all tables laid end to end.
        ids = inputs + torch.arange(instances, device=inputs.device).view(-1, 1, 1) * table.shape[1]
        x = F.embedding(ids.view(instances, batch * tokens), table.reshape(-1, table.shape[2]))
    width = table.shape[2]
    return (x.view(instances, batch, tokens, width) + position[:, None]).view(instances, batch * tokens, width)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """(E, N, in) times (E, out, in), as torch.nn.Linear without bias: (E, N, out)."""
    out, into = weight.shape[1:]
    if out * into % ALIGNED == 0:
        return torch.bmm(x, weight.transpose(1, 2))
    x, weight = F.pad(x, (0, -into % 4)), F.pad(weight, (0, -into % 4, 0, -out % 4))
    return torch.bmm(x, weight.transpose(1, 2))[..., :out].contiguous()


def normalise(x: Tensor, gain: Tensor) -> Tensor:
    """Layer norm over the width, with a gain (E, width) and no bias; epsilon as torch's default."""
    if not x.is_cuda or torch.compiler.is_compiling():
        return F.layer_norm(x, x.shape[-1:]) * gain[:, None]
    # Torch's own kernel there is made for rows of thousands: on rows of 16 it took half of a step.
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred * torch.rsqrt((centred * centred).mean(dim=-1, keepdim=True) + 1e-5) * gain[:, None]


def read(x: Tensor, weights: Weights, shape: DataShape) -> Tensor:
    """The head on (E, B T, width), read out where the task asks: (E, B, R, C)."""
    instances, _, width = x.shape
    if shape.readout != "every":
        sequences = x.view(instances, -1, shape.tokens, width)
        x = sequences[:, :, -1] if shape.readout == "last" else sequences.mean(dim=2)
    answers = shape.tokens if shape.readout == "every" else 1
    return linear(x, weights["head"]).view(instances, -1, answers, shape.classes)
