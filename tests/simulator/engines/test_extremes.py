"""The whole dial space, its extremes included: no crash, the right status, and engines that agree or say why not."""

import math
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quadsim.simulator import BlockQuadratic, simulate
from quadsim.simulator.engines import ENGINES
from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.runs.status import STATUSES
from quadsim.simulator.runs.trajectory import divergence_limit

STEPS = 20
PROFILE = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

sizes = st.one_of(
    st.sampled_from([1, 2, 8]), st.lists(st.sampled_from([1, 2, 3, 30]), min_size=2, max_size=4).map(tuple)
)
powers = st.floats(0.0, 12.0).map(lambda x: 10.0**x)


@st.composite
def problems(draw):
    size = draw(sizes)
    blocks = len(size) if isinstance(size, tuple) else draw(st.integers(1, 4))
    one = blocks == 1
    return BlockQuadratic.generate(
        blocks=blocks,
        block_size=size,
        heterogeneity=1.0 if one else min(draw(powers), 1e9),
        condition_number=1.0 if size == 1 else draw(powers),
        rotation=draw(st.sampled_from([0.0, 0.3, 1.0])),
        problems=2,
        seed=draw(st.integers(0, 2**31)),
    )


def runs_of(problem, rule, lr, steps=STEPS, **options):
    """The run of every engine that takes the rule; the others must say why not."""
    out = {}
    for engine in ENGINES:
        try:
            out[engine] = simulate(problem, rule, lr=lr, steps=steps, engine=engine, **options)
        except ValueError as error:
            if not re.match(f"engine for .*, got '{engine}' [(].+[)]", str(error)):
                raise
    return out


def check_states(run):
    """Every run has a name for how it ended, and the name fits its gaps."""
    assert set(np.unique(run.status)) <= set(STATUSES)
    assert not np.isnan(run.gap).any()
    first, last = run.gap[:, :, 0], run.gap[:, :, -1]
    diverged = run.status == "diverged"
    reached = np.isfinite(run.steps_to_tolerance)
    with np.errstate(over="ignore"):
        assert np.array_equal(diverged, (run.gap > divergence_limit(first)[:, :, None]).any(axis=2) | np.isinf(last))
    assert np.array_equal(run.status == "converged", reached & ~diverged)
    every = run.steps.size == run.steps[-1] + 1
    if every and reached.any():
        hit = run.steps_to_tolerance[reached].astype(int)
        assert (run.gap[reached, hit] <= run.tolerance * first[reached] * (1 + 1e-9)).all()


@PROFILE
@given(problem=problems(), rule=st.sampled_from(sorted(RULES)), fraction=st.floats(0.01, 3.0))
def test_any_dials_any_rule_any_engine(problem, rule, fraction):
    smoothest = float(problem.block_smoothness.max())
    lr = fraction / smoothest if RULES[rule].is_linear else fraction
    runs = runs_of(problem, rule, lr)
    assert "reference" in runs
    for run in runs.values():
        check_states(run)
    if RULES[rule].is_linear and "closed-form" in runs and "adam" not in rule:
        # The gap of a linear rule is known to the condition number of the whole times rounding, a step at a time.
        kappa = smoothest / float(problem.block_strong_convexity.min())
        slack = 100 * STEPS * kappa * np.finfo(float).eps
        reference = runs["reference"].gap
        for run in runs.values():
            # A start that is far from the minimiser leaves rounding of its own size on the other modes.
            assert (np.abs(run.gap - reference) <= slack * np.maximum(reference, reference[:, :, :1])).all()


@PROFILE
@given(problem=problems(), fraction=st.floats(0.01, 3.0))
def test_gd_ends_as_its_rate_says(problem, fraction):
    """It contracts exactly where the rate is below 2/L, whatever the dials."""
    smoothest = problem.block_smoothness.max(axis=1)
    slowest = problem.block_strong_convexity.min(axis=1)
    run = simulate(problem, "gd", lr=fraction / float(smoothest.max()), steps=10**9, record="log")
    check_states(run)
    factor = np.maximum((1 - fraction) ** 2, (1 - fraction * slowest / smoothest.max()) ** 2)
    for m in range(problem.problems):
        if fraction > 2.0 + 1e-9:
            assert run.status[m, 0] == "diverged"
        elif factor[m] == 0.0 or (
            factor[m] < 1.0 and 10**9 * -math.log(factor[m]) > 60
        ):  # e^-60 of the start is below the tolerance, whatever the coefficients
            assert run.status[m, 0] == "converged"


def diagonal(values, start):
    return BlockQuadratic.from_blocks(
        [np.diag(np.asarray(block, dtype=float)) for block in values], initial_error=start
    )


EXTREMES = {
    "denormal start": lambda: diagonal([[1, 2], [3, 4]], [5e-324, 1e-310, 1e-300, 1e-320]),
    "zero coordinates": lambda: diagonal([[1, 2], [3, 4]], [0.0, 1.0, 0.0, 1.0]),
    "tiny curvature": lambda: diagonal([[1e-300, 2e-300], [3e-300, 1e-290]], [1.0, 1.0, 1.0, 1.0]),
    "huge curvature": lambda: diagonal([[1e150, 2e150], [1e140, 1e150]], [1.0, 1.0, 1.0, 1.0]),
    "huge start": lambda: diagonal([[1, 2], [3, 4]], [1e153, 1e153, 0.0, 1.0]),
    "one coordinate": lambda: BlockQuadratic.generate(blocks=1, block_size=1, heterogeneity=1, problems=2),
    "a block of 128": lambda: BlockQuadratic.generate(blocks=2, block_size=(1, 128), heterogeneity=1e9, problems=1),
}


REFUSED = {  # the rules that a start is refused for, and why
    "denormal start": (
        set(RULES),
        r"gap at the start times the tolerance \(1e-06\) must be at least 2.23e-308, .* got 0;",
    ),
    "tiny curvature": (
        {"gd-lambda", "normalized-gd"},
        r"squared norm of the gradient at the start, which .* divides by, must be at least 2.23e-308, got 0;",
    ),
    "huge curvature": ({"gd-lambda"}, r"squared norm of the gradient at the start, which gd-lambda needs, .* got inf;"),
}

BLOCK_OF_128 = {"gd", "signsgd", "adam", "adam-mini"}  # of others too, which costs a kernel each: marked slow


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        pytest.param(name, rule, marks=[pytest.mark.slow] if "128" in name and rule not in BLOCK_OF_128 else [])
        for name in EXTREMES
        for rule in sorted(RULES)
    ],
)
def test_extremes(name, rule):
    problem = EXTREMES[name]()
    lr = 0.5 / float(problem.block_smoothness.max()) if RULES[rule].is_linear else 0.1
    refused, why = REFUSED.get(name, (set(), ""))
    if rule in refused:
        for engine in ("auto", *ENGINES):
            with pytest.raises(ValueError, match=why):
                simulate(problem, rule, lr=lr, steps=STEPS, engine=engine)
        return
    runs = runs_of(problem, rule, lr)
    assert "reference" in runs
    for run in runs.values():
        check_states(run)
    assert len({tuple(run.status.ravel()) for run in runs.values()}) == 1


def test_a_start_at_the_minimiser_is_converged():
    for run in runs_of(diagonal([[1, 2]], [0.0, 0.0]), "adam", 0.1).values():
        assert run.status.item() == "converged"
        assert run.steps_to_tolerance.item() == 0


@pytest.fixture(scope="module")
def many_blocks():
    return BlockQuadratic.generate(blocks=100_000, block_size=1, heterogeneity=1e9, problems=1)


@pytest.mark.parametrize("rule", ["gd", "signsgd", "adam"])
def test_a_hundred_thousand_blocks(many_blocks, rule):
    runs = runs_of(many_blocks, rule, 1.0 if rule == "gd" else 0.1, steps=5)
    for run in runs.values():
        check_states(run)
    reference = runs["reference"].gap
    for engine, run in runs.items():
        assert np.allclose(run.gap, reference, rtol=1e-9), engine
