"""Stochastic Lanczos quadrature of a spectrum, through the package hessian-eigenthings (extra `curvature`)."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from quadsim.simulator.checks import check_count

__all__ = ["quadrature"]


def quadrature(
    product: Callable[[torch.Tensor], torch.Tensor], size: int, *, nodes: int = 80, runs: int = 10, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights that stand for the eigenvalues of a symmetric matrix, each with the weight 1/size.

    Every run takes Lanczos steps, orthogonalised in full, from a vector of random signs (Ubaru, Chen, Saad, SIAM J. Matrix
    Anal. Appl. 38 (2017)). Moments of a degree below twice the nodes are unbiased; extreme nodes approach the extreme
    eigenvalues from within, fast. A density made from the nodes is rougher than the true one.

    Args:
        product: of the matrix with a vector (size,), float64.
        size: P_l.
        nodes: Lanczos steps of a run; no more than `size` are taken.
        runs: each has weight 1/runs.
        seed: of the random vectors; run r of seed s is run r - 1 of seed s + 1.

    Returns:
        Nodes, ascending, and their weights, which add up to 1.

    Raises:
        ValueError: a value out of range, or the package is not there.
    """
    nodes, runs, seed = check_count("nodes", nodes), check_count("runs", runs), check_count("seed", seed, 0)
    try:
        from hessian_eigenthings import LambdaOperator, spectral_density
    except ImportError as error:
        raise ValueError(
            f"exact blocks must be at least as large as the largest block ({size}) without the package hessian-eigenthings, got "
            "a smaller limit; raise `largest` or install quadsim[curvature]."
        ) from error
    # The package stops a run at an absolute residual of 1e-12: in units of the matrix that is the relative one.
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
