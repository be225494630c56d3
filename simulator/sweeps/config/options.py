"""Options of sweeps, each written once: the default and metadata of a field of a configuration, and an option of the command.

A family lists its own options in such a table, which stands in its record. From the tables follow the defaults and metadata of
the dataclass fields, and the options of `quadsim sweep` with their help. This module imports nothing of ours, so that
`quadsim --help` starts fast. The range of a value is checked where the configuration is made, so that it is in Python, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

__all__ = ["MOST_LR_DENSITY", "QUADRATICS", "SHARED", "TOY_MODELS", "Option", "Options"]

MOST_LR_DENSITY = 1000
"""Learning rates a decade, at most."""


@dataclass(frozen=True)
class Option:
    """One field of a configuration.

    Attributes:
        default: of the field.
        help: what it is, for `--help`.
        read: how the text of a user is read: `number`, `numbers` (a comma list), `names` (a comma list), `optimizers` (a comma
            list, in which key=value goes on with the optimizer before it), `sizes` (a comma list of numbers or sums as 1+4+9),
            `text`, or `flag` (an option without a value).
        metavar: what stands for the value in `--help`.
        shown: the default in words; None: as the value itself; empty: not at all.
        choices: names that are allowed, where each value has to be one of them.
        check: what each value has to be, where that is a number in a fixed range: `count` (at least 1), `density` (a count, at
            most MOST_LR_DENSITY), `seed`, `fraction` (above 0 and below 1) or `positive`.
    """

    default: Any
    help: str
    read: Literal["number", "numbers", "names", "optimizers", "sizes", "text", "flag"] = "names"
    metavar: str = "LIST"
    shown: str | None = None
    choices: tuple[str, ...] = ()
    check: Literal["", "count", "density", "seed", "fraction", "positive"] = ""

    def field(self) -> Any:
        """The field of a dataclass, with this option in its metadata as `option`."""
        return field(default=self.default, metadata={"option": self})

    @property
    def default_text(self) -> str:
        """The default as a user would write it."""
        if self.shown is not None:
            return self.shown
        values = self.default if isinstance(self.default, tuple) else (self.default,)
        return ",".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


Options = Mapping[str, Option]
"""By the names of the fields, in the order of `--help`."""


def _number(default: Any, help: str, check: Any, metavar: str = "N", shown: str | None = None) -> Option:
    return Option(default, help, "number", metavar, shown, check=check)


def _numbers(default: Any, help: str, shown: str | None = None) -> Option:
    return Option(default, help, "numbers", "LIST", shown)


def _text(default: Any, help: str, shown: str | None = None, choices: tuple[str, ...] = ()) -> Option:
    return Option(default, help, "text", "NAME", shown, choices)


SHARED: Options = {
    "seeds": _number(16, "Number of random problems at every point of the grid, at least 1", "count"),
    "seed": _number(0, "Seed of all random draws, 0 or more", "seed"),
    "steps": _number(10_000, "Largest number of steps of a run", "count"),
    "tolerance": _number(
        1e-6,
        "Gap f - f* to reach, as a fraction of the gap at the start; above 0, below 1",
        "fraction",
        "NUMBER",
        "1e-6",
    ),
    "until": _text(
        "first",
        "When a run counts as solved: first (the first step within the tolerance), stays (the first step from which it stays "
        "within the tolerance up to the last step), or mean (the first step at which the mean gap of ten steps is within it)",
        choices=("first", "stays", "mean"),
    ),
    "select_on": _text(
        "all",
        "Seeds on which the best setting and learning rate are chosen: all (with hindsight), or half (chosen on the "
        "even-numbered "
        "seeds, reported on the odd-numbered ones)",
        choices=("all", "half"),
    ),
    "schedule": _text(
        "constant",
        "Learning-rate schedule: constant, cosine, linear or inverse-sqrt; with options, as cosine:warmup=100",
    ),
    "optimizers": Option(
        ("gd", "signsgd", "adam:beta1=0", "heavy-ball", "signum", "adam"),
        "Optimizers, as gd,adam:beta1=0; quadsim rules lists them. 'adam:beta1=0|0.9,beta2=0.99|0.999' tries four settings and "
        "reports the best",
        "optimizers",
    ),
    "lr": _numbers(
        None, "Learning rates that every optimizer tries, as 0.01,0.1", "a grid around each rule's natural rate"
    ),
    "lr_density": _number(4, f"Learning rates per factor of 10 in that grid, 1 to {MOST_LR_DENSITY}", "density"),
    "dtype": _text("float64", "Floating-point type of the runs: float64 or float32", choices=("float32", "float64")),
    "device": _text("cpu", "Device of the runs: cpu, cuda or cuda:N"),
}
"""Of every sweep."""

QUADRATICS: Options = {
    "heterogeneity": _numbers(
        (1.0, 10.0, 100.0), "Hessian heterogeneity: the largest over the smallest L_l of the blocks, at least 1"
    ),
    "mode": Option(
        ("scale",),
        "How blocks differ: scale (each block has its own scale of eigenvalues) or arrange (one set of eigenvalues, divided "
        "among the blocks in different ways)",
        choices=("scale", "arrange"),
    ),
    "blocks": _numbers((4,), "Number of blocks"),
    "block_size": Option(
        (8,),
        "Parameters in each block: 3,30 sweeps two sizes; 1+4+9 is one problem with blocks of three sizes",
        "sizes",
    ),
    "condition_number": _numbers(
        (None,),
        "Condition number, at least 1: of each block with --mode scale [10], of the whole Hessian with --mode arrange [5000]",
        "",
    ),
    "gradient_heterogeneity": _numbers(
        (None,),
        "Gradient heterogeneity: the largest over the smallest |g_l|/sqrt(P_l) of the blocks at the start, at least 1",
        "with --alignment, as the L_l spread; else not controlled",
    ),
    "alignment": _numbers(
        (None,),
        "Correlation over the blocks of log L_l with log(|g_l|/sqrt(P_l)) at the start, from -1 (large gradients on flat blocks) "
        "to 1; write --alignment=-1,0,1",
        "not controlled",
    ),
    "rotation": _numbers(
        (1.0,), "Rotation of the eigenvectors within each block, from 0 (on the axes) to 1 (uniformly random, Haar)"
    ),
    "case": Option(
        (),
        "Named spectra instead of the dials --heterogeneity to --condition-number: heterogeneous, homogeneous, "
        "transformer-like or "
        "cnn-like",
        shown="",
        choices=("heterogeneous", "homogeneous", "transformer-like", "cnn-like"),
    ),
    "problem_file": Option(
        None,
        "Matrices of your own instead of the dials: .npz with one array for each block, .mtx or .json. A single matrix "
        "is divided "
        "by --block-size 10+20, or into its connected components",
        "text",
        "FILE",
        "",
    ),
    "start": _text(
        None,
        "Law of the starts with --problem-file: normal, sphere, zero-start (w = 0) or given (the start in the file)",
        "given if the file holds a start, else normal",
    ),
    "engine": _text(
        "auto",
        "Engine of the runs: closed-form, fused, reference, or auto, the fastest that applies",
        choices=("auto", "closed-form", "fused", "reference"),
    ),
    "keep": _text(
        None,
        "What is stored: rows (one row for each run, and curves) or quantiles (counts by status and histograms of "
        "steps, in memory "
        "that does not grow with --seeds)",
        "rows up to 10^7 runs",
        ("rows", "quantiles"),
    ),
}
"""Of sweeps over quadratics, beside SHARED."""

TOY_MODELS: Options = {
    "model": Option(
        ("transformer",),
        "Toy models: transformer, mlp, conv or mixer, instead of quadratics",
        shown="",
        choices=("transformer", "mlp", "conv", "mixer"),
    ),
    "task": Option(
        ("token-map",),
        "Task of the model: token-map, modular-addition, many-classes, induction, digits, text-char or text-word; with options, "
        "as token-map:vocabulary=32",
    ),
    "dial": Option(
        ("frequency",),
        "What --heterogeneity changes: frequency (weights of the classes), zipf (their counts in the data), separable "
        "(weights of "
        "four copies of the model), reparametrisation (scales of the blocks), init-scale (size of the start) or "
        "temperature (of the "
        "attention)",
        choices=("frequency", "zipf", "separable", "reparametrisation", "init-scale", "temperature"),
    ),
    "mode": Option(
        ("parameter",),
        "what the dial reparametrisation scales, parameter or gradient",
        choices=("parameter", "gradient"),
    ),
    "heterogeneity": _numbers((1.0, 10.0, 100.0), "the value of --dial"),
    "norm": Option((None,), "Place of the layer normalisation: pre, post or none", shown="pre; mlp and conv none"),
    "layers": _numbers((None,), "Number of layers", "2"),
    "width": _numbers((None,), "Width of the layers", "16"),
    "heads": _numbers((None,), "Number of attention heads of a transformer", "2"),
    "kernel": _numbers((None,), "Number of tokens that a kernel of conv spans", "3"),
    "evaluate_every": _number(10, "Steps between two evaluations of the losses, with mini-batches", "count"),
    "partition": _text(
        "module", "What is a block for adam-mini and lamb: layer, module or unit", choices=("layer", "module", "unit")
    ),
    "compile": Option(False, "Train with torch.compile, which fuses operations", "flag", shown=""),
    "seeds": replace(SHARED["seeds"], default=4),
    "steps": replace(SHARED["steps"], default=1000),
    "tolerance": _number(
        0.1, "the loss to reach, as a fraction of ln(classes), the loss of a guess", "fraction", "NUMBER"
    ),
    "dtype": replace(SHARED["dtype"], default="float32"),
    "until": replace(SHARED["until"], choices=("first", "stays")),
}
"""Of sweeps over toy models, beside those of SHARED that they do not change."""
