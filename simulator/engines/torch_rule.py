"""The readable torch function of a Rule: what runs in the reference engine."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, reduce
from typing import Any

import sympy as sp
import torch
from sympy.printing.pycode import PythonCodePrinter

from quadsim.simulator.rule import Rule, symbols

__all__ = ["TorchRule", "compile_torch"]

Tensor = torch.Tensor


class _Printer(PythonCodePrinter):  # type: ignore[misc]
    """Plain function calls, which the namespace below maps to torch; the inherited ones branch on a number's sign."""

    def _print_call(self, expression: sp.Expr) -> str:
        arguments = ", ".join(self._print(argument) for argument in expression.args)
        return f"{type(expression).__name__}({arguments})"

    _print_sign = _print_Abs = _print_Max = _print_Min = _print_Ratio = _print_BlockMean = _print_call

    def _print_Pow(self, expression: sp.Expr, **_: Any) -> str:
        base, exponent = expression.args
        if exponent == sp.S.Half:
            return f"sqrt({self._print(base)})"
        if exponent == -sp.S.Half:
            return f"1/sqrt({self._print(base)})"
        return str(super()._print_Pow(expression))


# A plain number may stand wherever a tensor may. It stays one, or takes the dtype of a tensor beside it: as a tensor of its
# own it would be float32 or an integer.


def _elementwise(function: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
    def call(x: Any) -> Any:
        return (
            function(x)
            if isinstance(x, Tensor)
            else function(torch.tensor(x, dtype=torch.float64, device="cpu")).item()
        )

    return call


def _ratio(a: Any, b: Any) -> Any:
    if not isinstance(a, Tensor):
        return a / b if a != 0 else 0.0
    return torch.where(a == 0, torch.zeros_like(a), a / b)


def _chain(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def call(*arguments: Any) -> Tensor:
        like = next((x for x in arguments if isinstance(x, Tensor)), torch.zeros((), dtype=torch.float64, device="cpu"))
        return reduce(function, (torch.as_tensor(x, dtype=like.dtype, device=like.device) for x in arguments))

    return call


def _like(x: Any, tensor: Tensor) -> Tensor:
    return torch.as_tensor(x, dtype=tensor.dtype, device=tensor.device).broadcast_to(tensor.shape)


_NAMESPACE = {
    "sign": _elementwise(torch.sign),
    "Abs": _elementwise(torch.abs),
    "sqrt": _elementwise(torch.sqrt),
    "exp": _elementwise(torch.exp),
    "log": _elementwise(torch.log),
    "tanh": _elementwise(torch.tanh),
    "Max": _chain(torch.maximum),
    "Min": _chain(torch.minimum),
    "Ratio": _ratio,
}


class TorchRule:
    """A Rule as functions of tensors that broadcast against each other.

    The caller fixes what a block and the whole are: coordinates come as a list of *parts* (blocks of one size, or the
    parameters of a model), each a mapping of `g`, `w`, `L_l`, `mu_l` to tensors; clocks and settings are tensors that
    broadcast against every part. `block_mean` averages over a part's coordinates, keeping the axes; `total` sums a list with
    one tensor a part over everything.
    """

    def __init__(
        self, rule: Rule, block_mean: Callable[[Tensor], Tensor], total: Callable[[list[Tensor]], Tensor]
    ) -> None:
        self.rule = rule
        self._total = total
        self._keep = tuple(list(rule.update).index(state) for state in rule.states)
        stages = rule.stages
        settings = (symbols.lr, *rule.hyperparameters)
        coordinate = (symbols.g, symbols.w, symbols.L_l, symbols.mu_l)
        namespace = {**_NAMESPACE, "BlockMean": lambda x: block_mean(x) if isinstance(x, Tensor) else x}

        def function(arguments: Sequence[sp.Symbol], expressions: Sequence[sp.Expr]) -> Callable[..., tuple[Any, ...]]:
            # A tuple, not a list: lists cost an allocation a call in the compiled engines, which share this habit.
            printer = _Printer({"fully_qualified_modules": False, "allow_unknown_functions": True})
            out: Callable[..., tuple[Any, ...]] = sp.lambdify(
                arguments, tuple(expressions), modules=[namespace], printer=printer, cse=True
            )
            return out

        clocks = tuple(rule.clocks)
        old = (*coordinate, *settings, *clocks, *rule.states)
        new = (*coordinate, *settings, *clocks, *rule.update)
        first = (*coordinate, *settings)
        self._start_totals = function(first, list(stages.start_totals.values()))
        self._start = function((*first, *stages.start_totals), list(stages.starts.values()))
        self._clocks = function((*settings, *clocks), list(rule.clocks.values()))
        self._update_totals = function(old, list(stages.update_totals.values()))
        self._update = function((*old, *stages.update_totals), list(stages.updates.values()))
        self._step_totals = function(new, list(stages.step_totals.values()))
        self._step = function((*new, *stages.step_totals), [stages.step])

    def start(self, parts: Sequence[Mapping[str, Tensor]], settings: Mapping[str, Tensor]) -> list[list[Tensor]]:
        """States before the first step, a list for every part, each broadcast to the gradient's shape."""
        values = [settings[name] for name in self.rule.names]
        first = [(*_coordinates(part), *values) for part in parts]
        totals = self._sum(self._start_totals, first)
        return [[_like(x, part[0]).clone() for x in self._start(*part, *totals)] for part in first]

    def start_clocks(self, settings: Mapping[str, Tensor]) -> list[Tensor]:
        """Clocks before the first step."""
        return [torch.ones_like(settings["lr"]) for _ in self.rule.clocks]

    def advance(
        self,
        parts: Sequence[Mapping[str, Tensor]],
        states: list[list[Tensor]],
        clocks: list[Tensor],
        settings: Mapping[str, Tensor],
    ) -> tuple[list[Tensor], list[list[Tensor]], list[Tensor]]:
        """One step: what is added to each part's iterate, the new states and the new clocks."""
        values = [settings[name] for name in self.rule.names]
        clocks = list(self._clocks(*values, *clocks))
        before = [(*_coordinates(part), *values, *clocks, *state) for part, state in zip(parts, states, strict=True)]
        totals = self._sum(self._update_totals, before)
        updated = [list(self._update(*arguments, *totals)) for arguments in before]
        after = [(*_coordinates(part), *values, *clocks, *new) for part, new in zip(parts, updated, strict=True)]
        totals = self._sum(self._step_totals, after)
        steps = [_like(self._step(*arguments, *totals)[0], arguments[0]) for arguments in after]
        return steps, [[new[i] for i in self._keep] for new in updated], clocks

    def _sum(self, function: Callable[..., tuple[Any, ...]], arguments: list[tuple[Any, ...]]) -> list[Tensor]:
        """Sums over the whole, each over every coordinate (a summand without `g` counts once for each)."""
        parts = [[x * torch.ones_like(a[0]) for x in function(*a)] for a in arguments]
        return [self._total([part[i] for part in parts]) for i in range(len(parts[0]))]


def _coordinates(part: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
    return part["g"], part["w"], part["L_l"], part["mu_l"]


def _mean_over_coordinates(x: Tensor) -> Tensor:
    return x.mean(dim=2, keepdim=True) if x.dim() > 2 else x  # settings and clocks are the same for all coordinates


def _sum_over_problem(parts: list[Tensor]) -> Tensor:
    total = parts[0].sum(dim=(1, 2), keepdim=True)
    for part in parts[1:]:
        total = total + part.sum(dim=(1, 2), keepdim=True)
    return total


@lru_cache(maxsize=64)
def compile_torch(rule: Rule) -> TorchRule:
    """The rule on batches of quadratics: parts are (M, B_size, P_l, K), settings (K,)."""
    return TorchRule(rule, _mean_over_coordinates, _sum_over_problem)
