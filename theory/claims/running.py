"""Run claims of the papers (`reproduce`): each is judged by its own criterion; data and figures go to a folder."""

import importlib.util
import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from quadsim.simulator.support import store
from quadsim.simulator.support.checks import check_choice, check_count
from quadsim.simulator.support.paths import local_path
from quadsim.simulator.support.provenance import origin, provenance
from quadsim.simulator.support.torch_modes import own_modes
from quadsim.simulator.sweeps.backends.processes import why_no_processes
from quadsim.simulator.sweeps.run.folder import folder_for_one
from quadsim.theory.claims.claim import SIZES, Claim, Found, Judgement, Measured, Setting
from quadsim.theory.claims.registry import CLAIMS
from quadsim.theory.instruments import INSTRUMENTS, Controls, show

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CLAIMS_FILE", "Outcome", "in_reading_order", "load_claims", "reproduce"]

_log = logging.getLogger("quadsim")

CLAIMS_FILE = "claims.json"
_AGAIN = "run `quadsim reproduce` again elsewhere"

T = TypeVar("T")

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of running a claim. Not to be confused with the Outcome of an engine.

    Attributes:
        claim: the claim, with its criterion.
        judgement: verdict and reason.
        found: numbers, data and remarks; None if the claim was not run.
        setting: size and seed of the run.
        seconds: duration of the run.
        made: date, commit and command of the run.
    """

    claim: Claim
    judgement: Judgement
    found: Found | None
    setting: Setting
    seconds: float
    made: Mapping[str, str] = field(default_factory=origin)

    @property
    def verdict(self) -> str:
        """One of VERDICTS."""
        return self.judgement.verdict

    @property
    def reason(self) -> str:
        """The reason of the verdict."""
        return self.judgement.reason

    @property
    def judged(self) -> list[Measured]:
        """The measured number of every condition, in their order; empty for a claim that was not run."""
        figures = {} if self.found is None else {figure.name: figure for figure in self.found.measured}
        return [figures[c.measure] for c in self.claim.conditions if c.measure in figures]

    def table(self, name: str | None = None) -> pd.DataFrame:
        """Return a table of the experiment; without a name the first one.

        Raises:
            ValueError: an unknown name.
        """
        tables = {} if self.found is None else self.found.tables
        return tables[check_choice("table", next(iter(tables), "") if name is None else name, tables)]

    def figure(self) -> "Figure":
        """Draw the figure of the claim from its tables.

        Raises:
            ValueError: a claim that was not run.
        """
        if self.found is None:
            raise ValueError(f"claim {self.claim.id} must have been run, got no result: {self.reason}.")
        return draw(self.claim, self.found.tables)

    def to_json(self) -> dict[str, Any]:
        """Return all but the tables as plain data; a number that is not finite becomes None, with its text beside it."""
        claim, found = self.claim, self.found
        states = self.judgement.states or ("missing",) * len(claim.conditions)
        return {
            "id": claim.id,
            "claim": claim.claim,
            "group": claim.group,
            "source": claim.source,
            "scope": "any problem of the kind tried" if claim.anywhere else "large models",
            "method": claim.method,
            "criterion": {
                "text": claim.criterion["text"],
                "conditions": claim.criterion["conditions"],
                "hash": claim.digest(self.setting),
            },
            "verdict": self.verdict,
            "reason": self.reason,
            "measured": [
                {
                    "name": figure.name,
                    "value": _finite(figure.value),
                    "low": _finite(figure.low),
                    "high": _finite(figure.high),
                    "unit": figure.unit,
                    "seeds": figure.seeds,
                    "text": str(figure),
                }
                for figure in (found.measured if found else ())
            ],
            "conditions": [
                vars(condition) | {"state": state} for condition, state in zip(claim.conditions, states, strict=True)
            ],
            "notes": list(found.notes) if found else [],
            "caption": claim.caption,
            "figure": f"{claim.id}/figure.png" if found else None,
            "tables": [f"{claim.id}/{name}.parquet" for name in found.tables] if found else [],
            "size": self.setting.size,
            "seed": self.setting.seed,
            "seconds": round(self.seconds, 1),
            "made": dict(self.made),
        }


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
        workers: number of processes, each with one thread and one claim at a time; 1: this process.

    Returns:
        One outcome per claim, in the order in which they finished.

    Raises:
        ValueError: an unknown id or size, or a folder that cannot be written or holds something else.
    """
    chosen = [CLAIMS[check_choice("claim", name, CLAIMS)] for name in dict.fromkeys(ids)] or list(CLAIMS.values())
    setting = Setting(check_choice("size", size, SIZES), check_count("seed", seed, 0))
    outcomes: list[Outcome] = [] if into is None else into
    out = None if out is None else local_path("out", out)
    undrawn: dict[str, str] = {}
    check_count("workers", workers)
    with _alone(out) as entries:
        began = time.perf_counter()
        progress(0, len(chosen), chosen[0].id)
        for done, outcome in enumerate(_outcomes(chosen, setting, workers), 1):
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


def in_reading_order(entries: Mapping[str, T]) -> dict[str, T]:
    """Return what is known of claims by id, in the order of CLAIMS; claims of another version come last."""
    return {name: entries[name] for name in dict.fromkeys([*CLAIMS, *entries]) if name in entries}


def _document(entries: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON document of the outcomes, in reading order."""
    ordered = list(in_reading_order(entries).values())
    return {"claims": ordered, "size": " and ".join(dict.fromkeys(str(entry.get("size")) for entry in ordered))}


def _outcomes(claims: list[Claim], setting: Setting, workers: int) -> Iterator[Outcome]:
    """Yield outcomes in the order in which they finish."""
    alone = workers == 1 or len(claims) == 1
    if not alone and (reason := why_no_processes()) is not None:
        _log.warning("worker processes cannot be started here (%s); the claims run one after the other.", reason)
        alone = True
    if alone:
        yield from (_run(claim, setting) for claim in claims)
        return
    from joblib import Parallel, delayed, parallel_config

    # A claim contains functions, which cannot be pickled: a process gets its id and returns the results.
    with parallel_config(backend="loky", inner_max_num_threads=1), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A worker stopped")  # it is replaced where its memory has grown
        found = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1, pre_dispatch=workers)(
            delayed(_find)(claim.id, setting) for claim in claims
        )
        for name, judgement, leaves, seconds in found:
            yield Outcome(CLAIMS[name], judgement, leaves, setting, seconds)


def _find(name: str, setting: Setting) -> tuple[str, Judgement, Found | None, float]:
    outcome = _run(CLAIMS[name], setting)
    return name, outcome.judgement, outcome.found, outcome.seconds


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


def draw(claim: Claim, tables: Mapping[str, pd.DataFrame]) -> "Figure":
    """Return the figure of a claim, in the style of the project."""
    from quadsim.simulator.figures.style import drawing

    with drawing():
        return claim.draw(tables)


def _run(claim: Claim, setting: Setting) -> Outcome:
    missing = [extra for module, extra in claim.modules.items() if importlib.util.find_spec(module) is None]
    if missing:
        reason = f"needs the extra {', '.join(missing)} (pip install 'quadsim[{','.join(missing)}]')"
        return Outcome(claim, Judgement("not run", reason), None, setting, 0.0)
    began = time.perf_counter()
    complaints = (
        []
        if claim.unjudged
        else [f"{c.instrument.name} {c.complaint}" for c in map(_shown, claim.instruments) if not c.passes]
    )
    if complaints:
        claim = replace(claim, unjudged=f"an instrument fails its control: {'; '.join(complaints)}")
    with np.errstate(all="ignore"):  # divergence is a state of a run, not a warning
        found = claim.experiment(setting)
    return Outcome(claim, claim.judge(found.measured), found, setting, time.perf_counter() - began)


@cache
def _shown(instrument: str) -> Controls:
    """The controls of an instrument, once in a process."""
    return show(INSTRUMENTS[instrument])


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
    for suffix in ("png", "pdf"):  # a figure of earlier tables does not belong to these
        (folder / f"figure.{suffix}").unlink(missing_ok=True)
    for name, table in outcome.found.tables.items():
        store.write_frame(folder / f"{name}.parquet", table)


def _save_figure(outcome: Outcome, out: Path) -> None:
    if outcome.found is None:
        return
    from quadsim.simulator.figures.panels import save_figure

    save_figure(outcome.figure(), out / outcome.claim.id, "figure")


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
