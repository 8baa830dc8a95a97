"""Checks the keys of a composed config: their types, their ranges, and whether anything reads them.

Arguments of a `_target_` are checked in `checks.py`, those of Lightning's Trainer in `trainer_settings.py`.
"""

import difflib
import math
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from frame.common.durations import limits_of, save_interval
from frame.common.errors import UserError, choices
from frame.common.memory import bytes_of
from frame.composition.folders import options
from frame.composition.trainer_settings import check_trainer

PARTS = ("model", "data", "optimization")  # chosen by an experiment, or by hand
# keys that frame reads; all other sections hold constructors' arguments, or values that only references read
OWN = {
    "checkpoint": ("every", "best", "mode"),
    "pictures": ("keep",),
    "seeds": ("init", "data", "noise"),
    "device": (
        "data_root",
        "big_data_root",
        "experiments_root",
        "download_files",
        "num_workers",
        "memory_for_data",
        "gpus",
    ),
}
OPEN = ("trainer", "callbacks", "architectures", "logging")  # keys below these are checked against constructors
BUILT = ("callbacks", "logging", "doctor", "loader", "execution", *PARTS)
SPLITS = ("train", "valid", "test")  # data may have a data set for each
SINGLE = ("experiment_name", "train_for", "seed", "data_rows", "weights", "allow_test", "cut_schedules")
FREE = ("params", "architectures")  # any key that something refers to
SIZES = "sizes"  # of the data, as plain values; known once the data are loaded
PRETRAINED = "pretrained"  # networks that start with another run's weights: where they came from
OBJECTS = "objects"  # parts that were given to frame.train as objects of Python, with a few words on each
TOP = (*OWN, *BUILT, *SINGLE, *FREE, "trainer", "evaluations", SIZES, PRETRAINED, OBJECTS)
NEEDED = (*OWN, *SINGLE, "trainer")
Check = Callable[[str, Any], None]


def check_parts(config: DictConfig) -> None:
    """Raises UserError if a part or setting of a run is missing or cannot be read. Does not import torch."""
    raw: Any = OmegaConf.to_container(config, resolve=False)
    for key in NEEDED:
        if key not in raw:
            raise UserError(f"{key} is missing: give it a value, or null, and do not remove it")
    for part in PARTS:
        if not raw.get(part):
            raise UserError(f"no {part}: choose an experiment (+experiment=digits_VAE), or add {part}=...")
    _check_form(raw)
    for key, check in VALUES.items():
        check(key, _value(config, key))
    _check_finite(raw)
    check_trainer(raw["trainer"])
    limits_of(config)
    save_interval(config)


def _check_form(raw: dict[str, Any]) -> None:
    """Checks that sections are mappings, and that what is built names its class."""
    for key in (*OWN, "trainer"):
        if not isinstance(raw[key], dict):
            raise UserError(f"{key}={_short(raw[key])}: it has keys below it: {key}.<key>=value")
    for key in FREE:
        if not isinstance(raw.get(key) or {}, dict):
            raise UserError(f"{key}={raw[key]}: it has keys below it: {key}.<key>=value")
    data = raw["data"]
    splits = data.items() if isinstance(data, dict) and data.keys() <= {*SPLITS} else ()
    nodes: list[tuple[str, Any]] = [(part, raw[part]) for part in PARTS if part != "data" or not splits]
    nodes += [(f"data.{split}", node) for split, node in splits if node is not None]
    nodes += [(part, raw[part]) for part in ("doctor", "loader", "execution") if raw.get(part) is not None]
    for group in ("callbacks", "logging"):
        section = raw.get(group)
        if section is None:
            continue
        if not isinstance(section, (dict, list)):
            raise UserError(f"{group}={section}: it has names below it, each with a _target_; null removes all")
        nodes += [(f"{group}.{name}", node) for name, node in _items(section) if node is not None]
    for path, node in nodes:
        if isinstance(node, str) and "${" in node:
            continue
        if not isinstance(node, dict) or not isinstance(node.get("_target_"), str):
            raise UserError(f"{path} has no _target_, which names its class: {_short(node)}")


def check_read(config: DictConfig) -> None:
    """Raises UserError if a composed config has a key that nothing reads."""
    raw: Any = OmegaConf.to_container(config, resolve=False)
    words = references(raw)
    for key in unread(raw, words):
        root, _, rest = key.partition(".")
        if root not in TOP:
            raise UserError(choices(root, TOP, kind="key"))
        if root in OWN:
            raise UserError(f"{key}: {choices(rest, OWN[root], kind=f'key of {root}')}")
        others = [word for word in words if word.startswith(f"{root}.") and word != key]
        near = difflib.get_close_matches(key, others, n=1, cutoff=0.8)
        hint = f": did you mean {near[0]}?" if near else f": nothing says ${{{key}}};"
        raise UserError(f"{key} is read by nothing{hint} {key}=null takes it out")


def unread(raw: dict[str, Any], words: set[str] | None = None) -> Iterator[str]:
    """Yields keys that neither frame nor a reference (`${params.lr}`) reads, unless they are null."""
    words = references(raw) if words is None else words
    for root, node in raw.items():
        if root in BUILT or root in SINGLE or root in ("trainer", "evaluations", SIZES, PRETRAINED, OBJECTS):
            continue
        if root in OWN:
            known = OWN[root]
            candidates = [f"{root}.{key}" for key in (node if isinstance(node, dict) else ()) if key not in known]
        elif root == "architectures":
            candidates = [f"{root}.{key}" for key, value in _items(node) if value is not None]
        else:
            candidates = list(_leaves(node, root))
        for key in candidates:
            if not any(key == word or key.startswith(f"{word}.") or word.startswith(f"{key}.") for word in words):
                yield key


def _items(node: Any) -> list[tuple[Any, Any]]:
    return list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []


def _leaves(node: Any, path: str) -> Iterator[str]:
    if isinstance(node, dict) and "_target_" not in node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}")
    elif node is not None:
        yield path


def references(node: Any, path: str = "") -> set[str]:
    """All dotted keys inside `${...}`. Relative ones are made absolute."""
    if isinstance(node, dict):
        return set().union(*(references(value, f"{path}.{key}") for key, value in node.items()))
    if isinstance(node, list):
        return set().union(*(references(value, f"{path}.{number}") for number, value in enumerate(node)))
    if not isinstance(node, str) or "${" not in node:
        return set()
    plain = re.sub(r"[\[\]'\"]+", ".", node)
    found = set()
    for dots, word in re.findall(r"(\.*)([\w-]+(?:\.[\w-]+)*)", plain[plain.index("${") :]):
        above = path.split(".")[1:]
        found.add(word)
        if dots:
            found.add(".".join([*above[: len(above) - len(dots)], word]))
    return found


# The values of frame's own keys


def _seed(key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise UserError(f"{key}={value}: a seed is a whole number from 0 to 2^63 - 1")


def _count(least: int, most: int, *others: Any) -> Check:
    def check(key: str, value: Any) -> None:
        if any(value is other or value == other and not isinstance(value, bool) for other in others):
            return
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            said = "".join(f", or {'null' if other is None else other}" for other in others)
            raise UserError(f"{key}={value}: write a whole number from {least} to {most}{said}")

    return check


def _choice(*valid: str | None) -> Check:
    def check(key: str, value: Any) -> None:
        if value not in valid:
            raise UserError(f"{key}: {choices(str(value), [word for word in valid if word], kind='choice')}")

    return check


def _truth(key: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise UserError(f"{key}={value}: write true or false")


def _folder(key: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{key}={value}: write the path of a folder")
    if any(ord(sign) < 32 for sign in value):
        raise UserError(f"{key}={value!r}: a path without line breaks")


def _name(key: str, value: Any) -> None:
    """Checks a name that becomes a folder."""
    text = str(value)
    if value is None or not text.strip() or text in (".", "..") or len(text.encode()) > 200:
        raise UserError(f"{key}={text[:60]!r}: it names the run's folder: write some letters, at most 200")
    if "/" in text or "\\" in text or any(ord(sign) < 32 for sign in text):
        raise UserError(
            f"{key}={text!r}: it names one folder, without '/' or line breaks; device.experiments_root=... moves it"
        )


def _text(key: str, value: Any) -> None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise UserError(f"{key}={value}: write the name of a measurement, such as ELBO/Validation, or null")


def _memory(key: str, value: Any) -> None:
    if value is not None:  # machines' own files need not have it
        bytes_of(value, key)


VALUES: dict[str, Check] = {
    "experiment_name": _name,
    "seed": _seed,
    **{f"seeds.{key}": _seed for key in OWN["seeds"]},
    "data_rows": _count(1, 10**12, None),
    "weights": _choice("average", "raw"),
    "allow_test": _truth,
    "cut_schedules": _truth,
    "checkpoint.best": _text,
    "pictures.keep": _count(2, 10**9, None),
    "checkpoint.mode": _choice("max", "min", None),
    "device.experiments_root": _folder,
    "device.num_workers": _count(0, 512),
    "device.memory_for_data": _memory,
    "device.download_files": _truth,
    "device.gpus": _count(0, 1024, "auto"),
}


def _value(config: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(config, key, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(f"{key} cannot be filled in: {str(error).splitlines()[0]}") from None


def _check_finite(node: Any, path: str = "") -> None:
    if isinstance(node, float) and not math.isfinite(node):
        raise UserError(f"{path}={node}: write a finite number; null means no limit")
    if isinstance(node, int) and abs(node) >= 2**63:
        raise UserError(f"{path}={node}: write a whole number below 2^63")
    for key, value in _items(node):
        _check_finite(value, f"{path}.{key}" if path else str(key))


def _short(node: Any) -> str:
    text = "null" if node is None else " ".join(str(node).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


# What is typed


def keys(plain: Any, prefix: str = "") -> list[str]:
    """All dotted keys of nested mappings."""
    if not isinstance(plain, dict):
        return []
    return [dotted for key, node in plain.items() for dotted in (f"{prefix}{key}", *keys(node, f"{prefix}{key}."))]


def check_value(override: Override, before: DictConfig, inside: Collection[str] = ()) -> None:
    """Raises UserError if a typed value has an unknown key or another type than the experiment's.

    Args:
        override: what was typed.
        before: the config without typed values.
        inside: the nodes in it whose values are names of data, such as 'data.data' of data=views.
    """
    key = override.key_or_group
    root = key.split(".")[0]
    if root in ("hydra", "_target_") or root.startswith("hydra/"):
        if key != "hydra.searchpath":
            raise UserError(f"{key}: Hydra only composes here, and of its own settings hydra.searchpath alone is read")
        return
    there = keys(OmegaConf.to_container(before, resolve=False))
    parent = key.rpartition(".")[0]
    if key not in there and (override.is_add() or override.is_force_add()):
        if root in OPEN or _inside_a_target(key, there):
            return
        if root == "params" and (not before.get("params") or f"${{{key}}}" in OmegaConf.to_yaml(before)):
            return  # without an experiment there are none yet; a replaced model refers to params of its own
    if key not in there:
        siblings = [k for k in there if k.rpartition(".")[0] == parent and not k.rpartition(".")[2].startswith("_")]
        raise UserError(_unknown(override, parent, siblings, there))
    if override.is_delete():
        return
    try:
        old = OmegaConf.select(before, key, throw_on_missing=False)
    except OmegaConfBaseException:  # it refers to a missing key, which may be why the user replaces it
        old = None
    if key in inside and _kind(override.value()) == "text":
        raise UserError(no_data(str(override.value())))
    _check_kind(key, old, override.value())


def _check_kind(key: str, old: Any, new: Any) -> None:
    """Raises UserError if a value is of another kind than the one whose place it takes."""
    if isinstance(new, dict) and "_target_" in new:
        return  # a schedule instead of a number: constructors are checked later
    if isinstance(old, DictConfig) and isinstance(new, list):
        first = next((str(k) for k in old if not str(k).startswith("_")), "KEY")
        raise UserError(f"{key}={new}: wants keys and values: set {key}.{first}=...")
    if _kind(old) in ("number", "truth", "list") and _kind(new) not in (_kind(old), "null", "interpolation"):
        raise UserError(f"{key}={new}: wants a {_kind(old)}, such as {old}")


def no_data(name: str) -> str:
    """What to say of a name that is no file of config/data/."""
    if Path(name).exists():
        return f"no data '{name}', which is a file or folder: `frame try {name}` shows how to train on it"
    return choices(name, options("data"), kind="data")


def _unknown(override: Override, parent: str, siblings: list[str], there: list[str]) -> str:
    """What to write instead of a key that does not exist."""
    key = override.key_or_group
    if f"params.{key}" in there:
        return f"no key '{key}': write params.{key}={override.value()}"
    # keys of this level first; else the whole config, for a key typed without its section
    near = choices(key, siblings or there, kind="key")
    if f"{parent}._target_" in there:
        near += f"; another argument of its constructor is added by +{key}=..."
    return near if siblings else near.split(" There are")[0]


def _inside_a_target(key: str, there: list[str]) -> bool:
    parts = key.split(".")
    return any(".".join(parts[:cut]) + "._target_" in there for cut in range(1, len(parts)))


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "truth"
        case int() | float():
            return "number"
        case None:
            return "null"
        case str():
            return "interpolation" if "${" in value else "text"
    return "list" if OmegaConf.is_list(value) or isinstance(value, (list, tuple)) else "mapping"
