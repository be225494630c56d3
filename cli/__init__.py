"""The command line. Heavy imports happen inside the commands, so that the help is printed at once."""

from quadsim.cli.app import main as main
