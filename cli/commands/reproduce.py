"""The command `quadsim reproduce`: run the papers' claims, each with its figure and verdict."""

import os
import sys
from collections.abc import Mapping, Sequence
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

if TYPE_CHECKING:
    from quadsim.theory.claims import Claim, Outcome

__all__ = ["reproduce"]


def reproduce(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Names of claims; all of them if left out.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Run small experiments, minutes in total (the default).")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Run the full experiments, minutes each.")] = False,
    out: Annotated[
        Path | None, path_option("--out", "Folder for data and figures [runs/claims-quick or runs/claims-full].")
    ] = None,
    into: Annotated[
        Path | None,
        path_option("--merge", "Stored table, as docs/claims.json, in which the rows of these claims are replaced."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Number that is added to the seed of every draw.")] = 0,
    workers: Annotated[
        int | None,
        typer.Option(help="Number of processes that share the work; the same bits for any number [cores, at most 8]."),
    ] = None,
    style: StyleOption = "quadsim",
    listing: Annotated[
        bool, typer.Option("--list", help="Show the claims and their criteria, and run nothing.")
    ] = False,
    controls: Annotated[
        bool,
        typer.Option(
            "--controls", help="Show every instrument of the claims its known effect and its null, run no claim."
        ),
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run the papers' claims and judge each by its own criterion.

    Theorems are proved, or a counter-example refutes them. An inference from samples is shown, not shown (an effect of the named
    size is excluded), opposite shown, inconclusive or not comparable; withdrawn, if its instrument fails a control; an estimate,
    if the number depends on a choice that the paper leaves open. Criteria are fixed before the run (--list shows them).

    Example: quadsim reproduce gd-lower adam-r-probability

    Example: quadsim reproduce norm-placement --full --merge docs/claims.json
    """
    from quadsim.simulator.support.paths import local_path, shown

    ends = Ends()
    with usage_errors():
        if quick and full:
            raise ValueError("--quick cannot be combined with --full, got both; give one.")
        if listing or controls:
            sizes = {"--quick": quick, "--full": full}
            runs = sizes | {"--out": out, "--merge": into, "--seed": seed or None, "--workers": workers}
            _check_shown("--list" if listing else "--controls", {"--controls": listing and controls} | runs)
            (_list if listing else _controls)(ids, as_json=as_json)
            return
        size = "full" if full else "quick"
        table = _mergeable(into, size, seed)
        folder = local_path("out", Path("runs") / f"claims-{size}" if out is None else out)
        outcomes, interrupted = _outcomes(ids or (), size, seed, folder, workers, ends, quiet=quiet)
    _write(outcomes, folder, table, ends)
    _print(outcomes, folder, None if ends.failed else table, as_json=as_json)
    if interrupted:
        print(f"Interrupted: what was finished is kept in {shown(folder)}.", file=sys.stderr)
        raise typer.Exit(130)
    if any(o.found is not None and not (folder / o.claim.id / "figure.pdf").is_file() for o in outcomes):
        raise typer.Exit(1)  # the library has said which and why
    ends.exit()


def _mergeable(into: Path | None, size: str, seed: int) -> Path | None:
    """The stored table into which results of this size and seed can be merged, if one is given.

    Raises:
        ValueError: no such table, or results of another size or seed.
    """
    if (table := given_path("merge", into)) is not None:
        from quadsim.cli.claims_table import check_mergeable

        check_mergeable(table, size, seed)
    return table


def _write(outcomes: "Sequence[Outcome]", folder: Path, table: Path | None, ends: Ends) -> None:
    """Write the report, and merge the results into the stored table if there is one."""
    if outcomes and not ends.failed:
        from quadsim.cli.pages import write_report

        then = f"the results in {folder} are finished, and quadsim report {folder} makes the rest"
        with ends.attempt("report", then):
            write_report(folder, figures=False)
    if table is not None and not ends.failed:
        from quadsim.cli.claims_table import merge

        again = f"python -m quadsim.cli.claims_table {table} {folder}"
        with ends.attempt("the stored table", f"the results in {folder} are finished; merge them with {again}"):
            merge(table, [outcome.to_json() for outcome in outcomes], folder)


def _print(outcomes: "Sequence[Outcome]", folder: Path, merged: Path | None, *, as_json: bool) -> None:
    """Print the verdicts, and where the rest is."""
    from quadsim.simulator.support.paths import shown

    if as_json:
        print_json({"claims": [outcome.to_json() for outcome in outcomes]})
        return
    typer.echo(text(outcomes))
    typer.echo(f"\nFiles: {shown(folder)}/ (report.html, claims.json, and figure and data of every claim)")
    if merged is not None:
        typer.echo(f"Merged into {shown(merged)} and its pages.")


def _list(ids: Sequence[str] | None, *, as_json: bool) -> None:
    """Show the claims and their criteria.

    Raises:
        ValueError: an unknown claim.
    """
    from quadsim.simulator.support.checks import check_choice
    from quadsim.theory.claims import CLAIMS

    chosen = [CLAIMS[check_choice("claim", name, CLAIMS)] for name in ids or CLAIMS]
    print_json({"claims": [listed(claim) for claim in chosen]}) if as_json else typer.echo(list_text(chosen))


def _check_shown(shown_by: str, others: Mapping[str, Any]) -> None:
    """Refuse options of a run beside one that only shows something: they would have no effect.

    Raises:
        ValueError: one of them was given.
    """
    if given := [name for name, value in others.items() if value is not None and value is not False]:
        raise ValueError(f"{shown_by} runs no claim and cannot be combined with {given[0]}, got both; give one.")


def _controls(ids: Sequence[str] | None, *, as_json: bool) -> None:
    """Show the instruments of these claims, or all instruments, their controls; exit code 1 if one without a known fault fails.

    Raises:
        ValueError: an unknown claim.
    """
    from quadsim.simulator.support.checks import check_choice
    from quadsim.theory.claims import CLAIMS
    from quadsim.theory.instruments import INSTRUMENTS, show

    chosen = [CLAIMS[check_choice("claim", name, CLAIMS)] for name in ids or ()]
    names = dict.fromkeys(name for claim in chosen for name in claim.instruments) if chosen else INSTRUMENTS
    shown = [show(INSTRUMENTS[name]) for name in names]
    if as_json:
        print_json({"controls": [found.to_json() for found in shown]})
    else:
        typer.echo("\n\n".join(map(str, shown)) or "These claims name no instrument.")
    if any(not found.passes and not found.instrument.known_fault for found in shown):
        raise typer.Exit(1)


def _outcomes(
    ids: Sequence[str], size: str, seed: int, folder: Path, workers: int | None, ends: Ends, *, quiet: bool
) -> "tuple[list[Outcome], bool]":
    """Run the claims.

    Returns:
        Those that were finished, in the order of CLAIMS, and whether the user ended it before the rest.

    Raises:
        ValueError: an unknown claim, or a folder that cannot be used.
    """
    from quadsim.cli.progress import progress_bar
    from quadsim.theory.claims import CLAIMS, reproduce

    outcomes: list[Outcome] = []
    interrupted = False
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    with progress_bar(quiet=quiet) as progress:
        try:
            reproduce(
                ids,
                size=size,
                seed=seed,
                out=folder,
                progress=progress,
                into=outcomes,
                workers=min(cores, 8) if workers is None else workers,
            )
        except KeyboardInterrupt:
            interrupted = True
        except OSError as error:  # of the files of one claim, after it was judged
            with ends.attempt("data", f"make room in {folder}; the claims below are all that were finished"):
                raise error
    order = list(CLAIMS)
    return sorted(outcomes, key=lambda outcome: order.index(outcome.claim.id)), interrupted


def listed(claim: "Claim") -> dict[str, Any]:
    """Return a claim without a result, as plain data."""
    return {
        **claim.description,
        "criterion": claim.criterion | {"hash": claim.digest(), "fixed": claim.is_fixed},
        "reach": None
        if claim.reach is None
        else {"variable": claim.reach.variable, "values": list(claim.reach.values)},
    }


def list_text(claims: Sequence["Claim"]) -> str:
    """Return the claims with source, criterion, fidelity and history, as text."""
    lines = []
    for claim in claims:
        lines += [f"{claim.id}  ({claim.group}; {claim.source})", f"  {claim.claim}", f"  Tried: {claim.method}"]
        lines += [f"  proof: {proof}" for proof in claim.proofs]
        lines += [f"  - {condition}: {condition.because}" for condition in claim.conditions]
        if claim.reach is not None:
            values = ", ".join(f"{value:g}" for value in claim.reach.values)
            lines.append(f"  Reach: {claim.reach.quantity} over {claim.reach.variable} {values}")
        lines.append(f"  Differs from the paper: {'; '.join(claim.fidelity) or 'in nothing known'}")
        lines += [f"  Fixed {_fixed(entry)}" for entry in map(vars, claim.history)]
        if not claim.is_fixed:
            lines.append(f"  The present criterion, {claim.digest()}, is not fixed yet: no full run before its date.")
        lines.append("")
    return "\n".join(lines).rstrip()


def _fixed(entry: Mapping[str, str]) -> str:
    changed = f"; changed: {entry['change']}" if entry["change"] else ""
    return f"{entry['date']} ({entry['criterion']}); run before: {entry['before']}{changed}"


def text(outcomes: Sequence["Outcome"]) -> str:
    """Return the table of verdicts, and then the reason of the verdict for every claim."""
    width = max((len(outcome.claim.id) for outcome in outcomes), default=0)
    lines = [f"{'claim'.ljust(width)}  {'verdict':<26}  seconds"]
    lines += [f"{o.claim.id.ljust(width)}  {o.judgement.told:<26}  {o.seconds:7.1f}" for o in outcomes]
    for o in outcomes:
        lines += ["", f"{o.claim.id}: {o.judgement.told}. {o.claim.claim} ({o.claim.group}; {o.claim.source})"]
        if o.found is None:
            lines.append(f"  {o.reason}")
            continue
        lines += [f"  {o.reason}"] if o.claim.unjudged else []
        lines += [f"  read   {o.claim.reading}"] if o.claim.reading else []
        lines += [f"  proof  {proof}" for proof in o.found.proofs]
        lines += [f"  {one}" for one in o.judgement.judged]
        judged = {one.measured.name for one in o.judgement.judged}
        lines += [f"  beside {figure}" for figure in o.found.measured if figure.name not in judged]
        reach = o.to_json()["reach"]
        lines += [f"  reach  {onset['curve']}: {onset['text']}" for onset in (reach["onsets"] if reach else ())]
        lines += [f"  note   {note}" for note in o.found.notes]
        lines.append(f"  differs from the paper: {'; '.join(o.claim.fidelity) or 'in nothing known'}")
        lines += [f"  fixed  {_fixed(vars(entry))}" for entry in o.claim.history[-1:]]
    return "\n".join(lines)
