"""The commands `quadsim rules`, `quadsim theorems` and `quadsim info`."""

from typing import Annotated

import typer

from quadsim.cli.console import JsonOption, print_json, usage_errors


def rules(
    name: Annotated[str | None, typer.Argument(help="An optimizer; without a name all of them are listed.")] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", help="Show the generated kernel of NAME instead: cpu or gpu.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the optimizers, or one with its formula, settings and source.

    Example: quadsim rules adam
    """
    from quadsim.cli.text.describe import kernel_text, rule_record, rule_text, rules_table
    from quadsim.simulator.rules.catalogue import RULES, resolve_rule

    with usage_errors():
        chosen = None if name is None else resolve_rule(name)
        kernel = None if source is None else kernel_text(chosen, source)
    if kernel is not None:
        if as_json:
            print_json({"rule": name, "kernel": kernel})
        else:
            typer.echo(kernel)
    elif as_json:
        print_json([rule_record(rule) for rule in RULES.values()] if chosen is None else rule_record(chosen))
    else:
        typer.echo(rules_table() if chosen is None else rule_text(chosen))


def theorems(
    name: Annotated[str | None, typer.Argument(help="A theorem; all of them if left out.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the theorems, or one with its statement, hypotheses and proof; every step of the proof is checked again.

    Exit code 1 if a step of the shown proof cannot be proved.

    Example: quadsim theorems gd-upper
    """
    from quadsim.cli.text.describe import theorem_record, theorem_text, theorems_table
    from quadsim.simulator.support.checks import check_choice
    from quadsim.theory import THEOREMS

    with usage_errors():
        chosen = None if name is None else THEOREMS[check_choice("theorem", name, THEOREMS)]
    if chosen is None:
        records = [theorem_record(theorem, discharge=False) for theorem in THEOREMS.values()]
        if as_json:
            print_json(records)
        else:
            typer.echo(theorems_table(records))
        return
    record = theorem_record(chosen, discharge=True)
    if as_json:
        print_json(record)
    else:
        typer.echo(theorem_text(record))
    if any(step["status"] not in ("proved", "cited") for step in record["steps"]):
        raise typer.Exit(1)


def info(as_json: JsonOption = False) -> None:
    """Show versions, devices and engines.

    Example: quadsim info --json
    """
    from quadsim.cli.text.describe import environment

    record = environment()
    if as_json:
        print_json(record)
    else:
        for key, value in record.items():
            text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            typer.echo(f"{key:12} {text}")
