"""Rules as text: what is written is read again as the same rule, and nothing else is read."""

import json
import sys
from contextlib import contextmanager

import pytest
import sympy as sp
from hypothesis import Phase, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from odd_rules import ODD

from quadsim.simulator import RULES, BlockQuadratic, Rule, simulate, symbols
from quadsim.simulator.rules.rule import BlockMean, Hyperparameter, Norm, Ratio, Total
from quadsim.simulator.rules.rule_text import rule_from_document, rule_from_text, rule_to_document, rule_to_text

g, w, lr, L_l, mu_l = symbols.g, symbols.w, symbols.lr, symbols.L_l, symbols.mu_l
m, beta = sp.Symbol("m", real=True), sp.Symbol("beta", nonnegative=True)
PARTS = (
    "name",
    "clocks",
    "start",
    "update",
    "step",
    "hyperparameters",
    "natural_lr",
    "default_lr",
    "summary",
    "source",
)


def assert_same(ours, theirs):
    for part in PARTS:
        assert getattr(ours, part) == getattr(theirs, part), part
    for part in ("clocks", "update", "hyperparameters"):
        assert list(getattr(ours, part)) == list(getattr(theirs, part)), part
    assert sp.srepr(ours.step) == sp.srepr(theirs.step)


UNEVALUATED = Rule(
    name="as it was typed",
    step=-lr * sp.Mul(2, g + 1, evaluate=False) + sp.Add(g, sp.Add(w, m, evaluate=False), evaluate=False),
    update={m: sp.Mul(-1, 2, m, evaluate=False) + sp.Pow(sp.Integer(-2), beta) + sp.Float(0.1) * g - sp.Float(-1.0) * w},
    hyperparameters={beta: Hyperparameter(0.1, 0.0, 1.0, high_open=True, meaning="a memory")},
    default_lr=0.1,
)  # fmt: skip
SHADOWING = Rule(  # symbols with the names of symbols, functions and numbers
    name="shadowing; import os",
    step=-lr * sp.Symbol("mu") * sp.Symbol("Abs", positive=True) * sp.Symbol("0x1p+0") * g
    + sp.pi * sp.E * sp.log(3) * w,
    hyperparameters={sp.Symbol("mu"): 1, sp.Symbol("Abs", positive=True): 2, sp.Symbol("0x1p+0"): 3},
    natural_lr=symbols.mu / symbols.L,
)


@pytest.mark.parametrize("rule", [*RULES.values(), ODD, UNEVALUATED, SHADOWING], ids=lambda rule: rule.name)
def test_a_rule_is_read_again_from_its_text(rule):
    document = json.loads(json.dumps(rule_to_document(rule), sort_keys=True))
    assert_same(rule, rule_from_document(document))
    assert rule_to_document(rule_from_document(document)) == rule_to_document(rule)
    assert rule_from_text(rule_to_text(rule)) is rule_from_text(rule_to_text(rule))  # so that it is compiled once


def test_it_runs_as_it_did():
    problem = BlockQuadratic.generate(heterogeneity=10, problems=2)
    own = Rule(name="own", step=-lr * g / (1 + Norm(g)) - lr * BlockMean(g), hyperparameters={})
    runs = [simulate(problem, rule, lr=[0.1, 0.2], steps=50) for rule in (own, rule_from_text(rule_to_text(own)))]
    assert (runs[0].gap == runs[1].gap).all()


NUMBERS = st.one_of(
    st.integers(-9, 9).map(sp.Integer),
    st.fractions(-3, 3, max_denominator=12).map(sp.Rational),
    st.floats(-1e9, 1e9).filter(bool).map(sp.Float),
)
LEAVES = st.one_of(st.sampled_from([g, w, lr, L_l, mu_l, m, beta]), NUMBERS)
EXPONENTS = st.sampled_from([2, 3, -1, -2, sp.S.Half, -sp.S.Half, sp.Rational(1, 3), sp.Float(0.3), beta])


def ordered(expression):
    return of_a_rule(expression) and bool(expression.free_symbols or expression.is_comparable)


def _largest(*arguments):
    return sp.Max(*filter(ordered, arguments), g)


def _smallest(*arguments):
    return sp.Min(*filter(ordered, arguments), g)


def grown(inner):
    one = st.sampled_from([sp.Abs, sp.sign, sp.tanh, sp.exp, BlockMean])
    several = st.sampled_from([sp.Add, sp.Mul, _largest, _smallest])
    return st.one_of(
        st.builds(lambda f, a, b, c: f(a, b, c), several, inner, inner, inner),
        st.builds(lambda f, a: f(a + g), one, inner),
        st.builds(Ratio, inner, inner),
        st.builds(sp.Pow, inner, EXPONENTS),
    )


def of_a_rule(expression):
    doubles = all(
        abs(float(x)) < float("inf") and sp.Float(float(x)) == x for x in expression.atoms(sp.Float)
    )  # SymPy multiplies them beyond 1e308
    return (
        doubles and expression.is_extended_real is not False and not expression.has(sp.I, sp.nan, sp.zoo, sp.oo, -sp.oo)
    )


@hypothesis_settings(max_examples=50, derandomize=True, deadline=None, phases=[Phase.generate])
@given(
    step=st.recursive(LEAVES, grown, max_leaves=12),
    update=st.recursive(LEAVES, grown, max_leaves=6),
    name=st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12),
    total=st.booleans(),
)
def test_any_rule_is_read_again(step, update, name, total):
    assume(of_a_rule(step) and of_a_rule(update))
    odd = sp.Symbol(name, real=True)
    assume(name not in ("g", "w", "lr", "L_l", "mu_l", "m", "beta"))
    rule = Rule(
        name=name,
        step=step + Total(odd * g) if total else step * odd,
        update={m: update},
        start={m: g / L_l},
        hyperparameters={beta: 0.5, odd: Hyperparameter(0.1, low_open=True, meaning=name)},
    )
    assert_same(rule, rule_from_text(rule_to_text(rule)))


def test_a_rule_without_text_is_refused():
    i = sp.Symbol("i")
    for step, message in {
        -lr * g * sp.Float("0.1", 30): "rule 'x' must be made of exact numbers, doubles and .*got 0.1",
        -lr * g * sp.Float("1e400"): "rule 'x' must be made of exact numbers, doubles and .*got 1000000",
        -lr * g * sp.I: "rule 'x' must be made of exact numbers, .*got I",
        -lr * sp.Integral(g * i, (i, 0, 1)): "rule 'x' must be made of .*got Integral",
        -lr * g * sp.exp(sp.exp(2)): "document of a rule must have step with no exp of powers",
        -lr * g ** sp.Integer(101): "document of a rule must have step with exponents",
    }.items():
        with pytest.raises(ValueError, match=message):
            rule_to_document(Rule(name="x", step=step))
    with pytest.raises(ValueError, match=r"symbols made by sympy.Symbol, got .* of the class Dummy"):
        rule_to_document(Rule(name="x", step=-lr * g, hyperparameters={sp.Dummy("d"): 1}))
    with pytest.raises(ValueError, match="must have name as one line of printable text"):
        rule_to_document(Rule(name="x\ny", step=-lr * g))


HOSTILE = [
    "().__class__", "g.real", "__import__('os').system('true')", "open('x')", "lambda: g", "g if g else w", "[g]", "{g}", "g[0]",
    "'g'", '"g"', "g = w", "g == w", "g < w", "g @ w", "g // w", "g / w", "g % w", "~g", "+g", "g w", "g,", "", " ", "(", ")", "g +",
    "* g", "2g", "1.5", "1e5", "1e999", "0x", "0x1", "0x1.8p+99999", "1/0", "1/2/3", "0b1", "1_000", "x", "nan", "oo", "zoo", "I", "True", "None",
    "factorial(10**10)", "Function(g)", "Symbol(g)", "eval(g)", "exp()", "exp(g, w)", "Max(g)", "Ratio(g)", "Ratio(g, w, g)",
    "10**10**10", "10**(10**10)", "(10**100)**100", "(10**10)**(10**10)", "10**9999999999", "10**101", "g**101", "2**(g**(w**lr))", "sqrt(sqrt(2))",
    "exp(exp(100))", "exp(10**100)", "9" * 41, "9" * 10**6, "(" * 100 + "g" + ")" * 100, "-" * 1000 + "g",
    "exp(" * 100 + "g" + ")" * 100, "(" * 10**4, "g" + "+g" * 10**5, "g\u0661", "\uff47", "g\x00", "p1\n; x", "Total(Total(g))",
]  # fmt: skip


@contextmanager
def at_most_calls(most):
    """Stop a block that calls more than `most` functions: work is counted, because a clock also measures the neighbours."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")
        if calls > most:
            sys.setprofile(None)
            raise AssertionError(f"more than {most} calls")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(before)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:30])
def test_an_expression_of_another_kind_is_refused_with_little_work(text):
    document = rule_to_document(RULES["gd"]) | {"step": text}
    with pytest.raises(ValueError, match="must") as error, at_most_calls(20_000):
        rule_from_document(document)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def changed(**parts):
    return rule_to_document(RULES["adam"]) | parts


DOCUMENTS = {
    "a number": 3,
    "text": "-lr*g",
    "nothing": None,
    "a list": [],
    "a key is missing": {"name": "gd"},
    "a key too many": changed(run="import os"),
    "another format": changed(format=2),
    "a format that is no number": changed(format=True),
    "a name that is no text": changed(name=3),
    "a name of two lines": changed(name="a\nb"),
    "an expression that is no text": changed(step=3),
    "an expression as a list": changed(step=["g"]),
    "a symbol that is not declared": changed(update=[["q", "g"]]),
    "a symbol twice": changed(update=[["m", "g"], ["m", "g"]]),
    "no pair": changed(update=[["m"]]),
    "updates as a mapping": changed(update={"m": "g"}),
    "a range that is no number": changed(hyperparameters=[["eps", {"default": "1"}]]),
    "a default that is not finite": changed(hyperparameters=[["eps", {
        "default": 10**400, "low": 0, "high": None, "low_open": False, "high_open": False, "meaning": "",
    }]]),
    "an alias that is a function": changed(symbols={"exp": {"name": "a", "assumptions": {}}}),
    "an alias that is no name": changed(symbols={"a b": {"name": "a", "assumptions": {}}}),
    "an assumption that there is not": changed(symbols={"a": {"name": "a", "assumptions": {"cls": True}}}),
    "an assumption that is no truth": changed(symbols={"a": {"name": "a", "assumptions": {"real": 1}}}),
    "a contradiction": changed(symbols={"a": {"name": "a", "assumptions": {"positive": True, "negative": True}}}),
    "not of JSON": changed(summary={1, 2}),
    "NaN": changed(default_lr=float("nan")),
}  # fmt: skip


@pytest.mark.parametrize("case", DOCUMENTS)
def test_a_document_of_another_kind_is_refused(case):
    with pytest.raises(ValueError, match=r"document of a rule must have|must differ in name") as error:
        rule_from_document(DOCUMENTS[case])
    assert "\n" not in str(error.value)


def test_text_of_another_kind_is_refused():
    for text in ("", "{", "[" * 10**5, "null", 3, "x" * 2_000_000):
        with pytest.raises(ValueError, match="document of a rule must have"):
            rule_from_text(text)
