"""Steps of a stack: the update in one pass, several steps together, compiled and captured ones."""

import numpy as np
import pytest
import torch

from quadsim.simulator.engines.kernels.update_source import FusedUpdate, why_no_update
from quadsim.simulator.models import Induction, TokenMap, ToyProblem, Transformer
from quadsim.simulator.models.transformer import _mix, _mix_few
from quadsim.simulator.rules.catalogue import RULES
from quadsim.simulator.training import found, stepping
from quadsim.simulator.training.loop import train
from quadsim.simulator.training.stepping import Stepper, _TorchUpdate, together, why_not_compiled

SMALL = ToyProblem.generate(Transformer(width=4, layers=1), TokenMap(vocabulary=6), problems=2)
BATCHES = ToyProblem.generate(Transformer(width=4, layers=1), TokenMap(vocabulary=6, batch=2), problems=2)
FUSED = [name for name, rule in RULES.items() if why_no_update(rule) is None]


def settings_of(rule, instances, dtype=torch.float64):
    values = np.array([np.repeat(v, instances) for v in RULES[rule].settings(0.01).values()]).T
    values[:, 0] = np.geomspace(1e-3, 1e-1, instances)
    return torch.tensor(values, dtype=dtype)


def draws(instances, size, dtype=torch.float64):
    generator = torch.Generator().manual_seed(3)
    theta, *gradients = torch.randn(5, instances, size, generator=generator, dtype=dtype)
    for gradient in gradients:
        gradient[:, ::5] = 0.0
    return theta, gradients


def test_which_rules_are_updated_in_one_pass():
    assert {"gd", "adam", "signsgd", "lion", "adamw"} <= set(FUSED)
    assert why_no_update(RULES["adam-mini"]) == "adam-mini averages over blocks"
    assert why_no_update(RULES["normalized-gd"]) == "normalized-gd needs the whole gradient at once"
    assert why_no_update(RULES["block-gd"]) == "block-gd needs the curvature of blocks"


@pytest.mark.parametrize(
    ("rule", "dtype"), [*((rule, torch.float64) for rule in FUSED), ("adam", torch.float32)], ids=str
)
def test_one_pass_agrees_with_the_torch_function(rule, dtype):
    theta, gradients = draws(3, 37, dtype)
    ours, theirs, step = theta.clone(), theta.clone(), torch.empty_like(theta)
    fused = FusedUpdate(RULES[rule], settings_of(rule, 3, dtype), ours)
    readable = _TorchUpdate(RULES[rule], settings_of(rule, 3, dtype), SMALL.partition("module"), compile=False)
    rtol = 1e-12 if dtype == torch.float64 else 1e-5
    for t, gradient in enumerate(gradients):
        before, expected = ours.clone(), torch.empty_like(theta)
        fused(ours, gradient, 1 / (t + 1), step)
        readable(theirs, gradient, 1 / (t + 1), expected)
        torch.testing.assert_close(step, expected, rtol=rtol, atol=0.0)
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=rtol)
        assert torch.equal(ours, before + step)


@pytest.mark.parametrize("rule", ["adam", "lion"])
def test_an_instance_has_the_same_bits_whatever_is_beside_it(rule):
    theta, gradients = draws(4, 37)
    together_, alone = theta.clone(), theta[2:3].clone()
    settings = settings_of(rule, 4)
    every, one = FusedUpdate(RULES[rule], settings, together_), FusedUpdate(RULES[rule], settings[2:3], alone)
    gradients[1][3] = torch.nan
    for gradient in gradients[:2]:
        every(together_, gradient, 1.0)
        one(alone, gradient[2:3], 1.0)
    chosen = torch.tensor([2])
    every.select(chosen)
    together_ = together_[chosen]
    for gradient in gradients[2:]:
        every(together_, gradient[chosen], 0.5)
        one(alone, gradient[chosen], 0.5)
    assert torch.equal(together_, alone)
    assert torch.isfinite(alone).all()


def stepper_of(problem, rule="adam-mini", stretch=4, device="cpu", compile=False, dtype=torch.float64):
    settings = {name: np.repeat(values, 2) for name, values in RULES[rule].settings(0.05).items()}
    return Stepper(
        problem, np.arange(2), RULES[rule], settings, problem.partition("module"),
        stretch=stretch, dtype=dtype, device=device, compile=compile,
    )  # fmt: skip


@pytest.mark.parametrize("rule", ["adam", "adam-mini", "adam-frozen"])
@pytest.mark.parametrize("problem", [SMALL, BATCHES], ids=["all data", "batches"])
def test_steps_together_are_single_steps(problem, rule):
    one, many, factors = stepper_of(problem, rule), stepper_of(problem, rule), np.linspace(1.0, 0.1, 12)
    single = np.concatenate([one.stretch(t, factors[t : t + 1])() for t in range(12)])
    whole = np.concatenate([many.stretch(t, factors[t : t + 4])() for t in range(0, 12, 4)])
    np.testing.assert_array_equal(single, whole)
    np.testing.assert_array_equal(one.theta, many.theta)
    assert len(np.unique(whole[:4, 0, 0])) == 4


@pytest.mark.parametrize("problem", [SMALL, BATCHES], ids=["all data", "batches"])
def test_what_is_captured_needs_nothing_from_the_host(problem, monkeypatch):
    """Replayed with the addresses and objects it was made with, as a graph is; only buffers may change in between."""
    eager, replayed, factors = stepper_of(problem), stepper_of(problem), np.linspace(1.0, 0.1, 12)
    replayed._captures = True

    def capture():
        held = dict(vars(replayed))

        def replay():
            changed = {name for name, value in held.items() if vars(replayed)[name] is not value}
            assert changed <= {"_replay", "_host_factors"}
            replayed._host_factors = None
            replayed._step(0)

        return replay

    monkeypatch.setattr(replayed, "_capture", capture)
    for t in range(0, 12, 4):
        expected = eager.stretch(t, factors[t : t + 4])()
        np.testing.assert_array_equal(replayed.stretch(t, factors[t : t + 4])(), expected)
    assert torch.equal(eager.theta, replayed.theta)


@pytest.mark.parametrize("stop", [False, True])
def test_losses_that_are_judged_one_stretch_later_give_the_same_run(stop, monkeypatch):
    """As on a GPU, where the next stretch is launched first."""
    rates = np.geomspace(1e-3, 30.0, 8)
    at_once = train(SMALL, "heavy-ball", lr=rates, steps=45, stop=stop, record=3, tolerance=0.9)
    judge = found.Chunk.judge
    monkeypatch.setattr(found.Chunk, "judge", lambda self, *, but=None: judge(self, but=0 if but is None else 1))
    later = train(SMALL, "heavy-ball", lr=rates, steps=45, stop=stop, record=3, tolerance=0.9)
    for name in ("loss", "loss_weighted", "steps_to_tolerance", "steps_to_stay", "status", "stopped", "final_loss"):
        np.testing.assert_array_equal(getattr(later, name), getattr(at_once, name), err_msg=name)
    assert len(np.unique(at_once.stopped)) > 2


@pytest.mark.slow  # importing what traces takes five seconds
def test_the_compiled_functions_are_whole_graphs():
    """A part that torch cannot trace would run as single operations, without a word."""
    stack, rule = SMALL.stack(dtype=torch.float32), RULES["adam"]
    explained = torch._dynamo.explain(type(stack).losses)(stack, stack.start())
    assert (explained.graph_count, explained.break_reasons) == (1, [])
    update = _TorchUpdate(rule, settings_of("adam", 2), SMALL.partition("module"), compile=False)
    theta = stack.start()
    update(theta, torch.ones_like(theta), 1.0)
    arguments = (theta, torch.ones_like(theta), update._states, update._clocks, update._settings, None)
    explained = torch._dynamo.explain(update._advance)(*arguments)
    assert (explained.graph_count, explained.break_reasons) == (1, [])


def test_a_graph_is_made_anew_only_for_half():
    stepper = stepper_of(SMALL)
    assert not stepper.worth_dropping(2)
    assert stepper.worth_dropping(1)
    stepper.theta, stepper._captures = torch.zeros(10, 3), True
    assert [stepper.worth_dropping(left) for left in (9, 6, 5, 1)] == [False, False, True, True]


def test_steps_that_go_together_divide_the_looks():
    assert [together(every) for every in (1, 8, 10, 16, 32, 17, 100)] == [1, 8, 10, 16, 16, 1, 10]


def test_instances_that_fit():
    assert stepping._fitting(1e9, 1e6) == 800
    assert stepping._fitting(1e3, 1e6) == 1


@pytest.mark.parametrize("tokens", [2, 3, 9])
def test_both_forms_of_attention_agree(tokens):
    generator = torch.Generator().manual_seed(0)
    split = torch.randn(3, 4, tokens, 3, 2, 5, generator=generator, dtype=torch.float64)
    ahead = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    temperature = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64).view(-1, 1, 1, 1, 1)
    for arguments in ((None, None), (temperature, None), (None, ahead), (temperature, ahead)):
        expected = _mix(split, *arguments)
        for last in (True, False):
            torch.testing.assert_close(_mix_few(split, *arguments, last), expected, rtol=1e-12, atol=1e-14)


def test_a_missing_compiler_is_one_line(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("no g++\nfound")

    monkeypatch.setattr(torch, "compile", broken)
    why_not_compiled.cache_clear()
    with pytest.raises(ValueError, match=r"must find a compiler .*, got no g\+\+; install one or leave it out\.$"):
        train(SMALL, "adam", lr=0.01, steps=2, compile=True)
    why_not_compiled.cache_clear()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of torch about its own parts
def test_compiled_steps_agree():
    for problem, rule in ((SMALL, "adam"), (BATCHES, "adam-mini")):
        plain = train(problem, rule, lr=[0.01, 0.03], steps=20, stop=False, record=1, dtype="float64")
        compiled = train(problem, rule, lr=[0.01, 0.03], steps=20, stop=False, record=1, dtype="float64", compile=True)
        np.testing.assert_allclose(compiled.loss, plain.loss, rtol=1e-9)
        graphs = dict(torch._dynamo.utils.counters["stats"])
        train(problem, rule, lr=[0.01, 0.03], steps=20, stop=False, dtype="float64", compile=True)
        assert dict(torch._dynamo.utils.counters["stats"]) == graphs, "compiled again"


@pytest.mark.gpu
@pytest.mark.parametrize("rule", ["adam", "adam-mini", "adam-frozen", "normalized-gd"])
@pytest.mark.parametrize("problem", [SMALL, BATCHES], ids=["all data", "batches"])
def test_a_graph_has_the_bits_of_its_steps(problem, rule):
    graph, eager = (stepper_of(problem, rule, device="cuda") for _ in range(2))
    eager._captures, factors = False, np.linspace(1.0, 0.1, 12)
    for t in range(0, 12, 4):
        expected = eager.stretch(t, factors[t : t + 4])()
        np.testing.assert_array_equal(graph.stretch(t, factors[t : t + 4])(), expected)
    np.testing.assert_array_equal(eager.theta.cpu(), graph.theta.cpu())


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("compile", [False, True])
def test_training_on_a_gpu_agrees(compile):
    for problem, rule in (
        (SMALL, "adam"),
        (BATCHES, "adam-mini"),
        (ToyProblem.generate(Transformer(width=4, layers=1), Induction(vocabulary=6, tokens=5, sequences=7)), "signum"),
    ):
        settings = {"lr": [0.01, 0.03], "steps": 30, "record": "all", "dtype": "float64"}
        cpu = train(problem, rule, snapshots=[0, 11], **settings)
        gpu = train(problem, rule, snapshots=[0, 11], device="cuda", compile=compile, **settings)
        np.testing.assert_allclose(gpu.loss, cpu.loss, rtol=1e-8)
        np.testing.assert_allclose(gpu.snapshots.update, cpu.snapshots.update, rtol=1e-6, atol=1e-9)


@pytest.mark.gpu
def test_instances_are_dropped_from_graphs():
    rates = np.geomspace(1e-3, 0.3, 12)
    cpu = train(SMALL, "adam", lr=rates, steps=200, dtype="float64")
    gpu = train(SMALL, "adam", lr=rates, steps=200, dtype="float64", device="cuda")
    assert (cpu.status == "converged").any()
    np.testing.assert_array_equal(gpu.status, cpu.status)
    np.testing.assert_allclose(gpu.steps_to_tolerance, cpu.steps_to_tolerance, atol=1)


@pytest.mark.gpu
@pytest.mark.parametrize("rule", ["adam", "adam-frozen", "heavy-ball"])
def test_a_kept_stepper_gives_the_bits_of_a_new_one(rule):
    """The second run replays the CUDA graph of the first one, with another rate, and the third has the rate of the first."""
    problem = ToyProblem.generate(problems=40, seed=3)

    def run(lr):
        found = train(problem, rule, lr=lr, steps=30, stop=False, record="all", device="cuda", engine="stack")
        return found.loss, len(stepping._IDLE)

    (first, kept), (other, _), (again, _) = run(1e-6), run(2e-6), run(1e-6)
    assert kept == 1
    np.testing.assert_array_equal(first, again)
    stepping._IDLE.clear()
    np.testing.assert_array_equal(other, run(2e-6)[0])
    assert not np.array_equal(first, other)
