"""Gradient heterogeneity against Hessian heterogeneity (theory.md section 4): the covariance identity."""

import sympy as sp

from quadsim.theory.common import equal
from quadsim.theory.proving import Step
from quadsim.theory.symbols import SumOver, Symbol
from quadsim.theory.theorem import Theorem

__all__ = ["HETEROGENEITY"]

P, Lambda_P, Lambda_G, n2 = Symbol.P, Symbol.Lambda_P, Symbol.Lambda_G, Symbol.norm2_squared


def _covariance() -> tuple[Step, ...]:
    size, top, norm, whole, number, mean = sp.symbols("P_l L_l n_l n P Lambda_P", positive=True)
    weight = size / number
    ratio = (norm / size) / (whole / number)
    first, second = sp.symbols("Lambda_G Lambda_P", positive=True)
    return (
        Step(
            equal(
                weight * (ratio - 1) * (top - mean),
                weight * ratio * top - weight * ratio * mean - weight * top + weight * mean,
            ),
            "each block's term of the covariance, with weight pi_l = P_l/P and u_l = (|g_l|^2/P_l)/(|g|^2/P)",
        ),
        Step(equal(weight * ratio * top, norm / whole * top), "summed over blocks, pi u L is Lambda_G"),
        Step(
            equal(weight * ratio, norm / whole), "summed, pi u is sum |g_l|^2/|g|^2 = 1; pi L is Lambda_P and pi is 1"
        ),
        Step(
            equal(first - 1 * second - second + 1 * second, first - second),
            "summation: so the covariance is Lambda_G - Lambda_P - Lambda_P + Lambda_P = Lambda_G - Lambda_P",
        ),
    )


HETEROGENEITY = (
    Theorem(
        name="covariance-identity",
        statement=(
            r"\Lambda_G - \Lambda_P = \mathrm{Cov}_\pi(u_l, L_l),\quad \pi_l = \frac{P_l}{P},\quad"
            r" u_l = \frac{|g_l|^2/P_l}{|g|^2/P}"
        ),
        kind="identity",
        direction="equal",
        quantity=Lambda_G - Lambda_P,
        bound=SumOver(Symbol.P_l / P * (Symbol.norm2_squared_l * P / (Symbol.P_l * n2) - 1) * (Symbol.L_l - Lambda_P)),
        tight="always",
        argument=_covariance,
        source="After Tomihari and Sato, arXiv 2502.00213, in the form derived here for block-diagonal quadratics.",
    ),
)
