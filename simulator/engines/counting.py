"""Count runs instead of keeping them: statuses and a histogram of hitting times with fixed bins, per setting."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.runs.status import CONVERGED, DIVERGED, NOT_REACHED, STATUSES
from quadsim.simulator.runs.trajectory import Trajectory, recorded_steps

if TYPE_CHECKING:
    import torch

__all__ = ["Counter", "Tally", "bin_edges", "count_runs", "count_steps"]


@dataclass(frozen=True, eq=False)
class Tally:
    """Counts of runs over problems, per setting. A sum of two tallies describes the problems of both.

    Attributes:
        settings: name to values, each (K,).
        edges: last step of each bin, ascending, (bins,): bin i counts hitting times above edges[i - 1] and up to edges[i].
        hits: number of runs that reached the tolerance, by setting and bin of the hitting time, (K, bins).
        stays: number of converged runs by setting and bin of the step from which on they stay within the tolerance, (K, bins); a
            run whose gap is above it at the last step is in no bin.
        status: status to the number of runs with it, (K,).
    """

    settings: Mapping[str, NDArray[np.float64]]
    edges: NDArray[np.int64]
    hits: NDArray[np.int64]
    stays: NDArray[np.int64]
    status: Mapping[str, NDArray[np.int64]]


def bin_edges(steps: int) -> NDArray[np.int64]:
    """Return the last step of each bin of hitting times, for runs of `steps` steps: 20 bins per decade, (bins,)."""
    return recorded_steps(steps, "log")


class Counter:
    """Counts the runs of many problems on their device, so that no per-run result is copied to the host."""

    def __init__(self, settings: int, steps: int, device: "torch.device | str" = "cpu") -> None:
        """Start with all counts at 0.

        Args:
            settings: number of settings, K.
            steps: number of steps of every run.
            device: device of the tensors that `add` gets.
        """
        import torch

        self._edges = bin_edges(steps)
        self._ends = torch.from_numpy(self._edges).to(device)
        self._first_bins = torch.arange(settings, device=device) * self._edges.size
        self._hits = torch.zeros(settings * self._edges.size, dtype=torch.int64, device=device)
        self._stays = torch.zeros_like(self._hits)
        self._status = torch.zeros((settings, len(STATUSES)), dtype=torch.int64, device=device)

    def add(
        self,
        hit: "torch.Tensor",
        converged: "torch.Tensor",
        diverged: "torch.Tensor",
        stay: "torch.Tensor",
        stayed: "torch.Tensor",
    ) -> None:
        """Add the runs of M problems to the counts.

        Args:
            hit: step at which a converged run reached the tolerance, of any type, (M, K).
            converged: (M, K).
            diverged: (M, K); a run that is neither did not reach the tolerance.
            stay: step from which on a run that stayed is within the tolerance, (M, K).
            stayed: whether it is at the last step, (M, K); of converged runs alone this counts.
        """
        import torch

        self._hits += self._histogram(hit, converged)
        self._stays += self._histogram(stay, converged & stayed)
        kept = {CONVERGED: converged, DIVERGED: diverged, NOT_REACHED: ~(converged | diverged)}
        self._status += torch.stack([kept[name].sum(0) for name in STATUSES], dim=1)

    def _histogram(self, steps: "torch.Tensor", counted: "torch.Tensor") -> "torch.Tensor":
        """Numbers of the counted runs (M, K) by setting and bin of their steps, flat."""
        import torch

        bins = torch.bucketize(torch.where(counted, steps, 0).long(), self._ends) + self._first_bins
        return torch.bincount(bins[counted], minlength=self._hits.numel())

    def tally(self, settings: Mapping[str, NDArray[np.float64]]) -> Tally:
        """Return the counts so far as a Tally.

        Args:
            settings: name to values, each (K,), in the order of the columns that were counted.
        """
        counts = self._status.cpu().numpy()
        return Tally(
            settings=settings,
            edges=self._edges,
            hits=self._hits.view(counts.shape[0], -1).cpu().numpy(),
            stays=self._stays.view(counts.shape[0], -1).cpu().numpy(),
            status={name: counts[:, i] for i, name in enumerate(STATUSES)},
        )


def count_runs(trajectory: Trajectory) -> Tally:
    """Return the counts of the runs of a trajectory."""
    import torch

    counter = Counter(trajectory.number_of_settings, int(trajectory.steps[-1]))
    counter.add(
        torch.from_numpy(trajectory.steps_to_tolerance),
        torch.from_numpy(trajectory.status == CONVERGED),
        torch.from_numpy(trajectory.status == DIVERGED),
        torch.from_numpy(trajectory.steps_to_stay),
        torch.from_numpy(np.isfinite(trajectory.steps_to_stay)),
    )
    return counter.tally(trajectory.settings)


def count_steps(values: ArrayLike, steps: int) -> NDArray[np.int64]:
    """Return a histogram (K, bins) of step counts (M, K), with the bins of `bin_edges(steps)`.

    A count is rounded up to a whole step; a count above `steps` (also `inf`) is in no bin.
    """
    import torch

    found = np.asarray(values, dtype=np.float64)
    counter = Counter(found.shape[1], steps)
    within = torch.from_numpy(found <= steps)
    steps_found = torch.from_numpy(np.ceil(found))
    counter.add(steps_found, within, ~within, steps_found, within)
    return counter.tally({}).hits
