"""The table of a sweep's runs on streams against their exact means, and the sentence that says what it would have shown."""

from quadsim.cli.text.guarantee_table import DERIVED, place_text
from quadsim.cli.text.stored_table import PrintedTable
from quadsim.simulator.problems.oracles import Stream
from quadsim.simulator.sweeps.results.results import Results

__all__ = ["MEANS_TITLE", "means_notes", "means_tables"]

MEANS_TITLE = "Mean of the runs at the best rates against the exact mean on a stream"


def _has_stream(results: Results) -> bool:
    return any(isinstance(getattr(point, "oracle", None), Stream) for point in results.config.points)


def means_tables(results: Results) -> list[PrintedTable]:
    """Return the table, or none where no mean is known."""
    if not _has_stream(results):
        return []
    from quadsim.theory.verifying.streams.sweep_means import sweep_means

    rows: list[list[str] | None] = []
    points = results.best.drop_duplicates("point").set_index("point").to_dict("index")
    for row in sweep_means(results).to_dict("records"):
        words = [f"{row[word]} {word}" for word in ("refuted", "undecided", "holds") if row[word]]
        rows.append([
            place_text(results.config, points[row["point"]]),
            str(row["setting"]),
            str(row["theorem"]) or DERIVED,
            f"{row['runs']:,}",
            ", ".join(words),
            f"{row['worst_relative']:.1%}",
            f"{row['worst_standard_errors']:.1f}",
            f"{row['allowed']:.1f}",
            f"{row['noticed']:.0%}",
            f"{row['wanted']:.1g}" if row["undecided"] else "",
        ])
    headings = [
        " / ".join(results.config.compared), "optimizer", "theorem", "runs", "means", "off by", "in SE", "allowed SE",
        "would show", "runs wanted",
    ]  # fmt: skip
    return [PrintedTable(MEANS_TITLE, headings, rows)] if rows else []


def means_notes(results: Results) -> list[str]:
    """Return the sentence that explains the table; empty where there is none."""
    if not means_tables(results):
        return []
    from quadsim.theory.verifying.streams.means import ERROR_RATE
    from quadsim.theory.verifying.streams.sweep_means import STEPS

    chosen = (
        "as the best rate was chosen on these runs, every rate that was tried counts"
        if results.config.select_on == "all"
        else "rates were chosen on other seeds"
    )
    return [
        f"Means over problems and draws at up to {STEPS} steps; a true one anywhere in this sweep is refuted with a chance of "
        f"{ERROR_RATE:g} at most ({chosen}). 'would show' is the relative error that 95 of 100 sweeps of this size would refute; "
        "undecided are means of too few runs for their tails, and 'runs wanted' is the number that leaves a verdict."
    ]
