"""`python -m quadsim`, the same as the command `quadsim`."""

from quadsim.cli import main

main()
