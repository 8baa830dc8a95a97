"""A study as one HTML file: its content, that it is self-contained, and that a browser shows it."""

import base64
import hashlib
import html
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from frame.analysis.report import report
from frame.commands.main import main
from frame.composition.plain import as_yaml
from frame.runs.listing import find, summaries
from tests.analysis.by_hand import record, run, study

VALUES = {4.0: [1.0, 2.0, 3.0, 4.0], 1.0: [2.1, 2.9, 4.2, 4.8], 16.0: [7.0, 8.2, 8.9, 10.3]}
EMPTY = ("meta", "img", "br", "wbr", "path", "use", "rect", "link", "image", "line")


class Balanced(HTMLParser):
    """Checks that all elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.all: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            assert self.open.pop() == tag


@pytest.fixture
def three(tmp_path: Path) -> Path:
    folder = study(tmp_path / "three<&>", VALUES)
    for i, path in enumerate(sorted((folder / "runs").glob("*/*"))):
        (path / "images" / "Samples").mkdir(parents=True)
        Image.new("RGB", (900, 9), (i, 0, 0)).save(path / "images" / "Samples" / "0001.png")
    run(folder / "runs" / "beta=9,seed=1" / "1", {"beta": 9.0}, 1, [], "failed")
    return folder


def test_it_contains_the_whole_study_and_is_self_contained(three: Path) -> None:
    text = report([three])
    page = Balanced()
    page.feed(text)
    assert not page.open and "three&lt;&amp;&gt;" in text
    assert not [tag for tag, _ in page.all if tag in ("link", "iframe", "object")]
    for _, attributes in page.all:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,")), attributes
        assert not any(name.startswith("on") for name in attributes)
    assert "@import" not in text and "url(http" not in text
    assert "1 run is not finished" in text and "seed 1: failed" in text and "All 13 runs" in text
    assert re.search(r'class="best" data-value="8.6\d*">8.6 ± 2.2<', text) and text.count('class="best"') == 1
    assert text.count("<svg") == 1 and "ELBO/Test over beta" in text and "method: grid" in text
    assert "frame train +experiment=byhand seed=1" in text and str(three) not in text
    pictures = re.findall(r"base64,([^\"]+)\"", text)
    shades = [Image.open(io.BytesIO(base64.b64decode(found))) for found in pictures]
    assert [image.size for image in shades] == [(900, 9)] * 2  # of the best and the median run
    assert "best run by ELBO/Test (10.30 nats per picture): beta=16.00, seed 4" in text
    assert "median run by ELBO/Test (4 nats per picture): beta=4, seed 4" in text


def test_one_table_has_all_metrics_and_each_protocol_once(tmp_path: Path) -> None:
    for beta in (1.0, 2.0):
        for seed in (1, 2, 3):
            several = [record(f"{name}/Test", beta + seed / 10) for name in "ab"]
            further = [
                record("c/Test", seed, n_samples=5),
                record("c/Test/floor/pixels", 0.5),
                record("a/Valid", 1, "valid"),
            ]
            run(tmp_path / f"{beta}_{seed}", {"beta": beta}, seed, [*several, *further])
    text = report([tmp_path])
    (table,) = re.findall(r'<table class="sortable">.*?</table>', text, re.DOTALL)
    heads = [re.sub("<[^>]+>", "", head) for head in re.findall(r"<th[^>]*>(.*?)</th>", table)]
    assert heads == ["beta", "seeds", *(f"{name}/Testnats per picture" for name in "abc")]
    assert "<b>a/Test, b/Test</b>: test, 300 samples" in text and text.count("300 samples, last") == 1
    assert "<b>c/Test</b>: test, 5 samples" in text
    floors = table.partition('<tbody class="floors">')[2]
    assert "floor: pixels" in floors and "0.5" in floors
    assert re.search(r'data-value="1.2\d*">1.20 ± 0.25<span class="remark">-1.0000, ', table) or "remark" in table


def test_only_its_own_script_runs(three: Path) -> None:
    text = report([three])
    (allowed,) = re.findall(r"script-src 'sha256-([^']+)'", text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() == allowed
    assert "default-src 'none'" in text and text.index("Content-Security-Policy") < text.index("<style")


def test_curves_have_a_line_for_each_of_the_best_settings(tmp_path: Path) -> None:
    for beta in range(10):
        course = [record("a/Valid", beta + at, "valid", iteration=at) for at in (0, 50, 100)]
        run(tmp_path / str(beta), {"beta": float(beta)}, 1, [*course, record("a/Test", beta)])
    text = report([tmp_path])
    assert "<h2>Learning curves</h2>" in text and "a/Valid, the 8 best settings: mean over seeds" in text
    curve = text.partition("<h2>Learning curves</h2>")[2].partition("</figure>")[0]
    assert "beta=9" in curve and "beta=2" in curve and "beta=1<" not in curve
    assert "#000000" not in curve and "currentColor" in curve  # axes are seen on dark screens


def test_the_goal_of_the_sweep_comes_first(three: Path) -> None:
    runs = sorted((three / "runs").glob("*/*"))
    for path in runs:
        with (path / "records.jsonl").open("a") as stream:
            stream.write(json.dumps(record("A/Test", 1.0)) + "\n")
    assert "largest A/Test?" in report([three])
    (three / "sweep.yaml").write_text("method: grid\nmetric: {name: ELBO/Validation, goal: maximize}\n")
    assert "largest ELBO/Test?" in report([three])
    (three / "sweep.yaml").write_text("metric: [*\n")
    assert "largest A/Test?" in report([three])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_a_small_picture_keeps_its_pixels_without_metadata(tmp_path: Path, mode: str) -> None:
    path = run(tmp_path / "s" / "1", {"beta": 1.0}, 1, [record("ELBO/Test", 1.0)])
    file = path / "images" / "Samples" / "0001.png"
    file.parent.mkdir(parents=True)
    made = Image.effect_noise((40, 30), 90)
    made = (
        Image.merge("RGBA", [made] * 4)
        if mode == "RGBA"
        else made.convert("I" if mode == "I;16" else "L").convert(mode)
    )
    said = PngInfo()
    said.add_text("Comment", "drawn in /home/somebody")
    further = [made.copy()] if mode == "RGB" else []
    made.save(file, pnginfo=said, dpi=(99, 99), save_all=bool(further), append_images=further)
    (found,) = re.findall(r"base64,([^\"]+)\"", report([tmp_path / "s"]))
    raw = base64.b64decode(found)
    assert b"somebody" in file.read_bytes() and b"somebody" not in raw
    with Image.open(file) as written, Image.open(io.BytesIO(raw)) as seen:
        assert seen.convert("RGB").tobytes() == written.convert("RGB").tobytes()
        assert not {"dpi", "Comment"} & {*seen.info} and getattr(seen, "n_frames", 1) == 1
        assert "A" not in seen.getbands()


@pytest.mark.parametrize("damage", ["truncated", "no picture", "a wrong sum"])
def test_a_damaged_picture_is_named_and_left_out(
    three: Path, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [("beta=16.0,seed=4", ["report", f"out={tmp_path / 'r.html'}"])]  # the best run
    commands += [("beta=1.0,seed=1", ["plot", "kind=pictures", "name=Samples", f"out={tmp_path / 'p.png'}"])]
    for cell, (name, *words) in commands:
        (broken,) = (three / "runs").glob(f"{cell}/*/images/*/*.png")
        raw = broken.read_bytes()
        wrong = {"truncated": raw[:60], "no picture": b"x", "a wrong sum": raw[:40] + b"xx" + raw[42:]}[damage]
        broken.write_bytes(wrong)
        assert main([name, str(three), *words]) == 0
        error = capsys.readouterr().err
        assert error.count("\n") == error.count(f"left out: {broken} cannot be read") == 1, error
    assert (tmp_path / "r.html").read_text().count("base64,") == 1


def test_each_setting_shows_its_config_without_the_device(tmp_path: Path) -> None:
    for beta in (1.0, 2.0, True):
        path = run(tmp_path / "s" / str(beta), {"beta": beta}, 1, [record("ELBO/Test", 1.0)])
        with (path / "config.yaml").open("a") as file:
            file.write("device: {data_root: /home/somebody}\n")
    text = report([tmp_path / "s"])
    found = re.findall(r">config of ([^<]*)<.*?<pre>(.*?)</pre>", text, re.DOTALL)
    shown = {setting: html.unescape(config) for setting, config in found}
    assert "somebody" not in text and len(shown) == 3
    for summary in summaries(find([tmp_path / "s"])):
        config = {key: value for key, value in summary.config.items() if key != "device"}
        assert as_yaml(config) in shown.values()


def test_a_metric_that_cannot_be_averaged_has_a_warning_and_others_a_table(tmp_path: Path) -> None:
    for beta in (1.0, 2.0):
        for seed in (1, 2):
            mixed = record("Other/Test", 1.0, n_samples=seed)
            run(tmp_path / f"{beta}_{seed}", {"beta": beta}, seed, [record("ELBO/Test", beta * seed), mixed])
    text = report([tmp_path])
    assert "Other/Test was measured in several ways" in text and "<svg" not in text and "ELBO/Test" in text


def test_methods_are_sorted_by_rank(tmp_path: Path) -> None:
    for i, model in enumerate(["b", "c", "a"]):
        run(tmp_path / model, {"beta": 1.0}, 1, [record("ELBO/Test", i)], model=model)
    text = report([tmp_path], rows=["model"])
    assert re.findall(r'<td class="key" data-value="([abc])">', text) == ["a", "c", "b"]
    assert '<th scope="col">trials</th>' in text


def test_a_failed_run_has_its_reason(tmp_path: Path) -> None:
    run(tmp_path / "s" / "1", {"beta": 1.0}, 1, [record("ELBO/Test", 1.0)])
    failed = run(tmp_path / "s" / "3", {"beta": 1.0}, 3, [], "failed")
    (failed / "status.json").write_text('{"state": "failed", "reason": "Traceback\\nValueError: loss <NaN>\\n"}')
    text = report([tmp_path / "s"])
    assert "seed 3: failed (ValueError: loss &lt;NaN&gt;)" in text and "Traceback" not in text


def test_errors_are_one_line(three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    run(tmp_path / "failed" / "1", {"beta": 1.0}, 1, [], "failed")
    for words, answer in (
        ([str(tmp_path / "empty")], "no run in"),
        ([str(tmp_path / "failed")], "none of 1 run is finished"),
        ([str(three), "metrics=ELBO/Tset"], "did you mean 'ELBO/Test'"),
        ([str(three), "rows=params.btea"], "did you mean 'params.beta'"),
        ([str(three), "out=report.pdf"], "a report ends in .html"),
    ):
        assert main(["report", *words]) == 2
        error = capsys.readouterr().err
        assert answer in error and error.count("\n") == 1, error


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_opens_a_study_of_two_hundred_runs(tmp_path: Path) -> None:
    many = study(tmp_path / "many", {0.1 * (i + 1): [float(i + seed) for seed in range(5)] for i in range(40)})
    for path in (many / "runs").glob("*/*"):
        (path / "images" / "Samples").mkdir(parents=True)
        Image.effect_noise((200, 200), 50).save(path / "images" / "Samples" / "0001.png")
    out = tmp_path / "report.html"
    assert main(["report", str(many), f"out={out}"]) == 0
    assert out.stat().st_size < 10e6
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
    for more in (["--window-size=1200,2000"], ["--window-size=500,2000", "--blink-settings=preferredColorScheme=0"]):
        picture = tmp_path / "seen.png"
        command = ["chromium", *flags, *more, f"--screenshot={picture}", out.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with Image.open(picture) as seen:
            assert len(seen.convert("RGB").getcolors(1 << 24) or []) > 100  # not an empty page
