"""Everything that the tutorial and the how-to pages tell a reader to type runs, at a small size."""

import ast
import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from snippets import run_page

DOCS = Path(__file__).parent.parent / "docs"
DRY = "--seeds 2 --steps 20 --lr 0.1 --engine reference --dry-run"
SWEEP = "--seeds 2 --steps 50 --lr 0.1 --engine reference --no-figures --quiet"
"""In the reference engine, which compiles nothing, and with few steps."""

FEW = {
    "tutorial.md": (
        {"steps=1000)\n": 'steps=50, engine="reference")\n', "steps=500": 'steps=50, engine="reference"'}
        | {"mine), steps=1000": 'mine), steps=20, seeds=2, lr=(0.1,), engine="reference"'},
        {"quadsim sweep": SWEEP},
    ),
    "phase-diagram.md": (
        {"--extend runs/phase --heterogeneity 3,30": "--extend runs/phase --heterogeneity 30"},
        {
            "quadsim sweep": SWEEP.replace("50", "200"),
            "quadsim sweep --extend": "--no-figures --quiet",
            "quadsim sweep --heterogeneity 1,10,100 --gr": DRY,
        },
    ),
    "cluster.md": (
        {"--backend slurm --slurm partition=cpu,time=60": "--backend slurm --slurm cluster=local"},
        {"quadsim sweep": DRY, "quadsim sweep --heterogeneity 1,10 --seeds 8": f"{SWEEP} --workers 1"},
    ),
    "gpu.md": (
        {
            "--device cuda --keep quantiles": "--keep quantiles",
            'device="cuda"': 'device="cpu", engine="reference"',
            "steps=2000": "steps=20",
        }
        | {
            "--device cuda --backend processes --devices cuda:0,cuda:1": "--backend processes",
            "--device cuda\n": "--device cpu\n",
        },
        {"quadsim sweep": DRY},
    ),
    "bounds-in-tests.md": ({}, {}),
    "own-optimizer.md": (
        {"steps=1000": 'steps=50, seeds=2, engine="reference"'},
        {"quadsim sweep": f"{DRY} --json"},
    ),
    "own-problems.md": ({"steps=1000": 'steps=20, engine="reference"'}, {"quadsim sweep": SWEEP}),
    "dials.md": ({}, {}),
}


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Run a page in an empty folder, and return its Python names and what its commands print."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)

    def run(name):
        instead, commands = FEW[name]
        return run_page((DOCS / name).read_text(encoding="utf-8"), name, instead, commands)

    yield run
    plt.close("all")


def test_the_tutorial(ran):
    names, said = ran("tutorial.md")
    assert names["run"].gap.shape == (16, 2, 51)
    assert set(names["results"].best["optimizer"]) == {"gd", "adam", "mine"}
    assert Path("adam.png").is_file()
    assert "gd-upper" in said[-1]


def test_a_phase_diagram(ran):
    names, said = ran("phase-diagram.md")
    assert names["quotient"].shape == (3, 4)
    assert Path("quotient.png").is_file()
    assert "Nothing was run" in said[1]


def test_on_a_cluster(ran):
    _, said = ran("cluster.md")
    assert Path("runs/cores/summary.parquet").is_file()
    assert len(said) == 4


def test_on_a_gpu(ran):
    names, said = ran("gpu.md")
    assert names["run"].status.shape == (64, 3)
    assert "tl." in said[-1]


def test_bounds_in_my_tests(ran):
    names, said = ran("bounds-in-tests.md")
    assert "1 passed" in said[0]
    found, page = names["found"], (DOCS / "bounds-in-tests.md").read_text()
    assert found.verdict[0].tolist() == ["refuted", "refuted", "not applicable"]
    assert str(found.step[0, 1]) in page
    assert found.reason[0, 1] in page


def test_my_own_optimizer(ran):
    names, said = ran("own-optimizer.md")
    assert [json.loads(text)["config"]["optimizers"][-2:] for text in said] == [
        ["my-amsgrad", "Halved"],
        ["my-amsgrad:beta1=0|0.9", "Halved:momentum=0.9"],
        ["adam", "my-amsgrad"],
    ]
    best = names["results"].best
    assert best["optimizer"].tolist() == ["gd", "my-amsgrad", "NAdam"] * 2
    assert best["family"].tolist() == ["plain", "momentum", "momentum"] * 2
    called = eval(
        re.search(r"`(SweepConfig\(.*own=\(my_rule,\)\))`", (DOCS / "own-optimizer.md").read_text())[1], names
    )
    assert len(called.specs) == 3


def test_my_own_hessian(ran):
    names, _ = ran("own-problems.md")
    assert names["run"].status.shape == (16, 1)


def test_what_the_dials_mean(ran):
    names, _ = ran("dials.md")
    smoothness = names["problem"].block_smoothness[0]
    assert smoothness.max() / smoothness.min() == pytest.approx(100)


@pytest.mark.parametrize("name", FEW)
def test_imports_of_a_page(name):
    """The quick form of the tests above: its Python compiles, and what it imports is there."""
    for block in re.findall(r"```python[^\n]*\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), re.DOTALL):
        tree = ast.parse(block, name)
        imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        exec(compile(ast.Module(imports, []), name, "exec"), {})


def test_every_how_to_page_is_run():
    nav = re.search(r"^  - How to:\n((?:      .*\n)+)", (DOCS.parent / "mkdocs.yml").read_text(), re.MULTILINE)[1]
    shown = {
        name
        for name in re.findall(r"\S+\.md", nav)
        if re.search(r"^```(python|sh)", (DOCS / name).read_text(), re.MULTILINE)
    }
    elsewhere = {
        "long-sweeps.md",
        "toy-models.md",
        "streams.md",
        "explore.md",
    }  # tests/test_readme.py runs or parses them
    assert shown - elsewhere <= set(FEW)
