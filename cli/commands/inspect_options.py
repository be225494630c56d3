"""The options of `quadsim inspect`; those that make the model are options of `quadsim sweep --model`, of one value each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from quadsim.cli.console import path_option
from quadsim.simulator.sweeps.config.options import SHARED, TOY_MODELS

__all__ = [
    "DEFAULTS",
    "At",
    "Curvature",
    "Dial",
    "Heads",
    "Heterogeneity",
    "Init",
    "Kernel",
    "Layers",
    "Lr",
    "Mode",
    "Model",
    "Norm",
    "Optimizer",
    "Out",
    "Partition",
    "Quiet",
    "SaveBlocks",
    "Seed",
    "Seeds",
    "Study",
    "Task",
    "Width",
]

_SWEEP = {**SHARED, **TOY_MODELS}

DEFAULTS: Mapping[str, str] = {
    **{name: str(_SWEEP[name].default[0]) for name in ("model", "task", "dial", "mode", "init")},
    "heterogeneity": "1",  # one model: a sweep compares several values
    "partition": str(_SWEEP["partition"].default),
    "seed": str(_SWEEP["seed"].default),
}
"""Of the options that have one."""


def _text(help: str, metavar: str = "NAME") -> Any:
    """An option that stays text: the library checks it, with its own message."""
    return typer.Option(help=help, metavar=metavar, show_default=False)


def _of_sweep(name: str, metavar: str = "NAME") -> Any:
    """An option of `quadsim sweep --model`, of one value."""
    option = _SWEEP[name]
    help = option.help.partition(", instead of ")[0]  # there is nothing else here
    help = help[0].upper() + help[1:]  # some follow "with --model" there
    return _text(f"{help} [{DEFAULTS.get(name, option.default_text)}]", metavar)


Model = Annotated[str, _of_sweep("model")]
Norm = Annotated[str | None, _of_sweep("norm")]
Layers = Annotated[str | None, _of_sweep("layers", "N")]
Width = Annotated[str | None, _of_sweep("width", "N")]
Heads = Annotated[str | None, _of_sweep("heads", "N")]
Kernel = Annotated[str | None, _of_sweep("kernel", "N")]
Init = Annotated[str, _of_sweep("init", "LAW")]
Task = Annotated[str, _of_sweep("task")]
Dial = Annotated[str, _of_sweep("dial")]
Heterogeneity = Annotated[str, _of_sweep("heterogeneity", "NUMBER")]
Mode = Annotated[str, _of_sweep("mode")]
Partition = Annotated[str, _text(f"What is a block: layer, module or unit [{DEFAULTS['partition']}]")]
Seeds = Annotated[
    str | None,
    _text(
        "Number of random starts [3; 1 for curvature of over 20,000 parameters; norm-placement 10, head-growth 3]", "N"
    ),
]
Seed = Annotated[str, _of_sweep("seed", "N")]
Optimizer = Annotated[
    str | None, _text("Optimizer that trains the model before it is inspected, as adam:beta1=0; it needs --lr and --at")
]
Lr = Annotated[str | None, _text("Learning rate of --optimizer, above 0", "NUMBER")]
At = Annotated[
    str | None,
    _text("Training steps at which the model is inspected, as 0,10,100; the tables by block show the last one", "LIST"),
]
Curvature = Annotated[bool, typer.Option(help="Whether to compute the Hessian blocks.")]
Study = Annotated[
    str | None,
    _text(
        "Study to run instead of an inspection: norm-placement (gradients by place of the norm and depth) or "
        "head-growth (norm of "
        "the head under mini-batches)"
    ),
]
SaveBlocks = Annotated[
    Path | None, path_option("--save-blocks", "File FILE.npz for the Hessian blocks, which sweep --problem-file reads")
]
Out = Annotated[Path | None, path_option("--out", "Folder for the results [runs/inspect-<hash>]")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the summary alone.")]
