"""The step from which on a gap stays within the tolerance, and the first window whose mean is, against whole curves."""

import numpy as np
import pytest
from cases import OPTIMIZERS
from problems import diagonal_problem, mixed_problem
from reference import steps_to_mean, steps_to_stay, steps_to_tolerance

from quadsim.simulator import BlockQuadratic, grid, simulate
from quadsim.simulator.engines import closed_form
from quadsim.simulator.runs.trajectory import DIVERGED_ABOVE

LINEAR = [name for name, case in OPTIMIZERS.items() if case.kind == "linear"]


def of_curves(run):
    """The stays of a run that recorded every step, by tests/reference.py, (M, K)."""
    stays = [[steps_to_stay(gaps, run.tolerance) for gaps in row] for row in run.gap]
    return np.where(run.status == "diverged", np.inf, stays)


def means_of_curves(run):
    """Ends of the first windows that are low on average, likewise; a window that ends before divergence counts."""
    return np.array([[steps_to_mean(gaps, run.tolerance) for gaps in row] for row in run.gap])


def compare(problem, name, steps, tolerance, *, engines=("closed-form",), **settings):
    """Hold the engines against the curves of the reference engine, which it returns."""
    curves = simulate(problem, name, steps=steps, tolerance=tolerance, engine="reference", **settings)
    want = of_curves(curves)
    means = means_of_curves(curves)
    np.testing.assert_array_equal(curves.steps_to_stay, want)
    np.testing.assert_array_equal(curves.steps_to_mean, means)
    for engine in engines:
        run = simulate(problem, name, steps=steps, tolerance=tolerance, engine=engine, record=steps, **settings)
        np.testing.assert_array_equal(run.steps_to_stay, want, err_msg=engine)
        np.testing.assert_array_equal(run.steps_to_mean, means, err_msg=engine)
        assert np.all(run.steps_to_stay >= run.steps_to_tolerance)
    return curves


@pytest.mark.parametrize("name", LINEAR)
def test_the_closed_form_finds_the_step_from_which_a_run_stays(name):
    """`test_fused.py` and `test_engines.py` walk all optimizers likewise."""
    case = OPTIMIZERS[name]
    for tolerance in (0.5, 0.01):
        compare(mixed_problem(seed=3), name, case.steps, tolerance, **case.settings)


@pytest.mark.parametrize(("name", "settings", "engines"), [
    ("heavy-ball", grid(lr=[0.03, 0.5, 1.5], momentum=[0.9, 0.99]), ("closed-form",)),
    ("nesterov", grid(lr=[0.03, 0.5, 1.0], momentum=[0.9, 0.99, 0.999]), ("closed-form",)),
    ("adam", grid(lr=[0.1, 0.2]), ()),
])  # fmt: skip
def test_runs_that_leave_the_tolerance_again(name, settings, engines):
    run = compare(mixed_problem(seed=1), name, 300, 0.05, engines=engines, **settings)
    back = np.isfinite(run.steps_to_stay)
    assert np.any(run.steps_to_stay[back] > run.steps_to_tolerance[back])
    if name == "nesterov":  # at .999 it is still to and fro
        assert np.any(np.isinf(run.steps_to_stay) & np.isfinite(run.steps_to_tolerance))


# x_(t+1) = x_t + (x_t - x_(t-1))/2 - 2 x_t from 1 is 1, -1, 0, 1/2, -1/4, -1/8, 3/16, ... with no rounding.
@pytest.mark.parametrize(("tolerance", "steps", "hit", "stay"), [
    (1 / 4, 6, 2, 2),  # at step 3 exactly at the tolerance
    (1 / 16, 6, 2, 4),  # at step 4 exactly at the tolerance
    (np.nextafter(1 / 16, 0), 6, 2, 5),
    (1 / 64, 6, 2, np.inf),  # (3/16)^2 is above it
    (1 / 64, 5, 2, 5),
    (1 / 16, 3, 2, np.inf),
    (1 / 16, 1, np.inf, np.inf),
    (1 / 16, 2, 2, 2),
])  # fmt: skip
def test_a_gap_exactly_at_the_tolerance_stays(tolerance, steps, hit, stay):
    problem, engines = diagonal_problem([1.0], [1.0]), ("closed-form", "fused")
    run = compare(problem, "heavy-ball", steps, tolerance, lr=[2.0], momentum=0.5, engines=engines)
    assert (
        run.gap[0, 0, : steps + 1].tolist()
        == [x**2 / 2 for x in (1, -1, 0, 1 / 2, -1 / 4, -1 / 8, 3 / 16)][: steps + 1]
    )
    assert (run.steps_to_tolerance.item(), run.steps_to_stay.item()) == (hit, stay)


def test_a_mean_exactly_at_the_tolerance_counts():
    """The same run; sums of its first gaps have no rounding either. Step 0 is in no window, and a cut window is none."""
    gaps = [x**2 / 2 for x in (-1, 0, 1 / 2, -1 / 4, -1 / 8, 3 / 16, -1 / 32, -5 / 64)]
    problem, engines = diagonal_problem([1.0], [1.0]), ("closed-form", "fused")
    arguments = {"lr": [2.0], "momentum": 0.5, "engines": engines}
    whole = compare(problem, "heavy-ball", 20, 0.5, **arguments).gap[0, 0]
    np.testing.assert_array_equal(whole[1:9], gaps)
    exact = np.sum(whole[1:11]) / 10 / whole[0]
    for tolerance, steps, mean in (
        (exact, 20, 10.0),
        (exact, 10, 10.0),
        (exact, 9, np.inf),
        (np.nextafter(exact, 0), 20, 20.0),
        (np.nextafter(exact, 0), 19, np.inf),
    ):
        run = compare(problem, "heavy-ball", steps, tolerance, **arguments)
        assert run.steps_to_mean.item() == mean
        assert run.steps_to_tolerance.item() == 2.0


@pytest.mark.parametrize("name", ["gd", "heavy-ball"])
def test_a_run_that_grows_after_its_hit_does_not_stay(name):
    """One mode vanishes in a step, the other is multiplied by -2."""
    problem, settings = diagonal_problem([1.0, 3.0], [1.0, 1e-8]), {"lr": [1.0]}
    if name == "heavy-ball":
        settings |= {"momentum": 0.0, "engines": ("closed-form", "fused")}
    for steps, status, stay in ((9, "converged", 1.0), (25, "converged", np.inf), (90, "diverged", np.inf)):
        run = compare(problem, name, steps, 1e-6, **settings)
        assert (run.status.item(), run.steps_to_tolerance.item(), run.steps_to_stay.item()) == (status, 1.0, stay)
    assert run.gap[0, 0, -1] > DIVERGED_ABOVE


@pytest.mark.parametrize("name", ["gd", "heavy-ball"])
def test_a_start_at_the_solution_stays_there(name):
    run = compare(diagonal_problem([1.0, 2.0], [0.0, 0.0]), name, 1, 0.1, lr=[0.1])
    assert (run.steps_to_tolerance.item(), run.steps_to_stay.item()) == (0.0, 0.0)


EDGES = np.array([1e-3, 0.1, 0.5, 0.9, 0.999, 1.0, 1.0 + 1e-9, 1.001])


@pytest.mark.parametrize("name", ["heavy-ball", "nesterov"])
def test_the_closed_form_searches_back_from_its_envelope(name, monkeypatch):
    """Up to the edge of stability and beyond; in one window and one batch, and in many."""
    problem = BlockQuadratic.generate(blocks=2, block_size=2, heterogeneity=30, problems=6, seed=5)
    momentum = np.array([0.0, 0.5, 0.9, 0.99, 0.9999])
    at_edge = [(2 + 2 * m) / (1 if name == "heavy-ball" else 1 + 2 * m) for m in momentum]
    stiff = problem.block_smoothness.max()
    settings = {"lr": np.concatenate([edge * EDGES / stiff for edge in at_edge]), "momentum": np.repeat(momentum, 8)}
    for tolerance in (0.3, 1e-4):
        run = compare(problem, name, 900, tolerance, **settings)
        assert np.sum(np.isfinite(run.steps_to_stay) & (run.steps_to_stay > run.steps_to_tolerance)) > 10
    monkeypatch.setattr(closed_form, "_SEARCHED", 3)
    monkeypatch.setattr(closed_form, "_NUMBERS_AT_ONCE", 4 * 3 * 7)
    compare(problem, name, 300, 0.1, **settings)


def test_the_closed_form_searches_a_billion_steps():
    """What is found within 3000 steps is what is found within 10^9, where the run has long come to rest."""
    problem = BlockQuadratic.generate(blocks=3, heterogeneity=10, problems=5, seed=2)
    settings = grid(lr=0.1 / problem.block_smoothness.max() * np.array([1, 3, 10]), momentum=[0.9, 0.99])
    short = simulate(problem, "heavy-ball", steps=3000, tolerance=0.01, engine="reference", record=3000, **settings)
    # A search step by step would not end here: 10^9 steps of this run take an hour.
    long = simulate(problem, "heavy-ball", steps=10**9, tolerance=0.01, engine="closed-form", record="log", **settings)
    found = short.steps_to_stay < 2000
    assert found.sum() > 15
    np.testing.assert_array_equal(long.steps_to_stay[found], short.steps_to_stay[found])
    np.testing.assert_array_equal(long.steps_to_mean[found], short.steps_to_mean[found])
    assert np.any(short.steps_to_stay[found] > short.steps_to_tolerance[found])


def test_slow_roots_are_found_exactly_at_a_distance():
    """A real pair near 1: the gap of one mode has a formula, which decimal arithmetic gives at any step."""
    lam, beta, lr, tolerance = 1e-7, 0.5, 0.25, 1e-3
    run = simulate(
        diagonal_problem([lam], [1.0]), "heavy-ball", lr=[lr], momentum=beta, steps=10**9, tolerance=tolerance,
        engine="closed-form", record="log",
    )  # fmt: skip
    root = np.sqrt((1 + beta - lr * lam) ** 2 - 4 * beta)
    slow, fast = (1 + beta - lr * lam + root) / 2, (1 + beta - lr * lam - root) / 2
    share = (1 - lr * lam - fast) / (slow - fast)  # x_t is share slow^t + (1 - share) fast^t
    want = np.ceil((np.log(tolerance) / 2 - np.log(share)) / np.log1p(-(1 - slow)))
    assert run.steps_to_stay.item() == run.steps_to_tolerance.item()
    np.testing.assert_allclose(run.steps_to_stay.item(), want, rtol=1e-7)


def test_the_gap_of_a_sum_of_modes_is_convex_without_memory():
    """So a run that hit and ends within the tolerance was within it all the time between; with r = 0 modes too."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        problem = diagonal_problem(np.append(rng.uniform(0.1, 2.1, 4), 1.0), rng.standard_normal(5))
        run = compare(problem, "gd", 60, 0.3, lr=[1.0, 0.5, 0.99])
        within = np.isfinite(run.steps_to_stay)
        np.testing.assert_array_equal(run.steps_to_stay[within], run.steps_to_tolerance[within])
        assert steps_to_tolerance(run.gap[0, 0], 0.3) == run.steps_to_tolerance[0, 0]
