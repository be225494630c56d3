"""Hashes of what ten sweeps find: run on two commits, the same lines show that a change of the code changed no number.

    python tests/result_hashes.py > before.txt    # and again on the other commit; then compare the two files

Hashed are the columns and values of `summary.parquet` (or `histogram.parquet`) and the values of `trajectories.nc`, not the bytes
of the files, which hold versions of libraries. The hashes are those of one platform and set of versions.
"""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

EVERY_RULE = (
    "gd,heavy-ball,nesterov,normalized-gd,gd-lambda,signsgd,sign-lambda,signum,rmsprop,adam,adam-frozen,adamw,lion"
)

SWEEPS = {
    "default": "--optimizers gd,signsgd,adam --heterogeneity 1,10,100 --seeds 4 --steps 2000",
    "arrange": "--optimizers gd,signsgd,adam --mode arrange --heterogeneity 3,30,300 --seeds 3 --steps 1000",
    "cases": "--case heterogeneous,homogeneous --optimizers gd,adam:beta1=0 --seeds 3 --steps 500",
    "rotated": "--optimizers gd,signsgd,adam --rotation 0,0.5,1 --heterogeneity 10 --condition-number 100 --seeds 3 --steps 500",
    "gradient-dials": "--optimizers gd,signsgd,adam --heterogeneity 100 --gradient-heterogeneity 10 --alignment=-1,0,1 --seeds 3 --steps 500",
    "every-rule": f"--optimizers {EVERY_RULE},block-gd,adam-mini --heterogeneity 1,30 --seeds 2 --steps 300 --engine reference",
    "float32": "--dtype float32 --heterogeneity 10 --optimizers gd,signum,rmsprop --schedule cosine:warmup=10 --seeds 3 --steps 300",
    "quantiles": "--optimizers gd,signsgd,adam --keep quantiles --heterogeneity 1,100 --seeds 40 --steps 500",
    "transformer": "--model transformer --heterogeneity 1,10 --optimizers gd,adam --seeds 2 --steps 60",
    "mlp": "--model mlp --dial separable --heterogeneity 1,10 --optimizers gd,signsgd --seeds 2 --steps 60",
}

ADDED = (
    "coupling",
    "partition",
    "batch",
    "label_noise",
    "noise_law",
    "setting",
    "family",
    "steps_to_stay",
    "steps_to_mean",
    "steps_to_stay_weighted",
    "stay_runs",
)
"""Columns that were added since: the others are compared with older commits."""


EARLIER = {"not_reached": "running"}
"""Names that changed since to those that earlier commits wrote, by which all are compared."""


def hashed(folder: Path) -> str:
    """The hash of a result folder."""
    digest = hashlib.sha256()
    for name in ("summary.parquet", "histogram.parquet"):
        if (folder / name).is_file():
            frame = pd.read_parquet(folder / name).rename(columns=EARLIER)
            if "status" in frame:
                frame["status"] = frame["status"].replace(EARLIER)
            for column in frame.columns.difference(ADDED, sort=False):
                values = frame[column].to_numpy()
                digest.update(column.encode())
                digest.update(values.tobytes() if values.dtype.kind in "fiub" else "\n".join(map(str, values)).encode())
    if (folder / "trajectories.nc").is_file():
        with xr.open_dataset(folder / "trajectories.nc", engine="h5netcdf") as curves:
            for name in sorted(map(str, curves.data_vars)):
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(curves[name].to_numpy()).tobytes())
    return digest.hexdigest()[:16]


def main() -> None:
    """Print a line per sweep."""
    for name in sys.argv[1:] or SWEEPS:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "sweep"
            command = [
                sys.executable,
                "-P",
                "-m",
                "quadsim.cli",
                "sweep",
                *SWEEPS[name].split(),
                "--quiet",
                "--out",
                str(folder),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            print(name, hashed(folder) if done.returncode == 0 else f"failed: {done.stderr.strip()[-300:]}", flush=True)


if __name__ == "__main__":
    main()
