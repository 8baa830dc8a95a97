"""Weights in a file from elsewhere: read without executing anything, their names mapped, and loaded into a network."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frame.common.errors import UserError, choices

SAFE, PICKLED = (".safetensors",), (".pt", ".pth", ".bin", ".ckpt")
MOST = 6  # names that are written out; more of them are counted by their first part


@dataclass(frozen=True)
class Weights:
    """Tensors by name, and the names of those in the file that do not begin with the prefix."""

    tensors: Mapping[str, Tensor]
    apart: Sequence[str] = ()


def read_weights(
    file: str | Path, at: str | None = None, prefix: str = "", names: Mapping[str, str] | None = None
) -> "Weights":
    """The tensors in a file, by the names that they have after the mapping.

    Args:
        file: .safetensors; or .pt, .pth, .bin, .ckpt as `torch.save` writes them, of which only tensors, numbers, texts
            and containers are read (`weights_only=True`).
        at: the key of the weights in a file that holds more, such as 'state_dict'; dots go deeper. None takes the file
            itself, or the only mapping of tensors in it.
        prefix: only tensors whose name begins so are taken, without it.
        names: regular expressions and what replaces their matches, applied in this order after `prefix`.

    Raises:
        UserError: there is no such file, it holds objects that would have to be executed, no weights are at `at`, a
            pattern is no regular expression or matches no name, or two tensors would have one name.
    """
    found = _tensors(_content(Path(file).expanduser()), at, str(file))
    apart = [name for name in found if not name.startswith(prefix)]
    if len(apart) == len(found):
        raise UserError(f"{file}: no name begins with prefix={prefix}; names are {told(found)}")
    found = {name.removeprefix(prefix): tensor for name, tensor in found.items() if name.startswith(prefix)}
    for pattern, replacement in (names or {}).items():
        found = _renamed(found, str(pattern), str(replacement), str(file))
    return Weights(found, apart)


def _content(file: Path) -> Any:
    if file.suffix not in SAFE + PICKLED:
        raise UserError(f"{file}: weights are in a file that ends in {', '.join(SAFE + PICKLED)}")
    if not file.is_file():
        raise UserError(f"{file}: there is no such file of weights")
    try:
        if file.suffix in SAFE:
            from safetensors.torch import load_file

            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # broken files raise anything
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise UserError(
                f"{file} holds more than tensors and plain values, which would be executed: save its state_dict() as "
                "safetensors where you trust it"
            ) from None
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:160]
        raise UserError(f"{file} cannot be read: {reason}") from None


def _tensors(content: Any, at: str | None, file: str) -> dict[str, Tensor]:
    """The mapping of tensors in what a file holds."""
    for key in at.split(".") if at else ():
        if not isinstance(content, Mapping) or key not in content:
            known = map(str, content) if isinstance(content, Mapping) else ()
            raise UserError(f"{file}, at={at}: {choices(key, known, kind='key in the file')}")
        content = content[key]
    if not isinstance(content, Mapping):
        raise UserError(f"{file} holds a {type(content).__name__} and no weights by name: save a state_dict()")
    if _is_weights(content):
        return {str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    inner = [str(key) for key, value in content.items() if isinstance(value, Mapping) and _is_weights(value)]
    if len(inner) != 1:
        what = f"weights at {', '.join(inner)}: name one, at={inner[0]}" if inner else "no mapping of names to tensors"
        raise UserError(f"{file} has {what}")
    return _tensors(content[inner[0]], None, file)


def _is_weights(content: Mapping[Any, Any]) -> bool:
    return bool(content) and all(isinstance(value, Tensor) for value in content.values())


def _renamed(found: Mapping[str, Tensor], pattern: str, replacement: str, file: str) -> dict[str, Tensor]:
    try:
        new = {name: re.sub(pattern, replacement, name) for name in found}
    except (re.error, IndexError) as error:
        raise UserError(f"names: {pattern} -> {replacement} is no regular expression: {error}") from None
    if not any(re.search(pattern, name) for name in found):
        raise UserError(f"names: {pattern} matches no name in {file}; names are {told(found)}")
    renamed: dict[str, Tensor] = {}
    for name, tensor in found.items():
        if new[name] in renamed:
            raise UserError(f"names: {pattern} -> {replacement} gives two tensors the name {new[name]}")
        renamed[new[name]] = tensor
    return renamed


def load_weights(network: nn.Module, given: Weights, allow: Sequence[str] = ()) -> str:
    """Loads weights into a network, and returns what was loaded and what did not fit, in words.

    Args:
        network: its parameters and buffers are overwritten.
        given: the weights.
        allow: regular expressions; a name that begins with a match may be missing, be left out, or have another shape.

    Raises:
        UserError: a name that is not allowed to is missing, is not in the network, or has another shape; or no weight
            fits at all. Nothing has been loaded then.
    """
    own, weights = network.state_dict(), given.tensors
    shared = own.keys() & weights.keys()
    other = {name for name in shared if own[name].shape != weights[name].shape}
    shapes = [f"{name} {[*weights[name].shape]} instead of {[*own[name].shape]}" for name in other]
    unfit = {"new": own.keys() - shared, "left out": weights.keys() - shared, "of another shape": shapes}
    parts = [f"{what}: {told(names)}" for what, names in unfit.items() if names]
    if not shared - other:
        raise UserError(
            f"no weight fits {type(network).__name__}, whose names are {told(own)}; those given are "
            f"{told(weights)}: map them with prefix= or names="
        )
    try:
        allowed = [re.compile(str(pattern)) for pattern in allow]
    except re.error as error:
        raise UserError(f"allow={list(allow)}: no regular expression: {error}") from None
    wrong = sorted(name for name in (own.keys() ^ weights.keys()) | other if not any(p.match(name) for p in allowed))
    if wrong:
        raise UserError(
            f"the weights do not fit {type(network).__name__}; {'; '.join(parts)}. Map names with prefix= or names=, "
            f"or allow names that begin so with allow=[{wrong[0].split('.')[0]}]"
        )
    network.load_state_dict({name: weights[name] for name in shared - other}, strict=False)
    share = "all" if len(shared - other) == len(own) else f"{len(shared - other)} of {len(own)}"
    apart = [f"not below the prefix: {told(given.apart)}"] if given.apart else []
    return "; ".join([f"{share} weights", *parts, *apart])


def told(names: Iterable[str]) -> str:
    """Names in order; if there are many, their first parts with the number of each."""
    every = sorted(names)
    if len(every) <= MOST:
        return ", ".join(every)
    groups: dict[str, list[str]] = {}
    for name in every:
        groups.setdefault(name.split(".")[0].split(" ")[0], []).append(name)
    return ", ".join(found[0] if len(found) == 1 else f"{group}.* ({len(found)})" for group, found in groups.items())
