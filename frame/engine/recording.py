"""Records the results of `frame evaluate` in the run's folder."""

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frame.common.errors import UserError
from frame.common.numbers import unsigned_zero
from frame.engine.ending import protocols
from frame.engine.opening import OpenRun
from frame.evaluation.measured import Measured, Moment
from frame.loggers.files import FilesLogger
from frame.runs.notes import Notes
from frame.runs.reading import remarks


def recordable(folder: Path, trouble: OSError | None) -> None:
    """Prints that nothing will be recorded if the folder is read-only.

    Raises:
        UserError: the folder cannot be written for another reason, such as a full disk.
    """
    if trouble is None:
        return
    if trouble.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
        raise UserError(f"{folder} cannot be written ({trouble.strerror}): nothing was measured")
    print(f"{folder} can only be read ({trouble.strerror}): what is found is not recorded", flush=True)


class Book:
    """Records the results of one run: pictures, tables and metrics first, then records, then a note of all of them."""

    def __init__(
        self, run: OpenRun, notes: Notes, identity: dict[str, Any], keys: Mapping[str, str], *, recorded: bool
    ) -> None:
        self.run, self.notes, self.identity, self.keys = run, notes, identity, keys
        self.source = run.trust.origin.name
        weights = "" if run.state["average"] is None else run.weights
        self.at = Moment.of(run.state["counters"], weights, run.checkpoint, self.source)
        self.files = FilesLogger(run.folder.path, checkpoint=run.checkpoint, table=False) if recorded else None
        self.unrecorded: list[dict[str, Any]] = []

    def close(self) -> None:
        """Brings metrics.csv up to date, unless the run trains: the training process keeps it up to date then."""
        if self.files is not None and not self.run.folder.is_locked():
            FilesLogger(self.run.folder.path, checkpoint=self.run.checkpoint).save()

    def write(self, found: Measured) -> str:
        """Returns why it could not be recorded, or ''. Unrecorded results are measured again the next time."""
        if self.files is None:
            self.unrecorded += found.records()
            return ""
        failures, key = self.files.failures, self.keys[found.name]
        try:
            found.log([self.files])
            self.files.save()
            if self.files.failures > failures:
                return "it could not be recorded"
            self.run.folder.record_again(found.records(self.notes.next(key)))
            self.notes.add(key=key, name=found.name, **self.identity, took=round(found.took, 3))
        except OSError as error:
            return f"it could not be recorded ({error.strerror})"
        return ""

    def say(self, found: Measured) -> None:
        """Prints the results."""
        for record in found.records():
            error = f" ± {record['standard_error']:.2g}" if record["standard_error"] is not None else ""
            value = unsigned_zero(f"{record['value']:.5g}")
            print(f"  {record['name']}  {value}{error} {record['unit']}  ({record['split']})" + remarks(record))
        if found.entry.images or found.entry.figures:
            print(f"  {found.name}  picture in {self.run.folder.path / 'images'}")
        print("\n".join(f"    {line}" for line in (*protocols(found.records()), f"{found.took:.1f} s")), flush=True)
