"""Exact values, along an exact run, of what statements about blocks and about preconditioned steps are made of.

The preconditioner of a step is read off the run: B = -step/m, with m the mean of the gradients that its rule keeps. Its spectrum
with a block is that of the matrix B H, which needs no root. Numbers are rationals, or balls where a rule takes a root.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy as sp
from flint import acb_poly, arb, arb_mat, fmpq, fmpq_mat

from quadsim.simulator.rules.rule import Rule
from quadsim.theory.checking.exact import ExactProblem, NotExact, eigenvalues_of, largest, rational, root
from quadsim.theory.checking.exact_recursions import CONSTANTS
from quadsim.theory.checking.exact_run import ExactState, product_of
from quadsim.theory.running.certificates import Certificate, certificates_for, coefficients
from quadsim.theory.running.preconditioner import preconditioned_form
from quadsim.theory.symbols import Symbol

__all__ = ["ALONG", "ExactRun"]


class ExactRun:
    """An exact run and what is computed of it, once for every step.

    Args:
        problem: the problem.
        rule: the rule.
        settings: name to value.
        states: of `run_exactly`.
    """

    def __init__(
        self, problem: ExactProblem, rule: Rule, settings: Mapping[str, float], states: Sequence[ExactState]
    ) -> None:
        self.problem, self.rule, self.settings, self.states = problem, rule, settings, states
        self._means: list[list[list[Any]]] = [[[fmpq(0)] * len(e) for e in problem.initial_error]]
        self._taus: dict[int, list[list[Any]]] = {}

    def value(self, symbol: sp.Symbol, t: int) -> Any:
        """Return the value of a symbol of ALONG at step t; None where it has none there."""
        return ALONG[symbol](self, t)

    def block_gaps(self, t: int) -> list[Any]:
        """Return the gap of every block."""
        state = self.states[t]
        pairs = zip(state.error, state.gradient, strict=True)
        return [_inner(e, g) / 2 for e, g in pairs]

    @property
    def beta(self) -> fmpq:
        """The memory of the mean gradient.

        Raises:
            NotExact: a rule whose step is not a preconditioner times a mean of gradients.
        """
        form = preconditioned_form(self.rule)
        if form is None:
            raise NotExact(f"a step of {self.rule.name} is not a preconditioner times a mean of gradients")
        names = sorted(map(str, form.beta.free_symbols))
        return rational(self.settings[names[0]]) if names else fmpq(0)

    def mean(self, t: int) -> list[list[Any]]:
        """Return m_t of every block: m_(t+1) = beta m_t + (1 - beta) g_t, from 0."""
        beta = self.beta
        while len(self._means) <= t:
            gradient, last = self.states[len(self._means) - 1].gradient, self._means[-1]
            self._means.append([
                [beta * m + (1 - beta) * g for m, g in zip(*pair, strict=True)]
                for pair in zip(last, gradient, strict=True)
            ])
        return self._means[t]

    def preconditioner(self, t: int) -> list[list[Any]]:
        """Return the diagonal of B of the step from t to t + 1, block by block.

        Raises:
            NotExact: a mean of gradients that may be 0.
        """
        step = self.states[t].step
        assert step is not None
        out = []
        for moved, mean in zip(step, self.mean(t + 1), strict=True):
            if any(bool(m == 0) or (isinstance(m, arb) and m.contains(0)) for m in mean):
                raise NotExact("an entry of the mean gradient may be 0, so that its preconditioner is not known")
            out.append([-x / m for x, m in zip(moved, mean, strict=True)])
        return out

    def taus(self, t: int) -> list[list[Any]]:
        """Return the eigenvalues of B H_l of every block, for the step from t to t + 1."""
        if t not in self._taus:
            pairs = zip(self.preconditioner(t), self.problem.blocks, strict=True)
            self._taus[t] = [_eigenvalues(diagonal, block) for diagonal, block in pairs]
        return self._taus[t]


def _inner(left: Sequence[Any], right: Sequence[Any]) -> Any:
    return sum((x * y for x, y in zip(left, right, strict=True)), fmpq(0))


def _eigenvalues(diagonal: Sequence[Any], block: fmpq_mat) -> list[Any]:
    """Return the eigenvalues of diag(diagonal) H, which are real.

    Raises:
        NotExact: eigenvalues of balls that are too close to be told apart.
    """
    n = block.nrows()
    entries = [diagonal[i] * block[i, j] for i in range(n) for j in range(n)]
    if n == 1:
        return entries
    if all(isinstance(x, fmpq) for x in entries):
        return eigenvalues_of(fmpq_mat(n, n, entries))
    try:
        return [x.real for x in acb_poly(arb_mat(n, n, [arb(x) for x in entries]).charpoly()).roots()]
    except ValueError as error:
        raise NotExact(f"eigenvalues are too close for balls ({error})") from error


def _target(run: ExactRun, t: int) -> list[Any] | None:
    """Return x_T of every block; see `meanings.RUN_MEANINGS`."""
    if t < 2:
        return None
    rate = rational(run.settings["lr"])
    past = [run.block_gaps(s) for s in range(t)]
    out = []
    sizes, nus = CONSTANTS[Symbol.S_l](run.problem), CONSTANTS[Symbol.nu_l](run.problem)
    for block, (size, nu) in enumerate(zip(sizes, nus, strict=True)):
        least = min(gaps[block] for gaps in past)
        if not bool(least > rate**2 * max(size**2 / (8 * nu), size / 2)):
            return None
        out.append(root(least))
    return out


def _ratios(run: ExactRun, t: int) -> list[Any] | None:
    first = run.block_gaps(0)
    return None if any(bool(x == 0) for x in first) else [x / y for x, y in zip(run.block_gaps(t), first, strict=True)]


def _extreme(sign: int) -> Callable[[ExactRun, int], Any]:
    def value(run: ExactRun, t: int) -> Any:
        ratios = _ratios(run, t)
        return None if ratios is None else sign * largest([sign * x for x in ratios])

    return value


def _smaller(run: ExactRun, t: int) -> Any:
    if t + 1 >= len(run.states):
        return None
    return -largest([-run.states[t].gap, -run.states[t + 1].gap])


def _tau(sign: int) -> Callable[[ExactRun, int], Any]:
    def value(run: ExactRun, t: int) -> Any:
        if run.states[t].step is None:
            return None
        return [sign * largest([sign * x for x in taus]) for taus in run.taus(t)]

    return value


def _lag(run: ExactRun, t: int) -> list[list[Any]]:
    pairs = zip(run.states[t].gradient, run.mean(t), strict=True)
    return [[g - m for g, m in zip(*pair, strict=True)] for pair in pairs]


def _inverse_forms(run: ExactRun, vectors: Sequence[Sequence[Any]]) -> list[Any]:
    return [_inner(v, product_of(block.inv(), v)) for v, block in zip(vectors, run.problem.blocks, strict=True)]


def _energies(run: ExactRun, t: int) -> list[Any]:
    lags = _inverse_forms(run, _lag(run, t))
    return [2 * gap + run.beta * lag for gap, lag in zip(run.block_gaps(t), lags, strict=True)]


def _energy_ratios(run: ExactRun, t: int) -> list[Any] | None:
    if run.states[t].step is None:
        return None
    now = _energies(run, t)
    if not all(bool(x > 0) for x in now):
        return None
    return [y / x for x, y in zip(now, _energies(run, t + 1), strict=True)]


def _certified_ratios(run: ExactRun, t: int) -> list[Any] | None:
    """Return the largest V_(t+1)/(theta V_t) of every block over the certificates whose V and R are certainly positive."""
    if t == 0 or run.states[t].step is None or not 0 < run.beta < 1:
        return None
    every = certificates_for(float(run.settings["beta1"] if "beta1" in run.settings else run.settings["momentum"]))
    old, new = run.preconditioner(t - 1), run.preconditioner(t)
    out = []
    for block, taus in enumerate(run.taus(t)):
        rho = largest([y / x for x, y in zip(old[block], new[block], strict=True)])
        omega = largest([x / y for x, y in zip(old[block], new[block], strict=True)])
        found = []
        for numbers in zip(*every, strict=True):
            certificate = Certificate(*(rational(float(x)) for x in numbers))
            before = _energy(run, t, block, old[block], certificate)
            if not bool(before > 0):
                continue
            thetas = [_factor(tau, run.beta, certificate, rho, omega) for tau in taus]
            if any(theta is None or not bool(theta > 0) for theta in thetas):
                continue
            found.append(_energy(run, t + 1, block, new[block], certificate) / (largest(thetas) * before))
        if not found:
            return None
        out.append(largest(found))
    return out


def _energy(run: ExactRun, t: int, block: int, diagonal: Sequence[Any], certificate: Certificate) -> Any:
    """Return V_t of a block, with B_t = `diagonal`."""
    s, xi, a, b = certificate
    eps1 = (1 - run.beta) / (1 + run.beta)
    state, mean, matrix = run.states[t], run.mean(t)[block], run.problem.blocks[block]
    g = state.gradient[block]
    inverse = matrix.inv()
    lag = [x - y for x, y in zip(g, mean, strict=True)]
    middle = [eps1 * x + (1 - eps1) * y for x, y in zip(g, mean, strict=True)]
    weighted = sum((d * x * x for d, x in zip(diagonal, middle, strict=True)), fmpq(0))
    pulled = sum((d * x * x for d, x in zip(diagonal, g, strict=True)), fmpq(0))
    return (
        (1 - s) * _inner(state.error[block], g)
        + s * _inner(lag, product_of(inverse, lag))
        - xi * _inner(mean, product_of(inverse, mean))
        + a / (2 * eps1) * weighted
        - b * pulled
    )


def _factor(tau: Any, beta: fmpq, certificate: Certificate, rho: Any, omega: Any) -> Any:
    """Return the larger eigenvalue of R(tau)^-1 N(tau); None unless R is certainly positive."""
    r, n = (
        [sum((c * tau**i for i, c in enumerate(p)), fmpq(0)) for p in form]
        for form in coefficients(beta, certificate, rho, omega)
    )
    volume = r[0] * r[2] - r[1] * r[1]
    if not (bool(r[0] > 0) and bool(volume > 0)):
        return None
    half = (n[0] * r[2] - 2 * n[1] * r[1] + n[2] * r[0]) / volume / 2
    other = (n[0] * n[2] - n[1] * n[1]) / volume
    inside = half * half - other
    return half + root(inside if bool(inside >= 0) else largest([inside, fmpq(0)]))


def _eps1(run: ExactRun, t: int) -> Any:
    return (1 - run.beta) / (1 + run.beta)


ALONG: Mapping[sp.Symbol, Callable[[ExactRun, int], Any]] = {
    Symbol.target_l: _target,
    Symbol.smaller_gap: _smaller,
    Symbol.ratio_high: _extreme(1),
    Symbol.ratio_low: _extreme(-1),
    Symbol.eps1: _eps1,
    Symbol.tau_low_l: _tau(-1),
    Symbol.tau_high_l: _tau(1),
    Symbol.energy_ratio_l: _energy_ratios,
    Symbol.certified_ratio_l: _certified_ratios,
}
"""Symbol to its exact value at a step of an exact run; None where it has none there."""
