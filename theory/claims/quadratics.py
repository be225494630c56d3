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


def _four_cases(setting: Setting) -> Found:
    config = SweepConfig(
        case=_CASES,
        optimizers=("gd", *_ADAMS),
        steps=setting.pick(tiny=300, quick=20_000, full=100_000),
        seeds=setting.pick(tiny=6, quick=16, full=100),
        seed=setting.seed,
    )
    steps, table = _steps(config, "case")
    measured = [
        _ratio(f"GD over {adam} on {case}", steps[case, "gd"], steps[case, adam]) for case in _CASES for adam in _ADAMS
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


def _rotation(setting: Setting) -> Found:
    config = SweepConfig(
        heterogeneity=(100.0,),
        rotation=_ROTATIONS,
        condition_number=(100.0,),
        optimizers=("gd", "signsgd", *_ADAMS),
        steps=setting.pick(tiny=300, quick=20_000, full=20_000),
        tolerance=_WITHIN_REACH,
        seeds=setting.pick(tiny=6, quick=20, full=200),
        seed=setting.seed,
    )
    steps, table = _steps(config, "rotation")
    differing = sum(np.sum(steps[s, "gd"] != steps[0.0, "gd"]) for s in _ROTATIONS)
    return Found(
        [
            Measured("runs of GD whose steps differ between rotations", float(differing)),
            _ratio("SignSGD on Haar blocks over diagonal ones", steps[1.0, "signsgd"], steps[0.0, "signsgd"]),
            *(
                _ratio(f"{adam} on Haar blocks over diagonal ones", steps[1.0, adam], steps[0.0, adam])
                for adam in _ADAMS
            ),
        ],
        {"steps": table},
    )


def _draw_rotation(tables: Mapping[str, pd.DataFrame]) -> Figure:
    return lines_figure(
        tables["steps"],
        x="rotation",
        y="steps",
        by="optimizer",
        xlabel="rotation of the eigenvectors (0: axes, 1: Haar)",
        ylabel="steps until gap ≤ 1e-3 of the initial gap",
        title="Rotation inside the blocks: GD cannot see it",
        log="y",
    )


_ALIGNMENTS = (-1.0, 0.0, 1.0)


def _opposed(setting: Setting) -> Found:
    config = SweepConfig(
        heterogeneity=(100.0,),
        gradient_heterogeneity=(10.0,),
        alignment=_ALIGNMENTS,
        optimizers=("gd", "signsgd", "adam"),
        steps=setting.pick(tiny=300, quick=20_000, full=20_000),
        tolerance=_WITHIN_REACH,
        seeds=setting.pick(tiny=6, quick=20, full=200),
        seed=setting.seed,
    )
    steps, table = _steps(config, "alignment")
    measured = []
    for name, optimizer in (("SignSGD", "signsgd"), ("Adam", "adam")):
        measured += [
            _ratio(f"GD over {name} at alignment {a:g}", steps[a, "gd"], steps[a, optimizer]) for a in _ALIGNMENTS
        ]
        aligned = steps[1.0, "gd"] / steps[1.0, optimizer]
        opposed = steps[-1.0, "gd"] / steps[-1.0, optimizer]
        measured.append(_ratio(f"advantage of {name} over GD at alignment 1 over that at -1", aligned, opposed))
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
                f"GD over {adam} on {case}",
                ">=" if case in _CASES[:2] else "<=",
                NOISE,
                "factors below 1.5 count as noise in this project",
            )
            for case in _CASES
            for adam in _ADAMS
        ),
        method="Steps until the gap is 1e-6 of the first, at the best constant rate of each rule over all seeds; Adam with and "
        "without momentum; median over seeds of the quotient of steps on the same problem.",
        experiment=_four_cases,
        draw=_draw_cases,
        caption="Steps of GD and Adam on the four cases.",
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
            Condition(
                "runs of GD whose steps differ between rotations",
                "<=",
                0,
                "GD's gap depends on eigenvalues and coefficients alone",
            ),
            Condition(
                "SignSGD on Haar blocks over diagonal ones",
                ">=",
                NOISE,
                "factors below 1.5 count as noise in this project",
            ),
            *(
                Condition(
                    f"{adam} on Haar blocks over diagonal ones",
                    ">=",
                    NOISE,
                    "factors below 1.5 count as noise in this project",
                )
                for adam in _ADAMS
            ),
        ),
        method="Heterogeneity 100, blocks of condition number 100, eigenvectors from the axes to Haar; best constant rates; "
        "steps until 1e-3 of the first gap, which sign steps of constant length reach.",
        experiment=_rotation,
        draw=_draw_rotation,
        caption="Steps of GD, SignSGD and Adam against the rotation of the eigenvectors.",
    ),
    Claim(
        id="opposed",
        claim="Where large gradients sit on soft blocks, the weighted curvatures favour gradient descent, and the advantage "
        "of sign-based and adaptive methods shrinks.",
        group=BEYOND,
        source="where the dials of the two papers oppose each other",
        anywhere=True,
        conditions=tuple(
            Condition(f"advantage of {name} over GD at alignment 1 over that at -1", ">=", 1, "1 is no change")
            for name in ("SignSGD", "Adam")
        ),
        method="Heterogeneity 100 with gradient heterogeneity 10 at alignments -1, 0 and 1; best constant rates; steps until "
        "1e-3 of the first gap; quotient of quotients of steps for each seed.",
        experiment=_opposed,
        draw=_draw_opposed,
        caption="Steps of GD, SignSGD and Adam against the alignment of gradients and curvature.",
    ),
)
