"""Learning curves of a sweep over toy models."""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from quadsim.simulator.figures.marks import mark_end, optimizer_handles, problems_text
from quadsim.simulator.figures.palette import optimizer_styles
from quadsim.simulator.figures.panels import columns_of, figure_from, finish, panels, parts_of, point_title
from quadsim.simulator.support.statistics import quantile
from quadsim.simulator.sweeps.config.toy_models import ModelSweepConfig

if TYPE_CHECKING:
    from quadsim.simulator.sweeps.results.results import Results

__all__ = ["loss_figure", "loss_table"]


def loss_table(results: "Results") -> pd.DataFrame:
    """What the figure of learning curves shows.

    Returns:
        A row per panel, optimizer and step that is drawn, with panel, optimizer, steps_median (until the criterion, `inf` where
        it is not reached), step, median, q10 and q90 of the unweighted loss over ln(classes), over the seeds, and
        optimised_median of the optimised loss.

    Raises:
        ValueError: results without curves.
    """
    config, curves = cast(ModelSweepConfig, results.config), results.curves
    if curves is None:
        raise ValueError("results must hold curves, got those of a sweep that kept none; run it again.")
    curves = curves.isel(seed=config.reported)
    steps, out = curves["step"].values, []
    solved = results.best.set_index(["point", "optimizer"])["steps_median"]
    for p in range(curves.sizes["point"]):
        guess = float(np.log(curves["classes"].values[p]))
        looked, x = _looked_at(config, p, steps)
        for words, texts in parts_of(config):
            panel = ", ".join(filter(None, (words, point_title(results, curves, p))))
            for text in texts:
                o = config.optimizers.index(text)
                loss = _held(curves["loss"][p, o].values) / guess
                weighted = _held(curves["loss_weighted"][p, o].values) / guess
                known = np.mean(np.isfinite(curves["loss"][p, o].values), axis=0) >= 0.5
                known &= (steps > 0) & looked
                lower, middle, upper = (np.clip(quantile(loss, q, axis=0), 1e-4, 1e3)[known] for q in (0.1, 0.5, 0.9))
                drawn = {
                    "steps_median": solved[p, text],
                    "step": x[known],
                    "median": middle,
                    "q10": lower,
                    "q90": upper,
                }
                drawn["optimised_median"] = quantile(weighted, 0.5, axis=0)[known]
                out.append(pd.DataFrame({"panel": panel, "optimizer": text, **drawn}))
    return pd.concat(out, ignore_index=True)


@figure_from(loss_table)
def loss_figure(results: "Results", table: pd.DataFrame) -> Figure:
    """Unweighted loss over ln(classes) against step at every point, at each optimizer's best rate; the optimised loss dotted.

    Median line and 10-90% band over the seeds that still run; a line ends where more than half have reached their target. The
    median steps until the criterion are marked on the target.

    Raises:
        ValueError: results without curves.
    """
    config = cast(ModelSweepConfig, results.config)
    styles = optimizer_styles(config.optimizers)
    titles = [
        ", ".join(filter(None, (words, point_title(results, cast(Any, results.curves), p))))
        for p in range(len(config.points))
        for words, _ in parts_of(config)
    ]
    figure, axes = panels(len(titles), columns_of(results.config))
    for axis, title in zip(axes, titles, strict=True):
        rows = table[table["panel"] == title]
        for text, own in rows.groupby("optimizer", sort=False):
            _draw_losses(axis, own, styles[str(text)], config.tolerance)
        axis.axhline(config.tolerance, color="0.35", linewidth=1.0, linestyle="--")
        axis.set_xscale("log")
        axis.set_yscale("log")
        solved = rows["steps_median"][np.isfinite(rows["steps_median"])]
        axis.set_xlim(1, max([2, *rows["step"], *solved]))
        low, high = min(config.tolerance, rows["median"].min()), max(1.0, rows["median"].max())
        axis.set_ylim(max(low / 2, 1e-3), min(high * 1.5, 100.0))
        axis.set_xlabel("step")
        axis.set_ylabel("loss / ln(classes)")
        axis.set_title(title)
    handles = optimizer_handles(config, styles)
    handles.append(Line2D([], [], color="0.35", linestyle=":", label="optimised loss"))
    handles.append(Line2D([], [], color="0.35", linestyle="--", label="target; on it, median steps until solved"))
    title = f"Best rate of each optimizer; {problems_text(config)}, unweighted loss"
    finish(figure, axes, handles, title)
    return figure


def _draw_losses(axis: Axes, rows: pd.DataFrame, style: dict[str, Any], target: float) -> None:
    """One optimizer in a panel.

    Args:
        axis: the panel.
        rows: of `loss_table`.
        style: colour, marker and line.
        target: the loss to reach.
    """
    x, color = rows["step"], style["color"]
    axis.plot(x, rows["median"], **{**style, "marker": ""})
    axis.fill_between(x, rows["q10"], rows["q90"], color=color, alpha=0.15, linewidth=0)
    axis.plot(x, rows["optimised_median"], ":", linewidth=1.1, color=color)
    mark_end(
        axis, style, float(rows["steps_median"].iloc[0]), target, (float(x.iloc[-1]), float(rows["median"].iloc[-1]))
    )


def _looked_at(config: ModelSweepConfig, point: int, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which of the steps to draw and where: with mini-batches a value stands until the next look, and is drawn once."""
    every = 1 if config.points[point].example.task.batch is None else config.evaluate_every
    at = np.minimum(steps // every * every, config.steps)
    at[-1] = config.steps  # the last step is always looked at
    first = np.zeros(steps.size, dtype=bool)
    first[np.unique(at, return_index=True)[1]] = True
    return first & (at > 0), at


def _held(values: np.ndarray) -> np.ndarray:
    """A run that was stopped at its target keeps its last value in the statistics of the others."""
    out = values.copy()
    for r in range(1, out.shape[1]):
        out[:, r] = np.where(np.isnan(out[:, r]), out[:, r - 1], out[:, r])
    return out
