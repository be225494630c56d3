"""A claim on pretrained networks: whether training on one task leaves blocks that are more alike on the next."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quadsim.simulator.curvature.hessian import gradient
from quadsim.simulator.figures.table_figures import dots_figure
from quadsim.simulator.models import Task, Text, TokenMap, ToyProblem, Transformer
from quadsim.simulator.problems.heterogeneity import block_gradient_norms, spread
from quadsim.simulator.training.loop import train
from quadsim.theory.claims.judging import ZHANG, Claim, Condition, Fixed, Found, Setting, measured_median
from quadsim.theory.claims.networks.racing import JS0_NOT_VALID, RACE, gaps, groups, js0, quotient, race, race_notes

__all__ = ["PRETRAINING"]

Array = NDArray[np.float64]

_TOKENS, _TEXT = "new token map", "new text"
_STATES = ("fresh", "pretrained", "pretrained, on its own task")
_NEXT = 1_000_000  # index of the first problem whose data are those of the next task
_SMALLER = "smaller by the factor that counts"


def _pretraining(setting: Setting) -> Found:
    seeds = setting.pick(tiny=2, quick=12, full=40)
    size = setting.pick(tiny=6, quick=16, full=16)
    model = Transformer(width=setting.pick(tiny=4, quick=8, full=8), layers=setting.pick(tiny=1, quick=1, full=2))
    text = Text(vocabulary=size - 1, tokens=4, sequences=setting.pick(tiny=4, quick=32, full=64), batch=None)
    tasks: dict[str, Task] = {_TOKENS: TokenMap(size), _TEXT: text}
    rows, racing, before = [], {}, {}
    for name, task in tasks.items():
        first, after = (
            ToyProblem.generate(model, task, problems=seeds, seed=setting.seed, first=at) for at in (0, _NEXT)
        )
        theta, losses = _trained(first, setting.pick(tiny=3, quick=300, full=1000))
        before[name] = losses
        for state, problem, at in zip(_STATES, (after, after, first), (after.start, theta, theta), strict=True):
            norms = block_gradient_norms(gradient(problem.stack(), at), problem.partition("module").sizes)
            measures = {"JS0": js0(problem, at), "largest over smallest gradient norm": spread(norms).ratio}
            for measure, values in measures.items():
                rows += [
                    {"task": name, "state": state, "index": index, "measure": measure, "value": value}
                    for index, value in enumerate(values)
                ]
        if name == _TOKENS:
            racing = {"fresh": after, "pretrained": after.starting_at(theta)}
    runs = race(
        racing, steps=setting.pick(tiny=10, quick=500, full=2000), density=setting.pick(tiny=1, quick=3, full=4)
    )
    table = pd.DataFrame(rows)
    fresh = table[table["state"] == "fresh"].set_index(["task", "index", "measure"])["value"]
    table["over_fresh"] = (
        table["value"] / fresh.loc[pd.MultiIndex.from_frame(table[list(fresh.index.names)])].to_numpy()
    )
    measured = []
    for (task, measure), same in groups(table, "task", "measure"):
        wide = same.pivot(index="index", columns="state", values="value")
        for state in _STATES[1:]:
            measured.append(measured_median(_over(measure, task, state), wide[state] / wide["fresh"]))
        measured.append(measured_median(f"{measure}, {task}, fresh", wide["fresh"]))
    gap = gaps(runs).pivot(index="index", columns="configuration", values="gap")
    measured.append(measured_median(_GAP, quotient(gap["pretrained"], gap["fresh"])))
    measured += [measured_median(f"GD's steps over Adam's, {_TOKENS}, {state}", gap[state]) for state in gap]
    measured += [measured_median(f"loss over ln(classes) after pretraining, {n}", x) for n, x in before.items()]
    return Found(measured, {"blocks": table, "runs": runs}, race_notes(runs))


def _trained(problem: ToyProblem, steps: int) -> tuple[Array, Array]:
    """Return the parameters (M, P) after `steps` steps of Adam, and the loss there over ln(classes), (M,)."""
    run = train(problem, "adam", lr=0.01, steps=steps, snapshots=[steps], dtype="float64")
    assert run.snapshots is not None
    return run.snapshots.theta[:, 0, 0], run.final_loss[:, 0] / np.log(problem.classes)


def _over(measure: str, task: str, state: str = "pretrained") -> str:
    return f"{measure}, {task}, {state} over fresh"


_GAP = f"GD's steps over Adam's, {_TOKENS}, pretrained over fresh"


def _draw(tables: Mapping[str, pd.DataFrame]) -> Figure:
    return dots_figure(
        tables["blocks"][tables["blocks"]["state"] != "fresh"],
        x="task",
        y="over_fresh",
        by="state",
        panel="measure",
        ylabel="pretrained over fresh",
        title="How unlike the blocks of a pretrained Transformer are, over those of a fresh one on the next task",
        log=True,
        reference=1.0,
    )


_FIRST = "runs of a few seeds of prototypes"
_HOLM = (
    "named smallest effects, power and Holm's correction; rates chosen on half of the seeds and judged on the others"
)
_CONTRAST = "a quotient with the fresh model of the same seed is a contrast itself"

PRETRAINING = (
    Claim(
        id="pretraining",
        claim="A pretrained Transformer has blocks that are more alike than those of a fresh one, so that gradient "
        "descent does for fine-tuning.",
        group=ZHANG,
        source="arXiv 2402.16788, the remark on pretrained models and fine-tuning, in the form tried here",
        fidelity=(
            "16 tokens or four characters",
            "weights at 1/sqrt(fan-in) in place of 0.02",
            "gradient descent without momentum",
        ),
        history=(
            Fixed("2026-11-22", "a8e7677708387eed", _FIRST),
            Fixed("2026-11-26", "cdf62aa861a8dd29", "the full run of 2026-11-22", _HOLM),
        ),
        unjudged=JS0_NOT_VALID,
        instruments=("js0",),
        conditions=(
            *(
                Condition(measure=_over(measure, task), null=1.0, effect=1 / 1.5, because=_SMALLER, level=_CONTRAST)
                for task in (_TOKENS, _TEXT)
                for measure in ("JS0", "largest over smallest gradient norm")
            ),
            Condition(measure=_GAP, null=1.0, effect=1 / 1.5, because=_SMALLER, level=_CONTRAST),
        ),
        method="A pre-norm Transformer is trained with 300 steps (full: 1000) of full-batch Adam at 0.01, and then looked at on "
        "the data of another problem, on which the fresh one is looked at too: the same tokens with other classes, or other "
        "passages of the same text (four characters). JS0 and gradient norms by module as in js0-models. The race is on the new "
        "classes: on the new text the pretrained model begins near what can be learned. " + RACE,
        experiment=_pretraining,
        draw=_draw,
        caption="JS0 and the ratio of gradient norms over the blocks of a pretrained Transformer, over those of a fresh "
        "one; a dot per seed, bars at medians. Dotted: as unlike.",
    ),
)
