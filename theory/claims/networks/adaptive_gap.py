"""Claims on the gap between gradient descent and Adam in networks: what predicts it, and in which networks it is large."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from quadsim.simulator.figures.table_figures import dots_figure, points_figure
from quadsim.simulator.models import MLP, Conv, Mixer, Model, TokenMap, ToyProblem, Transformer
from quadsim.simulator.support.statistics import quantile
from quadsim.theory.claims.judging import ZHANG, Claim, Condition, Fixed, Found, Setting, measured_median
from quadsim.theory.claims.networks.racing import JS0_NOT_VALID, RACE, gaps, js0, race, race_notes

__all__ = ["ADAPTIVE_GAP"]

_COUNTS = 1.5
_ZERO = "a rank correlation has a zero of its own"
_CONTRAST = "a quotient of two models, or of two rules, on the same seed is a contrast itself"
_NOISE = "the project's threshold: a factor below 1.5 is noise at this size"


def _models(width: int, layers: int, norm: str) -> dict[str, Model]:
    """Return the four models, with the same width, number of layers and norm."""
    kinds = {"Transformer": Transformer, "convolution": Conv, "MLP": MLP, "Mixer": Mixer}
    return {name: kind(width=width, layers=layers, norm=norm) for name, kind in kinds.items()}


# JS0 against the gap.

_ALL, _WITHIN = "rank correlation of JS0 with the gap over all", "the same within Transformers"


def _predicts(setting: Setting) -> Found:
    seeds = setting.pick(tiny=2, quick=12, full=40)
    width, vocabulary = setting.pick(tiny=(4, 6), quick=(8, 16), full=(8, 16))
    layers, steps = setting.pick(tiny=1, quick=1, full=2), setting.pick(tiny=10, quick=300, full=1000)
    dials: dict[str, tuple[float, ...]] = setting.pick(
        tiny={"frequency": (1.0, 30.0)},
        quick={"frequency": (1.0, 100.0), "init-scale": (0.5,)},
        full={"frequency": (1.0, 100.0), "init-scale": (0.5, 1.5), "reparametrisation": (30.0,)},
    )
    problems = {
        f"{name}, norm {norm}, {dial}": ToyProblem.generate(
            model, TokenMap(vocabulary), dial=dial, heterogeneity=values, problems=seeds, seed=setting.seed
        )
        for norm in ("none", "pre")
        for name, model in _models(width, layers, norm).items()
        for dial, values in dials.items()
    }
    runs = race(problems, steps=steps, density=setting.pick(tiny=1, quick=3, full=4))
    starts = pd.concat(
        pd.DataFrame({"configuration": name, "heterogeneity": p.heterogeneity, "index": p.index, "JS0": js0(p)})
        for name, p in problems.items()
    )
    table = gaps(runs).merge(starts, on=["configuration", "heterogeneity", "index"], validate="one_to_one")
    table["model"] = table["configuration"].str.partition(",")[0]
    return Found(
        [
            measured_median(_ALL, [_rank_correlation(same) for _, same in table.groupby("index")]),
            measured_median(
                _WITHIN,
                [_rank_correlation(same) for _, same in table[table["model"] == "Transformer"].groupby("index")],
            ),
            measured_median("GD's steps over Adam's, over all", _medians(table)),
        ],
        {"points": table, "runs": runs},
        race_notes(runs),
    )


def _rank_correlation(points: pd.DataFrame) -> float:
    """Return Spearman's rank correlation, with `inf` as the largest value; 0 if one of the two is constant."""
    ranks = [stats.rankdata(points[name]) for name in ("JS0", "gap")]
    if min(np.ptp(rank) for rank in ranks) == 0:
        return 0.0
    return float(stats.spearmanr(*ranks).statistic)


def _medians(table: pd.DataFrame) -> list[float]:
    """Return the median of the gap over all configurations, one number per seed."""
    return [float(quantile(same["gap"], 0.5)) for _, same in table.groupby("index")]


def _draw_predicts(tables: Mapping[str, pd.DataFrame]) -> Figure:
    table = tables["points"]
    finite = table[np.isfinite(table["gap"]) & (table["gap"] > 0)]
    return points_figure(
        finite,
        x="JS0",
        y="gap",
        by="model",
        xlabel="JS0 at the start",
        ylabel="steps of GD over steps of Adam",
        title="Gap between GD and Adam against JS0: models, norms and dials, a point per seed",
        log="y",
    )


# The Mixer.

_MIXER_NORMS = ("none", "pre")


def _mixer(setting: Setting) -> Found:
    seeds = setting.pick(tiny=2, quick=12, full=40)
    width, vocabulary = setting.pick(tiny=(4, 6), quick=(8, 16), full=(12, 32))
    layers, steps = setting.pick(tiny=1, quick=2, full=2), setting.pick(tiny=10, quick=300, full=1000)
    problems = {
        f"{name}, norm {norm}": ToyProblem.generate(model, TokenMap(vocabulary), problems=seeds, seed=setting.seed)
        for norm in _MIXER_NORMS
        for name, model in _models(width, layers, norm).items()
        if name != "Transformer"
    }
    rules = ("gd", "heavy-ball", "adam")
    runs = race(problems, rules, steps=steps, density=setting.pick(tiny=1, quick=3, full=4))
    starts = pd.concat(
        pd.DataFrame({"configuration": name, "index": p.index, "JS0": js0(p)}) for name, p in problems.items()
    )
    wide = starts.pivot(index="index", columns="configuration", values="JS0")
    measured = []
    table = []
    for norm in _MIXER_NORMS:
        for other in ("convolution", "MLP"):
            measured.append(
                measured_median(_more_than(other, norm), wide[f"Mixer, norm {norm}"] / wide[f"{other}, norm {norm}"])
            )
    for slow, text in (("gd", "GD"), ("heavy-ball", "GD with momentum")):
        found = gaps(runs, slow)
        table.append(found.assign(slow=text))
        for name, same in found.groupby("configuration", sort=False):
            measured.append(measured_median(_slower(text, str(name)), same["gap"]))
    return Found(measured, {"gaps": pd.concat(table, ignore_index=True), "js0": starts, "runs": runs}, race_notes(runs))


def _more_than(other: str, norm: str) -> str:
    return f"JS0 of the Mixer over that of the {other}, norm {norm}"


def _slower(slow: str, configuration: str) -> str:
    return f"steps of {slow} over Adam's, {configuration}"


def _draw_mixer(tables: Mapping[str, pd.DataFrame]) -> Figure:
    return dots_figure(
        tables["gaps"].assign(slow=tables["gaps"]["slow"] + " over Adam"),
        x="configuration",
        y="gap",
        by="slow",
        ylabel="steps over Adam's",
        title="How many times the steps of Adam gradient descent needs, classes equally frequent",
        log=True,
        reference=1.0,
    )


_FIRST = "runs of a few seeds of prototypes"
_HOLM = (
    "named smallest effects, power and Holm's correction; rates chosen on half of the seeds and judged on the others"
)

ADAPTIVE_GAP = (
    Claim(
        id="js0-predicts-gap",
        claim="JS0, the mean distance between the spectra of the Hessian's blocks at the start, predicts how far "
        "gradient descent "
        "falls behind Adam.",
        group=ZHANG,
        source="arXiv 2402.16788, the gap between SGD and Adam against JS0, in the form tried here",
        fidelity=("gradient descent without momentum in place of SGD with it", "four models of width 8 on one task"),
        history=(
            Fixed("2026-11-22", "52bd0899d681a478", _FIRST),
            Fixed("2026-11-26", "28e36b8baf5a4a9f", "the full run of 2026-11-22", _HOLM),
        ),
        unjudged=JS0_NOT_VALID,
        instruments=(
            "js0",
            "rank-correlation",
        ),
        conditions=(
            Condition(measure=_ALL, null=0.0, effect=0.3, scale="difference", because="prediction", level=_ZERO),
            Condition(
                measure=_WITHIN,
                null=0.0,
                effect=0.3,
                scale="difference",
                because="that it does not only tell models apart",
                level=_ZERO,
            ),
        ),
        method="Spearman's correlation, seed by seed, of JS0 (exact spectra by module, base 2, 100 bins of equal "
        "width, eigenvalues as "
        "they are) with the steps of GD over those of Adam; over Transformer, convolution, MLP and Mixer of "
        "equal width and depth on "
        "the token map, without norm and with pre-norm, and values of the dials frequency and init-scale (full: "
        "reparametrisation too). " + RACE,
        experiment=_predicts,
        draw=_draw_predicts,
        caption="Steps of GD over steps of Adam against JS0 at the start, a point per configuration and seed; where "
        "GD did not arrive there is none, though it counts as the largest.",
    ),
    Claim(
        id="mlp-mixer",
        claim="An MLP-Mixer has heterogeneous blocks too, more than a convolution network or an MLP, and Adam beats gradient "
        "descent on it.",
        group=ZHANG,
        source="arXiv 2402.16788, the experiment on MLP-Mixer, in the form tried here",
        fidelity=("a Mixer of width 12 on a token map in place of images",),
        history=(
            Fixed("2026-11-22", "ca955819891b1c92", _FIRST),
            Fixed("2026-11-26", "4238f9aa56b95419", "the full run of 2026-11-22", _HOLM),
        ),
        unjudged=JS0_NOT_VALID,
        instruments=("js0",),
        conditions=(
            *(
                Condition(measure=_more_than(other, norm), null=1.0, effect=_COUNTS, because=_NOISE, level=_CONTRAST)
                for norm in _MIXER_NORMS
                for other in ("convolution", "MLP")
            ),
            *(
                Condition(
                    measure=_slower(slow, f"Mixer, norm {norm}"),
                    control=_slower(slow, f"{other}, norm {norm}"),
                    null=1.0,
                    effect=_COUNTS,
                    because=_NOISE,
                )
                for norm in _MIXER_NORMS
                for slow in ("GD", "GD with momentum")
                for other in ("convolution", "MLP")
            ),
        ),
        method="JS0 as in js0-models, and a race between GD, GD with momentum 0.9 and Adam, for Mixer, "
        "convolution and MLP of equal "
        "width, depth (2) and norm on the token map with equally frequent classes. " + RACE,
        experiment=_mixer,
        draw=_draw_mixer,
        caption="Steps of GD and of GD with momentum over those of Adam, a dot per seed, bars at medians; at the top "
        "what did not arrive. Dotted: as fast.",
    ),
)
