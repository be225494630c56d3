"""Report the memory of the machine, and format sizes in bytes."""

import math
import os

__all__ = ["memory_text", "physical_memory"]


def physical_memory() -> float:
    """Return the physical memory of this machine in bytes; infinity if the system does not report it."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * float(os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # not on Windows
        return math.inf


def memory_text(size: float) -> str:
    """Return a size in bytes as text with a unit, as "1.5 GB"."""
    scale = max(min(int(math.log10(max(size, 1.0)) // 3), 4), 0) if math.isfinite(size) else 0
    return f"{size / 1000.0**scale:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[scale]}"
