"""The Transformer as a torch.nn.Module, and a Python loop that trains instances one by one with torch.optim."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from quadsim.simulator.models.base import DataShape
from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.models.transformer import Transformer

__all__ = ["ModuleTransformer", "train_modules"]

Tensor = torch.Tensor

OPTIMIZERS: dict[str, Any] = {"adam": torch.optim.Adam, "gd": torch.optim.SGD}


class _Layer(nn.Module):
    def __init__(self, model: Transformer, causal: bool) -> None:
        super().__init__()
        width, self.heads, self.norm, self.causal = model.width, model.heads, model.norm, causal
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.o = nn.Linear(width, width, bias=False)
        self.w1 = nn.Linear(width, 4 * width, bias=False)
        self.w2 = nn.Linear(4 * width, width, bias=False)
        if self.norm != "none":
            self.norm1, self.norm2 = (nn.LayerNorm(width, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        if self.norm == "pre":
            x = x + self.attention(self.norm1(x))
            return x + self.network(self.norm2(x))
        if self.norm == "post":
            x = self.norm1(x + self.attention(x))
            return self.norm2(x + self.network(x))  # type: ignore[no-any-return]
        x = x + self.attention(x)
        return x + self.network(x)

    def attention(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.o(mixed.transpose(1, 2).reshape(batch, tokens, width))  # type: ignore[no-any-return]

    def network(self, x: Tensor) -> Tensor:
        return self.w2(F.gelu(self.w1(x)))  # type: ignore[no-any-return]


class ModuleTransformer(nn.Module):
    """One instance; its parameters come in the order of `Transformer.parameters`."""

    def __init__(self, model: Transformer, shape: DataShape) -> None:
        super().__init__()
        self.readout = shape.readout
        self.embed = nn.Embedding(shape.inputs, model.width)
        self.pos = nn.Embedding(shape.tokens, model.width)
        self.layers = nn.ModuleList(_Layer(model, shape.causal) for _ in range(model.layers))
        self.norm = nn.LayerNorm(model.width, bias=False) if model.norm == "pre" else nn.Identity()
        self.head = nn.Linear(model.width, shape.classes, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Token ids (B, T) to logits (B, R, C)."""
        x = self.embed(inputs) + self.pos.weight
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        if self.readout != "every":
            x = x[:, -1:] if self.readout == "last" else x.mean(dim=1, keepdim=True)
        return self.head(x)  # type: ignore[no-any-return]

    def loss(self, inputs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        """The optimised loss on sequences (B, T) with answers and their weights (B, R)."""
        each = F.cross_entropy(self(inputs).flatten(0, -2), targets.flatten(), reduction="none")
        return (each * weights.flatten()).sum()


def start_module(problem: ToyProblem, index: int, dtype: torch.dtype, device: str) -> ModuleTransformer:
    """The module of a problem, at its start."""
    assert isinstance(problem.model, Transformer)
    module = ModuleTransformer(problem.model, problem.task.shape).to(device=device, dtype=dtype)
    values = torch.tensor(problem.start[index], dtype=dtype, device=device)  # a copy, as the optimizer works in place
    torch.nn.utils.vector_to_parameters(values, module.parameters())
    return module


def train_modules(
    problem: ToyProblem, instances: int, rule: str, lr: float, steps: int, dtype: torch.dtype, device: str
) -> Tensor:
    """Train the first `instances` problems on all their data, one after the other.

    Returns:
        The optimised loss before every step, (instances, steps).
    """
    stack = problem.stack(None, dtype, device)
    losses = []
    for index in range(instances):
        module = start_module(problem, index, dtype, device)
        optimizer = OPTIMIZERS[rule](module.parameters(), lr=lr)
        data = stack.inputs[index], stack.targets[index], stack.weights[index]
        for _ in range(steps):
            optimizer.zero_grad()
            loss = module.loss(*data)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.detach())
    return torch.stack(losses).view(instances, steps)
