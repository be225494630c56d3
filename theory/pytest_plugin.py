"""pytest fixture `assert_bound`, found by pytest itself once the package is installed."""

from collections.abc import Callable
from typing import Any

import pytest

__all__ = ["assert_bound"]


@pytest.fixture
def assert_bound() -> Callable[..., Any]:
    """`quadsim.theory.assert_bound`, imported only where a test asks for it."""
    from quadsim.theory import assert_bound as function

    return function
