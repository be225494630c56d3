"""Pages made from the notebooks: their text and code, and their outputs where the build runs them.

QUADSIM_DOCS_NOTEBOOKS chooses: `none` shows no outputs, `small` runs the sizes of the tests (minutes), `full` the notebooks as
they are.
"""

import base64
import html
import json
import re
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

FOLDER = Path(__file__).parent.parent.parent / "notebooks"
_SIZES = ("none", "small", "full")
_WIDTH = 90  # characters of a line of code on a wide page
_NOT_RUN = (
    "!!! note\n    This build did not run the notebook. To see its outputs, open it with `jupyter lab notebooks`.\n"
)


def on_files(files: Any, config: Any) -> Any:
    """Add a page for every notebook, and its figures.

    Raises:
        PluginError: QUADSIM_DOCS_NOTEBOOKS is none of the sizes.
    """
    size = config.extra["notebooks"]
    if size not in _SIZES:
        raise PluginError(f"QUADSIM_DOCS_NOTEBOOKS must be one of {', '.join(_SIZES)}, got {size!r}")
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        if size != "none":
            _run(notebook, path.stem, small=size == "small")
        pictures: dict[str, bytes] = {}
        text = _page(notebook, path.stem, pictures, outputs=size != "none")
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, data in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=data))
    return files


def _run(notebook: Any, name: str, *, small: bool) -> None:
    """Run a notebook in place; a cell that fails fails the build."""
    from nbclient import NotebookClient

    if small:
        values = json.loads((FOLDER / "small.json").read_text(encoding="utf-8"))[name]
        at = next(k for k, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
        notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(values, metadata={"tags": ["injected"]}))
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(FOLDER)}}).execute()


def _page(notebook: Any, name: str, pictures: dict[str, bytes], *, outputs: bool) -> str:
    parts = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            text = re.sub(r"\]\(([\w-]+)\.ipynb\)", r"](\1.md)", cell.source)
            parts.append(text.replace("<details>", '<details markdown="1">'))
        elif "injected" not in cell.metadata.get("tags", []):
            parts.append(f"```python\n{cell.source}\n```")
            if "explore" in cell.metadata.get("tags", []):
                parts.append(_dials(cell.source))
                continue
            parts += [
                _output(output, f"{name}-{number}-{k}", pictures) for k, output in enumerate(cell.get("outputs", []))
            ]
    if not outputs:
        parts.insert(1, _NOT_RUN)
    return "\n\n".join(part for part in parts if part) + "\n"


def _dials(source: str) -> str:
    """Return the frame that a cell shows, around the site's own page with dials.

    Raises:
        PluginError: the cell shows no such page.
    """
    view = re.search(r'"explore\.html(#[^"]*)"', source)
    if view is None:
        raise PluginError("a cell with the tag explore must show explore.html# and a view")
    return f'<iframe class="dials" src="../../explorer.html{html.escape(view[1])}" title="A problem with three dials"></iframe>'


def _output(output: Any, name: str, pictures: dict[str, bytes]) -> str:
    """Return what a cell has printed or shown: a figure, formatted text, a table or plain text."""
    if output.output_type == "stream":
        text = output.text.rstrip()
        # Sentences that no page has room for are wrapped; a table of a page's width keeps its columns.
        kind = "{ .text .wrapped }" if max(map(len, text.splitlines()), default=0) > _WIDTH else "text"
        return f"```{kind}\n{text}\n```"
    data = output.get("data", {})
    if "application/vnd.jupyter.widget-view+json" in data:
        return ""  # sliders need a kernel; their text says nothing
    if "image/png" in data:
        pictures[f"{name}.png"] = base64.b64decode(data["image/png"])
        return f"![Figure drawn by the code above]({name}.png)"
    if "text/markdown" in data:
        return str(data["text/markdown"])
    if "text/latex" in data:
        return f"$${data['text/latex'].strip('$').replace(chr(92) + 'displaystyle', '').strip()}$$"
    if "text/html" in data:
        table = re.sub(r"<style.*?</style>", "", data["text/html"], flags=re.DOTALL)
        return f'<div class="output" tabindex="0" role="group" aria-label="Output">{table}</div>'
    return f"```text\n{data['text/plain']}\n```" if "text/plain" in data else ""
