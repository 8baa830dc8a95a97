"""Large tensors that lie in files instead of in memory."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from frame.common.errors import UserError
from frame.common.memory import shown

LEAST = 2**20  # bytes of a tensor that is worth a file
aten = torch.ops.aten
EMPTY = {aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty}


@contextmanager
def in_file(wanted: bool = True) -> Iterator[None]:
    """Within this context each large tensor that is made on the CPU lies in a file of its own, if `wanted`.

    The file is mapped into memory: the system reads it where the tensor is used, and forgets what has no room. So a
    model can be made, copied and tried in less memory than its weights take. A file lies in the folder for temporary
    files, and is gone with its tensor.

    Raises:
        UserError: the folder has no room, or nothing can be written to it.
    """
    if not wanted:
        yield
        return
    with _InFile():
        yield


class _InFile(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket is aten.clone and args[0].layout == torch.strided:  # never in memory, not for a moment
            return self.__torch_dispatch__(aten.empty_like.default, types, args, kwargs).copy_(args[0])
        out = func(*args, **kwargs)
        if type(out) is not Tensor or out.device.type != "cpu" or not _fills(out) or out.nbytes < LEAST:
            return out
        taken = {x.untyped_storage().data_ptr() for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)}
        if out.untyped_storage().data_ptr() in taken:  # a view, or written in place
            return out
        shape, made = (out.size(), out.stride(), out.dtype), None if func.overloadpacket in EMPTY else out
        del out  # before anything else is allocated, so that the C library gives its memory back
        found = _on_disk(*shape)
        return found if made is None else found.copy_(made)


def _fills(x: Tensor) -> bool:
    """Whether the tensor is all that its memory holds."""
    return x.layout == torch.strided and x.untyped_storage().nbytes() == x.nbytes


def _on_disk(size: torch.Size, stride: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor whose memory is a file."""
    n_bytes = size.numel() * dtype.itemsize
    try:
        with tempfile.NamedTemporaryFile(prefix="frame-weights-") as file:  # the mapping outlives its name
            if hasattr(os, "posix_fallocate"):  # not on macOS; without its room, a write to it would end the process
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            flat = torch.from_file(file.name, shared=True, size=size.numel(), dtype=dtype)
    except OSError as error:
        raise UserError(
            f"weights of {shown(n_bytes)} cannot lie in a temporary file ({error.strerror}): set TMPDIR to a folder "
            "on a disk with room for a few copies of the model"
        ) from None
    return flat.as_strided(size, stride)
