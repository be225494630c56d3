"""The learning rate that is best on some seeds: the grid grows to it, and other seeds are judged at it."""

import numpy as np
import pytest

from quadsim.simulator.models import MLP, TokenMap, ToyProblem
from quadsim.simulator.training.loop import train
from quadsim.theory.claims.networks.racing import CHOOSING, at_best_rate, choosing_seeds, judged_seeds, seeds_for


def problem_of(seeds):
    return ToyProblem.generate(MLP(4), TokenMap(4), problems=seeds)


def losses(seeds, rates, best):
    """Parabolas in log10 of the rate; those of odd-numbered seeds lie higher by their number."""
    rows = [[(np.log10(rate) - best) ** 2 + (seed if seed % 2 else 0) for rate in rates] for seed in seeds]
    return {"loss": np.array(rows), "again": np.array(rows), "rate": np.tile(rates, (len(seeds), 1))}


@pytest.mark.parametrize(("best", "edge"), [(0.0, False), (2.5, False), (-3.0, False), (9.0, True)])
def test_the_grid_grows_by_decades_until_the_best_rate_lies_inside(best, edge):
    tried = []

    def measure(problem, rates):
        tried.append((problem.index.tolist(), rates))
        return losses(problem.index, rates, best)

    found = at_best_rate(measure, problem_of(6), 1.0, 2)
    chosen = [rate for seeds, rates in tried[:-1] for rate in rates if seeds == [0, 2, 4]]
    assert len(chosen) == len(set(chosen)) == sum(len(rates) for _, rates in tried[:-1])  # no rate is trained twice
    assert tried[-1] == ([1, 3, 5], [found["lr"]])  # the judged seeds are trained at the best rate alone
    assert found["edge"] == edge
    assert np.log10(found["lr"]) == pytest.approx(5.0 if edge else best)
    assert found["rate"] == pytest.approx([found["lr"]] * 3)
    if not edge:
        assert found["loss"] == pytest.approx([1.0, 3.0, 5.0])


@pytest.mark.parametrize("seeds", [2, 6, 7, 40, 48, seeds_for(60)])
def test_a_seed_chooses_or_is_judged_and_at_most_twenty_choose(seeds):
    choosing, judged = choosing_seeds(seeds), judged_seeds(seeds)
    assert sorted([*choosing, *judged]) == list(range(seeds))
    assert choosing == list(range(0, seeds, 2))[:CHOOSING]
    assert len(judged_seeds(seeds_for(60))) == 60


def test_seeds_that_are_trained_apart_give_the_losses_of_a_run_of_all():
    """So that choosing first and judging then gives the bits of training every seed at every rate."""
    whole = problem_of(4)

    def measure(problem, rates):
        return {"loss": train(problem, "adam", lr=rates, steps=5, stop=False, record=5).final_loss}

    found = at_best_rate(measure, whole, 0.01, 1)
    every = measure(whole, [found["lr"]])["loss"][:, 0]
    assert found["loss"].tolist() == every[[1, 3]].tolist()


def test_a_judged_seed_without_a_value_is_infinite():
    def measure(problem, rates):
        return {"loss": np.where(problem.index[:, None] == 1, np.nan, np.ones((problem.problems, len(rates))))}

    assert at_best_rate(measure, problem_of(4), 1.0, 1)["loss"].tolist() == [np.inf, 1.0]
