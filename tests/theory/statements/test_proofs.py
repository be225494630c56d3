"""The prover proves what is true and nothing else, and a wrong rule or bound breaks a proof."""

from dataclasses import replace

import proofs
import pytest
import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.rule import symbols
from quadsim.theory import THEOREMS, Step, prove
from quadsim.theory.statements.recursion import advance

eta = sp.Symbol("eta", real=True)
L, mu, lam = sp.symbols("L mu lambda", positive=True)
t = sp.Symbol("t", integer=True, nonnegative=True)


def statuses(theorem):
    return [proofs.prove(step).status for step in theorem.argument()]


@pytest.mark.parametrize("theorem", THEOREMS.values(), ids=lambda theorem: theorem.name)
def test_every_step_is_proved_or_cited(theorem):
    found = statuses(theorem)
    assert found.count("proved") >= 2
    assert set(found) <= {"proved", "cited"}


@pytest.mark.parametrize(
    ("claim", "given", "status"),
    [
        (sp.Eq((eta + 1) ** 2, eta**2 + 2 * eta + 1), (), "proved"),
        (sp.Eq((eta + 1) ** 2, eta**2 + 2 * eta + 2), (), "refuted"),
        (sp.Eq((1 - eta) ** t * (1 - eta), (1 - eta) ** (t + 1)), (), "proved"),
        (sp.Eq((1 - eta) ** t * (1 - eta), (1 - eta) ** (t + 2)), (), "refuted"),
        (sp.Ge(eta**2 - 2 * eta + 1, 0), (), "proved"),
        (sp.Gt(eta**2 - 2 * eta + 1, 0), (), "refuted"),
        (sp.Le(1 / lam, 1), (sp.Ge(lam, 1),), "proved"),
        (sp.Le(1 / lam, 1), (), "refuted"),
        (sp.Le(sp.sqrt(lam), lam), (sp.Ge(lam, 1),), "proved"),
        (sp.Le(sp.sqrt(lam), lam), (), "refuted"),
        (sp.Ge(sp.Abs(eta), eta), (), "proved"),
        (sp.Le(sp.Max(eta, lam), eta + lam), (), "refuted"),
        (sp.Le(sp.Max(eta, lam), sp.Abs(eta) + lam), (), "proved"),
        (sp.Eq(sp.sign(lam, evaluate=False), 1, evaluate=False), (sp.Gt(mu, 0, evaluate=False),), "proved"),
        (sp.Eq(sp.sign(eta), 1), (sp.Gt(mu, 0, evaluate=False),), "refuted"),
        (sp.Eq(eta, 3), (sp.Eq(2 * eta, 6),), "proved"),
    ],
)
def test_the_prover(claim, given, status):
    found = prove(Step(claim, "a claim", given))
    assert found.status == status
    assert found.by in ("SymPy", "Z3")


def test_a_refuted_inequality_comes_with_numbers_that_refute_it():
    claim = sp.Le((1 - eta * lam) ** 2, sp.Max((1 - eta * mu) ** 2, (1 - eta * L) ** 2) - sp.Rational(1, 10**6))
    found = prove(Step(claim, "too good", (sp.Le(mu, lam), sp.Le(lam, L))))
    assert found.status == "refuted"
    values = {s: sp.Rational(found.counter_example[str(s)]) for s in claim.free_symbols}
    assert not claim.subs(values)


positive = sp.Symbol("eta", positive=True)


@pytest.mark.parametrize(
    ("claim", "given"),
    [
        (sp.Or(sp.Ge(eta, 0), sp.Gt(sp.sqrt(eta), 5)), ()),  # the root is not defined below 0
        (sp.Or(sp.Gt(eta**2, 0), sp.Eq(1 / eta, 7)), ()),  # nor the quotient at 0
        (sp.Ge(sp.Symbol("i", imaginary=True) ** 2 + eta**2, 0), ()),
        (sp.Ge(sp.Pow(2, t, evaluate=False), t), ()),  # not for Z3
        (sp.Eq(sp.Max(eta, L) + sp.Min(eta, L), eta + L, evaluate=False), ()),  # true, but beyond the simplifier
    ],
    ids=str,
)
def test_what_is_not_defined_or_not_understood_is_unknown(claim, given):
    assert prove(Step(claim, "a claim", given)).status == "unknown"


def test_two_symbols_of_one_name_are_two():
    assert prove(Step(sp.Gt(eta, -1), "of the real one", (sp.Le(positive, 5),))).status == "refuted"


def test_a_literal_truth_is_no_claim():
    with pytest.raises(ValueError, match="a claim must be a SymPy relation"):
        Step(True, "anything")


def test_contradictory_assumptions_prove_nothing():
    found = prove(Step(sp.Eq(eta, 7), "anything follows", (sp.Gt(eta, 1), sp.Lt(eta, 0))))
    assert found.status == "unknown"
    assert "contradictory" in found.counter_example["given"]


def test_only_the_four_facts_may_be_cited():
    with pytest.raises(
        ValueError, match=r"a cited fact must be one of Rayleigh quotient, .* got 'well known'; prove it"
    ):
        Step("all is well", "well known")


def gd(step):
    return "gd", replace(RULES["gd"], step=step)


def adam_frozen(**changes):
    return "adam-frozen", replace(RULES["adam-frozen"], **changes)


g, w, lr = symbols.g, symbols.w, symbols.lr
(d,) = RULES["adam-frozen"].states
(m,) = RULES["heavy-ball"].states
(momentum,) = RULES["heavy-ball"].hyperparameters
MUTANT_RULES = {
    "gd with 1.01 lr": (gd(-sp.Rational(101, 100) * lr * g), ["gd-exact", "gd-upper", "gd-lower"]),
    "gd with a flipped sign": (gd(lr * g), ["gd-exact", "gd-upper", "gd-lower"]),
    "gd with weight decay": (gd(-lr * g - w / 100), ["gd-exact", "gd-upper"]),
    "heavy-ball that damps its memory": (
        ("heavy-ball", replace(RULES["heavy-ball"], update={m: momentum * m + (1 - momentum) * g})),
        ["heavy-ball"],
    ),
    "heavy-ball with Nesterov's step": (
        ("heavy-ball", replace(RULES["heavy-ball"], step=-lr * (g + momentum * m))),
        ["heavy-ball"],
    ),
    "block-gd with 1/L": (
        ("block-gd", replace(RULES["block-gd"], step=-lr * g / symbols.L_l)),
        ["block-gd"],
    ),
    "frozen Adam that starts at g^2": (
        adam_frozen(start={d: g**2}),
        ["adam-frozen-exact", "adam-frozen", "adam-frozen-published"],
    ),
    "frozen Adam with a root too many": (adam_frozen(step=-lr * g / sp.sqrt(d)), ["adam-frozen-exact", "adam-frozen"]),
    "frozen Adam that thaws": (adam_frozen(update={d: d / 2 + sp.Abs(g) / 2}), ["adam-frozen-exact", "adam-frozen"]),
}


@pytest.mark.parametrize("name", MUTANT_RULES)
def test_a_mutant_rule_breaks_every_proof_that_speaks_of_it(name, monkeypatch):
    (rule, mutant), theorems = MUTANT_RULES[name]
    monkeypatch.setitem(RULES, rule, mutant)
    for theorem in theorems:
        try:
            found = statuses(THEOREMS[theorem])
        except ValueError:  # the mutant has no factor at all
            continue
        assert "refuted" in found, (theorem, found)


def test_advance_is_the_rule():
    e = sp.Symbol("e", real=True)
    after, states = advance(RULES["heavy-ball"], e, lam * e, {m: sp.S.One}, {lr: eta, momentum: mu})
    assert sp.expand(after - (e - eta * (mu + lam * e))) == 0
    assert states == {m: mu + lam * e}
