"""A finished sweep that grows: the union is that of a fresh run bit for bit, only the difference is run, and nothing is lost."""

import json
import re
import shutil
from pathlib import Path

import pytest
from cases import BAD_EXTENSIONS
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.simulator import ModelSweepConfig, SweepConfig, extend, load_results, sweep
from quadsim.simulator.support import store
from quadsim.simulator.sweeps.backends import Serial
from quadsim.simulator.sweeps.results.integrity import EXTENSION
from quadsim.simulator.sweeps.run import extension
from quadsim.simulator.sweeps.run import folder as folders
from quadsim.theory import judge

GRID = {"heterogeneity": (1, 10), "seeds": 5, "steps": 300, "block_size": 3, "blocks": 2}
GRID["optimizers"] = ("gd", "heavy-ball")  # neither needs a kernel

TINY = {"heterogeneity": (1,), "optimizers": ("gd",), "lr": (0.1, 1.0), "seeds": 2}


class Counting(Serial):
    """Counts the runs, and stops after so many chunks."""

    def __init__(self, after=None):
        self.after, self.chunks, self.runs = after, [], 0

    def run(self, function, chunks, *, alone=False):
        for chunk, found in super().run(function, chunks, alone=alone):
            self.chunks.append(chunk)
            self.runs += chunk.seeds[1] * (chunk.exponents[1] - chunk.exponents[0] + 1)
            yield chunk, found
            if len(self.chunks) == self.after:
                raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Gives a function that returns a copy of the finished sweep of a grid."""
    made = {}

    def copy(to, **changes):
        key = json.dumps(changes)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("extension") / "a"
            sweep(SweepConfig(**GRID | changes), judge, out=made[key], present=None)
        return shutil.copytree(made[key], to)

    return copy


def table(folder):
    name = next(name for name in (store.SUMMARY, store.HISTOGRAM) if (folder / name).is_file())
    return (folder / name).read_bytes()


def assert_is_fresh(folder, fresh):
    """Whether a folder holds what a fresh run gives, and nothing else."""
    found = load_results(folder)
    assert found.config == fresh.config
    assert table(folder) == table(fresh.folder)
    assert found.answers == fresh.answers
    if fresh.curves is not None:
        assert found.curves.identical(fresh.curves)
        assert found.curves["gap"].values.tobytes() == fresh.curves["gap"].values.tobytes()
    assert {path.name for path in folder.iterdir()} == {path.name for path in fresh.folder.iterdir()}


@pytest.mark.parametrize(
    ("start", "changes", "whole"),
    [
        ({}, {"seeds": 9, "heterogeneity": 3}, {"seeds": 9, "heterogeneity": (1, 3, 10)}),
        ({}, {"optimizers": "nesterov"}, {"optimizers": ("gd", "heavy-ball", "nesterov")}),
        (
            {"optimizers": ("heavy-ball",)},
            {"optimizers": "heavy-ball:momentum=0.5|0.9"},
            {"optimizers": ("heavy-ball", "heavy-ball:momentum=0.5|0.9")},
        ),
        ({}, {"lr_density": 8}, {"lr_density": 8}),
        ({"lr": (0.1,)}, {"lr": (0.05, 0.3), "seeds": 6}, {"lr": (0.05, 0.1, 0.3), "seeds": 6}),
        ({"keep": "quantiles"}, {"seeds": 9, "lr_density": 8}, {"keep": "quantiles", "seeds": 9, "lr_density": 8}),
        ({}, {"blocks": 1, "gradient_heterogeneity": 2.0}, None),
    ],
    ids=lambda value: json.dumps(value),
)
def test_the_union_is_a_fresh_run_and_only_the_difference_is_run(finished, tmp_path, start, changes, whole):
    folder = finished(tmp_path / "a", **start)
    before = load_results(folder)
    runs = before.runs  # read now, as the folder changes
    if whole is None:  # dials that contradict each other where they are crossed
        with pytest.raises(ValueError, match="heterogeneity must be 1 with one block"):
            extend(folder, judge, **changes)
        assert load_results(folder).config == before.config
        return
    ran = Counting()
    extend(folder, judge, backend=ran, present=None, **changes)
    fresh = sweep(SweepConfig(**GRID | start | whole), judge, out=tmp_path / "b", present=None)
    assert_is_fresh(folder, fresh)
    assert ran.runs == fresh.runs - runs
    again = Counting()
    extend(folder, judge, backend=again, present=None, **changes)
    assert again.runs == 0


def test_the_curves_of_another_best_rate_are_run_again_and_no_more(finished, tmp_path):
    folder = finished(tmp_path / "a", seeds=1)
    before, ran = load_results(folder), Counting()
    runs, rates = before.runs, before.best["lr"]
    after = extend(folder, judge, backend=ran, present=None, seeds=12)
    assert_is_fresh(folder, sweep(SweepConfig(**GRID | {"seeds": 12}), judge, out=tmp_path / "b", present=None))
    changed = int((rates != after.best["lr"]).sum())
    assert changed > 0
    assert ran.runs == after.runs - runs + changed


def test_rates_run_together_where_their_bits_depend_on_it(finished, tmp_path):
    """The engine reference multiplies one matrix for all rates, and rounds differently for a single one."""
    changes = {"lr_density": 8, "seeds": 6}
    folder = finished(tmp_path / "a", engine="reference", steps=60)
    ran = Counting()
    extend(folder, judge, backend=ran, present=None, **changes)
    config = SweepConfig(**GRID | changes | {"engine": "reference", "steps": 60})
    assert_is_fresh(folder, sweep(config, judge, out=tmp_path / "b", present=None))
    assert all(chunk.exponents[1] > chunk.exponents[0] for chunk in ran.chunks)


@pytest.mark.slow
def test_toy_models_grow(tmp_path):
    grid = {"model": "mlp", "heterogeneity": (1,), "steps": 40, "optimizers": ("gd", "adam"), "lr": (0.01, 0.1)}
    sweep(ModelSweepConfig(**grid, seeds=2), out=tmp_path / "a", present=None)
    ran = Counting()
    found = extend(tmp_path / "a", backend=ran, present=None, seeds=3, heterogeneity=10)
    fresh = sweep(ModelSweepConfig(**grid | {"heterogeneity": (1, 10)}, seeds=3), out=tmp_path / "b", present=None)
    assert table(tmp_path / "a") == table(tmp_path / "b")
    assert found.curves.identical(fresh.curves)
    assert ran.runs == 16


@pytest.mark.parametrize("after", [1, 4])
def test_an_interrupted_extension_leaves_the_old_results_and_goes_on(finished, tmp_path, after):
    folder = finished(tmp_path / "a", lr=(0.1, 1.0))
    old, first = table(folder), Counting(after)
    changes = {"seeds": 7, "heterogeneity": (100,)}
    with pytest.raises(KeyboardInterrupt):
        extend(folder, judge, backend=first, **changes)
    assert table(folder) == old
    assert load_results(folder).config.seeds == 5
    rest = Counting()
    extend(folder, judge, backend=rest, present=None, **changes)
    assert {chunk.key for chunk in first.chunks}.isdisjoint(chunk.key for chunk in rest.chunks)
    config = SweepConfig(**GRID | {"lr": (0.1, 1.0), "seeds": 7, "heterogeneity": (1, 10, 100)})
    assert_is_fresh(folder, sweep(config, judge, out=tmp_path / "b", present=None))


def test_wherever_the_files_stop_taking_their_place_the_folder_is_whole(finished, tmp_path, monkeypatch):
    """Once the manifest of the new results is written they are read, at every moment until their files are in place."""
    grown = finished(tmp_path / "grown", **TINY)
    with monkeypatch.context() as patch:
        patch.setattr(extension, "settle", lambda folder: None)
        new = extend(grown, judge, present=None, heterogeneity=3)
    assert new.config.heterogeneity == (1.0, 3.0)
    assert list(grown.glob(f"{EXTENSION}*"))
    (grown / "figures").mkdir()
    stops = 0
    for stop in range(30):
        folder, left = shutil.copytree(grown, tmp_path / str(stop)), [stop]

        def step(function, left=left):
            def counted(*args, **kwargs):
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt
                return function(*args, **kwargs)

            return counted

        seen = load_results(folder)
        with monkeypatch.context() as patch:
            for where, name in ((store, "write_whole"), (folders.shutil, "rmtree"), (Path, "unlink")):
                patch.setattr(where, name, step(getattr(where, name)))
            try:
                folders.settle(folder)
                ended = True
            except KeyboardInterrupt:
                ended = False
        for found in (load_results(folder), seen):  # results that were opened before are still readable, too
            assert found.config == new.config
            assert len(found.summary) == new.runs
        folders.settle(folder)
        assert table(folder) == table(grown / next(path.name for path in grown.glob(f"{EXTENSION}*")))
        assert load_results(folder).config == new.config
        stops += not ended
        if ended:
            assert not list(folder.glob(f"{EXTENSION}*"))
            break
    assert ended
    assert stops >= 6


def test_results_of_other_code_are_not_extended(finished, tmp_path):
    folder = finished(tmp_path / "a")
    manifest = json.loads((folder / "manifest.json").read_text())
    for made in ("quadsim 0123456789ab, torch 1", None):
        (folder / "manifest.json").write_text(json.dumps(manifest | {"producer": made}))
        with pytest.raises(
            ValueError, match=f"this version .* got .*, made by {made or 'one that did not record itself'}; run"
        ):
            extend(folder, judge, seeds=6)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="judged by"):
        extend(folder, seeds=6)
    assert not list(folder.glob(f"{EXTENSION}*"))


@pytest.mark.parametrize(
    ("arguments", "message"), BAD_EXTENSIONS, ids=lambda x: " ".join(x) if isinstance(x, list) else ""
)
def test_bad_extensions_are_one_line_and_change_nothing(finished, tmp_path, monkeypatch, arguments, message):
    folder = finished(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    result = CliRunner().invoke(app, ["sweep", *arguments], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.strip().splitlines()) == 1
    assert re.search(message, result.stderr), result.stderr
    assert ";" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert folder.is_dir()


def test_the_command_extends_and_says_when_nothing_is_missing(finished, tmp_path, monkeypatch):
    finished(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    arguments = ["sweep", "--extend", "a", "--seeds", "6", "--heterogeneity", "3", "--json"]
    first = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert first.exit_code == 0, first.stderr
    assert json.loads(first.stdout)["config"]["heterogeneity"] == [1, 3, 10]
    assert (tmp_path / "a" / "report.html").is_file()
    again = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert "Already finished" in again.stderr
