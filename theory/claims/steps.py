"""Claims about the sign step itself: how its best constant rate depends on the number of parameters."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from quadsim.simulator.engines import simulate
from quadsim.simulator.quadratic import BlockQuadratic
from quadsim.theory.claims.bounds import TOMIHARI, proved, tried
from quadsim.theory.claims.claim import Claim, Condition, Found, Setting, measured_median
from quadsim.theory.claims.drawing import lines_figure, ticks_at

__all__ = ["STEPS"]

_SCALES = (1.0, 10 ** (1 / 3), 10 ** (2 / 3), 10.0)
_T = 100
_RATES = 10.0 ** np.arange(-4, 0.01, 1 / 24)
_GROWING = ("larger blocks", "more blocks")
_STARTS = ("gap_0 = 1", "drawn start")


def _dimension(setting: Setting) -> Found:
    dimensions = setting.pick(tiny=(16, 64), quick=(16, 64, 256), full=(16, 64, 256, 1024))
    number = setting.pick(tiny=6, quick=12, full=20)
    frames = []
    for growing in _GROWING:
        for dimension in dimensions:
            problem = _problem(dimension, growing, number, setting.seed)
            for start, same in zip(_STARTS, (_with_unit_gap(problem), problem), strict=True):
                frames.append(_best_rates(same).assign(growing=growing, start=start, dimension=dimension))
    best = pd.concat(frames, ignore_index=True)
    measured = list(tried("sign-constant", setting.pick(tiny=20, quick=300, full=5000), setting.seed))
    for start in _STARTS:
        for growing in _GROWING:
            part = best[(best["start"] == start) & (best["growing"] == growing)]
            wide = part.pivot_table(index="seed", columns="dimension", values="lr").to_numpy()
            slopes = np.polyfit(np.log(dimensions), np.log(wide).T, 1)[0]
            measured.append(measured_median(f"exponent of the best rate in P, {start}, {growing}", slopes))
        part = best[(best["start"] == start) & (best["growing"] == _GROWING[0])]
        for number_of, rates in part.groupby("dimension")["lr"]:
            measured.append(measured_median(f"best rate, {start}, {_GROWING[0]}, P = {number_of}", rates))
    share = (best["bound_lr"] / best["lr"])[best["start"] == _STARTS[0]]
    measured.append(
        measured_median("rate that minimises the bound over the best one", share.groupby(best["seed"]).median())
    )
    notes = []
    edge = best["lr"].isin([_RATES[0], _RATES[-1]]).sum()
    if edge:
        notes.append(f"{edge} of {len(best)} best rates lie at the edge of the grid.")
    return Found(measured, {"best": best}, notes)


def _problem(dimension: int, growing: str, number: int, seed: int) -> BlockQuadratic:
    """Four scales of L_l from 1 to 10, condition number 10 in every block: Lambda_P is their mean whatever P is."""
    size = dimension // len(_SCALES) if growing == _GROWING[0] else 4
    spectra = [scale * np.geomspace(0.1, 1.0, size) for scale in _SCALES for _ in range(dimension // (4 * size))]
    return BlockQuadratic.from_spectra(spectra, problems=number, seed=seed)


def _with_unit_gap(problem: BlockQuadratic) -> BlockQuadratic:
    """The same from a start on the same ray with the gap 1."""
    (hessian,) = problem.hessian.values()
    start = problem.layout.flatten(problem.initial_error) / np.sqrt(problem.initial_gap)[:, None]
    return BlockQuadratic.from_blocks([hessian[:, b] for b in range(hessian.shape[1])], initial_error=start)


def _best_rates(problem: BlockQuadratic) -> pd.DataFrame:
    """Of every problem the rate with the smallest min_{t<T} |g_t|_1, and the one that minimises the bound on it."""
    run = simulate(problem, "signsgd", lr=_RATES, steps=_T, observe=["gradient_norm_1"])
    least = run.observed["gradient_norm_1"][:, :, :_T].min(axis=2)
    weighted = (problem.block_smoothness * np.array(problem.block_sizes)).sum(axis=1) / problem.dimension
    return pd.DataFrame({
        "seed": np.arange(problem.problems),
        "lr": _RATES[least.argmin(axis=1)],
        "least": least.min(axis=1),
        "Lambda_P": weighted,
        "bound_lr": np.sqrt(2 * problem.initial_gap / (_T * problem.dimension * weighted)),
    })


def _draw_dimension(tables: Mapping[str, pd.DataFrame]) -> Figure:
    frame = tables["best"]
    bound = frame.assign(growing="rate of the bound", lr=frame["bound_lr"])
    figure = lines_figure(
        pd.concat([frame, bound[bound.duplicated(["start", "dimension", "seed"])]]),
        x="dimension",
        y="lr",
        by="growing",
        panel="start",
        xlabel="parameters P",
        ylabel="learning rate",
        title=f"SignSGD's best constant rate for min |g|₁ over {_T} steps; median, 10% to 90%",
    )
    return ticks_at(figure, frame["dimension"])


_NEARER = "nearer to -1/2 than to {}"

STEPS = (
    Claim(
        id="sign-rate-dimension",
        claim="SignSGD's best constant rate falls like P^(-1/2) with the number of parameters P, at fixed gap_0, T and Lambda_P.",
        group=TOMIHARI,
        source="arXiv 2502.00213, in the form derived here for quadratics",
        anywhere=True,
        conditions=(
            *proved("sign-constant"),
            *(
                condition
                for growing in _GROWING
                for name in (f"exponent of the best rate in P, {_STARTS[0]}, {growing}",)
                for condition in (
                    Condition(name, "<=", -0.25, _NEARER.format("0, no dependence")),
                    Condition(name, ">=", -0.75, _NEARER.format(-1)),
                )
            ),
        ),
        method=f"Best of 97 rates from 0.0001 to 1 by min |g_t|_1 over t < {_T}, with hindsight for every problem. Four scales "
        "of L_l from 1 to 10 with Haar blocks of condition number 10, so that Lambda_P is fixed; P grows through "
        "larger blocks (four of them) or more blocks of four. The start of theory section 1 scaled to gap_0 = 1; "
        "beside it unscaled, where gap_0 grows like P and hides the effect.",
        experiment=_dimension,
        draw=_draw_dimension,
        caption="Best constant rate of SignSGD against the number of parameters, with the rate that minimises the bound.",
    ),
)
