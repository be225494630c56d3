"""The application: commands joined together."""

from typing import Annotated

import typer

from quadsim.cli.commands import bench, inspect, report, reproduce, sweep, verify
from quadsim.cli.commands import catalogue as commands

app = typer.Typer(
    name="quadsim",
    help="A laboratory for when and why sign-based and adaptive optimizers beat gradient descent.\n\n"
    "Example: quadsim sweep --heterogeneity 1,10,100",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("sweep")(sweep.sweep_command)
app.command("inspect")(inspect.inspect)
app.command("verify")(verify.verify)
app.command("reproduce")(reproduce.reproduce)
app.command("report")(report.report)
app.command("bench")(bench.bench)
app.command("rules")(commands.rules)
app.command("theorems")(commands.theorems)
app.command("info")(commands.info)


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
    """Entry point."""
    app(prog_name="quadsim")
