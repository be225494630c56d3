"""Claims about gradients in Transformers: the placement of norms, gradients against curvature, and the linear head."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from quadsim.simulator.curvature.along_training import stacks_at_snapshots
from quadsim.simulator.curvature.block_spectra import block_spectra
from quadsim.simulator.curvature.inspection import place_of_block
from quadsim.simulator.figures.table_figures import points_figure
from quadsim.simulator.models import MLP, Conv, Model, Task, Text, TokenMap, Transformer
from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.problems import heterogeneity as het
from quadsim.simulator.training.loop import train
from quadsim.theory.claims.gradients.studies import growth_figure, head_growth, norm_placement, placement_figure
from quadsim.theory.claims.judging import TOMIHARI, Claim, Condition, Fixed, Found, Setting, measured_median, tried

__all__ = ["GRADIENTS"]

Array = NDArray[np.float64]

_DEPTHS = (2, 4, 8, 12)


def _placement(setting: Setting) -> Found:
    study = norm_placement(
        setting.pick(tiny=(2, 4), quick=_DEPTHS, full=_DEPTHS),
        seeds=setting.pick(tiny=6, quick=20, full=200),
        seed=setting.seed,
        width=setting.pick(tiny=8, quick=16, full=16),
    )
    wide = study.runs.pivot(index="index", columns=["norm", "layers"], values="ratio")
    measured = []
    for layers in _DEPTHS:
        for norm in ("post", "pre"):
            values = wide[norm][layers] if layers in wide[norm] else [np.nan] * len(wide)  # left out at the tiny size
            measured.append(measured_median(_spread(norm, layers), values))
    logs = (wide["post"] / wide["pre"]).apply(np.log)
    slopes = np.polyfit(np.log(logs.columns.to_numpy(dtype=float)), logs.to_numpy().T, 1)[0]
    measured.append(measured_median("exponent of post-norm over pre-norm in the depth", slopes))
    return Found(measured, {"spreads": study.runs})


def _spread(norm: str, layers: int) -> str:
    return f"spread with {norm}-norm, {layers} layers"


_FEW = 4
_EXPONENT = "exponent of the growth in the step, many classes"
_MOMENTUM = {"signum": "Signum", "adam": "Adam"}
_LINEAR_FROM, _GROWN_AT = 10, 100


def _common(words: str, many: str) -> str:
    return f"growth of the common part, {many} classes, {words}"


def _growth(setting: Setting) -> Found:
    classes = setting.pick(tiny=(_FEW, 16), quick=(_FEW, 128, 512), full=(_FEW, 32, 128, 512))
    study = head_growth(
        classes,
        seeds=setting.pick(tiny=2, quick=6, full=40),
        steps=setting.pick(tiny=_GROWN_AT, quick=_GROWN_AT, full=1000),
        seed=setting.seed,
        width=setting.pick(tiny=4, quick=16, full=16),
    )
    moved = study.runs.pivot(index="index", columns=["classes", "optimizer", "step"], values="common")
    steps = np.array([t for t in study.table["step"].unique() if _LINEAR_FROM <= t <= _GROWN_AT])
    proofs = (tried("head-drift", setting.pick(tiny=5, quick=300, full=2000), setting.seed),)
    measured = []
    for name, words in {"signsgd": "SignSGD", **_MOMENTUM}.items():
        path = np.log(moved[classes[-1]][name][steps].to_numpy())
        exponents = np.polyfit(np.log(steps), path.T, 1)[0]
        measured.append(measured_median(f"{_EXPONENT}, {words}", exponents))
    last_step = int(study.table["step"].max())
    if last_step > _GROWN_AT:
        late = moved[classes[-1]]["signsgd"][[_GROWN_AT, last_step]].to_numpy()
        exponents = np.log(late[:, 1] / late[:, 0]) / np.log(last_step / _GROWN_AT)
        measured.append(
            measured_median(f"exponent from step {_GROWN_AT} to {last_step}, many classes, SignSGD", exponents)
        )
    for many, number in (("many", classes[-1]), ("few", _FEW)):
        at = {name: moved[number][name][_GROWN_AT] for name in ("signsgd", *_MOMENTUM)}
        for name, words in {"signsgd": "SignSGD", **_MOMENTUM}.items():
            measured.append(measured_median(_common(words, many), at[name]))
    loss = study.runs[(study.runs["classes"] == classes[-1]) & (study.runs["step"] == study.runs["step"].max())]
    for name, group in loss.groupby("optimizer", sort=False):
        last = f"loss over ln C after {group['step'].iloc[0]} steps, many classes, {name}"
        measured.append(measured_median(last, group["loss"]))
    note = (
        "On the head of the theorem momentum leaves the growth linear, at a smaller rate (theory, section 5). Here predictions "
        "do not stay uniform, as the theorem has them, and growth slows down."
    )
    return Found(measured, {"growth": study.runs}, (note,), proofs)


_STEPS_BEFORE = 30
_MOMENTS = ("start", "trained")


def _correlation(setting: Setting) -> Found:
    number, width = setting.pick(tiny=2, quick=8, full=20), setting.pick(tiny=2, quick=8, full=8)
    words = setting.pick(tiny=8, quick=32, full=32)
    tasks: dict[str, Task] = {
        "token-map": TokenMap(vocabulary=words),
        "text-char": Text(vocabulary=words - 1, tokens=4, sequences=16, batch=None),
    }
    models: dict[str, Model] = {
        "Transformer": Transformer(width=width, layers=setting.pick(tiny=1, quick=2, full=2)),
        "MLP": MLP(width=width, layers=4),
        "convolution": Conv(width=width, layers=4),
    }
    blocks = pd.concat(
        [
            _norms(model, task, number, setting.seed).assign(model=name, task=of)
            for name, model in models.items()
            for of, task in tasks.items()
            if name == "Transformer" or of == "token-map" or setting.size == "full"
        ],
        ignore_index=True,
    )
    measured, rows = [], []
    for (name, of, moment), part in blocks.groupby(["model", "task", "moment"], sort=False):
        found = {
            "correlation": ("gradient_norm", "hessian_norm"),
            "correlation of |g| with the Frobenius norm": ("gradient_length", "hessian_frobenius"),
        }
        for words_for, columns in found.items():
            each = [float(stats.spearmanr(*(seed[c] for c in columns)).statistic) for _, seed in part.groupby("index")]
            measured.append(measured_median(f"{words_for}, {name}, {of}, {moment}", each))
            rows.append({"model": name, "task": of, "moment": moment, "norms": words_for, "correlation": each})
        if name == "Transformer":  # the only one with gains
            matrices = part[part["kind"].str.rstrip("12") != "norm"].groupby("index")
            each = [
                float(stats.spearmanr(seed["gradient_norm"], seed["hessian_norm"]).statistic) for _, seed in matrices
            ]
            measured.append(measured_median(f"correlation without the gains, {name}, {of}, {moment}", each))
    trained = blocks[blocks["moment"] == "trained"].groupby(["model", "task"])["loss"].median()
    sizes = blocks.groupby("model")["block"].nunique()
    note = "Blocks: " + ", ".join(f"{name} {sizes[name]}" for name in models) + "."
    reached = ", ".join(f"{name} on {of} {trained[name, of]:.2g}" for name, of in trained.index)
    reached = f"Median loss over ln C when trained: {reached}."
    table = pd.DataFrame(rows).explode("correlation", ignore_index=True).astype({"correlation": float})
    return Found(measured, {"blocks": blocks, "correlations": table}, (note, reached))


def _norms(model: Model, task: Task, number: int, seed: int) -> pd.DataFrame:
    """Return both norms of every block at both steps, one row each."""
    toys = ToyProblem.generate(model, task, problems=number, seed=seed)
    cut = toys.partition("module")
    layers = toys.partition("layer").labels
    run = train(toys, "adam", lr=0.01, steps=_STEPS_BEFORE, snapshots=[0, _STEPS_BEFORE], dtype="float64")
    frames = []
    for moment, here in zip(_MOMENTS, stacks_at_snapshots(run), strict=True):
        spectra = block_spectra(here.stack, here.theta, cut)
        norms = het.block_gradient_norms(here.gradient, cut.sizes)
        frobenius = np.stack([het.norm(nodes) for nodes in spectra.nodes], axis=1)
        frames.append(
            pd.DataFrame({
                "moment": moment,
                "index": np.repeat(toys.index[here.at], len(cut.sizes)),
                "block": np.tile(cut.labels, here.at.size),
                "kind": np.tile([place_of_block(label, layers)[1] for label in cut.labels], here.at.size),
                "gradient_norm": norms.ravel(),
                "gradient_length": (norms * np.sqrt(cut.sizes)).ravel(),
                "hessian_norm": spectra.spectral_norm.ravel(),
                "hessian_frobenius": frobenius.ravel(),
                "loss": np.repeat(here.losses(here.theta) / np.log(toys.classes), len(cut.sizes)),
            })
        )
    return pd.concat(frames, ignore_index=True)


def _draw_correlation(tables: Mapping[str, pd.DataFrame]) -> Figure:
    frame = tables["blocks"]
    frame = frame[frame["model"] == "Transformer"]
    return points_figure(
        frame.assign(panel=frame["task"] + ", " + frame["moment"], kind=frame["kind"].str.rstrip("12")),
        x="hessian_norm",
        y="gradient_norm",
        by="kind",
        panel="panel",
        xlabel="spectral norm of the Hessian's block",
        ylabel="|g|/√P of the block",
        title="Gradient and curvature of the Transformer's blocks, a point per block and seed",
    )


_COUNTS = "the project's threshold for a factor that counts"
_FIRST = "runs of a few seeds of prototypes"
_HOLM = "named smallest effects, power, Holm's correction and contrasts with the control in place of thresholds"

GRADIENTS = (
    Claim(
        id="norms-correlate",
        claim="Across the blocks of a Transformer, gradient norm and norm of the Hessian are positively correlated.",
        group=TOMIHARI,
        source="arXiv 2502.00213, in the form tried here",
        fidelity=(
            "two layers of width 8 in place of large pretrained Transformers",
            "exact spectral norms of the blocks",
        ),
        history=(
            Fixed("2026-11-22", "ab51efb74f10bbbf", _FIRST),
            Fixed("2026-11-26", "d7efba22e78f2886", "the full run of 2026-11-22", _HOLM),
        ),
        conditions=tuple(
            Condition(
                measure=f"correlation, Transformer, {task}, {moment}",
                null=0.0,
                effect=0.3,
                scale="difference",
                because="a rank correlation of 0.3 is a weak one",
                level="a rank correlation has a zero of its own",
            )
            for task in ("token-map", "text-char")
            for moment in _MOMENTS
        ),
        method="Spearman correlation over the blocks of the partition module (gains included), for every seed, of "
        "|g_l|/sqrt(P_l) with the largest modulus of an eigenvalue of the Hessian's block; full batch, unweighted loss, at the "
        f"start and after {_STEPS_BEFORE} steps of Adam at 0.01. Beside: |g_l| with the block's Frobenius norm, which both grow "
        "with its size, and two controls of four layers, which have few blocks.",
        experiment=_correlation,
        draw=_draw_correlation,
        caption="Gradient norm against the spectral norm of the Hessian's block, for the blocks of the Transformer, all seeds.",
    ),
    Claim(
        id="norm-placement",
        claim="Norms after the residual sum (post-norm) spread the gradient norms of a Transformer's blocks more than norms "
        "before the branch (pre-norm).",
        group=TOMIHARI,
        source="arXiv 2502.00213, section 4, in the form tried here",
        fidelity=(
            "two tokens, of which queries and keys learn almost nothing",
            "width 16",
            "|g_l|/sqrt(P_l) in place of |g_l|",
        ),
        history=(
            Fixed("2026-11-22", "c3590a05a5683b17", "earlier results of the same experiment"),
            Fixed("2026-11-26", "e917e65d40d7e44e", "the full run of 2026-11-22", _HOLM),
        ),
        instruments=("gradient-spread",),
        conditions=tuple(
            Condition(
                measure=_spread("post", layers), control=_spread("pre", layers), null=1.0, effect=1.5, because=_COUNTS
            )
            for layers in _DEPTHS
        ),
        method="Largest over smallest |g_l|/sqrt(P_l) over the blocks of the partition module at the start, on the task "
        "token-map with all data, width 16; the quotient of the two placements at the same seed, at four depths.",
        experiment=_placement,
        draw=lambda tables: placement_figure(tables["spreads"]),
        caption="Largest over smallest gradient norm of a block against the depth; medians over seeds, bars from 10% to 90%.",
    ),
    Claim(
        id="head-growth",
        claim="With many classes and mini-batches SignSGD makes the part of the linear head that all classes share grow "
        "linearly; momentum prevents it, and with few classes there is nothing to prevent.",
        group=TOMIHARI,
        source="arXiv 2502.00213 version 1, section 5, in the form derived and tried here",
        fidelity=(
            "two-layer Transformers of width 16",
            "not normalised by the loss that was reached: at 4 classes it is near 0",
        ),
        history=(
            Fixed("2026-11-22", "aee096e59ef41457", "earlier results of the same experiment"),
            Fixed("2026-11-26", "943dca8b17067e98", "the full run of 2026-11-22", _HOLM),
        ),
        proofs=("head-drift",),
        conditions=(
            Condition(
                measure=f"{_EXPONENT}, SignSGD",
                null=0.5,
                effect=0.75,
                scale="difference",
                because="nearer to 1, a drift, than to 1/2, a random walk",
                level="the exponent of a random walk is known",
            ),
            *(
                Condition(
                    measure=_common("SignSGD", many),
                    control=_common(words, many),
                    null=1.0,
                    effect=1.5,
                    because=_COUNTS,
                    absent=many == "few",
                )
                for many in ("many", "few")
                for words in _MOMENTUM.values()
            ),
        ),
        method="The theorem head-drift is held against random heads, exactly and simulated. Then two-layer Transformers on "
        "token-map with 512 (many) and 4 (few) classes, 32 tokens a step, all rules at the rate 0.001: growth of sqrt(C) "
        f"times the mean class row since the start, at step {_GROWN_AT}, and its exponent "
        f"between the steps {_LINEAR_FROM} and {_GROWN_AT}.",
        experiment=_growth,
        draw=lambda tables: growth_figure(tables["growth"]),
        caption="Growth of the common part of the head against the step, by number of classes and rule.",
    ),
)
