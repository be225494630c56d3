"""Claims on how block-diagonal the Hessian of a network is: rows of classes and neurons, and blocks between layers."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quadsim.simulator.curvature.block_spectra import whole_hessian
from quadsim.simulator.curvature.tensors import row_shares
from quadsim.simulator.figures.table_figures import dots_figure, lines_figure
from quadsim.simulator.models import MLP, Digits, Gaussians, Model, Task, TokenMap, ToyProblem
from quadsim.simulator.training.loop import train
from quadsim.theory.claims.judging import (
    BEYOND,
    ZHANG,
    Cells,
    Claim,
    Condition,
    Fixed,
    Found,
    Law,
    Reach,
    Setting,
    measured_median,
)

__all__ = ["BLOCKS", "NET", "OWN_SCALE"]

Array = NDArray[np.float64]

OWN_SCALE = "the number has a scale of its own: "
"""Begins the reason for a level of a measure that is a share or a ratio."""

_SMALL = "runs of 1 to 8 seeds of other sizes"

NET = MLP(8, 1, activation="relu", embedded=False)
"""The MLP of the claims on blocks."""

_CLASSES = (2.0, 10.0, 100.0, 300.0, 1000.0)

_HIDDEN, _OUTPUT, _BETWEEN = "within the hidden layer", "within the output layer", "between the layers"

_CE, _MSE = "cross-entropy", "squared loss"

_LOSSES = {_CE: "cross-entropy", _MSE: "mse"}

_VECTORS = 1000

_BESIDE = {"250 vectors": (250, 0), "4000 vectors": (4000, 0), "after 100 steps": (_VECTORS, 100)}
"""Number of vectors and of steps of Adam: beside the start on 1,000 vectors, at which the claim is judged."""


def _rows_at(
    classes: float, setting: Setting, vectors: int = _VECTORS, steps: int = 0, seeds: int = 24
) -> dict[str, Array]:
    """Shares of the squared entries off the row blocks, each (seeds,), by loss and part of the Hessian."""
    found: dict[str, Array] = {}
    for words, loss in _LOSSES.items():
        problem = ToyProblem.generate(
            NET,
            Gaussians(features=8, classes=int(classes), sequences=vectors),
            loss=loss,
            problems=setting.pick(tiny=1, quick=2, full=seeds),
            seed=setting.seed,
        )
        theta = problem.start
        if steps:
            run = train(problem, "adam", lr=0.01, steps=steps, stop=False, record=steps, snapshots=[steps])
            assert run.snapshots is not None
            theta = run.snapshots.theta[:, 0, 0].astype(np.float64)
        shares = row_shares(problem.stack(), theta, columns=setting.pick(tiny=2, quick=4, full=32))
        hidden, output = (shares.within[:, shares.tensors.index(name)] for name in ("layer0.w", "head"))
        found |= {f"{_HIDDEN}, {words}": hidden, f"{_BETWEEN}, {words}": shares.across}
        if loss == "cross-entropy":  # the squared loss gives exactly 0 there
            found[f"{_OUTPUT}, {words}"] = output
    return found


def _exponent(part: str, where: str = "") -> str:
    return f"exponent in C of the share off the rows, {part}" + (f", {where}" if where else "")


def _class_cells(setting: Setting) -> list[tuple[str, float]]:
    counts = setting.pick(tiny=(2.0, 100.0), quick=(2.0, 100.0), full=(2.0, 10.0, 100.0, 300.0))
    most = {where: vectors for where, (vectors, _) in _BESIDE.items()}  # a class needs a vector
    return [(where, classes) for where in ("", *_BESIDE) for classes in counts if classes <= most.get(where, _VECTORS)]


def _class_cell(part: tuple[str, float], setting: Setting) -> pd.DataFrame:
    where, classes = part
    vectors, steps = _BESIDE.get(where, (_VECTORS, 0))
    vectors = setting.pick(tiny=min(vectors, 250), quick=min(vectors, 500), full=vectors)
    found = _rows_at(
        classes, setting, vectors, min(steps, setting.pick(tiny=2, quick=100, full=100)), 12 if where else 24
    )
    return pd.concat([
        pd.DataFrame({"where": where, "classes": classes, "part": part, "index": np.arange(v.size), "share": v})
        for part, v in found.items()
    ])


def _class_count(parts: Sequence[pd.DataFrame], _: Setting) -> Found:
    table = pd.concat(parts, ignore_index=True)
    measured = []
    for (where, name), same in table.groupby(["where", "part"], sort=False):
        part = str(name)
        wide = same.pivot(index="index", columns="classes", values="share")
        slopes = np.polyfit(np.log(wide.columns.to_numpy(dtype=float)), np.log(wide.to_numpy()).T, 1)[0]
        measured.append(measured_median(_exponent(part, str(where)), slopes))
        if not where:
            measured += [measured_median(f"share off the rows, {part}, C = {c:g}", wide[c]) for c in wide]
    return Found(measured, {"shares": table})


def _class_law(x: Array, curve: str) -> Array:
    if curve.startswith(_OUTPUT):
        return 1 / x
    return 1 / (x + 1) if curve.startswith(_HIDDEN) else np.full_like(x, np.nan)


def _draw_class_count(tables: Mapping[str, pd.DataFrame]) -> Figure:
    table = tables["shares"]
    return lines_figure(
        table.assign(where=table["where"].where(table["where"] != "", f"{_VECTORS} vectors, at the start")),
        x="classes",
        y="share",
        by="part",
        panel="where",
        xlabel="number of classes C",
        ylabel="share of |H|² off the blocks of single rows",
        title="Rows of neurons and classes become blocks as C grows; between the layers the Hessian stays",
    )


_STARTS: dict[str, tuple[Model, Task]] = {
    "MLP of 8 neurons on digits": (NET, Digits(patch=8, sequences=128, batch=None)),
    "MLP of 8 neurons on Gaussians, 10 classes": (NET, Gaussians(features=16, classes=10, sequences=500)),
    "MLP of width 8 on 16 tokens": (MLP(8, 2), TokenMap(16)),
}


def _by_matrix(name: str) -> str:
    return f"share of |H|² between matrices at the start, {name}"


def _matrices(setting: Setting) -> Found:
    rows = []
    for name, (model, task) in _STARTS.items():
        problem = ToyProblem.generate(model, task, problems=setting.pick(tiny=1, quick=4, full=24), seed=setting.seed)
        across = row_shares(problem.stack(), problem.start, columns=setting.pick(tiny=2, quick=16, full=64)).across
        rows += [{"network": name, "index": index, "share": value} for index, value in enumerate(across)]
    table = pd.DataFrame(rows)
    return Found(
        [measured_median(_by_matrix(str(name)), same["share"]) for name, same in table.groupby("network", sort=False)],
        {"shares": table},
    )


def _rows_reach(classes: float, setting: Setting) -> dict[str, Array]:
    return _rows_at(classes, setting, seeds=8)


def _between_at(classes: float, setting: Setting) -> dict[str, Array]:
    return {
        part.partition(", ")[2]: values
        for part, values in _rows_reach(classes, setting).items()
        if part.startswith(_BETWEEN)
    }


def _draw_matrices(tables: Mapping[str, pd.DataFrame]) -> Figure:
    return dots_figure(
        tables["shares"],
        x="network",
        y="share",
        ylabel="share of |H|² between matrices",
        title="At the start much of the Hessian lies between the matrices",
        reference=0.5,
    )


_DROPS = (0.3, 0.1)

_SEPARATION = 2.0


def _along(problem: ToyProblem, steps: int, every: int) -> list[tuple[float, Array, Array]]:
    """Return step, parameters (M, P) and loss over ln C (M,) along full-batch Adam at 0.01."""
    run = train(
        problem, "adam", lr=0.01, steps=steps, snapshots=range(0, steps + 1, every), record=every, dtype="float64"
    )
    assert run.snapshots is not None
    at = [run.steps.tolist().index(step) for step in run.snapshots.steps.tolist()]
    losses = run.loss[:, 0, at] / np.log(problem.classes)
    return [(float(s), run.snapshots.theta[:, 0, i], losses[:, i]) for i, s in enumerate(run.snapshots.steps.tolist())]


def _between(problem: ToyProblem, theta: Array) -> tuple[Array, Array]:
    """Return |H_wv|_F over all pairs of matrices and its share of |H|_F^2, each (M,)."""
    hessians, _ = whole_hessian(problem.stack(), theta)
    whole = np.square(hessians).sum(axis=(1, 2))
    inside = sum(np.square(hessians[:, a:b, a:b]).sum(axis=(1, 2)) for a, b in problem.partition("module").ranges)
    off = np.maximum(whole - inside, 0.0)
    return np.sqrt(off), off / whole


_OFF, _OFF_SHARE = (
    "|H_wv| between the layers over that at the start",
    "share of |H|² between the layers over that at the start",
)


def _vanishes_at(separation: float, setting: Setting) -> pd.DataFrame:
    task = Gaussians(8, 10, setting.pick(tiny=20, quick=100, full=100), separation=separation)
    problem = ToyProblem.generate(NET, task, problems=setting.pick(tiny=2, quick=3, full=24), seed=setting.seed)
    steps, every = setting.pick(tiny=(20, 10), quick=(600, 60), full=(900, 30))
    rows, first = [], None
    for step, theta, loss in _along(problem, steps, every):
        size, share = _between(problem, theta)
        first = (size, share) if first is None else first
        rows.append(
            pd.DataFrame({
                "step": step,
                "index": problem.index,
                "loss": loss,
                "size": size / first[0],
                "share": share / first[1],
            })
        )
    return pd.concat(rows, ignore_index=True)


def _at_loss(table: pd.DataFrame, level: float, column: str) -> list[float]:
    """Return of every seed the value at the first snapshot whose loss is at most the level; NaN where none is."""
    return [
        float(same.loc[same["loss"] <= level, column].iloc[0]) if (same["loss"] <= level).any() else np.nan
        for _, same in table.groupby("index")
    ]


def _level(words: str, level: float) -> str:
    return f"{words}, at a loss of {level:g} ln C"


def _vanishes(setting: Setting) -> Found:
    table = _vanishes_at(_SEPARATION, setting)
    measured = [
        measured_median(_level(words, level), _at_loss(table, level, column))
        for words, column in ((_OFF, "size"), (_OFF_SHARE, "share"))
        for level in _DROPS
    ]
    return Found(measured, {"along": table})


def _vanishes_to(level: float, setting: Setting) -> dict[str, Array]:
    table = _vanishes_at(_SEPARATION, setting)
    return {
        "size |H_wv|": np.array(_at_loss(table, level, "size")),
        "share of |H|²": np.array(_at_loss(table, level, "share")),
    }


def _draw_vanishes(tables: Mapping[str, pd.DataFrame]) -> Figure:
    table = tables["along"].melt(["step", "index", "loss"], ["size", "share"], "what", "value")
    names = {"size": "size |H_wv|", "share": "share of |H|²"}
    return lines_figure(
        table.assign(what=table["what"].map(names), at=table["step"] + 1),
        x="at",
        y="value",
        by="what",
        xlabel="step + 1 of Adam",
        ylabel="between the layers, over the start",
        title="What lies between the layers of an MLP while its loss falls",
        reference=1.0,
    )


BLOCKS = (
    Claim(
        id="class-count-blocks",
        claim="Within a layer the Hessian at a random start becomes block-diagonal by neurons and classes as the number of "
        "classes C grows: the share off the rows falls as a power of C (1/C in the law).",
        group=ZHANG,
        source="Dong, Zhang et al. (2025), Towards Quantifying the Hessian Structure of Neural Networks, arXiv 2505.02809; "
        "arXiv 2402.16788, the figure of an MLP with 8 neurons",
        fidelity=("8 features and 8 neurons; the theorem lets dimensions grow", "columns of the Hessian are sampled"),
        history=(
            Fixed(
                "2026-11-26",
                "7496b69635390feb",
                f"{_SMALL}: head .50/.148/.018/.002, hidden .42/.159/.026/.004; a run of this criterion at the size of the tests",
            ),
        ),
        instruments=("row-share",),
        conditions=tuple(
            Condition(
                measure=_exponent(part),
                null=0.0,
                effect=-0.5,
                scale="difference",
                because="half of the exponent of the law",
                level="an exponent has a zero of its own",
            )
            for part in (f"{_HIDDEN}, {_CE}", f"{_OUTPUT}, {_CE}", f"{_HIDDEN}, {_MSE}")
        ),
        reading="Judged at the start. After 100 steps of Adam the share falls more slowly with C, and within the hidden "
        "layer with squared loss hardly at all (the other numbers).",
        method="MLP without biases and embedding, one hidden layer of 8 ReLU neurons, weights at 1/sqrt(fan-in), 1000 Gaussian "
        "vectors with random classes. Of each matrix's own block of H, the share of the squared entries off the blocks of single "
        "rows; the exponent is the slope of its logarithm over ln C, C = 2 to 300. What lies between the layers is "
        "apart. Beside: the same on 250 "
        "(C to 100) and 4,000 vectors, and after 100 steps of Adam at 0.01 (12 seeds).",
        experiment=Cells(_class_cells, _class_cell, _class_count),
        draw=_draw_class_count,
        caption="Shares of squared entries off the row blocks; medians, bars from 10% to 90% of the seeds. The squared loss has "
        "exactly 0 within the output layer.",
        reach=Reach(
            variable="number of classes C",
            values=_CLASSES,
            measure=_rows_reach,
            quantity="share of |H|² off the rows",
            null=None,
            onset=0.1,
            side="below",
            onset_means="a tenth lies off the rows",
            law=Law("1/C (output), 1/(C+1) (a pair of hidden neurons)", _class_law, "arXiv 2505.02809, re-derived"),
            caption="Within the layers the share falls as the law does, at two to four times its height for many "
            "classes; between the "
            "layers it falls later, and with cross-entropy hardly.",
        ),
    ),
    Claim(
        id="block-diagonal-mlp",
        claim="The Hessian of a small MLP is nearly block-diagonal already at the start, with a block for each matrix.",
        group=BEYOND,
        source="the figure of an MLP with 8 neurons in arXiv 2402.16788, after Collobert (2004), read as a "
        "statement on whole matrices",
        fidelity=(
            "16 features, digits or tokens in place of the paper's data",
            "the paper shows blocks of single neurons inside a layer, at several moments of training, which is the claim "
            "class-count-blocks; this is its figure read as a statement on whole matrices at the start",
        ),
        history=(
            Fixed("2026-11-22", "beec6a8119906af3", "runs of a few seeds of prototypes"),
            Fixed(
                "2026-11-26", "36fc37bfe2af39f1", "the full run of 2026-11-22", "named smallest effects, power and Holm"
            ),
            Fixed(
                "2026-11-26",
                "aaa5ba82b3969b4b",
                f"the full run of 2026-11-22; {_SMALL}; a run of this criterion at the size of the tests",
                "the start and whole matrices alone; rows apart",
            ),
        ),
        instruments=("off-block-share",),
        conditions=tuple(
            Condition(
                measure=_by_matrix(name),
                null=0.5,
                effect=0.25,
                scale="difference",
                because="nearly block-diagonal: at the least, more of the squared entries inside the blocks than outside",
                level=f"{OWN_SCALE}at one half as much lies outside as inside",
            )
            for name in _STARTS
        ),
        reading="The networks have 10 classes or 16 tokens. With some hundreds of classes less than a quarter lies "
        "between the layers (the figure).",
        method="Cross-entropy on all data at a start of 1/sqrt(fan-in). Share of |H|_F^2 between different matrices.",
        experiment=_matrices,
        draw=_draw_matrices,
        caption="A dot per seed, bars at medians. Dotted: as much between the matrices as inside them.",
        reach=Reach(
            variable="number of classes C",
            values=_CLASSES,
            measure=_between_at,
            quantity="share of |H|² between the layers",
            null=0.5,
            null_means="as much outside as inside",
            onset=0.25,
            side="below",
            log="x",
            caption="What lies between the layers falls with the number of classes too, but from a larger share and "
            "more slowly than "
            "what lies off the rows within them (class-count-blocks).",
        ),
    ),
    Claim(
        id="cross-layer-vanishes",
        claim="What lies between the layers in the Hessian is halved in training, in size and as a share of the whole.",
        group=ZHANG,
        source="arXiv 2505.02809 and 2402.16788, the remark that the blocks between layers shrink in training",
        fidelity=(
            "an MLP of 8 neurons and ten Gaussian classes that can be fitted",
            "full-batch Adam",
            "falls, not vanishes: what is judged is a half, at a tenth of the loss of a guess",
        ),
        history=(
            Fixed("2026-11-26", "d36291e3ea10d9b4", "a run of this criterion at the size of the tests (2 seeds)"),
        ),
        instruments=("off-block-share",),
        conditions=tuple(
            Condition(
                measure=_level(words, 0.1),
                null=1.0,
                effect=0.5,
                because="half of what was there at the start",
                level="a quotient with the start of the same seed is a contrast itself",
            )
            for words in (_OFF, _OFF_SHARE)
        ),
        reading="The size goes on falling with the loss, as all of the Hessian of a fitted softmax does. The share is "
        "halved early and then rises a little again (the figure): what lies between the layers does not vanish "
        "beside the rest.",
        method="Whole Hessians along full-batch Adam at 0.01, held against each seed's own start at a matched loss. The size and "
        "the share of |H|² differ: all of a Hessian falls with the loss of a fitted softmax.",
        experiment=_vanishes,
        draw=_draw_vanishes,
        caption="Medians over seeds, bars from 10% to 90%. Dotted: as at the start.",
        reach=Reach(
            variable="loss over ln C",
            values=(0.03, 0.1, 0.3, 0.6, 0.9),
            measure=_vanishes_to,
            quantity="coupling of the layers over that at the start",
            null=1.0,
            null_means="as at the start",
            onset=0.5,
            side="below",
            caption="At a matched loss; towards the left the task is fitted. The loss falls so fast that 0.9 and "
            "0.6 are the same step.",
        ),
    ),
)
