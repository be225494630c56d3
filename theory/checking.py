"""A theorem against a run, and the judge that gives a sweep its bound columns."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.trajectory import DIVERGED_ABOVE, Trajectory
from quadsim.theory.registry import THEOREMS
from quadsim.theory.symbols import Symbol, evaluate, frozen_spectrum, gradient_condition
from quadsim.theory.theorem import Theorem

__all__ = ["VERDICTS", "check_upper", "judge"]

VERDICTS = ("verified", "holds", "refuted", "undecided", "not applicable")
"""Words of theory.md section 7. A float run alone gives `holds`, `undecided` (a flag that needs exact arithmetic) or
`not applicable`."""

BOUND_OF_RULE = {
    "gd": ("gd-upper",),
    "sgd": ("gd-upper",),
    "block-gd": ("block-gd",),
    "heavy-ball": ("heavy-ball",),
    "adam-frozen": ("adam-frozen", "adam-frozen-exact"),
}
"""The upper bounds that a sweep reports for a rule: the first whose hypotheses hold on the run."""

Array = NDArray[np.float64]


def judge(trajectory: Trajectory) -> Mapping[str, NDArray[Any]]:
    """Columns of a sweep's summary, each (M, K).

    Returns:
        `theorem` (name, empty where none applies), `bound_steps` (steps after which the bound has fallen to the tolerance; NaN
        without a theorem, `inf` where it never falls so far), `bound_rate` (the bound's factor per step; NaN for a horizon
        bound), `margin` (largest ratio of gap to bound over the recorded steps; at most 1 up to rounding) and `verdict`.
    """
    shape = trajectory.status.shape
    out: dict[str, NDArray[Any]] = {
        "theorem": np.full(shape, "", dtype=object),
        "bound_steps": np.full(shape, np.nan),
        "bound_rate": np.full(shape, np.nan),
        "margin": np.full(shape, np.nan),
        "verdict": np.full(shape, "not applicable", dtype=object),
    }
    names = BOUND_OF_RULE.get(trajectory.rule.name, ()) if trajectory.rule is not None else ()
    for name in names:
        theorem = THEOREMS[name]
        chosen = theorem.applies(trajectory) & (out["theorem"] == "")
        if not chosen.any():
            continue
        verdict, margin = check_upper(theorem, trajectory)
        steps = theorem.steps_on(trajectory)
        columns: dict[str, Any] = {"theorem": name, "bound_steps": steps, "margin": margin, "verdict": verdict}
        if theorem.decrease is not None:
            columns["bound_rate"] = 1.0 - theorem.decrease_on(trajectory)
        for column, values in columns.items():
            out[column] = np.where(chosen, values, out[column])
    return out


def check_upper(theorem: Theorem, trajectory: Trajectory) -> tuple[NDArray[np.object_], Array]:
    """Verdict and margin of an upper bound on every problem and setting, (M, K) each.

    A per-step bound is compared between recorded steps s < t as factor^(t-s), so that no step can hide behind an earlier
    one that did better than it had to. The margin is the largest gap_t / (factor^(t-s) gap_s); `holds` if it stays within
    the rounding budget everywhere, else `undecided`: a flag in floating point refutes nothing (theory.md section 7).

    Gaps below 1e-280 are left out (float64 loses digits there), and so is what follows a divergence, unless the bound says
    that the run could not have diverged.
    """
    steps, gap = trajectory.steps, trajectory.gap
    before, after = gap[:, :, :-1], gap[:, :, 1:]
    growth = _growth_budget(theorem, trajectory)
    evaluation = _evaluation_budget(trajectory)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if theorem.kind == "per step":
            per_step = np.log1p(-theorem.decrease_on(trajectory))
            allowed = np.log(np.exp(per_step / 2.0) + growth) * 2.0
            apart = np.diff(steps).astype(np.float64)
            bound, budgeted = per_step[:, :, None] * apart, allowed[:, :, None] * apart
            seen = np.log(after) - np.log(before)
            usable = (before > _TINY) & (after > _TINY) & np.isfinite(before) & np.isfinite(after)
            whole, from_start = per_step * float(steps[-1]), allowed * float(steps[-1])
        else:
            bound = np.stack([theorem.log_bound(trajectory, int(t)) for t in steps[1:]], axis=-1)
            budgeted = bound + np.log1p(growth[:, :, None] * steps[1:])
            seen = np.log(after) - np.log(gap[:, :, :1])
            usable = (after > _TINY) & np.isfinite(after)
            whole = from_start = bound[:, :, -1]
        excess = np.where(usable, seen - bound, -np.inf)
        flagged = np.any(usable & ~(seen <= budgeted + evaluation[:, :, None]), axis=-1)
    diverged = trajectory.status == "diverged"
    # A run above 1e12 gap_0 at some step, although the bound never allows that much.
    flagged |= diverged & (np.maximum(whole, from_start) < np.log(DIVERGED_ABOVE))
    margin = np.exp(np.max(excess, axis=-1))
    margin = np.where(diverged & (whole < np.log(DIVERGED_ABOVE)), np.inf, margin)
    verdict = np.where(flagged, "undecided", "holds").astype(object)
    return verdict, margin


_TINY = 1e-280


def _unit(trajectory: Trajectory) -> float:
    return float(np.finfo(trajectory.dtype).eps) / 2.0


def _conditioning(theorem: Theorem, trajectory: Trajectory) -> tuple[Array, Array]:
    """Largest eigenvalue and worst block condition of the matrix the recursion runs on, (M, K) or (M, 1)."""
    if "adam-frozen" in theorem.rules:
        sigma = frozen_spectrum(trajectory)
        return sigma.max(axis=-1), np.asarray(sigma.max(axis=-1) / sigma.min(axis=-1))
    if "block-gd" in theorem.rules:
        # In units of each block's own rate the largest eigenvalue is 2 L_l/(L_l+mu_l) <= 2.
        return np.full((trajectory.problems, 1), 2.0), _kappa(trajectory)
    return evaluate(Symbol.L, trajectory)[:, :1], _kappa(trajectory)


def _kappa(trajectory: Trajectory) -> Array:
    """Worst condition number of a block, (M, 1): blocks do not mix, so errors are amplified within one only."""
    problem = trajectory.problem
    return np.asarray((problem.block_smoothness / problem.block_strong_convexity).max(axis=1)[:, None])


def _growth_budget(theorem: Theorem, trajectory: Trajectory) -> Array:
    """What rounding can add to the factor sqrt(gap_{t+1}/gap_t) in one step, (M, K).

    With u the unit roundoff and n the largest block: the stored matrix differs from one with the asked eigenvalues by at
    most gamma L, gamma = 8 n^(3/2) u (product of three matrices, the outer two orthogonal to n^(3/2) u; Higham, Accuracy
    and Stability, 2002, section 3.5), which moves 1 - eta lambda by eta L gamma. The step itself is computed with an error
    of at most u (1 + (n+3) sqrt(n) eta L) |e|, as | |H||e| | <= sqrt(n) L |e|, and in the H-norm an error counts up to
    sqrt(kappa_l) times its share of |e|. A frozen preconditioner is known to n u (|H||e_0|)_i/|g_0,i|. The closed form of a
    step t errs by 2 t |log r| units, which is below the same. The steps of a horizon bound are counted the same way.
    """
    unit, n = _unit(trajectory), max(trajectory.problem.block_sizes)
    largest, kappa = _conditioning(theorem, trajectory)
    curvature = np.abs(trajectory.settings["lr"])[None, :] * largest
    matrix = 8.0 * n**1.5 * unit
    if "adam-frozen" in theorem.rules:
        matrix = matrix + n * unit * gradient_condition(trajectory)
    if "heavy-ball" in theorem.rules:
        curvature = curvature + 2.0  # e_{t+1} also holds beta (e_t - e_{t-1}), two more products of about |e|
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(curvature * matrix + np.sqrt(kappa) * unit * (1.0 + (n + 3) * np.sqrt(n) * curvature))


def _evaluation_budget(trajectory: Trajectory) -> Array:
    """Relative error of gap_t / gap_s as measured: each is 1/2 e'He with error n u |e||H||e| <= n^(3/2) u kappa_l 2 gap."""
    n, number = max(trajectory.problem.block_sizes), len(trajectory.problem.block_sizes)
    size = 2.0 * (2.0 * n**1.5 + number) * _unit(trajectory)
    return np.asarray(size * _kappa(trajectory) * np.ones(trajectory.status.shape))
