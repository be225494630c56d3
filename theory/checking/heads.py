"""Check head-drift on a linear softmax head: exactly, from the distribution of the random walk, or by simulation."""

from fractions import Fraction

import numpy as np
import sympy as sp

from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.rules.functions import symbols
from quadsim.simulator.support.checks import check_count
from quadsim.theory.checking.floats import STANDARD_ERRORS
from quadsim.theory.checking.instance import InstanceCheck
from quadsim.theory.statements.models.head import drift, moments_of_walk, step_distribution
from quadsim.theory.statements.registry import THEOREMS
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import Symbol

__all__ = ["check_head"]


def check_head(
    classes: int, batch: int, steps: int, *, runs: int = 0, seed: int = 0, theorem: Theorem | None = None
) -> InstanceCheck:
    """Check head-drift for one head of one shared feature at rate 1.

    Args:
        classes: C, number of classes, at least 2.
        batch: b, number of samples in a mini-batch.
        steps: t, number of steps.
        runs: 0 for an exact check, from the distribution of the walk. Else the number of simulated heads (with labels drawn for
            all classes at once): the mean of |V_t - V_0|_F^2 and the drift of the mean row must lie within four standard errors.
        seed: seed of the simulated mini-batches.
        theorem: the statement; None: head-drift.
    """
    theorem = THEOREMS["head-drift"] if theorem is None else theorem
    check_count("classes", classes, 2)
    for name, value in (("batch", batch), ("steps", steps)):
        check_count(name, value)
    shift, at = drift(classes, batch)
    values = {
        Symbol.classes: classes,
        Symbol.features: 1,
        Symbol.eta: 1,
        Symbol.t: steps,
        Symbol.drift: sp.Rational(shift),
        Symbol.tie: sp.Rational(at),
    }
    bound = sp.nsimplify(theorem.bound.subs(values), rational=True)
    expected = Fraction(int(bound.p), int(bound.q))
    if runs == 0:
        mean, second = moments_of_walk(step_distribution(classes, batch), steps)
        if classes * second == expected and mean == -steps * shift:
            return InstanceCheck("verified", 1.0)
        where = f"C = {classes}, b = {batch}"
        differs = f"{where}: drift {mean} against {-steps * shift}, growth {classes * second} against {expected}"
        return InstanceCheck("refuted", float(classes * second / expected) if expected else np.inf, differs)
    generator = np.random.default_rng(seed)
    step = sp.lambdify((symbols.g, symbols.lr), RULES["signsgd"].step, "numpy")
    weights = np.zeros((runs, classes))
    for _ in range(steps):
        counts = generator.multinomial(batch, np.full(classes, 1.0 / classes), size=runs)
        # Over a common denominator the sign of 1/C - k/b is that of b - k C, without rounding.
        weights += step((batch - counts * classes) / (batch * classes), 1.0)
    growth, common = np.sum(weights**2, axis=1), weights.mean(axis=1)
    errors = max(
        _standard_errors(growth, float(expected), classes * steps),
        _standard_errors(common, float(-steps * shift), classes * steps),
    )
    if errors <= STANDARD_ERRORS:
        return InstanceCheck("holds", errors / STANDARD_ERRORS)
    return InstanceCheck(
        "undecided", errors / STANDARD_ERRORS, f"C = {classes}, b = {batch}: {errors:.1f} standard errors off"
    )


def _standard_errors(sample: np.ndarray, expected: float, terms: int) -> float:
    """Return the standard error of a sample's mean; for a constant sample (b = 1) the rounding of the sum instead."""
    error = float(sample.std(ddof=1)) / np.sqrt(sample.size)
    difference = abs(float(sample.mean()) - expected)
    return float(difference / max(error, terms * np.finfo(float).eps * abs(expected))) if difference else 0.0
