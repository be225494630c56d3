"""Optimizers of the user's: from a file, from Python, and from what a folder stores of them."""

import json
from importlib.metadata import version

import pytest
import torch

from quadsim.simulator import RULES, BlockQuadratic, Rule, load_optimizer_file, simulate, simulate_torch, symbols
from quadsim.simulator.engines import simulate_optimizer
from quadsim.simulator.rules import torch_classes
from quadsim.simulator.rules.optimizer import OptimizerSpec, resolve_optimizer
from quadsim.simulator.rules.rule_text import rule_to_document
from quadsim.simulator.rules.torch_classes import TorchOptimizer

OWN = """
from dataclasses import replace
import sympy as sp
import torch
from torch.optim import Adam  # of another module, and so not offered
from quadsim.simulator import RULES, Rule, Ratio, symbols

BUILT_IN = RULES["gd"]  # not offered, either
g, lr = symbols.g, symbols.lr
m, v = sp.symbols("m v", real=True)
largest, p1, p2 = sp.symbols("largest p1 p2", positive=True)
beta1, beta2, eps = sp.symbols("beta1 beta2 eps", nonnegative=True)
second = beta2 * v + (1 - beta2) * g**2
AMSGRAD = Rule(
    name="my-amsgrad",
    clocks={p1: beta1 * p1, p2: beta2 * p2},
    update={m: beta1 * m + (1 - beta1) * g, v: second, largest: sp.Max(largest, second)},
    step=-lr * Ratio(m / (1 - p1), sp.sqrt(largest / (1 - p2)) + eps),
    hyperparameters={beta1: 0.9, beta2: 0.999, eps: 1e-8},
)
AGAIN = AMSGRAD


class Halved(torch.optim.SGD):
    def __init__(self, params, lr, share=0.5, betas=(0.9, 0.99), twice=False, foreach=None):
        if not 0 < share <= 1:
            raise ValueError(f"share must be in (0, 1]: {share}")
        super().__init__(params, lr=lr * share * (2 if twice else 1), momentum=betas[0])
        for group in self.param_groups:  # a rate of its own group is scaled as well
            group["lr"] = group["lr"] if len(self.param_groups) == 1 else group["lr"] * share * (2 if twice else 1)


CONSTANT = 3
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


def test_a_file_offers_its_rules_and_classes(own):
    rule, halved = load_optimizer_file(own)
    assert isinstance(rule, Rule)
    assert rule.name == "my-amsgrad"
    assert isinstance(halved, TorchOptimizer)
    assert (halved.name, halved.qualified_name, halved.package) == ("Halved", "mine.py:Halved", "")
    assert halved.hyperparameters == {"share": 0.5, "beta1": 0.9, "beta2": 0.99, "twice": False}
    assert load_optimizer_file(f"{own}:Halved") == (halved,)
    assert load_optimizer_file(f"{own}:Adam")[0].loaded is torch.optim.Adam  # by its name also what is imported
    *_, adam = more = load_optimizer_file(own, {"Adam", "gd", "SGD", "BUILT_IN"})
    assert [one.name for one in more] == ["my-amsgrad", "Halved", "Adam"]
    assert adam == load_optimizer_file(f"{own}:Adam")[0]
    assert load_optimizer_file(f"{own}:AGAIN")[0].name == "my-amsgrad"
    (tmp := own.with_name("other.py")).write_text(OWN + "\n# another\n")
    assert load_optimizer_file(f"{tmp}:Halved")[0].source_hash != halved.source_hash


BAD = {  # what is in the file (None: there is none), what is asked for, and what the line says
    "no file": (None, "mine.py", r"must be a file that can be read, got '.*mine.py' \(No such file or directory\)"),
    "another suffix": (None, "mine.txt", r"must be FILE.py or FILE.py:NAME, got '.*mine.txt'"),
    "no text": (b"\xff\xfe", "mine.py", r"must be a file that can be read, got .* \(not text\)"),
    "raises": ("import math\n\nmath.sqrt(-1)\n", "mine.py", r"got ValueError: .* in line 3 of .*mine.py; correct it"),
    "raises in what it calls": ("import json\n\n\njson.loads('{')", "mine.py", r"JSONDecodeError: .* in line 4 of .*mine.py"),
    "no Python": ("x = (\n", "mine.py", r"got SyntaxError: .* in line 1 of .*mine.py"),
    "a module that is missing": ("import no_such_module", "mine.py", r"got ModuleNotFoundError: .* in line 1 of"),
    "exits": ("raise SystemExit(3)", "mine.py", r"got SystemExit: 3 in line 1 of"),
    "nothing": ("import torch\nx = 3\n", "mine.py", r"must define a Rule or a class .*, got none in .*mine.py; define one"),
    "no such name": (OWN, "mine.py:Halve", r"must define Halve, got AMSGRAD, AGAIN, Halved; name one of these"),
    "an empty name": (OWN, "mine.py:", r"must define a name after the colon, got AMSGRAD"),
    "no optimizer": (OWN, "mine.py:CONSTANT", r"CONSTANT of .*mine.py must be a Rule or a class .*, got int"),
    "an instance": (
        "import torch\nA = torch.optim.SGD([torch.zeros(1)], lr=1.0)", "mine.py:A", r"A of .* must be a Rule .*, got SGD",
    ),
    "a name of ours": (
        "from quadsim.simulator import Rule, symbols\nA = Rule(name='adam', step=-symbols.g)", "mine.py",
        r"must not be that of a built-in one, got 'adam'; rename it, as my-adam",
    ),
    "a name with a colon": (
        "from quadsim.simulator import Rule, symbols\nA = Rule(name='a:b', step=-symbols.g)", "mine.py",
        r"must be printable, without : , = or \|, got 'a:b'",
    ),
    "a name twice": (
        "from quadsim.simulator import Rule, symbols\nA, B = (Rule(name='a', step=-k * symbols.g) for k in (1, 2))", "mine.py",
        r"must differ in name, got 'a' twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_file_is_said_in_one_line(case, tmp_path):
    text, asked, message = BAD[case]
    if text is not None:
        (tmp_path / "mine.py").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message) as error:
        load_optimizer_file(tmp_path / asked)
    assert "\n" not in str(error.value)


def stored(spec, own=()):
    return OptimizerSpec.from_document(json.loads(json.dumps(spec.to_document())), own)


def test_amsgrad_in_a_file_is_ours_and_runs_from_its_text(own):
    (rule,) = load_optimizer_file(f"{own}:AMSGRAD")
    spec = OptimizerSpec.parse("my-amsgrad:beta1=0.5", [rule])
    own.unlink()
    again = stored(spec)
    assert again.label == "my-amsgrad:beta1=0.5"
    assert again.rule is not rule
    problem = BlockQuadratic.generate(heterogeneity=10, problems=2)
    runs = [simulate_optimizer(problem, s, lr=[0.1, 0.2], steps=50, record="log") for s in (spec, again)]
    ours = simulate(problem, "amsgrad", beta1=0.5, lr=[0.1, 0.2], steps=50, record="log")
    assert (runs[0].gap == ours.gap).all()
    assert (runs[1].gap == ours.gap).all()


def test_a_class_from_a_file_is_a_record_where_the_file_is_not_given(own, monkeypatch):
    loaded = load_optimizer_file(own)
    spec = OptimizerSpec.parse("Halved:share=0.25:beta1=0:twice=1", loaded)
    problem = BlockQuadratic.generate(heterogeneity=10, problems=2)
    run = simulate_optimizer(problem, spec, lr=[0.1, 0.2], steps=20)
    gd = simulate(problem, "gd", lr=[0.05, 0.1], steps=20, engine="reference")
    assert abs(run.gap / gd.gap - 1).max() < 1e-9
    assert stored(spec).optimizer.loaded is loaded[1].loaded  # given in this process
    monkeypatch.setattr(torch_classes, "_GIVEN", {})
    record = stored(spec)
    assert record.is_torch
    assert (record.label, record.hyperparameters) == (spec.label, spec.hyperparameters)
    assert record.natural_lr({"error_scale": 1.0}) == pytest.approx(0.1)
    with pytest.raises(
        ValueError, match=r"Halved must be loaded to be run, got its record alone \(mine.py:Halved, source"
    ):
        simulate_optimizer(problem, record, lr=0.1, steps=2)
    with pytest.raises(ValueError, match="must be a rule here, got the torch class Halved"):
        _ = record.rule
    assert stored(spec, loaded).optimizer.loaded is loaded[1].loaded
    own.write_text(OWN + "\n# changed\n")
    with pytest.raises(ValueError, match="Halved must have the source that was stored"):
        stored(spec, load_optimizer_file(own))


def test_a_class_of_torch_is_stored_by_name_version_and_source():
    spec = resolve_optimizer(torch.optim.NAdam)
    document = spec.to_document()
    assert document["class"]["qualified_name"] == "torch.optim.NAdam"
    assert document["class"]["version"] == version("torch")
    assert stored(spec).optimizer.loaded is torch.optim.NAdam
    for part in (
        {"version": "1.0"},
        {"source_hash": "0" * 64},
        {"qualified_name": "os.system"},
        {"qualified_name": "torch.optim.os"},
    ):
        other = {"label": "NAdam", "class": document["class"] | part}
        assert OptimizerSpec.from_document(other).optimizer.loaded is None
    problem = BlockQuadratic.generate(heterogeneity=10, problems=3)
    run = simulate_optimizer(problem, stored(spec), lr=[0.01, 0.02], steps=20, record="log")
    assert (run.gap == simulate_torch(problem, torch.optim.NAdam, lr=[0.01, 0.02], steps=20, record="log").gap).all()
    assert run.engine == "torch, elementwise"


def test_anything_that_names_an_optimizer_is_resolved():
    rule = Rule(name="mine", step=-symbols.lr * symbols.g)
    spec = resolve_optimizer("adam:beta1=0")
    assert resolve_optimizer(spec) is spec
    assert stored(spec) == spec
    assert spec.to_document() == "adam:beta1=0"
    assert resolve_optimizer(rule).rule is rule
    assert resolve_optimizer(RULES["adam"]).to_document() == "adam"
    assert resolve_optimizer("mine", [rule]).rule is rule
    assert resolve_optimizer(TorchOptimizer.of(torch.optim.SGD)).label == "SGD"


@pytest.mark.parametrize(("value", "message"), [
    (3, "optimizer must be a name, a Rule or a class derived from torch.optim.Optimizer, got 3"),
    (torch.optim.Optimizer, "optimizer must be a name, a Rule or a class"),
    (dict, "optimizer must be a name, a Rule or a class"),
    ("NAdm", "optimizer must be one of .* got 'NAdm'; did you mean 'nadam'"),
    (Rule(name="adam", step=-symbols.g), "must not be that of a built-in one, got 'adam'"),
    ({"label": "x"}, "stored optimizer must be a label, or a mapping"),
    ({"label": "x", "rule": {}}, "document of a rule must have"),
    ({"label": "x", "class": {"name": "x"}}, "document of a torch class must have the keys"),
    ({"label": "x", "rule": rule_to_document(RULES["adam"])}, "must not be that of a built-in one, got 'adam'"),
], ids=str)  # fmt: skip
def test_what_names_no_optimizer_is_refused(value, message):
    with pytest.raises(ValueError, match=message) as error:
        resolve_optimizer(value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("text", "message"), [
    ("Adam:beta3=0", "hyperparameter of Adam must be one of .* got 'beta3'"),
    ("Adam:beta1=2", "optimizer must make one from .*, got Invalid beta parameter at index 0: 2.0; look at its arguments"),
    ("Adam:amsgrad=2", "amsgrad of Adam must be 0 or 1, got 2"),
    ("Adam:foreach=1", "hyperparameter of Adam must be one of"),
    ("Adam:eps=x", "eps of Adam must be a number"),
])  # fmt: skip
def test_hyperparameters_of_a_class_are_checked(text, message):
    with pytest.raises(ValueError, match=message):
        resolve_optimizer(text, [TorchOptimizer.of(torch.optim.Adam)])


def test_a_class_that_needs_a_closure_is_refused_before_a_run():
    spec = resolve_optimizer(torch.optim.LBFGS)
    with pytest.raises(ValueError, match="must take steps without a closure, got LBFGS"):
        spec.check([0.1], "float64")
    with pytest.raises(ValueError, match="engine for the torch class SGD must be auto, got 'fused'"):
        simulate_optimizer(
            BlockQuadratic.generate(heterogeneity=2), resolve_optimizer(torch.optim.SGD), lr=1, steps=1, engine="fused"
        )


@pytest.mark.parametrize(("optimizer", "values", "momentum"), [
    (torch.optim.SGD, {}, False), (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}, True),
    (torch.optim.Adam, {}, True), (torch.optim.Adam, {"beta1": 0}, False), (torch.optim.NAdam, {}, True),
    (torch.optim.AdamW, {"beta1": 0}, False), (torch.optim.Adagrad, {}, False), (torch.optim.RMSprop, {"alpha": 0.9}, False),
])  # fmt: skip
def test_momentum_of_a_class_is_seen_at_a_zero_gradient(optimizer, values, momentum):
    assert TorchOptimizer.of(optimizer).has_momentum(values) is momentum
