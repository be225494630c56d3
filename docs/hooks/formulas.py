"""Typeset formulas: pymdownx.arithmatex marks what stands between dollar signs, and latex2mathml converts it to MathML.

Browsers draw MathML without a script or a font from elsewhere.
"""

import html
import re
from typing import Any

_INLINE = re.compile(r'(\(?)<span class="arithmatex">\\\((.*?)\\\)</span>([.,;:)]*)', re.DOTALL)
_TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|.", re.DOTALL)
_RELATIONS = {"=", "<", ">", ",", r"\le", r"\ge", r"\ne", r"\in", r"\to", r"\sim", r"\leftarrow", r"\Rightarrow"}
_OPENING, _CLOSING = {"(", "[", "{", r"\lbrace"}, {")", "]", "}", r"\rbrace"}
_SHORT = 30  # characters of LaTeX, which fit on a narrow page
_BLOCK = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Convert the formulas of a page."""
    from quadsim.cli.pages.formulas import mathml

    def inline(found: re.Match[str]) -> str:
        # Browsers break no line inside a formula, but between two, and between a formula and the full stop after it.
        pieces = [str(mathml(piece)) for piece in _pieces(html.unescape(found[2]).strip())]
        pieces[0] = found[1] + pieces[0]
        pieces[-1] += found[3]
        return "".join(f'<span class="whole">{piece}</span>' for piece in pieces)

    def block(found: re.Match[str]) -> str:
        # A wide formula is scrolled within its place, also with the keys.
        formula = mathml(html.unescape(found[1]).strip(), block=True)
        return f'<div class="formula" role="group" aria-label="Formula" tabindex="0">{formula}</div>'

    return _INLINE.sub(inline, _BLOCK.sub(block, content))


def _pieces(latex: str) -> list[str]:
    """Divide a long formula where TeX would break its line: after a relation, a plus or a minus outside all brackets."""
    if len(latex) <= _SHORT:
        return [latex]
    pieces, depth, bars, last = [""], 0, 0, ""
    for token in _TOKEN.findall(latex):
        depth += (token in _OPENING) - (token in _CLOSING)
        bars ^= token == "|"
        pieces[-1] += token
        between = token in _RELATIONS or (token in "+-" and last not in {"", *_RELATIONS, *_OPENING})
        if between and depth == 0 and bars == 0:
            pieces.append("")
        last = token.strip() or last
    return [piece.strip() for piece in pieces if piece.strip()]
