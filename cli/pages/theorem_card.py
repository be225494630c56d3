"""The card of a theorem on a page: statement, relation that is checked, hypotheses, tightness, source."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from quadsim.cli.pages.page import Block, Card, Details, Facts, Formula, Verdict

if TYPE_CHECKING:
    from quadsim.theory import Theorem

__all__ = ["anchor", "kept_card", "known_theorems", "theorem_card"]

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
    theorem: "Theorem", blocks: tuple[Block, ...] = (), verdict: Verdict | None = None, last: tuple[Block, ...] = ()
) -> Card:
    """Return the card of a theorem; `blocks` follow the statement, `last` is at the end."""
    return _card(_texts(theorem), blocks, verdict, last)


def kept_card(name: str) -> Card:
    """Return the card of a theorem of this project from the cache, where a process before has made it.

    To derive one statement and to convert its formulas takes up to a second.
    """

    def make() -> dict[str, Any]:
        from quadsim.theory import THEOREMS

        return _texts(THEOREMS[name])

    return _card(_kept(f"card-{name}", make))


@cache
def known_theorems() -> dict[str, dict[str, list[str]]]:
    """Return all theorems of this project by name, in reading order: `rules` (empty: any) and the words of their `conditions`.

    From the cache, as `kept_card`.
    """

    def make() -> dict[str, Any]:
        from quadsim.theory import THEOREMS

        return {
            name: {"rules": list(one.rules), "conditions": [hypothesis.text for hypothesis in one.conditions]}
            for name, one in THEOREMS.items()
        }

    found: dict[str, dict[str, list[str]]] = _kept("theorems-of-rules", make)
    return found


def _kept(what: str, make: Callable[[], Any]) -> Any:
    from quadsim.simulator.support.kept import kept_document

    return kept_document(what, f"{what} {_sources()}", make)


@cache
def _sources() -> str:
    """Everything that cards are made of: the theorems, how their formulas are converted, and the libraries that do it."""
    from importlib.metadata import version

    from quadsim.simulator.support.provenance import source_digest

    wording = [Path(__file__), Path(__file__).with_name("formulas.py")]
    return repr([
        version("sympy"),
        version("latex2mathml"),
        source_digest(),
        *(path.read_text("utf-8") for path in wording),
    ])


def _texts(theorem: "Theorem") -> dict[str, Any]:
    """Return the texts of a card; `statement`, `checked` and the names in `symbols` are MathML."""
    from quadsim.cli.pages.formulas import as_checked, statement, symbols_of

    conditions = "; ".join(h.text for h in theorem.conditions) or "none beside a constant rate and no noise"
    return {
        "name": theorem.name,
        "statement": statement(theorem),
        "checked": as_checked(theorem),
        "symbols": symbols_of(theorem),
        "facts": [
            ("Holds for", ", ".join(theorem.rules) or "any rule"),
            ("Hypotheses", conditions),
            ("Attained", theorem.tight or "not known to be"),
            ("Source", theorem.source),
        ],
        "aside": f"{_SIDE[theorem.direction]} {_OF[theorem.kind]}",
    }


def _card(
    texts: dict[str, Any],
    blocks: tuple[Block, ...] = (),
    verdict: Verdict | None = None,
    last: tuple[Block, ...] = (),
) -> Card:
    symbols = tuple((Markup(name), meaning) for name, meaning in texts["symbols"])
    return Card(
        texts["name"],
        (
            Formula(Markup(texts["statement"])),
            *blocks,
            Facts(tuple((name, text) for name, text in texts["facts"])),
            Details(
                "What is compared with a run, and its symbols",
                (Formula(Markup(texts["checked"])), Facts(symbols)),
            ),
            *last,
        ),
        id=anchor(texts["name"]),
        verdict=verdict,
        aside=texts["aside"],
    )
