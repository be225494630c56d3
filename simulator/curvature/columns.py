"""Compute the metrics that `inspect_model` and `measure` have in common: name to values, (E,) each."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.curvature.block_spectra import BlockSpectra
from quadsim.simulator.curvature.head_norms import head_norms
from quadsim.simulator.curvature.off_block import OffBlock
from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.problems.heterogeneity import (
    gradient_weighted_smoothness,
    size_weighted_smoothness,
    smoothness_covariance,
    spread,
)

__all__ = ["of_curvature", "of_delta", "of_gradient_norms", "of_head", "of_off_block"]

Array = NDArray[np.float64]


def of_gradient_norms(norms: Array) -> dict[str, Array]:
    """Return the measures of how unequal the gradient norms of blocks (E, B) are; see `Spread`."""
    over = spread(norms)
    return {
        "gradient_ratio": over.ratio,
        "gradient_log_std": over.log_std,
        "gradient_gini": over.gini,
        "gradient_variation": over.variation,
    }


def of_head(problem: ToyProblem, theta: ArrayLike, which: ArrayLike | None = None) -> dict[str, Array]:
    """Return the norms of the two parts of the head; arguments as in `head_norms`."""
    norms = head_norms(problem, theta, which)
    return {"head_common": norms.common, "head_centred": norms.centred}


def of_curvature(gradient: Array, sizes: Sequence[int], spectra: BlockSpectra) -> dict[str, Array]:
    """Return the smoothness of the blocks averaged with two kinds of weights.

    Args:
        gradient: gradients, (E, P).
        sizes: P_l of every block.
        spectra: spectra of the blocks.

    Returns:
        `Lambda_G`, `Lambda_P`, `Lambda_ratio` (G over P; NaN where no block has positive curvature) and `covariance` (their
        difference).
    """
    smoothness = spectra.smoothness
    by_gradient = gradient_weighted_smoothness(gradient, sizes, smoothness)
    by_size = size_weighted_smoothness(sizes, smoothness)
    return {
        "Lambda_G": by_gradient,
        "Lambda_P": by_size,
        "Lambda_ratio": np.divide(by_gradient, by_size, out=np.full_like(by_size, np.nan), where=by_size > 0.0),
        "covariance": smoothness_covariance(gradient, sizes, smoothness),
    }


def of_off_block(rest: OffBlock) -> dict[str, Array]:
    """Return the measures of the part of the Hessian outside its blocks; see `OffBlock`."""
    return {
        "off_block_spectral": rest.spectral,
        "off_block_frobenius": rest.frobenius,
        "whole_over_block": rest.whole_over_block,
        "delta": rest.delta,
        "coupling": rest.coupling,
        "positive_share": rest.positive_share,
    }


def of_delta(rest: OffBlock, curvature: dict[str, Array]) -> dict[str, Array]:
    """Return delta = |H - D| over Lambda_G and Lambda_P, NaN where that is not positive.

    The theorems with delta (gradient-complexity-general, sign-complexity-general) speak of a step where the ratio is 1/3 at most.

    Args:
        rest: the part outside the blocks.
        curvature: what `of_curvature` returns.
    """
    return {
        f"delta_over_{name}": np.divide(
            rest.delta, curvature[name], out=np.full_like(rest.delta, np.nan), where=curvature[name] > 0.0
        )
        for name in ("Lambda_G", "Lambda_P")
    }
