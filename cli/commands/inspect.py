"""quadsim inspect: gradients and curvature of a toy model, block by block."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quadsim.cli.console import Ends, StyleOption, comma_list, given_path, number, print_json, usage_errors

if TYPE_CHECKING:
    from quadsim.simulator.curvature.inspection import Inspection
    from quadsim.simulator.models import ToyProblem

_LARGE = 20_000  # parameters from which the Hessian of one start takes minutes
_NO_DATA = "the tables are all there is; make room in {} or choose another folder, and give the same command again"
_NO_FIGURES = "the tables in {} are finished, and the same command again makes the figures"


def _text(help: str, metavar: str = "NAME") -> Any:
    return typer.Option(help=help, metavar=metavar, show_default=False)


def inspect(
    model: Annotated[str, _text("transformer, mlp, conv or mixer [transformer]")] = "transformer",
    norm: Annotated[str | None, _text("pre, post or none [pre; mlp and conv none]")] = None,
    layers: Annotated[str | None, _text("Layers [2]", "N")] = None,
    width: Annotated[str | None, _text("Width [16]", "N")] = None,
    heads: Annotated[str | None, _text("Attention heads [2]", "N")] = None,
    kernel: Annotated[str | None, _text("Tokens a convolution sees [3]", "N")] = None,
    task: Annotated[
        str, _text("As in quadsim sweep, with options as token-map:vocabulary=32 [token-map]")
    ] = "token-map",
    dial: Annotated[str, _text("As in quadsim sweep [frequency]")] = "frequency",
    heterogeneity: Annotated[str, _text("Value of the dial [1]", "NUMBER")] = "1",
    mode: Annotated[str, _text("Of the reparametrisation: parameter or gradient [parameter]")] = "parameter",
    partition: Annotated[str, _text("Blocks: layer, module or unit [module]")] = "module",
    seeds: Annotated[
        str | None, _text("Starts [3; 1 above 20,000 parameters with curvature; studies 10 and 3]", "N")
    ] = None,
    seed: Annotated[str, _text("Key of all random draws [0]", "N")] = "0",
    optimizer: Annotated[str | None, _text("Train with this one first, as adam:beta1=0 (needs --lr and --at)")] = None,
    lr: Annotated[str | None, _text("Its learning rate", "NUMBER")] = None,
    at: Annotated[
        str | None, _text("Steps to look at, as 0,10,100; the last one is shown block by block", "LIST")
    ] = None,
    curvature: Annotated[bool, typer.Option(help="Whether to take Hessian blocks.")] = True,
    study: Annotated[
        str | None,
        _text("norm-placement (gradients by norm and depth) or head-growth (the head under mini-batches) instead"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Result folder [runs/inspect-<hash>]", show_default=False, parser=str, metavar="PATH"
        ),
    ] = None,
    style: StyleOption = "quadsim",
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the summary.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show gradients and curvature of a toy model, block by block.

    The blocks' gradient norms, Hessian spectra and their distances are shown in tables and three figures.

    Example: quadsim inspect --model transformer --norm post --layers 12

    Example: quadsim inspect --optimizer gd --lr 0.5 --at 0,5,20

    Example: quadsim inspect --study norm-placement --layers 2,4,8,12
    """
    asked = {
        "model": model,
        "norm": norm,
        "layers": layers,
        "width": width,
        "heads": heads,
        "kernel": kernel,
        "task": task,
        "dial": dial,
        "heterogeneity": heterogeneity,
        "mode": mode,
    }
    run = {"partition": partition, "seeds": seeds, "seed": seed, "curvature": curvature}
    run |= {"optimizer": optimizer, "lr": lr, "at": at, "study": study}
    ends = Ends()
    with usage_errors():
        out = given_path("out", out)
        if study is not None:
            _study(asked, run, out, ends, quiet=quiet, as_json=as_json)
        else:
            _inspect(asked, run, out, ends, quiet=quiet, as_json=as_json)
    ends.exit()


def _problem(asked: dict[str, Any], seeds: int, seed: int) -> "ToyProblem":
    from quadsim.simulator.support.checks import as_number
    from quadsim.simulator.sweeps.config.toy_models import ModelPoint

    numbers = ("layers", "width", "heads", "kernel", "heterogeneity")
    dials = {name: as_number(text) if name in numbers and text is not None else text for name, text in asked.items()}
    return ModelPoint(dials).problem(seeds, seed)


def _inspect(
    asked: dict[str, Any], run: dict[str, Any], out: Path | None, ends: Ends, *, quiet: bool, as_json: bool
) -> None:
    import time

    from quadsim.cli.text.inspection import print_inspection
    from quadsim.simulator.curvature.inspection import inspect_model
    from quadsim.simulator.support.checks import check_count

    seed = check_count("seed", number(run["seed"]), 0)
    if run["seeds"] is None:
        many = _problem(asked, 1, seed).dimension > _LARGE and run["curvature"]
        run = run | {"seeds": "1" if many else "3"}
    problem = _problem(asked, check_count("seeds", number(run["seeds"])), seed)
    folder = _folder(out, asked | run)
    began = time.perf_counter()
    local = None
    if run["optimizer"] is None:
        if run["lr"] is not None or run["at"] is not None:
            raise ValueError("lr and at must come with an optimizer to train with, got none; add --optimizer, as gd.")
        with _columns_bar(problem, quiet=quiet or not run["curvature"]) as progress:
            found = inspect_model(problem, run["partition"], curvature=run["curvature"], progress=progress)
    else:
        found, local = _along_training(problem, run, quiet=quiet)
    document = found.to_json() | {"config": asked | run, "folder": str(folder)}
    if local is not None:
        from quadsim.simulator.support.records import plain_records

        document["local"] = {"text": local.text().splitlines(), "steps": plain_records(local.to_frame())}
    _save(found, local, folder, asked | run, time.perf_counter() - began, ends)
    if as_json:
        print_json(document)
    else:
        print_inspection(found, local, folder, quiet=quiet)


def _along_training(problem: "ToyProblem", run: dict[str, Any], *, quiet: bool) -> tuple["Inspection", Any]:
    """Train, look at the last of the steps block by block, and hold every one against its local models."""
    from quadsim.simulator.curvature.inspection import inspect_trained
    from quadsim.theory.local import local_steps

    if run["lr"] is None or run["at"] is None:
        raise ValueError("optimizer must come with a learning rate and steps to look at, got none; add --lr and --at.")
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
    return found, local_steps(trained, partition=partition) if curvature else None


@contextmanager
def _columns_bar(problem: "ToyProblem", *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar that moves with the columns of the Hessians."""
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
    from quadsim.theory.claims.studies import STUDIES

    name = check_choice("study", run["study"], STUDIES)
    began = time.perf_counter()
    folder = _folder(out, asked | run)
    options = _study_options(name, asked, run)
    with progress_bar(quiet=quiet):  # neither study counts its steps; a line now and then says that it runs
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
    """What was asked for of what a study can be asked for; its own defaults for the rest."""

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
    fixed = {
        "model": "transformer",
        "task": "token-map",
        "dial": "frequency",
        "heterogeneity": "1",
        "mode": "parameter",
    }
    fixed |= {"partition": "module", "study": name}
    for key, value in given.items():
        if key not in known and value != fixed.get(key) and value is not True:
            raise ValueError(
                f"--{key} must be left out with --study {name}, which fixes it, got {value}; drop one of the two."
            )
    return {argument: read(given[key]) for key, (argument, read) in known.items() if given[key] is not None}


def _folder(out: Path | None, asked: dict[str, Any]) -> Path:
    """Where the result goes: a folder that is new, empty, or holds a result of the same options, which is then written again.

    The default one is named after what was asked.

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


def _save(found: "Inspection", local: Any, folder: Path, asked: dict[str, Any], seconds: float, ends: Ends) -> None:
    from quadsim.simulator.figures.inspection_figures import save_inspection_figures
    from quadsim.simulator.figures.local_figure import local_figure
    from quadsim.simulator.figures.panels import save_figure
    from quadsim.simulator.support import store
    from quadsim.simulator.support.provenance import provenance

    with ends.attempt("the data", _NO_DATA.format(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        # First, so that the same command may write here again whatever fails after it.
        store.write_json(folder / store.CONFIG, {"kind": "inspect", **asked})
        store.write_frame(folder / "blocks.parquet", found.blocks)
        store.write_frame(folder / store.SUMMARY, found.summary)
        if local is not None:
            store.write_frame(folder / "local.parquet", local.to_frame())
        store.write_json(folder / store.MANIFEST, provenance(seconds, seed=found.problem.seed))
    if ends.failed:
        return
    with ends.attempt("the figures", _NO_FIGURES.format(folder)):
        if local is not None:
            save_figure(local_figure(local.to_frame()), folder / store.FIGURES, "local")
        save_inspection_figures(found, folder / store.FIGURES)
