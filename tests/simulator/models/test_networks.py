"""Laws of the start, orders of scales, losses, batch norm, test data and gradient clipping of the stacks."""

import numpy as np
import pytest
import torch
from cases import MODELS
from torch import nn

from quadsim.cli.bench.modules import ToyModule, flat_gradient, set_parameters
from quadsim.simulator import ToyProblem, train
from quadsim.simulator.models import (
    MLP,
    Conv,
    Digits,
    Gaussians,
    Induction,
    ResNet,
    Table,
    Text,
    TokenMap,
    Transformer,
)
from quadsim.simulator.models.base import INITS
from quadsim.simulator.sweeps.config import options

pytestmark = pytest.mark.usefixtures("one_thread")

BLOBS = Gaussians(features=3, classes=4, sequences=21, separation=1.0, test=9)
IMAGES = Digits(patch=2, sequences=9, batch=None, test=7)


def generate(model, task, problems=2, **options):
    return ToyProblem.generate(model, task, problems=problems, **options)


def moved(problem):
    return problem.start + 0.1 * np.random.default_rng(0).standard_normal(problem.start.shape)


# Against torch modules.

NETWORKS = {
    "features without embedding": (MLP(5, 2, activation="relu", embedded=False), IMAGES),
    "tokens without embedding": (MLP(5, 1, "pre", embedded=False), TokenMap(5, 3)),
    "a plain image network": (Conv(6, 2, activation="relu", dimensions=2), IMAGES),
    "a batch norm on images": (Conv(4, 3, norm="batch", dimensions=2), IMAGES),
    "a batch norm on tokens": (Conv(5, 2, norm="batch", activation="relu"), TokenMap(5, 3)),
    "residual sums on images": (ResNet(4, 2, dimensions=2), IMAGES),
    "residual sums without norm": (ResNet(4, 1, norm="none"), TokenMap(5, 3)),
}


@pytest.mark.parametrize("loss", ["cross-entropy", "mse"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_are_those_of_torch(name, loss):
    model, task = NETWORKS[name]
    problem = generate(model, task, loss=loss, dial="separable", heterogeneity=5.0)
    theta = moved(problem)
    gradient, *losses = problem.stack().gradient(torch.from_numpy(theta))
    for m in range(2):
        module = ToyModule(problem, m, torch.float64)
        set_parameters(module, theta[m])
        both = module.losses()
        both[0].backward()
        expected = flat_gradient(module)
        assert np.linalg.norm(gradient[m].numpy() - expected) < 1e-12 * np.linalg.norm(expected)
        np.testing.assert_allclose([x[m].item() for x in losses], [x.item() for x in both], rtol=1e-12)


def test_the_class_count_network_is_two_matrices_and_a_relu():
    problem = generate(MLP(8, 1, activation="relu", embedded=False), Gaussians(5, 3, 20), loss="mse")
    assert [(p.name, p.shape) for p in problem.parameters] == [("layer0.w", (8, 5)), ("head", (3, 8))]
    x, y = problem.data.inputs[1, :, 0], problem.data.targets[1, :, 0]
    w, v = problem.start[1, :40].reshape(8, 5), problem.start[1, 40:].reshape(3, 8)
    expected = 0.5 * np.square(np.maximum(x @ w.T, 0.0) @ v.T - np.eye(3)[y]).sum(axis=1).mean()
    assert problem.stack().losses(torch.from_numpy(problem.start))[1][1].item() == pytest.approx(expected, rel=1e-13)
    assert problem.guess_loss == pytest.approx(0.5 * np.square(np.full(3, 1 / 3) - np.eye(3)[0]).sum(), rel=1e-14)


# Starts.


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_the_start_of_gpt2(model):
    """Radford et al. (2019): .02 everywhere, the last matrix of a residual branch over the root of the number of branches."""
    task = Text(vocabulary=300, level="word", tokens=8, sequences=2)
    found = generate(model, task, problems=40, init="gpt2")
    last = {"transformer": ("o", "w2"), "mixer": ("t2", "w2"), "resnet": ("w2",)}.get(model.name, ())
    branches = len(last) * model.layers
    at = 0
    for p in found.parameters:
        part = found.start[:, at : at + p.size]
        at += p.size
        if "norm" in p.name:
            assert np.all(part == 1.0)
            continue
        expected = 0.02 / np.sqrt(branches) if p.name.split(".")[-1] in last else 0.02
        assert np.std(part) == pytest.approx(expected, rel=5 / np.sqrt(2 * part.size)), p.name
    np.testing.assert_allclose(generate(model, task, init=0.5).start[:, 0], 25 * found.start[:2, 0], rtol=1e-12)
    threefold = generate(model, task, init="gpt2", dial="init-scale", heterogeneity=3.0)
    np.testing.assert_allclose(threefold.start[:, 0], 3 * found.start[:2, 0], rtol=1e-12)


def test_the_options_name_the_laws_of_the_library():
    assert options.INITS == INITS


def test_orders_of_the_scales():
    def squares(order, mode="parameter"):
        problem = generate(
            MLP(4, 3, embedded=False), Digits(patch=8, sequences=4), dial="reparametrisation", heterogeneity=1e6,
            order=order, mode=mode,
        )  # fmt: skip
        blocks = problem.partition("module")
        assert blocks.labels == ("layer0.w", "layer1.w", "layer2.w", "head")
        return np.log10(problem.block_scales[:, [first for first, _ in blocks.ranges]] ** 2)

    np.testing.assert_allclose(squares("growing"), [[-3, -1, 1, 3]] * 2, atol=1e-12)
    np.testing.assert_allclose(squares("falling", "gradient"), [[3, 1, -1, -3]] * 2, atol=1e-12)
    np.testing.assert_allclose(squares("mixed"), [[-3, 3, -1, 1]] * 2, atol=1e-12)
    assert not np.array_equal(*squares("drawn"))


# Batch norm.


def test_batch_norm_is_over_the_batch_and_ignores_padding():
    problem = generate(Conv(4, 1, norm="batch", dimensions=2), IMAGES)
    theta = torch.from_numpy(moved(problem))
    stack = problem.stack()
    assert stack.counted.sum(dim=1).tolist() == [9, 9]
    assert stack.counted.shape[1] == 16
    # An image has another logit in another batch, which it has not without batch norm.
    few = stack.rows(torch.tensor([[0, 1, 2]] * 2)).logits(theta)[:, :, 0]
    assert torch.all(few != stack.logits(theta)[:, :, 0])
    alone = problem.select([1]).stack()
    np.testing.assert_allclose(alone.logits(theta[1:]), stack.logits(theta)[1:], rtol=1e-12)


@pytest.mark.parametrize(
    ("model", "dtype"),
    [(Conv(6, 2, norm="batch"), "float32"), (ResNet(5, 1), "float64"), (ResNet(16, 1, dimensions=2), "float32")],
    ids=str,
)
def test_an_instance_of_batch_norm_has_the_same_bits_in_any_stack(model, dtype):
    task = Digits(patch=2, sequences=20, batch=5, test=6)
    settings = {"lr": [0.01, 0.03, 0.1], "steps": 7, "record": 3, "stop": False, "dtype": dtype, "clip": 0.5}
    problem = generate(model, task, problems=3)
    whole = train(problem, "heavy-ball", **settings)
    for m, k in ((0, 0), (2, 1)):
        alone = train(problem.select([m]), "heavy-ball", **settings | {"lr": settings["lr"][k]})
        for name in ("loss", "test_loss", "test_accuracy", "final_loss"):
            np.testing.assert_array_equal(getattr(alone, name)[0, 0], getattr(whole, name)[m, k])


# Test data.


@pytest.mark.parametrize("task", [BLOBS, IMAGES, Table("iris", 30, test=40)], ids=lambda task: task.name)
def test_test_data_are_none_of_the_training_data(task):
    index = np.arange(3)
    data, test = task.data(1, index), task.test_data(1, index)
    assert test.targets.shape == (3, task.test, 1)
    np.testing.assert_allclose(test.share.sum(axis=(1, 2)), 1.0, rtol=1e-14)
    np.testing.assert_array_equal(task.test_data(1, index[2:]).inputs[0], test.inputs[2])
    assert type(task)(**{**vars(task), "test": 0}).test_data(1, index) is None
    if task.name == "table":  # it holds some flowers twice: the rows are told apart by their number
        return
    for one, other in zip(data.inputs, test.inputs, strict=True):
        same = np.all(one.reshape(len(one), 1, -1) == other.reshape(1, len(other), -1), axis=2)
        assert not same.any()
    plain = type(task)(**{**vars(task), "test": 0}).data(1, index)
    np.testing.assert_array_equal(plain.inputs, data.inputs)


def test_test_windows_lie_in_the_last_tenth_of_the_text():
    task = Text("word", 3000, tokens=16, sequences=40, half="second", test=30)
    stream = task._stream()
    windows = np.lib.stride_tricks.sliding_window_view(stream, 17)
    end = stream.size - stream.size // 10

    def places(data):
        whole = np.concatenate([data.inputs[0], data.targets[0, :, -1:]], axis=1)
        return [np.flatnonzero(np.all(windows == one, axis=1)) for one in whole]

    assert all((at + 17 <= end).any() for at in places(task.data(0, np.arange(1))))
    assert all((at >= end).any() for at in places(task.test_data(0, np.arange(1))))


def test_gaussian_classes_are_equally_many_and_apart():
    data = Gaussians(features=50, classes=4, sequences=400, separation=3.0).data(0, np.arange(2))
    for x, y in zip(data.inputs[:, :, 0], data.targets[:, :, 0], strict=True):
        assert np.bincount(y).tolist() == [100] * 4
        centres = np.array([x[y == k].mean(axis=0) for k in range(4)])
        assert np.std(x - centres[y]) == pytest.approx(1.0, rel=0.03)
        assert np.std(centres) == pytest.approx(3.0, rel=0.3)


@pytest.mark.parametrize(
    "model", [Transformer(4, 1), Conv(4, 2, norm="batch", dimensions=2), ResNet(4, 1)], ids=lambda model: model.name
)
def test_test_losses_are_those_of_torch(model):
    """With batch norm the running means of torch, taken over all training data at once, normalise the test data."""
    problem = generate(model, IMAGES)
    run = train(problem, "adam", lr=0.02, steps=5, record="all", stop=False, dtype="float64", snapshots=range(6))
    assert run.test_accuracy.shape == run.loss.shape == (2, 1, 6)
    for m in range(2):
        module = ToyModule(problem, m, torch.float64)
        copy, test = module.copies[0], problem.test_data
        for t in (0, 5):
            set_parameters(module, run.snapshots.theta[m, 0, t])
            for layer in module.modules():
                if isinstance(layer, nn.BatchNorm1d):
                    layer.reset_running_stats()
                    layer.momentum = None
            copy.train()
            copy(module.inputs)
            counts = [9 * 16 for layer in module.modules() if isinstance(layer, nn.BatchNorm1d)]
            for layer, n in zip(
                (one for one in module.modules() if isinstance(one, nn.BatchNorm1d)), counts, strict=True
            ):
                layer.running_var *= (n - 1) / n  # torch's running variance is the unbiased one
            copy.eval()
            with torch.no_grad():
                logits = copy(torch.from_numpy(test.inputs[m]))[:, 0]
            targets = torch.from_numpy(test.targets[m, :, 0])
            expected = nn.functional.cross_entropy(logits, targets).item()
            assert run.test_loss[m, 0, t] == pytest.approx(expected, rel=1e-9)
            assert run.test_accuracy[m, 0, t] == pytest.approx((logits.argmax(1) == targets).double().mean().item())
    np.testing.assert_array_equal(run.best_test_accuracy, run.test_accuracy.max(axis=2))


def test_a_test_is_recorded_until_a_run_diverges_or_stops(tmp_path):
    problem = generate(MLP(8, 1), Digits(patch=4, sequences=40, batch=None, test=50))
    run = train(problem, "gd", lr=[0.5, 1e9], steps=60, record="all", tolerance=0.9)
    assert np.all(run.status[:, 1] == "diverged")
    assert np.isfinite(run.test_loss[:, :, 0]).all()
    assert np.isnan(run.test_loss[:, 1, 3:]).all()
    assert np.isfinite(run.best_test_accuracy).all()
    assert np.isnan(run.test_loss[:, 0, -1]).all()  # stopped at the target
    run.save(tmp_path / "run.nc")
    again = type(run).load(tmp_path / "run.nc", problem, run.rule)
    np.testing.assert_array_equal(again.test_accuracy, run.test_accuracy)
    with pytest.raises(ValueError, match="training file must be of"):
        type(run).load(tmp_path / "run.nc", generate(MLP(8, 1), problem.task, init="gpt2"), run.rule)


# Clipping.


@pytest.mark.parametrize("task", [IMAGES, Digits(patch=2, sequences=9, batch=4)], ids=["all data", "mini-batches"])
def test_gradients_are_clipped_as_by_torch(task):
    problem = generate(MLP(4, 1), task)
    arguments = {"lr": 0.05, "steps": 5, "snapshots": range(5), "schedule": "linear", "dtype": "float64"}
    run = train(problem, "heavy-ball", clip=0.3, **arguments)
    norms = np.linalg.norm(run.snapshots.gradient, axis=-1)
    assert np.all(norms <= 0.3)
    free = train(problem, "heavy-ball", **arguments)
    for m in range(2):
        one = torch.nn.Parameter(torch.zeros(problem.dimension, dtype=torch.float64))
        one.grad = torch.from_numpy(free.snapshots.gradient[m, 0, 0].copy())
        assert torch.nn.utils.clip_grad_norm_(one, 0.3) > 0.3
        np.testing.assert_allclose(run.snapshots.gradient[m, 0, 0], one.grad.numpy(), rtol=1e-13)
    memory = np.zeros((2, problem.dimension))
    for t in range(5):
        memory = 0.9 * memory + run.snapshots.gradient[:, 0, t]
        np.testing.assert_allclose(run.snapshots.update[:, 0, t], -0.05 * (1 - t / 5) * memory, rtol=1e-9)
    same = train(problem, "heavy-ball", clip=1e9, **arguments)
    np.testing.assert_array_equal(same.snapshots.theta, free.snapshots.theta)


def test_texts_of_models_and_tasks_are_those_of_older_files():
    assert str(MLP(5)) == "MLP(width=5, layers=2, norm='none')"
    assert str(MLP(5, embedded=False)) == "MLP(width=5, layers=2, norm='none', embedded=False)"
    assert str(Digits()) == "Digits(patch=2, sequences=256, batch=32, turns=0)"
    assert "test=3" in str(Digits(test=3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: generate("mlp", "digits", init="gpt3"), r"init must be one of fan-in, gpt2 or a number above 0, got 'gpt3'"),
        (lambda: generate("mlp", "digits", init=0), r"init must be a number above 0, got 0"),
        (lambda: generate("mlp", "digits", loss="l2"), r"loss must be one of cross-entropy, mse, got 'l2'"),
        (lambda: generate("mlp", "digits", order="growing"), r"order growing must go with the dial reparametrisation, got frequency"),
        (lambda: MLP(activation="tanh"), r"activation must be one of gelu, relu, got 'tanh'"),
        (lambda: ResNet(norm="pre"), r"norm must be one of batch, none, got 'pre'"),
        (lambda: Transformer(norm="batch"), r"norm must be one of pre, post, none, got 'batch'"),
        (lambda: Conv(dimensions=3), r"dimensions must be 1 or 2, got 3"),
        (lambda: generate(Conv(dimensions=2), Induction()).dimension, r"dimensions .* must be 1 unless .* square image, got 2 for 8"),
        (lambda: Digits(sequences=1700, test=98), r"sequences and test must be at most 1797 together, .* got 1700 and 98"),
        (lambda: Table("diabetes"), r"of must be one of iris, wine, breast-cancer, got 'diabetes'"),
        (lambda: Gaussians(classes=11, sequences=10), r"classes must be at most the sequences \(10\), got 11"),
        (lambda: generate("mlp", "token-map").test_stack(), r"task must have test data, got TokenMap"),
        (lambda: train(generate("mlp", "digits"), "gd", lr=0.1, steps=1).best_test_accuracy, r"task must have test data"),
        (lambda: train(generate("mlp", "digits"), "gd", lr=0.1, steps=1, clip=0), r"clip must be a number above 0, got 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_one_line(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
