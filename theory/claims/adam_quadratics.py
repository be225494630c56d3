"""Claims about Adam on quadratics: limit cycles at a constant rate, and its effect on the condition number."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quadsim.simulator.engines import simulate
from quadsim.simulator.figures.table_figures import heat_figure, lines_figure
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.theory.claims.bounds import ZHANG, proved, tried
from quadsim.theory.claims.claim import Claim, Condition, Found, Measured, Setting, measured_median

__all__ = ["ADAM_QUADRATICS"]

_RATES = (0.001, 0.01, 0.1)
_BETA2 = (0.9, 0.99, 0.999)


def _cycles(setting: Setting) -> Found:
    steps, number = setting.pick(tiny=400, quick=20_000, full=100_000), setting.pick(tiny=6, quick=12, full=60)
    rows = []
    for kind, rotation in (("diagonal", 0.0), ("Haar", 1.0)):
        problem = BlockQuadratic.generate(heterogeneity=10, rotation=rotation, problems=number, seed=setting.seed)
        # On the cycle of beta1 = 0 every coordinate of a diagonal H has the gap lambda lr^2/8.
        trace = sum(values.sum(axis=(1, 2)) for values in problem.eigenvalues.values())
        for beta1 in (0.0, 0.9):
            for beta2 in _BETA2:
                tops = _tops(problem, beta1, beta2, steps)
                for k, lr in enumerate(_RATES):
                    rows.append(
                        pd.DataFrame({
                            "blocks": kind,
                            "beta1": beta1,
                            "beta2": beta2,
                            "lr": lr,
                            "seed": np.arange(number),
                            "top": tops[:, k],
                            "over_cycle": tops[:, k] / (trace * lr**2 / 8),
                        })
                    )
    table = pd.concat(rows, ignore_index=True)
    largest = table[table["lr"] == _RATES[-1]]
    plain = largest[(largest["blocks"] == "diagonal") & (largest["beta1"] == 0)]
    quotient = (
        table[(table["blocks"] == "Haar") & (table["lr"] != _RATES[0])]
        .pivot_table(index=["beta1", "beta2", "seed"], columns="lr", values="top")
        .pipe(lambda pivot: pivot[_RATES[2]] / pivot[_RATES[1]])
    )
    per_seed = quotient.groupby("seed").median()
    return Found(
        [
            *tried("adam-cycle", setting.pick(tiny=10, quick=200, full=2000), setting.seed),
            measured_median(
                "largest gap of the last half over that of the cycle, diagonal blocks, beta1 = 0",
                plain.groupby("seed")["over_cycle"].min(),
            ),
            measured_median("largest gap of the last half at lr = 0.1 over that at 0.01, Haar blocks", per_seed),
            Measured("runs whose error underflows to 0", float((table["top"] == 0).sum())),
        ],
        {"tops": table},
        (
            "With beta2 = 0.999 sqrt(v) shrinks by half in 1386 steps and the error meanwhile by far more, in bursts; where it "
            "falls below the smallest number a float holds it is 0 from then on. In exact arithmetic it never is (theory "
            "section 3).",
        ),
    )


def _tops(problem: BlockQuadratic, beta1: float, beta2: float, steps: int) -> NDArray[np.float64]:
    """Return the largest gap over the last half of the run at each of the learning rates, (M, rates)."""
    run = simulate(
        problem, "adam", lr=_RATES, beta1=beta1, beta2=beta2, eps=0.0, steps=steps, record=max(1, steps // 10_000)
    )
    tops: NDArray[np.float64] = run.gap[:, :, run.steps >= 0.5 * steps].max(axis=2)
    return tops


def _draw_cycles(tables: Mapping[str, pd.DataFrame]) -> Figure:
    table = tables["tops"]
    shown = table[table["beta2"] == 0.99]
    return lines_figure(
        shown.assign(kind=shown["blocks"] + ", β₁ = " + shown["beta1"].map("{:g}".format)),
        x="lr",
        y="top",
        by="kind",
        xlabel="constant learning rate",
        ylabel="largest gap over the last half of the run",
        title="Adam at a constant rate (β₂ = 0.99, eps = 0) keeps reaching gaps that grow like lr²",
    )


_SIZES = (2, 4, 8, 16, 32)
_KAPPAS = (10.0, 1e3, 1e5)
_TURNS = (0.0, 0.1, 0.3, 1.0)


def _preconditioner(setting: Setting) -> Found:
    number = setting.pick(tiny=6, quick=60, full=600)
    rows = []
    for size in _SIZES:
        for kappa in _KAPPAS:
            for rotation in _TURNS:
                problem = BlockQuadratic.generate(
                    blocks=1,
                    block_size=size,
                    heterogeneity=1,
                    condition_number=kappa,
                    rotation=rotation,
                    problems=number,
                    seed=setting.seed,
                )
                hessian, start = problem.hessian[size][:, 0], problem.initial_error[size][:, 0]
                gradient = np.abs(np.einsum("mij,mj->mi", hessian, start))
                diagonal = np.einsum("mii->mi", hessian)
                rows.append(
                    pd.DataFrame({
                        "size": size,
                        "kappa": kappa,
                        "rotation": rotation,
                        "seed": np.arange(number),
                        "diagonality": np.abs(diagonal).sum(axis=1) / np.abs(hessian).sum(axis=(1, 2)),
                        "by_gradient": _condition(hessian, gradient) / kappa,
                        "by_diagonal": _condition(hessian, diagonal) / kappa,
                    })
                )
    table = pd.concat(rows, ignore_index=True)
    measured = []
    for name, column in (("|g_0|", "by_gradient"), ("diag H", "by_diagonal")):
        for kappa in _KAPPAS:
            of_kappa = table[table["kappa"] == kappa].pivot_table(
                index=["size", "seed"], columns="rotation", values=column
            )
            # Problems of one seed share their draws between sizes: one figure for each seed.
            quotient = (of_kappa[_TURNS[-1]] / of_kappa[0.0]).map(np.log).groupby("seed").median()
            measured.append(measured_median(f"log of Haar over diagonal, by {name}, kappa {kappa:g}", quotient))
    dense = (
        table[(table["rotation"] == 1) & (table["size"] == _SIZES[-1])]
        .groupby(["kappa", "seed"])["by_gradient"]
        .median()
    )
    measured += [
        measured_median(f"kappa after over before, by |g_0|, Haar of size 32, kappa {kappa:g}", dense[kappa])
        for kappa in _KAPPAS
    ]
    return Found(measured, {"conditions": table})


def _condition(hessian: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the condition number of D^-1/2 H D^-1/2 for D = diag(denominator), (M,)."""
    root = np.sqrt(denominator)
    values = np.linalg.eigvalsh(hessian / (root[:, :, None] * root[:, None, :]))
    ratio: NDArray[np.float64] = values[:, -1] / values[:, 0]
    return ratio


def _draw_conditions(tables: Mapping[str, pd.DataFrame]) -> Figure:
    return heat_figure(
        tables["conditions"].assign(kappa=tables["conditions"]["kappa"].map("κ = {:g}".format)),
        x="rotation",
        y="size",
        value="by_gradient",
        panel="kappa",
        xlabel="rotation (0: diagonal, 1: Haar)",
        ylabel="size of the block",
        label="κ after over before, median",
        title="Condition number after Adam's preconditioner diag|g₀|, over that before (below 1: it helps)",
    )


ADAM_QUADRATICS = (
    Claim(
        id="limit-cycle",
        claim="With beta2 < 1 and a constant learning rate Adam does not converge on a quadratic: it ends in oscillations "
        "whose gap grows like the square of the rate.",
        group=ZHANG,
        source="arXiv 2402.16788, the remark that beta2 < 1 needs a decaying rate; cycle and stability derived here",
        anywhere=True,
        conditions=(
            *proved("adam-cycle"),
            Condition(
                "largest gap of the last half over that of the cycle, diagonal blocks, beta1 = 0",
                ">=",
                0.5,
                "the cycle attracts at beta1 = 0; half of its gap is far above a gap on its way to 0",
            ),
            Condition(
                "largest gap of the last half at lr = 0.1 over that at 0.01, Haar blocks",
                ">=",
                10,
                "the square of 10 is 100, the rate itself 10, no growth 1",
            ),
        ),
        method="Adam with eps = 0, three constant rates, beta1 0 and 0.9, beta2 0.9, 0.99 and 0.999, on diagonal and Haar "
        "blocks; the theorem of the period-2 cycle beside.",
        experiment=_cycles,
        draw=_draw_cycles,
        caption="Largest gap over the last half of the run against the learning rate.",
    ),
    Claim(
        id="preconditioner",
        claim="Adam's diagonal preconditioner lowers the condition number less the less diagonal the Hessian is.",
        group=ZHANG,
        source="arXiv 2402.16788, on the effectiveness of Adam's preconditioner",
        anywhere=True,
        conditions=tuple(
            Condition(f"log of Haar over diagonal, by {name}, kappa {kappa:g}", ">=", 0, "0 is no difference")
            for name in ("|g_0|", "diag H")
            for kappa in _KAPPAS
        ),
        method="One block of 2 to 32 coordinates with a geometric spectrum, its eigenvectors from the axes to Haar, with the "
        "start of standard normal coefficients; D = diag|g_0| and, named apart, D = diag H; the quotient of the condition "
        "numbers.",
        experiment=_preconditioner,
        draw=_draw_conditions,
        caption="Median quotient of the condition numbers after and before, by rotation, size and condition number.",
    ),
)
