"""Claims on the gap between gradient descent and Adam in networks: what predicts it, and in which networks it is large."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from quadsim.simulator.figures.table_figures import lines_figure
from quadsim.simulator.models import MLP, Digits, ToyProblem
from quadsim.theory.claims.judging import ZHANG, Claim, Condition, Fixed, Found, Setting, measured_median
from quadsim.theory.claims.networks.racing import RACE, js0, quotient, race, race_notes

__all__ = ["ADAPTIVE_GAP"]

_COUNTS = 1.5
_ZERO = "a rank correlation has a zero of its own"
_CONTRAST = "a quotient of two models, or of two rules, on the same seed is a contrast itself"
_NOISE = "the project's threshold: a factor below 1.5 is noise at this size"


# An MLP whose layers are scaled.

_MODES = {"parameter": "scaled layers", "gradient": "scaled gradients"}


def _scaled(setting: Setting) -> Found:
    seeds = setting.pick(tiny=2, quick=16, full=40)
    scales: tuple[float, ...] = setting.pick(
        tiny=(1.0, 10.0), quick=(1.0, 10.0, 100.0), full=(1.0, 10.0, 100.0, 1000.0)
    )
    task = Digits(patch=8, sequences=setting.pick(tiny=16, quick=64, full=128), batch=None)
    model = MLP(width=setting.pick(tiny=4, quick=16, full=16))
    problems = {
        name: ToyProblem.generate(
            model, task, dial="reparametrisation", heterogeneity=scales, problems=seeds, seed=setting.seed, mode=mode
        )
        for mode, name in _MODES.items()
    }
    runs = race(
        problems, steps=setting.pick(tiny=10, quick=1000, full=2000), density=setting.pick(tiny=1, quick=3, full=3)
    )
    phi = problems[_MODES["parameter"]]
    spectra = pd.DataFrame({"heterogeneity": phi.heterogeneity, "index": phi.index, "JS0": js0(phi)})
    at = scales[min(2, len(scales) - 1)]  # 100 at both sizes
    measured = []
    for name in _MODES.values():
        for rule in ("gd", "adam"):
            same = runs[(runs["configuration"] == name) & (runs["rule"] == rule)]
            steps = same.pivot(index="index", columns="heterogeneity", values="steps")
            measured.append(measured_median(_growth(name, rule), quotient(steps[at], steps[1.0])))
    of_scale = spectra.pivot(index="index", columns="heterogeneity", values="JS0")
    measured.append(measured_median("JS0 of the scaled layers at c = 100 over that at 1", of_scale[at] / of_scale[1.0]))
    return Found(measured, {"runs": runs, "js0": spectra}, race_notes(runs))


def _growth(name: str, rule: str) -> str:
    return f"{name}: steps of {'GD' if rule == 'gd' else 'Adam'} at c = 100 over those at 1"


def _draw_scaled(tables: Mapping[str, pd.DataFrame]) -> Figure:
    return lines_figure(
        tables["runs"],
        x="heterogeneity",
        y="steps",
        by="rule",
        panel="configuration",
        xlabel="c = max s² / min s² over the layers",
        ylabel="steps to the target",
        title="An MLP of four matrices on digits whose layers (or whose gradients) are scaled",
    )


_FIRST = "runs of a few seeds of prototypes"
_HOLM = (
    "named smallest effects, power and Holm's correction; rates chosen on half of the seeds and judged on the others"
)

ADAPTIVE_GAP = (
    Claim(
        id="scaled-mlp",
        claim="In an MLP whose layers are scaled unequally by up to c, gradient descent slows down with c while Adam does not.",
        group=ZHANG,
        source="arXiv 2402.16788, the man-made heterogeneous MLP, in the form tried here",
        fidelity=(
            "gradient descent without momentum, full batch, in place of mini-batch SGD with momentum",
            "steps to a training loss in place of test accuracy",
            "c at most 1000, in the square of the scale",
        ),
        history=(
            Fixed("2026-11-22", "bf251578e481a6c1", f"{_FIRST}, after which the networks were made larger"),
            Fixed("2026-11-26", "e2f4a292f2afb7b7", "the full run of 2026-11-22", _HOLM),
        ),
        conditions=tuple(
            condition
            for name in _MODES.values()
            for condition in (
                Condition(
                    measure=_growth(name, "gd"), control=_growth(name, "adam"), null=1.0, effect=_COUNTS, because=_NOISE
                ),
                Condition(
                    measure=_growth(name, "adam"),
                    null=1.0,
                    effect=_COUNTS,
                    because=_NOISE,
                    level=_CONTRAST,
                    absent=True,
                ),
            )
        ),
        method="MLP of four matrices (embedding, two layers with GELU, head), no norm, on 8x8 digits, modules scaled in an order "
        "drawn for each seed: the weights of block b are s_b phi_b with max s²/min s² = c. `Scaled layers` trains phi, which is "
        "the paper's scaling of a layer by a constant except that the start is divided by it, so that the network "
        "begins as the same "
        "function; `scaled gradients` trains the weights and multiplies the gradient of block b by s_b², which GD cannot tell "
        "apart. " + RACE,
        experiment=_scaled,
        draw=_draw_scaled,
        caption="Steps to the target against the spread of the scales; medians over seeds, bars from 10% to 90%.",
    ),
)
