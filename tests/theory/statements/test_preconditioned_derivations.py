"""Derivations about preconditioned rules: their ways in which a step follows are sound, and false neighbours are refused."""

import inspect
from collections import defaultdict
from dataclasses import replace

import pytest
import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.rule import symbols as rule_symbols
from quadsim.theory import THEOREMS, Step, prove
from quadsim.theory.statements import named
from quadsim.theory.statements.derived import graph, library, vectors
from quadsim.theory.statements.derived.graph import derive
from quadsim.theory.statements.derived.preconditioned.coordinates import Alone
from quadsim.theory.statements.derived.preconditioned.definitions import Run
from quadsim.theory.statements.derived.preconditioned.from_state import State
from quadsim.theory.statements.derived.vectors import Letters as V
from quadsim.theory.statements.derived.vectors import Modes, transposed
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import MaxOver, MinOver, SumIn, SumOver
from quadsim.theory.symbols import Symbol as s

y, d, tau = Modes.y_i, Modes.d_i, Modes.tau_i


def from_claims(claim, *given, by=""):
    """Whether a claim follows in this way from others, which are taken as hypotheses."""
    named_ones = {f"premise {i}": relation for i, relation in enumerate(given)}
    found, _ = graph._follows(
        Step(claim, "x", label="claim", uses=tuple(named_ones), by=by), named_ones, dict.fromkeys(named_ones, 0)
    )
    return found.status == "proved"


def test_one_symbol_means_one_thing():
    """Two quantities that are one SymPy symbol would be taken for each other in a derivation that speaks of both."""
    places = defaultdict(set)
    for module in (*library._MODULES, named, vectors):
        for space in (*vars(module).values(), s):
            if inspect.isclass(space) and space.__module__.startswith("quadsim.theory"):
                for attribute, symbol in vars(space).items():
                    if isinstance(symbol, sp.Symbol):
                        places[symbol].add((space.__name__, attribute))
    assert len(places) > 150
    assert not {symbol: found for symbol, found in places.items() if len(found) > 1}


# Coordinates in an eigenbasis.
ENERGY = library.DEFINITIONS["energy"]


@pytest.mark.parametrize(
    ("claim", "given", "holds"),
    [
        (equal(Run.E_l, SumIn(y**2 + Run.memory * d**2)), ENERGY, True),
        (equal(Run.E_l, SumIn(y**2 + d**2)), ENERGY, False),
        (equal(Run.E_l, SumIn(tau * y**2 + Run.memory * d**2)), ENERGY, False),
        (equal(Run.E_l, SumOver(y**2 + Run.memory * d**2)), ENERGY, False),  # of all blocks
        (equal(Run.E_next_l, SumIn(y**2 + Run.memory * d**2)), ENERGY, False),
        (equal(Run.g_step_l, SumIn(tau * y**2)), library.DEFINITIONS["g'Bg of the step"], True),
        (equal(Run.g_step_l, SumIn(tau**2 * y**2)), library.DEFINITIONS["g'Bg of the step"], False),
        (equal(Run.g_step_l, SumIn(tau * y * d)), library.DEFINITIONS["g'Bg of the step"], False),
        # the eigenbasis of one preconditioner is not that of another
        (equal(Run.g_last_l, SumIn(tau * y**2)), library.DEFINITIONS["g'Bg of the last step"], False),
        (equal(Run.g_step_l, SumIn(Modes.last_tau_i * Modes.last_y_i**2)), library.DEFINITIONS["g'Bg of the step"], False),
        (equal(Run.g_last_l, SumIn(Modes.last_tau_i * Modes.last_y_i**2)), library.DEFINITIONS["g'Bg of the last step"], True),
        # a factor that is another one in each mode is no factor of a form
        (equal(Run.E_l, SumIn(s.lambda_i * y**2)), equal(Run.E_l, s.lambda_i * transposed(V.y) * V.y), False),
        # B alone is no matrix of this eigenbasis, and e' e no form of it
        (equal(Run.E_l, SumIn(tau * y**2)), equal(Run.E_l, transposed(V.y) * V.B * V.y), False),
        (equal(Run.E_l, SumIn(y**2)), equal(Run.E_l, transposed(V.e) * V.e), False),
    ],
)  # fmt: skip
def test_a_form_in_coordinates(claim, given, holds):
    assert from_claims(claim, given, by="modes") is holds


def test_a_step_in_coordinates():
    rule = library.step_of_rule("preconditioned")
    assert from_claims(equal(Modes.y_next_i, y - tau * (Modes.y_next_i - Modes.d_next_i)), rule, by="modes")
    assert not from_claims(equal(Modes.y_next_i, y - (Modes.y_next_i - Modes.d_next_i)), rule, by="modes")
    assert not from_claims(equal(Modes.y_next_i, y - tau * (y - d)), rule, by="modes")
    assert not from_claims(equal(Modes.y_next_i, y - tau * (Modes.y_next_i - Modes.d_next_i)), ENERGY, by="modes")


# Quadratic forms in two variables.
a, b, c = sp.symbols("a_l b_l c_l", real=True)
FORM = a * y**2 + 2 * b * y * d + c * d**2


def at_least(left, right=0):
    return sp.Ge(left, right, evaluate=False)


@pytest.mark.parametrize(
    ("claim", "given", "holds"),
    [
        (at_least(FORM), (at_least(a), at_least(c), at_least(a * c, b**2)), True),
        (sp.Le(0, FORM, evaluate=False), (at_least(a), at_least(c), at_least(a * c, b**2)), True),
        (sp.Le(FORM, 0, evaluate=False), (at_least(a), at_least(c), at_least(a * c, b**2)), False),
        (at_least(FORM), (at_least(a), at_least(a * c, b**2)), False),  # a = b = 0, c < 0
        (at_least(FORM), (at_least(c), at_least(a * c, b**2)), False),
        (at_least(FORM), (at_least(a), at_least(c), at_least(2 * a * c, b**2)), False),
        (at_least(FORM), (at_least(a * c, b**2),), False),  # negative definite
        (at_least(FORM - y**2), (at_least(a), at_least(c), at_least(a * c, b**2)), False),
        (at_least(FORM + y), (at_least(a), at_least(c), at_least(a * c, b**2)), False),  # no form
        (at_least(FORM, 1), (at_least(a), at_least(c), at_least(a * c, b**2)), False),
        (at_least(FORM + y**3), (at_least(a), at_least(c), at_least(a * c, b**2)), False),
        (sp.Gt(FORM, 0, evaluate=False), (at_least(a), at_least(c), at_least(a * c, b**2)), False),  # at 0 it is 0
    ],
)  # fmt: skip
def test_a_positive_form(claim, given, holds):
    assert from_claims(claim, *given, by="form") is holds


def test_letters_do_not_commute_and_have_no_inverse_unless_they_are_invertible():
    assert prove(Step(equal(V.S * V.B * V.S**-1 * V.S, V.S * V.B), "x")).status == "proved"
    assert prove(Step(equal(V.S * V.B, V.B * V.S), "x")).status != "proved"
    with pytest.raises(ValueError, match=r"a letter with an inverse must be that of an invertible matrix, got y_0"):
        Step(equal(V.Phi, V.y * V.y_0**-1), "from y = Phi y_0, but a vector has no inverse")
    product = equal(V.y, V.Phi * V.y_0)
    assert from_claims(equal(transposed(V.y), transposed(V.Phi * V.y_0)), product, by="transposed")
    turned = transposed(V.y_0) * transposed(V.Phi * V.y_0) * 0 + sp.Mul(*reversed(transposed(V.Phi * V.y_0).args))
    assert not from_claims(equal(transposed(V.y), turned), product, by="transposed")


def test_sums_over_coordinates_and_over_blocks_are_not_one():
    """lambda_i <= L_l for every coordinate does not make the trace at most the sum of the blocks' largest eigenvalues."""
    premise = sp.Le(s.lambda_i, s.L_l, evaluate=False)
    assert not from_claims(sp.Le(SumOver(s.lambda_i), SumOver(s.L_l), evaluate=False), premise, by="sum")
    weighted = sp.Le(s.lambda_i * y**2, s.L_l * y**2, evaluate=False)
    claim = sp.Le(SumOver(s.lambda_i * y**2), SumOver(s.L_l * y**2), evaluate=False)
    assert from_claims(claim, weighted, by="sum")


def test_an_induction_counts_all_its_quantities_from_one_step():
    """A product that starts at t0 is 1 there; with t, which is t0 there, the start would be checked at step 0 instead."""
    premise = sp.Le(Run.V_next_l, Run.theta_l * Run.V_l, evaluate=False)
    claim = sp.Le(Run.V_l, Run.product_l * Run.V_start_l, evaluate=False)
    assert from_claims(claim, premise, by="induction")
    grows = at_least(Run.V_next_l, Run.V_l + 1)
    assert not from_claims(at_least(Run.V_l, Run.V_start_l + s.t), grows, by="induction")  # it has grown by t - t0
    above = at_least(Run.V_l, named.gap_l)  # at t0, V and the gap of another step
    assert not from_claims(at_least(Run.V_start_l, s.gap_0_l), above, by="start")
    # theta changes from step to step: it may not stand for all of them
    power = sp.Le(Run.V_l, Run.theta_l * Run.product_l * Run.V_start_l, evaluate=False)
    assert not from_claims(power, premise, by="induction")


def assumed(claim, *steps, theorem="adam-certificate-gap"):
    """The results of steps that follow the assumption of a claim at step t."""
    first = Step(claim, "x", label="so far", by="assume")
    found = derive(replace(THEOREMS[theorem], derivation=lambda: (first, *steps))).steps
    return [result.status in ("proved", "cited") for _, result in found]


def test_an_assumption_is_discharged_by_its_own_induction_alone():
    fall = sp.Le(Run.V_l, Run.V_start_l, evaluate=False)
    other = sp.Le(Run.V_l, Run.V_start_l + 1, evaluate=False)
    onward = Step(sp.Le(Run.V_next_l, Run.V_l, evaluate=False), "x", label="onward", uses=("so far",), by="assume")
    proof = Step(fall, "x", label="all", uses=("so far", "onward"), by="induction")
    # `onward` is an assumption of its own that no induction discharges
    assert assumed(fall, onward, proof) == [True, True, False, False]
    # what rests on an assumption is no statement
    assert assumed(sp.Le(s.gap, SumOver(s.certified_l), evaluate=False)) == [True, False]
    # an induction does not discharge the assumption of another claim
    last = Step(other, "x", label="all", uses=("so far",), by="induction")
    assert assumed(fall, last)[1] is False
    # nor is its start proved from its own claim at t
    above = at_least(Run.V_l, Run.V_start_l + 1)
    assert assumed(above, Step(above, "x", label="all", uses=("so far",), by="induction"))[1] is False
    # a claim of step t alone is none of the start
    start = Step(
        sp.Le(Run.V_start_l, Run.V_start_l + 1, evaluate=False), "x", label="start", uses=("so far",), by="start"
    )
    assert assumed(other, start)[1] is False


# False neighbours: one step of a derivation with another claim, and all that it uses as it is.
NEIGHBOURS = {
    "rho dropped": ("adam-certificate", "below V", {Run.rho_l: sp.S.One}),
    "rho dropped in a coordinate": ("adam-certificate", "rise of a coordinate", {Run.rho_l: sp.S.One}),
    "rho dropped in a form": ("adam-certificate", "rise of z'Bz", {Run.rho_l: sp.S.One}),
    "omega dropped": ("adam-certificate", "below V", {Run.omega_l: sp.S.One}),
    "omega dropped in a coordinate": ("adam-certificate", "fall of a coordinate", {Run.omega_l: sp.S.One}),
    "omega dropped in a form": ("adam-certificate", "fall of g'Bg", {Run.omega_l: sp.S.One}),
    "theta below": ("adam-certificate", "a mode", {Run.theta_l: sp.Rational(99, 100) * Run.theta_l}),
    "theta below, of a block": ("adam-certificate", "contraction", {Run.theta_l: sp.Rational(99, 100) * Run.theta_l}),
    "V without the term of b": ("adam-certificate", "below V", {Run.b_l: sp.S.Zero}),
    "V_next without the term of b": ("adam-certificate", "next V in modes", {Run.b_l: sp.S.Zero}),
    "V of another certificate": ("adam-certificate", "rest in modes", {Run.xi_l: 2 * Run.xi_l}),
    "the energy with another memory": ("adam-energy", "energy in modes", {Run.memory: Run.memory**2}),
    "a factor without eps1": ("adam-energy", "a mode", {s.eps1: sp.S.One}),
    "the floor twice as high": ("adam-certificate-gap", "floor of a mode", {Run.floor_l: 2 * Run.floor_l}),
    "the gap without its half": ("adam-certificate-gap", "floor of a block", {Run.floor_l: 2 * Run.floor_l}),
    "a step too many in the product": ("adam-certificate-gap", "all steps", {Run.product_l: Run.theta_l * Run.product_l}),
    "the product of no step": ("adam-certificate-gap", "all steps", {Run.product_l: sp.S.One}),
    "t off by one in the span": ("adam-span", "y at t", {V.Phi: V.Phi - V.K * (V.Phi - Run.memory * V.Psi)}),
    "y for d in the span": ("adam-span", "all steps", {V.Psi: V.Phi}),
    "a memory that starts at e": ("linear-modes", "every mode", {Alone.memory_power_i: Alone.power_i}),
    "a power off by one": ("linear-modes", "error of a mode", {Alone.power_i: library.NEXT[Alone.power_i]}),
    "rho without the corrections": ("adam-from-state", "rise of B", {Run.rho_l: State.rise_l}),
    "omega without the growth": ("adam-from-state", "fall of B", {Run.omega_l: State.k1_next / State.k1}),
    "v of the start, not shrunk": ("adam-from-state", "v from t0", {s.beta2: sp.S.One}),
    "G of the step before": ("adam-from-state", "next gap", {State.W_l: State.V_from_l}),
    "twice the floor from the state": ("adam-from-state", "floor of a mode", {State.floor_next_l: 2 * State.floor_next_l}),
    "the largest D without eps": ("adam-from-state", "largest D", {State.high_D_i: State.high_root_i}),
    "the scale lambda in v": ("adam-diagonal", "every coordinate", {s.lambda_i: s.lambda_i**2}),
}  # fmt: skip


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_a_false_neighbour_of_a_step_does_not_follow(name):
    theorem, label, change = NEIGHBOURS[name]
    steps = THEOREMS[theorem].derivation()
    known = graph._hypotheses(THEOREMS[theorem]) | {step.label: step.claim for step in steps}
    (true,) = (step for step in steps if step.label == label)
    false = replace(true, claim=true.claim.xreplace(change))
    assert false.claim != true.claim
    levels = dict.fromkeys(known, 0)
    assert graph._follows(true, known, levels)[0].status == "proved"
    assert graph._follows(false, known, levels)[0].status != "proved"


BOUNDS = {
    "adam-local, Min for Max": ("adam-local", lambda t: {"bound": t.bound.replace(MaxOver, MinOver)}),
    "adam-local, the smaller end": ("adam-local", lambda t: {"bound": t.bound.replace(sp.Max, sp.Min)}),
    "adam-local, the lower end alone": ("adam-local", lambda t: {"bound": MaxOver((1 - s.tau_low_l) ** 2)}),
    "adam-local with a memory": ("adam-local", lambda t: {"hypotheses": t.hypotheses[:1]}),
    "adam-energy, tau^2 without eps1": ("adam-energy", lambda t: {"bound": t.bound.subs(s.eps1, 1)}),
    "adam-energy, Min for Max": ("adam-energy", lambda t: {"bound": t.bound.replace(MaxOver, MinOver)}),
    "adam-energy of the least ratio": ("adam-energy", lambda t: {"quantity": MinOver(s.energy_ratio_l), "direction": "lower"}),
    "adam-certificate, below 1": ("adam-certificate", lambda t: {"bound": sp.Rational(999, 1000)}),
    "adam-certificate-gap, Max for Sum": ("adam-certificate-gap", lambda t: {"bound": MaxOver(s.certified_l)}),
    "adam-certificate-gap, at the start": ("adam-certificate-gap", lambda t: {"quantity": s.gap_0}),
    "adam-span, Max for Sum": ("adam-span", lambda t: {"bound": MaxOver(s.span_l)}),
    "adam-span, from below": ("adam-span", lambda t: {"direction": "lower"}),
    "linear-modes, Min for Max": ("linear-modes", lambda t: {"bound": MinOver(s.mode_i**2)}),
    "linear-modes without the square": ("linear-modes", lambda t: {"bound": MaxOver(s.mode_i)}),
    "linear-modes by any schedule": ("linear-modes", lambda t: {"any_schedule": True}),
    "linear-modes of gd-nesterov alone": ("linear-modes", lambda t: {"rules": ("heavy-ball", "signum")}),
    "adam-from-state, Max for Sum": ("adam-from-state", lambda t: {"bound": MaxOver(s.from_state_l)}),
    "adam-from-state by any schedule": ("adam-from-state", lambda t: {"any_schedule": True}),
    "adam-diagonal of another rule": ("adam-diagonal", lambda t: {"rules": ("adam", "nadam")}),
    "adam-local of another rule": ("adam-local", lambda t: {"rules": (*t.rules, "lion")}),
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDS)
def test_a_false_bound_is_not_derived(name):
    theorem, change = BOUNDS[name]
    true = THEOREMS[theorem]
    assert not derive(replace(true, **change(true), statement="")).holds


def test_a_ratio_of_energies_needs_a_positive_energy():
    """Without V > 0 the ratio of V_next to theta V may exceed 1 although V_next <= theta V."""
    contraction = sp.Le(Run.V_next_l, Run.theta_l * Run.V_l, evaluate=False)
    claim = sp.Le(s.certified_ratio_l, 1, evaluate=False)
    parts = library.DEFINITIONS["certified ratio"].args
    assert from_claims(claim, contraction, *parts)
    for part in parts:
        assert not from_claims(claim, contraction, *(p for p in parts if p != part))


def mutant(**changes):
    return replace(RULES["adam"], **changes)


g = rule_symbols.g
m, v = RULES["adam"].states
b1, b2, eps = RULES["adam"].hyperparameters
ADAMS = {
    "whose mean is a sum": mutant(update={m: b1 * m + g, v: RULES["adam"].update[v]}),
    "that steps along the gradient too": mutant(step=RULES["adam"].step - rule_symbols.lr * g),
    "whose mean starts at g": mutant(start={m: g}),
    "without a root": mutant(step=-rule_symbols.lr * m / (v + eps)),
}


@pytest.mark.parametrize("name", ADAMS)
@pytest.mark.parametrize("theorem", ["adam-local", "adam-span", "adam-diagonal", "adam-from-state"])
def test_a_mutant_rule_breaks_the_derivations_that_speak_of_it(theorem, name, monkeypatch):
    monkeypatch.setitem(RULES, "adam", ADAMS[name])
    allowed = {("adam-local", "without a root"), ("adam-span", "without a root")}  # still a preconditioner
    allowed |= {("adam-local", "whose mean is a sum"), ("adam-span", "whose mean is a sum")}  # times 1 - beta1 a mean
    allowed.add(("adam-diagonal", "whose mean is a sum"))  # which keeps its scale
    assert derive(THEOREMS[theorem]).holds is ((theorem, name) in allowed)
