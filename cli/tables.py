"""The table and the words that a sweep prints."""

from collections.abc import Callable
from typing import Any

import numpy as np
from rich.table import Table

from quadsim.cli.narrow import output, print_table, titled
from quadsim.simulator import store
from quadsim.simulator.model_sweep import ModelSweepConfig
from quadsim.simulator.paths import shown
from quadsim.simulator.results import Results

__all__ = ["point_text", "print_results", "steps_text"]


def print_results(results: Results, *, quiet: bool) -> None:
    """Table, answer, how rates were chosen, and where the files are; with `quiet` the answer alone."""
    console = output()
    if not quiet:
        for label, _, best in results.groups():
            print_table(console, _table(results, label, best))
    for text in results.answers:
        console.print(text, highlight=False)
    if quiet:
        return
    console.print(" ".join(results.notes), highlight=False)
    if results.folder is not None:
        names = [name for name in (store.REPORT, *results.files) if (results.folder / name).exists()]
        console.print(f"Files: {shown(results.folder)}/ ({', '.join(names)})", highlight=False)


def _table(results: Results, label: str, best: Any) -> Callable[[int], Table]:
    config = results.config
    size = f"{config.seeds} problems a row, at most {config.steps} steps"
    title = f"Steps until {config.criterion} ({size})"
    asked = config.axis
    dial = " / ".join(config.dial) if isinstance(config, ModelSweepConfig) else asked
    most = "" if results.histogram is None else " (at most)"
    # Of models, whose steps no theorem bounds, the steps on the loss that is optimised.
    columns = ("last loss", "on optimised loss", "at lr") if config.kind == "model" else ("bound", "steps / bound")
    headings = (dial, "optimizer", "best lr", f"median steps{most}", f"10-90%{most}", *columns)
    rows: list[tuple[str, ...] | None] = []
    last = None
    for row in best.to_dict("records"):
        if last is not None and row["point"] != last:
            rows.append(None)
        rows.append((
            point_text(row, asked) if row["point"] != last else "",
            row["optimizer"],
            f"{row['lr']:.3g}" + (" (edge)" if row["at_edge"] else ""),
            steps_text(row["steps_median"], config.steps),
            f"{steps_text(row['steps_q10'], config.steps)} - {steps_text(row['steps_q90'], config.steps)}",
            *(_on_optimised_loss(row, config.steps) if config.kind == "model" else _bound(row, config.steps)),
        ))
        last = row["point"]
    return titled(f"{title}; {label}" if label else title, headings, (0, 1), rows)


def _bound(row: dict[str, Any], steps: int) -> tuple[str, str]:
    return (
        "no theorem" if np.isnan(row["bound_median"]) else steps_text(row["bound_median"], steps),
        "" if np.isnan(row["margin_median"]) or np.isinf(row["bound_median"]) else f"{row['margin_median']:.2f}",
    )


def _on_optimised_loss(row: dict[str, Any], steps: int) -> tuple[str, str, str]:
    lr = row["lr_weighted"]
    return (
        f"{row['loss_median']:.3g}",
        steps_text(row["steps_weighted_median"], steps),
        "" if np.isnan(lr) else f"{lr:.3g}",
    )


def point_text(row: dict[Any, Any], name: str) -> str:
    """A point on the axis of comparison, with what was achieved where that is not what was asked."""
    if name == "case":
        return f"{row['case']} (c = {row['heterogeneity_achieved']:.4g})"
    asked, achieved = row["heterogeneity"], row.get("heterogeneity_achieved", row["heterogeneity"])
    return f"{asked:g}" if abs(achieved / asked - 1.0) < 1e-9 else f"{asked:g} (got {achieved:.4g})"


def steps_text(value: float, most: int) -> str:
    """A number of steps; one that was not reached within `most` says so."""
    return f"> {most}" if np.isinf(value) else f"{value:g}"
