"""The claim that rare classes make the curvature of the head's rows unlike."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quadsim.simulator.curvature.spectral_heterogeneity import log_deviation
from quadsim.simulator.curvature.tensors import largest_eigenvalues
from quadsim.simulator.figures.table_figures import dots_figure
from quadsim.simulator.models import MLP, Gaussians, ToyProblem
from quadsim.simulator.training.loop import train
from quadsim.theory.claims.judging import (
    BEYOND,
    Claim,
    Condition,
    Fixed,
    Found,
    Reach,
    Setting,
    measured_median,
)

__all__ = ["HEAD_ROWS"]

Array = NDArray[np.float64]

_FREQUENCY = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)

_FITTED = 100.0


def _sd_rows(stage: str, ratio: float) -> str:
    return f"sd of log10 curvature over the rows of the head, {stage}, frequencies spread by {ratio:g}"


def _head_rows(ratio: float, setting: Setting) -> dict[str, Array]:
    classes = setting.pick(tiny=4, quick=16, full=16)
    problem = ToyProblem.generate(
        MLP(8, 1),
        Gaussians(8, classes, setting.pick(tiny=32, quick=320, full=320)),
        heterogeneity=ratio,
        problems=setting.pick(tiny=2, quick=6, full=24),
        seed=setting.seed,
    )
    labels = [label for label in problem.partition("unit").labels if label.startswith("head")]
    steps = setting.pick(tiny=3, quick=100, full=100)
    run = train(problem, "adam", lr=0.01, steps=steps, snapshots=(0, steps), dtype="float64")
    assert run.snapshots is not None
    return {
        stage: log_deviation(
            largest_eigenvalues(problem.stack(), run.snapshots.theta[:, 0, i], labels, "unit", modulus=True)
        )
        for i, stage in enumerate(("at the start", "after 100 steps"))
    }


def _zipf(setting: Setting) -> Found:
    rows, measured = [], []
    for ratio in (1.0, _FITTED):
        for stage, values in _head_rows(ratio, setting).items():
            measured.append(measured_median(_sd_rows(stage, ratio), values))
            rows += [{"ratio": f"{ratio:g}", "stage": stage, "index": i, "sd": v} for i, v in enumerate(values)]
    return Found(measured, {"rows": pd.DataFrame(rows)})


def _draw_zipf(tables: Mapping[str, pd.DataFrame]) -> Figure:
    return dots_figure(
        tables["rows"].assign(by="frequencies spread by " + tables["rows"]["ratio"]),
        x="stage",
        y="sd",
        by="by",
        ylabel="sd over the rows of log10 of the largest eigenvalue",
        title="Rare classes make the rows of the head unlike, once the head has learned the frequencies",
    )


HEAD_ROWS = (
    Claim(
        id="head-rows-zipf",
        claim="Unequal class frequencies make the row blocks of the head unlike in curvature, once the frequencies are learned.",
        group=BEYOND,
        source="follows from the head's row blocks p(1 - p) h h^T: at a fitted marginal p is the frequency of the class",
        fidelity=("no paper has this experiment",),
        history=(
            Fixed(
                "2026-11-26",
                "0b821e3f8a5d6304",
                "30 steps on a token map, 6 seeds: .43 against .38, as tokens are fitted one by one",
            ),
        ),
        instruments=("sd-largest",),
        conditions=(
            Condition(
                measure=_sd_rows("after 100 steps", _FITTED),
                control=_sd_rows("after 100 steps", 1.0),
                null=0.0,
                effect=0.2,
                scale="difference",
                because="a factor of 1.6 in curvature",
            ),
            Condition(
                measure=_sd_rows("at the start", _FITTED),
                control=_sd_rows("at the start", 1.0),
                null=0.0,
                effect=0.2,
                scale="difference",
                because="the start does not know the frequencies",
                absent=True,
            ),
        ),
        method="MLP of width 8 on 320 Gaussian vectors, 16 random classes that have frequencies spread by 100 "
        "(Zipf) or equal ones; the largest "
        "eigenvalue of the block of each row of the head, at the start and after 100 steps of Adam at 0.01.",
        experiment=_zipf,
        draw=_draw_zipf,
        caption="A dot per seed, bars at medians.",
        reach=Reach(
            variable="largest over smallest class frequency",
            values=_FREQUENCY,
            measure=_head_rows,
            quantity="sd of log10 of the largest eigenvalue over the rows, less that of equal frequencies",
            from_first=True,
            null=0.0,
            onset=0.2,
            log="x",
            caption="At the start the rows do not know the frequencies; after 100 steps they do.",
        ),
    ),
)
