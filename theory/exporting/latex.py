"""Theorems with their proofs in LaTeX and Markdown: a theorem environment and a proof environment, for amsmath and amsthm."""

from typing import Any

import sympy as sp

from quadsim.theory.exporting.sources import papers_of
from quadsim.theory.statements.derived.graph import derive
from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.statements.wording import formula

__all__ = ["latex_document", "latex_theorem", "markdown_theorem"]

_SPECIAL = {
    **{c: f"\\{c}" for c in "_%&#${}"},
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
_HOW = {
    "": "by algebra",
    "definition": "by definition",
    "rule": "the step of the rule",
    "sum": "summed over the index",
    "sum in a block": "summed over the block",
    "extreme": "an extreme over the index",
    "every": "for every index",
    "part": "a part of a sum",
    "linear": r"by linearity of \(H\)",
    "quadratic": r"the quadratic form of \(H\) along a step",
    "vertices": "a convex form is largest at the vertices of a box",
    "modes": "in an eigenbasis",
    "transposed": "transposed",
    "form": "a quadratic form in two variables with non-negative entries and determinant",
    "induction": r"by induction on \(t\)",
    "start": r"at step 0",
    "next": "a step later",
    "last": "at the step before",
    "assume": "assumed at this step, for the induction",
}
_PREAMBLE = r"""\documentclass{article}
\usepackage{amsmath,amssymb,amsthm}
\newtheorem{theorem}{Theorem}
\begin{document}
"""


def text_in_latex(text: str) -> str:
    """Return words in which every character that LaTeX treats as an instruction is marked."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def latex_document(*theorems: Theorem) -> str:
    """Return a whole document that holds theorems, as `latex_theorem` writes them."""
    return _PREAMBLE + "\n\n".join(map(latex_theorem, theorems)) + "\n\\end{document}\n"


def latex_theorem(theorem: Theorem) -> str:
    """Return a theorem and its proof in LaTeX: its hypotheses, its statement, and the labelled steps with what they use.

    Args:
        theorem: the theorem. Without a derivation its proof is the list of its lemmas.
    """
    name = text_in_latex(theorem.name)
    cites = "".join(rf"~\cite{{{paper.key}}}" for paper in papers_of(theorem))
    lines = [rf"\begin{{theorem}}[{name}]\label{{thm:{theorem.name}}}"]
    lines.append(rf"For {text_in_latex(', '.join(theorem.rules) or 'any rule')}{cites}.")
    assumed = [_hypothesis(h.text, h.relation) for h in theorem.conditions]
    lines += [f"Assume {'; '.join(assumed)}. Then"] if assumed else ["It holds that"]
    lines += [r"\[", rf"  {formula(theorem.relation)}.", r"\]"]
    lines += [rf"  \({formula(symbol)}\): {text_in_latex(meaning)}." for symbol, meaning in theorem.symbols.items()]
    lines += [r"\end{theorem}", r"\begin{proof}", *_proof(theorem), r"\end{proof}"]
    return "\n".join(lines)


def _hypothesis(text: str, relation: Any) -> str:
    return text_in_latex(text) if relation is None else rf"\({formula(relation)}\)"


def _proof(theorem: Theorem) -> list[str]:
    derived = derive(theorem)
    if derived is None:
        steps, head = theorem.proof, "Each of these lemmas is proved by machine; the statement is put together by hand."
    else:
        steps, head = tuple(dict(derived.steps)), "Each step follows from those that it names."
    numbers = {step.label: number for number, step in enumerate(steps, 1) if step.label}
    lines = [head, r"\begin{enumerate}"]
    lines += [rf"  \item {_step(step, numbers)}" for step in steps]
    return [*lines, r"\end{enumerate}"]


def _step(step: Step, numbers: dict[str, int]) -> str:
    if step.is_cited:
        return f"{text_in_latex(step.claim)} ({text_in_latex(step.because)})."
    uses = ", ".join(f"({numbers[u]})" if u in numbers else f"``{text_in_latex(u)}''" for u in step.uses)
    given = ", ".join(rf"\({formula(x)}\)" for x in step.given if isinstance(x, sp.Basic))
    how = _HOW.get(step.by, text_in_latex(step.by))
    basis = f", from {uses}" if uses else f", given {given}" if given else ""
    because = "" if step.because in (step.label, "by definition") else f" {text_in_latex(step.because)}:"
    return rf"{because.strip()} \({formula(step.claim)}\) ({how}{basis})."


def markdown_theorem(theorem: Theorem) -> str:
    """Return a theorem and its proof in Markdown with formulas between dollar signs."""
    lines = [f"## {theorem.name}", "", f"For {', '.join(theorem.rules) or 'any rule'}. Source: {theorem.source}", ""]
    lines += [f"- Assume {h.text if h.relation is None else f'${formula(h.relation)}$'}" for h in theorem.conditions]
    lines += ["", f"$$\n{formula(theorem.relation)}\n$$", ""]
    lines += [f"- ${formula(symbol)}$: {meaning}" for symbol, meaning in theorem.symbols.items()]
    lines += ["", "Proof.", ""]
    for line in _proof(theorem)[2:-1]:
        lines.append("1. " + line.removeprefix(r"  \item ").strip().replace(r"\(", "$").replace(r"\)", "$"))
    return "\n".join(lines) + "\n"
