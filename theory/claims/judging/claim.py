"""Claim: a sentence of a paper, with an experiment and a criterion, fixed before the run, that decide about it."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from quadsim.theory.claims.judging.conditions import LEAST_SEEDS, RULE, Condition, Judged, judge_conditions
from quadsim.theory.claims.judging.measured import Measured
from quadsim.theory.claims.judging.proofs import Proved, proofs_verdict
from quadsim.theory.claims.judging.reach import Reach
from quadsim.theory.claims.judging.setting import Setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["VERDICTS", "Cells", "Claim", "Fixed", "Found", "Judgement", "inference_verdict", "inferred_reason", "told"]

VERDICTS = (
    "proved",
    "counter-example",
    "shown",
    "not shown",
    "opposite shown",
    "inconclusive",
    "not comparable",
    "estimate",
    "withdrawn",
    "not run",
)
"""The verdicts on a claim; see `Claim.judge`."""

_FULL, _QUICK = Setting("full"), Setting("quick")
_MOST_REASONS = 3  # number of conditions that a reason names; all are in the list of conditions


@dataclass(frozen=True, eq=False)
class Found:
    """The results of an experiment.

    Attributes:
        measured: the measured numbers.
        tables: name to data; the figure is drawn from these tables alone, so it can be drawn again from stored results.
        notes: remarks for the reader.
        proofs: the statements of the claim that were proved or refuted, by the names that the claim lists.
    """

    measured: Sequence[Measured]
    tables: Mapping[str, pd.DataFrame]
    notes: Sequence[str] = ()
    proofs: Sequence[Proved] = ()


@dataclass(frozen=True)
class Cells:
    """An experiment in parts that do not depend on each other, so that processes can share them.

    Calling it runs the parts one after the other; the result is the same.

    Attributes:
        names: the parts of a setting, as plain values.
        run: function of a part and the setting to a table of that part.
        gather: function of the tables, in the order of the parts, and the setting to the results.
    """

    names: Callable[[Setting], Sequence[Any]]
    run: Callable[[Any, Setting], pd.DataFrame]
    gather: Callable[[Sequence[pd.DataFrame], Setting], Found]

    def __call__(self, setting: Setting) -> Found:
        """Run all parts and gather them."""
        return self.gather([self.run(name, setting) for name in self.names(setting)], setting)


@dataclass(frozen=True)
class Fixed:
    """When a criterion was fixed.

    Attributes:
        date: as "2026-11-26".
        criterion: the fingerprint of the criterion at full size, `Claim.digest()`.
        before: what was run before that date and was known to whoever fixed the criterion; "nothing" if nothing was.
        change: what changed against the earlier criterion; empty for the first one.
    """

    date: str
    criterion: str
    before: str
    change: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", self.date):
            raise ValueError(f"date must be like 2026-11-26, got {self.date!r}; correct the history of the claim.")


@dataclass(frozen=True)
class Judgement:
    """A verdict of VERDICTS, its reason, and what was found about every condition.

    Attributes:
        verdict: one of VERDICTS.
        reason: in one line.
        judged: one per condition, in their order; empty for a claim without conditions, or that was not run.
    """

    verdict: str
    reason: str
    judged: tuple[Judged, ...] = ()

    @property
    def states(self) -> tuple[str, ...]:
        """The state of every condition."""
        return tuple(one.state for one in self.judged)

    @property
    def told(self) -> str:
        """The verdict, with the number of conditions that are shown where some are and some are not."""
        return told(self.verdict, self.states)


def told(verdict: str, states: Sequence[str]) -> str:
    """Return a verdict, with the number of conditions that are shown where some are and some are not."""
    number = states.count("shown")
    return f"{verdict} ({number} of {len(states)} shown)" if 0 < number < len(states) else verdict


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim that can be tried at this scale.

    Attributes:
        id: its name on the command line.
        claim: the claim in one sentence.
        group: the paper or authors of the claim.
        source: paper, version and place.
        fidelity: each remaining difference between the experiment and the paper's, a phrase each; empty: none.
        history: when the criterion was fixed, oldest first; the last entry is that of the present criterion.
        conditions: the criterion of an inference: all conditions on measured effects.
        proofs: names of the theorems and identities that stand in the column of proofs. Without conditions they decide; with
            conditions they are listed and decide nothing, unless one is refuted.
        arguments: why each identity among the proofs holds, in a phrase; theorems have their proof instead.
        reading: what a reader of the verdict must know beside it: what it rests on, where the reach limits it, what would
            mislead; whole sentences, or empty.
        method: the experiment in one or two sentences.
        design: what of the experiment decides the power, in words: the number of judged seeds and how rates are chosen. It is a
            part of the criterion, so that a change of it makes an earlier result one of an earlier criterion; empty for a claim
            whose results all come from one design.
        experiment: function from a Setting to the results, as in the paper; or `Cells`.
        draw: function from the tables to the figure of this arm.
        caption: the caption of the figure.
        reach: how far the claim reaches, over the variable that decides; None where nothing is varied.
        modules: name of an extra to the modules that the experiment imports from it.
        instruments: names in `theory.instruments.INSTRUMENTS` of what its conditions measure; each must pass its controls before
            the claim is judged.
        unjudged: why the conditions decide nothing, in one sentence; empty for a claim that they decide.
        unjudged_as: the verdict of such a claim: `withdrawn` if its instrument is not valid, `estimate` if its number depends on
            a choice that the source leaves open.
    """

    id: str
    claim: str
    group: str
    source: str
    fidelity: tuple[str, ...]
    history: tuple[Fixed, ...]
    method: str
    experiment: Callable[[Setting], Found] = field(compare=False)
    draw: "Callable[[Mapping[str, pd.DataFrame]], Figure]" = field(compare=False)
    caption: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    reading: str = ""
    design: str = ""
    conditions: tuple[Condition, ...] = ()
    proofs: tuple[str, ...] = ()
    reach: Reach | None = field(default=None, compare=False)
    modules: Mapping[str, str] = field(default_factory=dict)
    instruments: tuple[str, ...] = ()
    unjudged: str = ""
    unjudged_as: Literal["withdrawn", "estimate"] = "withdrawn"

    def __post_init__(self) -> None:
        if not (self.conditions or self.proofs or self.unjudged):
            raise ValueError(
                f"claim {self.id} must have conditions or proofs, got neither; or say why it is not judged (unjudged)."
            )
        names = [condition.name for condition in self.conditions]
        if twice := next((name for name in names if names.count(name) > 2), None):
            raise ValueError(f"claim {self.id} must judge every effect once, got {twice!r} three times; drop two.")
        if lost := next((name for name in self.arguments if name not in self.proofs), None):
            raise ValueError(
                f"arguments of {self.id} must be of its proofs {list(self.proofs)}, got one of {lost!r}; correct its name."
            )

    @property
    def criterion(self) -> dict[str, Any]:
        """The conditions as plain data, and in words."""
        return {
            "text": "; ".join(map(str, self.conditions)) or f"proved: {', '.join(self.proofs)}",
            "conditions": [condition.to_json() for condition in self.conditions],
            "proofs": list(self.proofs),
            "design": self.design,
        }

    @property
    def description(self) -> dict[str, Any]:
        """What is said about the claim and its experiment, as plain data."""
        return {
            "id": self.id,
            "claim": self.claim,
            "group": self.group,
            "source": self.source,
            "method": self.method,
            "reading": self.reading,
            "arguments": dict(self.arguments),
            "fidelity": list(self.fidelity),
            "history": [vars(entry) for entry in self.history],
        }

    def digest(self, setting: Setting = _FULL) -> str:
        """Return the fingerprint of what decides the verdict of a run: a result made under another criterion has another one.

        It covers the id, the size and seed of the run, what each condition measures, against which control, its null, its
        smallest effect and scale, the proofs, the design, and the constants of the rule (RULE). It does not cover prose (claim,
        source, method, caption, fidelity, arguments, reading, reasons), so that a sentence can be corrected without running the
        experiment again. It cannot cover the code of the experiment: whoever changes what is measured changes the name of the
        measure, or runs the claim again.

        Args:
            setting: size and seed of the run; those of the published table by default.

        Returns:
            16 hexadecimal digits.
        """
        conditions = sorted(
            [c.measure, c.control, float(c.null), float(c.effect), c.scale, c.absent] for c in self.conditions
        )
        decides = [self.id, setting.size, setting.seed, RULE, conditions, sorted(self.proofs)]
        decides += [self.design] if self.design else []
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]

    @property
    def is_fixed(self) -> bool:
        """Whether the history ends with the present criterion."""
        return bool(self.history) and self.history[-1].criterion == self.digest()

    def judge(self, found: Found, setting: Setting = _QUICK) -> Judgement:
        """Return the verdict, by the same rule for every claim.

        Inference (a claim with conditions; see `judge_conditions` for the states): all conditions are shown: `shown`. The
        opposite of all of them is shown: `opposite shown`. An effect of the named size is excluded in one of them, or its
        opposite is shown: `not shown`. None can be compared: `not comparable`. Else `inconclusive`. In a full run every condition
        needs LEAST_SEEDS seeds.

        Theorems (without conditions): `proved`, or `counter-example`; `inconclusive` while a proof is open. A counter-example to
        one of its proofs is the verdict of an inference too.

        A claim whose conditions decide nothing (`unjudged`) is `withdrawn` or an `estimate`, whatever was measured.

        Raises:
            ValueError: a number of a condition is missing or nothing in it is random, or a listed proof was not tried.
        """
        statements = [proof.statement for proof in found.proofs]
        if sorted(statements) != sorted(self.proofs):
            raise ValueError(
                f"experiment {self.id} must try the proofs {sorted(self.proofs)}, got {sorted(statements)}; correct one of them."
            )
        least = LEAST_SEEDS if setting.size == "full" else 0
        judged = judge_conditions(self.conditions, found.measured, least_seeds=least)
        if self.unjudged:
            return Judgement(self.unjudged_as, self.unjudged, judged)
        by_proofs = proofs_verdict(found.proofs) if found.proofs else ""
        if not judged or by_proofs == "counter-example":
            named = [p for p in found.proofs if p.state != "proved"] or found.proofs
            more = f"; and {len(named) - _MOST_REASONS} more" if len(named) > _MOST_REASONS else ""
            return Judgement(by_proofs, "; ".join(map(str, named[:_MOST_REASONS])) + more, judged)
        states = [one.state for one in judged]
        return Judgement(inference_verdict(states), inferred_reason(states, [str(one) for one in judged]), judged)


def inference_verdict(states: Sequence[str]) -> str:
    """Return the verdict on a claim that says that all of its conditions hold."""
    for unanimous in ("shown", "opposite shown", "not comparable"):
        if all(state == unanimous for state in states):
            return unanimous
    return "not shown" if {"not shown", "opposite shown"} & set(states) else "inconclusive"


def inferred_reason(states: Sequence[str], texts: Sequence[str]) -> str:
    """Return how many conditions are shown, and the texts of the first of the others."""
    rest = [text for state, text in zip(states, texts, strict=True) if state != "shown"]
    parts = [f"{len(states) - len(rest)} of {len(states)} conditions shown", *rest[:_MOST_REASONS]]
    more = len(rest) - _MOST_REASONS
    return "; ".join([*parts, f"and {more} more"] if more > 0 else parts)
