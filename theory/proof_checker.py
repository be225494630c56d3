"""Check exported proofs without quadsim, on SymPy and Z3 alone: `python -m quadsim.theory.proof_checker proofs.json`.

docs/export.md has the schema. Each step is proved again from what it uses, or is an entry of a table taken on trust.
"""

import argparse
import json
from functools import partial, reduce
from pathlib import Path
from typing import Any

import sympy as sp
from z3 import Z3Exception

from quadsim.theory.proof_language import WORDS, Rejected, Sum, Undecided, domain, indices, read, require, signs, unsat
from quadsim.theory.proof_language import rests_on as entries_of


def _follows(claim: Any, premises: Any, identity: bool = False) -> bool:
    """Whether SymPy, or Z3 but for an identity, proves a claim, which must be defined; names of premises are put in.

    A premise that is not defined counts as false. Letters that do not commute are for SymPy alone.
    """
    if isinstance(claim, sp.And) or claim == sp.true:
        return all(_follows(part, premises, identity) for part in claim.args)
    parts = [part for x in premises for part in sp.And.make_args(x)]
    named = {x.lhs: x.rhs for x in parts if isinstance(x, sp.Eq) and not x.rhs.has(x.lhs)}
    names = {x: value for x, value in named.items() if x.is_Symbol}
    names = {x: reduce(lambda y, _: y.xreplace(names), names, value) for x, value in names.items()}
    called = {x.xreplace(names): y.xreplace(names) for x, y in named.items() if x.is_Mul and not x.has(Sum)}
    rest = sp.expand((claim.lhs - claim.rhs).xreplace(names)).subs(called) if isinstance(claim, sp.Eq) else sp.S.One
    ways = (sp.expand, lambda x: sp.expand(sp.together(x)), lambda x: sp.simplify(sp.powsimp(sp.expand(x))))
    same, needed = any(way(rest) == 0 for way in ways), domain(claim)
    if not all(s.is_commutative for s in claim.free_symbols):
        return same and all(x.lhs.assumptions0.get("invertible") for x in needed)
    known = [y for x in parts if all(s.is_commutative for s in x.free_symbols) for y in (x, *domain(x))]
    require(not unsat(known), "what it uses contradicts itself")
    facts = [*known, sp.Not(claim)]
    more = [*facts, *(x.xreplace(names) for x in facts)]
    proved = same if same or identity else unsat(facts) or unsat(more)
    require(proved is not None, "Z3 does not decide it within its limit", Undecided)
    return bool(proved) and all(_follows(x, premises) for x in needed)


class _File:
    def __init__(self, document: Any) -> None:
        names = {name: sp.Symbol(name, **(how or {"real": True})) for name, how in document["symbols"].items()}
        words = {name: sp.Ne(names[name], 0) for name, how in document["symbols"].items() if not how}
        self.table, self.read, self.t = document["table"], partial(read, letters=names | words), names["t"]
        self.to = {k: {names[x]: self.read(y) for x, y in document[k].items()} for k in ("start", "next")}
        self.to["before"] = {self.t: self.t - 1}
        self.constant, self.later = ({names[x] for x in document[key]} for key in ("constant", "later"))

    def at_step(self, claim: Any, to: Any) -> Any:
        changing = claim.free_symbols - self.constant
        require(changing <= to.keys(), f"it is not known what {changing - to.keys()} is at that step")
        require(not changing & self.later or changing <= self.later, "its quantities count from different steps")
        return claim.xreplace(to)

    def instance(self, entry: Any, certificate: Any, used: Any) -> Any:
        """Return the claim of an entry of the table with values for its letters; its premises must be known."""
        require(certificate.keys() == entry["letters"].keys(), "its letters are others")
        values = {self.read(name): self.read(value) for name, value in certificate.items()}
        for letter, value in values.items():
            allowed = {"any": True, "no index": not indices(value), "constant": value.free_symbols <= self.constant}
            fits = allowed[entry["letters"][letter.name]] and (value.is_integer or not letter.is_integer)
            fits = fits and all(_follows(x, used) for x in (*signs(letter, value), *domain(value)))
            require(fits and value.is_commutative, f"{value} may not stand for {letter}")
        for premise in (self.read(x).xreplace(values) for x in entry["premises"]):
            require(premise in used or _follows(premise, used), f"{premise} is not known")
        return self.read(entry["claim"]).xreplace(values)

    def step(self, step: Any, known: Any) -> tuple[Any, int, frozenset[Any]]:
        """Return the claim of a step, its level (1: it holds before t, 2: before t - 1) and what it assumes."""
        claim, method, given = self.read(step["claim"]), step["method"], [*map(self.read, step.get("given", ()))]
        require(all(x in known for x in step["uses"]), "it uses a label of no earlier step")
        uses, levels, assumed = zip(*(known[x] for x in step["uses"]), strict=True) if step["uses"] else ((), (), ())
        level, on = max(levels, default=0), frozenset(given).union(*assumed)
        used, over = [*uses, *given], {"sum": WORDS["SumOver"], "sum in a block": WORDS["SumIn"]}.get(method)
        if method == "table":
            entry = self.table[step["entry"]]
            require(claim == self.instance(entry, step["certificate"], used), "the table has another claim")
            level = max(level, int(entry["level"]))
        elif method == "assume":
            on |= {claim}
        elif method == "induction":
            first, then = claim.xreplace(self.to["start"]), self.at_step(claim, self.to["next"])
            always = [known[x][0] for x in step["uses"] if not any(known[x][1:])]
            require(_follows(first, always) and _follows(then, [claim, *uses]), "a step does not follow from the last")
            level, on = max(level - 1, 0), on - {claim}
        elif method in self.to:
            require(claim == self.at_step(uses[0], self.to[method]) and not on, "it is not what it uses at that step")
            later = WORDS["<="](1, self.t) in uses and level <= 1
            require(method == "next" or later or (method == "start" and not level), "it needs t >= 1")
            level = level + (level > 0) if method == "next" else 0
        elif method == "combination" or over:
            parts = [(known[x][0], self.read(m)) for x, m in step.get("certificate", {}).items() if x in step["uses"]]
            parts = [(x.func(*map(over, x.args), evaluate=False), sp.S.One) for x in uses[:1]] if over else parts
            kinds = {indices(y.args[0])[:1] for x, _ in parts if over for y in x.atoms(Sum)}
            require(len(kinds) <= 1 and "" not in kinds, "its sides are summed over different indices")
            fits = all(x.func == sp.Eq or (x.func == claim.func == sp.Le and m.is_positive) for x, m in parts)
            needed = [y for x in (claim, *(m for _, m in parts)) for y in domain(x)]
            above = [(x.rhs - x.lhs if x.func == sp.Le else x.lhs - x.rhs) * m for x, m in [(claim, -1), *parts]]
            rest = sp.Eq(sp.Add(*above), 0, evaluate=False)
            fits = fits and claim.func in (sp.Eq, sp.Le) and _follows(rest, used, True)
            require(fits and all(_follows(x, used) for x in needed), "it is no such combination")
        else:
            require(method in ("identity", "z3") and _follows(claim, used, method == "identity"), "it does not follow")
        return claim, level, on

    def check(self, theorem: Any) -> dict[str, Any]:
        known = {h["label"]: (self.read(h["claim"]), 0, frozenset[Any]()) for h in theorem["hypotheses"]}
        for step in (*theorem["lemmas"], *theorem["steps"]):
            require(step["label"] not in known, f"{step['label']} is the label of another step")
            try:
                known[step["label"]] = self.step(step, known)
            except Rejected as why:
                raise type(why)(f"{theorem['name']}, step {step['label']!r}: {why}") from why
        for step in theorem["steps"][-1:]:
            require(known[step["label"]][0] == self.read(theorem["statement"]), "the last step is not the statement")
            require(not any(known[step["label"]][1:]), "the statement holds at some steps only")
        verdict = "proved" if theorem["steps"] else "lemmas proved"
        return {"theorem": theorem["name"], "verdict": verdict, "rests on": entries_of(theorem)}


def check_document(document: Any) -> list[dict[str, Any]]:
    """Check the theorems of a document, and return of each its verdict and the entries of the table on which it rests.

    Raises:
        Rejected: a step does not follow (Undecided, a kind of it: Z3 reaches its limit).
        ValueError: the document has another form.
    """
    if (form := document.get("format") if isinstance(document, dict) else document) != "quadsim proof 1":
        raise ValueError(f"it must be an object with the format 'quadsim proof 1', got {str(form)[:40]!r}")
    try:
        return [_File(document).check(theorem) for theorem in document["theorems"]]
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError, Z3Exception) as error:
        raise ValueError(f"it is not of the form that docs/export.md describes: {error!r}") from error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Exit code 1: a proof is rejected; 2: a file cannot be checked.")
    parser.add_argument("files", nargs="+", help="proofs, as quadsim theorems NAME --format json writes them")
    for path in parser.parse_args().files:
        try:
            print(json.dumps(check_document(json.loads(Path(path).read_text(encoding="utf-8"))), indent=2))
        except (OSError, RecursionError, ValueError, Rejected) as why:
            code, what = (1, "rejected") if isinstance(why, Rejected) else (2, "no exported proof")
            parser.exit(code, f"{path}: {what}: {why}\n")
