"""Curvature of toy models: against torch.func.hessian in float64, quadrature against dense spectra, distances against scipy."""

import builtins
import sys
import warnings

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from quadsim.simulator import ToyProblem
from quadsim.simulator.curvature.block_spectra import BlockSpectra, block_hessians, block_spectra, whole_hessian
from quadsim.simulator.curvature.hessian import gradient, hessian_products
from quadsim.simulator.curvature.lanczos import quadrature
from quadsim.simulator.curvature.off_block import off_block, off_block_of, spectra_and_off_block
from quadsim.simulator.curvature.spectral_distance import histograms, jensen_shannon, mean_over_pairs
from quadsim.simulator.models import MLP, Conv, ModularAddition, Partition, TokenMap, Transformer

TINY = TokenMap(vocabulary=4, tokens=2)
MODELS = [
    kind(norm=norm, width=4, layers=1, **({"heads": 2} if kind is Transformer else {}))
    for kind in (Transformer, MLP, Conv)
    for norm in ("pre", "post", "none")
]


def generate(model=MODELS[0], task=TINY, **options):
    return ToyProblem.generate(model, task, **options)


def oracle(stack, theta):
    """Hessians by torch, one instance after the other: (E, P, P)."""
    out = []
    for e in range(stack.instances):
        one = stack.select(torch.tensor([e]))
        with warnings.catch_warnings():  # importing forward mode uses what torch itself calls deprecated
            warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
            out.append(torch.func.hessian(lambda x, one=one: one.losses(x[None])[0][0])(theta[e]).detach().numpy())
    return np.stack(out)


def away_from_start(stack, seed=0):
    """A point at which nothing is special."""
    noise = torch.randn(stack.start().shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return stack.start() + 0.3 * noise


def assert_blocks(problem, which, names=("layer", "module", "unit")):
    stack = problem.stack(np.asarray(which))
    theta = away_from_start(stack)
    wanted = oracle(stack, theta)
    for name in names:
        found = block_hessians(stack, theta, name)
        assert np.all(found.asymmetry < 1e-12)
        for block, (begin, end) in zip(found.blocks, found.partition.ranges, strict=True):
            np.testing.assert_allclose(
                block, wanted[:, begin:end, begin:end], rtol=0, atol=1e-10 * np.abs(wanted).max()
            )
            np.testing.assert_array_equal(block, block.transpose(0, 2, 1))
    return stack, theta, wanted


@pytest.mark.parametrize("model", MODELS, ids=lambda m: f"{m.name}-{m.norm}")
def test_blocks_are_those_of_the_hessian(model):
    stack, theta, wanted = assert_blocks(generate(model, heterogeneity=10.0, problems=2), [0, 1, 1])
    whole, asymmetry = whole_hessian(stack, theta)
    np.testing.assert_allclose(whole, wanted, rtol=0, atol=1e-10 * np.abs(wanted).max())
    assert asymmetry.shape == (3,)


@pytest.mark.parametrize("mode", ["parameter", "gradient"])
def test_blocks_under_the_reparametrisation(mode):
    problem = generate(dial="reparametrisation", heterogeneity=100.0, problems=1, mode=mode)
    assert_blocks(problem, [0])


def test_the_modes_are_one_hessian_in_two_coordinates():
    """phi's Hessian is diag(s) H diag(s), at the same weights."""
    phi, blocks = (
        generate(dial="reparametrisation", heterogeneity=100.0, problems=1, mode=m) for m in ("parameter", "gradient")
    )
    s = phi.block_scales[0]
    in_phi, _ = whole_hessian(phi.stack(), phi.start)
    in_blocks, _ = whole_hessian(blocks.stack(), blocks.start)
    assert np.ptp(s) > 1.0
    np.testing.assert_allclose(in_phi[0], s[:, None] * in_blocks[0] * s, atol=1e-12)
    np.testing.assert_allclose(
        gradient(blocks.stack(), blocks.start)[0] * s, gradient(phi.stack(), phi.start)[0], atol=1e-13
    )


@pytest.mark.parametrize(("dial", "c"), [("temperature", 3.0), ("init-scale", 2.0), ("zipf", 4.0)])
def test_blocks_under_other_dials(dial, c):
    assert_blocks(generate(dial=dial, heterogeneity=c, problems=1), [0], ["module"])


def test_copies_do_not_see_each_other():
    problem = generate(MLP(width=4, layers=1), dial="separable", heterogeneity=100.0, problems=1)
    stack, theta, _ = assert_blocks(problem, [0], ["module"])
    (whole,), _ = whole_hessian(stack, theta)
    each = problem.dimension // 4
    copies = Partition("copy", tuple("abcd"), (each,) * 4)
    outside = np.kron(np.eye(4), np.ones((each, each))) == 0.0
    assert np.all(whole[outside] == 0.0)
    assert np.any(whole[~outside] != 0.0)
    # One block a copy leaves nothing out; blocks inside the copies do.
    assert off_block_of(whole, copies) == pytest.approx((0.0, 0.0, 1.0), abs=1e-12)
    assert off_block_of(whole, problem.partition("module"))[0] > 0.01


def test_products_against_differences_of_gradients():
    stack = generate(problems=3).stack(np.array([2, 0]))
    theta = away_from_start(stack).numpy()
    tangents = np.random.default_rng(0).standard_normal((3, *theta.shape))
    step = 1e-6
    wanted = [(gradient(stack, theta + step * v) - gradient(stack, theta - step * v)) / (2 * step) for v in tangents]
    np.testing.assert_allclose(hessian_products(stack, theta, tangents), wanted, atol=3e-6)


def test_an_instance_does_not_depend_on_its_batch_mates():
    problem = generate(heterogeneity=[1.0, 50.0], problems=3)
    together = block_spectra(problem.stack(), problem.start, "unit")
    alone = block_spectra(problem.stack(np.array([4])), problem.start[[4]], "unit")
    for all_of, one in zip(together.nodes, alone.nodes, strict=True):
        np.testing.assert_array_equal(all_of[[4]], one)
    rest, rest_alone = (off_block(problem.stack(w), problem.start[w]) for w in (np.arange(6), np.array([4])))
    assert rest.spectral[4] == rest_alone.spectral[0]


def test_many_threads_and_chunks_change_nothing(monkeypatch):
    problem = generate(problems=1)
    wanted = block_hessians(problem.stack(), problem.start)
    monkeypatch.setattr("quadsim.simulator.curvature.hessian.TOKENS_AT_ONCE", 8 * 7)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = block_hessians(problem.stack(), problem.start)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    for a, b in zip(found.blocks, wanted.blocks, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-14)


def test_float32_parameters_and_stacks_are_taken_in_float64():
    problem = generate(problems=1)
    theta = torch.from_numpy(problem.start).float()
    coarse = block_spectra(problem.stack(dtype=torch.float32), theta)
    fine = block_spectra(problem.stack(), theta.double())
    assert coarse.nodes[0].dtype == np.float64
    assert coarse.asymmetry[0] < 1e-13  # float32 would leave 1e-7
    np.testing.assert_allclose(coarse.largest, fine.largest, rtol=1e-6)  # the weights of the data are rounded


def test_a_mini_batch_has_its_own_hessian():
    stack = generate(task=ModularAddition(p=5, batch=4), problems=1).stack()
    theta = stack.start()
    some = stack.rows(torch.tensor([[0, 1, 2, 3]]))
    np.testing.assert_allclose(whole_hessian(some, theta)[0], oracle(some, theta), atol=1e-11)
    assert not np.allclose(whole_hessian(stack, theta)[0], oracle(some, theta), atol=1e-3)


def test_smoothness_and_spectral_norm_are_two_things():
    spectra = from_values([[-3.0, 1.0], [-2.0, -1.0], [0.5, 4.0]])
    np.testing.assert_array_equal(spectra.smoothness, [[1.0, 0.0, 4.0]])
    np.testing.assert_array_equal(spectra.spectral_norm, [[3.0, 2.0, 4.0]])
    np.testing.assert_array_equal(spectra.smallest, [[-3.0, -2.0, 0.5]])


def test_a_hessian_has_negative_eigenvalues():
    """Otherwise the distinction would be idle."""
    problem = generate(problems=4)
    found = block_spectra(problem.stack(), problem.start)
    assert np.any(found.smallest < -0.01)
    np.testing.assert_allclose(
        found.smoothness, np.maximum([[v.max() for v in row] for row in by_instance(found)], 0.0)
    )


def by_instance(spectra):
    return [[nodes[e] for nodes in spectra.nodes] for e in range(spectra.nodes[0].shape[0])]


def from_values(blocks, weights=None):
    """Spectra of one instance."""
    nodes = tuple(np.asarray(b, dtype=float)[None] for b in blocks)
    shares = tuple(np.full(n.shape, 1.0 / n.size) for n in nodes) if weights is None else weights
    cut = Partition("given", tuple(map(str, range(len(blocks)))), tuple(n.size for n in nodes))
    return BlockSpectra(cut, nodes, shares, np.ones(len(blocks), dtype=bool), np.zeros(1))


# What lies off the blocks


def test_off_block_against_dense_norms():
    problem = generate(problems=2)
    found = off_block(problem.stack(), problem.start, "layer")
    hessians, _ = whole_hessian(problem.stack(), problem.start)
    for e, matrix in enumerate(hessians):
        blocks = np.zeros_like(matrix)
        for begin, end in problem.partition("layer").ranges:
            blocks[begin:end, begin:end] = matrix[begin:end, begin:end]
        norms = [np.linalg.norm(m, 2) for m in (matrix - blocks, matrix, blocks)]
        np.testing.assert_allclose(found.spectral[e], norms[0] / norms[1], rtol=1e-12)
        np.testing.assert_allclose(found.frobenius[e], np.linalg.norm(matrix - blocks) / np.linalg.norm(matrix))
        np.testing.assert_allclose(found.whole_over_block[e], norms[1] / norms[2], rtol=1e-12)
    assert np.all(found.spectral > 0.1)


def test_the_norm_of_a_large_matrix(monkeypatch):
    problem = generate(problems=1)
    (matrix,), _ = whole_hessian(problem.stack(), problem.start)
    dense = off_block_of(matrix, problem.partition("module"))
    monkeypatch.setattr("quadsim.simulator.curvature.off_block._DENSE_NORM", 100)  # from here on by Lanczos
    np.testing.assert_allclose(off_block_of(matrix, problem.partition("module")), dense, rtol=1e-10)


def test_spectra_from_the_whole_are_the_same():
    problem = generate(problems=2)
    spectra, rest = spectra_and_off_block(problem.stack(), problem.start, "unit")
    wanted = block_spectra(problem.stack(), problem.start, "unit")
    for found, expected in zip(spectra.nodes, wanted.nodes, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(rest.spectral, off_block(problem.stack(), problem.start, "unit").spectral)


def test_what_is_not_finite_is_nan_beside_the_others():
    problem = generate(MLP(width=4, layers=1), problems=2)
    theta = problem.start * np.array([[1.0], [1e160]])
    spectra, rest = spectra_and_off_block(problem.stack(), theta)
    found = block_spectra(problem.stack(), theta)
    assert np.all(np.isnan(found.largest[1]) == np.isnan(spectra.largest[1]))
    assert np.any(np.isnan(found.smoothness[1]))
    assert np.isnan(rest.spectral[1])
    assert np.isnan(mean_over_pairs(jensen_shannon(found))[1])
    alone = block_spectra(problem.stack(np.array([0])), theta[:1])
    np.testing.assert_array_equal(found.smoothness[0], alone.smoothness[0])
    assert np.isfinite(mean_over_pairs(jensen_shannon(found))[0])


def test_no_curvature_has_no_shares():
    two = Partition("two", ("a", "b"), (1, 1))
    assert np.all(np.isnan(off_block_of(np.zeros((2, 2)), two)))
    assert off_block_of(np.array([[0.0, 1.0], [1.0, 0.0]]), two) == (1.0, 1.0, np.inf)


# Quadrature


@pytest.fixture(scope="module")
def spectra_of_both():
    """Exact spectra of a model and those of a quadrature, 20 nodes and one run."""
    problem = generate(Transformer(width=8, layers=1), problems=2)
    stack = problem.stack()
    return block_spectra(stack, problem.start), block_spectra(stack, problem.start, largest=60, nodes=20, runs=1)


def test_quadrature_finds_the_ends_and_the_moments(spectra_of_both):
    exact, estimated = spectra_of_both
    large = np.flatnonzero(~estimated.exact)
    assert large.size >= 6
    scale = exact.spectral_norm[:, large].max()
    np.testing.assert_allclose(estimated.largest[:, large], exact.largest[:, large], atol=1e-8 * scale)
    np.testing.assert_allclose(estimated.smallest[:, large], exact.smallest[:, large], atol=1e-6 * scale)
    for b in large:
        weights, nodes, values = estimated.weights[b], np.nan_to_num(estimated.nodes[b]), exact.nodes[b]
        np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-12)
        for degree in (1, 2):
            # v'H^k v/P for a vector of signs has the variance 2 sum of off-diagonal squares/P^2.
            error = np.sqrt(2 * np.sum(values ** (2 * degree), axis=1)) / values.shape[1]
            found, wanted = np.sum(weights * nodes**degree, axis=1), np.mean(values**degree, axis=1)
            assert np.all(np.abs(found - wanted) <= 4 * error)


def test_small_blocks_stay_exact(spectra_of_both):
    exact, estimated = spectra_of_both
    assert estimated.exact.sum() >= 3
    for b in np.flatnonzero(estimated.exact):
        np.testing.assert_array_equal(estimated.nodes[b], exact.nodes[b])


def test_quadrature_biases_distances_upward(spectra_of_both):
    """Few nodes leave most bins empty: .433, .399 exact, .448, .405 from 20 nodes of one run on blocks of 64 to 256."""
    exact, estimated = (mean_over_pairs(jensen_shannon(s)) for s in spectra_of_both)
    assert np.all(estimated > exact + 0.003)
    assert np.all(estimated < exact + 0.05)


def test_quadrature_with_all_nodes_is_exact():
    values = np.array([-2.0, 0.0, 0.5, 3.0])
    basis = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    matrix = torch.from_numpy((basis * values) @ basis.T)
    nodes, weights = quadrature(lambda v: matrix @ v, 4, runs=1)
    np.testing.assert_allclose(nodes, values, atol=1e-12)
    np.testing.assert_allclose(np.sum(weights), 1.0)


@pytest.mark.parametrize("scale", [1e-14, 1e8])
def test_quadrature_has_no_unit(scale):
    """The package ends a run at an absolute residual; ours is relative."""
    values = torch.linspace(-1.0, 2.0, 30, dtype=torch.float64)
    one = quadrature(lambda v: values * v, 30, nodes=8)
    other = quadrature(lambda v: scale * values * v, 30, nodes=8)
    np.testing.assert_allclose(other[0], scale * one[0], rtol=1e-6)
    np.testing.assert_allclose(other[1], one[1], rtol=1e-6)


def test_quadrature_of_no_curvature():
    nodes, weights = quadrature(torch.zeros_like, 5, nodes=3, runs=2)
    np.testing.assert_array_equal(nodes, [0.0, 0.0])
    np.testing.assert_allclose(weights, [0.5, 0.5])


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "hessian_eigenthings":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "hessian_eigenthings", raising=False)
    monkeypatch.setattr(builtins, "__import__", missing)
    problem = generate(problems=1)
    with pytest.raises(ValueError, match=r"largest block \(64\) without .* install quadsim\[curvature\]") as caught:
        block_spectra(problem.stack(), problem.start, largest=50)
    assert "\n" not in str(caught.value)


# Distances


def test_distances_have_their_properties():
    rng = np.random.default_rng(3)
    spectra = from_values([rng.normal(size=50), rng.normal(1.0, 2.0, size=30), rng.normal(size=50)])
    (found,) = jensen_shannon(spectra, bins=20)
    np.testing.assert_array_equal(found, found.T)
    assert np.all(np.diag(found) == 0.0)
    assert np.all((found <= 1.0) & (found >= 0.0))
    same = from_values([[0.0, 1.0, 5.0]] * 2)
    assert np.all(jensen_shannon(same) == 0.0)
    disjoint = from_values([[0.0, 0.1], [5.0, 6.0]])
    np.testing.assert_allclose(jensen_shannon(disjoint)[0, 0, 1], 1.0, rtol=1e-15)
    np.testing.assert_allclose(jensen_shannon(disjoint, base=np.e)[0, 0, 1], np.sqrt(np.log(2.0)))


def test_distances_against_scipy():
    rng = np.random.default_rng(4)
    blocks = [rng.normal(size=40), rng.normal(1.0, size=25), rng.uniform(size=33)]
    (found,) = jensen_shannon(from_values(blocks), bins=12, base=2.0)
    edges = np.linspace(min(map(min, blocks)), max(map(max, blocks)), 13)
    counts = [np.histogram(b, edges)[0] for b in blocks]
    wanted = [[jensenshannon(p, q, base=2.0) for p in counts] for q in counts]
    np.testing.assert_allclose(found, wanted, atol=1e-7)  # scipy leaves 1e-8 on the diagonal
    np.testing.assert_allclose(mean_over_pairs(found[None]), np.mean([wanted[0][1], wanted[0][2], wanted[1][2]]))


def test_more_bins_take_spectra_further_apart():
    rng = np.random.default_rng(5)
    spectra = from_values([rng.normal(size=40), rng.normal(size=40)])
    coarse, fine = (jensen_shannon(spectra, bins=b)[0, 0, 1] for b in (4, 64))
    assert coarse < 0.7 * fine


def test_shapes_alone():
    """Normalised by block, a block and three times it are the same; as they are, not. All-zero blocks stay."""
    values = np.array([-1.0, 0.2, 0.6, 2.0])
    spectra = from_values([values, 3 * values])
    assert jensen_shannon(spectra, normalise="block")[0, 0, 1] == 0.0
    assert jensen_shannon(spectra)[0, 0, 1] > 0.5
    assert np.all(jensen_shannon(from_values([[0.0], [0.0]]), normalise="block") == 0.0)


def test_shares_add_up_and_missing_nodes_count_nothing():
    nodes = [np.array([[0.0, 1.0, np.nan], [2.0, 3.0, 4.0]]), np.array([[1.0], [4.0]])]
    weights = [np.array([[0.3, 0.7, 0.0], [0.2, 0.3, 0.5]]), np.array([[1.0], [1.0]])]
    found = histograms(nodes, weights, bins=4)
    np.testing.assert_allclose(found.sum(axis=-1), 1.0)
    np.testing.assert_allclose(found[0], [[0.3, 0, 0, 0.7], [0, 0, 0, 1.0]])
    np.testing.assert_allclose(found[1], [[0.2, 0, 0.3, 0.5], [0, 0, 0, 1.0]])


def test_one_block_has_no_pairs():
    assert np.isnan(mean_over_pairs(jensen_shannon(from_values([[1.0, 2.0]]))))


# Bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, x: block_spectra(s, x[:1]), r"theta must have the shape \(2, 216\), got \(1, 216\); give"),
        (lambda s, x: block_spectra(s, x, "modul"), r"partition must be one of .* did you mean 'module'\?"),
        (lambda s, x: block_spectra(s, x, largest=0), r"largest must be a whole number of at least 1, got 0"),
        (lambda s, x: block_spectra(s, x, largest=9, nodes=0), r"nodes must be a whole number of at least 1, got 0"),
        (
            lambda s, x: whole_hessian(s, x, largest=100),
            r"at most 100 parameters, got 216 \(373 kB each\); raise largest",
        ),
        (lambda s, x: off_block(s, x, largest=100), r"at most 100 parameters, got 216"),
        (lambda s, x: hessian_products(s, x, x), r"tangents must have the shape \(n, 2, 216\), got \(2, 216\)"),
        (lambda s, x: block_spectra(s, x, Partition("p", ("a",), (3,))), r"partition must have 216 coordinates, got 3"),
        (lambda s, x: jensen_shannon(block_spectra(s, x), bins=0), r"bins must be a whole number of at least 1, got 0"),
        (lambda s, x: jensen_shannon(block_spectra(s, x), base=1), r"base must be a number above 1, got 1"),
        (lambda s, x: jensen_shannon(block_spectra(s, x), normalise="max"), r"normalise must be one of none, block"),
    ],
)
def test_bad_input_is_one_line(call, message):
    stack = generate(Transformer(width=4, layers=1, norm="none"), TokenMap(vocabulary=2), problems=2).stack()
    theta = stack.start().numpy()
    with pytest.raises(ValueError, match=message) as caught:
        call(stack, theta)
    assert "\n" not in str(caught.value)
