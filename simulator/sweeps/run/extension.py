"""extend: a finished sweep grows, and only what is missing is run."""

from pathlib import Path
from typing import Any

from quadsim.simulator.runs.guaranteed import Guarantor
from quadsim.simulator.runs.judged import Judge
from quadsim.simulator.support import store
from quadsim.simulator.support.paths import local_path
from quadsim.simulator.support.torch_modes import own_modes
from quadsim.simulator.sweeps.backends import Backend, Serial
from quadsim.simulator.sweeps.config.extending import extended
from quadsim.simulator.sweeps.results.integrity import EXTENSION
from quadsim.simulator.sweeps.results.results import Results
from quadsim.simulator.sweeps.run.driver import check_devices, finish_sweep, present_results, work_of
from quadsim.simulator.sweeps.run.folder import locked_folder, settle, writable
from quadsim.simulator.sweeps.run.presenting import Presenter, present_as_installed
from quadsim.simulator.sweeps.run.runner import Progress
from quadsim.simulator.sweeps.work.chunk import producer_of
from quadsim.simulator.sweeps.work.stored import Stored

__all__ = ["extend"]


@own_modes()
def extend(
    folder: str | Path,
    judge: Judge | None = None,
    *,
    progress: Progress | None = None,
    backend: Backend | None = None,
    present: Presenter | None = present_as_installed,
    figures: bool = True,
    guarantor: Guarantor | None = None,
    **changes: Any,
) -> Results:
    """Add seeds, values of dials, optimizers or learning rates to a finished sweep, and run only what is missing.

    The results are bit for bit those of a new sweep of the whole: the problem of a seed does not depend on the number of seeds,
    and the grid of learning rates is extended by the same rule, on all runs. Only curves of the best rates are stored; where
    the best rate of an optimizer becomes another one, it is run again on the old seeds for their curves. Rows of the engine
    `reference` are reused only where the same rates run together.

    Until the whole is finished, the folder holds the earlier results, and the new ones grow in a folder inside it; an
    extension that was interrupted goes on with the same call.

    Args:
        folder: of a finished sweep.
        judge: the one that the sweep was run with.
        progress: see `sweep`.
        backend: see `sweep`.
        present: see `sweep`.
        figures: see `sweep`.
        guarantor: see `sweep`.
        **changes: see `extended`, as `seeds=64, heterogeneity=(1, 1000)`.

    Returns:
        Results of the whole.

    Raises:
        ValueError: a folder without a finished, undamaged sweep of this version of quadsim, or a change that is no extension.
        UnfinishedError: a chunk failed three times; the others are finished.
    """
    folder = local_path("folder", folder)
    old = Results.load(folder)
    config = extended(old.config, changes)  # what is no extension is refused before anything is written
    run_on = backend or Serial()
    if config.to_json() != old.config.to_json():
        check_producer(old, judge)
        work = work_of(config)
        work.check()
        check_devices(config, run_on)
        with locked_folder(folder, old.config.to_json()):
            if Results.load(folder).config.to_json() != old.config.to_json():
                raise ValueError(
                    f"the sweep that is extended must stay as it is, got {folder}, which another process extended; give the same "
                    "command again."
                )
            place = folder / f"{EXTENSION}{config.digest}"
            with writable(folder):
                place.mkdir(exist_ok=True)
                store.write_json(place / store.CONFIG, config.to_json())
            finish_sweep(
                work, judge, place, place, progress, run_on, Stored(work, old), figures=figures, guarantor=guarantor
            )
            settle(folder)
    found = Results.load(folder)
    if present is not None and figures:
        present_results(found, present)
    return found


def check_producer(old: Results, judge: Judge | None) -> None:
    """Check that a sweep was run by the same code, libraries and judge, so that further runs fit to its runs.

    Raises:
        ValueError: by others, or by ones that its manifest does not name.
    """
    made, here = old.manifest.get("producer"), producer_of(judge)
    if made != here:
        raise ValueError(
            f"the sweep that is extended must be made by this version ({here}), got {old.folder}, made by "
            f"{made or 'one that did not record itself'}; run it again with quadsim sweep --config {old.folder}/{store.CONFIG} "
            "--out NEW and extend that."
        )
