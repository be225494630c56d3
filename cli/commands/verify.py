"""The command `quadsim verify`: prove the theorems, check them on random problems, and refute false claims."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quadsim.cli.console import (
    Ends,
    JsonOption,
    QuietOption,
    StyleOption,
    given_path,
    path_option,
    print_json,
    usage_errors,
)
from quadsim.cli.text.verification import verification_document, verification_table

if TYPE_CHECKING:
    from quadsim.theory.verifying.verification import ClaimReport, TheoremReport

__all__ = ["verify"]


_Problems = Annotated[
    int | None, typer.Option(help="Number of new random problems for each theorem [1000; with --exact 50].")
]
_Search = Annotated[
    int | None,
    typer.Option(
        help="Number of instances that the search for the tightest case of an upper bound may try; 0 leaves the search out "
        "[3000]."
    ),
]


_Mutants = Annotated[
    bool,
    typer.Option(
        "--mutants",
        help="Instead: change statements, rules, records and the judge one by one, and report the changes that nothing shows.",
    ),
]
_Every = Annotated[
    int | None,
    typer.Option(help="With --mutants: only every so many-th of them (default 1: all, half an hour with one worker)."),
]
_Instances = Annotated[
    int | None,
    typer.Option(
        help="Instead: check that no theorem is refuted or undecided on this many random instances, over all dials, scales "
        "from 1e-100 to 1e100, both number types and rates at the edge of stability."
    ),
]
_Draws = Annotated[
    int | None,
    typer.Option(
        help="Instead: hold the exact means of gradient descent, heavy-ball and sign steps on streams of samples against the "
        "means of this many runs each."
    ),
]
_Out = Annotated[
    Path | None,
    path_option("--out", "Folder for verify.json and report.html, with --draws for draws.csv [no files]."),
]
_Workers = Annotated[
    int | None,
    typer.Option(help="With --mutants, --instances or --draws: number of processes; the result is the same [1]."),
]


def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Names of theorems; all of them if left out.")
    ] = None,
    problems: _Problems = None,
    seed: Annotated[int, typer.Option(help="Seed of the random problems.")] = 0,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Build the problems from rational numbers and check them in exact arithmetic."),
    ] = False,
    search: _Search = None,
    mutants: _Mutants = False,
    every: _Every = None,
    instances: _Instances = None,
    draws: _Draws = None,
    workers: _Workers = None,
    out: _Out = None,
    style: StyleOption = "quadsim",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Prove the theorems and check them on new random problems.

    The claims that are known to be false are refuted.

    Exit code 1 if anything is refuted, undecided, untested or unproved, or a false claim or a mutant survives.

    Example: quadsim verify gd-upper adam-frozen --problems 200
    """
    began = time.perf_counter()
    asked = {"names": list(names or ()), "problems": problems, "seed": seed, "exact": exact, "search": search}
    gates = {"mutants": mutants, "every": every, "instances": instances, "draws": draws, "workers": workers}
    with usage_errors():
        _check_gates(asked | {"out": out}, gates)
        if exact and search:
            raise ValueError(
                f"--search cannot be combined with --exact, which runs rational instances only, got {search}; leave one out."
            )
        if mutants:
            _try_mutants(every or 1, seed, workers or 1, as_json=as_json, quiet=quiet)
            return
        if instances is not None:
            _stress(instances, asked, workers or 1, as_json=as_json, quiet=quiet)
            return
        if draws is not None:
            _hold_means(draws, workers or 1, given_path("out", out), as_json=as_json, quiet=quiet)
            return
        out = given_path("out", out)
        if out is not None:
            from quadsim.cli.pages import VERIFIED
            from quadsim.simulator.sweeps.run.folder import make_folder

            make_folder(out, "an earlier verify", VERIFIED)
        reports, claims, interrupted = _verified(asked, quiet=quiet)
    ends, page = Ends(), None
    if out is not None:
        content = verification_document(reports, claims) | {"asked": asked, "interrupted": interrupted}
        page = _write(out, content, time.perf_counter() - began, ends)
    _print(reports, claims, page, as_json=as_json)
    if interrupted:
        print("Interrupted: the table holds what was finished.", file=sys.stderr)
        raise typer.Exit(130)
    if any(report.verdict not in ("proved", "lemmas proved") for report in reports) or any(
        c.refutation.verdict != "refuted" for c in claims
    ):
        raise typer.Exit(1)
    ends.exit()


def _check_gates(given: Mapping[str, Any], gates: Mapping[str, Any]) -> None:
    """Check that --mutants and --instances stand alone, and their options not without them.

    Raises:
        ValueError: options that do not go together, or a number out of range.
    """
    from quadsim.simulator.support.checks import check_count, check_workers

    for name in ("every", "instances", "draws"):
        if gates[name] is not None:
            check_count(name, gates[name])
    if gates["workers"] is not None:
        check_workers(gates["workers"])
    mutants, instances = gates["mutants"], gates["instances"] is not None
    if gates["every"] is not None and not mutants:
        raise ValueError(f"--every must come with --mutants, got {gates['every']} without it; add --mutants.")
    draws = gates["draws"] is not None
    if gates["workers"] is not None and not (mutants or instances or draws):
        raise ValueError(
            f"--workers must come with --mutants, --instances or --draws, got {gates['workers']} without them; leave it out."
        )
    gate = "--mutants" if mutants else "--instances" if instances else "--draws"
    rest = "--every, --workers and --seed" if mutants else "names of theorems, --workers and --seed"
    rest = "--workers and --out" if draws else rest
    others = [name for name in ("problems", "exact", "search", "out") if given[name] and not (draws and name == "out")]
    others = ["names", *others] if (mutants or draws) and given["names"] else others
    others += ["seed"] if draws and given["seed"] else []
    others += ["instances"] if mutants and instances else []
    others += ["draws"] if (mutants or instances) and draws else []
    if (mutants or instances or draws) and others:
        text = "names of theorems" if others[0] == "names" else f"--{others[0]}"
        raise ValueError(f"{gate} must stand alone, apart from {rest}, got {text}; leave one out.")


def _stress(instances: int, asked: Mapping[str, Any], workers: int, *, as_json: bool, quiet: bool) -> None:
    """Check the theorems on many random instances and print what became of them; exit code 1 if any speaks against one."""
    from quadsim.cli.progress import progress_bar
    from quadsim.cli.text.gates import stress_document, stress_table
    from quadsim.theory.verifying.stress import stress

    with progress_bar(quiet=quiet) as progress:
        found = stress(instances, names=tuple(asked["names"]), workers=workers, seed=asked["seed"], progress=progress)
    if as_json:
        print_json(stress_document(found))
    else:
        typer.echo(stress_table(found))
    if any(one.against for one in found):
        raise typer.Exit(1)


def _try_mutants(every: int, seed: int, workers: int, *, as_json: bool, quiet: bool) -> None:
    """Try mutants and print what became of them; exit code 1 if one survives without an argument."""
    from quadsim.cli.progress import progress_bar
    from quadsim.cli.text.gates import mutants_document, mutants_table
    from quadsim.theory.verifying.mutants import try_mutants

    with progress_bar(quiet=quiet) as progress:
        found = try_mutants(every=every, seed=seed, workers=workers, progress=progress)
    if as_json:
        print_json(mutants_document(found))
    else:
        typer.echo(mutants_table(found))
    if found.holes:
        raise typer.Exit(1)


def _hold_means(draws: int, workers: int, out: Path | None, *, as_json: bool, quiet: bool) -> None:
    """Hold the exact means on streams of samples against runs and print what was found; exit code 1 if a mean is refuted."""
    from quadsim.cli.progress import progress_bar
    from quadsim.cli.text.draws_table import DRAWS, draws_csv, draws_document, draws_row, draws_table
    from quadsim.simulator.support import store
    from quadsim.simulator.sweeps.run.folder import make_folder
    from quadsim.theory.verifying.streams.means import ERROR_RATE
    from quadsim.theory.verifying.streams.monte_carlo import monte_carlo

    if out is not None:
        make_folder(out, "earlier means over draws", DRAWS)
    with progress_bar(quiet=quiet) as progress:
        found = list(monte_carlo(draws, workers=workers, progress=progress))
    ends = Ends()
    if out is not None:

        def write(path: Path) -> None:
            path.write_text(draws_csv([draws_row(one) for one in found]), encoding="utf-8", newline="")

        with ends.attempt(f"{out / DRAWS}", "the table is all there is; make room and run the command again"):
            store.write_whole(out / DRAWS, write)
    if as_json:
        print_json({"error_rate": ERROR_RATE, "cases": [draws_document(one) for one in found]})
    else:
        typer.echo(draws_table(found, ERROR_RATE))
    if any(one.verdict == "refuted" for one in found):
        raise typer.Exit(1)
    ends.exit()


def _verified(asked: Mapping[str, Any], *, quiet: bool) -> "tuple[list[TheoremReport], list[ClaimReport], bool]":
    """The reports on theorems and on false claims that were finished, and whether the user ended it before the rest.

    Raises:
        ValueError: an unknown name, or a number out of range.
    """
    from quadsim.cli.progress import progress_bar
    from quadsim.theory.verifying.verification import verify as run

    reports: list[TheoremReport] = []
    claims: list[ClaimReport] = []
    with progress_bar(quiet=quiet) as progress:
        try:
            run(
                tuple(asked["names"]),
                problems=asked["problems"],
                seed=asked["seed"],
                exact=asked["exact"],
                search=3000 if asked["search"] is None else asked["search"],
                sides=True,
                progress=progress,
                into=(reports, claims),
            )
        except KeyboardInterrupt:
            return reports, claims, True
    return reports, claims, False


def _print(reports: "list[TheoremReport]", claims: "list[ClaimReport]", page: Path | None, *, as_json: bool) -> None:
    """The document or the table, and where the report is, if there is one."""
    from quadsim.simulator.support.paths import shown

    if as_json:
        print_json(verification_document(reports, claims))
    else:
        typer.echo(verification_table(reports, claims))
    if page is not None:
        print(f"Report: {shown(page)}", file=sys.stderr if as_json else sys.stdout)


def _write(folder: Path, content: dict[str, Any], seconds: float, ends: Ends) -> Path | None:
    """Write the document with its provenance, and its report."""
    from quadsim.cli.pages import VERIFIED, write_report
    from quadsim.simulator.support import store
    from quadsim.simulator.support.provenance import provenance

    with ends.attempt(f"{folder / VERIFIED}", "the table is all there is; make room and run the command again"):
        store.write_json(folder / VERIFIED, content | {"manifest": provenance(seconds)})
    if ends.failed:
        return None
    then = f"the results in {folder} are finished, and quadsim report {folder} makes the rest"
    with ends.attempt("figure and report", then):
        return write_report(folder)
    return None
