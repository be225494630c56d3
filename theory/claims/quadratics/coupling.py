"""Claims about blocks that are coupled: how the advantage of adaptive and sign-based methods depends on the coupling."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quadsim.simulator.figures.table_figures import lines_figure
from quadsim.simulator.sweeps.config.quadratics import SweepConfig
from quadsim.theory.claims.judging import BEYOND, Cells, Claim, Fixed, Found, Reach, Setting, measured_median
from quadsim.theory.claims.quadratics.racing import (
    MATCHED,
    NOISE,
    PAIRS,
    PLANNED,
    RATES,
    SIGN_PAIRS,
    WITHIN_REACH,
    arrays,
    best_steps,
    designed,
    quotient,
    slower,
)

__all__ = ["COUPLED"]

_ALL = {**PAIRS, **SIGN_PAIRS}
_WORDS = {**MATCHED, "signsgd": "without momentum: GD over SignSGD", "signum": "momentum 0.9: heavy ball over Signum"}
_COUPLINGS = (0.0, 0.8)
_JUDGED = ("adam", "adam:beta1=0", "signsgd")
"""Signum has no advantage over heavy ball on separate blocks, so that none of it can fade; its numbers stand beside."""


# Below 1e-3 of the first gap sign steps, and Adam without momentum on many seeds, only oscillate; but to 1e-3 blocks of less than
# a thousandth of the stiffest curvature do not count. So Adam with momentum is raced to 1e-6 at a heterogeneity of 300.
_RACES = (
    ({"adam": PAIRS["adam"]}, 300.0, 1e-6),
    ({"adam:beta1=0": PAIRS["adam:beta1=0"]} | SIGN_PAIRS, 100.0, WITHIN_REACH),
)


_SEEDS = 80


def _coupled(coupling: float, setting: Setting, seeds: int = _SEEDS) -> pd.DataFrame:
    frames = []
    for pairs, heterogeneity, tolerance in _RACES:
        config = SweepConfig(
            heterogeneity=(heterogeneity,),
            coupling=(coupling,),
            optimizers=(*pairs.values(), *pairs),
            steps=setting.pick(tiny=300, quick=3000, full=20_000),
            tolerance=tolerance,
            seeds=setting.pick(tiny=6, quick=6, full=seeds),
            seed=setting.seed,
            select_on="half",
        )
        frames.append(best_steps(config, "coupling").assign(tolerance=f"to {tolerance:g} of the first gap"))
    return pd.concat(frames, ignore_index=True)


def _advantages(table: pd.DataFrame) -> dict[tuple[float, str], NDArray[np.float64]]:
    """Return the steps of the match over those of the optimizer, by coupling and optimizer."""
    found = {}
    for (pairs, _, _), (_, part) in zip(_RACES, table.groupby("tolerance", sort=False), strict=True):
        steps = arrays(part, "coupling")
        for coupling in dict.fromkeys(part["coupling"]):
            for optimizer, other in pairs.items():
                found[coupling, optimizer] = quotient(steps[coupling, other], steps[coupling, optimizer])
    return found


def _advantage(optimizer: str, coupling: float) -> str:
    return f"{_ALL[optimizer]} over {optimizer} at coupling {coupling:g}"


def _fades(parts: Sequence[pd.DataFrame], setting: Setting) -> Found:
    table = pd.concat(parts, ignore_index=True)
    gains = _advantages(table)
    measured = [
        measured_median(_advantage(optimizer, c), gains[c, optimizer]) for optimizer in _ALL for c in _COUPLINGS
    ]
    return Found(measured, {"steps": table})


def _draw_fades(tables: Mapping[str, pd.DataFrame]) -> Figure:
    return lines_figure(
        tables["steps"],
        x="coupling",
        y="steps",
        by="optimizer",
        panel="tolerance",
        xlabel="coupling c of the blocks (0: separate)",
        ylabel="steps",
        title="Coupled blocks slow all rules down; do adaptive rules and sign steps lose more?",
        log="y",
    )


def _at_coupling(value: float, setting: Setting) -> dict[str, NDArray[np.float64]]:
    gains = _advantages(_coupled(value, setting, seeds=40))
    return {words: gains[value, optimizer] for optimizer, words in _WORDS.items()}


COUPLED = (
    Claim(
        id="coupling-fades",
        claim="The advantage of adaptive and sign-based methods on heterogeneous blocks fades as the blocks are coupled.",
        group=BEYOND,
        source="both papers assume a (nearly) block-diagonal Hessian; the dial of the coupling, docs/theory.md section 10",
        fidelity=(
            "no paper has this experiment; the coupling is random, not that of a network",
            "Signum, which is slower than heavy ball on separate blocks, is not judged",
        ),
        history=(
            Fixed(
                "2026-11-26",
                "a86efb2d223d9c15",
                "six judged seeds to 1e-3 at heterogeneity 1000, where the soft blocks do not count: advantage "
                "at c = 0 and 0.8 of "
                "Adam without momentum 6.6 and 3.0, with it 1.1 and 1.1, of SignSGD 4.5 and 0.6, of Signum 0.6 and 0.5. Then six "
                "at the present settings: Adam with momentum 2.0 and 2.6, SignSGD 2.5 and 1.5, Signum 0.6 and 0.5. "
                "Heterogeneities and tolerances were chosen then; a run at the size of the tests; the criterion is as before",
            ),
            Fixed(
                "2026-11-26",
                "668a0197dfa8a0ea",
                "the same; no further run",
                "Signum is not judged: it needs more steps than heavy ball on separate blocks (0.6), so that it has "
                "no advantage to lose",
            ),
            Fixed(
                "2026-11-26",
                "b9574a5837045621",
                "the full run of 2026-11-26 with 40 judged seeds: .77, 1.82 and 1.36 with a power of .55 in the last; 24 judged "
                "seeds of another draw (seed 2000) at the new rates: .81, 1.01 and .92, so that 1.82 had come from "
                "seeds on which "
                f"Adam did not arrive; {PLANNED}",
                RATES,
            ),
        ),
        design=designed(_SEEDS),
        conditions=tuple(
            slower(_advantage(optimizer, _COUPLINGS[0]), _advantage(optimizer, _COUPLINGS[1])) for optimizer in _JUDGED
        ),
        reading="On separate blocks the advantages are factors of 1.6 to 2.1, so that the factor of 1.5 that counts is "
        "most of what there is to lose. With momentum the advantage of Adam grows.",
        method="H = D^(1/2) (I + c O) D^(1/2), D with four Haar blocks of eight and condition number 10, O random with zero "
        "diagonal blocks and spectral norm 1; constant rates. Adam with momentum at heterogeneity 300 to 1e-6 of the first gap; "
        "Adam without momentum and sign steps at 100 to 1e-3, which they reach; quotient of the advantage at c = "
        "0 and at c = 0.8 "
        "for each seed.",
        experiment=Cells(lambda setting: _COUPLINGS, _coupled, _fades),
        draw=_draw_fades,
        caption="Steps of six optimizers, without and with momentum, on separate and on coupled blocks.",
        reach=Reach(
            variable="coupling c of the blocks",
            values=(0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95),
            measure=_at_coupling,
            quantity="steps of gradient descent over steps of its match",
            null=1.0,
            onset=NOISE,
            log="y",
            caption="The advantage by coupling. The bounds of all rules grow by (1+c)/(1-c) alike: "
            "they predict no loss of the advantage.",
        ),
    ),
)
