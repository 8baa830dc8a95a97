"""Files that are replaced as a whole."""

import os
from pathlib import Path
from typing import Any

import pytest

from frame.common.files import write_whole


def test_a_file_reaches_the_disk_before_it_replaces_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    replace = os.replace

    def replaced(*paths: Any) -> None:
        done.append("replaced")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", lambda fd: done.append(os.fstat(fd).st_size))
    monkeypatch.setattr(os, "replace", replaced)
    write_whole(tmp_path / "file", lambda stream: stream.write(b"12345"))
    assert done == [5, "replaced"] and (tmp_path / "file").read_bytes() == b"12345"
