"""The words of the command line for values of Python. Nothing here imports torch."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from frame.common.errors import UserError


def words_of(words: Sequence[str], options: Mapping[str, Any]) -> list[str]:
    """What would be typed for these words and keywords: `params={"beta": 0.1}` is `params.beta=0.1`.

    Args:
        words: as they are typed; the first may be an experiment's name.
        options: values by key. A mapping holds the keys below its own; None is null.

    Raises:
        UserError: a word is no key=value, or a value is none that can be typed.
    """
    for i, word in enumerate(words):
        if not isinstance(word, str):
            raise UserError(f"{word!r:.60} is no text: write 'key=value', or key=value as a keyword")
        if word.startswith("-"):
            raise UserError(f"{word}: write key=value; the folder of config files is config_dir=...")
        if i > 0 and _is_name(word):
            raise UserError(f"'{word}': only the first word may be an experiment's name: write key=value")
    typed_words = [f"+experiment={word}" if _is_name(word) else word for word in words]
    return [*typed_words, *(word for key, value in options.items() for word in _pairs(key, value))]


def _is_name(word: str) -> bool:
    return "=" not in word and not word.startswith("~")


def _pairs(key: str, value: Any) -> Iterator[str]:
    if key == "evaluations" and isinstance(value, list | tuple):
        value = {name: {} for name in value}
    if isinstance(value, Mapping) and value and "_target_" not in value and key != "evaluations":
        for name, inner in value.items():
            yield from _pairs(f"{key}.{name}", inner)
        return
    yield f"{key}={typed(value, key)}"


def typed(value: Any, key: str = "value") -> str:
    """A value for Hydra's command line: null for None, and quotes around texts with special characters.

    Raises:
        UserError: it is an object; `key` is named.
    """
    if value is None:
        return "null"
    if not isinstance(value, bool | int | float) and getattr(value, "ndim", None) == 0:  # a number of numpy or torch
        value = value.item()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(typed(item, key) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{typed(item, key)}" for name, item in value.items()) + "}"
    if not isinstance(value, str | os.PathLike):
        raise UserError(f"{key}={value!r:.60} is an object: give text, a number, or lists and mappings of them")
    text = os.fspath(value)
    if re.fullmatch(r"[\w./@+:-]+", text) or text.startswith("${"):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
