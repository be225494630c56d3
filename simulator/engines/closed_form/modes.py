"""The modes of a batch of problems, and what one step of a linear rule does along each of them.

The matrix A(lambda) of a step is derived from the Rule itself (`Rule.linear_form`). A rule with a frozen preconditioner phi is
the same on phi^(1/2) H phi^(1/2).
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from quadsim.simulator.engines.closed_form.matrices import Array, Matrix
from quadsim.simulator.engines.job import Job
from quadsim.simulator.rules.numeric import function_of, source_of
from quadsim.simulator.rules.rule import Rule

if TYPE_CHECKING:
    import torch

__all__ = ["Form", "Modes", "Recursion", "form_of", "modes_of", "observe_modes", "preconditioner", "recursion_along"]


@dataclass(frozen=True)
class Modes:
    """The modes of the (preconditioned) blocks.

    Attributes:
        eigenvalues: lambda of every mode, (M, P).
        start: coefficient of e_0 along every mode, (M, P).
        to_error: coefficients (M, K, P) to errors by block size, (M, B_size, P_l, K).
        to_gradient: coefficients (M, K, P) to gradients, likewise.
    """

    eigenvalues: Array
    start: Array
    to_error: Callable[[Array], "dict[int, torch.Tensor]"]
    to_gradient: Callable[[Array], "dict[int, torch.Tensor]"]


@dataclass(frozen=True)
class Form:
    """What has to be known of a rule's `LinearForm` before it is evaluated.

    Attributes:
        size: rows of A(lambda), 1 and the number of states.
        preconditioned: whether there is a preconditioner.
        depends_on_settings: whether the preconditioner, or a start, depends on the learning rate or a hyperparameter.
        source: of the function of (lambda, L_l, mu_l, settings) that returns the entries of A(lambda) and of its increment.
    """

    size: int
    preconditioned: bool
    depends_on_settings: bool
    source: str


@dataclass(frozen=True)
class Recursion:
    """One step along every mode.

    Attributes:
        matrix: A(lambda), entries (M, K, P).
        increment: first row of A - I, entries (M, K, P): what a step adds to the error. It is evaluated separately because
            A[0][0] = 1 + increment has lost the digits of a small increment.
    """

    matrix: Matrix
    increment: list[Array]


def modes_of(job: Job) -> Modes:
    """Return the modes: those of the problem, or those of phi^(1/2) H_l phi^(1/2) where the rule has a preconditioner phi."""
    problem, layout = job.problem, job.problem.layout
    form = form_of(job.rule)
    assert form is not None
    if not form.preconditioned:
        values, vectors, start = problem.eigenvalues, problem.eigenvectors, problem.initial_coefficients
        roots = {size: np.ones_like(v) for size, v in values.items()}
    else:
        roots = layout.split(np.sqrt(preconditioner(job)))
        values, vectors, start = {}, {}, {}
        for size, root in roots.items():
            scaled = root[..., :, None] * problem.hessian[size] * root[..., None, :]
            found, vectors[size] = np.linalg.eigh((scaled + np.swapaxes(scaled, -1, -2)) / 2)
            # phi is positive, so that the null space keeps its dimension (Sylvester): what is found there is rounding.
            values[size] = np.where(problem.eigenvalues[size] == 0.0, 0.0, found)
            back = np.ascontiguousarray(np.swapaxes(vectors[size], -1, -2))
            start[size] = np.matmul(back, (problem.initial_error[size] / root)[..., None])[..., 0]

    def to_coordinates(x: Array, power: int) -> "dict[int, torch.Tensor]":
        """(M, K, P) in the eigenbasis to parts (M, B_size, P_l, K), times phi^(power/2)."""
        import torch  # observables alone need it, and most runs observe the gap

        parts = layout.split(np.swapaxes(x, 1, 2))
        out = {}
        for size, part in parts.items():
            # One product per setting: how a product with all settings at once is rounded depends on their number.
            columns = np.ascontiguousarray(np.swapaxes(part, -1, -2))[..., None]
            errors = np.matmul(vectors[size][:, :, None], columns)[..., 0] * roots[size][:, :, None] ** power
            out[size] = torch.from_numpy(np.ascontiguousarray(np.swapaxes(errors, -1, -2)))
        return out

    flat = layout.flatten(values)
    return Modes(
        eigenvalues=flat,
        start=layout.flatten(start),
        to_error=lambda x: to_coordinates(x, 1),
        to_gradient=lambda x: to_coordinates(x * flat[:, None], -1),
    )


def preconditioner(job: Job) -> Array:
    """Return the preconditioner phi at every coordinate, (M, P), from the first gradient; it may be 0 or infinite."""
    import sympy as sp

    from quadsim.simulator.rules.functions import symbols

    problem, rule = job.problem, job.rule
    form = rule.linear_form
    assert form is not None
    assert form.preconditioner is not None
    gradient = {s: np.matmul(problem.hessian[s], problem.initial_error[s][..., None])[..., 0] for s in problem.hessian}
    arguments = (symbols.g, symbols.L_l, symbols.mu_l)
    frozen = {state: rule.start.get(state, sp.S.Zero) for state in form.preconditioner.free_symbols & set(rule.update)}
    function = sp.lambdify(arguments, form.preconditioner.subs(frozen), modules="numpy")
    with np.errstate(all="ignore"):  # `why_not` refuses values that are not finite
        values = function(problem.layout.flatten(gradient), *_per_coordinate(job))
    return np.broadcast_to(values, (problem.problems, problem.dimension)).copy()


def _per_coordinate(job: Job) -> tuple[Array, Array]:
    """Return L_l and mu_l of every coordinate's block, each (M, P)."""
    sizes = job.problem.block_sizes
    return (
        np.repeat(job.problem.block_smoothness, sizes, axis=1),
        np.repeat(job.problem.block_strong_convexity, sizes, axis=1),
    )


def form_of(rule: Rule) -> Form | None:
    """Return what is known of the linear form of a rule; None if it has none."""
    found = rule.fact("linear form", partial(_derive_form, rule))
    return None if found is None else Form(**found)


def _derive_form(rule: Rule) -> dict[str, Any] | None:
    from quadsim.simulator.rules.functions import symbols

    form = rule.linear_form
    if form is None:
        return None
    settings = {symbols.lr, *rule.hyperparameters}
    expressions = [] if form.preconditioner is None else [form.preconditioner, *rule.start.values()]
    arguments = (form.eigenvalue, symbols.L_l, symbols.mu_l, symbols.lr, *rule.hyperparameters)
    return asdict(
        Form(
            size=form.matrix.shape[0],
            preconditioned=form.preconditioner is not None,
            depends_on_settings=any(e.free_symbols & settings for e in expressions),
            source=source_of(arguments, (*form.matrix, *form.increment)),
        )
    )


@lru_cache(maxsize=64)
def _compiled(source: str) -> Callable[..., tuple[Any, ...]]:
    return function_of(source)


def recursion_along(job: Job, modes: Modes) -> Recursion:
    """Return A(lambda) for every problem, setting and mode."""
    form = form_of(job.rule)
    assert form is not None
    n = form.size
    settings = [job.settings[name][None, :, None] for name in job.rule.names]
    per_coordinate = [x[:, None] for x in _per_coordinate(job)]
    shape = (job.problem.problems, job.number_of_settings, job.problem.dimension)
    entries = _compiled(form.source)(modes.eigenvalues[:, None], *per_coordinate, *settings)
    arrays = [np.broadcast_to(entry, shape).astype(np.float64) for entry in entries]
    return Recursion([arrays[i * n : (i + 1) * n] for i in range(n)], arrays[n * n :])


def observe_modes(job: Job, modes: Modes, states: Iterator[tuple[Array, Array]]) -> dict[str, Array]:
    """Return the observables (M, K, R, ...) from the coefficients of the modes and their increments at the recorded steps."""
    names = [name for name in job.observe if name != "gap"]
    if not names:
        return {}
    from quadsim.simulator.engines.observables import Observer

    observer = Observer(job.problem)
    columns: dict[str, list[Array]] = {name: [] for name in names}
    for x, increment in states:
        error, gradient, step = modes.to_error(x), modes.to_gradient(x), modes.to_error(increment)
        for name in names:
            columns[name].append(observer(name, error, gradient, step))
    return {name: np.stack(values, axis=2) for name, values in columns.items()}
