"""A run's folder: what is in it, and how it is opened again.

config.yaml  overrides.yaml  code.json  code.diff  environment.json  facts.json  status.json
metrics.csv  records.jsonl  doctor.jsonl  images/  checkpoints/last.ckpt  previous.ckpt  best.ckpt
"""

import fcntl
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from omegaconf import DictConfig, OmegaConf

from frame import checkpoints
from frame.exported import Export
from frame.files import must_wait, write_text
from frame.mistakes import Mistake
from frame.provenance import describe_code, environment

FORMAT = 1


class RunFolder:
    """One run on disk. Whoever trains in it holds its lock, which the system gives back when the process dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    @classmethod
    def create(cls, root: Path, name: str) -> "RunFolder":
        """A new folder below `root`/`name`, exclusively ours.

        Raises:
            Mistake: the root cannot be written.
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
                run.lock()
                (path / "checkpoints").mkdir()
                return run
        except OSError as error:
            raise Mistake(
                f"runs cannot be written below {root} ({error.strerror}): set device.experiments_root=..."
            ) from None
        raise Mistake(f"{parent} holds a thousand runs of this second")

    @classmethod
    def existing(cls, path: str | Path) -> "RunFolder":
        """The run in a folder that is there.

        Raises:
            Mistake: there is none, or it was written by a newer version.
        """
        run = cls(Path(path).expanduser())
        if not (run.path / "config.yaml").is_file():
            raise Mistake(f"no run in {path}: there is no config.yaml in it")
        if run.status.get("format", 0) > FORMAT:
            raise Mistake(f"{path} has format {run.status['format']}, this version reads up to {FORMAT}: update frame")
        return run

    def lock(self) -> None:
        """Raises Mistake where another process trains in this folder."""
        self._lock = (self.path / "lock").open("w")  # held until the process ends
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Mistake(f"another process is training in {self.path}: wait for it or stop it") from None

    def is_locked(self) -> bool:
        """Whether a process trains in this folder now, on this machine."""
        return must_wait(self.path / "lock", fcntl.LOCK_SH)

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # What a run is

    def describe(self, config: DictConfig, overrides: Sequence[str]) -> None:
        """Writes what is run, by which code, where."""
        self.write_config(config)
        write_text(self.path / "overrides.yaml", OmegaConf.to_yaml(OmegaConf.create(list(overrides))))
        warning = describe_code(self.path, config)
        if warning:
            print(f"frame: {warning}", file=sys.stderr)
        write_text(self.path / "environment.json", json.dumps(environment(), indent=2) + "\n")

    def write_config(self, config: DictConfig) -> None:
        write_text(self.path / "config.yaml", OmegaConf.to_yaml(config))

    @property
    def config(self) -> DictConfig:
        config = OmegaConf.load(self.path / "config.yaml")
        assert isinstance(config, DictConfig)
        return config

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        """What is known of the model before training: its size and what an iteration costs."""
        write_text(self.path / "facts.json", json.dumps(dict(facts), indent=2) + "\n")

    @property
    def facts(self) -> dict[str, Any]:
        """What `write_facts` wrote; nothing where an older version made the run."""
        file = self.path / "facts.json"
        found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        return found

    @property
    def code(self) -> dict[str, Any]:
        """What `describe` wrote of the code; nothing where it did not."""
        file = self.path / "code.json"
        found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        return found

    # Where it stands

    @property
    def status(self) -> dict[str, Any]:
        try:
            status: dict[str, Any] = json.loads((self.path / "status.json").read_text())
        except FileNotFoundError:
            return {}
        return status

    def set_status(self, state: str, **more: Any) -> None:
        """`state` is running, finished, stopped or failed; a full disk is no reason to end a run."""
        status = {**self.status, "format": FORMAT, "state": state, "at": datetime.now().isoformat(timespec="seconds")}
        try:
            write_text(self.path / "status.json", json.dumps({**status, **more}, indent=2, default=str) + "\n")
        except OSError:
            pass

    def trouble(self, name: str, text: str) -> None:
        status = self.status
        self.set_status(status.get("state", "running"), troubles={**status.get("troubles", {}), name: text})

    def record(self, records: Sequence[dict[str, Any]]) -> None:
        try:
            with (self.path / "records.jsonl").open("a") as stream:
                stream.writelines(json.dumps(record) + "\n" for record in records)
        except OSError:
            pass  # the files logger has said that the disk is full

    def cut(self, iteration: int) -> None:
        """Takes back the records that were measured after `iteration`, before the run goes on from there."""
        for file in (self.path / "records.jsonl", self.path / "doctor.jsonl"):
            if file.exists():
                kept = [line for line in file.read_text().splitlines() if _iteration(line) <= iteration]
                write_text(file, "".join(line + "\n" for line in kept))

    @property
    def records(self) -> list[dict[str, Any]]:
        return self._lines("records.jsonl")

    @property
    def diagnoses(self) -> list[dict[str, Any]]:
        """What the doctor said: name, text ('over' where it ended), iteration, seconds and the signs of it."""
        return self._lines("doctor.jsonl")

    def _lines(self, name: str) -> list[dict[str, Any]]:
        file = self.path / name
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines if _iteration(line) >= 0]

    @property
    def newest_pictures(self) -> list[Path]:
        """The newest picture of each folder below images/."""
        folders = sorted(folder for folder in (self.path / "images").glob("*") if folder.is_dir())
        return [max(pictures) for folder in folders if (pictures := list(folder.glob("*.png")))]

    def checkpoint(self, name: str = "last") -> dict[str, Any] | None:
        """The newest whole checkpoint called `name`, or None where there is none yet; an export's one and only.

        Raises:
            Mistake: a file is there, but none is whole, or it has another format.
        """
        export = Export.at(self.path)
        if export is not None:
            export.check(name, None)
            return export.state()
        return checkpoints.load(self.path, name)


def _iteration(line: str) -> float:
    try:
        return float(json.loads(line)["iteration"])
    except (ValueError, KeyError):
        return float("-inf")  # a line that a kill cut short
