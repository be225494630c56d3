"""The covariance identity: gradient heterogeneity against Hessian heterogeneity (docs/theory.md section 4)."""

import sympy as sp

from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.steps import concludes, equal, inside
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import SumOver, Symbol

__all__ = ["HETEROGENEITY"]

P, Lambda_P, Lambda_G, n2 = Symbol.P, Symbol.Lambda_P, Symbol.Lambda_G, Symbol.norm2_squared


def _covariance() -> tuple[Step, ...]:
    size, top, norm, whole, number, mean = sp.symbols("P_l L_l n_l n P Lambda_P", positive=True)
    # Sums over the blocks so far: of n_l, P_l, n_l L_l, P_l L_l.
    norms, sizes, norms_top, sizes_top = sp.symbols("N Q A B", nonnegative=True)
    term = size / number * ((norm / size) / (whole / number) - 1) * (top - mean)
    first, second = sp.symbols("Lambda_G Lambda_P", positive=True)

    def so_far(n: sp.Expr, p: sp.Expr, nL: sp.Expr, pL: sp.Expr) -> sp.Expr:
        return nL / whole - mean * n / whole - pL / number + mean * p / number

    return (
        Step(
            equal(so_far(norms, sizes, norms_top, sizes_top), 0),
            "induction over the blocks: before the first all sums are 0, and so is the covariance",
            tuple(sp.Eq(x, 0, evaluate=False) for x in (norms, sizes, norms_top, sizes_top)),
        ),
        Step(
            equal(
                so_far(norms, sizes, norms_top, sizes_top) + term,
                so_far(norms + norm, sizes + size, norms_top + norm * top, sizes_top + size * top),
            ),
            "a block more adds pi_l (u_l - 1)(L_l - Lambda_P), pi_l = P_l/P, u_l = (|g_l|^2/P_l)/(|g|^2/P)",
        ),
        Step(
            equal(
                so_far(whole, number, whole * first, number * second).subs(mean, second),
                first - second,
            ),
            "over all blocks the sums are |g|^2, P, |g|^2 Lambda_G and P Lambda_P, and the covariance is Lambda_G - Lambda_P",
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
        conclusion=lambda bound: concludes(
            inside(bound),
            Symbol.P_l / P * ((Symbol.norm2_squared_l / Symbol.P_l) / (n2 / P) - 1) * (Symbol.L_l - Lambda_P),
        ),
        source="After Tomihari and Sato, arXiv 2502.00213, in the form derived here for block-diagonal quadratics.",
    ),
)
