"""False steps that the prover once proved, each refused for its own reason."""

import pytest
import sympy as sp

from quadsim.theory import Step, prove
from quadsim.theory.symbols import MaxOver
from quadsim.theory.symbols import Symbol as s

x = sp.Symbol("x", real=True)
a, b, c, d, e, f = (sp.Symbol(name, positive=True) for name in "abcdef")
n = sp.Symbol("n", integer=True, nonnegative=True)
half = sp.Rational(1, 2)


def status(claim, *given):
    return prove(Step(claim, "a claim", given)).status


def test_an_alternative_that_is_not_defined_says_nothing_of_the_others():
    given = sp.Or(sp.Ge(x, 0, evaluate=False), sp.Gt(1 / x, 5, evaluate=False), evaluate=False)
    assert status(sp.Ne(x, 0), given) != "proved"
    root = sp.Or(sp.Ge(x + 1, 0, evaluate=False), sp.Gt(sp.sqrt(x), 5, evaluate=False), evaluate=False)
    assert status(sp.Ge(x, 0), root) != "proved"
    assert status(sp.Ge(x, 0), sp.Implies(sp.Gt(sp.sqrt(x), 5), sp.Gt(x, 1))) != "proved"
    assert status(sp.Ne(x, 0), sp.Gt(1 / x, 5)) == "proved"  # by itself it is defined where it holds
    # A root in a premise does not make the same root defined in the claim.
    maybe = sp.Or(sp.Ge(x**2, 0, evaluate=False), sp.Gt(sp.sqrt(x), 5, evaluate=False), evaluate=False)
    assert status(sp.Ge(sp.sqrt(x), 0, evaluate=False), maybe) == "unknown"


@pytest.mark.parametrize("name", ["aux0", "root0", "symbol0", "symbol1", "x!0", "root!0"])
def test_no_symbol_is_taken_for_an_auxiliary_one(name):
    other = sp.Symbol(name, real=True)
    assert status(sp.Ge(other + sp.sqrt(a), sp.sqrt(a) - 0 * a)) != "proved"
    assert status(sp.Ge(other, 0, evaluate=False), sp.Ge(sp.sqrt(a), b)) == "refuted"


def test_premises_that_a_time_limit_cannot_refute_are_not_taken_as_consistent():
    mean = (a + b + c + d + e + f) / 6
    product = mean**6 - a * b * c * d * e * f
    found = prove(Step(sp.Gt(x, 5), "anything", (sp.Le(product + 1, 0),)), effort=20_000)
    assert found.status == "unknown"
    assert "no numbers were found" in found.counter_example["given"]


def test_a_witness_is_reported_and_satisfies_what_is_given():
    given = (sp.Gt(a * b, 3), sp.Lt(a, b))
    found = prove(Step(sp.Gt(b**2, 3), "a claim", given))
    assert found.status == "proved"
    values = {symbol: sp.Rational(found.witness[str(symbol)]) for symbol in (a, b)}
    assert all(relation.subs(values) == sp.true for relation in given)


def test_what_z3_does_not_read_gets_its_witness_from_rationals():
    n = sp.Symbol("n", integer=True, nonnegative=True)
    power = sp.Eq((1 - x) ** n * (1 - x), (1 - x) ** (n + 1), evaluate=False)
    found = prove(Step(power, "a power", (sp.Le((half) ** n * a, a),)))
    assert found.status == "proved"
    assert found.witness


@pytest.mark.parametrize(
    "equation",
    [
        sp.Eq((x**2 - 1) / (x - 1), x + 1, evaluate=False),
        sp.Eq(sp.Mul(x, 1 / x, evaluate=False) + x, 1 + x, evaluate=False),
        sp.Eq(sp.sqrt(x - 1) * (x + 1), sp.sqrt(x - 1) * x + sp.sqrt(x - 1), evaluate=False),
    ],
    ids=str,
)
def test_an_identity_must_be_defined_too(equation):
    assert status(equation) == "unknown"


def test_an_identity_may_be_given_where_it_is_defined():
    assert status(sp.Eq((x**2 - 1) / (x - 1), x + 1, evaluate=False), sp.Gt(x, 1)) == "proved"


def test_numbers_are_exact():
    with pytest.raises(ValueError, match=r"numbers of a step must be exact, got 1\.0.*use integers or sp\.Rational"):
        Step(sp.Eq(x + sp.Float("1e-20") * x, x, evaluate=False), "a claim")
    with pytest.raises(ValueError, match="numbers of a step must be exact"):
        Step(sp.Ge(x, 0), "a claim", (sp.Ge(x, 0.5),))


def test_what_sympy_has_decided_is_no_claim():
    with pytest.raises(ValueError, match="a claim must be one that a reader can check, got True"):
        Step(sp.true, "trivial")


def test_a_citation_is_a_sentence_of_the_list():
    with pytest.raises(ValueError, match="a citation of the spectral theorem must be one of its sentences in CITABLE"):
        Step("every gap is 0 after one step", "spectral theorem")


def test_no_symbol_is_taken_for_a_reduction():
    for assumptions in ({"positive": True}, {"real": True}):
        assert status(sp.Eq(MaxOver(s.L_l), sp.Symbol("reduction 0", **assumptions), evaluate=False)) != "proved"


@pytest.mark.parametrize(
    ("claim", "given"),
    [
        (sp.Or(sp.Le(n, 3), sp.Ge(n, 4)), ()),
        (sp.Ge(n**2, n, evaluate=False), ()),
        (sp.Ge(n, 1, evaluate=False), (sp.Gt(n, 0, evaluate=False),)),
        (sp.Ne(sp.Symbol("p", prime=True), 4, evaluate=False), ()),
        (sp.Ne(sp.Symbol("q", irrational=True), half, evaluate=False), ()),
    ],
    ids=str,
)
def test_what_is_true_of_integers_is_not_refuted_by_fractions(claim, given):
    assert status(claim, *given) == "unknown"
    assert status(sp.Le(n, 3, evaluate=False)) == "refuted"


def test_an_identity_of_negative_numbers_is_not_refuted_by_positive_ones():
    less = sp.Symbol("less", negative=True)
    root = sp.sqrt(sp.expand((less - 1) ** 2 * (less - 2) ** 2))
    assert status(sp.Eq(root, less**2 - 3 * less + 2, evaluate=False)) != "refuted"


@pytest.mark.parametrize(
    "claim",
    [
        sp.Eq(sp.tan(x) * sp.cos(x), sp.sin(x), evaluate=False),
        sp.Eq(sp.gamma(x + 1), x * sp.gamma(x), evaluate=False),
        sp.Eq(sp.Derivative(sp.Abs(x), x), sp.sign(x), evaluate=False),
        sp.Eq(sp.sqrt(-(x**2)), sp.I * sp.Abs(x), evaluate=False),
        sp.Eq(x + sp.oo, sp.oo + 0 * x, evaluate=False),
        sp.Eq(sp.Ge(x, 0), sp.Ge(x, 0, evaluate=False), evaluate=False),
    ],
    ids=str,
)
def test_functions_whose_domain_is_not_checked_are_refused(claim):
    with pytest.raises(ValueError, match=r"a step may use Symbol|a claim must"):
        Step(claim, "a claim")


def test_an_arcsine_is_any_function():
    """Identities of the arcsine hold on a part of the line alone, and it is defined on a part alone: none of them is used."""
    y = sp.Symbol("y", real=True)
    assert status(sp.Eq(x * (sp.asin(x) + y), x * y + x * sp.asin(x), evaluate=False)) == "proved"
    for claim in (
        sp.Eq(sp.asin(2 * x * sp.sqrt(1 - x**2)), 2 * sp.asin(x), evaluate=False),
        sp.Eq(sp.asin(x), sp.asin(y), evaluate=False),
        sp.Ge(sp.asin(x), -2, evaluate=False),
    ):
        assert status(claim) == "unknown"


def test_what_is_given_is_a_relation():
    with pytest.raises(ValueError, match="what is given must be a relation"):
        Step(sp.Eq(x, 5), "a claim", ("x = 5",))
