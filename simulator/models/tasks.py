"""Tasks for toy models: small synthetic ones, and two sets of real data that come with Python packages."""

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.models.base import DataShape
from quadsim.simulator.support.checks import check_choice, check_count, check_interval, check_known
from quadsim.simulator.support.draws import Purpose, uniforms

__all__ = ["TASKS", "Data", "Digits", "Induction", "ModularAddition", "Task", "Text", "TokenMap", "resolve_task"]


HALVES = ("both", "first", "second")


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
        _check_counts(self, "vocabulary", "tokens", "repeats", vocabulary=2)
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
        order = _permutations(seed, index, 0, ids.size)
        tokens = ids[order].reshape(index.size, -1, self.tokens)
        classes = _permutations(seed, index, 1, self.vocabulary)
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
        _check_counts(self, "p", p=2)

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
        return _shared(inputs, ((a + b) % self.p)[:, None], index.size)


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
        _check_counts(self, "vocabulary", "tokens", "sequences", vocabulary=2, tokens=3)
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
        position = _below(drawn, before - 1)
        inputs = np.concatenate([tokens, np.take_along_axis(tokens, position, axis=1)], axis=1)
        targets = np.take_along_axis(tokens, position + 1, axis=1)
        shape = (index.size, self.sequences, -1)
        return _equal_shares(inputs.reshape(shape), targets.reshape(shape))


@dataclass(frozen=True)
class Digits(Task):
    """Classify the 8x8 digits of scikit-learn (UCI, Alpaydin and Kaynak 1998), with patches as tokens.

    Attributes:
        patch: width and height of a patch in pixels: 1, 2, 4 or 8.
        sequences: number of images, drawn from the 1797 for every problem.
        batch: as in TokenMap.
        turns: number of quarter turns of every image, 0 to 3; it makes another task with the same images.
    """

    name: ClassVar[str] = "digits"

    patch: int = 2
    sequences: int = 256
    batch: int | None = 32
    turns: int = 0

    def __post_init__(self) -> None:
        _check_counts(self, "patch", "sequences", "turns", turns=0)
        if self.turns > 3:
            raise ValueError(f"turns must be 0, 1, 2 or 3 quarter turns, got {self.turns}; give one of these.")
        if self.patch not in (1, 2, 4, 8):
            raise ValueError(f"patch must be 1, 2, 4 or 8, got {self.patch}; give one of these.")
        if self.sequences > 1797:
            raise ValueError(f"sequences must be at most 1797, the number of images, got {self.sequences}; use fewer.")

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
        images, labels = _digits()
        images = np.rot90(images, self.turns, axes=(1, 2))
        side = 8 // self.patch
        patches = images.reshape(-1, side, self.patch, side, self.patch).transpose(0, 1, 3, 2, 4)
        chosen = _permutations(seed, index, 0, labels.size)[:, : self.sequences]
        return _equal_shares(patches.reshape(-1, side**2, self.patch**2)[chosen], labels[chosen][:, :, None])


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
    """

    name: ClassVar[str] = "text"

    level: str = "char"
    vocabulary: int = 63
    tokens: int = 8
    sequences: int = 256
    batch: int | None = 32
    half: str = "both"

    def __post_init__(self) -> None:
        check_choice("level", self.level, ("char", "word"))
        check_choice("half", self.half, HALVES)
        _check_counts(self, "vocabulary", "tokens", "sequences", vocabulary=2)
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
        ids, _ = text_tokens(self.level, self.vocabulary)
        middle = ids.size // 2
        ids = {"both": ids, "first": ids[:middle], "second": ids[middle:]}[self.half]
        begin = _below(uniforms(seed, index, Purpose.DATA, 0, self.sequences), ids.size - self.tokens)
        windows = ids[begin[:, :, None] + np.arange(self.tokens + 1)]
        return _equal_shares(windows[:, :, :-1], windows[:, :, 1:])


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


@lru_cache(maxsize=1)
def _digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    found = load_digits()
    return found.images / 16.0, found.target.astype(np.int64)


def _permutations(seed: int, index: NDArray[np.int64], number: int, size: int) -> NDArray[np.int64]:
    """Draw a permutation of 0..size-1 for every problem, (M, size)."""
    return np.argsort(uniforms(seed, index, Purpose.DATA, number, size), axis=1, kind="stable")


def _below(drawn: NDArray[np.float64], high: int) -> NDArray[np.int64]:
    """Convert uniforms in (0, 1] to whole numbers in [0, high)."""
    return np.minimum(((1.0 - drawn) * high).astype(np.int64), high - 1)


def _shared(inputs: NDArray[Any], targets: NDArray[np.int64], problems: int) -> Data:
    return _equal_shares(
        np.broadcast_to(inputs, (problems, *inputs.shape)), np.broadcast_to(targets, (problems, *targets.shape))
    )


def _equal_shares(inputs: NDArray[Any], targets: NDArray[np.int64]) -> Data:
    answers = targets.shape[1] * targets.shape[2]
    return Data(inputs, targets, np.broadcast_to(1.0 / answers, targets.shape))


def _check_counts(task: Any, *names: str, **low: int) -> None:
    for name in names:
        object.__setattr__(task, name, check_count(name, getattr(task, name), low.get(name, 1)))
    if task.batch is not None:
        object.__setattr__(task, "batch", check_count("batch", task.batch))


TASKS: dict[str, Callable[..., Task]] = {
    "token-map": TokenMap,
    "modular-addition": ModularAddition,
    "many-classes": partial(TokenMap, vocabulary=512, batch=16),
    "induction": Induction,
    "digits": Digits,
    "text-char": Text,
    "text-word": partial(Text, level="word", vocabulary=255),
}
"""The tasks by their names on the command line; each is a function of the options of the task."""


def resolve_task(task: Task | str, **options: Any) -> Task:
    """Return a Task from its name in TASKS and its fields; a Task is returned as it is.

    Raises:
        ValueError: an unknown name or field, or a value out of range.
    """
    if isinstance(task, Task):
        if options:
            raise ValueError(
                f"options of a task must come with its name, got a {task.name} and {options}; give the name or no options."
            )
        return task
    make = TASKS[check_choice("task", task, TASKS)]
    kind: Any = make.func if isinstance(make, partial) else make
    check_known(f"option of {task}", options, [f.name for f in fields(kind)])
    return make(**options)
