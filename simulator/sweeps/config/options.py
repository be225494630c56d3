"""Options of sweeps, each written once: the default and metadata of a field of a configuration, and an option of the command.

A family lists its own options in such a table, which stands in its record. From the tables follow the defaults and metadata of
the dataclass fields, the checks of their values, and the options of `quadsim sweep` with their help. This module imports no
library that computes, so that `quadsim --help` starts fast, and the command refuses a wrong value before it loads one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from quadsim.simulator.support.checks import (
    check_choice,
    check_count,
    check_interval,
    check_name_or_number,
    check_ratio,
    check_seed,
)
from quadsim.simulator.support.noise_law import degrees_of_freedom

__all__ = [
    "INITS",
    "QUADRATICS",
    "SHARED",
    "TOY_MODELS",
    "Option",
    "Options",
    "above_zero",
    "batch_size",
    "checked",
    "coupling_range",
    "fraction",
    "noise_law",
]


def above_zero(name: str, value: Any) -> float:
    """Return a finite number above 0 as a float.

    Raises:
        ValueError: any other value.
    """
    return check_interval(name, value, 0.0, low_open=True)


def fraction(name: str, value: Any) -> float:
    """Return a number above 0 and below 1 as a float.

    Raises:
        ValueError: any other value.
    """
    return check_interval(name, value, 0.0, 1.0, low_open=True, high_open=True)


def coupling_range(name: str, value: Any) -> float:
    """Return a number of at least 0 and below 1 as a float.

    Raises:
        ValueError: any other value.
    """
    return check_interval(name, value, 0.0, 1.0, high_open=True)


def batch_size(name: str, value: Any) -> str:
    """Return a number of samples in a step, or `full`, as text.

    Raises:
        ValueError: any other value.
    """
    if value == "full":
        return "full"
    whole = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    return str(check_count(name, whole, fix="give the samples in a step, as 8, or full"))


def noise_law(name: str, value: Any) -> str:
    """Return `normal` or `student-NU`.

    Raises:
        ValueError: any other value.
    """
    degrees_of_freedom(value)
    return str(value)


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
        check: a function of (name, value) that returns a value in the form in which it is kept, or raises `ValueError`; for
            values in a range that does not depend on other options. None: other code checks them.
    """

    default: Any
    help: str
    read: Literal["number", "numbers", "names", "optimizers", "sizes", "text", "flag"] = "names"
    metavar: str = "LIST"
    shown: str | None = None
    choices: tuple[str, ...] = ()
    check: Callable[[str, Any], Any] | None = None

    def field(self) -> Any:
        """The field of a dataclass, with this option in its metadata as `option`."""
        return field(default=self.default, metadata={"option": self})

    @property
    def has_several(self) -> bool:
        """Whether it holds a tuple of values."""
        return self.read in ("numbers", "names", "optimizers", "sizes")

    def checked(self, name: str, value: Any) -> Any:
        """Return a value of this option, or a tuple of values, in the form in which a configuration keeps it.

        Args:
            name: the name of the option, for the message.
            value: the value; a tuple where the option has several. None, where that is the default, is left as it is.

        Raises:
            ValueError: an empty tuple, unless that is the default; a value out of range, or none of the choices.
        """
        if not self.has_several:
            return self._checked_one(name, value)
        if value is None and self.default is None:
            return None
        if not value and self.default != ():
            raise ValueError(f"{name} must hold at least one value, got an empty list; give one or leave it out.")
        return tuple(self._checked_one(name, one) for one in value)

    def _checked_one(self, name: str, value: Any) -> Any:
        if value is None and self.default in (None, (None,)):
            return None
        if self.choices:
            check_choice(name, value, self.choices)
        return value if self.check is None else self.check(name, value)

    @property
    def default_text(self) -> str:
        """The default as a user would write it."""
        if self.shown is not None:
            return self.shown
        values = self.default if isinstance(self.default, tuple) else (self.default,)
        return ",".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)


Options = Mapping[str, Option]
"""By the names of the fields, in the order of `--help`."""


def checked(options: Options, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of options in the form in which a configuration keeps them, in the order of the options.

    Args:
        options: all options, by the names of their fields.
        values: those that are checked; tuples where an option has several.

    Raises:
        ValueError: a value that its option does not allow.
    """
    return {
        name: option.checked(name.replace("_", " "), values[name]) for name, option in options.items() if name in values
    }


def _number(default: Any, help: str, check: Any, metavar: str = "N", shown: str | None = None) -> Option:
    return Option(default, help, "number", metavar, shown, check=check)


def _numbers(default: Any, help: str, shown: str | None = None, check: Any = None) -> Option:
    return Option(default, help, "numbers", "LIST", shown, check=check)


def _text(default: Any, help: str, shown: str | None = None, choices: tuple[str, ...] = ()) -> Option:
    return Option(default, help, "text", "NAME", shown, choices)


_MOST_LR_DENSITY = 1000

SHARED: Options = {
    "seeds": _number(16, "Number of random problems at every point of the grid, at least 1", check_count),
    "seed": _number(0, "Seed of all random draws, 0 or more", lambda name, value: check_seed(value)),
    "steps": _number(10_000, "Largest number of steps of a run", check_count),
    "tolerance": _number(
        1e-6, "Gap f - f* to reach, as a fraction of the gap at the start; above 0, below 1", fraction, "NUMBER", "1e-6"
    ),
    "until": _text(
        "first",
        "When a run counts as solved: first (the first step within the tolerance), stays (the first step from which it stays "
        "within the tolerance up to the last step), or mean (the first step at which the mean gap of ten steps is within it)",
        choices=("first",),  # what any family records; those that record more say so
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
        "Learning-rate schedule: constant, cosine, linear, inverse-sqrt, inverse-time or wsd; with options, as "
        "wsd:warmup=100:decay=0.2; one optimizer alone: as gd:schedule=wsd+warmup=100",
    ),
    "optimizers": Option(
        ("gd", "signsgd", "adam:beta1=0", "heavy-ball", "signum", "adam"),
        "Optimizers, as gd,adam:beta1=0; quadsim rules lists them. 'adam:beta1=0|0.9,beta2=0.99|0.999' tries four settings and "
        "reports the best",
        "optimizers",
    ),
    "lr": _numbers(
        None,
        "Learning rates that every optimizer tries, as 0.01,0.1",
        "a grid around each rule's natural rate",
        above_zero,
    ),
    "lr_density": _number(
        4,
        f"Learning rates per factor of 10 in that grid, 1 to {_MOST_LR_DENSITY}",
        partial(check_count, high=_MOST_LR_DENSITY),
    ),
    "dtype": _text("float64", "Floating-point type of the runs: float64 or float32", choices=("float32", "float64")),
    "device": _text("cpu", "Device of the runs: cpu, cuda or cuda:N"),
}
"""Of every sweep."""

QUADRATICS: Options = {
    "heterogeneity": _numbers(
        (1.0, 10.0, 100.0),
        "Hessian heterogeneity: the largest over the smallest L_l of the blocks, at least 1",
        check=check_ratio,
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
    "coupling": _numbers(
        (0.0,),
        "Coupling c of the blocks, at least 0 and below 1: H = D^(1/2) (I + c O) D^(1/2), where D is the block-diagonal matrix "
        "of the other dials and O has spectral norm 1 and zero diagonal blocks",
        check=coupling_range,
    ),
    "batch": Option(
        ("full",),
        "Samples of a stream in every step, as 1,8,64,full: least squares with x ~ N(0, H); full is the gradient H e itself",
        check=batch_size,
    ),
    "label_noise": _numbers(
        (0.0,),
        "Standard deviation v of the labels of these samples around x'w*, 0 or more; the gap then has a floor",
        check=partial(check_interval, low=0.0),
    ),
    "noise_law": Option(
        ("normal",),
        "Law of that noise: normal, or student-NU with NU > 2 degrees of freedom, as student-5",
        check=noise_law,
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
    "partition": _text(
        "hessian",
        "Blocks that rules (adam-mini, block-gd, lamb) and theorems use: hessian (those of D), finer (each is halved), coarser "
        "(pairs are merged) or shifted (boundaries moved by half a block)",
        choices=("hessian", "finer", "coarser", "shifted"),
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
    "until": replace(SHARED["until"], choices=("first", "stays", "mean")),
}
"""Of sweeps over quadratics, beside those of SHARED that they do not change."""

# As in `models.problem.MODELS`, which imports torch; a test compares them.
_MODELS = ("transformer", "mlp", "conv", "mixer", "resnet")
INITS = ("fan-in", "gpt2")  # as in `models.base`, likewise

TOY_MODELS: Options = {
    "model": Option(
        ("transformer",),
        f"Toy models: {', '.join(_MODELS[:-1])} or {_MODELS[-1]}, instead of quadratics",
        shown="",
        choices=_MODELS,
    ),
    "task": Option(
        ("token-map",),
        "Task of the model: token-map, modular-addition, many-classes, induction, digits, table, gaussians, text-char "
        "or text-word; with options, "
        "as token-map:vocabulary=32",
    ),
    "batch": Option(
        (None,),
        "sequences in every step of a model, as 8,64,full, drawn with replacement; full is all of them",
        shown="that of the task",
        check=batch_size,
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
    "heterogeneity": _numbers((1.0, 10.0, 100.0), "the value of --dial", check=above_zero),
    "norm": Option(
        (None,),
        "Place of the layer normalisation: pre, post or none; or batch, the batch norm of conv and resnet",
        shown="pre; mlp and conv none; resnet batch",
    ),
    "layers": _numbers((None,), "Number of layers", "2"),
    "width": _numbers((None,), "Width of the layers", "16"),
    "heads": _numbers((None,), "Number of attention heads of a transformer", "2"),
    "kernel": _numbers((None,), "Number of tokens that a kernel of conv or resnet spans", "3"),
    "init": Option(
        ("fan-in",),
        "Law of the start: fan-in (variance 1/fan-in), gpt2 (standard deviation .02, less in the last matrix of each residual "
        "branch), or a number instead of .02",
        check=lambda name, value: check_name_or_number(name, value, INITS),
    ),
    "clip": _number(
        None, "Largest norm of a gradient; longer ones are scaled down to it", above_zero, "NUMBER", "none"
    ),
    "evaluate_every": _number(10, "Steps between two evaluations of the losses, with mini-batches", check_count),
    "partition": _text(
        "module", "What is a block for adam-mini and lamb: layer, module or unit", choices=("layer", "module", "unit")
    ),
    "compile": Option(False, "Train with torch.compile, which fuses operations", "flag", shown=""),
    "seeds": replace(SHARED["seeds"], default=4),
    "steps": replace(SHARED["steps"], default=1000),
    "tolerance": _number(
        0.1, "the loss to reach, as a fraction of ln(classes), the loss of a guess", fraction, "NUMBER"
    ),
    "dtype": replace(SHARED["dtype"], default="float32"),
    "until": replace(SHARED["until"], choices=("first", "stays")),
}
"""Of sweeps over toy models, beside those of SHARED that they do not change."""
