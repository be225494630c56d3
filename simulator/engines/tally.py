"""Very many runs on one GPU: problems drawn on the device, and counts kept instead of curves."""

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
from quadsim.simulator.engines.kernels.gpu_run import NEVER, Blocks, Run, kernels_of, problems_at_once
from quadsim.simulator.engines.kernels.gpu_source import Unit
from quadsim.simulator.engines.kernels.program import why_no_program
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.rules.schedules import Schedule
from quadsim.simulator.support.checks import check_count
from quadsim.simulator.support.draws import Purpose

__all__ = ["draw_blocks", "tally", "why_not"]

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF
_LARGEST_BLOCK = 8  # drawn by vectorised reflections
_LANES_AT_ONCE = 1 << 23


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
    """Run a rule on problems `first` to `first + problems` of `BlockQuadratic.generate` under every setting and count.

    The draws are those of `generate` up to rounding of logarithms and cosines. Memory does not grow with `problems`.

    Args:
        rule: a rule that acts within blocks.
        lr: learning rates, as for `simulate`.
        steps: how many.
        problems: how many.
        blocks: as `generate`, like the arguments up to `first`.
        block_size: at most 8.
        heterogeneity: see there.
        mode: see there.
        condition_number: see there.
        seed: see there.
        first: index of the first problem.
        schedule: as `simulate`, like those that follow.
        tolerance: see there.
        dtype: see there.
        device: see there.
        **hyperparameters: see there.

    Raises:
        ValueError: an argument out of range, or a rule or size that cannot be run so.
    """
    problems = check_count("problems", problems)
    one = BlockQuadratic.generate(
        blocks, block_size, heterogeneity, mode, condition_number, problems=1, seed=seed, first=first
    )
    job = prepare(
        one, rule, lr=lr, steps=steps, schedule=schedule, record=steps, tolerance=tolerance, dtype=dtype, device=device,
        observe=("gap",), gradient_noise_std=0.0,
        **hyperparameters,
    )  # fmt: skip
    reason = why_not(job)
    if reason is not None:
        raise ValueError(
            f"rule and blocks must suit counting on the device, got {job.rule.name} ({reason}); use simulate."
        )

    place = torch.device(device)
    spectra = [one.eigenvalues[size][0, at] for size, at in _places(one.block_sizes)]
    kernels = kernels_of(job.rule, one.block_sizes, str(job.dtype).removeprefix("torch."))
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
    """Why runs of a job's rule on such blocks cannot be counted; None if they can."""
    if max(job.problem.block_sizes) > _LARGEST_BLOCK:
        return f"a block has more than {_LARGEST_BLOCK} coordinates"
    return why_no_program(job.rule) or fused_gpu.why_not(job)


def _places(sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    """Size of every block and its number among those of its size."""
    return [(size, sizes[:block].count(size)) for block, size in enumerate(sizes)]


def _rows(unit: Unit, drawn: list[tuple[torch.Tensor, torch.Tensor]], spectra: list[Any], dtype: torch.dtype) -> Blocks:
    """The drawn blocks as the rows of a unit."""
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
    """Hessian (M, P_l, P_l) and start e_0 (M, P_l) of every block, as `BlockQuadratic.generate` draws them, on a device.

    Args:
        seed: key of the draws.
        index: problem indices, (M,), on the device.
        spectra: ascending eigenvalues of every block.
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
    """As `quadsim.simulator.support.draws.uniforms`, bit for bit: (M, pairs, 2)."""
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
    """As `quadsim.simulator.support.draws.normals`, to rounding: (M, count)."""
    pairs = _uniforms(seed, index, purpose, number, (count + 1) // 2)
    radius, angle = torch.sqrt(-2.0 * torch.log(pairs[:, :, 0])), 2.0 * np.pi * pairs[:, :, 1]
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=-1).flatten(1)[:, :count]


def _rotations(seed: int, index: torch.Tensor, block: int, size: int) -> torch.Tensor:
    """As `quadsim.simulator.support.draws.haar_rotations`, to rounding: (M, size, size)."""
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
