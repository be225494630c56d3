"""The small commands: rules and info."""

from typing import Annotated

import typer

from quadsim.cli.console import print_json, usage_errors

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def rules(
    name: Annotated[str | None, typer.Argument(help="An optimizer; all of them if left out.")] = None,
    as_json: _Json = False,
) -> None:
    """Show the optimizers, or one with its formula, settings and source.

    Example: quadsim rules adam
    """
    from quadsim.cli.describe import rule_record, rule_text, rules_table
    from quadsim.simulator.rules import RULES, resolve_rule

    with usage_errors():
        chosen = None if name is None else resolve_rule(name)
    if as_json:
        print_json([rule_record(rule) for rule in RULES.values()] if chosen is None else rule_record(chosen))
    else:
        typer.echo(rules_table() if chosen is None else rule_text(chosen))


def info(as_json: _Json = False) -> None:
    """Show versions, devices and engines.

    Example: quadsim info --json
    """
    from quadsim.cli.describe import environment

    record = environment()
    if as_json:
        print_json(record)
    else:
        for key, value in record.items():
            text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            typer.echo(f"{key:12} {text}")
