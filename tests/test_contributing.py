"""Every recipe of CONTRIBUTING.md: its worked example runs, and the names that it tells to edit exist."""

import re
from pathlib import Path

import numpy as np
import pytest
import quartic
import typer
from typer.testing import CliRunner

from quadsim.simulator.sweeps.config import families

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^## Recipe: an? (\w+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))


def example(recipe: str) -> dict:
    """The names that the Python of a recipe defines."""
    names: dict = {"__name__": f"recipe_{recipe}"}
    for block in re.findall(r"```python\n(.*?)```", RECIPES[recipe], re.DOTALL):
        exec(compile(block, f"CONTRIBUTING.md, {recipe}", "exec", dont_inherit=True), names)
    return names


def test_there_is_a_recipe_for_everything_that_is_added():
    assert RECIPES.keys() >= {"optimizer", "theorem", "model", "family", "claim", "command"}
    for name, text in RECIPES.items():
        assert "To add it to quadsim:\n\n1. " in text, name


def test_an_optimizer():
    names = example("optimizer")  # compares it with torch.optim
    rule = names["ADAMAX"]
    assert rule.kind == "separable"
    assert np.isfinite(names["ours"].gap).all()
    assert rule.formula() != ""


def test_a_theorem():
    names = example("theorem")
    assert set(names["statuses"]) == {"proved", "cited"}
    assert names["found"].verdict[0].tolist() == ["holds", "holds", "not applicable"]
    assert set(names["found"].verdict[:, :2].ravel()) == {"holds"}


def test_a_model():
    names = example("model")
    assert names["trained"].final_loss.shape == (4, 2)
    start = names["train"](names["toys"], "adam", lr=[0.01, 0.1], steps=1).final_loss
    assert (names["trained"].final_loss[:, 1] < start[:, 1]).all()


def test_a_family(monkeypatch):
    monkeypatch.setattr(families, "FAMILIES", dict(families.FAMILIES))  # the recipe registers it in this copy
    names = example("family")
    assert names["QUARTIC"] == quartic.QUARTIC
    assert names["swept"].answers[0].startswith("Steps until the height is 0.01 of the start. From")


def test_a_claim():
    names = example("claim")
    assert names["judgement"].verdict == "shown"
    claim = names["MOMENTUM"]
    assert claim.draw(names["found"].tables).axes
    assert claim.reach.draw(names["reach"]).axes
    assert float(names["reach"]["onsets"]["onset"][0]) > 1
    assert not claim.is_fixed  # its hash is not filled in


def test_a_command():
    app = typer.Typer()
    app.command()(example("command")["smoothness"])
    run = CliRunner().invoke
    assert run(app, ["--heterogeneity", "100"]).stdout.startswith("block 0: ")
    assert '"block_smoothness"' in run(app, ["--json"]).stdout
    bad = run(app, ["--heterogeneity", "0.5"])
    assert bad.exit_code == 2
    assert bad.stderr.startswith("Error: heterogeneity must be a number of at least 1, got 0.5")


# Files that a recipe makes for its example.
MADE = {
    "simulator/models/linear.py",
    "simulator/sweeps/config/quartics.py",
    "simulator/sweeps/work/quartics.py",
    "tests/simulator/sweeps/test_quartics.py",
    "cli/commands/smoothness.py",
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_files_and_tables_of_a_recipe_exist(recipe):
    steps = RECIPES[recipe].partition("To add it to quadsim:")[2]
    files = set(re.findall(r"`((?:simulator|theory|cli|tests|docs)/[\w/.-]*)`", steps))
    assert [name for name in sorted(files - MADE) if not (ROOT / name).exists()] == []
    code = "\n".join(
        path.read_text() for part in ("simulator", "theory", "cli", "tests") for path in (ROOT / part).rglob("*.py")
    )
    tables = set(re.findall(r"`(_?[A-Z][A-Z_]+)`", RECIPES[recipe]))
    assert [name for name in sorted(tables) if not re.search(rf"^{name}\b.*=", code, re.MULTILINE)] == []
