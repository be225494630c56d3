"""Claims about speed on quadratics: the cases, the same eigenvalues rearranged, rotation, and dials against each other."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quadsim.simulator.engines import simulate
from quadsim.simulator.figures.table_figures import lines_figure, points_figure
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.sweeps.config.quadratics import SweepConfig
from quadsim.simulator.sweeps.run.driver import sweep
from quadsim.theory.claims.bounds import TOMIHARI, ZHANG, proved, tried
from quadsim.theory.claims.claim import Claim, Condition, Found, Measured, Setting, measured_median

__all__ = ["BEYOND", "NOISE", "QUADRATICS"]

BEYOND = "Beyond the papers"
NOISE = 1.5
"""Smallest ratio of two step counts that counts as a difference; smaller ones are noise (prototype runs of a few seeds)."""

_WITHIN_REACH = 1e-3
"""A tolerance that sign steps of constant length can reach: below some gap they only oscillate around the minimizer."""

Steps = dict[tuple[Any, str], NDArray[np.float64]]


def _steps(config: SweepConfig, by: str) -> tuple[Steps, pd.DataFrame]:
    """Return the steps of every seed at the best rate of its optimizer and point, by (value, optimizer) and as a table."""
    results = sweep(config)
    at_best = results.summary[results.summary["best_lr"]]
    table = at_best[[by, "optimizer", "seed", "lr", "steps_to_tolerance"]].rename(
        columns={"steps_to_tolerance": "steps"}
    )
    arrays: Steps = {
        (key[0], str(key[1])): part.sort_values("seed")["steps"].to_numpy(dtype=float)
        for key, part in table.groupby([by, "optimizer"], sort=False)
    }
    return arrays, table.reset_index(drop=True)


def _ratio(name: str, numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> Measured:
    """Return the median over seeds of a quotient of steps; a seed where neither reached the target counts as 1."""
    with np.errstate(invalid="ignore"):
        quotient = numerator / denominator
    return measured_median(name, np.where(np.isnan(quotient), 1.0, quotient))


_CASES = ("heterogeneous", "transformer-like", "homogeneous", "cnn-like")
_ADAMS = ("adam:beta1=0", "adam")
_PAIRS = {"adam:beta1=0": "gd", "adam": "heavy-ball"}
"""Adam's form to its match, without momentum and with the same momentum 0.9: SGD in both papers is SGD with momentum."""


def _four_cases(setting: Setting) -> Found:
    config = SweepConfig(
        case=_CASES,
        optimizers=(*_PAIRS.values(), *_PAIRS),
        steps=setting.pick(tiny=300, quick=20_000, full=100_000),
        seeds=setting.pick(tiny=6, quick=16, full=60),
        seed=setting.seed,
    )
    steps, table = _steps(config, "case")
    measured = [
        _ratio(f"{other} over {adam} on {case}", steps[case, other], steps[case, adam])
        for case in _CASES
        for adam, other in _PAIRS.items()
    ]
    return Found(measured, {"steps": table})


def _draw_cases(tables: Mapping[str, pd.DataFrame]) -> Figure:
    table = tables["steps"].assign(position=tables["steps"]["case"].map(_CASES.index))
    figure = lines_figure(
        table,
        x="position",
        y="steps",
        by="optimizer",
        xlabel="",
        ylabel="steps until gap ≤ 1e-6 of the initial gap",
        title="Medians over seeds at each optimizer's best rate, bars from 10% to 90%",
        log="y",
        joined=False,
    )
    figure.axes[0].set_xticks(range(len(_CASES)), _CASES)
    return figure


_ARRANGED = (3.0, 30.0, 300.0)


def _rearranged(setting: Setting) -> Found:
    config = SweepConfig(
        mode=("arrange",),
        heterogeneity=_ARRANGED,
        optimizers=("gd", "adam"),
        steps=setting.pick(tiny=300, quick=30_000, full=30_000),
        seeds=setting.pick(tiny=6, quick=30, full=300),
        seed=setting.seed,
    )
    steps, table = _steps(config, "heterogeneity")
    low, high = _ARRANGED[0], _ARRANGED[-1]
    differing = sum(np.sum(steps[c, "gd"] != steps[low, "gd"]) for c in _ARRANGED)
    return Found(
        [
            Measured("runs of GD whose steps differ between arrangements", float(differing)),
            _ratio("Adam at heterogeneity 3 over 300", steps[low, "adam"], steps[high, "adam"]),
            _ratio("Adam over GD at heterogeneity 300", steps[high, "adam"], steps[high, "gd"]),
        ],
        {"steps": table},
    )


def _draw_rearranged(tables: Mapping[str, pd.DataFrame]) -> Figure:
    return lines_figure(
        tables["steps"],
        x="heterogeneity",
        y="steps",
        by="optimizer",
        xlabel="Hessian heterogeneity of the arrangement (max L / min L)",
        ylabel="steps until gap ≤ 1e-6 of the initial gap",
        title="One set of eigenvalues, dealt out to the blocks in three ways",
    )


_ROTATIONS = (0.0, 0.25, 0.5, 1.0)
_CONDITIONS = (1e2, 1e3, 1e4)
"""Condition numbers of the blocks: what decides how much a diagonal preconditioner can lose by a rotation."""
_BLIND = "runs of GD whose steps differ between rotations"


def _rotated(
    setting: Setting, condition: float, optimizers: tuple[str, ...], tolerance: float
) -> tuple[Steps, pd.DataFrame]:
    config = SweepConfig(
        heterogeneity=(100.0,),
        rotation=_ROTATIONS,
        condition_number=(condition,),
        optimizers=optimizers,
        steps=setting.pick(tiny=300, quick=20_000, full=50_000),
        tolerance=tolerance,
        seeds=setting.pick(tiny=6, quick=20, full=60),
        seed=setting.seed,
    )
    steps, table = _steps(config, "rotation")
    return steps, table.assign(condition=condition)


def _loss_of(optimizer: str, condition: float) -> str:
    return f"{optimizer} on Haar blocks over diagonal ones, block condition number {condition:g}"


def _rotation(setting: Setting) -> Found:
    measured, tables, differing = [], [], 0
    for condition in _CONDITIONS:
        steps, table = _rotated(setting, condition, ("gd", *_ADAMS), 1e-6)
        differing += sum(int(np.sum(steps[s, "gd"] != steps[0.0, "gd"])) for s in _ROTATIONS)
        measured += [_ratio(_loss_of(adam, condition), steps[1.0, adam], steps[0.0, adam]) for adam in _ADAMS]
        tables.append(table)
    steps, table = _rotated(setting, _CONDITIONS[0], ("signsgd",), _WITHIN_REACH)
    measured.append(_ratio(_loss_of("signsgd", _CONDITIONS[0]), steps[1.0, "signsgd"], steps[0.0, "signsgd"]))
    return Found(
        [Measured(_BLIND, float(differing)), *measured], {"steps": pd.concat([*tables, table], ignore_index=True)}
    )


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


_ALIGNMENTS = (-1.0, 0.0, 1.0)
_OPPOSED = {"signsgd": "gd", "adam:beta1=0": "gd", "signum": "heavy-ball", "adam": "heavy-ball"}


def _advantage(optimizer: str, other: str) -> str:
    return f"advantage of {optimizer} over {other} at alignment 1 over that at -1"


def _opposed(setting: Setting) -> Found:
    config = SweepConfig(
        heterogeneity=(100.0,),
        gradient_heterogeneity=(10.0,),
        alignment=_ALIGNMENTS,
        optimizers=tuple(dict.fromkeys(name for pair in _OPPOSED.items() for name in pair)),
        steps=setting.pick(tiny=300, quick=20_000, full=20_000),
        tolerance=_WITHIN_REACH,
        seeds=setting.pick(tiny=6, quick=20, full=200),
        seed=setting.seed,
    )
    steps, table = _steps(config, "alignment")
    measured = []
    for optimizer, other in _OPPOSED.items():
        measured += [
            _ratio(f"{other} over {optimizer} at alignment {a:g}", steps[a, other], steps[a, optimizer])
            for a in _ALIGNMENTS
        ]
        aligned = steps[1.0, other] / steps[1.0, optimizer]
        opposed = steps[-1.0, other] / steps[-1.0, optimizer]
        measured.append(_ratio(_advantage(optimizer, other), aligned, opposed))
    return Found(measured, {"steps": table})


def _draw_opposed(tables: Mapping[str, pd.DataFrame]) -> Figure:
    return lines_figure(
        tables["steps"],
        x="alignment",
        y="steps",
        by="optimizer",
        xlabel="alignment of gradient norms with curvature over blocks",
        ylabel="steps until gap ≤ 1e-3 of the initial gap",
        title="Large gradients on soft blocks (-1) or on stiff ones (1)",
        log="y",
    )


def _covariance(setting: Setting) -> Found:
    number = setting.pick(tiny=10, quick=200, full=5000)
    rows = []
    for alignment in (-1.0, -0.5, 0.0, 0.5, 1.0):
        for blocks, gamma in ((3, 3.0), (4, 10.0), (8, 100.0)):
            problem = BlockQuadratic.generate(
                blocks=blocks,
                heterogeneity=30,
                gradient_heterogeneity=gamma,
                alignment=alignment,
                problems=number,
                seed=setting.seed + blocks,
            )
            run = simulate(problem, "gd", lr=1e-300, steps=1, observe=["Lambda_G"])
            sizes = np.array(problem.block_sizes)
            rows.append(
                pd.DataFrame({
                    "alignment": alignment,
                    "blocks": blocks,
                    "gradient_heterogeneity": gamma,
                    "Lambda_G": run.observed["Lambda_G"][:, 0, 0],
                    "Lambda_P": problem.block_smoothness @ sizes / sizes.sum(),
                })
            )
    table = pd.concat(rows, ignore_index=True)
    difference = table["Lambda_G"] - table["Lambda_P"]
    wrong = ((table["alignment"] == 1) & (difference <= 0)) | ((table["alignment"] == -1) & (difference >= 0))
    between = table["alignment"] == 0
    return Found(
        [
            *tried("covariance-identity", setting.pick(tiny=20, quick=400, full=10_000), setting.seed),
            Measured("problems at alignment 1 or -1 whose difference has the other sign", float(wrong.sum())),
            Measured(
                "problems at alignment 0 with the larger Lambda_G, share", float((difference[between] > 0).mean())
            ),
        ],
        {"weighted": table},
    )


def _draw_covariance(tables: Mapping[str, pd.DataFrame]) -> Figure:
    table = tables["weighted"]
    sample = table.groupby(["alignment", "blocks"], group_keys=False).head(60)
    beside = (sample["blocks"].rank(method="dense") - 2) * 0.06
    return points_figure(
        sample.assign(
            at=sample["alignment"] + beside,
            quotient=sample["Lambda_G"] / sample["Lambda_P"],
            kind=sample["blocks"].map("{} blocks".format),
        ),
        x="at",
        y="quotient",
        by="kind",
        xlabel="alignment of gradient norms with curvature over blocks",
        ylabel="Λ_G over Λ_P at the start",
        title="Alignment ±1 fixes which weighted curvature is the larger; between them either can be",
        log="y",
        reference=(None, 1.0),
    )


QUADRATICS = (
    Claim(
        id="four-cases",
        claim="On quadratics with heterogeneous blocks Adam needs fewer steps than gradient descent; on homogeneous ones "
        "gradient descent keeps up.",
        group=ZHANG,
        source="arXiv 2402.16788, the quadratic examples (heterogeneous, homogeneous, and spectra as of a Transformer and a CNN)",
        anywhere=True,
        conditions=tuple(
            Condition(
                f"{other} over {adam} on {case}",
                ">=" if case in _CASES[:2] else "<=",
                NOISE,
                "factors below 1.5 count as noise in this project",
            )
            for case in _CASES
            for adam, other in _PAIRS.items()
        ),
        method="Steps until the gap is 1e-6 of the first, at the best constant rate of each rule over all seeds; gradient "
        "descent and Adam both without momentum, and both with momentum 0.9 (heavy ball), as SGD in the paper has it; median "
        "over seeds of the quotient of steps on the same problem.",
        experiment=_four_cases,
        draw=_draw_cases,
        caption="Steps of gradient descent and Adam, both without and both with momentum, on the four cases.",
    ),
    Claim(
        id="rearranged",
        claim="With the same eigenvalues, how they are dealt out to the blocks makes no difference to gradient descent, but Adam "
        "is faster the more the blocks differ.",
        group=ZHANG,
        source="arXiv 2402.16788, the argument that full spectra do not tell; mode `arrange` here",
        anywhere=True,
        conditions=(
            Condition(
                "runs of GD whose steps differ between arrangements",
                "<=",
                0,
                "GD's gap depends on eigenvalues and coefficients alone",
            ),
            Condition(
                "Adam at heterogeneity 3 over 300", ">=", NOISE, "factors below 1.5 count as noise in this project"
            ),
            Condition("Adam over GD at heterogeneity 300", "<=", 1 / NOISE, "the same, the other way round"),
        ),
        method="32 eigenvalues from 1/5000 to 1 in four blocks, arranged from mixed to sorted; best constant rates; 1e-6.",
        experiment=_rearranged,
        draw=_draw_rearranged,
        caption="Steps of GD and Adam on three arrangements of one spectrum.",
    ),
    Claim(
        id="covariance-identity",
        claim="Lambda_G - Lambda_P is the covariance of squared gradients and curvature over blocks, so that gradient steps "
        "have the larger bound exactly when large gradients sit on stiff blocks.",
        group=TOMIHARI,
        source="arXiv 2502.00213, gradient heterogeneity, in the form derived here",
        anywhere=True,
        conditions=(
            *proved("covariance-identity"),
            Condition(
                "problems at alignment 1 or -1 whose difference has the other sign",
                "<=",
                0,
                "Chebyshev's sum inequality: equal blocks in the same or the opposite order",
            ),
        ),
        method="The theorem on random runs; then problems at five alignments, three numbers of blocks and three gradient "
        "heterogeneities.",
        experiment=_covariance,
        draw=_draw_covariance,
        caption="The two weighted curvatures at the start, a point per problem, by alignment.",
    ),
    Claim(
        id="rotation",
        claim="Rotating the eigenvectors inside the blocks leaves gradient descent alone and takes away what sign-based "
        "and adaptive methods gain.",
        group=BEYOND,
        source="negative control",
        anywhere=True,
        conditions=(
            Condition(_BLIND, "<=", 0, "GD's gap depends on eigenvalues and coefficients alone"),
            Condition(
                _loss_of("signsgd", _CONDITIONS[0]), ">=", NOISE, "factors below 1.5 count as noise in this project"
            ),
            *(
                Condition(
                    _loss_of(adam, _CONDITIONS[-1]),
                    ">=",
                    NOISE,
                    "the same, where a diagonal preconditioner has much to lose",
                )
                for adam in _ADAMS
            ),
        ),
        method="Heterogeneity 100, blocks of condition number 100, 1,000 and 10,000, eigenvectors from the axes to Haar; best "
        "constant rates; steps until 1e-6 of the first gap for GD and Adam, with and without momentum; until 1e-3 for SignSGD at "
        "condition number 100, which sign steps of constant length reach. The condition on Adam is judged where the blocks are "
        "ill-conditioned; the numbers at 100 and 1,000 show from where on.",
        experiment=_rotation,
        draw=_draw_rotation,
        caption="Steps of GD and Adam against the rotation of the eigenvectors, for three condition numbers of the blocks.",
    ),
    Claim(
        id="opposed",
        claim="Where large gradients sit on soft blocks, the weighted curvatures favour gradient descent, and the advantage "
        "of sign-based and adaptive methods shrinks.",
        group=BEYOND,
        source="where the dials of the two papers oppose each other",
        anywhere=True,
        conditions=tuple(
            Condition(_advantage(optimizer, other), ">=", 1, "1 is no change") for optimizer, other in _OPPOSED.items()
        ),
        method="Heterogeneity 100 with gradient heterogeneity 10 at alignments -1, 0 and 1; best constant rates; steps until "
        "1e-3 of the first gap; quotient of quotients of steps for each seed.",
        experiment=_opposed,
        draw=_draw_opposed,
        caption="Steps of six optimizers, without and with momentum, against the alignment of gradients and curvature.",
    ),
)
