"""Search for runs that come close to an upper bound, over spectra, rotations, starts and learning rates, without gradients.

Differential evolution (Storn and Price, 1997) over two blocks of two coordinates; a whole generation is one batch of problems.
The learning rate of all members is 1; scaling the Hessian or the start has the effect of another rate, separately for each.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import differential_evolution

from quadsim.simulator.engines import simulate
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.checking.floats import compare_floats
from quadsim.theory.statements.quantities import evaluate_along
from quadsim.theory.statements.theorem import Theorem

__all__ = [
    "Family",
    "Tightest",
    "closeness",
    "search_adam",
    "search_adam_frozen",
    "search_adam_frozen_any",
    "search_adam_memoryless",
    "search_block_gd",
    "search_diagonal_signs",
    "search_gd",
    "search_gd_lambda",
    "search_heavy_ball",
    "search_lion",
    "search_momentum",
    "search_sign_lambda",
    "search_signsgd",
    "search_signum",
    "search_tightest",
]

Array = NDArray[np.float64]

Family = Callable[[Array], Trajectory]
"""A function that runs one generation of the search as one batch; each column has the unknowns of _BOUNDS."""

_BOUNDS = [(-3.0, 0.0)] * 4 + [(0.0, np.pi / 2)] * 2 + [(-1.0, 1.0)] * 4 + [(0.02, 2.2)]
"""Ranges of the unknowns: log10 of four eigenvalues, an angle per block, four coefficients of the start, and the scale."""

_STEPS = 8
_POPULATION = 6  # members of a generation for each of the 11 unknowns


@dataclass(frozen=True)
class Tightest:
    """The result of a search.

    Attributes:
        margin: the largest `closeness` that was found.
        evaluations: number of instances that were run.
        instance: eigenvalues, start and scale of the best instance.
        suspects: runs that are beyond the bound by more than rounding, for `check`; at most three.
    """

    margin: float
    evaluations: int
    instance: str
    suspects: tuple[Trajectory, ...] = ()


def _problem(x: Array, scale: Array) -> BlockQuadratic:
    """Return the batch of problems of the columns of x, with the Hessian times `scale`."""
    values = 10.0 ** x[:4]
    blocks = []
    for b in range(2):
        c, s = np.cos(x[4 + b]), np.sin(x[4 + b])
        q = np.array([[c, -s], [s, c]]).transpose(2, 0, 1)
        blocks.append(scale[:, None, None] * np.einsum("mij,jm,mkj->mik", q, values[2 * b : 2 * b + 2], q))
    # A start of exactly 0 has no ratio of gaps.
    return BlockQuadratic.from_blocks(blocks, initial_error=np.where(x[6:10] == 0.0, 1e-3, x[6:10]).T)


def _largest(x: Array) -> Array:
    return np.asarray(10.0 ** x[:4].max(axis=0))


def _gradient(problem: BlockQuadratic) -> Array:
    return problem.layout.flatten({
        s: np.matmul(problem.hessian[s], e[..., None])[..., 0] for s, e in problem.initial_error.items()
    })


def _scaled_start(problem: BlockQuadratic, factor: Array) -> BlockQuadratic:
    dense = [problem.dense(m) for m in range(problem.problems)]
    blocks = [np.stack([h[b : b + 2, b : b + 2] for h, _ in dense]) for b in (0, 2)]
    start = np.stack([e for _, e in dense]) * factor[:, None]
    return BlockQuadratic.from_blocks(blocks, initial_error=start)


def search_gd(x: Array) -> Trajectory:
    """Run gradient descent."""
    problem = _problem(x, x[10] / _largest(x))
    return simulate(problem, "gd", lr=1.0, steps=_STEPS, observe=["gradient_norm", "Lambda_G"], engine="reference")


def search_block_gd(x: Array) -> Trajectory:
    """Run gradient descent with one learning rate per block."""
    return simulate(_problem(x, np.ones(x.shape[1])), "block-gd", lr=[0.5, 1.0], steps=_STEPS)


def search_heavy_ball(x: Array) -> Trajectory:
    """Run heavy-ball with L = 1 and mu = 1/25 in every member, so that all have the same learning rate and momentum."""
    x = x.copy()
    x[0], x[1] = 0.0, -2 * np.log10(5.0)
    x[2:4] = np.maximum(x[2:4], x[1])
    return simulate(
        _problem(x, np.ones(x.shape[1])), "heavy-ball", lr=4 / 1.2**2, momentum=(0.8 / 1.2) ** 2, steps=_STEPS
    )


def search_adam_frozen(x: Array) -> Trajectory:
    """Run frozen Adam with the start scaled so that min_l C1_l is slightly above 1."""
    problem = _problem(x, np.ones(x.shape[1]))
    smoothness = np.repeat(problem.block_smoothness, 2, axis=1)
    smallest = np.min(np.abs(_gradient(problem)) / smoothness, axis=1)
    return simulate(
        _scaled_start(problem, (1 + 1e-12) / np.maximum(smallest, 1e-12)), "adam-frozen", lr=1.0, steps=_STEPS
    )


def search_adam_frozen_any(x: Array) -> Trajectory:
    """Run frozen Adam at any learning rate."""
    problem = _problem(x, np.ones(x.shape[1]))
    return simulate(_scaled_start(problem, 1.0 / x[10]), "adam-frozen", lr=1.0, steps=_STEPS)


def _sized_start(x: Array) -> BlockQuadratic:
    """Return problems with starts of different sizes, which for sign steps has the effect of different learning rates."""
    return _scaled_start(_problem(x, np.ones(x.shape[1])), 10.0 ** (x[10] - 1))


def search_signsgd(x: Array) -> Trajectory:
    """Run sign descent."""
    seen = ["gradient_norm_1", "block_gap", "iterate"]
    return simulate(_sized_start(x), "signsgd", lr=1.0, steps=_STEPS, observe=seen)


def search_signum(x: Array) -> Trajectory:
    """Run the sign of the mean gradient."""
    return simulate(_sized_start(x), "signum", lr=1.0, momentum=[0.5, 0.9], steps=_STEPS)


def search_lion(x: Array) -> Trajectory:
    """Run the sign of a mix of gradient and memory."""
    return simulate(_sized_start(x), "lion", lr=1.0, beta1=[0.5, 0.9], beta2=[0.5, 0.99], steps=_STEPS)


def search_diagonal_signs(x: Array) -> Trajectory:
    """Run sign descent on diagonal blocks."""
    x = x.copy()
    x[4:6] = 0.0
    return simulate(_sized_start(x), "signsgd", lr=1.0, steps=_STEPS)


def search_adam(x: Array) -> Trajectory:
    """Run Adam with two memories of the mean gradient."""
    return simulate(_sized_start(x), "adam", lr=0.3, beta1=[0.5, 0.9], steps=_STEPS, observe=["iterate"])


def search_adam_memoryless(x: Array) -> Trajectory:
    """Run Adam without a memory of the mean gradient."""
    return simulate(_sized_start(x), "adam", lr=0.3, beta1=0.0, steps=_STEPS, observe=["iterate"])


def search_momentum(x: Array) -> Trajectory:
    """Run heavy-ball at any rate, with two momenta."""
    problem = _problem(x, x[10] / _largest(x))
    return simulate(problem, "heavy-ball", lr=1.0, momentum=[0.5, 0.9], steps=_STEPS, engine="reference")


def search_gd_lambda(x: Array) -> Trajectory:
    """Run gradient descent with the learning rate 1/Lambda_G."""
    return simulate(
        _problem(x, np.ones(x.shape[1])), "gd-lambda", lr=1.0, steps=_STEPS, observe=["gradient_norm", "Lambda_G"]
    )


def search_sign_lambda(x: Array) -> Trajectory:
    """Run sign descent with steps of length |g|_1/(P Lambda_P)."""
    return simulate(
        _problem(x, np.ones(x.shape[1])), "sign-lambda", lr=[0.5, 1.0], steps=_STEPS, observe=["gradient_norm_1"]
    )


def closeness(theorem: Theorem, trajectory: Trajectory) -> Array:
    """Return how close a run comes to an upper bound, (M, K): 1 if it attains the bound, 0 if the theorem does not apply.

    For a factor below 1 it is the guaranteed over the observed decrease, at the step where they are closest (a ratio of gaps
    would be close to 1 for every slow run); for other bounds it is the observed value over the bound.
    """
    margin = compare_floats(theorem, trajectory).margin
    if theorem.is_factor:
        gap = trajectory.gap
        with np.errstate(all="ignore"):
            guaranteed = evaluate_along(theorem.decrease, trajectory)[:, :, :-1]
            seen = (gap[:, :, :-1] - gap[:, :, 1:]) / gap[:, :, :-1]
            # Below sqrt(u) both decreases are mostly rounding, and so is a gap that far below the start.
            usable = (guaranteed > 1e-8) & (seen > 0.0) & (gap[:, :, 1:] > 1e-8 * gap[:, :, :1])
            margin = np.max(np.where(usable, guaranteed / seen, 0.0), axis=-1)
    # An instance that exceeds 1 by more than rounding is a suspect, which `check` examines, not the tightest instance.
    sound = theorem.applies(trajectory) & (margin <= 1.0 + 1e-6)
    out: Array = np.where(sound, margin, 0.0)
    return out


def _only(run: Trajectory, m: int) -> Trajectory:
    """Return the run of one problem."""
    return replace(
        run,
        problem=run.problem.select([m]),
        gap=run.gap[[m]],
        steps_to_tolerance=run.steps_to_tolerance[[m]],
        steps_to_stay=run.steps_to_stay[[m]],
        steps_to_mean=run.steps_to_mean[[m]],
        status=run.status[[m]],
        observed={name: values[[m]] for name, values in run.observed.items()},
    )


def search_tightest(theorem: Theorem, family: Family, *, evaluations: int = 3000, seed: int = 0) -> Tightest:
    """Search for the run that comes closest to an upper bound.

    Args:
        theorem: an upper bound.
        family: the runs that are searched, as `TRIALS[name].searched`.
        evaluations: approximate number of instances to run.
        seed: seed of the search.
    """
    best, tried = (-np.inf, np.zeros(len(_BOUNDS))), 0
    suspects: list[Trajectory] = []

    def loss(x: Array) -> Array:
        nonlocal best, tried
        x = x.reshape(len(_BOUNDS), -1)
        run = family(x)
        beyond = theorem.applies(run) & compare_floats(theorem, run).flagged
        suspects.extend(_only(run, int(m)) for m in np.flatnonzero(beyond.any(axis=1))[: 3 - len(suspects)])
        margin: Array = closeness(theorem, run).max(axis=1)
        tried += margin.size
        if margin.max() > best[0]:
            best = float(margin.max()), x[:, margin.argmax()].copy()
        return np.negative(margin)

    generations = max(1, evaluations // (_POPULATION * len(_BOUNDS)) - 1)
    differential_evolution(
        loss, _BOUNDS, maxiter=generations, popsize=_POPULATION, tol=0.0, rng=seed, polish=False, vectorized=True,
        updating="deferred",
    )  # fmt: skip
    values, start = (", ".join(f"{v:.3g}" for v in part) for part in (10.0 ** best[1][:4], best[1][6:10]))
    return Tightest(best[0], tried, f"eigenvalues {values}; start {start}; scale {best[1][10]:.3g}", tuple(suspects))
