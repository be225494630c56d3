"""How far a claim reaches: onsets with intervals, the law, the figure; and the same bits for any number of processes."""

import numpy as np
import pandas as pd
import pytest
from claims_cases import made_up
from matplotlib.backends.backend_agg import FigureCanvasAgg

from quadsim.theory.claims import CLAIMS, Cells, Found, Law, Reach, Setting, measured_median, reproduce
from quadsim.theory.claims.judging.reach import CURVES, ONSETS, onset_of, onsets
from quadsim.theory.claims.running import tasks

X = np.array([1.0, 10.0, 100.0, 1000.0])


def table(heights, seeds=40, noise=0.0, curve="it", seed=0):
    draw = np.random.default_rng(seed)
    frames = [
        pd.DataFrame({"curve": curve, "x": x, "seed": np.arange(seeds), "value": h * draw.lognormal(0, noise, seeds)})
        for x, h in zip(X, heights, strict=True)
    ]
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize(
    ("heights", "place"),
    [
        ([0, 1, 3, 9], 1.5),  # half-way between the decades 1 and 2
        ([0, 3, 1, 9], 2.125),  # the last crossing, from which on it stays
        ([5, 5, 5, 5], -np.inf),
        ([0, 1, 1, 1], np.inf),
        ([0, 1, np.inf, np.inf], 2.0),  # no height to interpolate with
        ([0, np.nan, 3, 9], 2.0),
    ],
)
def test_an_onset_is_where_the_curve_crosses_for_the_last_time(heights, place):
    assert onset_of(np.log10(X), np.array(heights, dtype=float), 2.0, up=True) == pytest.approx(place)
    falls = onset_of(np.log10(X), -np.array(heights, dtype=float), -2.0, up=False)
    assert falls == pytest.approx(place)


def onset(heights, height=2.0, side="above", log="x", **changes):
    (found,) = onsets(table(heights, **changes), height, side=side, log=log).to_dict("records")
    return found


def test_onsets_have_words_and_intervals():
    found = onsets(pd.concat([table([1, 1, 3, 9]), table([9, 9, 9, 9], curve="that")]), 2.0, side="above", log="x")
    assert found["curve"].tolist() == ["it", "that"]
    assert found["onset"][0] == pytest.approx(10**1.5)
    assert (found["low"][0], found["high"][0]) == (found["onset"][0], found["onset"][0])  # no noise
    assert found["text"].tolist() == ["above 2 from 31.6 on", "above 2 at all of the values tried, 1 to 1000"]
    noisy = onset([1, 1, 1.9, 2.1], noise=0.5)
    assert noisy["low"] < noisy["onset"] <= noisy["high"]
    assert f" [{noisy['low']:.3g}, beyond 1000] on" in noisy["text"]
    assert onset([0, 1, 3, 9], log="")["onset"] == pytest.approx(55)
    assert onset([0, 1, 4, 9], log="xy")["onset"] == pytest.approx(10**1.5)


@pytest.mark.parametrize(
    ("heights", "side", "text"),
    [
        ([9, 3, 3, 9], "above", "at all of the values tried, 1 to 1000"),
        (
            [9, 8, 5, 3],
            "above",
            "at all of the values tried, 1 to 1000",
        ),  # Planted fault: it was "beyond 1000", as the curve falls
        ([1, 1, 1, 1.5], "above", "at none of the values tried, 1 to 1000"),
        ([1.5, 1, 1, 1], "above", "at none of the values tried, 1 to 1000"),  # Planted fault: it was "below 1"
        ([2, 1, 1, 1], "above", "at none of the values tried, 1 to 1000"),  # Planted fault: it touches, and was "all"
        ([9, 3, 1, 1], "above", "up to 31.6"),
        ([9, 1, 3, 9], "above", "from 31.6 on"),
        ([9, 3, 1, 1], "below", "from 31.6 on"),
        ([1, 1, 3, 9], "below", "up to 31.6"),
        ([9, 8, 5, 3], "below", "at none of the values tried, 1 to 1000"),
        ([0.5, 0.6, 0.7, 0.8], "below", "at all of the values tried, 1 to 1000"),
    ],
)
def test_an_onset_says_on_which_side_the_effect_is(heights, side, text):
    assert onset(heights, side=side)["text"] == f"{side} 2 {text}"


def test_the_interval_of_an_onset_covers():
    """The median of lognormal heights crosses 2 at 10^1.5; 20 tables of 40 seeds."""
    covered = 0
    for seed in range(20):
        found = onset([1, 1, 4, 16], log="", noise=0.4, seed=seed)
        covered += found["low"] <= 10 + 90 / 3 <= found["high"]
    assert covered >= 15  # 19 expected, less four standard errors


def reach(**changes):
    arguments = {
        "variable": "x",
        "values": (1.0, 3.0, 10.0, 30.0, 100.0),
        "measure": lambda value, setting: {f"c = {c:g}": value**c * np.ones(5) for c in (0.5, 1.0)},
        "quantity": "y",
        "null": 1.0,
        "onset": 2.0,
        "law": Law("x^c", lambda x, curve: x ** float(curve[4:]), "made up"),
    }
    return Reach(**(arguments | changes))


def gathered(one, setting):
    return one.tables(pd.concat([one.frame(value, setting) for value in one.at(setting)], ignore_index=True))


def test_the_sizes_of_a_reach():
    one = reach()
    assert one.at(Setting("tiny")) == (1.0, 100.0)
    assert one.at(Setting("quick")) == (1.0, 10.0, 100.0)
    assert one.at(Setting("full")) == one.values
    with pytest.raises(
        ValueError, match=r"values of the reach over x must be two or more, ascending, got \(3, 1\); sort them"
    ):
        reach(values=(3, 1))
    with pytest.raises(
        ValueError, match="reach over x must have an onset to be drawn as a map across c, got None; name one"
    ):
        reach(across="c", onset=None)


@pytest.mark.parametrize("across", ["", "power c"])
def test_a_reach_is_drawn_from_its_tables_alone(across, tmp_path):
    one = reach(across=across)
    found = gathered(one, Setting("full"))
    for name in (CURVES, ONSETS):
        found[name].to_parquet(tmp_path / name)
    figure = one.draw({name: pd.read_parquet(tmp_path / name) for name in (CURVES, ONSETS)})
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert ("5.5" in texts) == bool(across)  # a number in a cell, 30^0.5
    assert len(figure.axes) == (2 if across else 1)
    labels = [line.get_linestyle() for line in figure.axes[0].lines]
    assert ("--" in labels) == (not across)
    data = one.to_json(found)
    assert (data["seeds"], data["law"], data["values"]) == (5, "x^c (made up)", list(one.values))
    assert [row["onset"] for row in data["onsets"]] == pytest.approx([4.0, 2.0])


def test_the_legend_of_a_reach_names_what_is_drawn_and_nothing_else():
    def legend(**changes):
        one = reach(law=None, **changes)
        figure = one.draw(gathered(one, Setting("full")))
        return [text.get_text() for text in figure.legends[0].get_texts()]

    lines = ["1: no effect", "2: threshold of the onset"]
    assert legend() == ["c = 0.5", "c = 1", *lines, "onset, 95% interval"]
    assert legend(onset=1e6) == ["c = 0.5", "c = 1", "1: no effect", "1e+06: threshold of the onset"]
    assert legend(onset=1.0) == ["c = 0.5", "c = 1", "1: no effect"]
    assert legend(onset=None, null_means="the bound") == ["c = 0.5", "c = 1", "1: the bound"]
    assert legend(null=None, onset_means="half") == ["c = 0.5", "c = 1", "2: half", "onset, 95% interval"]
    assert legend(across="power c") == ["onset"]
    assert legend(across="power c", onset=1e6) == ["beyond the last value"]


def test_an_effect_may_be_the_difference_to_the_first_value():
    one = reach(
        law=None, from_first=True, onset=6.0, log="x", measure=lambda value, setting: {"it": [value, value + 5]}
    )
    tables = gathered(one, Setting("full"))
    found = tables[CURVES].pivot(index="seed", columns="x", values="value")
    assert found.to_numpy().tolist() == [[0, 2, 9, 29, 99]] * 2
    again = one.tables(tables[CURVES])
    assert again[CURVES].equals(tables[CURVES])
    assert again[ONSETS].equals(tables[ONSETS])


def test_a_reach_without_an_onset_has_no_table_of_onsets():
    one = reach(onset=None)
    tables = gathered(one, Setting("full"))
    assert set(tables) == {CURVES}
    assert one.to_json(tables)["onsets"] == []


def test_seeds_without_a_value_leave_a_question_mark():
    one = reach(law=None, measure=lambda value, setting: {"it": [value, value, np.nan if value == 3 else value, value]})
    figure = one.draw(gathered(one, Setting("full")))
    (mark,) = [text for text in figure.axes[0].texts if text.get_text() == "?"]
    assert mark.xy == (3.0, 3.0)
    assert "some seeds without a value" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_logarithmic_axis_is_labelled_at_the_values_as_far_as_they_fit():
    one = reach(values=(0.25, 0.5, 1.0, 2.0, 2.1, 256.0))
    axis = one.draw(gathered(one, Setting("full"))).axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0.25", "0.5", "1", "2", "256"]
    assert not [label for label in axis.get_xticklabels(minor=True) if label.get_text()]


def test_lines_over_few_values_are_labelled_at_them():
    from quadsim.simulator.figures.table_figures import lines_figure

    def labels(values):
        table = pd.DataFrame({"x": values, "y": 1.0, "by": "it"})
        figure = lines_figure(table, x="x", y="y", by="by", xlabel="x", ylabel="y", title="")
        figure.canvas.draw()
        return [label.get_text() for which in (False, True) for label in figure.axes[0].get_xticklabels(minor=which)]

    assert labels([2.0, 8.0, 32.0]) == ["2", "8", "32"]
    assert labels([4.0]) == ["4"]
    assert "8" not in labels(np.arange(1.0, 33.0))


@pytest.mark.parametrize("heights", [(3.0, 3.0, 3.0, 3.0), (1.0, 2.0, 3.0, 4.0)])
def test_a_line_of_one_point_is_seen(heights):
    """Two panels of one x value each, at which bars round the limits of the data: the axes ended 1e-15 apart, outside the page."""
    from quadsim.simulator.figures.table_figures import lines_figure

    table = pd.DataFrame({"x": 4.0, "y": heights, "by": ["a", "b"] * 2, "panel": ["left", "left", "right", "right"]})
    figure = lines_figure(table, x="x", y="y", by="by", panel="panel", xlabel="x", ylabel="y", title="")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[::-1, :, :3]
    for axis in figure.axes:
        left, low, right, high = (round(end) for end in axis.get_window_extent().extents)
        inside = pixels[low:high, left:right].astype(int)
        assert np.sum(np.ptp(inside, axis=-1) > 100) > 30, "no coloured pixels of a marker"


def test_a_claim_with_a_reach_has_its_tables_figure_and_row(monkeypatch, tmp_path):
    from quadsim.simulator.figures.table_figures import points_figure

    def draw(found):
        return points_figure(found["t"].assign(by="a"), x="x", y="y", by="by", xlabel="x", ylabel="y", title="")

    monkeypatch.setitem(CLAIMS, "made-up", made_up([2.0] * 30, reach=reach(), draw=draw))
    (outcome,) = reproduce(["made-up"], size="full", out=tmp_path / "out")
    assert outcome.verdict == "shown"
    assert set(outcome.found.tables) == {"t", CURVES, ONSETS}
    assert {path.name for path in (tmp_path / "out/made-up").iterdir()} == {
        *(f"{name}.{suffix}" for name in ("figure", "reach") for suffix in ("png", "pdf")),
        *(f"{name}.parquet" for name in ("t", CURVES, ONSETS)),
    }
    row = outcome.to_json()
    assert row["reach"]["figure"] == "made-up/reach.png"
    assert [one["text"] for one in row["reach"]["onsets"]] == ["above 2 from 4 on", "above 2 from 2 on"]


def test_results_do_not_depend_on_the_order_in_which_tasks_finish(monkeypatch):
    cells = Cells(
        lambda setting: [1.0, 2.0, 4.0],
        lambda name, setting: pd.DataFrame({"x": [name], "y": [name]}),
        lambda frames, setting: Found(
            [measured_median("it", [float(f["y"].iloc[0]) for f in frames] * 10)], {"t": pd.concat(frames)}
        ),
    )
    monkeypatch.setitem(CLAIMS, "made-up", made_up(experiment=cells, reach=reach()))
    found = []
    usual = tasks._results
    for order in (1, -1):
        monkeypatch.setattr(tasks, "_results", lambda *given, order=order: iter([*usual(*given)][::order]))
        found += reproduce(["made-up"], size="quick")
    assert found[0].to_json() | {"seconds": 0} == found[1].to_json() | {"seconds": 0}
    for key, frame in found[0].found.tables.items():
        pd.testing.assert_frame_equal(frame, found[1].found.tables[key], check_exact=True)
    assert found[0].found.tables["t"]["x"].tolist() == [1.0, 2.0, 4.0]


def test_a_table_with_the_name_of_one_of_the_reach_is_refused(monkeypatch):
    claim = made_up(
        experiment=lambda setting: Found([measured_median("it", [2.0] * 30)], {CURVES: None}), reach=reach()
    )
    monkeypatch.setitem(CLAIMS, "made-up", claim)
    with pytest.raises(ValueError, match=r"tables of made-up must not be named \['reach'\], as those of its reach"):
        reproduce(["made-up"], size="tiny")


def test_the_same_bits_for_any_number_of_processes():
    """Cells, values of a reach, and whole experiments."""
    names = ("gd-lower-unsquared", "four-cases", "preconditioner")
    alone, shared = (
        {one.claim.id: one for one in reproduce(names, size="tiny", workers=workers)} for workers in (1, 2)
    )
    assert list(alone) == list(names)
    for name, one in alone.items():
        other = shared[name]
        assert one.judgement.reason == other.judgement.reason
        for ours, theirs in zip(one.found.measured, other.found.measured, strict=True):
            np.testing.assert_array_equal(ours.sample, theirs.sample)
        for key, frame in one.found.tables.items():
            pd.testing.assert_frame_equal(frame, other.found.tables[key], check_exact=True)
