"""A claim about the linear head: with many classes sign descent moves the part that all classes share."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quadsim.simulator.curvature.from_snapshots import head_at_loss
from quadsim.simulator.figures.table_figures import dots_figure
from quadsim.simulator.models import TokenMap, ToyProblem, Transformer
from quadsim.simulator.training.loop import train
from quadsim.theory.claims.judging import (
    TOMIHARI,
    Cells,
    Claim,
    Condition,
    Fixed,
    Found,
    Reach,
    Setting,
    measured_median,
    tried,
)

__all__ = ["HEAD_GROWTH"]

Array = NDArray[np.float64]

_RULES = {"signsgd": "SignSGD", "signum": "Signum", "adam": "Adam"}
_FEW, _MANY = 4, 64
_BATCH, _LEVEL, _RATE = 16, 0.9, 1e-3
_EVERY = 2


_SEEDS = 80
"""40 had power .80 in one condition, and 67 would have .95."""


def _at_level(classes: int, setting: Setting, seeds: int = _SEEDS) -> pd.DataFrame:
    """Return the growth of both parts of the head where the loss is first 0.9 ln C, one row per rule and seed."""
    model = Transformer(setting.pick(tiny=4, quick=8, full=8))
    task = TokenMap(classes, batch=_BATCH // 2)  # sequences of two tokens
    problem = ToyProblem.generate(model, task, problems=setting.pick(tiny=4, quick=6, full=seeds), seed=setting.seed)
    steps = setting.pick(tiny=40, quick=160, full=200)
    frames = []
    for rule, words in _RULES.items():
        run = train(
            problem,
            rule,
            lr=_RATE,
            steps=steps,
            record=steps,
            evaluate_every=steps,
            snapshots=range(0, steps + 1, _EVERY),
        )
        found = head_at_loss(run, [_LEVEL])
        columns = {name: found[name].values[:, 0, 0] for name in ("common", "centred", "common_over_centred", "step")}
        frames.append(pd.DataFrame({"classes": classes, "rule": words, "index": problem.index} | columns))
    return pd.concat(frames, ignore_index=True)


def _few_and_many(setting: Setting) -> tuple[int, ...]:
    return setting.pick(tiny=(_FEW, 32), quick=(_FEW, _MANY), full=(_FEW, _MANY))


def _growth(frames: Sequence[pd.DataFrame], setting: Setting) -> Found:
    table = pd.concat(frames, ignore_index=True)
    measured = []
    for words, classes in zip(("few", "many"), _few_and_many(setting), strict=True):
        for rule in _RULES.values():
            part = table[(table["classes"] == classes) & (table["rule"] == rule)]
            measured.append(measured_median(_common(rule, words), part["common_over_centred"]))
            measured.append(
                measured_median(f"step at which the loss is 0.9 ln C, {rule}, {words} classes", part["step"])
            )
    proofs = (tried("head-drift", setting.pick(tiny=5, quick=300, full=2000), setting.seed),)
    return Found(measured, {"growth": table}, (), proofs)


def _common(rule: str, words: str) -> str:
    return f"growth of the common part of the head over that of the rest at 0.9 ln C, {rule}, {words} classes"


def _draw(tables: Mapping[str, pd.DataFrame]) -> Figure:
    table = tables["growth"]
    return dots_figure(
        table[table["common_over_centred"].notna()].assign(of=lambda rows: rows["classes"].map("{} classes".format)),
        x="of",
        y="common_over_centred",
        by="rule",
        ylabel="common over centred growth",
        title="Growth of the head at a loss of 0.9 ln C: the part that all classes share over the rest",
        log=True,
        reference=1.0,
    )


def _at_classes(value: float, setting: Setting) -> dict[str, Array]:
    classes = max(2, round(value * _BATCH))
    table = _at_level(setting.pick(tiny=min(classes, 32), quick=classes, full=classes), setting, seeds=20)
    return {str(rule): part["common_over_centred"].to_numpy() for rule, part in table.groupby("rule", sort=False)}


_SEEN = (
    "the full runs of 2026-11-22 and 2026-11-26, at equal steps; common over centred part, SignSGD over Adam: "
    "1.35 at 4 classes, 3.08 "
    "at 512; of an MLP under SignSGD at 0.95 ln C with batches of 8: .27 to 7.2 for 4 to 128 classes; a run of "
    "this criterion at the size of the tests, where nothing was reached; 4 to 6 seeds: at 4 classes .25 to .28 "
    "for every rule, at 64 SignSGD 1.3, Adam .25, Signum .10; with 128 and 256 classes SignSGD does not reach "
    "0.9 ln C in 200 steps at this rate"
)
_NEW = (
    "the common part over the rest at the same loss, 0.9 ln C, in place of the common part after the same number of steps; the "
    "exponent in the step is gone, because after 100 steps the tasks with few classes are solved; 64 classes and batches of 16"
)

HEAD_GROWTH = (
    Claim(
        id="head-growth",
        claim="With more classes than a mini-batch holds, sign descent moves the part of the linear head that all classes share; "
        "momentum prevents it, and with few classes there is little to prevent.",
        group=TOMIHARI,
        source="arXiv 2502.00213 version 1, section 5",
        fidelity=(
            "two-layer Transformers of width 8",
            "two tokens per sequence, mini-batches of 16 tokens",
            "one rate, 0.001, for all rules, compared at the same loss",
        ),
        history=(
            Fixed("2026-11-22", "aee096e59ef41457", "earlier results of the same experiment"),
            Fixed(
                "2026-11-26",
                "943dca8b17067e98",
                "the full run of 2026-11-22",
                "named smallest effects, power, Holm's correction and contrasts with the control in place of thresholds",
            ),
            Fixed("2026-11-26", "8ce9eabf4f68cc24", _SEEN, _NEW),
            Fixed(
                "2026-11-26",
                "6581990334f3ef3e",
                "the full run of 2026-11-26 with 40 seeds: 6.0, 11.6 and 4.6, all shown, with power .80 in the first",
                "the same effects with 80 seeds in place of 40, for the power",
            ),
        ),
        design=f"{_SEEDS} seeds",
        proofs=("head-drift",),
        instruments=("head-common-over-centred",),
        conditions=tuple(
            Condition(measure=_common("SignSGD", "many"), control=control, null=1.0, effect=1.5, because=because)
            for control, because in (
                (_common("SignSGD", "few"), "the project's threshold for a factor that counts"),
                (_common("Signum", "many"), "the project's threshold, as what momentum prevents"),
                (_common("Adam", "many"), "the project's threshold, as what Adam prevents"),
            )
        ),
        method="The theorem head-drift is held against random heads, exactly and simulated. Then two-layer Transformers on "
        "token-map with 64 (many) and 4 (few) classes, 16 tokens a step, all rules at the rate 0.001. At the first step at "
        "which the loss on all data is at most 0.9 ln C: growth of sqrt(C) times the mean class row since the start, over the "
        "growth of the rest of the head.",
        experiment=Cells(_few_and_many, _at_level, _growth),
        draw=_draw,
        caption="Growth of the common part of the head over that of the rest, when the loss is first 0.9 ln C.",
        reach=Reach(
            variable="classes C over tokens in a step",
            values=(0.25, 0.5, 1.0, 2.0, 4.0, 6.0),
            measure=_at_classes,
            quantity="common over centred growth at 0.9 ln C",
            null=1.0,
            null_means="as much as the rest",
            onset=1.0,
            caption="From where on the part that all classes share grows more than the rest, by rule; 16 tokens a step.",
        ),
    ),
)
