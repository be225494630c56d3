"""beta2 kept by its half-life in samples: beta2 = 2^(-b/N)."""

import numpy as np
import pytest

from quadsim.simulator import RULES, BlockQuadratic, ModelSweepConfig, SweepConfig, simulate, sweep
from quadsim.simulator.engines import simulate_optimizer
from quadsim.simulator.rules.optimizer import OptimizerSpec

WITH_BETA2 = sorted(name for name, rule in RULES.items() if "beta2" in map(str, rule.hyperparameters))


@pytest.mark.parametrize("name", WITH_BETA2)
def test_the_memory_halves_after_so_many_samples(name):
    spec = OptimizerSpec.parse(f"{name}:beta2_samples=24")
    assert OptimizerSpec.from_document(spec.to_document()) == spec
    for batch in (1, 8, 24):
        beta2 = spec.at_batch(batch).hyperparameters["beta2"]
        assert beta2 ** (24 / batch) == pytest.approx(0.5)


@pytest.mark.parametrize("engine", ["fused", "reference"])
def test_a_run_has_the_beta2_of_its_batch(engine):
    problem = BlockQuadratic.generate(blocks=2, block_size=3, problems=2)
    for batch in (1, 4):
        given = dict(lr=0.05, steps=20, oracle=f"stream:batch={batch}:label_noise=0.1", engine=engine)
        kept = simulate_optimizer(problem, OptimizerSpec.parse("adam:beta2_samples=8"), **given)
        same = simulate(problem, "adam", beta2=2 ** (-batch / 8), **given)
        np.testing.assert_array_equal(kept.gap, same.gap)


def test_a_sweep_has_the_beta2_of_each_batch():
    shared = dict(steps=30, engine="reference")  # which compiles nothing
    config = SweepConfig(
        heterogeneity=(1.0,), batch=("1", "4"), optimizers=("adam:beta2_samples=8|80",), lr=(0.1,), seeds=2, **shared
    )
    rows = sweep(config).summary
    for batch in (1, 4):
        for samples in (8, 80):
            run = simulate(
                BlockQuadratic.generate(heterogeneity=1.0, problems=2),
                "adam",
                lr=0.1,
                beta2=2 ** (-batch / samples),
                oracle=f"stream:batch={batch}",
                **shared,
            )
            same = rows[(rows["batch"] == str(batch)) & (rows["setting"] == f"adam:beta2_samples={samples}")]
            np.testing.assert_array_equal(np.sort(same["final_gap"]), np.sort(run.gap[:, 0, -1]))


def test_the_batch_of_a_model_is_a_dial():
    shared = dict(model=("mlp",), width=(4,), layers=(1,), heterogeneity=(1.0,), optimizers=("adam:beta2_samples=32",))
    shared |= dict(lr=(0.1,), steps=12, seeds=2, task=("token-map:vocabulary=8",))
    rows = sweep(ModelSweepConfig(batch=("2", "4"), **shared)).summary
    assert set(rows["batch"]) == {"2", "4"}
    for batch in (2, 4):
        alone = {**shared, "task": (f"token-map:vocabulary=8:batch={batch}",)}
        alone["optimizers"] = (f"adam:beta2={2 ** (-batch / 32)!r}",)
        same = sweep(ModelSweepConfig(**alone)).summary
        np.testing.assert_array_equal(rows.loc[rows["batch"] == str(batch), "final_loss"], same["final_loss"])
    full = {**shared, "optimizers": ("adam",)}
    of_all = sweep(ModelSweepConfig(batch=("full",), **full)).summary
    np.testing.assert_array_equal(of_all["final_loss"], sweep(ModelSweepConfig(**full)).summary["final_loss"])
