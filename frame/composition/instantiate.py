"""Builds objects from plain values: `_target_` names a class or function, the other keys are its arguments.

References are not resolved here.

A node may have `_args_` (a list of positional arguments), `_partial_: true` (the result is a functools.partial) and
`_recursive_: false` (its arguments stay plain). In lists and mappings without a `_target_`, the entries are built.
"""

import functools
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Union

from frame.common.errors import UserError, choices
from frame.composition.folders import own_folder

Locate = Callable[[str, str], Any]  # called with a `_target_` and its path in the config
OWN_KEYS = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")


def locate(name: str, path: str) -> Any:
    """The object that a `_target_` names.

    Raises:
        UserError: there is no such module or no such name in it.
    """
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is not None and not (module_name + ".").startswith(error.name + "."):
                raise UserError(f"{path}: {name} needs the package '{error.name}', which is not installed") from error
            continue
        except Exception as error:  # a module may raise anything while it is imported
            text = str(error.msg if isinstance(error, SyntaxError) else error)
            reason = next(iter(text.strip().splitlines()), type(error).__name__)
            raise UserError(f"{path}: {name} cannot be imported: {reason}") from error
        for part in parts[cut:]:
            if not hasattr(found, part):
                public = [n for n in vars(found) if not n.startswith("_")] if hasattr(found, "__dict__") else []
                near = choices(part, public, kind=f"name in {module_name}").split(" There are")[0]
                raise UserError(f"{path}: {near.rstrip('.')} (_target_: {name}){_shadowed(parts[0], found)}")
            found = getattr(found, part)
        return found
    raise UserError(f"{path}: there is no module '{parts[0]}' for _target_: {name}; is its folder where you started?")


def _shadowed(top: str, module: Any) -> str:
    """A hint if the user has a module of the same name, whose place an installed one has taken."""
    own = [place for place in (own_folder() / f"{top}.py", own_folder() / top) if place.exists()]
    file = getattr(module, "__file__", None)
    taken = own and file is not None and not Path(file).resolve().is_relative_to(own_folder().resolve())
    return f"; an installed package comes before your own {own[0].name}: give yours another name" if taken else ""


def instantiate(node: Any, path: str = "", locate: Locate = locate, /, **given: Any) -> Any:
    """The object that a node of plain values describes.

    Args:
        node: the node.
        path: its path in the config, for messages.
        locate: called with a `_target_` and its path; returns the object, or raises UserError.
        given: arguments that are passed as they are. They replace the node's own.

    Raises:
        UserError: there is no such `_target_`, or its constructor refuses its arguments.
    """
    if isinstance(node, list):
        return [instantiate(inner, f"{path}.{i}", locate) for i, inner in enumerate(node)]
    if not isinstance(node, dict):
        return node
    if "_target_" not in node:
        return {key: instantiate(inner, _below(path, key), locate) for key, inner in node.items()}
    target = locate(str(node["_target_"]), path)
    partial, recursive = _flag(node, "_partial_", False, path), _flag(node, "_recursive_", True, path)
    arguments: dict[str, Any] = dict.fromkeys(key for key in node if key not in OWN_KEYS)
    for key in arguments:
        if key in given:
            continue
        if isinstance(node[key], str) and node[key] == "???" and not partial:
            raise UserError(f"{_below(path, key)}: {node['_target_']} needs a value: add {_below(path, key)}=...")
        arguments[key] = instantiate(node[key], _below(path, key), locate) if recursive else node[key]
        if isinstance(node[key], dict) and "_target_" in node[key] and not is_network(arguments[key], target, key):
            made = type(arguments[key]).__name__
            what = f"{_below(path, key)}: {node[key]['_target_']} gives a {made}, not a torch.nn.Module"
            how = f": if the constructor completes it, annotate {key} as nn.Module | functools.partial"
            raise UserError(what + how * isinstance(arguments[key], functools.partial))
    positional = node.get("_args_", [])
    if not isinstance(positional, list):
        raise UserError(f"{path}._args_ must be a list, and is {positional!r}")
    positional = instantiate(positional, f"{path}._args_", locate) if recursive else positional
    arguments |= given
    if partial:
        return functools.partial(target, *positional, **arguments)
    try:
        return target(*positional, **arguments)
    except UserError:
        raise
    except Exception as error:  # a constructor may raise anything
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"{path or node['_target_']} cannot be built: {reason}") from error


def hints_of(target: Any) -> dict[str, Any]:
    """The types of the arguments of a function or class. Empty if they cannot be resolved."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function)
    except Exception:  # an annotation that cannot be resolved is not checked
        return {}


def options(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or the only type."""
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)


def is_network(built: Any, target: Any, argument: str) -> bool:
    """Whether an argument is a network, if the constructor's annotation asks for one. Any network will do."""
    kinds = [typing.get_origin(option) or option for option in options(hints_of(target).get(argument))]
    if not any(inspect.isclass(kind) and _is_module(kind) for kind in kinds):
        return True
    return _is_module(type(built)) or any(inspect.isclass(kind) and isinstance(built, kind) for kind in kinds)


def _is_module(kind: type) -> bool:
    """Whether a class is a torch.nn.Module, without importing torch."""
    return any((one.__module__, one.__name__) == ("torch.nn.modules.module", "Module") for one in kind.__mro__)


def _flag(node: dict[str, Any], key: str, default: bool, path: str) -> bool:
    value = node.get(key, default)
    if not isinstance(value, bool):
        raise UserError(f"{path}.{key} must be true or false, and is {value!r}")
    return value


def _below(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def named(nodes: Any) -> list[tuple[str, dict[str, Any]]]:
    """Callbacks or loggers with their names. The entries of a list are numbered; those that are null are left out."""
    if nodes is None:
        return []
    items = nodes.items() if isinstance(nodes, Mapping) else enumerate(nodes)
    return [(str(name), node) for name, node in items if node is not None]
