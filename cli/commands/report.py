"""The command `quadsim report`: write tables, figures and report.html again from stored results."""

from pathlib import Path
from typing import Annotated

import typer

from quadsim.cli.console import Ends, JsonOption, StyleOption, print_json, usage_errors

__all__ = ["report"]


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", parser=str, help="Result folder of sweep, verify or reproduce.")
    ],
    style: StyleOption = "quadsim",
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the path alone, no table.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make tables, figures and report again from stored results.

    Nothing is run. The report is report.html in the folder.

    Example: quadsim report runs/mine
    """
    from quadsim.cli.pages import kind_of, write_report
    from quadsim.simulator.support.paths import local_path, shown

    ends = Ends()
    with usage_errors():
        folder = local_path("DIR", folder)
        kind = kind_of(folder)
        try:
            path = write_report(folder)
        except ValueError:
            raise
        except OSError as error:
            raise ValueError(f"the folder must be writable, got {folder} ({error}); copy it.") from error
        except Exception as error:
            with ends.attempt("figures and report", f"the results in {folder} are as they were"):
                raise error
            ends.exit()
    if as_json:
        print_json({"kind": kind, "report": str(path)})
        return
    if kind == "sweep" and not quiet:
        from quadsim.cli.text.sweep_table import print_results
        from quadsim.simulator.sweeps.results.results import load_results

        print_results(load_results(folder), quiet=False)
    print(path if quiet else f"Report: {shown(path)}")
