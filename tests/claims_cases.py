"""A claim that is made up, for the tests of judging and running."""

from dataclasses import replace

import pandas as pd

from quadsim.theory.claims import Claim, Condition, Fixed, Found, measured_median


def condition(measure: str = "it", **changes) -> Condition:
    """That 'it' is above 1, by 2 at the least."""
    return Condition(
        **({"measure": measure, "null": 1, "effect": 2, "because": "so claimed", "level": "made up"} | changes)
    )


def made_up(values=(), *more, **changes) -> Claim:
    """A claim that 'it' is above 1, whose experiment measures these values (and further measured numbers)."""
    claim = Claim(
        id="made-up",
        claim="It is above 1.",
        group="nobody",
        source="nowhere",
        fidelity=(),
        history=(),
        conditions=(condition(),),
        method="none",
        experiment=lambda setting: Found(
            [measured_median("it", values), *more], {"t": pd.DataFrame({"x": [1.0], "y": [1.0]})}
        ),
        draw=lambda tables: None,
        caption="",
    )
    claim = replace(claim, **changes)
    return replace(claim, history=(Fixed("2026-01-02", claim.digest(), "nothing"),))
