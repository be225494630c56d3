"""Functions of all commands: bad input in one line, one JSON document, text in columns, comma lists."""

import codecs
import json
import logging
import math
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

__all__ = [
    "Ends",
    "JsonOption",
    "QuietOption",
    "StyleOption",
    "check_file",
    "comma_list",
    "deliver",
    "duration_text",
    "encodable_output",
    "given_path",
    "library_messages",
    "number",
    "path_option",
    "print_json",
    "progress_lines",
    "usage_errors",
]

T = TypeVar("T")


_PLAIN = {
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MINUS SIGN}": "-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{MIDDLE DOT}": "*",
    "\N{LESS-THAN OR EQUAL TO}": "<=",
    "\N{GREATER-THAN OR EQUAL TO}": ">=",
    "\N{NOT EQUAL TO}": "!=",
    "\N{ALMOST EQUAL TO}": "~",
    "\N{RIGHTWARDS ARROW}": "->",
    "\N{SQUARE ROOT}": "sqrt",
    "\N{INFINITY}": "inf",
    "\N{LEFT SINGLE QUOTATION MARK}": "'",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"',
    "\N{RIGHT DOUBLE QUOTATION MARK}": '"',
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{FRACTION SLASH}": "/",
}


def _in_ascii(character: str) -> str:
    """Return a character in ASCII: the letter without its accent, the name of a Greek letter, else its code as in Python."""
    if character in _PLAIN:
        return _PLAIN[character]
    script, _, name = unicodedata.name(character, "").partition(" LETTER ")
    if script in ("GREEK SMALL", "GREEK CAPITAL") and name.isalpha():
        name = name.replace("LAMDA", "LAMBDA")
        return name.lower() if script == "GREEK SMALL" else name.capitalize()
    parts = unicodedata.normalize("NFKD", character)
    plain = "".join(_PLAIN.get(part, part) for part in parts if not unicodedata.combining(part))
    return plain if plain.isascii() and plain else character.encode("ascii", "backslashreplace").decode("ascii")


def _substitute(error: UnicodeError) -> tuple[str, int]:
    """Return the text that replaces characters that an encoding does not have.

    Raises:
        UnicodeError: an error of decoding, not of encoding.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def encodable_output() -> None:
    """Write characters that the encoding of a terminal or file does not have in ASCII, instead of ending with an error."""
    codecs.register_error("quadsim-ascii", _substitute)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="quadsim-ascii")


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn the library's ValueError into one line on stderr and exit code 2, its text unchanged.

    Raises:
        Exit: with code 2, if the library raised a ValueError.
    """
    try:
        yield
    except ValueError as error:
        print(f"Error: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(2) from None


class Ends:
    """The last parts of a command: figures, reports, files. If one of them fails, the others are still done.

    A failure is reported by one line on stderr, and by exit code 1 at the end.

    Attributes:
        failed: whether a part has failed.
    """

    def __init__(self) -> None:
        self.failed = False

    @contextmanager
    def attempt(self, what: str, then: str) -> Iterator[None]:
        """Run one part; catch and report its failure.

        Args:
            what: the part that is written, as "the figures".
            then: text that says what is stored anyway, and which command writes the missing part.
        """
        try:
            yield
        except Exception as error:  # any error: finished work must be kept
            self.report(what, f"{type(error).__name__}: {error}", then)

    def report(self, what: str, reason: str, then: str) -> None:
        """Report the failure of a part, whose arguments are those of `attempt`."""
        print(f"Error: {what} could not be written ({' '.join(reason.split())}); {then}.", file=sys.stderr)
        self.failed = True

    def exit(self) -> None:
        """Exit with code 1 if a part has failed.

        Raises:
            Exit: with code 1, if a part has failed.
        """
        if self.failed:
            raise typer.Exit(1)


def deliver(
    record: dict[str, Any],
    words: str,
    folder: Path | None,
    names: Sequence[str],
    *,
    as_json: bool,
    draw: Callable[[Path], None] | None = None,
) -> None:
    """Write what a command measured, and print it in words or as JSON, also where it cannot be written.

    Args:
        record: what was measured, as plain data.
        words: the same for a reader.
        folder: where to write; None writes nothing.
        names: of the files, the record first.
        as_json: whether the record is printed in place of the words.
        draw: writes the other files into the folder.

    Raises:
        Exit: with code 1, if a file could not be written.
    """
    from quadsim.simulator.support import store
    from quadsim.simulator.support.paths import shown

    ends, printed = Ends(), "what was measured is printed all the same"
    if folder is not None:
        with ends.attempt(names[0], printed):
            folder.mkdir(parents=True, exist_ok=True)
            store.write_json(folder / names[0], record)
        if draw is not None:
            with ends.attempt("the figure", printed):
                draw(folder)
    if as_json:
        print_json(record)
    else:
        typer.echo(words)
        if folder is not None and not ends.failed:
            alone = len(names) == 1
            typer.echo(
                f"File: {shown(folder)}/{names[0]}" if alone else f"Files: {shown(folder)}/ ({', '.join(names)})"
            )
    ends.exit()


def _take_style(context: typer.Context, name: str) -> str:
    if name != "quadsim":  # the usual one is not worth loading the library here
        from quadsim.simulator.figures.style import chosen_style

        with usage_errors():
            context.with_resource(chosen_style(name))
    return name


StyleOption = Annotated[
    str,
    typer.Option(
        "--style",
        help="Style of the figures: quadsim, paper (one column of a two-column paper) or user (the settings of your "
        "matplotlibrc).",
        callback=_take_style,
    ),
]
"""The option of every command that draws; it is in effect until the command ends."""


JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
"""Of every command that reports results."""

QuietOption = Annotated[bool, typer.Option("--quiet", help="Show no progress bar.")]
"""Of commands that show nothing else on the way."""


def path_option(name: str, text: str, group: str | None = None) -> Any:
    """An option that takes a path.

    It is read with `parser=str`: a Path would make "" the working directory, and "./~" a home folder. See `given_path`.

    Args:
        name: as it is written, as `--out`.
        text: its help.
        group: heading in the help.
    """
    return typer.Option(name, help=text, show_default=False, parser=str, metavar="PATH", rich_help_panel=group)


def progress_lines(*, quiet: bool) -> Callable[[str], None]:
    """What writes a line of progress to stderr; nothing where `quiet`."""

    def progress(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr)

    return progress


@contextmanager
def library_messages(*, quiet: bool) -> Iterator[None]:
    """Show the log messages of the library (as that it compiles a kernel) on stderr."""
    log, handler = logging.getLogger("quadsim"), logging.StreamHandler(sys.stderr)
    level = log.level
    handler.setFormatter(logging.Formatter("%(message)s"))
    if not quiet:
        log.setLevel(logging.INFO)
        log.addHandler(handler)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


def print_json(document: Any) -> None:
    """Print the document of a command with --json. NaN and inf are not JSON; the caller must have replaced them by None."""
    print(json.dumps(document, indent=2, allow_nan=False))


def number(text: str) -> Any:
    """Return the int or float that a text is; else the text itself, which the library refuses.

    It does the same as `checks.as_number`, which cannot be imported without loading the whole library.
    """
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def given_path(what: str, path: str | Path | None) -> Path | None:
    """Return a path that was given as an option, expanded and absolute; None if it was not given.

    Raises:
        ValueError: a path that cannot be made absolute.
    """
    from quadsim.simulator.support.paths import local_path

    return None if path is None else local_path(what, path)


def duration_text(seconds: float) -> str:
    """Return an estimated time in words: a number of at most two digits in the unit that one would choose.

    Examples:
        >>> duration_text(580)
        '10 min'
        >>> duration_text(0.0123)
        '0.012 s'
    """
    for unit, size in (("years", 365 * 86400), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{_two_digits(seconds / size)} {unit}"
    return f"{_two_digits(seconds)} s"


def _two_digits(value: float) -> str:
    """Two significant digits without an exponent; a whole number from 5 on, as this is of estimates."""
    return f"{round(value, 1 - math.floor(math.log10(max(value, 10)))):,.0f}" if value >= 5 else f"{value:.2g}"


def check_file(what: str, path: Path, earlier: str, is_earlier: Callable[[Path], bool]) -> None:
    """Check that nothing but an earlier file of the command is in the place of the file that it writes.

    Args:
        what: name of the option, for the message.
        path: the file.
        earlier: the file that may be replaced, as "an earlier page".
        is_earlier: whether an existing file is one.

    Raises:
        ValueError: something else is there.
    """
    if not os.path.lexists(path) or (os.path.isfile(path) and is_earlier(path)):
        return
    raise ValueError(f"{what} must be a new file or {earlier}, got {path}, which is something else; name another.")


def comma_list(text: str, read: Callable[[str], T]) -> tuple[T, ...]:
    """Return the items between commas, each converted; empty items are dropped, so that an empty text is an empty list."""
    return tuple(read(item.strip()) for item in text.split(",") if item.strip())
