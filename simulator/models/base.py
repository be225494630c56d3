"""Define the base class of models, parameters with their blocks, and layers for stacks of instances.

A *stack* is E instances of one model with a leading axis: parameters are (E, ...), activations (E, N, width) with N tokens
per instance. A model is a frozen configuration; it holds no tensors.

On a CPU the last bits of a matrix product depend on the memory address at which a matrix begins, and those of a GELU on whether a
number is among the last of its tensor. So every matrix of every instance begins at a multiple of ALIGNED numbers: N is such a
multiple (see `Stack`), and `linear` pads other matrices to one. Then an instance has the same bits in every stack.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from quadsim.simulator.models.products import lookup, product, takes_gelu
from quadsim.simulator.support.checks import check_choice, check_count

__all__ = [
    "ACTIVATIONS",
    "ALIGNED",
    "GPT2_STD",
    "INITS",
    "NORMS",
    "READOUTS",
    "DataShape",
    "Model",
    "Parameter",
    "Weights",
    "activate",
    "compiled_on_gpu",
    "embed",
    "linear",
    "network",
    "normalise",
    "normalise_batch",
    "read",
    "shown_without_defaults",
    "start_std",
]

Tensor = torch.Tensor

ALIGNED = 16
"""How many float32 numbers fit in 64 bytes (a cache line, and the longest vector register)."""

Weights = Mapping[str, Tensor]
"""Name of a parameter to its values for every instance, (E, *shape)."""

NORMS = ("pre", "post", "none")
ACTIVATIONS = ("gelu", "relu")
INITS = ("fan-in", "gpt2")
"""Laws of the start. `fan-in`: every matrix has the variance 1/fan-in, which keeps the scale of activations. `gpt2`: the standard
deviation .02 in every matrix, and .02/sqrt(n) in the last matrix of each of the n residual branches (Radford et al. 2019, section
2.3; a Transformer of L layers has n = 2 L). A number is the law gpt2 with this standard deviation in place of .02."""
GPT2_STD = 0.02
MOST_LAYERS = 10_000  # each is a Python object or more
READOUTS = ("every", "last", "mean")
"""Where a model gives an answer: at every token, at the last token, or once from the mean over tokens."""


@dataclass(frozen=True)
class Parameter:
    """One parameter tensor of a model.

    Attributes:
        name: name, as `layer0.o`; also the name of its block in the partition `module`.
        shape: matrices are (out, in), as in torch.nn.Linear.
        std: standard deviation of the normal draw at the start; None: all entries start at 1 (the gain of a norm).
        layer: block in the partition `layer`.
        by_row: whether each row is a block in the partition `unit` (one token, position or class).
        parts: names of its blocks in the partition `module` if it has several, with equally many rows each.
        ends_branch: whether it is the last matrix of a residual branch, whose output is added to the sum.
    """

    name: str
    shape: tuple[int, ...]
    std: float | None
    layer: str
    by_row: bool = False
    parts: tuple[str, ...] = ()
    ends_branch: bool = False

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class DataShape:
    """The properties of a task that a model needs.

    Attributes:
        inputs: size of the vocabulary, or number of features if an input is a vector of numbers.
        tokens: T, number of tokens in a sequence.
        classes: C, number of classes.
        readout: one of READOUTS.
        causal: whether the output at a token may depend only on this token and earlier ones.
    """

    inputs: int
    tokens: int
    classes: int
    readout: str = "every"
    causal: bool = False

    def __post_init__(self) -> None:
        check_choice("readout", self.readout, READOUTS)


class Model(ABC):
    """A frozen configuration that defines the parameters of a model and computes its logits.

    Attributes:
        name: name on the command line.
        norms: places of a norm that the model allows, if it has the field `norm`.
        reads_batch: whether an answer depends on the other sequences of the batch (batch norm). Then `logits` also takes
            `counted`, (E, B): 1 for the sequences whose activations give the mean and the variance, 0 for all others.
    """

    name: ClassVar[str]
    norms: ClassVar[tuple[str, ...]] = NORMS

    @property
    def reads_batch(self) -> bool:
        """See the attributes."""
        return False

    def __str__(self) -> str:
        return shown_without_defaults(self, "activation", "embedded", "dimensions")

    @abstractmethod
    def parameters(self, shape: DataShape) -> tuple[Parameter, ...]:
        """Return all parameters, in the order in which they are stored."""

    @abstractmethod
    def logits(self, weights: Weights, inputs: Tensor, shape: DataShape, temperature: Tensor | None = None) -> Tensor:
        """Return the logits of every instance.

        Args:
            weights: name to values, (E, *shape).
            inputs: token ids (E, B, T), or features (E, B, T, F).
            shape: properties of the task.
            temperature: (E,), divides the attention scores; None is 1. A model without attention ignores it.

        Returns:
            (E, B, R, C): R = T answers per sequence if the readout is `every`, else R = 1.
        """


def check_sizes(model: Model, *names: str) -> None:
    """Check the sizes of a model (`layers` included) and its norm, and store them as int and str.

    Raises:
        ValueError: a value out of range.
    """
    for name in names:
        object.__setattr__(model, name, check_count(name, getattr(model, name)))
    layers = getattr(model, "layers", 1)
    if layers > MOST_LAYERS:
        raise ValueError(f"layers must be a whole number of at most {MOST_LAYERS}, got {layers}; use fewer.")
    check_choice("norm", getattr(model, "norm", "none"), model.norms)
    check_choice("activation", getattr(model, "activation", "gelu"), ACTIVATIONS)


def shown_without_defaults(one: Any, *names: str) -> str:
    """Return a configuration as text, without those of the named fields that have their default.

    Files of results hold this text; without the fields that were added since, it is the text of older files.
    """
    hidden = {f.name for f in fields(one) if f.name in names and getattr(one, f.name) == f.default}
    shown = ", ".join(f"{f.name}={getattr(one, f.name)!r}" for f in fields(one) if f.name not in hidden)
    return f"{type(one).__name__}({shown})"


def start_std(parameters: Sequence[Parameter], init: str | float) -> tuple[float | None, ...]:
    """Return the standard deviation of every parameter at the start under a law of INITS; None where all entries start at 1."""
    if init == "fan-in":
        return tuple(p.std for p in parameters)
    std = GPT2_STD if isinstance(init, str) else init
    branches = sum(p.ends_branch for p in parameters)
    return tuple(None if p.std is None else std * branches**-0.5 if p.ends_branch else std for p in parameters)


def matrix(name: str, out: int, fan_in: int, layer: str, *, ends_branch: bool = False) -> Parameter:
    """Return a matrix parameter with the variance 1/fan_in, which keeps the scale of activations."""
    return Parameter(name, (out, fan_in), fan_in**-0.5, layer, ends_branch=ends_branch)


def compiled_on_gpu(x: Tensor) -> bool:
    """Whether torch.compile is making code for a GPU."""
    return torch.compiler.is_compiling() and x.is_cuda


def activate(x: Tensor, activation: str) -> Tensor:
    """Return the activation of every number; `activation` is one of ACTIVATIONS."""
    return F.gelu(x) if activation == "gelu" else F.relu(x)


def embedding(shape: DataShape, width: int) -> Iterator[Parameter]:
    """Return the parameters of the token (or feature) embedding and the position embedding."""
    yield Parameter("embed", (shape.inputs, width), width**-0.5, "embedding", by_row=True)
    yield Parameter("pos", (shape.tokens, width), width**-0.5, "embedding", by_row=True)


def head(shape: DataShape, width: int) -> Parameter:
    """Return the parameter of the head (not tied to the embedding); each row is a class."""
    return Parameter("head", (shape.classes, width), width**-0.5, "head", by_row=True)


def gain(name: str, width: int, layer: str) -> Parameter:
    """Return the parameter of the gain of a norm."""
    return Parameter(name, (width,), None, layer)


def embed(weights: Weights, inputs: Tensor) -> Tensor:
    """Return token plus position embedding of all inputs, (E, B T, width)."""
    table, position = weights["embed"], weights["pos"]
    instances, batch, tokens = inputs.shape[:3]
    if inputs.is_floating_point():
        x = linear(inputs.reshape(instances, batch * tokens, -1), table.transpose(1, 2))
    elif compiled_on_gpu(inputs):
        x = lookup(table, inputs.view(instances, batch * tokens))
    else:
        x = _rows_of(table, inputs.view(instances, batch * tokens))
    width = table.shape[2]
    return (x.view(instances, batch, tokens, width) + position[:, None]).view(instances, batch * tokens, width)


def _rows_of(table: Tensor, inputs: Tensor) -> Tensor:
    """Return rows (E, N, width) of the tables (E, vocabulary, width): one lookup in all tables laid end to end."""
    ids = inputs + torch.arange(inputs.shape[0], device=inputs.device)[:, None] * table.shape[1]
    return F.embedding(ids, table.reshape(-1, table.shape[2]))


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return inputs (E, N, in) times matrices (E, out, in), as torch.nn.Linear without bias: (E, N, out)."""
    out, into = weight.shape[1:]
    if out * into % ALIGNED == 0:
        if compiled_on_gpu(x):
            y: Tensor = product(x, weight)
            return y
        return torch.bmm(x, weight.transpose(1, 2))
    x, weight = F.pad(x, (0, -into % 4)), F.pad(weight, (0, -into % 4, 0, -out % 4))
    return torch.bmm(x, weight.transpose(1, 2))[..., :out].contiguous()


def network(x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the result (E, N, out) of a GELU network of one hidden layer, with matrices (E, hidden, in), (E, out, hidden)."""
    hidden = linear(x, first)
    if compiled_on_gpu(x) and takes_gelu(hidden, second):
        y: Tensor = product(hidden, second, True)
        return y
    return linear(F.gelu(hidden), second)


def normalise(x: Tensor, gain: Tensor) -> Tensor:
    """Return the layer norm over the width, with a gain (E, width) and no bias; epsilon is torch's default."""
    if not x.is_cuda or torch.compiler.is_compiling():
        return F.layer_norm(x, x.shape[-1:]) * gain[:, None]
    # Torch's own kernel there is made for rows of thousands: on rows of 16 it took half of a step.
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred * torch.rsqrt((centred * centred).mean(dim=-1, keepdim=True) + 1e-5) * gain[:, None]


def normalise_batch(x: Tensor, gain: Tensor, counted: Tensor) -> Tensor:
    """Return the batch norm of every channel, with a gain (E, width) and no bias; epsilon is torch's default.

    Mean and (biased) variance are those of the batch, at every evaluation: there are no running means, so that the loss is a
    function of parameters and data alone.

    Args:
        x: activations, (E, B T, width).
        gain: gains, (E, width).
        counted: (E, B): 1 for a sequence that counts in mean and variance, 0 for another.
    """
    shares = (counted / counted.sum(dim=1, keepdim=True)).repeat_interleave(x.shape[1] // counted.shape[1], dim=1)
    shares = (shares / (x.shape[1] // counted.shape[1]))[:, :, None]
    centred = x - (x * shares).sum(dim=1, keepdim=True)
    variance = (centred * centred * shares).sum(dim=1, keepdim=True)
    return centred * torch.rsqrt(variance + 1e-5) * gain[:, None]


def read(x: Tensor, weights: Weights, shape: DataShape) -> Tensor:
    """Return the logits (E, B, R, C) of the head on activations (E, B T, width), at the tokens of the readout."""
    instances, _, width = x.shape
    if shape.readout != "every":
        sequences = x.view(instances, -1, shape.tokens, width)
        x = sequences[:, :, -1] if shape.readout == "last" else sequences.mean(dim=2)
    answers = shape.tokens if shape.readout == "every" else 1
    return linear(x, weights["head"]).view(instances, -1, answers, shape.classes)
