"""THEOREMS: every statement by name."""

from quadsim.theory.adam import ADAM
from quadsim.theory.descent import DESCENT
from quadsim.theory.theorem import Theorem

__all__ = ["THEOREMS"]

THEOREMS: dict[str, Theorem] = {theorem.name: theorem for theorem in (*DESCENT, *ADAM)}
