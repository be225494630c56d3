"""Claims about the Hessians of small networks: block-diagonal structure, whole and block spectra, and their distances."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from quadsim.simulator.curvature.block_spectra import BlockSpectra, eigenvalues, whole_hessian
from quadsim.simulator.curvature.off_block import off_block_of
from quadsim.simulator.curvature.spectral_distance import jensen_shannon, mean_over_pairs
from quadsim.simulator.figures.table_figures import dots_figure, lines_figure
from quadsim.simulator.models import MLP, Conv, Digits, Model, Partition, TokenMap, ToyProblem, Transformer
from quadsim.simulator.training.loop import train
from quadsim.theory.claims.judging import ZHANG, Claim, Condition, Fixed, Found, Setting, measured_median
from quadsim.theory.claims.networks.racing import JS0_NOT_VALID, distance, groups, js0

__all__ = ["HESSIANS"]

Array = NDArray[np.float64]


def _along_training(problem: ToyProblem, steps: tuple[int, ...], lr: float) -> Iterator[tuple[int, Array]]:
    """Return step and parameters (M, P) along a run of Adam in float64."""
    run = train(problem, "adam", lr=lr, steps=max(steps[-1], 1), snapshots=steps, dtype="float64")
    assert run.snapshots is not None
    for i, step in enumerate(run.snapshots.steps.tolist()):
        yield step, run.snapshots.theta[:, 0, i]


# Off the blocks.

_TOKENS, _DIGITS = "MLP 16-16 on tokens", "MLP of 8 neurons on digits"


def _neurons(problem: ToyProblem) -> Partition:
    """Return a partition with one block per neuron: its row of incoming weights; for an embedded token its vector.

    An embedding of features (a linear map) is one block: it is stored by feature, so the weights of a neuron are not contiguous.
    """
    blocks = []
    for p in problem.parameters:
        rows = 1 if p.name == "embed" and problem.data.inputs.dtype.kind == "f" else p.shape[0]
        blocks += [(f"{p.name}[{row}]", p.size // rows) for row in range(rows)]
    return Partition("neuron", tuple(label for label, _ in blocks), tuple(size for _, size in blocks))


def _off_blocks(setting: Setting) -> Found:
    seeds = setting.pick(tiny=1, quick=6, full=20)
    steps: tuple[int, ...] = setting.pick(tiny=(0, 3), quick=(0, 30, 300), full=(0, 30, 300, 1000))
    small = setting.size == "tiny"
    vocabulary = setting.pick(tiny=8, quick=16, full=64)
    mlps: dict[str, tuple[Model, TokenMap | Digits]] = {
        _TOKENS: (MLP(width=4 if small else 16), TokenMap(vocabulary)),
        _DIGITS: (MLP(width=2 if small else 8, layers=1), Digits(patch=4 if small else 8, sequences=256, batch=None)),
    }
    rows = []
    for name, (model, task) in mlps.items():
        problem = ToyProblem.generate(model, task, problems=seeds, seed=setting.seed)
        cuts = [problem.partition("module"), _neurons(problem)]
        for step, theta in _along_training(problem, steps, 0.01):
            hessians, _ = whole_hessian(problem.stack(), theta)
            for index, hessian in enumerate(hessians):
                rows += [
                    {"model": name, "partition": cut.name, "step": step, "index": index} | _of_hessian(hessian, cut)
                    for cut in cuts
                ]
    table = pd.DataFrame(rows)
    whole_run = table.groupby(["model", "partition", "index"], sort=False)
    worst = whole_run.agg({"share": "max", "spectral": "max", "density": "min"})
    measured = []
    for (name, cut), same in groups(worst.reset_index(), "model", "partition"):
        measured.append(measured_median(_share_of(name, cut), same["share"]))
        if cut == "module":
            measured.append(
                measured_median(f"{name}, blocks by {cut}: largest |H - blocks|/|H|, spectral", same["spectral"])
            )
        density = f"{name}, blocks by {cut}: least mean square entry inside over outside"
        measured.append(measured_median(density, same["density"]))
    for (name, cut, step), same in groups(table, "model", "partition", "step"):
        measured.append(
            measured_median(f"{name}, blocks by {cut}: share of |H|² off the blocks at step {step}", same["share"])
        )
    return Found(measured, {"off_blocks": table})


def _share_of(model: str, partition: str) -> str:
    return f"{model}, blocks by {partition}: largest share of |H|² off the blocks"


def _of_hessian(hessian: Array, cut: Partition) -> dict[str, float]:
    inside = float(np.square(cut.sizes).sum())
    share = 1 - sum(float(np.square(hessian[a:b, a:b]).sum()) for a, b in cut.ranges) / float(np.square(hessian).sum())
    spectral = off_block_of(hessian, cut)[0] if cut.name == "module" else np.nan  # as slow as all else together
    return {
        "share": share,
        "spectral": spectral,
        "density": float(np.divide((1 - share) / inside, share / (hessian.size - inside))),
    }


def _draw_off_blocks(tables: Mapping[str, pd.DataFrame]) -> Figure:
    table = tables["off_blocks"]
    return lines_figure(
        table.assign(at=table["step"] + 1, by="blocks by " + table["partition"]),
        x="at",
        y="share",
        by="by",
        panel="model",
        xlabel="step + 1",
        ylabel="share of |H|² off the blocks (Frobenius)",
        title="How much of an MLP's Hessian lies off its blocks along training",
        log="x",
        reference=0.5,
    )


# Whole spectra against spectra of blocks.


def _plain_models(setting: Setting, norm: str) -> dict[str, Model]:
    """Return the models, with the same width, number of layers and norm."""
    width = setting.pick(tiny=4, quick=8, full=8)
    layers = setting.pick(tiny=1, quick=1, full=2)
    return {
        "Transformer": Transformer(width=width, layers=layers, norm=norm),
        "convolution": Conv(width=width, layers=layers, norm=norm),
        "MLP": MLP(width=width, layers=layers, norm=norm),
    }


def _whole_spectra(setting: Setting) -> Found:
    seeds = setting.pick(tiny=1, quick=6, full=20)
    vocabulary = setting.pick(tiny=6, quick=16, full=16)
    stages = {0: "at the start", setting.pick(tiny=2, quick=20, full=20): "after training"}
    rows = []
    held: dict[tuple[str, int], list[tuple[Array, list[Array], Partition]]] = {}
    for name, model in _plain_models(setting, "none").items():
        problem = ToyProblem.generate(model, TokenMap(vocabulary), problems=seeds, seed=setting.seed)
        cut = problem.partition("module")
        for step, theta in _along_training(problem, tuple(stages), 0.01):
            hessians, _ = whole_hessian(problem.stack(), theta)
            held[name, step] = [
                (eigenvalues([h])[0], eigenvalues([h[a:b, a:b] for a, b in cut.ranges]), cut) for h in hessians
            ]
    for step, stage in stages.items():
        for index, (whole, blocks, cut) in enumerate(held["Transformer", step]):
            for normalise in ("block", "none"):
                for bins in (100, 1000):
                    found = BlockSpectra.exactly(cut, [values[None] for values in blocks], np.zeros(1))
                    between = mean_over_pairs(jensen_shannon(found, bins=bins, normalise=normalise))[0]
                    row = {"stage": stage, "index": index, "normalise": normalise, "bins": bins}
                    rows.append(row | {"what": "blocks of the Transformer", "distance": between, "ratio": np.nan})
                    for other in ("convolution", "MLP"):
                        apart = distance(whole, held[other, step][index][0], normalise=normalise, bins=bins)
                        what = f"Transformer and {other}, whole"
                        rows.append(row | {"what": what, "distance": apart, "ratio": apart / between})
    table = pd.DataFrame(rows)
    measured = []
    for (normalise, bins), same in groups(table, "normalise", "bins"):
        for stage in stages.values():
            for other in ("convolution", "MLP"):
                kept = same[(same["stage"] == stage) & (same["what"] == f"Transformer and {other}, whole")]
                measured.append(measured_median(_ratio_of(other, stage, normalise, bins), kept["ratio"]))
            kept = same[(same["stage"] == stage) & (same["what"] == "blocks of the Transformer")]
            name = f"distance between the Transformer's blocks, {stage}"
            measured.append(measured_median(name + _how(normalise, bins), kept["distance"]))
    few = (
        "Blocks have few eigenvalues (a position embedding 16), which fall into few of the bins and so lie further apart than "
        "whole spectra do: this speaks for the claim, whatever the model."
    )
    note = (
        "Most eigenvalues of every whole Hessian are close to 0 beside the largest one and fall into one bin, so that whole "
        "spectra are alike for that reason too; the figures with 1000 bins show how much of it the bins do."
    )
    return Found(measured, {"distances": table}, (note, few))


def _how(normalise: str, bins: int) -> str:
    kind = "each over its largest modulus" if normalise == "block" else "as they are"
    return "" if (normalise, bins) == ("block", 100) else f" (spectra {kind}, {bins} bins)"


def _ratio_of(other: str, stage: str, normalise: str = "block", bins: int = 100) -> str:
    return f"whole spectra, Transformer and {other}, {stage}, over the Transformer's blocks{_how(normalise, bins)}"


def _draw_whole_spectra(tables: Mapping[str, pd.DataFrame]) -> Figure:
    table = tables["distances"]
    table = table[(table["normalise"] == "block") & (table["bins"] == 100)]
    return dots_figure(
        table.assign(what=table["what"].str.replace(" and ", " / ").str.replace("Transformer", "Tr.")),
        x="what",
        y="distance",
        panel="stage",
        ylabel="Jensen-Shannon distance",
        title="Distance between whole spectra of two models, and between the blocks of one",
    )


# JS0 of the models.


def _js0_of_models(setting: Setting) -> Found:
    seeds = setting.pick(tiny=1, quick=6, full=20)
    width, vocabulary = setting.pick(tiny=(4, 6), quick=(8, 16), full=(12, 32))
    layers = setting.pick(tiny=1, quick=2, full=2)
    rows = []
    for norm in ("none", "pre"):
        for name, kind in {"Transformer": Transformer, "convolution": Conv, "MLP": MLP}.items():
            model = kind(width=width, layers=layers, norm=norm)
            problem = ToyProblem.generate(model, TokenMap(vocabulary), problems=seeds, seed=setting.seed)
            rows += [
                {"norm": f"norm {norm}", "model": name, "index": index, "JS0": value}
                for index, value in enumerate(js0(problem))
            ]
    table = pd.DataFrame(rows)
    measured = []
    for (norm,), same in groups(table, "norm"):
        wide = same.pivot(index="index", columns="model", values="JS0")
        for other in ("convolution", "MLP"):
            measured.append(measured_median(_js0_over(other, norm), wide["Transformer"] / wide[other]))
        measured += [measured_median(f"JS0 of the {name}, {norm}", wide[name]) for name in wide]
    return Found(measured, {"js0": table})


def _js0_over(other: str, norm: str) -> str:
    return f"JS0 of the Transformer over that of the {other}, {norm}"


def _draw_js0_of_models(tables: Mapping[str, pd.DataFrame]) -> Figure:
    return dots_figure(
        tables["js0"],
        x="model",
        y="JS0",
        panel="norm",
        ylabel="JS0 at the start",
        title="Mean distance between the spectra of the Hessian's blocks",
    )


_MORE_INSIDE = "near block-diagonal: at the least, more of the squared entries inside the blocks than outside"

_FIRST = "runs of a few seeds of prototypes"
_HOLM = "named smallest effects, power and Holm's correction in place of thresholds"
_CONTRAST = "a quotient with the distance between the blocks of the same seed is a contrast itself"

HESSIANS = (
    Claim(
        id="block-diagonal-mlp",
        claim="The Hessian of a small MLP is nearly block-diagonal, with a block for each neuron or matrix, and stays so along "
        "training.",
        group=ZHANG,
        source="arXiv 2402.16788, the figure of an MLP with 8 neurons after Collobert (2004), in the form tried here",
        fidelity=(
            "few classes (10 or 16) where the theory has the share fall like 1/C",
            "an embedding in front, and cross-entropy on digits or tokens",
        ),
        history=(
            Fixed("2026-11-22", "beec6a8119906af3", _FIRST),
            Fixed("2026-11-26", "36fc37bfe2af39f1", "the full run of 2026-11-22", _HOLM),
        ),
        instruments=("off-block-share",),
        conditions=tuple(
            Condition(
                measure=_share_of(model, cut),
                null=0.5,
                effect=0.25,
                scale="difference",
                because=_MORE_INSIDE,
                level="a share has a scale of its own: at one half as much lies outside as inside",
            )
            for model in (_TOKENS, _DIGITS)
            for cut in ("module", "neuron")
        ),
        method="Whole Hessians in float64 of the cross-entropy on all data, at the start and along 300 steps (full: 1000) of "
        "full-batch Adam at the rate 0.01; of two MLPs without biases, the default one on 16 tokens (full: 64), "
        "and one with a hidden layer "
        "of 8 neurons on 256 digits of 8x8 pixels (behind a linear embedding of 8 channels). A block is a "
        "matrix, or a neuron's row "
        "of one. "
        "The share is the worst over the steps looked at. The paper's MLP has another data set and no embedding.",
        experiment=_off_blocks,
        draw=_draw_off_blocks,
        caption="Share of the squared entries of H off its blocks; medians, bars from 10% to 90% of the seeds. Dotted: one half.",
    ),
    Claim(
        id="full-spectra-alike",
        claim="The whole Hessian spectra of a Transformer and of a convolution network look alike, while those of the blocks "
        "within the Transformer differ.",
        group=ZHANG,
        source="arXiv 2402.16788, in the form tried here (there by eye, with large networks)",
        fidelity=(
            "bins of equal width over the largest modulus; the paper normalises by the tenth largest eigenvalue",
        ),
        history=(
            Fixed("2026-11-22", "6be7951d3c7b0be0", _FIRST),
            Fixed("2026-11-26", "44ea27a5c50d685d", "the full run of 2026-11-22", _HOLM),
        ),
        conditions=tuple(
            Condition(
                measure=_ratio_of(other, stage),
                null=1.0,
                effect=1 / 1.5,
                because="alike: closer to each other than two blocks of the Transformer are, by the factor that counts",
                level=_CONTRAST,
            )
            for stage in ("at the start", "after training")
            for other in ("convolution", "MLP")
        ),
        method="Jensen-Shannon distances (base 2, 100 bins of equal width over the joint range, every spectrum divided by its "
        "largest modulus) between all eigenvalues of two models of equal width, depth (1 layer; full: 2) and "
        "task (16 tokens, norm "
        "none), over the mean distance between the blocks of the Transformer (partition by module); at the start and after 20 "
        "steps of Adam at 0.01.",
        experiment=_whole_spectra,
        draw=_draw_whole_spectra,
        caption="Jensen-Shannon distances, a dot per seed, bars at medians: whole spectra of two models, and pairs of blocks.",
    ),
    Claim(
        id="js0-models",
        claim="The spectra of the Hessian's blocks differ more within a Transformer than within a convolution network or an MLP.",
        group=ZHANG,
        source="arXiv 2402.16788, the comparison of JS distances between models, in the form tried here",
        fidelity=("weights at 1/sqrt(fan-in) in place of 0.02", "controls that share embedding, positions and head"),
        history=(
            Fixed("2026-11-22", "5185632067e3b87f", _FIRST),
            Fixed("2026-11-26", "57d953d35731a93e", "the full run of 2026-11-22", _HOLM),
        ),
        unjudged=JS0_NOT_VALID,
        instruments=("js0",),
        conditions=tuple(
            Condition(
                measure=_js0_over(other, norm), null=1.0, effect=1.5, because="the factor that counts", level=_CONTRAST
            )
            for norm in ("norm none", "norm pre")
            for other in ("convolution", "MLP")
        ),
        method="JS0, the mean Jensen-Shannon distance (base 2, 100 bins of equal width over all blocks, eigenvalues as they are) "
        "between the exact spectra of the blocks by module at the start, for models of equal width, depth, task (token-map) and "
        "norm, seed by seed.",
        experiment=_js0_of_models,
        draw=_draw_js0_of_models,
        caption="JS0 at the start, a dot per seed, bars at medians.",
    ),
)
