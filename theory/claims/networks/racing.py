"""What several claims about networks share: values at the learning rate that is best on half of the seeds."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.theory.claims.judging import at_best_of_half, judged_half

__all__ = ["CENTRES", "at_best_rate"]

Array = NDArray[np.float64]

CENTRES = {"gd": 0.5, "heavy-ball": 0.1, "adam": 0.05}
"""Centre of the first grid of learning rates of each rule; grids are extended, so no result depends on it."""

MOST_EXTENSIONS = 4


def at_best_rate(
    measure: Callable[[list[float]], Mapping[str, Array]], centre: float, density: int, decades: float = 1.0
) -> dict[str, Any]:
    """Return what the judged seeds give at the learning rate that is best on the other half.

    The grid grows by a decade while its best rate lies at an edge.

    Args:
        measure: function of learning rates to arrays (seeds, rates). The first is to be small; the second, where there is one,
            decides between rates with equal medians; the others are only returned.
        centre: centre of the first grid.
        density: learning rates per decade.
        decades: the first grid reaches so far to both sides.

    Returns:
        The arrays at the best rate, for the judged seeds alone, with `lr` and `edge` (whether it is the last rate tried).
    """
    tried: dict[int, dict[str, Array]] = {}
    reach = round(density * decades)
    new = list(range(-reach, reach + 1))
    for _ in range(MOST_EXTENSIONS + 1):
        found = measure([centre * 10 ** (k / density) for k in new])
        tried |= {k: {name: values[:, i] for name, values in found.items()} for i, k in enumerate(new)}
        low, high = min(tried), max(tried)
        order = sorted(tried)
        names = list(found)
        best = at_best_of_half(*(np.stack([tried[k][name] for k in order], axis=1) for name in names[:2]))
        at = order[best.column]
        new = [low - 1 - i for i in range(density)] if at == low else []
        new += [high + 1 + i for i in range(density)] if at == high else []
        if not new:
            break
    judged = judged_half(len(next(iter(tried[at].values()))))
    kept = {name: values[judged] for name, values in tried[at].items()}
    return kept | {names[0]: best.values, "lr": centre * 10 ** (at / density), "edge": best.edge}
