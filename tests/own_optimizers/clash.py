"""A rule with the name of a built-in one."""

from quadsim.simulator import Rule, symbols

ADAM = Rule(name="adam", step=-symbols.lr * symbols.g)
