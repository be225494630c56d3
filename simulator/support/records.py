"""Convert tables to plain data for JSON."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["plain_records"]


def plain_records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return one mapping per row; NaN and infinite numbers become None, as JSON has neither."""
    return [{str(key): _plain(value) for key, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
