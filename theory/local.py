"""Compare one step of training with its local models (first order, block-diagonal, whole) and with the descent lemmas.

The lemmas of docs/theory.md section 4 are about quadratics with a block-diagonal Hessian. The loss of a model is neither
quadratic nor block-diagonal. So at a snapshot w with the step u two errors are measured, the last two terms of

    f(w + u) - f(w) = g'u + u'H_blk u/2 + u'(H - H_blk)u/2 + remainder,

where H_blk is the diagonal blocks of the Hessian at w, and the remainder is of third order in u. The bound of a lemma, with the
measured L_l, is never below the first two terms. It is `violated` if the third term or the remainder makes the observed change
larger than it. Bound and third term are quadratic in the learning rate, so the third term does this at every short step or at
none: for gd if g'Hg > Lambda_G |g|^2.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sympy as sp
import xarray as xr
from numpy.typing import NDArray

from quadsim.simulator.curvature.along_training import Present, snapshots_of, stacks_at_snapshots
from quadsim.simulator.curvature.block_spectra import LARGEST_BLOCK, block_spectra
from quadsim.simulator.curvature.hessian import gradient, hessian_products
from quadsim.simulator.models.partitions import Partition
from quadsim.simulator.problems import heterogeneity as het
from quadsim.simulator.runs.training_run import TrainingRun
from quadsim.simulator.support.torch_modes import own_modes
from quadsim.theory.statements.registry import THEOREMS
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.symbols import Symbol

__all__ = ["LEMMAS", "STATES", "LocalSteps", "bound_on_change", "local_steps"]

Array = NDArray[np.float64]

LEMMAS = ("gradient-descent-lemma", "sign-descent-lemma")
STATES = ("holds", "violated", "not applicable")

_SAME_STEP = 1e-3  # relative distance at which a step, trained in float32, still is the lemma's
_ULPS = 1e3  # units of rounding of a mean of cross-entropies in float64
_DIVERGED = "the run had diverged"
_OTHER_STEP = "the step is not a multiple of that of the lemma"
_OTHER_GRADIENT = "the rule saw another gradient than that of the loss (a mini-batch, or scaled blocks)"


@dataclass(frozen=True, eq=False)
class LocalSteps:
    """The steps at the snapshots of a run, with their local models and bounds; arrays (M, K, S), NaN after a divergence.

    Attributes:
        run: the run, with M problems, K settings and S snapshots.
        partition: name of the blocks.
        observed: f(w + u) - f(w) of the optimised loss on all data, float64.
        first_order: g'u, with the gradient g of that loss at w.
        quadratic_block: half of u'H_blk u.
        quadratic_whole: half of u'Hu.
        rounding: allowance of the comparison with the bound: rounding of `observed`, and the difference of the step from the
            step of the lemma.
        theorem: name of the lemma of the rule; empty if there is none.
        bound: bound on the change by that lemma with the measured L_l; NaN where it does not apply.
        state: one of STATES.
        reason: the reason why it is not applicable, or the cause of a violation: `curvature between blocks` (the whole
            second-order model is already above the bound) or `third order`; else empty.
    """

    run: TrainingRun
    partition: str
    observed: Array
    first_order: Array
    quadratic_block: Array
    quadratic_whole: Array
    rounding: Array
    theorem: str
    bound: Array
    state: NDArray[np.str_]
    reason: NDArray[np.str_]

    @property
    def block_model(self) -> Array:
        """The change that the block-diagonal model predicts, g'u + u'H_blk u/2."""
        return self.first_order + self.quadratic_block

    @property
    def whole_model(self) -> Array:
        """The change that the second-order model predicts, g'u + u'Hu/2."""
        return self.first_order + self.quadratic_whole

    @property
    def remainder(self) -> Array:
        """The observed change less that of the second-order model; it is of third order in the step."""
        with np.errstate(invalid="ignore"):
            return self.observed - self.whole_model

    @property
    def ratio(self) -> Array:
        """The curvature along the step over that of the block-diagonal model, u'Hu / u'H_blk u; NaN where the divisor is 0."""
        safe = np.where(self.quadratic_block == 0.0, np.nan, self.quadratic_block)
        with np.errstate(all="ignore"):
            return np.asarray(self.quadratic_whole / safe)

    def to_frame(self) -> pd.DataFrame:
        """Return a table with one row per problem, setting and snapshot."""
        columns: dict[str, Any] = {
            "observed": self.observed,
            "first_order": self.first_order,
            "block_model": self.block_model,
            "whole_model": self.whole_model,
            "remainder": self.remainder,
            "quadratic_ratio": self.ratio,
            "bound": self.bound,
            "rounding": self.rounding,
            "state": self.state,
            "reason": self.reason,
        }
        problems, settings, _ = self.observed.shape
        index = pd.MultiIndex.from_product(
            [range(problems), range(settings), snapshots_of(self.run).steps.tolist()],
            names=["problem", "setting", "step"],
        )
        frame = pd.DataFrame({name: values.ravel() for name, values in columns.items()}, index=index).reset_index()
        frame.insert(1, "heterogeneity", self.run.problem.heterogeneity[frame["problem"]])
        for name, values in self.run.settings.items():
            frame.insert(3, name, values[frame["setting"]])
        return frame.assign(optimizer=self.run.optimizer, partition=self.partition, theorem=self.theorem)

    def text(self) -> str:
        """Return the result in words."""
        known = np.isfinite(self.observed)
        if not known.any():
            return f"{self.run.optimizer}: all runs had diverged at all snapshots."
        with np.errstate(all="ignore"):
            first, block, whole = (x / self.observed for x in (self.first_order, self.block_model, self.whole_model))
            third = np.abs(self.remainder / self.observed)
        lines = [
            f"{self.run.optimizer}, blocks by {self.partition}, {int(known.sum())} steps looked at "
            f"({int((self.observed[known] < 0).sum())} lower the loss).",
            f"Curvature along the step, whole Hessian over its diagonal blocks: {_range(self.ratio)}.",
            f"Predicted over observed change: first order {_range(first)}; with the blocks {_range(block)}; with the whole "
            f"Hessian {_range(whole)}.",
            f"Remainder of third order over the observed change: {_range(third)}.",
        ]
        counts = {state: int(np.sum(self.state[known] == state)) for state in STATES}
        if not self.theorem:
            lines.append(f"No descent lemma speaks of {self.run.optimizer}.")
        else:
            lines.append(
                f"{self.theorem}, which takes the Hessian for block-diagonal: holds {counts['holds']}, violated "
                f"{counts['violated']}, not applicable {counts['not applicable']}."
            )
            given = self.reason[known & (self.reason != "")]
            lines += [f"  {int(np.sum(given == why))} x {why}" for why in np.unique(given).tolist()]
        return "\n".join(lines)


def bound_on_change(theorem: Theorem) -> sp.Expr:
    """Return the bound of a per-step theorem on f(w + u) - f(w): (factor - 1) times the gap, in which the gap must cancel.

    Raises:
        ValueError: a theorem that is not per step, or whose bound on the change depends on the gap.
    """
    if theorem.kind != "per step":
        raise ValueError(
            f"theorem must be per step, got {theorem.name} ({theorem.kind}); use one of {', '.join(LEMMAS)}."
        )
    change = sp.expand((theorem.bound - 1) * Symbol.gap)
    if Symbol.gap in change.free_symbols:
        raise ValueError(
            f"theorem must bound the change without the gap, got {theorem.name}; use one of {', '.join(LEMMAS)}."
        )
    return change


@own_modes()
def local_steps(
    run: TrainingRun,
    *,
    partition: str | Partition = "module",
    measured: xr.Dataset | None = None,
    largest: int = LARGEST_BLOCK,
    **quadrature: Any,
) -> LocalSteps:
    """Compare every step at a snapshot with its local models and, for gd and signsgd, with its descent lemma.

    L_l is max(largest eigenvalue of block l at w, 0). The bound then holds for a quadratic with these blocks; on this loss it
    leaves out the curvature between blocks and the third order.

    Args:
        run: a run of `train(..., snapshots=(...))`.
        partition: blocks, or their name in PARTITIONS.
        measured: result of `measure` for this run and partition, whose spectra are reused; else they are computed if there is a
            lemma for the rule.
        largest: largest number of parameters of a block with exact eigenvalues; L_l of a larger one is estimated from below.
        **quadrature: nodes, runs and seed of the quadrature of larger blocks; see `block_spectra`.

    Raises:
        ValueError: a run without snapshots, or measurements of another partition or without curvature.
    """
    kept = snapshots_of(run)
    cut = run.problem.partition(partition) if isinstance(partition, str) else partition
    smoothness = None if measured is None else _smoothness_of(measured, run, cut)
    theorem = next((THEOREMS[n] for n in LEMMAS if run.rule.name in THEOREMS[n].rules), None)
    shape = kept.theta.shape[:3]
    rows = shape[0] * shape[1], shape[2]
    found = {name: np.full(rows, np.nan) for name in _NUMBERS}
    state = np.full(rows, "not applicable", dtype=object)
    reason = np.full(rows, _DIVERGED, dtype=object)
    for here in stacks_at_snapshots(run):
        with np.errstate(all="ignore"):
            numbers = _models(here, cut.ranges)
            states = np.full(here.at.size, "not applicable", dtype=object)
            why = np.full(here.at.size, f"no lemma speaks of {run.rule.name}", dtype=object)
            if theorem is not None:
                if smoothness is None:
                    L = block_spectra(here.stack, here.theta, cut, largest=largest, **quadrature).smoothness
                else:
                    L = smoothness[here.at, here.step]
                states, why = _judge(here, theorem, cut.sizes, L, numbers)
        for name in _NUMBERS:
            found[name][here.at, here.step] = numbers.get(name, np.nan)
        state[here.at, here.step], reason[here.at, here.step] = states, why
    return LocalSteps(
        run=run,
        partition=cut.name,
        theorem="" if theorem is None else theorem.name,
        state=state.reshape(shape).astype(str),
        reason=reason.reshape(shape).astype(str),
        **{name: values.reshape(shape) for name, values in found.items()},
    )


_NUMBERS = ("observed", "first_order", "quadratic_block", "quadratic_whole", "rounding", "bound")


def _models(here: Present, ranges: tuple[tuple[int, int], ...]) -> dict[str, Array]:
    """Return the terms of the local models, (E,) each, and the true gradient, (E, P)."""
    u, slope = here.update, gradient(here.stack, here.theta)
    # The step, and the part of it in each block: H times these gives both quadratic terms.
    parts = np.zeros((len(ranges) + 1, *u.shape))
    parts[0] = u
    for number, (begin, end) in enumerate(ranges, start=1):
        parts[number, :, begin:end] = u[:, begin:end]
    forms = np.sum(parts * hessian_products(here.stack, here.theta, parts), axis=-1) / 2
    before, after = here.losses(here.theta), here.losses(here.theta + u)
    return {
        "observed": after - before,
        "first_order": np.sum(slope * u, axis=-1),
        "quadratic_block": forms[1:].sum(axis=0),
        "quadratic_whole": forms[0],
        "rounding": _ULPS * np.finfo(float).eps * np.maximum(np.abs(before), np.abs(after)),
        "gradient": slope,
    }


def _judge(
    here: Present, theorem: Theorem, sizes: tuple[int, ...], L: Array, numbers: dict[str, Array]
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Return state and reason of every instance, (E,), and add bound and rounding to the numbers."""
    u, slope = here.update, numbers["gradient"]
    of_signs = Symbol.norm1 in theorem.bound.free_symbols
    direction = np.sign(here.gradient) if of_signs else here.gradient
    square = np.sum(direction**2, axis=-1)
    length = np.divide(-np.sum(u * direction, axis=-1), square, out=np.zeros_like(square), where=square > 0.0)
    values: dict[sp.Symbol, Any] = {
        Symbol.length: length,
        Symbol.norm1: np.sum(np.abs(slope), axis=-1),
        Symbol.norm2_squared: np.sum(slope**2, axis=-1),
        Symbol.P: float(sum(sizes)),
        Symbol.Lambda_P: het.size_weighted_smoothness(sizes, L),
        Symbol.Lambda_G: het.gradient_weighted_smoothness(slope, sizes, L),
    }
    change = bound_on_change(theorem)
    flat = change.subs({Symbol.Lambda_P: 0, Symbol.Lambda_G: 0})
    bound, first = (_value(expression, values) for expression in (change, flat))

    other_step = het.norm(u + length[:, None] * direction) > _SAME_STEP * het.norm(u)
    other_gradient = np.abs(first - numbers["first_order"]) > _SAME_STEP * np.abs(first)
    # A step in float32 is the lemma's up to rounding; with this the bound is above the block model for the step as it is.
    sharp = np.sum(L * het.block_gradient_norms(u, sizes) ** 2 * sizes, axis=-1) / 2
    slack = np.abs(first - numbers["first_order"]) + np.maximum(sharp - (bound - first), 0.0)
    numbers["rounding"] = numbers["rounding"] + np.where(other_step | other_gradient, 0.0, slack)

    limit = bound + numbers["rounding"]
    between = numbers["first_order"] + numbers["quadratic_whole"] > limit
    applies = ~(other_step | other_gradient | ~np.isfinite(bound))
    numbers["bound"] = np.where(applies, bound, np.nan)
    fails = numbers["observed"] > limit
    state = np.select([~applies, fails], ["not applicable", "violated"], "holds")
    reason = np.select(
        [other_step, other_gradient, ~applies, fails & between, fails],
        [
            _OTHER_STEP,
            _OTHER_GRADIENT,
            "a number is not finite, or the gradient is 0",
            "curvature between blocks",
            "third order",
        ],
        "",
    )
    return state.astype(object), reason.astype(object)


def _value(expression: sp.Expr, values: dict[sp.Symbol, Any]) -> Array:
    names = sorted(expression.free_symbols, key=str)
    with np.errstate(invalid="ignore"):
        return np.asarray(sp.lambdify(names, expression, modules="numpy")(*(values[s] for s in names)))


def _smoothness_of(measured: xr.Dataset, run: TrainingRun, cut: Partition) -> Array:
    """Return L_l of every instance, (M K, S, B).

    Raises:
        ValueError: measurements of another run or partition.
    """
    shape = (*snapshots_of(run).theta.shape[:3], len(cut.sizes))
    found = measured.get("smoothness")
    if found is None or measured.attrs.get("partition") != cut.name or found.shape != shape:
        raise ValueError(
            f"measured must hold the smoothness of the blocks by {cut.name} at this run's snapshots, got "
            f"{measured.attrs.get('partition')!r}; call measure(run, partition={cut.name!r})."
        )
    return np.asarray(found.values.reshape(-1, *shape[2:]))


def _range(values: Array) -> str:
    """Return median, smallest and largest of the finite values, as text."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "undefined"
    low, middle, high = np.quantile(finite, [0.0, 0.5, 1.0])
    return f"{middle:.3g} (median; {low:.3g} to {high:.3g})"
