"""The notebooks of the docs: each runs from top to bottom, with short settings."""

import os
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
SHORT = {
    "train_and_customise": {"rounds": 1, "train_fraction": 0.1},
    "compare_methods": {"rounds": 1, "train_fraction": 0.1, "seeds": [1]},
    "hand_over": {"settings": "debug=quick"},
}
"""What stands in the cell of parameters instead."""


def test_every_notebook_is_run():
    assert {file.stem for file in NOTEBOOKS.glob("*.ipynb")} == set(SHORT)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    if name == "hand_over":
        pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    # The commands after ! are those of this environment.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ()))
    given = {line.split(" = ")[0] for line in parameters.source.splitlines()}
    assert given == set(SHORT[name])
    parameters.source = "\n".join(f"{key} = {value!r}" for key, value in SHORT[name].items())
    client = nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    printed = [output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not any("Traceback" in text or "UserError" in text for text in printed)


def test_what_they_show_names_no_place_of_the_machine_that_ran_them():
    for file in NOTEBOOKS.glob("*.ipynb"):
        text = file.read_text()
        assert '"output_type"' in text and "/tmp/" not in text and "/home/" not in text and "/work/" not in text
