"""Small pieces of text that reports share."""

__all__ = ["listing", "margin_text"]


def listing(words: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def margin_text(value: float) -> str:
    """A ratio to the bound; one that is 1 but for rounding reads 1, and one just below it is not rounded up to it."""
    if abs(value - 1) < 1e-9:
        return "1"
    return f"{value:.6f}" if 0.999 < value < 1.001 else f"{value:.4g}"
