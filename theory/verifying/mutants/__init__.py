"""Mutants (`quadsim verify --mutants`): statements, rules, records and the judge itself are changed, and each change must show.

A mutant is *caught* if what it changes no longer passes: a statement whose derivation does not end in it, a record that is not
the rule's run, a false claim that a changed budget or prover lets through. A statement that is changed and still derived is
true, as the derivation proves it: it is listed as a survivor with that argument. Any other survivor is a hole.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from quadsim.theory.verifying.mutants.judges import of_judges
from quadsim.theory.verifying.mutants.mutant import HOLE, KINDS, Mutant
from quadsim.theory.verifying.mutants.records import of_records
from quadsim.theory.verifying.mutants.rules import of_rules
from quadsim.theory.verifying.mutants.statements import of_statements
from quadsim.theory.verifying.processes import in_processes

__all__ = ["KINDS", "Mutant", "MutantReport", "mutants", "try_mutants"]


@dataclass(frozen=True)
class MutantReport:
    """The result of trying mutants.

    Attributes:
        tried: kind to number of mutants.
        caught: kind to number of mutants that were caught.
        argued: mutants that survived because they are true or change nothing, each in a line with the argument.
        holes: mutants that survived without an argument.
    """

    tried: Mapping[str, int]
    caught: Mapping[str, int]
    argued: tuple[str, ...]
    holes: tuple[str, ...]


_OF_TASK = 12
"""Mutants that a process tries in a row."""


def try_mutants(
    *, every: int = 1, seed: int = 0, workers: int = 1, progress: Callable[[int, int, str], None] | None = None
) -> MutantReport:
    """Try the mutants and report what became of them.

    Args:
        every: only every so many-th mutant of each kind, at least one of each; 1: all.
        seed: which of them.
        workers: number of processes; it does not change the result.
        progress: called before every mutant with (done, total, name).
    """
    chosen: list[tuple[int, Mutant]] = []
    for kind in KINDS:
        ones = [(number, mutant) for number, mutant in enumerate(mutants()) if mutant.kind == kind]
        chosen += ones[seed % min(every, len(ones)) :: every]
    size = 1 if workers == 1 else _OF_TASK  # neighbours share a derivation, which a process makes once
    tasks = [
        (tuple((number, mutant.name) for number, mutant in chosen[begin : begin + size]),)
        for begin in range(0, len(chosen), size)
    ]
    tried: Counter[str] = Counter()
    caught: Counter[str] = Counter()
    argued: list[str] = []
    holes: list[str] = []
    rest = iter(mutant for _, mutant in chosen)
    for arguments in in_processes(_arguments, tasks, workers):
        for argument, mutant in zip(arguments, rest, strict=False):
            tried[mutant.kind] += 1
            caught[mutant.kind] += not argument
            if argument:
                (holes if argument == HOLE else argued).append(f"{mutant.name}: {argument}")
        done = sum(tried.values())
        if progress is not None:
            progress(done, len(chosen), mutant.name.split(":")[0])
    return MutantReport(tried, caught, tuple(argued), tuple(holes))


def _arguments(numbered: Sequence[tuple[int, str]]) -> list[str]:
    """Return what `Mutant.survives` says of the mutants with these numbers.

    Raises:
        RuntimeError: the list of this process is another than that of the process that asks.
    """
    found = []
    for number, name in numbered:
        mutant = mutants()[number]
        if mutant.name != name:
            raise RuntimeError(
                f"mutant {number} must be {name}, got {mutant.name}; the list is not the same in every process."
            )
        found.append(mutant.survives())
    return found


@lru_cache(maxsize=1)
def mutants() -> tuple[Mutant, ...]:
    """Return all mutants, kind by kind."""
    return (*of_statements(), *of_rules(), *of_records(), *of_judges())
