"""The notebooks run from top to bottom at small size, and are kept clean."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
CLEAN = ("-m", "nbstripout", "--extra-keys", "metadata.language_info")
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
    monkeypatch.setenv("QUADSIM_NOTEBOOK_SIZE", "small")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # no start-up files of whoever runs the tests
    notebook = nbformat.read(path, as_version=4)
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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_kept_clean(path):
    """No outputs, no counts, ids in order, no metadata of whoever ran it last: the files are as nbstripout leaves them."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not [cell.id for cell in notebook.cells if cell.get("outputs") or cell.get("execution_count")]
    assert [cell.id for cell in notebook.cells] == [str(number) for number in range(len(notebook.cells))]
    assert set(notebook.metadata) == {"kernelspec"}
    assert notebook.metadata.kernelspec.name == "python3"
    allowed = {"parameters", "figure", "widget"}
    assert all(
        set(cell.metadata) <= {"tags"} and set(cell.metadata.get("tags", [])) <= allowed for cell in notebook.cells
    )
    (parameters,) = (c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    assert "QUADSIM_NOTEBOOK_SIZE" in parameters.source
    run = subprocess.run([sys.executable, *CLEAN, "--verify", path], capture_output=True, text=True)
    assert run.returncode == 0, f"clean it: {' '.join(('python', *CLEAN))} notebooks/*.ipynb"
