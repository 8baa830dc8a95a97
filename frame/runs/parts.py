"""The parts of a checkpoint: tensors of which each process holds, and writes, some rows.

    checkpoints/last.ckpt                    everything else, with the name of the folder and its files' sha256
                last-120/shard-*.safetensors the parts of each process, written by torch's distributed checkpoint

`last.ckpt` is replaced once all parts are on disk, so that it always names whole ones. They are safetensors, and where
they belong is in `last.ckpt`: nothing of either is executed. (Torch's own format keeps its index in a pickle.)
"""

import hashlib
import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from frame.common.errors import Damaged

KEY = "parts"
NAME = re.compile(r"(last|best)-\d+(-\d+)?")  # of a folder
FILE = re.compile(r"shard-\d+-model-\d+-of-\d+\.safetensors")
FILE_BYTES = 2**26  # of a process's parts in one file, which is put together in memory


def split(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, list[Any]]]:
    """A state without the tensors of which this process has a part; these by name; and the keys that lead to each."""
    tensors, places = dict[str, Any](), dict[str, list[Any]]()

    def rest(node: Any, place: list[Any]) -> Any:
        if hasattr(node, "to_local"):
            name = "/".join(map(str, place))
            tensors[name], places[name] = node, place
            return None
        if isinstance(node, Mapping):
            return {key: rest(value, [*place, key]) for key, value in node.items()}
        return [rest(value, [*place, key]) for key, value in enumerate(node)] if isinstance(node, list) else node

    return rest(state, []), tensors, places


def write(path: Path, state: Mapping[str, Any], put: Callable[[dict[str, Any]], None]) -> str:
    """Writes a checkpoint from all processes, which must call it together; returns why it could not be written, or ''.

    Args:
        path: of the file that names the parts; rank 0's counts.
        state: the same on all processes, but for the tensors of which each has a part.
        put: writes that file on rank 0, once the parts are on disk.
    """
    from torch import distributed
    from torch.distributed.checkpoint import HuggingFaceStorageWriter, save
    from torch.distributed.checkpoint.api import CheckpointException

    rest, tensors, places = split(state)
    rank, folder = distributed.get_rank(), _agreed(_free(path, int(state["counters"]["iterations"])))
    failure = ""
    try:
        if tensors:
            numbers = _numbers(tensors, distributed.get_world_size() * FILE_BYTES)
            save(tensors, storage_writer=HuggingFaceStorageWriter(str(folder), numbers, save_distributed=True))
    except CheckpointException as error:  # on all processes
        _, raised = next(iter(error.failures.items()))
        if not isinstance(raised[0], OSError):
            raise
        failure = raised[0].strerror or str(raised[0])
    if not failure:
        own = {file.name: _sha256(file) for file in folder.glob(f"shard-{rank + 1:05}-*")}
        files: list[dict[str, str]] = [{}] * distributed.get_world_size()
        distributed.all_gather_object(files, own)
        if rank == 0:
            known = {name: sha256 for some in files for name, sha256 in some.items()}
            try:
                put({**rest, KEY: {"folder": folder.name, "files": known, "places": places}} if tensors else rest)
            except OSError as error:
                failure = error.strerror or str(error)
        failure = _agreed(failure)
    if failure and rank == 0:
        shutil.rmtree(folder, ignore_errors=True)
    return failure


def _numbers(tensors: Mapping[str, Any], n_bytes: int) -> dict[str, int]:
    """The file, counted from 1, in which each tensor begins, if a file holds this many bytes of all processes."""
    before, numbers = 0, dict[str, int]()
    for name, tensor in tensors.items():
        numbers[name] = 1 + before // n_bytes
        before += tensor.numel() * tensor.element_size()
    return numbers


def fill(state: dict[str, Any], empty: Callable[[Any, Any], Any] | None = None) -> None:
    """Puts the tensors that the parts make up into a checkpoint's state. Does nothing for one without parts.

    Args:
        state: as `checkpoints.read` gives it.
        empty: makes a tensor of a size and a dtype, of which this process may hold a part; then all processes call this
            together, and each reads its own. None: they are whole.

    Raises:
        Damaged: the parts are missing, or do not fit the state.
    """
    import torch
    from torch.distributed.checkpoint import HuggingFaceStorageReader, load

    if KEY not in state:
        return
    kept = state.pop(KEY)
    folder, places = kept["path"], kept["places"]
    try:
        reader = HuggingFaceStorageReader(str(folder))
        found: dict[str, Any] = reader.read_metadata().state_dict_metadata
        n_bytes = sum(one.size.numel() * one.properties.dtype.itemsize for one in found.values())
        if found.keys() != places.keys() or n_bytes > sum(file.stat().st_size for file in folder.iterdir()):
            raise ValueError("they are not those of this checkpoint")
        made = empty or (lambda size, dtype: torch.empty(size, dtype=dtype))
        tensors = {name: made(one.size, one.properties.dtype) for name, one in found.items()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a process that reads alone
            load(tensors, storage_reader=reader, no_dist=empty is None)
        for name, (*keys, last) in places.items():
            node: Any = state
            for key in keys:
                node = node[key]
            node[last] = tensors[name]
    except Exception as error:  # torch and safetensors have no common error for bytes that they cannot read
        raise Damaged(f"{folder} cannot be read as parts of a checkpoint ({error})".splitlines()[0]) from error


def verified(path: Path, state: Mapping[str, Any]) -> Path:
    """The folder of a checkpoint's parts.

    Raises:
        Damaged: a file is missing or was changed since it was written.
    """
    parts = state[KEY]
    try:
        folder, files = path.parent / parts["folder"], dict(parts["files"])
        named = NAME.fullmatch(parts["folder"]) and all(FILE.fullmatch(name) for name in files)
        if not named or not isinstance(parts["places"], dict):
            raise ValueError("their names are not those of frame")
        if {file.name for file in folder.iterdir()} != files.keys():
            raise ValueError("files are missing, or there are others")
        for name, sha256 in files.items():
            if _sha256(folder / name) != sha256:
                raise ValueError(f"the sha256 of {name} differs: it was changed")
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise Damaged(f"{path} cannot be read as a checkpoint, because of its parts ({error})") from None
    return folder


def sweep(folder: Path, read: Callable[[Path], Any]) -> None:
    """Removes the parts that no checkpoint names. The caller must hold the run's lock.

    Args:
        folder: of the checkpoints.
        read: gives what is in a file, whatever it is.
    """
    there = [entry for entry in folder.glob("*-*") if NAME.fullmatch(entry.name) and entry.is_dir()]
    if not there:
        return
    states = [read(file) for file in folder.glob("*.ckpt")]
    named = {state[KEY]["folder"] for state in states if isinstance(state, Mapping) and KEY in state}
    for entry in there:
        if entry.name not in named:
            shutil.rmtree(entry, ignore_errors=True)


def _free(path: Path, iteration: int) -> Path:
    """A folder for parts that does not exist: the one of the same iteration may be in use."""
    name, number = f"{path.stem}-{iteration}", 2
    while (path.parent / name).exists():
        name, number = f"{path.stem}-{iteration}-{number}", number + 1
    return path.parent / name


def _agreed(own: Any) -> Any:
    """Rank 0's, on all processes."""
    from torch import distributed

    held = [own]
    distributed.broadcast_object_list(held)
    return held[0]


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
