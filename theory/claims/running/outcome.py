"""Outcome: the result of running a claim, and its row in the document."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from quadsim.simulator.support.checks import check_choice
from quadsim.simulator.support.provenance import origin
from quadsim.theory.claims.judging.claim import Claim, Found, Judgement
from quadsim.theory.claims.judging.conditions import Judged
from quadsim.theory.claims.judging.measured import Measured
from quadsim.theory.claims.judging.reach import ONSETS
from quadsim.theory.claims.judging.setting import Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Outcome", "draw", "draw_reach"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of running a claim. Not to be confused with the Outcome of an engine.

    Attributes:
        claim: the claim, with its criterion.
        judgement: verdict and reason.
        found: numbers, data and remarks; None if the claim was not run. The tables of its reach are among the data.
        setting: size and seed of the run.
        seconds: duration of the run, summed over processes.
        made: date, commit and command of the run.
    """

    claim: Claim
    judgement: Judgement
    found: Found | None
    setting: Setting
    seconds: float
    made: Mapping[str, str] = field(default_factory=origin)

    @property
    def verdict(self) -> str:
        """One of VERDICTS."""
        return self.judgement.verdict

    @property
    def reason(self) -> str:
        """The reason of the verdict."""
        return self.judgement.reason

    def table(self, name: str | None = None) -> pd.DataFrame:
        """Return a table of the experiment; without a name the first one.

        Raises:
            ValueError: an unknown name.
        """
        tables = {} if self.found is None else self.found.tables
        return tables[check_choice("table", next(iter(tables), "") if name is None else name, tables)]

    def figure(self) -> "Figure":
        """Draw the figure of the arm "as in the paper" from its tables.

        Raises:
            ValueError: a claim that was not run.
        """
        return draw(self.claim, self._tables())

    def reach_figure(self) -> "Figure | None":
        """Draw how far the claim reaches; None where nothing is varied.

        Raises:
            ValueError: a claim that was not run.
        """
        return None if self.claim.reach is None else draw_reach(self.claim, self._tables())

    def _tables(self) -> Mapping[str, pd.DataFrame]:
        if self.found is None:
            raise ValueError(f"claim {self.claim.id} must have been run, got no result: {self.reason}.")
        return self.found.tables

    def to_json(self) -> dict[str, Any]:
        """Return all but the tables as plain data; a number that is not finite becomes None, with its text beside it."""
        claim, found = self.claim, self.found
        reach = None if found is None or claim.reach is None else claim.reach.to_json(found.tables)
        judged = [_judged(one) for one in self.judgement.judged]
        return {
            **claim.description,
            "criterion": claim.criterion | {"hash": claim.digest(self.setting)},
            "verdict": self.verdict,
            "told": self.judgement.told,
            "reason": self.reason,
            "proofs": [proof.to_json() for proof in (found.proofs if found else ())],
            "conditions": judged or [one | {"state": "missing"} for one in claim.criterion["conditions"]],
            "measured": [_number(figure) for figure in (found.measured if found else ())],
            "notes": list(found.notes) if found else [],
            "caption": claim.caption,
            "figure": f"{claim.id}/figure.png" if found else None,
            "reach": reach and reach | {"figure": f"{claim.id}/reach.png"},
            "tables": [f"{claim.id}/{name}.parquet" for name in found.tables] if found else [],
            "size": self.setting.size,
            "seed": self.setting.seed,
            "seconds": round(self.seconds, 1),
            "made": dict(self.made),
        }


def draw(claim: Claim, tables: Mapping[str, pd.DataFrame]) -> "Figure":
    """Return the figure of the arm "as in the paper", in the style of the project."""
    from quadsim.simulator.figures.style import drawing

    with drawing():
        return claim.draw(tables)


def draw_reach(claim: Claim, tables: Mapping[str, pd.DataFrame]) -> "Figure | None":
    """Return the figure of the reach, in the style of the project; None where there is none, or no tables of it."""
    from quadsim.simulator.figures.style import drawing

    if claim.reach is None or ONSETS not in tables:
        return None
    with drawing():
        return claim.reach.draw(tables)


def _judged(one: Judged) -> dict[str, Any]:
    """A condition and what was found about it."""
    numbers = {key: _finite(getattr(one, key)) for key in ("p", "holm", "power")}
    return one.condition.to_json() | _number(one.measured) | {"state": one.state, "why": one.why} | numbers


def _number(figure: Measured) -> dict[str, Any]:
    return {
        "name": figure.name,
        "value": _finite(figure.value),
        "low": _finite(figure.low),
        "high": _finite(figure.high),
        "unit": figure.unit,
        "seeds": figure.seeds,
        "statistic": figure.statistic,
        "text": str(figure),
    }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
