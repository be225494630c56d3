"""The options of `quadsim sweep` that make a configuration.

From the tables of the families follow parameters, help and readers; from what a user gave, the family and its configuration.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quadsim.cli.console import comma_list, number
from quadsim.simulator.sweeps.config.families import FAMILIES, Family
from quadsim.simulator.sweeps.config.options import SHARED, Option

if TYPE_CHECKING:
    from quadsim.simulator.rules.rule import Rule
    from quadsim.simulator.rules.torch_classes import TorchOptimizer
    from quadsim.simulator.sweeps.config.grid import SweepGrid

__all__ = [
    "FLAGS",
    "READERS",
    "config_from_texts",
    "config_of",
    "extended_config",
    "family_of_options",
    "given_options",
    "names_of",
    "own_of_file",
    "read_options",
    "with_options",
]


def names_of(text: str) -> tuple[str, ...]:
    """A comma list of names."""
    return comma_list(text, str)


def _optimizers(text: str) -> tuple[str, ...]:
    """A comma list of optimizers; what begins with key=value is a further hyperparameter of the one before it."""
    found: list[str] = []
    for item in names_of(text):
        if found and "=" in item.partition(":")[0]:
            found[-1] += f":{item}"
        else:
            found.append(item)
    return tuple(found)


def _sizes(text: str) -> Any:
    """`8`, or `1+4+9` for the sizes within one problem."""
    return tuple(number(item) for item in text.split("+")) if "+" in text else number(text)


_READ: dict[str, Callable[[str], Any]] = {
    "number": number,
    "numbers": lambda text: comma_list(text, number),
    "names": names_of,
    "optimizers": _optimizers,
    "sizes": lambda text: comma_list(text, _sizes),
    "text": str,
}


def _ordered() -> list[Family]:
    """Families, the one that needs no option first."""
    return sorted(FAMILIES.values(), key=lambda family: family.option is not None)


def _owners() -> dict[str, list[tuple[Family, Option]]]:
    """Every option with the families that have it: those of the families in their order, then those of all sweeps."""
    families = _ordered()
    names = [name for family in families for name in family.options if name not in SHARED]
    return {
        name: [(family, family.all_options[name]) for family in families if name in family.all_options]
        for name in dict.fromkeys([*names, *SHARED])
    }


_KINDS = {name: owners[0][1].read for name, owners in _owners().items()}

READERS = {name: _READ[kind] for name, kind in _KINDS.items() if kind != "flag"}
"""How the text of every option of a configuration is read; what it says is checked by the library."""

FLAGS = tuple(name for name, kind in _KINDS.items() if kind == "flag")
"""Options without a value."""


def flag(name: str) -> str:
    """The option of a field, as it is written on the command line."""
    return "--" + name.replace("_", "-")


def _help(owners: list[tuple[Family, Option]]) -> str:
    """What the families say of one option, as "Problems at every point [16; toy models 4]"."""
    (_, first), *others = owners
    texts, defaults = [(first.help, [first.default_text])], [first.default_text]
    for family, option in others:
        if option.help == first.help:
            if option.default_text != first.default_text:
                texts[0][1].append(f"{family.problems} {option.default_text}")
        else:
            texts.append((f"with {flag(family.option or '')} {option.help}", [option.default_text]))
        defaults.append(option.default_text)
    if len(texts) > 1 and len(set(defaults)) == 1:  # one default for all stands at the end
        texts = [(text, defaults[:1] if text == texts[-1][0] else []) for text, _ in texts]
    said = ((text, "; ".join(one for one in values if one)) for text, values in texts)
    return "; ".join(f"{text} [{values}]" if values else text for text, values in said)


def _panel(owners: list[tuple[Family, Option]]) -> str:
    """The heading under which an option stands."""
    if len(owners) == len(FAMILIES):
        return "Every sweep"
    names = [f"with {flag(family.option)}" if family.option else f"on {family.problems}" for family, _ in owners]
    return f"Only {' or '.join(names)}"


def _parameters() -> Iterable[inspect.Parameter]:
    for name, owners in _owners().items():
        option = owners[0][1]
        annotation: Any
        if option.read == "flag":
            shown = typer.Option(flag(name), help=_help(owners), rich_help_panel=_panel(owners))
            annotation, default = Annotated[bool, shown], False
        else:  # stays text: the library checks it, with its own message
            shown = typer.Option(
                help=_help(owners), metavar=option.metavar, show_default=False, rich_help_panel=_panel(owners)
            )
            annotation, default = Annotated[str | None, shown], None
        yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, which takes any keyword arguments, the options of all families as parameters before its own."""
    signature = inspect.signature(command)
    *own, _ = signature.parameters.values()  # the last takes the options
    parameters = [*_parameters(), *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own)]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def family_of_options(given: Iterable[str]) -> Family:
    """The family that the given options ask for.

    Raises:
        ValueError: an option that belongs to another family.
    """
    families, names = _ordered(), list(given)
    family = next((one for one in families if one.option in names), None)
    chosen = family or families[0]
    for name in names:
        if name in chosen.all_options:
            continue
        if family is not None:
            where, fix = f"with {flag(family.option or '')}, which {family.purpose}", "drop one of the two"
        else:
            owner = next(one for one in families if name in one.all_options)
            where = f"without {flag(owner.option or '')}, on {chosen.problems}"
            fix = f"drop it, or name a {owner.option}"
        raise ValueError(f"{flag(name)} must be left out {where}, got it; {fix}.")
    return chosen


def own_of_file(text: str | None, optimizers: Iterable[str] | None = ()) -> "tuple[Rule | TorchOptimizer, ...]":
    """Return the optimizers of the files that --optimizer-file lists; running these files is what the user asks for with it.

    Args:
        text: the option.
        optimizers: what --optimizers lists; classes that a file only imports are taken where it names them.

    Raises:
        ValueError: no file, or see `load_optimizer_file`.
    """
    if text is None:
        return ()
    from quadsim.simulator.rules.optimizer_file import load_optimizer_file

    files = names_of(text)
    if not files:
        raise ValueError("optimizer file must name at least one file, got an empty list; give FILE.py or leave it out.")
    named = {one.partition(":")[0].strip() for one in optimizers or ()}
    return tuple(optimizer for file in files for optimizer in load_optimizer_file(file, named))


def _with_own(given: Mapping[str, Any], own: "tuple[Rule | TorchOptimizer, ...]", family: Family) -> dict[str, Any]:
    """Return the options with optimizers of the user's own: all of them beside the default ones, or those that are named.

    Raises:
        ValueError: --optimizers names none of them.
    """
    if not own:
        return dict(given)
    names = [optimizer.name for optimizer in own]
    listed = given.get("optimizers")
    if listed is None:
        return {**given, "optimizers": (*family.all_options["optimizers"].default, *names), "own": own}
    if listed and not {text.partition(":")[0] for text in listed} & set(names):
        raise ValueError(
            f"optimizers must name one of {', '.join(names)} with --optimizer-file, got {', '.join(listed)}; add one, or leave "
            "out --optimizers, which runs all of the file."
        )
    return {**given, "own": own}


def _check_own(config: "SweepGrid", own: "tuple[Rule | TorchOptimizer, ...]") -> None:
    """Check that classes of a stored configuration have the source that was stored, where a file defines them.

    Raises:
        ValueError: another source.
    """
    from quadsim.simulator.rules.optimizer import OptimizerSpec

    for stored in config.own_optimizers:
        OptimizerSpec.from_document(stored.document, own)


def given_options(options: Mapping[str, Any], devices: str | None) -> dict[str, Any]:
    """The options that were given; the kind of device follows from `devices` where it was not."""
    given = read_options({name: options[name] for name in READERS if options[name] is not None})
    given |= {name: True for name in FLAGS if options[name]}
    if devices is not None and "device" not in given:
        given["device"] = devices.split(",")[0].strip().partition(":")[0]
    return given


def read_options(texts: Mapping[str, str]) -> dict[str, Any]:
    """Options of a configuration from their texts."""
    return {name: READERS[name](text) for name, text in texts.items()}


def config_of(given: dict[str, Any], stored: Path | None, own: "tuple[Rule | TorchOptimizer, ...]") -> "SweepGrid":
    """The configuration that was asked for.

    Args:
        given: options by the names of their fields, as they were read.
        stored: a `config.json` to repeat; None: the configuration follows from `given`.
        own: optimizers of files of the user.

    Raises:
        ValueError: options beside a stored configuration, or no valid configuration.
    """
    from quadsim.simulator.support import store
    from quadsim.simulator.sweeps.config.families import config_from_json

    if stored is not None:
        if given:
            raise ValueError(
                f"{flag(next(iter(given)))} must be left out with --config, which fixes it, got both; drop one of the two."
            )
        config = config_from_json(store.read_json(stored, "config"), stored.parent)
        _check_own(config, own)
        return config
    family = family_of_options(given)
    family.config_class.check_options(given)
    return family.config_class(**_with_own(given, own, family))


def config_from_texts(texts: Mapping[str, str]) -> "SweepGrid":
    """A configuration from the texts of its options.

    Raises:
        ValueError: texts that make none.
    """
    return config_of(read_options(texts), None, ())


def extended_config(folder: Path, given: dict[str, Any], others: Mapping[str, Any]) -> "SweepGrid":
    """The configuration of a finished sweep, with the given options added.

    Raises:
        ValueError: options that do not go together, no finished sweep, or what is no extension of it.
    """
    from quadsim.simulator.sweeps.config.extending import extended
    from quadsim.simulator.sweeps.results.results import load_results

    for name, value in others.items():
        if value:
            raise ValueError(
                f"{name} must be left out with --extend, which works in the folder it names, got both; drop one."
            )
    return extended(load_results(folder).config, given)
