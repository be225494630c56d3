"""Problem families: a third one sweeps, resumes, draws and reports by its record alone, and no code branches on a kind."""

import ast
import importlib
import inspect
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from quartic import QUARTIC, QuarticConfig, QuarticWork
from typer.testing import CliRunner

from quadsim.cli.app import app
from quadsim.simulator import SweepConfig, load_results, sweep
from quadsim.simulator.sweeps.config import families
from quadsim.simulator.sweeps.config.families import FAMILIES, config_from_json, family_of, imported
from quadsim.simulator.sweeps.run.driver import estimate, work_of

ROOT = Path(__file__).parents[3]
SMALL = {"seeds": 6, "steps": 120, "lr_density": 2, "sharpness": (10.0, 1.0)}


@pytest.fixture
def quartic(monkeypatch):
    monkeypatch.setitem(FAMILIES, "quartic", QUARTIC)  # the one line that registers a family


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


def test_a_third_family_sweeps_is_stored_and_read_again(quartic, tmp_path):
    config = QuarticConfig(**SMALL)
    assert config_from_json(config.to_json()) == config
    results = sweep(config, out=tmp_path / "q", present=None)
    assert results.summary[["sharpness", "seed", "optimizer", "lr"]].drop_duplicates().shape[0] == results.runs
    assert results.runs >= 2 * 2 * 6 * 5
    row = results.summary.query("optimizer == 'gd' and status == 'converged' and best_lr").iloc[0]
    e, start = np.random.default_rng((0, int(row["seed"]))).normal(), None
    for step in range(int(row["steps_to_tolerance"]) + 1):  # recomputed by hand, with numbers in place of arrays
        height = row["sharpness"] * e**4 / 4 + e**2 / 2
        start = height if start is None else start
        assert (height <= 0.01 * start) == (step == row["steps_to_tolerance"])
        e -= row["lr"] * (row["sharpness"] * e**3 + e)
    assert start == pytest.approx(row["initial_height"], rel=1e-12)
    assert results.best.query("optimizer == 'gd'")["final_height_median"].lt(1e-10).all()
    text = results.answers[0]
    assert text.startswith("Steps until the height is 0.01 of the start. From sharpness 1 to 10, steps ")
    again = load_results(tmp_path / "q")
    pd.testing.assert_frame_equal(again.summary, results.summary, check_exact=True)
    np.testing.assert_array_equal(again.curves["height"], results.curves["height"])
    assert estimate(config).runs == 2 * 2 * 6 * 5


def test_a_third_family_goes_on_where_it_was_interrupted(quartic, tmp_path, monkeypatch):
    config, real, calls = QuarticConfig(**SMALL), QuarticWork.run, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(self, *arguments)

    whole = sweep(config)
    monkeypatch.setattr(QuarticWork, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(config, out=tmp_path / "q", present=None)
    chunks = sorted((tmp_path / "q/units").iterdir())
    assert len(chunks) == 3
    chunks[0].write_bytes(chunks[0].read_bytes()[:-100])
    results = sweep(config, out=tmp_path / "q", present=None)
    pd.testing.assert_frame_equal(results.summary, whole.summary, check_exact=True)
    groups = whole.summary.groupby(["point", "optimizer"])["lr"].nunique()
    pieces = 1 + (int(groups.iloc[0]) - 5) // 2  # the first grid and its extensions by a decade of two rates
    assert len(calls) == 4 + len(groups) * 2 * pieces - 2


def test_a_third_family_is_drawn_and_reported(quartic, tmp_path):
    config, folder = QuarticConfig(**SMALL), tmp_path / "q"
    results = sweep(config, out=folder)
    assert results.figures == ("steps", "height", "rates")
    for name in results.figures:
        assert (folder / f"figures/{name}.png").stat().st_size > 10_000
    done = run("sweep", "--config", folder / "config.json", "--out", tmp_path / "again")
    assert done.exit_code == 0, done.stderr
    assert "sharpness" in done.stdout
    assert "bound" not in done.stdout
    for place in (folder, tmp_path / "again"):
        assert run("report", place).exit_code == 0
        page = (place / "report.html").read_text(encoding="utf-8")
        assert "<title>How many steps gd and signsgd need at sharpness 1 and 10</title>" in page
        assert "quadsim sweep on quartics" in page
        assert "Height over the height at the start against the step" in page
        assert "no theorem" not in page
        assert "Bounds on all" not in page


def test_what_a_family_cannot_run_is_refused_in_one_line(quartic):
    with pytest.raises(ValueError, match="optimizer on a quartic must be gd or signsgd, got adam; drop it"):
        sweep(QuarticConfig(optimizers=("adam",)))


def test_a_configuration_of_no_registered_family_is_refused():
    for config in (QuarticConfig(), "quadratic", None):
        with pytest.raises(TypeError, match=r"config must be a SweepConfig or a ModelSweepConfig.*, got "):
            work_of(config)
    for content in ({"quadsim_format": 1, "kind": "quartic"}, {"quadsim_format": 1, "kind": ["model"]}, [], "model"):
        with pytest.raises(ValueError, match="config must be a document with quadsim_format 1"):
            config_from_json(content)
    assert family_of(SweepConfig()) is FAMILIES["quadratic"]


def test_every_field_is_an_option_and_every_option_a_field(quartic):
    for family in FAMILIES.values():
        found = {each.name: each for each in fields(family.config_class)}
        # What no text says: a BlockQuadratic (--problem-file) and optimizers of the user (--optimizer-file).
        in_memory = {"problem", "own"} & found.keys()
        assert found.keys() - in_memory == family.all_options.keys()
        for name, option in family.all_options.items():
            assert found[name].default == option.default
            assert found[name].metadata["option"] is option, name


def test_the_command_has_the_options_of_every_family(quartic):
    options = importlib.import_module("quadsim.cli.commands.sweep_options")
    try:
        importlib.reload(options)  # as a process does that starts with this family

        @options.with_options
        def command(out: str = "", **rest: object) -> None: ...

        names = list(inspect.signature(command).parameters)
        assert names[-1] == "out"
        assert {*names} == {"out"}.union(*(family.all_options for family in FAMILIES.values()))
        assert options.READERS["sharpness"]("1,2.5") == (1, 2.5)
        assert options.family_of_options(["sharpness", "seeds"]) is QUARTIC
        with pytest.raises(
            ValueError, match="--blocks must be left out with --sharpness, which descends on a quartic, got it"
        ):
            options.family_of_options(["sharpness", "blocks"])
        with pytest.raises(
            ValueError, match="--norm must be left out without --model, on quadratics, got it; drop it, or name a"
        ):
            options.family_of_options(["norm"])
    finally:
        FAMILIES.pop("quartic")
        importlib.reload(options)
    assert "sharpness" not in options.READERS


def test_every_path_of_a_record_leads_somewhere(quartic):
    for kind, family in FAMILIES.items():
        assert family.config_class.kind == family.kind == kind
        assert set(imported(family.work).curves) >= {family.value}
        paths = [family.draw, family.judge, family.answer, family.notes, family.page_columns, *family.sections]
        assert all(callable(imported(path)) for path in paths if path is not None)
        assert family.steps_label.format(tolerance=0.1, power="", stays="", mean="", criterion="")
        if family.table_columns is not None:
            assert all(column.heading for column in imported(family.table_columns))
    assert [family.kind for family in FAMILIES.values() if family.option is None] == ["quadratic"]
    with pytest.raises(
        ImportError, match=r"path must name an object of a module as package.module:name, got 'math:tau2'"
    ):
        imported("math:tau2")


# Files of one family, which may name its configuration.
OWN = {"quadratics.py", "toy_models.py", "loss_figure.py"}


def branches(tree: ast.AST) -> list[int]:
    """Lines that compare the kind of a configuration or ask for its class."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [ast.unparse(side) for side in (node.left, *node.comparators)]
            others = (".dtype.kind", "cls.kind")  # of an array, and of a class that reads its own file
            kinds = [side for side in sides if side.endswith(".kind") and not side.endswith(others)]
            found += [node.lineno] if kinds else []
        elif isinstance(node, ast.Match) and ast.unparse(node.subject).endswith((".kind", "config")):
            found.append(node.lineno)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "type"):
            found += [node.lineno] if "config" in ast.unparse(node).lower() else []
    return found


def test_branches_are_seen():
    for text in ("x = 1 if results.config.kind == 'model' else 2", "isinstance(self.config, A)", "type(config) is A"):
        assert branches(ast.parse(text)) == [1], text
    assert branches(ast.parse("match config.kind:\n    case 'model': pass")) == [1]
    assert branches(ast.parse("config.kind in ('model',)")) == [1]


def test_no_code_branches_on_the_family_outside_the_registry():
    """What differs belongs to the record, to the configuration class, or to a file of the family."""
    files = [p for part in ("simulator/sweeps", "simulator/figures", "cli") for p in (ROOT / part).rglob("*.py")]
    assert len(files) > 50
    for path in files:
        if path == Path(families.__file__).resolve():
            continue
        text, where = path.read_text(encoding="utf-8"), path.relative_to(ROOT)
        assert branches(ast.parse(text)) == [], f"{where} branches on the family in these lines"
        if path.name not in OWN:
            nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
            names = {alias.name for node in nodes for alias in node.names}
            assert not names & {"SweepConfig", "ModelSweepConfig"}, f"{where} imports the configuration of one family"
