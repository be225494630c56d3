"""The elementary functions of the kernel, on vectors: exp, and the tail of the normal distribution."""

from decimal import Decimal
from math import factorial

from quadsim.simulator.engines.stacks.cpu_functions import ROUND

__all__ = ["elementary_source"]

_LN2 = Decimal("0.693147180559945309417232121458176568")

_TAIL = {
    "float32": (
        0.1888212817838964, 0.15197410095365885, 0.09678439072771228, 0.046631677717931246, 0.015098823967489227,
        0.0018780578454378914, -0.0008690419737272307, -0.00039094672470664006, 3.233142033518819e-05, 3.9330142396146074e-05,
    ),
    "float64": (
        0.18882128260393766, 0.15197416049297324, 0.09678435018560537, 0.04663046448989468, 0.01509914372064161,
        0.0018850472422229046, -0.0008699230587644089, -0.0004077046213683964, 3.333580910230286e-05, 5.7773784446822336e-05,
        -4.757841315873594e-07, -8.78640058976113e-06, 1.753490805582972e-07, 1.4807234443854821e-06, -1.5007121855477568e-07,
        -2.5674601753579823e-07, 5.878236198827219e-08, 4.0557908021339184e-08, -1.41813780660178e-08, -4.892402234993517e-09,
        1.694942406399174e-09, 3.193087858239439e-10,
    ),
}  # fmt: skip
"""Coefficients of a polynomial in u = 2 t - 1, t = 1/(1 + |x|/4): t exp(-x^2/2) times it is the probability that a normal number
exceeds |x|. It is the Chebyshev expansion of that quotient on 0 < t < 1, computed with 40 digits; the result is within 1.6e-7 in
float32 and 4e-16 in float64."""


def elementary_source(dtype: str, lanes: int) -> str:
    """Return the constants, the decorators of functions (`entry`, `part`, `inlined`) and the elementary functions.

    Args:
        dtype: "float64" or "float32".
        lanes: numbers in a vector.
    """
    digits, low, terms = (40, -709.0, 14) if dtype == "float64" else (16, -88.0, 8)
    coarse = int(_LN2 * 2**digits)
    head = {
        "LANES": lanes,
        "LOW": low,
        "ROUND": ROUND[dtype],
        "LOG2E": float(1 / _LN2),
        "LN2": coarse / 2**digits,
        "LN2_REST": float(_LN2 - Decimal(coarse) / 2**digits),
    }
    constants = "\n".join(f"{name} = {value!r}" for name, value in head.items())
    exp = _polynomial("r", tuple(1.0 / factorial(i) for i in range(terms)))
    functions = _FUNCTIONS.replace("<exp>", exp).replace("<tail>", _polynomial("u", _TAIL[dtype]))
    return f"{constants}\nreal = np.{dtype}\n{functions}"


def _polynomial(name: str, coefficients: tuple[float, ...]) -> str:
    """Return the lines that evaluate a polynomial as `p`, by Horner's rule."""
    lines = [f"p = number({coefficients[-1]!r})"]
    lines += [f"p = fma(p, {name}, number({value!r}))" for value in coefficients[-2::-1]]
    return "\n    ".join(lines)


_FUNCTIONS = '''
load, spread, number = vectors.vectors_of(LANES, real)
entry = part = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
inlined = njit(forceinline=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@inlined
def exp(x):
    """exp(x) = 2^k exp(r) with |r| <= ln(2)/2; NaN stays NaN. At LOW and below, the bits of 2^k are those of 0, and so is exp(x):
    a share of 1e-38 would give gradients whose sign moves SignSGD by a whole step."""
    x = larger(number(LOW), x)
    n = fma(x, number(LOG2E), number(ROUND))
    k = n - number(ROUND)
    r = fma(k, number(-LN2_REST), fma(k, number(-LN2), x))
    <exp>
    return p * power_of_two(n)


@inlined
def normal_tail(size, density):
    """The probability that a normal number exceeds `size`, from exp(-size^2/2)."""
    t = number(1.0) / fma(number(0.25), size, number(1.0))
    u = fma(number(2.0), t, number(-1.0))
    <tail>
    return p * t * density
'''
