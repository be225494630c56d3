"""A claim on schedules: a constant rate in place of linear decay lowers the best rate of a sign-based rule."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quadsim.simulator.figures.table_figures import dots_figure
from quadsim.simulator.models import Text, ToyProblem, Transformer
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
)

__all__ = ["SCHEDULES"]

Array = NDArray[np.float64]

_RULES = {"signum": "Signum", "heavy-ball": "SGD with momentum", "adam": "Adam"}
_RATES = {"signum": (-4.5, -1.0), "heavy-ball": (-2.5, 1.0), "adam": (-4.0, -0.5)}
_STEPS = 200


def _best_rates(rule: str, schedule: str, steps: int, setting: Setting, seeds: int) -> pd.DataFrame:
    """Return, for every seed, the rate with the smallest loss at the end; `seeds` is their number at full size."""
    tiny = setting.size == "tiny"
    task = Text(tokens=2 if tiny else 4, sequences=16 if tiny else 256, batch=8)
    problem = ToyProblem.generate(
        Transformer(4 if tiny else 8, layers=1 if tiny else 2),
        task,
        problems=setting.pick(tiny=4, quick=4, full=seeds),
        seed=setting.seed,
    )
    every = setting.pick(tiny=1.0, quick=0.5, full=0.25)
    low, high = _RATES[rule]
    rates = 10.0 ** np.arange(low, high + every / 2, every)
    run = train(problem, rule, lr=rates, steps=steps, schedule=schedule, stop=False, record=steps, evaluate_every=steps)
    loss = np.where(np.isnan(run.final_loss), np.inf, run.final_loss)
    best = loss.argmin(axis=1)
    return pd.DataFrame({
        "rule": _RULES[rule],
        "schedule": schedule,
        "seed": problem.index,
        "lr": rates[best],
        "loss": loss.min(axis=1) / np.log(problem.classes),
        "edge": (best == 0) | (best == rates.size - 1),
    })


def _quotient(rule: str, steps: int, setting: Setting, seeds: int = 30) -> pd.DataFrame:
    frames = [_best_rates(rule, schedule, steps, setting, seeds) for schedule in ("linear", "constant")]
    return pd.concat(frames, ignore_index=True)


def _over(table: pd.DataFrame) -> Array:
    wide = table.pivot(index="seed", columns="schedule", values="lr")
    return (wide["linear"] / wide["constant"]).to_numpy()


def _name(rule: str) -> str:
    return f"best rate with linear decay over best constant rate, {rule}"


def _gather(frames: Sequence[pd.DataFrame], setting: Setting) -> Found:
    table = pd.concat(frames, ignore_index=True)
    measured = []
    for rule, part in table.groupby("rule", sort=False):
        measured.append(measured_median(_name(str(rule)), _over(part)))
        for schedule, same in part.groupby("schedule", sort=False):
            measured.append(measured_median(f"best rate, {rule}, {schedule}", same["lr"]))
            measured.append(measured_median(f"loss over ln C at the best rate, {rule}, {schedule}", same["loss"]))
    notes = [
        f"{int(part['edge'].sum())} of {len(part)} best rates of {rule} lie at the edge of the grid."
        for rule, part in table.groupby("rule", sort=False)
        if part["edge"].any()
    ]
    return Found(measured, {"best": table}, notes)


def _draw(tables: Mapping[str, pd.DataFrame]) -> Figure:
    return dots_figure(
        tables["best"],
        x="rule",
        y="lr",
        by="schedule",
        ylabel="best learning rate",
        title=f"Best rate by the loss after {_STEPS} steps, with linear decay and constant; a dot per seed",
        log=True,
    )


def _at_steps(value: float, setting: Setting) -> dict[str, Array]:
    steps = setting.pick(tiny=3, quick=min(int(value), 50), full=int(value))
    return {_RULES[rule]: _over(_quotient(rule, steps, setting, seeds=10)) for rule in ("signum", "heavy-ball")}


SCHEDULES = (
    Claim(
        id="schedule-and-sign",
        claim="A constant rate in place of linear decay lowers Signum's best rate tenfold, but not that of SGD with momentum.",
        group=TOMIHARI,
        source="arXiv 2502.00213, the grid of learning rates by schedule",
        fidelity=(
            "a Transformer of two layers of width 8 from a drawn start, in place of fine-tuning of pretrained models",
            "200 steps with mini-batches of 8; a grid of four rates per decade, on which the paper has fewer; the "
            "best rate of every "
            "seed, with hindsight",
        ),
        history=(
            Fixed("2026-11-26", "c3eeaa9c3b8c0b43", "a run of this criterion at the size of the tests (3 steps)"),
            Fixed(
                "2026-11-26",
                "8b0ca95979d7044a",
                "a run of this criterion at the size of the tests (3 steps)",
                "Signum's quotient must be above 1, with the root of ten as the smallest effect; before it had to be "
                "above the root of "
                "ten, so that no effect at all was the opposite",
            ),
        ),
        conditions=(
            Condition(
                measure=_name("Signum"),
                control=_name("SGD with momentum"),
                null=1.0,
                effect=2.0,
                because="more than the spacing of the grid, a factor of 1.8",
            ),
            Condition(
                measure=_name("Signum"),
                null=1.0,
                effect=10**0.5,
                because="tenfold is claimed; below the root of ten it is nearer to none",
                level="the quotient of two schedules of one rule on the same problem is a contrast itself",
            ),
            Condition(
                measure=_name("SGD with momentum"),
                null=1.0,
                effect=10**0.5,
                because="from the root of ten on it is nearer to tenfold",
                level="the quotient of two schedules of one rule on the same problem is a contrast itself",
                absent=True,
            ),
        ),
        reading="Linear decay allows a larger rate, but one step of the grid (a factor of 1.8) in place of ten, and the "
        "same for both rules.",
        method=f"Next of 4 characters, {_STEPS} steps from a drawn start, mini-batches of 8; for every seed the "
        "rate with the smallest "
        "loss on all data at the end, of a grid of four rates per decade over 3.5 decades, with a rate that "
        "falls linearly to 0 and "
        "with a constant one; their quotient.",
        experiment=Cells(
            lambda setting: tuple(_RULES),
            lambda rule, setting: _quotient(rule, setting.pick(tiny=3, quick=50, full=_STEPS), setting),
            _gather,
        ),
        draw=_draw,
        caption="Best learning rates with linear decay and constant, for three rules; a dot per seed, bars at medians.",
        reach=Reach(
            variable="steps",
            values=(25.0, 50.0, 100.0, 200.0, 400.0),
            measure=_at_steps,
            quantity="best rate with linear decay over best constant rate",
            null=1.0,
            null_means="no difference",
            onset=10**0.5,
            onset_means="nearer to tenfold from here on",
            caption="How much larger a rate linear decay allows, by the number of steps.",
        ),
    ),
)
