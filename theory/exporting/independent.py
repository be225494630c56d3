"""Have a second checker, which knows nothing of this package, check every proof that is exported."""

import json
from functools import lru_cache

from quadsim.theory.exporting.document import proof_document
from quadsim.theory.proof_checker import Rejected, check_document
from quadsim.theory.statements.derived.graph import Derived
from quadsim.theory.statements.proving import Discharge, Step
from quadsim.theory.statements.theorem import Theorem

__all__ = ["objection_to"]


def objection_to(theorem: Theorem, lemmas: tuple[tuple[Step, Discharge], ...], derived: Derived | None) -> str:
    """Return why the independent checker rejects the exported proof of a theorem; "" if it accepts it.

    It is asked about complete proofs only: of others the verdict is "unproved" anyway.

    Args:
        theorem: the theorem.
        lemmas: its lemmas, each with the result of its check.
        derived: its derivation; None if it has none.
    """
    complete = all(found.status in ("proved", "cited") for _, found in lemmas) and (derived is None or derived.holds)
    if not complete or not lemmas:
        return ""
    wanted = "lemmas proved" if derived is None else "proved"
    found, why = _checked(json.dumps(proof_document(theorem, proved=(lemmas, derived))))
    return why if why or found == wanted else f"it finds {found}, not {wanted}"


@lru_cache(maxsize=256)
def _checked(document: str) -> tuple[str, str]:
    """Return the verdict of the checker on a document of one theorem, or why it rejects it."""
    try:
        (found,) = check_document(json.loads(document))
    except Rejected as why:
        return "", str(why)
    return str(found["verdict"]), ""
