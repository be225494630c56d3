"""Means on streams judged by confidence: the rate of errors, heavy tails, power, and planted faults of the simulator."""

from dataclasses import replace

import numpy as np
import pytest

from quadsim.simulator import BlockQuadratic, simulate
from quadsim.simulator.engines.kernels.streams.sampling import Sampler
from quadsim.simulator.problems.oracles import Stream
from quadsim.theory.running.stream_moments import Moments, largest_stable_rate, sign_step_gap, stream_trace
from quadsim.theory.verifying.streams.means import MeanSums
from quadsim.theory.verifying.streams.monte_carlo import CASES, Case, monte_carlo

CURVE = Case("curve", "gd", 0.0, 4, "normal", 10.0, 0.1)
FLOOR = Case("floor", "gd", 0.0, 4, "normal", 10.0, 0.3)


def found(case: Case, runs: int = 5000):
    (one,) = monte_carlo(runs, cases=[case])
    return one


def test_a_true_mean_is_refuted_as_often_as_stated_and_heavy_tails_are_undecided():
    draw = np.random.default_rng(1)
    light = MeanSums(np.ones(1000)).add(draw.exponential(size=(2000, 1000))).judge(1, 0.02)
    assert (light.verdict == "refuted").mean() < 0.02
    assert (light.verdict == "holds").mean() > 0.95
    heavy = np.exp(draw.normal(size=(500, 1000)) * 2.5 - 2.5**2 / 2)
    judged = MeanSums(np.ones(1000)).add(heavy).judge(1, 0.02)
    assert (np.abs(judged.errors) > judged.allowed).mean() > 0.1  # what normal tails would have refuted
    assert (judged.verdict == "refuted").mean() < 0.02


def test_the_runs_that_are_wanted_do_not_depend_on_how_few_there_are():
    """Student's quantile at three runs is thousands of standard errors, which once asked for 10^23 runs."""
    draw = np.random.default_rng(4).exponential(size=(200_000, 1))
    many = MeanSums(np.ones(1)).add(draw).judge(8)
    few = MeanSums(np.ones(1)).add(draw[:3]).judge(8)
    assert many.verdict[0] == "holds"
    assert many.wanted[0] == pytest.approx(4.0 * (5.6 * (2 * 5.6**2 + 1) / 6) ** 2, rel=0.3)  # the skewness is 2
    assert few.verdict[0] == "undecided"
    assert few.wanted[0] < many.wanted[0]  # three numbers have a skewness of 0.71 at most


def test_more_comparisons_allow_more_and_parts_are_one_sample():
    values = np.random.default_rng(2).exponential(size=(1000, 3))
    whole = MeanSums(np.ones(3)).add(values)
    parts = MeanSums(np.ones(3)).add(values[:300]) + MeanSums(np.ones(3)).add(values[300:])
    assert parts.judge().allowed < whole.judge(1000).allowed
    np.testing.assert_allclose(parts.judge().errors, whole.judge().errors, rtol=1e-9)


def test_a_run_without_a_finite_mean_is_undecided():
    values = np.full((50, 2), 1.2) + np.arange(50)[:, None] / 1000
    values[3, 0] = np.inf
    assert MeanSums(np.ones(2)).add(values).judge().verdict.tolist() == ["undecided", "refuted"]
    with pytest.raises(ValueError, match="runs must be a whole number of at least 2, got 1"):
        MeanSums(np.ones(2)).add(values[:1]).judge()


def test_the_power_that_is_stated_is_the_power():
    draw = np.random.default_rng(3)
    noticed = float(MeanSums(np.ones(1)).add(draw.exponential(size=(2000, 1))).judge(1, 0.02).noticed[0])
    off = MeanSums(np.full(1000, 1.0 / (1.0 + noticed))).add(draw.exponential(size=(2000, 1000))).judge(1, 0.02)
    assert 0.88 < (np.abs(off.errors) > off.allowed).mean() < 0.99


def biased(draw):
    def drawn(self, *args, **kwargs):
        features, labels = draw(self, *args, **kwargs)
        return features + 0.3, labels

    return drawn


FAULTS = {
    "a batch off by one": lambda m: m.setattr(Case, "oracle", property(lambda c: Stream(c.batch + 1, 0.5))),
    "noise scaled by the root of b": lambda m: m.setattr(Case, "oracle", property(lambda c: Stream(c.batch, 0.5 * c.batch**0.5))),
    "noise divided by it": lambda m: m.setattr(Case, "oracle", property(lambda c: Stream(c.batch, 0.5 / c.batch**0.5))),
    "a biased sampler": lambda m: m.setattr(Sampler, "draw", biased(Sampler.draw)),
}  # fmt: skip


def test_the_simulator_holds_the_exact_mean():
    one = found(CURVE)
    assert one.verdict == "holds"
    assert one.means.noticed.max() < 0.06


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_simulator_is_refuted(fault, monkeypatch):
    assert found(FLOOR).verdict == "holds"  # and what is claimed is computed for the stream without the fault
    FAULTS[fault](monkeypatch)
    assert found(FLOOR).verdict == "refuted"


@pytest.mark.parametrize("share", [0.99, 1.01])
@pytest.mark.parametrize(("rule", "momentum"), [("gd", 0.0), ("heavy-ball", 0.9)])
def test_stability_on_both_sides_of_its_limit(rule, momentum, share):
    """The factor of a step in the dominant moment; its mean is the spectral radius."""
    one = found(Case("edge", rule, momentum, 16, "normal", 10.0, share), 600)
    assert (one.radius < 1.0) == (share < 1.0)
    assert one.verdict != "refuted"
    assert one.worst < 4.5
    assert one.relative < 0.01


def test_a_sign_step_has_the_mean_of_the_theorem():
    case = next(c for c in CASES if c.what == "signs")
    assert found(case, 6000).verdict == "holds"
    one = BlockQuadratic.generate(blocks=2, block_size=3, heterogeneity=10, problems=1)
    error = one.layout.flatten(one.initial_error)[0]
    assert sign_step_gap(one.dense(0)[0], error, 0.0, 1.0) == pytest.approx(one.initial_gap[0], rel=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("batch", [1, 16])
def test_limit_and_floor_with_momentum_are_those_of_the_recursion(momentum, batch):
    from quadsim.simulator import RULES

    eigenvalues = np.array([0.1, 1.0, 1.0, 7.0])
    limit = largest_stable_rate(eigenvalues, batch, momentum)
    radius = {
        share: Moments(RULES["heavy-ball"], {"lr": share * limit, "momentum": momentum}, eigenvalues, Stream(batch, 0.3))
        for share in (0.999, 1.001, 0.5)
    }  # fmt: skip
    assert radius[0.999].radius < 1.0 < radius[1.001].radius
    trace = float(stream_trace(eigenvalues, 0.5 * limit, batch, momentum))
    assert radius[0.5].floor == pytest.approx(0.3**2 * trace / (2.0 * (1.0 - trace)), rel=1e-9)


@pytest.mark.parametrize("batch", [1, 3])
def test_fourth_moments_in_one_dimension_are_those_of_chi_square(batch):
    """Without noise e' = e (1 - x c/b) with c of chi-square's law with b degrees of freedom."""
    from quadsim.theory.verifying.streams.fourth_moments import FourthMoments

    x = 0.3
    moment = [np.prod([batch + 2.0 * k for k in range(n)]) / batch**n for n in range(5)]
    factor = sum((-x) ** n * c * m for n, (c, m) in enumerate(zip((1, 4, 6, 4, 1), moment, strict=True)))
    second = 1 - 2 * x + x**2 * moment[2]
    one = FourthMoments(0.15, None, np.array([2.0]), Stream(batch))
    assert one.radius == pytest.approx(factor, rel=1e-12)
    assert one.deviations(np.array([1.5]), 2)[2] == pytest.approx(1.5**2 * np.sqrt(factor**2 - second**4), rel=1e-9)


@pytest.mark.parametrize(("rule", "momentum", "law"), [("gd", None, "student-9"), ("heavy-ball", 0.9, "normal")])
def test_the_standard_deviation_of_the_gap_is_that_of_runs(rule, momentum, law):
    from quadsim.theory.verifying.streams.fourth_moments import FourthMoments

    one = BlockQuadratic.generate(blocks=2, block_size=2, heterogeneity=3, problems=1, seed=2)
    start = one.layout.flatten(one.initial_error)[0]
    many = BlockQuadratic.from_blocks(list(one.hessian[2][0]), initial_error=np.tile(start, (8000, 1)), seed=7)
    oracle, lr = Stream(2, 1.0, law), 0.05 if momentum is None else 0.01
    settings = {} if momentum is None else {"momentum": momentum}
    run = simulate(many, rule, lr=lr, steps=8, record=4, oracle=oracle, engine="reference", **settings)
    errors = one.initial_coefficients[2][0].ravel()
    exact = FourthMoments(lr, momentum, one.eigenvalues[2][0].ravel(), oracle).deviations(errors, 8)[[4, 8]]
    np.testing.assert_allclose(run.gap[:, 0, 1:].std(axis=0), exact, rtol=0.06)


def test_a_law_without_a_fourth_moment_is_refused_and_an_undecided_case_says_why():
    from quadsim.theory.verifying.streams.fourth_moments import FourthMoments

    with pytest.raises(ValueError, match="noise law must have a fourth moment, got student-4; use more than 4"):
        FourthMoments(0.1, None, np.ones(1), Stream(1, 0.1, "student-4")).deviations(np.ones(1), 1)
    few = found(Case("curve", "gd", 0.0, 1, "normal", 10.0, 0.3), 60)
    assert few.state.startswith("undecided: wants ")
    assert few.fourth < 1.0
    assert few.deviation == pytest.approx(0.43, abs=0.1)
    assert replace(few, fourth=1.1).state == "undecided: no variance"


def test_rows_of_cases_are_a_file_and_a_table_on_a_page():
    from quadsim.cli.text.draws_table import MARKERS, draws_csv, draws_row, placed

    row = draws_row(found(Case("signs", "signsgd", 0.0, 1, "normal", 10.0, 0.05), 3000))
    page = placed(f"before\n{MARKERS[0]}earlier{MARKERS[1]}\nafter", draws_csv([row]))
    assert "earlier" not in page
    assert "| signsgd, one step from state 0, heterogeneity 10 | 3,000 | 1 |" in page
    assert placed(page, draws_csv([row])) == page
    with pytest.raises(ValueError, match="page must hold the markers"):
        placed("", draws_csv([row]))
