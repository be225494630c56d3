"""Counts in place of runs: statuses, and a fixed-bin histogram of hitting times, by setting."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.runs.trajectory import STATUSES, Trajectory, recorded_steps

__all__ = ["Counter", "Tally", "bin_edges", "count_runs", "count_steps"]


@dataclass(frozen=True, eq=False)
class Tally:
    """Counts over problems, by setting.

    Attributes:
        settings: name to values, each (K,).
        edges: steps that end the bins, ascending: bin i holds hits above edges[i - 1] and up to edges[i], (bins,).
        hits: runs by setting and bin of the step at which the tolerance was reached, (K, bins).
        stays: converged runs by setting and bin of the step from which on they stay within the tolerance, (K, bins); a run whose
            gap is above it at the last step is in no bin.
        status: status to the number of runs in it, (K,).
    """

    settings: Mapping[str, NDArray[np.float64]]
    edges: NDArray[np.int64]
    hits: NDArray[np.int64]
    stays: NDArray[np.int64]
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
        self._stays = torch.zeros_like(self._hits)
        self._status = torch.zeros((settings, len(STATUSES)), dtype=torch.int64, device=device)

    def add(
        self,
        hit: torch.Tensor,
        converged: torch.Tensor,
        diverged: torch.Tensor,
        stay: torch.Tensor,
        stayed: torch.Tensor,
    ) -> None:
        """Count some problems.

        Args:
            hit: step at which a converged run reached the tolerance, of any type, (M, K).
            converged: (M, K).
            diverged: (M, K); what is neither is running.
            stay: step from which on a run that stayed is within the tolerance, (M, K).
            stayed: whether it is at the last step, (M, K); of converged runs alone this counts.
        """
        self._hits += self._histogram(hit, converged)
        self._stays += self._histogram(stay, converged & stayed)
        kept = {"converged": converged, "diverged": diverged, "running": ~(converged | diverged)}
        self._status += torch.stack([kept[name].sum(0) for name in STATUSES], dim=1)

    def _histogram(self, steps: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
        """Numbers of the counted runs (M, K) by setting and bin of their steps, flat."""
        bins = torch.bucketize(torch.where(counted, steps, 0).long(), self._ends) + self._first_bins
        return torch.bincount(bins[counted], minlength=self._hits.numel())

    def tally(self, settings: Mapping[str, NDArray[np.float64]]) -> Tally:
        """What was counted."""
        counts = self._status.cpu().numpy()
        return Tally(
            settings=settings,
            edges=self._edges,
            hits=self._hits.view(counts.shape[0], -1).cpu().numpy(),
            stays=self._stays.view(counts.shape[0], -1).cpu().numpy(),
            status={name: counts[:, i] for i, name in enumerate(STATUSES)},
        )


def count_runs(trajectory: Trajectory) -> Tally:
    """The counts of a trajectory."""
    counter = Counter(trajectory.number_of_settings, int(trajectory.steps[-1]))
    counter.add(
        torch.from_numpy(trajectory.steps_to_tolerance),
        torch.from_numpy(trajectory.status == "converged"),
        torch.from_numpy(trajectory.status == "diverged"),
        torch.from_numpy(trajectory.steps_to_stay),
        torch.from_numpy(np.isfinite(trajectory.steps_to_stay)),
    )
    return counter.tally(trajectory.settings)


def count_steps(values: ArrayLike, steps: int) -> NDArray[np.int64]:
    """A histogram of step counts (M, K) with the bins of runs of so many steps, (K, bins); one beyond the run is in no bin."""
    found = np.asarray(values, dtype=np.float64)
    counter = Counter(found.shape[1], steps)
    within = torch.from_numpy(found <= steps)
    steps_found = torch.from_numpy(np.ceil(found))
    counter.add(steps_found, within, ~within, steps_found, within)
    return counter.tally({}).hits
