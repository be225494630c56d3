"""Finished sweeps side by side: ratios of their median steps at every point and optimizer that they share, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quadsim.simulator.support.statistics import middle_95
from quadsim.simulator.sweeps.config.families import family_of
from quadsim.simulator.sweeps.config.sameness import differences, point_key
from quadsim.simulator.sweeps.results.comparison import ENOUGH_SEEDS, TIE, Ratio
from quadsim.simulator.sweeps.results.results import Results

__all__ = ["NAMES", "SideBySide", "side_by_side"]

NAMES = "ABC"
"""What the sweeps are called in tables, in the order in which they were given."""


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Sweeps that are compared with the first of them, A.

    Attributes:
        sweeps: A, B and perhaps C.
        table: a row per shared point, optimizer and sweep beside A: `sweep`, the axis of comparison and the facets of A,
            `optimizer`, `setting_A` and `setting` (the best of the other), `steps_A` and `steps` (medians until the criterion of
            each), `ratio` (of the other over A; NaN where neither reaches its tolerance), `low` and `high` (95% bootstrap
            interval; NaN below six seeds), `paired`.
        paired: for every sweep beside A, whether its seeds are the same problems, which are then resampled in pairs.
        differences: for every sweep beside A, entries of the configuration with the values of both.
    """

    sweeps: tuple[Results, ...]
    table: pd.DataFrame
    paired: tuple[bool, ...]
    differences: tuple[dict[str, tuple[str, str]], ...]

    @property
    def notes(self) -> list[str]:
        """How to read the ratios: which problems they compare, and how sure they are."""
        out = []
        for name, paired in zip(NAMES[1:], self.paired, strict=False):
            what = "the same problems, resampled in pairs" if paired else "resampled each on its own, not in pairs"
            out.append(f"A and {name}: {what}.")
        seeds = min(len(each.config.reported) for each in self.sweeps)
        if seeds < ENOUGH_SEEDS:
            out.append(f"Below {ENOUGH_SEEDS} seeds there are no intervals ({seeds} here).")
        if any(each.histogram is not None for each in self.sweeps):
            out.append("Where counts were kept, steps are upper ends of bins, which are 12% wide.")
        return out

    @property
    def answer(self) -> str:
        """How many of the ratios differ from 1, in one sentence a sweep."""
        sentences = []
        for name, rows in self.table.groupby("sweep", sort=False):
            ratios = [Ratio(*map(float, row)) for row in rows[["ratio", "low", "high"]].to_numpy()]
            slower = sum(each.value >= TIE and (each.is_certain or np.isnan(each.low)) for each in ratios)
            faster = sum(each.value <= 1 / TIE and (each.is_certain or np.isnan(each.low)) for each in ratios)
            known = [each.value for each in ratios if 0.0 < each.value < np.inf]
            spread = f"; ratios from {min(known):.3g} to {max(known):.3g}" if known else ""
            if not slower and not faster:
                where = f"{len(ratios)} shared points and optimizers"
                same = bool(known) and min(known) == max(known) == 1.0
                sentences.append(
                    f"{name} needs as many steps as A at all {where}."
                    if same
                    else f"At none of {where}, {name} differs from A by 10% or more for certain{spread}."
                )
                continue
            sentences.append(
                f"Of {len(ratios)} shared points and optimizers, {name} needs more steps than A at {slower} and fewer at "
                f"{faster}, by 10% or more{spread}."
            )
        return " ".join(sentences)


def side_by_side(sweeps: Sequence[Results]) -> SideBySide:
    """Compare sweeps with the first of them.

    Args:
        sweeps: two or three, of one family of problems.

    Raises:
        ValueError: another number, different families, or no point and optimizer that all of them share.
    """
    if not 2 <= len(sweeps) <= len(NAMES):
        raise ValueError(f"sweeps must be 2 or 3, got {len(sweeps)}; name A, B and perhaps C.")
    first, *others = sweeps
    kinds = [family_of(each.config).problems for each in sweeps]
    if len(set(kinds)) > 1:
        raise ValueError(
            f"sweeps must be on one family of problems, got {' and '.join(kinds)}; compare like with like."
        )
    frames, paired = [], []
    for number, other in enumerate(others, start=1):
        pairs = _are_pairs(first, other)
        frame = _rows(first, other, 0 if pairs else number)
        if frame.empty:
            raise ValueError(
                f"sweeps must share a point and an optimizer, got A and {NAMES[number]} without one in common; compare others."
            )
        frame.insert(0, "sweep", NAMES[number])
        paired.append(pairs)
        frames.append(frame.assign(paired=pairs))
    found = tuple(_differences(first, other) for other in others)
    return SideBySide(tuple(sweeps), pd.concat(frames, ignore_index=True), tuple(paired), found)


def _differences(first: Results, other: Results) -> dict[str, tuple[str, str]]:
    """Return the entries that differ; optimizers that are not built in are told by their names where those differ.

    An entry that a document leaves out, as it has its default, is told by that.
    """
    stored = [each.config.to_json() for each in (first, other)]
    documents = [dict(document) for document in stored]
    for each, document, there in zip((first, other), documents, reversed(stored), strict=True):
        left_out = {key: getattr(each.config, key, None) for key in there if key not in document}
        document |= {key: value for key, value in left_out.items() if isinstance(value, str | int | float)}
    names = [[one["label"] for one in document.get("own", [])] for document in documents]
    if names[0] != names[1]:
        documents = [{**document, "own": own} for document, own in zip(documents, names, strict=True)]
    return differences(*documents)


def _are_pairs(first: Results, other: Results) -> bool:
    """Whether the rows of both are of the same problems: those of a shared point follow from the seed and their number."""
    same = first.config.seed == other.config.seed and first.config.reported == other.config.reported
    return same and first.histogram is None and other.histogram is None


def _rows(first: Results, other: Results, sample: int) -> pd.DataFrame:
    """A row per shared point and optimizer; `sample`: see `draws_of_rows`."""
    columns = [first.config.axis, *(name for name in first.facets if name in first.best)]
    there = {point_key(point): p for p, point in enumerate(other.config.points)}
    points = {p: there.get(point_key(point)) for p, point in enumerate(first.config.points)}
    theirs = {(row["point"], row["optimizer"]): row for row in other.best_rows}
    enough = min(len(first.config.reported), len(other.config.reported)) >= ENOUGH_SEEDS
    draw_first, draw_other = first.draws(_grouped(first)), other.draws(_grouped(other), sample)
    rows = []
    for own in first.best_rows:
        point = points[own["point"]]
        if point is None or (point, own["optimizer"]) not in theirs:
            continue
        key = (point, own["optimizer"])
        row = theirs[key]
        steps = np.array([own["steps_median"], row["steps_median"]])
        low = high = np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            if enough:
                low, high = middle_95(draw_other(key) / draw_first((own["point"], own["optimizer"])))
            ratio = float(steps[1] / steps[0])
        rows.append(
            {name: own[name] for name in columns}
            | {"optimizer": own["optimizer"], "setting_A": own["setting"], "setting": row["setting"]}
            | {"steps_A": steps[0], "steps": steps[1], "ratio": ratio, "low": low, "high": high}
        )
    return pd.DataFrame(rows)


def _grouped(results: Results) -> list[dict[str, Any]]:
    """The rows of the best rates, those of a combination of the facets one after the other."""
    return [row for _, rows in results.grouped_rows for row in rows]
