"""Convert tables to plain data for JSON."""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["plain_records", "records_of"]


def records_of(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return one mapping per row, with the names of the columns as text."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def plain_records(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """Return one mapping per row; NaN and infinite numbers become None, as JSON has neither."""
    return [{name: _plain(value) for name, value in row.items()} for row in records_of(frame)]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
