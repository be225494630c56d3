"""Define the meaning of every symbol of a statement, and compute its value on a run.

A value has the axes (problem, setting), an axis for the recorded step if the symbol changes along the run, and an axis for
blocks or coordinates if it has an index. Values come from the problem's data, the settings and what the run
recorded, never from an engine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from quadsim.simulator.problems.coupling import off_block_norm
from quadsim.simulator.problems.heterogeneity import size_weighted_smoothness
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.running.constants import LARGEST_ENUMERATED, inverse_diagonal, largest_on_signs
from quadsim.theory.running.meanings import RUN_MEANINGS
from quadsim.theory.running.model_meanings import MODEL_MEANINGS
from quadsim.theory.running.values import canonical_name, largest_eigenvalue, same_rule, setting, smallest_eigenvalue
from quadsim.theory.symbols import MaxOver, MinOver, SumOver, Symbol

__all__ = [
    "GEOMETRIES",
    "LARGEST_ENUMERATED",
    "LENGTHS",
    "MEANINGS",
    "Meaning",
    "canonical_name",
    "evaluate",
    "evaluate_along",
    "first_gradient",
    "frozen_spectrum",
    "gradient_condition",
    "is_of_state",
    "logarithm",
    "misplaced",
    "relative_error",
    "same_rule",
    "sum_of_terms",
    "unmet_needs",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Meaning:
    """The meaning of a symbol.

    Attributes:
        text: the meaning in words, with the range.
        value: function from a run to the value, (M, K) or broadcastable; (M, K, R) if `of_state`; and an axis for its index.
        of_state: whether the value changes along the run.
        needs: names of OBSERVABLES that the run must have recorded.
        every_step: whether all steps must be recorded, as the value depends on all earlier steps.
        setting: name of the setting whose value it is; the rule must have it.
    """

    text: str
    value: Callable[[Trajectory], Array]
    of_state: bool = False
    needs: tuple[str, ...] = ()
    every_step: bool = False
    setting: str = ""


def first_gradient(trajectory: Trajectory) -> Array:
    """Return g_0 = H e_0, (M, P)."""
    problem = trajectory.problem
    groups = {s: np.matmul(problem.hessian[s], problem.initial_error[s][..., None])[..., 0] for s in problem.hessian}
    return problem.layout.flatten(groups)


def gradient_condition(trajectory: Trajectory) -> Array:
    """Return max_i (|H||e_0|)_i / |g_0,i|, (M, 1): the relative error of the smallest entries of g_0, in units of rounding."""
    problem = trajectory.problem
    moduli = {
        size: np.matmul(np.abs(problem.hessian[size]), np.abs(problem.initial_error[size])[..., None])[..., 0]
        for size in problem.hessian
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = problem.layout.flatten(moduli) / np.abs(first_gradient(trajectory))
    return np.asarray(np.max(ratios, axis=1)[:, None])


def frozen_spectrum(trajectory: Trajectory) -> Array:
    """Return the eigenvalues of D^(-1/2) H D^(-1/2) with D = diag|g_0|, (M, 1, P); infinite if an entry of g_0 is 0."""
    problem = trajectory.problem
    roots = problem.layout.split(np.sqrt(np.abs(first_gradient(trajectory))))
    values = {}
    for size, root in roots.items():
        safe = np.where(root == 0.0, 1.0, root)
        scaled = problem.hessian[size] / safe[..., :, None] / safe[..., None, :]
        values[size] = np.linalg.eigvalsh((scaled + np.swapaxes(scaled, -1, -2)) / 2)
        values[size] = np.where((root == 0.0).any(axis=-1, keepdims=True), np.inf, values[size])
    return problem.layout.flatten(values)[:, None]


def _per_block(trajectory: Trajectory, reduce: Callable[..., Array], sizes: tuple[int, ...] | None = None) -> Array:
    """Return a reduction of |g_0| over each block of H, or over blocks of other sizes, (M, 1, B)."""
    modulus = np.abs(first_gradient(trajectory))
    sizes = trajectory.problem.block_sizes if sizes is None else sizes
    ends = np.cumsum(sizes)
    begins = ends - np.array(sizes)
    return np.stack([reduce(modulus[:, b:e], axis=1) for b, e in zip(begins, ends, strict=True)], axis=-1)[:, None]


def _sizes(trajectory: Trajectory) -> Array:
    return np.array(trajectory.problem.block_sizes, dtype=np.float64)[None, None]


def _weighted_smoothness(trajectory: Trajectory) -> Array:
    return size_weighted_smoothness(trajectory.problem.block_sizes, trajectory.problem.block_smoothness)[:, None]


def _coupled_weighted_smoothness(trajectory: Trajectory) -> Array:
    problem = trajectory.problem
    return size_weighted_smoothness(problem.rule_blocks.block_sizes, problem.rule_smoothness)[:, None]


def _coupled_ratio(reduce: Callable[..., Array]) -> Callable[[Trajectory], Array]:
    def value(trajectory: Trajectory) -> Array:
        problem = trajectory.problem
        return _per_block(trajectory, reduce, problem.rule_blocks.block_sizes) / problem.rule_smoothness[:, None]

    return value


def _dual_norm(trajectory: Trajectory) -> Array:
    """Return the dual norm of the gradient in the geometry of the rule, (M, K, R)."""
    return evaluate_along(GEOMETRIES[canonical_name(trajectory.rule)][0], trajectory)


def _norm_smoothness(trajectory: Trajectory) -> Array:
    return evaluate(GEOMETRIES[canonical_name(trajectory.rule)][1], trajectory)


def _smallest_inverse(trajectory: Trajectory) -> Array:
    """Return 1 / max_i (H^-1)_ii, (M, 1); NaN where H is singular."""
    return np.asarray(1.0 / inverse_diagonal(trajectory.problem).max(axis=1))[:, None]


def _largest_on_signs(trajectory: Trajectory) -> Array:
    """Return sum_l max_s s'H_l s over sign vectors, (M, 1); NaN if a block is too large to enumerate."""
    problem = trajectory.problem
    total = np.zeros((problem.problems, 1))
    for size, matrices in problem.hessian.items():
        if size > LARGEST_ENUMERATED:
            return np.full((problem.problems, 1), np.nan)
        total[:, 0] += largest_on_signs(matrices).sum(axis=-1)
    return total


def _parts(trajectory: Trajectory) -> Array:
    """Return lambda_i c_i^2 / 2, the part of the gap along every eigenvector, (M, 1, P)."""
    problem = trajectory.problem
    values, start = (problem.layout.flatten(x) for x in (problem.eigenvalues, problem.initial_coefficients))
    return np.asarray((values * start**2 / 2)[:, None])


def _observed(name: str, power: int = 1) -> Callable[[Trajectory], Array]:
    def value(trajectory: Trajectory) -> Array:
        with np.errstate(over="ignore"):
            return np.asarray(trajectory.observed[name] ** power)

    return value


def _before(name: str, accumulate: Callable[..., Array], power: int, empty: float) -> Callable[[Trajectory], Array]:
    """Return the smallest or largest value over all earlier steps, for every step, (M, K, R)."""

    def value(trajectory: Trajectory) -> Array:
        observed = trajectory.observed[name]
        with np.errstate(over="ignore"):
            so_far = accumulate(observed**power, axis=-1)
        return np.concatenate([np.full_like(observed[..., :1], empty), so_far[..., :-1]], axis=-1)

    return value


LENGTHS: Mapping[str, sp.Expr] = {
    "gd": Symbol.eta,
    "sgd": Symbol.eta,
    "signsgd": Symbol.eta,
    "gd-lambda": Symbol.eta / Symbol.Lambda_G,
    "sign-lambda": Symbol.eta * Symbol.norm1 / (Symbol.P * Symbol.Lambda_D),
    "normalized-gd": Symbol.eta,
}
"""Rule to the factor by which its step multiplies -g, -sign(g) or, for normalized-gd, -g/|g|_2."""

GEOMETRIES: Mapping[str, tuple[sp.Expr, sp.Expr]] = {
    "normalized-gd": (sp.sqrt(Symbol.norm2_squared), Symbol.L),
    "signsgd": (Symbol.norm1, Symbol.L_inf),
}
"""Rule of steepest descent in a norm to the dual norm of the gradient and the smoothness in that norm."""


def _only_on_a_head(trajectory: Trajectory) -> Array:
    raise ValueError(
        "the statement is about a softmax head, got a run on a quadratic; use quadsim.theory.statements.models.head."
    )


MEANINGS: Mapping[sp.Symbol, Meaning] = (
    {
        Symbol.t: Meaning("step, 0 or more", lambda run: run.steps.astype(np.float64)[None, None], of_state=True),
        Symbol.eta: Meaning("learning rate, positive", setting("lr"), setting="lr"),
        Symbol.momentum: Meaning("momentum, in [0, 1)", setting("momentum"), setting="momentum"),
        Symbol.beta1: Meaning("memory of the mean gradient, in [0, 1)", setting("beta1"), setting="beta1"),
        Symbol.beta2: Meaning("memory of the mean squared gradient, in [0, 1)", setting("beta2"), setting="beta2"),
        Symbol.noise_std: Meaning(
            "standard deviation of the noise on a coordinate of the gradient, 0 or more",
            lambda run: np.full((1, 1), run.gradient_noise_std),
        ),
        Symbol.L: Meaning("largest eigenvalue of H", largest_eigenvalue),
        Symbol.mu: Meaning("smallest eigenvalue of H, positive", smallest_eigenvalue),
        Symbol.kappa: Meaning(
            "condition number L/mu of H, at least 1", lambda run: largest_eigenvalue(run) / smallest_eigenvalue(run)
        ),
        Symbol.P: Meaning("number of coordinates", lambda run: np.full((1, 1), float(run.problem.dimension))),
        Symbol.Lambda_P: Meaning("sum_l (P_l/P) L_l", _weighted_smoothness),
        Symbol.nu: Meaning("1 / max_i (H^-1)_ii, positive", _smallest_inverse),
        Symbol.L_inf: Meaning("sum_l max over sign vectors s of s'H_l s, at most P Lambda_P", _largest_on_signs),
        Symbol.L_l: Meaning("largest eigenvalue of block l", lambda run: run.problem.block_smoothness[:, None]),
        Symbol.mu_l: Meaning(
            "smallest eigenvalue of block l, positive", lambda run: run.problem.block_strong_convexity[:, None]
        ),
        Symbol.P_l: Meaning("number of coordinates of block l", _sizes),
        Symbol.kappa_l: Meaning(
            "condition number L_l/mu_l of block l, at least 1",
            lambda run: (run.problem.block_smoothness / run.problem.block_strong_convexity)[:, None],
        ),
        Symbol.C1_l: Meaning(
            "smallest |g_0,li| of block l over L_l",
            lambda run: _per_block(run, np.min) / run.problem.block_smoothness[:, None],
        ),
        Symbol.C2_l: Meaning(
            "largest |g_0,li| of block l over L_l",
            lambda run: _per_block(run, np.max) / run.problem.block_smoothness[:, None],
        ),
        Symbol.coupling: Meaning(
            "smallest c with (1-c) D <= H <= (1+c) D, D the diagonal blocks of H by the blocks of rules, at least 0",
            lambda run: run.problem.coupling[:, None],
        ),
        Symbol.rate_coupling: Meaning(
            "coupling that the rates of the rule allow for, in [0, 1)", setting("coupling"), setting="coupling"
        ),
        Symbol.off_block: Meaning(
            "spectral norm of H - D, at least 0", lambda run: off_block_norm(run.problem)[:, None]
        ),
        Symbol.L_D_l: Meaning("largest eigenvalue of block l of D", lambda run: run.problem.rule_smoothness[:, None]),
        Symbol.mu_D_l: Meaning(
            "smallest eigenvalue of block l of D, positive", lambda run: run.problem.rule_convexity[:, None]
        ),
        Symbol.kappa_D_l: Meaning(
            "condition number of block l of D, at least 1",
            lambda run: (run.problem.rule_smoothness / run.problem.rule_convexity)[:, None],
        ),
        Symbol.C1_D_l: Meaning("smallest |g_0,li| of block l over L_D_l", _coupled_ratio(np.min)),
        Symbol.C2_D_l: Meaning("largest |g_0,li| of block l over L_D_l", _coupled_ratio(np.max)),
        Symbol.Lambda_D: Meaning("sum_l (P_l/P) L_D_l", _coupled_weighted_smoothness),
        Symbol.dual_norm: Meaning(
            "max of g'd over d of norm 1: |g|_2 (normalized-gd) or |g|_1 (signsgd)",
            _dual_norm,
            of_state=True,
            needs=("gradient_norm", "gradient_norm_1"),
        ),
        Symbol.norm_smoothness: Meaning(
            "max of d'Hd over d of norm 1: L (normalized-gd) or L_inf (signsgd)", _norm_smoothness
        ),
        Symbol.lambda_i: Meaning(
            "eigenvalues of H, by block", lambda run: run.problem.layout.flatten(run.problem.eigenvalues)[:, None]
        ),
        Symbol.sigma_i: Meaning("eigenvalues of D^(-1/2) H D^(-1/2), D = diag|g_0|", frozen_spectrum),
        Symbol.part_i: Meaning(
            "part of gap_0 on eigenvector i, lambda_i c_i^2/2 for its coefficient c_i in e_0", _parts
        ),
        Symbol.gap_0: Meaning("suboptimality gap at the start", lambda run: run.gap[:, :, 0]),
        Symbol.gap: Meaning("suboptimality gap f(w_t) - f*", lambda run: run.gap, of_state=True),
        Symbol.norm1: Meaning("|g_t|_1", _observed("gradient_norm_1"), of_state=True, needs=("gradient_norm_1",)),
        Symbol.norm2_squared: Meaning(
            "|g_t|_2^2", _observed("gradient_norm", 2), of_state=True, needs=("gradient_norm",)
        ),
        Symbol.norm2_squared_l: Meaning(
            "|g_t,l|_2^2 of block l",
            _observed("block_gradient_norm", 2),
            of_state=True,
            needs=("block_gradient_norm",),
        ),
        Symbol.Lambda_G: Meaning(
            "sum_l (|g_l|^2/|g|^2) L_l at w_t", _observed("Lambda_G"), of_state=True, needs=("Lambda_G",)
        ),
        Symbol.length: Meaning(
            "what multiplies -g or -sign(g) at step t: lr, lr/Lambda_G (gd-lambda) or lr |g|_1/(P Lambda_P) (sign-lambda)",
            lambda run: evaluate_along(LENGTHS[canonical_name(run.rule)], run),
            of_state=True,
        ),
        Symbol.least_norm1: Meaning(
            "min over s < t of |g_s|_1",
            _before("gradient_norm_1", np.minimum.accumulate, 1, np.nan),
            of_state=True,
            needs=("gradient_norm_1",),
            every_step=True,
        ),
        Symbol.least_norm2_squared: Meaning(
            "min over s < t of |g_s|_2^2",
            _before("gradient_norm", np.minimum.accumulate, 2, np.nan),
            of_state=True,
            needs=("gradient_norm",),
            every_step=True,
        ),
        Symbol.largest_Lambda_G: Meaning(
            "max over s < t of Lambda_G(w_s)",
            _before("Lambda_G", np.maximum.accumulate, 1, np.nan),
            of_state=True,
            needs=("Lambda_G",),
            every_step=True,
        ),
        Symbol.cosine: Meaning(
            "cosine of the angle between the step at w_t and -sign(g_t), in [-1, 1]",
            _observed("step_sign_cosine"),
            of_state=True,
            needs=("step_sign_cosine",),
        ),
        Symbol.stride: Meaning(
            "|w_{t+1} - w_t|_2 / |sign(g_t)|_2, the length of the step over that of sign(g_t)",
            _observed("step_sign_stride"),
            of_state=True,
            needs=("step_sign_stride",),
        ),
    }
    | {symbol: Meaning(**record) for symbol, record in RUN_MEANINGS.items()}
    | {
        symbol: Meaning(text, _only_on_a_head)
        for symbol, text in {
            **MODEL_MEANINGS,
            Symbol.classes: "number of classes, all equally frequent, at least 2",
            Symbol.batch: "samples in a mini-batch, at least 1",
            Symbol.features: "features that all samples share, at least 1",
            Symbol.drift: "P(k < b/C) - P(k > b/C) for k ~ Binomial(b, 1/C)",
            Symbol.tie: "P(k = b/C)",
            Symbol.growth: "|V_t - V_0|_F^2 of the head's weights along the shared features",
        }.items()
    }
)

_REDUCTIONS = {
    "MaxOver": lambda x: np.max(x, axis=-1, keepdims=True),
    "MinOver": lambda x: np.min(x, axis=-1, keepdims=True),
    "SumOver": lambda x: np.sum(x, axis=-1, keepdims=True),
}


class LogPower(sp.Function):  # type: ignore[misc]
    """Logarithm of an even power, n log|x|; 0 for n = 0, and minus infinity for x = 0 otherwise."""

    nargs = 2


def _log_power(exponent: Array, base: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(exponent) == 0.0, 0.0, exponent * np.log(np.abs(base)))


def logarithm(expression: sp.Expr) -> sp.Expr:
    """Return the logarithm of an expression, with powers as factors, so that one far below the smallest float keeps its digits.

    The value is NaN where the expression is negative. An even power may have a negative base: its logarithm is that of the
    modulus.
    """
    if expression.is_Mul:
        numbers = [x for x in expression.args if x.is_number]
        others = [logarithm(x) for x in expression.args if not x.is_number]
        return sp.Add(*others, *([sp.log(sp.Mul(*numbers), evaluate=False)] if numbers else []))
    if expression.is_Pow and expression.exp.is_even:
        return LogPower(expression.exp, expression.base)
    if expression.is_Pow and expression.exp.is_real and expression.base.is_positive:
        return expression.exp * logarithm(expression.base)
    return sp.log(expression, evaluate=False)


def misplaced(expression: sp.Expr) -> str:
    """Return a message about a symbol with an index outside a reduction, or two kinds of index in one; else ""."""
    kinds = {s: "_l" if str(s).endswith("_l") else "_i" for s in expression.free_symbols if str(s)[-2:] in ("_l", "_i")}
    outer = expression
    for over in sorted(expression.atoms(MaxOver, MinOver, SumOver), key=lambda o: -len(str(o))):
        inner = over.args[0]
        for nested in inner.atoms(MaxOver, MinOver, SumOver):
            inner = inner.subs(nested, sp.Dummy())
        if len({kinds[s] for s in inner.free_symbols if s in kinds}) != 1:
            return f"{over} (one index, of blocks _l or of coordinates _i, inside a reduction)"
        outer = outer.subs(over, sp.Dummy())
    free = sorted(str(s) for s in outer.free_symbols if s in kinds)
    return f"{', '.join(free)} outside MaxOver, MinOver or SumOver" if free else ""


def is_of_state(expression: sp.Expr) -> bool:
    """Whether the expression changes along the run (t by itself does not count)."""
    return any(MEANINGS[s].of_state for s in expression.free_symbols if s in MEANINGS and s != Symbol.t)


def unmet_needs(expression: sp.Expr, trajectory: Trajectory) -> str:
    """Return a message that names what the run must record so that the expression has a value; "" if nothing is missing."""
    meanings = [MEANINGS[s] for s in expression.free_symbols if s in MEANINGS]
    rule = f"of the class {trajectory.optimizer}" if trajectory.rule is None else trajectory.rule.name
    for meaning in meanings:
        if meaning.setting and meaning.setting not in trajectory.settings:
            return f"the rule {rule} has no setting {meaning.setting}"
    if Symbol.length in expression.free_symbols and canonical_name(trajectory.rule) not in LENGTHS:
        return f"{Symbol.length} is known for {', '.join(LENGTHS)}, not for {rule}"
    missing = sorted({name for m in meanings for name in m.needs} - set(trajectory.observed))
    if missing:
        return f"the run must record {', '.join(missing)}: simulate(..., observe={missing})"
    if any(m.every_step for m in meanings) and not np.array_equal(trajectory.steps, np.arange(trajectory.steps.size)):
        return 'the run must record every step: simulate(..., record="all")'
    return ""


def evaluate(expression: sp.Expr, trajectory: Trajectory, *, kind: type = np.float64) -> Array:
    """Return the value of an expression that does not change along the run, (M, K).

    Args:
        expression: the expression.
        trajectory: the run.
        kind: number type of the computation and of the value: a fourth power of a small number leaves the range of float64.

    Raises:
        ValueError: a symbol without a meaning, or one that changes along the run.
    """
    of_state = sorted(str(s) for s in expression.free_symbols if s in MEANINGS and MEANINGS[s].of_state)
    if of_state:
        raise ValueError(f"expression must not change along the run, got {', '.join(of_state)}; use evaluate_along.")
    value = _call(expression, trajectory, kind=kind)
    return np.broadcast_to(value, (*trajectory.steps_to_tolerance.shape, 1, 1))[..., 0, 0].astype(kind)


def evaluate_along(expression: sp.Expr, trajectory: Trajectory, steps: NDArray[np.int64] | None = None) -> Array:
    """Return the value of an expression at every recorded step, (M, K, R); a symbol without a meaning is a ValueError.

    With `steps` it is evaluated at these steps instead; then it may depend on the step number, but not on the state.
    """
    value = _call(expression, trajectory, steps)
    count = trajectory.steps.size if steps is None else steps.size
    return np.broadcast_to(value, (*trajectory.status.shape, count, 1))[..., 0].astype(np.float64)


def sum_of_terms(
    expression: sp.Expr, trajectory: Trajectory, known_to: Mapping[sp.Symbol, Array]
) -> tuple[Array, Array]:
    """Return the sum over the expanded terms of |term|, and of |term| times its relative error, (M, K, R) each.

    The terms of a sum inside an extreme count, too: a maximum is known as well as the least known of what it is taken over.

    Args:
        expression: the expression.
        trajectory: the run.
        known_to: relative error of each symbol, (M, 1); each factor of a term adds its own, to first order.
    """
    size, error = np.zeros(trajectory.gap.shape), np.zeros(trajectory.gap.shape)
    with np.errstate(all="ignore"):
        for term in sp.Add.make_args(sp.expand(expression)):
            modulus = np.abs(evaluate_along(_moduli(term), trajectory))
            unit = np.finfo(trajectory.dtype).eps  # the rounding of the product itself
            size, error = size + modulus, error + modulus * (_error_of(term, known_to) + unit)[..., None]
    return size, error


def _moduli(term: sp.Expr) -> sp.Expr:
    """Return a term in which the sums inside extremes are those of the moduli of their terms."""
    if term.is_Add:
        return sp.Add(*(_moduli(part) for part in term.args))
    if term.is_Mul:
        return sp.Mul(*(_moduli(factor) for factor in term.args))
    if isinstance(term, MaxOver | MinOver):
        return MaxOver(_moduli(term.args[0]))
    if isinstance(term, sp.Max | sp.Min):
        return sp.Max(*(_moduli(part) for part in term.args))
    return abs(term)


def _error_of(expression: sp.Expr, known_to: Mapping[sp.Symbol, Array]) -> Array:
    """Return the relative error of a product, the sum of those of its factors with multiplicity, (M, 1)."""
    if expression.is_Pow and expression.exp.is_Rational:
        return np.asarray(np.ceil(abs(float(expression.exp))) * _error_of(expression.base, known_to))
    if expression.is_Symbol:
        return known_to[expression]
    return np.asarray(sum((_error_of(argument, known_to) for argument in expression.args), np.zeros((1, 1))))


def relative_error(expression: sp.Expr, known_to: Mapping[sp.Symbol, Array]) -> Array:
    """Return the relative error of an expression without cancellation, as a decrease: every symbol in it counts, (M, 1)."""
    return _error_of(expression, known_to)


def _call(
    expression: sp.Expr, trajectory: Trajectory, steps: NDArray[np.int64] | None = None, kind: type = np.float64
) -> Array:
    """Return values with the axes (M, K, R, index); an axis has the length 1 if nothing depends on it.

    Raises:
        ValueError: a symbol without a meaning.
    """
    names = sorted(expression.free_symbols, key=str)
    for symbol in names:
        if symbol not in MEANINGS:
            raise ValueError(f"symbol must be one of {', '.join(map(str, MEANINGS))}, got {symbol}; use these.")
    function = sp.lambdify(names, expression, modules=[_REDUCTIONS | {"LogPower": _log_power}, "numpy"])
    values = []
    for symbol in names:
        value = np.asarray(MEANINGS[symbol].value(trajectory))
        if symbol == Symbol.t and steps is not None:
            value = steps.astype(np.float64)[None, None]
        if not MEANINGS[symbol].of_state:
            value = value[:, :, None]
        value = value if value.ndim == 4 else value[..., None]
        values.append(value if kind is np.float64 else value.astype(kind))
    with np.errstate(all="ignore"):
        return np.asarray(function(*values), dtype=kind)
