"""The application: commands joined together."""

import gc
import io
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

from quadsim.cli.commands import bench, compare, explore, inspect, report, reproduce, sweep, verify, which
from quadsim.cli.commands import catalogue as commands
from quadsim.cli.drawing import GARBAGE, allow_second_process
from quadsim.cli.strict import StrictCommand, StrictGroup

app = typer.Typer(
    name="quadsim",
    cls=StrictGroup,
    help="A laboratory for when and why sign-based and adaptive optimizers beat gradient descent.\n\n"
    "Example: quadsim sweep --heterogeneity 1,10,100",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_COMMANDS: dict[str, Callable[..., None]] = {
    "sweep": sweep.sweep_command,
    "inspect": inspect.inspect,
    "verify": verify.verify,
    "reproduce": reproduce.reproduce,
    "report": report.report,
    "compare": compare.compare,
    "which": which.which,
    "explore": explore.explore,
    "bench": bench.bench,
    "rules": commands.rules,
    "theorems": commands.theorems,
    "info": commands.info,
}
for _name, _command in _COMMANDS.items():
    app.command(_name, cls=StrictCommand)(_command)


def _version(asked: bool) -> None:
    if asked:
        import quadsim

        typer.echo(f"quadsim {quadsim.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the program in a process of its own: figures do not use the user's backend, and failing output is a one-line error."""
    # What a notebook hands down ("module://matplotlib_inline..."), or a name that Matplotlib does not know, would stop it.
    os.environ["MPLBACKEND"] = "agg"
    allow_second_process()
    gc.set_threshold(GARBAGE)
    # If processes cannot share anything, the commands that need it report this themselves.
    warnings.filterwarnings("ignore", message=".*joblib will operate in serial mode")
    output = _watched_output()
    try:
        app(prog_name="quadsim")
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()  # else Python does at its end, where nothing can be done about an error
        if output is not None and output.error is not None:
            _end_without_output(output.error)


CLOSED_PIPE = 128 + 13
"""Exit code of a command whose reader, as `head`, has closed the pipe: that of a program which the signal SIGPIPE ends."""


def _end_without_output(error: OSError) -> NoReturn:
    """Exit after standard output has failed: without a word where its reader has enough, else with one line.

    Raises:
        SystemExit: always.
    """
    if isinstance(error, BrokenPipeError):
        sys.exit(CLOSED_PIPE)
    with suppress(OSError):  # stderr may go to the same full disk
        print(
            f"Error: the output could not be written ({error.strerror}); make room, or send it elsewhere.",
            file=sys.stderr,
        )
    sys.exit(1)


class _Output(io.FileIO):
    """Standard output that records its first error; what is written from then on is dropped.

    The command goes on, as it may have results to write. An error is distinguished so from that of another file.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return len(data)


def _watched_output() -> _Output | None:
    """Replace standard output by an `_Output`, unless it is closed or a terminal."""
    old = sys.stdout
    if not isinstance(old, io.TextIOWrapper) or old.isatty():
        return None
    raw = _Output(old.fileno(), "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=old.encoding,
        errors=old.errors,
        line_buffering=old.line_buffering,
        write_through=old.write_through,
    )
    return raw
