"""Files are read completely, or the error says what is wrong with them."""

import codecs
import gzip
import io
import os
import pickle
import pickletools
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frame.common.errors import UserError
from frame.data.formats import read_idx, read_pickle

SHAPE = (5, 4, 3)
CONTENT = bytes([0, 0, 8, 3]) + struct.pack(">3I", *SHAPE) + bytes(range(60))


@pytest.mark.parametrize(
    "name, content", [("a-ubyte", CONTENT), ("a-ubyte.gz", gzip.compress(CONTENT))], ids=["plain", "gz"]
)
def test_idx_plain_and_compressed(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    x = read_idx(tmp_path / name, SHAPE)
    assert x.dtype == torch.uint8 and torch.equal(x, torch.arange(60, dtype=torch.uint8).view(SHAPE))


def test_idx_truncated_anywhere_is_refused(tmp_path: Path) -> None:
    compressed = gzip.compress(CONTENT)
    for name, content in (("a-ubyte", CONTENT), ("a-ubyte.gz", compressed)):
        for end in range(len(content)):
            (tmp_path / name).write_bytes(content[:end])
            with pytest.raises(UserError, match=f"{name} is broken.*fetch it again"):
                read_idx(tmp_path / name, SHAPE)


@pytest.mark.parametrize(
    "content, why",
    [
        (CONTENT + b"\0", "61 of 60 bytes"),
        (CONTENT[1:], "starts with 00080300"),
        (bytes([0, 0, 9, 3]) + CONTENT[4:], "starts with 00000903"),  # signed bytes
        (bytes([0, 0, 8, 1]) + CONTENT[4:], "starts with 00000801"),  # labels in the place of pictures
        (CONTENT[:4] + struct.pack(">3I", 4, 5, 3) + CONTENT[16:], "4 x 5 x 3, not 5 x 4 x 3"),
        (gzip.compress(CONTENT), "starts with 1f8b"),
        (b"<html>not found</html>", "starts with 3c68746d"),
    ],
    ids=["longer", "shifted", "signed", "labels", "another shape", "compressed", "a web page"],
)
def test_idx_other_breakages(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "a-ubyte").write_bytes(content)
    with pytest.raises(UserError, match=why) as caught:
        read_idx(tmp_path / "a-ubyte", SHAPE)
    assert "\n" not in str(caught.value)


def test_broken_gz_files_and_trailing_bytes(tmp_path: Path) -> None:
    flipped = bytearray(gzip.compress(CONTENT))
    flipped[-6] ^= 1  # the checksum
    for content in (CONTENT, gzip.compress(CONTENT) + b"more", bytes(flipped)):
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(UserError, match="a.gz is broken"):
            read_idx(tmp_path / "a.gz", SHAPE)


def as_python_2_wrote_it(rows: np.ndarray, labels: list[int]) -> bytes:
    """Protocol 2 with strings as bytes and numpy's old module, with the opcodes of the files of 2009."""

    def string(text: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(text)) + text  # BINSTRING, which Python 3 never writes

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + string(b"b") + b"\x87R"  # empty array
        b"(K\x01" + b"J" + struct.pack("<i", len(rows)) + b"J" + struct.pack("<i", rows.shape[1]) + b"\x86"
        b"cnumpy\ndtype\n" + string(b"u1") + b"K\x00K\x01\x87R(K\x03" + string(b"|") + b"NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89" + string(rows.tobytes()) + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + string(b"data") + array + string(b"labels") + numbers + b"u."


def test_pickles_of_python_2_and_every_protocol_of_3(tmp_path: Path) -> None:
    rows, labels = np.arange(24, dtype=np.uint8).reshape(2, 12), [3, 9]
    path = tmp_path / "batch"
    contents = [pickle.dumps({b"data": rows, b"labels": labels}, protocol=p) for p in range(2, 6)]
    old = as_python_2_wrote_it(rows, labels)
    pickletools.dis(old, io.StringIO())  # raises if it is not a pickle
    for content in [*contents, old, old.replace(b"numpy.core", b"numpy._core")]:
        path.write_bytes(content)
        read = read_pickle(path)
        assert set(read) == {b"data", b"labels"} and read[b"labels"] == labels
        assert read[b"data"].dtype == np.uint8 and np.array_equal(read[b"data"], rows)


class Evil:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("call", [(os.mkdir,), (eval, "1"), (getattr, [], "append"), (np.load,), (torch.load,)])
def test_pickles_that_execute_are_refused(tmp_path: Path, call: tuple[Any, ...], protocol: int) -> None:
    made = tmp_path / "made"
    arguments = call[1:] or (str(made),)
    (tmp_path / "batch").write_bytes(pickle.dumps({"data": Evil(call[0], *arguments)}, protocol=protocol))
    with pytest.raises(UserError, match="batch is broken.*it asks for") as caught:
        read_pickle(tmp_path / "batch")
    assert not made.exists() and "\n" not in str(caught.value)


def test_other_codecs_truncation_and_trailing_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(Evil(codecs.encode, "abc", "rot13"), protocol=2))
    with pytest.raises(UserError, match="codec rot13"):
        read_pickle(path)
    content = pickle.dumps({b"labels": list(range(50))}, protocol=3)
    for end in range(len(content)):
        path.write_bytes(content[:end])
        with pytest.raises(UserError, match="batch is broken"):
            read_pickle(path)
    path.write_bytes(content + b"x")
    with pytest.raises(UserError, match="left over"):
        read_pickle(path)
