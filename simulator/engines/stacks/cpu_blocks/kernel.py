"""The kernel: an entry point that runs a list of blocks on every chunk of the data of every slot."""

from quadsim.simulator.engines.stacks.cpu_blocks import attention, data, layers, losses, products, tokens
from quadsim.simulator.engines.stacks.cpu_blocks.elementary import elementary_source

__all__ = ["BLOCKS", "NUMBERS", "blocks_source"]

_PARTS = (products, layers, attention, tokens, losses, data)

_CALLS: dict[str, str] = {name: call for part in _PARTS for name, call in part.CALLS.items()}

BLOCKS = tuple(_CALLS)
"""The names of the blocks; the first number of a line of the list of blocks is the place of its name here."""

NUMBERS = 11
"""Numbers in a line of the list of blocks, at most; the others are 0."""


def blocks_source(dtype: str, lanes: int) -> str:
    """Return the source of the kernel, a Python module that defines the entry point `gradient_`.

    Args:
        dtype: "float64" or "float32".
        lanes: numbers in a vector, a multiple of four.
    """
    return "".join([
        f'"""Gradients of stacks on a CPU, {dtype}, {lanes} numbers in a vector."""\n{_IMPORTS}\n',
        elementary_source(dtype, lanes),
        *(part.SOURCE for part in _PARTS),
        _entry(),
    ])


def _entry() -> str:
    """Return the entry point."""
    lines = []
    for number, (name, call) in enumerate(_CALLS.items()):
        lines += [f"{'el' if number else ''}if kind == {number}:  # {name}", f"    {call.replace('o[', 'ops[op + ')}"]
    calls = "\n".join(" " * 16 + line for line in lines)
    return _ENTRY.replace("<numbers>", str(NUMBERS)).replace("<calls>", calls)


_IMPORTS = """\
import math

import numpy as np
from numba import njit

from quadsim.simulator.engines.kernels import cpu_vectors as vectors
from quadsim.simulator.engines.kernels.cpu_vectors import absolute, fma, pick, sqrt, store
from quadsim.simulator.engines.stacks.cpu_functions import add_four, larger, power_of_two, unless_negative
"""

_ENTRY = '''

@entry
def gradient_(
    ops, number_of_ops, learns, sizes, first, last, w, g, inputs, reals, classes, weights, shares, chosen, factors, sharpness, a,
    ids, targets, losses
):
    """Gradients of slots first to last (a slot is a copy of an instance), and their unweighted and weighted losses."""
    tokens, sequences, per_sequence, stored, length = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    dimension, copies, answers = sizes[5], sizes[6], sizes[7]
    for slot in range(first, last):
        base = slot * dimension
        instance = slot // copies
        data, chosen_at = instance * stored, instance * length
        sharp = sharpness[instance]
        if learns:
            for i in range(base, base + dimension):
                g[i] = real(0.0)
        weighted = even = 0.0
        for begin in range(0, length, sequences):
            lay_out(a, answers, ids, targets, tokens, sequences, per_sequence, inputs, classes, weights, shares, factors[slot, 0],
                    factors[slot, 1], data, begin, length, chosen, chosen_at)
            for line in range(number_of_ops):
                op = line * <numbers>
                kind = ops[op]
                loss = (0.0, 0.0)
<calls>
                weighted += loss[0]
                even += loss[1]
        losses[slot, 0] = even
        losses[slot, 1] = weighted
'''
