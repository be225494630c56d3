"""The three figures of an inspection: gradient norms of the blocks, their spectra, and the distances between spectra."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from quadsim.simulator.curvature.inspection import JS_BINS, Inspection, place_of_block
from quadsim.simulator.figures.palette import COLORS
from quadsim.simulator.figures.panels import save_figure
from quadsim.simulator.figures.style import drawn
from quadsim.simulator.models.partitions import partition

__all__ = ["distance_figure", "gradient_figure", "save_inspection_figures", "spectra_figure"]

_MARKERS = "osD^vPX*<>hpd"
_MOST_LABELS = 40
_DECADES = 8  # of |eigenvalue| shown below the largest
_BINS_PER_SIDE = 40


def save_inspection_figures(found: Inspection, folder: Path) -> list[str]:
    """Write the figures as PNG and PDF; their names. Without curvature the first alone."""
    draws: dict[str, Callable[[Inspection], Figure]] = {"gradients": gradient_figure}
    if found.spectra is not None:
        draws |= {"spectra": spectra_figure, "distances": distance_figure}
    for name, draw in draws.items():
        save_figure(draw(found), folder, name)
    return list(draws)


@drawn
def gradient_figure(found: Inspection) -> Figure:
    """|g_l|/sqrt(P_l) of every block through the model: a colour and marker for each kind, median and range over the seeds."""
    figure, axis = _one_panel(7.5, 4.0)
    layers = list(partition(found.problem.parameters, "layer").labels)
    places = [place_of_block(label, layers) for label in found.partition.labels]
    kinds = list(dict.fromkeys(kind for _, kind in places))
    for k, kind in enumerate(kinds):
        chosen = np.array([b for b, place in enumerate(places) if place[1] == kind])
        x = np.array([places[b][0] for b in chosen]) + 0.5 * ((k + 0.5) / len(kinds) - 0.5)
        values = found.gradient_norms[:, chosen]
        middle = np.median(values, axis=0)
        style: dict[str, Any] = {"color": COLORS[k % len(COLORS)], "marker": _MARKERS[k % len(_MARKERS)]}
        line = "none" if len(set(x.tolist())) < len(x) or len(x) < 2 else "-"
        alpha = 1.0 if line == "-" or len(x) < 2 else 0.4
        axis.plot(x, middle, linestyle=line, linewidth=1.0, markersize=5, alpha=alpha, label=kind, **style)
        axis.vlines(x, values.min(axis=0), values.max(axis=0), color=style["color"], linewidth=0.8, alpha=alpha)
    axis.set_yscale("log")
    axis.set_ylabel(r"$\|g_\ell\| / \sqrt{P_\ell}$ (root mean square of a coordinate)")
    names = ["emb.", *(name.removeprefix("layer") for name in layers[1:-1]), "head"]
    axis.set_xticks(range(len(layers)), names)
    axis.set_xlabel("layer")
    axis.legend(
        loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8, title="block", title_fontsize=8
    )
    _title(figure, found, f"median and range of {found.problem.problems} seeds")
    return figure


@drawn
def spectra_figure(found: Inspection) -> Figure:
    """Eigenvalues of every block as a heat map: share of the block's eigenvalues in each bin, on both sides of 0.

    Raises:
        ValueError: an inspection without curvature.
    """
    if found.spectra is None:
        raise ValueError("inspection must hold curvature, got one without; leave curvature on.")
    norms = found.spectra.spectral_norm
    largest = 10.0 ** np.ceil(np.log10(np.max(norms, initial=0.0, where=np.isfinite(norms)) or 1.0))
    edges = largest * 10.0 ** np.linspace(-_DECADES, 0.0, _BINS_PER_SIDE + 1)
    both = np.concatenate([-edges[::-1], edges])
    both[[0, -1]] *= 1.0 + 1e-9
    shares = np.stack([_shares(n, w, both) for n, w in zip(found.spectra.nodes, found.spectra.weights, strict=True)])
    number = len(found.partition.labels)
    figure, axis = _one_panel(7.0, min(max(2.5, 0.16 * number + 1.2), 10.0))
    image = axis.imshow(
        np.where(shares > 0.0, shares, np.nan),
        aspect="auto",
        interpolation="nearest",
        cmap="viridis_r",
        norm=LogNorm(1e-3, 1.0),
    )
    ticks = [0, _BINS_PER_SIDE // 2, _BINS_PER_SIDE, _BINS_PER_SIDE + _BINS_PER_SIDE // 2, 2 * _BINS_PER_SIDE]
    top = round(np.log10(largest))
    half = top - _DECADES // 2
    texts = [f"$-10^{{{top}}}$", f"$-10^{{{half}}}$", "0", f"$10^{{{half}}}$", f"$10^{{{top}}}$"]
    axis.set_xticks(ticks, texts)
    _block_labels(axis, found, "y")
    axis.set_xlabel(
        f"eigenvalue of the block (logarithmic on both sides; |value| below {largest * 10.0**-_DECADES:.1g} in the middle)"
    )
    figure.colorbar(image, ax=axis, label="share of the block's eigenvalues")
    _title(figure, found, f"all {found.problem.problems} seeds")
    return figure


@drawn
def distance_figure(found: Inspection) -> Figure:
    """Jensen-Shannon distance between the spectra of all blocks, mean over the seeds.

    Raises:
        ValueError: an inspection without curvature.
    """
    if found.distances is None:
        raise ValueError("inspection must hold curvature, got one without; leave curvature on.")
    figure, axis = _one_panel(6.4, 5.4)
    image = axis.imshow(found.distances.mean(axis=0), vmin=0.0, vmax=1.0, cmap="viridis", interpolation="nearest")
    _block_labels(axis, found, "x")
    _block_labels(axis, found, "y")
    figure.colorbar(image, ax=axis, label=f"Jensen-Shannon distance (log base 2, {JS_BINS} equal bins)")
    mean = np.mean(found.whole["JS0"])
    _title(figure, found, f"mean of {found.problem.problems} seeds; JS0 = {mean:.3g}")
    return figure


def _shares(nodes: np.ndarray, weights: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of the eigenvalues of all seeds in each bin; the middle one holds those too small for the axis."""
    known = ~np.isnan(nodes)
    counts, _ = np.histogram(nodes[known], bins=edges, weights=weights[known])
    return np.asarray(counts / nodes.shape[0])


def _block_labels(axis: Axes, found: Inspection, side: str) -> None:
    """Names of the blocks, thinned out where there are too many to read."""
    labels = found.partition.labels
    every = -(-len(labels) // _MOST_LABELS)
    at = list(range(0, len(labels), every))
    names = [labels[i] for i in at]
    if side == "x":
        axis.set_xticks(at, names, rotation=90, fontsize=6)
    else:
        axis.set_yticks(at, names, fontsize=6)


def _one_panel(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _title(figure: Figure, found: Inspection, what: str) -> None:
    problem = found.problem
    model = problem.model
    norm = getattr(model, "norm", "none")
    parts = [f"{model.name}, norm {norm}, {getattr(model, 'layers', 0)} layers", problem.task.name]
    if problem.heterogeneity[0] != 1.0:
        parts.append(f"{problem.dial} {problem.heterogeneity[0]:g}")
    parts.append("at the start" if found.step == 0 else f"after {found.step} steps")
    figure.suptitle(f"{', '.join(parts)}\npartition {found.partition.name}; {what}", fontsize=9)
