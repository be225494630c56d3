"""THEOREMS: every statement by name."""

import importlib
from collections.abc import Iterator, MutableMapping
from dataclasses import replace

from quadsim.simulator.support.kept import KeptFacts
from quadsim.simulator.support.provenance import source_digest
from quadsim.theory.statements.on_runs import TheoremOnRuns
from quadsim.theory.statements.theorem import Theorem

__all__ = ["THEOREMS", "theorem_on_runs"]

_TUPLES = (
    "descent:DESCENT",
    "adam:ADAM",
    "adam_cycle:CYCLE",
    "sign:SIGN",
    "coupled.survival:SURVIVAL",
    "coupled.general:GENERAL",
    "as_run.signs.theorems:SIGN_AS_RUN",
    "as_run.preconditioned.theorems:ADAM_AS_RUN",
    "as_run.invariance:INVARIANCE",
    "covariance:HETEROGENEITY",
    "models.head:HEAD",
    "models.toy_models:TOY_MODELS",
    "models.memories:MEMORIES",
    "models.stream:STREAM",
    "models.stream_signs:STREAM_SIGNS",
)
"""The statements in reading order: modules of this folder, with the name of their tuple."""

_DERIVATIONS = (
    "derived.proofs:DERIVATIONS",
    "derived.sign_proofs.derivations:SIGN_DERIVATIONS",
    "derived.preconditioned_proofs:PRECONDITIONED_DERIVATIONS",
    "derived.from_state_proof:FROM_STATE_DERIVATIONS",
    "derived.stream_proofs:STREAM_DERIVATIONS",
)
"""Likewise the derivations, by the names of theorems."""


class _Theorems(MutableMapping[str, Theorem]):
    """The theorems by name, in reading order; a module of statements is imported when one of its theorems may be asked for.

    A sweep asks for one or two of them, and the expressions of all take longer to build than its table.
    """

    def __init__(self) -> None:
        self._waiting = list(_TUPLES)
        self._written: dict[str, Theorem] = {}
        self._derived: dict[str, Theorem] = {}
        self._on_runs: dict[str, Theorem] = {}

    def _import_next(self) -> None:
        module, _, name = self._waiting.pop(0).partition(":")
        found = importlib.import_module(f"quadsim.theory.statements.{module}")
        self._written |= {theorem.name: theorem for theorem in getattr(found, name)}

    def __getitem__(self, name: str) -> Theorem:
        while name not in self._written and self._waiting:
            self._import_next()
        if name not in self._derived:
            self._derived[name] = _with_derivation(self._written[name])
        return self._derived[name]

    def on_runs(self, name: str) -> Theorem:
        """A theorem whose facts alone are read, unless the whole has been imported, or set, in this process."""
        if name in self._derived:
            return self._derived[name]
        if name not in self._on_runs:
            facts = KeptFacts(f"theorem-{name}", source_digest())
            self._on_runs[name] = TheoremOnRuns(name, facts, lambda: self[name])
        return self._on_runs[name]

    def __setitem__(self, name: str, theorem: Theorem) -> None:
        while name not in self._written and self._waiting:  # in its place in the reading order
            self._import_next()
        self._written[name] = self._derived[name] = theorem

    def __delitem__(self, name: str) -> None:
        while self._waiting:
            self._import_next()
        del self._written[name]
        self._derived.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        while self._waiting:
            self._import_next()
        return iter(self._written)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _with_derivation(theorem: Theorem) -> Theorem:
    """A theorem with its derivation, from whose parts its statement is written.

    Where there is no derivation, its words are all that a reader has.
    """
    for path in _DERIVATIONS:
        module, _, name = path.partition(":")
        found = getattr(importlib.import_module(f"quadsim.theory.statements.{module}"), name)
        if theorem.name in found:
            return replace(theorem, derivation=found[theorem.name], statement="")
    return theorem


_THEOREMS = _Theorems()
THEOREMS: MutableMapping[str, Theorem] = _THEOREMS
"""The theorems of this project by name, in reading order."""


def theorem_on_runs(name: str) -> Theorem:
    """Return a theorem for the judge: what it asks of it is kept in the cache, as numbers and text.

    Args:
        name: in THEOREMS.
    """
    return _THEOREMS.on_runs(name)
