"""The main command: quadsim sweep."""

import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quadsim.cli.commands.sweep_options import (
    config_of,
    extended_config,
    given_options,
    names_of,
    own_of_file,
    with_options,
)
from quadsim.cli.console import (
    Ends,
    StyleOption,
    duration_text,
    given_path,
    library_messages,
    number,
    path_option,
    print_json,
    usage_errors,
)
from quadsim.cli.drawing import Drawer, drawer, has_idle_core

if TYPE_CHECKING:
    from quadsim.cli.progress import Shown
    from quadsim.cli.text.stored_table import Printed
    from quadsim.simulator.sweeps.backends import Backend
    from quadsim.simulator.sweeps.config.grid import SweepGrid
    from quadsim.simulator.sweeps.results.results import Results


def _option(text: str, metavar: str = "LIST", group: str = "Where it runs") -> Any:
    """An option that stays text: the library checks it, with its own message."""
    return typer.Option(help=text, metavar=metavar, show_default=False, rich_help_panel=group)


def _switch(name: str, text: str, group: str) -> Any:
    """An option without a value."""
    return typer.Option(name, help=text, rich_help_panel=group)


MOST_STEPS = 10**14
"""Of all runs together: on the fused engine of a workstation, a week or so."""

_WHERE, _OUTPUT, _RUN = "Where it runs", "What comes out", "How long it takes"

_OPTIMIZER_FILE = (
    "Files that define optimizers of your own: mine.py, or mine.py:NAME for one of them. They run beside the default "
    "optimizers; with --optimizers, those run that it names"
)
_BACKEND = (
    "Where chunks of the sweep run: serial (this process), processes (on this machine), slurm (job arrays) or dask (a cluster); "
    "the results are the same [serial]"
)
_EXTEND = "Add the given seeds, rates, optimizers or values to the finished sweep in this folder; only what is missing is run."


_WORKERS = "Number of chunks that run at the same time [number of cores; slurm 100]"
_DEVICES = "Devices with one process each, as cuda:0,cuda:1 [--device]"
_SCHEDULER = "Address of the dask scheduler, as tcp://host:8786 [a new cluster on this machine]"
_SLURM = "Settings of the jobs, for submitit, as partition=gpu,time=60,gpus_per_node=1"


@with_options
def sweep_command(
    optimizer_file: Annotated[str | None, _option(_OPTIMIZER_FILE, group="Every sweep")] = None,
    backend: Annotated[str | None, _option(_BACKEND, "NAME", _WHERE)] = None,
    workers: Annotated[str | None, _option(_WORKERS, "N", _WHERE)] = None,
    devices: Annotated[str | None, _option(_DEVICES, group=_WHERE)] = None,
    scheduler: Annotated[str | None, _option(_SCHEDULER, "ADDRESS", _WHERE)] = None,
    slurm: Annotated[str | None, _option(_SLURM, "KEY=VALUE", _WHERE)] = None,
    out: Annotated[
        Path | None, path_option("--out", "Folder for the results [runs/sweep-<hash of the configuration>]", _OUTPUT)
    ] = None,
    config: Annotated[
        Path | None, path_option("--config", "Run the configuration that this config.json holds.")
    ] = None,
    extend: Annotated[Path | None, path_option("--extend", _EXTEND)] = None,
    style: StyleOption = "quadsim",
    no_figures: Annotated[
        bool, _switch("--no-figures", "Write no figures and no report; quadsim report adds them later.", _OUTPUT)
    ] = False,
    dry_run: Annotated[bool, _switch("--dry-run", "Estimate time and memory, and run nothing.", _RUN)] = False,
    however_long: Annotated[
        bool, _switch("--however-long", "Run the sweep even if the estimate is very long.", _RUN)
    ] = False,
    quiet: Annotated[bool, _switch("--quiet", "Print the answer alone: no progress and no table.", _OUTPUT)] = False,
    as_json: Annotated[bool, _switch("--json", "Print one JSON document instead of text.", _OUTPUT)] = False,
    **options: Any,
) -> None:
    """Compare optimizers on problems of different heterogeneity.

    Options that take several values are comma lists; dials are crossed with each other. The best learning rate of every
    optimizer is chosen with hindsight, for all of them alike. With --model, tiny networks are trained instead of quadratics.

    Example: quadsim sweep --heterogeneity 1,10,100 --optimizers gd,adam,adam:beta1=0

    Example: quadsim sweep --model transformer --dial frequency --heterogeneity 1,10,100
    """
    where = {"name": backend, "workers": workers, "devices": devices, "scheduler": scheduler, "slurm": slurm}
    named = {name: text for name, text in where.items() if text is not None}
    with usage_errors():
        new = config is None and extend is None
        given = _given(options, devices, new=new, own=optimizer_file is not None)
        out, config, extend = given_path("out", out), given_path("config", config), given_path("extend", extend)
        how: dict[str, bool] = {"quiet": quiet, "as_json": as_json, "figures": not no_figures}
        # What a file of the user's holds is no part of the options, and an extension is asked for by its folder.
        whole = extend is None and optimizer_file is None and "problem_file" not in given
        if whole and not named and not dry_run and _printed_again(given, out, config, **how):
            return
        changes = None
        with drawer(not (no_figures or dry_run)) as drawn_by:
            if extend is not None:
                others = {"--out": out, "--config": config, "--optimizer-file": optimizer_file, "--dry-run": dry_run}
                settings, changes, out = extended_config(extend, given, others), given, extend
            else:
                settings = config_of(given, config, own_of_file(optimizer_file, given.get("optimizers")))
            chosen = _backend(named)
            if dry_run:
                _estimate(settings, as_json=as_json)
                return
            _check_length(settings, however_long)
            asked = given if new and whole else {"config": settings.to_json()}
            _run(settings, out, chosen, changes, asked, drawn_by, **how)


def _given(options: dict[str, Any], devices: str | None, *, new: bool, own: bool) -> dict[str, Any]:
    """The options that were given; those of a new sweep are checked before any library that computes is loaded.

    Raises:
        ValueError: a value that its option does not allow.
    """
    given = given_options(options, devices if new else None)
    if new:
        from quadsim.cli.commands.early_checks import check_early

        check_early(given, own=own)
    return given


def _printed_again(
    given: dict[str, Any], out: Path | None, config: Path | None, *, quiet: bool, as_json: bool, figures: bool
) -> bool:
    """Print the stored table of a finished sweep of the same options, where there is one, without any library that computes."""
    from quadsim.cli.text.stored_table import question_of, read_printed
    from quadsim.simulator.support import store
    from quadsim.simulator.support.paths import shown
    from quadsim.simulator.sweeps.run.folder import has_leftovers

    asked: str | None = None
    if config is None:
        asked = question_of(given)
        folders = (
            [out]
            if out is not None
            else [path.parent for path in sorted(Path("runs").absolute().glob(f"*/{store.TABLE}"))]
        )
    elif given or out is None or not (out / store.CONFIG).is_file():
        return False
    else:
        folders = [out] if store.checksum(config) == store.checksum(out / store.CONFIG) else []
    for folder in folders:
        try:
            printed = None if has_leftovers(folder) else read_printed(folder, asked, figures=figures)
        except OSError:  # as of a name that is too long; whoever opens or makes the folder says so
            return False
        if printed is not None:
            print(f"Already finished; this is the stored result in {shown(folder)}.", file=sys.stderr)
            _print(printed, folder, quiet=quiet, as_json=as_json)
            _print_place(printed, folder, quiet=quiet or as_json)
            return True
    return False


def _print(printed: "Printed", folder: Path, *, quiet: bool, as_json: bool, but_answer: bool = False) -> None:
    """The answer of a sweep, at once: what follows may take a while.

    Args:
        printed: what is printed.
        folder: of the sweep.
        quiet: whether sentences alone are printed.
        as_json: whether one document is printed instead.
        but_answer: whether tables and answer have been printed, so that the bounds are left.
    """
    from quadsim.cli.text.stored_table import print_answer, print_bounds

    if as_json:
        print_json(printed.document | {"folder": str(folder)})
    else:
        if not but_answer:
            print_answer(printed, quiet=quiet)
        print_bounds(printed, quiet=quiet)
    sys.stdout.flush()


class _First:
    """What is done with results before all is written: table and answer are printed, and then drawing begins.

    The process that draws starts no earlier, where it would take time of the processor from the runs until the answer is printed.
    During a short sweep it starts with the runs, on a core that has nothing else to do; during a long one it would hold memory.

    Attributes:
        progress: what shows progress meanwhile.
        is_printed: whether table and answer have been printed.
        drawn_by: the process that draws; None where this one does.
    """

    def __init__(self, *, quiet: bool, as_json: bool, drawn_by: Drawer | None) -> None:
        self._quiet, self._as_json, self.drawn_by = quiet, as_json, drawn_by
        self.progress: Shown | None = None
        self.is_printed = False

    def prepare(self, config: "SweepGrid") -> None:
        """Let the process that draws load its libraries during the runs of a short sweep, where a core is idle."""
        from quadsim.simulator.sweeps.config.families import family_of

        short = config.runs * config.steps < family_of(config).long_from
        if self.drawn_by is not None and short and has_idle_core():
            self.drawn_by.start()

    def answer(self, results: "Results") -> None:
        """Print, unless one document is to be printed as a whole, and have the libraries of figures loaded."""
        if not self._as_json:
            from quadsim.cli.text.stored_table import print_answer
            from quadsim.cli.text.sweep_table import printed_answer_of

            with nullcontext() if self.progress is None else self.progress.hidden():
                print_answer(printed_answer_of(results), quiet=self._quiet)
                sys.stdout.flush()
            self.is_printed = True
        if self.drawn_by is not None:
            self.drawn_by.start()

    def draw(self, results: "Results") -> None:
        """Ask for the figures that show no bounds."""
        from quadsim.simulator.figures.style import current_style

        if self.drawn_by is not None and results.folder is not None:
            self.drawn_by.begin(results.folder, current_style())

    def finish(self, results: "Results") -> None:
        """Ask for the figures of finished results, which are drawn while the bounds are printed."""
        from quadsim.simulator.figures.style import current_style

        if self.drawn_by is not None and results.folder is not None and not results.has_figures:
            self.drawn_by.finish(results.folder, current_style())


def _print_place(printed: "Printed", folder: Path, *, quiet: bool) -> None:
    if not quiet:
        from quadsim.cli.text.stored_table import print_files

        print_files(printed, folder)


def _backend(given: dict[str, str]) -> "Backend":
    from quadsim.simulator.sweeps.backends import resolve_backend

    read: dict[str, Callable[[str], Any]] = {"workers": number, "devices": names_of, "slurm": _pairs}
    return resolve_backend(**{name: read.get(name, str)(text) for name, text in given.items()})


def _pairs(text: str) -> dict[str, Any]:
    """`key=value,key=value`."""
    pairs = [item.partition("=") for item in names_of(text)]
    for key, equals, _ in pairs:
        if not equals:
            raise ValueError(
                f"slurm must be key=value,key=value, got {key!r}; put an = between a parameter and its value."
            )
    return {key: number(value) for key, _, value in pairs}


def _check_length(config: "SweepGrid", however_long: bool) -> None:
    """Refuse what would run for years unless it is meant.

    Raises:
        ValueError: more steps in all than MOST_STEPS, with what they would cost.
    """
    if however_long or config.runs * config.steps <= MOST_STEPS:
        return
    from quadsim.simulator.support.memory import memory_text
    from quadsim.simulator.sweeps.run.driver import estimate

    found = estimate(config)
    raise ValueError(
        f"runs times steps must be at most {MOST_STEPS:.0e} without --however-long, got {config.runs:,} x "
        f"{config.steps}, which take about {duration_text(found.seconds)} and {memory_text(found.memory_bytes)} on this "
        "machine; give fewer, or --however-long."
    )


_STATED = 30.0
"""Seconds from which on a command states how long it is going to take."""


def _state_time(config: "SweepGrid") -> None:
    """Say on stderr how long a sweep takes, where that is long; a short one is not estimated, as that takes a second, too."""
    from quadsim.simulator.sweeps.config.families import family_of
    from quadsim.simulator.sweeps.run.driver import estimate

    if config.runs * config.steps < family_of(config).long_from:
        return
    seconds = estimate(config).seconds
    if seconds >= _STATED:
        print(
            f"{config.runs:,} runs of {config.steps} steps: about {duration_text(seconds)}{_if_extended(config, seconds)}. "
            "Ctrl-C keeps what is finished.",
            file=sys.stderr,
        )


def _if_extended(config: "SweepGrid", seconds: float) -> str:
    """What to add to the time of the first grid of rates."""
    if config.runs_at_most == config.runs:
        return ""
    most = duration_text(seconds * config.runs_at_most / config.runs)
    return f"; up to {most} if the grid of rates has to be extended"


def _estimate(config: "SweepGrid", *, as_json: bool) -> None:
    from dataclasses import asdict

    from quadsim.simulator.support.memory import memory_text
    from quadsim.simulator.sweeps.run.driver import estimate

    found = estimate(config)
    if as_json:
        print_json(
            asdict(found) | {"runs_at_most": config.runs_at_most, "kept": config.kept, "config": config.to_json()}
        )
        return
    typer.echo(
        f"{found.runs:,} runs of {config.steps} steps: about {duration_text(found.seconds)} and "
        f"{memory_text(found.memory_bytes)} on this machine, {memory_text(found.disk_bytes)} on disk, {config.kept} kept"
        + _if_extended(config, found.seconds)
        + ". Nothing was run or written."
    )


def _run(
    config: "SweepGrid",
    out: Path | None,
    backend: "Backend",
    changes: Mapping[str, Any] | None,
    asked: Mapping[str, Any],
    drawn_by: Drawer | None,
    *,
    quiet: bool,
    as_json: bool,
    figures: bool,
) -> None:
    """Run a sweep, or extend the one in `out` where there are changes; show it, and store what is printed."""
    from quadsim.cli.text.stored_table import question_of, write_printed
    from quadsim.cli.text.sweep_table import printed_of
    from quadsim.simulator.support.paths import local_path, shown

    folder = local_path("out", Path("runs") / f"sweep-{config.digest}" if out is None else out)
    ends, first = Ends(), _First(quiet=quiet, as_json=as_json, drawn_by=drawn_by)
    try:
        how = {"quiet": quiet, "as_json": as_json, "figures": figures}
        results, fresh = _results(config, folder, backend, changes, first, **how)
        if figures:
            first.finish(results)
        printed = printed_of(results)
        _print(printed, folder, quiet=quiet, as_json=as_json, but_answer=first.is_printed)
        if fresh:
            with ends.attempt("the stored table", f"the results in {folder} are finished"):
                write_printed(folder, question_of(asked), printed)
        if figures:
            _present(results, folder, first.drawn_by, ends)
    except KeyboardInterrupt:
        print(
            f"Interrupted; what was finished is kept in {shown(folder)}. The same command goes on from there.",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    _print_place(printed, folder, quiet=quiet or as_json)
    ends.exit()


def _present(results: "Results", folder: Path, drawn_by: Drawer | None, ends: Ends) -> None:
    """Figures and report of finished results, where the folder does not hold them."""
    from quadsim.cli.pages import prepare_page, present

    what, then = (
        "figures and report",
        f"the results in {folder} are finished, and quadsim report {folder} makes the rest",
    )
    with ends.attempt(what, then):
        if drawn_by is not None and drawn_by.is_asked:
            prepare_page(results)
            if reason := drawn_by.wait():
                ends.report(what, reason, then)
                return
        present(results)


def _results(
    config: "SweepGrid",
    folder: Path,
    backend: "Backend",
    changes: Mapping[str, Any] | None,
    first: "_First",
    *,
    quiet: bool,
    as_json: bool,
    figures: bool,
) -> "tuple[Results, bool]":
    """Run what is missing, or read what is finished; whether it was run.

    Raises:
        Exit: with code 1, where chunks failed.
    """
    from quadsim.cli.progress import progress_bar
    from quadsim.simulator.support.paths import shown
    from quadsim.simulator.sweeps.config.families import family_of, imported, imported_later
    from quadsim.simulator.sweeps.results.results import load_results
    from quadsim.simulator.sweeps.run.driver import UnfinishedError, check, sweep
    from quadsim.simulator.sweeps.run.folder import has_finished, remove_leftovers

    finished = (
        load_results(folder).config.to_json() == config.to_json()
        if changes is not None
        else has_finished(folder, config.to_json())
    )
    if finished:
        remove_leftovers(folder)
        print(f"Already finished; this is the stored result in {shown(folder)}.", file=sys.stderr)
        return load_results(folder), False
    check(config)
    path = family_of(config).judge
    judge = None if path is None else imported(path)
    asked = family_of(config).guarantor
    if config.kept == "quantiles" and config.kept_by_size and not quiet:
        print(
            f"{config.runs:,} runs: counts and histograms are kept, no row a run (--keep rows for those).",
            file=sys.stderr,
        )
    if not quiet:
        _state_time(config)
    try:
        with library_messages(quiet=quiet or as_json), progress_bar(quiet=quiet) as progress:
            first.progress = progress
            how: dict[str, Any] = {"progress": progress, "backend": backend, "present": None, "figures": figures}
            how["guarantor"] = None if asked is None else imported_later(asked)
            if changes is not None:
                from quadsim.simulator.sweeps.run.extension import extend

                return extend(folder, judge, **how, **changes), True
            first.prepare(config)
            return sweep(config, judge, out=folder, on_answer=first.answer, on_table=first.draw, **how), True
    except UnfinishedError as error:
        print(f"Error: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(1) from None
