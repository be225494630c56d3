"""The rules that are changed, and the short runs on which a changed record or a changed rule must show."""

from functools import lru_cache

import sympy as sp

from quadsim.simulator.engines import simulate
from quadsim.simulator.problems.quadratic import BlockQuadratic
from quadsim.simulator.rules.rule import Rule
from quadsim.simulator.runs.trajectory import Trajectory
from quadsim.theory.statements.theorem import Theorem

__all__ = ["ANY", "OTHERS", "THEOREM_OF", "run_of"]

THEOREM_OF = {
    "gd": "gd-upper",
    "block-gd": "block-gd",
    "heavy-ball": "heavy-ball",
    "adam-frozen": "adam-frozen-exact",
    "gd-lambda": "gradient-rate",
    "sign-lambda": "sign-rate",
    "signsgd": "sign-constant",
    "adam": "adam-cycle",
    "signum": "signum-gap",
    "lion": "lion-gap",
}
OTHERS = ("rmsprop", "nesterov", "adam-mini", "normalized-gd", "adamw")


@lru_cache(maxsize=1)
def subject() -> BlockQuadratic:
    return BlockQuadratic.generate(blocks=2, block_size=2, heterogeneity=3, problems=2, seed=5)


ANY = Theorem(name="any", kind="horizon", bound=sp.Integer(10) ** 9)


def run_of(name: str, rule: Rule) -> Trajectory:
    """Return a short run of a rule at the rate of the rule with that name."""
    rates = {"block-gd": 1.0, "gd-lambda": 1.0, "sign-lambda": 1.0, "adam-frozen": 0.01}
    return simulate(
        subject(),
        rule,
        lr=rates.get(name, 0.05),
        steps=12,
        engine="reference",
        dtype="float64",
    )
