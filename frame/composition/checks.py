"""Checks a config against the constructors that it names, before anything is built."""

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Union

from frame.common.errors import UserError, choices
from frame.composition.instantiate import OWN_KEYS, hints_of, locate, options
from frame.composition.settings import SIZES

CLASSES = f"{SIZES}.n_classes"
NO_CLASSES = "if 'y' holds numbers or several labels, choose architectures/predictor=numbers or labels; else "


def check(plain: Mapping[str, Any], written: Mapping[str, Any], given: Mapping[str, Sequence[str]]) -> None:
    """Checks that every `_target_` exists and takes the arguments that it is given, with their types.

    Args:
        plain: the values of the config, as they are built.
        written: the config with its references, so that a message names the key that the user typed.
        given: the arguments that `frame` adds below each top-level key, such as `model` for `optimization`.

    Raises:
        UserError: names the key and the nearest right answer.
    """
    twice = _referenced_twice(written.get("model"))
    if twice:
        raise UserError(
            f"{twice} is referred to twice by the model, which would build two networks: share it in Python"
        )
    seen: set[str] = set()
    for place, node in targets(plain):
        path = origin(written, place.split("."))
        root, *below = place.split(".")
        added = given.get(root, ()) if len(below) == (1 if root == "logging" else 0) else ()
        if path not in seen:
            check_node(node, path, added, partial(_origin_below, written, path))
            seen.add(path)


def targets(plain: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the dotted path of each node that has a `_target_`, and the node."""
    if isinstance(plain, dict) and "_target_" in plain:
        yield path, plain
    entries = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, node in entries:
        yield from targets(node, f"{path}.{key}" if path else str(key))


def origin(written: Any, parts: Sequence[str]) -> str:
    """The dotted path at which the user wrote a value: `params.lr` if an argument only refers to it."""
    for _ in range(20):  # circular references are found earlier
        node, there = written, []
        for i, part in enumerate(parts):
            there.append(part)
            node = node[int(part)] if isinstance(node, list) and part.isdigit() else _get(node, part)
            reference = re.fullmatch(r"\$\{([\w.]+)\}", node) if isinstance(node, str) else None
            if reference is not None:
                parts = [*reference[1].split("."), *parts[i + 1 :]]
                break
        else:
            return ".".join(there)
    return ".".join(parts)


def _origin_below(written: Any, path: str, key: str) -> str:
    return origin(written, [*path.split("."), key])


def _get(node: Any, key: str) -> Any:
    return next((value for name, value in node.items() if str(name) == key), None) if isinstance(node, dict) else None


def check_node(
    node: Mapping[str, Any],
    path: str,
    given: Sequence[str] = (),
    typed: Callable[[str], str] | None = None,
) -> None:
    """Checks the `_target_` at `path` and its arguments. `typed` gives the key under which an argument was typed."""
    name = str(node["_target_"])
    target = locate(name, path)
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return  # a constructor in C has no signature
    parameters = {k: p for k, p in signature.parameters.items() if k != "self"}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {k: p for k, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    hints = hints_of(target)
    for key, value in node.items():
        if key in OWN_KEYS:
            continue
        if key not in named and not takes_any:
            free = [k for k in named if k not in given]
            raise UserError(f"{path}.{key}: {choices(key, free, kind=f'argument of {name}')}")
        if isinstance(value, str) and value == "???":
            raise UserError(f"{path}.{key}: {name} needs a value: add {path}.{key}=...")
        if key in hints and not fits(value, hints[key]):
            where = typed(key) if typed is not None else f"{path}.{key}"
            if value is None and where.startswith(f"{SIZES}."):
                why = f"{name} needs {where}, which the data do not have"
                raise UserError(f"{path}.{key}: {why}: {NO_CLASSES if where == CLASSES else ''}set {path}.{key}=...")
            entry, found, hint = _misfit(value, hints[key])
            raise UserError(f"{where}{entry}={found}: {path}.{key}{entry} wants {_name(hint)}")
    if not node.get("_partial_", False) and "_args_" not in node:
        missing = [k for k, p in named.items() if p.default is p.empty and k not in node and k not in given]
        if missing:
            raise UserError(f"{path}: {name} needs {', '.join(missing)}: add {path}.{missing[0]}=...")


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value fits a type hint. A node with a `_target_` always does."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(value, str) and value.startswith(f"${{{SIZES}."):
        return True  # known once the data are there
    if hint is Any or isinstance(hint, (str, typing.TypeVar)) or isinstance(value, dict) and "_target_" in value:
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in args)
    if origin is Literal:
        return value in args
    if origin is typing.Annotated:
        return fits(value, args[0])
    if hint is None or hint is type(None):
        return value is None
    if isinstance(value, (list, tuple)):
        return _fits_items(value, hint)
    if isinstance(value, str):
        return hint is object or not isinstance(hint, type) and origin is None or _is_text(hint)
    if isinstance(value, bool | int | float):
        return _fits_number(value, hint)
    if isinstance(value, dict):
        return _is_mapping(hint) and all(fits(entry, _entries(hint)) for entry in value.values())
    return value is not None or hint is object


def _misfit(value: Any, hint: Any) -> tuple[str, Any, Any]:
    """'.key', value and hint of an entry of a mapping that does not fit; else '' and what was given."""
    entries = value.items() if isinstance(value, dict) else ()
    for inner in map(_entries, options(hint)):
        for key, entry in entries:
            if not fits(entry, inner):
                return f".{key}", entry, inner
    return "", value, hint


def _entries(hint: Any) -> Any:
    """The type of the values of a mapping; Any if it is not known."""
    kind, args = typing.get_origin(hint), typing.get_args(hint)
    return args[1] if isinstance(kind, type) and issubclass(kind, Mapping) and len(args) == 2 else Any


def _is_mapping(hint: Any) -> bool:
    """Whether a mapping may fit: not for numbers, texts, lists and other types of single values or sequences."""
    kind = typing.get_origin(hint) or hint
    return not isinstance(kind, type) or not issubclass(kind, (bool, int, float, complex, str, Sequence))


def _fits_number(value: bool | int | float, hint: Any) -> bool:
    if isinstance(value, bool):
        return hint in (bool, object)
    return hint in (float, complex, object) or hint is int and isinstance(value, int)


def _fits_items(values: Sequence[Any], hint: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is object or origin is None and isinstance(hint, type) and issubclass(hint, (list, tuple)):
        return True
    if not (isinstance(origin, type) and issubclass(origin, (Sequence, Iterable))):
        return False
    inner = [a for a in args if a is not Ellipsis]
    return len(inner) != 1 or all(fits(value, inner[0]) for value in values)


def _is_text(hint: Any) -> bool:
    # str, and types that take a text, such as Path
    return isinstance(hint, type) and (issubclass(hint, str) or hasattr(hint, "__fspath__"))


def _name(hint: Any) -> str:
    names = [_name(a) for a in typing.get_args(hint)] if typing.get_origin(hint) in (Union, types.UnionType) else []
    if names:
        return " or ".join(n for n in names)
    if typing.get_origin(hint) is not None:
        return str(hint).replace("typing.", "").replace("collections.abc.", "")
    return "null" if hint is type(None) else getattr(hint, "__name__", str(hint))


def _referenced_twice(model: Any) -> str | None:
    texts = [text for text in model.values() if str(text).startswith("${architectures.")] if model else []
    return next((text[2:-1] for text in texts if texts.count(text) > 1), None)
