"""The card of a theorem on a page: statement, relation that is checked, hypotheses, tightness, source."""

from quadsim.cli.pages.formulas import as_checked, statement, symbols_of
from quadsim.cli.pages.page import Block, Card, Details, Facts, Formula, Verdict
from quadsim.theory import Theorem

__all__ = ["anchor", "theorem_card"]

_SIDE = {"upper": "an upper bound", "lower": "a lower bound", "equal": "an equality"}
_OF = {
    "per step": "on the factor from one gap to the next",
    "existence": "on the factor from one gap to the next, claimed at a witness",
    "horizon": "at step t",
    "complexity": "on the number of steps",
    "identity": "along the run",
    "expectation": "in the mean over the noise",
}


def anchor(name: str) -> str:
    """Return the id of a theorem on its page."""
    return f"theorem-{name}"


def theorem_card(
    theorem: Theorem, blocks: tuple[Block, ...] = (), verdict: Verdict | None = None, last: tuple[Block, ...] = ()
) -> Card:
    """Return the card of a theorem; `blocks` follow the statement, `last` is at the end."""
    conditions = "; ".join(h.text for h in theorem.conditions) or "none beside a constant rate and no noise"
    facts = (
        ("Holds for", ", ".join(theorem.rules) or "any rule"),
        ("Hypotheses", conditions),
        ("Attained", theorem.tight or "not known to be"),
        ("Source", theorem.source),
    )
    return Card(
        theorem.name,
        (
            Formula(statement(theorem)),
            *blocks,
            Facts(facts),
            Details(
                "What is compared with a run, and its symbols",
                (Formula(as_checked(theorem)), Facts(symbols_of(theorem))),
            ),
            *last,
        ),
        id=anchor(theorem.name),
        verdict=verdict,
        aside=f"{_SIDE[theorem.direction]} {_OF[theorem.kind]}",
    )
