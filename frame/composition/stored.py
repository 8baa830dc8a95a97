"""Resolves a run's config once, to store it, and fills in this machine's values where it is opened.

A stored config may refer to `${device.x}`. In `device`, it may refer to the environment, `${oc.env:NAME,default}`;
elsewhere only to variables that begin with FRAME_, which an export uses for paths. A literal `${` has a backslash
before it, as in Hydra. No other reference is resolved.
"""

import os
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from frame.common.errors import UserError
from frame.common.inside import name_of
from frame.composition.folders import config_folders
from frame.composition.plain import changed, parse_yaml
from frame.composition.settings import SIZES

OPENING = re.compile(r"(\\*)\$\{")
OF_SIZES = re.compile(rf"(?<!\\)\$\{{{SIZES}[.\[]")
DEVICE = re.compile(r"device((?:\.[\w-]+)*)")
ENVIRONMENT = re.compile(r"oc\.env:\s*([A-Za-z_]\w*)\s*(?:,\s*(.*))?", re.DOTALL)
ALWAYS = ("DATA_ROOT", "DEVICE_NAME")
MOST, LONGEST = 10_000, 100_000  # references in one reading, and characters of a filled text


def resolved(config: DictConfig) -> dict[str, Any]:
    """A composed config as plain values, to be checked and built.

    References to `sizes` stay as they are until the config has them.

    Raises:
        UserError: a reference cannot be filled in.
    """
    try:
        plain: Any = OmegaConf.to_container(_with_sizes(config), resolve=True)
    except OmegaConfBaseException as error:
        where = f"{error.full_key}: " if error.full_key else ""
        absent = re.search(r"Interpolation key '([^']+)' not found", str(error))
        if absent and error.full_key:
            raise UserError(f"{error.full_key} refers to {absent[1]}, which is not set: add +{absent[1]}=...") from None
        raise UserError(f"{where}cannot be filled in: {str(error).splitlines()[0]}") from None
    return dict(plain)


def _with_sizes(config: DictConfig) -> DictConfig:
    """The config. If it has no sizes yet, references to them become texts."""
    root = config._get_root()
    if SIZES in root or root is not config:
        return config
    raw = OmegaConf.to_container(config, resolve=False)
    return OmegaConf.create(changed(raw, lambda text: OF_SIZES.sub(r"\\\g<0>", text)))


def with_sizes(plain: dict[str, Any], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values with the sizes of the data instead of references to them."""

    def value(text: str) -> Any:
        if not OF_SIZES.match(text):
            return text
        return OmegaConf.to_container(OmegaConf.create({SIZES: sizes, "value": text}), resolve=True)["value"]  # type: ignore[index, call-overload]

    return {**changed(plain, value), SIZES: dict(sizes)}


def stored(config: DictConfig, plain: dict[str, Any]) -> dict[str, Any]:
    """A run's config as it is stored: plain values, except `device` and references to it, which stay as typed."""
    raw: Any = OmegaConf.to_container(_with_sizes(config), resolve=False)
    typed = raw.get("device")
    if not isinstance(typed, dict):
        return dict(escaped(plain))
    device = {key: _kept(typed, key, plain["device"][key]) for key in typed}
    marked = {key: f"\ue000device.{key}\ue001" for key in typed}
    try:
        referring: Any = OmegaConf.to_container(OmegaConf.create({**raw, "device": marked}), resolve=True)
    except OmegaConfBaseException:  # the result of a resolver has no reference left
        referring = plain
    whole = _referring(referring, plain, device)
    return {**whole, "device": device}


def _kept(typed: dict[str, Any], key: str, value: Any) -> Any:
    """A value of `device` as it was typed, if that gives the same value when it is read."""
    try:
        if filled({"device": typed}, f"${{device.{key}}}", None) == value:
            return typed[key]
    except UserError:  # it needs a resolver of Hydra's or of the user's own
        pass
    return escaped(value)


def _referring(marked: Any, plain: Any, device: dict[str, Any]) -> Any:
    if isinstance(plain, dict) and isinstance(marked, dict):
        return {key: _referring(marked.get(key), value, device) for key, value in plain.items()}
    if isinstance(plain, list) and isinstance(marked, list) and len(plain) == len(marked):
        return [_referring(a, b, device) for a, b in zip(marked, plain, strict=True)]
    if isinstance(marked, str) and "\ue000" in marked:
        text = escaped(marked).replace("\ue000", "${").replace("\ue001", "}")
        try:
            if filled({"device": device}, text, None) == plain:
                return text
        except UserError:
            pass
    return escaped(plain)


def escaped(value: Any) -> Any:
    """The value with each `${` escaped, so that `literal` restores it."""
    return changed(value, lambda text: OPENING.sub(lambda found: found[1] * 2 + "\\${", text))


def literal(value: Any) -> Any:
    """A stored config for display: texts unescaped, references as they are written."""

    def plain(found: re.Match[str]) -> str:
        return found[1][: len(found[1]) // 2] + "${"

    return changed(value, lambda text: OPENING.sub(plain, text) if "${" in text else text)


def filled(config: Mapping[str, Any], node: Any, allowed: Collection[str] | None = ()) -> Any:
    """Fills in the references to `device` in a part of a stored config.

    Args:
        config: the stored config.
        node: the part.
        allowed: environment variables that `device` may read, besides DATA_ROOT, DEVICE_NAME, FRAME_* and those that
            this machine's file in config/device/ refers to; None: all of them.

    Raises:
        UserError: `device` lacks the key, a variable is not set or not allowed, or a reference is of another kind.
    """
    return changed(node, Filler(config.get("device"), allowed).text)


def all_filled(config: dict[str, Any]) -> dict[str, Any]:
    """Fills in a whole stored config, and may read any variable. Use it only for runs that you trust.

    Raises:
        UserError: see `filled`.
    """
    device = {"device": filled(config, "${device}", None)} if "device" in config else {}
    rest = {key: value for key, value in config.items() if key != "device"}
    return {**device, **filled(config, rest, None)}


class Filler:
    """Fills in `${device.x}`, and inside `device` also `${oc.env:NAME,default}`. Variables' values stay as they are."""

    def __init__(self, device: Any, allowed: Collection[str] | None) -> None:
        self.device, self.allowed = device, allowed
        self.under_way: list[str] = []
        self.n_filled = 0

    def text(self, written: str, *, in_device: bool = False) -> Any:
        """Fills in a text. A text that is a single reference becomes its value, of any type."""
        if "${" not in written:
            return written
        parts = [part if isinstance(part, str) else self._reference(*part, in_device) for part in pieces(written)]
        if len(parts) == 1:
            return parts[0]
        whole = "".join(map(str, parts))
        if len(whole) > LONGEST:
            raise UserError(f"{written[:60]} stands for a text of more than {LONGEST:,} characters")
        return whole

    def _reference(self, inner: str, written: str, in_device: bool) -> Any:
        self.n_filled += 1
        if self.n_filled > MOST:
            raise UserError(f"it has more than {MOST:,} references")
        place = DEVICE.fullmatch(inner)
        if place is not None:
            return self._device(inner, place[1].split(".")[1:])
        variable = ENVIRONMENT.fullmatch(inner)
        if variable is None or not (in_device or variable[1].startswith("FRAME_")):
            raise UserError(f"it has {written[:80]}, which a run does not resolve: not built")
        return self._environment(variable[1], variable[2])

    def _device(self, key: str, parts: list[str]) -> Any:
        found = self.device
        for part in parts:
            if not isinstance(found, dict) or part not in found:
                raise UserError(f"the config refers to {key}, which it does not have: set {key}=...")
            found = found[part]
        if key in self.under_way:
            raise UserError(f"{key} refers to itself: set {key}=...")
        self.under_way.append(key)
        try:
            return changed(found, lambda text: self.text(text, in_device=True))
        finally:
            self.under_way.pop()

    def _environment(self, name: str, default: str | None) -> Any:
        readable = self.allowed is None or name.startswith("FRAME_") or name in {*ALWAYS, *self.allowed, *own_names()}
        if readable and name in os.environ:
            return os.environ[name]
        if default is not None:
            unquoted = re.fullmatch(r"\s*(['\"])(.*)\1\s*", default, re.DOTALL)
            plain = None if default.strip() == "null" else self.text(default.strip(), in_device=True)
            return unquoted[2] if unquoted else plain
        where = self.under_way[-1] if self.under_way else "device"
        if readable:
            raise UserError(f"{where} wants the environment variable {name}, which is not set: export {name}=...")
        raise UserError(
            f"{where} asks for the environment variable {name}, which a run may not read: name it in a file of your "
            "config/device/, or set a FRAME_ variable"
        )


def pieces(written: str) -> list[str | tuple[str, str]]:
    """Splits a text into literal parts, unescaped, and references: (the inside, the whole as written)."""
    found: list[str | tuple[str, str]] = []
    text, at = "", 0
    while (opening := OPENING.search(written, at)) is not None:
        backslashes = opening[1]
        text += written[at : opening.start()] + backslashes[: len(backslashes) // 2]
        end = _closing(written, opening.end()) if len(backslashes) % 2 == 0 else None
        if end is None:
            text, at = text + "${", opening.end()
            continue
        found += [text] if text else []
        found.append((written[opening.end() : end], written[opening.end() - 2 : end + 1]))
        text, at = "", end + 1
    rest = text + written[at:]
    return found + ([rest] if rest or not found else [])


def _closing(written: str, start: int) -> int | None:
    depth = 1
    for place in range(start, len(written)):
        depth += {"{": 1, "}": -1}.get(written[place], 0)
        if depth == 0:
            return place
    return None


def device_files() -> list[Path]:
    """This machine's files in config/device/, in frame's config and in the user's own."""
    name = os.environ.get("DEVICE_NAME", "local")
    files = [folder / "device" / f"{name}.yaml" for folder in config_folders()] if name == name_of(name) else []
    return [file for file in files if file.is_file()]


def own_names() -> frozenset[str]:
    """The environment variables to which this machine's device files refer."""
    return frozenset(found for file in device_files() for found in _names(file))


def is_data_root(place: str) -> bool:
    """Whether a path is below DATA_ROOT, ./data, or a data root of this machine's device files."""
    roots = {os.environ.get("DATA_ROOT", "./data")}
    for file in device_files():
        device = parse_yaml(file.read_text())
        for key in ("data_root", "big_data_root"):
            with suppress(UserError):
                roots.add(str(filled({"device": device}, f"${{device.{key}}}")))
    try:
        where = Path(place).expanduser().resolve()
        return any(where.is_relative_to(Path(root).expanduser().resolve()) for root in roots)
    except (OSError, ValueError, RuntimeError):  # not a valid path
        return False


@cache
def _names(file: Path) -> frozenset[str]:
    return frozenset(re.findall(r"oc\.env:\s*(\w+)", file.read_text(errors="replace")))
