"""The building blocks of the fused kernels of stacks, in CUDA C++: each forward pass with its backward pass.

A chunk of data has a row for every token, and a team of threads takes a chunk. The rows of a sequence follow one after the other
and are filled up to a power of two (SLOTS). Every thread holds ROWS_EACH rows, or the share of them that is its own:

- LANES = 4: a team is a warp, four threads (lanes) share a row, and products run on the matrix units. An array of a thread then
  is the fragment of the result of such a product: lane l has the columns 2l, 2l + 1, 2l + 8, 2l + 9, ... of its rows. The same
  numbers are a fragment of an argument of the next product, with the columns in another order, in which it reads its matrix.
- LANES = 1: a team is the whole block, and every thread has whole rows. So runs what has no such fragments, and the tests on a
  CPU.

Parameters are in shared memory. The gradient of a matrix is a product over all rows of the chunk, written to shared memory for it
(`put`). Several teams work on as many chunks at the same time. JOINED teams (a club) add up one gradient, in the order of
the teams, with barriers; that of the first club is in shared memory, those of others are in global memory, and the step adds them
up. With JOINED = 1 no team waits for another, but there is a gradient of each.

All arithmetic is in float32 (on the matrix units: three products of tf32 parts, which leave out less than 2^-21 of a product),
and every sum has one order, so that a result is the same bits again.

The text compiles as C++ for a CPU too, as a block of one thread that holds all rows; so the tests run it without a GPU. The
definitions are those of `models/transformer.py`, `models/mlp.py` and `models/base.py`, against which every block is tested.
"""

from quadsim.simulator.engines.stacks.blocks import (
    attention,
    head,
    matrix_units,
    network,
    norms,
    products,
    rows,
    sums,
    tables,
)
from quadsim.simulator.engines.stacks.blocks.machine import HEADER

__all__ = ["BLOCKS", "HEADER"]

BLOCKS = "".join(part.SOURCE for part in (rows, matrix_units, products, tables, norms, attention, network, head, sums))
"""The blocks; they need THREADS, ROWS_EACH, WIDTH, SLOTS, TOKENS, HEADS, EACH, CAUSAL, HIDDEN, SLICE, CLASSES and DIMENSION as
constants, and LANES, JOINED and WHOLE as macros."""
