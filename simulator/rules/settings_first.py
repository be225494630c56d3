"""Cut the parts of a rule that depend on its settings alone, to evaluate them in float64 before rounding.

If settings were rounded first, beta2 = 1 - 1e-8 would be 1 in float32, and 1 - beta2 would be 0. torch.optim evaluates such
expressions in Python's floats, and so in float64, too. Clocks are running products of settings and stay in float64 for the
same reason.

The fused kernels find these expressions by the levels of `kernels.lowering`: parts that run `once` or once per `step`.
"""

from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.rules.rule import Rule

if TYPE_CHECKING:
    import sympy as sp

__all__ = ["check_settings", "cut_settings"]


def cut_settings(
    expression: "sp.Expr",
    settings: "Collection[sp.Symbol]",
    formed: "dict[sp.Expr, sp.Symbol]",
    prefix: str = "formed",
) -> "sp.Expr":
    """Replace the largest parts that depend on settings alone by symbols.

    In float64 the remaining expression has the same operations as the whole: a divisor is cut without its quotient, and a
    product of settings and coordinates keeps its factors. Terms that depend on settings alone are combined within a sum.

    Args:
        expression: an expression of a rule.
        settings: learning rate, hyperparameters and clocks.
        formed: expression to the symbol that replaces it; new entries are added.
        prefix: beginning of the names of new symbols.
    """
    import sympy as sp

    if expression.is_Symbol or expression.is_number:
        return expression
    arguments = list(expression.args)
    own = [a for a in arguments if _is_of(a, settings)]
    if _is_of(expression, settings):
        if not (expression.is_Pow and expression.exp.is_number and expression.exp.is_negative):
            return formed.setdefault(expression, sp.Symbol(f"{prefix}_{len(formed)}", real=True))
    elif isinstance(expression, sp.Add) and len(own) > 1:
        arguments = [sp.Add(*own), *(a for a in arguments if a not in own)]
    return expression.func(*(cut_settings(a, settings, formed, prefix) for a in arguments))


def _is_of(expression: "sp.Expr", settings: "Collection[sp.Symbol]") -> bool:
    from quadsim.simulator.rules.functions import BlockMean, Total

    return expression.free_symbols <= set(settings) and not expression.has(BlockMean, Total)


def _never_formed(rule: Rule) -> list[str]:
    """Return the hyperparameters that a rule uses only directly, so that the run depends on their rounded values alone."""
    from quadsim.simulator.rules.functions import symbols

    formed: dict[sp.Expr, sp.Symbol] = {}
    settings = {symbols.lr, *rule.hyperparameters, *rule.clocks}
    for expression in (rule.step, *rule.update.values(), *rule.start.values()):
        cut_settings(expression, settings, formed)
    used = set().union(*(e.free_symbols for e in (*formed, *rule.clocks.values())), set())
    return [str(symbol) for symbol in rule.hyperparameters if symbol not in used]


def check_settings(rule: Rule, settings: Mapping[str, NDArray[np.float64]], dtype: str) -> None:
    """Check that the settings still describe the same optimizer after rounding to the number type of the run.

    A momentum of 1 - 1e-8 is rounded to 1 in float32. If the rule also evaluates 1 - beta, as Adam does, this is 1e-8
    (float64) and the run agrees with torch.optim in float32. If it does not, as in heavy-ball, the run would have the momentum 1.

    Args:
        rule: the rule that will run.
        settings: name to values that are in range.
        dtype: float64 or float32.

    Raises:
        ValueError: a value that overflows, or that is rounded to an excluded end of its range.
    """
    kind = np.dtype(dtype)
    never_formed = rule.fact("settings that are used only directly", partial(_never_formed, rule))
    for name, values in settings.items():
        with np.errstate(over="ignore"):
            rounded = values.astype(kind).astype(np.float64)
        if np.any(~np.isfinite(rounded)):
            largest = float(np.finfo(kind).max)
            raise ValueError(
                f"{name} must be finite in {dtype} too, got {float(values[~np.isfinite(rounded)][0])!r}; "
                f"give at most {largest:.6g}, or use float64."
            )
        if name == "lr":
            excluded = [0.0]
        elif name in never_formed:
            own = rule.ranges[name]
            excluded = [end for end, is_open in ((own.low, own.low_open), (own.high, own.high_open)) if is_open]
        else:
            continue
        for end in excluded:
            if np.any(at := (rounded == end) & (values != end)):
                toward = kind.type(np.inf if values[at][0] > end else -np.inf)
                nearest = np.nextafter(kind.type(end), toward)
                raise ValueError(
                    f"{name} of {rule.name} must not be {end:g} in {dtype} either, got {float(values[at][0])!r}, which is "
                    f"rounded to it; give {nearest!s} or a number farther from {end:g}, or use float64."
                )
