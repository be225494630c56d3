"""A figure of steps along training against what the local models predict of them."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from quadsim.simulator.figures.panels import styles_of
from quadsim.simulator.figures.style import drawn

__all__ = ["local_figure"]

_SHOWN = {
    "observed": "observed",
    "first_order": "first order",
    "block_model": "with Hessian blocks",
    "whole_model": "with the whole Hessian",
    "bound": "descent lemma (blocks)",
}


@drawn
def local_figure(steps: pd.DataFrame) -> Figure:
    """Change of the optimised loss in one step at every snapshot: what happened, and what each local model says.

    Args:
        steps: a row per problem, setting and snapshot, with step, optimizer, partition and the columns shown, as
            `quadsim.theory.local.LocalSteps.to_frame` makes it. Medians and ranges are over problems and settings.
    """
    at = sorted(set(steps["step"]))
    shown = {name: label for name, label in _SHOWN.items() if steps[name].notna().any()}
    figure = Figure(figsize=(max(5.6, 1.1 * len(at) + 2.5), 3.8), layout="constrained")
    axis = figure.subplots()
    styles = styles_of(list(shown.values()))
    for k, (name, label) in enumerate(shown.items()):
        values = [steps.loc[steps["step"] == t, name].dropna().to_numpy() for t in at]
        known = [i for i, each in enumerate(values) if each.size]
        x = np.array(known) + 0.6 * ((k + 0.5) / len(shown) - 0.5)
        color = styles[label]["color"]
        middle = [float(np.median(values[i])) for i in known]
        axis.plot(x, middle, linestyle="none", markersize=6, label=label, **styles[label])
        axis.vlines(x, [values[i].min() for i in known], [values[i].max() for i in known], color=color, linewidth=1.0)
    sizes = np.abs(steps["observed"].dropna().to_numpy())
    smallest = float(np.min(sizes[sizes > 0.0], initial=1.0))
    axis.set_yscale("symlog", linthresh=smallest)
    axis.axhline(0.0, color="0.35", linewidth=0.8)
    axis.set_xticks(range(len(at)), [str(t) for t in at])
    axis.set_xlabel("step")
    axis.set_ylabel("change of the optimised loss in one step")
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    first = steps.iloc[0]
    number = len(steps) // max(len(at), 1)
    figure.suptitle(
        f"{first['optimizer']}, blocks by {first['partition']}; median and range of {number} runs", fontsize=9
    )
    return figure
