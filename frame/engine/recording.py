"""What is found of a run after its training, and where it is recorded."""

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frame.common.errors import UserError
from frame.engine.opening import OpenRun
from frame.evaluation.base import LogEntry
from frame.loggers.files import FilesLogger
from frame.runs.notes import Notes
from frame.runs.reading import remarks


def recordable(folder: Path, trouble: OSError | None) -> None:
    """Says that nothing will be recorded in a folder that may only be read.

    Raises:
        UserError: it cannot be written for another reason, such as a full disk.
    """
    if trouble is None:
        return
    if trouble.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
        raise UserError(f"{folder} cannot be written ({trouble.strerror}): nothing was measured")
    print(f"{folder} can only be read ({trouble.strerror}): what is found is not recorded", flush=True)


class Book:
    """Where what is found of one run is recorded: its records, its table and pictures, and then a note of that."""

    def __init__(
        self, run: OpenRun, notes: Notes, identity: dict[str, Any], keys: Mapping[str, str], *, recorded: bool
    ) -> None:
        self.run, self.notes, self.identity, self.keys, self.recorded = run, notes, identity, keys, recorded
        self.counters: dict[str, float] = run.state["counters"]
        self.files = FilesLogger(run.folder.path, checkpoint=run.checkpoint, table=False) if recorded else None

    def close(self) -> None:
        """Brings metrics.csv up to date; where the run trains, the process that does so has it."""
        if self.files is not None and not self.run.folder.is_locked():
            FilesLogger(self.run.folder.path, checkpoint=self.run.checkpoint).save()

    def records(self, entry: LogEntry, name: str, took: float) -> list[dict[str, Any]]:
        at = int(self.counters["iterations"]), self.counters["seconds"], self.run.checkpoint
        return [{**record, "weights": self.run.weights} for record in entry.records(name, *at, took)]

    def write(self, entry: LogEntry, name: str, records: list[dict[str, Any]], took: float) -> str:
        """Why it could not be recorded; then it does not count as measured, and is measured again the next time."""
        if self.files is None:
            return ""
        failures, key = self.files.failures, self.keys[name]
        counters = {key: self.counters[key] for key in ("seconds", "epochs")}
        try:
            entry.write(self.files, name, int(self.counters["iterations"]), counters)
            self.files.save()
            if self.files.failures > failures:
                return "it could not be recorded"
            self.run.folder.record_again(records, self.notes.next(key))
            self.notes.add(key=key, name=name, **self.identity, took=round(took, 3))
        except OSError as error:
            return f"it could not be recorded ({error.strerror})"
        return ""

    def say(self, entry: LogEntry, name: str, records: Sequence[dict[str, Any]], took: float) -> None:
        """Prints what was found."""
        for record in records:
            error = f" ± {record['standard_error']:.2g}" if record["standard_error"] is not None else ""
            print(
                f"  {record['name']}  {record['value']:.5g}{error} {record['unit']}  ({record['split']})"
                + remarks(record)
            )
        if entry.images or entry.figures:
            print(f"  {name}  picture in {self.run.folder.path / 'images'}")
        print(f"    {took:.1f} s", flush=True)
