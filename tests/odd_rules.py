"""A rule that uses everything that the generators know, and the built-in rules that they take."""

import sympy as sp

from quadsim.simulator import RULES, Rule, symbols
from quadsim.simulator.rules.rule import BlockMean, Ratio

g, w, lr, L_l = symbols.g, symbols.w, symbols.lr, symbols.L_l
SEPARABLE = [name for name, rule in RULES.items() if not rule.is_global]

a, b = sp.symbols("lambda range", real=True)  # names that are no identifiers, or shadow one
u = sp.Symbol("u", nonnegative=True)
beta, t = sp.symbols("beta_1 t", positive=True)
odd = sp.Symbol("odd name; import os", real=True)
ODD = Rule(
    name="odd",
    update={
        a: beta * a + (1 - beta) * g / sp.sqrt(L_l * BlockMean(g**2)),
        b: sp.Max(b, BlockMean(sp.Abs(a - BlockMean(a))), u),
    },
    start={a: g / L_l, b: BlockMean(g**2)},
    clocks={t: t * beta},
    step=-lr / L_l * sp.tanh(a) * sp.exp(-odd) / (1 - t) - lr * BlockMean(a**2) * Ratio(a * u / L_l, b * L_l)
    + lr * BlockMean(beta) * w**3 - lr * L_l * sp.Min(sp.log(1 + g**2), b) + lr * sp.sign(g) * sp.Abs(g) ** sp.Rational(1, 3),
    hyperparameters={beta: 0.9, u: 0.1, odd: 0.3},
)  # fmt: skip
