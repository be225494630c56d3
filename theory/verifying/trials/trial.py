"""A trial: the runs on which a theorem is checked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.checking.instance import InstanceCheck
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.verifying.draws import Draw
from quadsim.theory.verifying.tightness import Family

__all__ = ["BATCH", "STEPS", "Trial"]


BATCH = 50
"""Number of problems that share their dials."""


STEPS = 30


@dataclass(frozen=True)
class Trial:
    """The runs on which a theorem is checked.

    Attributes:
        sampled: function that draws a batch of random problems and runs them, under one or more rules and settings.
        rational: function that returns a short run in rationals that meets the hypotheses; None if there is no exact check.
        searched: for an upper bound, the runs that are searched for the tightest; see `tightness.search_tightest`.
        instance: for a theorem that is about no run, function that checks one random instance, from the theorem, the draws, the
            number of the instance and whether it must be checked in exact arithmetic.
        notes: function from a number of problems and a seed to the remarks that are reported beside the verdict.
        without: runs that violate the statement without one of its hypotheses, where changes of the sampled runs find none.
    """

    sampled: Callable[[Draw, int], Iterator[Trajectory]] | None = None
    rational: Callable[[Draw], Trajectory] | None = None
    searched: Family | None = None
    instance: Callable[[Theorem, Draw, int, bool], InstanceCheck] | None = None
    notes: Callable[[int, int], tuple[str, ...]] = lambda problems, seed: ()
    without: Callable[[], Iterator[Trajectory]] = lambda: iter(())

    def runs(
        self, name: str, problems: int, seed: int, *, exact: bool = False, beside: int = 0
    ) -> Iterator[Trajectory]:
        """Yield runs on at least `problems` new problems, at most `BATCH` at a time; the draws depend on the name and the seed.

        Args:
            name: name of the theorem.
            problems: number of problems.
            seed: seed of the draws.
            exact: whether only runs in rationals are wanted, if the trial has them.
            beside: number of runs in rationals in addition to the sampled ones.
        """
        if self.sampled is not None and not (exact and self.rational is not None):
            draw = np.random.default_rng([seed, *name.encode()])
            for begin in range(0, problems, BATCH):
                yield from self.sampled(draw, min(BATCH, problems - begin))
        if self.rational is not None:
            draw = np.random.default_rng([seed, 1, *name.encode()])
            for _ in range(problems if exact else beside):
                yield self.rational(draw)
