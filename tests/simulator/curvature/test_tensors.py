"""Measures tensor by tensor, of steps and of the head, against dense matrices and plain NumPy."""

import numpy as np
import pytest
import torch

from quadsim.simulator import ToyProblem, measure, train
from quadsim.simulator.curvature.block_spectra import block_spectra, whole_hessian
from quadsim.simulator.curvature.from_snapshots import head_at_loss, step_measures
from quadsim.simulator.curvature.head_norms import head_norms
from quadsim.simulator.curvature.hessian import OneInstance
from quadsim.simulator.curvature.spectral_heterogeneity import log_deviation
from quadsim.simulator.curvature.tensors import gradient_table, largest_eigenvalues, row_shares, weight_matrices
from quadsim.simulator.models import MLP, Conv, Digits, Gaussians, TokenMap, Transformer

pytestmark = pytest.mark.usefixtures("one_thread")

TOKENS = TokenMap(vocabulary=5, tokens=3)
OF_A_LAYER = ("q", "k", "v", "o", "w1", "w2")


def generate(model, task=TOKENS, problems=2, **options):
    return ToyProblem.generate(model, task, problems=problems, **options)


# Weight matrices.


def test_weight_matrices_are_no_gains_positions_or_heads():
    problem = generate(Transformer(width=4, layers=4, heads=1))
    of_layer = {i: tuple(f"layer{i}.{kind}" for kind in OF_A_LAYER) for i in range(4)}
    assert weight_matrices(problem) == ("embed", *of_layer[0], *of_layer[1], *of_layer[2], *of_layer[3])
    assert weight_matrices(problem, layers=(0, 3)) == ("embed", *of_layer[0], *of_layer[3])
    few = weight_matrices(problem, number=5)
    assert few == ("embed", "layer0.w2", "layer1.w2", "layer2.w2", "layer3.w2")
    conv = generate(Conv(4, 8, norm="pre"))
    assert weight_matrices(conv) == ("embed", *(f"layer{i}.w" for i in range(8)))
    copies = generate(Conv(4, 1), dial="separable")
    assert weight_matrices(copies) == tuple(f"copy{i}.{name}" for i in range(4) for name in ("embed", "layer0.w"))
    assert set(weight_matrices(copies)) < set(copies.partition("module").labels)


@pytest.mark.parametrize(
    ("model", "task", "options"),
    [
        (Transformer(width=4, layers=2, heads=2), TOKENS, {}),
        (Conv(4, 3, norm="batch", activation="relu", dimensions=2), Digits(patch=4, sequences=8, batch=None), {}),
        (MLP(3, 2), TOKENS, {"dial": "reparametrisation", "heterogeneity": 100.0, "mode": "parameter"}),
        (Conv(4, 1), TOKENS, {"dial": "separable"}),
    ],
)
def test_narrow_products_with_blocks_are_those_of_the_whole_hessian(model, task, options):
    problem = generate(model, task, problems=1, **options)
    stack, cut = problem.stack(), problem.partition("module")
    wide, narrow = (OneInstance.of(stack, torch.tensor(problem.start), 0, narrow=narrow) for narrow in (False, True))
    (hessian,), _ = whole_hessian(stack, problem.start)
    blocks = narrow.blocks(cut, range(len(cut.sizes)))
    spans = set()
    for b, (begin, end) in enumerate(cut.ranges):
        exact = hessian[begin:end, begin:end]
        np.testing.assert_allclose(blocks[b], exact, atol=1e-12 * np.abs(hessian).max())
        v = torch.arange(1.0, 1.0 + end - begin, dtype=torch.float64)
        along = narrow.within((begin, end))(v).numpy()
        np.testing.assert_allclose(along, exact @ v.numpy(), atol=1e-11 * np.abs(hessian).max() * end)
        assert wide.span((begin, end)) == (0, wide.dimension)
        span = narrow.span((begin, end))
        assert span[0] <= begin < end <= span[1]
        spans.add(span)
    whole = {(0, problem.dimension)}
    assert spans == whole if options.get("dial") == "separable" else len(spans) == len(problem.parameters)


def test_largest_eigenvalues_are_those_of_dense_blocks():
    """The matrices w1 and w2 have 196 parameters and go by Lanczos."""
    problem = generate(Transformer(width=7, layers=1, heads=1), init="gpt2", problems=1)
    blocks = weight_matrices(problem)
    exact = block_spectra(problem.stack(), problem.start)
    at = [exact.partition.labels.index(label) for label in blocks]
    assert np.any(exact.largest[:, at] < exact.spectral_norm[:, at])
    for modulus, expected in ((False, exact.largest[:, at]), (True, exact.spectral_norm[:, at])):
        found = largest_eigenvalues(problem.stack(), problem.start, blocks, modulus=modulus)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        np.testing.assert_allclose(log_deviation(found), np.std(np.log10(expected), axis=1), rtol=1e-5)


def test_gradients_are_given_raw_and_per_root():
    problem = generate(Transformer(width=4, layers=1, heads=1), dial="frequency", heterogeneity=[1.0, 9.0])
    table = gradient_table(problem)
    stack = problem.stack()
    gradient = stack.gradient(torch.from_numpy(problem.start))[0].numpy()
    cut = problem.partition("module")
    for m in range(4):
        of_one = table.iloc[m * len(cut.sizes) : (m + 1) * len(cut.sizes)]
        assert set(of_one["heterogeneity"]) == {problem.heterogeneity[m]}
        expected = [np.linalg.norm(gradient[m, a:b]) for a, b in cut.ranges]
        np.testing.assert_allclose(of_one["norm"], expected, rtol=1e-12)
        np.testing.assert_allclose(of_one["per_root"], expected / np.sqrt(cut.sizes), rtol=1e-12)
    assert table.set_index("block").loc["layer0.w1", "kind"].tolist() == ["w1"] * 4


# Rows.


@pytest.mark.parametrize(
    ("model", "task", "loss"),
    [
        (MLP(3, 1, activation="relu", embedded=False), Gaussians(4, 5, 20), "cross-entropy"),
        (MLP(3, 1, norm="pre"), Digits(patch=4, sequences=6, batch=None), "mse"),
    ],
    ids=["features", "an embedding of features"],
)
def test_shares_off_the_rows_are_those_of_the_whole_hessian(model, task, loss):
    problem = generate(model, task, loss=loss)
    found = row_shares(problem.stack(), problem.start)
    hessians, _ = whole_hessian(problem.stack(), problem.start)
    for e, hessian in enumerate(hessians):
        tensor, row, at = [], [], 0
        for b, p in enumerate(problem.parameters):
            places = np.arange(p.size).reshape(p.shape)
            if p.name == "embed":  # a channel is a column where features are embedded
                places = places.T
            for r, line in enumerate(np.atleast_2d(places)):
                for place in line:
                    tensor.append((at + place, b))
                    row.append((at + place, (b, r)))
            at += p.size
        tensor, row = ([key for _, key in sorted(x)] for x in (tensor, row))
        same_tensor = np.array([[a == b for a in tensor] for b in tensor])
        same_row = np.array([[a == b for a in row] for b in row])
        squares = hessian**2
        assert found.across[e] == pytest.approx(1 - squares[same_tensor].sum() / squares.sum(), abs=1e-12)
        assert found.total[e] == pytest.approx(1 - squares[same_row].sum() / squares.sum(), abs=1e-12)
        for b in range(len(problem.parameters)):
            mine = np.array(tensor) == b
            own, inside = squares[np.ix_(mine, mine)], same_row[np.ix_(mine, mine)]
            assert found.within[e, b] == pytest.approx(1 - own[inside].sum() / own.sum(), abs=1e-12)
    assert found.to_frame().shape == (2 * len(problem.parameters), 5)


def test_the_head_of_squared_errors_has_no_share_off_its_classes():
    """Its Hessian is the second moment of the hidden layer, once per class; that of the cross-entropy couples the classes."""
    model, task = MLP(3, 1, activation="relu", embedded=False), Gaussians(4, 2, 20)
    squared, entropy = (
        row_shares((p := generate(model, task, loss=loss)).stack(), p.start) for loss in ("mse", "cross-entropy")
    )
    np.testing.assert_allclose(squared.within[:, 1], 0.0, atol=1e-14)
    # With two classes diag(p) - pp' = p(1 - p) [[1, -1], [-1, 1]].
    np.testing.assert_allclose(entropy.within[:, 1], 0.5, rtol=1e-12)


def test_sampled_columns_estimate_the_sums():
    problem = generate(MLP(6, 1, activation="relu", embedded=False), Gaussians(6, 8, 32), problems=1)
    exact = row_shares(problem.stack(), problem.start)
    for part in ("across", "total"):
        sampled = [getattr(row_shares(problem.stack(), problem.start, columns=16, seed=s), part) for s in range(12)]
        assert np.ptp(sampled, axis=0).min() > 0
        np.testing.assert_allclose(np.mean(sampled, axis=0), getattr(exact, part), atol=0.06)


# Along training.


def test_delta_is_the_spectral_norm_of_what_lies_off_the_blocks():
    problem = generate(MLP(3, 1))
    run = train(problem, "gd", lr=0.1, steps=2, snapshots=[2], dtype="float64")
    found = measure(run, off_blocks=True)
    hessians, _ = whole_hessian(problem.stack(), run.snapshots.theta[:, 0, 0])
    for m, hessian in enumerate(hessians):
        for a, b in problem.partition("module").ranges:
            hessian[a:b, a:b] = 0.0
        delta = np.linalg.norm(hessian, 2)
        assert found.delta.values[m, 0, 0] == pytest.approx(delta, rel=1e-10)
        over = delta / found.Lambda_G.values[m, 0, 0]
        assert found.delta_over_Lambda_G.values[m, 0, 0] == pytest.approx(over, rel=1e-10)


def steps_of(rule, **options):
    arguments = {"lr": 0.01, "steps": 12, "snapshots": range(12), "dtype": "float64"}
    return train(generate("mlp", width=4, layers=1), rule, **arguments, **options)


def test_steps_against_the_memory_they_are_made_of():
    signum = step_measures(steps_of("signum", momentum=0.9))
    np.testing.assert_allclose(signum.cosine_sign_memory, 1.0, rtol=1e-12)
    assert np.all(signum.cosine_sign_gradient.values[:, :, 1:].mean(axis=2) < 0.95)
    np.testing.assert_allclose(signum.step_decades, 0.0, atol=1e-12)
    np.testing.assert_allclose(step_measures(steps_of("signsgd"), beta1=0.0).cosine_sign_gradient, 1.0, rtol=1e-12)
    # The step of heavy-ball is along m itself: the cosine is |m|_1/(sqrt(P) |m|_2), and steps spread as memories do.
    run = steps_of("heavy-ball", momentum=0.9)
    heavy, g = step_measures(run), run.snapshots.gradient[0, 0]
    m = np.array([sum(0.1 * 0.9 ** (t - i) * g[i] for i in range(t + 1)) for t in range(12)])
    expected = np.abs(m).sum(axis=1) / np.sqrt(m.shape[1]) / np.linalg.norm(m, axis=1)
    np.testing.assert_allclose(heavy.cosine_sign_memory.values[0, 0], expected, rtol=1e-12)
    norms = np.array([
        np.linalg.norm(m[:, a:b], axis=1) / np.sqrt(b - a) for a, b in run.problem.partition("module").ranges
    ])
    np.testing.assert_allclose(heavy.step_decades.values[0, 0], np.log10(norms.max(0) / norms.min(0)), rtol=1e-9)


def test_a_diverged_run_has_no_steps():
    found = step_measures(
        train(generate("mlp", width=4), "gd", lr=[0.1, 1e200], steps=6, snapshots=range(6), dtype="float64")
    )
    assert np.isfinite(found.cosine_sign_memory.values[:, 0]).all()
    assert np.isnan(found.cosine_sign_memory.values[:, 1, 3:]).all()


def test_the_head_at_a_loss_is_interpolated_between_snapshots():
    problem = generate("mlp", width=6, layers=1)
    at = range(0, 41, 10)
    run = train(problem, "adam", lr=0.02, steps=40, snapshots=at, record="all", dtype="float64")
    found = head_at_loss(run, [0.9, 0.5, 1e-4])
    assert np.isnan(found.common.values[:, :, 2]).all()  # not reached
    for m in range(2):
        loss = run.loss[m, 0, list(at)] / np.log(5)
        grown = head_norms(problem.select([m] * 5), run.snapshots.theta[m, 0] - run.snapshots.theta[m, 0, :1])
        for i, level in enumerate((0.9, 0.5)):
            assert np.all(np.diff(loss) < 0)
            assert found.step.values[m, 0, i] == pytest.approx(np.interp(-level, -loss, list(at)), rel=1e-9)
            common, centred = (np.interp(-level, -loss, x) for x in (grown.common, grown.centred))
            assert found.common.values[m, 0, i] == pytest.approx(common, rel=1e-9)
            assert found.common_over_centred.values[m, 0, i] == pytest.approx(common / centred, rel=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: weight_matrices(generate("mlp"), layers=(2,)), r"layer must be one of layer0, layer1, got 'layer2'"),
        (lambda: weight_matrices(generate("mlp"), number=4), r"number must be at most the number of weight matrices \(3\), got 4"),
        (lambda: largest_eigenvalues((p := generate("mlp")).stack(), p.start, ["body"]), r"block must be one of embed, .* got 'body'"),
        (lambda: row_shares((p := generate("mlp", dial="separable")).stack(), p.start), r"row shares need a problem of one copy, got 4"),
        (lambda: step_measures(train(generate("mlp"), "gd", lr=0.1, steps=2, snapshots=[0, 2])), r"snapshots must be at every step from 0 on, got \[0, 2\]"),
        (lambda: step_measures(steps_of("gd"), beta1=1), r"beta1 must be a number in \[0, 1\), got 1"),
        (lambda: head_at_loss(steps_of("gd"), [1.0]), r"levels must be a number in \(0, 1\), got 1.0"),
        (lambda: head_at_loss(train(generate("mlp"), "gd", lr=0.1, steps=2, snapshots=[1]), [0.5]), r"snapshots must begin at step 0, got 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_one_line(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
