"""Base classes of all commands: no option twice, every usage error in one line, output that any encoding accepts."""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from quadsim.cli.console import encodable_output

__all__ = ["StrictCommand", "StrictGroup"]

# Newer versions of typer bring their own click: the class is found through what both hand out.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]


@contextmanager
def _in_one_line(path: str) -> Iterator[None]:
    """Report an error of click in one line instead of four, with its exit code; `path` is the command that was called.

    Raises:
        Exit: with code 2, after a usage error.
    """
    try:
        yield
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # its text is the help
            raise
        context: Any = getattr(error, "ctx", None)
        message: str = error.format_message()  # type: ignore[attr-defined]
        path = path if context is None else context.command_path
        print(f"Error: {' '.join(message.split()).rstrip('.')}; see {path} --help.", file=sys.stderr)
        raise typer.Exit(2) from None


def _refuse_twice(command: Any, context: Any, args: list[str]) -> None:
    """Refuse an option that is given several times; click would silently use the last value.

    Raises:
        Exit: with code 2.
    """
    if context.resilient_parsing:
        return
    order = command.make_parser(context).parse_args(args=list(args))[2]
    for option, times in Counter(order).items():
        repeats = option.param_type_name != "option" or option.multiple or option.count
        if times > 1 and not repeats:
            name = max(option.opts, key=len)
            fix = "put all values into one, with commas" if option.metavar == "LIST" else "leave one out"
            print(f"Error: {name} must be given once, got it {times} times; {fix}.", file=sys.stderr)
            raise typer.Exit(2)


def _one_list(command: Any, context: Any, args: list[str]) -> list[str]:
    """Join words that follow the value of an option of a list: `--optimizers gd adam` as `--optimizers gd,adam`.

    Only where a command takes no arguments, so that these words can be nothing else.
    """
    parameters = command.get_params(context)
    if any(parameter.param_type_name == "argument" for parameter in parameters):
        return args
    lists = {name for parameter in parameters if parameter.metavar == "LIST" for name in parameter.opts}
    out: list[str] = []
    is_open = is_value = False  # whether a further word belongs to a list, and whether it begins it
    for word in args:
        if is_value:
            out.append(word)
            is_open, is_value = True, False
        elif is_open and word and not word.startswith("-"):
            out[-1] = f"{out[-1].rstrip(',')},{word}"
        else:
            out.append(word)
            is_value = word in lists
            is_open = word.partition("=")[0] in lists and not is_value
    return out


def _read_plainly(parameters: list[Any]) -> list[Any]:
    """Have options of text read without pydantic, whose import and validators take a tenth of a second."""
    for parameter in parameters:
        _keep_text(parameter)
    return parameters


def _keep_text(parameter: Any) -> None:
    """Have an option of text keep what it is given, which needs no conversion, and one that is not given nothing."""
    descriptor: Any = getattr(
        parameter, "type_descriptor", None
    )  # of versions of typer that read values through pydantic
    if descriptor is None or parameter.nargs != 1 or parameter.multiple or "get_runtime_param" in vars(parameter):
        return
    # Nothing that is not given is converted; of what is, only text that is to stay text is known to need no conversion.
    stays = str in (descriptor.annotation, descriptor.parameter_info.parser)
    whole = descriptor.annotation is int
    usual = parameter.get_runtime_param

    class Plain:
        """Converts nothing but numbers, and refuses what is none of them in words that say what came."""

        @staticmethod
        def coerce(value: Any, *, param: Any, ctx: Any) -> Any:
            if value is None or (stays and isinstance(value, str)):
                return value
            if whole and isinstance(value, str) and not re.fullmatch(r"[+-]?[0-9]+", value.strip()):
                raise typer.BadParameter(f"must be a whole number in digits, got {value!r:.80}", ctx=ctx, param=param)
            return usual().coerce(value, param=param, ctx=ctx)

    parameter.get_runtime_param = Plain


class StrictCommand(TyperCommand):
    """A command that accepts each option once."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Do the same as typer, with options of text that are read without pydantic."""
        return _read_plainly(super().get_params(ctx))

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Do the same as typer, with usage errors in one line."""
        with _in_one_line(" ".join(filter(None, (parent and parent.command_path, info_name)))):
            return super().make_context(info_name, args, parent, **extra)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Do the same as typer, with lists in several words, after a check for options that are given twice."""
        args = _one_list(self, ctx, args)
        _refuse_twice(self, ctx, args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options under the headings that they name as `rich_help_panel`; typer does so only with boxes around them."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
                panels.setdefault(getattr(parameter, "rich_help_panel", None) or usual, []).append(record)
        for heading, records in panels.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class StrictGroup(TyperGroup):
    """The program: as StrictCommand, with output that any terminal or file accepts."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Do the same as typer, with options of text that are read without pydantic."""
        return _read_plainly(super().get_params(ctx))

    def main(self, *args: Any, **others: Any) -> Any:
        """Run the program as typer does, with encodable output."""
        encodable_output()
        return super().main(*args, **others)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Do the same as typer, with usage errors in one line."""
        with _in_one_line(" ".join(filter(None, (parent and parent.command_path, info_name)))):
            return super().make_context(info_name, args, parent, **extra)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Do the same as typer, after a check for options that are given twice."""
        if args:
            _refuse_twice(self, ctx, args)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Do the same as typer, with an unknown command reported in one line."""
        with _in_one_line(ctx.command_path):
            return super().resolve_command(ctx, args)
