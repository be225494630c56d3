"""How much memory there is, and sizes for people."""

import math
import os

__all__ = ["memory_text", "physical_memory"]


def physical_memory() -> float:
    """Memory of this machine in bytes; where it cannot be asked for, no limit is set."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * float(os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not on Windows
        return math.inf


def memory_text(size: float) -> str:
    """A size in bytes for people."""
    scale = max(min(int(math.log10(max(size, 1.0)) // 3), 4), 0) if math.isfinite(size) else 0
    return f"{size / 1000.0**scale:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[scale]}"
