"""Gradients by parameter, and the operations and kernels that compute them in compiled steps on a GPU."""

import pytest
import torch

from quadsim.simulator.models import MLP, Conv, Induction, Mixer, TokenMap, ToyProblem, Transformer, base, products
from quadsim.simulator.models import transformer as transformers
from quadsim.simulator.models.stack import Stack
from quadsim.simulator.training.stepping import _compiled_losses

SIZES = [(3, 64, 16, 48), (2, 16, 16, 10), (2, 80, 64, 16), (2, 128, 4, 8), (1, 160, 20, 6), (1, 16, 64, 64)]
"""E, N, in and out of products."""

SHORT, LONG = TokenMap(vocabulary=16), Induction(vocabulary=16, tokens=6, sequences=5)
MODELS = {
    "pre": (Transformer(), SHORT),
    "post": (Transformer(layers=1, heads=1, norm="post"), LONG),
    "no norm": (Transformer(width=32, layers=1, norm="none"), LONG),
    "mlp": (MLP(norm="pre"), SHORT),
    "mixer": (Mixer(layers=1), TokenMap(vocabulary=16, tokens=4, repeats=2)),
    "conv": (Conv(), SHORT),
}


def stack_of(name, dtype=torch.float64, device="cpu"):
    model, task = MODELS[name]
    stack = ToyProblem.generate(model, task, problems=3, seed=5).stack(None, dtype, device)
    return stack, stack.start()


def distance(found, expected):
    return float((found.detach().cpu().double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("name", MODELS)
def test_gradients_by_parameter_are_the_flat_gradient(name):
    stack, theta = stack_of(name)
    assert stack.splits
    parts, *losses = stack.gradients(theta, Stack.losses)
    flat, *expected = stack.gradient(theta)
    assert [part.shape[1] for part in parts] == [p.size for p in stack.problem.parameters]
    torch.testing.assert_close(torch.cat(parts, dim=1), flat, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(losses, expected, rtol=1e-14, atol=0.0)
    assert all(part.abs().amax() > 0.0 for part in parts)


@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-14), (torch.float32, 2e-6)], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_the_operations_give_the_gradient(name, dtype, most, monkeypatch):
    flat, weighted, _ = Stack.gradient(*stack_of(name))
    for module in (base, transformers):
        monkeypatch.setattr(module, "compiled_on_gpu", lambda x: True)
    stack, theta = stack_of(name, dtype)
    parts, found, _ = stack.gradients(theta, Stack.losses)
    assert distance(torch.cat(parts, dim=1), flat) < most
    assert distance(found, weighted) < most


@pytest.mark.parametrize("gelu", [False, True])
def test_torch_can_trace_the_operations(gelu):
    x, weight, d = draws(2, 16, 16, 8, torch.float64, "cpu")
    arguments = (x.requires_grad_(), weight.requires_grad_(), gelu)
    torch.library.opcheck(products.product, arguments)
    torch.library.opcheck(products.product_backward, (d, x.detach(), weight.detach(), gelu))
    inputs = torch.arange(32).view(2, 16) % 8
    torch.library.opcheck(products.lookup, (weight, inputs))
    torch.library.opcheck(products.lookup_backward, (x.detach(), weight.detach(), inputs))


def draws(instances, rows, into, out, dtype, device):
    """Inputs, matrices (parts of longer rows, as those of a stack) and gradients of the results."""
    generator = torch.Generator().manual_seed(1)
    shapes = ((instances, rows, into), (instances, out * into + 32), (instances, rows, out))
    x, weight, d = (torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype) for shape in shapes)
    return x, weight[:, 16 : 16 + out * into].view(instances, out, into), d


def check_products(device):
    for sizes in SIZES:
        for gelu in (False, True):
            x, weight, d = draws(*sizes, torch.float32, device)
            wide = [tensor.double().cpu().requires_grad_() for tensor in (x, weight)]
            active = torch.nn.functional.gelu(wide[0]) if gelu else wide[0]
            y = torch.bmm(active, wide[1].transpose(1, 2))
            expected = (y.detach(), *torch.autograd.grad(y, wide, d.double().cpu()))
            found = (
                products.kernel_product(x, weight, gelu),
                *products.kernel_product_backward(d, x, weight, gelu),
            )
            assert max(map(distance, found, expected)) < 1e-6, (sizes, gelu)


def check_lookups(device):
    for instances, rows, into, out in SIZES:
        _, table, _ = draws(instances, rows, into, out, torch.float32, device)
        inputs = torch.arange(instances * rows, device=device).view(instances, rows) * 7 % (out + 1) % out
        d = draws(instances, rows, into, out, torch.float32, device)[0]
        rows_of_it = torch.stack([own[numbers] for own, numbers in zip(table, inputs, strict=True)])
        assert torch.equal(products.kernel_lookup(table, inputs), rows_of_it)
        expected = torch.zeros(table.shape, dtype=torch.float64)
        for e in range(instances):
            expected[e].index_add_(0, inputs[e].cpu(), d[e].double().cpu())
        assert distance(products.kernel_lookup_backward(d, table, inputs), expected) < 1e-6


def check_gradients_by_kernels(device):
    """Without code of torch's own compiler, which takes long: on a CPU the operations are called, on a GPU traced and called."""
    exact = {name: Stack.gradient(*stack_of(name))[0] for name in MODELS}
    losses = Stack.losses
    if device == "cpu":
        base.compiled_on_gpu = transformers.compiled_on_gpu = products._has_kernels = lambda x: True
    else:
        losses = torch.compile(losses, backend="aot_eager", dynamic=False)
    for name, expected in exact.items():
        stack, theta = stack_of(name, torch.float32, device)
        assert distance(torch.cat(stack.gradients(theta, losses)[0], dim=1), expected) < 2e-6, name


CHECKS = [check_products, check_lookups, check_gradients_by_kernels]


def test_kernels_agree_under_the_interpreter():
    from interpreter import names_run  # here, as this file is run as a program, too

    assert names_run(__file__) == [check.__name__ for check in CHECKS]


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")  # of torch.compile
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_kernels_agree_on_a_gpu(check):
    check("cuda")


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_compiled_gradients_agree_on_a_gpu(dtype):
    expected = Stack.gradient(*stack_of("pre"))[0]
    stack, theta = stack_of("pre", dtype, "cuda")
    first, again = (torch.cat(stack.gradients(theta, _compiled_losses())[0], dim=1) for _ in range(2))
    assert torch.equal(first, again)
    assert distance(first, expected) < (2e-6 if dtype == torch.float32 else 1e-14)


if __name__ == "__main__":
    for check in CHECKS:
        check("cpu")
        print(check.__name__)
