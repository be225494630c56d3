"""Measure how much the spectra of the Hessian's blocks differ: five measures, each with what it can and cannot see.

A measure of heterogeneity must rise when the scales of the blocks are spread. `theory.instruments` shows each of them a known
spread and a change that leaves the spread alone, before a claim may use it.

- `sd-largest` is the primary one: the standard deviation over the blocks of log10 of their largest eigenvalue. It rises with
  the spread without a limit and needs neither bins nor a kernel.
- `sd-mean` does the same with the mean eigenvalue, trace/P_l, which is exact without eigenvalues.
- `js-kernel`, `js-log` and `js0` are mean Jensen-Shannon distances over pairs of blocks (base 2, at most 1). `js-kernel`
  smooths the raw eigenvalues by a Gaussian of variance 1e-5, as Zhang et al. (arXiv 2402.16788) do: a width in absolute units,
  so that it changes when the loss is multiplied by a number. `js-log` has bins of equal width in log10 of the modulus. `js0` has
  bins of equal width on the raw eigenvalues. The widest block decides their width: beside it the blocks of all smaller scales
  fall into one bin and look alike, so that `js0` falls as the scales spread.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from quadsim.simulator.curvature.block_spectra import BlockSpectra
from quadsim.simulator.curvature.spectral_distance import distances_of_densities, jensen_shannon, mean_over_pairs
from quadsim.simulator.support.checks import check_choice
from quadsim.simulator.support.torch_modes import own_modes

__all__ = ["SPECTRAL_MEASURES", "log_deviation", "spectral_heterogeneity"]

Array = NDArray[np.float64]

SPECTRAL_MEASURES = ("sd-largest", "sd-mean", "js-kernel", "js-log", "js0")
"""The measures of `spectral_heterogeneity`, the primary one first."""

_KERNEL_VARIANCE = 1e-5  # Zhang et al.
_KERNEL_POINTS = 50_000
_LOG_BINS = 100
_LOG_FLOOR = 1e-12  # of the largest modulus; smaller eigenvalues are rounding of those beside them


@own_modes()
def spectral_heterogeneity(spectra: BlockSpectra, measure: str = "sd-largest") -> Array:
    """Return how much the spectra of the blocks differ, (E,); 0 for blocks with equal spectra.

    An instance for which the measure is not defined has NaN: with fewer than two blocks, with a block that is not finite, and for
    `sd-largest` and `sd-mean` with a block whose largest or mean eigenvalue is not positive.

    Args:
        spectra: spectra of B blocks of E instances.
        measure: one of SPECTRAL_MEASURES.

    Raises:
        ValueError: an unknown measure.
    """
    check_choice("measure", measure, SPECTRAL_MEASURES)
    if measure == "js0":
        return mean_over_pairs(jensen_shannon(spectra))
    if measure.startswith("sd"):
        means = [
            np.nansum(nodes * shares, axis=1) for nodes, shares in zip(spectra.nodes, spectra.weights, strict=True)
        ]
        return log_deviation(spectra.largest if measure == "sd-largest" else np.stack(means, axis=1))
    density = _kernel_density if measure == "js-kernel" else _log_density
    found = []
    for e in range(spectra.nodes[0].shape[0]):
        pairs = [(nodes[e], shares[e]) for nodes, shares in zip(spectra.nodes, spectra.weights, strict=True)]
        kept = [(values[np.isfinite(values)], shares[np.isfinite(values)]) for values, shares in pairs]
        whole = all(values.size for values, _ in kept)
        found.append(distances_of_densities(density(kept)) if whole else np.full((len(kept),) * 2, np.nan))
    return mean_over_pairs(np.stack(found))


def log_deviation(values: Array) -> Array:
    """Return the standard deviation over the blocks of log10, (E, B) to (E,); NaN where a value is not positive."""
    if values.shape[1] < 2:
        return np.full(values.shape[0], np.nan)
    positive = np.where(values > 0.0, values, np.nan)
    return np.asarray(np.log10(positive).std(axis=1))


def _shares(pairs: Sequence[tuple[Array, Array]], low: float, high: float, bins: int) -> Array:
    """Share of every block in bins of equal width, (B, bins)."""
    edges = np.linspace(low, high, bins + 1) if high > low else np.linspace(low - 0.5, low + 0.5, bins + 1)
    return np.stack([np.histogram(values, edges, weights=shares)[0] for values, shares in pairs])


def _kernel_density(pairs: Sequence[tuple[Array, Array]]) -> Array:
    """Densities smoothed by a Gaussian of variance 1e-5 at 50,000 points of the joint range.

    The kernel is applied to bins as fine as these points, so that no mass falls between two points. Where the range is wide, a
    bin is wider than the kernel and nothing is smoothed.
    """
    margin = 4.0 * np.sqrt(_KERNEL_VARIANCE)
    low = min(values.min() for values, _ in pairs) - margin
    high = max(values.max() for values, _ in pairs) + margin
    deviation = np.sqrt(_KERNEL_VARIANCE) * _KERNEL_POINTS / (high - low)  # in bins
    reach = min(int(np.ceil(6.0 * deviation)), _KERNEL_POINTS)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(deviation, 1e-9)) ** 2)
    smooth = signal.fftconvolve(_shares(pairs, low, high, _KERNEL_POINTS), kernel[None], mode="same", axes=1)
    smooth = np.maximum(smooth, 0.0)  # rounding of the transform
    return np.asarray(smooth / smooth.sum(axis=1, keepdims=True))


def _log_density(pairs: Sequence[tuple[Array, Array]]) -> Array:
    """Shares in bins of equal width in log10 of the modulus, over the joint range."""
    largest = max(float(np.abs(values).max()) for values, _ in pairs)
    if largest == 0.0:
        return _shares(pairs, 0.0, 0.0, _LOG_BINS)
    logs = [(np.log10(np.maximum(np.abs(values), _LOG_FLOOR * largest)), shares) for values, shares in pairs]
    return _shares(logs, min(float(v.min()) for v, _ in logs), float(np.log10(largest)), _LOG_BINS)
