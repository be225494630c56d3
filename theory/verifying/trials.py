"""Runs on which a theorem is tried: fresh random problems over the whole dial space, and small ones built in rationals.

A sampler yields runs that meet the theorem's hypotheses, or mostly do; `applies` has the last word.
"""

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from quadsim.simulator.engines import simulate
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.statements.adam_cycle import adam_on_orbit
from quadsim.theory.statements.quantities import MEANINGS
from quadsim.theory.symbols import Symbol

__all__ = ["BATCH", "RATIONAL", "SAMPLED", "random_problems", "rational_problem", "rational_run", "sample_runs"]

BATCH = 50
"""Problems that share their dials."""

STEPS = 30
Draw = np.random.Generator


def random_problems(draw: Draw, problems: int) -> BlockQuadratic:
    """A batch whose dials are drawn over their whole range: blocks, sizes, heterogeneity, mode, rotation, gradient, alignment."""
    blocks = int(draw.integers(1, 7))
    sizes = [int(s) for s in draw.integers(1, 9, size=blocks)]
    if draw.random() < 0.5:
        sizes = [sizes[0]] * blocks
    dials: dict[str, Any] = {"block_size": sizes, "problems": problems, "seed": int(draw.integers(2**32))}
    dials["rotation"] = float(draw.choice([0.0, draw.random(), 1.0]))
    within = _powers(draw, 0, 3) if max(sizes) > 1 else 1.0
    if blocks == 1:
        return BlockQuadratic.generate(blocks, condition_number=within, **dials)
    if len(set(sizes)) == 1 and sizes[0] > 1 and draw.random() < 0.3:
        whole = _powers(draw, 0.5, 4)
        sorted_ratio = whole ** (1 - (sizes[0] - 1) / (sum(sizes) - 1))
        return BlockQuadratic.generate(
            blocks,
            mode="arrange",
            condition_number=whole,
            heterogeneity=sorted_ratio ** (0.95 * draw.random()),
            **dials,
        )
    heterogeneity = _powers(draw, 0.01, 4)
    if draw.random() < 0.5:
        dials["gradient_heterogeneity"] = _powers(draw, 0.01, 2)
        if draw.random() < 0.7:
            alignment = draw.uniform(-1, 1) if blocks > 2 else draw.choice([-1.0, 1.0])
            dials["alignment"] = float(alignment)
    return BlockQuadratic.generate(blocks, heterogeneity=heterogeneity, condition_number=within, **dials)


def sample_runs(name: str, seed: int, problems: int) -> Iterator[Trajectory]:
    """Runs for one theorem on at least `problems` fresh problems, `BATCH` or fewer at a time."""
    draw = np.random.default_rng([seed, *name.encode()])
    for begin in range(0, problems, BATCH):
        yield from SAMPLED[name](draw, min(BATCH, problems - begin))


def _powers(draw: Draw, low: float, high: float) -> float:
    return float(10.0 ** draw.uniform(low, high))


def _value(run: Trajectory, symbol: Any) -> np.ndarray:
    """A symbol's value on every problem, from a run under one setting."""
    value = np.asarray(MEANINGS[symbol].value(run))
    return value.reshape(value.shape[0], -1)


def _probe(problem: BlockQuadratic) -> Trajectory:
    """A run of one step, for the values of symbols on a problem."""
    return simulate(problem, "adam-frozen", lr=1e-300, steps=1)


def _gd(draw: Draw, number: int) -> Iterator[Trajectory]:
    problem = random_problems(draw, number)
    L, mu = problem.block_smoothness.max(), problem.block_strong_convexity.min()
    engine = str(draw.choice(["auto", "reference"]))
    yield simulate(problem, "gd", lr=[draw.uniform(0.05, 2.3) / L, 2 / (L + mu)], steps=STEPS, engine=engine)


def _gd_stepped(draw: Draw, number: int) -> Iterator[Trajectory]:
    """In steps: the closed form is the statement itself."""
    problem = random_problems(draw, number)
    rates = draw.uniform(0.05, 2.1, size=2) / problem.block_smoothness.max()
    yield simulate(problem, "gd", lr=rates, steps=STEPS, engine="reference")


def _witness(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Errors on one eigenvector of L and one of mu, in the proportion mu : L, in two blocks or inside one."""
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
    noise = _powers(draw, -1, 1)
    yield simulate(problem, "gd", lr=rate, steps=STEPS, gradient_noise_std=noise, record=STEPS)


def _block_gd(draw: Draw, number: int) -> Iterator[Trajectory]:
    yield simulate(random_problems(draw, number), "block-gd", lr=[draw.uniform(0.05, 1.2), 1.0], steps=STEPS)


def _heavy_ball(draw: Draw, number: int) -> Iterator[Trajectory]:
    problem = random_problems(draw, number)
    high, low = np.sqrt(problem.block_smoothness.max()), np.sqrt(problem.block_strong_convexity.min())
    momentum = ((high - low) / (high + low)) ** 2
    yield simulate(problem, "heavy-ball", lr=4 / (high + low) ** 2, momentum=momentum, steps=STEPS)


def _adam_frozen(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Rates at most the smallest min_l C1_l of the batch, and each problem's own for a few."""
    problem = random_problems(draw, number)
    smallest = _value(_probe(problem), Symbol.C1_l).min(axis=1)
    rates = [smallest.min(), *draw.choice(smallest, size=3), smallest.max()]
    yield simulate(problem, "adam-frozen", lr=rates, steps=STEPS)


def _adam_frozen_any(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Any rate up to where the stiffest mode diverges."""
    problem = random_problems(draw, number)
    largest = _value(_probe(problem), Symbol.sigma_i).max(axis=1)
    yield simulate(problem, "adam-frozen", lr=draw.uniform(0.1, 2.2) / draw.choice(largest, size=2), steps=STEPS)


def _even_gradient(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Well-conditioned blocks, far apart in scale, and gradients in proportion to L_l: where r max kappa_l is small."""
    sizes = tuple(int(s) for s in draw.integers(1, 4, size=int(draw.integers(2, 5))))
    problem = BlockQuadratic.generate(
        len(sizes),
        sizes,
        heterogeneity=_powers(draw, 1, 4),
        condition_number=_powers(draw, 0, 0.5) if max(sizes) > 1 else 1.0,
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
    size, rate = int(draw.integers(1, 9)), _powers(draw, -2, 1)
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
    problem, rate = random_problems(draw, number), _powers(draw, -3, 0)
    yield simulate(problem, "adam", lr=rate, beta1=0, beta2=0, eps=0, steps=STEPS, observe=["step_sign_cosine"])


def _gradient_steps(draw: Draw, number: int) -> Iterator[Trajectory]:
    problem, seen = random_problems(draw, number), ["gradient_norm", "Lambda_G"]
    L = problem.block_smoothness.max()
    yield simulate(problem, "gd", lr=draw.uniform(0.05, 3.0, size=1) / L, steps=STEPS, observe=seen)
    yield simulate(problem, "gd-lambda", lr=[1.0, draw.uniform(0.1, 2.0)], steps=STEPS, observe=seen)


def _sign_steps(draw: Draw, number: int) -> Iterator[Trajectory]:
    problem, seen = random_problems(draw, number), ["gradient_norm_1"]
    yield simulate(problem, "signsgd", lr=_powers(draw, -3, 1), steps=STEPS, observe=seen)
    yield simulate(problem, "sign-lambda", lr=[1.0, draw.uniform(0.1, 2.0)], steps=STEPS, observe=seen)


def _gd_lambda(draw: Draw, number: int) -> Iterator[Trajectory]:
    seen = ["gradient_norm", "Lambda_G"]
    rates = [1.0, draw.uniform(0.05, 2.0)]
    yield simulate(random_problems(draw, number), "gd-lambda", lr=rates, steps=STEPS, observe=seen)


def _sign_lambda(draw: Draw, number: int) -> Iterator[Trajectory]:
    rates = [1.0, draw.uniform(0.05, 2.0)]
    yield simulate(random_problems(draw, number), "sign-lambda", lr=rates, steps=STEPS, observe=["gradient_norm_1"])


def _sign_lambda_inf(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Also at the rate that makes the step |g|_1/L_inf for one of the problems."""
    problem = random_problems(draw, number)
    probe = _probe(problem)
    best = problem.dimension * _value(probe, Symbol.Lambda_P)[:, 0] / _value(probe, Symbol.L_inf)[:, 0]
    yield simulate(problem, "sign-lambda", lr=[1.0, draw.uniform(0.05, 2.5), best.min()], steps=STEPS)


def _signsgd(draw: Draw, number: int) -> Iterator[Trajectory]:
    problem = random_problems(draw, number)
    scale = np.sqrt(problem.initial_gap.mean() / np.mean(problem.block_smoothness))
    rates = scale * 10.0 ** draw.uniform(-3, 0.5, size=2)
    yield simulate(problem, "signsgd", lr=rates, steps=STEPS, observe=["gradient_norm_1"])


def _any_rule(draw: Draw, number: int) -> Iterator[Trajectory]:
    rule = str(draw.choice(["gd", "signsgd", "adam", "sign-lambda", "heavy-ball", "lion"]))
    problem = random_problems(draw, number)
    rate = 1.0 if rule == "sign-lambda" else _powers(draw, -3, 0) / problem.block_smoothness.max()
    seen = ["gradient_norm", "block_gradient_norm", "Lambda_G"]
    yield simulate(problem, rule, lr=rate, steps=STEPS, observe=seen)


Sampler = Callable[[Draw, int], Iterator[Trajectory]]
SAMPLED: Mapping[str, Sampler] = {
    "gd-exact": _gd_stepped,
    "gd-upper": _gd,
    "gd-lower": _witness,
    "gd-noise": _noisy,
    "block-gd": _block_gd,
    "heavy-ball": _heavy_ball,
    "adam-frozen-published": _adam_frozen,
    "adam-frozen": _adam_frozen,
    "adam-frozen-exact": _adam_frozen_any,
    "adam-vs-gd": _even_gradient,
    "adam-cycle": _orbits,
    "adam-is-sign": _memoryless_adam,
    "gradient-descent-lemma": _gradient_steps,
    "sign-descent-lemma": _sign_steps,
    "gradient-complexity": _gd_lambda,
    "sign-complexity": _sign_lambda,
    "covariance-identity": _any_rule,
    "gradient-rate": _gd_lambda,
    "gradient-rate-uniform": _gd_lambda,
    "sign-rate": _sign_lambda,
    "sign-rate-inf": _sign_lambda_inf,
    "sign-constant": _signsgd,
}
"""Theorem to its sampler: one batch of that many problems, under one or more rules and settings."""


def _fraction(draw: Draw, top: int = 9) -> Fraction:
    return Fraction(int(draw.integers(1, top + 1)), int(draw.integers(1, top + 1)))


def _rational_rotation(draw: Draw, size: int) -> list[list[Fraction]]:
    """Cayley transform (I - S)(I + S)^-1 of a random rational skew-symmetric S: orthogonal and rational."""
    skew = [[Fraction(0)] * size for _ in range(size)]
    for i in range(size):
        for j in range(i):
            skew[i][j] = Fraction(int(draw.integers(-3, 4)), int(draw.integers(1, 4)))
            skew[j][i] = -skew[i][j]
    plus = [[Fraction(i == j) + skew[i][j] for j in range(size)] for i in range(size)]
    minus = [[Fraction(i == j) - skew[i][j] for j in range(size)] for i in range(size)]
    return _product(minus, _inverse(plus))


def _product(a: list[list[Fraction]], b: list[list[Fraction]]) -> list[list[Fraction]]:
    return [
        [sum((x * y for x, y in zip(row, column, strict=True)), Fraction(0)) for column in zip(*b, strict=True)]
        for row in a
    ]


def _inverse(matrix: list[list[Fraction]]) -> list[list[Fraction]]:
    from flint import fmpq, fmpq_mat

    n = len(matrix)
    inverse = fmpq_mat(n, n, [fmpq(x.numerator, x.denominator) for row in matrix for x in row]).inv()
    return [[Fraction(int(inverse[i, j].p), int(inverse[i, j].q)) for j in range(n)] for i in range(n)]


def rational_problem(draw: Draw, *, largest_block: int = 3, spectrum: list[Fraction] | None = None) -> BlockQuadratic:
    """One problem in rationals: rational eigenvalues, rational rotations, a rational start on every coordinate.

    Args:
        draw: random numbers.
        largest_block: of the two blocks.
        spectrum: eigenvalues to choose from; random fractions by default.
    """
    blocks = []
    for _ in range(2):
        size = int(draw.integers(1, largest_block + 1))
        values = [
            _fraction(draw) if spectrum is None else spectrum[int(draw.integers(len(spectrum)))] for _ in range(size)
        ]
        q = _rational_rotation(draw, size)
        scaled = [[x * v for x, v in zip(row, values, strict=True)] for row in q]
        blocks.append(_product(scaled, [list(column) for column in zip(*q, strict=True)]))
    number = sum(len(block) for block in blocks)
    start = [_fraction(draw) * int(draw.choice([-1, 1])) for _ in range(number)]
    return BlockQuadratic.from_blocks(blocks, initial_error=start)


def _dyadic(value: float) -> float:
    """The value rounded down to 20 bits: exact arithmetic then stays short, and a limit is not passed by a rounding."""
    exponent = np.floor(np.log2(value)) - 20
    return float(np.floor(value / 2.0**exponent) * 2.0**exponent)


def rational_run(name: str, draw: Draw) -> Trajectory:
    """A short run for one theorem on a problem in rationals that meets its hypotheses."""
    return RATIONAL[name](draw)


def _rational(
    rule: str, steps: int = 10, low: float = 0.1, high: float = 1.9, **options: Any
) -> Callable[[Draw], Trajectory]:
    """Rates relative to 1/L, or to 1 for a rule that sets its own."""

    def run(draw: Draw) -> Trajectory:
        problem = rational_problem(draw)
        scale = 1.0 if rule in ("block-gd", "gd-lambda", "sign-lambda") else 1.0 / problem.block_smoothness.max()
        rate = 1.0 if low == high else _dyadic(draw.uniform(low, high) * scale)
        return simulate(problem, rule, lr=rate, steps=steps, **options)

    return run


def _rational_witness(draw: Draw) -> Trajectory:
    L, mu = sorted([_fraction(draw) + 1, _fraction(draw) / 10], reverse=True)
    scale = _fraction(draw)
    problem = BlockQuadratic.from_blocks([[[L]], [[(L + mu) / 2]], [[mu]]], initial_error=[mu * scale, 0, L * scale])
    return simulate(problem, "gd", lr=_dyadic(float(draw.uniform(0.1, 2.5) / L)), steps=10)


def _rational_heavy_ball(draw: Draw) -> Trajectory:
    """With sqrt L + sqrt mu a power of two, so that rate and momentum are floats."""
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
            return simulate(problem, "adam-frozen", lr=_dyadic(float(smallest)), steps=10)


def _rational_against_gd(draw: Draw) -> Trajectory:
    """Blocks of one, the gradient in proportion to L_l."""
    values = [_fraction(draw), _fraction(draw) * 30, _fraction(draw)]
    start = [int(draw.choice([-1, 1])) * (1 + Fraction(int(draw.integers(0, 3)), 8)) for _ in values]
    return simulate(
        BlockQuadratic.from_blocks([[[v]] for v in values], initial_error=start), "adam-frozen", lr=1.0, steps=10
    )


def _rational_orbit(draw: Draw) -> Trajectory:
    beta1, rate = Fraction(int(draw.integers(0, 8)), 8), Fraction(int(draw.integers(1, 9)), 4)
    values = [_fraction(draw) for _ in range(int(draw.integers(1, 4)))]
    amplitude = rate * (1 - beta1) / (2 * (1 + beta1))
    start = [amplitude * int(draw.choice([-1, 1])) for _ in values]
    problem = BlockQuadratic.from_blocks([[[v]] for v in values], initial_error=start)
    beta2 = int(draw.integers(1, 16)) / 16
    return simulate(problem, adam_on_orbit(), lr=float(rate), beta1=float(beta1), beta2=beta2, eps=0.0, steps=6)


RATIONAL: Mapping[str, Callable[[Draw], Trajectory]] = {
    "gd-exact": _rational("gd"),
    "gd-upper": _rational("gd"),
    "gd-lower": _rational_witness,
    "block-gd": _rational("block-gd", low=0.1, high=1.2),
    "heavy-ball": _rational_heavy_ball,
    "adam-frozen-published": _rational_frozen,
    "adam-frozen": _rational_frozen,
    "adam-frozen-exact": _rational_frozen,
    "adam-vs-gd": _rational_against_gd,
    "adam-cycle": _rational_orbit,
    "adam-is-sign": _rational("adam", low=0.1, high=2.0, beta1=0, beta2=0, eps=0, observe=["step_sign_cosine"]),
    "gradient-descent-lemma": _rational("gd", observe=["gradient_norm", "Lambda_G"]),
    "sign-descent-lemma": _rational("signsgd", observe=["gradient_norm_1"]),
    # The digits of a step of 1/Lambda_G triple from one to the next.
    "gradient-complexity": _rational("gd-lambda", steps=5, low=1, high=1, observe=["gradient_norm", "Lambda_G"]),
    "sign-complexity": _rational("sign-lambda", low=1, high=1, observe=["gradient_norm_1"]),
    "covariance-identity": _rational("signsgd", observe=["gradient_norm", "block_gradient_norm", "Lambda_G"]),
    "gradient-rate": _rational("gd-lambda", steps=5, observe=["gradient_norm", "Lambda_G"]),
    "gradient-rate-uniform": _rational("gd-lambda", steps=5),
    "sign-rate": _rational("sign-lambda"),
    "sign-rate-inf": _rational("sign-lambda"),
    "sign-constant": _rational("signsgd", observe=["gradient_norm_1"]),
}
"""Theorem to a short run in rationals. gd-noise speaks of means and has none; head-drift is checked in `head`."""
