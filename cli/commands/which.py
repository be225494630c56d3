"""The command `quadsim which`: which optimizer, at which rate, with which guarantee, and how sure."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quadsim.cli.console import JsonOption, print_json, usage_errors

if TYPE_CHECKING:
    from quadsim.simulator.sweeps.results.results import Results
    from quadsim.theory.advising.advice import Advice

__all__ = ["which"]

_MOST = 12
"""Points of which advice is printed, at most."""


def which(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[SOURCE]",
            help="Folder of a finished sweep or of quadsim inspect, or a file of your own blocks (.npz, .mtx, .json); "
            "left out: quadratics with the dials of --at, which are run now.",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            "--at",
            metavar="NAME=VALUE",
            help="Value of a dial, as heterogeneity=100; may be given several times. Of a sweep it chooses points.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say which optimizer to take, and at which learning rate.

    Every answer says what is guaranteed and how sure it is, and names the experiment or the theorem it rests on.
    At values that were not run there is no answer: exit code 1.

    Example: quadsim which runs/mine --at heterogeneity=100

    Example: quadsim which blocks.npz

    Example: quadsim which --at heterogeneity=30 --at optimizers=gd,adam
    """
    with usage_errors():
        found = _advice(source, _values(at or []))
        if len(found) > _MOST:
            raise ValueError(
                f"at must leave at most {_MOST} points of the sweep, got {len(found)}; name further dials with --at."
            )
    if as_json:
        print_json([one.to_json() for one in found])
    else:
        typer.echo("\n".join(one.text for one in found))
    if not any(one.is_answer for one in found):
        raise typer.Exit(1)


def _values(texts: list[str]) -> dict[str, str]:
    """Return `NAME=VALUE` texts as names with their values.

    Raises:
        ValueError: a text of another form, or a name given twice.
    """
    out: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        name = name.replace("-", "_")
        if not (name and equals and value):
            raise ValueError(f"at must be NAME=VALUE, got {text!r}; write for example --at heterogeneity=100.")
        if name in out:
            raise ValueError(f"at must name {name} once, got it twice; leave one out.")
        out[name] = value
    return out


def _advice(source: str | None, at: dict[str, str]) -> "list[Advice]":
    """Return the advice on a source.

    Raises:
        ValueError: a source of another kind, or dials that do not go with it.
    """
    from quadsim.simulator.support.paths import local_path
    from quadsim.theory.advising.sweeps import advise_on_sweep

    if source is None:
        if not at:
            raise ValueError("SOURCE must be given, or dials with --at, got neither; as in --at heterogeneity=100.")
        return advise_on_sweep(_run(at), {})
    path = local_path("SOURCE", source)
    if path.is_dir():
        return _of_folder(path, at)
    if not path.is_file():
        raise ValueError(f"SOURCE must be a folder of results or a file of blocks, got {source}, which does not exist.")
    return advise_on_sweep(_run({"problem_file": str(path)} | at), {})


def _run(texts: dict[str, str]) -> "Results":
    """Run a sweep of these options, which stays in memory.

    Raises:
        ValueError: an unknown option, or options that are no configuration.
    """
    from quadsim.cli.commands.early_checks import check_early
    from quadsim.cli.commands.sweep_options import READERS, config_of, read_options
    from quadsim.simulator import sweep
    from quadsim.simulator.support.checks import check_choice
    from quadsim.theory import guarantees, judge

    for name in texts:
        check_choice("at", name, READERS)
    given = read_options(texts)
    check_early(given)
    return sweep(config_of(given, None, ()), judge, present=None, figures=False, guarantor=guarantees)


def _of_folder(folder: Path, at: dict[str, str]) -> "list[Advice]":
    """Return the advice from a result folder.

    Raises:
        ValueError: a folder of another kind, or dials of an inspection.
    """
    from quadsim.simulator.support import store
    from quadsim.simulator.sweeps.results.results import load_results
    from quadsim.theory.advising.models import advise_on_inspection
    from quadsim.theory.advising.sweeps import advise_on_sweep

    stored: Any = store.read_json(folder / store.CONFIG, "config") if (folder / store.CONFIG).is_file() else {}
    config = stored if isinstance(stored, dict) else {}
    if config.get("kind") != "inspect":
        return advise_on_sweep(load_results(folder), at)
    if at:
        raise ValueError(
            f"--at must be left out for an inspection, which is of one model, got {next(iter(at))}; drop it."
        )
    if not (folder / store.SUMMARY).is_file():
        raise ValueError(f"SOURCE must be a folder of quadsim inspect without --study, got {folder}; inspect a model.")
    summary = store.read_frame(folder / store.SUMMARY).median(numeric_only=True)
    where = f"step {config.get('at') or 0} of {config.get('model') or 'the model'}"
    return [advise_on_inspection(dict(summary), f"the inspection in {folder.name}", where)]
