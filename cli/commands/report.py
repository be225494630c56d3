"""quadsim report: tables, figures and report.html again, from stored results."""

from pathlib import Path
from typing import Annotated

import typer

from quadsim.cli.console import print_json, usage_errors

__all__ = ["report"]


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that sweep, verify or reproduce wrote.")],
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the path alone, no table.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Make tables, figures and report.html again from stored results; nothing is run.

    Example: quadsim report runs/mine
    """
    from quadsim.cli.pages import kind_of, write_report

    with usage_errors():
        kind = kind_of(folder)
        try:
            path = write_report(folder)
        except OSError as error:
            raise ValueError(f"the folder must be one that can be written, got {folder} ({error}); copy it.") from error
    if as_json:
        print_json({"kind": kind, "report": str(path)})
        return
    if kind == "sweep" and not quiet:
        from quadsim.cli.text.sweep_table import print_results
        from quadsim.simulator.sweeps.results.results import load_results

        print_results(load_results(folder), quiet=False)
    print(path if quiet else f"Report: {path}")
