"""Shared by all tests."""

import pytest
import torch

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True, scope="session")
def coarse_figures():
    """Nobody looks at the figures of tests, and at full size they are a good part of the time."""
    from quadsim.simulator.figures import panels as figures

    fine, figures.DPI = figures.DPI, 60
    yield
    figures.DPI = fine


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
