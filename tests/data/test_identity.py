"""A run is opened on the data that it was trained on, or the error says what has changed."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

import frame
from frame.common.errors import UserError
from frame.data.base import DataSet, described
from frame.data.digits import Digits
from frame.data.gaussians import Gaussians
from frame.data.identity import DataChanged, listed
from frame.data.images import Images
from frame.data.memory import InMemory
from frame.data.per_sample import as_data_set
from frame.data.take import Take
from frame.data.views import Views
from tests.processes import Process, only_run, train


def animals(root: Path, *names: str, n: int = 20) -> Path:
    for k, name in enumerate(names):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            pixels = np.full((8, 8), 40 * k + i, np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on pictures of ants, bees and cats."""
    cwd = tmp_path_factory.mktemp("trained")
    animals(cwd / "pictures", "ant", "bee", "cat")
    words = ["experiment=tiny", "data=images", f"data.root={cwd / 'pictures'}", "data.size=8", "data.channels=1"]
    code, output = train([*words, "data.n_test=0.2", "train_for=10 iterations", "callbacks.breaker=null"], cwd)
    assert code == 0, output
    return cwd


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, whose pictures may be changed."""
    shutil.copytree(trained, tmp_path / "copy")
    folder = only_run(tmp_path / "copy")
    config = (folder / "config.yaml").read_text().replace(str(trained), str(tmp_path / "copy"))
    (folder / "config.yaml").write_text(config)
    return folder


def pictures(run: Path) -> Path:
    return run.parents[2] / "pictures"


def frame_command(words: list[str], cwd: Path) -> tuple[int, str]:
    process = Process(words, cwd)
    return process.wait(), process.output


def test_a_run_keeps_classes_and_rows(run: Path) -> None:
    kept = json.loads((run / "data.json").read_text())
    assert kept["classes"] == ["ant", "bee", "cat"] and kept["n_classes"] == 3
    assert {split: part["rows"] for split, part in kept["splits"].items()} == {"train": 42, "valid": 6, "test": 12}
    source = frame.open(run).data("test")
    assert len(source) == 12


def rename(root: Path) -> None:
    (root / "ant").rename(root / "zebra")


def add_a_folder(root: Path) -> None:
    animals(root, "ape")


def add_pictures(root: Path) -> None:
    for i in range(20):
        shutil.copy(root / "ant" / "0.png", root / "ant" / f"more{i}.png")


def swap_labels(root: Path) -> None:
    for name in [path.name for path in (root / "ant").iterdir()]:
        (root / "ant" / name).rename(root / "ant" / f"x{name}")
        (root / "bee" / name).rename(root / "ant" / name)
        (root / "ant" / f"x{name}").rename(root / "bee" / f"x{name}")


def replace_files(root: Path) -> None:
    for path in (root / "cat").iterdir():
        Image.fromarray(np.random.RandomState(0).randint(0, 255, (32, 32)).astype(np.uint8)).save(path)


CHANGES = [
    (rename, "has the classes ant, bee, cat, the data now bee, cat, zebra (gone: ant; new: zebra)"),
    (add_a_folder, "the data now ant, ape, bee, cat (new: ape)"),
    (lambda root: shutil.rmtree(root / "cat"), "the data now ant, bee (gone: cat)"),
    (add_pictures, "' had "),
    (swap_labels, "has other files (by name and size) than when"),
    (replace_files, "has other files (by name and size) than when"),
]


@pytest.mark.parametrize("change, said", CHANGES, ids=["renamed", "added", "removed", "more", "swapped", "replaced"])
def test_changed_data_are_refused_wherever_a_run_is_opened(run: Path, change: Any, said: str) -> None:
    change(pictures(run))
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and file.name != "lock"}
    for words in (
        ["evaluate", str(run), "evaluation=[elbo]"],
        ["train", f"resume={run}", "train_for=20 iterations"],
    ):
        code, output = frame_command(words, run.parents[2])
        usual = re.compile("checkpoint at iteration|Images: (pictures of|decoded once)")
        lines = [line for line in output.splitlines() if not usual.search(line)]
        assert code == 2 and len(lines) == 1 and said in output and "trained on" in output, (words, output)
    with pytest.raises(DataChanged, match="."):
        for split in ("train", "valid", "test"):
            frame.open(run).data(split)
    after = {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and file.name != "lock"}
    assert {file: content for file, content in after.items() if file in before} == before


def test_the_same_data_elsewhere_are_the_same(run: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures(run), tmp_path / "elsewhere")
    shutil.rmtree(pictures(run))
    config = (run / "config.yaml").read_text().replace(str(pictures(run)), str(tmp_path / "elsewhere"))
    (run / "config.yaml").write_text(config)
    for split in ("train", "valid", "test"):
        assert len(frame.open(run).data(split)) > 0
    code, output = frame_command(["train", f"resume={run}", "train_for=12 iterations"], run.parents[2])
    assert code == 0, output


def test_a_run_without_the_file_is_opened_and_a_broken_file_is_an_error(run: Path) -> None:
    (run / "data.json").unlink()
    rename(pictures(run))
    assert len(frame.open(run).data("test")) > 0
    for text in ("", "[]", '{"splits": 1}', '{"splits": {"train": 3}}', '{"splits": {}, "classes": [1]}', "\xff"):
        (run / "data.json").write_text(text, encoding="latin-1")
        with pytest.raises(UserError, match="data.json") as caught:
            frame.open(run).data("test")
        assert "\n" not in str(caught.value)


# Data sets of every kind


class Own(DataSet):
    """A user's: labels and pictures in memory, no names."""

    splits = ("train", "test")

    def __init__(self, y: list[int], first: int = 0, broken_test: bool = False) -> None:
        super().__init__()
        self.y, self.first, self.broken_test = torch.tensor(y), first, broken_test

    def load(self, split: str) -> InMemory:
        if split == "test" and self.broken_test:
            raise FileNotFoundError("test.npz")
        x = torch.zeros(len(self.y), 1, 5, 5, dtype=torch.uint8)
        x[0] = self.first
        return InMemory(x, self.y)


def test_labels_and_pictures_that_changed_in_memory() -> None:
    kept = json.loads(json.dumps(described(Own([0, 1, 2, 1]))))
    Own([0, 1, 2, 1]).expect(kept, "it")
    for other, why in (
        (Own([0, 2, 1, 1]), "other labels"),
        (Own([0, 1, 2, 1], 9), "other pictures"),
        (Own([0]), "had 4"),
    ):
        other.expect(kept, "it")
        with pytest.raises(DataChanged, match=why):
            other.split("test")
    read_already = Own([0, 2, 1, 1])
    read_already.split("train")
    with pytest.raises(DataChanged, match="other labels"):
        read_already.expect(kept, "it")


def test_a_split_that_cannot_be_read_does_not_stop_training_and_is_not_compared() -> None:
    kept = described(Own([0, 1], broken_test=True))
    assert list(kept["splits"]) == ["train"]
    data = Own([0, 1])
    data.expect(kept, "it")
    assert len(data.split("test")) == 2


def test_rows_below_a_truncation_are_compared() -> None:
    data = Take(Own([0, 1, 2, 1]), 2)
    assert described(data)["splits"]["train"] == described(Own([0, 1, 2, 1]))["splits"]["train"]
    inner = Own([0, 1, 2, 2])  # differs in a row that is cut off
    inner.expect(described(data), "it")
    with pytest.raises(DataChanged, match="other labels"):
        Take(inner, 2).split("train")
    assert Take(Digits(), 5).n_classes == 10 and Take(Digits(), 5).shape == (1, 8, 8)


def test_shipped_data_sets_are_unchanged_when_loaded_again(tmp_path: Path) -> None:
    pairs = TensorDataset(torch.randn(40, 3), torch.arange(40) % 4)
    for make in (
        lambda: Digits(),
        lambda: Digits("static"),
        lambda: Gaussians(information=1.0, n_rows=50, n_held_out=20),
        lambda: Views(Digits(), {}, 2),
        lambda: as_data_set(pairs),
        lambda: as_data_set({"train": pairs, "test": pairs}),
        lambda: Images(animals(tmp_path, "a", "b"), 8),
    ):
        kept = json.loads(json.dumps(described(make())))
        assert set(kept["splits"]) == set(make().splits)
        data = make()
        data.expect(kept, "it")
        for split in data.splits:
            data.split(split)
    assert "labels" in described(Views(Digits(), {}, 2))["splits"]["train"]
    assert "labels" in described(as_data_set(pairs))["splits"]["valid"]
    other = as_data_set(TensorDataset(pairs.tensors[0], (torch.arange(40) + 1) % 4))
    other.expect(described(as_data_set(pairs)), "it")
    with pytest.raises(DataChanged, match="other labels"):
        other.split("train")


def test_classes_and_labels_of_a_user_s_own_meaning() -> None:
    class Counts(Own):
        classes = 3  # type: ignore[assignment]

    assert described(Counts([0, 1, 2]))["classes"] is None and Counts([0]).n_classes is None

    class Rows:
        x, y = torch.zeros(4, 2), torch.zeros(4, 3)  # such as soft labels

        def __len__(self) -> int:
            return 4

    class Soft(Own):
        n_classes = 3

        def load(self, split: str) -> Any:
            return Rows()

    assert set(described(Soft([0]))["splits"]["train"]) == {"rows", "values"}


def test_long_lists_are_cut() -> None:
    assert listed([f"class{i}" for i in range(1000)], 3) == "class0, class1, class2 and 997 more"


@pytest.mark.parametrize("wrap", [lambda x: InMemory(x), lambda x: TensorDataset(x)])
def test_float_rows_without_labels_are_compared(wrap: Any) -> None:
    x = torch.randn(40, 3, 5, generator=torch.Generator().manual_seed(0))

    def data(rows: torch.Tensor) -> DataSet:
        return as_data_set({"train": wrap(rows), "valid": wrap(rows)})

    kept = json.loads(json.dumps(described(data(x))))
    other_machine = data(x * (1 + 1e-7))
    other_machine.expect(kept, "it")
    other_machine.split("train")
    for changed in (x.flip(0), x.flip(2), x + 0.01, torch.randn(40, 3, 5)):
        other = data(changed)
        other.expect(kept, "it")
        with pytest.raises(DataChanged, match="'train' has other values than when it was trained, in 40 rows"):
            other.split("train")
