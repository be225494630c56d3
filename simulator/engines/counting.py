"""Counts in place of runs: statuses, and a fixed-bin histogram of hitting times, by setting."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.runs.status import CONVERGED, DIVERGED, NOT_REACHED, STATUSES
from quadsim.simulator.runs.trajectory import Trajectory, recorded_steps

__all__ = ["Counter", "Tally", "bin_edges", "count_runs", "count_steps"]


@dataclass(frozen=True, eq=False)
class Tally:
    """Counts over problems, by setting.

    Attributes:
        settings: name to values, each (K,).
        edges: steps that end the bins, ascending: bin i holds hits above edges[i - 1] and up to edges[i], (bins,).
        hits: runs by setting and bin of the step at which the tolerance was reached, (K, bins).
        status: status to the number of runs in it, (K,).
    """

    settings: Mapping[str, NDArray[np.float64]]
    edges: NDArray[np.int64]
    hits: NDArray[np.int64]
    status: Mapping[str, NDArray[np.int64]]


def bin_edges(steps: int) -> NDArray[np.int64]:
    """Steps that end the bins of hitting times in a run of so many: the log-spaced recorded ones (20 a decade)."""
    return recorded_steps(steps, "log")


class Counter:
    """Adds up the runs of many problems on their device."""

    def __init__(self, settings: int, steps: int, device: torch.device | str = "cpu") -> None:
        """Nothing counted yet.

        Args:
            settings: K.
            steps: of every run.
            device: of what is added.
        """
        self._edges = bin_edges(steps)
        self._ends = torch.from_numpy(self._edges).to(device)
        self._first_bins = torch.arange(settings, device=device) * self._edges.size
        self._hits = torch.zeros(settings * self._edges.size, dtype=torch.int64, device=device)
        self._status = torch.zeros((settings, len(STATUSES)), dtype=torch.int64, device=device)

    def add(self, hit: torch.Tensor, converged: torch.Tensor, diverged: torch.Tensor) -> None:
        """Count some problems.

        Args:
            hit: step at which a converged run reached the tolerance, of any type, (M, K).
            converged: (M, K).
            diverged: (M, K); a run that is neither did not reach the tolerance.
        """
        bins = torch.bucketize(torch.where(converged, hit, 0).long(), self._ends) + self._first_bins
        self._hits += torch.bincount(bins[converged], minlength=self._hits.numel())
        kept = {CONVERGED: converged, DIVERGED: diverged, NOT_REACHED: ~(converged | diverged)}
        self._status += torch.stack([kept[name].sum(0) for name in STATUSES], dim=1)

    def tally(self, settings: Mapping[str, NDArray[np.float64]]) -> Tally:
        """What was counted."""
        counts = self._status.cpu().numpy()
        return Tally(
            settings=settings,
            edges=self._edges,
            hits=self._hits.view(counts.shape[0], -1).cpu().numpy(),
            status={name: counts[:, i] for i, name in enumerate(STATUSES)},
        )


def count_runs(trajectory: Trajectory) -> Tally:
    """The counts of a trajectory."""
    counter = Counter(trajectory.number_of_settings, int(trajectory.steps[-1]))
    counter.add(
        torch.from_numpy(trajectory.steps_to_tolerance),
        torch.from_numpy(trajectory.status == CONVERGED),
        torch.from_numpy(trajectory.status == DIVERGED),
    )
    return counter.tally(trajectory.settings)


def count_steps(values: ArrayLike, steps: int) -> NDArray[np.int64]:
    """A histogram of step counts (M, K) with the bins of runs of so many steps, (K, bins); one beyond the run is in no bin."""
    found = np.asarray(values, dtype=np.float64)
    counter = Counter(found.shape[1], steps)
    within = torch.from_numpy(found <= steps)
    counter.add(torch.from_numpy(np.ceil(found)), within, ~within)
    return counter.tally({}).hits
