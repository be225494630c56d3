"""The derivation of adam-from-state: an induction whose claim, assumed at t, encloses the preconditioner of the next step."""

from typing import Any

import sympy as sp

from quadsim.theory.statements.derived.preconditioned.definitions import Run, v_of_mode
from quadsim.theory.statements.derived.preconditioned.from_state import State
from quadsim.theory.statements.derived.preconditioned_proofs import contraction
from quadsim.theory.statements.derived.signs.definitions import Signs
from quadsim.theory.statements.derived.vectors import Modes
from quadsim.theory.statements.derived.words import Steps, definition, definitions, ge, le, rule, step
from quadsim.theory.statements.named import gap_l
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import SumIn, SumOver, Symbol

__all__ = ["FROM_STATE_DERIVATIONS", "from_state"]

q, b2 = State, Symbol.beta2
h, rule_name = Symbol.curvature_i, "rule adam with both memories"

SO_FAR: Any = sp.And(
    ge(q.v_i, q.share * q.v_start_i),
    le(q.v_i, q.high_v_i),
    le(q.V_own_l, q.W_l),
    le(q.gap_here_l, q.G_l),
    le(q.share * q.k2_start, q.k2),
)


def _falls() -> Steps:
    """Return the steps to B <= rho B_last, and to D >= f D_t0 at t + 1."""
    return (
        rule("adam with both memories"),
        *definitions("second memory", "roots", "denominators", "factor of the fall of v", "rho", "f"),
        step("fall of v", le(b2 * q.v_i, q.v_next_i), rule_name, "second memory", "beta2 > 0"),
        step("k2 rises", le(b2 * q.k2, q.k2_next), rule_name, "second memory", "beta2 > 0"),
        step("1 at least", ge(q.rise_l, 1), "factor of the fall of v", "k2 rises", "second memory", "beta2 > 0"),
        step(
            "squares of roots",
            le(q.root_i**2, (q.rise_l * q.root_next_i) ** 2),
            "roots",
            "fall of v",
            "factor of the fall of v",
            "second memory",
            "beta2 > 0",
        ),
        step("fall of the root", le(q.root_i, q.rise_l * q.root_next_i), "squares of roots"),
        step("fall of D", le(q.D_i, q.rise_l * q.D_next_i), "fall of the root", "1 at least", "denominators"),
        step("rise of B", le(Run.B_i, Run.rho_l * Run.B_last_i), "fall of D", rule_name, "rho"),
        step(
            "v from t0",
            ge(q.v_next_i, b2 * q.share * q.v_start_i),
            "fall of v",
            "v so far",
            "second memory",
            "beta2 > 0",
        ),
        step(
            "k2 from t0", le(b2 * q.share * q.k2_start, q.k2_next), "k2 so far", rule_name, "second memory", "beta2 > 0"
        ),
        step("f at most 1", le(q.fall, 1), "f", "k2 from t0"),
        step("squares from t0", ge(q.root_next_i**2, (q.fall * q.root_start_i) ** 2), "roots", "v from t0", "f"),
        step("root from t0", ge(q.root_next_i, q.fall * q.root_start_i), "squares from t0"),
        step("D from t0", ge(q.D_next_i, q.fall * q.D_start_i), "root from t0", "f at most 1", "denominators"),
        *definitions("B from above"),
        step("B at most", le(Run.B_i, q.B_high_i), "D from t0", rule_name, "B from above"),
    )


def _grows() -> Steps:
    """Return the steps to B_last <= omega B, and to the largest D at t + 1."""
    return (
        *definitions("gradient against gap", "the same gap", "slowest", "growth factor", "factor of the growth of v", "omega"),
        step("squared gradient", le(Run.g_i**2, 2 * q.G_l * h), "gradient against gap", "the same gap", "gap so far"),
        step("curvature against v", le(q.share * h, q.slow_l * q.v_i), "slowest", "v so far"),
        step("not negative", ge(q.G_l, 0), "gap so far", "the same gap"),
        step(
            "gradient against v",
            le(q.share * Run.g_i**2, 2 * q.G_l * q.slow_l * q.v_i),
            "squared gradient", "curvature against v", "not negative",
        ),
        step(
            "growth of v",
            le(q.v_next_i, q.growth_l * q.v_i),
            "gradient against v", "growth factor", rule_name, "second memory", "beta2 > 0",
        ),
        step(
            "squares of the growth",
            le(q.root_next_i**2, (q.grown_l * q.root_i) ** 2),
            "roots", "growth of v", "factor of the growth of v",
        ),
        step("growth of the root", le(q.root_next_i, q.grown_l * q.root_i), "squares of the growth", "factor of the growth of v"),
        step("growth of D", le(q.D_next_i, q.grown_l * q.D_i), "growth of the root", "factor of the growth of v", "denominators"),
        step("fall of B", le(Run.B_last_i, Run.omega_l * Run.B_i), "growth of D", rule_name, "omega"),
        step(
            "ratios of B",
            sp.And(le(Run.B_i, Run.rho_l * Run.B_last_i), le(Run.B_last_i, Run.omega_l * Run.B_i)),
            "rise of B", "fall of B",
        ),
        step(
            "largest v",
            le(q.v_next_i, b2 * q.high_v_i + (1 - b2) * 2 * h * q.G_l),
            rule_name, "second memory", "beta2 > 0", "largest v so far", "squared gradient",
        ),
        *definitions("largest denominator", "B from below"),
        step("squares of the largest", le(q.root_next_i**2, q.high_root_i**2), "roots", "largest v", "largest denominator"),
        step("largest root", le(q.root_next_i, q.high_root_i), "squares of the largest"),
        step("largest D", le(q.D_next_i, q.high_D_i), "largest root", "largest denominator", "denominators"),
        step("B at least", le(q.B_low_i, Run.B_i), "largest D", rule_name, "B from below"),
    )  # fmt: skip


def _floor() -> Steps:
    """Return the steps to 2 c gap <= V of a block at t + 1."""
    y, d, tau = Modes.y_next_i, Modes.d_next_i, Modes.tau_i
    return (
        *definitions("V at the ends of the interval", "floor on the interval", "next V of a mode", "next V above the floor"),
        definition("share of the interval", "spectrum from below", "spectrum from above"),
        *definitions("next gap of a block"),
        step("low end", ge(q.above_low_i, 0), "next V above the floor", "floor on the interval", by="form"),
        step("high end", ge(q.above_high_i, 0), "next V above the floor", "floor on the interval", by="form"),
        step(
            "affine",
            equal(q.V_next_i, q.floor_next_l * y**2 + (1 - q.part_i) * q.above_low_i + q.part_i * q.above_high_i),
            "next V of a mode", "next V above the floor", "V at the ends of the interval", "share of the interval",
        ),
        step("floor of a mode", ge(q.V_next_i, q.floor_next_l * y**2), "affine", "low end", "high end", "share of the interval"),
        step("next gap in modes", equal(Signs.gap_next_l, SumIn(y**2 / 2)), "next gap of a block", by="modes"),
        step("V of all modes", equal(Run.V_next_l, SumIn(v_of_mode(y, d, tau))), "next V", by="modes"),
        step(
            "floor of a block",
            ge(Run.V_next_l, 2 * q.floor_next_l * Signs.gap_next_l),
            "floor of a mode", "next V of a mode", "next gap in modes", "V of all modes",
            by="sum in a block",
        ),
    )  # fmt: skip


def from_state() -> Steps:
    """Return the derivation of adam-from-state."""
    assumed = "so far"
    return (
        step(assumed, SO_FAR, by="assume", because="the claim of the induction, at step t"),
        step("v so far", ge(q.v_i, q.share * q.v_start_i), assumed),
        step("largest v so far", le(q.v_i, q.high_v_i), assumed),
        step("V so far", le(q.V_own_l, q.W_l), assumed),
        step("gap so far", le(q.gap_here_l, q.G_l), assumed),
        step("k2 so far", le(q.share * q.k2_start, q.k2), assumed),
        *_falls(),
        *_grows(),
        definition("spectrum from below", "B at least"),
        definition("spectrum from above", "B at most"),
        definition("theta on the interval", "spectrum from below", "spectrum from above"),
        *contraction("theta on the interval", "ratios of B"),
        *definitions("b is raised", "V with its own b"),
        step("raised b", le(Run.V_l, q.V_own_l), "b is raised", "V with its own b", "V"),
        step("next W", le(Run.V_next_l, Run.theta_l * q.W_l), "contraction", "raised b", "V so far"),
        *_floor(),
        step("next gap", le(Signs.gap_next_l, Run.theta_l * q.W_l / (2 * q.floor_next_l)), "floor of a block", "next W"),
        step(
            "all steps",
            SO_FAR,
            assumed, "v from t0", "largest v", "next W", "next gap", "k2 from t0",
            by="induction",
        ),
        *definitions("bound from the state", "gap by blocks"),
        step("bound of the gap", le(q.gap_here_l, q.G_l), "all steps"),
        step("every block's gap", le(gap_l, Symbol.from_state_l), "bound of the gap", "bound from the state", "the same gap"),
        step("the gap", le(Symbol.gap, SumOver(Symbol.from_state_l)), "every block's gap", "gap by blocks", by="sum"),
    )  # fmt: skip


FROM_STATE_DERIVATIONS = {"adam-from-state": from_state}
"""The derivation by the name of its theorem."""
