"""The files of chunks of rows, and rows of best rates that are those of a table of pandas."""

import numpy as np
import pandas as pd
import pytest

from quadsim.simulator.sweeps.results.statistics import _of_one_type, steps_by_seed
from quadsim.simulator.sweeps.work.rows_file import RowsFile, rows_content

COLUMNS = {
    "seed": np.broadcast_to(np.arange(3), (2, 3)),
    "steps": np.array([[1.0, np.inf, np.nan], [-0.0, 5e-324, 1e308]]),
    "solved": np.array([[True, False, True], [False, False, True]]),
    "status": np.array([["converged", "diverged", "converged"], ["not_reached", "ü", ""]]),
    "theorem": np.array([["gd-upper", None, "gd-upper"], ["", "", ""]], dtype=object),
    "curve:gap": np.arange(24.0).reshape(2, 3, 4),
}


@pytest.fixture
def file(tmp_path):
    (tmp_path / "a.rows").write_bytes(rows_content(COLUMNS))
    return RowsFile(tmp_path / "a.rows")


@pytest.mark.parametrize("rate", [0, 1])
def test_every_rate_is_read_as_it_was_written(file, rate):
    found = file.at(rate)
    assert list(found) == list(COLUMNS)
    for name, values in found.items():
        own = COLUMNS[name][rate]
        if own.dtype.kind in "OU":
            assert values.tolist() == own.tolist()
            assert file.dtypes[name].kind == "O"
        else:
            assert values.dtype == own.dtype == file.dtypes[name]
            assert values.tobytes() == own.tobytes()


def test_no_more_is_read_than_is_asked_for(file):
    assert list(file.at(1, ["status", "not there", "seed"])) == ["status", "seed"]


def test_a_column_of_something_else_is_refused():
    with pytest.raises(TypeError, match=r"column verdict must hold numbers or texts, got 3; "):
        rows_content({"verdict": np.array([["holds", 3]], dtype=object)})


@pytest.mark.parametrize(
    "values",
    [[1, 2], [1, 2.5], [1, None], [None, None], ["a", None], [True, False], [np.float64(1.5), 2], ["a", "b"]],
)
def test_a_column_has_the_values_that_a_table_gives_back(values):
    theirs = pd.DataFrame([{"it": value} for value in values]).to_dict("records")
    ours = _of_one_type(list(values))
    for mine, row in zip(ours, theirs, strict=True):
        other = row["it"]
        assert type(mine) is type(other)
        assert mine == other or (mine != mine and other != other)


def test_steps_are_those_of_the_reported_seeds_in_order():
    runs = {
        "seed": np.array([3, 0, 1, 2]),
        "status": np.array(["converged", "converged", "diverged", "not_reached"]),
        "steps": np.array([7.0, 4.0, 5.0, np.inf]),
    }
    assert steps_by_seed(runs, "steps", [0, 1, 3]).tolist() == [4.0, np.inf, 7.0]
