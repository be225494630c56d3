"""THEOREMS: every statement by name."""

from dataclasses import replace

from quadsim.theory.statements.adam import ADAM
from quadsim.theory.statements.adam_cycle import CYCLE
from quadsim.theory.statements.as_run.invariance import INVARIANCE
from quadsim.theory.statements.as_run.preconditioned.theorems import ADAM_AS_RUN
from quadsim.theory.statements.as_run.signs.theorems import SIGN_AS_RUN
from quadsim.theory.statements.covariance import HETEROGENEITY
from quadsim.theory.statements.derived.from_state_proof import from_state
from quadsim.theory.statements.derived.preconditioned_proofs import PRECONDITIONED_DERIVATIONS
from quadsim.theory.statements.derived.proofs import DERIVATIONS
from quadsim.theory.statements.derived.sign_proofs.derivations import SIGN_DERIVATIONS
from quadsim.theory.statements.descent import DESCENT
from quadsim.theory.statements.head import HEAD
from quadsim.theory.statements.sign import SIGN
from quadsim.theory.statements.theorem import Theorem

__all__ = ["THEOREMS"]

_ALL = (*DESCENT, *ADAM, *CYCLE, *SIGN, *SIGN_AS_RUN, *ADAM_AS_RUN, *INVARIANCE, *HETEROGENEITY, *HEAD)
_DERIVED = {**DERIVATIONS, **SIGN_DERIVATIONS, **PRECONDITIONED_DERIVATIONS, "adam-from-state": from_state}

THEOREMS: dict[str, Theorem] = {
    # A derived statement is written from its parts; where there is no derivation, its words are all that a reader has.
    t.name: replace(t, derivation=_DERIVED[t.name], statement="") if t.name in _DERIVED else t
    for t in _ALL
}
"""The theorems of this project by name, in reading order."""
