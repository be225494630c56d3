"""The options of `quadsim bench`: what each is called, takes and says in `--help`."""

from pathlib import Path
from typing import Annotated

import typer

from quadsim.cli.console import path_option

__all__ = [
    "BlockSizes",
    "Compile",
    "Device",
    "Dtype",
    "Instances",
    "Memory",
    "Model",
    "Out",
    "Problems",
    "Quiet",
    "Rounds",
    "Rules",
    "Settings",
    "Slopes",
    "Steps",
    "Tokens",
    "Ways",
]

Rules = Annotated[str, typer.Option(help="Optimizers, of adam, signsgd, gd.")]
BlockSizes = Annotated[str, typer.Option(help="Block sizes, a work for each.")]
Problems = Annotated[int, typer.Option(help="M, problems.")]
Settings = Annotated[int, typer.Option(help="K, learning rates.")]
Dtype = Annotated[
    str, typer.Option(help="float64 or float32 (default float64; of a model float32).", show_default=False)
]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Rounds = Annotated[int, typer.Option(help="Every way runs so often, in turns.")]
Ways = Annotated[str, typer.Option(help="What to run beside ours, of the columns of the table (default: all).")]
Steps = Annotated[
    int | None,
    typer.Option(help="Steps, a multiple of 50 (default 1000, 500 or 200 by block size; on a GPU ten times that)."),
]
Memory = Annotated[bool, typer.Option("--memory", help="Also peak memory, each way in a process of its own.")]
Slopes = Annotated[bool, typer.Option("--slopes", help="Also how our time grows with M, K, steps, block size.")]
Model = Annotated[str, typer.Option(help="Train this toy model (transformer) instead, with the first of --rules.")]
Tokens = Annotated[int, typer.Option(help="With --model: tokens of a step of one instance, 64 or 512.")]
Instances = Annotated[int | None, typer.Option(help="With --model: instances (default 64; on a GPU 4096).")]
Compile = Annotated[bool, typer.Option("--compile", help="With --model: also ours with torch.compile.")]
Out = Annotated[Path | None, path_option("--out", "Folder for bench.json, bench.png and bench.pdf.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")]
