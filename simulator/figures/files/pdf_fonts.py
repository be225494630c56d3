"""Fonts of PDF files: small, and reduced once for all figures.

Matplotlib has fontTools reduce every font to the glyphs of a figure, which takes a tenth of the time of all figures. Here a
figure gets the glyphs of an alphabet, in which nearly all figures are written: the reduced font is the same for all of them, and
kept in the cache. Glyphs beyond it, such as those of a formula, are taken alone, as Matplotlib has it.
"""

import base64
import hashlib
import io
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import fontTools
import matplotlib as mpl
from fontTools.subset import Options
from matplotlib.backends import _backend_pdf_ps as backend
from matplotlib.font_manager import get_font

from quadsim.simulator.support.kept import kept_document

__all__ = ["small_fonts"]

_LETTERS, _SIGNS = "".join(map(chr, range(32, 127))) + "\u00d7¹²³", "⁰⁴⁵⁶⁷⁸⁹⁻≤≥≈∞\u2212\u2013"
_ALPHABETS = (_LETTERS, _SIGNS, _LETTERS + _SIGNS)
"""The first that has all glyphs is taken: Matplotlib puts signs with codes from 256 on into a font of their own."""

_DROPPED = "_drop_tables_default"  # of the options with which fontTools reduces a font


@contextmanager
def small_fonts() -> Iterator[None]:
    """Within it, PDF files get fonts as the module says, and without the tables by which other programs set type.

    Matplotlib places every glyph of a PDF itself, and needs no ligatures. Only private names say what fontTools drops, and how
    Matplotlib calls it: with a version that lacks them fonts are made as it has it.
    """
    dropped: list[str] | None = getattr(Options, _DROPPED, None)
    reduce: Any = backend.get_glyphs_subset
    write: Any = backend.font_as_file  # neither has types
    if dropped is not None:
        setattr(Options, _DROPPED, [*dropped, "GDEF", "GPOS", "GSUB"])
    if hasattr(backend, "SubsetResults"):
        backend.get_glyphs_subset = _reduce_with(reduce)
        backend.font_as_file = lambda font: io.BytesIO(font.content) if isinstance(font, _Font) else write(font)
    try:
        yield
    finally:
        backend.get_glyphs_subset, backend.font_as_file = reduce, write
        if dropped is not None:
            setattr(Options, _DROPPED, dropped)


class _Font:
    """A font in the place of one of fontTools.

    Attributes:
        content: the font file.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content


def _reduce_with(reduce: Callable[..., Any]) -> Callable[..., Any]:
    """Return what stands in for Matplotlib's `get_glyphs_subset`.

    Args:
        reduce: that function.
    """

    def get_glyphs_subset(fontfile: Any, glyphs: Collection[int]) -> AbstractContextManager[Any]:
        for alphabet in _ALPHABETS:
            if _glyphs(fontfile, alphabet).issuperset(glyphs):
                return nullcontext(backend.SubsetResults(*_reduced(fontfile, alphabet, reduce)))
        return reduce(fontfile, glyphs)  # type: ignore[no-any-return]

    return get_glyphs_subset


@cache
def _glyphs(fontfile: Any, alphabet: str) -> frozenset[int]:
    """Return the glyphs of an alphabet that a font has."""
    font = get_font(fontfile)
    return frozenset(index for sign in alphabet if (index := font.get_char_index(ord(sign))))


_known: dict[tuple[Any, str], tuple[_Font, dict[int, int]]] = {}


def _reduced(fontfile: Any, alphabet: str, reduce: Callable[..., Any]) -> tuple[_Font, dict[int, int]]:
    """Return a font with the glyphs of an alphabet, and where each of them is in it: from the cache, where that has it.

    Args:
        fontfile: its path.
        alphabet: one of _ALPHABETS.
        reduce: see `_reduce_with`.
    """
    key = fontfile, alphabet
    if key not in _known:

        def make() -> dict[str, Any]:
            with reduce(fontfile, _glyphs(fontfile, alphabet)) as found:
                content = backend.font_as_file(found.font).getvalue()  # type: ignore[no-untyped-call]
            return {"font": base64.b64encode(content).decode(), "glyphs": list(found.glyph_index_map.items())}

        digest = hashlib.sha256(Path(fontfile).read_bytes()).hexdigest()
        depends = (digest, getattr(fontfile, "face_index", 0), alphabet, mpl.__version__, fontTools.version)
        document = kept_document("font", repr(depends), make)
        _known[key] = _Font(base64.b64decode(document["font"])), dict(document["glyphs"])
    return _known[key]
