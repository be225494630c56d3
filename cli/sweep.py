"""The main command: quadsim sweep."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quadsim.cli.console import comma_list, library_messages, number, print_json, usage_errors

if TYPE_CHECKING:
    from quadsim.simulator.sweep_config import SweepConfig


def _sizes(text: str) -> Any:
    """`8`, or `1+4+9` for the sizes within one problem."""
    return tuple(number(item) for item in text.split("+")) if "+" in text else number(text)


def _option(text: str, metavar: str = "LIST") -> Any:
    """An option that stays text: the library checks it, with its own message."""
    return typer.Option(help=text, metavar=metavar, show_default=False)


def sweep_command(
    heterogeneity: Annotated[str | None, _option("Hessian heterogeneity, max L / min L over blocks [1,10,100]")] = None,
    mode: Annotated[
        str | None, _option("scale (each block its own scale) or arrange (one spectrum, dealt out differently) [scale]")
    ] = None,
    blocks: Annotated[str | None, _option("Number of blocks [4]")] = None,
    block_size: Annotated[
        str | None, _option("Size of the blocks; 3,30 sweeps, 1+4+9 are sizes in one problem [8]")
    ] = None,
    condition_number: Annotated[str | None, _option("Of a block in scale [10], of the whole in arrange [5000]")] = None,
    gradient_heterogeneity: Annotated[
        str | None, _option("max/min over blocks of |g_l|/sqrt(P_l) at the start [not controlled]")
    ] = None,
    alignment: Annotated[
        str | None, _option("Correlation of log L_l and log |g_l|/sqrt(P_l), -1 to 1 [not controlled]")
    ] = None,
    rotation: Annotated[str | None, _option("Eigenvectors: 0 on the axes, 1 Haar [1]")] = None,
    case: Annotated[
        str | None, _option("heterogeneous, homogeneous, transformer-like or cnn-like instead of the first five")
    ] = None,
    seeds: Annotated[str | None, _option("Problems at every point [16]", "N")] = None,
    seed: Annotated[str | None, _option("Key of all random draws [0]", "N")] = None,
    steps: Annotated[str | None, _option("Length of every run [10000]", "N")] = None,
    tolerance: Annotated[str | None, _option("Gap to reach, relative to the start [1e-6]", "NUMBER")] = None,
    schedule: Annotated[
        str | None, _option("constant, cosine, linear or inverse-sqrt, as cosine:warmup=100 [constant]", "NAME")
    ] = None,
    optimizers: Annotated[str | None, _option("As gd,adam,adam:beta1=0 (see quadsim rules) [gd,signsgd,adam]")] = None,
    lr: Annotated[
        str | None, _option("Fixed learning rates for all optimizers [a grid around each rule's natural rate]")
    ] = None,
    lr_density: Annotated[str | None, _option("Learning rates a decade [4]", "N")] = None,
    dtype: Annotated[str | None, _option("float64 or float32 [float64]", "NAME")] = None,
    device: Annotated[str | None, _option("cpu, cuda or cuda:N [cpu]", "NAME")] = None,
    engine: Annotated[str | None, _option("auto, closed-form or reference [auto]", "NAME")] = None,
    keep: Annotated[
        str | None,
        _option(
            "rows (one a run, and curves) or quantiles (counts by status and histograms of steps, in memory that does not "
            "grow with --seeds) [rows up to 10^7 runs]",
            "NAME",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Result folder [runs/sweep-<hash of the configuration>]", show_default=False),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Repeat a stored config.json.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only estimate time and memory.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar and no table, only the answer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run optimizers on problems of different heterogeneity and compare them.

    Options that take several values are comma lists; dials are crossed with each other. The best learning rate of every
    optimizer is chosen with hindsight, for all of them alike.

    Example: quadsim sweep --heterogeneity 1,10,100 --optimizers gd,adam,adam:beta1=0
    """
    readers: dict[str, tuple[str | None, Callable[[str], Any]]] = {
        "heterogeneity": (heterogeneity, lambda text: comma_list(text, number)),
        "mode": (mode, lambda text: comma_list(text, str)),
        "blocks": (blocks, lambda text: comma_list(text, number)),
        "block_size": (block_size, lambda text: comma_list(text, _sizes)),
        "condition_number": (condition_number, lambda text: comma_list(text, number)),
        "gradient_heterogeneity": (gradient_heterogeneity, lambda text: comma_list(text, number)),
        "alignment": (alignment, lambda text: comma_list(text, number)),
        "rotation": (rotation, lambda text: comma_list(text, number)),
        "case": (case, lambda text: comma_list(text, str)),
        "seeds": (seeds, number),
        "seed": (seed, number),
        "steps": (steps, number),
        "tolerance": (tolerance, number),
        "schedule": (schedule, str),
        "optimizers": (optimizers, lambda text: comma_list(text, str)),
        "lr": (lr, lambda text: comma_list(text, number)),
        "lr_density": (lr_density, number),
        "dtype": (dtype, str),
        "device": (device, str),
        "engine": (engine, str),
        "keep": (keep, str),
    }
    given = {name: read(text) for name, (text, read) in readers.items() if text is not None}
    with usage_errors():
        settings = _config(given, config)
        if dry_run:
            _estimate(settings, as_json=as_json)
        else:
            _run(settings, out, quiet=quiet, as_json=as_json)


def _config(given: dict[str, Any], stored: Path | None) -> "SweepConfig":
    from quadsim.simulator import store
    from quadsim.simulator.sweep_config import FIXED_BY_CASE, SweepConfig

    def option(name: str) -> str:
        return "--" + name.replace("_", "-")

    if stored is not None:
        if given:
            raise ValueError(
                f"{option(next(iter(given)))} must be left out with --config, which fixes it, got both; drop one of the two."
            )
        return SweepConfig.from_json(store.read_json(stored, "config"))
    if "case" in given:
        fixed = [name for name in FIXED_BY_CASE if name in given]
        if fixed:
            raise ValueError(
                f"{option(fixed[0])} must be left out with --case, which fixes it, got both; drop one of the two."
            )
        if not given["case"]:
            raise ValueError("case must hold at least one name, got an empty list; give one or leave it out.")
    return SweepConfig(**given)


def _estimate(config: "SweepConfig", *, as_json: bool) -> None:
    from dataclasses import asdict

    from quadsim.simulator.memory import memory_text
    from quadsim.simulator.sweep import estimate

    found = estimate(config)
    if as_json:
        print_json(asdict(found) | {"kept": config.kept, "config": config.to_json()})
        return
    typer.echo(
        f"{found.runs:,} runs of {config.steps:,} steps: about {found.seconds:.2g} s and {memory_text(found.memory_bytes)} "
        "on this machine"
        + f", {config.kept} kept"
        + ("" if config.lr else "; more if the grid of rates has to be extended")
        + ". Nothing was run or written."
    )


def _run(config: "SweepConfig", out: Path | None, *, quiet: bool, as_json: bool) -> None:
    from quadsim.cli.progress import progress_bar
    from quadsim.cli.report import print_results
    from quadsim.simulator import store
    from quadsim.simulator.results import load_results
    from quadsim.simulator.sweep import check, sweep
    from quadsim.theory import judge

    folder = out if out is not None else Path("runs") / f"sweep-{config.digest}"
    if store.is_finished(folder):
        store.prepare_folder(folder, config.to_json())
        results = load_results(folder)
        print(f"Already finished; this is the stored result in {folder}.", file=sys.stderr)
    else:
        check(config)
        store.prepare_folder(folder, config.to_json())
        if config.keep is None and config.kept == "quantiles" and not quiet:
            print(
                f"{config.runs:,} runs: counts and histograms are kept, no row a run (--keep rows for those).",
                file=sys.stderr,
            )
        try:
            with library_messages(quiet=quiet or as_json), progress_bar(quiet=quiet) as progress:
                results = sweep(config, judge, out=folder, progress=progress)
        except KeyboardInterrupt:
            print(
                f"Interrupted; what was finished is kept in {folder}. The same command goes on from there.",
                file=sys.stderr,
            )
            raise typer.Exit(130) from None
    if as_json:
        print_json(results.to_json())
    else:
        print_results(results, quiet=quiet)
