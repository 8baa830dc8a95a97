"""Names of runs are escaped in all files that are written about them."""

import csv
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas
import pytest
import yaml

from frame.commands.main import main
from frame.common.escaping import cell, code, latex, markdown
from frame.loggers.files import FilesLogger
from tests.system.test_releases import RELEASES

TEXTS = [
    "<script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "![x](https://a.example/track.png)",
    "[a][b]",
    "a | b | c",
    "a \\| b",
    "`code`",
    "two\n\nlines\r\n# head",
    "<img src=x onerror=alert(1)>",
    "&lt;script&gt;",
]


@pytest.mark.parametrize("text", TEXTS)
def test_markdown_shows_a_text_as_it_is(text: str) -> None:
    for made in (markdown(text), code(text)):
        assert "\n" not in made and not re.search(r"(?<!\\)\|", made.replace("\\\\", ""))
        assert "<" not in made and "](" not in made and "][" not in made and not re.search(r"(?<!\\)`", made)


def test_ordinary_texts_stay() -> None:
    for text in ("ELBO/Validation/bits_per_dim", "1 posterior sample; KL analytic", "beta=1.0, z_dim 8", "p > 0.05 *"):
        assert markdown(text) == text and cell(text) == text
    assert code("params.beta") == "`params.beta`" and code("frame.models.VAE.VAE") == "`frame.models.VAE.VAE`"
    assert markdown("q(z|x)") == "q(z\\|x)" and latex("a_b & 50 %") == r"a\_b \& 50 \%"


def test_cells_are_never_formulas_and_numbers_stay_numbers() -> None:
    for text in (
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "=",
        "-",
        "+",
        "-nan",
        "-inf",
    ):
        assert cell(text) == f"'{text}"
    for value in ("-1.5", "+3", "-1e-3", -1.5, 3, None, True, "a=b", "x - y", "", "nan"):
        assert cell(value) == value
    assert latex("a\n\n\\input{/etc/passwd}") == r"a \textbackslash{}input\{/etc/passwd\}"


def test_a_table_of_a_run_stays_readable(tmp_path: Path) -> None:
    FilesLogger(tmp_path).log_table("t", ["=head", "n"], [["=cmd()", -1.5], ["plain", 2]], 1)
    read = pandas.read_csv(tmp_path / "tables" / "t" / "00000001.csv")
    assert list(read.columns) == ["'=head", "n"] and read["n"].tolist() == [-1.5, 2.0]
    assert read["'=head"].tolist() == ["'=cmd()", "plain"]


EVIL = "=<b>\"'|[x](javascript:1)`\n\\input{x}"


def strange(folder: Path, n: int) -> Path:
    """A finished run in which all names are EVIL."""
    run = Path(shutil.copytree(RELEASES[-1], folder / f"run{n}"))
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["params"] |= {"note": f"{EVIL}{n}", EVIL: 1}
    config["architectures"][EVIL] = {"_target_": "torch.nn.Tanh", EVIL: EVIL}
    (run / "config.yaml").write_text(yaml.safe_dump({**config, "seed": EVIL, "experiment_name": EVIL}))
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    named: list[dict[str, Any]] = [
        {**r, "name": EVIL if r["name"] == "ELBO/Validation" else r["name"], "unit": EVIL, "estimator": EVIL}
        for r in records
    ]
    (run / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in named))
    told = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps({**told, "gpus": [EVIL], "python": EVIL}))
    code_file = json.loads((run / "code.json").read_text())
    (run / "code.json").write_text(json.dumps({**code_file, "commit": EVIL, "frame": EVIL}))
    return run


def test_every_command_escapes_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for n in range(2):
        strange(tmp_path / "runs", n)
    assert main(["export", "runs/run0", "out=exported"]) == 0, capsys.readouterr()
    card = (tmp_path / "exported" / "README.md").read_text()
    assert "<b>" not in card and "](javascript" not in card and "input{x}" in card
    tables = [line for line in card.splitlines() if line.startswith("| params") or "posterior" in line]
    assert all(len(re.findall(r"(?<!\\)\|", line.replace("\\\\", ""))) in (3, 11) for line in tables)
    for out in ("t.csv", "t.md", "t.tex"):
        assert main(["compare", "runs", "rows=params.note", "metrics=[ELBO/Validation/rate]", f"out={out}"]) == 0
    rows = list(csv.reader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert rows[1][0].startswith("'=") and float(rows[1][4]) > 0 and len({len(row) for row in rows}) == 1
    assert "<b>" not in (tmp_path / "t.md").read_text() and "](javascript" not in (tmp_path / "t.md").read_text()
    printed = [line for line in (tmp_path / "t.tex").read_text().splitlines() if not line.startswith("%")]
    assert not any("\\input" in line for line in printed)
    assert main(["report", "runs", "metrics=[ELBO/Validation/rate]", "out=r.html"]) == 0, capsys.readouterr()
    assert '<b>"' not in (tmp_path / "r.html").read_text() and "&lt;b&gt;" in (tmp_path / "r.html").read_text()


def test_a_dollar_in_a_name_starts_no_formula_in_a_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for n in range(2):
        run = Path(shutil.copytree(RELEASES[-1], tmp_path / "runs" / f"run{n}"))
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["params"]["note"] = f"$\\frac{n}$"
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    for x in (["x=params.note"], ["x=iterations", "hue=[params.note]"]):
        assert main(["plot", "runs", *x, "y=ELBO/Validation", "out=figure.pdf"]) == 0
