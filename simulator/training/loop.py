"""Train toy models (`train`): one rule, all problems and settings at once, as a stack of instances.

An *instance* is one problem under one setting. Instances are split into chunks; every chunk runs by itself, on a CPU in a
thread of its own. Within a chunk, steps run in stretches without a decision in between; after a stretch, instances that have
converged or diverged are dropped (`Stepper.select`), so that late steps cost less.

On a CPU the losses of an instance have the same bits whatever else is in its chunk: a chunk holds only
instances with equally many sequences, so none is padded to the length of another.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.engines.stacks.run import FusedSteps
from quadsim.simulator.engines.stacks.run import instances_that_fit as instances_that_fit_fused
from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.rules.schedules import Schedule
from quadsim.simulator.runs.training_run import TrainingRun
from quadsim.simulator.support.threads import in_threads, own_threads
from quadsim.simulator.support.torch_modes import own_modes
from quadsim.simulator.training.found import Chunk, Found
from quadsim.simulator.training.request import Request, checked_request, most_at_once
from quadsim.simulator.training.stepping import Stepper, instances_that_fit, together

__all__ = ["train"]

_STRETCH = 8  # steps between two checks for instances that have finished


@own_modes()
def train(
    problem: ToyProblem,
    rule: Rule | str,
    *,
    lr: ArrayLike | None = None,
    steps: int,
    schedule: Schedule | str | None = None,
    record: str | int = "log",
    tolerance: float = 0.1,
    stop: bool = True,
    snapshots: Iterable[int] = (),
    evaluate_every: int = 10,
    partition: str = "module",
    dtype: torch.dtype | str = torch.float32,
    device: str = "cpu",
    compile: bool | None = None,
    engine: str = "auto",
    clip: float | None = None,
    **hyperparameters: ArrayLike,
) -> TrainingRun:
    """Train every problem of a batch under every setting.

    On a CPU the result of an instance (a problem under a setting) has the same bits whatever other instances run.

    Args:
        problem: M problems.
        rule: a Rule or its name in RULES. A rule that needs the curvature of blocks (L_l, mu_l) is refused.
        lr: learning rate, a number or a sequence.
        steps: largest number of steps.
        schedule: factors that multiply the learning rate, as `cosine:warmup=100`; None is constant.
        record: which steps are recorded: "all", "log" (20 per decade) or a number n for every n-th step. Step 0 and the last step
            are always recorded.
        tolerance: a run has converged when its loss is at most this times ln(classes), the loss of a uniform guess; in (0, 1).
        stop: whether a run ends once both its losses (unweighted and optimised) have reached that target. Whether it would have
            stayed there is then not known (`steps_to_stay` is NaN); with False every run goes on to the last step.
        snapshots: steps at which parameters, gradient and update are stored; if there are any, no run stops early.
        evaluate_every: with mini-batches, the losses on all data are evaluated at every step that is a multiple of this.
        partition: name of the partition into blocks, for a rule that averages over its block (adam-mini, lamb).
        dtype: torch.float32 or torch.float64.
        device: "cpu", "cuda" or "cuda:N".
        compile: whether torch.compile fuses the operations of a step. Compiling takes some 30 seconds, once for a model, task
            and rule: the code is kept in the cache folder, and loading it takes about five. None: on a GPU, for long runs of the
            engine stack.
        engine: "auto" (fused where it can run the request; on a CPU in float32 alone), "fused" (one generated GPU kernel takes
            many steps in a launch; on a CPU one kernel computes the gradients of a step) or "stack" (operations of torch).
        clip: largest norm of the gradient of an instance (all its parameters together); a longer one is scaled down to it before
            any rule sees it, as by torch.nn.utils.clip_grad_norm_. None: gradients are not clipped.
        **hyperparameters: of the rule; see `simulate`.

    Returns:
        TrainingRun with loss (M, K, R) by problem, setting and recorded step. If the task has test data, test loss and accuracy
        are recorded at the same steps.

    Raises:
        ValueError: an argument out of range, a rule that cannot run, or a run that does not fit in memory.

    Examples:
        >>> from quadsim.simulator.models.mlp import MLP
        >>> toys = ToyProblem.generate(MLP(width=8), "token-map", heterogeneity=[1, 10], problems=2)
        >>> train(toys, "adam", lr=[0.01, 0.1], steps=20).final_loss.shape
        (4, 2)
    """
    job = checked_request(
        problem, rule, lr=lr, steps=steps, schedule=schedule, record=record, tolerance=tolerance, stop=stop,
        snapshots=snapshots, evaluate_every=evaluate_every, partition=partition, dtype=dtype, device=device,
        compile=compile, engine=engine, clip=clip, **hyperparameters,
    )  # fmt: skip
    return _in_chunks(job).run()


def _in_chunks(job: Request) -> Found:
    """Run all instances in chunks. Instances are ordered by problem and then setting (the setting varies fastest)."""
    total = job.shape[0] * job.shape[1]
    found = Found(job, total)
    if job.device != "cpu":
        states = len(job.rule.states)
        if job.engine == "fused":
            fit = instances_that_fit_fused(job.problem, states, job.device)
        else:
            fit = instances_that_fit(job.problem, job.dtype, job.device, states)
        for chunk in np.array_split(np.arange(total), -(-total // min(total, fit))):
            _run(job, chunk, found)
        return found
    workers = torch.get_num_threads()
    most = min(most_at_once(job.problem), -(-total // workers))
    chunks = []
    # A chunk holds only instances with equally many sequences. Padding an instance to the length of another would change the
    # order of its sums, and with it the last bits of its losses.
    sequences = np.repeat(job.problem.sequences, job.shape[1])
    for number in np.unique(sequences):
        alike = np.flatnonzero(sequences == number)
        chunks += np.array_split(alike, -(-alike.size // most))
    _ = (
        job.factors,
        job.problem.start,
        job.problem.weights,
        job.problem.test_data,
        found.losses,
    )  # computed here once, not in every thread
    with own_threads():
        in_threads(lambda chunk: _run(job, chunk, found), chunks)
    return found


def _run(job: Request, instances: NDArray[np.int64], found: Found) -> None:
    """Run the instances of a chunk and write their results to `found`."""
    problems, settings = np.divmod(instances, job.shape[1])
    stepper = _stepper(job, problems, settings, _STRETCH if job.problem.task.batch is None else together(job.every))
    _take_steps(job, Chunk(found, instances), stepper, found)
    if isinstance(stepper, Stepper):
        stepper.keep()


def _take_steps(job: Request, chunk: Chunk, stepper: Stepper | FusedSteps, found: Found) -> None:
    """Take all steps of a chunk and judge their losses.

    Two cases. Without mini-batches every step evaluates the losses on all data anyway, so they come with the stretch (`losses`).
    With mini-batches the losses on all data are extra work, done every `job.every` steps (`stepper.look`), and stretches end
    there.

    On a GPU the next stretch is launched before the losses of the last one are judged: instances that have ended take some steps
    more, which do not count.
    """
    every_step = job.problem.task.batch is None  # no mini-batches: the losses of a step are the losses on all data
    tested = set(job.record.tolist()) if job.tests else set()
    ahead = int(job.device != "cpu")
    t = 0
    while True:
        kept = t in job.snapshots
        if (kept or t == job.steps) if every_step else (t % job.every == 0 or t == job.steps):
            chunk.add(t, _one_step(stepper.look()))
        if (kept or t in tested or t == job.steps or not every_step) and not chunk.judge():
            return
        if t in tested:
            assert isinstance(stepper, Stepper)
            found.test(t, chunk.alive[chunk.going], stepper.test()[:, chunk.going])
        if kept:
            _keep(job, t, chunk, stepper, found)
        if t == job.steps:
            return
        if kept:
            t += 1
            continue
        stops = [step for step in (*job.snapshots, *tested) if step > t]
        end = min(t + stepper.longest, job.steps, *stops)
        if not every_step:
            end = min(end, (t // job.every + 1) * job.every)
        losses = stepper.stretch(t, job.factors[t:end])
        if every_step:
            chunk.add(t, losses)
        t = end
        left = chunk.judge(but=ahead)
        if not left:
            return
        if stepper.worth_dropping(left):
            stepper.select(chunk.drop())


def _one_step(look: Callable[[], NDArray[np.float64]]) -> Callable[[], NDArray[np.float64]]:
    """Return what reads the losses of one step, (2, E), as those of a stretch, (1, 2, E)."""
    return lambda: look()[None]


def _keep(job: Request, t: int, chunk: Chunk, stepper: Stepper | FusedSteps, found: Found) -> None:
    """Take step t and write its snapshot to `found`."""
    assert isinstance(stepper, Stepper)
    kept = stepper.kept_step(t, float(job.factors[min(t, job.steps - 1)]))
    for i, values in enumerate(kept):
        own = values.double().cpu().numpy()[chunk.going]
        found.snapshots[i, chunk.alive[chunk.going], job.snapshots.index(t)] = own


def _stepper(job: Request, which: NDArray[np.int64], setting: NDArray[np.int64], length: int) -> Stepper | FusedSteps:
    """Return what takes the steps of the instances with these problems and settings, `length` steps without a decision."""
    if job.engine == "fused" and job.device != "cpu":
        return FusedSteps(job.problem, which, job.rule, job.settings, setting, job.device)
    make = Stepper if job.device == "cpu" else Stepper.of
    return make(
        job.problem,
        which,
        job.rule,
        {name: values[setting] for name, values in job.settings.items()},
        job.partition,
        stretch=length,
        dtype=job.dtype,
        device=job.device,
        compile=job.compile,
        clip=job.clip,
        fused=job.engine == "fused",
    )
