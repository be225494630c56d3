"""The API documentation builds without a warning and has every public name."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import quadsim.simulator
import quadsim.theory
import quadsim.theory.claims

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-P", "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "WARNING" not in run.stderr
    return {path.relative_to(folder).parent.as_posix(): path.read_text() for path in folder.rglob("index.html")}


@pytest.mark.parametrize("package", [quadsim.simulator, quadsim.theory, quadsim.theory.claims])
def test_every_public_name_is_there(site, package):
    text = "\n".join(site.values())
    text_of_package = Path(package.__file__).read_text()
    names = re.findall(r"^from \S+ import \w+ as (\w+)$", text_of_package, re.MULTILINE) or package.__all__
    assert len(names) > 10
    assert [name for name in names if not re.search(rf'id="{package.__name__}\.[\w.]*\b{name}"', text)] == []


def test_every_command_is_there(site):
    from quadsim.cli.app import app

    for command in app.registered_commands:
        assert f"<code>quadsim {command.name}</code></h2>" in site["command-line"]


def test_the_readme_is_the_first_page(site):
    headings = re.findall(r"^## (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert headings == re.findall(r"<h2[^>]*>(.*?)</h2>", site["."])
    assert re.search(r'<img [^>]*src="sweep.png"', site["."])


def test_nothing_is_fetched_from_elsewhere(site):
    for page, text in site.items():
        assert not re.findall(r'(?:<script|<img|<link)[^>]*(?:src|href)="(?:https?:)?//', text), page
