"""Samples of a stream on a GPU: those of some steps at a time, for all problems of a part, made before the steps are taken."""

import numpy as np
import torch

from quadsim.simulator.engines.job import Job
from quadsim.simulator.engines.kernels.gpu_blocks import Blocks, on_device
from quadsim.simulator.engines.kernels.gpu_source import padded
from quadsim.simulator.problems.oracles import Stream, unit_noise

__all__ = ["Draws", "bytes_per_step"]

_DRAWN_BYTES = 1 << 28  # of samples, which a launch of the kernels takes


def bytes_per_step(oracle: Stream, dimension: int) -> int:
    """Memory of the samples of one problem in one step."""
    return 8 * oracle.batch * (dimension + 2)


class Draws:
    """The samples of some steps on the device.

    Args:
        job: the request, whose oracle is a stream.
        blocks: of the problems, with their roots and numbers.
        device: a torch device.

    Attributes:
        batch: b.
        steps: for how many steps there is room.
        samples: x/sqrt(b) of every sample, (problems, steps, b, P), of which the first entries are used.
        labels: v xi/sqrt(b), (problems, steps, b).
    """

    def __init__(self, job: Job, blocks: Blocks, device: torch.device) -> None:
        oracle = job.oracle
        assert isinstance(oracle, Stream)
        self._oracle, self._blocks, self.batch = oracle, blocks, oracle.batch
        self._seed = (job.problem.seed ^ 1 << 63) - (1 << 63)  # the same 64 bits with a sign
        problems, self._dimension = blocks.error.shape
        self.steps = max(1, min(job.steps + 1, _DRAWN_BYTES // (problems * bytes_per_step(oracle, self._dimension))))
        count = problems * self.steps * oracle.batch
        self.samples = torch.empty(count * self._dimension, dtype=job.dtype, device=device)
        # Uniform numbers keep their 53 bits until the host has made quantiles of them.
        self._law = 0 if not oracle.label_noise else 1 if oracle.noise_law == "normal" else 2
        self.labels = torch.zeros(count, dtype=torch.float64 if self._law == 2 else job.dtype, device=device)
        # Both factors of the gradient's sum over samples hold a root of b, so that a step divides by nothing.
        self._scale = oracle.batch**-0.5
        factors = self._scale * np.array([1.0, oracle.label_noise])
        (self._factors,) = on_device([(factors, np.dtype(np.float64))], device)

    def draw(self, begin: int, steps: int) -> None:
        """Make the samples of `steps` steps from step `begin` on."""
        from quadsim.simulator.engines.kernels.streams.gpu_functions import draw

        pad, blocks, batch = padded(self._dimension), self._blocks, self.batch
        rows = max(16, 2048 // pad)
        problems = blocks.error.shape[0]
        draw[(problems * -(-steps * batch // rows),)](
            blocks.hessian, blocks.index, self._factors, self._seed, begin, steps, batch, self.samples, self.labels,
            SIZE_=self._dimension, PAD_=pad, ROWS_=rows, LAW_=self._law, num_warps=4,
        )  # fmt: skip
        if self._law == 2:
            drawn = self.labels[: problems * steps * batch]
            made = unit_noise(self._oracle.noise_law, drawn.cpu().numpy()) * (self._scale * self._oracle.label_noise)
            drawn.copy_(torch.from_numpy(made))
