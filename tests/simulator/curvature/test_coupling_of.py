"""The smallest c of a Hessian, and delta over Lambda, as quadsim inspect reports them."""

import numpy as np
import pandas as pd
import pytest

from quadsim.cli.text.inspection import coupling_sentences
from quadsim.simulator import BlockQuadratic
from quadsim.simulator.curvature.along_training import coupling_along
from quadsim.simulator.curvature.off_block import coupling_of
from quadsim.simulator.models.partitions import Partition
from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.models.tasks.sequences import TokenMap
from quadsim.simulator.training.loop import train

PAIRS = Partition("own", ("a", "b"), (2, 2))


def test_the_c_of_a_coupled_quadratic_is_its_dial():
    problem = BlockQuadratic.generate(2, 5, heterogeneity=50.0, coupling=0.6, seed=3)
    H, _ = problem.dense(0)
    D, _ = BlockQuadratic.generate(2, 5, heterogeneity=50.0, seed=3).dense(0)
    delta, c, share = coupling_of(H, Partition("own", ("a", "b"), (5, 5)))
    assert (c, share) == (pytest.approx(0.6, rel=1e-9), 1.0)
    assert delta == pytest.approx(np.abs(np.linalg.eigvalsh(H - D)).max(), rel=1e-12)


def test_c_is_that_of_the_part_where_the_blocks_are_positive():
    H = np.diag([4.0, -1.0, 1.0, 0.0])
    H[0, 2] = H[2, 0] = 3.0  # between two positive directions: 3/sqrt(4)
    H[1, 3] = H[3, 1] = 50.0  # between a negative one and one that is 0
    assert coupling_of(H, PAIRS) == (pytest.approx(50.0), pytest.approx(1.5), 0.5)
    delta, c, share = coupling_of(-np.eye(4), PAIRS)
    assert (delta, share) == (0.0, 0.0)
    assert np.isnan(c)
    assert np.isnan(coupling_of(np.full((4, 4), np.nan), PAIRS)).all()


def test_along_training_a_row_per_seed_and_snapshot():
    problem = ToyProblem.generate("mlp", TokenMap(vocabulary=4), layers=1, width=3, problems=2)
    run = train(problem, "gd", lr=0.1, steps=2, snapshots=[0, 2], dtype="float64")
    found = coupling_along(run)
    assert found[["index", "step"]].to_numpy().tolist() == [[0, 0], [0, 2], [1, 0], [1, 2]]
    assert (found["coupling"] > 0.0).all()
    assert (found["delta_over_Lambda_G"] > 0.0).all()


class Found:
    def __init__(self, **columns):
        self.summary = pd.DataFrame({"delta_over_Lambda_G": [0.2, 3.0], "delta_over_Lambda_P": [2.0, 3.0]} | columns)


def test_a_c_above_1_is_said_to_guarantee_nothing():
    first, second = coupling_sentences(Found(coupling=[0.5, 7.0]))
    assert first.startswith("c exceeds 1 on 1 of 2 seeds: the block-diagonal picture guarantees nothing")
    assert second.endswith("speak of gradient steps on 1 and of sign steps on 0 of 2 seeds.")
    assert coupling_sentences(Found(coupling=[0.5, np.nan]))[0].startswith("c is at most 1 on 1 of 2 seeds")
