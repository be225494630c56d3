"""Draw the start of a run: a coefficient for every eigenvalue, gradients with a given spread over the blocks, or by a law."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.layout import BlockLayout
from quadsim.simulator.problems.spectra import Spectra, heterogeneity_of
from quadsim.simulator.support.checks import check_choice, check_interval, check_ratio
from quadsim.simulator.support.draws import Purpose, normals

__all__ = [
    "START_LAWS",
    "check_gradient_dials",
    "gradient_spread",
    "start_by_gradient",
    "start_by_law",
    "start_by_rank",
]

FloatArray = NDArray[np.float64]

START_LAWS = ("normal", "sphere", "zero-start")
"""Laws of e_0 for given matrices: `normal` (independent standard normal coordinates), `sphere` (a uniform direction, with the
mean square length of `normal`), `zero-start` (w_0 = 0, that is e_0 = -w*; nothing is drawn). The first two have no part in a null
space, where a start changes neither gap nor gradient."""


def gradient_spread(spectra: Spectra, gradient_heterogeneity: float | None, alignment: float | None) -> float | None:
    """Return the gradient heterogeneity of a start; None: not controlled.

    With an alignment and no gradient heterogeneity, gradients spread as much as the blocks' L_l do. This is the spread that a
    normal start has by itself, with an alignment near 1, so that the alignment alone is turned.

    Raises:
        ValueError: a gradient heterogeneity out of range.
    """
    if gradient_heterogeneity is None and alignment is not None:
        return heterogeneity_of(spectra)
    return None if gradient_heterogeneity is None else check_ratio("gradient heterogeneity", gradient_heterogeneity)


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
    if gradient_heterogeneity == 1.0:
        raise ValueError(
            "alignment needs a gradient heterogeneity above 1, got 1; raise it or leave alignment out (equal gradients have "
            "nothing to align)."
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


def start_by_law(
    law: str,
    seed: int,
    index: NDArray[np.int64],
    layout: BlockLayout,
    null_vectors: Mapping[int, FloatArray],
    minimizer: FloatArray | None,
) -> FloatArray:
    """Return e_0 by one of START_LAWS, (M, P).

    Coordinates are drawn, not coefficients of eigenvectors: those of a given matrix differ in sign, and within an eigenspace,
    from one machine to the next.

    Args:
        law: its name.
        seed: key of the draws.
        index: problem indices, (M,).
        layout: block sizes.
        null_vectors: block size to the eigenvectors of H_l in columns, (M, B_size, P_l, P_l), of which those outside the null
            space are 0.
        minimizer: w*, (M, P) or (1, P); None if it was not given.

    Raises:
        ValueError: an unknown law, or one that does not fit the minimizer.
    """
    check_choice("initial_error", law, START_LAWS)
    if law == "zero-start":
        if minimizer is None or not np.any(minimizer):
            raise ValueError(
                f"initial_error zero-start needs a minimizer other than 0, got {'none' if minimizer is None else 'zeros'}; give "
                "minimizer, or draw the start: normal or sphere."
            )
        if minimizer.shape[0] == 1 and index.size > 1:
            raise ValueError(
                f"problems must be 1 where every start is w = 0, got {index.size} equal ones; give one problem, or draw the "
                "start: normal or sphere."
            )
        return -minimizer
    error = normals(seed, index, Purpose.START, 0, layout.dimension)
    rank = np.full(index.size, float(layout.dimension))
    for size, vectors in null_vectors.items():
        if not vectors.any():  # a definite block keeps its draws as they are, without another rounding
            continue
        part = error[:, layout.positions[size]][..., None]
        inside = np.matmul(np.ascontiguousarray(np.swapaxes(vectors, -1, -2)), part)
        error[:, layout.positions[size]] = (part - np.matmul(vectors, inside))[..., 0]
        rank -= np.sum(np.any(vectors != 0.0, axis=-2), axis=(1, 2))
    if law == "sphere":
        error *= np.sqrt(rank / np.sum(error**2, axis=1))[:, None]
    return error
