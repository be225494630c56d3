"""Gradient oracles: draws, engines, and the exact mean of the gap on a stream."""

import numpy as np
import pytest

from quadsim.simulator import RULES, BlockQuadratic, Trajectory, simulate
from quadsim.simulator.engines.kernels import cpu_run
from quadsim.simulator.engines.kernels.streams.sampling import Sampler
from quadsim.simulator.problems.oracles import FULL, Additive, Stream, resolve_oracle
from quadsim.theory.running.stream_moments import Moments, largest_stable_rate, stream_trace

STARTS = 4000


@pytest.fixture(scope="module")
def one() -> BlockQuadratic:
    return BlockQuadratic.generate(blocks=2, block_size=3, heterogeneity=10, problems=1, seed=1)


@pytest.fixture(scope="module")
def many(one) -> BlockQuadratic:
    """The same problem and start STARTS times, each with draws of its own."""
    start = one.layout.flatten(one.initial_error)[0]
    return BlockQuadratic.from_blocks(list(one.hessian[3][0]), initial_error=np.tile(start, (STARTS, 1)), seed=5)


def moments(problem: BlockQuadratic, rule: str, oracle: Stream, **settings: float) -> tuple[Moments, np.ndarray]:
    """The moments of a rule on the first problem of a batch, and E e_i(0)^2."""
    return (
        Moments(RULES[rule], settings, problem.eigenvalues[3][0].ravel(), oracle),
        problem.initial_coefficients[3][0].ravel() ** 2,
    )


@pytest.mark.parametrize("text", ["full", "additive:std=0.1", "additive:std=0.1:law=hessian", "stream:batch=8",
                                  "stream:batch=1:label_noise=0.5:noise_law=student-5"])  # fmt: skip
def test_an_oracle_is_read_from_its_text(text):
    assert str(resolve_oracle(text)) == text
    assert resolve_oracle(resolve_oracle(text)) == resolve_oracle(text)


@pytest.mark.parametrize(
    ("oracle", "message"),
    [
        ("stream:batch=0", "batch must be a whole number of at least 1, got 0"),
        ("stream:batch=1.5", "batch must be a whole number of at least 1, got 1.5"),
        ("stream:batch=1:label_noise=-1", "label noise must be a number of at least 0, got -1"),
        ("stream:batch=1:label_noise=nan", "label noise must be a number of at least 0, got nan"),
        (
            "stream:noise_law=student-2",
            "noise law must be normal or student-NU with NU > 2 degrees of freedom, got 'student-2'",
        ),
        ("stream:size=3", "option of the oracle stream must be one of batch, label_noise, noise_law, got 'size'; "),
        ("sgd", "oracle must be one of full, additive, stream, got 'sgd'"),
        ("additive:std=0", "std must be a number above 0, got 0"),
        ("additive:law=normal", "law must be one of isotropic, hessian, got 'normal'"),
    ],
)
def test_a_wrong_oracle_is_refused_in_one_line(oracle, message):
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        resolve_oracle(oracle)
    assert "\n" not in str(caught.value)


def test_a_batch_of_more_numbers_than_counters_is_refused():
    problem = BlockQuadratic.generate(blocks=1, block_size=3)
    with pytest.raises(
        ValueError, match=r"^batch must be at most 134,217,727 in dimension 3 .*, got 134217728; use full"
    ):
        simulate(problem, "gd", lr=0.1, steps=2, oracle=f"stream:batch={1 << 27}")


def test_an_oracle_is_given_once():
    problem = BlockQuadratic.generate()
    with pytest.raises(ValueError, match="oracle must not be given beside gradient_noise_std"):
        simulate(problem, "gd", lr=0.1, steps=2, oracle="stream:batch=1", gradient_noise_std=0.1)


def test_a_batch_begins_with_the_draws_of_a_smaller_one():
    small, large = Stream(1, 0.5), Stream(8, 0.5)
    index = np.array([4, 9])
    for dimension in (5, 6):
        features = [oracle.features(3, index, 7, dimension) for oracle in (small, large)]
        np.testing.assert_array_equal(features[0], features[1][:, :1])
    np.testing.assert_array_equal(small.label_errors(3, index, 7), large.label_errors(3, index, 7)[:, :1])


@pytest.mark.parametrize("law", ["normal", "student-5"])
def test_no_two_samples_share_a_number(law):
    """Mean gaps do not see labels that samples share: independent x of mean 0 take the products of two labels to 0."""
    oracle, index = Stream(5, 0.5, law), np.array([0, 1, 2**33])
    for draw in (lambda *key: oracle.features(*key, 3), oracle.label_errors):
        drawn = np.concatenate([draw(seed, index, step).ravel() for seed in (0, 1, 2**33) for step in (0, 1, 7)])
        assert np.unique(drawn).size == drawn.size


@pytest.mark.parametrize("law", ["normal", "student-5"])
def test_the_compiled_draws_are_those_of_the_oracle(law):
    """Both over the square root of the batch, and x = R z; five samples are four at a time and one."""
    problem = BlockQuadratic.generate(blocks=3, block_size=(3, 5, 3), problems=4, seed=2**40 + 3, first=6)
    oracle = Stream(5, 0.5, law)
    features, labels = Sampler(problem, oracle, np.dtype("float64")).draw(1, 4, begin=300, steps=2)
    z = oracle.features(problem.seed, problem.index[1:], 301, 11)
    for size, positions in problem.layout.positions.items():
        x = np.einsum("mbij,mkbj->mkbi", problem.roots[size][1:], z[:, :, positions]) / 5**0.5
        np.testing.assert_allclose(features[:, 1][:, :, positions], x, rtol=1e-12, atol=1e-13)
    expected = oracle.label_errors(problem.seed, problem.index[1:], 301) / 5**0.5
    np.testing.assert_allclose(labels[:, 1], expected, rtol=1e-13, atol=1e-15)


def test_the_triangular_root_of_a_singular_matrix():
    root = np.random.default_rng(0).normal(size=(3, 5, 5))
    root[1, :, 2:] = 0.0  # of rank 2
    blocks = list(root @ np.swapaxes(root, -1, -2))
    problem = BlockQuadratic.from_blocks(blocks, initial_error="normal")
    upper = problem.triangular_roots[5]
    np.testing.assert_allclose(upper @ np.swapaxes(upper, -1, -2), problem.hessian[5], atol=1e-13)
    np.testing.assert_array_equal(np.tril(upper, -1), 0.0)


@pytest.mark.parametrize("law", ["normal", "student-4"])
def test_label_noise_has_its_mean_and_variance(law):
    drawn = Stream(200_000, 0.5, law).label_errors(0, np.array([0]), 0)[0]
    assert abs(drawn.mean()) < 0.01
    assert drawn.std() == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    ("rule", "sizes", "batch"),
    [("adam", (3, 8), 5), ("heavy-ball", (13,), 4), ("adam-mini", (2, 9), 1), ("adam-mini", (5, 8), 70)],
)
def test_fused_and_reference_agree_on_a_stream(rule, sizes, batch):
    problem = BlockQuadratic.generate(
        blocks=len(sizes), block_size=sizes, problems=3, heterogeneity=10 if len(sizes) > 1 else 1
    )
    arguments = {
        "lr": np.geomspace(1e-4, 3e-3, 9),
        "steps": 301,
        "oracle": Stream(batch, 0.5),
        "record": 50,
        "tolerance": 0.1,
    }
    fused, reference = (simulate(problem, rule, engine=engine, **arguments) for engine in ("fused", "reference"))
    np.testing.assert_allclose(fused.gap, reference.gap, rtol=1e-12)
    np.testing.assert_array_equal(fused.steps_to_tolerance, reference.steps_to_tolerance)
    np.testing.assert_array_equal(fused.steps_to_mean, reference.steps_to_mean)
    assert simulate(problem, rule, **arguments).engine == "fused"


def test_a_run_on_a_stream_has_the_same_bits_in_every_batch_of_problems_and_settings():
    problem = BlockQuadratic.generate(problems=5, seed=3)
    arguments = {"steps": 200, "oracle": "stream:batch=3:label_noise=0.1", "record": 20}
    whole = simulate(problem, "heavy-ball", lr=np.geomspace(0.001, 0.1, 20), **arguments)
    part = simulate(problem.select([4, 2]), "heavy-ball", lr=whole.settings["lr"][[11]], **arguments)
    np.testing.assert_array_equal(part.gap[:, 0], whole.gap[[4, 2], 11])


@pytest.mark.parametrize(("size", "batch"), [(30, 1), ((3, 3), 64)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_reference_engine_gives_a_problem_on_a_stream_the_same_bits_alone(size, batch, dtype):
    """Products of one matrix and of several round differently, and so do those of matrices that lie elsewhere in memory."""
    sizes = size if isinstance(size, tuple) else (size,)
    problem = BlockQuadratic.generate(blocks=len(sizes), block_size=sizes, problems=9, heterogeneity=1, seed=5)
    arguments = {"steps": 60, "record": 1, "oracle": Stream(batch, 0.5), "engine": "reference", "dtype": dtype}
    whole = simulate(problem, "gd", lr=[1e-3, 1e-1], **arguments)
    for part in ([2], [8], [3, 4]):
        alone = simulate(problem.select(part), "gd", lr=[1e-3, 1e-1], **arguments)
        np.testing.assert_array_equal(alone.gap, whole.gap[part])


def test_a_run_on_a_stream_is_stored(tmp_path):
    oracle = Stream(2, 0.1, "student-5")
    run = simulate(BlockQuadratic.generate(), "gd", lr=0.01, steps=5, oracle=oracle, engine="reference")
    run.save(tmp_path / "run.nc")
    assert Trajectory.load(tmp_path / "run.nc").oracle == run.oracle == Stream(2, 0.1, "student-5")
    assert (run.gradient_noise_std, run.oracle != FULL) == (0.0, True)


def test_noise_with_the_covariance_of_the_hessian(one):
    problem = BlockQuadratic.from_blocks(list(one.hessian[3][0]), initial_error=np.full((STARTS, 6), 1e-9))
    run = simulate(problem, "gd", lr=0.25, steps=1, oracle=Additive(0.5, "hessian"), observe="iterate")
    step = run.observed["iterate"][:, 0, 1] / 0.25
    np.testing.assert_allclose(step.T @ step / STARTS, 0.25 * one.dense(0)[0], atol=0.05 * one.dense(0)[0].max())


@pytest.mark.parametrize(
    ("rule", "more"), [("gd", {}), ("heavy-ball", {"momentum": 0.9}), ("nesterov", {"momentum": 0.5})]
)
@pytest.mark.parametrize("batch", [1, 4])
def test_the_mean_gap_on_a_stream_is_the_exact_one(one, many, rule, more, batch):
    lr = 0.2 * largest_stable_rate(one.eigenvalues[3][0].ravel(), batch) * (1.0 - more.get("momentum", 0.0))
    oracle = Stream(batch, 1.0)
    run = simulate(many, rule, lr=lr, steps=30, record=10, oracle=oracle, engine="reference", **more)

    def deviations(claimed: Stream) -> np.ndarray:
        exact, squares = moments(one, rule, claimed, lr=lr, **more)
        gap = run.gap[:, 0, 1:]
        return np.abs(gap.mean(axis=0) - exact.gaps(squares, run.steps)[1:]) / (gap.std(axis=0) / STARTS**0.5)

    assert deviations(oracle).max() < 4.5
    assert deviations(Stream(batch + 1, 1.0)).max() > 4.5  # a batch off by one
    assert deviations(Stream(batch, 1.5)).max() > 4.5  # other noise of the labels


@pytest.mark.parametrize("batch", [1, 4, 16])
def test_mean_square_stability_on_both_sides_of_its_limit(one, batch):
    eigenvalues = one.eigenvalues[3][0].ravel()
    limit = largest_stable_rate(eigenvalues, batch)
    below, above = (moments(one, "gd", Stream(batch, 0.3), lr=share * limit)[0] for share in (0.99, 1.01))
    assert below.radius < 1.0 < above.radius
    trace = float(stream_trace(eigenvalues, 0.99 * limit, batch))
    assert below.floor == pytest.approx(0.3**2 * trace / (2.0 * (1.0 - trace)), rel=1e-10)
    assert above.floor == np.inf


def test_moments_at_a_large_step_are_those_of_the_recursion(one):
    exact, squares = moments(one, "gd", Stream(2, 0.3), lr=0.01)
    lam, p = exact.eigenvalues, squares
    for _ in range(1000):
        p = (1 - 0.01 * lam) ** 2 * p + 0.01**2 / 2 * (lam**2 * p + lam * (lam @ p + 0.3**2))
    assert exact.gaps(squares, np.array([1000]))[0] == pytest.approx(lam @ p / 2, rel=1e-12)
    assert exact.gaps(squares, np.array([10**9]))[0] == pytest.approx(exact.floor, rel=1e-9)


def test_noise_whose_square_is_no_number_has_infinite_moments(one):
    exact, squares = moments(one, "gd", Stream(2, 1e160), lr=0.01)
    assert exact.floor == np.inf
    assert exact.gaps(squares, np.array([3]))[0] == np.inf


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("adam", "it is not one linear map at every step"),
        ("adam-frozen", "it has a preconditioner"),
        ("block-gd", "it treats blocks differently"),
    ],
)
def test_moments_are_of_linear_rules(rule, why):
    with pytest.raises(ValueError, match=f"rule must have moments on a stream that are known, got {rule}: {why}"):
        Moments(RULES[rule], {"lr": 0.1}, np.ones(2), Stream()).recursion  # noqa: B018


def test_a_run_does_not_depend_on_the_settings_beside_it(monkeypatch):
    """Sixteen settings fill tiles of two vectors; one setting is a tile of one."""
    widths, vectors = [], cpu_run._vectors
    monkeypatch.setattr(cpu_run, "_vectors", lambda *args: widths.append(vectors(*args)) or widths[-1])
    problem = BlockQuadratic.generate(blocks=2, block_size=3, problems=2)
    rates = np.geomspace(1e-3, 1e-1, 16)
    arguments = {"steps": 50, "oracle": Stream(3, 0.5), "engine": "fused", "record": 10}
    together = simulate(problem, "adam", lr=rates, **arguments)
    for place in (0, 5, 15):
        alone = simulate(problem, "adam", lr=rates[[place]], **arguments)
        np.testing.assert_array_equal(alone.gap[:, 0], together.gap[:, place])
    assert widths == [2, 1, 1, 1]


@pytest.mark.parametrize("partition", ["finer", "coarser"])
def test_blocks_of_the_rule_may_differ_from_those_of_the_products_on_a_stream(partition):
    """Residuals and the gap take a block of H when all of the rule's blocks within it are updated."""
    problem = BlockQuadratic.generate(blocks=2, block_size=8, problems=2, heterogeneity=10, partition=partition)
    arguments = {"lr": [1e-3, 3e-3], "steps": 150, "oracle": Stream(3, 0.5), "record": 50}
    fused, reference = (simulate(problem, "adam-mini", engine=engine, **arguments) for engine in ("fused", "reference"))
    np.testing.assert_allclose(fused.gap, reference.gap, rtol=1e-12)
