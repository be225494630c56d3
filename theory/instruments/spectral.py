"""Instruments of the Hessian's blocks: how much their spectra differ, and how much of the Hessian lies outside of them."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.curvature.block_spectra import BlockSpectra
from quadsim.simulator.curvature.spectral_distance import node_distance, nodes_in_decades
from quadsim.simulator.curvature.spectral_heterogeneity import spectral_heterogeneity
from quadsim.simulator.models import Partition
from quadsim.theory.instruments.instrument import Control, Instrument

__all__ = ["SPECTRAL", "equal_nodes"]

Array = NDArray[np.float64]

_BLOCKS, _SIZE = 14, 40
_SPREADS = (1.0, 1e2, 1e4, 1e6)
_PARTITION = Partition("blocks", tuple(f"block {b}" for b in range(_BLOCKS)), (_SIZE,) * _BLOCKS)


def _shapes(seeds: int) -> Array:
    """Random spectra with the largest eigenvalue 1, (B, seeds, P): log-normal, as those of networks spread over decades."""
    shapes = np.random.default_rng(0).lognormal(0.0, 1.5, (_BLOCKS, seeds, _SIZE))
    return np.sort(shapes / shapes.max(axis=-1, keepdims=True), axis=-1)


def _of_scales(measure: str, scales: Array, seeds: int) -> Array:
    """The measure of the shapes times one scale a block, (seeds,)."""
    values = [scale * shape for scale, shape in zip(scales, _shapes(seeds), strict=True)]
    return spectral_heterogeneity(BlockSpectra.exactly(_PARTITION, values, np.zeros(seeds)), measure)


def _spread(measure: str, levels: Sequence[float], seeds: int) -> Array:
    """Scales spread evenly in their logarithm over a factor, around 1."""
    place = np.arange(_BLOCKS) / (_BLOCKS - 1) - 0.5
    return np.stack([_of_scales(measure, level**place, seeds) for level in levels], axis=1)


def _common(measure: str, levels: Sequence[float], seeds: int) -> Array:
    """All blocks times the same factor, which changes no ratio of curvatures."""
    return np.stack([_of_scales(measure, np.full(_BLOCKS, level), seeds) for level in levels], axis=1)


_WORDS = {
    "sd-largest": "standard deviation over the blocks of log10 of the largest eigenvalue",
    "sd-mean": "standard deviation over the blocks of log10 of the mean eigenvalue",
    "js-log": "mean Jensen-Shannon distance of the blocks' spectra over 100 bins in log10 of the modulus",
    "js-kernel": "mean Jensen-Shannon distance of the blocks' spectra smoothed by a Gaussian of variance 1e-5",
    "js0": "mean Jensen-Shannon distance of the blocks' spectra over 100 bins on the eigenvalues as they are",
}
_FAULTS = {
    "js-kernel": "its kernel has a width in absolute units, and beside a wide spectrum all narrow ones fall into one point",
    "js0": "beside a block of large scale all blocks of small scales fall into one bin and look alike",
}


# Two whole spectra.

_LARGE = 1024


def _by_nodes(first: Array, second: Array) -> float:
    return node_distance(nodes_in_decades(first), nodes_in_decades(second))


def _between_laws(power: float, size: int, seeds: int, distance: Callable[[Array, Array], float]) -> Array:
    """Distance of 1,024 eigenvalues of one law from `size` eigenvalues of its law raised to a power, (seeds,)."""
    out = np.empty(seeds)
    for seed in range(seeds):
        rng = np.random.default_rng((7, seed))
        first, second = rng.lognormal(0.0, 1.5, _LARGE), rng.lognormal(0.0, 1.5, _LARGE)[:size] ** power
        out[seed] = distance(first, second)
    return out


def equal_nodes(distance: Callable[[Array, Array], float] = _by_nodes) -> Instrument:
    """Return the instrument of a distance between two spectra of any sizes."""

    def columns(values: Sequence[Array]) -> Array:
        return np.stack(values, axis=1)

    return Instrument(
        name="equal-nodes",
        measures="mean distance in decades of 64 nodes of two spectra, each over its largest node",
        direction="rises",
        positive=Control(
            dial="the power to which the eigenvalues of one spectrum are raised",
            levels=(1.0, 1.5, 2.0, 3.0),
            measure=lambda levels, seeds: columns([_between_laws(p, _LARGE, seeds, distance) for p in levels]),
        ),
        null=Control(
            dial="the number of eigenvalues of one spectrum",
            levels=(64.0, 256.0, 1024.0),
            measure=lambda levels, seeds: columns([_between_laws(1.0, int(n), seeds, distance) for n in levels]),
        ),
    )


SPECTRAL = (
    *(
        Instrument(
            name=name,
            measures=words,
            direction="rises",
            positive=Control(dial="the spread of the blocks' scales", levels=_SPREADS, measure=partial(_spread, name)),
            null=Control(dial="a common scale of all blocks", levels=(1e-3, 1.0, 1e3), measure=partial(_common, name)),
            known_fault=_FAULTS.get(name, ""),
        )
        for name, words in _WORDS.items()
    ),
    equal_nodes(),
)
