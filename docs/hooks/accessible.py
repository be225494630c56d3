"""What the theme lacks.

A name of its search for screen readers, options that a narrow page does not break after `--`, dotted names that it breaks after a
dot, figures that lead to themselves in full size, and links from texts that were written beside code to the page on theory.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from markdown.extensions.toc import slugify

_SEARCH = '<div class="md-search" data-md-component="search" role="dialog"'
_CODE = re.compile(r"<code>.*?</code>", re.DOTALL)
_OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
# A dotted name outside of a block of code, which scrolls. A file name such as table.json stays whole.
_DOTTED = re.compile(r"<pre\b.*?</pre>|(?<=>)quadsim(?:\.\w+)+(?=[<(])", re.DOTALL)
_FIGURE = re.compile(r'<p>(<img [^>]*?src="([^"]+)"[^>]*>)</p>')
_SECTION = re.compile(r"docs/theory\.md section (\d+)")


@cache
def _sections() -> dict[str, str]:
    """Number of every section of the page on theory to its address there."""
    text = (Path(__file__).parent.parent / "theory.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## ((\d+)\. .*)$", text, re.MULTILINE)
    return {number: slugify(title, "-") for title, number in titles}


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Link every figure to its file, and "docs/theory.md section 2" (so docstrings name a source) to that section."""
    content = _FIGURE.sub(r'<p><a href="\2">\1</a></p>', content)
    if page.file.src_uri == "theory.md":
        return content
    home = "../" * page.url.count("/")
    return _SECTION.sub(
        lambda found: f'<a href="{home}theory/#{_sections()[found[1]]}">theory, section {found[1]}</a>', content
    )


def on_post_page(output: str, **_: Any) -> str:
    """Name the dialog of the search, mark every option in a text (assets/site.css keeps it on one line), and let names break."""
    output = output.replace(_SEARCH, f'{_SEARCH} aria-label="Search"')
    output = _CODE.sub(lambda code: _OPTION.sub(r'<span class="option">\g<0></span>', code[0]), output)
    return _DOTTED.sub(lambda found: found[0] if found[0][0] == "<" else found[0].replace(".", ".<wbr>"), output)
