"""Downloads from a local server: files are checked, and nothing is left behind if they are wrong."""

import gzip
import hashlib
import io
import pickle
import socket
import struct
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frame.common.errors import UserError
from frame.data.CIFAR10 import CIFAR10
from frame.data.FashionMNIST import FashionMNIST
from frame.data.files import download
from frame.data.MNIST import MNIST

CONTENT = b"some bytes" * 1000
HASH = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """Its address, and the folder that it serves."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/", folder
        http.shutdown()
        thread.join()


@pytest.fixture
def nobody() -> str:
    """An address without a server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


def test_mirrors_are_tried_in_turn(server: tuple[str, Path], nobody: str, tmp_path: Path) -> None:
    address, folder = server
    (folder / "good").mkdir()
    (folder / "wrong").mkdir()
    (folder / "good/file").write_bytes(CONTENT)
    (folder / "wrong/file").write_bytes(CONTENT[:-1])
    target = tmp_path / "root/raw/file"
    mirrors = [nobody, address + "absent/", address + "wrong/", address + "good/"]
    assert download("Set", target, mirrors, HASH) == target
    assert target.read_bytes() == CONTENT and [p.name for p in target.parent.iterdir()] == ["file"]


def test_a_wrong_hash_is_refused_and_leaves_nothing(server: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = server
    (folder / "file").write_bytes(CONTENT[:-1])
    target = tmp_path / "root/file"
    with pytest.raises(
        UserError, match="Set: file could not be fetched .its hash is not the published one.*put it into"
    ):
        download("Set", target, [address], HASH)
    assert list(target.parent.iterdir()) == []


def test_without_a_network_or_a_folder_one_line_says_so(nobody: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no connection to '{nobody}file'.*device.data_root") as caught:
        download("Set", tmp_path / "file", [nobody], HASH)
    assert "\n" not in str(caught.value)
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="cannot write to .*taken"):
        download("Set", tmp_path / "taken/file", [nobody], HASH)


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_mnist_is_fetched_and_read(
    kind: Any, server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = server
    n = 20
    hashes = {}
    for part in ("train", "t10k"):
        for content, shape in (("images-idx3", (n, 28, 28)), ("labels-idx1", (n,))):
            header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
            body = bytes(i % 10 for i in range(n * (784 if content[0] == "i" else 1)))
            packed = gzip.compress(header + body)
            (folder / f"{part}-{content}-ubyte.gz").write_bytes(packed)
            hashes[f"{part}-{content}-ubyte.gz"] = "md5:" + hashlib.md5(packed).hexdigest()
    for name, value in {"mirrors": (address,), "hashes": hashes, "n_train": n, "n_test": n}.items():
        monkeypatch.setattr(kind, name, value)
    data = kind(tmp_path / "root", download_files=True, n_valid=5)
    assert len(data.split("train")) == 15 and len(data.split("valid")) == 5
    assert sorted(p.name for p in (tmp_path / "root" / kind.__name__ / "raw").iterdir()) == sorted(
        name for name in hashes if name.startswith("train")
    )
    again = kind(tmp_path / "root", n_valid=5)  # existing files are not fetched
    assert len(again.split("train")) == 15
    with pytest.raises(
        UserError, match=f"t10k-images-idx3-ubyte .or .gz. is missing in .*{kind.__name__}/raw.*download_files=true"
    ):
        again.split("test")


def test_cifar_is_fetched_and_unpacked(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = server
    rows = np.arange(3 * 3072, dtype=np.uint8).reshape(3, 3072)
    packed = pickle.dumps({b"data": rows, b"labels": [0, 5, 9]}, protocol=2)
    names = [*CIFAR10.train_files, *CIFAR10.test_files, "batches.meta"]
    archive = folder / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in [*(f"cifar-10-batches-py/{name}" for name in names), "../outside", "cifar-10-batches-py/other"]:
            member = tarfile.TarInfo(name)
            member.size = len(packed)
            tar.addfile(member, io.BytesIO(packed))
    values = {
        "mirrors": (address,),
        "known_hash": "md5:" + hashlib.md5(archive.read_bytes()).hexdigest(),
        "n_train": 15,
        "n_file": 3,
    }
    for name, value in values.items():
        monkeypatch.setattr(CIFAR10, name, value)
    root = tmp_path / "root"
    x = CIFAR10(root, download_files=True, n_valid=2).split("train").batch(torch.arange(3))["x"]
    assert x.shape == (3, 3, 32, 32) and x[1, 2, 3, 4] == rows[1, 2 * 1024 + 3 * 32 + 4]
    assert sorted(p.name for p in (root / "cifar-10-batches-py").iterdir()) == sorted(names)
    assert not (tmp_path / "outside").exists() and not (root / "outside").exists()

    (root / "cifar-10-batches-py/data_batch_3").unlink()
    archive_there = root / archive.name
    archive_there.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(UserError, match="cifar-10-python.tar.gz is broken") as caught:
        CIFAR10(root, n_valid=2).split("valid")
    assert "\n" not in str(caught.value)
