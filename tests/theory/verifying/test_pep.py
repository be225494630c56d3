"""gd-upper against the worst case that a semidefinite program finds (PEPit), over all quadratics at once."""

import numpy as np
import pytest

from quadsim.simulator import BlockQuadratic, simulate
from quadsim.theory import THEOREMS
from quadsim.theory.statements.quantities import evaluate

PEPit = pytest.importorskip("PEPit", reason="install the extra pep: pip install -c constraints.txt -e '.[test,pep]'")

L, MU = 1.0, 0.1


def worst_case(rate, steps):
    """Largest gap after some steps of GD from a start with gap 1, over all quadratics between MU and L of any dimension."""
    from PEPit.functions import SmoothStronglyConvexQuadraticFunction

    problem = PEPit.PEP()
    f = problem.declare_function(SmoothStronglyConvexQuadraticFunction, L=L, mu=MU)
    solution = f.stationary_point()
    x = problem.set_initial_point()
    problem.set_initial_condition(f(x) - f(solution) <= 1)
    for _ in range(steps):
        x = x - rate * f.gradient(x)
    problem.set_performance_metric(f(x) - f(solution))
    return problem.solve(verbose=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the solver's own
@pytest.mark.parametrize("rate", [0.5, 1.0, 2 / (L + MU), 1.95])
@pytest.mark.parametrize("steps", [1, 2])
def test_gd_upper_is_the_worst_case_over_quadratics(rate, steps):
    one = BlockQuadratic.from_blocks([[[L]], [[MU]]], initial_error=[1.0, 1.0])
    bound = evaluate(THEOREMS["gd-upper"].bound, simulate(one, "gd", lr=rate, steps=1)).item()
    # The solver's own accuracy is about 1e-6 relative; four digits leave room for it.
    assert worst_case(rate, steps) == pytest.approx(bound**steps, rel=1e-4)
    assert np.isfinite(bound)
