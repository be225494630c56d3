"""Draw the start of a run: a coefficient for every eigenvalue, or gradients with a given spread over the blocks."""

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.spectra import Spectra, heterogeneity_of
from quadsim.simulator.support.checks import check_interval, check_ratio
from quadsim.simulator.support.draws import Purpose, normals

__all__ = ["check_gradient_dials", "start_by_gradient", "start_by_rank"]

FloatArray = NDArray[np.float64]


def check_gradient_dials(spectra: Spectra, gradient_heterogeneity: float | None, alignment: float | None) -> None:
    """Validate gradient heterogeneity and alignment for these spectra (docs/theory.md section 1).

    Raises:
        ValueError: a dial out of range, or a value that no start on these blocks has.
    """
    number = len(spectra)
    if gradient_heterogeneity is not None:
        gradient_heterogeneity = check_ratio("gradient heterogeneity", gradient_heterogeneity)
        if number == 1 and gradient_heterogeneity != 1.0:
            raise ValueError(
                f"gradient heterogeneity must be 1 with one block, got {gradient_heterogeneity:g}; use 2 blocks or more."
            )
    if alignment is None:
        return
    alignment = check_interval("alignment", alignment, -1.0, 1.0)
    achieved = heterogeneity_of(spectra)
    if gradient_heterogeneity is None or gradient_heterogeneity == 1.0:
        raise ValueError(
            f"alignment needs a gradient heterogeneity above 1, got {gradient_heterogeneity}; set it or leave alignment out."
        )
    if achieved == 1.0:
        raise ValueError(
            f"alignment needs a heterogeneity above 1, got {achieved:g}; raise it or leave alignment out (equal blocks have "
            "nothing to align with)."
        )
    if number == 2 and abs(alignment) != 1.0:
        raise ValueError(f"alignment must be -1 or 1 with two blocks, got {alignment:g}; use 3 blocks or more.")


def start_by_rank(seed: int, index: NDArray[np.int64], spectra: Spectra) -> list[FloatArray]:
    """Draw one standard normal for every eigenvalue of the whole, by rank (ties by position), and assign them to the blocks."""
    ranks = np.argsort(np.argsort(np.concatenate(spectra), kind="stable"), kind="stable")
    draws = normals(seed, index, Purpose.START, 0, ranks.size)[:, ranks]
    return np.split(draws, np.cumsum([s.size for s in spectra])[:-1], axis=1)


def start_by_gradient(
    seed: int, index: NDArray[np.int64], spectra: Spectra, ratio: float, alignment: float | None
) -> list[FloatArray]:
    """Draw gradients g_l with a given spread and alignment of |g_l|/sqrt(P_l); directions within a block are uniform.

    The logarithms of the norms are y = a x + sqrt(1 - a^2) r, scaled to the range log(ratio): x is the standardised log L_l, r a
    random direction orthogonal to x and to the ones vector (docs/theory.md section 1).
    """
    blocks = len(spectra)
    stiffness = np.log([s[-1] for s in spectra])
    r = normals(seed, index, Purpose.ALIGNMENT, 0, blocks)
    r = r - r.mean(axis=1, keepdims=True)
    if alignment is None:
        y = r
    else:
        x = stiffness - stiffness.mean()
        x = x / np.sqrt(np.sum(x**2))
        y = np.broadcast_to(alignment * x, r.shape)
        if abs(alignment) < 1.0:
            for _ in range(2):  # twice, so that what is left of x is rounding only
                r = r - np.sum(r * x, axis=1, keepdims=True) * x
                r = r - r.mean(axis=1, keepdims=True)
            y = y + np.sqrt(1.0 - alignment**2) * r / np.sqrt(np.sum(r**2, axis=1, keepdims=True))
    spread = y.max(axis=1, keepdims=True) - y.min(axis=1, keepdims=True)
    norms = np.ones_like(r) if ratio == 1.0 or blocks == 1 else np.exp(y * (np.log(ratio) / spread))
    gradients = []
    for block, spectrum in enumerate(spectra):
        direction = normals(seed, index, Purpose.DIRECTION, block, spectrum.size)
        length = np.sqrt(np.mean(direction**2, axis=1, keepdims=True))
        gradients.append(direction / length * norms[:, [block]])
    return gradients
