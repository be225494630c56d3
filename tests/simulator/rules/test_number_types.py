"""What float32 and the range of numbers may change, and what not: hyperparameters keep their meaning, statuses their truth."""

import re
from functools import cache

import numpy as np
import pytest
import sympy as sp
import torch
from reference import run as oracle

from quadsim.simulator import RULES, BlockQuadratic, Hyperparameter, Rule, simulate, simulate_torch, symbols
from quadsim.simulator.engines import ENGINES, as_trajectory, prepare
from quadsim.simulator.engines.job import Outcome
from quadsim.simulator.engines.kernels.update_source import FusedUpdate
from quadsim.simulator.models import TokenMap, ToyProblem, Transformer
from quadsim.simulator.models.partitions import Partition
from quadsim.simulator.rules.settings_first import cut_settings
from quadsim.simulator.sweeps.config.quadratics import SweepConfig
from quadsim.simulator.training.loop import train
from quadsim.simulator.training.stepping import _TorchUpdate

g, w, lr = symbols.g, symbols.w, symbols.lr
SLOW = pytest.mark.slow
NEAR = (1 - 1e-7, 1 - 1e-8)  # in float32 these are 1 - 1.19e-7 and 1
ONE = BlockQuadratic.from_blocks([[[2.0]]], initial_error=[1.0])
FEW = BlockQuadratic.from_blocks(
    [[[2.0, 0.5], [0.5, 1.0]], [[3.0]]], initial_error=[1.0, -2.0, 1.5], minimizer=[0.5, 1.0, -2.0]
)


# Hyperparameters.


def in_torch(name, near):
    """A class of torch.optim with its own names for the hyperparameters, and ours."""
    return {
        "adam, beta1": (torch.optim.Adam, {"betas": (near, 0.999)}, "adam", {"beta1": near}),
        "adam, beta2": (torch.optim.Adam, {"betas": (0.9, near)}, "adam", {"beta2": near}),
        "adam, both": (torch.optim.Adam, {"betas": (near, near)}, "adam", {"beta1": near, "beta2": near}),
        "adamw": (
            torch.optim.AdamW, {"betas": (0.9, near), "weight_decay": 0.1}, "adamw", {"beta2": near, "weight_decay": 0.1},
        ),
        "rmsprop": (torch.optim.RMSprop, {"alpha": near}, "rmsprop", {"beta2": near}),
    }[name]  # fmt: skip


@pytest.mark.parametrize("near", NEAR)
@pytest.mark.parametrize("name", ["adam, beta1", "adam, beta2", "adam, both", "adamw", "rmsprop"])
def test_a_memory_near_one_is_that_of_torch(name, near):
    kind, options, rule, ours = in_torch(name, near)
    rate = 1e-5 if rule == "rmsprop" else 4e-3  # without bias correction the first steps are 1/sqrt(1 - beta2) as long
    for dtype, rtol in (("float64", 1e-9), ("float32", 2e-3)):
        theirs = simulate_torch(FEW, kind, lr=rate, steps=120, dtype=dtype, **options)
        for engine in ("reference", "fused"):
            run = simulate(FEW, rule, lr=rate, steps=120, dtype=dtype, engine=engine, **ours)
            np.testing.assert_allclose(run.gap, theirs.gap, rtol=rtol)
            assert run.gap[0, 0, -1] < 0.9 * run.gap[0, 0, 0]  # and it moved


@pytest.mark.parametrize("name", ["signum", "lion", "adam-mini"])
@pytest.mark.parametrize("engine", ["reference", "fused"])
def test_a_memory_near_one_keeps_its_meaning_where_torch_has_no_such_rule(name, engine):
    for near in NEAR:
        own = {key: near for key in RULES[name].names if key in ("beta1", "beta2", "momentum")}
        run = simulate(FEW, name, lr=1e-3, steps=250, dtype="float32", engine=engine, **own)
        blocks = [np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[3.0]])]
        start, minimizer = FEW.dense(0)[1], FEW.layout.flatten(FEW.minimizer)[0]
        _, gap = oracle(name, blocks, start, 250, minimizer=minimizer, lr=1e-3, **own)
        np.testing.assert_allclose(run.gap[0, 0], gap, rtol=2e-3)
        assert gap[-1] < 0.9 * gap[0]


@pytest.mark.parametrize("near", NEAR)
@pytest.mark.parametrize("name", ["adam, both", "adamw", "rmsprop"])
def test_updates_of_models_are_those_of_torch_in_float32(name, near):
    kind, options, rule, ours = in_torch(name, near)
    draws = torch.randn(101, 1, 7, generator=torch.Generator().manual_seed(1))
    names = RULES[rule].names
    values = RULES[rule].settings(1e-3, **ours)
    settings = torch.tensor([[float(values[key][0]) for key in names]], dtype=torch.float64)
    fused, readable, theirs = (draws[0].clone() for _ in range(3))
    theirs.requires_grad_()
    optimizer = kind([theirs], lr=1e-3, **options)
    one_pass = FusedUpdate(RULES[rule], settings, fused)
    function = _TorchUpdate(RULES[rule], settings, Partition("whole", ("all",), (7,)), compile=False)
    for gradient in draws[1:]:
        theirs.grad = gradient.clone()
        optimizer.step()
        one_pass(fused, gradient, 1.0)
        function(readable, gradient, 1.0)
    moved = (theirs.detach() - draws[0]).abs().max()
    for own in (fused, readable):
        torch.testing.assert_close(own, theirs.detach(), rtol=1e-4, atol=2e-4 * float(moved))


@pytest.mark.parametrize(("name", "near"), [("adam", 1 - 1e-8), ("adam-mini", 1 - 1e-8), ("rmsprop", 1 - 1e-7)])
def test_training_in_float32_keeps_the_memory(name, near):
    problem = ToyProblem.generate(Transformer(width=4, layers=1), TokenMap(vocabulary=6), problems=1)
    rate = 1e-6 if name == "rmsprop" else 1e-2
    single, double = (
        train(problem, name, lr=rate, steps=20, beta2=near, dtype=dtype, record="all")
        for dtype in ("float32", "float64")
    )
    assert single.status.item() != "diverged"
    np.testing.assert_allclose(single.loss, double.loss, rtol=1e-4)
    assert not np.allclose(double.loss[..., -1], double.loss[..., 0], rtol=1e-3)


def test_settings_side_by_side_keep_their_own_memories():
    memories = [0.9, 1 - 1e-8, 1 - 1e-10]
    for engine in ("reference", "fused"):
        single, double = (
            simulate(
                FEW, "adam", lr=[2e-3] * 3, beta2=memories, steps=100, dtype=dtype, engine=engine, schedule="cosine"
            )
            for dtype in ("float32", "float64")
        )
        np.testing.assert_allclose(single.gap, double.gap, rtol=1e-5)


def test_a_sum_of_settings_within_a_sum_is_formed_first():
    beta = sp.Symbol("beta", nonnegative=True)
    m, p = sp.Symbol("m", real=True), sp.Symbol("p", positive=True)
    rule = Rule(
        name="mine",
        update={m: m + 1 - beta + g * (1 - beta) * p},
        clocks={p: p * beta},
        step=-lr * m / (1 - beta) - lr * (1 - p) / (1 - beta) * g,
        hyperparameters={beta: Hyperparameter(0.9, 0.0, 1.0, high_open=True)},
    )
    near = 1 - 1e-8
    for engine in ("reference", "fused"):
        single, double = (
            simulate(ONE, rule, lr=0.01, steps=50, dtype=dtype, engine=engine, beta=near)
            for dtype in ("float32", "float64")
        )
        np.testing.assert_allclose(single.gap, double.gap, rtol=1e-3)
        assert double.gap[0, 0, -1] < 0.9


def test_what_is_cut_put_back_is_the_rule():
    for rule in RULES.values():
        formed = {}
        settings = {lr, *rule.hyperparameters, *rule.clocks}
        for expression in (rule.step, *rule.update.values()):
            cut = cut_settings(expression, settings, formed)
            assert cut.subs({symbol: value for value, symbol in formed.items()}) == expression
        assert all(value.free_symbols <= settings for value in formed)


REFUSED_SETTINGS = {
    "heavy-ball": ({"momentum": 1 - 1e-8}, r"momentum of heavy-ball must not be 1 in float32 either, got 0.99999999, .* give 0.99999994"),
    "nesterov": ({"momentum": [0.9, 1 - 1e-9]}, r"momentum of nesterov must not be 1 in float32"),
    "gd": ({"lr": 1e-50}, r"lr of gd must not be 0 in float32 either, got 1e-50, .* or use float64"),
    "signsgd": ({"lr": 1e39}, r"lr must be finite in float32 too, got 1e\+39; give at most 3.40282e\+38"),
    "adam": ({"eps": 1e300}, r"eps must be finite in float32 too, got 1e\+300"),
    "adamw": ({"beta2": 1 - 1e-20}, r"beta2 must be a number in \[0, 1\), got 1.0"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_SETTINGS)
def test_what_is_still_rounded_to_an_excluded_end_is_refused(name):
    given, message = REFUSED_SETTINGS[name]
    given = {"lr": 0.1, **given}
    problem = ToyProblem.generate(Transformer(width=4, layers=1), TokenMap(vocabulary=6), problems=1)
    for call in (simulate, train):
        what = problem if call is train else ONE
        with pytest.raises(ValueError, match=message):
            call(what, name, steps=5, dtype="float32", **given)
        if name != "adamw":
            assert call(what, name, steps=5, dtype="float64", **given) is not None
    rates = given.pop("lr")
    text = ":".join([name, *(f"{key}={float(np.atleast_1d(value)[-1])!r}" for key, value in given.items())])
    with pytest.raises(ValueError, match=message):
        SweepConfig(optimizers=(text,), lr=(rates,), dtype="float32")


# Range.


def scaled(scale, curvature=1.0):
    blocks = [[[2.0 * curvature, 0.5 * curvature], [0.5 * curvature, 1.0 * curvature]], [[0.1 * curvature]]]
    return BlockQuadratic.from_blocks(blocks, initial_error=np.array([1.0, -2.0, 0.7]) * scale)


def everywhere(problem, rule, dtype="float64", **arguments):
    """Status and hitting time in every engine, or the one message they refuse with."""
    runs, messages = {}, set()
    for engine in ENGINES:
        if engine == "closed-form" and (dtype == "float32" or not RULES[rule].is_linear):
            continue
        try:
            runs[engine] = simulate(problem, rule, engine=engine, dtype=dtype, **arguments)
        except ValueError as error:
            messages.add(str(error))
    if runs:
        assert not messages
        assert not any(np.isnan(run.gap).any() for run in runs.values())
        (found,) = {(run.status.item(), run.steps_to_tolerance.item()) for run in runs.values()}
        return found
    (message,) = messages
    assert "\n" not in message
    return message


REFUSALS = r"gap at the start .*must be|.* at the start must be at most|entries of initial_error must be"


@pytest.mark.parametrize(("dtype", "powers"), [("float64", range(-175, 205, 5)), ("float32", range(-26, 27))])
@pytest.mark.parametrize(("rule", "lr"), [("gd", 0.5), ("heavy-ball", 0.1)])
def test_a_linear_rule_does_the_same_at_every_scale_or_is_refused_alike(rule, lr, dtype, powers):
    expected = everywhere(scaled(1.0), rule, dtype, lr=lr, steps=400)
    assert expected[0] == "converged"
    refused = {}
    for power in powers:
        try:
            prepare(scaled(10.0**power), rule, lr=lr, steps=400, dtype=dtype)
        except ValueError as error:
            refused[power] = str(error)
    ran = [power for power in powers if power not in refused]
    assert ran == [power for power in powers if ran[0] <= power <= ran[-1]]
    assert (ran[0], ran[-1]) == ((-150, 150) if dtype == "float64" else (-16, 18))
    for power in (powers[0], ran[0] - 1, ran[-1] + 4, powers[-1]):
        message = everywhere(scaled(10.0**power), rule, dtype, lr=lr, steps=400)
        assert re.match(REFUSALS, message), (power, message)
    blocks = [np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[0.1]])]
    starts = np.array([1.0, -2.0, 0.7]) * 10.0 ** np.array(ran)[:, None].astype(float)
    batch = BlockQuadratic.from_blocks(blocks, initial_error=starts)
    for engine in ENGINES:
        if engine != "closed-form" or dtype == "float64":
            run = simulate(batch, rule, lr=lr, steps=400, engine=engine, dtype=dtype)
            assert set(zip(run.status.ravel(), run.steps_to_tolerance.ravel(), strict=True)) == {expected}


@cache
def at_scale_one(rule, lr):
    return everywhere(scaled(1.0), rule, lr=lr, steps=400)


@pytest.mark.parametrize("curvature", [1e-280, 1e-150, 1e150, 1e280])
@pytest.mark.parametrize(("rule", "lr"), [("gd", 0.5), ("heavy-ball", 0.1)])
def test_squares_may_leave_the_range_where_gaps_do_not(rule, lr, curvature):
    scale = curvature**-0.5 * 1e3  # the square of 1e143 and of 1e-137 would be fine, of 1e143 * 1e6 not
    extreme = 1e160 if curvature == 1e-280 else 1e-160 if curvature == 1e280 else scale
    for size in {scale, extreme}:
        assert everywhere(scaled(size, curvature), rule, lr=lr / curvature, steps=400) == at_scale_one(rule, lr)


def test_modes_of_very_different_size_agree():
    for blocks, start, rate in (
        ([[[1.0]], [[1.0]]], [1e150, 1e-150], 0.1),
        ([[[1e200]], [[1e199]]], [1e-190, -1e-191], 1e-201),
        ([[[1.0]], [[1e-14]]], [1e150, 1e153], 0.5),
    ):
        found = everywhere(BlockQuadratic.from_blocks(blocks, initial_error=start), "heavy-ball", lr=rate, steps=300)
        assert found[0] == "converged"


def test_observables_of_an_extreme_start_are_to_scale():
    for curvature, scale in ((1e-280, 1e160), (1e280, 1e-160)):
        seen = [
            simulate(
                scaled(scale, curvature), "heavy-ball", lr=0.1 / curvature, steps=30, engine=engine, observe="iterate"
            )
            for engine in ("closed-form", "reference")
        ]
        np.testing.assert_allclose(
            seen[0].observed["iterate"], seen[1].observed["iterate"], rtol=1e-9, atol=1e-12 * scale
        )


REFUSED_STARTS = {
    "no gap": (1e-170, "float64", r"gap at the start times the tolerance \(1e-06\) must be at least 2.23e-308, .* got 0; scale"),
    "no gap in float32": (1e-25, "float32", r"must be at least 1.18e-38, the smallest normal number in float32, got 1e-56; .* use float64"),
    "subnormal": (1e-152, "float64", r"must be at least 2.23e-308, the smallest normal number, got 1e-310"),
    "infinite gap": (1e155, "float64", r"at the start must be at most 4.49e\+307, .* got inf"),
    "infinite gap, far": (1e200, "float64", r"at the start must be at most 4.49e\+307, .* got inf"),
    "twice the gap": (9e153, "float64", r"at the start must be at most 4.49e\+307, .* got 1.62e\+308"),
    "infinite gap in float32": (1e20, "float32", r"must be at most 8.51e\+37, .* in float32, got 2e\+40"),
    "entry beyond float32": (1e39, "float32", r"entries of initial_error must be at most 3.4e\+38 in size in float32, got 1e\+39"),
    "entry below float32": (1e-46, "float32", r"entries of initial_error must be 0 or at least 1.4e-45 in size in float32, got 1e-46"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_STARTS)
@pytest.mark.parametrize("rule", ["gd", "heavy-ball", "adam", "signsgd"])
def test_a_start_that_cannot_be_followed_is_refused(name, rule):
    scale, dtype, message = REFUSED_STARTS[name]
    problem = BlockQuadratic.from_blocks([[[2.0]]], initial_error=[scale])
    for engine in ("auto", *ENGINES):
        with pytest.raises(ValueError, match=message):
            simulate(problem, rule, lr=0.1, steps=60, engine=engine, dtype=dtype)
    with pytest.raises(ValueError, match=message):
        simulate_torch(problem, torch.optim.SGD, lr=0.1, steps=60, dtype=dtype)


def test_the_one_problem_of_a_batch_is_found():
    batch = BlockQuadratic.from_blocks([[[2.0]]], initial_error=[[1.0], [0.0], [1e-170]])
    with pytest.raises(ValueError, match=r"got 0; scale"):
        simulate(batch, "gd", lr=0.1, steps=5)
    assert simulate(batch.select([0, 1]), "gd", lr=0.1, steps=5).steps_to_tolerance.tolist() == [[np.inf], [0.0]]


def test_curvature_beyond_float32_is_refused():
    for value in (1e-40, 1e39):
        problem = BlockQuadratic.from_blocks([[[1.0]], [[value]]], initial_error=[1.0, 1e-3])
        with pytest.raises(
            ValueError, match=r"eigenvalues of the blocks must be from 1.18e-38 to 3.4e\+38 in float32, got 1e"
        ):
            simulate(problem, "adam", lr=0.1, steps=5, dtype="float32")
        assert simulate(problem, "adam", lr=0.1, steps=5).status.item() == "not_reached"


def test_a_sweep_is_refused_before_it_runs():
    from quadsim.simulator.sweeps.run.driver import check

    check(SweepConfig(heterogeneity=(1.0, 1e30), seeds=1, steps=10))
    with pytest.raises(ValueError, match=r"in float32, got"):
        check(SweepConfig(heterogeneity=(1.0, 1e30), seeds=1, steps=10, dtype="float32"))


@pytest.mark.parametrize("name", sorted(RULES))
@pytest.mark.parametrize(
    ("dtype", "rate"),
    [("float64", 1e200), pytest.param("float64", 1e308, marks=SLOW), pytest.param("float32", 1e30, marks=SLOW)],
)
def test_no_gap_is_ever_nan(name, dtype, rate):
    for engine in ENGINES if name in ("gd", "adam") else ("reference",):  # the others would cost a kernel each
        if engine == "closed-form" and (name == "adam" or dtype == "float32"):
            continue
        run = simulate(FEW, name, lr=rate, steps=30, engine=engine, dtype=dtype)
        assert not np.isnan(run.gap).any()
        assert (run.gap[0, 0, -1] == np.inf) == (run.status.item() == "diverged")


def test_an_engine_that_records_nan_has_diverged_there():
    job = prepare(ONE, "gd", lr=[0.1, 0.2], steps=4)
    gap = np.array([[[1.0, np.inf, np.nan, np.nan, np.nan], [1.0, 0.5, 0.2, 0.1, 0.0]]])
    never = np.full((1, 2), np.inf)
    hit = np.array([[3.0, np.inf]])
    run = as_trajectory(job, Outcome(gap, hit, hit, hit, never), "gd", RULES["gd"], "reference")
    assert run.status.tolist() == [["diverged", "not_reached"]]
    assert not np.isnan(run.gap).any()
    assert run.steps_to_tolerance[0, 0] == np.inf


def test_a_start_at_the_solution_is_not_refused():
    for dtype in ("float64", "float32"):
        at = BlockQuadratic.from_blocks([[[2.0]]], initial_error=[0.0], minimizer=[1.0])
        assert everywhere(at, "adam", dtype, lr=0.1, steps=5) == ("converged", 0.0)
        assert (
            simulate(at, "adamw", lr=1e300 if dtype == "float64" else 1e30, steps=50, dtype=dtype).gap[0, 0, 0] == 0.0
        )
