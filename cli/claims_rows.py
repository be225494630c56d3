"""Rows of results of claims as the code judges them today: a stored verdict may rest on an earlier criterion."""

from collections.abc import Mapping
from typing import Any

from quadsim.theory.claims import CLAIMS, Setting
from quadsim.theory.claims.judging.claim import inference_verdict, inferred_reason, told
from quadsim.theory.claims.judging.conditions import DECISIVE, STATES, has_power, power_in_words
from quadsim.theory.claims.running.reproducing import in_reading_order

__all__ = ["as_judged_today", "entries_of", "is_told"]


def as_judged_today(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row as it is, but with the verdict of a claim that is judged otherwise since its run, or not judged any more."""
    row = _without_power_inconclusive(given)
    claim = CLAIMS.get(row["id"])
    if claim is None:
        return row
    if claim.unjudged:
        return row | {"verdict": claim.unjudged_as, "told": claim.unjudged_as, "reason": claim.unjudged}
    if row["criterion"]["hash"] != claim.digest(Setting(row["size"], row["seed"])):
        reason = f"the run of {row['made']['date']} was judged by an earlier criterion; it is to be run again"
        return row | {"verdict": "not run", "told": "not run", "reason": reason}
    return row


def _without_power_inconclusive(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with every condition inconclusive whose power is too small for the state that it was stored with."""
    conditions = [
        one
        if one["state"] not in DECISIVE or has_power(one["power"])
        else one
        | {
            "state": "inconclusive",
            "why": power_in_words(one["power"], one["seeds"], len(row["conditions"]), one["statistic"]),
        }
        for one in row["conditions"]
    ]
    if conditions == row["conditions"] or row["verdict"] not in STATES:  # the verdict of a proof stands
        return {**row, "conditions": conditions}
    states = [one["state"] for one in conditions]
    verdict = inference_verdict(states)
    texts = [f"{one['state']}: {one['text']} ({one['wanted']}; {one['why']})" for one in conditions]
    return {
        **row,
        "conditions": conditions,
        "verdict": verdict,
        "told": told(verdict, states),
        "reason": inferred_reason(states, texts),
    }


def is_told(entry: Mapping[str, Any]) -> bool:
    """Return whether the row has numbers that the page tells: of the present criterion, and of an instrument that is valid."""
    claim = CLAIMS.get(entry["id"])
    if claim is None or entry["verdict"] in ("not run", "withdrawn"):
        return False
    return bool(entry["criterion"]["hash"] == claim.digest(Setting(entry["size"], entry["seed"])))


def entries_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the rows of all claims by id: those of the document, and for the others that they have not been run."""
    rows = {entry["id"]: as_judged_today(entry) for entry in document["claims"]}
    missing: dict[str, Any] = {
        "verdict": "not run",
        "reason": "no full run yet",
        "conditions": [],
        "measured": [],
        "made": None,
    }
    return in_reading_order(rows | {name: missing | {"id": name} for name in CLAIMS if name not in rows})
