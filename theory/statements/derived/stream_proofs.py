"""Derivations about streams: moments from step to step, at the fixed point and summed over all steps; a sign step."""

from collections.abc import Callable, Mapping

import sympy as sp

from quadsim.theory.statements.derived.streams.definitions import Streams
from quadsim.theory.statements.derived.words import Steps, definitions, rule, step
from quadsim.theory.statements.models.stream import denominator, share
from quadsim.theory.statements.steps import equal
from quadsim.theory.symbols import SumOver, Symbol

__all__ = ["STREAM_DERIVATIONS"]

q = Streams
lam, eta, beta, b, v = Symbol.lambda_i, Symbol.eta, Symbol.momentum, Symbol.samples, Symbol.label_noise
x = eta * lam


def _moments() -> Steps:
    own, p, gap = Symbol.eigenvalue, Symbol.square, Symbol.mean_gap
    noise = own**2 * p + own * (2 * gap + v**2)
    return (
        *definitions("one sample", "a batch"),
        rule("gd on a stream"),
        step(
            "next",
            equal(Symbol.square_next, (1 - eta * own) ** 2 * p + eta**2 / b * noise),
            "rule gd on a stream", "a batch", "one sample",
        ),
    )  # fmt: skip


def _moments_with_memory() -> Steps:
    own, p, gap = Symbol.eigenvalue, Symbol.square, Symbol.mean_gap
    cross, memory, k = Symbol.memory_cross, Symbol.memory_square, Symbol.along
    kept = beta**2 * memory + 2 * beta * own * cross + own**2 * p + (own**2 * p + own * (2 * gap + v**2)) / b
    crossed = beta * cross + own * p - eta * kept
    moved = p - 2 * eta * beta * cross - 2 * eta * own * p + eta**2 * kept
    return (
        *definitions("one sample", "a batch"),
        rule("heavy-ball on a stream"),
        step(
            "next",
            equal(Symbol.along_next, moved + 2 * k * crossed + k**2 * kept),
            "rule heavy-ball on a stream", "a batch", "one sample",
        ),
    )  # fmt: skip


def _gd_mode(which: str, start: sp.Expr) -> Steps:
    """Return the steps to lambda p/2 of a mode, from its recursion at the end or in sum."""
    D = denominator(x, sp.S.Zero)
    label = f"rule gd on a stream, {which}"
    return (
        *definitions("a batch at rest", "stable"),
        rule(f"gd on a stream, {which}"),
        step("product", equal(q.square_i * x * D, b * start + eta**2 * lam * q.drive), label, "a batch at rest"),
    )


def _heavy_ball_mode(which: str, start: sp.Expr) -> Steps:
    D = denominator(x, beta)
    label = f"rule heavy-ball on a stream, {which}"
    swing = (1 - beta) ** 2 * (1 + beta) + 2 * beta * x
    return (
        *definitions("a batch at rest", "stable with momentum"),
        rule(f"heavy-ball on a stream, {which}"),
        step(
            "kept",
            equal(q.memory_i, beta**2 * q.memory_i + 2 * beta * lam * q.cross_i + q.second_i),
            label,
        ),
        step("moved", equal(eta**2 * q.memory_i, 2 * eta * beta * q.cross_i + 2 * eta * lam * q.square_i - start), label, "kept"),
        step("crossed", equal((1 - beta) * q.cross_i, lam * q.square_i - eta * q.memory_i), label, "kept"),
        step(
            "cross",
            equal(eta * (1 + beta) * q.cross_i, start - x * q.square_i),
            "moved", "crossed",
        ),
        step(
            "memory",
            equal(eta**2 * (1 + beta) * q.memory_i, 2 * x * q.square_i - (1 - beta) * start),
            "moved", "cross",
        ),
        step(
            "product",
            equal(q.square_i * x * D, b * swing * start + eta**2 * lam * (1 + beta) * q.drive),
            "kept", "a batch at rest", "cross", "memory",
        ),
    )  # fmt: skip


def _floor(momentum: sp.Expr, mode: Callable[[str, sp.Expr], Steps], trace: sp.Symbol, tail: str) -> Steps:
    D = denominator(x, momentum)
    return (
        *mode("at the end", sp.S.Zero),
        *definitions("floor of the gap", "drive at rest", "c" + tail),
        step("pulled", equal(lam * q.square_i * D, x * (1 + momentum) * q.drive), "product"),
        step(
            "every mode",
            equal(lam * q.square_i, share(x, momentum) * q.drive),
            "pulled", "stable" + tail,
        ),
        step("all modes", equal(2 * Symbol.floor, trace * q.drive), "every mode", "floor of the gap", "c" + tail, by="sum"),
        step("fixed point", equal(2 * Symbol.floor, trace * (2 * Symbol.floor + v**2)), "all modes", "drive at rest"),
        step("limit", equal(Symbol.floor, v**2 * trace / (2 * (1 - trace))), "fixed point", "stable" + tail),
        step(
            "defined", sp.Lt(trace, 1, evaluate=False), "stable" + tail,
            because="for the conclusion: c is below 1, so that no divisor is 0",
        ),
        step("floor of the mean gap", equal(Symbol.floor, v**2 * trace / (2 * (1 - trace))), "limit"),
    )  # fmt: skip


def _summed(momentum: sp.Expr, mode: Callable[[str, sp.Expr], Steps], trace: sp.Symbol, tail: str) -> Steps:
    D, part = denominator(x, momentum), Symbol.part_i
    swing = (1 - momentum) ** 2 * (1 + momentum) + 2 * momentum * x
    left = b * part * swing / (x * D)
    total = Symbol.total_gap
    return (
        *mode("summed", q.start_i),
        *definitions("sum of the gaps", "drive in sum", "start in parts", "c" + tail),
        step(
            "gap of a mode",
            equal(lam * q.square_i * x * D, 2 * b * swing * part + x**2 * (1 + momentum) * q.drive),
            "product", "start in parts",
        ),
        step(
            "every mode",
            equal(lam * q.square_i, 2 * left + share(x, momentum) * q.drive),
            "gap of a mode", "stable" + tail,
        ),
        step(
            "all modes",
            equal(2 * total, 2 * SumOver(left) + trace * q.drive),
            "every mode", "sum of the gaps", "c" + tail,
            by="sum",
        ),
        step(
            "defined", sp.And(sp.Lt(trace, 1, evaluate=False), sp.Gt(D, 0, evaluate=False)), "stable" + tail,
            because="for the conclusion: c is below 1 and every D above 0, so that no divisor is 0",
        ),
        step("of itself", equal(total, SumOver(left) + trace * total), "all modes", "drive in sum", "defined"),
        step("the sum", equal(total, SumOver(left) / (1 - trace)), "of itself", "defined"),
    )  # fmt: skip


def _signs() -> Steps:
    pull, arcsine = Symbol.mean_gradient_i, sp.asin(Symbol.alignment_i)
    return (
        *definitions("gap after signs", "signs of a gradient", "signs of a pair"),
        *definitions("sum along the gradient", "sum over pairs", "arcsines"),
        step("every coordinate", equal(pull * q.sign_i, pull * 2 / sp.pi * arcsine), "signs of a gradient"),
        step(
            "along the gradient", equal(q.pulled, 2 / sp.pi * SumOver(pull * arcsine)),
            "every coordinate", "sum along the gradient",
            by="sum",
        ),
        step(
            "every pair", equal(q.entry_p * q.signs_p, q.entry_p * 2 / sp.pi * sp.asin(q.angle_p)), "signs of a pair"
        ),
        step(
            "form of the signs", equal(q.form, 2 / sp.pi * Symbol.arcsine_form),
            "every pair", "sum over pairs", "arcsines",
            by="sum",
        ),
        step(
            "in arcsines",
            equal(
                Symbol.signed_next,
                Symbol.gap
                - 2 * eta / sp.pi * SumOver(pull * arcsine)
                + eta**2 / sp.pi * Symbol.arcsine_form,
            ),
            "gap after signs", "along the gradient", "form of the signs",
        ),
    )  # fmt: skip


STREAM_DERIVATIONS: Mapping[str, Callable[[], Steps]] = {
    "sgd-moments": _moments,
    "sgd-stability": lambda: _summed(sp.S.Zero, _gd_mode, Symbol.trace_rate, ""),
    "sgd-floor": lambda: _floor(sp.S.Zero, _gd_mode, Symbol.trace_rate, ""),
    "heavy-ball-moments": _moments_with_memory,
    "heavy-ball-stability": lambda: _summed(beta, _heavy_ball_mode, Symbol.trace_momentum, " with momentum"),
    "heavy-ball-floor": lambda: _floor(beta, _heavy_ball_mode, Symbol.trace_momentum, " with momentum"),
    "sign-one-step": _signs,
}
"""Name of a theorem to its derivation."""
