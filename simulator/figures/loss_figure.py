"""Learning curves of a sweep over toy models."""

from typing import TYPE_CHECKING, cast

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from quadsim.simulator.figures.panels import finish, legend_rows, panels, point_title, styles_of
from quadsim.simulator.figures.style import drawn
from quadsim.simulator.support.statistics import quantile
from quadsim.simulator.sweeps.config.toy_models import ModelSweepConfig

if TYPE_CHECKING:
    from quadsim.simulator.sweeps.results.results import Results

__all__ = ["loss_figure"]


@drawn
def loss_figure(results: "Results") -> Figure:
    """Unweighted loss over ln(classes) against step at every point, at each optimizer's best rate; the optimised loss dotted.

    Median line and 10-90% band over the seeds that still run; a line ends where more than half have reached their target.

    Raises:
        ValueError: results without curves.
    """
    config, curves = cast(ModelSweepConfig, results.config), results.curves
    if curves is None:
        raise ValueError("results must hold curves, got those of a sweep that kept none; run it again.")
    curves = curves.isel(seed=config.reported)
    styles = styles_of(config.optimizers)
    figure, axes = panels(curves.sizes["point"], rows_of_legend=legend_rows(config.optimizers))
    steps = curves["step"].values
    for p, axis in enumerate(axes):
        guess = float(np.log(curves["classes"].values[p]))
        longest, low, high = 1, config.tolerance, 1.0
        looked, x = _looked_at(config, p, steps)
        for o, style in enumerate(styles.values()):
            loss = _held(curves["loss"][p, o].values) / guess
            weighted = _held(curves["loss_weighted"][p, o].values) / guess
            known = np.mean(np.isfinite(curves["loss"][p, o].values), axis=0) >= 0.5
            known &= (steps > 0) & looked
            if not known.any():
                continue
            lower, middle, upper = (np.clip(quantile(loss, q, axis=0), 1e-4, 1e3) for q in (0.1, 0.5, 0.9))
            axis.plot(x[known], middle[known], linewidth=1.5, markevery=0.2, markersize=5, **style)
            axis.fill_between(x[known], lower[known], upper[known], color=style["color"], alpha=0.18, linewidth=0)
            axis.plot(x[known], quantile(weighted, 0.5, axis=0)[known], ":", linewidth=1.1, color=style["color"])
            longest, low = max(longest, int(steps[known][-1])), min(low, float(middle[known].min()))
            high = max(high, float(middle[known].max()))
        axis.axhline(config.tolerance, color="0.35", linewidth=1.0, linestyle="--")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(1, max(longest, 2))
        axis.set_ylim(max(low / 2, 1e-3), min(high * 1.5, 100.0))
        axis.set_xlabel("step")
        axis.set_ylabel("loss / ln(classes)")
        axis.set_title(point_title(results, curves, p), fontsize=9)
    handles = [
        Line2D([], [], markersize=5, linewidth=1.5, **style, label=config.names[name]) for name, style in styles.items()
    ]
    handles.append(Line2D([], [], color="0.35", linestyle=":", label="optimised loss"))
    handles.append(Line2D([], [], color="0.35", linestyle="--", label="target"))
    finish(
        figure,
        axes,
        handles,
        f"Best rate of each optimizer; median and 10-90% of {len(config.reported)} seeds, unweighted loss",
    )
    return figure


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
