"""CLAIMS: every claim by id, in reading order."""

from quadsim.theory.claims.gradients.head import HEAD_GROWTH
from quadsim.theory.claims.gradients.norms import GRADIENTS
from quadsim.theory.claims.gradients.placement import PLACEMENT
from quadsim.theory.claims.gradients.steps import STEPS
from quadsim.theory.claims.judging import Claim
from quadsim.theory.claims.networks.architectures import ARCHITECTURES
from quadsim.theory.claims.networks.batches import BATCHES
from quadsim.theory.claims.networks.blocks import BLOCKS
from quadsim.theory.claims.networks.delta import DELTA
from quadsim.theory.claims.networks.finetuning import FINETUNING
from quadsim.theory.claims.networks.head_rows import HEAD_ROWS
from quadsim.theory.claims.networks.hessians import HESSIANS
from quadsim.theory.claims.networks.heterogeneity.mixer import MIXER
from quadsim.theory.claims.networks.heterogeneity.models import MODELS
from quadsim.theory.claims.networks.heterogeneity.prediction import PREDICTION
from quadsim.theory.claims.networks.pretraining import PRETRAINING
from quadsim.theory.claims.networks.scaled import SCALED
from quadsim.theory.claims.networks.schedules import SCHEDULES
from quadsim.theory.claims.quadratics.adam import ADAM_QUADRATICS
from quadsim.theory.claims.quadratics.alignment import ALIGNMENT
from quadsim.theory.claims.quadratics.blockwise import BLOCKWISE
from quadsim.theory.claims.quadratics.cases import QUADRATICS
from quadsim.theory.claims.quadratics.coupling import COUPLED
from quadsim.theory.claims.quadratics.limits import LIMITS
from quadsim.theory.claims.quadratics.rotation import ROTATION
from quadsim.theory.claims.theorems.bounds import BOUNDS

__all__ = ["CLAIMS"]

CLAIMS: dict[str, Claim] = {
    claim.id: claim
    for claim in (
        *BOUNDS,
        *QUADRATICS,
        *ALIGNMENT,
        *ROTATION,
        *ADAM_QUADRATICS,
        *BLOCKWISE,
        *COUPLED,
        *LIMITS,
        *BLOCKS,
        *DELTA,
        *HEAD_ROWS,
        *HESSIANS,
        *MODELS,
        *PREDICTION,
        *MIXER,
        *SCALED,
        *ARCHITECTURES,
        *PRETRAINING,
        *GRADIENTS,
        *PLACEMENT,
        *HEAD_GROWTH,
        *STEPS,
        *FINETUNING,
        *SCHEDULES,
        *BATCHES,
    )
}
"""All claims by id. A module with claims has a tuple of them, named here once; one more claim is one record in its module."""
