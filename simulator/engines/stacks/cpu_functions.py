"""What the CPU kernel of stacks does with vectors beside `kernels.cpu_vectors`: parts of exp, and sums over lanes.

A vector holds numbers of several sequences. Every function is a few LLVM instructions, as in `cpu_vectors`.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from quadsim.simulator.engines.kernels.cpu_vectors import Vector

__all__ = ["ROUND", "add_four", "larger", "power_of_two", "unless_negative"]

ROUND = {"float32": 1.5 * 2.0**23, "float64": 1.5 * 2.0**52}
"""Added to a number and subtracted again, it rounds to a whole number: the sum has no digits behind the point."""

_INT = ir.IntType(32)


@intrinsic
def power_of_two(typing, a):  # type: ignore[no-untyped-def]
    """Return 2^n of n + ROUND: n is in the last bits of that sum, from where it is moved to those of the exponent."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        (kind,) = sig.args
        width, digits, bias = (64, 52, 1023) if kind.dtype == types.float64 else (32, 23, 127)
        whole = ir.VectorType(ir.IntType(width), kind.lanes)

        def number(value: int) -> Any:
            return ir.Constant(whole, [ir.Constant(whole.element, value)] * kind.lanes)

        moved = builder.shl(builder.bitcast(args[0], whole), number(digits))
        return builder.bitcast(builder.add(moved, number(bias << digits)), args[0].type)

    return a(a), generate


@intrinsic
def larger(typing, a, b):  # type: ignore[no-untyped-def]
    """Return the larger number, and b where one is NaN: one instruction on x86, where a maximum that keeps NaN takes four."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return a(a, b), generate


@intrinsic
def unless_negative(typing, a, other, negative):  # type: ignore[no-untyped-def]
    """Return `negative` in the lanes where a < 0, and `other` in all others."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        below = builder.fcmp_ordered("<", args[0], ir.Constant(args[0].type, None))
        return builder.select(below, args[2], args[1])

    return a(a, other, negative), generate


def _shuffled(builder: Any, a: Any, b: Any, places: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(_INT, len(places)), [ir.Constant(_INT, place) for place in places])
    return builder.shuffle_vector(a, b, mask)


def _folded(builder: Any, a: Any, lanes: int, left: int) -> Any:
    """Add the upper half to the lower half until `left` lanes are left."""
    while lanes > left:
        lanes //= 2
        low, high = (_shuffled(builder, a, a, [begin + i for i in range(lanes)]) for begin in (0, lanes))
        a = builder.fadd(low, high)
    return a


@intrinsic
def add_four(typing, array, index, a, b, c, d):  # type: ignore[no-untyped-def]
    """Add the sums over the lanes of a, b, c and d to array[index:index + 4]. Vectors have a multiple of four lanes.

    Four sums together take a third of the instructions of four single ones: after two additions of shuffled vectors, every four
    lanes hold parts of all four sums.
    """

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        values, at, *four = args
        lanes = sig.args[2].lanes

        def paired(x: Any, y: Any, first: list[int], second: list[int]) -> Any:
            # A number below 4 is a lane of x, another of y, within every four lanes.
            halves = (
                [begin + i if i < 4 else begin + i - 4 + lanes for begin in range(0, lanes, 4) for i in chosen]
                for chosen in (first, second)
            )
            return builder.fadd(*(_shuffled(builder, x, y, places) for places in halves))

        ab, cd = (paired(x, y, [0, 4, 1, 5], [2, 6, 3, 7]) for x, y in (four[:2], four[2:]))
        sums = _folded(builder, paired(ab, cd, [0, 1, 4, 5], [2, 3, 6, 7]), lanes, 4)
        data = context.make_array(sig.args[0])(context, builder, values).data
        pointer = builder.bitcast(builder.gep(data, [at]), sums.type.as_pointer())
        width = 8 if sig.args[2].dtype == types.float64 else 4
        builder.store(builder.fadd(builder.load(pointer, align=width), sums), pointer, align=width)
        return context.get_dummy_value()

    assert isinstance(a, Vector)
    return types.void(array, types.intp, a, a, a, a), generate
