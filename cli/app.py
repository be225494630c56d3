"""The application: commands joined together."""

from typing import Annotated

import typer

from quadsim.cli import bench, commands, inspect, report, reproduce, sweep, verify
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
for _name, _command in {
    "sweep": sweep.sweep_command,
    "inspect": inspect.inspect,
    "verify": verify.verify,
    "reproduce": reproduce.reproduce,
    "report": report.report,
    "bench": bench.bench,
    "rules": commands.rules,
    "theorems": commands.theorems,
    "info": commands.info,
}.items():
    app.command(_name, cls=StrictCommand)(_command)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"quadsim {version('quadsim')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point."""
    app(prog_name="quadsim")
