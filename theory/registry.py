"""THEOREMS: every statement by name."""

from quadsim.theory.adam import ADAM
from quadsim.theory.cycle import CYCLE
from quadsim.theory.descent import DESCENT
from quadsim.theory.head import HEAD
from quadsim.theory.heterogeneity import HETEROGENEITY
from quadsim.theory.sign import SIGN
from quadsim.theory.theorem import Theorem

__all__ = ["THEOREMS"]

THEOREMS: dict[str, Theorem] = {t.name: t for t in (*DESCENT, *ADAM, *CYCLE, *SIGN, *HETEROGENEITY, *HEAD)}
"""Ours by name, in reading order."""
