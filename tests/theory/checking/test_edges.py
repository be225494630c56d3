"""True theorems at the edges of the problem space: none is refuted, and none is undecided without a reason."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from quadsim.simulator import RULES, BlockQuadratic, simulate
from quadsim.theory import THEOREMS, check
from quadsim.theory.statements.quantities import MEANINGS


def _at_one_coordinate(problem):
    """The problem from a start whose first coordinate alone is not at the solution."""
    errors = {size: np.zeros_like(e) for size, e in problem.initial_error.items()}
    errors[problem.block_sizes[0]][:, 0, 0] = 1.0
    turned = {s: (np.swapaxes(problem.eigenvectors[s], -1, -2) @ e[..., None])[..., 0] for s, e in errors.items()}
    return replace(problem, initial_error=errors, initial_coefficients=turned, exact=None)


EDGES = {
    "one block": BlockQuadratic.generate(1, 4, condition_number=10, problems=2),
    "64 blocks": BlockQuadratic.generate(64, 2, heterogeneity=100, condition_number=3, problems=1),
    "blocks of one": BlockQuadratic.generate(6, 1, heterogeneity=30, problems=2),
    "one coordinate": BlockQuadratic.from_blocks([[[2]]], initial_error=[1]),
    "one coordinate away": _at_one_coordinate(
        BlockQuadratic.generate(3, 3, heterogeneity=10, condition_number=10, problems=2)
    ),
    "one coordinate away, exactly": BlockQuadratic.from_blocks(
        [[[3, 1], [1, 2]], [[1]]], initial_error=[Fraction(1, 2), 0, 0]
    ),
}
"""Name to problems; the rates below are exactly the limits of theorems on them."""

_OF_RUNS = [name for name, theorem in THEOREMS.items() if theorem.rules and theorem.kind != "expectation"]
_BETWEEN = ("adam-diagonal", "block-scale-invariance")  # of two runs, see `statements.on_runs`


def _runs(problem, rule, needs):
    """Runs of a rule at the rates 2/L (the edge of stability), 2/(L + mu), 1/L and 1, with and without its memory."""
    high, low = float(problem.block_smoothness.max()), float(problem.block_strong_convexity.min())
    rates = [2.0 / high, 2.0 / (high + low), 1.0 / high, 1.0]
    own = {"weight_decay": 0.0} if "weight_decay" in RULES[rule].names else {}
    yield simulate(problem, rule, lr=rates, steps=8, record="all", observe=needs, engine="reference", **own)
    if "beta1" in RULES[rule].names:
        own |= {"beta1": 0.0}
        yield simulate(problem, rule, lr=rates, steps=8, record="all", observe=needs, engine="reference", **own)
    if rule == "heavy-ball":
        root = (high**0.5 - low**0.5) / (high**0.5 + low**0.5)
        best = {"lr": 4.0 / (high**0.5 + low**0.5) ** 2, "momentum": root**2}
        yield simulate(problem, rule, steps=8, record="all", observe=needs, engine="reference", **best)


def _needs(theorem):
    symbols = theorem.bound.free_symbols | (theorem.quantity.free_symbols if theorem.quantity is not None else set())
    return sorted({name for symbol in symbols if symbol in MEANINGS for name in MEANINGS[symbol].needs})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("edge", list(EDGES))
def test_no_true_theorem_is_refuted_or_undecided_without_a_reason_at_an_edge(edge):
    found = Counter()
    for name in _OF_RUNS:
        theorem = THEOREMS[name]
        rule = theorem.rules[0]
        if rule not in RULES or name in _BETWEEN:
            continue
        for run in _runs(EDGES[edge], rule, _needs(theorem)):
            result = check(theorem, run)
            for verdict, reason, step in zip(
                result.verdict.ravel(), result.reason.ravel(), result.step.ravel(), strict=True
            ):
                found[verdict] += 1
                assert verdict in ("verified", "holds", "undecided", "not applicable"), (name, verdict, reason)
                assert verdict != "undecided" or (reason and step == -1), (name, reason)
    assert found["verified"] + found["holds"] >= 40
    assert found["verified"] + found["holds"] > found["undecided"]
