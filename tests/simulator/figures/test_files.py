"""Fonts and labels of figures as files."""

import numpy as np
import pytest
from matplotlib.backends import _backend_pdf_ps as backend
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation

from quadsim.simulator.figures import panels as shared
from quadsim.simulator.figures.files import pdf_fonts
from quadsim.simulator.figures.style import chosen_style

pytestmark = pytest.mark.usefixtures("full_figures")
kept = pytest.mark.skipif(not hasattr(backend, "SubsetResults"), reason="Matplotlib reduces fonts in another way")


def written(folder, text):
    """The PDF file of a figure with a text."""
    figure = Figure(figsize=(2, 1))
    figure.text(0.1, 0.1, text)
    shared.save_figure(figure, folder, "it")
    return (folder / "it.pdf").read_bytes()


@pytest.fixture
def reduced(monkeypatch, tmp_path):
    """A new cache, and how many glyphs each font was reduced to."""
    numbers, reduce = [], backend.get_glyphs_subset
    monkeypatch.setenv("QUADSIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pdf_fonts, "_known", {})
    monkeypatch.setattr(
        backend, "get_glyphs_subset", lambda file, glyphs: (numbers.append(len(glyphs)), reduce(file, glyphs))[1]
    )
    return numbers


@kept
def test_a_font_is_reduced_once_for_all_figures_and_processes(reduced, monkeypatch, tmp_path):
    first = written(tmp_path, "steps 10⁻³")
    written(tmp_path, "other words: 10²")
    assert [number > 90 for number in reduced] == [True, False]  # letters, and raised digits
    monkeypatch.setattr(pdf_fonts, "_known", {})  # as in another process
    assert written(tmp_path, "steps 10⁻³") == first
    assert len(reduced) == 2


@kept
def test_signs_beyond_the_alphabet_are_embedded_as_matplotlib_does(reduced, tmp_path):
    written(tmp_path, "Жж")
    assert reduced == [2]


def test_what_is_replaced_while_a_file_is_written_is_put_back(tmp_path):
    before = backend.get_glyphs_subset, backend.font_as_file
    written(tmp_path, "steps")
    assert (backend.get_glyphs_subset, backend.font_as_file) == before


@pytest.mark.parametrize(("style", "raised"), [("quadsim", True), ("user", False), ("paper", False)])
def test_powers_are_text_in_the_own_style_alone(style, raised):
    with chosen_style(style):
        figure, (axes,) = shared.panels(1)
        axes.loglog([1e-3, 1e6], [1e-12, 1.0])
        shared.finish(figure, [axes], [], "")
        assert (shared.power_text(-6) == "10⁻⁶") is raised
    found = axes.xaxis.get_major_formatter().format_ticks(np.array([1e-3, 1.0, 1e4]))
    assert found == ["10⁻³", "10⁰", "10⁴"] if raised else all(label.startswith("$") for label in found)


@pytest.mark.parametrize(
    ("value", "label"), [(1e-12, "10⁻¹²"), (1.0, "10⁰"), (1e5, "10⁵"), (2e-3, "2\u00d710⁻³"), (-10.0, "\u221210¹")]
)
def test_a_label_says_what_matplotlib_says(value, label):
    theirs, ours = LogFormatterSciNotation(), shared._Powers()
    for one in (theirs, ours):
        one.create_dummy_axis()
        one.axis.set_view_interval(1.5, 8.0)
        one.set_locs(np.array([2.0, 5.0]))
    assert theirs(value).startswith("$")
    assert ours(value) == label
