"""The fused engine: a separable rule as one generated kernel that takes all steps itself, on the job's device."""

from quadsim.simulator.engines.codegen import why_no_program
from quadsim.simulator.engines.job import Job, Outcome
from quadsim.simulator.engines.kernel_cache import jit_is_off

__all__ = ["run", "why_not"]


def why_not(job: Job) -> str | None:
    """Why this engine cannot run the job; None if it can."""
    others = [name for name in job.observe if name != "gap"]
    if others:
        return f"it observes the gap alone, not {', '.join(others)}"
    if job.gradient_noise_std != 0.0:
        return "the gradient is noisy"
    reason = why_no_program(job.rule)
    if reason is not None:
        return reason
    if job.device == "cpu":
        return "Numba is told not to compile, by NUMBA_DISABLE_JIT" if jit_is_off() else None
    from quadsim.simulator.engines import fused_gpu

    return fused_gpu.why_not(job)


def run(job: Job) -> Outcome:
    """Run all problems under all settings."""
    if job.device != "cpu":
        from quadsim.simulator.engines import fused_gpu

        return fused_gpu.run(job)
    from quadsim.simulator.engines import fused_cpu  # Numba takes a while to import

    return fused_cpu.run(job)
