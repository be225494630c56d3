"""A vector type for Numba: a value of type `Vector` holds one number for each of a fixed number of lanes (settings).

Each operation is emitted as one LLVM vector instruction or intrinsic. Nothing is left to LLVM's automatic vectoriser, which may
or may not vectorise a loop, reorder its sums and contract a*b + c, depending on the machine and on the number of lanes. Here
every lane runs the same IEEE operations, whatever its neighbours hold, and a fused multiply-add is used exactly where the
source calls `fma`. A run therefore has the same bits on every machine and for every number of lanes.

Functions of a vector work lane by lane. Those with an index (`pick`, `store`, `load`) do not check it.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

from quadsim.simulator.engines.kernels.machine import compiled_features

__all__ = [
    "Vector", "absolute", "exp", "fma", "log", "maximum", "minimum", "narrow_to", "pick", "power", "ratio", "sign", "sqrt",
    "store", "tanh", "unless_below", "vectors_of", "widen",
]  # fmt: skip


class Vector(types.Type):
    """The Numba type of a vector.

    Attributes:
        lanes: how many numbers.
        dtype: their Numba type, float64 or float32.
    """

    def __init__(self, lanes: int, dtype: types.Float) -> None:
        self.lanes, self.dtype = lanes, dtype
        super().__init__(name=f"Vector({lanes} x {dtype})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, _llvm(fe_type))


def _llvm(kind: Vector) -> ir.VectorType:
    return ir.VectorType(ir.DoubleType() if kind.dtype == types.float64 else ir.FloatType(), kind.lanes)


def _constant(kind: Vector, value: float) -> ir.Constant:
    llvm = _llvm(kind)
    return ir.Constant(llvm, [ir.Constant(llvm.element, value)] * kind.lanes)


def _spread(builder: Any, kind: Vector, scalar: Any) -> Any:
    llvm = _llvm(kind)
    undefined, index = ir.Constant(llvm, ir.Undefined), ir.IntType(32)
    one = builder.insert_element(undefined, scalar, ir.Constant(index, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(index, kind.lanes), [0] * kind.lanes))


def _call(builder: Any, name: str, kind: Vector | types.Float, *arguments: Any) -> Any:
    """Call an LLVM intrinsic on whole vectors, where it applies lane by lane, or on numbers in float64."""
    llvm, of = ir.DoubleType(), "f64"
    if isinstance(kind, Vector):
        llvm, of = _llvm(kind), f"v{kind.lanes}f{64 if kind.dtype == types.float64 else 32}"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(llvm, [llvm] * len(arguments)), f"llvm.{name}.{of}"
    )
    return builder.call(function, arguments)


# Square roots.
#
# A processor with AVX-512 finishes a square root of 8 numbers every 25 cycles, and two fused multiply-adds of 8 every cycle. So
# ten of these, from the processor's estimate y of 1/sqrt(x), take its place. The result is the same, bit for bit:
#
# Let eta = 2^-53, s = sqrt(x) and y = (1 + e)/s with |e| <= 2^-14. Newton's method finds g of s, and h of 1/(2 s). The rounding
# of x y lets the two differ by eta, and those of the first step by 2 eta more, of which the second step leaves half. With its own
# rounding and the error of the method, 1.5 (1.5 e^2)^2 < 0.5 eta, both have a relative error below 3 eta. The last two operations
# take g + d h with d = x - g^2, which differs from s by at most |s - g| (|s - g| / (2 s) + 4 eta) < 17 eta s eta, and round it.
# So another number than the one nearest to s is found only if the middle m of two numbers is that near to s. In units of the
# last place (2 eta for s in [1, 2)), with m = M + 1/2 and X = s^2, the distance is |X - M (M + 1) - 1/4| / (s + m). X is a
# multiple of 2^52, and s + m < 2^54: X - M (M + 1) is even, and at most 34. There are 50 such x in [1, 4), all of which
# tests/simulator/engines/test_square_roots.py finds and takes.
#
# This needs products that are normal numbers: x in [2^-511, 2^513), where the bits 62 and 61 differ. Where a lane has another
# number (0, infinity, NaN, a denormal number), all lanes of the vector take the processor's square root.

_WIDE = 8  # float64 numbers in a vector of AVX-512


def _sqrt(builder: Any, kind: Vector, x: Any) -> Any:
    if kind.dtype != types.float64 or kind.lanes % _WIDE or "avx512f" not in compiled_features():
        return _call(builder, "sqrt", kind, x)
    parts = _parts(builder, kind, x)
    with builder.if_else(_are_moderate(builder, parts), likely=True) as (then, otherwise):
        with then:
            quick = _joined(builder, [_root(builder, part) for part in parts])
            of_quick = builder.block
        with otherwise:
            plain = _call(builder, "sqrt", kind, x)
            of_plain = builder.block
    found = builder.phi(_llvm(kind))
    found.add_incoming(quick, of_quick)
    found.add_incoming(plain, of_plain)
    return found


def _are_moderate(builder: Any, parts: Sequence[Any]) -> Any:
    """Whether all numbers have a magnitude in [2^-511, 2^513)."""
    whole = ir.VectorType(ir.IntType(64), _WIDE)
    differ = ir.Constant(whole, [1 << 62] * _WIDE)
    for part in parts:
        bits = builder.bitcast(part, whole)
        differ = builder.and_(differ, builder.xor(bits, builder.add(bits, bits)))
    lanes = ir.IntType(_WIDE)
    found = builder.icmp_unsigned("!=", differ, ir.Constant(whole, [0] * _WIDE))
    return builder.icmp_unsigned("==", builder.bitcast(found, lanes), ir.Constant(lanes, -1))


def _root(builder: Any, x: Any) -> Any:
    """The square root of 8 numbers, for which `_are_moderate` is true and none is negative; NaN for a negative number."""
    kind = Vector(_WIDE, types.float64)

    def fma(a: Any, b: Any, c: Any) -> Any:
        return _call(builder, "fma", kind, a, b, c)

    estimate = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(x.type, [x.type, x.type, ir.IntType(_WIDE)]), "llvm.x86.avx512.rsqrt14.pd.512"
    )
    y = builder.call(estimate, [x, _constant(kind, 0.0), ir.Constant(ir.IntType(_WIDE), -1)])
    half = _constant(kind, 0.5)
    g, h = builder.fmul(x, y), builder.fmul(half, y)
    for _ in range(2):
        error = fma(builder.fneg(g), h, half)
        g, h = fma(g, error, g), fma(h, error, h)
    return fma(fma(builder.fneg(g), g, x), h, g)


def _parts(builder: Any, kind: Vector, x: Any) -> list[Any]:
    """The vectors of 8 numbers that a vector consists of."""
    places, undefined = ir.VectorType(ir.IntType(32), _WIDE), ir.Constant(_llvm(kind), ir.Undefined)
    firsts = range(0, kind.lanes, _WIDE)
    return [builder.shuffle_vector(x, undefined, ir.Constant(places, list(range(f, f + _WIDE)))) for f in firsts]


def _joined(builder: Any, parts: Sequence[Any]) -> Any:
    """One vector of several of the same number of lanes."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    pair = _joined(builder, parts[:middle]), _joined(builder, parts[middle:])
    lanes = 2 * pair[0].type.count
    return builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(lanes))))


# Operators.


class _Operator(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: tuple[types.Type, ...], kws: dict[str, Any]) -> Any:
        if not kws and all(isinstance(a, Vector) and a == args[0] for a in args):
            return signature(args[0], *args)
        return None


def _add_operator(function: Callable[..., Any], instruction: str, number: int) -> None:
    infer_global(function)(type(f"_{instruction}", (_Operator,), {}))

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)

    lower_builtin(function, *[Vector] * number)(lower)


for _function, _instruction, _number in (
    (operator.add, "fadd", 2),
    (operator.sub, "fsub", 2),
    (operator.mul, "fmul", 2),
    (operator.truediv, "fdiv", 2),
    (operator.neg, "fneg", 1),
):
    _add_operator(_function, _instruction, _number)


# Functions. Each is an intrinsic: (typing context, argument types) to a signature and a code generator.


def _lanewise(name: str, number: int) -> Any:
    """Return a function of `number` vectors (1, 2 or 3) that is the LLVM intrinsic `name`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, name, sig.return_type, *args)

    def one(typing: Any, a: Any) -> Any:
        return a(a), generate

    def two(typing: Any, a: Any, b: Any) -> Any:
        return a(a, b), generate

    def three(typing: Any, a: Any, b: Any, c: Any) -> Any:
        return a(a, b, c), generate

    return intrinsic((one, two, three)[number - 1])


absolute = _lanewise("fabs", 1)
exp = _lanewise("exp", 1)
log = _lanewise("log", 1)
tanh = _lanewise("tanh", 1)
power = _lanewise("pow", 2)
maximum = _lanewise("maximum", 2)
minimum = _lanewise("minimum", 2)
fma = _lanewise("fma", 3)


@intrinsic
def sqrt(typing, a):  # type: ignore[no-untyped-def]
    """Return the square root, rounded as IEEE 754 wants it; NaN for a negative number."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return _sqrt(builder, sig.return_type, args[0])

    return a(a), generate


@intrinsic
def sign(typing, a):  # type: ignore[no-untyped-def]
    """Return -1, 0 or 1; 0 at NaN, as ordered comparisons with NaN are false."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        (kind,), (x,) = sig.args, args
        zero, one, minus = (_constant(kind, value) for value in (0.0, 1.0, -1.0))
        below = builder.select(builder.fcmp_ordered("<", x, zero), minus, zero)
        return builder.select(builder.fcmp_ordered(">", x, zero), one, below)

    return a(a), generate


@intrinsic
def ratio(typing, a, b):  # type: ignore[no-untyped-def]
    """Return a / b, and 0 wherever a is 0 (also where b is 0): Adam with eps = 0 does not move where the gradient is 0."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        zero = _constant(sig.return_type, 0.0)
        return builder.select(builder.fcmp_ordered("==", args[0], zero), zero, builder.fdiv(*args))

    return a(a, b), generate


@intrinsic
def unless_below(typing, value, limit, otherwise, below):  # type: ignore[no-untyped-def]
    """Return `below` in the lanes where value <= limit, and `otherwise` in the others, NaN included.

    The order of the arguments is (value, limit, otherwise, below). A NaN gap thus counts as not below any limit: the run has
    not reached the tolerance, and it has diverged.
    """

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        x, bound, other, chosen = args
        return builder.select(builder.fcmp_ordered("<=", x, bound), chosen, other)

    return otherwise(value, limit, otherwise, below), generate


@intrinsic
def widen(typing, a):  # type: ignore[no-untyped-def]
    """Return the same numbers in float64."""
    wide = Vector(a.lanes, types.float64)

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        return args[0] if a == wide else builder.fpext(args[0], _llvm(wide))

    return wide(a), generate


def _place(context: Any, builder: Any, array: Any, value: Any, index: Any, llvm: Any) -> tuple[Any, int]:
    """Return the pointer to a vector that begins at an entry of a one-dimensional contiguous array, and its alignment in bytes.

    The alignment is that of one number, not of the vector: a block may begin at any entry.
    """
    data = context.make_array(array)(context, builder, value).data
    width = 8 if array.dtype == types.float64 else 4
    return builder.bitcast(builder.gep(data, [index]), llvm.as_pointer()), width


@intrinsic
def pick(typing, array, index):  # type: ignore[no-untyped-def]
    """Return the number `array[index]`. The index is not checked, and a negative index does not count from the end."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.load(builder.gep(data, [args[1]]))

    return array.dtype(array, types.intp), generate


@intrinsic
def store(typing, array, index, vector):  # type: ignore[no-untyped-def]
    """Write a vector to `array[index:index + lanes]`. The index is not checked."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        pointer, width = _place(context, builder, sig.args[0], args[0], args[1], _llvm(sig.args[2]))
        builder.store(args[2], pointer, align=width)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


def narrow_to(dtype: Any) -> Any:
    """Return a function that rounds a float64 vector to `dtype` (the identity for float64)."""
    own = types.float64 if np.dtype(dtype) == np.float64 else types.float32

    @intrinsic
    def narrow(typing, a):  # type: ignore[no-untyped-def]
        kind = Vector(a.lanes, own)

        def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
            return args[0] if a == kind else builder.fptrunc(args[0], _llvm(kind))

        return kind(a), generate

    return narrow


def vectors_of(lanes: int, dtype: Any) -> tuple[Any, Any, Any]:
    """Return three functions that create vectors with this number of lanes.

    Args:
        lanes: how many numbers a vector holds.
        dtype: float64 or float32, the type of `number`.

    Returns:
        `load(array, index)`: the vector at `array[index:index + lanes]`, in the array's type; the index is not checked.
        `spread(scalar)`: the scalar in all lanes, in the scalar's type.
        `number(literal)`: a float64 literal in all lanes, in `dtype`.
    """
    own = types.float64 if np.dtype(dtype) == np.float64 else types.float32

    @intrinsic
    def load(typing, array, index):  # type: ignore[no-untyped-def]
        kind = Vector(lanes, array.dtype)

        def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
            pointer, width = _place(context, builder, sig.args[0], args[0], args[1], _llvm(kind))
            return builder.load(pointer, align=width)

        return kind(array, types.intp), generate

    @intrinsic
    def spread(typing, scalar):  # type: ignore[no-untyped-def]
        kind = Vector(lanes, scalar)

        def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
            return _spread(builder, kind, args[0])

        return kind(scalar), generate

    @intrinsic
    def number(typing, literal):  # type: ignore[no-untyped-def]
        kind = Vector(lanes, own)

        def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
            return _spread(builder, kind, context.cast(builder, args[0], types.float64, own))

        return kind(types.float64), generate

    return load, spread, number


@intrinsic
def widest(typing):  # type: ignore[no-untyped-def]
    """Let LLVM vectorise the loops of this function with this processor's widest vectors; by default it takes 256 bits."""

    def generate(context, builder, sig, args):  # type: ignore[no-untyped-def]
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate
