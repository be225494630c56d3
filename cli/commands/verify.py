"""The command `quadsim verify`: prove the theorems, check them on random problems, and refute false claims."""

import math
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
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
    from quadsim.theory.statements.proving import Discharge, Step
    from quadsim.theory.verifying.both_sides import Sides
    from quadsim.theory.verifying.stress import Stressed
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
        content = document(reports, claims) | {"asked": asked, "interrupted": interrupted}
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
    from quadsim.simulator.support.checks import check_count

    for name in ("every", "instances", "draws", "workers"):
        if gates[name] is not None:
            check_count(name, gates[name])
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
    from quadsim.theory.verifying.stress import VARIANTS, stress

    with progress_bar(quiet=quiet) as progress:
        found = stress(instances, names=tuple(asked["names"]), workers=workers, seed=asked["seed"], progress=progress)
    total = {
        "instances": sum(one.instances for one in found),
        "against": dict(sum((one.against for one in found), Counter())),
        "untested": sum(sum(one.untested.values()) for one in found),
    }
    if as_json:
        print_json({
            **total,
            "theorems": [
                {
                    "name": one.name,
                    "tested": {variant: one.tested[variant] for variant in VARIANTS},
                    "against": dict(one.against),
                    "untested": [
                        {"variant": variant, "reason": reason, "instances": count}
                        for (variant, reason), count in sorted(one.untested.items())
                    ],
                    "complaints": one.complaints,
                }
                for one in found
            ],
        })
    else:
        typer.echo(_stress_text(found, total))
    if total["against"]:
        raise typer.Exit(1)


def _stress_text(found: "list[Stressed]", total: Mapping[str, Any]) -> str:
    """Return the table of instances by theorem and variant, why some tested nothing, and the totals, as text."""
    from quadsim.cli.text.narrow import aligned
    from quadsim.theory.verifying.stress import VARIANTS

    rows: list[tuple[str, ...]] = [("theorem", *VARIANTS, "against", "untested")]
    for one in found:
        counts = (*(one.tested[variant] for variant in VARIANTS), sum(one.against.values()), sum(one.untested.values()))
        rows.append((one.name, *(str(count) for count in counts)))
    why: Counter[tuple[str, str]] = sum((one.untested for one in found), Counter())
    lines = [*aligned(rows, (0,)), ""]
    lines += [complaint for one in found for complaint in one.complaints]
    lines += [f"untested, {variant}: {count:,} instances: {reason}" for (variant, reason), count in why.most_common()]
    against = ", ".join(f"{count:,} {word}" for word, count in total["against"].items()) or "none"
    lines.append(
        f"{total['instances']:,} instances met the hypotheses and tested a theorem; against a theorem or the judge: {against}; "
        f"{total['untested']:,} more tested nothing."
    )
    return "\n".join(lines)


def _try_mutants(every: int, seed: int, workers: int, *, as_json: bool, quiet: bool) -> None:
    """Try mutants and print what became of them; exit code 1 if one survives without an argument."""
    from quadsim.cli.progress import progress_bar
    from quadsim.theory.verifying.mutants import KINDS, try_mutants

    with progress_bar(quiet=quiet) as progress:
        found = try_mutants(every=every, seed=seed, workers=workers, progress=progress)
    if as_json:
        print_json({
            "tried": dict(found.tried),
            "caught": dict(found.caught),
            "argued": list(found.argued),
            "survived": list(found.holes),
        })
    else:
        from quadsim.cli.text.narrow import aligned

        rows = [("changed", "mutants", "caught")]
        rows += [(kind, str(found.tried.get(kind, 0)), str(found.caught.get(kind, 0))) for kind in KINDS]
        rows.append(("all", str(sum(found.tried.values())), str(sum(found.caught.values()))))
        lines = [*aligned(rows, (0,)), "", f"{len(found.argued)} survive with an argument why they are no mutants:"]
        lines += [f"  {line}" for line in found.argued]
        lines += [f"{len(found.holes)} survive without one:", *(f"  {line}" for line in found.holes)]
        typer.echo("\n".join(lines))
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
        content = draws_csv([draws_row(one) for one in found]).encode()
        with ends.attempt(f"{out / DRAWS}", "the table is all there is; make room and run the command again"):
            store.write_whole(out / DRAWS, lambda path: path.write_bytes(content))
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
        print_json(document(reports, claims))
    else:
        typer.echo(text(reports, claims))
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


def document(reports: "list[TheoremReport]", claims: "list[ClaimReport]") -> dict[str, Any]:
    """Return the results as plain data."""
    return {
        "theorems": [
            {
                "name": report.name,
                "verdict": report.verdict,
                "steps": [_step_record(step, found) for step, found in report.steps],
                "derivation": [
                    _step_record(step, found) | {"label": step.label, "uses": list(step.uses), "follows": step.by}
                    for step, found in report.derivation or ()
                ],
                "unused_hypotheses": list(report.unused),
                "hypotheses": [asdict(sides) for sides in report.hypotheses],
                "instances": report.instances,
                "verdicts": dict(report.verdicts),
                "worst_margin": _number(report.worst_margin),
                "tightness": _number(report.tightness),
                "tightest": report.tightest,
                "complaints": list(report.complaints),
                "notes": list(report.notes),
            }
            for report in reports
        ],
        "false_claims": [
            {
                "name": report.claim.name,
                "claim": report.claim.claim,
                "verdict": report.refutation.verdict,
                "counter_example": report.refutation.counter_example,
            }
            for report in claims
        ],
    }


_EXPLAINED = (
    "proved: steps discharged by SymPy or Z3; cited: steps that rest on a named fact. instances: problems times settings",
    "that meet the hypotheses; verified: of these in exact arithmetic, the others in floating point within a derived budget.",
    "A verdict of proved: every step is discharged, from definitions and hypotheses to the statement with its quantifiers, and",
    "no instance spoke against it; lemmas proved: the same, but the statement is not derived from the lemmas by machine.",
    "margin: what was seen over the bound; tightness: how close a search for the worst instance came (1: attained).",
)


def text(reports: "list[TheoremReport]", claims: "list[ClaimReport]") -> str:
    """Return the table, the messages against theorems, the remarks, and the false claims, as text."""
    from quadsim.cli.text.narrow import aligned, wrapped

    soft = "\N{SOFT HYPHEN}"
    headings = ("proved", "cited", f"in{soft}stances", f"veri{soft}fied", "worst margin", f"tight{soft}ness", "verdict")
    rows = [("theorem", *headings)]
    rows += [
        (
            report.name,
            f"{report.proved}/{len(report.steps) - report.cited}",
            str(report.cited),
            str(report.instances),
            str(report.verdicts["verified"]),
            _digits(report.worst_margin),
            _digits(report.tightness),
            report.verdict,
        )
        for report in reports
    ]
    lines = aligned(rows, (0, len(rows[0]) - 1))
    lines += ["", *map(wrapped, _EXPLAINED)]
    for report in reports:
        lines += [f"\n{report.name}: {note}" for note in report.notes]
        lines += [f"\n{report.name}: {_sides(sides)}" for sides in report.hypotheses]
        for step, found in (*report.steps, *(report.derivation or ())):
            if found.status not in ("proved", "cited"):
                against = f", for {found.counter_example}" if found.counter_example else ""
                lines.append(f"\n{report.name}: step {found.status}: {step.because}\n  {step.claim}{against}")
        lines += [f"\n{complaint}" for complaint in report.complaints]
    if claims:
        lines += ["", "Claims known to be false:"]
        lines += [
            f"  {r.refutation.verdict:8}  {r.claim.name}: {r.claim.claim}\n            {r.refutation.counter_example}"
            for r in claims
        ]
    return "\n".join(lines)


def _sides(sides: "Sides") -> str:
    """Return how instances met a hypothesis, and what happens without it, as text."""
    instance = f": {sides.instance}" if sides.instance else ""
    return (
        f"hypothesis {sides.text}: {sides.holding:,} instances meet it, {sides.failing:,} do not; "
        f"{sides.without}{instance}"
    )


def _step_record(step: "Step", found: "Discharge") -> dict[str, Any]:
    """Return a step of a proof with the result of its check as plain data."""
    record: dict[str, Any] = {
        "claim": str(step.claim),
        "because": step.because,
        "status": found.status,
        "by": found.by,
    }
    return record | ({"counter_example": found.counter_example} if found.counter_example else {})


def _digits(value: float) -> str:
    """Return a ratio as text: "1" if it is 1 up to rounding; one just below 1 is not rounded up to it."""
    if math.isnan(value):
        return "-"
    if abs(value - 1) < 1e-9:
        return "1"
    return f"{value:.6f}" if 0.999 < value < 1.001 else f"{value:.4g}"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
