"""sign-constant-gap and sign-constant-steps: the recursion of the gap of a block, and the steps that it takes."""

import sympy as sp

from quadsim.theory.statements.as_run.signs.descent import HULL, SUM, descent
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.steps import equal

__all__ = ["gap", "steps"]

_y, _S = sp.symbols("y S", nonnegative=True)
_k = sp.Symbol("k", nonnegative=True)


def gap() -> tuple[Step, ...]:
    """Return the proof of the recursion."""
    return (*descent(), HULL, SUM)


def steps() -> tuple[Step, ...]:
    """Return the proof of the number of steps: Psi(x) = x + x* ln(x - x*) falls by a at least."""
    a, pole, x, after = sp.symbols("a x_star x x_next", positive=True)
    step, size, nu = sp.symbols("eta S nu", positive=True)
    u, first, last, t, target = sp.symbols("u Psi_0 Psi_t t Psi_T", real=True)
    return (
        *descent(),
        Step(
            equal((step * sp.sqrt(2 * nu)) * (step * size / (2 * sp.sqrt(2 * nu))), step**2 * size / 2),
            "x* = eta S/(2 sqrt(2 nu)) and a = eta sqrt(nu/2): the recursion is x_next^2 <= x^2 - 2 a (x - x*)",
        ),
        Step(
            sp.Le(sp.Max(0, _y**2 - _k * _y) + _k * _S, sp.Max(_y**2, _k * _S)),
            "invariance: once gap <= x_T^2 with x_T >= x* and x_T^2 >= eta^2 S/2, it is so for ever (S stands for x*)",
            (sp.Ge(_y, _S),),
        ),
        Step(
            sp.Le(after, x - a * (x - pole) / x),
            "x_next <= x - a (x - x*)/x: a square root lies below its tangent",
            (sp.Le(after**2, x**2 - 2 * a * (x - pole)),),
        ),
        Step("ln u <= u - 1 for u > 0", "tangent of the logarithm"),
        Step(
            sp.Le((after - x) + pole * (after - x) / (x - pole), -a),
            "with u = (x_next - x*)/(x - x*): Psi(x) = x + x* ln(x - x*) falls by a at least while x_next > x*",
            (sp.Le(after, x - a * (x - pole) / x), sp.Gt(x, pole), sp.Gt(after, pole)),
        ),
        Step(
            sp.Le(a * t, first - target),
            "induction: as long as x_t > x_T, a t <= Psi(x_0) - Psi(x_t) <= Psi(x_0) - Psi(x_T)",
            (sp.Le(a * t, first - last), sp.Ge(last, target)),
        ),
        Step(
            sp.Le(t, u / a + 1),
            (
                "so the first t with x_t <= x_T is at most (Psi(x_0) - Psi(x_T))/a + 1: the step before it is not "
                "there yet"
            ),
            (sp.Le(a * (t - 1), u),),
        ),
    )
