"""The states of runs, and files of version 0.1, which call a run that did not reach the tolerance `running`.

An earlier file is one of today in which the names are written back.
"""

import h5py
import numpy as np
import pandas as pd
import pytest

from quadsim.simulator import (
    RULES,
    BlockQuadratic,
    SweepConfig,
    ToyProblem,
    TrainingRun,
    Trajectory,
    load_results,
    simulate,
    sweep,
    train,
)
from quadsim.simulator.models import TokenMap
from quadsim.simulator.runs.status import STATUSES, current_frame, statuses_of
from quadsim.simulator.support import store
from quadsim.simulator.sweeps.backends import Serial
from quadsim.simulator.sweeps.results.integrity import checksums
from quadsim.simulator.sweeps.work.rows_file import RowsFile, rows_content
from quadsim.simulator.sweeps.work.sealed import seal

GRID = {"heterogeneity": (1, 100), "seeds": 2, "steps": 50, "block_size": 3, "lr": (0.01, 0.2, 5.0)}
GRID["optimizers"] = ("gd", "heavy-ball")  # neither needs a kernel


def test_every_run_has_one_of_three_states():
    assert STATUSES == ("converged", "not_reached", "diverged")
    found = statuses_of([[True, False], [True, False]], [[False, False], [True, True]])
    assert found.tolist() == [["converged", "not_reached"], ["diverged", "diverged"]]


def written_back(frame):
    """The table as version 0.1 wrote it."""
    if "status" in frame:
        return frame.assign(status=frame["status"].replace("not_reached", "running"))
    return frame.rename(columns={"not_reached": "running"})


@pytest.mark.parametrize("keep", ["rows", "quantiles"])
def test_a_folder_of_an_earlier_version_loads(tmp_path, keep):
    ours = sweep(SweepConfig(**GRID, keep=keep), out=tmp_path / "sweep", present=None)
    summary, best = ours.summary, ours.best
    path = tmp_path / "sweep" / (store.SUMMARY if keep == "rows" else store.HISTOGRAM)
    table = written_back(pd.read_parquet(path))
    assert "running" in (set(table["status"]) if keep == "rows" else table.columns)
    store.write_frame(path, table)
    manifest = store.read_json(tmp_path / "sweep" / store.MANIFEST, "manifest")
    manifest["files"] = checksums(tmp_path / "sweep")
    store.write_json(tmp_path / "sweep" / store.MANIFEST, manifest)

    loaded = load_results(tmp_path / "sweep")
    pd.testing.assert_frame_equal(loaded.summary, summary)
    pd.testing.assert_frame_equal(loaded.best, best)
    assert (loaded.runs, loaded.answers) == (ours.runs, ours.answers)
    again = sweep(SweepConfig(**GRID, keep=keep), out=tmp_path / "sweep", present=None)  # nothing is run
    pd.testing.assert_frame_equal(again.summary, summary)


def test_columns_of_a_judge_keep_their_names():
    rows = pd.DataFrame({"status": ["running", "diverged"], "running": [1, 2]})
    assert current_frame(rows).to_dict("list") == {"status": ["not_reached", "diverged"], "running": [1, 2]}


def write_statuses_back(path):
    with h5py.File(path, "r+") as file:
        stored = file["status"].asstr()[...]
        assert "not_reached" in stored
        file["status"][...] = np.where(stored == "not_reached", "running", stored).astype(object)


def test_a_trajectory_of_an_earlier_version_loads(tmp_path):
    run = simulate(BlockQuadratic.generate(problems=2, heterogeneity=100), "gd", lr=[0.01, 5.0], steps=30)
    run.save(tmp_path / "run.nc")
    write_statuses_back(tmp_path / "run.nc")
    assert Trajectory.load(tmp_path / "run.nc").status.tolist() == [["not_reached", "diverged"]] * 2


def test_a_training_run_of_an_earlier_version_loads(tmp_path):
    problem = ToyProblem.generate("mlp", TokenMap(vocabulary=5, tokens=3), problems=1, width=4, layers=1)
    run = train(problem, "gd", lr=0.01, steps=3)
    run.save(tmp_path / "run.nc")
    write_statuses_back(tmp_path / "run.nc")
    assert TrainingRun.load(tmp_path / "run.nc", problem, RULES["gd"]).status.tolist() == [["not_reached"]]


class Stopped(Serial):
    """Stops after two chunks."""

    def run(self, function, chunks, *, alone=False):
        yield from list(super().run(function, list(chunks)[:2], alone=alone))
        raise KeyboardInterrupt


def test_chunks_of_an_earlier_version_are_recomputed(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        sweep(SweepConfig(**GRID), out=tmp_path / "sweep", backend=Stopped(), present=None)
    chunks = sorted((tmp_path / "sweep" / "units").iterdir())
    assert len(chunks) == 2
    for path in chunks:
        file = RowsFile(path)
        rates = [file.at(rate) for rate in range(3)]
        columns = {name: np.stack([rate[name] for rate in rates]) for name in file.dtypes}
        columns["status"] = np.where(columns["status"] == "not_reached", "running", columns["status"])
        path.unlink()
        seal(path.parent, path.name.partition(".")[0], ".rows", rows_content(columns), "quadsim 0.1.0")
    results = sweep(SweepConfig(**GRID), out=tmp_path / "sweep", present=None)
    assert set(pd.read_parquet(tmp_path / "sweep" / store.SUMMARY)["status"]) == {"not_reached", "diverged"}
    assert len(results.summary) == results.runs == 24
