"""What a task is, and what several tasks share: its data, permutations, shares and checks."""

from abc import ABC, abstractmethod
from dataclasses import Field, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.models.base import DataShape, shown_without_defaults
from quadsim.simulator.support.checks import check_count
from quadsim.simulator.support.draws import Purpose, uniforms

__all__ = ["Data", "Task", "below", "check_counts", "check_split", "equal_shares", "permutations"]


@dataclass(frozen=True, eq=False)
class Data:
    """The data of M problems: N sequences each, of T tokens, with R answers per sequence.

    Attributes:
        inputs: token ids (M, N, T), or features (M, N, T, F).
        targets: classes, (M, N, R).
        share: weight of every answer in the unweighted loss, (M, N, R); the sum is 1 for each problem. If the frequency
            of the classes is a dial, every class has the same total weight; else every answer has the same.
    """

    inputs: NDArray[Any]
    targets: NDArray[np.int64]
    share: NDArray[np.float64]


class Task(ABC):
    """A frozen configuration that draws the data of a problem from (seed, problem index) alone."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]  # every task is a dataclass, so that `replace` takes any
    name: ClassVar[str]
    batch: int | None

    @property
    @abstractmethod
    def shape(self) -> DataShape:
        """The properties that a model needs."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Return N, the number of sequences of one problem, without drawing them."""

    @property
    def draws(self) -> int:
        """Return about how many numbers are drawn per sequence, for an estimate of memory."""
        return self.shape.tokens

    @abstractmethod
    def data(self, seed: int, index: NDArray[np.int64]) -> Data:
        """Draw the data of the problems with these indices, (M,)."""

    def test_data(self, seed: int, index: NDArray[np.int64]) -> Data | None:
        """Draw the test data of these problems, which share no sequence with `data`; None where the task has none."""
        return None

    def __str__(self) -> str:
        return shown_without_defaults(self, "test")


def permutations(seed: int, index: NDArray[np.int64], number: int, size: int) -> NDArray[np.int64]:
    """Draw a permutation of 0..size-1 for every problem, (M, size)."""
    return np.argsort(uniforms(seed, index, Purpose.DATA, number, size), axis=1, kind="stable")


def below(drawn: NDArray[np.float64], high: int) -> NDArray[np.int64]:
    """Convert uniforms in (0, 1] to whole numbers in [0, high)."""
    return np.minimum(((1.0 - drawn) * high).astype(np.int64), high - 1)


def equal_shares(inputs: NDArray[Any], targets: NDArray[np.int64]) -> Data:
    """Return data in which every answer has the same share; inputs (M, N, T) or (M, N, T, F), targets (M, N, R)."""
    answers = targets.shape[1] * targets.shape[2]
    return Data(inputs, targets, np.broadcast_to(1.0 / answers, targets.shape))


def check_split(sequences: int, test: int, available: int, what: str) -> None:
    """Check that training and test data are at most the `available` ones together.

    Raises:
        ValueError: they are more.
    """
    if sequences + test > available:
        raise ValueError(
            f"sequences and test must be at most {available} together, the number of {what}, got {sequences} and {test}; "
            "use fewer."
        )


def check_counts(task: Any, *names: str, **low: int) -> None:
    """Check that these fields of a task, and its batch if it has one, are whole numbers of at least 1, or of `low`.

    Raises:
        ValueError: one is not.
    """
    for name in names:
        object.__setattr__(task, name, check_count(name, getattr(task, name), low.get(name, 1)))
    if task.batch is not None:
        object.__setattr__(task, "batch", check_count("batch", task.batch))
