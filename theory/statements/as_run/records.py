"""What the records of the theorems about rules as they are run share: their builder, and a hypothesis on the settings."""

from collections.abc import Callable
from typing import Any

import numpy as np
import sympy as sp

from quadsim.theory.statements.proving import Step
from quadsim.theory.statements.steps import concludes, inside
from quadsim.theory.statements.theorem import Hypothesis, Theorem
from quadsim.theory.symbols import Symbol

__all__ = ["NO_DECAY", "as_run"]


def as_run(
    name: str,
    rules: tuple[str, ...],
    bound: sp.Expr,
    argument: Callable[[], tuple[Step, ...]],
    proved: sp.Expr | None = None,
    given: tuple[Any, ...] = (),
    *,
    kind: str = "horizon",
    quantity: sp.Expr | None = Symbol.gap,
    **fields: Any,
) -> Theorem:
    """Return a theorem whose proof ends in its own bound, by default a bound of gap_t at every step t.

    Args:
        name: its name.
        rules: names of the optimizers.
        bound: the bound, with its reduction over blocks or coordinates.
        argument: function that returns the steps of the proof.
        proved: what the proof gives for the bound inside its reduction, written otherwise than the bound where that is not a
            single symbol or number; None: that symbol or number. That a number is proved the derivation says alone.
        given: relations under which both are equal.
        kind: see `Theorem`.
        quantity: see `Theorem`; None: that of the kind.
        fields: the other fields of `Theorem`.

    Raises:
        ValueError: see `Theorem`; or a bound of several symbols without what the proof gives for it.
    """
    if proved is None and not inside(bound).is_Atom:
        raise ValueError(
            f"what is proved of {name} must be given for a bound with an expression, got {bound}; write proved=..., "
            "found apart from the bound."
        )

    def conclusion(found: sp.Expr) -> Step:
        return concludes(inside(found), inside(bound) if proved is None else proved, given)

    return Theorem(
        name=name,
        rules=rules,
        bound=bound,
        argument=argument,
        conclusion=None if proved is None and bound.is_number else conclusion,
        kind=kind,
        quantity=quantity,
        **fields,
    )


NO_DECAY = Hypothesis(
    "no weight decay",
    lambda run: np.asarray(run.settings.get("weight_decay", np.zeros(1)) == 0.0)[None, :],
    seen=lambda run: {"for the weight decay": run.settings.get("weight_decay", np.zeros(1))[None, :]},
    exactly=lambda problem, settings: settings.get("weight_decay", 0.0) == 0.0,
)
