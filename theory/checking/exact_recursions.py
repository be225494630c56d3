"""Exact values of what bounds on sign steps and on linear rules are made of: constants of blocks, and recursions in balls."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy as sp
from flint import arb, ctx, fmpq, fmpq_mat

from quadsim.simulator.rules.functions import symbols
from quadsim.simulator.rules.rule import Rule
from quadsim.theory.checking.exact import (
    ExactProblem,
    NotExact,
    eigenvalues_of,
    largest,
    rational,
    root,
    times,
    values_of,
)
from quadsim.theory.checking.exact_run import sign_of
from quadsim.theory.running.constants import LARGEST_ENUMERATED, LARGEST_MIDPOINT, sign_vectors
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

_KEPT: dict[tuple[int, int, int, str], tuple[ExactProblem, Sequence[fmpq], list[list[Any]]]] = {}
"""Recursions by problem, precision, rates and kind; problem and rates are held, so that no others get their ids."""


def recursions_at(
    t: int,
    problem: ExactProblem,
    settings: Mapping[str, float],
    wanted: set[sp.Symbol],
    rule: Rule,
    rates: Sequence[fmpq],
) -> dict[sp.Symbol, Any]:
    """Return the values of recursions at step t; None at t = 0, where they say nothing.

    Args:
        t: step.
        problem: the problem.
        settings: name to value.
        wanted: the symbols.
        rule: the rule, whose modes may be wanted; they are those of a constant rate.
        rates: the rate of every step, at least t of them.
    """
    out: dict[sp.Symbol, Any] = {}
    if Symbol.travelled in wanted:
        out[Symbol.travelled] = sum(rates[:t], fmpq(0)) if t else None
    if Symbol.u_l in wanted:
        out[Symbol.u_l] = _falling(t, problem, rates, "u") if t else None
    if Symbol.v_l in wanted:
        aged = f"v{1 + 4 * _age(settings)}"
        out[Symbol.v_l] = _falling(t, problem, rates, aged) if t else None
    if Symbol.w_l in wanted:
        out[Symbol.w_l] = _falling(t, problem, rates, "w")
    if Symbol.mode_i in wanted:
        out[Symbol.mode_i] = _modes(t, problem, settings, rule) if t else None
    if Symbol.least_ratio in wanted:
        out[Symbol.least_ratio] = _least_ratio(t, problem) if t else None
    return out


def _age(settings: Mapping[str, float]) -> fmpq:
    """Return the bound on the mean age of the gradients in the memory of a sign rule; see `meanings.memory_age`."""
    if "momentum" in settings:
        momentum = rational(settings["momentum"])
        return momentum / (1 - momentum)
    return rational(settings["beta1"]) / (1 - rational(settings["beta2"]))


def _modes(t: int, problem: ExactProblem, settings: Mapping[str, float], rule: Rule) -> list[Any]:
    """Return |p_t(lambda_i)| of every eigenvalue of a linear rule with a memory, from memories of 0.

    Raises:
        NotExact: another rule.
    """
    form = rule.linear_form
    if form is None or form.preconditioner is not None:
        raise NotExact(f"{rule.name} is not linear without a preconditioner")
    names = (symbols.lr, *rule.hyperparameters)
    entries = sp.lambdify((form.eigenvalue, *names), form.matrix.tolist(), modules=[{}])
    values = [rational(settings[str(name)]) for name in names]
    out = []
    for eigenvalue in (x for block in problem.blocks for x in eigenvalues_of(block)):
        rows = entries(eigenvalue, *values)
        state: list[Any] = [fmpq(1)] + [fmpq(0)] * (len(rows) - 1)
        for _ in range(t):
            state = [sum((a * x for a, x in zip(row, state, strict=True)), fmpq(0)) for row in rows]
        out.append(abs(state[0]))
    return out


def _least_ratio(t: int, problem: ExactProblem) -> Any:
    """Return q_rho: the largest min(q_i, q_j) ((k-1)/(k+1))^(2t) over pairs of eigenvalues, k their ratio, q shares of gap_0."""
    shares: dict[Any, fmpq] = {}
    values = values_of(problem, {}, (Symbol.lambda_i, Symbol.part_i))
    for value, part in zip(values[Symbol.lambda_i], values[Symbol.part_i], strict=True):
        key = (int(value.p), int(value.q))
        shares[key] = shares.get(key, fmpq(0)) + part / problem.initial_gap
    each = [(fmpq(*key), share) for key, share in shares.items()]
    found = [min(p, q) * (abs(a - b) / (a + b)) ** (2 * t) for a, p in each for b, q in each]
    return max(found)


def _midpoint_size(matrix: fmpq_mat) -> Any:
    """Return M_l of the theorem sign-midpoint; see `running.constants.midpoint_smoothness`.

    Raises:
        NotExact: a block too large to enumerate.
    """
    n = matrix.nrows()
    if n > LARGEST_MIDPOINT:
        raise NotExact(f"signs and subsets are enumerated for blocks of at most {LARGEST_MIDPOINT}")
    inverse = matrix.inv()
    nu = 1 / max(inverse[i, i] for i in range(n))
    signs = [[fmpq(int(x)) for x in row] for row in sign_vectors(n).tolist()]
    found = []
    for s in signs:
        h = [abs(x) for x in times(matrix, s)]
        squared = max(_form(inverse, [z * x for z, x in zip(row, h, strict=True)]) for row in signs)
        q = max(
            _form(matrix, [x if i in part else fmpq(0) for i, x in enumerate(s)]) - sum((h[i] for i in part), fmpq(0))
            for size in range(n + 1)
            for part in itertools.combinations(range(n), size)
        )
        found.append(root(nu * squared) + q)
    return largest(found)


def _midpoint_gaps(problem: ExactProblem, rate: fmpq) -> list[Any]:
    """Return the gap of every block at e_0 - (eta/2) sign(g_0)."""
    out = []
    for block, error, gradient in zip(problem.blocks, problem.initial_error, problem.first_gradient, strict=True):
        middle = [x - rate / 2 * sign_of(g) for x, g in zip(error, gradient, strict=True)]
        out.append(_form(block, middle) / 2)
    return out


def _falling(t: int, problem: ExactProblem, rates: Sequence[fmpq], kind: str) -> list[Any]:
    """Return u_t, v_t or w_t of every block, as balls of the present precision; `kind` is u, w, or v and the factor of S_l."""
    key = (id(problem), ctx.prec, id(rates), kind)
    first = _midpoint_gaps(problem, rates[0]) if kind == "w" else _gaps(problem)
    *_, steps = _KEPT.setdefault(key, (problem, rates, [[arb(x) for x in first]]))
    while len(steps) <= t:
        rate = rates[len(steps) - 1]
        sizes, nus = CONSTANTS[Symbol.S_l](problem), CONSTANTS[Symbol.nu_l](problem)
        if kind == "w":
            sizes = [_midpoint_size(block) for block in problem.blocks]
        elif kind != "u":
            sizes = [fmpq(*map(int, kind[1:].split("/"))) * size for size in sizes]
        steps.append([
            arb(largest([arb(0), u - rate * (2 * nu * u).sqrt()])) + rate**2 * size / 2
            for u, size, nu in zip(steps[-1], sizes, nus, strict=True)
        ])
    if len(_KEPT) > 8:  # of other problems
        _KEPT.pop(next(iter(_KEPT)))
    return steps[t]
