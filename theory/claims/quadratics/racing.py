"""Races of optimizers on quadratics that several claims share: matched pairs, steps at the best rates, quotients of steps."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from quadsim.simulator.engines import simulate_optimizer
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.optimizer import OptimizerSpec
from quadsim.simulator.support.statistics import chosen_half, judged_half, quantile
from quadsim.simulator.sweeps.config.quadratics import SweepConfig
from quadsim.simulator.sweeps.run.driver import sweep
from quadsim.theory.claims.judging import Condition, Measured, measured_median

__all__ = [
    "CONTRAST",
    "HALVED",
    "MATCHED",
    "MATCHING",
    "NOISE",
    "PAIRS",
    "PLANNED",
    "RATES",
    "SIGN_PAIRS",
    "TWICE",
    "WITHIN_REACH",
    "Steps",
    "arrays",
    "best_rate",
    "best_steps",
    "designed",
    "keeps_up",
    "quotient",
    "raced",
    "ratio",
    "slower",
]

NOISE = 1.5
"""Smallest ratio of two step counts that counts as a difference; smaller ones are noise (prototype runs of a few seeds)."""

NOISY = "a factor below 1.5 counts as noise in this project"
TWICE = 2.0
"""The smallest ratio that counts where the seeds scatter so much that a factor of 1.5 would need hundreds of them."""
_BECAUSE = {
    NOISE: NOISY,
    TWICE: "half the steps; where the seeds scatter by orders of magnitude, as here, a smaller factor is not told from none",
}
CONTRAST = "a quotient of two optimizers on the same problem is a contrast itself"

HALVED = (
    "named smallest effects, power and Holm's correction; contrasts with the control; rates chosen on half of the seeds and "
    "judged on the others; a seed on which neither optimizer reaches the target is not comparable, no longer a quotient of 1"
)
"""Why criteria were changed on 2026-11-26, in words of their histories; so the next one."""
MATCHING = (
    "gradient descent without momentum against Adam without it, and both with momentum 0.9; before, Adam with momentum ran "
    "against gradient descent without"
)

WITHIN_REACH = 1e-3
"""A tolerance that sign steps of constant length can reach: below some gap they only oscillate around the minimizer."""

PAIRS = {"adam:beta1=0": "gd", "adam": "heavy-ball"}
"""Adam's form to its match, without momentum and with the same momentum 0.9: SGD in both papers is SGD with momentum."""

SIGN_PAIRS = {"signsgd": "gd", "signum": "heavy-ball"}
"""The same for sign steps."""

MATCHED = {"adam:beta1=0": "without momentum: GD over Adam", "adam": "momentum 0.9: heavy ball over Adam"}
"""Name of the curve of a pair."""

Steps = dict[tuple[Any, str], NDArray[np.float64]]


_MOST_EXTENSIONS = 2
"""Decades by which a grid grows beyond that of the sweep."""

_ARRIVING = 0.9
"""The quantile of the steps that the best rate makes smallest. The median would choose the largest rate with which just over half
of the seeds arrive: the others then have no steps, and a test over seeds cannot see the effect however large it is."""


def best_rate(steps: NDArray[np.float64]) -> int:
    """Return the place of the best rate: the smallest 90% quantile of the steps, so that nine of ten seeds arrive with it.

    Where no rate lets so many arrive, the one that lets most of them arrive; among equals the smallest median.

    Args:
        steps: of the seeds on which the rate is chosen, `inf` where a run did not arrive, (seeds, rates).
    """
    arrived = np.isfinite(steps).mean(axis=0)
    order = (quantile(steps, 0.5, axis=0), -arrived, quantile(steps, _ARRIVING, axis=0))
    return int(np.lexsort(order)[0])


def designed(seeds: int, more: str = "") -> str:
    """Return the design of a race over so many seeds (and more of them somewhere, in words), for `Claim.design`."""
    return (
        f"{seeds // 2} judged seeds{more}; of each optimizer the rate with the smallest {_ARRIVING:.0%} "
        "quantile of the steps on as "
        "many other seeds"
    )


RATES = (
    "of each optimizer the rate with the smallest 90% quantile of the steps, before the smallest median, "
    "which chooses the largest "
    "rate with which just over half of the seeds arrive; a condition with a power under .8 is inconclusive, whatever was measured"
)
"""What changed in the criteria of races on 2026-11-26."""
PLANNED = "the number of seeds was chosen for a power of .95 from the spread of that other draw"


def best_steps(config: SweepConfig, by: str) -> pd.DataFrame:
    """Return the steps of the judged seeds at the best rate of its optimizer and point: `by`, optimizer, seed, lr, steps.

    Args:
        config: of the race; all of its dials but `by` have one value.
        by: the dial that may have several.
    """
    runs = sweep(config).summary
    kept = [_at_best_rate(own, config, by) for _, own in runs.groupby([by, "optimizer"], sort=False, dropna=False)]
    table = pd.concat(kept)[[by, "optimizer", "seed", "lr", "steps_to_tolerance"]]
    return table.rename(columns={"steps_to_tolerance": "steps"}).reset_index(drop=True)


def _at_best_rate(runs: pd.DataFrame, config: SweepConfig, by: str) -> pd.DataFrame:
    """Return the runs of the judged seeds at the best rate, for the runs of one optimizer at one value of the dial.

    The grid of a sweep grows where the smallest median lies at an edge. Where the best rate by `best_rate` lies at one, the
    optimizer runs again with a further decade of rates beyond it.
    """
    for extended in range(_MOST_EXTENSIONS + 1):
        wide = runs.pivot(index="seed", columns="lr", values="steps_to_tolerance")
        column = best_rate(wide.loc[config.chosen_on].to_numpy(dtype=float))
        edge, arrived = wide.columns[column], np.isfinite(wide.iloc[:, column]).any()
        if extended == _MOST_EXTENSIONS or 0 < column < wide.shape[1] - 1 or not arrived:
            break
        side = -1 if column == 0 else 1
        more = tuple(float(edge) * 10 ** (side * k / config.lr_density) for k in range(1, config.lr_density + 1))
        value, optimizer = runs[by].tolist()[0], str(runs["optimizer"].iloc[0])
        changed: dict[str, Any] = {by: (value,), "optimizers": (optimizer,), "lr": more}
        further = sweep(replace(config, **changed))
        runs = pd.concat([runs, further.summary], ignore_index=True)
    return runs[(runs["lr"] == edge) & runs["seed"].isin(config.reported)]


def arrays(table: pd.DataFrame, by: str) -> Steps:
    """Return the steps of every seed by (value, optimizer)."""
    return {
        (key[0], str(key[1])): part.sort_values("seed")["steps"].to_numpy(dtype=float)
        for key, part in table.groupby([by, "optimizer"], sort=False)
    }


def quotient(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quotient of steps, seed by seed; NaN where neither optimizer reached the target: nothing can be compared."""
    with np.errstate(invalid="ignore"):
        return np.asarray(numerator / denominator)


def ratio(name: str, numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> Measured:
    """Return the median over seeds of a quotient of steps."""
    return measured_median(name, quotient(numerator, denominator))


def slower(measure: str, control: str = "", effect: float = NOISE) -> Condition:
    """The condition that a quotient of steps is above 1, or above that of the control; what counts is NOISE or TWICE."""
    level = "" if control else CONTRAST
    return Condition(measure=measure, control=control, null=1.0, effect=effect, because=_BECAUSE[effect], level=level)


def keeps_up(measure: str, effect: float = NOISE) -> Condition:
    """The condition that a quotient of steps is not as large as an effect, NOISE or TWICE."""
    return Condition(measure=measure, null=1.0, effect=effect, because=_BECAUSE[effect], level=CONTRAST, absent=True)


def raced(
    problem: BlockQuadratic,
    optimizer: str,
    *,
    centre: float | None = None,
    steps: int,
    tolerance: float,
) -> NDArray[np.float64]:
    """Return the steps of the judged seeds at the best rate, for problems that no sweep draws, (M // 2,).

    The grid has four rates a decade, a decade on each side of its centre, and grows by a decade where the best rate lies at its
    edge, as that of a sweep.

    Args:
        problem: M problems; the rate is chosen on the even-numbered ones and judged on the others.
        optimizer: as `adam:beta1=0`.
        centre: of the grid; None: the rule's natural rate at the median spectrum.
        steps: the largest number.
        tolerance: of the gap, relative to the gap at the start.
    """
    spec = OptimizerSpec.parse(optimizer)
    centre = _natural_rate(problem, spec, tolerance) if centre is None else centre
    ends = [-_DENSITY, _DENSITY]
    found: dict[int, NDArray[np.float64]] = {}
    while True:
        places = [k for k in range(ends[0], ends[1] + 1) if k not in found]
        run = simulate_optimizer(
            problem,
            spec,
            lr=[centre * 10 ** (k / _DENSITY) for k in places],
            steps=steps,
            record="log",
            tolerance=tolerance,
        )
        found |= {k: run.steps_to_tolerance[:, i] for i, k in enumerate(places)}
        table = np.stack([found[k] for k in sorted(found)], axis=1)
        column = best_rate(table[chosen_half(problem.problems)])
        at_low, at_high = column == 0, column == len(found) - 1
        if not (at_low or at_high) or ends[1] - ends[0] >= _MOST_DECADES * _DENSITY:
            return np.asarray(table[judged_half(problem.problems), column])
        ends[0 if at_low else 1] += -_DENSITY if at_low else _DENSITY


_DENSITY = 4
_MOST_DECADES = 6


def _natural_rate(problem: BlockQuadratic, spec: OptimizerSpec, tolerance: float) -> float:
    """Return the natural rate of an optimizer at the medians of what the problems have."""
    spectra = np.concatenate([values.reshape(problem.problems, -1) for values in problem.eigenvalues.values()], axis=1)
    middle = {
        "L": spectra.max(axis=1),
        "mu": spectra.min(axis=1),
        "trace": spectra.sum(axis=1),
        "dimension": np.array(problem.dimension),
        "error_scale": np.array(1.0),
        "tolerance": np.array(tolerance),
    }
    return spec.natural_lr({name: float(np.median(values)) for name, values in middle.items()})
