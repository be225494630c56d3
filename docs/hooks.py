"""What mkdocs needs to be told of this repository: where its packages are, its README and the help of its commands.

The folders simulator, theory and cli are imported as quadsim.simulator and so on, which only an installation knows (and of an
editable one, mkdocstrings does not). So a folder with links of these names is put on its path. The pages are then those of
this checkout, whatever is installed.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority

ROOT = Path(__file__).parent.parent
_TREE = tempfile.TemporaryDirectory(prefix="quadsim-docs-")  # removed when the process ends


@event_priority(100)  # before mkdocstrings reads its paths
def on_config(config: Any) -> Any:
    """Put the packages on the path of mkdocstrings."""
    package = Path(_TREE.name) / "quadsim"
    if not package.exists():
        package.mkdir()
        for path in (*(ROOT / "package").glob("*.py"), *(ROOT / name for name in ("simulator", "theory", "cli"))):
            (package / path.name).symlink_to(path, target_is_directory=path.is_dir())
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [_TREE.name]
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in the README, and what `--help` says."""
    if page.file.src_uri == "index.md":
        return markdown.replace("{{ README }}", _readme())
    if page.file.src_uri == "command-line.md":
        return markdown.replace("{{ HELP }}", _help())
    return markdown


def _readme() -> str:
    """What it links to in docs/ lies beside the pages; of links to other files the text is kept."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|#|docs/)[^)]*\)", r"\1", text).replace("](docs/", "](")
    return text.removeprefix("# quadsim\n")


def _help() -> str:
    """The help of all commands, by typer's own generator."""
    command = [sys.executable, "-P", "-m", "typer", "quadsim.cli.app", "utils", "docs", "--name", "quadsim"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([_TREE.name, os.environ.get("PYTHONPATH", "")])}
    text = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return text.lstrip().removeprefix("# `quadsim`\n")
