"""Claims about Adam on quadratics: limit cycles at a constant rate, and its effect on the condition number."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quadsim.simulator.engines import simulate
from quadsim.simulator.figures.table_figures import heat_figure, lines_figure
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.theory.claims.judging import (
    PROTOTYPES,
    ZHANG,
    Claim,
    Condition,
    Fixed,
    Found,
    Law,
    Measured,
    Reach,
    Setting,
    measured_median,
    tried,
)

__all__ = ["ADAM_QUADRATICS"]

_RATES = (0.001, 0.01, 0.1)
_BETA2 = (0.9, 0.99, 0.999)
_OF_CYCLE = "largest gap of the last half over that of the cycle, diagonal blocks, beta1 = 0"
_OF_RATE = "largest gap of the last half at lr = 0.1 over that at 0.01, Haar blocks"


def _cycles(setting: Setting) -> Found:
    steps, number = setting.pick(tiny=400, quick=20_000, full=100_000), setting.pick(tiny=6, quick=12, full=60)
    rows = []
    for kind, rotation in _KINDS:
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
            measured_median(
                _OF_CYCLE,
                plain.groupby("seed")["over_cycle"].min(),
            ),
            measured_median(_OF_RATE, per_seed),
            Measured("runs whose error underflows to 0", float((table["top"] == 0).sum())),
        ],
        {"tops": table},
        (
            "With beta2 = 0.999 sqrt(v) shrinks by half in 1386 steps and the error meanwhile by far more, in bursts; where it "
            "falls below the smallest number a float holds it is 0 from then on. In exact arithmetic it never is (theory "
            "section 3).",
        ),
        (tried("adam-cycle", setting.pick(tiny=10, quick=200, full=2000), setting.seed),),
    )


def _tops(problem: BlockQuadratic, beta1: float, beta2: float, steps: int) -> NDArray[np.float64]:
    """Return the largest gap over the last half of the run at each of the learning rates, (M, rates)."""
    run = simulate(
        problem, "adam", lr=_RATES, beta1=beta1, beta2=beta2, eps=0.0, steps=steps, record=max(1, steps // 10_000)
    )
    tops: NDArray[np.float64] = run.gap[:, :, run.steps >= 0.5 * steps].max(axis=2)
    return tops


_KINDS = (("diagonal", 0.0), ("Haar", 1.0))


def _at_rate(value: float, setting: Setting) -> dict[str, NDArray[np.float64]]:
    """Largest gap of the last half over tr(H) lr^2/8, for beta2 = 0.9, which forgets what was before."""
    steps, number = setting.pick(tiny=400, quick=5000, full=50_000), setting.pick(tiny=6, quick=12, full=40)
    found = {}
    for kind, rotation in _KINDS:
        problem = BlockQuadratic.generate(heterogeneity=10, rotation=rotation, problems=number, seed=setting.seed)
        trace = sum(values.sum(axis=(1, 2)) for values in problem.eigenvalues.values())
        for beta1 in (0.0, 0.9):
            run = simulate(
                problem, "adam", lr=value, beta1=beta1, beta2=0.9, eps=0.0, steps=steps, record=max(1, steps // 10_000)
            )
            top = run.gap[:, 0, run.steps >= 0.5 * steps].max(axis=1)
            found[f"{kind} blocks, β₁ = {beta1:g}"] = top / (trace * value**2 / 8)
    return found


def _of_cycle_law(x: NDArray[np.float64], curve: str) -> NDArray[np.float64]:
    """The gap of the period-2 cycle over tr(H) lr^2/8: ((1 - beta1)/(1 + beta1))^2."""
    beta1 = 0.9 if curve.endswith("0.9") else 0.0
    return np.full_like(x, ((1 - beta1) / (1 + beta1)) ** 2)


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


def _at_rotation(value: float, setting: Setting) -> dict[str, NDArray[np.float64]]:
    """Condition number after over before, blocks of 32."""
    found: dict[str, NDArray[np.float64]] = {}
    for kappa in _KAPPAS:
        problem = BlockQuadratic.generate(
            blocks=1,
            block_size=_SIZES[-1],
            heterogeneity=1,
            condition_number=kappa,
            rotation=value,
            problems=setting.pick(tiny=6, quick=20, full=60),
            seed=setting.seed,
        )
        hessian, start = problem.hessian[_SIZES[-1]][:, 0], problem.initial_error[_SIZES[-1]][:, 0]
        by = {"|g₀|": np.abs(np.einsum("mij,mj->mi", hessian, start)), "diag H": np.einsum("mii->mi", hessian)}
        found |= {f"by {name}, κ = {kappa:g}": _condition(hessian, d) / kappa for name, d in by.items()}
    return found


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


_HOLM = "named smallest effects, power and Holm's correction in place of a threshold for the interval"

ADAM_QUADRATICS = (
    Claim(
        id="limit-cycle",
        claim="With beta2 < 1 and a constant learning rate Adam does not converge on a quadratic: it ends in oscillations "
        "whose gap grows like the square of the rate.",
        group=ZHANG,
        source="arXiv 2402.16788, the remark that beta2 < 1 needs a decaying rate; cycle and stability derived here",
        fidelity=("the paper has a remark and no experiment",),
        history=(
            Fixed(
                "2026-11-22", "818dba8a48f174f2", f"{PROTOTYPES}; they measured the smallest gap of the end of a run"
            ),
            Fixed("2026-11-26", "96940ba3b9966da4", "the full run of 2026-11-22", _HOLM),
        ),
        proofs=("adam-cycle",),
        conditions=(
            Condition(
                measure=_OF_CYCLE,
                null=0.01,
                effect=0.5,
                because="the cycle attracts at beta1 = 0; a gap on its way to 0 is far below a hundredth of its gap",
                level="the height of the cycle is known from the theorem",
            ),
            Condition(
                measure=_OF_RATE,
                null=10.0,
                effect=10**1.5,
                because="the square of 10 is 100, the rate itself 10: the effect is half-way on a logarithmic scale",
                level="a quotient of two rates on the same problem is a contrast itself",
            ),
        ),
        reading="The first condition takes the least of the three beta2, at the largest rate. At smaller rates and beta2 "
        "= 0.999 a run of 100,000 steps does not show the cycle of diagonal blocks: its gap comes back in bursts "
        "only (the note).",
        method="Adam with eps = 0, three constant rates, beta1 0 and 0.9, beta2 0.9, 0.99 and 0.999, on diagonal and Haar "
        "blocks; the theorem of the period-2 cycle beside.",
        experiment=_cycles,
        draw=_draw_cycles,
        caption="Largest gap over the last half of the run against the learning rate.",
        reach=Reach(
            variable="constant learning rate",
            values=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
            measure=_at_rate,
            quantity="largest gap of the last half over tr(H) lr²/8",
            null=1.0,
            null_means="the cycle at β₁ = 0",
            onset=None,
            law=Law("((1-β₁)/(1+β₁))²", _of_cycle_law, "theorem adam-cycle: the cycle of period 2"),
            caption="A flat curve is a gap that grows like the square of the rate. Beta2 = 0.9. The cycle of the "
            "theorem is dotted at "
            "beta1 = 0, dashed at 0.9.",
        ),
    ),
    Claim(
        id="preconditioner",
        claim="Adam's diagonal preconditioner lowers the condition number less, or raises it more, the less diagonal "
        "the Hessian is.",
        group=ZHANG,
        source="arXiv 2402.16788, on the effectiveness of Adam's preconditioner (Figure 4 of Adam-mini, arXiv 2406.16793)",
        fidelity=(
            "random matrices with a geometric spectrum; the sizes and condition numbers of the paper are not all known",
        ),
        history=(
            Fixed("2026-11-22", "fde6e8d9046008dc", PROTOTYPES),
            Fixed("2026-11-26", "745d6de22ff00bbe", "the full run of 2026-11-22", _HOLM),
        ),
        conditions=tuple(
            Condition(
                measure=f"log of Haar over diagonal, by {name}, kappa {kappa:g}",
                null=0.0,
                effect=float(np.log(1.5)),
                scale="difference",
                because="a factor of 1.5 in the condition number",
                level="the diagonal block of the same seed is the control",
            )
            for name in ("|g_0|", "diag H")
            for kappa in _KAPPAS
        ),
        reading="The conditions compare the two ends, eigenvectors on the axes and Haar ones; what lies between is the "
        "figure. By |g_0|, which is Adam's first denominator, a condition number of 10 is raised even on the "
        "axes.",
        method="One block of 2 to 32 coordinates with a geometric spectrum, its eigenvectors from the axes to Haar, with the "
        "start of standard normal coefficients; D = diag|g_0| and, named apart, D = diag H; the quotient of the condition "
        "numbers.",
        experiment=_preconditioner,
        draw=_draw_conditions,
        caption="Median quotient of the condition numbers after and before, by rotation, size and condition number.",
        reach=Reach(
            variable="rotation of the eigenvectors (0: axes, 1: Haar)",
            values=(0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0),
            measure=_at_rotation,
            quantity="condition number after over before",
            null=1.0,
            null_means="no change",
            onset=1.0,
            side="below",
            log="y",
            caption="Blocks of 32. Below 1 the preconditioner lowers the condition number, above 1 it raises it.",
        ),
    ),
)
