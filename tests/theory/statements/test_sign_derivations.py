"""The schemas of derivations under attack, and false neighbours of the theorems about sign steps: each is refused."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import sympy as sp

from quadsim.simulator import BlockQuadratic
from quadsim.simulator.rules.catalogue import RULES
from quadsim.theory import THEOREMS
from quadsim.theory.running.gd_start import gd_least_ratio
from quadsim.theory.running.meanings import memory_age
from quadsim.theory.running.sign_bounds import recursion
from quadsim.theory.statements import named
from quadsim.theory.statements.derived import library
from quadsim.theory.statements.derived.graph import concludes, derive
from quadsim.theory.statements.derived.schemas import SCHEMAS
from quadsim.theory.statements.derived.signs.definitions import Signs as q
from quadsim.theory.statements.derived.words import definition, definitions, ge, le, rule, step
from quadsim.theory.statements.named import PAIRS, gap_l, rate
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import MaxOver, MinOver, SumIn, SumOver
from quadsim.theory.symbols import Symbol as s

SIGNS = [
    "sign-constant-gap",
    "sign-constant-steps",
    "signum-gap",
    "lion-gap",
    "sign-midpoint",
    "sign-diagonal",
    "sign-distance",
    "sign-cycle",
    "block-scale-invariance",
    "gd-lower-start",
]


def last(*steps, of="sign-constant-gap", **changes):
    """Return what is said of the last of the steps, as part of a derivation of a theorem."""
    found = derive(replace(THEOREMS[of], derivation=lambda: steps, **changes))
    return found.steps[len(steps) - 1][1]


def accepted(*steps, **changes):
    return last(*steps, **changes).status in ("proved", "cited")


# Schemas ----------------------------------------------------------------------------------------------------------------------

KNOWN = definitions("gap by blocks")


def test_a_bound_for_every_index_is_one_of_the_extreme_on_its_own_side():
    fact = definitions("start of a coordinate")
    below = step("y", le(-s.start_i, s.P), "start of a coordinate")

    def every(claim):
        return accepted(*fact, below, step("z", claim, "y", by="every"))

    assert every(le(MaxOver(-s.start_i), s.P))
    assert not every(equal(MaxOver(-s.start_i), s.P))
    assert not every(le(MinOver(-s.start_i), s.P))  # true, but it is no extreme of this side
    assert not every(ge(MaxOver(-s.start_i), s.P))
    assert not every(le(MaxOver(s.start_i), s.P))
    assert not every(le(SumOver(-s.start_i), s.P))
    assert not every(le(MaxOver(-s.start_i), s.L))
    indexed = step("y", le(-s.start_i, s.start_i), "start of a coordinate")
    assert not accepted(*fact, indexed, step("z", le(MaxOver(-s.start_i), s.start_i), "y", by="every"))


def test_a_sum_in_a_block_keeps_what_belongs_to_the_block_and_nothing_else():
    part = step("part", le(-s.nu_l * sp.Abs(q.error_i), 0 * s.P), "gap by blocks")

    def summed(claim, by):
        return accepted(KNOWN[0], part, step("sum", claim, "part", by=by))

    whole = SumIn(sp.Abs(q.error_i))
    assert summed(le(-s.nu_l * whole, 0), "sum in a block")
    assert not summed(le(-2 * s.nu_l * whole, 0), "sum in a block")
    assert not summed(le(-s.nu_l * SumOver(sp.Abs(q.error_i)), 0), "sum in a block")
    assert not summed(le(-s.nu_l * SumOver(sp.Abs(q.error_i)), 0), "sum")  # nu_l does not come out of a sum over blocks
    assert not summed(le(-q.error_i * whole, 0), "sum in a block")
    assert not summed(le(-s.nu_l * MaxOver(sp.Abs(q.error_i)), 0), "sum in a block")


def test_a_form_is_bounded_in_the_box_only_where_it_is_convex_and_the_vector_lies_in_the_box(monkeypatch):
    at_vertex, z, form, free = library.BOXED[q.form_l]
    box = sp.And(le(-1, z), le(z, 1))

    true, at_signs = le(q.form_l, s.S_l), le(q.vertex_l, s.S_l)

    def bounded(claim=true, given=(at_signs, box)):
        return not SCHEMAS["vertices"](claim, given)

    assert bounded()
    assert not bounded(ge(q.form_l, s.S_l))
    assert not bounded(le(q.form_l, s.S_l / 2))
    assert not bounded(le(q.form_l, q.norm1_l), (le(q.vertex_l, q.norm1_l), box))  # which may depend on the vector
    assert not bounded(le(q.vertex_l, s.S_l))
    assert not bounded(given=(box, le(q.vertex_l, s.S_l)))
    assert not bounded(given=(le(q.vertex_l, s.S_l),))
    assert not bounded(given=(le(q.vertex_l, s.S_l), sp.And(le(-2, z), le(z, 2))))
    for concave in (-form, form - 2 * s.curvature_i * z**2, form + q.rest_i * z**2, form + z**4):
        monkeypatch.setitem(library.BOXED, q.form_l, (at_vertex, z, concave, free))
        assert not bounded()


def test_the_image_of_a_multiple_is_one_only_with_a_factor_that_no_coordinate_has():
    line = equal(q.error_i, q.multiple * q.move_i)

    def image(claim, of=line):
        return not SCHEMAS["linear"](claim, (of,))

    assert image(equal(q.gradient_i, q.multiple * q.turned_i))
    assert not image(equal(q.gradient_i, q.multiple * q.move_i))
    assert not image(equal(q.gradient_i, q.turned_i))
    assert not image(equal(q.gradient_i, q.rest_i * q.turned_i), equal(q.error_i, q.rest_i * q.move_i))
    assert not image(equal(q.gradient_i, s.S_l * q.multiple * q.turned_i), equal(q.error_i, q.multiple * q.move_i))
    assert not image(le(q.gradient_i, q.multiple * q.turned_i), le(q.error_i, q.multiple * q.move_i))


def test_a_form_along_a_line_is_a_quadratic():
    line = equal(q.error_next_i, q.error_i - rate * q.move_i)
    whole = gap_l - rate * SumIn(q.gradient_i * q.move_i) + rate**2 / 2 * q.form_l

    def along(claim, of=line):
        return not SCHEMAS["quadratic"](claim, (of,))

    assert along(equal(q.gap_next_l, whole))
    assert not along(equal(q.gap_next_l, whole + rate**2 / 2 * q.form_l))
    assert not along(equal(q.gap_next_l, gap_l + rate * SumIn(q.gradient_i * q.move_i) + rate**2 / 2 * q.form_l))
    assert not along(equal(q.gap_next_l, gap_l - rate * q.gradient_i * q.move_i + rate**2 / 2 * q.form_l))
    assert not along(le(q.gap_next_l, whole))
    assert not along(equal(q.gap_next_l, whole), equal(q.error_next_i, q.error_i - q.weight * q.rest_i * q.move_i))
    assert not along(equal(q.gap_next_l, whole), equal(q.error_next_i, 2 * q.error_i - rate * q.move_i))
    assert not along(equal(q.middle_l, whole))


def test_a_step_later_needs_to_be_known():
    moves = (
        rule("signsgd at a given rate"),
        step("moves", equal(q.move_i, sp.sign(q.gradient_i)), "rule signsgd at a given rate"),
    )
    later = equal(q.next_move_i, sp.sign(q.gradient_next_i))
    assert accepted(*moves, step("x", later, "moves", by="next"))
    assert not accepted(*moves, step("x", equal(q.next_move_i, sp.sign(q.gradient_i)), "moves", by="next"))
    largest = definitions("largest on signs")
    assert not accepted(*largest, step("x", le(q.vertex_l, s.S_l), "largest on signs", by="next"))


def test_a_definition_of_signs_alone_needs_that_the_vector_is_one():
    known = (
        rule("signsgd at a given rate"),
        *definitions("no zero"),
        step("moves", equal(q.move_i, sp.sign(q.gradient_i)), "rule signsgd at a given rate"),
        step("signs", sp.Or(equal(q.move_i, 1), equal(q.move_i, -1)), "moves", "no zero"),
        step("wide", sp.Or(equal(q.move_i, 1), equal(q.move_i, -1), equal(q.move_i, 0)), "moves"),
    )
    midpoint = THEOREMS["sign-midpoint"]
    for uses, good in ((("signs",), True), (("wide",), False), ((), False)):
        found = derive(replace(midpoint, derivation=lambda uses=uses: (*known, definition("midpoint constant", *uses))))
        assert (found.steps[-2][1].status == "cited") == good
        assert found.steps[-3][1].status == "proved"


def test_a_part_is_at_most_its_sum_only_if_none_is_negative():
    assert accepted(step("x", le(gap_l, SumOver(gap_l)), by="part"))
    assert not accepted(step("x", le(q.along_l, SumOver(q.along_l)), by="part"))
    assert not accepted(step("x", ge(gap_l, SumOver(gap_l)), by="part"))
    assert not accepted(step("x", le(gap_l, MaxOver(gap_l)), by="part"))


def test_named_facts_are_instances_with_their_conditions():
    def fact(claim, name, *given):
        return accepted(*given, step("x", claim, *(g.label for g in given), by=f"fact: {name}"))

    positive = definitions("positive definite")[0]
    h = s.curvature_i
    assert fact(le(sp.log(h), h - 1), "tangent of the logarithm", positive)
    assert not fact(le(sp.log(h), h - 1), "tangent of the logarithm")
    assert not fact(le(sp.log(h), h - 2), "tangent of the logarithm", positive)
    assert not fact(ge(sp.log(h), h - 1), "tangent of the logarithm", positive)
    assert not fact(le(sp.log(h), h - 1), "monotone", positive)
    other = s.inverse_i
    assert fact(equal(sp.log(h / other), sp.log(h) - sp.log(other)), "logarithm of a quotient", positive)
    assert not fact(equal(sp.log(h / other), sp.log(other) - sp.log(h)), "logarithm of a quotient", positive)
    assert not fact(equal(sp.log(h / other), sp.log(h) - sp.log(other)), "logarithm of a quotient")
    assert fact(sp.Or(le(s.t, q.times - 1), ge(s.t, q.times)), "integers")
    assert not fact(sp.Or(le(s.t, q.times - 2), ge(s.t, q.times)), "integers")
    assert not fact(sp.Or(le(s.gap, s.gap_0), ge(s.gap, s.gap_0 + 1)), "integers")
    low = definitions("target above the plateau")[0]
    assert fact(le(sp.log(q.pole_l), sp.log(s.target_l)), "the logarithm rises", low)
    assert not fact(le(sp.log(s.target_l), sp.log(q.pole_l)), "the logarithm rises", low)


def test_induction_needs_to_know_every_symbol_a_step_later():
    kept = definitions("gap by blocks")[0]
    assert not accepted(kept, step("x", ge(q.norm1_l, 0 * s.P), "gap by blocks", by="induction"))
    assert "a step later" in str(
        last(kept, step("x", ge(rate, 0 * s.P), "gap by blocks", by="induction")).counter_example
    )
    assert accepted(kept, step("x", ge(s.travelled, 0 * s.P), "gap by blocks", by="induction"))


def test_what_holds_before_t_does_not_hold_at_t():
    """Of sign-constant-steps: the least of the steps before t says nothing of step t, and its bound needs the 1."""
    target = (
        *definitions("target", "a step was made", "start of the root"),
        step("target a step later", le(s.target_l, q.root_next_l), "target", by="next"),
    )
    claim = le(s.target_l, q.root_l)
    steps = (*target, step("x", claim, "target"))
    true = replace(THEOREMS["sign-constant-steps"], derivation=lambda: steps)
    found = derive(true)
    assert "before t alone" in str(found.steps[-1][1].counter_example)
    at_start = le(s.target_l, q.root_0_l)
    assert accepted(*target, step("x", at_start, "target", "a step was made", by="start"))
    assert not accepted(*target, step("x", at_start, "target", by="start"))  # there may be no step before t
    assert not accepted(*target, step("x", claim, "target a step later", "a step was made", by="start"))
    clock = step("x", ge(s.t, 0 * s.P), "target")
    assert accepted(*target, clock, step("y", ge(s.t - 1, 0 * s.P), "x", "a step was made", by="last"))
    assert not accepted(*target, clock, step("y", ge(s.t, 0 * s.P), "x", "a step was made", by="last"))
    assert not accepted(*target, clock, step("y", ge(s.t - 2, 0 * s.P), "x", "a step was made", by="last"))
    assert not accepted(*target, clock, step("y", ge(s.t - 1, 0 * s.P), "x", by="last"))
    assert not accepted(*target, step("y", claim, "target", "a step was made", by="last"))  # x_t is not x_(t-1)
    assert not accepted(step("y", ge(s.t, 0 * s.P), by="magic"))


# Theorems ---------------------------------------------------------------------------------------------------------------------


NEIGHBOURS = {
    "recursion, largest block": ("sign-constant-gap", {"bound": MaxOver(s.u_l)}),
    "recursion, smallest block": ("sign-constant-gap", {"bound": MinOver(s.u_l)}),
    "recursion, from below": ("sign-constant-gap", {"direction": "lower"}),
    "recursion of the memory for none": ("sign-constant-gap", {"bound": SumOver(s.v_l)}),
    "recursion of the next step": ("sign-constant-gap", {"quantity": s.gap_0}),
    "steps without the 1": ("sign-constant-steps", {"bound": MinOver(THEOREMS["sign-constant-steps"].bound.args[0] - 1)}),
    "steps of the slowest block": ("sign-constant-steps", {"bound": MaxOver(THEOREMS["sign-constant-steps"].bound.args[0])}),
    "steps with mu": ("sign-constant-steps", {"bound": THEOREMS["sign-constant-steps"].bound.subs(s.nu_l, s.mu_l)}),
    "steps without the plateau": (
        "sign-constant-steps",
        {"bound": MinOver(1 + (sp.sqrt(s.gap_0_l) - s.target_l) / (s.eta * sp.sqrt(s.nu_l / 2)))},
    ),
    "midpoint without its jitter": ("sign-midpoint", {"bound": SumOver(s.w_l)}),
    "midpoint, half the jitter": ("sign-midpoint", {"bound": SumOver(s.w_l + s.eta**2 * s.S_l / 16)}),
    "midpoint of every gap": ("sign-midpoint", {"quantity": s.gap}),
    "midpoint of the largest block": ("sign-midpoint", {"bound": MaxOver(s.w_l + s.eta**2 * s.S_l / 8)}),
    "midpoint where an entry is 0": ("sign-midpoint", {"hypotheses": ()}),
    "midpoint of signum": ("sign-midpoint", {"rules": ("signum",)}),
    "signum without its age": ("signum-gap", {"bound": SumOver(s.u_l)}),
    "signum for lion": ("signum-gap", {"rules": ("lion",)}),
    "signum and signsgd": ("signum-gap", {"rules": ("signum", "signsgd")}),
    "lion for signum": ("lion-gap", {"rules": ("signum",)}),
    "recursion for adam": ("sign-constant-gap", {"rules": ("adam",)}),
    "recursion for all rules": ("sign-constant-gap", {"rules": ()}),
    "distance of the nearest": ("sign-distance", {"bound": MinOver(THEOREMS["sign-distance"].bound.args[0])}),
    "distance of all": ("sign-distance", {"bound": SumOver(THEOREMS["sign-distance"].bound.args[0])}),
    "distance from above": ("sign-distance", {"direction": "upper"}),
    "distance, half the way": ("sign-distance", {"bound": THEOREMS["sign-distance"].bound.subs(s.travelled, s.travelled / 2)}),
    "distance for adam": ("sign-distance", {"rules": ("signsgd", "adam")}),
    "diagonal, no jitter": ("sign-diagonal", {"bound": THEOREMS["sign-diagonal"].bound.subs(s.eta, s.eta / 2)}),
    "diagonal, one step more": ("sign-diagonal", {"bound": THEOREMS["sign-diagonal"].bound.subs(s.travelled, s.travelled + s.eta)}),
    "diagonal, any schedule": ("sign-diagonal", {"any_schedule": True}),
    "signum, any schedule": ("signum-gap", {"any_schedule": True}),
    "steps, any schedule": ("sign-constant-steps", {"any_schedule": True}),
    "gd-upper, any schedule": ("gd-upper", {"any_schedule": True}),
    "gd-upper with noise": ("gd-upper", {"oracle": "additive"}),
    "gd-noise of a single run": ("gd-noise", {"kind": "identity", "variance": None}),
    "gd-upper of a rule with that name": ("gd-upper", {"own_rules": (replace(RULES["gd"], step=2 * RULES["gd"].step),)}),
    "gd-upper of a rule of one's own": ("gd-upper", {"own_rules": (replace(RULES["gd"], name="mine"),)}),
    "cycle, twice": ("sign-cycle", {"bound": 2 * THEOREMS["sign-cycle"].bound}),
    "cycle from above": ("sign-cycle", {"direction": "upper"}),
    "invariance of gd": ("block-scale-invariance", {"rules": ("gd",)}),
    "invariance of nadam": ("block-scale-invariance", {"rules": ("adam", "nadam")}),
    "lower bound of heavy-ball": ("gd-lower-start", {"rules": ("heavy-ball",)}),
    "lower bound from above": ("gd-lower-start", {"direction": "upper"}),
    "lower bound of the root": ("gd-lower-start", {"bound": sp.sqrt(s.least_ratio)}),
}  # fmt: skip


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_a_false_neighbour_is_not_derived(name):
    theorem, changes = NEIGHBOURS[name]
    true = THEOREMS[theorem]
    mutant = replace(true, **changes, statement="")
    if set(changes) <= {"bound", "quantity", "direction"}:  # its derivation is checked elsewhere
        assert concludes(true, true.derivation())
        assert not concludes(mutant, true.derivation())
    else:
        assert not derive(mutant).holds


def test_a_label_stands_for_one_step_and_a_hypothesis_for_itself():
    true = THEOREMS["sign-diagonal"]

    def held(*more, **changes):
        return derive(replace(true, derivation=lambda: (*more, *true.derivation()), statement="", **changes)).holds

    fake = step("H is diagonal", ge(s.t, 0 * s.P))
    assert held()
    assert not held(hypotheses=())
    assert not held(fake, hypotheses=())
    assert not held(step("lr is constant", ge(s.t, 0 * s.P)), any_schedule=True)
    constant = step("start of v", ge(s.v_l, 0 * s.P), by="induction")
    schedule = replace(THEOREMS["sign-constant-gap"], quantity=MinOver(s.v_l), bound=sp.S.Zero, direction="lower")
    steps = (constant, step("least", ge(MinOver(s.v_l), 0 * s.P), "start of v", by="every"))
    found = derive(replace(schedule, derivation=lambda: steps, statement=""))
    assert "takes the rate as constant" in str(found.steps[-1][1].counter_example)
    assert derive(replace(schedule, derivation=lambda: steps, any_schedule=False, statement="")).holds
    assert held(rule("signsgd at a given rate"))  # the same step twice
    assert not held(step("way", ge(s.t, 0 * s.P)))


@pytest.mark.parametrize("name", SIGNS)
def test_every_statement_says_what_its_symbols_stand_for(name):
    said = THEOREMS[name].statement
    for symbol, words in {
        s.u_l: "u_{l,t+1} =",
        s.v_l: "v_{l,t+1} =",
        s.least_ratio: r"r_t = \max_{i,j}",
        s.ratio_low: r"r^{\min}_t = \min_l",
    }.items():
        assert (symbol in THEOREMS[name].bound.free_symbols) == (words in said)
    assert "gap_" not in said  # a name of ours
    assert all(h.text.replace("_", r"\_") in said for h in THEOREMS[name].conditions)


# The recursions of statements are those that runs are held against --------------------------------------------------------------


@pytest.mark.parametrize(("symbol", "size"), [(s.u_l, s.S_l), (s.v_l, s.S_l * (1 + 4 * named.age)), (s.w_l, s.M_l)])
def test_recursions_are_those_of_the_bounds(symbol, size):
    _, after = named.RECURSIONS[symbol]
    values = {s.S_l: 3.0, s.M_l: 1.2, s.nu_l: 0.7, named.age: 9.0, rate: 0.05, s.eta: 0.05}
    one, u = sp.lambdify([symbol], after.subs(values)), [2.0]
    for _ in range(40):
        u.append(float(one(u[-1])))
    found = recursion(np.float64(2.0), np.float64(0.7), np.float64(size.subs(values)), np.full(40, 0.05))
    np.testing.assert_allclose(found, u, rtol=1e-12)


def test_ages_and_the_least_ratio_are_those_of_the_bounds():
    run = SimpleNamespace(settings={"momentum": np.array([0.9]), "lr": np.array([1.0])})
    assert memory_age(run)[0] == pytest.approx(float(named.AGES["signum"].subs(s.momentum, 0.9)))
    run.settings = {"beta1": np.array([0.8]), "beta2": np.array([0.95]), "lr": np.array([1.0])}
    assert memory_age(run)[0] == pytest.approx(float(named.AGES["lion"].subs({s.beta1: 0.8, s.beta2: 0.95})))
    problem = BlockQuadratic.generate(1, 6, condition_number=20, problems=2, seed=3)
    inner = sp.lambdify(
        [PAIRS.high_p, PAIRS.low_p, PAIRS.share_high_p, PAIRS.share_low_p, s.t], named.VALUES[s.least_ratio].args[0]
    )
    values, start = (problem.layout.flatten(x) for x in (problem.eigenvalues, problem.initial_coefficients))
    for m in range(2):
        share = values[m] * start[m] ** 2 / (values[m] * start[m] ** 2).sum()
        pairs = [(i, j) for i in range(6) for j in range(6) if values[m, i] > values[m, j]]
        for t in (1, 7):
            best = max(inner(values[m, i], values[m, j], share[i], share[j], t) for i, j in pairs)
            assert gd_least_ratio(problem, np.array([t]))[m, 0] == pytest.approx(float(best))
