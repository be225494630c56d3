"""Run claims of the papers (`reproduce`): each is judged by its own criterion; data and figures go to a folder."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from quadsim.simulator.support import store
from quadsim.simulator.support.checks import check_choice, check_count, check_workers
from quadsim.simulator.support.paths import local_path
from quadsim.simulator.support.provenance import provenance
from quadsim.simulator.support.torch_modes import own_modes
from quadsim.simulator.sweeps.run.folder import folder_for_one
from quadsim.theory.claims.judging.claim import Claim
from quadsim.theory.claims.judging.setting import SIZES, Setting
from quadsim.theory.claims.registry import CLAIMS
from quadsim.theory.claims.running.outcome import Outcome
from quadsim.theory.claims.running.tasks import outcomes as run_claims

__all__ = ["CLAIMS_FILE", "in_reading_order", "load_claims", "reproduce", "unfixed"]

_log = logging.getLogger("quadsim")

CLAIMS_FILE = "claims.json"
_AGAIN = "run `quadsim reproduce` again elsewhere"

T = TypeVar("T")

Progress = Callable[[int, int, str], None]


@own_modes()
def reproduce(
    ids: Iterable[str] = (),
    *,
    size: str = "quick",
    seed: int = 0,
    out: str | Path | None = None,
    progress: Progress = lambda done, total, text: None,
    into: list[Outcome] | None = None,
    workers: int = 1,
) -> list[Outcome]:
    """Run claims of the papers and judge them.

    Args:
        ids: ids of claims; None: all claims.
        size: `quick` (all in minutes) or `full` (used for the table of the README); `tiny` only shows that it runs.
        seed: added to the seed of every draw.
        out: a folder for data, figures and `claims.json`, written claim by claim. Earlier results of other claims in it are
            kept, whatever their size. A warning is logged for a figure that cannot be drawn.
        progress: called after every claim with (done, total, name).
        into: a list to which outcomes are appended, so that finished ones are available after an interrupt.
        workers: number of processes, which share the claims, the parts of an experiment (`Cells`) and the values of a reach; 1:
            this process. The results are the same bits for any number.

    Returns:
        One outcome per claim, in the order in which they finished.

    Raises:
        ValueError: an unknown id or size, a criterion that is not fixed before a full run, or a folder that cannot be written or
            holds something else.
    """
    chosen = [CLAIMS[check_choice("claim", name, CLAIMS)] for name in dict.fromkeys(ids)] or list(CLAIMS.values())
    setting = Setting(check_choice("size", size, SIZES), check_count("seed", seed, 0))
    outcomes: list[Outcome] = [] if into is None else into
    if setting.size == "full" and (complaint := next(filter(None, map(unfixed, chosen)), "")):
        raise ValueError(complaint)
    out = None if out is None else local_path("out", out)
    undrawn: dict[str, str] = {}
    check_workers(workers)
    with _alone(out) as entries:
        began = time.perf_counter()
        progress(0, len(chosen), chosen[0].id)
        for done, outcome in enumerate(run_claims(chosen, setting, workers), 1):
            outcomes.append(outcome)
            if out is not None:
                _save_tables(outcome, out)
                entries[outcome.claim.id] = outcome.to_json()
                store.write_json(
                    out / CLAIMS_FILE,
                    _document(entries) | {"manifest": provenance(time.perf_counter() - began, seed=seed)},
                )
                try:
                    _save_figure(outcome, out)
                except Exception as error:  # any error: the claim is judged and its tables are stored
                    undrawn[outcome.claim.id] = " ".join(f"{type(error).__name__}: {error}".split())
            progress(done, len(chosen), f"{outcome.claim.id}: {outcome.verdict}")
    if undrawn:
        _log.warning(
            "the figures of %s could not be drawn (%s); their results are finished, and `quadsim report %s` draws them.",
            ", ".join(undrawn),
            next(iter(undrawn.values())),
            out,
        )
    return outcomes


def unfixed(claim: Claim) -> str:
    """Return why a claim cannot be run in full: its history does not end with its present criterion; empty if it does."""
    if claim.is_fixed:
        return ""
    last = claim.history[-1].criterion if claim.history else "no entry"
    return (
        f"the criterion of {claim.id} must be fixed before a full run: its history must end with Fixed(date, {claim.digest()!r}, "
        f"what was run before, what changed), got {last!r}; add that entry."
    )


def in_reading_order(entries: Mapping[str, T]) -> dict[str, T]:
    """Return what is known of claims by id, in the order of CLAIMS; claims of another version come last."""
    return {name: entries[name] for name in dict.fromkeys([*CLAIMS, *entries]) if name in entries}


def _document(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON document of the outcomes, in reading order."""
    ordered = list(in_reading_order(entries).values())
    return {"claims": ordered, "size": " and ".join(dict.fromkeys(str(entry.get("size")) for entry in ordered))}


def load_claims(folder: Path) -> dict[str, Any]:
    """Return the document that `reproduce` wrote to a folder.

    Raises:
        ValueError: a folder without such a document, or with one of another kind.
    """
    document: dict[str, Any] = store.read_json(folder / CLAIMS_FILE, "claims", _AGAIN)
    entries = document.get("claims") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(e, dict) and isinstance(e.get("id"), str) for e in entries):
        raise ValueError(
            f"claims must be a document that `quadsim reproduce` wrote, got {folder / CLAIMS_FILE}; run it again elsewhere."
        )
    return document


@contextmanager
def _alone(out: Path | None) -> Iterator[dict[str, Any]]:
    """Lock the folder, if there is one, for this process, and yield the entries of other claims that it contains.

    Raises:
        ValueError: other content, another process at work, or a folder that cannot be written.
    """
    if out is None:
        yield {}
        return
    # What a process that was killed may have left before its first document.
    with folder_for_one(out, "earlier claims", CLAIMS_FILE, lambda path: path.name in {store.REPORT, *CLAIMS}):
        found = load_claims(out)["claims"] if (out / CLAIMS_FILE).is_file() else []
        yield {entry["id"]: entry for entry in found}


def _save_tables(outcome: Outcome, out: Path) -> None:
    if outcome.found is None:
        return
    folder = out / outcome.claim.id
    folder.mkdir(exist_ok=True)
    for name in ("figure.png", "figure.pdf", "reach.png", "reach.pdf"):  # of earlier tables
        (folder / name).unlink(missing_ok=True)
    for name, table in outcome.found.tables.items():
        store.write_frame(folder / f"{name}.parquet", table)


def _save_figure(outcome: Outcome, out: Path) -> None:
    if outcome.found is None:
        return
    from quadsim.simulator.figures.panels import save_figure

    save_figure(outcome.figure(), out / outcome.claim.id, "figure")
    if (reach := outcome.reach_figure()) is not None:
        save_figure(reach, out / outcome.claim.id, "reach")
