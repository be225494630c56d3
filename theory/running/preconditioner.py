"""The preconditioner of a run (docs/theory.md section 9): the step of a rule as e_t = e_(t-1) - B_t m_t, with B_t diagonal.

m_t = beta m_(t-1) + (1 - beta) g_(t-1) is the rule's mean of the gradients, or, with beta = 0, the gradient itself. Which rules
are of this form is derived from their expressions. B_t of a run is replayed from the iterates that it recorded: the
rule's own updates are evaluated on g = H e. So it is known for the runs of every engine that records iterates; no gap is read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.problems.layout import BlockLayout
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.numeric import function_of, source_of
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.rules.schedules import Schedule
from quadsim.simulator.runs.trajectory import Trajectory

if TYPE_CHECKING:
    import sympy as sp

__all__ = [
    "PreconditionedForm",
    "Replay",
    "disturbed_preconditioners",
    "eigenvalue_error",
    "has_form",
    "memory_of",
    "preconditioned_form",
    "rehearse",
    "replay",
    "some_at_once",
    "why_no_form",
]

Array = NDArray[np.float64]

_WEIGHT_DECAY = "weight_decay"

_CACHED = 1 << 14
"""Numbers of an array, of which a dozen are in use at once, that stay in a cache of some 2 MB."""


def eigenvalue_error(size: int) -> float:
    """Return how far a computed eigenvalue of B^(1/2) H B^(1/2) may be from the exact one, relative to the largest.

    With u the unit roundoff: an entry of the stored matrix is a root and two products away from the exact one, 4 u of itself,
    which is 4 sqrt(n) u of the largest eigenvalue in norm. The eigenvalues are those of a matrix that differs by some n^2 u in
    norm (2 (n-2) Householder transformations to tridiagonal form, each with an error of some n u, and as many rotations of the QL
    iteration; Higham, Accuracy and Stability, 2002, lemma 19.3). By Weyl's inequality they move by no more than these norms. The
    constant of the second part is 64; tests compare with certified enclosures.
    """
    unit = float(np.finfo(float).eps) / 2.0
    return (4.0 * float(np.sqrt(size)) + 64.0 * size**2) * unit


@dataclass(frozen=True)
class PreconditionedForm:
    """A step of a rule as -B m, where m is a mean of the gradients.

    Attributes:
        memory: the state that is the mean of the gradients; None where beta = 0, so that it is the gradient.
        beta: the factor of the old mean.
        scale: the mean is the state times this (1 - momentum for heavy-ball, whose state is a sum).
        preconditioner: B, in the new states, clocks and settings, coordinate by coordinate.
    """

    memory: "sp.Symbol | None"
    beta: "sp.Expr"
    scale: "sp.Expr"
    preconditioner: "sp.Expr"


def _without_decay(expression: "sp.Expr") -> "sp.Expr":
    import sympy as sp

    return expression.subs(sp.Symbol(_WEIGHT_DECAY, nonnegative=True), 0)


@lru_cache(maxsize=64)
def preconditioned_form(rule: Rule) -> PreconditionedForm | None:
    """Return the form of a rule, without its weight decay; None if its step is not a preconditioner times a mean of gradients."""
    import sympy as sp

    from quadsim.simulator.rules.functions import Total, symbols

    step = -_without_decay(rule.step).doit()
    g = symbols.g
    if step == 0 or step.has(Total, symbols.w) or any(e.has(Total, symbols.w) for e in rule.update.values()):
        return None
    for memory in (g, *rule.states):
        quotient = step / memory
        if {memory, g, symbols.L_l, symbols.mu_l} & quotient.free_symbols or quotient.has(sp.sign):
            continue
        if memory == g:
            return PreconditionedForm(None, sp.S.Zero, sp.S.One, quotient)
        update = sp.expand(rule.update[memory])
        beta, weight = sp.diff(update, memory), sp.diff(update, g)
        if {memory, g} & (beta.free_symbols | weight.free_symbols) or rule.start.get(memory, sp.S.Zero) != 0:
            continue
        # `cancel` decides these, which are rational; `simplify` would import the units of physics for it.
        if sp.cancel(update - beta * memory - weight * g) == 0 and weight != 0:
            scale = sp.cancel((1 - beta) / weight)
            return PreconditionedForm(memory, beta, scale, quotient / scale)
    return None


def has_form(rule: Rule) -> bool:
    """Return whether a rule has a `preconditioned_form`; of a built-in rule that is known without SymPy."""
    return bool(rule.fact("has a preconditioned form", lambda: preconditioned_form(rule) is not None))


def memory_of(rule: Rule, settings: Mapping[str, float]) -> float:
    """Return beta, the memory of the mean gradient of a rule with a form."""
    own = _sources(rule)["functions"]["beta"]
    return float(function_of(own)(*(settings[name] for name in rule.names))[0])


def why_no_form(trajectory: Trajectory) -> str:
    """Return the reason why a run has no preconditioner of this form; the empty text if it has one."""
    rule = trajectory.rule
    if rule is None:
        return f"{trajectory.optimizer} is a class, without a rule"
    if not has_form(rule):
        return f"a step of {rule.name} is not a preconditioner times a mean of the gradients"
    decay = trajectory.settings.get(_WEIGHT_DECAY)
    if decay is not None and np.any(decay != 0.0):
        return f"weight decay must be 0, got {decay.max():g}: it is no function of the gradient"
    return ""


@dataclass(frozen=True, eq=False)
class Replay:
    """Errors, gradients, means of gradients and preconditioners along a run, recomputed from its iterates.

    Arrays are (M, K, T + 1, P) for the steps 0, ..., T. The preconditioner at t is that of the step from t - 1 to t; at 0 it is
    NaN. Where the preconditioner of a coordinate is infinite (a second moment of 0 and eps = 0) its block has no finite
    extremes, so that no statement is made of them from there on.

    Attributes:
        layout: sizes and positions of the blocks.
        hessian: H by block size, as in `BlockQuadratic`.
        eigenvalues: of H, by block size.
        eigenvectors: of H, by block size.
        error: e_t.
        gradient: g_t = H e_t.
        mean: m_t.
        preconditioner: the diagonal of B_t.
        beta: of every setting, (K,).
    """

    layout: BlockLayout
    hessian: Mapping[int, Array]
    eigenvalues: Mapping[int, Array]
    eigenvectors: Mapping[int, Array]
    error: Array
    gradient: Array
    mean: Array
    preconditioner: Array
    beta: Array

    @cached_property
    def taus(self) -> dict[int, Array]:
        """Eigenvalues of B_t^(1/2) H_l B_t^(1/2), ascending, by block size, (M, K, T + 1, B_size, P_size); or NaN."""
        out = {}
        for size, positions in self.layout.positions.items():
            diagonal = self.preconditioner[..., positions]
            known = np.asarray(np.isfinite(diagonal).all(axis=-1))
            root = np.sqrt(np.where(known[..., None], diagonal, 1.0))
            values = np.empty_like(root)
            for part in some_at_once(root.shape[2], root[:, :, 0].size * size):
                some = root[:, :, part]
                scaled = self.hessian[size][:, None, None] * some[..., :, None] * some[..., None, :]
                values[:, :, part] = np.linalg.eigvalsh(scaled)
            out[size] = np.where(known[..., None], values, np.nan)
        return out

    def _extreme(self, position: int) -> Array:
        out = np.empty((*self.error.shape[:3], len(self.layout.block_sizes)))
        for size, blocks in self.layout.groups.items():
            out[..., blocks] = self.taus[size][..., position]
        return out

    @cached_property
    def smallest_tau(self) -> Array:
        """Smallest eigenvalue of B_t^(1/2) H_l B_t^(1/2) of every block, (M, K, T + 1, B)."""
        return self._extreme(0)

    @cached_property
    def largest_tau(self) -> Array:
        """Largest eigenvalue of B_t^(1/2) H_l B_t^(1/2) of every block, (M, K, T + 1, B)."""
        return self._extreme(-1)

    @cached_property
    def tau_error(self) -> Array:
        """How far any of the computed eigenvalues may be from the exact one, (M, K, T + 1, B)."""
        units = np.array([eigenvalue_error(size) for size in self.layout.block_sizes])
        return np.asarray(units * self.largest_tau)

    @cached_property
    def tau_ends(self) -> tuple[Array, Array]:
        """Numbers between which all exact eigenvalues lie, (M, K, T + 1, B) each: the computed ones, widened by their error."""
        return np.maximum(self.smallest_tau - self.tau_error, 0.0), self.largest_tau + self.tau_error

    def _change(self, above: Array, below: Array) -> Array:
        with np.errstate(all="ignore"):
            ratio = above / below
        found = np.stack([ratio[..., p].max(axis=-1) for p in _by_block(self.layout)], axis=-1)
        return np.concatenate([np.full_like(found[:, :, :1], np.nan), found], axis=2)

    @cached_property
    def rise(self) -> Array:
        """rho_t = max over the coordinates of a block of B_t/B_(t-1), (M, K, T + 1, B); NaN at t = 0 and 1."""
        return self._change(self.preconditioner[:, :, 1:], self.preconditioner[:, :, :-1])

    @cached_property
    def fall(self) -> Array:
        """omega_t = max over the coordinates of a block of B_(t-1)/B_t, (M, K, T + 1, B); NaN at t = 0 and 1."""
        return self._change(self.preconditioner[:, :, :-1], self.preconditioner[:, :, 1:])

    def forms(self, left: Array, right: Array) -> Array:
        """Return left'right of every block, (M, K, T + 1, B), for arrays (M, K, T + 1, P)."""
        product = left * right
        return np.stack([product[..., p].sum(axis=-1) for p in _by_block(self.layout)], axis=-1)

    def inverse_forms(self, vector: Array) -> Array:
        """Return v'H_l^-1 v of every block, (M, K, T + 1, B), for v (M, K, T + 1, P)."""
        out = np.empty((*vector.shape[:3], len(self.layout.block_sizes)))
        for size, positions in self.layout.positions.items():
            turned = np.einsum("mbij,mktbi->mktbj", self.eigenvectors[size], vector[..., positions])
            out[..., self.layout.groups[size]] = np.sum(turned**2 / self.eigenvalues[size][:, None, None], axis=-1)
        return out


def some_at_once(steps: int, numbers: int) -> list[slice]:
    """Return stretches of the steps of a run whose arrays stay in the cache of a processor, with so many numbers a step."""
    at_once = max(1, _CACHED // max(numbers, 1))
    return [slice(begin, min(begin + at_once, steps)) for begin in range(0, steps, at_once)]


def _by_block(layout: BlockLayout) -> list[slice]:
    ends = np.cumsum(layout.block_sizes)
    return [slice(int(end - size), int(end)) for end, size in zip(ends, layout.block_sizes, strict=True)]


def replay(trajectory: Trajectory) -> Replay:
    """Return the preconditioners of a run that recorded its iterates at every step; see the module.

    Raises:
        ValueError: a run without them, or of a rule that is not of the form; see `why_no_form`.
    """
    if reason := why_no_form(trajectory):
        raise ValueError(f"a preconditioner must exist, got a run without one: {reason}; choose another rule.")
    if "iterate" not in trajectory.observed or trajectory.steps.size != trajectory.steps[-1] + 1:
        raise ValueError(
            "the run must record its iterate at every step, got one that does not; "
            'use simulate(..., observe=["iterate"], record="all").'
        )
    problem, rule = trajectory.problem, trajectory.rule
    assert rule is not None
    error = trajectory.observed["iterate"] - problem.layout.flatten(problem.minimizer)[:, None, None]
    gradient = np.empty_like(error)
    for size, positions in problem.layout.positions.items():
        gradient[..., positions] = np.einsum("mbij,mktbj->mktbi", problem.hessian[size], error[..., positions])
    settings = {name: values[None, :, None] for name, values in trajectory.settings.items()}
    return _replayed(
        problem, rule, settings, trajectory.schedule, error, gradient, lambda t, move: np.asarray(gradient[:, :, t])
    )


def disturbed_preconditioners(trajectory: Trajectory, seen: Replay) -> list[Array]:
    """Return the preconditioners of a run with its gradients off by what rounding can do to them, each (M, K, T + 1, P).

    An engine has computed a gradient with an error of at most (n + 3) u |H||e|, coordinate by coordinate, u of the run's number
    type. The second moments rise the most where every gradient is off to the same side, and a variance moves the most where
    the sides change; in a type other than float64 the squares may leave its range, too.
    """
    problem, rule = trajectory.problem, trajectory.rule
    assert rule is not None
    off = np.empty_like(seen.gradient)
    for size, positions in problem.layout.positions.items():
        moduli = np.abs(problem.hessian[size])
        off[..., positions] = (size + 3) * np.einsum("mbij,mktbj->mktbi", moduli, np.abs(seen.error[..., positions]))
    off *= np.sign(seen.gradient) * float(np.finfo(trajectory.dtype).eps) / 2.0
    sides = np.where(np.arange(off.shape[2]) % 2, 1.0, -1.0)[:, None]
    ways = [(seen.gradient + off, np.float64), (seen.gradient + sides * off, np.float64)]
    ways += [(seen.gradient, np.dtype(trajectory.dtype).type)] if trajectory.dtype != "float64" else []
    schedule = trajectory.schedule
    factors = None if schedule.is_constant else schedule.factors(off.shape[2] - 1)
    functions, out = _functions(rule, problem.rule_blocks), []
    for gradient, kind in ways:
        given = gradient.astype(kind)
        settings = {name: values[None, :, None].astype(kind) for name, values in trajectory.settings.items()}
        own = None if factors is None else factors.astype(kind)
        _, diagonal = functions.along(_recorded(given), off.shape, settings, own)
        out.append(diagonal)
    return out


def rehearse(
    problem: BlockQuadratic, rule: Rule, settings: Mapping[str, NDArray[np.float64]], steps: int, schedule: Schedule
) -> Replay:
    """Return what `replay` does for a run that is made here, in NumPy, from the expressions of the rule.

    It differs from the run of an engine by rounding alone, and takes a fraction of the time of an engine that records iterates.

    Args:
        problem: M problems.
        rule: a rule with a form, see `preconditioned_form`; its weight decay must be 0.
        settings: name to values, each (K,), or (M, K) where they differ between the problems.
        steps: T.
        schedule: of the rate.
    """
    shape = (problem.problems, settings["lr"].shape[-1], steps + 1, problem.dimension)
    error, gradient = np.empty(shape), np.empty(shape)
    error[:, :, 0] = problem.layout.flatten(problem.initial_error)[:, None]
    matrices = {size: np.swapaxes(h, -1, -2)[:, None] for size, h in problem.hessian.items()}

    def after(t: int, move: Array | None) -> Array:
        if move is not None:
            error[:, :, t] = error[:, :, t - 1] + move
        for size, positions in problem.layout.positions.items():
            gradient[:, :, t, positions] = (error[:, :, t][..., positions][..., None, :] @ matrices[size])[..., 0, :]
        return gradient[:, :, t]

    own = {name: np.atleast_2d(values)[..., None] for name, values in settings.items()}
    return _replayed(problem, rule, own, schedule, error, gradient, after)


def _replayed(
    problem: BlockQuadratic,
    rule: Rule,
    settings: Mapping[str, Array],
    schedule: Schedule,
    error: Array,
    gradient: Array,
    gradients: "Gradients",
) -> Replay:
    functions = _functions(rule, problem.rule_blocks)
    factors = None if schedule.is_constant else schedule.factors(error.shape[2] - 1)
    mean, diagonal = functions.along(gradients, error.shape, settings, factors)
    beta = np.broadcast_to(functions.beta(settings), (1, error.shape[1], 1))[0, :, 0]
    return Replay(
        problem.layout, problem.hessian, problem.eigenvalues, problem.eigenvectors,
        error, gradient, mean, diagonal, beta,
    )  # fmt: skip


def _sources(rule: Rule) -> dict[str, Any]:
    """Return the updates of a rule and its form as sources of functions, the number of clocks, and which updates are states."""
    found: dict[str, Any] = rule.fact("sources of a preconditioned form", partial(_derive_sources, rule))
    return found


def _derive_sources(rule: Rule) -> dict[str, Any]:
    import sympy as sp

    from quadsim.simulator.rules.functions import symbols

    form = preconditioned_form(rule)
    assert form is not None
    names = (symbols.lr, *rule.hyperparameters)
    functions = {
        "clocks": ((*names, *rule.clocks), rule.clocks.values()),
        "updates": ((symbols.g, *names, *rule.clocks, *rule.states), rule.update.values()),
        "starts": ((symbols.g, *names), [rule.start.get(s, sp.S.Zero) for s in rule.states]),
        "form": (
            (symbols.g, *names, *rule.clocks, *rule.update),
            (form.scale * (form.memory or symbols.g), form.preconditioner),
        ),
        "beta": (names, (form.beta,)),
    }
    known: dict[str, Callable[..., Any]] = {"Ratio": _ratio, "BlockMean": np.asarray}
    return {
        "clocks": len(rule.clocks),
        "keep": [list(rule.update).index(state) for state in rule.states],
        "functions": {
            name: source_of(of, [_without_decay(e) for e in expressions], cse=False, others=known)
            for name, (of, expressions) in functions.items()
        },
    }


class _Functions:
    """The updates of a rule and its form as functions of arrays."""

    def __init__(self, rule: Rule, layout: BlockLayout) -> None:
        self._slices, self._names = _by_block(layout), rule.names
        found = _sources(rule)
        self._number_of_clocks, self._keep = int(found["clocks"]), tuple(found["keep"])
        known: dict[str, Callable[..., Any]] = {"Ratio": _ratio, "BlockMean": self._mean}
        each = {name: function_of(source, known) for name, source in found["functions"].items()}
        self._clocks, self._updates, self._starts = each["clocks"], each["updates"], each["starts"]
        self._form_of, self._beta = each["form"], each["beta"]

    def _mean(self, values: Array) -> Array:
        out = np.empty_like(values)
        for part in self._slices:
            out[..., part] = values[..., part].mean(axis=-1, keepdims=True)
        return out

    def beta(self, settings: Mapping[str, Array]) -> Array:
        """Return beta of every setting."""
        return np.asarray(self._beta(*(settings[name] for name in self._names))[0], dtype=np.float64)

    def along(
        self, gradients: "Gradients", shape: tuple[int, ...], settings: Mapping[str, Array], factors: Array | None
    ) -> tuple[Array, Array]:
        """Return means and preconditioners at every step, as `Replay` has them.

        Args:
            gradients: function from a step and the move to it (None at the first) to the gradient there, (M, K, P).
            shape: (M, K, T + 1, P).
            settings: name to values, each (1, K, 1) or (M, K, 1).
            factors: of the schedule; None: constant.
        """
        values = [settings[name] for name in self._names]
        clocks: tuple[Any, ...] = (1.0,) * self._number_of_clocks
        mean, diagonal = np.zeros(shape), np.full(shape, np.nan)
        with np.errstate(all="ignore"):
            g = gradients(0, None)
            states = self._starts(g, *values)
            for t in range(1, shape[2]):
                if factors is not None:
                    values[0] = settings["lr"] * factors[t - 1]
                clocks = self._clocks(*values, *clocks)
                updated = self._updates(g, *values, *clocks, *states)
                states = [updated[i] for i in self._keep]
                mean[:, :, t], diagonal[:, :, t] = self._form_of(g, *values, *clocks, *updated)
                g = gradients(t, -diagonal[:, :, t] * mean[:, :, t])
        return mean, diagonal


Gradients = Callable[[int, Array | None], Array]


def _recorded(gradient: Array) -> Gradients:
    """Return the gradients of every step, (M, K, T + 1, P), as a function of the step."""
    return lambda t, move: gradient[:, :, t]


@lru_cache(maxsize=64)
def _functions(rule: Rule, layout: BlockLayout) -> _Functions:
    return _Functions(rule, layout)


def _ratio(a: Array, b: Array) -> Array:
    """Return a/b, and 0 where a is 0; see `Ratio`."""
    return np.asarray(
        np.where(a == 0.0, 0.0, a / np.where(b == 0.0, 1.0, b)) * np.where((b == 0.0) & (a != 0.0), np.inf, 1.0)
    )
