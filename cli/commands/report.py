"""The command `quadsim report`: write tables, figures and report.html again from stored results."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quadsim.cli.commands.sweep_options import READERS
from quadsim.cli.console import (
    Ends,
    JsonOption,
    StyleOption,
    comma_list,
    given_path,
    path_option,
    print_json,
    usage_errors,
)

if TYPE_CHECKING:
    from quadsim.simulator.sweeps.results.results import Results

__all__ = ["report"]


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", parser=str, help="Result folder of quadsim sweep, verify or reproduce.")
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            help="Part of a sweep to show: optimizer=adam,gd, or values of a dial, as heterogeneity=1,10; may be given "
            "several times.",
            show_default=False,
            metavar="NAME=LIST",
        ),
    ] = None,
    out: Annotated[Path | None, path_option("--out", "Folder of the part, with --only [DIR/only-<hash>]")] = None,
    style: StyleOption = "quadsim",
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print the path of the report alone, without the table.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make tables, figures and report again from stored results.

    Nothing is run. The report is report.html in the folder. With --only, table, figures, answer and report of a part go to a
    folder of their own, and the stored results stay as they are.

    Example: quadsim report runs/mine

    Example: quadsim report runs/mine --only optimizer=adam,gd --only heterogeneity=1,10
    """
    from quadsim.cli.pages import kind_of, write_report
    from quadsim.simulator.support.paths import local_path, shown

    ends = Ends()
    with usage_errors():
        folder = local_path("DIR", folder)
        kind, chosen = kind_of(folder), given_path("out", out)
        if only:
            folder = _part(folder, kind, only, chosen)
        elif chosen is not None:
            raise ValueError(
                "--out must be left out without --only, as the report belongs in its folder, got it; drop it."
            )
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


def _part(folder: Path, kind: str, only: list[str], out: Path | None) -> Path:
    """Write a part of a sweep to a folder of its own, and return that.

    Raises:
        ValueError: no sweep, what is no part of it, or a folder with something else in it.
    """
    from quadsim.simulator.sweeps.config.extending import narrowed
    from quadsim.simulator.sweeps.results.part import PART, write_part
    from quadsim.simulator.sweeps.results.results import load_results
    from quadsim.simulator.sweeps.run.folder import make_folder, writable

    if kind != "sweep":
        raise ValueError(f"--only must be given for a sweep, got {folder}, which is of {kind}; leave it out.")
    chosen = _chosen(only)
    whole: Results = load_results(folder)
    config = narrowed(whole.config, chosen)
    place = folder / f"only-{config.digest}" if out is None else out
    make_folder(place, "an earlier part", PART)
    with writable(place):
        write_part(whole, config, chosen, place)
    return place


def _chosen(only: list[str]) -> dict[str, tuple[str, ...]]:
    """`NAME=LIST` texts as names with their values.

    Raises:
        ValueError: a text of another form, or a name given twice.
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in only:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise ValueError(f"only must be NAME=value,value, got {text!r}; write for example optimizer=adam,gd.")
        if name in found:
            raise ValueError(f"only must name {name} once, got it twice; put all values into one, with commas.")
        found[name] = READERS["optimizers"](values) if name == "optimizer" else comma_list(values, str)
    return found
