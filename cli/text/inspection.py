"""The tables and the words that quadsim inspect prints."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quadsim.cli.text.narrow import TextTable, output, print_table
from quadsim.simulator.curvature.inspection import JS_BINS, Inspection
from quadsim.simulator.support.paths import shown

__all__ = ["coupling_sentences", "print_inspection"]

_MEANINGS = {
    "loss": "unweighted loss",
    "loss_weighted": "optimised loss",
    "gradient_ratio": "gradient norms of blocks, largest / smallest",
    "gradient_log_std": "  standard deviation of their logarithm",
    "gradient_gini": "  Gini coefficient",
    "gradient_variation": "  coefficient of variation",
    "head_common": "head, common part (the softmax does not see it)",
    "head_centred": "head, centred part",
    "noise_trace": "noise of the gradient of one sequence: trace of its covariance C",
    "noise_scale": "  noise scale tr C / |g|^2 (the batch with as much noise as gradient)",
    "noise_l1": "  sum of the standard deviations, the l1 norm that sign steps feel",
    "noise_scale_l1": "  noise scale in that norm, (sum of standard deviations / |g|_1)^2",
    "Lambda_G": "Lambda_G (block curvature, weighted by the gradient)",
    "Lambda_P": "Lambda_P (weighted by size)",
    "Lambda_ratio": "Lambda_G / Lambda_P",
    "covariance": "covariance of gradient and curvature over blocks",
    "JS0": f"JS0 (mean Jensen-Shannon distance, base 2, {JS_BINS} bins)",
    "off_block_spectral": "|H - blocks| / |H|, spectral",
    "off_block_frobenius": "|H - blocks| / |H|, Frobenius",
    "whole_over_block": "|H| / largest block",
    "coupling": "smallest c with -cD <= H - D <= cD, D the blocks, where D is positive",
    "positive_share": "  share of the dimensions where D is positive",
    "delta_over_Lambda_G": "|H - D| / Lambda_G (the theorem on gradient steps needs 1/3 at most)",
    "delta_over_Lambda_P": "|H - D| / Lambda_P (the theorem on sign steps needs 1/3 at most)",
}


def print_inspection(
    found: Inspection, local: Any, folder: Path, *, quiet: bool, along: pd.DataFrame | None = None
) -> None:
    """A row per block, what holds for the whole, and, along training, how the local models did."""
    console = output()
    problem = found.problem
    if not quiet:
        print_table(console, _blocks(found))
    print_table(console, _whole(found))
    for sentence in coupling_sentences(found):
        console.print(sentence, highlight=False)
    if along is not None and not quiet:
        print_table(console, _along(along))
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
    more = "" if along is None else "coupling.parquet, "
    names = f"blocks.parquet, summary.parquet, {more}figures/, config.json, manifest.json"
    console.print(f"Files: {shown(folder)}/ ({names})", highlight=False)


def coupling_sentences(found: Inspection) -> list[str]:
    """Return what the coupling of the blocks and delta over Lambda say about the theorems on blocks."""
    summary = found.summary
    if "coupling" not in summary:
        return []
    number = len(summary)
    above = int((summary["coupling"] > 1.0).sum())
    unknown = int(summary["coupling"].isna().sum())
    if above:
        first = (
            f"c exceeds 1 on {above} of {number} seeds: the block-diagonal picture guarantees nothing about these Hessians, not "
            "even on the part where the blocks are positive."
        )
    else:
        first = f"c is at most 1 on {number - unknown} of {number} seeds: bounds of the blocks hold on the part where they are "
        first += "positive, with 1 + c and 1 - c."
    speaks = {
        words: int((summary[name] <= 1.0 / 3.0).sum())
        for words, name in (("gradient", "delta_over_Lambda_G"), ("sign", "delta_over_Lambda_P"))
    }
    counts = " and ".join(f"of {words} steps on {many}" for words, many in speaks.items())
    return [first, f"The theorems with delta = |H - D| (at most Lambda/3) speak {counts} of {number} seeds."]


def _along(along: pd.DataFrame) -> TextTable:
    """Medians over the seeds at every step that was asked for."""
    lines = [
        (
            str(step),
            *(_median_and_range(rows[name]) for name in ("coupling", "delta_over_Lambda_G", "delta_over_Lambda_P")),
        )
        for step, rows in along.groupby("step", sort=True)
    ]
    headings = ("step", "smallest c", "|H - D| / Lambda_G", "|H - D| / Lambda_P")
    return TextTable("The part outside the blocks along training; median (smallest - largest)", headings, (), lines)


def _blocks(found: Inspection) -> TextTable:
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
    return TextTable(f"Blocks of the partition {found.partition.name} {when}; {what}", headings, (0,), lines)


def _whole(found: Inspection) -> TextTable:
    title = f"The whole; median (smallest - largest) of {found.problem.problems} seeds"
    summary = found.summary
    lines = [(text, _median_and_range(summary[name])) for name, text in _MEANINGS.items() if name in summary]
    return TextTable(title, ("quantity", "value"), (0,), lines)


def _median_and_range(values: pd.Series) -> str:
    array = values.to_numpy(dtype=np.float64)
    if np.isnan(array).all():
        return "undefined"
    return f"{np.nanmedian(array):.3g} ({np.nanmin(array):.3g} - {np.nanmax(array):.3g})"
