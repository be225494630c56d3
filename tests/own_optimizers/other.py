"""Another rule with the name of that in mine.py."""

from quadsim.simulator import Rule, symbols

OTHER = Rule(name="my-amsgrad", step=-symbols.lr * symbols.g)
