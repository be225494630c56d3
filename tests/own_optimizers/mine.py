"""A rule and a class, as a user would write them."""

import sympy as sp
import torch

from quadsim.simulator import Ratio, Rule, symbols

g, lr = symbols.g, symbols.lr
m, v = sp.symbols("m v", real=True)
largest, p1, p2 = sp.symbols("largest p1 p2", positive=True)
beta1, beta2, eps = sp.symbols("beta1 beta2 eps", nonnegative=True)
second = beta2 * v + (1 - beta2) * g**2

AMSGRAD = Rule(
    name="my-amsgrad",
    clocks={p1: beta1 * p1, p2: beta2 * p2},
    update={m: beta1 * m + (1 - beta1) * g, v: second, largest: sp.Max(largest, second)},
    step=-lr * Ratio(m / (1 - p1), sp.sqrt(largest / (1 - p2)) + eps),
    hyperparameters={beta1: 0.9, beta2: 0.999, eps: 1e-8},
)


class MyNAdam(torch.optim.NAdam):
    """A class of torch.optim's shape."""
