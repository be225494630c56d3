"""Quantiles, best rates, bootstrap and the words, on made-up runs."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quadsim.simulator import SweepConfig
from quadsim.simulator.support.statistics import effective_steps, middle_95, quantile, resampled_medians
from quadsim.simulator.sweeps.config.grid import value_text
from quadsim.simulator.sweeps.results.answers.answer import answer
from quadsim.simulator.sweeps.results.comparison import Comparison, Group, draws_of_rows
from quadsim.simulator.sweeps.results.crossover import crossover
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


def sentences(steps, further=None, **options):
    """The answer to made-up runs, steps[optimizer][heterogeneity] -> list over seeds; `further` as well, at another value of a dial."""
    groups = []
    for label, each in {"rotation 0" if further else "": steps, **({"rotation 1": further} if further else {})}.items():
        config, comparison = compared(each, **options)
        groups.append(Group(label, comparison))
    found = answer(config, groups)
    assert len(found) <= 5
    assert not any(word in " ".join(found) for word in ("nan", "inf ", "inf)", "inf-", "1.0 times", "1.0x"))
    return found


def compared(steps, **options):
    """The grid of made-up runs, and their comparison."""
    runs = frame({name: {c: {0.1: each} for c, each in values.items()} for name, values in steps.items()}, **options)
    best = best_rates(runs, ["heterogeneity"])
    points = tuple(float(c) for c in next(iter(steps.values())))
    config = SweepConfig(heterogeneity=points, optimizers=tuple(steps), seeds=runs["seed"].nunique(), steps=1000)
    drawn = draws_of_rows({
        (int(p), str(name)): effective_steps(own) for (p, name), own in runs.groupby(["point", "optimizer"])
    })
    return config, Comparison(best.to_dict("records"), "heterogeneity", config.seeds, config.steps, drawn)


def ratio_of(a, b):
    return middle_95(resampled_medians(a) / resampled_medians(b))


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


def test_the_best_setting_is_chosen_like_the_rate_and_its_rates_alone_make_an_edge():
    runs = pd.concat([
        frame({"a": {1: {0.1: [9, 9], 0.2: [8, 8], 0.4: [9, 9]}}}).assign(setting="first"),
        frame({"a": {1: {0.3: [5, 5], 0.5: [7, 7], 0.6: [8, 8]}}}).assign(setting="second"),
    ])
    row = best_rates(runs, []).iloc[0]
    assert (row["setting"], row["lr"], row["steps_median"], row["at_edge"]) == ("second", 0.3, 5.0, "low")
    assert (row["settings_tried"], row["rates_tried"]) == (2, 3)
    tie = runs.assign(steps_to_tolerance=4.0)
    assert best_rates(tie, []).iloc[0][["setting", "lr"]].tolist() == ["first", 0.1]


def test_bootstrap_interval_covers_and_is_reproducible():
    rng = np.random.default_rng(0)
    a, b = rng.lognormal(np.log(500), 0.3, 200), rng.lognormal(np.log(100), 0.3, 200)
    low, high = ratio_of(a, b)
    assert low < 5.0 < high
    assert high - low < 1.0  # about 4 * 5 * 1.25 * .3 * sqrt(2/200)
    assert ratio_of(a, b) == (low, high)


def test_bootstrap_pairs_the_seeds():
    base = np.exp(np.random.default_rng(0).normal(size=50))
    assert ratio_of(3 * base, base) == pytest.approx((3.0, 3.0))


def test_words_compare_within_families_and_say_what_momentum_alone_does():
    found = sentences({
        "gd": {1: [10] * 8, 100: [500] * 8},
        "adam:beta1=0": {1: [40] * 8, 100: [40] * 8},
        "heavy-ball": {1: [20] * 8, 100: [21] * 8},
        "adam": {1: [20] * 8, 100: [20] * 8},
    })
    assert found == [
        "From heterogeneity 1 to 100, steps grow 50x for gd (95% CI 50-50); those of the others grow by less than 10%.",
        "Without momentum, gd is ahead at heterogeneity 1 (4.0x fewer steps than adam:beta1=0) and adam:beta1=0 is ahead at "
        "100 (12x fewer steps than gd); they cross at 5.1 (95% CI 5.1-5.1).",
        "With momentum, heavy-ball and adam tie at every heterogeneity.",
        "Momentum alone: heavy-ball needs 2.0x more steps than gd at 1 and 24x fewer steps at 100; adam 2.0x fewer steps than "
        "adam:beta1=0 at 1 and at 100.",
        "Medians over 8 problems.",
    ]  # they cross where 10 c ** (log 50 / log 100) = 40, at c = 5.11


def test_words_on_growth_name_the_values_where_they_are_others_than_those_of_the_largest():
    """GD gives up after 10, the others go on to 100: their growth is not one from 1 to 10."""
    inf = np.inf
    gd, adam = {1: [10] * 8, 10: [100] * 8, 100: [inf] * 8}, {1: [40] * 8, 10: [40] * 8, 100: [80] * 8}
    sign, lost = {1: [50] * 8, 10: [50] * 8, 100: [50] * 8}, {1: [40] * 8, 10: [inf] * 8, 100: [inf] * 8}
    first = "From heterogeneity 1 to 10, steps grow 10x for gd (95% CI 10-10), which does not reach the tolerance within 1000 "
    first += "steps beyond; those of "
    assert sentences({"gd": gd, "adam:beta1=0": adam})[0] == f"{first}adam:beta1=0 grow 2.0x from 1 to 100."
    runs = {"gd": gd, "adam:beta1=0": adam, "signsgd": sign}
    assert sentences(runs)[0] == f"{first}the others grow at most 2.0x (adam:beta1=0, from 1 to 100)."
    told = sentences({**runs, "rmsprop": lost})[0]
    assert told == f"{first}the others that reach it everywhere grow at most 2.0x (adam:beta1=0, from 1 to 100)."


def test_words_count_one_more_as_one():
    inf = np.inf
    some = {1: [10] * 7 + [inf], 9: [10] * 8}
    found = sentences(dict.fromkeys(("gd", "signsgd", "rmsprop", "block-gd"), some))[-1]
    assert found.endswith("of the problems (and 1 more optimizer).")


def test_words_on_momentum_say_the_same_once():
    same = {1: [10] * 8, 9: [10] * 8}
    found = sentences({"signsgd": same, "signum": same, "gd": same, "heavy-ball": same})
    assert found[-2] == (
        "Momentum alone: signum needs about as many steps as signsgd at 1 and at 9; heavy-ball about as many steps as gd at 1 and at 9."
    )


def test_words_where_a_tie_ends():
    found = sentences({
        "gd": {1: [100] * 8, 10: [100] * 8, 100: [400] * 8},
        "signsgd": {1: [100] * 8, 10: [98] * 8, 100: [100] * 8},
    })
    assert found[1] == (
        "gd and signsgd tie up to heterogeneity 10 and signsgd is ahead at 100 (4.0x fewer steps than gd); they part at 11 "
        "(95% CI 11-11)."
    )


def test_words_of_unlike_optimizers_say_so():
    found = sentences({"gd": {1: [10] * 8, 9: [99] * 8}, "adam": {1: [40] * 8, 9: [40] * 8}})
    assert found[1].startswith("Unlike with unlike (gd without momentum and adam with momentum): gd is ahead at")


def test_words_when_nothing_can_be_told():
    rng = np.random.default_rng(1)
    a, b = rng.permutation(np.arange(50, 150)), rng.permutation(np.arange(60, 160))
    found = sentences({"gd": {1: a}, "signsgd": {1: b}})
    assert found[0].startswith("gd is ahead at 1 (1.1x fewer steps than signsgd)")
    assert "not certain (the 95% interval contains 1): gd over signsgd at 1" in found[-1]


def test_words_give_no_interval_of_few_seeds():
    for seeds in (1, 5):
        found = sentences({"gd": {1: [10] * seeds, 9: [90] * seeds}, "signsgd": {1: [40] * seeds, 9: [40] * seeds}})
        assert "CI" not in " ".join(found)
        assert "too few for intervals" in found[-1]
        assert "they cross near 4.0" in found[1]
    assert "One problem" in sentences({"gd": {1: [10], 9: [90]}})[-1]


def test_words_when_the_tolerance_is_not_reached():
    inf = np.inf
    found = sentences({"gd": {1: [10] * 8, 9: [inf] * 8}, "signsgd": {1: [inf] * 8, 9: [inf] * 8}})
    assert found[0] == "gd reaches the tolerance within 1000 steps at 1 alone."
    assert "gd is ahead at heterogeneity 1 (over 100x fewer steps than signsgd) and no optimizer reaches" in found[1]
    never = {"gd": {1: [inf] * 8}, "signsgd": {1: [inf] * 8}}
    assert sentences(never, final={("gd", 0.1): 0.5, ("signsgd", 0.1): 0.25}) == [
        "No optimizer reaches the tolerance within 1000 steps on half of the problems of any point; the lowest gap at the end "
        "is that of signsgd (0.25 of the start, median)."
    ]


def test_words_where_the_lead_changes_often_are_counted():
    values = {c: ([10] * 8, [20] * 8)[i % 2] for i, c in enumerate((1, 2, 4, 8, 16, 32))}
    found = sentences({"gd": values, "signsgd": {c: [15] * 8 for c in values}})
    assert found[1] == "gd leads at 3 and signsgd leads at 3 of 6 points; the largest lead is that of gd by 1.5x at 4."


def test_words_count_no_tie_as_a_lead():
    """At 1 both need far fewer steps than a third, which is no lead of either."""
    wins = {1: [10, 10, 90], 2: [20, 10, 90], 4: [10, 10, 90], 8: [20, 10, 90], 16: [10, 10, 90], 32: [20, 10, 90]}
    names = ("gd", "signsgd", "adam:beta1=0")
    found = sentences({name: {c: [steps[i]] * 8 for c, steps in wins.items()} for i, name in enumerate(names)})
    assert found[1] == (
        "gd and signsgd tie at 3 and signsgd leads at 3 of 6 points; the largest lead is that of signsgd by 2.0x at 8."
    )


def test_words_over_two_dials_compare_optimizers_and_name_every_place():
    inf = np.inf
    axes = {"gd": {1: [5] * 8, 100: [300] * 8}, "adam:beta1=0": {1: [420] * 8, 100: [290] * 8}}
    turned = {"gd": {1: [5] * 8, 100: [inf] * 8}, "adam:beta1=0": {1: [800] * 8, 100: [inf] * 8}}
    found = sentences(axes, further=turned)
    assert found[0].endswith("; those of adam:beta1=0 grow by less than 10%.")  # not those of gd at another rotation
    assert found[1] == (
        "gd leads at 2, gd and adam:beta1=0 tie at 1 and no optimizer reaches the tolerance at 1 of 4 points; the largest lead is "
        "that of gd by 160x at heterogeneity 1, rotation 1."
    )
    assert "gd on up to 100% and adam:beta1=0 on up to 100% of the problems" in found[-1]
    slower = {"gd": {1: [5] * 8, 100: [250] * 8}, "adam:beta1=0": {1: [100] * 8, 100: [300] * 8}}
    assert "; those of adam:beta1=0 grow at most 3.0x (rotation 1)." in sentences(axes, further=slower)[0]


def test_values_of_dials_are_written_as_a_user_writes_them():
    """A column holds 0.0 and 1.0 where 0.5 was added to 0 and 1, of NumPy or not; no two values get one text."""
    values = [0, 1.0, np.float64(0.5), np.int64(3), 1e6, 1e30, 0.1, 1000001.0, "scale"]
    assert [value_text(value) for value in values] == [
        "0",
        "1",
        "0.5",
        "3",
        "1000000",
        "1e+30",
        "0.1",
        "1000001",
        "scale",
    ]


def planted(rng, seeds, cross, spread, slope=1.0):
    """Steps of two optimizers on the same problems, which cross at a heterogeneity."""
    grid = np.array([1.0, 10.0, 100.0, 1000.0])
    problems = rng.lognormal(0.0, spread, (seeds, 1))
    own = rng.lognormal(0.0, spread / 2, (2, seeds, grid.size))
    first, second = 300 * (grid / cross) ** slope * problems * own[0], 300 * problems * own[1]
    drawn = tuple(np.array([resampled_medians(each[:, i]) for i in range(grid.size)]) for each in (first, second))
    return crossover(grid, np.median(first, axis=0), np.median(second, axis=0), drawn, 1e9)


def test_a_planted_crossover_is_found_within_its_interval():
    rng = np.random.default_rng(3)
    found = [planted(rng, 16, 30.0, 0.3) for _ in range(40)]
    assert {each.outcome for each in found} == {"found"}
    assert np.mean([each.low <= 30.0 <= each.high for each in found]) >= 0.85  # 95%, less four standard errors of 40
    assert np.median([each.at for each in found]) == pytest.approx(30.0, rel=0.1)
    assert np.median([each.high / each.low for each in found]) < 2.0


def test_a_crossover_outside_the_grid_and_none_are_named():
    rng = np.random.default_rng(4)
    null = [planted(rng, 16, 30.0, 0.3, slope=0.0).outcome for _ in range(40)]
    assert null.count("not distinguishable") > 15
    assert planted(rng, 16, 1e9, 0.3).outcome == "no crossover in the grid"
    assert planted(rng, 16, 1e-9, 0.3) == crossover([1.0, 2.0], [9.0, 9.0], [1.0, 1.0], ([[9.0]] * 2, [[1.0]] * 2), 99)
    near = crossover([1.0, 10.0], [1.0, 9.5], [10.0, 10.0], ([[1.0] * 4, [9.0, 9.0, 11.0, 11.0]], [[10.0] * 4] * 2), 99)
    assert (near.outcome, near.at) == ("beyond the grid", np.inf)


def test_a_crossover_is_interpolated_in_logarithms_and_unreached_steps_count_as_the_length_of_the_run():
    inf = np.inf
    assert crossover([1, 100], [10, 1000], [100, 100], None, 1e4).at == pytest.approx(10.0)
    assert crossover([1, 100], [10, inf], [100, 100], None, 1000).at == pytest.approx(10.0)
    assert crossover([1, 100], [10, 1000], [100, 100], None, 1e4, factor=10.0).at == inf
    assert crossover([1, 10, 100], [9, 1, 9], [3, 3, 3], None, 1e4).at == pytest.approx(
        10 ** (1 + np.log(3) / np.log(9))
    )


def test_words_call_every_comparison_uncertain_that_is():
    """Half of the problems stop adam:beta1=0: by its median it is far behind gd, by its interval it may be ahead of it."""
    inf = np.inf
    half = {1: [400] * 8, 100: [400] * 4 + [inf] * 4}
    runs = {"gd": {1: [10] * 8, 100: [450] * 8}, "signsgd": {1: [700] * 8, 100: [600] * 8}, "adam:beta1=0": half}
    assert "; not certain (the 95% interval contains 1): gd over adam:beta1=0 at 100; not solved" in sentences(runs)[-1]
    # Of two values that differ by noise alone, momentum is not said to change anything for certain.
    noisy = {1: [100, 120, 90, 80, 130, 70, 60, 150], 9: [100, 120, 90, 80, 130, 70, 60, 150]}
    slower = {1: [200, 125, 70, 190, 100, 60, 210, 90], 9: [200, 125, 70, 190, 100, 60, 210, 90]}
    found = sentences({"signsgd": noisy, "signum": slower, "gd": noisy, "heavy-ball": noisy})
    assert "Momentum alone: signum needs 1.2x more steps than signsgd at 1 and at 9" in found[-2]
    assert "not certain (the 95% interval contains 1): " in found[-1]
    assert "signsgd over signum at 1 and 9" in found[-1]


def test_words_on_cases_where_the_tolerance_is_not_reached_name_who_does_not():
    cases, steps = ("homogeneous", "cnn-like", "heterogeneous"), (10.0, 80.0, np.inf)
    config = SweepConfig(case=cases, optimizers=("gd",), seeds=8, steps=1000)
    rows = [
        {"point": p, "case": cases[p], "optimizer": "gd", "steps_median": steps[p], "reached": 1.0} for p in range(3)
    ]
    comparison = Comparison(rows, "case", 8, 1000, lambda key: np.full(4000, steps[key[0]]))
    told = answer(config, [Group("", comparison)])[0]
    assert told.startswith("Steps differ most for gd, 8.0x more on cnn-like than on homogeneous")
    assert told.endswith("; on some cases it does not reach the tolerance within 1000 steps.")
