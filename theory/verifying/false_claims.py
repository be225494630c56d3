"""Claims that are false, some of them in circulation, each with the instance that refutes it in exact arithmetic.

Each claim is true on other instances, so the instance belongs to the claim (docs/theory.md section 7). They test the checker:
one that accepts a false claim cannot be trusted with the true ones.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import sympy as sp

from quadsim.simulator.engines import simulate
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.checking.comparison import check
from quadsim.theory.checking.heads import check_head
from quadsim.theory.checking.instance import InstanceCheck
from quadsim.theory.statements.coupled.survival import coupled_block_gd
from quadsim.theory.statements.models.head import drift, moments_of_walk, step_distribution
from quadsim.theory.statements.registry import THEOREMS
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import MaxOver, MinOver, Symbol
from quadsim.theory.verifying.instances.memories import check_edge, check_memories
from quadsim.theory.verifying.instances.toy_models import (
    check_layer_norm,
    check_output_rows,
    check_row_ratio,
    check_softmax,
)

__all__ = ["FALSE_CLAIMS", "FalseClaim", "Refutation"]


@dataclass(frozen=True)
class Refutation:
    """The result for a false claim: `refuted` or `survived`, and the counter-example."""

    verdict: str
    counter_example: str


@dataclass(frozen=True)
class FalseClaim:
    """A claim to be refuted.

    Attributes:
        name: its name.
        claim: the claim in words.
        refute: function that checks its instance in exact arithmetic.
    """

    name: str
    claim: str
    refute: Callable[[], Refutation]


def _by_run(false: Callable[[], Theorem], run: Callable[[], Trajectory], instance: str) -> Callable[[], Refutation]:
    def refute() -> Refutation:
        found = check(false(), run())
        verdict = "refuted" if found.verdict.item() == "refuted" else "survived"
        return Refutation(verdict, f"{instance}: step {found.step.item()}, {found.reason.item()}")

    return refute


def _witness() -> Trajectory:
    return simulate(BlockQuadratic.from_blocks([[[3]], [[1]]], initial_error=[1, 3]), "gd", lr=0.5, steps=5)


def _without_the_square() -> Theorem:
    return replace(THEOREMS["gd-lower"], bound=1 - 2 / (Symbol.kappa + 1), statement="")


def _a_millionth_less() -> Theorem:
    true = THEOREMS["gd-upper"]
    return replace(true, bound=true.bound - sp.Rational(1, 10**6), statement="")


def _half_the_ratio() -> Theorem:
    twice = 2 * MinOver(Symbol.C1_l) / (MaxOver(Symbol.C2_l) * Symbol.kappa_l)
    return replace(THEOREMS["adam-frozen"], bound=MaxOver((1 - twice) ** 2), statement="")


def _identity() -> Trajectory:
    return simulate(BlockQuadratic.from_blocks([[[1]], [[1]]], initial_error=[1, 4]), "adam-frozen", lr=1, steps=5)


def _looser_condition() -> Theorem:
    true = THEOREMS["adam-vs-gd"]
    loose = sp.Le(MaxOver(Symbol.C2_l) * MaxOver(Symbol.kappa_l), Symbol.eta * Symbol.kappa)
    return replace(true, hypotheses=(*true.conditions[:-1], loose), statement="")


def _coupled() -> Trajectory:
    # e_0 = (1, 1) scaled by 9, so that the rate min_l C1_l is 1.
    return simulate(
        BlockQuadratic.from_blocks([[[5, -4], [-4, 5]]], initial_error=[9, 9]), "adam-frozen", lr=1, steps=5
    )


def _size_weighted() -> Theorem:
    true = THEOREMS["gradient-descent-lemma"]
    return replace(true, bound=true.bound.subs(Symbol.Lambda_G, Symbol.Lambda_P), statement="")


def _steep_and_large() -> Trajectory:
    problem = BlockQuadratic.from_blocks([[[1]], [[3]]], initial_error=[1, Fraction(2, 3)])
    return simulate(problem, "gd", lr=0.5, steps=1, observe=["gradient_norm", "Lambda_G"])


def _drift_the_other_way() -> Refutation:
    claimed = drift(4, 1)[0]
    found, _ = moments_of_walk(step_distribution(4, 1), 1)
    ours = check_head(4, 1, 1).verdict
    refuted = found != claimed and ours == "verified"
    text = f"C = 4, b = 1: s = {claimed}, the exact mean of a step is {found} eta, {claimed} eta claimed"
    return Refutation("refuted" if refuted else "survived", text)


def _pair(off: Fraction | int, start: tuple[int, int]) -> BlockQuadratic:
    """Return the problem of two coupled coordinates, each a block of the rule: H = [[1, c], [c, 1]]."""
    return BlockQuadratic.from_blocks([[[1, off], [off, 1]]], initial_error=list(start), partition=(1, 1))


def _on_pair(
    rule: str | Rule, start: tuple[int, int], lr: float, off: Fraction = Fraction(1, 2), **own: Any
) -> Trajectory:
    seen = ["gradient_norm", "gradient_norm_1", "Lambda_G"]
    return simulate(_pair(off, start), rule, lr=lr, steps=3, observe=seen, **own)


def _with(name: str, changes: dict[sp.Expr, sp.Expr | int]) -> Theorem:
    return replace(THEOREMS[name], bound=THEOREMS[name].bound.subs(changes), statement="")


def _less(name: str, changes: dict[sp.Expr, sp.Expr | int], claim: str, *run: Any, **options: Any) -> FalseClaim:
    """Return the false neighbour of a theorem on coupled blocks, refuted on a pair of coordinates."""
    rule, start, lr = run
    words = f"H = [[1, c], [c, 1]], c = {options.get('off', Fraction(1, 2))}, blocks of one, e_0 = {start}, lr = {lr:g}"
    refute = _by_run(lambda: _with(name, changes), lambda: _on_pair(rule, start, lr, **options), words)
    return FalseClaim(f"{name}, {claim}", f"{name} holds {claim}", refute)


_NO_C: dict[sp.Expr, sp.Expr | int] = {Symbol.coupling: 0}
_NO_DELTA: dict[sp.Expr, sp.Expr | int] = {Symbol.off_block: 0}
_ALIKE, _OPPOSITE = (1, 1), (1, -1)

_COUPLED_CLAIMS = (
    _less("block-gd-coupled", _NO_C, "without c", "block-gd", _ALIKE, 1.0),
    _less(
        "block-gd-at-coupling", {Symbol.rate_coupling: 0}, "with kappa_l for kappa_l(c')", coupled_block_gd(), _ALIKE, 1.0,
        coupling=0.75,
    ),
    _less("adam-frozen-coupled", _NO_C, "without 1 - c", "adam-frozen", _OPPOSITE, 0.25),
    _less("gradient-descent-lemma-coupled", _NO_C, "with Lambda_G for (1+c) Lambda_G", "gd", _ALIKE, 1.0),
    _less("sign-descent-lemma-coupled", _NO_C, "with Lambda_P for (1+c) Lambda_P", "signsgd", _ALIKE, 1.0),
    _less("gradient-complexity-coupled", _NO_C, "without c", "gd-lambda", _ALIKE, 1.0),
    _less("sign-complexity-coupled", _NO_C, "without c", "sign-lambda", _ALIKE, 1.0),
    _less("steepest-descent-lemma", {Symbol.norm_smoothness: Symbol.L}, "with L in every norm", "signsgd", _ALIKE, 1.0),
    _less("gradient-descent-lemma-general", _NO_DELTA, "without delta", "gd", _ALIKE, 1.0),
    _less("sign-descent-lemma-general", _NO_DELTA, "without delta", "signsgd", _ALIKE, 1.0),
    _less(
        "gradient-complexity-general", {Symbol.gap_0: Symbol.gap_0 / 3}, "with 2 for 6", "gd-lambda", _ALIKE, 1.0,
        off=Fraction(1, 3),
    ),
    _less(
        "sign-complexity-general", {Symbol.gap_0: Symbol.gap_0 / 3}, "with 2 for 6", "sign-lambda", _ALIKE, 1.0,
        off=Fraction(1, 3),
    ),
)  # fmt: skip


def _beside(
    name: str, wrong: sp.Expr, claim: str, check_instance: Callable[..., InstanceCheck], *instance: Any
) -> FalseClaim:
    """Return the false neighbour of a theorem that is about no run, refuted on one instance of it."""

    def refute() -> Refutation:
        found = check_instance(replace(THEOREMS[name], bound=wrong, hypotheses=()), *instance)
        return Refutation("refuted" if found.verdict == "refuted" else "survived", found.reason)

    return FalseClaim(f"{name}, {claim}", f"{name} holds {claim}", refute)


_C, _BETA = Symbol.classes, Symbol.beta1
_UNITS = (Fraction(1), Fraction(-1))
_TRUE_BETAS = _BETA * Symbol.memory_errors

_MODEL_CLAIMS = (
    _beside(
        "layer-norm-jacobian", Symbol.part_across / sp.sqrt(Symbol.variance), "without epsilon",
        check_layer_norm, _UNITS, _UNITS, Fraction(1, 8),
    ),
    _beside("softmax-jacobian", sp.Rational(1, 4), "with 1/4 for 1/2", check_softmax, [Fraction(1, 2)] * 2),
    _beside("output-row-share", 1 / (_C - 1), "with C - 1 for C", check_output_rows, [[1]], 3),
    _beside("hidden-row-ratio", 1 / (_C - 1), "with C - 1 for C + 1", check_row_ratio, 3),
    _beside(
        "adam-equal-betas", _TRUE_BETAS, "for beta1 != beta2",
        check_memories, [Fraction(1)], Fraction(1, 2), Fraction(3, 4),
    ),
    _beside(
        "adam-equal-betas", Symbol.memory_errors, "without the factor beta",
        check_memories, [Fraction(1)], Fraction(1, 2), Fraction(1, 2),
    ),
    _beside(
        "frozen-momentum-edge", 2 * (1 - _BETA) / ((1 + _BETA) * Symbol.sigma), "with (1-beta1)/(1+beta1)",
        check_edge, Fraction(1, 2), Fraction(1),
    ),
)  # fmt: skip

FALSE_CLAIMS = (
    FalseClaim(
        "gd-lower without the square",
        "on the witness gap_(t+1) >= rho gap_t, rho = (kappa-1)/(kappa+1), for every rate and step",
        _by_run(_without_the_square, _witness, "H = diag(3, 1), e_0 = (1, 3), lr = 1/2"),
    ),
    FalseClaim(
        "gd-upper less a millionth",
        "gap_(t+1) <= (rho^2 - 10^-6) gap_t at lr = 2/(L+mu)",
        _by_run(_a_millionth_less, _witness, "H = diag(3, 1), e_0 = (1, 3), lr = 1/2"),
    ),
    FalseClaim(
        "adam-frozen with half the ratio",
        "gap_(t+1) <= max_l (1 - 2/(r kappa_l))^2 gap_t at lr = min_l C1_l",
        _by_run(_half_the_ratio, _identity, "H = I in blocks of one, e_0 = (1, 4), lr = 1, r = 4"),
    ),
    FalseClaim(
        "adam-vs-gd under r max kappa_l <= kappa",
        "then frozen Adam contracts by rho^2 at least, which no constant rate of GD beats",
        _by_run(_looser_condition, _coupled, "H = [[5, -4], [-4, 5]], e_0 = (9, 9), lr = 1, r = 1"),
    ),
    FalseClaim(
        "gradient-descent-lemma with Lambda_P",
        "f(w - eta g) <= f - eta |g|^2 + (eta^2/2) Lambda_P |g|^2",
        _by_run(_size_weighted, _steep_and_large, "H = diag(1, 3) in two blocks, g = (1, 2), lr = 1/2"),
    ),
    FalseClaim("head-drift upwards", "a class row moves by +eta s a step on average", _drift_the_other_way),
    *_COUPLED_CLAIMS,
    *_MODEL_CLAIMS,
)
