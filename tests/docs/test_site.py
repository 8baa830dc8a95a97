"""The site: each method has a page of its own, and all of it is built without a broken link."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from docs import hooks

ROOT = Path(__file__).parents[2]


def test_a_methods_page_has_its_experiments_results_and_config() -> None:
    page = hooks.method_page("VAE")
    assert "::: frame.models.VAE" in page and "### digits_VAE" in page and 'title="config/model/VAE.yaml"' in page
    assert "- **Command**: `python train.py +experiment=digits_VAE`" in page
    assert re.search(r"^\| experiment \| result \| published \|\n\|[-|]+\|\n\| `MNIST_VAE params", page, re.MULTILINE)
    assert "`MNIST_VIB`, 25 epochs" not in page


def test_every_method_has_a_page() -> None:
    files = {file.stem for file in (ROOT / "frame" / "models").glob("*.py")} - {"base", "__init__"}
    assert set(hooks.methods()) == files
    shown = "".join(hooks.method_page(name) for name in hooks.methods())
    for experiment in (ROOT / "config" / "experiment").glob("*.yaml"):
        if re.search(r"^  - /model: \w+$", experiment.read_text(), re.MULTILINE):
            assert f"### {experiment.stem}\n" in shown


def test_links_that_leave_the_documents_become_names() -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="studies.md"))
    text = "see [README](../README.md), [a file](../studies/a.yml) and [data](data.md#a)"
    assert hooks.on_page_markdown(text, page) == "see `README`, `a file` and [data](data.md#a)"


def test_a_notebook_is_shown_with_its_outputs(tmp_path: Path) -> None:
    code = {
        "cell_type": "code",
        "source": ["run = 1\n", "run"],
        "outputs": [
            {"output_type": "stream", "text": ["\x1b[31mred\x1b[0m\n"]},
            {"output_type": "display_data", "data": {"image/png": "iVBOR\n", "text/plain": ["<Figure>"]}},
            {"output_type": "execute_result", "data": {"text/html": ["<table></table>"], "text/plain": ["1"]}},
        ],
    }
    cells = [{"cell_type": "markdown", "source": ["# From pictures\n", "A walk."]}, code]
    (tmp_path / "tutorials").mkdir()
    (tmp_path / "tutorials" / "walk.ipynb").write_text(json.dumps({"cells": cells}))
    ((page, file),) = hooks.notebooks(tmp_path).items()
    shown = hooks.notebook_page(file)
    assert page == "tutorials/walk.md" and shown.startswith("# From pictures\n\n[The notebook](walk.ipynb)")
    assert "```python\nrun = 1\nrun\n```\n\n```text\nred\n```\n\n![output](data:image/png;base64,iVBOR)" in shown
    assert "<div>\n<table></table>\n</div>" in shown and "<Figure>" not in shown


def test_pages_that_the_navigation_does_not_name_are_added(tmp_path: Path) -> None:
    (tmp_path / "tutorials").mkdir()
    for page in ("data.md", "new.md", "tutorials/own.md", "tutorials/walk.ipynb"):
        (tmp_path / page).touch()
    nav: list[Any] = [{"Tutorials": []}, {"How to": [{"Data": "data.md"}]}, {"Methods": []}, {"Reference": []}]
    found = hooks.on_config({"docs_dir": str(tmp_path), "nav": nav})["nav"]
    assert found[0]["Tutorials"] == ["tutorials/own.md", "tutorials/walk.md"]
    assert found[1]["How to"] == [{"Data": "data.md"}, "new.md"]
    assert {"VAE": "methods/VAE.md"} in found[2]["Methods"]


@pytest.mark.slow
def test_the_site_is_built_without_a_broken_link(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "https_proxy": "http://127.0.0.1:9"}  # no network
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in ("index", "methods/BYOL/index", "api/measures/index", "tutorials/own-pictures/index"):
        assert (tmp_path / "site" / f"{page}.html").is_file()
    outside = re.compile(r'(?:src|href)="https?://[^"]+\.(?:css|js|woff2?)"')
    assert not [file for file in tmp_path.rglob("*.html") if outside.search(file.read_text())]
