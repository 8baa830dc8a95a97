"""The notebook runs, and its outputs are stored."""

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "own_pictures.ipynb"


def test_its_outputs_are_stored() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    kinds = {kind for output in outputs for kind in output.get("data", ())}
    assert {"text/html", "image/png"} <= kinds and all(output.output_type != "error" for output in outputs)
    text = NOTEBOOK.read_text()
    assert "\\u001b" not in text and "\\r" not in text, "no terminal's control characters"


def test_its_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(cell.source for cell in nbformat.read(NOTEBOOK, 4).cells if cell.cell_type == "code")
    lengths = {"EPOCHS": 1, "N": 120}
    short, n = re.subn(r"^(EPOCHS|N) = \d+", lambda found: f"{found[1]} = {lengths[found[1]]}", code, flags=re.M)
    assert n == 2
    exec(short.replace("linear_probe", "knn"), {})  # a probe takes seconds
    assert (tmp_path / "figure.pdf").is_file() and (tmp_path / "figure.csv").is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of a kernel's connection
def test_it_runs_in_a_kernel(tmp_path: Path) -> None:
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, 4)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    text = nbformat.writes(notebook)
    assert "\\u001b" not in text and "images_VAE 100%" in text
