"""The noise of mini-batches against the exact enumeration of all batches of a small data set."""

import itertools

import numpy as np
import pytest
import torch

from quadsim.simulator.curvature.inspection import inspect_model
from quadsim.simulator.models import MLP, Conv, TokenMap, ToyProblem, Transformer
from quadsim.simulator.training.gradient_noise import gradient_noise

DIALS = {
    "frequency": {"heterogeneity": 10.0},
    "zipf": {"dial": "zipf", "heterogeneity": [1.0, 4.0]},
    "scaled": {"dial": "reparametrisation", "mode": "gradient", "heterogeneity": 100.0},
}


def every_batch(problem, batch):
    """The gradients of all ordered batches, drawn with replacement, that a rule is given: a list over the problems, (N^b, P)."""
    found = []
    for m in range(problem.problems):
        one = problem.select([m])
        stack = one.stack()
        number = int(stack.sequences[0])
        theta = torch.from_numpy(one.start.copy())
        rows = [stack.rows(torch.tensor([chosen])) for chosen in itertools.product(range(number), repeat=batch)]
        gradients = []
        for batch_of in rows:
            at = theta.clone().requires_grad_()
            (g,) = torch.autograd.grad(batch_of.losses(at)[0].sum(), at)
            gradients.append(g[0].numpy())
        scale = 1.0 if one.block_scales is None else one.block_scales**2
        found.append(np.array(gradients) * scale)
    return found


@pytest.mark.parametrize(("dial", "batch"), [("frequency", 1), ("frequency", 2), ("zipf", 1), ("scaled", 1)])
def test_against_all_batches(dial, batch):
    task = TokenMap(vocabulary=3, tokens=1)
    problem = ToyProblem.generate(MLP(3, 1), task, problems=2, **DIALS[dial])
    noise = gradient_noise(problem)
    for m, gradients in enumerate(every_batch(problem, batch)):
        mean, variance = gradients.mean(axis=0), gradients.var(axis=0)
        assert noise.trace[m] / batch == pytest.approx(variance.sum(), rel=1e-9)
        assert noise.l1[m] / batch**0.5 == pytest.approx(np.sqrt(variance).sum(), rel=1e-9)
        assert noise.scale[m] == pytest.approx(batch * variance.sum() / (mean**2).sum(), rel=1e-9)
        assert noise.scale_l1[m] == pytest.approx(batch * (np.sqrt(variance).sum() / np.abs(mean).sum()) ** 2, rel=1e-9)


def test_parts_of_the_sequences_give_the_same(monkeypatch):
    problem = ToyProblem.generate(Transformer(4, layers=1), TokenMap(vocabulary=8), problems=2)
    whole = gradient_noise(problem)
    monkeypatch.setattr("quadsim.simulator.training.gradient_noise._NUMBERS_AT_ONCE", 1)
    parts = gradient_noise(problem)
    np.testing.assert_allclose(whole.trace, parts.trace, rtol=1e-12)
    np.testing.assert_allclose(whole.l1, parts.l1, rtol=1e-12)


def test_an_inspection_has_the_noise_and_none_with_batch_norm():
    problem = ToyProblem.generate(MLP(3, 1), TokenMap(vocabulary=4), problems=2)
    found = inspect_model(problem, curvature=False)
    np.testing.assert_array_equal(found.summary["noise_scale"], gradient_noise(problem).scale)
    reads = ToyProblem.generate(Conv(4, layers=1, norm="batch"), TokenMap(vocabulary=4), problems=1)
    assert gradient_noise(reads) is None
    assert "noise_scale" not in inspect_model(reads, curvature=False).summary
