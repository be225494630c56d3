"""The claim about speed on quadratics whose eigenvectors are rotated inside the blocks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quadsim.simulator.figures.table_figures import lines_figure
from quadsim.simulator.sweeps.config.quadratics import SweepConfig
from quadsim.theory.claims.judging import (
    BEYOND,
    PROTOTYPES,
    Cells,
    Claim,
    Fixed,
    Found,
    Reach,
    Setting,
    identity,
)
from quadsim.theory.claims.quadratics.racing import (
    HALVED,
    MATCHING,
    NOISE,
    PAIRS,
    PLANNED,
    RATES,
    TWICE,
    WITHIN_REACH,
    arrays,
    best_steps,
    designed,
    quotient,
    ratio,
    slower,
)

__all__ = ["ROTATION"]

_ROTATIONS = (0.0, 0.25, 0.5, 1.0)

_CONDITIONS = (1e2, 1e3, 1e4)
"""Condition numbers of the blocks: what decides how much a diagonal preconditioner can lose by a rotation."""

_ROTATED_SEEDS, _MAPPED_SEEDS = 80, 40

_BLIND = "steps of GD are the same for every rotation of the eigenvectors inside the blocks"


def _rotated(
    setting: Setting,
    condition: float,
    optimizers: tuple[str, ...],
    tolerance: float = 1e-6,
    rotations: tuple[float, ...] = _ROTATIONS,
    seeds: int = _ROTATED_SEEDS,
) -> pd.DataFrame:
    config = SweepConfig(
        heterogeneity=(100.0,),
        rotation=rotations,
        condition_number=(condition,),
        optimizers=optimizers,
        steps=setting.pick(tiny=300, quick=5000, full=30_000),
        tolerance=tolerance,
        seeds=setting.pick(tiny=6, quick=8, full=seeds),
        seed=setting.seed,
        select_on="half",
    )
    return best_steps(config, "rotation").assign(condition=condition)


def _loss_of(optimizer: str, condition: float) -> str:
    return f"{optimizer} on Haar blocks over diagonal ones, block condition number {condition:g}"


def _rotation_parts(setting: Setting) -> list[tuple[float, tuple[str, ...], float]]:
    """Condition number, optimizers and tolerance of every cell; SignSGD only oscillates below some gap."""
    return [*((c, ("gd", *PAIRS), 1e-6) for c in _CONDITIONS), (_CONDITIONS[0], ("signsgd",), WITHIN_REACH)]


def _rotation_cell(part: tuple[float, tuple[str, ...], float], setting: Setting) -> pd.DataFrame:
    return _rotated(setting, *part)


def _rotation(parts: Sequence[pd.DataFrame], setting: Setting) -> Found:
    measured, differing, compared = [], 0, 0
    for table in parts:
        condition, steps = float(table["condition"].iloc[0]), arrays(table, "rotation")
        names = dict.fromkeys(table["optimizer"])
        if "gd" in names:
            differing += sum(int(np.sum(steps[s, "gd"] != steps[0.0, "gd"])) for s in _ROTATIONS)
            compared += len(_ROTATIONS) * steps[0.0, "gd"].size
        measured += [ratio(_loss_of(o, condition), steps[1.0, o], steps[0.0, o]) for o in names if o != "gd"]
    return Found(
        measured,
        {"steps": pd.concat(parts, ignore_index=True)},
        proofs=(identity(_BLIND, differing, compared),),
    )


_BETA1 = (0.0, 0.5, 0.9, 0.97)


def _at_condition(value: float, setting: Setting) -> dict[str, NDArray[np.float64]]:
    """Steps of Adam on Haar blocks over those on diagonal ones, by beta1."""
    optimizers = {f"{beta1:g}": f"adam:beta1={beta1:g}" for beta1 in _BETA1}
    table = _rotated(setting, value, tuple(optimizers.values()), rotations=(0.0, 1.0), seeds=_MAPPED_SEEDS)
    names = dict(zip(optimizers, dict.fromkeys(table["optimizer"]), strict=True))  # adam:beta1=0.9 is shown as adam
    steps = arrays(table, "rotation")
    return {beta1: quotient(steps[1.0, name], steps[0.0, name]) for beta1, name in names.items()}


def _draw_rotation(tables: Mapping[str, pd.DataFrame]) -> Figure:
    table = tables["steps"]
    return lines_figure(
        table[table["optimizer"] != "signsgd"].assign(
            panel=table["condition"].map("block condition number {:g}".format)
        ),
        x="rotation",
        y="steps",
        by="optimizer",
        panel="panel",
        xlabel="rotation of the eigenvectors (0: axes, 1: Haar)",
        ylabel="steps until gap ≤ 1e-6 of the initial gap",
        title="Rotation inside the blocks: GD cannot see it, and what Adam loses by it grows with their condition number",
        log="y",
    )


_SEEN_ROTATION = (
    "the full run of 2026-11-26 with matched pairs; a run of this criterion with 20 judged seeds, after which the share of "
    "seeds that may be without a value was raised from a tenth to a quarter for all claims"
)

ROTATION = (
    Claim(
        id="rotation",
        claim="Rotating the eigenvectors inside the blocks leaves gradient descent alone and slows sign-based and adaptive "
        "methods down where the blocks are ill-conditioned.",
        group=BEYOND,
        source="negative control",
        fidelity=("no paper has this experiment",),
        history=(
            Fixed(
                "2026-11-22", "1b32c89ecb3fef48", f"{PROTOTYPES}; at the tolerance 1e-6, which SignSGD does not reach"
            ),
            Fixed(
                "2026-11-26",
                "249d7976173592c1",
                "the full run of 2026-11-22; a small run had shown that at condition number 100 momentum hides what a rotation "
                "costs (a ratio of 1.02)",
                f"{MATCHING}; the condition number of the blocks as an axis, judged at 10,000",
            ),
            Fixed("2026-11-26", "be57b642c8ea8306", _SEEN_ROTATION, HALVED),
            Fixed(
                "2026-11-26",
                "492d7067ce7e8b90",
                "the full run of 2026-11-26 with 30 judged seeds (98, 7.8 and 5.5 with a power of .71, 1 and .27); "
                "24 judged seeds of "
                f"another draw (seed 2000) at the new rates: 34, 6.8 and 5.3; {PLANNED}",
                "the smallest effect on Adam at a block condition number of 10,000 is a factor of 2, before 1.5; 40 "
                "judged seeds, "
                f"before 30; {RATES}",
            ),
        ),
        design=designed(_ROTATED_SEEDS),
        proofs=(_BLIND,),
        conditions=tuple(
            replace(
                slower(_loss_of(optimizer, condition), effect=effect),
                level="the control is gradient descent, whose quotient is exactly 1",
            )
            for optimizer, condition, effect in (
                ("signsgd", _CONDITIONS[0], NOISE),
                *((adam, _CONDITIONS[-1], TWICE) for adam in PAIRS),
            )
        ),
        arguments={
            _BLIND: "their gap depends on the eigenvalues and on the coefficients of the start along the eigenvectors alone, "
            "which a rotation keeps",
        },
        reading="Momentum hides the loss where the blocks are well-conditioned: with beta1 = 0.9 Adam loses nothing up to "
        "a condition number of 300 (the figure).",
        method="Heterogeneity 100, blocks of condition number 100, 1,000 and 10,000, eigenvectors from the axes to Haar; "
        "constant rates; steps until 1e-6 of the first gap for GD and Adam, with and without momentum; until 1e-3 for SignSGD at "
        "condition number 100, which sign steps of constant length reach. The condition on Adam is judged where the blocks are "
        "ill-conditioned; the numbers at 100 and 1,000 and the map show from where on.",
        experiment=Cells(_rotation_parts, _rotation_cell, _rotation),
        draw=_draw_rotation,
        caption="Steps of GD and Adam against the rotation of the eigenvectors, for three condition numbers of the blocks.",
        reach=Reach(
            variable="condition number of the blocks",
            values=(10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4),
            measure=_at_condition,
            quantity="steps of Adam on Haar blocks over diagonal ones",
            across="β₁ of Adam",
            null=1.0,
            onset=NOISE,
            caption="What Adam loses by the rotation, by condition number of the blocks and β₁, and from where on it loses a "
            "factor of 1.5; GD loses nothing anywhere.",
        ),
    ),
)
