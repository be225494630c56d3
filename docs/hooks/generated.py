"""Pages that are made from the package: the help of its commands, its optimizers and theorems, and the page with dials.

A page says where with a line such as `{{ OPTIMIZERS }}`.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent.parent
_OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*(?:=[\w,-]*\w)?")
_MARK = re.compile(r"^\{\{ (\w+) \}\}$", re.MULTILINE)
_EXPLORE = ("gd", "adam")
_WIDE = 85  # characters of a formula that a wide page has no room for
_SIDE = {"upper": "Upper bound", "lower": "Lower bound", "equal": "Equality"}


def on_files(files: Any, config: Any) -> Any:
    """Add the page with dials, which is a file of its own, without the site around it."""
    from quadsim.cli.pages.explore.page import explore_html
    from quadsim.simulator.rules.optimizer import OptimizerSpec

    page = explore_html([OptimizerSpec.parse(name) for name in _EXPLORE])
    files.append(File.generated(config, "explorer.html", content=page))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in what the marks of a page name."""
    return _MARK.sub(lambda found: _TEXTS[found[1]](), markdown)


def _help() -> str:
    """The help of all commands, by typer's own generator."""
    command = [sys.executable, "-P", "-m", "typer", "quadsim.cli.app", "utils", "docs", "--name", "quadsim"]
    path = os.pathsep.join([
        sys.path[0],
        os.environ.get("PYTHONPATH", ""),
    ])  # where the hook `checkout` has put this checkout
    environment = os.environ | {"PYTHONPATH": path}
    text = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return _readable(text.lstrip().removeprefix("# `quadsim`\n"))


def _readable(text: str) -> str:
    """Return the help for a page: summaries are whole and linked, examples and options are code, and no `<` begins a tag."""
    summaries = dict(re.findall(r"^## `quadsim (\w+)`\n\n(.*)", text, re.MULTILINE))
    # The generator cuts each summary in the list of commands to the width of a terminal.
    text = re.sub(r"^\* `(\w+)`: .*$", lambda found: _entry(found, summaries), text, flags=re.MULTILINE)
    text = re.sub(r"(?:^Example: .*\n\n)+", _examples, text, flags=re.MULTILINE)
    # Every other part is code: a fence, or a span between backticks.
    parts = re.split(r"(^```.*?^```$|`[^`\n]*`)", text, flags=re.DOTALL | re.MULTILINE)
    parts[::2] = [_OPTION.sub(r"`\g<0>`", part.replace("<", "&lt;")) for part in parts[::2]]
    return "".join(parts)


def _entry(found: re.Match[str], summaries: dict[str, str]) -> str:
    name = found[1]
    return f"* [`{name}`](#quadsim-{name}): {summaries[name]}" if name in summaries else found[0]


def _examples(found: re.Match[str]) -> str:
    commands = re.findall(r"^Example: (.*)$", found[0], re.MULTILINE)
    head = "**Example**" if len(commands) == 1 else "**Examples**"
    return "\n".join((f"{head}:\n", "```sh", *commands, "```\n\n"))


def _optimizers() -> str:
    from quadsim.simulator import RULES

    return "\n\n".join(_optimizer(rule) for rule in RULES.values())


def _optimizer(rule: Any) -> str:
    lines = [line.strip().removesuffix("\\\\").strip() for line in rule.latex().splitlines()]
    rows = [
        f"| `{symbol}` | {_range(h)} | {h.default:g} | {_cell(h.meaning)} |"
        for symbol, h in rule.hyperparameters.items()
    ]
    table = ["| hyperparameter | range | default | meaning |", "| --- | --- | --- | --- |", *rows] if rows else []
    parts = [f"## {rule.name}", rule.summary, *(f"$${line}$$" for line in lines), "\n".join(table)]
    natural = f"Natural rate: `{rule.natural_lr}`. " if rule.natural_lr is not None else ""
    return "\n\n".join(part for part in (*parts, f"{natural}Kind: {rule.kind}. Source: {rule.source}") if part)


def _range(h: Any) -> str:
    return f"{'(' if h.low_open else '['}{h.low:g}, {h.high:g}{')' if h.high_open else ']'}"


def _theorems() -> str:
    from quadsim.theory import THEOREMS

    return "\n\n".join(_theorem(theorem) for theorem in THEOREMS.values())


def _theorem(theorem: Any) -> str:
    conditions = "; ".join(h.text for h in theorem.conditions) or "none beside a constant rate and no noise"
    facts = {
        "Optimizers": ", ".join(theorem.rules) or "any",
        "Hypotheses": conditions,
        "Attained": theorem.tight or "not known to be",
        "Source": theorem.source,
        "Proof": f"`quadsim theorems {theorem.name}`",
    }
    rows = [f"- **{name}:** {_cell(text) if name != 'Proof' else text}" for name, text in facts.items()]
    kind = f"*{_SIDE[theorem.direction]}, {theorem.kind}.*"
    return "\n\n".join((
        f"## {theorem.name}",
        kind,
        *(f"$${line}$$" for line in _lines(theorem.statement)),
        "\n".join(rows),
    ))


def _lines(statement: str) -> list[str]:
    """Return a line each for what is assumed, claimed and meant: one line for all hides the claim beyond the edge."""
    lines: list[str] = []
    for line in re.split(r",\\quad |(?<=\\Rightarrow)\\ ", statement):
        is_open = False  # within brackets
        shown = re.sub(r"\\[a-zA-Z]+|[{}_^]", "", line)
        for part in re.split(r"(?<=,)\\ ", line) if len(shown) > _WIDE else [line]:
            if is_open:
                lines[-1] += rf"\ {part}"
            else:
                lines.append(part)
            is_open = any(lines[-1].count(left) != lines[-1].count(right) for left, right in ("{}", "()", "[]"))
    return lines


def _cell(text: str) -> str:
    """Text that Markdown leaves as it is."""
    return re.sub(r"([\\*_|>\[\]`$])", r"\\\1", text).replace("<", "&lt;")  # no backslash hides a <


def _file(name: str) -> Callable[[], str]:
    """The text of a file of the repository without its heading; its links to the documentation lead to the pages of the site."""

    def read() -> str:
        text = (ROOT / name).read_text(encoding="utf-8").partition("\n")[2]
        text = text.replace("](docs/", "](")
        return re.sub(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([\w./-]*)(#[\w-]+)?\)", _link, text)

    return read


def _link(found: re.Match[str]) -> str:
    known = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md", "ROADMAP.md": "roadmap.md"}
    text, target, place = found[1], found[2], found[3] or ""
    if target in known:
        return f"[{text}]({known[target]}{place})"
    return found[0] if (ROOT / "docs" / target).is_file() else text


_TEXTS: dict[str, Callable[[], str]] = {
    "HELP": _help,
    "OPTIMIZERS": _optimizers,
    "THEOREMS": _theorems,
    "CONTRIBUTING": _file("CONTRIBUTING.md"),
    "CHANGELOG": _file("CHANGELOG.md"),
    "ROADMAP": _file("ROADMAP.md"),
}
