"""Run the kernels of a test file on a CPU, under Triton's interpreter."""

import os
import subprocess
import sys

import pytest


def names_run(file):
    """The names that a file prints which is run as a program, in a process of its own: Triton reads the variable when imported."""
    pytest.importorskip("triton", reason="triton is for Linux only")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", file],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return done.stdout.split()
