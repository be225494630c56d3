"""What the toy models are given to learn."""

from collections import Counter
from pydoc_data.topics import topics

import numpy as np
import pytest
from sklearn.datasets import load_digits

from quadsim.simulator import ToyProblem
from quadsim.simulator.models import TASKS, Digits, Induction, ModularAddition, Text, TokenMap
from quadsim.simulator.models.tasks.catalogue import resolve_task
from quadsim.simulator.models.tasks.text import text_tokens

ALL = {
    "token-map": {"vocabulary": 7, "tokens": 3, "zipf": 12.0},
    "modular-addition": {"p": 5},
    "many-classes": {"vocabulary": 40},
    "induction": {"sequences": 30},
    "digits": {"sequences": 20},
    "table": {"sequences": 20},
    "gaussians": {"sequences": 20},
    "text-char": {"sequences": 20},
    "text-word": {"sequences": 20},
}


def test_every_task_is_tested():
    assert set(ALL) == set(TASKS)


@pytest.mark.parametrize("name", ALL)
def test_data_fit_the_shape_and_depend_on_seed_and_index_alone(name):
    task = resolve_task(name, **ALL[name])
    data, shape = task.data(3, np.arange(4)), task.shape
    answers = shape.tokens if shape.readout == "every" else 1
    assert data.inputs.shape[2:] == ((shape.tokens,) if data.inputs.ndim == 3 else (shape.tokens, shape.inputs))
    assert data.targets.shape == data.share.shape == (*data.inputs.shape[:2], answers)
    assert data.targets.min() >= 0
    assert data.targets.max() < shape.classes
    if data.inputs.ndim == 3:
        assert data.inputs.min() >= 0
        assert data.inputs.max() < shape.inputs
    np.testing.assert_allclose(data.share.sum(axis=(1, 2)), 1.0, rtol=1e-14)
    alone, other_seed = task.data(3, np.array([2])), task.data(4, np.array([2]))
    for field in ("inputs", "targets", "share"):
        np.testing.assert_array_equal(getattr(alone, field)[0], getattr(data, field)[2])
    if name != "modular-addition":  # the same for all
        assert not np.array_equal(data.inputs[1], data.inputs[2])
        assert not np.array_equal(other_seed.inputs[0], alone.inputs[0])


@pytest.mark.parametrize("dial", ["frequency", "zipf", "separable", "reparametrisation"])
def test_a_problem_does_not_depend_on_its_batch_mates(dial):
    options = {"dial": dial, "heterogeneity": [1.0, 3.0, 50.0], "seed": 5, "width": 5}
    batch = ToyProblem.generate("mlp", TokenMap(7, 3, batch=4), problems=3, **options)
    for m in range(9):
        alone = batch.select([m])
        fresh = ToyProblem.generate(
            "mlp",
            TokenMap(7, 3, batch=4),
            problems=1,
            first=m % 3,
            **options | {"heterogeneity": [1.0, 3.0, 50.0][m // 3]},
        )
        for one in (alone, fresh):
            n = one.sequences[0]
            assert n == batch.sequences[m] == one.data.targets.shape[1]
            for name in ("weights", "start", "copy_weights", "block_scales"):
                if (value := getattr(one, name)) is not None:
                    whole = getattr(batch, name)[m]
                    np.testing.assert_array_equal(value[0], whole[:n] if name == "weights" else whole)
            np.testing.assert_array_equal(one.data.inputs[0], batch.data.inputs[m, :n])
            np.testing.assert_array_equal(one.batch(17)[0], batch.batch(17)[m])


def test_token_map_has_a_class_for_each_token():
    data = TokenMap(vocabulary=10, tokens=4).data(0, np.arange(3))
    maps = []
    for tokens, classes in zip(data.inputs, data.targets, strict=True):
        pairs = set(zip(tokens.ravel().tolist(), classes.ravel().tolist(), strict=True))
        assert sorted(a for a, _ in pairs) == sorted(b for _, b in pairs) == list(range(10))
        maps.append(sorted(pairs))
        # Ten tokens fill two sequences of four and half a third, which the most frequent fill up.
        assert Counter(tokens.ravel().tolist()) == {k: 2 if k < 2 else 1 for k in range(10)}
    assert maps[0] != maps[1]
    for m in range(3):
        of_class = [data.share[m][data.targets[m] == k].sum() for k in range(10)]
        np.testing.assert_allclose(of_class, 0.1, rtol=1e-14)


@pytest.mark.parametrize("c", [1.0, 2.0, 30.0, 1000.0])
def test_zipf_counts(c):
    task = TokenMap(vocabulary=9, tokens=2, zipf=c)
    tokens = task.data(0, np.array([0])).inputs
    counts = np.bincount(tokens.ravel(), minlength=9)
    expected = [round(c * (k + 1) ** -(np.log(c) / np.log(9))) for k in range(9)]
    assert expected[0] == c
    assert expected[-1] == 1
    assert counts.sum() == sum(expected) + sum(expected) % 2
    np.testing.assert_array_equal(counts[1:], expected[1:])


def test_modular_addition_holds_all_pairs():
    data = ModularAddition(p=5).data(0, np.arange(2))
    pairs = {(a, b): k for (a, b, _), (k,) in zip(data.inputs[1].tolist(), data.targets[1].tolist(), strict=True)}
    assert pairs == {(a, b): (a + b) % 5 for a in range(5) for b in range(5)}
    assert data.inputs.shape == (2, 25, 3)
    assert np.all(data.inputs[:, :, 2] == 5)


def test_induction_asks_for_what_followed():
    data = Induction(vocabulary=6, tokens=6, sequences=200).data(1, np.arange(2))
    positions = set()
    for tokens, (answer,) in zip(
        data.inputs.reshape(-1, 6).tolist(), data.targets.reshape(-1, 1).tolist(), strict=True
    ):
        *context, asked = tokens
        assert len(set(context)) == 5
        assert answer == context[context.index(asked) + 1]
        positions.add(context.index(asked))
    assert positions == {0, 1, 2, 3}


@pytest.mark.parametrize("patch", [1, 2, 4, 8])
def test_digits_are_images_in_patches(patch):
    data = Digits(patch=patch, sequences=5).data(0, np.arange(1))
    images, labels = load_digits().images / 16.0, load_digits().target
    side = 8 // patch
    for tokens, (label,) in zip(data.inputs[0], data.targets[0], strict=True):
        rows = [np.hstack([tokens[r * side + c].reshape(patch, patch) for c in range(side)]) for r in range(side)]
        (found,) = np.flatnonzero(np.all(images == np.vstack(rows), axis=(1, 2)))
        assert labels[found] == label


def test_turned_digits_are_the_same_images_turned():
    upright, turned = (Digits(patch=8, sequences=5, turns=turns).data(3, np.arange(2)) for turns in (0, 3))
    shape = (2, 5, 8, 8)
    np.testing.assert_array_equal(turned.inputs.reshape(shape), np.rot90(upright.inputs.reshape(shape), 3, axes=(2, 3)))
    assert not np.array_equal(turned.inputs, upright.inputs)
    np.testing.assert_array_equal(turned.targets, upright.targets)


def test_each_half_of_the_text_has_windows_of_its_own():
    stream = text_tokens("char", 63)[0]
    windows = np.lib.stride_tricks.sliding_window_view(stream, 17)
    for half in ("first", "second"):
        data = Text(tokens=16, sequences=3, half=half).data(0, np.arange(1))
        for sequence, (*_, last) in zip(data.inputs[0], data.targets[0], strict=True):
            places = np.flatnonzero(np.all(windows == [*sequence, last], axis=1))
            mine = places + 17 <= stream.size // 2 if half == "first" else places >= stream.size // 2
            assert mine.any()
    first, second, both = (Text(half=half).data(0, np.arange(1)).inputs for half in ("first", "second", "both"))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, both)


def test_text_is_the_next_character_or_word():
    text = "\n".join(topics[name] for name in sorted(topics))
    ids, available = text_tokens("char", 20)
    common = [character for character, _ in Counter(text).most_common(20)]
    assert available == len(set(text))
    assert sum(text.count(character) for character in common) == np.sum(ids < 20)
    where = np.array([common.index(character) if character in common else 20 for character in text[:3000]])
    np.testing.assert_array_equal(ids[:3000], where)
    for task, level, vocabulary in ((Text("char", 20, 6, 9), "char", 20), (Text("word", 50, 4, 9), "word", 50)):
        data = task.data(2, np.arange(2))
        np.testing.assert_array_equal(data.inputs[:, :, 1:], data.targets[:, :, :-1])
        stream = text_tokens(level, vocabulary)[0]
        windows = np.lib.stride_tricks.sliding_window_view(stream, task.tokens + 1)
        assert np.any(np.all(windows == [*data.inputs[0, 0], data.targets[0, 0, -1]], axis=1))
        assert task.shape.classes == vocabulary + 1
    words = text_tokens("word", 300)[0]
    counts = np.bincount(words)[:300]
    assert np.all(np.diff(counts) <= 0)  # most frequent first


def test_mini_batches_cover_the_sequences_alike_and_differ_from_step_to_step():
    problem = ToyProblem.generate("mlp", TokenMap(8, 2, batch=64), problems=2, heterogeneity=[1.0, 9.0])
    steps = np.stack([problem.batch(t) for t in range(100)])  # (100, 4, 64)
    np.testing.assert_array_equal(steps[:, :2], steps[:, 2:])  # the same index under both values of the dial
    assert not np.array_equal(steps[:, 0], steps[:, 1])
    assert not np.array_equal(steps[0], steps[1])
    counts = np.bincount(steps[:, 0].ravel(), minlength=4)
    assert counts.size == 4
    assert np.all(np.abs(counts - 1600) < 5 * np.sqrt(6400 * 3 / 16))
    assert ToyProblem.generate("mlp", TokenMap(8, 2)).batch(0) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: resolve_task("token-mop"), r"task must be one of .* got 'token-mop'; did you mean 'token-map'"),
        (lambda: resolve_task("digits", patches=2), r"option of digits must be one of patch, .* did you mean 'patch'"),
        (lambda: resolve_task(Digits(), patch=2), r"options of a task must come with its name, got a digits"),
        (lambda: TokenMap(vocabulary=1), r"vocabulary must be a whole number of at least 2, got 1"),
        (lambda: TokenMap(batch=0), r"batch must be a whole number of at least 1, got 0"),
        (lambda: TokenMap(zipf=0.5), r"zipf must be a number of at least 1, got 0.5"),
        (lambda: ModularAddition(p=1), r"p must be a whole number of at least 2, got 1"),
        (lambda: Induction(tokens=2), r"tokens must be a whole number of at least 3, got 2"),
        (lambda: Induction(vocabulary=4, tokens=6), r"tokens must be at most .* \(5\), got 6; use shorter"),
        (lambda: Digits(patch=3), r"patch must be 1, 2, 4 or 8, got 3"),
        (lambda: Digits(sequences=1798), r"sequences must be at most 1797, .* got 1798"),
        (lambda: Digits(turns=4), r"turns must be 0, 1, 2 or 3 quarter turns, got 4"),
        (lambda: Text(half="third"), r"half must be one of both, first, second, got 'third'"),
        (lambda: Text(level="letter"), r"level must be one of char, word, got 'letter'"),
        (lambda: Text(vocabulary=10**6), r"vocabulary must be at most \d+, the number of chars, got 1000000"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", TASKS)
def test_the_number_of_sequences_is_known_before_they_are_drawn(name):
    task = resolve_task(name)
    assert task.data(0, np.arange(2)).targets.shape[1] == task.size


@pytest.mark.parametrize("zipf", [1.0, 3.7, 1000.0])
def test_and_so_it_is_where_tokens_are_of_different_frequency(zipf):
    task = TokenMap(vocabulary=9, tokens=4, repeats=3, zipf=zipf)
    assert task.data(0, np.arange(1)).targets.shape[1] == task.size
    problem = ToyProblem.generate("mlp", task, dial="zipf", heterogeneity=[1.0, zipf], problems=2)
    assert problem.longest == problem.sequences.max()
