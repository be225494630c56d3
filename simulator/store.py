"""The files of a result folder: each written to a temporary name and renamed, so that a killed run leaves whole files."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

__all__ = [
    "CONFIG",
    "CURVES",
    "FIGURES",
    "HISTOGRAM",
    "MANIFEST",
    "REPORT",
    "SUMMARY",
    "is_finished",
    "prepare_folder",
    "read_json",
    "remove_units",
    "seal_unit",
    "sealed_unit",
    "unit_path",
    "write_json",
    "write_whole",
]

CONFIG, MANIFEST, SUMMARY, HISTOGRAM, CURVES, FIGURES, REPORT = (
    "config.json",
    "manifest.json",
    "summary.parquet",
    "histogram.parquet",
    "trajectories.nc",
    "figures",
    "report.html",
)
_UNITS = "units"


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file under a temporary name and rename it."""
    temporary = path.with_name(f"{path.stem}.partial{path.suffix}")
    write(temporary)
    temporary.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Write one JSON document."""
    write_whole(path, lambda temporary: _write_text(temporary, json.dumps(content, indent=2) + "\n"))


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as Parquet."""
    write_whole(path, lambda temporary: frame.to_parquet(temporary, index=False))


def write_dataset(path: Path, dataset: xr.Dataset) -> None:
    """Write a Dataset as NetCDF."""

    def write(temporary: Path) -> None:
        dataset.to_netcdf(temporary, engine="h5netcdf")

    write_whole(path, write)


def read_json(path: Path, what: str) -> Any:
    """Read a JSON document.

    Raises:
        ValueError: the file cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{what} must be a readable file, got {path} ({error}); give a stored config.json.") from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{what} must be JSON, got {path} ({error}); give a config.json that a sweep wrote."
        ) from error


def is_finished(folder: Path) -> bool:
    """Whether a sweep has written everything there; the manifest is written last."""
    return (folder / MANIFEST).is_file()


def prepare_folder(folder: Path, config: dict[str, Any]) -> None:
    """Make the folder, or check that what is there is ours and of the same configuration.

    Raises:
        ValueError: a folder with other content, another configuration, or one that cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out must be a folder, got the file {folder}; choose another name.")
    if folder.is_dir() and any(folder.iterdir()):
        stored = folder / CONFIG
        if not stored.is_file():
            raise ValueError(
                f"out must be empty or hold an earlier sweep, got {folder} with other files; choose another folder."
            )
        if read_json(stored, "config in out") != config:
            raise ValueError(
                f"out must hold the same configuration, got {folder} with another one; choose another folder, or repeat it "
                f"with --config {stored}."
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / CONFIG, config)
    except OSError as error:
        raise ValueError(
            f"out must be a folder that can be written, got {folder} ({error}); choose another."
        ) from error


def unit_path(folder: Path, key: str, suffix: str = ".nc") -> Path:
    """Where an unfinished sweep keeps one finished unit of work."""
    (folder / _UNITS).mkdir(exist_ok=True)
    return folder / _UNITS / f"{key}{suffix}"


def seal_unit(path: Path) -> None:
    """Put the checksum of a unit that is written into its name, so that any later damage shows."""
    path.replace(path.with_name(f"{path.stem}.{_checksum(path)}{path.suffix}"))


def sealed_unit(path: Path) -> Path | None:
    """The unit written for this path, if it is there as it was written; damaged ones are removed.

    They are worth no more than the time to run them again, and are not opened: a damaged file can hang a reader.
    """
    for found in path.parent.glob(f"{path.stem}.*{path.suffix}"):
        if found.name == f"{path.stem}.{_checksum(found)}{path.suffix}":
            return found
        found.unlink()
    return None


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


def remove_units(folder: Path) -> None:
    """Drop the units once the whole is written."""
    shutil.rmtree(folder / _UNITS, ignore_errors=True)
