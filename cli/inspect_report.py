"""The tables and the words that quadsim inspect prints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from quadsim.cli.narrow import output, print_table, titled
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
    console = output()
    problem = found.problem
    if not quiet:
        print_table(console, _blocks(found))
    print_table(console, _whole(found))
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


def _blocks(found: Inspection) -> Callable[[bool], Table]:
    """Medians over the seeds."""
    when = "at the start" if found.step == 0 else f"after {found.step} steps"
    what = f"median (smallest - largest) of {found.problem.problems} seeds"
    headings = ["block", "parameters", "|g|/sqrt(P)"]
    headings += [] if found.spectra is None else ["largest eigenvalue", "smallest"]
    lines: list[list[str]] = []
    frame = found.blocks
    for label, rows in frame.groupby("block", sort=False):
        cells = [str(label), str(rows["size"].iloc[0]), _median_and_range(rows["gradient_norm"])]
        if found.spectra is not None:
            cells += [_median_and_range(rows["smoothness"]), _median_and_range(rows["smallest"])]
        lines.append(cells)
    return titled(f"Blocks of the partition {found.partition.name} {when}; {what}", headings, (0,), lines)


def _whole(found: Inspection) -> Callable[[bool], Table]:
    title = f"The whole; median (smallest - largest) of {found.problem.problems} seeds"
    summary = found.summary
    lines = [(text, _median_and_range(summary[name])) for name, text in _MEANINGS.items() if name in summary]
    return titled(title, ("quantity", "value"), (0,), lines)


def _median_and_range(values: pd.Series) -> str:
    array = values.to_numpy(dtype=np.float64)
    if np.isnan(array).all():
        return "undefined"
    return f"{np.nanmedian(array):.3g} ({np.nanmin(array):.3g} - {np.nanmax(array):.3g})"
