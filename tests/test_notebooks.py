"""The notebooks run from top to bottom at small size, with the answers to their exercises, and are kept clean."""

import json
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
CLEAN = ("-m", "nbstripout", "--extra-keys", "metadata.language_info")
SMALL = json.loads((FOLDER / "small.json").read_text())  # sizes for tests, in place of those of the cell "parameters"
ANSWER = re.compile(r"<details>\n<summary>Answer</summary>\n\n```python\n(.*?)\n```\n\n.*?\n\n</details>", re.DOTALL)
SECONDS = 120  # most that one cell may take, on a machine that does other things as well


WIDGETS = "application/vnd.jupyter.widget-{}+json"


def images_of(outputs) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs)


def check_widget(notebook, cell):
    """A widget is shown, with a figure inside."""
    assert any(WIDGETS.format("view") in output.get("data", {}) for output in cell.outputs)
    states = [model["state"] for model in notebook.metadata.widgets[WIDGETS.format("state")]["state"].values()]
    assert sum(images_of(state.get("outputs", [])) for state in states) == 1
    assert {"heterogeneity", "alignment"} <= {state.get("description") for state in states}


def test_reading_order():
    assert [path.name[0] for path in NOTEBOOKS] == list("1234567")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom(path, monkeypatch, tmp_path):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # no start-up files of whoever runs the tests
    notebook = nbformat.read(path, as_version=4)
    at = next(k for k, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", []))
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(SMALL[path.stem]))
    answers = [answer for cell in notebook.cells for answer in ANSWER.findall(cell.source)]
    notebook.cells += [nbformat.v4.new_code_cell(answer) for answer in answers]
    client = NotebookClient(
        notebook, timeout=SECONDS, store_widget_state=True, resources={"metadata": {"path": FOLDER}}
    )
    client.execute()  # raises at the first cell that fails
    figures = 0
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        tags = cell.metadata.get("tags", [])
        errors = [o.get("text", o.get("traceback")) for o in cell.outputs if o.get("name") == "stderr" or "ename" in o]
        assert not errors, f"cell {number} complains: {errors}"
        assert images_of(cell.outputs) == ("figure" in tags), f"cell {number} with the tags {tags}"
        figures += "figure" in tags
        if "widget" in tags:
            check_widget(notebook, cell)
    assert figures >= 3
    assert all(cell.outputs for cell in notebook.cells[-len(answers) :]), "an answer prints something"


def test_the_code_of_a_notebook_runs(monkeypatch, capsys):
    """The quick form of the test above, for one notebook: in this process, without a kernel; figures are not rendered."""
    (path,) = FOLDER.glob("3-*.ipynb")
    monkeypatch.chdir(FOLDER)
    notebook = nbformat.read(path, as_version=4)
    names: dict = {}
    with plt.rc_context():
        for cell in notebook.cells:
            if cell.cell_type == "code":
                exec(cell.source.replace("%matplotlib inline", ""), names)
            if "parameters" in cell.metadata.get("tags", []):
                exec(SMALL[path.stem], names)
        assert len(plt.get_fignums()) >= 3
        plt.close("all")
    for answer in (answer for cell in notebook.cells for answer in ANSWER.findall(cell.source)):
        capsys.readouterr()
        exec(answer, names)
        assert capsys.readouterr().out, "an answer prints something"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_greets_with_no_settings_and_has_exercises(path):
    """The first code imports; sizes are where they are first used. Every exercise has a folded answer with code."""
    notebook = nbformat.read(path, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert "environ" not in json.dumps(notebook)
    assert "parameters" not in first.metadata.get("tags", [])
    exercises = [cell.source for cell in notebook.cells if cell.source.startswith("### Exercise")]
    assert len(exercises) >= 1
    assert all(len(ANSWER.findall(text)) == 1 for text in exercises)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_kept_clean(path):
    """No outputs, no counts, ids in order, no metadata of whoever ran it last: the files are as nbstripout leaves them."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not [cell.id for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]
    assert [cell.id for cell in notebook.cells] == [str(number) for number in range(len(notebook.cells))]
    assert set(notebook.metadata) == {"kernelspec"}
    assert notebook.metadata.kernelspec.name == "python3"
    allowed = {"parameters", "figure", "widget", "explore"}
    assert all(
        set(cell.metadata) <= {"tags"} and set(cell.metadata.get("tags", [])) <= allowed for cell in notebook.cells
    )
    (parameters,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    values, small = {}, {}
    exec(parameters.source, values)
    exec(SMALL[path.stem], small)
    assert small.keys() <= values.keys()
    run = subprocess.run([sys.executable, *CLEAN, "--verify", path], capture_output=True, text=True)
    assert run.returncode == 0, f"clean it: {' '.join(('python', *CLEAN))} notebooks/*.ipynb"
