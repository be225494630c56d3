"""Write the report (`report.html`) of a result folder, from the files of the folder."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quadsim.simulator.sweeps.results.results import Results

__all__ = [
    "CLAIMS",
    "KINDS",
    "VERIFIED",
    "draw_figures",
    "is_presented",
    "kind_of",
    "prepare_page",
    "present",
    "write_report",
]

VERIFIED, CLAIMS = "verify.json", "claims.json"

KINDS = {"sweep": "manifest.json", "verify": VERIFIED, "reproduce": CLAIMS}
"""Command to the file that marks its result folder as finished."""


def kind_of(folder: Path) -> str:
    """Return the command that wrote a folder.

    Raises:
        ValueError: no folder, or no finished result folder of quadsim.
    """
    if not folder.is_dir():
        raise ValueError(
            f"the argument must be a result folder, got {folder}, which is not a folder; name one that a command wrote."
        )
    found = [kind for kind, name in KINDS.items() if (folder / name).is_file()]
    if len(found) > 1:
        raise ValueError(
            f"a result folder must hold one result, got {folder} with {' and '.join(found)}; separate them."
        )
    if not found:
        unfinished = (folder / "config.json").is_file()
        fix = (
            f"finish it with quadsim sweep --config {folder / 'config.json'} --out {folder}"
            if unfinished
            else "name another"
        )
        what = "an unfinished sweep" if unfinished else "none of these"
        raise ValueError(
            f"a result folder must hold one of {', '.join(KINDS.values())}, got {folder} with {what}; {fix}."
        )
    return found[0]


def write_report(folder: Path, *, figures: bool = True) -> Path:
    """Write figures and `report.html` of a finished sweep, verify or reproduce again, from its files alone.

    Args:
        folder: a result folder.
        figures: whether figures are drawn again; else the stored ones are used (that of verify is always drawn).

    Returns:
        The path of the report.

    Raises:
        ValueError: a folder without a finished result, or files that cannot be read.
    """
    from quadsim.cli.pages.page import write_page

    kind = kind_of(folder)
    if kind == "sweep":
        from quadsim.simulator.sweeps.results.results import load_results

        return _write_sweep_report(load_results(folder), figures=figures)
    if kind == "verify":
        from quadsim.cli.pages.verify import verify_page

        return write_page(verify_page(folder), folder)
    from quadsim.cli.pages.claims import claims_page

    if figures:
        from quadsim.cli.pages.claims_figures import draw_again

        draw_again(folder)
    return write_page(claims_page(folder), folder)


def is_presented(results: "Results") -> bool:
    """Whether the folder of a stored sweep holds its figures and its report."""
    from quadsim.simulator.support import store

    return results.folder is not None and results.has_figures and (results.folder / store.REPORT).is_file()


def present(results: "Results") -> None:
    """Draw the figures of a stored sweep and write its `report.html`, if they are not in its folder.

    Installed as the entry point `quadsim.presenters`, through which `quadsim.simulator.sweep` finds it.

    Raises:
        ValueError: a folder to which another process writes, or that is not writable.
    """
    if results.folder is not None and not is_presented(results):
        _write_sweep_report(results, figures=not results.has_figures)


def draw_figures(results: "Results", drawn: Collection[str] = ()) -> None:
    """Draw the figures of a stored sweep, if they are not in its folder.

    Args:
        results: of the sweep.
        drawn: names of figures that the caller has drawn from these results.

    Raises:
        ValueError: a folder to which another process writes, or that is not writable.
    """
    from quadsim.simulator.sweeps.run.folder import locked_folder

    if results.folder is not None and not results.has_figures:
        # The process that ran the sweep stores the table that it has printed while this one draws.
        with locked_folder(results.folder, results.config.to_json(), clean=False):
            _save_figures(results, drawn)


def prepare_page(results: "Results") -> None:
    """Load what the report of a sweep is made of and reduce its pictures, while another process draws its last figure."""
    from quadsim.cli.pages import sweep_bounds  # noqa: F401
    from quadsim.cli.pages.page import load_template
    from quadsim.cli.pages.pictures import picture_of
    from quadsim.cli.pages.sweep import sweep_page  # noqa: F401
    from quadsim.cli.pages.theorem_card import known_theorems
    from quadsim.simulator.support import store

    assert results.folder is not None
    load_template("page.html")
    known_theorems()
    for name in results.figures:
        picture_of(results.folder, f"{store.FIGURES}/{name}.png", "")


def _save_figures(results: "Results", drawn: Collection[str] = ()) -> None:
    from quadsim.simulator.figures.sweep_figures import save_figures
    from quadsim.simulator.support import store

    assert results.folder is not None
    save_figures(results, results.folder / store.FIGURES, but=drawn)


def _write_sweep_report(results: "Results", *, figures: bool) -> Path:
    from quadsim.cli.pages.page import write_page
    from quadsim.cli.pages.sweep import sweep_page
    from quadsim.simulator.sweeps.run.folder import locked_folder

    assert results.folder is not None  # only a stored sweep has a page
    with locked_folder(results.folder, results.config.to_json()):
        if figures:
            _save_figures(results)
        return write_page(sweep_page(results), results.folder)
