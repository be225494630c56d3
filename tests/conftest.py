"""Shared by all tests."""

import pytest
import torch

pytest_plugins = ["pytester"]


@pytest.fixture
def one_thread():
    """Small operations of torch on several threads wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
