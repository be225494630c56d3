"""Which files of a finished sweep are as they were written, by the checksums in its manifest."""

from collections.abc import Iterable
from pathlib import Path

from quadsim.simulator.support import store

__all__ = ["EXTENSION", "checksums", "damaged_files", "has_figures", "place_of"]

EXTENSION = "extension-"
"""Begin of the name of the folder, inside that of a finished sweep, in which its extension grows."""


def place_of(folder: Path) -> Path:
    """The folder that holds the files of a sweep: itself, or inside it that of a finished extension.

    The manifest of an extension is written last. From then on the sweep is the extended one, wherever the process ends that
    puts its files in place of the earlier ones.
    """
    try:
        finished = [path.parent for path in folder.glob(f"{EXTENSION}*/{store.MANIFEST}")]
    except OSError:  # a folder that must not be read holds nothing for us; whoever opens a file in it says so
        return folder
    return finished[0] if finished else folder


def checksums(folder: Path) -> dict[str, str]:
    """Of the files that hold the results, as the manifest states them."""
    names = (store.CONFIG, store.PROBLEM, store.SUMMARY, store.CURVES, store.HISTOGRAM, store.GUARANTEES)
    return {name: store.checksum(folder / name) for name in names if (folder / name).is_file()}


def damaged_files(folder: Path) -> list[str]:
    """Names of the files of a finished sweep that are not as they were written.

    Folders of the first release state no checksums; there nothing can be said.
    """
    try:
        manifest = store.read_json(folder / store.MANIFEST, "manifest")
    except ValueError:
        return [store.MANIFEST]
    stated = manifest.get("files", {}) if isinstance(manifest, dict) else None
    if not isinstance(stated, dict):
        return [store.MANIFEST]
    found = checksums(folder)
    return [name for name, digest in stated.items() if found.get(name) != digest]


def has_figures(folder: Path, names: Iterable[str]) -> bool:
    """Whether a folder holds the figures of these names, each as PNG and as PDF, with its numbers as CSV."""
    place = folder / store.FIGURES
    return all((place / f"{name}.{suffix}").is_file() for name in names for suffix in ("png", "pdf", "csv"))
