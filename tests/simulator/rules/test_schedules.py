"""Schedules against torch's and their formulas; their texts and errors."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from quadsim.simulator import BlockQuadratic, SweepConfig, simulate, sweep
from quadsim.simulator.engines import simulate_optimizer
from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.rules.schedules import SCHEDULES, Schedule, resolve_schedule

bounded = hypothesis_settings(max_examples=60, derandomize=True, deadline=None)


def torch_factors(steps, kind, **arguments):
    """Learning rates of the first `steps` steps under a scheduler of torch, from 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = kind(optimizer, **arguments)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return np.array(rates)


@pytest.mark.parametrize("steps", [1, 2, 7, 250])
def test_cosine_is_torchs(steps):
    theirs = torch_factors(steps, torch.optim.lr_scheduler.CosineAnnealingLR, T_max=steps)
    np.testing.assert_allclose(Schedule("cosine").factors(steps), theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("steps", [1, 2, 7, 250])
def test_linear_is_torchs(steps):
    ours = Schedule("linear").factors(steps)
    ramp = {"start_factor": 1.0, "end_factor": 0.0, "total_iters": steps}
    theirs = torch_factors(steps, torch.optim.lr_scheduler.LinearLR, **ramp)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
    power = {"total_iters": steps, "power": 1.0}
    theirs = torch_factors(steps, torch.optim.lr_scheduler.PolynomialLR, **power)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("warmup", [2, 5, 30])
def test_the_warm_up_is_torchs(warmup):
    ramp = {"start_factor": 1 / warmup, "end_factor": 1.0, "total_iters": warmup - 1}
    theirs = torch_factors(40, torch.optim.lr_scheduler.LinearLR, **ramp)
    np.testing.assert_allclose(Schedule("constant", warmup).factors(40), theirs, rtol=1e-12)
    for name in SCHEDULES:
        np.testing.assert_allclose(Schedule(name, warmup).factors(40)[:warmup], theirs[:warmup], rtol=1e-12)


def test_constant():
    np.testing.assert_array_equal(Schedule().factors(5), np.ones(5))
    assert Schedule().is_constant
    assert not Schedule(warmup=1).is_constant
    assert not any(Schedule(name).is_constant for name in SCHEDULES if name != "constant")


def test_by_hand():
    np.testing.assert_allclose(Schedule("linear", 2).factors(6), [1 / 2, 1, 1, 3 / 4, 1 / 2, 1 / 4], rtol=1e-15)
    np.testing.assert_allclose(
        Schedule("cosine", 1).factors(5), [1, 1, (2 + np.sqrt(2)) / 4, 1 / 2, (2 - np.sqrt(2)) / 4]
    )
    np.testing.assert_allclose(Schedule("inverse-sqrt").factors(4), [1, 2**-0.5, 3**-0.5, 1 / 2], rtol=1e-15)
    np.testing.assert_allclose(
        Schedule("inverse-sqrt", 3).factors(7)[3:], np.sqrt([1, 3 / 4, 3 / 5, 1 / 2]), rtol=1e-15
    )


@bounded
@given(name=st.sampled_from(SCHEDULES), steps=st.integers(1, 300), data=st.data())
def test_laws_of_every_schedule(name, steps, data):
    warmup = data.draw(st.integers(0, steps - 1))
    factors = Schedule(name, warmup).factors(steps)
    assert factors.shape == (steps,)
    assert factors.dtype == np.float64
    assert factors.min() > 0.0  # no step is lost
    assert factors.max() <= 1.0
    assert factors[warmup] == 1.0
    if warmup:
        assert factors[warmup - 1] == 1.0  # it meets the rest without a jump
        np.testing.assert_allclose(np.diff(factors[:warmup]), 1 / warmup, rtol=1e-10)
    assert np.all(np.diff(factors[warmup:]) <= 0.0)
    # What follows the warm-up is the schedule of the steps that are left.
    if name != "inverse-sqrt":
        np.testing.assert_allclose(factors[warmup:], Schedule(name).factors(steps - warmup), rtol=1e-12)


@bounded
@given(name=st.sampled_from(SCHEDULES), warmup=st.integers(0, 10**6))
def test_the_text_can_be_read_back(name, warmup):
    schedule = Schedule(name, warmup)
    assert resolve_schedule(str(schedule)) == schedule
    assert str(resolve_schedule(str(schedule))) == str(schedule)
    assert pickle.loads(pickle.dumps(schedule)) == schedule


def test_texts():
    assert resolve_schedule("cosine:warmup=100") == Schedule("cosine", 100)
    assert resolve_schedule("inverse-sqrt") == Schedule("inverse-sqrt", 0)
    assert resolve_schedule(None) == Schedule("constant", 0)
    assert resolve_schedule(Schedule("linear", 3)) == Schedule("linear", 3)
    assert str(Schedule("cosine", 100)) == "cosine:warmup=100"
    assert str(Schedule("linear", 1)) == "linear:warmup=1"
    assert str(Schedule("cosine")) == "cosine"
    assert str(resolve_schedule("linear:warmup=007")) == "linear:warmup=7"


@pytest.mark.parametrize("warmup", [100, 100.0, np.int64(100), np.float64(100)])
def test_a_whole_warm_up_prints_as_one(warmup):
    schedule = Schedule("cosine", warmup)
    assert str(schedule) == "cosine:warmup=100"
    assert type(schedule.warmup) is int
    assert resolve_schedule(str(schedule)) == schedule


BAD = [
    (
        "cosin",
        r"schedule must be one of constant, cosine, linear, inverse-sqrt, inverse-time, wsd, got 'cosin'; did you mean 'cosine'\?",
    ),
    ("zzz", r"schedule must be one of .*, got 'zzz'; choose one of these"),
    ("cosin:warmup=3", r"got 'cosin'; did you mean 'cosine'\?"),
    ("", r"schedule must be one of .*, got ''"),
    (3, r"schedule must be one of .*, got '3'"),
    ("cosine:", r"schedule must be NAME or NAME:warmup=STEPS, got 'cosine:'; for example cosine:warmup=100"),
    ("cosine:100", r"schedule must be NAME or NAME:warmup=STEPS, got 'cosine:100'"),
    ("cosine:warm=3", r"schedule must be NAME or NAME:warmup=STEPS, got 'cosine:warm=3'"),
    ("cosine:warmup=", r"NAME:warmup=STEPS, got 'cosine:warmup='"),
    ("cosine:warmup=-1", r"NAME:warmup=STEPS, got 'cosine:warmup=-1'"),
    ("cosine:warmup=1.5", r"NAME:warmup=STEPS, got 'cosine:warmup=1\.5'"),
    ("cosine:warmup=²", r"NAME:warmup=STEPS, got 'cosine:warmup=²'"),
    ("cosine:warmup=3:4", r"NAME:warmup=STEPS, got 'cosine:warmup=3:4'"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=[repr(text) for text, _ in BAD])
def test_a_bad_text(text, message):
    with pytest.raises(ValueError, match=message):
        resolve_schedule(text)


@pytest.mark.parametrize("warmup", [-1, 1.5, "ten", None, True, np.nan, np.inf])
def test_a_bad_warm_up(warmup):
    with pytest.raises(
        ValueError, match=r"warm-up of the schedule must be a whole number of at least 0, got .*; give 0 or"
    ):
        Schedule("cosine", warmup)


def test_a_warm_up_leaves_a_step():
    assert Schedule("cosine", 9).factors(10)[-1] == 1.0
    for steps in (10, 9, 1):
        message = rf"warm-up must be below the number of steps \({steps}\), got 10; shorten it or run longer"
        with pytest.raises(ValueError, match=message):
            Schedule("cosine", 10).factors(steps)
        with pytest.raises(ValueError, match=message):
            Schedule("cosine", 10).check(steps)
    Schedule("cosine", 10).check(11)


def test_wsd_and_inverse_time_by_hand():
    np.testing.assert_allclose(
        Schedule("wsd", 2, decay=0.5).factors(10), [1 / 2, 1, 1, 1, 1, 1, 1, 3 / 4, 1 / 2, 1 / 4], rtol=1e-15
    )
    np.testing.assert_allclose(Schedule("wsd", decay=1.0).factors(50), Schedule("linear").factors(50), rtol=1e-14)
    np.testing.assert_allclose(Schedule("inverse-time", 1, half=2).factors(5), [1, 1, 2 / 3, 1 / 2, 2 / 5], rtol=1e-15)


@pytest.mark.parametrize(
    "text", ["wsd", "wsd:warmup=10:decay=0.25", "inverse-time", "inverse-time:warmup=3:half=20", "cosine:warmup=4"]
)
def test_the_text_of_a_schedule_gives_it_back(text):
    assert resolve_schedule(str(resolve_schedule(text))) == resolve_schedule(text)


def test_an_optimizer_with_a_schedule_of_its_own():
    """In every engine, and rebuilt from its text; the schedule of the run is that of the others."""
    problem = BlockQuadratic.generate(blocks=2, block_size=3, problems=2)
    spec = OptimizerSpec.from_document(OptimizerSpec.parse("gd:schedule=wsd+warmup=3+decay=0.5").to_document())
    assert spec.schedule == Schedule("wsd", 3, decay=0.5)
    assert not spec.hyperparameters
    whole = simulate(problem, "gd", lr=0.1, steps=20, schedule="wsd:warmup=3:decay=0.5")
    for engine in ("fused", "reference"):
        own = simulate_optimizer(problem, spec, lr=0.1, steps=20, engine=engine, schedule="linear")
        assert own.schedule == spec.schedule
        np.testing.assert_allclose(own.gap, whole.gap, rtol=1e-12)


def test_optimizers_of_a_sweep_have_schedules_of_their_own():
    config = SweepConfig(
        heterogeneity=(1.0,),
        optimizers=("gd", "gd:schedule=linear", "gd:schedule=linear|wsd"),
        lr=(0.1, 0.3),
        steps=40,
        seeds=2,
    )
    rows = sweep(config).summary
    final = {key: part["final_gap"].to_numpy() for key, part in rows.groupby("setting")}
    assert set(final) == {"gd", "gd:schedule=linear", "gd:schedule=wsd"}
    problem = BlockQuadratic.generate(heterogeneity=1.0, problems=2)
    for name, schedule in (("gd:schedule=linear", "linear"), ("gd:schedule=wsd", "wsd"), ("gd", None)):
        run = simulate(problem, "gd", lr=[0.1, 0.3], steps=40, schedule=schedule)
        assert set(np.unique(final[name])) == set(np.unique(run.gap[:, :, -1])), name
