"""Rules as straight-line programs: evaluated in plain numpy they are the rule, and little is left per coordinate."""

import subprocess
import sys

import numpy as np
import pytest
import sympy as sp
from odd_rules import ODD, SEPARABLE, a, u

from quadsim.simulator import RULES, BlockQuadratic, Rule, simulate, symbols
from quadsim.simulator.engines.kernels.cpu_source import cpu_source
from quadsim.simulator.engines.kernels.lowering import program, why_no_program
from quadsim.simulator.engines.kernels.printer import ExpressionPrinter
from quadsim.simulator.rules.rule import BlockMean, Ratio, Total

g, w, lr, L_l = symbols.g, symbols.w, symbols.lr, symbols.L_l


def ratio(a, b):
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=np.not_equal(a, 0))


FUNCTIONS = {
    "ratio": ratio, "sign": np.sign, "absolute": np.abs, "exp": np.exp, "log": np.log, "tanh": np.tanh,
    "maximum": np.maximum, "minimum": np.minimum, "sqrt": np.sqrt, "power": np.power,
}  # fmt: skip


def assign(assignments, names):
    for assignment in assignments:
        names[str(assignment.name)] = value(assignment.value, names)


def value(expression, names):
    return eval(ExpressionPrinter().doprint(expression), {"__builtins__": {}}, FUNCTIONS | names)


def run_phases(phases, names):
    for phase in phases:
        assign(phase.block, names)
        before = dict(names)
        assign(phase.coordinate, names)
        for mean in phase.means:
            before[str(mean.name)] = np.mean(value(mean.value, names))
        if phase.means:
            names.clear()
            names.update(before)  # a phase hands on its means, never a coordinate value


def interpret(rule, gradients, iterates, block, settings):
    """What a rule adds to the iterate of one block, step by step, by its program; gradients and iterates (steps, P_l)."""
    made = program(rule)
    own = {str(s): settings[str(k)] for s, k in zip(made.hyperparameters, rule.hyperparameters, strict=True)}
    fixed = {**own, "L_l": block[0], "mu_l": block[1]}
    assign(made.once, fixed)
    assign(made.per_block, fixed)
    names = {**fixed, "g": gradients[0]}
    run_phases(made.start, names)
    states = {str(s): value(made.started[s], names) for s in (*made.states, *made.block_states)}
    assert all(np.ndim(states[str(s)]) == 0 for s in made.block_states)
    clocks = {str(c.name): 1.0 for c in made.clocks}
    out = []
    for gradient, iterate in zip(gradients, iterates, strict=True):
        clocks = {str(c.name): value(c.value, fixed | clocks) for c in made.clocks}
        names = {**fixed, **clocks, "lr": settings["lr"]}
        assign(made.step, names)
        names |= {**states, "g": gradient, "w": iterate}
        run_phases(made.advance, names)
        out.append(np.broadcast_to(value(made.increment, names), gradient.shape))
        states = {name: value(made.advanced[s], names) for s in made.advanced for name in [str(s)]}
    return np.array(out)


def direct(rule, gradients, iterates, block, settings):
    """The same from the expressions of the rule as they stand."""
    own = {k: settings[str(k)] for k in rule.hyperparameters} | {L_l: block[0], symbols.mu_l: block[1]}

    def evaluate(expression, names):
        if isinstance(expression, BlockMean):
            return np.mean(evaluate(expression.args[0], names))
        if isinstance(expression, Ratio):
            return ratio(*(evaluate(a, names) for a in expression.args))
        if expression.has(BlockMean, Ratio):
            inner = [sp.Dummy() for _ in expression.args]
            values = {d: evaluate(a, names) for d, a in zip(inner, expression.args, strict=True)}
            return sp.lambdify(inner, expression.func(*inner), modules="numpy")(*values.values())
        return sp.lambdify(list(names), expression, modules="numpy")(*names.values())

    start = {**own, g: gradients[0]}
    states = {s: evaluate(rule.start.get(s, sp.S.Zero), start) + 0 * gradients[0] for s in rule.states}
    clocks = dict.fromkeys(rule.clocks, 1.0)
    out = []
    for gradient, iterate in zip(gradients, iterates, strict=True):
        clocks = {c: evaluate(e, {**own, **clocks}) for c, e in rule.clocks.items()}
        names = {**own, **clocks, lr: settings["lr"], g: gradient, w: iterate}
        new = {s: evaluate(e, names | states) for s, e in rule.update.items()}
        out.append(np.broadcast_to(evaluate(rule.step, names | new), gradient.shape))
        states = {s: new[s] for s in rule.states}
    return np.array(out)


MEMORY = Rule(name="first", update={a: a}, start={a: g}, step=-lr * Ratio(g * u, a) * L_l, hyperparameters={u: 0.0})


@pytest.mark.parametrize("rule", [*(RULES[name] for name in SEPARABLE), ODD, MEMORY], ids=lambda rule: rule.name)
def test_a_program_is_its_rule(rule):
    rng = np.random.default_rng(0)
    gradients, iterates = rng.standard_normal((2, 7, 5))
    gradients[3, 1] = gradients[0, 2] = 0.0
    settings = {name: 0.25 if name == "lr" else 0.6 for name in rule.names}
    block = (2.5, 0.5)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = interpret(rule, gradients, iterates, block, settings)
        np.testing.assert_allclose(found, direct(rule, gradients, iterates, block, settings), rtol=1e-12)


def test_what_does_not_depend_on_the_coordinate_leaves_its_loop():
    adam = program(RULES["adam"])
    (phase,) = adam.advance
    assert [str(x) for x in phase.coordinate] == [
        "m_new = beta1*m + g*once0",
        "v_new = beta2*v + g**2*once1",
        "increment = step1*(m_new/(eps + step0*sqrt(v_new)))",
    ]
    assert {str(x) for x in adam.step} == {"step0 = sqrt(1/(1 - p2))", "step1 = -lr/(1 - p1)"}
    assert {str(x) for x in adam.once} == {"once0 = 1 - beta1", "once1 = 1 - beta2"}


def test_a_state_that_sees_the_block_through_means_is_kept_once():
    mini = program(RULES["adam-mini"])
    assert [str(s) for s in mini.states] == ["m"]
    assert [str(s) for s in mini.block_states] == ["v"]
    assert not any(x.value.has(sp.sqrt) for phase in mini.advance for x in phase.coordinate)


def test_common_subexpressions_are_computed_once():
    root = sp.sqrt(g**2 + u)
    rule = Rule(name="shared", update={a: a / 2 + root}, step=-lr * (root + a), hyperparameters={u: 1.0})
    (phase,) = program(rule).advance
    assert sum(x.value.count(sp.Pow(sp.Wild("x"), sp.S.Half)) for x in phase.coordinate) == 1


def test_a_factor_that_may_be_zero_stays_in_the_ratio():
    (phase,) = program(MEMORY).advance
    assert "g*u/lambda" in str(phase.coordinate[-1]) or "(g*u)/state" in str(phase.coordinate[-1])


def test_names_are_identifiers_and_no_text_of_the_user_reaches_the_source():
    source = cpu_source(ODD, [3, 9])
    assert "import os" not in source
    compile(source, "odd", "exec")
    names = {str(s) for s in (*program(ODD).hyperparameters, *program(ODD).advanced)}
    assert names == {"beta_1", "u", "setting20", "state00", "state10"}


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (RULES["normalized-gd"], "normalized-gd needs the whole gradient at once"),
        (
            Rule(name="summed", step=-lr * g, start={a: Total(g)}, update={a: a}),
            "summed needs the whole gradient at once",
        ),
        (Rule(name="imaginary", step=-lr * g * sp.I), "imaginary uses ImaginaryUnit, which has no scalar code"),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_a_rule_without_a_program_says_why(rule, reason):
    assert why_no_program(rule) == reason


def test_the_source_is_the_same_in_every_process():
    """It is the key of what is compiled; sets of symbols are ordered by their hashes, which differ."""
    names = ("adamw", "adam-mini", "lion")
    code = (
        "from quadsim.simulator import RULES; from quadsim.simulator.engines.kernels.cpu_source import cpu_source;"
        f"print(''.join(cpu_source(RULES[n], [3]) for n in {names}))"
    )
    environment = {"PYTHONHASHSEED": "1"}
    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert other.stdout == "".join(cpu_source(RULES[name], [3]) for name in names) + "\n"


def test_a_rule_s_name_cannot_end_the_text_it_stands_in():
    from quadsim.simulator.engines.kernels.gpu_source import gpu_source

    hostile = Rule(name='x"""\nraise SystemExit\n"""', step=-symbols.lr * sp.sign(symbols.g))
    harmless = Rule(name="x", step=hostile.step)
    for make in (cpu_source, gpu_source):
        first, *rest = make(hostile, (3,)).splitlines()
        assert first.count('"""') == 2
        assert rest == make(harmless, (3,)).splitlines()[1:]
    problem = BlockQuadratic.generate(block_size=3)
    assert simulate(problem, hostile, lr=0.1, steps=3, engine="fused").engine == "fused"
