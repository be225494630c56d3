"""Linear rules with a memory, mode by mode: the polynomials p_t by which t steps multiply the error along an eigenvector."""

from collections.abc import Callable
from functools import lru_cache, partial
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.rules.numeric import function_of, source_of
from quadsim.simulator.rules.rule import Rule

__all__ = ["has_modes", "mode_factors"]

Array = NDArray[np.float64]


@lru_cache(maxsize=32)
def _matrix(rule: Rule) -> Callable[..., Any]:
    """Return the entries of the matrix of a step, row by row, as a function of the eigenvalue and the settings.

    Raises:
        ValueError: a rule that is not linear, or has a preconditioner.
    """
    source = rule.fact("source of the matrix of a mode", partial(_source, rule))
    if source is None:
        raise ValueError(f"rule must be linear without a preconditioner, got {rule.name}; choose another.")
    return function_of(source)


def _source(rule: Rule) -> str | None:
    from quadsim.simulator.rules.functions import symbols

    form = rule.linear_form
    if form is None or form.preconditioner is not None:
        return None
    return source_of((form.eigenvalue, symbols.lr, *rule.hyperparameters), list(form.matrix), cse=False)


def has_modes(rule: Rule) -> bool:
    """Return whether a rule is linear without a preconditioner; of a built-in rule that is known without SymPy."""
    return rule.fact("source of the matrix of a mode", partial(_source, rule)) is not None


def mode_factors(
    rule: Rule, settings: dict[str, float], eigenvalues: Array, steps: int, *, of_memory: bool = False
) -> Array:
    """Return p_0, ..., p_T of eigenvalues (...), (..., T + 1): e_i(t) = p_t(lambda_i) e_i(0), from memories of 0.

    Args:
        rule: a linear rule without a preconditioner.
        settings: name to value.
        eigenvalues: lambda_i.
        steps: T.
        of_memory: whether the numbers by which a memory of 1 at an error of 0 turns into an error are wanted instead.

    Raises:
        ValueError: another rule.
    """
    entries = _matrix(rule)(eigenvalues, *(settings[name] for name in rule.names))
    size = isqrt(len(entries))
    flat = np.stack([np.broadcast_to(x, eigenvalues.shape) for x in entries], -1)
    matrix = flat.reshape(*eigenvalues.shape, size, size)
    state = np.zeros((*eigenvalues.shape, matrix.shape[-1]))
    state[..., int(of_memory)] = 1.0
    out = np.empty((*eigenvalues.shape, steps + 1))
    out[..., 0] = state[..., 0]
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(steps):
            state = np.einsum("...ij,...j->...i", matrix, state)
            out[..., t + 1] = state[..., 0]
    return out
