"""Run what a page of the documentation shows: its Python, its files and its commands, in the order of the page.

- A block ```` ```python ```` is executed; all blocks of a page share their names. With `title="file.py"` it is written to that file as well, and is
  executed only if it is no test.
- A line of a block ```` ```sh ```` that starts with `quadsim` is run in this process, one with `pytest` in another one. Other commands (pip, mkdocs) are not run.

A page is written for a reader with minutes; a test has seconds. What a test changes for this is in the table that it passes, so that
it can be seen there: pairs of a text of the page and the text in its place, and for commands also `(start, options added)`.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from typer.testing import CliRunner

_BLOCK = re.compile(r"^```(python|sh)(?: title=\"([\w.]+)\")?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run_page(text: str, page: str, instead: Mapping[str, str], commands: Mapping[str, str]) -> tuple[dict, list[str]]:
    """Run a page in the working directory.

    Args:
        text: the page.
        page: its name, for tracebacks.
        instead: text of Python blocks and commands to replace; each must occur on the page.
        commands: options added to the commands that start so, in place of those of the page with these names; the longest start
            counts.

    Returns:
        The names that its Python has defined, and the outputs of its commands in order.
    """
    for old, new in instead.items():
        assert old in text, f"{page}: {old!r} is not on the page any more"
        text = text.replace(old, new)
    names: dict = {"__name__": page}
    said: list[str] = []
    for language, title, block in _BLOCK.findall(text):
        if language == "sh":
            said += [_run(line, page, commands) for line in _lines(block)]
            continue
        if title:
            Path(title).write_text(block, encoding="utf-8")
        if "def test_" not in block:
            exec(compile(block, page, "exec", dont_inherit=True), names)
    return names, said


def _lines(block: str) -> Iterable[str]:
    return (line.split(" #")[0].strip() for line in block.splitlines() if line.startswith(("quadsim ", "pytest ")))


def _run(line: str, page: str, commands: Mapping[str, str]) -> str:
    starts = [start for start in commands if line.startswith(start)]
    added = shlex.split(commands[max(starts, key=len)]) if starts else []
    program, *arguments = shlex.split(line)
    for option in (part for part in added if part.startswith("--")):  # it stands in place of that of the page
        if option in arguments:
            at = arguments.index(option)
            del arguments[at : at + 2]
    arguments += added
    if program == "pytest":
        more = ["-p", "no:cacheprovider", "-q"]
        done = subprocess.run([sys.executable, "-m", "pytest", *more, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, f"{page}: {line}: {done.stdout}{done.stderr}"
        return done.stdout
    from quadsim.cli.app import app

    found = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert found.exit_code == 0, f"{page}: {line}: {found.stderr}"
    return found.stdout
