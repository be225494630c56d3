"""The independent checker: it accepts every exported proof, and rejects proofs that were tampered with.

Each tampered proof names the check that finds it. With that check taken out, the checker accepts it, as a test shows: no other
check would have found it.
"""

import json
import runpy
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from quadsim.cli.text.verification import verification_document, verification_table
from quadsim.theory import THEOREMS, proof_checker, proof_language
from quadsim.theory.exporting import independent
from quadsim.theory.exporting.document import proof_document
from quadsim.theory.proof_checker import check_document
from quadsim.theory.proof_language import Rejected
from quadsim.theory.verifying.verification import verify_theorem


@cache
def exported(name):
    return json.dumps(proof_document(THEOREMS[name]))


QUICK = ("gd-upper", "gd-exact", "block-gd", "covariance-identity", "steepest-descent-lemma")


@pytest.mark.parametrize("name", QUICK)
def test_proofs_are_accepted(name):
    (found,) = check_document(json.loads(exported(name)))
    assert found["verdict"] == ("lemmas proved" if THEOREMS[name].derivation is None else "proved")
    assert bool(found["rests on"]) == (THEOREMS[name].derivation is not None)


def test_entries_that_a_lemma_uses_are_named():
    theorem = {
        "lemmas": [
            {"label": "a", "method": "table", "entry": "trusted", "uses": []},
            {"label": "b", "method": "z3", "uses": ["a"]},
            {"label": "c", "method": "table", "entry": "of no use here", "uses": []},
        ],
        "steps": [{"label": "d", "method": "z3", "uses": ["b"]}],
    }
    assert proof_language.rests_on(theorem) == ["trusted"]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(THEOREMS) - set(QUICK)))
def test_all_proofs_are_accepted(name):
    test_proofs_are_accepted(name)


NAMES = {
    "t": {"integer": True, "nonnegative": True},
    "x": {"positive": True},
    "y": {"real": True},
    "z": {"real": True},
    "a_i": {"real": True},
    "b_i": {"real": True},
    "b_l": {"real": True},
    "now": {"real": True},
    "later": {"real": True},
    "any_x": {"real": True},
    "any_c": {"real": True},
    "any_p": {"positive": True},
}
TABLE = {
    "largest": {
        "claim": ["<=", "any_x", ["MaxOver", "any_x"]],
        "premises": [],
        "letters": {"any_x": "any"},
        "level": 0,
    },
    "every": {
        "claim": ["<=", ["MaxOver", "any_x"], "any_c"],
        "premises": [["<=", "any_x", "any_c"]],
        "letters": {"any_x": "any", "any_c": "no index"},
        "level": 0,
    },
    "tangent": {
        "claim": ["<=", ["log", "any_p"], ["+", "any_p", -1]],
        "premises": [],
        "letters": {"any_p": "any"},
        "level": 0,
    },
    "memory": {"claim": ["<=", "y", "z"], "premises": [], "letters": {}, "level": 1},
    "kept": {"claim": ["==", "later", "now"], "premises": [], "letters": {}, "level": 0},
    "of signs": {
        "claim": ["<=", "y", "z"],
        "premises": [["or", "rule: sign", "rule: lion"]],
        "letters": {},
        "level": 0,
    },
}


def document(*steps, hypotheses=(), statement=None, **changes):
    """A document with one theorem; a step is (label, claim, uses, method) with an entry and letters where it has one."""
    written = [
        {"label": label, "claim": claim, "uses": list(uses), "method": method}
        | ({"entry": more[0], "certificate": more[1] if len(more) > 1 else {}} if more else {})
        for label, claim, uses, method, *more in steps
    ]
    words = {name: {} for name in ("rule: sign", "rule: lion", "rule: gd")}
    return {
        "format": "quadsim proof 1",
        "symbols": NAMES | words,
        "table": TABLE,
        "start": {"now": 0},
        "next": {"now": "later"},
        "constant": ["x", "y", "z"],
        "later": [],
        "theorems": [
            {
                "name": "mine",
                "statement": statement or written[-1]["claim"],
                "hypotheses": [{"label": label, "claim": claim} for label, claim in hypotheses],
                "lemmas": [],
                "steps": written,
            }
        ],
    } | changes


def with_certificate(whole, certificate):
    whole["theorems"][0]["steps"][-1]["certificate"] = certificate
    return whole


def with_premises(whole, premises):
    whole["theorems"][0]["steps"][-1]["given"] = premises
    return whole


SQUARE = ("square", [">=", ["^", "y", 2], 0], (), "z3")
LESS = (("y <= z", ["<=", "y", "z"]), ("z <= x", ["<=", "z", "x"]))
CHAIN = ("chain", ["<=", "y", "x"], ("y <= z", "z <= x"), "z3")


def test_small_documents_are_accepted():
    for good in (
        document(SQUARE),
        document(CHAIN, hypotheses=LESS),
        with_certificate(
            document(
                ("y is z", ["==", "y", "z"], ("twice",), "combination"),
                hypotheses=[("twice", ["==", ["*", 2, "y"], ["*", 2, "z"]])],
            ),
            {"twice": ["/", 1, 2]},
        ),
        document(("log", ["<=", ["log", "x"], ["+", "x", -1]], (), "table", "tangent", {"any_p": "x"})),
        document(
            ("kept", ["==", "later", "now"], (), "table", "kept"), ("all", ["==", "now", 0], ("kept",), "induction")
        ),
    ):
        assert check_document(good)[0]["verdict"] == "proved"


FOLLOWS, TABLE_CLAIM = "it does not follow", "the table has another claim"
TAMPERED = {
    "a step was changed": (lambda: document(("square", [">=", ["^", "y", 3], 0], (), "z3")), "follows"),
    "a premise was dropped": (lambda: document((*CHAIN[:2], ("y <= z",), "z3"), hypotheses=LESS), "follows"),
    "a sign was flipped": (lambda: document((CHAIN[0], [">=", "y", "x"], *CHAIN[2:]), hypotheses=LESS), "follows"),
    "a method was renamed": (lambda: document((*CHAIN[:3], "trust me"), hypotheses=LESS), FOLLOWS),
    "a hypothesis was removed": (lambda: document(CHAIN, hypotheses=LESS[:1]), "unknown"),
    "a step uses a later one": (
        lambda: document(
            ("first", ["<=", "y", "x"], ("second",), "z3"), ("second", ["<=", "y", "x"], ("first",), "z3")
        ),
        "unknown",
    ),
    "the statement is not the last step": (
        lambda: document(SQUARE, statement=[">=", "y", 0]),
        "the last step is not the statement",
    ),
    "a certificate was changed": (
        lambda: document(("max", ["<=", "a_i", ["MaxOver", "a_i"]], (), "table", "largest", {"any_x": "b_i"})),
        TABLE_CLAIM,
    ),
    "a citation was instantiated wrongly": (
        lambda: document(("log", ["<=", ["log", "y"], ["+", "y", -1]], (), "table", "tangent", {"any_p": "y"})),
        "may not stand for",
    ),
    "a bound for every index has one": (
        lambda: document(
            ("max", ["<=", ["MaxOver", "a_i"], "b_i"], ("each",), "table", "every", {"any_x": "a_i", "any_c": "b_i"}),
            hypotheses=[("each", ["<=", "a_i", "b_i"])],
        ),
        "may not stand for",
    ),
    "a letter is left out": (
        lambda: document(("max", ["<=", "any_x", ["MaxOver", "any_x"]], (), "table", "largest")),
        "its letters are others",
    ),
    "sums over coordinates and blocks": (
        lambda: document(
            ("sum", ["<=", ["SumOver", "a_i"], ["SumOver", "b_l"]], ("each",), "sum"),
            hypotheses=[("each", ["<=", "a_i", "b_l"])],
        ),
        "its sides are summed over different indices",
    ),
    "another sum": (
        lambda: document(
            ("sum", ["<=", ["SumOver", "b_i"], ["SumOver", "a_i"]], ("each",), "sum"),
            hypotheses=[("each", ["<=", "a_i", "b_i"])],
        ),
        "follows",
    ),
    "a float for an integer": (lambda: document(("square", [">=", ["^", "y", 2.0], 0], (), "z3")), "a number must be"),
    "a division by 0": (lambda: document(("one", ["==", ["^", "z", -1], ["^", "z", -1]], (), "identity")), "domain"),
    "premises that contradict each other": (
        lambda: document(
            ("any", ["<=", "y", "z"], ("a", "b"), "z3"), hypotheses=[("a", ["<", "x", 1]), ("b", [">", "x", 2])]
        ),
        "contradicts itself",
    ),
    "the statement is assumed": (
        lambda: document(("mine", ["<=", "y", "z"], (), "assume")),
        "the statement holds at some steps only",
    ),
    "it holds before t alone": (
        lambda: document(("mine", ["<=", "y", "z"], (), "table", "memory")),
        "the statement holds at some steps only",
    ),
    "a rule of another theorem": (
        lambda: document(
            ("mine", ["<=", "y", "z"], ("setting",), "table", "of signs"), hypotheses=[("setting", ["or", "rule: gd"])]
        ),
        "is not known",
    ),
    "an induction without its step": (
        lambda: document(("all", ["==", "now", 0], (), "induction")),
        "a step does not follow from the last",
    ),
    "an induction over what is not known a step later": (
        lambda: document(("all", [">=", ["^", "a_i", 2], 0], (), "induction")),
        "it is not known what",
    ),
    "a label that is taken": (lambda: document(SQUARE, SQUARE), "label of another"),
    "a step at another step": (
        lambda: document(("next", ["<=", "now", "x"], ("now",), "next"), hypotheses=[("now", ["<=", "now", "x"])]),
        "it is not what it uses at that step",
    ),
    "another combination": (
        lambda: with_certificate(
            document(
                ("y is z", ["==", "y", "z"], ("twice",), "combination"),
                hypotheses=[("twice", ["==", ["*", 2, "y"], ["*", 2, "z"]])],
            ),
            {"twice": ["/", 1, 3]},
        ),
        "it is no such combination",
    ),
    "a combination that is not defined": (
        lambda: with_certificate(document(("one", ["==", ["^", "z", -1], ["^", "z", -1]], (), "combination")), {}),
        "it is no such combination",
    ),
    "a factor that is not defined": (
        lambda: with_certificate(
            document(("1 is 0", ["==", 1, 0], ("zero",), "combination"), hypotheses=[("zero", ["==", "z", 0])]),
            {"zero": ["^", "z", -1]},
        ),
        "it is no such combination",
    ),
    "a combination of what differs": (
        lambda: with_certificate(
            document(("below", ["<=", "y", "z"], ("other",), "combination"), hypotheses=[("other", ["!=", "y", "z"])]),
            {"other": 1},
        ),
        "it is no such combination",
    ),
    "a step with premises of its own": (
        lambda: with_premises(document(("mine", ["<=", "y", "z"], (), "z3")), [["<=", "y", "z"]]),
        "the statement holds at some steps only",
    ),
}
"""What was done to a proof, to the document and to the check that finds it: words of its message, or a key of REMOVED."""


class Lenient(dict):
    """Known claims, of which a missing one is whatever is asked for."""

    def __init__(self, known, claim):
        super().__init__(known)
        self.claim = claim

    def __contains__(self, label):
        return True

    def __missing__(self, label):
        return self.claim, 0, frozenset()


def lenient_step(self, step, known, own=proof_checker._File.step):
    return own(self, step, Lenient(known, self.read(step["claim"])))


REMOVED = {
    "follows": ("_follows", lambda *_: True),
    "unknown": ("_File.step", lenient_step),
    "domain": ("domain", lambda _: []),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_tampered_proofs_are_rejected(what, monkeypatch):
    make, check = TAMPERED[what]
    with pytest.raises(Rejected):
        check_document(make())
    if check in REMOVED:
        name, lenient = REMOVED[check]
        monkeypatch.setattr(f"quadsim.theory.proof_checker.{name}", lenient)
    else:
        own = proof_language.require
        for module in (proof_checker, proof_language):
            monkeypatch.setattr(module, "require", lambda holds, why, *kind: own(holds or check in why, why, *kind))
    assert check_document(make())  # no other check finds it


def change_everywhere(whole, old, new):
    return json.loads(json.dumps(whole).replace(json.dumps(old), json.dumps(new)))


@pytest.mark.parametrize(
    ("what", "old", "new"),
    [
        ("a definition, in the table and in the proof", ["<=", "mu", "lambda_i"], ["<=", "lambda_i", "mu"]),
        ("the step of the rule", "rule gd", "rule of gd"),
        ("the statement and the last step", "==", "<="),
        ("the name of a method", "sum", "identity"),
        ("an assumption on a symbol", {"positive": True}, {"real": True}),
    ],
)
def test_a_tampered_export_is_rejected(what, old, new):
    whole = change_everywhere(json.loads(exported("gd-upper")), old, new)
    assert json.dumps(whole) != exported("gd-upper")
    if what == "the step of the rule":
        whole["table"]["rule gd"] = whole["table"].pop("rule of gd") | {"claim": ["==", "e_next_i", "e_i"]}
    with pytest.raises((Rejected, ValueError)):
        check_document(whole)


def test_verify_asks_the_checker(monkeypatch):
    """A theorem whose exported proof it rejects is unproved, with its reason among the complaints."""
    theorem = THEOREMS["gd-upper"]
    assert verify_theorem(theorem, problems=2, search=0).objection == ""
    own = independent.proof_document
    monkeypatch.setattr(
        independent,
        "proof_document",
        lambda *a, **k: change_everywhere(own(*a, **k), ["<=", "mu", "lambda_i"], ["<=", "lambda_i", "mu"]),
    )
    report = verify_theorem(theorem, problems=2, search=0)
    assert report.verdict == "unproved"
    assert report.complaints[0].startswith("gd-upper: the checker rejects the proof: gd-upper, step 'worse end'")


def no_document(*_, **__):
    raise ValueError("the format has no cosine")


@pytest.mark.parametrize(
    ("where", "value", "reason"),
    [
        ("exporting.independent.proof_document", no_document, "the format has no cosine"),
        ("proof_language._LIMIT", 1, "Z3 does not decide it within its limit"),
    ],
)
def test_what_cannot_be_checked_is_named(where, value, reason, monkeypatch):
    """A limit of the checker is no objection: the theorem stays proved, and its row, the count and the page name the limit."""
    monkeypatch.setattr(f"quadsim.theory.{where}", value)
    independent._checked.cache_clear()
    report = verify_theorem(THEOREMS["gd-upper"], problems=2, search=0)
    independent._checked.cache_clear()
    assert (report.verdict, report.objection) == ("proved", "")
    assert reason in report.unchecked
    table = verification_table([report], [])
    assert "proved, not checked independently" in table.replace("\n", " ")
    assert "1 of 1 theorems: not checked independently" in table
    assert f"not checked independently: {report.unchecked}" in table
    (record,) = verification_document([report], [])["theorems"]
    assert reason in record["not_checked_independently"]


def test_the_checker_stands_alone():
    """Two files of under 150 lines each import SymPy, Z3 and each other, nothing else of this package."""
    imported = set()
    for module in (proof_checker, proof_language):
        lines = Path(module.__file__).read_text(encoding="utf-8").splitlines()
        assert len(lines) < 150
        imported |= {line.split()[1] for line in lines if line.startswith(("import ", "from "))}
    outside = {"sympy", "z3", "quadsim.theory.proof_language"}
    assert {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names} == outside


def test_it_runs_as_a_command(tmp_path):
    path = tmp_path / "proof.json"
    path.write_text(json.dumps(document(SQUARE)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, proof_checker.__file__, str(path)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert json.loads(done.stdout) == [{"theorem": "mine", "verdict": "proved", "rests on": []}]


FORM = "no exported proof: "
FILES = {
    "missing": (None, 2, FORM + "[Errno 2]"),
    "empty": (b"", 2, FORM + "Expecting value"),
    "no text": (b"\xff\xfe{}", 2, FORM + "'utf-8' codec"),
    "no JSON": (b"\\begin{theorem}", 2, FORM + "Expecting value"),
    "deep": (b"[" * 100_000, 2, FORM),
    "a list": ([document(SQUARE)], 2, FORM + "it must be an object with the format 'quadsim proof 1', got "),
    "a number": (7, 2, FORM + "it must be an object with the format 'quadsim proof 1', got '7'"),
    "another format": ({"format": "quadsim proof 0"}, 2, FORM + "it must be an object with the format"),
    "nothing else": ({"format": "quadsim proof 1"}, 2, FORM + "it is not of the form that docs/export.md describes"),
    "theorems in words": (document(SQUARE, theorems=["Pythagoras"]), 2, FORM + "it is not of the form"),
    "contradictory assumptions": (
        document(SQUARE, symbols=NAMES | {"y": {"positive": True, "negative": True}}),
        2,
        FORM + "it is not of the form",
    ),
    "an empty operation": (document(("any", [">=", [], 0], (), "z3")), 2, FORM + "it is not of the form"),
    "an unknown operation": (document(("any", [">=", ["cos", 1], 0], (), "z3")), 2, FORM + "it is not of the form"),
    "too few operands": (document(("any", ["<="], (), "z3")), 2, FORM + "it is not of the form"),
    "a number for a relation": (document(("any", "y", (), "z3")), 2, FORM + "it is not of the form"),
    "nothing to sum": (document(("any", ["<=", "y", "z"], (), "next")), 2, FORM + "it is not of the form"),
    "a relation as a number": (
        document(("any", ["<=", ["*", ["true"], "y"], 0], (), "z3")),
        1,
        "rejected: mine, step 'any': * is for numbers, got [True, y]",
    ),
    "a false step": (document(CHAIN, hypotheses=LESS[1:]), 1, "rejected: mine, step 'chain': it uses a label of no "),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_is_no_proof_ends_in_one_line(what, tmp_path, monkeypatch, capsys):
    content, code, message = FILES[what]
    path = tmp_path / "proof.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    monkeypatch.setattr(sys, "argv", ["proof_checker", str(path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(proof_checker.__file__, run_name="__main__")
    out, err = capsys.readouterr()
    assert (ended.value.code, out, err.count("\n")) == (code, "", 1)
    assert err.startswith(f"{path}: {message}")
