"""The closed-form engine: linear rules at a constant learning rate. The cost of a step does not depend on its number.

A *mode* is an eigenvector of H. Along a mode, one step of a linear rule is a small matrix A(lambda) that multiplies the error and
the states of that mode (`modes`). The gap at any step is a sum over modes of powers of A(lambda): of numbers for rules without
memory, as gd (`without_memory`), and of 2 x 2 matrices for rules with one state, as heavy-ball (`with_memory`, `matrices`).

Three steps of every run are searched for: the first at which the gap is within the tolerance, the first from which on it stays
there, and the last of the first window whose mean gap is within it. Without memory the gap is convex in t, so bisection finds
them. With memory the gap may oscillate: `first_passages` and `later_passages` say how no step is missed.
"""

import numpy as np

from quadsim.simulator.engines.closed_form.modes import form_of, modes_of, preconditioner, recursion_along
from quadsim.simulator.engines.closed_form.with_memory import run_with_memory
from quadsim.simulator.engines.closed_form.without_memory import run_without_memory
from quadsim.simulator.engines.job import Job, Outcome
from quadsim.simulator.problems.oracles import FULL

__all__ = ["run", "why_not"]


def why_not(job: Job) -> str | None:
    """Return the reason why this engine cannot run a job, as a clause for an error message; None if it can."""
    form = form_of(job.rule)
    if form is None:
        return f"{job.rule.name} is not linear"
    if job.problem.partition is not None and job.rule.uses_blocks:
        return f"the blocks of {job.rule.name} are not those of the Hessian (coupling, partition)"
    if not job.schedule.is_constant:
        return f"the schedule {job.schedule} is not constant"
    if job.oracle != FULL:
        return f"the gradient is that of the oracle {job.oracle}"
    if job.dtype_name != "float64":
        return "its formulas are evaluated in float64 only"
    if form.size > 2:
        return f"{job.rule.name} keeps {form.size - 1} states, and hitting times are bounded for one at most"
    if form.preconditioned:
        if form.depends_on_settings:
            return f"the preconditioner of {job.rule.name} depends on its settings"
        factors = preconditioner(job)
        if not np.all(np.isfinite(factors) & (factors > 0.0)):
            return f"the preconditioner of {job.rule.name} is not positive and finite (an entry of the first gradient is 0?)"
    return None


def run(job: Job) -> Outcome:
    """Run all problems under all settings.

    Arrays inside have the shape (M, K, P): problem, setting, mode.

    Returns:
        Outcome with gap (M, K, R), hit (M, K), diverged (M, K) and the observables that were asked for.
    """
    with np.errstate(all="ignore"):  # overflow is divergence, underflow is convergence; both are named afterwards
        modes = modes_of(job)
        recursion = recursion_along(job, modes)
        if len(recursion.matrix) == 1:
            return run_without_memory(job, modes, recursion)
        return run_with_memory(job, modes, recursion)
