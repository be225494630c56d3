"""Claims of the papers as experiments: each has a criterion that is fixed before the run, and gets a verdict."""

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
