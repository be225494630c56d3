"""Tasks for toy models: small synthetic ones, and real data that come with Python packages."""

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import Field, dataclass, fields
from functools import lru_cache, partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.models.base import DataShape, shown_without_defaults
from quadsim.simulator.support.checks import check_choice, check_count, check_interval, check_known
from quadsim.simulator.support.draws import Purpose, normals, uniforms

__all__ = [
    "TABLES",
    "TASKS",
    "Data",
    "Digits",
    "Gaussians",
    "Induction",
    "ModularAddition",
    "Table",
    "Task",
    "Text",
    "TokenMap",
    "resolve_task",
]

TABLES = ("iris", "wine", "breast-cancer")
"""The tables of scikit-learn with classes: 150 flowers (4 features, 3 classes), 178 wines (13, 3) and 569 tumours (30, 2)."""

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
        test: number of images in the test data, drawn from those that are not among the `sequences`.
    """

    name: ClassVar[str] = "digits"

    patch: int = 2
    sequences: int = 256
    batch: int | None = 32
    turns: int = 0
    test: int = 0

    def __post_init__(self) -> None:
        _check_counts(self, "patch", "sequences", "turns", "test", turns=0, test=0)
        if self.turns > 3:
            raise ValueError(f"turns must be 0, 1, 2 or 3 quarter turns, got {self.turns}; give one of these.")
        if self.patch not in (1, 2, 4, 8):
            raise ValueError(f"patch must be 1, 2, 4 or 8, got {self.patch}; give one of these.")
        if self.sequences > 1797:
            raise ValueError(f"sequences must be at most 1797, the number of images, got {self.sequences}; use fewer.")
        _check_split(self.sequences, self.test, 1797, "images")

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
        chosen = _permutations(seed, index, 0, labels.size)[:, part]
        return _equal_shares(patches.reshape(-1, side**2, self.patch**2)[chosen], labels[chosen][:, :, None])


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
        _check_counts(self, "sequences", "test", test=0)
        _check_split(self.sequences, self.test, _table(self.of)[1].size, "rows")

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
        chosen = _permutations(seed, index, 0, labels.size)[:, part]
        return _equal_shares(features[chosen][:, :, None], labels[chosen][:, :, None])


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
        _check_counts(self, "features", "classes", "sequences", "test", classes=2, test=0)
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
        labels = _permutations(seed, index, first + 1, number) % self.classes
        vectors = normals(seed, index, Purpose.DATA, first, number * self.features).reshape(index.size, number, -1)
        if self.separation:
            centres = normals(seed, index, Purpose.DATA, 4, self.classes * self.features)
            centres = centres.reshape(index.size, self.classes, -1)
            vectors = vectors + self.separation * np.take_along_axis(centres, labels[:, :, None], axis=1)
        return _equal_shares(vectors[:, :, None], labels[:, :, None])


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
        _check_counts(self, "vocabulary", "tokens", "sequences", "test", vocabulary=2, test=0)
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
        begin = _below(uniforms(seed, index, Purpose.DATA, number, count), ids.size - self.tokens)
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


def _check_split(sequences: int, test: int, available: int, what: str) -> None:
    if sequences + test > available:
        raise ValueError(
            f"sequences and test must be at most {available} together, the number of {what}, got {sequences} and {test}; "
            "use fewer."
        )


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
    "table": Table,
    "gaussians": Gaussians,
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
