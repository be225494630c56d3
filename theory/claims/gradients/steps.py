"""Claims about the sign step: how close Adam's step is to it, and how its best rate depends on the number of parameters."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quadsim.simulator.curvature.along_training import measure
from quadsim.simulator.engines import simulate
from quadsim.simulator.figures.table_figures import lines_figure, ticks_at
from quadsim.simulator.models import Text, TokenMap, ToyProblem
from quadsim.simulator.problems import heterogeneity as het
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.support.statistics import quantile
from quadsim.simulator.training.loop import train
from quadsim.theory.claims.judging import (
    TOMIHARI,
    Claim,
    Condition,
    Fixed,
    Found,
    Law,
    Reach,
    Setting,
    measured_median,
    tried,
)

__all__ = ["STEPS"]

Array = NDArray[np.float64]

_LOOKS = (1, 2, 5, 10, 20, 50, 100)
_ADAM_RATES = 10.0 ** np.arange(-3, 0.01, 0.25)


def _soft_sign(setting: Setting) -> Found:
    number = setting.pick(tiny=6, quick=8, full=20)
    looks = [t for t in _LOOKS if t <= setting.pick(tiny=5, quick=100, full=100)]
    rates = _ADAM_RATES[:: setting.pick(tiny=6, quick=2, full=1)]
    text = Text(sequences=64, batch=32)
    frames, notes = [], []
    for name, task in {"token-map": TokenMap(), "text-char": text}.items():
        toys = ToyProblem.generate("transformer", task, problems=number, seed=setting.seed)
        found = train(toys, "adam", lr=rates, steps=looks[-1], stop=False, record=looks[-1])
        lr, note = _best_rate(name, rates, found.final_loss)
        run = train(toys, "adam", lr=lr, steps=looks[-1], snapshots=looks)
        forgetful = train(toys, "adam", lr=lr, steps=looks[-1], snapshots=looks, beta1=0.0)
        assert run.snapshots is not None
        gradients = run.snapshots.gradient[:, 0]
        adam, without = (measure(r, curvature=False)["step_sign_cosine"].values[:, 0] for r in (run, forgetful))
        frames.append(_cosines(f"Transformer, {name}", looks, adam, het.sign_cosine(-gradients, gradients), without))
        notes.append(note)
    quadratics = BlockQuadratic.generate(heterogeneity=100, problems=number, seed=setting.seed)
    norms = ("gradient_norm", "gradient_norm_1", "step_sign_cosine")
    on_grid = simulate(quadratics, "adam", lr=rates, steps=looks[-1] + 1, observe=norms)
    lr, note = _best_rate("quadratics", rates, on_grid.gap[:, :, looks[-1]])
    best = int(np.flatnonzero(rates == lr)[0])
    two, one, adam = (on_grid.observed[name][:, best, looks] for name in norms)
    forgetful_run = simulate(quadratics, "adam", lr=lr, steps=looks[-1] + 1, observe=norms[-1:], beta1=0.0)
    without = forgetful_run.observed[norms[-1]][:, 0, looks]
    frames.append(_cosines("quadratics", looks, adam, one / (two * np.sqrt(quadratics.dimension)), without))
    cosines = pd.concat(frames, ignore_index=True)
    measured = []
    for problem, part in cosines.groupby("problem", sort=False):
        wide = part.pivot_table(index="seed", columns="step", values=["adam", "gd", "without"])
        middle = quantile(wide["adam"].to_numpy(), 0.5)
        measured.append(measured_median(_cosine("Adam", str(problem)), middle))
        measured.append(measured_median(_cosine("GD", str(problem)), quantile(wide["gd"].to_numpy(), 0.5)))
        without = quantile(wide["without"].to_numpy(), 0.5)
        measured.append(measured_median(f"cosine without momentum (beta1 = 0), {problem}", without))
    return Found(
        measured,
        {"cosines": cosines},
        [*notes, "The first step, which is the sign step exactly, is left out."],
        (tried("adam-is-sign", setting.pick(tiny=20, quick=300, full=5000), setting.seed),),
    )


def _cosine(rule: str, problem: str) -> str:
    return f"cosine of {rule}'s step with the sign step, {problem}"


def _best_rate(where: str, rates: Array, losses: Array) -> tuple[float, str]:
    """Return the learning rate with the smallest median final loss, and a remark that names it."""
    middle = quantile(np.where(np.isnan(losses), np.inf, losses), 0.5, axis=0)
    best = int(np.argmin(middle))
    edge = ", at the edge of the grid" if best in (0, rates.size - 1) else ""
    return float(rates[best]), f"Adam's learning rate on {where}: {rates[best]:.3g}{edge}."


def _cosines(problem: str, steps: list[int], adam: Array, gd: Array, without: Array) -> pd.DataFrame:
    seeds = adam.shape[0]
    return pd.DataFrame({
        "problem": problem,
        "seed": np.repeat(np.arange(seeds), len(steps)),
        "step": np.tile(steps, seeds),
        "adam": adam.ravel(),
        "gd": gd.ravel(),
        "without": without.ravel(),
    })


def _draw_soft(tables: Mapping[str, pd.DataFrame]) -> Figure:
    frame = tables["cosines"].rename(
        columns={"adam": "Adam", "gd": "GD, at Adam's points", "without": "Adam with β₁ = 0"}
    )
    figure = lines_figure(
        frame.melt(["problem", "seed", "step"], var_name="rule", value_name="cosine"),
        x="step",
        y="cosine",
        by="rule",
        panel="problem",
        xlabel="step",
        ylabel="cosine with the sign step",
        title="How near a step is to the sign step (dotted: 45 degrees); median, 10% to 90%",
        log="x",
        reference=float(np.sqrt(0.5)),
    )
    return ticks_at(figure, frame["step"])


_SCALES = (1.0, 10 ** (1 / 3), 10 ** (2 / 3), 10.0)
_T = 100
_SIGN_RATES = 10.0 ** np.arange(-4, 0.01, 1 / 24)
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
    measured = []
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
    edge = best["lr"].isin([_SIGN_RATES[0], _SIGN_RATES[-1]]).sum()
    if edge:
        notes.append(f"{edge} of {len(best)} best rates lie at the edge of the grid.")
    proof = tried("sign-constant", setting.pick(tiny=20, quick=300, full=5000), setting.seed)
    return Found(measured, {"best": best}, notes, (proof,))


def _best_rate_at(value: float, setting: Setting) -> dict[str, Array]:
    """Best rate at unit gap over the median one at 16 parameters, so that the law is a number."""
    number = setting.pick(tiny=6, quick=6, full=40)
    found = {}
    for growing in _GROWING:
        problems = [_with_unit_gap(_problem(p, growing, number, setting.seed)) for p in (16, int(value))]
        at_16, rates = (_best_rates(problem)["lr"].to_numpy() for problem in problems)
        found[growing] = rates / quantile(at_16, 0.5)
    return found


def _problem(dimension: int, growing: str, number: int, seed: int) -> BlockQuadratic:
    """Return problems with four scales of L_l from 1 to 10 and block condition number 10; Lambda_P does not depend on P."""
    size = dimension // len(_SCALES) if growing == _GROWING[0] else 4
    spectra = [scale * np.geomspace(0.1, 1.0, size) for scale in _SCALES for _ in range(dimension // (4 * size))]
    return BlockQuadratic.from_spectra(spectra, problems=number, seed=seed)


def _with_unit_gap(problem: BlockQuadratic) -> BlockQuadratic:
    """Return the same problems with the starts scaled so that the gap is 1."""
    (hessian,) = problem.hessian.values()
    start = problem.layout.flatten(problem.initial_error) / np.sqrt(problem.initial_gap)[:, None]
    return BlockQuadratic.from_blocks([hessian[:, b] for b in range(hessian.shape[1])], initial_error=start)


def _best_rates(problem: BlockQuadratic) -> pd.DataFrame:
    """Return, for every problem, the rate with the smallest min_{t<T} |g_t|_1, and the rate that minimises its bound."""
    run = simulate(problem, "signsgd", lr=_SIGN_RATES, steps=_T, observe=["gradient_norm_1"])
    least = run.observed["gradient_norm_1"][:, :, :_T].min(axis=2)
    weighted = (problem.block_smoothness * np.array(problem.block_sizes)).sum(axis=1) / problem.dimension
    return pd.DataFrame({
        "seed": np.arange(problem.problems),
        "lr": _SIGN_RATES[least.argmin(axis=1)],
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
_FIRST = "runs of a few seeds of prototypes"
_HOLM = "named smallest effects, power, Holm's correction and contrasts with the control in place of thresholds"

STEPS = (
    Claim(
        id="soft-sign",
        claim="Adam's step is a soft sign: without its memory it is the sign step, and along training it stays near to it.",
        group=TOMIHARI,
        source="arXiv 2502.00213, in the form tried here",
        fidelity=(
            "held against the sign of the current gradient, of which Signum's own step is far too; not against the sign of the "
            "momentum",
            "a default Transformer of two layers, and quadratics",
        ),
        history=(
            Fixed("2026-11-22", "53bc244774e43719", _FIRST),
            Fixed("2026-11-26", "94727b6560e97575", "the full run of 2026-11-22", _HOLM),
        ),
        proofs=("adam-is-sign",),
        conditions=tuple(
            Condition(
                measure=_cosine("Adam", problem),
                control=_cosine("GD", problem),
                null=0.0,
                effect=0.1,
                scale="difference",
                because="a tenth of the largest cosine",
            )
            for problem in ("Transformer, token-map", "Transformer, text-char", "quadratics")
        ),
        method="The theorem adam-is-sign is held against random problems. Then Adam with its defaults on the default Transformer "
        "(token-map with all data, text-char with mini-batches of 32) and on quadratics of heterogeneity 100: for every seed the "
        f"median over the steps {', '.join(map(str, _LOOKS))}, at the rate of a grid from 0.001 to 1 with the smallest median "
        "loss at the end. Beside: Adam with beta1 = 0 at that rate. The gradient is the one that Adam sees.",
        experiment=_soft_sign,
        draw=_draw_soft,
        caption="Cosine with the sign step of Adam's step and of the gradient step at the same points.",
    ),
    Claim(
        id="sign-rate-dimension",
        claim="SignSGD's best constant rate falls like P^(-1/2) with the number of parameters P, at fixed gap_0, T and Lambda_P.",
        group=TOMIHARI,
        source="arXiv 2502.00213, in the form derived here for quadratics",
        fidelity=("quadratics in place of networks",),
        history=(
            Fixed("2026-11-22", "82bd5c12d13d8a07", _FIRST),
            Fixed("2026-11-26", "0f23aa646f961735", "the full run of 2026-11-22", _HOLM),
        ),
        proofs=("sign-constant",),
        conditions=tuple(
            Condition(
                measure=f"exponent of the best rate in P, {_STARTS[0]}, {growing}",
                null=null,
                effect=-0.5,
                scale="difference",
                because=_NEARER.format(other),
                level="the exponents of no dependence (0) and of the full one (-1) are known",
            )
            for growing in _GROWING
            for null, other in ((-0.25, "0, no dependence"), (-0.75, -1))
        ),
        method=f"Best of 97 rates from 0.0001 to 1 by min |g_t|_1 over t < {_T}, with hindsight for every problem. Four scales "
        "of L_l from 1 to 10 with Haar blocks of condition number 10, so that Lambda_P is fixed; P grows through "
        "larger blocks (four of them) or more blocks of four. The start of theory section 1 scaled to gap_0 = 1; "
        "beside it unscaled, where gap_0 grows like P and hides the effect.",
        experiment=_dimension,
        draw=_draw_dimension,
        caption="Best constant rate of SignSGD against the number of parameters, with the rate that minimises the bound.",
        reach=Reach(
            variable="number of parameters P",
            values=(16.0, 32.0, 64.0, 128.0, 256.0),
            measure=_best_rate_at,
            quantity="best rate over the median one at P = 16",
            null=1.0,
            onset=0.5,
            law=Law(
                "(P/16)^(-1/2)", lambda x, curve: (x / 16) ** -0.5, "the rate that minimises the bound sign-constant"
            ),
            caption="The best constant rate of SignSGD at unit gap, with P growing by larger blocks or by more of them.",
        ),
    ),
)
