"""A synthetic task of vectors: classes that are normal, or separated by their centres."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.models.base import DataShape
from quadsim.simulator.models.tasks.task import Data, Task, check_counts, equal_shares, permutations
from quadsim.simulator.support.checks import check_interval
from quadsim.simulator.support.draws import Purpose, normals

__all__ = ["Gaussians"]


@dataclass(frozen=True)
class Gaussians(Task):
    """Learn random classes of random vectors, as in the theory of Hessians at a random start.

    A vector has `features` independent standard normal entries, plus `separation` times the standard normal centre of its class.
    Every class has equally many vectors, up to one.

    Attributes:
        features: F, number of entries of a vector.
        classes: C, number of classes, at most `sequences`.
        sequences: N, number of vectors.
        separation: 0 makes the classes independent of the vectors.
        batch: as in TokenMap.
        test: number of further vectors, with the same centres, in the test data.
    """

    name: ClassVar[str] = "gaussians"

    features: int = 16
    classes: int = 10
    sequences: int = 1000
    separation: float = 0.0
    batch: int | None = None
    test: int = 0

    def __post_init__(self) -> None:
        check_counts(self, "features", "classes", "sequences", "test", classes=2, test=0)
        object.__setattr__(self, "separation", check_interval("separation", self.separation, 0.0))
        if self.classes > self.sequences:
            raise ValueError(
                f"classes must be at most the sequences ({self.sequences}), got {self.classes}; use fewer."
            )

    @property
    def shape(self) -> DataShape:
        """F features to C classes, from the only token."""
        return DataShape(self.features, 1, self.classes, readout="mean")

    @property
    def size(self) -> int:
        """See `Task.size`."""
        return self.sequences

    @property
    def draws(self) -> int:
        """Return F, the numbers drawn for a vector."""
        return self.features

    def data(self, seed: int, index: NDArray[np.int64]) -> Data:
        """Draw vectors and classes."""
        return self._drawn(seed, index, 0, self.sequences)

    def test_data(self, seed: int, index: NDArray[np.int64]) -> Data | None:
        """See `Task.test_data`."""
        return self._drawn(seed, index, 2, self.test) if self.test else None

    def _drawn(self, seed: int, index: NDArray[np.int64], first: int, number: int) -> Data:
        """Draw `number` vectors; `first` is the number of the first of the two draws."""
        labels = permutations(seed, index, first + 1, number) % self.classes
        vectors = normals(seed, index, Purpose.DATA, first, number * self.features).reshape(index.size, number, -1)
        if self.separation:
            centres = normals(seed, index, Purpose.DATA, 4, self.classes * self.features)
            centres = centres.reshape(index.size, self.classes, -1)
            vectors = vectors + self.separation * np.take_along_axis(centres, labels[:, :, None], axis=1)
        return equal_shares(vectors[:, :, None], labels[:, :, None])
