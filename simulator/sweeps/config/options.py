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
    "seeds": _number(16, "Problems at every point", "count"),
    "seed": _number(0, "Key of all random draws", "seed"),
    "steps": _number(10_000, "Length of every run", "count"),
    "tolerance": _number(1e-6, "Gap to reach, relative to the start", "fraction", "NUMBER", "1e-6"),
    "until": _text(
        "first",
        "What counts as solved: first (the tolerance is reached), stays (it is kept from then on to the last step), or mean (the "
        "mean gap of ten steps is within it)",
        choices=("first", "stays", "mean"),
    ),
    "select_on": _text(
        "all",
        "Seeds on which the best setting and rate are chosen: all (hindsight), or half (chosen on the even-numbered seeds, "
        "reported on the odd-numbered ones)",
        choices=("all", "half"),
    ),
    "schedule": _text("constant", "constant, cosine, linear or inverse-sqrt, as cosine:warmup=100"),
    "optimizers": Option(
        ("gd", "signsgd", "adam:beta1=0", "heavy-ball", "signum", "adam"),
        "As gd,adam:beta1=0 (see quadsim rules); 'adam:beta1=0|0.9,beta2=0.99|0.999' takes the best of four settings",
        "optimizers",
    ),
    "lr": _numbers(None, "Fixed learning rates for all optimizers", "a grid around each rule's natural rate"),
    "lr_density": _number(4, "Learning rates a decade", "density"),
    "dtype": _text("float64", "float64 or float32", choices=("float32", "float64")),
    "device": _text("cpu", "cpu, cuda or cuda:N"),
}
"""Of every sweep."""

QUADRATICS: Options = {
    "heterogeneity": _numbers((1.0, 10.0, 100.0), "max L / min L over blocks"),
    "mode": Option(
        ("scale",),
        "scale (each block its own scale) or arrange (one spectrum, dealt out differently)",
        choices=("scale", "arrange"),
    ),
    "blocks": _numbers((4,), "Number of blocks"),
    "block_size": Option((8,), "Size of the blocks; 3,30 sweeps, 1+4+9 are sizes in one problem", "sizes"),
    "condition_number": _numbers((None,), "Of a block in scale [10], of the whole in arrange [5000]", ""),
    "gradient_heterogeneity": _numbers(
        (None,), "max/min over blocks of |g_l|/sqrt(P_l) at the start", "not controlled"
    ),
    "alignment": _numbers((None,), "Correlation of log L_l and log |g_l|/sqrt(P_l), -1 to 1", "not controlled"),
    "rotation": _numbers((1.0,), "Eigenvectors: 0 on the axes, 1 Haar"),
    "case": Option(
        (),
        "heterogeneous, homogeneous, transformer-like or cnn-like instead of the first five",
        shown="",
        choices=("heterogeneous", "homogeneous", "transformer-like", "cnn-like"),
    ),
    "problem_file": Option(
        None,
        "Matrices of your own instead of the dials: .npz with a block an array, .mtx or .json; one matrix is divided by "
        "--block-size 10+20, or into its connected components",
        "text",
        "FILE",
        "",
    ),
    "start": _text(
        None, "With --problem-file: normal, sphere, zero-start (w = 0) or given", "given in the file, else normal"
    ),
    "engine": _text(
        "auto", "auto, closed-form, fused or reference", choices=("auto", "closed-form", "fused", "reference")
    ),
    "keep": _text(
        None,
        "rows (one a run, and curves) or quantiles (counts by status and histograms of steps, in memory that does not grow with "
        "--seeds)",
        "rows up to 10^7 runs",
        ("rows", "quantiles"),
    ),
}
"""Of sweeps over quadratics, beside SHARED."""

TOY_MODELS: Options = {
    "model": Option(
        ("transformer",),
        "transformer, mlp, conv or mixer instead of quadratics",
        shown="",
        choices=("transformer", "mlp", "conv", "mixer"),
    ),
    "task": Option(
        ("token-map",),
        "token-map, modular-addition, many-classes, induction, digits, text-char or text-word, with options as "
        "token-map:vocabulary=32",
    ),
    "dial": Option(
        ("frequency",),
        "What heterogeneity turns: frequency, zipf, separable, reparametrisation, init-scale or temperature",
        choices=("frequency", "zipf", "separable", "reparametrisation", "init-scale", "temperature"),
    ),
    "mode": Option(
        ("parameter",), "of the reparametrisation, parameter or gradient", choices=("parameter", "gradient")
    ),
    "heterogeneity": _numbers((1.0, 10.0, 100.0), "the value of the dial"),
    "norm": Option((None,), "pre, post or none", shown="pre; mlp and conv none"),
    "layers": _numbers((None,), "Layers", "2"),
    "width": _numbers((None,), "Width", "16"),
    "heads": _numbers((None,), "Attention heads", "2"),
    "kernel": _numbers((None,), "Tokens a convolution sees", "3"),
    "evaluate_every": _number(10, "With mini-batches, steps between two looks at the losses", "count"),
    "partition": _text(
        "module", "Blocks of adam-mini and lamb: layer, module or unit", choices=("layer", "module", "unit")
    ),
    "compile": Option(False, "Fuse operations with torch.compile.", "flag", shown=""),
    "seeds": replace(SHARED["seeds"], default=4),
    "steps": replace(SHARED["steps"], default=1000),
    "tolerance": _number(0.1, "loss over ln(classes)", "fraction", "NUMBER"),
    "dtype": replace(SHARED["dtype"], default="float32"),
    "until": replace(SHARED["until"], choices=("first", "stays")),
}
"""Of sweeps over toy models, beside those of SHARED that they do not change."""
