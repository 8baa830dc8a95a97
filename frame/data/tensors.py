"""Turns arrays, tensors and pictures of any type into tensors for a model, or says in one line what to give instead."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frame.common.errors import UserError

CHANNELS = (1, 3, 4)
KINDS = {"O": "objects", "U": "words", "S": "bytes", "V": "records", "M": "dates", "m": "times", "c": "complex numbers"}
# PIL modes with 8 bits a channel, and what they are converted to
PLAIN = {"1": "L", "P": "RGB", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB", "RGBX": "RGB"}


def as_tensor(value: Any, what: str) -> Tensor:
    """The tensor of an array, a tensor, a number or lists of these. Arrays are copied.

    Takes any byte order and strides, memory-mapped arrays, and masked arrays in which nothing is masked.

    Raises:
        UserError: it holds objects, strings, complex numbers or masked values, or is none of these.
    """
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.count_masked(value):
            raise UserError(f"{what} has {np.ma.count_masked(value)} masked values: fill them, or leave their rows out")
        value = value.data
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        if array.dtype.kind in KINDS:
            raise UserError(f"{what} holds {KINDS[array.dtype.kind]} (numpy's {array.dtype}): give numbers")
        if array.dtype == np.longdouble and array.dtype.itemsize > 8:
            array = array.astype(np.float64)
        # contiguous, writable, in the machine's byte order
        return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{what} as {type(value).__name__}: give a tensor, an array, a number or a picture") from error
    if tensor.is_complex():
        raise UserError(
            f"{what} holds complex numbers ({tensor.dtype}): give real ones, such as both parts as channels"
        )
    if tensor.layout != torch.strided:
        raise UserError(f"{what} is a sparse tensor: give x.to_dense()")
    return tensor.detach()


def stored_rows(x: Any, what: str) -> Tensor:
    """Rows [N, *shape] as they are kept: pictures uint8, everything else float32 or whole numbers.

    Booleans [N, H, W] and [N, C, H, W] become black and white pictures, others 0 and 1. Pictures [N, H, W, C] as uint8
    become [N, C, H, W], and [N, H, W] become [N, 1, H, W].

    Raises:
        UserError: there is a NaN or an infinite number, or whole numbers or floats that look like pictures of 0 to 255.
    """
    x = as_tensor(x, what)
    if x.dim() == 0:
        raise UserError(f"{what} is a single number: give rows [N, ...]")
    if x.dtype == torch.uint8 and channels_last(x.shape[1:]):
        x = x.permute(0, 3, 1, 2).contiguous()
    x = finite(plain(x, what, x.dim() - 1), what)
    return x.unsqueeze(1) if x.dtype == torch.uint8 and x.dim() == 3 else x


def plain(x: Tensor, what: str, n_dims: int) -> Tensor:
    """A model's types: boolean pictures become uint8, other booleans and floats float32. `n_dims` is that of a row.

    Raises:
        UserError: whole numbers, or floats from 0 to 255, that look like pictures.
    """
    if x.dtype == torch.bool:
        return x.to(torch.uint8).mul_(255) if n_dims > 1 else x.float()
    looks = n_dims == 3 and x.numel() > 0 and x.shape[-3] in CHANNELS
    if x.is_floating_point():
        # floats are not scaled: these would be 255 times too bright
        if looks and 1 < x.max() <= 255 and x.min() >= 0 and bool((x == x.round()).all()) and x.max() > 15:
            raise UserError(f"{what} has pictures of whole numbers up to {x.max():g} as {_name(x)}: {_AS_BYTES}")
        return x.float()
    if looks and x.dtype != torch.uint8:
        raise UserError(f"{what} has pictures as {_name(x)}: {_AS_BYTES}")
    return x


_AS_BYTES = "give 0 to 255 as uint8, or floats of 0 to 1"


def seen(x: Tensor) -> Tensor:
    """Converts stored rows [B, *shape] to what a model sees.

    uint8 [B, H, W] and [B, C, H, W] are pictures, and become x / 255. Other whole numbers, such as counts and tokens,
    stay whole: int32 as it is, the rest as int64. Floats do not change.
    """
    if x.dtype == torch.uint8 and x.dim() > 2:
        return x.float().mul_(1 / 255)
    return x if x.is_floating_point() or x.dtype in (torch.int32, torch.int64) else x.long()


def finite(x: Tensor, what: str) -> Tensor:
    """Returns x. Raises UserError if a number in it is NaN or infinite, and names the first row that has one."""
    if x.is_floating_point() and not x.isfinite().all():
        rows = (~x.isfinite()).reshape(len(x), -1).any(1) if x.dim() > 0 else torch.tensor([True])
        row = int(rows.nonzero()[0])
        raise UserError(f"{what} is NaN or infinite in {int(rows.sum())} of {len(rows)} rows, first in row {row}")
    return x


def channels_last(shape: Sequence[int]) -> bool:
    """Whether a shape can only be a picture's [H, W, C]."""
    return len(shape) == 3 and shape[2] in CHANNELS and min(shape[0], shape[1]) > max(CHANNELS)


def channels_first(shape: Sequence[int]) -> bool:
    """Whether a shape can only be a picture's [C, H, W]."""
    return len(shape) == 3 and shape[0] in CHANNELS and min(shape[1], shape[2]) > max(CHANNELS)


def _first(shape: Sequence[int]) -> bool:
    return channels_first(shape) or (shape[2] not in CHANNELS and shape[0] < min(shape[1], shape[2]))


def upright(x: Tensor, is_array: bool) -> Tensor:
    """Converts a uint8 row to a picture [C, H, W] if it can be one: [H, W] of an array, or with the channels last.

    An array's channels are assumed to come last unless they can only come first: if there are fewer channels than rows
    and columns.
    """
    if x.dim() == 2 and is_array:
        return x[None]
    if x.dim() == 3 and (not _first(x.shape) if is_array else channels_last(x.shape)):
        return x.permute(2, 0, 1).contiguous()
    return x


def picture(value: Any, what: str) -> np.ndarray:
    """Converts a PIL picture to bytes [H, W] or [H, W, C]: palettes and other colours to RGB, black and white to grey.

    Raises:
        UserError: it has more than 8 bits a channel.
    """
    if value.mode[0] in "IF":
        raise UserError(
            f"{what} is a picture of {depth(value.mode)}: give one of 8 bits, or an array of floats of 0 to 1"
        )
    return np.array(value.convert(PLAIN.get(value.mode, value.mode)))


def depth(mode: str) -> str:
    """The values of a PIL mode with more than 8 bits per channel."""
    return {"F": "floating-point numbers", "I": "32-bit whole numbers"}.get(mode, "16 bits a channel")


def _name(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")
