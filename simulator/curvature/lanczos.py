"""Estimate the spectrum of a large symmetric matrix by stochastic Lanczos quadrature.

It needs only products with the matrix. The package hessian-eigenthings (extra `curvature`) does the work.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.simulator.support.checks import check_count

__all__ = ["quadrature"]


def quadrature(
    product: Callable[[torch.Tensor], torch.Tensor], size: int, *, nodes: int = 80, runs: int = 10, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes and weights that approximate the spectrum of a symmetric matrix (each eigenvalue with the weight 1/size).

    Every run takes Lanczos steps with full reorthogonalisation from a vector of random signs (Ubaru, Chen, Saad, SIAM J. Matrix
    Anal. Appl. 38 (2017)). Moments of a degree below 2 * nodes are unbiased. The extreme nodes approach the extreme
    eigenvalues quickly and from within, so the largest one is a lower estimate of the largest eigenvalue. The nodes are
    not eigenvalues: a density that is made from them is rougher than the true one.

    Args:
        product: function that multiplies the matrix by a vector (size,), float64.
        size: number of rows of the matrix.
        nodes: Lanczos steps per run; at most `size` are taken.
        runs: number of runs; their nodes are joined, each run with the total weight 1/runs.
        seed: seed of the random vectors. Run r of seed s is run r - 1 of seed s + 1, so neighbouring seeds share runs.

    Returns:
        Nodes, ascending, and their weights, which add up to 1; both (number of nodes,).

    Raises:
        ValueError: a value out of range, or hessian-eigenthings is not installed.
    """
    nodes, runs, seed = check_count("nodes", nodes), check_count("runs", runs), check_count("seed", seed, 0)
    try:
        from hessian_eigenthings import LambdaOperator, spectral_density
    except ImportError as error:
        raise ValueError(
            f"exact blocks must be at least as large as the largest block ({size}) without the package hessian-eigenthings, got "
            "a smaller limit; raise `largest` or install quadsim[curvature]."
        ) from error
    # The package ends a run at an absolute residual of 1e-12. Dividing by the size of the matrix makes this a relative one: else
    # a Hessian with entries of 1e-13 would end at once.
    probe = product(torch.ones(size, dtype=torch.float64, device="cpu"))
    unit = float(probe.abs().max()) or 1.0
    operator = LambdaOperator(lambda v: product(v) / unit, size, dtype=torch.float64)
    found = spectral_density(
        operator, num_runs=runs, lanczos_steps=min(nodes, size), num_grid_points=2, sigma=1.0, seed=seed
    )
    values = found.raw_eigenvalues.numpy().ravel() * unit
    weights = found.raw_weights.numpy().ravel()
    order = np.argsort(values)[: int(np.sum(np.isfinite(values)))]  # a run that ended early is filled up with NaN
    return values[order], weights[order] / weights[order].sum()
