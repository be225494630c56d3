"""The law of the labels' noise on a stream, by its name; this module imports no library that computes."""

import math

__all__ = ["degrees_of_freedom"]


def degrees_of_freedom(noise_law: str) -> float:
    """Return the degrees of freedom of the labels' noise; infinite for `normal`.

    Raises:
        ValueError: another law, or not more than 2 degrees of freedom, where the variance is infinite.
    """
    if noise_law == "normal":
        return math.inf
    name, _, number = str(noise_law).partition("-")
    try:
        degrees = float(number)
    except ValueError:
        degrees = math.nan
    if name != "student" or not 2.0 < degrees < math.inf:
        raise ValueError(
            f"noise law must be normal or student-NU with NU > 2 degrees of freedom, got {noise_law!r}; for example student-5."
        )
    return degrees
