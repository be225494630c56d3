"""Judging: what a claim consists of, and how its verdict follows from what was measured.

A module with claims imports everything from here.
"""

from quadsim.theory.claims.judging.claim import VERDICTS, Cells, Claim, Fixed, Found, Judgement
from quadsim.theory.claims.judging.conditions import Condition, Judged
from quadsim.theory.claims.judging.halves import at_best_of_half, best_column, judged_half
from quadsim.theory.claims.judging.measured import Measured, measured_median, measured_share
from quadsim.theory.claims.judging.proofs import Proved, identity, tried
from quadsim.theory.claims.judging.reach import Law, Reach
from quadsim.theory.claims.judging.setting import SIZES, Setting
from quadsim.theory.claims.judging.sources import BEYOND, KUNSTNER, PROTOTYPES, SRECKOVIC, TOMIHARI, ZHANG

__all__ = [
    "BEYOND",
    "KUNSTNER",
    "PROTOTYPES",
    "SIZES",
    "SRECKOVIC",
    "TOMIHARI",
    "VERDICTS",
    "ZHANG",
    "Cells",
    "Claim",
    "Condition",
    "Fixed",
    "Found",
    "Judged",
    "Judgement",
    "Law",
    "Measured",
    "Proved",
    "Reach",
    "Setting",
    "at_best_of_half",
    "best_column",
    "identity",
    "judged_half",
    "measured_median",
    "measured_share",
    "tried",
]
