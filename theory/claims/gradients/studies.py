"""Two studies that need many toy models: the placement of norms, and the growth of the head."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from quadsim.simulator.curvature.head_norms import head_norms
from quadsim.simulator.curvature.hessian import gradient
from quadsim.simulator.figures.table_figures import lines_figure, ticks_at
from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.models.tasks.sequences import TokenMap
from quadsim.simulator.models.transformer import Transformer
from quadsim.simulator.problems.heterogeneity import block_gradient_norms, spread
from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.support.checks import check_count, check_interval
from quadsim.simulator.support.statistics import quantile
from quadsim.simulator.support.torch_modes import own_modes
from quadsim.simulator.training.loop import train

__all__ = [
    "STUDIES",
    "HeadGrowth",
    "NormPlacement",
    "growth_figure",
    "head_growth",
    "norm_placement",
    "placement_figure",
]

_LR, _BATCH = 1e-3, 32  # of `head_growth`, whose claim is drawn from its table alone


@dataclass(frozen=True, eq=False)
class NormPlacement:
    """Spread of the blocks' gradient norms at the start, by norm placement and depth.

    Attributes:
        runs: one row per norm, layers and seed, with ratio (largest over smallest |g_l|/sqrt(P_l) over the blocks of the
            partition `module`), log_std, gini and variation.
        table: one row per norm and layers, with median, smallest and largest of `ratio` and medians of the others.
        post_over_pre: one row per layers: median, smallest and largest over the seeds of the quotient of the ratios (post over
            pre), and the number of seeds in which post is larger.
    """

    runs: pd.DataFrame
    table: pd.DataFrame
    post_over_pre: pd.DataFrame

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """What is printed, by name."""
        return {"table": self.table, "post_over_pre": self.post_over_pre}

    def figure(self) -> Figure:
        """Draw the ratio against depth, one line per norm."""
        return placement_figure(self.runs)


def placement_figure(runs: pd.DataFrame) -> Figure:
    """Draw the ratio of `NormPlacement.runs` against depth, one line per norm: medians over the seeds, bars from 10% to 90%."""
    figure = lines_figure(
        runs.assign(norm=runs["norm"] + "-norm"),
        x="layers",
        y="ratio",
        by="norm",
        xlabel="layers",
        ylabel="largest / smallest gradient norm of a block",
        title=f"Gradients at the start, blocks |g|/√P by module; {_spread_of_seeds(runs)}",
    )
    return ticks_at(figure, runs["layers"])


@own_modes()
def norm_placement(
    layers: Sequence[int] = (2, 4, 8, 12),
    norms: Sequence[str] = ("pre", "post"),
    *,
    seeds: int = 10,
    seed: int = 0,
    width: int = 16,
) -> NormPlacement:
    """Measure whether norms after each residual sum spread gradients more than norms before each branch.

    The claim is in arXiv 2502.00213, section 4.

    Args:
        layers: depths.
        norms: placements of the norm.
        seeds: number of starts of each.
        seed: key of all draws.
        width: width of the Transformers, on the task token-map.

    Raises:
        ValueError: a value out of range.
    """
    seeds = check_count("seeds", seeds)
    _check_several("layers", layers)
    _check_several("norms", norms)
    frames = []
    for norm in dict.fromkeys(norms):
        for depth in dict.fromkeys(layers):
            problem = ToyProblem.generate(Transformer(width=width, layers=depth, norm=norm), problems=seeds, seed=seed)
            cut = problem.partition("module")
            found = spread(block_gradient_norms(gradient(problem.stack(), problem.start), cut.sizes))
            frames.append(
                pd.DataFrame(
                    {"norm": norm, "layers": depth, "index": problem.index, "ratio": found.ratio}
                    | {"log_std": found.log_std, "gini": found.gini, "variation": found.variation}
                )
            )
    runs = pd.concat(frames, ignore_index=True)
    rows, quotients = [], []
    for key, group in runs.groupby(["norm", "layers"], sort=False):
        medians = {name: float(quantile(group[name], 0.5)) for name in ("ratio", "log_std", "gini", "variation")}
        ends = {"ratio_min": group["ratio"].min(), "ratio_max": group["ratio"].max()}
        rows.append(dict(zip(("norm", "layers"), key, strict=True)) | medians | ends)
    wide = runs.pivot(index=["layers", "index"], columns="norm", values="ratio")
    if {"pre", "post"} <= set(wide.columns):
        for deep, same in wide.groupby("layers"):
            values = (same["post"] / same["pre"]).to_numpy()
            quotients.append(
                {"layers": deep, "post_over_pre": float(quantile(values, 0.5)), "smallest": values.min()}
                | {"largest": values.max(), "post_larger": int((values > 1.0).sum()), "seeds": values.size}
            )
    return NormPlacement(runs, pd.DataFrame(rows), pd.DataFrame(quotients))


@dataclass(frozen=True, eq=False)
class HeadGrowth:
    """The growth of the two parts of the head with mini-batches, by number of classes and rule.

    Attributes:
        runs: one row per classes, optimizer, step and seed: `common` (growth of sqrt(C) times the mean class row, which
            cancels in the softmax), `centred` (growth of the rest), and `loss` over ln C on all data.
        table: one row per classes, optimizer and step: medians over the seeds, and smallest and largest of `common`.
        lr: learning rate of all runs.
        batch: number of tokens in a step.
    """

    runs: pd.DataFrame
    table: pd.DataFrame
    lr: float
    batch: int

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables that are printed, by name: steps 100 and the last of `table`."""
        steps = self.table["step"]
        return {"table": self.table[steps.isin([100, steps.max()])]}

    def figure(self) -> Figure:
        """Draw the growth of the common part against the step: one panel per number of classes, one line per rule."""
        return growth_figure(self.runs, lr=self.lr, batch=self.batch)


def growth_figure(runs: pd.DataFrame, *, lr: float = _LR, batch: int = _BATCH) -> Figure:
    """Draw the common part of `HeadGrowth.runs` against the step: medians over the seeds, bars from 10% to 90%.

    Args:
        runs: the table of that name.
        lr: the learning rate of the runs, for the title.
        batch: the number of tokens in a step, likewise.

    Returns:
        The figure, with one panel per number of classes and one line per rule.
    """
    return lines_figure(
        runs[runs["step"] > 0].assign(panel=lambda rows: rows["classes"].map("{} classes".format)),
        x="step",
        y="common",
        by="optimizer",
        panel="panel",
        xlabel="step",
        ylabel="growth of the head's common part",
        title=f"The part of the head that all classes share, {batch} tokens a step, learning rate {lr:g}; "
        f"{_spread_of_seeds(runs)}",
    )


def _spread_of_seeds(runs: pd.DataFrame) -> str:
    seeds = runs["index"].nunique()
    return "1 seed" if seeds == 1 else f"median, 10% to 90% of {seeds} seeds"


@own_modes()
def head_growth(
    classes: Sequence[int] = (4, 32, 128, 512),
    optimizers: Sequence[str] = ("signsgd", "signum", "adam"),
    *,
    steps: int = 1000,
    lr: float = _LR,
    batch: int = _BATCH,
    seeds: int = 3,
    seed: int = 0,
    width: int = 16,
) -> HeadGrowth:
    """Measure how the head moves with mini-batches that do not contain every class.

    See docs/theory.md, head-drift, and arXiv 2502.00213, section 5.

    Args:
        classes: numbers of classes C; each is a token-map of C tokens to C classes.
        optimizers: optimizers, as on the command line.
        steps: number of training steps.
        lr: the same for all rules: after t steps all coordinates of a SignSGD head have moved by at most t lr.
        batch: number of tokens in a step, in sequences of two.
        seeds: number of starts of each.
        seed: key of all draws.
        width: width of the two-layer Transformers.

    Raises:
        ValueError: a value out of range.
    """
    lr, seeds = check_interval("lr", lr, 0.0, low_open=True), check_count("seeds", seeds)
    _check_several("classes", classes)
    _check_several("optimizers", optimizers)
    sequences = check_count("batch", batch, 2) // 2
    at = sorted({0, steps, *(t for k in range(1, 30) if (t := round(10 ** (k / 4))) < check_count("steps", steps))})
    frames = []
    for number in dict.fromkeys(classes):
        problem = ToyProblem.generate(
            Transformer(width=width), TokenMap(vocabulary=number, batch=sequences), problems=seeds, seed=seed
        )
        frames += [_growth_of_head(problem, name, lr, at) for name in dict.fromkeys(optimizers)]
    runs = pd.concat(frames, ignore_index=True)
    return HeadGrowth(runs, _over_seeds(runs), lr, 2 * sequences)


def _growth_of_head(problem: ToyProblem, optimizer: str, lr: float, at: Sequence[int]) -> pd.DataFrame:
    """A row per step and seed: norms of the parts of the change of the head since the start, and the loss over ln(classes).

    Args:
        problem: a batch, a problem per seed.
        optimizer: as on the command line.
        lr: its learning rate.
        at: steps, ascending; training ends with the last.
    """
    spec = OptimizerSpec.parse(optimizer)
    options: dict[str, Any] = dict(spec.at_batch(problem.task.batch).hyperparameters)
    options["schedule"] = spec.schedule
    run = train(problem, spec.rule, lr=lr, steps=at[-1], snapshots=at, evaluate_every=1, **options)
    assert run.snapshots is not None
    theta = run.snapshots.theta[:, 0]  # from step 0 on, which is the start in the run's own precision
    loss = dict(zip(run.steps.tolist(), run.loss[:, 0].T, strict=True))
    frames = []
    for s, t in enumerate(at):
        moved = head_norms(problem, theta[:, s] - theta[:, 0])
        frames.append(
            pd.DataFrame(
                {"classes": problem.classes, "optimizer": optimizer, "step": t, "index": problem.index}
                | {"common": moved.common, "centred": moved.centred}
                | {"loss": loss.get(t, np.full(problem.problems, np.nan)) / np.log(problem.classes)}
            )
        )
    return pd.concat(frames, ignore_index=True)


def _over_seeds(runs: pd.DataFrame) -> pd.DataFrame:
    """A row per number of classes, optimizer and step: medians over the seeds, and the range of the common part."""
    rows = []
    for key, group in runs.groupby(["classes", "optimizer", "step"], sort=False):
        medians = {column: float(quantile(group[column], 0.5)) for column in ("common", "centred", "loss")}
        rows.append(
            dict(zip(("classes", "optimizer", "step"), key, strict=True))
            | medians
            | {"common_min": group["common"].min(), "common_max": group["common"].max()}
        )
    return pd.DataFrame(rows)


def _check_several(name: str, values: Sequence[object]) -> None:
    if not values:
        raise ValueError(f"{name} must hold at least one value, got an empty list; give one or leave it out.")


STUDIES: dict[str, Callable[..., NormPlacement | HeadGrowth]] = {
    "norm-placement": norm_placement,
    "head-growth": head_growth,
}
"""Both by name: `quadsim inspect --study NAME` runs one, and the claim of that name runs it at the size of a claim."""
