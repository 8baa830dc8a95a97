"""Reads and writes plain values (mappings, lists, texts, numbers) as YAML. Nothing in them is resolved."""

import marshal
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

MAX_DEPTH = 40
LONG = 100_000  # characters: longer texts are not cached
KEY, NEXT_KEY = re.compile(r"[A-Za-z_]"), re.compile(r"\n(?=[A-Za-z_])")
DOUBT = ("|", ">", "\n---", "\n...", "\n%")  # syntax that may span several keys
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
FLOAT = re.compile(
    r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
    r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)"
)
INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
WORDS = {word: None for word in ("", "~", "null", "Null", "NULL")} | {
    form: value
    for value, names in ((True, ("true", "yes", "on")), (False, ("false", "no", "off")))
    for name in names
    for form in (name, name.capitalize(), name.upper())
}


class Text(str):
    """A text with `${` in it that OmegaConf does not resolve."""

    def __contains__(self, part: object) -> bool:
        return part != "${" and isinstance(part, str) and super().__contains__(part)


def as_config(plain: Mapping[str, Any]) -> DictConfig:
    """Plain values with access by attributes, `config.params.beta`. Nothing in them is resolved."""
    inert = changed(plain, lambda text: Text(text) if "${" in text else text)
    config = OmegaConf.create(inert, flags={"allow_objects": True})
    assert isinstance(config, DictConfig)
    return config


def changed(value: Any, change: Callable[[str], Any]) -> Any:
    """The value with `change` applied to each text."""
    if isinstance(value, dict):
        return {key: changed(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [changed(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value


def parse_yaml(text: str) -> Any:
    """Reads YAML that has only mappings, lists and scalars: no aliases, no tags.

    The top-level keys of a text that `as_yaml` wrote are read one by one. Texts and keys are cached, because a run's
    config is read several times, and the configs of a study differ in few keys.

    Raises:
        ValueError: it has an alias, a tag or a key twice.
        yaml.YAMLError: it is not YAML.
    """
    return marshal.loads(_remembered_text(text)) if len(text) < LONG else _parsed(text)


@lru_cache(maxsize=16)
def _remembered_text(text: str) -> bytes:
    """The text's values. They are packed, so that each caller gets its own copy."""
    found = _by_parts(text) if _is_plain(text) else None
    return marshal.dumps(_parsed(text) if found is None else found)


def _is_plain(text: str) -> bool:
    return (
        KEY.match(text) is not None
        and text.isascii()
        and text.replace("\n", "").isprintable()
        and not any(sign in text for sign in DOUBT)
    )


def _by_parts(text: str) -> dict[Any, Any] | None:
    """The text's values; None if a top-level key cannot be read by itself."""
    whole: dict[Any, Any] = {}
    for part in NEXT_KEY.split(text):
        try:
            found = marshal.loads(_remembered(part))
        except (ValueError, yaml.YAMLError):  # such as a quote that is closed in a later part
            return None
        if not isinstance(found, dict) or found.keys() & whole.keys():
            return None
        whole.update(found)
    return whole


@lru_cache(maxsize=256)
def _remembered(part: str) -> bytes:
    """The values of a part, packed as in `_remembered_text`."""
    return marshal.dumps(_parsed(part))


def _parsed(text: str) -> Any:
    root: list[Any] = []
    containers: list[Any] = [root]
    keys: list[Any] = []  # of each open mapping, the key whose value comes next
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.NodeEvent) and (isinstance(event, yaml.AliasEvent) or event.anchor is not None):
            raise ValueError(f"line {_line(event)} has an anchor or an alias, which no run's config has")
        if isinstance(event, yaml.CollectionEndEvent):
            if isinstance(containers.pop(), dict):
                keys.pop()
            continue
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
            if event.tag is not None and not event.implicit:
                raise ValueError(f"line {_line(event)} has the tag {event.tag}")
        elif isinstance(event, yaml.ScalarEvent):
            if event.tag is not None and event.tag != "!" and not any(event.implicit):
                raise ValueError(f"line {_line(event)} has the tag {event.tag}")
            value = scalar(event.value) if event.implicit[0] else event.value
        else:
            continue
        _place(value, containers[-1], keys, event)
        if isinstance(value, dict | list):
            containers.append(value)
            keys += [NOTHING] if isinstance(value, dict) else []
            if len(containers) > MAX_DEPTH:
                raise ValueError(f"line {_line(event)} lies more than {MAX_DEPTH} levels deep")
    if len(root) != 1:
        raise ValueError("it holds nothing" if not root else "it holds several documents")
    return root[0]


NOTHING = object()


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 0


def _place(value: Any, container: Any, keys: list[Any], event: yaml.Event) -> None:
    if isinstance(container, list):
        container.append(value)
    elif keys[-1] is NOTHING:
        if isinstance(value, dict | list) or value in container:
            raise ValueError(f"line {_line(event)} has a key twice, or one that is not a name")
        keys[-1] = value
    else:
        container[keys[-1]] = value
        keys[-1] = NOTHING


def scalar(text: str) -> Any:
    """The value of an unquoted scalar, as Hydra reads it. Dates and numbers in base 60 stay texts."""
    if text in WORDS:
        return WORDS[text]
    if INTEGER.fullmatch(text):
        return int(text.replace("_", ""))
    if FLOAT.fullmatch(text):
        plain = text.replace("_", "").lower()
        return float(plain.replace(".inf", "inf").replace(".nan", "nan"))
    return text


class Dumper(yaml.SafeDumper):
    """Quotes each text that YAML might read as another type."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _quoted(dumper: Dumper, text: str) -> yaml.ScalarNode:
    """Uses double quotes for signs that YAML reads as a space or a line end between single quotes."""
    style = '"' if re.search("[\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Dumper.add_representer(str, _quoted)
Dumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789."))


def as_yaml(plain: Mapping[str, Any]) -> str:
    """The YAML of a stored config. `parse_yaml` reads the same values from it."""
    text: str = yaml.dump(dict(plain), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10_000)
    return text
