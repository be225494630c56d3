"""Quantiles, best rates, bootstrap and the words, on made-up runs."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quadsim.simulator.support.statistics import bootstrap_ratio, quantile
from quadsim.simulator.sweeps.results.answers import answer
from quadsim.simulator.sweeps.results.statistics import best_rates


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.sampled_from([0.1, 0.25, 0.5, 0.9]))
def test_quantile_is_numpys_averaged_inverted_cdf(values, q):
    expected = np.quantile(values, q, method="averaged_inverted_cdf")
    assert quantile(values, q) == pytest.approx(expected, rel=1e-15, abs=0)


def test_quantile_with_inf():
    assert quantile([1.0, 2.0, np.inf], 0.5) == 2.0
    assert quantile([1.0, np.inf], 0.5) == np.inf
    assert quantile([np.inf, np.inf], 0.5) == np.inf
    assert quantile([3.0], 0.9) == 3.0


def frame(steps, statuses=None, final=None):
    """steps[optimizer][point][rate] -> list over seeds."""
    rows = []
    for optimizer, points in steps.items():
        for point, rates in points.items():
            for lr, over_seeds in rates.items():
                for seed, value in enumerate(over_seeds):
                    rows.append({
                        "point": int(point),
                        "heterogeneity": float(point),
                        "seed": seed,
                        "optimizer": optimizer,
                        "lr": lr,
                        "lr_exponent": "",
                        "status": (statuses or {}).get((optimizer, lr), "converged"),
                        "steps_to_tolerance": float(value),
                        "initial_gap": 1.0,
                        "final_gap": (final or {}).get((optimizer, lr), 0.0),
                        "bound_steps": np.nan,
                    })
    return pd.DataFrame(rows)


def words(steps, **options):
    runs = frame(steps, **options)
    best = best_rates(runs, ["heterogeneity"])
    chosen = runs.merge(best[["point", "optimizer", "lr"]], on=["point", "optimizer", "lr"])
    return answer(chosen, best, "heterogeneity", 1000)


def test_best_rate_has_the_smallest_median_and_edges_are_named():
    best = best_rates(frame({"gd": {1: {0.1: [9, 9, 9], 0.2: [5, 6, 50], 0.3: [7, 7, 7]}}}), ["heterogeneity"])
    assert best["lr"].tolist() == [0.2]
    assert best["at_edge"].tolist() == [""]
    for rate, edge in ((0.1, "low"), (0.3, "high")):
        steps = {lr: [1 if lr == rate else 9] * 3 for lr in (0.1, 0.2, 0.3)}
        assert best_rates(frame({"gd": {1: steps}}), [])["at_edge"].tolist() == [edge]


def test_a_run_that_diverged_after_hitting_does_not_count_as_solved():
    runs = frame({"gd": {1: {0.1: [90, 90], 0.2: [5, 5]}}}, statuses={("gd", 0.2): "diverged"})
    assert best_rates(runs, [])["lr"].tolist() == [0.1]


def test_where_no_rate_reaches_the_tolerance_the_smallest_final_gap_is_best():
    inf = np.inf
    runs = frame(
        {"gd": {1: {0.1: [inf, inf], 0.2: [inf, inf], 0.3: [inf, inf]}}},
        final={("gd", 0.1): 0.5, ("gd", 0.2): 0.1, ("gd", 0.3): np.inf},
    )
    row = best_rates(runs, []).iloc[0]
    assert (row["lr"], row["steps_median"], row["reached"]) == (0.2, inf, 0.0)


def test_bootstrap_interval_covers_and_is_reproducible():
    rng = np.random.default_rng(0)
    a, b = rng.lognormal(np.log(500), 0.3, 200), rng.lognormal(np.log(100), 0.3, 200)
    ratio, low, high = bootstrap_ratio(a, b)
    assert low < 5.0 < high
    assert low < ratio < high
    assert high - low < 1.0  # about 4 * 5 * 1.25 * .3 * sqrt(2/200)
    assert bootstrap_ratio(a, b) == (ratio, low, high)


def test_bootstrap_pairs_the_seeds():
    base = np.exp(np.random.default_rng(0).normal(size=50))
    assert bootstrap_ratio(3 * base, base) == pytest.approx((3.0, 3.0, 3.0))


def test_words_when_gd_wins_and_when_it_loses():
    text = words({
        "gd": {1: {0.1: [10] * 8}, 100: {0.1: [500] * 8}},
        "adam": {1: {0.1: [40] * 8}, 100: {0.1: [40] * 8}},
    })
    assert "gd needs 50 times the steps at 100 that it needs at 1 (95% bootstrap 50-50); adam 1.0" in text
    assert "At 1 gd needs the fewest steps (10), 4.0 times fewer than adam" in text
    assert "At 100 adam needs the fewest steps (40), 12 times fewer than gd" in text


def test_words_when_nothing_can_be_told():
    rng = np.random.default_rng(1)
    a, b = rng.permutation(np.arange(50, 150)), rng.permutation(np.arange(51, 151))
    assert "cannot be told from it" in words({"gd": {1: {0.1: a}}, "adam": {1: {0.1: b}}})


def test_words_when_the_tolerance_is_not_reached():
    inf = np.inf
    text = words({"gd": {1: {0.1: [10] * 4}, 9: {0.1: [inf] * 4}}, "adam": {1: {0.1: [inf] * 4}, 9: {0.1: [inf] * 4}}})
    assert "gd does not reach the tolerance within 1000 steps at 9; adam does not" in text
    assert "adam does not reach the tolerance within 1000 steps at 1 and 9" in text
    assert "At 1 gd needs the fewest steps (10); no other reaches the tolerance." in text
    assert "At 9 no optimizer reaches the tolerance within 1000 steps." in text
    assert "nan" not in text


def test_words_are_whole_also_where_the_first_optimizer_fails():
    inf = np.inf
    text = words({"gd": {1: {0.1: [10] * 4}, 9: {0.1: [inf] * 4}}, "adam": {1: {0.1: [10] * 4}, 9: {0.1: [20] * 4}}})
    assert "adam needs 2.0 times the steps at 9 that it needs at 1" in text
