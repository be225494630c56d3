"""Instruments of networks: measures of tensors, of the head and of the test data, each shown on trained or untrained stacks."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.curvature.block_spectra import BlockSpectra, block_spectra
from quadsim.simulator.curvature.columns import of_curvature, of_delta
from quadsim.simulator.curvature.from_snapshots import head_at_loss
from quadsim.simulator.curvature.off_block import OffBlock, coupling_of, off_block_of
from quadsim.simulator.curvature.spectral_heterogeneity import log_deviation
from quadsim.simulator.curvature.tensors import gradient_table, largest_eigenvalues, row_shares, weight_matrices
from quadsim.simulator.models import MLP, Gaussians, Partition, TokenMap, ToyProblem, Transformer
from quadsim.simulator.support.statistics import chosen_half, judged_half
from quadsim.simulator.training.loop import train
from quadsim.theory.instruments.instrument import Control, Instrument

__all__ = ["NETWORKS", "sd_of_blocks"]

Array = NDArray[np.float64]


def _columns(of_level: Callable[[float], Array], levels: Sequence[float]) -> Array:
    return np.stack([of_level(level) for level in levels], axis=1)


# Largest eigenvalues of the weight matrices.

_SMALL, _TOKENS = Transformer(width=4, layers=1, heads=1), TokenMap(vocabulary=6)


def _scaled_matrices(c: float, seeds: int) -> Array:
    """The measure where the block of every matrix is multiplied by its s^2, with max s^2 / min s^2 = c, (seeds,)."""
    problem = ToyProblem.generate(
        _SMALL, _TOKENS, dial="reparametrisation", heterogeneity=c, order="growing", problems=seeds
    )
    return log_deviation(largest_eigenvalues(problem.stack(), problem.start, weight_matrices(problem)))


@lru_cache(maxsize=4)
def _spectra(seeds: int) -> tuple[ToyProblem, BlockSpectra]:
    problem = ToyProblem.generate(_SMALL, _TOKENS, problems=seeds)
    return problem, block_spectra(problem.stack(), problem.start)


def sd_of_blocks(spectra: BlockSpectra, blocks: Sequence[str]) -> Array:
    """Return the standard deviation of log10 of the largest eigenvalue over some of the blocks, (E,)."""
    return log_deviation(spectra.largest[:, [spectra.partition.labels.index(label) for label in blocks]])


def scaled_gains(level: float, seeds: int, blocks: Callable[[ToyProblem], Sequence[str]] = weight_matrices) -> Array:
    """The measure where the curvature of all gains and positions is multiplied by a number, (seeds,)."""
    problem, spectra = _spectra(seeds)
    others = [label == "pos" or "norm" in label for label in spectra.partition.labels]
    nodes = [level * x if other else x for x, other in zip(spectra.nodes, others, strict=True)]
    return sd_of_blocks(BlockSpectra.exactly(spectra.partition, nodes, spectra.asymmetry), blocks(problem))


# Raw norms of gradients.


def _raw_spread(problem: ToyProblem) -> Array:
    """log10 of the largest over the smallest |g_l| of the tensors, (seeds,)."""
    norms = gradient_table(problem).groupby(["heterogeneity", "index"])["norm"]
    return np.asarray(np.log10(norms.max().to_numpy() / norms.min().to_numpy()))


def _of_layer_scales(c: float, seeds: int) -> Array:
    problem = ToyProblem.generate(
        MLP(width=4, layers=3), _TOKENS, dial="reparametrisation", heterogeneity=c, order="growing", problems=seeds
    )
    return _raw_spread(problem)


def _of_copies_of_data(copies: float, seeds: int) -> Array:
    return _raw_spread(ToyProblem.generate(MLP(width=4, layers=3), TokenMap(6, repeats=int(copies)), problems=seeds))


# Rows of a class-count network.


def _off_rows(classes: float, seeds: int, vectors: int = 256) -> Array:
    """Share of the head's block off the rows of its classes, (seeds,)."""
    model, task = MLP(4, 1, activation="relu", embedded=False), Gaussians(4, int(classes), vectors)
    problem = ToyProblem.generate(model, task, problems=seeds)
    shares = row_shares(problem.stack(), problem.start)
    return shares.within[:, shares.tensors.index("head")]


# delta over Lambda.

_BLOCKS, _SIZE = 4, 6
_PARTITION = Partition("blocks", tuple(f"block {b}" for b in range(_BLOCKS)), (_SIZE,) * _BLOCKS)


def _delta_over(coupling: float, scale: float, seeds: int) -> Array:
    """Return delta/Lambda_P of scale D^(1/2) (I + c O) D^(1/2), O of spectral norm 1 with zero diagonal blocks, (seeds,)."""
    rows, blocks, size = np.empty((6, seeds)), np.empty((_BLOCKS, seeds, _SIZE)), _BLOCKS * _SIZE
    for seed in range(seeds):
        rng = np.random.default_rng((6, seed))
        off = rng.normal(size=(size, size))
        off += off.T
        for begin, end in _PARTITION.ranges:
            off[begin:end, begin:end] = 0.0
        root = np.sqrt(rng.lognormal(0.0, 1.0, size))
        hessian = scale * root[:, None] * (np.eye(size) + coupling * off / np.linalg.norm(off, 2)) * root
        rows[:, seed] = *off_block_of(hessian, _PARTITION), *coupling_of(hessian, _PARTITION)
        for b, (begin, end) in enumerate(_PARTITION.ranges):
            blocks[b, seed] = np.sort(np.diag(hessian)[begin:end])
    spectra = BlockSpectra.exactly(_PARTITION, list(blocks), np.zeros(seeds))
    averages = of_curvature(np.ones((seeds, size)), _PARTITION.sizes, spectra)
    return of_delta(OffBlock(*rows), averages)["delta_over_Lambda_P"]


# The head at a matched loss.


def _common_over_centred(classes: float, shift: float, seeds: int) -> Array:
    """Growth of the head's common part over that of the rest, under sign descent with batches of 8, (seeds,)."""
    problem = ToyProblem.generate(MLP(8, 1), TokenMap(int(classes), tokens=1, batch=8), problems=seeds)
    start = problem.start.copy()
    begin = problem.dimension - problem.parameters[-1].size
    start[:, begin:] += shift
    at = range(0, 101, 10)
    run = train(problem.starting_at(start), "signsgd", lr=0.01, steps=at[-1], snapshots=at, dtype="float64")
    return head_at_loss(run, [0.95])["common_over_centred"].values[:, 0, 0]


# Test accuracy.


def _accuracy(separation: float, seeds: int, test: int = 300) -> Array:
    """Best test accuracy along a short run of Adam on ten Gaussian classes, (seeds,)."""
    task = Gaussians(features=8, classes=10, sequences=300, separation=separation, test=test)
    problem = ToyProblem.generate(MLP(16, 1, activation="relu", embedded=False), task, problems=seeds)
    return train(problem, "adam", lr=0.03, steps=40, stop=False, record=20).best_test_accuracy[:, 0]


# Difference of losses of two rules, each at its best rate.


def _loss_difference(withheld: float, centre: float, seeds: int, steps: int = 20) -> Array:
    """Loss over ln C of Adam that lacks a share of the steps, less that with all of them, (seeds,).

    The learning rate is chosen on half of the seeds, from a grid of two decades around `centre`, for both numbers of steps apart.
    """
    problem = ToyProblem.generate(MLP(8, 1), TokenMap(64, tokens=1), problems=2 * seeds)
    rates = [centre * 10 ** (k / 4) for k in range(-4, 5)]

    def at_best(number: int) -> Array:
        run = train(problem, "adam", lr=rates, steps=number, stop=False, record=number)
        loss = np.where(np.isnan(run.final_loss), np.inf, run.final_loss) / problem.guess_loss
        best = np.median(loss[chosen_half(2 * seeds)], axis=0).argmin()
        return np.asarray(loss[judged_half(2 * seeds), best])

    return at_best(round((1 - withheld) * steps)) - at_best(steps)


NETWORKS = (
    Instrument(
        name="sd-matrices",
        measures="standard deviation over the weight matrices of log10 of the largest eigenvalue of their blocks",
        direction="rises",
        positive=Control(
            dial="the spread of the scales of the layers",
            levels=(1.0, 1e2, 1e4, 1e6),
            measure=lambda levels, seeds: _columns(lambda c: _scaled_matrices(c, seeds), levels),
        ),
        null=Control(
            dial="the scale of the curvature of gains and positions",
            levels=(1e-3, 1.0, 1e3),
            measure=lambda levels, seeds: _columns(lambda level: scaled_gains(level, seeds), levels),
        ),
    ),
    Instrument(
        name="raw-gradient-spread",
        measures="log10 of the largest over the smallest |g_l| of the tensors",
        direction="rises",
        positive=Control(
            dial="the spread of the scales of the layers",
            levels=(1.0, 1e2, 1e4, 1e8),
            measure=lambda levels, seeds: _columns(lambda c: _of_layer_scales(c, seeds), levels),
        ),
        null=Control(
            dial="the number of copies of the data",
            levels=(1.0, 2.0, 4.0),
            measure=lambda levels, seeds: _columns(lambda copies: _of_copies_of_data(copies, seeds), levels),
        ),
    ),
    Instrument(
        name="row-share",
        measures="share of the squared entries of the head's block of the Hessian off the rows of its classes",
        direction="falls",
        positive=Control(
            dial="the number of classes",
            levels=(2.0, 4.0, 16.0, 64.0),
            measure=lambda levels, seeds: _columns(lambda classes: _off_rows(classes, seeds), levels),
        ),
        null=Control(
            dial="the number of training vectors",
            levels=(128.0, 256.0, 512.0),
            measure=lambda levels, seeds: _columns(lambda n: _off_rows(8, seeds, int(n)), levels),
        ),
    ),
    Instrument(
        name="delta-over-lambda",
        measures="spectral norm of the Hessian outside its blocks over the mean smoothness of the blocks",
        direction="rises",
        positive=Control(
            dial="the coupling c of the blocks",
            levels=(0.0, 0.1, 0.3, 0.9),
            measure=lambda levels, seeds: _columns(lambda c: _delta_over(c, 1.0, seeds), levels),
        ),
        null=Control(
            dial="a common scale of the Hessian",
            levels=(1e-3, 1.0, 1e3),
            measure=lambda levels, seeds: _columns(lambda scale: _delta_over(0.3, scale, seeds), levels),
        ),
    ),
    Instrument(
        name="head-common-over-centred",
        measures="growth of the part of the head that all classes share over that of the rest, at the same loss",
        direction="rises",
        positive=Control(
            dial="the number of classes, with batches of 8 under sign descent",
            levels=(4.0, 16.0, 32.0, 64.0),
            measure=lambda levels, seeds: _columns(lambda classes: _common_over_centred(classes, 0.0, seeds), levels),
        ),
        null=Control(
            dial="a constant added to the whole head at the start",
            levels=(0.0, 0.5, 2.0),
            measure=lambda levels, seeds: _columns(lambda shift: _common_over_centred(16, shift, seeds), levels),
        ),
    ),
    Instrument(
        name="test-accuracy",
        measures="largest share of right answers on the test data along training",
        direction="rises",
        positive=Control(
            dial="the separation of the classes",
            levels=(0.0, 0.3, 0.7, 2.0),
            measure=lambda levels, seeds: _columns(lambda s: _accuracy(s, seeds), levels),
        ),
        null=Control(
            dial="the number of test vectors",
            levels=(150.0, 300.0, 600.0),
            measure=lambda levels, seeds: _columns(lambda test: _accuracy(0.7, seeds, int(test)), levels),
        ),
    ),
    Instrument(
        name="loss-difference",
        measures="loss over ln C of one rule less that of another after equally many steps, each at the best rate of other seeds",
        direction="rises",
        positive=Control(
            dial="the share of the steps that one of two equal rules is not given",
            levels=(0.0, 0.25, 0.5, 0.75),
            measure=lambda levels, seeds: _columns(lambda share: _loss_difference(share, 0.05, seeds), levels),
        ),
        null=Control(
            dial="the centre of the first grid of learning rates",
            levels=(0.04, 0.05, 0.06),
            measure=lambda levels, seeds: _columns(lambda centre: _loss_difference(0.25, centre, seeds), levels),
        ),
    ),
)
