"""Theorems about rules with a running preconditioner: RMSProp, Adam and their relatives (docs/theory.md section 9).

Nothing is assumed of how the preconditioner came about: eps, bias correction, maxima and schedules are covered. The bounds
read it along the run, with the error and the mean gradient at one step; they read no gap of a later step.
"""

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.rule import symbols as rule_symbols
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.running.certificates import Certificate, Polynomial, coefficients
from quadsim.theory.running.preconditioner import preconditioned_form, why_no_form
from quadsim.theory.running.run_values import memory_of
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.steps import concludes, e, equal, inside, lam
from quadsim.theory.statements.theorem import Hypothesis, Theorem
from quadsim.theory.symbols import MaxOver, SumOver, Symbol

__all__ = ["ADAM_AS_RUN", "PRECONDITIONED"]

PRECONDITIONED = ("adam", "adamw", "amsgrad", "adam-mini", "rmsprop", "rmsprop-centered", "adagrad", "heavy-ball")
"""Rules whose step is a diagonal preconditioner times a mean of gradients, without weight decay."""

tau, beta = sp.symbols("tau beta", positive=True)
rho, omega = sp.symbols("rho omega", positive=True)
u, d, y = sp.symbols("u d y", real=True)
s, xi = sp.symbols("s xi", real=True)
a, b = sp.symbols("a b", nonnegative=True)
_EPS1 = (1 - beta) / (1 + beta)
_A, _C = sp.symbols("A C", nonnegative=True)
_B, _x, _w = sp.symbols("B x w", real=True)
_p, _q, _r, _t = sp.symbols("p q r t", nonnegative=True)

_SEMIDEFINITE = Step(
    sp.Ge(_A * _x**2 + 2 * _B * _x * _w + _C * _w**2, 0),
    "a quadratic form with A, C >= 0 and A C >= B^2 is not negative",
    (sp.Ge(_A * _C, _B**2),),
)
_BLOCKS = Step(
    sp.Le(_p + _q, _r + _t),
    "summation: what holds for every mode and block holds for the sum of two, and by induction for all",
    (sp.Le(_p, _r), sp.Le(_q, _t)),
)


def _form_of(name: str) -> Step:
    """Return the proof step that a rule's step is -B m, with B free of the present gradient and mean."""
    rule = RULES[name]
    form = preconditioned_form(rule)
    assert form is not None
    own = {str(symbol): symbol for symbol in rule.hyperparameters}
    decay = {own["weight_decay"]: sp.S.Zero} if "weight_decay" in own else {}
    g = rule_symbols.g
    moved = rule.step.subs(decay).doit()
    mean = form.scale * (form.memory if form.memory is not None else g)
    because = f"a step of the rule {name} is e <- e - B m, with B diagonal and positive"
    given = (*(sp.Lt(clock, 1) for clock in rule.clocks), *(sp.Gt(own[key], 0) for key in ("eps",) if key in own))
    if form.memory is not None:
        because += f" and m <- {form.beta} m + (1 - {form.beta}) g"
        kept = equal(form.scale * rule.update[form.memory], form.beta * mean + (1 - form.beta) * g)
        return Step(sp.And(equal(moved, -form.preconditioner * mean), kept, evaluate=False), because, given)
    return Step(equal(moved, -form.preconditioner * mean), because, given)


def _frame(*names: str) -> tuple[Step, ...]:
    """Return the proof steps that lead from the rule to the recursion of a mode: y <- y - tau u, d <- beta d - tau u."""
    m0 = sp.Symbol("m_0", real=True)
    B = sp.Symbol("B", positive=True)
    m1 = beta * m0 + (1 - beta) * lam * e
    yy, dd = sp.sqrt(lam) * e, (lam * e - m0) / sp.sqrt(lam)
    uu = yy - beta * dd
    return (
        *(_form_of(name) for name in names),
        Step(
            equal(m1 / sp.sqrt(lam), uu),
            (
                "with y = H^(1/2) e, d = H^(-1/2) (g - m): H^(-1/2) m_next = u = y - beta d (one coordinate; for a "
                "block the same with the matrices)"
            ),
        ),
        Step(
            equal(sp.sqrt(lam) * (e - B * m1), yy - B * lam * uu),
            "y_next = y - K u with K = H^(1/2) B H^(1/2), block by block",
        ),
        Step(
            equal((lam * (e - B * m1) - m1) / sp.sqrt(lam), beta * dd - B * lam * uu),
            "d_next = beta d - K u",
        ),
        Step(
            (
                "K is symmetric positive definite and has the eigenvalues tau of B^(1/2) H B^(1/2): in its "
                "eigenbasis y_next = y - tau u, d_next = beta d - tau u"
            ),
            "spectral theorem",
        ),
    )


def _local() -> tuple[Step, ...]:
    low, high, between = sp.symbols("tau_low tau_high tau_i", positive=True)
    return (
        *_frame(*PRECONDITIONED),
        Step(
            equal((y - tau * y) ** 2, (1 - tau) ** 2 * y**2),
            "with beta = 0, u = y: twice the gap is |y|^2, and each mode's part is multiplied by (1 - tau)^2",
        ),
        Step(
            sp.Le((1 - between) ** 2, sp.Max((1 - low) ** 2, (1 - high) ** 2)),
            "which is largest at an end of the spectrum",
            (sp.Le(low, between), sp.Le(between, high)),
        ),
        _BLOCKS,
    )


def _energy() -> tuple[Step, ...]:
    theta = 1 - 2 * tau + tau**2 / _EPS1
    now = u + beta * d
    difference = sp.expand(theta * (now**2 + beta * d**2) - (now - tau * u) ** 2 - beta * (beta * d - tau * u) ** 2)
    uu, ud, dd = (sp.factor(difference.coeff(u, i).coeff(d, j)) for i, j in ((2, 0), (1, 1), (0, 2)))
    low, high, between = sp.symbols("tau_low tau_high tau_i", positive=True)
    value = theta.subs(tau, between)
    return (
        *_frame(*PRECONDITIONED),
        Step(
            equal(uu, beta * (1 + beta) * tau**2 / (1 - beta)),
            (
                "theta E - E_next = A u^2 + 2 B u d + C d^2, E = y^2 + beta d^2, y = u + beta d, with A = beta "
                "(1+beta) tau^2/(1-beta)"
            ),
            (sp.Lt(beta, 1),),
        ),
        Step(
            equal(dd, beta * (1 + beta) * (1 - beta - tau * (2 - tau / _EPS1))),
            "and C = beta (1+beta) (1 - beta - tau (2 - tau/eps1))",
            (sp.Lt(beta, 1),),
        ),
        Step(
            equal(sp.simplify(uu * dd - ud**2 / 4), beta**3 * tau**2 * (2 - tau / _EPS1) ** 2),
            "certificate: A C - B^2 = beta^3 tau^2 (2 - tau/eps1)^2 >= 0",
            (sp.Lt(beta, 1),),
        ),
        Step(sp.Ge(dd, 0), "C is not negative, for any tau", (sp.Lt(beta, 1),)),
        _SEMIDEFINITE,
        Step(
            sp.Le(value, sp.Max(theta.subs(tau, low), theta.subs(tau, high))),
            "theta is convex in tau: largest at an end of the spectrum",
            (sp.Lt(beta, 1), sp.Le(low, between), sp.Le(between, high)),
        ),
        _BLOCKS,
        Step(
            equal(y**2 + beta * y**2, (1 + beta) * y**2),
            "at the start m = 0, so d = y and E_0 = (1 + beta) 2 gap_0; and 2 gap <= E at every step",
        ),
    )


def _form(yy: sp.Expr, dd: sp.Expr, zz: sp.Expr, rise: sp.Expr, fall: sp.Expr) -> sp.Expr:
    """Return V of a mode, with z'B_t z at least tau z^2/rise and g'B_t g at most fall tau y^2."""
    k = a / (2 * _EPS1)
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
        *_frame(*PRECONDITIONED),
        Step(
            equal(_EPS1 * now + (1 - _EPS1) * (now - d), u - _EPS1 * beta * d),
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
            equal(_form(now, d, u - _EPS1 * beta * d, rho, omega), _quadratic(old)),
            "R(tau) in (u, d): the entries that are evaluated on runs",
            (sp.Lt(beta, 1),),
        ),
        Step(
            equal(
                sp.simplify(
                    sp.expand(_form(after, lag, _EPS1 * after + (1 - _EPS1) * u, sp.S.One, sp.S.One) - _quadratic(new))
                ),
                0,
            ),
            "V_(t+1) is N(tau) in (u, d)",
        ),
        _SEMIDEFINITE,
    )


def _certificate_floor() -> tuple[Step, ...]:
    """Return the steps of V >= c |y|^2, and the sum over modes and blocks."""
    c11, c12 = sp.symbols("c11 c12", real=True)
    c22 = sp.Symbol("c22", positive=True)
    low, high, between = sp.symbols("tau_low tau_high tau_i", positive=True)
    p0, p1 = sp.symbols("p_0 p_1", real=True)
    floor = sp.Min(p0 + between * p1, _x)
    ends = sp.Min(sp.Min(p0 + low * p1, _x), sp.Min(p0 + high * p1, _x))
    return (
        Step(
            sp.Le(_q, _t * _p),
            (
                "so where theta R(tau) - N(tau) is not negative for every tau of the block, V_(t+1) <= theta R <= "
                "theta V_t"
            ),
            (sp.Le(_q, _t * _r), sp.Le(_r, _p)),
        ),
        Step(
            sp.Ge(c11 * _x**2 + 2 * c12 * _x * _w + c22 * _w**2, (c11 - c12**2 / c22) * _x**2),
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
    gamma = 1 - a * (1 - _EPS1 * tau / 2)
    simple = sp.expand(
        (
            _form(now, d, u - _EPS1 * beta * d, sp.S.One, sp.S.One)
            - _form(after, lag, _EPS1 * after + (1 - _EPS1) * u, sp.S.One, sp.S.One)
        ).subs({xi: 0, b: 0})
    )
    closed = s * (1 - beta**2) * d**2 + tau * (2 * (1 - s) - gamma * tau) * u**2 + 2 * beta * gamma * tau * u * d
    kept = y * d + tau / (1 - beta) * (y - d) * (y - beta * d)
    u0 = y - beta * d
    following = kept.subs({y: y - tau * u0, d: beta * d - tau * u0}, simultaneous=True)
    return (
        _BLOCKS,
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


def _certificate() -> tuple[Step, ...]:
    return (*_certificate_step(), *_certificate_floor(), *_certificate_origin())


def _certificate_gap() -> tuple[Step, ...]:
    product, value, floor, gap = sp.symbols("product V_0 c gap", nonnegative=True)
    after = sp.Symbol("V", nonnegative=True)
    return (
        *_certificate(),
        Step(
            sp.Le(after, product * _t * value),
            "induction over t: V_(t+1) <= theta V_t and V_t <= (theta_1 ... theta_t) V_0 give the product for t + 1",
            (sp.Le(after, _t * _p), sp.Le(_p, product * value)),
        ),
        Step(
            sp.Le(gap, product * value / (2 * floor)),
            "and 2 c gap <= V",
            (sp.Le(2 * floor * gap, after), sp.Le(after, product * value), sp.Gt(floor, 0)),
        ),
    )


def _from_state() -> tuple[Step, ...]:
    rule = RULES["adam"]
    own = {str(symbol): symbol for symbol in rule.hyperparameters}
    _, v = rule.states
    beta2, old, second = own["beta2"], sp.Symbol("v_0", nonnegative=True), sp.Symbol("v_1", nonnegative=True)
    x, larger, part, eps, curvature, gap = sp.symbols("x y r eps H_ii gap", nonnegative=True)
    t, g = sp.symbols("t g", real=True)
    gain, below, above, before = sp.symbols("growth B_old B_new v", positive=True)
    return (
        *_certificate(),
        Step(
            sp.Ge(rule.update[v].subs({v: old, rule_symbols.g: g}), beta2 * old),
            "v_(t+1) >= beta2 v_t: D falls by the factor sqrt(beta2) a step at most, up to the corrections",
            (sp.Le(beta2, 1),),
        ),
        Step(
            sp.Le((x + eps) * part, larger + eps),
            "with eps: r x <= y and r <= 1 give r (x + eps) <= y + eps",
            (sp.Le(part * x, larger), sp.Le(part, 1)),
        ),
        Step(
            sp.Le(g**2, curvature * 2 * gap),
            "g_i^2 <= H_ii e'He: the form of H at e - t u_i is not negative for any t",
            (sp.Ge(2 * gap - 2 * t * g + t**2 * curvature, 0), equal(t * curvature, g), sp.Gt(curvature, 0)),
        ),
        Step(
            sp.Le(beta2 * old + (1 - beta2) * g**2, beta2 * old + (1 - beta2) * second),
            "so v_(t+1) is at most what the bounds on the gaps so far allow",
            (sp.Le(g**2, second), sp.Le(beta2, 1)),
        ),
        Step(
            sp.Le((beta2 * before + (1 - beta2) * g**2) / before, beta2 + (1 - beta2) * gain),
            "and v_(t+1)/v_t is at most beta2 + (1-beta2) 2 G_t H_ii/v_t, which bounds omega",
            (sp.Le(g**2, gain * before), sp.Le(beta2, 1)),
        ),
        Step(
            sp.Le(below * x**2, above * x**2),
            (
                "a larger diagonal has the larger form: U >= D gives spec(H^(1/2) U^-1 H^(1/2)) <= spec(H^(1/2) "
                "D^-1 H^(1/2)), eigenvalue by eigenvalue"
            ),
            (sp.Le(below, above),),
        ),
        Step(
            sp.Le((_p - s * second) * x**2, (_p - s * old) * x**2),
            "V falls with b: raising b between steps, as -b g'Bg, is free (s stands for g'Bg, not negative)",
            (sp.Ge(second, old), sp.Ge(s, 0)),
        ),
    )


def _span() -> tuple[Step, ...]:
    norm, start, end = sp.symbols("norm_squared start end", nonnegative=True)
    return (
        *_frame(*PRECONDITIONED),
        Step(
            equal(y, y + 0 * d),
            (
                "(y, d) <- (y - K u, beta d - K u), u = y - beta d, is linear: t steps are a product Phi of "
                "matrices that the preconditioners alone determine"
            ),
        ),
        Step(
            (
                "|Phi_y x|^2 <= lambda_max(Phi_y'Phi_y) |x|^2 for the rows Phi_y of y and x = y_0, as m_0 = 0 gives "
                "d_0 = y_0"
            ),
            "Rayleigh quotient",
        ),
        Step(
            sp.Le(end / 2, norm * (start / 2)),
            "twice the gap is |y|^2: gap_t <= |Phi_y|^2 gap_0, block by block",
            (sp.Le(end, norm * start),),
        ),
        _BLOCKS,
    )


def _modes() -> tuple[Step, ...]:
    steps: list[Step] = []
    for name in ("heavy-ball", "nesterov"):
        rule = RULES[name]
        form = rule.linear_form
        assert form is not None
        (state,) = rule.states
        m0 = sp.Symbol("m_0", real=True)
        after, states = advance(rule, e, form.eigenvalue * e, {state: m0})
        row = form.matrix * sp.Matrix([e, m0])
        steps += [
            Step(equal(after, row[0]), f"{name} on an eigenvector is linear in (e, m): the first row"),
            Step(equal(states[state], row[1]), "and the second"),
        ]  # fmt: skip
    own = RULES["heavy-ball"].linear_form
    (momentum,) = RULES["heavy-ball"].hyperparameters
    assert own is not None
    z, eta = sp.Symbol("z"), sp.Symbol("eta", positive=True)
    trace = 1 + beta - eta * own.eigenvalue
    top, value = sp.symbols("p_max p_i", nonnegative=True)
    return (
        Step(
            (
                "a symmetric H has an orthonormal basis of eigenvectors, block by block; in it the gap is 1/2 sum_i "
                "lambda_i e_i^2"
            ),
            "spectral theorem",
        ),
        *steps,
        Step(
            equal(lam * (value * e) ** 2 / 2, value**2 * (lam * e**2 / 2)),
            (
                "from m = 0 the error on an eigenvector is p_t(lambda_i) e_i(0): its part of the gap is multiplied "
                "by p_t^2"
            ),
        ),
        Step(sp.Le(value**2 * _q, top**2 * _q), "by at most the largest of these", (sp.Le(value, top),)),
        _BLOCKS,
        Step(
            equal(
                (own.matrix - z * sp.eye(2)).det(),
                z**2 - trace.subs({eta: rule_symbols.lr, beta: momentum}) * z + momentum,
            ),
            "heavy-ball: the characteristic polynomial of a mode is z^2 - (1 + beta - eta lambda) z + beta",
        ),
        Step(
            sp.And(sp.Gt(1 + trace + beta, 0), sp.Gt(1 - trace + beta, 0)),
            (
                "its roots lie in the unit disc (Jury) iff beta < 1 and eta lambda < 2(1+beta): the edge tau = eta "
                "lambda/(1-beta) < 2(1+beta)/(1-beta) of frozen Adam"
            ),
            (sp.Lt(beta, 1), sp.Lt(eta * own.eigenvalue, 2 * (1 + beta))),
        ),
    )


def _is_form(trajectory: Trajectory) -> NDArray[np.bool_]:
    return np.asarray(why_no_form(trajectory) == "")


_FORM = Hypothesis("the step is a diagonal preconditioner times a mean of gradients: no weight decay", _is_form)
_NO_MEMORY = Hypothesis(
    "no memory of gradients (beta1 = 0)",
    lambda run: (memory_of(run) == 0.0)[None],
    seen=lambda run: {"for the memory": memory_of(run)[None]},
)
_MEMORY = Hypothesis(
    "a memory of gradients (beta1 > 0)",
    lambda run: (memory_of(run) > 0.0)[None],
    seen=lambda run: {"for the memory": memory_of(run)[None]},
)
_NO_DECAY = Hypothesis(
    "no weight decay",
    lambda run: np.asarray(run.settings.get("weight_decay", np.zeros(1)) == 0.0)[None, :],
)
_AS_RUN = r"e_{t+1} = e_t - B_{t+1} m_{t+1},\ m_{t+1} = \beta m_t + (1-\beta) g_t"
_TAUS = r"\tau \in \mathrm{spec}(B_{t+1}^{1/2} H_l B_{t+1}^{1/2})"
_V = (
    r"V_t = (1-s) e_t'H_le_t + s (g_t-m_t)'H_l^{-1}(g_t-m_t) - \xi m_t'H_l^{-1}m_t + \frac{a}{2\varepsilon_1} "
    r"z_t'B_tz_t - b g_t'B_tg_t,\quad"
    r" z = \varepsilon_1 g + (1-\varepsilon_1) m"
)
_RUN = "The bound reads the run's preconditioner, and no gap of a later step."
_theta = 1 - 2 * tau + tau**2 / Symbol.eps1

ADAM_AS_RUN = (
    Theorem(
        name="adam-local",
        rules=PRECONDITIONED,
        any_schedule=True,
        statement=(
            r"\beta_1 = 0:\ \forall t\ \forall B_{t+1} \text{ diagonal, positive}: f(w_{t+1}) - f^* \le \max_l \max_{"
            + _TAUS
            + r"} (1-\tau)^2 (f(w_t) - f^*)"
        ),
        hypotheses=(_FORM, _NO_MEMORY),
        bound=MaxOver(sp.Max((1 - Symbol.tau_low_l) ** 2, (1 - Symbol.tau_high_l) ** 2)),
        tight="where the error lies in the eigenspace of an extreme tau, as for blocks of one",
        argument=_local,
        conclusion=lambda bound: concludes(
            inside(bound), sp.Max((Symbol.tau_low_l - 1) ** 2, (Symbol.tau_high_l - 1) ** 2)
        ),
        source=f"Derived here, after Zhang et al., arXiv 2402.16788, for the running preconditioner. {_RUN}",
    ),
    Theorem(
        name="adam-energy",
        rules=PRECONDITIONED,
        any_schedule=True,
        statement=(
            r"\forall l\ \forall t\ \forall B_{t+1} \text{ positive definite}: E_{t+1} \le \max_{"
            + _TAUS
            + r"} \Big(1 - 2\tau +"
            r" \frac{\tau^2}{\varepsilon_1}\Big) E_t,\quad E = e'H_le + \beta (g-m)'H_l^{-1}(g-m),\quad \varepsilon_1 ="
            r" \frac{1-\beta}{1+\beta},\quad " + _AS_RUN
        ),
        hypotheses=(_FORM,),
        kind="horizon",
        quantity=MaxOver(Symbol.energy_ratio_l),
        bound=MaxOver(sp.Max(*(_theta.subs(tau, end) for end in (Symbol.tau_low_l, Symbol.tau_high_l)))),
        tight="for some states of every mode; below 1 only if every tau < 2 epsilon1, the largest range of a form without B",
        argument=_energy,
        conclusion=lambda bound: concludes(
            inside(bound),
            sp.Max(
                *(
                    ((1 - end) ** 2 + end**2 * (1 / Symbol.eps1 - 1)).expand()
                    for end in (Symbol.tau_low_l, Symbol.tau_high_l)
                )
            ),
        ),
        source=f"Derived here. Each block's ratio is at most its own bound; twice its gap is at most E. {_RUN}",
    ),
    Theorem(
        name="adam-certificate",
        rules=PRECONDITIONED,
        any_schedule=True,
        statement=(
            r"\forall l\ \forall s, \xi \in \mathbb R, a, b \ge 0\ \forall t \ge 1: \theta R(\tau) - N(\tau) "
            r"\succeq 0,\ R(\tau) \succ 0\ \forall "
            + _TAUS
            + r" \Rightarrow V_{t+1} \le \theta V_t,\quad "
            + _V
            + r",\quad B_{t+1} \le \rho B_t,\ B_t \le \omega B_{t+1},\quad R, N:"
            r" \text{the 2x2 forms of } V_t, V_{t+1} \text{ in } (H^{-1/2}m_{t+1},"
            r" H^{-1/2}(g_t - m_t))"
        ),
        hypotheses=(_FORM, _MEMORY),
        kind="horizon",
        quantity=MaxOver(Symbol.certified_ratio_l),
        bound=sp.S.One,
        tight="for some states, to 2e-12; with a frozen B there is a form that is multiplied by exactly beta",
        argument=_certificate,
        conclusion=lambda bound: concludes(bound, sp.S.One),
        source=(
            "Derived here. R and N are written out in docs/theory.md section 9. Where R is not positive definite there is no"
            f" statement. {_RUN}"
        ),
    ),
    Theorem(
        name="adam-certificate-gap",
        rules=PRECONDITIONED,
        any_schedule=True,
        statement=(
            r"\forall t > t_0 \ge 1: f(w_t) - f^* \le \sum_l \min_{s,\xi,a,b} "
            r"\frac{V_{l,t_0}\,\theta_{l,t_0+1}\cdots\theta_{l,t}}{2 c_{l,t}},\quad"
            r" V \ge c\,e'H_le \text{ at step } t,\quad R(\tau) \succ 0 \text{ at every step between}"
        ),
        hypotheses=(_FORM, _MEMORY),
        kind="horizon",
        quantity=Symbol.gap,
        bound=SumOver(Symbol.certified_l),
        tight="1.2 to 1.3 times the steps of Adam at its best rate, from the state at step 12",
        argument=_certificate_gap,
        conclusion=lambda bound: concludes(inside(bound), Symbol.certified_l),
        source=f"Derived here from adam-certificate; checked from t_0 = 1. {_RUN}",
    ),
    Theorem(
        name="adam-from-state",
        rules=("adam",),
        statement=(
            r"\forall t_0 \ge 1\ \forall t > t_0: f(w_t) - f^* \le \sum_l \min_{s,\xi,a,b} "
            r"\frac{V_{l,t_0}\,\theta_{l,t_0+1}\cdots"
            r"\theta_{l,t}}{2 c_{l,t}} \text{ with } \theta, c \text{ valid for all } \tau \in [lo_{l,t}, "
            r"hi_{l,t}],\ \rho_t,\ \omega_t \text{ that follow from"
            r" } (e_{t_0}, m_{t_0}, v_{t_0}) \text{ and the bounds on the gaps before } t"
        ),
        hypotheses=(_MEMORY,),
        kind="horizon",
        quantity=Symbol.gap,
        bound=SumOver(Symbol.from_state_l),
        tight="1.2 times the steps of Adam at its best rate, from the state at step 50, on three of four problems",
        argument=_from_state,
        conclusion=lambda bound: concludes(inside(bound), Symbol.from_state_l),
        source=(
            "Derived here. lo, hi, rho and omega are written out in docs/theory.md section 9; only numbers of "
            "single blocks enter. A theta is"
            " certified on an interval by Bernstein coefficients. It reads nothing of the run after t_0."
        ),
    ),
    Theorem(
        name="adam-span",
        rules=PRECONDITIONED,
        any_schedule=True,
        statement=(
            r"\forall t: f(w_t) - f^* \le \sum_l \|\Phi_{l,t}\|_2^2\,(f_l(w_0) - f_l^*),\quad \Phi_{l,t}: y_0 "
            r"\mapsto y_t \text{ under } y \leftarrow"
            r" y - K_l u,\ d \leftarrow \beta d - K_l u,\ u = y - \beta d,\ d_0 = y_0,\ K_l = H_l^{1/2}B H_l^{1/2}"
        ),
        hypotheses=(_FORM,),
        kind="horizon",
        quantity=Symbol.gap,
        bound=SumOver(Symbol.span_l),
        tight="for the worst start of every block, under the same preconditioners",
        argument=_span,
        conclusion=lambda bound: concludes(inside(bound), Symbol.span_l),
        source=f"Derived here: the sharpest bound that reads no state after the start. {_RUN}",
    ),
    Theorem(
        name="linear-modes",
        rules=("heavy-ball", "nesterov"),
        statement=(
            r"\forall t: f(w_t) - f^* \le \max_i p_t(\lambda_i)^2 (f(w_0) - f^*),\quad e_i(t) = p_t(\lambda_i) "
            r"e_i(0);\quad \text{heavy-ball: }"
            r" p_{t+1} = (1 + \beta - \eta\lambda) p_t - \beta p_{t-1},\ p_0 = 1,\ p_1 = 1 - \eta\lambda;\ \lim "
            r"p_t = 0 \iff \eta\lambda < 2(1+\beta)"
        ),
        hypotheses=(_NO_DECAY,),
        kind="horizon",
        quantity=Symbol.gap / Symbol.gap_0,
        bound=MaxOver(Symbol.mode_i**2),
        tight="for an error on the eigenvector of the largest |p_t|, for any rate and momentum",
        argument=_modes,
        conclusion=lambda bound: concludes(inside(bound), Symbol.mode_i**2),
        source=(
            "Classical, in the form derived here. Adam with a frozen preconditioner and momentum is heavy-ball "
            "in the coordinates"
            " D^(1/2) e, with tau = eta sigma = lr lambda/(1-beta): stable iff tau < 2(1+beta1)/(1-beta1), 38 at .9."
        ),
    ),
)
