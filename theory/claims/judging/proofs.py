"""Proved: a statement about every problem that is proved, or refuted by one counter-example; it never counts as a condition."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quadsim.theory.statements.registry import THEOREMS
from quadsim.theory.verifying.verification import verify_theorem

__all__ = ["Proved", "identity", "proofs_verdict", "tried"]


@dataclass(frozen=True)
class Proved:
    """A statement about every problem of a kind, and what decides it.

    Attributes:
        statement: the name of a theorem, or an identity in words.
        state: `proved`, `counter-example`, or `open` (a step of the proof, or an instance, is undecided).
        detail: what was proved and tried, or the counter-example.
    """

    statement: str
    state: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return dict(vars(self))

    def __str__(self) -> str:
        return f"{self.statement}: {self.state} ({self.detail})"


def tried(theorem: str, problems: int, seed: int) -> Proved:
    """Prove a theorem from its rules and hold it against random problems, in floats and in rationals.

    Args:
        theorem: its name in THEOREMS.
        problems: number of random problems.
        seed: of the problems.
    """
    report = verify_theorem(THEOREMS[theorem], problems=problems, seed=seed, search=0)
    left = len(report.steps) - report.proved - report.cited
    refuted, undecided = report.verdicts["refuted"], report.verdicts["undecided"]
    state = "counter-example" if refuted else "open" if left or undecided else "proved"
    detail = (
        f"{report.proved} steps proved, {report.cited} cited, {left} open; {report.instances} instances, "
        f"{report.verdicts['verified']} of them verified in exact arithmetic, {refuted} against it, {undecided} undecided"
    )
    return Proved(theorem, state, detail)


def identity(statement: str, violations: int, tried_on: int) -> Proved:
    """Return a statement that holds by construction, checked to the bit on runs: one violation is a counter-example.

    Args:
        statement: in words.
        violations: number of runs that contradict it.
        tried_on: number of runs.
    """
    return Proved(
        statement, "counter-example" if violations else "proved", f"{violations} of {tried_on} runs contradict it"
    )


def proofs_verdict(proofs: Sequence[Proved]) -> str:
    """Return `counter-example` if there is one, `proved` if all are, else `inconclusive`."""
    states = {proof.state for proof in proofs}
    return "counter-example" if "counter-example" in states else "proved" if states == {"proved"} else "inconclusive"
