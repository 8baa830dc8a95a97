"""What an opened run shows of itself."""

import base64
import json
import re
import shutil
from pathlib import Path

import frame


def test_a_run_shows_its_results_and_pictures(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    (tmp_path / "run" / "images" / "Samples").mkdir(parents=True)
    (tmp_path / "run" / "images" / "Samples" / "000050.png").write_bytes(b"a picture")
    run = frame.open(tmp_path / "run")
    html = run._repr_html_()
    newest = {record["name"]: record for record in run.folder.records}
    cells = re.findall(r"<td[^>]*>(.*?)</td>", html)
    assert [name for name in newest if name not in cells] == []
    assert f"data:image/png;base64,{base64.b64encode(b'a picture').decode()}" in html and 'alt="Samples"' in html
    assert "finished: trained for 50 iterations" in html
    assert re.fullmatch(r"<run .*: VAE on .*, seed=\d+; finished: trained for 50 iterations>", repr(run))


def test_floors_come_last_and_names_are_escaped(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    lines = (tmp_path / "run" / "records.jsonl").read_text().splitlines()
    record = json.loads(lines[-1])
    more = [{**record, "name": name} for name in ("a/floor/pixels", "<b>", "z")]
    (tmp_path / "run" / "records.jsonl").write_text("".join(json.dumps(one) + "\n" for one in more))
    html = frame.open(tmp_path / "run")._repr_html_()
    assert html.index("&lt;b&gt;") < html.index(">z<") < html.index("a/floor/pixels")


def test_a_damaged_run_has_a_line(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    run = frame.open(tmp_path / "run")
    (tmp_path / "run" / "status.json").write_text("{")
    assert repr(run).startswith(f"<run {tmp_path / 'run'}: ") and "status.json" in repr(run)
