"""Colours and markers of optimizers: one pair for every name, in every figure and for ever.

The pairs of the built-in optimizers stand in a table, so that a new optimizer changes none of them. That of a user's own
optimizer follows from its name. So the same name looks the same whatever else a sweep compares.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

__all__ = ["COLORS", "LINES", "optimizer_styles", "styles_of"]

_HEX = "0173b2 de8f05 029e73 d55e00 cc78bc ca9161 fbafe4 949494 ece133 56b4e9"

COLORS = tuple(tuple(int(text[i : i + 2], 16) / 255 for i in (0, 2, 4)) for text in _HEX.split())
"""Red, green and blue of ten colours that colour-blind readers tell apart: "colorblind" of seaborn, which is slow to import."""

_BUILT_IN: dict[str, tuple[int, str]] = {
    "gd": (0, "o"),
    "sgd": (0, "8"),
    "signsgd": (1, "s"),
    "adam": (2, "^"),
    "heavy-ball": (3, "D"),
    "signum": (4, "v"),
    "nesterov": (5, "P"),
    "rmsprop": (9, "X"),
    "lion": (7, "p"),
    "normalized-gd": (6, "<"),
    "block-gd": (9, "o"),
    "gd-lambda": (3, "s"),
    "sign-lambda": (0, "^"),
    "adam-frozen": (7, "^"),
    "adamw": (5, "v"),
    "adam-mini": (4, "o"),
    "adagrad": (8, "D"),
    "rmsprop-centered": (6, "X"),
    "amsgrad": (1, "^"),
    "nadam": (0, "v"),
    "clipped-gd": (1, "o"),
    "sgdw": (7, "s"),
    "lamb": (3, "P"),
}
"""Optimizer to its colour (a position in the palette) and marker. Add lines; change none."""

_MARKERS = "osD^vPX*<"  # of what is no optimizer: nine against ten colours, ninety different pairs
_OWN_MARKERS = ("h", "d", ">", "*", "H")  # of users' own optimizers; no built-in one has these

_HALVES = ("full", "left", "top", "right", "bottom")

LINES: tuple[Any, ...] = ("-", "-.", (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 2, 5, 2)))
"""Line styles of the settings of one optimizer; dashes and dots alone mean a bound and another loss."""


def optimizer_styles(optimizers: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return colour, marker and line style of every optimizer.

    The colour and the marker depend on the name of the optimizer alone. Settings of one optimizer share both and differ in the
    line style and in the half of the marker that is filled; the optimizer without settings has the solid line.

    Args:
        optimizers: texts such as `adam` or `adam:beta1=0|0.9`.

    Returns:
        Text to keyword arguments of a Matplotlib line.
    """
    styles, taken = dict[str, dict[str, Any]](), dict[Any, int]()
    for text in sorted(optimizers, key=lambda text: ":" in text):  # the solid line is that of the name alone
        color, marker = pair = _pair(text)
        position = taken.get(pair, int(":" in text))
        taken[pair] = position + 1
        styles[text] = {
            "color": COLORS[color],
            "marker": marker,
            "linestyle": LINES[position % len(LINES)],
            "fillstyle": _HALVES[position % len(_HALVES)],
            "markerfacecoloralt": "white",
        }
    return {text: styles[text] for text in optimizers}


def styles_of(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return colour and marker of anything that a figure tells apart.

    Names that are all of built-in optimizers have the colours and markers of these. Others (norms, models, measures) have those
    of their position, as two of them must never look the same.
    """
    known = [_BUILT_IN.get(name) for name in names]
    pairs = [pair or (i % len(COLORS), _MARKERS[i % len(_MARKERS)]) for i, pair in enumerate(known)]
    if None in known:
        pairs = [(i % len(COLORS), _MARKERS[i % len(_MARKERS)]) for i in range(len(names))]
    return {name: {"color": COLORS[c], "marker": marker} for name, (c, marker) in zip(names, pairs, strict=True)}


def _pair(text: str) -> tuple[int, str]:
    """Return the colour and the marker of an optimizer."""
    name = text.partition(":")[0]
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return number % len(COLORS), _OWN_MARKERS[number // len(COLORS) % len(_OWN_MARKERS)]
