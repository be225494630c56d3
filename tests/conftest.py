"""Shared by all tests."""

import gc
import shutil
from pathlib import Path

import pytest
import torch

from quadsim.cli.drawing import GARBAGE

pytest_plugins = ["pytester"]

MEASURED_SLOW = frozenset((Path(__file__).parent / "slow.txt").read_text(encoding="utf-8").splitlines()[2:])
"""Tests that are slow by measurement: those above four seconds, and of a table of cases those beyond its first seconds."""


def pytest_ignore_collect(collection_path, config):
    """With `-m quick`, leave out the files without such a test: to read all of them takes as long as the quick tests."""
    if config.option.markexpr != "quick" or collection_path.suffix != ".py":
        return None
    return None if "mark.quick" in collection_path.read_text(encoding="utf-8") else True


def pytest_configure():
    gc.set_threshold(GARBAGE)  # as a command does: looking for cycles takes a fifth of the time of imports


def pytest_collection_finish():
    gc.freeze()  # modules and tests stay to the end


@pytest.hookimpl(tryfirst=True)  # before the markers are read
def pytest_collection_modifyitems(items):
    for item in items:
        if item.nodeid in MEASURED_SLOW:
            item.add_marker(pytest.mark.slow)


_FIGURES = pytest.MonkeyPatch()


def _draw_figures(*, in_full):
    """Coarse ones, and unless they are drawn in full, without a layout and with an empty PDF file."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from quadsim.simulator.figures import panels

    def without_layout(figure, _):
        with mpl.rc_context(panels._NO_LAYOUT):
            figure.set_layout_engine(None)

    def but_pdf(figure, path, **options):
        if options.get("backend") == "pdf":
            path.write_bytes(b"%PDF-1.4\n%%EOF\n")
        else:
            saved(figure, path, **options)

    _FIGURES.undo()
    _FIGURES.setattr(panels, "DPI", 60)
    if not in_full:
        saved = Figure.savefig
        _FIGURES.setattr(panels, "_lay_out", without_layout)
        _FIGURES.setattr(Figure, "savefig", but_pdf)


@pytest.fixture(autouse=True, scope="session")
def plain_figures():
    """Nobody looks at the figures of most tests, and drawn in full they would be a good part of the time."""
    _draw_figures(in_full=False)
    yield
    _FIGURES.undo()


@pytest.fixture(scope="module")
def full_figures():
    """Figures are drawn in full in a module that uses this fixture."""
    _draw_figures(in_full=True)
    yield
    _draw_figures(in_full=False)


@pytest.fixture(autouse=True)
def any_width(monkeypatch):
    """Tables keep to COLUMNS, which pytest's workers set; a test that wants a width says so."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def one_thread():
    """Small operations of torch on several threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_BROWSER_OPTIONS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium that Playwright drives; without one of the two a test is skipped with the reason."""
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        pytest.skip(f"no browser here ({', '.join(_BROWSERS)}); install Chromium to run these tests")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra browser (playwright)")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=list(_BROWSER_OPTIONS))
        yield started
        started.close()
