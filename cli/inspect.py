"""quadsim inspect: gradients and curvature of a toy model, block by block."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quadsim.cli.console import comma_list, number, print_json, usage_errors

if TYPE_CHECKING:
    from quadsim.simulator.inspection import Inspection
    from quadsim.simulator.models import ToyProblem

_STUDIES = ("norm-placement", "head-growth")


def _text(help: str, metavar: str = "NAME") -> Any:
    return typer.Option(help=help, metavar=metavar, show_default=False)


def inspect(
    model: Annotated[str, _text("transformer, mlp or conv [transformer]")] = "transformer",
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
    seeds: Annotated[str | None, _text("Starts to look at [3; studies 10 and 3]", "N")] = None,
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
        Path | None, typer.Option("--out", help="Result folder [runs/inspect-<hash>]", show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only the summary.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show gradient norms and curvature of every block of a toy model, with three figures.

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
    with usage_errors():
        if study is not None:
            _study(asked, run, out, quiet=quiet, as_json=as_json)
        else:
            _inspect(asked, run, out, quiet=quiet, as_json=as_json)
