"""The tables and the words that quadsim inspect prints."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from quadsim.simulator.inspection import JS_BINS, Inspection
from quadsim.simulator.paths import shown

__all__ = ["print_inspection"]

_MEANINGS = {
    "loss": "unweighted loss",
    "loss_weighted": "optimised loss",
    "gradient_ratio": "gradient norms of blocks, largest / smallest",
    "gradient_log_std": "  standard deviation of their logarithm",
    "gradient_gini": "  Gini coefficient",
    "gradient_variation": "  coefficient of variation",
    "head_common": "head, common part (the softmax does not see it)",
    "head_centred": "head, centred part",
    "Lambda_G": "Lambda_G (block curvature, weighted by the gradient)",
    "Lambda_P": "Lambda_P (weighted by size)",
    "Lambda_ratio": "Lambda_G / Lambda_P",
    "covariance": "covariance of gradient and curvature over blocks",
    "JS0": f"JS0 (mean Jensen-Shannon distance, base 2, {JS_BINS} bins)",
    "off_block_spectral": "|H - blocks| / |H|, spectral",
    "off_block_frobenius": "|H - blocks| / |H|, Frobenius",
    "whole_over_block": "|H| / largest block",
}


def print_inspection(found: Inspection, local: Any, folder: Path, *, quiet: bool) -> None:
    """A row per block, what holds for the whole, and, along training, how the local models did."""
    console = Console(soft_wrap=True) if not Console().is_terminal else Console()
    if not console.is_terminal:
        console.width = 160
    problem = found.problem
    if not quiet:
        console.print(_blocks(found))
    console.print(_whole(found))
    if local is not None:
        console.print(local.text(), highlight=False)
    if quiet:
        return
    if found.spectra is not None and not found.spectra.exact.all():
        number = int(np.sum(~found.spectra.exact))
        console.print(
            f"The spectra of {number} blocks are estimates by stochastic Lanczos quadrature, which takes distances too large.",
            highlight=False,
        )
    console.print(f"{problem!r}", highlight=False)
    names = "blocks.parquet, summary.parquet, figures/, config.json, manifest.json"
    console.print(f"Files: {shown(folder)}/ ({names})", highlight=False)


def _blocks(found: Inspection) -> Table:
    """Medians over the seeds."""
    when = "at the start" if found.step == 0 else f"after {found.step} steps"
    what = f"median (smallest - largest) of {found.problem.problems} seeds"
    table = Table(title=f"Blocks of the partition {found.partition.name} {when}; {what}")
    table.add_column("block")
    table.add_column("parameters", justify="right")
    table.add_column("|g|/sqrt(P)", justify="right")
    if found.spectra is not None:
        table.add_column("largest eigenvalue", justify="right")
        table.add_column("smallest", justify="right")
    frame = found.blocks
    for label, rows in frame.groupby("block", sort=False):
        cells = [str(label), str(rows["size"].iloc[0]), _median_and_range(rows["gradient_norm"])]
        if found.spectra is not None:
            cells += [_median_and_range(rows["smoothness"]), _median_and_range(rows["smallest"])]
        table.add_row(*cells)
    return table


def _whole(found: Inspection) -> Table:
    table = Table(title=f"The whole; median (smallest - largest) of {found.problem.problems} seeds")
    table.add_column("quantity")
    table.add_column("value", justify="right")
    summary = found.summary
    for name, meaning in _MEANINGS.items():
        if name in summary:
            table.add_row(meaning, _median_and_range(summary[name]))
    return table


def _median_and_range(values: pd.Series) -> str:
    array = values.to_numpy(dtype=np.float64)
    if np.isnan(array).all():
        return "undefined"
    return f"{np.nanmedian(array):.3g} ({np.nanmin(array):.3g} - {np.nanmax(array):.3g})"
