"""Compute distances between spectra: Jensen-Shannon over bins, and between equally many nodes of every spectrum.

Jensen-Shannon distances depend on bins, range and base: all are arguments.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.curvature.block_spectra import BlockSpectra
from quadsim.simulator.support.checks import check_choice, check_count, check_interval
from quadsim.simulator.support.torch_modes import own_modes

__all__ = [
    "NORMALISATIONS",
    "distances_of_densities",
    "histograms",
    "jensen_shannon",
    "mean_over_pairs",
    "node_distance",
    "nodes_in_decades",
]

Array = NDArray[np.float64]

NORMALISATIONS = ("none", "block")
"""How eigenvalues are scaled before a comparison.

`none`: not at all, so that blocks with the same shape of spectrum but different curvature differ. `block`: each block's
eigenvalues are divided by their largest modulus, so that only the shapes of spectra are compared.
"""


@own_modes()
def jensen_shannon(spectra: BlockSpectra, *, bins: int = 100, normalise: str = "none", base: float = 2.0) -> Array:
    """Return the distances between all blocks of every instance, (E, B, B): symmetric, 0 on the diagonal.

    The distance of two densities p and q over bins is sqrt((KL(p, m) + KL(q, m))/2), m = (p + q)/2 (Endres and Schindelin, IEEE
    Trans. Inf. Theory 49 (2003)); at most sqrt(log 2/log base), reached by spectra without a common bin. The bins are of equal
    width, from the smallest to the largest eigenvalue of all blocks of the instance.

    No number of bins is the right one: with more bins all distances are larger. They are also larger with a quadrature, whose few
    nodes leave most bins empty. Compare only numbers with the same arguments, and exact blocks with exact ones. The mean over the
    modules of one default Transformer at its start is .339; .156 with 20 bins, .581 normalised by block; with quadrature of its
    largest modules .391 (20 nodes, one run), .350 (20, ten runs) and .343 (80, one run).

    Args:
        spectra: spectra of B blocks of E instances.
        bins: number of bins.
        normalise: one of NORMALISATIONS.
        base: base of the logarithm, above 1.

    Raises:
        ValueError: a value out of range.
    """
    base = check_interval("base", base, 1.0, low_open=True)
    density = histograms(spectra.nodes, spectra.weights, bins=bins, normalise=normalise)
    return np.stack([distances_of_densities(one, base=base) for one in density])


def mean_over_pairs(distances: Array) -> Array:
    """Return JS0, the mean over all pairs of blocks (Zhang et al., arXiv 2402.16788): (E, B, B) to (E,); NaN for one block."""
    number = distances.shape[-1]
    if number < 2:
        return np.full(distances.shape[:-2], np.nan)
    upper = np.triu_indices(number, 1)
    return np.asarray(distances[..., upper[0], upper[1]].mean(axis=-1))


def histograms(nodes: Sequence[Array], weights: Sequence[Array], *, bins: int = 100, normalise: str = "none") -> Array:
    """Return the share of every block's spectrum in bins of equal width over the range of all blocks, (E, B, bins).

    An instance with a block that is not finite has only NaN.

    Args:
        nodes: for every block an array (E, n_l), padded with NaN.
        weights: for every block an array (E, n_l), with the sum 1.
        bins: number of bins.
        normalise: one of NORMALISATIONS.

    Raises:
        ValueError: a value out of range.
    """
    bins = check_count("bins", bins)
    if check_choice("normalise", normalise, NORMALISATIONS) == "block":
        nodes = [values / _positive(np.fmax.reduce(np.abs(values), axis=1, keepdims=True)) for values in nodes]
    low = np.min([np.fmin.reduce(values, axis=1) for values in nodes], axis=0)
    width = np.max([np.fmax.reduce(values, axis=1) for values in nodes], axis=0) - low
    out = np.zeros((low.size, len(nodes), bins))
    for b, (values, shares) in enumerate(zip(nodes, weights, strict=True)):
        place = (values - low[:, None]) / _positive(width)[:, None] * bins
        place = np.clip(np.where(np.isfinite(place), place, 0.0).astype(np.int64), 0, bins - 1)
        rows = np.broadcast_to(np.arange(low.size)[:, None], place.shape)
        np.add.at(out[:, b], (rows, place), shares)
    return np.where(np.isfinite(width)[:, None, None], out, np.nan)


def _positive(x: Array) -> Array:
    return np.where(x > 0.0, x, 1.0)


def distances_of_densities(density: Array, *, base: float = 2.0) -> Array:
    """Return the Jensen-Shannon distances of densities (B, bins) whose rows have the sum 1, (B, B)."""
    out = np.zeros((density.shape[0],) * 2)
    for i, p in enumerate(density):
        q = density[i + 1 :]
        middle = (p + q) / 2
        out[i, i + 1 :] = np.sqrt(np.maximum((_divergence(p, middle) + _divergence(q, middle)) / 2, 0.0))
    return np.asarray((out + out.T) / np.sqrt(np.log(base)))


def _divergence(p: Array, q: Array) -> Array:
    """Return the Kullback-Leibler divergence along the last axis; q must be positive where p is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(p == 0.0, 0.0, p * np.log(p / q)).sum(axis=-1))


def nodes_in_decades(eigenvalues: ArrayLike, *, nodes: int = 64, smallest: float = 1e-4) -> Array:
    """Return equally many nodes of a spectrum of any size, in signed decades of the largest node, (nodes,).

    The nodes are quantiles with equal weights, so that a block of 64 and a Hessian of 2,000 eigenvalues are described by the same
    number of values. A node x, divided by the largest modulus of a node, becomes sign(x) log10(1 + |x|/smallest): decades where
    |x| is above `smallest`, and near 0 below it. With 64 nodes the largest one of 1,300 eigenvalues is about the tenth largest of
    them, by which Zhang et al. (arXiv 2402.16788) normalise.

    Args:
        eigenvalues: (P,); one that is not finite gives NaN.
        nodes: their number; spectra with fewer eigenvalues repeat them.
        smallest: the modulus, relative to the largest node, below which a value is hardly told from 0.

    Raises:
        ValueError: a value out of range, or no eigenvalues.
    """
    values, nodes = np.asarray(eigenvalues, dtype=float), check_count("nodes", nodes)
    smallest = check_interval("smallest", smallest, 0.0, 1.0, low_open=True)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(
            f"eigenvalues must have the shape (P,) with P at least 1, got {values.shape}; give one spectrum."
        )
    if not np.isfinite(values).all():
        return np.full(nodes, np.nan)
    chosen = np.quantile(values, (np.arange(nodes) + 0.5) / nodes, method="hazen")
    chosen = chosen / _positive(np.abs(chosen).max())
    return np.asarray(np.sign(chosen) * np.log10(1.0 + np.abs(chosen) / smallest))


def node_distance(first: Array, second: Array) -> float:
    """Return the mean distance in decades of equally many ordered nodes, (nodes,) each: their Wasserstein distance."""
    return float(np.abs(first - second).mean())
