"""Optimizers from a file of the user's own: the only place that runs somebody's code, and only where a user names the file."""

import hashlib
import re
import sys
import traceback
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.rules.torch_classes import TorchOptimizer, is_optimizer_class, is_torch_class

__all__ = ["check_own_name", "load_optimizer_file", "make_known", "portable"]

_FILE = re.compile(r"(?P<file>.+\.py)(?::(?P<name>.*))?", re.DOTALL)


def load_optimizer_file(path: str | Path, named: Collection[str] = ()) -> tuple[Rule | TorchOptimizer, ...]:
    """Run a Python file and return the optimizers that it defines.

    Args:
        path: as `mine.py`, or `mine.py:MyOptimizer` for one of its objects. Without a name: every Rule that is not a built-in
            one, and every class derived from torch.optim.Optimizer that the file itself defines, in the file's order.
        named: names of classes that are taken as well where the file imports them, as `NAdam` after
            `from torch.optim import NAdam`: a file imports classes also to derive others from them.

    Returns:
        Rules as they are, classes as `TorchOptimizer`.

    Raises:
        ValueError: no such file, an error while it runs, nothing found, something else under the name, or the name of a built-in
            optimizer.
    """
    match = _FILE.fullmatch(str(path))
    if match is None:
        raise ValueError(f"optimizer file must be FILE.py or FILE.py:NAME, got {str(path)!r}; give a file of Python.")
    file, name = Path(match["file"]), match["name"]
    try:
        source = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not text"
        raise ValueError(
            f"optimizer file must be a file that can be read, got {str(file)!r} ({why}); check the path."
        ) from error
    module = _run(file, source)
    defined = vars(module)
    if name is not None:
        if name not in defined:
            own = [key for key, value in defined.items() if _is_own(value, module)]
            raise ValueError(
                f"optimizer file {file} must define {name or 'a name after the colon'}, got {', '.join(own) or 'no optimizer'}; "
                "name one of these."
            )
        found = [defined[name]]
    else:
        found = list({id(value): value for value in defined.values() if _is_own(value, module)}.values())
    imported = [] if name is not None else _imported(module, named)
    if not found and not imported:
        raise ValueError(
            f"optimizer file must define a Rule or a class derived from torch.optim.Optimizer, got none in {file}; define one."
        )
    taken = [one for key in imported for one in _described([defined[key]], file, source, key)]
    return (*_described(found, file, source, name), *taken)


def _imported(module: ModuleType, named: Collection[str]) -> list[str]:
    """Return the names in a module of classes of optimizers that are asked for by their own names and defined elsewhere."""
    values = {key: value for key, value in vars(module).items() if is_optimizer_class(value)}
    return [key for key, value in values.items() if key == value.__name__ in named and not _is_own(value, module)]


def _described(found: list[Any], file: Path, source: str, name: str | None) -> tuple[Rule | TorchOptimizer, ...]:
    again = f"{file.resolve()}:{name}" if name is not None else str(file.resolve())
    out: dict[str, Rule | TorchOptimizer] = {}
    for value in found:
        if not isinstance(value, Rule) and not is_optimizer_class(value):
            raise ValueError(
                f"{name} of {file} must be a Rule or a class derived from torch.optim.Optimizer, got {type(value).__name__}; "
                "name another."
            )
        own = value if isinstance(value, Rule) else _class_of_file(value, file, source, again)
        check_own_name(own)
        if own.name in out:
            raise ValueError(f"optimizers of {file} must differ in name, got {own.name!r} twice; rename one.")
        out[own.name] = own
    return tuple(out.values())


def _class_of_file(value: type[Any], file: Path, source: str, again: str) -> TorchOptimizer:
    """The record of a class; that of one of torch itself names no file, as it is found without one on any machine."""
    return TorchOptimizer.of(value) if is_torch_class(value) else TorchOptimizer.of(value, file.name, source, again)


def check_own_name(optimizer: Rule | TorchOptimizer) -> None:
    """Check that an optimizer of the user's can be told from all others by its name.

    Raises:
        ValueError: the name of a built-in rule, or a sign that separates options.
    """
    name = optimizer.name
    if not name.strip() or not name.isprintable() or name != name.strip() or set(name) & set(":,=|"):
        raise ValueError(f"name of an optimizer must be printable, without : , = or |, got {name!r}; rename it.")
    if name in RULES and optimizer is not RULES[name]:
        raise ValueError(
            f"name of an optimizer must not be that of a built-in one, got {name!r}; rename it, as my-{name}."
        )


def portable(optimizers: Iterable[TorchOptimizer]) -> tuple[TorchOptimizer, ...]:
    """Classes in a form that another process can unpickle: of a class from a file its path alone, since no process can import it.

    Args:
        optimizers: loaded classes.
    """
    return tuple(replace(one, loaded=None) if one.file else one for one in optimizers)


def make_known(optimizers: Iterable[TorchOptimizer]) -> None:
    """Load in this process what `portable` returned in another, so that stored optimizers find their classes.

    Raises:
        ValueError: a file that this process cannot load (see `load_optimizer_file`).
    """
    for one in optimizers:
        if one.is_known:
            continue
        if one.loaded is None:
            load_optimizer_file(one.file)
        else:
            one.remember()


def _is_own(value: Any, module: ModuleType) -> bool:
    if isinstance(value, Rule):
        return RULES.get(value.name) is not value
    return is_optimizer_class(value) and value.__module__ == module.__name__


def _run(file: Path, source: str) -> ModuleType:
    """The module that a file defines, under a name of its own, so that it hides no other module.

    Raises:
        ValueError: it does not run; the line says where in the file.
    """
    module = ModuleType(f"quadsim_optimizers_{hashlib.sha256(f'{file.resolve()} {source}'.encode()).hexdigest()[:16]}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # where dataclasses look for it
    beside = str(file.resolve().parent)
    sys.path.insert(0, beside)
    try:
        exec(compile(source, str(file), "exec"), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        line = (
            error.lineno
            if isinstance(error, SyntaxError) and error.filename == str(file)
            else lines[-1]
            if lines
            else None
        )
        what = traceback.format_exception_only(error)[-1].strip().splitlines()[-1][:200]
        where = f"line {line} of {file}" if line else str(file)
        raise ValueError(f"optimizer file must run without an error, got {what} in {where}; correct it.") from error
    finally:
        sys.path.remove(beside)
    return module
