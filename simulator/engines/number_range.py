"""Check before a run that the number type can hold its gaps, from the start to the tolerance.

A run has converged when its gap is at most `tolerance` times the gap at the start. If this threshold is below the smallest normal
number, the gap is rounded to 0 too early and the run would be called converged. If the gap at the start overflows, there is
nothing to compare with. Such a problem is refused before it runs, by every engine in the same way. A gap that overflows later
counts as a divergence.
"""

import numpy as np
import sympy as sp

from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.rule import Rule, symbols

__all__ = ["check_range"]


def check_range(problem: BlockQuadratic, rule: Rule | None, tolerance: float, dtype: str) -> None:
    """Check that the number type can hold the gaps of every problem of a batch. A start at the solution passes.

    Args:
        problem: M problems.
        rule: the rule that will run; for a rule that squares gradients, their squares are checked too. None if it is not known.
        tolerance: fraction of the gap at the start.
        dtype: "float64" or "float32".

    Raises:
        ValueError: eigenvalues, a start, a minimizer or gaps outside the range of normal numbers of the type.
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
    if rule.is_global and np.any(square < smallest):
        raise ValueError(line(
            f"squared norm of the gradient at the start, which {rule.name} divides by,", f"at least {smallest:.3g}",
            float(square.min()), "scale initial_error or the blocks up",
        ))  # fmt: skip


def _squares(rule: Rule) -> bool:
    """Whether the rule evaluates a power above 1 of the gradient or of a state."""
    coordinate = {symbols.g, *rule.update}
    powers = set().union(*(e.atoms(sp.Pow) for e in (rule.step, *rule.update.values(), *rule.start.values())))
    return any(p.exp.is_number and p.exp > 1 and p.base.free_symbols & coordinate for p in powers)
