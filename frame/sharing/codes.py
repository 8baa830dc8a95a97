"""`frame encode`: the codes of runs as a file for other programs, written row by row."""

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor, nn

from frame.common.errors import UserError, at_least
from frame.common.files import write_whole, writing
from frame.data.base import Batch, DataSet, class_names, whole_batch
from frame.engine.opening import OpenRun
from frame.engine.opening import open as open_run
from frame.evaluation.base import device_of, evaluating
from frame.evaluation.codes import LAYERS, check_layers
from frame.evaluation.shards import seed_chunk

ENDINGS = (".parquet", ".npz", ".npy")
LABELS = {"y": "label", "factors": "factors", "env": "env"}  # keys of a batch, and names of columns
BATCH = 1024


@dataclass(frozen=True)
class Part:
    """Rows of one split of one run that follow each other.

    Args:
        run: the run's folder.
        split: the split's name.
        arrays: 'index' [B], the rows' positions in the split, and 'code' [B, D], float32; where the data have them
            'label' [B] or [B, K], 'factors' [B, K] and 'env' [B].
        classes: the names of the classes, if they have names.
    """

    run: str
    split: str
    arrays: Mapping[str, np.ndarray]
    classes: Sequence[str] | None = None


@dataclass(frozen=True)
class Codes:
    """The codes of runs, read when they are asked for.

    Args:
        n_rows: rows of all parts.
        firsts: one row of each split of each run, which tells what arrays there are.
        parts: gives the parts, from the first each time it is called.
    """

    n_rows: int
    firsts: Sequence[Part]
    parts: Callable[[], Iterator[Part]]


def encode(
    run: str | Path | OpenRun,
    on: str | Sequence[str] | None = None,
    *,
    layer: str = "mean",
    batch_size: int = BATCH,
    **options: Any,
) -> dict[str, np.ndarray]:
    """The codes of a run's data, in the order of its splits.

    Args:
        run: the run's folder, an export, or what `frame.open` returned.
        on: a split or several; None takes all of them.
        layer: 'mean' of q(z|x), a 'sample' of it, or the 'features' before it.
        batch_size: rows that are encoded at once.
        options: as `frame.open` takes them, such as weights and checkpoint.

    Returns:
        'run' [N], 'split' [N], 'index' [N], positions in the split, and 'code' [N, D], float32; where the data have
        them 'label' [N], 'factors' [N, K] and 'env' [N]. Where a split has no labels, they are -1 or NaN.

    Raises:
        UserError: there is no run, no checkpoint, no such split, or the model has no such layer.

    Examples:
        >>> codes = frame.encode("runs/digits_VAE/2026-11-28_10-00-00", on="test")  # doctest: +SKIP
        >>> codes["code"].shape  # doctest: +SKIP
        (360, 8)
    """
    opened = run if isinstance(run, OpenRun) else open_run(run, **options)
    splits = [on] if isinstance(on, str) else on
    return gathered(codes_of_runs([opened], splits, layer, batch_size))


def codes_of_runs(
    runs: Sequence[OpenRun], on: Sequence[str] | None = None, layer: str = "mean", batch_size: int = BATCH
) -> Codes:
    """The codes of runs, with rows in the order of their splits; arguments as for `encode`.

    Raises:
        UserError: a run cannot be opened or has no such split or layer, or codes differ in their length.
    """
    at_least(1, batch_size=batch_size)
    n_rows, firsts = 0, []
    for run in runs:
        check_layer(run, layer)
        splits = on or run.data_set.splits
        n_rows += sum(len(run.data(split)) for split in splits)
        firsts += [part for split in splits for part in islice(_parts_of(run, [split], layer, 1), 1)]
    if not firsts:
        raise UserError("there are no rows to encode")
    if len(sizes := {part.arrays["code"].shape[1] for part in firsts}) > 1:
        raise UserError(f"the codes of these runs have {sorted(sizes)} numbers: encode each run to a file of its own")
    return Codes(n_rows, firsts, lambda: (part for run in runs for part in _parts_of(run, on, layer, batch_size)))


def _parts_of(run: OpenRun, on: Sequence[str] | None, layer: str, batch_size: int) -> Iterator[Part]:
    name = run.folder.path.as_posix()
    for split in on or run.data_set.splits:
        for arrays in _batches(run.model, run.data_set, split, layer, batch_size):
            yield Part(name, split, arrays, class_names(run.data_set))


def _batches(
    model: nn.Module, data: DataSet, split: str, layer: str, batch_size: int
) -> Iterator[dict[str, np.ndarray]]:
    """A split's rows in their order."""
    rows = torch.arange(len(data.split(split)))
    for batch, code in coded(model, data, split, LAYERS[layer][1], rows, batch_size):
        found = {LABELS[key]: batch[key].cpu().numpy() for key in LABELS if key in batch}
        yield {"index": batch["index"].cpu().numpy(), "code": code.cpu().numpy(), **found}


def coded(
    model: nn.Module, data: DataSet, split: str, take: Callable[[Any, Batch], Tensor], rows: Tensor, batch_size: int
) -> Iterator[tuple[Batch, Tensor]]:
    """Batches of these rows of a split, and their codes [B, D], float32; noise is seeded by the number of the batch."""
    source, device = data.split(split), device_of(model)
    for number, indices in enumerate(rows.split(batch_size) if len(rows) else ()):
        with evaluating(model):
            seed_chunk(0, number)
            batch = whole_batch(source, indices, seed=number, device=device)
            code = take(model, batch).float()
        yield batch, code


def check_layer(run: OpenRun, layer: str) -> None:
    """Raises UserError if a run's model does not have this layer."""
    check_layers([layer])
    if not isinstance(run.model, LAYERS[layer][0]):
        raise UserError(f"{run.folder.path}: {type(run.model).__name__} has no layer '{layer}': choose another")


def write_codes(file: Path, codes: Codes) -> None:
    """Writes codes to .parquet, .npz or .npy, completely or not at all. Memory holds one batch, and labels for .npz.

    A Parquet file has a column for each array of `Part`, 'class' for the names of classes, and a row group for each
    batch. An npz holds the arrays of `encode`; an npy only the codes, [N, D].

    Raises:
        UserError: the file exists or cannot be written, or the ending is unknown.
    """
    if file.exists():
        raise UserError(f"{file} exists, and nothing is overwritten: choose another, out=...")
    write = {".parquet": _write_parquet, ".npz": _write_npz, ".npy": _write_npy}.get(file.suffix)
    if write is None:
        raise UserError(f"{file}: a file of codes ends in {', '.join(ENDINGS)}")
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, partial(write, codes=codes))


def _write_parquet(stream: IO[bytes], codes: Codes) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        schema = pa.unify_schemas([_table(part).schema for part in codes.firsts], promote_options="permissive")
    except pa.ArrowTypeError:
        raise UserError("the labels of these runs differ in kind: encode each run to a file of its own") from None
    with parquet.ParquetWriter(stream, schema) as writer:
        for part in codes.parts():
            writer.write_table(_table(part, schema))


def _table(part: Part, schema: Any = None) -> Any:
    """A part as a table of Arrow; columns of the schema that the part lacks are empty."""
    import pyarrow as pa

    n, label = len(part.arrays["index"]), part.arrays.get("label")
    columns = {name: pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), [value]) for name, value in _names(part)}
    columns |= {name: _column(array) for name, array in part.arrays.items()}
    if part.classes is not None and label is not None and label.ndim == 1 and label.dtype.kind in "iu":
        numbers = pa.array(label.astype(np.int32), mask=label < 0)  # rows without a label
        columns["class"] = pa.DictionaryArray.from_arrays(numbers, list(part.classes))
    if schema is None:
        return pa.table(columns)
    empty = {field.name: pa.nulls(n, field.type) for field in schema if field.name not in columns}
    return pa.table({**columns, **empty}).select(schema.names).cast(schema)


def _names(part: Part) -> tuple[tuple[str, str], ...]:
    return ("run", part.run), ("split", part.split)


def _column(array: np.ndarray) -> Any:
    import pyarrow as pa

    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), int(np.prod(array.shape[1:])))


def _write_npy(stream: IO[bytes], codes: Codes) -> None:
    for number, part in enumerate(codes.parts()):
        code = np.ascontiguousarray(part.arrays["code"])
        if number == 0:
            _write_header(stream, (codes.n_rows, *code.shape[1:]), code.dtype)
        stream.write(code.data)


def _write_header(stream: IO[bytes], shape: tuple[int, ...], kind: np.dtype) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)


def _write_npz(stream: IO[bytes], codes: Codes) -> None:
    beside: list[Part] = []

    def noting() -> Iterator[Part]:
        for part in codes.parts():
            beside.append(_without_codes(part))
            yield part

    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        with archive.open("code.npy", "w", force_zip64=True) as inner:
            _write_npy(inner, Codes(codes.n_rows, codes.firsts, noting))
        for name, pieces in _beside(beside).items():
            kind = np.result_type(*{piece.dtype for piece in pieces()})
            with archive.open(f"{name}.npy", "w", force_zip64=True) as inner:
                for number, piece in enumerate(pieces()):
                    if number == 0:
                        _write_header(inner, (codes.n_rows, *piece.shape[1:]), kind)
                    inner.write(np.ascontiguousarray(piece, kind).tobytes())


def gathered(codes: Codes) -> dict[str, np.ndarray]:
    """All codes in memory, as `encode` returns them."""
    parts = [*codes.parts()]
    found = {name: np.concatenate([*pieces()]) for name, pieces in _beside(parts).items()}
    return {**found, "code": np.concatenate([part.arrays["code"] for part in parts])}


def _without_codes(part: Part) -> Part:
    kept = {name: array for name, array in part.arrays.items() if name != "code"}
    return Part(part.run, part.split, kept, part.classes)


def _beside(parts: Sequence[Part]) -> dict[str, Callable[[], Iterator[np.ndarray]]]:
    """The arrays beside the codes, part by part; a part that lacks one has -1 or NaN there."""

    def texts(key: str) -> Iterator[np.ndarray]:
        return (np.full(len(part.arrays["index"]), getattr(part, key)) for part in parts)

    def numbers(name: str, like: np.ndarray) -> Iterator[np.ndarray]:
        blank = np.nan if like.dtype.kind == "f" else -1
        for part in parts:
            absent = np.full((len(part.arrays["index"]), *like.shape[1:]), blank, like.dtype)
            yield part.arrays.get(name, absent)

    first = {name: array for part in reversed(parts) for name, array in part.arrays.items() if name != "code"}
    found = {key: partial(texts, key) for key in ("run", "split")}
    return found | {name: partial(numbers, name, array) for name, array in first.items()}
