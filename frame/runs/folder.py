"""A run's folder and its files.

config.yaml  overrides.yaml  code.json  code.diff  environment.json  costs.json  data.json  status.json
metrics.jsonl  metrics.csv  records.jsonl  doctor.jsonl  evaluated.jsonl  images/  tables/  source/
checkpoints/last.ckpt  previous.ckpt  best.ckpt
"""

import fcntl
import json
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import DictConfig, OmegaConf

from frame import __version__
from frame.common import inside
from frame.common.errors import Damaged, UserError
from frame.common.files import must_wait, write_text
from frame.composition.config_files import trouble
from frame.composition.folders import own_folder
from frame.composition.plain import as_config, as_yaml, parse_yaml
from frame.composition.stored import filled as fill
from frame.composition.stored import literal
from frame.runs import checkpoints
from frame.runs.exported import Export
from frame.runs.journal import DIAGNOSES, RECORDS, Journal
from frame.runs.provenance import describe_code, environment, is_own, write_code
from frame.runs.reading import (
    CODE,
    COSTS,
    DATA,
    MODULE,
    STATUS,
    content,
    damaged,
    in_training,
    is_diagnosis,
    is_record,
    judge,
    mapping,
    words,
)

if TYPE_CHECKING:
    from filelock import FileLock

FORMAT = 2


class RunFolder:
    """One run on disk. A process that trains in it holds its lock; the system frees the lock if that process dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: FileLock | None = None
        self._records, self._diagnoses = Journal(path / RECORDS), Journal(path / DIAGNOSES)

    @classmethod
    def create(cls, root: Path, name: str) -> "RunFolder":
        """Makes a new folder below `root`/`name` and locks it.

        Raises:
            UserError: the root cannot be written.
        """
        parent = root.expanduser() / name
        stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        try:
            parent.mkdir(parents=True, exist_ok=True)
            for number in range(1000):
                path = parent / (stamp if number == 0 else f"{stamp}_{number + 1}")
                try:
                    path.mkdir()
                except FileExistsError:
                    continue
                run = cls(path)
                try:
                    run.lock()
                    (path / "checkpoints").mkdir()
                except OSError:
                    run.discard()
                    raise
                return run
        except OSError as error:
            raise UserError(
                f"runs cannot be written below {root} ({error.strerror}): set device.experiments_root=..."
            ) from None
        raise UserError(f"{parent} holds a thousand runs of this second")

    @classmethod
    def existing(cls, path: str | Path) -> "RunFolder":
        """The run in an existing folder.

        Raises:
            UserError: there is none, another version of frame wrote it, or there are links in it.
        """
        run = cls(Path(path).expanduser())
        if not (run.path / "config.yaml").is_file():
            raise UserError(f"no run in {path}: there is no config.yaml in it")
        inside.check(run.path)
        run.check_format()
        return run

    def check_format(self) -> None:
        """Raises UserError if another version of frame wrote the run."""
        written = self.standing.get("format", FORMAT)
        if written == 1:
            raise UserError(f"{self.path} was written by frame 0.1.0 (format 1): open it with that version")
        if written != FORMAT:
            raise UserError(
                f"{self.path} has format {written}, and frame {__version__} reads format {FORMAT}: "
                "open it with the version that its code.json names"
            )

    def lock(self) -> None:
        """Raises UserError if another process trains in this folder, or the folder cannot be written."""
        from filelock import FileLock, Timeout  # not needed to look at runs

        lock = FileLock(self.path / "lock", blocking=False, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            raise UserError(f"another process is training in {self.path}: wait for it or stop it") from None
        except OSError as error:
            raise UserError(f"{self.path} cannot be locked ({error.strerror})") from None
        self._lock = lock

    def is_locked(self) -> bool:
        """Whether a process trains in this folder now, on this machine. Writes nothing, as a FileLock would."""
        return must_wait(self.path / "lock", fcntl.LOCK_SH)

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def discard(self) -> None:
        """Removes a folder that was just made and cannot be used."""
        self.unlock()
        shutil.rmtree(self.path, ignore_errors=True)

    # A run's description

    def describe(self, config: dict[str, Any], overrides: Sequence[str]) -> None:
        """Writes the config, the code and the machine. config.yaml is written last, because a run is found by it."""
        write_text(self.path / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(list(overrides))))
        text = as_yaml(config)
        warning = describe_code(self.path, config, own_folder(), text)
        if warning:
            print(f"frame: {warning}", file=sys.stderr)
        write_text(self.path / "environment.json", json.dumps(environment(), indent=2) + "\n")
        write_text(self.path / "config.yaml", text)

    def write_again(self, config: dict[str, Any], code: Mapping[str, Any]) -> None:
        """Writes the config and the description of the code of a run that is continued.

        If the user trained it, it gets a new seal; otherwise its code.json stays as it is.
        """
        text = as_yaml(config)
        if self.is_own:
            write_code(self.path, code, text)
        write_text(self.path / "config.yaml", text)

    @property
    def is_own(self) -> bool:
        """Whether the user trained it on this machine, with this very config.

        Raises:
            UserError: the user's file of trusted folders cannot be read.
        """
        return is_own(self.code, content(self.path / "config.yaml") or "")

    @property
    def stored(self) -> dict[str, Any]:
        """config.yaml as written: references to `device` are not filled in, and `${` in a text is escaped.

        Raises:
            Damaged: it is not a config, has aliases or tags, or is too deep.
        """
        file = self.path / "config.yaml"
        text = content(file) or ""
        try:
            found = parse_yaml(text)
        except yaml.YAMLError as error:
            raise damaged(file, f"cannot be read ({trouble(error, text)})") from None
        except ValueError as error:
            raise damaged(file, f"cannot be read ({error})") from None
        if not isinstance(found, dict):
            raise damaged(file, "has no keys")
        return found

    @property
    def plain(self) -> dict[str, Any]:
        """The config in plain values, to read; `${device.x}` is not filled in."""
        found: dict[str, Any] = literal(self.stored)
        return found

    def filled(self, *keys: str) -> Any:
        """A part of the config to build from: plain values, with `${device.x}` as it is on this machine.

        Args:
            keys: the path to it, from the outermost key; a number is an index in a list.

        Raises:
            UserError: `device` lacks a key that is referred to, or needs an environment variable that is not set or
                that a run may not read.
        """
        stored = self.stored
        node: Any = stored
        for key in keys:
            node = node[int(key)] if isinstance(node, list) else node.get(key)
        try:
            return fill(stored, "${device}" if keys == ("device",) else node)
        except UserError as error:
            raise UserError(f"{'.'.join(keys)} cannot be filled in: {error}") from None

    @property
    def config(self) -> DictConfig:
        """The config with attributes, `config.params.beta`. References that cannot be filled in stay as written."""
        stored = self.stored
        found = {}
        for key, value in stored.items():
            try:
                found[key] = fill(stored, "${device}" if key == "device" else value)
            except UserError:
                found[key] = literal(value)
        return as_config(found)

    @property
    def overrides(self) -> list[str]:
        """The typed words; none if they are unknown.

        Raises:
            Damaged: the file is not a list of words.
        """
        return words(self.path / "overrides.yaml")

    def write_costs(self, costs: Mapping[str, Any]) -> None:
        """Writes the model's size and an iteration's cost, which are known before training."""
        write_text(self.path / "costs.json", json.dumps(dict(costs), indent=2) + "\n")

    @property
    def costs(self) -> dict[str, Any]:
        """The values of `write_costs`; empty if an older version made the run."""
        return mapping(self.path / "costs.json", COSTS)

    def write_data(self, described: Mapping[str, Any]) -> None:
        """Writes the description of the run's data by `frame.data.base.described`."""
        write_text(self.path / "data.json", json.dumps(described, indent=2, ensure_ascii=False) + "\n")

    @property
    def data(self) -> dict[str, Any]:
        """The values of `write_data`; empty if it was not called.

        Raises:
            Damaged: the file is something else.
        """
        file = self.path / "data.json"
        found = mapping(file, DATA)
        parts, names = (found.get("splits") or {}).values(), found.get("classes") or []
        if not all(isinstance(part, dict) for part in parts) or not all(isinstance(name, str) for name in names):
            raise damaged(file, "is not what a run writes")
        return found

    @property
    def code(self) -> dict[str, Any]:
        """The description of the code by `describe`; empty if it was not called.

        Raises:
            Damaged: the file is something else.
        """
        file = self.path / "code.json"
        found = mapping(file, CODE)
        modules = found.get("modules") or {}
        judge(modules, dict.fromkeys(modules, MODULE), file, "modules.")
        return found

    # Its state

    @property
    def status(self) -> dict[str, Any]:
        """The last status by `set_status`; empty if it was not called.

        Raises:
            Damaged: the file is not a status.
        """
        return mapping(self.path / "status.json", STATUS)

    def set_status(self, state: str, **more: Any) -> bool:
        """Writes the state (running, finished, stopped or failed). False if it could not be written."""
        status = {
            **self.standing,
            "format": FORMAT,
            "state": state,
            "at": datetime.now().isoformat(timespec="seconds"),
        }
        try:
            write_text(self.path / "status.json", json.dumps({**status, **more}, indent=2, default=str) + "\n")
        except OSError:
            return False
        return True

    @property
    def standing(self) -> dict[str, Any]:
        """The status; empty if its file is broken, for callers that write it again."""
        try:
            return self.status
        except Damaged:
            return {}

    def trouble(self, name: str, text: str) -> None:
        status = self.standing
        troubles = {**(status.get("troubles") or {}), name: text}
        self.set_status(status.get("state") or "running", troubles=troubles)

    def record(self, records: Sequence[dict[str, Any]]) -> None:
        """Appends measurements. If the disk is full, they wait in memory for the next call or for `save`."""
        with suppress(OSError):  # the files logger has warned that the disk is full
            self._records.keep(*records)

    def diagnose(self, entry: Mapping[str, Any]) -> None:
        """Appends a diagnosis of the doctor, as `record` does."""
        with suppress(OSError):
            self._diagnoses.keep(entry)

    def save(self) -> bool:
        """Tries again to write waiting lines; returns whether everything is on disk."""
        try:
            self._records.sync()
            self._diagnoses.sync()
        except OSError:
            return False
        return True

    def record_again(self, records: Sequence[dict[str, Any]]) -> None:
        """Appends all records of a later evaluation, and replaces those that a killed process left of it.

        Raises:
            OSError: they could not be written, and nothing was.
        """
        written = {record["evaluation"] for record in records}
        if any(record.get("evaluation") in written for record in self.records):
            self._records.cut(lambda line: line.get("evaluation") not in written)
        self._records.append(*records, sync=True)

    def recorded(self) -> set[str]:
        """Identifiers of the later evaluations whose records are complete."""
        found = Counter((record.get("evaluation"), record.get("together")) for record in self.records)
        return {evaluation for (evaluation, together), n in found.items() if evaluation and n == together}

    def cut(self, iteration: int) -> None:
        """Removes the run's measurements after `iteration`, before it is resumed from there.

        Keeps those of `frame evaluate`, because they name the iteration of their checkpoint.

        Raises:
            OSError: the disk is full or the folder cannot be written.
        """
        self._records.cut(lambda line: is_record(line) and (line["iteration"] <= iteration or not in_training(line)))
        self._diagnoses.cut(lambda line: is_diagnosis(line) and line["iteration"] <= iteration)

    @property
    def records(self) -> list[dict[str, Any]]:
        """All records, the oldest first.

        Raises:
            UserError: the file cannot be read. Single broken lines are left out and named on stderr.
        """
        return self._records.read(is_record)

    @property
    def is_whole(self) -> bool:
        """Whether the last reading of the records was complete."""
        return not self._records.broken

    @property
    def diagnoses(self) -> list[dict[str, Any]]:
        """The doctor's diagnoses: name, text ('over' if it ended), iteration, seconds and signs."""
        return self._diagnoses.read(is_diagnosis)

    @property
    def newest_pictures(self) -> list[Path]:
        """The newest picture of each folder below images/."""
        root = self.path / "images"
        if root.is_symlink():
            return []
        found = (filter(inside.is_file, folder.glob("*.png")) for folder in sorted(root.glob("*")))
        return [max(pictures) for some in found if (pictures := [*some])]

    def checkpoint(self, name: str = "last", whole: bool = True) -> dict[str, Any] | None:
        """The newest intact checkpoint called `name`, or None if there is none yet; an export has one only.

        Args:
            name: 'last' or 'best'.
            whole: as `checkpoints.load` takes it.

        Raises:
            UserError: a file is there, but none is whole, or it has another format.
        """
        export = Export.at(self.path)
        if export is not None:
            export.check(name, None)
            return export.state()
        return checkpoints.load(self.path, name, whole)
