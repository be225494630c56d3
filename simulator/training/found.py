"""What a training run has found so far: losses, statuses and snapshots of all instances, and those of a chunk that continue."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadsim.simulator.runs.status import statuses_of
from quadsim.simulator.runs.training_run import DIVERGED_ABOVE, Snapshots, TrainingRun
from quadsim.simulator.training.request import Request

__all__ = ["Chunk", "Found"]


class Found:
    """The results of E instances so far. The first axis of a pair is (unweighted loss, optimised loss).

    Attributes:
        hit: first step with a loss within the tolerance, (2, E); `inf` if there is none.
        diverged: first step with a loss above the limit of divergence or NaN, (E,); `inf` if there is none.
        stopped: last step that the instance ran, (E,).
        last: losses at that step, (2, E).
        snapshots: parameters, gradient and update at the steps of the snapshots, (3, E, steps, P).
        tests: loss and accuracy on the test data at recorded steps, (2, E, R); NaN where not reached, or without test data.
    """

    def __init__(self, job: Request, instances: int) -> None:
        self._job = job
        self.hit = np.full((2, instances), np.inf)
        self.stay = np.full((2, instances), np.inf)
        self.diverged = np.full(instances, np.inf)
        self.stopped = np.full(instances, job.steps)
        self.last = np.full((2, instances), np.inf)
        self.snapshots = np.full((3, instances, len(job.snapshots), job.problem.dimension), np.nan)
        self.tests = np.full((2, instances, job.record.size if job.tests else 0), np.nan)
        self._limit = np.full((2, instances), np.inf)
        self._place = {int(step): r for r, step in enumerate(job.record)}

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """Losses at recorded steps, (2, E, R); NaN where not reached yet."""
        # Made when the first losses arrive: on a GPU, the first steps run while this memory is filled.
        return np.full((2, self.stopped.size, self._job.record.size), np.nan)

    def see(self, t: int, at: NDArray[np.int64], losses: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Add the losses at steps t, t + 1, ...; those after the step at which an instance ends do not count.

        Args:
            t: the first step.
            at: indices of the instances.
            losses: their losses, (steps, 2, instances).

        Returns:
            Whether each of the instances continues, (instances,).
        """
        if t == 0:
            scale = np.maximum(losses[0], self._job.problem.guess_loss)
            self._limit[:, at] = np.where(np.isfinite(scale), DIVERGED_ABOVE * scale, 0.0)
        ended = np.zeros(at.size, dtype=bool)
        # Most instances neither reach the target nor diverge in a stretch: two passes over the losses tell them from the rest.
        above = (losses.min(axis=0) > self._job.target) & (losses.max(axis=0) <= self._limit[:, at])
        plain = above.all(axis=0)
        if plain.all():
            self._add(t, at, losses)
        elif plain.any():
            self._add(t, at[plain], losses[:, :, plain])
        if not plain.all():
            ended[~plain] = self._judge(t, at[~plain], losses[:, :, ~plain])
        return ~ended

    def _add(self, t: int, at: NDArray[np.int64], losses: NDArray[np.float64]) -> None:
        """Add losses of instances of which none ends and none reaches the target."""
        self.stay[:, at] = np.inf
        self.last[:, at] = losses[-1]
        self._record(t, at, losses)

    def _record(self, t: int, at: NDArray[np.int64], losses: NDArray[np.float64]) -> None:
        """Store the losses of the recorded steps among t, t + 1, ..."""
        first, end = np.searchsorted(self._job.record, [t, t + losses.shape[0]])
        if first < end:
            rows = self._job.record[first:end] - t
            seen = losses if rows.size == losses.shape[0] else losses[rows]
            where = slice(None) if at.size == self.losses.shape[1] else at
            self.losses[:, where, first:end] = seen.transpose(1, 2, 0)

    def _judge(self, t: int, at: NDArray[np.int64], losses: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Add losses of instances of which some end or reach the target, and return whether each one ends."""
        lost = ~np.all(losses <= self._limit[:, at], axis=1)
        within = (losses <= self._job.target) & ~lost[:, None]
        ends = lost
        if self._job.stop:
            reached = np.logical_or.accumulate(within, axis=0) | np.isfinite(self.hit[:, at])
            ends = lost | np.all(reached, axis=1)
        ended, number = ends.any(axis=0), losses.shape[0]
        final = np.where(ended, ends.argmax(axis=0), number - 1)  # last step that counts
        counts = np.arange(number)[:, None] <= final
        self.hit[:, at] = np.minimum(self.hit[:, at], _first(within & counts[:, None], t))
        self.diverged[at] = np.minimum(self.diverged[at], _first(lost & counts, t))
        outside = (~within & counts[:, None])[::-1]
        last = np.where(
            outside.any(axis=0), number - 1 - outside.argmax(axis=0), -1
        )  # last step with a loss above the target
        stay = np.where(last < 0, np.minimum(self.stay[:, at], t), t + last + 1.0)
        self.stay[:, at] = np.where(last == final, np.inf, stay)
        each = np.arange(at.size)
        self.last[:, at] = np.where(lost[final, each], np.inf, losses[final, :, each].T)
        self._record(t, at, np.where(counts[:, None], losses, np.nan))
        self.stopped[at[ended]] = t + final[ended]
        return np.asarray(ended)

    def test(self, t: int, at: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Add loss and accuracy on the test data, (2, instances), of the instances `at` at a recorded step."""
        self.tests[:, at, self._place[t]] = values

    def run(self) -> TrainingRun:
        """Return the TrainingRun: statuses, and losses that are infinite from the divergence on."""
        job = self._job
        diverged = np.isfinite(self.diverged)
        losses, tests, lost = self.losses, self.tests, np.flatnonzero(diverged)
        after = job.record >= self.diverged[lost, None]
        losses[:, lost] = np.where(after, np.inf, losses[:, lost])
        if job.tests:
            tests[:, lost] = np.where(after, np.nan, tests[:, lost])
        hit = np.where(self.hit >= self.diverged, np.inf, self.hit)
        stay = np.where(diverged, np.inf, np.where(self.stopped < job.steps, np.nan, self.stay))
        status = statuses_of(np.isfinite(hit[0]), diverged)

        def to_shape(x: NDArray[Any]) -> NDArray[Any]:
            return x.reshape(*job.shape, *x.shape[1:])

        kept = [to_shape(x) for x in self.snapshots]
        return TrainingRun(
            problem=job.problem,
            optimizer=job.rule.name,
            rule=job.rule,
            settings=job.settings,
            schedule=job.schedule,
            steps=job.record,
            loss=to_shape(losses[0]),
            loss_weighted=to_shape(losses[1]),
            steps_to_tolerance=to_shape(hit[0]),
            steps_to_tolerance_weighted=to_shape(hit[1]),
            steps_to_stay=to_shape(stay[0]),
            steps_to_stay_weighted=to_shape(stay[1]),
            status=to_shape(status),
            stopped=to_shape(self.stopped),
            final_loss=to_shape(self.last[0]),
            final_loss_weighted=to_shape(self.last[1]),
            tolerance=job.tolerance,
            test_loss=to_shape(tests[0]) if job.tests else None,
            test_accuracy=to_shape(tests[1]) if job.tests else None,
            clip=job.clip,
            evaluated_every=job.every,
            snapshots=Snapshots(np.array(job.snapshots), kept[0], kept[1], kept[2]) if job.snapshots else None,
            dtype=str(job.dtype).removeprefix("torch."),
            device=job.device,
            engine=job.engine,
        )


def _first(true: NDArray[np.bool_], t: int) -> NDArray[np.float64]:
    """Return t plus the first index along the first axis that is true; `inf` if there is none."""
    return np.where(true.any(axis=0), t + true.argmax(axis=0), np.inf)


class Chunk:
    """The instances of a chunk that have not been dropped, and the stretches whose losses are not judged yet.

    Attributes:
        alive: indices of the instances.
    """

    def __init__(self, found: Found, instances: NDArray[np.int64]) -> None:
        self._found, self.alive = found, instances
        self._going = np.zeros(found.stopped.size, dtype=bool)
        self._going[instances] = True
        self._waiting: list[tuple[int, NDArray[np.int64], Callable[[], NDArray[np.float64]]]] = []

    @property
    def going(self) -> NDArray[np.bool_]:
        """Whether each of the instances that have not been dropped continues."""
        return self._going[self.alive]

    def add(self, t: int, read: Callable[[], NDArray[np.float64]]) -> None:
        """Add the losses of a stretch of all that are alive; `read` waits for those at steps t, t + 1, ..., (steps, 2, alive)."""
        self._waiting.append((t, self.alive, read))

    def judge(self, *, but: int = 0) -> int:
        """Judge what was added, except for the last `but` stretches, and return how many instances continue."""
        while len(self._waiting) > but:
            t, at, read = self._waiting.pop(0)
            losses, left = read(), self._going[at]
            self._going[at[left]] = self._found.see(t, at[left], losses if left.all() else losses[:, :, left])
        return int(self.going.sum())

    def drop(self) -> NDArray[np.int64]:
        """Drop the instances that have ended, and return the positions of the others."""
        going = self.going
        self.alive = self.alive[going]
        return np.flatnonzero(going)
