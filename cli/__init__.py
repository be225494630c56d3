"""Command line: how it is asked for. Heavy imports happen inside commands, so that help answers at once."""

from quadsim.cli.app import main as main
