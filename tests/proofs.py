"""Proofs and derivations of the theorems, which several files of tests look at: made once a process."""

from functools import cache

from quadsim.theory import THEOREMS
from quadsim.theory.statements import proving
from quadsim.theory.statements.derived import graph

prove = cache(proving.prove)


@cache
def derived(name):
    return graph.derive(THEOREMS[name])
