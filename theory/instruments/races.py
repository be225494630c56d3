"""Instruments of gradients, steps and races: each with a dial that it must follow and one that it must not."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from quadsim.simulator.curvature.off_block import off_block_of
from quadsim.simulator.engines import simulate
from quadsim.simulator.models import Partition
from quadsim.simulator.problems.heterogeneity import block_gradient_norms, sign_cosine, spread
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.theory.instruments.instrument import Control, Instrument

__all__ = ["RACES", "predictor", "sign_agreement"]

Array = NDArray[np.float64]

_BLOCKS, _SIZE = 4, 8
_LIMIT = 20_000  # steps of a race


def _columns(of_level: Callable[[float], Array], levels: Sequence[float]) -> Array:
    return np.stack([of_level(level) for level in levels], axis=1)


# Spread of gradients over blocks.


def _gradient_spread(gradient: Array) -> Array:
    """log10 of the largest over the smallest |g_l|/sqrt(P_l), (seeds, P) to (seeds,)."""
    return np.log10(spread(block_gradient_norms(gradient, (_SIZE,) * _BLOCKS)).ratio)


def _gradients(seeds: int) -> Array:
    return np.random.default_rng(1).normal(size=(seeds, _BLOCKS, _SIZE))


def _of_gradient_scales(levels: Sequence[float], seeds: int) -> Array:
    place = np.arange(_BLOCKS) / (_BLOCKS - 1)
    return _columns(lambda c: _gradient_spread((_gradients(seeds) * c ** place[:, None]).reshape(seeds, -1)), levels)


def _of_common_gradient(levels: Sequence[float], seeds: int) -> Array:
    return _columns(lambda c: _gradient_spread(c * _gradients(seeds).reshape(seeds, -1)), levels)


# Share of the Hessian outside the blocks.

_PARTITION = Partition("blocks", tuple(f"block {b}" for b in range(_BLOCKS)), (_SIZE,) * _BLOCKS)


def _coupled(coupling: float, seeds: int, turn: float = 0.0) -> Array:
    """Share |H - blocks|_F/|H|_F of D^(1/2) (I + c O) D^(1/2), O of spectral norm 1 with zero diagonal blocks, (seeds,).

    `turn` rotates every block's coordinates by its own orthogonal matrix, from none (0) to a random one (1).
    """
    out = np.empty(seeds)
    for seed in range(seeds):
        rng = np.random.default_rng((2, seed))
        off = rng.normal(size=(_BLOCKS * _SIZE,) * 2)
        off += off.T
        rotation = np.zeros_like(off)
        for begin, end in _PARTITION.ranges:
            off[begin:end, begin:end] = 0.0
            basis = np.eye(_SIZE) + turn * (skew := rng.normal(size=(_SIZE, _SIZE))) - turn * skew.T
            rotation[begin:end, begin:end] = np.linalg.qr(basis)[0]
        root = np.sqrt(rng.lognormal(0.0, 1.0, _BLOCKS * _SIZE))
        off /= np.linalg.norm(off, 2)
        hessian = rotation.T @ (root[:, None] * (np.eye(root.size) + coupling * off) * root) @ rotation
        out[seed] = off_block_of((hessian + hessian.T) / 2, _PARTITION)[1]
    return out


# Agreement of a step with the sign of the memory that it is made from.


def sign_agreement(step: Array, memory: Array) -> Array:
    """Return the cosine of a step with -sign(m), m the exponential mean of the gradients that the rule keeps; (..., P) to (...).

    It must not be held against the sign of the *current* gradient: Signum itself, whose step is -sign(m), would fail then.
    """
    return sign_cosine(step, memory)


def _softened(power: float, noise: float, seeds: int, agreement: Callable[[Array, Array, Array], Array]) -> Array:
    """Agreement of the step -m |m|^(power - 1) (the gradient step at 1, the sign step at 0), (seeds,).

    `noise` is how far the current gradient lies from the memory, in standard deviations of the memory.
    """
    rng = np.random.default_rng(3)
    memory = rng.normal(size=(seeds, 64)) * rng.lognormal(0.0, 1.0, size=(seeds, 64))
    gradient = memory + noise * memory.std() * rng.normal(size=memory.shape)
    return agreement(-np.sign(memory) * np.abs(memory) ** power, memory, gradient)


def with_memory(step: Array, memory: Array, gradient: Array) -> Array:
    """The agreement that claims use; `gradient` is not read."""
    return sign_agreement(step, memory)


def soft_sign(agreement: Callable[[Array, Array, Array], Array]) -> tuple[Control, Control]:
    """Return the controls of an agreement: a step that becomes a sign, and a current gradient that leaves the memory."""
    return (
        Control(
            dial="the power p of a step m |m|^(p-1)",
            levels=(1.0, 0.5, 0.2, 0.0),
            measure=lambda levels, seeds: _columns(lambda power: _softened(power, 1.0, seeds, agreement), levels),
        ),
        Control(
            dial="the distance of the current gradient from the memory",
            levels=(0.0, 1.0, 3.0),
            measure=lambda levels, seeds: _columns(lambda noise: _softened(0.2, noise, seeds, agreement), levels),
        ),
    )


# A race of two rules.


def _race(heterogeneity: float, scale: float, seeds: int) -> Array:
    """log10 of the steps of GD over those of Adam without momentum, each at its best rate for the seed, (seeds,)."""
    problem = BlockQuadratic.generate(_BLOCKS, _SIZE, heterogeneity=heterogeneity, problems=seeds, seed=4)
    blocks = np.moveaxis(scale * problem.hessian[_SIZE], 1, 0)
    start = problem.initial_error[_SIZE].reshape(seeds, -1)
    problem = BlockQuadratic.from_blocks(list(blocks), initial_error=start)
    stiffest = float(problem.block_smoothness.max())
    slow = simulate(problem, "gd", lr=np.geomspace(0.2, 2.0, 21) / stiffest, steps=_LIMIT, tolerance=1e-6, record="log")
    rates = 10.0 ** np.arange(-3.0, 1.01, 0.25)
    fast = simulate(problem, "adam", lr=rates, beta1=0.0, eps=0.0, steps=_LIMIT, tolerance=1e-6, record="log")
    return np.asarray(np.log10(slow.steps_to_tolerance.min(axis=1) / fast.steps_to_tolerance.min(axis=1)))


# A number that is said to predict another.

_CONFIGURATIONS = 30


def predictor(values: Array, outcome: Array) -> float:
    """Return Spearman's rank correlation of a predictor with the outcome; NaN for a constant, which predicts nothing."""
    if np.ptp(values) == 0.0 or np.ptp(outcome) == 0.0:
        return float("nan")
    return float(stats.spearmanr(values, outcome).statistic)


def _of_predictors(share: float, slope: float, seeds: int) -> Array:
    rng = np.random.default_rng(5)
    outcome = rng.normal(size=(seeds, _CONFIGURATIONS))
    noise = rng.normal(size=outcome.shape)
    return np.array([predictor(slope * (share * o + (1 - share) * n), o) for o, n in zip(outcome, noise, strict=True)])


_SIGN_POSITIVE, _SIGN_NULL = soft_sign(with_memory)

RACES = (
    Instrument(
        name="gradient-spread",
        measures="log10 of the largest over the smallest |g_l|/sqrt(P_l)",
        direction="rises",
        positive=Control(
            dial="the spread of the blocks' gradients", levels=(1.0, 10.0, 100.0, 1e4), measure=_of_gradient_scales
        ),
        null=Control(dial="a common scale of the gradient", levels=(1e-3, 1.0, 1e3), measure=_of_common_gradient),
    ),
    Instrument(
        name="off-block-share",
        measures="|H - blocks|_F/|H|_F, the share of the Hessian outside the blocks",
        direction="rises",
        positive=Control(
            dial="the coupling c of the blocks",
            levels=(0.0, 0.1, 0.3, 0.9),
            measure=lambda levels, seeds: _columns(lambda c: _coupled(c, seeds), levels),
        ),
        null=Control(
            dial="a rotation within the blocks",
            levels=(0.0, 0.5, 1.0),
            measure=lambda levels, seeds: _columns(lambda turn: _coupled(0.3, seeds, turn), levels),
        ),
    ),
    Instrument(
        name="sign-agreement",
        measures="cosine of a step with the sign of the memory that it is made from",
        direction="rises",
        positive=_SIGN_POSITIVE,
        null=_SIGN_NULL,
    ),
    Instrument(
        name="steps-ratio",
        measures="log10 of the steps of GD over those of Adam without momentum, each at its best rate",
        direction="rises",
        positive=Control(
            dial="the heterogeneity of the Hessian",
            levels=(1.0, 10.0, 100.0, 1000.0),
            measure=lambda levels, seeds: _columns(lambda c: _race(c, 1.0, seeds), levels),
        ),
        null=Control(
            dial="a common scale of the Hessian",
            levels=(1e-2, 1.0, 1e2),
            measure=lambda levels, seeds: _columns(lambda scale: _race(10.0, scale, seeds), levels),
        ),
    ),
    Instrument(
        name="rank-correlation",
        measures="Spearman's rank correlation of a predictor with the outcome",
        direction="rises",
        positive=Control(
            dial="the share of the outcome in the predictor",
            levels=(0.0, 0.3, 0.6, 1.0),
            measure=lambda levels, seeds: _columns(lambda share: _of_predictors(share, 1.0, seeds), levels),
        ),
        null=Control(
            dial="the scale of the predictor",
            levels=(1e-3, 1.0, 1e3),
            measure=lambda levels, seeds: _columns(lambda slope: _of_predictors(0.3, slope, seeds), levels),
        ),
    ),
)
