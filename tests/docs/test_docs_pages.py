"""Every block of these pages runs as documented, in an empty folder of a user.

Commands in blocks of `sh` and not `bash` are only shown: they need a cluster, hours, or files that are not here.
"""

import glob
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.processes import Process, context
from tests.slow import slow_but

ROOT = Path(__file__).parents[2]
TUTORIALS = ("own-pictures", "own-method", "study", "fine-tuning", "strangers-runs")
GUIDES = ("data", "models", "architectures", "optimization", "callbacks", "evaluation", "device", "logging", "studies")
PAGES = ("index", *GUIDES, "own_data", "sharing", *(f"tutorials/{name}" for name in TUTORIALS))
FENCE = re.compile(r"^```(\w+)?(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def steps(page: str) -> list[tuple[str, str, str]]:
    """(language, file, text) of the fenced blocks, in their order: files to write and commands to run."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    return [(match[1] or "", match[2] or "", match[3]) for match in FENCE.finditer(text)]


def script(file: str, cwd: str, output: str) -> None:
    os.chdir(cwd)
    sys.path.insert(0, cwd)  # as `python file` does
    with open(output, "w") as stream:
        sys.stdout = stream
        runpy.run_path(file, run_name="__main__")


def run(line: str, folder: Path) -> str:
    """Runs a documented command line as a shell would; its output."""
    words = shlex.split(line, comments=True)
    environment = {}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    words = [found for word in words for found in (sorted(glob.glob(word, root_dir=folder)) or [word])]
    if words[:2] == ["python", "-m"]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, *words[1:]], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
    if words[0] == "python":
        output = folder / "printed.txt"
        process = context.Process(target=script, args=(words[1], str(folder), str(output)))
        process.start()
        process.join(180)
        assert process.exitcode == 0, line
        return output.read_text()
    assert words[0] == "frame", line
    under_way = Process(words[1:], folder, **environment)
    code = under_way.wait(180)
    assert code == 0, f"{line}\n{under_way.output}"
    return under_way.output


@pytest.mark.parametrize("page", PAGES)
def test_a_block_is_a_file_or_commands_without_gaps(page: str) -> None:
    for language, file, text in steps(page):
        assert file or language in ("bash", "sh"), f"docs/{page}.md: neither a file nor commands: {text}"
        assert file or not re.search(r"<\w+>", text), f"docs/{page}.md: commands with something to fill in: {text}"


@pytest.mark.parametrize("page", slow_but(("models",), PAGES))  # `make docs` runs all of them
def test_the_example_of_a_page_trains(page: str, tmp_path: Path) -> None:
    trained = 0
    printed = ""
    for language, file, text in steps(page):
        if file:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text)
        if language != "bash":
            continue
        for line in text.replace("\\\n", " ").splitlines():
            printed = run(line, tmp_path)
            trained += line.split(" train ")[0].endswith("frame")
    assert trained > 0
    metrics = [pd.read_csv(path) for path in tmp_path.glob("*/*/*/metrics.csv")]
    assert len(metrics) == trained, "one folder per run"
    for frame in metrics:
        assert frame["iteration"].max() >= 20 and frame["loss"].notna().any()
    CHECKS.get(page, lambda folder, output: None)(tmp_path, printed)


def test_the_notebook_of_the_readme(tmp_path: Path) -> None:
    run("frame train +experiment=digits_VAE train_for='1 epoch' callbacks.samples=null logging=csv", tmp_path)
    (block,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "look.py").write_text(block)
    printed = run("python look.py", tmp_path)
    assert "ELBO/Validation" in printed and "torch.Size([8, 8])" in printed


def check_models(folder: Path, output: str) -> None:
    assert output.strip() == "torch.Size([5, 8])"


def check_callbacks(folder: Path, output: str) -> None:
    (run,) = folder.glob("runs/*/*")
    assert '"ELBO/Validation"' in (run / "best.json").read_text()
    assert (run / "checkpoints" / "best.ckpt").exists()


def check_evaluation(folder: Path, output: str) -> None:
    assert re.search(r"ActiveUnits/Test  \d latents  \(test\)", output), output
    assert list(folder.glob("runs/*/*/tables/ActiveUnits_Test_variances/*.csv"))


def check_device(folder: Path, output: str) -> None:
    assert list(folder.glob("results/digits_VAE/*/status.json"))


def check_logging(folder: Path, output: str) -> None:
    rows = pd.read_json(folder / "all_runs.jsonl", lines=True)
    assert set(rows["run"]) == {"digits_VAE", "second"}
    assert len(list(folder.glob("runs/*/*/tensorboard/events*"))) == 1


def check_studies(folder: Path, output: str) -> None:
    assert len(list(folder.glob("runs/studies/weight/runs/*/*/status.json"))) == 4
    table = (folder / "weight.md").read_text()
    assert re.search(r"^\| 0.5( \(chosen\))? \| 2 \| .*-\d.* ± ", table, re.MULTILINE) and "(chosen) | 2 |" in table
    assert "| floor: pixels |" in table and "ELBO/Test: test, 300 samples" in table
    figures = {file.name for file in (folder / "figures").iterdir()}
    names = ("weight", "curves", "rate_distortion", "pictures")
    assert figures == {f"{name}.{end}" for name in names for end in ("pdf", "csv")}
    assert "<h2>Learning curves</h2>" in (folder / "weight.html").read_text()
    assert re.search(r"ELBO/Test  -\d", output), output
    assert {"README.md", "encoder.onnx", "model.safetensors"} <= {file.name for file in (folder / "shared").iterdir()}
    assert (folder / "shared" / "source" / "MyVAE.py").read_text() == (folder / "MyVAE.py").read_text()


CHECKS = {
    "models": check_models,
    "callbacks": check_callbacks,
    "evaluation": check_evaluation,
    "device": check_device,
    "logging": check_logging,
    "studies": check_studies,
}
