"""Which problems a run can be followed on: those whose gap is a finite number of the run's type, and normal until it is solved.

A run has converged when its gap is at most `tolerance` times that at the start. Where this lies below the normal numbers, the
gap is rounded to 0 before the run is there, or at once, and the status says so. Where a product of the gap at the start
overflows, there is nothing to compare with. Such a problem is refused before it runs, alike for every engine. A gap that
overflows later has diverged.
"""

import numpy as np
import sympy as sp

from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.rule import Ratio, Rule, Total, symbols

__all__ = ["check_range"]


def check_range(problem: BlockQuadratic, rule: Rule | None, tolerance: float, dtype: str) -> None:
    """Check that a run on every problem of a batch can be followed. A start at the solution can.

    Args:
        problem: M problems.
        rule: that is run; one that squares gradients needs their squares, too. None: not known.
        tolerance: relative to the gap at the start.
        dtype: float64 or float32.

    Raises:
        ValueError: eigenvalues, a start, a minimiser or gaps beyond the normal numbers of the type.
    """
    kind = np.finfo(dtype)
    smallest, largest = float(kind.tiny), float(kind.max)
    scales = problem.scales
    most = largest / 4.0  # of a sum, with room for rounding
    other = "" if dtype == "float64" else f" in {dtype}"
    fix = "" if dtype == "float64" else ", or use float64"

    def line(what: str, allowed: str, got: float, fix_first: str) -> str:
        return f"{what} must be {allowed}{other}, got {got:.6g}; {fix_first}{fix}."

    if scales.smallest_eigenvalue < smallest or scales.largest_eigenvalue > largest:
        got = scales.smallest_eigenvalue if scales.smallest_eigenvalue < smallest else scales.largest_eigenvalue
        raise ValueError(
            line("eigenvalues of the blocks", f"from {smallest:.3g} to {largest:.3g}", got, "scale the blocks")
        )
    # An entry of e_0 that is rounded to 0 would keep a sign step from ever moving there.
    for what, (low, high) in (("entries of initial_error", scales.error), ("entries of minimizer", scales.minimizer)):
        if high > largest:
            raise ValueError(line(what, f"at most {largest:.3g} in size", high, "scale them"))
        if low < float(kind.smallest_subnormal) and low > 0.0:
            raise ValueError(line(what, f"0 or at least {kind.smallest_subnormal:.3g} in size", low, "set it to 0"))
    moving = scales.moving
    if not moving.any():
        return
    gap = scales.gap[moving]
    products = scales.products[moving]
    if not np.all(products <= most):
        raise ValueError(line(
            "|e_0| |H e_0| and L |e_0| at the start", f"at most {most:.3g}, as the gap is made of such products",
            float(products[~(products <= most)][0]), "scale initial_error or the blocks down",
        ))  # fmt: skip
    if np.any(tolerance * gap < smallest):
        raise ValueError(line(
            f"gap at the start times the tolerance ({tolerance:g})", f"at least {smallest:.3g}, the smallest normal number",
            float(tolerance * gap.min()), "scale initial_error or the blocks up, or raise the tolerance",
        ))  # fmt: skip
    if rule is None or not _squares(rule):
        return
    square = scales.squared_gradient[moving]
    if any(e.has(symbols.L_l) for e in (rule.step, *rule.update.values(), *rule.start.values())):
        with np.errstate(over="ignore"):
            square = square * max(1.0, scales.largest_eigenvalue)
    if not np.all(square <= most):
        raise ValueError(line(
            f"squared norm of the gradient at the start, which {rule.name} needs,", f"at most {most:.3g}",
            float(square[~(square <= most)][0]), "scale initial_error or the blocks down",
        ))  # fmt: skip
    square = scales.squared_gradient[moving]
    if _divides_by_totals(rule) and np.any(square < smallest):
        raise ValueError(line(
            f"squared norm of the gradient at the start, which {rule.name} divides by,", f"at least {smallest:.3g}",
            float(square.min()), "scale initial_error or the blocks up",
        ))  # fmt: skip


def _divides_by_totals(rule: Rule) -> bool:
    """Whether a quotient has a sum over the whole gradient below."""
    quotients = set().union(*(e.atoms(Ratio) for e in (rule.step, *rule.update.values(), *rule.start.values())))
    return any(quotient.args[1].has(Total) for quotient in quotients)


def _squares(rule: Rule) -> bool:
    """Whether a power of the gradient, or of a state that is made of it, is formed."""
    coordinate = {symbols.g, *rule.update}
    powers = set().union(*(e.atoms(sp.Pow) for e in (rule.step, *rule.update.values(), *rule.start.values())))
    return any(p.exp.is_number and p.exp > 1 and p.base.free_symbols & coordinate for p in powers)
