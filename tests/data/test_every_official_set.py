"""The data sets with official files, and the digits inside scikit-learn."""

import inspect
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import get_class
from omegaconf import OmegaConf

from frame.common.errors import UserError
from frame.data.base import DataSet
from frame.data.CIFAR10 import CIFAR10
from frame.data.CIFAR100 import CIFAR100
from frame.data.digits import Digits
from frame.data.FashionMNIST import FashionMNIST
from frame.data.images import Images
from frame.data.MNIST import MNIST
from frame.data.sprites import Sprites
from frame.data.STL10 import STL10

CONFIGS = sorted((Path(__file__).parents[2] / "config/data").glob("*.yaml"))
ROOT = os.environ.get("DATA_ROOT")


def needs(folder: str) -> pytest.MarkDecorator:
    there = ROOT is not None and (Path(ROOT) / folder).is_dir()
    return pytest.mark.skipif(not there, reason=f"set DATA_ROOT to a folder that has {folder}")


def every_row(data: DataSet, split: str) -> dict[str, Any]:
    source = data.split(split)
    return source.batch(torch.arange(len(source)))


def test_there_are_configs() -> None:
    assert {path.stem for path in CONFIGS} >= {"digits", "MNIST", "FashionMNIST", "CIFAR10", "images"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_config_s_keys_are_the_constructor_s_arguments(path: Path) -> None:
    config = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(config, dict)
    target = get_class(config.pop("_target_"))
    for entry in config.pop("defaults", []):  # an argument that is a choice of its own, as the data of views
        chosen = [str(key).partition("@")[2] for key in (entry if isinstance(entry, dict) else ())]
        config = {key: None for key in chosen if key not in config} | config
    assert issubclass(target, DataSet) and target.__module__ in (
        f"frame.data.{path.stem}",
        f"frame.data.{path.stem.split('_')[0]}",
    )
    assert list(config) == list(inspect.signature(target).parameters)


def test_digits() -> None:
    data = Digits()
    sizes = {split: len(data.split(split)) for split in data.splits}
    assert sizes == {"train": 1297, "valid": 200, "test": 300}
    parts = [every_row(data, split) for split in data.splits]
    x, y = torch.cat([part["x"] for part in parts]), torch.cat([part["y"] for part in parts])
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    theirs = sorted((*row.astype(int), label) for row, label in zip(pixels, labels, strict=True))
    ours = (x.flatten(1).float() * 16 / 255).round().int()
    assert sorted((*row, label) for row, label in zip(ours.tolist(), y.tolist(), strict=True)) == theirs
    assert x.shape[1:] == data.shape and x.max() == 255 and all(len(part["y"].unique()) == 10 for part in parts)
    assert torch.equal(every_row(Digits(), "train")["x"], parts[0]["x"])


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST, CIFAR10, CIFAR100, STL10])
def test_missing_files_are_one_line(kind: Any, tmp_path: Path) -> None:
    data = kind(tmp_path / "nowhere")  # constructors read nothing
    for split in data.splits:
        with pytest.raises(
            UserError, match=f"{kind.__name__}: .* is missing in .*nowhere.*download_files=true"
        ) as caught:
            data.split(split)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no split 'vaild': did you mean 'valid'"):
        data.split("vaild")


@pytest.mark.parametrize("kind", [MNIST, CIFAR10, CIFAR100, STL10])
def test_wrong_arguments_are_refused_before_anything_is_read(kind: Any, tmp_path: Path) -> None:
    for n_valid in (-1, 10**6, 1.5, True):
        with pytest.raises(UserError, match="n_valid"):
            kind(tmp_path, n_valid=n_valid)
    with pytest.raises(UserError, match="binarize"):
        kind(tmp_path, binarize="maybe")
    data = kind(tmp_path, n_valid=0)
    assert data.splits == ("train", "test")
    with pytest.raises(UserError, match="no split 'valid' with n_valid=0"):
        data.split("valid")


@pytest.mark.parametrize(
    "change, why",
    [
        ({b"data": np.zeros((2, 3071), np.uint8)}, "'data' is not an array of 2 x 3072"),
        ({b"data": np.zeros((2, 3072), np.float32)}, "'data'"),
        ({b"data": [1, 2]}, "'data'"),
        ({b"labels": [1]}, "'labels' are not 2 numbers"),
        ({b"labels": [1, 10]}, "'labels'"),
        ({b"labels": None}, "'labels'"),
    ],
)
def test_cifar_files_of_another_shape_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[bytes, Any], why: str
) -> None:
    monkeypatch.setattr(CIFAR10, "n_file", 2)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    content = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1]}
    (folder / "test_batch").write_bytes(pickle.dumps(content))
    assert len(CIFAR10(tmp_path).split("test")) == 2
    (folder / "test_batch").write_bytes(pickle.dumps({**content, **change}))
    with pytest.raises(UserError, match=f"test_batch is broken .*{why}"):
        CIFAR10(tmp_path).split("test")


def cifar100(root: Path, monkeypatch: pytest.MonkeyPatch, n_train: int = 6, n_test: int = 4) -> None:
    """Files of the official format, with few rows."""
    monkeypatch.setattr(CIFAR100, "n_file", n_train)
    monkeypatch.setattr(CIFAR100, "n_train", n_train)
    monkeypatch.setattr(CIFAR100, "n_test", n_test)
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, n in (("train", n_train), ("test", n_test)):
        data = (np.arange(n * 3072) % 251).astype(np.uint8).reshape(n, 3072)
        labels = {b"fine_labels": list(range(99, 99 - n, -1)), b"coarse_labels": list(range(n))}
        (folder / name).write_bytes(pickle.dumps({b"data": data, b"filenames": [b"a.png"] * n, **labels}, protocol=2))


def test_cifar100_has_fine_and_coarse_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cifar100(tmp_path, monkeypatch)
    fine, coarse = CIFAR100(tmp_path, n_valid=2), CIFAR100(tmp_path, n_valid=2, labels="coarse")
    assert (fine.n_classes, coarse.n_classes) == (100, 20)
    assert [every_row(fine, split)["y"].tolist() for split in fine.splits] == [
        [99, 98, 97, 96],
        [95, 94],
        [99, 98, 97, 96],
    ]
    assert every_row(coarse, "train")["y"].tolist() == [0, 1, 2, 3]
    x = every_row(fine, "train")["x"]
    assert x.shape == (4, 3, 32, 32) and x[2, 1, 5, 7] == (2 * 3072 + 1024 + 5 * 32 + 7) % 251
    with pytest.raises(UserError, match="no labels 'fien': did you mean 'fine'"):
        CIFAR100(tmp_path, n_valid=2, labels="fien")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({b"data": np.zeros((3, 3072), np.uint8)}, "'data' is not an array of 4 x 3072"),
        ({b"fine_labels": [0, 1, 2, 100]}, "'fine_labels' are not 4 numbers from 0 to 99"),
        ({b"fine_labels": None}, "'fine_labels'"),
    ],
)
def test_cifar100_files_of_another_shape_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[bytes, Any], why: str
) -> None:
    cifar100(tmp_path, monkeypatch)
    file = tmp_path / "cifar-100-python" / "test"
    file.write_bytes(pickle.dumps({**pickle.loads(file.read_bytes()), **change}, protocol=2))
    with pytest.raises(UserError, match=f"test is broken .*{why}"):
        CIFAR100(tmp_path, n_valid=2).split("test")


def stl10(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Files of the official format, with few rows, and their pictures [N, 3, 96, 96]."""
    sizes = {"train": 5, "test": 3, "unlabeled": 4}
    for name, n in (("n_train", 5), ("n_test", 3), ("n_unlabelled", 4)):
        monkeypatch.setattr(STL10, name, n)
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    drawn, found = np.random.RandomState(0), {}
    for name, n in sizes.items():
        x = found[name] = drawn.randint(0, 256, (n, 3, 96, 96)).astype(np.uint8)
        (folder / f"{name}_X.bin").write_bytes(x.transpose(0, 1, 3, 2).tobytes())  # column by column
        if name != "unlabeled":
            (folder / f"{name}_y.bin").write_bytes(bytes(range(10, 10 - n, -1)))
    return found


def test_stl10_reads_columns_and_counts_classes_from_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = stl10(tmp_path, monkeypatch)
    data = STL10(tmp_path, n_valid=2)
    train, valid, test = (every_row(data, split) for split in data.splits)
    assert np.array_equal(torch.cat([train["x"], valid["x"]]), expected["train"])
    assert np.array_equal(test["x"], expected["test"]) and data.n_classes == 10
    assert [part["y"].tolist() for part in (train, valid, test)] == [[9, 8, 7], [6, 5], [9, 8, 7]]


def test_the_unlabelled_part_of_stl10_is_its_only_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = stl10(tmp_path, monkeypatch)
    data = STL10(tmp_path, n_valid=2, part="unlabelled")
    batch = every_row(data, "train")
    assert data.splits == ("train",) and data.keys == ("x",) and data.n_classes is None and "y" not in batch
    assert np.array_equal(batch["x"], expected["unlabeled"])
    with pytest.raises(UserError, match="no split 'valid': set data.part=labelled"):
        data.split("valid")
    with pytest.raises(UserError, match="no part of STL10 'unlabeled': did you mean 'unlabelled'"):
        STL10(tmp_path, n_valid=2, part="unlabeled")  # type: ignore[arg-type]


def test_stl10_files_of_another_size_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stl10(tmp_path, monkeypatch)
    folder = tmp_path / "stl10_binary"
    for name, content, why in (
        ("test_y.bin", bytes([1, 2, 11]), "other numbers than 1 to 10"),
        ("test_y.bin", bytes([1, 2, 0]), "other numbers than 1 to 10"),
        ("test_y.bin", bytes(4), "it holds 4 of 3 bytes"),
        ("test_y.bin", b"", "empty"),
        ("train_X.bin", bytes(9), f"it holds 9 of {5 * 3 * 96 * 96} bytes"),
    ):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name} is broken .*{why}") as caught:
            STL10(tmp_path, n_valid=2).split(name.split("_")[0])
        assert "\n" not in str(caught.value)
        (folder / name).write_bytes(before)


def test_an_archive_of_stl10_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = stl10(tmp_path / "made", monkeypatch)
    with tarfile.open(tmp_path / "stl10_binary.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "made" / "stl10_binary", "stl10_binary")
    assert np.array_equal(every_row(STL10(tmp_path, n_valid=2), "test")["x"], expected["test"])
    assert (tmp_path / "stl10_binary" / "unlabeled_X.bin").is_file()


@needs("MNIST/raw")
def test_mnist_is_mnist() -> None:
    data = MNIST(ROOT or "")
    train, valid, test = (every_row(data, split) for split in data.splits)
    assert [len(part["x"]) for part in (train, valid, test)] == [50_000, 10_000, 10_000]
    official = torch.cat([train["y"], valid["y"]])
    # counts of each digit from the literature
    assert official.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert test["y"].bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    x = torch.cat([train["x"], valid["x"]])
    assert x.shape == (60_000, 1, 28, 28) and x.dtype == torch.uint8
    assert x.float().mean().div(255).item() == pytest.approx(0.1307, abs=5e-5)  # the well-known mean
    assert official[:5].tolist() == [5, 0, 4, 1, 9]
    # read once: both parts share their memory
    one, two = data.split("train"), data.split("valid")
    assert one.x.untyped_storage().data_ptr() == two.x.untyped_storage().data_ptr()  # type: ignore[attr-defined]
    all_of_it = MNIST(ROOT or "", n_valid=0).split("train")
    assert len(all_of_it) == 60_000


@needs("MNIST/raw")
def test_static_mnist_does_not_depend_on_the_split() -> None:
    few, many = (MNIST(ROOT or "", binarize="static", n_valid=n) for n in (100, 10_000))
    assert torch.equal(every_row(few, "valid")["x"], every_row(many, "valid")["x"][-100:])
    assert every_row(few, "test")["x"].unique().tolist() == [0, 255]


@needs("cifar-10-batches-py")
def test_cifar_is_cifar() -> None:
    data = CIFAR10(ROOT or "")
    train, valid, test = (every_row(data, split) for split in data.splits)
    assert [len(part["x"]) for part in (train, valid, test)] == [45_000, 5_000, 10_000]
    assert train["x"].shape[1:] == data.shape == (3, 32, 32)
    assert torch.cat([train["y"], valid["y"]]).bincount().tolist() == [5000] * 10
    assert test["y"].bincount().tolist() == [1000] * 10
    # each channel's mean from the literature; files with JPEG-compressed pictures differ a little
    mean = train["x"].float().mean((0, 2, 3)) / 255
    assert mean.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=2e-3)


def test_files_are_looked_for_in_the_second_place_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CIFAR10, "n_file", 2)
    small, big = tmp_path / "small", tmp_path / "big"
    (big / "cifar-10-batches-py").mkdir(parents=True)
    content = {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 1]}
    (big / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(content))
    assert len(CIFAR10(small, big_data_root=big).split("test")) == 2
    with pytest.raises(UserError, match="MNIST: train-images.* is missing in .*small/MNIST/raw and .*big/MNIST/raw"):
        MNIST(small, big_data_root=big).split("train")
    (big / "dsprites").mkdir()
    (big / "dsprites" / Sprites.file).touch()
    assert Sprites(small, big_data_root=big).path == big / "dsprites" / Sprites.file
    assert Images(data_root=small, big_data_root=big).root == small / "images"
    (big / "images").mkdir()
    assert Images(data_root=small, big_data_root=big).root == big / "images"
    assert Images("mine", data_root=small, big_data_root=big).root == Path("mine")


@pytest.mark.parametrize("name", [path.stem for path in CONFIGS])
def test_every_place_of_a_device_is_read(name: str) -> None:
    """big_data_root is in the config of every data set that reads files below data_root."""
    text = (Path(__file__).parents[2] / "config/data" / f"{name}.yaml").read_text()
    assert ("${device.data_root}" in text) == ("${device.big_data_root}" in text)
