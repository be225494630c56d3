"""What the theme lacks: a name of its search for screen readers, and options that a narrow page does not break after `--`."""

import re
from typing import Any

_SEARCH = '<div class="md-search" data-md-component="search" role="dialog"'
_CODE = re.compile(r"<code>[^<]*</code>")
_OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")


def on_post_page(output: str, **_: Any) -> str:
    """Name the dialog of the search, and mark every option in a text; assets/site.css keeps it on one line."""
    output = output.replace(_SEARCH, f'{_SEARCH} aria-label="Search"')
    return _CODE.sub(lambda code: _OPTION.sub(r'<span class="option">\g<0></span>', code[0]), output)
