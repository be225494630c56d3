"""The papers' claims as runnable experiments: each with a criterion fixed beforehand, and a verdict."""

from quadsim.theory.claims.claim import SIZES, VERDICTS, Claim, Condition, Found, Judgement, Measured, Setting
from quadsim.theory.claims.registry import CLAIMS
from quadsim.theory.claims.running import Outcome, load_claims, reproduce

__all__ = [
    "CLAIMS",
    "SIZES",
    "VERDICTS",
    "Claim",
    "Condition",
    "Found",
    "Judgement",
    "Measured",
    "Outcome",
    "Setting",
    "load_claims",
    "reproduce",
]
