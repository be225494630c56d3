"""Advice from an inspection of a model: what the complexities of gradient and sign steps promise, where they speak of it."""

import math
from collections.abc import Mapping

from quadsim.theory.advising.advice import Advice

__all__ = ["LARGEST_SHARE", "advise_on_inspection"]

LARGEST_SHARE = 1.0 / 3.0
"""The largest |H - D| / Lambda, D the blocks of H, with which the theorems on gradient and on sign steps speak of a model."""

_THEOREMS = {"gd": "gradient-complexity-general", "signsgd": "sign-complexity-general"}
_SHARES = {"gd": "delta_over_Lambda_G", "signsgd": "delta_over_Lambda_P"}


def advise_on_inspection(columns: Mapping[str, float], source: str, at: str = "") -> Advice:
    """Compare the bounds on the number of steps of gradient and of sign steps, which are as Lambda_G to Lambda_P.

    Both are of steps until |g|_1 <= P eps, at the lengths 1/Lambda_G and |g|_1/(P Lambda_P): after Tomihari and Sato, arXiv
    2502.00213, in the form of `gradient-complexity-general` and `sign-complexity-general`.

    Args:
        columns: medians of an inspection: `Lambda_G`, `Lambda_P`, and where the whole Hessian was computed
            `delta_over_Lambda_G`, `delta_over_Lambda_P`.
        source: where they come from, in words.
        at: where the model was inspected, in words.
    """
    curvatures = {"gd": columns.get("Lambda_G", math.nan), "signsgd": columns.get("Lambda_P", math.nan)}
    if not all(math.isfinite(x) and x > 0.0 for x in curvatures.values()):
        why = "the inspection holds no curvature; repeat it without --no-curvature"
        return Advice(at, f"There is no answer: {why}.", rests_on=(source,))
    shares = {name: columns.get(column, math.nan) for name, column in _SHARES.items()}
    rests = (source, *(f"theorem {name}" for name in _THEOREMS.values()))
    if outside := [name for name in shares if not shares[name] <= LARGEST_SHARE]:
        told = ", ".join(
            f"{_SHARES[n]} {shares[n]:.3g}" if math.isfinite(shares[n]) else f"{_SHARES[n]} not computed"
            for n in outside
        )
        why = f"the theorems speak of models with |H - blocks| of at most a third of Lambda, and here it is {told}"
        return Advice(at, f"There is no answer: {why}. Run a sweep on the model instead.", rests_on=rests)
    best = min(curvatures, key=lambda name: curvatures[name])
    other = "signsgd" if best == "gd" else "gd"
    ratio = curvatures[other] / curvatures[best]
    length = 1.0 / curvatures["gd"] if best == "gd" else None
    told = (
        f"the learning rate {length:.3g}"
        if length
        else f"the learning rate |g|_1/(P {curvatures[best]:.3g}) of each step"
    )
    return Advice(
        at,
        f"Take {best} at {told}: its bound on the number of steps is {ratio:.3g} times smaller than that of {other}.",
        best,
        length,
        "Not sure: both are bounds. That the method with the smaller bound needs fewer steps was tried and not shown "
        "(claim bounds-rank-methods).",
        "Guaranteed as long as the third derivatives are as small as the theorem asks, which an inspection does not see "
        f"({_THEOREMS[best]}).",
        (*rests, "claim bounds-rank-methods"),
    )
