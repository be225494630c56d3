"""The options of `quadsim bench`: what each is called, takes and says in `--help`."""

from pathlib import Path
from typing import Annotated

import typer

from quadsim.cli.console import path_option

__all__ = [
    "Batch",
    "BlockSizes",
    "Compile",
    "Device",
    "Dtype",
    "Instances",
    "MainJobOption",
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

Rules = Annotated[str, typer.Option(help="Optimizers to time: a list of adam, signsgd and gd.")]
BlockSizes = Annotated[str, typer.Option(help="Block sizes, each timed on its own.")]
Batch = Annotated[
    int,
    typer.Option(help="Samples of a stream in every step, with label noise 0.1; 0: the gradient of the full batch."),
]
Problems = Annotated[int, typer.Option(help="Number of problems (M).")]
Settings = Annotated[int, typer.Option(help="Number of learning rates for every problem (K).")]
Dtype = Annotated[
    str,
    typer.Option(help="Floating-point type: float64 or float32 [float64; with --model float32].", show_default=False),
]
Device = Annotated[str, typer.Option(help="Device: cpu or cuda.")]
Rounds = Annotated[int, typer.Option(help="Number of times that every implementation runs, in turns.")]
Ways = Annotated[
    str, typer.Option(help="Implementations to compare with, as the columns of the table name them [all].")
]
Steps = Annotated[
    int | None,
    typer.Option(help="Number of steps, a multiple of 50 [1000, 500 or 200, by block size; on a GPU ten times that]."),
]
Memory = Annotated[
    bool, typer.Option("--memory", help="Measure peak memory as well, each implementation in a process of its own.")
]
Slopes = Annotated[
    bool,
    typer.Option("--slopes", help="Measure as well how the time of quadsim grows with M, K, steps and block size."),
]
MainJobOption = Annotated[
    bool,
    typer.Option(
        "--main-job",
        help="Measure the processor time of quadsim sweep --heterogeneity 1,10,100 instead, its first run in a new cache "
        "and later ones; --rounds, --json, --out and --quiet apply.",
    ),
]
Model = Annotated[
    str,
    typer.Option(
        help="Time the training of this toy model instead of quadratics, with the first of --rules: transformer."
    ),
]
Tokens = Annotated[int, typer.Option(help="Tokens in a step of one instance, with --model: 64 or 512.")]
Instances = Annotated[
    int | None, typer.Option(help="Number of instances trained together, with --model [64; on a GPU 4096].")
]
Compile = Annotated[bool, typer.Option("--compile", help="Time quadsim with torch.compile as well, with --model.")]
Out = Annotated[Path | None, path_option("--out", "Folder for bench.json, bench.png and bench.pdf.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress on stderr.")]
