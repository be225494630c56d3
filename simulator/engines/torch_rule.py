"""Convert a Rule to a readable torch function (`TorchRule`), which the reference engine and training run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, reduce
from typing import Any

import sympy as sp
import torch
from sympy.printing.pycode import PythonCodePrinter

from quadsim.simulator.rules.functions import symbols
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.rules.settings_first import cut_settings

__all__ = ["TorchRule", "compile_torch"]

Tensor = torch.Tensor


class _Printer(PythonCodePrinter):  # type: ignore[misc]
    """Prints functions as plain calls, which `_NAMESPACE` maps to torch.

    The inherited printers of sign, Max and Abs write Python conditions, which a tensor cannot decide.
    """

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


# An argument may be a plain number instead of a tensor (a rule may contain constants). A number stays a number, or takes the
# number type of a tensor beside it; converted to a tensor by itself it would become float32 or an integer.


def _elementwise(function: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
    """Return `function` for tensors and plain numbers."""

    def call(x: Any) -> Any:
        return (
            function(x)
            if isinstance(x, Tensor)
            else function(torch.tensor(x, dtype=torch.float64, device="cpu")).item()
        )

    return call


def _ratio(a: Any, b: Any) -> Any:
    """Return a/b, and 0 wherever a is 0 (also where b is 0)."""
    if not isinstance(a, Tensor):
        return a / b if a != 0 else 0.0
    return torch.where(a == 0, torch.zeros_like(a), a / b)


def _chain(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Return a function of any number of arguments that applies `function` to them one after the other."""

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


class _Functions:
    """The functions that a TorchRule calls, printed for tensors of one number type.

    In float32, subexpressions in settings and clocks alone (as 1 - beta2) are cut out (`cut_settings`), evaluated in float64 and
    then rounded. In float64 there is nothing to cut, and the expressions stay as they are in the rule.

    A step has three stages, each with its sums over the whole problem (`*_totals`) before it: start, update, step.
    """

    def __init__(self, rule: Rule, block_mean: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
        stages = rule.stages
        settings = (symbols.lr, *rule.hyperparameters)
        coordinate = (symbols.g, symbols.w, symbols.L_l, symbols.mu_l)
        namespace = {**_NAMESPACE, "BlockMean": lambda x: block_mean(x) if isinstance(x, Tensor) else x}

        def function(arguments: Sequence[sp.Symbol], expressions: Sequence[sp.Expr]) -> Callable[..., tuple[Any, ...]]:
            # A tuple, not a list: it is what the compiled engines return too.
            printer = _Printer({"fully_qualified_modules": False, "allow_unknown_functions": True})
            out: Callable[..., tuple[Any, ...]] = sp.lambdify(
                arguments, tuple(expressions), modules=[namespace], printer=printer, cse=True
            )
            return out

        clocks = tuple(rule.clocks)
        own = {*settings, *clocks} if dtype != torch.float64 else set()
        at_start: dict[sp.Expr, sp.Symbol] = {}
        at_step: dict[sp.Expr, sp.Symbol] = {}

        def cut(expressions: Iterable[sp.Expr], formed: dict[sp.Expr, sp.Symbol]) -> list[sp.Expr]:
            return [cut_settings(expression, own, formed) for expression in expressions]

        start_totals, starts = (cut(e.values(), at_start) for e in (stages.start_totals, stages.starts))
        update_totals, updates = (cut(e.values(), at_step) for e in (stages.update_totals, stages.updates))
        step_totals, (step,) = cut(stages.step_totals.values(), at_step), cut([stages.step], at_step)
        first = (*settings, *at_start.values(), *coordinate)
        old = (*settings, *clocks, *at_step.values(), *coordinate, *rule.states)
        new = (*settings, *clocks, *at_step.values(), *coordinate, *rule.update)
        self.clocks = function((*settings, *clocks), list(rule.clocks.values()))
        self.formed_at_start = function(settings, list(at_start))
        self.formed_at_step = function((*settings, *clocks), list(at_step))
        self.start_totals = function(first, start_totals)
        self.start = function((*first, *stages.start_totals), starts)
        self.update_totals = function(old, update_totals)
        self.update = function((*old, *stages.update_totals), updates)
        self.step_totals = function(new, step_totals)
        self.step = function((*new, *stages.step_totals), [step])


class TorchRule:
    """A Rule as functions of tensors that broadcast against each other.

    The caller defines what a block is. Coordinates are a list of *parts* (the blocks of one size, or the parameters of a
    model). A part maps `g`, `w`, `L_l` and `mu_l` to tensors of the run's number type. Clocks and settings are tensors that
    broadcast against every part. Clocks, and values that depend on settings and clocks alone, are evaluated in float64 and then
    rounded to the run's type, so give settings in float64.

    Args:
        rule: the rule.
        block_mean: function that averages a tensor over the coordinates of each block and keeps its axes.
        total: function that sums a list with one tensor per part over all coordinates of the problem.
    """

    def __init__(
        self, rule: Rule, block_mean: Callable[[Tensor], Tensor], total: Callable[[list[Tensor]], Tensor]
    ) -> None:
        self.rule = rule
        self._total = total
        self._keep = tuple(list(rule.update).index(state) for state in rule.states)
        self._block_mean = block_mean
        self._functions: dict[torch.dtype, _Functions] = {}

    def _of(self, parts: Sequence[Mapping[str, Tensor]]) -> "_Functions":
        dtype = parts[0]["g"].dtype
        if dtype not in self._functions:
            self._functions[dtype] = _Functions(self.rule, self._block_mean, dtype)
        return self._functions[dtype]

    def start(self, parts: Sequence[Mapping[str, Tensor]], settings: Mapping[str, Tensor]) -> list[list[Tensor]]:
        """Return the states before the first step: a list for every part, each state in the shape of the gradient.

        Args:
            parts: the parts at the first gradient.
            settings: name to values in float64.
        """
        of, values = self._of(parts), self._wide(settings)
        values = _rounded([*values, *of.formed_at_start(*values)], parts[0]["g"])
        first = [(*values, *_coordinates(part)) for part in parts]
        totals = self._sum(of.start_totals, parts, first)
        return [
            [_like(x, part["g"]).clone() for x in of.start(*arguments, *totals)]
            for part, arguments in zip(parts, first, strict=True)
        ]

    def start_clocks(self, settings: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the clocks before the first step: 1 for each, in float64, in the shape of the learning rate."""
        return [torch.ones_like(settings["lr"], dtype=torch.float64) for _ in self.rule.clocks]

    def _wide(self, settings: Mapping[str, Tensor]) -> list[Any]:
        return [settings[name].to(torch.float64) for name in self.rule.names]

    def advance(
        self,
        parts: Sequence[Mapping[str, Tensor]],
        states: list[list[Tensor]],
        clocks: list[Tensor],
        settings: Mapping[str, Tensor],
    ) -> tuple[list[Tensor], list[list[Tensor]], list[Tensor]]:
        """Evaluate one step; no argument is changed.

        Args:
            parts: the parts at the present iterate.
            states: states of every part, as `start` or the last `advance` returned them.
            clocks: clocks before the step.
            settings: name to values in float64; `lr` with the schedule's factor of this step.

        Returns:
            The step of every part (to be added to its iterate), the new states of every part, and the new clocks.
        """
        of, values = self._of(parts), self._wide(settings)
        clocks = list(of.clocks(*values, *clocks))
        values = [*values, *clocks]
        values = _rounded([*values, *of.formed_at_step(*values)], parts[0]["g"])
        before = [(*values, *_coordinates(part), *state) for part, state in zip(parts, states, strict=True)]
        totals = self._sum(of.update_totals, parts, before)
        updated = [list(of.update(*arguments, *totals)) for arguments in before]
        after = [(*values, *_coordinates(part), *new) for part, new in zip(parts, updated, strict=True)]
        totals = self._sum(of.step_totals, parts, after)
        steps = [
            _like(of.step(*arguments, *totals)[0], part["g"]) for part, arguments in zip(parts, after, strict=True)
        ]
        return steps, [[new[i] for i in self._keep] for new in updated], clocks

    def _sum(
        self,
        function: Callable[..., tuple[Any, ...]],
        parts: Sequence[Mapping[str, Tensor]],
        arguments: list[tuple[Any, ...]],
    ) -> list[Tensor]:
        """Return sums over all coordinates; a summand that does not depend on the coordinate counts once for each of them."""
        summands = [
            [x * torch.ones_like(part["g"]) for x in function(*a)] for part, a in zip(parts, arguments, strict=True)
        ]
        return [self._total([part[i] for part in summands]) for i in range(len(summands[0]))]


def _rounded(values: list[Any], like: Tensor) -> list[Any]:
    """Return tensors in the number type of `like`; plain numbers stay, as they take the type of the tensor they meet."""
    return [x.to(like.dtype) if isinstance(x, Tensor) else x for x in values]


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
    """Return the TorchRule for batches of quadratics: tensors of a part are (M, B_size, P_l, K), settings (K,)."""
    return TorchRule(rule, _mean_over_coordinates, _sum_over_problem)
