"""train: against torch.optim on one module each, and what it promises of every instance, whatever runs beside it."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from reference import RULES as ORACLE

from quadsim.cli.bench.modules import train_modules
from quadsim.simulator import RULES, Schedule, ToyProblem, TrainingRun, grid, train
from quadsim.simulator.models import MLP, Conv, Digits, Induction, Mixer, ModularAddition, TokenMap, Transformer
from quadsim.simulator.runs.training_run import DIVERGED_ABOVE
from quadsim.simulator.training import found as results
from quadsim.simulator.training import loop as training
from quadsim.simulator.training import request

pytestmark = pytest.mark.usefixtures("one_thread")

NEED_CURVATURE = ("block-gd", "gd-lambda", "sign-lambda")
SMALL = TokenMap(vocabulary=5, tokens=3)
MINI = TokenMap(vocabulary=5, tokens=3, batch=2)


def small(model="mlp", task=SMALL, problems=2, heterogeneity=10.0, **options):
    if model == "mlp":
        options = {"width": 4, "layers": 1} | options
    return ToyProblem.generate(model, task, problems=problems, heterogeneity=heterogeneity, **options)


def full(problem, rule, steps, **options):
    """In float64, everything recorded, to the end."""
    options = {"record": "all", "stop": False, "dtype": "float64"} | options
    return train(problem, rule, steps=steps, **options)


# Against torch.optim.


def check_against_torch(problem, rule, optimizer, settings, options, steps=100):
    ours = full(problem, rule, steps, snapshots=[steps], **settings)
    theirs = train_modules(problem, optimizer, settings["lr"], steps, dtype=torch.float64, **options)
    np.testing.assert_array_equal(theirs.steps[theirs.steps < steps], ours.steps[:-1][: theirs.steps.size - 1])
    np.testing.assert_allclose(ours.loss[:, 0], theirs.loss, rtol=1e-9)
    np.testing.assert_allclose(ours.loss_weighted[:, 0], theirs.loss_weighted, rtol=1e-9)
    np.testing.assert_allclose(ours.snapshots.theta[:, 0, 0], theirs.theta, rtol=1e-9, atol=1e-9)
    assert np.all(theirs.loss_weighted[:, -1] < theirs.loss_weighted[:, 0])


@pytest.mark.parametrize("norm", ["pre", "post", "none"])
@pytest.mark.parametrize("model", ["transformer", "mlp", "conv", "mixer"])
def test_a_hundred_steps_are_those_of_torch(model, norm):
    """At rates at which rounding does not grow: near the edge of stability 65 steps raise it from 1e-16 to 1e-9."""
    problem = small(model, width=8, layers=1, norm=norm)
    check_against_torch(problem, "gd", torch.optim.SGD, {"lr": 0.02}, {})
    check_against_torch(problem, "adam", torch.optim.Adam, {"lr": 0.01}, {})


@pytest.mark.parametrize(
    ("rule", "optimizer", "settings", "options"),
    [
        ("heavy-ball", torch.optim.SGD, {"lr": 0.1, "momentum": 0.8}, {"momentum": 0.8}),
        ("nesterov", torch.optim.SGD, {"lr": 0.1, "momentum": 0.8}, {"momentum": 0.8, "nesterov": True}),
        ("rmsprop", torch.optim.RMSprop, {"lr": 0.003, "beta2": 0.9, "eps": 1e-4}, {"alpha": 0.9, "eps": 1e-4}),
        ("adamw", torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.1}, {"weight_decay": 0.1}),
    ],
)
def test_other_rules_are_those_of_torch(rule, optimizer, settings, options):
    check_against_torch(small(), rule, optimizer, settings, options)


@pytest.mark.parametrize("dial", ["separable", "reparametrisation", "zipf"])
def test_dials_and_mini_batches_are_those_of_torch(dial):
    task = TokenMap(vocabulary=5, tokens=3, batch=4)
    problem = small(task=task, dial=dial, heterogeneity=[1.0, 9.0], problems=1)
    check_against_torch(problem, "adam", torch.optim.Adam, {"lr": 0.01, "evaluate_every": 10, "record": 10}, {}, 60)


# Every rule, step by step, on the flat parameters.


def steps_of_numpy(name, blocks, run, m, k):
    """What plain numpy adds, given the gradients the rule saw: (steps, P)."""
    hyper = {key: float(values[k]) for key, values in run.settings.items()}
    rule = ORACLE["gd" if name == "sgd" else name]([np.eye(size) for size in blocks.sizes], **hyper)
    seen = zip(run.snapshots.gradient[m, k], run.snapshots.theta[m, k], strict=True)
    return np.array([rule.step(gradient, theta) for gradient, theta in seen])


@pytest.mark.parametrize("name", [name for name in RULES if name not in NEED_CURVATURE])
def test_every_rule_is_that_of_numpy(name):
    # What adam-frozen divides by is 0 for a token that the first mini-batch did not hold.
    problem = small(task=SMALL if name == "adam-frozen" else MINI)
    for partition in ("layer", "module", "unit") if name in ("adam-mini", "lamb") else ("module",):
        run = full(problem, name, 6, lr=[0.01, 0.03], snapshots=range(7), partition=partition)
        for m in range(2):
            for k in range(2):
                expected = steps_of_numpy(name, problem.partition(partition), run, m, k)
                np.testing.assert_allclose(run.snapshots.update[m, k], expected, rtol=1e-10, atol=1e-14)
        moved = run.snapshots.theta[:, :, :-1] + run.snapshots.update[:, :, :-1]
        np.testing.assert_array_equal(run.snapshots.theta[:, :, 1:], moved)


def test_snapshots_hold_the_gradient_that_a_stack_computes():
    problem = small(task=MINI)
    run = full(problem, "signum", 9, lr=0.01, snapshots=[0, 4, 9])
    np.testing.assert_array_equal(run.snapshots.steps, [0, 4, 9])
    np.testing.assert_array_equal(run.snapshots.theta[:, 0, 0], problem.start)
    for s, t in enumerate((0, 4, 9)):
        stack = problem.stack().rows(torch.from_numpy(problem.batch(t)))
        expected = stack.gradient(torch.from_numpy(run.snapshots.theta[:, 0, s]))[0]
        np.testing.assert_array_equal(run.snapshots.gradient[:, 0, s], expected.numpy())


@pytest.mark.parametrize("schedule", [Schedule("cosine", 3), "linear", "inverse-sqrt:warmup=4"])
def test_schedules_multiply_the_rate(schedule):
    problem = small()
    run = full(problem, "gd", 12, lr=[0.1, 0.2], schedule=schedule, snapshots=range(12))
    factors = run.schedule.factors(12)
    assert factors[0] != factors[5]
    expected = -run.settings["lr"][:, None, None] * factors[:, None] * run.snapshots.gradient
    np.testing.assert_allclose(run.snapshots.update, expected, rtol=1e-14)


# The same bits whatever runs beside.

ODD = {
    "transformer": (Transformer(width=6, layers=1, heads=3), SMALL),
    "wide transformer": (Transformer(width=16, layers=1, heads=2, norm="post"), TokenMap(16, 2)),
    "causal transformer": (Transformer(width=5, layers=1, heads=1, norm="none"), Induction(7, 5, 11)),
    "mlp": (MLP(width=7, layers=2, norm="pre"), ModularAddition(p=3)),
    "mlp of digits": (MLP(width=5, layers=1, norm="post"), Digits(patch=8, sequences=9, batch=3)),
    "conv": (Conv(width=9, layers=1, kernel=5, norm="post"), SMALL),
    "conv of digits": (Conv(width=6, layers=2, norm="pre"), Digits(patch=4, sequences=13, batch=None)),
    "mixer": (Mixer(width=6, layers=1, norm="post"), SMALL),
    "causal mixer": (Mixer(width=5, layers=2), Induction(7, 5, 11)),
}


PER_INSTANCE = (
    "loss",
    "loss_weighted",
    "steps_to_tolerance",
    "steps_to_tolerance_weighted",
    "steps_to_stay",
    "status",
    "stopped",
)


def assert_same_bits(a, b):
    for name in PER_INSTANCE:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    for name in ("theta", "gradient", "update") if a.snapshots else ():
        np.testing.assert_array_equal(getattr(a.snapshots, name), getattr(b.snapshots, name), err_msg=name)


def part(run, m, k):
    """One instance of a run, as a run of its own would have it."""

    def of(values, names):
        return {name: getattr(values, name)[m : m + 1, k : k + 1] for name in names}

    snapshots = replace(run.snapshots, **of(run.snapshots, ("theta", "gradient", "update")))
    return replace(run, snapshots=snapshots, **of(run, PER_INSTANCE))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ODD)
def test_an_instance_has_the_same_bits_in_any_stack(name, dtype, monkeypatch):
    model, task = ODD[name]
    problem = small(model, task, problems=3, heterogeneity=[1.0, 20.0])
    options = {"lr": [0.01, 0.02, 0.03], "snapshots": [5, 10], "dtype": dtype}
    whole = full(problem, "adam-mini", 10, **options)
    assert np.all(np.isfinite(whole.loss[:, :, -1]))
    for m, k in ((0, 0), (2, 1), (5, 2)):
        alone = full(problem.select([m]), "adam-mini", 10, **options | {"lr": options["lr"][k]})
        assert_same_bits(alone, part(whole, m, k))
    monkeypatch.setattr(request, "TOKENS_AT_ONCE", 5 * problem.tokens_per_step)
    assert_same_bits(full(problem, "adam-mini", 10, **options), whole)
    torch.set_num_threads(2)
    assert_same_bits(full(problem, "adam-mini", 10, **options), whole)
    assert torch.get_num_threads() == 2
    alone = full(problem.select([4]), "adam-mini", 10, **options | {"lr": 0.02})
    assert_same_bits(alone, part(whole, 4, 1))


@pytest.mark.parametrize("dial", ["zipf", "separable", "reparametrisation"])
@pytest.mark.parametrize("task", [SMALL, MINI], ids=["full", "mini"])
def test_the_same_bits_under_every_dial(task, dial):
    """Under zipf the instances have from 2 to hundreds of sequences."""
    problem = small(ODD["transformer"][0], task, dial=dial, heterogeneity=[1.0, 30.0, 900.0], problems=2)
    whole = full(problem, "gd", 10, lr=[0.1, 0.2], snapshots=[10], dtype="float32")
    for m, k in ((0, 0), (2, 1), (5, 0)):
        alone = full(problem.select([m]), "gd", 10, lr=[0.1, 0.2][k], snapshots=[10], dtype="float32")
        assert_same_bits(alone, part(whole, m, k))


def test_only_problems_with_as_many_sequences_share_a_chunk(monkeypatch):
    """Else the short ones would be filled up: more work, and another order of summation on some machine."""
    problem, chunks, run = small(dial="zipf", heterogeneity=[1.0, 30.0, 900.0]), [], training._run
    monkeypatch.setattr(training, "_run", lambda job, chunk, found: [chunks.append(chunk), run(job, chunk, found)])
    full(problem, "gd", 1, lr=[0.1, 0.2, 0.3])
    assert sorted(np.concatenate(chunks)) == list(range(18))
    for chunk in chunks:
        assert np.ptp(problem.sequences[chunk // 3]) == 0


@pytest.mark.parametrize("rule", ["gd", "adam", "normalized-gd"])
def test_batch_mates_that_finish_or_diverge_change_nothing(rule):
    """NaN stays where it is, whether its instance is still in the stack or has been dropped."""
    problem = small(ODD["transformer"][0], problems=5)
    lr = [0.001, 1e30, 0.3, 1e4]
    whole = train(problem, rule, lr=lr, steps=60, tolerance=0.5, record="all")
    assert np.all(whole.status[:, 1] == "diverged")
    assert np.all(np.isinf(whole.loss[:, 1, 20:]))
    assert len(set(whole.stopped.ravel().tolist())) > 3  # they leave at different steps
    for m in (0, 4):
        for k in (0, 2):
            alone = train(problem.select([m]), rule, lr=lr[k], steps=60, tolerance=0.5, record="all")
            last = alone.loss.shape[2]
            np.testing.assert_array_equal(alone.loss[0, 0], whole.loss[m, k, :last])
            assert alone.stopped[0, 0] == whole.stopped[m, k]
            assert alone.status[0, 0] == whole.status[m, k]


def test_stopping_changes_nothing_before_the_stop():
    problem = small(problems=6, heterogeneity=[1.0, 30.0])
    stopped = train(problem, "adam", lr=[0.01, 0.1], steps=200, tolerance=0.3, record="all")
    whole = train(problem, "adam", lr=[0.01, 0.1], steps=200, tolerance=0.3, record="all", stop=False)
    assert stopped.stopped.min() < stopped.stopped.max()
    assert np.all(whole.stopped == 200)
    for name in ("steps_to_tolerance", "steps_to_tolerance_weighted", "status"):
        np.testing.assert_array_equal(getattr(stopped, name), getattr(whole, name))
    for m in range(12):
        for k in range(2):
            end = stopped.stopped[m, k]
            for name in ("loss", "loss_weighted"):
                values = getattr(stopped, name)[m, k]
                np.testing.assert_array_equal(values[: end + 1], getattr(whole, name)[m, k, : end + 1])
                assert np.all(np.isnan(values[end + 1 :]))


def test_every_setting_is_an_instance_of_its_own():
    problem = small()
    settings = grid(lr=[0.01, 0.1], beta1=[0.0, 0.9], eps=[1e-8, 0.1])
    together = full(problem, "adam", 20, **settings)
    for k in range(8):
        alone = full(problem, "adam", 20, **{name: values[k] for name, values in settings.items()})
        np.testing.assert_array_equal(alone.loss[:, 0], together.loss[:, k])
    assert np.unique(together.loss[0, :, -1]).size == 8


def test_mini_batches_depend_on_seed_index_and_step_alone():
    problem = small(task=MINI, dial="init-scale", heterogeneity=[1.0, 1.0], problems=2)  # problems 0, 1 are 2, 3
    steps = {"lr": [0.1, 0.1], "snapshots": range(20)}
    gd, ball = full(problem, "gd", 20, **steps), full(problem, "heavy-ball", 20, momentum=0.0, **steps)
    np.testing.assert_array_equal(gd.snapshots.gradient, ball.snapshots.gradient)
    np.testing.assert_array_equal(gd.snapshots.theta[:, 0], gd.snapshots.theta[:, 1])
    np.testing.assert_array_equal(gd.snapshots.theta[:2], gd.snapshots.theta[2:])
    assert not np.array_equal(gd.snapshots.theta[0], gd.snapshots.theta[1])


# Divergence and hitting times.


def test_diverged_instances_are_named_and_stay():
    problem = small(problems=3)
    run = train(problem, "gd", lr=[0.1, 1e6, 1e30], steps=30, record="all", stop=False, snapshots=[0, 25])
    assert run.status.tolist() == [["not_reached", "diverged", "diverged"]] * 3
    assert np.all(np.isinf(run.steps_to_tolerance[:, 1:]))
    limit = DIVERGED_ABOVE * np.maximum(run.loss[:, :, :1], np.log(5))
    for k in (1, 2):
        for m in range(3):
            end = run.stopped[m, k]
            assert 0 < end < 30
            assert np.all(run.loss[m, k, :end] <= limit[m, k])
            assert np.all(np.isinf(run.loss[m, k, end:]))
            assert np.all(np.isinf(run.loss_weighted[m, k, end:]))
    assert np.all(np.isfinite(run.loss[:, 0]))
    assert np.all(np.isfinite(run.snapshots.theta[:, :, 0]))
    assert np.all(np.isfinite(run.snapshots.theta[:, 0, 1]))
    assert np.all(np.isnan(run.snapshots.theta[:, 1:, 1]))
    assert "3 not_reached" in repr(run)
    assert "6 diverged" in repr(run)


def test_a_snapshot_of_what_has_diverged_is_nan_at_once():
    """Not only once its numbers are, or once it has left the stack."""
    run = train(small(), "gd", lr=[0.1, 1e6], steps=8, record="all", snapshots=range(9))
    assert np.all((run.stopped < 8) == [False, True])
    for s, t in enumerate(run.snapshots.steps):
        after = (t >= run.stopped) & (run.status == "diverged")
        np.testing.assert_array_equal(np.isnan(run.snapshots.update[:, :, s]).all(axis=-1), after)


@pytest.mark.parametrize("task", [SMALL, TokenMap(vocabulary=5, tokens=3, batch=4)], ids=["full", "mini"])
def test_steps_to_tolerance(task):
    problem = small(task=task, heterogeneity=[1.0, 100.0], problems=2)
    run = train(problem, "adam", lr=0.05, steps=80, tolerance=0.4, record=30, evaluate_every=4, dtype="float64")
    theirs = train_modules(problem, torch.optim.Adam, 0.05, 80, evaluate_every=4, dtype=torch.float64)
    assert run.target == 0.4 * np.log(5)
    for m in range(4):
        for losses, found in (
            (theirs.loss[m], run.steps_to_tolerance[m, 0]),
            (theirs.loss_weighted[m], run.steps_to_tolerance_weighted[m, 0]),
        ):
            below = theirs.steps[losses <= run.target]
            assert 0 < found == (below[0] if below.size else np.inf)
        both = max(run.steps_to_tolerance[m, 0], run.steps_to_tolerance_weighted[m, 0])
        assert run.stopped[m, 0] == min(both, 80)
    assert np.any(run.steps_to_tolerance != run.steps_to_tolerance_weighted)


@pytest.mark.parametrize("task", [SMALL, TokenMap(vocabulary=5, tokens=3, batch=4)], ids=["full", "mini"])
def test_losses_that_leave_the_target_again(task):
    problem = small(task=task, heterogeneity=[1.0, 100.0], problems=2)
    arguments = {"lr": [0.5, 0.7, 0.2, 1e30], "steps": 80, "tolerance": 0.4, "evaluate_every": 4, "dtype": "float64"}
    whole = train(problem, "adam", record="all", stop=False, **arguments)
    stopped = train(problem, "adam", **arguments)
    left = []
    for suffix in ("", "_weighted"):
        stays, known = getattr(whole, f"steps_to_stay{suffix}"), stopped.stopped == 80
        for m, k in np.ndindex(stays.shape):
            losses = getattr(whole, f"loss{suffix}")[m, k]
            within = [np.all(losses[r:] <= whole.target) for r in range(losses.size)]
            assert stays[m, k] == (whole.steps[within.index(True)] if any(within) else np.inf)
        hits = getattr(whole, f"steps_to_tolerance{suffix}")
        assert np.any(np.isfinite(stays) & (stays > hits))
        left.append(np.any(np.isinf(stays) & np.isfinite(hits)))
        # Of a run that was stopped at its target nobody knows whether it would have stayed; one that diverged did not.
        found = getattr(stopped, f"steps_to_stay{suffix}")
        np.testing.assert_array_equal(found[known], stays[known])
        diverged = stopped.status == "diverged"
        assert np.all(np.isinf(found[diverged]))
        assert np.all(np.isnan(found[~known & ~diverged]))
    assert any(left)
    assert diverged.any()
    assert np.any(~known & ~diverged)


def test_recorded_steps():
    whole = full(small(), "gd", 25, lr=0.1)
    for record, expected in ((10, [0, 10, 20, 25]), ("log", None)):
        run = full(small(), "gd", 25, lr=0.1, record=record)
        if expected:
            assert run.steps.tolist() == expected
        np.testing.assert_array_equal(run.loss, whole.loss[:, :, run.steps])
    mini = full(small(task=MINI), "gd", 25, lr=0.1, record=3, evaluate_every=4)
    assert mini.steps.tolist() == [0, 4, 8, 12, 16, 20, 24, 25]  # of 3, 6, ...: the next look


def test_separable_copies_are_the_exact_control():
    """At one rate SignSGD takes the same steps at every c, and Adam all but those of its eps; gradient descent does not."""
    problem = small(dial="separable", heterogeneity=[1.0, 10.0, 100.0], problems=2)

    def hits(rule, lr):
        run = train(problem, rule, lr=lr, steps=1500, tolerance=0.3, dtype="float64")
        return run.steps_to_tolerance.reshape(3, 2)

    sign, adam, gd = hits("signsgd", 0.01), hits("adam", 0.01), hits("gd", 1.0)
    assert np.all(np.isfinite(sign))
    np.testing.assert_array_equal(sign[1:], sign[[0, 0]])
    assert np.all(np.abs(adam - adam[0]) <= 1)
    assert np.all(gd[0] < gd[1])
    assert np.all(gd[1] < gd[2])


# What a run leaves behind.


def test_a_given_start_goes_on_where_a_run_was():
    """GD keeps no state: two runs of four steps are one of eight."""
    problem = small(problems=3)
    whole = full(problem, "gd", 8, lr=0.1, snapshots=[0, 4, 8])
    second = problem.starting_at(whole.snapshots.theta[:, 0, 1])
    again = full(second, "gd", 4, lr=0.1, snapshots=[0, 4])
    np.testing.assert_array_equal(again.snapshots.theta[:, 0], whole.snapshots.theta[:, 0, 1:])
    np.testing.assert_array_equal(again.loss, whole.loss[:, :, 4:])
    alone = full(second.select([2]), "gd", 4, lr=0.1)
    np.testing.assert_array_equal(alone.loss[0], again.loss[2])


def test_a_start_that_cannot_be_is_said_in_one_line():
    problem = small()
    start = problem.start
    with pytest.raises(ValueError, match=rf"theta must have the shape \(2, {problem.dimension}\), got \(1, 3\)"):
        problem.starting_at(np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"theta must be finite, got 1 numbers that are not; select problems"):
        problem.starting_at(np.where(np.arange(start.size).reshape(start.shape) == 1, np.nan, start))
    scaled = ToyProblem.generate("mlp", SMALL, dial="init-scale", problems=1)
    with pytest.raises(ValueError, match=r"given start must not be init-scale"):
        scaled.starting_at(scaled.start)


def test_a_file_knows_where_its_run_began(tmp_path):
    problem = small()
    moved = problem.starting_at(problem.start + 0.1)
    train(moved, "gd", lr=0.1, steps=3).save(tmp_path / "moved.nc")
    assert TrainingRun.load(tmp_path / "moved.nc", moved, RULES["gd"]).steps[-1] == 3
    with pytest.raises(ValueError, match="training file must be of"):
        TrainingRun.load(tmp_path / "moved.nc", problem, RULES["gd"])


def test_saved_and_loaded(tmp_path):
    problem = small(heterogeneity=[1.0, 9.0])
    run = train(problem, "adam", **grid(lr=[0.01, 1e3], beta1=[0.5, 0.9]), steps=30, schedule="cosine:warmup=3")
    run, path = replace(run, engine="other", device="other"), tmp_path / "run.nc"
    run.save(path)
    again = TrainingRun.load(path, problem, RULES["adam"])
    assert_same_bits(run, again)
    np.testing.assert_array_equal(run.steps, again.steps)
    for name in ("optimizer", "schedule", "tolerance", "evaluated_every", "dtype", "device", "engine", "target"):
        assert getattr(run, name) == getattr(again, name), name
    assert run.settings.keys() == again.settings.keys()
    for name, values in run.settings.items():
        np.testing.assert_array_equal(values, again.settings[name])
    frame = again.to_frame()
    assert len(frame) == run.loss.size
    assert {"loss", "lr", "beta1", "heterogeneity", "status", "optimizer"} <= set(frame.columns)


@pytest.mark.parametrize(
    "other",
    [
        small(heterogeneity=[1.0, 8.0]),
        small(heterogeneity=[1.0, 9.0], seed=1),
        small(heterogeneity=[1.0, 9.0], dial="reparametrisation", mode="gradient"),
        small(heterogeneity=[1.0, 9.0], first=2),
        small(heterogeneity=[1.0, 9.0], width=5),
        small(heterogeneity=[1.0, 9.0], dial="separable"),
        small(heterogeneity=[1.0, 9.0], task=ModularAddition(p=5)),
        "rule",
        "file",
    ],
    ids=["heterogeneity", "seed", "mode", "first", "width", "dial", "task", "rule", "file"],
)
def test_a_file_of_something_else_is_refused(tmp_path, other):
    problem, path = small(heterogeneity=[1.0, 9.0]), tmp_path / "run.nc"
    train(problem, "gd", lr=0.1, steps=3).save(path)
    if other == "file":
        path.write_text("nothing")
    rule = RULES["signsgd" if other == "rule" else "gd"]
    with pytest.raises(ValueError, match=r"training file must be .* got .*run.nc"):
        TrainingRun.load(path, problem if isinstance(other, str) else other, rule)


# What cannot be.


@pytest.mark.parametrize("name", NEED_CURVATURE)
def test_rules_that_need_the_curvature_of_blocks_are_refused(name):
    message = f"must not need the curvature of blocks, got {name}, .* use it on quadratics"
    with pytest.raises(ValueError, match=message) as caught:
        train(small(), name, lr=1.0, steps=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "arguments", "message"),
    [
        ("adma", {}, "optimizer must be one of .* got 'adma'; did you mean 'adam'?"),
        ("adam", {"beta3": 0.5}, "hyperparameter of adam must be one of .* got 'beta3'"),
        ("adam", {"beta1": 1.0}, "beta1 must be a number in [0, 1), got 1.0"),
        ("adam", {"lr": None}, "lr must be given for adam, got None"),
        ("adam", {"lr": -1.0}, "lr must be a number above 0, got -1.0"),
        ("adam", {"steps": 0}, "steps must be a whole number of at least 1, got 0"),
        ("adam", {"snapshots": [11]}, "snapshots must be at most the number of steps (10), got 11"),
        ("adam", {"snapshots": [-1]}, "snapshots must be a whole number of at least 0, got -1"),
        ("adam", {"tolerance": 1.0}, "tolerance must be a number in (0, 1), got 1.0"),
        ("adam", {"record": "some"}, "record must be one of all, log, got 'some'"),
        ("adam", {"evaluate_every": 0}, "evaluate_every must be a whole number of at least 1, got 0"),
        ("adam", {"partition": "head"}, "partition must be one of layer, module, unit, got 'head'"),
        ("adam", {"dtype": "float16"}, "dtype must be one of float32, float64, got 'float16'"),
        ("adam", {"device": "tpu"}, "device must be cpu, cuda or cuda:N, got 'tpu'"),
        ("adam", {"schedule": "cosin"}, "schedule must be one of .* did you mean 'cosine'?"),
        ("adam", {"schedule": "cosine:warmup=10"}, "warm-up must be below the number of steps (10), got 10"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(rule, arguments, message):
    pattern = re.escape(message).replace(r"\.\*", ".*")
    with pytest.raises(ValueError, match=pattern) as caught:
        train(small(task=MINI), rule, **{"lr": 0.1, "steps": 10} | arguments)
    assert "\n" not in str(caught.value)


def test_either_loss_alone_can_diverge(monkeypatch):
    """Rare classes count a thousandth in the optimised loss: it falls while the unweighted one rises."""
    problem = small(heterogeneity=[1e4])
    options = {"lr": [0.5], "stop": False}
    calm = full(problem, "gd", 20, **options)
    scale = np.maximum(calm.loss[:, :, :1], np.log(problem.classes))
    rises = calm.loss / scale
    above = 1.0 + (rises.max() - 1.0) / 2
    assert above > 1.001
    assert (calm.loss_weighted <= calm.loss_weighted[:, :, :1]).all()
    monkeypatch.setattr(results, "DIVERGED_ABOVE", above)
    found = full(problem, "gd", 20, **options)
    lost = np.max(rises, axis=2) > above
    assert lost.any()
    np.testing.assert_array_equal(found.status == "diverged", lost)
    assert (found.final_loss[lost] == np.inf).all()
    assert (found.final_loss_weighted[lost] == np.inf).all()
    first = np.argmax(rises > above, axis=2)
    np.testing.assert_array_equal(found.stopped[lost], first[lost])
    for m, k in np.argwhere(lost).tolist():
        assert (found.loss[m, k, first[m, k] :] == np.inf).all()


def test_a_run_with_snapshots_is_not_stopped():
    problem = small()
    free = train(problem, "signsgd", steps=60, lr=0.05, tolerance=0.9)
    kept = train(problem, "signsgd", steps=60, lr=0.05, tolerance=0.9, snapshots=[55])
    assert (free.stopped < 55).all()
    assert (kept.stopped == 60).all()
    assert np.isfinite(kept.snapshots.theta).all()


@pytest.mark.parametrize("options", [{"steps": 10**12}, {"steps": 10**6, "snapshots": range(10**6)}])
def test_a_run_that_does_not_fit_in_memory_is_refused(options):
    with pytest.raises(ValueError, match=r"training must fit in memory .*; use fewer of them"):
        train(small("transformer"), "gd", lr=0.1, **options)
