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
    **{name: str(_SWEEP[name].default[0]) for name in ("model", "task", "dial", "mode")},
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
    help = option.help.partition(" instead of ")[0]  # there is nothing else here
    if help.startswith(("of ", "the ")):  # what follows "with --model" there; a list of choices begins with a name
        help = help.capitalize()
    return _text(f"{help} [{DEFAULTS.get(name, option.default_text)}]", metavar)


Model = Annotated[str, _of_sweep("model")]
Norm = Annotated[str | None, _of_sweep("norm")]
Layers = Annotated[str | None, _of_sweep("layers", "N")]
Width = Annotated[str | None, _of_sweep("width", "N")]
Heads = Annotated[str | None, _of_sweep("heads", "N")]
Kernel = Annotated[str | None, _of_sweep("kernel", "N")]
Task = Annotated[str, _of_sweep("task")]
Dial = Annotated[str, _of_sweep("dial")]
Heterogeneity = Annotated[str, _of_sweep("heterogeneity", "NUMBER")]
Mode = Annotated[str, _of_sweep("mode")]
Partition = Annotated[str, _text(f"Blocks: layer, module or unit [{DEFAULTS['partition']}]")]
Seeds = Annotated[str | None, _text("Starts [3; 1 above 20,000 parameters with curvature; studies 10 and 3]", "N")]
Seed = Annotated[str, _of_sweep("seed", "N")]
Optimizer = Annotated[str | None, _text("Train with this one first, as adam:beta1=0 (needs --lr and --at)")]
Lr = Annotated[str | None, _text("Its learning rate", "NUMBER")]
At = Annotated[str | None, _text("Steps to look at, as 0,10,100; the last one is shown block by block", "LIST")]
Curvature = Annotated[bool, typer.Option(help="Whether to take Hessian blocks.")]
Study = Annotated[
    str | None,
    _text("norm-placement (gradients by norm and depth) or head-growth (the head under mini-batches) instead"),
]
SaveBlocks = Annotated[
    Path | None, path_option("--save-blocks", "Also write the Hessian blocks, as FILE.npz for sweep --problem-file")
]
Out = Annotated[Path | None, path_option("--out", "Result folder [runs/inspect-<hash>]")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Only the summary.")]
