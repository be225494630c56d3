"""Figures of a sweep: the numbers beside them are those that are drawn, names keep their look, and texts fit."""

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle
from pyarrow import csv

from quadsim.simulator import RULES, ModelSweepConfig, SweepConfig, sweep
from quadsim.simulator.figures import panels as shared
from quadsim.simulator.figures.loss_figure import loss_figure, loss_table
from quadsim.simulator.figures.palette import optimizer_styles, styles_of
from quadsim.simulator.figures.rates_figure import rates_figure
from quadsim.simulator.figures.style import COLUMN, chosen_style, drawing
from quadsim.simulator.figures.sweep_figures import gap_figure, save_figures, steps_figure
from quadsim.simulator.figures.winner_figure import winner_figure
from quadsim.simulator.sweeps.results.answers.words import number_text
from quadsim.theory import judge

pytestmark = pytest.mark.usefixtures("full_figures")

OPTIMIZERS = ("gd", "signsgd", "adam:beta1=0", "heavy-ball", "adam")


@pytest.fixture(scope="module")
def crossed(tmp_path_factory):
    """A small sweep with all figures, in which some medians miss."""
    config = SweepConfig(
        heterogeneity=(2, 30),
        alignment=(1, -1),
        gradient_heterogeneity=(5,),
        blocks=(2,),
        block_size=(2,),
        optimizers=OPTIMIZERS,
        seeds=6,
        steps=150,
        lr=(0.003, 0.03, 0.1, 3.0),
    )
    results = sweep(config, judge, out=tmp_path_factory.mktemp("figures") / "crossed", present=None)
    save_figures(results, results.folder / "figures")
    return results


def stored(results, name):
    # pandas before 3.1 reads floats that may differ in the last digit.
    options = csv.ConvertOptions(strings_can_be_null=True)
    return csv.read_csv(results.folder / f"figures/{name}.csv", convert_options=options).to_pandas()


def panels_of(figure, table):
    """The axes of a figure with the rows of its table, by the title of the panel."""
    groups = dict(list(table.groupby("panel", sort=False)))
    found = [(axis, groups[axis.get_title().replace("\n", " ")]) for axis in figure.axes]
    assert len(found) == len(groups)
    return found


def drawn_points(axis, **look):
    """Points of all lines that look so, sorted."""
    lines = [line for line in axis.lines if all(mpl.artist.getp(line, name) == value for name, value in look.items())]
    points = np.concatenate([line.get_xydata() for line in lines]) if lines else np.empty((0, 2))
    return points[np.lexsort(points.T)]


def sorted_points(x, y):
    points = np.column_stack([x, y]).astype(float)
    return points[np.lexsort(points.T)]


def test_the_numbers_of_steps_are_those_drawn(crossed):
    table = stored(crossed, "steps")
    styles, missed = optimizer_styles(OPTIMIZERS), 0
    for axis, rows in panels_of(steps_figure(crossed), table):
        for text, own in rows.groupby("optimizer"):
            style = styles[text]
            points = drawn_points(axis, color=style["color"], marker=style["marker"])
            reached = np.isfinite(own["steps_median"])
            below = points[points[:, 1] <= 150]
            np.testing.assert_array_equal(below, sorted_points(own["drawn_at"][reached], own["steps_median"][reached]))
            assert len(points) - len(below) == (~reached).sum(), "medians that miss lie above the length of the runs"
            missed += (~reached).sum()
            assert (np.abs(own["drawn_at"] / own["heterogeneity"] - 1.0) < 0.05).all()
    assert 0 < missed < len(table)


def test_the_numbers_of_gaps_and_bounds_are_those_drawn(crossed):
    table = stored(crossed, "gap")
    styles = optimizer_styles(OPTIMIZERS)
    for axis, rows in panels_of(gap_figure(crossed), table):
        rows = rows[rows["step"] > 0]
        for text, own in rows.groupby("optimizer"):
            style = styles[text]
            curve = drawn_points(axis, color=style["color"], linestyle=_line(style), marker="")
            np.testing.assert_array_equal(curve, sorted_points(own["step"], own["median"]))
            bound = own[own["bound"].notna()]
            np.testing.assert_array_equal(
                drawn_points(axis, color=style["color"], linestyle="--"),
                sorted_points(bound["step"], bound["bound"]),
            )
            hit = own["steps_median"].iloc[0]
            marks = drawn_points(axis, color=style["color"], marker=style["marker"], fillstyle=style["fillstyle"])
            marks = marks[marks[:, 1] == 1e-6]  # without the open marker at the end of a curve that misses
            assert len(marks) == np.isfinite(hit)
            if np.isfinite(hit):
                np.testing.assert_array_equal(marks, [[hit, 1e-6]])
    bounded = table[table["bound"].notna()]
    assert set(bounded["optimizer"]) == {"gd"}
    assert (bounded["median"] <= bounded["bound"] * (1 + 1e-9)).all()


def _line(style):
    """What Matplotlib calls the line style: dashes of one's own are `--` to it."""
    return style["linestyle"] if isinstance(style["linestyle"], str) else "--"


def test_the_numbers_of_rates_are_those_drawn(crossed):
    table = stored(crossed, "rates")
    assert sorted(set(table["lr"])) == [0.003, 0.03, 0.1, 3.0]
    assert set(table["lr"][table["end"]]) == {0.003, 3.0}
    styles = optimizer_styles(OPTIMIZERS)
    for axis, rows in panels_of(rates_figure(crossed), table):
        for text, own in rows.groupby("optimizer"):
            style, reached = styles[text], np.isfinite(own["steps_median"])
            points = drawn_points(axis, color=style["color"], marker=style["marker"], linestyle="None")
            if text.startswith("adam"):
                continue  # two settings of one name: told apart by the half that is filled, which open ends do not have
            below = points[points[:, 1] <= 150]
            np.testing.assert_array_equal(below, sorted_points(own["lr"][reached], own["steps_median"][reached]))
            np.testing.assert_array_equal(np.sort(points[points[:, 1] > 150][:, 0]), np.sort(own["lr"][~reached]))
            marks = [
                line for line in axis.lines if line.get_color() == style["color"] and line.get_linestyle() == "None"
            ]
            opened = {x for line in marks if line.get_markerfacecolor() == "none" for x in line.get_xdata()}
            assert opened == {0.003, 3.0}


def test_the_numbers_of_winners_are_those_drawn(crossed):
    table = stored(crossed, "winner")
    assert len(table) == 8  # two families at four points
    assert table.groupby("row")["alignment"].unique().tolist() == [[-1], [1]]  # numbers ascend, however they were given
    best = crossed.best.set_index(["heterogeneity", "alignment", "optimizer"])["steps_median"]
    for axis, rows in panels_of(winner_figure(crossed), table):
        cells = {patch.get_xy(): patch for patch in axis.patches if isinstance(patch, Rectangle)}
        texts = {text.get_position(): text.get_text() for text in axis.texts}
        for cell in rows.to_dict("records"):
            patch = cells[cell["column"] - 0.5, cell["row"] - 0.5]
            text = texts[cell["column"], cell["row"]].replace("\n", " ")
            winners = [] if pd.isna(cell["winner"]) else cell["winner"].split(", ")
            assert (patch.get_hatch() is not None) == (bool(winners) and not cell["distinguishable"])
            assert all(name in text for name in winners)
            if cell["distinguishable"] and not cell["at_least"]:
                medians = [
                    best[cell["heterogeneity"], cell["alignment"], who] for who in (cell["next"], cell["winner"])
                ]
                assert cell["factor"] == medians[0] / medians[1]
                assert f"{number_text(cell['factor'])}x" in text


def test_an_optimizer_looks_the_same_whatever_else_is_swept():
    alone = {name: optimizer_styles([name])[name] for name in RULES}
    together = optimizer_styles(tuple(RULES))
    assert alone == together
    assert len({(style["color"], style["marker"]) for style in together.values()}) == len(RULES)
    # Frozen: these may never change.
    blue, orange, green = (
        optimizer_styles(["gd", "signsgd", "adam"])[name]["color"] for name in ("gd", "signsgd", "adam")
    )
    assert [mpl.colors.to_hex(color) for color in (blue, orange, green)] == ["#0173b2", "#de8f05", "#029e73"]
    assert optimizer_styles(["my-own"])["my-own"] == optimizer_styles(["gd", "my-own"])["my-own"]
    assert optimizer_styles(["my-own"])["my-own"]["marker"] not in {style["marker"] for style in together.values()}


def test_settings_of_one_name_share_the_colour_and_differ_in_the_line():
    texts = ("adam:beta1=0", "adam", "adam:beta1=0.5")
    styles = optimizer_styles(texts)
    assert list(styles) == list(texts)
    assert len({(style["color"], style["marker"]) for style in styles.values()}) == 1
    assert len({str(style["linestyle"]) for style in styles.values()}) == 3
    assert styles["adam"]["linestyle"] == "-"
    assert optimizer_styles(["adam:beta1=0"])["adam:beta1=0"] == styles["adam:beta1=0"]


def test_what_is_no_optimizer_never_looks_alike():
    names = ["pre", "post", "none", "a", "b", "c", "gd"]
    assert len({style["color"] for style in styles_of(names).values()}) == len(names)


@pytest.mark.parametrize("style", ["quadsim", "paper", "user"])
def test_no_text_is_cut_off(crossed, style):
    with chosen_style(style), mpl.rc_context({"xtick.labelsize": 16, "ytick.labelsize": 16} if style == "user" else {}):
        for make in (steps_figure, gap_figure, rates_figure, winner_figure):
            figure = make(crossed)
            with shared.drawing():
                figure.draw_without_rendering()
            width, height = figure.bbox.size
            texts = [text for axis in figure.axes for text in (axis.title, axis.xaxis.label, axis.yaxis.label)]
            texts += [*figure.texts, *figure.legends[0].get_texts()]
            for text in texts:
                box = text.get_window_extent()
                inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
                assert inside or not text.get_text(), (text.get_text(), box)
            shown = [label for axis in figure.axes for label in (axis.xaxis.label, axis.title) if label.get_text()]
            boxes = [label.get_window_extent() for label in shown]
            for k, box in enumerate(boxes):
                assert not any(box.overlaps(other) for other in boxes[:k]), shown[k]
            if style == "paper":
                assert figure.get_figwidth() == COLUMN


def test_long_texts_are_broken_where_they_may():
    text = "adam:beta1=0.9:beta2=0.99:eps=1e-08 (best of 12)"
    lines = shared.wrapped(text, 1.2, 8).split("\n")
    assert len(lines) > 1
    assert all(shared.text_width(line, 8) <= 1.2 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_more_than_eight_optimizers_are_drawn_by_family():
    names = tuple(RULES)[:20]
    parts = shared.parts_of(SweepConfig(optimizers=names))
    assert sorted(text for _, texts in parts for text in texts) == sorted(names)
    assert all(len(texts) <= 8 for _, texts in parts)
    assert shared.parts_of(SweepConfig(optimizers=names[:8])) == [("", list(names[:8]))]
    assert [words for words, _ in shared.parts_of(SweepConfig(optimizers=names[:8]), by_family=True)] == [
        "without momentum",
        "with momentum",
    ]


def test_a_paper_has_pgf_only_where_latex_measures_its_texts(crossed, tmp_path, monkeypatch):
    monkeypatch.setattr(shared.shutil, "which", lambda name: None)
    with chosen_style("paper"):
        figure = steps_figure(crossed)
        shared.save_figure(figure, tmp_path, "steps")
        assert {path.suffix for path in tmp_path.iterdir()} == {".png", ".pdf"}
        asked = []
        monkeypatch.setattr(shared.shutil, "which", lambda name: name)
        monkeypatch.setattr(figure, "savefig", lambda path, backend, **options: (asked.append(backend), path.touch()))
        shared.save_figure(figure, tmp_path, "steps")
    assert asked == [None, "pdf", "pgf"]


@pytest.mark.parametrize("autolayout", [False, True], ids=["", "user-autolayout"])
def test_a_figure_is_laid_out_once_and_drawn_once_a_file(crossed, tmp_path, monkeypatch, autolayout):
    """Also where the user's settings name a layout of their own, with which a figure would be drawn twice for each file."""
    calls = []
    draw, execute = mpl.figure.Figure.draw, mpl.layout_engine.ConstrainedLayoutEngine.execute
    monkeypatch.setattr(mpl.figure.Figure, "draw", lambda self, *a: (calls.append("drawn"), draw(self, *a))[1])
    monkeypatch.setattr(
        mpl.layout_engine.ConstrainedLayoutEngine,
        "execute",
        lambda self, *a: (calls.append("laid out"), execute(self, *a))[1],
    )
    with mpl.rc_context({"figure.autolayout": autolayout}), chosen_style("user" if autolayout else "quadsim"):
        shared.save_figure(steps_figure(crossed), tmp_path, "steps")
    assert calls == ["laid out", "drawn", "drawn"]


@pytest.mark.parametrize("style", ["quadsim", "user"])
def test_fixed_axes_look_as_matplotlib_draws_them(tmp_path, style):
    """A user may have ticks on all sides; limits between ticks, a turned label and offsets of numbers are drawn as they are."""

    def made():
        figure, axes = shared.panels(2)
        for axis in axes:
            axis.loglog([2e-5, 3.0, 40.0], [1.5, 300.0, 7e5], "o-")
            axis.set(xlabel="rate", ylabel="steps until $10^{-6}$", title="panel")
        axes[1].set_xscale("linear")
        axes[1].ticklabel_format(axis="x", useOffset=1000.0)
        shared.finish(figure, axes, axes[0].lines, "title")
        return figure

    sides = {
        "xtick.top": True,
        "ytick.right": True,
        "ytick.minor.right": True,
        "axes.grid": True,
        "savefig.dpi": shared.DPI,
    }
    with mpl.rc_context(sides), chosen_style(style):
        with drawing():
            fixed = made()
        shared.save_figure(fixed, tmp_path, "fixed")
        with drawing():
            plain = made()
            plain.dpi = shared.DPI
            plain.get_layout_engine().execute(plain)
            plain.set_layout_engine(None)
            plain.savefig(tmp_path / "plain.png", dpi=shared.DPI, backend="agg")
    assert (tmp_path / "fixed.pdf").stat().st_size > 5000
    fixed, plain = (mpl.image.imread(tmp_path / f"{name}.png") for name in ("fixed", "plain"))
    np.testing.assert_array_equal(fixed, plain)


def test_lines_of_a_text_are_of_about_equal_length():
    """A label that is a little too long does not leave its last word alone."""
    text = "Hessian heterogeneity (max L / min L over blocks)"
    assert shared.balanced(text, 3.0, 10).split("\n") == ["Hessian heterogeneity", "(max L / min L over blocks)"]
    first, second = shared.balanced(text.strip(")"), 3.0, 10).split("\n")
    assert len(second) > len(first) / 2
    assert f"{first} {second})" == text
    assert shared.balanced(text, 9.0, 10) == text


def test_two_dials_are_a_map_where_the_heterogeneity_has_one_value():
    small = {"blocks": (2,), "block_size": (2,), "gradient_heterogeneity": (5,), "seeds": 1, "steps": 3, "lr": (0.1,)}
    config = SweepConfig(heterogeneity=(3,), alignment=(1, -1), rotation=(1, 0), optimizers=("gd", "signsgd"), **small)
    results = sweep(config)
    assert "winner" in results.figures
    (axis,) = winner_figure(results).axes
    sides = [axis.xaxis, axis.yaxis]
    assert {side.get_label_text(): [text.get_text() for text in side.get_ticklabels()] for side in sides} == {
        "alignment": ["-1", "1"],
        "rotation": ["0", "1"],
    }
    assert "winner" not in sweep(replace(config, rotation=(1,))).figures


def test_the_legend_of_the_heat_map_names_optimizers_that_win_alone(crossed):
    """One that only ties has no cell in its colour."""
    table = winner_figure.table(crossed)
    table["winner"] = ["gd"] * 4 + ["heavy-ball, adam"] * 4
    table["distinguishable"] = [True] * 4 + [False] * 4
    table["factor"], table["at_least"] = 157.6, False
    drawn = winner_figure.draw(crossed, table)
    assert {text.get_text() for axis in drawn.axes[:1] for text in axis.texts} == {"gd\n158x"}  # not 1.6e+02x
    (legend,) = drawn.legends
    assert [text.get_text() for text in legend.get_texts()] == ["gd", "not distinguishable"]


@pytest.mark.parametrize(
    "dials", [{"heterogeneity": (3,)}, {"case": ("homogeneous", "cnn-like"), "steps": 40_000}], ids=str
)
def test_a_bound_of_one_point_alone_is_dashed_as_in_the_legend(dials):
    config = SweepConfig(**{"seeds": 2, "steps": 500, "optimizers": ("gd",), **dials})
    results = sweep(config, judge, present=None)
    (axis,) = steps_figure(results).axes
    (bound,) = [line for line in axis.lines if line.get_ydata()[0] == results.best["bound_median"].iloc[0]]
    dashes = bound.get_marker().vertices[:, 0]
    assert bound.get_linestyle() == "None"
    assert len(dashes) == 4, "two pieces"
    assert dashes[1] < dashes[2], "with a gap between them"


@pytest.mark.parametrize("style", ["quadsim", "paper"])
def test_words_of_the_band_stand_above_the_rates_in_it(style):
    grid = {"seeds": 1, "steps": 300, "optimizers": tuple(RULES)[:8], "lr": (1e-4, 0.1, 1e3)}
    results = sweep(SweepConfig(heterogeneity=(1, 10, 100), **grid), present=None)
    with chosen_style(style):
        figure = rates_figure(results)
        with shared.drawing():
            figure.draw_without_rendering()
        for axis in figure.axes:
            (words,) = axis.texts
            low = words.get_window_extent().y0
            for line in (line for line in axis.lines if line.get_linestyle() == "None"):
                for x, y in line.get_xydata():
                    if y > results.config.steps:
                        height = axis.transData.transform((x, y))[1] + line.get_markersize() / 2 * figure.dpi / 72
                        assert height <= low + 1.0, line


def test_the_labels_of_steps_in_a_paper_do_not_touch_themselves(crossed):
    with chosen_style("paper"):
        labels = [axis.yaxis.label for axis in steps_figure(crossed).axes if axis.get_ylabel()]
    assert labels
    assert all("$" not in label.get_text() or label._linespacing > 1.2 for label in labels)


def test_learning_curves_mark_the_steps_until_the_target():
    grid = {"model": "mlp", "task": "token-map:vocabulary=6", "width": 4, "layers": 1, "heterogeneity": 1, "seeds": 2}
    results = sweep(ModelSweepConfig(**grid, steps=60, optimizers=("gd", "adam"), lr=(1e-4, 0.1)), present=None)
    table = loss_table(results)
    (axis,) = loss_figure(results).axes
    medians = {row["optimizer"]: row["steps_median"] for row in results.best.to_dict("records")}
    assert np.isfinite(medians["adam"])
    assert np.isinf(medians["gd"])
    for text, own in table.groupby("optimizer"):
        assert set(own["steps_median"]) == {medians[text]}
        style = optimizer_styles(("gd", "adam"))[text]
        curve = drawn_points(axis, color=style["color"], linestyle=_line(style), marker="")
        np.testing.assert_array_equal(curve, sorted_points(own["step"], own["median"]))
        (mark,) = drawn_points(axis, color=style["color"], marker=style["marker"])
        end = own[["step", "median"]].iloc[-1]
        np.testing.assert_array_equal(mark, [medians[text], 0.1] if text == "adam" else end)
    assert axis.get_xlim()[1] >= medians["adam"]


@pytest.mark.parametrize(
    ("dials", "columns"),
    [
        ({"heterogeneity": (1, 10), "batch": (1, 8, 64, "full")}, 4),
        ({"heterogeneity": (1, 3, 10), "condition_number": (20, 50)}, 3),
        ({"heterogeneity": (1, 2, 3, 4, 5), "condition_number": (20, 50)}, 3),  # too many for one row: as many as fit
        ({"heterogeneity": (1, 10)}, 2),
    ],
)
def test_a_row_of_panels_is_one_value_of_the_other_dials(tmp_path, dials, columns):
    config = SweepConfig(**dials, blocks=(2,), block_size=(2,), optimizers=("gd",), seeds=2, steps=20, lr=(0.1,))
    results = sweep(config, out=tmp_path / "s", present=None)
    for draw in (gap_figure, rates_figure):
        assert draw(results).axes[0].get_subplotspec().get_gridspec().ncols == columns
