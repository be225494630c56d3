"""Every dotted path `quadsim.*` in documentation, notebooks, messages and docstrings leads to something."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLACES = ("*.md", "docs/**/*.md", "docs/**/*.py", "notebooks/*.ipynb", "simulator/**/*.py", "theory/**/*.py", "cli/**/*.py",
          "package/*.py", "cli/**/*.html", "pyproject.toml", "mkdocs.yml", "noxfile.py")  # fmt: skip
DOTTED = re.compile(r"\bquadsim\.(?:simulator|theory|cli|presenters)(?:\.\w+)*")
NOT_PATHS = {"quadsim.presenters"}  # a group of entry points
FILES = sorted({path for place in PLACES for path in ROOT.glob(place) if path.name != "CHANGELOG.md"})


def leads_somewhere(dotted: str) -> bool:
    """Whether a prefix is a module and the rest are attributes of it."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for name in parts[end:]:
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


def test_every_dotted_path_leads_somewhere():
    paths: dict[str, str] = {}
    for file in FILES:
        for dotted in DOTTED.findall(file.read_text(encoding="utf-8")):
            paths.setdefault(dotted, str(file.relative_to(ROOT)))
    assert len(paths) > 150
    assert {
        dotted: file for dotted, file in paths.items() if dotted not in NOT_PATHS and not leads_somewhere(dotted)
    } == {}


@pytest.mark.parametrize(
    "dotted", ["quadsim.simulator.sweep_config", "quadsim.simulator.rules.rule.Rules", "quadsim.no"]
)
def test_a_path_that_leads_nowhere_is_seen(dotted):
    assert not leads_somewhere(dotted)
