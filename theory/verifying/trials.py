"""Define the runs on which each theorem is checked: random problems over the whole range of dials, and small rational ones.

A sampler returns runs of which most meet the hypotheses of the theorem; `Theorem.applies` decides for each.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from quadsim.simulator.engines import simulate
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.checking.instance import InstanceCheck
from quadsim.theory.running.constants import worst_signs
from quadsim.theory.statements.adam_cycle import adam_on_orbit
from quadsim.theory.statements.as_run.invariance import INVARIANT
from quadsim.theory.statements.quantities import MEANINGS
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import Symbol
from quadsim.theory.verifying.coupled_trials import (
    coupled_adam_frozen,
    coupled_at_coupling,
    coupled_runs,
    rational_adam_frozen,
    rational_at_coupling,
    rational_coupled,
    search_coupled,
    search_coupled_adam_frozen,
)
from quadsim.theory.verifying.draws import Draw, dyadic, fraction, powers, product, rational_rotation
from quadsim.theory.verifying.frozen_ratios import ratio_notes
from quadsim.theory.verifying.instances.heads import of_head
from quadsim.theory.verifying.instances.memories import of_edge, of_memories
from quadsim.theory.verifying.instances.stream import of_end, of_memory, of_moments, of_signs
from quadsim.theory.verifying.instances.toy_models import of_hidden_rows, of_layer_norm, of_output_rows, of_softmax
from quadsim.theory.verifying.tightness import (
    Family,
    search_adam,
    search_adam_frozen,
    search_adam_frozen_any,
    search_adam_memoryless,
    search_block_gd,
    search_diagonal_signs,
    search_gd,
    search_gd_lambda,
    search_heavy_ball,
    search_lion,
    search_momentum,
    search_sign_lambda,
    search_signsgd,
    search_signum,
)

__all__ = ["BATCH", "TRIALS", "Trial", "random_problems", "rational_problem", "trial_of"]

BATCH = 50
"""Number of problems that share their dials."""

STEPS = 30
_NOISES = 20
_OF_STEPS = ["step_sign_cosine", "step_sign_stride"]


@dataclass(frozen=True)
class Trial:
    """The runs on which a theorem is checked.

    Attributes:
        sampled: function that draws a batch of random problems and runs them, under one or more rules and settings.
        rational: function that returns a short run in rationals that meets the hypotheses; None if there is no exact check.
        searched: for an upper bound, the runs that are searched for the tightest; see `tightness.search_tightest`.
        instance: for a theorem that is about no run, function that checks one random instance, from the theorem, the draws, the
            number of the instance and whether it must be checked in exact arithmetic.
        notes: function from a number of problems and a seed to the remarks that are reported beside the verdict.
        without: runs that violate the statement without one of its hypotheses, where changes of the sampled runs find none.
    """

    sampled: Callable[[Draw, int], Iterator[Trajectory]] | None = None
    rational: Callable[[Draw], Trajectory] | None = None
    searched: Family | None = None
    instance: Callable[[Theorem, Draw, int, bool], InstanceCheck] | None = None
    notes: Callable[[int, int], tuple[str, ...]] = lambda problems, seed: ()
    without: Callable[[], Iterator[Trajectory]] = lambda: iter(())

    def runs(
        self, name: str, problems: int, seed: int, *, exact: bool = False, beside: int = 0
    ) -> Iterator[Trajectory]:
        """Yield runs on at least `problems` new problems, at most `BATCH` at a time; the draws depend on the name and the seed.

        Args:
            name: name of the theorem.
            problems: number of problems.
            seed: seed of the draws.
            exact: whether only runs in rationals are wanted, if the trial has them.
            beside: number of runs in rationals in addition to the sampled ones.
        """
        if self.sampled is not None and not (exact and self.rational is not None):
            draw = np.random.default_rng([seed, *name.encode()])
            for begin in range(0, problems, BATCH):
                yield from self.sampled(draw, min(BATCH, problems - begin))
        if self.rational is not None:
            draw = np.random.default_rng([seed, 1, *name.encode()])
            for _ in range(problems if exact else beside):
                yield self.rational(draw)


def random_problems(draw: Draw, problems: int) -> BlockQuadratic:
    """Draw a batch whose dials are random over their whole range: blocks, sizes, heterogeneity, rotation, gradient, ..."""
    blocks = int(draw.integers(1, 7))
    sizes = [int(s) for s in draw.integers(1, 9, size=blocks)]
    if draw.random() < 0.5:
        sizes = [sizes[0]] * blocks
    dials: dict[str, Any] = {"block_size": sizes, "problems": problems, "seed": int(draw.integers(2**32))}
    dials["rotation"] = float(draw.choice([0.0, draw.random(), 1.0]))
    within = powers(draw, 0, 3) if max(sizes) > 1 else 1.0
    if blocks == 1:
        return BlockQuadratic.generate(blocks, condition_number=within, **dials)
    if len(set(sizes)) == 1 and sizes[0] > 1 and draw.random() < 0.3:
        whole = powers(draw, 0.5, 4)
        sorted_ratio = whole ** (1 - (sizes[0] - 1) / (sum(sizes) - 1))
        return BlockQuadratic.generate(
            blocks,
            mode="arrange",
            condition_number=whole,
            heterogeneity=sorted_ratio ** (0.95 * draw.random()),
            **dials,
        )
    heterogeneity = powers(draw, 0.01, 4)
    if draw.random() < 0.5:
        dials["gradient_heterogeneity"] = powers(draw, 0.01, 2)
        if draw.random() < 0.7:
            alignment = draw.uniform(-1, 1) if blocks > 2 else draw.choice([-1.0, 1.0])
            dials["alignment"] = float(alignment)
    return BlockQuadratic.generate(blocks, heterogeneity=heterogeneity, condition_number=within, **dials)


def _value(run: Trajectory, symbol: Any) -> np.ndarray:
    """Return the value of a symbol on every problem, from a run under one setting."""
    value = np.asarray(MEANINGS[symbol].value(run))
    return value.reshape(value.shape[0], -1)


def _probe(problem: BlockQuadratic) -> Trajectory:
    """Return a run of one step, for the values of symbols on a problem."""
    return simulate(problem, "adam-frozen", lr=1e-300, steps=1)


def _gd(draw: Draw, number: int) -> Iterator[Trajectory]:
    problem = random_problems(draw, number)
    L, mu = problem.block_smoothness.max(), problem.block_strong_convexity.min()
    engine = str(draw.choice(["auto", "reference"]))
    yield simulate(problem, "gd", lr=[draw.uniform(0.05, 2.3) / L, 2 / (L + mu)], steps=STEPS, engine=engine)


def _gd_stepped(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run gd step by step; the closed form would check the statement with itself."""
    problem = random_problems(draw, number)
    rates = draw.uniform(0.05, 2.1, size=2) / problem.block_smoothness.max()
    yield simulate(problem, "gd", lr=rates, steps=STEPS, engine="reference")


def _witness(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run gd with the error along one eigenvector of L and one of mu (proportion mu : L), in several blocks or in one."""
    size, scale = int(draw.integers(0, 4)), draw.uniform(0.1, 10.0, size=(number, 1))
    L, mu = np.ones((number, 1)), 10.0 ** -draw.uniform(0.01, 3.0, size=(number, 1))
    between = mu + (L - mu) * draw.uniform(0.1, 0.9, size=(number, size))
    values = np.concatenate([L, between, mu], axis=1)
    start = np.concatenate([mu, np.zeros((number, size)), L], axis=1) * scale
    blocks = [np.einsum("mi,ij->mij", values, np.eye(size + 2))]
    if draw.random() < 0.5:
        blocks = [values[:, i, None, None] for i in range(size + 2)]
    rates = [draw.uniform(0.01, 3.0), draw.uniform(0.5, 1.9)]
    yield simulate(BlockQuadratic.from_blocks(blocks, initial_error=start), "gd", lr=rates, steps=STEPS)


def _noisy(draw: Draw, number: int) -> Iterator[Trajectory]:
    problem = random_problems(draw, number)
    rate = draw.uniform(0.1, 1.9) / problem.block_smoothness.max()
    noise = powers(draw, -1, 1)
    # A mean needs many draws of the noise: every problem is run under _NOISES of them, which its index keys.
    again = replace(problem.select(list(range(number)) * _NOISES), index=np.arange(number * _NOISES))
    yield simulate(again, "gd", lr=rate, steps=STEPS, gradient_noise_std=noise, record=STEPS // 3)


def _block_gd(draw: Draw, number: int) -> Iterator[Trajectory]:
    yield simulate(random_problems(draw, number), "block-gd", lr=[draw.uniform(0.05, 1.2), 1.0], steps=STEPS)


def _heavy_ball(draw: Draw, number: int) -> Iterator[Trajectory]:
    problem = random_problems(draw, number)
    high, low = np.sqrt(problem.block_smoothness.max()), np.sqrt(problem.block_strong_convexity.min())
    momentum = ((high - low) / (high + low)) ** 2
    yield simulate(problem, "heavy-ball", lr=4 / (high + low) ** 2, momentum=momentum, steps=STEPS)


def _adam_frozen(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run frozen Adam at rates up to the smallest min_l C1_l of the batch, and at each problem's own rate for a few."""
    problem = random_problems(draw, number)
    smallest = _value(_probe(problem), Symbol.C1_l).min(axis=1)
    rates = [smallest.min(), *draw.choice(smallest, size=3), smallest.max()]
    yield simulate(problem, "adam-frozen", lr=rates, steps=STEPS)


def _adam_frozen_any(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run frozen Adam at rates up to the one where the stiffest mode diverges."""
    problem = random_problems(draw, number)
    largest = _value(_probe(problem), Symbol.sigma_i).max(axis=1)
    yield simulate(problem, "adam-frozen", lr=draw.uniform(0.1, 2.2) / draw.choice(largest, size=2), steps=STEPS)


def _even_gradient(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run on well-conditioned blocks with very different scales and gradients proportional to L_l: r max kappa_l is small."""
    sizes = tuple(int(s) for s in draw.integers(1, 4, size=int(draw.integers(2, 5))))
    problem = BlockQuadratic.generate(
        len(sizes),
        sizes,
        heterogeneity=powers(draw, 1, 4),
        condition_number=powers(draw, 0, 0.5) if max(sizes) > 1 else 1.0,
        problems=number,
        seed=int(draw.integers(2**32)),
    )
    smoothness = np.repeat(problem.block_smoothness, sizes, axis=1)
    spread = draw.uniform(1.0, 1.5, size=(number, sum(sizes))) * draw.choice([-1.0, 1.0], size=(number, sum(sizes)))
    spread /= np.abs(spread).min(axis=1, keepdims=True) * (1 - 1e-9)  # min_l C1_l is 1, and a little more
    gradient = problem.layout.split(smoothness * spread)
    error = {s: np.linalg.solve(problem.hessian[s], gradient[s][..., None])[..., 0] for s in problem.hessian}
    ends = np.cumsum(sizes)
    dense = [problem.dense(m)[0] for m in range(number)]
    blocks = [np.stack([h[e - s : e, e - s : e] for h in dense]) for e, s in zip(ends, sizes, strict=True)]
    yield simulate(
        BlockQuadratic.from_blocks(blocks, initial_error=problem.layout.flatten(error)),
        "adam-frozen",
        lr=1.0,
        steps=STEPS,
    )


def _orbits(draw: Draw, number: int) -> Iterator[Trajectory]:
    size, rate = int(draw.integers(1, 9)), powers(draw, -2, 1)
    values = 10.0 ** draw.uniform(-3, 3, size=(number, size))
    beta1, beta2 = float(draw.choice([0.0, draw.uniform(0, 0.95)])), float(draw.uniform(0.1, 0.999))
    amplitude = rate * (1 - beta1) / (2 * (1 + beta1))
    start = amplitude * draw.choice([-1.0, 1.0], size=(number, size))
    problem = BlockQuadratic.from_blocks([values[:, i, None, None] for i in range(size)], initial_error=start)
    rule: Any = "adam" if beta1 == 0.0 and draw.random() < 0.5 else adam_on_orbit()
    # Short runs where the orbit repels, as rounding errors then grow with every step.
    steps = STEPS if 1 - 3 * beta1 - 3 * beta1 * beta2 + beta1**2 * beta2 > 0 else 8
    yield simulate(problem, rule, lr=rate, beta1=beta1, beta2=beta2, eps=0.0, steps=steps)


def _memoryless_adam(draw: Draw, number: int) -> Iterator[Trajectory]:
    problem, rate = random_problems(draw, number), powers(draw, -3, 0)
    yield simulate(problem, "adam", lr=rate, beta1=0, beta2=0, eps=0, steps=STEPS, observe=_OF_STEPS)


def _gradient_steps(draw: Draw, number: int) -> Iterator[Trajectory]:
    problem, seen = random_problems(draw, number), ["gradient_norm", "Lambda_G"]
    L = problem.block_smoothness.max()
    yield simulate(problem, "gd", lr=draw.uniform(0.05, 3.0, size=1) / L, steps=STEPS, observe=seen)
    yield simulate(problem, "gd-lambda", lr=[1.0, draw.uniform(0.1, 2.0)], steps=STEPS, observe=seen)


def _sign_steps(draw: Draw, number: int) -> Iterator[Trajectory]:
    problem, seen = random_problems(draw, number), ["gradient_norm_1"]
    yield simulate(problem, "signsgd", lr=powers(draw, -3, 1), steps=STEPS, observe=seen)
    yield simulate(problem, "sign-lambda", lr=[1.0, draw.uniform(0.1, 2.0)], steps=STEPS, observe=seen)


def _gd_lambda(draw: Draw, number: int) -> Iterator[Trajectory]:
    seen = ["gradient_norm", "Lambda_G"]
    rates = [1.0, draw.uniform(0.05, 2.0)]
    yield simulate(random_problems(draw, number), "gd-lambda", lr=rates, steps=STEPS, observe=seen)


def _sign_lambda(draw: Draw, number: int) -> Iterator[Trajectory]:
    rates = [1.0, draw.uniform(0.05, 2.0)]
    yield simulate(random_problems(draw, number), "sign-lambda", lr=rates, steps=STEPS, observe=["gradient_norm_1"])


def _sign_lambda_inf(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run sign-lambda, also at the rate that gives steps of length |g|_1/L_inf for one of the problems."""
    problem = random_problems(draw, number)
    probe = _probe(problem)
    best = problem.dimension * _value(probe, Symbol.Lambda_P)[:, 0] / _value(probe, Symbol.L_inf)[:, 0]
    yield simulate(problem, "sign-lambda", lr=[1.0, draw.uniform(0.05, 2.5), best.min()], steps=STEPS)


def _signsgd(draw: Draw, number: int) -> Iterator[Trajectory]:
    problem = random_problems(draw, number)
    scale = np.sqrt(problem.initial_gap.mean() / np.mean(problem.block_smoothness))
    rates = scale * 10.0 ** draw.uniform(-3, 0.5, size=2)
    yield simulate(problem, "signsgd", lr=rates, steps=STEPS, observe=["gradient_norm_1"])


def _sign_rates(draw: Draw, problem: BlockQuadratic) -> np.ndarray:
    """Draw rates from far below the size of the start, where sign steps converge for long, to above it, where they jitter."""
    largest = max(float(np.abs(errors).max()) for errors in problem.initial_error.values())
    return np.asarray(largest * 10.0 ** draw.uniform(-3, 0.3, size=2))


def _signs_as_run(rule: str, **options: Any) -> Callable[[Draw, int], Iterator[Trajectory]]:
    """Return a sampler of runs of a rule of signs at constant rates, or by a schedule."""

    def run(draw: Draw, number: int) -> Iterator[Trajectory]:
        problem = random_problems(draw, number)
        own: dict[str, Any] = dict(options)
        schedule = str(draw.choice(own.pop("schedules", ["constant"])))
        if rule == "signum":
            own["momentum"] = float(draw.choice([0.9, draw.uniform(0, 0.97)]))
        if rule == "lion":
            own |= {"beta1": float(draw.uniform(0, 0.97)), "beta2": float(draw.choice([0.99, draw.uniform(0, 0.99)]))}
        yield simulate(problem, rule, lr=_sign_rates(draw, problem), steps=STEPS, schedule=schedule, **own)

    return run


def _preconditioned(*, memory: bool | None = None) -> Callable[[Draw, int], Iterator[Trajectory]]:
    """Return a sampler of runs of preconditioned rules as they are run: memories, eps, schedules and rates over four decades.

    Args:
        memory: whether the rule has a memory of gradients; None: either.
    """

    def run(draw: Draw, number: int) -> Iterator[Trajectory]:
        problem = random_problems(draw, number)
        without = ["rmsprop", "rmsprop-centered", "adagrad"]
        rule = str(draw.choice(["adam", "amsgrad", "adam-mini", "adamw", *([] if memory else without)]))
        options: dict[str, Any] = {"eps": float(draw.choice([0.0, 1e-8, 1e-3]))}
        if rule not in without:
            beta1 = float(draw.choice([0.9, 0.5, draw.uniform(0.05, 0.97)]))
            options["beta1"] = beta1 if memory or (memory is None and draw.random() < 0.7) else 0.0
        if rule != "adagrad":
            options["beta2"] = float(draw.choice([0.999, 0.99, 0.95, draw.uniform(0.1, 0.9999)]))
        if rule == "adamw":
            options["weight_decay"] = 0.0
        schedule = str(draw.choice(["constant", *_SCHEDULES]))
        rates = _sign_rates(draw, problem) * 10.0 ** draw.uniform(-1, 0)
        yield simulate(problem, rule, lr=rates, steps=STEPS, observe=["iterate"], schedule=schedule, **options)

    return run


def _multiples(rules: Sequence[str]) -> Callable[[Draw, int], Iterator[Trajectory]]:
    """Return a sampler of runs on blocks that are powers of two times one block, with the same start."""

    def run(draw: Draw, number: int) -> Iterator[Trajectory]:
        size = 1 if list(rules) == ["adam"] else int(draw.integers(1, 9))
        one = BlockQuadratic.generate(
            1,
            size,
            condition_number=powers(draw, 0, 2) if size > 1 else 1.0,
            problems=number,
            seed=int(draw.integers(2**32)),
        )
        scales = 2.0 ** draw.integers(-10, 11, size=int(draw.integers(2, 5)))
        start = np.concatenate([one.initial_error[size][:, 0]] * scales.size, axis=1)
        problem = BlockQuadratic.from_blocks([c * one.hessian[size][:, 0] for c in scales], initial_error=start)
        rule = str(draw.choice(list(rules)))
        names = {str(name) for name in RULES[rule].hyperparameters}
        options: dict[str, Any] = {name: 0.0 for name in ("eps", "weight_decay") if name in names}
        schedule = str(draw.choice(_SCHEDULES))
        rates = _sign_rates(draw, problem)
        yield simulate(problem, rule, lr=rates, steps=STEPS, observe=["block_gap"], schedule=schedule, **options)

    return run


def _adam_slowly(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run Adam with slow memories on small blocks, where a bound from an early state has a chance."""
    problem = BlockQuadratic.generate(
        int(draw.integers(2, 4)), int(draw.integers(2, 4)), heterogeneity=powers(draw, 0.01, 2), problems=number,
        condition_number=powers(draw, 0.01, 0.5), seed=int(draw.integers(2**32)),
    )  # fmt: skip
    beta1, beta2 = float(draw.choice([0.9, 0.8, 0.5])), float(draw.choice([0.999, 0.9999, 0.99]))
    rates = _sign_rates(draw, problem) * 10.0 ** draw.uniform(-1, 0)
    eps = float(draw.choice([0.0, 1e-8, 1e-3]))
    yield simulate(problem, "adam", lr=rates, beta1=beta1, beta2=beta2, eps=eps, steps=STEPS, observe=["iterate"])


def _momentum(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run linear rules with momentum at any rate up to the edge of stability."""
    problem, momentum = random_problems(draw, number), float(draw.uniform(0, 0.97))
    rates = draw.uniform(0.01, 2.0, size=2) * (1 + momentum) / problem.block_smoothness.max()
    rule = str(draw.choice(["heavy-ball", "nesterov"]))
    yield simulate(problem, rule, lr=rates, momentum=momentum, steps=STEPS, engine="reference")


_SCHEDULES = ("constant", "linear", "cosine:warmup=5", "inverse-sqrt")


def _diagonal_signs(draw: Draw, number: int) -> Iterator[Trajectory]:
    problem = BlockQuadratic.generate(
        int(draw.integers(2, 5)), int(draw.integers(2, 7)), heterogeneity=powers(draw, 0.01, 3), rotation=0.0,
        condition_number=powers(draw, 0, 3), problems=number, seed=int(draw.integers(2**32)),
    )  # fmt: skip
    yield simulate(problem, "signsgd", lr=_sign_rates(draw, problem), steps=STEPS)


def _sign_cycles(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run from the starts (k + 1/2) lr s of sign-cycle, with s a maximiser of s'Hs in every block."""
    problem = random_problems(draw, number)
    signs = problem.layout.flatten({size: worst_signs(h) for size, h in problem.hessian.items()})
    rate, times = 2.0 ** int(draw.integers(-8, 3)), draw.integers(0, STEPS, size=(number, 1)) + 0.5
    ends = np.cumsum(problem.block_sizes)
    dense = [problem.dense(m)[0] for m in range(number)]
    blocks = [
        np.stack([h[e - n : e, e - n : e] for h in dense]) for e, n in zip(ends, problem.block_sizes, strict=True)
    ]
    start = BlockQuadratic.from_blocks(blocks, initial_error=times * rate * signs)
    yield simulate(start, "signsgd", lr=rate, steps=STEPS)


def _stiff_at_rest() -> Iterator[Trajectory]:
    """Yield the run in rationals that violates sign-midpoint where an entry of the first gradient is 0.

    Coordinates 1 and 2 are stiff. The entry 1 is 0, so that SignSGD leaves coordinate 1 alone in the first step, and the gap at
    the first midpoint knows nothing of it; coordinate 3, which is coupled to it, makes it jump in the second step. From then on
    both stiff coordinates jump between 0 and lr, in turn, and both gaps of two neighbouring steps are about stiff lr^2/2. The
    recursion allows for one of them, 3 stiff lr^2/8 with the jitter: M_l grows with the root of the stiffness alone, as every
    start without a zero pays for coordinate 1 in the first midpoint.
    """
    stiff, start = Fraction(400), Fraction(3, 2)
    hessian = [
        [stiff, Fraction(0), Fraction(1)],
        [Fraction(0), stiff, Fraction(0)],
        [Fraction(1), Fraction(0), Fraction(1)],
    ]
    problem = BlockQuadratic.from_blocks([hessian], initial_error=[-start / stiff, Fraction(-1, 64), start])
    yield simulate(problem, "signsgd", lr=1.0, steps=3, record="all", observe=["iterate"], engine="reference")


def _any_rule(draw: Draw, number: int) -> Iterator[Trajectory]:
    rule = str(draw.choice(["gd", "signsgd", "adam", "sign-lambda", "heavy-ball", "lion"]))
    problem = random_problems(draw, number)
    rate = 1.0 if rule == "sign-lambda" else powers(draw, -3, 0) / problem.block_smoothness.max()
    seen = ["gradient_norm", "block_gradient_norm", "Lambda_G"]
    yield simulate(problem, rule, lr=rate, steps=STEPS, observe=seen)


def rational_problem(draw: Draw, *, largest_block: int = 3, spectrum: list[Fraction] | None = None) -> BlockQuadratic:
    """Draw one problem in rationals: rational eigenvalues, rational rotations, and a rational start in every coordinate.

    Args:
        draw: generator of random numbers.
        largest_block: largest size of the two blocks.
        spectrum: eigenvalues to choose from; by default random fractions.
    """
    blocks = []
    for _ in range(2):
        size = int(draw.integers(1, largest_block + 1))
        values = [
            fraction(draw) if spectrum is None else spectrum[int(draw.integers(len(spectrum)))] for _ in range(size)
        ]
        q = rational_rotation(draw, size)
        scaled = [[x * v for x, v in zip(row, values, strict=True)] for row in q]
        blocks.append(product(scaled, [list(column) for column in zip(*q, strict=True)]))
    number = sum(len(block) for block in blocks)
    start = [fraction(draw) * int(draw.choice([-1, 1])) for _ in range(number)]
    return BlockQuadratic.from_blocks(blocks, initial_error=start)


def _rational(
    rule: str, steps: int = 10, low: float = 0.1, high: float = 1.9, **options: Any
) -> Callable[[Draw], Trajectory]:
    """Return a sampler of rational runs; rates are relative to 1/L, or to 1 for a rule that sets its own rate."""

    def run(draw: Draw) -> Trajectory:
        problem = rational_problem(draw)
        scale = 1.0 if rule in ("block-gd", "gd-lambda", "sign-lambda") else 1.0 / problem.block_smoothness.max()
        rate = 1.0 if low == high else dyadic(draw.uniform(low, high) * scale)
        return simulate(problem, rule, lr=rate, steps=steps, **options)

    return run


def _rational_witness(draw: Draw) -> Trajectory:
    L, mu = sorted([fraction(draw) + 1, fraction(draw) / 10], reverse=True)
    scale = fraction(draw)
    problem = BlockQuadratic.from_blocks([[[L]], [[(L + mu) / 2]], [[mu]]], initial_error=[mu * scale, 0, L * scale])
    return simulate(problem, "gd", lr=dyadic(float(draw.uniform(0.1, 2.5) / L)), steps=10)


def _rational_heavy_ball(draw: Draw) -> Trajectory:
    """Run heavy-ball in rationals, with sqrt L + sqrt mu a power of two, so that rate and momentum are exact floats."""
    low = Fraction(int(draw.integers(1, 8)), 8)
    high = 2 - low
    spectrum = [high**2, low**2, (high**2 + low**2) / 2]
    problem = rational_problem(draw, spectrum=spectrum)
    ends = (problem.block_smoothness.max(), problem.block_strong_convexity.min())
    if not np.allclose(ends, (float(high**2), float(low**2)), rtol=1e-9):
        return _rational_heavy_ball(draw)
    return simulate(problem, "heavy-ball", lr=1.0, momentum=float(((high - low) / 2) ** 2), steps=10)


def _rational_frozen(draw: Draw) -> Trajectory:
    while True:
        problem = rational_problem(draw)
        probe = _probe(problem)
        smallest = _value(probe, Symbol.C1_l).min()
        if smallest > 0.0:
            return simulate(problem, "adam-frozen", lr=dyadic(float(smallest)), steps=10)


def _rational_against_gd(draw: Draw) -> Trajectory:
    """Run rational problems with blocks of one coordinate and gradients proportional to L_l."""
    values = [fraction(draw), fraction(draw) * 30, fraction(draw)]
    start = [int(draw.choice([-1, 1])) * (1 + Fraction(int(draw.integers(0, 3)), 8)) for _ in values]
    return simulate(
        BlockQuadratic.from_blocks([[[v]] for v in values], initial_error=start), "adam-frozen", lr=1.0, steps=10
    )


def _rational_orbit(draw: Draw) -> Trajectory:
    beta1, rate = Fraction(int(draw.integers(0, 8)), 8), Fraction(int(draw.integers(1, 9)), 4)
    values = [fraction(draw) for _ in range(int(draw.integers(1, 4)))]
    amplitude = rate * (1 - beta1) / (2 * (1 + beta1))
    start = [amplitude * int(draw.choice([-1, 1])) for _ in values]
    problem = BlockQuadratic.from_blocks([[[v]] for v in values], initial_error=start)
    beta2 = int(draw.integers(1, 16)) / 16
    return simulate(problem, adam_on_orbit(), lr=float(rate), beta1=float(beta1), beta2=beta2, eps=0.0, steps=6)


def _rational_diagonal(draw: Draw) -> Trajectory:
    values = [fraction(draw) for _ in range(int(draw.integers(2, 5)))]
    start = [fraction(draw) * int(draw.choice([-1, 1])) for _ in values]
    problem = BlockQuadratic.from_blocks([[[v]] for v in values], initial_error=start)
    return simulate(problem, "signsgd", lr=dyadic(float(draw.uniform(0.05, 1.0))), steps=10)


def _rational_cycle(draw: Draw) -> Trajectory:
    """Run from (k + 1/2) lr s in rationals, with lr a power of two."""
    problem = rational_problem(draw)
    assert problem.exact is not None
    signs = problem.layout.flatten({size: worst_signs(h) for size, h in problem.hessian.items()})[0]
    rate = Fraction(1, 2 ** int(draw.integers(0, 4)))
    start = [rate * Fraction(2 * int(draw.integers(0, 6)) + 1, 2)] * len(signs)
    start = [start[0] * int(s) for s in signs]
    again = BlockQuadratic.from_blocks(list(problem.exact.blocks), initial_error=start)
    return simulate(again, "signsgd", lr=float(rate), steps=10)


_GRADIENT = ("gradient_norm", "Lambda_G")
_SIGN = ("gradient_norm_1",)


def _rational_multiples(draw: Draw) -> Trajectory:
    """Run a rule of signs on two multiples of one rational block, by powers of two, from the same start."""
    one = rational_problem(draw)
    assert one.exact is not None
    block, size = one.exact.blocks[0], len(one.exact.blocks[0])
    scale = 2 ** int(draw.integers(1, 5))
    start = [*one.exact.initial_error[:size]] * 2
    both = BlockQuadratic.from_blocks([block, [[scale * x for x in row] for row in block]], initial_error=start)
    rule = str(draw.choice(["signsgd", "signum"]))
    return simulate(both, rule, lr=dyadic(float(draw.uniform(0.05, 1.0))), steps=10, observe=["block_gap"])


def _rational_scalars(draw: Draw) -> Trajectory:
    """Run Adam with beta2 = 0, whose root is rational, on blocks of one with one modulus of the start."""
    values, start = [fraction(draw) for _ in range(3)], fraction(draw)
    signs = [start * int(draw.choice([-1, 1])) for _ in values]
    problem = BlockQuadratic.from_blocks([[[v]] for v in values], initial_error=signs)
    settings: dict[str, Any] = {"beta1": float(draw.choice([0.0, 0.5])), "beta2": 0.0, "eps": 0.0}
    return simulate(
        problem, "adam", lr=dyadic(float(draw.uniform(0.05, 0.5))), steps=6, observe=["block_gap"], **settings
    )


def _rational_adam(beta1: float) -> Callable[[Draw], Trajectory]:
    """Return a sampler of short runs of Adam on rational problems, with no 0 in the first gradient; its roots are balls."""

    def run(draw: Draw) -> Trajectory:
        while True:
            problem = rational_problem(draw)
            if all((h @ e[..., None] != 0.0).all() for h, e in _stiffness_and_start(problem)):
                break
        rate = dyadic(float(draw.uniform(0.05, 0.5)) / problem.block_smoothness.max())
        settings: dict[str, Any] = {"beta1": beta1, "beta2": 0.75, "eps": 0.125}
        return simulate(problem, "adam", lr=rate, steps=5, observe=["iterate"], **settings)

    return run


def _stiffness_and_start(problem: BlockQuadratic) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    return ((problem.hessian[size], problem.initial_error[size]) for size in problem.hessian)


TRIALS: dict[str, Trial] = {
    "gd-exact": Trial(_gd_stepped, rational=_rational("gd")),
    "gd-upper": Trial(_gd, rational=_rational("gd"), searched=search_gd),
    "gd-lower": Trial(_witness, rational=_rational_witness),
    "gd-noise": Trial(_noisy),
    "block-gd": Trial(_block_gd, rational=_rational("block-gd", low=0.1, high=1.2), searched=search_block_gd),
    "heavy-ball": Trial(_heavy_ball, rational=_rational_heavy_ball, searched=search_heavy_ball),
    "adam-frozen-published": Trial(
        _adam_frozen, rational=_rational_frozen, searched=search_adam_frozen, notes=ratio_notes
    ),
    "adam-frozen": Trial(_adam_frozen, rational=_rational_frozen, searched=search_adam_frozen),
    "adam-frozen-exact": Trial(_adam_frozen_any, rational=_rational_frozen, searched=search_adam_frozen_any),
    "adam-vs-gd": Trial(_even_gradient, rational=_rational_against_gd, searched=search_adam_frozen),
    "adam-cycle": Trial(_orbits, rational=_rational_orbit),
    "adam-is-sign": Trial(
        _memoryless_adam,
        rational=_rational("adam", low=0.1, high=2.0, beta1=0, beta2=0, eps=0, observe=_OF_STEPS),
    ),
    "gradient-descent-lemma": Trial(
        _gradient_steps, rational=_rational("gd", observe=["gradient_norm", "Lambda_G"]), searched=search_gd
    ),
    "sign-descent-lemma": Trial(
        _sign_steps, rational=_rational("signsgd", observe=["gradient_norm_1"]), searched=search_signsgd
    ),
    # The digits of a step of 1/Lambda_G triple from one to the next.
    "gradient-complexity": Trial(
        _gd_lambda,
        rational=_rational("gd-lambda", steps=5, low=1, high=1, observe=["gradient_norm", "Lambda_G"]),
        searched=search_gd_lambda,
    ),
    "sign-complexity": Trial(
        _sign_lambda,
        rational=_rational("sign-lambda", low=1, high=1, observe=["gradient_norm_1"]),
        searched=search_sign_lambda,
    ),
    "covariance-identity": Trial(
        _any_rule, rational=_rational("signsgd", observe=["gradient_norm", "block_gradient_norm", "Lambda_G"])
    ),
    "gradient-rate": Trial(
        _gd_lambda,
        rational=_rational("gd-lambda", steps=5, observe=["gradient_norm", "Lambda_G"]),
        searched=search_gd_lambda,
    ),
    "gradient-rate-uniform": Trial(_gd_lambda, rational=_rational("gd-lambda", steps=5), searched=search_gd_lambda),
    "sign-rate": Trial(_sign_lambda, rational=_rational("sign-lambda"), searched=search_sign_lambda),
    "sign-rate-inf": Trial(_sign_lambda_inf, rational=_rational("sign-lambda"), searched=search_sign_lambda),
    "sign-constant": Trial(
        _signsgd, rational=_rational("signsgd", observe=["gradient_norm_1"]), searched=search_signsgd
    ),
    "block-gd-coupled": Trial(
        coupled_runs(("block-gd",), 0.05, 1.2),
        rational=rational_coupled("block-gd", low=0.1, high=1.0),
        searched=search_coupled("block-gd"),
    ),
    "block-gd-at-coupling": Trial(
        coupled_at_coupling, rational=rational_at_coupling, searched=search_coupled("block-gd-at-coupling")
    ),
    "adam-frozen-coupled": Trial(
        coupled_adam_frozen, rational=rational_adam_frozen, searched=search_coupled_adam_frozen
    ),
    "gradient-descent-lemma-coupled": Trial(
        coupled_runs(("gd", "gd-lambda"), 0.05, 2.0, observe=_GRADIENT),
        rational=rational_coupled("gd", observe=_GRADIENT),
        searched=search_coupled("gd"),
    ),
    "sign-descent-lemma-coupled": Trial(
        coupled_runs(("signsgd", "sign-lambda"), 0.05, 2.0, observe=_SIGN),
        rational=rational_coupled("signsgd", observe=_SIGN),
        searched=search_coupled("signsgd"),
    ),
    "gradient-complexity-coupled": Trial(
        coupled_runs(("gd-lambda",), 0.1, 1.2, observe=_GRADIENT),
        rational=rational_coupled("gd-lambda", steps=5, high=1.0, observe=_GRADIENT),
        searched=search_coupled("gd-lambda"),
    ),
    "sign-complexity-coupled": Trial(
        coupled_runs(("sign-lambda",), 0.1, 1.2, observe=_SIGN),
        rational=rational_coupled("sign-lambda", high=1.0, observe=_SIGN),
        searched=search_coupled("sign-lambda"),
    ),
    "steepest-descent-lemma": Trial(
        coupled_runs(("normalized-gd", "signsgd"), 0.05, 2.0, observe=(*_GRADIENT, *_SIGN)),
        rational=rational_coupled("signsgd", observe=(*_GRADIENT, *_SIGN)),
        searched=search_coupled("signsgd"),
    ),
    "gradient-descent-lemma-general": Trial(
        coupled_runs(("gd", "gd-lambda"), 0.05, 2.0, observe=_GRADIENT),
        rational=rational_coupled("gd", observe=_GRADIENT),
        searched=search_coupled("gd"),
    ),
    "sign-descent-lemma-general": Trial(
        coupled_runs(("signsgd", "sign-lambda"), 0.05, 2.0, observe=_SIGN),
        rational=rational_coupled("signsgd", observe=_SIGN),
        searched=search_coupled("signsgd"),
    ),
    "gradient-complexity-general": Trial(
        coupled_runs(("gd-lambda",), 1.0, 1.0, observe=_GRADIENT, mild=True),
        rational=rational_coupled("gd-lambda", steps=5, low=1.0, high=1.0, coupling=Fraction(1, 16), observe=_GRADIENT),
        searched=search_coupled("gd-lambda", coupling=0.1),
    ),
    "sign-complexity-general": Trial(
        coupled_runs(("sign-lambda",), 1.0, 1.0, observe=_SIGN),
        rational=rational_coupled("sign-lambda", low=1.0, high=1.0, coupling=Fraction(1, 8), observe=_SIGN),
        searched=search_coupled("sign-lambda", coupling=0.1),
    ),
    "sign-constant-gap": Trial(
        _signs_as_run("signsgd", schedules=_SCHEDULES),
        rational=_rational("signsgd", low=0.05, high=2.0),
        searched=search_signsgd,
    ),
    "sign-constant-steps": Trial(
        _signs_as_run("signsgd", observe=["block_gap"]),
        rational=_rational("signsgd", low=0.02, high=0.1, observe=["block_gap"]),
        searched=search_signsgd,
    ),
    "sign-midpoint": Trial(
        _signs_as_run("signsgd", observe=["iterate"]),
        rational=_rational("signsgd", low=0.05, high=1.0, observe=["iterate"]),
        searched=search_signsgd,
        without=_stiff_at_rest,
    ),
    "signum-gap": Trial(
        _signs_as_run("signum"), rational=_rational("signum", low=0.05, high=1.0, momentum=0.5), searched=search_signum
    ),
    "lion-gap": Trial(
        _signs_as_run("lion"),
        rational=_rational("lion", low=0.05, high=1.0, beta1=0.5, beta2=0.75),
        searched=search_lion,
    ),
    "sign-diagonal": Trial(_diagonal_signs, rational=_rational_diagonal, searched=search_diagonal_signs),
    "sign-distance": Trial(
        _signs_as_run("signsgd", schedules=_SCHEDULES), rational=_rational("signsgd", low=0.05, high=0.3)
    ),
    "sign-cycle": Trial(_sign_cycles, rational=_rational_cycle),
    "adam-local": Trial(_preconditioned(memory=False), rational=_rational_adam(0.0), searched=search_adam_memoryless),
    "adam-energy": Trial(_preconditioned(), rational=_rational_adam(0.5), searched=search_adam),
    "adam-certificate": Trial(_preconditioned(memory=True), rational=_rational_adam(0.5), searched=search_adam),
    "adam-certificate-gap": Trial(_preconditioned(memory=True), searched=search_adam),
    "adam-from-state": Trial(_adam_slowly, searched=search_adam),
    "adam-span": Trial(_preconditioned(), searched=search_adam),
    "linear-modes": Trial(
        _momentum, rational=_rational("heavy-ball", low=0.1, high=1.0, momentum=0.25), searched=search_momentum
    ),
    "block-scale-invariance": Trial(_multiples(INVARIANT), rational=_rational_multiples),
    "adam-diagonal": Trial(_multiples(("adam",)), rational=_rational_scalars),
    "gd-lower-start": Trial(_gd, rational=_rational("gd")),
    "head-drift": Trial(instance=of_head),
    "layer-norm-jacobian": Trial(instance=of_layer_norm),
    "softmax-jacobian": Trial(instance=of_softmax),
    "output-row-share": Trial(instance=of_output_rows),
    "hidden-row-ratio": Trial(instance=of_hidden_rows),
    "adam-equal-betas": Trial(instance=of_memories),
    "frozen-momentum-edge": Trial(instance=of_edge),
    "sgd-moments": Trial(instance=of_moments),
    "sgd-stability": Trial(instance=of_end),
    "sgd-floor": Trial(instance=of_end),
    "heavy-ball-moments": Trial(instance=of_memory),
    "heavy-ball-stability": Trial(instance=of_end),
    "heavy-ball-floor": Trial(instance=of_end),
    "sign-one-step": Trial(instance=of_signs),
}
"""Name of each theorem to its trial. gd-noise is about means and has no exact runs; bounds on gaps from products of many factors
(adam-certificate-gap, adam-span) and from enclosures (adam-from-state) have none either."""


def trial_of(theorem: Theorem) -> Trial:
    """Return the trial of a theorem.

    Raises:
        ValueError: a theorem without one.
    """
    if theorem.name not in TRIALS:
        raise ValueError(
            f"a theorem to verify must have a Trial in quadsim.theory.verifying.trials.TRIALS, got {theorem.name} without one; "
            "add the runs on which it is checked, or only prove it: quadsim.theory.prove(step) for its steps."
        )
    return TRIALS[theorem.name]
