"""CLAIMS: every claim by id, in reading order."""

from quadsim.theory.claims.bounds import BOUNDS
from quadsim.theory.claims.claim import Claim

__all__ = ["CLAIMS"]

CLAIMS: dict[str, Claim] = {claim.id: claim for claim in (*BOUNDS,)}
