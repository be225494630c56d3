"""The main command: quadsim sweep."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quadsim.cli.console import (
    Ends,
    StyleOption,
    comma_list,
    given_path,
    library_messages,
    number,
    print_json,
    usage_errors,
)

if TYPE_CHECKING:
    from quadsim.simulator.backends import Backend
    from quadsim.simulator.results import Results
    from quadsim.simulator.sweep_grid import SweepGrid


def _sizes(text: str) -> Any:
    """`8`, or `1+4+9` for the sizes within one problem."""
    return tuple(number(item) for item in text.split("+")) if "+" in text else number(text)


def _option(text: str, metavar: str = "LIST", group: str = "Quadratics") -> Any:
    """An option that stays text: the library checks it, with its own message."""
    return typer.Option(help=text, metavar=metavar, show_default=False, rich_help_panel=group)


MOST_STEPS = 10**14
"""Of all runs together: on the fused engine of a workstation, a week or so."""

_MODELS = "Toy models (with --model)"
_BOTH = "Both"
_WHERE = "Where it runs"


def sweep_command(
    heterogeneity: Annotated[
        str | None, _option("max L / min L over blocks; with --model the value of the dial [1,10,100]", group=_BOTH)
    ] = None,
    mode: Annotated[
        str | None,
        _option(
            "scale (each block its own scale) or arrange (one spectrum, dealt out differently) [scale]; with --model, of the "
            "reparametrisation: parameter or gradient [parameter]",
            group=_BOTH,
        ),
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
    engine: Annotated[str | None, _option("auto, closed-form, fused or reference [auto]", "NAME")] = None,
    keep: Annotated[
        str | None,
        _option(
            "rows (one a run, and curves) or quantiles (counts by status and histograms of steps, in memory that does not "
            "grow with --seeds) [rows up to 10^7 runs]",
            "NAME",
        ),
    ] = None,
    model: Annotated[
        str | None, _option("transformer, mlp, conv or mixer instead of quadratics", group=_MODELS)
    ] = None,
    task: Annotated[
        str | None,
        _option(
            "token-map, modular-addition, many-classes, induction, digits, text-char or text-word, with options as "
            "token-map:vocabulary=32 [token-map]",
            group=_MODELS,
        ),
    ] = None,
    dial: Annotated[
        str | None,
        _option(
            "What heterogeneity turns: frequency, zipf, separable, reparametrisation, init-scale or temperature "
            "[frequency]",
            group=_MODELS,
        ),
    ] = None,
    norm: Annotated[str | None, _option("pre, post or none [pre; mlp and conv none]", group=_MODELS)] = None,
    layers: Annotated[str | None, _option("Layers [2]", group=_MODELS)] = None,
    width: Annotated[str | None, _option("Width [16]", group=_MODELS)] = None,
    heads: Annotated[str | None, _option("Attention heads [2]", group=_MODELS)] = None,
    kernel: Annotated[str | None, _option("Tokens a convolution sees [3]", group=_MODELS)] = None,
    evaluate_every: Annotated[
        str | None, _option("With mini-batches, steps between two looks at the losses [10]", "N", group=_MODELS)
    ] = None,
    partition: Annotated[
        str | None, _option("Blocks of adam-mini: layer, module or unit [module]", "NAME", group=_MODELS)
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Fuse operations with torch.compile.", rich_help_panel=_MODELS)
    ] = False,
    seeds: Annotated[str | None, _option("Problems at every point [16; models 4]", "N", group=_BOTH)] = None,
    seed: Annotated[str | None, _option("Key of all random draws [0]", "N", group=_BOTH)] = None,
    steps: Annotated[str | None, _option("Length of every run [10000; models 1000]", "N", group=_BOTH)] = None,
    tolerance: Annotated[
        str | None,
        _option("Gap to reach, relative to the start [1e-6]; of models, loss over ln(classes) [0.1]", "NUMBER", _BOTH),
    ] = None,
    schedule: Annotated[
        str | None, _option("constant, cosine, linear or inverse-sqrt, as cosine:warmup=100 [constant]", "NAME", _BOTH)
    ] = None,
    optimizers: Annotated[
        str | None, _option("As gd,adam,adam:beta1=0 (see quadsim rules) [gd,signsgd,adam]", group=_BOTH)
    ] = None,
    lr: Annotated[
        str | None,
        _option("Fixed learning rates for all optimizers [a grid around each rule's natural rate]", group=_BOTH),
    ] = None,
    lr_density: Annotated[str | None, _option("Learning rates a decade [4]", "N", group=_BOTH)] = None,
    dtype: Annotated[str | None, _option("float64 or float32 [float64; models float32]", "NAME", group=_BOTH)] = None,
    device: Annotated[str | None, _option("cpu, cuda or cuda:N [cpu]", "NAME", group=_BOTH)] = None,
    backend: Annotated[
        str | None,
        _option(
            "serial (this process), processes (on this machine), slurm (job arrays) or dask (a cluster): the results are the "
            "same [serial]",
            "NAME",
            _WHERE,
        ),
    ] = None,
    workers: Annotated[str | None, _option("At a time [as many as cores; slurm 100]", "N", _WHERE)] = None,
    devices: Annotated[str | None, _option("One process for each, as cuda:0,cuda:1 [--device]", group=_WHERE)] = None,
    scheduler: Annotated[
        str | None, _option("Of dask, as tcp://host:8786 [a cluster of its own on this machine]", "ADDRESS", _WHERE)
    ] = None,
    slurm: Annotated[
        str | None, _option("For submitit, as partition=gpu,time=60,gpus_per_node=1", "KEY=VALUE", _WHERE)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Result folder [runs/sweep-<hash of the configuration>]",
            show_default=False,
            parser=str,
            metavar="PATH",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Repeat a stored config.json.", show_default=False, parser=str, metavar="PATH"),
    ] = None,
    style: StyleOption = "quadsim",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only estimate time and memory.")] = False,
    however_long: Annotated[bool, typer.Option("--however-long", help="Run it whatever the estimate says.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar and no table, only the answer.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run optimizers on problems of different heterogeneity and compare them.

    Options that take several values are comma lists; dials are crossed with each other. The best learning rate of every
    optimizer is chosen with hindsight, for all of them alike. With --model, tiny networks are trained instead of quadratics.

    Example: quadsim sweep --heterogeneity 1,10,100 --optimizers gd,adam,adam:beta1=0

    Example: quadsim sweep --model transformer --dial frequency --heterogeneity 1,10,100
    """
    arguments = locals()  # every option by name, before anything else has one
    texts = {name: arguments[name] for name in READERS if arguments[name] is not None}
    given = read_options(texts)
    given |= {"compile": True} if compile else {}
    where = {"name": backend, "workers": workers, "devices": devices, "scheduler": scheduler, "slurm": slurm}
    with usage_errors():
        if devices is not None and device is None and config is None:
            given["device"] = devices.split(",")[0].strip().partition(":")[0]
        out, config = given_path("out", out), given_path("config", config)
        settings = _config(given, config)
        chosen = _backend({name: text for name, text in where.items() if text is not None})
        if dry_run:
            _estimate(settings, as_json=as_json)
        else:
            _check_length(settings, however_long)
            _run(settings, out, chosen, quiet=quiet, as_json=as_json)


def _backend(given: dict[str, str]) -> "Backend":
    from quadsim.simulator.backends import resolve_backend

    read: dict[str, Callable[[str], Any]] = {"workers": number, "devices": _names, "slurm": _pairs}
    return resolve_backend(**{name: read.get(name, str)(text) for name, text in given.items()})


def _pairs(text: str) -> dict[str, Any]:
    """`key=value,key=value`."""
    pairs = [item.partition("=") for item in _names(text)]
    for key, equals, _ in pairs:
        if not equals:
            raise ValueError(
                f"slurm must be key=value,key=value, got {key!r}; put an = between a parameter and its value."
            )
    return {key: number(value) for key, _, value in pairs}


def _numbers(text: str) -> tuple[Any, ...]:
    return comma_list(text, number)


def _names(text: str) -> tuple[str, ...]:
    return comma_list(text, str)


READERS: dict[str, Callable[[str], Any]] = {
    "heterogeneity": _numbers,
    "mode": _names,
    "blocks": _numbers,
    "block_size": lambda text: comma_list(text, _sizes),
    "condition_number": _numbers,
    "gradient_heterogeneity": _numbers,
    "alignment": _numbers,
    "rotation": _numbers,
    "case": _names,
    "engine": str,
    "keep": str,
    "model": _names,
    "task": _names,
    "dial": _names,
    "norm": _names,
    "layers": _numbers,
    "width": _numbers,
    "heads": _numbers,
    "kernel": _numbers,
    "evaluate_every": number,
    "partition": str,
    "seeds": number,
    "seed": number,
    "steps": number,
    "tolerance": number,
    "schedule": str,
    "optimizers": _names,
    "lr": _numbers,
    "lr_density": number,
    "dtype": str,
    "device": str,
}
"""How the text of every option of a configuration is read; what it says is checked by the library."""


def read_options(texts: Mapping[str, str]) -> dict[str, Any]:
    """Options of a configuration from their texts."""
    return {name: READERS[name](text) for name, text in texts.items()}


def config_from_texts(texts: Mapping[str, str]) -> "SweepGrid":
    """A configuration from the texts of its options.

    Raises:
        ValueError: texts that make none.
    """
    return _config(read_options(texts), None)


def _check_length(config: "SweepGrid", however_long: bool) -> None:
    """Refuse what would run for years unless it is meant.

    Raises:
        ValueError: more steps in all than MOST_STEPS, with what they would cost.
    """
    if however_long or config.runs * config.steps <= MOST_STEPS:
        return
    from quadsim.simulator.memory import memory_text
    from quadsim.simulator.sweep import estimate

    found = estimate(config)
    raise ValueError(
        f"runs times steps must be at most {MOST_STEPS:.0e} without --however-long, got {config.runs:,} x "
        f"{config.steps:,}, which take about {found.seconds:.2g} s and {memory_text(found.memory_bytes)} on this machine; give "
        "fewer, or --however-long."
    )


def _config(given: dict[str, Any], stored: Path | None) -> "SweepGrid":
    from dataclasses import fields

    from quadsim.simulator import store
    from quadsim.simulator.model_sweep import ModelSweepConfig
    from quadsim.simulator.sweep_config import FIXED_BY_CASE, SweepConfig
    from quadsim.simulator.sweep_configs import config_from_json

    def option(name: str) -> str:
        return "--" + name.replace("_", "-")

    if stored is not None:
        if given:
            raise ValueError(
                f"{option(next(iter(given)))} must be left out with --config, which fixes it, got both; drop one of the two."
            )
        return config_from_json(store.read_json(stored, "config"))
    kind = ModelSweepConfig if "model" in given else SweepConfig
    known = [field.name for field in fields(kind)]
    for name in given:
        if name not in known:
            where = "with --model, which trains networks" if "model" in given else "without --model, on quadratics"
            fix = "drop one of the two" if "model" in given else "drop it, or name a model"
            raise ValueError(f"{option(name)} must be left out {where}, got it; {fix}.")
    if "case" in given:
        fixed = [name for name in FIXED_BY_CASE if name in given]
        if fixed:
            raise ValueError(
                f"{option(fixed[0])} must be left out with --case, which fixes it, got both; drop one of the two."
            )
        if not given["case"]:
            raise ValueError("case must hold at least one name, got an empty list; give one or leave it out.")
    return kind(**given)


def _estimate(config: "SweepGrid", *, as_json: bool) -> None:
    from dataclasses import asdict

    from quadsim.simulator.memory import memory_text
    from quadsim.simulator.sweep import estimate

    found = estimate(config)
    if as_json:
        print_json(asdict(found) | {"kept": config.kept, "config": config.to_json()})
        return
    typer.echo(
        f"{found.runs:,} runs of {config.steps:,} steps: about {found.seconds:.2g} s and {memory_text(found.memory_bytes)} "
        f"on this machine, {memory_text(found.disk_bytes)} on disk, {config.kept} kept"
        + ("" if config.lr else "; more if the grid of rates has to be extended")
        + ". Nothing was run or written."
    )


def _run(config: "SweepGrid", out: Path | None, backend: "Backend", *, quiet: bool, as_json: bool) -> None:
    from quadsim.cli.tables import print_results
    from quadsim.simulator.paths import local_path, shown

    folder = local_path("out", Path("runs") / f"sweep-{config.digest}" if out is None else out)
    ends = Ends()
    try:
        results = _results(config, folder, backend, quiet=quiet, as_json=as_json)
        _present(results, folder, ends)
    except KeyboardInterrupt:
        print(
            f"Interrupted; what was finished is kept in {shown(folder)}. The same command goes on from there.",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
    if as_json:
        print_json(results.to_json())
    else:
        print_results(results, quiet=quiet)
    ends.exit()


def _present(results: "Results", folder: Path, ends: Ends) -> None:
    """Figures and report of finished results, where the folder does not hold them."""
    from quadsim.cli.pages import write_sweep_report
    from quadsim.simulator import store
    from quadsim.simulator.sweep import draw_missing

    then = f"the results in {folder} are finished, and quadsim report {folder} makes the rest"
    with ends.attempt("figures and report", then):
        if draw_missing(results) or not (folder / store.REPORT).is_file():
            write_sweep_report(results)


def _results(config: "SweepGrid", folder: Path, backend: "Backend", *, quiet: bool, as_json: bool) -> "Results":
    """Run what is missing, or read what is finished.

    Raises:
        Exit: with code 1, where chunks failed.
    """
    from quadsim.cli.progress import progress_bar
    from quadsim.simulator.paths import shown
    from quadsim.simulator.results import load_results
    from quadsim.simulator.sweep import UnfinishedError, check, sweep
    from quadsim.simulator.sweep_folder import has_finished, remove_leftovers
    from quadsim.theory import judge

    if has_finished(folder, config.to_json()):
        remove_leftovers(folder)
        results = load_results(folder)
        print(f"Already finished; this is the stored result in {shown(folder)}.", file=sys.stderr)
    else:
        check(config)
        if config.kept == "quantiles" and getattr(config, "keep", None) is None and not quiet:
            print(
                f"{config.runs:,} runs: counts and histograms are kept, no row a run (--keep rows for those).",
                file=sys.stderr,
            )
        try:
            with library_messages(quiet=quiet or as_json), progress_bar(quiet=quiet) as progress:
                results = sweep(
                    config,
                    judge if config.kind == "quadratic" else None,
                    out=folder,
                    progress=progress,
                    backend=backend,
                    figures=False,
                )
        except UnfinishedError as error:
            print(f"Error: {' '.join(str(error).split())}", file=sys.stderr)
            raise typer.Exit(1) from None
    return results
