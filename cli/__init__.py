"""The command line. Heavy imports happen inside the commands, so that the help is printed at once."""


def main() -> None:
    """Run the program; the process that draws imports this package without its commands."""
    from quadsim.cli.app import main as run

    run()
