"""Have a second checker, which knows nothing of this package, check every proof that is exported."""

import json
from functools import lru_cache
from typing import NamedTuple

from quadsim.theory.exporting.document import proof_document
from quadsim.theory.proof_checker import check_document
from quadsim.theory.proof_language import Rejected, Undecided
from quadsim.theory.statements.derived.graph import Derived
from quadsim.theory.statements.proving import Discharge, Step
from quadsim.theory.statements.theorem import Theorem

__all__ = ["Answer", "answer_to"]


class Answer(NamedTuple):
    """What the independent checker says of a proof, which it accepts if both are empty.

    Attributes:
        objection: why it rejects the proof.
        unchecked: why it did not check it: the format does not have what the proof is about, or Z3 reached its limit.
    """

    objection: str = ""
    unchecked: str = ""


def answer_to(theorem: Theorem, lemmas: tuple[tuple[Step, Discharge], ...], derived: Derived | None) -> Answer:
    """Return what the independent checker says of the exported proof of a theorem.

    It is asked about complete proofs only: of others the verdict is "unproved" anyway.

    Args:
        theorem: the theorem.
        lemmas: its lemmas, each with the result of its check.
        derived: its derivation; None if it has none.
    """
    complete = all(found.status in ("proved", "cited") for _, found in lemmas) and (derived is None or derived.holds)
    if not complete or not lemmas:
        return Answer()
    try:
        document = json.dumps(proof_document(theorem, proved=(lemmas, derived)))
    except ValueError as error:
        return Answer(unchecked=str(error))
    wanted = "lemmas proved" if derived is None else "proved"
    found, answer = _checked(document)
    return Answer(f"it finds {found}, not {wanted}") if found not in ("", wanted) else answer


@lru_cache(maxsize=256)
def _checked(document: str) -> tuple[str, Answer]:
    """Return the verdict of the checker on a document of one theorem, "" if it has none, and its answer."""
    try:
        (found,) = check_document(json.loads(document))
    except Undecided as why:
        return "", Answer(unchecked=str(why))
    except (Rejected, ValueError) as why:
        return "", Answer(objection=str(why))
    return str(found["verdict"]), Answer()
