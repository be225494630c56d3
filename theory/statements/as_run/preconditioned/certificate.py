"""adam-certificate and adam-certificate-gap: energies that know the preconditioner, from step to step and over many steps."""

import sympy as sp

from quadsim.theory.running.certificates import Certificate, Polynomial, coefficients
from quadsim.theory.statements.as_run.preconditioned.frame import (
    BLOCKS,
    EPS1,
    PRECONDITIONED,
    SEMIDEFINITE,
    beta,
    d,
    frame,
    tau,
    u,
    y,
)
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.steps import equal

__all__ = ["certificate", "certificate_gap"]

rho, omega = sp.symbols("rho omega", positive=True)
s, xi = sp.symbols("s xi", real=True)
a, b = sp.symbols("a b", nonnegative=True)
x, w = sp.symbols("x w", real=True)
p, q, r, t = sp.symbols("p q r t", nonnegative=True)


def _form(yy: sp.Expr, dd: sp.Expr, zz: sp.Expr, rise: sp.Expr, fall: sp.Expr) -> sp.Expr:
    """Return V of a mode, with z'B_t z at least tau z^2/rise and g'B_t g at most fall tau y^2."""
    k = a / (2 * EPS1)
    return (1 - s) * yy**2 + s * dd**2 - xi * (yy - dd) ** 2 + k * tau / rise * zz**2 - b * fall * tau * yy**2


def _quadratic(entries: list[sp.Expr]) -> sp.Expr:
    return entries[0] * u**2 + 2 * entries[1] * u * d + entries[2] * d**2


def _polynomials(forms: list[Polynomial]) -> list[sp.Expr]:
    return [sum(c * tau**k for k, c in enumerate(form)) for form in forms]


def _certificate_step() -> tuple[Step, ...]:
    """Return the steps that lead to V_(t+1) <= theta V_t."""
    old, new = (_polynomials(forms) for forms in coefficients(beta, Certificate(s, xi, a, b), rho, omega))
    now = u + beta * d
    after, lag = now - tau * u, beta * d - tau * u
    B0, B1 = sp.symbols("B_old B_new", positive=True)
    z, g = sp.symbols("z g", real=True)
    return (
        *frame(*PRECONDITIONED),
        Step(
            equal(EPS1 * now + (1 - EPS1) * (now - d), u - EPS1 * beta * d),
            "z = eps1 g + (1 - eps1) m is u - eps1 beta d in units of H^(1/2); m is y - d",
        ),
        Step(
            sp.And(sp.Ge(B0 * z**2, B1 * z**2 / rho), sp.Le(B0 * g**2, omega * B1 * g**2)),
            (
                "coordinate by coordinate: B_t >= B_(t+1)/rho and B_t <= omega B_(t+1), so V_t is at least the form "
                "R, with B_(t+1)"
            ),
            (sp.Ge(B0 * rho, B1), sp.Le(B0, omega * B1)),
        ),
        Step(
            equal(_form(now, d, u - EPS1 * beta * d, rho, omega), _quadratic(old)),
            "R(tau) in (u, d): the entries that are evaluated on runs",
            (sp.Lt(beta, 1),),
        ),
        Step(
            equal(_form(after, lag, EPS1 * after + (1 - EPS1) * u, sp.S.One, sp.S.One), _quadratic(new)),
            "V_(t+1) is N(tau) in (u, d)",
            (sp.Lt(beta, 1),),
        ),
        SEMIDEFINITE,
    )


def _certificate_floor() -> tuple[Step, ...]:
    """Return the steps of V >= c |y|^2, and the sum over modes and blocks."""
    c11, c12 = sp.symbols("c11 c12", real=True)
    c22 = sp.Symbol("c22", positive=True)
    low, high, between = sp.symbols("tau_low tau_high tau_i", positive=True)
    p0, p1 = sp.symbols("p_0 p_1", real=True)
    floor = sp.Min(p0 + between * p1, x)
    ends = sp.Min(sp.Min(p0 + low * p1, x), sp.Min(p0 + high * p1, x))
    return (
        Step(
            sp.Le(q, t * p),
            (
                "so where theta R(tau) - N(tau) is not negative for every tau of the block, V_(t+1) <= theta R <= "
                "theta V_t"
            ),
            (sp.Le(q, t * r), sp.Le(r, p)),
        ),
        Step(
            sp.Ge(c11 * x**2 + 2 * c12 * x * w + c22 * w**2, (c11 - c12**2 / c22) * x**2),
            "V >= c |y|^2 with the Schur complement c of V in (y, d), where its (d,d) entry is positive",
        ),
        Step(
            sp.Ge(floor, ends),
            "V is affine in tau, so that c is a minimum of affine functions: on an interval least at an end",
            (sp.Le(low, between), sp.Le(between, high)),
        ),
    )


def _certificate_origin() -> tuple[Step, ...]:
    """Return two identities: a closed form, and the conserved form of a frozen preconditioner."""
    now = u + beta * d
    after, lag = now - tau * u, beta * d - tau * u
    gamma = 1 - a * (1 - EPS1 * tau / 2)
    simple = sp.expand(
        (
            _form(now, d, u - EPS1 * beta * d, sp.S.One, sp.S.One)
            - _form(after, lag, EPS1 * after + (1 - EPS1) * u, sp.S.One, sp.S.One)
        ).subs({xi: 0, b: 0})
    )
    closed = s * (1 - beta**2) * d**2 + tau * (2 * (1 - s) - gamma * tau) * u**2 + 2 * beta * gamma * tau * u * d
    kept = y * d + tau / (1 - beta) * (y - d) * (y - beta * d)
    u0 = y - beta * d
    following = kept.subs({y: y - tau * u0, d: beta * d - tau * u0}, simultaneous=True)
    return (
        BLOCKS,
        Step(
            equal(simple, closed),
            (
                "closed form at xi = b = 0, rho = 1, any omega: V - V_next = s (1-beta^2) d^2 + tau (2(1-s) - gamma "
                "tau) u^2 + 2 beta gamma tau u d, gamma = 1 - a (1 - eps1 tau/2)"
            ),
            (sp.Lt(beta, 1),),
        ),
        Step(
            equal(following, beta * kept),
            (
                "where the certificates come from: with a frozen B, y d + tau/(1-beta) (y-d)(y - beta d) is "
                "multiplied by beta in every step, for every tau"
            ),
            (sp.Lt(beta, 1),),
        ),
    )


def certificate() -> tuple[Step, ...]:
    """Return the proof of adam-certificate, and where its energies come from."""
    return (*_certificate_step(), *_certificate_floor(), *_certificate_origin())


def certificate_gap() -> tuple[Step, ...]:
    """Return the proof of adam-certificate-gap: that of adam-certificate, step after step, and the floor of V."""
    product, value, floor, gap = sp.symbols("product V_0 c gap", nonnegative=True)
    after = sp.Symbol("V", nonnegative=True)
    return (
        *certificate(),
        Step(
            sp.Le(after, product * t * value),
            "induction over t: V_(t+1) <= theta V_t and V_t <= (theta_1 ... theta_t) V_0 give the product for t + 1",
            (sp.Le(after, t * p), sp.Le(p, product * value)),
        ),
        Step(
            sp.Le(gap, product * value / (2 * floor)),
            "and 2 c gap <= V",
            (sp.Le(2 * floor * gap, after), sp.Le(after, product * value), sp.Gt(floor, 0)),
        ),
    )
