"""The notebook runs from top to bottom on the sample case."""

from __future__ import annotations

import nbformat
from conftest import ROOT
from nbclient import NotebookClient

NOTEBOOK = ROOT / "notebooks" / "first_look.ipynb"


def test_the_notebook_runs_and_shows_what_the_case_holds(sample_case, tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    parameters.source = f"CASE = {str(sample_case.path)!r}\nEVIDENCE = []"
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]
    text = "\n".join(str(o.get("data", {}).get("text/plain", "")) for o in outputs)
    assert "mms://192.0.2.10/pattern.wmv" in text
    assert any("frame.number ==" in o.get("text", "") for o in outputs)
    assert any("image/png" in o.get("data", {}) for o in outputs)


def test_the_notebook_is_stored_without_output():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not c.get("outputs") for c in notebook.cells)
    assert all(c.get("execution_count") is None for c in notebook.cells)
