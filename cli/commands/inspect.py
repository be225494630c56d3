"""The command `quadsim inspect`: gradients and curvature of a toy model, block by block."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from quadsim.cli.commands import inspect_options as options
from quadsim.cli.console import (
    Ends,
    JsonOption,
    StyleOption,
    check_file,
    comma_list,
    given_path,
    number,
    print_json,
    usage_errors,
)

if TYPE_CHECKING:
    from quadsim.simulator.curvature.inspection import Inspection
    from quadsim.simulator.models import ToyProblem

_LARGE = 20_000  # parameters from which the Hessian of one start takes minutes
_NO_DATA = "the tables are all there is; make room in {} or choose another folder, and give the same command again"
_NO_FIGURES = "the tables in {} are finished, and the same command again makes the figures"


def inspect(
    model: options.Model = options.DEFAULTS["model"],
    norm: options.Norm = None,
    layers: options.Layers = None,
    width: options.Width = None,
    heads: options.Heads = None,
    kernel: options.Kernel = None,
    init: options.Init = options.DEFAULTS["init"],
    task: options.Task = options.DEFAULTS["task"],
    dial: options.Dial = options.DEFAULTS["dial"],
    heterogeneity: options.Heterogeneity = options.DEFAULTS["heterogeneity"],
    mode: options.Mode = options.DEFAULTS["mode"],
    partition: options.Partition = options.DEFAULTS["partition"],
    seeds: options.Seeds = None,
    seed: options.Seed = options.DEFAULTS["seed"],
    optimizer: options.Optimizer = None,
    lr: options.Lr = None,
    at: options.At = None,
    curvature: options.Curvature = True,
    study: options.Study = None,
    save_blocks: options.SaveBlocks = None,
    out: options.Out = None,
    style: StyleOption = "quadsim",
    quiet: options.Quiet = False,
    as_json: JsonOption = False,
) -> None:
    """Show gradients and curvature of a toy model, block by block.

    The blocks' gradient norms, Hessian spectra and their distances are shown in tables and three figures.

    Example: quadsim inspect --model transformer --norm post --layers 12

    Example: quadsim inspect --optimizer gd --lr 0.5 --at 0,5,20

    Example: quadsim inspect --study norm-placement --layers 2,4,8,12

    Example: quadsim inspect --optimizer gd --lr 0.5 --at 200 --seeds 1 --save-blocks blocks.npz
    """
    asked = {"model": model, "norm": norm, "layers": layers, "width": width, "heads": heads, "kernel": kernel}
    asked |= {"task": task, "dial": dial, "heterogeneity": heterogeneity, "mode": mode}
    asked |= (
        {} if init == options.DEFAULTS["init"] else {"init": init}
    )  # folders of older versions are named without it
    run = {"partition": partition, "seeds": seeds, "seed": seed, "curvature": curvature}
    run |= {"optimizer": optimizer, "lr": lr, "at": at, "study": study}
    ends = Ends()
    with usage_errors():
        out, blocks = given_path("out", out), _blocks_file(save_blocks, run)
        if study is not None:
            _study(asked, run, out, ends, quiet=quiet, as_json=as_json)
        else:
            _inspect(asked, run, out, blocks, ends, quiet=quiet, as_json=as_json)
    ends.exit()


def _blocks_file(given: Path | None, run: dict[str, Any]) -> Path | None:
    """Return the file for the Hessian blocks, or None where none was asked for.

    Raises:
        ValueError: another ending than .npz, options with which no Hessian block is computed, or another file in its place.
    """
    file = given_path("save blocks", given)
    if file is None:
        return None
    if file.suffix != ".npz":
        raise ValueError(
            f"save blocks must be a file that ends in .npz, got {file.name}; write --save-blocks blocks.npz."
        )
    if run["study"] is not None or not run["curvature"]:
        other = "--study" if run["study"] is not None else "--no-curvature"
        raise ValueError(
            f"--save-blocks cannot be combined with {other}, which computes no blocks; leave one of the two out."
        )
    check_file("save blocks", file, "a file of blocks", _holds_blocks)
    return file


def _holds_blocks(file: Path) -> bool:
    """Whether a file is one that `write_blocks` wrote."""
    import zipfile

    try:
        with zipfile.ZipFile(file) as content:
            return all(name.startswith("block_") for name in content.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _problem(asked: dict[str, Any], seeds: int, seed: int) -> "ToyProblem":
    from quadsim.simulator.support.checks import as_number
    from quadsim.simulator.sweeps.config.toy_models import ModelPoint

    numbers = ("layers", "width", "heads", "kernel", "heterogeneity")
    dials = {name: as_number(text) if name in numbers and text is not None else text for name, text in asked.items()}
    return ModelPoint(dials).problem(seeds, seed)


def _inspect(
    asked: dict[str, Any],
    run: dict[str, Any],
    out: Path | None,
    blocks: Path | None,
    ends: Ends,
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    import time

    from quadsim.cli.text.inspection import print_inspection
    from quadsim.simulator.curvature.inspection import inspect_model
    from quadsim.simulator.support.checks import check_count
    from quadsim.simulator.support.records import plain_records

    seed = check_count("seed", number(run["seed"]), 0)
    if run["seeds"] is None:
        many = _problem(asked, 1, seed).dimension > _LARGE and run["curvature"]
        run = run | {"seeds": "1" if many else "3"}
    problem = _problem(asked, check_count("seeds", number(run["seeds"])), seed)
    folder = _folder(out, asked | run)
    _check(problem, run)
    if run["curvature"] and not quiet:
        _state_columns(problem)
    began = time.perf_counter()
    local = along = None
    if run["optimizer"] is None:
        with _columns_bar(problem, quiet=quiet or not run["curvature"]) as progress:
            found = inspect_model(problem, run["partition"], curvature=run["curvature"], progress=progress)
    else:
        found, local, along = _along_training(problem, run, quiet=quiet)
    document = found.to_json() | {"config": asked | run, "folder": str(folder)}
    if local is not None:
        document["local"] = {"text": local.text().splitlines(), "steps": plain_records(local.to_frame())}
    if along is not None:
        document["coupling"] = plain_records(along)
    _save(found, local, along, folder, asked | run, time.perf_counter() - began, ends)
    if blocks is not None:
        with ends.attempt("the blocks", f"choose another file than {blocks}, and give the same command again"):
            _save_blocks(found, blocks)
    if as_json:
        print_json(document)
    else:
        print_inspection(found, local, folder, quiet=quiet, along=along)


def _check(problem: "ToyProblem", run: dict[str, Any]) -> None:
    """Check what the library checks again once it trains: here before anything is said or begun.

    Raises:
        ValueError: an unknown partition or optimizer, a value out of range, or options that need others.
    """
    from quadsim.simulator.rules.optimizer import OptimizerSpec
    from quadsim.simulator.rules.rule import LEARNING_RATE
    from quadsim.simulator.support.checks import check_count

    problem.partition(run["partition"])
    lr, at = run["lr"], run["at"]
    if run["optimizer"] is None:
        if lr is not None or at is not None:
            raise ValueError("--lr and --at must come with an optimizer, got none; add --optimizer, as gd.")
        return
    if lr is None or at is None:
        raise ValueError(
            "optimizer must come with a learning rate and the steps to inspect, got none; add --lr and --at."
        )
    OptimizerSpec.parse(run["optimizer"])
    LEARNING_RATE.check("lr", number(lr))
    for step in comma_list(at, number):
        check_count("at", step, 0)


def _state_columns(problem: "ToyProblem") -> None:
    """Say on stderr what takes long, before it begins, and what is cheaper."""
    number, each = problem.problems, problem.dimension
    if number * each > _LARGE:
        fewer = "" if number == 1 else f", --seeds 1 takes {number} times less"
        print(
            f"The Hessian of each of {number} seed{'s' * (number > 1)} has {each:,} columns, which take most of the time: "
            f"--no-curvature leaves them out{fewer}.",
            file=sys.stderr,
        )


def _along_training(problem: "ToyProblem", run: dict[str, Any], *, quiet: bool) -> tuple["Inspection", Any, Any]:
    """Train, inspect the last of the steps block by block, and compare every step with its local models.

    Where the whole Hessian is small enough, the part outside the blocks is measured at every step that was asked for.
    """
    from quadsim.simulator.curvature.along_training import coupling_along
    from quadsim.simulator.curvature.inspection import inspect_trained
    from quadsim.theory.local import local_steps

    partition, curvature = run["partition"], run["curvature"]
    with _columns_bar(problem, quiet=quiet or not curvature) as progress:
        found, trained = inspect_trained(
            problem,
            run["optimizer"],
            partition,
            lr=number(run["lr"]),
            at=comma_list(run["at"], number),
            curvature=curvature,
            progress=progress,
        )
    lost = problem.problems - found.problem.problems
    if lost:
        print(f"{lost} of {problem.problems} seeds had diverged and are left out.", file=sys.stderr)
    if not curvature:
        return found, None, None
    along = coupling_along(trained, partition) if "coupling" in found.whole else None
    return found, local_steps(trained, partition=partition), along


def _save_blocks(found: "Inspection", file: Path) -> None:
    """Write the Hessian blocks, and say on stderr which of them no sweep will take."""
    from quadsim.simulator.curvature.block_spectra import block_hessians
    from quadsim.simulator.problems.files import write_blocks

    hessians = block_hessians(found.problem.stack(), found.theta, found.partition)
    matrices = [block[0] if block.shape[0] == 1 else block for block in hessians.blocks]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_blocks(file, matrices)
    assert found.spectra is not None
    negative = int((found.spectra.smallest < -1e-12 * found.spectra.spectral_norm).any(axis=0).sum())
    if negative:
        print(
            f"{negative} of {len(matrices)} Hessian blocks in {file} are indefinite, and a sweep refuses them; inspect after "
            "more steps of training, or use quadsim.simulator.blocks_of with gauss-newton.",
            file=sys.stderr,
        )


@contextmanager
def _columns_bar(problem: "ToyProblem", *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Return a function that advances the bar by finished columns of the Hessians."""
    from quadsim.cli.progress import progress_bar

    total, done = problem.problems * problem.dimension, 0
    with progress_bar(quiet=quiet) as move:

        def columns(number: int) -> None:
            nonlocal done
            done += number
            move(done, total, "columns of the Hessian")

        yield columns


def _study(
    asked: dict[str, Any], run: dict[str, Any], out: Path | None, ends: Ends, *, quiet: bool, as_json: bool
) -> None:
    import time

    from quadsim.cli.progress import progress_bar
    from quadsim.simulator.figures.panels import save_figure
    from quadsim.simulator.support import store
    from quadsim.simulator.support.checks import check_choice
    from quadsim.simulator.support.paths import shown
    from quadsim.simulator.support.provenance import provenance
    from quadsim.simulator.support.records import plain_records
    from quadsim.theory.claims.gradients.studies import STUDIES

    name = check_choice("study", run["study"], STUDIES)
    began = time.perf_counter()
    folder = _folder(out, asked | run)
    options = _study_options(name, asked, run)
    with progress_bar(quiet=quiet):  # the studies do not report steps; lines at intervals show that they run
        found = STUDIES[name](**options)
    with ends.attempt("the data", _NO_DATA.format(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        store.write_json(folder / store.CONFIG, {"kind": "inspect", **asked, **run})
        store.write_frame(folder / store.SUMMARY, found.runs)
        store.write_json(folder / store.MANIFEST, provenance(time.perf_counter() - began, seed=options["seed"]))
    with ends.attempt("the figure", _NO_FIGURES.format(folder)):
        save_figure(found.figure(), folder / store.FIGURES, name)
    if as_json:
        records = {key: plain_records(frame) for key, frame in found.tables.items()}
        print_json({"study": name, **records, "config": asked | run, "folder": str(folder)})
        return
    for frame in found.tables.values():
        typer.echo(frame.to_string(index=False, float_format=lambda value: f"{value:.3g}"))
        typer.echo("")
    typer.echo(
        f"Files: {shown(folder)}/ ({store.SUMMARY}, {store.FIGURES}/{name}.png and .pdf, {store.CONFIG}, {store.MANIFEST})"
    )


def _study_options(name: str, asked: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a study that were given; the study has defaults for all others."""

    def numbers(text: str) -> tuple[Any, ...]:
        return comma_list(text, number)

    def names(text: str) -> tuple[str, ...]:
        return comma_list(text, str)

    # An option to the argument of the study and how it is read.
    known: dict[str, tuple[str, Callable[[str], Any]]] = {
        "seed": ("seed", number),
        "seeds": ("seeds", number),
        "width": ("width", number),
    }
    if name == "norm-placement":
        known |= {"layers": ("layers", numbers), "norm": ("norms", names)}
    else:
        known |= {"optimizer": ("optimizers", names), "lr": ("lr", number)}
    given = asked | run
    fixed = {**options.DEFAULTS, "model": "transformer", "study": name}
    for key, value in given.items():
        if key not in known and value != fixed.get(key) and value is not True:
            raise ValueError(
                f"--{key} cannot be combined with --study {name}, which fixes it, got {value}; leave one of the two out."
            )
    return {argument: read(given[key]) for key, (argument, read) in known.items() if given[key] is not None}


def _folder(out: Path | None, asked: dict[str, Any]) -> Path:
    """Return the folder of the result; the default one is named after the options.

    A given folder must be new, empty, or hold a result of the same options, which is then overwritten.

    Raises:
        ValueError: a folder with other content, or a result of other options.
    """
    import hashlib
    import json

    from quadsim.simulator.support import store
    from quadsim.simulator.support.paths import local_path
    from quadsim.simulator.sweeps.run.folder import check_folder, check_same

    if out is None:
        text = json.dumps(asked, sort_keys=True)
        out = local_path("out", f"runs/inspect-{hashlib.sha256(text.encode()).hexdigest()[:10]}")
    check_folder(out, "a result of the same options", store.CONFIG)
    if (out / store.CONFIG).is_file():
        check_same(out, {"kind": "inspect", **asked}, repeats=False)
    return out


def _save(
    found: "Inspection", local: Any, along: Any, folder: Path, asked: dict[str, Any], seconds: float, ends: Ends
) -> None:
    from quadsim.simulator.figures.inspection_figures import save_inspection_figures
    from quadsim.simulator.figures.local_figure import local_figure
    from quadsim.simulator.figures.panels import save_figure
    from quadsim.simulator.support import store
    from quadsim.simulator.support.provenance import provenance

    with ends.attempt("the data", _NO_DATA.format(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        # Written first, so that the same command may write here again if a later part fails.
        store.write_json(folder / store.CONFIG, {"kind": "inspect", **asked})
        store.write_frame(folder / "blocks.parquet", found.blocks)
        store.write_frame(folder / store.SUMMARY, found.summary)
        if local is not None:
            store.write_frame(folder / "local.parquet", local.to_frame())
        if along is not None:
            store.write_frame(folder / "coupling.parquet", along)
        store.write_json(folder / store.MANIFEST, provenance(seconds, seed=found.problem.seed))
    if ends.failed:
        return
    with ends.attempt("the figures", _NO_FIGURES.format(folder)):
        if local is not None:
            save_figure(local_figure(local.to_frame()), folder / store.FIGURES, "local")
        save_inspection_figures(found, folder / store.FIGURES)
