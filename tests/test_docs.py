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
THEORY = (ROOT / "docs/theory.md").read_text()
SECTIONS = {int(part.partition(".")[0]): part for part in re.split(r"^## (?=\d+\. )", THEORY, flags=re.MULTILINE)[1:]}
NAME = r"([a-z]+(?:-[a-z]+)+)"  # of a statement: every one has a hyphen
REFERENCE = re.compile(
    rf"theory(?:\.md)?,? sections? (?P<first>\d+)(?:(?:,| to| and) (?P<last>\d+))?(?:, (?P<name>{NAME}))?"
    rf"|theory\.md, (?P<alone>{NAME})"
)


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


def shipped_texts():
    """The text of every module on one line, without the marks of comments and the quotes between joined strings."""
    for folder in ("simulator", "theory", "cli"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = re.sub(r"\s*\n\s*(?:# ?)?", " ", path.read_text())
            yield path.relative_to(ROOT).as_posix(), re.sub(r'" f?"', "", text)


def test_the_page_on_theory_has_eleven_sections():
    assert list(SECTIONS) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert all(re.match(r"\d+\. [A-Z]\w+", part) for part in SECTIONS.values())


def test_every_reference_to_the_page_on_theory_resolves():
    """A reference is "docs/theory.md section N", "docs/theory.md section N, NAME" or "docs/theory.md, NAME"."""
    wrong, found = [], 0
    for file, text in shipped_texts():
        references = list(REFERENCE.finditer(text))
        found += len(references)
        starts = {reference.start() for reference in references}
        wrong += [
            f"{file}: {text[m.start() : m.start() + 40]!r} is in none of the forms that the docstring of this test lists"
            for m in re.finditer(r"theory\.md", text)
            if m.start() not in starts
        ]
        for reference in references:
            numbers = {int(n) for n in reference.group("first", "last") if n}
            wrong += [f"{file}: docs/theory.md has no section {n}" for n in sorted(numbers - set(SECTIONS))]
            name = reference["name"] or reference["alone"]
            where = SECTIONS.get(min(numbers), "") if numbers else THEORY
            if name and not re.search(rf"(?<![\w-]){name}(?![\w-])", where):
                wrong.append(f"{file}: {name} does not occur where {reference.group()!r} points")
    assert wrong == []
    assert found > 20


def test_every_theorem_is_on_the_page_on_theory():
    missing = [n for n in quadsim.theory.THEOREMS if not re.search(rf"(?<![\w-]){n}(?![\w-])", THEORY)]
    assert missing == []


def test_the_page_of_streams_holds_the_stored_rows_of_the_gate():
    from quadsim.cli.text.draws_table import placed

    page, stored = ((ROOT / "docs" / name).read_text() for name in ("streams.md", "draws.csv"))
    assert placed(page, stored) == page
    assert ",refuted\n" not in stored
