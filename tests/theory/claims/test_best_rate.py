"""The learning rate that is best on some seeds: the grid grows to it, and other seeds are judged at it."""

import numpy as np
import pytest

from quadsim.simulator.models import MLP, TokenMap, ToyProblem
from quadsim.simulator.training.loop import train
from quadsim.theory.claims.judging import Setting, measured_median
from quadsim.theory.claims.judging.conditions import Condition, judge_conditions
from quadsim.theory.claims.networks.heterogeneity.gaps import gap_at_best, gap_at_half
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


CENTRES = {"heavy-ball": 0.1, "adam": 0.05}


def gaps_of_classes(zipf, copies=1):
    task = TokenMap(16, tokens=1, zipf=zipf, repeats=copies)
    problem = ToyProblem.generate(MLP(8, layers=2), task, problems=12)
    return problem, gap_at_half(problem, CENTRES, 200, Setting("quick"))


def test_the_gap_at_half_measures_where_the_gap_after_100_steps_is_over():
    problem, (gap, _, half) = gaps_of_classes(1)
    over, _ = gap_at_best(problem, CENTRES, 100, Setting("quick"))
    assert np.median(np.abs(over)) < 0.005
    assert half < 20
    assert np.median(gap) > 0.2
    _, (unequal, *_) = gaps_of_classes(50)  # unequal frequencies of classes hold gradient descent back
    assert np.median(unequal) > np.median(gap) + 0.1
    _, (copied, *_) = gaps_of_classes(1, copies=2)  # copies of the data change no mean loss
    assert np.median(copied) == pytest.approx(np.median(gap), abs=0.02)


def test_a_gap_at_half_that_adam_does_not_reach_is_not_comparable():
    gap, edges, half = gap_at_half(problem_of(24), CENTRES, 1, Setting("tiny"))
    assert (half, edges) == (np.inf, [])
    assert gap.shape == (12,)
    (judged,) = judge_conditions(
        (Condition(measure="gap", null=0.0, effect=0.1, scale="difference", because="a tenth", level="0 is none"),),
        [measured_median("gap", gap)],
    )
    assert judged.state == "not comparable"
