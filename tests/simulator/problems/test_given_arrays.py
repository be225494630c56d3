"""What users hold their matrices in: every kind of array is read as what it is, or refused in one line that says what to do."""

import warnings
from collections import deque
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sympy as sp
import torch
import xarray as xr

from quadsim.simulator import BlockQuadratic, SweepConfig, ToyProblem, grid, simulate

H = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, 0.25], [0.5, 0.25, 2.0]])
E = [1.0, 2.0, 3.0]
LABELS = list("abc")
FRAME = pd.DataFrame(H, index=LABELS, columns=LABELS)


def from_block(matrix, error=E, **others):
    return BlockQuadratic.from_blocks([matrix], initial_error=error, **others)


def with_other_half(value, lower=True):
    out = np.tril(H) if lower else np.triu(H)
    out[np.triu_indices(3, 1) if lower else np.tril_indices(3, -1)] = value
    return out


LOWER = r"the lower triangle L of one alone; use L \+ L\.T - np\.diag\(np\.diag\(L\)\), or, if it is a Cholesky factor, L @ L\.T"
UPPER = r"the upper triangle U of one alone; use U \+ U\.T - np\.diag\(np\.diag\(U\)\), or, if it is a Cholesky factor, U\.T @ U"


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.tril(H), LOWER),
        (np.triu(H), UPPER),
        (torch.tensor(H).tril(), LOWER),
        (pd.DataFrame(np.triu(H)), UPPER),
        (np.stack([H, np.tril(H)]), LOWER),
        ([[2, 0, 0], [1, 3, 0], [0, 1, 2]], LOWER),
        (
            with_other_half(1.0),
            r"the lower triangle of one with 1 in all other places; use np\.tril\(H\) \+ np\.tril\(H, -1\)\.T",
        ),
        (
            with_other_half(np.nan, lower=False),
            r"the upper .* with NaN in all .*; use np\.triu\(H\) \+ np\.triu\(H, 1\)\.T",
        ),
        (H + 1e-8 * np.tril(H, -1), r"differs from its transpose by up to 1e-08; use \(H \+ H.T\) / 2"),
        (H + 0.3 * np.tril(H, -1), r"differs from its transpose by up to 0\.3; that is more than rounding"),
        (np.array([[2.0, 1.0], [0.5, 3.0]]), r"by up to 0\.5; that is more than rounding"),  # a lone 1 is no unit half
    ],
)
def test_a_triangle_is_told_from_a_matrix_that_is_almost_symmetric(matrix, message):
    with pytest.raises(ValueError, match=rf"^blocks\[0\] must be (a )?symmetric.*{message}[^\n]*\.$"):
        from_block(matrix, np.ones(np.shape(matrix)[-1]))


@pytest.mark.parametrize("half", [np.tril, np.triu])
def test_what_the_advice_on_a_triangle_makes_is_the_matrix(half):
    part = half(H)
    np.testing.assert_array_equal(part + part.T - np.diag(np.diag(part)), H)


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8)


def nested(layout=torch.strided):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=layout)


def fake():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return torch.ones(3, 3)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (scipy.sparse.csr_matrix(H), r"a sparse csr_matrix; use \.toarray\(\)"),
        (scipy.sparse.coo_array(H), r"a sparse coo_array; use \.toarray\(\)"),
        (torch.eye(3).to_sparse(), r"layout torch\.sparse_coo; use \.to_dense\(\)"),
        (torch.eye(3, device="meta"), "device meta, which has none"),
        (np.ma.masked_greater(H, 3.5), r"masked entries, got 1 of them; fill them"),
        ([np.ma.array(row, mask=[0, 0, 1]) for row in H], "masked entries"),
        (FRAME.loc[list("bac")], r"rows in the order of its columns, got rows b, a, c and columns a, b, c; reindex"),
        (pd.DataFrame(H, index=LABELS, columns=list("xyz")), "the same labels on rows and columns"),
        (xr.DataArray(H, dims=("i", "j"), coords={"i": list("bac"), "j": LABELS}), "rows in the order of its columns"),
        (xr.Dataset({"a": 1}), "got a Dataset"),
        (FRAME.astype(str), r"got '4\.0' at \(0, 0\)"),
        (np.array([[None, 1.0], [1.0, 2.0]]), r"got None at \(0, 0\); give a number in every place"),
        ([["2", "1"], ["1", "2"]], "numbers, not text"),
        (np.array([[2, "1"], ["1", 2]], dtype=object), r"got '1' at \(0, 1\)"),
        (H.astype(complex), r"the imaginary parts are all 0, so use \.real"),
        (H + 1j * np.eye(3), "imaginary parts reach 1"),
        (torch.tensor(H, dtype=torch.complex128).conj(), r"use \.real"),
        ([[10**400]], "must hold numbers"),
        (np.eye(3, dtype=bool), r"not truth values \(\.astype\(float\)"),
        (torch.eye(3) > 0, "not truth values"),
        (np.array([(1.0, 2.0)], dtype=[("a", float), ("b", float)]), "one field of the records"),
        ([[1, 2], [2]], r"rectangular array \(rows differ in length\)"),
        (sp.Matrix([[sp.Symbol("x")]]), "must hold numbers"),
        ([[2 + sp.I]], "must hold numbers"),
        (object(), "must hold numbers"),
    ],
)
def test_an_array_of_which_a_part_would_be_lost_is_refused(matrix, message):
    with pytest.raises(ValueError, match=message) as found:
        from_block(matrix)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (quantised, r"use \.dequantize\(\)"),
        (nested, "nested tensor"),
        (lambda: nested(torch.jagged), "nested tensor"),
        (fake, "a tensor without any here"),
    ],
)
def test_tensors_without_plain_numbers_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        from_block(make())


def test_a_tensor_within_a_transformation_is_refused():
    def inner(matrix):
        with pytest.raises(ValueError, match="a tensor without any here"):
            from_block(matrix)
        return matrix.sum()

    torch.func.vmap(inner)(torch.eye(3)[None])


@pytest.mark.parametrize(
    "matrix",
    [
        torch.tensor(H, requires_grad=True),
        [[torch.tensor(x, requires_grad=True) for x in row] for row in H.tolist()],
        np.ma.array(H),
        FRAME,
        pd.DataFrame(H, index=LABELS),
        FRAME.astype("Float64"),
        xr.DataArray(H, dims=("i", "j"), coords={"i": LABELS, "j": LABELS}),
        H.view(np.matrix),
        H.astype(">f8"),
        H.astype(np.float16),
        torch.tensor(H, dtype=torch.bfloat16),
        np.repeat(np.repeat(H, 2, 0), 2, 1)[::2, ::2],
        [[Decimal(x) for x in row] for row in H.tolist()],
        [[Fraction(x) for x in row] for row in H.tolist()],
        sp.Matrix(H.tolist()),
        deque(H.tolist()),
    ],
)
def test_every_dense_array_is_read_as_what_it_holds(matrix):
    problem = from_block(matrix)
    np.testing.assert_array_equal(problem.hessian[3][0, 0], H)


def test_iterators_and_read_only_arrays_are_read():
    fixed = H.copy()
    fixed.flags.writeable = False
    problem = BlockQuadratic.from_blocks((m for m in [fixed, (iter(r) for r in H.tolist())]), initial_error=iter(E * 2))
    np.testing.assert_array_equal(problem.hessian[3][0], [H, H])
    exact = BlockQuadratic.from_blocks([torch.tensor([[2**53 + 1]])], initial_error=iter([1])).exact
    assert exact.blocks[0][0][0] == 2**53 + 1


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        (H, "blocks must be a list with one matrix per block, got a single ndarray"),
        (torch.tensor(H), "got a single Tensor"),
        (FRAME, "got a single DataFrame"),
        (scipy.sparse.csr_matrix(H), "got a single csr_matrix"),
        (H.tolist(), r"a single matrix goes in a list: \[H\]"),
        (sp.eye(3), "one matrix per block"),
        ({"a": H}, "got a dict"),
        (5.0, "got a float"),
        (np.array(5.0), "got a single ndarray"),
        ("H", "got a str"),
    ],
)
def test_blocks_are_a_list(blocks, message):
    with pytest.raises(ValueError, match=message):
        BlockQuadratic.from_blocks(blocks, initial_error=E)


@pytest.mark.parametrize("name", ["initial_error", "minimizer"])
@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.ma.masked_greater(np.array(E), 2.5), "masked entries, got 1"),
        ([1.0, np.ma.masked, 2.0], "masked entries"),
        (scipy.sparse.csr_matrix(np.array([E])), r"\.toarray\(\)"),
        (pd.Series(E, index=list("bca")), "must have its labels in the order of the blocks, got b, c, a for a, b, c"),
        (pd.Series([1, None, 2], dtype="Int64"), "must be finite"),
        (np.array(["2020-01-01"] * 3, dtype="M8[D]"), "numbers, not dates"),
        ({1.0, 2.0, 3.0}, "no order of its own"),
        ({"a": 1.0}, "no order of its own"),
        (b"123", "numbers, not text"),
    ],
)
def test_vectors_are_checked_as_matrices_are(name, vector, message):
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        from_block(FRAME, **({"error": vector} if name == "initial_error" else {"minimizer": vector}))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BlockQuadratic.from_spectra([[1.0, 2.0], np.ma.array([1.0, 2.0], mask=[0, 1])]), "masked entries"),
        (lambda: BlockQuadratic.from_spectra([[1.0, None]]), "got None at 1"),
        (lambda: BlockQuadratic.from_spectra({"a": [1.0]}), "got a dict"),
        (lambda: BlockQuadratic.from_spectra(FRAME), "got a single DataFrame"),
        (
            lambda: simulate(from_block(H), "gd", lr=np.ma.array([0.1, 0.2], mask=[0, 1]), steps=3),
            "lr must not have masked",
        ),
        (lambda: simulate(from_block(H), "gd", lr=[[0.1], [0.1, 0.2]], steps=3), "rows differ in length"),
        (lambda: from_block(np.stack([H, H])).select([True, False]), r"use np\.flatnonzero"),
        (lambda: from_block(H).select([0.5]), r"problems must be whole numbers from -1 to 0, got \[0\.5\]"),
        (lambda: from_block(H).select([3]), r"problems must be whole numbers from -1 to 0"),
        (lambda: grid(lr=[0.1], beta1=["a"]), "beta1 must hold numbers"),
        (lambda: ToyProblem.generate("mlp", problems=1).select([True]), r"use np\.flatnonzero"),
        (lambda: ToyProblem.generate("mlp", problems=1, heterogeneity=[1, None]), "got None"),
        (lambda: BlockQuadratic.generate(block_size=[[1], [1, 2]]), "rows differ in length"),
    ],
)
def test_other_arrays_are_read_in_the_same_way(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_tensors_and_series_serve_as_dials_and_rates():
    rates = torch.tensor([0.1, 0.2], dtype=torch.float64, requires_grad=True)
    runs = [
        simulate(from_block(H), "gd", lr=lr, steps=3).gap
        for lr in ([0.1, 0.2], rates, pd.Series([0.1, 0.2]), iter([0.1, 0.2]))
    ]
    assert all(np.array_equal(run, runs[0]) for run in runs)
    dial = torch.tensor([1.0, 10.0])
    assert ToyProblem.generate("mlp", problems=1, heterogeneity=dial).heterogeneity.tolist() == [1.0, 10.0]
    assert SweepConfig(heterogeneity=dial).heterogeneity == (1.0, 10.0)
    assert BlockQuadratic.generate(block_size=torch.tensor([2, 3])).block_sizes == (2, 3)
    problem = ToyProblem.generate("mlp", problems=1, layers=1, width=4)
    moved = problem.starting_at(torch.tensor(problem.start, requires_grad=True))
    np.testing.assert_array_equal(moved.start, problem.start)
