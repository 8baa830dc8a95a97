"""Reads the text files of series, `.ts`, of the UEA and UCR archives, as aeon and sktime write them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frame.common.errors import UserError
from frame.data.formats import broken


@dataclass
class TsFile:
    """The series of a file, each [C, T]; lengths may differ."""

    series: list[np.ndarray]
    y: np.ndarray | None  # words [N], or numbers [N] if the file has targets of a regression


def read_ts(path: Path) -> TsFile:
    """A file of lines `@key value` and, after `@data`, one series a line.

    Channels are separated by ':', values by ',', and the class or the target comes last. '?' is a missing value (NaN).
    Lines that begin with '#' are comments.

    Raises:
        UserError: the file is broken, or holds pairs of time and value.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    start = next((i for i, line in enumerate(lines) if line.strip().lower() == "@data"), None)
    if start is None:
        raise broken(path, "it has no @data")
    header = _header(lines[:start], path)
    if _true(header, "timestamps"):
        raise UserError(f"{path} holds pairs of time and value, which are not read: write values at equal steps")
    has_class, has_target = _true(header, "classlabel"), _true(header, "targetlabel")
    series, labels = [], []
    for number, line in enumerate(lines[start + 1 :], start + 2):
        if not _says(line):
            continue
        channels = line.strip().split(":")
        if has_class or has_target:
            labels.append(channels.pop().strip())
        series.append(_values(channels, path, number))
        if len(series[-1]) != len(series[0]):
            raise broken(path, f"line {number} has {len(series[-1])} channels, and the first series {len(series[0])}")
    if not series:
        raise broken(path, "it has no series")
    y = np.array(labels, dtype=object) if has_class else None
    if has_target:
        try:
            y = np.array([float(label) for label in labels])
        except ValueError:
            raise broken(path, "a target is no number") from None
    return TsFile(series, y)


def _says(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def _header(lines: list[str], path: Path) -> dict[str, list[str]]:
    """The words behind each @key."""
    said = [line.split() for line in lines if _says(line)]
    if any(not words[0].startswith("@") for words in said):
        raise broken(path, "a line before @data is no @key")
    return {words[0][1:].lower(): words[1:] for words in said}


def _true(header: dict[str, list[str]], key: str) -> bool:
    return header.get(key, ["false"])[:1] == ["true"]


def _values(channels: list[str], path: Path, line: int) -> np.ndarray:
    """One series [C, T]; a shorter channel ends with NaN."""
    try:
        parts = [np.array([_number(word) for word in channel.split(",")], dtype=np.float32) for channel in channels]
    except ValueError as error:
        raise broken(path, f"line {line}: {error}") from None
    found = np.full((len(parts), max((len(part) for part in parts), default=0)), np.nan, dtype=np.float32)
    for channel, part in zip(found, parts, strict=True):
        channel[: len(part)] = part
    return found


def _number(word: str) -> float:
    return np.nan if word.strip() == "?" else float(word)
