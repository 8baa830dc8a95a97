"""Reads config files strictly: ambiguous content is an error of one line that names the file and the line.

Hydra reads each of its files through `StrictFiles`. Nothing here imports torch.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from frame.common.errors import UserError
from frame.composition.plain import parse_yaml

BYTES = 300_000  # of a file
NODES = 100_000  # of its content, with every alias expanded
PACKAGE = re.compile(r"\s*#\s*@?\s*package\b[:=\s]*(\S*)", re.IGNORECASE)
TAGS = ("str", "int", "float", "bool", "null", "seq", "map", "merge", "timestamp", "value")
GLOBAL = "# @package _global_"
ON = "on"  # a key of evaluations, which YAML 1.1 reads as true; no other key is read as true
WHOLE = ("experiment", "debug")  # groups whose files hold keys of the whole config


class StrictFiles(FileConfigSource):
    """Hydra's source of files. It raises UserError where Hydra would silently misread or skip something."""

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(os.path.realpath(self.path), self._normalize_file_name(config_path))
        package, config = _strict(path, str(Path(config_path).parent), *state(path))
        where = f"{self.scheme()}://{self.path}"
        return ConfigResult(config=deepcopy(config), path=where, provider=self.provider, header={"package": package})

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return [name for name in super().list(config_path, results_filter) if not name.startswith(".")]


def state(path: Path) -> tuple[int, ...]:
    """Two numbers that tell whether a file was changed: the time of its last change and its size."""
    there = path.stat()
    return there.st_mtime_ns, there.st_size


@lru_cache(maxsize=512)
def _strict(path: Path, group: str, *now: int) -> tuple[str | None, Any]:
    """A config file's package and content. It is read again only if it changes. The caller must not change them."""
    text = read(path)
    package = _package(text, path, group.split(os.sep)[0])
    node = checked(text, path)
    if node is not None:
        _check_defaults(node, path)
        if package == "_global_":
            _check_top(node, path, group)
    return package, _config(text, path)


def values(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, with numbers as Hydra reads them. References stay as they are written.

    Raises:
        UserError: as for `load`, or the file has an alias.
    """
    text = read(path)
    if checked(text, path) is None:
        raise UserError(f"{shown(path)} is empty")
    try:
        found = _with_on(parse_yaml(text))
    except ValueError as error:
        raise UserError(f"{shown(path)}: {error}") from None
    return dict(found)


def load(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: the file cannot be read or is ambiguous. The message names the file and the line.
    """
    text = read(path)
    node = checked(text, path)
    if node is None:
        raise UserError(f"{shown(path)} is empty")
    return _plain(text, path)


def read(path: Path) -> str:
    """The text of a file: UTF-8, with or without a byte order mark, with any line endings."""
    if path.is_dir():
        raise UserError(f"{shown(path)} is a folder, not a file")
    try:
        with path.open("rb") as stream:
            data = stream.read(BYTES + 1)
    except OSError as error:
        raise UserError(f"{shown(path)} cannot be read ({error.strerror})") from None
    if len(data) > BYTES:
        raise UserError(f"{shown(path)} is longer than {BYTES // 1000} kB, which is too long for a config")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:200]:
        raise UserError(f"{shown(path)} is UTF-16 or not a text: save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{shown(path)}: line {line}: a character that is not UTF-8: save the file as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def checked(text: str, path: Path) -> yaml.MappingNode | None:
    """The top-level mapping of a file. None if the file is empty.

    Raises:
        UserError: it is not YAML or not a mapping; it has a key twice, aliases that contain themselves or grow without
            bound, or a value that YAML does not read as it is written.
    """
    try:
        node = yaml.compose(text, yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise UserError(_said(error, text, path)) from None
    except RecursionError:
        raise UserError(f"{shown(path)} is nested too deeply") from None
    if node is None or node.tag == "tag:yaml.org,2002:null":
        return None
    if not isinstance(node, yaml.MappingNode):
        kind = "a list" if isinstance(node, yaml.SequenceNode) else f"'{str(node.value)[:40]}'"
        raise UserError(
            f"{shown(path)}{_line(node)}: it holds {kind} instead of keys: write `key: value` on lines of their own"
        )
    _size(node, {}, path)
    for place in _once(node, set()):
        if place.tag.removeprefix("tag:yaml.org,2002:") not in TAGS:
            raise UserError(f"{shown(path)}{_line(place)}: a config takes no YAML tag such as {place.tag}")
        if isinstance(place, yaml.MappingNode):
            _check_keys(place, path)
        elif isinstance(place, yaml.ScalarNode):
            _check_scalar(place, path)
    return node


def _size(node: yaml.Node, sizes: dict[int, int | None], path: Path) -> int:
    """The number of nodes at and below this one. A node counts each time that an alias repeats it."""
    known = sizes.get(id(node), 0)
    if known is None:
        raise UserError(f"{shown(path)}{_line(node)}: an anchor (&) contains its own alias (*)")
    if known:
        return known
    sizes[id(node)] = None
    below = sum(_size(child, sizes, path) for child in _children(node))
    if below >= NODES:
        raise UserError(f"{shown(path)}{_line(node)}: its aliases (*) make more than {NODES:,} values of it")
    sizes[id(node)] = 1 + below
    return 1 + below


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _once(node: yaml.Node, seen: set[int]) -> Iterator[yaml.Node]:
    if id(node) not in seen:
        seen.add(id(node))
        yield node
        for child in _children(node):
            yield from _once(child, seen)


def _check_keys(node: yaml.MappingNode, path: Path) -> None:
    seen: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise UserError(
                f"{shown(path)}{_line(key)}: a key is a list or a mapping: a reference needs quotes, '${{a.b}}'"
            )
        if key.tag == "tag:yaml.org,2002:merge":
            merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
            if not all(isinstance(one, yaml.MappingNode) for one in merged):
                raise UserError(f"{shown(path)}{_line(key)}: << takes the alias of a mapping, such as <<: *base")
            continue
        if key.tag in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:null") and key.value != ON:
            raise UserError(
                f"{shown(path)}{_line(key)}: YAML does not read the key {key.value} as a text: write '{key.value}'"
            )
        if key.value in seen:
            raise UserError(f"{shown(path)}{_line(key)}: the key {key.value} occurs twice")
        if key.value.strip("_") == "target" and key.value != "_target_" and _names_a_class(value):
            raise UserError(f"{shown(path)}{_line(key)}: write _target_ in place of {key.value}")
        seen[key.value] = key


def _names_a_class(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and bool(re.fullmatch(r"[a-zA-Z_]\w*(\.\w+)+", node.value))


def _check_scalar(node: yaml.ScalarNode, path: Path) -> None:
    if node.style in ("'", '"', "|", ">"):  # quoted: YAML guesses no type
        return
    wrong = _misread(node.value, node.tag)
    if wrong:
        raise UserError(f"{shown(path)}{_line(node)}: {wrong}")


def _misread(text: str, tag: str) -> str:
    """What to write instead of a value that YAML does not read as it is written; '' if it does."""
    if re.fullmatch(r"[-+]?0[0-9_]+", text):
        return f"YAML may read {text} as an octal number: write {text.lstrip('+-0') or '0'} or '{text}'"
    if re.fullmatch(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?", text):
        return f"YAML reads {text} as a number in base 60: write '{text}' in quotes"
    if re.match(r"[-+]?0[xob]", text, re.IGNORECASE) and tag.endswith(":int"):
        return f"write {text} as a decimal number, or in quotes"
    if any(sign in text for sign in "\u00a0\u200b\ufeff\u2028"):
        return f"a space of a web page is in {text.split()[0]!r}: type the line again by hand"
    if text[:1] in tuple("\u201c\u201d\u201e\u2018\u2019\u201a\u00ab"):
        return f"{text[:40]} has quotes of a web page: write ' or \""
    return ""


def _check_defaults(node: yaml.MappingNode, path: Path) -> None:
    """Checks the form of a defaults list. Hydra checks its names."""
    found = next((value for key, value in node.value if key.value == "defaults"), None)
    if found is None:
        return
    if not isinstance(found, yaml.SequenceNode):
        raise UserError(
            f"{shown(path)}{_line(found)}: defaults is a list: write `  - /model: VAE`, a group on each line"
        )
    for item in found.value:
        if isinstance(item, yaml.MappingNode) and len(item.value) != 1:
            raise UserError(
                f"{shown(path)}{_line(item)}: each entry of defaults names one group, such as `  - /model: VAE`"
            )
        if isinstance(item, yaml.SequenceNode):
            raise UserError(f"{shown(path)}{_line(item)}: an entry of defaults is a list: write `  - /model: VAE`")
        chosen = item.value[0][1] if isinstance(item, yaml.MappingNode) else item
        several = chosen.value if isinstance(chosen, yaml.SequenceNode) else [chosen]
        if any(
            not isinstance(one, yaml.ScalarNode) or one.tag.endswith((":int", ":float", ":bool")) for one in several
        ):
            raise UserError(f"{shown(path)}{_line(item)}: an entry of defaults names files, such as `  - /model: VAE`")


def _package(text: str, path: Path, group: str) -> str | None:
    """The package of the file's keys, from its first line.

    Raises:
        UserError: the line is missing, misspelt, or in a place where Hydra does not read it.
    """
    lines = text.split("\n")
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    found = None
    for number, line in enumerate(lines):
        match = PACKAGE.match(line)
        written = line.replace("#", " ", 1).split()
        if match is None or "@" not in written[0] and not ("_global" in match[1].lower() and len(written) == 2):
            continue
        named = match[1].strip("'\"")
        right = "_global_" if "global" in named.lower() else named
        if number != first:
            raise UserError(f"{shown(path)}: line {number + 1}: write `# @package {right}` as the first line")
        if written != ["@package", right] or not re.fullmatch(r"_global_|_group_|[\w.]+", right):
            raise UserError(
                f"{shown(path)}: line {number + 1}: write `# @package {right or '_global_'}`, spelt like that"
            )
        found = right
    if group in WHOLE and found != "_global_":
        raise UserError(f"{shown(path)}: its keys would be read below '{group}': write `{GLOBAL}` as the first line")
    return found


def _check_top(node: yaml.MappingNode, path: Path, group: str) -> None:
    """Refuses keys of a group, such as `_target_`, in a file whose package is global."""
    if group.split(os.sep)[0] in (*WHOLE, "", "."):
        return
    for key, _ in node.value:
        if key.value in ("_target_", "_partial_"):
            raise UserError(
                f"{shown(path)}{_line(key)}: `{GLOBAL}` moves {key.value} out of '{group}': take that line out"
            )


def check_name(folders: Sequence[Path], group: str, name: str) -> None:
    """Raises UserError if a file of that name exists with an extension that is not read."""
    for folder in folders:
        for file in (folder / group).glob("*"):
            if file.stem == name and file.suffix != ".yaml" and file.suffix.lower() in (".yml", ".yaml", ""):
                raise UserError(f"{shown(file)} is not read: rename it to {name}.yaml")


def _config(text: str, path: Path) -> Any:
    content: Any = text
    with suppress(ValueError, yaml.YAMLError):  # aliases, tags, or nothing: OmegaConf reads it, in twice the time
        content = _with_on(parse_yaml(text))
    try:
        config = OmegaConf.create(content)
    except (OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise UserError(f"{shown(path)}: {_first(error)}") from None
    if content is not text or not re.search(rf"\b{ON}\s*:", text):
        return config
    return OmegaConf.create(_with_on(OmegaConf.to_container(config, resolve=False)))


def _with_on(node: Any) -> Any:
    """The values with the key `on` as a text."""
    if isinstance(node, list):
        return [_with_on(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    return {ON if key is True else key: _with_on(inner) for key, inner in node.items()}


def _plain(text: str, path: Path) -> dict[str, Any]:
    try:
        plain = yaml.load(text, yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{shown(path)}: {_first(error)}") from None
    found = _with_on(plain)
    assert isinstance(found, dict)
    return found


def _said(error: yaml.YAMLError, text: str, path: Path) -> str:
    return f"{shown(path)}: {trouble(error, text)}"


def trouble(error: yaml.YAMLError, text: str) -> str:
    """The error in a YAML text, in one line, with the number of the line."""
    mark = getattr(error, "problem_mark", None)
    lines = text.split("\n")
    line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    where = f"line {mark.line + 1}: " if mark is not None else ""
    if isinstance(error, yaml.reader.ReaderError):
        at = next((n for n, sign in enumerate(text) if ord(sign) < 32 and sign not in "\t\n"), 0)
        where = f"line {text[:at].count(chr(10)) + 1}: "
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f"{where}a tab: YAML is indented by spaces"
    problem = str(getattr(error, "problem", None) or _first(error))
    context = str(getattr(error, "context", "") or "")
    begun = getattr(error, "context_mark", None)
    since = f" {context}, which begins on line {begun.line + 1}" if begun is not None and context else ""
    return f"{where}{problem}{since}"


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _line(node: yaml.Node) -> str:
    return f": line {node.start_mark.line + 1}"


def shown(path: Path) -> str:
    """The path, relative if it is below the current folder."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
