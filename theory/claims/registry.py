"""CLAIMS: every claim by id, in reading order."""

from quadsim.theory.claims.adam_quadratics import ADAM_QUADRATICS
from quadsim.theory.claims.adaptive_gap import ADAPTIVE_GAP
from quadsim.theory.claims.bounds import BOUNDS
from quadsim.theory.claims.claim import Claim
from quadsim.theory.claims.finetuning import FINETUNING
from quadsim.theory.claims.gradients import GRADIENTS
from quadsim.theory.claims.hessians import HESSIANS
from quadsim.theory.claims.pretraining import PRETRAINING
from quadsim.theory.claims.quadratics import QUADRATICS
from quadsim.theory.claims.steps import STEPS

__all__ = ["CLAIMS"]

CLAIMS: dict[str, Claim] = {
    claim.id: claim
    for claim in (
        *BOUNDS,
        *QUADRATICS,
        *ADAM_QUADRATICS,
        *HESSIANS,
        *ADAPTIVE_GAP,
        *PRETRAINING,
        *GRADIENTS,
        *STEPS,
        *FINETUNING,
    )
}
"""All claims by id."""
