"""A study as one HTML file: its content, that it is self-contained, and that a browser shows it."""

import base64
import html
import io
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
EMPTY = ("meta", "img", "br", "path", "use", "rect", "link", "image", "line")


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
    assert not [tag for tag, _ in page.all if tag in ("script", "link", "iframe", "object")]
    for _, attributes in page.all:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,")), attributes
        assert not any(name.startswith("on") for name in attributes)
    assert "@import" not in text and "url(http" not in text
    assert "12 finished runs, 3 settings" in text and "1 runs are not finished" in text and "seed 1: failed" in text
    assert "<b>*" not in text and "<td><b>8.6 ± 2.2</b></td>" in text
    assert text.count("<svg") == 2 and "ELBO/Test over params.beta" in text and "method: grid" in text
    assert "frame train +experiment=byhand seed=1" in text and str(three) not in text
    pictures = re.findall(r"base64,([^\"]+)\"", text)
    shades = [Image.open(io.BytesIO(base64.b64decode(found))) for found in pictures]
    assert [image.size for image in shades] == [(512, 5)] * 3  # one per setting, scaled down
    assert text.index("beta=4<") < text.index("beta=16.00<")


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
    broken = sorted((three / "runs").glob("*/*/images/*/*.png"))[0]
    raw = broken.read_bytes()
    broken.write_bytes({"truncated": raw[:60], "no picture": b"x", "a wrong sum": raw[:40] + b"xx" + raw[42:]}[damage])
    assert main(["report", str(three), f"out={tmp_path / 'r.html'}"]) == 0
    assert main(["plot", str(three), "kind=pictures", "name=Samples", f"out={tmp_path / 'p.png'}"]) == 0
    error = capsys.readouterr().err
    assert error.count("\n") == error.count(f"left out: {broken} cannot be read") == 2, error
    assert (tmp_path / "r.html").read_text().count("base64,") == 2


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
    assert "Other/Test was measured in several ways" in text and text.count("<svg") == 1


def test_methods_are_sorted_by_rank(tmp_path: Path) -> None:
    for i, model in enumerate(["b", "c", "a"]):
        run(tmp_path / model, {"beta": 1.0}, 1, [record("ELBO/Test", i)], model=model)
    text = report([tmp_path], rows=["model"])
    assert re.findall(r"<tr><td>([abc])</td><td>1</td>", text) == ["a", "c", "b"]
    assert "<th>trials</th>" in text


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
        ([str(tmp_path / "failed")], "none of 1 runs is finished"),
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
