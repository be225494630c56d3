"""Rules with one state, as heavy-ball: the errors at the recorded steps by powers of A(lambda), and then the passages."""

import numpy as np

from quadsim.simulator.engines.closed_form.first_passages import first_passages
from quadsim.simulator.engines.closed_form.later_passages import later_passages
from quadsim.simulator.engines.closed_form.matrices import Array, Powers, Weights, apply
from quadsim.simulator.engines.closed_form.modes import Modes, Recursion, observe_modes
from quadsim.simulator.engines.job import Job, Outcome
from quadsim.simulator.runs.trajectory import divergence_limit

__all__ = ["run_with_memory"]


def run_with_memory(job: Job, modes: Modes, recursion: Recursion) -> Outcome:
    """Run a rule with one state: go from one recorded step to the next by powers of A, then find the first passages."""
    shape = recursion.increment[0].shape
    start = np.broadcast_to(modes.start[:, None], shape)
    absent = start == 0.0  # a mode that starts at 0 stays 0; its matrix may overflow, and 0 * inf is NaN
    matrix = [[np.where(absent, 0.0, entry) for entry in row] for row in recursion.matrix]
    weights = Weights.of(np.broadcast_to(modes.eigenvalues[:, None], shape))
    states = [start, *(np.zeros(shape) for _ in matrix[1:])]
    observing = any(name != "gap" for name in job.observe)
    kept: list[tuple[Array, Array]] = []
    gaps = np.empty((*shape[:2], job.record.size))
    powers = Powers(matrix)
    for r, t in enumerate(job.record.tolist()):
        if r:
            states = apply(powers.of(t - int(job.record[r - 1])), states)
        gaps[:, :, r] = weights.gap(states[0])
        if observing:
            moves = [a * x for a, x in zip(recursion.increment, states, strict=True)]
            kept.append((states[0], np.sum(moves, axis=0)))
    initial = gaps[:, :, 0]
    limit = divergence_limit(initial)
    hit, diverged = first_passages(matrix, start, weights, job.tolerance * initial, limit, job.steps)
    seen = ~(gaps <= limit[:, :, None])
    recorded = np.where(seen.any(axis=-1), job.record[seen.argmax(axis=-1)], np.inf)
    diverged = np.minimum(diverged, recorded)
    stay, mean = later_passages(matrix, start, weights, gaps[:, :, -1], hit, diverged, job)
    return Outcome(gaps, hit, stay, mean, diverged, observe_modes(job, modes, iter(kept)))
