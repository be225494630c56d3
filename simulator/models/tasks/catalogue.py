"""The tasks by their names on the command line."""

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any

from quadsim.simulator.models.tasks.datasets import Digits, Table
from quadsim.simulator.models.tasks.gaussians import Gaussians
from quadsim.simulator.models.tasks.sequences import Induction, ModularAddition, TokenMap
from quadsim.simulator.models.tasks.task import Task
from quadsim.simulator.models.tasks.text import Text
from quadsim.simulator.support.checks import check_choice, check_known

__all__ = ["TASKS", "resolve_task"]

TASKS: dict[str, Callable[..., Task]] = {
    "token-map": TokenMap,
    "modular-addition": ModularAddition,
    "many-classes": partial(TokenMap, vocabulary=512, batch=16),
    "induction": Induction,
    "digits": Digits,
    "table": Table,
    "gaussians": Gaussians,
    "text-char": Text,
    "text-word": partial(Text, level="word", vocabulary=255),
}
"""The tasks by their names on the command line; each is a function of the options of the task."""


def resolve_task(task: Task | str, **options: Any) -> Task:
    """Return a Task from its name in TASKS and its fields; a Task is returned as it is.

    Raises:
        ValueError: an unknown name or field, or a value out of range.
    """
    if isinstance(task, Task):
        if options:
            raise ValueError(
                f"options of a task must come with its name, got a {task.name} and {options}; give the name or no options."
            )
        return task
    make = TASKS[check_choice("task", task, TASKS)]
    kind: Any = make.func if isinstance(make, partial) else make
    check_known(f"option of {task}", options, [f.name for f in fields(kind)])
    return make(**options)
