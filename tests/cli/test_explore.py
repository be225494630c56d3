"""The page of `quadsim explore`: its numbers agree with Python. They are computed by node, in the scripts that the page has."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from cases import BAD_EXPLORATIONS, own_file
from odd_rules import ODD
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.cli.pages.explore.bounds import bounds_of
from quadsim.cli.pages.explore.page import explore_html, numeric_source
from quadsim.simulator import RULES, BlockQuadratic, Norm, Rule, Total, load_optimizer_file, simulate, symbols
from quadsim.simulator.engines.javascript import javascript_source
from quadsim.simulator.rules.rule import BlockMean
from quadsim.theory import THEOREMS
from quadsim.theory.statements.quantities import evaluate, evaluate_along

STEPS = 50
DIALS = (
    {"heterogeneity": 30.0, "condition": 10.0, "alignment": None, "rotation": 1.0, "seed": 0},
    {"heterogeneity": 7.0, "condition": 3.0, "alignment": -0.4, "rotation": 0.3, "seed": 2**40 + 5},
    {"heterogeneity": 1.0, "condition": 2.0, "alignment": 0.5, "rotation": 0.0, "seed": 3},
)

OWN = (ODD, *load_optimizer_file(own_file("mine.py:AMSGRAD")))
NESTED = Rule(
    name="nested", step=-symbols.lr * symbols.g / Norm(symbols.g / BlockMean(abs(symbols.g))) * Total(symbols.w**2)
)

_DRIVER = """
const asked = JSON.parse(require("fs").readFileSync(0));
console.log(JSON.stringify(asked.map(({ dials, rule, lr, settings, names, batch, steps, bounds }) => {
  const problem = generate([3, 3, 3], dials), values = Object.values(settings);
  const drawn = batch ? samples(dials.seed, batch, steps, 9) : null;
  const v = valuesOf(problem, RULES[rule], lr, values, Object.keys(settings));
  const of = (name) => { const { curve, why } = boundOf([name], v, steps); return curve ? [...curve] : why; };
  const run = simulate(problem, RULES[rule], lr, values, steps, drawn);
  return { gap: [...run.gap], natural: RULES[rule].natural(problem.scales, values), bounds: bounds.map(of) };
})));
"""


@pytest.fixture(scope="module")
def node():
    """Runs the scripts of the page in node: a list of requests to a list of answers."""
    path = shutil.which("node")
    if path is None:
        pytest.skip("no node here; install Node.js to run the page's scripts outside a browser")
    source = numeric_source(own=(*OWN, NESTED)) + _DRIVER

    def run(asked):
        done = subprocess.run(
            [path, "-e", source], input=json.dumps(asked), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    return run


def problem_of(dials):
    alignment = dials["alignment"] if dials["heterogeneity"] > 1 else None
    return BlockQuadratic.generate(
        blocks=3,
        block_size=3,
        heterogeneity=dials["heterogeneity"],
        condition_number=dials["condition"],
        alignment=alignment,
        rotation=dials["rotation"],
        seed=dials["seed"],
    )


def asked(dials, rule, lr, batch=0, steps=STEPS, bounds=(), **settings):
    values = {name: float(value[0]) for name, value in rule.settings(lr, **settings).items() if name != "lr"}
    return {
        "dials": dials,
        "rule": rule.name,
        "lr": lr,
        "settings": values,
        "batch": batch,
        "steps": steps,
        "bounds": list(bounds),
    }


def rate(rule, problem):
    """Small rates: where a gradient passes through 0, the quotient by it amplifies the rounding of both sides."""
    if rule.name not in RULES:
        return 1e-4
    if symbols.L in rule.natural_lr.free_symbols:
        return 0.2 / float(problem.block_smoothness.max())
    return 0.05 if rule.default_lr else 0.01


def test_every_rule_runs_as_in_python(node):
    """On the problem of the same dials and seed, with the full gradient and, rules in turn, with the samples of a stream."""
    rules = [*RULES.values(), *OWN, NESTED]
    jobs = [(dials, rule, 0) for dials in DIALS for rule in rules]
    jobs += [(DIALS[number % len(DIALS)], rule, 3) for number, rule in enumerate(rules)]
    problems = {json.dumps(dials): problem_of(dials) for dials in DIALS}
    answers = node([asked(dials, rule, rate(rule, problems[json.dumps(dials)]), batch) for dials, rule, batch in jobs])
    for (dials, rule, batch), answer in zip(jobs, answers, strict=True):
        oracle = f"stream:batch={batch}" if batch else "full"
        problem = problems[json.dumps(dials)]
        run = simulate(
            problem, rule, lr=rate(rule, problem), steps=STEPS, engine="reference", record="all", oracle=oracle
        )
        np.testing.assert_allclose(answer["gap"], run.gap[0, 0], rtol=1e-10, err_msg=f"{rule.name} {dials} {batch}")


def test_bounds_are_those_of_the_theorems(node):
    """Their values, and which hypotheses hold."""
    dials = DIALS[1]
    problem, jobs = problem_of(dials), []
    L, mu = problem.block_smoothness.max(), problem.block_strong_convexity.min()
    best = {"lr": 4 / (L**0.5 + mu**0.5) ** 2, "momentum": ((L**0.5 - mu**0.5) / (L**0.5 + mu**0.5)) ** 2}
    for rule in RULES.values():
        names = [name for side in bounds_of(rule).values() for name in side]
        for settings in [{"lr": 0.02}, {"lr": 3.0}, *([best] if rule.name == "heavy-ball" else [])]:
            jobs += [(rule, names, settings)] if names else []
    answers = node([asked(dials, rule, **settings, bounds=names) for rule, names, settings in jobs])
    held = set()
    for (rule, names, settings), answer in zip(jobs, answers, strict=True):
        run = simulate(problem, rule, **settings, steps=STEPS, record="all")
        for name, curve in zip(names, answer["bounds"], strict=True):
            theorem = THEOREMS[name]
            assert theorem.applies(run)[0, 0] == isinstance(curve, list), (name, settings, curve)
            if not isinstance(curve, list):
                assert f"{name} needs: " in curve
                continue
            held.add(name)
            if theorem.is_factor:
                wanted = run.gap[0, 0, 0] * evaluate(theorem.bound, run)[0, 0] ** np.arange(STEPS + 1)
            else:
                relative = "gap_0" in map(str, theorem.quantity.free_symbols)
                wanted = evaluate_along(theorem.bound, run)[0, 0] * (run.gap[0, 0, 0] if relative else 1.0)
            finite = np.isfinite(wanted) & (wanted < 1e11)
            np.testing.assert_allclose(
                np.array(curve, float)[1:][finite[1:]], wanted[1:][finite[1:]], rtol=1e-9, err_msg=name
            )
    assert held == {name for rule in RULES.values() for side in bounds_of(rule).values() for name in side}


def test_natural_rates(node):
    """Those of the sweep at the same dials."""
    from quadsim.simulator import SweepConfig

    dials = DIALS[0]
    config = SweepConfig(
        heterogeneity=(30,), condition_number=10, blocks=3, block_size=3, tolerance=1e-6, optimizers=tuple(RULES)
    )
    answers = node([asked(dials, rule, 0.1, steps=1) for rule in RULES.values()])
    wanted = [config.points[0].natural_lr(spec, 1e-6) for spec in config.specs]
    np.testing.assert_allclose([answer["natural"] for answer in answers], wanted, rtol=1e-12)


def test_names_of_a_rule_do_not_reach_the_script():
    """Neither the name of a rule nor that of a symbol can end the script or run as code."""
    evil = Rule(
        name="</script><b>", step=-symbols.lr * symbols.g, summary="</script>", hyperparameters=ODD.hyperparameters
    )
    assert "</script" not in javascript_source([evil, ODD])
    assert "import os" not in javascript_source([evil, ODD])
    page = explore_html([], own=[evil])
    assert page.count("</script>") == 1


def test_two_rules_of_one_name_are_refused():
    with pytest.raises(ValueError, match="rules must differ in name, got 'gd' twice"):
        javascript_source([RULES["gd"], RULES["gd"]])


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, ["explore", *arguments], catch_exceptions=False)


def test_the_command_writes_one_file(command, tmp_path):
    result = command("--optimizer-file", own_file("mine.py"), "--optimizers", "gd,my-amsgrad:beta1=0", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found == {
        "page": str(tmp_path / "explore.html"),
        "optimizers": ["gd", "my-amsgrad:beta1=0"],
        "left_out": ["MyNAdam"],
    }
    assert "Left out: MyNAdam, a torch class" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["explore.html"]
    text = (tmp_path / "explore.html").read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", text), "nothing from outside the file"


def test_a_file_that_is_no_page_is_not_replaced(command, tmp_path):
    (tmp_path / "mine.py").write_text("my work")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.html").symlink_to("nowhere")
    for name in ("mine.py", "folder", "link.html"):
        result = command("--out", name)
        assert (result.exit_code, result.stdout) == (2, "")
        assert re.fullmatch(
            rf"Error: out must be a new file or an earlier page of quadsim explore, got .*{name}, .*; name another\.\n",
            result.stderr,
        )
    assert (tmp_path / "mine.py").read_text() == "my work"
    (tmp_path / "page.html").write_text("<html><title>Explore: an older page</title>")
    assert command("--out", "page.html").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"), BAD_EXPLORATIONS, ids=lambda x: " ".join(x) if isinstance(x, list) else ""
)
def test_bad_input_is_one_line(command, tmp_path, arguments, message):
    result = command(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.strip().splitlines()) == 1
    assert re.search(message, result.stderr), result.stderr
    assert list(tmp_path.iterdir()) == []
