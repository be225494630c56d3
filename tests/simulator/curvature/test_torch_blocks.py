"""blocks_of: Hessian and Gauss-Newton blocks of torch modules against formulas, and refusals."""

import numpy as np
import pytest
import torch
from torch import nn

from quadsim.simulator import BlockQuadratic, blocks_of, simulate

X, Y = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2


def logistic():
    model = nn.Linear(3, 1)
    with torch.no_grad():
        model.weight[:] = torch.tensor([[0.3, -0.2, 0.5]])
        model.bias[:] = 0.1
    return model


def binary(z, y):
    return nn.functional.binary_cross_entropy_with_logits(z[:, 0], y.double())


@pytest.mark.parametrize("kind", ["hessian", "gauss-newton"])
def test_a_logistic_regression_has_the_textbook_blocks(kind):
    blocks = blocks_of(logistic(), binary, (X, Y), kind=kind)
    x = X.double().numpy()
    p = 1 / (1 + np.exp(-(x @ np.float32([0.3, -0.2, 0.5]).astype(float) + float(np.float32(0.1)))))
    s = p * (1 - p) / 40
    np.testing.assert_allclose(blocks[0], (x * s[:, None]).T @ x, rtol=1e-12)
    np.testing.assert_allclose(blocks[1], [[s.sum()]], rtol=1e-12)
    assert all(block.dtype == np.float64 for block in blocks)
    whole = blocks_of(logistic(), binary, (X, Y), kind=kind, partition=[4])[0]
    np.testing.assert_allclose(whole[:3, :3], blocks[0], rtol=1e-12)
    problem = BlockQuadratic.from_blocks(blocks, initial_error="normal", problems=2)
    assert (simulate(problem, "gd", lr=1.0, steps=5000).status == "converged").all()


def test_hessian_blocks_of_a_network_are_torchs():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    names = list(dict(model.named_parameters()))
    values = tuple(p.detach() for p in model.parameters())

    def loss(*parameters):
        z = torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (X.double(),))
        return nn.functional.cross_entropy(z, Y)

    expected = torch.autograd.functional.hessian(loss, values)
    with pytest.raises(ValueError, match=r'0\.weight \(-.* times the largest\).*; use kind="gauss-newton", or param'):
        blocks_of(model, nn.functional.cross_entropy, (X, Y))
    found = blocks_of(model, nn.functional.cross_entropy, (X, Y), kind="gauss-newton")
    # The last layer is linear in its parameters, so that its Gauss-Newton blocks are those of the Hessian.
    np.testing.assert_allclose(found[2], expected[2][2].reshape(8, 8).numpy(), atol=1e-13)
    np.testing.assert_allclose(found[3], expected[3][3].numpy(), atol=1e-13)
    jacobian = torch.func.jacrev(lambda w: torch.func.functional_call(model, {"0.weight": w}, (X.double(),)))(values[0])
    j = jacobian.detach().reshape(40, 2, 12).numpy()
    p = torch.softmax(model(X.double()), dim=1).detach().numpy()
    curvature = (np.einsum("na,ab->nab", p, np.eye(2)) - np.einsum("na,nb->nab", p, p)) / 40
    np.testing.assert_allclose(found[0], np.einsum("nai,nab,nbj->ij", j, curvature, j), atol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((nn.Linear(3, 1), binary, X), r"data must be a pair \(inputs, targets\), got a Tensor"),
        ((np.eye(2), binary, (X, Y)), r"module must be a torch\.nn\.Module, got a ndarray"),
        ((nn.Tanh(), binary, (X, Y)), r"module must have parameters that require a gradient, got none"),
        ((nn.Linear(3, 1), lambda z, y: z, (X, Y)), r"loss must return one number, got \(40, 1\); reduce it"),
    ],
)
def test_bad_modules_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        blocks_of(*arguments)


def test_bad_options_are_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"kind must be one of hessian, gauss-newton, got 'fisher'"):
        blocks_of(logistic(), binary, (X, Y), kind="fisher")
    with pytest.raises(ValueError, match=r"partition must add up to the number of parameters \(4\), got 3"):
        blocks_of(logistic(), binary, (X, Y), partition=[3])
    monkeypatch.setattr("quadsim.simulator.curvature.torch_blocks.physical_memory", lambda: 100.0)
    with pytest.raises(ValueError, match=r"blocks must fit in memory \(100 B here\), got blocks of up to 3 parameters"):
        blocks_of(logistic(), binary, (X, Y))
