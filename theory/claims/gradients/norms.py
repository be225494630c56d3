"""A claim about gradients in Transformers: gradients against curvature."""

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
from quadsim.theory.claims.judging import PROTOTYPES, TOMIHARI, Claim, Condition, Fixed, Found, Setting, measured_median

__all__ = ["GRADIENTS"]

Array = NDArray[np.float64]

_STEPS_BEFORE = 30
_MOMENTS = ("start", "trained")


def _correlation(setting: Setting) -> Found:
    number, width = setting.pick(tiny=2, quick=4, full=20), setting.pick(tiny=2, quick=8, full=8)
    words = setting.pick(tiny=8, quick=16, full=32)
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
            Fixed("2026-11-22", "ab51efb74f10bbbf", PROTOTYPES),
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
        reading="MLPs and convolutions correlate as much (the other numbers): nothing here is special to Transformers.",
        method="Spearman correlation over the blocks of the partition module (gains included), for every seed, of "
        "|g_l|/sqrt(P_l) with the largest modulus of an eigenvalue of the Hessian's block; full batch, unweighted loss, at the "
        f"start and after {_STEPS_BEFORE} steps of Adam at 0.01. Beside: |g_l| with the block's Frobenius norm, which both grow "
        "with its size, and two controls of four layers, which have few blocks.",
        experiment=_correlation,
        draw=_draw_correlation,
        caption="Gradient norm against the spectral norm of the Hessian's block, for the blocks of the Transformer, all seeds.",
    ),
)
