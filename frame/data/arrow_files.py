"""Reads files of Arrow (IPC and Feather, files and streams) and Parquet; rows stay there where the format allows it."""

import json
import mmap
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from frame.common.errors import UserError
from frame.data.formats import broken
from frame.data.identity import listed
from frame.data.row_files import FileRows, Piece, RowFile, check_unchanged

SUFFIXES = (".arrow", ".feather", ".ipc", ".parquet")


class Part:
    """A file of Arrow or Parquet as groups of rows, of which one is read at a time.

    Raises:
        UserError: it is broken, or was changed since.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._open()

    def _open(self) -> None:
        try:
            self.file = RowFile(self.path)
            if self.path.suffix.lower() == ".parquet":
                self._parquet: Any = pyarrow.parquet.ParquetFile(self.path, memory_map=False)
                self.schema = self._parquet.schema_arrow
                n_groups = self._parquet.metadata.num_row_groups
                self.sizes = [self._parquet.metadata.row_group(i).num_rows for i in range(n_groups)]
                return
            self._parquet = None
            self.whole = _mapped(self.path)
            self._batches = _batches(self.whole)
            self.schema = self._batches[0].schema if self._batches else pa.schema([])
            self.sizes = [batch.num_rows for batch in self._batches]
        except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            if isinstance(error, PermissionError):
                raise UserError(f"{self.path} cannot be read: {error.strerror}") from None
            text = str(error).strip().splitlines()
            raise broken(self.path, text[0][:100] if text else "it is empty") from None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "mark": self.file.mark}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path = state["path"]
        check_unchanged(self.path, state["mark"])
        self._open()

    @property
    def encoded(self) -> bool:
        """Whether values must be decoded, so that they do not lie in the file as they are."""
        return self._parquet is not None

    def column(self, group: int, name: str) -> Any:
        """A column of a group, decoded if it is encoded."""
        self.file.check()
        if self._parquet is None:
            return self._batches[group].column(name)
        try:
            return self._parquet.read_row_group(group, columns=[name]).column(0).combine_chunks()
        except (pa.ArrowException, OSError) as error:
            self.file.check()
            raise broken(self.path, str(error).splitlines()[0][:100]) from None

    def offset(self, address: int) -> int | None:
        """The byte of the file at an address; None if the address is not in it, because it was decompressed."""
        inside = address - self.whole.address
        return inside if 0 <= inside < self.whole.size else None


def _mapped(path: Path) -> Any:
    """The bytes of a file, of which some are read to find out where its values lie."""
    with open(path, "rb") as stream:
        found = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    found.madvise(mmap.MADV_RANDOM)
    return pa.py_buffer(found)


def _batches(whole: Any) -> list[Any]:
    """Batches of a file or of a stream; bodies stay where they are unless they are compressed."""
    if whole.slice(0, 6).to_pybytes() == b"ARROW1":
        reader = pa.ipc.open_file(pa.BufferReader(whole))
        return [reader.get_batch(i) for i in range(reader.num_record_batches)]
    return list(pa.ipc.open_stream(pa.BufferReader(whole)))


class Columns:
    """The columns of files that hold one table.

    Raises:
        UserError: files have other columns than the first.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.parts = [Part(file) for file in files]
        self.names = list(self.parts[0].schema.names)
        for part in self.parts:
            if set(part.schema.names) != set(self.names):
                raise UserError(
                    f"{part.path} has the columns {listed(part.schema.names)}, and not {listed(self.names)}"
                )
        self.groups = [(part, i) for part in self.parts for i, n in enumerate(part.sizes) if n]
        self.ends = np.cumsum([part.sizes[i] for part, i in self.groups], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def first(self, group: int) -> int:
        """The number of a group's first row."""
        return int(self.ends[group - 1]) if group else 0

    def type_of(self, name: str) -> Any:
        return self.parts[0].schema.field(name).type

    def values(self, name: str) -> np.ndarray:
        """A whole column in memory: [N] or, of lists, [N, K]."""
        columns = [part.column(i, name) for part, i in self.groups]
        if is_list(columns[0].type):
            return np.concatenate([rows_of(column, name) for column in columns])
        return np.array(pa.chunked_array([_plain(column) for column in columns]).to_numpy())

    def class_names(self, name: str) -> list[str] | None:
        """The names of a ClassLabel of Hugging Face's."""
        kept = (self.parts[0].schema.metadata or {}).get(b"huggingface")
        try:
            names = json.loads(kept)["info"]["features"][name]["names"] if kept else None
        except (ValueError, KeyError, TypeError):
            return None
        return [str(one) for one in names] if isinstance(names, list) else None

    def in_place(self, name: str) -> FileRows | None:
        """A column of lists of equal length as rows in the files; None if it is encoded, or has single bits."""
        pieces, first = [], None
        for part, i in self.groups:
            if part.encoded:
                return None
            found = _flat(part.column(i, name), f"{part.path}: '{name}'")
            offset = None if found is None else part.offset(found[0])
            if found is None or offset is None:
                return None
            first = first or found
            if found[1:] != first[1:]:
                raise UserError(
                    f"{part.path}: '{name}' has rows {list(found[2])} of {found[1]}, and before {list(first[2])} of "
                    f"{first[1]}"
                )
            pieces.append(Piece(part.file, offset, part.sizes[i]))
        assert first is not None
        return FileRows(pieces, first[1], first[2])


class Kept:
    """Groups that were decoded last, of so many bytes, in each process."""

    def __init__(self, hold: int) -> None:
        self.hold = hold
        self._found: OrderedDict[int, Any] = OrderedDict()
        self._lock = Lock()  # pictures are decoded by threads

    def __reduce__(self) -> tuple[Any, ...]:
        return Kept, (self.hold,)

    def get(self, group: int, decode: Callable[[], Any]) -> Any:
        with self._lock:
            if group not in self._found:
                found = decode()
                while self._found and sum(one.nbytes for one in self._found.values()) + found.nbytes > self.hold:
                    self._found.popitem(last=False)
                self._found[group] = found
            self._found.move_to_end(group)
            return self._found[group]


class Groups:
    """Rows that are decoded with the whole group that they lie in.

    Args:
        columns, name: the column of lists of equal length.
        hold: bytes of decoded groups to keep.

    Raises:
        UserError: from `read`, a group has rows of another shape, or its file was changed.
    """

    cheap = False  # a single row costs its whole group

    def __init__(self, columns: Columns, name: str, hold: int) -> None:
        self.columns, self.name, self.kept = columns, name, Kept(hold)
        first = self._group(0)
        self.dtype, self.shape = first.dtype, first.shape[1:]

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def n_bytes(self) -> int:
        """Those of all rows, decoded."""
        return len(self) * self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    def read(self, rows: np.ndarray) -> np.ndarray:
        group = np.searchsorted(self.columns.ends, rows, side="right")
        out = np.empty((len(rows), *self.shape), self.dtype)
        for i in np.unique(group).tolist():
            mine, found = np.flatnonzero(group == i), self._group(i)
            if found.shape[1:] != self.shape or found.dtype != self.dtype:
                raise UserError(
                    f"{self.columns.groups[i][0].path}: '{self.name}' has rows {list(found.shape[1:])} of "
                    f"{found.dtype}, and before {list(self.shape)} of {self.dtype}"
                )
            out[mine] = found[rows[mine] - self.columns.first(i)]
        return out

    def _group(self, i: int) -> np.ndarray:
        part, number = self.columns.groups[i]
        where = f"{part.path}: '{self.name}'"
        found: np.ndarray = self.kept.get(i, lambda: rows_of(part.column(number, self.name), where))
        return found


class Encoded:
    """The bytes of encoded pictures in a column: binary, or Hugging Face's {bytes, path}."""

    def __init__(self, columns: Columns, name: str, hold: int) -> None:
        self.columns, self.name, self.kept = columns, name, Kept(hold)
        self._lie = [_pieces(part, part.column(i, name)) if not part.encoded else None for part, i in columns.groups]

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, row: int) -> bytes | bytearray | Path:
        group = int(np.searchsorted(self.columns.ends, row, side="right"))
        (part, number), row = self.columns.groups[group], row - self.columns.first(group)
        ends = self._lie[group]
        if ends is not None and ends[row + 1] > ends[row]:
            return part.file.pieces([int(ends[row])], [int(ends[row + 1] - ends[row])])
        column = self.kept.get(group, lambda: part.column(number, self.name))
        part.file.check()
        value = column[row].as_py()
        if isinstance(value, dict):
            value = value.get("bytes") or (Path(value["path"]) if value.get("path") else b"")
        return value or b""


def _pieces(part: Part, array: Any) -> np.ndarray | None:
    """The bytes of the file at which values begin, and the end [n + 1]; None if they do not lie there as they are."""
    if pa.types.is_struct(array.type):
        array = array.field("bytes")
    if not (pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)):
        return None
    _, ends, values = array.buffers()
    first = part.offset(values.address) if values is not None else None
    if first is None:
        return None
    kind = np.int64 if pa.types.is_large_binary(array.type) else np.int32
    found: np.ndarray = np.frombuffer(ends, kind)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    return found + first


def rows_of(array: Any, where: str) -> np.ndarray:
    """A column of lists of equal length as an array [n, ...], in memory if it cannot be a view."""
    values, shape = _unnested(array, where)
    return np.asarray(_plain(values).to_numpy(zero_copy_only=False)).reshape(len(array), *shape)


def _flat(array: Any, where: str) -> tuple[int, np.dtype, tuple[int, ...]] | None:
    """The address of the first number of a column of lists, and type and shape of a row; None for single bits."""
    values, shape = _unnested(array, where)
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return None
    dtype = np.dtype(values.type.to_pandas_dtype())
    return values.buffers()[1].address + values.offset * dtype.itemsize, dtype, shape


def _unnested(array: Any, where: str) -> tuple[Any, tuple[int, ...]]:
    """The numbers in nested lists, and the shape of a row.

    Raises:
        UserError: lists have different lengths, or are missing.
    """
    shape: list[int] = []
    while True:
        tensors = array.type if isinstance(array, pa.FixedShapeTensorArray) else None
        if tensors is not None and sorted(tensors.permutation or ()) != list(tensors.permutation or ()):
            raise UserError(f"{where}: the dimensions of its tensors are permuted: write them in their order")
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        if array.null_count:
            raise UserError(f"{where}: {array.null_count} values are missing: fill them in, or leave their rows out")
        if not is_list(array.type):
            return array, tuple(shape)
        if tensors is not None:
            shape += tensors.shape
        elif pa.types.is_fixed_size_list(array.type):
            shape.append(array.type.list_size)
        else:
            lengths = np.diff(array.offsets.to_numpy(zero_copy_only=False))
            if len(lengths) and lengths.min() != lengths.max():
                raise UserError(
                    f"{where} has lists of {lengths.min()} to {lengths.max()} values: pad or cut them to one length"
                )
            shape.append(int(lengths[0]) if len(lengths) else 0)
        array = array.flatten()


def is_list(kind: Any) -> bool:
    """Whether a column of this type holds rows of numbers."""
    kind = getattr(kind, "storage_type", kind)
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_encoded(kind: Any) -> bool:
    """Whether a column of this type holds encoded pictures."""
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _plain(array: Any) -> Any:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
