"""Let mkdocs find the packages of this checkout, whatever is installed.

The folders simulator, theory and cli are imported as quadsim.simulator and so on, which only an installation knows (and of an
editable one, mkdocstrings does not). So a folder with links of these names is put on its path and on that of Python: the other
hooks import quadsim only while pages are made, after this one.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority

ROOT = Path(__file__).parent.parent.parent
_TREE = tempfile.TemporaryDirectory(prefix="quadsim-docs-")  # removed when the process ends


@event_priority(100)  # before mkdocstrings reads its paths
def on_config(config: Any) -> Any:
    """Put the packages on the paths of Python and of mkdocstrings."""
    package = Path(_TREE.name) / "quadsim"
    if not package.exists():
        package.mkdir()
        for path in (*(ROOT / "package").glob("*.py"), *(ROOT / name for name in ("simulator", "theory", "cli"))):
            (package / path.name).symlink_to(path, target_is_directory=path.is_dir())
        sys.path.insert(0, _TREE.name)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [_TREE.name]
    return config
