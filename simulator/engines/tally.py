"""Count the results of very many runs on one GPU: problems are drawn on the device, and no curve leaves it.

The Hessians, the starts and the results of a million problems would take longer to copy than to compute. So the draws of
`BlockQuadratic.generate` are repeated here in torch operations on the device, and each batch of runs is reduced to counts
(`Tally`) before the next one starts.
"""

from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from quadsim.simulator.engines import prepare
from quadsim.simulator.engines.counting import Counter, Tally
from quadsim.simulator.engines.job import Job
from quadsim.simulator.engines.kernels import gpu_run as fused_gpu
from quadsim.simulator.engines.kernels.gpu_blocks import Blocks
from quadsim.simulator.engines.kernels.gpu_run import NEVER, Run, kernels_of, problems_at_once
from quadsim.simulator.engines.kernels.gpu_source import Unit
from quadsim.simulator.engines.kernels.lowering import why_no_program
from quadsim.simulator.problems.oracles import FULL
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.rules.schedules import Schedule
from quadsim.simulator.support.checks import check_count
from quadsim.simulator.support.draws import Purpose

__all__ = ["draw_blocks", "tally", "why_not"]

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
_LARGEST_BLOCK = 8  # rotations are drawn by a loop over columns, vectorised over problems
_LANES_AT_ONCE = 1 << 23  # runs (problems times settings) in one batch


def tally(
    rule: Rule | str,
    *,
    lr: ArrayLike | None,
    steps: int,
    problems: int,
    blocks: int = 4,
    block_size: int = 8,
    heterogeneity: float = 1.0,
    mode: str = "scale",
    condition_number: float | None = None,
    seed: int = 0,
    first: int = 0,
    schedule: Schedule | str | None = None,
    tolerance: float = 1e-6,
    dtype: torch.dtype | str = torch.float64,
    device: str = "cuda",
    **hyperparameters: ArrayLike,
) -> Tally:
    """Run a rule on generated problems under every setting and count the results.

    The problems are those of `BlockQuadratic.generate` with the indices `first` to `first + problems - 1`, up to the rounding of
    logarithms and cosines. Memory does not grow with `problems`.

    Args:
        rule: a Rule or its name; it must act within blocks (`why_no_program` is None).
        lr: learning rates, as in `simulate`.
        steps: number of steps.
        problems: number of problems.
        blocks: number of blocks, as in `BlockQuadratic.generate`.
        block_size: coordinates per block, at most 8.
        heterogeneity: as in `BlockQuadratic.generate`.
        mode: as in `BlockQuadratic.generate`.
        condition_number: as in `BlockQuadratic.generate`.
        seed: as in `BlockQuadratic.generate`.
        first: index of the first problem.
        schedule: as in `simulate`.
        tolerance: as in `simulate`.
        dtype: as in `simulate`.
        device: as in `simulate`.
        **hyperparameters: as in `simulate`.

    Returns:
        Tally: by setting, a histogram of the hitting times and the number of runs of each status.

    Raises:
        ValueError: an argument out of range, or a rule or block size that cannot be counted on the device.
    """
    problems = check_count("problems", problems)
    one = BlockQuadratic.generate(
        blocks, block_size, heterogeneity, mode, condition_number, problems=1, seed=seed, first=first
    )
    job = prepare(
        one, rule, lr=lr, steps=steps, schedule=schedule, record=steps, tolerance=tolerance, dtype=dtype, device=device,
        observe=("gap",), oracle=FULL,
        **hyperparameters,
    )  # fmt: skip
    reason = why_not(job)
    if reason is not None:
        raise ValueError(
            f"rule and blocks must be ones that can be counted on the device, got {job.rule.name} ({reason}); use simulate."
        )
    return _counted(job, seed, first, problems)


def _counted(job: Job, seed: int, first: int, problems: int) -> Tally:
    """Draw and run the problems, as many at once as fit on the device.

    Args:
        job: on one of the problems, which has the spectra of all.
        seed: key of the draws.
        first: index of the first problem.
        problems: how many.
    """
    place, one = torch.device(job.device), job.problem
    spectra = [one.eigenvalues[size][0, at] for size, at in _places(one.block_sizes)]
    kernels = kernels_of(job.rule, one.block_sizes, job.dtype_name)
    counter = Counter(job.number_of_settings, job.steps, place)
    at_once = max(1, min(_LANES_AT_ONCE // job.number_of_settings, problems_at_once(job, place, problems)))
    with torch.cuda.device(place) if place.type == "cuda" else nullcontext():
        for begin in range(0, problems, at_once):
            count = min(at_once, problems - begin)
            index = torch.arange(first + begin, first + begin + count, device=place)
            rows = partial(_rows, drawn=draw_blocks(seed, index, spectra), spectra=spectra, dtype=job.dtype)
            hit, last_above, diverged = Run(job, kernels, place, count, rows).found()
            counter.add(
                hit, (hit < diverged) & (diverged == NEVER), diverged < NEVER, last_above + 1, last_above < job.steps
            )
    return counter.tally(job.settings)


def why_not(job: Job) -> str | None:
    """Return the reason why the runs of a job cannot be counted on the device, as a clause for a message; None if they can.

    Args:
        job: the request; its rule, block sizes and device decide.
    """
    if max(job.problem.block_sizes) > _LARGEST_BLOCK:
        return f"a block has more than {_LARGEST_BLOCK} coordinates"
    return why_no_program(job.rule) or fused_gpu.why_not(job)


def _places(sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the size of every block and its position among the blocks of that size."""
    return [(size, sizes[:block].count(size)) for block, size in enumerate(sizes)]


def _rows(unit: Unit, drawn: list[tuple[torch.Tensor, torch.Tensor]], spectra: list[Any], dtype: torch.dtype) -> Blocks:
    """Return the drawn blocks as the rows of a unit; the minimizer is 0, as in `BlockQuadratic.generate`."""
    own = [b for b, spectrum in enumerate(spectra) if unit.whole or spectrum.size == unit.sizes[0]]
    number, device = drawn[0][1].shape[0], drawn[0][1].device
    ends = torch.tensor([[spectra[b][-1], spectra[b][0]] for b in own], dtype=dtype, device=device)
    if unit.whole:
        hessian = torch.cat([drawn[b][0].flatten(1) for b in own], dim=1)
        error = torch.cat([drawn[b][1] for b in own], dim=1)
    else:
        hessian = torch.stack([drawn[b][0] for b in own], dim=1).flatten(2)
        error = torch.stack([drawn[b][1] for b in own], dim=1).flatten(0, 1)
    error = error.to(dtype).contiguous()
    extremes = ends.expand(number, -1, -1).contiguous()
    return Blocks(hessian.to(dtype).contiguous(), extremes, torch.zeros_like(error), error)


def draw_blocks(
    seed: int, index: torch.Tensor, spectra: list[NDArray[np.float64]]
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Draw the blocks of problems on a device, as `BlockQuadratic.generate` draws them, up to rounding.

    Args:
        seed: key of the draws.
        index: indices of the problems, (M,), on the device.
        spectra: ascending eigenvalues of every block.

    Returns:
        For every block its Hessians (M, P_l, P_l) and starts e_0 (M, P_l), in float64.
    """
    ranks = np.argsort(np.argsort(np.concatenate(spectra), kind="stable"), kind="stable")
    start = _normals(seed, index, Purpose.START, 0, ranks.size)[:, torch.from_numpy(ranks).to(index.device)]
    out, begin = [], 0
    for block, spectrum in enumerate(spectra):
        basis = _rotations(seed, index, block, spectrum.size)
        values = torch.from_numpy(np.array(spectrum)).to(index.device)
        matrix = (basis * values) @ basis.mT
        coefficients = start[:, begin : begin + spectrum.size]
        begin += spectrum.size
        out.append(((matrix + matrix.mT) / 2, (basis @ coefficients[:, :, None])[:, :, 0]))
    return out


def _uniforms(seed: int, index: torch.Tensor, purpose: Purpose, number: int, pairs: int) -> torch.Tensor:
    """Return the numbers of `quadsim.simulator.support.draws.uniforms`, bit for bit: (M, pairs, 2).

    The generator is Philox 4x32 with 10 rounds. Torch has no unsigned 64-bit products, so the signed product may wrap; only
    its bits are used, and each half is masked to 32 bits.
    """
    draw = torch.arange(pairs, device=index.device) | (int(purpose) << 28)
    shape = (index.numel(), pairs)
    words = [draw.expand(shape), torch.full(shape, number, device=index.device)]
    words += [(index & _LOW)[:, None].expand(shape), (index >> 32)[:, None].expand(shape)]
    k0, k1 = seed & _LOW, (seed >> 32) & _LOW
    for _ in range(10):
        a, b = (word * factor for word, factor in zip((words[0], words[2]), _MULTIPLIERS, strict=True))  # wraps at 2^64
        words = [((b >> 32) & _LOW) ^ words[1] ^ k0, b & _LOW, ((a >> 32) & _LOW) ^ words[3] ^ k1, a & _LOW]
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    bits = [(words[i] >> 5) * (1 << 26) + (words[i + 1] >> 6) for i in (0, 2)]
    return 1.0 - torch.stack(bits, dim=-1).double() * 2.0**-53


def _normals(seed: int, index: torch.Tensor, purpose: Purpose, number: int, count: int) -> torch.Tensor:
    """Return the numbers of `quadsim.simulator.support.draws.normals`, up to rounding: (M, count)."""
    pairs = _uniforms(seed, index, purpose, number, (count + 1) // 2)
    radius, angle = torch.sqrt(-2.0 * torch.log(pairs[:, :, 0])), 2.0 * np.pi * pairs[:, :, 1]
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=-1).flatten(1)[:, :count]


def _rotations(seed: int, index: torch.Tensor, block: int, size: int) -> torch.Tensor:
    """Return the rotations of `quadsim.simulator.support.draws.haar_rotations`, up to rounding: (M, size, size).

    A product of Householder reflections with normal vectors of decreasing length; the signs make its distribution uniform and its
    determinant 1.
    """
    rotation = torch.eye(size, dtype=torch.float64, device=index.device).repeat(index.numel(), 1, 1)
    if size == 1:
        return rotation
    draws = _normals(seed, index, Purpose.ROTATION, block, size * (size + 1) // 2 - 1)
    signs = torch.ones((index.numel(), size), dtype=torch.float64, device=index.device)
    begin = 0
    for n in range(size - 1):
        vector = draws[:, begin : begin + size - n].clone()
        begin += size - n
        signs[:, n] = torch.where(vector[:, 0] < 0.0, -1.0, 1.0)
        vector[:, 0] += signs[:, n] * torch.sqrt((vector * vector).sum(1))
        scaled = vector * (2.0 / (vector * vector).sum(1))[:, None]
        trailing = rotation[:, :, n:]
        trailing -= (trailing @ scaled[:, :, None]) * vector[:, None, :]
    signs[:, -1] = (-1.0) ** (size - 1) * signs[:, :-1].prod(dim=1)
    return rotation * signs[:, :, None]
