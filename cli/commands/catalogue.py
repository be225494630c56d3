"""The commands `quadsim rules`, `quadsim theorems` and `quadsim info`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from quadsim.cli.console import JsonOption, print_json, usage_errors


def rules(
    name: Annotated[
        str | None, typer.Argument(help="Name of an optimizer; all of them are listed if left out.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            help="Show the source of the kernel that is generated from this optimizer: cpu or gpu.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the optimizers, or one with its formula and settings.

    Example: quadsim rules adam
    """
    with usage_errors():
        if source is not None:
            from quadsim.cli.text.describe import kernel_text
            from quadsim.simulator.rules.catalogue import resolve_rule

            kernel = kernel_text(None if name is None else resolve_rule(name), source)
            print_json({"rule": name, "kernel": kernel}) if as_json else typer.echo(kernel)
            return
        shown = _kept("rules", name, _rules)
    print_json(shown["record"]) if as_json else typer.echo(shown["text"])


def _kept(what: str, name: str | None, make: Callable[[str | None], dict[str, Any]]) -> dict[str, Any]:
    """What `make` says of a name, from the cache where it was said before: SymPy takes a second for it.

    It depends on the sources of rules and theorems, on the modules that word it, on the width of the terminal, and on the
    version of SymPy.
    """
    from importlib.metadata import version

    from quadsim.cli.text.narrow import text_width
    from quadsim.simulator.support.kept import kept_document
    from quadsim.simulator.support.provenance import source_digest

    wording = [Path(__file__).parent.with_name("text") / f"{module}.py" for module in ("describe", "narrow")]
    depends_on = [
        what,
        name,
        text_width(),
        version("sympy"),
        source_digest(),
        *(path.read_text("utf-8") for path in wording),
    ]
    found: dict[str, Any] = kept_document(what, repr(depends_on), lambda: make(name))
    return found


def _rules(name: str | None) -> dict[str, Any]:
    from quadsim.cli.text.describe import rule_record, rule_text, rules_table
    from quadsim.simulator.rules.catalogue import RULES, resolve_rule

    if name is None:
        return {"text": rules_table(), "record": [rule_record(rule) for rule in RULES.values()]}
    rule = resolve_rule(name)
    return {"text": rule_text(rule), "record": rule_record(rule)}


def theorems(
    name: Annotated[str | None, typer.Argument(help="Name of a theorem; all of them are listed if left out.")] = None,
    rule: Annotated[
        str | None,
        typer.Option("--for", help="List what speaks of this optimizer, and what is open.", show_default=False),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Print the theorem with its proof as latex, markdown, lean-sketch, or json, for the independent checker.",
            show_default=False,
        ),
    ] = None,
    as_bibtex: Annotated[
        bool,
        typer.Option(
            "--bibtex", help="Print the papers of the theorem (all without NAME) and this software as BibTeX."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the theorems, or one with its proof.

    With NAME: its statement, hypotheses and proof; every step of the proof is checked again, and the exit code is 1 if one
    cannot be proved.

    Example: quadsim theorems gd-upper
    """
    if form is not None or as_bibtex:
        with usage_errors():
            typer.echo(_exported(name, form, {"--for": rule is not None, "--json": as_json, "--bibtex": as_bibtex}))
        return
    if rule is not None:
        _theorems_for(name, rule, as_json=as_json)
        return
    if name is None:
        shown = _kept("theorems", None, _theorems)
        print_json(shown["record"]) if as_json else typer.echo(shown["text"])
        return
    from quadsim.cli.text.describe import theorem_record, theorem_text
    from quadsim.simulator.support.checks import check_choice
    from quadsim.theory import THEOREMS

    with usage_errors():
        chosen = THEOREMS[check_choice("theorem", name, THEOREMS)]
    record = theorem_record(chosen, discharge=True)
    if as_json:
        print_json(record)
    else:
        typer.echo(theorem_text(record))
    if any(step["status"] not in ("proved", "cited") for step in record["steps"]):
        raise typer.Exit(1)


FORMATS = ("latex", "markdown", "lean-sketch", "json")
"""In what `quadsim theorems NAME --format` prints a theorem."""


def _exported(name: str | None, form: str | None, others: dict[str, bool]) -> str:
    """Return a theorem in one of FORMATS, or the papers of theorems.

    Raises:
        ValueError: options that do not go together, an unknown format or an unknown theorem.
    """
    import json

    from quadsim.simulator.support.checks import check_choice
    from quadsim.theory import THEOREMS

    asked = "--bibtex" if form is None else "--format"
    if taken := [option for option, given in others.items() if given and option != asked]:
        raise ValueError(f"{asked} must stand alone, got {taken[0]}; leave one out.")
    if form is not None:
        check_choice("format", form, FORMATS)
        if name is None:
            raise ValueError(
                "--format must come with the NAME of a theorem, got none; as in quadsim theorems gd-upper."
            )
    chosen = [THEOREMS[check_choice("theorem", n, THEOREMS)] for n in ([name] if name else THEOREMS)]
    if form is None:
        from quadsim.theory.exporting.sources import bibtex

        return bibtex(*chosen).rstrip()
    if form == "json":
        from quadsim.theory.exporting.document import proof_document

        return json.dumps(proof_document(*chosen), indent=1, ensure_ascii=False)
    if form == "lean-sketch":
        from quadsim.theory.exporting.lean import lean_sketch

        return lean_sketch(chosen[0]).rstrip()
    from quadsim.theory.exporting.latex import latex_document, markdown_theorem

    return (latex_document if form == "latex" else markdown_theorem)(chosen[0]).rstrip()


def _theorems_for(name: str | None, rule: str, *, as_json: bool) -> None:
    """Print the theorems that speak of a rule, and what is open; hyperparameters may stand with it, as in labels of a sweep."""
    from quadsim.cli.text.describe import theorem_record, theorems_for_text
    from quadsim.simulator.rules.optimizer import OptimizerSpec
    from quadsim.theory import THEOREMS
    from quadsim.theory.statements.as_run.open_questions import OPEN

    with usage_errors():
        if name is not None:
            raise ValueError(
                f"NAME must be left out with --for, which lists theorems, got {name!r} and {rule!r}; drop one."
            )
        found = OptimizerSpec.parse(rule).rule.name
    records = [theorem_record(t, discharge=False) for t in THEOREMS.values() if found in t.rules]
    open_ = list(OPEN.get(found, ()))
    if as_json:
        print_json({"rule": found, "theorems": records, "open": open_})
    else:
        typer.echo(theorems_for_text(found, records, open_))


def _theorems(_: str | None) -> dict[str, Any]:
    from quadsim.cli.text.describe import theorem_record, theorems_table
    from quadsim.theory import THEOREMS

    records = [theorem_record(theorem, discharge=False) for theorem in THEOREMS.values()]
    return {"text": theorems_table(records), "record": records}


def info(as_json: JsonOption = False) -> None:
    """Show versions, devices and engines.

    Example: quadsim info --json
    """
    from quadsim.cli.text.environment import environment

    record = environment()
    if as_json:
        print_json(record)
    else:
        for key, value in record.items():
            text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            typer.echo(f"{key:12} {text}")
