"""Exact values of what the bounds on sign steps at a given rate are made of: constants of blocks, and the recursion in balls."""

from collections.abc import Callable, Mapping
from typing import Any

import sympy as sp
from flint import arb, ctx, fmpq, fmpq_mat

from quadsim.theory.checking.exact import ExactProblem, NotExact, largest, rational, times
from quadsim.theory.running.constants import LARGEST_ENUMERATED, sign_vectors
from quadsim.theory.symbols import Symbol

__all__ = ["CONSTANTS", "recursions_at"]


def _form(matrix: fmpq_mat, vector: list[fmpq]) -> fmpq:
    return sum((x * y for x, y in zip(vector, times(matrix, vector), strict=True)), fmpq(0))


def _sizes(problem: ExactProblem) -> list[Any]:
    """Return S_l of every block.

    Raises:
        NotExact: a block too large to enumerate.
    """
    if max(block.nrows() for block in problem.blocks) > LARGEST_ENUMERATED:
        raise NotExact(f"signs are enumerated for blocks of at most {LARGEST_ENUMERATED}")
    return [
        max(_form(block, [fmpq(int(s)) for s in signs]) for signs in sign_vectors(block.nrows()).tolist())
        for block in problem.blocks
    ]


def _inverse_entries(problem: ExactProblem) -> list[list[fmpq]]:
    inverses = [block.inv() for block in problem.blocks]
    return [[inverse[i, i] for i in range(inverse.nrows())] for inverse in inverses]


def _gaps(problem: ExactProblem) -> list[Any]:
    return [_form(block, list(error)) / 2 for block, error in zip(problem.blocks, problem.initial_error, strict=True)]


CONSTANTS: Mapping[sp.Symbol, Callable[[ExactProblem], list[Any]]] = {
    Symbol.S_l: _sizes,
    Symbol.nu_l: lambda problem: [1 / max(entries) for entries in _inverse_entries(problem)],
    Symbol.gap_0_l: _gaps,
    Symbol.start_i: lambda problem: [abs(x) for error in problem.initial_error for x in error],
    Symbol.inverse_i: lambda problem: [x for entries in _inverse_entries(problem) for x in entries],
    Symbol.curvature_i: lambda problem: [block[i, i] for block in problem.blocks for i in range(block.nrows())],
}
"""Symbol to its exact values, one for every block or coordinate."""

_KEPT: dict[tuple[int, int, str], tuple[ExactProblem, list[list[Any]]]] = {}
"""Recursions by problem, precision and rate; the problem is held, so that no other gets its id."""


def recursions_at(
    t: int, problem: ExactProblem, settings: Mapping[str, float], wanted: set[sp.Symbol]
) -> dict[sp.Symbol, Any]:
    """Return the values of recursions at a constant rate at step t; None at t = 0, where they say nothing.

    Args:
        t: step.
        problem: the problem.
        settings: name to value.
        wanted: the symbols.
    """
    out: dict[sp.Symbol, Any] = {}
    if Symbol.travelled in wanted:
        out[Symbol.travelled] = rational(settings["lr"]) * t if t else None
    if Symbol.u_l in wanted:
        out[Symbol.u_l] = _falling(t, problem, rational(settings["lr"])) if t else None
    return out


def _falling(t: int, problem: ExactProblem, rate: fmpq) -> list[Any]:
    """Return u_t of every block, as balls of the present precision."""
    key = (id(problem), ctx.prec, str(rate))
    _, steps = _KEPT.setdefault(key, (problem, [[arb(x) for x in _gaps(problem)]]))
    while len(steps) <= t:
        sizes, nus = CONSTANTS[Symbol.S_l](problem), CONSTANTS[Symbol.nu_l](problem)
        steps.append([
            arb(largest([arb(0), u - rate * (2 * nu * u).sqrt()])) + rate**2 * size / 2
            for u, size, nu in zip(steps[-1], sizes, nus, strict=True)
        ])
    if len(_KEPT) > 8:  # of other problems
        _KEPT.pop(next(iter(_KEPT)))
    return steps[t]
