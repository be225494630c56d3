"""Momentum SGD against Adam after a fixed number of steps: losses and accuracies at the best rates, and pretrained starts."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quadsim.simulator.models import Model, Task, ToyProblem
from quadsim.simulator.training.loop import train
from quadsim.theory.claims.judging import Measured, Setting, measured_median
from quadsim.theory.claims.networks.racing import CENTRES, at_best_rate

__all__ = ["ACCURACY", "LOSS", "RULES", "TUNED", "differences", "edges", "pretrained", "tuned"]

Array = NDArray[np.float64]

RULES = {"heavy-ball": "SGD with momentum", "adam": "Adam"}
LOSS, ACCURACY = (
    "loss over ln C of SGD with momentum less Adam's",
    "test accuracy of Adam less that of SGD with momentum",
)
TUNED = (
    "Mini-batches, the learning rate falls linearly to 0, gradients are clipped at the norm 1. The rate is the best of a grid by "
    "the loss on all data, on 20 seeds and alike for both rules; other seeds are judged; the grid grows by a decade "
    "while a best rate lies at its edge."
)


def tuned(problem: ToyProblem, setting: Setting, steps: int, **words: str) -> pd.DataFrame:
    """Train with both rules, named beforehand, and return a row per rule and judged seed.

    Args:
        problem: M problems, one per seed.
        setting: size of the run.
        steps: number of steps.
        words: columns that tell this problem apart.

    Returns:
        `rule`, `seed`, `loss` (over ln C, on all data, at the end), `accuracy` (on the test data, at the end; NaN without), `lr`,
        `edge`.
    """
    frames = []
    for rule, shown in RULES.items():

        def measure(seeds: ToyProblem, rates: list[float], rule: str = rule) -> dict[str, Array]:
            run = train(
                seeds,
                rule,
                lr=rates,
                steps=steps,
                schedule="linear",
                clip=1.0,
                stop=False,
                record=steps,
                evaluate_every=steps,
            )
            loss = run.final_loss / np.log(problem.classes)
            accuracy = np.full_like(loss, np.nan) if run.test_accuracy is None else run.test_accuracy[:, :, -1]
            return {"loss": loss, "again": loss, "accuracy": accuracy}

        found = at_best_rate(
            measure, problem, 3 * CENTRES[rule] if rule == "heavy-ball" else 0.01, setting.pick(tiny=1, quick=1, full=2)
        )
        del found["again"]
        frames.append(pd.DataFrame({"rule": shown, "seed": np.arange(found["loss"].size)} | words | found))
    return pd.concat(frames, ignore_index=True)


def differences(table: pd.DataFrame, names: str) -> list[Measured]:
    """Return the two differences of every name in a column of `tuned`, and the numbers of both rules."""
    measured = []
    for name, part in table.groupby(names, sort=False):
        loss, accuracy = (part.pivot(index="seed", columns="rule", values=column) for column in ("loss", "accuracy"))
        sgd, adam = RULES.values()
        measured.append(measured_median(f"{LOSS}, {name}", loss[sgd] - loss[adam]))
        if accuracy.notna().to_numpy().any():
            measured.append(measured_median(f"{ACCURACY}, {name}", accuracy[adam] - accuracy[sgd]))
        measured += [measured_median(f"loss over ln C, {rule}, {name}", loss[rule]) for rule in RULES.values()]
    return measured


def edges(table: pd.DataFrame, names: str) -> Iterable[str]:
    """Return a remark per name and rule whose best rate is the last that was tried."""
    found = table[table["edge"]][[names, "rule"]].drop_duplicates()
    return [f"The best rate lies at the edge of the grid: {row[names]}, {row['rule']}." for _, row in found.iterrows()]


def pretrained(model: Model, before: Task, after: Task, steps: int, setting: Setting, number: int) -> ToyProblem:
    """Return the second task with the parameters after `steps` steps of Adam on the first, and a new head.

    Without steps it is the second task at a drawn start.
    """
    # Other draws, of images or windows and of the head.
    second = ToyProblem.generate(model, after, problems=number, seed=setting.seed, first=number)
    if not steps:
        return second
    first = ToyProblem.generate(model, before, problems=number, seed=setting.seed)
    run = train(
        first,
        "adam",
        lr=0.01,
        steps=steps,
        schedule="cosine",
        stop=False,
        record=steps,
        evaluate_every=steps,
        snapshots=[steps],
    )
    assert run.snapshots is not None
    theta = run.snapshots.theta[:, 0, 0].copy()
    head = second.parameters[-1]
    theta[:, -head.size :] = second.start[:, -head.size :]
    return second.starting_at(theta)
