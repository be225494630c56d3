"""`python -m quadsim.cli`."""

from quadsim.cli.app import main

main()
