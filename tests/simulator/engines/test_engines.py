"""The reference engine against plain numpy, and what `simulate` promises whichever engine runs."""

import re
from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
import torch
from cases import OPTIMIZERS, registered
from problems import SIZES, diagonal_problem, mixed_problem
from reference import RULES as ORACLE
from reference import block_extremes, block_slices, hessian_times, run, steps_to_mean, steps_to_stay, steps_to_tolerance

from quadsim.simulator import RULES, BlockQuadratic, Rule, Schedule, grid, simulate, symbols
from quadsim.simulator.engines import as_trajectory, choose_engine, prepare, reference
from quadsim.simulator.engines.job import Outcome
from quadsim.simulator.problems.oracles import Additive
from quadsim.simulator.runs.trajectory import DIVERGED_ABOVE, OBSERVABLES, divergence_limit, recorded_steps
from quadsim.simulator.support.draws import Purpose, normals

LINEAR = ("gd", "sgd", "heavy-ball", "nesterov", "block-gd", "adam-frozen")


def oracle(problem, m, name, steps, **arguments):
    """Errors (steps+1, P) and gaps (steps+1,) of problem m by tests/reference.py."""
    matrix, start = problem.dense(m)
    blocks = [matrix[part, part] for part in block_slices(problem.block_sizes)]
    minimizer = problem.layout.flatten(problem.minimizer)[m]
    return run(name, blocks, start, steps, minimizer=minimizer, **arguments)


def setting(trajectory, k):
    """One setting as the arguments of a rule."""
    return {name: float(values[k]) for name, values in trajectory.settings.items()}


# The reference engine against tests/reference.py.


def test_every_rule_has_a_case():
    registered(OPTIMIZERS, RULES, "OPTIMIZERS")


@pytest.mark.parametrize("schedule", ["constant", "cosine:warmup=7", "linear", "inverse-sqrt:warmup=10"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_reference_engine_matches_numpy(name, schedule):
    steps, settings = OPTIMIZERS[name].steps, OPTIMIZERS[name].settings
    problem = mixed_problem(seed=len(name))
    result = simulate(
        problem, name, steps=steps, schedule=schedule, engine="reference", observe="iterate", tolerance=0.1, **settings
    )
    errors = result.observed["iterate"] - problem.layout.flatten(problem.minimizer)[:, None, None]
    assert result.gap.shape == (3, len(settings["lr"]), steps + 1)
    for m in range(problem.problems):
        for k in range(result.number_of_settings):
            expected, gaps = oracle(
                problem,
                m,
                "gd" if name == "sgd" else name,
                steps,
                lr_factors=schedule_factors(schedule, steps),
                **setting(result, k),
            )
            # Where a gradient passes through 0, Adam's relatives divide what rounding left of it by something as small.
            atol = 1e-13 if steps > 50 else 1e-10
            np.testing.assert_allclose(errors[m, k], expected, rtol=1e-10, atol=atol)
            np.testing.assert_allclose(result.gap[m, k], gaps, rtol=1e-10)
            assert result.steps_to_tolerance[m, k] == steps_to_tolerance(gaps, 0.1)
            assert result.steps_to_stay[m, k] == steps_to_stay(gaps, 0.1)
            assert result.steps_to_mean[m, k] == steps_to_mean(gaps, 0.1)


def schedule_factors(schedule, steps):
    """The factors as the docstring of Schedule has them, one at a time."""
    name, _, warmup = schedule.partition(":warmup=")
    k = int(warmup or 0)
    shapes = {
        "constant": lambda s: 1.0,
        "cosine": lambda s: (1 + np.cos(np.pi * s / (steps - k))) / 2,
        "linear": lambda s: 1 - s / (steps - k),
        "inverse-sqrt": lambda s: (max(k, 1) / (max(k, 1) + s)) ** 0.5,
    }
    return [(t + 1) / k if t < k else shapes[name](t - k) for t in range(steps)]


def test_weight_decay_acts_on_the_iterate_not_on_the_error():
    problem = diagonal_problem([1.0, 1.0], [1.0, 1.0], minimizer=[0.0, 5.0])
    result = simulate(problem, "lion", lr=0.1, weight_decay=1.0, steps=1, observe="iterate")
    np.testing.assert_allclose(result.observed["iterate"][0, 0, 1], [1 - 0.1 - 0.1, 6 - 0.1 - 0.6], rtol=1e-15)


def test_sign_of_zero_is_zero():
    problem = diagonal_problem([1.0, 1.0], [0.0, 1.0])
    for name in ("signsgd", "signum", "lion", "sign-lambda"):
        result = simulate(problem, name, lr=0.25, steps=5, observe="iterate")
        assert np.all(result.observed["iterate"][0, 0, :, 0] == 0.0), name
        assert result.observed["iterate"][0, 0, -1, 1] != 1.0, name


def test_alias_and_rule_objects_are_the_same_run():
    problem = mixed_problem()
    runs = [simulate(problem, rule, lr=0.7, steps=30) for rule in ("gd", "sgd", RULES["gd"])]
    assert all(np.array_equal(runs[0].gap, other.gap) for other in runs[1:])
    assert [r.optimizer for r in runs] == ["gd", "sgd", "gd"]


# Gaps far down.


@pytest.mark.parametrize("engine", ["reference", "closed-form"])
def test_gradient_descent_reaches_1e_minus_250_without_stalling(engine):
    problem = BlockQuadratic.generate(blocks=1, condition_number=10.0, problems=2)
    steps = 1450
    best = 2 / (1 + 1 / 10)
    result = simulate(problem, "gd", lr=[best, 1.0], steps=steps, engine=engine, tolerance=1e-250)
    rho = 9 / 11
    gap = result.gap[:, 0]
    assert np.all(gap[:, -1] < 1e-250)
    assert np.all(result.status[:, 0] == "converged")
    factors = gap[:, 1:] / gap[:, :-1]
    assert np.all(factors <= rho**2 * (1 + 1e-9))
    np.testing.assert_allclose(factors[:, 200:], rho**2, rtol=1e-9)  # only the two extreme modes are left
    # At lr = 1/L the slowest factor is 1 - mu/L, and 1e-250 is reached later but with the same steadiness.
    factors = result.gap[:, 1, 1:] / result.gap[:, 1, :-1]
    np.testing.assert_allclose(factors[:, 800:], 0.9**2, rtol=1e-9)
    values, coefficients = problem.eigenvalues[8][0, 0], problem.initial_coefficients[8][:, 0]
    expected = np.sum(values * coefficients**2 / 2 * np.abs(1 - best * values) ** (2.0 * steps), axis=1)
    np.testing.assert_allclose(gap[:, -1], expected, rtol=1e-10)


# What is recorded.


@pytest.mark.parametrize("engine", ["reference", "closed-form"])
@pytest.mark.parametrize("name", ["gd", "heavy-ball"])
@pytest.mark.parametrize("record", ["log", 1, 7, 64, 65, 128, 200, 10**6])
def test_recorded_values_are_those_of_the_full_record(engine, name, record):
    problem = mixed_problem()
    arguments = {"lr": [0.2, 1.0], "steps": 200, "engine": engine, "observe": ("gradient_norm",), "tolerance": 1e-2}
    full, part = simulate(problem, name, **arguments), simulate(problem, name, record=record, **arguments)
    assert full.steps.tolist() == list(range(201))
    assert full.gap.shape == (3, 2, 201)
    assert part.steps[0] == 0
    assert part.steps[-1] == 200
    assert np.all(np.diff(part.steps) > 0)
    rtol = 0.0 if engine == "reference" else 1e-12  # there is more than one way to a power of a matrix
    np.testing.assert_allclose(part.gap, full.gap[:, :, part.steps], rtol=rtol)
    np.testing.assert_allclose(
        part.observed["gradient_norm"], full.observed["gradient_norm"][:, :, part.steps], rtol=rtol
    )
    assert np.array_equal(part.steps_to_tolerance, full.steps_to_tolerance)
    expected = [[steps_to_tolerance(gaps, 1e-2) for gaps in row] for row in full.gap]
    assert np.array_equal(full.steps_to_tolerance, expected)
    assert np.array_equal(part.status, full.status)


def test_recorded_steps():
    assert recorded_steps(10, 4).tolist() == [0, 4, 8, 10]
    assert recorded_steps(8, 4).tolist() == [0, 4, 8]
    assert recorded_steps(3, 100).tolist() == [0, 3]
    assert recorded_steps(3, "all").tolist() == [0, 1, 2, 3]
    for steps in (1, 2, 9, 10, 1000, 12345):
        log = recorded_steps(steps, "log")
        assert log[0] == 0
        assert log[-1] == steps
        assert log[1] == 1
        assert np.all(np.diff(log) > 0)
    log = recorded_steps(10**6, "log")
    assert {10**k for k in range(7)} <= set(log.tolist())
    assert np.sum((log >= 1000) & (log < 10000)) == 20
    assert np.sum((log >= 100000) & (log < 1000000)) == 20


def test_a_hit_between_recorded_steps_is_seen():
    # Adam's gap oscillates: it dips below the tolerance and rises again, between records 64 steps apart.
    problem = diagonal_problem([1.0], [1.0])
    every = simulate(problem, "adam", lr=0.3, steps=300, tolerance=1e-3)
    below = np.flatnonzero(every.gap[0, 0] <= 1e-3 * every.gap[0, 0, 0])
    sparse = simulate(problem, "adam", lr=0.3, steps=300, tolerance=1e-3, record=300)
    assert sparse.steps_to_tolerance[0, 0] == every.steps_to_tolerance[0, 0] == below[0]
    assert 0 < below[0] < 300
    assert every.gap[0, 0, below[0] + 1 :].max() > 1e-3 * every.gap[0, 0, 0]
    assert every.status[0, 0] == sparse.status[0, 0] == "converged"


@pytest.mark.parametrize("steps", [1, 63, 64, 65, 127, 128, 129, 500])
def test_steps_to_tolerance_around_the_buffer_of_the_follower(steps):
    problem = diagonal_problem([1.0], [1.0])
    lrs = 1 - 0.5 ** (1 / np.array([1.0, 63.0, 64.0, 65.0, 127.0, 128.0, 500.0]))  # half the error after so many steps
    result = simulate(problem, "gd", lr=lrs, steps=steps, record="log", tolerance=0.25 * (1 + 1e-9), engine="reference")
    times = np.array([1, 63, 64, 65, 127, 128, 500])
    assert np.array_equal(result.steps_to_tolerance[0], np.where(times <= steps, times, np.inf))


# Status.


@pytest.mark.parametrize("name", RULES)
def test_a_start_at_the_solution_has_converged_at_step_0(name):
    problem = mixed_problem()
    problem = BlockQuadratic.from_blocks(
        [problem.hessian[3][:, 0], problem.hessian[5][:, 0]], initial_error=[0.0] * 8, seed=1
    )
    result = simulate(problem, name, lr=0.1, steps=20, observe=list(OBSERVABLES))
    assert np.all(result.gap == 0.0)
    assert np.all(result.steps_to_tolerance == 0.0)
    assert np.all(result.status == "converged")
    for undefined in ("Lambda_G", "step_sign_cosine", "step_sign_stride"):
        assert np.all(np.isnan(result.observed[undefined])), undefined
    for defined in set(OBSERVABLES) - {"gap", "Lambda_G", "step_sign_cosine", "step_sign_stride"}:
        assert np.all(result.observed[defined] == 0.0), defined


def test_leaving_the_solution_is_not_divergence():
    problem = diagonal_problem([1.0, 2.0], [0.0, 0.0], minimizer=[1.0, 1.0])
    result = simulate(problem, "adamw", lr=0.1, weight_decay=0.5, steps=50)
    assert result.gap[0, 0, -1] > 0.0
    assert result.steps_to_tolerance[0, 0] == 0.0
    assert result.status[0, 0] == "converged"


@pytest.mark.parametrize("engine", ["reference", "closed-form"])
@pytest.mark.parametrize("name", ["gd", "heavy-ball", "nesterov", "block-gd", "adam-frozen"])
def test_divergence_is_a_status_and_the_gap_is_kept_up_to_the_limit(engine, name):
    problem = mixed_problem()
    result = simulate(
        problem, name, lr=[4.5, 9.0, 1e3, 1e160, 1e300], steps=400, engine=engine, observe=list(OBSERVABLES)
    )
    assert np.all(result.status == "diverged")
    assert not np.any(np.isnan(result.gap))
    assert not np.any(np.isnan(result.steps_to_tolerance))
    for m in range(3):
        for k in range(2):  # the oracle's arithmetic overflows later on
            first = int(np.argmax(np.isinf(result.gap[m, k])))
            _, gaps = oracle(problem, m, name, first, **setting(result, k))
            assert gaps[first] > DIVERGED_ABOVE * gaps[0] >= gaps[first - 1]
            np.testing.assert_allclose(result.gap[m, k, :first], gaps[:first], rtol=1e-10)
            assert np.all(np.isinf(result.gap[m, k, first:]))
    assert np.all(np.isinf(result.gap[:, -1, 1:]))  # after one step of 1e300
    assert np.all(np.isfinite(result.gap[..., 0]))


@pytest.mark.parametrize("name", RULES)
def test_no_rule_warns_where_it_overflows(name):
    problem = mixed_problem(problems=2)
    result = simulate(problem, name, lr=[1e200, 1e308], steps=100, engine="reference", observe=list(OBSERVABLES))
    assert np.all(result.status == "diverged")
    assert np.all(np.isinf(result.gap[..., 3:]))
    assert np.all(np.isfinite(result.gap[..., 0]))
    assert np.all(np.isinf(result.steps_to_tolerance))


@pytest.mark.parametrize("engine", ["reference", "closed-form"])
def test_divergence_from_a_huge_start(engine):
    # 1e12 times the gap at the start is beyond float64: then a gap that is not finite has diverged.
    problem = BlockQuadratic.from_blocks([np.eye(2)], initial_error=[1e150, 1e149])
    result = simulate(problem, "gd", lr=[0.5, 3.0], steps=200, engine=engine, tolerance=1e-3)
    assert result.status.tolist() == [["converged", "diverged"]]
    assert result.steps_to_tolerance.tolist() == [[5.0, np.inf]]
    assert np.isinf(result.gap[0, 1, -1])


def test_divergence_limit():
    limits = divergence_limit(np.array([0.0, 1e-300, 1.0, 1e300]))
    np.testing.assert_allclose(limits, [np.finfo(float).max, 1e-288, 1e12, np.finfo(float).max], rtol=1e-15)
    assert np.all(np.isfinite(limits))


def test_a_run_that_comes_back_has_diverged():
    # The first steps are 10^8 times the start; the schedule then brings the run back to where it began.
    problem = diagonal_problem([1.0], [2.0**-27])
    result = simulate(problem, "signsgd", lr=1.0, steps=400, schedule="cosine", tolerance=0.9)
    _, gaps = oracle(problem, 0, "signsgd", 400, lr=1.0, lr_factors=schedule_factors("cosine", 400))
    assert gaps[1] > 1e12 * gaps[0]
    assert gaps[-1] < 1e12 * gaps[0]
    assert result.status[0, 0] == "diverged"
    assert np.all(np.isinf(result.gap[0, 0, 1:]))
    # A stop at exactly 0 after that is no hit: from divergence on the gap counts as infinite.
    back = simulate(diagonal_problem([1.0], [2.0**-60]), "signsgd", lr=1.0, steps=2)
    assert back.status[0, 0] == "diverged"
    assert np.isinf(back.steps_to_tolerance[0, 0])


def test_a_hit_before_divergence_is_kept():
    job = prepare(diagonal_problem([1.0], [1.0]), "gd", lr=[0.1, 0.1, 0.1], steps=9)
    outcome = Outcome(
        np.ones((1, 3, 10)),
        np.array([[3.0, 7.0, np.inf]]),
        np.array([[3.0, 7.0, np.inf]]),
        np.array([[4.0, 7.0, np.inf]]),
        np.array([[5.0, 5.0, np.inf]]),
    )
    result = as_trajectory(job, outcome, "gd", None, "reference")
    assert result.steps_to_tolerance.tolist() == [[3.0, np.inf, np.inf]]
    assert result.steps_to_stay.tolist() == [[np.inf, np.inf, np.inf]]
    assert result.steps_to_mean.tolist() == [[4.0, np.inf, np.inf]]
    assert result.status.tolist() == [["diverged", "diverged", "not_reached"]]
    assert result.gap[0, 0].tolist() == [1.0] * 5 + [np.inf] * 5


def test_running_means_not_hit():
    result = simulate(mixed_problem(), "gd", lr=1e-3, steps=10)
    assert np.all(result.status == "not_reached")
    assert np.all(np.isinf(result.steps_to_tolerance))


# Observables.

AXES = {"block": len(SIZES), "coordinate": sum(SIZES)}


SMALL = 2.0**-480  # about 3e-145; products of gaps with it underflow, products with it are exact


@pytest.mark.parametrize(("engine", "name", "start"), [
    *(("reference", name, 1.0) for name in ("gd", "adam", "adamw", "signum", "adam-frozen")),
    *(("closed-form", name, 1.0) for name in LINEAR),
    *(("reference", name, SMALL) for name in ("gd", "signum", "adam-frozen")),
    *(("closed-form", name, SMALL) for name in LINEAR),
])  # fmt: skip
def test_observables_are_what_numpy_makes_of_the_iterates(engine, name, start):
    problem = mixed_problem()
    if start != 1.0:
        problem = BlockQuadratic.from_blocks(
            [problem.dense(0)[0][part, part] for part in block_slices(SIZES)],
            initial_error=start * problem.dense(0)[1],
        )
    steps, every = 24, 5
    lr = np.array([0.003, 0.03] if name == "adam-frozen" else [0.03, 0.4]) * (1.0 if name in LINEAR[:-1] else start)
    arguments = {"lr": lr, "engine": engine}
    path = simulate(problem, name, steps=steps + 1, observe="iterate", **arguments).observed["iterate"]
    result = simulate(problem, name, steps=steps, record=every, observe=list(OBSERVABLES), **arguments)
    assert result.steps.tolist() == [0, 5, 10, 15, 20, 24]
    assert set(result.observed) == set(OBSERVABLES) - {"gap"}
    for observable, values in result.observed.items():
        shape = (problem.problems, 2, 6, *(AXES[axis] for axis in OBSERVABLES[observable]))
        assert values.shape == shape, observable
    slices = block_slices(SIZES)
    minimizer = problem.layout.flatten(problem.minimizer)
    for m in range(problem.problems):
        H, _ = problem.dense(m)
        L = block_extremes([H[part, part] for part in slices])[0]
        for k in range(2):
            for r, t in enumerate(result.steps):
                e = (path[m, k, t] - minimizer[m]) / start
                g = H @ e
                step = (path[m, k, t + 1] - path[m, k, t]) / start
                squares = np.array([g[part] @ g[part] for part in slices])
                expected = {
                    "gradient_norm": np.linalg.norm(g) * start,
                    "gradient_norm_1": np.abs(g).sum() * start,
                    "Lambda_G": squares @ L / squares.sum(),
                    "step_sign_cosine": -step @ np.sign(g) / (np.linalg.norm(step) * np.sqrt(np.count_nonzero(g))),
                    "step_sign_stride": np.linalg.norm(step) / np.sqrt(np.count_nonzero(g)) * start,
                    "block_gap": [e[part] @ g[part] / 2 * start * start for part in slices],
                    "block_gradient_norm": np.sqrt(squares) * start,
                    "iterate": path[m, k, t],
                }
                assert set(expected) == set(result.observed)
                for observable, value in expected.items():
                    got = result.observed[observable][m, k, r]
                    unit = {"block_gap": start**2, "Lambda_G": 1.0, "step_sign_cosine": 1.0}.get(observable, start)
                    np.testing.assert_allclose(
                        got, value, rtol=1e-10, atol=1e-13 * unit, err_msg=f"{observable} at step {t}"
                    )
                gap = result.observed["block_gap"][m, k, r].sum()
                np.testing.assert_allclose(gap, result.gap[m, k, r], rtol=1e-12)


def test_sign_rules_step_along_the_sign():
    problem = mixed_problem()
    result = simulate(problem, "signsgd", lr=[0.01, 0.02], steps=40, observe="step_sign_cosine")
    np.testing.assert_allclose(result.observed["step_sign_cosine"], 1.0, rtol=1e-14)
    result = simulate(problem, "adam", lr=0.01, beta1=0.0, beta2=0.0, eps=0.0, steps=40, observe="step_sign_cosine")
    np.testing.assert_allclose(result.observed["step_sign_cosine"], 1.0, rtol=1e-14)


@pytest.mark.parametrize("engine", ["reference", "closed-form"])
def test_undefined_observables_are_nan_for_that_problem_alone(engine):
    problem = diagonal_problem([1.0, 4.0], [[0.0, 0.0], [0.5, 0.0]])
    result = simulate(problem, "gd", lr=0.1, steps=3, engine=engine, observe=("Lambda_G", "step_sign_cosine"))
    assert np.all(np.isnan(result.observed["Lambda_G"][0]))
    assert np.all(np.isnan(result.observed["step_sign_cosine"][0]))
    np.testing.assert_allclose(result.observed["Lambda_G"][1], 1.0)
    np.testing.assert_allclose(result.observed["step_sign_cosine"][1], 1.0)


def test_a_zero_step_has_no_cosine():
    # A rule that stands still: its gradient is not 0, its step is.
    still = Rule(name="still", step=0 * symbols.g)
    result = simulate(
        mixed_problem(), still, lr=1.0, steps=2, engine="reference", observe=("step_sign_cosine", "Lambda_G")
    )
    assert np.all(np.isnan(result.observed["step_sign_cosine"]))
    assert np.all(np.isfinite(result.observed["Lambda_G"]))


def test_observe_takes_one_name_and_ignores_repeats():
    problem = mixed_problem()
    one = simulate(problem, "gd", lr=0.1, steps=3, observe="Lambda_G")
    more = simulate(problem, "gd", lr=0.1, steps=3, observe=["gap", "Lambda_G", "Lambda_G"])
    assert list(one.observed) == list(more.observed) == ["Lambda_G"]
    assert np.array_equal(one.observed["Lambda_G"], more.observed["Lambda_G"])
    assert not simulate(problem, "gd", lr=0.1, steps=3).observed


# Batch-mates.

FIRST, COUNT = 3, 33


def assert_same_bits(part, full, positions):
    for attribute in ("gap", "steps_to_tolerance", "status"):
        assert np.array_equal(getattr(part, attribute), getattr(full, attribute)[positions]), attribute
    for name, values in part.observed.items():
        assert np.array_equal(values, full.observed[name][positions], equal_nan=True), name


@pytest.mark.parametrize("settings_number", [1, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 8, 17, 30, (17, 2, 2, 30), (3, 5, 3, 5, 3)], ids=str)
@pytest.mark.parametrize(("engine", "names"), [
    ("reference", ("gd", "signsgd", "gd-lambda", "adam", "adam-mini")),
    ("closed-form", ("gd", "heavy-ball", "block-gd", "adam-frozen")),
])  # fmt: skip
def test_a_problem_has_the_same_bits_in_any_batch(engine, names, size, settings_number):
    dials = {"block_size": size, "heterogeneity": 10.0, "seed": 5}
    whole = BlockQuadratic.generate(problems=COUNT, first=FIRST, **dials)
    parts = [  # problems, their positions in the whole
        (whole.select([7]), [7]),
        (whole.select(range(11, 19)), range(11, 19)),
        (whole.select([32, 0, 5]), [32, 0, 5]),
        (BlockQuadratic.generate(problems=1, first=FIRST + 32, **dials), [32]),
        (BlockQuadratic.generate(problems=8, first=FIRST + 5, **dials), range(5, 13)),
    ]
    lr = np.linspace(0.02, 0.15, settings_number)
    observe = ("iterate", "gradient_norm", "Lambda_G", "step_sign_cosine", "block_gap")
    for name in names:
        arguments = {"lr": lr, "steps": 16, "record": 4, "tolerance": 0.5, "engine": engine, "observe": observe}
        full = simulate(whole, name, **arguments)
        for part, positions in parts:
            assert_same_bits(simulate(part, name, **arguments), full, list(positions))


def test_a_problem_has_the_same_bits_in_any_batch_in_float32():
    whole = BlockQuadratic.generate(block_size=(17, 5), problems=9, heterogeneity=10.0)
    arguments = {"lr": [0.02, 0.1, 0.03], "steps": 40, "dtype": "float32", "observe": "iterate"}
    for name in ("gd", "adam"):
        full = simulate(whole, name, **arguments)
        for positions in ([4], [8, 1]):
            assert_same_bits(simulate(whole.select(positions), name, **arguments), full, positions)


@pytest.mark.parametrize("name", RULES)
def test_settings_do_not_feel_each_other(name):
    problem = BlockQuadratic.generate(block_size=(8, 3, 17), heterogeneity=10.0, problems=3)
    lr = np.linspace(0.02, 0.15, 7)
    engines = ["reference", "closed-form"] if RULES[name].is_linear else ["reference"]
    for engine in engines:
        arguments = {"steps": 15, "engine": engine, "observe": "iterate", "tolerance": 0.7}
        full = simulate(problem, name, lr=lr, **arguments)
        for chosen in ([0], [6, 2, 1]):
            part = simulate(problem, name, lr=lr[chosen], **arguments)
            if engine == "closed-form":
                assert np.array_equal(part.gap, full.gap[:, chosen])
                assert np.array_equal(part.observed["iterate"], full.observed["iterate"][:, chosen])
                assert np.array_equal(part.steps_to_tolerance, full.steps_to_tolerance[:, chosen])
            else:
                rtol = (
                    1e-9 if name == "nadam" else 1e-12
                )  # where a gradient passes through 0, its steps amplify the last digit
                np.testing.assert_allclose(part.gap, full.gap[:, chosen], rtol=rtol)


def test_the_same_call_gives_the_same_bits():
    problem = mixed_problem()
    a, b = (simulate(problem, "adam", lr=[0.1, 0.2], steps=200, gradient_noise_std=0.1) for _ in range(2))
    assert np.array_equal(a.gap, b.gap)


# Noise on the gradient.


def recovered_noise(problem, lr, std, steps=5):
    """What was added to the gradient, from the iterates of gradient descent: (M, K, steps, P)."""
    result = simulate(problem, "gd", lr=lr, steps=steps, gradient_noise_std=std, observe="iterate")
    errors = result.observed["iterate"] - problem.layout.flatten(problem.minimizer)[:, None, None]
    H = np.stack([problem.dense(m)[0] for m in range(problem.problems)])
    gradients = np.einsum("mij,mktj->mkti", H, errors)
    assert result.engine == "reference"
    return (errors[:, :, :-1] - errors[:, :, 1:]) / result.settings["lr"][None, :, None, None] - gradients[:, :, :-1]


def test_noise_is_the_same_for_all_settings_and_in_any_batch():
    problem = BlockQuadratic.generate(block_size=(3, 1, 3, 2), heterogeneity=10.0, problems=6, seed=4)
    noise = recovered_noise(problem, [0.01, 0.05, 0.1], 0.3)
    for k in (1, 2):
        np.testing.assert_allclose(noise[:, k], noise[:, 0], atol=1e-11)
    drawn = np.stack([normals(4, problem.index, Purpose.NOISE, t, 9) for t in range(5)], axis=1)
    np.testing.assert_allclose(noise[:, 0], 0.3 * drawn, atol=1e-11)
    everything = noise[:, 0].ravel()
    assert np.unique(np.round(everything, 8)).size == everything.size  # nothing is used twice
    for part, positions in ((problem.select([4, 1]), [4, 1]), (problem.select([5]), [5])):
        for name in ("gd", "adam"):
            full, alone = (simulate(p, name, lr=0.1, steps=70, gradient_noise_std=0.3).gap for p in (problem, part))
            assert np.array_equal(alone, full[positions])
    other = BlockQuadratic.generate(block_size=(3, 1, 3, 2), heterogeneity=10.0, problems=6, seed=5)
    assert np.min(np.abs(recovered_noise(other, [0.01], 0.3) - noise[:, :1])) > 1e-9


def test_noise_does_not_enter_what_is_observed():
    problem = mixed_problem()
    result = simulate(problem, "gd", lr=0.1, steps=3, gradient_noise_std=1.0, observe=("iterate", "gradient_norm"))
    errors = result.observed["iterate"] - problem.layout.flatten(problem.minimizer)[:, None, None]
    for m in range(problem.problems):
        expected = np.linalg.norm(problem.dense(m)[0] @ errors[m, 0].T, axis=0)
        np.testing.assert_allclose(result.observed["gradient_norm"][m, 0], expected, rtol=1e-12)


def test_noise_has_the_floor_of_the_theory():
    # theory.md, gd-noise: E gap -> 1/2 sum lr s^2 / (2 - lr lambda). Problems are independent draws with one spectrum.
    problem = BlockQuadratic.generate(
        blocks=2, block_size=3, heterogeneity=4.0, condition_number=2.0, problems=200, seed=1
    )
    spectrum = np.concatenate([values[0, :, :].ravel() for values in problem.eigenvalues.values()])
    lr, std = np.array([0.2, 0.3, 0.45]), 0.7
    result = simulate(problem, "gd", lr=lr, steps=500, record=10, gradient_noise_std=std, tolerance=1e-3)
    samples = result.gap[:, :, 20:].mean(
        axis=2
    )  # from step 200 on, when at most (1 - 0.2/4)^400 < 1e-8 of the start is left
    floor = np.array([np.sum(rate * std**2 / (2 - rate * spectrum)) / 2 for rate in lr])
    error = samples.std(axis=0, ddof=1) / np.sqrt(200)
    assert np.all(np.abs(samples.mean(axis=0) - floor) < 4 * error)
    assert np.all(error < 0.02 * floor)  # sharp enough to tell 2 - lr lambda from 2


# float32.


@pytest.mark.parametrize("dtype", [torch.float32, "float32"], ids=str)
@pytest.mark.parametrize("name", ["gd", "adam", "signsgd", "normalized-gd", "heavy-ball"])
def test_float32_runs_are_float32(name, dtype):
    problem = mixed_problem()
    lr = [0.1, 0.3]
    single = simulate(problem, name, lr=lr, steps=30, dtype=dtype, observe=("iterate", "Lambda_G"))
    double = simulate(problem, name, lr=lr, steps=30, observe=("iterate", "Lambda_G"), engine="reference")
    assert single.dtype == "float32"
    assert single.engine == "reference"
    assert single.gap.dtype == np.float64
    np.testing.assert_allclose(single.gap, double.gap, rtol=1e-2 if name == "normalized-gd" else 2e-4)  # it jitters
    np.testing.assert_allclose(single.observed["iterate"], double.observed["iterate"], atol=1e-3)
    relative = np.abs(single.gap / double.gap - 1)
    assert relative.max() > 1e-8  # it was not float64 after all


def test_float32_overflow_is_divergence():
    result = simulate(mixed_problem(), "gd", lr=[5.0, 1e30], steps=200, dtype="float32", observe=list(OBSERVABLES))
    assert np.all(result.status == "diverged")
    assert not np.any(np.isnan(result.gap))


# Settings.


def test_settings_are_zipped_and_numbers_stretch():
    problem = mixed_problem()
    zipped = simulate(problem, "adam", lr=np.array([0.1, 0.2]), beta1=(0.0, 0.5), beta2=0.9, steps=20)
    assert {name: values.tolist() for name, values in zipped.settings.items()} == {
        "lr": [0.1, 0.2], "beta1": [0.0, 0.5], "beta2": [0.9, 0.9], "eps": [1e-8, 1e-8],
    }  # fmt: skip
    for k, (lr, beta1) in enumerate([(0.1, 0.0), (0.2, 0.5)]):
        alone = simulate(problem, "adam", lr=lr, beta1=beta1, beta2=[0.9], steps=20)
        np.testing.assert_allclose(alone.gap[:, 0], zipped.gap[:, k], rtol=1e-12)


def test_grid_makes_all_combinations():
    product = grid(lr=[0.1, 0.2], beta1=0.5, eps=np.array([0.0, 1.0, 2.0]))
    assert {name: values.tolist() for name, values in product.items()} == {
        "lr": [0.1, 0.1, 0.1, 0.2, 0.2, 0.2],
        "beta1": [0.5] * 6,
        "eps": [0.0, 1.0, 2.0] * 2,
    }
    assert simulate(mixed_problem(), "adam", steps=2, **product).gap.shape == (3, 6, 3)


def test_the_rate_may_be_left_out_where_there_is_a_default():
    problem = mixed_problem()
    for name in ("block-gd", "gd-lambda", "sign-lambda"):
        run_alone, run_given = (simulate(problem, name, steps=5, **lr) for lr in ({}, {"lr": 1.0}))
        assert np.array_equal(run_alone.gap, run_given.gap)


def test_a_schedule_may_be_text_or_an_object():
    problem = mixed_problem()
    text = simulate(problem, "gd", lr=0.1, steps=30, schedule="cosine:warmup=5")
    made = simulate(problem, "gd", lr=0.1, steps=30, schedule=Schedule("cosine", 5))
    assert np.array_equal(text.gap, made.gap)
    assert text.schedule == made.schedule == Schedule("cosine", 5)
    assert text.engine == "fused"


# Which engine runs.


@pytest.mark.parametrize(("name", "arguments", "engine"), [
    *((name, {}, "closed-form") for name in LINEAR),
    *((name, {}, "reference" if RULES[name].is_global else "fused") for name in RULES if name not in LINEAR),
    ("gd", {"schedule": "constant"}, "closed-form"),
    ("gd", {"schedule": "linear"}, "fused"),
    ("gd", {"schedule": "constant:warmup=2"}, "fused"),
    ("gd", {"gradient_noise_std": 0.1}, "reference"),
    ("gd", {"dtype": "float32"}, "fused"),
    ("gd", {"dtype": "float32", "observe": "Lambda_G"}, "reference"),
])  # fmt: skip
def test_auto_takes_the_first_engine_that_applies(name, arguments, engine):
    result = simulate(mixed_problem(), name, lr=0.01, steps=5, **arguments)
    assert result.engine == engine
    assert simulate(mixed_problem(), name, lr=0.01, steps=5, engine=engine, **arguments).engine == engine


REFUSED = {  # engine, rule, arguments, engines that can, reason
    "a rule that is not linear": ("closed-form", "adam", {}, "fused, reference", "adam is not linear"),
    "a schedule": ("closed-form", "gd", {"schedule": "cosine"}, "fused, reference", "the schedule cosine is not constant"),
    "noise": ("closed-form", "gd", {"gradient_noise_std": 0.5}, "reference", "the gradient is that of the oracle additive:std=0.5"),
    "float32": ("closed-form", "gd", {"dtype": torch.float32}, "fused, reference", "its formulas are evaluated in float64 only"),
    "a global rule": ("fused", "normalized-gd", {}, "reference", "normalized-gd needs the whole gradient at once"),
    "noise, fused": ("fused", "adam", {"gradient_noise_std": 0.5}, "reference", "the gradient is that of the oracle additive:std=0.5"),
    "observables": (
        "fused", "adam", {"observe": ("block_gap", "Lambda_G")}, "reference", "it observes the gap alone, not block_gap, Lambda_G",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_an_engine_says_why_not(case):
    engine, name, arguments, others, reason = REFUSED[case]
    message = (
        f"engine for {name} must be one of auto, {others} here, got {engine!r} ({reason}); "
        f"use engine {others.partition(',')[0]}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        simulate(mixed_problem(), name, lr=0.1, steps=5, engine=engine, **arguments)


def test_a_zero_in_the_first_gradient_leaves_frozen_adam_to_the_next_engine():
    problem = diagonal_problem([1.0, 3.0], [1.0, 0.0])
    with pytest.raises(
        ValueError,
        match=r"the preconditioner of adam-frozen is not positive and finite \(an entry of the first gradient is 0",
    ):
        simulate(problem, "adam-frozen", lr=0.1, steps=5, engine="closed-form")
    result = simulate(problem, "adam-frozen", lr=0.1, steps=5)
    assert result.engine == "fused"
    np.testing.assert_allclose(result.gap[0, 0], 0.5 * 0.9 ** (2.0 * np.arange(6)), rtol=1e-14)


m1, m2, frozen = sp.symbols("m1 m2 frozen", real=True)
power = sp.Symbol("power", positive=True)
TWO_MEMORIES = Rule(
    name="two-memories",
    update={m1: sp.Rational(9, 10) * m1 + symbols.g, m2: sp.Rational(1, 2) * m2 + symbols.g},
    step=-symbols.lr * (m1 + m2) / 2,
)
SCALED = Rule(
    name="scaled",
    update={frozen: frozen},
    start={frozen: power * sp.Abs(symbols.g)},
    step=-symbols.lr * symbols.g / frozen,
    hyperparameters={power: 1.0},
)


@pytest.mark.parametrize(("rule", "reason"), [
    (TWO_MEMORIES, "two-memories keeps 2 states"),
    (SCALED, "the preconditioner of scaled depends on its settings"),
], ids=["two memories", "a preconditioner that depends on a setting"])  # fmt: skip
def test_linear_rules_beyond_the_closed_form_are_refused_by_name(rule, reason):
    assert rule.is_linear
    with pytest.raises(ValueError, match=reason):
        simulate(mixed_problem(), rule, lr=0.01, steps=5, engine="closed-form")
    assert simulate(mixed_problem(), rule, lr=0.01, steps=5).engine == "fused"


def test_own_rule_by_hand():
    e0, lr, steps = np.array([1.0, -2.0]), 0.1, 6
    eigenvalues = np.array([1.0, 3.0])
    e, a, b, gaps = e0.copy(), np.zeros(2), np.zeros(2), []
    for _ in range(steps + 1):
        gaps.append(eigenvalues @ e**2 / 2)
        a, b = 0.9 * a + eigenvalues * e, 0.5 * b + eigenvalues * e
        e = e - lr * (a + b) / 2
    result = simulate(diagonal_problem(eigenvalues, e0), TWO_MEMORIES, lr=lr, steps=steps)
    np.testing.assert_allclose(result.gap[0, 0], gaps, rtol=1e-13)


# Bad arguments.

BAD = {
    "unknown rule": ({"rule": "addam"}, r"optimizer must be one of gd, .*, got 'addam'; did you mean 'adam'\?"),
    "rule of another type": ({"rule": 3}, r"optimizer must be one of .*, got 3; choose one of these"),
    "no steps": ({"steps": 0}, "steps must be a whole number of at least 1, got 0; give 1 or more"),
    "steps below 0": ({"steps": -5}, "steps must be a whole number of at least 1, got -5"),
    "half a step": ({"steps": 2.5}, "steps must be a whole number of at least 1, got 2.5"),
    "steps in words": ({"steps": "many"}, "steps must be a whole number of at least 1, got 'many'"),
    "steps that are true": ({"steps": True}, "steps must be a whole number of at least 1, got True"),
    "unknown record": ({"record": "logs"}, r"record must be one of all, log, got 'logs'; did you mean 'log'\?"),
    "record 0": ({"record": 0}, 'record must be .* at least 1, got 0; give "all", "log" or every how many steps'),
    "record 2.5": ({"record": 2.5}, "record must be a whole number of at least 1, got 2.5"),
    "record None": ({"record": None}, "record must be a whole number of at least 1, got None"),
    "unknown observable": ({"observe": "lambda_g"}, r"observe must be one of gap, .*, got 'lambda_g'; did you mean 'Lambda_G'\?"),
    "one of several observables": ({"observe": ["gap", "entropy"]}, "observe must be one of gap, .*, got 'entropy'"),
    "tolerance 0": ({"tolerance": 0.0}, r"tolerance must be a number in \(0, 1\), got 0.0; give a value in that range"),
    "tolerance 1": ({"tolerance": 1}, r"tolerance must be a number in \(0, 1\), got 1"),
    "tolerance NaN": ({"tolerance": np.nan}, r"tolerance must be a number in \(0, 1\), got nan"),
    "unknown engine": ({"engine": "closed"}, r"engine must be one of auto, closed-form, fused, reference, got 'closed'; did you mean 'closed-form'"),
    "unknown dtype": ({"dtype": "float16"}, "dtype must be one of float32, float64, got 'float16'"),
    "integer dtype": ({"dtype": torch.int64}, "dtype must be one of float32, float64, got 'int64'"),
    "unknown device": ({"device": "tpu"}, "device must be cpu, cuda or cuda:N, got 'tpu'; choose one of these"),
    "device without a number": ({"device": "cuda:x"}, "device must be cpu, cuda or cuda:N, got 'cuda:x'"),
    "device that is not there": ({"device": "cuda:99"}, r"device cuda:99 must exist, got a machine on which torch sees \d+ GPUs; use device cpu"),
    "lr 0": ({"lr": 0.0}, "lr must be a number above 0, got 0.0; give a value in that range"),
    "lr below 0": ({"lr": [0.1, -1.0]}, "lr must be a number above 0, got -1.0"),
    "lr inf": ({"lr": np.inf}, "lr must be a number above 0, got inf"),
    "lr NaN": ({"lr": np.nan}, "lr must be a number above 0, got nan"),
    "lr in words": ({"lr": "fast"}, "lr must be a number above 0, got 'fast'"),
    "no lr": ({"lr": None}, r"lr must be given for adam, got None; pass lr=\.\.\."),
    "empty lr": ({"lr": []}, r"lr must be a number or a sequence of numbers, got shape \(0,\)"),
    "lr in two axes": ({"lr": [[0.1, 0.2]]}, r"lr must be a number or a sequence of numbers, got shape \(1, 2\)"),
    "lengths that differ": (
        {"lr": [0.1, 0.2], "beta1": [0.1, 0.2, 0.3]},
        r"length 1 or one common length, got \{'lr': 2, 'beta1': 3\}; make them equal, or use quadsim.simulator.grid",
    ),
    "beta1 of 1": ({"beta1": 1.0}, r"beta1 must be a number in \[0, 1\), got 1.0"),
    "eps below 0": ({"eps": -1e-8}, "eps must be a number of at least 0, got -1e-08"),
    "unknown hyperparameter": ({"beta3": 0.5}, r"hyperparameter of adam must be one of beta1, beta2, eps, got 'beta3'; did you mean"),
    "a hyperparameter where there is none": ({"rule": "gd", "momentum": 0.5}, "hyperparameter of gd must not be given, as there is none, got 'momentum'"),
    "noise below 0": ({"gradient_noise_std": -0.1}, "gradient_noise_std must be a number of at least 0, got -0.1"),
    "noise inf": ({"gradient_noise_std": np.inf}, "gradient_noise_std must be a number of at least 0, got inf"),
    "unknown schedule": ({"schedule": "cosin"}, r"schedule must be one of .*, got 'cosin'; did you mean 'cosine'\?"),
    "schedule of another form": ({"schedule": "cosine:5"}, r"schedule must be NAME or NAME:warmup=STEPS, got 'cosine:5'"),
    "warm-up of all steps": ({"schedule": "cosine:warmup=10"}, r"warm-up must be below the number of steps \(10\), got 10"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_named_with_what_is_allowed_and_what_came(case):
    arguments, message = BAD[case]
    arguments = {"rule": "adam", "lr": 0.1, "steps": 10} | arguments
    with pytest.raises(ValueError, match=message) as caught:
        simulate(mixed_problem(), **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there():
    message = (
        "device cuda must exist, got a machine on which torch sees 0 GPUs; use device cpu, or install a torch built for"
    )
    with pytest.raises(ValueError, match=message):
        simulate(mixed_problem(), "gd", lr=0.1, steps=1, device="cuda")


def test_choose_engine_looks_at_the_job_alone():
    job = prepare(mixed_problem(), "gd", lr=0.1, steps=10**12, record="log")  # nothing runs
    assert choose_engine("auto", job) == "closed-form"
    assert choose_engine("auto", replace(job, oracle=Additive(1.0))) == "reference"
    with pytest.raises(ValueError, match=re.escape("(the gradient is that of the oracle additive:std=1.0)")):
        choose_engine("closed-form", replace(job, oracle=Additive(1.0)))


def test_oracle_and_problem_agree_on_the_start():
    # Guards the helpers of this file: blocks in the order of the coordinates, for sizes that come back.
    problem = mixed_problem()
    matrix, start = problem.dense(1)
    blocks = [matrix[part, part] for part in block_slices(SIZES)]
    np.testing.assert_allclose(hessian_times(blocks, start), matrix @ start, rtol=1e-13)
    np.testing.assert_allclose(simulate(problem, "gd", lr=0.1, steps=1).gap[1, 0, 0], start @ matrix @ start / 2)
    assert set(ORACLE) == set(RULES) - {"sgd"}


def test_small_runs_take_one_thread_and_give_the_others_back(monkeypatch):
    seen = []
    real = reference._run
    monkeypatch.setattr(reference, "_run", lambda job: seen.append(torch.get_num_threads()) or real(job))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        small = BlockQuadratic.generate(blocks=2, block_size=3)
        simulate(small, "adam", lr=0.1, steps=3, engine="reference")
        monkeypatch.setattr(reference, "_PRODUCTS_FOR_THREADS", 1)
        simulate(small, "adam", lr=0.1, steps=3, engine="reference")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 2]


def test_a_preconditioner_that_is_not_positive_has_no_closed_form():
    m = sp.Symbol("m", real=True)
    rule = Rule(name="by-first-gradient", update={m: m}, start={m: symbols.g}, step=-symbols.lr * symbols.g / m)
    problem = BlockQuadratic.from_blocks([[[2, 0], [0, 1]]], initial_error=[1, -1])
    run = simulate(problem, rule, lr=0.1, steps=3)
    assert run.engine == "fused"
    with pytest.raises(ValueError, match="is not positive and finite"):
        simulate(problem, rule, lr=0.1, steps=3, engine="closed-form")
