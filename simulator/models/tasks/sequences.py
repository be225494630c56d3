"""Synthetic tasks of sequences of tokens: a map of tokens, modular addition and induction."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.models.base import DataShape
from quadsim.simulator.models.tasks.task import Data, Task, below, check_counts, equal_shares, permutations
from quadsim.simulator.support.checks import check_interval
from quadsim.simulator.support.draws import Purpose, uniforms

__all__ = ["Induction", "ModularAddition", "TokenMap"]


@dataclass(frozen=True)
class TokenMap(Task):
    """Learn the class of every token. The classes are a random permutation of the tokens, drawn for every problem.

    Attributes:
        vocabulary: V, number of tokens; each has a class of its own.
        tokens: T, number of tokens in a sequence.
        repeats: number of occurrences of the least frequent token.
        zipf: frequency of the most over that of the least frequent token. Token k of V occurs repeats * round(zipf k^-s) times,
            s = ln(zipf)/ln(V). 1: all are equally frequent.
        batch: number of sequences per step, drawn with replacement; None: all sequences at every step.
    """

    name: ClassVar[str] = "token-map"

    vocabulary: int = 64
    tokens: int = 2
    repeats: int = 1
    zipf: float = 1.0
    batch: int | None = None

    def __post_init__(self) -> None:
        check_counts(self, "vocabulary", "tokens", "repeats", vocabulary=2)
        check_interval("zipf", self.zipf, 1.0)

    @property
    def shape(self) -> DataShape:
        """V tokens to V classes, at every token."""
        return DataShape(self.vocabulary, self.tokens, self.vocabulary)

    @property
    def size(self) -> int:
        """See `Task.size`."""
        return -(-int(self._wanted().sum()) // self.tokens)

    def _wanted(self) -> NDArray[np.float64]:
        """Return the occurrences of each token before sequences are filled up, (V,): whole numbers; they may exceed an int."""
        ranks = np.arange(1, self.vocabulary + 1)
        wanted = np.round(self.zipf * ranks ** -(np.log(self.zipf) / np.log(self.vocabulary)))
        return np.asarray(wanted * self.repeats)

    def data(self, seed: int, index: NDArray[np.int64]) -> Data:
        """Draw the order of the tokens; the last sequence is filled up with the most frequent tokens."""
        counts = self._wanted().astype(np.int64)
        missing = -int(counts.sum()) % self.tokens
        whole, rest = divmod(missing, self.vocabulary)
        counts += whole
        counts[:rest] += 1
        ids = np.repeat(np.arange(self.vocabulary), counts)
        order = permutations(seed, index, 0, ids.size)
        tokens = ids[order].reshape(index.size, -1, self.tokens)
        classes = permutations(seed, index, 1, self.vocabulary)
        targets = np.take_along_axis(classes, tokens.reshape(index.size, -1), axis=1).reshape(tokens.shape)
        return Data(tokens, targets, 1.0 / (self.vocabulary * counts[tokens]))


@dataclass(frozen=True)
class ModularAddition(Task):
    """Learn (a + b) mod p from the tokens a, b and a query token, for all p^2 pairs (Power et al., arXiv 2201.02177).

    Attributes:
        p: the modulus.
        batch: as in TokenMap.
    """

    name: ClassVar[str] = "modular-addition"

    p: int = 13
    batch: int | None = None

    def __post_init__(self) -> None:
        check_counts(self, "p", p=2)

    @property
    def shape(self) -> DataShape:
        """From p + 1 tokens (the numbers and the query) to p classes, at the last token."""
        return DataShape(self.p + 1, 3, self.p, readout="last")

    @property
    def size(self) -> int:
        """See `Task.size`."""
        return self.p**2

    def data(self, seed: int, index: NDArray[np.int64]) -> Data:
        """Return the data, the same for all problems; problems differ in their start."""
        a, b = (x.ravel() for x in np.meshgrid(np.arange(self.p), np.arange(self.p), indexing="ij"))
        inputs = np.stack([a, b, np.full_like(a, self.p)], axis=1)
        sums = ((a + b) % self.p)[:, None]
        return equal_shares(*(np.broadcast_to(x, (index.size, *x.shape)) for x in (inputs, sums)))


@dataclass(frozen=True)
class Induction(Task):
    """Predict the token that followed the last token at its earlier occurrence (Olsson et al., arXiv 2209.11895).

    A sequence has different tokens in random order, and then one of them (not the last) again.

    Attributes:
        vocabulary: V, number of tokens.
        tokens: T, length of a sequence with the repeated token; at most V + 1.
        sequences: N, number of sequences.
        batch: as in TokenMap.
    """

    name: ClassVar[str] = "induction"

    vocabulary: int = 16
    tokens: int = 8
    sequences: int = 64
    batch: int | None = None

    def __post_init__(self) -> None:
        check_counts(self, "vocabulary", "tokens", "sequences", vocabulary=2, tokens=3)
        if self.tokens > self.vocabulary + 1:
            raise ValueError(
                f"tokens must be at most vocabulary + 1 ({self.vocabulary + 1}), got {self.tokens}; use shorter "
                "sequences."
            )

    @property
    def shape(self) -> DataShape:
        """V tokens to V classes at the last token; causal."""
        return DataShape(self.vocabulary, self.tokens, self.vocabulary, readout="last", causal=True)

    @property
    def size(self) -> int:
        """See `Task.size`."""
        return self.sequences

    @property
    def draws(self) -> int:
        """Return V: one number per token of the vocabulary is drawn for every sequence."""
        return self.vocabulary

    def data(self, seed: int, index: NDArray[np.int64]) -> Data:
        """Draw the sequences, separately for every problem."""
        number, before = index.size * self.sequences, self.tokens - 1
        keys = uniforms(seed, index, Purpose.DATA, 0, self.sequences * self.vocabulary)
        tokens = np.argsort(keys.reshape(number, self.vocabulary), axis=1, kind="stable")[:, :before]
        drawn = uniforms(seed, index, Purpose.DATA, 1, self.sequences).reshape(number, 1)
        position = below(drawn, before - 1)
        inputs = np.concatenate([tokens, np.take_along_axis(tokens, position, axis=1)], axis=1)
        targets = np.take_along_axis(tokens, position + 1, axis=1)
        shape = (index.size, self.sequences, -1)
        return equal_shares(inputs.reshape(shape), targets.reshape(shape))
