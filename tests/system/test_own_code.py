"""Whatever a user brings can be trained, and then listed, shown, opened, evaluated, compared, exported and resumed."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import frame
from frame.commands.main import main
from frame.composition.folders import OwnFolder
from frame.runs import modules
from frame.runs.journal import RECORDS, Journal

THESIS = {
    "orchard/__init__.py": "",
    "orchard/losses.py": """
        from torch.nn.functional import mse_loss
        SCALE = 1.0
        """,
    "orchard/method.py": """
        from frame.models.base import Model
        from orchard.losses import SCALE, mse_loss

        class Squash(Model):
            def __init__(self, encoder, decoder):
                super().__init__()
                self.encoder, self.decoder = encoder, decoder

            def encode(self, x):
                return self.encoder(x)

            def features(self, x):
                return self.encoder(x)

            def reconstruct(self, x):
                from orchard.losses import SCALE  # imported when it is called
                return SCALE * self.decoder(self.encoder(x)).view_as(x)

            def compute_loss(self, batch):
                return {"loss": mse_loss(self.reconstruct(batch["x"]), batch["x"])}
        """,
    "pear_net.py": """
        from math import prod
        from torch import nn

        class Net(nn.Sequential):
            def __init__(self, shape, n_out):
                super().__init__(nn.Flatten(), nn.Linear(prod(shape), n_out))
        """,
    "pear_data.py": """
        import numpy, torch
        from torch.utils.data import Dataset
        from frame.data.base import DataSet
        from frame.data.memory import InMemory

        def arrays(seed, n=30):
            generator = torch.Generator().manual_seed(seed)
            y = torch.arange(n) % 3
            return torch.rand(n, 6, generator=generator) + y.view(-1, 1), y

        class Whole(DataSet):
            shape, n_classes = (6,), 3
            def load(self, split):
                return InMemory(*arrays(self.splits.index(split)))

        class Rows(Dataset):
            def __init__(self, seed=0):
                self.x, self.y = arrays(seed)
            def __len__(self):
                return len(self.x)
            def __getitem__(self, index):
                return {"x": self.x[index], "y": int(self.y[index])}

        def sources(n):
            return {split: InMemory(*arrays(seed, n)) for seed, split in enumerate(("train", "valid", "test"))}

        def half(batch, generator):
            return {**batch, "x": batch["x"] / 2}

        def save(folder):
            import datasets
            for seed, split in enumerate(("train", "valid", "test")):
                x, y = arrays(seed)
                datasets.Dataset.from_dict({"x": x.numpy(), "label": y.numpy()}).with_format("numpy").save_to_disk(
                    f"{folder}/{split}")
        """,
    "pear_rest.py": """
        from pathlib import Path
        from frame.evaluation.base import Evaluation, LogEntry, Scalar
        from frame.loggers.base import RunLogger

        class Error(Evaluation):
            numbers = {"": "squared value"}
            def evaluate(self, model, data):
                error = self.over_rows(model, data, None, lambda batch: {
                    "e": (model.reconstruct(batch["x"]) - batch["x"]).square().mean(1)})["e"]
                number = Scalar(error.mean().item(), "squared value", len(error), "mean")
                return LogEntry(self.evaluate_on, {"": number})

        class Lines(RunLogger):
            def __init__(self, folder):
                super().__init__()
                self.file = Path(folder) / "lines.txt"
            def log_metrics(self, metrics, step=None):
                with self.file.open("a") as stream:
                    stream.write(f"{step}\\n")
        """,
    "config/evaluation/pear.yaml": "{name: Pear, _target_: pear_rest.Error, evaluate_on: test}",
    "config/logging/lines.yaml": "lines: {_target_: pear_rest.Lines}",
    "config/data/whole.yaml": "{_target_: pear_data.Whole}",
    "config/data/one.yaml": "{_target_: pear_data.Rows}",
    "config/data/splits.yaml": "{train: {_target_: pear_data.Rows}, test: {_target_: pear_data.Rows, seed: 2}}",
    "config/data/made.yaml": "{_target_: pear_data.sources, n: 30}",
    "config/data/mapped.yaml": """
        _target_: frame.data.map.Map
        data: {_target_: pear_data.Whole}
        function: {_target_: pear_data.half, _partial_: true}
        """,
    "config/data/hugging.yaml": "\n".join(
        f"{split}: {{_target_: datasets.load_from_disk, dataset_path: saved/{split}}}"
        for split in ("train", "valid", "test")
    ),
    "config/experiment/pears.yaml": """
        # @package _global_
        defaults:
          - /data: whole
          - /optimization: batch_ADAM
          - override /logging: lines
        model:
          _target_: orchard.method.Squash
          encoder: {_target_: pear_net.Net, shape: "${sizes.x}", n_out: 2}
          decoder: {_target_: pear_net.Net, shape: [2], n_out: 6}
        params: {lr: 0.01, batch_size: 10}
        train_for: 4 iterations
        doctor: null
        evaluations: {pear: {every: 2 iterations, on: train}}
        """,
}
DATA = ("whole", "one", "splits", "made", "mapped", "hugging")


def write(folder: Path, files: dict[str, str] = THESIS) -> Path:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = text.strip("\n").splitlines()
        indent = len(lines[0]) - len(lines[0].lstrip()) if lines else 0
        file.write_text("\n".join(line[indent:] for line in lines) + "\n")
    return folder


def forget() -> None:
    """Imports of the user's modules start again, as in a new process."""
    for name in [name for name in sys.modules if name.split(".")[0].startswith(("orchard", "pear_"))]:
        del sys.modules[name]
    modules._loaded.clear()
    sys.path[:] = [place for place in sys.path if "thesis" not in place]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of nobody's, and a configuration of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(OwnFolder, "folder", None)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    yield tmp_path / "elsewhere"
    forget()


@pytest.fixture
def thesis(tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own folder, which is the working folder."""
    monkeypatch.chdir(write(tmp_path / "thesis"))
    return tmp_path / "thesis"


def command(*words: str) -> None:
    """A command of a process of its own."""
    forget()
    assert main(list(words)) == 0, words


def trained(*words: str) -> Path:
    command("train", "+experiment=pears", *words)
    return max(Path("runs").glob("*/*"), key=lambda run: run.stat().st_mtime).resolve()


def value(run: Path, name: str = "Pear/Test") -> float:
    return float(next(record["value"] for record in Journal(run / RECORDS).read()[::-1] if record["name"] == name))


def test_every_command_takes_every_kind_of_own_part(thesis: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sys.path.append(str(thesis))
    __import__("pear_data").save(thesis / "saved")
    for data in DATA:
        run = trained(f"data={data}", f"experiment_name={data}")
        assert (run / "lines.txt").exists() and (run / "source" / "orchard" / "losses.py").exists()
    runs = sorted(Path("runs").glob("*/*"))
    command("list", "runs", "sort=Pear/Train")
    listed = capsys.readouterr().out
    assert len(runs) == 6 and all(data in listed for data in DATA) and "Squash" in listed and "None" not in listed
    for run in runs:
        split = "valid" if run.parent.name == "one" else "test"  # a tenth of the rows is held out
        command("show", str(run))
        command("evaluate", str(run), f"evaluate_on={split}")
        command("evaluate", str(run), "evaluation=pear", f"evaluate_on={split}", "again=true")
        command("export", str(run), f"out=shared/{run.parent.name}")
        command("encode", str(run), "layer=features", f"out={run.parent.name}.npz")
        forget()
        opened = frame.open(run)
        assert len(opened.data(split)) == (3 if run.parent.name == "one" else 30)
        assert type(frame.load(run, "model.encoder")).__name__ == "Net"
        command("train", f"resume={run}", "train_for=6 iterations")
    command("compare", "runs", "metrics=Pear/Test", "rows=experiment")
    command("plot", "runs/whole", "x=iteration", "y=Pear/Train", "out=figure.svg")
    command("report", "runs")
    assert {record["name"] for record in frame.results("runs").to_dict("records")} >= {"Pear/Train", "Pear/Test"}


def test_the_printed_command_works_here_and_elsewhere(
    thesis: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained()
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("test ")]
    words = shlex.split(line)
    words = words[words.index("evaluate") :]
    command(*words)
    monkeypatch.chdir(elsewhere)
    command(*words, "again=true")
    assert value(run) > 0


def test_a_later_edit_is_noticed(thesis: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained()
    command("evaluate", str(run), "evaluate_on=test")
    before = value(run)
    losses = thesis / "orchard" / "losses.py"
    losses.write_text(losses.read_text().replace("SCALE = 1.0", "SCALE = 2.0"))
    capsys.readouterr()
    command("evaluate", str(run), "evaluate_on=test", "again=true")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "orchard/losses.py has changed" in said and "source=now" in said
    assert value(run) == before
    command("evaluate", str(run), "evaluate_on=test", "source=now")
    assert value(run) != before
    records = [record for record in Journal(run / RECORDS).read() if record["name"] == "Pear/Test"]
    assert [record.get("source", "")[:4] for record in records] == ["", "", "now "]  # the repeated one, and the newer
    x = frame.open(run).data("test").batch(torch.arange(5))["x"]
    models: list[Any] = [frame.open(run, source=source).model for source in ("trained", "now")]
    then, now = (model.reconstruct(x) for model in models)
    assert now.equal(2 * then)  # also by an import when it is called
    command("export", str(run), "out=then")
    command("export", str(run), "out=now", "source=now")
    assert "1.0" in Path("then/source/orchard/losses.py").read_text()
    assert "2.0" in Path("now/source/orchard/losses.py").read_text() and "newer" in Path("now/README.md").read_text()
    command("train", f"resume={run}", "train_for=6 iterations")
    assert "its own source is used" in capsys.readouterr().err
    command("train", f"resume={run}", "train_for=8 iterations", "source=now")
    assert "2.0" in (run / "source" / "orchard" / "losses.py").read_text()
    assert "1.0" in (run / "source_until_6" / "orchard" / "losses.py").read_text()


def test_a_folder_that_is_not_trusted_serves_nobody(
    thesis: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(thesis.parent / "another user"))
    proof = thesis / "executed"
    (thesis / "pear_net.py").write_text(f"open({str(proof)!r}, 'w').close()\n" + (thesis / "pear_net.py").read_text())
    forget()
    capsys.readouterr()
    for words in (["evaluate", str(run)], ["export", str(run)], ["evaluate", str(run), "evaluation=pear"]):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "not trusted" in said and f"frame trust {thesis}" in said
    assert not proof.exists() and not (thesis.parent / "another user").exists()
    command("trust", str(thesis))
    assert main(["evaluate", str(run)]) == 2  # changed, and its own copy is not of this user
    assert "source=now" in capsys.readouterr().err and not proof.exists()
    command("evaluate", str(run), "source=now", "again=true")
    command("trust", str(thesis), "remove=true")
    forget()
    assert main(["evaluate", str(run), "again=true"]) == 2


def test_a_run_that_was_changed_is_nobodys(thesis: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained()
    stranger = Path(shutil.copytree(run, thesis / "runs" / "theirs"))
    proof = thesis / "executed"
    (stranger / "source" / "pear_net.py").write_text(f"open({str(proof)!r}, 'w').close()\n")
    config = yaml.safe_load((stranger / "config.yaml").read_text())
    config["model"] = {"_target_": "subprocess.run", "args": ["touch", str(proof)]}
    (stranger / "config.yaml").write_text(yaml.safe_dump(config))
    forget()
    assert main(["evaluate", str(stranger), "again=true"]) == 2
    assert "not trusted" in capsys.readouterr().err and not proof.exists()


def test_no_own_module_takes_the_place_of_an_installed_one(thesis: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (thesis / "safetensors.py").write_text("raise SystemExit('shadowed')\n")
    (thesis / "yaml.py").write_text("raise SystemExit('shadowed')\n")
    (thesis / "datasets.py").write_text("class Own: ...\n")
    run = trained()
    command("export", str(run))
    forget()
    write(thesis, {"config/data/own.yaml": "{_target_: datasets.Own}"})
    assert main(["train", "+experiment=pears", "data=own"]) == 2
    assert "comes before your own datasets.py" in capsys.readouterr().err


BROKEN = {
    "constructor": ("super().__init__()\n", "super().__init__()\n        self.a = 1 / 0\n", 2, "division by zero"),
    "loss": ('return {"loss"', 'self.missing\n        return {"loss"', 2, "has no attribute 'missing'"),
    "training": ('return {"loss"', 'assert len(batch["x"]) < 5, "no"\n        return {"loss"', 1, "AssertionError: no"),
    "syntax": ("class Squash(Model):", "class Squash(Model)", 2, "cannot be imported: expected ':'"),
    "import": ("from orchard", "import not_there\nfrom orchard", 2, "needs the package 'not_there'"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_an_error_in_own_code_names_its_line(kind: str, thesis: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after, code, what = BROKEN[kind]
    file = thesis / "orchard" / "method.py"
    file.write_text(file.read_text().replace(before, after, 1))
    forget()
    assert main(["train", "+experiment=pears"]) == code
    lines = capsys.readouterr().err.splitlines()
    start = next(number for number, line in enumerate(lines) if what in line)
    marked = [line for line in lines[start:] if line.startswith(">")]
    number = int(marked[0].split()[1])
    assert len(marked) == 1 and f"(orchard/method.py, line {number}" in lines[start]
    assert marked[0].endswith(file.read_text().splitlines()[number - 1])
    assert not any("Traceback" in line for line in lines) and lines[-1].startswith("debug=trace")
    assert bool(list(thesis.glob("runs/*/*"))) == (code == 1)
    assert main(["train", "+experiment=pears", "debug=trace"]) == code
    assert "Traceback (most recent call last)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "lines, what",
    [
        (
            "model: {_target_: pear_data.arrays, seed: 1}",
            "model: pear_data.arrays gives a tuple, not a torch",
        ),
        ("model: {_target_: pear_net.Net, shape: [6], n_out: 2}", "model: Net has no compute_loss(batch)"),
        ("callbacks: {x: {_target_: pear_data.Rows}}", "callbacks.x: pear_data.Rows gives a Rows, not a lightning"),
        ("logging: {x: {_target_: pear_data.Rows}}", "logging.x: pear_data.Rows is not a lightning"),
        ("execution: {_target_: pear_data.Rows}", "execution: pear_data.Rows gives a Rows, not a frame"),
        ("data: {_target_: pear_rest.Path}", "has no __len__ and __getitem__"),
    ],
)
def test_what_is_of_another_kind_is_refused_in_one_line(
    lines: str, what: str, thesis: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = (thesis / "config/experiment/pears.yaml").read_text()
    part = lines.split(":")[0]
    kept = experiment.split("model:")[0] if part == "model" else experiment
    rest = experiment[experiment.index("params:") :] if part == "model" else ""
    (thesis / "config/experiment/pears.yaml").write_text(kept + f"{lines}\n" + rest)
    forget()
    assert main(["train", "+experiment=pears"]) == 2
    said = capsys.readouterr().err
    assert what in said and said.count("\n") == 1
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_new_process_runs_the_printed_command(thesis: Path, elsewhere: Path) -> None:
    """The same in processes of their own, which have nothing imported."""
    environment = {**os.environ, "PYTHONPATH": str(Path(next(iter(frame.__path__))).parent)}
    start = [sys.executable, "-m", "frame"]
    done = subprocess.run(
        [*start, "train", "+experiment=pears"], cwd=thesis, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    words = shlex.split(next(line for line in done.stdout.splitlines() if line.startswith("test ")))
    for place in (thesis, elsewhere):
        again = [*start, *words[words.index("evaluate") :], "again=true"]
        done = subprocess.run(again, cwd=place, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and "Pear/Test" in done.stdout, done.stderr
