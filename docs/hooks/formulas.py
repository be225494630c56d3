"""Typeset formulas: pymdownx.arithmatex marks what stands between dollar signs, and latex2mathml converts it to MathML.

Browsers draw MathML without a script or a font from elsewhere.
"""

import html
import re
from typing import Any

_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_BLOCK = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Convert the formulas of a page."""
    from quadsim.cli.pages.formulas import mathml

    def inline(found: re.Match[str]) -> str:
        return str(mathml(html.unescape(found[1]).strip()))

    def block(found: re.Match[str]) -> str:
        # A wide formula is scrolled within its place, also with the keys.
        formula = mathml(html.unescape(found[1]).strip(), block=True)
        return f'<div class="formula" role="group" aria-label="Formula" tabindex="0">{formula}</div>'

    return _INLINE.sub(inline, _BLOCK.sub(block, content))
