"""Derivations end in the statement itself: a change of bound, quantifier, hypothesis, definition or step breaks them."""

from dataclasses import replace

import pytest
import sympy as sp
from cases import LEMMAS_ONLY
from proofs import derived

from quadsim.theory import THEOREMS, Step
from quadsim.theory.statements.derived import library
from quadsim.theory.statements.derived.definitions import DEFINITIONS
from quadsim.theory.statements.derived.graph import _by_algebra, derive
from quadsim.theory.symbols import MaxOver, MinOver, SumOver
from quadsim.theory.symbols import Symbol as s

DERIVED = [name for name in THEOREMS if name not in LEMMAS_ONLY]


def test_theorems_without_a_derivation_are_named():
    assert {name for name, theorem in THEOREMS.items() if theorem.derivation is None} == LEMMAS_ONLY


TABLES = {*library.NEEDS, *library.SPEAKS_OF, *library.ORACLES, *library.MEANS}
"""Labels of definitions that need more, or speak of some runs alone: of a step that follows by algebra, that would be asked too."""


@pytest.mark.parametrize("name", DERIVED)
def test_every_theorem_is_derived_up_to_its_statement(name):
    found = derived(name)
    assert found is not None
    assert found.holds, [
        (step.label, result) for step, result in found.steps if result.status not in ("proved", "cited")
    ]
    assert found.steps[-1][0].claim == THEOREMS[name].relation_of_values
    assert found.unused == {"gd-lower": ("L > mu",), "gd-noise": ("noise",)}.get(name, ())
    assert not {step.label for step, _ in found.steps if step.by not in ("definition", "rule")} & TABLES


def swapped(bound, old, new):
    return bound.replace(old, lambda *args: new(*args))


# A2 and A3: seven quantifiers, and bounds and conditions that are false.
FALSE = {
    "gd-exact, Max for Sum": ("gd-exact", lambda t: {"bound": swapped(t.bound, SumOver, MaxOver)}),
    "gd-noise, Max for Sum": ("gd-noise", lambda t: {"bound": swapped(t.bound, SumOver, MaxOver)}),
    "covariance, Max for Sum": ("covariance-identity", lambda t: {"bound": swapped(t.bound, SumOver, MaxOver)}),
    "block-gd, Min for Max": ("block-gd", lambda t: {"bound": swapped(t.bound, MaxOver, MinOver)}),
    "published, Min for Max": ("adam-frozen-published", lambda t: {"bound": MinOver(t.bound.args[0])}),
    "frozen, Min for Max": ("adam-frozen", lambda t: {"bound": swapped(t.bound, MaxOver, MinOver)}),
    "exact, Min for Max": ("adam-frozen-exact", lambda t: {"bound": swapped(t.bound, MaxOver, MinOver)}),
    "gradient-rate, Lambda_P": ("gradient-rate", lambda t: {"bound": t.bound.subs(s.Lambda_G, s.Lambda_P)}),
    "uniform, Lambda_P": ("gradient-rate-uniform", lambda t: {"bound": t.bound.subs(s.L, s.Lambda_P)}),
    "sign-rate, 1.05 nu": ("sign-rate", lambda t: {"bound": t.bound.subs(s.nu, s.nu * sp.Rational(21, 20))}),
    "gd-upper, from below": ("gd-upper", lambda t: {"direction": "lower"}),
    "sign-constant, of norm 2": ("sign-constant", lambda t: {"quantity": s.least_norm2_squared}),
    "no derivation at all": (
        "gd-upper",
        lambda t: {"derivation": lambda: (Step(DEFINITIONS["gap"], "x", label="gap", by="definition"),)},
    ),
}


@pytest.mark.parametrize("name", FALSE)
def test_a_false_statement_is_not_derived(name):
    theorem, change = FALSE[name]
    true = THEOREMS[theorem]
    found = derive(replace(true, **change(true), statement=""))
    assert not found.holds
    assert found.steps[-1][1].status not in ("proved", "cited")


DROPPED = [(name, h.text) for name in DERIVED for h in THEOREMS[name].conditions if h.text not in ("L > mu", "noise")]


@pytest.mark.parametrize(("name", "text"), DROPPED)
def test_no_hypothesis_that_is_used_can_be_left_out(name, text):
    true = THEOREMS[name]
    rest = tuple(h for h in true.conditions if h.text != text)
    assert not derive(replace(true, hypotheses=rest, statement="")).holds


def tried(*steps):
    return derive(replace(THEOREMS["gd-upper"], derivation=lambda: steps))


def test_a_step_follows_only_from_what_it_uses():
    fact = Step(DEFINITIONS["eigenvalues"], "by definition", label="eigenvalues", by="definition")
    other = replace(fact, claim=sp.Le(s.L, s.mu, evaluate=False))
    assert tried(fact).steps[0][1].status == "cited"
    assert "defined otherwise" in tried(other).steps[0][1].counter_example["uses"]
    loose = Step(sp.Le(s.lambda_i, s.L, evaluate=False), "x", label="top")
    assert tried(loose).steps[0][1].status != "proved"
    assert tried(fact, replace(loose, uses=("eigenvalues",))).steps[1][1].status == "proved"
    assert "no earlier step" in tried(replace(loose, uses=("eigenvalue",))).steps[0][1].counter_example["uses"]
    later = (replace(loose, uses=("eigenvalues",)), fact)
    assert tried(*later).steps[0][1].status != "proved"


def test_sums_and_extremes_are_what_they_are_called():
    part = Step(
        sp.Le(s.mu * s.part_i, s.L * s.part_i, evaluate=False), "x", label="part", uses=("largest above smallest",)
    )
    fact = Step(DEFINITIONS["largest above smallest"], "x", label="largest above smallest", by="definition")

    def status(claim, by):
        return tried(fact, part, Step(claim, "x", label="y", uses=("part",), by=by)).steps[2][1].status

    whole = SumOver(s.part_i)
    assert status(sp.Le(s.mu * whole, s.L * whole, evaluate=False), "sum") == "proved"
    assert status(sp.Le(s.mu * whole, 2 * s.L * whole, evaluate=False), "sum") != "proved"
    assert status(sp.Le(s.mu * MaxOver(s.part_i), s.L * whole, evaluate=False), "sum") != "proved"
    assert status(sp.Le(s.L_l, MaxOver(s.L_l), evaluate=False), "extreme") == "proved"
    assert status(sp.Le(s.L_l, MinOver(s.L_l), evaluate=False), "extreme") != "proved"
    assert status(sp.Le(s.mu_l, MaxOver(s.L_l), evaluate=False), "extreme") != "proved"


def test_induction_needs_its_start_and_its_step():
    def status(claim, *given):
        steps = (*given, Step(claim, "x", label="y", uses=tuple(g.label for g in given), by="induction"))
        return tried(*steps).steps[-2][1].status

    fall = Step(DEFINITIONS["positive gap"], "x", label="positive gap", by="definition")
    assert status(sp.Ge(s.t, 0, evaluate=False), fall) == "proved"
    assert status(sp.Ge(s.t, 1, evaluate=False), fall) != "proved"  # not at the start
    assert status(sp.Le(s.t, 5, evaluate=False), fall) != "proved"  # not from step to step


u, v = sp.symbols("u v", nonnegative=True)
a = sp.Symbol("a", positive=True)


@pytest.mark.parametrize(
    ("claim", "given"),
    [
        (sp.Le(u / v, 1, evaluate=False), (sp.Eq(u, v),)),
        (sp.Eq(u / v, 1, evaluate=False), (sp.Eq(u, v),)),
        (sp.Eq(sp.log(u) - sp.log(v), 0, evaluate=False), (sp.Eq(u, v),)),
        (sp.Eq(a**2, 1, evaluate=False), (sp.Eq(a, -1, evaluate=False),)),
        (sp.Eq(v, 7, evaluate=False), (sp.Eq(u, 1), sp.Eq(u, 2))),
        (sp.Le(u / a, 1, evaluate=False), (sp.Eq(a, 0, evaluate=False), sp.Eq(u, 0))),
    ],
    ids=str,
)
def test_equals_are_put_in_only_where_the_claim_is_defined(claim, given):
    assert _by_algebra(claim, given).status != "proved"


@pytest.mark.parametrize("name", ["block-gd", "adam-frozen", "sign-rate"])
def test_no_statement_on_the_blocks_of_h_is_one_on_any_blocks(name):
    assert not derive(replace(THEOREMS[name], any_partition=True, statement="")).holds


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("heavy-ball", "momentum = ((sqrt L - sqrt mu)/(sqrt L + sqrt mu))^2"),
        ("gd-lower", "the error sits on one eigenvector of L and one of mu, in the proportion mu : L"),
        ("adam-is-sign", "beta1 = 0"),
        ("adam-cycle", "eps = 0"),
    ],
)
def test_a_hypothesis_under_the_text_of_another_is_not_that_one(name, text):
    true = THEOREMS[name]
    other = tuple(
        replace(h, relation=sp.Ge(s.eta, 0, evaluate=False)) if h.text == text else h for h in true.conditions
    )
    assert not derive(replace(true, hypotheses=other, statement="")).holds


def test_a_statement_is_written_from_its_own_parts():
    true = THEOREMS["adam-frozen"]
    assert r"\max_l" in true.statement
    assert r"\min_l" in replace(true, bound=MinOver(true.bound.args[0]), statement="").statement
    assert true.statement.index("\\text{no entry") < true.statement.index("Rightarrow")
