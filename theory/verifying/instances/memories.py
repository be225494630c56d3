"""Instances of adam-equal-betas and frozen-momentum-edge, in exact arithmetic."""

from collections.abc import Sequence
from fractions import Fraction

import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols
from quadsim.theory.checking.instance import InstanceCheck
from quadsim.theory.statements.models.memories import frozen_mode
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import Symbol
from quadsim.theory.verifying.draws import Draw, fraction
from quadsim.theory.verifying.instances.toy_models import compared, value

__all__ = ["check_edge", "check_memories", "of_edge", "of_memories"]

_NEXT_TO_THE_EDGE = Fraction(1, 1024)


def check_memories(theorem: Theorem, gradients: Sequence[Fraction], beta1: Fraction, beta2: Fraction) -> InstanceCheck:
    """Check adam-equal-betas on the memories of the rule adam after these gradients.

    Args:
        theorem: the statement; its hypothesis on the betas is left to the caller.
        gradients: g_1, ..., g_t of one coordinate.
        beta1: memory of the mean gradient.
        beta2: memory of the mean squared gradient.
    """
    adam = RULES["adam"]
    settings = [h for h in adam.hyperparameters if str(h) != "eps"]
    betas = [{"beta1": beta1, "beta2": beta2}[str(h)] for h in settings]
    step = sp.lambdify((symbols.g, *adam.states, *settings), [adam.update[state] for state in adam.states], modules=[])
    first = second = errors = Fraction(0)
    for g in gradients:
        errors = beta1 * errors + (1 - beta1) * (first - g) ** 2
        first, second = step(g, first, second, *betas)
    bound = value(theorem, {Symbol.beta1: beta1, Symbol.beta2: beta2, Symbol.memory_errors: errors})
    words = f"beta1 = {beta1}, beta2 = {beta2}, g = {', '.join(map(str, gradients))}"
    return compared(theorem, sp.Rational(second - first**2), bound, words)


def of_memories(theorem: Theorem, draw: Draw, number: int, exact: bool) -> InstanceCheck:
    """Check the memories after 1 to 6 random gradients, with equal betas."""
    beta = Fraction(int(draw.integers(0, 16)), 16)
    signs = [fraction(draw) * int(draw.choice([-1, 1])) for _ in range(int(draw.integers(1, 7)))]
    return check_memories(theorem, signs, beta, beta)


def check_edge(theorem: Theorem, beta1: Fraction, sigma: Fraction) -> InstanceCheck:
    """Check frozen-momentum-edge: a mode is stable a thousandth below the edge, and is not at it and a thousandth above.

    The roots of the recursion's own matrix are compared with 1 in exact arithmetic.
    """
    edge = value(theorem, {Symbol.beta1: beta1, Symbol.sigma: sigma})
    matrix, (x, beta) = frozen_mode()
    for shift, wanted in ((-_NEXT_TO_THE_EDGE, True), (Fraction(0), False), (_NEXT_TO_THE_EDGE, False)):
        rate = edge * sp.Rational(1 + shift)
        here = matrix.subs({x: rate * sp.Rational(sigma), beta: sp.Rational(beta1)})
        if (stable := _is_stable(here)) != wanted:
            words = f"beta1 = {beta1}, sigma = {sigma}: at the rate {rate} the mode is {'' if stable else 'not '}stable"
            return InstanceCheck("refuted", float(1 + shift), words)
    return InstanceCheck("verified", 1.0)


def _is_stable(matrix: sp.Matrix) -> bool:
    """Whether both roots of z^2 - T z + D lie inside the unit circle, exactly."""
    trace, product = matrix.trace(), matrix.det()
    discriminant = trace**2 - 4 * product
    if discriminant < 0:
        return bool(product < 1)
    return bool(abs(trace) < 2 and discriminant < (2 - abs(trace)) ** 2)  # the larger modulus is (|T| + root)/2


def of_edge(theorem: Theorem, draw: Draw, number: int, exact: bool) -> InstanceCheck:
    """Check the edge at a random momentum and mode."""
    return check_edge(theorem, Fraction(int(draw.integers(0, 64)), 64), fraction(draw))
