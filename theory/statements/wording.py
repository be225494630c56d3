"""The statement of a theorem in LaTeX, from its parts: hypotheses, quantity, direction, bound, and what its symbols stand for."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import sympy as sp

from quadsim.simulator.rules.printing import MinusLast
from quadsim.theory.statements.named import AGES, PAIRS, RECURSIONS, VALUES, age, gap_l, middle_0_l, rate
from quadsim.theory.symbols import Symbol

if TYPE_CHECKING:
    from quadsim.theory.statements.theorem import Theorem

__all__ = ["formula", "in_latex"]

_NAMES: Mapping[sp.Symbol, str] = {
    Symbol.gap: r"\Delta_t",
    Symbol.gap_next: r"\Delta_{t+1}",
    Symbol.gap_0: r"\Delta_0",
    Symbol.norm1: "|g_t|_1",
    Symbol.norm2_squared: "|g_t|_2^2",
    Symbol.norm2_squared_l: "|g_{t,l}|_2^2",
    Symbol.Lambda_G: r"\Lambda_G(w_t)",
    Symbol.length: r"\eta_t",
    Symbol.least_norm1: r"\left(\min_{s<t} |g_s|_1\right)",
    Symbol.least_norm2_squared: r"\left(\min_{s<t} |g_s|_2^2\right)",
    Symbol.largest_Lambda_G: r"\left(\max_{s<t} \Lambda_G(w_s)\right)",
    Symbol.L_inf: r"L_\infty",
    Symbol.cosine: r"\cos(w_{t+1} - w_t, -\mathrm{sign}\,g_t)",
    Symbol.stride: r"\frac{|w_{t+1} - w_t|_2}{|\mathrm{sign}\,g_t|_2}",
    Symbol.drift: "s",
    Symbol.tie: "P(k = b/C)",
    Symbol.growth: "|V_t - V_0|_F^2",
    Symbol.square: r"p_i",
    Symbol.square_next: "e_i(t+1)^2",
    Symbol.memory_cross: r"\mathbb E[e_i m_i]",
    Symbol.memory_square: r"\mathbb E[m_i^2]",
    Symbol.along: "k",
    Symbol.along_next: "(e_i(t+1) + k m_i(t+1))^2",
    Symbol.eigenvalue: r"\lambda_i",
    Symbol.mean_gap: r"\mathbb E[\Delta_t]",
    Symbol.label_noise: "v",
    Symbol.samples: "b",
    Symbol.trace_rate: "c",
    Symbol.trace_momentum: "c",
    Symbol.floor: r"\Delta_\infty",
    Symbol.total_gap: r"\textstyle\sum_{t \ge 0} \Delta_t",
    Symbol.signed_next: r"\Delta_{t+1}",
    Symbol.mean_gradient_i: "(He)_i",
    Symbol.alignment_i: r"\rho_i",
    Symbol.arcsine_form: "a(H)",
    Symbol.gap_0_l: r"\Delta_{l,0}",
    gap_l: r"\Delta_{l,t}",
    Symbol.target_l: "x_{T,l}",
    Symbol.u_l: "u_{l,t}",
    Symbol.v_l: "v_{l,t}",
    Symbol.w_l: "W_{l,t}",
    middle_0_l: "W_{l,0}",
    Symbol.travelled: r"\eta_{<t}",
    Symbol.start_i: "|e_{0,i}|",
    Symbol.curvature_i: "H_{ii}",
    Symbol.inverse_i: "(H^{-1})_{ii}",
    Symbol.smaller_gap: r"\Delta^{\min}_t",
    Symbol.ratio_high: r"r^{\max}_t",
    Symbol.ratio_low: r"r^{\min}_t",
    Symbol.least_ratio: r"r_t",
    PAIRS.high_p: r"\lambda_i",
    PAIRS.low_p: r"\lambda_j",
    PAIRS.share_high_p: "q_i",
    PAIRS.share_low_p: "q_j",
    rate: r"\eta_t",
    Symbol.eps1: r"\varepsilon_1",
    Symbol.tau_low_l: r"\tau^{\min}_l",
    Symbol.tau_high_l: r"\tau^{\max}_l",
    Symbol.energy_ratio_l: r"\frac{E_{l,t+1}}{E_{l,t}}",
    Symbol.certified_ratio_l: r"\frac{V_{l,t+1}}{\theta_{l,t+1} V_{l,t}}",
    Symbol.certified_l: "G_{l,t}",
    Symbol.from_state_l: "F_{l,t}",
    Symbol.span_l: r"\|\Phi_{l,t}\|_2^2 \Delta_{l,0}",
    Symbol.mode_i: r"|p_t(\lambda_i)|",
}
"""How symbols are written in statements, where it is not by their names."""

_STEP = r"e_{t+1} = e_t - B_{t+1} m_{t+1},\ m_{t+1} = \beta m_t + (1-\beta) g_t"
_SPECTRUM = r"\tau^{\min}_l \le \tau \le \tau^{\max}_l \text{ on } \mathrm{spec}(B_{t+1}^{1/2} H_l B_{t+1}^{1/2})"
_V = (
    r"V_t = (1-s) e_t'H_le_t + s (g_t-m_t)'H_l^{-1}(g_t-m_t) - \xi m_t'H_l^{-1}m_t + \frac{a}{2\varepsilon_1} z_t'B_tz_t - "
    r"b g_t'B_tg_t,\ z = \varepsilon_1 g + (1-\varepsilon_1) m"
)

_MEANT: Mapping[sp.Symbol, str] = {
    Symbol.S_l: r"S_l = \max_{s \in \{-1,1\}^{P_l}} s'H_l s",
    Symbol.nu_l: r"\nu_l = \frac{1}{\max_i (H_l^{-1})_{ii}}",
    Symbol.M_l: (
        r"M_l = \max_{s \in \{-1,1\}^{P_l}} (\sqrt{\nu_l} R_s + Q_s),\ R_s^2 = \max_{z \in \{-1,1\}^{P_l}} "
        r"(z|H_ls|)'H_l^{-1}(z|H_ls|),\ Q_s = \max_A \Big(s_A'H_ls_A - \sum_{i \in A} |(H_ls)_i|\Big)"
    ),
    Symbol.target_l: r"\forall x_{T,l}: \frac{\eta S_l}{2\sqrt{2\nu_l}} < x_{T,l} \le \min_{s<t} \sqrt{\Delta_{l,s}}",
    Symbol.gap_0_l: r"\Delta_{l,t} = f_l(w_t) - f_l^*",
    PAIRS.share_high_p: (
        r"\lambda_i \ge \lambda_j,\ q_i = \frac{\lambda_i c_i^2}{2\Delta_0}"
        r" \text{ on the whole eigenspace of } \lambda_i"
    ),
    middle_0_l: r"W_{l,0} = \tfrac12 m'H_lm,\ m = e_0 - \tfrac{\eta}{2}\,\mathrm{sign}\,g_0",
    Symbol.travelled: r"\eta_{<t} = \sum_{s<t} \eta_s",
    Symbol.tau_low_l: rf"{_SPECTRUM},\ {_STEP}",
    Symbol.eps1: r"\varepsilon_1 = \frac{1-\beta}{1+\beta}",
    Symbol.energy_ratio_l: r"E = e'H_le + \beta (g-m)'H_l^{-1}(g-m)",
    Symbol.certified_ratio_l: (
        rf"\forall s, \xi \in \mathbb R,\ a, b \ge 0,\ t \ge 1:\ {_V},\ \theta_{{l,t+1}} R(\tau) - N(\tau) \succeq 0,\ "
        rf"R(\tau) \succ 0\ \forall \tau \in \mathrm{{spec}}(B_{{t+1}}^{{1/2}} H_l B_{{t+1}}^{{1/2}}),\ {_STEP}"
    ),
    Symbol.certified_l: (
        r"t > t_0 \ge 1,\ G_{l,t} = \min_{s,\xi,a,b} \frac{V_{l,t_0}\,\theta_{l,t_0+1}\cdots\theta_{l,t}}{2 c_{l,t}},\ "
        rf"V \ge c\,e'H_le,\ {_V},\ {_STEP}"
    ),
    Symbol.from_state_l: (
        r"t > t_0 \ge 1,\ F_{l,t} = \min_{s,\xi,a,b} \frac{V_{l,t_0}\,\theta_{l,t_0+1}\cdots\theta_{l,t}}{2 c_{l,t}},\ "
        r"\theta, c \text{ valid for all } \tau \in [lo_{l,t}, hi_{l,t}],\ \rho_t, \omega_t \text{ that follow from } "
        rf"(e_{{t_0}}, m_{{t_0}}, v_{{t_0}}) \text{{ and }} F_{{l,s}},\ t_0 \le s < t,\ {_V}"
    ),
    Symbol.span_l: (
        r"\Phi_{l,t}: y_0 \mapsto y_t,\ y \leftarrow y - K u,\ d \leftarrow \beta d - K u,\ u = y - \beta d,\ d_0 = y_0,\ "
        rf"K = H_l^{{1/2}} B_{{t+1}} H_l^{{1/2}},\ {_STEP}"
    ),
    Symbol.square: r"p_i = \mathbb E[e_i(t)^2]",
    Symbol.floor: r"\Delta_\infty = \lim_{t \to \infty} \Delta_t",
    Symbol.alignment_i: r"\rho_i = (He)_i/\sqrt{H_{ii}(e'He + v^2)}",
    Symbol.arcsine_form: r"a(H) = \textstyle\sum_{ij} H_{ij} \arcsin(H_{ij}/\sqrt{H_{ii}H_{jj}})",
    Symbol.mode_i: r"e_i(t) = p_t(\lambda_i) e_i(0)",
}
"""What symbols stand for, where it is no expression in others."""


def in_latex(theorem: "Theorem") -> str:
    """Return the statement of a theorem in LaTeX.

    Args:
        theorem: the theorem.
    """
    sign = {"upper": r"\le", "lower": r"\ge", "equal": "="}[theorem.direction]
    bound = formula(theorem.bound)
    assert theorem.quantity is not None
    if theorem.is_factor:
        factor = bound if isinstance(theorem.bound, sp.Max | sp.Min | sp.Pow) else rf"\left({bound}\right)"
        claim = rf"{_NAMES[Symbol.gap_next]} {sign} {factor} {_NAMES[Symbol.gap]}"
    else:
        quantity = formula(theorem.quantity)
        mean = rf"\mathbb E[{quantity}]" if theorem.kind == "expectation" else quantity
        claim = f"{mean} {sign} {bound}"
    conditions = [
        rf"\text{{{_plain(h.text)}}}" if h.relation is None else formula(h.relation) for h in theorem.conditions
    ]
    where = _where(theorem)
    if r"\Delta_" in claim + "".join(where):
        where.append(r"\Delta_t = f(w_t) - f^*")
    claim = r",\quad ".join((claim, *where))
    assumed = r",\ ".join(conditions)
    whole = rf"{assumed}\ \Rightarrow\ {claim}" if conditions else claim
    return rf"\exists H, e_0\ \forall \eta, t:\ {whole}" if theorem.kind == "existence" else whole


def formula(expression: sp.Basic) -> str:
    """Return an expression or a relation in LaTeX, with the names of statements."""
    return str(MinusLast({"symbol_names": _NAMES}).doprint(expression))


def _where(theorem: "Theorem") -> list[str]:
    """Return what the symbols of a theorem stand for, each after those in whose terms it is needed."""
    assert theorem.quantity is not None
    waiting = sorted((theorem.quantity.free_symbols | theorem.bound.free_symbols), key=str)
    seen: set[sp.Symbol] = set()
    out: list[str] = []
    while waiting:
        symbol = waiting.pop(0)
        if symbol in seen:
            continue
        seen.add(symbol)
        parts: tuple[sp.Expr, ...] = ()
        if symbol in RECURSIONS and symbol not in _MEANT:
            parts = RECURSIONS[symbol]
            name = _NAMES[symbol]
            start, after = (name.replace("t}", end) for end in ("0}", "t+1}"))
            if start != formula(parts[0]):
                out.append(f"{start} = {formula(parts[0])}")
            out.append(f"{after} = {formula(parts[1])}")
        elif symbol in VALUES:
            parts = (VALUES[symbol],)
            out.append(f"{formula(symbol)} = {formula(parts[0])}")
        elif symbol == age:
            out += [f"A = {formula(AGES[name])}" for name in theorem.rules if name in AGES]
        elif symbol in _MEANT:
            out.append(_MEANT[symbol])
        waiting += sorted(set().union(*(part.free_symbols for part in parts)), key=str)
    return out


def _plain(text: str) -> str:
    """Return words for a LaTeX text, in which an underscore and a percent sign have to be marked."""
    return text.replace("_", r"\_").replace("%", r"\%")
