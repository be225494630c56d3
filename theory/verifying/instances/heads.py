"""Instances of head-drift."""

from quadsim.theory.checking.heads import check_head
from quadsim.theory.checking.instance import InstanceCheck
from quadsim.theory.statements.theorem import Theorem
from quadsim.theory.verifying.draws import Draw

__all__ = ["of_head"]


def of_head(theorem: Theorem, draw: Draw, number: int, exact: bool) -> InstanceCheck:
    """Check a head of random size: exactly for a short walk, and by simulation for one in 50, a long one."""
    classes, batch, steps = int(draw.integers(2, 65)), int(draw.integers(1, 65)), int(draw.integers(1, 5))
    simulated = not exact and number % 50 == 0
    seed = int(draw.integers(2**31))
    return check_head(
        classes, batch, 20 if simulated else steps, runs=400 if simulated else 0, seed=seed, theorem=theorem
    )
