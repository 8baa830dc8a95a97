"""Readers that read a whole file or say what is wrong with it: IDX (MNIST), and pickles of arrays (CIFAR-10)."""

import gzip
import io
import math
import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frame.common.errors import UserError

_UNSIGNED_BYTE = 0x08


def broken(path: Path, why: str) -> UserError:
    return UserError(f"{path} is broken ({why}): remove it and fetch it again")


def read_idx(path: Path, shape: tuple[int, ...]) -> Tensor:
    """A file of unsigned bytes in the IDX format, plain or .gz; uint8 of `shape`.

    The header is two zero bytes, the type, the number of dimensions, and each dimension as a big-endian 32-bit number
    (http://yann.lecun.com/exdb/mnist/).

    Raises:
        UserError: the file is truncated, has trailing bytes, is not an IDX file of bytes, or has another shape.
    """
    content = _read(path)
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise broken(path, str(error)) from error
    magic = bytes([0, 0, _UNSIGNED_BYTE, len(shape)])
    if content[:4] != magic:
        raise broken(path, f"it starts with {content[:4].hex() or 'nothing'}, not {magic.hex()}")
    start = 4 + 4 * len(shape)
    if len(content) < start:
        raise broken(path, "it ends within its header")
    found = struct.unpack(f">{len(shape)}I", content[4:start])
    if found != shape:
        raise broken(path, f"its header gives {_times(found)}, not {_times(shape)}")
    if len(content) - start != math.prod(shape):
        raise broken(path, f"it holds {len(content) - start} of {math.prod(shape)} bytes of data")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).view(shape)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _encode(text: str, encoding: str) -> bytes:
    # protocol 2 of Python 3 writes bytes this way; data files need no other codec
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {encoding}")
    return text.encode("latin1")


_reconstruct = np.empty(0).__reduce__()[0]
_from_buffer = np.empty(0).__reduce_ex__(5)[0]

# numpy's module was `numpy.core` in version 1 and is `numpy._core` in version 2
_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which data do not need")
        return _ADMITTED[module, name]


def read_pickle(path: Path) -> Any:
    """Reads a pickle of arrays, numbers, strings and plain containers, of Python 2 or 3. Executes nothing in it.

    Strings of Python 2 are returned as bytes.

    Raises:
        UserError: the file is truncated, is not a pickle, or contains anything else.
    """
    file = io.BytesIO(_read(path))
    try:
        content = _ArraysOnly(file, encoding="bytes").load()
        if file.read(1):
            raise pickle.UnpicklingError("bytes are left over")
        return content
    except Exception as error:  # errors of malformed pickles have no common base
        raise broken(path, str(error) or type(error).__name__) from error
