"""The claim that an MLP-Mixer has more unlike weight matrices than its controls, and that Adam gains more on it."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quadsim.simulator.figures.table_figures import dots_figure
from quadsim.simulator.models import MLP, Conv, Digits, Mixer, Model, ToyProblem
from quadsim.theory.claims.judging import (
    ZHANG,
    Claim,
    Condition,
    Fixed,
    Found,
    Measured,
    Reach,
    Setting,
    measured_median,
)
from quadsim.theory.claims.networks.heterogeneity.gaps import (
    GAP_AT_HALF,
    GAP_CENTRES,
    STEPS_TO_HALF,
    edge_notes,
    gap_at_half,
    most_steps,
)
from quadsim.theory.claims.networks.heterogeneity.sd_matrices import CHANGED, PUBLISHED, sd_measure, sd_of_matrices
from quadsim.theory.claims.networks.racing import CHOOSING, seeds_for

__all__ = ["MIXER"]

Array = NDArray[np.float64]

_SD_SEEDS, _JUDGED = 30, 200


def _mixers(setting: Setting) -> dict[str, Model]:
    return {
        "Mixer": Mixer(8, layers=2),
        "convolution": Conv(8, layers=4, norm="batch", activation="relu", dimensions=1),
        "MLP": MLP(8, layers=4),
    }


def _mixer_at(init: str | float, setting: Setting, number: int = 8) -> dict[str, Array]:
    """Return the sd of every network at a start; `number` is the number of seeds at full size."""
    task = Digits(patch=2, sequences=setting.pick(tiny=4, quick=8, full=16), batch=None)
    seeds = setting.pick(tiny=1, quick=2, full=number)
    return {
        name: sd_of_matrices(ToyProblem.generate(model, task, init=init, problems=seeds, seed=setting.seed), number=5)
        for name, model in _mixers(setting).items()
    }


def _mixer(setting: Setting) -> Found:
    measured, rows, edges = [], [], {}
    task = Digits(patch=2, sequences=setting.pick(tiny=8, quick=32, full=64), batch=None)
    for name, values in _mixer_at("fan-in", setting, _SD_SEEDS).items():
        measured.append(measured_median(sd_measure(name, "fan-in"), values))
        rows += [{"network": name, "what": "sd of log10 curvature", "value": v} for v in values]
    for name, model in _mixers(setting).items():
        seeds = setting.pick(tiny=2, quick=8, full=seeds_for(_JUDGED))
        problem = ToyProblem.generate(model, task, problems=seeds, seed=setting.seed)
        values, edges[name], half = gap_at_half(problem, GAP_CENTRES, most_steps(setting), setting)
        measured += [
            measured_median(f"{GAP_AT_HALF}, {name}", values),
            Measured(f"{STEPS_TO_HALF}, {name}", half, unit="steps"),
        ]
        rows += [{"network": name, "what": GAP_AT_HALF, "value": v} for v in values]
    return Found(measured, {"mixer": pd.DataFrame(rows)}, edge_notes(edges))


def _draw_mixer(tables: Mapping[str, pd.DataFrame]) -> Figure:
    return dots_figure(
        tables["mixer"],
        x="network",
        y="value",
        panel="what",
        ylabel="value",
        title="Mixer against controls: how unlike its matrices are, and what Adam gains over heavy ball",
        reference=0.0,
    )


MIXER = (
    Claim(
        id="mlp-mixer",
        claim="The weight matrices of an MLP-Mixer have more unlike curvature than those of a convolution network or an MLP, and "
        "Adam gains more on it.",
        group=ZHANG,
        source="arXiv 2402.16788, the experiment on MLP-Mixer",
        fidelity=("a Mixer of width 8 on 8x8 digits", "full batch, until Adam has halved the loss", PUBLISHED),
        history=(
            Fixed("2026-11-22", "ca955819891b1c92", "runs of a few seeds of prototypes"),
            Fixed(
                "2026-11-26", "4238f9aa56b95419", "the full run of 2026-11-22", "named smallest effects, power and Holm"
            ),
            Fixed(
                "2026-11-26",
                "ceb53444b036a1da",
                "block ranges of Mixer, VGG+BN and MLP of 27, 14 and 1.7; old gaps 4.4, 6.1 and 6.6; a run of this "
                "criterion at the "
                "size of the tests",
                f"{CHANGED}; the race judged against the controls; the grid of rates grows at its edges",
            ),
            Fixed(
                "2026-11-26",
                "70708c28a25f744d",
                "the full run of 2026-11-26 with 24 seeds: sd .11 and -.35, loss .00 and -.73, with power .12 for .05 "
                "against the MLP",
                "the smallest effect on the loss is .1 in place of .05, 50 seeds of it are judged in place of 24 and 30 of the "
                "sd, for the power",
            ),
            Fixed(
                "2026-11-26",
                "2567db50db590e08",
                "the full run of 2026-11-26 with 50 seeds: sd .11 and -.38; after 100 steps both rules were done on Mixer and "
                "convolution (1e-5), -.66 against the MLP with power .43; prototypes of this race with other seeds: with 4 "
                "judged seeds .15, -.11 (convolution) and .42 (MLP) at 9, 13 and 27 steps; with 40 the spread alone",
                "the gap at the step where Adam reaches half of ln C in place of that after 100 steps, of 200 seeds in place of "
                "50; the race is shown a known effect and a null",
            ),
        ),
        design=f"{_JUDGED} judged seeds of the race; rates are chosen on {CHOOSING} others",
        instruments=("sd-matrices", "loss-difference"),
        conditions=(
            *(
                Condition(
                    measure=sd_measure("Mixer", "fan-in"),
                    control=sd_measure(control, "fan-in"),
                    null=0.0,
                    effect=0.2,
                    scale="difference",
                    because="a factor of 1.6 in the typical distance of two matrices' curvature",
                )
                for control in ("convolution", "MLP")
            ),
            *(
                Condition(
                    measure=f"{GAP_AT_HALF}, Mixer",
                    control=f"{GAP_AT_HALF}, {control}",
                    null=0.0,
                    effect=0.1,
                    scale="difference",
                    because="a tenth of the loss of a guess",
                )
                for control in ("convolution", "MLP")
            ),
        ),
        reading="Against the convolution the race comes out as claimed, the curvature does not differ by the smallest effect; "
        "against the MLP both are the other way round: the MLP has the more unlike matrices and Adam gains more on it, as the "
        "paper's idea would have it. The race is short, of the order of ten steps of Adam; after 100 steps both rules are done "
        "on Mixer and convolution.",
        method="sd as in js0-models, at 1/sqrt(fan-in), five matrices of each. Each network has as many "
        "full-batch steps as Adam needs for half of ln C, in the median over 20 seeds and at the rate that is the fastest for "
        "them; the loss over ln C of heavy ball less that of Adam after so many, each at the rate that is best there on the same "
        "seeds, is judged on other seeds.",
        experiment=_mixer,
        draw=_draw_mixer,
        caption="A dot per seed, bars at medians; left the curvature, right what Adam gains.",
        reach=Reach(
            variable="std of the start",
            values=(0.02, 0.05, 0.1, 0.3),
            measure=_mixer_at,
            quantity="sd of log10 curvature over weight matrices",
            null=0.0,
            null_means="all matrices alike",
            onset=0.5,
            onset_means="a factor of 3 is typical",
            log="x",
            caption="At every scale of the start the matrices of the MLP are the most unlike and those of the "
            "convolution the least; how "
            "much depends on the scale.",
        ),
    ),
)
