"""The pytest fixture `assert_bound`; pytest finds it once the package is installed."""

from collections.abc import Callable
from typing import Any

import pytest

__all__ = ["assert_bound"]


@pytest.fixture
def assert_bound() -> Callable[..., Any]:
    """Return `quadsim.theory.assert_bound`; it is imported only for tests that use the fixture."""
    from quadsim.theory import assert_bound as function

    return function
