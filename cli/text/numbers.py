"""Numbers as text."""

from typing import Any

__all__ = ["spread"]


def spread(values: Any) -> str:
    """Median [least, largest]."""
    import numpy as np

    def digits(x: float) -> str:
        return f"{x:.0f}" if x >= 100 else f"{x:.3g}" if x >= 10 else f"{x:.2f}"

    return f"{digits(float(np.median(values)))} [{digits(float(values.min()))}, {digits(float(values.max()))}]"
