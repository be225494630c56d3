"""Claims about blocks that are coupled: how the advantage of adaptive and sign-based methods depends on the coupling."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quadsim.simulator.figures.table_figures import lines_figure
from quadsim.simulator.sweeps.config.quadratics import SweepConfig
from quadsim.theory.claims.judging import BEYOND, Cells, Claim, Fixed, Found, Reach, Setting
from quadsim.theory.claims.quadratics.racing import (
    MATCHED,
    NOISE,
    PAIRS,
    SIGN_PAIRS,
    WITHIN_REACH,
    arrays,
    best_steps,
    quotient,
    ratio,
    slower,
)

__all__ = ["COUPLED"]

_ALL = {**PAIRS, **SIGN_PAIRS}
_WORDS = {**MATCHED, "signsgd": "without momentum: GD over SignSGD", "signum": "momentum 0.9: heavy ball over Signum"}
_COUPLINGS = (0.0, 0.8)


def _coupled(coupling: float, setting: Setting, seeds: int = 80) -> pd.DataFrame:
    """Gradient descent, which has a closed form, may take as long as it needs; adaptive rules and sign steps are cut off."""
    steps = setting.pick(tiny=300, quick=5000, full=20_000)
    return pd.concat(
        [
            best_steps(
                SweepConfig(
                    heterogeneity=(1000.0,),
                    coupling=(coupling,),
                    optimizers=tuple(dict.fromkeys(optimizers)),
                    steps=longest,
                    tolerance=WITHIN_REACH,
                    seeds=setting.pick(tiny=6, quick=12, full=seeds),
                    seed=setting.seed,
                    select_on="half",
                ),
                "coupling",
            )
            for optimizers, longest in ((_ALL.values(), 100 * steps), (_ALL, steps))
        ],
        ignore_index=True,
    )


def _advantage(optimizer: str, coupling: float) -> str:
    return f"{_ALL[optimizer]} over {optimizer} at coupling {coupling:g}"


def _fades(parts: Sequence[pd.DataFrame], setting: Setting) -> Found:
    table = pd.concat(parts, ignore_index=True)
    steps = arrays(table, "coupling")
    measured = [
        ratio(_advantage(optimizer, c), steps[c, other], steps[c, optimizer])
        for optimizer, other in _ALL.items()
        for c in _COUPLINGS
    ]
    return Found(measured, {"steps": table})


def _draw_fades(tables: Mapping[str, pd.DataFrame]) -> Figure:
    return lines_figure(
        tables["steps"],
        x="coupling",
        y="steps",
        by="optimizer",
        xlabel="coupling c of the blocks (0: separate)",
        ylabel="steps until gap ≤ 1e-3 of the initial gap",
        title="Heterogeneity 1000: coupled blocks slow all rules down; do Adam and sign steps lose more?",
        log="y",
    )


def _at_coupling(value: float, setting: Setting) -> dict[str, NDArray[np.float64]]:
    steps = arrays(_coupled(value, setting, seeds=40), "coupling")
    return {
        words: quotient(steps[value, _ALL[optimizer]], steps[value, optimizer]) for optimizer, words in _WORDS.items()
    }


COUPLED = (
    Claim(
        id="coupling-fades",
        claim="The advantage of adaptive and sign-based methods on heterogeneous blocks fades as the blocks are coupled.",
        group=BEYOND,
        source="both papers assume a (nearly) block-diagonal Hessian; the dial of the coupling, docs/theory.md section 10",
        fidelity=("no paper has this experiment; the coupling is random, not that of a network",),
        history=(
            Fixed(
                "2026-11-26",
                "a86efb2d223d9c15",
                "a prototype without coupling at heterogeneity 100, where the advantage with momentum is 1.1",
            ),
        ),
        conditions=tuple(
            slower(_advantage(optimizer, _COUPLINGS[0]), _advantage(optimizer, _COUPLINGS[1])) for optimizer in _ALL
        ),
        method="H = D^(1/2) (I + c O) D^(1/2), D with four Haar blocks of eight, condition number 10 and heterogeneity 1000, O "
        "random with zero diagonal blocks and spectral norm 1; constant rates; steps until 1e-3 of the first gap; quotient of "
        "the advantage at c = 0 and at c = 0.8 for each seed.",
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
            caption="The advantage by coupling, at heterogeneity 1000. The bounds of all rules grow by (1+c)/(1-c) alike: "
            "they predict no loss of the advantage.",
        ),
    ),
)
