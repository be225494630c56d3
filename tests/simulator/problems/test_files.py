"""Problems from files: every format gives the matrices that it holds, and bad files are refused in one line."""

import io
import json
import re
from fractions import Fraction

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from quadsim.simulator import load_problem
from quadsim.simulator.problems.files import read_blocks, write_blocks

A, B = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[3.0]])
WHOLE = np.array([[2.0, 0, 1, 0], [0, 3.0, 0, 0], [1, 0, 2.0, 0], [0, 0, 0, 0.5]])  # coordinates 0 and 2 are coupled


def dense(problem):
    return problem.dense(0)[0]


def joined(*blocks):
    return np.block([
        [b if i == j else np.zeros((len(a), len(b))) for j, b in enumerate(blocks)] for i, a in enumerate(blocks)
    ])


def test_npz_blocks_are_in_the_order_of_their_numbers(tmp_path):
    blocks = [np.array([[float(n + 1)]]) for n in range(12)]
    np.savez(tmp_path / "own.npz", **{f"block_{n}": b for n, b in reversed(list(enumerate(blocks)))})
    problem = load_problem(tmp_path / "own.npz", problems=3, seed=2)
    assert problem.problems == 3
    np.testing.assert_array_equal(dense(problem), joined(*blocks))
    np.savez(tmp_path / "named.npz", second=B, first=A, minimizer=[1.0, 2, 3])
    zero = load_problem(tmp_path / "named.npz", initial_error="zero-start")
    np.testing.assert_array_equal(zero.dense(0)[1], [-1.0, -2, -3])
    np.testing.assert_array_equal(dense(zero), joined(A, B))


def test_a_file_has_its_own_start(tmp_path):
    np.savez(tmp_path / "own.npz", a=A, b=B, initial_error=[1.0, 2, 3], minimizer=[0.0, 0, 1])
    problem = load_problem(tmp_path / "own.npz")
    np.testing.assert_array_equal(problem.dense(0)[1], [1.0, 2, 3])
    np.testing.assert_array_equal(problem.minimizer[1], [[[1.0]]])
    drawn = load_problem(tmp_path / "own.npz", initial_error="normal", problems=2)
    assert drawn.dials["initial_error"] == "normal"


@pytest.mark.parametrize("sparse", [True, False])
def test_a_matrix_is_divided_into_connected_components(tmp_path, sparse):
    scipy.io.mmwrite(tmp_path / "whole.mtx", scipy.sparse.coo_array(WHOLE) if sparse else WHOLE)
    found = read_blocks(tmp_path / "whole.mtx")
    assert found.partition == "3 connected components of the sparsity pattern"
    assert found.order.tolist() == [0, 2, 1, 3]
    np.testing.assert_array_equal(dense(found.problem()), WHOLE[np.ix_(found.order, found.order)])
    given = load_problem(tmp_path / "whole.mtx", partition=[3, 1])
    np.testing.assert_array_equal(dense(given), WHOLE)
    assert given.block_sizes == (3, 1)


def test_vectors_are_reordered_with_the_matrix(tmp_path):
    (tmp_path / "own.json").write_text(json.dumps({"matrix": WHOLE.tolist(), "initial_error": [10, 11, 12, 13]}))
    problem = load_problem(tmp_path / "own.json")
    np.testing.assert_array_equal(problem.dense(0)[1], [10.0, 12, 11, 13])


def test_json_keeps_integers_exactly(tmp_path):
    content = {"blocks": [[[2, 1], [1, 2]], [[2**60 + 1]]], "initial_error": [1, 2, 3]}
    (tmp_path / "own.json").write_text(json.dumps(content))
    exact = load_problem(tmp_path / "own.json").exact
    assert exact.blocks[1] == ((Fraction(2**60 + 1),),)
    (tmp_path / "one.json").write_text(json.dumps({"matrix": [[2, 1, 0], [1, 2, 0], [0, 0, 5]], "partition": [2, 1]}))
    assert load_problem(tmp_path / "one.json", initial_error=[1, 1, 1]).exact.blocks[1] == ((Fraction(5),),)


def test_blocks_that_are_written_are_read_again(tmp_path):
    batch = np.stack([A, 2 * A])
    write_blocks(tmp_path / "own.npz", [batch, np.stack([B, B])], minimizer=np.ones(3))
    found = load_problem(tmp_path / "own.npz", seed=1)
    assert found.problems == 2
    np.testing.assert_array_equal(found.hessian[2][:, 0], batch)


BAD = {
    "missing.npz": (None, {}, r"problem file must exist, got .*missing.npz; check the name"),
    "own.txt": (b"1", {}, r"problem file must end in \.npz, \.mtx, \.json, got own\.txt; save the blocks as"),
    "broken.npz": (b"PK", {}, r"problem file must be a readable \.npz file, got broken\.npz \(.*\); write it again"),
    "broken.mtx": (b"%%Matrix", {}, r"problem file must be a readable \.mtx file, got broken\.mtx"),
    "broken.json": (b"{", {}, r"problem file must be a readable \.json file, got broken\.json"),
    "other.json": (
        b'{"block": []}',
        {},
        r"readable \.json file, got other\.json \(it must be \{\"blocks\": .*got block\)",
    ),
    "empty.json": (b'{"blocks": []}', {}, r"problem file must hold at least one block, got none in empty\.json"),
    "text.json": (b'{"blocks": [[["a"]]]}', {}, r"blocks\[0\] must hold numbers, got"),
    "oblong.json": (b'{"matrix": [[1, 2]]}', {}, r"matrix must be square, \(P, P\), got shape \(1, 2\)"),
    "cut.json": (
        b'{"matrix": [[2, 1], [1, 2]], "partition": [1, 1]}',
        {},
        r"partition must hold all of the matrix, got 0.447 of its Frobenius norm outside the blocks; merge",
    ),
    "short.json": (
        b'{"matrix": [[2, 1], [1, 2]]}',
        {"partition": [1]},
        r"must add up to the number of coordinates \(2\), got 1",
    ),
    "zero.json": (
        b'{"matrix": [[2, 1], [1, 2]]}',
        {"partition": [0, 2]},
        r"partition must be a whole number of at least 1",
    ),
    "two.json": (
        b'{"blocks": [[[1]], [[2]]]}',
        {"partition": [1, 1]},
        r"partition must come with a single matrix, got 2",
    ),
    "indefinite.json": (
        b'{"blocks": [[[1, 2], [2, 1]]]}',
        {},
        r"blocks\[0\] must be positive semi-definite, got an indef",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_one_line(tmp_path, name):
    content, arguments, message = BAD[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_problem(tmp_path / name, **arguments)
    assert not re.search("\n", str(caught.value))


def _saved(**arrays) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def _single(array) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


_NPZ, _MTX = _saved(block_0=A), b"%%MatrixMarket matrix coordinate real symmetric\n2 2 2\n1 1 1.5\n2 2 2.5e-1"
DAMAGED = {
    "half.npz": _NPZ[: len(_NPZ) // 2],
    "begin.npz": b"XX" + _NPZ[2:],
    "numbers.npz": _NPZ[:-200] + b"\xff" * 40 + _NPZ[-160:],
    "text.npz": b"not an archive at all",
    "nothing.npz": b"",
    "objects.npz": _saved(block_0=np.array([{"a": 1}], dtype=object)),
    "single.npz": _single(A),
    "cut.mtx": _MTX[:-1],  # ends within a number
    "zeros.mtx": _MTX.replace(b"1.5", b"1.\0" + b"9" * 40),
    "text.mtx": b"not a matrix at all",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_refused_in_our_own_words(tmp_path, name):
    """The libraries that read them give advice of their own (allow_pickle), raise any kind of error, or end the process."""
    (tmp_path / name).write_bytes(DAMAGED[name])
    with pytest.raises(ValueError, match=r"a part of it is missing or damaged\); write it again\.$") as caught:
        load_problem(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert "pickle" not in str(caught.value)


def test_a_matrix_whose_file_has_no_last_line_end_is_read(tmp_path):
    (tmp_path / "whole.mtx").write_bytes(_MTX)
    np.testing.assert_array_equal([block.item() for block in read_blocks(tmp_path / "whole.mtx").blocks], [1.5, 0.25])


def test_rows_of_a_block_that_differ_in_length_are_named(tmp_path):
    (tmp_path / "ragged.json").write_text('{"blocks": [[[1]], [[1, 0], [0]]]}')
    with pytest.raises(ValueError, match=r"^blocks\[1\] must hold numbers, got .*rows differ in length"):
        load_problem(tmp_path / "ragged.json")
