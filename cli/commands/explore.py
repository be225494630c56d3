"""The command `quadsim explore`: a page with dials, on which optimizers run in the browser."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quadsim.cli.commands.sweep_options import READERS, own_of_file
from quadsim.cli.console import JsonOption, check_file, given_path, path_option, print_json, usage_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quadsim.simulator.rules.optimizer import OptimizerSpec
    from quadsim.simulator.rules.rule import Rule

__all__ = ["explore"]


def explore(
    optimizers: Annotated[
        str | None,
        typer.Option(
            "--optimizers",
            help="The optimizers that the page begins with, up to four; others are chosen on the page [gd,adam].",
            show_default=False,
            metavar="LIST",
        ),
    ] = None,
    optimizer_file: Annotated[
        str | None,
        typer.Option(
            "--optimizer-file",
            help="File that defines rules of your own, mine.py or mine.py:NAME; the page then has them, too.",
            show_default=False,
            metavar="FILE",
        ),
    ] = None,
    out: Annotated[Path | None, path_option("--out", "File of the page [explore.html].")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a page with dials that runs optimizers in the browser.

    The page is one HTML file that needs neither a server nor a network. It draws a quadratic with three blocks of three
    coordinates, the one that quadsim draws for the same dials and seed, and runs the optimizers on it while you move the dials.
    Their JavaScript is printed from the rules that quadsim runs, and the bounds from its theorems. A view is shared by its
    address.

    Example: quadsim explore

    Example: quadsim explore --optimizers gd,signsgd,adam:beta1=0 --out heterogeneity.html
    """
    from quadsim.simulator.support.paths import shown

    with usage_errors():
        path = given_path("out", out if out is not None else "explore.html")
        assert path is not None  # it has a default
        check_file("out", path, "an earlier page of quadsim explore", _is_page)
        own, left_out = _rules_of(optimizer_file)
        chosen = _chosen(optimizers, own)
        _write(path, chosen, own, optimizer_file or "")
    for name in left_out:
        print(f"Left out: {name}, a torch class, which has no formula to print.", file=sys.stderr)
    if as_json:
        print_json({"page": str(path), "optimizers": [spec.label for spec in chosen], "left_out": left_out})
    else:
        print(f"Page: {shown(path)}")


def _is_page(path: Path) -> bool:
    """Whether a file begins as a page of this command does."""
    try:
        with path.open("rb") as file:
            return b"<title>Explore: " in file.read(4096)
    except OSError:
        return False


def _rules_of(optimizer_file: str | None) -> "tuple[list[Rule], list[str]]":
    """Return the rules of the user's files, and the names of torch classes beside them.

    Raises:
        ValueError: no rule; see also `own_of_file`.
    """
    from quadsim.simulator.rules.rule import Rule

    found = own_of_file(optimizer_file)
    rules, others = (
        [one for one in found if isinstance(one, Rule)],
        [one.name for one in found if not isinstance(one, Rule)],
    )
    if others and not rules:
        raise ValueError(
            f"optimizer file must define a Rule, whose formula the page prints, got the torch class {', '.join(others)}; write "
            "its step as a Rule."
        )
    return rules, others


def _chosen(optimizers: str | None, own: "Sequence[Rule]") -> "list[OptimizerSpec]":
    """Return the optimizers that the page begins with.

    Raises:
        ValueError: an unknown optimizer or hyperparameter, none, or more than the page compares.
    """
    from quadsim.cli.pages.explore.page import MOST
    from quadsim.simulator.rules.optimizer import OptimizerSpec

    if optimizers is None:
        return [OptimizerSpec.parse(name, own) for name in ("gd", "adam", *(rule.name for rule in own))[:MOST]]
    texts = READERS["optimizers"](optimizers)
    if not 1 <= len(texts) <= MOST:
        raise ValueError(
            f"optimizers must name 1 to {MOST} optimizers, got {len(texts)}; the others can be chosen on the page."
        )
    return [OptimizerSpec.parse(text, own) for text in texts]


def _write(path: Path, chosen: "Sequence[OptimizerSpec]", own: "Sequence[Rule]", file: str) -> None:
    """Write the page.

    Raises:
        ValueError: a rule without JavaScript, or a path that cannot be written.
    """
    from quadsim.cli.pages.explore.page import explore_html
    from quadsim.simulator.support.store import write_whole

    content = explore_html(chosen, own, Path(file).name)

    def write(temporary: Path) -> None:
        temporary.write_text(content, encoding="utf-8", newline="\n")

    try:
        write_whole(path, write)
    except OSError as error:
        raise ValueError(
            f"out must be a file that can be written, got {path} ({error.strerror}); name another."
        ) from error
