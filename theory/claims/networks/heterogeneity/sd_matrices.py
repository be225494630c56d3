"""How unlike the curvature of weight matrices is: the sd of log10 of the largest eigenvalue of each one's block of H."""

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.curvature.spectral_heterogeneity import log_deviation
from quadsim.simulator.curvature.tensors import largest_eigenvalues, weight_matrices
from quadsim.simulator.models import ToyProblem

__all__ = ["CHANGED", "PUBLISHED", "sd_measure", "sd_of_matrices"]

Array = NDArray[np.float64]

CHANGED = "another measure: the sd of log10 of the largest eigenvalue of weight matrices in place of JS0"
"""What histories say of the change from JS0 to this measure."""

PUBLISHED = (
    "the published values of .09 to 286 exceed ln 2 and cannot be a bounded JS; the sd of log10 stands in for them"
)
"""How this measure differs from that of the paper."""

_NUMBER = 8
"""Weight matrices that are compared, evenly spaced in depth: equally many in every network."""


def sd_of_matrices(problem: ToyProblem, theta: Array | None = None, number: int | None = _NUMBER) -> Array:
    """Return the sd of log10 of the largest curvature (in modulus) of weight matrices, (M,); at the start by default."""
    at = problem.start if theta is None else theta
    blocks = weight_matrices(problem, number=number)
    return log_deviation(largest_eigenvalues(problem.stack(), at, blocks, modulus=True))


def sd_measure(name: str, init: str = "gpt2") -> str:
    """Return the name of the measured sd of a network from a start, as conditions and results have it."""
    return f"sd of log10 curvature over weight matrices, {name}, start {init}"
