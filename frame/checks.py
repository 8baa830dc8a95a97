"""A config against the constructors it names, before anything is built."""

import importlib
import inspect
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, Union

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from frame.mistakes import Mistake, choices

OWN_KEYS = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")


def check(config: DictConfig, given: Mapping[str, Sequence[str]]) -> None:
    """Every `_target_` exists and takes the arguments that it is given, of the types that it names.

    Args:
        config: the composed config.
        given: for a top-level key, the arguments that `frame` adds when it builds it (`optimization`: `model`).

    Raises:
        Mistake: names the key and the nearest right answer.
    """
    raw = OmegaConf.to_container(config, resolve=False)
    assert isinstance(raw, dict)
    twice = _referenced_twice(raw.get("model"))
    if twice:
        raise Mistake(f"{twice} is referred to twice by the model, which would build two networks: share it in Python")
    for path, node in targets(raw):
        root, *below = path.split(".")
        added = given.get(root, ()) if len(below) == (1 if root == "logging" else 0) else ()
        check_node(config, path, node, added)


def targets(plain: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All nodes with a `_target_`, with their dotted path; a reference is a text here, and what it names stands
    elsewhere."""
    if isinstance(plain, dict) and "_target_" in plain:
        yield path, plain
    entries = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, node in entries:
        yield from targets(node, f"{path}.{key}" if path else str(key))


def check_node(config: DictConfig, path: str, node: dict[str, Any], given: Sequence[str] = ()) -> None:
    """One `_target_` and its arguments, as they are written (`node`); `config` fills in the references."""
    name = str(node["_target_"])
    target = locate(name, path)
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return  # a constructor written in C shows no signature
    parameters = {k: p for k, p in signature.parameters.items() if k != "self"}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {k: p for k, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    hints = _hints(target)
    for key, written in node.items():
        if key in OWN_KEYS:
            continue
        if key not in named and not takes_any:
            free = [k for k in named if k not in given]
            raise Mistake(f"{path}.{key}: {choices(key, free, kind=f'argument of {name}')}")
        if written == "???":
            raise Mistake(f"{path}.{key}: {name} needs a value: add {path}.{key}=...")
        value = _value(config, f"{path}.{key}", written)
        if key in hints and not fits(value, hints[key]):
            raise Mistake(f"{_typed_as(written, f'{path}.{key}')}={value}: {path}.{key} wants {_name(hints[key])}")
    if not node.get("_partial_", False) and "_args_" not in node:
        missing = [k for k, p in named.items() if p.default is p.empty and k not in node and k not in given]
        if missing:
            raise Mistake(f"{path}: {name} needs {', '.join(missing)}: add {path}.{missing[0]}=...")


def locate(name: str, path: str) -> Any:
    """The object that a `_target_` names.

    Raises:
        Mistake: there is no such module or no such name in it.
    """
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is not None and not (module_name + ".").startswith(error.name + "."):
                raise Mistake(f"{path}: {name} needs the package '{error.name}', which is not installed") from None
            continue
        except ImportError as error:
            raise Mistake(f"{path}: {name} cannot be imported: {error}") from None
        for part in parts[cut:]:
            if not hasattr(found, part):
                public = [n for n in vars(found) if not n.startswith("_")] if hasattr(found, "__dict__") else []
                near = choices(part, public, kind=f"name in {module_name}").split(" There are")[0]
                raise Mistake(f"{path}: {near.rstrip('.')} (_target_: {name})")
            found = getattr(found, part)
        return found
    raise Mistake(f"{path}: there is no module '{parts[0]}' for _target_: {name}; is its folder where you started?")


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain config value may be passed where `hint` stands; what a `_target_` builds always may."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or isinstance(hint, (str, typing.TypeVar)) or isinstance(value, DictConfig) and "_target_" in value:
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in args)
    if origin is Literal:
        return value in args
    if origin is typing.Annotated:
        return fits(value, args[0])
    if hint is None or hint is type(None):
        return value is None
    if isinstance(value, bool):
        return hint in (bool, object)
    if isinstance(value, int):
        return hint in (int, float, complex, object)
    if isinstance(value, float):
        return hint in (float, complex, object) or hint is int and value.is_integer()
    if isinstance(value, str):
        return hint is object or not isinstance(hint, type) and origin is None or _is_text(hint)
    if isinstance(value, (ListConfig, list, tuple)):
        if hint is object or origin is None and isinstance(hint, type) and issubclass(hint, (list, tuple)):
            return True
        if not (isinstance(origin, type) and issubclass(origin, (Sequence, Iterable))):
            return False
        inner = [a for a in args if a is not Ellipsis]
        return len(inner) != 1 or all(fits(v, inner[0]) for v in value)
    return value is not None or hint is object


def _is_text(hint: Any) -> bool:
    # str itself, and what is made from a text on the way in, such as Path
    return isinstance(hint, type) and (issubclass(hint, str) or hasattr(hint, "__fspath__"))


def _hints(target: Any) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function)
    except Exception:  # a foreign annotation that cannot be resolved checks nothing
        return {}


def _value(config: DictConfig, path: str, written: Any) -> Any:
    try:
        return OmegaConf.select(config, path)
    except OmegaConfBaseException as error:
        raise Mistake(f"{path}: {written} cannot be filled in: {str(error).splitlines()[0]}") from None


def _typed_as(written: Any, path: str) -> str:
    """The key that a person would type: `params.lr` where the argument only refers to it."""
    reference = re.fullmatch(r"\$\{([\w.]+)\}", str(written))
    return reference.group(1) if reference else path


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
