"""A batch of training problems (`ToyProblem`): a model, a task and a dial, for M starts."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.models.base import INITS, Model, Parameter, start_std
from quadsim.simulator.models.conv import Conv, ResNet
from quadsim.simulator.models.mixer import Mixer
from quadsim.simulator.models.mlp import MLP
from quadsim.simulator.models.partitions import Partition, partition
from quadsim.simulator.models.stack import Stack
from quadsim.simulator.models.tasks.catalogue import resolve_task
from quadsim.simulator.models.tasks.sequences import TokenMap
from quadsim.simulator.models.tasks.task import Data, Task
from quadsim.simulator.models.transformer import Transformer
from quadsim.simulator.support.arrays import array_of, numbers_of, positions_of
from quadsim.simulator.support.checks import (
    check_choice,
    check_count,
    check_interval,
    check_known,
    check_name_or_number,
    check_seed,
)
from quadsim.simulator.support.draws import Purpose, normals, uniforms
from quadsim.simulator.support.memory import memory_text, physical_memory

__all__ = ["DIALS_OF_MODELS", "LOSSES", "MODELS", "MODES", "ORDERS", "ToyProblem", "resolve_model"]

MODELS: dict[str, type[Model]] = {
    "transformer": Transformer,
    "mlp": MLP,
    "conv": Conv,
    "mixer": Mixer,
    "resnet": ResNet,
}

DIALS_OF_MODELS = ("frequency", "zipf", "separable", "reparametrisation", "init-scale", "temperature")
"""The dials of toy models: the quantity that the heterogeneity c changes.

- `frequency`: class k of C has the weight c^(-k/(C-1)) in the loss, scaled to the mean 1 over the data.
- `zipf`: the data contain the most frequent class c times as often as the least frequent one (see TokenMap).
- `separable`: four independent copies of the model, copy i with the weight c^(-i/3), scaled to the mean 1. The unweighted loss is
  that of the worst copy.
- `reparametrisation`: each block b of the partition `module` is s_b phi_b with max s^2 / min s^2 = c; the s_b^2 are a
  geometric sequence with geometric mean 1, in random order or in another one of ORDERS. Mode `parameter` trains phi; mode
  `gradient` trains the blocks themselves and multiplies the gradient of block b by s_b^2. Gradient descent takes the same steps
  in both modes; a rule whose step does not depend on the scale of a block's gradient (sign descent) is not changed by the mode
  `gradient`.
- `init-scale`: the start of all matrices is c times as large.
- `temperature`: attention scores are divided by c."""

MODES = ("parameter", "gradient")
ORDERS = ("drawn", "growing", "falling", "mixed")
"""Orders of the scales s_b under the dial `reparametrisation`: drawn for every problem, growing or falling with the depth of the
block, or mixed (smallest, largest, second smallest, second largest and so on, from the input to the head)."""
LOSSES = ("cross-entropy", "mse")
"""Loss of an answer: its cross-entropy, or half the squared distance of the logits to the one-hot class."""
COPIES = 4
LARGEST_DIAL = 1e12
"""Largest heterogeneity; larger ones exceed the precision of float32."""

_COORDINATE_BYTES = 24.0  # of a start, while it is drawn
_ANSWER_BYTES = 40.0  # class, share and weight, while they are made
_DRAW_BYTES = 16.0


def resolve_model(model: Model | str, **options: Any) -> Model:
    """Return a Model from its name and its fields; a Model is returned as it is.

    Raises:
        ValueError: an unknown name or field, or a value out of range.
    """
    if isinstance(model, Model):
        if options:
            raise ValueError(
                f"options of a model must come with its name, got a {model.name} and {options}; give the name or no options."
            )
        return model
    kind = MODELS[check_choice("model", model, MODELS)]
    check_known(f"option of {model}", options, [f.name for f in fields(kind)])  # type: ignore[arg-type]
    return kind(**options)


@dataclass(frozen=True, eq=False)
class ToyProblem:
    """M training problems: each is a start of the model, data of the task, and a value of the dial.

    Problem m depends on (seed, index[m], heterogeneity[m]) alone, not on the other problems of the batch.

    Attributes:
        model: the model.
        task: the task.
        dial: one of DIALS_OF_MODELS.
        heterogeneity: c, the value of the dial, (M,). For `init-scale` and `temperature` it is that scale or temperature, not a
            ratio between blocks.
        index: index of the draws of every problem, (M,).
        seed: key of all draws.
        mode: mode of the dial `reparametrisation`, one of MODES.
        init: law of the drawn start, one of INITS, or a standard deviation (the law gpt2 with it). The dial `init-scale`
            multiplies it.
        loss: one of LOSSES.
        order: order of the scales of the dial `reparametrisation`, one of ORDERS.
        given_start: parameters at the start of training, (M, P); None: they are drawn. See `starting_at`.

    Raises:
        ValueError: a value out of range.
    """

    model: Model
    task: Task
    dial: str
    heterogeneity: NDArray[np.float64]
    index: NDArray[np.int64]
    seed: int = 0
    mode: str = "parameter"
    init: str | float = "fan-in"
    loss: str = "cross-entropy"
    order: str = "drawn"
    given_start: NDArray[np.float64] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_choice("dial", self.dial, DIALS_OF_MODELS)
        check_choice("mode", self.mode, MODES)
        check_choice("loss", self.loss, LOSSES)
        object.__setattr__(self, "init", check_name_or_number("init", self.init, INITS))
        if check_choice("order", self.order, ORDERS) != "drawn" and self.dial != "reparametrisation":
            raise ValueError(
                f"order {self.order} must go with the dial reparametrisation, got {self.dial}; leave the order out."
            )
        if self.dial == "zipf" and not isinstance(self.task, TokenMap):
            raise ValueError(
                f"dial zipf must go with the task token-map or many-classes, got {self.task.name}; use the dial frequency."
            )
        if self.dial == "temperature" and not isinstance(self.model, Transformer):
            raise ValueError(f"dial temperature must go with a transformer, got {self.model.name}; use another dial.")
        if self.mode != "parameter" and self.dial != "reparametrisation":
            raise ValueError(
                f"mode {self.mode} must go with the dial reparametrisation, got {self.dial}; leave the mode out."
            )
        low = 1.0 / LARGEST_DIAL if self.dial in ("init-scale", "temperature") else 1.0
        for value in self.heterogeneity.tolist():
            check_interval(f"heterogeneity (dial {self.dial})", value, low, LARGEST_DIAL)

    @classmethod
    def generate(
        cls,
        model: Model | str = "transformer",
        task: Task | str = "token-map",
        *,
        dial: str = "frequency",
        heterogeneity: float | Sequence[float] = 1.0,
        problems: int = 4,
        seed: int = 0,
        first: int = 0,
        mode: str = "parameter",
        init: str | float = "fan-in",
        loss: str = "cross-entropy",
        order: str = "drawn",
        **options: Any,
    ) -> "ToyProblem":
        """Create problems `first` to `first + problems - 1` at every value of the dial; the value varies slowest.

        Args:
            model: a Model, or its name in MODELS.
            task: a Task, or its name in TASKS.
            dial: one of DIALS_OF_MODELS.
            heterogeneity: one value or several.
            problems: number of starts at each value.
            seed: key of all draws.
            first: index of the first problem.
            mode: mode of the dial `reparametrisation`.
            init: law of the start: `fan-in`, `gpt2`, or a standard deviation.
            loss: `cross-entropy` or `mse`.
            order: order of the scales of the dial `reparametrisation`: `drawn`, `growing`, `falling` or `mixed`.
            **options: fields of the model if it is given by name.

        Raises:
            ValueError: a value out of range, or problems that do not fit in memory.
        """
        check_count("problems", problems)
        several = (
            [] if isinstance(heterogeneity, str) else np.atleast_1d(array_of("heterogeneity", heterogeneity)).tolist()
        )
        if not several:
            raise ValueError(f"heterogeneity must be a number or several, got {heterogeneity!r}; give at least one.")
        values = np.array([check_interval("heterogeneity", value) for value in several])
        first, seed = check_count("first", first, 0, None), check_seed(seed)
        model, task = resolve_model(model, **options), resolve_task(task)
        # One problem per value of the dial gives the memory of all, before anything large is allocated.
        _check_memory(
            cls(model, task, dial, values, np.full(values.size, first), seed, mode, init, loss, order), problems
        )
        which = np.tile(np.arange(first, first + problems), values.size)
        return cls(model, task, dial, np.repeat(values, problems), which, seed, mode, init, loss, order)

    @property
    def problems(self) -> int:
        """M, the number of problems."""
        return int(self.index.size)

    @property
    def classes(self) -> int:
        """C, the number of classes."""
        return self.task.shape.classes

    @property
    def guess_loss(self) -> float:
        """The loss of an answer that gives every class the same probability: ln C, or (1 - 1/C)/2 for the loss `mse`."""
        return (1.0 - 1.0 / self.classes) / 2.0 if self.loss == "mse" else float(np.log(self.classes))

    @property
    def copies(self) -> int:
        """Number of independent copies of the model in each problem."""
        return COPIES if self.dial == "separable" else 1

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters of one copy of the model."""
        return self.model.parameters(self.task.shape)

    @cached_property
    def dimension(self) -> int:
        """P, the number of coordinates of one problem, all copies included."""
        return self.copies * sum(p.size for p in self.parameters)

    def partition(self, name: str) -> Partition:
        """Return a partition of the parameters.

        Raises:
            ValueError: an unknown partition.
        """
        return partition(self.parameters, name, self.copies)

    def select(self, problems: Sequence[int]) -> "ToyProblem":
        """Return the batch of the problems at these positions.

        Raises:
            ValueError: no position, or a position out of range.
        """
        chosen = positions_of("problems", problems, self.problems)
        start = None if self.given_start is None else self.given_start[chosen]
        return replace(self, heterogeneity=self.heterogeneity[chosen], index=self.index[chosen], given_start=start)

    def starting_at(self, theta: ArrayLike) -> "ToyProblem":
        """Return the same problems with another start, for example the parameters after training on another task.

        Args:
            theta: parameters in the stored form (as `snapshots.theta`), (M, P).

        Raises:
            ValueError: another shape, numbers that are not finite (from a run that diverged), or a dial that changes the start.
        """
        start = np.array(numbers_of("theta", theta))
        if self.dial == "init-scale":
            raise ValueError(
                "dial of a problem with a given start must not be init-scale, which scales drawn starts; use another dial."
            )
        if start.shape != (self.problems, self.dimension):
            raise ValueError(
                f"theta must have the shape ({self.problems}, {self.dimension}), got {start.shape}; give one row per problem."
            )
        if not np.all(np.isfinite(start)):
            raise ValueError(
                f"theta must be finite, got {int(np.sum(~np.isfinite(start)))} numbers that are not; select problems whose "
                "runs did not diverge."
            )
        return replace(self, given_start=start)

    @cached_property
    def data(self) -> Data:
        """The data of all problems. Problems with fewer sequences are padded with sequences of weight 0."""
        if self.dial != "zipf":
            return self.task.data(self.seed, self.index)
        parts = {}
        for value in np.unique(self.heterogeneity).tolist():
            task = replace(self.task, zipf=value)
            parts[value] = task.data(self.seed, self.index[self.heterogeneity == value])
        longest = max(part.targets.shape[1] for part in parts.values())

        def filled(name: str) -> NDArray[Any]:
            arrays = {value: getattr(part, name) for value, part in parts.items()}
            like = next(iter(arrays.values()))
            out = np.zeros((self.problems, longest, *like.shape[2:]), dtype=like.dtype)
            for value, array in arrays.items():
                out[self.heterogeneity == value, : array.shape[1]] = array
            return out

        return Data(filled("inputs"), filled("targets"), filled("share"))

    @cached_property
    def test_data(self) -> Data | None:
        """The sequences that no training step sees, of all problems; None if the task has none (`test=0`)."""
        return self.task.test_data(self.seed, self.index)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """Weight of every answer in the optimised loss, (M, N, R); the sum is 1 for each problem."""
        data = self.data
        counts = (data.share > 0.0).astype(np.float64)
        if self.dial == "frequency":
            rank = data.targets / max(self.classes - 1, 1)
            counts = counts * self.heterogeneity[:, None, None] ** -rank
        return np.asarray(counts / counts.sum(axis=(1, 2), keepdims=True))

    @cached_property
    def copy_weights(self) -> NDArray[np.float64]:
        """Weight of every copy in the optimised loss, (M, copies), with the mean 1."""
        if self.copies == 1:
            return np.ones((self.problems, 1))
        ladder = self.heterogeneity[:, None] ** -(np.arange(self.copies) / (self.copies - 1))
        return np.asarray(ladder / ladder.mean(axis=1, keepdims=True))

    @cached_property
    def block_scales(self) -> NDArray[np.float64] | None:
        """s_b of every coordinate under the dial `reparametrisation`, (M, P); None under another dial."""
        if self.dial != "reparametrisation":
            return None
        blocks = self.partition("module")
        number = len(blocks.sizes)
        place = self._places(number)
        exponent = (place / max(number - 1, 1) - 0.5) / 2.0
        return np.asarray((self.heterogeneity[:, None] ** exponent)[:, blocks.block_of])

    def _places(self, number: int) -> NDArray[np.int64]:
        """Rank of the scale of every block, from 0 (smallest), (M, number)."""
        if self.order == "drawn":
            return np.argsort(uniforms(self.seed, self.index, Purpose.SCALE, 0, number), axis=1, kind="stable")
        rising = np.arange(number)
        mixed = np.where(rising % 2 == 0, rising // 2, number - 1 - rising // 2)
        one = {"growing": rising, "falling": rising[::-1], "mixed": mixed}[self.order]
        return np.tile(one, (self.problems, 1))

    @cached_property
    def start(self) -> NDArray[np.float64]:
        """Parameters at the start of training, (M, P)."""
        if self.given_start is not None:
            return self.given_start
        scale = self.heterogeneity if self.dial == "init-scale" else np.ones(self.problems)
        parts, deviations = [], start_std(self.parameters, self.init)
        for copy in range(self.copies):
            for i, (p, std) in enumerate(zip(self.parameters, deviations, strict=True)):
                if std is None:
                    parts.append(np.ones((self.problems, p.size)))
                    continue
                draws = normals(self.seed, self.index, Purpose.START, copy * len(self.parameters) + i, p.size)
                parts.append(draws * (std * scale[:, None]))
        whole = np.concatenate(parts, axis=1)
        if self.block_scales is not None and self.mode == "parameter":
            whole = whole / self.block_scales
        return whole

    @cached_property
    def sequences(self) -> NDArray[np.int64]:
        """Number of sequences of each problem, (M,); it differs between problems under the dial `zipf` only."""
        return np.asarray((self.data.share[:, :, 0] > 0.0).sum(axis=1))

    @property
    def longest(self) -> int:
        """N, the largest number of sequences of a problem; nothing is drawn to compute it."""
        if self.dial != "zipf":
            return self.task.size
        return replace(self.task, zipf=float(self.heterogeneity.max())).size

    @property
    def data_bytes(self) -> float:
        """Estimate of the bytes that the data of one problem need while they are drawn."""
        shape = self.task.shape
        answers = shape.tokens if shape.readout == "every" else 1
        each = _DRAW_BYTES * (self.task.draws + shape.tokens) + _ANSWER_BYTES * answers
        return self.longest * each

    @property
    def tokens_per_step(self) -> int:
        """Largest number of tokens that one instance processes in a step, over all copies."""
        return self.copies * (self.task.batch or self.longest) * self.task.shape.tokens

    def batch(self, step: int) -> NDArray[np.int64] | None:
        """Return the indices of the sequences of a step, (M, b), drawn by (seed, index, step); None: all sequences.

        Instances with the same index get the same mini-batches, whatever their rule, learning rate or dial.
        """
        if self.task.batch is None:
            return None
        drawn = uniforms(self.seed, self.index, Purpose.BATCH, step, self.task.batch)
        sizes = self.sequences[:, None]
        return np.asarray(np.minimum(((1.0 - drawn) * sizes).astype(np.int64), sizes - 1))

    def stack(
        self, which: NDArray[np.int64] | None = None, dtype: torch.dtype = torch.float64, device: str = "cpu"
    ) -> "Stack":
        """Return instances of the problems as tensors.

        Args:
            which: the problem of every instance, (E,); None: every problem once.
            dtype: number type.
            device: device of all tensors.
        """
        return Stack.of(self, np.arange(self.problems) if which is None else which, dtype, device)

    def test_stack(
        self, which: NDArray[np.int64] | None = None, dtype: torch.dtype = torch.float64, device: str = "cpu"
    ) -> "Stack":
        """Return instances of the problems on their test data, on which `losses` and `accuracy` are those of the test.

        Args:
            which: as in `stack`.
            dtype: number type.
            device: device of all tensors.

        Raises:
            ValueError: a task without test data.
        """
        if self.test_data is None:
            raise ValueError(f"task must have test data, got {self.task} with test=0; give test=, as Digits(test=500).")
        return Stack.of_test(self, np.arange(self.problems) if which is None else which, dtype, device)

    def __repr__(self) -> str:
        values = ", ".join(f"{c:g}" for c in np.unique(self.heterogeneity))
        return f"ToyProblem({self.problems} x {self.model} on {self.task}, {self.dial} {values}, {self.dimension} parameters)"


def _check_memory(example: ToyProblem, times: int) -> None:
    """Check that as many problems as wanted, each like the example, fit in memory.

    Raises:
        ValueError: they need more than the physical memory.
    """
    number, available = times * example.problems, physical_memory()
    needed = number * _COORDINATE_BYTES * example.dimension
    if needed <= available:  # checked first: counting the sequences of a large vocabulary needs much memory itself
        needed += number * example.data_bytes
    if needed > available:
        raise ValueError(
            f"problems must fit in memory ({memory_text(available)} here), got {number:,} of {example.dimension:,} parameters on "
            f"{example.task.name}, which need about {memory_text(needed)}; use fewer seeds, a smaller model or a smaller task."
        )
