"""The runs on which theorems about coupled blocks are checked: random ones, small ones in rationals, and families to search."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from quadsim.simulator.engines import simulate
from quadsim.simulator.problems.coupling import PARTITIONS, partition_sizes
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.statements.coupled.survival import coupled_block_gd
from quadsim.theory.statements.quantities import MEANINGS
from quadsim.theory.symbols import Symbol
from quadsim.theory.verifying.draws import Draw, dyadic, fraction, powers, product, rational_rotation

__all__ = [
    "coupled_adam_frozen",
    "coupled_at_coupling",
    "coupled_problems",
    "coupled_runs",
    "rational_adam_frozen",
    "rational_at_coupling",
    "rational_coupled",
    "rational_coupled_problem",
    "search_coupled",
    "search_coupled_adam_frozen",
]

_STEPS = 30
_SHORT = 8
_OWN_RATE = ("block-gd", "gd-lambda", "sign-lambda", "block-gd-at-coupling")
"""Rules that set their own rate, so that lr is near 1."""


def coupled_problems(draw: Draw, problems: int, *, mild: bool = False) -> BlockQuadratic:
    """Draw a batch with a random coupling (or none) and partition; other dials as in `random_problems`, over a smaller range.

    Args:
        draw: generator of random numbers.
        problems: number of problems.
        mild: whether coupling and heterogeneity are so small that delta <= min L_l/3.
    """
    sizes = [int(s) for s in draw.integers(1, 7, size=int(draw.integers(2, 6)))]
    coupling = float(draw.choice([0.0, draw.uniform(0.0, 0.3), draw.uniform(0.3, 0.95)], p=[0.1, 0.45, 0.45]))
    if mild:
        coupling = float(draw.uniform(0.0, 0.1))
    partition = "hessian" if mild else str(draw.choice(["hessian", "hessian", *PARTITIONS]))
    try:
        partition_sizes(partition, sizes)
    except ValueError:  # these blocks have no such partition
        partition = "hessian"
    return BlockQuadratic.generate(
        block_size=sizes, heterogeneity=powers(draw, 0, 0.9 if mild else 3), problems=problems, seed=int(draw.integers(2**32)),
        condition_number=powers(draw, 0, 2) if max(sizes) > 1 else 1.0,
        rotation=float(draw.choice([0.0, draw.random(), 1.0])), coupling=coupling, partition=partition,
    )  # fmt: skip


def _scale(problem: BlockQuadratic, rule: str) -> float:
    """Return the unit in which rates of a rule are drawn."""
    if rule in _OWN_RATE:
        return 1.0
    if rule in ("signsgd", "normalized-gd"):
        return float(np.sqrt(problem.initial_gap.mean() / problem.block_smoothness.mean()))
    return float(1.0 / problem.block_smoothness.max())


def coupled_runs(
    rules: Sequence[str], low: float, high: float, observe: Sequence[str] = ("gap",), *, mild: bool = False
) -> Callable[[Draw, int], Iterator[Trajectory]]:
    """Return a sampler of runs of rules at rates between `low` and `high` units."""

    def run(draw: Draw, number: int) -> Iterator[Trajectory]:
        problem, rule = coupled_problems(draw, number, mild=mild), str(draw.choice(list(rules)))
        rates = draw.uniform(low, high, size=2) * _scale(problem, rule)
        yield simulate(problem, rule, lr=rates, steps=_STEPS, observe=observe, engine="reference")

    return run


def coupled_at_coupling(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run block-gd with rates that allow for the coupling, or for more."""
    problem = coupled_problems(draw, number)
    least = min(float(problem.coupling.max()) * (1.0 + 1e-9), 0.99)
    allowed = [least, least + (1.0 - least) * draw.uniform(0.0, 0.9)]
    yield simulate(problem, coupled_block_gd(), lr=1.0, coupling=allowed, steps=_STEPS, engine="reference")


def _largest_frozen_rates(problem: BlockQuadratic) -> np.ndarray:
    """Return min_l C1_l/(1+c) of every problem."""
    probe = simulate(problem, "adam-frozen", lr=1e-300, steps=1)
    smallest = np.asarray(MEANINGS[Symbol.C1_D_l].value(probe)).reshape(problem.problems, -1).min(axis=1)
    return np.asarray(smallest / (1.0 + problem.coupling))


def coupled_adam_frozen(draw: Draw, number: int) -> Iterator[Trajectory]:
    """Run frozen Adam at rates up to the smallest of the batch, and at each problem's own rate for a few."""
    problem = coupled_problems(draw, number)
    largest = _largest_frozen_rates(problem)
    yield simulate(
        problem, "adam-frozen", lr=[largest.min(), *draw.choice(largest, size=3)], steps=_STEPS, engine="reference"
    )


def rational_coupled_problem(draw: Draw, coupling: Fraction | None = None) -> BlockQuadratic:
    """Draw one problem in rationals with a rational coupling: H = R (I + c O) R, with R^2 = D and O of spectral norm 1.

    R has rational eigenvalues and rotations, and O = [[0, K], [K', 0]] for rows K of a rational rotation.
    """
    sizes = sorted(int(n) for n in draw.integers(1, 4, size=2))
    number = sum(sizes)
    root = [[Fraction(0)] * number for _ in range(number)]
    for begin, size in zip((0, sizes[0]), sizes, strict=True):
        q = rational_rotation(draw, size)
        values = [fraction(draw, 5) for _ in range(size)]
        scaled = [[x * v for x, v in zip(row, values, strict=True)] for row in q]
        part = product(scaled, [list(column) for column in zip(*q, strict=True)])
        for i in range(size):
            root[begin + i][begin : begin + size] = part[i]
    c = Fraction(int(draw.integers(1, 8)), 8) if coupling is None else coupling
    between, k = [[Fraction(i == j) for j in range(number)] for i in range(number)], rational_rotation(draw, sizes[1])
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            between[i][sizes[0] + j] = between[sizes[0] + j][i] = c * k[i][j]
    start = [fraction(draw) * int(draw.choice([-1, 1])) for _ in range(number)]
    return BlockQuadratic.from_blocks([product(product(root, between), root)], initial_error=start, partition=sizes)


def rational_coupled(
    rule: str, steps: int = 8, low: float = 0.1, high: float = 1.9, *, coupling: Fraction | None = None,
    observe: Sequence[str] = ("gap",),
) -> Callable[[Draw], Trajectory]:  # fmt: skip
    """Return a sampler of rational runs at rates between `low` and `high` units."""

    def run(draw: Draw) -> Trajectory:
        problem = rational_coupled_problem(draw, coupling)
        rate = low if low == high else dyadic(draw.uniform(low, high) * _scale(problem, rule))
        return simulate(problem, rule, lr=rate, steps=steps, observe=observe, engine="reference")

    return run


def rational_at_coupling(draw: Draw) -> Trajectory:
    """Run block-gd in rationals with the rates of a coupling slightly above its own, whose rounding is then no matter."""
    problem = rational_coupled_problem(draw)
    allowed = dyadic(float(problem.coupling[0]) + 2.0**-6)
    return simulate(problem, coupled_block_gd(), lr=1.0, coupling=allowed, steps=8, engine="reference")


def rational_adam_frozen(draw: Draw) -> Trajectory:
    """Run frozen Adam in rationals at its largest rate, rounded down."""
    while True:
        problem = rational_coupled_problem(draw)
        rate = float(_largest_frozen_rates(problem)[0])
        if rate > 0.0:
            return simulate(problem, "adam-frozen", lr=dyadic(rate), steps=8, engine="reference")


def _coupled_columns(x: np.ndarray, coupling: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the problems of the columns of x (see `tightness`): H, (M, 4, 4), and the starts; x[10] turns the coupling."""
    values, number = 10.0 ** (x[:4] / 2.0), x.shape[1]
    root, between = np.zeros((number, 4, 4)), np.zeros((number, 4, 4))
    between[:, range(4), range(4)] = 1.0
    for b, angle in enumerate((x[4], x[5])):
        q = _plane(angle)
        own = slice(2 * b, 2 * b + 2)
        root[:, own, own] = np.einsum("mij,jm,mkj->mik", q, values[own], q)
    turned = coupling * _plane(2.0 * np.pi * x[10])
    between[:, :2, 2:], between[:, 2:, :2] = turned, np.swapaxes(turned, 1, 2)
    matrix = root @ between @ root
    return [(matrix + np.swapaxes(matrix, 1, 2)) / 2.0], np.where(x[6:10] == 0.0, 1e-3, x[6:10]).T


def _plane(angle: np.ndarray) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]]).transpose(2, 0, 1)


_SEARCHED = 0.5


def search_coupled(rule: str, *, coupling: float = _SEARCHED) -> Callable[[np.ndarray], Trajectory]:
    """Return the family of runs of a rule on two coupled blocks of two coordinates."""

    def run(x: np.ndarray) -> Trajectory:
        blocks, start = _coupled_columns(x, coupling)
        if rule in ("signsgd", "gd"):  # a start or a Hessian of another size has the effect of another rate
            size = 10.0 ** (x[10] - 1.0) if rule == "signsgd" else np.ones(x.shape[1])
            start = start * size[:, None]
        problem = BlockQuadratic.from_blocks(blocks, initial_error=start, partition=(2, 2))
        seen = ["gradient_norm", "gradient_norm_1", "Lambda_G"]
        own: Rule | str = coupled_block_gd() if rule == "block-gd-at-coupling" else rule
        options: dict[str, Any] = {"coupling": coupling * (1.0 + 1e-9)} if own is not rule else {}
        rates: Any = {"signsgd": [0.3, 1.0], "gd": [0.3, 1.0], "block-gd-at-coupling": 1.0}.get(
            rule, [1.0 / (1.0 + coupling), 1.0]
        )
        return simulate(problem, own, lr=rates, steps=_SHORT, observe=seen, engine="reference", **options)

    return run


def search_coupled_adam_frozen(x: np.ndarray) -> Trajectory:
    """Run frozen Adam with the start scaled so that min_l C1_l/(1+c) is slightly above 1."""
    blocks, start = _coupled_columns(x, _SEARCHED)
    problem = BlockQuadratic.from_blocks(blocks, initial_error=start, partition=(2, 2))
    factor = (1.0 + 1e-9) / np.maximum(_largest_frozen_rates(problem), 1e-12)
    scaled = BlockQuadratic.from_blocks(blocks, initial_error=start * factor[:, None], partition=(2, 2))
    return simulate(scaled, "adam-frozen", lr=1.0, steps=_SHORT, engine="reference")
