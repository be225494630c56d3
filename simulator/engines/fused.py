"""The fused engine: one generated kernel per rule runs all steps of a job, on the job's device.

"Fused" means that gradient, update and step are one kernel, and that many steps run before control returns to Python; an engine
that calls torch for every operation spends most of its time on the calls. It runs separable rules only (`kernels.lowering`).
"""

from functools import partial

from quadsim.simulator.engines.job import Job, Outcome
from quadsim.simulator.engines.kernels.machine import jit_is_off
from quadsim.simulator.problems.oracles import Full, Stream
from quadsim.simulator.rules.rule import Rule

__all__ = ["run", "why_not"]


def why_not(job: Job) -> str | None:
    """Return the reason why this engine cannot run a job, as a clause for an error message; None if it can."""
    others = [name for name in job.observe if name != "gap"]
    if others:
        return f"it observes the gap alone, not {', '.join(others)}"
    if not isinstance(job.oracle, Full | Stream):
        return f"the gradient is that of the oracle {job.oracle}"
    reason = job.rule.fact("has no program", partial(_why_no_program, job.rule))
    if reason is not None:
        return str(reason)
    if job.device == "cpu":
        return "Numba's compiler is switched off by NUMBA_DISABLE_JIT" if jit_is_off() else None
    from quadsim.simulator.engines.kernels import gpu_run as fused_gpu

    return fused_gpu.why_not(job)


def run(job: Job) -> Outcome:
    """Run all problems under all settings.

    Returns:
        Outcome with gap (M, K, R), hit (M, K) and diverged (M, K); no observables.
    """
    if job.device != "cpu":
        from quadsim.simulator.engines.kernels import gpu_run as fused_gpu

        return fused_gpu.run(job)
    from quadsim.simulator.engines.kernels import cpu_run as fused_cpu  # Numba takes a while to import

    return fused_cpu.run(job)


def _why_no_program(rule: Rule) -> str | None:
    from quadsim.simulator.engines.kernels.lowering import why_no_program  # takes the rule's expressions apart

    return why_no_program(rule)
