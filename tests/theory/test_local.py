"""Steps of training against local models: orders of accuracy, an exact case, and the bounds of the lemmas."""

import numpy as np
import pytest

from quadsim.simulator import ToyProblem, train
from quadsim.simulator.curvature.along_training import measure
from quadsim.simulator.curvature.block_spectra import block_spectra, whole_hessian
from quadsim.simulator.curvature.hessian import gradient
from quadsim.simulator.models import MLP, ModularAddition, Partition, TokenMap, Transformer
from quadsim.theory import THEOREMS
from quadsim.theory.local import LEMMAS, bound_on_change, local_steps

TINY = TokenMap(vocabulary=4, tokens=2)
SMALL = Transformer(width=4, layers=1, heads=2)


def run_of(
    rule="gd", lr=0.1, model=SMALL, task=TINY, steps=3, snapshots=(0, 3), dtype="float64", schedule=None, **options
):
    problem = ToyProblem.generate(model, task, **({"problems": 2} | options))
    return train(problem, rule, lr=lr, steps=steps, snapshots=snapshots, dtype=dtype, schedule=schedule)


def one_block(problem, blocks=1):
    size = problem.dimension // blocks
    return Partition("even", tuple(map(str, range(blocks))), (size,) * blocks)


# Models


@pytest.mark.parametrize("rule", ["gd", "signsgd", "adam", "lion"])
def test_the_remainder_is_of_third_order(rule):
    """Half the step, an eighth of the error; with the first order alone a quarter."""
    run = run_of(rule, lr=[1e-4, 5e-5, 2.5e-5], snapshots=[0])
    found = local_steps(run)
    remainder, linear = found.remainder[:, :, 0], (found.observed - found.first_order)[:, :, 0]
    np.testing.assert_allclose(remainder[:, :-1] / remainder[:, 1:], 8.0, rtol=0.1)
    np.testing.assert_allclose(linear[:, 1] / linear[:, 2], 4.0, rtol=0.1)


def test_the_terms_against_dense_hessians():
    run = run_of("adam", lr=[0.01, 0.1])
    found = local_steps(run, partition="module")
    kept = run.snapshots
    for m, k, s in np.ndindex(found.observed.shape):
        stack, theta, u = run.problem.stack(np.array([m])), kept.theta[m, k, [s]], kept.update[m, k, s]
        (hessian,), _ = whole_hessian(stack, theta)
        blocks = np.zeros_like(hessian)
        for begin, end in run.problem.partition("module").ranges:
            blocks[begin:end, begin:end] = hessian[begin:end, begin:end]
        np.testing.assert_allclose(found.first_order[m, k, s], gradient(stack, theta)[0] @ u, rtol=1e-12)
        np.testing.assert_allclose(found.quadratic_whole[m, k, s], u @ hessian @ u / 2, rtol=1e-10)
        np.testing.assert_allclose(found.quadratic_block[m, k, s], u @ blocks @ u / 2, rtol=1e-10)
        np.testing.assert_allclose(found.ratio[m, k, s], (u @ hessian @ u) / (u @ blocks @ u), rtol=1e-10)
    assert np.any(np.abs(found.ratio - 1.0) > 0.5)


def test_the_observed_change_is_that_of_the_run():
    run = run_of("gd", lr=[0.1, 0.3], snapshots=range(4))
    found = local_steps(run).observed[:, :, :-1]
    np.testing.assert_allclose(found, np.diff(run.loss_weighted, axis=-1)[..., :3], atol=1e-14)


def test_one_block_a_copy_is_exact():
    run = run_of("gd", lr=0.05, model=MLP(width=4, layers=1), dial="separable", heterogeneity=100.0)
    by_copy, by_module = local_steps(run, partition=one_block(run.problem, 4)), local_steps(run, partition="module")
    np.testing.assert_allclose(by_copy.ratio, 1.0, rtol=1e-12)
    np.testing.assert_allclose(by_copy.block_model, by_copy.whole_model, rtol=1e-12)
    assert np.all(np.abs(by_module.ratio - 1.0) > 0.01)
    assert not np.any(by_copy.reason == "curvature between blocks")


# Bounds


def test_the_bounds_are_those_of_the_lemmas():
    for rule, name in (("gd", "gradient-descent-lemma"), ("signsgd", "sign-descent-lemma")):
        run = run_of(rule, lr=[0.01, 0.2], steps=4, snapshots=[0, 2], schedule="cosine")
        found = local_steps(run)
        assert found.theorem == name
        kept, sizes = run.snapshots, np.array(run.problem.partition("module").sizes)
        factors = run.schedule.factors(4)
        for m, k, s in np.ndindex(found.observed.shape):
            g, rate = kept.gradient[m, k, s], run.settings["lr"][k] * factors[kept.steps[s]]
            L = block_spectra(run.problem.stack(np.array([m])), kept.theta[m, k, [s]]).smoothness[0]
            squares = np.array([np.sum(b**2) for b in np.split(g, np.cumsum(sizes)[:-1])])
            if rule == "gd":
                wanted = -rate * squares.sum() + rate**2 / 2 * squares @ L
            else:
                wanted = -rate * np.abs(g).sum() + rate**2 / 2 * sizes @ L
            np.testing.assert_allclose(found.bound[m, k, s], wanted, rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rule", ["gd", "signsgd"])
def test_a_bound_is_never_below_the_block_model(rule, dtype):
    found = local_steps(run_of(rule, lr=[0.01, 0.1, 1.0], heterogeneity=[1.0, 30.0], dtype=dtype))
    assert np.all(found.block_model <= found.bound + found.rounding)
    # Of a step in float32, and of its distance from being exactly the lemma's.
    assert np.all(found.rounding < 1e-4 * np.abs(found.first_order) + 1e-11)
    assert np.all(np.isin(found.state, ["holds", "violated"]))


def test_a_step_in_float32_widens_what_counts_as_equal():
    """By how far it is from the lemma's step; in float64 rounding of the loss is all there is."""
    fine, coarse = (local_steps(run_of("gd", lr=1.0, dtype=dtype, snapshots=[0])) for dtype in ("float64", "float32"))
    assert np.all(fine.rounding < 1e-11)
    assert np.all(coarse.rounding > 10 * fine.rounding)
    assert np.all(coarse.rounding < 1e-5 * (np.abs(coarse.first_order) + np.abs(coarse.bound)))


def test_curvature_between_blocks_violates_the_bound():
    """By units gd's step mostly lies across the blocks; with one block for all nothing is left out."""
    run = run_of("gd", lr=[0.01, 0.3, 0.6], heterogeneity=[1.0, 30.0], snapshots=[0])
    by_unit, whole = local_steps(run, partition="unit"), local_steps(run, partition=one_block(run.problem))
    assert "curvature between blocks" in by_unit.reason
    assert "curvature between blocks" not in whole.reason
    violated = by_unit.reason == "curvature between blocks"
    assert np.all(by_unit.ratio[violated] > 1.0)
    assert np.all((by_unit.whole_model > by_unit.bound)[violated])


def test_a_long_step_violates_by_the_third_order():
    run = run_of("signsgd", lr=[1e-4, 0.3, 1.0], snapshots=[0], problems=4)
    found = local_steps(run, partition=one_block(run.problem))
    assert np.all(found.state[:, 0] == "holds")
    failed = found.state == "violated"
    assert np.all(found.reason[failed] == "third order")
    assert np.all((found.observed > found.bound) == failed)


def test_at_short_steps_the_direction_decides():
    """Both sides are quadratic in the rate: the bound fails at every short step iff g'Hg > Lambda_G |g|^2."""
    run = run_of("gd", lr=[1e-3, 1e-4], snapshots=[0], problems=6)
    found = local_steps(run, partition="unit")
    fails = found.quadratic_whole > found.bound - found.first_order
    np.testing.assert_array_equal(found.state == "violated", fails)
    np.testing.assert_array_equal(fails[:, 0], fails[:, 1])
    assert 0 < fails[:, 0].sum() < 6
    assert np.all(found.reason[~fails] == "")


# Where no bound applies


def test_a_rule_without_a_lemma():
    found = local_steps(run_of("adam", lr=0.01))
    assert found.theorem == ""
    assert np.all(found.state == "not applicable")
    assert np.all(np.isnan(found.bound))
    assert "No descent lemma speaks of adam" in found.text()


def test_a_mini_batch_is_not_the_gradient_of_the_loss():
    found = local_steps(run_of("gd", lr=0.1, task=ModularAddition(p=5, batch=4)))
    assert np.all(found.state == "not applicable")
    assert np.all(
        found.reason == "the rule saw another gradient than that of the loss (a mini-batch, or scaled blocks)"
    )


def test_scaled_blocks():
    """In the mode `gradient` gd takes no gradient step of the loss; the sign step does not see the scale."""
    options = {"dial": "reparametrisation", "heterogeneity": 100.0, "mode": "gradient", "snapshots": [0]}
    gd, sign = (local_steps(run_of(rule, lr=0.01, **options)) for rule in ("gd", "signsgd"))
    assert np.all(gd.state == "not applicable")
    assert np.all(sign.state != "not applicable")


def test_a_diverged_run_is_named():
    run = run_of("gd", lr=[0.1, 1e6], model=MLP(width=4, layers=1), steps=6, snapshots=[0, 5])
    found = local_steps(run)
    assert np.all(found.reason[:, 1, 1] == "the run had diverged")
    assert np.all(np.isnan(found.observed[:, 1, 1]))
    assert np.all(np.isfinite(found.observed[:, 0]))


@pytest.mark.parametrize("lr", [1e-300, 1e150, 1e300])
def test_a_step_out_of_range_is_no_warning(lr):
    found = local_steps(run_of("gd", lr=lr, model=MLP(width=4, layers=1), steps=1, snapshots=[0]))
    assert found.text().startswith("gd, blocks by module") or "all runs had diverged" in found.text()
    assert len(found.to_frame()) == 2


def test_only_per_step_bounds_without_the_gap():
    for name in LEMMAS:
        assert not bound_on_change(THEOREMS[name]).has("gap")
    with pytest.raises(
        ValueError, match=r"must bound the change without the gap, got gd-upper; use one of gradient-descent"
    ):
        bound_on_change(THEOREMS["gd-upper"])
    with pytest.raises(
        ValueError, match=r"must be per step, got sign-constant \(horizon\)|\(complexity\)|\(identity\)"
    ):
        bound_on_change(THEOREMS["sign-constant"])


# What comes out


def test_measurements_are_used_again(monkeypatch):
    run = run_of("gd", lr=[0.1, 1e6], model=MLP(width=4, layers=1), steps=6, snapshots=[0, 5])
    wanted, measured = local_steps(run), measure(run)
    monkeypatch.setattr("quadsim.theory.local.block_spectra", None)
    found = local_steps(run, measured=measured)
    np.testing.assert_array_equal(found.bound, wanted.bound)
    np.testing.assert_array_equal(found.state, wanted.state)


@pytest.mark.parametrize("options", [{"partition": "unit"}, {"curvature": False}])
def test_other_measurements_are_refused(options):
    run = run_of("gd")
    with pytest.raises(
        ValueError, match=r"must hold the smoothness of the blocks by module .* call measure\(run, partition='module'\)"
    ):
        local_steps(run, measured=measure(run, **options))


def test_other_blocks_of_the_same_number_are_refused():
    run = run_of("gd")
    cut = run.problem.partition("module")
    other = Partition("turned", cut.labels, cut.sizes[::-1])
    with pytest.raises(ValueError, match=r"blocks by module at this run's snapshots, got 'turned'; call measure"):
        local_steps(run, measured=measure(run, partition=other))


def test_the_frame_and_the_words():
    run = run_of("gd", lr=[0.01, 1.0], heterogeneity=[1.0, 30.0])
    found = local_steps(run)
    frame = found.to_frame()
    assert len(frame) == found.observed.size
    row = frame[(frame.problem == 3) & (frame.setting == 1) & (frame.step == 3)].iloc[0]
    assert row.observed == found.observed[3, 1, 1]
    assert row.heterogeneity == 30.0
    assert row.lr == 1.0
    assert row.state == found.state[3, 1, 1]
    assert (row.optimizer, row.partition, row.theorem) == ("gd", "module", "gradient-descent-lemma")
    text = found.text()
    assert f"holds {np.sum(found.state == 'holds')}, violated {np.sum(found.state == 'violated')}" in text
    assert "16 steps looked at" in text
    assert f"{np.median(found.ratio):.3g} (median; " in text


def test_a_run_without_snapshots():
    problem = ToyProblem.generate(MLP(width=4, layers=1), TINY, problems=1)
    with pytest.raises(ValueError, match=r"run must have snapshots, got one without"):
        local_steps(train(problem, "gd", lr=0.1, steps=1))
