"""quadsim reproduce: the papers' claims, each with its figure and verdict."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quadsim.cli.console import Ends, StyleOption, given_path, print_json, usage_errors

if TYPE_CHECKING:
    from quadsim.theory.claims import Claim, Outcome

__all__ = ["reproduce"]


def reproduce(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Claims; all if left out.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small experiments, minutes in all (the default).")] = False,
    full: Annotated[bool, typer.Option("--full", help="Full experiments, minutes each.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for data and figures [runs/claims-quick or -full].", parser=str, metavar="PATH"),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            "--merge",
            help="Stored table, as docs/claims.json, that takes the results in place of earlier ones.",
            show_default=False,
            parser=str,
            metavar="FILE",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Added to the seed of every draw.")] = 0,
    workers: Annotated[
        int | None, typer.Option(help="Processes that run a claim each [as many as cores, at most 8].", min=1)
    ] = None,
    style: StyleOption = "quadsim",
    listing: Annotated[bool, typer.Option("--list", help="Show the claims and their criteria, run nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
) -> None:
    """Run the papers' claims and judge each by its own criterion.

    The verdict is: reproduced, partly, not at this scale, or refuted. The criterion of every claim is fixed before the run
    (--list shows it). A folder that holds earlier claims keeps them.

    Example: quadsim reproduce gd-lower adam-r-probability

    Example: quadsim reproduce norm-placement --full --merge docs/claims.json
    """
    from quadsim.cli.progress import progress_bar
    from quadsim.simulator.support.paths import local_path, shown
    from quadsim.theory.claims import CLAIMS
    from quadsim.theory.claims import reproduce as run

    outcomes: list[Outcome] = []
    ends = Ends()
    with usage_errors():
        if quick and full:
            raise ValueError("size must be one of --quick and --full, got both; give one.")
        if listing:
            from quadsim.simulator.support.checks import check_choice

            chosen = [CLAIMS[check_choice("claim", name, CLAIMS)] for name in ids or CLAIMS]
            print_json({"claims": [listed(claim) for claim in chosen]}) if as_json else typer.echo(list_text(chosen))
            return
        if (table := given_path("merge", into)) is not None:
            from quadsim.cli.claims_table import check_mergeable

            check_mergeable(table, "full" if full else "quick", seed)
        folder = local_path("out", Path("runs") / f"claims-{'full' if full else 'quick'}" if out is None else out)
        interrupted = False
        with progress_bar(quiet=quiet) as progress:
            try:
                run(
                    ids or (),
                    size="full" if full else "quick",
                    seed=seed,
                    out=folder,
                    progress=progress,
                    into=outcomes,
                    workers=workers or min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, 8),
                )
            except KeyboardInterrupt:
                interrupted = True
            except OSError as error:  # of the files of one claim, after it was judged
                with ends.attempt("data", f"make room in {folder}; the claims below are all that were finished"):
                    raise error
    if outcomes and not ends.failed:
        from quadsim.cli.pages import write_report

        then = f"the results in {folder} are finished, and quadsim report {folder} makes the rest"
        with ends.attempt("report", then):
            write_report(folder, figures=False)
    if table is not None and not ends.failed:
        from quadsim.cli.claims_table import merge

        then = (
            f"the results in {folder} are finished; merge them with python -m quadsim.cli.claims_table {table} {folder}"
        )
        with ends.attempt("the stored table", then):
            merge(table, [outcome.to_json() for outcome in outcomes])
    order = list(CLAIMS)
    outcomes.sort(key=lambda outcome: order.index(outcome.claim.id))
    if as_json:
        print_json({"claims": [outcome.to_json() for outcome in outcomes]})
    else:
        typer.echo(text(outcomes))
        typer.echo(f"\nFiles: {shown(folder)}/ (report.html, claims.json, and figure and data of every claim)")
        if table is not None and not ends.failed:
            typer.echo(f"Merged into {shown(table)} and its pages.")
    if interrupted:
        print(f"Interrupted: what was finished is kept in {shown(folder)}.", file=sys.stderr)
        raise typer.Exit(130)
    if any(
        outcome.found is not None and not (folder / outcome.claim.id / "figure.pdf").is_file() for outcome in outcomes
    ):
        raise typer.Exit(1)  # the library has said which and why
    ends.exit()


def listed(claim: "Claim") -> dict[str, Any]:
    """A claim without its result, as plain data."""
    return {
        "id": claim.id,
        "claim": claim.claim,
        "group": claim.group,
        "source": claim.source,
        "method": claim.method,
        "criterion": {"conditions": claim.criterion["conditions"], "hash": claim.digest()},
    }


def list_text(claims: Sequence["Claim"]) -> str:
    """Claims with source and criterion."""
    lines = []
    for claim in claims:
        lines += [f"{claim.id}  ({claim.group}; {claim.source})", f"  {claim.claim}", f"  Tried: {claim.method}"]
        lines += [f"  - {condition}: {condition.because}" for condition in claim.conditions]
        lines.append("")
    return "\n".join(lines).rstrip()


def text(outcomes: Sequence["Outcome"]) -> str:
    """The table of verdicts, then claim by claim what the verdict rests on."""
    width = max((len(outcome.claim.id) for outcome in outcomes), default=0)
    lines = [f"{'claim'.ljust(width)}  {'verdict':<17}  seconds"]
    lines += [f"{o.claim.id.ljust(width)}  {o.verdict:<17}  {o.seconds:7.1f}" for o in outcomes]
    for o in outcomes:
        lines += ["", f"{o.claim.id}: {o.verdict}. {o.claim.claim} ({o.claim.group}; {o.claim.source})"]
        if o.found is None:
            lines.append(f"  {o.reason}")
            continue
        lines += [
            f"  {state:6} {figure} (wanted: {condition.wanted})"
            for condition, state, figure in zip(o.claim.conditions, o.judgement.states, o.judged, strict=True)
        ]
        judged = {condition.measure for condition in o.claim.conditions}
        lines += [f"  beside {figure}" for figure in o.found.measured if figure.name not in judged]
        lines += [f"  note   {note}" for note in o.found.notes]
    return "\n".join(lines)
