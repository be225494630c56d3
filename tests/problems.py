"""Small problems that several tests run."""

import numpy as np

from quadsim.simulator import BlockQuadratic

SIZES = (3, 1, 5, 3)  # unequal, and one size twice but apart


def mixed_problem(seed=0, problems=3, sizes=SIZES, condition_number=30.0):
    """Random blocks, eigenvalues in [1/condition number, 1] and 1 among them, with a minimizer, through `from_blocks`."""
    rng = np.random.default_rng(seed)
    blocks = []
    for size in sizes:
        basis = np.linalg.qr(rng.standard_normal((problems, size, size)))[0]
        spectrum = condition_number ** -rng.random((problems, 1, size))
        spectrum[:, 0, 0] = spectrum[:, 0, 0] if blocks else 1.0
        matrix = basis * spectrum @ np.swapaxes(basis, 1, 2)
        blocks.append((matrix + np.swapaxes(matrix, 1, 2)) / 2)
    start, minimizer = rng.standard_normal((2, problems, sum(sizes)))
    return BlockQuadratic.from_blocks(blocks, initial_error=start, minimizer=minimizer, seed=seed)


def diagonal_problem(eigenvalues, start, minimizer=None):
    """Blocks of one coordinate: eigenvalues (P,), starts (P,) or (M, P)."""
    return BlockQuadratic.from_blocks([[[float(x)]] for x in eigenvalues], initial_error=start, minimizer=minimizer)
