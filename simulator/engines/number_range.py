"""Check before a run that the number type can hold its gaps, from the start to the tolerance.

A run has converged when its gap is at most `tolerance` times the gap at the start. If this threshold is below the smallest normal
number, the gap is rounded to 0 too early and the run would be called converged. If the gap at the start overflows, there is
nothing to compare with. Such a problem is refused before it runs, by every engine in the same way. A gap that overflows later
counts as a divergence.
"""

from functools import partial

import numpy as np

from quadsim.simulator.problems.measures import Scales
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.rule import Rule

__all__ = ["NumberRangeError", "check_range"]


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
    kind, scales = _Range(dtype), problem.scales
    _check_numbers(scales, kind)
    if not scales.moving.any():
        return
    _check_null_part(scales, tolerance, dtype)
    _check_gaps(scales, tolerance, kind)
    if rule is not None and rule.fact("squares gradients", partial(_squares, rule)):
        _check_squares(scales, rule, kind)


class NumberRangeError(ValueError):
    """The numbers of a problem are outside the range of a number type."""


class _Range:
    """The numbers of a floating point type.

    Attributes:
        smallest: the smallest normal number.
        subnormal: the smallest number that is not rounded to 0.
        largest: the largest number.
        most: the largest value of a sum, with room for rounding.
    """

    def __init__(self, dtype: str) -> None:
        kind = np.finfo(dtype)
        self.smallest, self.subnormal = float(kind.tiny), float(kind.smallest_subnormal)
        self.largest, self.most = float(kind.max), float(kind.max) / 4.0
        self._dtype = dtype

    def refusal(self, what: str, allowed: str, got: float, fix: str) -> NumberRangeError:
        """The error of a problem whose numbers do not fit."""
        other, wider = ("", "") if self._dtype == "float64" else (f" in {self._dtype}", ", or use float64")
        return NumberRangeError(f"{what} must be {allowed}{other}, got {got:.6g}; {fix}{wider}.")


def _check_numbers(scales: Scales, kind: _Range) -> None:
    """Check what is given: eigenvalues, starts and minimisers.

    Raises:
        ValueError: one of them is beyond the numbers of the type.
    """
    low, high = scales.smallest_eigenvalue, scales.largest_eigenvalue
    if low < kind.smallest or high > kind.largest:
        allowed = f"from {kind.smallest:.3g} to {kind.largest:.3g}"
        got = low if low < kind.smallest else high
        raise kind.refusal("eigenvalues of the blocks", allowed, got, "scale the blocks")
    # An entry of e_0 that is rounded to 0 would keep a sign step from ever moving there.
    for what, (low, high) in (("entries of initial_error", scales.error), ("entries of minimizer", scales.minimizer)):
        if high > kind.largest:
            raise kind.refusal(what, f"at most {kind.largest:.3g} in size", high, "scale them")
        if 0.0 < low < kind.subnormal:
            raise kind.refusal(what, f"0 or at least {kind.subnormal:.3g} in size", low, "set it to 0")


def _check_null_part(scales: Scales, tolerance: float, dtype: str) -> None:
    """Check that a part of the start in the null space of a block does not drown the gap.

    That part n adds nothing to the gap 1/2 e'He, but H n is 0 up to rounding only: about eps L n^2 are added.

    Raises:
        ValueError: this rounding is above the gap at which a run has converged.
    """
    rounding = np.finfo(dtype).eps * scales.null_part
    drowned = scales.moving & (rounding > tolerance * scales.gap)
    if drowned.any():
        raise ValueError(
            f"initial_error must have a small part in the null space of the blocks, got one whose rounding in {dtype} "
            f"({rounding[drowned][0]:.3g}) is above the tolerance times the gap at the start "
            f"({tolerance * scales.gap[drowned][0]:.3g}); project initial_error on the range, or draw it: normal or sphere."
        )


def _check_gaps(scales: Scales, tolerance: float, kind: _Range) -> None:
    """Check the gaps at the starts, and those at which runs have converged.

    Raises:
        ValueError: a product that a gap is made of overflows, or a gap is not normal until its run has converged.
    """
    gap, products = scales.gap[scales.moving], scales.products[scales.moving]
    if not np.all(products <= kind.most):
        raise kind.refusal(
            "|e_0| |H e_0| and L |e_0| at the start", f"at most {kind.most:.3g}, as the gap is made of such products",
            float(products[~(products <= kind.most)][0]), "scale initial_error or the blocks down",
        )  # fmt: skip
    if np.any(tolerance * gap < kind.smallest):
        raise kind.refusal(
            f"gap at the start times the tolerance ({tolerance:g})",
            f"at least {kind.smallest:.3g}, the smallest normal number",
            float(tolerance * gap.min()), "scale initial_error or the blocks up, or raise the tolerance",
        )  # fmt: skip


def _check_squares(scales: Scales, rule: Rule, kind: _Range) -> None:
    """Check the squared gradients at the starts, for a rule that needs them.

    Raises:
        ValueError: one overflows, or the rule divides by one that is not normal.
    """
    square = needed = scales.squared_gradient[scales.moving]
    if rule.fact("reads L_l", partial(_reads_smoothness, rule)):
        with np.errstate(over="ignore"):
            needed = square * max(1.0, scales.largest_eigenvalue)
    if not np.all(needed <= kind.most):
        raise kind.refusal(
            f"squared norm of the gradient at the start, which {rule.name} needs,", f"at most {kind.most:.3g}",
            float(needed[~(needed <= kind.most)][0]), "scale initial_error or the blocks down",
        )  # fmt: skip
    if rule.fact("divides by totals", partial(_divides_by_totals, rule)) and np.any(square < kind.smallest):
        raise kind.refusal(
            f"squared norm of the gradient at the start, which {rule.name} divides by,",
            f"at least {kind.smallest:.3g}", float(square.min()), "scale initial_error or the blocks up",
        )  # fmt: skip


def _reads_smoothness(rule: Rule) -> bool:
    from quadsim.simulator.rules.functions import symbols

    return any(e.has(symbols.L_l) for e in (rule.step, *rule.update.values(), *rule.start.values()))


def _divides_by_totals(rule: Rule) -> bool:
    """Whether a quotient has a sum over the whole gradient below."""
    from quadsim.simulator.rules.functions import Ratio, Total

    quotients = set().union(*(e.atoms(Ratio) for e in (rule.step, *rule.update.values(), *rule.start.values())))
    return any(quotient.args[1].has(Total) for quotient in quotients)


def _squares(rule: Rule) -> bool:
    """Whether the rule evaluates a power above 1 of the gradient or of a state."""
    import sympy as sp

    from quadsim.simulator.rules.functions import symbols

    coordinate = {symbols.g, *rule.update}
    powers = set().union(*(e.atoms(sp.Pow) for e in (rule.step, *rule.update.values(), *rule.start.values())))
    return any(bool(p.exp.is_number and p.exp > 1 and p.base.free_symbols & coordinate) for p in powers)
