"""A claim about fine-tuning: sign-based and adaptive rules against gradient descent, after training on another task."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from quadsim.simulator.figures.table_figures import lines_figure
from quadsim.simulator.models import Conv, Digits, Model, Task, Text, ToyProblem, Transformer
from quadsim.simulator.support.statistics import quantile
from quadsim.simulator.training.loop import train
from quadsim.theory.claims.judging import (
    TOMIHARI,
    Claim,
    Condition,
    Fixed,
    Found,
    Setting,
    at_best_of_half,
    judged_half,
    measured_median,
)

__all__ = ["FINETUNING"]

_DESCENT = {"gd": "SGD", "heavy-ball": "SGD with momentum"}
_ADAPTIVE = {"signsgd": "SignSGD", "signum": "Signum", "rmsprop": "RMSProp", "adam": "Adam"}
_RULES = _DESCENT | _ADAPTIVE
_MODELS = ("Transformer", "convolution")
_TASKS = ("digits", "text")
_STEPS = 50
_BEFORE = 200


def _fine_tuning(setting: Setting) -> Found:
    number, width = setting.pick(tiny=2, quick=12, full=40), setting.pick(tiny=4, quick=8, full=16)
    batch, tokens = setting.pick(tiny=4, quick=16, full=16), setting.pick(tiny=2, quick=4, full=8)
    sequences = setting.pick(tiny=16, quick=256, full=256)
    models: tuple[Model, ...] = (Transformer(width=width), Conv(width=width, norm="pre"))
    tasks: dict[str, list[Task]] = {
        "digits": [Digits(patch=4, sequences=sequences, batch=batch, turns=turns) for turns in (0, 1)],
        "text": [Text(tokens=tokens, sequences=sequences, batch=batch, half=half) for half in ("first", "second")],
    }
    frames, notes = [], []
    for task, (before, after) in tasks.items():
        for name, model in zip(_MODELS, models, strict=True):
            problem, loss = _pretrained(model, before, after, number, setting)
            frames.append(_tuned(problem, setting).assign(model=name, task=task))
            notes.append(f"{name} on {task}: median loss over ln C after pretraining {loss:.2g}")
    runs = pd.concat(frames, ignore_index=True)
    best = _at_best_rate(runs)
    measured = []
    for (of, network), part in best.groupby(["task", "model"], sort=False):
        losses = part.pivot_table(index="seed", columns="optimizer", values="loss").rename(columns=_RULES)
        of_descent, of_adaptive = (
            min(group.values(), key=lambda rule: float(quantile(losses[rule], 0.5))) for group in (_DESCENT, _ADAPTIVE)
        )
        measured.append(measured_median(_gain(str(network), str(of)), losses[of_descent] / losses[of_adaptive]))
        notes.append(f"{network} on {of}: the best are {of_descent} and {of_adaptive}")
        for rule in _RULES.values():
            measured.append(measured_median(f"loss over ln C, {network}, {of}, {rule}", losses[rule]))
        for rule in _ADAPTIVE.values():
            quotient = losses[of_descent] / losses[rule]
            measured.append(measured_median(f"loss of {of_descent} over {rule}, {network}, {of}", quotient))
        edges = sorted({_RULES[rule] for rule in part.loc[part["edge"], "optimizer"]})
        if edges:
            notes.append(f"{network} on {of}: best rate at an edge of the grid for {', '.join(edges)}")
    return Found(measured, {"runs": runs, "best": best}, [f"{note}." for note in notes])


def _gain(network: str, task: str) -> str:
    return f"loss of gradient descent over adaptive, {network}, {task}"


def _pretrained(model: Model, before: Task, after: Task, number: int, setting: Setting) -> tuple[ToyProblem, float]:
    """Return the second task with Adam's parameters of the first and a new head, and the first one's final loss over ln C."""
    steps = setting.pick(tiny=5, quick=_BEFORE, full=_BEFORE)
    first = ToyProblem.generate(model, before, problems=number, seed=setting.seed)
    run = train(first, "adam", lr=0.01, steps=steps, schedule="cosine", stop=False, snapshots=[steps])
    assert run.snapshots is not None
    # Other draws, of images or windows and of the head.
    second = ToyProblem.generate(model, after, problems=number, seed=setting.seed, first=number)
    theta = run.snapshots.theta[:, 0, 0].copy()
    head = next(p for p in second.parameters if p.name == "head")
    theta[:, -head.size :] = second.start[:, -head.size :]  # the last of all parameters
    loss = float(quantile(run.final_loss[:, 0], 0.5)) / np.log(first.classes)
    return second.starting_at(theta), loss


def _tuned(problem: ToyProblem, setting: Setting) -> pd.DataFrame:
    """Return the final loss over ln C, one row per rule, learning rate and seed."""
    every = setting.pick(tiny=2.5, quick=0.5, full=1 / 3)
    rates = 10.0 ** np.arange(-4, 1 + every / 2, every)
    steps = setting.pick(tiny=4, quick=_STEPS, full=_STEPS)
    frames = []
    for rule in _RULES:
        run = train(problem, rule, lr=rates, steps=steps, schedule="cosine", stop=False, evaluate_every=steps)
        seeds = np.repeat(np.arange(problem.problems), rates.size)
        loss = run.final_loss.ravel() / np.log(problem.classes)
        frames.append(
            pd.DataFrame({"optimizer": rule, "seed": seeds, "lr": np.tile(rates, problem.problems), "loss": loss})
        )
    return pd.concat(frames, ignore_index=True)


def _at_best_rate(runs: pd.DataFrame) -> pd.DataFrame:
    """Return, per rule, the judged seeds at the rate that is best on the others, and whether it is at the grid's edge."""
    kept = []
    for _, part in runs.groupby(["task", "model", "optimizer"], sort=False):
        wide = part.pivot(index="seed", columns="lr", values="loss")
        best = at_best_of_half(wide.to_numpy())
        lr, seeds = float(wide.columns[best.column]), wide.index[judged_half(len(wide))]
        kept.append(part[(part["lr"] == lr) & part["seed"].isin(seeds)].assign(edge=best.edge))
    return pd.concat(kept, ignore_index=True)


def _draw_fine_tuning(tables: Mapping[str, pd.DataFrame]) -> Figure:
    runs = tables["runs"]
    middle = runs.groupby(["task", "model", "optimizer", "lr"], sort=False)["loss"].agg(
        lambda losses: float(quantile(losses, 0.5))
    )
    frame = middle[middle < 1.5].reset_index()  # beyond, nothing was learned
    return lines_figure(
        frame.assign(panel=frame["model"] + ", " + frame["task"], rule=frame["optimizer"].map(_RULES)),
        x="lr",
        y="loss",
        by="rule",
        panel="panel",
        xlabel="learning rate",
        ylabel="loss over ln C at the end",
        log="x",
        title=f"Fine-tuning for {_STEPS} steps from a pretrained start with a new head; medians over seeds",
    )


_FIRST = "runs of a few seeds of prototypes"
_HOLM = (
    "named smallest effects, power and Holm's correction; rates chosen on half of the seeds and judged on the others"
)

FINETUNING = (
    Claim(
        id="fine-tuning",
        claim="In fine-tuning a Transformer the best of the sign-based and adaptive rules reaches a lower loss than SGD with or "
        "without momentum in the same number of steps, and with a convolution network it gains less.",
        group=TOMIHARI,
        source="arXiv 2502.00213, in the form tried here",
        fidelity=(
            "models of width 16 and pretraining of 200 steps in place of large pretrained models",
            "the best rule of each family, chosen by what is judged, in place of Adam and SGD with momentum named beforehand",
            "loss in place of accuracy; a cosine schedule in place of a linear one; no clipping",
        ),
        history=(
            Fixed("2026-11-22", "be0b1f9584c45e1f", _FIRST),
            Fixed("2026-11-26", "fb2edfed3818b98b", "the full run of 2026-11-22", _HOLM),
        ),
        conditions=(
            *(
                Condition(
                    measure=_gain(_MODELS[0], task),
                    null=1.0,
                    effect=1.25,
                    because="a quarter of the loss",
                    level="a quotient of two rules on the same problem is a contrast itself",
                )
                for task in _TASKS
            ),
            *(
                Condition(
                    measure=_gain(_MODELS[0], task),
                    control=_gain(_MODELS[1], task),
                    null=1.0,
                    effect=1.25,
                    because="as much more than with the convolution",
                )
                for task in _TASKS
            ),
        ),
        method=f"Pretraining by {_BEFORE} steps of Adam on upright digits or on the first half of a text (next character); then "
        f"{_STEPS} steps on turned digits or the second half with a new head, mini-batches of 16, cosine schedule. Loss on all "
        "data of the second task, for each rule at the best rate of one grid from 0.0001 to 10 (by the "
        "median over half of the seeds; the others are judged); of "
        "each family the rule with the smallest median: SGD or SGD with momentum against SignSGD, Signum, RMSProp or Adam. Two "
        "layers of width 8 (full size: 16), pre-norm in both models, where the paper has pretrained models of full size.",
        experiment=_fine_tuning,
        draw=_draw_fine_tuning,
        caption="Median loss at the end of fine-tuning against the learning rate, by rule, model and task.",
    ),
)
