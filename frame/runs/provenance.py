"""The code and the machine of a run: its commit and the difference from it, source, hashes, packages and hardware."""

import hashlib
import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from email.parser import HeaderParser
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from frame import __version__
from frame.common import trust
from frame.common.errors import UserError
from frame.common.files import write_text, write_whole
from frame.composition.checks import targets
from frame.composition.folders import config_folders
from frame.runs.code_diff import difference
from frame.runs.source import kept, own_modules

_FOUND: ContextVar[dict[Any, Any] | None] = ContextVar("found", default=None)
NAMES = 100  # names of untracked files, and of ignored files, that are kept


@contextmanager
def code_looked_at_once() -> Iterator[None]:
    """Runs that start together in this context look at their code once: git and hashes take most of a second."""
    before = _FOUND.set({})
    try:
        yield
    finally:
        _FOUND.reset(before)


def _once(key: Any, find: Callable[[], Any]) -> Any:
    found = _FOUND.get()
    if found is None:
        return find()
    if key not in found:
        found[key] = find()
    return found[key]


def describe_code(folder: Path, config: Mapping[str, Any], where: Path, text: str) -> str:
    """Writes code.json, the user's own modules, and code.diff for the owner only. Returns a warning, or ''.

    `restores` in code.json says whether `git apply code.diff` on the commit, in the top folder of a clone, gives the
    tracked files byte for byte; `left_out` names the files that it does not restore, with the reasons. `folder` says
    where the run is trained, `modules` which modules of the user's own it needs, and `seals` that the user wrote this.

    Args:
        folder: the run's.
        config: its config, in plain values.
        where: where it is trained.
        text: the content of config.yaml.
    """
    files = frozenset({*_sources(config), *_configs()})
    found = _once(("difference", Path.cwd(), files), lambda: difference(Path.cwd(), files))
    in_git = found.commit is not None or bool(found.patch or found.trouble)
    version = {
        "frame": __version__,
        "commit": found.commit,
        "dirty": found.dirty,
        "restores": not (found.left_out or found.trouble) if in_git else None,
        "left_out": found.left_out,
        "untracked": found.untracked[:NAMES],
        "n_untracked": len(found.untracked),
        "ignored": found.ignored[:NAMES],
        "trouble": found.trouble,
        **fingerprints(config),
        "folder": os.path.realpath(where),
        "modules": kept(folder, config),
    }
    write_code(folder, version, text)
    write_whole(folder / "code.diff", lambda stream: stream.write(found.patch), mode=0o600)
    if found.trouble:
        return f"code.diff does not put the code back: {found.trouble}"
    named = [f"{path} ({why})" for path, why in list(found.left_out.items())[:3]]
    more = f" and {len(found.left_out) - 3} more, see code.json" if len(found.left_out) > 3 else ""
    return f"code.diff does not put back {', '.join(named)}{more}" if named else ""


def write_code(folder: Path, code: Mapping[str, Any], text: str) -> None:
    """Writes code.json with the user's seal on it and on the config's `text`. The last seal stays valid beside it."""
    with suppress(UserError):  # no key: the run is trained, but not recognised as the user's own
        seals = [trust.sealed(_sealed(code, text)), *(code.get("seals") or ())[:1]]
        code = {**code, "seals": [seal for seal in seals if seal]}
    write_text(folder / "code.json", json.dumps(code, indent=2) + "\n")


def is_own(code: Mapping[str, Any], text: str) -> bool:
    """Whether the user trained a run on this machine, with this very config. Its checkpoints are not asked.

    Raises:
        UserError: the user's file of trusted folders cannot be read.
    """
    seals = code.get("seals")
    return isinstance(seals, list) and any(trust.is_sealed(_sealed(code, text), seal) for seal in seals)


def _sealed(code: Mapping[str, Any], text: str) -> dict[str, Any]:
    modules = {name: (told["sha256"], told["path"]) for name, told in code["modules"].items()}
    return {"folder": code["folder"], "modules": modules, "config": hashlib.sha256(text.encode()).hexdigest()}


def fingerprints(config: Mapping[str, Any]) -> dict[str, str]:
    """Hashes: 'sources' of frame's modules and the user's own that the config names, 'configs' of the config files."""
    sources, configs = frozenset(_sources(config)), frozenset(_configs())
    return {
        "sources": _once(sources, lambda: _hash(sources)),
        "configs": _once(configs, lambda: _hash(configs)),
    }


def _sources(config: Mapping[str, Any]) -> set[Path]:
    roots = {str(node["_target_"]).split(".")[0] for _, node in targets(config)}
    files = {file for name in sorted({*roots, "frame"}) for file in _modules(name)}
    return files | {file for file in own_modules(config, strict=False).values() if file not in files}


def _configs() -> set[Path]:
    return {file for folder in config_folders() for file in folder.rglob("*.yaml")}


def own_sources() -> str:
    """A hash of this package's modules as they are on disk now."""
    return _hash(set(_modules("frame")))


def _modules(name: str) -> list[Path]:
    """The files of a package that is the user's own or frame; libraries are identified by their versions."""
    if name == "__main__":  # a script, or a notebook, which has no file
        script = getattr(sys.modules[name], "__file__", None)
        return [Path(script)] if script is not None and Path(script).is_file() else []
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or spec.origin is None and not spec.submodule_search_locations:
        return []
    places = [Path(place) for place in spec.submodule_search_locations or [str(spec.origin)]]
    if name != "frame" and any("site-packages" in place.parts for place in places):
        return []
    return [file for place in places for file in (place.rglob("*.py") if place.is_dir() else [place])]


def _hash(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _packages() -> dict[str, str]:
    """Versions of all installed packages, by name, when the process first asked.

    Parses only the headers: `Distribution.metadata` parses the description too, each time.
    """
    found = {}
    for distribution in metadata.distributions():
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        headers = HeaderParser().parsestr(text.partition("\n\n")[0])
        if headers["Name"]:
            found[headers["Name"]] = str(headers["Version"])
    return found


def environment() -> dict[str, Any]:
    import torch

    packages = _packages()
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "packages": dict(sorted(packages.items(), key=lambda item: item[0].lower())),
    }
