"""The result of checking a statement on one instance that is no run."""

from dataclasses import dataclass

__all__ = ["InstanceCheck"]


@dataclass(frozen=True)
class InstanceCheck:
    """The result of checking a statement about heads, parts of models or memories on one instance.

    Attributes:
        verdict: one of VERDICTS; `verified` and `refuted` are found in exact arithmetic, `holds` and `undecided` in floats.
        margin: the quantity over its bound (exact), or the deviation over the one that rounding or sampling allows (floats).
        reason: the values that differ; else empty.
    """

    verdict: str
    margin: float
    reason: str = ""
