"""SIGN_DERIVATIONS: the derivations of the theorems about sign steps, scales of blocks and pairs of eigenvalues."""

from collections.abc import Callable, Mapping

from quadsim.theory.statements.derived.sign_proofs.memory import with_mean
from quadsim.theory.statements.derived.sign_proofs.midpoint import midpoint
from quadsim.theory.statements.derived.sign_proofs.positions import diagonal, distance, on_cycle
from quadsim.theory.statements.derived.sign_proofs.ratios import from_start, invariance
from quadsim.theory.statements.derived.sign_proofs.recursion import constant_gap, constant_steps
from quadsim.theory.statements.derived.words import Steps
from quadsim.theory.symbols import Symbol

__all__ = ["SIGN_DERIVATIONS"]

SIGN_DERIVATIONS: Mapping[str, Callable[[], Steps]] = {
    "sign-constant-gap": constant_gap,
    "sign-constant-steps": constant_steps,
    "sign-midpoint": midpoint,
    "signum-gap": lambda: with_mean("signum", Symbol.momentum, Symbol.momentum),
    "lion-gap": lambda: with_mean("lion", Symbol.beta2, Symbol.beta1),
    "sign-diagonal": diagonal,
    "sign-distance": distance,
    "sign-cycle": on_cycle,
    "block-scale-invariance": invariance,
    "gd-lower-start": from_start,
}
"""Name of a theorem to its derivation."""
