"""Linear rules with a memory, mode by mode: the polynomials p_t by which t steps multiply the error along an eigenvector."""

from functools import lru_cache

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from quadsim.simulator.rules.functions import symbols
from quadsim.simulator.rules.rule import Rule

__all__ = ["mode_factors"]

Array = NDArray[np.float64]


@lru_cache(maxsize=32)
def _matrix(rule: Rule) -> tuple[tuple[str, ...], sp.Lambda]:
    form = rule.linear_form
    if form is None or form.preconditioner is not None:
        raise ValueError(f"rule must be linear without a preconditioner, got {rule.name}; choose another.")
    names = (symbols.lr, *rule.hyperparameters)
    return tuple(map(str, names)), sp.lambdify((form.eigenvalue, *names), form.matrix.tolist(), modules="numpy")


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
    names, entries = _matrix(rule)
    rows = entries(eigenvalues, *(settings[name] for name in names))
    matrix = np.stack([np.stack([np.broadcast_to(x, eigenvalues.shape) for x in row], -1) for row in rows], -2)
    state = np.zeros((*eigenvalues.shape, matrix.shape[-1]))
    state[..., int(of_memory)] = 1.0
    out = np.empty((*eigenvalues.shape, steps + 1))
    out[..., 0] = state[..., 0]
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(steps):
            state = np.einsum("...ij,...j->...i", matrix, state)
            out[..., t + 1] = state[..., 0]
    return out
