"""Real data of scikit-learn: images of digits, and three tables."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.models.base import DataShape
from quadsim.simulator.models.tasks.task import Data, Task, check_counts, check_split, equal_shares, permutations
from quadsim.simulator.support.checks import check_choice

__all__ = ["TABLES", "Digits", "Table"]

TABLES = ("iris", "wine", "breast-cancer")
"""The tables of scikit-learn with classes: 150 flowers (4 features, 3 classes), 178 wines (13, 3) and 569 tumours (30, 2)."""


@dataclass(frozen=True)
class Digits(Task):
    """Classify the 8x8 digits of scikit-learn (UCI, Alpaydin and Kaynak 1998), with patches as tokens.

    Attributes:
        patch: width and height of a patch in pixels: 1, 2, 4 or 8.
        sequences: number of images, drawn from the 1797 for every problem.
        batch: as in TokenMap.
        turns: number of quarter turns of every image, 0 to 3; it makes another task with the same images.
        test: number of images in the test data, drawn from those that are not among the `sequences`.
    """

    name: ClassVar[str] = "digits"

    patch: int = 2
    sequences: int = 256
    batch: int | None = 32
    turns: int = 0
    test: int = 0

    def __post_init__(self) -> None:
        check_counts(self, "patch", "sequences", "turns", "test", turns=0, test=0)
        if self.turns > 3:
            raise ValueError(f"turns must be 0, 1, 2 or 3 quarter turns, got {self.turns}; give one of these.")
        if self.patch not in (1, 2, 4, 8):
            raise ValueError(f"patch must be 1, 2, 4 or 8, got {self.patch}; give one of these.")
        if self.sequences > 1797:
            raise ValueError(f"sequences must be at most 1797, the number of images, got {self.sequences}; use fewer.")
        check_split(self.sequences, self.test, 1797, "images")

    @property
    def shape(self) -> DataShape:
        """Patches to ten classes, from the mean over patches."""
        return DataShape(self.patch**2, (8 // self.patch) ** 2, 10, readout="mean")

    @property
    def size(self) -> int:
        """See `Task.size`."""
        return self.sequences

    @property
    def draws(self) -> int:
        """Return the number of pixels of an image, which is more than the draws for the permutation of the images."""
        return 64

    def data(self, seed: int, index: NDArray[np.int64]) -> Data:
        """Draw the images; features are grey values in [0, 1]."""
        return self._drawn(seed, index, slice(0, self.sequences))

    def test_data(self, seed: int, index: NDArray[np.int64]) -> Data | None:
        """See `Task.test_data`."""
        return self._drawn(seed, index, slice(self.sequences, self.sequences + self.test)) if self.test else None

    def _drawn(self, seed: int, index: NDArray[np.int64], part: slice) -> Data:
        images, labels = _digits()
        images = np.rot90(images, self.turns, axes=(1, 2))
        side = 8 // self.patch
        patches = images.reshape(-1, side, self.patch, side, self.patch).transpose(0, 1, 3, 2, 4)
        chosen = permutations(seed, index, 0, labels.size)[:, part]
        return equal_shares(patches.reshape(-1, side**2, self.patch**2)[chosen], labels[chosen][:, :, None])


@dataclass(frozen=True)
class Table(Task):
    """Classify the rows of a table of scikit-learn; a row is one token, its features have the mean 0 and the variance 1.

    Attributes:
        of: one of TABLES.
        sequences: number of rows, drawn from all for every problem.
        batch: as in TokenMap.
        test: number of rows in the test data, drawn from those that are not among the `sequences`.
    """

    name: ClassVar[str] = "table"

    of: str = "wine"
    sequences: int = 100
    batch: int | None = None
    test: int = 0

    def __post_init__(self) -> None:
        check_choice("of", self.of, TABLES)
        check_counts(self, "sequences", "test", test=0)
        check_split(self.sequences, self.test, _table(self.of)[1].size, "rows")

    @property
    def shape(self) -> DataShape:
        """Features to classes, from the only token."""
        features, labels = _table(self.of)
        return DataShape(features.shape[1], 1, int(labels.max()) + 1, readout="mean")

    @property
    def size(self) -> int:
        """See `Task.size`."""
        return self.sequences

    @property
    def draws(self) -> int:
        """Return the number of features, for each of which a number is kept."""
        return self.shape.inputs

    def data(self, seed: int, index: NDArray[np.int64]) -> Data:
        """Draw the rows."""
        return self._drawn(seed, index, slice(0, self.sequences))

    def test_data(self, seed: int, index: NDArray[np.int64]) -> Data | None:
        """See `Task.test_data`."""
        return self._drawn(seed, index, slice(self.sequences, self.sequences + self.test)) if self.test else None

    def _drawn(self, seed: int, index: NDArray[np.int64], part: slice) -> Data:
        features, labels = _table(self.of)
        chosen = permutations(seed, index, 0, labels.size)[:, part]
        return equal_shares(features[chosen][:, :, None], labels[chosen][:, :, None])


@lru_cache(maxsize=len(TABLES))
def _table(name: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    from sklearn import datasets

    load = {"iris": datasets.load_iris, "wine": datasets.load_wine, "breast-cancer": datasets.load_breast_cancer}[name]
    features, labels = load(return_X_y=True)
    return (features - features.mean(axis=0)) / features.std(axis=0), labels.astype(np.int64)


@lru_cache(maxsize=1)
def _digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images / 16.0, found.target.astype(np.int64)
