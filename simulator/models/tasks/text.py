"""Text that comes with Python, by characters or words: the next token is predicted."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.models.base import DataShape
from quadsim.simulator.models.tasks.task import Data, Task, below, check_counts, equal_shares
from quadsim.simulator.support.checks import check_choice
from quadsim.simulator.support.draws import Purpose, uniforms

__all__ = ["Text", "text_tokens"]

HALVES = ("both", "first", "second")


@dataclass(frozen=True)
class Text(Task):
    """Predict the next character or word of Python's help topics (`pydoc_data.topics`), a text with a heavy-tailed vocabulary.

    Attributes:
        level: `char` or `word`.
        vocabulary: number of the most frequent characters or words that have a token; all others share one more token.
        tokens: T, number of tokens in a sequence.
        sequences: number of windows of the text, drawn for every problem.
        batch: as in TokenMap.
        half: `first` or `second` half of the text (topics are in alphabetical order), or `both`. The vocabulary is always that
            of the whole text.
        test: number of windows in the test data. If there are any, the last tenth of the text (or of the half) belongs to them
            alone, and the training windows lie before it.
    """

    name: ClassVar[str] = "text"

    level: str = "char"
    vocabulary: int = 63
    tokens: int = 8
    sequences: int = 256
    batch: int | None = 32
    half: str = "both"
    test: int = 0

    def __post_init__(self) -> None:
        check_choice("level", self.level, ("char", "word"))
        check_choice("half", self.half, HALVES)
        check_counts(self, "vocabulary", "tokens", "sequences", "test", vocabulary=2, test=0)
        available = text_tokens(self.level, 0)[1]
        if self.vocabulary > available:
            raise ValueError(
                f"vocabulary must be at most {available}, the number of {self.level}s, got {self.vocabulary}; use less."
            )

    @property
    def shape(self) -> DataShape:
        """V + 1 tokens to as many classes, at every token; causal."""
        return DataShape(self.vocabulary + 1, self.tokens, self.vocabulary + 1, causal=True)

    @property
    def size(self) -> int:
        """See `Task.size`."""
        return self.sequences

    def data(self, seed: int, index: NDArray[np.int64]) -> Data:
        """Draw windows of the text; they may overlap."""
        ids = self._stream()
        return self._windows(seed, index, 0, ids[: self._split(ids)], self.sequences)

    def test_data(self, seed: int, index: NDArray[np.int64]) -> Data | None:
        """See `Task.test_data`."""
        ids = self._stream()
        return self._windows(seed, index, 1, ids[self._split(ids) :], self.test) if self.test else None

    def _split(self, ids: NDArray[np.int64]) -> int:
        return ids.size - ids.size // 10 if self.test else ids.size

    def _stream(self) -> NDArray[np.int64]:
        ids, _ = text_tokens(self.level, self.vocabulary)
        middle = ids.size // 2
        return {"both": ids, "first": ids[:middle], "second": ids[middle:]}[self.half]

    def _windows(self, seed: int, index: NDArray[np.int64], number: int, ids: NDArray[np.int64], count: int) -> Data:
        begin = below(uniforms(seed, index, Purpose.DATA, number, count), ids.size - self.tokens)
        windows = ids[begin[:, :, None] + np.arange(self.tokens + 1)]
        return equal_shares(windows[:, :, :-1], windows[:, :, 1:])


def text_tokens(level: str, vocabulary: int) -> tuple[NDArray[np.int64], int]:
    """Return the text as token ids (0 is the most frequent; rare ones are `vocabulary`), and the number of different tokens."""
    ranks, available = _ranked_text(level)
    return np.minimum(ranks, vocabulary), available


@lru_cache(maxsize=2)
def _ranked_text(level: str) -> tuple[NDArray[np.int64], int]:
    from pydoc_data.topics import topics  # half a megabyte

    text = "\n".join(topics[name] for name in sorted(topics))
    tokens = list(text) if level == "char" else re.findall(r"\w+|[^\w\s]", text.lower())
    ranked = sorted(Counter(tokens).items(), key=lambda item: (-item[1], item[0]))
    rank = {token: i for i, (token, _) in enumerate(ranked)}
    return np.array([rank[token] for token in tokens]), len(rank)
