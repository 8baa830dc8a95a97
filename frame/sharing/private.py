"""Finds and removes names of the machine of an export: paths, the user, the host."""

import getpass
import os
import re
import socket
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from frame.common.errors import UserError
from frame.composition.folders import config_folder

# these names are on every machine
COMMON = {"root", "user", "users", "admin", "home", "ubuntu", "docker", "runner", "localhost", "frame", "train", "test"}
PATH = re.compile(r"(?:/|~/|[A-Za-z]:[\\/]|\\\\)\S")
FILES = (".png", ".safetensors", ".onnx", ".pt2")  # binary files


class Private:
    """The names of this machine, and the folders that a run refers to.

    Args:
        places: more folders, such as the run's.
    """

    def __init__(self, places: Sequence[str | Path] = ()) -> None:
        usual = [Path.home(), Path.cwd(), Path(sys.prefix), Path(__file__).resolve().parents[2]]
        paths = {os.path.realpath(Path(place).expanduser()) for place in (*usual, *places)}
        paths |= {os.path.abspath(Path(place).expanduser()) for place in (*usual, *places)}
        # '/root' alone may be anything, but '/root/...' is a path
        self.paths = sorted({path if path.count("/") > 1 else path.rstrip("/") + "/" for path in paths} - {"/"})
        try:
            user = getpass.getuser()
        except (OSError, KeyError):  # a container's user may have no name
            user = ""
        host = socket.gethostname()
        names = {name for name in (user, host, host.split(".")[0]) if len(name) > 3}
        self.names = sorted(name for name in names if name.lower() not in COMMON | _words())

    def found(self, content: str | bytes) -> str | None:
        """A name of this machine in a text or in a file's bytes, or None."""
        text = content if isinstance(content, str) else content.decode("latin-1")
        # in a million weights, some four bytes are a name by chance
        names = [name for name in self.names if isinstance(content, str) or len(name) > 5]
        for path in self.paths:
            # '/data/' is a folder of this machine at the beginning of a path, but not in https://a.org/data/b
            before = r"(?<![\w.-])" if path.count("/") == 2 and path.endswith("/") else ""
            if path in text and re.search(before + re.escape(path), text):
                return path
        for name in names:
            if re.search(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", text):
                return name
        return None

    def without(self, text: str) -> str:
        """The text, with an ellipsis in place of names of this machine."""
        while (name := self.found(text)) is not None:
            text = text.replace(name, "…")
        return text

    def config(self, config: dict[str, Any], data_root: str) -> tuple[dict[str, Any], dict[str, str]]:
        """The config for any machine, and environment variables for paths that only this machine has.

        `device` becomes the default, and `logging` is left out. A path below the data's root refers to that root; any
        other path becomes a variable named after its key.
        """
        variables: dict[str, str] = {}

        def cleaned(node: Any, key: str) -> Any:
            if isinstance(node, dict):
                return {name: cleaned(value, f"{key}.{name}") for name, value in node.items()}
            if isinstance(node, list):
                return [cleaned(value, f"{key}.{i}") for i, value in enumerate(node)]
            if not isinstance(node, str) or not (PATH.match(node) or self.found(node)):
                return node
            if PATH.match(data_root) and Path(node).is_relative_to(data_root):
                below = Path(node).relative_to(data_root).as_posix()
                return "${device.data_root}" + (f"/{below}" if below != "." else "")
            variable = "FRAME" + re.sub(r"\W", "_", key).upper()
            variables[variable] = key.lstrip(".")
            return f"${{oc.env:{variable}}}"

        local = yaml.safe_load((config_folder() / "device" / "local.yaml").read_text())
        rest = {key: value for key, value in config.items() if key not in ("device", "logging", "hydra")}
        own = {key: value for key, value in config["device"].items() if key not in local}
        clean = {"device": {**local, **cleaned(own, ".device")}, "logging": None}
        return {**clean, **{key: cleaned(value, f".{key}") for key, value in rest.items()}}, variables

    def check(self, folder: Path) -> None:
        """Raises UserError if a file below the folder names this machine."""
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = file.relative_to(folder)
            for content in contents(file):
                there = self.found(content) or self.found(str(name))
                if there is not None:
                    line = _line(content, there)
                    raise UserError(f"{name}{line} names '{there}' of this machine: take it out, then export again")


def _words() -> set[str]:
    """The words of frame's own config: a user may be called 'data'."""
    texts = [file.read_text().lower() for file in config_folder().rglob("*.yaml")]
    return {word for text in texts for word in re.findall(r"[a-z]+", text)}


def contents(file: Path) -> list[str | bytes]:
    """A file's text or bytes, and if it is an archive, those of all its files."""
    raw = file.read_bytes()
    if file.suffix not in FILES:
        return [raw.decode(errors="replace")]
    if not zipfile.is_zipfile(file):
        return [raw]
    with zipfile.ZipFile(file) as archive:
        return [raw, *(archive.read(name) for name in archive.namelist())]


def _line(content: str | bytes, name: str) -> str:
    if isinstance(content, bytes):
        return ""
    before: Callable[[str], int] = content[: content.find(name)].count
    return f", line {before(chr(10)) + 1},"
