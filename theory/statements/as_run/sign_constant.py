"""Theorems about sign steps at a rate that is given, constant or by a schedule (docs/theory.md section 8).

SignSGD acts on every block alone, and so do these bounds: no constant of theirs knows another block.
"""

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.rule import symbols as rule_symbols
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.running.constants import LARGEST_ENUMERATED, worst_signs
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.recursion import advance
from quadsim.theory.statements.sign import norm_against_gap
from quadsim.theory.statements.steps import EIGENBASIS, concludes, e, equal, inside, lam
from quadsim.theory.statements.theorem import Hypothesis, Theorem
from quadsim.theory.symbols import MaxOver, MinOver, SumOver, Symbol

__all__ = ["SIGN_AS_RUN"]

eta, S_l, nu_l = Symbol.eta, Symbol.S_l, Symbol.nu_l

_rate = sp.Symbol("eta_t", positive=True)
_x, _y, _S, _nu, _n1, _next = sp.symbols("x y S nu norm1_g gap_next", nonnegative=True)
_k = sp.Symbol("k", nonnegative=True)
_s, _g, _m = sp.symbols("s g m", real=True)
_a, _b, _c, _d = sp.symbols("a b c d", real=True)
_SUM = Step(
    sp.Le(_a + _c, _b + _d),
    "summation: what holds for every block holds for the sum of two blocks, and by induction for all",
    (sp.Le(_a, _b), sp.Le(_c, _d)),
)


def _expansion(x: sp.Symbol = e) -> Step:
    return Step(
        equal(lam * (x - _rate * _s) ** 2 / 2, lam * x**2 / 2 - _rate * _s * lam * x + _rate**2 / 2 * lam * _s**2),
        "each mode, with x and s the parts of e and of the signs on it: gap_next = gap - eta s'g + (eta^2/2) s'Hs",
    )


def _descent() -> tuple[Step, ...]:
    """Return the proof steps of gap_next <= gap - eta sqrt(2 nu gap) + eta^2 S/2 in a block."""
    after, _ = advance(RULES["signsgd"], e, _g, values={rule_symbols.lr: _rate})
    p, q, z = sp.Symbol("p", nonnegative=True), sp.Symbol("q", real=True), sp.Symbol("z", real=True)
    return (
        EIGENBASIS,
        Step(
            equal(after, e - _rate * sp.sign(_g)),
            "a step of the rule signsgd is e <- e - eta s, s = sign(g), in every block alone",
        ),
        _expansion(),
        Step(equal(sp.sign(_g) * _g, sp.Abs(_g)), "s'g = |g|_1, coordinate by coordinate"),
        Step(
            sp.Le(p * z**2 + q * z, sp.Max(p + q, p - q)),
            (
                "s'Hs <= S_l: by definition for signs +-1; in a coordinate whose sign is 0 a convex function is "
                "largest at an end"
            ),
            (sp.Le(z, 1), sp.Ge(z, -1)),
        ),
        *norm_against_gap(),
        Step(
            sp.Le(_next, _x**2 - _rate * sp.sqrt(2 * _nu) * _x + _rate**2 * _S / 2),
            "with x = sqrt(gap): gap_next <= x^2 - eta sqrt(2 nu) x + eta^2 S/2",
            (sp.Le(_next, _x**2 - _rate * _n1 + _rate**2 / 2 * _S), sp.Ge(_n1**2, 2 * _nu * _x**2)),
        ),
    )


_HULL = Step(
    sp.Le(_x**2 - _k * _x, sp.Max(0, _y**2 - _k * _y)),
    (
        "induction over t: with k = eta_t sqrt(2 nu), u -> max(0, u - k sqrt(u)) + eta_t^2 S/2 bounds the next gap "
        "for every gap <= u"
    ),
    (sp.Le(_x, _y),),
)


def _gap() -> tuple[Step, ...]:
    return (*_descent(), _HULL, _SUM)


def _steps() -> tuple[Step, ...]:
    """Return the proof of the number of steps: Psi(x) = x + x* ln(x - x*) falls by a at least."""
    a, pole, x, after = sp.symbols("a x_star x x_next", positive=True)
    step, size, nu = sp.symbols("eta S nu", positive=True)
    u, first, last, t, target = sp.symbols("u Psi_0 Psi_t t Psi_T", real=True)
    return (
        *_descent(),
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


def _midpoint_signs() -> tuple[Step, ...]:
    """Return the steps on the coordinates: those that keep their sign, and those that change it."""
    h, z, after, s2 = sp.symbols("h z g_next s_next", real=True)
    step, _ = advance(RULES["signsgd"], e, _g, values={rule_symbols.lr: _rate})
    half = _rate / 2
    own = (equal(z, (_g + after) / 2), equal(after, _g - _rate * h))
    return (
        EIGENBASIS,
        Step(equal(step, e - _rate * sp.sign(_g)), "a step of the rule signsgd is e <- e - eta s, s = sign(g)"),
        Step(
            equal((e - _rate * _s) - half * s2, (e - half * _s) - _rate * (_s + s2) / 2),
            "m = e - (eta/2) s is the middle of a step: m_next = m - eta u, u = (s + s_next)/2",
        ),
        Step(
            equal(_g - half * h, (_g + (_g - _rate * h)) / 2),
            "its gradient is z = Hm = (g + g_next)/2, with h = Hs, g_next = g - eta h",
        ),
        Step(
            sp.And(sp.Le(half * sp.Abs(h), sp.Abs(z)), sp.Gt(z * _g, 0)),
            "a coordinate that keeps its sign has u = s, u z = |z| >= (eta/2)|h|",
            (*own, sp.Gt(_g * after, 0)),
        ),
        Step(
            sp.Le(sp.Abs(z), half * sp.Abs(h)),
            "one that changes it has u = 0 and |z| <= (eta/2)|h|",
            (*own, sp.Lt(_g * after, 0)),
        ),
    )


def _midpoint_split() -> tuple[Step, ...]:
    """Return the steps on the gradient at the midpoint, divided into two parts."""
    u = sp.Symbol("u", real=True)
    x, cross = sp.symbols("x c", real=True)
    p, q = sp.symbols("p q", nonnegative=True)
    first, second, norm = sp.symbols("|zeta| |delta| n", nonnegative=True)
    moved, form = sp.symbols("sum_A_h uHu", real=True)
    half = _rate / 2
    return (
        Step(
            equal(lam * (x - _rate * u) ** 2 / 2, lam * x**2 / 2 - _rate * u * lam * x + _rate**2 / 2 * lam * u**2),
            "mode by mode, with W the gap at m: W_next = W - eta u'z + (eta^2/2) u'Hu",
        ),
        Step(
            equal(-_rate * (half * moved + norm) + _rate**2 / 2 * form, -_rate * norm + _rate**2 / 2 * (form - moved)),
            (
                "split z = zeta + delta, |zeta_i| <= (eta/2)|h_i|, delta on the set A of kept signs alone: u'z = "
                "(eta/2) sum_A |h_i| + |delta|_1"
            ),
        ),
        Step(
            sp.Le(cross**2, p * q),
            "Cauchy-Schwarz in the norm of H^-1: the form at zeta + x delta is not negative for x = -c/q",
            (sp.Ge(p + 2 * x * cross + x**2 * q, 0), equal(x * q, -cross), sp.Gt(q, 0)),
        ),
        Step(
            sp.Le(p + 2 * cross + q, (first + second) ** 2),
            "triangle inequality in it: |zeta + delta| <= |zeta| + |delta|",
            (sp.Le(cross**2, p * q), equal(first**2, p), equal(second**2, q)),
        ),
    )


def _midpoint_recursion() -> tuple[Step, ...]:
    """Return the steps that lead to the recursion."""
    w, W2, kept, root, R, Q = sp.symbols("w W_next delta root_nu R Q", nonnegative=True)
    norm = sp.Symbol("n", nonnegative=True)
    half = _rate / 2
    return (
        *norm_against_gap(),
        Step(
            sp.Ge(kept, root * (sp.sqrt(2) * w - half * R)),
            (
                "|zeta| <= (eta/2) R and |delta| <= |delta|_1/sqrt(nu), so sqrt(2W) = |z| gives |delta|_1 >= "
                "sqrt(nu)(sqrt(2W) - (eta/2)R)"
            ),
            (sp.Le(sp.sqrt(2) * w, half * R + norm), sp.Ge(kept, root * norm)),
        ),
        Step(
            sp.Le(W2, w**2 - _rate * root * sp.sqrt(2) * w + _rate**2 / 2 * (root * R + Q)),
            "so W_next <= W - eta sqrt(2 nu W) + (eta^2/2)(sqrt(nu) R + Q), and M_l is the largest of sqrt(nu) R + Q",
            (sp.Le(W2, w**2 - _rate * kept + _rate**2 / 2 * Q), sp.Ge(kept, root * (sp.sqrt(2) * w - half * R))),
        ),
        _HULL,
    )


def _midpoint_gap() -> tuple[Step, ...]:
    """Return the steps from the midpoint to the gaps, and the constants of large blocks."""
    u = sp.Symbol("u", real=True)
    size = sp.Symbol("S", nonnegative=True)
    p, q = sp.symbols("p q", nonnegative=True)
    norm = sp.Symbol("n", nonnegative=True)
    return (
        Step(
            equal(
                lam * ((e + (e - _rate * _s)) / 2) ** 2 / 2,
                (lam * e**2 / 2 + lam * (e - _rate * _s) ** 2 / 2) / 2 - _rate**2 / 8 * lam * _s**2,
            ),
            "W = (gap + gap_next)/2 - (eta^2/8) s'Hs",
        ),
        Step(
            sp.Le(sp.Min(_a, _b), _c + size / 8),
            "so the smaller one of gap_t and gap_(t+1) is at most W + eta^2 S/8 (S stands for eta^2 S)",
            (equal(_c, (_a + _b) / 2 - _d / 8), sp.Le(_d, size)),
        ),
        _SUM,
        Step(
            equal(-4 * u * lam * (_s - u), lam * (2 * u - _s) ** 2 - lam * _s**2),
            (
                "for large blocks: Q <= u'H(u - s) = ((2u-s)'H(2u-s) - s'Hs)/4 <= S/4, as |2u - s| <= 1 in every "
                "coordinate"
            ),
        ),
        Step(
            sp.Le(p, q * size),
            "and R^2 <= |Hs|^2/mu <= (L/mu) s'Hs <= kappa S, so that M <= sqrt(nu kappa S) + S/4",
            (sp.Le(p * Symbol.mu, norm), sp.Le(norm, Symbol.L * size), equal(q * Symbol.mu, Symbol.L)),
        ),
    )


def _midpoint() -> tuple[Step, ...]:
    """Return the proof of the recursion of the midpoint."""
    return (*_midpoint_signs(), *_midpoint_split(), *_midpoint_recursion(), *_midpoint_gap())


def _with_memory(rule: str) -> tuple[Step, ...]:
    """Return the proof for a sign of a mean of gradients, which is at most A steps old on average."""
    own = {str(symbol): symbol for symbol in RULES[rule].hyperparameters}
    values = {rule_symbols.lr: _rate} | ({own["weight_decay"]: sp.S.Zero} if "weight_decay" in own else {})
    memory, new = sp.Symbol("m_0", real=True), sp.Symbol("q", real=True)
    (state,) = RULES[rule].states
    after, _ = advance(RULES[rule], e, _g, {state: memory}, values)
    (sign,) = after.atoms(sp.sign)
    mean = sign.args[0]
    size, age, off, bound = sp.symbols("S A E ab", nonnegative=True)
    d1, d2, rr, ss = sp.symbols("d_1 d_2 rHr sHs", nonnegative=True)
    x = sp.Symbol("x", real=True)
    return (
        EIGENBASIS,
        Step(
            equal(after, e - _rate * sp.sign(mean)),
            (
                f"a step of the rule {rule} is e <- e - eta s with s = sign({mean}), a mean of gradients with "
                f"positive weights"
            ),
        ),
        _expansion(),
        Step(
            sp.Ge(sp.sign(_m) * _g, sp.Abs(_g) - 2 * sp.Abs(_g - _m)),
            "coordinate by coordinate: sign(m) g >= |g| - 2 |g - m|, for m the mean divided by the sum of its weights",
        ),
        Step(
            sp.Le(sp.Abs(_a - _b), d1 + d2),
            "|g_t - g_j|_1 is at most the sum of |g_(k+1) - g_k|_1 = eta |H s_k|_1 over the steps between",
            (sp.Le(sp.Abs(_a - x), d1), sp.Le(sp.Abs(x - _b), d2)),
        ),
        Step(
            sp.Le(bound, size),
            "|Hs|_1 = r'Hs for r = sign(Hs), and (r'Hs)^2 <= r'Hr s'Hs <= S^2",
            (sp.Le(bound**2, rr * ss), sp.Le(rr, size), sp.Le(ss, size)),
        ),
        *_ages(rule),
        Step(
            sp.Le(_next, new - _rate * _n1 + _rate**2 / 2 * size * (1 + 4 * age)),
            "gap_next <= gap - eta |g|_1 + (eta^2/2) S (1 + 4 A): S_l (1 + 4 A) stands in place of S_l",
            (sp.Le(_next, new - _rate * (_n1 - 2 * off) + _rate**2 / 2 * size), sp.Le(off, _rate * size * age)),
        ),
        *norm_against_gap(),
        _HULL,
        _SUM,
    )


def _ages(rule: str) -> tuple[Step, ...]:
    """Return the steps on the mean age of the gradients, relative to the sum W of the weights, by induction over t."""
    beta1, beta2, age, total = sp.symbols("beta1 beta2 A W", nonnegative=True)
    own = beta1 if rule == "signum" else beta2
    memory = Step(
        sp.Le(own * total * (age + 1), own / (1 - own) * (own * total + 1 - own)),
        (
            f"mean age of the memory, from W_next = {own} W + 1 - {own}: A_next = {own} W (A + 1)/W_next <= "
            f"{own}/(1-{own})"
        ),
        (sp.Lt(own, 1), sp.Le(age, own / (1 - own)), sp.Le(total, 1)),
    )
    if rule == "signum":
        return (memory,)
    mix = Step(
        sp.Le(beta1 * total * (age + 1), beta1 / (1 - beta2) * (beta1 * total + 1 - beta1)),
        (
            "of the mix of beta1 times the memory, one step older, and 1 - beta1 times g: beta1 W (A + 1)/(beta1 W "
            "+ 1 - beta1)"
        ),
        (sp.Lt(beta2, 1), sp.Le(beta1, 1), sp.Le(age, beta2 / (1 - beta2)), sp.Le(total, 1)),
    )
    return memory, mix


def _speed() -> tuple[Step, ...]:
    x, y, q, p = sp.symbols("x y q p", real=True)
    two_gap, way = sp.symbols("two_gap way", nonnegative=True)
    size, x0 = sp.Symbol("a_1", nonnegative=True), sp.Symbol("x_0", real=True)
    steps: list[Step] = []
    for name in ("signsgd", "signum", "lion"):
        own = {str(symbol): symbol for symbol in RULES[name].hyperparameters}
        decay = {own["weight_decay"]: sp.S.Zero} if "weight_decay" in own else {}
        move = RULES[name].step.subs({rule_symbols.lr: _rate, **decay})
        (factor,) = move.atoms(sp.sign)
        value = sp.Symbol("z", real=True)
        steps.append(
            Step(
                sp.Le(sp.Abs(move.subs(factor, sp.sign(value))), _rate),
                f"a step of the rule {name} moves no coordinate by more than its rate",
            )
        )
    return (
        *steps,
        Step(
            sp.Ge(sp.Abs(y), x0 - size * (way + _rate)),
            "induction: |a'e_t| >= |a'e_0| - |a|_1 (eta_0 + ... + eta_(t-1))",
            (sp.Ge(sp.Abs(x), x0 - size * way), sp.Le(sp.Abs(y - x), _rate * size)),
        ),
        Step(
            sp.Le(q**2, p * two_gap),
            "(a'e)^2 <= (a'H^-1 a)(e'He): the form of H^-1 at a - x He is not negative",
            (sp.Ge(p - 2 * x * q + x**2 * two_gap, 0), equal(x * two_gap, q), sp.Gt(two_gap, 0)),
        ),
        Step(
            sp.Ge(two_gap * p, q**2),
            "with a the i-th unit vector: 2 gap (H^-1)_ii >= |e_t,i|^2 >= max(|e_0,i| - way, 0)^2",
            (sp.Le(q**2, p * two_gap),),
        ),
    )


def _diagonal() -> tuple[Step, ...]:
    x = sp.Symbol("x", real=True)
    way, first = sp.symbols("way x_0", nonnegative=True)
    after, _ = advance(RULES["signsgd"], x, lam * x, values={rule_symbols.lr: _rate})
    return (
        Step(
            equal(after, x - _rate * sp.sign(x)),
            "H diagonal: a step of the rule signsgd is e_i <- e_i - eta sign(e_i), as lambda_i > 0",
        ),
        Step(
            sp.Le(sp.Abs(x - _rate * sp.sign(x)), sp.Max(first - way - _rate, _rate)),
            "induction over t: |e_t,i| <= max(|e_0,i| - eta t, eta), as every step lowers a modulus above eta by eta",
            (sp.Le(sp.Abs(x), sp.Max(first - way, _rate)),),
        ),
        _SUM,
    )


def _cycle() -> tuple[Step, ...]:
    h, d = sp.symbols("h d", real=True)
    k = sp.Symbol("k", nonnegative=True)
    after, _ = advance(RULES["signsgd"], (k + sp.Rational(1, 2)) * _rate * _s, _g, values={rule_symbols.lr: _rate})
    return (
        Step(
            sp.Ge(_s * h, d),
            (
                "s maximises s'Hs: flipping s_i changes it by 4 H_ii - 4 s_i (Hs)_i <= 0, so that s_i (Hs)_i >= "
                "H_ii > 0 and sign(Hs) = s"
            ),
            (sp.Le(4 * d - 4 * _s * h, 0),),
        ),
        Step(equal(after, (k + sp.Rational(1, 2)) * _rate * _s - _rate * sp.sign(_g)), "a step of the rule signsgd"),
        Step(
            equal((k + sp.Rational(1, 2)) * _rate * _s - _rate * _s, (k - sp.Rational(1, 2)) * _rate * _s),
            (
                "from e = (k + 1/2) eta s, k >= 0, the gradient has the signs s: a step leads to (k - 1/2) eta s, "
                "at last to -(eta/2) s and back, for ever"
            ),
        ),
        Step(
            sp.Ge((k + sp.Rational(1, 2)) ** 2, sp.Rational(1, 4), evaluate=False),
            "so |k + 1/2| is never below 1/2 on the way",
        ),
        Step(
            equal(lam * (_rate / 2 * _s) ** 2 / 2, _rate**2 / 8 * lam * _s**2),
            "the gap at (eta/2) s is (eta^2/8) s'Hs = eta^2 S_l/8 in every block",
        ),
        _SUM,
    )


_POLE = eta * S_l / (2 * sp.sqrt(2 * nu_l))
"""x* of sign-constant-steps, below which the bound does not follow a block."""


def _log_steps() -> sp.Expr:
    """Return the steps of a block until sqrt(gap) is at most x_T, 1 included; see sign-constant-steps."""
    first, target = sp.sqrt(Symbol.gap_0_l), Symbol.target_l
    speed = eta * sp.sqrt(nu_l / 2)
    return 1 + (first - target + _POLE * sp.log((first - _POLE) / (target - _POLE))) / speed


def _largest_off_diagonal(trajectory: Trajectory) -> NDArray[np.float64]:
    off = [np.abs(h * (1 - np.eye(size))).max(axis=(1, 2, 3)) for size, h in trajectory.problem.hessian.items()]
    return np.asarray(np.max(off, axis=0)[:, None])


def _no_zero_gradient(trajectory: Trajectory) -> NDArray[np.bool_]:
    """Whether no entry of a gradient is 0 at any step before the last."""
    problem = trajectory.problem
    error = trajectory.observed["iterate"] - problem.layout.flatten(problem.minimizer)[:, None, None]
    out = np.ones(trajectory.status.shape, dtype=bool)
    for size, positions in problem.layout.positions.items():
        gradient = np.einsum("mbij,mktbj->mktbi", problem.hessian[size], error[..., positions])
        out &= (gradient != 0.0).all(axis=(2, 3, 4))
    return out


def _on_cycle(trajectory: Trajectory) -> NDArray[np.bool_]:
    """Whether e_0 = (k + 1/2) eta s in every block, with s a maximiser of s'Hs and one integer k >= 0, up to rounding."""
    problem, rate = trajectory.problem, trajectory.settings["lr"][None, :]
    out = np.ones(trajectory.status.shape, dtype=bool)
    if max(problem.block_sizes) > LARGEST_ENUMERATED:
        return ~out
    start = np.abs(problem.layout.flatten(problem.initial_error))[:, None]
    times = start[..., 0] / rate - 0.5
    out &= np.abs(times - np.round(times)) <= 1e-9 * (1.0 + np.abs(times))
    out &= (np.abs(start - start[..., :1]) <= 1e-12 * start).all(axis=-1)
    for size, matrices in problem.hessian.items():
        signs = np.sign(problem.initial_error[size])
        form = np.einsum("mbi,mbij,mbj->mb", signs, matrices, signs)
        best = worst_signs(matrices)
        most = np.einsum("mbi,mbij,mbj->mb", best, matrices, best)
        out &= (form >= most * (1.0 - 1e-12)).all(axis=1)[:, None]
    return out


_ENUMERATED = Hypothesis(
    f"blocks of at most {LARGEST_ENUMERATED} coordinates, whose signs are enumerated",
    lambda run: np.array(max(run.problem.block_sizes) <= LARGEST_ENUMERATED),
    seen=lambda run: {"in the largest": np.array(max(run.problem.block_sizes))},
)
_IS_DIAGONAL = Hypothesis(
    "H is diagonal",
    lambda run: np.asarray(_largest_off_diagonal(run) == 0.0),
    seen=lambda run: {"off it": _largest_off_diagonal(run)},
)
_NO_DECAY = Hypothesis(
    "no weight decay",
    lambda run: np.asarray(run.settings.get("weight_decay", np.zeros(1)) == 0.0)[None, :],
    seen=lambda run: {"for the weight decay": run.settings.get("weight_decay", np.zeros(1))[None, :]},
)
_NEVER_ZERO = Hypothesis("no entry of a gradient is exactly 0 along the run", _no_zero_gradient)
_ON_CYCLE = Hypothesis("e_0 = (k + 1/2) lr s in every block, s a maximiser of s'H_l s, k >= 0 an integer", _on_cycle)
_HERE = "Derived here, from the descent lemma of Bernstein et al., arXiv 1802.04434, block by block"

SIGN_AS_RUN = (
    Theorem(
        name="sign-constant-gap",
        rules=("signsgd",),
        any_schedule=True,
        statement=(
            r"\forall t \ge 0: f(w_t) - f^* \le \sum_l u_{l,t},\quad u_{l,0} = f_l(w_0) - f_l^*,\quad u_{l,t+1} "
            r"= \max(0, u_{l,t} -"
            r" \eta_t\sqrt{2\nu_l u_{l,t}}) + \tfrac{\eta_t^2}{2} S_l,\quad S_l = \max_{s \in \{-1,1\}^{P_l}} "
            r"s'H_l s,\quad"
            r" \nu_l = \frac{1}{\max_i (H_l^{-1})_{ii}}"
        ),
        kind="horizon",
        quantity=Symbol.gap,
        bound=SumOver(Symbol.u_l),
        tight="at the first step, for a block of one coordinate; the plateau is eta^2 max(S^2/(8 nu), S/2) in every block",
        argument=_gap,
        conclusion=lambda bound: concludes(inside(bound), Symbol.u_l),
        source=f"{_HERE}; for every rate eta_t > 0, by any schedule. Each block's gap is at most its own u.",
    ),
    Theorem(
        name="sign-constant-steps",
        rules=("signsgd",),
        statement=(
            r"\forall l\ \forall x_T > \max\Big(x^*, \eta\sqrt{S_l/2}\Big): \min\{t: \sqrt{f_l(w_t) - f_l^*} \le "
            r"x_T\} \le 1 +"
            r" \frac{1}{a}\Big[x_0 - x_T + x^*\ln\frac{x_0 - x^*}{x_T - x^*}\Big],\quad x_0 = \sqrt{f_l(w_0) - "
            r"f_l^*} \ge x_T,\quad"
            r" a = \eta\sqrt{\nu_l/2},\quad x^* = \frac{\eta S_l}{2\sqrt{2\nu_l}}"
        ),
        kind="complexity",
        bound=MinOver(_log_steps()),
        tight="not attained; 2.6 times the steps of a run at the rate that minimises it",
        argument=_steps,
        conclusion=lambda bound: concludes(
            inside(bound),
            1
            + (
                (sp.sqrt(Symbol.gap_0_l) - Symbol.target_l)
                + eta
                * S_l
                / sp.sqrt(8 * nu_l)
                * sp.log(
                    (sp.sqrt(Symbol.gap_0_l) - eta * S_l / sp.sqrt(8 * nu_l))
                    / (Symbol.target_l - eta * S_l / sp.sqrt(8 * nu_l))
                )
            )
            / (eta * sp.sqrt(nu_l) / sp.sqrt(2)),
            (sp.Gt(sp.sqrt(Symbol.gap_0_l), _POLE), sp.Gt(Symbol.target_l, _POLE)),
        ),
        source=(
            f"{_HERE}. From that step on the block stays below x_T^2. Checked for all x_T at once: for every "
            "x_T^2 < min_(s<t) gap_l,s no step before t is within x_T, so that t is at most the bound; and the bound is"
            " continuous in x_T."
        ),
    ),
    Theorem(
        name="sign-midpoint",
        rules=("signsgd",),
        statement=(
            r"\forall t: \min(f(w_t), f(w_{t+1})) - f^* \le \sum_l \Big(W_{l,t} + \tfrac{\eta^2}{8} "
            r"S_l\Big),\quad W_{l,0} = \tfrac12"
            r" m'H_l m,\ m = e_0 - \tfrac{\eta}{2}\mathrm{sign}\,g_0,\quad W_{l,t+1} = \max(0, W_{l,t} - "
            r"\eta\sqrt{2\nu_l W_{l,t}}) +"
            r" \tfrac{\eta^2}{2} M_l"
        ),
        hypotheses=(_NEVER_ZERO,),
        kind="horizon",
        quantity=Symbol.smaller_gap,
        bound=SumOver(Symbol.w_l + eta**2 * S_l / 8),
        tight="on diagonal blocks its plateau is eta^2 tr(H)/4, the worst case of two neighbouring steps",
        argument=_midpoint,
        conclusion=lambda bound: concludes(inside(bound), Symbol.w_l + eta**2 / 8 * S_l),
        source=f"{_HERE}. M_l is .3 to .5 of S_l on rotated blocks; for blocks of more than 8 it is sqrt(nu kappa S) + S/4.",
    ),
    Theorem(
        name="signum-gap",
        rules=("signum",),
        any_schedule=False,
        statement=(
            r"\forall t: f(w_t) - f^* \le \sum_l v_{l,t},\quad v_{l,0} = f_l(w_0) - f_l^*,\quad v_{l,t+1} = "
            r"\max(0, v_{l,t} -"
            r" \eta\sqrt{2\nu_l v_{l,t}}) + \tfrac{\eta^2}{2} S_l \Big(1 + \frac{4\beta}{1-\beta}\Big)"
        ),
        kind="horizon",
        quantity=Symbol.gap,
        bound=SumOver(Symbol.v_l),
        tight="not attained: the mean age of the gradients is the whole loss",
        argument=lambda: _with_memory("signum"),
        conclusion=lambda bound: concludes(inside(bound), Symbol.v_l),
        source=f"{_HERE}, with the mean age beta/(1-beta) of the gradients in the memory.",
    ),
    Theorem(
        name="lion-gap",
        rules=("lion",),
        statement=(
            r"\forall t: f(w_t) - f^* \le \sum_l v_{l,t},\quad v_{l,0} = f_l(w_0) - f_l^*,\quad v_{l,t+1} = "
            r"\max(0, v_{l,t} -"
            r" \eta\sqrt{2\nu_l v_{l,t}}) + \tfrac{\eta^2}{2} S_l \Big(1 + \frac{4\beta_1}{1-\beta_2}\Big)"
        ),
        hypotheses=(_NO_DECAY,),
        kind="horizon",
        quantity=Symbol.gap,
        bound=SumOver(Symbol.v_l),
        tight="not attained",
        argument=lambda: _with_memory("lion"),
        conclusion=lambda bound: concludes(inside(bound), Symbol.v_l),
        source=f"{_HERE}, with the mean age beta1/(1-beta2) of the gradients in the mix.",
    ),
    Theorem(
        name="sign-diagonal",
        rules=("signsgd",),
        statement=(
            r"H \text{ diagonal} \Rightarrow \forall t: f(w_t) - f^* \le \tfrac12\sum_i \lambda_i \max(|e_{0,i}| "
            r"- \eta t, \eta)^2"
        ),
        hypotheses=(_IS_DIAGONAL,),
        kind="horizon",
        quantity=Symbol.gap,
        bound=SumOver(Symbol.curvature_i * sp.Max(Symbol.start_i - Symbol.travelled, eta) ** 2) / 2,
        tight="where |e_0,i|/eta is an integer less than t plus 1, up to the last step of every coordinate",
        argument=_diagonal,
        conclusion=lambda bound: concludes(
            bound, SumOver(Symbol.curvature_i * sp.Max(eta, Symbol.start_i - Symbol.travelled) ** 2) / 2
        ),
        source="Derived here. 1.003 times the measured steps at the rate that minimises it.",
    ),
    Theorem(
        name="sign-distance",
        rules=("signsgd", "signum", "lion"),
        any_schedule=True,
        statement=(
            r"\forall t: f(w_t) - f^* \ge \max_i \frac{\max(|e_{0,i}| - \sum_{s<t}\eta_s, 0)^2}{2 (H^{-1})_{ii}}"
        ),
        hypotheses=(_NO_DECAY,),
        kind="horizon",
        direction="lower",
        quantity=Symbol.gap,
        bound=MaxOver(sp.Max(Symbol.start_i - Symbol.travelled, 0) ** 2 / (2 * Symbol.inverse_i)),
        tight="for one coordinate, on the way to the solution; .997 of SignSGD's steps at its best rate",
        argument=_speed,
        conclusion=lambda bound: concludes(
            inside(bound), sp.Max(0, Symbol.start_i - Symbol.travelled) ** 2 / Symbol.inverse_i / 2
        ),
        source=(
            "Derived here: no coordinate moves faster than the rate. So"
            " T >= max_i (|e_0,i| - sqrt(2 (H^-1)_ii tol gap_0))/eta."
        ),
    ),
    Theorem(
        name="sign-cycle",
        rules=("signsgd",),
        statement=(
            r"\forall H\ \forall k \in \{0, 1, \dots\}\ \exists e_0: \forall t: f(w_t) - f^* \ge "
            r"\tfrac{\eta^2}{8}\sum_l S_l ="
            r" \frac{f(w_0) - f^*}{(2k+1)^2}"
        ),
        hypotheses=(_ENUMERATED, _ON_CYCLE),
        kind="horizon",
        direction="lower",
        quantity=Symbol.gap,
        bound=eta**2 * Symbol.L_inf / 8,
        tight="from step k on",
        argument=_cycle,
        conclusion=lambda bound: concludes(bound, (eta / 2) ** 2 / 2 * Symbol.L_inf),
        source=(
            "Derived here. So no theorem on all starts with a gap of at most G can guarantee that SignSGD comes within tol G at "
            "a rate above sqrt(8 tol G/L_inf), up to sqrt(8 G/L_inf)."
        ),
    ),
)
