"""The fused engine: a separable rule as one generated kernel that takes all steps itself, on the job's device."""

from quadsim.simulator.engines import fused_cpu, fused_gpu
from quadsim.simulator.engines.codegen import why_no_program
from quadsim.simulator.engines.job import Job, Outcome

__all__ = ["run", "why_not"]


def why_not(job: Job) -> str | None:
    """Why this engine cannot run the job; None if it can."""
    others = [name for name in job.observe if name != "gap"]
    if others:
        return f"it observes the gap alone, not {', '.join(others)}"
    if job.gradient_noise_std != 0.0:
        return "the gradient is noisy"
    return why_no_program(job.rule) or (None if job.device == "cpu" else fused_gpu.why_not(job))


def run(job: Job) -> Outcome:
    """Run all problems under all settings."""
    return (fused_cpu if job.device == "cpu" else fused_gpu).run(job)
