"""Stacks of toy models against one torch.nn.Module each; dials and partitions."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import MODELS, registered

from quadsim.cli.bench.modules import ToyModule, flat_gradient, flat_parameters, set_parameters
from quadsim.simulator import ToyProblem
from quadsim.simulator.models import (
    MLP,
    PARTITIONS,
    Conv,
    Digits,
    Induction,
    Mixer,
    ModularAddition,
    Text,
    TokenMap,
    Transformer,
)
from quadsim.simulator.models import MODELS as product_models

pytestmark = pytest.mark.usefixtures("one_thread")

NORMS = ("pre", "post", "batch", "none")
TASKS = {
    "every": TokenMap(vocabulary=5, tokens=3),
    "last": ModularAddition(p=3),
    "mean, features": Digits(patch=4, sequences=7, batch=None),
    "last, causal": Induction(vocabulary=6, tokens=5, sequences=9),
    "every, causal": Text(vocabulary=7, tokens=4, sequences=5, batch=None),
}


def with_norm(model, norm):
    """The model with this norm; unchanged where it has no such norm, or no place for norms."""
    return type(model)(**{**vars(model), "norm": norm}) if norm in model.norms and hasattr(model, "norm") else model


def near_start(problem, seed=0):
    """Parameters that are not the start, so that gains are not 1; (M, P)."""
    return problem.start + 0.1 * np.random.default_rng(seed).standard_normal(problem.start.shape)


def check_against_modules(problem, sequences=None):
    """Losses and gradients of a stack to 1e-12 of the norm."""
    theta = near_start(problem)
    stack = problem.stack()
    if sequences is not None:
        stack = stack.rows(torch.from_numpy(sequences))
    gradient, *losses = stack.gradient(torch.from_numpy(theta))
    for m in range(problem.problems):
        module = ToyModule(problem, m, torch.float64)
        np.testing.assert_array_equal(flat_parameters(module), problem.start[m])
        set_parameters(module, theta[m])
        weighted, unweighted = module.losses(None if sequences is None else sequences[m])
        weighted.backward()
        expected = flat_gradient(module)
        assert np.linalg.norm(gradient[m].numpy() - expected) < 1e-12 * np.linalg.norm(expected)
        np.testing.assert_allclose([x[m].item() for x in losses], [weighted.item(), unweighted.item()], rtol=1e-13)


def test_every_model_has_a_case():
    registered(MODELS, product_models, "MODELS")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_losses_and_gradients_are_those_of_modules(model, norm):
    for task in TASKS.values():
        check_against_modules(
            ToyProblem.generate(with_norm(model, norm), task, dial="frequency", heterogeneity=[1.0, 30.0], problems=2)
        )


@pytest.mark.parametrize(
    ("dial", "options"),
    [
        ("zipf", {}),
        ("separable", {}),
        ("reparametrisation", {"mode": "parameter"}),
        ("reparametrisation", {"mode": "gradient"}),
        ("init-scale", {}),
        ("temperature", {}),
    ],
)
def test_dials_are_those_of_modules(dial, options):
    for model in MODELS.values() if dial != "temperature" else [MODELS["transformer"]]:
        task = TASKS["every"] if dial == "zipf" else TASKS["every, causal"]
        check_against_modules(
            ToyProblem.generate(model, task, dial=dial, heterogeneity=[1.0, 7.0], problems=2, **options)
        )


@pytest.mark.parametrize("dial", ["frequency", "zipf"])
def test_mini_batches_are_those_of_modules(dial):
    """Under zipf the problems differ in their number of sequences, which scales the loss of a mini-batch."""
    task = TokenMap(vocabulary=5, tokens=3, batch=2)
    problem = ToyProblem.generate(MODELS["transformer"], task, dial=dial, heterogeneity=[1.0, 30.0], problems=2)
    check_against_modules(problem, problem.batch(4))


def test_mini_batches_have_the_loss_of_all_data_in_the_mean():
    task = TokenMap(vocabulary=4, tokens=2, batch=2)
    problem = ToyProblem.generate("mlp", task, dial="zipf", heterogeneity=[1.0, 20.0], problems=1, width=4)
    stack, theta = problem.stack(), torch.from_numpy(near_start(problem))
    for m in range(2):
        n = problem.sequences[m]
        each = [
            stack.rows(torch.tensor([[0, 0]] * m + [pair] + [[0, 0]] * (1 - m))).losses(theta)
            for pair in itertools.product(range(n), repeat=2)
        ]
        for whole, parts in zip(stack.losses(theta), zip(*each, strict=True), strict=True):
            assert torch.stack(parts)[:, m].mean().item() == pytest.approx(whole[m].item(), rel=1e-12)


@pytest.mark.parametrize("model", [*MODELS.values(), MLP(width=4), Conv(width=8, norm="post")], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_matrices_of_every_instance_begin_at_multiples_of_64_bytes(model, dtype, monkeypatch):
    """What tests/simulator/training/test_training.py sees of it, the same bits in any stack, depends on the machine."""
    product, seen = torch.bmm, []

    def watched(*operands):
        seen.extend([*operands, product(*operands)])
        return seen[-1]

    for task in TASKS.values():
        stack = ToyProblem.generate(model, task, problems=3).stack(dtype=dtype)
        monkeypatch.setattr(torch, "bmm", watched)
        stack.gradient(stack.start())
        stack.rows(torch.zeros((3, 5), dtype=torch.int64)).gradient(stack.start())
        monkeypatch.undo()
    for x in seen:
        assert x.data_ptr() % 64 == 0
        assert x.stride(0) * x.element_size() % 64 == 0


# Dials.


def test_frequency_weights_have_the_ratio_c():
    problem = ToyProblem.generate(
        "mlp", TokenMap(vocabulary=9, tokens=3), heterogeneity=[1.0, 10.0, 1000.0], problems=2
    )
    np.testing.assert_allclose(problem.weights.sum(axis=(1, 2)), 1.0, rtol=1e-14)
    for c, weights, targets in zip(problem.heterogeneity, problem.weights, problem.data.targets, strict=True):
        of_class = np.array([np.unique(weights[targets == k]) for k in range(9)])
        assert of_class.shape == (9, 1)
        assert of_class[0, 0] / of_class[8, 0] == pytest.approx(c, rel=1e-14)
        np.testing.assert_allclose(of_class[1:, 0] / of_class[:-1, 0], c ** (-1 / 8), rtol=1e-14)


def test_copy_weights_have_the_ratio_c_and_the_mean_1():
    problem = ToyProblem.generate("mlp", TASKS["every"], dial="separable", heterogeneity=[1.0, 1000.0], problems=1)
    np.testing.assert_allclose(problem.copy_weights, [[1] * 4, 4 * np.array([1000, 100, 10, 1]) / 1111], rtol=1e-14)
    assert problem.partition("module").labels[0] == "copy0.embed"
    starts = problem.start.reshape(2, 4, -1)
    assert all(np.all(starts[:, i] != starts[:, j]) for i, j in itertools.combinations(range(4), 2))


def test_block_scales_have_the_ratio_c_and_leave_the_function_alone():
    def generate(dial, mode="parameter"):
        return ToyProblem.generate(
            MODELS["transformer"], TASKS["every"], dial=dial, heterogeneity=[1.0, 49.0], problems=3, mode=mode
        )

    problem = generate("reparametrisation")
    blocks = problem.partition("module")
    for c, scales in zip(problem.heterogeneity, problem.block_scales, strict=True):
        of_block = [scales[slice(*ends)] for ends in blocks.ranges]
        assert all(np.ptp(block) == 0 for block in of_block)
        squares = np.sort([block[0] ** 2 for block in of_block])
        np.testing.assert_allclose(squares, c ** np.linspace(-0.5, 0.5, len(squares)), rtol=1e-14)
    order = [np.argsort(scales) for scales in problem.block_scales[3:]]
    assert not np.array_equal(order[0], order[1])  # drawn for every problem
    losses = problem.stack().losses(torch.from_numpy(problem.start))
    plain = generate("init-scale").select([0, 1, 2])
    expected = plain.stack().losses(torch.from_numpy(plain.start))
    for a, b in zip(losses, expected, strict=True):
        np.testing.assert_allclose(a, np.tile(b, 2), rtol=1e-13)
    np.testing.assert_array_equal(generate("reparametrisation", "gradient").start[3:], plain.start)


def test_the_start_has_the_stated_spread_and_scale():
    def generate(c):
        return ToyProblem.generate("transformer", TokenMap(64, 2), dial="init-scale", heterogeneity=c, problems=4)

    one, three = generate(1.0), generate(3.0)
    at = 0
    for p in one.parameters:
        part, tripled = (x.start[:, at : at + p.size] for x in (one, three))
        at += p.size
        if p.std is None:
            assert np.all(part == 1.0)
            assert np.all(tripled == 1.0)
        else:
            assert np.std(part) == pytest.approx(p.std, rel=5 / np.sqrt(2 * part.size))
            assert p.std == pytest.approx(p.shape[1] ** -0.5)
            np.testing.assert_allclose(tripled, 3 * part, rtol=1e-15)


# Partitions.


@pytest.mark.parametrize("copies", [1, 4])
@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_partitions_are_nested_and_cover_everything(model, copies):
    dial = "separable" if copies == 4 else "frequency"
    problem = ToyProblem.generate(with_norm(model, "pre"), TASKS["every"], dial=dial, problems=1)
    cuts = [problem.partition(name) for name in PARTITIONS]
    for cut in cuts:
        assert sum(cut.sizes) == problem.dimension == cut.block_of.size == cut.ranges[-1][1]
        assert len(set(cut.labels)) == len(cut.labels) == len(cut.sizes) == len(cut.ranges)
        assert all(np.all(cut.block_of[slice(*ends)] == b) for b, ends in enumerate(cut.ranges))
    for coarse, fine in itertools.pairwise(cuts):
        assert {end for ends in coarse.ranges for end in ends} < {end for ends in fine.ranges for end in ends}
        for label, (first, _) in zip(fine.labels, fine.ranges, strict=True):
            if coarse.name == "module":
                assert label.split("[")[0] == coarse.labels[coarse.block_of[first]]


def test_labels_of_a_transformer():
    problem = ToyProblem.generate(Transformer(width=4, layers=1), TokenMap(vocabulary=3, tokens=2), problems=1)
    assert problem.partition("layer").labels == ("embedding", "layer0", "head")
    assert problem.partition("module").labels == (
        "embed", "pos", "layer0.q", "layer0.k", "layer0.v", "layer0.o", "layer0.w1", "layer0.w2", "layer0.norm1",
        "layer0.norm2", "norm", "head",
    )  # fmt: skip
    assert problem.partition("unit").labels[:6] == ("embed[0]", "embed[1]", "embed[2]", "pos[0]", "pos[1]", "layer0.q")
    assert problem.partition("unit").labels[-3:] == ("head[0]", "head[1]", "head[2]")


def test_in_a_causal_task_no_answer_changes_with_later_tokens():
    for model in MODELS.values():
        if model.reads_batch:  # its means are over all tokens, also later ones
            model = with_norm(model, "none")
        problem = ToyProblem.generate(model, TASKS["every, causal"], problems=2)
        stack = problem.stack()
        changed = replace(stack, inputs=stack.inputs.clone())
        changed.inputs[:, :, 2:] = (stack.inputs[:, :, 2:] + 1) % 7
        before, after = (s.logits(torch.from_numpy(near_start(problem))) for s in (stack, changed))
        np.testing.assert_array_equal(before[..., :2, :], after[..., :2, :])
        assert torch.all(before[:, :, :5, 2:] != after[:, :, :5, 2:])


def test_labels_of_a_mixer():
    problem = ToyProblem.generate(Mixer(width=4, layers=1), TokenMap(vocabulary=3, tokens=2), problems=1)
    assert dict(zip(*(getattr(problem.partition("module"), name) for name in ("labels", "sizes")), strict=True)) == {
        "embed": 12, "pos": 8, "layer0.t1": 16, "layer0.t2": 16, "layer0.w1": 64, "layer0.w2": 64, "layer0.norm1": 4,
        "layer0.norm2": 4, "norm": 4, "head": 12,
    }  # fmt: skip


def test_a_block_holds_the_parameters_it_is_named_after():
    """Moving the row of one token, class or matrix in a module moves the coordinates of its block alone."""
    problem = ToyProblem.generate(Transformer(width=4, layers=2), TokenMap(vocabulary=3, tokens=2), problems=1)
    units = problem.partition("unit")
    before = problem.start[0]
    for label, get in {
        "embed[2]": lambda copy: copy.embedding.embed.weight[2],
        "pos[1]": lambda copy: copy.embedding.pos.weight[1],
        "layer1.v": lambda copy: copy.layers[1].qkv.weight[8:],
        "layer0.w2": lambda copy: copy.layers[0].w2.weight,
        "head[0]": lambda copy: copy.head.weight[0],
    }.items():
        module = ToyModule(problem, 0, torch.float64)
        with torch.no_grad():
            get(module.copies[0]).add_(1.0)
        moved = np.flatnonzero(flat_parameters(module) != before)
        np.testing.assert_array_equal(moved, np.arange(*units.ranges[units.labels.index(label)]))


def test_a_row_of_the_head_sees_only_its_class_and_of_the_embedding_its_token():
    problem = ToyProblem.generate("mlp", TokenMap(vocabulary=5, tokens=1), problems=1, width=4)
    stack = problem.stack()
    only = stack.rows(torch.tensor([[2]]))
    gradient = only.gradient(stack.start())[0][0].numpy()
    units = problem.partition("unit")
    token = int(only.inputs[0, 0, 0])
    for label, ends in zip(units.labels, units.ranges, strict=True):
        if label.startswith("embed"):
            assert np.any(gradient[slice(*ends)] != 0.0) == (label == f"embed[{token}]")


# What cannot be.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ToyProblem.generate("transfomer"), r"model must be one of .* got 'transfomer'; did you mean 'transformer'"),
        (lambda: ToyProblem.generate("mlp", "token"), r"task must be one of .* got 'token'; did you mean 'token-map'"),
        (lambda: ToyProblem.generate(dial="frequenzy"), r"dial must be one of .* got 'frequenzy'; did you mean 'frequency'"),
        (lambda: ToyProblem.generate("mlp", heads=2), r"option of mlp must be one of width, layers, norm, .* got 'heads'"),
        (lambda: ToyProblem.generate(MLP(), width=3), r"options of a model must come with its name, got a mlp"),
        (lambda: ToyProblem.generate(heads=3), r"heads must divide the width \(16\), got 3; give a divisor"),
        (lambda: ToyProblem.generate("conv", kernel=4), r"kernel must be odd, got 4; give 5"),
        (lambda: ToyProblem.generate("mlp", norm="batch"), r"norm must be one of pre, post, none, got 'batch'"),
        (lambda: ToyProblem.generate("mlp", layers=0), r"layers must be a whole number of at least 1, got 0"),
        (lambda: ToyProblem.generate(heterogeneity=0.5), r"heterogeneity \(dial frequency\) must be a number in \[1, 1e\+12\], got 0.5"),
        (lambda: ToyProblem.generate(dial="temperature", heterogeneity=0), r"dial temperature\) must be a number in \[1e-12, 1e\+12\], got 0"),
        (lambda: ToyProblem.generate(heterogeneity=[]), r"heterogeneity must be a number or several, got \[\]"),
        (lambda: ToyProblem.generate(heterogeneity="ten"), r"heterogeneity must be a number or several, got 'ten'"),
        (lambda: ToyProblem.generate("mlp", dial="temperature"), r"dial temperature must go with a transformer, got mlp"),
        (lambda: ToyProblem.generate("mlp", "digits", dial="zipf"), r"dial zipf must go with .* token-map .* got digits"),
        (lambda: ToyProblem.generate(mode="both"), r"mode must be one of parameter, gradient, got 'both'"),
        (lambda: ToyProblem.generate(problems=0), r"problems must be a whole number of at least 1, got 0"),
        (lambda: ToyProblem.generate(problems=2).partition("block"), r"partition must be one of layer, module, unit, got"),
        (lambda: ToyProblem.generate(problems=2).select([2]), r"problems must be whole numbers from 0 to 1, got \[2\]"),
        (lambda: ToyProblem.generate(problems=2).select([]), r"problems must be whole numbers from 0 to 1, got \[\]"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_one_line(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
