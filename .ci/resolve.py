#!/usr/bin/env python3
"""Ask pip whether the requirements have a solution: every Python, both builds of torch, every extra.

    python .ci/resolve.py                                   # all of it; needs a package index, and minutes
    python .ci/resolve.py --python 3.13 --build cuda --extra test
    python .ci/resolve.py --cpu-wheel torch-2.13.0+cpu-cp311-cp311-linux_x86_64.whl

Nothing is installed (`pip install --dry-run`). A Python that is not on this machine can be asked for, as only wheels are
looked at. The CUDA build of torch is the one of the package index (`torch===2.13.0`); the CPU build (`torch===2.13.0+cpu`)
must come from an index that pip is configured for (PIP_EXTRA_INDEX_URL), or from one wheel on disk: its list of requirements,
which is the same for every Python, is then put in place of the others. Exit code 1 if a combination has no solution.
"""

import argparse
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# pip compares the names of platforms literally, so every glibc up to a current one is named.
PLATFORMS = [f"manylinux_2_{n}_x86_64" for n in range(39, 4, -1)]
PLATFORMS += [f"manylinux{n}_x86_64" for n in (2014, 2010, 1)] + ["linux_x86_64"]


def torch_version() -> str:
    """The version of torch in the constraints."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    (version,) = (line.removeprefix("torch==") for line in lines if line.startswith("torch=="))
    return version


def relabelled(wheel: Path, folder: Path) -> None:
    """Wheels for all Pythons that hold nothing but the requirements of this one."""
    with zipfile.ZipFile(wheel) as source:
        (name,) = (n for n in source.namelist() if n.endswith(".dist-info/METADATA"))
        metadata, info = source.read(name), name.rpartition("/")[0]
    for python in PYTHONS:
        tag = f"cp{python.replace('.', '')}"
        label = f"{tag}-{tag}-linux_x86_64"
        with zipfile.ZipFile(folder / f"{info.removesuffix('.dist-info')}-{label}.whl", "w") as made:
            made.writestr(f"{info}/METADATA", metadata)
            made.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {label}\n")
            made.writestr(f"{info}/RECORD", "")


def attempt(wheel: Path, python: str, build: str, extra: str, pinned: bool, links: Path) -> tuple[bool, str]:
    """Whether pip finds a solution, and its versions of torch and triton, or why not."""
    torch = torch_version()
    wanted = f"torch==={torch}+cpu" if build == "cpu" else f"torch==={torch}" if pinned else "torch"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--only-binary=:all:"]
    command += ["--python-version", python, "--target", str(links / "unused"), "--find-links", str(links)]
    command += [part for platform in PLATFORMS for part in ("--platform", platform)]
    command += ["-c", str(ROOT / "constraints.txt")] if pinned else []
    command += [f"{wheel}[{extra}]" if extra else str(wheel), wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        return False, " ".join(lines[-6:])
    found = done.stdout.rpartition("Would install ")[2].split()
    return True, " ".join(name for name in found if name.startswith(("torch-", "triton-")))


def main() -> int:
    """Print a line per combination."""
    extras = list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", default=PYTHONS)
    parser.add_argument("--build", nargs="+", default=("cpu", "cuda"), choices=("cpu", "cuda"))
    parser.add_argument("--extra", nargs="*", default=extras, help="which ones; without a name, the package alone")
    parser.add_argument("--no-constraints", action="store_true", help="the newest versions instead of the pinned ones")
    parser.add_argument("--cpu-wheel", type=Path, help="a CPU wheel of torch, where no index offers one")
    asked = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        links = Path(temporary)
        if asked.cpu_wheel:
            relabelled(asked.cpu_wheel, links)
        build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(links / "own"), str(ROOT)]
        subprocess.run(build, check=True)
        (wheel,) = (links / "own").glob("quadsim-*.whl")
        for python in asked.python:
            for kind in asked.build:
                # What satisfies all extras together satisfies each of them; only where there is no such thing, ask for each.
                together = ",".join(asked.extra)
                for extra in dict.fromkeys((together, *asked.extra)):
                    solved, text = attempt(wheel, python, kind, extra, not asked.no_constraints, links)
                    print(f"{python} {kind:4} [{extra}] {'ok' if solved else 'NO SOLUTION'} {text}", flush=True)
                    if solved and extra == together:
                        break
                    failed += not solved
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
