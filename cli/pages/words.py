"""Format small pieces of text for reports."""

__all__ = ["listing", "margin_text"]


def listing(words: list[str]) -> str:
    """Return a list as text: `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def margin_text(value: float) -> str:
    """Return a ratio to the bound as text: "1" if it is 1 up to rounding; one just below 1 is not rounded up to it."""
    if abs(value - 1) < 1e-9:
        return "1"
    return f"{value:.6f}" if 0.999 < value < 1.001 else f"{value:.4g}"
