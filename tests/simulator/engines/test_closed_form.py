"""The closed-form engine against the reference engine, against stepping by hand, and against exact arithmetic."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
import sympy as sp
from reference import block_slices

from quadsim.simulator import BlockQuadratic, Rule, simulate, symbols
from quadsim.simulator.engines.closed_form.first_passages import may_leap
from quadsim.simulator.engines.closed_form.matrices import Powers, Weights

LINEAR = ("gd", "heavy-ball", "nesterov", "block-gd", "adam-frozen")


def diagonal_problem(eigenvalues, start):
    """Blocks of one coordinate: eigenvalues (P,) or (M, P), starts (P,) or (M, P)."""
    eigenvalues = np.atleast_2d(eigenvalues)
    blocks = [np.ascontiguousarray(eigenvalues[:, [j]])[:, :, None] for j in range(eigenvalues.shape[1])]
    return BlockQuadratic.from_blocks(blocks, initial_error=start)


def stability_edge(problem, name, momentum=0.0):
    """Largest stable rate on every problem, (M,), from the dense matrices."""
    edges = []
    for m in range(problem.problems):
        H, e0 = problem.dense(m)
        if name == "adam-frozen":
            root = np.sqrt(np.abs(H @ e0))
            edges.append(2 / np.linalg.eigvalsh(H / np.outer(root, root))[-1])
        elif name == "block-gd":
            spectra = [np.linalg.eigvalsh(H[part, part]) for part in block_slices(problem.block_sizes)]
            edges.append(min((s[-1] + s[0]) / s[-1] for s in spectra))
        else:
            factor = {"gd": 2.0, "sgd": 2.0, "heavy-ball": 2 * (1 + momentum)}
            nesterov = 2 * (1 + momentum) / (1 + 2 * momentum)
            edges.append(factor.get(name, nesterov) / np.linalg.eigvalsh(H)[-1])
    return np.array(edges)


def step_by_step(eigenvalues, start, lr, momentum, steps, tolerance, nesterov=False):
    """First step within the tolerance and first above 1e12 times the start, by stepping through all of them.

    Shapes: eigenvalues and start (N, P), lr and momentum (N,); returns two arrays (N,).
    """
    x, memory = start.copy(), np.zeros_like(start)
    lr, momentum = lr[:, None], momentum[:, None]
    hit, diverged = np.full(len(x), np.inf), np.full(len(x), np.inf)
    initial = np.sum(eigenvalues * start**2, axis=1)
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(steps + 1):
            gap = np.sum(eigenvalues * x**2, axis=1)
            hit[np.isinf(hit) & np.isinf(diverged) & (gap <= tolerance * initial)] = t
            diverged[np.isinf(diverged) & ~(gap <= 1e12 * initial)] = t
            gradient = eigenvalues * x
            memory = momentum * memory + gradient
            x = x - lr * (gradient + momentum * memory if nesterov else memory)
    return hit, diverged


def compare_with_stepping(eigenvalues, start, lr, momentum, steps, tolerance, rule):
    """Run all problems under all settings both ways; hits may differ by one step, where rounding decides."""
    number, count = len(eigenvalues), len(lr)
    hyperparameters = {} if rule == "gd" else {"momentum": momentum}
    result = simulate(
        diagonal_problem(eigenvalues, start), rule, lr=lr, steps=steps, record="log", tolerance=tolerance,
        engine="closed-form", **hyperparameters,
    )  # fmt: skip
    hit, diverged = step_by_step(
        np.repeat(eigenvalues, count, axis=0), np.repeat(start, count, axis=0), np.tile(lr, number),
        np.tile(0.0 * lr if rule == "gd" else momentum, number), steps, tolerance, nesterov=rule == "nesterov",
    )  # fmt: skip
    hit, diverged = hit.reshape(number, count), diverged.reshape(number, count)
    assert np.array_equal(result.status == "diverged", np.isfinite(diverged))
    assert np.array_equal(np.isfinite(result.steps_to_tolerance), np.isfinite(hit))
    reached = np.isfinite(hit)
    assert np.all(np.abs(result.steps_to_tolerance[reached] - hit[reached]) <= 1)
    return result


def exact_gap(rule, eigenvalues, start, lr, momentum, t):
    """Gap at step t with 60 digits, from the very floats, by squaring 2x2 matrices."""
    with mpmath.workdps(60):
        total = mpmath.mpf(0)
        for eigenvalue, x in zip(eigenvalues, start, strict=True):
            lam, b, eta = mpmath.mpf(float(eigenvalue)), mpmath.mpf(float(momentum)), mpmath.mpf(float(lr))
            first = [1 - eta * lam, -eta * b] if rule != "nesterov" else [1 - eta * lam * (1 + b), -eta * b * b]
            position = (mpmath.matrix([first, [lam, b]]) ** int(t))[0, 0] * mpmath.mpf(float(x))
            total += lam * position**2 / 2
        return total


# Against the reference engine.

DIALS = [
    {"block_size": 8, "heterogeneity": 100.0},
    {"block_size": (3, 1, 5, 3), "heterogeneity": 10.0, "gradient_heterogeneity": 30.0, "alignment": 0.5},
    {"block_size": (2, 6), "heterogeneity": 3.0, "condition_number": 500.0, "rotation": 0.3},
    {"block_size": 4, "heterogeneity": 30.0, "mode": "arrange"},
    {"blocks": 1, "block_size": 6, "condition_number": 1.0},
]
FRACTIONS = np.array([1e-4, 0.03, 0.3, 0.9, 0.999, 1.001, 1.05, 1.7, 30.0])  # of the stability edge


@pytest.mark.parametrize(("name", "momentum"), [
    *((name, None) for name in ("gd", "sgd", "block-gd", "adam-frozen")),
    *((name, momentum) for name in ("heavy-ball", "nesterov") for momentum in (0.0, 0.5, 0.9, 0.99)),
])  # fmt: skip
@pytest.mark.parametrize("dials", DIALS, ids=range(len(DIALS)))
def test_closed_form_agrees_with_the_reference_at_every_step(name, momentum, dials):
    hyperparameters = {} if momentum is None else {"momentum": momentum}
    problem = BlockQuadratic.generate(problems=2, seed=3, **dials)
    if name == "adam-frozen":  # its edge depends on the draw
        problem = problem.select([1])
    lr = stability_edge(problem, name, momentum or 0.0).min() * FRACTIONS
    arguments = {"lr": lr, "steps": 300, "tolerance": 0.3, **hyperparameters}
    closed = simulate(problem, name, engine="closed-form", **arguments)
    stepped = simulate(problem, name, engine="reference", **arguments)
    assert np.array_equal(closed.status, stepped.status)
    assert set(closed.status[:, -1]) == {"diverged"}
    finite = np.isfinite(stepped.gap)
    assert np.array_equal(np.isfinite(closed.gap), finite)
    # Where all modes pass through 0 together the gap is what rounding left of their swing, so the swing is the measure.
    swing = (
        stepped.gap
        if momentum is None
        else np.max(
            np.lib.stride_tricks.sliding_window_view(
                np.pad(np.where(finite, stepped.gap, 0.0), ((0, 0), (0, 0), (10, 10))), 21, axis=2
            ),
            axis=-1,
        )
    )
    assert np.all(np.abs(closed.gap[finite] - stepped.gap[finite]) <= 1e-10 * swing[finite])
    assert np.array_equal(np.isinf(closed.steps_to_tolerance), np.isinf(stepped.steps_to_tolerance))
    hit = np.isfinite(stepped.steps_to_tolerance)
    assert hit.any()
    assert np.all(np.abs(closed.steps_to_tolerance[hit] - stepped.steps_to_tolerance[hit]) <= 1)


@pytest.mark.parametrize("name", LINEAR)
def test_closed_form_agrees_with_the_reference_over_many_steps(name):
    problem = BlockQuadratic.generate(blocks=3, block_size=2, heterogeneity=10.0, problems=3, seed=8)
    lr = stability_edge(problem, name, 0.9).min() * np.array([0.002, 0.05, 0.5])
    arguments = {"lr": lr, "steps": 5000, "record": 50}
    closed = simulate(problem, name, engine="closed-form", **arguments)
    stepped = simulate(problem, name, engine="reference", **arguments)
    visible = stepped.gap > 1e-290  # below that the reference underflows in parts
    np.testing.assert_allclose(closed.gap[visible], stepped.gap[visible], rtol=1e-10)
    assert np.array_equal(closed.status, stepped.status)
    assert np.all(np.isinf(stepped.steps_to_tolerance) == np.isinf(closed.steps_to_tolerance))
    hit = np.isfinite(stepped.steps_to_tolerance)
    assert hit.any()
    assert np.all(np.abs(closed.steps_to_tolerance[hit] - stepped.steps_to_tolerance[hit]) <= 1)


mean = sp.Symbol("mean", real=True)
weight = sp.Symbol("weight", nonnegative=True)
OWN = {
    "averaged momentum": Rule(
        name="averaged",
        update={mean: weight * mean + (1 - weight) * symbols.g},
        step=-symbols.lr * mean,
        hyperparameters={weight: 0.7},
    ),
    "negative momentum": Rule(
        name="negative", update={mean: -sp.Rational(1, 2) * mean + symbols.g}, step=-symbols.lr * mean
    ),
    "growing momentum": Rule(  # roots of modulus above 1 that are not real: the gap oscillates while it grows
        name="growing", update={mean: sp.Rational(101, 100) * mean + symbols.g}, step=-symbols.lr * mean
    ),
    "plain memory": Rule(  # two steps at once: the memory is the last gradient, and does not decay by itself
        name="memory", update={mean: symbols.g + 0 * mean}, step=-symbols.lr * (symbols.g + mean) / 2
    ),
    "rate of the block": Rule(name="by-block", step=-symbols.lr * symbols.g / (symbols.L_l + symbols.mu_l / 2)),
}


@pytest.mark.parametrize("rule", OWN.values(), ids=OWN)
def test_own_linear_rules_have_a_closed_form(rule):
    problem = BlockQuadratic.generate(block_size=(3, 1, 2), heterogeneity=3.0, problems=2)
    arguments = {"lr": [0.003, 0.05, 0.3, 1.5], "steps": 700, "tolerance": 1e-3, "record": "log"}
    closed, stepped = (simulate(problem, rule, engine=engine, **arguments) for engine in ("auto", "reference"))
    assert closed.engine == "closed-form"
    assert np.array_equal(closed.status, stepped.status)
    assert np.array_equal(closed.steps_to_tolerance, stepped.steps_to_tolerance)
    np.testing.assert_allclose(closed.gap, stepped.gap, rtol=1e-10, atol=1e-290)


def test_small_coefficients_are_not_lost():
    # The stiff mode starts at 1e-170, where its gap underflows, but grows; the other one falls.
    problem = diagonal_problem([1.0, 8.0], [1.0, 1e-170])
    for name in ("gd", "heavy-ball"):
        arguments = {"lr": 0.5, "steps": 600, **({"momentum": 0.2} if name == "heavy-ball" else {})}
        closed, stepped = (simulate(problem, name, engine=e, **arguments) for e in ("closed-form", "reference"))
        assert np.array_equal(closed.status, [["diverged"]])
        assert np.array_equal(closed.status, stepped.status)
        assert np.array_equal(closed.steps_to_tolerance, stepped.steps_to_tolerance)
        finite = np.isfinite(stepped.gap) & (stepped.gap > 1e-290)
        np.testing.assert_allclose(closed.gap[finite], stepped.gap[finite], rtol=1e-10)


def test_a_mode_that_is_not_there_does_not_overflow():
    problem = diagonal_problem([1.0, 8.0], [1.0, 0.0])
    for name in ("gd", "heavy-ball", "nesterov"):
        result = simulate(problem, name, lr=0.5, steps=10**6, record="log")
        assert result.engine == "closed-form"
        assert result.status.tolist() == [["converged"]]
        assert np.all(np.isfinite(result.gap))


# Hitting times against stepping.


def random_rates(rng, count, eigenvalues, momentum, rule):
    """Rates of every kind: slow, at critical damping (either end), at the edge of stability, 1/lambda, unstable."""
    edge = {"gd": 2.0 + 0 * momentum, "heavy-ball": 2 * (1 + momentum)}.get(
        rule, 2 * (1 + momentum) / (1 + 2 * momentum)
    ) / eigenvalues.max()
    one = rng.choice(eigenvalues.ravel(), count)
    near = 1 + rng.choice([-1.0, 0.0, 1.0], count) * 10.0 ** rng.uniform(-16, -2, count)
    kinds = [
        10.0 ** rng.uniform(-4, 0, count) * edge,
        edge * near,
        (1 - np.sqrt(momentum)) ** 2 / one * near,
        np.minimum((1 + np.sqrt(momentum)) ** 2 / one, edge) * near,
        near / one,
        edge * rng.uniform(1.0, 1.3, count),
    ]
    return np.maximum(np.choose(rng.integers(0, len(kinds), count), kinds), 1e-8)


def random_batch(seed, rule, problems=8, count=12):
    rng = np.random.default_rng(seed)
    dimension = int(rng.integers(1, 6))
    eigenvalues = 10.0 ** rng.uniform(-2, 0, (problems, dimension))
    start = rng.standard_normal((problems, dimension)) * 10.0 ** rng.uniform(-6, 0, (problems, dimension))
    start[:, -1] += 1e-3
    start[rng.random(start.shape) < 0.1] = 0.0
    momentum = np.where(rng.random(count) < 0.5, rng.random(count), 1 - 10.0 ** rng.uniform(-3, -1, count))
    momentum[rng.random(count) < 0.15] = 0.0
    return eigenvalues, start, random_rates(rng, count, eigenvalues, momentum, rule), momentum, rng


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("rule", ["gd", "heavy-ball", "nesterov"])
def test_hitting_times_are_those_of_stepping(rule, seed):
    eigenvalues, start, lr, momentum, rng = random_batch(seed, rule)
    tolerance = float(10.0 ** rng.uniform(-10, -0.1))
    compare_with_stepping(eigenvalues, start, lr, momentum, int(rng.integers(1, 6000)), tolerance, rule)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 105))  # with each of these some run hits late
@pytest.mark.parametrize("rule", ["gd", "heavy-ball", "nesterov"])
def test_hitting_times_are_those_of_stepping_for_long(rule, seed):
    eigenvalues, start, lr, momentum, rng = random_batch(seed, rule, problems=4, count=6)
    lr[:3] = 10.0 ** rng.uniform(-6, -4, 3)
    result = compare_with_stepping(eigenvalues, start, lr, momentum, 10**6, 10.0 ** rng.uniform(-8, -1), rule)
    assert np.any((result.steps_to_tolerance > 1e4) & np.isfinite(result.steps_to_tolerance))


BETA = 0.81  # sqrt = 0.9
DAMPING = {  # rate for the eigenvalue 1
    "over-damped": 0.1**2 * 0.3,
    "just over-damped": 0.1**2 * (1 - 1e-9),
    "critical": 0.1**2,
    "just under-damped": 0.1**2 * (1 + 1e-9),
    "under-damped": 0.5,
    "under-damped, a quarter turn": 1 + BETA,  # roots +-0.9i
    "under-damped, nearly alternating": 1.9**2 * (1 - 1e-9),
    "critical, alternating": 1.9**2,
    "over-damped, alternating": 3.615,
    "a root just inside -1": 2 * (1 + BETA) * (1 - 1e-6),
    "a root at -1": 2 * (1 + BETA),
    "a root just outside -1": 2 * (1 + BETA) * (1 + 1e-3),
}


@pytest.mark.parametrize("tolerance", [0.9, 1e-3, 1e-8])
def test_heavy_ball_in_every_kind_of_damping(tolerance):
    eigenvalues = np.array([[1.0, 0.3], [1.0, 0.3], [1.0, 1e-3]])
    start = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 1e-2]])
    lr = np.array(list(DAMPING.values()))
    compare_with_stepping(eigenvalues, start, lr, np.full(lr.size, BETA), 8000, tolerance, "heavy-ball")


def test_a_run_that_dips_below_its_threshold_between_oscillations():
    # One under-damped mode: the error passes through 0 again and again, and is within the tolerance only for a step.
    momentum, lr = np.array([0.999]), np.array([0.0003])
    result = compare_with_stepping(np.array([[1.0]]), np.array([[1.0]]), lr, momentum, 20000, 1e-5, "heavy-ball")
    hit = int(result.steps_to_tolerance[0, 0])
    path = simulate(diagonal_problem([1.0], [1.0]), "heavy-ball", lr=lr, momentum=momentum, steps=hit + 50)
    assert path.gap[0, 0, hit + 50] > 0.1 * path.gap[0, 0, 0]
    assert path.gap[0, 0, hit - 2] > 1e-5 * path.gap[0, 0, 0]


@pytest.mark.parametrize("steps", [3000, 10**9])
@pytest.mark.parametrize("rule", ["gd", "heavy-ball", "nesterov"])
def test_a_run_that_hits_and_then_diverges(rule, steps):
    # The stiff mode starts at 1e-7 and grows by 1 percent a step, the other one has nearly all of the gap and falls.
    eigenvalues, start, momentum = np.array([[1.0, 0.3]]), np.array([[1e-7, 1.0]]), np.array([0.3])
    edge = {"gd": 2.0, "heavy-ball": 2 * 1.3}.get(rule, 2 * 1.3 / 1.6)
    lr = np.array([edge * 1.005])
    result = compare_with_stepping(eigenvalues, start, lr, momentum, 3000, 1e-3, rule)
    assert result.status.tolist() == [["diverged"]]
    hyperparameters = {} if rule == "gd" else {"momentum": 0.3}
    for record in ("log", "all" if steps < 10**6 else 10**8):
        again = simulate(
            diagonal_problem(eigenvalues, start),
            rule,
            lr=lr,
            steps=steps,
            record=record,
            tolerance=1e-3,
            **hyperparameters,
        )
        assert again.status.tolist() == [["diverged"]]
        assert np.array_equal(again.steps_to_tolerance, result.steps_to_tolerance)
        assert 0 < again.steps_to_tolerance[0, 0] < 100
        assert np.isinf(again.gap[0, 0, -1])


def test_gradient_descent_that_dips_but_not_low_enough():
    # The gap falls to its least and rises again: whether it hits is decided at that step.
    eigenvalues, start = np.array([[1.0, 0.25]]), np.array([[1e-2, 1.0]])
    lr = np.array([2.02])
    steps = np.arange(400.0)
    gaps = 0.5 * (start[0] ** 2 * eigenvalues[0]) @ np.abs(1 - lr * eigenvalues[0])[:, None] ** (2 * steps)
    least = gaps.min() / gaps[0]
    low, high = (
        compare_with_stepping(eigenvalues, start, lr, np.zeros(1), 2000, least * factor, "gd").steps_to_tolerance[0, 0]
        for factor in (1 - 1e-9, 1 + 1e-9)
    )
    assert np.isinf(low)
    assert high == np.argmin(gaps) > 0


def test_a_dip_beside_a_mode_that_is_gone():
    # Factors 0, 3/4 and -1.02: the gap falls, then rises for ever.
    eigenvalues, start = np.array([[2.0, 0.5, 4.04]]), np.array([[1.0, 1.0, 1e-5]])
    result = compare_with_stepping(eigenvalues, start, np.array([0.5]), np.zeros(1), 4000, 1e-3, "gd")
    assert result.status.tolist() == [["diverged"]]
    assert 0 < result.steps_to_tolerance[0, 0] < 100


@pytest.mark.parametrize("rule", ["gd", "heavy-ball", "nesterov"])
@pytest.mark.parametrize(("eigenvalues", "start", "fraction"), [
    ([1.0, 0.3], [1.0, 1.0], 1 + 1e-4), ([1.0, 0.3], [1.0, 1.0], 1 + 3e-5), ([1.0, 0.3], [1e-5, 1.0], 1 + 1e-4),
    ([1.0, 0.3], [1.0, 1.0], 1e-4), ([1.0, 0.3], [1.0, 1.0], 1 - 1e-5),
], ids=["grows", "grows slowly", "falls and grows", "falls", "falls, alternating"])  # fmt: skip
def test_what_happens_after_the_last_step_does_not_count(rule, eigenvalues, start, fraction):
    momentum = 0.6
    edge = {"gd": 2.0, "heavy-ball": 3.2}.get(rule, 3.2 / 2.2)
    hyperparameters = {} if rule == "gd" else {"momentum": momentum}
    arguments = {"lr": edge * fraction, "engine": "closed-form", "record": "log", "tolerance": 1e-9, **hyperparameters}
    problem = diagonal_problem(eigenvalues, start)
    whole = simulate(problem, rule, steps=10**7, **arguments)
    assert whole.status[0, 0] != "not_reached"
    hit = whole.steps_to_tolerance[0, 0]
    if np.isfinite(hit):
        for steps in (hit - 1, hit, hit + 1, hit + 1000):
            again = simulate(problem, rule, steps=steps, **arguments)
            assert again.steps_to_tolerance[0, 0] == (hit if steps >= hit else np.inf)
            assert (again.status[0, 0] == "converged") == (steps >= hit)
    if whole.status[0, 0] == "diverged":
        # The step of divergence, by bisection on the horizon.
        low, high = 1, 10**7
        while low < high:
            middle = (low + high) // 2
            if simulate(problem, rule, steps=middle, **arguments).status[0, 0] == "diverged":
                high = middle
            else:
                low = middle + 1
        gaps = [
            exact_gap(rule, eigenvalues, start, edge * fraction, momentum * (rule != "gd"), t)
            for t in (0, low - 1, low)
        ]
        assert gaps[1] <= 1e12 * gaps[0] * (1 + 1e-9)
        assert gaps[2] >= 1e12 * gaps[0] * (1 - 1e-9)


def random_recursion(rng, modes):
    """Matrices with roots of every kind (real of either sign, a pair, double), in random coordinates; states; weights."""
    matrices, states = [], []
    for _ in range(modes):
        size = rng.choice([1 - 10.0 ** rng.uniform(-5, -1), 1.0, 1 + 10.0 ** rng.uniform(-5, -2), rng.uniform(0.1, 1)])
        other = rng.choice([size, size * (1 - 10.0 ** rng.uniform(-8, -1)), rng.uniform(0.0, size)])
        signs = rng.choice([-1.0, 1.0], 2)
        angle = np.pi * rng.choice([10.0 ** rng.uniform(-7, -1), 1 - 10.0 ** rng.uniform(-7, -1), rng.random()])
        turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        real = np.array([[signs[0] * size, rng.choice([0.0, 1.0, 1e-3])], [0.0, signs[1] * other]])
        basis = rng.standard_normal((2, 2))
        matrices.append(basis @ (turn if rng.random() < 0.5 else real) @ np.linalg.inv(basis))
        states.append(rng.standard_normal(2) * [1.0, 10.0 ** rng.uniform(-4, 1)] * 10.0 ** rng.uniform(-3, 0))
    return np.array(matrices), np.array(states), 10.0 ** rng.uniform(-2, 0, modes)


def test_a_leap_never_passes_over_a_hit():
    # Whatever the matrices: where a leap is allowed, no step on the way is within the threshold.
    rng = np.random.default_rng(5)
    allowed = 0
    for _ in range(4000):
        matrices, states, weights = random_recursion(rng, int(rng.integers(1, 4)))
        moves = int(2 ** rng.integers(3, 8))
        gaps, x = [], states.copy()
        for _ in range(2 * moves + 1):
            gaps.append(np.sum(weights * x[:, 0] ** 2) / 2)
            x = np.einsum("pij,pj->pi", matrices, x)
        powers = Powers([[matrices[None, :, i, j] for j in range(2)] for i in range(2)])
        arguments = (powers, [states[None, :, i] for i in range(2)], Weights.of(weights[None]))
        with np.errstate(all="ignore"):
            assert not may_leap(*arguments, np.array([min(gaps) * (1 + 1e-9)]), moves)
            allowed += may_leap(*arguments, np.array([min(gaps) / 30]), moves)
    assert allowed > 400  # not by never leaping


# Exact values.


def test_gd_is_exact_in_rationals():
    # Dyadic numbers, so that the floats are the rationals.
    eigenvalues = [Fraction(1, 4), Fraction(3, 8), Fraction(5)]
    start = [Fraction(3, 2), Fraction(-7, 4), Fraction(1, 8)]
    for lr in (Fraction(1, 8), Fraction(1, 4), Fraction(1, 2), Fraction(1, 1024)):
        problem = BlockQuadratic.from_blocks([[[x]] for x in eigenvalues], initial_error=start)
        result = simulate(problem, "gd", lr=float(lr), steps=400)
        for t in range(401):
            exact = sum(x * (1 - lr * x) ** (2 * t) * e**2 / 2 for x, e in zip(eigenvalues, start, strict=True))
            if np.isinf(result.gap[0, 0, t]):
                assert exact > 10**12 * Fraction(problem.initial_gap[0])
            elif exact > 1e-300:
                assert abs(Fraction(float(result.gap[0, 0, t])) / exact - 1) < 1e-12, (lr, t)


@pytest.mark.parametrize("exponent", [0, 3, 6, 8, 9])
@pytest.mark.parametrize("rule", ["gd", "heavy-ball", "nesterov"])
def test_values_at_any_step_are_exact(rule, exponent):
    eigenvalues, start = [0.25, 0.375, 3.0], [1.5, -1.75, 0.125]
    steps, momentum = 10**exponent, 0.5
    rates = np.array([0.3 / steps, 7.0 / steps, 100.0 / steps])
    hyperparameters = {} if rule == "gd" else {"momentum": momentum}
    result = simulate(
        diagonal_problem(eigenvalues, start), rule, lr=rates, steps=steps, record="log", **hyperparameters
    )
    # Squaring doubles the relative error with the exponent: t roundings. Gradient descent has no such loss.
    rtol = 1e-12 if rule == "gd" else 1e-12 + 4 * steps * 2.0**-53
    for k, lr in enumerate(rates):
        for r in np.unique(np.linspace(0, result.steps.size - 1, 12).astype(int)):
            got = result.gap[0, k, r]
            exact = exact_gap(rule, eigenvalues, start, lr, momentum if hyperparameters else 0.0, result.steps[r])
            if np.isinf(got):
                assert exact > 1e12 * result.gap[0, k, 0]
            else:
                assert mpmath.fabs(mpmath.mpf(float(got)) - exact) <= rtol * exact + 1e-300


SLOW = {  # eigenvalues, start, rate relative to the edge, tolerance
    "tiny rate": ([1.0, 0.5, 0.1], [1.0, 1.0, 1.0], 2.0**-24, 1e-6),
    "a single mode, tiny rate": ([1.0], [1.0], 2.0**-24, 1e-6),
    "just below the edge": ([1.0, 0.5], [1.0, 1.0], 1 - 2.0**-22, 1e-6),
    "just below the edge, in the end slow both ways": ([1.0, 2.0**-20], [1.0, 1000.0], 1 - 2.0**-21, 1e-6),
    "a late dip": ([1.0, 0.5], [1e-5, 1.0], 1 - 2.0**-25, 1e-12),
}


@pytest.mark.parametrize(("rule", "momentum"), [
    ("gd", 0.0), *((rule, momentum) for rule in ("heavy-ball", "nesterov") for momentum in (0.0, 0.25, 0.9)),
])  # fmt: skip
@pytest.mark.parametrize("case", SLOW)
def test_slow_hitting_times_are_exact(case, rule, momentum):
    eigenvalues, start, fraction, tolerance = SLOW[case]
    edge = {"gd": 2.0, "heavy-ball": 2 * (1 + momentum)}.get(rule, 2 * (1 + momentum) / (1 + 2 * momentum))
    hyperparameters = {} if rule == "gd" else {"momentum": momentum}
    result = simulate(
        diagonal_problem(eigenvalues, start), rule, lr=edge * fraction, steps=10**9, record="log", tolerance=tolerance,
        engine="closed-form", **hyperparameters,
    )  # fmt: skip
    assert result.status.tolist() == [["converged"]]
    hit = int(result.steps_to_tolerance[0, 0])
    assert hit > 10**5
    # These gaps fall monotonically over two steps, so that the hit is the first where its neighbours are on either side.
    slack = 2 if rule == "gd" else 2 + int(hit * 1e-7)
    threshold = mpmath.mpf(tolerance) * exact_gap(rule, eigenvalues, start, edge * fraction, momentum, 0)
    before, after = (
        exact_gap(rule, eigenvalues, start, edge * fraction, momentum, t) for t in (hit - slack, hit + slack)
    )
    assert after <= threshold < before


@pytest.mark.parametrize("ratio", [0.5, 0.9, 1.5, 1.99, 2 - 2.0**-20, 2.0**-20])
def test_a_single_mode_hits_when_its_logarithm_says(ratio):
    # gap_t = r^(2t) gap_0, so the first t with r^(2t) <= tolerance is ceil(log tolerance / (2 log |r|)).
    tolerance = 1e-6 * (1 + 1e-3)
    result = simulate(
        diagonal_problem([4.0], [3.0]), "gd", lr=ratio / 4, steps=10**9, tolerance=tolerance, record="log"
    )
    with mpmath.workdps(40):
        expected = mpmath.ceil(mpmath.log(tolerance) / (2 * mpmath.log(abs(1 - mpmath.mpf(ratio)))))
    assert result.steps_to_tolerance[0, 0] == float(expected)


def test_a_factor_of_zero_is_gone_after_one_step():
    problem = diagonal_problem([4.0, 0.5], [1.0, 1.0])
    result = simulate(problem, "gd", lr=[0.25, 2.0], steps=6, observe=("iterate", "block_gap"), tolerance=0.2)
    assert np.all(result.observed["iterate"][0, 0, 1:, 0] == 0.0)
    np.testing.assert_allclose(result.observed["iterate"][0, 0, :, 1], (1 - 0.125) ** np.arange(7.0), rtol=1e-14)
    assert result.steps_to_tolerance[0, 0] == 1.0
    alone = simulate(diagonal_problem([4.0], [1.0]), "gd", lr=0.25, steps=10**9, record="log")
    assert alone.steps_to_tolerance[0, 0] == 1.0
    assert np.all(alone.gap[0, 0, 1:] == 0.0)


@pytest.mark.parametrize("rule", ["gd", "heavy-ball", "nesterov"])
def test_at_the_edge_of_stability_exactly_the_gap_stays(rule):
    # 2/L with powers of two is exact: the factor is -1 and the gap of that mode never changes.
    momentum = 0.5
    edge = {"gd": 2.0, "heavy-ball": 3.0, "nesterov": 1.5}[rule] / 4
    hyperparameters = {} if rule == "gd" else {"momentum": momentum}
    problem = diagonal_problem([4.0, 1.0], [1.0, 1.0])
    result = simulate(problem, rule, lr=edge, steps=10**9, record="log", observe="iterate", **hyperparameters)
    assert result.status.tolist() == [["not_reached"]]
    signs = np.where(result.steps % 2 == 0, 1.0, -1.0)
    late = result.steps > 1000
    np.testing.assert_allclose(
        np.abs(result.observed["iterate"][0, 0, late, 0]), np.abs(result.observed["iterate"][0, 0, -1, 0]), rtol=1e-6
    )
    assert np.array_equal(np.sign(result.observed["iterate"][0, 0, :, 0]), signs)


# A thousand million steps.


@pytest.mark.parametrize("name", LINEAR)
def test_a_thousand_million_steps(name):
    problem = BlockQuadratic.generate(blocks=3, block_size=4, heterogeneity=10.0, problems=1, seed=2)
    edge = stability_edge(problem, name, 0.9)[0]
    fractions = np.array([1e-300, 1e-20, 1e-12, 1e-5, 0.5, 0.999999, 1.000001, 3.0, 1e100])
    hyperparameters = {"momentum": 0.9} if name in ("heavy-ball", "nesterov") else {}
    result = simulate(
        problem,
        name,
        lr=edge * fractions,
        steps=10**9,
        record="log",
        observe=("iterate", "Lambda_G"),
        **hyperparameters,
    )
    assert result.engine == "closed-form"
    assert result.status[0].tolist() == ["not_reached"] * 3 + ["converged"] * 3 + ["diverged"] * 3
    assert np.array_equal(np.isinf(result.steps_to_tolerance[0]), fractions != np.clip(fractions, 1e-6, 1.0))
    np.testing.assert_allclose(result.gap[0, :2], result.gap[0, 0, 0], rtol=1e-9)
    assert np.all(result.gap[0, 2, 1:] <= result.gap[0, 2, :-1] * (1 + 1e-15))
    assert 0.5 < result.gap[0, 2, -1] / result.gap[0, 2, 0] < 0.99999
    assert np.all(result.gap[0, 3:6, -1] < 1e-40)  # not stalled
    assert np.all(np.isinf(result.gap[0, 6:, -1]))
    assert np.all(np.isfinite(result.gap[..., 0]))
    short = simulate(problem, name, lr=edge * fractions, steps=10**5, record="log", **hyperparameters)
    both = np.isfinite(short.steps_to_tolerance)
    assert np.array_equal(short.steps_to_tolerance[both], result.steps_to_tolerance[both])


@pytest.mark.parametrize("name", ["heavy-ball", "nesterov"])
def test_momentum_that_never_hits_in_a_thousand_million_steps(name):
    # Rates at which no run of the batch hits, with momentum from none to nearly all.
    problem = BlockQuadratic.generate(blocks=2, block_size=3, heterogeneity=10.0, problems=2)
    momentum = np.array([0.0, 0.5, 0.9, 0.99, 0.999, 0.9999])
    result = simulate(problem, name, lr=1e-13 * (1 - momentum), momentum=momentum, steps=10**9, record="log")
    assert np.all(result.status == "not_reached")
    assert np.all(np.diff(result.gap, axis=2) <= result.gap[:, :, :-1] * 1e-15)


def test_batch_mates_do_not_move_late_hits():
    problem = BlockQuadratic.generate(blocks=2, block_size=3, heterogeneity=10.0, problems=6, seed=9)
    lr = np.array([1e-8, 3e-8, 1e-7, 1e-3, 0.1])
    for name in ("gd", "heavy-ball", "nesterov"):
        full = simulate(problem, name, lr=lr, steps=10**9, record="log")
        assert np.any((full.steps_to_tolerance > 1e7) & np.isfinite(full.steps_to_tolerance))
        for m in range(6):
            alone = simulate(problem.select([m]), name, lr=lr, steps=10**9, record="log")
            assert np.array_equal(alone.steps_to_tolerance[0], full.steps_to_tolerance[m])
            assert np.array_equal(alone.gap[0], full.gap[m])
        for k in range(5):
            alone = simulate(problem, name, lr=lr[k], steps=10**9, record="log")
            assert np.array_equal(alone.steps_to_tolerance[:, 0], full.steps_to_tolerance[:, k])
            assert np.array_equal(alone.gap[:, 0], full.gap[:, k])
