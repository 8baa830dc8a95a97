"""Reads files of arrays: npz, npy and safetensors. Nothing in them is executed."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from frame.common.errors import UserError
from frame.data.formats import broken

SUFFIXES = (".npz", ".npy", ".safetensors")


def read_arrays(path: Path, name: str, in_place: bool = False) -> dict[str, np.ndarray]:
    """The arrays of a file by their names; the only one of an npy file is called ''. With `in_place`, it is not read.

    Raises:
        UserError: another kind of file, a broken one, or one that holds Python objects, which are never unpickled.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"{name}: {path} is no file of arrays: give one of {', '.join(SUFFIXES)}")
    if in_place and suffix != ".npy":
        raise UserError(
            f"{name}: only rows of .npy files can stay there, and {path} is none: save its arrays by np.save, or set "
            "data=arrays"
        )
    try:
        if suffix == ".safetensors":
            from safetensors.torch import load_file

            return {key: _numpy(tensor) for key, tensor in load_file(path).items()}
        found = np.load(path, allow_pickle=False, mmap_mode="r" if in_place else None)
        if isinstance(found, np.ndarray):
            return {"": found}
        with found:
            return {key: found[key] for key in found.files}
    except OSError as error:
        if isinstance(error, PermissionError):
            raise UserError(f"{name}: {path} cannot be read: {error.strerror}") from None
        raise broken(path, str(error)) from None
    except zipfile.BadZipFile as error:
        raise broken(path, str(error)) from None
    except ValueError as error:
        if "pickle" in str(error).lower() or "python objects" in str(error).lower():
            raise UserError(
                f"{name}: {path} holds Python objects, which can run code, so they are not read: save arrays of "
                "numbers or of words (numpy's str)"
            ) from None
        raise broken(path, "it is cut short" if "mmap length" in str(error) else str(error)) from None
    except Exception as error:  # safetensors raises an exception of its own for a broken header
        raise broken(path, str(error)) from None


def _numpy(tensor: Any) -> np.ndarray:
    array: np.ndarray = (tensor.float() if tensor.dtype.is_floating_point else tensor).numpy()
    return array


def chosen(arrays: Mapping[str, np.ndarray], asked: str | None, usual: tuple[str, ...], what: str) -> str | None:
    """The name of an array: the one that is asked for, or the first of the usual names that is there.

    Raises:
        UserError: the one that is asked for is not there.
    """
    if asked is not None:
        if asked not in arrays:
            there = ", ".join(f"{key or 'one array'} {list(array.shape)}" for key, array in arrays.items())
            raise UserError(f"{what}: there is no array '{asked}'; there are: {there}")
        return asked
    return next((name for name in usual if name in arrays), None)
