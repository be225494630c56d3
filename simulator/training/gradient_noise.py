"""The noise in gradients of mini-batches of a toy model, from the gradient of every sequence (`gradient_noise`)."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.simulator.models.problem import ToyProblem
from quadsim.simulator.support.torch_modes import own_modes

__all__ = ["GradientNoise", "gradient_noise"]

_NUMBERS_AT_ONCE = 1 << 22  # of gradients that are kept at the same time


@dataclass(frozen=True, eq=False)
class GradientNoise:
    """Noise of the gradient of one sequence, drawn uniformly, of M problems. With b sequences the covariance is C/b.

    Attributes:
        trace: tr C, with the covariance C of the gradient of one sequence, (M,).
        l1: sum over the parameters of the standard deviations, the size of the noise in the norm that sign steps feel
            (Bernstein et al., arXiv 1802.04434), (M,).
        gradient_squared: |g|^2 of the gradient on all data, (M,).
        gradient_l1: |g|_1, (M,).
    """

    trace: NDArray[np.float64]
    l1: NDArray[np.float64]
    gradient_squared: NDArray[np.float64]
    gradient_l1: NDArray[np.float64]

    @property
    def scale(self) -> NDArray[np.float64]:
        """The batch tr C/|g|^2, at which noise and gradient are equally large (McCandlish et al., arXiv 1812.06162), (M,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.trace / self.gradient_squared)

    @property
    def scale_l1(self) -> NDArray[np.float64]:
        """The same in the l1 norm: the batch at which the sum of the standard deviations, l1/sqrt(b), is |g|_1, (M,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((self.l1 / self.gradient_l1) ** 2)

    @property
    def columns(self) -> dict[str, NDArray[np.float64]]:
        """The four numbers of a summary."""
        return {
            "noise_trace": self.trace,
            "noise_scale": self.scale,
            "noise_l1": self.l1,
            "noise_scale_l1": self.scale_l1,
        }


@own_modes()
def gradient_noise(problem: ToyProblem, theta: NDArray[np.float64] | None = None) -> GradientNoise | None:
    """Return the noise of the gradient that a rule is given, exactly: from the gradient of every sequence.

    Args:
        problem: M problems.
        theta: parameters, (M, P); None: the start.

    Returns:
        The noise; None for a model whose answers depend on the other sequences of a batch (batch norm), which has no gradient of
        one sequence.
    """
    if problem.model.reads_batch:
        return None
    stack = problem.stack()
    at = torch.from_numpy(np.array(problem.start if theta is None else theta))
    number, dimension = at.shape
    counts = stack.sequences.to(torch.int64)
    several = max(1, _NUMBERS_AT_ONCE // (number * dimension))
    # Deviations from the gradient on all data: the difference of two large sums would lose digits where there is little noise.
    mean = stack.gradient(at)[0]
    squares = torch.zeros_like(at)
    for first in range(0, int(counts.max()), several):
        chosen = torch.arange(first, min(first + several, int(counts.max())))
        which = torch.arange(number).repeat_interleave(chosen.numel())
        sequences = chosen.repeat(number)
        there = sequences < counts[which]  # problems differ in the number of their sequences
        which, sequences = which[there], sequences[there]
        each = stack.select(which).rows(sequences[:, None]).gradient(at[which])[0]
        squares.index_add_(0, which, (each - mean[which]).square())
    variance = squares / counts[:, None]
    return GradientNoise(
        trace=variance.sum(dim=1).numpy(),
        l1=variance.sqrt().sum(dim=1).numpy(),
        gradient_squared=mean.square().sum(dim=1).numpy(),
        gradient_l1=mean.abs().sum(dim=1).numpy(),
    )
